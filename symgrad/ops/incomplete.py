"""Incomplete gamma and beta functions, differentiable in their last argument.

Shapes are numbers known while tracing: there is no derivative by them. Series and continued
fractions as in Press et al., Numerical Recipes, 6.2 and 6.4, in the order of the C helpers; NaN for
shapes above 10^8, which would need ten thousands of terms.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symgrad.expr.node import Expr, bind
from symgrad.expr.op import Kind, Op, register
from symgrad.ops.elementwise import _infer_float, binary, exp
from symgrad.ops.special import _stirling, betaln, gammaln

_TINY, _MOST = 1e-300, 1e8


def _density(a: Any, x: Any) -> Any:
    """xᵃ e⁻ˣ / Γ(a), for large a by Stirling's series: what cancels is taken out."""
    large = np.where(a >= 10, a, 10.0)
    mu = (x - large) / large
    log = np.where((x < 0.5 * large) | (x > 2 * large), np.log(x / large), np.log1p(mu))
    far = np.sqrt(large / (2 * math.pi)) * np.exp(large * (log - mu) - _stirling(large))
    return np.where(a >= 10, far, np.exp(a * np.log(x) - x - gammaln(a)))


def _series(a: Any, x: Any) -> Any:
    term = 1 / a
    total, active, n = term, np.ones(a.shape, bool), 0
    while active.any():
        n += 1
        term = np.where(active, term * (x / (a + n)), term)
        total = np.where(active, total + term, total)
        active = active & (term > total * 1e-17)
    return total


def _small(x: Any) -> Any:
    return np.where(np.abs(x) < _TINY, _TINY, x)


def _fraction(a: Any, x: Any) -> Any:
    """Γ(a, x) eˣ x⁻ᵃ, by Lentz's method."""
    b = x + 1 - a
    c, d = np.full_like(x, 1 / _TINY), 1 / _small(b)
    h, active, i = d, np.ones(a.shape, bool), 0
    while active.any():
        i += 1
        an = -i * (i - a)
        b = b + 2
        d = 1 / _small(an * d + b)
        c = _small(b + an / c)
        step = d * c
        h = np.where(active, h * step, h)
        active = active & (np.abs(step - 1) > 2e-16) & (i < 1_000_000)
    return h


def _gammas(a: Any, x: Any) -> tuple[Any, Any]:
    """Both regularised functions."""
    a, x = np.broadcast_arrays(np.asarray(a, float), np.asarray(x, float))
    inside = (a > 0) & (a <= _MOST) & (x > 0) & (x < np.inf)
    p, q = np.where(inside, a, 1.0), np.where(inside, x, 1.0)
    with np.errstate(all="ignore"):
        lower = q < p + 1
        front = _density(p, q)
        below = front * _series(np.where(lower, p, 1.0), np.where(lower, q, 1.0))
        above = front * _fraction(np.where(lower, 1.0, p), np.where(lower, 3.0, q))
        first, second = np.where(lower, below, 1 - above), np.where(lower, 1 - below, above)
    known = (a > 0) & (a <= _MOST) & (x >= 0)
    ends = np.where(x == 0, 0.0, 1.0)
    first = np.where(inside, first, np.where(known, ends, np.nan))
    return first, np.where(inside, second, np.where(known, 1 - ends, np.nan))


def gammainc(a: Any, x: Any) -> Any:
    """The regularised lower incomplete gamma function P(a, x)."""
    return _gammas(a, x)[0]


def gammaincc(a: Any, x: Any) -> Any:
    """The regularised upper incomplete gamma function Q(a, x)."""
    return _gammas(a, x)[1]


def _beta_fraction(a: Any, b: Any, x: Any) -> Any:
    c = np.ones_like(x)
    d = 1 / _small(1 - (a + b) * x / (a + 1))
    h, active, m = d, np.ones(x.shape, bool), 0
    while active.any():
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / _small(1 + even * d), _small(1 + even / c)
        h = np.where(active, h * (d * c), h)
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / _small(1 + odd * d), _small(1 + odd / c)
        step = d * c
        h = np.where(active, h * step, h)
        active = active & (np.abs(step - 1) > 2e-16) & (m < 1_000_000)
    return h


def betainc(a: Any, b: Any, x: Any) -> Any:
    """The regularised incomplete beta function I_x(a, b)."""
    a, b, x = np.broadcast_arrays(*(np.asarray(v, float) for v in (a, b, x)))
    known = (a > 0) & (a <= _MOST) & (b > 0) & (b <= _MOST) & (x >= 0) & (x <= 1)
    inside = known & (x > 0) & (x < 1)
    p, q, y = (np.where(inside, v, w) for v, w in ((a, 1.0), (b, 1.0), (x, 0.5)))
    with np.errstate(all="ignore"):
        front = np.exp(p * np.log(y) + q * np.log1p(-y) - betaln(p, q))
        left = y < (p + 1) / (p + q + 2)
        first, second = np.where(left, p, q), np.where(left, q, p)
        part = front * _beta_fraction(first, second, np.where(left, y, 1 - y)) / first
    value = np.where(left, part, 1 - part)
    return np.where(inside, value, np.where(known, np.where(x == 0, 0.0, 1.0), np.nan))


def stdtr(df: Any, t: Any) -> Any:
    """Student's distribution function."""
    df, t = np.broadcast_arrays(np.asarray(df, float), np.asarray(t, float))
    with np.errstate(all="ignore"):
        square = t * t
        far = 0.5 * betainc(0.5 * df, 0.5, df / (df + square))
        near = 0.5 - 0.5 * betainc(0.5, 0.5 * df, square / (df + square))
        tail = np.where(square < 1, near, far)
        tail = np.where(np.isinf(t) & (df > 0), 0.0, tail)
        return np.where(t < 0, tail, 1 - tail)


# ---- the rows --------------------------------------------------------------------------------


def _gamma_density(a: Expr, x: Expr) -> Expr:
    return exp(bind("xlogy", a - 1, x) - x - bind("gammaln", a))


def _beta_density(a: Expr, b: Expr, x: Expr) -> Expr:
    return exp(bind("xlogy", a - 1, x) + bind("xlog1py", b - 1, -x) - bind("betaln", a, b))


def _t_density(df: Expr, t: Expr) -> Expr:
    half = bind("convert", df, attrs=(df.dtype,)) * 0.5
    middle = bind("betaln", half * 0 + 0.5, half)
    return exp(-0.5 * bind("log", df) - middle - (half + 0.5) * bind("log1p", t * t / df))


_SHAPE, _ABOVE = (0.5, 6.0), (0.1, 8.0)
# fmt: off
binary("gammainc",  gammainc,  "sg_gammainc@({0}, {1})",  (None, lambda a, x, out: _gamma_density(a, x)),  "lowergamma(a, b)/gamma(a)", (_SHAPE, _ABOVE), 200)
binary("gammaincc", gammaincc, "sg_gammaincc@({0}, {1})", (None, lambda a, x, out: -_gamma_density(a, x)), "uppergamma(a, b)/gamma(a)", (_SHAPE, _ABOVE), 200)
binary("stdtr",     stdtr,     "sg_stdtr@({0}, {1})",     (None, lambda df, t, out: _t_density(df, t)),    "Piecewise((betainc_regularized(a/2, 1/2, 0, a/(a + b**2))/2, b < 0), (1 - betainc_regularized(a/2, 1/2, 0, a/(a + b**2))/2, True))", (_SHAPE, (-4.0, 4.0)), 300)
# fmt: on
register(
    Op(
        "betainc",
        Kind.ELEMENTWISE,
        _infer_float,
        betainc,
        partials=(None, None, lambda a, b, x, out: _beta_density(a, b, x)),
        c="sg_betainc@({0}, {1}, {2})",
        sympy="betainc_regularized(a, b, 0, c)",
        domain=(_SHAPE, _SHAPE, (0.05, 0.95)),
        cost=250,
        numpy=("betainc",),
    )
)  # fmt: skip
