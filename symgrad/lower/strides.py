"""How far apart in memory neighbouring rounds of a loop, or lanes, read and write."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from symgrad.expr.node import CONST, Expr, const_value
from symgrad.expr.walk import toposort
from symgrad.lower.program import statements
from symgrad.lower.scalar import INDEX, loads
from symgrad.lower.statement import Buffer, is_flat, row_strides
from symgrad.lower.statements import Loop, Store
from symgrad.lower.tuning import COSTLY
from symgrad.ops.elementwise import ADD, MULTIPLY, SUBTRACT


def steps(index: Expr, buffer: Buffer, at: Sequence[Expr], word: int) -> bool:
    """Whether a vector of lanes has so many elements of a buffer as a vector of `word` bytes each.

    The next lane has the next element, or the same one.

    Compilers fill vectors with the smallest elements of a loop: beside a bool of each lane a block
    may be too short for one vector, and its last lanes are numbers.
    """
    own = buffer.lanes > 0 or buffer.role == "scalar"
    even = np.dtype(buffer.dtype).itemsize == word
    return even and (own or _step(index, buffer, at) in (0, 1))


def is_even(
    loop: Loop, stores: Sequence[Store], buffers: Mapping[int, Buffer] | Sequence[Buffer]
) -> bool:
    """Whether a vector of rounds of a loop is a vector of elements everywhere.

    Only then is it certain that compilers make vectors of its rounds: for others they may choose,
    and calls in them are functions of vectors here and of numbers there.
    """
    word = word_of(loop)
    touched = [(s.buffer, s.index) for s in stores]
    reads = loads(tuple(v for s in stores for v in s.exprs()))
    touched += [(buffers[n.attrs[0]], n.args) for n in reads]
    return all(
        b.role == "scalar" or not b.shape or steps(loop.index, b, at, word)
        or (np.dtype(b.dtype).itemsize == word and is_flat(b, at, loop.index))
        for b, at in touched
    )  # fmt: skip


def word_of(loop: Loop) -> int:
    """The bytes of a number for which costly functions are called in a loop; 8 where both are."""
    found = {n.dtype for s, _ in statements(loop.body) for n in toposort(s.exprs()) if is_costly(n)}
    return 4 if found == {"float32"} else 8


def is_costly(node: Expr) -> bool:
    """Whether it is a function that is worth a vector."""
    return node.op.cost >= COSTLY


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
    total = 0
    for a, stride in zip(buffer.kept_axes, row_strides(buffer.kept_shape), strict=True):
        part = _coefficient(at[a], variable)
        if part is None:
            return None
        total += part * stride
    return total


def _coefficient(entry: Expr, index: Expr) -> int | None:
    """How much an entry of an index grows with a loop variable; None if it is not linear in it."""
    if entry.op is INDEX or entry.op is CONST:  # nearly all
        return int(entry is index)
    found: dict[Expr, int | None] = {}
    for node in toposort([entry]):
        found[node] = 1 if node is index else _combined(node, [found[a] for a in node.args])
    return found[entry]


def _combined(node: Expr, parts: Sequence[int | None]) -> int | None:
    """The coefficient of a node from those of its operands."""
    if not any(n is None or n for n in parts):
        return 0
    if None in parts:
        return None
    if node.op in (ADD, SUBTRACT):
        a, b = parts
        return a + b if node.op is ADD else a - b  # type: ignore[operator]
    if node.op is MULTIPLY:
        for k, factor in enumerate(node.args):
            if factor.op is CONST:
                return int(const_value(factor)) * parts[1 - k]  # type: ignore[operator]
    return None


def size_behind(buffer: Buffer, index: Sequence[Expr]) -> int:
    """The number of elements that have this index of the first axes."""
    return math.prod(buffer.shape[a] for a in buffer.kept_axes if a >= len(index))


def steps_along(buffer: Buffer, axes: Sequence[int]) -> list[int]:
    """How many elements apart neighbours along `axes` are."""
    strides = row_strides(buffer.kept_shape)
    return [strides[buffer.kept_axes.index(a)] for a in axes]
