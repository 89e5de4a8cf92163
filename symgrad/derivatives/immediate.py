"""Transformed versions of functions that are called at once, kept as long as the function lives.

A function of Python keeps them itself, among its attributes: they refer to it and to all that it
captures, which may lead back to it, and only so can the whole be freed. Of other callables they
stand in a table here, refer to the callable weakly, and look at what it captures anew at each call.
"""

from __future__ import annotations

import functools
import inspect as python_inspect
import operator
import types
import weakref
from collections.abc import Callable
from typing import Any

from symgrad.errors import StructureError
from symgrad.transform import Function

_ATTRIBUTE = "__symgrad_immediate__"


class _Versions(dict[str, Function]):
    """The versions of one function by label, in its ``__dict__``; others may have been copied from
    there, by functools.wraps for example."""

    def __init__(self, owner: Any = None) -> None:
        self.owner = None if owner is None else weakref.ref(owner)

    def __reduce__(self) -> Any:  # a function that is pickled by value makes them anew
        return _Versions, ()


def _own_versions(f: Any) -> _Versions:
    table = vars(f)
    versions: _Versions | None = table.get(_ATTRIBUTE)
    if versions is None or versions.owner is None or versions.owner() is not f:
        versions = _Versions(f)
        if table.setdefault(_ATTRIBUTE, versions).owner is not versions.owner:
            table[_ATTRIBUTE] = versions
    return versions


class _Immediates:
    """Transformed versions of callables, each kept as long as its callable lives.

    By identity: equal callables need not live equally long. Entries of functions that are gone are
    dropped when the table has doubled, so no callback has to run where a function dies.
    """

    def __init__(self) -> None:
        self._tables: dict[int, tuple[weakref.ref[Function], dict[str, Function]]] = {}
        self._limit = 64

    def of(self, f: Function) -> dict[str, Function]:
        """The versions of `f` by label. Raises TypeError for what has no weak references."""
        entry = self._tables.get(id(f))
        if entry is None or entry[0]() is not f:
            if len(self._tables) >= self._limit:
                self._tables = {k: e for k, e in list(self._tables.items()) if e[0]() is not None}
                self._limit = max(64, 2 * len(self._tables))
            entry = self._tables[id(f)] = weakref.ref(f), {}
        return entry[1]


_immediates = _Immediates()


def immediate(f: Function, label: str, make: Callable[[Function], Function]) -> Function:
    """A transformed version of `f`, kept as long as `f` lives."""
    if type(f) is types.FunctionType or getattr(type(f), "__symgrad_transformed__", False):
        own = _own_versions(f)
        if label not in own:
            own.setdefault(label, make(f))
        return own[label]
    try:
        hash(f)  # a callable that compares by its fields may change them
        table = _immediates.of(f)
    except TypeError:  # cannot be referenced weakly: a builtin, some callables
        return make(f)
    if label not in table:
        table.setdefault(label, make(_Weak(f)))
    return table[label]


class _Weak:
    """Calls a function without keeping it alive: the table above must not hold its own keys."""

    __symgrad_weak__ = True

    def __init__(self, f: Function) -> None:
        self._f = weakref.ref(f)
        functools.update_wrapper(self, f, updated=())
        del self.__dict__["__wrapped__"]  # that would be a strong reference

    @property
    def __signature__(self) -> Any:
        f = self._f()
        if f is None:
            raise AttributeError("the function is gone")
        return python_inspect.signature(f)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function()(*args, **kwargs)

    def _function(self) -> Function:
        f = self._f()
        if f is None:
            raise StructureError("the function that this derivative belongs to no longer exists")
        return f

    def __symgrad_captures__(self) -> Any:
        return (self._function(),)

    def __reduce__(self) -> Any:  # where it is unpickled nothing else holds the function
        return operator.itemgetter(0), ((self._function(),),)
