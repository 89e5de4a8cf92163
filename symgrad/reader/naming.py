"""Names for what a formula repeats: lines after "where"."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.inspect.formula import Formula, to_text
from symgrad.reader.cost import LEAF, NAME, cost
from symgrad.reader.reading import Part

_FROM = 3 * LEAF  # a subexpression that costs less is not named
_HINTS = {"σ": "p", "softmax": "p", "exp": "e", "sum": "r", "wrap": "q"}


def named(formulas: Sequence[Formula]) -> tuple[list[Formula], list[Part]]:
    """The formulas with names for what they repeat, where that saves reading."""
    formulas = list(formulas)
    parts: list[Part] = []
    while len(parts) < 6:
        chosen = _worth_most([*formulas, *(p.formula for p in parts)])
        if chosen is None:
            break
        f, key = chosen
        part = Part(f, _hint(f), f"?{len(parts)}")  # parts with equal names would look equal
        name = Formula("part", (), part, f.rank)
        formulas = [_with(g, key, name) for g in formulas]
        for p in parts:
            p.formula = _with(p.formula, key, name)
        parts.append(part)
    return formulas, _in_order(formulas)


def price(formulas: Sequence[Formula], parts: Sequence[Part]) -> int:
    """What all lines cost."""
    names = sum(NAME for p in parts if p.text.startswith("?"))  # the user's own are no news
    return sum(map(cost, formulas)) + sum(cost(p.formula) for p in parts) + names


def _worth_most(formulas: Sequence[Formula]) -> tuple[Formula, tuple[str, int]] | None:
    counts: dict[tuple[str, int], list[Formula]] = {}
    stack = list(formulas)[::-1]
    top = {id(f) for f in formulas}
    while stack:
        f = stack.pop()
        if cost(f) < _FROM:
            continue
        if f.args and id(f) not in top and f.kind not in ("neg", "T", "mul", "index", "sigma"):
            counts.setdefault((to_text(f), f.rank), []).append(f)
        if f.kind != "sigma" and not (f.kind == "index" and not f.data.isdigit()):
            stack.extend(reversed(f.args))
    best = None
    most = 0
    for key, found in counts.items():
        saved = (len(found) - 1) * (cost(found[0]) - LEAF) - NAME
        if saved > most:
            most, best = saved, (found[0], key)
    return best


def _with(f: Formula, key: tuple[str, int], name: Formula) -> Formula:
    """f with the name in the place of what has this text."""
    if cost(f) < _FROM:
        return f
    if f.args and f.rank == key[1] and to_text(f) == key[0]:
        return name
    args = tuple([_with(a, key, name) for a in f.args])
    if all(a is b for a, b in zip(args, f.args, strict=True)):
        return f
    new = Formula(f.kind, args, f.data, f.rank)
    new.owner = f.owner
    return new


def _in_order(formulas: Sequence[Formula]) -> list[Part]:
    """The parts that formulas need, users before what they use."""
    found: dict[Part, int] = {}
    stack = [(f, 0) for f in reversed(formulas)]
    while stack:
        f, depth = stack.pop()
        if f.kind == "part" and isinstance(f.data, Part):
            if found.get(f.data, -1) < depth:
                found[f.data] = depth
                stack.append((f.data.formula, depth + 1))
        stack.extend((a, depth) for a in reversed(f.args))
    return sorted(found, key=lambda p: found[p])


def _hint(f: Formula) -> str:
    if f.kind == "call":
        return _HINTS.get(f.data[0], "")
    return _HINTS.get(f.kind, "")
