"""Functions of SciPy that are Python code there, and so cannot be traced: same names, same
signatures.

They take tracers as well as plain arrays. SciPy's ufuncs (erf, gammaln, expit, xlogy, …) need no
replacement; they are traced by name.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.errors import ShapeError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import FLOATS, Expr, bind, const
from symgrad.ops.linear import broadcast_to, reshape, sum_
from symgrad.trace import indexing, ufuncs
from symgrad.trace.handle import as_expr, contains_tracer
from symgrad.trace.known import is_traced
from symgrad.trace.registry import as_float, axes_of, keep, to
from symgrad.trace.state import fail
from symgrad.trace.tracer import Tracer, weak_operand, wrap


def give(result: Expr, *given: Any) -> Any:
    """A tracer if any argument was one, else the number or array."""
    if any(isinstance(v, Tracer) or contains_tracer(v) for v in given):
        return wrap(result)
    return evaluate([result], {})[0][()]


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False) -> Any:
    """log Σ b exp(a) along `axis`, without overflow; -inf over no elements.

    Where the sum is negative the result is NaN, as in SciPy.

    >>> float(logsumexp([1000.0, 1000.0])) - 1000.0 < 0.6932
    True
    """
    x, weights = as_expr(a), None
    if b is None:
        x = as_float(x)
    else:
        given = [x, weak_operand(b)]
        dtype = ufuncs.promote(given)
        x, weights = ufuncs.together("logsumexp", given, dtype if dtype in FLOATS else "float64")
    axes = axes_of(axis, x, "logsumexp")
    if any(x.shape[k] == 0 for k in axes):
        rest = tuple(n for k, n in enumerate(x.shape) if k not in axes)
        result = const(-np.inf, x.dtype, rest)
    elif weights is None:
        result = bind("logsumexp", x, attrs=(axes,))
    elif not is_traced(b) and np.all(np.asarray(b) >= 0):
        result = bind("logsumexp", x + bind("log", weights), attrs=(axes,))
    else:
        result = _weighted(x, weights, axes)
    return give(keep(result, x, axes, keepdims), a, b)


def _weighted(x: Expr, weights: Expr, axes: tuple[int, ...]) -> Expr:
    """log Σ b exp(x) for weights of any sign; the shift drops out, also of every derivative.

    What has no weight has no part in the shift, and its exponential must not be infinite.
    """
    none = bind("equal", weights, const(0, x.dtype, x.shape))
    top = bind("max", bind("select", none, const(-np.inf, x.dtype, x.shape), x), attrs=(axes,))
    top = bind("stop_gradient", top)
    top = bind("select", bind("isfinite", top), top, const(0, x.dtype, top.shape))
    shift = broadcast_to(keep(top, x, axes, True), x.shape)
    most = const(600 if x.dtype == "float64" else 80, x.dtype, x.shape)
    shifted = bind("select", none, bind("minimum", x - shift, most), x - shift)
    return bind("log", sum_(weights * bind("exp", shifted), axes)) + top


def softmax(x: Any, axis: Any = None) -> Any:
    """exp(x) / Σ exp(x) along `axis`, without overflow."""
    e = as_float(as_expr(x))
    return give(bind("softmax", e, attrs=(axes_of(axis, e, "softmax"),)), x)


def log_softmax(x: Any, axis: Any = None) -> Any:
    """x - logsumexp(x) along `axis`."""
    e = as_float(as_expr(x))
    axes = axes_of(axis, e, "log_softmax")
    total = keep(bind("logsumexp", e, attrs=(axes,)), e, axes, True)
    return give(e - broadcast_to(total, e.shape), x)


def solve_triangular(
    a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False,
    overwrite_b: bool = False, check_finite: bool = True,
) -> Any:  # fmt: skip
    """The x with a x = b (or aᵀ x = b, for trans=1 or "T") for a triangular matrix `a`."""
    m, y = as_float(as_expr(a)), as_float(as_expr(b))
    dtype = ufuncs.promote([m, y])
    m, y = to(m, dtype), to(y, dtype)
    if m.ndim < 2 or m.shape[-1] != m.shape[-2]:
        raise fail(ShapeError, f"solve_triangular: square matrices are needed, got shape {m.shape}")
    vector = y.ndim == 1
    if vector:
        y = reshape(y, (y.shape[0], 1))
    if y.ndim < 2 or y.shape[-2] != m.shape[-1]:
        raise fail(ShapeError, f"solve_triangular: shapes {m.shape} and {y.shape} do not match")
    batch = ufuncs.broadcast_shape("solve_triangular", [m.shape[:-2], y.shape[:-2]])
    m, y = broadcast_to(m, (*batch, *m.shape[-2:])), broadcast_to(y, (*batch, *y.shape[-2:]))
    transposed = trans in (1, "T", 2, "C")
    attrs = (bool(lower), transposed, bool(unit_diagonal))
    result = bind("solve_triangular", m, y, attrs=attrs)
    return give(reshape(result, result.shape[:-1]) if vector else result, a, b)


def polygamma(n: Any, x: Any) -> Any:
    """The n-th derivative of digamma; `n` is a plain integer, the result float64."""
    e = to(as_expr(x), "float64")
    order = float(operator.index(n))
    return give(bind("polygamma", ufuncs.convert(order, e.dtype, e.shape), e), x)


def take(a: Any, indices: Any, axis: Any = None) -> Any:
    """a[indices] along `axis`, for a plain array `a` and traced `indices`.

    NumPy cannot do this with ``a[i]``: a plain array asks the index for its value.
    """
    x = as_expr(a)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    index = (
        as_expr(indices)
        if isinstance(indices, Tracer) or contains_tracer(indices)
        else np.asarray(indices)
    )
    if not isinstance(index, Expr) and not index.size:
        index = index.astype(np.int64)
    place = axes_of(axis, x, "take")[0]
    items = indexing.parse(x.shape, (slice(None),) * place + (index,))
    return give(indexing.get(x, items), a, indices)


def multigammaln(a: Any, d: Any) -> Any:
    """log of the multivariate gamma function; `d` is a plain integer."""
    e, d = to(as_expr(a), "float64"), operator.index(d)
    total = const(d * (d - 1) / 4 * math.log(math.pi), "float64", e.shape)
    for j in range(d):
        total = total + bind("gammaln", e - j / 2)
    return give(total, a)


NAMES: dict[str, Callable[..., Any]] = {
    f"scipy.special.{f.__name__}": f
    for f in (logsumexp, softmax, log_softmax, polygamma, multigammaln)
}
