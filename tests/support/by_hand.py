"""Loop programs written by hand, and small changes to programs: all of them are values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import replace
from typing import Any

from symgrad.lower.program import Draft, Program, rebuilt
from symgrad.lower.statement import Buffer


class ByHand:
    """The buffers of a program; its statements have them as they are when it is made."""

    def __init__(self) -> None:
        self.draft = Draft()

    @property
    def buffers(self) -> list[Buffer]:
        return self.draft.buffers

    def buffer(self, name, shape=(), role="work", dtype="float64", **more) -> Buffer:
        return self.draft.array(shape, dtype, role, name, **more)

    def change(self, buffer: Buffer, **fields: Any) -> None:
        """The buffer has other properties in the programs that are made next."""
        self.draft.change(buffer.number, **fields)

    def of(self, *body: Any, workspace_bytes: int = -1) -> Program:
        """A program, with what it takes and gives by the roles of the buffers.

        One statement may be given in several places: each has a copy.
        """
        sides = ([b for b in self.buffers if b.role == role] for role in ("in", "out"))
        return self.draft.program(
            *sides, rebuilt(body, lambda old, new: [copy(new)]), workspace_bytes
        )


def edited(program: Program, change: Callable[[Any], Iterable[Any] | None]) -> Program:
    """A program with `change(s)` in the place of each statement s, where that is not None.

    Statements are asked as they were before; what stands inside is changed as well.
    """

    def both(old: Any, new: Any) -> Iterable[Any]:
        found = change(old)
        if found is None:
            return [new]
        inside = {name: getattr(new, name) for name in new.inside}
        return [replace(s, **inside) if type(s) is type(new) else s for s in found]

    return replace(program, body=rebuilt(program.body, both))


def changed(program: Program, statement: Any, **fields: Any) -> Program:
    """A program in which one statement has other fields."""
    return edited(program, lambda s: [replace(s, **fields)] if s is statement else None)


def without(program: Program, statement: Any) -> Program:
    return edited(program, lambda s: [] if s is statement else None)


def with_buffer(program: Program, buffer: Buffer, **fields: Any) -> Program:
    draft = Draft(program)
    draft.change(buffer.number, **fields)
    return draft.of(program)
