"""Patterns through loops and switches.

switch   the union over its sides
scan     round by round, which is exact, if that is not too much; else, as for while, the carry
         is the least one that a round leaves as it is, and all rounds begin with that
while    the same: nobody knows how many rounds there are
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad.diff.modes import vmap
from symgrad.expr.node import Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.ops.body import bodies, fresh
from symgrad.ops.linear import lead
from symgrad.ops.loop import Loop

_MOST_STEPS = 20_000  # nodes of all rounds that are looked at one by one


def through(propagation: Any, node: Expr) -> dict[int, Any]:
    """The matrices of the results of a control node, by position; those of empty ones are absent.

    propagation : has the matrices of the operands (`pattern`)
    """
    given = [propagation.known.get(a) for a in node.args]
    if "consts" in node.op.attr_names:
        found = _loop(propagation, node)
    elif "bodies" in node.op.attr_names:
        found = _switch(propagation, node, given[1:])
    else:  # an open branch
        half = len(given) // 2
        found = [
            propagation.union(a, b)
            for a, b in zip(given[1 : 1 + half], given[1 + half :], strict=True)
        ]
    return {k: m for k, m in enumerate(found) if m is not None}


def _switch(propagation: Any, node: Expr, given: Sequence[Any]) -> list[Any]:
    arguments = fresh(node.args[1:])
    known = dict(zip(arguments, given, strict=True))
    total: list[Any] | None = None
    for body in bodies(node):
        made = propagation.inside(body.open(arguments), known)
        total = made if total is None else [
            propagation.union(a, b) for a, b in zip(total, made, strict=True)
        ]  # fmt: skip
    return total or []


def _loop(propagation: Any, node: Expr) -> list[Any]:
    loop = Loop.of(node)
    known = propagation.known
    shared = {a: known.get(v) for v, a in loop.consts}
    rows = {a: known.get(v) for v, a in loop.xs}
    start = {a: known.get(v) for v, a, _ in loop.carry}
    steps = (loop.length or 0) * sum(len(b.nodes) for b in bodies(node))
    if loop.test is None and loop.count is None and steps <= _MOST_STEPS:
        return _exact(propagation, loop, shared, start, rows)
    anywhere = {a: _any_row(propagation, m, a.size, loop.length or 0) for a, m in rows.items()}
    carry = _settled(propagation, loop, shared | anywhere, start)
    final = [carry[a] for _, a, _ in loop.carry]
    middle = [] if loop.test is None else [None]
    return [*final, *middle, *_all_rounds(propagation, loop, shared | carry, rows, anywhere)]


def _row(propagation: Any, matrix: Any, t: int, size: int) -> Any:
    return propagation.taken(matrix, np.arange(t * size, (t + 1) * size))


def _exact(propagation: Any, loop: Loop, shared: Any, start: Any, rows: Any) -> list[Any]:
    assert loop.length is not None
    state, n = dict(start), len(loop.carry)
    stacked: list[list[Any]] = [[None] * loop.length for _ in loop.ys]
    for t in range(loop.length)[:: -1 if loop.reverse else 1]:
        here = {a: _row(propagation, m, t, a.size) for a, m in rows.items()}
        made = propagation.inside(loop.outs, shared | state | here)
        state = {a: m for (_, a, _), m in zip(loop.carry, made, strict=False)}
        for column, m in zip(stacked, made[n:], strict=True):
            column[t] = m
    ys = [propagation.below(c, y.size) for c, y in zip(stacked, loop.ys, strict=True)]
    return [*(state[a] for _, a, _ in loop.carry), *ys]


def _any_row(propagation: Any, matrix: Any, size: int, n: int) -> Any:
    """All rows of an array as one."""
    total = None
    for t in range(n if matrix is not None else 0):
        total = propagation.union(total, _row(propagation, matrix, t, size))
    return total


def _settled(propagation: Any, loop: Loop, given: Any, start: Any) -> dict[Expr, Any]:
    """The carry with all that any number of rounds can add to it."""
    state = dict(start)
    while True:
        made = propagation.inside(loop.outs, given | state)
        before = _entries(state)
        for (_, a, _), m in zip(loop.carry, made, strict=False):
            state[a] = propagation.union(state[a], m)
        if _entries(state) == before:
            return state


def _entries(state: dict[Expr, Any]) -> int:
    return sum(m.nnz for m in state.values() if m is not None)


def _all_rounds(propagation: Any, loop: Loop, given: Any, rows: Any, anywhere: Any) -> list[Any]:
    """What is stacked, where one carry holds for all rounds: each row is of its own x.

    With a branch in the round, of any x.
    """
    n = loop.length
    if n is None or not loop.ys:
        return []
    if any(node.op.kind is Kind.CONTROL for node in toposort(loop.ys)):
        made = propagation.inside(loop.ys, given | anywhere)
        return [
            propagation.taken(m, np.tile(np.arange(y.size), n))
            for m, y in zip(made, loop.ys, strict=True)
        ]
    wide = {a: lead(a, n) for _, a, _ in loop.carry}
    whole = dict(zip(rows, fresh([v for v, _ in loop.xs], 1000), strict=True))
    stacked = vmap(loop.ys, wide | whole, n)
    found: list[Any] = propagation.inside(stacked, given | {whole[a]: m for a, m in rows.items()})
    return found
