"""Streams: a program runs over blocks of points, with products of matrices in every block.

`schedule` decides which axes are streams and which kernels belong to them. Here is what it needs to
place a kernel in one block, and to let threads share the blocks.

Sums over the points are added up in chunks of blocks, and those of the chunks with compensation:
the error does not grow with the number of points, and the chunks can be computed in any order as
long as they are added in this one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import field, replace

from symgrad.expr.node import CONST, Expr, const
from symgrad.expr.walk import rebuild, toposort, transform
from symgrad.lazy import dataclass
from symgrad.lower.access import accesses
from symgrad.lower.program import Draft
from symgrad.lower.scalar import INDEX, LOAD, load_of
from symgrad.lower.statement import Buffer, Statement
from symgrad.lower.statements import Loop, walks_on
from symgrad.lower.tuning import Tuning
from symgrad.ops.elementwise import ADD, MULTIPLY, SUBTRACT, is_finite, minimum, select

_LINEAR = (INDEX, CONST, ADD, SUBTRACT, MULTIPLY)  # what the place of a window is made of


@dataclass(frozen=True)
class Window:
    """One block of a stream.

    begin : its first point; size : points; extent : points, where the last block has fewer
    local : stands for a point's position in the block, in the index of
    private : buffers that exist for one block only, with the axis of the points
    sums : by number of a sum over the points, where a chunk of blocks adds up
    added : how many points of the chunk come before
    """

    begin: Expr
    size: int
    extent: Expr | None
    local: Expr
    private: dict[int, int]
    sums: dict[int, Buffer]
    added: Expr

    def localise(self, exprs: Sequence[Expr], point: Expr) -> Sequence[Expr]:
        """`exprs` with `local` for `point` in the index of what is private."""

        def rule(node: Expr, args: tuple[Expr, ...]) -> Expr:
            axis = self.private.get(node.attrs[0]) if node.op is LOAD else None
            if axis is not None and node.args[axis] is point:
                args = (*args[:axis], self.local, *args[axis + 1 :])
            return rebuild(node, args)

        return transform(exprs, rule) if self.private else exprs


@dataclass
class ChunkSums:
    """Sums over the points of a stream that are added up for each chunk of blocks.

    parts : by number of a sum, where a chunk adds up
    before, zeros, merges, after : statements before all chunks, before and behind each, behind all
    """

    parts: dict[int, Buffer] = field(default_factory=dict)
    before: list[Statement] = field(default_factory=list)
    zeros: list[Statement] = field(default_factory=list)
    merges: list[Statement] = field(default_factory=list)
    after: list[Statement] = field(default_factory=list)


def blocks_of_chunk(blocks: int, elements: int, work: float, tuning: Tuning) -> int:
    """How many blocks are added up before their sums go elsewhere; `blocks` if there is one chunk.

    elements : of these sums; work : multiply-adds of one block
    """
    merging = tuning.merge_work * elements / tuning.merge_share
    pays = max(merging, tuning.chunk_from_work) / max(work, 1)
    chunks = max(blocks // math.ceil(pays), -(-blocks // tuning.chunk_blocks))
    return -(-blocks // chunks)


class Blocks:
    """A loop over blocks of `size` points, or over chunks of so many blocks `together`.

    index : counts chunks where there are such, else points
    begin, added : the first point of a block, and how many the chunk has before it
    """

    def __init__(self, total: int, size: int, together: int, fresh: Callable[[], Expr]) -> None:
        self.index, points = fresh(), size * together
        if together == 1:
            self._outer = self._inner = Loop(self.index, total, step=size)
            self.begin, self.added = self.index, const(0, "int64")
            return
        self._outer = Loop(self.index, -(-total // points))
        begin = self.index * const(points, "int64")
        end = begin + const(points, "int64")
        stop = minimum(end, total) if total % points else end
        self.begin = fresh()
        self._inner = Loop(self.begin, points, start=begin, stop=stop, step=size)
        self.added = self.begin - begin

    def loop(self, body: Sequence[Statement], chunks: ChunkSums, members: int) -> Loop:
        """The loop, with statements for each block, and those for each chunk around."""
        if self._inner is not self._outer:
            body = [replace(self._inner, body=body)]
        whole = [*chunks.zeros, *body, *chunks.merges]
        return replace(self._outer, body=whole, in_order=len(chunks.merges), members=members)


def with_carry(total: Buffer, carry: Buffer, at: tuple[Expr, ...]) -> Expr:
    """An element of a sum with what rounding took; the sum alone if it is not finite."""
    old, lost = load_of(total, at), load_of(carry, at)
    return select(is_finite(lost), old + lost, old)


# ---- several threads -----------------------------------------------------------------------------


def share_among_threads(
    loop: Loop, alone: Sequence[Buffer], arrays: Collection[int], draft: Draft, tuning: Tuning
) -> Loop:
    """A loop that `loop.members` threads share, unless two of its rounds write to one element.

    `alone` are the buffers of the workspace that only this loop uses, `arrays` the numbers of those
    that are arrays though they have one element. Where each thread has its own ones is a new
    buffer, if there are any.
    """
    by_round, touched = _by_round(loop)
    is_array = [b for b in alone if b.kept_axes or b.number in arrays]
    own = [b for b in is_array if b.number not in touched]
    each = {b.number for b in alone} - touched
    before = accesses(loop.body[: len(loop.body) - loop.in_order])
    right = all(by_round[a.buffer] for a, _ in before if a.writes and a.buffer not in each)
    large = _beyond_stack(own, tuning)
    sizes = [b.room for b in large]
    rounds = -(-loop.extent // loop.step)
    members = min(loop.members, rounds, tuning.team_bytes // max(sum(sizes), 1))
    if not right or members < 2:
        return replace(loop, members=0)
    for b in own:
        draft.change(b.number, role="own")
    for b, offset in zip(large, itertools.accumulate(sizes, initial=0), strict=False):
        draft.change(b.number, role="member", offset=offset)
    team = draft.array((members, sum(sizes) // 8), "float64") if large else None
    return replace(loop, members=members, shared=True, team=team)


def _by_round(loop: Loop) -> tuple[dict[int, set[int]], set[int]]:
    """Of each array the axes on which all accesses move with the round; where some access moves."""
    blocks = [s for s in loop.body if isinstance(s, Loop) and loop.index in walks_on(s)]
    moving = {loop.index, *(s.index for s in blocks)}
    found: dict[int, set[int]] = {}
    touched = set()
    for access, _ in accesses([loop]):
        n, axes = access.buffer, _moving_axes(access.index, moving)
        found[n] = found.get(n, axes) & axes
        touched |= {n} if axes else set()
    return found, touched


def _beyond_stack(own: Sequence[Buffer], tuning: Tuning) -> list[Buffer]:
    """Those arrays of a round for which there is no room on the stack."""
    stack, large = 0, []
    for b in own:
        if b.nbytes > tuning.local_bytes or stack + b.nbytes > tuning.all_locals_bytes:
            large.append(b)
        else:
            stack += b.nbytes
    return large


def _moving_axes(index: Sequence[Expr], moving: set[Expr]) -> set[int]:
    """The axes on which an index is a sum with one of the variables in `moving`."""
    return {
        a
        for a, nodes in enumerate(set(toposort([entry])) for entry in index)
        if nodes & moving and all(n.op in _LINEAR for n in nodes)
    }
