"""What a traced function changes in place, noted so that it can be taken back.

Both sides of a traced branch are run, one after the other, and so is a round of a loop that is to
stand for all: each must start from the same state. Whoever changes something that may be older
tells the journal first: tracers that get another Expr, lists, dicts, attributes, variables of
enclosing functions. Known arrays that are older become traced ones before they are changed, so
their elements need no note.
"""

from __future__ import annotations

import collections
import sys
from typing import Any

import numpy as np

from symgrad.expr.node import Expr, array, const
from symgrad.trace.state import CURRENT

MISSING = object()  # what is not there
CONTAINERS = (list, dict, set, collections.deque)
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


# ---- other places --------------------------------------------------------------------------------


def _put_content(container: Any, content: Any) -> None:
    if isinstance(container, list):
        container[:] = content
        return
    container.clear()
    (container.extend if isinstance(container, collections.deque) else container.update)(content)


def _put_attribute(owner: Any, name: str, value: Any) -> None:
    if value is not MISSING:
        setattr(owner, name, value)
    elif hasattr(owner, name):
        delattr(owner, name)


class Variable:
    """A global variable, or one of an enclosing function."""

    __slots__ = ("name", "owner")

    def __init__(self, owner: Any, name: str | None) -> None:
        self.owner, self.name = owner, name

    def read(self) -> Any:
        if self.name is not None:
            return self.owner.get(self.name, MISSING)
        try:
            return self.owner.cell_contents
        except ValueError:
            return MISSING

    def put(self, value: Any) -> None:
        if self.name is None:
            if value is MISSING:
                del self.owner.cell_contents
            else:
                self.owner.cell_contents = value
        elif value is MISSING:
            self.owner.pop(self.name, None)
        else:
            self.owner[self.name] = value


class Changes:
    """What one side of a branch has left: the Exprs of handles, and the values of places.

    places : by their keys what they are called, how they are stored, and what is there
    """

    __slots__ = ("handles", "places")

    def __init__(self, journal: Journal) -> None:
        self.handles: dict[int, tuple[Any, Expr]] = {
            key: (handle, handle.expr) for key, (handle, _) in journal.handles.items()
        }
        self.places: dict[Any, tuple[str, Any, Any]] = {}
        for container, _ in journal.containers.values():
            self.places["content", id(container)] = (
                f"a {type(container).__name__}", (_put_content, container), _frozen(container)
            )  # fmt: skip
        for owner, name, _ in journal.attributes_of():
            value = getattr(owner, name, MISSING)
            self.places["attribute", id(owner), name] = (
                f"the attribute {name}", (_put_attribute, owner, name), value
            )  # fmt: skip
        for key, (variable, _) in journal.variables.items():
            self.places["variable", key] = (
                f"the variable {variable.name or 'of an enclosing function'}", (variable.put,),
                variable.read(),
            )  # fmt: skip

    def now(self, key: Any) -> Any:
        """What is at a place at present."""
        how = self.places[key][1]
        if key[0] == "content":
            return _frozen(how[1])
        return getattr(how[1], how[2], MISSING) if key[0] == "attribute" else how[0].__self__.read()


def _frozen(container: Any) -> Any:
    if isinstance(container, dict):
        return dict(container)
    return (frozenset if isinstance(container, set) else tuple)(container)


# ---- the journal ---------------------------------------------------------------------------------


class Journal:
    """The first state of everything that was changed since it was opened.

    predicate, holds : which side of which branch runs, if one does
    """

    def __init__(
        self, parent: Journal | None = None, predicate: Expr | None = None, holds: bool = True
    ) -> None:
        self.parent, self.predicate, self.holds = parent, predicate, holds
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.handles: dict[int, tuple[Any, State]] = {}
        self.containers: dict[int, tuple[Any, Any]] = {}  # lists and dicts: a copy
        self.attributes: dict[tuple[int, str], tuple[Any, Any]] = {}
        self.variables: dict[Any, tuple[Variable, Any]] = {}
        self.iterators: list[Any] = []

    def attributes_of(self) -> list[tuple[Any, str, Any]]:
        """Each attribute that was changed: its owner, its name, what it was."""
        return [(owner, name, old) for (_, name), (owner, old) in self.attributes.items()]

    def undo(self) -> None:
        """Have everything as it was when the journal was opened."""
        for handle, state in self.handles.values():
            state.restore(handle)
        for container, old in self.containers.values():
            _put_content(container, old)
        for owner, name, value in self.attributes_of():
            _put_attribute(owner, name, value)
        for variable, value in self.variables.values():
            variable.put(value)

    def forget(self) -> None:
        """Let go of everything: known arrays count who holds them."""
        for changes in (self.handles, self.containers, self.attributes, self.variables):
            changes.clear()  # type: ignore[attr-defined]

    def take_back(self) -> Changes:
        """Undo everything; what was there until now."""
        changes = Changes(self)
        self.undo()
        self.forget()
        return changes

    def advanced(self) -> bool:
        """Whether an iterator was advanced that is used elsewhere too: that cannot be undone."""
        return any(sys.getrefcount(self.iterators[k]) > 2 for k in range(len(self.iterators)))

    def note(self, handle: Any) -> None:
        if id(handle) not in self.handles:
            self.handles[id(handle)] = (handle, State(handle))

    def note_variable(self, owner: Any, name: str | None = None) -> None:
        """A cell, or the variable `name` of a module, is about to change."""
        if (id(owner), name) not in self.variables:
            variable = Variable(owner, name)
            self.variables[id(owner), name] = variable, variable.read()


def note_handle(handle: Any) -> None:
    """`handle` is about to hold another Expr."""
    journal = CURRENT.get().journal
    if journal is not None:
        journal.note(handle)


def note_container(container: Any) -> None:
    """A list, dict, set or deque is about to change."""
    journal = CURRENT.get().journal
    if journal is not None and id(container) not in journal.containers:
        journal.containers[id(container)] = (container, container.copy())


def note_attribute(owner: Any, name: str) -> None:
    """An attribute is about to be set."""
    journal = CURRENT.get().journal
    if journal is not None and (id(owner), name) not in journal.attributes:
        journal.attributes[id(owner), name] = owner, getattr(owner, name, MISSING)


def note_iterators(values: Any) -> None:
    """What is iterated over may be advanced."""
    journal = CURRENT.get().journal
    if journal is not None:
        for value in values:
            if hasattr(type(value), "__next__") and not any(v is value for v in journal.iterators):
                journal.iterators.append(value)


def current() -> Any:
    """The journal that is open, None outside of branches and rounds."""
    return CURRENT.get().journal


def is_open() -> bool:
    """Whether a side of a traced branch, or a round that stands for others, is being run."""
    return CURRENT.get().journal is not None
