"""Loops of traced functions: one round is traced on symbols, and stands for all of them.

In: the rounds of a `for` or `while` statement as functions, and the variables that they assign.
Out: the same variables, lists, dicts, attributes and arrays as the loop would leave them, of
expressions whose size does not depend on the number of rounds. Where a round is not like the next
one (another shape, a list that is a queue, an index that must be a number) the loop runs as Python
runs it, round by round; up to `_MOST_PEELED` rounds at its beginning may be of another kind.

Nothing is guessed: a round is traced once to see what it changes, and again with symbols in the
place of all that; it must then leave what it was given, in kind.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from symgrad import tree
from symgrad.errors import ConcretizationError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import ARG, Expr, bind, const
from symgrad.expr.walk import toposort
from symgrad.ops.body import Body
from symgrad.ops.control import while_loop
from symgrad.trace.handle import Handle, as_expr
from symgrad.trace.rounds import Round, outside, run
from symgrad.trace.sink import sink
from symgrad.trace.source.clones import RUNTIME
from symgrad.trace.source.handed import Grown, Handed, Slot, symbol_of
from symgrad.trace.source.places import State, Trial, Unlike
from symgrad.trace.source.walks import Walk, sequence
from symgrad.trace.state import CURRENT, NO_TRACE, fail
from symgrad.trace.tracer import wrap_python

_FEW = 8  # rounds that are better written out
_MOST_PEELED = 2
_MOST_TRIES = 3


@dataclass
class Traced:
    """One round on symbols."""

    handed: list[Handed]
    grown: list[Grown]
    test: Expr | None

    @property
    def slots(self) -> list[Slot]:
        return [
            *[s for h in self.handed for s in h.slots()],
            *[s for g in self.grown for s in g.window],
        ]

    def finish(self, finals: Sequence[Expr], stacked: Sequence[Expr], n: int) -> None:
        rest, rows, made = list(finals), list(stacked), {}
        for h in self.handed:
            count = len(h.slots())
            h.finish(rest[:count], made)
            del rest[:count]
        for g in self.grown:
            g.finish(rows[: g.added], n)
            del rows[: g.added]


def traced(state: State, body: Callable[[], Any], test: Callable[[], Any] | None = None) -> Traced:
    """A round `body`, which returns what it was given; raises `Unlike`."""
    with Trial(state) as first:
        body()
        first.check()
        touched = set(first.journal.handles)
        handed = [Handed(p, old, new, touched) for p, old, new in first.changes().values()]
        grown = [Grown(*g) for g in first.grown()]
    handed = [
        h for h in handed if not any(h.place.key[:2] == ("entry", id(g.items)) for g in grown)
    ]
    keys = {h.place.key for h in handed}
    trace = CURRENT.get()
    for _ in range(_MOST_TRIES):
        growing, trace.growing = trace.growing, [*trace.growing, *[g.items for g in grown]]
        try:
            with Trial(state) as side:
                given = [handle for h in handed for handle in h.put()]
                for g in grown:
                    g.put()
                keep = None if test is None else as_expr(test())
                given += [x for x in tree.flatten(body())[0] if isinstance(x, Handle)]
                side.check()
                changes = side.changes()
                for key in changes.keys() - keys:
                    if not any(key[:2] == ("entry", id(g.items)) for g in grown):
                        raise Unlike("a round changes what another one does not")
                if any(id(h) in side.journal.handles for h in given):
                    raise Unlike("an array is changed that its variable shares with others")
                settled = all([h.take() for h in handed])
                for g in grown:
                    g.take()
        finally:
            trace.growing = growing
        if settled:
            return Traced(handed, grown, keep)
    raise Unlike("the types of what a round hands on do not settle")


def for_(values: Any, body: Callable[[Any], None], state: State) -> None:
    """``for x in values``, where body(x) is one round."""
    found = sequence(values) if CURRENT.get() is not NO_TRACE else None
    if found is None or found.length < _FEW:
        for value in values:
            body(value)
        return
    done = 0
    while done <= _MOST_PEELED:
        try:
            _all_rounds(found, done, body, state)
            return
        except Unlike:
            body(found.at(done))
            done += 1
    for k in range(done, found.length):
        body(found.at(k))


def _all_rounds(values: Walk, first: int, body: Callable[[Any], None], state: State) -> None:
    number = symbol_of((), "int64")

    def once() -> Any:
        k = wrap_python(number)
        element = values.at(k + first if first else k)
        body(element)
        return element

    found = traced(state, once)
    slots, n = found.slots, values.length - first
    extra = [as_expr(v) for g in found.grown for v in g.appended]
    round_ = Round(number, [s.symbol or s.start for s in slots], [s.after for s in slots], extra)
    finals, stacked = run(round_, [s.start for s in slots], n)
    found.finish(finals, stacked, n)


def while_(test: Callable[[], Any], body: Callable[[], None], state: State) -> None:
    """``while test(): body()``."""
    for k in itertools.count():
        keep = test()
        known = keep.known() if isinstance(keep, Handle) else keep
        if known is not None and not known:
            return
        if CURRENT.get() is not NO_TRACE and (known is None or k <= _MOST_PEELED):
            try:
                _all_while(test, body, state)
                return
            except Unlike as why:
                if known is None:
                    raise fail(
                        ConcretizationError,
                        f"a `while` whose end depends on traced values cannot be one loop: {why}. "
                        "Give what it changes the same shapes and types before the loop that it "
                        "has after each round",
                    ) from why
        body()


def _all_while(test: Callable[[], Any], body: Callable[[], None], state: State) -> None:
    found = traced(state, body, test)
    assert found.test is not None
    if found.test.shape:
        raise Unlike("the condition is an array")
    keep = (
        found.test
        if found.test.dtype == "bool"
        else bind("not_equal", found.test, const(0, found.test.dtype))
    )
    slots = found.slots
    symbols = [s.symbol or symbol_of(s.start.shape, s.start.dtype) for s in slots]
    starts, after = [s.start for s in slots], [s.after for s in slots]
    n = _count(keep, symbols, starts, after)
    extra = [as_expr(v) for g in found.grown for v in g.appended]
    if n is not None:
        if n < _FEW:
            raise Unlike("there are few rounds")
        number = symbol_of((), "int64")
        finals, stacked = run(Round(number, symbols, after, extra), starts, n)
        found.finish(finals, stacked, n)
        return
    if extra:
        raise Unlike("a list grows, and how often is not known")
    outs = sink([keep, *after])
    nodes = toposort(outs)
    consts = outside(nodes, symbols, outs)
    arguments = [*consts, *symbols]
    made = while_loop(
        Body.close(arguments, outs[:1]), Body.close(arguments, outs[1:]), consts, starts
    )
    found.finish(made[: len(slots)], [], 0)


_MOST_COUNTED = 100_000


def _count(keep: Expr, symbols: list[Expr], starts: list[Expr], after: list[Expr]) -> int | None:
    """How many rounds there are, if that depends on numbers that are known while tracing."""
    by_symbol = dict(zip(symbols, zip(starts, after, strict=True), strict=True))
    needed: list[Expr] = []
    wanted = [keep]
    while wanted:
        for node in toposort([wanted.pop()]):
            if node in by_symbol:
                if node not in needed:
                    needed.append(node)
                    wanted.append(by_symbol[node][1])
            elif node.op is ARG:
                return None
    if any(n.op is ARG for n in toposort([by_symbol[s][0] for s in needed])):
        return None
    values = dict(zip(needed, evaluate([by_symbol[s][0] for s in needed], {}), strict=True))
    outs = [keep, *[by_symbol[s][1] for s in needed]]
    for n in range(_MOST_COUNTED):
        truth, *new = evaluate(outs, values)
        if not truth:
            return n
        values = dict(zip(needed, new, strict=True))
    return None


RUNTIME["for"], RUNTIME["while"] = for_, while_
