"""Maps from elements of a node to those of a variable, and how views and sums move them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import CONST, Expr, array, const, const_value
from symgrad.expr.op import Op
from symgrad.ops.linear import (
    BROADCAST,
    CONCAT,
    GATHER,
    PAD,
    PERMUTE,
    RESHAPE,
    SLICE,
    SUM,
    broadcast,
    gather,
    permute,
    reshape,
    slice_,
    sum_,
)
from symgrad.sparse.pattern import sources, targets

MOST_SUMMED = 16  # length of an axis whose sum is written out


class Irregular(Exception):
    """This node's Jacobian is no short list of maps of the kind asked for."""


@dataclass(frozen=True, eq=False)
class Diagonal:
    """Entries (start + step·k, columns[k]) of a Jacobian with values coefficients[k].

    starts, steps : per axis of the node, steps >= 1
    columns : integer array, the shape of the box; C-order numbers of variable elements
    coefficients : Expr of that shape
    """

    starts: tuple[int, ...]
    steps: tuple[int, ...]
    columns: np.ndarray
    coefficients: Expr

    @property
    def shape(self) -> tuple[int, ...]:
        return self.columns.shape

    def scaled(self, coefficients: Expr) -> Diagonal:
        return Diagonal(self.starts, self.steps, self.columns, coefficients)

    def window(self, whole: Expr) -> Expr:
        """The part of an array of the node's shape that this diagonal is over."""
        return slice_(whole, self.starts, self.shape, self.steps)

    def same_place(self, other: Diagonal) -> bool:
        return (
            self.starts == other.starts
            and self.shape == other.shape
            and self.steps == other.steps
            and (self.columns is other.columns or np.array_equal(self.columns, other.columns))
        )


@dataclass(frozen=True, eq=False)
class Scattered:
    """Entries (rows[k], columns[k]), C-order numbers, with values coefficients[k]; 1-D arrays."""

    rows: np.ndarray
    columns: np.ndarray
    coefficients: Expr

    def scaled(self, coefficients: Expr) -> Scattered:
        return Scattered(self.rows, self.columns, coefficients)

    def window(self, whole: Expr) -> Expr:
        """The elements of an array of the node's shape that belong to the entries."""
        return _picked(reshape(whole, (whole.size,)), self.rows)


Map = Diagonal | Scattered


# ---- boxes of elements ---------------------------------------------------------------------------


def _slice(node: Expr, k: int, d: Diagonal) -> Iterator[Diagonal]:
    axes = zip(d.starts, d.steps, d.shape, *node.attrs, strict=True)
    cut = [_meet(*axis) for axis in axes]
    if all(c is not None for c in cut):
        begins, counts, strides, starts, steps = zip(*cut, strict=True) if cut else ((),) * 5
        columns = d.columns[window_of(begins, counts, strides)]
        yield Diagonal(starts, steps, columns, slice_(d.coefficients, begins, counts, strides))


def _meet(start: int, step: int, count: int, first: int, size: int, stride: int) -> Any:
    """Progression start + step·k, k < count, seen through the window first + stride·j, j < size.

    Returns (first k, how many, step in k, first j, step in j), or None where they do not meet.
    """
    if stride < 0:
        raise Irregular
    j, rest = np.divmod(np.arange(count) * step + (start - first), stride)
    k = np.flatnonzero((rest == 0) & (j >= 0) & (j < size))
    if not len(k):
        return None
    if len(k) == 1:
        return int(k[0]), 1, 1, int(j[k[0]]), 1
    return int(k[0]), len(k), int(k[1] - k[0]), int(j[k[0]]), int(j[k[1]] - j[k[0]])


def window_of(starts: Any, counts: Any, steps: Any) -> tuple[slice, ...]:
    """The index of a box, for NumPy."""
    return tuple(
        slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(starts, counts, steps, strict=True)
    )


def _pad(node: Expr, k: int, d: Diagonal) -> Iterator[Diagonal]:
    _, starts, steps = node.attrs
    if any(s < 0 for s in steps):
        raise Irregular
    moved = tuple(a + s * b for a, s, b in zip(starts, steps, d.starts, strict=True))
    strides = [1 if n == 1 else s * b for n, s, b in zip(d.shape, steps, d.steps, strict=True)]
    yield Diagonal(moved, tuple(strides), d.columns, d.coefficients)


def _concat(node: Expr, k: int, d: Diagonal) -> Iterator[Diagonal]:
    axis = node.attrs[0]
    before = sum(a.shape[axis] for a in node.args[:k])
    starts = tuple(s + before if j == axis else s for j, s in enumerate(d.starts))
    yield Diagonal(starts, d.steps, d.columns, d.coefficients)


def _permute(node: Expr, k: int, d: Diagonal) -> Iterator[Diagonal]:
    (perm,) = node.attrs
    starts, steps = tuple(d.starts[p] for p in perm), tuple(d.steps[p] for p in perm)
    yield Diagonal(starts, steps, np.transpose(d.columns, perm), permute(d.coefficients, perm))


def _reshape(node: Expr, k: int, d: Diagonal) -> Iterator[Diagonal]:
    x = node.args[0]
    if d.shape == x.shape:
        columns, coefficients = d.columns.reshape(node.shape), reshape(d.coefficients, node.shape)
        yield Diagonal((0,) * node.ndim, (1,) * node.ndim, columns, coefficients)
    elif [n for n in x.shape if n != 1] == [n for n in node.shape if n != 1]:
        kept = iter([j for j, n in enumerate(x.shape) if n != 1])
        axes = [None if n == 1 else next(kept) for n in node.shape]
        shape = tuple(1 if j is None else d.shape[j] for j in axes)
        starts = tuple(0 if j is None else d.starts[j] for j in axes)
        steps = tuple(1 if j is None else d.steps[j] for j in axes)
        yield Diagonal(starts, steps, d.columns.reshape(shape), reshape(d.coefficients, shape))
    else:
        raise Irregular


def _broadcast(node: Expr, k: int, d: Diagonal) -> Iterator[Diagonal]:
    shape, dims = node.attrs
    box, narrow = list(shape), [1] * len(shape)
    starts, steps = [0] * len(shape), [1] * len(shape)
    for j, axis in enumerate(dims):
        box[axis] = narrow[axis] = d.shape[j]
        starts[axis], steps[axis] = d.starts[j], d.steps[j]
    columns = np.broadcast_to(d.columns.reshape(narrow), box)
    coefficients = broadcast(d.coefficients, tuple(box), dims)
    yield Diagonal(tuple(starts), tuple(steps), columns, coefficients)


def _sum(node: Expr, k: int, d: Diagonal) -> Iterator[Diagonal]:
    (axes,) = node.attrs
    kept = [j for j in range(len(d.shape)) if j not in axes]
    starts, steps = tuple(d.starts[j] for j in kept), tuple(d.steps[j] for j in kept)
    shape = tuple(d.shape[j] for j in kept)
    first = d.columns[tuple(slice(1 if j in axes else None) for j in range(len(d.shape)))]
    if (d.columns == first).all():
        yield Diagonal(starts, steps, first.reshape(shape), sum_(d.coefficients, axes))
        return
    if math.prod(d.shape[j] for j in axes) > MOST_SUMMED:
        raise Irregular
    box = tuple(1 if j in axes else n for j, n in enumerate(d.shape))
    for index in np.ndindex(*(d.shape[j] for j in axes)):  # one diagonal per summed element
        at = dict(zip(axes, index, strict=True))
        begins = tuple(at.get(j, 0) for j in range(len(d.shape)))
        columns = d.columns[window_of(begins, box, (1,) * len(box))].reshape(shape)
        piece = slice_(d.coefficients, begins, box, (1,) * len(box))
        yield Diagonal(starts, steps, columns, reshape(piece, shape))


def _gather(node: Expr, k: int, d: Diagonal) -> Iterator[Diagonal]:
    x, index, axis = *node.args, node.attrs[0]
    if k or d.shape[axis] != x.shape[axis]:
        raise Irregular
    rank = index.ndim
    columns = np.take(d.columns, _fixed(index), axis=axis)
    coefficients = (
        const(const_value(d.coefficients), d.coefficients.dtype, columns.shape)
        if d.coefficients.op is CONST else gather(d.coefficients, index, axis)
    )  # fmt: skip
    starts = (*d.starts[:axis], *(0,) * rank, *d.starts[axis + 1 :])
    steps = (*d.steps[:axis], *(1,) * rank, *d.steps[axis + 1 :])
    yield Diagonal(starts, steps, columns, coefficients)


MOVES: dict[Op, Callable[[Expr, int, Diagonal], Iterator[Diagonal]]] = {
    SLICE: _slice, PAD: _pad, CONCAT: _concat, PERMUTE: _permute, RESHAPE: _reshape,
    BROADCAST: _broadcast, SUM: _sum, GATHER: _gather,
}  # fmt: skip


# ---- elements in any order -----------------------------------------------------------------------


def _fixed(index: Expr) -> np.ndarray:
    return evaluate([index], {})[0]


def loosened(m: Map, node: Expr) -> Scattered:
    """A map of `node` with its rows listed."""
    if isinstance(m, Scattered):
        return m
    rows: Any = np.zeros((), np.int64)
    for n, start, step, count in zip(node.shape, m.starts, m.steps, m.shape, strict=True):
        rows = rows[..., None] * n + (start + step * np.arange(count))
    columns = np.ascontiguousarray(m.columns).reshape(-1)
    return Scattered(rows.reshape(-1), columns, reshape(m.coefficients, (columns.size,)))


def rerouted(node: Expr, k: int, m: Scattered, most: int) -> Scattered:
    """The entries of argument k, at the elements of `node` that take from theirs."""
    if node.op is CONCAT:
        axis, shape = node.attrs[0], node.shape
        ramp = np.arange(node.size).reshape(shape)
        before = sum(a.shape[axis] for a in node.args[:k])
        part = ramp[(slice(None),) * axis + (slice(before, before + node.args[k].shape[axis]),)]
        return Scattered(part.reshape(-1)[m.rows], m.columns, m.coefficients)
    if node.op.element is None:
        return Scattered(targets(node)[m.rows], m.columns, m.coefficients)
    source = sources(node)
    # The readers of element r are order[start[r] : start[r + 1]].
    order = np.argsort(source, kind="stable")
    start = np.searchsorted(source[order], np.arange(node.args[0].size + 1))
    counts = np.diff(start)[m.rows]
    if counts.sum() > most:
        raise Irregular
    taken = np.repeat(np.arange(len(m.rows)), counts)
    within = np.arange(len(taken)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = order[start[m.rows][taken] + within]
    return Scattered(rows, m.columns[taken], _picked(m.coefficients, taken))


def _picked(x: Expr, places: np.ndarray) -> Expr:
    """Elements of a 1-D array at known places."""
    if np.array_equal(places, np.arange(x.size)):
        return x
    if x.op is CONST:
        return const(const_value(x), x.dtype, places.shape)
    return gather(x, array(narrowed(places, x.size)), 0)


def narrowed(places: np.ndarray, size: int) -> np.ndarray:
    """Indices below `size`, as int32 where they fit."""
    return places.astype(np.int32 if size <= np.iinfo(np.int32).max else np.int64)
