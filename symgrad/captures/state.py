"""The state of what functions capture: a key of its values, and rows that say whether it holds."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from symgrad.captures.lift import Reach
from symgrad.captures.rows import Row


class Label:
    """What tells a state from others. It keeps nothing of it alive but what it names by identity.

    key : a piece for each thing that was met; `names`, how the user reaches it
    told : the objects whose identity is in `key`
    """

    __slots__ = ("_hash", "key", "names", "told")

    def __init__(self, key: tuple[Any, ...], names: list[str], told: list[Any]) -> None:
        self.key, self.names, self.told = key, names, told
        self._hash = hash(key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Label) and self._hash == other._hash and self.key == other.key

    def changes(self, other: Label) -> str:
        """How the user names what differs between two states."""
        for (a, name), b in zip(zip(self.key, self.names, strict=True), other.key, strict=False):
            if a != b and name:
                return name
        return "something that it captures"


class State:
    """What some functions capture at one moment; it keeps all of that alive.

    label : equal if all that is captured is equal
    rows : where it was read
    unseen : how the user reaches objects whose content cannot be looked at
    """

    __slots__ = ("alive", "hidden", "label", "met", "reach", "rows", "unseen")

    hidden: dict[Any, Any]  # what is passed at each call: arrays by id, floats by place
    met: Counter[int]  # how often everything was met, by id
    reach: Reach | None  # of what is passed

    def __init__(self, label: Label, rows: list[Row], alive: list[Any], unseen: list[str]) -> None:
        self.label, self.rows, self.alive, self.unseen = label, rows, alive, unseen
        self.hidden, self.reach, self.met = {}, None, Counter()

    def holds(self) -> bool:
        """Whether everything is where it was."""
        return all([row.holds() for row in self.rows])

    def native(self) -> tuple[Any, ...] | None:
        """All rows for the fast call path, None if it cannot compare one of them."""
        rows = tuple([row.native() for row in self.rows])
        return None if None in rows else rows


class Same:
    """Equal if it has the same objects: their own ``__eq__`` may say anything."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        mine = self.values
        theirs: Any = other.values if isinstance(other, Same) else other
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
