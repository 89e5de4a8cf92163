"""What buffers need: axes of temporaries that loops fix are dropped, then each gets a place."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

from symgrad.expr.node import Expr
from symgrad.lower.access import accesses
from symgrad.lower.cpu import Flush, Merge
from symgrad.lower.program import Draft, Program, common, statements
from symgrad.lower.scalar import indices_of
from symgrad.lower.statement import Buffer, Statement
from symgrad.lower.statements import Call, Loop
from symgrad.lower.team import share_among_threads
from symgrad.lower.tuning import Tuning

Span = tuple[int, int]  # numbers at which something begins and ends


def shrink(program: Program, threads: int, tuning: Tuning) -> Program:
    """Temporaries without the axes that every access fixes by the same loop around."""
    body, buffers = program.body, program.buffers
    prefix: dict[int, tuple[Loop, ...]] = {}
    indices: dict[int, list[dict[int, Expr]]] = {}
    for access, path in accesses(body):
        number = access.buffer
        if buffers[number].role != "work":
            continue
        indices.setdefault(number, []).append(access.fixed)
        prefix[number] = common(prefix.get(number, path), path)
    draft = Draft(program)
    for number, all_indices in indices.items():
        around = prefix[number]
        kept = _kept_axes(len(buffers[number].shape), all_indices, around)
        home = around[-1].index if around else None
        if kept != buffers[number].kept_axes or home is not None:
            draft.change(number, kept_axes=kept, home=home)
    return draft.of(program)


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
    draft, body = Draft(program), list(program.body)
    order = _order(body)
    spans = _spans(body, order)
    called = _given_by_address(body)
    for position, top in enumerate(program.body):
        if isinstance(top, Loop) and top.members:
            span = order[id(top)]
            alone = [b for b in draft.buffers if b.role == "work" and spans.get(b.number) == span]
            shared = share_among_threads(top, alone, called, draft, tuning)
            if shared.team is not None:
                spans[shared.team.number] = span
            body[position] = shared
    stack_bytes = 0
    large: list[Buffer] = []
    for buffer in sorted(
        (b for b in draft.buffers if b.role == "work"),
        key=lambda b: (spans.get(b.number, (0, 0))[0], b.number),
    ):
        small = buffer.nbytes <= tuning.local_bytes
        if not buffer.kept_axes and buffer.number not in called:
            draft.change(buffer.number, role="scalar")
        elif small and stack_bytes + buffer.nbytes <= tuning.all_locals_bytes:
            draft.change(buffer.number, role="local")
            stack_bytes += buffer.nbytes
        elif buffer.number in spans:  # of what no statement is left for it needs no place
            large.append(buffer)
    return draft.of(program, body, workspace_bytes=_in_workspace(large, spans, draft))


def _in_workspace(large: Sequence[Buffer], spans: Mapping[int, Span], draft: Draft) -> int:
    """An offset for each of some buffers, which come as they begin; the bytes of the workspace."""
    busy: list[tuple[int, int, int]] = []  # where each one lies that is in use, and until when
    total = 0
    for buffer in large:
        room = buffer.room
        begin, end = spans[buffer.number]  # begins never get less
        busy = [p for p in busy if p[2] >= begin]
        offset = 0
        for start, stop, _ in busy:
            if offset + room <= start:
                break
            if stop > offset:
                offset = stop
        draft.change(buffer.number, offset=offset)
        bisect.insort(busy, (offset, offset + room, end))
        total = max(total, offset + room)
    return total


def _order(body: Sequence[Statement]) -> dict[int, Span]:
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


def _spans(body: Sequence[Statement], order: dict[int, Span]) -> dict[int, Span]:
    """From when to when each buffer is in use.

    That is between statements of the innermost scope that has all that touch it: what a round of a
    loop leaves there no other one reads, since it would have been set before the loop.
    """
    places: dict[int, list[tuple[int, ...]]] = {}  # scopes and statements, from the outside in
    scope: list[tuple[Sequence[Statement], tuple[int, ...]]] = [(body, (0,))]
    for inside, path in scope:  # which grows meanwhile
        for s in inside:
            here = (*path, id(s))
            whole = isinstance(s, Loop) and not s.serial
            for access in (a for a, _ in accesses([s])) if whole else s.accesses:
                places.setdefault(access.buffer, []).append(here)
            if not whole:
                scope.extend((one, (*here, k)) for k, one in enumerate(s.bodies()))
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


def _given_by_address(body: Sequence[Statement]) -> set[int]:
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
