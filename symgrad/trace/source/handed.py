"""What is handed from round to round: symbols stand for it while one round is traced."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad import tree
from symgrad.errors import TraceError
from symgrad.expr.node import FLOATS, Expr, arg, bind, const
from symgrad.trace import journal, ufuncs
from symgrad.trace.handle import Handle, as_expr
from symgrad.trace.memory import join
from symgrad.trace.source.calls import ALWAYS
from symgrad.trace.source.merging import Undefined, is_number
from symgrad.trace.source.places import Memory, Place
from symgrad.trace.source.refusal import Unlike, refuse
from symgrad.trace.source.stand_in import StandIn
from symgrad.trace.source.tails import Tail, length
from symgrad.trace.state import CURRENT
from symgrad.trace.tracer import ZeroTracer, is_python, wrap, wrap_array, wrap_python

_MOST_READ = 3  # elements at the end of a list that grows


@dataclass
class Slot:
    """One array or number that is handed from round to round.

    symbol : what stands for it in a round; None if no round may read it, since it was undefined
    start, after : what it is before the first round and after one
    like : the kind of what a round leaves, and that itself
    old, given : the values that `start` and `symbol` are of
    shared : what arrays older than the loop, or handed on in it, the last one may be
    is_older : whether what a round leaves is an array that is older than the loop
    """

    symbol: Any
    start: Expr
    after: Expr
    like: Any
    old: Any = None
    given: Any = None
    shared: Sequence[Any] = ()
    is_older: bool = False
    new: Any = None


def is_array(value: Any) -> bool:
    """Whether a value is memory that can be changed, and that others may have too."""
    return isinstance(value, Handle) and not is_python(value) and (
        bool(value.shape) or isinstance(value, ZeroTracer)
    )  # fmt: skip


def symbol_of(shape: tuple[int, ...], dtype: str) -> Expr:
    """An argument that stands for something in one round, and nowhere else."""
    trace, made = CURRENT.get(), arg(0, shape, dtype)
    trace.symbols[made] = TraceError(
        f"{trace.name}: a value of one round of a loop was kept outside of the loop in a way that "
        "is not followed (by an object of a library, say); keep it in a list or an array, or "
        "return it"
    )
    return made


def handle_like(like: Any, expr: Expr) -> Any:
    """A tracer of the kind of `like`."""
    if is_python(like):
        return wrap_python(expr)
    return wrap_array(expr) if isinstance(like, (np.ndarray, ZeroTracer)) else wrap(expr)


class Handed:
    """The value of one place: its structure, what in it is the same in all rounds, and slots.

    A value that was undefined before the loop is not handed to a round; what the last round leaves
    counts. One that is undefined still where no round has decided to set it comes with its truth.
    """

    name = "an entry"  # of the variable

    def __init__(self, place: Place, old: Any, new: Any, changed: set[int]) -> None:
        self.place = place
        self.is_memory = isinstance(place, Memory)
        self.partial: Undefined | None = None
        self.defined = not isinstance(old, Undefined)
        if self.is_memory:
            self.leaves: list[Any] = [Slot(symbol_of(old.shape, old.dtype), old, new, None)]
            return
        if not self.defined and old._value is not None:
            raise Unlike("a variable has no value in some cases")
        value, truth = self._opened(new)
        self.first = value
        leaves, self.structure = tree.flatten(value)
        olds = leaves
        if self.defined:
            olds, structure = tree.flatten(old)
            if structure != self.structure:
                raise Unlike("a value changes its structure")
        self.leaves = [self._leaf(a, b, changed) for a, b in zip(olds, leaves, strict=True)]
        if truth is not None:
            self.leaves.append(Slot(None, const(False, "bool"), truth, np.bool_(False)))

    def _opened(self, new: Any) -> tuple[Any, Expr | None]:
        """A value, and where it is defined if that is not everywhere."""
        if not isinstance(new, Undefined):
            return new, None
        if self.defined or new._value is None or new._defined is None:
            raise Unlike("a variable has no value in some cases")
        self.partial = new
        return new._value, new._defined

    def _leaf(self, old: Any, new: Any, changed: set[int]) -> Any:
        if old is new and self.defined:
            return new
        if type(old) is type(new) and type(new) in _FIXED:
            if self.defined and old != new:
                raise Unlike(f"{old!r} becomes {new!r}")
            return new
        if not is_number(new) or not is_number(old):
            if not self.defined:
                return new
            raise Unlike(f"{old!r} becomes {new!r}")
        if id(old) in changed and self.defined:
            raise Unlike("an array is changed and its variable gets another one")
        after, start = as_expr(new), as_expr(old)
        if not self.defined:
            return Slot(None, const(0, after.dtype, after.shape), after, new)
        if start.shape != after.shape:
            raise Unlike(f"shape {start.shape} becomes {after.shape}")
        dtype = _common(old, start, new, after)
        return Slot(symbol_of(start.shape, dtype), as_expr(start, dtype), after, new, old)

    def slots(self) -> list[Slot]:
        return [leaf for leaf in self.leaves if isinstance(leaf, Slot)]

    def put(self) -> list[Any]:
        """Symbols where the values were; the tracers that hold them."""
        if self.is_memory:
            self.place.set(self.leaves[0].symbol)
            return []
        if not self.defined:
            return []
        slots = self.slots()
        for slot in slots:
            slot.given = handle_like(slot.like, slot.symbol)
        made = [leaf.given if isinstance(leaf, Slot) else leaf for leaf in self.leaves]
        self.place.set(self.structure.unflatten(made))
        return [s.given for s in slots]

    def take(self, value: Any) -> bool:
        """Note what a round left here; whether it has the types that the round was given."""
        if self.is_memory:
            self.leaves[0].after = value
            return True
        value, truth = self._opened(value)
        leaves, structure = tree.flatten(value)
        if structure != self.structure:
            raise Unlike("a value changes its structure")
        if (truth is None) is not (self.partial is None):
            raise Unlike("a variable has no value in some cases")
        first, self.first = self.first, None
        if _one_container(first, value):
            raise Unlike("a list or dict is put somewhere that others have")
        del first
        settled = all([self._settled(s, v) for s, v in zip(self.leaves, leaves, strict=False)])
        if truth is not None:
            self.leaves[-1].after = truth
        return settled

    def _settled(self, slot: Any, new: Any) -> bool:
        if not isinstance(slot, Slot):
            if new is not slot and (type(new) not in _FIXED or new != slot):
                raise Unlike(f"{slot!r} becomes {new!r}")
            return True
        if not is_number(new):
            raise Unlike(f"a number becomes {new!r}")
        slot.after, slot.like = as_expr(new), new
        if slot.after.shape != slot.start.shape:
            raise Unlike(f"shape {slot.start.shape} becomes {slot.after.shape}")
        if slot.after.dtype == slot.start.dtype:
            return True
        dtype = _common(slot.old, slot.start, new, slot.after)
        if dtype == slot.start.dtype:
            slot.after = as_expr(slot.after, dtype)
            return True
        slot.start = as_expr(slot.start, dtype)
        if slot.symbol is not None:
            slot.symbol = symbol_of(slot.start.shape, dtype)
        return False

    def finish(
        self, finals: Sequence[Expr], made: dict[int, Any], ran: Expr | None, where: str
    ) -> None:
        """The final values.

        made : the new tracer of each that a round left
        ran : whether there was a round, None if that is certain
        where : the loop, for messages
        """
        if self.is_memory:
            self.place.set(finals[0])
            return
        rest, leaves = iter(finals), []
        for leaf in self.leaves:
            if isinstance(leaf, Slot):
                final = next(rest)
                new = made.get(id(leaf.like))
                if new is None or (new.expr is not final and ran is not None) or (
                    new.expr.dtype != final.dtype
                ):  # fmt: skip
                    new = handle_like(leaf.like, final)
                    if leaf.is_older and ran is None and new.dtype == leaf.like.dtype:
                        new = leaf.like
                    made[id(leaf.like)] = new
                leaf.new = leaf = new
            leaves.append(leaf)
        truth = leaves.pop().expr if self.partial is not None else ran
        value = self.structure.unflatten(leaves)
        if self.partial is not None:
            p = self.partial
            value = Undefined(p._name, p._where, p._free, value, truth)
        elif ran is not None and not self.defined:
            value = Undefined(self.name, f"if the loop at {where} has no round", False, value, ran)
        self.place.set(value)


def _common(old: Any, start: Expr, new: Any, after: Expr) -> str:
    """The dtype that is handed on: a Python number takes that of what a round makes of it."""
    if is_python(old) and is_python(new):
        return np.result_type(start.dtype, after.dtype).name
    return ufuncs.promote([
        ufuncs.Weak(e) if is_python(v) else e for v, e in ((old, start), (new, after))
    ])  # fmt: skip


def _one_container(a: Any, b: Any) -> bool:
    """Whether a list or dict of two values of one structure is the same object in both."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a is b or any(_one_container(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        same = a is b and isinstance(a, list)
        return same or any(_one_container(x, y) for x, y in zip(a, b, strict=True))
    return False


_FIXED = (bool, str, bytes, type(None), type, type(...))


class Grown:
    """A list that each round makes longer: what it gets, and the last elements, which it may read.

    The other elements are out of reach in a round: whoever looks at one ends the attempt. So does
    what depends on the length otherwise than by `len`: the round is run with lists of two lengths,
    and must not differ.

    number : of the round, an argument
    from_nothing : whether the list may be empty at first
    """

    def __init__(
        self, items: list[Any], length: int, number: Expr, from_nothing: bool = False
    ) -> None:
        if not (length or from_nothing):
            raise Unlike("a list is empty at first")
        self.number, self.begin = number, None
        self.items, self.length, self.added = items, length, len(items) - length
        self.appended: list[Any] = list(items[length:])
        if not all(map(is_number, self.appended)):
            raise Unlike(
                "a list gets elements that are no numbers or arrays: use a list for each part"
            )
        last = as_expr(self.appended[-1])
        self.window: list[Slot] = []
        for old in reversed(items[max(0, length - _MOST_READ) : length]):
            start = as_expr(old) if is_number(old) else None
            if start is None or start.shape != last.shape:
                break
            start = as_expr(start, _common(old, start, self.appended[-1], last))
            symbol = symbol_of(start.shape, start.dtype)
            self.window.insert(0, Slot(symbol, start, last, self.appended[-1]))

    def put(self, more: int) -> list[Any]:
        """Symbols in the place of the last elements, behind so many more than there are at first:
        one at least, since the first element of all is none of the last in most rounds."""
        self.begin = length(self.items)
        journal.note_container(self.items)
        here = [handle_like(s.like, s.symbol) for s in self.window]
        self.shown = [GONE] * (self.length - len(here) + more) + here
        self.items[:] = self.shown
        return here

    def length_now(self) -> Any:
        """How long the list is in a round."""
        more = wrap_python(self.number * const(self.added, "int64"))
        return self.begin + more + (len(self.items) - len(self.shown))

    def take(self) -> None:
        items = self.items
        if len(items) != len(self.shown) + self.added or any(
            a is not b for a, b in zip(items, self.shown, strict=False)
        ):
            raise Unlike("a list does not grow in the same way in each round")
        self.appended = items[len(self.shown) :]
        for slot, new in zip(self.window, items[len(items) - len(self.window) :], strict=True):
            slot.after = as_expr(new)
            if (slot.after.shape, slot.after.dtype) != (slot.start.shape, slot.start.dtype):
                raise Unlike("elements of a list are not of one kind")

    def finish(self, stacked: Sequence[Expr], n: int, first: dict[int, Any], last: Any) -> None:
        """The elements of all rounds.

        first, last : arrays that are elements of the first and the last round, by what a round left
        """
        journal.note_container(self.items)
        columns = [
            (like, wrap_array(rows)) for like, rows in zip(self.appended, stacked, strict=True)
        ]
        for t in range(n):
            ready = first if t == 0 else last if t == n - 1 else {}
            self.items += [
                ready[id(like)] if id(like) in ready else handle_like(like, rows[t].expr)
                for like, rows in columns
            ]

    # ---- where nobody knows how many rounds there are ----
    def carry(self) -> list[Slot]:
        """What is handed on besides: elements before the window, and folds of what is appended."""
        made = [as_expr(v) for v in self.appended]
        like, shape, dtype = self.appended[-1], made[-1].shape, made[-1].dtype
        self.older: list[Slot] = []
        self.folds: dict[str, Slot] = {}
        if any((e.shape, e.dtype) != (shape, dtype) for e in made):
            return []
        nothing = const(0, dtype, shape)
        for _ in range(_MOST_READ - len(self.window)):
            self.older.append(Slot(symbol_of(shape, dtype), nothing, nothing, like))
        line = [*[s.symbol for s in (*self.older, *self.window)], *made]
        for k, slot in enumerate(self.older):
            slot.after = line[k + self.added]
        if dtype in FLOATS:
            for name, start in _FOLDS.items():
                if name == "sum" or not shape:
                    symbol = symbol_of(shape, dtype)
                    after = symbol
                    for e in made:
                        after = _folded(name, after, e)
                    self.folds[name] = Slot(symbol, const(start, dtype, shape), after, like)
        return [*self.older, *self.folds.values()]

    def leave(self, finals: Sequence[Expr], rounds: Expr, ran: bool, tail: Callable[..., Tail],
              arrays: Sequence[Any], made: dict[int, Any]) -> None:  # fmt: skip
        """Put a `Tail` behind the elements that there were.

        finals : of the window and of what `carry` has told
        rounds, ran : how many there were, and whether it is known that there was one
        tail : makes it, but for what is known here
        arrays : what may share memory with one of the elements
        made : the new tracer of each that a round left
        """
        n, like = len(self.window), self.appended[-1]
        order = [*reversed(finals[:n]), *reversed(finals[n : n + len(self.older)])]
        last = [handle_like(like, e) for e in order]
        if ran and id(like) in made:
            last[0] = made[id(like)]
        before = self.items[len(self.items) - n :]
        for element in filter(is_array, last):
            join(element, [(h, None) for h in (*arrays, *before) if h is not element])
        folds = dict(zip(self.folds, finals[n + len(self.older) :], strict=True))
        journal.note_container(self.items)
        self.items.append(tail(
            count=rounds * const(self.added, "int64"), least=self.added if ran else 0, last=last,
            before=before, folds={k: handle_like(like, e) for k, e in folds.items()},
        ))  # fmt: skip
        CURRENT.get().tails = True


_FOLDS = {
    "sum": 0, "max": -math.inf, "min": math.inf, "maximum": -math.inf, "minimum": math.inf,
}  # fmt: skip


def _folded(name: str, value: Expr, element: Expr) -> Expr:
    """A fold of one element more, as Python's functions take them."""
    if name == "sum":
        return value + element
    if name in ("maximum", "minimum"):
        return bind(name, value, element)
    better = bind("less", value, element) if name == "max" else bind("less", element, value)
    return bind("select", better, element, value)


class _Gone(StandIn):
    """An element of a list that a round must not look at."""

    __slots__ = ()

    def _fail(self, *_: Any, **__: Any) -> Any:
        raise refuse("elements of a list are read that were stored many rounds before")

    __getattr__ = __repr__ = _fail


GONE = _Gone()


ALWAYS[len] = length
