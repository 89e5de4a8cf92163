"""Loops of traced functions: one round is traced on symbols, and stands for all of them.

Rewritten code runs the rounds of a loop in the user's own frame::

    b = rounds(values)                          # `Rounds`, or what Python would iterate over
    if b is Rounds: b.begin(names, locals(), …)
    for element in b:
        try: …
        except: … unless b.failed(error): raise
        if b.on: names = b.swap(locals())

`Rounds` has one round run to see what it changes, takes everything back, and has it run again with
symbols in the place of all that: the round must then leave what it was given, in kind. What all
rounds leave follows from that (`rounds`), in expressions whose size does not depend on how many
there are. Where a round is not like the next one (another shape, a list that is a queue, an index
that must be a number) the loop runs as Python runs it; up to `_MOST_PEELED` rounds at its beginning
may be of another kind.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from symgrad import tree
from symgrad.errors import BranchError, ConcretizationError, SymgradError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import ARG, TUPLE, Expr, bind, const, is_const
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.ops.body import Body
from symgrad.ops.control import while_loop
from symgrad.trace import journal
from symgrad.trace.handle import Handle, as_expr
from symgrad.trace.journal import sites
from symgrad.trace.rounds import Round, outside, run
from symgrad.trace.sink import sink
from symgrad.trace.source.clones import RUNTIME
from symgrad.trace.source.decisions import is_set, truth_of
from symgrad.trace.source.handed import Grown, Handed, Slot, is_array, symbol_of
from symgrad.trace.source.integers import check_integers
from symgrad.trace.source.merging import Undefined
from symgrad.trace.source.places import Place, Trial, Variable
from symgrad.trace.source.refusal import Unlike
from symgrad.trace.source.sharing import join_left, note_sharing
from symgrad.trace.source.tails import Tail
from symgrad.trace.source.walks import Walk, sequence
from symgrad.trace.state import CURRENT, NO_TRACE, Site, fail, site
from symgrad.trace.tracer import wrap_python

_FEW = 8  # rounds that are better written out
_SHORT = 200  # nodes of all rounds that are
_MOST_PEELED = 2
_MOST_TRIES = 3
_MOST_COUNTED = 20_000
_UNSET = object()


def rounds(values: Any) -> Any:
    """What a ``for`` loop iterates over."""
    if CURRENT.get() is NO_TRACE:
        return values
    walk = sequence(values)
    return values if walk is None or walk.length < _FEW else Rounds(walk)


class Rounds:
    """The rounds of a ``for`` loop while it runs.

    on : whether the loop has to report the end of a round
    """

    def __init__(self, walk: Walk) -> None:
        self.walk, self.done = walk, 0
        self.where = "{}:{}".format(*(site() or ("?", 0)))
        self.on, self.over = True, False
        self.trial: Trial | None = None
        self.again = False  # whether the round that runs is the one on symbols
        self.peeled = self.tries = 0
        self.number: Expr | None = None
        self.test: Expr | None = None  # of a ``while``
        self.shorter: list[Expr | None] | None = None  # what a round left when lists were shorter
        self.why: Unlike | None = None

    # ---- what rewritten code calls ----
    def begin(self, names: Sequence[str], values: Any, ending: Sequence[str] = ()) -> None:
        """Note the variables that the loop assigns; `ending` are flags that end it."""
        self.names = names
        self.ending = [names.index(n) for n in ending]
        self.before = self._read(values)
        self._first()

    def __iter__(self) -> Rounds:
        return self

    def __next__(self) -> Any:
        if self.over or self.done >= self.walk.length:
            raise StopIteration
        if self.trial is not None:
            return self._element()
        element = self.walk.at(self.done)
        self.done += 1
        return element

    def swap(self, values: Any) -> list[Any]:
        """The end of a round: the values of the variables with which the code goes on."""
        now = self._read(values)
        if self.trial is None:  # a round as Python runs it
            self._runs_on(now)
            self.before = now
            self.peeled += 1
            over = self.over or any(is_set(now[k]) for k in self.ending)
            if self.peeled <= _MOST_PEELED and not over:
                self._first()
            else:
                self.on = self._looks_at_flags()
            return self.before
        try:
            self.trial.check()
            if self.again:
                self._took(now)
            else:
                self._saw(now)
        except Unlike as why:
            self._give_up(why)
        except SymgradError as error:  # a value that no symbol can stand for
            self._give_up(Unlike(str(error)))
        return self.before

    def _runs_on(self, now: list[Any]) -> None:
        """For a loop that runs as Python runs it."""

    def _looks_at_flags(self) -> bool:
        """Whether a loop that runs as Python runs it reports its rounds to the end."""
        return False

    def _may_begin_empty(self) -> bool:
        """Whether a list that grows may be empty before the first round on symbols."""
        return False

    def failed(self, error: BaseException) -> bool:
        """A round raises: whether it was one that is taken back, and the loop goes on."""
        if self.trial is None:
            return False
        if not isinstance(error, Exception):
            self._end()
            return False
        self.trial.trace.unlike = self.trial.trace.unlike or str(error)
        return True

    # ---- rounds that are taken back ----
    def _read(self, values: Any) -> list[Any]:
        found = [values.get(n, _UNSET) for n in self.names]
        return [Undefined(n) if v is _UNSET else v
                for n, v in zip(self.names, found, strict=True)]  # fmt: skip

    def _first(self) -> None:
        """The next round shows what rounds change."""
        self.again, self.tries = False, 0
        self.trial = Trial(list(self.before))
        self.number = symbol_of((), "int64")

    def _element(self) -> Any:
        assert self.number is not None
        k = wrap_python(self.number)
        self.element = self.walk.at(k + self.done if self.done else k)
        return self.element

    def _given(self) -> list[Any]:
        return [x for x in tree.flatten(self.element)[0] if isinstance(x, Handle)]

    def _saw(self, now: list[Any]) -> None:
        trial = self.trial
        assert trial is not None
        written = trial.written
        grown = trial.grown()
        lists = {id(items) for items, _ in grown}
        self.handed = [
            Handed(place, old, new, written) for place, old, new in trial.changes(now).values()
            if not (place.key[0] == "entry" and place.key[1] in lists)
        ]  # fmt: skip
        for handed in self.handed:
            if isinstance(handed.place, Variable):
                handed.name = self.names[handed.place.k]
        assert self.number is not None
        empty = self._may_begin_empty()
        self.grown = [Grown(*g, self.number, empty) for g in grown]
        self._end()
        self._symbols()

    def _symbols(self) -> None:
        """The next round gets symbols in the place of what rounds change."""
        self.again = True
        values = list(self.before)
        self.trial = trial = Trial(values)
        self.growing = trial.trace.growing
        self.symbols: list[Any] = []
        for handed in self.handed:
            place = handed.place
            if isinstance(place, Variable):
                place.values = values
                if place.k in self.ending:
                    continue  # no round begins where the loop has ended
            self.symbols += handed.put()
        more = min(self.walk.length, _MOST_COUNTED) + 1
        for grown in self.grown:
            first = 1 if grown.length else 0
            self.symbols += grown.put(first if self.shorter is None else more)
        trial.trace.growing = [*self.growing, *self.grown]
        trial.values = list(values)
        self.before, self.start = values, self.before

    def _took(self, now: list[Any]) -> None:
        trial = self.trial
        assert trial is not None
        changes = trial.changes(now)
        places = {h.place.key for h in self.handed}
        lists = {id(g.items) for g in self.grown}
        if late := self._late(changes, places):
            self.handed += late
            self._end()
            self._symbols()
            return
        for key in changes.keys() - places:
            if not (key[0] == "entry" and key[1] in lists):
                raise Unlike("a round changes what another one does not")
        if trial.written.intersection(map(id, [*self.symbols, *self._given()])):
            raise Unlike("an array is changed that its variable shares with others")
        settled = True
        for handed in self.handed:
            place = handed.place
            found = now[place.k] if isinstance(place, Variable) else place.get()
            settled = handed.take(found) and settled
        for grown in self.grown:
            grown.take()
        if any(is_set(now[k]) for k in self.ending):
            raise Unlike("the loop ends in this round")
        extra = [as_expr(v) for g in self.grown for v in g.appended]
        if settled and self.grown:
            left = [*extra, *[s.after for s in self._slots()], self.test]
            shorter, self.shorter = self.shorter, left
            if shorter is None:
                self._end()
                self._symbols()
                return
            if any(a is not b for a, b in zip(shorter, left, strict=True)):
                raise Unlike("how long a list is that grows is looked at")
        self.shorter = None
        if settled:
            slots = [s for h in self.handed for s in h.slots() if not h.is_memory]
            appended = [v for g in self.grown for v in g.appended]
            afters = [*extra, *[s.after for s in self._slots()]]
            note_sharing(trial, slots, appended, afters)
            self.unknown = list(trial.unknown.values())
        self._end()
        if settled:
            self._finish(extra)
            return
        self.tries += 1
        if self.tries >= _MOST_TRIES:
            raise Unlike("the types of what a round hands on do not settle")
        self._symbols()

    def _late(
        self, changes: Mapping[Any, tuple[Place, Any, Any]], places: AbstractSet[Any]
    ) -> list[Handed]:
        """What the first round did not change: it had nothing to check, or did not end the loop."""
        assert self.trial is not None
        checks = "other", (id(self.trial.trace.checks), "value")
        return [
            Handed(*change, self.trial.written) for key, change in changes.items()
            if key not in places and (key == checks or self._is_flag(change[0]))
        ]  # fmt: skip

    def _end(self) -> None:
        """Take back what the round has done."""
        if self.trial is not None:
            if self.again:
                self.trial.trace.growing = self.growing
                self.before = self.start
            self.trial.end()
            self.trial = None

    def _give_up(self, why: Unlike) -> None:
        """Go on as Python does, for a round or for all."""
        self._end()
        self.again, self.why = False, why

    # ---- what all rounds leave ----
    def _slots(self) -> list[Slot]:
        slots = [s for h in self.handed for s in h.slots()]
        return [*slots, *[s for g in self.grown for s in g.window]]

    def _flags(self) -> list[Slot]:
        """Those of the flags that end the loop which depend on traced values."""
        return [s for h in self.handed for s in h.slots() if self._is_flag(h.place)]

    def _is_flag(self, place: Place) -> bool:
        return isinstance(place, Variable) and place.k in self.ending

    def _finish(self, extra: list[Expr]) -> None:
        n, slots = self.walk.length - self.done, self._slots()
        assert self.number is not None
        if self._flags():
            self._ended_early(slots, n)
            return
        self._all(Round(self.number, *_handed_on(slots), extra), slots, n)

    def _ended_early(self, slots: list[Slot], n: int) -> None:
        """All rounds, but none behind one that sets a flag."""
        assert self.number is not None
        keep = bind("less", self.number, const(n, "int64"))
        self._while(keep, True, [*slots, self._counter()], n)

    def _counter(self) -> Slot:
        assert self.number is not None
        return Slot(self.number, const(0, "int64"), self.number + const(1, "int64"), 0)

    def _all(self, one: Round, slots: list[Slot], n: int) -> None:
        check_integers(slots)
        finals, stacked = run(one, [s.start for s in slots], n)
        outs = [*finals, *stacked]
        loops = [v for v in toposort(outs) if v.op.kind is Kind.CONTROL]
        size = len(toposort([*one.after, *one.extra]))
        if n * size < _SHORT and any(v.op.name == "scan" for v in loops):
            raise Unlike("the rounds are few and short")
        self._leave(finals, stacked, n)

    def _while(self, keep: Expr, begins: bool, slots: list[Slot], limit: int | None = None) -> None:
        """Rounds as long as `keep` holds; `begins` says that it does so before the first one."""
        check_integers(slots)
        lines = _lines([keep, *[s.after for s in self._flags()]])
        known = len(slots)
        slots = [*slots, *[s for g in self.grown for s in g.carry()]]
        symbols, after = _handed_on(slots)
        flags = {id(s) for s in self._flags()}
        for slot, symbol in zip(slots, symbols, strict=True):
            if id(slot) in flags:
                begins = begins and is_const(slot.start, False)
                keep = bind("logical_and", bind("logical_not", symbol), keep)
        outs = sink([keep, *after])
        consts = outside(toposort(outs), symbols, outs)
        arguments = [*consts, *symbols]
        test, round_ = Body.close(arguments, outs[:1]), Body.close(arguments, outs[1:])
        finals = while_loop(test, round_, consts, [s.start for s in slots], limit)
        ran = None if begins else bind("less", const(0, "int64"), finals[len(slots)])
        here = site()
        lines |= {here} if here else set()
        self._leave(finals[: len(self._slots())], [], 0, ran, finals[known:], lines)

    def _leave(
        self,
        finals: Sequence[Expr],
        stacked: Sequence[Expr],
        n: int,
        ran: Expr | None = None,
        carried: Sequence[Expr] = (),
        lines: frozenset[Site] = frozenset(),
    ) -> None:
        """Have the variables, lists and arrays hold what the loop leaves.

        ran : whether there was a round, None if that is certain
        carried, lines : where nobody knows how many rounds there were, what lists have carried and
            that number; the lines that decide it
        """
        rest, rows = list(finals), list(stacked)
        made: dict[Any, Any] = {}
        values = list(self.before)
        for handed in self.handed:
            if isinstance(handed.place, Variable):
                handed.place.values = values
            count = len(handed.slots())
            handed.finish(rest[:count], made, ran, self.where)
            del rest[:count]
        slots = [s for h in self.handed for s in h.slots() if is_array(s.new)]
        join_left(slots, ran)
        first = {id(s.given): s.old for s in slots if s.given is not None and is_array(s.old)}
        more, tail = list(carried), functools.partial(Tail, self.where, lines)
        near = [a for s in slots for a in (s.new, s.old) if is_array(a)]
        for grown in self.grown:
            if carried:
                w, c = len(grown.window), len(grown.older) + len(grown.folds)
                grown.leave([*rest[:w], *more[:c]], carried[-1], ran is None, tail, near, made)
                del rest[:w], more[:c]
            else:
                grown.finish(rows[: grown.added], n, first, made)
                del rows[: grown.added]
        for handle, expr in self.unknown:
            journal.note_handle(handle)
            handle.expr = expr
        self.handed, self.grown, self.symbols, self.unknown, self.element = [], [], [], [], None
        self.before, self.start, self.over = values, [], True


def _handed_on(slots: Sequence[Slot]) -> tuple[list[Expr], list[Expr]]:
    """What stands for slots in a round, and what they are after it."""
    symbols = [
        symbol_of(s.start.shape, s.start.dtype) if s.symbol is None else s.symbol for s in slots
    ]
    return symbols, [s.after for s in slots]


class WhileRounds(Rounds):
    """The rounds of a ``while`` loop."""

    def __init__(self) -> None:
        super().__init__(Walk(1 << 62, lambda k: None))

    def begin(self, names: Sequence[str], values: Any, ending: Sequence[str] = ()) -> None:
        if CURRENT.get() is NO_TRACE:  # of an inner function that outlives its trace
            self.on = False
        else:
            super().begin(names, values, ending)

    def ends(self, test: Any) -> bool:
        """Whether the loop is over, by its condition."""
        known = test
        if isinstance(test, Handle):
            known = truth_of(test)  # type: ignore[arg-type]
        if self.trial is None:
            if isinstance(known, Expr):
                error = fail(
                    ConcretizationError,
                    f"a `while` whose end depends on traced values cannot be one loop: {self.why}. "
                    "Give what it changes the same shapes and types before the loop that it has "
                    "after each round",
                )
                here = site()
                error.decisions = sites() | _lines([known]) | ({here} if here else set())
                raise error from self.why
            return not known
        if isinstance(known, Expr):
            self.test = known
        elif known or self.again:
            self.test = const(bool(known), "bool")
        else:
            self._end()
            self.over, self.on = True, False
            return True
        return False

    def _runs_on(self, now: list[Any]) -> None:
        end_of(*[now[k] for k in self.ending], why=self.why)

    def _looks_at_flags(self) -> bool:
        return bool(self.ending) and not self.over

    def _may_begin_empty(self) -> bool:
        return self.test is not None and not is_const(self.test)

    def _finish(self, extra: list[Expr]) -> None:
        slots = [*self._slots(), *([self._counter()] if self.grown else [])]
        assert self.test is not None
        if not self._flags():
            symbols, after = _handed_on(slots)
            starts = [s.start for s in slots]
            n = _count(self.test, symbols, starts, after)
            if n is not None:
                if n < _FEW:
                    raise Unlike("the rounds are few")
                number = symbol_of((), "int64")
                self._all(Round(number, symbols, after, extra), slots, n)
                return
        self._while(self.test, _holds_at_first(self.test, slots), slots)


def _holds_at_first(test: Expr, slots: Sequence[Slot]) -> bool:
    """Whether a test of a round holds before the first one, if that is known while tracing."""
    starts = {s.symbol: s.start for s in slots if s.symbol is not None}
    needed = [n for n in toposort([test]) if n.op is ARG]
    if any(n not in starts for n in needed):
        return False
    begin = [starts[n] for n in needed]
    if any(n.op is ARG for n in toposort(begin)):
        return False
    values = dict(zip(needed, evaluate(begin, {}), strict=True))
    return bool(evaluate([test], values)[0])


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
    begin = [by_symbol[s][0] for s in needed]
    if any(n.op is ARG for n in toposort(begin)):
        return None
    values = dict(zip(needed, evaluate(begin, {}), strict=True))
    outs = [keep, *[by_symbol[s][1] for s in needed]]
    for n in range(_MOST_COUNTED):
        truth, *new = evaluate(outs, values)
        if not truth:
            return n
        values = dict(zip(needed, new, strict=True))
    return None


def end_of(*flags: Any, why: Unlike | None) -> None:
    """Refuse a jump out of a ``while`` loop that may have been made."""
    if any(isinstance(flag, Handle) and flag.known() is None for flag in flags):
        error = fail(
            BranchError,
            "a while loop that a break or return on a traced value ends cannot be one loop: "
            f"{why}. Write it as `for k in range(most)`",
        )
        error.decisions = sites() | _lines([f.expr for f in flags if isinstance(f, Handle)])
        raise error from why


def _lines(values: Sequence[Expr]) -> frozenset[Site]:
    """Where some truths were computed or decided, not counting the numbers that they compare."""
    found: set[Site] = set()
    stack, seen = list(values), set(values)
    while stack:
        node = stack.pop()
        if node.site is not None:
            found.add(node.site)
        inner = [a for a in node.args if a.dtype in ("bool", TUPLE) and a not in seen]
        seen.update(inner)
        stack += inner
    return frozenset(found)


RUNTIME.update({"rounds": rounds, "Rounds": Rounds, "while": WhileRounds})
