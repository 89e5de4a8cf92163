"""Distributions of scipy.stats on traced values: SciPy's own numbers; derivatives of mpmath."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import scipy.stats as st

import symgrad as sg
from symgrad.errors import ShapeError, UnsupportedError
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import arg
from symgrad.trace import Tracer, record
from symgrad.trace.scipy_table import lookup

X = np.array([-np.inf, -40.0, -2.5, -1.0, -0.3, 0.0, 1e-9, 0.2, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 8.0,
              40.0, np.inf, np.nan])  # fmt: skip
Q = np.array([-0.5, 0.0, 1e-12, 0.1, 0.3, 0.5, 0.8, 1 - 1e-9, 1.0, 1.5, np.nan])
# Where SciPy loses digits; the derivatives below are compared with exact ones.
INEXACT = {"halfnorm.logsf": (40.0,), "halfnorm.ppf": (1e-12, 1 - 1e-9)}
BOTH = ("cdf", "sf", "logcdf", "logsf")
# Their distribution functions are not differentiated by shapes, which must be known.
SHAPED = {"gamma", "chi2", "invgamma", "beta", "t", "f", "poisson", "binom", "nbinom"}
ALL = ("pdf", "logpdf", *BOTH, "ppf", "isf")
DENSITY = ("pdf", "logpdf")
CONTINUOUS: dict[str, tuple[tuple[float, ...], tuple[str, ...]]] = {
    "norm": ((), ALL), "expon": ((), ALL), "uniform": ((), ALL), "laplace": ((), ALL),
    "logistic": ((), ALL), "cauchy": ((), ALL), "gumbel_r": ((), ALL), "gumbel_l": ((), ALL),
    "lognorm": ((0.7,), ALL), "halfnorm": ((), ALL), "halfcauchy": ((), (*DENSITY, *BOTH)),
    "weibull_min": ((1.7,), ALL), "pareto": ((2.5,), ALL), "gamma": ((2.2,), (*DENSITY, *BOTH)),
    "chi2": ((3.5,), (*DENSITY, *BOTH)), "invgamma": ((2.5,), (*DENSITY, *BOTH)),
    "beta": ((2.3, 1.6), (*DENSITY, *BOTH)),
    "t": ((4.5,), (*DENSITY, *BOTH)), "f": ((5.0, 8.0), (*DENSITY, *BOTH)),
    "truncnorm": ((-1.2, 2.5), (*DENSITY, *BOTH)),
}  # fmt: skip
DISCRETE: dict[str, tuple[tuple[float, ...], tuple[str, ...]]] = {
    "poisson": ((2.4,), ("pmf", "logpmf", *BOTH)), "binom": ((9, 0.35), ("pmf", "logpmf", *BOTH)),
    "bernoulli": ((0.3,), ("pmf", "logpmf")), "geom": ((0.25,), ("pmf", "logpmf", *BOTH)),
    "nbinom": ((3.5, 0.4), ("pmf", "logpmf", *BOTH)),
}  # fmt: skip


def traced(f: Callable[..., Any], *values: Any) -> Any:
    """What `f` computes on `values` by way of a trace."""
    nodes = [arg(i, np.shape(v), np.asarray(v).dtype.name) for i, v in enumerate(values)]
    outs, treedef = record(f, tuple(Tracer(n, True) for n in nodes), {})
    check(outs)
    return treedef.unflatten(
        evaluate(outs, {n: np.asarray(v) for n, v in zip(nodes, values, strict=True)})
    )


def agree(got: Any, wanted: Any, what: str, rtol: float = 2e-12) -> None:
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape and got.dtype == wanted.dtype, what
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=1e-300, err_msg=what)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.quick(1)
def test_continuous_distributions_are_scipys(name: str) -> None:
    dist, (shapes, methods) = getattr(st, name), CONTINUOUS[name]
    for m in methods:
        points = Q if m in ("ppf", "isf") else X
        points = points[~np.isin(points, INEXACT.get(f"{name}.{m}", ()))]
        plain = getattr(dist, m)
        for args in ((), (0.4, 1.5), (0.4, -1.0), (0.0, 0.0)):
            with np.errstate(all="ignore"):
                wanted = plain(points, *shapes, *args)
            known, free = (shapes, ()) if m in BOTH and name in SHAPED else ((), shapes)
            got = traced(lambda x, *a, f=plain, k=known: lookup(f)(x, *k, *a), points, *free, *args)
            agree(got, wanted, f"{name}.{m} {args}")
        with np.errstate(all="ignore"):
            wanted = plain(points, *shapes, loc=np.array([[0.1], [-0.2]]), scale=2.0)
            bad = plain(points, *[-2.0 for _ in shapes]) if shapes else None
        frozen = dist(*shapes, loc=np.array([[0.1], [-0.2]]), scale=2.0)
        got = traced(lambda x, f=frozen, m=m: lookup(getattr(f, m))(x), points)
        agree(got, wanted, f"frozen {name}.{m}")
        if shapes and not (m in BOTH and name in SHAPED):
            got = traced(lambda x, s, f=plain: lookup(f)(x, *[s for _ in shapes]), points, -2.0)
            agree(got, bad, f"{name}.{m} of shapes that are not allowed")


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.quick(3)
def test_discrete_distributions_are_scipys(name: str) -> None:
    dist, (shapes, methods) = getattr(st, name), DISCRETE[name]
    k = np.array([-1.0, 0, 1, 2, 3, 9, 10, 30, 0.5, np.nan])
    for m in methods:
        plain = getattr(dist, m)
        for args in ((), (2,)):
            with np.errstate(all="ignore"):
                wanted = plain(k, *shapes, *args)
            if m in BOTH and name in SHAPED:  # shapes of the incomplete functions must be known
                known, free = shapes[:-1], (shapes[-1], *args)
                got = traced(lambda *a, f=plain, s=known: lookup(f)(k, *s, *a), *free[:1])
                with np.errstate(all="ignore"):
                    wanted = plain(k, *shapes)
                if name == "poisson" and m == "logcdf":  # SciPy has 0 for -7e-24
                    got, wanted = np.delete(got, 7), np.delete(wanted, 7)
                agree(got, wanted, m)
                continue
            agree(traced(lambda x, *a, f=plain: lookup(f)(x, *a), k, *shapes, *args), wanted, m)
            agree(traced(lambda *a, f=plain: lookup(f)(k, *a), *shapes, *args), wanted, m)
        with np.errstate(all="ignore"):
            wanted = plain(k, *[-1.0 for _ in shapes])
            whole = plain(np.arange(12), *shapes)
        if m in BOTH and name in SHAPED:
            continue
        bad = [-1.0 for _ in shapes]
        agree(traced(lambda x, *a, f=plain: lookup(f)(x, *a), k, *bad), wanted, m)
        frozen = dist(*shapes)
        got = traced(lambda x, f=frozen, m=m: lookup(getattr(f, m))(x), np.arange(12))
        agree(got, whole, m)


def _lb(a: Any, b: Any) -> Any:
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def _log_phi(x: Any) -> Any:
    return -x * x / 2 - mp.log(2 * mp.pi) / 2


# Log densities of the standardised variable, in closed form.
LOGPDF: dict[str, Callable[..., Any]] = {
    "norm": _log_phi,
    "expon": lambda y: -y,
    "laplace": lambda y: -abs(y) - mp.log(2),
    "logistic": lambda y: -y - 2 * mp.log(1 + mp.exp(-y)),
    "cauchy": lambda y: -mp.log(mp.pi * (1 + y * y)),
    "gumbel_r": lambda y: -y - mp.exp(-y),
    "gumbel_l": lambda y: y - mp.exp(y),
    "lognorm": lambda y, s: _log_phi(mp.log(y) / s) - mp.log(s * y),
    "halfnorm": lambda y: _log_phi(y) + mp.log(2),
    "halfcauchy": lambda y: mp.log(2) - mp.log(mp.pi * (1 + y * y)),
    "weibull_min": lambda y, c: mp.log(c) + (c - 1) * mp.log(y) - y**c,
    "pareto": lambda y, b: mp.log(b) - (b + 1) * mp.log(y),
    "gamma": lambda y, a: (a - 1) * mp.log(y) - y - mp.loggamma(a),
    "chi2": lambda y, k: (k / 2 - 1) * mp.log(y) - y / 2 - mp.loggamma(k / 2) - k / 2 * mp.log(2),
    "invgamma": lambda y, a: -(a + 1) * mp.log(y) - 1 / y - mp.loggamma(a),
    "beta": lambda y, a, b: (a - 1) * mp.log(y) + (b - 1) * mp.log(1 - y) - _lb(a, b),
    "t": lambda y, v: (
        mp.loggamma((v + 1) / 2) - mp.loggamma(v / 2) - mp.log(v * mp.pi) / 2
        - (v + 1) / 2 * mp.log(1 + y * y / v)
    ),
    "f": lambda y, m, n: (
        m / 2 * mp.log(m) + n / 2 * mp.log(n) + (m / 2 - 1) * mp.log(y)
        - (m + n) / 2 * mp.log(n + m * y) - _lb(m / 2, n / 2)
    ),
    "truncnorm": lambda y, a, b: _log_phi(y) - mp.log(mp.ncdf(b) - mp.ncdf(a)),
}  # fmt: skip
POINTS = {"pareto": (1.4, 3.0), "beta": (0.2, 0.85), "truncnorm": (-0.9, 1.8)}


def derivatives(f: Callable[..., Any], at: tuple[float, ...]) -> list[float]:
    """First partial derivatives at 40 digits."""
    with mp.workdps(40):
        point = tuple(map(mp.mpf, at))
        return [float(mp.diff(f, point, tuple(int(i == k) for i in range(len(at)))))
                for k in range(len(at))]  # fmt: skip


@pytest.mark.parametrize("name", LOGPDF)
def test_derivatives_of_densities(name: str) -> None:
    """By the variable, the shapes, the location and the scale."""
    shapes, plain = CONTINUOUS[name][0], getattr(st, name).logpdf
    count = len(shapes)

    def exact(x: Any, *rest: Any) -> Any:
        loc, scale = rest[count:]
        return LOGPDF[name]((x - loc) / scale, *rest[:count]) - mp.log(scale)

    for y in POINTS.get(name, (0.3, 2.4)):
        at = (0.4 + 1.5 * y, *shapes, 0.4, 1.5)
        gradient = sg.grad(lambda *a: lookup(plain)(*a), argnums=tuple(range(len(at))))
        got = traced(gradient, *at)
        np.testing.assert_allclose(got, derivatives(exact, at), rtol=1e-11, atol=1e-13)


CDFS: dict[str, Callable[..., Any]] = {
    "norm": mp.ncdf, "expon": lambda y: 1 - mp.exp(-y), "laplace": lambda y: 1 - mp.exp(-y) / 2,
    "logistic": lambda y: 1 / (1 + mp.exp(-y)), "cauchy": lambda y: mp.atan(y) / mp.pi + 0.5,
    "gumbel_r": lambda y: mp.exp(-mp.exp(-y)), "gumbel_l": lambda y: 1 - mp.exp(-mp.exp(y)),
    "lognorm": lambda y, s: mp.ncdf(mp.log(y) / s), "halfnorm": lambda y: 2 * mp.ncdf(y) - 1,
    "halfcauchy": lambda y: 2 * mp.atan(y) / mp.pi,
    "weibull_min": lambda y, c: 1 - mp.exp(-(y**c)), "pareto": lambda y, b: 1 - y**-b,
    "truncnorm": lambda y, a, b: (mp.ncdf(y) - mp.ncdf(a)) / (mp.ncdf(b) - mp.ncdf(a)),
}  # fmt: skip


@pytest.mark.parametrize("name", CDFS)
@pytest.mark.quick(7)
def test_derivatives_of_distribution_functions(name: str) -> None:
    shapes, methods = CONTINUOUS[name]
    dist, cdf = getattr(st, name), CDFS[name]
    exact: dict[str, Callable[..., Any]] = {
        "cdf": cdf, "sf": lambda *a: 1 - cdf(*a), "logcdf": lambda *a: mp.log(cdf(*a)),
        "logsf": lambda *a: mp.log(1 - cdf(*a)),
    }  # fmt: skip
    for y in POINTS.get(name, (0.3, 2.4)):
        at = (y, *shapes)
        for m in BOTH:
            gradient = sg.grad(lambda *a, m=m: lookup(getattr(dist, m))(*a),
                               argnums=tuple(range(len(at))))  # fmt: skip
            got = traced(gradient, *at)
            np.testing.assert_allclose(got, derivatives(exact[m], at), rtol=1e-11, err_msg=m)
        if "ppf" in methods:  # of the inverse: 1 / density by q
            q = float(cdf(y, *shapes))
            got = traced(sg.grad(lambda q: lookup(dist.ppf)(q, *shapes)), q)
            density = float(mp.exp(LOGPDF[name](mp.mpf(y), *shapes)))
            np.testing.assert_allclose(got, 1 / density, rtol=1e-10)


LOGPMF: dict[str, Callable[..., Any]] = {
    "poisson": lambda k, mu: k * mp.log(mu) - mu - mp.loggamma(k + 1),
    "binom": lambda k, n, p: mp.log(mp.binomial(n, k)) + k * mp.log(p) + (n - k) * mp.log(1 - p),
    "bernoulli": lambda k, p: k * mp.log(p) + (1 - k) * mp.log(1 - p),
    "geom": lambda k, p: (k - 1) * mp.log(1 - p) + mp.log(p),
    "nbinom": lambda k, n, p: (
        mp.loggamma(k + n) - mp.loggamma(k + 1) - mp.loggamma(n) + n * mp.log(p) + k * mp.log(1 - p)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGPMF)
def test_derivatives_of_discrete_densities(name: str) -> None:
    shapes = CONTINUOUS.get(name, DISCRETE[name])[0]
    free = shapes[1:] if name == "binom" else shapes
    for k in (1, 4) if name != "bernoulli" else (0, 1):
        fixed = (k, shapes[0]) if name == "binom" else (k,)
        f = sg.grad(lambda *a, fixed=fixed: lookup(getattr(st, name).logpmf)(*fixed, *a),
                    argnums=tuple(range(len(free))))  # fmt: skip
        wanted = derivatives(lambda *a, fixed=fixed: LOGPMF[name](*fixed, *a), free)
        np.testing.assert_allclose(traced(f, *free), wanted, rtol=1e-11)


@pytest.mark.parametrize("name", sorted(SHAPED & CONTINUOUS.keys()))
def test_derivatives_of_distribution_functions_with_shapes(name: str) -> None:
    """By the variable the density; second derivatives are its slope."""
    dist, shapes = getattr(st, name), CONTINUOUS[name][0]
    for y in (0.2, 0.7) if name == "beta" else (0.3, 2.4):
        with mp.workdps(30):
            density = float(mp.exp(LOGPDF[name](mp.mpf(y), *shapes)))
            slope = float(mp.diff(lambda y: mp.exp(LOGPDF[name](y, *shapes)), mp.mpf(y)))
        for m, sign in (("cdf", 1), ("sf", -1)):
            f = lambda y, m=m: lookup(getattr(dist, m))(y, *shapes)  # noqa: E731
            np.testing.assert_allclose(traced(sg.grad(f), y), sign * density, rtol=1e-12)
            np.testing.assert_allclose(traced(sg.grad(sg.grad(f)), y), sign * slope, rtol=1e-11)
    with pytest.raises(UnsupportedError, match="of a traced shape .* a plain number"):
        traced(lambda s: lookup(dist.cdf)(0.3, *[s for _ in shapes]), 2.0)


def test_distribution_functions_of_counts() -> None:
    """Poisson by its mean, binomial by its chance."""
    by_mean = traced(sg.grad(lambda mu: lookup(st.poisson.cdf)(3, mu)), 2.5)
    np.testing.assert_allclose(by_mean, -st.poisson.pmf(3, 2.5), rtol=1e-12)
    by_chance = traced(sg.grad(lambda p: lookup(st.binom.cdf)(3, 9, p)), 0.4)
    np.testing.assert_allclose(by_chance, -9 * st.binom.pmf(3, 8, 0.4), rtol=1e-12)


def test_nothing_comes_from_outside_of_the_support() -> None:
    """A log density next to its end, and data of which some lie outside."""
    data = np.array([-1.0, 0.0, 0.5, 2.0])

    def likelihood(a: Any, scale: Any) -> Any:
        density = lookup(st.gamma.pdf)(data, a, scale=scale)
        return np.sum(density)

    got = traced(sg.grad(likelihood, argnums=(0, 1)), 2.5, 1.3)
    inside = traced(sg.grad(lambda a, s: np.sum(lookup(st.gamma.pdf)(data[2:], a, scale=s)),
                            argnums=(0, 1)), 2.5, 1.3)  # fmt: skip
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, inside, rtol=1e-13)


def test_the_multivariate_normal_distribution() -> None:
    rng = np.random.default_rng(0)
    mean, root = rng.normal(size=3), rng.normal(size=(3, 3))
    cov, x = root @ root.T + np.eye(3), rng.normal(size=(4, 2, 3))
    mvn, spread = st.multivariate_normal, [1.0, 2.0, 3.0]
    for f in ("pdf", "logpdf"):
        plain = getattr(mvn, f)
        agree(traced(lambda *a, f=plain: lookup(f)(*a), x, mean, cov), plain(x, mean, cov), f)
        got = traced(lambda x, f=f: lookup(getattr(mvn(mean, cov), f))(x), x)
        agree(got, plain(x, mean, cov), f)
        got = traced(lambda x, m, c, f=f: getattr(lookup(mvn)(m, c), f)(x), x, mean, cov)
        agree(got, plain(x, mean, cov), f)
        agree(traced(lambda x, f=plain: lookup(f)(x), 0.3), plain(0.3), f)
        agree(traced(lambda x, f=plain: lookup(f)(x, 0.5, 2.0), X[2:9]), plain(X[2:9], 0.5, 2.0), f)
        got = traced(lambda x, f=plain: lookup(f)(x, mean, spread), x[0])
        agree(got, plain(x[0], mean, spread), f)
    agree(
        traced(lambda x: lookup(mvn.pdf)(x, mean, cov), x[:1, :1]), mvn.pdf(x[0, 0], mean, cov), ""
    )
    point = x[0, 0]
    by_x, by_mean, by_cov = traced(sg.grad(lookup(mvn.logpdf), argnums=(0, 1, 2)), point, mean, cov)
    solved = np.linalg.solve(cov, point - mean)
    np.testing.assert_allclose(by_x, -solved, rtol=1e-11)
    np.testing.assert_allclose(by_mean, solved, rtol=1e-11)
    wanted = 0.5 * (np.outer(solved, solved) - np.linalg.inv(cov))
    np.testing.assert_allclose(by_cov + by_cov.T, wanted + wanted.T, rtol=1e-10)
    with pytest.raises(ShapeError, match="in 3 dimensions"):
        traced(lambda x: lookup(mvn.logpdf)(x, mean, cov), np.zeros(2))


class _Ramp(st.rv_continuous):
    def _pdf(self, x: Any) -> Any:
        return 2 * x


class _Numeric(st.rv_continuous):
    def _cdf(self, x: Any) -> Any:
        return x * x


def test_a_distribution_of_ones_own() -> None:
    ramp = _Ramp(0.0, 1.0)
    x = np.array([-0.5, 0.25, 0.5, 3.0])
    agree(traced(lambda x: lookup(ramp.pdf)(x, 0.1, 2.0), x), ramp.pdf(x, 0.1, 2.0), "pdf")
    with np.errstate(all="ignore"):
        agree(traced(lambda x: lookup(ramp.logpdf)(x), x), ramp.logpdf(x), "logpdf")


@pytest.mark.parametrize(
    "f, words",
    [
        (st.gamma.ppf, r"scipy\.stats\.gamma\.ppf is not supported.*closed form"),
        (st.hypergeom.logpmf, r"scipy\.stats\.hypergeom .*poisson, binom"),
        (_Numeric(0.0, 1.0).pdf, "_Numeric is not supported .*norm, expon"),
    ],
)
def test_what_is_missing_is_named(f: Any, words: str) -> None:
    count = f.__self__.numargs
    with pytest.raises(UnsupportedError, match=words):
        traced(lambda x: lookup(f)(x, *[2.0] * count), 0.5)


@pytest.mark.slow
def test_in_c() -> None:
    """All densities in one file of C, with their gradients."""

    def total(x: Any, loc: Any, scale: Any) -> Any:
        values = [np.sum(lookup(getattr(st, name).logpdf)(x, *shapes, loc=loc, scale=scale))
                  for name, (shapes, _) in CONTINUOUS.items() if name not in POINTS]  # fmt: skip
        values += [np.sum(lookup(getattr(st, n).cdf)(x, *CONTINUOUS[n][0], loc, scale))
                   for n in CDFS if n not in POINTS]  # fmt: skip
        return np.stack(values)

    x = np.array([0.7, 1.2, 0.9])
    plain = [np.sum(getattr(st, n).logpdf(x, *s, 0.1, 1.4)) for n, (s, _) in CONTINUOUS.items()
             if n not in POINTS]  # fmt: skip
    plain += [np.sum(getattr(st, n).cdf(x, *CONTINUOUS[n][0], 0.1, 1.4)) for n in CDFS
              if n not in POINTS]  # fmt: skip
    np.testing.assert_allclose(sg.jit(total)(x, 0.1, 1.4), plain, rtol=1e-12)
    compiled = sg.compile(sg.jacobian(total, argnums=2), sg.f64[3], sg.f64, sg.f64)
    wanted = traced(sg.jacobian(total, argnums=2), x, 0.1, 1.4)
    np.testing.assert_allclose(compiled(x, 0.1, 1.4), wanted, rtol=1e-11)
