"""Kernels to loops: which kernels share a loop, in which order loops nest, where buffers live.

Index variables of different kernels belong to one *axis class* when a kernel reads, at exactly
that index, what another wrote at exactly that index, when both walk the same axis of an input, or
when both write parts of one array that alternate in memory.
A loop over a class can hold every kernel that has it, as long as each only reads what is already
complete. Applied from the outside inwards this makes one pass over shared data, and buffers that
are only used inside such a loop lose the axis; most become local variables.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from symgrad.expr.node import CONST, FLOATS, Expr, const, const_value
from symgrad.expr.walk import substitute, toposort
from symgrad.lower import product, verify
from symgrad.lower.access import accesses
from symgrad.lower.contract import split_contractions
from symgrad.lower.kernel import CheckIndex, Contract, Extremum, Kernel
from symgrad.lower.kernels import Kernels
from symgrad.lower.lanes import COSTLY, LANES, cut_into_lanes
from symgrad.lower.program import Program, statements
from symgrad.lower.scalar import INDEX, is_next, loads
from symgrad.lower.statements import Buffer, Call, Flush, Loop, Merge, Store, Zero, values
from symgrad.lower.stream import (
    ChunkSums,
    Window,
    blocks_of_chunk,
    blocks_of_points,
    share_among_threads,
    with_carry,
)
from symgrad.lower.tuning import HOST_TUNING, Tuning
from symgrad.ops.elementwise import MULTIPLY, minimum


def lower(
    args: Sequence[Expr],
    outs: Sequence[Expr],
    arg_names: Sequence[str],
    out_names: Sequence[str],
    *,
    threads: int = 1,
    blas: bool = False,
    tuning: Tuning = HOST_TUNING,
) -> Program:
    """The loop program of a graph without composites and stop_gradients.

    Parameters are the argument nodes and results with the C names they will have, how many threads
    may share a loop, whether a BLAS multiplies large matrices, and the thresholds.
    """
    kernels = Kernels(args, split_contractions(outs, tuning), arg_names, out_names, blas, tuning)
    kernels.kernels = _checks_first(kernels.kernels)
    scheduler = _Scheduler(kernels, threads)
    body = scheduler.nest(kernels.kernels, {})
    inputs = kernels.inputs + [b for b in kernels.data if b.role == "data"]
    program = Program(inputs, kernels.outputs, kernels.buffers, body, -1, kernels.indices)
    verify.after("nest", program, tuning)
    for change in PASSES:
        program = change(program, threads, tuning)
        verify.after(change.__name__, program, tuning)
    return program


def _checks_first(kernels: list[Kernel]) -> list[Kernel]:
    """Checks of given indices before everything else: they keep no other loops apart."""
    written = {k.buffer.number for k in kernels}

    def early(k: Kernel) -> bool:
        return k.barrier and not any(number in written for number, _ in k.reads())

    return [k for k in kernels if early(k)] + [k for k in kernels if not early(k)]


def _both_check(first: Kernel, second: Kernel) -> bool:
    """Whether two checks can share a loop: the second reads nothing at an index that is checked."""
    checks = isinstance(first, CheckIndex) and isinstance(second, CheckIndex)
    return checks and not any(
        any(True for _ in loads(node.args)) for node in loads((second.value,))
    )


class _Scheduler:
    def __init__(self, kernels: Kernels, threads: int) -> None:
        self.threads = threads  # that may share the next loop
        self.buffers = {b.number: b for b in kernels.buffers}
        self.kernels = kernels
        self.tuning = kernels.tuning
        self.reads = {k: k.reads() for k in kernels.kernels}
        self.parent: dict[Expr, Expr] = {}
        self.members: dict[Expr, set[Kernel]] = {}
        self.extent: dict[Expr, int] = {}
        for k in kernels.kernels:
            for i, n in (*((i, k.extents[i]) for i in (*k.dims, *k.reduce)), *k.own.items()):
                self.parent[i] = i
                self.members[i] = {k}
                self.extent[i] = n
        self.writers: dict[int, list[Kernel]] = {}
        self.deps: dict[Kernel, list[tuple[Kernel, tuple[Expr | None, ...]]]] = {}
        self._link(kernels.kernels)
        for a, b in kernels.together:
            self._union(a, b)
        self.streams = self._choose_streams(kernels.kernels)
        self.windows: dict[Expr, Window] = {}  # the streams that are open

    # ---- axis classes ------------------------------------------------------------------------

    def find(self, index: Expr) -> Expr:
        while self.parent[index] is not index:
            self.parent[index] = self.parent[self.parent[index]]
            index = self.parent[index]
        return index

    def _union(self, a: Expr, b: Expr) -> None:
        a, b = self.find(a), self.find(b)
        # Two axes of one kernel never become one: a loop could then not run over both. A part of
        # a concatenation walks less than the whole axis.
        if (
            a is not b
            and self.extent[a] == self.extent[b]
            and not (self.members[a] & self.members[b])
        ):
            self.parent[b] = a
            self.members[a] |= self.members.pop(b)

    def _link(self, kernels: Sequence[Kernel]) -> None:
        last_barrier: Kernel | None = None
        for k in kernels:
            deps: list[tuple[Kernel, tuple[Expr | None, ...]]] = []
            for number, index in self.reads[k]:
                for writer in self.writers.get(number, ()):
                    deps.append((writer, index))
                    for mine, theirs in zip(index, writer.target, strict=False):
                        if mine in self.parent and theirs in self.parent:
                            self._union(theirs, mine)
            if last_barrier is not None:
                deps.append((last_barrier, ()))
            self.deps[k] = deps
            if k.barrier:
                last_barrier = k
            for b in k.writes():
                self.writers.setdefault(b.number, []).append(k)
        walked: dict[tuple[int, int], Expr] = {}
        for k in kernels:
            for number, index in self.reads[k]:
                if number not in self.writers:
                    for axis, i in enumerate(index):
                        if i in self.parent:
                            other = walked.setdefault((number, axis), i)
                            if other is not i:
                                self._union(other, i)

    # ---- nesting -----------------------------------------------------------------------------

    def nest(self, kernels: Sequence[Kernel], bound: dict[Expr, Expr]) -> list:
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
            free = [i for i in (*k.dims, *k.reduce) if self.find(i) not in bound]
            axis = None if bound else self._stream_of(k)
            if axis is None and free:
                axis = self.find(self._outer(k, free))
                joined = self._producer_axis(k, free, groups, place)
                if joined and self.extent[joined] >= self.extent[axis]:
                    axis = joined
            position = self._earliest(k, axis, groups, place)
            while position < len(groups) and groups[position][0] is not axis:
                position += 1
            if position == len(groups):
                groups.append((axis, []))
            start = starts.pop(k.buffer, None)
            if start is not None:
                if axis is None:  # where the data choose the element, the start still needs loops
                    inside = all(self.find(i) in bound for i in start.dims)
                else:
                    inside = self._aligned(start, k.target, k, axis)
                (groups[position][1] if inside else prologue).append(start)
            groups[position][1].append(k)
            place[k] = position
        self._put_off(groups)
        prologue = [*starts.values(), *prologue]
        body: list = []
        if prologue:
            body += self._nest_plain(prologue, bound)
        for axis, members in groups:
            if not members:
                continue
            if axis is None:
                for k in members:
                    body += self._statements(k, bound)
            elif axis in self.streams and axis not in self.windows and not bound:
                body += self._stream(axis, members)
            else:
                first = next(k for k in members)
                index = next(i for i in (*first.dims, *first.reduce) if self.find(i) is axis)
                loop = Loop(index, self.extent[axis])
                if axis in self.windows:
                    loop.extent, loop.stop = self.windows[axis].size, self.windows[axis].extent
                loop.body = self.nest(members, {**bound, axis: index})
                body.append(loop)
        return body

    # ---- streams -----------------------------------------------------------------------------

    def _stream_of(self, k: Kernel) -> Expr | None:
        """The stream that a kernel belongs to and that is not open yet."""
        if not self.streams:
            return None
        for i in k.variables:
            axis = self.find(i)
            if axis in self.streams and axis not in self.windows:
                return axis
        return None

    def _choose_streams(self, kernels: Sequence[Kernel]) -> dict[Expr, int]:
        """Axes that the program runs over in blocks of points, for all kernels that have them.

        The result has the points of a block.
        Products of matrices want many points at once, but what they make for all points need not
        fit the cache, or the memory: between a product and its readers a block of it is enough.
        And where a product adds up over the points, data that others read as well is read once.
        """
        every = [k.product for k in kernels if isinstance(k, Contract)]
        blocks: dict[Expr, int] = {}
        for p in every:
            axis = self.find(p.row)
            blocks[axis] = max(blocks.get(axis, 0), _points_of_block(p, self.tuning))
        for p in every:
            axis = self.find(p.inner)
            if p.blas:
                blocks[axis] = max(blocks.get(axis, 0), self.tuning.blas_block)
            else:
                blocks.setdefault(axis, product.block_of_summands(p.extents[2], self.tuning))
        result = {}
        for axis, block in blocks.items():
            if self.extent[axis] < 2 * block:
                continue
            members = [k for k in self.members[axis] if k in self.reads]
            if any(k.whole or k.in_order in self._axes(k, axis) for k in members):
                continue
            private = self._private(kernels, members, axis)
            stored = [k for k in members if k.buffer.number in private]
            products = [k for k in stored if isinstance(k, Contract)]
            sums = [k for k in members if not set(self._axes(k, axis)) & set(k.target)]
            saved = 2 * sum(k.buffer.nbytes for k in products) + self._read_again(members, axis)
            added = self.tuning.added_share * sum(k.buffer.nbytes for k in sums)
            # Every block adds to the sums: the larger they are, the fewer blocks.
            while saved <= added * -(-self.extent[axis] // block) and self.extent[axis] > 4 * block:
                block *= 2
            if saved > max(added * -(-self.extent[axis] // block), self.tuning.stream_from_bytes):
                result[axis] = block
        return result

    def _read_again(self, members: Sequence[Kernel], axis: Expr) -> int:
        """Bytes that products which add up over the points read, and other members as well."""
        data: dict[bool, set[int]] = {True: set(), False: set()}
        for k in members:
            adds = isinstance(k, Contract) and self.find(k.product.inner) is axis
            data[adds].update(n for n, _ in self.reads[k] if n not in self.writers)
        return sum(self.buffers[n].nbytes for n in data[True] & data[False])

    def _axes(self, k: Kernel, axis: Expr) -> list[Expr]:
        """The loop variables of a kernel that are in the class of `axis`."""
        return [i for i in k.variables if self.find(i) is axis]

    def _private(
        self, kernels: Sequence[Kernel], members: Sequence[Kernel], axis: Expr
    ) -> dict[int, int]:
        """Buffers that only `members` use, at one point of `axis` each: the axis of the points."""
        result: dict[int, int] = {}
        shared: set[int] = set()
        inside = set(members)
        for k in kernels:
            written = [(b.number, k.target) for b in k.writes()]
            if isinstance(k, Extremum):  # both have one index
                shared.update(number for number, _ in written)
            for number, index in (*written, *self.reads[k]):
                if number < 0 or self.buffers[number].role != "work" or number in shared:
                    continue
                at = [a for a, i in enumerate(index) if i in self.parent and self.find(i) is axis]
                if k not in inside or len(at) != 1 or result.setdefault(number, at[0]) != at[0]:
                    shared.add(number)
        return {number: a for number, a in result.items() if number not in shared}

    def _stream(self, axis: Expr, members: list[Kernel]) -> list[Any]:
        """A loop over blocks of points, or over chunks of these, and in it what has the points."""
        size, total = self.streams[axis], self.extent[axis]
        private = self._private(list(self.reads), members, axis)
        for number, a in private.items():
            buffer = self.buffers[number]
            buffer.shape = (*buffer.shape[:a], size, *buffer.shape[a + 1 :])
        reduced = [k for k in members if self._is_reduced(k, axis)]
        most = self.tuning.chunk_sum_bytes
        sums = [k for k in reduced if k.adds_up and k.buffer.nbytes <= most]
        work, blocks = sum(k.work for k in members), -(-total // size)
        together = blocks_of_chunk(blocks, sum(map(_elements, sums)), work / blocks, self.tuning)
        in_chunks = sums if together < blocks else []
        rounds, body, begin, added = blocks_of_points(
            total, size, together if in_chunks else 1, self.kernels.fresh
        )
        chunks = ChunkSums()
        many = total >= self.tuning.compensate_from_points * size
        for k in in_chunks:
            self._add_in_chunks(k, chunks, rounds.index, many)
        extent = None
        if total % size:
            extent = minimum(const(total, "int64") - begin, size)
        threads = self.threads
        in_parts = len(chunks.parts) == len(reduced)
        if not self.windows and in_parts and _shareable(members, self.tuning):
            rounds.members, self.threads = threads, 1
        local, parts = self.kernels.fresh(), chunks.parts
        self.windows[axis] = Window(begin, size, extent, local, private, parts, added)
        body += self.nest(members, {})
        del self.windows[axis]
        self.threads = threads
        rounds.body[:] = [*chunks.zeros, *rounds.body, *chunks.merges]
        rounds.in_order = len(chunks.merges)
        return [*chunks.before, rounds, *chunks.after]

    def _is_reduced(self, k: Kernel, axis: Expr) -> bool:
        """Whether a kernel makes one element of those at all points of an axis."""
        return any(self.find(i) is axis for i in k.summed)

    def _add_in_chunks(self, k: Kernel, chunks: ChunkSums, round_: Expr, many: bool) -> None:
        """Have a sum over the points added up for each chunk; `many`: with compensation."""
        total = self._sum_in_chunk(k.buffer)
        part, carry = self._like(total), None
        for a, i in enumerate(k.target):  # of other streams, one block is enough
            window = self.windows.get(self.find(i))
            if window is not None:
                part.shape = (*part.shape[:a], window.size, *part.shape[a + 1 :])
                window.private[part.number] = a
        chunks.parts[total.number] = part
        if isinstance(k, Contract):
            carry = k.product.carry
        elif many:
            carry = self._like(total)
            for window in self.windows.values():
                if total.number in window.private:
                    window.private[carry.number] = window.private[total.number]

            def finish(_: Buffer, at: tuple[Expr, ...]) -> Store:
                return Store(total, at, with_carry(total, carry, at))

            chunks.after += self._for_sum(k, (total,), finish, each=True)
        if any(self._is_reduced(k, axis) for axis in self.windows):  # what is in it stays
            round_ = const(1, "int64")
            if carry is not None:
                chunks.before += self._for_sum(k, (carry,), Zero)
        if not isinstance(k, Contract) or product.is_symmetric(k.product):  # which leaves out half
            chunks.zeros += self._for_sum(k, (part,), Zero)
        buffers = (total, part) if carry is None else (total, part, carry)
        chunks.merges += self._for_sum(k, buffers, functools.partial(Merge, round_))

    def _for_sum(
        self, k: Kernel, buffers: Sequence[Buffer], make: Callable[..., Any], each: bool = False
    ) -> list[Any]:
        """make(buffer, index, …) for the elements that a sum has here, of it or of what is like it.

        For one at a time if `each`, else for as many as are contiguous in all of `buffers`.
        """
        places: list[list[Expr]] = [[] for _ in buffers]
        loops: list[Loop] = []
        first = len(k.target) if each else 0  # axes with an index
        for a, i in enumerate(k.target):
            window = self.windows.get(self.find(i))
            here = self.kernels.fresh()
            extent = buffers[0].shape[a] if window is None else window.size
            loops.append(Loop(here, extent, stop=None if window is None else window.extent))
            for b, place in zip(buffers, places, strict=True):
                if window is not None and b.number not in window.private:
                    place.append(window.begin + here)
                    first = max(first, a + 1)
                else:
                    place.append(here)
        indices = [tuple(place[:first]) for place in places]
        body = [make(*(x for pair in zip(buffers, indices, strict=True) for x in pair))]
        for loop in reversed(loops[:first]):
            loop.body, body = body, [loop]
        return body

    def _like(self, buffer: Buffer) -> Buffer:
        made = self.kernels.work(buffer.shape, buffer.dtype)
        self.buffers[made.number] = made
        return made

    def _earliest(
        self, k: Kernel, axis: Expr | None, groups: list[Any], place: dict[Kernel, int]
    ) -> int:
        """The first group that a kernel may join, if it loops over `axis`."""
        earliest = 0
        for writer, index in self.deps[k]:
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
                reads = [(w, i, k) for k in later for w, i in self.deps.get(k, ()) if w in made]
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
        classes = {self.find(i): i for i in free}
        for writer, _ in self.deps[k]:
            if writer not in place or writer.buffer.role != "work":
                continue
            group = place[writer]
            axis = groups[group][0]
            if axis not in classes:
                continue
            if classes[axis] in k.reduce and _elements(k) > self.tuning.sums_in_cache:
                continue
            produced = math.prod(writer.buffer.shape)
            if produced > size and self._earliest(k, axis, groups, place) <= group:
                best, size = axis, produced
        return best

    def _nest_plain(self, kernels: Sequence[Kernel], bound: dict[Expr, Expr]) -> list:
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
        mine = [i for i in writer.made if self.find(i) is axis]
        if not mine:  # complete only after the loop, or written before it
            return False
        target = writer.target
        for theirs, i in zip(target, index, strict=False):
            if theirs is mine[0]:
                return i is not None and i.op is INDEX and self.find(i) is axis
        return False

    def _outer(self, k: Kernel, free: list[Expr]) -> Expr:
        """The index to loop over first: the one that walks most memory in the largest steps.

        Inside a block of points, where no loop is cut into lanes, what the other loops walk counts:
        the innermost one is a vector along rows.
        """
        scores = dict.fromkeys(free, 0.0)
        for number, index in {*self.reads[k], (k.buffer.number, k.target)}:
            if number < 0:
                continue
            shape = self.buffers[number].shape
            stride, size = 1, max(math.prod(shape), 1)
            if self.windows:
                moving = {i for at in index if at is not None for i in _indices(at) if i in scores}
                size = math.prod(self.extent[i] for i in moving)
            for axis in range(len(shape) - 1, -1, -1):
                at = index[axis] if axis < len(index) else None
                if at is not None:
                    for i, step in _steps(at):
                        if i in scores:
                            scores[i] += step * stride * size
                stride *= shape[axis]
        ordered = [i for i in free if i is not k.in_order] or free
        kept = [i for i in ordered if i in k.dims]
        # A loop over summands outside sweeps all sums in every round; one over sums reads all
        # summands in every round.
        read = sum(self.buffers[n].nbytes for n in {n for n, _ in self.reads[k]} if n >= 0)
        sums = math.prod(self.extent[i] for i in kept)
        if sums > self.tuning.sums_in_cache and read <= self.tuning.read_again_bytes:
            ordered = kept
        return max(ordered, key=lambda i: scores[i])

    def _statements(self, k: Kernel, bound: dict[Expr, Expr]) -> list[Any]:
        scope = _Scope(self, bound)
        if not isinstance(k, Contract):
            return [k.statement(scope)]
        p = k.product
        axes = (k.target.index(p.row), k.target.index(p.column))
        buffer = scope.sum_here(k.buffer)
        target = scope.renamed(k, scope.place(k, buffer))
        carry_index = scope.renamed(k, scope.place(k, p.carry)) if p.carry else target
        left, right = scope.renamed(k, (p.left, p.right))
        extents, limits = list(p.extents), [const(n, "int64") for n in p.extents]
        origins = [const(0, "int64")] * 3
        added = const(0, "int64")  # summands that are in the target already
        for position, i in enumerate(p.own):
            window = self.windows.get(self.find(i))
            if window is not None:
                extents[position] = window.size
                limits[position] = window.extent or const(window.size, "int64")
                origins[position] = window.begin
                if position == 2:
                    added = window.begin if buffer is k.buffer else window.added
        carry = None if buffer is not k.buffer else p.carry
        p = replace(p, left=left, right=right, extents=tuple(extents), carry=carry)
        if p.blas:
            return product.by_blas(
                p, buffer, target, axes, limits, added, self.buffers, self.kernels.fresh
            )
        return product.loops(
            p, buffer, target, carry_index, axes, limits, origins, added, self.buffers,
            self.kernels.fresh, parallel=self.threads > 1, tuning=self.tuning,
        )  # fmt: skip

    def _sum_in_chunk(self, buffer: Buffer) -> Buffer:
        """Where what is added to a sum goes in an open stream."""
        for window in self.windows.values():
            buffer = window.sums.get(buffer.number, buffer)
        return buffer

    def _target(self, k: Kernel, buffer: Buffer) -> tuple[Expr, ...]:
        """Where a kernel writes to a buffer: in one of an open window alone, relative to that."""
        target = list(k.target)
        for window in self.windows.values():
            if buffer.number in window.private:
                target[window.private[buffer.number]] = window.local
        return tuple(target)

    def _renamed(
        self, k: Kernel, bound: dict[Expr, Expr], exprs: Sequence[Expr]
    ) -> tuple[Expr, ...]:
        """`exprs` of a kernel with the loop variables that took the place of its own."""
        rename = {i: bound[self.find(i)] for i in (*k.dims, *k.reduce)}
        for i in (*rename, *k.own):
            window = self.windows.get(self.find(i))
            if window is not None:
                local = rename.get(i, i)
                exprs = window.localise(exprs, i)
                rename[i] = window.begin + local
                rename[window.local] = local
        return tuple(substitute(exprs, {old: new for old, new in rename.items() if old is not new}))


@dataclass(frozen=True)
class _Scope:
    """Loops around a kernel, and the streams that are open: see `kernel.Scope`."""

    scheduler: _Scheduler
    bound: dict[Expr, Expr]

    def renamed(self, kernel: Kernel, exprs: Sequence[Expr]) -> tuple[Expr, ...]:
        return self.scheduler._renamed(kernel, self.bound, exprs)

    def place(self, kernel: Kernel, buffer: Buffer) -> tuple[Expr, ...]:
        return self.scheduler._target(kernel, buffer)

    def sum_here(self, buffer: Buffer) -> Buffer:
        return self.scheduler._sum_in_chunk(buffer)


def _shareable(members: Sequence[Kernel], tuning: Tuning) -> bool:
    """Whether it pays to share blocks among threads, and no BLAS does that already."""
    blas = any(isinstance(k, Contract) and k.product.blas for k in members)
    return not blas and sum(k.work for k in members) >= tuning.share_from_work


def _points_of_block(p: product.Product, tuning: Tuning) -> int:
    """Rows of a product that are worth a copy of the other factor, which every block makes."""
    if p.blas:
        return tuning.blas_block
    return tuning.stream_points if p.extents[2] < tuning.many_summands else 4 * tuning.stream_points


def _elements(k: Kernel) -> int:
    return math.prod(k.buffer.shape)


def _indices(expr: Expr) -> list[Expr]:
    """The loop variables in an index expression."""
    return [index for index, _ in _steps(expr)]


def _steps(expr: Expr) -> list[tuple[Expr, int]]:
    """The loop variables in an index expression, each with its factor, as far as it is linear."""
    found, stack = [], [(expr, 1)]
    while stack:
        node, step = stack.pop()
        if node.op is INDEX:
            found.append((node, step))
        if node.op is MULTIPLY and any(a.op is CONST for a in node.args):
            step *= math.prod(abs(int(const_value(a))) for a in node.args if a.op is CONST)
        stack.extend((a, step) for a in node.args)
    return found


# ---- buffers ---------------------------------------------------------------------------------


def shrink(program: Program, threads: int, tuning: Tuning) -> Program:
    """Temporaries without the axes that every access fixes by the same loop around."""
    program = program.copied()
    body, buffers = program.body, program.by_number
    prefix: dict[int, tuple[Loop, ...]] = {}
    indices: dict[int, list[dict[int, Expr]]] = {}
    for access, path in accesses(body):
        number = access.buffer
        if buffers[number].role != "work":
            continue
        indices.setdefault(number, []).append(access.fixed)
        known = prefix.get(number)
        if known is None:
            prefix[number] = path
        else:
            same = 0
            while same < min(len(known), len(path)) and known[same] is path[same]:
                same += 1
            prefix[number] = known[:same]
    for number, all_indices in indices.items():
        around = prefix[number]
        ndim = len(buffers[number].shape)
        buffers[number].kept_axes = _kept_axes(ndim, all_indices, around)
        buffers[number].home = around[-1].body if around else body
    return program


def _kept_axes(
    ndim: int, indices: Sequence[dict[int, Expr]], around: tuple[Loop, ...]
) -> tuple[int, ...]:
    """The axes of a temporary that need storage: where its accesses fix them, loops around them."""
    depth = {loop.index: k for k, loop in enumerate(around)}
    fixed = {
        a: i
        for a, i in indices[0].items()
        if i in depth and all(other.get(a) is i for other in indices)
    }
    # A scan hands its last element from one iteration of a loop to the next: one for every
    # iteration of the loops inside of that loop, so their axes stay.
    others = {entry for index in indices for a, entry in index.items() if a not in fixed}
    carried = min((depth[i] for e in others for i in _indices(e) if i in depth), default=len(depth))
    return tuple(a for a in range(ndim) if a not in fixed or depth[fixed[a]] > carried)


def leave_out_zeros(program: Program, threads: int, tuning: Tuning) -> Program:
    """Loops inside a block of lanes over the part of a triangle that matters.

    Elsewhere the innermost loop is short, and a constant number of rounds is worth more.
    """
    program = program.copied()
    stack: list[tuple[Loop, Loop | None]] = []  # with the next loop around it, inside the lanes
    for top in program.body:
        if isinstance(top, Loop) and top.lanes:
            stack += [(s, None) for s in top.body if isinstance(s, Loop)]
    while stack:
        loop, outer = stack.pop()
        stack += [(s, loop) for s in loop.body if isinstance(s, Loop)]
        orders = {s.order if isinstance(s, Store) else None for s, _ in statements(loop.body)}
        if outer is None or orders == {None}:
            continue
        if orders == {(outer.index, loop.index)}:
            loop.start = outer.index
        elif orders == {(loop.index, outer.index)}:
            loop.stop = outer.index + const(1, "int64")
    return program


def split_sums(program: Program, threads: int, tuning: Tuning) -> Program:
    """Sums in loops of their own, behind what sets the elements of arrays: both are vectors then.

    Outside of lanes, where one loop holds both and neither needs the other's variables.
    """
    program = program.copied()
    stack = [program.body]
    while stack:
        statements_ = stack.pop()
        for position, loop in reversed(list(enumerate(statements_))):
            if not isinstance(loop, Loop) or loop.lanes:
                continue
            stack.append(loop.body)
            sums = [s for s in loop.body if _is_sum_over(s, loop.index)]
            others = [s for s in loop.body if s not in sums]
            if sums and others and _are_apart(sums, others, loop, tuning):
                index = program.fresh()
                loop.body[:] = others
                behind = Loop(index, loop.extent, start=loop.start, stop=loop.stop)
                for s in sums:
                    *at, value = substitute([*s.index, s.value], {loop.index: index})
                    behind.body.append(Store(s.buffer, tuple(at), value, s.op))
                statements_.insert(position + 1, behind)
    return program


def _is_sum_over(s: Any, index: Expr) -> bool:
    """Whether a statement adds to an element that a loop does not move."""
    return (
        isinstance(s, Store)
        and s.op == "+"
        and s.buffer.dtype in FLOATS
        and not any(index in toposort([i]) for i in s.index)
    )


def _are_apart(sums: Sequence[Store], others: Sequence[Any], loop: Loop, tuning: Tuning) -> bool:
    """Whether sums may be taken behind the loop in which `others` stay, and that pays."""
    added = {s.buffer.number for s in sums}
    written: dict[int, tuple[Expr, ...]] = {}
    for s in others:
        if not isinstance(s, Store) or s.op not in ("=", "+", "*"):
            return False
        own = any(is_next(s.index[a], loop.index) for a in s.buffer.kept_axes)
        if not own or written.setdefault(s.buffer.number, s.index) != s.index:
            return False
    for n in loads(tuple(v for s in (*sums, *others) for v in values(s))):
        if n.attrs[0] in added or n.args != written.get(n.attrs[0], n.args):
            return False
    costly = any(n.op.cost >= COSTLY for s in others for n in toposort([s.value]))
    return loop.step == 1 and loop.extent >= (tuning.vector_from_rounds if costly else 2 * LANES)


def place(program: Program, threads: int, tuning: Tuning) -> Program:
    """Local variables, stack arrays and workspace offsets chosen for all buffers.

    Workspace intervals run over the top-level statements; equal storage is reused first-fit.
    """
    program = program.copied()
    body, buffers = program.body, program.buffers
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for position, top in enumerate(body):
        for access, _ in accesses([top]):
            first.setdefault(access.buffer, position)
            last[access.buffer] = position
    called = _given_by_address(body)
    for position, top in enumerate(body):
        if isinstance(top, Loop) and top.members:
            alone = [b for b in buffers if first.get(b.number) == last.get(b.number) == position]
            alone = [b for b in alone if b.role == "work"]
            team = share_among_threads(top, alone, called, len(buffers), tuning)
            if team is not None:
                buffers.append(team)
                first[team.number] = last[team.number] = position
    stack_bytes = 0
    placed: list[Buffer] = []
    total = 0
    for buffer in sorted(
        (b for b in buffers if b.role == "work"), key=lambda b: (first.get(b.number, 0), b.number)
    ):
        if not buffer.kept_axes and buffer.number not in called:
            buffer.role = "scalar"
            continue
        if buffer.nbytes <= tuning.local_bytes and (
            stack_bytes + buffer.nbytes <= tuning.all_locals_bytes
        ):
            buffer.role = "local"
            stack_bytes += buffer.nbytes
            continue
        busy = sorted(
            (p.offset, p.offset + p.room) for p in placed if last[p.number] >= first[buffer.number]
        )
        offset = 0
        for start, stop in busy:
            if offset + buffer.room <= start:
                break
            offset = max(offset, stop)
        buffer.offset = offset
        placed.append(buffer)
        total = max(total, offset + buffer.room)
    program.workspace_bytes = total
    return program


def _given_by_address(body: list) -> set[int]:
    """The buffers that functions write to through a pointer, even if they have one element."""
    found: set[int] = set()
    for s, _ in statements(body):
        if isinstance(s, Call):
            found |= {b.number for b, _ in (*s.operands, s.target)}
        elif isinstance(s, Flush):
            found.add(s.partial.number)
        elif isinstance(s, Merge) and s.carry is not None:
            found.add(s.carry.number)
    return found


# In this order. Each leaves the program alone that it is given, and its result can be verified.
PASSES = (shrink, cut_into_lanes, leave_out_zeros, split_sums, place)


def row_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides of a shape, in elements."""
    strides = [1] * len(shape)
    for k in range(len(shape) - 2, -1, -1):
        strides[k] = strides[k + 1] * shape[k + 1]
    return tuple(strides)
