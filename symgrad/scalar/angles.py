"""Sines and cosines of several angles, taken all at once.

A function of C's library takes one angle after another. Angles that are all known before the first
sine is needed are put side by side, and one loop without branches, of which compilers make vectors,
takes the sines and cosines of all (`Sines`; 0081).
"""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.expr.node import Expr, const, const_value
from symgrad.expr.walk import substitute, toposort
from symgrad.lower.program import Draft
from symgrad.lower.scalar import LOAD, load_of
from symgrad.lower.statement import Buffer, Statement
from symgrad.lower.statements import Sines, Store
from symgrad.lower.tuning import Tuning
from symgrad.ops.elementwise import COS, SIN

_DTYPE = "float64"


def together(
    values: Sequence[Expr], draft: Draft, tuning: Tuning
) -> tuple[list[Expr], list[Statement]]:
    """Values that read sines and cosines from arrays, and the statements that fill these."""
    angles = _angles(values)
    if len(angles) < tuning.sines_from:
        return list(values), []
    body: list[Statement] = []
    source = _whole_input(angles, draft)
    if source is None:
        size = len(angles) + len(angles) % 2  # -O2 makes vectors of whole pairs only
        source = _array(size, draft, "angle")
        zero = const(0, _DTYPE)
        for k in range(size):
            value = angles[k] if k < len(angles) else zero
            body.append(Store(source, (const(k, "int64"),), value))
        place = {a: k for k, a in enumerate(angles)}
    else:
        place = {a: _place(a) for a in angles}
    found = {row: _array(source.size, draft, n) for row, n in ((SIN, "sine"), (COS, "cosine"))}
    body.append(Sines(source, found[SIN], found[COS]))
    swap = {
        n: load_of(found[n.op], (const(place[n.args[0]], "int64"),))
        for n in toposort(values)
        if n.op in found and n.args[0] in place
    }
    return substitute(values, swap), body


def _array(size: int, draft: Draft, name: str) -> Buffer:
    return draft.array((size,), _DTYPE, name=draft.unused(name))


def _angles(values: Sequence[Expr]) -> list[Expr]:
    """The largest group of angles none of which needs the sine of another one."""
    depth: dict[Expr, int] = {}
    groups: dict[int, dict[Expr, None]] = {}
    for node in toposort(values):
        below = max([depth[a] for a in node.args], default=0)
        turns = node.op in (SIN, COS) and node.dtype == _DTYPE
        depth[node] = below + turns
        if turns:
            groups.setdefault(below, {})[node.args[0]] = None
    largest = max(groups, key=lambda below: len(groups[below]), default=None)
    return [] if largest is None else list(groups[largest])


def _place(angle: Expr) -> int:
    return int(const_value(angle.args[0]))


def _whole_input(angles: Sequence[Expr], draft: Draft) -> Buffer | None:
    """The argument of which the angles are elements, all but one at most: none is copied then."""
    if any(a.op is not LOAD or len(a.args) != 1 for a in angles):
        return None
    numbers = {a.attrs[0] for a in angles}
    buffer = draft.buffers[min(numbers)]
    fits = len(numbers) == 1 and buffer.size % 2 == 0 and buffer.size <= len(angles) + 1
    return buffer if fits else None
