"""Of which class a value is: that of what a tracer stands for, to all that asks for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.trace.masked import Masked
from symgrad.trace.source.clones import RUNTIME
from symgrad.trace.tables import unsupported
from symgrad.trace.tracer import PythonBool, PythonTracer, Tracer, ZeroTracer

_NUMBERS = (np.ndarray, float, int, bool, np.float64, np.float32, np.int64, np.int32, np.bool_)
_MATCHES_ITSELF = 1 << 22  # of classes of which ``case float(x)`` takes the value as x


def stands_for(value: Tracer) -> type:
    """The type of what a tracer stands for in the user's function."""
    if type(value) is PythonBool:
        return bool
    if type(value) is PythonTracer:
        return int if value.expr.dtype.startswith("int") else float
    if value.shape or isinstance(value, ZeroTracer):
        return np.ndarray
    return value.dtype.type


def class_of(value: Any) -> Any:
    """``value.__class__``"""
    return stands_for(value) if isinstance(value, Tracer) else value.__class__


def type_(value: Any, *rest: Any) -> Any:
    return stands_for(value) if isinstance(value, Tracer) and not rest else type(value, *rest)


def isinstance_(value: Any, classes: Any) -> bool:
    """Whether a value is what it stands for: a traced array is an np.ndarray, a number a float."""
    if isinstance(value, classes):
        return True
    if isinstance(value, Tracer):
        return issubclass(stands_for(value), classes)
    if isinstance(value, Masked):
        return issubclass(np.ndarray, classes)
    return False


def hasattr_(value: Any, name: str) -> bool:
    """Whether what a value stands for has an attribute; ``x.at`` is one of traced arrays."""
    if isinstance(value, Tracer):
        return name == "at" or any(name in vars(c) for c in stands_for(value).__mro__)
    return hasattr(value, name)


def getattr_(value: Any, name: str, *default: Any) -> Any:
    if isinstance(value, Tracer):
        if name == "__class__":
            return stands_for(value)
        if default and not hasattr_(value, name):
            return default[0]
        if not hasattr(value, name) and hasattr_(value, name):
            raise unsupported(f"the attribute x.{name}")
    return getattr(value, name, *default)


# ---- class patterns ------------------------------------------------------------------------------


class _Kind(type):
    """A class that a tracer is of if what it stands for is of `asked`."""

    asked: type

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance_(value, cls.asked)


@functools.lru_cache(256)
def _pattern(cls: Any) -> Any:
    if not isinstance(cls, type) or not any(issubclass(n, cls) for n in _NUMBERS):
        return cls
    space = {"asked": cls}
    if hasattr(cls, "__match_args__"):
        space["__match_args__"] = cls.__match_args__
    return _Kind(cls.__name__, (float,) if cls.__flags__ & _MATCHES_ITSELF else (), space)


class Classes:
    """The classes of a match statement's patterns, as attributes k0, k1, … found when they are
    asked for."""

    def __init__(self, *found: Callable[[], Any]) -> None:
        self.found = found

    def __getattr__(self, name: str) -> Any:
        return _pattern(self.found[int(name[1:])]())


RUNTIME["classes"], RUNTIME["class"] = Classes, class_of
