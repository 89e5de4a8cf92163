"""Small changes to a loop program, nearly each of which makes it wrong, by kind.

A mutant takes a program and a random generator, and gives another program, or None if it found
nothing to change. A verifier, or an interpreter, that no longer notices as many has got
worse: see tests/test_verify.py.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from support.by_hand import changed, edited, with_buffer, without
from symgrad.expr.node import Expr, bind, const
from symgrad.expr.walk import substitute, toposort
from symgrad.lower.access import accesses
from symgrad.lower.cpu import Flush, Lanes
from symgrad.lower.program import Program, bodies_of, replaced, statements
from symgrad.lower.scalar import GUARD, LOAD, load_of, loads
from symgrad.lower.statement import Body
from symgrad.lower.statements import Check, Let, Loop, Store

Mutant = Callable[[Program, random.Random], Program | None]


def bodies(program: Program) -> list[Body]:
    """Every list of statements, from the outside in."""
    return bodies_of(program.body)


def loops(program: Program) -> list[Loop]:
    return [s for body in bodies(program) for s in body if isinstance(s, Loop)]


def stores(program: Program) -> list[Store]:
    return [s for s, _ in statements(program.body) if isinstance(s, Store)]


def _one(found: list[Any], rng: random.Random) -> Any:
    return rng.choice(found) if found else None


def _further(index: tuple[Expr, ...], axis: int) -> tuple[Expr, ...]:
    return (*index[:axis], index[axis] + const(1, "int64"), *index[axis + 1 :])


def write_further(program: Program, rng: random.Random) -> Program | None:
    """A store to the next element."""
    s = _one([s for s in stores(program) if s.buffer.kept_axes], rng)
    if s is None:
        return None
    return changed(program, s, index=_further(s.index, rng.choice(s.buffer.kept_axes)))


def read_further(program: Program, rng: random.Random) -> Program | None:
    """A load of the next element."""
    kept = {b.number: b.kept_axes for b in program.buffers}
    found = [
        (s, n)
        for s in stores(program)
        for n in toposort([s.value])
        if n.op is LOAD and kept[n.attrs[0]]
    ]
    if not found:
        return None
    s, n = rng.choice(found)
    index = _further(n.args, rng.choice(kept[n.attrs[0]]))
    (value,) = substitute([s.value], {n: bind(LOAD, *index, attrs=n.attrs)})
    return changed(program, s, value=value)


def guard_dropped(program: Program, rng: random.Random) -> Program | None:
    """A guarded value without its guard."""
    found = [(s, n) for s in stores(program) for n in toposort([s.value]) if n.op is GUARD]
    if not found:
        return None
    s, n = rng.choice(found)
    (value,) = substitute([s.value], {n: n.args[1]})
    return changed(program, s, value=value)


def statement_deleted(program: Program, rng: random.Random) -> Program | None:
    # Without its name, a value is computed where it is used.
    body = _one([[s for s in b if not isinstance(s, Let)] for b in bodies(program) if b], rng)
    return without(program, body[rng.randrange(len(body))]) if body else None


def loop_longer(program: Program, rng: random.Random) -> Program | None:
    loop = _one([l for l in loops(program) if l.stop is None], rng)
    return None if loop is None else changed(program, loop, extent=loop.extent + 1)


def loop_shorter(program: Program, rng: random.Random) -> Program | None:
    loop = _one([l for l in loops(program) if l.stop is None and l.extent > 1], rng)
    return None if loop is None else changed(program, loop, extent=loop.extent - 1)


def adds_become_sets(program: Program, rng: random.Random) -> Program | None:
    """+= becomes =."""
    s = _one([s for s in stores(program) if s.op == "+"], rng)
    return None if s is None else changed(program, s, op="=", partial=None)


def sets_become_adds(program: Program, rng: random.Random) -> Program | None:
    """= becomes +=."""
    s = _one([s for s in stores(program) if s.op == "="], rng)
    return None if s is None else changed(program, s, op="+")


def declared_parallel(program: Program, rng: random.Random) -> Program | None:
    """A loop over sums, or over what all its rounds write, declared free of order."""
    found = []
    for loop in loops(program):
        written = [s for s, _ in statements(loop.body) if isinstance(s, Store)]
        moves = [any(loop.index in toposort([i]) for i in s.index) for s in written]
        fixed = [s for s, m in zip(written, moves, strict=True) if not m and s.buffer.kept_axes]
        if fixed and loop.extent > 1 and not (loop.lanes or loop.simd or loop.shared):
            found.append(loop)
    loop = _one(found, rng)
    return None if loop is None else changed(program, loop, simd=True)


def flush_dropped(program: Program, rng: random.Random) -> Program | None:
    """Where partial sums go to their sum, or where they are zero at first, is gone."""
    partial = {s.partial.number for s in stores(program) if s.partial is not None}
    found = [
        s
        for b in bodies(program)
        for s in b
        if isinstance(s, Flush)
        or getattr(s, "buffer", None) is not None
        and s.buffer.number in partial
    ]
    return without(program, rng.choice(found)) if found else None


def axis_dropped(program: Program, rng: random.Random) -> Program | None:
    """A buffer without one of the axes that it keeps."""
    written = {s.buffer.number for s in stores(program)}
    found = [b for b in program.buffers if b.kept_axes and b.role == "work" and b.number in written]
    b = _one([b for b in found if any(b.shape[a] > 1 for a in b.kept_axes)], rng)
    if b is None:
        return None
    gone = rng.choice([a for a in b.kept_axes if b.shape[a] > 1])
    return with_buffer(program, b, kept_axes=tuple(a for a in b.kept_axes if a != gone))


def array_shorter(program: Program, rng: random.Random) -> Program | None:
    """A buffer of one element less along an axis."""
    used = {s.buffer.number for s in stores(program)}
    found = [b for b in program.buffers if b.role in ("work", "local") and b.number in used]
    b = _one([b for b in found if any(b.shape[a] > 1 for a in b.kept_axes)], rng)
    if b is None:
        return None
    axis = rng.choice([a for a in b.kept_axes if b.shape[a] > 1])
    shape = (*b.shape[:axis], b.shape[axis] - 1, *b.shape[axis + 1 :])
    return with_buffer(program, b, shape=shape)


def home_moved(program: Program, rng: random.Random) -> Program | None:
    """A variable declared in a loop in which it is not used."""
    used = {s.buffer.number for s in stores(program)}
    found = []
    for b in program.buffers:
        if b.role in ("scalar", "work", "block") and b.number in used:
            found += [(b, l.index) for l in loops(program) if not _uses(l, b.number)]
    if not found:
        return None
    b, home = rng.choice(found)
    return with_buffer(program, b, home=home)


def _uses(loop: Loop, number: int) -> bool:
    return any(
        getattr(getattr(s, "buffer", None), "number", None) == number
        for s, _ in statements(loop.body)
    )


def bound_read(program: Program, rng: random.Random) -> Program | None:
    """A loop goes as far as an element says that its rounds set."""
    found = [
        (loop, s)
        for loop in loops(program)
        for s, _ in statements(loop.body)
        if isinstance(s, Store) and s.buffer.dtype == "float64" and loop.stop is None
    ]
    if not found:
        return None
    loop, s = rng.choice(found)
    zeros = [const(0, "int64")] * len(s.buffer.shape)
    stop = bind("minimum", bind("convert", load_of(s.buffer, tuple(zeros)), attrs=("int64",)),
                const(loop.extent, "int64"))  # fmt: skip
    return changed(program, loop, stop=stop)


def value_earlier(program: Program, rng: random.Random) -> Program | None:
    """A value computed before a statement that sets what it loads."""
    found = []
    for body in bodies(program):
        for k, let in enumerate(body):
            if isinstance(let, Let):
                read = {n.attrs[0] for n in loads((let.value,))}
                writers = [s for s in body[:k] if not read.isdisjoint(_written(s))]
                found += [(let, s) for s in writers]
    if not found:
        return None
    let, writer = rng.choice(found)
    before = replace(let, once=False)
    return edited(program, lambda s: [before, s] if s is writer else [] if s is let else None)


def value_unguarded(program: Program, rng: random.Random) -> Program | None:
    """What must not be computed everywhere gets a name outside of its guard."""
    found = [
        (s, n.args[1])
        for s in stores(program)
        for n in toposort([s.value])
        if n.op is GUARD and any(True for _ in loads((n.args[1],)))
    ]
    s, value = _one(found, rng) or (None, None)
    return None if s is None else edited(program, lambda t: [Let(value), t] if t is s else None)


def _written(s: Any) -> set[int]:
    return {access.buffer for access, _ in accesses([s]) if access.writes}


def check_widened(program: Program, rng: random.Random) -> Program | None:
    """An index is checked against a longer axis."""
    s = _one([s for s, _ in statements(program.body) if isinstance(s, Check)], rng)
    return None if s is None else changed(program, s, size=s.size + 1)


def _over_lanes(program: Program) -> list[Lanes]:
    return [s for s, _ in statements(program.body) if isinstance(s, Lanes)]


def lane_array_dropped(program: Program, rng: random.Random) -> Program | None:
    """A value that several loops over lanes take is a variable of the first."""
    lets = [s for s, _ in statements(program.body) if isinstance(s, Let) and s.array is not None]
    s = _one(lets, rng)
    return None if s is None else changed(program, s, array=None)


def lane_array_shorter(program: Program, rng: random.Random) -> Program | None:
    """An array of lanes, or a variable that is one, has one lane too few, or none."""
    b = _one([b for b in program.buffers if b.role == "block"], rng)
    if b is None:
        return None
    fields = rng.choice([dict(lanes=b.lanes - 1), dict(role="scalar")])
    if "role" in fields and not any(s.buffer.number == b.number for s in stores(program)):
        fields = dict(lanes=b.lanes - 1)  # a value with a name
    return with_buffer(program, b, **fields)


def lanes_longer(program: Program, rng: random.Random) -> Program | None:
    """More lanes in vectors than a block has."""
    s = _one(_over_lanes(program), rng)
    return None if s is None else changed(program, s, vectors=(s.vectors[0] + 1, s.vectors[1] + 1))


def lanes_left(program: Program, rng: random.Random) -> Program | None:
    """What a point stores stands in no loop over the lanes."""
    found = [s for s in _over_lanes(program) if any(isinstance(one, Store) for one in s.body)]
    s = _one(found, rng)
    return None if s is None else edited(program, lambda old: s.body if old is s else None)


def lanes_in_any_order(program: Program, rng: random.Random) -> Program | None:
    """Lanes that change one element are a vector."""
    s = _one([s for s in _over_lanes(program) if s.in_order], rng)
    return None if s is None else changed(program, s, in_order=False)


def lanes_joined(program: Program, rng: random.Random) -> Program | None:
    """Lanes that change one element share a loop with what stands before or behind."""
    found = [
        (a, b)
        for body in bodies(program)
        for a, b in itertools.pairwise(body)
        if isinstance(a, Lanes) and isinstance(b, Lanes) and (a.in_order or b.in_order)
    ]
    if not found:
        return None
    a, b = rng.choice(found)
    whole = replace(a, body=(*a.body, *b.body), in_order=rng.choice([False, True]))
    return replace(program, body=replaced(program.body, {id(a): [whole], id(b): []}))


MUTANTS: dict[str, Mutant] = {
    f.__name__: f
    for f in (
        write_further, read_further, guard_dropped, statement_deleted, loop_longer, loop_shorter,
        adds_become_sets, sets_become_adds, declared_parallel, flush_dropped, axis_dropped,
        array_shorter, home_moved, check_widened, bound_read, value_earlier, value_unguarded,
        lane_array_dropped, lane_array_shorter, lanes_longer, lanes_left, lanes_in_any_order,
        lanes_joined,
    )
}  # fmt: skip
# Which rules notice and runs do not: the interpreter takes one lane after the other.
STATIC = ("lane_array_dropped", "lanes_longer", "lanes_left", "lanes_in_any_order", "lanes_joined")
