"""Loops over blocks of points: what only one block needs has the room of one, sums go by chunks.

Where kernels nest, a stream is a plain loop over blocks (`streaming` says of which axes). Here
arrays of all points that only the rounds of such a loop use become arrays of one block. Sums over
the points get one more level: blocks make chunks, each adds up on its own, and then the chunks
are added up in their order, with compensation where there are many. That is also what several
threads can share.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import Any, TypeGuard

from symgrad.expr.node import FLOATS, Expr, const
from symgrad.expr.walk import rebuild, toposort, transform
from symgrad.lazy import dataclass
from symgrad.lower.cpu import Merge
from symgrad.lower.product import is_symmetric, written_out
from symgrad.lower.program import Draft, Program, rebuilt, replaced, walk
from symgrad.lower.scalar import INDEX, LOAD, load_of
from symgrad.lower.statement import Buffer, Statement
from symgrad.lower.statements import Best, Loop, Multiply, Store, Zero, is_blocks, nested
from symgrad.lower.tuning import Tuning
from symgrad.ops.elementwise import ADD, is_finite, minimum, select

Sum = Store | Multiply


def open_streams(program: Program, threads: int, tuning: Tuning) -> Program:
    """Loops over blocks of points, with arrays of one block and sums that are taken in chunks.

    threads : how many may share the chunks, of loops that stand in no other
    """
    streams = [s.index for s, *_ in walk(program.body) if is_blocks(s)]
    if not streams:
        return program
    work = _Streams(program, threads, tuning)
    for index in streams:  # from the outside in
        work.open(index)
    return work.draft.of(program, work.body)


def with_carry(total: Buffer, carry: Buffer, at: tuple[Expr, ...]) -> Expr:
    """An element of a sum with what rounding took; the sum alone if it is not finite."""
    old, lost = load_of(total, at), load_of(carry, at)
    return select(is_finite(lost), old + lost, old)


def blocks_of_chunk(blocks: int, elements: int, work: float, tuning: Tuning) -> int:
    """How many blocks are added up before their sums go elsewhere; `blocks` if there is one chunk.

    elements : of these sums; work : multiply-adds of one block
    """
    merging = tuning.merge_work * elements / tuning.merge_share
    pays = max(merging, tuning.chunk_from_work) / max(work, 1)
    chunks = max(blocks // math.ceil(pays), -(-blocks // tuning.chunk_blocks))
    return -(-blocks // chunks)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """A loop over blocks that has been opened.

    begin : its variable, the first point of a block; total, size : points of all, and of a block
    private : by number of a buffer that has the room of one block, the axis of the points
    """

    begin: Expr
    total: int
    size: int
    private: dict[int, int]

    @property
    def left(self) -> Expr | None:
        """The points of a block, where the last one has fewer."""
        if self.total % self.size == 0:
            return None
        return minimum(const(self.total, "int64") - self.begin, self.size)

    def point(self, entry: Expr) -> Expr | None:
        """The position in the block, of an entry of an index that is a point of it."""
        if entry.op is not ADD or self.begin not in entry.args:
            return None
        one, other = entry.args
        point = other if one is self.begin else one
        return point if point.op is INDEX else None


@dataclass
class _Chunks:
    """Sums over the points of a stream that are added up for each chunk of blocks.

    first : is 0 in the first chunk
    added : how many points of its chunk come before those of a block
    before, zeros, merges, after : statements before all chunks, before and behind each, behind all
    """

    first: Expr
    added: Expr
    before: list[Statement] = field(default_factory=list)
    zeros: list[Statement] = field(default_factory=list)
    merges: list[Statement] = field(default_factory=list)
    after: list[Statement] = field(default_factory=list)


class _Streams:
    """A program whose loops over blocks are opened, one by one.

    blocks : those that are, by their variables
    """

    def __init__(self, program: Program, threads: int, tuning: Tuning) -> None:
        self.draft, self.body = Draft(program), program.body
        self.threads, self.tuning = threads, tuning
        self.blocks: dict[Expr, _Blocks] = {}

    def open(self, index: Expr) -> None:
        """Open the loop over blocks with that variable."""
        places = ((s, path) for s, path, _ in walk(self.body))
        loop, path = next((s, p) for s, p in places if isinstance(s, Loop) and s.index is index)
        outer = [self.blocks[o.index] for o in path if o.index in self.blocks]
        mine = _Blocks(index, loop.extent, loop.step, {})
        mine.private.update(self._private(loop, mine))
        self.blocks[index] = mine
        for number, axis in mine.private.items():
            self._shorten(number, axis, mine.size)
        inside = rebuilt(loop.body, lambda old, new: [_localised(new, mine)])
        made = self._in_chunks(replace(loop, body=inside), mine, outer)
        self.body = replaced(self.body, {id(loop): made})

    def _private(self, loop: Loop, blocks: _Blocks) -> dict[int, int]:
        """Arrays that only `loop` uses, at one point of its blocks each: the axis of the points."""
        found: dict[int, int] = {}
        shared: set[int] = set()
        sizes = {s.index: s.extent for s, *_ in walk(loop.body) if isinstance(s, Loop)}
        for s, path, _ in walk(self.body):
            for access in s.accesses:
                number = access.buffer
                if number in shared or self.draft.buffers[number].role != "work":
                    continue
                points = [(a, blocks.point(entry)) for a, entry in access.fixed.items()]
                at = [a for a, i in points if i is not None and sizes[i] <= blocks.size]
                plain = isinstance(s, Store) or not access.writes
                inside = loop in path and plain and len(at) == 1
                if not inside or found.setdefault(number, at[0]) != at[0]:
                    shared.add(number)
        return {number: axis for number, axis in found.items() if number not in shared}

    def _shorten(self, number: int, axis: int, size: int) -> Buffer:
        """A buffer that has only so many elements along an axis."""
        shape = self.draft.buffers[number].shape
        return self.draft.change(number, shape=(*shape[:axis], size, *shape[axis + 1 :]))

    # ---- sums --------------------------------------------------------------------------------

    def _in_chunks(self, loop: Loop, mine: _Blocks, outer: Sequence[_Blocks]) -> list[Statement]:
        """The loop over blocks, or over chunks of these where it adds anything up."""
        tuning, blocks = self.tuning, -(-mine.total // mine.size)
        reduced = _reduced(loop, mine)
        buffers, most = self.draft.buffers, tuning.chunk_sum_bytes
        sums = [s for s in reduced if _adds_up(s) and buffers[s.buffer.number].nbytes <= most]
        elements = sum(math.prod(buffers[s.buffer.number].shape) for s in sums)
        work = _work(loop, outer)
        together = blocks_of_chunk(blocks, elements, work / blocks, tuning)
        if not sums or together >= blocks:
            sums, together = [], 1
        chunks = _Chunks(loop.index, const(0, "int64"))
        around, inside = loop, None
        if together > 1:
            around, inside = self._chunk_loop(loop, mine, together)
            assert inside.start is not None
            chunks = _Chunks(around.index, loop.index - inside.start)
        many = mine.total >= tuning.compensate_from_points * mine.size
        new = {id(s): [self._add_in_chunks(s, chunks, outer, many)] for s in sums}
        body = replaced(loop.body, new)
        if inside is not None:
            body = (replace(inside, body=body),)
        outermost = any(getattr(s, "index", None) is loop.index for s in self.body)
        alone = outermost and len(sums) == len(reduced) and not _by_blas(loop)
        members = self.threads if alone and work >= tuning.share_from_work else 0
        round_ = [*chunks.zeros, *body, *chunks.merges]
        whole = replace(around, body=round_, in_order=len(chunks.merges), members=members)
        return [*chunks.before, whole, *chunks.after]

    def _chunk_loop(self, loop: Loop, mine: _Blocks, together: int) -> tuple[Loop, Loop]:
        """A loop over chunks of so many blocks, and that over the blocks of a chunk."""
        index, points = self.draft.fresh(), mine.size * together
        begin = index * const(points, "int64")
        end = begin + const(points, "int64")
        stop = minimum(end, mine.total) if mine.total % points else end
        inner = replace(loop, extent=points, start=begin, stop=stop)
        return Loop(index, -(-mine.total // points)), inner

    def _add_in_chunks(self, s: Sum, chunks: _Chunks, outer: Sequence[_Blocks], many: bool) -> Sum:
        """A sum over the points, added up for each chunk; `many`: with compensation."""
        total = self.draft.buffers[s.buffer.number]
        part, carry = self._like(total), None
        at = list(s.index)
        blocks = [self._blocks_of(s, a, outer) for a in range(len(at))]
        for a, one in enumerate(blocks):
            if one is not None:  # of other streams, one block is enough
                part = self._shorten(part.number, a, one.size)
                one.private[part.number] = a
                at[a] = one.point(at[a]) or at[a]
        if isinstance(s, Multiply):
            carry = s.carry
        elif many:
            carry = self._like(total)
            for one in outer:
                if total.number in one.private:
                    one.private[carry.number] = one.private[total.number]

            def finish(_: Buffer, at: tuple[Expr, ...]) -> Store:
                return Store(total, at, with_carry(total, carry, at))

            chunks.after += self._for_sum(blocks, (total,), finish, each=True)
        round_ = chunks.first
        if not set(outer).issubset(blocks):  # a sum over these as well: what is in it stays
            round_ = const(1, "int64")
            if carry is not None:
                chunks.before += self._for_sum(blocks, (carry,), Zero)
        if not isinstance(s, Multiply) or is_symmetric(s):  # which leaves out half
            chunks.zeros += self._for_sum(blocks, (part,), Zero)
        buffers = (total, part) if carry is None else (total, part, carry)
        chunks.merges += self._for_sum(blocks, buffers, functools.partial(Merge, round_))
        if isinstance(s, Store):
            return replace(s, buffer=part, index=tuple(at))
        where = s.carry_index if s.carry else tuple(at)
        return written_out(
            replace(s, buffer=part, index=tuple(at), carry=None, carry_index=where,
                    added=chunks.added)
        )  # fmt: skip

    def _blocks_of(self, s: Sum, axis: int, outer: Sequence[_Blocks]) -> _Blocks | None:
        """The loop over blocks, of those around, whose points are an axis of a sum."""
        for one in outer:
            if one.private.get(s.buffer.number) == axis or one.point(s.index[axis]) is not None:
                return one
        return None

    def _for_sum(
        self,
        blocks: Sequence[_Blocks | None],
        buffers: Sequence[Buffer],
        make: Callable[..., Any],
        each: bool = False,
    ) -> list[Statement]:
        """make(buffer, index, …) for the elements that a sum has here, of it or of what is like it.

        For one at a time if `each`, else for as many as are contiguous in all of `buffers`.
        `blocks` are, for each axis, those that it has the points of.
        """
        places: list[list[Expr]] = [[] for _ in buffers]
        loops: list[Loop] = []
        first = len(blocks) if each else 0  # axes with an index
        for a, one in enumerate(blocks):
            here = self.draft.fresh()
            extent = buffers[0].shape[a] if one is None else one.size
            loops.append(Loop(here, extent, stop=None if one is None else one.left))
            for b, place in zip(buffers, places, strict=True):
                if one is not None and b.number not in one.private:
                    place.append(one.begin + here)
                    first = max(first, a + 1)
                else:
                    place.append(here)
        indices = [tuple(place[:first]) for place in places]
        made = make(*(x for pair in zip(buffers, indices, strict=True) for x in pair))
        return nested(loops[:first], [made])

    def _like(self, buffer: Buffer) -> Buffer:
        return self.draft.array(buffer.shape, buffer.dtype)


def _localised(s: Statement, blocks: _Blocks) -> Statement:
    """A statement with the position in the block as index of what has the room of one block."""
    private = blocks.private

    def local(number: int, index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        axis = private.get(number)
        if axis is None:
            return index
        return (*index[:axis], blocks.point(index[axis]) or index[axis], *index[axis + 1 :])

    def rule(node: Expr, args: tuple[Expr, ...]) -> Expr:
        return rebuild(node, local(node.attrs[0], args) if node.op is LOAD else args)

    if not private:
        return s
    s = s.with_exprs(lambda exprs: transform(exprs, rule))
    if isinstance(s, Store):
        return replace(s, index=local(s.buffer.number, s.index))
    if isinstance(s, Multiply):
        index = local(s.buffer.number, s.index)
        carry = index if s.carry is None else local(s.carry.number, s.carry_index)
        return replace(s, index=index, carry_index=carry)
    return s


def _reduced(loop: Loop, blocks: _Blocks) -> list[Sum | Best]:
    """What makes one element of those at all points of a loop over blocks."""
    found: list[Sum | Best] = []
    for s, _, around in walk(loop.body):
        alone = not any(isinstance(outer, Multiply) for outer, _ in around)
        combines = isinstance(s, (Best, Multiply)) or isinstance(s, Store) and s.op != "="
        if alone and combines and s.buffer.number not in blocks.private:
            if blocks.begin not in toposort(s.index):
                found.append(s)
    return found


def _adds_up(s: Sum | Best) -> TypeGuard[Sum]:
    """Whether a statement adds numbers to its target, in any order."""
    added = isinstance(s, Multiply) or isinstance(s, Store) and s.op == "+"
    return added and s.buffer.dtype in FLOATS


def _work(loop: Loop, outer: Sequence[_Blocks]) -> int:
    """Multiply-adds of products in a loop over blocks, in all rounds of it and of those around."""
    total = 0
    for s, path, _ in walk([loop]):
        if isinstance(s, Multiply):
            steps = math.prod([*(o.step for o in path), *(o.size for o in outer)])
            rounds = math.prod([*s.extents, *(o.extent for o in path), *(o.total for o in outer)])
            total += rounds // steps // 2 if is_symmetric(s) else rounds // steps
    return total


def _by_blas(loop: Loop) -> bool:
    """Whether a BLAS has part in it, which has threads of its own."""
    return any(isinstance(s, Multiply) and s.blas for s, *_ in walk(loop.body))
