"""What a traced function changes in place, noted so that it can be taken back.

Both sides of a traced branch are run, one after the other, and each must start from the same state.
Whoever changes something that may be older than the side tells the journal first: tracers that get
another Expr, known arrays whose elements change, lists, dicts and attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.trace.state import CURRENT

if TYPE_CHECKING:
    from symgrad.expr.node import Expr

_SLOTS = ("_base", "_derive", "_group", "_value")


class State:
    """All that a handle is at some time."""

    __slots__ = ("cls", "content", "expr", "slots")

    def __init__(self, handle: Any) -> None:
        self.cls = type(handle)
        self.slots = [getattr(handle, name) for name in _SLOTS]
        self.content: np.ndarray | None = handle._value.copy() if handle.is_known else None
        self.expr: Expr | None = None if handle.is_known else handle.expr

    def restore(self, handle: Any) -> None:
        handle.__class__ = self.cls
        for name, value in zip(_SLOTS, self.slots, strict=True):
            setattr(handle, name, value)
        if self.content is not None:
            np.copyto(handle._value, self.content)
        else:
            handle.expr = self.expr


class Journal:
    """The first state of everything that was changed since it was opened."""

    def __init__(self, parent: Journal | None = None) -> None:
        self.parent = parent
        self.handles: dict[int, tuple[Any, State]] = {}
        self.containers: dict[int, tuple[Any, Any]] = {}  # lists and dicts: a copy
        self.attributes: dict[tuple[int, str], tuple[Any, Any]] = {}

    def note(self, handle: Any) -> None:
        if id(handle) not in self.handles:
            self.handles[id(handle)] = (handle, State(handle))


def note_handle(handle: Any) -> None:
    """`handle` is about to hold another Expr."""
    journal = CURRENT.get().journal
    if journal is not None:
        journal.note(handle)


def note_value(known: Any) -> None:
    """Elements of a known array are about to change."""
    journal = CURRENT.get().journal
    if journal is not None:
        for reference in known._group:
            handle = reference()
            if handle is not None:
                journal.note(handle)


def holds(handle: Any) -> int:
    """How many journals refer to the plain array of a known one."""
    count = 0
    journal = CURRENT.get().journal
    while journal is not None:
        count += id(handle) in journal.handles
        journal = journal.parent
    return count


def note_container(container: Any) -> None:
    """A list, dict, set or deque is about to change."""
    journal = CURRENT.get().journal
    if journal is not None and id(container) not in journal.containers:
        journal.containers[id(container)] = (container, container.copy())


def is_open() -> bool:
    """Whether a side of a traced branch is being run."""
    return CURRENT.get().journal is not None
