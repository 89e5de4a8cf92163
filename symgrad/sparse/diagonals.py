"""The entries of a sparse Jacobian as diagonals: no sweeps, no zeros, no gather.

Code that works on slices (stencils, recurrences between neighbours, chains) has a Jacobian that is
a sum of few *diagonals*: boxes of result elements, each of which depends on one variable element
through one coefficient array. Elementwise operations scale diagonals, views move them, sums join
them, so forward accumulation carries a list of them instead of tangents. Where the graph leaves
this class the answer is None, and `compress` takes over.

    diagonal: out[start + step·k] depends on variable element columns[k] with coefficients[k]

The entries in CSR order are then slices of the coefficient arrays, stacked: C writes each value
once, in streams, and reads nothing but the operands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.diff.modes import scale
from symgrad.expr.node import FLOATS, Expr, bind, const
from symgrad.expr.op import Kind
from symgrad.expr.walk import depends_on, toposort
from symgrad.ops.elementwise import SELECT, select
from symgrad.ops.linear import broadcast, concat, permute, reshape, slice_, sum_
from symgrad.sparse.pattern import Pattern

_MOST_DIAGONALS = 64  # at one node
_MOST_SUMMED = 16  # length of an axis whose sum is written out
_MOST_PARTS = 400  # statements that the entries may take
_MOST_PERIOD = 16


class _Irregular(Exception):
    """The Jacobian of a node is no short list of diagonals."""


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


def diagonal_entries(out: Expr, wrt: Expr, pattern: Pattern) -> Expr | None:
    """The entries of ∂ out / ∂ wrt at `pattern`, in its order: [nnz]; None if it is not regular.

    What is returned stands exactly at `pattern`, position by position; that is checked here.
    """
    if not pattern.nnz:
        return None
    try:
        diagonals = _accumulate(out, wrt)
        parts, columns, counts = _assemble(diagonals, out)
    except _Irregular:
        return None
    if not np.array_equal(columns, pattern.indices) or not np.array_equal(
        counts, np.diff(pattern.indptr)
    ):
        return None
    return parts


# ---- accumulation --------------------------------------------------------------------------------


def _accumulate(out: Expr, wrt: Expr) -> list[Diagonal]:
    nodes = toposort([out])
    active = depends_on(nodes, [wrt])
    ramp = np.arange(wrt.size).reshape(wrt.shape)
    zero, one = (0,) * wrt.ndim, (1,) * wrt.ndim
    known = {wrt: [Diagonal(zero, one, ramp, const(1, wrt.dtype, wrt.shape))]}
    for node in nodes:
        if node not in known:
            known[node] = []
            if node in active and node.dtype in FLOATS:
                found = [d for d in _node(node, known) if d.columns.size]
                known[node] = _merged(found)
    return known[out]


def _merged(diagonals: list[Diagonal]) -> list[Diagonal]:
    """One diagonal per place; Irregular if there are too many."""
    result: list[Diagonal] = []
    for d in diagonals:
        for k, other in enumerate(result):
            if d.same_place(other):
                result[k] = other.scaled(other.coefficients + d.coefficients)
                break
        else:
            result.append(d)
    if len(result) > _MOST_DIAGONALS:
        raise _Irregular
    return result


def _node(node: Expr, known: dict[Expr, list[Diagonal]]) -> Iterator[Diagonal]:
    row, args = node.op, node.args
    if row.kind is Kind.ELEMENTWISE:
        for k, a in enumerate(args):
            for d in known[a]:
                scaled = _scaled(node, k, d)
                if scaled is not None:
                    yield d.scaled(scaled)
    elif node.name in _RULES:
        if any(known[a] for a in args[1:]) and node.name != "concat":
            raise _Irregular
        yield from _RULES[node.name](node, known)
    elif any(known[a] for a in args):
        raise _Irregular


def _scaled(node: Expr, k: int, d: Diagonal) -> Expr | None:
    if node.op is SELECT:
        condition = d.window(node.args[0])
        return select(condition, d.coefficients, 0) if k == 1 else select(condition, 0, d.coefficients)
    partial = node.op.partials[k] if node.op.partials else None
    if partial is None:
        return None
    factor = partial(*node.args, node)
    return scale(d.coefficients, d.window(factor) if isinstance(factor, Expr) else factor)


def _slice(node: Expr, known: dict[Expr, list[Diagonal]]) -> Iterator[Diagonal]:
    windows = list(zip(*node.attrs, strict=True))
    for d in known[node.args[0]]:
        cut = [_meet(a, b, n, *w) for a, b, n, w in zip(d.starts, d.steps, d.shape, windows, strict=True)]
        if all(c is not None for c in cut):
            begin, count, stride, starts, steps = zip(*cut, strict=True)
            here = tuple(slice(b, b + (n - 1) * s + 1, s) for b, n, s in zip(begin, count, stride, strict=True))
            coefficients = slice_(d.coefficients, begin, count, stride)
            yield Diagonal(starts, steps, d.columns[here], coefficients)


def _meet(start: int, step: int, count: int, first: int, size: int, stride: int) -> Any:
    """Progression start + step·k, k < count, seen through the window first + stride·j, j < size.

    Returns (first k, how many, step in k, first j, step in j), or None where they do not meet.
    """
    if stride < 0:
        raise _Irregular
    box = np.arange(count) * step + start
    j, rest = np.divmod(box - first, stride)
    k = np.flatnonzero((rest == 0) & (j >= 0) & (j < size))
    if not len(k):
        return None
    if len(k) == 1:
        return int(k[0]), 1, 1, int(j[k[0]]), 1
    return int(k[0]), len(k), int(k[1] - k[0]), int(j[k[0]]), int(j[k[1]] - j[k[0]])


def _pad(node: Expr, known: dict[Expr, list[Diagonal]]) -> Iterator[Diagonal]:
    _, starts, steps = node.attrs
    if any(s < 0 for s in steps):
        raise _Irregular
    for d in known[node.args[0]]:
        moved = tuple(a + s * b for a, s, b in zip(starts, steps, d.starts, strict=True))
        strides = tuple(1 if n == 1 else s * b for n, s, b in zip(d.shape, steps, d.steps, strict=True))
        yield Diagonal(moved, strides, d.columns, d.coefficients)


def _concat(node: Expr, known: dict[Expr, list[Diagonal]]) -> Iterator[Diagonal]:
    axis, start = node.attrs[0], 0
    for a in node.args:
        for d in known[a]:
            starts = tuple(s + start if k == axis else s for k, s in enumerate(d.starts))
            yield Diagonal(starts, d.steps, d.columns, d.coefficients)
        start += a.shape[axis]


def _permute(node: Expr, known: dict[Expr, list[Diagonal]]) -> Iterator[Diagonal]:
    (perm,) = node.attrs
    for d in known[node.args[0]]:
        yield Diagonal(
            tuple(d.starts[p] for p in perm), tuple(d.steps[p] for p in perm),
            np.transpose(d.columns, perm), permute(d.coefficients, perm),
        )  # fmt: skip


def _reshape(node: Expr, known: dict[Expr, list[Diagonal]]) -> Iterator[Diagonal]:
    x = node.args[0]
    for d in known[x]:
        if d.shape == x.shape:
            columns, coefficients = d.columns.reshape(node.shape), reshape(d.coefficients, node.shape)
            yield Diagonal((0,) * node.ndim, (1,) * node.ndim, columns, coefficients)
        elif [n for n in x.shape if n != 1] == [n for n in node.shape if n != 1]:
            kept = iter([k for k, n in enumerate(x.shape) if n != 1])
            axes = [None if n == 1 else next(kept) for n in node.shape]
            shape = tuple(1 if k is None else d.shape[k] for k in axes)
            starts = tuple(0 if k is None else d.starts[k] for k in axes)
            steps = tuple(1 if k is None else d.steps[k] for k in axes)
            yield Diagonal(starts, steps, d.columns.reshape(shape), reshape(d.coefficients, shape))
        else:
            raise _Irregular


def _broadcast(node: Expr, known: dict[Expr, list[Diagonal]]) -> Iterator[Diagonal]:
    shape, dims = node.attrs
    for d in known[node.args[0]]:
        at = dict(zip(dims, range(len(dims)), strict=True))
        box = tuple(d.shape[at[k]] if k in at else n for k, n in enumerate(shape))
        starts = tuple(d.starts[at[k]] if k in at else 0 for k in range(len(shape)))
        steps = tuple(d.steps[at[k]] if k in at else 1 for k in range(len(shape)))
        column_shape = [d.shape[at[k]] if k in at else 1 for k in range(len(shape))]
        columns = np.broadcast_to(d.columns.reshape(column_shape), box)
        yield Diagonal(starts, steps, columns, broadcast(d.coefficients, box, dims))


def _sum(node: Expr, known: dict[Expr, list[Diagonal]]) -> Iterator[Diagonal]:
    (axes,) = node.attrs
    for d in known[node.args[0]]:
        kept = [k for k in range(len(d.shape)) if k not in axes]
        starts, steps = tuple(d.starts[k] for k in kept), tuple(d.steps[k] for k in kept)
        shape = tuple(d.shape[k] for k in kept)
        first = d.columns[tuple(slice(1) if k in axes else slice(None) for k in range(len(d.shape)))]
        if np.array_equal(np.broadcast_to(first, d.shape), d.columns):
            yield Diagonal(starts, steps, first.reshape(shape), sum_(d.coefficients, axes))
            continue
        lengths = tuple(d.shape[k] for k in axes)
        if np.prod(lengths) > _MOST_SUMMED:
            raise _Irregular
        for index in np.ndindex(lengths):  # one diagonal per summed element
            at = dict(zip(axes, index, strict=True))
            begin = tuple(at.get(k, 0) for k in range(len(d.shape)))
            box = tuple(1 if k in at else n for k, n in enumerate(d.shape))
            columns = d.columns[tuple(slice(b, b + n) for b, n in zip(begin, box, strict=True))]
            piece = slice_(d.coefficients, begin, box, (1,) * len(box))
            yield Diagonal(starts, steps, columns.reshape(shape), reshape(piece, shape))


def _convert(node: Expr, known: dict[Expr, list[Diagonal]]) -> Iterator[Diagonal]:
    for d in known[node.args[0]]:
        yield d.scaled(bind("convert", d.coefficients, attrs=node.attrs))


_RULES = {
    "slice": _slice, "pad": _pad, "concat": _concat, "permute": _permute, "reshape": _reshape,
    "broadcast": _broadcast, "sum": _sum, "convert": _convert,
}  # fmt: skip


# ---- assembly: entries in CSR order --------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Rows:
    """Entries of consecutive rows: values and columns [outer..., entries], counts [outer..., rows]."""

    values: Expr | None  # None: no entries
    columns: np.ndarray
    counts: np.ndarray


def _assemble(diagonals: list[Diagonal], out: Expr) -> tuple[Expr, np.ndarray, np.ndarray]:
    """(entries [nnz], their columns, entries per row)."""
    budget = [_MOST_PARTS]
    # A scalar is one row; an axis of its own saves a case below.
    if not out.ndim:
        diagonals = [
            Diagonal((0,), (1,), d.columns.reshape(1), reshape(d.coefficients, (1,))) for d in diagonals
        ]
    rows = _along(diagonals, 0, out.shape or (1,), budget)
    assert rows.values is not None
    return rows.values, rows.columns.reshape(-1), rows.counts.reshape(-1)


def _along(diagonals: list[Diagonal], axis: int, shape: tuple[int, ...], budget: list[int]) -> _Rows:
    """Rows of the axes from `axis` on, for diagonals that share the box of the axes before it.

    The axis is cut where a diagonal begins or ends, so that within a segment every row has the
    same entries; steps make that a repeating group of rows.
    """
    outer = diagonals[0].shape[:axis]
    if axis == len(shape):
        return _leaf(diagonals, outer, budget)
    n = shape[axis]
    cuts = {0, n}
    for d in diagonals:
        cuts |= {d.starts[axis], d.starts[axis] + d.steps[axis] * (d.shape[axis] - 1) + 1}
    ends = sorted(cuts)
    rows = int(np.prod(shape[axis + 1 :]))  # under one index of this axis
    parts: list[_Rows] = []
    for low, high in zip(ends, ends[1:], strict=False):
        here = [
            d for d in diagonals
            if d.starts[axis] <= low <= d.starts[axis] + d.steps[axis] * (d.shape[axis] - 1)
        ]  # fmt: skip
        period = math.lcm(*(d.steps[axis] for d in here))
        if period > _MOST_PERIOD:
            raise _Irregular
        groups, rest = divmod(high - low, period)
        if groups:
            parts.append(_group(here, axis, shape, budget, outer, rows, low, period, period, groups))
        if rest:
            first = low + groups * period
            parts.append(_group(here, axis, shape, budget, outer, rows, first, rest, period, 1))
    return _joined(parts, outer)


def _group(
    diagonals: list[Diagonal], axis: int, shape: tuple[int, ...], budget: list[int],
    outer: tuple[int, ...], rows: int, low: int, members: int, period: int, count: int,
) -> _Rows:  # fmt: skip
    """Rows low … low + members - 1 of an axis and their `count` repetitions after each `period`."""
    parts = []
    for first in range(low, low + members):
        met = [
            _restricted(d, axis, first, period, count) for d in diagonals
            if (first - d.starts[axis]) % d.steps[axis] == 0
        ]  # fmt: skip
        if met:
            parts.append(_along(met, axis + 1, shape, budget))
        else:
            parts.append(_Rows(None, np.zeros((*outer, count, 0), int), np.zeros((*outer, count, rows), int)))
    joined = _joined(parts, (*outer, count))
    values = joined.values
    flat = (*outer, count * joined.columns.shape[-1])
    return _Rows(
        None if values is None else reshape(values, flat),
        joined.columns.reshape(flat), joined.counts.reshape((*outer, -1)),
    )  # fmt: skip


def _restricted(d: Diagonal, axis: int, first: int, period: int, count: int) -> Diagonal:
    """A diagonal on rows first, first + period, … of an axis only."""
    begin, stride = (first - d.starts[axis]) // d.steps[axis], period // d.steps[axis]
    if count == 1:
        stride = 1
    begins = tuple(begin if k == axis else 0 for k in range(len(d.shape)))
    sizes = tuple(count if k == axis else n for k, n in enumerate(d.shape))
    strides = tuple(stride if k == axis else 1 for k in range(len(d.shape)))
    here = tuple(slice(b, b + (n - 1) * s + 1, s) for b, n, s in zip(begins, sizes, strides, strict=True))
    return Diagonal(
        d.starts, d.steps, d.columns[here], slice_(d.coefficients, begins, sizes, strides)
    )


def _leaf(diagonals: list[Diagonal], outer: tuple[int, ...], budget: list[int]) -> _Rows:
    """One row for every index of the outer axes: its entries side by side, columns ascending."""
    columns: list[np.ndarray] = []
    values: list[Expr] = []
    for d in sorted(diagonals, key=lambda d: int(d.columns.flat[0])):
        if columns and np.array_equal(columns[-1], d.columns):
            values[-1] = values[-1] + d.coefficients
        else:
            columns.append(d.columns)
            values.append(d.coefficients)
    budget[0] -= len(values)
    stacked = np.stack(columns, axis=-1)
    if budget[0] < 0 or not (np.diff(stacked, axis=-1) > 0).all():
        raise _Irregular
    joined = concat([reshape(v, (*outer, 1)) for v in values], len(outer))
    return _Rows(joined, stacked, np.full((*outer, 1), len(values)))


def _joined(parts: list[_Rows], outer: tuple[int, ...]) -> _Rows:
    """Rows one after the other."""
    values = [p.values for p in parts if p.values is not None]
    return _Rows(
        concat(values, len(outer)) if values else None,
        np.concatenate([p.columns for p in parts], axis=-1),
        np.concatenate([p.counts for p in parts], axis=-1),
    )
