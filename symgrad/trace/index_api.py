"""NumPy's functions that take, drop and insert elements."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from symgrad.errors import (
    DtypeError,
    OutOfRangeError,
    ShapeError,
    UnsupportedError,
)
from symgrad.expr.node import Expr, bind, const
from symgrad.ops.linear import broadcast_to as _broadcast_to
from symgrad.ops.linear import concat, gather
from symgrad.ops.linear import reshape as _reshape
from symgrad.trace import indexing, ufuncs
from symgrad.trace.handle import contains_tracer
from symgrad.trace.masked import known_mask, unknown_size
from symgrad.trace.registry import as_expr, implements, one_axis, to
from symgrad.trace.shapes_api import _constant, along
from symgrad.trace.state import fail
from symgrad.trace.tracer import Tracer, weak_operand

# ---- indexing functions ------------------------------------------------------------------------


@implements("take")
def take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Expr:
    if out is not None:
        raise fail(UnsupportedError, "np.take: out= is not supported while tracing; use the result")
    x = as_expr(a)
    if axis is None:
        x, k = _reshape(x, (x.size,)), 0
    else:
        k = one_axis(axis, x.ndim, "take")
    index = (
        as_expr(indices)
        if isinstance(indices, Tracer) or contains_tracer(indices)
        else np.asarray(indices)
    )
    if mode != "raise":
        index = _bounded(index, x.shape[k], mode)
    if not isinstance(index, Expr) and index.size == 0:
        index = index.astype(np.int64)
    if (isinstance(index, Expr) and index.dtype == "bool") or (
        not isinstance(index, Expr) and index.dtype.kind not in "iu"
    ):
        raise fail(DtypeError, f"np.take: indices must be integers, got {index.dtype}")
    return indexing.get(x, indexing.parse(x.shape, (slice(None),) * k + (index,)))


def _bounded(index: Any, n: int, mode: str) -> Any:
    if mode not in ("wrap", "clip") or not n:
        raise fail(UnsupportedError, f"np.take: mode {mode!r} is not supported while tracing")
    if not isinstance(index, Expr):
        return index % n if mode == "wrap" else np.clip(index, 0, n - 1)
    if mode == "wrap":
        return ufuncs.apply(np.remainder, index, n)
    return ufuncs.apply(np.minimum, ufuncs.apply(np.maximum, index, 0), n - 1)


@implements("take_along_axis")
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Expr:
    x = as_expr(arr)
    index = as_expr(indices) if isinstance(indices, Tracer) else np.asarray(indices)
    if axis is None:
        x, axis = _reshape(x, (x.size,)), 0
    k = one_axis(axis, x.ndim, "take_along_axis")
    if len(index.shape) != x.ndim:
        raise fail(ShapeError, "np.take_along_axis: indices must have the rank of the array")
    items: list[Any] = []
    for i, n in enumerate(x.shape):
        items.append(
            index if i == k else np.arange(n).reshape([-1 if j == i else 1 for j in range(x.ndim)])
        )
    return indexing.get(x, indexing.parse(x.shape, tuple(items)))


@implements("compress")
def compress(condition: Any, a: Any, axis: Any = None) -> Expr:
    return take.__wrapped__(as_expr(a), _chosen("np.compress", condition), axis)


def _chosen(what: str, condition: Any) -> np.ndarray:
    mask = known_mask(condition) if isinstance(condition, Tracer) else condition
    if mask is None:
        raise unknown_size(condition, f"{what}: ")
    return np.flatnonzero(mask)


@implements("extract")
def extract(condition: Any, arr: Any) -> Expr:
    return take.__wrapped__(arr, _chosen("np.extract", condition))


@implements("choose")
def choose(a: Any, choices: Any) -> Expr:
    """Elements of one of several arrays; the last one also where the index is out of range."""
    index = as_expr(a)
    if (
        index.dtype not in ("int32", "int64")
        or isinstance(a, Tracer) is False
        and (np.min(a, initial=0) < 0 or np.max(a, initial=0) >= len(choices))
    ):
        raise fail(OutOfRangeError, "np.choose: the index must be integers within the choices")
    if isinstance(a, Tracer):
        raise fail(UnsupportedError, "np.choose by a traced index is not supported; use np.where")
    values = [weak_operand(c) for c in choices]
    shape = ufuncs.broadcast_shape("np.choose", [index.shape, *(as_expr(c).shape for c in choices)])
    dtype = ufuncs.promote(values)
    index = _broadcast_to(index, shape)
    result = ufuncs.convert(values[-1], dtype, shape)
    for k in range(len(values) - 2, -1, -1):
        chosen = bind("equal", index, const(k, index.dtype, shape))
        result = bind("select", chosen, ufuncs.convert(values[k], dtype, shape), result)
    return result


@implements("delete")
def delete(arr: Any, obj: Any, axis: Any = None) -> Expr:
    x = as_expr(arr)
    if axis is None:
        x, axis = _reshape(x, (x.size,)), 0
    k = one_axis(axis, x.ndim, "delete")
    if isinstance(obj, Tracer):
        obj.__index__()
    return gather(x, _constant(np.delete(np.arange(x.shape[k]), obj)), k)


@implements("insert")
def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Expr:
    x = as_expr(arr)
    if axis is None:
        x, axis = _reshape(x, (x.size,)), 0
    k = one_axis(axis, x.ndim, "insert")
    try:
        place = operator.index(obj)
    except TypeError:
        if isinstance(obj, Tracer):
            raise
        raise fail(UnsupportedError, "np.insert at several places is not traced") from None
    if not -x.shape[k] <= place <= x.shape[k]:
        raise fail(OutOfRangeError, f"np.insert: place {place} on an axis of {x.shape[k]}")
    place += x.shape[k] if place < 0 else 0
    v = to(as_expr(values), x.dtype)
    if v.ndim > x.ndim:
        raise fail(ShapeError, f"np.insert: values of shape {v.shape} into rank {x.ndim}")
    if v.ndim and x.ndim > 1:
        raise fail(
            UnsupportedError, "np.insert of arrays along an axis is not traced; use np.concatenate"
        )
    v = _reshape(v, (v.size,)) if x.ndim == 1 else v
    size = v.size if x.ndim == 1 else 1
    v = _broadcast_to(v, tuple(size if i == k else n for i, n in enumerate(x.shape)))
    return concat([along(x, k, 0, place), v, along(x, k, place, x.shape[k] - place)], k)
