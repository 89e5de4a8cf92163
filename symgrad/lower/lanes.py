"""Loops over data points in blocks, with the point as the innermost index: SIMD lanes.

A loop over points whose body holds further loops (over components, features, coordinates) leaves
a compiler nothing to vectorise: the inner loops are short. Here such a loop is cut into blocks of
`lanes` points; every statement of its body then runs over all points of a block before the next
one does, and what is private to a point gets the lane as its last, contiguous axis. Nothing of the
size of the data is stored: the blocks fit the first-level cache.

Sums over the points are added up per block and enter their target with compensation, so that the
error does not grow with the number of points.
"""

from __future__ import annotations

import enum
import math
from typing import Any

from symgrad.expr.node import FLOATS, Expr, const
from symgrad.expr.walk import toposort
from symgrad.lower.access import accesses_of, rewrite, targets
from symgrad.lower.hoist import Hoist
from symgrad.lower.program import Program, scopes, statements, unused_name
from symgrad.lower.scalar import INDEX, LOAD, index_of, load_of, loads, unravel
from symgrad.lower.statements import (
    Buffer,
    Call,
    Check,
    Fail,
    Flush,
    Gemm,
    Loop,
    Merge,
    Panels,
    Rows,
    Store,
    Tiles,
    Zero,
    is_flat,
)  # fmt: skip
from symgrad.lower.straight import TILE, Written, is_power, is_turned, straight
from symgrad.lower.tuning import Tuning

COSTLY = 10  # cost of an operation for which a loop of plain sums is put into lanes
LANES = 8  # partial sums of one accumulation, in an order that no vector width changes


def cut_into_lanes(program: Program, threads: int, tuning: Tuning) -> Program:
    """Loops over points in blocks of lanes, with buffers that are private to a point.

    threads : how many may also share the blocks, of loops that stand in no other
    """
    program = program.copied()
    buffers, by_number = program.buffers, program.by_number
    for body in scopes(program.body):
        result: list[Any] = []
        for statement in body:
            if _is_candidate(statement, tuning):
                statement = _flat(statement, by_number, tuning)
                plan = _Plan(statement, by_number, threads > 1 and body is program.body, tuning)
                if statement.extent and plan.possible():
                    program.indices = plan.apply(buffers, by_number, program.indices)
                    result += [*plan.before, statement, *plan.after]
                    continue
            result.append(statement)
        body[:] = result
    return program


def _flat(loop: Loop, buffers: dict[int, Buffer], tuning: Tuning) -> Loop:
    """One loop for a nest over short rows in which every element is on its own, as in memory."""
    nest = [loop]
    while len(nest[-1].body) == 1 and isinstance(nest[-1].body[0], Loop):
        nest.append(nest[-1].body[0])
    stores = nest[-1].body
    row = math.prod(inner.extent for inner in nest[1:])
    if len(nest) == 1 or row >= tuning.long_row or not all(isinstance(s, Store) for s in stores):
        return loop
    if not all(_is_element(s, nest, buffers) for s in stores):
        return loop
    indices = [one.index for one in nest]
    place = unravel(indices[-1], [one.extent for one in nest])
    for s in stores:
        rewrite(s, dict(zip(indices, place, strict=True)))
    return Loop(nest[-1].index, loop.extent * row, stores)


def _is_element(s: Store, nest: list[Loop], buffers: dict[int, Buffer]) -> bool:
    """Whether a store sets the element that its nest has come to, and reads others only of it."""
    indices = [loop.index for loop in nest]
    extents = [loop.extent for loop in nest]

    def is_here(buffer: Buffer, index: tuple[Expr, ...]) -> bool:
        whole = len(buffer.kept_axes) == len(buffer.shape)
        return whole and [*index] == indices and [*buffer.shape] == extents

    stack, seen = [s.value], set()
    while stack:
        node = stack.pop()
        if node in indices:
            return False
        if node in seen or node.op is LOAD and is_here(buffers[node.attrs[0]], node.args):
            continue
        seen.add(node)
        stack.extend(node.args)
    return s.op == "=" and is_here(s.buffer, s.index)


def _is_candidate(statement: Any, tuning: Tuning) -> bool:
    """Whether it is a loop over enough points, without loops that are vectors or cut already."""
    if not isinstance(statement, Loop) or statement.extent < tuning.lanes_from_points:
        return False
    stack = [statement]
    while stack:
        loop = stack.pop()
        if loop.simd or loop.serial or not loop.is_plain:
            return False
        stack.extend(s for s in loop.body if isinstance(s, Loop))
    return True


def _contains(expr: Expr, index: Expr) -> bool:
    return index in toposort([expr])


_Write = tuple[tuple[Expr, ...], Any]  # an index, and the statement that writes there


class _Use(enum.Enum):
    """How the points of a loop use a buffer that they write to."""

    PRIVATE = "each point has one"
    OWN = "each point has an element or a row"
    PARTS = "each element is set by one point: the parts of a concat"
    ADDED = "points add to it, or take maxima, and do not read it"


class _Plan:
    """What has to happen to one loop."""

    def __init__(
        self, loop: Loop, buffers: dict[int, Buffer], parallel: bool, tuning: Tuning
    ) -> None:
        self.loop, self.buffers, self.tuning = loop, buffers, tuning
        self.parallel = parallel  # until something speaks against it
        self.index = loop.index
        self.leaves = list(statements(loop.body))
        self.before: list[Any] = []
        self.after: list[Any] = []
        self.private: set[int] = set()
        self.turned: dict[int, tuple[int, list[int]]] = {}  # buffer: axis of the points, the others
        self.sums: list[Store] = []
        self.straight: list[Store] | None = None

    # ---- is it right, does it pay ---------------------------------------------------------------

    def possible(self) -> bool:
        refused = (Call, Check, Fail, Gemm, Merge, Panels, Tiles)
        if any(isinstance(s, refused) or s.bodies() for s, _ in self.leaves):
            return False
        if not (self._pays() and self._is_right()):
            return False
        if not self.sums:
            self.straight = straight(self.loop, self.private, self.tuning)
        return self.straight is not None or self.sums != [] or self._is_nested()

    def _is_nested(self) -> bool:
        return any(path for _, path in self.leaves)

    def _pays(self) -> bool:
        sums = [s for s, _ in self.leaves if isinstance(s, Store) and s.op == "+"]
        if not self._is_nested():  # the compiler vectorises stores
            if not sums:
                nodes = toposort([v for s, _ in self.leaves for v in s.exprs()])
                points, tuning = self.loop.extent, self.tuning
                return any(is_turned(n) or is_power(n, points, tuning) for n in nodes)
            return len(sums) < len(self.leaves) or self._is_costly()
        for s, path in self.leaves:
            if not isinstance(s, Store):
                continue
            moved = [any(_contains(i, inner.index) for i in s.index) for inner in path]
            if s.op == "+" and any(
                n.extent > self.tuning.most_inner_summands
                for n, m in zip(path, moved, strict=True)
                if not m
            ):
                return False
            # Long rows are contiguous: the compiler vectorises along them, and lanes would jump.
            row = math.prod(n.extent for n, m in zip(path, moved, strict=True) if m)
            whole = any(i is self.index for i in s.index[:-1]) and self.index in self._kept(s)
            if whole and row >= self.tuning.long_row:
                return False
        return True

    def _kept(self, s: Store) -> list[Expr]:
        """The index of the elements that a store reaches in memory, without dropped axes."""
        return [s.index[a] for a in s.buffer.kept_axes]

    def _is_costly_inside(self) -> bool:
        """Whether an inner loop evaluates a function, which only lanes vectorise beside a sum."""
        return any(
            n.op.cost >= COSTLY and any(_contains(n, loop.index) for loop in path)
            for s, path in self.leaves
            for n in toposort(s.exprs())
        )

    def _is_costly(self) -> bool:
        return any(n.op.cost >= COSTLY for s, _ in self.leaves for n in toposort(s.exprs()))

    def _is_right(self) -> bool:
        """Whether points do not see each other, apart from sums that nobody reads in the loop.

        Notes what is private to a point, what is added up, what is copied into lanes, and whether
        threads may share the points.
        """
        written: dict[int, list[_Write]] = {}
        read: dict[int, list[tuple[Expr, ...]]] = {}
        for s, _ in self.leaves:
            for buffer, index in targets(s):
                written.setdefault(buffer.number, []).append((index, s))
            for node in loads(s.exprs()):
                read.setdefault(node.attrs[0], []).append(node.args)
        for number, writes in written.items():
            use = self._use(self.buffers[number], writes, read.get(number, []))
            if use is None:
                return False
            if use is _Use.PRIVATE:
                self.private.add(number)
            elif use is _Use.PARTS:
                self.parallel &= not any(True for index, _ in writes for _ in loads(index))
            elif use is _Use.ADDED:
                self._add_up(writes)
        partial = {s.buffer.number: s.buffer.size for s in self.sums}
        if sum(partial.values()) > self.tuning.most_partial_sums:
            return False
        self._find_turned(read, written)
        # Long rows of inputs are vectorised along themselves, without turning them round.
        if any(self.buffers[n].shape[-1] >= self.tuning.long_input_row for n in self.turned):
            if not self._is_costly_inside():
                return False
        return self._lane_bytes() * self.tuning.lane_counts[-1] <= self.tuning.most_block_bytes

    def _use(
        self, buffer: Buffer, writes: list[_Write], reads: list[tuple[Expr, ...]]
    ) -> _Use | None:
        """How points use a buffer that they write to; None if they may see each other in it."""
        every = [index for index, _ in writes] + reads
        if self._is_private(buffer, every):
            return _Use.PRIVATE
        at_point = any(all(i[a] is self.index for i in every) for a in buffer.kept_axes)
        if at_point or all(is_flat(buffer, i, self.index) for i in every):
            return _Use.OWN
        stores = [s for _, s in writes if isinstance(s, Store)]
        if reads or len(stores) < len(writes):
            return None
        if all(s.op == "=" and any(_contains(i, self.index) for i in s.index) for s in stores):
            return _Use.PARTS
        return None if any(s.op == "=" for s in stores) else _Use.ADDED

    def _is_private(self, buffer: Buffer, every: list[tuple[Expr, ...]]) -> bool:
        """Whether an axis that a buffer does not keep is that of the points."""
        dropped = [a for a in range(len(buffer.shape)) if a not in buffer.kept_axes]
        moved = any(_contains(i[a], self.index) for i in every for a in buffer.kept_axes)
        return bool(dropped) and not moved and all(
            any(i[a] is self.index for a in dropped) for i in every
        )  # fmt: skip

    def _add_up(self, writes: list[_Write]) -> None:
        """Notes sums to elements that all points share; other accumulations come in order."""
        for index, s in writes:
            own = s.op == "+" and not any(_contains(i, self.index) for i in index)
            if own:
                self.sums.append(s)
            self.parallel &= own and s.buffer.dtype in FLOATS

    def _find_turned(self, read: dict[int, Any], written: dict[int, Any]) -> None:
        """Inputs whose rows are points: a block of them is copied with the point last."""
        whole = {a.buffer for s, _ in self.leaves for a in accesses_of(s) if not a.when}
        for number, indices in read.items():
            buffer = self.buffers[number]
            if number in written or buffer.role not in ("in", "data", "constant", "work"):
                continue
            for axis in range(len(buffer.shape) - 1):
                inner = buffer.shape[axis + 1 :]
                rest = [a for a in range(len(buffer.shape)) if a != axis]
                mine = [i for i in indices if i[axis] is self.index]
                if not mine or all(n == 1 for n in inner) or buffer.kept_axes[:1] == ():
                    continue
                if buffer.shape[axis] < self.loop.extent:  # read for some points only: no copy
                    continue
                if buffer.role == "work" and number not in whole:  # perhaps not written everywhere
                    continue
                if len(buffer.kept_axes) == len(buffer.shape) and any(
                    all(i[a].op is INDEX for a in rest) for i in mine
                ):
                    self.turned[number] = axis, rest
                    break

    def _lane_bytes(self) -> int:
        """Bytes that one point takes in the arrays of a block."""
        total = sum(self.buffers[n].nbytes for n in self.private)
        for number, (axis, _) in self.turned.items():
            buffer = self.buffers[number]
            total += buffer.nbytes // max(buffer.shape[axis], 1)
        return max(total, 8)

    # ---- do it ----------------------------------------------------------------------------------

    def apply(self, buffers: list[Buffer], by_number: dict[int, Buffer], next_index: int) -> int:
        """Returns the next free number of an index."""
        loop, first = self.loop, len(buffers)
        self.parallel = self.parallel and self._cost() >= self.tuning.parallel_from_cost
        if self.straight is not None:
            for number in self.private:
                by_number[number].role = "none"
            nodes = toposort([s.value for s in self.straight])
            powers = any(is_power(n, loop.extent, self.tuning) for n in nodes)
            few = self.tuning.lane_counts[-1]
            loop.lanes = min(self.tuning.lanes_of_powers if powers else few, loop.extent)
            loop.again = True
            loop.body[:] = Written(loop, buffers, by_number, self.tuning).out(self.straight)
            return self._share_among_threads(buffers[first:], next_index)
        counts, most = self.tuning.lane_counts, self.tuning.block_bytes
        fitting = [n for n in counts if n * self._lane_bytes() <= most] or [counts[-1]]
        # Less work in the last, shorter block, where sizes are otherwise alike.
        exact = [n for n in fitting if loop.extent % n == 0 and 2 * n > fitting[0]]
        loop.lanes = min((exact or fitting)[0], loop.extent)
        copies: list[Any] = []
        swap: dict[Expr, Expr] = {}
        for number, (axis, rest) in self.turned.items():
            source = by_number[number]
            shape = tuple(source.shape[a] for a in rest)
            name = unused_name(buffers, f"{source.name}_lanes")
            turned = Buffer(len(buffers), name, shape, source.dtype, "work")
            turned.home, turned.lanes = loop.body, loop.lanes
            buffers.append(turned)
            by_number[turned.number] = turned
            index = [index_of(next_index + k) for k in range(len(shape))]
            next_index += len(shape)
            load = load_of(source, (*index[:axis], self.index, *index[axis:]))
            statement: Any = Store(turned, tuple(index), load)
            for i, n in zip(reversed(index), reversed(shape), strict=True):
                statement = Loop(i, n, [statement])
            if self._in_tiles(source, axis):
                statement = Rows(turned, source, (self.index, *[const(0, "int64")] * len(shape)))
            copies.append(statement)
            for s, _ in self.leaves:
                for node in loads(s.exprs()):
                    if node.attrs[0] == number and node.args[axis] is self.index:
                        swap[node] = load_of(turned, tuple(node.args[a] for a in rest))
        if swap:
            for s, _ in self.leaves:
                rewrite(s, swap)
        for number in self.private:
            by_number[number].lanes = loop.lanes
        self._sum_in_points(buffers, by_number)
        _sum_innermost(loop)
        next_index = Hoist(loop, buffers, by_number, next_index, self.tuning).run()
        loop.body[:0] = copies
        own = [by_number[n] for n in sorted(self.private)] + buffers[first:]
        loop.flush_blocks = max(1, self.tuning.flush_blocks // self._summands())
        next_index = self._share_among_threads(own, next_index)
        return self._add_partials(buffers, by_number, next_index)

    def _in_tiles(self, source: Buffer, axis: int) -> bool:
        """Whether rows of points are copied several elements at a time."""
        wide = math.prod(source.shape[1:]) >= TILE and self.loop.lanes % TILE == 0
        return wide and axis == 0 and source.dtype in FLOATS and not source.lanes

    # ---- several threads ------------------------------------------------------------------------

    def _cost(self) -> int:
        """Operations of all points, roughly."""
        return self.loop.extent * sum(
            math.prod(n.extent for n in path) * (1 + sum(n.op.cost for n in toposort(s.exprs())))
            for s, path in self.leaves
        )

    def _share_among_threads(self, own: list[Buffer], next_index: int) -> int:
        """Cut the blocks into chunks, if that is right and pays; `own` is private to a point.

        A chunk is what lies between two flushes. Its sums are stored, and added up in the order in
        which one thread would add them: the result has the same bits for any number of threads.
        """
        loop = self.loop
        points = (loop.flush_blocks or self.tuning.flush_blocks) * loop.lanes
        chunks = loop.extent // points + (1 if self.sums else 0)
        targets = {s.buffer.number: s.buffer for s in self.sums}.values()
        sums = sum(b.nbytes for b in targets)
        stack = sum(b.nbytes for b in own) + sums * LANES
        fits = stack <= self.tuning.chunk_stack_bytes
        fits = fits and sums * chunks <= self.tuning.kept_sum_bytes
        if not (self.parallel and fits and loop.extent >= 2 * points):
            return next_index
        for b in own:
            if b.kept_axes:
                b.role = "own"
        loop.chunks, loop.chunk_points, loop.chunk = chunks, points, index_of(next_index)
        return next_index + 1

    def _sum_in_points(self, buffers: list[Buffer], by_number: dict[int, Buffer]) -> None:
        """Sums over points and inner axes: first along the axes, for each point on its own.

        That keeps the sum of a point in a register, and the number of additions to one partial
        sum small.
        """
        pending = [self.loop]
        while pending:
            outer = pending.pop()
            for position, inner in enumerate(outer.body):
                if not isinstance(inner, Loop):
                    continue
                s, depth = inner.body, 1
                while len(s) == 1 and isinstance(s[0], Loop):
                    s, depth = s[0].body, depth + 1
                only = s[0] if len(s) == 1 else None
                if only not in self.sums or any(
                    _contains(i, n.index) for n in _nest(inner, depth) for i in only.index
                ):
                    pending.append(inner)
                    continue
                own = Buffer(len(buffers), f"s{len(buffers)}", (), only.buffer.dtype, "scalar")
                own.home, own.lanes = outer.body, self.loop.lanes
                buffers.append(own)
                by_number[own.number] = own
                total = Store(only.buffer, only.index, load_of(own, ()), "+")
                only.buffer, only.index = own, ()
                outer.body[position : position + 1] = [
                    Store(own, (), const(0, own.dtype)), inner, total,
                ]  # fmt: skip
                self.sums[self.sums.index(only)] = total
        self.leaves = list(statements(self.loop.body))

    def _summands(self) -> int:
        """How often one point adds to an element, at most: along inner axes that are summed too."""
        most = 1
        for s, path in self.leaves:
            if s in self.sums:
                inner = [n for n in path if not any(_contains(i, n.index) for i in s.index)]
                most = max(most, math.prod(n.extent for n in inner))
        return most

    def _add_partials(
        self, buffers: list[Buffer], by_number: dict[int, Buffer], next_index: int
    ) -> int:
        """Partial sums beside each target, and how they get into it."""
        loop = self.loop
        many = loop.extent > self.tuning.compensate_from_flushes * loop.flush_blocks * loop.lanes
        made: dict[int, Buffer] = {}

        def beside(target: Buffer, suffix: str, lanes: int) -> Buffer:
            name = unused_name(buffers, target.name + suffix)
            new = Buffer(len(buffers), name, target.shape, target.dtype, "work")
            new.kept_axes, new.lanes = target.kept_axes, lanes
            buffers.append(new)
            by_number[new.number] = new
            return new

        for s in self.sums:
            target = s.buffer
            if not target.dtype.startswith("float"):
                continue
            if target.number in made:
                s.partial = made[target.number]
                continue
            s.partial = made[target.number] = beside(target, "_lanes", LANES)
            carry = beside(target, "_carry", 0) if many else None
            if carry is not None:
                index = [const(0, "int64")] * len(target.shape)
                for a in target.kept_axes:
                    index[a] = index_of(next_index)
                    next_index += 1
                where = tuple(index)
                total: Any = Store(target, where, load_of(carry, where), "+")
                for a in reversed(target.kept_axes):
                    total = Loop(index[a], target.shape[a], [total])
                self.before.append(Zero(carry))
                self.after.append(total)
            if loop.chunk is None:
                self.before.append(Zero(s.partial))
                loop.flush.append(Flush(target, s.partial, carry))
                continue
            s.partial.role = "own"
            sums = beside(target, "_chunks", 0)
            sums.shape = (loop.chunks, *target.shape)
            sums.kept_axes = (0, *(a + 1 for a in target.kept_axes))
            self.before.append(Zero(sums))
            loop.flush.append(Flush(sums, s.partial, index=(loop.chunk,)))
            added = Flush(target, sums, carry, at=(loop.chunk,))
            self.after.insert(0, Loop(loop.chunk, loop.chunks, [added]))
        return next_index


def _nest(loop: Loop, depth: int) -> list[Loop]:
    """A loop and those inside of it, `depth` in all."""
    found = [loop]
    while len(found) < depth:
        found.append(found[-1].body[0])
    return found


def _sum_innermost(loop: Loop) -> None:
    """Loops over summands inside the loops over results, so that a sum stays in a register."""
    pending = [loop]
    while pending:
        outer = pending.pop()
        for position, middle in enumerate(outer.body):
            if not isinstance(middle, Loop):
                continue
            pending.append(middle)
            if len(middle.body) == 1 and isinstance(inner := middle.body[0], Loop):
                if only_adds(inner.body, middle.index):
                    swapped = Loop(middle.index, middle.extent, inner.body)
                    outer.body[position] = Loop(inner.index, inner.extent, [swapped])


def only_adds(body: list[Any], index: Expr) -> bool:
    """Whether statements only add to elements, private to a point, that `index` does not choose."""
    return all(
        isinstance(s, Store)
        and s.op == "+"
        and s.buffer.lanes > 0
        and s.buffer.dtype in FLOATS
        and not any(_contains(i, index) for i in s.index)
        for s in body
    )
