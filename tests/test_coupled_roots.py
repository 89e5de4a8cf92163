"""Second derivatives where one of several roots is 0 and what it is multiplied by has all of them.

Each function of roots r is even in every r_i, so it is the same smooth function of x where
r = |x|: that is the oracle, differentiated without any root.
"""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg

ROOTS = {
    "abs": np.abs,
    "sqrt": lambda x: np.sqrt(x**2),
    "norm": lambda x: np.linalg.norm(np.stack([x, 0 * x]), axis=0),
}
WEIGHTS = np.arange(9.0).reshape(3, 3)
COUPLED = {
    "square of a sum": lambda r: np.sum(np.cos(r)) ** 2,
    "product": lambda r: np.prod(np.cos(r)),
    "reversed": lambda r: np.sum(np.cos(r) * np.cosh(r[::-1])),
    "rolled": lambda r: np.sum(np.cos(r) * np.cosh(np.roll(r, 1))),
    "neighbours": lambda r: np.sum(np.cos(r[1:]) * np.cosh(r[:-1])) + np.sum(np.cosh(r)),
    "joined": lambda r: np.sum(np.cos(np.concatenate([r, r[:2]])) * np.arange(5.0)),
    "taken": lambda r: np.sum(np.cos(r[[2, 0, 1]]) * np.cosh(r) * np.arange(3.0)),
    "taken twice": lambda r: np.sum(np.cos(r[[2, 0, 2, 1]]) * np.arange(4.0)),
    "stacked": lambda r: np.sum(np.cos(np.stack([r[0], r[1]])) * np.array([1.0, 2.0])) * r[2] ** 2,
    "running sum": lambda r: np.sum(np.cos(r) * np.cumsum(np.cosh(r))),
    "outer product": lambda r: np.sum(np.outer(np.cos(r), np.cosh(r)) ** 2),
    "pairs": lambda r: np.sum(np.cos(r[:, None]) * np.cosh(r[None, :]) * WEIGHTS),
    "bilinear": lambda r: np.cos(r) @ WEIGHTS @ np.cosh(r),
    "logsumexp": lambda r: np.log(np.sum(np.exp(np.cos(r)))),
    "norm of all": lambda r: np.sqrt(1 + np.sum(np.cos(r) ** 2)),
    "column": lambda r: np.sum(np.cos(r.reshape(3, 1)) * np.sum(np.cosh(r))),
    "solve": lambda r: np.sum(
        np.linalg.solve(np.diag(np.cosh(r)) + 0.1 * np.outer(np.cos(r), np.cos(r)), np.ones(3))
        * np.cos(r)
    ),
}
POINTS = [np.array(p) for p in ([0.0, 1.0, 2.0], [0.0, 0.0, 0.7], [0.5, 0.0, 0.0], [0.0] * 3)]


@pytest.mark.quick(6)
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("name", COUPLED)
def test_hessians(name, root):
    """They were those of a function all of whose roots are 0: -6 instead of -4.28."""
    f, of_root = COUPLED[name], ROOTS[root]
    derived = sg.trace(sg.hessian(lambda x: f(of_root(x))), POINTS[0]).simplify()
    smooth = sg.trace(sg.hessian(f), POINTS[0]).simplify()
    for x in POINTS:
        np.testing.assert_allclose(derived.evaluate(x), smooth.evaluate(x), rtol=1e-9, atol=1e-9)


def test_what_is_held_is_not_computed_at_roots_that_are_zero():
    """A matrix that is definite where it is needed, and not where all roots are 0."""

    def f(x):
        r = np.sqrt(0.2 + np.sum(x**2))
        v = np.cos(x / r)
        return np.sum(np.linalg.cholesky(np.outer(v, v) + np.eye(2)))

    x = np.array([0.3, -0.4])
    product = sg.compile(sg.hessian(f), sg.f64[2])(x)
    np.testing.assert_allclose(product, sg.trace(sg.hessian(f), x).evaluate(x), rtol=1e-9)
