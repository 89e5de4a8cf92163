"""NumPy's functions of sorted elements: sort, argsort, median, quantiles."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError, UnsupportedError
from symgrad.expr.node import FLOATS, Expr, array, bind, const
from symgrad.ops import sorting
from symgrad.ops.linear import broadcast_to, gather, permute, reshape, slice_
from symgrad.trace import indexing
from symgrad.trace.known import is_traced
from symgrad.trace.registry import as_expr, as_float, axes_of, implements, keep, one_axis, to
from symgrad.trace.state import fail
from symgrad.trace.tracer import ArrayTracer, wrap_all

_KINDS = (None, "quicksort", "mergesort", "heapsort", "stable")


def _flat(a: Any, axis: Any, what: str) -> tuple[Expr, int]:
    x = as_expr(a)
    if axis is None:
        return reshape(x, (x.size,)), 0
    if x.ndim == 0:
        raise fail(ShapeError, f"np.{what}: a scalar has no axis to sort")
    return x, one_axis(axis, x.ndim, what)


def _order(x: Expr, k: int) -> Expr:
    if x.dtype == "float32" and x.shape[k] > 2**24:
        raise fail(ShapeError, f"sorting {x.shape[k]} elements of float32: 2^24 at most")
    return sorting.argsort(x, k)


def _sorted(x: Expr, k: int) -> Expr:
    order = _order(x, k)
    if x.ndim == 1:
        return gather(x, order, 0)
    shape = x.shape
    items = [
        order if i == k else np.arange(n).reshape([-1 if j == i else 1 for j in range(x.ndim)])
        for i, n in enumerate(shape)
    ]
    return indexing.get(x, indexing.parse(shape, tuple(items)))


def _stable(what: str, kind: Any, order: Any) -> None:
    if kind not in _KINDS or order is not None:
        raise fail(UnsupportedError, f"np.{what}: kind={kind!r}, order={order!r} are not traced")


@implements("sort")
def sort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Expr:
    """Stable; the derivative goes to the element that stands there."""
    _stable("sort", kind, order)
    return _sorted(*_flat(a, axis, "sort"))


@implements("argsort")
def argsort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Expr:
    """Stable, whatever `kind` is: NumPy leaves the order of equal elements open for others."""
    _stable("argsort", kind, order)
    return _order(*_flat(a, axis, "argsort"))


@implements("partition")
def partition(a: Any, kth: Any, axis: Any = -1, kind: str = "introselect") -> Expr:
    """Sorted altogether: one of the results that NumPy may give."""
    x, k = _flat(a, axis, "partition")
    _within(kth, x.shape[k], "partition")
    return _sorted(x, k)


@implements("argpartition")
def argpartition(a: Any, kth: Any, axis: Any = -1, kind: str = "introselect") -> Expr:
    x, k = _flat(a, axis, "argpartition")
    _within(kth, x.shape[k], "argpartition")
    return _order(x, k)


def _within(kth: Any, n: int, what: str) -> None:
    for place in np.atleast_1d(np.asarray(kth)):
        if not -n <= operator.index(place) < n:
            raise fail(ShapeError, f"np.{what}: kth={place} is out of bounds for {n} elements")


def _sort_in_place(
    self: ArrayTracer, axis: Any = -1, kind: Any = None, order: Any = None, **options: Any
) -> None:
    self.assign(wrap_all(sort(self, axis, kind, order, **options)).expr, "x.sort()")


def _partition_in_place(self: ArrayTracer, kth: Any, axis: Any = -1, kind: Any = None) -> None:
    self.assign(wrap_all(partition(self, kth, axis)).expr, "x.partition()")


# Methods of arrays, which change them, unlike the functions of these names.
ArrayTracer.sort = _sort_in_place  # type: ignore[method-assign]
ArrayTracer.partition = _partition_in_place  # type: ignore[method-assign,assignment]


# ---- quantiles -------------------------------------------------------------------------------


def _joined(a: Any, axis: Any, what: str) -> tuple[Expr, Expr, tuple[int, ...]]:
    """The array, the same with the reduced axes as one last axis, and these axes."""
    x = as_expr(a)
    axes = axes_of(axis, x, what)
    rest = tuple(k for k in range(x.ndim) if k not in axes)
    turned = permute(x, (*rest, *axes))
    size = math.prod(x.shape[k] for k in axes)
    return x, reshape(turned, (*(x.shape[k] for k in rest), size)), axes


def _at(x: Expr, place: int) -> Expr:
    """Element `place` of the last axis."""
    starts = (*(0 for _ in x.shape[:-1]), place)
    return reshape(slice_(x, starts, (*x.shape[:-1], 1), (1,) * x.ndim), x.shape[:-1])


def _or_nan(value: Expr, ordered: Expr) -> Expr:
    """NaN where there is one, which stands last."""
    if value.dtype not in FLOATS or ordered.dtype not in FLOATS:
        return value
    last = bind("isnan", _at(ordered, ordered.shape[-1] - 1))
    last = reshape(last, (1,) * (value.ndim - last.ndim) + last.shape)
    nan = const(math.nan, value.dtype, value.shape)
    return bind("select", broadcast_to(last, value.shape), nan, value)


@implements("median")
def median(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False
) -> Expr:
    """The mean of the two middle elements, of which each has half of the derivative."""
    if out is not None:
        raise fail(UnsupportedError, "np.median: out= is not supported; use the result")
    x, joined, axes = _joined(as_float(as_expr(a)), axis, "median")
    n = joined.shape[-1]
    if n == 0:
        value = const(math.nan, x.dtype, joined.shape[:-1])
        return keep(value, x, axes, keepdims)
    ordered = _sorted(joined, joined.ndim - 1)
    value = _at(ordered, n // 2)
    if n % 2 == 0:
        value = (_at(ordered, n // 2 - 1) + value) / 2.0
    return keep(_or_nan(value, ordered), x, axes, keepdims)


# Hyndman & Fan, Sample quantiles in statistical packages, Am. Stat. 50 (1996) 361.
_PLACES: dict[str, tuple[float, float]] = {
    "linear": (1.0, 1.0), "interpolated_inverted_cdf": (0.0, 1.0), "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0), "median_unbiased": (1 / 3, 1 / 3), "normal_unbiased": (3 / 8, 3 / 8),
}  # fmt: skip
_STEPS = ("lower", "higher", "midpoint", "nearest")


def _places(q: np.ndarray, n: int, method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each quantile: the elements below and above, and the share of the latter."""
    if method in _STEPS:
        place = (n - 1) * q
        if method == "nearest":
            low = high = np.rint(place)
        else:
            low, high = np.floor(place), np.ceil(place)
            low, high = (low, low) if method == "lower" else (low, high)
            low, high = (high, high) if method == "higher" else (low, high)
        share = np.where(low == high, q.dtype.type(0), q.dtype.type(0.5))
    else:
        alpha, beta = _PLACES[method]
        place = (n - 1) * q if method == "linear" else n * q + (alpha + q * (1 - alpha - beta)) - 1
        place = np.clip(place, 0, n - 1)
        low = np.floor(place)
        high, share = np.minimum(low + 1, n - 1), place - low
    return low.astype(np.int64), high.astype(np.int64), share


def _quantile(what: str, a: Any, q: Any, axis: Any, method: str, keepdims: bool) -> Expr:
    if method not in _PLACES and method not in _STEPS:
        known = ", ".join([*_PLACES, *_STEPS])
        raise fail(UnsupportedError, f"np.{what}: method={method!r} is not traced; {known} are")
    x, joined, axes = _joined(a, axis, what)
    taken = method in ("lower", "higher", "nearest")  # elements as they are
    if x.dtype == "bool" and not taken:
        raise fail(DtypeError, f"np.{what} of bool: NumPy subtracts no bools; convert it first")
    chances = _chances(what, q, x)
    n = joined.shape[-1]
    if n == 0:
        raise fail(ShapeError, f"np.{what} over an axis of size 0 has no value")
    ordered = _sorted(joined, joined.ndim - 1)
    turned = permute(ordered, (ordered.ndim - 1, *range(ordered.ndim - 1)))
    low, high, share = _places(chances.reshape(-1), n, method)
    dtype = x.dtype if taken else np.result_type(x.dtype, share.dtype).name
    below, above = (to(gather(turned, array(k), 0), dtype) for k in (low, high))
    if taken:
        return _reduced(_or_nan(below, ordered), chances, x, axes, keepdims)
    wide = share.astype(dtype).reshape((-1,) + (1,) * (below.ndim - 1))
    shares = broadcast_to(array(wide), below.shape)
    # As NumPy: from the nearer end, so that equal elements give that element.
    rise = above - below
    near = array(np.asarray(share >= 0.5).reshape(wide.shape))
    value = bind(
        "select", broadcast_to(near, below.shape), above - rise * (1 - shares),
        below + rise * shares,
    )  # fmt: skip
    return _reduced(_or_nan(value, ordered), chances, x, axes, keepdims)


def _chances(what: str, q: Any, x: Expr) -> np.ndarray:
    """The chances as NumPy computes with them: one Python number in the dtype of a float array."""
    if is_traced(q):
        raise fail(UnsupportedError, f"np.{what}: q must be plain numbers while tracing")
    weak = isinstance(q, (int, float)) and x.dtype in FLOATS
    if what == "percentile":
        hundred = np.dtype(x.dtype).type(100) if x.dtype in FLOATS else 100
        chances = np.asanyarray(np.true_divide(q, hundred))
    else:
        chances = np.asarray(q, x.dtype if weak else None)
    if chances.dtype.kind in "iu":
        chances = chances.astype(float)
    if not ((chances >= 0) & (chances <= 1)).all():
        raise fail(ShapeError, f"np.{what}: q lies outside of its range")
    return chances


def _reduced(
    value: Expr, chances: np.ndarray, x: Expr, axes: tuple[int, ...], keepdims: bool
) -> Expr:
    """One axis of results as the axes of the chances, before what is left of the array."""
    rest = value.shape[1:]
    if keepdims:
        rest = tuple(1 if k in axes else m for k, m in enumerate(x.shape))
    return reshape(value, (*chances.shape, *rest))


@implements("quantile")
def quantile(
    a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False,
) -> Expr:  # fmt: skip
    if out is not None:
        raise fail(UnsupportedError, "np.quantile: out= is not supported; use the result")
    return _quantile("quantile", a, q, axis, method, keepdims)


@implements("percentile")
def percentile(
    a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False,
) -> Expr:  # fmt: skip
    if out is not None:
        raise fail(UnsupportedError, "np.percentile: out= is not supported; use the result")
    return _quantile("percentile", a, q, axis, method, keepdims)
