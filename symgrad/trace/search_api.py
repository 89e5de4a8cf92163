"""Where a number stands among sorted ones: np.searchsorted, np.digitize, np.interp."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symgrad.errors import ShapeError, UnsupportedError
from symgrad.expr.node import ARRAY, FLOATS, Expr, array, bind, const
from symgrad.ops.linear import broadcast_to, concat, gather, reshape, sum_
from symgrad.trace import ufuncs
from symgrad.trace.handle import as_expr
from symgrad.trace.known import is_traced
from symgrad.trace.registry import implements, to
from symgrad.trace.shapes_api import along
from symgrad.trace.state import fail


def search(knots: Expr, x: Expr, right: bool) -> Expr:
    """How many of the sorted `knots` are below x, or with `right` not above it; int64.

    Bisection without a branch: the padding, of NaN or the largest integer, is never below x.
    """
    n, is_float = knots.size, knots.dtype in FLOATS
    if not n:
        return const(0, "int64", x.shape)
    few = n <= _FEW and knots.op is ARRAY
    place = (_counted if few else _bisected)(knots, x, right)
    if not is_float:
        return place
    # NaN stands behind all numbers.
    if right:
        last_place = const(n, "int64", x.shape)
    else:
        present = to(bind("logical_not", bind("isnan", knots)), "int64")
        last_place = broadcast_to(sum_(present, (0,)), x.shape)
    return bind("select", bind("isnan", x), last_place, place)


_FEW = 16  # known knots of which each one is compared with: no loads


def _counted(knots: Expr, x: Expr, right: bool) -> Expr:
    place = const(0, "int64", x.shape)
    for knot in knots.attrs[0].array:
        at_or_below = bind("less_equal" if right else "less", const(knot, x.dtype, x.shape), x)
        place = place + to(at_or_below, "int64")
    return place


def _bisected(knots: Expr, x: Expr, right: bool) -> Expr:
    n, is_float = knots.size, knots.dtype in FLOATS
    steps = n.bit_length()
    missing = 2**steps - 1 - n
    if missing and is_float:
        knots = concat([knots, const(math.nan, knots.dtype, (missing,))], 0)
    elif missing:
        last = const(np.iinfo(knots.dtype).max, knots.dtype, (missing,))
        knots = concat([knots, last], 0)
    compare = "less_equal" if right else "less"
    place = const(0, "int64", x.shape)
    for k in range(steps - 1, -1, -1):
        step = 2**k
        knot = gather(knots, place + (step - 1), 0)
        place = bind("select", bind(compare, knot, x), place + step, place)
    if missing and right and not is_float:
        return bind("minimum", place, const(n, "int64", x.shape))
    return place


@implements("searchsorted")
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Expr:
    """For sorted `a`, which is not checked."""
    knots, x = as_expr(a), as_expr(v)
    if knots.ndim != 1:
        raise fail(ShapeError, f"np.searchsorted: one axis is needed, got shape {knots.shape}")
    if sorter is not None:
        order = as_expr(sorter)
        if order.shape != knots.shape:
            raise fail(ShapeError, f"np.searchsorted: a sorter of shape {order.shape}")
        knots = gather(knots, order, 0)
    if side not in ("left", "right"):
        raise fail(UnsupportedError, f"np.searchsorted: side={side!r} is neither left nor right")
    dtype = ufuncs.promote([knots, x])
    dtype = "int32" if dtype == "bool" else dtype
    return search(to(knots, dtype), to(x, dtype), side == "right")


@implements("digitize")
def digitize(x: Any, bins: Any, right: bool = False) -> Expr:
    """For bins that rise, or plain ones that fall."""
    if not is_traced(bins):
        edges = np.asarray(bins)
        if edges.ndim == 1 and edges.size > 1 and edges[0] > edges[-1]:
            found = searchsorted.__wrapped__(edges[::-1], x, "left" if right else "right")
            return const(edges.size, "int64", found.shape) - found
    return searchsorted.__wrapped__(bins, x, "left" if right else "right")


# ---- np.interp -------------------------------------------------------------------------------


def _beside_infinity(at: Expr, inside: Expr, start: Expr, base: Expr) -> Expr:
    """NumPy's interpolant takes values at knots as they are, also beside an infinite slope."""
    lost = bind("logical_and", bind("isnan", inside), bind("equal", at, base))
    return bind("select", lost, start, inside)


def _inside(at: Expr, places: Expr, values: Expr, plain: bool) -> Expr:
    """The interpolant between the ends; `plain`: all values are known and finite."""
    n = places.size
    if n == 1:
        return broadcast_to(reshape(values, ()), at.shape)
    # The number of inner knots at or below x is the interval's number.
    index = search(along(places, 0, 1, n - 2), at, True)
    if n > 2:  # NaN has no interval; any one will do
        index = bind("minimum", index, const(n - 2, "int64", at.shape))
    rises = along(values, 0, 1, n - 1) - along(values, 0, 0, n - 1)
    slopes = rises / (along(places, 0, 1, n - 1) - along(places, 0, 0, n - 1))
    base = gather(along(places, 0, 0, n - 1), index, 0)
    start = gather(along(values, 0, 0, n - 1), index, 0)
    inside = gather(slopes, index, 0) * (at - base) + start
    if not plain:
        inside = _beside_infinity(at, inside, start, base)
    end, last = (
        broadcast_to(reshape(along(e, 0, n - 1, 1), ()), at.shape) for e in (places, values)
    )
    return bind("select", bind("equal", at, end), last, inside)


@implements("interp")
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Expr:
    """Piecewise linear interpolation; `xp` must rise, which is checked of plain numbers alone."""
    traced = is_traced(xp)
    at, values = to(as_expr(x), "float64"), to(as_expr(fp), "float64")
    places = as_expr(xp) if traced else array(np.atleast_1d(np.array(xp, float)))
    places = to(places, "float64")
    if places.ndim != 1 or places.size == 0:
        raise fail(ShapeError, "np.interp: xp must have one axis and at least one element")
    if values.shape != places.shape:
        raise fail(ShapeError, f"np.interp: xp has shape {places.shape}, fp {values.shape}")
    if period is not None:
        if traced or is_traced(period):
            raise fail(UnsupportedError, "np.interp: with a period xp and it must be plain")
        at, places, values = _periodic(at, np.asarray(xp, float), values, float(period))
        left = right = None
    n = places.size
    low, high = (
        reshape(along(values, 0, k, 1), ()) if end is None else to(as_expr(end), "float64")
        for end, k in ((left, 0), (right, n - 1))
    )
    plain = not traced and not is_traced(fp)
    inside = _inside(at, places, values, plain and bool(np.isfinite(fp).all()))
    first, last = (broadcast_to(reshape(along(places, 0, k, 1), ()), at.shape) for k in (0, n - 1))
    result = bind("select", bind("less", at, first), broadcast_to(low, at.shape), inside)
    return bind("select", bind("greater", at, last), broadcast_to(high, at.shape), result)


def _periodic(at: Expr, xp: np.ndarray, values: Expr, period: float) -> tuple[Expr, Expr, Expr]:
    """Points within one period, in order, with one more on each side, as NumPy makes them."""
    if not period:
        raise fail(ShapeError, "np.interp: the period must not be 0")
    period = abs(period)
    at = bind("mod", at, const(period, "float64", at.shape))
    xp = xp % period
    order = np.argsort(xp)
    places = np.concatenate([xp[order[-1:]] - period, xp[order], xp[order[:1]] + period])
    chosen = np.concatenate([order[-1:], order, order[:1]])
    return at, array(places), gather(values, array(chosen.astype(np.int64)), 0)
