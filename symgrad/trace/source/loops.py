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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad import tree
from symgrad.errors import ConcretizationError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import ARG, Expr, arg, bind, const
from symgrad.expr.walk import toposort
from symgrad.ops.body import Body
from symgrad.ops.control import while_loop
from symgrad.trace import journal
from symgrad.trace.handle import Handle, as_expr
from symgrad.trace.memory import hold, share
from symgrad.trace.rounds import Round, outside, run
from symgrad.trace.sink import sink
from symgrad.trace.source.calls import ALWAYS
from symgrad.trace.source.clones import RUNTIME
from symgrad.trace.state import CURRENT, NO_TRACE, Trace, fail
from symgrad.trace.tracer import PythonTracer, Tracer, ZeroTracer, wrap, wrap_array, wrap_python

_FEW = 8  # rounds that are better written out
_MOST_PEELED = 2
_MOST_TRIES = 3
_NUMBERS = (bool, int, float, np.generic, np.ndarray)


class _Undefined:
    """What a variable has before it is assigned."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = _Undefined()


class Unlike(Exception):
    """A round that is not like the next one; the message says in what."""


# ---- what a loop walks over ----------------------------------------------------------------------


@dataclass(frozen=True)
class Walk:
    """`length` values; `at` gives the one of a number, which may be traced."""

    length: int
    at: Callable[[Any], Any]


def sequence(values: Any) -> Walk | None:
    """What is known of an iterable without walking over it."""
    cls = type(values)
    if cls is range:
        return Walk(len(values), lambda k: values.start + k * values.step)
    if cls in _PARTS:
        return values.sequence()
    if isinstance(values, Tracer) and values.shape:
        return Walk(len(values), lambda k: values[k])
    if cls is np.ndarray and values.ndim and values.dtype.kind in "fib":
        return Walk(len(values), lambda k: _of_plain(values, k))
    if cls in (list, tuple) and values and _is_uniform(values):
        return Walk(len(values), lambda k: _of_list(values, k))
    return None


def _of_plain(values: np.ndarray, k: Any) -> Any:
    return wrap_array(as_expr(values))[k] if isinstance(k, Handle) else values[k]


def _of_list(values: Sequence[Any], k: Any) -> Any:
    if not isinstance(k, Handle):
        return values[k]
    element = wrap_array(as_expr(list(values)))[k]
    plain = all(type(v) in (int, float) or type(v) is PythonTracer for v in values)
    return wrap_python(element) if plain else element


def _is_uniform(values: Sequence[Any]) -> bool:
    """Whether a list's elements are arrays or numbers of one kind."""
    first = values[0]
    if isinstance(first, Tracer):
        return all(
            type(v) is type(first) and (v.shape, v.dtype) == (first.shape, first.dtype)
            for v in values
        )
    if isinstance(first, np.ndarray):
        return all(
            type(v) is np.ndarray and (v.shape, v.dtype) == (first.shape, first.dtype)
            for v in values
        )
    return type(first) in (int, float, np.float64) and all(type(v) is type(first) for v in values)


class _Zip:
    """``zip(…)``, ``enumerate(…)`` and ``reversed(…)`` whose parts can be asked for."""

    def __init__(self, walk: Iterator[Any], make: Callable[[], Walk | None]) -> None:
        self._walk, self.sequence = walk, make
        self._begun = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.sequence = _nothing  # it has begun
        return next(self._walk)


def _nothing() -> None:
    return None


_PARTS = (_Zip,)


def zip_(*parts: Any, strict: bool = False) -> Any:
    def make() -> Walk | None:
        found = [sequence(p) for p in parts]
        if not found or any(s is None for s in found):
            return None
        lengths = [s.length for s in found]
        if strict and len(set(lengths)) > 1:
            return None  # which raises in its place
        return Walk(min(lengths), lambda k: tuple([s.at(k) for s in found]))

    return _Zip(zip(*parts, strict=strict), make)


def enumerate_(values: Any, start: int = 0) -> Any:
    def make() -> Walk | None:
        found = sequence(values)
        if found is None or type(start) is not int:
            return None
        return Walk(found.length, lambda k: (start + k, found.at(k)))

    return _Zip(enumerate(values, start), make)


def reversed_(values: Any) -> Any:
    def make() -> Walk | None:
        found = sequence(values)
        if found is None:
            return None
        return Walk(found.length, lambda k: found.at(found.length - 1 - k))

    return _Zip(reversed(values), make)


# ---- what a round changes ------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """The variables that a loop assigns: all of their values at once; `UNDEFINED` where none is."""

    get: Callable[[], tuple[Any, ...]]
    set: Callable[[tuple[Any, ...]], None]


class Place:
    """Something older than a round that the round changes."""

    key: tuple[Any, ...]  # the same for the same place

    def get(self) -> Any:
        raise NotImplementedError

    def set(self, value: Any) -> None:
        raise NotImplementedError


class Variable(Place):
    def __init__(self, state: State, k: int) -> None:
        self.state, self.k = state, k
        self.key = ("variable", k)

    def get(self) -> Any:
        return self.state.get()[self.k]

    def set(self, value: Any) -> None:
        values = self.state.get()
        self.state.set((*values[: self.k], value, *values[self.k + 1 :]))


class Entry(Place):
    """An entry of a list or dict."""

    def __init__(self, container: Any, entry: Any) -> None:
        self.container, self.entry = container, entry
        self.key = ("entry", id(container), entry)

    def get(self) -> Any:
        return self.container[self.entry]

    def set(self, value: Any) -> None:
        journal.note_container(self.container)
        self.container[self.entry] = value


class Attribute(Place):
    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name
        self.key = ("attribute", id(owner), name)

    def get(self) -> Any:
        return getattr(self.owner, self.name, UNDEFINED)

    def set(self, value: Any) -> None:
        journal.note_attribute(self.owner, self.name)
        setattr(self.owner, self.name, value)


class Memory(Place):
    """What is in an array, under all of its names."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.key = ("memory", id(handle))

    def get(self) -> Any:
        return self.handle.expr

    def set(self, value: Any) -> None:
        if self.handle.is_known:
            self.handle.become()
        hold(self.handle, value)


class Trial:
    """One round that is run to see what it does; behind it all is as it was before."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.before = state.get()

    def __enter__(self) -> Trial:
        self.trace: Trace = CURRENT.get()
        self.poison = _poison(self.trace)
        self.journal = self.trace.journal = journal.Journal(self.trace.journal)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, where: Any) -> None:
        self.trace.journal = self.journal.parent
        self.journal.undo()
        self.journal.forget()
        self.state.set(self.before)
        self.trace.unlike = None
        if isinstance(error, Exception) and not isinstance(error, Unlike):
            for trace, poison in self.poison:
                trace.poison = poison
            raise Unlike(str(error)) from error

    def check(self) -> None:
        """Raise what `refuse` said, also if the user's code has caught it."""
        if self.trace.unlike is not None:
            raise Unlike(self.trace.unlike)

    def _is_new(self, handle: Any) -> bool:
        """Whether a tracer was made in this round."""
        born = handle.born
        while born is not None and born is not self.journal:
            born = born.parent
        return born is self.journal

    def changes(self) -> dict[Any, tuple[Place, Any, Any]]:
        """The places that are not as they were, with what was there and what is there now."""
        found: dict[Any, tuple[Place, Any, Any]] = {}

        def note(place: Place, old: Any) -> None:
            new = place.get()
            if new is not old:
                found[place.key] = place, old, new

        for k, old in enumerate(self.before):
            note(Variable(self.state, k), old)
        for container, old in self.journal.containers.values():
            if type(container) not in (list, dict):
                raise Unlike(f"a {type(container).__name__} is changed")
            entries = range(len(container)) if type(container) is list else container
            if type(container) is dict and container.keys() != old.keys():
                raise Unlike("a dict gets or loses keys")
            if len(container) < len(old):
                raise Unlike("a list gets shorter")
            for e in entries:
                if type(container) is dict or e < len(old):
                    note(Entry(container, e), old[e])
        for (_, name), (owner, old) in self.journal.attributes.items():
            note(Attribute(owner, name), old)
        written = self.journal.handles
        for handle, old in written.values():
            was = old.value()
            if self._is_new(handle) or was is handle.expr:
                continue
            base = handle._base
            if base is not None:  # a view: what it shows is in the array it belongs to
                if id(base) not in written and not self._is_new(base):
                    raise Unlike("a view of an array is changed that is not followed")
                continue
            place = Memory(handle)
            found[place.key] = place, was, handle.expr
        return found

    def grown(self) -> list[tuple[list[Any], int]]:
        """Lists that have got longer, and how long they were."""
        return [
            (c, len(old)) for c, old in self.journal.containers.values()
            if type(c) is list and len(c) > len(old)
        ]  # fmt: skip


def _poison(trace: Trace | None) -> list[tuple[Trace, Any]]:
    """The running traces with the errors that they do not forget."""
    found = []
    while trace is not None and trace is not NO_TRACE:
        found.append((trace, trace.poison))
        trace = trace.parent
    return found


# ---- symbols in the place of what changes --------------------------------------------------------


@dataclass
class Slot:
    """One array or number that is handed from round to round.

    symbol : what stands for it in a round; None if no round may read it, since it was undefined
    start, after : what it is before the first round and after one
    like : the kind of what a round leaves
    """

    symbol: Expr | None
    start: Expr
    after: Expr
    like: Any


def symbol_of(shape: tuple[int, ...], dtype: str) -> Expr:
    """An argument that stands for something in one round, and nowhere else."""
    made = arg(0, shape, dtype)
    trace: Trace | None = CURRENT.get()
    assert trace is not None
    trace.symbols.append(made)
    return made


def handle_like(like: Any, expr: Expr) -> Any:
    """A tracer of the kind of `like`."""
    if type(like) in (int, float, PythonTracer):
        return wrap_python(expr)
    return wrap_array(expr) if isinstance(like, (np.ndarray, ZeroTracer)) else wrap(expr)


class Handed:
    """The value of one place: its structure, what in it is the same in all rounds, and slots."""

    def __init__(self, place: Place, old: Any, new: Any, changed: set[int]) -> None:
        self.place = place
        self.defined = old is not UNDEFINED
        self.is_memory = isinstance(place, Memory)
        if self.is_memory:
            slot = Slot(symbol_of(old.shape, old.dtype), old, new, None)
            self.leaves: list[Any] = [slot]
            return
        leaves, self.structure = tree.flatten(new)
        olds = leaves
        if self.defined:
            olds, structure = tree.flatten(old)
            if structure != self.structure:
                raise Unlike("a value changes its structure")
        self.leaves = [self._leaf(a, b, changed) for a, b in zip(olds, leaves, strict=True)]

    def _leaf(self, old: Any, new: Any, changed: set[int]) -> Any:
        if old is new and self.defined or type(old) is type(new) and type(new) in _FIXED:
            if old != new:
                raise Unlike(f"{old!r} becomes {new!r}")
            return new
        if not _is_number(new) or not _is_number(old):
            if not self.defined and not _is_number(new):
                return new
            raise Unlike(f"{old!r} becomes {new!r}")
        if id(old) in changed:
            raise Unlike("an array is changed and its variable gets another one")
        after, start = as_expr(new), as_expr(old)
        if not self.defined:
            return Slot(None, const(0, after.dtype, after.shape), after, new)
        if start.shape != after.shape:
            raise Unlike(f"shape {start.shape} becomes {after.shape}")
        dtype = np.result_type(start.dtype, after.dtype).name
        return Slot(symbol_of(start.shape, dtype), as_expr(start, dtype), after, new)

    def slots(self) -> list[Slot]:
        return [leaf for leaf in self.leaves if isinstance(leaf, Slot)]

    def put(self) -> list[Any]:
        """Symbols where the values were; the tracers that hold them."""
        if self.is_memory:
            self.place.set(self.leaves[0].symbol)
            return []
        if not self.defined:
            return []
        made = [
            handle_like(leaf.like, leaf.symbol) if isinstance(leaf, Slot) else leaf
            for leaf in self.leaves
        ]
        self.place.set(self.structure.unflatten(made))
        return [m for m, leaf in zip(made, self.leaves, strict=True) if isinstance(leaf, Slot)]

    def take(self) -> bool:
        """Note what a round left here; whether it has the types that the round was given."""
        value, settled = self.place.get(), True
        if self.is_memory:
            self.leaves[0].after = value
            return True
        leaves, structure = tree.flatten(value)
        if structure != self.structure:
            raise Unlike("a value changes its structure")
        for slot, new in zip(self.leaves, leaves, strict=True):
            if not isinstance(slot, Slot):
                if new is not slot and (type(new) not in _FIXED or new != slot):
                    raise Unlike(f"{slot!r} becomes {new!r}")
                continue
            if not _is_number(new):
                raise Unlike(f"a number becomes {new!r}")
            slot.after, slot.like = as_expr(new), new
            if slot.after.shape != slot.start.shape:
                raise Unlike(f"shape {slot.start.shape} becomes {slot.after.shape}")
            if slot.after.dtype != slot.start.dtype:
                dtype = np.result_type(slot.start.dtype, slot.after.dtype).name
                if dtype != slot.start.dtype:
                    slot.start, settled = as_expr(slot.start, dtype), False
                    if slot.symbol is not None:
                        slot.symbol = symbol_of(slot.start.shape, dtype)
                else:
                    slot.after = as_expr(slot.after, dtype)
        return settled

    def finish(self, finals: Sequence[Expr], made: dict[int, Any]) -> None:
        """The final values; `made` has the new tracer of each that a round left."""
        if self.is_memory:
            self.place.set(finals[0])
            return
        rest, leaves = iter(finals), []
        for leaf in self.leaves:
            if isinstance(leaf, Slot):
                final = next(rest)
                new = made.get(id(leaf.like))
                if new is None or new.expr is not final:
                    new = made[id(leaf.like)] = handle_like(leaf.like, final)
                    if getattr(leaf.like, "_base", None) is not None:
                        share(wrap_array(final), new, None)  # a view of what is not followed
                leaf = new
            leaves.append(leaf)
        self.place.set(self.structure.unflatten(leaves))


_FIXED = (bool, str, bytes, type(None), type, type(...))


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) or isinstance(value, Tracer)


class Grown:
    """A list that each round makes longer: what it gets, and the last elements, which it may read.

    The other elements are out of reach in a round: whoever looks at one, or at the length, ends the
    attempt.
    """

    def __init__(self, items: list[Any], length: int) -> None:
        if not length:
            raise Unlike("a list is empty at first")
        self.items, self.length, self.added = items, length, len(items) - length
        self.appended: list[Any] = list(items[length:])
        if not all(map(_is_number, self.appended)):
            raise Unlike("a list gets elements that are no arrays")
        last = as_expr(self.appended[-1])
        self.window: list[Slot] = []
        for old in reversed(items[max(0, length - _MOST_READ) : length]):
            start = as_expr(old) if _is_number(old) else None
            if start is None or start.shape != last.shape:
                break
            start = as_expr(start, np.result_type(start.dtype, last.dtype).name)
            symbol = symbol_of(start.shape, start.dtype)
            self.window.insert(0, Slot(symbol, start, last, self.appended[-1]))

    def put(self) -> None:
        journal.note_container(self.items)
        here = [handle_like(s.like, s.symbol) for s in self.window]
        self.shown = [GONE] * (self.length - len(here)) + here
        self.items[:] = self.shown

    def take(self) -> None:
        items = self.items
        if len(items) != self.length + self.added or any(
            a is not b for a, b in zip(items, self.shown, strict=False)
        ):
            raise Unlike("a list does not grow in the same way in each round")
        self.appended = items[self.length :]
        for slot, new in zip(self.window, items[len(items) - len(self.window) :], strict=True):
            slot.after = as_expr(new)
            if (slot.after.shape, slot.after.dtype) != (slot.start.shape, slot.start.dtype):
                raise Unlike("elements of a list are not of one kind")

    def finish(self, stacked: Sequence[Expr], n: int) -> None:
        journal.note_container(self.items)
        columns = [
            (like, wrap_array(rows)) for like, rows in zip(self.appended, stacked, strict=True)
        ]
        for t in range(n):
            self.items += [handle_like(like, rows[t].expr) for like, rows in columns]


class _Gone:
    """An element of a list that a round must not look at."""

    __slots__ = ()


def _looked_at(self: Any, *_: Any, **__: Any) -> Any:
    raise refuse("elements of a list are read that were stored many rounds before")


for _name in (
    "__getattr__", "__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__",
    "__truediv__", "__rtruediv__", "__pow__", "__rpow__", "__matmul__", "__rmatmul__", "__neg__",
    "__abs__", "__bool__", "__float__", "__int__", "__index__", "__len__", "__iter__", "__call__",
    "__getitem__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__array__", "__repr__",
):  # fmt: skip
    setattr(_Gone, _name, _looked_at)
GONE = _Gone()
_MOST_READ = 3


def refuse(why: str) -> Unlike:
    """To be raised; also if the user's code catches it, the attempt is over."""
    trace = CURRENT.get()
    trace.unlike = trace.unlike or why
    return Unlike(why)


def length_of(values: Any) -> int:
    """``len(values)``; not of a list that grows in the round that is being traced."""
    if type(values) is list and any(v is values for v in CURRENT.get().growing):
        raise refuse("the length of a list is read that grows")
    return len(values)


# ---- attempts ------------------------------------------------------------------------------------


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
        known = keep if not isinstance(keep, Handle) else truth_of(keep)
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
ALWAYS.update({zip: zip_, enumerate: enumerate_, reversed: reversed_, len: length_of})
