"""What differs between the iterations of a loop: windows into arrays, and data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from symgrad.expr.node import CONST, Expr, array, bind, const_value, iota
from symgrad.ops.linear import broadcast, concat, gather, permute, reshape, slice_
from symgrad.simplify.shapes import Axes, Window

LONGEST_PERIOD = 8  # nodes per iteration
_MOST_LOOPS = 4  # nested in one another
MOST_RUNS = 4  # of evenly spaced windows, before gathering all of them is shorter
_LARGEST_EXACT = 2**23  # whole numbers that float32 multiplies and adds without rounding
Stacked = tuple[list[int], Expr]  # loops, and an array with one leading axis for each of them


@dataclass
class Windows:
    """One window per iteration, all of one size into one array."""

    first: Window
    shape: Axes
    starts: np.ndarray  # one row per iteration

    def even(self, loops: Axes) -> Stacked | None:
        """The windows as a slice, if they advance evenly in each loop."""
        origin = self.starts[0]
        strides = _strides(self.starts, loops)
        moved = [np.flatnonzero(s) for s in strides]
        used = [k for k, axes in enumerate(moved) if len(axes)]
        touched = [int(a) for k in used for a in moved[k]]
        sizes = self.first.sizes
        if all(len(moved[k]) == 1 and sizes[moved[k][0]] == 1 for k in used):
            if len(set(touched)) == len(touched):
                axes = {k: int(moved[k][0]) for k in used}
                return used, self._strided(axes, strides, loops)
        if len(used) != 1:
            return None
        stride, n = strides[used[0]], loops[used[0]]
        if len(touched) == 1:
            axis = touched[0]
            if stride[axis] == sizes[axis] * self.first.steps[axis]:
                return used, self._tiles(axis, n)
            if sizes[axis] <= LONGEST_PERIOD:
                return used, self._sliding(axis, n, int(stride[axis]))
        if all(sizes[a] == 1 for a in touched):
            line, weights = self._line(touched)
            start, step = int(origin @ weights), int(stride @ weights)
            if step:
                rest = line.shape[1:]
                cut = slice_(line, (start, *[0] * len(rest)), (n, *rest), (step, *[1] * len(rest)))
                return used, reshape(cut, (n, *self.shape))
        return None

    def _strided(self, axes: dict[int, int], strides: np.ndarray, loops: Axes) -> Expr:
        base, starts, sizes, steps, kept = self.first
        sizes_, steps_ = list(sizes), list(steps)
        for k, a in axes.items():
            sizes_[a], steps_[a] = loops[k], int(strides[k][a])
        cut = slice_(base, starts, tuple(sizes_), tuple(steps_))
        order = [*axes.values(), *[k for k in kept if k >= 0]]
        present = sorted(order)
        cut = reshape(cut, tuple(sizes_[a] for a in present))
        cut = permute(cut, tuple(present.index(a) for a in order))
        return reshape(cut, (*[loops[k] for k in axes], *self.shape))

    def _tiles(self, axis: int, n: int) -> Expr:
        """Windows that lie side by side: one slice, cut by a reshape."""
        base, starts, sizes, steps, _ = self.first
        long = (*sizes[:axis], n * sizes[axis], *sizes[axis + 1 :])
        cut = reshape(slice_(base, starts, long, steps), (*sizes[:axis], n, *sizes[axis:]))
        front = permute(cut, (axis, *[k for k in range(cut.ndim) if k != axis]))
        return reshape(front, (n, *self.shape))

    def _sliding(self, axis: int, n: int, stride: int) -> Expr:
        """Windows that overlap, or leave gaps: one slice for each of the few elements."""
        base, starts, sizes, steps, _ = self.first
        parts = []
        for k in range(sizes[axis]):
            start = starts[axis] + k * steps[axis]
            cut = slice_(
                base,
                (*starts[:axis], start, *starts[axis + 1 :]),
                (*sizes[:axis], n, *sizes[axis + 1 :]),
                (*steps[:axis], stride, *steps[axis + 1 :]),
            )
            parts.append(reshape(cut, (*cut.shape[: axis + 1], 1, *cut.shape[axis + 1 :])))
        joined = concat(parts, axis + 1)
        front = permute(joined, (axis, *[k for k in range(joined.ndim) if k != axis]))
        return reshape(front, (n, *self.shape))

    def _line(self, touched: Sequence[int]) -> tuple[Expr, np.ndarray]:
        """The array with the axes that the window moves along merged in front; their weights."""
        base, starts, sizes, steps, _ = self.first
        front = sorted(touched)
        inside = [k in front for k in range(base.ndim)]
        cut = slice_(
            base,
            tuple(0 if f else n for f, n in zip(inside, starts, strict=True)),
            tuple(m if f else n for f, m, n in zip(inside, base.shape, sizes, strict=True)),
            tuple(1 if f else n for f, n in zip(inside, steps, strict=True)),
        )
        rest = [k for k in range(base.ndim) if k not in front]
        cut = permute(cut, (*front, *rest))
        merged = math.prod(base.shape[a] for a in front)
        weights = np.zeros(base.ndim, np.int64)
        weight = 1
        for a in reversed(front):
            weights[a], weight = weight, weight * base.shape[a]
        return reshape(cut, (merged, *[sizes[k] for k in rest])), weights

    def stacked(self) -> Stacked:
        """The windows side by side, gathered by constant indices."""
        return [0], self._gathered()

    def _gathered(self) -> Expr:
        base, _, sizes, steps, _ = self.first
        touched = [int(a) for a in np.flatnonzero((self.starts != self.starts[0]).any(axis=0))]
        n = len(self.starts)
        if all(sizes[a] == 1 for a in touched):
            line, weights = self._line(touched)
            return reshape(gather(line, array(self.starts @ weights), 0), (n, *self.shape))
        index = np.zeros((n, *[1] * base.ndim), np.int64)
        for axis, (size, step) in enumerate(zip(sizes, steps, strict=True)):
            along = np.arange(size).reshape(-1, *[1] * (base.ndim - axis - 1)) * step
            at = self.starts[:, axis].reshape(n, *[1] * base.ndim) + along
            index = index * base.shape[axis] + at
        return reshape(gather(reshape(base, (base.size,)), array(index), 0), (n, *self.shape))


@dataclass
class Data:
    """One constant or captured array per iteration."""

    nodes: tuple[Expr, ...]

    def stacked(self) -> Stacked:
        """All values side by side."""
        return self.even((len(self.nodes),))

    def even(self, loops: Axes) -> Stacked:
        """All values, with one leading axis for each loop that they depend on."""
        like = self.nodes[0]
        uniform = all(node.op is CONST for node in self.nodes)
        if uniform:
            values = np.array([const_value(node) for node in self.nodes], like.dtype)
        else:
            values = np.array([node.op.evaluate(*node.attrs) for node in self.nodes], like.dtype)
        values = values.reshape(*loops, *values.shape[1:])
        used: list[int] = []
        for k in range(len(loops)):
            axis = len(used)
            first = np.take(values, [0], axis)
            if np.broadcast_to(first, values.shape).tobytes() == values.tobytes():
                values = np.take(values, 0, axis)
            else:
                used.append(k)
        result = _progression(values) or array(values)
        shape = tuple(loops[k] for k in used) + like.shape
        return used, broadcast(result, shape, tuple(range(result.ndim)))


def _progression(values: np.ndarray) -> Expr | None:
    """Whole numbers that advance evenly: computed from the index, so that no table is needed."""
    if values.ndim != 1 or values.dtype == bool or not np.isfinite(values).all():
        return None
    if not all(abs(v) < _LARGEST_EXACT and v == int(v) for v in (*values[:2], values[-1])):
        return None
    start, step = values[0], values[1] - values[0]
    expected = np.arange(len(values)).astype(values.dtype) * step + start
    if expected.tobytes() != values.tobytes():
        return None
    index = bind("convert", iota(len(values)), attrs=(str(values.dtype),))
    scaled = index * step if step != 1 else index
    return scaled + start if start != 0 else scaled


def _strides(starts: np.ndarray, loops: Axes) -> np.ndarray:
    """How far one round of each loop moves the windows."""
    rounds = [math.prod(loops[k + 1 :]) for k in range(len(loops))]
    return np.array([starts[r] - starts[0] for r in rounds]).reshape(len(loops), starts.shape[1])


def even_loops(starts: np.ndarray) -> Axes | None:
    """Sizes of nested loops, outermost first, in which all columns advance evenly, or None."""
    sizes: list[int] = []
    while len(sizes) < _MOST_LOOPS:
        n = len(starts)
        change = np.diff(starts, axis=0)
        same = (change == change[0]).all(axis=1)
        if same.all():
            return (n, *sizes)
        m = int(np.argmin(same)) + 1
        if n % m:
            return None
        blocks = starts.reshape(n // m, m, -1)
        if (np.diff(blocks, axis=1) != change[0]).any():
            return None
        sizes.insert(0, m)
        starts = blocks[:, 0]
    return None
