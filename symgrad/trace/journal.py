"""What a traced function changes in place, noted so that it can be taken back.

Both sides of a traced branch are run, one after the other, and each must start from the same state.
Whoever changes something that may be older than the side tells the journal first: tracers that get
another Expr, known arrays whose elements change, lists, dicts and attributes.
"""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from symgrad.expr.node import Expr, array, const
from symgrad.trace.state import CURRENT

_SLOTS = ("_base", "_derive", "_group", "_value")


def constant(value: np.ndarray) -> Expr:
    """A plain array as an Expr."""
    return array(value) if value.ndim else const(value[()], value.dtype.name)


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

    def value(self) -> Expr:
        """What the handle held."""
        return self.expr if self.content is None else constant(self.content)


class Journal:
    """The first state of everything that was changed since it was opened."""

    def __init__(self, parent: Journal | None = None) -> None:
        self.parent = parent
        self.handles: dict[int, tuple[Any, State]] = {}
        self.containers: dict[int, tuple[Any, Any]] = {}  # lists and dicts: a copy
        self.attributes: dict[tuple[int, str], tuple[Any, Any]] = {}

    def undo(self) -> None:
        """Have everything as it was when the journal was opened."""
        for handle, state in self.handles.values():
            state.restore(handle)
        for container, old in self.containers.values():
            if isinstance(container, list):
                container[:] = old
            else:
                container.clear()
                (container.extend if isinstance(container, collections.deque)
                 else container.update)(old)  # fmt: skip
        for (_, name), (owner, old) in self.attributes.items():
            if old is MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, old)

    def forget(self) -> None:
        """Let go of everything: known arrays count who holds them."""
        for changes in (self.handles, self.containers, self.attributes):
            changes.clear()  # type: ignore[attr-defined]

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


MISSING = object()  # an attribute that was not there


def note_attribute(owner: Any, name: str) -> None:
    """An attribute is about to be set."""
    journal = CURRENT.get().journal
    if journal is not None and (id(owner), name) not in journal.attributes:
        journal.attributes[id(owner), name] = owner, getattr(owner, name, MISSING)


def is_open() -> bool:
    """Whether a side of a traced branch is being run."""
    return CURRENT.get().journal is not None
