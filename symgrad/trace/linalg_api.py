"""Diagonals, convolutions, statistics, and linear algebra by the rows of ops/linalg."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from symgrad.errors import ShapeError, UnsupportedError
from symgrad.expr.node import Expr, array, bind, const, eye
from symgrad.ops.einsum import einsum as contract
from symgrad.ops.linear import broadcast_to, concat, pad, permute, reshape, sum_
from symgrad.trace import ufuncs
from symgrad.trace.products_api import dot, matmul, numbers
from symgrad.trace.reduce_api import _extremum
from symgrad.trace.registry import (
    as_expr,
    as_float,
    axis_list,
    dtype_name,
    implements,
    keep,
    refuse,
    to,
)
from symgrad.trace.shapes_api import along
from symgrad.trace.state import fail
from symgrad.trace.tracer import wrap


def _diagonal(x: Expr, offset: int, i: int, j: int) -> Expr:
    """The diagonal of axes i and j, as the last axis."""
    n, m = x.shape[i], x.shape[j]
    rows, columns = max(-offset, 0), max(offset, 0)
    size = max(min(n - rows, m - columns), 0)
    x = along(along(x, i, rows if size else 0, size), j, columns if size else 0, size)
    labels = ["d" if k in (i, j) else k for k in range(x.ndim)]
    if x.dtype == "bool":
        return to(
            contract([to(x, "int32")], [labels], [k for k in labels if k != "d"] + ["d"]), "bool"
        )
    return contract([x], [labels], [k for k in labels if k != "d"] + ["d"])


@implements("diagonal", "linalg.diagonal", view=True)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Expr:
    x = as_expr(a)
    i, j = axis_list((axis1, axis2), x.ndim, "diagonal")
    return _diagonal(x, operator.index(offset), i, j)


@implements("trace", "linalg.trace")
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Expr:
    x = as_expr(a)
    if dtype is not None:
        x = to(x, dtype_name(dtype))
    elif x.dtype in ("bool", "int32"):
        x = to(x, "int64")
    i, j = axis_list((axis1, axis2), x.ndim, "trace")
    d = _diagonal(x, operator.index(offset), i, j)
    return sum_(d, (d.ndim - 1,))


@implements("diag", view=lambda x: x.ndim == 2)
def diag(v: Any, k: int = 0) -> Expr:
    x = as_expr(v)
    if x.ndim == 2:
        return _diagonal(x, operator.index(k), 0, 1)
    if x.ndim != 1:
        raise fail(ShapeError, f"np.diag needs rank one or two, got shape {x.shape}")
    dtype = x.dtype
    x = to(x, "int32") if dtype == "bool" else x
    square = contract([x, eye(x.size, x.dtype)], ["i", "ij"], "ij")
    n, offset = x.size + abs(k), (max(-k, 0), max(k, 0))
    return to(pad(square, (n, n), offset, (1, 1)), dtype)


@implements("diagflat")
def diagflat(v: Any, k: int = 0) -> Expr:
    x = as_expr(v)
    return diag.__wrapped__(reshape(x, (x.size,)), k)


def _triangle(m: Any, k: int, lower: bool) -> Expr:
    x = as_expr(m)
    if x.ndim == 1:
        x = broadcast_to(x, (x.size, x.size))
    if x.ndim < 2:
        raise fail(ShapeError, "np.tril and np.triu need rank one or more")
    shape = x.shape[-2:]
    mask = np.tril(np.ones(shape, bool), k) if lower else np.triu(np.ones(shape, bool), k)
    return bind("select", broadcast_to(array(mask), x.shape), x, const(0, x.dtype, x.shape))


@implements("tril")
def tril(m: Any, k: int = 0) -> Expr:
    return _triangle(m, k, True)


@implements("triu")
def triu(m: Any, k: int = 0) -> Expr:
    return _triangle(m, k, False)


# ---- convolution, statistics ---------------------------------------------------------------------


@implements("convolve")
def convolve(a: Any, v: Any, mode: str = "full") -> Expr:
    """Σ_k a[n - k] v[k]: a sum of shifted copies of the longer operand."""
    x, y = numbers("convolve", a, v)
    x, y = (reshape(e, (1,)) if e.ndim == 0 else e for e in (x, y))
    if x.ndim != 1 or y.ndim != 1 or not x.size or not y.size:
        raise fail(
            ShapeError,
            f"np.convolve: two vectors with elements are needed, got {x.shape}, {y.shape}",
        )
    if y.size > x.size:
        x, y = y, x
    n, m = x.size, y.size
    # Column k of the windows is x shifted by k, so that the sum over k is one contraction.
    padded = pad(x, (n + 2 * (m - 1),), (m - 1,), (1,))
    rows = np.arange(n + m - 1)[:, None] + np.arange(m)[::-1]
    windows = bind("gather", padded, array(rows.astype(np.int64)), attrs=(0,))
    full = contract([windows, y], ["ik", "k"], "i")
    size, start = {"full": (n + m - 1, 0), "same": (n, (m - 1) // 2), "valid": (n - m + 1, m - 1)}[
        mode
    ]
    return along(full, 0, start, size)


@implements("correlate")
def correlate(a: Any, v: Any, mode: str = "valid") -> Expr:
    x, y = numbers("correlate", a, v)
    if x.ndim != 1 or y.ndim != 1:
        raise fail(ShapeError, f"np.correlate: two vectors are needed, got {x.shape}, {y.shape}")
    if y.size > x.size and mode != "full":
        raise fail(UnsupportedError, "np.correlate: the second operand must not be the longer one")
    return convolve.__wrapped__(x, along(y, 0, y.size - 1, y.size, -1), mode)


@implements("cov")
def cov(
    m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None
) -> Expr:
    first = as_expr(m)
    parts = [first] if y is None else [first, as_expr(y)]
    if any(p.ndim > 2 for p in parts):
        raise fail(ShapeError, f"np.cov: rank two at most, got shapes {[p.shape for p in parts]}")
    dtype = np.result_type(*[p.dtype for p in parts], np.float64).name
    rows = []
    for k, part in enumerate(parts):
        p = to(part, dtype)
        p = reshape(p, (1,) * (2 - p.ndim) + p.shape)
        vector = p.shape[0] == 1 if k else part.ndim != 2  # of y NumPy turns no single row
        rows.append(p if rowvar or vector else permute(p, (1, 0)))
    if not rows[0].shape[0]:
        return const(0, dtype, (0, 0))
    if any(p.shape[1] != rows[0].shape[1] for p in rows):
        raise fail(ShapeError, f"np.cov: shapes {[p.shape for p in parts]} do not match")
    x = concat(rows, 0)
    ddof = (0 if bias else 1) if ddof is None else ddof
    n = x.shape[1]
    centre = sum_(x, (1,)) / float(n)
    centred = x - broadcast_to(reshape(centre, (x.shape[0], 1)), x.shape)
    product_ = contract([centred, centred], ["ik", "jk"], "ij") / float(max(n - ddof, 0))
    return reshape(product_, tuple(k for k in product_.shape if k != 1))


# ---- linalg --------------------------------------------------------------------------------------


def _square(what: str, a: Any) -> Expr:
    x = as_float(as_expr(a))
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise fail(ShapeError, f"np.linalg.{what}: square matrices are needed, got shape {x.shape}")
    return x


@implements("linalg.norm")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Expr:
    e = as_float(as_expr(x))
    if axis is None:
        axes = list(range(e.ndim))
        if ord is not None and e.ndim not in (1, 2):
            raise fail(
                ShapeError, f"np.linalg.norm: ord={ord!r} needs a vector or a matrix, not {e.shape}"
            )
    else:
        axes = axis_list(axis, e.ndim, "norm")
    if not 1 <= len(axes) <= 2 and (axis is not None or ord is not None):
        raise fail(ShapeError, f"np.linalg.norm: one axis or two are needed, got {axis!r}")
    sorted_axes = tuple(sorted(axes))
    if ord is None or (ord == 2 and len(axes) == 1) or (ord == "fro" and len(axes) == 2):
        return keep(bind("norm", e, attrs=(sorted_axes,)), e, sorted_axes, keepdims)
    size = bind("absolute", e)
    if len(axes) == 1:
        return _vector_norm(e, size, ord, axes[0], keepdims)
    if len(axes) == 2 and ord in (1, -1, math.inf, -math.inf):
        summed, other = (axes[0], axes[1]) if abs(ord) == 1 else (axes[1], axes[0])
        sums = keep(sum_(size, (summed,)), e, (summed,), True)
        result = _extremum("max" if ord > 0 else "min", sums, (summed, other), False, None)
        return keep(result, e, sorted_axes, keepdims)
    raise fail(UnsupportedError, f"np.linalg.norm: ord={ord!r} over {len(axes)} axes is not traced")


def _vector_norm(e: Expr, size: Expr, ord: Any, k: int, keepdims: bool) -> Expr:
    if not isinstance(ord, (int, float)):
        raise fail(UnsupportedError, f"np.linalg.norm: ord={ord!r} is not traced for vectors")
    if math.isinf(ord):
        return _extremum("max" if ord > 0 else "min", size, k, keepdims, None)
    if ord == 0:
        total = sum_(to(ufuncs.truth(e), e.dtype), (k,))
    elif ord == 1:
        total = sum_(size, (k,))
    else:
        power = ufuncs.apply(np.power, size, float(ord))
        total = ufuncs.apply(np.power, sum_(power, (k,)), 1 / ord)
    return keep(total, e, (k,), keepdims)


@implements("linalg.vector_norm")
def vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Expr:
    e = as_float(as_expr(x))
    axes = list(range(e.ndim)) if axis is None else axis_list(axis, e.ndim, "vector_norm")
    if ord == 2:
        return keep(bind("norm", e, attrs=(tuple(sorted(axes)),)), e, tuple(axes), keepdims)
    if len(axes) == 1:
        return _vector_norm(e, bind("absolute", e), ord, axes[0], keepdims)
    if axis is None:
        flat = reshape(e, (e.size,))
        result = _vector_norm(flat, bind("absolute", flat), ord, 0, False)
        return keep(result, e, tuple(axes), keepdims)
    raise fail(UnsupportedError, "np.linalg.vector_norm over several axes is traced for ord=2 only")


@implements("linalg.matrix_norm")
def matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Expr:
    return norm.__wrapped__(x, ord, (-2, -1), keepdims)


@implements("linalg.solve")
def solve(a: Any, b: Any) -> Expr:
    x = _square("solve", a)
    y = as_float(as_expr(b))
    x, y = numbers("solve", x, y)
    vector = y.ndim == 1
    if vector:
        y = reshape(y, (y.shape[0], 1))
    if y.ndim < 2 or y.shape[-2] != x.shape[-1]:
        raise fail(ShapeError, f"np.linalg.solve: shapes {x.shape} and {y.shape} do not match")
    batch = ufuncs.broadcast_shape("np.linalg.solve", [x.shape[:-2], y.shape[:-2]])
    x, y = broadcast_to(x, (*batch, *x.shape[-2:])), broadcast_to(y, (*batch, *y.shape[-2:]))
    result = bind("solve", x, y)
    return reshape(result, result.shape[:-1]) if vector else result


def identity(x: Expr) -> Expr:
    """Identity matrices of the shape of `x`."""
    return broadcast_to(eye(x.shape[-1], x.dtype), x.shape)


@implements("linalg.inv")
def inv(a: Any) -> Expr:
    x = _square("inv", a)
    return bind("solve", x, identity(x))


@implements("linalg.det")
def det(a: Any) -> Expr:
    return bind("det", _square("det", a))


@implements("linalg.slogdet")
def slogdet(a: Any) -> Any:
    x = _square("slogdet", a)
    cls = type(np.linalg.slogdet(np.eye(1)))

    return cls(wrap(bind("detsign", x)), wrap(bind("logabsdet", x)))


def _symmetric(name: str, a: Any, triangle: str) -> Expr:
    """The matrix whose lower triangle is the one that is to be read."""
    x = _square(name, a)
    if triangle.upper() not in ("L", "U"):
        raise fail(ShapeError, f"np.linalg.{name}: UPLO must be 'L' or 'U', got {triangle!r}")
    swap = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
    return x if triangle.upper() == "L" else permute(x, swap)


@implements("linalg.eigvalsh")
def eigvalsh(a: Any, UPLO: str = "L") -> Expr:
    return bind("eigvalsh", _symmetric("eigvalsh", a, UPLO))


@implements("linalg.eigh")
def eigh(a: Any, UPLO: str = "L") -> Any:
    x = _symmetric("eigh", a, UPLO)
    cls = type(np.linalg.eigh(np.eye(1)))
    return cls(wrap(bind("eigvalsh", x)), wrap(bind("eigenvectors", x)))


@implements("linalg.cholesky")
def cholesky(a: Any, *, upper: bool = False) -> Expr:
    x = _square("cholesky", a)
    if upper:
        swap = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
        return permute(bind("cholesky", permute(x, swap)), swap)
    return bind("cholesky", x)


@implements("linalg.matrix_power")
def matrix_power(a: Any, n: int) -> Expr:
    x = as_expr(a)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise fail(ShapeError, f"np.linalg.matrix_power: square matrices are needed, got {x.shape}")
    n = operator.index(n)
    if n < 0:
        x, n = inv.__wrapped__(x), -n
    if n == 0:
        return identity(x)
    result: Expr | None = None
    while n:
        if n % 2:
            result = x if result is None else matmul.__wrapped__(result, x)
        n //= 2
        if n:
            x = matmul.__wrapped__(x, x)
    assert result is not None
    return result


@implements("linalg.multi_dot")
def multi_dot(arrays: Any) -> Expr:
    xs = [as_expr(a) for a in arrays]
    result = xs[0]
    for x in xs[1:]:
        result = dot.__wrapped__(result, x)
    return result


for _name in (
    "eig",
    "eigvals",
    "svd",
    "svdvals",
    "qr",
    "pinv",
    "lstsq",
    "cond",
    "matrix_rank",
):
    refuse("linalg." + _name)
