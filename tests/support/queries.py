"""Questions about the loop program of a function, for tests that ask how it is computed.

What the C looks like is asked of the C only where its text is the subject.
"""

from __future__ import annotations

from collections.abc import Iterator

from symgrad.compiled import Compiled
from symgrad.expr.walk import toposort
from symgrad.generate import program_of
from symgrad.lower.program import Program, statements
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Loop


def program(compiled: Compiled) -> Program:
    """The loop program that the C of a compiled function comes from."""
    return program_of(compiled.graph, compiled.options)


def loops(program: Program) -> Iterator[Loop]:
    """Every loop that has a statement, from the outside inwards, in order."""
    seen: set[int] = set()
    for _, path in statements(program.body):
        for loop in path:
            if id(loop) not in seen:
                seen.add(id(loop))
                yield loop


def count(program: Program, kind: type, **fields: object) -> int:
    """How many statements of a kind there are, with these values in these fields."""
    return sum(
        isinstance(s, kind) and all(getattr(s, name) == v for name, v in fields.items())
        for s, _ in statements(program.body)
    )


def has(program: Program, kind: type, **fields: object) -> bool:
    return count(program, kind, **fields) > 0


def depth(program: Program) -> int:
    """How many loops stand in one another, at most."""
    return max((len(path) for _, path in statements(program.body)), default=0)


def lane_arrays(program: Program) -> list[Buffer]:
    """The arrays that have an element for each point of a block of lanes."""
    return [b for b in program.buffers if b.lanes and b.role != "none"]


def in_lanes(program: Program) -> bool:
    """Whether points of some loop are taken in blocks of lanes."""
    return any(loop.lanes for loop in loops(program))


def block_sizes(program: Program) -> set[int]:
    """How many points the blocks of streams have."""
    return {loop.step for loop in loops(program) if loop.step > 1}


def in_triangles(program: Program) -> bool:
    """Whether some loop begins or ends where the round of a loop around it is."""
    for _, path in statements(program.body):
        rounds = {loop.index for loop in path if loop.step == 1}
        for loop in path:
            ends = [e for e in (loop.start, loop.stop) if e is not None]
            if rounds & set(toposort(ends)):
                return True
    return False


def shared(program: Program) -> list[Loop]:
    """The loops whose rounds several threads may take."""
    return [loop for loop in loops(program) if loop.shared or loop.chunks]
