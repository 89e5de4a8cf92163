"""Whether C leaves it to the compiler which loops call functions of vectors.

Those of glibc have other last bits than functions of numbers. So a loop that calls one says which:
marked as a vector (SG_SIMD), in a loop that is, or kept from vectors (SG_SCALAR).
"""

from __future__ import annotations

import re

_DECLARED = re.compile(r"(?m)^extern \w+ (?:sg_vector_)?(\w+)\(.*\bsimd\(")  # for vectors
_PLAIN = re.compile(r"\bsg_(select|bits_of|mod|imod|ifloor_divide|floor_divide|ipow)(32|f)?\b")
_STATEMENTS = re.compile(r"^\s*(if \()?sg_\w+\(")  # calls of functions with loops of their own


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
    for line in c.splitlines():
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
