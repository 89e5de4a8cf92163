"""Loops of one round are opened: C has none, and only what stands in no loop can be cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.expr.node import Expr, const
from symgrad.expr.walk import substitute
from symgrad.lower.program import Draft, Program, rebuilt, walk
from symgrad.lower.statement import Body
from symgrad.lower.statements import Loop, Store, Zero, is_single
from symgrad.lower.tuning import Tuning

_OWN = ("scalar", "local", "work")  # buffers of a function that nobody else sees


def open_single_rounds(program: Program, threads: int, tuning: Tuning) -> Program:
    """The body of each loop of one round in its place, with 0 for its variable.

    Code on elements of an array is full of such loops.
    """
    around: dict[Expr, Expr | None] = {}  # by the variable of such a loop, that of the next outside
    old: list[Expr] = []

    def note(exprs: Sequence[Expr]) -> Sequence[Expr]:
        old.extend(exprs)
        return exprs

    for s, path, _ in walk(program.body):
        outer = [loop.index for loop in path if not is_single(loop)]
        if is_single(s):
            around[s.index] = outer[-1] if outer else None
        elif len(outer) < len(path):
            s.with_exprs(note)
    if not around:
        return program
    new = dict(zip(old, substitute(old, dict.fromkeys(around, const(0, "int64"))), strict=True))
    draft = Draft(program)
    for b in program.buffers:
        if b.home in around:
            draft.change(b.number, home=around[b.home])

    def change(_: Any, s: Any) -> Sequence[Any]:
        if is_single(s):
            return s.body  # type: ignore[no-any-return]
        return [s.with_exprs(lambda exprs: [new.get(e, e) for e in exprs])]

    return draft.of(program, _without_unread(rebuilt(program.body, change)))


def _without_unread(body: Body) -> Body:
    """A body without what is stored for nobody: guards that are known now may have been readers."""
    while True:
        stored: dict[int, bool] = {}  # by number, whether stores alone concern a buffer
        for s, *_ in walk(body):
            plain = isinstance(s, (Store, Zero)) and s.buffer.role in _OWN
            own = s.buffer.number if plain else -1
            for access in s.accesses:
                is_store = access.writes and access.buffer == own
                stored[access.buffer] = stored.get(access.buffer, True) and is_store
            for b in s.named():
                stored[b.number] = stored.get(b.number, True) and b.number == own
        if not any(stored.values()):
            return body

        def change(_: Any, s: Any, stored: dict[int, bool] = stored) -> Sequence[Any]:
            if isinstance(s, Loop) and not s.body and not s.flush:
                return ()
            return () if isinstance(s, (Store, Zero)) and stored[s.buffer.number] else (s,)

        body = rebuilt(body, change)
