"""Loops of one round are opened: what stands in no loop can be cut into parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symgrad.expr.node import Expr
from symgrad.lower.program import rebuilt, walk
from symgrad.lower.statement import Body
from symgrad.lower.statements import If, Loop, While, is_single

Opened = Mapping[Expr, int]  # by the variable of a loop that is opened, how many bodies are around


def open_single_rounds(body: Sequence[Any]) -> tuple[Body, Opened, dict[Any, set[Expr]]]:
    """A body with the body of each loop of one round in its place.

    With the variables of these loops, which are all 0, and how many bodies are left around what
    stood inside; and of each branch, the variables of all loops that were inside. Code on elements
    of an array is full of such loops, and only what stands in no loop can be cut into parts.
    """
    opened: dict[Expr, int] = {}
    for s, _, around in walk(body):
        if is_single(s):
            # What is flushed stands no deeper than its loop.
            left = (k == 0 or not isinstance(outer, Loop) for outer, k in around)
            single = sum(is_single(outer) for outer, _ in around)
            opened[s.index] = sum(left) - single
    inside: dict[Any, set[Expr]] = {}

    def change(old: Any, new: Any) -> Sequence[Any]:
        if isinstance(old, (If, While)):
            inside[new] = {s.index for s, *_ in walk([old]) if isinstance(s, Loop)}
        return new.body if is_single(new) else (new,)

    return rebuilt(body, change), opened, inside
