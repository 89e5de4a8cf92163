"""Linear algebra on the last two axes; any axes before them are batch axes.

Two layers. COMPOSITE rows (solve, det, cholesky, …) carry the calculus and the formulas; they
`expand` to CALL rows, which are C kernels from templates/c99/call, one matrix per call. `lu_factor`
packs factors and pivots into one array [..., n + 1, n] (row n: the pivot row numbers), so that
solve, solve with Aᵀ, det, its derivative and slogdet of one matrix share one factorisation by
hash-consing.

Failure: solve, inv, solve_triangular and cholesky raise numpy.linalg.LinAlgError for a singular or
not positive definite matrix (kernels return 2). det of a singular matrix is 0, its gradient is the
cofactor matrix, right at every rank. The second derivative of det goes through the inverse for
n > 3, and so raises at a singular matrix; up to n = 3 everything is a polynomial.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError
from symgrad.expr.node import EYE, FLOATS, Expr, bind, const, eye, iota
from symgrad.expr.op import OPS, Kind, Op, register
from symgrad.ops import readings
from symgrad.ops.einsum import einsum
from symgrad.ops.elementwise import equal, greater, select
from symgrad.ops.linear import broadcast, broadcast_to, concat, lead, permute, reshape, slice_, sum_
from symgrad.ops.reference import (
    evaluate_cofactor,
    evaluate_lu,
    evaluate_lu_cofactor,
    evaluate_lu_det,
    evaluate_lu_solve,
    evaluate_triangular,
    parity,
    pivots,
)

Attrs = tuple[Any, ...]
Args = tuple[Expr, ...]
Type = tuple[tuple[int, ...], str]
_SMALL = 3  # up to this size det and cofactor are written out


# ---- the functions ---------------------------------------------------------------------------


def solve(a: Expr, b: Expr) -> Expr:
    """x with a @ x = b; NumPy's rules: b is a vector if it has one axis; batch axes broadcast."""
    return _with_columns(lambda a, b: bind("solve", a, b), "solve", a, b)


def inv(a: Expr) -> Expr:
    """The inverse matrix: solve against the identity."""
    _square("inv", a)
    return bind("solve", a, _eye_like(a))


def det(a: Expr) -> Expr:
    """The determinant."""
    return bind("det", a)


def slogdet(a: Expr) -> tuple[Expr, Expr]:
    """Sign of the determinant and logarithm of its absolute value."""
    return bind("detsign", a), bind("logabsdet", a)


def cofactor(a: Expr) -> Expr:
    """∂ det(a) / ∂ a: det(a) a⁻ᵀ where a is regular, finite and right where it is not."""
    return bind("cofactor", a)


def cholesky(a: Expr) -> Expr:
    """Lower triangular l with l lᵀ = a; reads the lower triangle of a."""
    return bind("cholesky", a)


def solve_triangular(
    a: Expr, b: Expr, lower: bool = False, transposed: bool = False, unit: bool = False
) -> Expr:
    """x with t @ x = b (tᵀ @ x = b if transposed), t the upper or lower triangle of a.

    The other triangle is not read; with `unit` the diagonal counts as ones and is not read.
    """
    attrs = (bool(lower), bool(transposed), bool(unit))
    return _with_columns(
        lambda a, b: bind("solve_triangular", a, b, attrs=attrs), "solve_triangular", a, b
    )


def transpose(x: Expr) -> Expr:
    """The last two axes exchanged."""
    k = x.ndim
    return permute(x, (*range(k - 2), k - 1, k - 2))


def _with_columns(apply: Callable[[Expr, Expr], Expr], what: str, a: Expr, b: Expr) -> Expr:
    """Call `apply` on operands of equal batch axes, b a matrix of columns."""
    _square(what, a)
    if b.ndim == 0:
        raise ShapeError(f"{what}: the right-hand side must have at least one axis")
    columns = reshape(b, (*b.shape, 1)) if b.ndim == 1 else b
    if columns.shape[-2] != a.shape[-1]:
        raise ShapeError(f"{what}: a matrix of shape {a.shape} and right-hand sides {b.shape}")
    try:
        batch = np.broadcast_shapes(a.shape[:-2], columns.shape[:-2])
    except ValueError:
        raise ShapeError(
            f"{what}: batch axes of {a.shape} and {b.shape} do not broadcast"
        ) from None
    out = apply(
        broadcast_to(a, (*batch, *a.shape[-2:])),
        broadcast_to(columns, (*batch, *columns.shape[-2:])),
    )
    return reshape(out, out.shape[:-1]) if b.ndim == 1 else out


# ---- types -----------------------------------------------------------------------------------


def _square(what: str, a: Expr) -> int:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"{what}: the last two axes must be square, got shape {a.shape}")
    if a.dtype not in FLOATS:
        raise DtypeError(f"{what}: expected a float matrix, got {a.dtype}")
    return a.shape[-1]


def _infer_columns(what: str, a: Expr, b: Expr) -> Type:
    n = _square(what, a)
    if b.ndim != a.ndim or b.shape[:-2] != a.shape[:-2] or b.shape[-2] != n:
        raise ShapeError(f"{what}: a matrix of shape {a.shape} and right-hand sides {b.shape}")
    if b.dtype != a.dtype:
        raise DtypeError(f"{what}: operands of dtypes {a.dtype} and {b.dtype} must be equal")
    return b.shape, b.dtype


def _infer_scalar(what: str) -> Callable[[Expr], Type]:
    return lambda a: (_square(what, a), (a.shape[:-2], a.dtype))[1]


def _infer_square(what: str) -> Callable[[Expr], Type]:
    return lambda a: (_square(what, a), (a.shape, a.dtype))[1]


def _infer_lu(a: Expr) -> Type:
    n = _square("lu_factor", a)
    return (*a.shape[:-2], n + 1, n), a.dtype


def _packed(what: str, lu: Expr) -> int:
    if lu.ndim < 2 or lu.shape[-2] != lu.shape[-1] + 1:
        raise ShapeError(f"{what}: expected the result of lu_factor, got shape {lu.shape}")
    return lu.shape[-1]


def _infer_lu_solve(lu: Expr, b: Expr, transposed: bool) -> Type:
    n = _packed("lu_solve", lu)
    if b.ndim != lu.ndim or b.shape[:-2] != lu.shape[:-2] or b.shape[-2] != n:
        raise ShapeError(f"lu_solve: factors of shape {lu.shape} and right-hand sides {b.shape}")
    if b.dtype != lu.dtype:
        raise DtypeError(f"lu_solve: operands of dtypes {lu.dtype} and {b.dtype} must be equal")
    return b.shape, b.dtype


def _infer_lu_scalar(what: str) -> Callable[[Expr], Type]:
    return lambda lu: (_packed(what, lu), (lu.shape[:-2], lu.dtype))[1]


def _infer_lu_cofactor(lu: Expr) -> Type:
    n = _packed("lu_cofactor", lu)
    return (*lu.shape[:-2], n, n), lu.dtype


# ---- small builders --------------------------------------------------------------------------


def _eye_like(a: Expr) -> Expr:
    """Identity matrices of the shape of `a`."""
    k = a.ndim
    return broadcast(eye(a.shape[-1], a.dtype), a.shape, (k - 2, k - 1))


def _inverse_transposed(a: Expr) -> Expr:
    return transpose(bind("solve", a, _eye_like(a)))


def matmul(a: Expr, b: Expr, left: str = "ij", right: str = "jk", out: str = "ik") -> Expr:
    """einsum over the last two axes of operands with equal batch axes."""
    batch = tuple(range(a.ndim - 2))
    return einsum([a, b], [(*batch, *left), (*batch, *right)], (*batch, *out))


def _inner(a: Expr, b: Expr) -> Expr:
    """Σᵢⱼ aᵢⱼ bᵢⱼ of each matrix."""
    return matmul(a, b, "ij", "ij", "")


def _spread(x: Expr, shape: tuple[int, ...]) -> Expr:
    """One number per matrix, repeated over the matrix."""
    return broadcast(x, shape, tuple(range(x.ndim)))


def _row_and_column(shape: tuple[int, ...]) -> tuple[Expr, Expr]:
    k = len(shape)
    return (
        broadcast(iota(shape[-2]), shape, (k - 2,)),
        broadcast(iota(shape[-1]), shape, (k - 1,)),
    )


def _triangle(x: Expr, lower: bool, unit: bool) -> Expr:
    """`x` on the triangle that solve_triangular reads, 0 elsewhere."""
    row, column = _row_and_column(x.shape)
    inside = greater(row, column) if lower else greater(column, row)
    kept = select(inside, x, 0)
    return kept if unit else select(equal(row, column), x, kept)


def _half_lower(x: Expr) -> Expr:
    """Φ(x): the lower triangle with half of the diagonal."""
    row, column = _row_and_column(x.shape)
    return select(greater(row, column), x, select(equal(row, column), 0.5 * x, 0))


def _symmetric(x: Expr) -> Expr:
    return 0.5 * (x + transpose(x))


def _is_transpose(x: Expr) -> bool:
    return x.name == "permute" and transpose(x) is x.args[0]


# ---- solve -----------------------------------------------------------------------------------
# Two rows instead of one with a permuted matrix: whatever simplification does to Aᵀ, both read the
# same A and share its factorisation.


def _normalize_solve(args: Args, attrs: Attrs) -> Expr | None:
    return bind("solve_transposed", args[0].args[0], args[1]) if _is_transpose(args[0]) else None


def _normalize_solve_transposed(args: Args, attrs: Attrs) -> Expr | None:
    a, b = args
    if _is_transpose(a):
        return bind("solve", a.args[0], b)
    if b.op is EYE:  # one spelling of the inverse
        return transpose(bind("solve", a, b))
    return None


def _solve_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr | None]:
    """a x = b: b̄ = a⁻ᵀ ct, ā = -b̄ xᵀ."""
    b_bar = bind("solve_transposed", args[0], ct)
    return [-matmul(b_bar, out, "ik", "jk", "ij"), b_bar]


def _solve_jvp(tangents: list[Expr | None], out: Expr, args: Args, attrs: Attrs) -> Expr:
    """ẋ = a⁻¹ (ḃ - ȧ x)."""
    da, db = tangents
    return bind("solve", args[0], _drive(db, None if da is None else matmul(da, out)))


def _solve_transposed_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr | None]:
    """aᵀ x = b: b̄ = a⁻¹ ct, ā = -x b̄ᵀ."""
    b_bar = bind("solve", args[0], ct)
    return [-matmul(out, b_bar, "ik", "jk", "ij"), b_bar]


def _solve_transposed_jvp(tangents: list[Expr | None], out: Expr, args: Args, attrs: Attrs) -> Expr:
    da, db = tangents
    moved = None if da is None else matmul(da, out, "ji", "jk", "ik")
    return bind("solve_transposed", args[0], _drive(db, moved))


def _drive(db: Expr | None, moved: Expr | None) -> Expr:
    if moved is None:
        assert db is not None
        return db
    return -moved if db is None else db - moved


def _expand_solve(transposed: bool) -> Callable[[Args, Attrs], Expr]:
    return lambda args, attrs: bind(
        "lu_solve", bind("lu_factor", args[0]), args[1], attrs=(transposed,)
    )


def _batch_columns(name: str) -> Callable[..., Expr]:
    """One matrix, many right-hand sides: the new axis becomes columns, one factorisation."""

    def batch(args: Args, batched: list[bool], attrs: Attrs, size: int) -> Expr:
        a, b = args
        if batched[0]:
            return bind(name, a, b if batched[1] else lead(b, size), attrs=attrs)
        k = b.ndim - 1  # without the new axis
        m = b.shape[-1]
        moved = permute(b, (*range(1, k), 0, k))
        wide = reshape(moved, (*b.shape[1:-1], size * m))
        out = bind(name, a, wide, attrs=attrs)
        split = reshape(out, (*b.shape[1:-1], size, m))
        return permute(split, (k - 1, *range(k - 1), k))

    return batch


def _batch_plain(name: str) -> Callable[..., Expr]:
    """Every row works on leading axes as it is."""
    return lambda args, batched, attrs, size: bind(name, *args, attrs=attrs)


# ---- solve_triangular ------------------------------------------------------------------------


def _triangular_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr | None]:
    lower, transposed, unit = attrs
    b_bar = bind("solve_triangular", args[0], ct, attrs=(lower, not transposed, unit))
    left, right = (out, b_bar) if transposed else (b_bar, out)
    return [-_triangle(matmul(left, right, "ik", "jk", "ij"), lower, unit), b_bar]


def _triangular_jvp(tangents: list[Expr | None], out: Expr, args: Args, attrs: Attrs) -> Expr:
    lower, transposed, unit = attrs
    da, db = tangents
    moved = None
    if da is not None:
        moved = matmul(_triangle(da, lower, unit), out, "ji" if transposed else "ij")
    return bind("solve_triangular", args[0], _drive(db, moved), attrs=attrs)


# ---- det and slogdet -------------------------------------------------------------------------


def _expand_det(args: Args, attrs: Attrs) -> Expr:
    a = args[0]
    n, k = a.shape[-1], a.ndim
    if n > _SMALL:
        return bind("lu_det", bind("lu_factor", a))
    if n == 0:
        return const(1, a.dtype, a.shape[:-2])
    if n == 1:
        return reshape(a, a.shape[:-2])
    first = _window(a, 0, 0, 1, n) * _window(_small_cofactor(a), 0, 0, 1, n)
    return sum_(first, (k - 2, k - 1))


def _expand_cofactor(args: Args, attrs: Attrs) -> Expr:
    a = args[0]
    if a.shape[-1] > _SMALL:
        return bind("lu_cofactor", bind("lu_factor", a))
    return _small_cofactor(a)


def _small_cofactor(a: Expr) -> Expr:
    """Written out: a polynomial."""
    n, k = a.shape[-1], a.ndim
    if n <= 1:
        return const(1, a.dtype, a.shape)
    if n == 2:  # [[d, -c], [-b, a]]
        step = (1,) * (k - 2) + (-1, -1)
        turned = slice_(a, (0,) * (k - 2) + (1, 1), a.shape, step)
        row, column = _row_and_column(a.shape)
        return select(equal(row, column), turned, -turned)
    # Cyclic indices carry the signs: c_ij = a_i+1,j+1 a_i+2,j+2 - a_i+1,j+2 a_i+2,j+1.
    p11, p22, p12, p21 = _turns(a)
    return p11 * p22 - p12 * p21


def _turns(a: Expr) -> tuple[Expr, ...]:
    """The elements i + r, j + s of matrices of order 3, cyclically, of all i and j."""
    k = a.ndim
    tiled = concat([a, a], k - 2)
    tiled = concat([tiled, tiled], k - 1)
    return tuple(_window(tiled, i, j, 3, 3) for i, j in ((1, 1), (2, 2), (1, 2), (2, 1)))


def _window(x: Expr, i: int, j: int, rows: int, columns: int) -> Expr:
    lead_axes = x.ndim - 2
    return slice_(x, (0,) * lead_axes + (i, j), (*x.shape[:-2], rows, columns), (1,) * x.ndim)


def _det_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr | None]:
    a = args[0]
    return [_spread(ct, a.shape) * cofactor(a)]


def _det_jvp(tangents: list[Any], out: Expr, args: Args, attrs: Attrs) -> Expr:
    return _inner(cofactor(args[0]), tangents[0])


def _cofactor_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr | None]:
    """c = det(a) w with w = a⁻ᵀ: ā = (ct : w) c - c ctᵀ w; written out for small ones, so that
    every derivative is right at singular matrices.
    """
    a = args[0]
    n = a.shape[-1]
    if n <= 1:
        return [const(0, a.dtype, a.shape)]
    if n == 2:  # linear
        return [_small_cofactor(ct)]
    if n == _SMALL:  # quadratic
        (a11, a22, a12, a21), (t11, t22, t12, t21) = _turns(a), _turns(ct)
        return [a11 * t22 + t11 * a22 - (a12 * t21 + t12 * a21)]
    w = _inverse_transposed(a)
    turned = matmul(matmul(out, ct, "ij", "kj", "ik"), w)
    return [_spread(_inner(ct, w), a.shape) * out - turned]


def _cofactor_jvp(tangents: list[Any], out: Expr, args: Args, attrs: Attrs) -> Expr:
    """The same map: it is the Hessian of det, hence symmetric."""
    result = _cofactor_vjp(tangents[0], out, args, attrs)[0]
    assert result is not None
    return result


def _logabsdet_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr | None]:
    a = args[0]
    return [_spread(ct, a.shape) * _inverse_transposed(a)]


def _logabsdet_jvp(tangents: list[Any], out: Expr, args: Args, attrs: Attrs) -> Expr:
    return _inner(_inverse_transposed(args[0]), tangents[0])


# ---- cholesky --------------------------------------------------------------------------------


def _cholesky_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr | None]:
    """ā = sym(l⁻ᵀ Φ(lᵀ ct) l⁻¹) (Murray 2016, "Differentiation of the Cholesky decomposition")."""
    inner = _half_lower(matmul(out, ct, "ji", "jk", "ik"))
    left = bind("solve_triangular", out, inner, attrs=(True, True, False))
    both = bind("solve_triangular", out, transpose(left), attrs=(True, True, False))
    return [_symmetric(both)]


def _cholesky_jvp(tangents: list[Any], out: Expr, args: Args, attrs: Attrs) -> Expr:
    """l̇ = l Φ(l⁻¹ ȧ l⁻ᵀ)."""
    left = bind("solve_triangular", out, _symmetric(tangents[0]), attrs=(True, False, False))
    both = bind("solve_triangular", out, transpose(left), attrs=(True, False, False))
    return matmul(out, _half_lower(both))


# ---- rows ------------------------------------------------------------------------------------


def _row(name: str, kind: Kind, infer: Any, evaluate: Any, **more: Any) -> Op:
    more.setdefault("batch", _batch_plain(name))
    return register(Op(name, kind, infer, evaluate, **more))


def _expand_to(name: str) -> Callable[[Args, Attrs], Expr]:
    return lambda args, attrs: bind(name, bind("lu_factor", args[0]))


def _of_matrices(count: Callable[[int, int], int]) -> Callable[[Args, Attrs], int]:
    """The column `flops` from those for one matrix of order n, with k right-hand sides."""

    def flops(args: Args, attrs: Attrs) -> int:
        order, columns = args[0].shape[-1], args[-1].shape[-1]
        return math.prod(args[0].shape[:-2]) * count(order, columns)

    return flops


# fmt: off
_row("solve", Kind.COMPOSITE, lambda a, b: _infer_columns("solve", a, b), np.linalg.solve,
     vjp=_solve_vjp, jvp=_solve_jvp, batch=_batch_columns("solve"),
     expand=_expand_solve(False), normalize=_normalize_solve, reads=readings.reads_solve)
_row("solve_transposed", Kind.COMPOSITE, lambda a, b: _infer_columns("solve_transposed", a, b),
     lambda a, b: np.linalg.solve(np.swapaxes(a, -1, -2), b),
     vjp=_solve_transposed_vjp, jvp=_solve_transposed_jvp, batch=_batch_columns("solve_transposed"),
     expand=_expand_solve(True), normalize=_normalize_solve_transposed,
     reads=readings.reads_solve_transposed)
_row("det", Kind.COMPOSITE, _infer_scalar("det"), np.linalg.det,
     vjp=_det_vjp, jvp=_det_jvp, expand=_expand_det, reads=readings.reads_det)
_row("cofactor", Kind.COMPOSITE, _infer_square("cofactor"), evaluate_cofactor,
     vjp=_cofactor_vjp, jvp=_cofactor_jvp, expand=_expand_cofactor, reads=readings.reads_cofactor)
_row("logabsdet", Kind.COMPOSITE, _infer_scalar("logabsdet"), lambda a: np.linalg.slogdet(a)[1],
     vjp=_logabsdet_vjp, jvp=_logabsdet_jvp, expand=_expand_to("lu_logabsdet"),
     reads=readings.reads_logabsdet)
_row("detsign", Kind.COMPOSITE, _infer_scalar("detsign"), lambda a: np.linalg.slogdet(a)[0],
     vjp=lambda ct, out, args, attrs: [None], jvp=lambda tangents, out, args, attrs: None,
     expand=_expand_to("lu_detsign"), reads=readings.reads_detsign)
_row("cholesky", Kind.COMPOSITE, _infer_square("cholesky"), np.linalg.cholesky,
     vjp=_cholesky_vjp, jvp=_cholesky_jvp,
     expand=lambda args, attrs: bind("cholesky_factor", args[0]))
_row("solve_triangular", Kind.CALL,
     lambda a, b, lower, transposed, unit: _infer_columns("solve_triangular", a, b),
     evaluate_triangular, attr_names=("lower", "transposed", "unit"),
     vjp=_triangular_vjp, jvp=_triangular_jvp, batch=_batch_columns("solve_triangular"), cost=5,
     flops=_of_matrices(lambda n, k: n * n * k))
_row("cholesky_factor", Kind.CALL, _infer_square("cholesky_factor"), np.linalg.cholesky, cost=10,
     flops=_of_matrices(lambda n, k: n**3 // 3))
_row("lu_factor", Kind.CALL, _infer_lu, evaluate_lu, cost=10,
     flops=_of_matrices(lambda n, k: 2 * n**3 // 3))
_row("lu_solve", Kind.CALL, _infer_lu_solve, evaluate_lu_solve, attr_names=("transposed",),
     batch=_batch_columns("lu_solve"), cost=5, flops=_of_matrices(lambda n, k: 2 * n * n * k))
_row("lu_det", Kind.CALL, _infer_lu_scalar("lu_det"), evaluate_lu_det, cost=2,
     flops=_of_matrices(lambda n, k: n))
_row("lu_logabsdet", Kind.CALL, _infer_lu_scalar("lu_logabsdet"),
     lambda lu: np.sum(np.log(np.abs(pivots(lu))), axis=-1), cost=2,
     flops=_of_matrices(lambda n, k: (OPS["log"].cost + 2) * n))
_row("lu_detsign", Kind.CALL, _infer_lu_scalar("lu_detsign"),
     lambda lu: parity(lu) * np.prod(np.sign(pivots(lu)), axis=-1), cost=2,
     flops=_of_matrices(lambda n, k: 2 * n))
_row("lu_cofactor", Kind.CALL, _infer_lu_cofactor, evaluate_lu_cofactor, cost=10,
     flops=_of_matrices(lambda n, k: 3 * n**3 // 2))
# fmt: on


@dataclass(frozen=True)
class CallSpec:
    """How emitted C calls the kernel of a CALL row, for one matrix of a batch.

    `name(operand..., out, dims..., flags...)`: pointers to real, then ptrdiff_t, then int;
    returns 0, or 2 if the matrix is singular or not positive definite.

    template  file templates/c99/call/<template>.c.jinja (variables name, real, f, lit)
    dims      (args, attrs) -> sizes
    flags     (attrs) -> 0 or 1 each
    ranks     axes of each operand that the kernel sees, and last those of the result; axes before
              them are the batch, equal for all
    """

    template: str
    dims: Callable[[Args, Attrs], tuple[int, ...]]
    flags: Callable[[Attrs], tuple[int, ...]]
    ranks: tuple[int, ...]

    def rank(self, node: Expr) -> int:
        """Axes of one result of the kernel."""
        return self.ranks[-1]


def _order(args: Args, attrs: Attrs) -> tuple[int, ...]:
    return (args[0].shape[-1],)


def _order_and_columns(args: Args, attrs: Attrs) -> tuple[int, ...]:
    return args[0].shape[-1], args[1].shape[-1]


def _ints(attrs: Attrs) -> tuple[int, ...]:
    return tuple(int(a) for a in attrs)


CALLS: dict[str, CallSpec] = {
    "lu_factor": CallSpec("lu_factor", _order, _ints, (2, 2)),
    "lu_solve": CallSpec("lu_solve", _order_and_columns, _ints, (2, 2, 2)),
    "lu_det": CallSpec("lu_det", _order, _ints, (2, 0)),
    "lu_logabsdet": CallSpec("lu_logabsdet", _order, _ints, (2, 0)),
    "lu_detsign": CallSpec("lu_detsign", _order, _ints, (2, 0)),
    "lu_cofactor": CallSpec("lu_cofactor", _order, _ints, (2, 2)),
    "cholesky_factor": CallSpec("cholesky_factor", _order, _ints, (2, 2)),
    "solve_triangular": CallSpec("solve_triangular", _order_and_columns, _ints, (2, 2, 2)),
}

__all__ = [
    "CALLS", "CallSpec", "cholesky", "cofactor", "det", "inv", "matmul", "slogdet", "solve",
    "solve_triangular", "transpose",
]  # fmt: skip
