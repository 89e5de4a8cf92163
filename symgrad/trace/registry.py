"""How the functions of the *_api modules become NumPy's: `implements` registers one by name.

An implementation has NumPy's name and parameters, takes what the user passed (tracers, arrays,
numbers) and returns Exprs. Parameters of NumPy that it does not list are refused unless they
have their default.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError, UnsupportedError
from symgrad.expr.node import DTYPES, Expr, bind
from symgrad.ops.linear import reshape
from symgrad.trace.handle import C_ORDER, as_expr
from symgrad.trace.memory import share
from symgrad.trace.state import fail
from symgrad.trace.tables import DISPATCH, SUPPORTED, unsupported
from symgrad.trace.tracer import ArrayTracer, ScalarTracer, Tracer, ZeroTracer, wrap_all, wrap_array


class NumberError(DtypeError, ValueError):
    """A number that an array of some dtype cannot hold, as NumPy refuses it."""


_NO_VALUE = np._NoValue
# What an option may be although the implementation does not know it: its default in NumPy.
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "out": (None,), "where": (True,), "order": (None, "C", "K", "A"), "subok": (True, False),
    "dtype": (None,), "casting": ("same_kind", "safe", "unsafe"), "copy": (None, True),
    "like": (None,),
    "optimize": (False, True, "greedy", "optimal"), "hermitian": (False,), "device": (None, "cpu"),
    "ddof": (0,), "mean": (), "correction": (), "initial": (), "keepdims": (False,),
}  # fmt: skip


def implements(
    *names: str, view: bool | Callable[[Tracer], bool] = False, views: bool = False
) -> Callable[[Callable[..., Any]], Any]:
    """Register an implementation.

    view : whether NumPy's result shares memory with argument one, or for which ones it does
    views : whether each result shares memory with the argument at its place
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        parameters = inspect.signature(function).parameters
        variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
        open_ = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        label = "np." + names[0]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not variadic and len(args) > len(parameters):
                raise fail(
                    UnsupportedError,
                    f"{label}: only the arguments {', '.join(parameters)} are supported while "
                    "tracing",
                )
            for key in [*kwargs]:
                if kwargs[key] is _NO_VALUE:
                    del kwargs[key]
                elif key not in parameters and not open_:
                    _refuse(label, key, kwargs.pop(key))
            result = wrap_all(function(*args, **kwargs))
            if view and args and isinstance(args[0], Tracer):
                if view is True or view(args[0]):
                    return _share(function, args, kwargs, result)
            if views:
                for k, (base, part) in enumerate(zip(args, result, strict=True)):
                    if isinstance(base, (ArrayTracer, ZeroTracer)) and part.shape:
                        share(base, part, functools.partial(_each, k, function, args))
            return result

        for name in names:
            SUPPORTED[name] = call
            target: Any = np
            for piece in name.split("."):
                target = getattr(target, piece, None)
            if target is not None and not isinstance(target, np.ufunc):
                DISPATCH[target] = call
        return call

    return register


def _share(function: Callable[..., Any], args: Any, kwargs: Any, result: Any) -> Any:
    """`result`, noted as a view of args[0], or each part of it."""
    base, rest = args[0], args[1:]
    if isinstance(base, ScalarTracer) and not isinstance(base, ZeroTracer):
        return result  # a number has no memory to share
    if not isinstance(result, (tuple, list)):
        result = wrap_array(result.expr)
        exact = function.__name__ not in ("reshape", "ravel") or _always_view(base, result)
        share(base, result, (lambda x: function(x, *rest, **kwargs)) if exact else None)
        return result
    for k, part in enumerate(result):
        if isinstance(part, Tracer) and part.shape:
            share(base, part, functools.partial(_part, k, function, rest, kwargs))
    return result


def _part(k: int, function: Callable[..., Any], rest: Any, kwargs: Any, x: Any) -> Any:
    return function(x, *rest, **kwargs)[k]


def _each(k: int, function: Callable[..., Any], args: Any, x: Any) -> Any:
    return function(*args[:k], x, *args[k + 1 :])[k]


def _always_view(base: Tracer, result: Tracer) -> bool:
    """Whether NumPy's reshape gives a view whatever the memory layout of `base` is."""
    if base._value is C_ORDER:
        return True
    if [n for n in base.shape if n != 1] == [n for n in result.shape if n != 1]:
        return base._base is None or result.ndim > 1
    return base.ndim == 1


def _refuse(label: str, key: str, value: Any) -> None:
    harmless = _HARMLESS.get(key, (None,))
    if not any(value is h or (isinstance(value, (str, int)) and value == h) for h in harmless):
        raise fail(
            UnsupportedError, f"{label}: the option {key}={value!r} is not supported while tracing"
        )


def refuse(name: str, advice: str = "") -> None:
    """Register a function that is known and not traced, with what to write instead."""

    def function(*args: Any, **kwargs: Any) -> Any:
        raise unsupported("np." + name, advice)

    function.__name__ = name.rsplit(".", 1)[-1]
    target: Any = np
    for piece in name.split("."):
        target = getattr(target, piece, None)
    if target is not None:
        DISPATCH[target] = function


# ---- what implementations share ----------------------------------------------------------------


def axes_of(axis: Any, x: Expr, what: str = "") -> tuple[int, ...]:
    """`axis` as a sorted tuple of numbers from zero; None means all axes."""
    if axis is None:
        return tuple(range(x.ndim))
    return tuple(sorted(axis_list(axis, x.ndim, what)))


def axis_list(axis: Any, ndim: int, what: str = "") -> list[int]:
    """`axis`, a number or several, counted from zero."""
    if isinstance(axis, Tracer):
        axis = axis.__index__()
    given = list(axis) if isinstance(axis, (tuple, list)) else [axis]
    result = []
    for a in given:
        try:
            number = operator.index(a)
        except TypeError:
            if isinstance(a, Tracer):  # whose own error says what to write
                raise
            raise fail(UnsupportedError, f"{what}: an axis must be an integer, got {a!r}") from None
        if not -ndim <= number < ndim:
            raise fail(
                ShapeError, f"{what}: axis {number} is out of bounds for an array of rank {ndim}"
            )
        result.append(number % ndim)
    if len(set(result)) != len(result):
        raise fail(ShapeError, f"{what}: an axis is named twice in {axis}")
    return result


def one_axis(axis: Any, ndim: int, what: str = "") -> int:
    """`axis`, one number, counted from zero."""
    if isinstance(axis, (tuple, list)):
        raise fail(UnsupportedError, f"{what}: one integer is needed as axis, got {axis!r}")
    return axis_list(axis, ndim, what)[0]


def cast(value: Any, dtype: str, what: str) -> Any:
    """A plain number as NumPy stores it in an array of that dtype; a traced one stays itself.

    NumPy cuts fractions off without a word, but refuses NaN and infinities for integers.
    """
    if isinstance(value, (Tracer, Expr)):
        return value
    try:
        with np.errstate(all="ignore"):
            return np.dtype(dtype).type(value).item()
    except (ValueError, OverflowError, TypeError) as error:
        raise fail(NumberError, f"{what}: {value!r} does not fit into {dtype}") from error


def keep(reduced: Expr, x: Expr, axes: tuple[int, ...], keepdims: bool) -> Expr:
    """A reduction's result with the reduced axes as size one, if asked for."""
    if not keepdims:
        return reduced
    return reshape(reduced, tuple(1 if k in axes else n for k, n in enumerate(x.shape)))


def dtype_name(dtype: Any) -> str:
    """A dtype as the user gives it, by its name."""
    name = np.dtype(dtype).name
    if name not in DTYPES:
        raise fail(DtypeError, f"dtype {name} is not supported; use one of {', '.join(DTYPES)}")
    return name


def to(x: Expr, dtype: str) -> Expr:
    """`x` in another dtype."""
    return x if x.dtype == dtype else bind("convert", x, attrs=(dtype,))


def as_float(x: Expr) -> Expr:
    """Integers and bools as float64, as NumPy's mean, var and linalg convert them."""
    return x if x.dtype in ("float32", "float64") else to(x, "float64")


__all__ = [
    "as_expr", "as_float", "axes_of", "axis_list", "cast", "dtype_name", "implements", "keep",
    "one_axis", "refuse", "to",
]  # fmt: skip
