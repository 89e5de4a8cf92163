"""What buffers need: axes of temporaries that loops fix are dropped, then each gets a place."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.expr.node import Expr
from symgrad.lower.access import accesses
from symgrad.lower.program import Program, statements
from symgrad.lower.scalar import indices_of
from symgrad.lower.statements import Buffer, Call, Flush, Loop, Merge
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
