"""NumPy's selections, rounding, and other functions of one variable along an axis."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError, UnsupportedError
from symgrad.expr.node import FLOATS, Expr, bind, const
from symgrad.ops.linear import broadcast_to, concat, reshape, sum_
from symgrad.trace import ufuncs
from symgrad.trace.handle import operand, stack
from symgrad.trace.registry import (
    as_expr,
    as_float,
    implements,
    one_axis,
    to,
)
from symgrad.trace.shapes_api import along
from symgrad.trace.state import fail
from symgrad.trace.tracer import weak_operand, wrap_all

# ---- selection ---------------------------------------------------------------------------------


@implements("where")
def where(condition: Any, x: Any = None, y: Any = None) -> Expr:
    if x is None or y is None:
        raise fail(
            UnsupportedError,
            "np.where(condition) gives as many indices as elements are true, which is not known "
            "while "
            "tracing; use np.where(condition, a, b)",
        )
    mask = ufuncs.truth(as_expr(condition))
    a, b = weak_operand(x), weak_operand(y)
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
        return ufuncs.apply(np.positive, x)  # which bool has not
    # With one bound NumPy calls maximum or minimum; the derivative at the bound stays 1 here.
    bounds = [weak_operand(v) for v in (low, high) if v is not None]
    ufunc = np.minimum if len(bounds) == 1 else np._core.umath.clip  # type: ignore[attr-defined]
    dtypes = ufuncs.loop_dtypes(ufunc, (x, *bounds))
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
    values = [weak_operand(v) for v in [*choicelist, default]]
    shape = ufuncs.broadcast_shape(
        "np.select", [m.shape for m in masks] + [v.shape for v in values if isinstance(v, Expr)]
    )
    dtype = ufuncs.promote(values)
    result = ufuncs.convert(values[-1], dtype, shape)
    for mask, value in zip(masks[::-1], values[-2::-1], strict=True):
        result = bind(
            "select", broadcast_to(mask, shape), ufuncs.convert(value, dtype, shape), result
        )
    return result


@implements("piecewise")
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Expr:
    """Every function is called with all of `x`; where its condition holds, its value is taken."""
    whole = as_expr(x)
    conditions = condlist if isinstance(condlist, (list, tuple)) else [condlist]
    masks = [ufuncs.truth(as_expr(c)) for c in conditions]
    functions = list(funclist)
    if len(functions) not in (len(masks), len(masks) + 1):
        raise fail(
            ShapeError, f"np.piecewise: {len(functions)} functions for {len(masks)} conditions"
        )
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
    if x.dtype == "bool":
        raise fail(DtypeError, "np.round of bool is not traced; convert with .astype(float)")
    if x.dtype not in FLOATS:
        if decimals >= 0:
            return x
        raise fail(UnsupportedError, "np.round of integers to tens is not traced")
    if decimals == 0:
        return bind("rint", x)
    scale = 10.0 ** abs(decimals) if abs(decimals) <= 308 else math.inf
    if decimals > 0:
        return bind("rint", x * scale) / scale
    return bind("rint", x / scale) * scale


@implements("fix")
def fix(x: Any) -> Expr:
    return ufuncs.apply(np.trunc, as_expr(x))


@implements("i0")
def i0(x: Any) -> Expr:
    return ufuncs.FORMULAS["i0"](as_float(as_expr(x)))


@implements("sinc")
def sinc(x: Any) -> Expr:
    return bind("sinc", as_float(as_expr(x)) * math.pi)


@implements("isclose")
def isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Expr:
    x, y = (as_float(v) for v in ufuncs.together("np.isclose", [as_expr(a), as_expr(b)]))
    bound = ufuncs.apply(
        np.add, operand(atol), ufuncs.apply(np.multiply, bind("absolute", y), operand(rtol))
    )
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


def _without(x: Expr, k: int) -> tuple[int, ...]:
    return x.shape[:k] + x.shape[k + 1 :]


@implements("diff")
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Expr:
    x = as_expr(a)
    if x.ndim == 0:
        raise fail(ShapeError, "np.diff needs an array of rank one or more")
    k = one_axis(axis, x.ndim, "diff")
    if n < 0:
        raise fail(ShapeError, f"np.diff: the order must not be negative, got {n}")
    if n == 0:
        return x
    if prepend is not None or append is not None:
        ends = []
        for extra in (prepend, append):
            e = None if extra is None else as_expr(extra)
            if e is not None and e.ndim == 0:
                e = broadcast_to(e, tuple(1 if i == k else m for i, m in enumerate(x.shape)))
            ends.append(e)
        parts = [e for e in (ends[0], x, ends[1]) if e is not None]
        if any(p.ndim != x.ndim or _without(p, k) != _without(x, k) for p in parts):
            shapes = ", ".join(str(p.shape) for p in parts)
            raise fail(ShapeError, f"np.diff: shapes {shapes} do not fit together along axis {k}")
        dtype = ufuncs.promote(list(parts))
        x = concat([to(p, dtype) for p in parts], k)
    for _ in range(n):
        size = np.maximum(x.shape[k] - 1, 0).item()
        if not x.shape[k]:
            break
        high, low = along(x, k, 1, size), along(x, k, 0, size)
        x = bind("not_equal", high, low) if x.dtype == "bool" else high - low
    return x


@implements("ediff1d")
def ediff1d(ary: Any) -> Expr:
    x = as_expr(ary)
    if x.dtype == "bool":
        raise fail(DtypeError, "np.ediff1d of bool: NumPy subtracts no bools; convert it first")
    return diff.__wrapped__(reshape(x, (x.size,)))


@implements("trapezoid")
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Expr:
    values = as_expr(y)
    k = one_axis(axis, values.ndim, "trapezoid")
    size = np.maximum(values.shape[k] - 1, 0).item()
    first = 1 if size else 0
    # As a ufunc: NumPy's sum of two bools is a bool.
    pairs = ufuncs.apply(np.add, along(values, k, first, size), along(values, k, 0, size))
    if x is None:
        weighted = ufuncs.apply(np.multiply, pairs, operand(dx))
    else:
        places = as_expr(x)
        if places.ndim == 1:
            widths = diff.__wrapped__(places)
            if widths.size != size:
                raise fail(ShapeError, f"np.trapezoid: {places.size} places, {values.shape} values")
            widths = reshape(widths, tuple(size if i == k else 1 for i in range(values.ndim)))
        else:
            widths = diff.__wrapped__(places, 1, axis)
        weighted = ufuncs.apply(np.multiply, pairs, widths)
    return sum_(as_float(weighted), (k,)) / 2.0


@implements("polyval")
def polyval(p: Any, x: Any) -> Expr:
    """Horner's rule, as in NumPy."""
    coefficients = as_expr(p)
    if coefficients.ndim != 1:
        raise fail(ShapeError, f"np.polyval: coefficients of shape {coefficients.shape}")
    value = as_expr(x)
    result: Any = const(0, value.dtype, value.shape)
    for c in range(coefficients.shape[0]):
        scalar = reshape(along(coefficients, 0, c, 1), ())
        result = ufuncs.apply(np.add, ufuncs.apply(np.multiply, result, value), scalar)
    return result


@implements("vander")
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Expr:
    v = as_expr(x)
    if v.ndim != 1:
        raise fail(ShapeError, f"np.vander: one axis is needed, got shape {v.shape}")
    v = to(v, np.promote_types(v.dtype, int).name)
    size = v.size if N is None else operator.index(N)
    if size < 1:
        return const(0, v.dtype, (v.size, size))
    columns = [const(1, v.dtype, v.shape)]
    for _ in range(size - 1):
        columns.append(columns[-1] * v)
    return stack(columns if increasing else columns[::-1], 1)
