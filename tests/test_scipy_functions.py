"""Functions of SciPy that are replaced by identity: SciPy's numbers, and derivatives of others.

Functions here call `lookup(f)(...)`, which is what a traced function calls instead of f.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import scipy.interpolate as si
import scipy.linalg
import scipy.optimize
import scipy.signal
import scipy.sparse
import scipy.spatial
import scipy.special as sp
import scipy.stats as st
from scipy.spatial import distance

import symgrad as sg
from symgrad.errors import ShapeError, UnsupportedError
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import arg
from symgrad.trace import Tracer, record
from symgrad.trace.scipy_sparse_api import matmul
from symgrad.trace.scipy_table import NAMES, advice_for, lookup

RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 4)) / 2
SPD = A @ A.T + np.eye(4)
B, V = RNG.normal(size=(4, 2)), RNG.normal(size=4)
P, Q = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3))


@pytest.fixture(autouse=True)
def x64() -> Any:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def traced(f: Callable[..., Any], *values: Any) -> Any:
    """What `f` computes on `values` by way of a trace."""
    nodes = [arg(i, np.shape(v), np.asarray(v).dtype.name) for i, v in enumerate(values)]
    outs, treedef = record(f, tuple(Tracer(n, True) for n in nodes), {})
    check(outs)
    return treedef.unflatten(
        evaluate(outs, {n: np.asarray(v) for n, v in zip(nodes, values, strict=True)})
    )


def compare(f: Any, *values: Any, rtol: float = 1e-12, **options: Any) -> None:
    """`f` itself against its counterpart on traced values, and on plain ones."""
    wanted = f(*values, **options)
    for got in (
        traced(lambda *a: lookup(f)(*a, **options), *values),
        lookup(f)(*values, **options),
    ):
        for g, w in zip(got, wanted, strict=True) if isinstance(wanted, tuple) else [(got, wanted)]:
            if not isinstance(w, bool):
                assert np.shape(g) == np.shape(w)
                np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol)


# ---- ufuncs that are formulas or rows of their own ---------------------------------------------

EXACT: dict[str, tuple[Callable[..., Any], tuple[tuple[float, ...], ...]]] = {
    "ndtri": (lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1), ((0.1,), (0.7,), (1e-9,))),
    "erfinv": (mp.erfinv, ((0.3,), (-0.9,), (1e-12,))),
    "erfcinv": (lambda p: mp.erfinv(1 - p), ((0.3,), (1.9,), (1e-9,))),
    "erfcx": (lambda x: mp.exp(x * x) * mp.erfc(x), ((-2.0,), (0.4,), (3.0,), (40.0,))),
    "log_ndtr": (lambda x: mp.log(mp.ncdf(x)), ((-30.0,), (-1.0,), (0.0,), (4.0,))),
    "exprel": (lambda x: mp.expm1(x) / x if x else mp.mpf(1), ((1e-9,), (0.5,), (-3.0,))),
    "gamma": (mp.gamma, ((0.3,), (4.5,), (-2.5,), (30.0,))),
    "loggamma": (mp.loggamma, ((0.3,), (4.5,), (300.0,))),
    "beta": (mp.beta, ((0.3, 2.0), (4.5, 7.0), (-0.5, 2.2), (-1.5, 0.7))),
    "exp10": (lambda x: mp.mpf(10) ** x, ((0.3,), (-2.0,))),
    "boxcox": (lambda x, k: (x**k - 1) / k, ((2.0, 1e-7), (3.0, 0.5), (0.2, -3.0))),
    "boxcox1p": (lambda x, k: ((1 + x) ** k - 1) / k, ((1e-6, 0.5), (3.0, -0.5))),
    "huber": (
        lambda d, r: r * r / 2 if abs(r) <= d else d * (abs(r) - d / 2),
        ((1.0, 0.3), (1.0, -2.0), (0.5, 4.0)),
    ),
    "pseudo_huber": (
        lambda d, r: d * d * (mp.sqrt(1 + (r / d) ** 2) - 1), ((1.0, 1e-6), (0.5, -3.0)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.quick(3)
def test_values_and_derivatives_of_ufuncs(name: str) -> None:
    """Values, first and second derivatives, at 50 digits."""
    exact, points = EXACT[name]
    f = getattr(sp, name)
    for at in points:
        n = len(at)
        with mp.workdps(50):
            point = tuple(map(mp.mpf, at))

            def partial(*orders: int, point: Any = point) -> float:
                return float(mp.diff(exact, point, orders))

            unit = [tuple(int(i == k) for i in range(n)) for k in range(n)]
            value, first = float(exact(*point)), [partial(*e) for e in unit]
            second = [[partial(*(x + y for x, y in zip(a, b, strict=True))) for b in unit]
                      for a in unit]  # fmt: skip
        args = tuple(range(n))
        np.testing.assert_allclose(traced(f, *at), value, rtol=3e-14)
        np.testing.assert_allclose(traced(sg.grad(f, argnums=args), *at), first, rtol=1e-13)
        got = traced(sg.hessian(f, argnums=args), *at)
        np.testing.assert_allclose(got, second, rtol=1e-11, atol=1e-13)


def test_ends_of_ufuncs() -> None:
    special = np.array([-np.inf, -30.0, -1.0, 0.0, 1.0, 2.0, 30.0, 800.0, np.inf, np.nan])
    for name in ("ndtri", "erfinv", "erfcinv", "erfcx", "log_ndtr", "exprel", "gamma", "loggamma"):
        f = getattr(sp, name)
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(traced(f, special), f(special), rtol=1e-13, err_msg=name)
    delta, r = (g.ravel() for g in np.meshgrid([-1.0, 0.0, 0.5, 2.0], [-3.0, 0.0, 0.3]))
    for f in (sp.huber, sp.pseudo_huber):
        np.testing.assert_allclose(traced(f, delta, r), f(delta, r), rtol=1e-14)
    compare(sp.multigammaln, 4.5, d=3)
    for name in ("logsumexp", "softmax", "log_softmax"):
        compare(getattr(sp, name), A, axis=1)


INCOMPLETE = {
    "gammainc": lambda a, x: mp.gammainc(a, 0, x, regularized=True),
    "gammaincc": lambda a, x: mp.gammainc(a, x, mp.inf, regularized=True),
    "chdtr": lambda v, x: mp.gammainc(v / 2, 0, x / 2, regularized=True),
    "chdtrc": lambda v, x: mp.gammainc(v / 2, x / 2, mp.inf, regularized=True),
    "betainc": lambda a, b, x: mp.betainc(a, b, 0, x, regularized=True),
    "stdtr": lambda v, t: (
        mp.betainc(v / 2, mp.mpf(1) / 2, 0, v / (v + t * t), regularized=True) / 2
        if t < 0 else 1 - mp.betainc(v / 2, mp.mpf(1) / 2, 0, v / (v + t * t), regularized=True) / 2
    ),
}  # fmt: skip


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", INCOMPLETE)
def test_incomplete_functions(name: str) -> None:
    """Values against mpmath, in NumPy and in C; derivatives by the last argument."""
    f, exact = getattr(sp, name), INCOMPLETE[name]
    shapes = [(0.3,), (1.0,), (2.5,), (11.0,), (240.0,)]
    variables = np.array([1e-3, 0.4, 1.7, 9.0, 30.0, 260.0])
    if name == "betainc":
        shapes = [(0.5, 0.5), (2.0, 3.5), (30.0, 4.0), (150.0, 220.0)]
        variables = np.array([1e-3, 0.2, 0.45, 0.5, 0.9, 0.999])
    if name == "stdtr":
        variables = np.concatenate([-variables, [0.0], variables])

    def both(x: Any) -> Any:
        return [f(*s, x) for s in shapes]

    wanted = [[float(exact(*map(mp.mpf, s), mp.mpf(float(v)))) for v in variables] for s in shapes]
    for got in (traced(both, variables), sg.jit(both)(variables)):
        np.testing.assert_allclose(got, wanted, rtol=3e-12, atol=1e-300)
    for s in shapes[1:3]:
        for v in variables[1:4]:
            slope = float(mp.diff(lambda x, s=s: exact(*map(mp.mpf, s), x), mp.mpf(float(v))))
            got = traced(sg.grad(lambda x, s=s: f(*s, x)), v)
            np.testing.assert_allclose(got, slope, rtol=1e-11)
    ends = np.array([-1.0, 0.0, 1.0, np.inf, np.nan])
    with np.errstate(all="ignore"):
        for s in (*shapes, tuple(-1.0 for _ in shapes[0])):
            np.testing.assert_allclose(
                traced(lambda x, s=s: f(*s, x), ends), f(*s, ends), rtol=1e-12
            )
    with pytest.raises(UnsupportedError, match="of a traced shape"):
        sg.trace(lambda a: f(*[a for _ in shapes[0]], 0.3), sg.f64)


# ---- linear algebra ------------------------------------------------------------------------------


def test_linear_algebra() -> None:
    la = scipy.linalg
    for b in (V, B):
        compare(la.solve, A + 2 * np.eye(4), b)
        compare(la.solve, A, b, transposed=True, rtol=1e-10)
        for lower in (False, True):
            compare(la.solve, SPD, b, lower=lower, assume_a="pos")
            compare(
                la.solve, np.tril(SPD) if lower else np.triu(SPD), b, lower=lower, assume_a="sym"
            )
            got = traced(lambda a, b, k=lower: lookup(la.cho_solve)(lookup(la.cho_factor)(a, k), b),
                         SPD, b)  # fmt: skip
            np.testing.assert_allclose(got, np.linalg.solve(SPD, b), rtol=1e-11)
            c = la.cho_factor(SPD, lower)
            got = traced(lambda b, c=c: lookup(la.cho_solve)(c, b), b)
            np.testing.assert_allclose(got, la.cho_solve(c, b), rtol=1e-12)
            compare(la.solve_triangular, A + 3 * np.eye(4), b, lower=lower)
    for f in (la.inv, la.det, la.expm, la.norm):
        compare(f, A, rtol=1e-11)
    for lower in (False, True):
        compare(la.cholesky, SPD, lower=lower)
        half = np.tril(SPD) if lower else np.triu(SPD)
        compare(la.cholesky, half, lower=lower)
        factor, flag = lookup(la.cho_factor)(half, lower)
        np.testing.assert_allclose(factor, la.cholesky(SPD, lower), rtol=1e-13)
        assert flag is lower
    compare(la.block_diag, A, V, B, np.float64(3.0))
    compare(la.block_diag, np.zeros((0, 2)), B)
    compare(la.toeplitz, V)
    compare(la.toeplitz, V, P[0])
    compare(la.circulant, V)
    with pytest.raises(UnsupportedError, match="assume_a='hmm'"):
        traced(lambda a: lookup(la.solve)(a, V, assume_a="hmm"), A)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-9, 1.0, 8.0, 100.0])
def test_the_exponential_of_matrices(scale: float) -> None:
    x = A * scale - np.eye(4) * scale / 2
    got = traced(lookup(scipy.linalg.expm), x)
    with mp.workdps(60):
        wanted = np.array(mp.expm(mp.matrix(x.tolist()), "taylor").tolist(), float)
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-13 * np.abs(wanted).max())
    weights = RNG.normal(size=(4, 4))
    gradient = traced(sg.grad(lambda x: np.sum(weights * lookup(scipy.linalg.expm)(x))), x)
    theirs = np.asarray(jax.grad(lambda x: (weights * jax.scipy.linalg.expm(x)).sum())(x))
    np.testing.assert_allclose(gradient, theirs, rtol=1e-9, atol=1e-11 * np.abs(theirs).max())
    assert np.isnan(traced(lookup(scipy.linalg.expm), np.eye(2) * 1e6)).all()


@pytest.mark.slow
def test_gradients_of_linear_algebra() -> None:
    la, jla = scipy.linalg, jax.scipy.linalg

    def gp(y: Any, ls: Any, lib: Any, find: Any) -> Any:
        """A Gaussian process: minus twice its log likelihood."""
        k = lib.exp(-((y[:, None] - y[None, :]) ** 2) / ls) + 0.1 * np.eye(4)
        c = find.cho_factor(k, lower=True)
        half = lib.sum(lib.log(lib.diagonal(c[0])))
        return y @ find.cho_solve(c, y) + 2 * half

    class Ours:
        cho_factor = staticmethod(lookup(la.cho_factor))
        cho_solve = staticmethod(lookup(la.cho_solve))

    ours = traced(sg.grad(lambda y, s: gp(y, s, np, Ours), argnums=(0, 1)), V, 0.7)
    theirs = jax.grad(lambda y, s: gp(y, s, jnp, jla), (0, 1))(V, 0.7)
    for o, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(o, t, rtol=1e-10)
    w = RNG.normal(size=(4, 5))
    wave = sg.grad(lambda c, r: np.sum(w * np.sin(lookup(la.toeplitz)(c, r))), argnums=(0, 1))
    ours = traced(wave, V, np.arange(5.0))
    theirs = jax.grad(lambda c, r: jnp.sum(w * jnp.sin(jla.toeplitz(c, r))), (0, 1))(
        V, jnp.arange(5.0)
    )
    for o, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(o, t, rtol=1e-12)


# ---- distances, Rosenbrock -----------------------------------------------------------------------

METRICS = ["euclidean", "sqeuclidean", "cityblock", "chebyshev", "minkowski", "cosine",
           "correlation", "canberra", "braycurtis"]  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
def test_distances(metric: str) -> None:
    compare(distance.cdist, P, Q, metric=metric)
    compare(distance.pdist, P, metric=metric)
    f = getattr(distance, metric)
    compare(f, P[0], Q[0])
    if metric in ("euclidean", "sqeuclidean", "cityblock", "minkowski", "cosine", "canberra"):
        compare(f, P[0], Q[0], w=np.array([1.0, 2.0, 0.5]))


def test_distances_with_parameters() -> None:
    compare(distance.cdist, P, Q, metric="minkowski", p=3)
    compare(distance.cdist, P, Q, metric="minkowski", p=1.5, w=np.array([1.0, 2.0, 0.5]))
    compare(distance.cdist, P, Q, metric="mahalanobis", VI=SPD[:3, :3])
    compare(distance.cdist, P, Q, metric="seuclidean", V=np.array([1.0, 2.0, 0.5]))
    compare(distance.cdist, P, Q, metric=distance.cityblock)
    compare(distance.mahalanobis, P[0], Q[0], SPD[:3, :3])
    compare(scipy.spatial.distance_matrix, P, Q)
    compare(distance.squareform, distance.pdist(P))
    compare(distance.squareform, distance.squareform(distance.pdist(P)))
    with pytest.raises(UnsupportedError, match="'jaccard' is not traced; .*cityblock"):
        traced(lambda x: lookup(distance.cdist)(x, Q, "jaccard"), P)
    with pytest.raises(UnsupportedError, match="a metric of one's own"):
        traced(lambda x: lookup(distance.cdist)(x, Q, lambda u, v: u @ v), P)
    with pytest.raises(ShapeError, match=r"\(5, 3\) and \(4, 4\)"):
        traced(lambda x: lookup(distance.cdist)(x, A), P)


@pytest.mark.slow
def test_the_gradient_of_distances_between_equal_points() -> None:
    def spread(x: Any) -> Any:
        return np.sum(lookup(distance.cdist)(x, x))

    def theirs(x: Any) -> Any:
        d2 = ((x[:, None] - x[None]) ** 2).sum(-1) + jnp.eye(5)
        return jnp.sqrt(d2).sum()

    np.testing.assert_allclose(traced(sg.grad(spread), P), jax.grad(theirs)(P), rtol=1e-12)
    got = traced(sg.grad(lambda x: np.sum(lookup(distance.pdist)(x) ** 2)), P)
    np.testing.assert_allclose(got, 2 * (5 * P - P.sum(0)), rtol=1e-12)


def test_rosenbrock() -> None:
    so = scipy.optimize
    x = RNG.normal(size=6)
    for f in (so.rosen, so.rosen_der, so.rosen_hess):
        compare(f, x)
    compare(so.rosen_hess_prod, x, V.repeat(2)[:6])
    compare(so.rosen, P)
    np.testing.assert_allclose(traced(sg.grad(lookup(so.rosen)), x), so.rosen_der(x), rtol=1e-12)
    np.testing.assert_allclose(
        traced(sg.hessian(lookup(so.rosen)), x), so.rosen_hess(x), rtol=1e-12
    )


# ---- interpolation -------------------------------------------------------------------------------

NODES = np.array([0.0, 0.4, 1.0, 1.7, 2.0, 3.1, 4.0])
Y, Y2 = np.sin(NODES), np.stack([np.sin(NODES), np.cos(NODES) + NODES], -1)
AT = np.array([-0.5, 0.0, 0.2, 0.4, 1.3, 2.0, 3.5, 4.0, 4.6, np.nan])
SPLINES: dict[str, Any] = {
    "cubic": si.CubicSpline(NODES, Y), "natural": si.CubicSpline(NODES, Y2, bc_type="natural"),
    "no extrapolation": si.CubicSpline(NODES, Y, extrapolate=False),
    "periodic": si.CubicSpline(NODES, np.append(Y[:-1], Y[0]), bc_type="periodic"),
    "axis 1": si.CubicSpline(NODES, Y2.T, axis=1), "pchip": si.PchipInterpolator(NODES, Y),
    "akima": si.Akima1DInterpolator(NODES, Y), "one interval": si.PPoly([[1.0], [2.0]], [0.0, 1.0]),
    "bspline": si.make_interp_spline(NODES, Y2), "quintic": si.make_interp_spline(NODES, Y, k=5),
    "linear spline": si.make_interp_spline(NODES, Y, k=1),
    "BSpline": si.BSpline([0.0, 0, 0, 0, 1, 1, 2, 3, 3, 3, 3], [1.0, 2, -1, 3, 0, 1, 2], 3),
    "bpoly": si.BPoly([[1.0, 2], [0.5, 1], [3.0, 1]], [0.0, 1.0, 4.0]),
    "univariate": si.UnivariateSpline(NODES, Y, s=0),
    "univariate zeros": si.UnivariateSpline(NODES, Y, s=0.01, ext=1),
    "univariate const": si.InterpolatedUnivariateSpline(NODES, Y, ext="const"),
}  # fmt: skip
KINDS = [
    "linear",
    "slinear",
    "quadratic",
    "cubic",
    "zero",
    "nearest",
    "nearest-up",
    "previous",
    "next",
]


@pytest.mark.parametrize("name", SPLINES)
@pytest.mark.quick(7)
def test_splines(name: str) -> None:
    spline = SPLINES[name]
    for x in (AT, AT[:4].reshape(2, 2), np.float64(1.3)):
        wanted = spline(x)
        if "univariate" in name:  # SciPy has a number for NaN there
            x = np.where(np.isnan(x), 0.7, x)
            wanted = spline(x)
        got = traced(lambda x: lookup(spline)(x), x)
        assert np.shape(got) == np.shape(wanted)
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)
    inner = np.array([0.1, 0.7, 1.3, 2.5, 3.4])
    if name == "axis 1":
        return
    slope = spline.derivative()(inner)
    ours = traced(lambda x: lookup(spline)(x, 1), inner)
    np.testing.assert_allclose(ours, slope, rtol=1e-10, atol=1e-11)
    derived = [traced(sg.jacfwd(lambda x: lookup(spline)(x)), v) for v in inner]
    np.testing.assert_allclose(derived, slope, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_interp1d(kind: str) -> None:
    x = np.array([-0.5, 0.0, 0.1, 0.2, 0.4, 1.3, 1.35, 2.0, 3.5, 4.0, 4.6])
    for options in (dict(bounds_error=False), dict(fill_value="extrapolate"),
                    dict(bounds_error=False, fill_value=(-1.0, 9.0))):  # fmt: skip
        f = si.interp1d(NODES, Y, kind=kind, **options)
        np.testing.assert_allclose(
            traced(lambda x, f=f: lookup(f)(x), x), f(x), rtol=1e-11, atol=1e-13
        )
        if kind in ("linear", "slinear", "quadratic", "cubic"):
            got = traced(
                lambda x, y, o=options: lookup(si.interp1d)(NODES, y, kind=kind, **o)(x), x, Y
            )
            np.testing.assert_allclose(got, f(x), rtol=1e-11, atol=1e-13)
    f = si.interp1d(NODES, Y2, kind=kind, axis=0)
    np.testing.assert_allclose(traced(lambda x: lookup(f)(x), x[1:-1]), f(x[1:-1]), rtol=1e-11)
    assert np.isnan(traced(lambda x: lookup(f)(x), np.float64(9.0))).all()  # SciPy raises


def test_interpolants_of_traced_values() -> None:
    x = np.array([0.3, 1.3, 3.9])
    linear = {
        "natural": lambda f, y: f.CubicSpline(NODES, y, bc_type="natural")(x),
        "not-a-knot": lambda f, y: f.CubicSpline(NODES, y)(x, 1),
        "clamped": lambda f, y: f.CubicSpline(NODES, y, bc_type=((1, 0.5), (2, -1.0)))(x),
        "bspline": lambda f, y: f.make_interp_spline(NODES, y)(x),
        "coefficients": lambda f, y: f.BSpline(SPLINES["quintic"].t, y, 5)(x),
        "more coefficients": lambda f, y: f.BSpline(np.arange(9.0), y, 2)(x + 2),
        "splev": lambda f, y: f.splev(x, (SPLINES["quintic"].t, y, 5), 1),
    }  # fmt: skip

    class Ours:
        CubicSpline = staticmethod(lookup(si.CubicSpline))
        make_interp_spline = staticmethod(lookup(si.make_interp_spline))
        BSpline = staticmethod(lookup(si.BSpline))
        splev = staticmethod(lookup(si.splev))

    for name, f in linear.items():
        wanted = f(si, Y)
        np.testing.assert_allclose(
            traced(lambda y, f=f: f(Ours, y), Y), wanted, rtol=1e-11, err_msg=name
        )
        jacobian = traced(sg.jacobian(lambda y, f=f: f(Ours, y)), Y)
        rows = [f(si, Y + e) - f(si, Y) for e in np.eye(7)]  # it is affine
        np.testing.assert_allclose(
            jacobian, np.transpose(rows), rtol=1e-9, atol=1e-11, err_msg=name
        )
    got = traced(lambda y: lookup(si.CubicSpline)(NODES, y, axis=0)(x), Y2)
    np.testing.assert_allclose(got, si.CubicSpline(NODES, Y2)(x), rtol=1e-11)
    with pytest.raises(UnsupportedError, match="nodes must be plain"):
        traced(lambda n: lookup(si.CubicSpline)(n, Y)(x), NODES)


def test_regular_grids() -> None:
    grid = (NODES, np.array([0.0, 1.0, 2.5]))
    values = RNG.normal(size=(7, 3, 2))
    points = np.stack([RNG.uniform(0, 4, (5, 2)), RNG.uniform(0, 2.5, (5, 2))], -1)
    f = si.RegularGridInterpolator(grid, values)
    np.testing.assert_allclose(traced(lambda x: lookup(f)(x), points), f(points), rtol=1e-12)
    beyond = points + 2
    for fill in (None, -1.0):
        g = si.RegularGridInterpolator(grid, values[..., 0], bounds_error=False, fill_value=fill)
        np.testing.assert_allclose(
            traced(lambda x, g=g: lookup(g)(x), beyond), g(beyond), rtol=1e-12
        )
    g = si.RegularGridInterpolator(grid, values, method="nearest")
    with pytest.raises(UnsupportedError, match="'linear' is"):
        traced(lambda x: lookup(g)(x), points)


# ---- sparse constants ----------------------------------------------------------------------------

FORMATS = ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"]


@pytest.mark.parametrize("kind", FORMATS)
def test_sparse_constants(kind: str) -> None:
    dense = np.where(RNG.uniform(size=(4, 6)) < 0.4, RNG.normal(size=(4, 6)), 0)
    for cls in (scipy.sparse.csr_array, scipy.sparse.csr_matrix):
        matrix = cls(dense).asformat(kind)
        x, wide = RNG.normal(size=6), RNG.normal(size=(6, 3))
        for v in (x, wide):
            np.testing.assert_allclose(traced(lambda w, s=matrix: lookup(s.dot)(w), v), dense @ v)
            np.testing.assert_allclose(traced(lambda w, s=matrix: matmul(s, w), v), dense @ v)
        for v in (V, B.T):
            np.testing.assert_allclose(traced(lambda w, s=matrix: matmul(w, s), v), v @ dense)
    np.testing.assert_allclose(traced(sg.jacobian(lambda w: matmul(matrix, np.sin(w))), x),
                               dense * np.cos(x))  # fmt: skip
    with pytest.raises(ShapeError, match=r"\(4, 6\) times an array of \(4,\)"):
        traced(lambda w: matmul(matrix, w), V)


# ---- the table -----------------------------------------------------------------------------------


def test_every_name_is_one_of_scipy() -> None:

    for name in NAMES:
        parts = name.split(".")
        k = next(k for k in range(len(parts), 0, -1) if ".".join(parts[:k]) in sys.modules)
        target: Any = sys.modules[".".join(parts[:k])]
        for part in parts[k:]:
            target = getattr(target, part)
        assert lookup(target) is not None, name


def test_what_is_not_scipys_is_not_looked_up() -> None:
    for f in (np.sin, np.sum, len, sg.grad, lambda x: x, str.upper, object(), sp.gamma, None, 3):
        assert lookup(f) is None
    assert lookup(scipy.signal.convolve) is None


@pytest.mark.slow
def test_scipy_is_not_imported() -> None:
    code = "import sys, symgrad; from symgrad.trace.scipy_table import lookup; lookup(print); " \
           "sys.exit(any(m.startswith('scipy') for m in sys.modules))"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "f, words",
    [
        (scipy.linalg.eigh, r"^scipy\.linalg\.eigh is not supported while tracing; "),
        (scipy.optimize.minimize, r"scipy\.optimize\.minimize .*loop"),
        (scipy.signal.fftconvolve, r"scipy\.signal\.fftconvolve .*np\.convolve"),
        (sp.ellipk, r"scipy\.special\.ellipk is not supported.*NumPy"),
        (distance.jensenshannon, r"scipy\.spatial\.distance\.jensenshannon"),
    ],
)
def test_advice(f: Any, words: str) -> None:
    import re

    assert re.search(words, advice_for(f)), advice_for(f)


# ---- functions as their users write them ---------------------------------------------------------

SPARSE, OLD = scipy.sparse.csr_array(np.triu(A)), scipy.sparse.csr_matrix(np.triu(A))
CUBIC, LINEAR = SPLINES["cubic"], si.interp1d(NODES, Y)
UNCHANGED: dict[str, Callable[[Any], Any]] = {
    "logsumexp": lambda x: sp.logsumexp(x) + sp.softmax(x)[0] + sp.log_softmax(x)[1],
    "density": lambda x: st.norm.logpdf(x, 0.1, x[0]).sum(),
    "of a list": lambda x: st.norm.logpdf([x[0], 1.0]).sum(),
    "frozen": lambda x: st.norm(x[0], 2.0).logpdf(x).sum(),
    "frozen, plain data": lambda x: st.gamma(x[0], scale=x[1]).logpdf([1.0, 2.0]).sum(),
    "Black and Scholes": lambda x: x[0] * st.norm.cdf(np.log(x[0] / x[1]) / x[2]),
    "counts": lambda x: st.poisson.logpmf([1, 2, 3, 4], x).sum(),
    "several variables": lambda x: st.multivariate_normal(x, np.eye(4)).logpdf(np.ones(4)),
    "z": lambda x: (st.zscore(x) ** 3).sum(),
    "rosen": lambda x: scipy.optimize.rosen(x) + scipy.optimize.rosen_der(x)[0],
    "distances": lambda x: distance.cdist(x[:, None], Q[:, :1]).sum() + distance.pdist(P + x[0])[0],
    "Cholesky": lambda x: x @ scipy.linalg.cho_solve(
        scipy.linalg.cho_factor(np.outer(x, x) + np.eye(4), lower=True), x
    ),
    "solve": lambda x: scipy.linalg.solve(np.diag(x) + A, x).sum(),
    "expm": lambda x: scipy.linalg.expm(np.outer(x, x) / 9)[0, 1],
    "blocks": lambda x: (scipy.linalg.block_diag(x, A) ** 2).sum() + scipy.linalg.toeplitz(x)[1, 0],
    "sparse": lambda x: (SPARSE @ x).sum() + (x @ SPARSE)[0] + SPARSE.dot(x)[1] + (SPARSE.T @ x)[2],
    "sparse matrix": lambda x: (OLD * x).sum() + (OLD @ x)[0],
    "spline": lambda x: CUBIC(x).sum() + CUBIC(x, 1)[0] + LINEAR(x)[1],
    "spline of values": lambda x: si.CubicSpline([0.0, 1.0, 2.0, 4.0], x)(0.5) * 1.0,
    "B-spline": lambda x: si.BSpline([0, 0, 0, 0, 1.0, 1, 1, 1], x, 3)(0.3) * 1.0,
    "reduce": lambda x: np.logaddexp.reduce(x) + np.logaddexp.accumulate(x)[2],
    "order": lambda x: np.median(x) + np.sort(x)[0] + x[np.argsort(x)][1],
    "keys": lambda x: np.sum(x * sg.random.normal(sg.random.key(3), (4,))),
}  # fmt: skip


@pytest.mark.parametrize("name", UNCHANGED)
@pytest.mark.quick(11)
def test_functions_as_their_users_write_them(name: str) -> None:
    f, x = UNCHANGED[name], np.array([0.7, 1.3, 2.2, 3.1])
    value, gradient = traced(sg.value_and_grad(f), x)
    np.testing.assert_allclose(value, f(x), rtol=1e-11)
    assert np.isfinite(gradient).all() and gradient.any()
    along = traced(lambda x: sg.jvp(f, (x,), (np.ones(4),))[1], x)
    np.testing.assert_allclose(along, gradient.sum(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    "f, words",
    [
        (lambda x: scipy.linalg.schur(np.outer(x, x))[0], r"scipy\.linalg\.schur is not supported"),
        (lambda x: scipy.optimize.minimize(lambda y: y, x), r"scipy\.optimize\.minimize .*loop"),
        (lambda x: st.gaussian_kde(x)(1.0), r"scipy\.stats\.gaussian_kde is not supported"),
        (lambda x: st.gamma.ppf(0.3, x), r"scipy\.stats\.gamma\.ppf is not supported"),
        (lambda x: SPARSE * x, r"S @ x"),
    ],
)
def test_functions_that_are_refused_by_name(f: Any, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words) as caught:
        sg.trace(f, sg.f64[4])
    assert "test_scipy_functions.py" in str(caught.value)


@pytest.mark.slow
def test_in_c() -> None:
    """One file of C: splines, a sparse product, distances, the exponential of a matrix."""
    sparse, spline = scipy.sparse.csr_array(np.triu(A)), SPLINES["natural"]

    def f(x: Any, a: Any) -> Any:
        return (
            lookup(spline)(x), matmul(sparse, x), lookup(distance.cdist)(a, a[:2]),
            lookup(scipy.linalg.expm)(a), np.searchsorted(NODES, x), np.interp(x, NODES, Y),
            lookup(scipy.linalg.cho_solve)(lookup(scipy.linalg.cho_factor)(a @ a.T + np.eye(4)), x),
        )  # fmt: skip

    x = np.array([0.3, 1.0, 2.2, 3.9])
    for got, wanted in zip(sg.jit(f)(x, A), traced(f, x, A), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)
    gradient = sg.grad(lambda x, a: sum(np.sum(v) for v in f(x, a)[:4]), argnums=(0, 1))
    for got, wanted in zip(gradient(x, A), traced(gradient, x, A), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)
