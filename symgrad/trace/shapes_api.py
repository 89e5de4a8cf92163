"""NumPy's functions that move elements of one array: reshape, transpose, flip, repeat, pad."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from symgrad.errors import ConcretizationError, ShapeError, UnsupportedError
from symgrad.expr.node import Expr, array, const
from symgrad.ops.linear import broadcast_to as _broadcast_to
from symgrad.ops.linear import concat, gather, permute
from symgrad.ops.linear import pad as _pad
from symgrad.ops.linear import reshape as _reshape
from symgrad.trace import indexing, ufuncs
from symgrad.trace.handle import contains_tracer
from symgrad.trace.registry import as_expr, axis_list, cast, dtype_name, implements, one_axis, to
from symgrad.trace.state import fail
from symgrad.trace.tracer import Tracer


def _shape(shape: Any, size: int | None = None, what: str = "reshape") -> tuple[int, ...]:
    """A shape as the user gives it, with -1 worked out."""
    try:
        given = [operator.index(shape)]
    except TypeError as error:
        if isinstance(error, ConcretizationError):
            raise
        given = [operator.index(n) for n in shape]
    if size is not None and given.count(-1) == 1:
        rest = 1
        for n in given:
            rest *= n if n != -1 else 1
        if rest == 0 or size % rest:
            raise fail(ShapeError, f"cannot {what} {size} elements into {tuple(given)}")
        given[given.index(-1)] = size // rest
    if any(n < 0 for n in given):
        raise fail(ShapeError, f"{what}: the shape {tuple(given)} has negative sizes")
    return tuple(given)


def _row_major(what: str, order: str) -> None:
    if order != "C":
        raise fail(
            UnsupportedError,
            f"np.{what}: order={order!r} is not traced; transpose first: x.T.ravel()",
        )


@implements("reshape", view=True)
def reshape(a: Any, shape: Any = None, order: str = "C") -> Expr:
    _row_major("reshape", order)
    x = as_expr(a)
    wanted = _shape(() if shape is None else shape, x.size)
    size = 1
    for n in wanted:
        size *= n
    if size != x.size:
        raise fail(ShapeError, f"cannot reshape an array of shape {x.shape} into {wanted}")
    return _reshape(x, wanted)


@implements("ravel", view=True)
def ravel(a: Any, order: str = "C") -> Expr:
    _row_major("ravel", order)
    x = as_expr(a)
    return _reshape(x, (x.size,))


@implements("flatten")
def flatten(a: Any, order: str = "C") -> Expr:
    return ravel.__wrapped__(a, order)


@implements("astype")
def astype(x: Any, dtype: Any, copy: bool = True) -> Any:
    e = as_expr(x)
    return x if not copy and e.dtype == dtype_name(dtype) else to(e, dtype_name(dtype))


@implements("transpose", "permute_dims", view=True)
def transpose(a: Any, axes: Any = None) -> Expr:
    x = as_expr(a)
    if axes is None:
        return permute(x, tuple(range(x.ndim))[::-1])
    order = axis_list(tuple(axes), x.ndim, "transpose")
    if len(order) != x.ndim:
        raise fail(ShapeError, f"np.transpose: {len(order)} axes for an array of rank {x.ndim}")
    return permute(x, tuple(order))


@implements("matrix_transpose", "linalg.matrix_transpose", view=True)
def matrix_transpose(x: Any) -> Expr:
    e = as_expr(x)
    if e.ndim < 2:
        raise fail(ShapeError, "a matrix transpose needs rank two or more")
    return permute(e, (*range(e.ndim - 2), e.ndim - 1, e.ndim - 2))


@implements("swapaxes", view=True)
def swapaxes(a: Any, axis1: int, axis2: int) -> Expr:
    x = as_expr(a)
    i, j = one_axis(axis1, x.ndim, "swapaxes"), one_axis(axis2, x.ndim, "swapaxes")
    order = list(range(x.ndim))
    order[i], order[j] = j, i
    return permute(x, tuple(order))


@implements("moveaxis", view=True)
def moveaxis(a: Any, source: Any, destination: Any) -> Expr:
    x = as_expr(a)
    old, new = axis_list(source, x.ndim, "moveaxis"), axis_list(destination, x.ndim, "moveaxis")
    if len(old) != len(new):
        raise fail(ShapeError, "np.moveaxis: as many destinations as sources are needed")
    order = [k for k in range(x.ndim) if k not in old]
    for place, axis in sorted(zip(new, old, strict=True)):
        order.insert(place, axis)
    return permute(x, tuple(order))


@implements("rollaxis", view=True)
def rollaxis(a: Any, axis: int, start: int = 0) -> Expr:
    x = as_expr(a)
    k = one_axis(axis, x.ndim, "rollaxis")
    if not -x.ndim <= start <= x.ndim:
        raise fail(ShapeError, f"np.rollaxis: start {start} for an array of rank {x.ndim}")
    start = start + x.ndim if start < 0 else start
    order = [i for i in range(x.ndim) if i != k]
    order.insert(start - 1 if k < start else start, k)
    return permute(x, tuple(order))


@implements("squeeze", view=True)
def squeeze(a: Any, axis: Any = None) -> Expr:
    x = as_expr(a)
    if axis is None:
        return _reshape(x, tuple(n for n in x.shape if n != 1))
    axes = axis_list(axis, x.ndim, "squeeze")
    if any(x.shape[k] != 1 for k in axes):
        raise fail(
            ShapeError, f"np.squeeze: axes {axes} of shape {x.shape} are not all of size one"
        )
    return _reshape(x, tuple(n for k, n in enumerate(x.shape) if k not in axes))


@implements("expand_dims", view=True)
def expand_dims(a: Any, axis: Any) -> Expr:
    x = as_expr(a)
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    new = axis_list(axis, x.ndim + count, "expand_dims")
    sizes = iter(x.shape)
    return _reshape(x, tuple(1 if k in new else next(sizes) for k in range(x.ndim + count)))


def at_least(rank: int, arys: tuple[Any, ...]) -> Any:
    results = []
    for a in arys:
        x = as_expr(a)
        if rank == 3 and x.ndim == 2:
            x = _reshape(x, (*x.shape, 1))
        elif rank == 3 and x.ndim == 1:
            x = _reshape(x, (1, *x.shape, 1))
        else:
            x = _reshape(x, (1,) * (rank - x.ndim) + x.shape)
        results.append(x)
    return results[0] if len(results) == 1 else tuple(results)


@implements("atleast_1d", view=True)
def atleast_1d(*arys: Any) -> Any:
    return at_least(1, arys)


@implements("atleast_2d", view=True)
def atleast_2d(*arys: Any) -> Any:
    return at_least(2, arys)


@implements("atleast_3d", view=True)
def atleast_3d(*arys: Any) -> Any:
    return at_least(3, arys)


@implements("broadcast_to", view=True)
def broadcast_to(array: Any, shape: Any) -> Expr:
    x, wanted = as_expr(array), _shape(shape, None, "broadcast")
    try:
        return _broadcast_to(x, wanted)
    except ShapeError as error:
        raise fail(ShapeError, str(error)) from None


@implements("broadcast_arrays", views=True)
def broadcast_arrays(*args: Any) -> Any:
    xs = [as_expr(a) for a in args]
    shape = ufuncs.broadcast_shape("np.broadcast_arrays", [x.shape for x in xs])
    return tuple([_broadcast_to(x, shape) for x in xs])


def along(x: Expr, k: int, start: int, size: int, step: int = 1) -> Expr:
    """A part of one axis."""
    return indexing.part(
        x, [(start, size, step) if i == k else (0, n, 1) for i, n in enumerate(x.shape)]
    )


# ---- reversing, rolling, repeating -------------------------------------------------------------


def _flip(x: Expr, axes: list[int]) -> Expr:
    return indexing.part(
        x, [(n - 1, n, -1) if k in axes and n else (0, n, 1) for k, n in enumerate(x.shape)]
    )


@implements("flip", view=True)
def flip(m: Any, axis: Any = None) -> Expr:
    x = as_expr(m)
    return _flip(x, list(range(x.ndim)) if axis is None else axis_list(axis, x.ndim, "flip"))


@implements("flipud", view=True)
def flipud(m: Any) -> Expr:
    return flip.__wrapped__(m, 0)


@implements("fliplr", view=True)
def fliplr(m: Any) -> Expr:
    return flip.__wrapped__(m, 1)


@implements("rot90", view=True)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Expr:
    x = as_expr(m)
    i, j = axis_list(tuple(axes), x.ndim, "rot90")
    order = list(range(x.ndim))
    order[i], order[j] = j, i
    k %= 4
    if k == 0:
        return x
    if k == 2:
        return _flip(x, [i, j])
    return permute(_flip(x, [j]), tuple(order)) if k == 1 else _flip(permute(x, tuple(order)), [j])


@implements("roll")
def roll(a: Any, shift: Any, axis: Any = None) -> Expr:
    x = as_expr(a)
    if axis is None:
        return _reshape(roll.__wrapped__(_reshape(x, (x.size,)), shift, 0), x.shape)
    axes = list(axis) if isinstance(axis, (tuple, list)) else [axis]
    shifts = list(shift) if isinstance(shift, (tuple, list)) else [shift]
    if len(axes) != len(shifts):
        axes, shifts = (
            axes * (len(shifts) if len(axes) == 1 else 1),
            shifts * (len(axes) if len(shifts) == 1 else 1),
        )
    for s, a_ in zip(shifts, axes, strict=True):
        k = one_axis(a_, x.ndim, "roll")
        n = x.shape[k]
        offset = operator.index(s) % n if n else 0
        if offset:
            x = concat([along(x, k, n - offset, offset), along(x, k, 0, n - offset)], k)
    return x


@implements("tile")
def tile(A: Any, reps: Any) -> Expr:
    x = as_expr(A)
    counts = _shape(reps, None, "tile")
    rank = max(x.ndim, len(counts))
    counts = (1,) * (rank - len(counts)) + counts
    shape = (1,) * (rank - x.ndim) + x.shape
    wide = tuple(v for pair in zip(counts, shape, strict=True) for v in pair)
    core = _reshape(x, tuple(v for n in shape for v in (1, n)))
    return _reshape(
        _broadcast_to(core, wide), tuple(c * n for c, n in zip(counts, shape, strict=True))
    )


@implements("repeat")
def repeat(a: Any, repeats: Any, axis: Any = None) -> Expr:
    x = as_expr(a)
    if axis is None:
        x, axis = _reshape(x, (x.size,)), 0
    k = one_axis(axis, x.ndim, "repeat")
    n = x.shape[k]
    if isinstance(repeats, Tracer):
        repeats.__index__()
    counts = np.asarray(repeats)
    if (counts < 0).any():
        raise fail(ShapeError, "np.repeat: counts must not be negative")
    if counts.size == 1:
        count = int(counts.reshape(-1)[0])
        wide = (*x.shape[: k + 1], count, *x.shape[k + 1 :])
        core = _reshape(x, (*x.shape[: k + 1], 1, *x.shape[k + 1 :]))
        return _reshape(_broadcast_to(core, wide), (*x.shape[:k], n * count, *x.shape[k + 1 :]))
    if counts.shape != (n,):
        raise fail(ShapeError, f"np.repeat: {counts.shape} counts for an axis of {n}")
    return gather(x, array(np.repeat(np.arange(n), counts)), k)


@implements("resize")
def resize(a: Any, new_shape: Any) -> Expr:
    x, wanted = as_expr(a), _shape(new_shape, None, "resize")
    size = int(np.prod(wanted))
    if not size or not x.size:
        return const(0, x.dtype, wanted)
    return _reshape(gather(_reshape(x, (x.size,)), array(np.arange(size) % x.size), 0), wanted)


@implements("pad")
def pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Expr:
    x = as_expr(array)
    if isinstance(pad_width, dict):
        raise fail(UnsupportedError, "np.pad: a dict as pad_width is not supported while tracing")
    widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist()
    if np.any(np.asarray(pad_width) < 0):
        raise fail(ShapeError, "np.pad: widths must not be negative")
    if mode == "constant":
        return _pad_constant(x, widths, constant_values)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise fail(UnsupportedError, f"np.pad: mode {mode!r} is not supported while tracing")
    for k, (before, after) in enumerate(widths):
        if before or after:
            # NumPy itself says which element comes from where.
            source = np.pad(np.arange(x.shape[k]), (before, after), mode=mode)  # type: ignore
            x = gather(x, _constant(source), k)
    return x


def _constant(value: np.ndarray) -> Expr:
    return array(np.ascontiguousarray(value, np.int64))


def _pad_constant(x: Expr, widths: list[list[int]], values: Any) -> Expr:
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True))
    if not contains_tracer(values) and not isinstance(values, Tracer):
        numbers = np.broadcast_to(np.asarray(values), (x.ndim, 2))
        if not numbers.any():
            return _pad(x, shape, tuple(a for a, _ in widths), (1,) * x.ndim) if x.ndim else x
        fills: list[list[Any]] = [
            [cast(v, x.dtype, "np.pad: constant_values") for v in pair] for pair in numbers.tolist()
        ]
    else:
        e = as_expr(values)
        if e.ndim:
            raise fail(UnsupportedError, "np.pad: a traced constant_values must be one number")
        fills = [[e, e]] * x.ndim
    for k, ((before, after), (low, high)) in enumerate(zip(widths, fills, strict=True)):
        parts = [x]
        for width, fill, place in ((before, low, 0), (after, high, 2)):
            if width:
                size = tuple(width if i == k else n for i, n in enumerate(x.shape))
                parts.insert(place, ufuncs.convert(fill, x.dtype, size))
        x = concat(parts, k)
    return x
