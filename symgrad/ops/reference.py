"""What the C kernels of linear algebra compute, in NumPy.

An LU factorisation is one matrix of n + 1 rows: U, below its diagonal L without its ones, and a last
row that says with which row each row was exchanged, in order.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def evaluate_triangular(a: Any, b: Any, lower: bool, transposed: bool, unit: bool) -> Any:
    if transposed:
        a, lower = np.swapaxes(a, -1, -2), not lower
    x = np.array(b)
    n = a.shape[-1]
    diagonal = np.diagonal(a, axis1=-2, axis2=-1)
    if not unit and x.size and (diagonal == 0).any():
        raise np.linalg.LinAlgError("Singular matrix")
    for i in range(n) if lower else reversed(range(n)):
        known = slice(0, i) if lower else slice(i + 1, n)
        x[..., i, :] -= np.einsum("...k,...kj->...j", a[..., i, known], x[..., known, :])
        if not unit:
            x[..., i, :] /= diagonal[..., i, None]
    return x


def evaluate_cofactor(a: Any) -> Any:
    """Of small matrices the polynomials; else u v (Π of the other singular values)."""
    if a.shape[-1] <= 1:
        return np.ones_like(a)
    if a.shape[-1] == 2:
        turned = a[..., ::-1, ::-1]
        return np.where(np.eye(2, dtype=bool), turned, -turned)
    if a.shape[-1] == 3:  # cyclic indices carry the signs
        p11, p22, p12, p21 = (
            np.roll(a, (-i, -j), (-2, -1)) for i, j in ((1, 1), (2, 2), (1, 2), (2, 1))
        )
        return p11 * p22 - p12 * p21
    finite = np.isfinite(a).all(axis=(-1, -2), keepdims=True)
    u, s, vh = np.linalg.svd(np.where(finite, a, 0))
    n = a.shape[-1]
    others = np.stack(
        [np.prod(np.delete(s, i, axis=-1), axis=-1) for i in range(n)] or [s], axis=-1
    )
    sign = np.linalg.det(u) * np.linalg.det(vh)
    result = np.asarray(sign)[..., None, None] * (u * others[..., None, :]) @ vh
    return np.where(finite, result, np.nan)


# ---- reference semantics of the kernels ------------------------------------------------------


def evaluate_lu(a: Any) -> Any:
    """Partial pivoting; a zero pivot stays where it is, its column is not eliminated."""
    n = a.shape[-1]
    out = np.zeros((*a.shape[:-2], n + 1, n), a.dtype)
    for at in np.ndindex(*a.shape[:-2]):
        m = np.array(a[at])
        for k in range(n):
            p = k + int(np.argmax(np.abs(m[k:, k])))
            m[[k, p]] = m[[p, k]]
            out[(*at, n, k)] = p
            if m[k, k] != 0:
                m[k + 1 :, k] /= m[k, k]
                m[k + 1 :, k + 1 :] -= np.outer(m[k + 1 :, k], m[k, k + 1 :])
        out[at][:n] = m
    return out


def evaluate_lu_solve(lu: Any, b: Any, transposed: bool) -> Any:
    n = lu.shape[-1]
    factors = lu[..., :n, :]
    if b.size and (np.diagonal(factors, axis1=-2, axis2=-1) == 0).any():
        raise np.linalg.LinAlgError("Singular matrix")
    if transposed:
        x = evaluate_triangular(factors, b, False, True, False)
        x = evaluate_triangular(factors, x, True, True, True)
        return _exchange(x, lu, reversed(range(n)))
    x = _exchange(np.array(b), lu, range(n))
    x = evaluate_triangular(factors, x, True, False, True)
    return evaluate_triangular(factors, x, False, False, False)


def _exchange(x: Any, lu: Any, order: Any) -> Any:
    for k in order:
        p = lu[..., -1, k].astype(int)[..., None, None]
        at_k, at_p = x[..., k : k + 1, :].copy(), np.take_along_axis(x, p, axis=-2)
        np.put_along_axis(x, np.broadcast_to(p, at_k.shape), at_k, axis=-2)
        x[..., k : k + 1, :] = at_p
    return x


def pivots(lu: Any) -> Any:
    return np.diagonal(lu[..., :-1, :], axis1=-2, axis2=-1)


def parity(lu: Any) -> Any:
    odd = (lu[..., -1, :] != np.arange(lu.shape[-1])).sum(axis=-1) % 2
    return np.where(odd, -1, 1).astype(lu.dtype)


def evaluate_lu_det(lu: Any) -> Any:
    mantissa, exponent = np.frexp(pivots(lu))
    product = np.ones(lu.shape[:-2], lu.dtype)
    shift = np.zeros(lu.shape[:-2], int)
    for k in range(lu.shape[-1]):  # mantissas stay in (1/2, 1): no overflow on the way
        product, extra = np.frexp(product * mantissa[..., k])
        shift = shift + exponent[..., k] + extra
    return parity(lu) * np.ldexp(product, shift)


def evaluate_lu_cofactor(lu: Any) -> Any:
    n = lu.shape[-1]
    upper = np.triu(lu[..., :n, :])
    unit = np.tril(lu[..., :n, :], -1) + np.eye(n, dtype=lu.dtype)
    product = _exchange(unit @ upper, lu, reversed(range(n)))
    return evaluate_cofactor(product)
