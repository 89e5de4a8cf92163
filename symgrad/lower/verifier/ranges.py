"""Rules: every index is inside its axis, and what is read has been written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from symgrad.expr.node import Expr, const, is_const
from symgrad.expr.walk import substitute
from symgrad.lower.bounds import Facts
from symgrad.lower.cpu import Flush
from symgrad.lower.forms import Form, constant, plus
from symgrad.lower.program import Around, statements
from symgrad.lower.scalar import INDEX, load_of
from symgrad.lower.statement import Access, Mode
from symgrad.lower.statements import Check, If, Loop, Store, While
from symgrad.lower.verifier.view import READ_ONLY, Place, View, rounds_of

Written = dict[int, dict[int, tuple[float, float]]]  # of a buffer and axis: from where to where


def in_range(p: View) -> Iterator[str]:
    """Every access stays inside every axis of its buffer."""
    for place in _in_order(p):
        a, buffer = place.access, p.buffers[place.access.buffer]
        facts = p.bounds.facts((*a.when, *p.holding(place)))
        if a.run is not None:
            last = plus(flat_form(p, a), constant(a.run))
            room = plus(constant(math.prod(buffer.shape)), last, -1)
            ok = p.bounds.holds(flat_form(p, a), place.path, facts)
            if not (ok and p.bounds.holds(room, place.path, facts)):
                yield f"{p.name(place)}: {a.run} elements from there, of {buffer.size}"
            continue
        for axis, first, count, length in p.axes(a):
            yield from _beyond(p, place, facts, axis, first, count, length)
        for axis, count in a.box:
            if axis == len(buffer.shape) and count != buffer.lanes:
                yield f"{p.name(place)}: {count} lanes of {buffer.lanes}"


def _in_order(p: View) -> Iterator[Place]:
    """The accesses in the order of the text, with what has been checked before each.

    A check in a side of an `If`, or in a `While`, tells nothing of what stands outside; nor does
    one of what has changed since.
    """
    waiting = [k for k, (s, _) in enumerate(p.leaves) if isinstance(s, Check)]
    ends = {k: _end_of_check(p, k) for k in waiting}
    fleeting = any(around or until < math.inf for around, until in ends.values())
    known: list[int] = []

    def holds(k: int, place: Place) -> bool:
        around, until = ends[k]
        return place.position < until and place.around[: len(around)] == around

    for place in p.places:
        while waiting and waiting[0] < place.position:
            known.append(waiting.pop(0))
            p.bounds.add_check(*p.leaves[known[-1]])
        if fleeting and not all(holds(k, place) for k in known):
            known = [k for k in known if holds(k, place)]
            p.bounds.drop_checks()
            for k in known:
                p.bounds.add_check(*p.leaves[k])
        yield place
    p.bounds.drop_checks()
    for k, (around, until) in ends.items():  # for other rules
        if not around and until == math.inf:
            p.bounds.add_check(*p.leaves[k])


def _end_of_check(p: View, position: int) -> tuple[Around, float]:
    """The bodies inside of which a check tells something, and the position up to which it does."""
    s, around = p.leaves[position][0], p.around[position]
    sides = [k for k, (outer, _) in enumerate(around, 1) if isinstance(outer, (If, While))]
    scope = around[: max(sides, default=0)]
    return scope, min(p.until(s.value, scope, position), p.until_round(s.value, around, position))


def _beyond(
    p: View, place: Place, facts: Facts, axis: int, first: Expr, count: Expr | int, length: int
) -> Iterator[str]:
    if first.op is INDEX and count == 1:  # nearly all
        low, high = p.bounds.interval(first)
        if low >= 0 and high < length:
            return
    form = p.bounds.form(first)
    size = p.bounds.form(count)
    room = plus(plus(constant(length), form, -1), size, -1)
    holds = p.bounds.holds
    if is_empty(place):
        return
    if holds(form, place.path, facts) and holds(room, place.path, facts):
        return
    low, high = p.bounds.span(form)
    last = p.bounds.span(plus(form, size))[1] - 1
    guards = f" where {', '.join(map(p.text, place.access.when))}"
    yield (
        f"{p.name(place)}: axis {axis} of length {length} is reached from {low:g} to "
        f"{max(last, high):g}{guards if place.access.when else ''}"
    )


def is_empty(place: Place) -> bool:
    """Whether the statement is never reached: a loop around it has no rounds."""
    return any(loop.extent == 0 for loop in place.path)


def flat_form(p: View, a: Access) -> Form:
    """How many elements into its buffer an access begins."""
    total = constant(0)
    for first, n in zip(a.index, p.buffers[a.buffer].shape, strict=True):
        total = plus(p.bounds.form(first), total, n)
    return total


# ---- init ----------------------------------------------------------------------------------------


def initialised(p: View) -> Iterator[str]:
    """What is read has been written before: somewhere in what all writes before reach together.

    Results are read by the caller. A value that the round before has left counts if the read is
    guarded against the first round. What the rounds of a `While` have left counts as far as the
    number of rounds is known to reach.
    """
    flow, everywhere, stacks = _Flow(), _Everywhere(p), _Stacks(p)
    zeroed = {
        s.partial.number
        for loop, _ in p.loops
        if loop.chunks
        for s, _ in statements(loop.flush)
        if isinstance(s, Flush)
    }
    for place in p.places:
        a, buffer = place.access, p.buffers[place.access.buffer]
        if buffer.role in READ_ONLY or buffer.number in zeroed or not buffer.size:
            continue
        if a.mode is not Mode.WRITE:
            reach = flow.at(place).get(a.buffer)
            if a.when and place.path:
                reach = _either(reach, everywhere.at(place).get(a.buffer))
            if stacks.has(place):
                continue
            if reach is None:
                if not is_empty(place):
                    yield f"{p.name(place)}: nothing has been written there"
            else:
                yield from _unwritten(p, place, reach)
        if a.mode is Mode.WRITE:
            _extend(p, flow.at(place), place)
    yield from _results(p, flow.end())


def _results(p: View, written: Written) -> Iterator[str]:
    for b in p.program.outputs:
        for axis, n in enumerate(b.shape if b.size else ()):
            low, high = written.get(b.number, {}).get(axis, (0, -1))
            if low > 0 or high < n - 1:
                yield f"result {b.name}: of axis {axis}, only {low:g} to {high:g} has been written"
        if not b.shape and b.number not in written:
            yield f"result {b.name}: nothing has been written there"


class _Stacks:
    """Arrays of which each round of a `While` sets one row, and variables that count its rounds."""

    def __init__(self, p: View) -> None:
        self._p = p
        self._rows: dict[int, tuple[Around, int, list[Expr]]] = {}  # bodies, last position, counts
        for position, ((s, _), around) in enumerate(zip(p.leaves, p.around, strict=True)):
            if not isinstance(s, While) or s.index is None:
                continue
            body = (*around, (s, 0))
            inside = [k for k, a in enumerate(p.around) if a[: len(body)] == body]
            touched = {a.buffer for k in inside for a in p.leaves[k][0].accesses if a.writes}
            counts = [
                load_of(p.buffers[n], ())
                for n in sorted(touched)
                if not p.buffers[n].shape and self._counts(n, s.index, around, body, position)
            ]
            for number in touched if counts else ():
                if self._is_stacked(number, s.index, body):
                    self._rows[number] = around, max(inside), counts

    def _counts(
        self, number: int, index: Expr, around: Around, body: Around, position: int
    ) -> bool:
        """Whether a variable is 0 before the first round, and one more at the end of each."""
        for q in self._p.of_buffer[number]:
            if not q.access.writes:
                continue
            if not isinstance(q.statement, Store) or q.statement.op != "=":
                return False
            value = q.statement.value
            begins = q.around == around and q.position < position and is_const(value, 0)
            if not begins and not (q.around == body and value is index + const(1, "int64")):
                return False
        return True

    def _is_stacked(self, number: int, index: Expr, body: Around) -> bool:
        """Whether each round sets all of a row, on both sides of a branch, and nothing else.

        What loops inside store there, of which the data say how far they go, changes what is set.
        """
        flow = _Flow()
        for q in self._p.of_buffer[number]:
            if not q.access.writes:
                continue
            if q.around[: len(body)] != body or q.access.fixed.get(0) is not index:
                return False
            inner = rounds_of(q.around[len(body) :])
            plain = all(isinstance(s, Loop) and s.is_plain for s in inner)
            if plain and q.access.mode is Mode.WRITE:
                _extend(self._p, flow.at(q), q)
        sides = tuple((s, k) for s, k in body if isinstance(s, (If, While)))
        reach = flow.behind(sides).get(number)
        shape = self._p.buffers[number].shape
        return reach is not None and all(
            reach.get(a) == (0, n - 1) for a, n in enumerate(shape) if a
        )

    def has(self, place: Place) -> bool:
        """Whether a place reads a row of a round that has taken place."""
        if place.access.buffer not in self._rows or 0 not in place.access.fixed:
            return False
        around, last, counts = self._rows[place.access.buffer]
        if place.position <= last or place.around[: len(around)] != around:
            return False
        bounds = self._p.bounds
        facts = bounds.facts((*place.access.when, *self._p.holding(place)))
        row = plus(bounds.form(place.access.fixed[0]), constant(1))
        return any(bounds.holds(plus(bounds.form(c), row, -1), place.path, facts) for c in counts)


class _Flow:
    """What has been written, in the order of the text.

    Behind an `If` that is what both sides have written; behind a `While`, of which there may be no
    round, what was written before.
    """

    def __init__(self) -> None:
        self.now: Written = {}
        self._open: list[tuple[Any, int, Written, list[Written]]] = []  # with what was before

    def at(self, place: Place) -> Written:
        """Where the text has come to a place."""
        return self.behind(place.sides)

    def end(self) -> Written:
        return self.behind(())

    def behind(self, sides: Around) -> Written:
        """Where the text has come so far, in these bodies."""
        same = 0
        while same < min(len(sides), len(self._open)) and sides[same] == self._open[same][:2]:
            same += 1
        while len(self._open) > same:
            s, _, before, ends = self._open.pop()
            ends = [*ends, self.now]
            if len(self._open) == same < len(sides) and sides[same][0] is s:  # the other side
                self._open.append((*sides[same], before, ends))
                self.now = _copy(before)
                same += 1
            else:
                self.now = _of_both(before, ends)
        for s, k in sides[same:]:
            self._open.append((s, k, self.now, []))
            self.now = _copy(self.now)
        return self.now


class _Everywhere:
    """What is written at all where a place is reached, before it or behind it in another round."""

    def __init__(self, p: View) -> None:
        self._p, flow = p, _Flow()
        self._writes = [q for q in p.places if q.access.mode is Mode.WRITE]
        for place in self._writes:
            _extend(p, flow.at(place), place)
        self._known: dict[Around, Written] = {(): flow.end()}

    def at(self, place: Place) -> Written:
        sides = place.sides
        if sides not in self._known:
            found = self._known[sides] = _copy(self._known[()])
            for q in self._writes:
                if sides[: len(q.sides)] == q.sides:
                    _extend(self._p, found, q)
        return self._known[sides]


def _of_both(before: Written, ends: list[Written]) -> Written:
    """What has been written whichever side ran; where there is only one, perhaps none did."""
    one, two = ends if len(ends) == 2 else (before, *ends)
    found: Written = {}
    for number in one.keys() & two.keys():
        axes = {
            a: (max(low, two[number][a][0]), min(high, two[number][a][1]))
            for a, (low, high) in one[number].items()
        }
        if all(low <= high for low, high in axes.values()):
            found[number] = axes
    return found


def _either(one: Any, other: Any) -> Any:
    """What has been written by two accounts; None for nothing."""
    if one is None or other is None:
        return one if other is None else other
    return {a: (min(low, other[a][0]), max(high, other[a][1])) for a, (low, high) in one.items()}


def _copy(written: Written) -> Written:
    return {number: dict(axes) for number, axes in written.items()}


def _begins(place: Place) -> bool:
    """Whether what guards a write holds in the first round of the loops around, if there is one."""
    for condition in place.access.when:
        for loop in reversed(place.path):
            start = const(0, "int64") if loop.start is None else loop.start
            (condition,) = substitute((condition,), {loop.index: start})
        if not is_const(condition, True):
            return False
    return not is_empty(place)


def _extend(p: View, reach: dict[int, Any], place: Place) -> None:
    if not _begins(place):
        return
    mine = reach.setdefault(place.access.buffer, {})
    for axis, first, count, length in p.axes(place.access):
        low, high = p.bounds.interval(first)
        high += (count if isinstance(count, int) else p.bounds.interval(count)[1]) - 1
        old = mine.get(axis, (math.inf, -math.inf))
        mine[axis] = min(old[0], max(low, 0)), max(old[1], min(high, length - 1))
    if place.access.run is not None:
        mine.update({a: (0, n - 1) for a, n in enumerate(p.buffers[place.access.buffer].shape)})


def _unwritten(p: View, place: Place, reach: dict[int, Any]) -> Iterator[str]:
    facts = p.bounds.facts((*place.access.when, *p.holding(place)))
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
            if not is_empty(place):
                yield f"{p.name(place)}: of axis {axis}, only {low:g} to {high:g} has been written"
