"""What buffers need: axes of temporaries that loops fix are dropped, then each gets a place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.expr.node import Expr
from symgrad.lower.access import accesses, accesses_of, reads
from symgrad.lower.program import Program, statements
from symgrad.lower.scalar import indices_of
from symgrad.lower.statements import Access, Buffer, Call, Flush, Loop, Merge
from symgrad.lower.stream import (
    share_among_threads,
)
from symgrad.lower.tuning import Tuning


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
    moving = (i for e in others for i in indices_of(e))
    carried = min((depth[i] for i in moving if i in depth), default=len(depth))
    return tuple(a for a in range(ndim) if a not in fixed or depth[fixed[a]] > carried)


def place(program: Program, threads: int, tuning: Tuning) -> Program:
    """Local variables, stack arrays and workspace offsets chosen for all buffers.

    Workspace intervals run over statements that come one after another; equal storage is reused
    first-fit.
    """
    program = program.copied()
    body, buffers = program.body, program.buffers
    order = _order(body)
    spans = _spans(body, order)
    called = _given_by_address(body)
    for top in body:
        if isinstance(top, Loop) and top.members:
            span = order[id(top)]
            alone = [b for b in buffers if b.role == "work" and spans.get(b.number) == span]
            team = share_among_threads(top, alone, called, len(buffers), tuning)
            if team is not None:
                buffers.append(team)
                spans[team.number] = span
    first = {number: low for number, (low, _) in spans.items()}
    last = {number: high for number, (_, high) in spans.items()}
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


Span = tuple[int, int]  # numbers at which something begins and ends


def _order(body: list[Any]) -> dict[int, Span]:
    """By `id`, when each statement of a scope begins, and when the last one inside ends."""
    found: dict[int, Span] = {}
    count = 0
    stack: list[tuple[Any, bool]] = [(s, False) for s in reversed(body)]
    while stack:
        s, over = stack.pop()
        if over:
            found[id(s)] = found[id(s)][0], count - 1
            continue
        found[id(s)] = count, count
        count += 1
        if not isinstance(s, Loop) or s.serial:
            stack.append((s, True))
            stack.extend(
                (one, False) for inside in reversed(s.bodies()) for one in reversed(inside)
            )
    return found


def _spans(body: list[Any], order: dict[int, Span]) -> dict[int, Span]:
    """From when to when each buffer is in use.

    That is between statements of the innermost scope that has all that touch it: what a round of a
    loop leaves there no other one reads, since it would have been set before the loop.
    """
    places: dict[int, list[tuple[int, ...]]] = {}  # scopes and statements, from the outside in
    scope: list[tuple[list[Any], tuple[int, ...]]] = [(body, ())]
    for inside, path in scope:  # which grows meanwhile
        for s in inside:
            here = (*path, id(inside), id(s))
            whole = isinstance(s, Loop) and not s.serial
            for access in (a for a, _ in accesses([s])) if whole else _own_accesses(s):
                places.setdefault(access.buffer, []).append(here)
            if not whole:
                scope.extend((one, here) for one in s.bodies())
    found = {}
    for number, paths in places.items():
        depth = 0
        while all(p[: depth + 3] == paths[0][: depth + 3] for p in paths) and all(
            len(p) > depth + 3 for p in paths
        ):
            depth += 2
        spans = [order[p[depth + 1]] for p in paths]
        found[number] = min(low for low, _ in spans), max(high for _, high in spans)
    return found


def _own_accesses(s: Any) -> list[Access]:
    """What a statement touches apart from those inside; of a loop, its bounds."""
    if isinstance(s, Loop):
        return reads([e for e in (s.start, s.stop) if e is not None])
    return accesses_of(s)


def _given_by_address(body: list[Any]) -> set[int]:
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
