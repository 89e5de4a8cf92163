"""Bodies of a loop program as C statements.

Each kind of statement has a function of its own, registered with `statement`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from symgrad.emit import tree as c
from symgrad.emit.descending import marked
from symgrad.emit.expr import ZERO, Speller
from symgrad.emit.target import Target
from symgrad.expr.node import FLOATS, Expr
from symgrad.lower.cpu import Flush, Lanes, Merge, Tiles
from symgrad.lower.program import Program, statements, walk
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Let, Loop, Store
from symgrad.lower.tuning import Tuning

_ADDING = {
    Tiles: "sg_product",
    Flush: "sg_add_lanes",
    Merge: "sg_merge",
}  # names of their functions


@functools.singledispatch
def statement(s: Any, e: Emitter, depth: int) -> c.Statement | list[c.Statement]:
    """A statement that stands in `depth` loops, in C. A list are several, one after another."""
    raise TypeError(f"no C for {type(s).__name__}")


class Emitter(Speller):
    """Walks through the bodies of a program.

    path : the loops around what is being spelled, outside of lanes
    carrying : functions, with a dtype, that have to note what additions round away
    added_twice : buffers to which several statements inside loops add
    defined : buffers that are local variables which have been declared
    """

    def __init__(self, program: Program, tuning: Tuning, target: Target) -> None:
        buffers = {b.number: b for b in program.buffers}
        super().__init__(buffers, target)
        self.program, self.tuning = program, tuning
        self.path: list[Loop] = []
        self._once: list[Expr] = []
        self.defined: set[str] = set()
        found = list(statements(program.body))
        self.carrying = {
            (_ADDING[type(s)], s.buffer.dtype)
            for s, _ in found
            if type(s) in _ADDING and s.carry is not None
        }
        added = Counter(s.buffer.number for s, path in found if path and adds(s))
        self.added_twice = {number for number, count in added.items() if count > 1}

    def parts(self) -> list[tuple[c.Statement, ...]]:
        """The statements of each function that is compiled on its own."""
        return [tuple(self._part(body)) for body in self.program.parts]

    def _part(self, body: Sequence[Any]) -> Iterator[c.Statement]:
        with self.scope():
            for s in body:
                self.descends = False
                nodes = self.nodes([s], 0)
                yield from map(marked, nodes) if self.descends and self.tuning.vectors else nodes

    def nodes(self, body: Sequence[Any], depth: int) -> list[c.Statement]:
        """The statements of one body."""
        out: list[c.Statement] = []
        for s in body:
            found = statement(s, self, depth)
            out.extend(found if isinstance(found, list) else [found])
            if not isinstance(s, (Let, Lanes)):
                self.forget()
        return out

    def side(self, body: Sequence[Any], depth: int) -> tuple[c.Statement, ...]:
        """The statements of a body that may not run; what it declares exists only there."""
        with self.scope():
            return tuple(self.nodes(body, depth))

    # ---- variables ---------------------------------------------------------------------------

    def ahead(self, s: Any) -> list[c.Statement]:
        """Local variables that are first set inside of a statement and live in a body around it."""
        every = [one for one, *_ in walk([s])]
        inside = {one.index for one in every if isinstance(one, Loop)}
        out: list[c.Statement] = []
        for access in (a for one in every for a in one.touches()):
            b = self.buffers[access.buffer]
            if not access.writes or b.role != "scalar" or b.name in self.defined:
                continue
            if b.home not in inside:
                self.defined.add(b.name)
                out.append(c.Declare(self.target.types[b.dtype], b.name, ZERO, const=False))
        return out

    def forget(self) -> None:
        """Variables of one statement are not used any more."""
        for node in self._once:
            self.names.pop(node, None)
        self._once.clear()

    def let(self, s: Let) -> c.Declare | c.Assign:
        """A variable, or the element of an array that the lane of a block has."""
        value, name, ctype = self.spell(s.given), self.fresh(), self.target.types[s.value.dtype]
        if s.once:
            self._once.append(s.value)
        if s.array is None or self.lanes is None:
            self.names[s.value] = c.Name(name)
            return c.Declare(ctype, name, value)
        element = self.names[s.value] = c.Index(name, c.Name(self.lanes.name))
        self.lanes.arrays.append(c.DeclareArray(ctype, name, s.array.lanes))
        return c.Assign(element, "=", value)

    def assigned(
        self, buffer: Buffer, target: c.Expression, op: str, value: c.Expression
    ) -> c.Statement:
        """A store; the first one to a local variable declares it."""
        ctype, name = self.target.types[buffer.dtype], buffer.name
        if buffer.role in ("scalar", "block") and name not in self.defined:
            self.defined.add(name)
            if self.lanes is None or buffer.role == "scalar":
                return c.Declare(ctype, name, value, const=False)
            self.lanes.arrays.append(c.DeclareArray(ctype, name, buffer.lanes))
        return c.Assign(target, op, value)


def adds(s: Any) -> bool:
    """Whether a statement adds a number with rounding."""
    return isinstance(s, Store) and s.op == "+" and s.buffer.dtype in FLOATS
