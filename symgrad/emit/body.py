"""Bodies of a loop program as C statements: variables first, then the statement that needs them.

Each kind of statement has a function of its own, registered with `statement`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from symgrad.emit import tree as c
from symgrad.emit.descending import marked
from symgrad.emit.expr import ZERO, Speller, has_call
from symgrad.emit.lanes import Piece, Place
from symgrad.emit.parts import Record, record
from symgrad.emit.rounds import open_single_rounds
from symgrad.emit.target import Target
from symgrad.emit.variables import Variables
from symgrad.expr.node import FLOATS, Expr
from symgrad.lower.access import accesses
from symgrad.lower.cpu import Flush, Merge, Tiles
from symgrad.lower.program import Program, statements
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Loop, Store
from symgrad.lower.tuning import Tuning

_ADDING = {
    Tiles: "sg_product",
    Flush: "sg_add_lanes",
    Merge: "sg_merge",
}  # names of their functions


@functools.singledispatch
def statement(s: Any, e: Emitter, depth: int) -> c.Statement | Piece | list[c.Statement]:
    """A statement that stands in `depth` loops, in C. A list are several, one after another."""
    raise TypeError(f"no C for {type(s).__name__}")


class Emitter(Speller):
    """Walks through the bodies of a program.

    path : the loops around what is being spelled, outside of lanes
    carrying : functions, with a dtype, that have to note what additions round away
    added_twice : buffers to which several statements inside loops add
    defined : buffers that are local variables which have been declared
    floor : the depth of the innermost side of an `If`, or body of a `While`, around what is being
        spelled: what is declared there stands no further outside
    """

    def __init__(self, program: Program, tuning: Tuning, target: Target) -> None:
        body, opened, self._loops_in = open_single_rounds(program.body)
        buffers = {b.number: b for b in program.buffers}
        super().__init__(buffers, Variables(body, buffers, opened, target), target)
        self.program, self.tuning = replace(program, body=body), tuning
        self.path: list[Loop] = []
        self.floor = 0
        self._passing: list[Expr] = []
        self.defined: set[str] = set()
        self.loop_names.update(dict.fromkeys(opened, ZERO))
        found = list(statements(body))
        self.carrying = {
            (_ADDING[type(s)], s.buffer.dtype)
            for s, _ in found
            if type(s) in _ADDING and s.carry is not None
        }
        added = Counter(s.buffer.number for s, path in found if path and adds(s))
        self.added_twice = {number for number, count in added.items() if count > 1}

    def whole(self) -> list[Record]:
        """The statements of the function, each with the variables that it writes."""
        out: list[Record] = []
        names = {b.number: b.name for b in self.buffers.values() if b.role == "scalar"}
        for s in self.program.body:
            found = accesses([s]) if names else ()
            written = {names[a.buffer] for a, _ in found if a.writes and a.buffer in names}
            self.descends = False
            nodes = self.nodes([s], 0)
            if self.descends and self.tuning.vectors:
                nodes = [marked(node) for node in nodes]
            out.extend(record(node, written) for node in nodes)
        return out

    def body(self, body: Sequence[Any], depth: int) -> list[Piece]:
        """The statements of one body."""
        out: list[Piece] = []
        for s in body:
            first = len(out)
            out.extend(self.declarations(s, depth))
            if not s.bodies():
                out.extend(self.passing(s))
            operand = self._operand(s) if isinstance(s, Store) else None
            if operand is not None:
                out.append(operand)
            found = statement(s, self, depth)
            for part in found if isinstance(found, list) else [found]:
                out.append(part if isinstance(part, Piece) else Piece(part))
            if isinstance(s, Store) and s.apart:
                out[first:] = [replace(piece, apart=s.apart) for piece in out[first:]]
            if operand is not None:  # its value may be needed again where this body is over
                del self.names[s.value]
            self.forget()
        return out

    def nodes(self, body: Sequence[Any], depth: int) -> list[c.Statement]:
        """The statements of a body outside of lanes."""
        return [piece.node for piece in self.body(body, depth)]

    def side(self, body: Sequence[Any], depth: int) -> tuple[c.Statement, ...]:
        """The statements of a body that may not run; what it declares exists only there."""
        outer, self.floor = self.floor, depth
        with self.scope():
            found = tuple(self.nodes(body, depth))
        self.floor = outer
        return found

    # ---- variables ---------------------------------------------------------------------------

    def ahead(self, s: Any) -> list[c.Statement]:
        """Local variables that are first set inside of a statement and live in a body around it."""
        inside = self._loops_in[s]
        out: list[c.Statement] = []
        for access, _ in accesses([s]):
            b = self.buffers[access.buffer]
            if not access.writes or b.role != "scalar" or b.name in self.defined:
                continue
            if b.home not in inside:
                self.defined.add(b.name)
                out.append(c.Declare(self.target.types[b.dtype], b.name, ZERO, const=False))
        return out

    def passing(self, s: Any) -> list[Piece]:
        """Variables of one statement: what they stand for may change behind it."""
        found = self._missing(s.exprs(), 0, passing=True) if self.variables.unsteady else []
        out = [self._variable(node) for node in found]
        self._passing += found
        return out

    def forget(self) -> None:
        """Variables of one statement are not used any more."""
        for node in self._passing:
            self.names.pop(node, None)
        self._passing.clear()

    def declarations(self, s: Any, depth: int) -> list[Piece]:
        """Variables that live in this body and are first used by a statement."""
        out: list[Piece] = []
        stack = [s]
        while stack:
            part = stack.pop()
            if isinstance(part, Loop):
                stack.extend(reversed(part.body))
                continue
            out.extend(self._variable(node) for node in self._missing(part.exprs(), depth))
        return out

    def _variable(self, node: Expr) -> Piece:
        value, name = self.spell(node), self.fresh()
        shared = self.lanes is None or self.lanes.moves(node)
        place = Place.SHARED if shared else Place.UNIFORM
        return Piece(self._declared(node, name, value), place)

    def _declared(self, node: Expr, name: str, value: c.Expression) -> c.Declare:
        self.names[node] = c.Name(name)
        return c.Declare(self.target.types[node.dtype], name, value)

    def _missing(self, roots: Iterable[Expr], depth: int, passing: bool = False) -> list[Expr]:
        """Variables of this depth below `roots` that are not declared yet, arguments first.

        passing : those of one statement instead
        """
        names, depths, chosen = self.names, self.variables.depth, self.variables.chosen
        unsteady, floor = self.variables.unsteady, self.floor
        found: list[Expr] = []
        seen: set[Expr] = set()
        stack: list[tuple[Expr, bool]] = [(r, False) for r in reversed(list(roots))]
        while stack:
            node, finished = stack.pop()
            if finished:
                found.append(node)
            elif node not in seen and node not in names:
                seen.add(node)
                if node in chosen and (node in unsteady) is passing:
                    if passing or max(depths[node], floor) == depth:
                        stack.append((node, True))
                stack.extend([(a, False) for a in reversed(node.args)])
        return found

    def _operand(self, s: Store) -> Piece | None:
        """The right-hand side as a variable, where its text would stand in a bad place.

        A loop that adds up lanes vectorises no function calls; a branchless maximum names its
        operand three times.
        """
        sums = self.lanes is not None and self.lanes.sums(s)
        extremum = s.op in ("max", "min") and self.takes_extremum_by_bits(s)
        if not (sums or extremum) or not s.value.args or s.value in self.names:
            return None
        value = self.spell(s.value)
        if sums and not has_call(value):
            return None
        return Piece(self._declared(s.value, self.fresh(), value))

    def takes_extremum_by_bits(self, s: Store) -> bool:
        """Without a branch where lanes have a maximum each; over all lanes there is nothing to
        vectorise, and a long chain of selections keeps clang busy for minutes."""
        apart = self.lanes is None or self.lanes.apart(s)
        return self.branchless and apart and s.value.dtype in FLOATS

    def assigned(
        self, buffer: Buffer, target: c.Expression, op: str, value: c.Expression
    ) -> c.Statement:
        """A store; the first one to a local variable declares it."""
        if buffer.role == "scalar" and buffer.name not in self.defined:
            self.defined.add(buffer.name)
            return c.Declare(self.target.types[buffer.dtype], buffer.name, value, const=False)
        return c.Assign(target, op, value)


def adds(s: Any) -> bool:
    """Whether a statement adds a number with rounding."""
    return isinstance(s, Store) and s.op == "+" and s.buffer.dtype in FLOATS
