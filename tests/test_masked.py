"""What traced masks select: sums and stores of it, and what is refused or followed path by path."""

# ruff: noqa: E501 (tables of expressions)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symgrad as sg
from support.dual import Dual
from symgrad.errors import ConcretizationError, TraceError

POINTS = [np.array(p) for p in (
    [0.3, -0.7, 1.2, -0.1], [-0.3, -0.7, -1.2, -0.1], [0.5, 0.7, 1.2, 2.0], [-2.0, 3.0, -1.0, 0.2],
)]  # fmt: skip


def leaky(x):
    y = x.copy()
    y[x < 0] = 0.1 * x[x < 0]
    return y


def likelihood(x):
    seen = x > 0
    z = np.zeros(4)
    z[seen] = np.sqrt(x[seen]) + 1
    z[~seen] = -np.log(-x[~seen] / 2)
    return z


def sums(x):
    m = x > -0.5
    return np.sum(np.exp(x[m])) + (x[m] ** 2).mean() + np.prod(1 + x[m]) + 2.0 ** x[m].sum()


def products(x):
    m = x < 1
    return (
        np.dot(x[m], np.exp(x[m]))
        + x[m] @ x[m]
        + np.linalg.norm(x[m])
        + np.maximum(x[m], 0.1).sum()
    )


def in_place(x):
    a = x * 2
    a[a > -0.8] -= 0.2
    a[a > 0] *= x[0]
    return a


def matrices(x):
    A = np.outer(x, x)
    B = A - 1
    B[A > 0.1] = 1 / A[A > 0.1] - x[0]
    return B


def counted(x):
    m = x > 0
    total = 0.0
    for k in range(12):
        total = 0.9 * total + np.sum(x[m] * k) + x[x * k > 0.5].sum()
    return total


def known(x):
    z = np.zeros(4)
    mask = np.array([True, False, True, False])
    z[mask] = x[mask] ** 2
    return z + x[mask].max()


def truths(x):
    m = x > 0
    return x[0] * (x[m] > 0.1).all() + x[1] * (x[m] > 1).any() + x[2] * np.sum(x[m] > 0.2)


def either(x):
    v = x[x > 0] if x[0] > 0 else x[x < 0]
    return v.sum() * x[3]


@pytest.mark.parametrize(
    "f", [leaky, likelihood, sums, products, in_place, matrices, counted, known, truths, either],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_values_and_gradients(f: Any) -> None:
    """One graph for all masks; gradients against dual numbers, which cannot be elements of z."""
    w = np.linspace(1.0, 2.0, np.size(f(POINTS[0]))).reshape(np.shape(f(POINTS[0])))
    value = sg.trace(f, POINTS[0])
    gradient = sg.trace(sg.grad(lambda x: np.sum(w * f(x))), POINTS[0])
    for x in POINTS:
        np.testing.assert_allclose(value.evaluate(x), f(x), rtol=1e-14)
        duals = np.array([Dual(v, e) for v, e in zip(x, np.eye(4), strict=True)], object)
        if f in (leaky, in_place, either):
            want = np.sum(w * f(duals)).slope
            np.testing.assert_allclose(gradient.evaluate(x), want, rtol=1e-13)
        else:
            assert np.all(np.isfinite(gradient.evaluate(x)))


def test_what_is_not_selected_is_not_seen() -> None:
    """Neither its value nor its slope, where both are infinite or undefined."""

    def f(x: Any) -> Any:
        return np.sum(np.log(x[x > 0])) + np.sum(1 / x[x != 0]) + np.sum(np.sqrt(x[x > 0]))

    x = np.array([0.0, -1.0, 4.0])
    assert sg.trace(f, x).evaluate(x) == pytest.approx(np.log(4.0) - 1 + 0.25 + 2)
    got = sg.trace(sg.grad(f), x).evaluate(x)
    np.testing.assert_allclose(got, [0.0, -1.0, 0.25 - 1 / 16 + 0.25], rtol=1e-15)
    second = sg.trace(sg.hessian(f), x).evaluate(x)
    np.testing.assert_allclose(np.diag(second), [0, -2, -1 / 16 + 2 / 64 - 1 / 32], rtol=1e-14)


def test_an_argument_that_is_a_mask() -> None:
    """Where the number of elements matters it is static, one version for each content."""
    x = POINTS[0]
    g = sg.jit(lambda x, m: x[m])
    total = sg.jit(lambda x, m: np.sum(x[m] ** 2))
    for m in (x > 0, x < 0, x > 0):
        np.testing.assert_array_equal(g(x, m), x[m])
        assert total(x, m) == pytest.approx(np.sum(x[m] ** 2), rel=1e-15)
    assert (len(g.compiled), len(total.compiled)) == (2, 1)


def test_short_ones_are_followed_path_by_path() -> None:
    def f(x: Any) -> Any:
        v = x[x > 0]
        return len(v) * x[0] + np.sum(np.cumsum(v))

    graph = sg.trace(f, POINTS[0])
    for x in POINTS:
        assert graph.evaluate(x) == pytest.approx(f(x), rel=1e-14)
    with pytest.raises(ConcretizationError, match="not known while tracing.*max_paths"):
        sg.trace(f, np.ones(40))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x[x > 0], lambda x: np.max(x[x > 0]), lambda x: x[x > 0][0], lambda x: x[x > 0] * np.arange(2.0),
        lambda x: x[x > 0] + x[x > 1], lambda x: float(x[x > 0]), lambda x: [v for v in x[x > 0]],
        lambda x: np.array([x[x > 0]]), lambda x: np.sort(x[x > 0]), lambda x: x[x > 0].size * 1.0,
        lambda x: np.add.reduce(x[x > 0]), lambda x: np.sum(x[x > 0], keepdims=True), lambda x: x[x > 0].T,
        lambda x: np.sum(2 ** (x.astype(int)[x > 0])), lambda x: np.outer(x, x)[x > 0].sum(), lambda x: x[x > 0].sum(axis=1),
    ],
)  # fmt: skip
def test_refused(f: Any) -> None:
    with pytest.raises(TraceError):
        sg.trace(f, np.linspace(-1.0, 1.0, 40))
