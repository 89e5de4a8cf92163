"""Rule: what is computed once is what it would be where it is used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from symgrad.expr.node import Expr
from symgrad.lower.forms import constant, plus
from symgrad.lower.program import Around
from symgrad.lower.statements import Let, Loop, Store
from symgrad.lower.verifier.view import Place, View, rounds_of

Stale = tuple[float, Any]  # the position from which on a value may be another one, and the loop


def values(p: View) -> Iterator[str]:
    """Nothing that a value loads is written between the place where it is computed and its use."""
    stale: dict[int, Stale] = {}  # by the `id` of a `Let`
    kept: dict[tuple[int, tuple[Expr, ...]], Expr] = {}  # what was stored last in an element
    position = 0
    for s, _, around in p.every:
        taken = p.taken[id(s)]
        for value, let in taken.items():
            end, loop = stale[id(let)]
            of_head = loop is s and isinstance(s, Loop)  # its bounds come before its rounds
            if position >= end and not of_head:
                yield f"{type(s).__name__}: {p.text(value)} is not what it was when it was computed"
        if isinstance(s, Store) and s.op == "=":
            kept[s.buffer.number, s.index] = s.value
        if isinstance(s, Let):
            if s.source is not None and kept.get((s.source.attrs[0], s.source.args)) is not s.value:
                yield f"{p.text(s.source)}: another value than {p.text(s.value)} was kept there"
            before = [stale[id(let)] for let in taken.values()]
            stale[id(s)] = min([*before, *_ends(p, s, around, position)], key=lambda one: one[0])
        position += not isinstance(s, Loop)


def _ends(p: View, s: Let, around: Around, position: int) -> Iterator[Stale]:
    """Where what a value loads changes, inside of the bodies around."""
    yield math.inf, None
    for read in s.reads_beside(p.taken[id(s)]):
        for q in p.of_buffer[read.buffer]:
            inside = q.around[: len(around)] == around and q.position >= position
            if q.access.writes and inside and not _is_apart(p, read.index, q):
                again = rounds_of(q.around[len(around) :])
                yield (p.start(again[0]), again[0]) if again else (q.position + 1, None)


def _is_apart(p: View, index: tuple[Expr, ...], q: Place) -> bool:
    """Whether a write never reaches the element at an index."""
    if q.access.run is not None:
        return False
    for axis, first, count, _ in p.axes(q.access):
        at, begin = p.bounds.form(index[axis]), p.bounds.form(first)
        behind = plus(plus(at, begin, -1), p.bounds.form(count), -1)
        before = plus(plus(begin, at, -1), constant(-1))
        if any(p.bounds.holds(room, q.path, frozenset()) for room in (behind, before)):
            return True
    return False
