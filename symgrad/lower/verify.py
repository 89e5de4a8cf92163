"""Rules that every loop program keeps, checked one by one without running it.

`verify` says where a program may read or write beside its arrays, read what nobody has written, use
a variable outside its loop, or let two rounds of a loop meet that may run at the same time. It is
for whoever changes the passes of `lower`: tests run it behind every pass, and so does a process
with SYMGRAD_VERIFY=1 in its environment, for each function that is not in the cache. What it cannot
prove is a fault: there is no "perhaps".
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from symgrad.errors import InternalError
from symgrad.expr.node import CONST, Expr, const_value
from symgrad.expr.walk import toposort
from symgrad.lower.access import accesses_of
from symgrad.lower.bounds import Bounds, Facts, Form, constant, plus
from symgrad.lower.program import Program, statements
from symgrad.lower.scalar import INDEX, LOAD, loads
from symgrad.lower.statements import (
    Access,
    Best,
    Buffer,
    Check,
    Flush,
    Loop,
    Mode,
    Store,
    is_flat,
    values,
)
from symgrad.lower.tuning import HOST_TUNING, Tuning

ENABLED = os.environ.get("SYMGRAD_VERIFY") == "1"  # behind every pass; tests/conftest.py sets it
_READ_ONLY = ("in", "data", "constant")
_GIVEN = (*_READ_ONLY, "out")
_SPELLED = 40  # nodes of an index that a message spells out
_MOST_FAULTS = 5  # that one message names


@dataclass(frozen=True)
class Fault:
    """A rule that a program breaks, the pass of `lower` behind which it does, and where."""

    rule: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}, after {self.after}: {self.text}"


@dataclass(frozen=True)
class _Place:
    """An access, the statement that makes it, the loops around, and its position in the text."""

    access: Access
    statement: Any
    path: tuple[Loop, ...]
    position: int


class _Program:
    """A program with what several rules ask for."""

    def __init__(self, program: Program, tuning: Tuning) -> None:
        self.program, self.tuning = program, tuning
        self.placed = program.workspace_bytes >= 0
        self.buffers = {b.number: b for b in program.buffers}
        self.bounds = Bounds(program.body, self.buffers)
        self.leaves = list(statements(program.body))
        self.places = [
            _Place(access, s, path, position)
            for position, (s, path) in enumerate(self.leaves)
            for access in accesses_of(s)
        ]
        self.of_buffer: dict[int, list[_Place]] = {}
        for place in self.places:
            self.of_buffer.setdefault(place.access.buffer, []).append(place)
        self.loops = list(_loops(program.body))
        self.partial = {s.partial.number for s, _ in self.leaves if _has_partial(s)}

    def name(self, place: _Place) -> str:
        """An access in words."""
        a, b = place.access, self.buffers[place.access.buffer]
        index = ", ".join(_spelled(i, self.buffers) for i in a.index)
        around = "".join(f" in i{loop.index.attrs[0]}" for loop in place.path)
        kind = type(place.statement).__name__
        return f"{a.mode.value} {b.name}[{index}] ({b.dtype}{list(b.shape)}) by {kind}{around}"

    def axes(self, access: Access) -> Iterator[tuple[int, Expr, Expr | int, int]]:
        """Each axis in memory that an access has: its number, first element, count and length."""
        buffer, box = self.buffers[access.buffer], dict(access.box)
        for a in buffer.kept_axes:
            yield a, access.index[a], box.get(a, 1), buffer.shape[a]


def _has_partial(s: Any) -> bool:
    return isinstance(s, Store) and s.partial is not None


def _loops(body: list[Any]) -> Iterator[tuple[Loop, tuple[Loop, ...]]]:
    """Every loop with those around it; what is flushed by a loop stands outside of it."""
    stack: list[tuple[Any, tuple[Loop, ...]]] = [(s, ()) for s in reversed(body)]
    while stack:
        s, path = stack.pop()
        if isinstance(s, Loop):
            yield s, path
            stack += [(inner, path) for inner in reversed(s.flush)]
            stack += [(inner, (*path, s)) for inner in reversed(s.body)]


def verify(program: Program, after: str = "lower", tuning: Tuning = HOST_TUNING) -> list[Fault]:
    """The rules that a program breaks; `after` is the name of the pass that made it what it is."""
    known = _Program(program, tuning)
    found = [Fault("form", after, text) for text in _form(known)]
    if found:  # the other rules take it for granted
        return found
    return [Fault(rule, after, text) for rule, texts in RULES.items() for text in texts(known)]


def after(name: str, program: Program, tuning: Tuning) -> None:
    """Behind a pass: InternalError if the program breaks a rule. Nothing happens unless ENABLED."""
    if ENABLED:
        faults = verify(program, name, tuning)
        if faults:
            texts = "\n  ".join(map(str, faults[:_MOST_FAULTS]))
            raise InternalError(
                f"symgrad made a loop program that is wrong ({len(faults)} faults). Please report "
                f"this mistake of symgrad with the function that was compiled.\n  {texts}"
            )


# ---- form and scope ------------------------------------------------------------------------------


def _form(p: _Program) -> Iterator[str]:
    """Indices have an entry for each axis, buffers are those of the program, loops make sense."""
    for loop, _ in p.loops:
        if loop.extent < 0 or loop.step < 1 or loop.lanes < 0 or loop.lanes > max(loop.extent, 0):
            yield f"loop i{loop.index.attrs[0]}: extent {loop.extent}, step, or lanes {loop.lanes}"
        if (loop.lanes or loop.chunks) and not loop.is_plain:
            yield f"loop i{loop.index.attrs[0]} has lanes and a start, a stop or a step"
    for place in p.places:
        a = place.access
        buffer = p.buffers.get(a.buffer)
        if buffer is None:
            yield f"no buffer has number {a.buffer}"
        elif len(a.index) != len(buffer.shape):
            yield f"{p.name(place)}: {len(a.index)} indices for {len(buffer.shape)} axes"
        elif any(i.dtype != "int64" for i in a.index):
            yield f"{p.name(place)}: an index that is no int64"
        elif a.writes and buffer.role in _READ_ONLY:
            yield f"{p.name(place)}: nobody may write there"
    for s, _ in p.leaves:
        for node in loads(values(s)):
            if node.dtype != p.buffers[node.attrs[0]].dtype:
                yield f"load of {p.buffers[node.attrs[0]].name} as {node.dtype}"


def _scope(p: _Program) -> Iterator[str]:
    """Loop variables are used inside their loops only, and a buffer where it is declared."""
    for loop, path in p.loops:
        bounds = [e for e in (loop.start, loop.stop) if e is not None]
        yield from _unbound(bounds, path, f"bounds of i{loop.index.attrs[0]}")
        if any(outer.index is loop.index for outer in path):
            yield f"loop i{loop.index.attrs[0]} inside a loop over the same variable"
    chunks = {loop.chunk for loop, _ in p.loops if loop.chunk is not None}
    for s, path in p.leaves:  # what is flushed stands in the chunk
        yield from _unbound(values(s), path, type(s).__name__, chunks if type(s) is Flush else ())
    bodies: dict[int, tuple[Loop, ...]] = {id(p.program.body): ()}
    for loop, path in p.loops:
        bodies[id(loop.body)] = (*path, loop)
    for number, places in p.of_buffer.items():
        buffer = p.buffers[number]
        home: tuple[Loop, ...] | None = ()
        if buffer.home is not None and buffer.role not in _GIVEN:
            home = bodies.get(id(buffer.home))
        if home is None:
            yield f"{buffer.name} has a home that is no body of the program"
            continue
        if buffer.role == "scalar":  # C declares it where it is set first
            home = max(home, next((q.path for q in places if q.access.writes), ()), key=len)
        outside = [q for q in places if q.path[: len(home)] != home]
        if outside:
            yield f"{p.name(outside[0])}: outside of the body that declares it"
        around = {loop.index for loop in home}
        for axis in set(range(len(buffer.shape))) - set(buffer.kept_axes):
            entries = {q.access.fixed.get(axis) for q in places}
            if len(entries) > 1 or not entries <= around:
                yield f"{buffer.name} does not keep axis {axis}, where it has several elements"


def _unbound(
    exprs: Sequence[Expr], path: Sequence[Loop], what: str, more: Collection[Expr] = ()
) -> Iterator[str]:
    around = {loop.index for loop in path}
    for n in toposort(exprs):
        if n.op is INDEX and n not in around and n not in more:
            yield f"{what}: i{n.attrs[0]} is used outside of its loop"


def _rounds(p: _Program) -> Iterator[str]:
    """A loop with a start or a stop has no more rounds than it says."""
    for loop, path in p.loops:
        if loop.stop is None:
            continue
        start = constant(0) if loop.start is None else p.bounds.form(loop.start)
        most = plus(start, constant(loop.extent))
        if not any(
            p.bounds.holds(plus(most, end, -1), path, frozenset()) for end in p.bounds.ends(loop)
        ):
            yield f"loop i{loop.index.attrs[0]}: more than {loop.extent} rounds"


# ---- range ---------------------------------------------------------------------------------------


def _range(p: _Program) -> Iterator[str]:
    """Every access stays inside every axis of its buffer."""
    for place in _in_order(p):
        a, buffer = place.access, p.buffers[place.access.buffer]
        facts = p.bounds.facts(a.when)
        if a.run is not None:
            last = plus(_flat(p, a), constant(a.run))
            room = plus(constant(math.prod(buffer.shape)), last, -1)
            ok = p.bounds.holds(_flat(p, a), place.path, facts)
            if not (ok and p.bounds.holds(room, place.path, facts)):
                yield f"{p.name(place)}: {a.run} elements from there, of {buffer.size}"
            continue
        for axis, first, count, length in p.axes(a):
            yield from _beyond(p, place, facts, axis, first, count, length)
        for axis, count in a.box:
            if axis == len(buffer.shape) and count != buffer.lanes:
                yield f"{p.name(place)}: {count} lanes of {buffer.lanes}"


def _in_order(p: _Program) -> Iterator[_Place]:
    """The accesses in the order of the text, with what has been checked before each."""
    checks = [(k, s, path) for k, (s, path) in enumerate(p.leaves) if isinstance(s, Check)]
    for place in p.places:
        while checks and checks[0][0] < place.position:
            _, s, path = checks.pop(0)
            p.bounds.add_check(s, path)
        yield place
    for _, s, path in checks:
        p.bounds.add_check(s, path)


def _beyond(
    p: _Program,
    place: _Place,
    facts: Facts,
    axis: int,
    first: Expr,
    count: Expr | int,
    length: int,
) -> Iterator[str]:
    if first.op is INDEX and count == 1:  # nearly all
        low, high = p.bounds.interval(first)
        if low >= 0 and high < length:
            return
    form = p.bounds.form(first)
    size = p.bounds.form(count)
    room = plus(plus(constant(length), form, -1), size, -1)
    holds = p.bounds.holds
    if _is_empty(place):
        return
    if holds(form, place.path, facts) and holds(room, place.path, facts):
        return
    low, high = p.bounds.span(form)
    last = p.bounds.span(plus(form, size))[1] - 1
    guards = f" where {', '.join(_spelled(c, p.buffers) for c in place.access.when)}"
    yield (
        f"{p.name(place)}: axis {axis} of length {length} is reached from {low:g} to "
        f"{max(last, high):g}{guards if place.access.when else ''}"
    )


def _is_empty(place: _Place) -> bool:
    """Whether the statement is never reached: a loop around it has no rounds."""
    return any(loop.extent == 0 for loop in place.path)


def _flat(p: _Program, a: Access) -> Form:
    """How many elements into its buffer an access begins."""
    total = constant(0)
    for first, n in zip(a.index, p.buffers[a.buffer].shape, strict=True):
        total = plus(p.bounds.form(first), total, n)
    return total


# ---- init ----------------------------------------------------------------------------------------


def _init(p: _Program) -> Iterator[str]:
    """What is read has been written before: somewhere in what all writes before reach together.

    Results are read by the caller. A value that the round before has left counts if the read is
    guarded against the first round.
    """
    written: dict[int, dict[int, tuple[float, float]]] = {}
    everywhere: dict[int, dict[int, tuple[float, float]]] = {}
    for place in p.places:
        if place.access.mode is Mode.WRITE:
            _extend(p, everywhere, place)
    zeroed = {
        s.partial.number
        for loop, _ in p.loops
        if loop.chunks
        for s, _ in statements(loop.flush)
        if isinstance(s, Flush)
    }
    for place in p.places:
        a, buffer = place.access, p.buffers[place.access.buffer]
        if buffer.role in _READ_ONLY or buffer.number in zeroed:
            continue
        if a.mode is not Mode.WRITE:
            reach = (everywhere if a.when and place.path else written).get(a.buffer)
            if reach is None:
                if not _is_empty(place):
                    yield f"{p.name(place)}: nothing has been written there"
            else:
                yield from _unwritten(p, place, reach)
        if a.mode is Mode.WRITE:
            _extend(p, written, place)
    for b in p.program.outputs:
        for axis, n in enumerate(b.shape if b.size else ()):
            low, high = written.get(b.number, {}).get(axis, (0, -1))
            if low > 0 or high < n - 1:
                yield f"result {b.name}: of axis {axis}, only {low:g} to {high:g} has been written"
        if not b.shape and b.number not in written:
            yield f"result {b.name}: nothing has been written there"


def _extend(p: _Program, reach: dict[int, Any], place: _Place) -> None:
    mine = reach.setdefault(place.access.buffer, {})
    for axis, first, count, length in p.axes(place.access):
        low, high = p.bounds.interval(first)
        high += (count if isinstance(count, int) else p.bounds.interval(count)[1]) - 1
        old = mine.get(axis, (math.inf, -math.inf))
        mine[axis] = min(old[0], max(low, 0)), max(old[1], min(high, length - 1))
    if place.access.run is not None:
        mine.update({a: (0, n - 1) for a, n in enumerate(p.buffers[place.access.buffer].shape)})


def _unwritten(p: _Program, place: _Place, reach: dict[int, Any]) -> Iterator[str]:
    facts = p.bounds.facts(place.access.when)
    for axis, first, count, length in p.axes(place.access):
        low, high = reach[axis]
        if (low <= 0 and high >= length - 1) or place.access.run is not None:
            continue  # that it is inside the axis is a rule of its own
        form = p.bounds.form(first)
        room = plus(plus(constant(int(high) + 1) if high >= low else constant(0), form, -1),
                    p.bounds.form(count), -1)  # fmt: skip
        below = plus(form, constant(-int(low) if high >= low else 0))
        holds = p.bounds.holds
        if not (holds(below, place.path, facts) and holds(room, place.path, facts)):
            if not _is_empty(place):
                yield f"{p.name(place)}: of axis {axis}, only {low:g} to {high:g} has been written"


# ---- races ---------------------------------------------------------------------------------------


def _races(p: _Program) -> Iterator[str]:
    """Rounds that may run at the same time, or in an order other than the text's, never meet."""
    for loop, path in p.loops:
        kinds = [
            name
            for name, is_so in (
                ("simd", loop.simd),
                ("shared", loop.shared),
                ("chunks", bool(loop.chunks)),
                ("lanes", bool(loop.lanes)),
            )
            if is_so
        ]
        if kinds and loop.extent > loop.step:
            yield from _meetings(p, loop, path, kinds)


def _meetings(p: _Program, loop: Loop, path: tuple[Loop, ...], kinds: list[str]) -> Iterator[str]:
    inside = (*path, loop)
    mine: dict[int, list[_Place]] = {}
    last = {id(s) for s, _ in statements(loop.body[len(loop.body) - loop.in_order :])}
    last &= {id(s) for s, _ in statements(loop.body)} if loop.in_order else set()
    for place in p.places:
        if place.path[: len(inside)] == inside and not _is_empty(place):
            mine.setdefault(place.access.buffer, []).append(place)
    for number, places in mine.items():
        writers = [place for place in places if place.access.writes]
        if not writers or _is_private(p, number, loop, kinds):
            continue
        if kinds == ["lanes"] and _only_adds(places):
            continue
        for a, b in itertools.product(writers, places):
            ordered = id(a.statement) in last and id(b.statement) in last
            if not ordered and not _are_apart(p, a, b, loop, len(inside)):
                yield (
                    f"{p.name(a)} meets {p.name(b)} in another round of i{loop.index.attrs[0]}"
                    f" ({', '.join(kinds)})"
                )
                break


def _is_private(p: _Program, number: int, loop: Loop, kinds: list[str]) -> bool:
    """Whether each round has a buffer of its own."""
    buffer = p.buffers[number]
    if buffer.role in ("own", "member") and not {"shared", "chunks"}.isdisjoint(kinds):
        return True
    if loop.chunks and buffer.kept_axes:
        return False
    if loop.lanes and buffer.lanes and number in p.partial:
        return not loop.chunks
    variable = not buffer.kept_axes and (buffer.role == "scalar" or not p.placed)
    private = loop.lanes and buffer.lanes or variable
    return bool(private) and buffer.role not in _GIVEN and _declared_in(p, buffer, loop)


def _declared_in(p: _Program, buffer: Buffer, loop: Loop) -> bool:
    homes = {id(loop.body)}
    for inner, _ in _loops(loop.body):
        homes.add(id(inner.body))
    return id(buffer.home) in homes


def _only_adds(places: Sequence[_Place]) -> bool:
    """Whether a buffer is only added to, in one way: then the order of points is kept."""
    ops = {p.statement.op for p in places if isinstance(p.statement, Store) and p.access.writes}
    return len(ops) == 1 and all(p.access.mode is Mode.ADD for p in places)


def _are_apart(p: _Program, a: _Place, b: _Place, loop: Loop, depth: int) -> bool:
    """Whether two accesses never touch one element in different rounds of a loop."""
    if a.access.run is not None or b.access.run is not None:
        return _runs_are_apart(p, a, b, loop)
    buffer, index = p.buffers[a.access.buffer], a.access.index
    if index == b.access.index and is_flat(buffer, index, loop.index):
        return True
    sides = zip(p.axes(a.access), p.axes(b.access), strict=True)
    for (_, first, count, _), (_, other, other_count, _) in sides:
        one = _moved(p, p.bounds.form(first), loop, a.path[depth:])
        two = _moved(p, p.bounds.form(other), loop, b.path[depth:])
        if one is not None and two is not None and one.step == two.step and one.same == two.same:
            room = abs(one.step) * loop.step - 1
            if one.ends_by(p, count, room + two.least(p), a.path) and two.ends_by(
                p, other_count, room + one.least(p), b.path
            ):
                return room >= 0
        low, high = p.bounds.interval(first)
        other_low, other_high = p.bounds.interval(other)
        if high + _most(p, count) <= other_low or other_high + _most(p, other_count) <= low:
            return True
    return False


def _most(p: _Program, count: Expr | int) -> float:
    return count if isinstance(count, int) else p.bounds.interval(count)[1]


@dataclass(frozen=True)
class _Moved:
    """An index as step * variable + what is the same in all rounds + the rest + what inner loops
    that go on where the variable has come to add: at least 0 and at most `further`."""

    step: int
    same: frozenset[tuple[Expr, int]]
    rest: Form
    further: float

    def least(self, p: _Program) -> float:
        return p.bounds.least(self.rest)

    def ends_by(self, p: _Program, count: Expr | int, limit: float, path: tuple[Loop, ...]) -> bool:
        """Whether the rest, `count` elements from there, is never beyond a limit."""
        left = limit - self.further + 1
        if math.isinf(left):
            return False
        room = plus(plus(constant(int(left)), self.rest, -1), p.bounds.form(count), -1)
        return p.bounds.holds(room, path, frozenset())


def _moved(p: _Program, form: Form, loop: Loop, inner: Sequence[Loop]) -> _Moved | None:
    """How an index moves with the variable of a loop; `inner` are the loops inside of it."""
    further = 0.0
    for one in reversed(inner):
        c = dict(form[1]).get(one.index, 0)
        start = constant(0) if one.start is None else p.bounds.form(one.start)
        if not c or loop.index not in dict(start[1]):
            continue
        if c < 0:
            return None
        rounds = min(-p.bounds.least(plus(start, end, -1)) for end in p.bounds.ends(one))
        further += c * ((rounds - 1) // one.step * one.step)
        form = plus(plus(form, (0, frozenset({(one.index, 1)})), -c), start, c)
    inside = {one.index for one in inner}
    same, rest = set(), constant(form[0])
    for atom, c in form[1]:
        nodes = toposort([atom])
        if atom is not loop.index and loop.index in nodes:
            return None
        if any(n in inside or n.op is LOAD for n in nodes):
            rest = plus(rest, (0, frozenset({(atom, 1)})), c)
        elif atom is not loop.index:
            same.add((atom, c))
    return _Moved(dict(form[1]).get(loop.index, 0), frozenset(same), rest, further)


def _runs_are_apart(p: _Program, a: _Place, b: _Place, loop: Loop) -> bool:
    """Of rows in memory: those of different points, if each is no longer than a row."""
    for place in (a, b):
        shape = p.buffers[place.access.buffer].shape
        if place.access.run is None or place.access.index[0] is not loop.index:
            return False
        if any(p.bounds.interval(i) != (0, 0) for i in place.access.index[1:]):
            return False
        if place.access.run > math.prod(shape[1:]):
            return False
    return True


def _twice(p: _Program) -> Iterator[str]:
    """Where points are computed twice, what they set does not depend on how often that is done."""
    for loop, path in p.loops:
        if not loop.again:
            continue
        inside = (*path, loop)
        written = {
            q.access.buffer: q
            for q in p.places
            if q.access.writes and q.path[: len(inside)] == inside
        }
        for number, place in written.items():
            if p.buffers[number].lanes and number not in p.partial:
                continue
            if place.access.mode is Mode.ADD or isinstance(place.statement, Best):
                yield f"{p.name(place)}: the last block of lanes does it twice for some points"
            for other in p.of_buffer[number]:
                if not other.access.writes and other.path[: len(inside)] == inside:
                    yield f"{p.name(other)}: set by points that are computed twice"


# ---- space ---------------------------------------------------------------------------------------


def _space(p: _Program) -> Iterator[str]:
    """Stack arrays are small, and arrays that are in use together lie apart in the workspace."""
    local = [b for b in p.program.buffers if b.role == "local"]
    total = sum(b.nbytes for b in local)
    if total > p.tuning.all_locals_bytes:
        yield f"{total} bytes of arrays on the stack, {p.tuning.all_locals_bytes} at most"
    for b in local:
        if b.nbytes > p.tuning.local_bytes:
            yield f"{b.name}: {b.nbytes} bytes on the stack, {p.tuning.local_bytes} at most"
    if p.program.workspace_bytes < 0:
        return  # no place is chosen yet
    tops = {id(s): k for k, s in enumerate(p.program.body)}
    used: dict[int, set[int]] = {}
    for top in p.program.body:
        for s, _ in statements([top]):
            for a in accesses_of(s):
                used.setdefault(a.buffer, set()).add(tops[id(top)])
        if isinstance(top, Loop) and top.team is not None:
            used.setdefault(top.team.number, set()).add(tops[id(top)])
    placed = [b for b in p.program.buffers if b.role == "work" and b.number in used]
    for b in placed:
        if b.offset + b.nbytes > p.program.workspace_bytes:
            yield f"{b.name}: beyond the end of the workspace"
    for a, b in itertools.combinations(sorted(placed, key=lambda b: b.offset), 2):
        if a.offset + a.nbytes > b.offset and a.nbytes and b.nbytes:
            one, two = used[a.number], used[b.number]
            if min(one) <= max(two) and min(two) <= max(one):
                yield f"{a.name} and {b.name} are in use together and share memory"


# ---- text ----------------------------------------------------------------------------------------


def _spelled(e: Expr, buffers: dict[int, Buffer]) -> str:
    """An index expression for a message; long ones are cut."""
    if len(toposort([e])) > _SPELLED:
        return "…"
    if e.op is INDEX:
        return f"i{e.attrs[0]}"
    if e.op is CONST:
        return str(const_value(e))
    parts = [_spelled(a, buffers) for a in e.args]
    if e.op is LOAD:
        return f"{buffers[e.attrs[0]].name}[{', '.join(parts)}]"
    infix = e.op.c is not None and _INFIX.fullmatch(e.op.c)
    return f"({e.op.c.format(*parts)})" if infix else f"{e.name}({', '.join(parts)})"


_INFIX = re.compile(r"\{0\} \S+ \{1\}")

RULES: dict[str, Callable[[_Program], Iterator[str]]] = {
    "scope": _scope,
    "rounds": _rounds,
    "range": _range,
    "init": _init,
    "races": _races,
    "twice": _twice,
    "space": _space,
}
