"""A program as the rules look at it: accesses, loops around them, bounds, and words for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from symgrad.expr.node import CONST, Expr, const_value
from symgrad.expr.walk import toposort
from symgrad.lower.access import accesses_of
from symgrad.lower.bounds import Bounds
from symgrad.lower.program import Program, statements
from symgrad.lower.scalar import INDEX, LOAD
from symgrad.lower.statements import (
    Access,
    Buffer,
    Loop,
    Store,
)
from symgrad.lower.tuning import Tuning

READ_ONLY = ("in", "data", "constant")
GIVEN = (*READ_ONLY, "out")
_SPELLED = 40  # nodes of an index that a message spells out


@dataclass(frozen=True)
class Place:
    """An access, the statement that makes it, the loops around, and its position in the text."""

    access: Access
    statement: Any
    path: tuple[Loop, ...]
    position: int


class View:
    """A program with what several rules ask for."""

    def __init__(self, program: Program, tuning: Tuning) -> None:
        self.program, self.tuning = program, tuning
        self.placed = program.workspace_bytes >= 0
        self.buffers = {b.number: b for b in program.buffers}
        self.bounds = Bounds(program.body, self.buffers)
        self.leaves = list(statements(program.body))
        self.places = [
            Place(access, s, path, position)
            for position, (s, path) in enumerate(self.leaves)
            for access in accesses_of(s)
        ]
        self.of_buffer: dict[int, list[Place]] = {}
        for place in self.places:
            self.of_buffer.setdefault(place.access.buffer, []).append(place)
        self.loops = list(loops_of(program.body))
        self.partial = {s.partial.number for s, _ in self.leaves if has_partial(s)}

    def name(self, place: Place) -> str:
        """An access in words."""
        a, b = place.access, self.buffers[place.access.buffer]
        index = ", ".join(spelled(i, self.buffers) for i in a.index)
        around = "".join(f" in i{loop.index.attrs[0]}" for loop in place.path)
        kind = type(place.statement).__name__
        return f"{a.mode.value} {b.name}[{index}] ({b.dtype}{list(b.shape)}) by {kind}{around}"

    def axes(self, access: Access) -> Iterator[tuple[int, Expr, Expr | int, int]]:
        """Each axis in memory that an access has: its number, first element, count and length."""
        buffer, box = self.buffers[access.buffer], dict(access.box)
        for a in buffer.kept_axes:
            yield a, access.index[a], box.get(a, 1), buffer.shape[a]


def has_partial(s: Any) -> bool:
    return isinstance(s, Store) and s.partial is not None


def loops_of(body: list[Any]) -> Iterator[tuple[Loop, tuple[Loop, ...]]]:
    """Every loop with those around it; what is flushed by a loop stands outside of it."""
    stack: list[tuple[Any, tuple[Loop, ...]]] = [(s, ()) for s in reversed(body)]
    while stack:
        s, path = stack.pop()
        if isinstance(s, Loop):
            yield s, path
            stack += [(inner, path) for inner in reversed(s.flush)]
            stack += [(inner, (*path, s)) for inner in reversed(s.body)]


def spelled(e: Expr, buffers: dict[int, Buffer]) -> str:
    """An index expression for a message; long ones are cut."""
    if len(toposort([e])) > _SPELLED:
        return "…"
    if e.op is INDEX:
        return f"i{e.attrs[0]}"
    if e.op is CONST:
        return str(const_value(e))
    parts = [spelled(a, buffers) for a in e.args]
    if e.op is LOAD:
        return f"{buffers[e.attrs[0]].name}[{', '.join(parts)}]"
    infix = e.op.c is not None and _INFIX.fullmatch(e.op.c)
    return f"({e.op.c.format(*parts)})" if infix else f"{e.name}({', '.join(parts)})"


_INFIX = re.compile(r"\{0\} \S+ \{1\}")
