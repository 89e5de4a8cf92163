"""Rules: rounds that may run at the same time never meet, nor points that are computed twice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from symgrad.expr.node import Expr
from symgrad.expr.walk import toposort
from symgrad.lazy import dataclass
from symgrad.lower.cpu import Lanes
from symgrad.lower.forms import Form, constant, plus
from symgrad.lower.program import bodies_of, statements
from symgrad.lower.scalar import LOAD
from symgrad.lower.statement import Buffer, Mode, is_flat
from symgrad.lower.statements import ACCUMULATING, Best, Loop, Store
from symgrad.lower.verifier.ranges import is_empty
from symgrad.lower.verifier.view import GIVEN, Place, View


def races(p: View) -> Iterator[str]:
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
            yield from meetings(p, loop, path, kinds)


def meetings(
    p: View, loop: Loop, path: tuple[Loop, ...], kinds: list[str], within: Lanes | None = None
) -> Iterator[str]:
    """Where rounds of a loop meet; only in a loop over its lanes, if one is given."""
    inside = (*path, loop)
    mine: dict[int, list[Place]] = {}
    last = {id(s) for s, _ in statements(loop.body[len(loop.body) - loop.in_order :])}
    last &= {id(s) for s, _ in statements(loop.body)} if loop.in_order else set()
    for place in p.places:
        here = within is None or any(s is within for s, _ in place.around)
        if here and place.path[: len(inside)] == inside and not is_empty(place):
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


def _is_private(p: View, number: int, loop: Loop, kinds: list[str]) -> bool:
    """Whether each round has a buffer of its own."""
    buffer = p.buffers[number]
    if buffer.role in ("own", "member", "block") and not {"shared", "chunks"}.isdisjoint(kinds):
        return True
    if loop.chunks and buffer.kept_axes:
        return False
    if loop.lanes and buffer.lanes and number in p.partial:
        return not loop.chunks
    variable = not buffer.kept_axes and (buffer.role == "scalar" or not p.placed)
    private = loop.lanes and buffer.lanes or variable
    return bool(private) and buffer.role not in GIVEN and _declared_in(p, buffer, loop)


def _declared_in(p: View, buffer: Buffer, loop: Loop) -> bool:
    inside = [s.index for body in bodies_of([loop]) for s in body if isinstance(s, Loop)]
    return buffer.home is not None and buffer.home in inside


def _only_adds(places: Sequence[Place]) -> bool:
    """Whether a buffer is only added to, in one way: then the order of points is kept."""
    ops = {p.statement.op for p in places if isinstance(p.statement, Store) and p.access.writes}
    return len(ops) == 1 and all(p.access.mode is Mode.ADD for p in places)


def _are_apart(p: View, a: Place, b: Place, loop: Loop, depth: int) -> bool:
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
        if high + most_of(p, count) <= other_low or other_high + most_of(p, other_count) <= low:
            return True
    return False


def most_of(p: View, count: Expr | int) -> float:
    return count if isinstance(count, int) else p.bounds.interval(count)[1]


@dataclass(frozen=True)
class _Moved:
    """An index as step * variable + what is the same in all rounds + the rest + what inner loops
    that go on where the variable has come to add: at least 0 and at most `further`."""

    step: int
    same: frozenset[tuple[Expr, int]]
    rest: Form
    further: float

    def least(self, p: View) -> float:
        return p.bounds.least(self.rest)

    def ends_by(self, p: View, count: Expr | int, limit: float, path: tuple[Loop, ...]) -> bool:
        """Whether the rest, `count` elements from there, is never beyond a limit."""
        left = limit - self.further + 1
        if math.isinf(left):
            return False
        room = plus(plus(constant(int(left)), self.rest, -1), p.bounds.form(count), -1)
        return p.bounds.holds(room, path, frozenset())


def _moved(p: View, form: Form, loop: Loop, inner: Sequence[Loop]) -> _Moved | None:
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


def _runs_are_apart(p: View, a: Place, b: Place, loop: Loop) -> bool:
    """Of rows in memory: those of different points, if all lie in a stretch as long as a row."""
    begin, end = math.inf, -math.inf
    rows: set[int] = set()
    for place in (a, b):
        index, shape = place.access.index, p.buffers[place.access.buffer].shape
        axis = next((k for k, i in enumerate(index) if i is loop.index), len(index))
        if place.access.run is None or axis == len(index) or math.prod(shape[:axis]) != 1:
            return False
        within = constant(0)  # the row
        for first, n in zip(index[axis + 1 :], shape[axis + 1 :], strict=True):
            within = plus(p.bounds.form(first), within, n)
        rows.add(math.prod(shape[axis + 1 :]))
        low, high = p.bounds.span(within)
        begin, end = min(begin, low), max(end, high + place.access.run)
    return len(rows) == 1 and end - begin <= rows.pop()


def accumulating(p: View) -> Iterator[str]:
    """Loops that make partial results only accumulate, in one way, what nothing in them reads."""
    for loop, path in p.loops:
        if not loop.accumulates:
            continue
        inside = (*path, loop)
        mine = [q for q in p.places if q.path[: len(inside)] == inside]
        ops: dict[int, str] = {}
        for q in mine:
            number = q.access.buffer
            if q.access.writes:
                op = q.statement.op if isinstance(q.statement, Store) else ""
                still = not any(loop.index in toposort([i]) for i in q.access.index)
                if op not in ACCUMULATING or ops.setdefault(number, op) != op or not still:
                    yield f"{p.name(q)}: no part of a result of i{loop.index.attrs[0]}"
        for q in mine:
            if not q.access.writes and q.access.buffer in ops:
                yield f"{p.name(q)}: a result of i{loop.index.attrs[0]} that is in parts"


def twice(p: View) -> Iterator[str]:
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
