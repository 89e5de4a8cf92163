"""Second derivatives where one of several roots is 0 and what it is multiplied by has all of them.

Each function of roots r is even in every r_i, so it is the same smooth function of x where
r = |x|: JAX differentiates that, which has no root.
"""

from __future__ import annotations

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import LimitWarning

jax.config.update("jax_enable_x64", True)
ROOTS = {
    "abs": np.abs,
    "sqrt": lambda x: np.sqrt(x**2),
    "norm": lambda x: np.linalg.norm(np.stack([x, 0 * x]), axis=0),
}
WEIGHTS = np.arange(9.0).reshape(3, 3)


def cosh(m, r):
    """Not by name: no rule knows that this is even, and |x| stays in it."""
    return (m.exp(r) + m.exp(-r)) / 2


def solved(m, r):
    matrix = m.diag(cosh(m, r)) + 0.1 * m.outer(m.cos(r), m.cos(r))
    return m.sum(m.linalg.solve(matrix, m.ones(3)) * cosh(m, r))


COUPLED = {
    "square of a sum": lambda m, r: m.sum(cosh(m, r)) ** 2,
    "product": lambda m, r: m.prod(cosh(m, r)),
    "reversed": lambda m, r: m.sum(m.cos(r) * cosh(m, r[::-1])),
    "rolled": lambda m, r: m.sum(m.cos(r) * cosh(m, m.roll(r, 1))),
    "neighbours": lambda m, r: m.sum(cosh(m, r[1:]) * cosh(m, r[:-1])) + m.sum(cosh(m, r)),
    "joined": lambda m, r: m.sum(cosh(m, m.concatenate([r, r[:2]])) * m.arange(5.0)),
    "taken": lambda m, r: m.sum(m.cos(r[np.array([2, 0, 1])]) * cosh(m, r) * m.arange(3.0)),
    "taken twice": lambda m, r: m.sum(cosh(m, r[np.array([2, 0, 2, 1])]) * m.arange(4.0)),
    "stacked": lambda m, r: m.sum(cosh(m, m.stack([r[0], r[1]])) * m.arange(2.0)) * r[2] ** 2,
    "running sum": lambda m, r: m.sum(m.cos(r) * m.cumsum(cosh(m, r))),
    "outer product": lambda m, r: m.sum(m.outer(m.cos(r), cosh(m, r)) ** 2),
    "pairs": lambda m, r: m.sum(m.cos(r[:, None]) * cosh(m, r[None, :]) * WEIGHTS),
    "bilinear": lambda m, r: m.cos(r) @ WEIGHTS @ cosh(m, r),
    "logsumexp": lambda m, r: m.log(m.sum(m.exp(cosh(m, r)))),
    "norm of all": lambda m, r: m.sqrt(1 + m.sum(cosh(m, r) ** 2)),
    "column": lambda m, r: m.sum(m.cos(r.reshape(3, 1)) * m.sum(cosh(m, r))),
    "solve": solved,
}
POINTS = [np.array(p) for p in ([0.0, 1.0, 2.0], [0.0, 0.0, 0.7], [0.5, 0.0, 0.0], [0.0] * 3)]


@functools.cache
def smooth(name):
    return jax.jit(jax.hessian(lambda x: COUPLED[name](jnp, x)))


@pytest.mark.quick(6)
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("name", COUPLED)
def test_hessians(name, root):
    """They were those of a function all of whose roots are 0."""
    derived = sg.trace(sg.hessian(lambda x: COUPLED[name](np, ROOTS[root](x))), POINTS[0])
    derived = derived.simplify()
    for x in POINTS:
        np.testing.assert_allclose(derived.evaluate(x), smooth(name)(x), rtol=1e-9, atol=1e-9)


def test_a_kernel_of_distances():
    """(Σ m(|x_i|))² with m(r) = (1 + r) exp(-r); m'(0) = 0, m''(0) = -1: a closed form."""
    total = lambda x: np.sum((1 + np.abs(x)) * np.exp(-np.abs(x)))
    x = np.array([0.0, 1.0, 2.0])
    first = -x * np.exp(-x)
    exact = 2 * np.outer(first, first) + 2 * total(x) * np.diag((x - 1) * np.exp(-x))
    assert exact[0, 0] == pytest.approx(-4.2835, rel=1e-4)  # was -6
    found = sg.trace(sg.hessian(lambda x: total(x) ** 2), x).evaluate(x)
    np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e-15)


def test_what_is_held_is_not_computed_at_roots_that_are_zero():
    """A matrix that is definite where it is needed, and was factorised where it is not."""

    def f(m, a, x):
        v = m.cos(x / m.sqrt(0.2 + m.sum(x**2)))
        w = m.sin(a.T @ a) * v
        return m.sum(m.linalg.cholesky(w.T @ w / 5 + 1.5 * m.eye(2)))

    a, x = np.zeros((0, 2)), np.array([0.3, -0.4])
    found = sg.compile(sg.hessian(lambda x: f(np, a, x)), sg.f64[2])(x)
    theirs = jax.hessian(lambda x: f(jnp, a, x))(x)
    np.testing.assert_allclose(found, theirs, rtol=1e-9, atol=1e-12)


ALONG = np.array([1.0, -2.0, 3.0])


def higher(module, numpy, f, modes):
    """A derivative along ALONG more for each mode: gradients of products (r), products (f)."""
    g = module.grad(f)
    for mode in modes:
        inner = g
        if mode == "r":
            g = module.grad(lambda x, inner=inner: numpy.sum(inner(x) * ALONG))
        else:
            g = lambda x, inner=inner: module.jvp(inner, (x,), (ALONG,))[1]
    return g


@functools.cache
def higher_of_smooth(name, modes):
    return jax.jit(higher(jax, jnp, lambda x: COUPLED[name](jnp, x), modes))


@pytest.mark.slow
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("name", COUPLED)
def test_third_derivatives(name, root):
    """Slopes had limits where they are read through a roll before they met what vanishes there."""
    for modes in ("rr", "rf", "fr", "ff"):
        f = lambda x: COUPLED[name](np, ROOTS[root](x))
        derived = sg.trace(higher(sg, np, f, modes), POINTS[0]).simplify()
        for x in POINTS:
            np.testing.assert_allclose(
                derived.evaluate(x),
                higher_of_smooth(name, "rr")(x),
                rtol=1e-7,
                atol=1e-7,
                err_msg=modes,
            )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["neighbours", "stacked", "square of a sum", "pairs"])
def test_fourth_derivatives_are_right_or_said_not_to_be(name):
    """Those of `neighbours` and `stacked` are wrong by reverse mode three times."""
    for modes in ("rrr", "ffr"):
        f = lambda x: COUPLED[name](np, np.abs(x))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            derived = sg.trace(higher(sg, np, f, modes), POINTS[0]).simplify()
        assert all(w.category is LimitWarning for w in said)
        for x in POINTS:
            found, right = derived.evaluate(x), higher_of_smooth(name, modes)(x)
            assert said or np.allclose(found, right, rtol=1e-7, atol=1e-7)


def test_a_limit_that_is_left_out_is_said():
    def far(x):  # more nodes on one root than limits are searched among
        y = r = np.sqrt(x @ x)
        for _ in iter([0] * 160):
            y = np.sin(y) + r
        return y

    with pytest.warns(LimitWarning, match="over 300 nodes are above the root") as said:
        sg.trace(sg.grad(lambda x: np.sum(sg.grad(far)(x))), sg.f64[2])
    assert {w.filename for w in said} == {__file__}
