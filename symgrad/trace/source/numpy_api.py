"""NumPy's functions that no protocol shows: those that make arrays, and those of functions."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np

from symgrad.errors import MutationError
from symgrad.ops.linear import broadcast_to, reshape
from symgrad.trace.handle import as_expr
from symgrad.trace.known import is_traced, own, plain
from symgrad.trace.memory import share
from symgrad.trace.registry import dtype_name, to
from symgrad.trace.source.calls import ALWAYS, call, instead_of
from symgrad.trace.state import fail
from symgrad.trace.tracer import ArrayTracer, Tracer, ZeroTracer, wrap, wrap_array

# ---- arrays of traced values ---------------------------------------------------------------------


@instead_of(np.array)
def array(
    value: Any, dtype: Any = None, *, copy: Any = True, ndmin: int = 0, **options: Any
) -> Any:
    """np.array of traced values, lists of them of any depth, or both."""
    if not copy and isinstance(value, Tracer) and _has(value, dtype, ndmin):
        return value
    expr = as_expr(value)
    if dtype is not None:
        expr = to(expr, dtype_name(dtype))
    if expr.ndim < ndmin:
        expr = reshape(expr, (1,) * (ndmin - expr.ndim) + expr.shape)
    return wrap_array(expr)


def _has(value: Tracer, dtype: Any, ndmin: int) -> bool:
    array_like = isinstance(value, ArrayTracer | ZeroTracer)
    return array_like and value.ndim >= ndmin and (dtype is None or value.dtype == np.dtype(dtype))


@instead_of(np.asarray, np.asanyarray)
def asarray(value: Any, dtype: Any = None, order: Any = None, **options: Any) -> Any:
    if order in ("C", "F"):
        return ascontiguousarray(value, dtype)
    return array(value, dtype, copy=False)


@instead_of(np.ascontiguousarray, np.asfortranarray)
def ascontiguousarray(value: Any, dtype: Any = None, **options: Any) -> Any:
    """An array that may be `value` itself or a copy, as it lies in memory."""
    found = array(value, dtype, copy=False, ndmin=1)
    if found is not value or value.ndim == 1 and value._base is None:
        return found
    new = wrap_array(value.expr)
    share(value, new, None)  # so a change of either is refused while both are there
    return new


@instead_of(np.asarray_chkfinite)
def asarray_chkfinite(value: Any, dtype: Any = None, order: Any = None) -> Any:
    return array(value, dtype, copy=False)


def _of_type(cls: type) -> None:
    @instead_of(cls)
    def scalar(value: Any = 0) -> Any:
        return wrap(to(as_expr(value), np.dtype(cls).name))


for _cls in (np.float64, np.float32, np.int64, np.int32, np.bool_):
    _of_type(_cls)


@instead_of(np.full)
def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", **options: Any) -> Any:
    value = as_expr(fill_value)
    if dtype is not None:
        value = to(value, dtype_name(dtype))
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    return wrap_array(broadcast_to(value, tuple([operator.index(n) for n in sizes])))


@instead_of(np.full_like)
def full_like(a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True,
              shape: Any = None) -> Any:  # fmt: skip
    like = a if isinstance(a, Tracer | np.ndarray) else np.asarray(a)
    chosen = like.shape if shape is None else shape
    return full(chosen, fill_value, like.dtype if dtype is None else dtype)


@instead_of(np.arange)
def arange(*bounds: Any, dtype: Any = None) -> Any:
    return own(np.arange(*[b.__index__() if isinstance(b, Tracer) else b for b in bounds],
                         dtype=dtype), 3)  # fmt: skip


def _fromiter(values: Any, dtype: Any = None, count: int = -1, **options: Any) -> Any:
    taken = list(values if count < 0 else itertools.islice(values, count))
    return array(taken, dtype) if is_traced(taken) else np.fromiter(taken, dtype, **options)


ALWAYS[np.fromiter] = _fromiter


@instead_of(np.isscalar)
def isscalar(value: Any) -> bool:
    return isinstance(value, Tracer) and not isinstance(value, ArrayTracer | ZeroTracer)


def _empty(shape: Any = (), dtype: Any = float, order: str = "C", **options: Any) -> Any:
    """Zeros: what memory holds by chance must not be in a graph."""
    return own(np.zeros(shape, dtype, order, **options), 3)  # type: ignore[call-overload]


ALWAYS[np.empty] = _empty


@instead_of(np.empty_like)
def empty_like(prototype: Any, *args: Any, **options: Any) -> Any:
    return np.zeros_like(prototype, *args, **options)


@instead_of(np.ndenumerate)
def ndenumerate(arr: Any) -> Any:
    return iter([(k, arr[k]) for k in np.ndindex(arr.shape)])


# ---- arrays that are changed ---------------------------------------------------------------------


@instead_of(np.copyto)
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    if not isinstance(dst, ArrayTracer | ZeroTracer):
        raise fail(MutationError, "np.copyto stores a traced value in an array that was made "
                                  "outside of the function; change a .copy() of it")  # fmt: skip
    if where is True:
        dst[...] = src
    else:
        dst[...] = np.where(where, src, dst)


@instead_of(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, around: bool = False) -> None:
    if not isinstance(a, ArrayTracer) or a.ndim != 2 or around:
        raise fail(MutationError, "np.fill_diagonal is traced for matrices made in the function")
    k = np.arange(min(a.shape))
    value = as_expr(val)
    if value.ndim:
        value = reshape(value, (value.size,))
        value = wrap_array(value)[np.arange(len(k)) % value.size].expr
    a[k, k] = wrap_array(value)


@instead_of(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    if not isinstance(a, ArrayTracer) or is_traced(ind) or mode != "raise":
        raise fail(MutationError, "np.put is traced for arrays made in the function and plain ind")
    index = np.asarray(plain(ind)).reshape(-1)
    values = wrap_array(reshape(as_expr(v), (as_expr(v).size,)))
    a[np.unravel_index(index % a.size, a.shape)] = values[np.arange(index.size) % values.size]


@instead_of(np.putmask)
def putmask(a: Any, mask: Any, values: Any) -> None:
    if not isinstance(a, ArrayTracer | ZeroTracer):
        raise fail(MutationError, "np.putmask is traced for arrays made in the function")
    value = as_expr(values)
    if value.ndim:
        flat = wrap_array(reshape(value, (value.size,)))
        value = flat[np.arange(a.size) % value.size].reshape(a.shape).expr
    a[...] = np.where(mask, wrap_array(value), a)


@instead_of(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    value = as_expr(vals)
    if value.size != 1 and is_traced(mask):
        raise fail(MutationError, "np.place by a traced mask is traced for a single value")
    if value.size == 1:
        return putmask(arr, mask, vals)
    where = np.nonzero(np.asarray(plain(mask)))
    flat = wrap_array(reshape(value, (value.size,)))
    arr[where] = flat[np.arange(where[0].size) % value.size]


# ---- functions of functions ----------------------------------------------------------------------


@instead_of(np.fromfunction)
def fromfunction(function: Any, shape: Any, *, dtype: Any = float, **kwargs: Any) -> Any:
    return call(function, *own_list(np.indices(shape, dtype=dtype)), **kwargs)


def own_list(values: Any) -> list[Any]:
    return [own(v.copy(), 3) for v in values]
