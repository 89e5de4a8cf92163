"""Memory in which each element knows whether it was written, and who may touch it at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.expr.node import Expr
from symgrad.lazy import dataclass
from symgrad.lower.statement import Buffer, Mode, row_strides

if TYPE_CHECKING:
    from symgrad.lower.interpreter.machine import Machine

Index = tuple[Any, ...]  # an entry for each axis; None where it is not known and means nothing
Thunk = Callable[[], None]

NOT_WRITTEN: Any = type("NotWritten", (), {"__repr__": lambda self: "not written"})()
_MANY = -1  # rounds


@dataclass(frozen=True)
class Outcome:
    """What a run of a program came to.

    status : 0, or 1, 2 or 3 as of the C function
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


class Stop(Exception):
    """The function returns before its end."""


class Memory:
    """The elements of one buffer. An index has an entry for each axis of its shape, kept or not."""

    def __init__(self, machine: Machine, buffer: Buffer) -> None:
        self.machine, self.buffer = machine, buffer
        self.scalar = np.dtype(buffer.dtype).type
        self.width = max(buffer.lanes, 1)
        kept = dict(zip(buffer.kept_axes, row_strides(buffer.kept_shape), strict=True))
        self.axes = [(n, kept.get(a, 0) * self.width) for a, n in enumerate(buffer.shape)]
        self.dropped = [a for a in range(len(buffer.shape)) if a not in kept]
        self.in_lanes = buffer.lanes > 0
        self.read_only = buffer.role in ("in", "constant", "data")
        self.rivals: list[Memory] = []  # that have the same part of the workspace
        self.used = False
        self.reset()
        if buffer.data is not None:
            self.fill(buffer.data)

    def reset(self) -> None:
        """Nothing is written."""
        self.cells: list[Any] = [NOT_WRITTEN] * self.buffer.size
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
        return int(sum(i * step for i, step in zip(index, steps, strict=True))) // self.width

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
        if value is NOT_WRITTEN:
            self._fault("not written", mode, index, lane, "nothing was written there")
            return self._poison()
        if self.dropped:
            here, there = self._place(index), self.places[offset]
            if any(a != b and None not in (a, b) for a, b in zip(here, there, strict=True)):
                self._fault(
                    "not written", mode, index, lane, f"it was written at {there} of axes not kept"
                )
        return value

    def value(self, lane: int | None) -> Any:
        """A value with a name of a lane: taking it is no access of a statement."""
        made, self.machine.made = self.machine.made, None
        found = self.read((), lane)
        self.machine.made = made
        return found

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


class Region:
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
