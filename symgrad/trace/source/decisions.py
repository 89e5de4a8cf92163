"""Decisions on traced values: both sides are run, and what they leave is merged.

Rewritten code runs the two sides of an ``if`` one after the other in the user's own frame::

    b = decide(test)                            # PLAIN, or Sides where the test is traced
    if b is Sides: b.begin(names, locals(), …)
    for side in b:
        if side: …
        else: …
        if b is Sides: names = b.swap(locals())

so names, cells and generators are what they are in Python. In-place changes are taken back between
the sides (`journal`). What differs afterwards becomes results of one `branch` node.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from symgrad.errors import BranchError, SymgradError, TraceError, UnsupportedError
from symgrad.expr.node import Expr, bind
from symgrad.ops.checks import Failure
from symgrad.ops.control import branch
from symgrad.ops.linear import reshape
from symgrad.trace import journal, ufuncs
from symgrad.trace.handle import as_expr
from symgrad.trace.known import is_traced
from symgrad.trace.source.clones import RUNTIME
from symgrad.trace.source.merging import Merge, Undefined, freeze
from symgrad.trace.source.raising import failing, failure_of, set_checks, why_not
from symgrad.trace.source.recursion import TooDeep, check_depth
from symgrad.trace.source.special import SURE, tested
from symgrad.trace.state import CURRENT, fail, site
from symgrad.trace.tracer import Tracer, wrap, wrap_python

_TRUE, _FALSE = (True,), (False,)
_MOST = 10_000  # sides in one trace


def decide(test: Any) -> Any:
    """What an ``if`` runs: a tuple of one side, or `Sides` where the test is traced."""
    if test is True:
        return _TRUE
    if test is False:
        return _FALSE
    if isinstance(test, Tracer):
        known = truth_of(test)
        if not isinstance(known, bool):
            return Sides(known)
        return _TRUE if known else _FALSE
    if type(test) not in SURE:
        own = tested(test)
        if own is not test:
            return decide(own)
    return _TRUE if test else _FALSE


def truth_of(test: Tracer) -> Any:
    """The truth of a tracer: a bool where it is known, else a scalar Expr."""
    if test.is_known:
        return bool(test)
    if test.size != 1:
        if test.size and test.known() is None:
            raise fail(
                BranchError,
                f"the truth of an array of shape {test.shape} is ambiguous, in NumPy as well; use "
                "np.any or np.all",
            )
        return bool(test.known())
    predicate = reshape(ufuncs.truth(as_expr(test)), ())
    assumed = _assumed(predicate)
    if assumed is not None:
        return assumed
    value = wrap(predicate).known()
    if value is not None:
        return bool(value)
    paths = CURRENT.get().paths
    answer = None if paths is None else paths.answer(predicate, site(), native=False)
    return predicate if answer is None else answer


def _assumed(predicate: Expr) -> bool | None:
    """What a predicate is in the side that is being run, if that follows from where it is."""
    negated = False
    while predicate.op.name == "logical_not":
        predicate, negated = predicate.args[0], not negated
    current = CURRENT.get().journal
    while current is not None:
        if current.predicate is predicate:
            return bool(current.holds) != negated
        current = current.parent
    return None


class Sides:
    """The two sides of a decision, in the order in which they are run."""

    __slots__ = (
        "before", "failures", "journal", "kept", "names", "predicate", "raised", "site", "then",
        "trace",
    )  # fmt: skip

    def __init__(self, predicate: Expr) -> None:
        self.predicate = predicate
        self.site = site()
        self.then: Any = None
        self.journal: journal.Journal | None = None
        self.raised: Failure | None = None  # by the side that runs
        self.failures: list[Failure | None] = []  # by those that have run

    def __iter__(self) -> Iterator[bool]:
        return iter((True, False))

    def begin(
        self, names: Sequence[str], values: Any, yields: bool = False, kept: Sequence[str] = ()
    ) -> None:
        """Note the values of the names that the sides assign, and what is changed from now on.

        kept : names that nobody reads where the second side was taken, which is a return
        """
        self.kept = kept
        if yields:
            raise self._refused(
                fail(
                    UnsupportedError,
                    "a yield in a branch on a traced value is not traced: how many values there "
                    "are would depend on it",
                )
            )
        self.names = names
        self.before: list[Any] | None = [values.get(name, UNSET) for name in names]
        self.before = [Undefined(n) if v is UNSET else v
                       for n, v in zip(names, self.before, strict=True)]  # fmt: skip
        self.trace = CURRENT.get()
        self._open(True)

    def _open(self, holds: bool) -> None:
        parent = self.trace.journal
        self.trace.decisions += 1
        if self.trace.decisions > _MOST:
            raise fail(
                BranchError,
                f"more than {_MOST} decisions on traced values in one function: loops are unrolled "
                "here, and both sides of each branch are run",
            )
        self.journal = journal.Journal(parent, self.predicate, holds, self.site)
        check_depth(self.journal.depth)
        self.trace.journal = self.journal

    def swap(self, values: Any) -> Any:
        """The end of a side: the values of the names with which the code goes on."""
        assert self.journal is not None
        found = [values.get(name, UNSET) for name in self.names]
        left = [freeze(Undefined(n) if v is UNSET else v)
                for n, v in zip(self.names, found, strict=True)]  # fmt: skip
        self.failures.append(self.raised)
        self.raised = None
        changed = self.journal.take_back()
        self.trace.journal = self.journal.parent
        if self.journal.advanced():
            raise self._refused(
                fail(
                    BranchError,
                    "an iterator that is older than a branch on a traced value is advanced on one "
                    "side of it; make a list of it before",
                )
            )
        if self.then is None:
            self.then = left, changed
            check = self._failed_check(changed, True)
            self._open(False)
            set_checks(check)  # before all that the other side checks
            return self.before
        merge = Merge(self.predicate, self.site)
        names, changes = self.then
        check = None
        if any(self.failures):  # what the other side leaves counts for both
            if self.failures[0]:
                names, changes = left, changed.copy()
            else:
                check = self._failed_check(changed, False, changes)
                left, changed = names, changes.copy()
        try:
            results = [merge.values(a, a if n in self.kept else b, f"the variable {n}")
                       for a, b, n in zip(names, left, self.names, strict=True)]  # fmt: skip
            merge.changes(changes, changed)
            merge.run()
        except SymgradError as error:
            error.predicates += (self.predicate,)
            if isinstance(error, BranchError):
                raise self._refused(error) from error.__cause__
            raise
        set_checks(check)
        self.journal = self.then = self.before = None
        for name in self.names:  # what the frame keeps of it would be alive for `memory`
            values.pop(name, None)
        del found, left, names
        return [merge.result(r) for r in results]

    def _refused(self, error: TraceError) -> TraceError:
        """An error of a decision, which may be one that paths can follow."""
        if self.site is not None:
            error.decisions = journal.sites() | {self.site}
        error.operands = (self.predicate,)
        return error

    def _failed_check(
        self, changed: journal.Changes, holds: bool, others: journal.Changes | None = None
    ) -> Expr | None:
        """The check that a side which has raised becomes; None if it has not.

        others : what the other side has changed, if it comes before
        """
        failure = self.failures[-1]
        if failure is None:
            return None
        checks = self.trace.checks
        key, now = (id(checks), "value"), as_expr(checks.value)
        own = as_expr(changed.places[key][1]) if key in changed.places else now
        before = now
        if others is not None and key in others.places:
            before = as_expr(others.places[key][1])
        bad = self.predicate if holds else bind("logical_not", self.predicate)
        if own is now:
            return failing(before, bad, failure)
        made = failing(own, bad, failure)  # behind what the side has checked before
        pair = ([made], [before]) if holds else ([before], [made])
        return branch(self.predicate, *pair)[0]

    def failed(self, error: BaseException) -> bool:
        """A side raises; whether that becomes a check, and the other side goes on for both."""
        if self.journal is None:
            return False
        if not any(self.failures):
            deep = isinstance(error, TooDeep)
            self.raised = error.failure if deep else failure_of(error, self.trace)  # type: ignore[attr-defined]
            if self.raised is not None:
                return True
        self.journal.take_back()
        self.trace.journal = self.journal.parent
        self.journal = None
        if isinstance(error, SymgradError):
            error.predicates += (self.predicate,)
        elif isinstance(error, Exception):
            told = f"{type(error).__name__}: {error}".rstrip(": ")
            why = "and so does the other side" if any(self.failures) else why_not(error, self.trace)
            raised = fail(
                UnsupportedError,
                f"one side of a branch on a traced value raises {told}, {why}; that is not "
                "traced: check arguments before the call",
            )
            raised.predicates = (self.predicate,)
            raise self._refused(raised) from error
        return False


UNSET = object()


def failed(sides: Any, error: BaseException) -> bool:
    """A side of any decision has raised; whether the code goes on."""
    return type(sides) is Sides and sides.failed(error)


# ---- decisions in expressions --------------------------------------------------------------------


def _either(predicate: Expr, then: Callable[[], Any], orelse: Callable[[], Any]) -> Any:
    """The merged value of two sides that are expressions."""
    sides = Sides(predicate)
    sides.begin(("value",), {})
    merged = None
    for side in sides:
        value = None
        try:
            value = then() if side else orelse()
        except BaseException as error:
            if not sides.failed(error):
                raise
        merged = sides.swap({"value": value})
    assert merged is not None
    return merged[0]


def if_expression(test: Any, then: Callable[[], Any], orelse: Callable[[], Any]) -> Any:
    """``a if test else b``."""
    if isinstance(test, Tracer):
        test = truth_of(test)
        if isinstance(test, Expr):
            return _either(test, then, orelse)
    elif type(test) not in SURE:
        own = tested(test)
        if own is not test:
            return if_expression(own, then, orelse)
    return then() if test else orelse()


def not_(value: Any) -> Any:
    if isinstance(value, Tracer):
        known = truth_of(value)
        return not known if isinstance(known, bool) else wrap_python(bind("logical_not", known))
    if type(value) not in SURE:
        own = tested(value)
        if own is not value:
            return not_(own)
    return not value


def _truth(value: Any) -> Any:
    """The truth of anything: a bool where it is known, else a scalar Expr."""
    if isinstance(value, Tracer):
        return truth_of(value)
    if type(value) not in SURE:
        own = tested(value)
        if own is not value:
            return _truth(own)
    return bool(value)


def and_(value: Any, *others: Callable[[], Any]) -> Any:
    """``a and b and c``: `a` where it is false, else the rest."""
    for k, other in enumerate(others):
        known = _truth(value)
        if isinstance(known, Expr):
            rest = others[k + 1 :]
            return _combined(True, known, value, lambda: and_(other(), *rest))  # noqa: B023
        if not known:
            return value
        value = other()
    return value


def or_(value: Any, *others: Callable[[], Any]) -> Any:
    """``a or b or c``: `a` where it is true, else the rest."""
    for k, other in enumerate(others):
        known = _truth(value)
        if isinstance(known, Expr):
            rest = others[k + 1 :]
            return _combined(False, known, value, lambda: or_(other(), *rest))  # noqa: B023
        if known:
            return value
        value = other()
    return value


def _combined(both: bool, known: Expr, value: Any, rest: Callable[[], Any]) -> Any:
    sides = (rest, lambda: value) if both else (lambda: value, rest)
    return _either(known, *sides)


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "Lt": operator.lt, "LtE": operator.le, "Gt": operator.gt, "GtE": operator.ge,
    "Eq": operator.eq, "NotEq": operator.ne, "Is": operator.is_, "IsNot": operator.is_not,
    "In": lambda a, b: contains(b, a), "NotIn": lambda a, b: not_(contains(b, a)),
}  # fmt: skip


def chain(first: Any, *rest: Any) -> Any:
    """``a < b <= c``: names of operators, each with a function that gives the operand behind it."""
    left = first
    result: Any = True
    for k in range(0, len(rest), 2):
        right = rest[k + 1]()
        compared = _COMPARISONS[rest[k]](left, right)
        if k + 2 == len(rest):
            return compared
        if isinstance(compared, Tracer) and not isinstance(truth_of(compared), bool):
            return and_(compared, lambda: chain(right, *rest[k + 2 :]))  # noqa: B023
        if not compared:
            return compared
        left = right
    return result


def contains(values: Any, value: Any) -> Any:
    """``value in values``."""
    if type(values) in (list, tuple, set, frozenset) and (is_traced(value) or is_traced(values)):
        result: Any = False
        for element in values:
            if element is value:
                return True
            result = or_(result, lambda: element == value)  # noqa: B023
        return result
    if isinstance(values, Tracer | np.ndarray) and (is_traced(value) or is_traced(values)):
        return np.any(values == value)
    return value in values


def assert_(test: Any, message: Callable[[], Any]) -> None:
    """An assertion."""
    sides: Any = decide(test)
    if type(sides) is Sides:
        sides.begin((), {})
    for side in sides:
        try:
            if not side:
                told = message()
                raise AssertionError(*(() if told is UNSET else (told,)))
        except BaseException as error:
            if type(sides) is not Sides or not sides.failed(error):
                raise
        if type(sides) is Sides:
            sides.swap({})


def matches(value: Any, constant: Any) -> Any:
    """``case True``, ``case None``: whether a value is that very object."""
    if isinstance(value, Tracer) and isinstance(constant, bool) and value.dtype == bool:
        raise fail(
            BranchError,
            f"`case {constant}` never holds for a bool of NumPy's, and does for one of Python's, "
            "which cannot be told apart here; use `if`",
        )
    return value is constant


def is_open(*flags: Any) -> Any:
    """Whether none of some jumps has been made: the rest of a block runs then."""
    result: Any = True
    for flag in flags:
        if flag is True:
            return False
        if flag is not False:
            result = wrap(bind("logical_not", as_expr(flag))) if result is True else \
                np.logical_and(result, np.logical_not(flag))  # fmt: skip
    return result


def is_made(*flags: Any) -> bool:
    """Whether a jump has been made in any case, so that a loop ends."""
    return any(map(is_set, flags))


def is_set(flag: Any) -> bool:
    """Whether a flag is True whatever the arguments are: both sides of a branch may have set it."""
    if isinstance(flag, Tracer):
        known = flag.known()
        return known is not None and bool(known)
    return flag is True


def ends(*flags: Any) -> bool:
    """The same for a ``while`` loop, whose end must be known."""
    if any(isinstance(flag, Tracer) for flag in flags):
        raise fail(
            UnsupportedError,
            "a while loop that a break or return on a traced value ends is not traced; write it as "
            "`for k in range(most)`",
        )
    return is_made(*flags)


def note_variables(reader: Callable[[], Any]) -> None:
    """The variables of enclosing functions that a function assigns are about to change."""
    current = CURRENT.get().journal
    if current is not None:
        for cell in reader.__closure__ or ():
            current.note_cell(cell)


def note_globals(space: dict[str, Any], *names: str) -> None:
    """The same of global variables."""
    current = CURRENT.get().journal
    if current is not None:
        for name in names:
            current.note_item(space, name)


RUNTIME.update({
    "decide": decide, "Sides": Sides, "failed": failed, "ifexp": if_expression, "not": not_,
    "and": and_, "or": or_, "chain": chain, "contains": contains, "assert": assert_,
    "matches": matches, "open": is_open, "made": is_made, "ends": ends,
    "cells": note_variables, "globals": note_globals, "locals": locals, "unset": UNSET,
    "BaseException": BaseException, "no_result": lambda: Undefined("the result", "", True),
})  # fmt: skip
