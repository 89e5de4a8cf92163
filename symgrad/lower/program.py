"""The loop program: buffers and a body of statements whose right-hand sides are scalar `Expr`.

All of it are values: a pass makes another program. `str(program)` is readable pseudo-C.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from symgrad.expr.node import Expr
from symgrad.lazy import dataclass
from symgrad.lower import listing
from symgrad.lower.scalar import index_of
from symgrad.lower.statement import Body, Buffer, Statement
from symgrad.lower.statements import Loop, Part

T = TypeVar("T")
Around = tuple[tuple[Any, int], ...]  # statements, and in which of their bodies something stands


@dataclass(frozen=True, eq=False)
class Program:
    """What `lower` hands to `emit`.

    buffers : those of inputs and outputs as well, each at the position that is its number
    workspace_bytes : its size; -1 as long as no place is chosen for buffers
    indices : the number of the next loop variable
    """

    inputs: Sequence[Buffer]
    outputs: Sequence[Buffer]
    buffers: Sequence[Buffer]
    body: Sequence[Statement]
    workspace_bytes: int
    indices: int = 0

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs", "buffers", "body"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def parts(self) -> tuple[Body, ...]:
        """The bodies of what is compiled on its own, one after another."""
        if self.body and isinstance(self.body[0], Part):
            return tuple([tuple(s.body) for s in self.body if isinstance(s, Part)])
        return (tuple(self.body),)

    def __str__(self) -> str:
        return listing.of(self.buffers, self.body)


class Draft:
    """The buffers and loop variables of a program that is being made.

    buffers : as they are now, by number
    indices : the number of the next loop variable
    """

    def __init__(self, program: Program | None = None) -> None:
        self.buffers: list[Buffer] = [] if program is None else [*program.buffers]
        self.indices = 0 if program is None else program.indices

    def fresh(self) -> Expr:
        """A loop variable that nobody has yet."""
        self.indices += 1
        return index_of(self.indices - 1)

    def array(
        self, shape: tuple[int, ...], dtype: str, role: str = "work", name: str = "", **more: Any
    ) -> Buffer:
        """One more buffer."""
        number = len(self.buffers)
        made = Buffer(number, name or f"s{number}", shape, dtype, role, **more)
        self.buffers.append(made)
        return made

    def unused(self, name: str) -> str:
        """`name`, with a number behind it if a buffer has it."""
        taken = {b.name for b in self.buffers}
        candidates = (name if k == 1 else f"{name}{k}" for k in itertools.count(1))
        return next(c for c in candidates if c not in taken)

    def now(self, buffer: Buffer) -> Buffer:
        """A buffer as it is now. One that belongs to no program stays what it is."""
        return self.buffers[buffer.number] if buffer.number >= 0 else buffer

    def change(self, number: int, **fields: Any) -> Buffer:
        """A buffer gets other properties. Statements made before still have the old ones."""
        made = self.buffers[number] = replace(self.buffers[number], **fields)
        return made

    def bound(self, body: Iterable[Statement]) -> Body:
        """Statements with the buffers as they are now."""
        return rebuilt(body, lambda old, new: (new.with_buffers(self.buffers),))

    def program(
        self,
        inputs: Iterable[Buffer],
        outputs: Iterable[Buffer],
        body: Iterable[Statement],
        workspace_bytes: int = -1,
    ) -> Program:
        """What has been made: `body` with the buffers as they are now."""
        ins, outs = ([self.now(b) for b in side] for side in (inputs, outputs))
        whole = self.bound(body)
        return Program(ins, outs, self.buffers, whole, workspace_bytes, self.indices)

    def of(
        self,
        program: Program,
        body: Iterable[Statement] | None = None,
        workspace_bytes: int | None = None,
    ) -> Program:
        """A program in the place of another one."""
        body = program.body if body is None else body
        size = program.workspace_bytes if workspace_bytes is None else workspace_bytes
        return self.program(program.inputs, program.outputs, body, size)


Change = Callable[[Any, Any], Iterable[Statement]]


def rebuilt(body: Iterable[Statement], change: Change) -> Body:
    """A body with `change(old, new)` in the place of each statement, from the inside out.

    `new` is the old statement with what `change` has made of the statements inside of it.
    """
    body = tuple(body)
    made: dict[int, Body] = {}
    outer = [s for s in body if s.inside]
    for s in outer:  # which grows meanwhile
        outer.extend(t for inside in s.bodies() for t in inside if t.inside)

    def all_of(old: Iterable[Statement]) -> Body:
        found: list[Statement] = []
        for s in old:
            if s.inside:
                found.extend(made[id(s)])
            else:
                found.extend(change(s, s))
        return tuple(found)

    for s in reversed(outer):
        made[id(s)] = tuple(change(s, s.with_bodies([all_of(b) for b in s.bodies()])))
    return all_of(body)


def replaced(body: Iterable[Statement], by: Mapping[int, Iterable[Statement]]) -> Body:
    """A body with others in the place of some statements and what is inside, by their `id`."""
    if not by:
        return tuple(body)
    return rebuilt(body, lambda old, new: by.get(id(old), (new,)))


def walk(body: Sequence[Any]) -> Iterator[tuple[Any, tuple[Loop, ...], Around]]:
    """Every statement in the order of the text, with the loops and all bodies around it.

    One with bodies comes before what stands inside. What a loop flushes stands in one of its
    bodies, but outside of the loop.
    """
    stack: list[tuple[Any, tuple[Loop, ...], Around]] = [(s, (), ()) for s in reversed(body)]
    while stack:
        s, path, around = stack.pop()
        yield s, path, around
        if not s.inside:
            continue
        for k, inside in reversed([*enumerate(s.bodies())]):
            if inside:
                inner = (*path, s) if isinstance(s, Loop) and k == 0 else path
                here = (*around, (s, k))
                stack.extend([(one, inner, here) for one in reversed(inside)])


def common(one: tuple[T, ...], other: tuple[T, ...]) -> tuple[T, ...]:
    """What two paths of loops or of bodies begin with."""
    pairs = zip(one, other, strict=False)
    return tuple([a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)])


def leaves_of(body: Sequence[Any]) -> Iterator[tuple[Any, tuple[Loop, ...], Around]]:
    """Of what `walk` gives, all that is no loop."""
    return (found for found in walk(body) if not isinstance(found[0], Loop))


def statements(body: Sequence[Any]) -> Iterator[tuple[Any, tuple[Loop, ...]]]:
    """Of what `walk` gives, all that is no loop, with the loops around."""
    return ((s, path) for s, path, _ in walk(body) if type(s) is not Loop)


def bodies_of(body: Sequence[Any]) -> list[Body]:
    """A list of statements with all those inside of it, from the outside in."""
    found: list[Body] = [tuple(body)]
    for outer in found:  # which grows meanwhile
        for s in outer:
            found.extend(s.bodies())
    return found


def scopes(body: Sequence[Any]) -> list[Body]:
    """A list of statements, with those inside that run one after another as it does.

    They stand in branches and in loops whose rounds come in order, and in no others.
    """
    found: list[Body] = [tuple(body)]
    for outer in found:  # which grows meanwhile
        for s in outer:
            if not isinstance(s, Loop) or s.serial:
                found.extend(s.bodies())
    return found
