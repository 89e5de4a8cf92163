"""Dataclasses that are finished late, beside those of the standard library."""

from __future__ import annotations

import copy
import dataclasses
import functools
import threading
from dataclasses import FrozenInstanceError, field
from typing import Any, ClassVar

import pytest

from symgrad import lazy

KINDS = [
    {}, {"eq": False}, {"frozen": True}, {"frozen": True, "eq": False},
    {"slots": True}, {"frozen": True, "slots": True},
]  # fmt: skip


def classes(decorator, options):
    """A class, one below it, and one with methods of its own."""

    @decorator(**options)
    class Base:
        """Has a docstring."""

        shared: ClassVar[int] = 3
        x: int
        y: Any = 2.0
        z: list[int] = field(default_factory=list, compare=False)

        def total(self) -> float:
            return self.x + self.y

    @decorator(**options)
    class Below(Base):
        w: int = 7
        hidden: int = field(default=1, repr=False)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("negative")

    @decorator(**options)
    class Own:
        x: int

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 5

        def __repr__(self) -> str:
            return "own"

    return Base, Below, Own


def outcome(f):
    try:
        return f()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_they_are_as_those_of_the_library(options):
    ours = classes(lazy.dataclass, options)
    theirs = classes(dataclasses.dataclass, options)
    for mine, other in zip(ours, theirs, strict=True):
        rows = []
        for cls in (mine, other):
            made = outcome(lambda: cls(1))  # noqa: B023
            name = next(iter(vars(cls).get("__annotations__", {"x": 0})))
            rows.append([
                outcome(lambda: cls()), outcome(lambda: cls(1, 2, 3, 4, 5, 6)),  # noqa: B023
                outcome(lambda: cls(-1)) if cls.__name__ == "Below" else 0,  # noqa: B023
                repr(made), made == cls(1), made == cls(2), made == 1, cls(1) != cls(1),
                outcome(lambda: hash(made) == hash(cls(1))),  # noqa: B023
                outcome(lambda: setattr(made, "x", 5)), outcome(lambda: made.x),  # noqa: B023
                outcome(lambda: setattr(made, "other", 5)) is None,  # noqa: B023
                hasattr(made, "__dict__"),
                [(f.name, f.compare) for f in dataclasses.fields(cls)],
                outcome(lambda: dataclasses.replace(made, x=9).x),  # noqa: B023
                cls.__name__, cls.__module__, getattr(cls, "shared", 0), cls.__match_args__,
                outcome(lambda: made.total()), name,  # noqa: B023
            ])  # fmt: skip
        assert rows[0] == rows[1]


def test_what_is_frozen_stays_so():
    cls = classes(lazy.dataclass, {"frozen": True, "slots": True})[0]
    made = cls(1)
    with pytest.raises(FrozenInstanceError):
        made.x = 2
    with pytest.raises(FrozenInstanceError):
        del made.x
    assert copy.copy(classes(lazy.dataclass, {})[0](4)).x == 4


def test_the_class_below_may_come_first():
    base, below, _ = classes(lazy.dataclass, {"frozen": True})
    assert below(1).w == 7 and below(1).x == 1 and base(3).y == 2.0
    assert isinstance(below(1), base) and below(1) != base(1)


def test_somebody_may_wrap_the_first_init():
    base = classes(lazy.dataclass, {})[0]
    seen, make = [], base.__init__

    @functools.wraps(make)
    def noting(self, *args):
        make(self, *args)
        seen.append(self.x)

    base.__init__ = noting
    base(1), base(2)
    assert seen == [1, 2]


def test_two_threads_may_make_the_first_object():
    for _ in range(20):
        below = classes(lazy.dataclass, {"frozen": True})[1]
        start, made = threading.Barrier(4), []

        def work(below=below, start=start, made=made):
            start.wait()
            made.append(below(1))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 4 and len(set(map(repr, made))) == 1
