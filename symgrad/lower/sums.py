"""Loops over sums and triangles, made simpler for the compiler behind the cutting into lanes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from symgrad.expr.node import FLOATS, Expr, const
from symgrad.expr.walk import substitute, toposort
from symgrad.lower.program import Draft, Program, rebuilt, scopes, statements
from symgrad.lower.scalar import is_next, loads
from symgrad.lower.statement import Statement
from symgrad.lower.statements import Loop, Store
from symgrad.lower.tuning import COSTLY, LANES, Tuning


def leave_out_zeros(program: Program, threads: int, tuning: Tuning) -> Program:
    """Loops inside a block of lanes over the part of a triangle that matters.

    Elsewhere the innermost loop is short, and a constant number of rounds is worth more.
    """
    bounds: dict[int, dict[str, Expr]] = {}
    stack: list[tuple[Loop, Loop | None]] = []  # with the next loop around it, inside the lanes
    for top in itertools.chain(*scopes(program.body)):
        if isinstance(top, Loop) and top.lanes:
            stack += [(s, None) for s in top.body if isinstance(s, Loop)]
    while stack:
        loop, outer = stack.pop()
        stack += [(s, loop) for s in loop.body if isinstance(s, Loop)]
        orders = {s.order if isinstance(s, Store) else None for s, _ in statements(loop.body)}
        if outer is None or orders == {None}:
            continue
        if orders == {(outer.index, loop.index)}:
            bounds[id(loop)] = {"start": outer.index}
        elif orders == {(loop.index, outer.index)}:
            bounds[id(loop)] = {"stop": outer.index + const(1, "int64")}
    if not bounds:
        return program

    def change(old: Any, new: Any) -> Sequence[Statement]:
        return [replace(new, **bounds[id(old)]) if id(old) in bounds else new]

    return replace(program, body=rebuilt(program.body, change))


def split_sums(program: Program, threads: int, tuning: Tuning) -> Program:
    """Sums in loops of their own, behind what sets the elements of arrays: both are vectors then.

    Outside of lanes, where one loop holds both and neither needs the other's variables.
    """
    draft = Draft(program)
    split: dict[int, Sequence[Statement]] = {}
    stack = [program.body]
    while stack:
        statements_ = stack.pop()
        for loop in reversed(statements_):
            if not isinstance(loop, Loop) or loop.serial:
                stack.extend(loop.bodies())
                continue
            if loop.lanes:
                continue
            stack.append(loop.body)
            sums: list[Any] = [s for s in loop.body if _is_sum_over(s, loop.index)]
            others: list[Any] = [s for s in loop.body if s not in sums]
            if sums and others and _are_apart(sums, others, loop, tuning):
                behind = _behind(loop, sums, draft.fresh())
                split[id(loop)] = replace(loop, body=others), behind
    if not split:
        return program
    body = rebuilt(program.body, lambda old, new: split.get(id(old), (new,)))
    return replace(program, body=body, indices=draft.indices)


def _behind(loop: Loop, sums: Sequence[Store], index: Expr) -> Loop:
    """A loop of sums alone, with a variable of its own."""
    body = []
    for s in sums:
        *at, value = substitute([*s.index, s.value], {loop.index: index})
        body.append(Store(s.buffer, tuple(at), value, s.op))
    return Loop(index, loop.extent, body, start=loop.start, stop=loop.stop)


def _is_sum_over(s: Any, index: Expr) -> bool:
    """Whether a statement adds to an element that a loop does not move."""
    return (
        isinstance(s, Store)
        and s.op == "+"
        and s.buffer.dtype in FLOATS
        and not any(index in toposort([i]) for i in s.index)
    )


def _are_apart(sums: Sequence[Store], others: Sequence[Any], loop: Loop, tuning: Tuning) -> bool:
    """Whether sums may be taken behind the loop in which `others` stay, and that pays."""
    added = {s.buffer.number for s in sums}
    written: dict[int, tuple[Expr, ...]] = {}
    for s in others:
        if not isinstance(s, Store) or s.op not in ("=", "+", "*"):
            return False
        own = any(is_next(s.index[a], loop.index) for a in s.buffer.kept_axes)
        if not own or written.setdefault(s.buffer.number, s.index) != s.index:
            return False
    for n in loads(tuple(v for s in (*sums, *others) for v in s.exprs())):
        if n.attrs[0] in added or n.args != written.get(n.attrs[0], n.args):
            return False
    costly = any(n.op.cost >= COSTLY for s in others for n in toposort([s.value]))
    return loop.step == 1 and loop.extent >= (tuning.vector_from_rounds if costly else 2 * LANES)
