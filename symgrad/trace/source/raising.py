"""Exceptions that a traced function raises on one side of a decision, and assertions.

Such a side becomes a check (`ops/checks`): what follows is traced as if the side were not taken,
and the call fails with the user's exception where it is. Only what is raised by a `raise` or an
`assert` becomes one, and only where nobody can catch it: neither the user's code (`Catching`), nor
a library that calls it, nor Python, which has a use for some exceptions itself.
"""

from __future__ import annotations

import contextlib
import dis
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

import numpy as np

from symgrad.errors import SymgradError, is_internal
from symgrad.expr.node import Expr, bind
from symgrad.ops.checks import CHECK, Failure
from symgrad.ops.elementwise import both, invert
from symgrad.trace import journal
from symgrad.trace.handle import Handle, as_expr
from symgrad.trace.source.blocks import PREFIX
from symgrad.trace.source.clones import RUNTIME
from symgrad.trace.state import CURRENT, Trace
from symgrad.trace.tracer import wrap

_RAISE = dis.opmap["RAISE_VARARGS"]
_HERE = os.path.dirname(os.path.abspath(__file__))
ASSERTION, BEGINNING = "assert_", "_run"  # functions of ours, by name
# Exceptions that Python itself takes for an answer.
_ANSWERS = (AttributeError, StopIteration, StopAsyncIteration)
_PLAIN_METHODS = ("__init__", "__post_init__", "__call__")


# ---- checks of the running trace -----------------------------------------------------------------


def checked() -> Expr:
    """What the running function has checked."""
    return as_expr(CURRENT.get().checks.value)


def set_checks(value: Expr | None) -> None:
    """From here on, `value` is what has been checked; nothing changes for None."""
    if value is not None:
        checks = CURRENT.get().checks
        journal.note_attribute(checks, "value")
        checks.value = wrap(value)


def failing(before: Expr, bad: Expr, failure: Failure) -> Expr:
    """The check that fails where `bad` holds, and all that has led to where it is made.

    What two sides need is computed before both (`sink`): then nothing but this says that the check
    belongs to one.
    """
    for predicate, holds in _ways(CURRENT.get()):
        bad = both(predicate if holds else invert(predicate), bad)
    made = bind(CHECK, before, bad, attrs=(failure,))
    if made.site is None:
        made.site = failure.file, failure.line
    return made


def _ways(trace: Trace) -> Iterator[tuple[Expr, bool]]:
    """The decisions that have led here, the last one first."""
    current = trace.journal
    while current is not None:
        if current.predicate is not None:
            yield current.predicate, current.holds
        current = current.parent
    for t in _traces(trace):
        if t.paths is not None:
            yield from t.paths.ways()


# ---- which exceptions --------------------------------------------------------------------------


def failure_of(error: BaseException, trace: Trace) -> Failure | None:
    """What an exception that a side of a branch raises becomes; None if it cannot become a check.

    To be called where the exception is caught.
    """
    tb = error.__traceback__
    if not isinstance(error, Exception) or isinstance(error, (SymgradError, *_ANSWERS)):
        return None
    places = []
    while tb is not None:
        places.append(tb)
        tb = tb.tb_next
    if not places or not _is_raised(places[-1]) or any(_is_answer(p.tb_frame) for p in places):
        return None
    if not is_free(error, sys._getframe(1), trace):
        return None
    inside = [(p.tb_frame, p.tb_lineno) for p in places]
    frame, line = next(
        (f, line) for f, line in (*reversed(inside), *_frames(sys._getframe(1)))
        if not is_internal(f.f_code.co_filename)
    )  # fmt: skip
    args = tuple([_told(a) for a in error.args])
    state = {k: _told(v) for k, v in error.__dict__.items() if k != "__notes__"}
    code = frame.f_code
    return Failure(type(error), args, state, code.co_filename, line, code.co_name)


def _frames(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back


def _is_raised(tb: TracebackType) -> bool:
    """Whether an exception comes from a `raise` or an `assert`, not from what Python computes."""
    code = tb.tb_frame.f_code
    is_assertion = code.co_name == ASSERTION and code.co_filename.startswith(_HERE)
    return code.co_code[tb.tb_lasti] == _RAISE and (
        is_assertion or not is_internal(code.co_filename)
    )


def _is_answer(frame: FrameType) -> bool:
    """Whether Python itself may have called a method, and take an exception for an answer."""
    name = frame.f_code.co_name
    return name[:2] == name[-2:] == "__" and name not in _PLAIN_METHODS


def _traces(trace: Trace) -> list[Trace]:
    """A trace and those around it."""
    found = [trace]
    while found[-1].parent is not None and found[-1].parent.parent is not None:
        found.append(found[-1].parent)
    return found


def why_not(error: Exception, trace: Trace) -> str:
    """For a message, why what a side raises cannot become a check."""
    if any(c.catches(error) for t in _traces(trace) for c in t.catching):
        return "which the code around it may catch"
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    if tb is not None and _is_raised(tb):
        return "which Python or a library that calls it may catch"
    return "not by a `raise` or an `assert`"


def is_free(error: Exception, frame: FrameType, trace: Trace) -> bool:
    """Whether nobody between a side and the beginning of all traces may catch what it raises."""
    traces = _traces(trace)
    if any(c.catches(error) for t in traces for c in t.catching):
        return False
    trace = traces[-1]
    for f, _ in _frames(frame):
        code = f.f_code
        if not is_internal(code.co_filename):
            if not any(n.startswith(PREFIX) for n in code.co_freevars) or _is_answer(f):
                return False
        elif code.co_name == BEGINNING and f.f_locals.get("trace") is trace:
            return True
    return False


def _told(value: Any) -> Any:
    """An argument of an exception; traced values have no number yet, and are told as such."""
    if isinstance(value, Handle):
        known = value.known()
        return _UNKNOWN if known is None else known if known.ndim else known[()]
    return _TRACER.sub(_UNKNOWN, value) if type(value) is str else value


_UNKNOWN = "<a value of this call>"
_TRACER = re.compile("<Tracer [^<>]*>")


# ---- who may catch -------------------------------------------------------------------------------


class Catching:
    """What stands in a `with` around a block of the user's that may catch exceptions.

    kinds : what the handlers of a `try` are for
    """

    __slots__ = ("kinds", "trace")

    def __init__(self, kinds: Callable[[], Any]) -> None:
        self.kinds = kinds

    def catches(self, error: BaseException) -> bool:
        kinds = self.kinds()
        return isinstance(error, kinds)

    def __enter__(self) -> None:
        self.trace = CURRENT.get()
        self.trace.catching.append(self)

    def __exit__(self, *_: Any) -> None:
        found = self.trace.catching  # generators may leave their blocks in any order
        found.pop(next(k for k in reversed(range(len(found))) if found[k] is self))


class _Managed(Catching):
    """A context manager of the user's, which may catch whatever it likes."""

    __slots__ = ("manager",)

    def __init__(self, manager: Any) -> None:
        super().__init__(lambda: BaseException)
        self.manager = manager

    def __enter__(self) -> Any:
        result = type(self.manager).__enter__(self.manager)
        super().__enter__()
        return result

    def __exit__(self, *raised: Any) -> Any:
        super().__exit__()
        return type(self.manager).__exit__(self.manager, *raised)


_HARMLESS = (np.errstate, warnings.catch_warnings, contextlib.nullcontext)


def managed(manager: Any) -> Any:
    """What a `with` enters; only while a function is traced."""
    known = isinstance(manager, _HARMLESS) or not hasattr(type(manager), "__enter__")
    return manager if known or CURRENT.get().parent is None else _Managed(manager)


RUNTIME.update({"catching": Catching, "managed": managed})
