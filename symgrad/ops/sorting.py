"""The order of elements: which index stands at which place when the last axis is sorted.

The order is stable and NaN stands last, as in NumPy. Its elements are numbers of the operand's
dtype, for which whole numbers up to 2^24 are exact, since a kernel has one type. Sorted values are
the elements taken in this order: so derivatives are those of what takes elements.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError
from symgrad.expr.node import FLOATS, Expr, bind
from symgrad.expr.op import Kind, Op, register
from symgrad.ops.elementwise import convert
from symgrad.ops.linalg import CALLS, CallSpec
from symgrad.ops.linear import permute

_MOST = 2**24  # elements that float32 numbers


def argsort(x: Expr, axis: int) -> Expr:
    """The indices, int64, that sort `x` along `axis`; equal elements stay in their order."""
    if x.dtype in ("bool", "int32"):
        x = convert(x, "int64")
    row = "sort_order" if x.dtype in FLOATS else "sort_order_of_integers"
    if axis == x.ndim - 1:
        return convert(bind(row, x), "int64")
    axes = [k for k in range(x.ndim) if k != axis]
    turned = convert(bind(row, permute(x, (*axes, axis))), "int64")
    back = sorted(range(x.ndim), key=[*axes, axis].__getitem__)
    return permute(turned, tuple(back))


def _infer(x: Expr) -> tuple[tuple[int, ...], str]:
    if x.ndim < 1 or x.dtype == "float32" and x.shape[-1] > _MOST:
        raise ShapeError(f"sorting the last axis of shape {x.shape}")
    return x.shape, x.dtype


def _infer_integers(x: Expr) -> tuple[tuple[int, ...], str]:
    if x.dtype != "int64":
        raise DtypeError(f"expected int64, got {x.dtype}")
    return _infer(x)


def _evaluate(x: Any) -> Any:
    return np.argsort(x, axis=-1, kind="stable").astype(np.asarray(x).dtype)


def _none(ct: Expr, out: Expr, args: Any, attrs: Any) -> list[None]:
    return [None]


def _flops(args: Any, attrs: Any) -> int:
    n, size = int(args[0].shape[-1]), int(args[0].size)
    return 3 * size * max(n, 1).bit_length()


for _name, _types in (("sort_order", _infer), ("sort_order_of_integers", _infer_integers)):
    register(
        Op(
            _name, Kind.CALL, _types, _evaluate, vjp=_none,
            jvp=lambda tangents, out, args, attrs: None,
            batch=lambda args, batched, attrs, size, name=_name: bind(name, args[0]),
            cost=10, flops=_flops,
        )
    )  # fmt: skip
    CALLS[_name] = CallSpec(
        _name, lambda args, attrs: (args[0].shape[-1],), lambda attrs: (), (1, 1)
    )
