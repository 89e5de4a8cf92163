"""Sequential operations along one axis.

cumsum is linear. recurrence solves y_i = a_i y_{i-1} + b_i (y before the start is 0); it is closed
under differentiation, which makes prod and cumprod right with zeros at every order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad.errors import ShapeError
from symgrad.expr.node import Expr, bind, const
from symgrad.expr.op import Kind, Op, if_all, register
from symgrad.ops.linear import concat, counted, lead, ones_at, slice_

Attrs = tuple[Any, ...]
Args = tuple[Expr, ...]


def cumsum(x: Expr, axis: int, reverse: bool = False) -> Expr:
    """Running sum along `axis`, from the end if `reverse`."""
    return bind("cumsum", x, attrs=(axis, reverse))


def recurrence(a: Expr, b: Expr, axis: int, reverse: bool = False) -> Expr:
    """y_i = a_i y_{i-1} + b_i along `axis`, from the end if `reverse`."""
    return bind("recurrence", a, b, attrs=(axis, reverse))


def cumprod(x: Expr, axis: int) -> Expr:
    """Running product along `axis`."""
    n = x.shape[axis]
    if n == 0:
        return x
    first = _part(x, axis, 0, 1)
    zeros = const(0, x.dtype, tuple(n - 1 if k == axis else m for k, m in enumerate(x.shape)))
    return recurrence(x, concat([first, zeros], axis), axis)


def _part(x: Expr, axis: int, start: int, size: int) -> Expr:
    starts = tuple(start if k == axis else 0 for k in range(x.ndim))
    sizes = tuple(size if k == axis else n for k, n in enumerate(x.shape))
    return slice_(x, starts, sizes, (1,) * x.ndim)


def _shift(y: Expr, axis: int, reverse: bool) -> Expr:
    """The element before each one in the order of the scan; 0 at the start."""
    n = y.shape[axis]
    if n == 0:
        return y
    zero = const(0, y.dtype, tuple(1 if k == axis else m for k, m in enumerate(y.shape)))
    rest = _part(y, axis, 1 if reverse else 0, n - 1)
    return concat([rest, zero] if reverse else [zero, rest], axis)


def _infer(*args: Any) -> tuple[tuple[int, ...], str]:
    *operands, axis, _ = args
    first = operands[0]
    if not 0 <= axis < first.ndim or any(
        o.shape != first.shape or o.dtype != first.dtype for o in operands
    ):
        raise ShapeError(f"scan along axis {axis} of {[o.shape for o in operands]}")
    return first.shape, first.dtype


def _evaluate_cumsum(x: Any, axis: int, reverse: bool) -> Any:
    if reverse:
        return np.flip(np.cumsum(np.flip(x, axis), axis=axis, dtype=x.dtype), axis)
    return np.cumsum(x, axis=axis, dtype=x.dtype)


def _evaluate_recurrence(a: Any, b: Any, axis: int, reverse: bool) -> Any:
    a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    y = np.empty_like(b)
    previous = np.zeros(b.shape[1:], b.dtype)
    for i in range(len(b))[:: -1 if reverse else 1]:
        # the first step has no predecessor: 0 * inf must not appear there
        previous = a[i] * previous + b[i] if i != (len(b) - 1 if reverse else 0) else b[i]
        y[i] = previous
    return np.moveaxis(y, 0, axis)


def _recurrence_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr]:
    """s_i = ct_i + a_{i+1} s_{i+1} runs the other way; ā = s ⊙ shifted y, b̄ = s."""
    axis, reverse = attrs
    a = _shift(args[0], axis, not reverse)
    s = recurrence(a, ct, axis, not reverse)
    return [s * _shift(out, axis, reverse), s]


def _recurrence_jvp(tangents: list[Expr | None], out: Expr, args: Args, attrs: Attrs) -> Expr:
    axis, reverse = attrs
    da, db = tangents
    drive = None if da is None else da * _shift(out, axis, reverse)
    if db is not None:
        drive = db if drive is None else drive + db
    assert drive is not None
    return recurrence(args[0], drive, axis, reverse)


def _batch(name: str) -> Any:
    def batch(args: Args, batched: list[bool], attrs: Attrs, size: int) -> Expr:
        full = [a if b else lead(a, size) for a, b in zip(args, batched, strict=True)]
        return bind(name, *full, attrs=(attrs[0] + 1, attrs[1]))

    return batch


def _support(args: Args, attrs: Attrs, supports: Any) -> Expr | None:
    """From the first driving element on."""
    driving = supports[-1]
    return None if driving is None else counted(cumsum(ones_at(driving, args[-1]), *attrs))


# fmt: off
register(Op("cumsum", Kind.SCAN, _infer, _evaluate_cumsum, ("axis", "reverse"), batch=_batch("cumsum"), domain=((-3.0, 3.0),),
            transpose=lambda ct, args, attrs: cumsum(ct, attrs[0], not attrs[1]), support=_support, nonnegative=if_all))
register(Op("recurrence", Kind.SCAN, _infer, _evaluate_recurrence, ("axis", "reverse"), batch=_batch("recurrence"), cost=2,
            vjp=_recurrence_vjp, jvp=_recurrence_jvp, domain=((-3.0, 3.0), (-3.0, 3.0)), support=_support, nonnegative=if_all, rereads=True))
# fmt: on
