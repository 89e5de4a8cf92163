"""Rules: every index is inside its axis, and what is read has been written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from symgrad.expr.node import Expr
from symgrad.lower.bounds import Facts, Form, constant, plus
from symgrad.lower.program import statements
from symgrad.lower.scalar import INDEX
from symgrad.lower.statements import (
    Access,
    Check,
    Flush,
    Mode,
)
from symgrad.lower.verifier.view import READ_ONLY, Place, View, spelled


def in_range(p: View) -> Iterator[str]:
    """Every access stays inside every axis of its buffer."""
    for place in _in_order(p):
        a, buffer = place.access, p.buffers[place.access.buffer]
        facts = p.bounds.facts(a.when)
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
    p: View,
    place: Place,
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
    if is_empty(place):
        return
    if holds(form, place.path, facts) and holds(room, place.path, facts):
        return
    low, high = p.bounds.span(form)
    last = p.bounds.span(plus(form, size))[1] - 1
    guards = f" where {', '.join(spelled(c, p.buffers) for c in place.access.when)}"
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
        if buffer.role in READ_ONLY or buffer.number in zeroed:
            continue
        if a.mode is not Mode.WRITE:
            reach = (everywhere if a.when and place.path else written).get(a.buffer)
            if reach is None:
                if not is_empty(place):
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


def _extend(p: View, reach: dict[int, Any], place: Place) -> None:
    mine = reach.setdefault(place.access.buffer, {})
    for axis, first, count, length in p.axes(place.access):
        low, high = p.bounds.interval(first)
        high += (count if isinstance(count, int) else p.bounds.interval(count)[1]) - 1
        old = mine.get(axis, (math.inf, -math.inf))
        mine[axis] = min(old[0], max(low, 0)), max(old[1], min(high, length - 1))
    if place.access.run is not None:
        mine.update({a: (0, n - 1) for a, n in enumerate(p.buffers[place.access.buffer].shape)})


def _unwritten(p: View, place: Place, reach: dict[int, Any]) -> Iterator[str]:
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
            if not is_empty(place):
                yield f"{p.name(place)}: of axis {axis}, only {low:g} to {high:g} has been written"
