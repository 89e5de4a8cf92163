"""A long function as several: compilers are superlinear in a function's length.

Values that cross a cut travel through an array of the workspace, stored where they are computed and
loaded where they are first used: everything else stays local, and live ranges stay short. Both
matter: compilers take several times longer otherwise.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from symgrad.expr.node import Expr, const
from symgrad.lower.program import Draft, Program, walk
from symgrad.lower.scalar import LOAD, load_of
from symgrad.lower.statement import Statement
from symgrad.lower.statements import Let, Part, Store
from symgrad.lower.tuning import Tuning


def cut_into_parts(program: Program, threads: int, tuning: Tuning) -> Program:
    """A program of more than `tuning.part_statements` statements in parts of at most so many."""
    body = program.body
    if len(body) <= tuning.part_statements:
        return program
    at = {s.value: k for k, s in enumerate(body) if isinstance(s, Let) and not s.once}
    used, buffers = zip(*(_used(s, at, k) for k, s in enumerate(body)), strict=True)
    starts = _starts(body, used, at, tuning.part_statements)
    bounds = list(zip(starts, [*starts[1:], len(body)], strict=True))
    draft = Draft(program)
    parts = [set().union(*buffers[start:end]) for start, end in bounds]
    size = _in_workspace(draft, parts, program.workspace_bytes)
    slots: dict[str, dict[Expr, int]] = {}  # by dtype, of what crosses a cut
    for start, end in bounds:
        for value in (v for found in used[start:end] for v in found if at[v] < start):
            same = slots.setdefault(value.dtype, {})
            same.setdefault(value, len(same))
    kept = {}
    for dtype, values in slots.items():
        b = kept[dtype] = draft.array((len(values),), dtype, name=draft.unused("kept"), offset=size)
        size += b.room
    elements = {
        value: (kept[dtype], (const(k, "int64"),))
        for dtype, values in slots.items()
        for value, k in values.items()
    }
    made = []
    for start, end in bounds:
        inside: list[Statement] = []
        here = {s.value for s in body[start:end] if isinstance(s, Let)}  # computed, or taken
        for s, values_ in zip(body[start:end], used[start:end], strict=True):
            inside += [Let(v, source=load_of(*elements[v])) for v in values_ if v not in here]
            here.update(values_)
            inside.append(s)
            if isinstance(s, Let) and s.value in elements:
                inside.append(Store(*elements[s.value], s.value))
        made.append(Part(inside))
    return draft.of(program, made, size)


def _used(s: Any, at: dict[Expr, int], here: int) -> tuple[list[Expr], set[int]]:
    """The named values that statement number `here` takes, also inside; the buffers it touches.

    What gets its name behind it, a side of a branch computes itself.
    """
    found: set[Expr] = set()
    seen: set[Expr] = set()
    buffers: set[int] = set()
    for part, *_ in walk([s]):
        buffers.update(access.buffer for access in part.touches())
        stack = [*part.exprs()]
        while stack:
            node = stack.pop()
            if at.get(node, here) < here:
                found.add(node)
            elif node not in seen:
                seen.add(node)
                stack.extend(node.args)
                if node.op is LOAD:
                    buffers.add(node.attrs[0])
    return sorted(found, key=lambda node: at[node]), buffers


def _starts(
    body: Sequence[Any], used: Sequence[Sequence[Expr]], at: dict[Expr, int], most: int
) -> list[int]:
    """Where each part begins: loads of values from before count as statements."""
    starts = [0]
    size = 0
    loaded: set[Expr] = set()
    for k, values in enumerate(used):
        loads = {v for v in values if at[v] < starts[-1]} - loaded
        alone = isinstance(body[k - 1], Let) and body[k - 1].once  # nobody else may take it
        if size + 1 + len(loads) > most and k > starts[-1] and not alone:
            starts.append(k)
            size, loaded = 0, set()
            loads = {v for v in values if at[v] < k}
        size += 1 + len(loads)
        loaded |= loads
    return starts


def _in_workspace(draft: Draft, parts: Sequence[set[int]], size: int) -> int:
    """Variables and arrays on the stack that several parts use go behind `size` bytes of it."""
    users = Counter(itertools.chain(*parts))
    for b in tuple(draft.buffers):
        if b.role in ("scalar", "local") and users[b.number] > 1:
            draft.change(b.number, role="work", offset=size)
            size += b.room
    return size
