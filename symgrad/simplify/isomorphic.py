"""Isomorphic subgraphs walked side by side, and computed as one graph on arrays.

`Shapes` numbers nodes: two have one number if they are equal as trees, up to the places of windows
and the values of constants. `roll` takes rows of nodes, one row per iteration of a loop, verifies
that the rows are isomorphic, and finds out how their windows advance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from symgrad.diff.modes import vmap
from symgrad.expr.node import ARG, ARRAY, CONST, Expr, arg, array, bind, const, const_value, iota
from symgrad.expr.op import OPS, Kind, Op
from symgrad.expr.walk import substitute
from symgrad.ops.linear import broadcast, concat, gather, permute, reshape, slice_

FEWEST = 8  # iterations: shorter loops stay as they are written
LONGEST_PERIOD = 8  # nodes per iteration
_MOST_LOOPS = 4  # nested in one another
_MOST_RUNS = 4  # of evenly spaced windows, before gathering all of them is shorter
_MOST_PLACES = 8  # of a template, per node of an iteration; more only if these share differently
_LARGEST_EXACT = 2**23  # whole numbers that float32 multiplies and adds without rounding
_MOST_ELEMENTS = 2**22  # of a node of the vectorised body that needs memory
_SLICE, _RESHAPE, _MULTIPLY, _NEGATIVE = (
    OPS[name] for name in ("slice", "reshape", "multiply", "negative")
)
_DATA = (CONST, ARRAY)

Axes = tuple[int, ...]
Stacked = tuple[list[int], Expr]  # loops, and an array with one leading axis for each of them


class Window(NamedTuple):
    """A rectangular part of `base`, with its axes of size 1 anywhere.

    kept : for every axis of the part the axis of `base`, or -1 for an axis of size 1
    """

    base: Expr
    starts: Axes
    sizes: Axes
    steps: Axes
    kept: Axes


class Shapes:
    """Numbers for the shapes of nodes; a number's meaning lasts as long as the object.

    An array is looked into (its windows are leaves) if it comes from outside or has many windows.
    Other slices are operations like any other: the components of a small vector of one iteration.
    """

    def __init__(self, nodes: Sequence[Expr]) -> None:
        counts: dict[Expr, int] = {}
        for node in nodes:
            if node.op is _SLICE:
                counts[node.args[0]] = counts.get(node.args[0], 0) + 1
        self._arrays = {a for a, n in counts.items() if n >= FEWEST}
        self._numbers: dict[Any, int] = {}  # what a shape is → its number
        self._known: dict[Expr, int] = {}
        self._windows: dict[Expr, Window | None] = {}
        self.place: dict[Expr, Axes] = {}  # where the first window of a node starts

    def number(self, root: Expr) -> int:
        """Equal for nodes of one shape."""
        known = self._known
        stack = [root]
        while stack:
            node = stack[-1]
            if node in known:
                stack.pop()
                continue
            window = self.window(node)
            if window is None:
                waiting = [a for a in node.args if a not in known]
                if waiting:
                    stack.extend(waiting)
                    continue
            stack.pop()
            factor = _factor(node)
            if factor is not None:
                known[node], self.place[node] = known[factor[1]], self.place[factor[1]]
                continue
            key, self.place[node] = self._key(node, window)
            known[node] = self._numbers.setdefault(key, len(self._numbers))
        return known[root]

    def _key(self, node: Expr, window: Window | None) -> tuple[Any, Axes]:
        if window is not None:
            return (window.base, *window[2:], node.shape), window.starts
        if node.op in _DATA:
            return (node.dtype, node.shape), ()
        if not node.args:
            return node, ()
        place: Axes = ()
        args = self.arguments(node)
        for a in args:
            place = place or self.place[a]
        return (node.op, node.attrs, *[self._known[a] for a in args]), place

    def arguments(self, node: Expr) -> tuple[Expr, ...]:
        """The arguments of a node whose arguments are numbered, in an order that shapes decide."""
        if node.op.commutative and self._known[node.args[0]] > self._known[node.args[1]]:
            return node.args[::-1]
        return node.args

    def interchangeable(self, node: Expr) -> bool:
        """Whether both orders of the arguments of a numbered node have its shape."""
        return node.op.commutative and self._known[node.args[0]] == self._known[node.args[1]]

    def window(self, node: Expr) -> Window | None:
        """What `node` reads of an array, if it does nothing else."""
        if node.op is not _SLICE and node.op is not _RESHAPE:
            return None
        if node not in self._windows:
            views = [node]
            x = node.args[0]
            while x.op in (_SLICE, _RESHAPE) and x not in self._windows:
                views.append(x)
                x = x.args[0]
            for view in reversed(views):
                self._windows[view] = self._view(view)
        return self._windows[node]

    def _view(self, node: Expr) -> Window | None:
        x = node.args[0]
        inner = self._windows.get(x)
        if 0 in node.shape:
            return None
        if node.op is _SLICE and inner is None:
            if x.op is not ARG and x.op is not ARRAY and x not in self._arrays:
                return None
            kept = [k if n > 1 else -1 for k, n in enumerate(node.shape)]
            starts, sizes, steps = node.attrs
            return Window(x, starts, sizes, steps, tuple(kept))
        if inner is None:
            return None
        if node.op is _RESHAPE:
            wide = [k for k in inner.kept if k >= 0]
            if [n for n in node.shape if n > 1] != [inner.sizes[k] for k in wide]:
                return None
            axes = iter(wide)
            return inner._replace(kept=tuple([next(axes) if n > 1 else -1 for n in node.shape]))
        start, size, stride = list(inner.starts), list(inner.sizes), list(inner.steps)
        for k, a, n, s in zip(inner.kept, *node.attrs, strict=True):
            if k >= 0:
                start[k] += a * stride[k]
                size[k] = n
                stride[k] *= s if n > 1 else 1
        kept = [k if n > 1 else -1 for k, n in zip(inner.kept, node.shape, strict=True)]
        return Window(inner.base, tuple(start), tuple(size), tuple(stride), tuple(kept))


def _factor(node: Expr) -> tuple[Expr, Expr] | None:
    """c and x where `node` is c x or -x: 1 x and -1 x are written so, in the middle of a loop."""
    if node.op is _NEGATIVE:
        return const(-1, node.dtype, node.shape), node.args[0]
    if node.op is _MULTIPLY:
        for c, x in (node.args, node.args[::-1]):
            if c.op is CONST:
                return c, x
    return None


# ---- leaves: what differs between the iterations ----------------------------------------------


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


def _loops(starts: np.ndarray) -> Axes | None:
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


# ---- templates ---------------------------------------------------------------------------------


@dataclass
class Template:
    """What is common to all iterations.

    outs     one per node of a row, over the placeholders in `leaves`
    leaves   placeholder → what it stands for
    body     the nodes that are replaced
    """

    outs: list[Expr]
    leaves: dict[Expr, Windows | Data] = field(default_factory=dict)
    body: list[Expr] = field(default_factory=list)
    memory: int = 0  # elements of its largest node that needs memory

    def add(self, place: tuple[Expr, ...], made: Expr, row: Op) -> None:
        """`made`, an operation of `row`, computes what stands at `place`."""
        node = place[0]
        if made.site is None:
            made.site = node.site
        self.body.extend(place)
        if row.kind not in (Kind.ELEMENTWISE, Kind.LINEAR):
            self.memory = max(self.memory, node.size)

    def starts(self, n: int) -> np.ndarray:
        """Where all windows start: one row per iteration."""
        columns = [leaf.starts for leaf in self.leaves.values() if isinstance(leaf, Windows)]
        return np.concatenate(columns, axis=1) if columns else np.zeros((n, 1), np.int64)


def _template(rows: Sequence[Sequence[Expr]], shapes: Shapes) -> Template | None:
    """The rows walked side by side; None if they are not isomorphic.

    A place of the template is the tuple of the nodes that stand there, one per row.
    """
    n = len(rows)
    made: dict[tuple[Expr, ...], Expr] = {}
    below: dict[tuple[Expr, ...], list[tuple[Expr, ...]]] = {}
    template, first = Template([]), {rows[0][0]}
    roots = [tuple([row[k] for row in rows]) for k in range(len(rows[0]))]
    stack = list(roots)
    while stack:
        place = stack[-1]
        if place in made:
            stack.pop()
            continue
        node = place[0]
        if place.count(node) == n:
            made[place] = node
            continue
        first.add(node)
        if len(made) > _MOST_PLACES * len(first):
            return None
        if any(x.shape != node.shape or x.dtype != node.dtype for x in place):
            return None
        leaf = _leaf(place, shapes)
        if leaf is not None:
            made[place] = arg(len(template.leaves), node.shape, node.dtype)
            template.leaves[made[place]] = leaf
            continue
        row = node.op
        factors = _factors(place)
        if factors is not None:
            row = _MULTIPLY
            below.setdefault(place, factors)
        if place not in below:
            if not _same_operation(place):
                return None
            below[place] = _below(place, shapes)
        waiting = [p for p in below[place] if p not in made]
        if waiting:
            stack.extend(reversed(waiting))
            continue
        attrs = () if factors else node.attrs
        made[place] = bind(row, *[made[p] for p in below.pop(place)], attrs=attrs)
        template.add(place, made[place], row)
    template.outs = [made[place] for place in roots]
    return template


def _leaf(place: tuple[Expr, ...], shapes: Shapes) -> Windows | Data | None:
    if all(x.op in _DATA for x in place):
        return Data(place)
    first = shapes.window(place[0])
    if first is None:
        return None
    starts = []
    for node in place:
        window = shapes.window(node)
        if window is None or window.base is not first.base or window[2:] != first[2:]:
            return None
        starts.append(window.starts)
    return Windows(first, place[0].shape, np.array(starts, np.int64))


def _factors(place: tuple[Expr, ...]) -> list[tuple[Expr, ...]] | None:
    """The places of c and x where some of the nodes are c x, and the others x."""
    found = [_factor(node) for node in place]
    if not any(found):
        return None
    one = const(1, place[0].dtype, place[0].shape)
    pairs = [(one, node) if f is None else f for f, node in zip(found, place, strict=True)]
    return list(zip(*pairs, strict=True))


def _same_operation(place: tuple[Expr, ...]) -> bool:
    node = place[0]
    row, attrs, arity = node.op, node.attrs, len(node.args)
    if row.kind is not Kind.ELEMENTWISE and row.batch is None:
        return False
    return arity > 0 and all(
        x.op is row and x.attrs == attrs and len(x.args) == arity for x in place
    )


def _below(place: tuple[Expr, ...], shapes: Shapes) -> list[tuple[Expr, ...]]:
    """The places of the arguments."""
    columns = [shapes.arguments(node) for node in place]
    if shapes.interchangeable(place[0]):
        columns = _aligned(columns, shapes)
    return list(zip(*columns, strict=True))


def _aligned(pairs: list[tuple[Expr, ...]], shapes: Shapes) -> list[tuple[Expr, ...]]:
    """Pairs whose order says nothing (they were sorted), so that their windows advance evenly."""
    place = shapes.place
    result: list[tuple[Expr, ...]] = []
    last, before = None, None
    for pair in pairs:
        at = sorted([(place[x], k) for k, x in enumerate(pair)])
        choices = [at, at[::-1]]
        if last is not None:
            moves = [[shift(a, b[0]) for a, b in zip(last, c, strict=True)] for c in choices]
            costs = [
                (m != before, m[0] != m[1], sum(abs(s) for step in m for s in step)) for m in moves
            ]
            best = costs.index(min(costs))
            before, at = moves[best], choices[best]
        last = [a for a, _ in at]
        result.append(tuple([pair[k] for _, k in at]))
    return result


def shift(a: Axes, b: Axes) -> Axes:
    """How far `b` is from `a`."""
    return tuple([y - x for x, y in zip(a, b, strict=True)])


# ---- rolling -----------------------------------------------------------------------------------


@dataclass
class Roll:
    """Rows that can be computed as one: their template, and the loops that they come from."""

    rows: list[list[int]]  # positions, as given to `roll`
    template: Template
    loops: Axes
    arrays: dict[Expr, Stacked]  # placeholder → all its values
    even: bool = True  # no window has to be gathered

    def vectorised(self, outs: Sequence[Expr]) -> list[Expr] | None:
        """`outs`, which are over the template's placeholders, with one leading axis per loop.

        None if it would need much memory.
        """
        if self.template.memory * len(self.rows) > _MOST_ELEMENTS:
            return None
        exprs = list(outs)
        wide = {placeholder: placeholder for placeholder in self.arrays}
        for k in reversed(range(len(self.loops))):
            batched = {}
            for placeholder, (used, _) in self.arrays.items():
                if k in used:
                    old = wide[placeholder]
                    wide[placeholder] = arg(0, (self.loops[k], *old.shape), old.dtype)
                    batched[old] = wide[placeholder]
            exprs = vmap(exprs, batched, self.loops[k])
        return substitute(exprs, {wide[p]: value for p, (_, value) in self.arrays.items()})


def roll(rows: list[list[int]], nodes: list[list[Expr]], shapes: Shapes) -> list[Roll]:
    """How to compute rows of one shape; `rows` are the positions of the nodes."""
    for several in range(1, LONGEST_PERIOD // len(rows[0]) + 1):
        count = len(rows) // several
        if count < FEWEST:
            break
        made = _even(_merged(rows, several, count), _merged(nodes, several, count), shapes)
        if made is not None:
            return [made]
    template = _template(nodes, shapes)
    if template is None:
        return []
    runs = _runs(template.starts(len(rows)))
    if len(runs) <= _MOST_RUNS and 4 * sum(b - a for a, b in runs) >= 3 * len(rows):
        found = [_even(rows[a:b], nodes[a:b], shapes) for a, b in runs]
        if all(found):
            return [r for r in found if r is not None]
    arrays = {p: leaf.stacked() for p, leaf in template.leaves.items()}
    return [Roll(rows, template, (len(rows),), arrays, even=False)]


def _merged(rows: list[list[Any]], several: int, count: int) -> list[list[Any]]:
    """`several` rows as one."""
    if several == 1:
        return rows
    return [sum(rows[k * several : (k + 1) * several], []) for k in range(count)]


def _even(rows: list[list[int]], nodes: list[list[Expr]], shapes: Shapes) -> Roll | None:
    template = _template(nodes, shapes)
    loops = None if template is None else _loops(template.starts(len(rows)))
    if template is None or loops is None:
        return None
    arrays = {}
    for placeholder, leaf in template.leaves.items():
        stacked = leaf.even(loops)
        if stacked is None:
            return None
        arrays[placeholder] = stacked
    return Roll(rows, template, loops, arrays)


def _runs(starts: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of rows that advance evenly, none of them short."""
    change = np.diff(starts, axis=0)
    breaks = np.flatnonzero((change[1:] != change[:-1]).any(axis=1)) + 1
    result, free = [], 0
    for a, b in pairwise([0, *breaks.tolist(), len(change)]):
        first = max(a, free)
        if b + 1 - first >= FEWEST:
            result.append((first, b + 1))
            free = b + 1
    return result
