"""Names for what a formula repeats: lines after "where"."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from symgrad.inspect import algebra as F
from symgrad.inspect.formula import Formula, to_text
from symgrad.inspect.naming import latex_name, plain_name
from symgrad.reader.cost import LEAF, NAME, OWN_NAME, WORTH_A_NAME, cost
from symgrad.reader.heads import spend
from symgrad.reader.reading import Part

_MOST = 6  # names
LONG = 110  # of an argument of a function: what costs as much has its own line, if it has a name
_HINTS = {"σ": "p", "softmax": "p", "exp": "e", "sum": "r", "wrap": "q"}


class _Keys:
    """A number for each formula, equal for equal ones; each node is looked at once."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Formula, int]] = {}  # by id, with what keeps the id
        self.table: dict[Any, int] = {}

    def of(self, f: Formula) -> int:
        found = self.known.get(id(f))
        if found is None:
            key = f.kind, f.data, f.rank, f.owner, tuple([self.of(a) for a in f.args])
            found = self.known[id(f)] = f, self.table.setdefault(key, len(self.table))
        return found[1]


def named(formulas: Sequence[Formula]) -> tuple[list[Formula], list[Part]]:
    """The formulas with names for what they repeat, where that saves reading."""
    formulas = _unified(formulas)
    parts: list[Part] = []
    while len(parts) < _MOST:
        spend()
        keys = _Keys()
        f = _worth_most([*formulas, *(p.formula for p in parts)], keys)
        if f is None:
            break
        part = Part(f, _hint(f), f"?{len(parts)}")
        name = Formula("part", (), part, f.rank)
        done: dict[int, Formula] = {}
        formulas = [_with(g, keys.of(f), name, keys, done) for g in formulas]
        for p in parts:
            p.formula = _with(p.formula, keys.of(f), name, keys, done)
        parts.append(part)
    return formulas, _in_order(formulas)


def _unified(formulas: Sequence[Formula]) -> list[Formula]:
    """With ‖a − b‖ where b − a stands only in norms and squares, and a − b elsewhere."""
    keys = _Keys()
    signed: set[int] = set()
    even: dict[int, Formula] = {}
    stack, seen = [(f, False) for f in formulas], set()
    while stack:
        f, inside = stack.pop()
        if (id(f), inside) in seen:
            continue
        seen.add((id(f), inside))
        if f.kind == "sum":
            if inside:
                even[keys.of(f)] = f
            else:
                signed.add(keys.of(f))
        stack += [(a, _is_even(f) and k == 0) for k, a in enumerate(f.args)]
    done: dict[int, Formula] = {}
    for at, f in even.items():
        opposite = F.add([F.neg(a) for a in f.args], reorder=True)
        if at not in signed and keys.of(opposite) in signed:
            formulas = [_with(g, at, opposite, keys, done) for g in formulas]
            done.clear()
    return list(formulas)


def _is_even(f: Formula) -> bool:
    """Whether the first argument's sign does not matter."""
    if f.kind == "pow":
        e = f.args[1]
        return e.kind == "number" and e.data.isdigit() and int(e.data) % 2 == 0
    return f.kind == "wrap" and f.data[0] in "‖|"


def price(formulas: Sequence[Formula], parts: Sequence[Part]) -> int:
    """What all lines cost; what n is, is clear."""
    parts = [p for p in parts if p.formula.kind != "number"]
    names = sum(NAME if p.text.startswith("?") else OWN_NAME for p in parts)
    return sum(map(cost, formulas)) + sum(cost(p.formula) for p in parts) + names


def _worth_most(formulas: Sequence[Formula], keys: _Keys) -> Formula | None:
    counts: dict[int, list[Formula]] = {}
    stack = list(formulas)[::-1]
    top = {id(f) for f in formulas}
    while stack:
        f = stack.pop()
        if cost(f) < WORTH_A_NAME:
            continue
        if f.args and id(f) not in top and f.kind not in ("neg", "T", "mul", "index", "sigma"):
            counts.setdefault(keys.of(f), []).append(f)
        if f.kind != "sigma" and not (f.kind == "index" and not f.data.isdigit()):
            stack.extend(reversed(f.args))
    best = None
    most = 0
    for found in counts.values():
        saved = (len(found) - 1) * (cost(found[0]) - LEAF) - NAME
        if saved > most:
            most, best = saved, found[0]
    return best


def _with(f: Formula, key: int, name: Formula, keys: _Keys, done: dict[int, Formula]) -> Formula:
    """f with the name in the place of what has this key."""
    if cost(f) < WORTH_A_NAME:
        return f
    at = keys.of(f)
    if at == key:
        return name
    if at not in done:
        args = tuple([_with(a, key, name, keys, done) for a in f.args])
        new = f
        if any(a is not b for a, b in zip(args, f.args, strict=True)):
            new = Formula(f.kind, args, f.data, f.rank)
            new.owner = f.owner
        done[at] = new
    return done[at]


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
    """A letter that people use for such a thing, a capital one for matrices."""
    found = _HINTS.get(f.data[0] if f.kind == "call" else f.kind, "")
    return found.upper() if f.rank == 2 else found


def arguments(
    formulas: Sequence[Formula], parts: list[Part], known: Mapping[str, str]
) -> tuple[list[Formula], list[Part]]:
    """With a part for each long argument of a function that a variable of the user's held.

    Φ(d1) says more than Φ with all of d1 between the brackets.
    known : names, by the text of what they hold
    """
    formulas = list(formulas)
    while len(parts) < _MOST:
        keys = _Keys()
        found = next((a for a in _arguments([*formulas, *(p.formula for p in parts)])
                      if to_text(a) in known), None)  # fmt: skip
        if found is None:
            break
        part = Part(found, "", f"?{len(parts)}")
        name = Formula("part", (), part, found.rank)
        done: dict[int, Formula] = {}
        formulas = [_with(g, keys.of(found), name, keys, done) for g in formulas]
        for p in parts:
            p.formula = _with(p.formula, keys.of(found), name, keys, done)
        parts = [*parts, part]
    return formulas, _in_order(formulas)


def _arguments(formulas: Sequence[Formula]) -> Iterator[Formula]:
    """Long arguments of functions."""
    stack = list(formulas)[::-1]
    while stack:
        f = stack.pop()
        if f.kind == "call" and len(f.args) == 1 and cost(f.args[0]) >= LONG:
            yield f.args[0]
        if f.kind != "sigma":
            stack.extend(reversed(f.args))


def as_the_user(parts: Sequence[Part], known: Mapping[str, str], taken: Collection[str]) -> None:
    """Parts that are what the user's variables held get the names of these.

    known : names, by the text of what they hold
    """
    used = {*taken, *(p.text for p in parts)}
    for part in parts:
        name = plain_name(known.get(to_text(part.formula), part.text))
        if name not in used:
            part.text, part.latex = name, latex_name(name)
            used.add(name)
