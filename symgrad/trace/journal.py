"""What a traced function changes in place, noted so that it can be taken back.

Both sides of a traced branch are run, one after the other, and each must start from the same state.
Whoever changes something that may be older than the side tells the journal first: tracers that get
another Expr, lists, dicts, attributes, variables of enclosing functions. Known arrays that are
older than the side become traced ones before they are changed, so their elements need no note.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from symgrad.trace.state import CURRENT, Site

if TYPE_CHECKING:
    from types import CellType

    from symgrad.expr.node import Expr

MISSING = object()  # what is not there


class Place:
    """Something that can be read and put back: a list, an attribute, a variable."""

    __slots__ = ("name", "owner")

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name

    def read(self) -> Any:
        raise NotImplementedError

    def put(self, value: Any) -> None:
        raise NotImplementedError


class _Content(Place):
    """What a list, dict, set or deque holds."""

    def read(self) -> Any:
        if isinstance(self.owner, dict):
            return dict(self.owner)
        return (frozenset if isinstance(self.owner, set) else tuple)(self.owner)

    def put(self, value: Any) -> None:
        if isinstance(self.owner, list):
            self.owner[:] = value
            return
        self.owner.clear()
        getattr(self.owner, "extend" if isinstance(self.owner, collections.deque) else "update")(
            value
        )


class _Attribute(Place):
    def read(self) -> Any:
        return getattr(self.owner, self.name, MISSING)

    def put(self, value: Any) -> None:
        if value is MISSING:
            if hasattr(self.owner, self.name):
                delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, value)


class _Item(Place):
    """A global variable."""

    def read(self) -> Any:
        return self.owner.get(self.name, MISSING)

    def put(self, value: Any) -> None:
        if value is MISSING:
            self.owner.pop(self.name, None)
        else:
            self.owner[self.name] = value


class _Cell(Place):
    """A variable of an enclosing function."""

    def read(self) -> Any:
        try:
            return self.owner.cell_contents
        except ValueError:
            return MISSING

    def put(self, value: Any) -> None:
        if value is MISSING:
            del self.owner.cell_contents
        else:
            self.owner.cell_contents = value


class Changes:
    """What one side has left: the Exprs of handles, and the values of places."""

    __slots__ = ("handles", "places")

    def __init__(self) -> None:
        self.handles: dict[int, tuple[Any, Expr]] = {}
        self.places: dict[Any, tuple[Place, Any]] = {}

    def copy(self) -> Changes:
        """The same, of which the one can be changed."""
        made = Changes()
        made.handles, made.places = dict(self.handles), dict(self.places)
        return made


class Journal:
    """The first state of everything that is changed while a side of a branch runs.

    predicate, holds, site : which side of which branch it is, and where that is decided
    """

    def __init__(
        self,
        parent: Journal | None = None,
        predicate: Expr | None = None,
        holds: bool = True,
        where: Site | None = None,
    ) -> None:
        self.parent, self.predicate, self.holds, self.site = parent, predicate, holds, where
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.handles: dict[int, tuple[Any, Expr]] = {}
        self.places: dict[Any, tuple[Place, Any]] = {}
        self.iterators: list[Any] = []
        # Lists, dicts and objects that were made since, by id. What is older is there all the time
        # and has another id, so that none is kept alive for this.
        self.born: set[int] = set()
        self.is_trial = False  # whether it is a round of a loop that is run to see what it does
        self.is_over = False
        self.is_path = False  # whether it is a run of a whole function; see `paths`

    def in_trial(self) -> bool:
        """Whether a round of a loop is run to see what it does."""
        journal: Journal | None = self
        while journal is not None and not journal.is_trial:
            journal = journal.parent
        return journal is not None

    def has_made(self, handle: Any) -> bool:
        """Whether a tracer was made while this side or round ran."""
        born = handle.born
        while born is not None and born is not self:
            born = born.parent
        return born is self

    def sites(self) -> frozenset[Site]:
        """Where the sides are decided that are open in this run of the function."""
        found: set[Site] = set()
        journal: Journal | None = self
        while journal is not None and not journal.is_path:
            if journal.site is not None:
                found.add(journal.site)
            journal = journal.parent
        return frozenset(found)

    def note(self, handle: Any) -> None:
        if id(handle) not in self.handles:
            self.handles[id(handle)] = (handle, handle.expr)

    def note_place(self, key: Any, place: Place) -> None:
        if key not in self.places and id(place.owner) not in self.born:
            self.places[key] = (place, place.read())

    def note_cell(self, cell: CellType) -> None:
        self.note_place(id(cell), _Cell(cell, "a variable of an enclosing function"))

    def note_item(self, space: dict[str, Any], name: str) -> None:
        self.note_place((id(space), name), _Item(space, name))

    def take_back(self) -> Changes:
        """Put the first state back; what was there until now."""
        changes = Changes()
        for key, (handle, old) in self.handles.items():
            changes.handles[key] = (handle, handle.expr)
            handle.expr = old
        for place_key, (place, old) in self.places.items():
            changes.places[place_key] = (place, place.read())
            place.put(old)
        self.handles, self.places = {}, {}
        self.is_over = True
        if self.parent is not None:
            self.parent.born |= self.born
        return changes

    def advanced(self) -> bool:
        """Whether an iterator was advanced that is used elsewhere too: that cannot be undone."""
        return any(sys.getrefcount(self.iterators[k]) > 2 for k in range(len(self.iterators)))


def note_handle(handle: Any) -> None:
    """`handle` is about to hold another Expr."""
    journal = CURRENT.get().journal
    if journal is not None:
        journal.note(handle)


def is_gone(handle: Any) -> bool:
    """Whether a tracer was made in a round that has been taken back."""
    born = handle.born
    while born is not None and not (born.is_trial and born.is_over):
        born = born.parent
    return born is not None


CONTAINERS = (list, dict, set, collections.deque)


def note_iterators(values: Any) -> None:
    """What is iterated over may be advanced."""
    journal = CURRENT.get().journal
    if journal is not None:
        for value in values:
            if hasattr(type(value), "__next__") and not any(v is value for v in journal.iterators):
                journal.iterators.append(value)


def made(value: Any) -> Any:
    """`value`, a list, dict or object that is new."""
    journal = CURRENT.get().journal
    if journal is not None:
        journal.born.add(id(value))
    return value


def note_container(container: Any) -> None:
    """A list, dict, set or deque is about to change."""
    journal = CURRENT.get().journal
    if journal is not None:
        journal.note_place(id(container), _Content(container, f"a {type(container).__name__}"))


def note_attribute(owner: Any, name: str) -> None:
    """An attribute is about to change."""
    journal = CURRENT.get().journal
    if journal is not None:
        journal.note_place((id(owner), name), _Attribute(owner, name))


def places(then: Changes, orelse: Changes) -> Iterator[tuple[Any, Place, Any, Any]]:
    """Each place that a side has changed, by key, with what either leaves there."""
    for key in dict.fromkeys([*then.places, *orelse.places]):
        place = (then.places.get(key) or orelse.places[key])[0]
        now = place.read()
        yield (
            key,
            place,
            then.places[key][1] if key in then.places else now,
            orelse.places[key][1] if key in orelse.places else now,
        )


def put(key: Any, place: Place, value: Any) -> None:
    """Change a place, also for the sides around the one that is over."""
    journal = CURRENT.get().journal
    if journal is not None:
        journal.note_place(key, place)
    place.put(value)


def current() -> Any:
    """The side of a traced branch that is being run, None outside of any."""
    return CURRENT.get().journal


def is_open() -> bool:
    """Whether changes are noted."""
    return CURRENT.get().journal is not None


def is_side() -> bool:
    """Whether a side of a traced branch is being run, or a round of a loop, and not all there is of
    one path, after which a change that nobody has noted would be found."""
    journal = CURRENT.get().journal
    return journal is not None and not journal.is_path


def sites() -> frozenset[Site]:
    """Where the sides are decided that are being run."""
    journal = CURRENT.get().journal
    return frozenset() if journal is None else journal.sites()
