"""What one round of a loop changes: variables, lists, dicts, attributes and arrays.

`Trial` runs a round, tells what is not as it was, and takes everything back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from symgrad.trace import journal
from symgrad.trace.memory import hold
from symgrad.trace.state import CURRENT, NO_TRACE, Trace


class _Undefined:
    """What a variable has before it is assigned."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = _Undefined()


class Unlike(Exception):
    """A round that is not like the next one; the message says in what."""


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
