"""Lists that a loop has made longer, where the data decide how often.

A `Tail` stands in such a list for all elements that the loop has put there. It knows how many they
are, the last ones, their sum, and the largest and the smallest. Whoever asks for anything else, or
wants to go through them one by one, gets an error: how long a list is would be known at run time
only.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.errors import ConcretizationError
from symgrad.expr.node import Expr
from symgrad.ops.checks import Failure
from symgrad.ops.elementwise import less
from symgrad.trace import journal
from symgrad.trace.handle import Handle
from symgrad.trace.source.raising import checked, failing, is_free, set_checks
from symgrad.trace.source.stand_in import StandIn
from symgrad.trace.state import CURRENT, Site, fail, site
from symgrad.trace.tables import SUPPORTED
from symgrad.trace.tracer import wrap_python

_WRITE = (
    "Known of such a list are len, sum, max, min, np.sum, np.mean, np.max, np.min and its last "
    "three elements. Keep what you need of all of them in a variable of the loop, or store them in "
    "an array of fixed length: `out = np.zeros(max_steps)`, `for k in range(max_steps)`, "
    "`out[k] = …`, `break`"
)


class Tail(StandIn):
    """The elements that a loop has put at the end of a list.

    where : the loop, as ``file:line``
    decisions : lines that decide how often it runs; on a path each of them is known
    count : how many elements there are, an int64
    least : so many there are in any case
    last : the last elements of the whole list, the very last one first
    before : the elements of the list before; the first of `last` are these if there are none
    folds : by "sum", "max", "maximum" and so on what that is of the elements
    """

    __slots__ = ("_before", "_count", "_decisions", "_folds", "_last", "_least", "_where")

    __symgrad_refuses__ = True

    def __init__(
        self,
        where: str,
        decisions: frozenset[Site],
        count: Expr,
        least: int,
        last: Sequence[Any],
        before: Sequence[Any],
        folds: dict[str, Any],
    ) -> None:
        self._where, self._decisions, self._count, self._least = where, decisions, count, least
        self._last, self._before, self._folds = last, before, folds

    def _fail(self, *_: Any, **__: Any) -> Any:
        raise refused(self, "all of its elements are needed")

    def __repr__(self) -> str:
        return f"<what the loop at {self._where} has appended>"


def refused(tail: Tail, what: str) -> ConcretizationError:
    error = fail(
        ConcretizationError,
        f"a list grows in the loop at {tail._where}, how often depends on traced values, and "
        f"{what}. {_WRITE}",
    )
    error.decisions = journal.sites() | tail._decisions
    return error


def tail_of(values: Any) -> Tail | None:
    """The first tail of a list, if it has any."""
    if CURRENT.get().tails and (type(values) is list or type(values) is tuple):
        for v in values:
            if type(v) is Tail:
                return v
    return None


# ---- what is known -------------------------------------------------------------------------------


def length(values: Any) -> Any:
    """``len(values)``, also of a list that grows in the round that is being traced."""
    for growing in reversed(CURRENT.get().growing):
        if growing.items is values:
            return growing.length_now()
    tail = tail_of(values)
    if tail is None:
        return len(values)
    counts = [v._count for v in values if type(v) is Tail]
    return wrap_python(functools.reduce(lambda a, b: a + b, counts)) + (len(values) - len(counts))


def is_filled(values: list[Any]) -> Any:
    """The truth of a list, which is traced where only the data say whether it is empty."""
    if any(g.items is values and not g.length for g in CURRENT.get().growing):
        return length(values) > 0
    tail = tail_of(values)
    if tail is None or any(type(v) is not Tail or v._least for v in values):
        return bool(values)
    return length(values) > 0


def element(values: Any, index: Any) -> Any:
    """``values[index]`` of a list or tuple with a tail."""
    tail = tail_of(values)
    assert tail is not None
    if type(index) is slice:
        return _part(values, index, tail)
    if isinstance(index, Handle):
        raise refused(tail, "an element is asked for by a traced number")
    first = next(k for k, v in enumerate(values) if type(v) is Tail)
    if 0 <= index < first:
        return values[index]
    if index >= 0:
        raise refused(tail, f"element {index} is asked for, counted from the beginning")
    for k in range(1, len(values) + 1):
        if type(values[-k]) is Tail:
            return _from_end(values, len(values) - k, -index - k + 1)
        if -index == k:
            break
    return values[index]


def walked(values: Any) -> Any:
    """What is gone through, or taken apart: no list with a tail."""
    tail = tail_of(values)
    if tail is not None:
        raise refused(tail, "all of its elements are gone through")
    return values


def check_stored(values: Any, index: Any) -> None:
    """Refuse to change an element of a list with a tail, but for those before it; None for all."""
    tail = tail_of(values)
    if tail is not None:
        first = next(k for k, v in enumerate(values) if type(v) is Tail)
        if type(index) is not int or not 0 <= index < first:
            raise refused(tail, "one of its elements is changed")


def _part(values: Any, index: slice, tail: Tail) -> Any:
    places = [k for k, v in enumerate(values) if type(v) is Tail]
    ends = [0 if e is None else e for e in (index.start, index.stop)]
    if index.step not in (None, 1) or not all(type(e) is int and 0 <= e <= places[0] for e in ends):
        raise refused(tail, "a part of it is asked for that may reach into these elements")
    found = values[index]
    return journal.made(found) if type(found) is list else found


def _from_end(values: Any, place: int, number: int) -> Any:
    """The element that is number 1, 2, … from the end of the tail at a place."""
    tail: Tail = values[place]
    if number > len(tail._last):
        raise refused(tail, f"element {-number} is asked for")
    if number > tail._least:
        ahead = values[max(0, place - len(tail._before)) : place]
        if list(map(id, ahead)) != list(map(id, tail._before)):
            raise refused(tail, "what is before these elements has been changed since")
    if number > max(tail._least, len(tail._before)):
        _check(less(tail._count, number), IndexError("list index out of range"), tail)
    return tail._last[number - 1]


def _check(bad: Expr, error: Exception, tail: Tail) -> None:
    """Have a call fail where a list is too short."""
    trace = CURRENT.get()
    if not is_free(error, sys._getframe(1), trace):
        raise refused(tail, f"it may be too short: {error}, which the code around it may catch")
    file, line = site() or ("?", 0)
    failure = Failure(type(error), error.args, {}, file, line, trace.name)
    set_checks(failing(checked(), bad, failure))


def _fold(name: str, values: Sequence[Any]) -> list[Any]:
    """The elements of a list, with what a fold of its tails is in their place."""
    found = []
    for v in values:
        if type(v) is Tail:
            if name not in v._folds:
                raise refused(v, f"{name}() of these elements is not known")
            v = v._folds[name]
        found.append(v)
    return found


def _sum(values: Any, start: Any = 0) -> Any:
    return functools.reduce(lambda a, b: a + b, _fold("sum", values), start)


def _extreme(name: str, plain: Callable[..., Any], values: Any) -> Any:
    """The largest or smallest element; `plain` is that of two numbers."""
    found = _fold(name, values)
    if not any(type(v) is not Tail or v._least for v in values):
        tail = tail_of(values)
        assert tail is not None
        text = f"{plain.__name__}() arg is an empty sequence"
        _check(less(length(values).expr, 1), ValueError(text), tail)
    return functools.reduce(plain, found)


def _numpy_sum(values: Any) -> Any:
    return SUPPORTED["sum"](_sum(values))


def _numpy_mean(values: Any) -> Any:
    return SUPPORTED["mean"](_sum(values) / length(values))


# By function what it gives for a list with a tail; None: what Python gives.
ANSWERS: dict[Any, Callable[..., Any] | None] = {
    len: length, sum: _sum, np.sum: _numpy_sum, np.mean: _numpy_mean,
    np.max: functools.partial(_extreme, "maximum", np.maximum),
    np.min: functools.partial(_extreme, "minimum", np.minimum),
    **dict.fromkeys((list, tuple, isinstance, type, id, print, repr, str)),
}  # fmt: skip
_METHODS = frozenset({"append", "extend", "copy", "clear"})  # of lists


def extremes(largest: Callable[..., Any], smallest: Callable[..., Any]) -> None:
    """Register `max` and `min`, by the functions that trace them for numbers."""
    ANSWERS[max] = functools.partial(_extreme, "max", largest)
    ANSWERS[min] = functools.partial(_extreme, "min", smallest)


def answer(f: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What a function that is not the user's gives for a list with a tail.

    None if there is no such list, or Python itself does the right thing.
    """
    owner = getattr(f, "__self__", None)
    found = map(tail_of, (owner, *args, *kwargs.values()))
    tail = next((t for t in found if t is not None), None)
    if tail is None:
        return None
    if isinstance(owner, journal.CONTAINERS):
        if type(owner) is not list or f.__name__ in _METHODS:
            return None
    elif f in ANSWERS:
        function = ANSWERS[f]
        if function is None:
            return None
        if tail_of(args[0]) is not None and not kwargs.keys() - {"start"} and len(args) < 3:
            return function(*args, **kwargs)
    name = getattr(f, "__name__", repr(f))
    raise refused(tail, f"{name}() would go through all of its elements")
