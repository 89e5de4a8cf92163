"""Special functions that NumPy lacks, for the reference evaluator.

The C counterparts are in templates/helpers. SciPy is not needed at run time; the test suite
compares both with mpmath.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_erf = np.vectorize(math.erf, otypes=[float])
_erfc = np.vectorize(math.erfc, otypes=[float])


def erf(x: Any) -> Any:
    """Error function."""
    return _erf(x) if np.size(x) else np.asarray(x, float)


def erfc(x: Any) -> Any:
    """Complementary error function."""
    return _erfc(x) if np.size(x) else np.asarray(x, float)


def _lgamma(x: float) -> float:
    if math.isinf(x):
        return math.inf
    if x <= 0 and x == math.floor(x):
        return math.inf
    return math.lgamma(x)


_gammaln = np.vectorize(_lgamma, otypes=[float])


def gammaln(x: Any) -> Any:
    """log |Γ(x)|; +inf at the poles."""
    return _gammaln(x) if np.size(x) else np.asarray(x, float)


# B_2k / (2k): asymptotic series of digamma, Abramowitz & Stegun 6.3.18.
_BERNOULLI = [1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798]
_DIGAMMA_ROOT = 1.4616321449683623  # and what the double leaves over
_DIGAMMA_ROOT_LOW = 9.549995429965697e-17


def _digamma(x: float) -> float:
    if math.isnan(x) or x == math.inf:
        return x
    if x == 0:
        return -math.copysign(math.inf, x)
    if x == -math.inf or (x < 0 and x == math.floor(x)):
        return math.nan
    if x < 0:  # reflection, A&S 6.3.7
        return _digamma(1 - x) - math.pi / math.tan(math.pi * math.fmod(x, 1.0))
    if abs(x - _DIGAMMA_ROOT) < 0.25:
        # Taylor series at the root, where the recurrence would cancel: A&S 6.4.2
        d = (x - _DIGAMMA_ROOT) - _DIGAMMA_ROOT_LOW
        return sum(c * d ** (k + 1) for k, c in reversed(list(enumerate(_ROOT_SERIES))))
    shift = 0.0
    while x < 10:
        shift += 1 / x
        x += 1
    inv = 1 / (x * x)
    series = 0.0
    for k in range(len(_BERNOULLI), 0, -1):
        series = (series + _BERNOULLI[k - 1] / (2 * k)) * inv
    return math.log(x) - 0.5 / x - series - shift


def _polygamma(n: float, x: float) -> float:
    order = int(n)
    if order == 0:
        return _digamma(x)
    if math.isnan(x):
        return x
    if x == math.inf:
        return 0.0
    sign = 1.0 if order % 2 else -1.0
    if x <= 0:
        if x == math.floor(x):
            return math.inf if order % 2 else math.nan
        return _polygamma_reflected(order, x)
    total = 0.0
    while x < 20 + order:  # recurrence, A&S 6.4.6
        total += x ** -(order + 1)
        x += 1
    total *= math.factorial(order)
    # asymptotic series, A&S 6.4.11
    power = x**-order
    total += math.factorial(order - 1) * power + 0.5 * math.factorial(order) * power / x
    for k, b in enumerate(_BERNOULLI, start=1):
        total += b * math.factorial(2 * k + order - 1) / math.factorial(2 * k) * power * x ** (-2 * k)
    return sign * total


def _polygamma_reflected(order: int, x: float) -> float:
    """A&S 6.4.7: (-1)^n ψₙ(1 − x) − ψₙ(x) = π dⁿ/dxⁿ cot πx, the derivative as polynomial in cot."""
    poly = [0.0, 1.0]  # coefficients in c = cot(pi x); d/dx c = -pi (1 + c²)
    for _ in range(order):
        derived = [k * a for k, a in enumerate(poly)][1:] or [0.0]
        poly = [0.0] * (len(derived) + 2)
        for k, a in enumerate(derived):
            poly[k] -= math.pi * a
            poly[k + 2] -= math.pi * a
    c = 1 / math.tan(math.pi * math.fmod(x, 1.0))
    value = 0.0
    for a in reversed(poly):
        value = value * c + a
    sign = -1.0 if order % 2 else 1.0
    return sign * _polygamma(order, 1 - x) - math.pi * value


# Taylor coefficients ψₖ(root)/k!, k = 1 … 12.
_ROOT_SERIES = [_polygamma(k, _DIGAMMA_ROOT) / math.factorial(k) for k in range(1, 25)]

_digamma_v = np.vectorize(_digamma, otypes=[float])
_polygamma_v = np.vectorize(_polygamma, otypes=[float])


def digamma(x: Any) -> Any:
    """d/dx log Γ(x)."""
    return _digamma_v(x) if np.size(x) else np.asarray(x, float)


def polygamma(n: Any, x: Any) -> Any:
    """The n-th derivative of digamma."""
    return _polygamma_v(n, x) if np.size(x) else np.asarray(x, float)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(np.asarray(x) >= 0, 1, e) / (1 + e)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)) without overflow or cancellation."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def xlogy(x: Any, y: Any) -> Any:
    """x log y, and 0 where x is 0 and y is not NaN."""
    zero = (np.asarray(x) == 0) & ~np.isnan(y)
    return np.where(zero, 0, x * np.log(np.where(zero, 1, y)))


def logaddexp(a: Any, b: Any) -> Any:
    """log(exp a + exp b)."""
    return np.logaddexp(a, b)
