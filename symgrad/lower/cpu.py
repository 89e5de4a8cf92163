"""Statements that passes for a CPU make: what is done for blocks of lanes, panels and tiles.

What is done for a block of lanes as a whole (rows copied in tiles, partial sums, angles) touches
all lanes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from symgrad.expr.node import Expr, bind, const
from symgrad.lazy import dataclass
from symgrad.lower.scalar import INDEX_DIV
from symgrad.lower.statement import Access, Buffer, Matrix, Mode, Statement, begun, part_of

PANEL_ROWS = 6  # rows of the left factor that a register tile has


class CpuStatement(Statement):
    """What no program has that is meant for any machine."""


@dataclass(frozen=True, eq=False)
class Lanes(CpuStatement):
    """for each lane of the block of points around: body

    vectors : how many of the lanes, from the first one on, are vectors; in the last, shorter block
    in_order : whether lanes come one after another, since several may change one element
    """

    body: Sequence[Statement]
    vectors: tuple[int, int]
    in_order: bool = False

    inside = ("body",)


@dataclass(frozen=True, eq=False)
class Flush(CpuStatement):
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
        found = [
            part_of(self.partial, Mode.ADD, self.at),
            part_of(self.buffer, Mode.ADD, self.index),
        ]
        return found if self.carry is None else [*found, part_of(self.carry, Mode.ADD, ())]


@dataclass(frozen=True, eq=False)
class Merge(CpuStatement):
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
        found = [part_of(self.part, Mode.READ, self.part_index)]
        for buffer, index in ((self.buffer, self.index), (self.carry, self.carry_index)):
            if buffer is not None:
                found += begun(part_of(buffer, Mode.WRITE, index), self.round)
        return found


@dataclass(frozen=True, eq=False)
class Turns(CpuStatement):
    """The angles of a block of lanes, taken apart for sin_turned and cos_turned.

    Angles beyond what vector code can take apart are rare and need a branch: hence a statement of
    its own, between loops over the lanes.
    """

    angles: Buffer
    rests: Buffer
    quarters: Buffer

    def touches(self) -> list[Access]:
        return [
            part_of(self.angles, Mode.READ, ()),
            part_of(self.rests, Mode.WRITE, ()),
            part_of(self.quarters, Mode.WRITE, ()),
        ]


@dataclass(frozen=True, eq=False)
class Powers(CpuStatement):
    """Bases of a block of lanes to one power, in steps with loops over the lanes of their own."""

    bases: Buffer
    exponent: float
    results: Buffer

    def touches(self) -> list[Access]:
        return [part_of(self.bases, Mode.READ, ()), part_of(self.results, Mode.WRITE, ())]


@dataclass(frozen=True, eq=False)
class Fetch(CpuStatement):
    """The places of the next results of a block of lanes, asked for while these are computed.

    elements : how many a point has, one after another, in a buffer whose first axis is the points
    """

    buffer: Buffer
    elements: int


@dataclass(frozen=True, eq=False)
class Rows(CpuStatement):
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
        found = [Access(self.buffer.number, off, self.index, run=run), part_of(self.lanes, to, ())]
        if self.start is not None:
            found.append(part_of(self.start, Mode.READ, ()))
        return sorted(found, key=lambda a: a.writes)


@dataclass(frozen=True, eq=False)
class Panels(CpuStatement):
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
class Tiles(CpuStatement):
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
                found += begun(Access(buffer.number, Mode.WRITE, index, block), self.begin)
        return found


@dataclass(frozen=True, eq=False)
class Gemm(CpuStatement):
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
        return [left, right, *begun(target, self.begin)]


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
