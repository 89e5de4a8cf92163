"""Python's own functions on traced values: builtins, `math`, `functools`."""

from __future__ import annotations

import builtins
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.errors import ConcretizationError, ShapeError, UnsupportedError
from symgrad.expr.node import FLOATS, bind
from symgrad.ops.linear import reshape
from symgrad.trace import journal, ufuncs
from symgrad.trace.handle import as_expr
from symgrad.trace.known import is_traced
from symgrad.trace.source.calls import ALWAYS, call, instead_of
from symgrad.trace.source.decisions import if_expression
from symgrad.trace.source.kinds import getattr_, hasattr_, type_
from symgrad.trace.source.merging import is_number
from symgrad.trace.source.tails import extremes
from symgrad.trace.state import fail
from symgrad.trace.tables import SUPPORTED
from symgrad.trace.tracer import PythonBool, Tracer, is_python, wrap, wrap_python

# ---- numbers -------------------------------------------------------------------------------------


def _single(value: Any, what: str) -> Any:
    expr = as_expr(value)
    if expr.size != 1:
        raise fail(ShapeError, f"{what} of an array of shape {expr.shape}: one element is needed")
    return reshape(expr, ())


@instead_of(float)
def float_(value: Any = 0.0) -> Any:
    """A traced number as Python's float: float64, and weak in promotion."""
    return wrap_python(ufuncs.convert(_single(value, "float()"), "float64"))


@instead_of(int)
def int_(value: Any = 0) -> Any:
    """A traced number cut off to an integer; it stays traced."""
    expr = _single(value, "int()")
    if expr.dtype in FLOATS:
        expr = bind("trunc", expr)
    return wrap_python(ufuncs.convert(expr, "int64"))


@instead_of(bool)
def bool_(value: Any = False) -> Any:
    return wrap_python(ufuncs.truth(_single(value, "bool()")))


@instead_of(round)
def round_(value: Any, ndigits: Any = None) -> Any:
    if type(value) is PythonBool:
        return value.as_int()
    result = SUPPORTED["round"](value, ndigits or 0)
    if is_python(value):
        return wrap_python(result) if ndigits is not None else int_(result)
    return result


@instead_of(abs)
def abs_(value: Any) -> Any:
    return value.__abs__()


def of_values(f: Any) -> Callable[..., Any]:
    """Register what `f` is where traced values are among those that it is given one by one."""

    def register(implementation: Callable[..., Any]) -> Callable[..., Any]:
        def either(values: Any = (), *rest: Any, **options: Any) -> Any:
            values = values if isinstance(values, Tracer) else list(values)
            if is_traced(values) or is_traced(rest) or is_traced(options):
                return implementation(values, *rest, **options)
            return f(values, *rest, **options)

        ALWAYS[f] = either
        return implementation

    return register


@of_values(any)
def any_(values: Any) -> Any:
    return wrap_python(functools.reduce(np.logical_or, list(values), np.False_))  # type: ignore[arg-type]


@of_values(all)
def all_(values: Any) -> Any:
    return wrap_python(functools.reduce(np.logical_and, list(values), np.True_))  # type: ignore[arg-type]


def _choose(condition: Any, a: Any, b: Any) -> Any:
    """`a` if `condition` else `b`; of two numbers weak if both are Python's."""
    if not (is_number(a) and is_number(b)) or np.ndim(a) or np.ndim(b):
        return if_expression(condition, lambda: a, lambda: b)
    result = SUPPORTED["where"](condition, a, b)
    return wrap_python(result) if is_python(a) and is_python(b) else result


_UNSET = object()


def _extreme(name: str, better: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    plain = getattr(builtins, name)

    def extreme(*values: Any, key: Any = None, default: Any = _UNSET) -> Any:
        candidates = list(values[0]) if len(values) == 1 else list(values)
        if not candidates or not is_traced(candidates) and key is None:
            options = {} if default is _UNSET else {"default": default}
            return plain(candidates, **options)
        if key is not None:
            keys = [call(key, c) for c in candidates]
            if not is_traced(keys):
                return candidates[keys.index(plain(keys))]
        else:
            keys = candidates
        best, best_key = candidates[0], keys[0]
        for value, its in zip(candidates[1:], keys[1:], strict=True):
            if np.ndim(its) or np.ndim(best_key):
                raise fail(
                    ConcretizationError,
                    f"{name}() compares whole arrays, whose truth is ambiguous in NumPy as well; "
                    f"use np.{name}imum",
                )
            wins = better(its, best_key)
            best, best_key = _choose(wins, value, best), _choose(wins, its, best_key)
        return best

    extreme.__name__ = name
    return extreme


ALWAYS[max] = _extreme("max", lambda a, b: a > b)
ALWAYS[min] = _extreme("min", lambda a, b: a < b)
extremes(ALWAYS[max], ALWAYS[min])

_MOST_SORTED = 64


def sorted_(values: Any, *, key: Any = None, reverse: Any = False) -> list[Any]:
    """Python's sorted; traced numbers by a network of comparisons."""
    items = list(values)
    keys = items if key is None else [call(key, v) for v in items]
    if not is_traced(keys):
        order = builtins.sorted(range(len(items)), key=keys.__getitem__, reverse=reverse)
        return [items[k] for k in order]
    if len(items) > _MOST_SORTED or any(np.ndim(k) for k in keys):
        raise fail(
            UnsupportedError,
            f"sorted() of more than {_MOST_SORTED} traced numbers, or of arrays, is not traced",
        )
    keys = list(keys)
    for end in range(len(items) - 1, 0, -1):  # bubble sort is stable
        for k in range(end):
            swap = keys[k + 1] > keys[k] if reverse else keys[k + 1] < keys[k]
            pair, both = (items[k], items[k + 1]), (keys[k], keys[k + 1])
            items[k], items[k + 1] = _choose(swap, *pair[::-1]), _choose(swap, *pair)
            keys[k], keys[k + 1] = _choose(swap, *both[::-1]), _choose(swap, *both)
    return items


ALWAYS[sorted] = sorted_


@instead_of(divmod)
def divmod_(a: Any, b: Any) -> Any:
    return a // b, a % b


@instead_of(range)
def range_(*bounds: Any) -> Any:
    return range(*[b.__index__() if isinstance(b, Tracer) else b for b in bounds])


ALWAYS[type], ALWAYS[hasattr], ALWAYS[getattr] = type_, hasattr_, getattr_


def _setattr(owner: Any, name: str, value: Any) -> None:
    journal.note_attribute(owner, name)
    setattr(owner, name, value)


def _delattr(owner: Any, name: str) -> None:
    journal.note_attribute(owner, name)
    delattr(owner, name)


ALWAYS[setattr], ALWAYS[delattr] = _setattr, _delattr


# ---- functions of functions ----------------------------------------------------------------------


def follow(f: Any) -> Any:
    """A function that something else is going to call."""
    return functools.partial(call, f) if callable(f) else f


ALWAYS[map] = lambda f, *values: map(follow(f), *values)
ALWAYS[filter] = lambda f, values: filter(follow(f), values)
ALWAYS[functools.reduce] = lambda f, *rest: functools.reduce(follow(f), *rest)
ALWAYS[itertools.accumulate] = lambda values, *f, **options: itertools.accumulate(
    values, *map(follow, f), **{k: follow(v) for k, v in options.items()}
)
ALWAYS[itertools.starmap] = lambda f, values: itertools.starmap(follow(f), values)


# ---- math ----------------------------------------------------------------------------------------

_MATH = {
    "sin": "sin", "cos": "cos", "tan": "tan", "asin": "arcsin", "acos": "arccos", "atan": "arctan",
    "atan2": "arctan2", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "asinh": "arcsinh",
    "acosh": "arccosh", "atanh": "arctanh", "sqrt": "sqrt", "exp": "exp", "exp2": "exp2",
    "expm1": "expm1", "log1p": "log1p", "log2": "log2", "log10": "log10", "fabs": "absolute",
    "pow": "power", "fmod": "fmod", "copysign": "copysign", "degrees": "degrees",
    "radians": "radians", "cbrt": "cbrt",
    "isnan": "isnan", "isinf": "isinf", "isfinite": "isfinite", "nextafter": "nextafter",
}  # fmt: skip
_TO_INTEGER = {"floor": "floor", "ceil": "ceil", "trunc": "trunc"}
_ROWS = {"erf": "erf", "erfc": "erfc", "lgamma": "gammaln", "gamma": "gamma"}


def _number(value: Any) -> Any:
    """What `math` sees: a float."""
    return float_(value) if isinstance(value, Tracer) else float(value)


def _as_python(value: Any) -> Any:
    return wrap_python(value) if isinstance(value, Tracer) else value


def _of_math(name: str, finish: Callable[[Any], Any], ufunc: Any) -> None:
    @instead_of(getattr(math, name))
    def function(*args: Any) -> Any:
        return finish(ufunc(*map(_number, args)))


for _name, _ufunc in _MATH.items():
    if hasattr(math, _name):
        _of_math(_name, _as_python, getattr(np, _ufunc))
for _name, _ufunc in _TO_INTEGER.items():
    _of_math(_name, int_, getattr(np, _ufunc))
for _name, _row in _ROWS.items():
    _of_math(_name, _as_python, lambda x, row=_row: wrap(bind(row, as_expr(x))))


@instead_of(math.log)
def log(x: Any, base: Any = None) -> Any:
    result = np.log(_number(x))
    return _as_python(result if base is None else result / np.log(_number(base)))


@instead_of(math.hypot)
def hypot(*values: Any) -> Any:
    if len(values) == 2:
        return _as_python(np.hypot(*map(_number, values)))
    return _as_python(np.linalg.norm(np.stack([as_tracer(_number(v)) for v in values])))


def as_tracer(value: Any) -> Tracer:
    return value if isinstance(value, Tracer) else wrap(as_expr(value))


@instead_of(math.dist)
def dist(p: Any, q: Any) -> Any:
    return hypot(*[a - b for a, b in zip(p, q, strict=True)])


@of_values(math.fsum)
def fsum(values: Any) -> Any:
    return sum(map(_number, values), 0.0)


@of_values(math.prod)
def prod(values: Any, *, start: Any = 1) -> Any:
    return functools.reduce(lambda a, b: a * b, values, start)


@instead_of(math.isclose)
def isclose(a: Any, b: Any, *, rel_tol: float = 1e-9, abs_tol: float = 0.0) -> Any:
    difference = abs(a - b)
    return np.logical_or(difference <= rel_tol * np.maximum(abs(a), abs(b)), difference <= abs_tol)
