"""Running extrema and sums of exponentials, differences, and statistics without NaN."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError, UnsupportedError
from symgrad.expr.node import FLOATS, Expr, bind, const
from symgrad.ops.linear import concat, scatter_add, sum_
from symgrad.ops.scan import recurrence
from symgrad.trace import ufuncs
from symgrad.trace.known import is_traced
from symgrad.trace.linalg_api import cov
from symgrad.trace.reduce_api import _begin, _without_nan, cumprod, cumsum
from symgrad.trace.registry import (
    as_expr,
    as_float,
    axes_of,
    axis_list,
    dtype_name,
    implements,
    keep,
    one_axis,
    to,
)
from symgrad.trace.shapes_api import along
from symgrad.trace.state import fail
from symgrad.trace.tracer import wrap

# ---- methods of ufuncs ---------------------------------------------------------------------------


def logaddexp_reduce(
    a: Any, axis: Any = 0, dtype: Any = None, keepdims: bool = False, initial: Any = None
) -> Expr:
    """np.logaddexp.reduce: a sum of exponentials; -inf of no elements."""
    x = _as_numpy(np.logaddexp, as_expr(a), dtype)
    axes = axes_of(axis, x, "logaddexp.reduce")
    if any(x.shape[k] == 0 for k in axes):
        rest = tuple(n for k, n in enumerate(x.shape) if k not in axes)
        result = const(-math.inf, x.dtype, rest)
    else:
        result = bind("logsumexp", x, attrs=(axes,))
    result = keep(result, x, axes, keepdims)
    return result if initial is None else _begin(np.logaddexp, result, initial, "logaddexp")


def hypot_reduce(a: Any, axis: Any = 0, dtype: Any = None, keepdims: bool = False) -> Expr:
    """np.hypot.reduce: a norm."""
    x = _as_numpy(np.hypot, as_expr(a), dtype)
    axes = axes_of(axis, x, "hypot.reduce")
    value = bind("norm", x, attrs=(axes,))
    infinite = bind("any", bind("isinf", x), attrs=(axes,))  # beside a NaN as well
    value = bind("select", infinite, const(math.inf, x.dtype, value.shape), value)
    return keep(value, x, axes, keepdims)


def _as_numpy(ufunc: np.ufunc, x: Expr, dtype: Any) -> Expr:
    """`x` in the dtype that a ufunc of two such operands computes in."""
    return to(x, ufuncs.loop_dtypes(ufunc, (x, x), None if dtype is None else dtype_name(dtype))[0])


def _moved(x: Expr, k: int, step: int, fill: Any) -> Expr:
    """`x` with each element `step` places later along axis k."""
    n = x.shape[k]
    shape = tuple(step if i == k else m for i, m in enumerate(x.shape))
    return concat([const(fill, x.dtype, shape), along(x, k, 0, n - step)], k)


def _running(name: str, x: Expr, k: int, fill: Any) -> Expr:
    """The running result of an operation whose repeated operands do not matter, by doubling."""
    step = 1
    while step < x.shape[k]:
        x = bind(name, x, _moved(x, k, step, fill))
        step *= 2
    return x


def _axis(a: Any, axis: Any, what: str) -> tuple[Expr, int]:
    x = as_expr(a)
    if x.ndim == 0:
        raise fail(ShapeError, f"np.{what}: a scalar has no axis")
    return x, one_axis(axis, x.ndim, what)


def maximum_accumulate(a: Any, axis: Any = 0) -> Expr:
    x, k = _axis(a, axis, "maximum.accumulate")
    if x.dtype == "bool":
        return _running("logical_or", x, k, False)
    least = -math.inf if x.dtype in FLOATS else np.iinfo(x.dtype).min
    return _running("maximum", x, k, least)


def minimum_accumulate(a: Any, axis: Any = 0) -> Expr:
    x, k = _axis(a, axis, "minimum.accumulate")
    if x.dtype == "bool":
        return _running("logical_and", x, k, True)
    most = math.inf if x.dtype in FLOATS else np.iinfo(x.dtype).max
    return _running("minimum", x, k, most)


def logaddexp_accumulate(a: Any, axis: Any = 0, dtype: Any = None) -> Expr:
    """Sums of exp(x - m), m the running maximum, are a recurrence with factors up to 1.

    m drops out of the result, and of every derivative.
    """
    x, k = _axis(a, axis, "logaddexp.accumulate")
    x = _as_numpy(np.logaddexp, x, dtype)
    if not x.shape[k]:
        return x
    most = bind("stop_gradient", _running("maximum", x, k, -math.inf))
    before = _moved(most, k, 1, -math.inf)
    fall = bind("exp", bind("gap", before, most))
    total = recurrence(fall, bind("exp", bind("gap", x, most)), k)
    return most + bind("log", total)


ACCUMULATE = {
    "add": cumsum, "multiply": cumprod, "maximum": maximum_accumulate,
    "minimum": minimum_accumulate, "logaddexp": logaddexp_accumulate,
}  # fmt: skip


# ---- without NaN ---------------------------------------------------------------------------------


@implements("nancumsum")
def nancumsum(a: Any, axis: Any = None, dtype: Any = None) -> Expr:
    return cumsum.__wrapped__(_without_nan(a, 0)[0], axis, dtype)


@implements("nancumprod")
def nancumprod(a: Any, axis: Any = None, dtype: Any = None) -> Expr:
    return cumprod.__wrapped__(_without_nan(a, 1)[0], axis, dtype)


def _centred_without_nan(a: Any, axis: Any, ddof: float, what: str) -> Any:
    """Differences from the mean, 0 for NaN; the divisor, NaN where too few are left; the axes."""
    x, mask = _without_nan(a, 0)
    x = as_float(x)
    axes = axes_of(axis, x, what)
    present = to(bind("logical_not", mask), x.dtype)
    count = sum_(present, axes)
    mean = keep(sum_(x, axes) / count, x, axes, True)
    centred = ufuncs.apply(np.multiply, ufuncs.apply(np.subtract, x, mean), present)
    divisor = count - float(ddof)
    few = bind("less_equal", divisor, const(0, x.dtype, divisor.shape))
    divisor = bind("select", few, const(math.nan, x.dtype, divisor.shape), divisor)
    return centred, divisor, axes


@implements("nanvar")
def nanvar(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Expr:
    x, divisor, axes = _centred_without_nan(a, axis, ddof, "nanvar")
    return keep(sum_(bind("square", x), axes) / divisor, x, axes, keepdims)


@implements("nanstd")
def nanstd(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Expr:
    x, divisor, axes = _centred_without_nan(a, axis, ddof, "nanstd")
    value = bind("norm", x, attrs=(axes,)) / bind("sqrt", divisor)
    return keep(value, x, axes, keepdims)


@implements("corrcoef")
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Expr:
    """Covariances over both deviations, kept within [-1, 1]."""
    c = cov.__wrapped__(x, y, rowvar)
    if c.ndim == 0:
        return c / c
    deviations = np.sqrt(np.diagonal(wrap(c)))
    result = wrap(c) / deviations[:, None] / deviations[None, :]
    return np.clip(result, -1, 1).expr


@implements("bincount")
def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Expr:
    """For plain `x`, whose largest element decides the size."""
    if is_traced(x):
        raise fail(
            UnsupportedError,
            "np.bincount of a traced array: its size is not known while tracing; use "
            "np.zeros_like(...).at[index].add(weights)",
        )
    places = np.asarray(x)
    size = max(int(places.max(initial=-1)) + 1, int(minlength))
    w = to(as_expr(weights), "float64")
    if places.ndim != 1 or w.shape != places.shape or places.min(initial=0) < 0:
        raise fail(ShapeError, f"np.bincount: shapes {places.shape} and {w.shape}")
    if not places.size:  # NumPy has no weights then
        return const(0, "int64", (size,))
    return scatter_add(w, as_expr(places.astype(np.int64)), 0, size)


# ---- differences ---------------------------------------------------------------------------------


def _spacings(f: Any, axes: list[int], given: tuple[Any, ...]) -> list[Any]:
    """For each axis one distance, or a tracer of those between neighbours."""
    if not given:
        return [1.0] * len(axes)
    if len(given) == 1 and np.ndim(given[0]) == 0:
        return [given[0]] * len(axes)
    if len(given) != len(axes):
        raise fail(ShapeError, f"np.gradient: {len(given)} distances for {len(axes)} axes")
    result = []
    for k, places in zip(axes, given, strict=True):
        if np.ndim(places) == 0:
            result.append(places)
            continue
        coordinates = wrap(as_float(as_expr(places)))
        if coordinates.shape != (f.shape[k],):
            raise fail(
                ShapeError,
                f"np.gradient: {coordinates.shape} coordinates for an axis of {f.shape[k]}",
            )
        result.append(np.diff(coordinates))
    return result


def _slopes(f: Any, h: Any, edge_order: int) -> Any:
    """Along axis 0; `h` a number or the distances."""
    if np.ndim(h) == 0:
        inner = (f[2:] - f[:-2]) / (2.0 * h)
        if edge_order == 1:
            return np.concatenate([(f[1:2] - f[:1]) / h, inner, (f[-1:] - f[-2:-1]) / h])
        first = (-1.5 / h) * f[:1] + (2.0 / h) * f[1:2] + (-0.5 / h) * f[2:3]
        last = (0.5 / h) * f[-3:-2] + (-2.0 / h) * f[-2:-1] + (1.5 / h) * f[-1:]
        return np.concatenate([first, inner, last])
    h = np.reshape(h, (-1,) + (1,) * (f.ndim - 1))
    a, b = h[:-1], h[1:]
    inner = -b / (a * (a + b)) * f[:-2] + (b - a) / (a * b) * f[1:-1] + a / (b * (a + b)) * f[2:]
    if edge_order == 1:
        ends = (f[1:2] - f[:1]) / h[:1], (f[-1:] - f[-2:-1]) / h[-1:]
        return np.concatenate([ends[0], inner, ends[1]])
    a, b = h[:1], h[1:2]
    first = -(2 * a + b) / (a * (a + b)) * f[:1] + (a + b) / (a * b) * f[1:2]
    first = first - a / (b * (a + b)) * f[2:3]
    a, b = h[-2:-1], h[-1:]
    last = b / (a * (a + b)) * f[-3:-2] - (b + a) / (a * b) * f[-2:-1]
    last = last + (2 * b + a) / (b * (a + b)) * f[-1:]
    return np.concatenate([first, inner, last])


@implements("gradient")
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Central differences, one-sided ones at the ends."""
    given = as_expr(f)
    if given.dtype == "bool":
        raise fail(DtypeError, "np.gradient of bool: NumPy subtracts no bools; convert it first")
    x = wrap(as_float(given))
    axes = list(range(x.ndim)) if axis is None else axis_list(axis, x.ndim, "gradient")
    if edge_order not in (1, 2):
        raise fail(UnsupportedError, f"np.gradient: edge_order={edge_order} is more than 2")
    if any(x.shape[k] < edge_order + 1 for k in axes):
        raise fail(
            ShapeError, f"np.gradient: {edge_order + 1} elements are needed, got shape {x.shape}"
        )
    results = []
    for k, h in zip(axes, _spacings(x, axes, varargs), strict=True):
        turned = np.moveaxis(x, k, 0)
        slopes = np.moveaxis(_slopes(turned, h, edge_order), 0, k)
        results.append(slopes.astype(x.dtype))  # whatever the distances are
    return results[0] if len(axes) == 1 else tuple(results)


@implements("unwrap")
def unwrap(p: Any, discont: Any = None, axis: Any = -1, *, period: float = 2 * math.pi) -> Any:
    """Phases with whole periods added where they jump."""
    x = as_expr(p)
    k = one_axis(axis, x.ndim, "unwrap")
    whole = x.dtype not in FLOATS and isinstance(period, int)
    if whole:
        raise fail(UnsupportedError, "np.unwrap of integers with an integer period is not traced")
    q = wrap(as_float(x))
    steps = np.diff(q, axis=k)
    half = period / 2
    least = np.mod(steps + half, period) - half
    least = np.where((least == -half) & (steps > 0), half, least)
    jump = np.where(np.abs(steps) < (half if discont is None else discont), 0.0, least - steps)
    added = np.cumsum(jump, axis=k)
    first = along(q.expr, k, 0, min(1, x.shape[k]))
    rest = along(q.expr, k, min(1, x.shape[k]), max(x.shape[k] - 1, 0))
    return np.concatenate([wrap(first), wrap(rest) + added], axis=k)


__all__ = ["ACCUMULATE", "hypot_reduce", "logaddexp_reduce"]
