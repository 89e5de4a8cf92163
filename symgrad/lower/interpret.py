"""Loop programs run literally, statement by statement, on memory that is checked.

The oracle for the passes between a graph and its C: what a program means, in the slowest and
plainest way. Values are those of the rows' `evaluate`, one element at a time. Memory is a list of
elements per buffer, each of which has been written or not, and every access is looked at:

* its index is inside of each axis, those that the buffer does not keep included;
* what is read was written, at the same place of the axes that are not kept, by a statement of the
  same round where an array belongs to a round (of a shared loop, a chunk, a block of lanes), and
  since anything else took its part of the workspace;
* what several threads or lanes do at once does not meet: no two rounds of a shared loop, chunks, or
  points of a block touch one element of which one of them writes.

A fault is text that names statement, buffer, index and bounds; the run goes on with NaN or 0.

A guard is lazy, a select evaluates both sides. Sums are added up in the order of the program, one
after the other; the C adds them in lanes, so values agree to rounding.
"""

from __future__ import annotations

import itertools
import math
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from symgrad.errors import InternalError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import CONST, FLOATS, Expr, const_value
from symgrad.expr.op import OPS
from symgrad.expr.walk import toposort
from symgrad.lower.access import Mode
from symgrad.lower.product import PANEL_ROWS
from symgrad.lower.program import (
    GUARD,
    INDEX,
    INDEX_DIV,
    INDEX_MOD,
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
    line_of,
    statements,
    values,
)  # fmt: skip
from symgrad.lower.schedule import row_strides
from symgrad.lower.straight import TILE
from symgrad.ops.elementwise import SELECT
from symgrad.ops.linalg import CALLS

Index = tuple[Any, ...]  # an entry for each axis; None where it is not known and means nothing
Thunk = Callable[[], None]

ENABLED = os.environ.get("SYMGRAD_INTERPRET") == "1"  # for each small program that is generated
MOST_OPERATIONS = 100_000  # of a program that is small: a tenth of a second
_MOST_FAULTS = 20  # that are told apart
_NOT_WRITTEN: Any = type("NotWritten", (), {"__repr__": lambda self: "not written"})()
_MANY = -1  # rounds

# NumPy's functions of two scalars as operators, which take a tenth of the time.
_OPERATORS: dict[Any, Callable[..., Any]] = {
    np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul,
    np.divide: operator.truediv, np.less: operator.lt, np.less_equal: operator.le,
    np.greater: operator.gt, np.greater_equal: operator.ge, np.equal: operator.eq,
    np.not_equal: operator.ne,
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a run of a program came to.

    status : 0, or 1 or 2 as of the C function
    outputs : an array for each of `Program.outputs`; not meaningful unless status is 0
    faults : a text for each kind of fault, statement and buffer
    """

    status: int
    outputs: tuple[np.ndarray, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """One access that a statement made: `index` has the lane as its last entry, if there is one."""

    buffer: int
    mode: Mode
    index: Index


# Called before each execution of a statement (for one point, where there are lanes) with a function
# that gives the value of an expression; what it returns is called with the accesses made.
Observer = Callable[[Any, Callable[[Expr], Any]], Callable[[list[Made]], None]]


def interpret(
    program: Program,
    inputs: Sequence[np.ndarray],
    *,
    backwards: bool = False,
    observer: Observer | None = None,
) -> Outcome:
    """Run a program as `lower` makes it, before `emit` sees it.

    inputs : an array for each of `Program.inputs` that is an argument (role "in")
    backwards : whether rounds, chunks and lanes that may come in any order come in reverse
    observer : see `Observer`
    """
    machine = _Machine(program, backwards, observer)
    given = [b for b in program.inputs if b.role == "in"]
    for buffer, array in zip(given, inputs, strict=True):
        machine.memories[buffer.number].fill(np.asarray(array, dtype=buffer.dtype))
    with np.errstate(all="ignore"):
        return machine.run()


def operations(program: Program, most: float = math.inf) -> float:
    """What a run takes, roughly: scalar operations of all rounds. Not exact beyond `most`."""
    total: float = sum(b.size for b in program.buffers if b.role != "none")
    for s, path in statements(program.body):
        if total > most:
            break
        own = 1 + sum(n.op is not CONST for n in toposort(values(s)))
        if isinstance(s, Tiles):
            own += s.left.size * s.right.size // max(s.left.shape[1], 1)
        elif isinstance(s, Gemm):
            sizes = (math.prod(m.buffer.shape[a] for a in m.axes) for m in s.matrices)
            own += math.isqrt(math.prod(sizes))
        elif not isinstance(s, Store):
            own += sum(b.size for b in _named([s]))
        total += own * math.prod(-(-loop.extent // loop.step) for loop in path)
    return total


def check(program: Program, args: Sequence[Expr], outs: Sequence[Expr], most: float) -> bool:
    """Run a program on inputs made at random, against `evaluate` of the graph that it was made of.

    Once forwards with positive numbers, once backwards with others. Returns whether it was small
    enough: `most` is the number of operations of a run.

    Raises
    ------
    InternalError
        A fault, or a result that differs by more than rounding.
    """
    if operations(program, most) > most:
        return False
    sizes = [s.size for s, _ in statements(program.body) if isinstance(s, Check)]
    for backwards in (False, True):
        rng = np.random.default_rng(backwards)
        inputs = [_random(rng, a, min(sizes, default=4), backwards) for a in args]
        outcome = interpret(program, inputs, backwards=backwards)
        problem = "\n".join(outcome.faults)
        try:
            expected = evaluate(outs, dict(zip(args, inputs, strict=True)))
        except (IndexError, np.linalg.LinAlgError) as error:
            problem = problem or f"no status, but {error!r}" * (outcome.status == 0)
        else:
            problem = problem or f"status {outcome.status}" * (outcome.status != 0)
            problem = problem or _difference(outcome.outputs, expected, args, outs, inputs)
        if problem:
            raise InternalError(f"a loop program is not what it should be: {problem}\n{program}")
    return True


def _random(rng: np.random.Generator, node: Expr, size: int, negative: bool) -> np.ndarray:
    """Values for an argument; integers are indices of an axis of `size`."""
    if node.dtype in FLOATS:
        return np.asarray(rng.uniform(-1.5 if negative else 0.1, 1.5, node.shape), node.dtype)
    low, high = (0, 2) if node.dtype == "bool" else (-size if negative else 0, max(size, 1))
    return np.asarray(rng.integers(low, high, node.shape), node.dtype)


def _difference(
    got: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    args: Sequence[Expr],
    outs: Sequence[Expr],
    inputs: Sequence[np.ndarray],
) -> str:
    """Where results differ, but for elements that roundings of the arguments change as much."""
    wrong = [~_same(g, e) for g, e in zip(got, expected, strict=True)]
    if any(w.any() for w in wrong):
        for sign in (-1, 1):
            close = {
                a: x * (1 + x.dtype.type(sign * _ROUNDED[a.dtype])) if a.dtype in FLOATS else x
                for a, x in zip(args, inputs, strict=True)
            }
            for w, e, near in zip(wrong, expected, evaluate(outs, close), strict=True):
                w &= _same(near, e)
    for k, (w, g, e) in enumerate(zip(wrong, got, expected, strict=True)):
        if w.any():
            at = tuple(int(i) for i in np.argwhere(w)[0])
            return f"result {k}{list(at)} is {g[at]}, should be {e[at]}"
    return ""


_ROUNDED = {"float64": 1e-13, "float32": 1e-6}  # parts of an argument


def _same(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Which elements agree to rounding, by the size of the largest one."""
    with np.errstate(all="ignore"):
        size = max([1.0, *np.abs(expected[np.isfinite(expected)]).reshape(-1).astype(float)])
        tolerance = (1e-3 if expected.dtype == np.float32 else 1e-8) * size
        near = np.abs(got * 1.0 - expected) <= tolerance
        return np.asarray((got == expected) | np.isnan(got) & np.isnan(expected) | near)


class _Stop(Exception):
    """The function returns before its end."""


# ---- memory ----------------------------------------------------------------------------------


class _Memory:
    """The elements of one buffer. An index has an entry for each axis of its shape, kept or not."""

    def __init__(self, machine: _Machine, buffer: Buffer) -> None:
        self.machine, self.buffer = machine, buffer
        self.scalar = np.dtype(buffer.dtype).type
        self.width = max(buffer.lanes, 1)
        kept = dict(zip(buffer.kept_axes, row_strides(buffer.kept_shape), strict=True))
        self.axes = [(n, kept.get(a, 0) * self.width) for a, n in enumerate(buffer.shape)]
        self.dropped = [a for a in range(len(buffer.shape)) if a not in kept]
        self.in_lanes = buffer.lanes > 0
        self.read_only = buffer.role in ("in", "constant", "data")
        self.rivals: list[_Memory] = []  # that have the same part of the workspace
        self.used = False
        self.reset()
        if buffer.data is not None:
            self.fill(buffer.data)

    def reset(self) -> None:
        """Nothing is written."""
        self.cells: list[Any] = [_NOT_WRITTEN] * self.buffer.size
        self.places: list[Any] = [()] * self.buffer.size if self.dropped else []

    def zero(self) -> None:
        self.cells = [self.scalar(0)] * self.buffer.size
        self.places = [(None,) * len(self.dropped)] * len(self.cells) if self.dropped else []

    def fill(self, array: np.ndarray) -> None:
        self.cells = list(array.reshape(-1))

    def unravel(self, offset: int) -> Index:
        """The index of an element, by its place in memory, without the lane."""
        index: list[Any] = [0] * len(self.axes)
        for a, step in zip(self.buffer.kept_axes, row_strides(self.buffer.kept_shape), strict=True):
            index[a] = offset // step % max(self.buffer.shape[a], 1)
            if a == self.buffer.kept_axes[0]:
                index[a] = offset // step
        return tuple(index)

    def flat(self, index: Index) -> int:
        """The place of an element in memory, in elements of all lanes."""
        steps = (step for _, step in self.axes)
        return sum(i * step for i, step in zip(index, steps, strict=True)) // self.width

    def behind(self, index: Index) -> Iterator[Index]:
        """Every index that begins with `index`."""
        rest = range(len(index), len(self.axes))
        ranges = [range(self.axes[a][0]) if a in self.buffer.kept_axes else (None,) for a in rest]
        return ((*index, *more) for more in itertools.product(*ranges))

    def _offset(self, mode: Mode, index: Index, lane: int | None) -> int:
        """-1 after a fault."""
        offset = 0
        for a, (i, (n, step)) in enumerate(zip(index, self.axes, strict=True)):
            if i is None:
                continue
            if not 0 <= i < n:
                self._fault("outside", mode, index, lane, f"axis {a} has 0 to {n - 1}")
                return -1
            offset += i * step
        if self.in_lanes:
            if lane is None or not 0 <= lane < self.width:
                self._fault("outside", mode, index, lane, f"it has lanes 0 to {self.width - 1}")
                return -1
            offset += lane
        for region in self.machine.regions:
            problem = region.meet(self.buffer.number, offset, mode)
            if problem:
                self._fault("race", mode, index, lane, problem)
        if self.machine.made is not None:
            at = (*index, lane) if self.in_lanes else index
            self.machine.made.append(Made(self.buffer.number, mode, at))
        return offset

    def read(self, index: Index, lane: int | None = None, mode: Mode = Mode.READ) -> Any:
        offset = self._offset(mode, index, lane)
        if offset < 0:
            return self._poison()
        value = self.cells[offset]
        if value is _NOT_WRITTEN:
            self._fault("not written", mode, index, lane, "nothing was written there")
            return self._poison()
        if self.dropped:
            here, there = self._place(index), self.places[offset]
            if any(a != b and None not in (a, b) for a, b in zip(here, there, strict=True)):
                self._fault(
                    "not written", mode, index, lane, f"it was written at {there} of axes not kept"
                )
        return value

    def write(
        self, index: Index, value: Any, lane: int | None = None, mode: Mode = Mode.WRITE
    ) -> None:
        offset = self._offset(mode, index, lane)
        if offset < 0:
            return
        if self.read_only:
            self._fault("read only", mode, index, lane, f"it is {self.buffer.role!r}")
            return
        if self.rivals:
            for rival in self.rivals:
                if rival.used:
                    rival.used = False
                    rival.reset()
            self.used = True
        self.cells[offset] = value if type(value) is self.scalar else self.scalar(value)
        if self.dropped:
            self.places[offset] = self._place(index)

    def add(self, index: Index, value: Any, lane: int | None = None) -> None:
        """Element += value, where something is."""
        self.change(index, lambda old: old + value, lane)

    def change(self, index: Index, new: Callable[[Any], Any], lane: int | None = None) -> None:
        """Element = new(element), where something is: one access."""
        old = self.read(index, lane, Mode.ADD)
        made, self.machine.made = self.machine.made, None
        self.write(index, new(old), lane, Mode.ADD)
        self.machine.made = made

    def _place(self, index: Index) -> Index:
        return tuple(index[a] for a in self.dropped)

    def _poison(self) -> Any:
        return self.scalar(math.nan) if self.buffer.dtype.startswith("float") else self.scalar(0)

    def _fault(self, kind: str, mode: Mode, index: Index, lane: int | None, why: str) -> None:
        place = ", ".join("?" if i is None else str(i) for i in index)
        at = f"{self.buffer.name}[{place}]"
        at += f" in lane {lane}" if lane is not None and self.in_lanes else ""
        self.machine.fault(kind, f"{kind}: {mode.value} {at}, {why}", self.buffer.number)


class _Region:
    """Rounds that several threads, or the lanes of a vector, take at once.

    private : buffers that each of them has for itself
    serial : whether additions of several rounds to one element may meet, since one comes after the
        other and nothing else happens there (lanes)
    """

    def __init__(self, what: str, private: set[int], serial: bool) -> None:
        self.what, self.private, self.serial = what, private, serial
        self.round, self.in_order = 0, False
        # of each element the round that touched it, and how; apart what happens in order
        self.seen: dict[bool, dict[tuple[int, int], tuple[int, Mode]]] = {False: {}, True: {}}

    def meet(self, number: int, offset: int, mode: Mode) -> str:
        """What is wrong with an access, beside those that other rounds made."""
        if number in self.private:
            return ""
        key = number, offset
        mine, other = self.seen[self.in_order], self.seen[not self.in_order]
        before = mine.get(key)
        problem = ""
        if before is None:
            mine[key] = self.round, mode
        else:
            round_, how = before
            if round_ != self.round and not self.in_order and self._meets(how, mode):
                problem = self._text(how)
            stronger = how if mode is Mode.READ or how is Mode.WRITE else mode
            mine[key] = self.round if round_ == self.round else _MANY, stronger
        crossing = other.get(key)
        if crossing is not None and crossing[0] != self.round and self._meets(crossing[1], mode):
            problem = self._text(crossing[1])
        return problem

    def _text(self, how: Mode) -> str:
        done = {Mode.READ: "reads it", Mode.WRITE: "writes it", Mode.ADD: "adds to it"}
        return f"another of the {self.what} {done[how]}"

    def _meets(self, a: Mode, b: Mode) -> bool:
        return a is not b or a is Mode.WRITE or a is Mode.ADD and not self.serial


# ---- expressions -----------------------------------------------------------------------------


class _Tape:
    """Expressions of one statement, compiled to steps over registers.

    A step is a function of the registers; what only a guard needs is a list of steps of its own.
    """

    def __init__(self, machine: _Machine, exprs: Sequence[Expr]) -> None:
        nodes = toposort(exprs)
        self.registers: list[Any] = [None] * len(nodes)
        self.at = {node: k for k, node in enumerate(nodes)}
        self.results = [self.at[e] for e in exprs]
        self.machine = machine
        self.indices: list[tuple[int, int]] = []
        for k, node in enumerate(nodes):
            if node.op is CONST:
                self.registers[k] = const_value(node)
            elif node.op is INDEX:
                self.indices.append((k, machine.slot(node)))
        done: set[Expr] = set()
        self.steps: list[Callable[[list[Any]], None]] = []
        waiting: list[tuple[list[Any], Sequence[Expr], set[Expr]]] = [(self.steps, exprs, done)]
        while waiting:
            steps, roots, before = waiting.pop()
            eager = _without_lazy(roots, before)
            known = before | eager
            for node in nodes:  # arguments first, also of what a guard may need
                if node not in eager or node.op in (CONST, INDEX):
                    continue
                if node.op is GUARD:
                    inside: list[Any] = []
                    waiting.append((inside, node.args[1:], known))
                    steps.append(self._guard(node, inside))
                else:
                    steps.append(self._step(node))

    def run(self) -> list[Any]:
        registers, env = self.registers, self.machine.env
        for k, slot in self.indices:
            value = env[slot]
            if value is None:
                self.machine.fault("scope", "scope: a loop variable outside of its loop")
                value = 0
            registers[k] = value
        for step in self.steps:
            step(registers)
        return [registers[k] for k in self.results]

    def _guard(self, node: Expr, inside: list[Any]) -> Callable[[list[Any]], None]:
        to, condition, value = self.at[node], self.at[node.args[0]], self.at[node.args[1]]
        zero = np.dtype(node.dtype).type(0)

        def step(r: list[Any]) -> None:
            if r[condition]:
                for s in inside:
                    s(r)
                r[to] = r[value]
            else:
                r[to] = zero

        return step

    def _step(self, node: Expr) -> Callable[[list[Any]], None]:
        to, args = self.at[node], [self.at[a] for a in node.args]
        machine = self.machine
        if node.op is LOAD:
            memory = machine.memories[node.attrs[0]]

            def load(r: list[Any]) -> None:
                r[to] = memory.read(tuple([r[a] for a in args]), machine.lane)

            return load
        if node.op is SELECT:
            condition, a, b = args

            def select(r: list[Any]) -> None:
                r[to] = r[a] if r[condition] else r[b]

            return select
        if node.op in (INDEX_DIV, INDEX_MOD):
            a, b = args

            def divide(r: list[Any]) -> None:
                if r[a] < 0:  # C rounds towards zero, Python down
                    machine.fault("division", f"division: {r[a]} by {r[b]} in an index")
                r[to] = node.op.evaluate(r[a], r[b])

            return divide
        function = _OPERATORS.get(node.op.evaluate)
        if function is not None and len(args) == 2 and node.args[0].dtype != "bool":
            a, b = args

            def operate(r: list[Any]) -> None:
                r[to] = function(r[a], r[b])

            return operate
        evaluate, attrs, scalar = node.op.evaluate, node.attrs, np.dtype(node.dtype).type

        def general(r: list[Any]) -> None:
            result = evaluate(*[r[a] for a in args], *attrs)
            r[to] = result if type(result) is scalar else scalar(result)

        return general


def _without_lazy(roots: Iterable[Expr], known: set[Expr]) -> set[Expr]:
    """What is needed for `roots` whatever the guards say, apart from what is known."""
    found: set[Expr] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in found and node not in known:
            found.add(node)
            stack.extend(node.args[:1] if node.op is GUARD else node.args)
    return found


# ---- the machine -----------------------------------------------------------------------------


@dataclass
class _Block:
    """The block of lanes that is run."""

    slot: int
    lanes: int  # of a full one
    begin: int = 0
    extent: int = 0
    region: _Region = field(default_factory=lambda: _Region("points of a block", set(), True))


class _Machine:
    def __init__(self, program: Program, backwards: bool, observer: Observer | None) -> None:
        self.program, self.backwards, self.observer = program, backwards, observer
        self.placed = program.workspace_bytes >= 0  # else it is between two passes
        self.env: list[Any] = []
        self._slots: dict[Expr, int] = {}
        self.lane: int | None = None
        self.block: _Block | None = None
        self.regions: list[_Region] = []
        self.statement: Any = None
        self.made: list[Made] | None = None
        self.faults: dict[tuple[Any, ...], list[Any]] = {}
        self._tapes: dict[Expr, _Tape] = {}
        self.memories = {b.number: _Memory(self, b) for b in program.buffers if b.role != "none"}
        self._share_workspace()

    def run(self) -> Outcome:
        status = 0
        try:
            for step in self.body(self.program.body, None):
                step()
        except _Stop as stop:
            status = stop.args[0]
        self.statement = None
        outputs = []
        for b in self.program.outputs:
            memory = self.memories[b.number]
            if status == 0:
                outputs.append([memory.read(i) for i in memory.behind(())])
        arrays = [
            np.array(cells, dtype=b.dtype).reshape(b.shape)
            for cells, b in zip(outputs, self.program.outputs, strict=False)
        ]
        texts = [
            text + (f" (and {n - 1} more)" if n > 1 else "") for text, n in self.faults.values()
        ]
        return Outcome(status, tuple(arrays), tuple(texts))

    def _share_workspace(self) -> None:
        """Which buffers have the same bytes, if they are placed; that all are inside."""
        if not self.placed:
            return
        placed = [b for b in self.program.buffers if b.role == "work" and b.nbytes]
        for b in placed:
            if b.offset + b.nbytes > self.program.workspace_bytes:
                size = self.program.workspace_bytes
                self.fault("placement", f"placement: {b.name} ends beyond {size} bytes", b.number)
        for a, b in itertools.combinations(placed, 2):
            if a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes:
                self.memories[a.number].rivals.append(self.memories[b.number])
                self.memories[b.number].rivals.append(self.memories[a.number])
        members = [b for b in self.program.buffers if b.role == "member"]
        for loop in self.program.body:
            if isinstance(loop, Loop) and loop.team is not None:
                for b in (b for b in members if b.number in _touched([loop])):
                    self.memories[b.number].rivals = self.memories[loop.team.number].rivals
                    if b.offset + b.nbytes > loop.team.shape[1] * 8:
                        self.fault(
                            "placement", f"placement: {b.name} ends beyond its part", b.number
                        )

    # ---- what statements use -------------------------------------------------------------------

    def slot(self, index: Expr) -> int:
        """Where the value of a loop variable stands."""
        if index not in self._slots:
            self._slots[index] = len(self.env)
            self.env.append(None)
        return self._slots[index]

    def tape(self, *exprs: Expr) -> Callable[[], list[Any]]:
        return _Tape(self, exprs).run

    def number(self, expr: Expr) -> Callable[[], int]:
        """An index expression as a function."""
        tape = _Tape(self, (expr,))
        return lambda: int(tape.run()[0])

    def size(self, expr: Expr) -> Callable[[], int]:
        """A number of elements as a function."""
        number = self.number(expr)

        def run() -> int:
            n = number()
            if n < 0:
                self.fault("sizes", f"sizes: {n} elements")
            return n

        return run

    def at(self, index: Sequence[Expr]) -> Callable[[], Index]:
        """The index of an element, or the start of one, as a function."""
        tape = _Tape(self, tuple(index))
        return lambda: tuple(tape.run())

    def value(self, expr: Expr) -> Any:
        """An expression as it is now, for an observer: nothing is noted, nothing is a fault."""
        if expr not in self._tapes:
            self._tapes[expr] = _Tape(self, (expr,))
        before = self.made, self.regions, self.faults
        self.made, self.regions, self.faults = None, [], {}
        result = self._tapes[expr].run()[0]
        self.made, self.regions, self.faults = before
        return result

    def memory(self, buffer: Buffer) -> _Memory:
        return self.memories[buffer.number]

    def fault(self, kind: str, text: str, number: int = -1) -> None:
        key = kind, id(self.statement), number
        if key in self.faults:
            self.faults[key][1] += 1
        elif len(self.faults) < _MOST_FAULTS:
            where = ""
            if self.statement is not None:
                bound = {i: self.env[k] for i, k in self._slots.items() if self.env[k] is not None}
                at = ", ".join(f"i{i.attrs[0]} = {v}" for i, v in bound.items())
                where = f"; in `{line_of(self.statement, self.program.buffers)}`"
                where += f" at {at}" if at else ""
            self.faults[key] = [text + where, 1]

    # ---- loops ---------------------------------------------------------------------------------

    def body(self, body: Sequence[Any], block: _Block | None) -> list[Thunk]:
        return [self._one(s, block) for s in body]

    def _one(self, s: Any, block: _Block | None) -> Thunk:
        if isinstance(s, Loop):
            if s.lanes:
                return self._lanes(s)
            return self._shared(s) if s.shared else self._loop(s, block)
        step = _STEPS[type(s)](self, s)
        if block is None:
            return lambda: self._execute(s, step)
        if isinstance(s, Turns):  # of all lanes at once

            def once() -> None:
                self.env[block.slot] = block.begin
                self._execute(s, step)
                self.env[block.slot] = None

            return once

        # Additions of several lanes to one element come one after the other.
        in_order = isinstance(s, Store) and s.op != "=" and not s.buffer.lanes

        def each() -> None:
            lanes = range(block.extent)
            for lane in reversed(lanes) if self.backwards and not in_order else lanes:
                self.lane = block.region.round = lane
                self.env[block.slot] = block.begin + lane
                self._execute(s, step)
            self.lane = self.env[block.slot] = None

        return each

    def _execute(self, s: Any, step: Thunk) -> None:
        self.statement = s
        if self.observer is None:
            step()
            return
        noted = self.observer(s, self.value)
        self.made = []
        step()
        made, self.made = self.made, None
        noted(made)

    def _rounds(self, loop: Loop) -> Callable[[], range]:
        start = (lambda: 0) if loop.start is None else self.number(loop.start)
        stop = (lambda: loop.extent) if loop.stop is None else self.number(loop.stop)

        def rounds() -> range:
            self.statement = loop
            result = range(start(), stop(), loop.step)
            if len(result) > -(-loop.extent // loop.step):
                self.fault("rounds", f"rounds: {len(result)}, at most {loop.extent} / {loop.step}")
            return result

        return rounds

    def _loop(self, loop: Loop, block: _Block | None) -> Thunk:
        slot, rounds, body = self.slot(loop.index), self._rounds(loop), self.body(loop.body, block)
        private = _numbers(self._private(loop)) if loop.simd else set()

        def run() -> None:
            every = rounds()
            region = _Region("rounds of a vector", private, False)
            if loop.simd:
                self.regions.append(region)
            for k in reversed(every) if loop.simd and self.backwards else every:
                self.env[slot] = region.round = k
                for step in body:
                    step()
            if loop.simd:
                self.regions.pop()
            self.env[slot] = None

        return run

    def _private(self, loop: Loop) -> list[_Memory]:
        """What each round of a loop whose order is free, or each chunk, has for itself."""
        inside, outside = _touched([loop]), _touched(self.program.body, without=loop)

        def is_private(b: Buffer) -> bool:
            variable = b.role == "scalar" or not b.kept_axes and not self.placed
            array = b.role in ("own", "member") and not loop.simd
            return array or variable and b.number not in outside

        found = (self.memories[n] for n in sorted(inside & self.memories.keys()))
        return [memory for memory in found if is_private(memory.buffer)]

    def _shared(self, loop: Loop) -> Thunk:
        """Rounds forwards, or backwards; what is in order comes in order."""
        slot, rounds = self.slot(loop.index), self._rounds(loop)
        split = len(loop.body) - loop.in_order
        first, last = self.body(loop.body[:split], None), self.body(loop.body[split:], None)
        own = self._private(loop)

        def part(k: int, steps: list[Thunk], region: _Region, in_order: bool) -> None:
            self.env[slot], region.round, region.in_order = k, k, in_order
            for step in steps:
                step()

        def run() -> None:
            region = _Region("rounds of a loop that threads share", _numbers(own), False)
            every = rounds()
            self.regions.append(region)
            kept: dict[int, list[Any]] = {}
            for k in reversed(every) if self.backwards else every:
                for memory in own:
                    memory.reset()
                part(k, first, region, False)
                if not self.backwards:
                    part(k, last, region, True)
                elif last:
                    kept[k] = [(m.cells, m.places) for m in own]
            for k in every if kept else ():
                for memory, (cells, places) in zip(own, kept[k], strict=True):
                    memory.cells, memory.places = cells, places
                part(k, last, region, True)
            self.regions.pop()
            self.env[slot] = None

        return run

    def _lanes(self, loop: Loop) -> Thunk:
        """Blocks of points, alone or in chunks; each statement of a block over all its points."""
        slot = self.slot(loop.index)
        block = _Block(slot, loop.lanes)
        body, flush = self.body(loop.body, block), self.body(loop.flush, None)
        partial = {s.partial.number for s, _ in statements(loop.flush) if isinstance(s, Flush)}
        of_block = [
            m for n, m in self.memories.items()
            if m.in_lanes and n not in partial and n in _touched([loop])
        ]  # fmt: skip
        full = loop.extent if loop.again else loop.extent // loop.lanes * loop.lanes
        between = max(loop.flush_blocks, 1) * loop.lanes

        def one(begin: int, extent: int) -> None:
            block.begin, block.extent = begin, extent
            block.region = _Region("points of a block", set(), True)
            for memory in of_block:
                memory.reset()
            self.block = block
            self.regions.append(block.region)
            for step in body:
                step()
            self.regions.pop()
            self.block = None

        def blocks(start: int, stop: int, chunk: bool) -> None:
            for next_ in range(start, min(stop, full), loop.lanes):
                begin = min(next_, full - loop.lanes)  # the last one may overlap
                one(begin, loop.lanes)
                if not chunk and (begin + loop.lanes) % between == 0:
                    self._run(flush)
            if stop > full:
                one(full, stop - full)
            self._run(flush)

        if not loop.chunks:
            return lambda: blocks(0, loop.extent, False)
        assert loop.chunk is not None
        own, chunk_slot = self._private(loop), self.slot(loop.chunk)

        def chunks() -> None:
            region = _Region("chunks that threads share", _numbers(own), False)
            self.regions.append(region)
            every = range(loop.chunks)
            for chunk in reversed(every) if self.backwards else every:
                self.env[chunk_slot] = region.round = chunk
                for memory in own:
                    memory.zero() if memory.buffer.number in partial else memory.reset()
                last = chunk == loop.chunks - 1
                stop = loop.extent if last else (chunk + 1) * loop.chunk_points
                blocks(chunk * loop.chunk_points, stop, True)
            self.regions.pop()
            self.env[chunk_slot] = None

        return chunks

    def _run(self, steps: Sequence[Thunk]) -> None:
        for step in steps:
            step()


def _numbers(memories: Iterable[_Memory]) -> set[int]:
    return {m.buffer.number for m in memories}


def _touched(body: Sequence[Any], without: Loop | None = None) -> set[int]:
    """The numbers of all buffers that statements name or load."""
    return {item.number if isinstance(item, Buffer) else item.attrs[0]
            for item in _parts(body, without)}  # fmt: skip


def _named(body: Sequence[Any]) -> list[Buffer]:
    """All buffers that statements name."""
    return [item for item in _parts(body) if isinstance(item, Buffer)]


def _parts(body: Sequence[Any], without: Loop | None = None) -> list[Any]:
    """Buffers and loads in the fields of statements, whatever their kind."""
    found: list[Any] = []
    exprs: list[Expr] = []
    stack: list[Any] = list(body)
    while stack:
        item = stack.pop()
        if item is without:
            continue
        if isinstance(item, Expr):
            exprs.append(item)
        elif isinstance(item, Buffer):
            found.append(item)
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
        elif hasattr(item, "__dataclass_fields__"):
            stack.extend(getattr(item, f.name) for f in fields(item))
    return found + [n for n in toposort(exprs) if n.op is LOAD]


# ---- statements ------------------------------------------------------------------------------


def _store(m: _Machine, s: Store) -> Thunk:
    tape, memory = m.tape(*s.index, s.value), m.memory(s.buffer)
    if s.partial is not None:
        partial = m.memory(s.partial)

        def add() -> None:
            *index, value = tape()
            assert m.lane is not None
            partial.add(tuple(index), value, m.lane % partial.width)

        return add
    if s.op == "=":

        def set_() -> None:
            *index, value = tape()
            memory.write(tuple(index), value, m.lane)

        return set_
    combine = _COMBINE[s.op]

    def change() -> None:
        *index, value = tape()
        memory.change(tuple(index), lambda old: combine(old, value), m.lane)

    return change


_COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "*": operator.mul,
    "max": lambda old, new: new if new > old or new != new else old,
    "min": lambda old, new: new if new < old or new != new else old,
    "&&": lambda old, new: old and new,
    "||": lambda old, new: old or new,
}


def _zero(m: _Machine, s: Zero) -> Thunk:
    memory, at = m.memory(s.buffer), m.at(s.index)

    def run() -> None:
        for index in memory.behind(at()):
            for lane in range(memory.width):
                memory.write(index, 0, lane)

    return run


def _together(m: _Machine, *parts: Iterator[Index] | None) -> Iterator[tuple[Any, ...]]:
    """Parts of arrays element by element; None for an array that there is not."""
    lists = [None if p is None else list(p) for p in parts]
    sizes = [len(p) for p in lists if p is not None]
    if len(set(sizes)) > 1:
        m.fault("sizes", f"sizes: {sizes} elements, which should be as many")
    return zip(*(itertools.repeat(None) if p is None else p for p in lists), strict=False)


def _flush(m: _Machine, s: Flush) -> Thunk:
    buffer, partial = m.memory(s.buffer), m.memory(s.partial)
    carry = None if s.carry is None else m.memory(s.carry)
    index, at = m.at(s.index), m.at(s.at)

    def run() -> None:
        parts = buffer.behind(index()), partial.behind(at())
        for to, source, lost in _together(m, *parts, None if carry is None else carry.behind(())):
            total = partial.scalar(0)
            for lane in range(partial.width):
                total = total + partial.read(source, lane, Mode.ADD)
            before: list[Any] = []
            buffer.change(to, lambda old, x=total, before=before: before.append(old) or old + x)
            new = before[0] + total
            if carry is not None and np.isfinite(new):
                rounded = _rounded(before[0], total, new)
                carry.add(lost, rounded)
            for lane in range(partial.width):
                partial.write(source, 0, lane, Mode.ADD)

    return run


def _rounded(old: Any, x: Any, new: Any) -> Any:
    """What is lost in new = old + x."""
    part = new - old
    return (old - (new - part)) + (x - part)


def _merge(m: _Machine, s: Merge) -> Thunk:
    buffer, part = m.memory(s.buffer), m.memory(s.part)
    carry = None if s.carry is None else m.memory(s.carry)
    round_, index, part_index, carry_index = (
        m.number(s.round), m.at(s.index), m.at(s.part_index), m.at(s.carry_index)
    )  # fmt: skip

    def run() -> None:
        parts = buffer.behind(index()), part.behind(part_index())
        lost_parts = None if carry is None else carry.behind(carry_index())
        begins = round_() == 0
        for to, source, lost in _together(m, *parts, lost_parts):
            _add_to(buffer, to, carry, lost, part.read(source), begins)

    return run


def _add_to(
    buffer: _Memory, to: Index, carry: _Memory | None, lost: Index, x: Any, begins: bool
) -> None:
    """Element = x, or += x with what that rounds away."""
    if begins:
        buffer.write(to, x)
        if carry is not None:
            carry.write(lost, 0)
        return
    before: list[Any] = []
    buffer.change(to, lambda old: before.append(old) or old + x)
    if carry is not None:
        carry.add(lost, _rounded(before[0], x, before[0] + x))


def _best(m: _Machine, s: Best) -> Thunk:
    tape = m.tape(*s.index, s.value, s.position)
    buffer, best = m.memory(s.buffer), m.memory(s.value_buffer)
    better = operator.gt if s.op == "argmax" else operator.lt

    def run() -> None:
        *index, value, position = tape()
        at = tuple(index)
        old = best.read(at, m.lane, Mode.ADD)
        if better(value, old) or (value != value and old == old):
            best.write(at, value, m.lane, Mode.ADD)
            buffer.write(at, position, m.lane, Mode.ADD)

    return run


def _check(m: _Machine, s: Check) -> Thunk:
    value = m.number(s.value)

    def run() -> None:
        if not -s.size <= value() < s.size:
            raise _Stop(1)

    return run


def _call(m: _Machine, s: Call) -> Thunk:
    operands = [(m.memory(b), m.at(index)) for b, index in s.operands]
    target, at = m.memory(s.target[0]), m.at(s.target[1])
    (name,) = (name for name, spec in CALLS.items() if spec.template == s.template)
    attrs = tuple(bool(flag) for flag in s.flags)

    def matrix(memory: _Memory, index: Index) -> np.ndarray:
        shape = memory.buffer.shape[len(index) :]
        elements = [memory.read(i) for i in memory.behind(index)]
        return np.array(elements, dtype=memory.buffer.dtype).reshape(shape)

    def run() -> None:
        arrays = [matrix(memory, index()) for memory, index in operands]
        try:
            result = np.asarray(OPS[name].evaluate(*arrays, *attrs))
        except np.linalg.LinAlgError:
            raise _Stop(2) from None
        elements = result.reshape(-1)
        places = list(target.behind(at()))
        if len(places) != len(elements):
            m.fault("sizes", f"sizes: {len(elements)} results for {len(places)} elements")
        for index, x in zip(places, elements, strict=False):
            target.write(index, x)

    return run


def _in_block(place: Sequence[Any], axes: Sequence[int], *steps: int) -> Index:
    """The index of an element, so many steps along axes from another one."""
    index = list(place)
    for a, step in zip(axes, steps, strict=True):
        index[a] += step
    return tuple(index)


def _in_panels(panels: _Memory, position: int, k: int) -> Index:
    """Where panels, or rows in their place, have an element of a row or column."""
    shape = panels.buffer.shape
    if len(shape) == 2:
        return position, k
    return position // shape[2], k, position % shape[2]


def _panels(m: _Machine, s: Panels) -> Thunk:
    panels, memory = m.memory(s.panels), m.memory(s.buffer)
    first, count, inner = m.at(s.first), m.size(s.count), m.size(s.inner)
    shape = s.panels.shape
    width = PANEL_ROWS if len(shape) == 2 else shape[2]

    def run() -> None:
        place, n = first(), inner()
        end = s.skip + count()
        panels.reset()
        for position in range(-(-end // width) * width):
            for k in range(n):
                x: Any = 0
                if s.skip <= position < end:
                    x = memory.read(_in_block(place, s.axes, position - s.skip, k))
                panels.write(_in_panels(panels, position, k), x)

    return run


def _tiles(m: _Machine, s: Tiles) -> Thunk:
    left, right, buffer = m.memory(s.left), m.memory(s.right), m.memory(s.buffer)
    carry = None if s.carry is None else m.memory(s.carry)
    sizes = [m.size(e) for e in (s.rows, s.columns, s.inner)]
    sizes += [m.number(e) for e in (s.begin, s.diagonal, s.reach)]
    first, carry_first = m.at(s.index), m.at(s.carry_index)
    width = s.right.shape[2]

    def tile(i: int, j: int, summands: int) -> list[list[Any]]:
        """All that the C computes of one tile, padding included."""
        rows = [[left.read(_in_panels(left, i + r, k)) for k in range(summands)]
                for r in range(PANEL_ROWS)]  # fmt: skip
        columns = [[right.read(_in_panels(right, j + s.skip + c, k)) for k in range(summands)]
                   for c in range(width)]  # fmt: skip
        zero = buffer.scalar(0)
        return [[sum(map(operator.mul, a, b), zero) for b in columns] for a in rows]

    def run() -> None:
        rows, columns, inner, begin, diagonal, reach = (size() for size in sizes)
        place, carry_place = first(), carry_first()
        for j in range(-s.skip, columns, width):
            summands = max(0, min(j + width + reach, inner))
            for i in range(0, rows, PANEL_ROWS):
                if i + diagonal >= j + width:  # below the diagonal, as are the next
                    break
                totals = tile(i, j, summands)
                for r in range(min(PANEL_ROWS, rows - i)):
                    for c in range(max(0, -j), min(width, columns - j)):
                        to = _in_block(place, s.axes, i + r, j + c)
                        lost = to
                        if carry is not None:
                            lost = _in_block(carry_place, s.axes, i + r, j + c)
                        _add_to(buffer, to, carry, lost, totals[r][c], begin == 0)

    return run


def _gemm(m: _Machine, s: Gemm) -> Thunk:
    rows, columns, inner, begin = (m.size(e) for e in (s.rows, s.columns, s.inner, s.begin))
    first = [m.at(x.first) for x in s.matrices]

    def read(x: Matrix, place: Index, n: int, k: int) -> np.ndarray:
        memory = m.memory(x.buffer)
        elements = [
            [memory.read(_in_block(place, x.axes, i, j)) for j in range(k)] for i in range(n)
        ]
        return np.array(elements, dtype=x.buffer.dtype).reshape(n, k)

    def run() -> None:
        n, columns_, k = rows(), columns(), inner()
        places = [at() for at in first]
        product = read(s.left, places[0], n, k) @ read(s.right, places[1], k, columns_)
        target = m.memory(s.target.buffer)
        for i in range(n):
            for j in range(columns_):
                to = _in_block(places[2], s.target.axes, i, j)
                _add_to(target, to, None, to, product[i, j], begin() == 0)

    return run


def _rows(m: _Machine, s: Rows) -> Thunk:
    """Of one lane: the C takes several lanes and elements at a time, where there are enough."""
    lanes, buffer = m.memory(s.lanes), m.memory(s.buffer)
    start = None if s.start is None else m.memory(s.start)
    at = m.at(s.index) if start is None else lambda: ()
    count = math.prod(s.lanes.shape)

    def run() -> None:
        assert m.block is not None
        if count < TILE or (start is not None or s.write) and m.block.extent % TILE:
            m.fault("tiles", f"tiles: {m.block.extent} lanes of {count} elements in fours")
        if start is not None:
            first = int(start.read((0,), m.lane))
        elif s.write:
            first = buffer.flat(at())
        else:  # rows that follow each other
            assert m.lane is not None
            m.env[m.block.slot] = m.block.begin
            first = buffer.flat(at()) + m.lane * count
        for k in range(count):
            in_lanes, in_row = lanes.unravel(k), buffer.unravel(first + k)
            if s.write:
                buffer.write(in_row, lanes.read(in_lanes, m.lane))
            else:
                lanes.write(in_lanes, buffer.read(in_row), m.lane)

    return run


def _turns(m: _Machine, s: Turns) -> Thunk:
    """As the C does without fused multiply-add: sin_turned is then the sine of the rest."""
    angles, rests, quarters = m.memory(s.angles), m.memory(s.rests), m.memory(s.quarters)

    def run() -> None:
        for index in angles.behind(()):
            for lane in _all_lanes(m):
                rests.write(index, angles.read(index, lane), lane)
                quarters.write(index, 0, lane)

    return run


def _all_lanes(m: _Machine) -> Iterator[int]:
    """Those that one call of C takes: as many as their arrays have room for."""
    assert m.block is not None
    if m.block.extent != m.block.lanes:
        m.fault("lanes", f"lanes: {m.block.extent} of {m.block.lanes} in a statement of all")
    for lane in range(m.block.lanes):
        m.block.region.round = lane
        yield lane


_STEPS: dict[type, Callable[[_Machine, Any], Thunk]] = {
    Best: _best, Call: _call, Check: _check, Flush: _flush, Gemm: _gemm,
    Merge: _merge, Panels: _panels, Rows: _rows, Store: _store, Tiles: _tiles,
    Turns: _turns, Zero: _zero,
}  # fmt: skip
