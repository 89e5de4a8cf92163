"""Methods that Python calls by itself: operators, truth, iteration and attributes of the user's
classes.

Rewritten code asks here first, so that these methods are followed by their source as others are.
What is no method of the user's own is left to Python.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.origin import package_of
from symgrad.trace.handle import Handle
from symgrad.trace.known import Known, KnownZero
from symgrad.trace.source.calls import ALWAYS, ASKED, Answer, call, static
from symgrad.trace.source.clones import clone
from symgrad.trace.source.tails import is_filled
from symgrad.trace.tracer import (
    ArrayTracer,
    PythonBool,
    PythonTracer,
    ScalarTracer,
    Tracer,
    ZeroTracer,
)

# Types whose operators are not the user's, told apart at once.
PLAIN = frozenset({
    Tracer, ScalarTracer, ArrayTracer, PythonTracer, PythonBool, ZeroTracer, Known, KnownZero,
    np.ndarray, np.float64, np.int64, np.bool_, int, float, bool, complex, str, list, tuple, dict,
    set, type(None), range,
})  # fmt: skip
SURE = PLAIN - {list}  # of whose truth the same holds
COMPARING = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
_REFLECTED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}


def own_method(cls: type, name: str) -> types.FunctionType | None:
    """The function of a special method, if it is the user's and can be followed."""
    found = static(cls, name)
    return found if _is_own(found) else None


def binary(name: str, a: Any, b: Any) -> Any:
    """``a + b`` and the like by methods of the user's; NotImplemented where none says it."""
    left, right = type(a), type(b)
    reflected = _REFLECTED.get(name, f"r{name}")
    mine = own_method(left, f"__{name}__")
    other = None if left is right else own_method(right, f"__{reflected}__")
    if mine is None and other is None:
        return NotImplemented
    ways: list[Callable[[], Any]] = []
    if mine is not None:
        ways.append(lambda: call(mine, a, b))
    elif not issubclass(left, np.ndarray | np.generic):  # else NumPy looks at b by itself
        plain = getattr(left, f"__{name}__", None)
        ways.append(lambda: NotImplemented if plain is None else plain(a, b))
    else:
        return NotImplemented
    if other is not None:
        ways.append(lambda: call(other, b, a))
        if issubclass(right, left) and static(left, f"__{reflected}__") is not other:
            ways.reverse()
    for way in ways:
        result = way()
        if result is not NotImplemented:
            return result
    return NotImplemented


def unary(name: str, a: Any) -> Any:
    """``-a``, ``abs(a)``, ``len(a)``, ``iter(a)``: NotImplemented where no method of the user's
    says it."""
    method = own_method(type(a), f"__{name}__")
    return NotImplemented if method is None else call(method, a)


def tested(value: Any) -> Any:
    """What stands for the truth of an object of the user's, or of a list."""
    if type(value) is list:
        return is_filled(value)
    for name in ("bool", "len"):
        result = unary(name, value)
        if result is not NotImplemented:
            return result if name == "bool" else result != 0
    return value


def iterated(values: Any) -> Any:
    """What is gone through, by the user's ``__iter__``."""
    if type(values) in PLAIN:
        return values
    result = unary("iter", values)
    return values if result is NotImplemented else result


# ---- attributes ----------------------------------------------------------------------------------


def read(owner: Any, name: str) -> Any:
    """``owner.name`` by a property or another descriptor of the user's; else NotImplemented."""
    cls = type(owner)
    found = static(cls, name)
    if type(found) is property:
        return NotImplemented if not _is_own(found.fget) else call(found.fget, owner)
    kind = type(found)
    if kind is functools.cached_property:
        if name in vars(owner) or not _is_own(found.func):
            return NotImplemented
        value = call(found.func, owner)
        ALWAYS[setattr](owner, name, value)
        return value
    method = own_method(kind, "__get__")
    if method is None:
        return NotImplemented
    is_data = static(kind, "__set__") is not None or static(kind, "__delete__") is not None
    if not is_data and name in getattr(owner, "__dict__", ()):
        return NotImplemented
    return call(method, found, owner, cls)


def write(owner: Any, name: str, value: Any) -> bool:
    """``owner.name = value`` by the user's; whether there is a method that says it."""
    cls = type(owner)
    method = own_method(cls, "__setattr__")
    if method is not None:
        call(method, owner, name, value)
        return True
    found = static(cls, name)
    if type(found) is property:
        if not _is_own(found.fset):
            return False
        call(found.fset, owner, value)
        return True
    method = own_method(type(found), "__set__")
    if method is not None:
        call(method, found, owner, value)
    return method is not None


def _is_own(f: Any) -> bool:
    if type(f) is not types.FunctionType or package_of(f.__code__.co_filename) != "":
        return False
    return clone(f) is not None


# ---- builtins ------------------------------------------------------------------------------------

_ASKING: dict[Any, str] = {abs: "abs", len: "len", iter: "iter", reversed: "reversed"}
_GOING: tuple[Any, ...] = (
    zip, enumerate, map, filter, list, tuple, set, sum, min, max, sorted, any, all, iter,
)  # fmt: skip


def asked(f: Any, args: tuple[Any, ...]) -> Any:
    """What a builtin gives for an object of the user's, as `Answer`, or what it is called with."""
    name = _ASKING.get(f)
    if name is not None and len(args) == 1 and type(args[0]) not in PLAIN:
        result = unary(name, args[0])
        if result is not NotImplemented:
            return Answer(result)
    if f in _GOING and (f not in (min, max) or len(args) == 1):
        return tuple([a if isinstance(a, Handle) else iterated(a) for a in args])
    return args


ASKED.update(dict.fromkeys((*_ASKING, *_GOING), asked))
