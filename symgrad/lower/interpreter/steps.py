"""What each kind of statement does, as a step of the machine."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.expr.op import OPS
from symgrad.lower.cpu import (
    PANEL_ROWS,
    Fetch,
    Flush,
    Gemm,
    Merge,
    Panels,
    Powers,
    Rows,
    Tiles,
    Turns,
)
from symgrad.lower.interpreter.memory import Index, Memory, Stop, Thunk
from symgrad.lower.statement import Matrix, Mode
from symgrad.lower.statements import Best, Call, Check, Fail, Let, Sines, Store, Zero
from symgrad.lower.straight import TILE
from symgrad.ops.linalg import CALLS

if TYPE_CHECKING:
    from symgrad.lower.interpreter.machine import Machine


def _store(m: Machine, s: Store) -> Thunk:
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


def _let(m: Machine, s: Let) -> Thunk:
    """Statements compiled behind it take the value as it was found last."""
    tape, found = m.tape(s.given), {}
    if s.array is not None:
        memory = m.names[s.value] = m.memory(s.array)
        return lambda: memory.write((), tape()[0], m.lane)

    def run() -> None:
        found[m.lane] = tape()[0]

    m.names[s.value] = found
    return run


_COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "*": operator.mul,
    "max": lambda old, new: new if new > old or new != new else old,
    "min": lambda old, new: new if new < old or new != new else old,
    "&&": lambda old, new: old and new,
    "||": lambda old, new: old or new,
}


def _zero(m: Machine, s: Zero) -> Thunk:
    memory, at = m.memory(s.buffer), m.at(s.index)

    def run() -> None:
        for index in memory.behind(at()):
            for lane in range(memory.width):
                memory.write(index, 0, lane)

    return run


def _together(m: Machine, *parts: Iterator[Index] | None) -> Iterator[tuple[Any, ...]]:
    """Parts of arrays element by element; None for an array that there is not."""
    lists = [None if p is None else list(p) for p in parts]
    sizes = [len(p) for p in lists if p is not None]
    if len(set(sizes)) > 1:
        m.fault("sizes", f"sizes: {sizes} elements, which should be as many")
    return zip(*(itertools.repeat(None) if p is None else p for p in lists), strict=False)


def _flush(m: Machine, s: Flush) -> Thunk:
    buffer, partial = m.memory(s.buffer), m.memory(s.partial)
    carry = None if s.carry is None else m.memory(s.carry)
    index, at = m.at(s.index), m.at(s.at)

    def run() -> None:
        parts = buffer.behind(index()), partial.behind(at())
        for to, source, lost in _together(m, *parts, None if carry is None else carry.behind(())):
            total = partial.scalar(0)
            for lane in range(partial.width):
                total = total + partial.read(source, lane, Mode.ADD)
            before = _added(buffer, to, total)
            new = before + total
            if carry is not None and np.isfinite(new):
                carry.add(lost, _rounded(before, total, new))
            for lane in range(partial.width):
                partial.write(source, 0, lane, Mode.ADD)

    return run


def _added(buffer: Memory, to: Index, x: Any) -> Any:
    """Element += x; what it was."""
    before: list[Any] = []

    def change(old: Any) -> Any:
        before.append(old)
        return old + x

    buffer.change(to, change)
    return before[0]


def _rounded(old: Any, x: Any, new: Any) -> Any:
    """What is lost in new = old + x."""
    part = new - old
    return (old - (new - part)) + (x - part)


def _merge(m: Machine, s: Merge) -> Thunk:
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
    buffer: Memory, to: Index, carry: Memory | None, lost: Index, x: Any, begins: bool
) -> None:
    """Element = x, or += x with what that rounds away."""
    if begins:
        buffer.write(to, x)
        if carry is not None:
            carry.write(lost, 0)
        return
    before = _added(buffer, to, x)
    if carry is not None:
        carry.add(lost, _rounded(before, x, before + x))


def _best(m: Machine, s: Best) -> Thunk:
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


def _check(m: Machine, s: Check) -> Thunk:
    value = m.number(s.value)

    def run() -> None:
        if not -s.size <= value() < s.size:
            raise Stop(1)

    return run


def _fail(m: Machine, s: Fail) -> Thunk:
    condition = m.number(s.condition)

    def run() -> None:
        if condition():
            raise Stop(s.status)

    return run


def _call(m: Machine, s: Call) -> Thunk:
    operands = [(m.memory(b), m.at(index)) for b, index in s.operands]
    target, at = m.memory(s.target[0]), m.at(s.target[1])
    (name,) = (name for name, spec in CALLS.items() if spec.template == s.template)
    attrs = tuple(bool(flag) for flag in s.flags)

    def matrix(memory: Memory, index: Index) -> np.ndarray:
        shape = memory.buffer.shape[len(index) :]
        elements = [memory.read(i) for i in memory.behind(index)]
        return np.array(elements, dtype=memory.buffer.dtype).reshape(shape)

    def run() -> None:
        arrays = [matrix(memory, index()) for memory, index in operands]
        try:
            result = np.asarray(OPS[name].evaluate(*arrays, *attrs))
        except np.linalg.LinAlgError:
            raise Stop(2) from None
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


def _in_panels(panels: Memory, position: int, k: int) -> Index:
    """Where panels, or rows in their place, have an element of a row or column."""
    shape = panels.buffer.shape
    if len(shape) == 2:
        return position, k
    return position // shape[2], k, position % shape[2]


def _panels(m: Machine, s: Panels) -> Thunk:
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


def _tiles(m: Machine, s: Tiles) -> Thunk:
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


def _gemm(m: Machine, s: Gemm) -> Thunk:
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


def _rows(m: Machine, s: Rows) -> Thunk:
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


def _turns(m: Machine, s: Turns) -> Thunk:
    """As the C does without fused multiply-add: sin_turned is then the sine of the rest."""
    angles, rests, quarters = m.memory(s.angles), m.memory(s.rests), m.memory(s.quarters)

    def run() -> None:
        for index in angles.behind(()):
            for lane in _all_lanes(m):
                rests.write(index, angles.read(index, lane), lane)
                quarters.write(index, 0, lane)

    return run


def _sines(m: Machine, s: Sines) -> Thunk:
    angles, sines, cosines = m.memory(s.angles), m.memory(s.sines), m.memory(s.cosines)

    def run() -> None:
        for index in angles.behind(()):
            angle = angles.read(index, m.lane)
            sines.write(index, np.sin(angle), m.lane)
            cosines.write(index, np.cos(angle), m.lane)

    return run


def _all_lanes(m: Machine) -> Iterator[int]:
    """Those that one call of C takes: as many as their arrays have room for."""
    assert m.block is not None
    if m.block.extent != m.block.lanes:
        m.fault("lanes", f"lanes: {m.block.extent} of {m.block.lanes} in a statement of all")
    for lane in range(m.block.lanes):
        m.block.region.round = lane
        yield lane


def _powers(m: Machine, s: Powers) -> Thunk:
    bases, results = m.memory(s.bases), m.memory(s.results)
    exponent = np.float64(s.exponent)

    def run() -> None:
        for index in bases.behind(()):
            for lane in _all_lanes(m):
                results.write(index, np.power(bases.read(index, lane), exponent), lane)

    return run


def _fetch(m: Machine, s: Fetch) -> Thunk:
    """Addresses only, but of what is there."""
    size = s.buffer.size

    def run() -> None:
        assert m.block is not None
        end = (m.block.begin + m.block.extent) * s.elements
        if end > size:
            m.fault("outside", f"outside: fetch {s.buffer.name} up to {end} of {size} elements")

    return run


STEPS: dict[type, Callable[[Machine, Any], Thunk]] = {
    Best: _best, Call: _call, Check: _check, Fail: _fail, Fetch: _fetch, Flush: _flush, Gemm: _gemm,
    Let: _let, Merge: _merge, Panels: _panels, Powers: _powers, Rows: _rows, Sines: _sines,
    Store: _store, Tiles: _tiles, Turns: _turns, Zero: _zero,
}  # fmt: skip
