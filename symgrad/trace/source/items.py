"""Elements, operators and attributes in traced functions: what rewritten code calls for them."""

from __future__ import annotations

import collections
import operator
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.errors import ConcretizationError, MutationError
from symgrad.interchange import is_elsewhere
from symgrad.origin import package_of
from symgrad.trace import indexing, journal
from symgrad.trace.flat import Flat
from symgrad.trace.handle import Handle, as_expr, elsewhere, has_ellipsis, plain_index
from symgrad.trace.known import give, is_traced, knowns, own, plain
from symgrad.trace.source import library, special
from symgrad.trace.source.calls import call
from symgrad.trace.source.clones import RUNTIME
from symgrad.trace.source.tails import check_stored, element, tail_of, walked
from symgrad.trace.state import NO_TRACE, fail
from symgrad.trace.tracer import (
    ArrayTracer,
    PythonBool,
    PythonTracer,
    Tracer,
    ZeroTracer,
    wrap,
    wrap_array,
)

_JOINERS = (type(np.r_), type(np.c_))


def get(a: Any, index: Any) -> Any:
    """``a[index]``."""
    cls = type(a)
    if cls is np.ndarray:
        if is_traced(index):
            return element_of(a, index)
        return a[plain(index)]
    if isinstance(a, Tracer):
        return a[index] if a.shape else _of_number(a, index)
    if cls is list or cls is tuple:
        if tail_of(a) is not None:
            return element(a, plain(index))
        if isinstance(index, Tracer):
            return _element(a, index)
        return a[index]
    if cls in _JOINERS:
        return joined(a, index)
    method = getattr(cls, "__getitem__", None)
    if type(method) is types.FunctionType and package_of(method.__code__.co_filename) == "":
        return call(method, a, index)
    if isinstance(a, collections.defaultdict):  # which reading may change
        journal.note_container(a)
    return own(a[index], 3)


def _of_number(a: Any, index: Any) -> Any:
    """``x[()]``, ``x[None]`` and ``x[...]`` of a number or an array of rank zero."""
    if isinstance(a, (PythonTracer, PythonBool)):
        return a[index]  # which raises as Python does
    if a.is_known or isinstance(a, ZeroTracer):
        return type(a).__getitem__(a, index) if a.is_known else ArrayTracer.__getitem__(a, index)
    expr = as_expr(a)
    items = indexing.parse((), plain_index(index))
    result = indexing.get(expr, items)
    return wrap_array(result) if has_ellipsis(index) else wrap(result)


def _element(a: Any, index: Tracer) -> Any:
    """An element of a list by a traced number: the list becomes an array."""
    number = index.as_number()
    if number is not None:
        return a[number]
    if index.shape or not index.expr.dtype.startswith("int"):
        return a[index]  # which raises as Python does
    return element_of(list(a), index)


def element_of(values: Any, index: Any) -> Any:
    """An element of a plain array, or a list, by a traced index: it cannot be changed in place."""
    base = wrap_array(as_expr(values))
    element = base[index]
    base.owner = NO_TRACE  # nobody would see what is written through to it
    return element


def joined(joiner: Any, index: Any) -> Any:
    """``np.r_[x, 1.0, 2:5]`` and ``np.c_[x, y]``."""
    if not is_traced(index):
        return give(joiner[plain(index)], knowns(index)) if knowns(index) else own(joiner[index], 3)
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(isinstance(p, str) for p in parts):
        raise fail(ConcretizationError, "np.r_ with text is not traced; use np.concatenate")
    columns = type(joiner) is type(np.c_)
    pieces = []
    for part in parts:
        if isinstance(part, slice):
            part = np.r_[plain(part)]
        array = wrap_array(as_expr(part))
        array = array if array.shape else array.reshape(1)
        if columns and array.ndim == 1:
            array = array[:, None]
        pieces.append(array)
    return np.concatenate(pieces, axis=-1 if columns else 0)


def set_(value: Any, a: Any, index: Any) -> None:
    """``a[index] = value``."""
    cls = type(a)
    if cls is np.ndarray and a.dtype != object and (is_traced(value) or is_traced(index)):
        raise _not_ours("a[i] = y", a)
    if isinstance(a, np.ndarray) and journal.is_side():
        raise _in_a_branch("a[i] = y")
    if cls is np.ndarray and a.dtype != object:
        a[plain(index)] = plain(value)
        return
    if isinstance(a, journal.CONTAINERS):
        check_stored(a, index)
        journal.note_container(a)
        if isinstance(index, Tracer) and index.as_number() is not None:
            index = index.as_number()
        a[index] = value  # type: ignore[index]
        return
    method = getattr(cls, "__setitem__", None)
    if type(method) is types.FunctionType and package_of(method.__code__.co_filename) == "":
        call(method, a, index, value)
        return
    if journal.is_side() and not isinstance(a, (Tracer, Flat)):
        raise fail(
            MutationError,
            f"a {cls.__name__} is changed on one side of a branch on a traced value; use an array, "
            "a list or a dict",
        )
    a[index] = value


def delete(a: Any, index: Any) -> None:
    """``del a[index]``."""
    if isinstance(a, journal.CONTAINERS):
        check_stored(a, None)
        journal.note_container(a)
    del a[index]


def delete_attribute(owner: Any, name: str) -> None:
    """``del owner.name``."""
    journal.note_attribute(owner, name)
    delattr(owner, name)


def iterable(values: Any) -> Any:
    """What a loop goes through that is not made by the loop itself."""
    if journal.is_open():
        journal.note_iterators((values,))
    return special.iterated(walked(values))


def _not_ours(what: str, a: Any) -> MutationError:
    as_expr(a)  # raises for a dtype for which arrays made in the function stay NumPy's
    return fail(
        MutationError,
        f"{what} stores a traced value in an array that was made outside of the function and "
        "outlives it (a global, a default, an attribute, what a function captures), or by "
        "something that is not followed (as_strided): the compiled function would not change it; "
        "change a .copy() of the array",
    )


def _in_a_branch(what: str) -> MutationError:
    return fail(
        MutationError,
        f"{what} changes an array that was made outside of the function, and does so only if a "
        "traced condition holds; change a .copy() of the array",
    )


def place(a: Any, index: Any) -> tuple[Any, Any, Any]:
    """A place ``a[index]`` that is read, changed and written, and what is there.

    By a traced mask all of `a`: which elements these are is not known.
    """
    mask = isinstance(index, Tracer) and not index.is_known and index.dtype == bool
    if mask and isinstance(a, Tracer) and a.shape[: index.ndim] == index.shape:
        return a, index, a.copy()
    return a, index, get(a, index)


def update(where: tuple[Any, Any, Any], function: Callable[[Any, Any], Any], value: Any) -> None:
    """``a[index] += value``, by the function of the operator."""
    a, index, old = where
    if type(a) is np.ndarray and a.dtype != object and is_traced(value):
        raise _not_ours("a[i] += y", a)
    if isinstance(old, Tracer) and isinstance(index, Tracer) and index.dtype == bool:
        if old.shape == a.shape and not index.is_known:
            if np.ndim(value):
                raise fail(
                    ConcretizationError,
                    "z[mask] += y with a traced mask is possible for a single number y only; "
                    "use np.where(mask, z + y, z)",
                )
            wide = index.reshape(index.shape + (1,) * (a.ndim - index.ndim))
            a[...] = np.where(wide, function(old, value), a)
            return
    set_(function(old, value), a, index)


def attribute(owner: Any, name: str) -> Any:
    """``owner.name``; a property of the user's is followed."""
    cls = type(owner)
    if cls is not types.ModuleType and not isinstance(owner, Tracer):
        found = special.read(owner, name)
        if found is not NotImplemented:
            return found
    return getattr(owner, name)


def set_attribute(value: Any, owner: Any, name: str) -> None:
    """``owner.name = value``."""
    if special.write(owner, name, value):
        return
    if journal.is_open():
        journal.note_attribute(owner, name)
    setattr(owner, name, value)


# ---- operators -----------------------------------------------------------------------------------


def _binary(name: str, owned: bool) -> Callable[[Any, Any], Any]:
    function = library.OPERATORS.get(name) or getattr(operator, name)
    short = name.rstrip("_")

    def apply(a: Any, b: Any) -> Any:
        if not (type(a) in special.PLAIN and type(b) in special.PLAIN):
            result = special.binary(short, a, b)
            if result is not NotImplemented:
                return result
        if type(a) is list or type(b) is list:
            if short in special.COMPARING:
                a, b = walked(a), walked(b)
            if type(a) is not type(b) and (isinstance(a, np.ndarray) or isinstance(b, np.ndarray)):
                a, b = _array(a), _array(b)
        if isinstance(b, Handle) and not b.is_known and is_elsewhere(a):
            a = elsewhere(a)  # whose own operator would be asked first
        result = function(a, b)
        if type(result) is list:
            journal.made(result)
        return own(result, 3) if owned else result

    apply.__name__ = f"__{short}__"
    return apply


def _array(value: Any) -> Any:
    """A list with traced values in it as an array, where NumPy would make one."""
    return wrap_array(as_expr(value)) if type(value) is list and is_traced(value) else value


def _unary(name: str) -> Callable[[Any], Any]:
    function = getattr(operator, name)

    def apply(a: Any) -> Any:
        if type(a) not in special.PLAIN:
            result = special.unary(name, a)
            if result is not NotImplemented:
                return result
        return own(function(a), 3)

    apply.__name__ = f"__{name}__"
    return apply


def _in_place(name: str) -> Callable[[Any, Any], Any]:
    function = getattr(operator, name)

    def apply(a: Any, b: Any) -> Any:
        cls = type(a)
        if isinstance(a, journal.CONTAINERS):
            journal.note_container(a)
        elif is_traced(b) and is_elsewhere(a):
            raise _not_ours("a += y", a)
        elif isinstance(a, np.ndarray):
            if cls is np.ndarray and a.dtype != object and is_traced(b):
                raise _not_ours("a += y", a)
            if journal.is_side():
                raise _in_a_branch("a += y")
        elif cls not in special.PLAIN:
            method = special.own_method(cls, f"__{name}__")
            if method is not None:
                return call(method, a, b)
            if not hasattr(cls, f"__{name}__"):
                result = special.binary(name[1:], a, b)
                if result is not NotImplemented:
                    return result
        return own(function(a, b), 4)

    apply.__name__ = f"__{name}__"
    return apply


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_",
              "xor", "lshift", "rshift"):  # fmt: skip
    RUNTIME[_name] = _binary(_name, False)
    RUNTIME[_name + "_"] = _binary(_name, True)
    _short = "i" + _name.rstrip("_")
    RUNTIME[_short] = _in_place(_short)

for _name in ("neg", "pos", "invert"):
    RUNTIME[_name] = _unary(_name)

for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    RUNTIME[_name] = _binary(_name, True)

RUNTIME.update({
    "get": get, "set": set_, "place": place, "update": update, "attr": attribute,
    "setattr": set_attribute, "del": delete, "delattr": delete_attribute, "iterable": iterable,
    "slice": slice, "new": journal.made, "parts": walked,
})  # fmt: skip
