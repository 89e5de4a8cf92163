"""Eigenvalues and eigenvectors of symmetric matrices, on the last two axes.

`eigvalsh` and `eigenvectors` carry the calculus; they `expand` to windows of one CALL row, whose
result has the rows of V, the eigenvalues in ascending order, and n rows of work space, all zeros
at the end: [..., 2 n + 1, n]. The lower triangle is read; derivatives treat the matrix as symmetric.

A sign of an eigenvector is a choice, LAPACK's as well as ours: the first element whose absolute
value is more than 0.382 of the largest is positive.

First derivatives of eigenvalues exist as long as no two are equal; of symmetric functions of them
(sums, log det, …) at ties too, and are right there. Everything else (derivatives of eigenvectors,
second derivatives of eigenvalues) has quotients by differences of eigenvalues, and is infinite or
NaN where two are equal, never a number by chance.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad.expr.node import Expr, bind, const
from symgrad.expr.op import Kind
from symgrad.ops.einsum import einsum
from symgrad.ops.elementwise import equal, select
from symgrad.ops.linalg import (
    CALLS,
    Args,
    Attrs,
    CallSpec,
    _ints,
    _of_matrices,
    _order,
    _row,
    _row_and_column,
    _square,
    _symmetric,
    matmul,
)
from symgrad.ops.linear import broadcast, reshape, slice_

_LARGE = 0.382  # of the largest element: no ratio that people's matrices lead to


def eigvalsh(a: Expr) -> Expr:
    """The eigenvalues, ascending: of matrices [..., n, n] an array [..., n]."""
    return bind("eigvalsh", a)


def eigenvectors(a: Expr) -> Expr:
    """V with orthonormal columns and a = V diag(eigvalsh(a)) Vᵀ."""
    return bind("eigenvectors", a)


def _evaluate(a: Any) -> Any:
    """As the C kernel packs it."""
    values, vectors = np.linalg.eigh(a)
    if vectors.size:
        size = np.abs(vectors)
        large = size > _LARGE * size.max(axis=-2, keepdims=True)
        first = np.argmax(large, axis=-2)[..., None, :]
        vectors = vectors * np.copysign(1, np.take_along_axis(vectors, first, -2)).astype(a.dtype)
    return np.concatenate([vectors, values[..., None, :], np.zeros_like(vectors)], axis=-2)


def _infer_values(a: Expr) -> tuple[tuple[int, ...], str]:
    _square("eigvalsh", a)
    return a.shape[:-1], a.dtype


def _infer_vectors(a: Expr) -> tuple[tuple[int, ...], str]:
    _square("eigh", a)
    return a.shape, a.dtype


def _infer_factor(a: Expr) -> tuple[tuple[int, ...], str]:
    n = _square("eigh", a)
    return (*a.shape[:-2], 2 * n + 1, n), a.dtype


def _rows(args: Args, first: int, count: int) -> Expr:
    a = args[0]
    k = a.ndim - 2
    packed = bind("eigh_factor", a)
    return slice_(packed, (0,) * k + (first, 0), (*a.shape[:-2], count, a.shape[-1]), (1,) * a.ndim)


def _expand_values(args: Args, attrs: Attrs) -> Expr:
    return reshape(_rows(args, args[0].shape[-1], 1), args[0].shape[:-1])


def _expand_vectors(args: Args, attrs: Attrs) -> Expr:
    return _rows(args, 0, args[0].shape[-1])


# ---- calculus ---------------------------------------------------------------------------------
# Magnus, "On differentiating eigenvalues and eigenvectors", Econometric Theory 1 (1985) 179.


def _values_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr | None]:
    """ā = V diag(ct) Vᵀ."""
    v, batch = eigenvectors(args[0]), tuple(range(ct.ndim - 1))
    return [einsum([v, ct, v], [(*batch, *"ik"), (*batch, "k"), (*batch, *"jk")], (*batch, *"ij"))]


def _values_jvp(tangents: list[Any], out: Expr, args: Args, attrs: Attrs) -> Expr:
    """The diagonal of Vᵀ ȧ V."""
    v, batch = eigenvectors(args[0]), tuple(range(out.ndim - 1))
    moved = _symmetric(tangents[0])
    labels = [(*batch, *"ik"), (*batch, *"ij"), (*batch, *"jk")]
    return einsum([v, moved, v], labels, (*batch, "k"))


def _quotients(a: Expr) -> Expr:
    """1 / (λⱼ - λᵢ), and 0 on the diagonal."""
    values, k = eigvalsh(a), a.ndim
    lead = tuple(range(k - 2))
    row, column = _row_and_column(a.shape)
    on = equal(row, column)
    one = const(1, a.dtype, a.shape)
    apart = broadcast(values, a.shape, (*lead, k - 1)) - broadcast(values, a.shape, (*lead, k - 2))
    return select(on, 0 * one, one / select(on, one, apart))


def _vectors_jvp(tangents: list[Any], out: Expr, args: Args, attrs: Attrs) -> Expr:
    """V̇ = V (F ∘ Vᵀ ȧ V)."""
    turned = matmul(matmul(out, _symmetric(tangents[0]), "ki", "kj", "ij"), out)
    return matmul(out, _quotients(args[0]) * turned)


def _vectors_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr | None]:
    """ā = sym(V (F ∘ Vᵀ ct) Vᵀ)."""
    inner = _quotients(args[0]) * matmul(out, ct, "ki", "kj", "ij")
    return [_symmetric(matmul(matmul(out, inner), out, "ik", "jk", "ij"))]


_row("eigvalsh", Kind.COMPOSITE, _infer_values, lambda a: _evaluate(a)[..., a.shape[-1], :],
     vjp=_values_vjp, jvp=_values_jvp, expand=_expand_values)  # fmt: skip
_row("eigenvectors", Kind.COMPOSITE, _infer_vectors, lambda a: _evaluate(a)[..., : a.shape[-1], :],
     vjp=_vectors_vjp, jvp=_vectors_jvp, expand=_expand_vectors)  # fmt: skip
_row("eigh_factor", Kind.CALL, _infer_factor, _evaluate, cost=20,
     flops=_of_matrices(lambda n, k: 30 * n**3))  # fmt: skip
CALLS["eigh_factor"] = CallSpec("eigh_factor", _order, _ints, (2, 2))
