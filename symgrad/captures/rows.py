"""Rows: one place each that a function read, and what stood there.

Each says whether that still stands there (`holds`), and what the fast call path has to compare
(`native`, None where only Python can). They compare objects by identity, which says all where an
object cannot change; what can change has rows of its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.fixed import same_bytes

SLOTS, DICT, LIST, ARRAY = range(4)  # as in fastcall/guards.h

# Where objects have pointers: a cell its content; a function its code, defaults, keyword defaults
# and closure; a partial its function and arguments; everything its type. `native` looks whether it
# is so.
CELL, CODE, PARTIAL, TYPE = 16, 48, 16, 8


class _Absent:
    """Stands for a name that a dict does not have, and for a cell that holds nothing."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT: Any = _Absent()


def _address(value: Any) -> int:
    return 0 if value is ABSENT else id(value)


def holds_at(owner: Any, offset: int, value: Any) -> bool:
    """Whether the pointer at `offset` in the memory of `owner` is that to `value`."""
    found = ctypes.c_void_p.from_address(id(owner) + offset).value
    return (found or 0) == _address(value)


@dataclass(slots=True)
class Slots:
    """Pointers side by side in the memory of an object; `read` gets the same by Python.

    offset : in bytes, None where it is not known
    """

    owner: Any
    offset: int | None
    values: tuple[Any, ...]
    read: Callable[[], tuple[Any, ...]]

    def holds(self) -> bool:
        found = self.read()
        return len(found) == len(self.values) and all(map(_is, found, self.values))

    def native(self) -> tuple[Any, ...] | None:
        if self.offset is None:
            return None
        for k, value in enumerate(self.values):
            if not holds_at(self.owner, self.offset + 8 * k, value):
                return None
        return SLOTS, self.owner, self.offset, tuple([_address(v) for v in self.values])


@dataclass(slots=True)
class Items:
    """Some items of a dict by key, or, if `whole`, all of them and their order."""

    owner: dict[Any, Any]
    values: dict[Any, Any]
    whole: bool = False

    def holds(self) -> bool:
        if self.whole:
            return len(self.owner) == len(self.values) and all(
                k is j and v is w
                for (k, v), (j, w) in zip(self.owner.items(), self.values.items(), strict=True)
            )
        get = self.owner.get
        return all([get(k, ABSENT) is v for k, v in self.values.items()])

    def native(self) -> tuple[Any, ...] | None:
        if dict.__len__(self.owner) > _LARGEST:
            return None
        addresses = tuple([_address(v) for v in self.values.values()])
        own = {k: k for k in self.owner}  # compared by identity: those that the dict has itself
        keys = tuple([own.get(k, k) for k in self.values])
        return DICT, self.owner, len(keys) if self.whole else -1, keys, addresses


_LARGEST = 1 << 20


@dataclass(slots=True)
class Elements:
    """All elements of a list."""

    owner: list[Any]
    values: tuple[Any, ...]

    def holds(self) -> bool:
        return len(self.owner) == len(self.values) and all(map(_is, self.owner, self.values))

    def native(self) -> tuple[Any, ...] | None:
        return LIST, self.owner, tuple([id(v) for v in self.values])


class Content:
    """The content of an array, against a copy."""

    __slots__ = ("copy", "dtype", "owner", "shape", "strides")

    def __init__(self, owner: np.ndarray) -> None:
        self.owner = owner
        self.shape, self.strides, self.dtype = owner.shape, owner.strides, owner.dtype
        self.copy = np.array(owner, order="C", subok=False)

    def holds(self) -> bool:
        a = self.owner
        return (
            a.shape == self.shape
            and a.dtype is self.dtype
            and a.strides == self.strides
            and same_bytes(a, self.copy)
        )

    def native(self) -> tuple[Any, ...] | None:
        if type(self.owner) is not np.ndarray or not self.owner.flags.c_contiguous:
            return None
        return ARRAY, self.owner, self.copy.nbytes, self.copy


class Layout:
    """Type and shape of an array whose content may be anything."""

    __slots__ = ("dtype", "owner", "shape")

    def __init__(self, owner: np.ndarray) -> None:
        self.owner, self.shape, self.dtype = owner, owner.shape, owner.dtype

    def holds(self) -> bool:
        a = self.owner
        return a.shape == self.shape and a.dtype is self.dtype and a.flags.c_contiguous

    def native(self) -> tuple[Any, ...]:
        return ARRAY, self.owner, 0, np.broadcast_to(np.zeros((), self.dtype), self.shape)


@dataclass(slots=True)
class Read:
    """What only Python can read: the same again, by `key`."""

    read: Callable[[], Any]
    key: Any

    def holds(self) -> bool:
        try:
            return bool(self.read() == self.key)
        except Exception:  # it can no longer be read
            return False

    def native(self) -> None:
        return None


Row = Slots | Items | Elements | Content | Layout | Read


def _is(a: Any, b: Any) -> bool:
    return a is b
