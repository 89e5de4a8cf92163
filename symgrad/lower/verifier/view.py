"""A program as the rules look at it: accesses, loops around them, bounds, and words for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

from symgrad.expr.node import Expr
from symgrad.expr.walk import toposort
from symgrad.lazy import dataclass
from symgrad.lower.bounds import Bounds
from symgrad.lower.cpu import Lanes
from symgrad.lower.listing import Speller
from symgrad.lower.program import Around, Program, common, walk
from symgrad.lower.scalar import loads
from symgrad.lower.statement import Access, Mode
from symgrad.lower.statements import If, Let, Loop, Part, Store, While
from symgrad.lower.tuning import Tuning
from symgrad.ops.elementwise import invert

READ_ONLY = ("in", "data", "constant")
GIVEN = (*READ_ONLY, "out")


@dataclass(frozen=True)
class Place:
    """An access, the statement that makes it, the loops around, and its position in the text.

    position : how many statements come before that are no loops
    around : all bodies that it stands in, from the outside in, but for that of the program or part
    sides : those of them that may not run, or run again by what happens inside
    """

    access: Access
    statement: Any
    path: tuple[Loop, ...]
    position: int
    around: Around
    sides: Around


class View:
    """A program with what several rules ask for."""

    def __init__(self, program: Program, tuning: Tuning) -> None:
        self.program, self.tuning = program, tuning
        self.placed = program.workspace_bytes >= 0
        self.buffers = {b.number: b for b in program.buffers}
        self.text = Speller(program.buffers)
        self.bounds = Bounds(program.body, self.buffers)
        # Whatever holds of a program holds of it in parts.
        parts = {(s, 0) for s in program.body if isinstance(s, Part)}
        every = [
            (s, path, around[1:] if around and around[0] in parts else around)
            for s, path, around in walk(program.body)
        ]
        self.every = every
        self.taken = _taken(every)
        found = [(s, path, around) for s, path, around in every if not isinstance(s, Loop)]
        self.part = [*itertools.accumulate(isinstance(s, Part) for s, *_ in found), len(parts)]
        self.leaves = [(s, path) for s, path, _ in found]
        self.around = [around for _, _, around in found]
        self.places = list(self._all_places())
        self.of_buffer: dict[int, list[Place]] = {}
        for place in self.places:
            self.of_buffer.setdefault(place.access.buffer, []).append(place)
        self.writers = {n: [q for q in p if q.access.writes] for n, p in self.of_buffer.items()}
        self._untils: dict[tuple[int, int], float] = {}  # of conditions, by the side of a branch
        self.loops = [(loop, path) for loop, path, _ in every if isinstance(loop, Loop)]
        self.rounds = {s.index: (*around, (s, 0)) for s, _, around in every if isinstance(s, Loop)}
        self._starts: dict[int, int] = {}  # of statements with bodies: the first position inside
        self._ends: dict[int, int] = {}  # and the last one
        for position, (s, _, around) in enumerate(found):
            for outer, _ in (*around, (s, 0)):
                self._starts.setdefault(id(outer), position)
                self._ends[id(outer)] = position
        self.partial = {s.partial.number for s, _ in self.leaves if has_partial(s)}

    def _all_places(self) -> Iterator[Place]:
        """Every access, in the order of the text; a loop's bounds before its rounds."""
        position = 0
        for s, path, around in self.every:
            sides = tuple((outer, k) for outer, k in around if isinstance(outer, (If, While)))
            known = self.taken[id(s)]
            reads = s.reads_beside(known) if known or isinstance(s, Let) else s.reads
            arrays = [let.array.number for let in known.values() if let.array is not None]
            kept = [Access(number, Mode.READ, ()) for number in arrays]
            for access in (*reads, *kept, *s.touches()):
                yield Place(access, s, path, position, around, sides)
            position += not isinstance(s, Loop)

    def nodes(self, s: Any) -> list[Expr]:
        """What a statement's expressions are made of, but for values that it takes."""
        return toposort(s.exprs(), self.taken[id(s)])

    def start(self, s: Any) -> int:
        """The first position inside of a statement with bodies."""
        return self._starts[id(s)]

    def holding(self, place: Place) -> list[Expr]:
        """What holds where something stands, by the branches around."""
        found = []
        for depth, (s, k) in enumerate(place.around, 1):
            if isinstance(s, (If, While)):
                until = self._untils.get((id(s), k))
                if until is None:
                    until = self.until(s.condition, place.around[:depth], self._starts[id(s)])
                    self._untils[id(s), k] = until
                if place.position < until:
                    found.append(invert(s.condition) if k else s.condition)
        return found

    def until(self, value: Expr, around: Around, position: int) -> float:
        """The first position inside of some bodies where a value known before may be another one.

        That is behind a statement that changes what the value loads, or where a loop around that
        statement begins.
        """
        end = math.inf
        for n in loads((value,)):
            for q in self.writers[n.attrs[0]]:
                if q.position >= position and q.around[: len(around)] == around:
                    again = rounds_of(q.around[len(around) :])
                    end = min(end, self._starts[id(again[0])] if again else q.position + 1)
        return end

    def until_round(self, value: Expr, around: Around, position: int) -> float:
        """The same for what a round of a loop finds of a value that rounds change before.

        It knows nothing of what later rounds make of other elements: that ends with the loop.
        """
        end = math.inf
        for n in loads((value,)):
            kept = self.buffers[n.attrs[0]].kept_axes
            for q in self.writers[n.attrs[0]]:
                if q.position >= position:
                    continue
                fixed = q.access.fixed
                same = all(fixed.get(a) is n.args[a] for a in kept)
                shared = (s for s, _ in common(q.around, around) if isinstance(s, Loop))
                outer = next(shared, None)
                if outer is not None and not same:
                    end = min(end, self._ends[id(outer)] + 1)
        return end

    def name(self, place: Place) -> str:
        """An access in words."""
        a, b = place.access, self.buffers[place.access.buffer]
        index = ", ".join(map(self.text, a.index))
        around = "".join(f" in i{loop.index.attrs[0]}" for loop in place.path)
        kind = type(place.statement).__name__
        return f"{a.mode.value} {b.name}[{index}] ({b.dtype}{list(b.shape)}) by {kind}{around}"

    def axes(self, access: Access) -> Iterator[tuple[int, Expr, Expr | int, int]]:
        """Each axis in memory that an access has: its number, first element, count and length."""
        buffer, box = self.buffers[access.buffer], dict(access.box)
        for a in buffer.kept_axes:
            yield a, access.index[a], box.get(a, 1), buffer.shape[a]


def rounds_of(around: Around) -> list[Any]:
    """Of some bodies the statements that run them again. Lanes never see each other."""
    return [s for s, _ in around if not isinstance(s, (If, Lanes))]


def has_partial(s: Any) -> bool:
    return isinstance(s, Store) and s.partial is not None


def _taken(every: Iterable[tuple[Any, tuple[Loop, ...], Around]]) -> dict[int, dict[Expr, Let]]:
    """The values that each statement, by its `id`, takes from where they were computed.

    What is computed in a loop over lanes is known in the body around.
    """
    known: dict[Expr, list[tuple[Around, Let]]] = {}
    once: list[Expr] = []
    found: dict[int, dict[Expr, Let]] = {}
    for s, _, around in every:
        if isinstance(s, Part):  # knows no variable of another one
            known.clear()
        mine = found[id(s)] = {}
        seen: set[Expr] = set()
        stack = [*s.exprs()] if known else []
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            lets = known.get(node, [])
            while lets and around[: len(lets[-1][0])] != lets[-1][0]:
                lets.pop()
            if lets:
                mine[node] = lets[-1][1]
            else:
                stack.extend(node.args)
        if isinstance(s, Let):
            in_lanes = around and isinstance(around[-1][0], Lanes)
            known.setdefault(s.value, []).append((around[:-1] if in_lanes else around, s))
            once += [s.value] * s.once
        elif not isinstance(s, Lanes):
            for value in once:
                known[value].pop()
            once.clear()
    return found
