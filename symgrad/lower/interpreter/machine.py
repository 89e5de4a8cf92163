"""Loops run literally: plain ones, those that threads share, blocks of lanes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from symgrad.errors import InternalError
from symgrad.expr.node import Expr, const
from symgrad.lazy import dataclass
from symgrad.lower.cpu import Fetch, Flush, Lanes, Powers, Turns
from symgrad.lower.interpreter.memory import (
    Index,
    Made,
    Memory,
    Observer,
    Outcome,
    Region,
    Stop,
    Thunk,
)
from symgrad.lower.interpreter.steps import STEPS
from symgrad.lower.interpreter.tape import Tape
from symgrad.lower.listing import line_of
from symgrad.lower.program import Program, statements, walk
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import If, Let, Loop, Multiply, Part, Store, While

_MOST_FAULTS = 20  # that are told apart


@dataclass
class Block:
    """The block of lanes that is run."""

    slot: int
    lanes: int  # of a full one
    begin: int = 0
    extent: int = 0
    region: Region = field(default_factory=lambda: Region("points of a block", set(), True))


class Machine:
    def __init__(self, program: Program, backwards: bool, observer: Observer | None) -> None:
        self.program, self.backwards, self.observer = program, backwards, observer
        self.placed = program.workspace_bytes >= 0  # else it is between two passes
        self.env: list[Any] = []
        self._slots: dict[Expr, int] = {}
        self.lane: int | None = None
        self.block: Block | None = None
        self.regions: list[Region] = []
        self.statement: Any = None
        self.made: list[Made] | None = None
        self.faults: dict[tuple[Any, ...], list[Any]] = {}
        self._tapes: dict[Expr, Tape] = {}
        # Values that are there, by lane, or in an array of lanes.
        self.names: dict[Expr, dict[int | None, Any] | Memory] = {}
        self._once: list[Expr] = []  # of these, those of the next statement alone
        self.memories = {b.number: Memory(self, b) for b in program.buffers if b.role != "none"}
        self._share_workspace()

    def run(self) -> Outcome:
        status = 0
        try:
            for step in self.body(self.program.body, None):
                step()
        except Stop as stop:
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
        for loop in itertools.chain(*self.program.parts):
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
        return Tape(self, exprs).run

    def number(self, expr: Expr) -> Callable[[], int]:
        """An index expression as a function."""
        tape = Tape(self, (expr,))
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
        tape = Tape(self, tuple(index))
        return lambda: tuple(tape.run())

    def value(self, expr: Expr) -> Any:
        """An expression as it is now, for an observer: nothing is noted, nothing is a fault."""
        if expr not in self._tapes:
            names, self.names = self.names, {}
            self._tapes[expr] = Tape(self, (expr,))
            self.names = names
        before = self.made, self.regions, self.faults
        self.made, self.regions, self.faults = None, [], {}
        result = self._tapes[expr].run()[0]
        self.made, self.regions, self.faults = before
        return result

    def memory(self, buffer: Buffer) -> Memory:
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

    def body(self, body: Sequence[Any], block: Block | None) -> list[Thunk]:
        known = dict(self.names)
        found = self._steps(body, block)
        self.names = known
        return found

    def _steps(self, body: Sequence[Any], block: Block | None) -> list[Thunk]:
        found = []
        for s in body:
            found.append(self._one(s, block))
            if isinstance(s, Let):
                self._once += [s.value] * s.once
            elif not isinstance(s, Lanes):
                self._forget()
        return found

    def _forget(self) -> None:
        """What was computed for one statement is not known to the next, nor inside of it."""
        for value in self._once:
            self.names.pop(value, None)
        self._once.clear()

    def _one(self, s: Any, block: Block | None) -> Thunk:
        if isinstance(s, Loop):
            if s.lanes:
                return self._lanes(s)
            return self._shared(s) if s.shared else self._loop(s, block)
        if isinstance(s, (If, While)):
            if block is not None:
                raise InternalError("a branch in a block of lanes cannot be run")
            return self._if(s) if isinstance(s, If) else self._while(s)
        if isinstance(s, (Multiply, Part)):
            body = self.body(s.body, block)
            return lambda: self._run(body)
        if isinstance(s, Lanes):
            assert block is not None
            return self._each_lane(self._steps(s.body, None), block, s.in_order)
        step = STEPS[type(s)](self, s)
        if block is None:
            return lambda: self._execute(s, step)
        if isinstance(s, (Turns, Powers, Fetch)):  # of all lanes at once

            def once() -> None:
                self.env[block.slot] = block.begin
                self._execute(s, step)
                self.env[block.slot] = None

            return once

        # Additions of several lanes to one element come one after the other.
        in_order = isinstance(s, Store) and s.op != "=" and not s.buffer.lanes
        return self._each_lane([lambda: self._execute(s, step)], block, in_order)

    def _each_lane(self, steps: Sequence[Thunk], block: Block, in_order: bool) -> Thunk:
        """All steps for one lane after another."""

        def run() -> None:
            lanes = range(block.extent)
            for lane in reversed(lanes) if self.backwards and not in_order else lanes:
                self.lane = block.region.round = lane
                self.env[block.slot] = block.begin + lane
                self._run(steps)
            self.lane = self.env[block.slot] = None

        return run

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

    def _condition(self, s: If | While) -> Callable[[], bool]:
        tape = self.tape(s.condition)
        self._forget()
        found: list[Any] = [None]

        def evaluate() -> None:
            found[:] = tape()

        def holds() -> bool:
            self._execute(s, evaluate)
            return bool(found[0])

        return holds

    def _if(self, s: If) -> Thunk:
        holds = self._condition(s)
        then, orelse = self.body(s.then, None), self.body(s.orelse, None)
        return lambda: self._run(then if holds() else orelse)

    def _while(self, s: While) -> Thunk:
        holds = self._condition(s)
        slot = None if s.index is None else self.slot(s.index)
        body = self.body(s.body, None)

        def run() -> None:
            done = 0
            while holds():
                if done == s.most:
                    raise Stop(s.status)
                if slot is not None:
                    self.env[slot] = done
                self._run(body)
                if slot is not None:
                    self.env[slot] = None
                done += 1

        return run

    def _rounds(self, loop: Loop) -> Callable[[], range]:
        start = self.number(const(0, "int64") if loop.start is None else loop.start)
        stop = self.number(const(loop.extent, "int64") if loop.stop is None else loop.stop)

        def rounds() -> range:
            self.statement = loop
            result = range(start(), stop(), loop.step)
            if len(result) > -(-loop.extent // loop.step):
                self.fault("rounds", f"rounds: {len(result)}, at most {loop.extent} / {loop.step}")
            return result

        return rounds

    def _loop(self, loop: Loop, block: Block | None) -> Thunk:
        slot, rounds, body = self.slot(loop.index), self._rounds(loop), self.body(loop.body, block)
        private = _numbers(self._private(loop)) if loop.simd else set()
        any_order = loop.simd or loop.accumulates

        def run() -> None:
            every = rounds()
            region = Region("rounds of a vector", private, False)
            if loop.simd:
                self.regions.append(region)
            for k in reversed(every) if any_order and self.backwards else every:
                self.env[slot] = region.round = k
                for step in body:
                    step()
            if loop.simd:
                self.regions.pop()
            self.env[slot] = None

        return run

    def _private(self, loop: Loop) -> list[Memory]:
        """What each round of a loop whose order is free, or each chunk, has for itself."""
        inside, outside = _touched([loop]), _touched(self.program.body, without=loop)

        def is_private(b: Buffer) -> bool:
            variable = b.role == "scalar" or not b.kept_axes and not self.placed
            array = b.role in ("own", "member", "block") and not loop.simd
            return array or variable and b.number not in outside

        found = (self.memories[n] for n in sorted(inside & self.memories.keys()))
        return [memory for memory in found if is_private(memory.buffer)]

    def _shared(self, loop: Loop) -> Thunk:
        """Rounds forwards, or backwards; what is in order comes in order."""
        slot, rounds = self.slot(loop.index), self._rounds(loop)
        split = len(loop.body) - loop.in_order
        first, last = self.body(loop.body[:split], None), self.body(loop.body[split:], None)
        own = self._private(loop)

        def part(k: int, steps: list[Thunk], region: Region, in_order: bool) -> None:
            self.env[slot], region.round, region.in_order = k, k, in_order
            for step in steps:
                step()

        def run() -> None:
            region = Region("rounds of a loop that threads share", _numbers(own), False)
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
        block = Block(slot, loop.lanes)
        body, flush = self.body(loop.body, block), self.body(loop.flush, None)
        partial = {s.partial.number for s, _ in statements(loop.flush) if isinstance(s, Flush)}
        inside = _touched([loop]) - partial
        of_block = [m for n, m in self.memories.items() if m.in_lanes and n in inside]
        full = loop.extent if loop.again else loop.extent // loop.lanes * loop.lanes
        between = max(loop.flush_blocks, 1) * loop.lanes

        def one(begin: int, extent: int) -> None:
            block.begin, block.extent = begin, extent
            block.region = Region("points of a block", set(), True)
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
        return self._chunks(loop, blocks, partial)

    def _chunks(
        self, loop: Loop, blocks: Callable[[int, int, bool], None], partial: set[int]
    ) -> Thunk:
        """Chunks of blocks, each with arrays of its own and partial sums that begin at 0."""
        assert loop.chunk is not None
        own, chunk_slot = self._private(loop), self.slot(loop.chunk)

        def chunks() -> None:
            region = Region("chunks that threads share", _numbers(own), False)
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


def _numbers(memories: Iterable[Memory]) -> set[int]:
    return {m.buffer.number for m in memories}


def _touched(body: Sequence[Any], without: Loop | None = None) -> set[int]:
    """The numbers of all buffers that statements name or load."""
    found: set[int] = set()
    for s, _, around in walk(body):
        if s is not without and all(outer is not without for outer, _ in around):
            found.update(b.number for b in s.named())
            found.update(access.buffer for access in s.reads)
    return found
