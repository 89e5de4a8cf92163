"""Distributions of scipy.stats: densities, distribution functions and quantiles by closed forms.

SciPy's public methods fill arrays by masks, which no tracer can follow. Here each distribution is a
few formulas of the standardised variable; what is outside of its support, and parameters that it
does not allow, are treated as SciPy does. Results are float64, as SciPy's are.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symgrad.errors import UnsupportedError
from symgrad.expr.node import bind
from symgrad.trace import ufuncs
from symgrad.trace.handle import as_expr
from symgrad.trace.known import is_traced
from symgrad.trace.registry import to
from symgrad.trace.scipy_api import give
from symgrad.trace.state import fail
from symgrad.trace.tracer import wrap

inf, nan = math.inf, math.nan
Formula = Callable[..., Any]


def number(x: Any) -> Any:
    """An argument as float64: a tracer, or a NumPy scalar or array."""
    if is_traced(x):
        return wrap(to(as_expr(x), "float64"))
    return np.asarray(x, float)[()]


def op(name: str) -> Formula:
    """An elementwise row as a function of tracers and numbers."""

    def apply(*args: Any) -> Any:
        exprs = ufuncs.together(name, [to(as_expr(a), "float64") for a in args])
        return give(bind(name, *exprs), *args)

    return apply


erf, erfc, gammaln, betaln = op("erf"), op("erfc"), op("gammaln"), op("betaln")
xlogy, xlog1py, log_ndtr, ndtri = op("xlogy"), op("xlog1py"), op("log_ndtr"), op("ndtri")
erfinv, sigmoid, softplus, logit = op("erfinv"), op("sigmoid"), op("softplus"), op("logit")


def with_shapes(name: str) -> Formula:
    """A row of shapes, which must be known, and of a variable."""

    def apply(*args: Any) -> Any:
        exprs = ufuncs.together(name, [to(as_expr(a), "float64") for a in args])
        return give(ufuncs.FORMULAS[name](*exprs), *args)

    return apply


gammainc, gammaincc = with_shapes("gammainc"), with_shapes("gammaincc")
betainc, stdtr = with_shapes("betainc"), with_shapes("stdtr")


def ndtr(x: Any) -> Any:
    """The standard normal distribution function."""
    return 0.5 * erfc(x * -math.sqrt(0.5))


def log1mexp(x: Any) -> Any:
    """log(1 - exp(-x)) for x >= 0."""
    return np.where(x < math.log(2), np.log(-np.expm1(-x)), np.log1p(-np.exp(-x)))


def where(condition: Any, a: Any, b: Any) -> Any:
    """np.where, that leaves out a choice which is known."""
    if isinstance(condition, (bool, np.bool_)):
        return a if condition else b
    return np.where(condition, a, b)


@dataclass(frozen=True)
class Family:
    """One distribution, standardised; each formula takes the variable and the shapes.

    density : its logarithm; `pdf` is its exponential where there is no formula of its own
    support : its ends, numbers or functions of the shapes
    valid : whether the shapes are allowed; else all must be positive
    more : cdf, sf, logcdf, logsf, ppf, isf, pdf, as far as there are formulas
    """

    density: Formula
    support: tuple[Any, Any] = (-inf, inf)
    valid: Formula | None = None
    more: dict[str, Formula] = field(default_factory=dict)

    def ends(self, shapes: tuple[Any, ...]) -> tuple[Any, Any]:
        low, high = (end(*shapes) if callable(end) else end for end in self.support)
        return low, high

    def allowed(self, shapes: tuple[Any, ...]) -> Any:
        if self.valid is not None:
            return self.valid(*shapes)
        result: Any = True
        for s in shapes:
            result = _and(result, s > 0)
        return result


def _and(a: Any, b: Any) -> Any:
    if isinstance(a, (bool, np.bool_)):
        return b if a else a
    return a & b


def _outside(y: Any, low: Any, high: Any) -> Any:
    """Where y lies beside the support; False for NaN, and where there is nothing beside it."""
    result: Any = False
    for end, compare in ((low, operator.lt), (high, operator.gt)):
        if not (isinstance(end, float) and math.isinf(end)):
            beyond = compare(y, end)
            result = beyond if result is False else result | beyond
    return result


def _at_end(y: Any, low: Any, high: Any) -> Any:
    """Where y is an end of the support, as far as that is finite."""
    result: Any = False
    for end in (low, high):
        if not (isinstance(end, float) and math.isinf(end)):
            result = (y == end) if result is False else result | (y == end)
    return result


# ---- the formulas ----------------------------------------------------------------------------

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
_positive = (0.0, inf)


def _log_mass(a: Any, b: Any) -> Any:
    """log(Φ(b) - Φ(a)), in the tail where a - b is not lost."""
    left, right = np.where(a > 0, -b, a), np.where(a > 0, -a, b)
    above, below = log_ndtr(right), log_ndtr(left)
    return np.where(
        (a <= 0) & (b > 0), np.log1p(-ndtr(a) - ndtr(-b)), above + log1mexp(above - below)
    )


def _cauchy_quantile(q: Any) -> Any:
    """tan(π (q - ½)), by the nearer end where that loses digits."""
    middle, tail = q - 0.5, 1 / np.tan(math.pi * np.minimum(q, 1 - q))
    far = np.where(middle < 0, -tail, tail)
    return np.where(np.abs(middle) < 0.25, np.tan(math.pi * middle), far)


def _t_density(y: Any, df: Any) -> Any:
    inside = -0.5 * np.log(df) - betaln(0.5, 0.5 * df) - 0.5 * (df + 1) * np.log1p(y * y / df)
    return where(df == inf, -0.5 * y * y - HALF_LOG_TAU, inside)


def _f_density(y: Any, m: Any, n: Any) -> Any:
    half_m, half_n = 0.5 * m, 0.5 * n
    total = half_m * np.log(m) + half_n * np.log(n) + xlogy(half_m - 1, y)
    return total - (half_m + half_n) * np.log(n + m * y) - betaln(half_m, half_n)


def _symmetric(**more: Formula) -> dict[str, Formula]:
    """Formulas of a distribution that is symmetric about 0."""
    mirrored: dict[str, Formula] = {}
    for name, other in (("cdf", "sf"), ("logcdf", "logsf")):
        if name in more:
            mirrored[other] = lambda y, *shapes, f=more[name]: f(-y, *shapes)
    if "ppf" in more:
        mirrored["isf"] = lambda q, *shapes: -more["ppf"](q, *shapes)
    return {**more, **mirrored}


FAMILIES: dict[str, Family] = {
    "norm": Family(
        lambda y: -0.5 * y * y - HALF_LOG_TAU,
        more=_symmetric(cdf=ndtr, logcdf=log_ndtr, ppf=ndtri),
    ),
    "expon": Family(
        lambda y: -y, _positive, more=dict(
            cdf=lambda y: -np.expm1(-y), logcdf=log1mexp, sf=lambda y: np.exp(-y),
            logsf=lambda y: -y, ppf=lambda q: -np.log1p(-q), isf=lambda q: -np.log(q),
        ),
    ),
    "uniform": Family(
        lambda y: 0 * y, (0.0, 1.0), more=dict(
            pdf=lambda y: 0 * y + 1, cdf=lambda y: y, sf=lambda y: 1 - y,
            logsf=lambda y: np.log1p(-y), ppf=lambda q: q, isf=lambda q: 1 - q,
        ),
    ),
    "laplace": Family(
        lambda y: -np.abs(y) - math.log(2), more=_symmetric(
            cdf=lambda y: np.where(y > 0, 1 - 0.5 * np.exp(-y), 0.5 * np.exp(y)),
            logcdf=lambda y: np.where(y > 0, np.log1p(-0.5 * np.exp(-y)), y - math.log(2)),
            ppf=lambda q: np.where(q > 0.5, -np.log(2 * (1 - q)), np.log(2 * q)),
        ),
    ),
    "logistic": Family(
        lambda y: -softplus(y) - softplus(-y), more=_symmetric(
            pdf=lambda y: sigmoid(y) * sigmoid(-y), cdf=sigmoid, logcdf=lambda y: -softplus(-y),
            ppf=logit,
        ),
    ),
    "cauchy": Family(
        lambda y: -math.log(math.pi) - np.log1p(y * y), more=_symmetric(
            pdf=lambda y: (1 / math.pi) / (1 + y * y),
            cdf=lambda y: np.arctan2(1.0, -y) / math.pi,
            ppf=_cauchy_quantile,
        ),
    ),
    "gumbel_r": Family(
        lambda y: -y - np.exp(-y), more=dict(
            cdf=lambda y: np.exp(-np.exp(-y)), logcdf=lambda y: -np.exp(-y),
            sf=lambda y: -np.expm1(-np.exp(-y)), ppf=lambda q: -np.log(-np.log(q)),
            isf=lambda q: -np.log(-np.log1p(-q)),
        ),
    ),
    "gumbel_l": Family(
        lambda y: y - np.exp(y), more=dict(
            cdf=lambda y: -np.expm1(-np.exp(y)), sf=lambda y: np.exp(-np.exp(y)),
            logsf=lambda y: -np.exp(y), ppf=lambda q: np.log(-np.log1p(-q)),
            isf=lambda q: np.log(-np.log(q)),
        ),
    ),
    "lognorm": Family(
        lambda y, s: np.where(
            y == 0, -inf, -0.5 * (np.log(y) / s) ** 2 - np.log(s * y) - HALF_LOG_TAU
        ),
        _positive, more=dict(
            cdf=lambda y, s: ndtr(np.log(y) / s), logcdf=lambda y, s: log_ndtr(np.log(y) / s),
            sf=lambda y, s: ndtr(-np.log(y) / s), logsf=lambda y, s: log_ndtr(-np.log(y) / s),
            ppf=lambda q, s: np.exp(s * ndtri(q)), isf=lambda q, s: np.exp(-s * ndtri(q)),
        ),
    ),
    "halfnorm": Family(
        lambda y: 0.5 * math.log(2 / math.pi) - 0.5 * y * y, _positive, more=dict(
            cdf=lambda y: erf(y * math.sqrt(0.5)), sf=lambda y: erfc(y * math.sqrt(0.5)),
            logsf=lambda y: np.where(
                y < 1, np.log1p(-erf(y * math.sqrt(0.5))), math.log(2) + log_ndtr(-y)
            ),
            ppf=lambda q: math.sqrt(2) * erfinv(q), isf=lambda q: -ndtri(0.5 * q),
        ),
    ),
    "halfcauchy": Family(
        lambda y: math.log(2 / math.pi) - np.log1p(y * y), _positive, more=dict(
            cdf=lambda y: (2 / math.pi) * np.arctan(y),
            sf=lambda y: (2 / math.pi) * np.arctan2(1.0, y),
        ),
    ),
    "weibull_min": Family(
        lambda y, c: np.log(c) + xlogy(c - 1, y) - y**c, _positive, more=dict(
            cdf=lambda y, c: -np.expm1(-(y**c)), logcdf=lambda y, c: log1mexp(y**c),
            sf=lambda y, c: np.exp(-(y**c)), logsf=lambda y, c: -(y**c),
            ppf=lambda q, c: (-np.log1p(-q)) ** (1 / c), isf=lambda q, c: (-np.log(q)) ** (1 / c),
        ),
    ),
    "pareto": Family(
        lambda y, b: np.log(b) - (b + 1) * np.log(y), (1.0, inf), more=dict(
            cdf=lambda y, b: -np.expm1(-b * np.log(y)), sf=lambda y, b: y**-b,
            logsf=lambda y, b: -b * np.log(y), ppf=lambda q, b: (1 - q) ** (-1 / b),
            isf=lambda q, b: q ** (-1 / b),
        ),
    ),
    "gamma": Family(
        lambda y, a: xlogy(a - 1, y) - y - gammaln(a), _positive,
        more=dict(cdf=lambda y, a: gammainc(a, y), sf=lambda y, a: gammaincc(a, y)),
    ),
    "chi2": Family(
        lambda y, df: xlogy(0.5 * df - 1, y) - 0.5 * y - gammaln(0.5 * df) - 0.5 * df * math.log(2),
        _positive, more=dict(
            cdf=lambda y, df: gammainc(0.5 * df, 0.5 * y),
            sf=lambda y, df: gammaincc(0.5 * df, 0.5 * y),
        ),
    ),
    "invgamma": Family(
        lambda y, a: np.where(y == 0, -inf, -(a + 1) * np.log(y) - gammaln(a) - 1 / y), _positive,
        more=dict(cdf=lambda y, a: gammaincc(a, 1 / y), sf=lambda y, a: gammainc(a, 1 / y)),
    ),
    "beta": Family(
        lambda y, a, b: xlog1py(b - 1, -y) + xlogy(a - 1, y) - betaln(a, b), (0.0, 1.0), more=dict(
            cdf=lambda y, a, b: betainc(a, b, y), sf=lambda y, a, b: betainc(b, a, 1 - y),
        ),
    ),
    "t": Family(_t_density, more=_symmetric(cdf=lambda y, df: stdtr(df, y))),
    "f": Family(
        _f_density, _positive, more=dict(
            cdf=lambda y, m, n: betainc(0.5 * m, 0.5 * n, m / (m + n / y)),
            sf=lambda y, m, n: betainc(0.5 * n, 0.5 * m, n / (n + m * y)),
        ),
    ),
    "truncnorm": Family(
        lambda y, a, b: -0.5 * y * y - HALF_LOG_TAU - _log_mass(a, b),
        (lambda a, b: a, lambda a, b: b), lambda a, b: a < b, dict(
            logcdf=lambda y, a, b: _log_mass(a, y) - _log_mass(a, b),
            logsf=lambda y, a, b: _log_mass(y, b) - _log_mass(a, b),
            cdf=lambda y, a, b: np.exp(_log_mass(a, y) - _log_mass(a, b)),
            sf=lambda y, a, b: np.exp(_log_mass(y, b) - _log_mass(a, b)),
        ),
    ),
}  # fmt: skip


def _chance(*shapes: Any) -> Any:
    """Whether the last shape is a probability, the others being what they are."""
    p = shapes[-1]
    return (p >= 0) & (p <= 1)


DISCRETE: dict[str, Family] = {
    "poisson": Family(
        lambda k, mu: xlogy(k, mu) - gammaln(k + 1) - mu, _positive, lambda mu: mu >= 0,
        dict(cdf=lambda k, mu: gammaincc(k + 1, mu), sf=lambda k, mu: gammainc(k + 1, mu)),
    ),
    "binom": Family(
        lambda k, n, p: -np.log1p(n) - betaln(n - k + 1, k + 1) + xlogy(k, p) + xlog1py(n - k, -p),
        (0.0, lambda n, p: n), lambda n, p: _and((n >= 0) & (n == np.floor(n)), _chance(p)), dict(
            cdf=lambda k, n, p: betainc(n - k, k + 1, 1 - p),
            sf=lambda k, n, p: betainc(k + 1, n - k, p),
        ),
    ),
    "bernoulli": Family(lambda k, p: xlogy(k, p) + xlog1py(1 - k, -p), (0.0, 1.0), _chance),
    "geom": Family(
        lambda k, p: xlog1py(k - 1, -p) + np.log(p), (1.0, inf), lambda p: (p > 0) & (p <= 1), dict(
            cdf=lambda k, p: -np.expm1(np.log1p(-p) * k), sf=lambda k, p: np.exp(np.log1p(-p) * k),
            logsf=lambda k, p: np.log1p(-p) * k,
        ),
    ),
    "nbinom": Family(
        lambda k, n, p: xlog1py(k, -p) + n * np.log(p) - np.log(k + n) - betaln(n, k + 1),
        _positive, lambda n, p: _and(n > 0, (p > 0) & (p <= 1)), dict(
            cdf=lambda k, n, p: betainc(n, k + 1, p), sf=lambda k, n, p: betainc(k + 1, n, 1 - p),
        ),
    ),
}  # fmt: skip


# ---- the methods -----------------------------------------------------------------------------

_LOGARITHMS = {"logpdf", "logpmf", "logcdf", "logsf"}


def _formula(family: Family, name: str, label: str) -> Formula:
    """The formula of a method, made of another one where there is none."""
    more = family.more
    if name in ("logpdf", "logpmf"):
        return family.density
    if name in more:
        return more[name]
    if name in ("pdf", "pmf"):
        return lambda y, *shapes: np.exp(family.density(y, *shapes))
    if name in ("logcdf", "logsf") and name[3:] in more:
        contrary = more.get("sf" if name == "logcdf" else "cdf")
        return functools.partial(_log_of, more[name[3:]], contrary)
    raise fail(
        UnsupportedError,
        f"{label}.{name} is not supported while tracing: it has no closed form here",
    )


def _log_of(chance: Formula, other: Formula | None, y: Any, *shapes: Any) -> Any:
    """The logarithm of a chance, by that of the contrary where it is near 1."""
    value = chance(y, *shapes)
    if other is None:
        return np.log(value)
    return np.where(value < 0.5, np.log(value), np.log1p(-other(y, *shapes)))


def _family_of(dist: Any) -> tuple[Family | None, str]:
    cls = type(dist)
    own = cls.__module__ in ("scipy.stats._continuous_distns", "scipy.stats._discrete_distns")
    name = cls.__name__.removesuffix("_gen")
    label = f"scipy.stats.{name}" if own else cls.__name__
    return ({**FAMILIES, **DISCRETE}.get(name) if own else None), label


def _of_class(dist: Any, names: set[str], label: str) -> Family:
    """A family of the methods `_logpdf`, `_cdf`, … of a class that is not in the tables."""

    def own(name: str) -> Formula | None:
        for cls in type(dist).__mro__:
            if name in vars(cls):
                generic = cls.__module__ == "scipy.stats._distn_infrastructure"
                return None if generic else getattr(dist, name)
        return None

    density, plain_ = own("_logpdf"), own("_pdf")
    if density is None and plain_ is not None:
        density = lambda y, *shapes: np.log(plain_(y, *shapes))  # noqa: E731
    if density is None:
        raise fail(
            UnsupportedError,
            f"{label} is not supported while tracing; distributions that are: "
            f"{', '.join([*FAMILIES, *DISCRETE])}",
        )
    found = {n: own("_" + n) for n in names}
    more = {n: f for n, f in found.items() if f is not None}
    return Family(density, (dist.a, dist.b), own("_argcheck"), more)


def _arguments(dist: Any, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], Any, Any]:
    shapes, loc, scale = dist._parse_args(*args, **kwargs)
    return tuple(map(number, shapes)), number(loc), number(scale)


def continuous(dist: Any, name: str, x: Any, args: Any, kwargs: Any) -> Any:
    """A method of a continuous distribution."""
    family, label = _family_of(dist)
    if family is None:
        family = _of_class(dist, {"cdf", "sf", "logcdf", "logsf", "ppf", "isf", "pdf"}, label)
    formula = _formula(family, name, label)
    shapes, loc, scale = _arguments(dist, args, kwargs)
    # What is not allowed makes the scale NaN, and so all that is computed with it.
    scale = where(_and(scale > 0, family.allowed(shapes)), scale, nan)
    x = number(x)
    if name in ("ppf", "isf"):
        return where((x < 0) | (x > 1), nan, formula(x, *shapes)) * scale + loc
    y = (x - loc) / scale
    value = formula(y, *shapes)
    low, high = family.ends(shapes)
    if name == "logpdf":
        return where(_outside(y, low, high), -inf, value - np.log(scale))
    if name == "pdf":
        # At an end where it is 0 its logarithm, of which it may be made, has no derivative.
        nothing = _outside(y, low, high) | _at_end(y, low, high) & (value == 0)
        return where(nothing, 0.0, value / scale)
    return _beyond(name, value, y, low, high)


def _beyond(name: str, value: Any, y: Any, low: Any, high: Any) -> Any:
    """A distribution function with what it is outside of the support."""
    none, all_ = (-inf, 0.0) if name in _LOGARITHMS else (0.0, 1.0)
    if name in ("sf", "logsf"):
        none, all_ = all_, none
    if not (isinstance(low, float) and math.isinf(low)):
        value = where(y <= low, none, value)
    if not (isinstance(high, float) and math.isinf(high)):
        value = where(y >= high, all_, value)
    return value


def discrete(dist: Any, name: str, k: Any, args: Any, kwargs: Any) -> Any:
    """A method of a discrete distribution."""
    family, label = _family_of(dist)
    if family is None:
        raise fail(
            UnsupportedError,
            f"{label} is not supported while tracing; discrete distributions that are: "
            f"{', '.join(DISCRETE)}",
        )
    formula = _formula(family, name, label)
    shapes, loc, _ = _arguments(dist, args, kwargs)
    allowed, k = family.allowed(shapes), number(k) - loc
    low, high = family.ends(shapes)
    if name in ("cdf", "sf", "logcdf", "logsf"):
        k = np.floor(k)
        value = _beyond(name, formula(k, *shapes), k + 1, low, high + 1)
        return where(allowed, value, nan)
    outside = (k != np.floor(k)) & (k == k) | _outside(k, low, high)
    value = where(outside, -inf if name in _LOGARITHMS else 0.0, formula(k, *shapes))
    return where(allowed, value, nan)


def method(kind: Formula, name: str) -> Formula:
    """What stands for a method of scipy.stats.rv_continuous or rv_discrete."""

    def call(self: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        return kind(self, name, x, args, kwargs)

    return call


def frozen(name: str) -> Formula:
    """What stands for a method of a distribution whose parameters were given before."""

    def call(self: Any, x: Any) -> Any:
        kind = discrete if hasattr(self.dist, "logpmf") else continuous
        return kind(self.dist, name, x, self.args, self.kwds)

    return call


_BOTH = ("cdf", "sf", "logcdf", "logsf")
_CONTINUOUS = ("pdf", "logpdf", *_BOTH, "ppf", "isf")
_OF_BOTH = "scipy.stats._distn_infrastructure."
NAMES: dict[str, Formula] = {
    **{f"scipy.stats.rv_continuous.{n}": method(continuous, n) for n in _CONTINUOUS},
    **{f"scipy.stats.rv_discrete.{n}": method(discrete, n) for n in ("pmf", "logpmf", *_BOTH)},
    **{f"{_OF_BOTH}rv_frozen.{n}": frozen(n) for n in (*_BOTH, "ppf", "isf")},
    **{f"{_OF_BOTH}rv_continuous_frozen.{n}": frozen(n) for n in ("pdf", "logpdf")},
    **{f"{_OF_BOTH}rv_discrete_frozen.{n}": frozen(n) for n in ("pmf", "logpmf")},
}
