"""Whether C leaves it to the compiler which loops call functions of vectors.

Those of glibc have other last bits than functions of numbers. So a loop that calls one says which:
marked as a vector (SG_SIMD), in a loop that is, or kept from vectors (SG_SCALAR).
"""

from __future__ import annotations

import re

_DECLARED = re.compile(r"(?m)^extern \w+ (?:sg_vector_)?(\w+)\(.*\bsimd\(")  # for vectors
_TYPED = re.compile(r"(?m)^extern (?=\w+ (?:sg_vector_)?(\w+)\(.*\bsimd\()(\w+)")
_PLAIN = re.compile(r"\bsg_(select|bits_of|mod|imod|ifloor_divide|floor_divide|ipow)(32|f)?\b")
_STATEMENTS = re.compile(r"^\s*(if \()?sg_\w+\(")  # calls of functions with loops of their own


_LOOP = re.compile(
    r"SG_SIMD\n( *)for \(ptrdiff_t (\w+) = ([^;]+); \w+ < ([^;]+); [^)]*\) \{\n((?:\1 +.*\n)*)"
)
# Compiled once, whatever stands around their calls; what is not is a part of a long function.
_HELPER = re.compile(r"(?m)^static .*\)\n\{\n(?:(?!\}).*\n)*\}\n")
_SHORT = 4  # of the shortest that is worth one
_LENGTH = 8  # of the longest vector of numbers


_ARRAY = re.compile(
    r"(?:^|[(,]\s*|\s)(?:const )?(double|float|bool|int32_t|int64_t|ptrdiff_t) "
    r"(?:\*(?:const |restrict )*(\w+)|(\w+)\[)"
)
_WORKSPACE = re.compile(
    r"\*(?:restrict )?const (\w+) = (?:\(\w+ \*\)\(void \*\))?\(?(?:work|\w+ \+ SG_MEMBER) "
)
_BYTES = {"double": 8, "float": 4, "bool": 1, "int32_t": 4, "int64_t": 8, "ptrdiff_t": 8}


def mixed_vectors(c: str) -> list[str]:
    """First lines of loops over lanes that call such functions beside elements of other lengths.

    Compilers make vectors of so many elements as the shortest ones allow, so of more than a block
    may have: its rest is numbers.
    """
    declared = dict(_TYPED.findall(c))
    if not declared:
        return []
    calling = re.compile(rf"\b({'|'.join(declared)})\(")
    widths: dict[str, set[int]] = {}
    for kind, pointer, array in _ARRAY.findall(c):
        widths.setdefault(pointer or array, set()).add(_BYTES[kind])
    found: list[str] = []
    for loop in re.finditer(r"SG_SIMD\n *for \(ptrdiff_t l\d[^{]*\{\n([^{}]*)\}", c):
        calls = calling.findall(loop[1])
        if not calls:
            continue
        wanted = {_BYTES[declared[name]] for name in calls}
        touched: set[int] = set()
        for name in re.findall(r"\b(\w+)\[", loop[1]):
            if len(widths.get(name, ())) == 1:  # one name may stand for two arrays in two places
                touched |= widths[name]
        if len(wanted | touched) > 1:
            found.append(loop[1].strip().splitlines()[0])
    return found


def uncertain_vectors(c: str) -> list[str]:
    """First lines of marked loops that call such functions but may be no vectors, or only in part.

    What stands around such a loop decides then. Certain are whole numbers of vectors, known to the
    compiler, of elements that stand side by side. A load of one element of the workspace in all
    rounds is none: gcc may believe that a store changed it.
    """
    workspace = set(_WORKSPACE.findall(c))
    declared = _DECLARED.findall(c)
    if not declared:
        return []
    calling = re.compile(rf"\b({'|'.join(declared)}|sg_\w+)\(")
    found: list[str] = []
    for loop in _LOOP.finditer(_HELPER.sub("", c)):
        _, variable, start, stop, body = loop.groups()
        if "for (" in body or not any(not _PLAIN.match(m.group()) for m in calling.finditer(body)):
            continue
        whole = stop == f"{start} + {_LENGTH}" or (
            start.isdigit() and stop.isdigit() and (int(stop) - int(start)) % _LENGTH in (0, _SHORT)
        )
        moves = re.compile(rf"(\b{variable}|\([^()]*\b{variable}\b[^()]*\)) [*/%] (?!0\b)")
        apart = any(moves.search(index) for index in re.findall(r"\[([^][]*)\]", body))
        own = "|".join([variable, *re.findall(r"\bconst \w+ (\w+) = ", body)])
        still = any(
            name in workspace and not re.search(rf"\b({own})\b", index)
            for name, index in re.findall(r"(\w+)\[([^][]*)\]", body)
        )
        if not whole or still or (apart and not variable.startswith("l")):
            found.append(f"{loop.group().splitlines()[1].strip()} {body.strip().splitlines()[0]}")
    return found


def undecided_calls(c: str) -> list[str]:
    """Lines outside of helpers that call such functions in a loop without a mark.

    What C does not declare for vectors no compiler makes one of.
    """
    declared = _DECLARED.findall(c)
    if not declared:
        return []
    calling = re.compile(rf"\b({'|'.join(declared)}|sg_\w+)\(")
    found: list[str] = []
    loops: list[tuple[int, str]] = []  # depth of braces and the kind of each open loop
    depth, before, helper = 0, "", False
    for line in re.sub(r"(?s)/\*.*?\*/", "", c).splitlines():
        text = line.strip()
        if depth == 0 and "(" in text and text.endswith(")"):
            helper = text.startswith("static") and not re.search(r"_part\d+\(", text)
        if text == "SG_SCALAR" and loops:
            loops[-1] = (loops[-1][0], "scalar")
        elif text.startswith("for ("):
            loops.append((depth, "vector" if before == "SG_SIMD" else ""))
        elif depth and not helper and loops and not _STATEMENTS.match(line):
            calls = [m for m in calling.finditer(text) if not _PLAIN.match(m.group())]
            kinds = [kind for _, kind in loops]
            if calls and "vector" not in kinds and kinds[-1] != "scalar":
                found.append(text)
        depth += line.count("{") - line.count("}")
        while loops and loops[-1][0] >= depth:
            loops.pop()
        before = text or before
    return found
