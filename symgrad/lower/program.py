"""The loop program: loops, buffers and statements whose right-hand sides are scalar `Expr`.

There is no second expression language. A few operations exist only here: `index` (a loop variable),
`load` (an element of a buffer), `guard` (a value where a condition holds, else 0; the value is not
evaluated elsewhere), integer division of indices, and sin and cos of angles in quarter turns. `str(program)` is readable pseudo-C.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from symgrad.expr.node import CONST, Expr, bind, const, const_value
from symgrad.expr.op import Kind, Op, register
from symgrad.expr.walk import toposort

LOCAL_BYTES = 2048  # a temporary up to this size is an array on the stack
ALL_LOCALS_BYTES = 16384  # of one function, or of one round of a loop that threads share
_ALIGNMENT = 64  # of parts of the workspace


def _normalize_div(args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr | None:
    if args[1].op is not CONST:
        return None
    divisor = int(const_value(args[1]))
    if args[0].op is CONST:
        return const(int(const_value(args[0])) // divisor, "int64")
    return args[0] if divisor == 1 else None


def _normalize_mod(args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr | None:
    if args[0].op is CONST and args[1].op is CONST:
        return const(const_value(args[0]) % const_value(args[1]), "int64")
    return None


def _normalize_guard(args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr | None:
    condition, value = args
    if condition.op is not CONST:
        return None
    return value if const_value(condition) else const(0, value.dtype)


# fmt: off
INDEX = register(Op("index", Kind.LOWERED, lambda number: ((), "int64"), lambda *_: None, ("number",)))
LOAD = register(Op("load", Kind.LOWERED, lambda *args: ((), args[-1]), lambda *_: None, ("buffer", "dtype")))
GUARD = register(Op("guard", Kind.LOWERED, lambda c, v: ((), v.dtype), lambda *_: None, c="{0} ? {1} : 0", normalize=_normalize_guard))
INDEX_DIV = register(Op("index_div", Kind.LOWERED, lambda a, b: ((), "int64"), lambda a, b: a // b, c="{0} / {1}", normalize=_normalize_div))
INDEX_MOD = register(Op("index_mod", Kind.LOWERED, lambda a, b: ((), "int64"), lambda a, b: a % b, c="{0} % {1}", normalize=_normalize_mod))
SIN_TURNED = register(Op("sin_turned", Kind.LOWERED, lambda rest, quarters: ((), rest.dtype), lambda rest, quarters: np.sin(rest + quarters * (np.pi / 2)), c="sg_turned({0}, {1}, 0)", cost=20))
COS_TURNED = register(Op("cos_turned", Kind.LOWERED, lambda rest, quarters: ((), rest.dtype), lambda rest, quarters: np.cos(rest + quarters * (np.pi / 2)), c="sg_turned({0}, {1}, 1)", cost=20))
# fmt: on


@dataclass(eq=False)
class Buffer:
    """Storage of one array.

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
    kept_axes: tuple[int, ...] = ()
    offset: int = 0
    home: Any = None  # the body (list of statements) that declares it
    lanes: int = 0  # length of an additional last axis: the points of a block

    def __post_init__(self) -> None:
        self.kept_axes = tuple(range(len(self.shape)))

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


@dataclass(eq=False)
class Store:
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


@dataclass(eq=False)
class Flush:
    """Each element of `buffer` += the lanes of its partial sum, which are 0 again.

    carry : the buffer of what these additions round away, where there are many of them
    index, at : where one of the two arrays has an axis more than the other, the place there
    """

    buffer: Buffer
    partial: Buffer
    carry: Buffer | None = None
    index: tuple[Expr, ...] = ()
    at: tuple[Expr, ...] = ()


@dataclass(eq=False)
class Zero:
    """All elements of a buffer, or of its part at `index`, = 0."""

    buffer: Buffer
    index: tuple[Expr, ...] = ()


@dataclass(eq=False)
class Merge:
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


@dataclass(eq=False)
class Turns:
    """The angles of a block of lanes, taken apart for sin_turned and cos_turned.

    Angles beyond what vector code can take apart are rare and need a branch: hence a statement of
    its own, between loops over the lanes.
    """

    angles: Buffer
    rests: Buffer
    quarters: Buffer


@dataclass(eq=False)
class Rows:
    """The rows of a block of points, copied to or from an array of lanes several elements at a time.

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


@dataclass(eq=False)
class Best:
    """One step of argmax or argmin: `buffer` keeps the position, `value_buffer` the value."""

    buffer: Buffer
    value_buffer: Buffer
    index: tuple[Expr, ...]
    value: Expr
    position: Expr
    op: str


@dataclass(eq=False)
class Check:
    """Leave with status 1 unless the index is inside its axis."""

    value: Expr
    size: int


@dataclass(eq=False)
class Call:
    """An opaque kernel on whole arrays; `index` selects the batch element of every operand."""

    template: str
    dims: tuple[int, ...]
    flags: tuple[Any, ...]
    operands: tuple[tuple[Buffer, tuple[Expr, ...]], ...]
    target: tuple[Buffer, tuple[Expr, ...]]


@dataclass(eq=False)
class Panels:
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


@dataclass(eq=False)
class Tiles:
    """buffer[index + (row, column)] += left · right, for panels as `symgrad.lower.product` makes them.

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


@dataclass(frozen=True)
class Matrix:
    """A part of a buffer: elements from `first` on, rows and columns along two of its axes."""

    buffer: Buffer
    first: tuple[Expr, ...]
    axes: tuple[int, int]


@dataclass(eq=False)
class Gemm:
    """target = or, unless `begin` is 0, += left · right, by a BLAS.

    left, right : rows by inner and inner by columns; of each, elements along one axis are neighbours
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


@dataclass(eq=False)
class Loop:
    """for index in range(start, stop, step): body

    start, stop : None for 0 and for `extent`, which is then the number of rounds; else the most

    lanes : if not 0, points are taken in blocks of so many; see `symgrad.lower.lanes`
    again : whether a point may be computed twice, so that the last block overlaps the one before
    flush : statements behind every `flush_blocks` blocks and at the end
    simd : whether its rounds are known to be independent, and worth a vector
    chunks : if not 0, blocks are taken in so many chunks, of `chunk_points` points, by several threads
    chunk : the variable that counts these
    shared : whether its rounds, each with arrays of its own, may be taken by several threads
    in_order : how many statements at the end of its body, each of which may only begin when that
        of the round before is over
    team : where each of `members` threads has its part of the workspace
    """

    index: Expr
    extent: int
    body: list[Any] = field(default_factory=list)
    lanes: int = 0
    again: bool = False
    flush: list[Any] = field(default_factory=list)
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
    team: Buffer | None = None
    members: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether its rounds are 0, 1, … `extent` - 1, whatever happens around it."""
        return self.start is None and self.stop is None and self.step == 1


@dataclass(eq=False)
class Program:
    """What `lower` hands to `emit`.

    workspace_bytes : its size; -1 as long as no place is chosen for buffers
    indices : the number of the next loop variable
    """

    inputs: list[Buffer]
    outputs: list[Buffer]
    buffers: list[Buffer]
    body: list[Any]
    workspace_bytes: int
    indices: int = 0

    def copied(self) -> Program:
        """The same program, of which nothing is shared: a pass may change it."""
        buffers = {id(b): _copied(b) for b in self.buffers}
        bodies = [self.body]
        for body in bodies:  # which grows meanwhile
            bodies.extend(b for s in body if isinstance(s, Loop) for b in (s.body, s.flush))
        made: dict[int, list[Any]] = {id(body): [] for body in bodies}
        for body in bodies:
            made[id(body)].extend(_with_copies(s, buffers, made) for s in body)
        for b in buffers.values():
            b.home = made.get(id(b.home), b.home)
        return Program(
            [buffers[id(b)] for b in self.inputs],
            [buffers[id(b)] for b in self.outputs],
            [buffers[id(b)] for b in self.buffers],
            made[id(self.body)],
            self.workspace_bytes,
            self.indices,
        )

    def fresh(self) -> Expr:
        """A loop variable that nobody has yet."""
        self.indices += 1
        return index_of(self.indices - 1)

    @property
    def by_number(self) -> dict[int, Buffer]:
        return {b.number: b for b in self.buffers}

    def __str__(self) -> str:
        lines = [_declaration(b) for b in self.buffers if b.role != "none"]
        stack: list[tuple[Any, int]] = [(s, 0) for s in reversed(self.body)]
        while stack:
            statement, depth = stack.pop()
            pad = "  " * depth
            if isinstance(statement, str):
                lines.append(pad + statement)
                continue
            lines.append(pad + line_of(statement, self.buffers))
            if isinstance(statement, Loop):
                if statement.flush:
                    every = f"every {statement.flush_blocks} blocks, and at the end:"
                    stack.extend((s, depth + 1) for s in reversed(statement.flush))
                    stack.append((every, depth))
                stack.extend((s, depth + 1) for s in reversed(statement.body))
        return "\n".join(lines)


def _copied(value: Any) -> Any:
    made = object.__new__(type(value))
    made.__dict__.update(value.__dict__)
    return made


def _with_copies(statement: Any, buffers: dict[int, Buffer], bodies: dict[int, list[Any]]) -> Any:
    """A copy of a statement with the copies of its buffers and bodies."""
    made = _copied(statement)
    for name, value in statement.__dict__.items():
        if isinstance(value, Buffer):
            setattr(made, name, buffers[id(value)])
        elif isinstance(value, Matrix):
            setattr(made, name, replace(value, buffer=buffers[id(value.buffer)]))
        elif isinstance(value, list):
            setattr(made, name, bodies[id(value)])
    if isinstance(statement, Call):
        made.operands = tuple((buffers[id(b)], index) for b, index in statement.operands)
        made.target = buffers[id(statement.target[0])], statement.target[1]
    return made


_MOST_TEXT = 300  # characters of an expression that is spelled


def _declaration(b: Buffer) -> str:
    """A buffer as a line; axes that it does not keep are in parentheses."""
    axes = [str(n) if a in b.kept_axes else f"({n})" for a, n in enumerate(b.shape)]
    lanes = f" x {b.lanes}" if b.lanes else ""
    place = f" at {b.offset}" if b.role in ("work", "member") else ""
    return f"{b.name} = {b.dtype}[{', '.join(axes)}]{lanes}  # {b.role}{place}"


def line_of(statement: Any, buffers: Sequence[Buffer]) -> str:
    """A statement as one line; of a loop the head. Elements at an index are the first of a part."""
    s = statement
    text = _Speller(buffers)

    def part(buffer: Buffer, index: tuple[Expr, ...]) -> str:
        return text.element(buffer.name, index, buffer)

    if isinstance(s, Loop):
        return _head(s, text)
    if isinstance(s, Store):
        to = s.buffer if s.partial is None else s.partial
        sign = s.op if s.op == "=" else f"{s.op}="
        order = f"  # where {text(s.order[0])} <= {text(s.order[1])}" if s.order else ""
        return f"{part(to, s.index)} {sign} {text(s.value)}{order}"
    if isinstance(s, Best):
        both = f"{part(s.buffer, s.index)}, {part(s.value_buffer, s.index)}"
        return f"{both} = {s.op} of {text(s.value)} at {text(s.position)}"
    if isinstance(s, Check):
        return f"check {-s.size} <= {text(s.value)} < {s.size}"
    names = {b.number: b.name for b in buffers}
    fields_ = ((f.name, getattr(s, f.name)) for f in fields(s))
    shown = (f"{name}={_shown(value, text, names)}" for name, value in fields_)
    return f"{type(s).__name__}({', '.join(shown)})"


def _head(s: Loop, text: _Speller) -> str:
    stop = str(s.extent) if s.stop is None else f"{text(s.stop)} at most {s.extent} on"
    bounds = [] if s.is_plain else ["0" if s.start is None else text(s.start)]
    step = [str(s.step)] if s.step != 1 else []
    notes = {
        f"lanes {s.lanes}" + ", the last block overlaps" * s.again: s.lanes,
        f"chunks of {s.chunk_points} points, i{s.chunk.attrs[0] if s.chunk else ''} < {s.chunks}": s.chunks,
        f"shared by {s.members or 'any'} threads": s.shared,
        f"the last {s.in_order} in order": s.in_order,
        "simd": s.simd,
    }
    about = "; ".join(note for note, there in notes.items() if there)
    head = f"for {text(s.index)} in ({', '.join([*bounds, stop, *step])}):"
    return f"{head}  # {about}" if about else head


def _shown(value: Any, text: _Speller, names: dict[int, str]) -> str:
    """A field of a statement."""
    if isinstance(value, Expr):
        return text(value)
    if isinstance(value, Buffer):
        return value.name
    if isinstance(value, Matrix):
        return text.element(value.buffer.name, value.first, value.buffer) + f" along {value.axes}"
    if isinstance(value, tuple):
        return f"({', '.join(_shown(v, text, names) for v in value)})"
    return repr(value)


class _Speller:
    """Scalar expressions as text. What would be longer than a few lines is `...`."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self.names = {b.number: b.name for b in buffers}

    def __call__(self, expr: Expr) -> str:
        texts: dict[Expr, str] = {}
        for node in toposort([expr]):
            found = self._spelled(node, [texts[a] for a in node.args])
            texts[node] = found if len(found) <= _MOST_TEXT else "..."
        return texts[expr]

    def element(self, name: str, index: tuple[Expr, ...], buffer: Buffer) -> str:
        behind = ["0.."] * (len(buffer.shape) - len(index))
        axes = [*map(self, index), *behind]
        return f"{name}[{', '.join(axes)}]" if axes else name

    def _spelled(self, node: Expr, args: list[str]) -> str:
        if node.op is INDEX:
            return f"i{node.attrs[0]}"
        if node.op is CONST:
            return str(const_value(node))
        if node.op is LOAD:
            name = self.names.get(node.attrs[0], f"buffer{node.attrs[0]}")
            return f"{name}[{', '.join(args)}]" if args else name
        sign = _INFIX.fullmatch(node.op.c or "")
        if sign is not None:
            operands = zip(args, node.args, strict=True)
            return f" {sign[1]} ".join(f"({t})" if _is_infix(a) else t for t, a in operands)
        attrs = [str(a) for a in node.attrs]
        return f"{node.name}({', '.join([*args, *attrs])})"


_INFIX = re.compile(r"\{0\} (\S+) \{1\}")


def _is_infix(node: Expr) -> bool:
    return _INFIX.fullmatch(node.op.c or "") is not None


def statements(body: list[Any]) -> Iterator[tuple[Any, tuple[Loop, ...]]]:
    """Every statement that is not a loop, in order, with the loops around it."""
    stack: list[tuple[Any, tuple[Loop, ...]]] = [(s, ()) for s in reversed(body)]
    while stack:
        statement, path = stack.pop()
        if isinstance(statement, Loop):
            stack.extend((s, path) for s in reversed(statement.flush))
            stack.extend((s, (*path, statement)) for s in reversed(statement.body))
        else:
            yield statement, path


def values(statement: Any) -> tuple[Expr, ...]:
    """The scalar expressions a statement reads."""
    if isinstance(statement, Store):
        return (*statement.index, statement.value)
    if isinstance(statement, Best):
        return (*statement.index, statement.value, statement.position)
    if isinstance(statement, Check):
        return (statement.value,)
    if isinstance(statement, Flush):
        return (*statement.index, *statement.at)
    if isinstance(statement, Merge):
        indices = (*statement.index, *statement.part_index, *statement.carry_index)
        return (statement.round, *indices)
    if isinstance(statement, Zero):
        return statement.index
    if isinstance(statement, Tiles):
        s = statement
        return (*s.index, s.rows, s.columns, s.inner, s.begin, s.diagonal, s.reach, *s.carry_index)
    if isinstance(statement, Gemm):
        sizes = statement.rows, statement.columns, statement.inner
        return (*(i for m in statement.matrices for i in m.first), *sizes, statement.begin)
    if isinstance(statement, Panels):
        return (*statement.first, statement.count, statement.inner)
    if isinstance(statement, (Turns, Rows)):
        return ()
    return (*(i for _, index in statement.operands for i in index), *statement.target[1])


def loads(exprs: tuple[Expr, ...]) -> Iterator[Expr]:
    """Every load below `exprs`, index expressions included."""
    seen: set[Expr] = set()
    stack = list(exprs)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op is LOAD:
            yield node
        stack.extend(node.args)


def load_of(buffer: Buffer, index: tuple[Expr, ...]) -> Expr:
    """An element of a buffer as a value."""
    return bind(LOAD, *index, attrs=(buffer.number, buffer.dtype))


def is_next(entry: Expr, index: Expr) -> bool:
    """Whether an entry of an index grows by one when a loop variable does."""
    while entry is not index:
        if entry.name != "add":
            return False
        moving = [a for a in entry.args if index in toposort([a])]
        if len(moving) != 1:
            return False
        entry = moving[0]
    return True


def walks_on(loop: Loop) -> list[Expr]:
    """The variables of loops outside whose rounds a loop over blocks goes on with."""
    if loop.start is None or loop.step == 1:
        return []
    return [n for n in toposort([loop.start]) if n.op is INDEX]


def unravel(index: Expr, shape: Sequence[int]) -> list[Expr]:
    """The indices of the axes of `shape` from the index of the flat array."""
    result, rest = [const(0, "int64")] * len(shape), index
    wide = [k for k, n in enumerate(shape) if n != 1]
    for k in reversed(wide):
        if k == wide[0]:
            result[k] = rest
        else:
            n = const(shape[k], "int64")
            result[k], rest = bind(INDEX_MOD, rest, n), bind(INDEX_DIV, rest, n)
    return result


def is_flat(buffer: Buffer, index: tuple[Expr, ...], position: Expr) -> bool:
    """Whether an index is that of the element which stands at `position` in memory."""
    whole = len(buffer.kept_axes) == len(buffer.shape) and math.prod(buffer.shape) > 1
    return whole and index == tuple(unravel(position, buffer.shape))


def unused_name(buffers: list[Buffer], name: str) -> str:
    """`name`, with a number behind it if there is such a buffer."""
    taken = {b.name for b in buffers}
    candidates = (name if k == 1 else f"{name}{k}" for k in itertools.count(1))
    return next(c for c in candidates if c not in taken)


def index_of(number: int) -> Expr:
    """A loop variable."""
    return bind(INDEX, attrs=(number,))
