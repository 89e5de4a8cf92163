"""Recursion whose end the data decide: it is followed for so many levels, the next one is a check.

The sides of a decision are traced one inside of the other, so a function that calls itself on one
side of a decision would be traced for ever. Where it has called itself often enough, that side
fails instead: it becomes a check (`raising`), and a call whose values lead there raises.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from types import CodeType, FrameType

from symgrad.errors import BranchError, RecursionLimitError, user_site
from symgrad.ops.checks import Failure
from symgrad.trace.source.blocks import PREFIX
from symgrad.trace.source.raising import is_free
from symgrad.trace.state import CURRENT, fail

DEEPEST = 60  # sides inside of sides
_SHALLOW = 12  # sides for which nobody looks at the stack
_STACK = 0.7  # of Python's limit
_LEVELS = (6, 4)  # that are tried where a function calls itself more than once in each
_MANY = 600  # sides behind the first that is too deep: such a recursion goes more than one way
_FEWEST = 4  # levels; what has fewer is not deep by recursion
# How many levels are followed; None for as many as sides may be inside of sides.
_MOST: ContextVar[int | None] = ContextVar("symgrad_levels", default=None)


class TooDeep(BranchError):
    """A side begins that is too deep in a recursion; `failure` is what the call then raises."""

    failure: Failure


class TooWide(BranchError):
    """A recursion that calls itself more than once in each level: fewer levels can be followed."""


@contextlib.contextmanager
def levels(most: int | None) -> Iterator[None]:
    """What is recorded inside follows so many levels of a recursion; None leaves it as it is."""
    token = _MOST.set(most or _MOST.get())
    try:
        yield
    finally:
        _MOST.reset(token)


def fewer(error: BaseException, most: int | None) -> int | None:
    """How many levels to follow in the next attempt; None if there is to be none."""
    if not isinstance(error, TooWide):
        return None
    return next((n for n in _LEVELS if most is None or n < most), None)


def check_depth(depth: int) -> None:
    """A side is about to begin, `depth` sides inside of each other."""
    trace, most = CURRENT.get(), _MOST.get()
    if depth < _SHALLOW and most is None:
        return
    code, count, frames = _repeated(sys._getframe(1))
    is_deep = depth > DEEPEST or frames > sys.getrecursionlimit() * _STACK
    if not is_deep and (most is None or count <= most):
        return
    told = (
        f"more than {DEEPEST} decisions on traced values inside of each other: use "
        "symgrad.while_loop, or np.where"
    )
    if code is None or most is None and count < _FEWEST:
        raise fail(BranchError, told)
    if trace.deep_since is None:
        trace.deep_since = trace.decisions
    if trace.decisions > trace.deep_since + _MANY:
        raise fail(
            TooWide, f"{code.co_name} calls itself in too many ways that depend on traced values"
        )
    failure = Failure(
        RecursionLimitError,
        (
            f"{code.co_name} calls itself {count} levels deep and more for these values, and so "
            "many were compiled, since traced values decide about its end; write it as a loop",
        ),
        {}, *(user_site() or ("?", 1)), code.co_name,
    )  # fmt: skip
    error = TooDeep(told)
    error.failure = failure
    if not is_free(error, sys._getframe(1), trace):
        raise fail(BranchError, told)
    raise error


def _repeated(frame: FrameType | None) -> tuple[CodeType | None, int, int]:
    """The rewritten code that is running most often at once, how often, and all frames."""
    counts: Counter[CodeType] = Counter()
    frames = 0
    while frame is not None:
        frames += 1
        if any(name.startswith(PREFIX) for name in frame.f_code.co_freevars):
            counts[frame.f_code] += 1
        frame = frame.f_back
    return (*counts.most_common(1)[0], frames) if counts else (None, 0, frames)
