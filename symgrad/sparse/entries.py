"""From the maps of a result to its entries in CSR order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from symgrad.expr.node import Expr, array
from symgrad.ops.linear import concat, reshape, scatter_add, slice_
from symgrad.sparse.maps import (
    MOST_SUMMED,
    Diagonal,
    Irregular,
    Map,
    Scattered,
    loosened,
    narrowed,
    window_of,
)
from symgrad.sparse.pattern import Pattern

_MOST_PARTS = 400  # streams that the entries may take
_MOST_PERIOD = 16


def contributions(maps: list[Map], out: Expr, pattern: Pattern) -> Expr:
    """Every contribution added to its entry."""
    loose = [loosened(m, out) for m in maps]
    width = np.int64(max(1, pattern.shape[1]))
    entries = pattern.rows() * width + pattern.indices
    keys = np.concatenate([m.rows * width + m.columns for m in loose])
    place = np.minimum(np.searchsorted(entries, keys), pattern.nnz - 1)
    if not np.array_equal(entries[place], keys):
        raise Irregular  # the pattern knows a zero that the maps do not; sweeps never see it
    values = concat([m.coefficients for m in loose], 0)
    return scatter_add(values, array(narrowed(place, pattern.nnz)), 0, pattern.nnz)


# ---- entries in CSR order, side by side ---------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Rows:
    """Entries of consecutive rows, for every index of the outer axes.

    values, columns : [outer..., entries], None without entries; counts : [outer..., rows]
    """

    values: Expr | None
    columns: np.ndarray
    counts: np.ndarray


def streams(maps: list[Map], out: Expr, pattern: Pattern) -> Expr:
    """The entries as slices of the coefficients of diagonals."""
    diagonals = []
    for m in maps:
        if isinstance(m, Scattered):
            raise Irregular
        if not out.ndim:  # a scalar is one row; with an axis it is no special case below
            m = Diagonal((0,), (1,), m.columns.reshape(1), reshape(m.coefficients, (1,)))
        diagonals.append(m)
    rows = _along(diagonals, 0, out.shape or (1,), [_MOST_PARTS])
    columns, counts = rows.columns.reshape(-1), rows.counts.reshape(-1)
    if not np.array_equal(columns, pattern.indices) or not np.array_equal(
        counts, np.diff(pattern.indptr)
    ):
        raise Irregular
    assert rows.values is not None
    return rows.values


def _along(
    diagonals: list[Diagonal], axis: int, shape: tuple[int, ...], budget: list[int]
) -> _Rows:
    """Rows of the axes from `axis` on, for diagonals that share the box of the axes before it.

    The axis is cut where a diagonal begins or ends, so that within a segment every row has the
    same entries; steps make that a repeating group of rows.
    """
    outer = diagonals[0].shape[:axis]
    if axis == len(shape):
        return _leaf(diagonals, outer, budget)
    cuts = {0, shape[axis]}
    for d in diagonals:
        cuts |= {d.starts[axis], d.starts[axis] + d.steps[axis] * (d.shape[axis] - 1) + 1}
    ends = sorted(cuts)
    parts: list[_Rows] = []
    for low, high in zip(ends, ends[1:], strict=False):
        try:
            parts += _segment(diagonals, axis, shape, budget, low, high)
        except Irregular:
            # Columns that change places along a short axis, such as the coordinates of a point.
            if not 1 < high - low <= MOST_SUMMED or budget[0] < 0:
                raise
            for row in range(low, high):
                parts += _segment(diagonals, axis, shape, budget, row, row + 1)
    return _joined(parts, outer)


def _segment(
    diagonals: list[Diagonal], axis: int, shape: tuple[int, ...], budget: list[int],
    low: int, high: int,
) -> list[_Rows]:  # fmt: skip
    """Rows low … high - 1 of an axis, over which no diagonal begins or ends."""
    outer = diagonals[0].shape[:axis]
    here = [
        d for d in diagonals
        if d.starts[axis] <= low <= d.starts[axis] + d.steps[axis] * (d.shape[axis] - 1)
    ]  # fmt: skip
    period = math.lcm(*(d.steps[axis] for d in here))
    if period > _MOST_PERIOD:
        raise Irregular
    groups, rest = divmod(high - low, period)
    return [
        _group(here, axis, shape, budget, outer, (first, members, period, count))
        for first, members, count in ((low, period, groups), (high - rest, rest, 1))
        if members and count
    ]


def _group(
    diagonals: list[Diagonal], axis: int, shape: tuple[int, ...], budget: list[int],
    outer: tuple[int, ...], cut: tuple[int, int, int, int],
) -> _Rows:  # fmt: skip
    """`members` rows of an axis from `low` on, and their `count` repetitions after each period."""
    low, members, period, count = cut
    rows = math.prod(shape[axis + 1 :])  # under one index of this axis
    parts = []
    for first in range(low, low + members):
        met = [
            _restricted(d, axis, first, period, count) for d in diagonals
            if (first - d.starts[axis]) % d.steps[axis] == 0
        ]  # fmt: skip
        if met:
            parts.append(_along(met, axis + 1, shape, budget))
        else:
            nothing, counts = ((*outer, count, k) for k in (0, rows))
            parts.append(_Rows(None, np.zeros(nothing, int), np.zeros(counts, int)))
    joined = _joined(parts, (*outer, count))
    flat = (*outer, count * joined.columns.shape[-1])
    return _Rows(
        None if joined.values is None else reshape(joined.values, flat),
        joined.columns.reshape(flat), joined.counts.reshape((*outer, -1)),
    )  # fmt: skip


def _restricted(d: Diagonal, axis: int, first: int, period: int, count: int) -> Diagonal:
    """A diagonal on rows first, first + period, … of an axis only."""
    begin, stride = (first - d.starts[axis]) // d.steps[axis], period // d.steps[axis]
    if count == 1:
        stride = 1
    begins = tuple(begin if k == axis else 0 for k in range(len(d.shape)))
    counts = tuple(count if k == axis else n for k, n in enumerate(d.shape))
    strides = tuple(stride if k == axis else 1 for k in range(len(d.shape)))
    columns = d.columns[window_of(begins, counts, strides)]
    return Diagonal(d.starts, d.steps, columns, slice_(d.coefficients, begins, counts, strides))


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
        raise Irregular
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
