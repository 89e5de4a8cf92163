"""The entries of a sparse Jacobian by forward accumulation of whole diagonals: no sweeps.

A sweep computes as many numbers as there are results, and most of them are zeros that were known
beforehand. Here every node carries a short list of index maps with one coefficient array each:

    Diagonal    a box of elements of the node; element start + step·k depends on the variable's
                element columns[k] with coefficients[k]
    Scattered   the same for elements rows[k] in any order, with repetitions, which add up

Elementwise operations scale coefficients; views and captured indices move the maps, which are
integers known now; sums join them. Stencils, chains and everything else that works on slices stays
made of diagonals: its entries in CSR order are slices of the coefficient arrays, side by side, and
C writes each once, in streams. Meshes and graphs (gather, work, scatter) become scattered, and C
adds each contribution where it belongs, which is how finite elements are assembled.

Where the graph leaves this class, or the lists get long, the answer is None and `compress` takes
over. Both end up at the pattern that `pattern` found independently; that is checked.

Griewank & Walther, Evaluating Derivatives, 2008, section 7.1 (sparse vector forward mode), with
one array operation for each diagonal instead of one scalar operation for each entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.diff.modes import scale
from symgrad.diff.support import Supports, has_pole
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import ARG, CONST, EYE, FLOATS, Expr, arg, array, bind, const, const_value
from symgrad.expr.op import Kind, Op
from symgrad.expr.walk import depends_on, toposort
from symgrad.ops.einsum import EINSUM, sizes
from symgrad.ops.elementwise import CONVERT, SELECT, select
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
    concat,
    gather,
    permute,
    reshape,
    scatter_add,
    slice_,
    sum_,
)
from symgrad.sparse.pattern import Pattern, sources, targets

_MOST_MAPS = 64  # at one node
_MOST_SUMMED = 16  # length of an axis whose sum is written out
_MOST_PARTS = 400  # streams that the entries may take
_MOST_PERIOD = 16
_MOST_REPEATED = 8  # contributions to one entry, on average


class _Irregular(Exception):
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
Known = dict[Expr, list[Map]]


def direct_entries(out: Expr, wrt: Expr, pattern: Pattern) -> Expr | None:
    """The entries of ∂ out / ∂ wrt at `pattern`, in its order: [nnz]; None if sweeps must do it."""
    seed: Known = {wrt: [_identity(wrt)]}
    try:
        maps = _accumulated(out, seed, _MOST_REPEATED * pattern.nnz + 1000)
    except _Irregular:
        return None
    if not maps:
        return None
    for assemble in (_streams, _contributions):
        try:
            return assemble(maps, out, pattern)
        except _Irregular:
            pass
    return None


def _identity(wrt: Expr) -> Diagonal:
    ramp = np.arange(wrt.size).reshape(wrt.shape)
    return Diagonal((0,) * wrt.ndim, (1,) * wrt.ndim, ramp, const(1, wrt.dtype, wrt.shape))


# ---- accumulation --------------------------------------------------------------------------------


def _accumulated(out: Expr, known: Known, most: int) -> list[Map]:
    """The maps of `out`, given those of the nodes in `known`."""
    nodes = toposort([out])
    active = depends_on(nodes, known)
    known = dict(known)
    supports = Supports() if any(has_pole(n) for n in nodes) else None
    for node in nodes:
        if node not in known:
            known[node] = []
            if node in active and node.dtype in FLOATS:
                known[node] = _merged(_node(node, known, most, supports))
                if sum(m.columns.size for m in known[node]) > most:
                    raise _Irregular
    return known[out]


def _merged(maps: Iterable[Map]) -> list[Map]:
    """One diagonal per place."""
    result: list[Map] = []
    for m in maps:
        if not m.columns.size:
            continue
        for k, other in enumerate(result):
            if isinstance(m, Diagonal) and isinstance(other, Diagonal) and m.same_place(other):
                result[k] = other.scaled(other.coefficients + m.coefficients)
                break
        else:
            result.append(m)
        if len(result) > _MOST_MAPS:
            raise _Irregular
    return result


def _node(node: Expr, known: Known, most: int, supports: Supports | None) -> Iterator[Map]:
    for k, a in enumerate(node.args):
        if not known[a]:
            continue
        if node.op.kind is Kind.ELEMENTWISE:
            for m in known[a]:
                coefficients = _scaled(node, k, m, supports)
                if coefficients is not None:
                    yield m.scaled(coefficients)
        elif node.op.kind is Kind.LINEAR:
            for m in known[a]:
                yield from _through(node, k, m, most)
        else:
            yield from _tangent(node, k, known, most)


def _scaled(node: Expr, k: int, m: Map, supports: Supports | None) -> Expr | None:
    if node.op is SELECT:
        condition = m.window(node.args[0])
        branches = (m.coefficients, 0) if k == 1 else (0, m.coefficients)
        return select(condition, *branches)
    partial = node.op.partials[k] if node.op.partials else None
    if partial is None:
        return None
    factor = partial(*node.args, node)
    factor = m.window(factor) if isinstance(factor, Expr) else factor
    return scale(m.coefficients, factor, supports, supports is not None, supports is not None)


def _tangent(node: Expr, k: int, known: Known, most: int) -> list[Map]:
    """Through the node's own derivative, an expression that is linear in a tangent."""
    seed = arg(0, node.args[k].shape, node.args[k].dtype)
    if node.op is EINSUM:
        tangent = _written_out(node, k, seed, most)
    elif node.op.jvp is not None and node.op.kind is not Kind.SCAN:
        tangents = [seed if j == k else None for j in range(len(node.args))]
        tangent = node.op.jvp(tangents, node, node.args, node.attrs)
    else:
        raise _Irregular
    # solve' is a solve again, cumprod' a recurrence: going through those would never end.
    seen = depends_on(toposort([tangent]), [seed])
    if any(n.op.kind is Kind.COMPOSITE or n.op is node.op for n in seen if node.op is not EINSUM):
        raise _Irregular
    return _accumulated(tangent, {seed: known[node.args[k]]}, most)


def _written_out(node: Expr, k: int, seed: Expr, most: int) -> Expr:
    """A contraction over few elements as a sum of products, factor k replaced by the seed."""
    inputs, output = node.attrs
    size = sizes(node.args, inputs)
    labels = [*output, *sorted(j for j in size if j not in output)]
    shape = tuple(size[j] for j in labels)
    plain = all(len(set(t)) == len(t) for t in inputs) and all(a.op is not EYE for a in node.args)
    if math.prod(shape) > most or not plain:
        raise _Irregular
    product: Expr | None = None
    for j, (a, t) in enumerate(zip(node.args, inputs, strict=True)):
        order = sorted(range(len(t)), key=lambda i: labels.index(t[i]))
        factor = permute(seed if j == k else a, tuple(order))
        factor = broadcast(factor, shape, tuple(labels.index(t[i]) for i in order))
        product = factor if product is None else product * factor
    assert product is not None
    return sum_(product, tuple(range(len(output), len(labels))))


def _through(node: Expr, k: int, m: Map, most: int) -> Iterable[Map]:
    """A linear operation that moves or adds elements."""
    if node.op is CONVERT:
        return [m.scaled(bind(CONVERT, m.coefficients, attrs=node.attrs))]
    if node.op.indices is not None and any(
        n.op is ARG for n in toposort([node.args[node.op.indices]])
    ):
        raise _Irregular  # an index that is known at run time only
    rule = _RULES.get(node.op)
    if rule is not None and isinstance(m, Diagonal):
        try:
            return list(rule(node, k, m))
        except _Irregular:
            pass
    return [_rerouted(node, k, _loose(m, node.args[k]), most)]


# ---- boxes of elements ---------------------------------------------------------------------------


def _slice(node: Expr, k: int, d: Diagonal) -> Iterator[Diagonal]:
    axes = zip(d.starts, d.steps, d.shape, *node.attrs, strict=True)
    cut = [_meet(*axis) for axis in axes]
    if all(c is not None for c in cut):
        begins, counts, strides, starts, steps = zip(*cut, strict=True) if cut else ((),) * 5
        columns = d.columns[_window(begins, counts, strides)]
        yield Diagonal(starts, steps, columns, slice_(d.coefficients, begins, counts, strides))


def _meet(start: int, step: int, count: int, first: int, size: int, stride: int) -> Any:
    """Progression start + step·k, k < count, seen through the window first + stride·j, j < size.

    Returns (first k, how many, step in k, first j, step in j), or None where they do not meet.
    """
    if stride < 0:
        raise _Irregular
    j, rest = np.divmod(np.arange(count) * step + (start - first), stride)
    k = np.flatnonzero((rest == 0) & (j >= 0) & (j < size))
    if not len(k):
        return None
    if len(k) == 1:
        return int(k[0]), 1, 1, int(j[k[0]]), 1
    return int(k[0]), len(k), int(k[1] - k[0]), int(j[k[0]]), int(j[k[1]] - j[k[0]])


def _window(starts: Any, counts: Any, steps: Any) -> tuple[slice, ...]:
    return tuple(
        slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(starts, counts, steps, strict=True)
    )


def _pad(node: Expr, k: int, d: Diagonal) -> Iterator[Diagonal]:
    _, starts, steps = node.attrs
    if any(s < 0 for s in steps):
        raise _Irregular
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
        raise _Irregular


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
    if math.prod(d.shape[j] for j in axes) > _MOST_SUMMED:
        raise _Irregular
    box = tuple(1 if j in axes else n for j, n in enumerate(d.shape))
    for index in np.ndindex(*(d.shape[j] for j in axes)):  # one diagonal per summed element
        at = dict(zip(axes, index, strict=True))
        begins = tuple(at.get(j, 0) for j in range(len(d.shape)))
        columns = d.columns[_window(begins, box, (1,) * len(box))].reshape(shape)
        piece = slice_(d.coefficients, begins, box, (1,) * len(box))
        yield Diagonal(starts, steps, columns, reshape(piece, shape))


def _gather(node: Expr, k: int, d: Diagonal) -> Iterator[Diagonal]:
    x, index, axis = *node.args, node.attrs[0]
    if k or d.shape[axis] != x.shape[axis]:
        raise _Irregular
    rank = index.ndim
    columns = np.take(d.columns, _fixed(index), axis=axis)
    coefficients = (
        const(const_value(d.coefficients), d.coefficients.dtype, columns.shape)
        if d.coefficients.op is CONST else gather(d.coefficients, index, axis)
    )  # fmt: skip
    starts = (*d.starts[:axis], *(0,) * rank, *d.starts[axis + 1 :])
    steps = (*d.steps[:axis], *(1,) * rank, *d.steps[axis + 1 :])
    yield Diagonal(starts, steps, columns, coefficients)


_RULES: dict[Op, Callable[[Expr, int, Diagonal], Iterator[Diagonal]]] = {
    SLICE: _slice, PAD: _pad, CONCAT: _concat, PERMUTE: _permute, RESHAPE: _reshape,
    BROADCAST: _broadcast, SUM: _sum, GATHER: _gather,
}  # fmt: skip


# ---- elements in any order -----------------------------------------------------------------------


def _fixed(index: Expr) -> np.ndarray:
    return evaluate([index], {})[0]


def _loose(m: Map, node: Expr) -> Scattered:
    """A map of `node` with its rows listed."""
    if isinstance(m, Scattered):
        return m
    rows: Any = np.zeros((), np.int64)
    for n, start, step, count in zip(node.shape, m.starts, m.steps, m.shape, strict=True):
        rows = rows[..., None] * n + (start + step * np.arange(count))
    columns = np.ascontiguousarray(m.columns).reshape(-1)
    return Scattered(rows.reshape(-1), columns, reshape(m.coefficients, (columns.size,)))


def _rerouted(node: Expr, k: int, m: Scattered, most: int) -> Scattered:
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
        raise _Irregular
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
    return gather(x, array(_narrow(places, x.size)), 0)


def _narrow(places: np.ndarray, size: int) -> np.ndarray:
    return places.astype(np.int32 if size <= np.iinfo(np.int32).max else np.int64)


def _contributions(maps: list[Map], out: Expr, pattern: Pattern) -> Expr:
    """Every contribution added to its entry."""
    loose = [_loose(m, out) for m in maps]
    width = np.int64(max(1, pattern.shape[1]))
    entries = pattern.rows() * width + pattern.indices
    keys = np.concatenate([m.rows * width + m.columns for m in loose])
    place = np.minimum(np.searchsorted(entries, keys), pattern.nnz - 1)
    if not np.array_equal(entries[place], keys):
        raise _Irregular  # the pattern knows a zero that the maps do not; sweeps never see it
    values = concat([m.coefficients for m in loose], 0)
    return scatter_add(values, array(_narrow(place, pattern.nnz)), 0, pattern.nnz)


# ---- entries in CSR order, side by side ---------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Rows:
    """Entries of consecutive rows, for every index of the outer axes.

    values, columns : [outer..., entries], None without entries; counts : [outer..., rows]
    """

    values: Expr | None
    columns: np.ndarray
    counts: np.ndarray


def _streams(maps: list[Map], out: Expr, pattern: Pattern) -> Expr:
    """The entries as slices of the coefficients of diagonals."""
    diagonals = []
    for m in maps:
        if isinstance(m, Scattered):
            raise _Irregular
        if not out.ndim:  # a scalar is one row; with an axis it is no special case below
            m = Diagonal((0,), (1,), m.columns.reshape(1), reshape(m.coefficients, (1,)))
        diagonals.append(m)
    rows = _along(diagonals, 0, out.shape or (1,), [_MOST_PARTS])
    columns, counts = rows.columns.reshape(-1), rows.counts.reshape(-1)
    if not np.array_equal(columns, pattern.indices) or not np.array_equal(
        counts, np.diff(pattern.indptr)
    ):
        raise _Irregular
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
        except _Irregular:
            # Columns that change places along a short axis, such as the coordinates of a point.
            if not 1 < high - low <= _MOST_SUMMED or budget[0] < 0:
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
        raise _Irregular
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
    columns = d.columns[_window(begins, counts, strides)]
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
