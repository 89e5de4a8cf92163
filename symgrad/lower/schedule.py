"""Kernels to loops: which kernels share a loop, in which order loops nest, where buffers live.

Index variables of different kernels belong to one *axis class* when a kernel reads, at exactly
that index, what another wrote at exactly that index, when both walk the same axis of an input, or
when both write parts of one array that alternate in memory.
A loop over a class can hold every kernel that has it, as long as each only reads what is already
complete. Applied from the outside inwards this makes one pass over shared data, and buffers that
are only used inside such a loop lose the axis; most become local variables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from symgrad.expr.node import Expr, const
from symgrad.expr.walk import substitute
from symgrad.lazy import dataclass
from symgrad.lower import product
from symgrad.lower.axes import AxisClasses
from symgrad.lower.kernel import CheckIndex, Contract, Kernel
from symgrad.lower.kernels import Kernels
from symgrad.lower.scalar import indices_of, loads, steps_of
from symgrad.lower.statement import Statement
from symgrad.lower.statements import Loop
from symgrad.lower.streaming import choose_streams
from symgrad.ops.elementwise import minimum


def _both_check(first: Kernel, second: Kernel) -> bool:
    """Whether two checks can share a loop: the second reads nothing at an index that is checked."""
    if not (isinstance(first, CheckIndex) and isinstance(second, CheckIndex)):
        return False
    return not any(any(True for _ in loads(node.args)) for node in loads((second.value,)))


@dataclass(frozen=True)
class Window:
    """One block of a stream.

    begin : its first point; size : points; extent : points, where the last block has fewer
    """

    begin: Expr
    size: int
    extent: Expr | None


class Scheduler:
    """Puts kernels into loops.

    order : the kernels in the order of the text, as far as nothing is fused
    windows : the streams that are open
    """

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels
        self.tuning = kernels.tuning
        self.draft = kernels.draft
        self.buffers = self.draft.buffers
        self.order = _checks_first([k for k in kernels.kernels if not k.is_empty])
        self.classes = AxisClasses(self.order, kernels.together, kernels.begin)
        self.streams = choose_streams(self.classes, self.order, self.buffers, self.tuning)
        self.windows: dict[Expr, Window] = {}

    # ---- nesting -----------------------------------------------------------------------------

    def body(self) -> list[Statement]:
        """Loops and statements for all kernels."""
        return self.nest(self.order, {})

    def nest(self, kernels: Sequence[Kernel], bound: dict[Expr, Expr]) -> list[Statement]:
        """Loops and statements for `kernels`, inside loops over the classes in `bound`.

        Greedy: each kernel joins the first loop over its outermost axis that comes late enough.
        The start value of an accumulation goes into the loop of its accumulation where that is
        possible, else before everything, so that it never separates two loops. Kernels join their
        streams before any loop; a start value that comes later has a plain loop.
        """
        starts = {k.buffer: k for k in kernels if k.start}
        prologue: list[Kernel] = []
        groups: list[tuple[Expr | None, list[Kernel]]] = []
        place: dict[Kernel, int] = {}
        for k in kernels:
            if k.start:
                continue
            axis = self._axis_of(k, bound, groups, place)
            position = self._earliest(k, axis, groups, place)
            while position < len(groups) and groups[position][0] is not axis:
                position += 1
            if position == len(groups):
                groups.append((axis, []))
            start = starts.pop(k.buffer, None)
            if start is not None:
                if axis is None:  # where the data choose the element, the start still needs loops
                    within = all(self.classes.find(i) in bound for i in start.dims)
                else:
                    within = self._aligned(start, k.target, k, axis)
                (groups[position][1] if within else prologue).append(start)
            groups[position][1].append(k)
            place[k] = position
        self._put_off(groups)
        prologue = [*starts.values(), *prologue]
        body = self._nest_plain(prologue, bound) if prologue else []
        for axis, members in groups:
            if members:
                body += self._group(axis, members, bound)
        return body

    def _axis_of(
        self, k: Kernel, bound: dict[Expr, Expr], groups: list[Any], place: dict[Kernel, int]
    ) -> Expr | None:
        """The axis of the loop that a kernel needs next; None if it needs none."""
        axis = None if bound else self._stream_of(k)
        free = [i for i in (*k.dims, *k.reduce) if self.classes.find(i) not in bound]
        if axis is not None or not free:
            return axis
        axis = self.classes.find(self._outer(k, free))
        joined = self._producer_axis(k, free, groups, place)
        if joined and self.classes.extent[joined] >= self.classes.extent[axis]:
            return joined
        return axis

    def _group(
        self, axis: Expr | None, members: list[Kernel], bound: dict[Expr, Expr]
    ) -> list[Statement]:
        """The loop, or the stream, of kernels that share one; None: they need no other loop."""
        if axis is None:
            scope = _Scope(self, bound)
            return [s for k in members for s in k.statements(scope)]
        if axis in self.streams and axis not in self.windows and not bound:
            return self._stream(axis, members)
        first = members[0]
        index = next(i for i in (*first.dims, *first.reduce) if self.classes.find(i) is axis)
        extent, stop = self.classes.extent[axis], None
        if axis in self.windows:
            extent, stop = self.windows[axis].size, self.windows[axis].extent
        inside = self.nest(members, {**bound, axis: index})
        return [Loop(index, extent, inside, stop=stop)]

    # ---- streams -----------------------------------------------------------------------------

    def _stream_of(self, k: Kernel) -> Expr | None:
        """The stream that a kernel belongs to and that is not open yet."""
        if not self.streams:
            return None
        for i in k.variables:
            axis = self.classes.find(i)
            if axis in self.streams and axis not in self.windows:
                return axis
        return None

    def _stream(self, axis: Expr, members: list[Kernel]) -> list[Statement]:
        """A loop over blocks of points, and in it what has the points."""
        size, total = self.streams[axis], self.classes.extent[axis]
        begin = self.kernels.fresh()
        extent = None
        if total % size:
            extent = minimum(const(total, "int64") - begin, size)
        self.windows[axis] = Window(begin, size, extent)
        body = self.nest(members, {})
        del self.windows[axis]
        return [Loop(begin, total, body, step=size)]

    def _earliest(
        self, k: Kernel, axis: Expr | None, groups: list[Any], place: dict[Kernel, int]
    ) -> int:
        """The first group that a kernel may join, if it loops over `axis`."""
        earliest = 0
        for writer, index in self.classes.deps[k]:
            if writer in place:
                together = groups[place[writer]][0] is axis and (
                    axis is None or self._aligned(writer, index, k, axis) or _both_check(writer, k)
                )
                earliest = max(earliest, place[writer] + (0 if together else 1))
        return earliest

    def _put_off(self, groups: list[tuple[Expr | None, list[Kernel]]]) -> None:
        """Move what a loop holds into the next one over its axis, if nothing needs it before.

        In which order kernels come is an accident of the graph: what depends on nothing else may
        come before a loop over something else, and what reads it behind that loop.
        """
        for early in reversed(range(len(groups))):
            axis, members = groups[early]
            if axis is None or axis in self.streams or any(k.barrier for k in members):
                continue
            made = set(members)
            for other, later in groups[early + 1 :]:
                reads = [
                    (w, i, k) for k in later for w, i in self.classes.deps.get(k, ()) if w in made
                ]
                if other is axis and later:
                    if all(self._aligned(w, i, k, axis) for w, i, k in reads):
                        later[:0] = members
                        members.clear()
                    break
                if reads:
                    break

    def _producer_axis(
        self, k: Kernel, free: list[Expr], groups: list[Any], place: dict[Kernel, int]
    ) -> Expr | None:
        """The axis of the loop that makes the largest array that `k` reads, if `k` may join it.

        What it reads is then never stored as a whole. Sums over that axis have to be small enough
        to stay in the cache while the loop runs.
        """
        best, size = None, 0
        classes = {self.classes.find(i): i for i in free}
        earliest: dict[Expr, int] = {}  # by axis
        for writer, _ in self.classes.deps[k]:
            if writer not in place or writer.buffer.role != "work":
                continue
            group = place[writer]
            axis = groups[group][0]
            if axis not in classes:
                continue
            if classes[axis] in k.reduce and self._elements(k) > self.tuning.sums_in_cache:
                continue
            produced = self._elements(writer)
            if produced <= size:
                continue
            if axis not in earliest:
                earliest[axis] = self._earliest(k, axis, groups, place)
            if earliest[axis] <= group:
                best, size = axis, produced
        return best

    def _elements(self, k: Kernel) -> int:
        return math.prod(self.draft.now(k.buffer).shape)

    def _nest_plain(self, kernels: Sequence[Kernel], bound: dict[Expr, Expr]) -> list[Statement]:
        """Start values on their own: ordinary stores now."""
        for k in kernels:
            k.start = False
        return self.nest(kernels, bound)

    def _aligned(
        self, writer: Kernel, index: Sequence[Expr | None], reader: Kernel, axis: Expr
    ) -> bool:
        """Whether one iteration of a loop over `axis` reads only what that iteration wrote."""
        if writer.whole or reader.whole:
            return False
        if writer.own or reader.own:
            if axis not in self.streams or axis in self.windows:
                return False
        mine = [i for i in writer.made if self.classes.find(i) is axis]
        if not mine:  # complete only after the loop, or written before it
            return False
        target = writer.target
        for theirs, i in zip(target, index, strict=False):
            if theirs is mine[0]:
                return i in self.classes.parent and self.classes.find(i) is axis
        return False

    def _outer(self, k: Kernel, free: list[Expr]) -> Expr:
        """The index to loop over first: the one that walks most memory in the largest steps.

        Inside a block of points, where no loop is cut into lanes, what the other loops walk counts:
        the innermost one is a vector along rows.
        """
        scores = dict.fromkeys(free, 0.0)
        for number, index in {*self.classes.reads[k], (k.buffer.number, k.target)}:
            if number >= 0:
                self._score(number, index, scores)
        ordered = [i for i in free if i is not k.in_order] or free
        kept = [i for i in ordered if i in k.dims]
        # A loop over summands outside sweeps all sums in every round; one over sums reads all
        # summands in every round.
        read = sum(self.buffers[n].nbytes for n in {n for n, _ in self.classes.reads[k]} if n >= 0)
        sums = math.prod(self.classes.extent[i] for i in kept)
        if sums > self.tuning.sums_in_cache and read <= self.tuning.read_again_bytes:
            ordered = kept
        return max(ordered, key=lambda i: scores[i])

    def _score(self, number: int, index: Sequence[Expr | None], scores: dict[Expr, float]) -> None:
        """Adds how far each variable moves through an array, by how much there is of it."""
        shape = self.buffers[number].shape
        stride, size = 1, max(math.prod(shape), 1)
        if self.windows:
            given = [at for at in index if at is not None]
            moving = {i for at in given for i in indices_of(at) if i in scores}
            size = math.prod(self.classes.extent[i] for i in moving)
        for axis in range(len(shape) - 1, -1, -1):
            at = index[axis] if axis < len(index) else None
            if at is not None:
                for i, step in steps_of(at):
                    if i in scores:
                        scores[i] += step * stride * size
            stride *= shape[axis]


@dataclass(frozen=True)
class _Scope:
    """Where a kernel becomes statements: see `kernel.Scope`.

    bound : by axis class, the variable of the loop around
    windows : the streams that are open, by axis class
    """

    scheduler: Scheduler
    bound: dict[Expr, Expr]

    @property
    def windows(self) -> dict[Expr, Window]:
        return self.scheduler.windows

    def window(self, index: Expr) -> Window | None:
        return self.windows.get(self.scheduler.classes.find(index))

    def renamed(self, kernel: Kernel, exprs: Sequence[Expr]) -> tuple[Expr, ...]:
        find = self.scheduler.classes.find
        rename = {i: self.bound[find(i)] for i in (*kernel.dims, *kernel.reduce)}
        for i in (*rename, *kernel.own):
            window = self.window(i)
            if window is not None:
                rename[i] = window.begin + rename.get(i, i)
        return tuple(substitute(exprs, {old: new for old, new in rename.items() if old is not new}))

    def body(self, kernels: Kernels) -> Sequence[Statement]:
        return Scheduler(kernels).body()

    def product(self, kernel: Contract) -> Sequence[Statement]:
        p = kernel.product
        index = self.renamed(kernel, kernel.target)
        left, right = self.renamed(kernel, (p.left, p.right))
        extents, limits, origins, added = [*p.extents], [*p.limits], [*p.origins], p.added
        for position, i in enumerate(p.own):
            window = self.window(i)
            if window is not None:
                extents[position] = window.size
                limits[position] = window.extent or const(window.size, "int64")
                origins[position] = window.begin
                if position == 2:
                    added = window.begin
        sizes: dict[str, Any] = dict(extents=tuple(extents), limits=tuple(limits))
        here: dict[str, Any] = dict(origins=tuple(origins), index=index, carry_index=index)
        made = replace(p, left=left, right=right, added=added, **sizes, **here)
        return [product.written_out(made)]


def _checks_first(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Checks of given indices before everything else: they keep no other loops apart.

    None passes a check of the user's: the first one that fails says how the call ends.
    """
    written = {k.buffer.number for k in kernels}
    early: list[Kernel] = []
    late: list[Kernel] = []
    barred = fenced = False  # whether there is a late one, and one of the user's
    for k in kernels:
        given = k.barrier and not any(number in written for number, _ in k.reads)
        if given and not fenced and not (barred and k.fence):
            early.append(k)
            continue
        late.append(k)
        barred, fenced = barred or k.barrier, fenced or k.fence
    return early + late
