"""Elements and rows at indices that the arguments decide: derivatives against Taylor polynomials.

The reverse of x[i] adds one number to an array of zeros: a sum with a loop for its start, and none
for what it adds.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import symgrad as sg
from support import taylor
from support.taylor import Taylor, number
from symgrad.errors import OutOfRangeError

RNG = np.random.default_rng(5)
X, W, T = RNG.normal(size=5), RNG.normal(size=(4, 6)), RNG.normal(size=(3, 4, 5))
POINTS = RNG.normal(size=(9, 3))


def log_softmax(m, z):
    return z - m.log(m.sum(m.exp(z)))


def log_likelihood(m, w, i):
    """Of labels that are counted up from i."""
    return sum(log_softmax(m, w @ p)[(i + k) % 7] for k, p in enumerate(POINTS[:3]))


# The differentiated array, and f(module, array, i, j).
CASES = {
    "x[i]": (X, lambda m, x, i, j: x[i] ** 3),
    "x[i] x[j]": (X, lambda m, x, i, j: x[i] * x[j] ** 2 + x[i - j]),
    "x[-i]": (X, lambda m, x, i, j: x[-i] ** 3),
    "argmax": (X, lambda m, x, i, j: x[m.argmax(x)] ** 3),
    "argmin and argmax": (X, lambda m, x, i, j: x[m.argmin(x)] * x[m.argmax(x)] ** 2),
    "argmax of all": (W, lambda m, x, i, j: m.ravel(x)[m.argmax(x)] ** 3),
    "column": (W, lambda m, x, i, j: m.sum(x[:, i] ** 3)),
    "row": (W, lambda m, x, i, j: m.sum(x[i] ** 3) + x[i, 0]),
    "element": (W, lambda m, x, i, j: x[i, j] ** 3 * x[0, 0]),
    "part of a row": (W, lambda m, x, i, j: m.sum(x[i, 1:4] ** 3)),
    "part of a column": (W, lambda m, x, i, j: m.sum(x[::-2, i] ** 3)),
    "new axis": (W, lambda m, x, i, j: m.sum(x[i, None, ::-1] ** 3 * x)),
    "two axes apart": (T, lambda m, x, i, j: m.sum(x[i, :, j] ** 3)),
    "two axes together": (T, lambda m, x, i, j: m.sum(x[:, i, j] ** 3)),
    "last axis": (T, lambda m, x, i, j: m.sum(x[..., i] ** 3)),
    "middle axis": (T, lambda m, x, i, j: m.sum(x[:, i] ** 3 * m.arange(5))),
    "three axes": (T, lambda m, x, i, j: x[i, j, j] ** 3),
    "beside an array": (T, lambda m, x, i, j: m.sum(x[np.array([0, 2, 0]), i] ** 3)),
    "of a product": (W, lambda m, x, i, j: m.sum(m.tanh(x @ x.T)[i] ** 2)),
    "of a running sum": (X, lambda m, x, i, j: m.cumsum(x)[i] ** 3),
    "in a loop": (X, lambda m, x, i, j: sum(x[(i + k) % 5] ** 2 * x[k] for k in range(5))),
    "take": (X, lambda m, x, i, j: m.take(x, i) ** 3),
    "row and column": (W[:, :4], lambda m, x, i, j: m.sum(x[i] * x[:, j] ** 2)),
    "nearest centre": (
        POINTS[:4],
        lambda m, x, i, j: m.sum((x[m.argmin(m.sum((x - POINTS[5]) ** 2, 1))] - POINTS[6]) ** 4),
    ),
    "log-likelihood": (RNG.normal(size=(7, 3)), lambda m, x, i, j: log_likelihood(m, x, i)),
}
I, J = 2, 1


# NumPy on arrays of polynomials; indexing, sums, products and comparisons are NumPy's own.
POLYNOMIALS = SimpleNamespace(**vars(np) | {
    name: np.frompyfunc(getattr(taylor, name), 1, 1) for name in ("exp", "log", "tanh")
})  # fmt: skip


def polynomials(x, directions, order):
    """x + Σ e_k directions[k], element by element."""
    result = np.empty(x.shape, object)
    for place in np.ndindex(x.shape):
        terms = {(k,): number(d[place]) for k, d in enumerate(directions) if d[place]}
        result[place] = Taylor({(): number(x[place])} | terms, order)
    return result


@pytest.mark.slow
def test_derivatives():
    """Gradients, and Hessians times a vector, of all functions in one compilation."""
    arrays = [x for x, _ in CASES.values()]
    vectors = [np.cos(x) for x in arrays]

    def derivatives(xs, vs, i, j):
        result = []
        for x, v, (_, f) in zip(xs, vs, CASES.values(), strict=True):
            slope = sg.grad(lambda y, f=f: f(np, y, i, j))
            result.append((slope(x), sg.jvp(slope, (x,), (v,))[1]))
        return result

    got = sg.jit(derivatives)(arrays, vectors, I, J)
    for (name, (x, f)), v, (gradient, product) in zip(CASES.items(), vectors, got, strict=True):
        units = np.eye(x.size).reshape(x.size, *x.shape)
        exact = f(POLYNOMIALS, polynomials(x, units, 1), I, J)
        expected = [float(exact.derivative(k)) for k in range(x.size)]
        np.testing.assert_allclose(gradient.ravel(), expected, rtol=1e-11, atol=1e-13, err_msg=name)
        for w in (v, np.sin(3 * x)):
            exact = f(POLYNOMIALS, polynomials(x, [v, w], 2), I, J)
            second = float(exact.derivative(0, 1))
            np.testing.assert_allclose(
                np.sum(w * product), second, rtol=1e-11, atol=1e-12, err_msg=name
            )


def test_jacobians_and_hessians():
    def f(x, i):
        return x[i] ** 3 * x[0]

    H = np.zeros((5, 5))
    H[I, I], H[I, 0], H[0, I] = 6 * X[I] * X[0], 3 * X[I] ** 2, 3 * X[I] ** 2
    jacobian = np.zeros((6, 4, 6))
    jacobian[np.arange(6), 3, np.arange(6)] = 1
    got = sg.jit(lambda x, w, i: (sg.hessian(f)(x, i), sg.jacrev(lambda w: w[i + 1])(w)))(X, W, I)
    np.testing.assert_allclose(got[0], H, rtol=1e-13)
    np.testing.assert_array_equal(got[1], jacobian)


@pytest.mark.parametrize("n", [33, 200])
def test_beside_lanes(n):
    """Sums over points beside one row of them, and columns that the data choose."""
    A, k = RNG.normal(size=(n, 4)), n // 2

    def f(A, k):
        return np.sum(np.exp(A)) * np.sum(A[k]) + np.sum(np.exp(A[:, k % 4]) * np.sum(A**2, 1))

    expected = np.exp(A) * np.sum(A[k]) + 2 * A * np.exp(A[:, k % 4])[:, None]
    expected[k] += np.sum(np.exp(A))
    expected[:, k % 4] += np.exp(A[:, k % 4]) * np.sum(A**2, 1)
    compiled = sg.compile(sg.grad(f), A, k)
    np.testing.assert_allclose(compiled(A, k), expected, rtol=1e-12)
    for bad in (n, -n - 1):
        with pytest.raises(OutOfRangeError):
            compiled(A, bad)


def test_mapped():
    B, k = RNG.normal(size=(6, 5)), np.array([0, 1, 4, -1, 2, 2])

    def f(x, i):
        return x[i] ** 3

    def rows(B, k):
        return np.where(np.arange(5) == k[:, None] % 5, 3 * B**2, 0)

    got = sg.jit(
        lambda B, k: (
            sg.vmap(sg.grad(f))(B, k),
            sg.vmap(sg.grad(f), in_axes=(0, None))(B, k[2]),
            sg.vmap(sg.grad(f), in_axes=(None, 0))(B[0], k),
            sg.grad(lambda B: np.sum(sg.vmap(f)(B, k)))(B),
        )
    )(B, k)
    for g, e in zip(
        got,
        [rows(B, k), rows(B, np.full(6, 4)), rows(B[:1].repeat(6, 0), k), rows(B, k)],
        strict=True,
    ):
        np.testing.assert_allclose(g, e, rtol=1e-14)
