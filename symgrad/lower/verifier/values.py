"""Rule: what is computed once is what it would be where it is used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from symgrad.expr.node import Expr
from symgrad.lazy import dataclass
from symgrad.lower.forms import constant, plus
from symgrad.lower.program import Around, walk
from symgrad.lower.scalar import loads
from symgrad.lower.statements import If, Let, Loop
from symgrad.lower.verifier.view import Place, View


@dataclass(frozen=True)
class _Known:
    """A value that has been computed, the bodies inside of which that is known, and the position
    from which on it may be another one: inside of `loop`, if that is not None."""

    around: Around
    stale: float
    loop: Any


def values(p: View) -> Iterator[str]:
    """Nothing that a value loads is written between the place where it is computed and its use."""
    known: dict[Expr, list[_Known]] = {}
    once: list[Expr] = []
    position = 0
    for s, _, around in walk(p.program.body):
        for value, found in _used(s, known, around):
            of_head = found.loop is s and isinstance(s, Loop)  # its bounds come before its rounds
            if position >= found.stale and not of_head:
                yield f"{type(s).__name__}: {p.text(value)} is not what it was when it was computed"
        if isinstance(s, Let):
            known.setdefault(s.value, []).append(_known(p, s.value, around, position))
            once += [s.value] * s.once
        else:
            for value in once:
                known[value].pop()
            once.clear()
        position += not isinstance(s, Loop)


def _used(s: Any, known: dict[Expr, list[_Known]], around: Around) -> Iterator[tuple[Expr, _Known]]:
    """The values that a statement takes from where they were computed."""
    seen: set[Expr] = set()
    stack = [*s.exprs()]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            found = known.get(node, [])
            while found and around[: len(found[-1].around)] != found[-1].around:
                found.pop()
            if found:
                yield node, found[-1]
            else:
                stack.extend(node.args)


def _known(p: View, value: Expr, around: Around, position: int) -> _Known:
    stale, loop = math.inf, None
    for n in loads((value,)):
        for q in p.of_buffer[n.attrs[0]]:
            inside = q.around[: len(around)] == around and q.position >= position
            if q.access.writes and inside and not _is_apart(p, n, q):
                again = [outer for outer, _ in q.around[len(around) :] if not isinstance(outer, If)]
                begin = p.start(again[0]) if again else q.position + 1
                if begin < stale:
                    stale, loop = begin, again[0] if again else None
    return _Known(around, stale, loop)


def _is_apart(p: View, load: Expr, q: Place) -> bool:
    """Whether a write never reaches the element that is loaded."""
    if q.access.run is not None:
        return False
    for axis, first, count, _ in p.axes(q.access):
        at, begin = p.bounds.form(load.args[axis]), p.bounds.form(first)
        behind = plus(plus(at, begin, -1), p.bounds.form(count), -1)
        before = plus(plus(begin, at, -1), constant(-1))
        if any(p.bounds.holds(room, q.path, frozenset()) for room in (behind, before)):
            return True
    return False
