"""Buffers, and the statements of loop programs: what each means, and what it touches.

A statement inside a loop with lanes stands for one point of the block. What it does for the block
as a whole (rows copied in tiles, partial sums, angles) touches all lanes.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from symgrad.expr.node import CONST, Expr, bind, const, const_value
from symgrad.expr.walk import toposort
from symgrad.lower.scalar import INDEX, INDEX_DIV, unravel
from symgrad.ops.elementwise import equal, not_equal

PANEL_ROWS = 6  # rows of the left factor that a register tile has
ACCUMULATING = ("+", "*", "max", "min")  # of stores, in any order but for rounding
_ALIGNMENT = 64  # of parts of the workspace


@dataclass(frozen=True, eq=False)
class Buffer:
    """Storage of one array, whose number says which one. One that changes is another value.

    role is "in", "out", "constant" (data in the C file), "data" (captured array handed in by the
    caller), "scalar" (a local variable), "local" (a small array on the stack) or "work" (a part of
    the workspace, at `offset` bytes), "own" (an array on the stack that every round of a loop
    shared by threads, or every chunk of it, has), or "member" (a part of the workspace that each
    of these threads has, at `offset` bytes of it).
    """

    number: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    role: str
    data: np.ndarray | None = None
    kept_axes: tuple[int, ...] = None  # type: ignore[assignment]  # None: all
    offset: int = 0
    home: Expr | None = None  # the variable of the loop whose rounds each have one
    lanes: int = 0  # length of an additional last axis: the points of a block

    def __post_init__(self) -> None:
        if self.kept_axes is None:
            object.__setattr__(self, "kept_axes", tuple(range(len(self.shape))))

    def reshaped(self, *shape: int) -> Buffer:
        """One that keeps all axes of another shape."""
        return replace(self, shape=shape, kept_axes=tuple(range(len(shape))))

    @property
    def kept_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[a] for a in self.kept_axes)

    @property
    def size(self) -> int:
        return math.prod(self.kept_shape) * max(self.lanes, 1)

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def room(self) -> int:
        """The bytes that it takes of the workspace."""
        return -(-self.nbytes // _ALIGNMENT) * _ALIGNMENT


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
        of sums). A `select` evaluates both sides, so it is not one. What an `If` around the
        statement says is not among them.
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


class Statement:
    """What all statements have: their fields say what they read, write and hold.

    They never change; a statement stands in one place of a program.

    aside : names of fields whose expressions are not evaluated where the statement stands
    inside : names of those that are bodies
    """

    aside: ClassVar[tuple[str, ...]] = ()
    inside: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in self.inside:
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def exprs(self) -> tuple[Expr, ...]:
        """The scalar expressions that it reads, as they come in its fields."""
        found: list[Expr] = []
        for name, value in self.__dict__.items():
            if name not in self.aside:
                found += _exprs(value)
        return tuple(found)

    def touches(self) -> list[Access]:
        """Elements that it touches apart from the loads in its expressions."""
        raise NotImplementedError

    def bodies(self) -> tuple[Body, ...]:
        """The statements that stand inside of it, in the order of the text."""
        return tuple(getattr(self, name) for name in self.inside)

    def with_bodies(self, bodies: Iterable[Sequence[Statement]]) -> Self:
        """The same with other statements inside."""
        return self._with(dict(zip(self.inside, map(tuple, bodies), strict=True)))

    def with_buffers(self, buffers: Mapping[int, Buffer]) -> Self:
        """The same with these buffers, by their numbers, in its fields."""
        new: dict[str, Any] = {}
        for name, value in self.__dict__.items():
            if isinstance(value, Buffer):
                new[name] = buffers[value.number]
            elif isinstance(value, Matrix):
                new[name] = replace(value, buffer=buffers[value.buffer.number])
        return self._with(new) if new else self

    def _with(self, fields: Mapping[str, Any]) -> Self:
        """What `dataclasses.replace` gives, in a tenth of the time."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.__dict__.update(fields)
        return new


Body = tuple[Statement, ...]


def _exprs(value: Any) -> Iterator[Expr]:
    if isinstance(value, Expr):
        yield value
    elif isinstance(value, Matrix):
        yield from value.first
    elif isinstance(value, tuple):
        for item in value:
            yield from _exprs(item)


@dataclass(frozen=True, eq=False)
class Store(Statement):
    """target[index] = value, or `op`= value for an accumulation.

    partial : for a sum over lanes, the buffer with a partial sum for each of a few lanes
    apart : in a block of lanes, statements with different numbers take loops of their own
    order : two loop variables; only rounds in which the first is not the greater one matter
    """

    buffer: Buffer
    index: tuple[Expr, ...]
    value: Expr
    op: str = "="
    partial: Buffer | None = None
    apart: int = 0
    order: tuple[Expr, Expr] | None = None

    aside = ("order",)

    def exprs(self) -> tuple[Expr, ...]:  # most statements are stores: this is the short way
        return (*self.index, self.value)

    def touches(self) -> list[Access]:
        if self.partial is not None:  # one of the lanes, in which the target has no part yet
            return [Access(self.partial.number, Mode.ADD, self.index, (_lanes(self.partial),))]
        return [Access(self.buffer.number, Mode.WRITE if self.op == "=" else Mode.ADD, self.index)]


@dataclass(frozen=True, eq=False)
class Flush(Statement):
    """Each element of `buffer` += the lanes of its partial sum, which are 0 again.

    carry : the buffer of what these additions round away, where there are many of them
    index, at : where one of the two arrays has an axis more than the other, the place there
    """

    buffer: Buffer
    partial: Buffer
    carry: Buffer | None = None
    index: tuple[Expr, ...] = ()
    at: tuple[Expr, ...] = ()

    def touches(self) -> list[Access]:
        found = [_part(self.partial, Mode.ADD, self.at), _part(self.buffer, Mode.ADD, self.index)]
        return found if self.carry is None else [*found, _part(self.carry, Mode.ADD, ())]


@dataclass(frozen=True, eq=False)
class Zero(Statement):
    """All elements of a buffer, or of its part at `index`, = 0."""

    buffer: Buffer
    index: tuple[Expr, ...] = ()

    def touches(self) -> list[Access]:
        return [_part(self.buffer, Mode.WRITE, self.index)]


@dataclass(frozen=True, eq=False)
class Merge(Statement):
    """Each element of `buffer` at `index`, of its first axes, += that of `part` at `part_index`.

    round : the variable of the loop around; where it is 0, sums begin: = instead of +=
    carry : takes what these additions round away, if there are many; NaN where sums are not finite
    """

    round: Expr
    buffer: Buffer
    index: tuple[Expr, ...]
    part: Buffer
    part_index: tuple[Expr, ...]
    carry: Buffer | None = None
    carry_index: tuple[Expr, ...] = ()

    def touches(self) -> list[Access]:
        found = [_part(self.part, Mode.READ, self.part_index)]
        for buffer, index in ((self.buffer, self.index), (self.carry, self.carry_index)):
            if buffer is not None:
                found += _begun(_part(buffer, Mode.WRITE, index), self.round)
        return found


@dataclass(frozen=True, eq=False)
class Turns(Statement):
    """The angles of a block of lanes, taken apart for sin_turned and cos_turned.

    Angles beyond what vector code can take apart are rare and need a branch: hence a statement of
    its own, between loops over the lanes.
    """

    angles: Buffer
    rests: Buffer
    quarters: Buffer

    def touches(self) -> list[Access]:
        return [
            _part(self.angles, Mode.READ, ()),
            _part(self.rests, Mode.WRITE, ()),
            _part(self.quarters, Mode.WRITE, ()),
        ]


@dataclass(frozen=True, eq=False)
class Powers(Statement):
    """Bases of a block of lanes to one power, in steps with loops over the lanes of their own."""

    bases: Buffer
    exponent: float
    results: Buffer

    def touches(self) -> list[Access]:
        return [_part(self.bases, Mode.READ, ()), _part(self.results, Mode.WRITE, ())]


@dataclass(frozen=True, eq=False)
class Fetch(Statement):
    """The places of the next results of a block of lanes, asked for while these are computed.

    elements : how many a point has, one after another, in a buffer whose first axis is the points
    """

    buffer: Buffer
    elements: int

    def touches(self) -> list[Access]:  # addresses only
        return []


@dataclass(frozen=True, eq=False)
class Rows(Statement):
    """The rows of a block of points, copied to or from an array of lanes several elements at once.

    lanes : the array; its elements are those of a row, each for all points of the block
    buffer, index : the first element of a point's row, which is contiguous
    start : how far into `buffer` the row of each point begins; None if points have consecutive rows
    write : whether the rows are written
    """

    lanes: Buffer
    buffer: Buffer
    index: tuple[Expr, ...]
    start: Buffer | None = None
    write: bool = False

    aside = ("index",)

    def touches(self) -> list[Access]:
        to, off = (Mode.READ, Mode.WRITE) if self.write else (Mode.WRITE, Mode.READ)
        run = math.prod(self.lanes.shape)
        found = [Access(self.buffer.number, off, self.index, run=run), _part(self.lanes, to, ())]
        if self.start is not None:
            found.append(_part(self.start, Mode.READ, ()))
        return sorted(found, key=lambda a: a.writes)


@dataclass(frozen=True, eq=False)
class Best(Statement):
    """One step of argmax or argmin: `buffer` keeps the position, `value_buffer` the value."""

    buffer: Buffer
    value_buffer: Buffer
    index: tuple[Expr, ...]
    value: Expr
    position: Expr
    op: str

    def touches(self) -> list[Access]:
        return [Access(b.number, Mode.ADD, self.index) for b in (self.value_buffer, self.buffer)]


@dataclass(frozen=True, eq=False)
class Check(Statement):
    """Leave with status 1 unless the index is inside its axis."""

    value: Expr
    size: int

    def touches(self) -> list[Access]:
        return []


@dataclass(frozen=True, eq=False)
class Fail(Statement):
    """Leave with a status where a condition holds."""

    condition: Expr
    status: int

    def touches(self) -> list[Access]:
        return []


@dataclass(frozen=True, eq=False)
class Call(Statement):
    """An opaque kernel on whole arrays; `index` selects the batch element of every operand."""

    template: str
    dims: tuple[int, ...]
    flags: tuple[Any, ...]
    operands: tuple[tuple[Buffer, tuple[Expr, ...]], ...]
    target: tuple[Buffer, tuple[Expr, ...]]

    def touches(self) -> list[Access]:
        found = [_part(b, Mode.READ, index) for b, index in self.operands]
        return [*found, _part(self.target[0], Mode.WRITE, self.target[1])]

    def with_buffers(self, buffers: Mapping[int, Buffer]) -> Call:
        operands = tuple((buffers[b.number], index) for b, index in self.operands)
        target = buffers[self.target[0].number], self.target[1]
        return self._with(dict(operands=operands, target=target))


@dataclass(frozen=True, eq=False)
class Panels(Statement):
    """A block of a factor that is only read, copied into panels: zeros complete the last one.

    first : the element at which the block begins
    axes : of the factor, along which these two move
    count, inner : size of the block
    skip : rows or columns of the first panel that are none
    """

    panels: Buffer
    buffer: Buffer
    first: tuple[Expr, ...]
    axes: tuple[int, int]
    count: Expr
    inner: Expr
    skip: int

    def touches(self) -> list[Access]:
        block = zip(self.axes, (self.count, self.inner), strict=True)
        read = Access(self.buffer.number, Mode.READ, self.first, tuple(block))
        return [read, _in_panels(self.panels, Mode.WRITE, self.count, self.skip, self.inner)]


@dataclass(frozen=True, eq=False)
class Tiles(Statement):
    """buffer[index + (row, column)] += left · right, for panels as `lower.product` makes them.

    skip : columns of the first right panel that are none
    index, carry_index : the first element of the block in the target and in what rounding took
    axes : of the target, along which rows and columns of the block lie
    rows, columns, inner : size of the block
    begin : position of its first summand; where it is 0, sums start
    diagonal : row minus column of the block's first element; what lies wholly below is left out
    reach : how many summands more than its columns a panel has, where the others are known to be 0
    """

    left: Buffer
    right: Buffer
    skip: int
    buffer: Buffer
    index: tuple[Expr, ...]
    axes: tuple[int, int]
    rows: Expr
    columns: Expr
    inner: Expr
    begin: Expr
    diagonal: Expr
    reach: Expr
    carry: Buffer | None
    carry_index: tuple[Expr, ...]

    def touches(self) -> list[Access]:
        found = [
            _in_panels(self.left, Mode.READ, self.rows, 0, self.inner),
            _in_panels(self.right, Mode.READ, self.columns, self.skip, self.inner),
        ]
        block = tuple(zip(self.axes, (self.rows, self.columns), strict=True))
        for buffer, index in ((self.buffer, self.index), (self.carry, self.carry_index)):
            if buffer is not None:
                found += _begun(Access(buffer.number, Mode.WRITE, index, block), self.begin)
        return found


@dataclass(frozen=True)
class Matrix:
    """A part of a buffer: elements from `first` on, rows and columns along two of its axes."""

    buffer: Buffer
    first: tuple[Expr, ...]
    axes: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Gemm(Statement):
    """target = or, unless `begin` is 0, += left · right, by a BLAS.

    left, right : rows by inner, inner by columns; of each, elements along one axis are neighbours
    """

    left: Matrix
    right: Matrix
    target: Matrix
    rows: Expr
    columns: Expr
    inner: Expr
    begin: Expr

    @property
    def matrices(self) -> tuple[Matrix, Matrix, Matrix]:
        return self.left, self.right, self.target

    def touches(self) -> list[Access]:
        def part(m: Matrix, mode: Mode, rows: Expr, columns: Expr) -> Access:
            block = tuple(zip(m.axes, (rows, columns), strict=True))
            return Access(m.buffer.number, mode, m.first, block)

        left = part(self.left, Mode.READ, self.rows, self.inner)
        right = part(self.right, Mode.READ, self.inner, self.columns)
        target = part(self.target, Mode.WRITE, self.rows, self.columns)
        return [left, right, *_begun(target, self.begin)]


@dataclass(frozen=True, eq=False)
class Loop(Statement):
    """for index in range(start, stop, step): body

    start, stop : None for 0 and for `extent`, which is then the number of rounds; else the most

    lanes : if not 0, points are taken in blocks of so many; see `symgrad.lower.lanes`
    again : whether a point may be computed twice, so that the last block overlaps the one before
    flush : statements behind every `flush_blocks` blocks and at the end
    simd : whether its rounds are known to be independent, and worth a vector
    accumulates : whether it only adds up, or takes maxima, into elements that it does not move: its
        rounds make several partial results side by side
    chunks : if not 0, blocks are taken in so many chunks of `chunk_points` points by threads
    chunk : the variable that counts these
    shared : whether its rounds, each with arrays of its own, may be taken by several threads
    in_order : how many statements at the end of its body, each of which may only begin when that
        of the round before is over
    serial : whether each round reads what the one before has left: all rounds come in order, and
        its body is as a program of its own
    team : where each of `members` threads has its part of the workspace
    """

    index: Expr
    extent: int
    body: Sequence[Statement] = ()
    lanes: int = 0
    again: bool = False
    flush: Sequence[Statement] = ()
    flush_blocks: int = 0
    simd: bool = False
    start: Expr | None = None
    stop: Expr | None = None
    step: int = 1
    chunks: int = 0
    chunk_points: int = 0
    chunk: Expr | None = None
    shared: bool = False
    in_order: int = 0
    serial: bool = False
    team: Buffer | None = None
    members: int = 0
    accumulates: bool = False

    aside = ("index", "chunk")
    inside = ("body", "flush")

    @property
    def is_plain(self) -> bool:
        """Whether its rounds are 0, 1, … `extent` - 1, whatever happens around it."""
        return self.start is None and self.stop is None and self.step == 1


@dataclass(frozen=True, eq=False)
class If(Statement):
    """if condition: then, else: orelse

    The condition is evaluated once. Only the side that it chooses runs: what the other one reads is
    not read, and may lie outside of its axis.
    """

    condition: Expr
    then: Sequence[Statement] = ()
    orelse: Sequence[Statement] = ()

    inside = ("then", "orelse")

    def touches(self) -> list[Access]:
        return []


@dataclass(frozen=True, eq=False)
class While(Statement):
    """while condition: body

    The condition is evaluated anew before each round, so perhaps once, and then no round runs.

    most : how many rounds there may be, None for any number. Where the condition still holds behind
        so many, the function leaves with status 3.
    index : a variable that counts the rounds, from 0 on, inside of the body
    """

    condition: Expr
    body: Sequence[Statement] = ()
    most: int | None = None
    index: Expr | None = None

    aside = ("index",)
    inside = ("body",)

    def touches(self) -> list[Access]:
        return []


def _begun(write: Access, begin: Expr) -> list[Access]:
    """Sums that begin where `begin` is 0 and go on elsewhere."""
    result = []
    for mode, when in ((Mode.WRITE, equal(begin, 0)), (Mode.ADD, not_equal(begin, 0))):
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


def is_single(s: Any) -> bool:
    """Whether a statement is a loop of one round, which C does not have."""
    return isinstance(s, Loop) and s.extent == 1 and s.is_plain and not s.lanes


def stores_of(loop: Loop) -> list[Store]:
    """The stores that stand in a loop, in no other inside."""
    return [s for s in loop.body if isinstance(s, Store)]


def walks_on(loop: Loop) -> list[Expr]:
    """The variables of loops outside whose rounds a loop over blocks goes on with."""
    if loop.start is None or loop.step == 1:
        return []
    return [n for n in toposort([loop.start]) if n.op is INDEX]


def is_flat(buffer: Buffer, index: tuple[Expr, ...], position: Expr) -> bool:
    """Whether an index is that of the element which stands at `position` in memory."""
    whole = len(buffer.kept_axes) == len(buffer.shape) and math.prod(buffer.shape) > 1
    return whole and index == tuple(unravel(position, buffer.shape))


def row_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides of a shape, in elements."""
    strides = [1] * len(shape)
    for k in range(len(shape) - 2, -1, -1):
        strides[k] = strides[k + 1] * shape[k + 1]
    return tuple(strides)
