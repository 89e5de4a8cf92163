"""Which trace is running, and errors that a running trace does not forget.

A `Trace` is the time during which one user function is called with tracers. Traces nest: `grad`
of `grad` records inside a record. Every TraceError made by `fail` also marks the running traces,
so that a ``try: float(x)`` / ``except TypeError`` in the user's function cannot hide it:
`record` raises it again.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from types import FrameType
from typing import Any, TypeVar

from symgrad.errors import SymgradError, TraceError, at_user_line, is_internal

E = TypeVar("E", bound=SymgradError)
Site = tuple[str, int]  # a file of the user's, and a line


class Checks:
    """What a running function has checked so far, as one value that its sides and rounds leave.

    value : a traced integer; see `ops/checks`
    start : the argument that stands for what was checked before it was called
    """

    __slots__ = ("start", "value")

    def __init__(self) -> None:
        self.start: Any = None
        self.value: Any = None


class Trace:
    """One running (or finished) call of a user function with tracers."""

    __slots__ = (
        "active", "again", "blocks", "catching", "checks", "decisions", "deep_since", "fill",
        "growing", "journal", "name", "named", "parent", "paths", "poison", "shared", "stored",
        "symbols", "tails", "unlike", "untouched",
    )  # fmt: skip

    def __init__(self, name: str, parent: Trace | None, fill: int = 0) -> None:
        self.name = name
        self.parent = parent
        self.active = True
        # Whether derivatives that the function takes are differentiated again.
        self.again: bool = parent is not None and parent.again
        # Whether no code of the user can have seen the arguments: a transformation is what is
        # called, and has called nothing. It may then use the nodes of the arguments as its own.
        self.untouched = False
        self.poison: SymgradError | None = None
        # What is changed in place is told to it, while a side of a branch runs; see `journal`.
        self.journal: Any = None if parent is None else parent.journal
        # See `source.loops`: what stands for values of one round, lists that grow in the round that
        # is being traced, whether there are lists of which nobody knows how long they are, and why
        # the round cannot stand for all. By symbol: what is wrong with a result that depends on it.
        self.symbols: dict[Any, SymgradError] = {}
        self.growing: list[Any] = []
        self.tails: bool = parent is not None and parent.tails
        self.unlike: str | None = None
        self.decisions = 0  # sides of branches that were run
        self.deep_since: int | None = None  # decisions before a recursion was not followed any more
        self.paths: Any = None  # what answers decisions, where the function is run path by path
        # See `source.raising`: what is checked, and which exceptions the user's code may catch.
        self.checks = Checks()
        self.catching: list[Any] = []
        # See `plain`: memory of plain arrays that was changed; what of it lives on; changed arrays
        # that were stored elsewhere than in a variable; and whether other numbers are put there.
        self.blocks: list[Any] = []
        self.shared: list[Any] = []
        self.stored: list[Any] = []
        self.fill = fill
        # What the user's variables hold, by name; None for names of several values. See `named`.
        self.named: dict[str, Any] = {}


NO_TRACE = Trace("", None)  # owner of tracers made while nothing is traced; always valid
CURRENT: ContextVar[Trace] = ContextVar("symgrad_trace", default=NO_TRACE)


def is_tracing() -> bool:
    """Whether user code is being recorded right now, in this thread."""
    return CURRENT.get() is not NO_TRACE


def is_nested() -> bool:
    """Whether a transformation is being recorded inside another one."""
    trace = CURRENT.get()
    return trace is not NO_TRACE and trace.parent is not NO_TRACE


def fail(cls: type[E], message: str) -> E:
    """An error that names the user's line; a TraceError is raised again if the user catches it."""
    return remembered(cls(at_user_line(message)))


def remembered(error: E) -> E:
    """`error`, noted in the running traces if it is a TraceError."""
    trace: Trace | None = CURRENT.get()
    if not isinstance(error, TraceError):  # NumPy raises it as well: the user may handle it
        return error
    while trace is not None and trace is not NO_TRACE:
        trace.poison = trace.poison or error
        trace = trace.parent
    return error


def site() -> Site | None:
    """`errors.user_site`, fast enough to ask for every node."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        filename = frame.f_code.co_filename
        if not is_internal(filename):
            return filename, frame.f_lineno
        frame = frame.f_back
    return None
