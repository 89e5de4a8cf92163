"""NumPy, SciPy and builtins for functions that run on dual numbers; the derivatives that result.

`load(text or path)` runs a module in a world of its own: what it imports as numpy, math or scipy
are the stand-ins below, in which arrays of floats are arrays of Python objects (`Array`), so that
`z = np.zeros(3); z[0] = x`, views and aliases work as NumPy works. `derivatives` runs one of its
functions once, along all directions.

What has no stand-in reaches the real function with arrays of objects, which either does the same
arithmetic or raises; a dual number never turns into a float unseen.
"""

from __future__ import annotations

import builtins
import functools
import itertools
import math
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import scipy.special
import scipy.stats

from support import dual
from support.dual import BINARY, UNARY, Dual, Float, Int, clip, divide, plain, sqrt

# ---- arrays --------------------------------------------------------------------------------------


class Array(np.ndarray):
    """An array of objects, floats and dual numbers, which stands for an array of floats."""

    __array_priority__ = 900.0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return call_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, func: Any, _: Any, args: Any, kwargs: Any) -> Any:
        return call_function(func, args, kwargs)

    def astype(self, dtype: Any, **_: Any) -> Any:
        if _is_float(dtype):
            return self.copy()
        made = np.array([plain(x) for x in self.flat]).reshape(self.shape)
        return made.astype(_real_type(dtype))

    def mean(self, axis: Any = None, **options: Any) -> Any:
        return FUNCTIONS["mean"](self, axis, **options)

    def var(self, axis: Any = None, **options: Any) -> Any:
        return FUNCTIONS["var"](self, axis, **options)

    def std(self, axis: Any = None, **options: Any) -> Any:
        return FUNCTIONS["std"](self, axis, **options)

    def max(self, axis: Any = None, **options: Any) -> Any:
        return FUNCTIONS["max"](self, axis, **options)

    def min(self, axis: Any = None, **options: Any) -> Any:
        return FUNCTIONS["min"](self, axis, **options)

    def clip(self, low: Any = None, high: Any = None) -> Any:
        return FUNCTIONS["clip"](self, low, high)

    def round(self, digits: int = 0) -> Any:
        return FUNCTIONS["round"](self, digits)

    def dot(self, other: Any) -> Any:
        return np.dot(self, other)

    def tolist(self) -> Any:
        return objects(self).tolist()

    def sort(self, axis: int = -1, **_: Any) -> None:
        self[...] = FUNCTIONS["sort"](self, axis)

    def argsort(self, axis: int = -1, **_: Any) -> Any:
        return FUNCTIONS["argsort"](self, axis)

    @property
    def real(self) -> Any:
        return elementwise(dual.real, self)

    @property
    def imag(self) -> Any:
        return elementwise(dual.imag, self)


def _is_float(dtype: Any) -> bool:
    if dtype is None or dtype is Float or dtype is object:
        return True
    return dtype is not Int and np.dtype(dtype).kind in "fcO"


def _real_type(dtype: Any) -> Any:
    """The type that NumPy knows instead of a stand-in."""
    return int if dtype is Int else None if _is_float(dtype) else dtype


def objects(x: Any) -> np.ndarray:
    """A plain array of objects; the memory is shared where `x` is an array of objects."""
    if isinstance(x, np.ndarray):
        return x.view(np.ndarray) if x.dtype == object else x.astype(object)
    if isinstance(x, (list, tuple)):
        return np.array(_nested(x), dtype=object)
    made = np.empty((), dtype=object)
    made[()] = x.item() if isinstance(x, np.generic) else x
    return made


def _nested(x: Any) -> Any:
    """Nested lists of numbers."""
    if isinstance(x, (list, tuple)):
        return [_nested(e) for e in x]
    if isinstance(x, np.ndarray):
        return x.tolist()
    return x.item() if isinstance(x, np.generic) else x


def wrap(x: Any) -> Any:
    """Arrays of floats and objects as Arrays; arrays without dimensions as their element."""
    if isinstance(x, np.ndarray):
        if x.dtype == object or x.dtype.kind in "fc":
            return objects(x).view(Array)
        return x
    if type(x) in (list, tuple):
        return type(x)(map(wrap, x))
    return x


def _has_numbers(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(map(_has_numbers, x))
    return isinstance(x, (Dual, Array))


def lift(x: Any) -> Any:
    """Lists that hold dual numbers as Arrays; all else as it is."""
    if isinstance(x, (list, tuple)) and _has_numbers(x):
        return array(x)
    return x


def array(x: Any, dtype: Any = None, *, copy: Any = True, ndmin: int = 0, **_: Any) -> Any:
    """`np.array`. Whether floats or whole numbers are meant is decided as NumPy does."""
    if dtype is not None and not _is_float(dtype):
        dtype = _real_type(dtype)
        if isinstance(x, np.ndarray) and x.dtype != object:
            return np.array(x, dtype, copy=copy, ndmin=ndmin)
        return np.array(_plain_nested(x), dtype, ndmin=ndmin)
    if isinstance(x, np.ndarray):
        if dtype is None and x.dtype.kind in "iub":
            return np.array(x, copy=copy, ndmin=ndmin)
        made = objects(x)
        made = made.copy() if copy else made
    else:
        x = list(x) if isinstance(x, (range, map, filter, types.GeneratorType)) else x
        nested = _nested(x)
        if dtype is None and not _contains_float(nested):
            return np.array(nested, copy=copy, ndmin=ndmin)
        made = objects(nested)
        if made.dtype == object:
            made = np.frompyfunc(_as_float, 1, 1)(made) if made.ndim else objects(_as_float(x))
    made = made.reshape((1,) * (ndmin - made.ndim) + made.shape) if made.ndim < ndmin else made
    return np.asarray(made, dtype=object).view(Array)


def _as_float(x: Any) -> Any:
    return float(x) if isinstance(x, (int, np.integer)) else x


def _plain_nested(x: Any) -> Any:
    x = _nested(x)
    return [_plain_nested(e) for e in x] if isinstance(x, list) else plain(x)


def _contains_float(x: Any) -> bool:
    if isinstance(x, list):
        return not x or any(map(_contains_float, x))
    return isinstance(x, (float, complex, Dual))


def elementwise(function: Callable[..., Any], *inputs: Any) -> Any:
    """A function of numbers over arrays that are broadcast."""
    if not any(isinstance(x, (np.ndarray, list, tuple)) for x in inputs):
        return function(*[x.item() if isinstance(x, np.generic) else x for x in inputs])
    raw = [objects(x) for x in inputs]
    result = np.frompyfunc(function, len(raw), 1)(*raw)
    if not isinstance(result, np.ndarray):
        return result
    return _typed(result)


def _typed(result: np.ndarray) -> Any:
    if result.size and all(type(x) is bool for x in result.flat):
        return result.astype(bool)
    return result.view(Array)


_BOOLEAN = set(
    "less less_equal greater greater_equal equal not_equal isnan isinf isfinite signbit "
    "logical_and logical_or logical_not logical_xor".split()
)


def call_ufunc(ufunc: Any, method: str, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """A ufunc over dual numbers. An `out` is written to, as NumPy does."""
    name = ufunc.__name__
    out, where = options.pop("out", None), options.pop("where", True)
    options = {k: v for k, v in options.items() if k not in ("dtype", "casting", "subok")}
    if name in ("matmul", "vecdot", "matvec", "vecmat"):
        result = wrap(ufunc(*map(objects, inputs), **options))
    elif method == "__call__":
        result = _called(name, ufunc, inputs)
    elif method == "at":
        _at(name, *inputs)
        return None
    elif method == "outer":
        x, y = map(objects, inputs)
        result = elementwise(BINARY[name], x.reshape(x.shape + (1,) * y.ndim), y)
    else:
        result = _folded(name, method, inputs[0], where=where, **options)
        where = True
    if out is not None:
        target = out[0]
        if target.dtype != object and _has_dual(result):
            raise TypeError("a dual number would lose its derivative in an array of floats")
        np.copyto(target.view(np.ndarray), objects(result), where=where, casting="unsafe")
        return target
    return result


def _called(name: str, ufunc: Any, inputs: Sequence[Any]) -> Any:
    if name == "divmod":
        return tuple(_called(n, None, inputs) for n in ("floor_divide", "remainder"))
    if name == "modf":
        whole = elementwise(UNARY["trunc"], inputs[0])
        return inputs[0] - whole, whole
    function = (UNARY if len(inputs) == 1 else BINARY).get(name)
    if function is None:
        raise NotImplementedError(f"ufunc {name} of dual numbers")
    result = elementwise(function, *inputs)
    if name in _BOOLEAN and isinstance(result, np.ndarray):
        return np.asarray(result.view(np.ndarray), dtype=bool)
    return result


def _has_dual(x: Any) -> bool:
    return isinstance(x, Dual) or isinstance(x, Array) and any(isinstance(e, Dual) for e in x.flat)


def _at(name: str, target: Any, index: Any, value: Any = None) -> None:
    places = np.arange(target.size).reshape(target.shape)[plain_index(index)]
    values = np.broadcast_to(objects(value), np.shape(places)) if value is not None else None
    for k, place in enumerate(np.ravel(places)):
        where = np.unravel_index(place, target.shape)
        args = [target[where]] if values is None else [target[where], values.flat[k]]
        target[where] = (UNARY if values is None else BINARY)[name](*args)


def plain_index(index: Any) -> Any:
    return tuple(map(plain_index, index)) if isinstance(index, tuple) else plain(index)


def _folded(
    name: str, method: str, x: Any, axis: Any = 0, keepdims: bool = False, initial: Any = None,
    where: Any = True,
) -> Any:  # fmt: skip
    x, f = objects(x), BINARY[name]
    if where is not True:
        neutral = {"add": 0.0, "multiply": 1.0, "maximum": -math.inf, "minimum": math.inf}[name]
        x = np.where(where, x, neutral if initial is None else initial)
    if method == "accumulate":
        moved = np.moveaxis(x, axis, -1)
        rows = [list(itertools.accumulate(row, f)) for row in moved.reshape(-1, x.shape[axis])]
        made = np.array(rows, dtype=object).reshape(moved.shape)
        return np.moveaxis(made, -1, axis).view(Array)
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(a % x.ndim for a in axes)
    moved = np.moveaxis(x, axes, range(-len(axes), 0))
    kept = moved.shape[: x.ndim - len(axes)]
    rows = moved.reshape(math.prod(kept), -1)
    start = [] if initial is None else [initial]
    if name in ("logical_and", "logical_or"):
        made = [(all if name == "logical_and" else any)(row) for row in rows]
    elif name in ("maximum", "minimum"):
        made = [extreme([*start, *row], name) for row in rows]
    else:
        empty = {"add": 0.0, "multiply": 1.0}
        made = [
            functools.reduce(f, [*start, *row]) if len(row) or start else empty[name]
            for row in rows
        ]
    shape = kept
    if keepdims:
        shape = tuple(1 if k in axes else n for k, n in enumerate(x.shape))
    if not shape:
        return made[0]
    result = np.empty(len(made), dtype=object)
    result[:] = made
    return _typed(result.reshape(shape))


def extreme(row: Sequence[Any], name: str) -> Any:
    """The largest or smallest of some numbers; those that are equal share the derivative."""
    values = [plain(x) for x in row]
    for x, v in zip(row, values, strict=True):
        if v != v:
            return x
    best = max(values) if name == "maximum" else min(values)
    tied = [x for x, v in zip(row, values, strict=True) if v == best]
    return tied[0] if len(tied) == 1 else sum(tied[1:], tied[0]) / len(tied)


# ---- functions -----------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[..., Any]] = {}


def ours(function: Callable[..., Any]) -> Callable[..., Any]:
    FUNCTIONS[function.__name__.removeprefix("np_").replace("__", ".")] = function
    return function


def call_function(func: Any, args: Any, kwargs: Any) -> Any:
    """A function of NumPy's: ours, or its own code on arrays of objects."""
    module = func.__module__.removeprefix("numpy").removeprefix(".")
    name = f"{module}.{func.__name__}" if module in ("linalg", "fft") else func.__name__
    if name in FUNCTIONS:
        return FUNCTIONS[name](*args, **kwargs)
    original = getattr(func, "_implementation", func)
    kwargs = {k: object if k == "dtype" and _is_float(v) else v for k, v in kwargs.items()}
    return wrap(original(*args, **kwargs))


def _reduction(name: str, ufunc: str) -> None:
    def call(x: Any, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
        options = {k: v for k, v in options.items() if k in ("initial", "where")}
        return _folded(ufunc, "reduce", lift(x), axis=axis, keepdims=keepdims, **options)

    FUNCTIONS[name] = call


for _name, _of in [
    ("sum", "add"), ("prod", "multiply"), ("max", "maximum"), ("min", "minimum"),
    ("amax", "maximum"), ("amin", "minimum"), ("any", "logical_or"), ("all", "logical_and"),
]:  # fmt: skip
    _reduction(_name, _of)


def _count(x: Any, axis: Any) -> int:
    shape = np.shape(x)
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return math.prod(shape[a] for a in axes)


@ours
def mean(x: Any, axis: Any = None, keepdims: bool = False, **_: Any) -> Any:
    x = asarray(x)
    return FUNCTIONS["sum"](x, axis, keepdims) / _count(x, axis)


@ours
def var(x: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False, **_: Any) -> Any:
    x = asarray(x)
    away = x - mean(x, axis, keepdims=True)
    return FUNCTIONS["sum"](away * away, axis, keepdims) / (_count(x, axis) - ddof)


@ours
def std(x: Any, axis: Any = None, **options: Any) -> Any:
    return elementwise(_root, var(x, axis, **options))


def _root(x: Any) -> Any:
    """A root whose derivative at 0 counts as 0, as for norms."""
    return 0.0 if plain(x) == 0 else sqrt(x)


@ours
def average(x: Any, axis: Any = None, weights: Any = None) -> Any:
    if weights is None:
        return mean(x, axis)
    x, weights = asarray(x), asarray(weights)
    if weights.ndim < x.ndim:
        weights = weights.reshape([n if k == axis % x.ndim else 1 for k, n in enumerate(x.shape)])
    total = FUNCTIONS["sum"]
    return total(x * weights, axis) / total(weights * np.ones(x.shape), axis)


@ours
def np_clip(x: Any, a_min: Any = None, a_max: Any = None, **_: Any) -> Any:
    return elementwise(lambda v, low, high: clip(v, low, high), x, a_min, a_max)


@ours
def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    condition = _booleans(condition)
    if x is None:
        return np.nonzero(condition)
    return elementwise(lambda c, a, b: a if c else b, condition, lift(x), lift(y))


def _booleans(x: Any) -> Any:
    x = asarray(x)
    return np.array([bool(e) for e in x.flat]).reshape(x.shape) if isinstance(x, Array) else x


@ours
def nan_to_num(x: Any, nan: float = 0.0, **_: Any) -> Any:
    return elementwise(lambda v: nan if plain(v) != plain(v) else v, x)


@ours
def argsort(x: Any, axis: int = -1, **_: Any) -> Any:
    return np.argsort(values(x), axis=axis, kind="stable")


@ours
def sort(x: Any, axis: int = -1, **_: Any) -> Any:
    x = asarray(x)
    return np.take_along_axis(objects(x), argsort(x, axis), axis).view(Array)


@ours
def argmax(x: Any, axis: Any = None, **_: Any) -> Any:
    return np.argmax(values(x), axis=axis)


@ours
def argmin(x: Any, axis: Any = None, **_: Any) -> Any:
    return np.argmin(values(x), axis=axis)


@ours
def searchsorted(a: Any, v: Any, side: Any = "left", sorter: Any = None) -> Any:
    return np.searchsorted(values(a), values(v), side, sorter)


@ours
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    return np.digitize(values(x), values(bins), right)


@ours
def isclose(a: Any, b: Any, **options: Any) -> Any:
    return np.isclose(values(a), values(b), **options)


@ours
def allclose(a: Any, b: Any, **options: Any) -> bool:
    return np.allclose(values(a), values(b), **options)


def values(x: Any) -> np.ndarray:
    """The numbers without their derivatives."""
    x = asarray(x)
    if isinstance(x, Array):
        return np.array([plain(e) for e in x.flat], dtype=None if x.size else float).reshape(
            x.shape
        )
    return np.asarray(x)


@ours
def median(x: Any, axis: Any = None, **_: Any) -> Any:
    x = asarray(x)
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    x, n = sort(x, axis), x.shape[axis]
    middle = np.take(x, [(n - 1) // 2, n // 2], axis=axis)
    return mean(middle, axis)


@ours
def quantile(x: Any, q: float, axis: Any = None, **_: Any) -> Any:
    x = asarray(x)
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    x, place = sort(x, axis), q * (x.shape[axis] - 1)
    low = math.floor(place)
    high = min(low + 1, x.shape[axis] - 1)
    a, b = np.take(x, low, axis=axis), np.take(x, high, axis=axis)
    return a + (b - a) * (place - low)


@ours
def percentile(x: Any, q: float, axis: Any = None, **_: Any) -> Any:
    return quantile(x, q / 100, axis)


@ours
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None) -> Any:
    xp, fp = asarray(xp), asarray(fp)

    def one(at: Any) -> Any:
        k = int(np.searchsorted(values(xp), plain(at), "right")) - 1
        if k < 0:
            return fp[0] if left is None else left
        if k >= len(xp) - 1:
            beyond = plain(at) > plain(xp[-1]) and right is not None
            return right if beyond else fp[-1]
        return fp[k] + (fp[k + 1] - fp[k]) / (xp[k + 1] - xp[k]) * (at - xp[k])

    return elementwise(one, x)


@ours
def np_round(x: Any, decimals: int = 0, **_: Any) -> Any:
    return elementwise(lambda v: float(np.round(plain(v), decimals)), x)


FUNCTIONS["around"] = np_round


@ours
def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, **options: Any) -> Any:
    if not _has_numbers((start, stop)):
        return wrap(np.linspace(start, stop, num, endpoint, **options))
    steps = np.arange(num) / (num - 1 if endpoint else num)
    return wrap(start + (stop - start) * wrap(steps))


@ours
def apply_along_axis(function: Any, axis: int, x: Any, *args: Any, **kwargs: Any) -> Any:
    x = asarray(x)
    moved = np.moveaxis(x, axis, -1)
    made = [function(row, *args, **kwargs) for row in moved.reshape(-1, x.shape[axis])]
    result = array(made)
    result = result.reshape(moved.shape[:-1] + result.shape[1:])
    return np.moveaxis(result, -1, axis) if result.ndim == x.ndim else result


@ours
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = asarray(y)
    steps = dx if x is None else np.diff(asarray(x))
    return FUNCTIONS["sum"](steps * (y[..., 1:] + y[..., :-1]) / 2.0, -1)


@ours
def np_cumsum(x: Any, axis: Any = None, **_: Any) -> Any:
    x = asarray(x)
    return np.add.accumulate(x.reshape(-1) if axis is None else x, 0 if axis is None else axis)


@ours
def np_cumprod(x: Any, axis: Any = None, **_: Any) -> Any:
    x = asarray(x)
    return np.multiply.accumulate(x.reshape(-1) if axis is None else x, 0 if axis is None else axis)


@ours
def einsum(spec: str, *operands: Any, **_: Any) -> Any:
    return wrap(np.einsum(spec, *[objects(x) for x in operands]))


@ours
def np_angle(z: Any, **_: Any) -> Any:
    return elementwise(dual.angle, z)


@ours
def np_real(z: Any) -> Any:
    return elementwise(dual.real, z)


@ours
def np_imag(z: Any) -> Any:
    return elementwise(dual.imag, z)


@ours
def sinc(x: Any) -> Any:
    def one(v: Any) -> Any:
        t = math.pi * v
        return 1.0 - t * t / 6 if plain(v) == 0 else divide(dual.sin(t), t)

    return elementwise(one, x)


@ours
def nansum(x: Any, axis: Any = None, **_: Any) -> Any:
    return FUNCTIONS["sum"](nan_to_num(x), axis)


# ---- linear algebra ------------------------------------------------------------------------------


def _batched(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(a: Any, *rest: Any) -> Any:
        a = asarray(a)
        if a.ndim == 2:
            return function(a, *rest)
        made = [call(a[k], *[asarray(r)[k] for r in rest]) for k in range(len(a))]
        return array(made)

    return call


def _eliminated(a: Any, b: Any) -> tuple[Any, Any, float]:
    """Upper triangle and right sides by rows with the largest pivot, and the sign of the order."""
    a, b = objects(a).copy(), objects(b).copy()
    n, sign = len(a), 1.0
    for k in range(n):
        best = k + int(np.argmax([abs(plain(x)) for x in a[k:, k]]))
        if best != k:
            a[[k, best]], b[[k, best]], sign = a[[best, k]], b[[best, k]], -sign
        if plain(a[k, k]) == 0:
            raise np.linalg.LinAlgError("Singular matrix")
        for i in range(k + 1, n):
            factor = a[i, k] / a[k, k]
            a[i, k:] = a[i, k:] - factor * a[k, k:]
            b[i] = b[i] - factor * b[k]
    return a, b, sign


def _back(a: Any, b: Any) -> Any:
    x = objects(b).copy()
    for i in reversed(range(len(a))):
        if i + 1 < len(a):
            x[i] = x[i] - np.dot(a[i, i + 1 :], x[i + 1 :])
        x[i] = x[i] / a[i, i]
    return x.view(Array)


@ours
@_batched
def linalg__solve(a: Any, b: Any) -> Any:
    upper, right, _ = _eliminated(a, asarray(b))
    return _back(upper, right)


@ours
@_batched
def linalg__inv(a: Any) -> Any:
    return linalg__solve(a, np.eye(len(a)))


@ours
@_batched
def linalg__det(a: Any) -> Any:
    try:
        upper, _, sign = _eliminated(a, np.zeros((len(a), 0)))
    except np.linalg.LinAlgError:
        return 0.0
    return functools.reduce(lambda x, y: x * y, np.diag(upper), sign)


@ours
def linalg__slogdet(a: Any) -> Any:
    upper, _, sign = _eliminated(asarray(a), np.zeros((len(a), 0)))
    for x in np.diag(upper):
        sign *= math.copysign(1.0, plain(x))
    logs = [dual.log(dual.absolute(x)) for x in np.diag(upper)]
    return Slogdet(sign, sum(logs))


class Slogdet(tuple):
    """(sign, logabsdet)"""

    sign = property(lambda self: self[0])
    logabsdet = property(lambda self: self[1])

    def __new__(cls, sign: Any, logabsdet: Any) -> Slogdet:
        return super().__new__(cls, (sign, logabsdet))


@ours
@_batched
def linalg__cholesky(a: Any) -> Any:
    a = objects(a)
    n = len(a)
    made = np.full((n, n), 0.0, dtype=object)
    for j in range(n):
        rest = a[j, j] - sum(made[j, k] * made[j, k] for k in range(j))
        if not plain(rest) > 0:
            raise np.linalg.LinAlgError("Matrix is not positive definite")
        made[j, j] = sqrt(rest)
        for i in range(j + 1, n):
            rest = a[i, j] - sum(made[i, k] * made[j, k] for k in range(j))
            made[i, j] = rest / made[j, j]
    return made.view(Array)


@ours
def linalg__norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = asarray(x)
    total = FUNCTIONS["sum"]
    if ord in (None, 2, "fro") and (ord != 2 or x.ndim == 1 or axis is not None):
        return elementwise(_root, total(abs(x) ** 2, axis, keepdims))
    if ord == 1 and (x.ndim == 1 or axis is not None):
        return total(abs(x), axis, keepdims)
    if ord == np.inf and (x.ndim == 1 or axis is not None):
        return FUNCTIONS["max"](abs(x), axis, keepdims)
    raise NotImplementedError(f"norm of order {ord} of dual numbers")


@ours
def linalg__lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    a = asarray(a)
    return linalg__solve(a.T @ a, a.T @ asarray(b)), None, None, None


@ours
def linalg__pinv(a: Any, **_: Any) -> Any:
    a = asarray(a)
    return linalg__solve(a.T @ a, a.T) if a.shape[0] >= a.shape[1] else linalg__pinv(a.T).T


@ours
def linalg__eigvalsh(a: Any, *_: Any) -> Any:
    """Jacobi's method on numbers: rotations until nothing is left beside the diagonal."""
    return _jacobi(a)[0]


@ours
def linalg__eigh(a: Any, *_: Any) -> Any:
    return _jacobi(a)


def _jacobi(a: Any) -> tuple[Any, Any]:
    a = objects(a).copy()
    n = len(a)
    vectors = np.eye(n).astype(object)
    for sweep in range(60):
        for p in range(n):
            for q in range(p + 1, n):
                if not isinstance(a[p, q], Dual) and a[p, q] == 0:
                    continue
                apart = a[q, q] - a[p, p]
                turn = 1.0 if plain(apart) >= 0 else -1.0
                theta = 0.5 * dual.arctan2(turn * 2 * a[p, q], turn * apart)
                c, s = dual.cos(theta), dual.sin(theta)
                for m in (a, vectors):
                    m[:, p], m[:, q] = c * m[:, p] - s * m[:, q], s * m[:, p] + c * m[:, q]
                a[p], a[q] = c * a[p] - s * a[q], s * a[p] + c * a[q]
        off = sum(abs(plain(a[p, q])) for p in range(n) for q in range(n) if p != q)
        if off < 1e-14 and sweep > 8:  # the derivatives are rotated away as well
            break
    found = np.diag(a).view(Array)
    order = argsort(found)
    vectors = vectors[:, order].view(Array)
    return found[order], vectors


# ---- the stand-in for NumPy ----------------------------------------------------------------------


def asarray(x: Any, dtype: Any = None, **_: Any) -> Any:
    """`np.asarray`: arrays of floats as they are, everything else as `array`."""
    if isinstance(x, Array) and _is_float(dtype):
        return x
    return array(x, dtype, copy=None)


def _made(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, dtype: Any = None, **kwargs: Any) -> Any:
        args = [_real_type(a) if isinstance(a, type) else a for a in args]
        return wrap(function(*args, dtype=_real_type(dtype), **kwargs))

    return call


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    fill_value = asarray(fill_value)
    if dtype is not None and not _is_float(dtype):
        return np.full(shape, values(fill_value), _real_type(dtype))
    if not isinstance(fill_value, Array) and dtype is None:
        return np.full(shape, fill_value)
    made = np.empty(shape, dtype=object)
    made[...] = objects(fill_value)
    return made.view(Array)


def _like(make: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, *args: Any, dtype: Any = None, shape: Any = None, **_: Any) -> Any:
        x = asarray(x)
        if dtype is None and not isinstance(x, Array):
            dtype = x.dtype
        return make(x.shape if shape is None else shape, *args, dtype=dtype)

    return call


FUNCTIONS |= {
    "zeros_like": _like(_made(np.zeros)),
    "ones_like": _like(_made(np.ones)),
    "empty_like": _like(_made(np.zeros)),
    "full_like": _like(full),
}


class _Wrapped:
    """A function: lists with dual numbers go in as arrays, arrays of floats come out as ours."""

    def __init__(self, function: Any, joins: bool = False) -> None:
        self._function, self._joins = function, joins

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._joins and isinstance(args[0], (list, tuple)):
            args = ([asarray(x) for x in args[0]], *args[1:])
        else:
            args = tuple(map(lift, args))
        kwargs = {k: lift(v) for k, v in kwargs.items()}
        if kwargs.get("dtype") in (Float, Int):
            kwargs["dtype"] = _real_type(kwargs["dtype"])
        with np.errstate(all="ignore"):
            return wrap(self._function(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._function, name)
        return _Wrapped(method) if callable(method) else method


_JOIN = set("concatenate stack hstack vstack column_stack row_stack dstack".split())


class Module:
    """A module whose names are ours where we have them, else wrapped."""

    def __init__(self, original: Any, own: dict[str, Any]) -> None:
        self._original, self._own = original, own

    def __getattr__(self, name: str) -> Any:
        if name in self._own:
            return self._own[name]
        found = getattr(self._original, name)
        if isinstance(found, type) or not callable(found):
            return found
        made = _Wrapped(found, name in _JOIN)
        self._own[name] = made
        return made


def _vectorize(function: Any, *_: Any, signature: Any = None, **__: Any) -> Any:
    return lambda *args: elementwise(function, *map(lift, args))


class _Joined:
    def __init__(self, columns: bool) -> None:
        self.columns = columns

    def __getitem__(self, parts: Any) -> Any:
        parts = parts if isinstance(parts, tuple) else (parts,)
        if any(isinstance(p, (slice, str)) for p in parts):
            return wrap((np.c_ if self.columns else np.r_)[parts])
        arrays = [np.atleast_1d(asarray(p)) for p in parts]
        if self.columns:
            arrays = [a[:, None] if a.ndim == 1 else a for a in arrays]
            return wrap(np.concatenate(arrays, axis=-1))
        return wrap(np.concatenate(arrays))


def _block(rows: Any) -> Any:
    if not isinstance(rows[0], (list, tuple)):
        rows = [rows]
    lines = [np.concatenate([np.atleast_2d(asarray(x)) for x in row], axis=1) for row in rows]
    return wrap(np.concatenate(lines, axis=0))


def _linalg(name: str) -> Any:
    return FUNCTIONS[f"linalg.{name}"]


def _fromiter(items: Iterable[Any], dtype: Any, count: int = -1) -> Any:
    return array(list(itertools.islice(items, count) if count >= 0 else items), dtype)


class Float64(metaclass=dual._Float):
    """`np.float64`."""


_LINALG = Module(
    np.linalg,
    {k.removeprefix("linalg."): f for k, f in FUNCTIONS.items() if k.startswith("linalg.")},
)
_OWN = {k: f for k, f in FUNCTIONS.items() if "." not in k}
NUMPY = Module(
    np,
    {
        **_OWN,
        "linalg": _LINALG,
        "random": Module(np.random, {}),
        "fft": np.fft,
        "array": array,
        "asarray": asarray,
        "asanyarray": asarray,
        "ascontiguousarray": asarray,
        "asfarray": asarray,
        "copy": array,
        "full": full,
        "zeros": _made(np.zeros),
        "ones": _made(np.ones),
        "empty": _made(np.zeros),
        "vectorize": _vectorize,
        "r_": _Joined(False),
        "c_": _Joined(True),
        "block": _block,
        "fromiter": _fromiter,
        "float64": Float,
        "double": Float,
        "errstate": np.errstate,
        "s_": np.s_,
        "newaxis": None,
        "ndarray": np.ndarray,
        "frompyfunc": lambda f, nin, nout: lambda *args: elementwise(f, *args),
        "isscalar": lambda x: isinstance(x, Dual) or np.isscalar(x),
    },
)


# ---- the stand-in for SciPy ----------------------------------------------------------------------


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False) -> Any:
    a = asarray(a)
    a = a * 1.0
    top = wrap(np.max(values(a), axis=axis, keepdims=True))
    top = elementwise(lambda t: t if math.isfinite(t) else 0.0, top)
    terms = np.exp(a - top)
    total = FUNCTIONS["sum"](terms if b is None else terms * asarray(b), axis, keepdims=True)
    result = np.log(total) + top
    if keepdims:
        return result
    result = result.reshape(()) if axis is None else np.squeeze(result, axis)
    return result.item() if not result.ndim else result


def softmax(x: Any, axis: Any = None) -> Any:
    return np.exp(log_softmax(x, axis))


def log_softmax(x: Any, axis: Any = None) -> Any:
    x = asarray(x)
    return x - logsumexp(x, axis, keepdims=True)


def multigammaln(a: Any, d: int) -> Any:
    total = sum(np.vectorize(UNARY["gammaln"], otypes=[object])(a + (1.0 - j) / 2)
                for j in range(1, d + 1))  # fmt: skip
    return total + d * (d - 1) / 4 * math.log(math.pi)


def _at_each(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: elementwise(function, *map(lift, args))


_SPECIAL = {
    name: _at_each(f)
    for name, f in {**UNARY, **BINARY}.items()
    if hasattr(scipy.special, name) and name not in ("exp2",)
} | {
    "logsumexp": logsumexp,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "polygamma": _at_each(lambda n, x: dual.polygamma(int(n), x)),
    "multigammaln": multigammaln,
    "beta": _at_each(lambda a, b: dual.exp(BINARY["betaln"](a, b))),
    "entr": _at_each(lambda x: -x * dual.log(x)),
    "comb": scipy.special.comb,
    "factorial": scipy.special.factorial,
    "binom": scipy.special.binom,
}


def _triangular(a: Any, b: Any, lower: bool = False, trans: Any = 0, **_: Any) -> Any:
    a, b = asarray(a), asarray(b)
    if trans in (1, "T"):
        a, lower = a.T, not lower
    if lower:
        flipped = _back(objects(a)[::-1, ::-1], objects(b)[::-1])
        return flipped[::-1]
    return _back(objects(a), objects(b))


def _scipy_cholesky(a: Any, lower: bool = False, **_: Any) -> Any:
    made = linalg__cholesky(a)
    return made if lower else made.T


def _cho_solve(factor: Any, b: Any, **_: Any) -> Any:
    c, lower = factor
    c = c if lower else c.T
    return _triangular(c.T, _triangular(c, b, lower=True), lower=False)


def _expm(a: Any) -> Any:
    a = asarray(a)
    squarings = max(0, int(np.ceil(np.log2(max(np.abs(values(a)).sum(), 1e-300)))) + 2)
    a = a / 2.0**squarings
    total = term = asarray(np.eye(len(a)))
    for k in range(1, 25):
        term = term @ a / k
        total = total + term
    for _ in range(squarings):
        total = total @ total
    return total


def _scipy_solve(a: Any, b: Any, **_: Any) -> Any:
    return linalg__solve(a, b)


def _block_diag(*blocks: Any) -> Any:
    blocks = [np.atleast_2d(asarray(b)) for b in blocks]
    made = NUMPY.zeros([sum(b.shape[k] for b in blocks) for k in (0, 1)])
    row = column = 0
    for b in blocks:
        made[row : row + b.shape[0], column : column + b.shape[1]] = b
        row, column = row + b.shape[0], column + b.shape[1]
    return made


def _toeplitz(c: Any, r: Any = None) -> Any:
    c = asarray(c)
    r = c if r is None else asarray(r)
    return array([[c[i - j] if i >= j else r[j - i] for j in range(len(r))] for i in range(len(c))])


_SCIPY_LINALG = {
    "solve": _scipy_solve,
    "inv": linalg__inv,
    "det": linalg__det,
    "norm": linalg__norm,
    "cholesky": _scipy_cholesky,
    "cho_factor": lambda a, lower=False, **_: (_scipy_cholesky(a, lower), lower),
    "cho_solve": _cho_solve,
    "solve_triangular": _triangular,
    "expm": _expm,
    "block_diag": _block_diag,
    "toeplitz": _toeplitz,
    "eigvalsh": linalg__eigvalsh,
    "eigh": linalg__eigh,
}


def _cdist(a: Any, b: Any, metric: str = "euclidean") -> Any:
    away = asarray(a)[:, None, :] - asarray(b)[None, :, :]
    if metric == "cityblock":
        return FUNCTIONS["sum"](abs(away), -1)
    squares = FUNCTIONS["sum"](away * away, -1)
    return squares if metric == "sqeuclidean" else elementwise(_root, squares)


def _rosen(x: Any) -> Any:
    x = asarray(x)
    return FUNCTIONS["sum"](100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1 - x[:-1]) ** 2.0, 0)


class Distribution:
    """A distribution of SciPy's: formulas of its standard form, then loc and scale."""

    def __init__(self, shapes: int, logpdf: Any, cdf: Any = None, **more: Any) -> None:
        self.shapes, self.log_density, self.distribution, self.more = shapes, logpdf, cdf, more

    def _split(self, x: Any, args: Any, loc: Any, scale: Any) -> Any:
        args = list(map(lift, args))
        rest = args[self.shapes :]
        loc, scale = (rest + [loc, scale])[:2] if len(rest) < 2 else rest
        loc, scale = (rest[0], scale) if len(rest) == 1 else (loc, scale)
        return lift(x), args[: self.shapes], lift(loc), lift(scale)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return types.SimpleNamespace(
            **{
                name: functools.partial(self._frozen, name, args, kwargs)
                for name in "logpdf pdf cdf logcdf sf logsf ppf logpmf pmf".split()
            }
        )

    def _frozen(self, name: str, args: Any, kwargs: Any, x: Any) -> Any:
        return getattr(self, name)(x, *args, **kwargs)

    def logpdf(self, x: Any, *args: Any, loc: Any = 0.0, scale: Any = 1.0, **named: Any) -> Any:
        x, shapes, loc, scale = self._split(x, [*args, *named.values()], loc, scale)
        f = lambda v, l, s, *p: self.log_density((v - l) / s, *p) - dual.log(s)
        return elementwise(f, x, loc, scale, *shapes)

    def pdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return elementwise(dual.exp, self.logpdf(x, *args, **kwargs))

    logpmf, pmf = logpdf, pdf

    def _by(self, f: Any, x: Any, args: Any, loc: Any = 0.0, scale: Any = 1.0, **named: Any) -> Any:
        x, shapes, loc, scale = self._split(x, [*args, *named.values()], loc, scale)
        return elementwise(lambda v, l, s, *p: f((v - l) / s, *p), x, loc, scale, *shapes)

    def cdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return self._by(self.distribution, x, args, **kwargs)

    def sf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        other = self.more.get("sf") or (lambda v, *p: 1 - self.distribution(v, *p))
        return self._by(other, x, args, **kwargs)

    def logcdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        other = self.more.get("logcdf") or (lambda v, *p: dual.log(self.distribution(v, *p)))
        return self._by(other, x, args, **kwargs)

    def logsf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        other = self.more.get("logsf") or (lambda v, *p: dual.log(1 - self.distribution(v, *p)))
        return self._by(other, x, args, **kwargs)

    def ppf(self, q: Any, *args: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        q, shapes, loc, scale = self._split(q, args, loc, scale)
        f = lambda v, l, s, *p: l + s * self.more["ppf"](v, *p)
        return elementwise(f, q, loc, scale, *shapes)


_lgamma, _log1p = UNARY["gammaln"], UNARY["log1p"]


def _student(x: Any, v: Any) -> Any:
    top = _lgamma((v + 1) / 2) - _lgamma(v / 2) - 0.5 * dual.log(math.pi * v)
    return top - (v + 1) / 2 * _log1p(x * x / v)


_STATS = {
    "norm": Distribution(
        0, lambda x: -0.5 * x * x - 0.5 * math.log(2 * math.pi), dual.ndtr,
        sf=lambda x: dual.ndtr(-x), logcdf=UNARY["log_ndtr"], ppf=UNARY["ndtri"],
        logsf=lambda x: UNARY["log_ndtr"](-x),
    ),
    "t": Distribution(1, _student),
    "expon": Distribution(
        0, lambda x: -x if plain(x) >= 0 else -math.inf, lambda x: -UNARY["expm1"](-x),
        sf=lambda x: dual.exp(-x), logsf=lambda x: -x, ppf=lambda q: -_log1p(-q),
    ),
    "logistic": Distribution(0, lambda x: -x - 2 * _log1p(dual.exp(-x)), dual.expit),
    "cauchy": Distribution(0, lambda x: -math.log(math.pi) - _log1p(x * x)),
    "laplace": Distribution(0, lambda x: -math.log(2) - dual.absolute(x)),
    "gumbel_r": Distribution(0, lambda x: -x - dual.exp(-x), lambda x: dual.exp(-dual.exp(-x))),
    "uniform": Distribution(0, lambda x: 0.0 * x if 0 <= x <= 1 else -math.inf),
    "gamma": Distribution(1, lambda x, a: BINARY["xlogy"](a - 1, x) - x - _lgamma(a)),
    "beta": Distribution(
        2,
        lambda x, a, b: BINARY["xlogy"](a - 1, x) + (b - 1) * _log1p(-x) - BINARY["betaln"](a, b),
    ),
    "lognorm": Distribution(
        1,
        lambda x, s: -dual.log(s * x) - 0.5 * (dual.log(x) / s) ** 2 - 0.5 * math.log(2 * math.pi),
        lambda x, s: dual.ndtr(dual.log(x) / s),
    ),
    "weibull_min": Distribution(
        1, lambda x, c: dual.log(c) + (c - 1) * dual.log(x) - x**c,
        lambda x, c: -UNARY["expm1"](-(x**c)), sf=lambda x, c: dual.exp(-(x**c)),
        logsf=lambda x, c: -(x**c),
    ),
    "poisson": Distribution(1, lambda k, mu: BINARY["xlogy"](k, mu) - mu - _lgamma(k + 1.0)),
    "bernoulli": Distribution(1, lambda k, p: dual.log(p) if k == 1 else _log1p(-p)),
    "binom": Distribution(
        2,
        lambda k, n, p: _lgamma(n + 1.0) - _lgamma(k + 1.0) - _lgamma(n - k + 1.0)
        + BINARY["xlogy"](k, p) + (n - k) * _log1p(-p),
    ),
}  # fmt: skip


def _normal_logpdf(x: Any, mean: Any, cov: Any) -> Any:
    x, mean, cov = asarray(x), asarray(mean), asarray(cov)
    away = np.atleast_2d(x - mean)
    half = _triangular(linalg__cholesky(cov), away.T, lower=True)
    root = sum(dual.log(e) for e in np.diag(linalg__cholesky(cov)))
    result = -0.5 * (FUNCTIONS["sum"](half * half, 0) + len(cov) * math.log(2 * math.pi)) - root
    return result[0] if x.ndim == 1 else result


class _MultivariateNormal:
    logpdf = staticmethod(_normal_logpdf)

    @staticmethod
    def pdf(*args: Any) -> Any:
        return elementwise(dual.exp, _normal_logpdf(*args))

    def __call__(self, mean: Any, cov: Any) -> Any:
        return types.SimpleNamespace(logpdf=lambda x: _normal_logpdf(x, mean, cov))


_STATS["multivariate_normal"] = _MultivariateNormal()  # type: ignore[assignment]


def _dense(x: Any, *_: Any, **__: Any) -> Any:
    """A sparse matrix is its dense array here: what it means is the same."""
    if isinstance(x, tuple) and len(x) == 2 and isinstance(x[1], tuple):
        data, (rows, columns) = x
        made = NUMPY.zeros(_[0] if _ else __["shape"])
        np.add.at(made, (rows, columns), asarray(data))
        return made
    return asarray(x.toarray() if hasattr(x, "toarray") else x)


class _Spline:
    """Piecewise polynomials of SciPy's at fixed nodes, each piece evaluated by Horner's rule."""

    def __init__(self, x: Any, y: Any, **options: Any) -> None:
        self.nodes = values(x)
        self.pieces = self.make(self.nodes, values(y), **options).c

    def __call__(self, x: Any) -> Any:
        def one(at: Any) -> Any:
            k = int(np.searchsorted(self.nodes, plain(at), "right")) - 1
            k = min(max(k, 0), len(self.nodes) - 2)
            return functools.reduce(
                lambda total, c: total * (at - self.nodes[k]) + c, self.pieces[:, k].tolist(), 0.0
            )

        return elementwise(one, lift(x))


class CubicSpline(_Spline):
    from scipy.interpolate import CubicSpline as make


class PchipInterpolator(_Spline):
    from scipy.interpolate import PchipInterpolator as make


class BSpline:
    """Values by de Boor's recursion; the coefficients may be dual numbers."""

    def __init__(self, t: Any, c: Any, k: int) -> None:
        self.t, self.c, self.k = values(t).tolist(), asarray(c), k

    def __call__(self, x: Any) -> Any:
        def one(at: Any) -> Any:
            t, k = self.t, self.k
            n = len(t) - k - 1
            span = int(np.searchsorted(t, plain(at), "right")) - 1
            span = min(max(span, k), n - 1)
            d = [self.c[j + span - k] for j in range(k + 1)]
            for r in range(1, k + 1):
                for j in range(k, r - 1, -1):
                    left = t[j + span - k]
                    alpha = (at - left) / (t[j + 1 + span - r] - left)
                    d[j] = (1 - alpha) * d[j - 1] + alpha * d[j]
            return d[k]

        return elementwise(one, lift(x))


def _interp1d(x: Any, y: Any, **_: Any) -> Any:
    return lambda at: interp(at, x, y)


_SPARSE = {
    name: _dense
    for name in "csr_matrix csc_matrix coo_matrix csr_array csc_array coo_array".split()
} | {"diags": lambda *a, **k: asarray(scipy.sparse.diags(*a, **k).toarray())}
SCIPY = Module(
    scipy,
    {
        "special": Module(scipy.special, _SPECIAL),
        "linalg": Module(scipy.linalg, _SCIPY_LINALG),
        "stats": Module(scipy.stats, dict(_STATS)),
        "optimize": Module(sys.modules.get("scipy.optimize"), {"rosen": _rosen}),
        "spatial": types.SimpleNamespace(distance=types.SimpleNamespace(cdist=_cdist)),
        "sparse": Module(sys.modules.get("scipy.sparse"), _SPARSE),
        "interpolate": types.SimpleNamespace(
            CubicSpline=CubicSpline, PchipInterpolator=PchipInterpolator, BSpline=BSpline,
            interp1d=_interp1d,
        ),
    },
)  # fmt: skip

MODULES = {"numpy": NUMPY, "scipy": SCIPY, "math": dual.MATH, "cmath": dual.CMATH}


# ---- running -------------------------------------------------------------------------------------


def _import(
    name: str, space: Any = None, local: Any = None, names: Any = (), level: int = 0
) -> Any:
    top, *rest = name.split(".")
    if level or top not in MODULES:
        return builtins.__import__(name, space, local, names, level)
    module = MODULES[top]
    if names:
        for part in rest:
            module = getattr(module, part)
    return module


def load(source: str | Path, name: str = "dual_program") -> dict[str, Any]:
    """The names of a module, given by its path or its text, in a world of dual numbers."""
    path = str(source) if isinstance(source, Path) else f"<{name}>"
    text = source.read_text() if isinstance(source, Path) else source
    own = {"__import__": _import, "float": Float, "int": Int}
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = {**vars(builtins), **own}
    module.__dict__["__file__"] = path
    sys.modules[name] = module  # dataclasses look for the module of a class
    exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def flatten(x: Any) -> list[Any]:
    """The numbers and arrays in nested lists, dicts and dataclasses, in a fixed order."""
    if isinstance(x, dict):
        return [leaf for key in sorted(x) for leaf in flatten(x[key])]
    if isinstance(x, (list, tuple)):
        return [leaf for e in x for leaf in flatten(e)]
    if is_dataclass(x):
        return [leaf for f in fields(x) for leaf in flatten(getattr(x, f.name))]
    return [] if x is None else [x]


def rebuilt(x: Any, leaves: Any) -> Any:
    """The structure of `x` with leaves from an iterator, in the order of `flatten`."""
    if isinstance(x, dict):
        made = {key: rebuilt(x[key], leaves) for key in sorted(x)}
        return {key: made[key] for key in x}
    if isinstance(x, (list, tuple)):
        made = [rebuilt(e, leaves) for e in x]
        return type(x)(*made) if hasattr(x, "_fields") else type(x)(made)
    if is_dataclass(x):
        return replace(x, **{f.name: rebuilt(getattr(x, f.name), leaves) for f in fields(x)})
    return None if x is None else next(leaves)


def is_float(x: Any) -> bool:
    if isinstance(x, np.ndarray):
        return x.dtype.kind == "f"
    return isinstance(x, (float, np.floating))


@dataclass
class Derivatives:
    """What one run gives. Gradients are flat, in the order of the arguments' leaves.

    value : the result, in its structure, without derivatives
    gradient : (number of variables,) of the sum of weights · results
    product : Hessian of that sum times `along`, or None
    """

    value: Any
    gradient: np.ndarray
    product: np.ndarray | None = None


def derivatives(
    function: Callable[..., Any],
    args: Sequence[Any],
    argnums: int | Sequence[int] = 0,
    along: np.ndarray | None = None,
    scalar: Callable[[list[Any]], Any] | None = None,
) -> Derivatives:
    """Value, gradient and, if `along` is given, Hessian times it, of a function on dual numbers.

    function : from `load`, or one that makes no arrays of its own
    args : floats, arrays and nests of both; they are copied
    scalar : a number from the leaves of the result; else it must have one, which is a number
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    sizes = [np.size(x) for k in numbers for x in flatten(args[k]) if is_float(x)]
    n, position = sum(sizes), itertools.count()

    def variable(x: float) -> Dual:
        k = next(position)
        slope = np.zeros(n)
        slope[k] = 1.0
        inner = Dual(float(x), slope)
        return inner if along is None else Dual(inner, float(along[k]))

    def argument(k: int, x: Any) -> Any:
        if not is_float(x):
            return x.copy() if isinstance(x, np.ndarray) else x
        if k not in numbers:
            return array(x) if isinstance(x, np.ndarray) else float(x)
        if isinstance(x, np.ndarray):
            made = np.empty(x.shape, dtype=object)
            made.reshape(-1)[:] = [variable(e) for e in x.flat]
            return made.view(Array)
        return variable(x)

    order = [*numbers, *(k for k in range(len(args)) if k not in numbers)]
    given: dict[int, Any] = {}
    for k in order:
        given[k] = rebuilt(args[k], iter([argument(k, x) for x in flatten(args[k])]))
    with np.errstate(all="ignore"):
        result = function(*[given[k] for k in range(len(args))])
        leaves = flatten(result)
        total = leaves[0] if scalar is None else scalar(leaves)
    total = dual.unwrapped(total)
    value = rebuilt(result, iter([_number(x) for x in leaves]))
    if along is None:
        return Derivatives(value, _slope(total, n))
    if not isinstance(total, Dual):
        return Derivatives(value, np.zeros(n), np.zeros(n))
    return Derivatives(value, _slope(total.value, n), _slope(total.slope, n))


def _number(x: Any) -> Any:
    return values(x) if isinstance(x, np.ndarray) else plain(x)


def _slope(x: Any, n: int) -> np.ndarray:
    return x.slope + np.zeros(n) if isinstance(x, Dual) else np.zeros(n)


def gradient(function: Callable[..., Any], *args: Any, argnums: Any = 0) -> np.ndarray:
    """Gradient of a function with one result, flat."""
    return derivatives(function, args, argnums).gradient


def hessian_vector(function: Callable[..., Any], args: Sequence[Any], along: Any,
                   argnums: Any = 0) -> np.ndarray:  # fmt: skip
    """Hessian times a flat vector, flat."""
    return derivatives(function, args, argnums, np.ravel(along)).product
