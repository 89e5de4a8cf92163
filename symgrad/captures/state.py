"""The state of what functions capture: a key of its values, and rows that say whether it holds."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from symgrad.captures.lift import Reach
from symgrad.captures.rows import Row


class State:
    """What some functions capture at one moment.

    key : equal, and of equal hash, if all that is captured is equal
    rows : where it was read
    unseen : how the user reaches objects whose content cannot be looked at
    """

    __slots__ = ("_hash", "alive", "hidden", "key", "met", "names", "reach", "rows", "unseen")

    hidden: dict[Any, Any]  # what is passed at each call: arrays by id, floats by place
    met: Counter[int]  # how often everything was met, by id
    reach: Reach | None  # of those arrays

    def __init__(self, key: tuple[Any, ...], rows: list[Row], alive: list[Any],
                 names: list[str], unseen: list[str]) -> None:  # fmt: skip
        self.key, self.rows, self.alive = key, rows, alive
        self.names, self.unseen = names, unseen
        self._hash = hash(key)
        self.hidden, self.reach, self.met = {}, None, Counter()

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self._hash == other._hash and self.key == other.key

    def holds(self) -> bool:
        """Whether everything is where it was."""
        return all([row.holds() for row in self.rows])

    def native(self) -> tuple[Any, ...] | None:
        """All rows for the fast call path, None if it cannot compare one of them."""
        rows = tuple([row.native() for row in self.rows])
        return None if None in rows else rows

    def changes(self, other: State) -> str:
        """How the user names what differs between two states."""
        for (a, name), b in zip(zip(self.key, self.names, strict=True), other.key, strict=False):
            if a != b and name:
                return name
        return "something that it captures"


class Same:
    """Equal if it has the same objects: their own ``__eq__`` may say anything."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        mine, theirs = self.values, other.values if isinstance(other, Same) else other
        if isinstance(mine, bytes):
            return bool(mine == theirs)
        if isinstance(mine, frozenset):
            return {id(v) for v in mine} == {id(v) for v in theirs}
        return len(mine) == len(theirs) and all([a is b for a, b in zip(mine, theirs, strict=True)])

    __hash__ = None  # type: ignore[assignment]


def digest(values: np.ndarray) -> bytes:
    """A hash of the bytes of an array that nobody can hit by chance."""
    return hashlib.blake2b(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data
                           if values.size else b"", digest_size=16).digest()  # fmt: skip
