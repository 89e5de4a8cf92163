"""What one round of a loop changes: variables, lists, dicts, attributes and arrays.

`Trial` is a round that is run to see that; what it has changed can be told and taken back.
"""

from __future__ import annotations

from typing import Any

from symgrad.errors import MutationError
from symgrad.trace import journal
from symgrad.trace.memory import hold
from symgrad.trace.source.refusal import Unlike
from symgrad.trace.state import CURRENT, NO_TRACE, Trace


class Place:
    """Something older than a round that the round changes."""

    key: tuple[Any, ...]  # the same for the same place

    def get(self) -> Any:
        raise NotImplementedError

    def set(self, value: Any) -> None:
        raise NotImplementedError


class Variable(Place):
    """One of the variables that a loop assigns, in the list of their values."""

    def __init__(self, values: list[Any], k: int) -> None:
        self.values, self.k = values, k
        self.key = ("variable", k)

    def get(self) -> Any:
        return self.values[self.k]

    def set(self, value: Any) -> None:
        self.values[self.k] = value


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


class Other(Place):
    """An attribute, a global variable, or one of an enclosing function."""

    def __init__(self, key: Any, place: journal.Place) -> None:
        self.noted, self.place = key, place
        self.key = ("other", key)

    def get(self) -> Any:
        return self.place.read()

    def set(self, value: Any) -> None:
        journal.put(self.noted, self.place, value)


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
    """One round that is run to see what it does.

    values : of the variables that the loop assigns, when the round begins
    """

    def __init__(self, values: list[Any]) -> None:
        self.values = values
        self.trace: Trace = CURRENT.get()
        self.poison = _poison(self.trace)
        self.unlike, self.trace.unlike = self.trace.unlike, None  # of a round around this one
        self.journal = self.trace.journal = journal.Journal(self.trace.journal)
        self.journal.is_trial = True
        # arrays that may be some that the round changes: nobody can say what is in them
        self.unknown: dict[int, tuple[Any, Any]] = {}

    def end(self) -> None:
        """Have everything as it was before, but for the variables."""
        self.trace.journal = self.journal.parent
        self.journal.take_back()
        self.trace.unlike = self.unlike
        for trace, poison in self.poison:
            trace.poison = poison

    def check(self) -> None:
        """Raise what `refuse` said, also if the user's code has caught it."""
        if self.trace.unlike is not None:
            raise Unlike(self.trace.unlike)
        for trace, poison in self.poison:
            if trace.poison is not poison:
                raise Unlike(str(trace.poison))
        if self.journal.advanced():
            raise Unlike("an iterator is advanced")

    @property
    def written(self) -> set[int]:
        """The tracers that were changed in place, by id."""
        return set(self.journal.handles)

    def changes(self, now: list[Any]) -> dict[Any, tuple[Place, Any, Any]]:
        """The places that are not as they were, with what was there and what is there now.

        now : the values of the variables
        """
        found: dict[Any, tuple[Place, Any, Any]] = {}

        def note(place: Place, old: Any) -> None:
            new = place.get()
            if new is not old:
                found[place.key] = place, old, new

        for k, old in enumerate(self.values):
            note(Variable(now, k), old)
        for key, (place, old) in self.journal.places.items():
            owner = place.owner
            if type(owner) is list and isinstance(old, tuple):
                if len(owner) < len(old):
                    raise Unlike("a list gets shorter")
                for e, was in enumerate(old):
                    note(Entry(owner, e), was)
            elif type(owner) is dict and isinstance(old, dict):
                if owner.keys() != old.keys():
                    raise Unlike("a dict gets or loses keys")
                for e in owner:
                    note(Entry(owner, e), old[e])
            elif isinstance(owner, journal.CONTAINERS) and isinstance(old, tuple | frozenset):
                if place.read() != old:
                    raise Unlike(f"a {type(owner).__name__} is changed")
            else:
                note(Other(key, place), old)
        written = self.journal.handles
        for handle, was in written.values():
            if self.journal.has_made(handle) or was is handle.expr:
                continue
            if isinstance(self.trace.symbols.get(handle.expr), MutationError):
                self.unknown[id(handle)] = handle, handle.expr
                continue
            base = handle._base
            if base is not None:  # a view: what it shows is in the array it belongs to
                if id(base) not in written and not self.journal.has_made(base):
                    raise Unlike("a view of an array is changed that is not followed")
                continue
            found["memory", id(handle)] = Memory(handle), was, handle.expr
        return found

    def grown(self) -> list[tuple[list[Any], int]]:
        """Lists that have got longer, and how long they were."""
        return [
            (place.owner, len(old)) for place, old in self.journal.places.values()
            if type(place.owner) is list and isinstance(old, tuple) and len(place.owner) > len(old)
        ]  # fmt: skip


def _poison(trace: Trace | None) -> list[tuple[Trace, Any]]:
    """The running traces with the errors that they do not forget."""
    found = []
    while trace is not None and trace is not NO_TRACE:
        found.append((trace, trace.poison))
        trace = trace.parent
    return found
