"""NumPy's reductions, selections, ufunc methods and other functions that are neither shapes nor algebra."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symgrad.errors import MutationError, ShapeError, UnsupportedError
from symgrad.expr.node import FLOATS, Expr, array, bind, const
from symgrad.ops.linear import broadcast_to, concat, reshape, sum_
from symgrad.trace import ufuncs
from symgrad.trace.registry import (
    as_expr,
    as_float,
    axes_of,
    axis_list,
    dtype_name,
    implements,
    keep,
    refuse,
    to,
)
from symgrad.trace.state import fail
from symgrad.trace.tracer import SUPPORTED, ArrayTracer, Tracer, operand, unsupported, wrap_all

# ---- reductions --------------------------------------------------------------------------------


def _summable(x: Expr, dtype: Any) -> Expr:
    """NumPy adds and multiplies bool and int32 as int64."""
    if dtype is not None:
        return to(x, dtype_name(dtype))
    return to(x, "int64") if x.dtype in ("bool", "int32") else x


@implements("sum")
def sum(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False, initial: Any = 0) -> Expr:
    x = _summable(as_expr(a), dtype)
    axes = axes_of(axis, x, "sum")
    total = keep(sum_(x, axes), x, axes, keepdims)
    if isinstance(initial, (int, float)) and initial == 0:
        return total
    return ufuncs.apply(np.add, total, operand(initial))


@implements("prod")
def prod(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False, initial: Any = 1) -> Expr:
    x = _summable(as_expr(a), dtype)
    axes = axes_of(axis, x, "prod")
    product = keep(bind("prod", x, attrs=(axes,)), x, axes, keepdims)
    if isinstance(initial, (int, float)) and initial == 1:
        return product
    return ufuncs.apply(np.multiply, product, operand(initial))


def _extremum(name: str, a: Any, axis: Any, keepdims: bool, initial: Any) -> Expr:
    x = as_expr(a)
    axes = axes_of(axis, x, name)
    other = np.maximum if name == "max" else np.minimum
    empty = any(x.shape[k] == 0 for k in axes)
    if empty and initial is None:
        raise fail(ShapeError, f"np.{name} over an axis of size 0 has no value; give initial=")
    if empty:
        shape = tuple(n for k, n in enumerate(x.shape) if k not in axes)
        return keep(ufuncs.convert(operand(initial), x.dtype, shape), x, axes, keepdims)
    if x.dtype == "bool":
        result = bind("any" if name == "max" else "all", x, attrs=(axes,))
    else:
        result = bind(name, x, attrs=(axes,))
    result = keep(result, x, axes, keepdims)
    return result if initial is None else ufuncs.apply(other, result, operand(initial))


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
    return keep(_divide(sum_(x, axes), _count(x, axes)), x, axes, keepdims)


@implements("mean")
def mean(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Expr:
    x = as_expr(a)
    x = as_float(x) if dtype is None else to(x, dtype_name(dtype))
    return _mean(x, axes_of(axis, x, "mean"), keepdims)


def _centred(a: Any, axis: Any, dtype: Any, what: str) -> tuple[Expr, tuple[int, ...]]:
    x = as_expr(a)
    x = as_float(x) if dtype is None else to(x, dtype_name(dtype))
    axes = axes_of(axis, x, what)
    return x - broadcast_to(_mean(x, axes, True), x.shape), axes


@implements("var")
def var(a: Any, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False) -> Expr:
    centred, axes = _centred(a, axis, dtype, "var")
    total = sum_(bind("square", centred), axes)
    return keep(_divide(total, np.maximum(_count(centred, axes) - ddof, 0)), centred, axes, keepdims)


@implements("std")
def std(a: Any, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False) -> Expr:
    """A norm of the centred data, so that the derivative at constant data is 0 and not 0/0."""
    centred, axes = _centred(a, axis, dtype, "std")
    size = np.maximum(_count(centred, axes) - ddof, 0)
    norm = bind("norm", centred, attrs=(axes,))
    return keep(_divide(norm, math.sqrt(size)), centred, axes, keepdims)


@implements("average")
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    x = as_expr(a)
    if weights is None:
        result = mean.__wrapped__(x, axis, None, keepdims)
        count = const(_count(x, axes_of(axis, x)), result.dtype, result.shape)
        return (result, count) if returned else result
    w = as_expr(weights)
    if w.shape != x.shape:
        if axis is None or w.ndim != 1:
            raise fail(ShapeError, "np.average: weights need the shape of the data, or an axis to lie along")
        (k,) = axis_list(axis, x.ndim, "average")
        if w.shape[0] != x.shape[k]:
            raise fail(ShapeError, f"np.average: {w.shape[0]} weights for an axis of {x.shape[k]}")
        w = broadcast_to(reshape(w, tuple(n if i == k else 1 for i, n in enumerate(x.shape))), x.shape)
    dtype = ufuncs.promote([x, w])
    dtype = dtype if dtype in FLOATS else "float64"
    x, w = to(x, dtype), to(w, dtype)
    axes = axes_of(axis, x, "average")
    scale = sum_(w, axes)
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
    (k,) = axis_list(axis, x.ndim, name)
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
    return x, axis_list(axis, x.ndim, what)[0]


@implements("cumsum")
def cumsum(a: Any, axis: Any = None, dtype: Any = None) -> Expr:
    x, k = _scanned(a, axis, dtype, "cumsum")
    return bind("cumsum", x, attrs=(k, False))


@implements("cumprod")
def cumprod(a: Any, axis: Any = None, dtype: Any = None) -> Expr:
    from symgrad.ops.scan import cumprod as running_product

    return running_product(*_scanned(a, axis, dtype, "cumprod"))


# ---- selection ---------------------------------------------------------------------------------


@implements("where")
def where(condition: Any, x: Any = None, y: Any = None) -> Expr:
    if x is None or y is None:
        raise fail(
            UnsupportedError,
            "np.where(condition) gives as many indices as elements are true, which is not known while "
            "tracing; use np.where(condition, a, b)",
        )
    mask = ufuncs.truth(as_expr(condition))
    a, b = operand(x), operand(y)
    shape = ufuncs.broadcast_shape(
        "np.where", [mask.shape, *(v.shape if isinstance(v, Expr) else () for v in (a, b))]
    )
    dtype = ufuncs.promote([a, b])
    return bind(
        "select",
        broadcast_to(mask, shape),
        ufuncs.convert(a, dtype, shape),
        ufuncs.convert(b, dtype, shape),
    )


@implements("clip")
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Expr:
    low, high = a_min if min is None else min, a_max if max is None else max
    x = as_expr(a)
    if low is None and high is None:
        return x
    # With one bound NumPy calls maximum or minimum; the derivative at the bound stays 1 here.
    bounds = [operand(v) for v in (low, high) if v is not None]
    dtypes = ufuncs.loop_dtypes(np.minimum, (x, *bounds)) if len(bounds) == 1 else ufuncs.loop_dtypes(
        np.clip_ufunc if hasattr(np, "clip_ufunc") else np._core.umath.clip, (x, *bounds)  # type: ignore[attr-defined]
    )
    shape = ufuncs.broadcast_shape(
        "np.clip", [x.shape, *(b.shape for b in bounds if isinstance(b, Expr))]
    )
    infinite = const(math.inf if dtypes[0] in FLOATS else np.iinfo(dtypes[0]).max, dtypes[0], shape)
    x = ufuncs.convert(x, dtypes[0], shape)
    converted = [ufuncs.convert(b, dtypes[0], shape) for b in bounds]
    if len(converted) == 2:
        return ufuncs.FORMULAS["clip"](x, *converted)
    if high is None:
        return ufuncs.FORMULAS["clip"](x, converted[0], infinite)
    least = const(-math.inf if dtypes[0] in FLOATS else np.iinfo(dtypes[0]).min, dtypes[0], shape)
    return ufuncs.FORMULAS["clip"](x, least, converted[0])


@implements("select")
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Expr:
    if len(condlist) != len(choicelist) or not condlist:
        raise fail(ShapeError, "np.select needs as many choices as conditions, at least one")
    masks = [ufuncs.truth(as_expr(c)) for c in condlist]
    values = [operand(v) for v in [*choicelist, default]]
    values = [v if isinstance(v, Expr) else v for v in values]
    shape = ufuncs.broadcast_shape(
        "np.select", [m.shape for m in masks] + [v.shape for v in values if isinstance(v, Expr)]
    )
    dtype = ufuncs.promote(values)
    result = ufuncs.convert(values[-1], dtype, shape)
    for mask, value in zip(masks[::-1], values[-2::-1], strict=True):
        result = bind("select", broadcast_to(mask, shape), ufuncs.convert(value, dtype, shape), result)
    return result


@implements("piecewise")
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Expr:
    """Every function is called with all of `x`; where its condition holds, its value is taken."""
    whole = as_expr(x)
    conditions = condlist if isinstance(condlist, (list, tuple)) else [condlist]
    masks = [ufuncs.truth(as_expr(c)) for c in conditions]
    functions = list(funclist)
    if len(functions) not in (len(masks), len(masks) + 1):
        raise fail(ShapeError, f"np.piecewise: {len(functions)} functions for {len(masks)} conditions")
    result = const(0, whole.dtype, whole.shape)
    if len(functions) > len(masks):
        result = _piece(functions.pop(), whole, args, kw)
    for mask, function in zip(masks, functions, strict=True):
        value = _piece(function, whole, args, kw)
        result = bind("select", broadcast_to(mask, whole.shape), value, result)
    return result


def _piece(function: Any, x: Expr, args: Any, kw: Any) -> Expr:
    value = operand(function(wrap_all(x), *args, **kw) if callable(function) else function)
    return ufuncs.convert(value, x.dtype, x.shape)


@implements("nan_to_num")
def nan_to_num(x: Any, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Expr:
    value = as_expr(x)
    if value.dtype not in FLOATS:
        return value
    info = np.finfo(value.dtype)
    high, low = info.max if posinf is None else posinf, info.min if neginf is None else neginf

    def full(number: Any) -> Expr:
        return const(number, value.dtype, value.shape)

    result = bind("select", bind("isnan", value), full(nan), value)
    result = bind("select", bind("equal", value, full(math.inf)), full(high), result)
    return bind("select", bind("equal", value, full(-math.inf)), full(low), result)


# ---- rounding and other elementwise functions ----------------------------------------------------


@implements("round", "around")
def round(a: Any, decimals: int = 0) -> Expr:
    x = as_expr(a)
    if x.dtype not in FLOATS:
        if decimals >= 0:
            return x
        raise fail(UnsupportedError, "np.round of integers to tens is not traced")
    if decimals == 0:
        return bind("rint", x)
    scale = 10.0 ** abs(decimals)
    if decimals > 0:
        return bind("rint", x * scale) / scale
    return bind("rint", x / scale) * scale


@implements("fix")
def fix(x: Any) -> Expr:
    return ufuncs.apply(np.trunc, as_expr(x))


@implements("sinc")
def sinc(x: Any) -> Expr:
    """sin(πx)/(πx); at 0 the branch is not taken, so value and derivative are 1 and 0."""
    y = as_float(as_expr(x)) * math.pi
    zero = bind("equal", y, const(0, y.dtype, y.shape))
    one = const(1, y.dtype, y.shape)
    safe = bind("select", zero, one, y)
    return bind("select", zero, one, bind("sin", safe) / safe)


@implements("isclose")
def isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Expr:
    x, y = (as_float(v) for v in ufuncs.together("np.isclose", [as_expr(a), as_expr(b)]))
    bound = ufuncs.apply(np.add, operand(atol), ufuncs.apply(np.multiply, bind("absolute", y), operand(rtol)))
    close = ufuncs.apply(np.less_equal, bind("absolute", x - y), bound)
    close = bind("logical_and", close, bind("isfinite", y))
    close = bind("logical_or", close, bind("equal", x, y))
    if equal_nan:
        close = bind("logical_or", close, bind("logical_and", bind("isnan", x), bind("isnan", y)))
    return close


@implements("isneginf")
def isneginf(x: Any) -> Expr:
    value = as_expr(x)
    return ufuncs.apply(np.equal, value, -math.inf)


@implements("isposinf")
def isposinf(x: Any) -> Expr:
    return ufuncs.apply(np.equal, as_expr(x), math.inf)


@implements("real", "real_if_close", view=True)
def real(val: Any) -> Expr:
    return as_expr(val)


@implements("imag")
def imag(val: Any) -> Expr:
    x = as_expr(val)
    return const(0, x.dtype, x.shape)


# ---- calculus and polynomials --------------------------------------------------------------------


def _along(x: Expr, k: int, start: int, size: int) -> Expr:
    from symgrad.trace.indexing import part

    return part(x, [(start, size, 1) if i == k else (0, n, 1) for i, n in enumerate(x.shape)])


@implements("diff")
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Expr:
    x = as_expr(a)
    if x.ndim == 0:
        raise fail(ShapeError, "np.diff needs an array of rank one or more")
    (k,) = axis_list(axis, x.ndim, "diff")
    if prepend is not None or append is not None:
        parts = [x]
        for extra, place in ((prepend, 0), (append, len(parts))):
            if extra is not None:
                e = as_expr(extra)
                if e.ndim == 0:
                    e = broadcast_to(e, tuple(1 if i == k else m for i, m in enumerate(x.shape)))
                parts.insert(place if extra is prepend else len(parts), e)
        dtype = ufuncs.promote(list(parts))
        x = concat([to(p, dtype) for p in parts], k)
    for _ in range(n):
        size = np.maximum(x.shape[k] - 1, 0).item()
        if not x.shape[k]:
            break
        high, low = _along(x, k, 1, size), _along(x, k, 0, size)
        x = bind("not_equal", high, low) if x.dtype == "bool" else high - low
    return x


@implements("ediff1d")
def ediff1d(ary: Any) -> Expr:
    x = as_expr(ary)
    return diff.__wrapped__(reshape(x, (x.size,)))


@implements("trapezoid")
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Expr:
    values = as_float(as_expr(y))
    (k,) = axis_list(axis, values.ndim, "trapezoid")
    size = values.shape[k] - 1
    pairs = _along(values, k, 1, size) + _along(values, k, 0, size)
    if x is None:
        weighted = ufuncs.apply(np.multiply, pairs, operand(dx))
    else:
        places = as_expr(x)
        if places.ndim == 1:
            widths = diff.__wrapped__(places)
            widths = reshape(widths, tuple(size if i == k else 1 for i in range(values.ndim)))
        else:
            widths = diff.__wrapped__(places, 1, axis)
        weighted = ufuncs.apply(np.multiply, pairs, widths)
    return sum_(weighted, (k,)) / 2.0


@implements("polyval")
def polyval(p: Any, x: Any) -> Expr:
    """Horner's rule, as in NumPy."""
    coefficients = as_expr(p)
    value: Any = operand(x)
    result: Any = ufuncs.apply(np.multiply, as_expr(x), 0)
    for c in range(coefficients.shape[0]):
        scalar = reshape(_along(coefficients, 0, c, 1), ())
        result = ufuncs.apply(np.add, ufuncs.apply(np.multiply, result, value), scalar)
    return result


@implements("vander")
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Expr:
    from symgrad.trace.tracer import stack

    v = as_expr(x)
    columns = [const(1, v.dtype, v.shape)]
    for _ in range((v.shape[0] if N is None else N) - 1):
        columns.append(columns[-1] * v)
    columns = columns[: v.shape[0] if N is None else N]
    return stack(columns if increasing else columns[::-1], 1)


@implements("interp")
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Expr:
    """Piecewise linear interpolation; `xp` must be a plain array."""
    if period is not None:
        raise fail(UnsupportedError, "np.interp: period is not supported while tracing")
    if isinstance(xp, Tracer):
        raise fail(UnsupportedError, "np.interp: xp must be a plain array, not a traced one")
    places = np.asarray(xp, float)
    if places.ndim != 1 or places.size == 0:
        raise fail(ShapeError, "np.interp: xp must have one axis and at least one element")
    at, values = to(as_expr(x), "float64"), to(as_expr(fp), "float64")
    if values.shape != places.shape:
        raise fail(ShapeError, f"np.interp: xp has shape {places.shape}, fp {values.shape}")
    n = places.size
    first, last = reshape(_along(values, 0, 0, 1), ()), reshape(_along(values, 0, n - 1, 1), ())
    low = first if left is None else to(as_expr(left), "float64")
    high = last if right is None else to(as_expr(right), "float64")
    shape = at.shape
    if n == 1:
        inside = broadcast_to(first, shape)
    else:
        # The number of inner knots at or below x is the interval's number.
        index = const(0, "int64", shape)
        for knot in places[1:-1]:
            index = index + to(bind("greater_equal", at, const(knot, "float64", shape)), "int64")
        slopes = (_along(values, 0, 1, n - 1) - _along(values, 0, 0, n - 1)) / array(np.diff(places))

        def take(table: Expr) -> Expr:
            return bind("gather", table, index, attrs=(0,))

        base = take(array(places[:-1]))
        inside = take(slopes) * (at - base) + take(_along(values, 0, 0, n - 1))
        inside = bind("select", bind("equal", at, const(places[-1], "float64", shape)), broadcast_to(last, shape), inside)
    below = bind("less", at, const(places[0], "float64", shape))
    above = bind("greater", at, const(places[-1], "float64", shape))
    result = bind("select", below, broadcast_to(low, shape), inside)
    return bind("select", above, broadcast_to(high, shape), result)


# ---- making arrays -------------------------------------------------------------------------------


def _filled(a: Any, value: Any, dtype: Any, shape: Any) -> Expr:
    like = as_expr(a)
    if shape is None:
        shape = like.shape
    elif not isinstance(shape, (tuple, list)):
        shape = (shape,)
    name = like.dtype if dtype is None else dtype_name(dtype)
    number = operand(value)
    return ufuncs.convert(number, name, tuple(int(n) for n in shape))


@implements("zeros_like", "empty_like")
def zeros_like(a: Any, dtype: Any = None, *, shape: Any = None) -> Expr:
    return _filled(a, 0, dtype, shape)


@implements("ones_like")
def ones_like(a: Any, dtype: Any = None, *, shape: Any = None) -> Expr:
    return _filled(a, 1, dtype, shape)


@implements("full_like")
def full_like(a: Any, fill_value: Any, dtype: Any = None, *, shape: Any = None) -> Expr:
    return _filled(a, fill_value, dtype, shape)


@implements("copy")
def copy(a: Any) -> Expr:
    return as_expr(a)


@implements("linspace")
def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False) -> Any:
    a, b = as_float(as_expr(start)), as_float(as_expr(stop))
    steps = num - 1 if endpoint else num
    a, b = ufuncs.together("np.linspace", [a, b], "float64")
    step = (b - a) / float(steps) if steps > 0 else const(math.nan, "float64", a.shape)
    shape = (num, *a.shape)
    ramp = array(np.arange(num, dtype=float).reshape((num,) + (1,) * a.ndim))
    value = broadcast_to(a, shape)
    if steps > 0:
        value = value + broadcast_to(ramp, shape) * broadcast_to(step, shape)
    if endpoint and num > 1:  # the last value is exact
        value = concat([_along(value, 0, 0, num - 1), reshape(b, (1, *b.shape))], 0)
    return (value, step) if retstep else value


# ---- ufunc methods and options --------------------------------------------------------------------

_REDUCTIONS = {
    "add": sum, "multiply": prod, "maximum": max, "minimum": min, "logical_and": all_, "logical_or": any_,
}  # fmt: skip


def _ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A ufunc called with options, a method of a ufunc, or a ufunc over core axes such as matmul."""
    out = kwargs.pop("out", None)
    target = _target(ufunc, inputs, out) if out is not None and any(o is not None for o in out) else None
    kwargs = {k: v for k, v in kwargs.items() if v is not np._NoValue}  # type: ignore[attr-defined]
    name = ufunc.__name__
    if method == "__call__":
        result = _call(ufunc, inputs, kwargs)
    elif method == "reduce" and name in _REDUCTIONS:
        if "axis" not in kwargs:
            kwargs["axis"] = 0
        if kwargs.get("initial", 0) is None:
            del kwargs["initial"]
        if kwargs.get("dtype") is None:
            kwargs.pop("dtype", None)
        result = _REDUCTIONS[name](*inputs, **kwargs)
    elif method == "accumulate" and name in ("add", "multiply"):
        axis = kwargs.pop("axis", 0)
        result = (cumsum if name == "add" else cumprod)(*inputs, axis, **kwargs)
    elif method == "outer":
        a, b = (as_expr(v) for v in inputs)
        result = _call(ufunc, (reshape(a, a.shape + (1,) * b.ndim), b), kwargs)
    elif method == "at":
        raise fail(MutationError, f"np.{name}.at changes an array in place; use x.at[index].add(y)")
    else:
        raise unsupported(f"np.{name}.{method}")
    result = wrap_all(result)
    return result if target is None else _store(result, target, name)


def _call(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    kwargs = dict(kwargs)
    if ufunc.signature is not None:
        if ufunc.__name__ not in SUPPORTED:
            raise unsupported(f"np.{ufunc.__name__}")
        return SUPPORTED[ufunc.__name__](*inputs, **kwargs)
    dtype = kwargs.pop("dtype", None)
    if kwargs.pop("where", True) is not True:
        raise fail(UnsupportedError, f"np.{ufunc.__name__}: where= is not traced; use np.where on the result")
    if kwargs.pop("casting", "same_kind") != "same_kind" or kwargs.pop("subok", True) is not True or kwargs:
        options = ", ".join(kwargs) or "casting"
        raise fail(UnsupportedError, f"np.{ufunc.__name__}: the option {options} is not supported while tracing")
    operands = [operand(v) if not isinstance(v, Expr) else v for v in inputs]
    if dtype is not None:
        operands = [ufuncs.convert(v, dtype_name(dtype)) for v in operands]
    return ufuncs.apply(ufunc, *operands)


def _target(ufunc: np.ufunc, inputs: tuple[Any, ...], out: tuple[Any, ...]) -> Any:
    """The array that `out=` names, if the change can be followed."""
    if len(out) == 1 and (isinstance(out[0], ArrayTracer) or out[0] is inputs[0]):
        return out[0]
    raise fail(
        MutationError,
        f"np.{ufunc.__name__}: out= would have to change a plain array while tracing; use the result",
    )


def _store(result: Any, target: Any, name: str) -> Any:
    """``z += t`` for a plain array z: Python rebinds z to what is returned, in the dtype of z."""
    if isinstance(target, ArrayTracer):
        return target.assign(result.expr, f"np.{name} with out=")
    if result.shape != target.shape:
        raise fail(ShapeError, f"in-place {name}: shape {result.shape} does not fit into {target.shape}")
    if not np.can_cast(result.dtype, target.dtype, "same_kind"):
        raise fail(
            ufuncs.DtypeError, f"in-place {name}: {result.dtype} values do not fit into an array of {target.dtype}"
        )
    return wrap_all(to(result.expr, dtype_name(target.dtype)))


SUPPORTED["ufunc"] = _ufunc

# ---- questions that have a plain answer ------------------------------------------------------------


@implements("shape")
def shape(a: Any) -> tuple[int, ...]:
    return as_expr(a).shape


@implements("ndim")
def ndim(a: Any) -> int:
    return as_expr(a).ndim


@implements("size")
def size(a: Any, axis: Any = None) -> int:
    x = as_expr(a)
    return x.size if axis is None else _count(x, axes_of(axis, x, "size"))


@implements("iscomplexobj")
def iscomplexobj(x: Any) -> bool:
    return False


@implements("isrealobj")
def isrealobj(x: Any) -> bool:
    return True


@implements("result_type")
def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    return np.result_type(*[v.dtype if isinstance(v, Tracer) else v for v in arrays_and_dtypes])


@implements("can_cast")
def can_cast(from_: Any, to: Any, casting: str = "safe") -> bool:
    return np.can_cast(from_.dtype if isinstance(from_, Tracer) else from_, to, casting)  # type: ignore[arg-type]


@implements("may_share_memory", "shares_memory")
def may_share_memory(a: Any, b: Any) -> bool:
    return isinstance(a, Tracer) and isinstance(b, Tracer) and (a is b or (a._group is not None and a._group is b._group))


@implements("common_type")
def common_type(*arrays: Any) -> type:
    return np.common_type(*[np.empty(0, v.dtype) if isinstance(v, Tracer) else v for v in arrays])


@implements("copyto")
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    raise fail(
        MutationError,
        "np.copyto (also called by np.full_like with a traced value) writes a traced value into a plain "
        "array; use np.broadcast_to, np.stack, or x.at[index].set(y)",
    )


@implements("array_equal")
def array_equal(a1: Any, a2: Any) -> Any:
    a, b = as_expr(a1), as_expr(a2)
    if a.shape != b.shape:
        return False
    same = ufuncs.apply(np.equal, a, b)
    return bind("all", same, attrs=(tuple(range(same.ndim)),))


@implements("allclose")
def allclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Expr:
    close = isclose.__wrapped__(a, b, rtol, atol, equal_nan)
    return bind("all", close, attrs=(tuple(range(close.ndim)),))


for _name, _advice in (
    ("sort", "order by an index that is known while tracing"),
    ("argsort", ""), ("median", ""), ("quantile", ""), ("percentile", ""), ("partition", ""),
    ("unique", "its size is not known while tracing"),
    ("nonzero", "its size is not known while tracing; use np.where(mask, a, b)"),
    ("argwhere", "its size is not known while tracing; use np.where(mask, a, b)"),
    ("flatnonzero", "its size is not known while tracing; use np.where(mask, a, b)"),
    ("put", "it changes an array in place; use x.at[index].set(y)"),
    ("place", "it changes an array in place; use np.where"),
    ("putmask", "it changes an array in place; use np.where"),
    ("put_along_axis", "it changes an array in place; use x.at[index].set(y)"),
    ("fill_diagonal", "it changes an array in place; use np.where(np.eye(n, dtype=bool), v, x)"),
    ("array2string", "print the value itself"), ("array_repr", "print the value itself"),
    ("save", ""), ("savetxt", ""),
):  # fmt: skip
    refuse(_name, _advice)


def supported_names() -> list[str]:
    """NumPy functions, and ufuncs of NumPy and SciPy, that can be traced."""
    return sorted({*SUPPORTED, *ufuncs.ROWS, *ufuncs.FORMULAS} - {"ufunc"})
