"""What several threads may share: loops over blocks in whose rounds they do not meet."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import replace

from symgrad.expr.node import CONST, Expr
from symgrad.expr.walk import toposort
from symgrad.lower.access import accesses
from symgrad.lower.program import Draft
from symgrad.lower.scalar import INDEX
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Loop, walks_on
from symgrad.lower.tuning import Tuning
from symgrad.ops.elementwise import ADD, MULTIPLY, SUBTRACT

_LINEAR = (INDEX, CONST, ADD, SUBTRACT, MULTIPLY)  # what the place of a block is made of


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
