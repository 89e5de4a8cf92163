"""Products of arrays: everything multilinear is one einsum."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError, UnsupportedError
from symgrad.expr.node import Expr
from symgrad.ops.einsum import einsum as contract
from symgrad.ops.einsum import parse
from symgrad.ops.linear import broadcast_to, concat, permute, reshape
from symgrad.trace import ufuncs
from symgrad.trace.registry import as_expr, axis_list, dtype_name, implements, one_axis, to
from symgrad.trace.shapes_api import along
from symgrad.trace.state import fail


def numbers(what: str, *values: Any) -> list[Expr]:
    """Operands of a product in their common dtype."""
    xs = [as_expr(v) for v in values]
    dtype = ufuncs.promote(list(xs))
    if dtype == "bool":
        raise fail(DtypeError, f"{what} of bool arrays is not supported; convert with .astype(int)")
    return [to(x, dtype) for x in xs]


def product(what: str, xs: list[Expr], inputs: list[list[Any]], output: list[Any]) -> Expr:
    """An einsum in which labels of size one broadcast, as batch axes do in NumPy."""
    size: dict[Any, int] = {}
    for x, labels in zip(xs, inputs, strict=True):
        for label, n in zip(labels, x.shape, strict=True):
            if n != 1 or label not in size:
                if size.get(label, 1) not in (1, n):
                    shapes = " and ".join(str(x.shape) for x in xs)
                    raise fail(ShapeError, f"{what}: shapes {shapes} do not match")
                size[label] = n
    factors, terms = [], []
    for x, labels in zip(xs, inputs, strict=True):
        kept = [
            k for k, (label, n) in enumerate(zip(labels, x.shape, strict=True)) if n == size[label]
        ]
        factors.append(reshape(x, tuple(x.shape[k] for k in kept)))
        terms.append([labels[k] for k in kept])
    return contract(factors, terms, output)


def _batch(rank: int) -> list[Any]:
    return [("batch", k) for k in range(-rank, 0)]


def _core(what: str, a: Any, b: Any, left: str, right: str, out: str) -> Expr:
    """A product over core axes with broadcast leading axes."""
    x, y = numbers(what, a, b)
    if x.ndim < len(left) or y.ndim < len(right):
        raise fail(ShapeError, f"{what}: shapes {x.shape} and {y.shape} have too few axes")
    size: dict[str, int] = {}
    ends = (*x.shape[x.ndim - len(left) :], *y.shape[y.ndim - len(right) :])
    for label, n in zip(left + right, ends, strict=True):
        if size.setdefault(label, n) != n:
            raise fail(
                ShapeError,
                f"{what}: shapes {x.shape} and {y.shape} do not match: {size[label]} and {n}",
            )
    bx, by = _batch(x.ndim - len(left)), _batch(y.ndim - len(right))
    batch = bx if len(bx) > len(by) else by
    return product(what, [x, y], [[*bx, *left], [*by, *right]], [*batch, *out])


@implements("matmul", "linalg.matmul")
def matmul(x1: Any, x2: Any) -> Expr:
    x, y = as_expr(x1), as_expr(x2)
    if not x.ndim or not y.ndim:
        raise fail(ShapeError, f"matmul: shapes {x.shape} and {y.shape}; use * for numbers")
    left = "k" if x.ndim == 1 else "ik"
    right = "k" if y.ndim == 1 else "kj"
    return _core("matmul", x, y, left, right, left[:-1] + right[1:])


@implements("matvec")
def matvec(x1: Any, x2: Any) -> Expr:
    return _core("matvec", x1, x2, "ik", "k", "i")


@implements("vecmat")
def vecmat(x1: Any, x2: Any) -> Expr:
    return _core("vecmat", x1, x2, "k", "kj", "j")


@implements("vecdot", "linalg.vecdot")
def vecdot(x1: Any, x2: Any, axis: int = -1) -> Expr:
    if axis != -1:
        raise fail(
            UnsupportedError, "np.vecdot: axis is not supported while tracing; move it to the end"
        )
    return _core("vecdot", x1, x2, "k", "k", "")


@implements("dot")
def dot(a: Any, b: Any) -> Expr:
    x, y = numbers("dot", a, b)
    if not x.ndim or not y.ndim:
        return ufuncs.apply(np.multiply, x, y)
    right = [("y", k) for k in range(y.ndim)]
    right[-1 if y.ndim == 1 else -2] = "k"  # type: ignore[call-overload]
    left = [*(("x", k) for k in range(x.ndim - 1)), "k"]
    if x.shape[-1] != y.shape[right.index("k")]:  # type: ignore[arg-type]
        raise fail(ShapeError, f"dot: shapes {x.shape} and {y.shape} do not match")
    return contract([x, y], [left, right], [k for k in [*left, *right] if k != "k"])


@implements("inner")
def inner(a: Any, b: Any) -> Expr:
    x, y = numbers("inner", a, b)
    if not x.ndim or not y.ndim:
        return ufuncs.apply(np.multiply, x, y)
    if x.shape[-1] != y.shape[-1]:
        raise fail(ShapeError, f"inner: the last axes of {x.shape} and {y.shape} differ")
    left, right = [("x", k) for k in range(x.ndim - 1)], [("y", k) for k in range(y.ndim - 1)]
    return contract([x, y], [[*left, "k"], [*right, "k"]], [*left, *right])


@implements("vdot")
def vdot(a: Any, b: Any) -> Expr:
    x, y = numbers("vdot", a, b)
    if x.size != y.size:
        raise fail(ShapeError, f"vdot: {x.size} and {y.size} elements")
    return contract([reshape(x, (x.size,)), reshape(y, (y.size,))], ["k", "k"], "")


@implements("outer", "linalg.outer")
def outer(a: Any, b: Any) -> Expr:
    x, y = numbers("outer", a, b)
    return contract([reshape(x, (x.size,)), reshape(y, (y.size,))], ["i", "j"], "ij")


@implements("tensordot", "linalg.tensordot")
def tensordot(a: Any, b: Any, axes: Any = 2) -> Expr:
    x, y = numbers("tensordot", a, b)
    if np.ndim(axes) == 0:
        n = operator.index(axes)
        axes_x, axes_y = list(range(x.ndim - n, x.ndim)), list(range(n))
    else:
        axes_x, axes_y = (
            axis_list(k, e.ndim, "tensordot") for k, e in zip(axes, (x, y), strict=True)
        )
    if len(axes_x) != len(axes_y) or any(
        x.shape[i] != y.shape[j] for i, j in zip(axes_x, axes_y, strict=True)
    ):
        raise fail(
            ShapeError,
            f"tensordot: axes {axes_x} of {x.shape} and {axes_y} of {y.shape} do not match",
        )
    left = [("k", axes_x.index(k)) if k in axes_x else ("x", k) for k in range(x.ndim)]
    right = [("k", axes_y.index(k)) if k in axes_y else ("y", k) for k in range(y.ndim)]
    return contract([x, y], [left, right], [k for k in [*left, *right] if k[0] != "k"])


@implements("einsum")
def einsum(*operands: Any, dtype: Any = None) -> Expr:
    if not isinstance(operands[0], str):
        return _einsum_lists(operands, dtype)
    spec, *values = operands
    xs = numbers("einsum", *values)
    try:
        inputs, output = parse(spec, [x.ndim for x in xs])
    except ShapeError as error:
        raise fail(ShapeError, str(error)) from None
    result = product("einsum", xs, inputs, output)
    return result if dtype is None else to(result, dtype_name(dtype))


def _einsum_lists(operands: tuple[Any, ...], dtype: Any) -> Expr:
    """einsum(a, [0, 1], b, [1, 2], [0, 2])"""
    values, inputs = list(operands[: len(operands) // 2 * 2 : 2]), list(operands[1::2])
    xs = numbers("einsum", *values)
    if any(Ellipsis in labels for labels in inputs):
        raise fail(
            UnsupportedError, "einsum: ellipses in lists are not traced; use the string form"
        )
    flat = [k for labels in inputs for k in labels]
    output = (
        list(operands[-1])
        if len(operands) % 2
        else sorted(k for k in set(flat) if flat.count(k) == 1)
    )
    result = product("einsum", xs, [list(labels) for labels in inputs], output)
    return result if dtype is None else to(result, dtype_name(dtype))


@implements("kron")
def kron(a: Any, b: Any) -> Expr:
    x, y = numbers("kron", a, b)
    rank = max(x.ndim, y.ndim)
    x, y = (reshape(e, (1,) * (rank - e.ndim) + e.shape) for e in (x, y))
    left, right = [("x", k) for k in range(rank)], [("y", k) for k in range(rank)]
    pairs = [k for pair in zip(left, right, strict=True) for k in pair]
    wide = contract([x, y], [left, right], pairs)
    return reshape(wide, tuple(n * m for n, m in zip(x.shape, y.shape, strict=True)))


@implements("cross", "linalg.cross")
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Expr:
    x, y = numbers("cross", a, b)
    if axis is not None:
        axisa = axisb = axisc = axis
    i, j = one_axis(axisa, x.ndim, "cross"), one_axis(axisb, y.ndim, "cross")
    x = permute(x, (*(k for k in range(x.ndim) if k != i), i))
    y = permute(y, (*(k for k in range(y.ndim) if k != j), j))
    if x.shape[-1] != 3 or y.shape[-1] != 3:
        raise fail(
            ShapeError, f"np.cross: vectors must have three components, got {x.shape} and {y.shape}"
        )
    shape = ufuncs.broadcast_shape("np.cross", [x.shape, y.shape])
    x, y = broadcast_to(x, shape), broadcast_to(y, shape)

    def rolled(e: Expr, by: int) -> Expr:
        return concat([along(e, e.ndim - 1, (k + by) % 3, 1) for k in range(3)], e.ndim - 1)

    result = rolled(x, 1) * rolled(y, 2) - rolled(x, 2) * rolled(y, 1)
    c = one_axis(axisc, result.ndim, "cross")
    order = list(range(result.ndim - 1))
    order.insert(c, result.ndim - 1)
    return permute(result, tuple(order))
