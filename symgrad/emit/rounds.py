"""Loops of one round are opened: what stands in no loop can be cut into parts."""

from __future__ import annotations

from typing import Any

from symgrad.expr.node import Expr
from symgrad.lower.program import bodies_of
from symgrad.lower.statements import Loop


def open_single_rounds(body: list[Any]) -> tuple[list[Any], list[Expr], dict[int, list[Any]]]:
    """A copy of a body with the body of each loop of one round in its place.

    With the variables of these loops, which are all 0, and by `id` of each list of statements the
    one where they stand now. Code on elements of an array is full of such loops, and only what
    stands in no loop can be cut into parts.
    """
    bodies = bodies_of(body)
    zeros: list[Expr] = []
    made: dict[int, list[Any]] = {}
    opened: dict[int, int] = {}
    for old in reversed(bodies):  # from the inside out
        new = made[id(old)] = []
        for s in old:
            if isinstance(s, Loop) and s.extent == 1 and s.is_plain and not s.lanes:
                zeros.append(s.index)
                new += made[id(s.body)]
                opened[id(s.body)] = id(old)
            else:
                new.append(s.with_bodies(made) if s.bodies() else s)
    for old in bodies:  # from the outside in
        if id(old) in opened:
            made[id(old)] = made[opened[id(old)]]
    return made[id(body)], zeros, made
