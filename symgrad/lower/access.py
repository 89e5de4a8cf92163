"""What each statement of a loop program touches: which elements, how, and under which guards.

The one description of it. Whoever asks where a buffer is used, whether two rounds of a loop meet,
or whether an index stays inside its axis reads it here. A new kind of statement is one function
more.

A statement inside a loop with lanes stands for one point of the block. What it does for the block
as a whole (rows copied in tiles, partial sums, angles) touches all lanes.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from symgrad.expr.node import CONST, Expr, bind, const, const_value
from symgrad.expr.walk import toposort
from symgrad.lower.product import PANEL_ROWS
from symgrad.lower.program import (
    GUARD,
    INDEX,
    INDEX_DIV,
    LOAD,
    Best,
    Buffer,
    Call,
    Check,
    Flush,
    Gemm,
    Loop,
    Matrix,
    Merge,
    Panels,
    Program,
    Rows,
    Store,
    Tiles,
    Turns,
    Zero,
    statements,
    values,
    walks_on,
)  # fmt: skip

_CACHED_BYTES = 1 << 18  # of an array that stays in the second-level cache between two loops
_MOST_GUARDS = 8  # ways to one load, each with guards of its own, that are told apart


class Mode(enum.Enum):
    """READ; WRITE, which needs no old value; ADD, which changes what is there."""

    READ = "read"
    WRITE = "write"
    ADD = "add to"


@dataclass(frozen=True, slots=True)
class Access:
    """Elements that one execution of a statement may touch: all that it touches are among these.

    buffer : its number
    index : the first element, one entry for each axis of `Buffer.shape`. Axes that the buffer does
        not keep (`Buffer.kept_axes`) have an entry as well, which means nothing in memory.
    box : (axis, count) for each axis along which it goes on from there, `count` elements; axes that
        are not in it have the one element at `index`. Counts are integers or index expressions.
        The axis after the last of `shape` is that of the lanes: (len(shape), n) are the lanes
        0, 1, … n - 1. Without it, in a buffer with lanes, it is the lane of the point that the
        statement stands for.
    run : if not None, so many elements from `index` on as they lie in memory; there is no box then
    when : conditions that all hold whenever the elements are touched (`guard`, or the first round
        of sums). A `select` evaluates both sides, so it is not one.
    """

    buffer: int
    mode: Mode
    index: tuple[Expr, ...]
    box: tuple[tuple[int, Expr | int], ...] = ()
    run: int | None = None
    when: tuple[Expr, ...] = ()

    @property
    def writes(self) -> bool:
        return self.mode is not Mode.READ

    @property
    def fixed(self) -> dict[int, Expr]:
        """The index of each axis on which it is one element."""
        if self.run is not None:
            return {}
        along = {axis for axis, _ in self.box}
        return {a: i for a, i in enumerate(self.index) if a not in along}


def accesses(body: list[Any]) -> Iterator[tuple[Access, tuple[Loop, ...]]]:
    """Every access in the statements of a body, with the loops around it."""
    for s, path in statements(body):
        for access in accesses_of(s):
            yield access, path


def accesses_of(statement: Any) -> list[Access]:
    """What a statement that is not a loop touches: first what its expressions read, then the rest.

    Whatever reads comes before whatever writes in the same statement, as far as it is said here.
    """
    return [*reads(values(statement)), *_own(statement)]


def reads(exprs: Iterable[Expr]) -> list[Access]:
    """The loads below scalar expressions, index expressions included, each under its guards."""
    nodes = toposort(exprs)
    if not any(node.op is GUARD for node in nodes):
        return [_load(n, frozenset()) for n in nodes if n.op is LOAD]
    none: frozenset[Expr] = frozenset()
    ways: dict[Expr, set[frozenset[Expr]]] = {root: {none} for root in exprs}
    for node in reversed(nodes):
        here = ways[node] = _weakest(ways[node])
        for position, a in enumerate(node.args):
            inside = here
            if node.op is GUARD and position == 1:
                inside = {way | {node.args[0]} for way in here}
            ways.setdefault(a, set()).update(inside)
    return [
        _load(n, way)
        for n in nodes
        if n.op is LOAD
        for way in sorted(ways[n], key=lambda w: sorted(c.order for c in w))
    ]


def _weakest(ways: set[frozenset[Expr]]) -> set[frozenset[Expr]]:
    """Without those that contain another one; what all have in common, if there are many."""
    kept = {way for way in ways if not any(other < way for other in ways)}
    return kept if len(kept) <= _MOST_GUARDS else {frozenset.intersection(*kept)}


def _load(node: Expr, guards: frozenset[Expr]) -> Access:
    when = tuple(sorted(guards, key=lambda c: c.order))
    return Access(node.attrs[0], Mode.READ, node.args, when=when)


# ---- the kinds of statements ---------------------------------------------------------------------


@functools.singledispatch
def _own(statement: Any) -> list[Access]:
    """What a statement touches apart from the loads in its expressions."""
    raise TypeError(f"no description of what {type(statement).__name__} touches")


def _statement(kind: type) -> Callable[[Any], Any]:
    return _own.register(kind)


@_statement(Check)
def _nothing(s: Any) -> list[Access]:
    return []


@_statement(Store)
def _store(s: Store) -> list[Access]:
    if s.partial is not None:  # one of the lanes, in which the target has no part yet
        return [Access(s.partial.number, Mode.ADD, s.index, (_lanes(s.partial),))]
    return [Access(s.buffer.number, Mode.WRITE if s.op == "=" else Mode.ADD, s.index)]


@_statement(Best)
def _best(s: Best) -> list[Access]:
    return [Access(b.number, Mode.ADD, s.index) for b in (s.value_buffer, s.buffer)]


@_statement(Zero)
def _zero(s: Zero) -> list[Access]:
    return [_part(s.buffer, Mode.WRITE, s.index)]


@_statement(Flush)
def _flush(s: Flush) -> list[Access]:
    found = [_part(s.partial, Mode.ADD, s.at), _part(s.buffer, Mode.ADD, s.index)]
    return found if s.carry is None else [*found, _part(s.carry, Mode.ADD, ())]


@_statement(Merge)
def _merge(s: Merge) -> list[Access]:
    found = [_part(s.part, Mode.READ, s.part_index)]
    for buffer, index in ((s.buffer, s.index), (s.carry, s.carry_index)):
        if buffer is not None:
            found += _begun(_part(buffer, Mode.WRITE, index), s.round)
    return found


@_statement(Rows)
def _rows(s: Rows) -> list[Access]:
    to, off = (Mode.READ, Mode.WRITE) if s.write else (Mode.WRITE, Mode.READ)
    run = math.prod(s.lanes.shape)
    found = [Access(s.buffer.number, off, s.index, run=run), _part(s.lanes, to, ())]
    if s.start is not None:
        found.append(_part(s.start, Mode.READ, ()))
    return sorted(found, key=lambda a: a.writes)


@_statement(Turns)
def _turns(s: Turns) -> list[Access]:
    return [
        _part(s.angles, Mode.READ, ()),
        _part(s.rests, Mode.WRITE, ()),
        _part(s.quarters, Mode.WRITE, ()),
    ]


@_statement(Call)
def _call(s: Call) -> list[Access]:
    found = [_part(b, Mode.READ, index) for b, index in s.operands]
    return [*found, _part(s.target[0], Mode.WRITE, s.target[1])]


@_statement(Panels)
def _panels(s: Panels) -> list[Access]:
    block = zip(s.axes, (s.count, s.inner), strict=True)
    read = Access(s.buffer.number, Mode.READ, s.first, tuple(block))
    return [read, _in_panels(s.panels, Mode.WRITE, s.count, s.skip, s.inner)]


@_statement(Tiles)
def _tiles(s: Tiles) -> list[Access]:
    found = [
        _in_panels(s.left, Mode.READ, s.rows, 0, s.inner),
        _in_panels(s.right, Mode.READ, s.columns, s.skip, s.inner),
    ]
    block = tuple(zip(s.axes, (s.rows, s.columns), strict=True))
    for buffer, index in ((s.buffer, s.index), (s.carry, s.carry_index)):
        if buffer is not None:
            found += _begun(Access(buffer.number, Mode.WRITE, index, block), s.begin)
    return found


@_statement(Gemm)
def _gemm(s: Gemm) -> list[Access]:
    def part(m: Matrix, mode: Mode, rows: Expr, columns: Expr) -> Access:
        block = tuple(zip(m.axes, (rows, columns), strict=True))
        return Access(m.buffer.number, mode, m.first, block)

    left = part(s.left, Mode.READ, s.rows, s.inner)
    right = part(s.right, Mode.READ, s.inner, s.columns)
    target = part(s.target, Mode.WRITE, s.rows, s.columns)
    return [left, right, *_begun(target, s.begin)]


def _begun(write: Access, begin: Expr) -> list[Access]:
    """Sums that begin where `begin` is 0 and go on elsewhere."""
    zero, result = const(0, "int64"), []
    for mode, name in ((Mode.WRITE, "equal"), (Mode.ADD, "not_equal")):
        when = bind(name, begin, zero)
        if when.op is not CONST:
            result.append(replace(write, mode=mode, when=(when,)))
        elif const_value(when):
            result.append(replace(write, mode=mode))
    return result


def _part(buffer: Buffer, mode: Mode, index: Sequence[Expr]) -> Access:
    """The part of a buffer at `index` of its first axes, in all lanes."""
    given, ndim = len(index), len(buffer.shape)
    first = (*index, *[const(0, "int64")] * (ndim - given))
    box = [(a, buffer.shape[a]) for a in buffer.kept_axes if a >= given]
    if buffer.lanes:
        box.append(_lanes(buffer))
    return Access(buffer.number, mode, first, tuple(box))


def _lanes(buffer: Buffer) -> tuple[int, int]:
    return len(buffer.shape), buffer.lanes


def _in_panels(panels: Buffer, mode: Mode, count: Expr, skip: int, inner: Expr) -> Access:
    """The panels, or rows in their place, of `count` rows or columns; `skip` before are none."""
    zero = const(0, "int64")
    if len(panels.shape) == 2:  # rows, up to a multiple of those in a tile
        rows = _rounded_up(count, PANEL_ROWS) * const(PANEL_ROWS, "int64")
        return Access(panels.number, mode, (zero, zero), ((0, rows), (1, inner)))
    width = panels.shape[2]
    used = _rounded_up(count + const(skip, "int64"), width)
    return Access(panels.number, mode, (zero,) * 3, ((0, used), (1, inner), (2, width)))


def _rounded_up(count: Expr, width: int) -> Expr:
    """How many groups of `width` hold `count`."""
    return bind(INDEX_DIV, count + const(width - 1, "int64"), const(width, "int64"))


# ---- who uses a buffer, and how often ------------------------------------------------------------


def passes(program: Program) -> dict[str, int]:
    """How often each input comes from memory, from its first element to its last.

    Loops outside the first one that moves along an array go through it again in every round, unless
    it is small enough to stay in a cache; loops inside find what they read there.
    """
    result = {b.name: 0 for b in program.inputs}
    inputs = {b.number: b for b in program.inputs if b.shape}
    for top in program.body:
        rounds: dict[str, int] = {}
        for access, path in accesses([top]):
            array = inputs.get(access.buffer)
            if array is None:
                continue
            moving = {i for i in toposort(access.index) if i.op is INDEX}
            moving |= {i for loop in path if loop.index in moving for i in walks_on(loop)}
            count = 1
            for loop in path:
                if loop.index in moving or array.nbytes <= _CACHED_BYTES:
                    break
                count *= -(-loop.extent // loop.step)
            rounds[array.name] = max(rounds.get(array.name, 0), count)
        for name, count in rounds.items():
            result[name] += count
    return result
