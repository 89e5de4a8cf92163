"""The statements of loop programs: what each means, and what it touches.

A statement inside a loop with lanes stands for one point of the block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from symgrad.expr.limits import is_tape
from symgrad.expr.node import Expr
from symgrad.expr.walk import toposort
from symgrad.lazy import dataclass
from symgrad.lower.scalar import INDEX
from symgrad.lower.statement import Access, Buffer, Mode, Statement, all_lanes, part_of

ACCUMULATING = ("+", "*", "max", "min")  # of stores, in any order but for rounding


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
    of_points = True

    def exprs(self) -> tuple[Expr, ...]:  # most statements are stores: this is the short way
        return (*self.index, self.value)

    def touches(self) -> list[Access]:
        if self.partial is not None:  # one of the lanes, in which the target has no part yet
            return [Access(self.partial.number, Mode.ADD, self.index, (all_lanes(self.partial),))]
        return [Access(self.buffer.number, Mode.WRITE if self.op == "=" else Mode.ADD, self.index)]


@dataclass(frozen=True, eq=False)
class Let(Statement):
    """A value that is computed here, once.

    Whatever has it among its expressions takes it from here, up to the end of the body.

    once : only the next statement does, of one with bodies the head
    source : the element in which a part before has kept it, from where it is loaded
    array : in a loop over lanes, where the lanes have it for other such loops of the body around
    """

    value: Expr
    once: bool = False
    source: Expr | None = None
    array: Buffer | None = None

    of_points = True

    @property
    def given(self) -> Expr:
        """What is evaluated."""
        return self.value if self.source is None else self.source

    def exprs(self) -> tuple[Expr, ...]:
        return (self.given,)

    def touches(self) -> list[Access]:
        return [] if self.array is None else [Access(self.array.number, Mode.WRITE, ())]


@dataclass(frozen=True, eq=False)
class Part(Statement):
    """A piece of a long function, which is compiled on its own and knows no variable of another.

    Where there is one, all statements of a program stand in such parts.
    """

    body: Sequence[Statement] = ()

    inside = ("body",)


@dataclass(frozen=True, eq=False)
class Zero(Statement):
    """All elements of a buffer, or of its part at `index`, = 0."""

    buffer: Buffer
    index: tuple[Expr, ...] = ()

    def touches(self) -> list[Access]:
        return [part_of(self.buffer, Mode.WRITE, self.index)]


@dataclass(frozen=True, eq=False)
class Best(Statement):
    """One step of argmax or argmin: `buffer` keeps the position, `value_buffer` the value."""

    buffer: Buffer
    value_buffer: Buffer
    index: tuple[Expr, ...]
    value: Expr
    position: Expr
    op: str

    of_points = True

    def touches(self) -> list[Access]:
        return [Access(b.number, Mode.ADD, self.index) for b in (self.value_buffer, self.buffer)]


@dataclass(frozen=True, eq=False)
class Check(Statement):
    """Leave with status 1 unless the index is inside its axis."""

    value: Expr
    size: int


@dataclass(frozen=True, eq=False)
class Fail(Statement):
    """Leave with a status where a condition holds."""

    condition: Expr
    status: int


@dataclass(frozen=True, eq=False)
class Call(Statement):
    """An opaque kernel on whole arrays; `index` selects the batch element of every operand."""

    template: str
    dims: tuple[int, ...]
    flags: tuple[Any, ...]
    operands: tuple[tuple[Buffer, tuple[Expr, ...]], ...]
    target: tuple[Buffer, tuple[Expr, ...]]

    def touches(self) -> list[Access]:
        found = [part_of(b, Mode.READ, index) for b, index in self.operands]
        return [*found, part_of(self.target[0], Mode.WRITE, self.target[1])]

    def named(self) -> Iterator[Buffer]:
        return (b for b, _ in (*self.operands, self.target))

    def with_buffers(self, buffers: Mapping[int, Buffer]) -> Call:
        operands = tuple((buffers[b.number], index) for b, index in self.operands)
        target = buffers[self.target[0].number], self.target[1]
        return self._with(dict(operands=operands, target=target))


@dataclass(frozen=True, eq=False)
class Sines(Statement):
    """The sines and cosines of several angles, all at once."""

    angles: Buffer
    sines: Buffer
    cosines: Buffer

    def touches(self) -> list[Access]:
        results = [part_of(b, Mode.WRITE, ()) for b in (self.sines, self.cosines)]
        return [part_of(self.angles, Mode.READ, ()), *results]


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


@dataclass(frozen=True, eq=False)
class While(Statement):
    """while condition: body

    The condition is evaluated anew before each round, so perhaps once, and then no round runs.

    most : how many rounds there may be, None for any number. Where the condition still holds behind
        so many, the function leaves with status 3, or 4 where nobody has said how many.
    index : a variable that counts the rounds, from 0 on, inside of the body
    values : what of the condition is computed once, each time that this is evaluated
    """

    condition: Expr
    body: Sequence[Statement] = ()
    most: int | None = None
    index: Expr | None = None
    values: tuple[Expr, ...] = ()

    aside = ("index",)
    inside = ("body",)

    @property
    def status(self) -> int:
        return 4 if is_tape(self.most) else 3


@dataclass(frozen=True, eq=False)
class Multiply(Statement):
    """A product of matrices: its body is loops over rows, columns and summands.

    Passes for a CPU put something better in its place, for which it says what the body means:
    buffer[index] += left * right, from 0 on where `added` is 0.

    left, right : the factors, in the loop variables `row`, `column` and `inner`
    extents, limits, origins : of these three; in a block of points `limits` may be less, and
        `origins` say where the block begins
    index, carry_index : in the target, and in what its sums round away, with `row` and `column`
    axes : of the target, along which these move
    added : how many summands are in the target before
    panels : numbers of the buffers that copies of the factors will be
    triangular : whether the right factor is 0 wherever the summand is greater than the column
    blas : whether a BLAS is to compute it
    """

    left: Expr
    right: Expr
    row: Expr
    column: Expr
    inner: Expr
    extents: tuple[int, int, int]
    limits: tuple[Expr, Expr, Expr]
    origins: tuple[Expr, Expr, Expr]
    buffer: Buffer
    index: tuple[Expr, ...]
    carry: Buffer | None
    carry_index: tuple[Expr, ...]
    axes: tuple[int, int]
    added: Expr
    panels: tuple[int, int]
    triangular: bool
    blas: bool
    body: Sequence[Statement] = ()

    inside = ("body",)

    @property
    def own(self) -> tuple[Expr, Expr, Expr]:
        """The loop variables that nobody else sees."""
        return self.row, self.column, self.inner

    def exprs(self) -> tuple[Expr, ...]:  # what is evaluated stands in the body
        return ()


def nested(loops: Iterable[Loop], body: Sequence[Statement]) -> list[Statement]:
    """Loops, each inside of the one before it, around a body."""
    for loop in reversed([*loops]):
        body = [replace(loop, body=body)]
    return [*body]


def is_single(s: Any) -> bool:
    """Whether a statement is a loop of one round, which C does not have."""
    return isinstance(s, Loop) and s.extent == 1 and s.is_plain and not s.lanes


def is_blocks(s: Any) -> bool:
    """Whether a statement is a loop over all blocks of some points."""
    return isinstance(s, Loop) and s.step > 1 and s.start is None


def stores_of(loop: Loop) -> list[Store]:
    """The stores that stand in a loop, in no other inside."""
    return [s for s in loop.body if isinstance(s, Store)]


def walks_on(loop: Loop) -> list[Expr]:
    """The variables of loops outside whose rounds a loop over blocks goes on with."""
    if loop.start is None or loop.step == 1:
        return []
    return [n for n in toposort([loop.start]) if n.op is INDEX]
