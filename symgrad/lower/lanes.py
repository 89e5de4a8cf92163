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

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeGuard

import numpy as np

from symgrad.expr.node import FLOATS, Expr, const
from symgrad.expr.walk import substitute, toposort
from symgrad.lower.cpu import Flush, Rows
from symgrad.lower.hoist import Hoist
from symgrad.lower.points import Points, contains
from symgrad.lower.program import Draft, Program, rebuilt, replaced, scopes, statements
from symgrad.lower.scalar import LOAD, load_of, loads, unravel
from symgrad.lower.statement import Buffer, Statement
from symgrad.lower.statements import Loop, Store, Zero, nested, stores_of
from symgrad.lower.straight import TILE, Written, is_power
from symgrad.lower.tuning import LANES, Tuning


def cut_into_lanes(program: Program, threads: int, tuning: Tuning) -> Program:
    """Loops over points in blocks of lanes, with buffers that are private to a point.

    threads : how many may also share the blocks, of loops that stand in no other
    """
    draft = Draft(program)
    cut: dict[int, Sequence[Statement]] = {}
    for body in scopes(program.body):
        for loop in body:
            if _is_candidate(loop, tuning):
                flat = _flat(loop, program.buffers, tuning)
                plan = _Plan(flat, draft, threads > 1 and body is program.body, tuning)
                if flat.extent and plan.possible():
                    cut[id(loop)] = plan.statements()
                elif flat is not loop:
                    cut[id(loop)] = [flat]
    if not cut:
        return program
    return draft.of(program, rebuilt(program.body, lambda old, new: cut.get(id(old), (new,))))


def _flat(loop: Loop, buffers: Sequence[Buffer], tuning: Tuning) -> Loop:
    """One loop for a nest over short rows in which every element is on its own, as in memory."""
    nest = _nest(loop)
    stores = stores_of(nest[-1])
    row = math.prod(one.extent for one in nest[1:])
    if len(nest) == 1 or row >= tuning.long_row or len(stores) < len(nest[-1].body):
        return loop
    if not all(_is_element(s, nest, buffers) for s in stores):
        return loop
    indices = [one.index for one in nest]
    place = unravel(indices[-1], [one.extent for one in nest])
    swap = dict(zip(indices, place, strict=True))
    return Loop(
        nest[-1].index,
        loop.extent * row,
        [s.with_exprs(lambda exprs: substitute(exprs, swap)) for s in stores],
    )


def _is_element(s: Store, nest: list[Loop], buffers: Sequence[Buffer]) -> bool:
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


def _is_candidate(statement: Any, tuning: Tuning) -> TypeGuard[Loop]:
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


class _Plan(Points):
    """A loop that becomes blocks of lanes."""

    # ---- do it ----------------------------------------------------------------------------------

    def statements(self) -> list[Any]:
        """The loop in blocks of lanes, with what comes before and behind."""
        first = len(self.draft.buffers)
        self.parallel = self.parallel and self._cost() >= self.tuning.parallel_from_cost
        if self.straight is not None:
            self._write_out(self.straight)
            self._share_among_threads(self.draft.buffers[first:])
            return [self.loop]
        self._set(lanes=self._lanes())
        copies = self._turn()
        for number in self.private:
            self.draft.change(number, lanes=self.loop.lanes)
        if self.private:
            self._follow(self.draft.bound(self.loop.body))
        self._sum_in_points()
        blocks = max(1, self.tuning.flush_blocks // self._summands())
        hoist = Hoist(self.loop, self.draft, self.tuning)
        self.loop = hoist.run()
        self.sums = [hoist.now(s) for s in self.sums]
        self._set(body=[*copies, *self.loop.body], flush_blocks=blocks)
        own = [self.draft.buffers[n] for n in sorted(self.private)] + self.draft.buffers[first:]
        self._share_among_threads(own)
        return self._with_partials()

    def _set(self, **fields: Any) -> None:
        self.loop = replace(self.loop, **fields)

    def _write_out(self, stores: list[Store]) -> None:
        """Straight-line code in the place of the body."""
        for number in self.private:
            self.draft.change(number, role="none")
        points, tuning = self.loop.extent, self.tuning
        nodes = toposort([s.value for s in stores])
        powers = any(is_power(n, points, tuning) for n in nodes)
        most = tuning.lanes_of_powers if powers else tuning.lane_counts[-1]
        row = sum(n.op is LOAD for n in nodes) + len(stores)
        if row * most * np.dtype(stores[0].buffer.dtype).itemsize > tuning.block_bytes:
            most = LANES
        self._set(lanes=min(most, points), again=True)
        self._set(body=Written(self.loop, self.draft, tuning).out(stores))

    def _lanes(self) -> int:
        """How many points a block has."""
        counts, extent, most = self.tuning.lane_counts, self.loop.extent, self.tuning.block_bytes
        fitting = [n for n in counts if n * self.lane_bytes() <= most] or [counts[-1]]
        # Less work in the last, shorter block, where sizes are otherwise alike.
        exact = [n for n in fitting if extent % n == 0 and 2 * n > fitting[0]]
        return min((exact or fitting)[0], extent)

    def _turn(self) -> list[Any]:
        """Copies of rows with the point last, which the body reads from now on."""
        copies: list[Any] = []
        swap: dict[Expr, Expr] = {}
        for number, (axis, rest) in self.turned.items():
            source = self.draft.buffers[number]
            shape = tuple(source.shape[a] for a in rest)
            name = self.draft.unused(f"{source.name}_lanes")
            home, lanes = self.index, self.loop.lanes
            turned = self.draft.array(shape, source.dtype, name=name, home=home, lanes=lanes)
            index = [self.draft.fresh() for _ in shape]
            load = load_of(source, (*index[:axis], self.index, *index[axis:]))
            if self._in_tiles(source, axis):
                first = (self.index, *[const(0, "int64")] * len(shape))
                copies.append(Rows(turned, source, first))
            else:
                copies += nested(map(Loop, index, shape), [Store(turned, tuple(index), load)])
            for s, _ in self.leaves:
                for node in loads(s.exprs()):
                    if node.attrs[0] == number and node.args[axis] is self.index:
                        swap[node] = load_of(turned, tuple(node.args[a] for a in rest))
        if swap:
            new: dict[int, Sequence[Statement]] = {
                id(s): [s.with_exprs(lambda exprs: substitute(exprs, swap))] for s, _ in self.leaves
            }
            self._follow(replaced(self.loop.body, new))
        return copies

    def _follow(self, body: Sequence[Statement]) -> None:
        """Another body, whose leaves are what has become of those there are, one by one."""
        leaves = list(statements(body))
        new = {id(old): s for (old, _), (s, _) in zip(self.leaves, leaves, strict=True)}
        self._set(body=body)
        self.leaves = leaves
        self.sums = [new[id(s)] for s in self.sums]

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

    def _share_among_threads(self, own: list[Buffer]) -> None:
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
        if self.parallel and fits and loop.extent >= 2 * points:
            for b in own:
                if b.kept_axes:
                    self.draft.change(b.number, role="own")
            self._set(chunks=chunks, chunk_points=points, chunk=self.draft.fresh())

    def _sum_in_points(self) -> None:
        """Sums over points and inner axes: first along the axes, for each point on its own.

        That keeps the number of additions to one partial sum small, for the sake of its error.
        """
        new: dict[int, list[Any]] = {}  # of a loop, what comes before and behind
        totals: dict[int, Store] = {}
        pending = [self.loop]
        while pending:
            outer = pending.pop()
            for inner in outer.body:
                if not isinstance(inner, Loop):
                    continue
                nest = _nest(inner)
                only = nest[-1].body[0] if len(nest[-1].body) == 1 else None
                if not (isinstance(only, Store) and only in self.sums) or any(
                    contains(i, n.index) for n in nest for i in only.index
                ):
                    pending.append(inner)
                    continue
                dtype, lanes = only.buffer.dtype, self.loop.lanes
                own = self.draft.array((), dtype, "scalar", home=outer.index, lanes=lanes)
                total = Store(only.buffer, only.index, load_of(own, ()), "+")
                totals[id(only)] = total
                new[id(only)] = [replace(only, buffer=own, index=())]
                new[id(inner)] = [Store(own, (), const(0, dtype)), total]

        def change(old: Any, made: Any) -> Sequence[Statement]:
            if id(old) not in new:
                return [made]
            if not isinstance(old, Loop):
                return new[id(old)]
            zero, total = new[id(old)]
            return [zero, made, total]

        if new:
            self._set(body=rebuilt(self.loop.body, change))
            self.sums = [totals.get(id(s), s) for s in self.sums]
            self.leaves = list(statements(self.loop.body))

    def _summands(self) -> int:
        """How often one point adds to an element, at most: along inner axes that are summed too."""
        most = 1
        for s, path in self.leaves:
            if s in self.sums:
                inner = [n for n in path if not any(contains(i, n.index) for i in s.index)]
                most = max(most, math.prod(n.extent for n in inner))
        return most

    def _with_partials(self) -> list[Any]:
        """Partial sums beside each target, and how they get into it."""
        loop, draft, flush_points = self.loop, self.draft, self.loop.flush_blocks * self.loop.lanes
        many = loop.extent > self.tuning.compensate_from_flushes * flush_points
        made: dict[int, Buffer] = {}
        new: dict[int, Sequence[Statement]] = {}
        before: list[Any] = []
        after: list[Any] = []
        flush: list[Any] = []
        for s in self.sums:
            target = s.buffer
            if target.dtype not in FLOATS:
                continue
            if target.number not in made:
                partial = made[target.number] = self._beside(target, "_lanes", LANES)
                carry = self._beside(target, "_carry", 0) if many else None
                if carry is not None:
                    before.append(Zero(carry))
                    after.append(_added(carry, target, draft))
                if loop.chunk is None:
                    before.append(Zero(partial))
                    flush.append(Flush(target, partial, carry))
                else:
                    draft.change(partial.number, role="own")
                    sums = self._beside(target, "_chunks", 0)
                    kept = (0, *(a + 1 for a in target.kept_axes))
                    shape = (loop.chunks, *target.shape)
                    sums = draft.change(sums.number, shape=shape, kept_axes=kept)
                    before.append(Zero(sums))
                    flush.append(Flush(sums, partial, index=(loop.chunk,)))
                    added = Flush(target, sums, carry, at=(loop.chunk,))
                    after.insert(0, Loop(loop.chunk, loop.chunks, [added]))
            new[id(s)] = [replace(s, partial=made[target.number])]
        loop = replace(loop, body=replaced(loop.body, new), flush=flush)
        return [*before, loop, *after]

    def _beside(self, target: Buffer, suffix: str, lanes: int) -> Buffer:
        name, kept = self.draft.unused(target.name + suffix), target.kept_axes
        return self.draft.array(target.shape, target.dtype, name=name, kept_axes=kept, lanes=lanes)


def _added(carry: Buffer, target: Buffer, draft: Draft) -> Any:
    """A carry added to its sum."""
    index = [const(0, "int64")] * len(target.shape)
    for a in target.kept_axes:
        index[a] = draft.fresh()
    where = tuple(index)
    loops = (Loop(index[a], target.shape[a]) for a in target.kept_axes)
    (total,) = nested(loops, [Store(target, where, load_of(carry, where), "+")])
    return total


def _nest(loop: Loop) -> list[Loop]:
    """A loop and those that are alone inside of it."""
    found = [loop]
    while len(found[-1].body) == 1 and isinstance(inner := found[-1].body[0], Loop):
        found.append(inner)
    return found


def only_adds(body: Sequence[Any], index: Expr) -> bool:
    """Whether statements only add to elements, private to a point, that `index` does not choose."""
    return all(
        isinstance(s, Store)
        and s.op == "+"
        and s.buffer.lanes > 0
        and s.buffer.dtype in FLOATS
        and not any(contains(i, index) for i in s.index)
        for s in body
    )
