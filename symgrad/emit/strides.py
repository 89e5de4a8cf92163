"""How far apart in memory neighbouring rounds of a loop, or lanes, read and write."""

from __future__ import annotations

import math
from collections.abc import Sequence

from symgrad.expr.node import CONST, Expr, const_value
from symgrad.expr.walk import toposort
from symgrad.lower.statements import Buffer, Loop, row_strides
from symgrad.ops.elementwise import ADD, MULTIPLY, SUBTRACT


def walks(index: Expr, buffer: Buffer, at: Sequence[Expr]) -> bool:
    """Whether the next lane has the next element of a buffer, or the same one."""
    if buffer.lanes or buffer.role == "scalar":
        return True
    return _step(index, buffer, at) in (0, 1)


def ascends(buffer: Buffer, index: Sequence[Expr], loops: Sequence[Loop]) -> bool:
    """Whether nested loops read elements in the order of memory, or always the same one."""
    reached = 0
    for loop in reversed(loops):
        step = _step(loop.index, buffer, index)
        if step is None or step < 0 or (step <= reached and reached):
            return False
        reached += step * loop.extent
    return True


def _step(variable: Expr, buffer: Buffer, at: Sequence[Expr]) -> int | None:
    """How many elements further an index is in the next round; None if that differs."""
    parts = [_coefficient(at[a], variable) for a in buffer.kept_axes]
    strides = row_strides(buffer.kept_shape)
    if None in parts:
        return None
    return sum(n * k for n, k in zip(parts, strides, strict=True))  # type: ignore[operator]


def _coefficient(entry: Expr, index: Expr) -> int | None:
    """How much an entry of an index grows with a loop variable; None if it is not linear in it."""
    if entry is index:
        return 1
    if index not in toposort([entry]):
        return 0
    if entry.op in (ADD, SUBTRACT):
        a, b = (_coefficient(part, index) for part in entry.args)
        return None if a is None or b is None else a + b if entry.op is ADD else a - b
    if entry.op is MULTIPLY:
        for factor, other in (entry.args, entry.args[::-1]):
            if factor.op is CONST:
                inner = _coefficient(other, index)
                return None if inner is None else int(const_value(factor)) * inner
    return None


def size_behind(buffer: Buffer, index: Sequence[Expr]) -> int:
    """The number of elements that have this index of the first axes."""
    return math.prod(buffer.shape[a] for a in buffer.kept_axes if a >= len(index))


def steps_of(buffer: Buffer, axes: Sequence[int]) -> list[str]:
    """How many elements apart neighbours along `axes` are."""
    strides = row_strides(buffer.kept_shape)
    return [str(strides[buffer.kept_axes.index(a)]) for a in axes]
