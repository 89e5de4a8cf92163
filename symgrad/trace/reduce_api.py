"""NumPy's reductions, statistics and running sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import FLOATS, Expr, bind, const
from symgrad.ops.linear import broadcast_to, reshape, sum_
from symgrad.ops.scan import cumprod as running_product
from symgrad.trace import ufuncs
from symgrad.trace.handle import contains_tracer, operand
from symgrad.trace.named import note_length
from symgrad.trace.registry import (
    as_expr,
    as_float,
    axes_of,
    cast,
    dtype_name,
    implements,
    keep,
    one_axis,
    to,
)
from symgrad.trace.state import fail
from symgrad.trace.tracer import Tracer

# ---- reductions --------------------------------------------------------------------------------


def _summable(x: Expr, dtype: Any) -> Expr:
    """NumPy adds and multiplies bool and int32 as int64."""
    if dtype is not None:
        return to(x, dtype_name(dtype))
    return to(x, "int64") if x.dtype in ("bool", "int32") else x


def _begin(ufunc: np.ufunc, result: Expr, initial: Any, what: str) -> Expr:
    """`result` with `initial`, which NumPy first stores in the dtype of the result."""
    first = operand(cast(initial, result.dtype, f"np.{what}: initial"))
    return ufuncs.apply(ufunc, result, ufuncs.convert(first, result.dtype))


@implements("sum")
def sum(
    a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False, initial: Any = 0
) -> Expr:
    x = _summable(as_expr(a), dtype)
    axes = axes_of(axis, x, "sum")
    total = keep(sum_(x, axes), x, axes, keepdims)
    if isinstance(initial, (int, float)) and initial == 0:
        return total
    return _begin(np.add, total, initial, "sum")


@implements("prod")
def prod(
    a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False, initial: Any = 1
) -> Expr:
    x = _summable(as_expr(a), dtype)
    axes = axes_of(axis, x, "prod")
    product = keep(bind("prod", x, attrs=(axes,)), x, axes, keepdims)
    if isinstance(initial, (int, float)) and initial == 1:
        return product
    return _begin(np.multiply, product, initial, "prod")


def _extremum(name: str, a: Any, axis: Any, keepdims: bool, initial: Any) -> Expr:
    x = as_expr(a)
    axes = axes_of(axis, x, name)
    other = np.maximum if name == "max" else np.minimum
    empty = any(x.shape[k] == 0 for k in axes)
    if empty and initial is None:
        raise fail(ShapeError, f"np.{name} over an axis of size 0 has no value; give initial=")
    if empty:
        shape = tuple(n for k, n in enumerate(x.shape) if k not in axes)
        first = operand(cast(initial, x.dtype, f"np.{name}: initial"))
        return keep(ufuncs.convert(first, x.dtype, shape), x, axes, keepdims)
    if x.dtype == "bool":
        result = bind("any" if name == "max" else "all", x, attrs=(axes,))
    else:
        result = bind(name, x, attrs=(axes,))
    result = keep(result, x, axes, keepdims)
    return result if initial is None else _begin(other, result, initial, name)


@implements("max", "amax")
def max(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Expr:
    return _extremum("max", a, axis, keepdims, initial)


@implements("min", "amin")
def min(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Expr:
    return _extremum("min", a, axis, keepdims, initial)


@implements("ptp")
def ptp(a: Any, axis: Any = None, keepdims: bool = False) -> Expr:
    high, low = _extremum("max", a, axis, keepdims, None), _extremum("min", a, axis, keepdims, None)
    return ufuncs.apply(np.subtract, high, low)


@implements("any")
def any_(a: Any, axis: Any = None, keepdims: bool = False) -> Expr:
    x = ufuncs.truth(as_expr(a))
    axes = axes_of(axis, x, "any")
    return keep(bind("any", x, attrs=(axes,)), x, axes, keepdims)


@implements("all")
def all_(a: Any, axis: Any = None, keepdims: bool = False) -> Expr:
    x = ufuncs.truth(as_expr(a))
    axes = axes_of(axis, x, "all")
    return keep(bind("all", x, attrs=(axes,)), x, axes, keepdims)


@implements("count_nonzero")
def count_nonzero(a: Any, axis: Any = None, keepdims: bool = False) -> Expr:
    x = to(ufuncs.truth(as_expr(a)), "int64")
    axes = axes_of(axis, x, "count_nonzero")
    return keep(sum_(x, axes), x, axes, keepdims)


def _count(x: Expr, axes: tuple[int, ...]) -> int:
    n = 1
    for k in axes:
        n *= x.shape[k]
    return n


def _divide(x: Expr, count: float) -> Expr:
    return bind("divide", x, const(count, x.dtype, x.shape))


def _mean(x: Expr, axes: tuple[int, ...], keepdims: bool) -> Expr:
    note_length(_count(x, axes))
    return keep(_divide(sum_(x, axes), _count(x, axes)), x, axes, keepdims)


def _averaged(a: Any, dtype: Any, what: str) -> Expr:
    """Data to be divided by a count, in the dtype that it is divided in."""
    x = as_expr(a)
    if dtype is None:
        return as_float(x)
    if dtype_name(dtype) not in FLOATS:
        raise fail(DtypeError, f"np.{what} in {dtype_name(dtype)} is not traced; use float")
    return to(x, dtype_name(dtype))


@implements("mean")
def mean(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Expr:
    x = _averaged(a, dtype, "mean")
    return _mean(x, axes_of(axis, x, "mean"), keepdims)


def _centred(a: Any, axis: Any, dtype: Any, what: str) -> tuple[Expr, tuple[int, ...]]:
    x = _averaged(a, dtype, what)
    axes = axes_of(axis, x, what)
    return x - broadcast_to(_mean(x, axes, True), x.shape), axes


@implements("var")
def var(
    a: Any, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
) -> Expr:
    centred, axes = _centred(a, axis, dtype, "var")
    total = sum_(bind("square", centred), axes)
    return keep(
        _divide(total, np.maximum(_count(centred, axes) - ddof, 0)), centred, axes, keepdims
    )


@implements("std")
def std(
    a: Any, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
) -> Expr:
    """A norm of the centred data, so that the derivative at constant data is 0 and not 0/0."""
    centred, axes = _centred(a, axis, dtype, "std")
    size = np.maximum(_count(centred, axes) - ddof, 0)
    norm = bind("norm", centred, attrs=(axes,))
    return keep(_divide(norm, math.sqrt(size)), centred, axes, keepdims)


class NoAverageError(ShapeError, ZeroDivisionError):
    """An average of no elements, or with weights that sum to zero, as NumPy refuses it."""


@implements("average")
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """Weights that sum to zero are an error only where they are known while tracing.

    With traced weights the quotient is what it is, NaN or infinite.
    """
    x = as_expr(a)
    if weights is None:
        result = mean.__wrapped__(x, axis, None, keepdims)
        if not result.size:
            raise fail(NoAverageError, f"np.average of shape {x.shape}: no averages")
        count = const(_count(x, axes_of(axis, x)), result.dtype, result.shape)
        return (result, count) if returned else result
    w = as_expr(weights)
    if w.shape != x.shape:
        if axis is None or w.ndim != 1:
            raise fail(
                ShapeError,
                "np.average: weights need the shape of the data, or an axis to lie along",
            )
        k = one_axis(axis, x.ndim, "average")
        if w.shape[0] != x.shape[k]:
            raise fail(ShapeError, f"np.average: {w.shape[0]} weights for an axis of {x.shape[k]}")
        w = broadcast_to(
            reshape(w, tuple(n if i == k else 1 for i, n in enumerate(x.shape))), x.shape
        )
    dtype = ufuncs.promote([x, w])
    dtype = dtype if x.dtype in FLOATS and dtype in FLOATS else "float64"
    x, w = to(x, dtype), to(w, dtype)
    axes = axes_of(axis, x, "average")
    scale = sum_(w, axes)
    if not contains_tracer(weights) and not isinstance(weights, Tracer):
        if not evaluate([scale], {})[0].all():
            raise fail(NoAverageError, "np.average: the weights sum to zero")
    result = keep(sum_(x * w, axes) / scale, x, axes, keepdims)
    return (result, keep(scale, x, axes, keepdims)) if returned else result


def _without_nan(a: Any, value: float) -> tuple[Expr, Expr]:
    x = as_expr(a)
    if x.dtype not in FLOATS:
        return x, const(False, "bool", x.shape)
    mask = bind("isnan", x)
    return bind("select", mask, const(value, x.dtype, x.shape), x), mask


@implements("nansum")
def nansum(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Expr:
    return sum.__wrapped__(_without_nan(a, 0)[0], axis, dtype, keepdims)


@implements("nanprod")
def nanprod(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Expr:
    return prod.__wrapped__(_without_nan(a, 1)[0], axis, dtype, keepdims)


@implements("nanmean")
def nanmean(a: Any, axis: Any = None, keepdims: bool = False) -> Expr:
    x, mask = _without_nan(a, 0)
    x = as_float(x)
    axes = axes_of(axis, x, "nanmean")
    present = to(bind("logical_not", mask), x.dtype)
    return keep(sum_(x, axes) / sum_(present, axes), x, axes, keepdims)


def _nan_extremum(name: str, a: Any, axis: Any, keepdims: bool) -> Expr:
    x, mask = _without_nan(a, -math.inf if name == "max" else math.inf)
    result = _extremum(name, x, axis, keepdims, None)
    if x.dtype not in FLOATS:
        return result
    axes = axes_of(axis, x, name)
    empty = keep(bind("all", mask, attrs=(axes,)), x, axes, keepdims)
    return bind("select", empty, const(math.nan, x.dtype, result.shape), result)


@implements("nanmax")
def nanmax(a: Any, axis: Any = None, keepdims: bool = False) -> Expr:
    return _nan_extremum("max", a, axis, keepdims)


@implements("nanmin")
def nanmin(a: Any, axis: Any = None, keepdims: bool = False) -> Expr:
    return _nan_extremum("min", a, axis, keepdims)


def _arg_extremum(name: str, a: Any, axis: Any, keepdims: bool) -> Expr:
    x = as_expr(a)
    if x.dtype == "bool":
        x = to(x, "int64")
    if x.size == 0:
        raise fail(ShapeError, f"np.{name} of an array without elements has no value")
    if axis is None:
        result = bind(name, reshape(x, (x.size,)), attrs=(0,))
        return reshape(result, (1,) * x.ndim) if keepdims else result
    k = one_axis(axis, x.ndim, name)
    return keep(bind(name, x, attrs=(k,)), x, (k,), keepdims)


@implements("argmax")
def argmax(a: Any, axis: Any = None, *, keepdims: bool = False) -> Expr:
    return _arg_extremum("argmax", a, axis, keepdims)


@implements("argmin")
def argmin(a: Any, axis: Any = None, *, keepdims: bool = False) -> Expr:
    return _arg_extremum("argmin", a, axis, keepdims)


# ---- running sums and products -----------------------------------------------------------------


def _scanned(a: Any, axis: Any, dtype: Any, what: str) -> tuple[Expr, int]:
    x = _summable(as_expr(a), dtype)
    if axis is None:
        return reshape(x, (x.size,)), 0
    return x, one_axis(axis, x.ndim, what)


@implements("cumsum")
def cumsum(a: Any, axis: Any = None, dtype: Any = None) -> Expr:
    x, k = _scanned(a, axis, dtype, "cumsum")
    return bind("cumsum", x, attrs=(k, False))


@implements("cumprod")
def cumprod(a: Any, axis: Any = None, dtype: Any = None) -> Expr:
    return running_product(*_scanned(a, axis, dtype, "cumprod"))
