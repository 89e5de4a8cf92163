"""Bessel functions in C and in the evaluator, against mpmath with 40 digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import scipy.special as sp

import symgrad as sg
from symgrad.errors import UnsupportedError
from symgrad.ops import bessel
from symgrad.trace.ufuncs import FORMULAS

RNG = np.random.default_rng(0)
X = np.concatenate([
    RNG.uniform(0, 3, 20), RNG.uniform(-45, 45, 60), 10 ** RNG.uniform(-9, 15, 30),
    [24.999, 25, 25.001, 12, 12.001, 30.01, 700, 713, 1e-300, 0.0],
    [2.404825557695773, 3.8317059702075125, 5.520078110286311, 49.482609897397815],  # zeros
])  # fmt: skip
EXACT = {
    "j": lambda n, x: mpmath.besselj(n, x),
    "i": lambda n, x: mpmath.besseli(abs(n), x),
    "ie": lambda n, x: mpmath.besseli(abs(n), x) * mpmath.exp(-abs(x)),
}
FUNCTIONS = {
    "j0": ("j", 0), "j1": ("j", 1), "i0": ("i", 0), "i1": ("i", 1), "i0e": ("ie", 0),
    "i1e": ("ie", 1),
}  # fmt: skip


def exact(kind, n, x):
    with mpmath.workdps(40):
        return np.array([float(mpmath.re(EXACT[kind](n, mpmath.mpf(float(v))))) for v in x])


def points(kind):
    return X[abs(X) < {"j": 1e20, "i": 713.5, "ie": 1e5}[kind]]


def ulps(kind, n, x, got, want):
    """Errors in units of the last place of the value, of J's amplitude where it oscillates."""
    size = abs(want)
    if kind == "j":
        size = np.where(abs(x) > abs(n), np.minimum(1, np.sqrt(2 / np.pi / np.maximum(abs(x), 1))),
                        size)  # fmt: skip
    return np.max(np.where(got == want, 0, abs(got - want) / np.where(size, size, 1))) * 2**52


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.quick(1)
def test_values_in_c_and_in_the_evaluator(name):
    kind, n = FUNCTIONS[name]
    f = getattr(sp, name)
    x = points(kind)
    want = exact(kind, n, x)
    assert ulps(kind, n, x, getattr(bessel, f"bessel_{kind}")(n, x), want) < 6
    assert ulps(kind, n, x, sg.jit(lambda t: f(t))(x), want) < 6
    single = x.astype(np.float32)
    single = single[abs(single) < 80]
    want = exact(kind, n, single)
    got = sg.jit(lambda t: f(t))(single)
    assert got.dtype == np.float32
    assert ulps(kind, n, single, got, want.astype(np.float32)) < 2**29  # the nearest but one


@pytest.mark.parametrize("n", [2, 5, 12, -3, 40, 100])
@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.quick(1)
def test_other_orders(kind, n):
    x = points(kind)[::2]
    with np.errstate(over="ignore"):
        want = exact(kind, n, x)
    f = {"j": sp.jv, "i": sp.iv, "ie": sp.ive}[kind]
    kept = abs(want) > 1e-290
    bound = 6 + 0.3 * abs(n)
    for got in (getattr(bessel, f"bessel_{kind}")(n, x), sg.jit(lambda t: f(n, t))(x)):
        assert ulps(kind, n, x[kept], got[kept], want[kept]) < bound
        np.testing.assert_allclose(got[~kept], want[~kept], atol=1e-290)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.quick(2)
def test_derivatives(name):
    """To order 3, at 0 too, where quotients by x would be 0/0."""
    kind, n = FUNCTIONS[name]
    f = getattr(sp, name)
    x = np.array([0.0, 1e-9, 0.4, -1.3, 2.404825557695773, 7.0, 13.5, -31.0])
    x = x[1:] if kind == "ie" else x  # its kink
    slope = lambda order, v: float(mpmath.diff(lambda t: EXACT[kind](n, t), v, order))
    g = lambda t: f(t)
    with mpmath.workdps(40):
        for order in (1, 2, 3):
            g = sg.grad(g)
            want = [slope(order, mpmath.mpf(v)) for v in x.tolist()]
            got = [g(v) for v in x.tolist()]
            np.testing.assert_allclose(got, want, rtol=2e-14 * 30**order, atol=1e-15)


def test_batches_edges_and_refusals():
    x = np.array([[0.3, -1.0], [np.nan, np.inf]])
    for name in FUNCTIONS:
        f = getattr(sp, name)
        with np.errstate(all="ignore"):
            end = {"j0": 0, "j1": 0, "i0": np.inf, "i1": np.inf, "i0e": 0, "i1e": 0}[name]
            want = np.where(np.isinf(x), end, f(x))  # SciPy has NaN
            np.testing.assert_allclose(sg.jit(lambda t, f=f: f(t))(x), want, rtol=1e-14)
            np.testing.assert_allclose(sg.vmap(lambda t, f=f: f(t))(x), want, rtol=1e-14)
    np.testing.assert_allclose(sg.jit(lambda t: np.i0(t))(x[0]), sp.i0(x[0]), rtol=1e-14)
    np.testing.assert_allclose(bessel.bessel_j(0.5, x), np.nan)
    np.testing.assert_allclose(bessel.bessel_j(101, x), np.nan)
    assert sg.grad(lambda t: sp.i0e(t))(0.0) == 0.0  # the least of the slopes at the kink
    for order in (0.5, np.array([0, 1])):
        with pytest.raises(UnsupportedError, match="plain integer"):
            sg.grad(lambda t, n=order: np.sum(sp.jv(n, t)))(1.0)
    assert {"j0", "jv", "ive"} <= set(FORMULAS)
