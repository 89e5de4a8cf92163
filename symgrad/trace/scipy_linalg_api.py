"""scipy.linalg, scipy.spatial.distance and scipy.optimize's test functions on traced arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.errors import ShapeError, UnsupportedError
from symgrad.expr.node import array, bind, const, eye
from symgrad.ops.linear import broadcast_to, concat, gather, reshape
from symgrad.trace import ufuncs
from symgrad.trace.handle import as_expr
from symgrad.trace.registry import as_float
from symgrad.trace.scipy_api import give, solve_triangular
from symgrad.trace.state import fail
from symgrad.trace.tables import SUPPORTED
from symgrad.trace.tracer import Tracer, wrap

# ---- linear algebra --------------------------------------------------------------------------


def _traced(x: Any) -> Any:
    """A tracer of `x`, in floats, whatever it is."""
    return wrap(as_float(as_expr(x)))


def _matrix(what: str, a: Any) -> Any:
    x = _traced(a)
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        raise fail(ShapeError, f"scipy.linalg.{what}: a square matrix is needed, got {x.shape}")
    return x


def _from_triangle(x: Any, lower: bool) -> Any:
    """The symmetric matrix of which one triangle is given, as LAPACK reads it."""
    half = np.tril(x) if lower else np.triu(x)
    off = np.tril(x, -1) if lower else np.triu(x, 1)
    return half + np.transpose(off)


_GENERAL = (None, "gen", "general", "diagonal", "tridiagonal", "banded", "upper triangular",
            "lower triangular")  # fmt: skip
_SYMMETRIC = ("sym", "symmetric", "her", "hermitian", "pos", "positive definite")


def solve(
    a: Any, b: Any, lower: bool = False, overwrite_a: bool = False, overwrite_b: bool = False,
    check_finite: bool = True, assume_a: Any = None, transposed: bool = False,
) -> Any:  # fmt: skip
    """The x with a x = b; of a matrix that is assumed symmetric one triangle is read."""
    x = _matrix("solve", a)
    if assume_a in _SYMMETRIC:
        x = _from_triangle(x, bool(lower))
    elif assume_a not in _GENERAL:
        raise fail(UnsupportedError, f"scipy.linalg.solve: assume_a={assume_a!r} is not traced")
    if transposed:
        x = np.transpose(x)
    return give(SUPPORTED["linalg.solve"](x, _traced(b)).expr, a, b)


def inv(a: Any, overwrite_a: bool = False, check_finite: bool = True, **options: Any) -> Any:
    """The inverse matrix."""
    return give(SUPPORTED["linalg.inv"](_matrix("inv", a)).expr, a)


def det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """The determinant."""
    return give(SUPPORTED["linalg.det"](_traced(a)).expr, a)


def cholesky(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    """The lower or upper triangular factor; reads that triangle of `a`."""
    x = _traced(a)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise fail(ShapeError, f"scipy.linalg.cholesky: square matrices are needed, got {x.shape}")
    return give(SUPPORTED["linalg.cholesky"](x, upper=not lower).expr, a)


def eigh(
    a: Any, b: Any = None, *, lower: bool = True, eigvals_only: bool = False,
    overwrite_a: bool = False, overwrite_b: bool = False, type: int = 1,
    check_finite: bool = True, subset_by_index: Any = None, subset_by_value: Any = None,
    driver: Any = None,
) -> Any:  # fmt: skip
    """Eigenvalues and vectors of a symmetric matrix; all of them, of no second matrix."""
    if b is not None or subset_by_index is not None or subset_by_value is not None:
        raise fail(UnsupportedError, "scipy.linalg.eigh with b= or subset_by_…= is not supported; "
                   "take slices of the result, and of a pair the eigenvalues of inv(L) @ a @ "
                   "inv(L).T with L = cholesky(b)")  # fmt: skip
    x = _traced(a)
    values = SUPPORTED["linalg.eigvalsh"](x, "L" if lower else "U")
    if eigvals_only:
        return give(values.expr, a)
    return give(values.expr, a), SUPPORTED["linalg.eigh"](x, "L" if lower else "U")[1]


def eigvalsh(
    a: Any, b: Any = None, *, lower: bool = True, overwrite_a: bool = False,
    overwrite_b: bool = False, type: int = 1, check_finite: bool = True,
    subset_by_index: Any = None, subset_by_value: Any = None, driver: Any = None,
) -> Any:  # fmt: skip
    return eigh(a, b, lower=lower, eigvals_only=True, subset_by_index=subset_by_index,
                subset_by_value=subset_by_value)  # fmt: skip


def cho_factor(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    """The factor for `cho_solve`, and which triangle it is; the other one is zero here."""
    return cholesky(a, lower), bool(lower)


def cho_solve(
    c_and_lower: Any, b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    """The x with a x = b for the factor of `a` that `cho_factor` gives."""
    c, lower = c_and_lower
    first = solve_triangular(c, b, trans=0 if lower else 1, lower=lower)
    return solve_triangular(c, first, trans=1 if lower else 0, lower=lower)


def norm(
    a: Any, ord: Any = None, axis: Any = None, keepdims: bool = False, check_finite: bool = True
) -> Any:
    """As np.linalg.norm."""
    return give(SUPPORTED["linalg.norm"](_traced(a), ord, axis, keepdims).expr, a)


def block_diag(*arrays: Any) -> Any:
    """Matrices along the diagonal of a matrix; vectors are rows."""
    blocks = [as_expr(a) for a in arrays] or [const(0.0, "float64", (1, 0))]
    if any(b.ndim > 2 for b in blocks):
        raise fail(UnsupportedError, "scipy.linalg.block_diag: rank two at most is traced")
    dtype = ufuncs.promote(list(blocks))
    blocks = [ufuncs.convert(reshape(b, (1,) * (2 - b.ndim) + b.shape), dtype) for b in blocks]
    width, before, rows = sum(b.shape[1] for b in blocks), 0, []
    for b in blocks:
        zeros = [const(0, dtype, (b.shape[0], n)) for n in (before, width - before - b.shape[1])]
        rows.append(concat([zeros[0], b, zeros[1]], 1))
        before += b.shape[1]
    return give(concat(rows, 0), *arrays)


def toeplitz(c: Any, r: Any = None) -> Any:
    """The matrix with constant diagonals, c its first column and r its first row."""
    column = as_expr(c)
    row = column if r is None else as_expr(r)
    column, row = (reshape(e, (e.size,)) for e in (column, row))
    dtype = ufuncs.promote([column, row])
    column, row = ufuncs.convert(column, dtype), ufuncs.convert(row, dtype)
    n, m = column.size, row.size
    tail = gather(row, array(np.arange(1, m)[::-1].copy()), 0)
    places = np.arange(n)[:, None] - np.arange(m) + max(m - 1, 0)
    return give(gather(concat([tail, column], 0), array(places), 0), c, r)


def circulant(c: Any) -> Any:
    """The matrix whose columns are `c` turned."""
    column = as_expr(c)
    if column.ndim != 1:
        raise fail(ShapeError, f"scipy.linalg.circulant: a vector is needed, got {column.shape}")
    n = column.size
    places = (np.arange(n)[:, None] - np.arange(n)) % max(n, 1)
    return give(gather(column, array(places), 0), c)


# Higham, The scaling and squaring method for the matrix exponential revisited, SIAM J. Matrix
# Anal. Appl. 26 (2005) 1179: the [13/13] Padé approximant, good for norms up to _THETA.
_PADE = (64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
         129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0,
         40840800.0, 960960.0, 16380.0, 182.0, 1.0)  # fmt: skip
_THETA = 5.371920351148152
_SQUARINGS = 12


def expm(A: Any) -> Any:
    """The exponential of a matrix, by scaling and squaring.

    The norm decides how often is squared, up to 12 times; for norms above 22,000 all is NaN.
    """
    x = _traced(A)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise fail(ShapeError, f"scipy.linalg.expm: square matrices are needed, got {x.shape}")
    size = np.max(np.sum(np.abs(x), axis=-2, keepdims=True), axis=-1, keepdims=True)
    size = wrap(bind("stop_gradient", size.expr))
    needed = np.maximum(np.ceil(np.log2(np.maximum(size, _THETA) / _THETA)), 0.0)
    x = x * np.exp2(-needed)
    one = wrap(broadcast_to(eye(x.shape[-1], x.expr.dtype), x.shape))
    x2 = x @ x
    x4 = x2 @ x2
    x6 = x2 @ x4
    b = _PADE
    odd = x6 @ (b[13] * x6 + b[11] * x4 + b[9] * x2)
    odd = x @ (odd + b[7] * x6 + b[5] * x4 + b[3] * x2 + b[1] * one)
    even = x6 @ (b[12] * x6 + b[10] * x4 + b[8] * x2)
    even = even + b[6] * x6 + b[4] * x4 + b[2] * x2 + b[0] * one
    result = SUPPORTED["linalg.solve"](even - odd, even + odd)
    for k in range(_SQUARINGS):
        result = np.where(needed > k, result @ result, result)
    return give(as_expr(np.where(needed > _SQUARINGS, np.nan, result)), A)


# ---- distances -------------------------------------------------------------------------------


def _minkowski(u: Any, v: Any, p: float = 2, w: Any = None) -> Any:
    difference = np.abs(u - v)
    if w is not None:
        difference = difference * np.asarray(w) ** (1 / p)
    if p == math.inf:
        return np.max(difference, axis=-1)
    return SUPPORTED["linalg.norm"](difference, p, -1)


def _weighted(w: Any) -> Any:
    return 1.0 if w is None else w


def _cosine(u: Any, v: Any, w: Any = None) -> Any:
    w = _weighted(w)
    sizes = np.sum(w * u * u, axis=-1) * np.sum(w * v * v, axis=-1)
    return 1 - np.sum(w * u * v, axis=-1) / np.sqrt(sizes)


def _correlation(u: Any, v: Any) -> Any:
    return _cosine(*(x - np.mean(x, axis=-1, keepdims=True) for x in (u, v)))


def _canberra(u: Any, v: Any, w: Any = None) -> Any:
    total = np.abs(u) + np.abs(v)
    return np.sum(_weighted(w) * np.where(total == 0, 0.0, np.abs(u - v) / total), axis=-1)


def _mahalanobis(u: Any, v: Any, VI: Any) -> Any:
    difference = u - v
    return np.sqrt(np.sum((difference @ VI) * difference, axis=-1))


METRICS: dict[str, Callable[..., Any]] = {
    "euclidean": lambda u, v, w=None: (
        SUPPORTED["linalg.norm"](u - v, None, -1) if w is None
        else np.sqrt(np.sum(w * (u - v) ** 2, axis=-1))
    ),
    "sqeuclidean": lambda u, v, w=None: np.sum(_weighted(w) * (u - v) ** 2, axis=-1),
    "cityblock": lambda u, v, w=None: np.sum(_weighted(w) * np.abs(u - v), axis=-1),
    "chebyshev": lambda u, v: np.max(np.abs(u - v), axis=-1),
    "minkowski": _minkowski, "cosine": _cosine, "correlation": _correlation,
    "canberra": _canberra, "mahalanobis": _mahalanobis,
    "braycurtis": lambda u, v: np.sum(np.abs(u - v), axis=-1) / np.sum(np.abs(u + v), axis=-1),
    "seuclidean": lambda u, v, V: np.sqrt(np.sum((u - v) ** 2 / V, axis=-1)),
}  # fmt: skip


def _metric(what: str, metric: Any, options: Any) -> Callable[..., Any]:
    if callable(metric):
        name = getattr(metric, "__name__", "")
        if not getattr(metric, "__module__", "").startswith("scipy.spatial"):
            raise fail(
                UnsupportedError,
                f"scipy.spatial.distance.{what}: a metric of one's own is not traced; call it in "
                "a loop, or by np.stack([...])",
            )
        metric = name
    if metric not in METRICS:
        raise fail(
            UnsupportedError,
            f"scipy.spatial.distance.{what}: the metric {metric!r} is not traced; metrics that "
            f"are: {', '.join(METRICS)}",
        )
    if metric in ("seuclidean", "mahalanobis") and not options:
        raise fail(
            UnsupportedError, f"scipy.spatial.distance.{what}: {metric!r} is traced with V= or VI="
        )
    return lambda u, v: METRICS[metric](u, v, **options)


def _points(what: str, x: Any) -> Any:
    found = wrap(ufuncs.convert(as_expr(x), "float64"))
    if found.ndim != 2:
        raise fail(
            ShapeError, f"scipy.spatial.distance.{what}: points are rows of a matrix, got "
            f"shape {found.shape}"
        )  # fmt: skip
    return found


def cdist(XA: Any, XB: Any, metric: Any = "euclidean", *, out: Any = None, **options: Any) -> Any:
    """The distance of each row of XA from each row of XB."""
    if out is not None:
        raise fail(UnsupportedError, "scipy.spatial.distance.cdist: out= is not traced")
    a, b = _points("cdist", XA), _points("cdist", XB)
    if a.shape[1] != b.shape[1]:
        raise fail(ShapeError, f"scipy.spatial.distance.cdist: shapes {a.shape} and {b.shape}")
    distance = _metric("cdist", metric, options)
    return give(distance(a[:, None, :], b[None, :, :]).expr, XA, XB, *options.values())


def pdist(X: Any, metric: Any = "euclidean", *, out: Any = None, **options: Any) -> Any:
    """The distances of all pairs of rows, in the order that `squareform` knows."""
    if out is not None:
        raise fail(UnsupportedError, "scipy.spatial.distance.pdist: out= is not traced")
    x = _points("pdist", X)
    i, j = np.triu_indices(x.shape[0], 1)
    return give(_metric("pdist", metric, options)(x[i], x[j]).expr, X, *options.values())


def squareform(X: Any, force: str = "no", checks: bool = True) -> Any:
    """The matrix of a vector of distances, or the vector of a matrix; nothing is checked."""
    x = as_expr(X)
    if x.ndim == 2 and force != "tomatrix":
        i, j = np.triu_indices(x.shape[0], 1)
        return give(gather(reshape(x, (x.size,)), array(i * x.shape[1] + j), 0), X)
    n = math.isqrt(2 * x.size) + 1
    if x.ndim != 1 or n * (n - 1) != 2 * x.size:
        raise fail(ShapeError, f"scipy.spatial.distance.squareform: shape {x.shape}")
    places = np.zeros((n, n), np.int64)
    places[np.triu_indices(n, 1)] = np.arange(1, x.size + 1)
    padded = concat([const(0, x.dtype, (1,)), x], 0)
    return give(gather(padded, array(places + places.T), 0), X)


def _of_two(metric: str) -> Callable[..., Any]:
    def distance(u: Any, v: Any, *args: Any, **options: Any) -> Any:
        a, b = (wrap(ufuncs.convert(as_expr(x), "float64")) for x in (u, v))
        given = [wrap(as_expr(x)) if isinstance(x, (Tracer, list, np.ndarray)) else x for x in args]
        return give(METRICS[metric](a, b, *given, **options).expr, u, v, *args, *options.values())

    return distance


def distance_matrix(x: Any, y: Any, p: float = 2, threshold: int = 1000000) -> Any:
    """The Minkowski distance of each row of x from each row of y."""
    return cdist(x, y, "minkowski", p=p) if p != 2 else cdist(x, y)


# ---- Rosenbrock's function -------------------------------------------------------------------


def rosen(x: Any) -> Any:
    """Σ 100 (x[i+1] - x[i]²)² + (1 - x[i])², over the first axis."""
    e = _traced(x)
    terms = 100.0 * (e[1:] - e[:-1] ** 2.0) ** 2.0 + (1 - e[:-1]) ** 2.0
    return give(np.sum(terms, axis=0).expr, x)


def rosen_der(x: Any) -> Any:
    """The gradient of `rosen`."""
    e = _traced(x)
    rise = 200 * (e[1:] - e[:-1] ** 2)
    first = -2 * rise * e[:-1] - 2 * (1 - e[:-1])
    zero = np.zeros_like(e[:1])
    return give((np.concatenate([first, zero]) + np.concatenate([zero, rise])).expr, x)


def rosen_hess(x: Any) -> Any:
    """The matrix of second derivatives of `rosen`."""
    e = np.atleast_1d(_traced(x))
    zero = np.zeros_like(e[:1])
    off = np.diag(-400 * e[:-1], 1)
    first = 1200 * e[:-1] ** 2 - 400 * e[1:] + 2
    diagonal = np.concatenate([first, zero])
    diagonal = diagonal + np.concatenate([zero, np.full_like(e[1:], 200.0)])
    return give((off + np.transpose(off) + np.diag(diagonal)).expr, x)


def rosen_hess_prod(x: Any, p: Any) -> Any:
    """`rosen_hess(x)` times a vector."""
    return give((_traced(rosen_hess(x)) @ _traced(p)).expr, x, p)


_LINALG = (solve, inv, det, eigh, eigvalsh, cholesky, cho_factor, cho_solve, norm, block_diag,
           toeplitz, circulant, expm)  # fmt: skip
NAMES: dict[str, Callable[..., Any]] = {
    **{f"scipy.linalg.{f.__name__}": f for f in _LINALG},
    "scipy.linalg.solve_triangular": solve_triangular,
    **{f"scipy.optimize.{f.__name__}": f for f in (rosen, rosen_der, rosen_hess, rosen_hess_prod)},
    **{f"scipy.spatial.distance.{f.__name__}": f for f in (cdist, pdist, squareform)},
    **{f"scipy.spatial.distance.{name}": _of_two(name) for name in METRICS if name != "seuclidean"},
    "scipy.spatial.distance_matrix": distance_matrix,
}
