"""Locks in processes that fork.

A lock that another thread holds at the moment of a fork stays held in the child for ever, since
that thread does not live on there. What such a lock guards is whole at any moment, because tables
are changed by single steps; so a child simply takes new ones.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")

_renewal = threading.RLock()  # for the moment in which a child takes a new lock
_forks = 0  # how often this process and its ancestors forked, as a child sees it


def _count() -> None:
    global _forks, _renewal
    _forks += 1
    _renewal = threading.RLock()


os.register_at_fork(after_in_child=_count)


class ForkSafeLock:
    """A reentrant lock that is free in a child process, whoever held it in the parent."""

    __slots__ = ("_forks", "_lock")

    def __init__(self) -> None:
        self._forks, self._lock = _forks, threading.RLock()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; if the process forks meanwhile, the child lets go of the parent's."""
        if self._forks != _forks:
            with _renewal:
                if self._forks != _forks:
                    self._lock = threading.RLock()
                    self._forks = _forks
        with self._lock:
            yield


class cached(Generic[T]):
    """functools.cached_property without the lock that it has before Python 3.12.

    Two threads may both compute the value.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> cached[T]: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        value = instance.__dict__[self.name] = self.function(instance)
        return value
