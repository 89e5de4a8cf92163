"""Special functions that NumPy lacks, for the reference evaluator.

The C counterparts are in templates/c99/helpers. SciPy is not needed at run time; the test suite
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


# Interpolation at Chebyshev nodes: log Γ(2 + d) / d on [-3/4, 1/2] in powers of d, and
# ψ(y) / (y - root) on [1, 2] in powers of y - 3/2.
_GAMMALN_NEAR_2 = [
    0.42278433509846713,
    0.3224670334241132,
    -0.06735230105319819,
    0.020580808427788703,
    -0.007385551028663193,
    0.002890510330482064,
    -0.0011927539122376619,
    0.0005096695320648715,
    -0.00022315474408602818,
    9.945740198894934e-05,
    -4.4926464931326535e-05,
    2.0508175353649692e-05,
    -9.43727020655551e-06,
    4.370089307840295e-06,
    -2.052482416724873e-06,
    9.670254916827003e-07,
    -4.018330416059452e-07,
    2.0758927598859588e-07,
    -1.9264000508094273e-07,
    6.2426286817793866e-09,
    5.025731736555141e-08,
    7.558472696788447e-08,
]
_DIGAMMA_ON_1_2 = [
    0.951055876031833,
    -0.4236274212814605,
    0.2405424842407742,
    -0.14840492305390884,
    0.09498872445494122,
    -0.061922133273064534,
    0.04076083381242074,
    -0.02697579675613825,
    0.0179072524394512,
    -0.011908218001568644,
    0.007926944646403797,
    -0.005279964873257405,
    0.003519006401502276,
    -0.002345267632540769,
    0.0015566317474486838,
    -0.0010376374098418604,
    0.0007233266279287554,
    -0.0004821990530566789,
    0.0002272331660987376,
    -0.00015148586836773365,
    0.00025968482126430747,
    -0.00017312261802727394,
]
# The root of digamma in two parts; the first has 24 bits, so that y - root is exact near it.
_ROOT_HIGH, _ROOT_LOW = 1.4616321325302124, 1.2438149938918909e-08
# B_2k: /(2k (2k - 1)) is Stirling's series, /(2k) that of digamma, /(2k)! Euler-Maclaurin.
_BERNOULLI = [
    1 / 6,
    -1 / 30,
    1 / 42,
    -1 / 30,
    5 / 66,
    -691 / 2730,
    7 / 6,
    -3617 / 510,
    43867 / 798,
    -174611 / 330,
]


def _horner(coefficients: list[float], x: Any) -> Any:
    total = np.zeros_like(x)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def gammaln(x: Any) -> Any:
    """log |Γ(x)|, accurate near its roots 1 and 2; +inf at the poles; -inf at -inf, as in SciPy."""
    x = np.asarray(x, float)
    with np.errstate(all="ignore"):
        a = np.abs(x)
        large = np.where(a >= 10, a, 10.0)
        stirling = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI[:8], start=1)]
        far = _horner(stirling, 1 / large**2) / large + 0.5 * (math.log(2 * math.pi) - 1)
        far = far + (np.log(large) - 1) * (large - 0.5)
        y, factor = np.minimum(a, 10.0), np.ones_like(a)
        for _ in range(8):
            down = y > 2.5
            y = np.where(down, y - 1, y)
            factor = np.where(down, factor * y, factor)
        below = a < 1.25  # Γ(a) = Γ(2 + d) / factor there, else Γ(2 + d) · factor
        d = np.where(a < 0.5, a, np.where(below, a - 1, y - 2))
        factor = np.where(a < 0.5, a * (1 + a), np.where(below, a, factor))
        near = d * _horner(_GAMMALN_NEAR_2, d)
        result = np.where(a >= 10, far, near + np.where(below, -np.log(factor), np.log(factor)))
        # Γ(x) Γ(-x) = -π / (x sin πx)
        r = np.abs(x - np.rint(x))
        reflected = np.log(math.pi / (a * np.sin(math.pi * r))) - result
        reflected = np.where(a < 1e-10, -np.log(a), np.where(r == 0, np.inf, reflected))
        return np.where(np.isinf(x), x, np.where(x < 0, reflected, result))


def _gamma(x: float) -> float:
    if math.isnan(x) or x == math.inf:
        return x
    if x == 0:
        return math.copysign(math.inf, x)
    if x < 0 and (math.isinf(x) or x == math.floor(x)):
        return math.nan
    try:
        return math.gamma(x)
    except OverflowError:
        return math.copysign(math.inf, x)  # next to 0, or above 171


_gammas = np.vectorize(_gamma, otypes=[float])


def gamma(x: Any) -> Any:
    """Γ(x), as C's tgamma: NaN at the negative poles."""
    return _gammas(x) if np.size(x) else np.asarray(x, float)


def _stirling(x: Any) -> Any:
    """log Γ(x) - (x - 1/2) log x + x - log(2π)/2 for x >= 10."""
    coefficients = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI[:8], start=1)]
    return _horner(coefficients, 1 / x / x) / x


def _betaln_positive(a: Any, b: Any) -> Any:
    """What cancels in log Γ(x) - log Γ(x + d), for d <= x, is taken out of the logarithms.

    As in TOMS 708 (Didonato & Morris 1992), with differences of Stirling's series.
    """
    x, d = np.maximum(a, b), np.minimum(a, b)
    y = x + d
    near = gammaln(d) + (gammaln(x) - gammaln(y))
    far, large, above = np.maximum(x, 10.0), np.maximum(d, 10.0), np.maximum(y, 10.0)
    rest = _stirling(above) - _stirling(far)
    small = np.log1p(d / far)
    middle = gammaln(d) - (d * np.log(above) + ((far - 0.5) * small - d + rest))
    both = 0.5 * math.log(2 * math.pi) + (_stirling(large) - rest) - 0.5 * (np.log(large) - small)
    both = both - (large * np.log1p(far / large) + far * small)
    result = np.where(x < 10, near, np.where(d < 10, middle, both))
    return np.where(np.isinf(x), -np.inf, result)


def _sine(x: Any, y: Any = 0.0) -> Any:
    """|sin π(x + y)|, without what x + y would lose of the fraction of a small one."""
    part = (x - np.rint(x)) + (y - np.rint(y))
    return np.sin(math.pi * np.abs(part - np.rint(part)))


def betaln(a: Any, b: Any) -> Any:
    """log |B(a, b)| = log |Γ(a) Γ(b) / Γ(a + b)|; +inf at poles that a + b does not cancel."""
    p, q = np.broadcast_arrays(np.asarray(a, float), np.asarray(b, float))
    a, b = np.minimum(p, q), np.maximum(p, q)
    with np.errstate(all="ignore"):
        y = a + b
        rest = (1 - y) - ((a - (y - (y - a))) + (b - (y - a)))  # 1 - a - b without the rounding
        one = np.ones_like(a)

        def positive(where: Any, first: Any, second: Any) -> Any:
            return _betaln_positive(np.where(where, first, one), np.where(where, second, one))

        pole = a == np.floor(a)
        finite = (b > 0) & (b == np.floor(b)) & (y < 1) & np.isfinite(a)
        at_pole = np.where(finite, positive(pole & finite, 1 - a - b, b), np.inf)
        lost = np.isinf(b) | ((b <= 0) & (b == np.floor(b)))
        # Reflection, Γ(z) Γ(1 - z) = π / sin πz, of all three, of a and a + b, and of a.
        sines = _sine(a) * _sine(b) * (1 - y)
        below = np.log(math.pi * _sine(a, b) / sines) - positive(b < 0, 1 - a, 1 - b)
        across = np.log(_sine(a, b) / _sine(a)) + positive((a < 0) & (b > 0) & (y < 1), rest, b)
        beside = np.log(math.pi / (b * _sine(a))) - positive((a < 0) & (y >= 1), 1 - a, y)
        negative = np.where(b < 0, below, np.where(y < 1, across, beside))
        negative = np.where(pole, at_pole, np.where(lost, np.inf, negative))
        result = np.where(a > 0, positive(a > 0, a, b), negative)
        return np.where(np.isnan(p) | np.isnan(q), np.nan, result)


def digamma(x: Any) -> Any:
    """d/dx log Γ(x); NaN at the negative poles."""
    x = np.asarray(x, float)
    with np.errstate(all="ignore"):
        y = np.where(x < 0, 1 - x, x)
        large = np.where(y >= 10, y, 10.0)
        series = [b / (2 * k) for k, b in enumerate(_BERNOULLI[:9], start=1)]
        far = np.log(large) - (0.5 / large + _horner(series, 1 / large**2) / large**2)
        z = np.minimum(y, 10.0)
        near = np.where(z < 1, -1 / z, 0.0)
        z = np.where(z < 1, z + 1, z)
        for _ in range(8):  # recurrence, A&S 6.3.5
            down = z > 2
            z = np.where(down, z - 1, z)
            near = near + np.where(down, 1 / z, 0)
        near = near + ((z - _ROOT_HIGH) - _ROOT_LOW) * _horner(_DIGAMMA_ON_1_2, z - 1.5)
        result = np.where(y >= 10, far, near)
        rest = x - np.rint(x)  # reflection, A&S 6.3.7
        reflected = np.where(rest == 0, np.nan, result - math.pi / np.tan(math.pi * rest))
        result = np.where(x < 0, reflected, result)
        return np.where(x == 0, -np.copysign(np.inf, x), result)


def _polygamma_positive(n: Any, x: Any) -> Any:
    """n! ζ(n + 1, x) by Euler-Maclaurin summation, powers taken relative to x."""
    scale = np.ones_like(x)
    for k in range(1, int(np.max(n, initial=1)) + 1):
        scale = np.where(k <= n, scale * (k / x), scale)
    total, y, step = np.zeros_like(x), x, 0
    while (y < n + 11).any():
        small = y < n + 11
        total = np.where(small, total + (x / y) ** (n + 1), total)
        step += 1
        y = np.where(small, x + step, y)
    term, series = (n + 1) / y, np.full_like(x, 0.5)
    for k, b in enumerate(_BERNOULLI, start=1):
        series = series + b / math.factorial(2 * k) * term
        term = term * ((n + 2 * k) / y) * ((n + 2 * k + 1) / y)
    total = total + (x / y) ** (n + 1) * (y / n + series)
    return np.where(np.isinf(x), 1 / x, scale * (total / x))


def polygamma(n: Any, x: Any) -> Any:
    """The n-th derivative of digamma for n = 0, 1, …, 1000; NaN for other n."""
    n, x = np.broadcast_arrays(np.asarray(n, float), np.asarray(x, float))
    known = (n > 0) & (n <= 1000) & (n == np.floor(n))
    m = np.where(known, n, 1.0)
    odd = m % 2 == 1
    with np.errstate(all="ignore"):
        one = np.ones_like(x)
        pole = (x <= 0) & (x == np.floor(x))
        between = (x < 0) & ~pole  # the sum over all integers, less those beyond x
        above = _polygamma_positive(m, np.where(between, x - np.floor(x), np.where(pole, one, x)))
        below = np.zeros_like(x)
        if between.any():
            below = _polygamma_positive(m, np.where(between, np.ceil(x) - x, one))
            below = below - _polygamma_positive(m, np.where(between, 1 - x, one))
            below = np.where(between, below, 0)
        result = np.where(odd, above + below, below - above)
        at_pole = np.where(x == 0, -np.copysign(np.inf, x), np.nan)
        result = np.where(pole, np.where(odd & np.isfinite(x), np.inf, at_pole), result)
        return np.where(known, result, np.where(n == 0, digamma(x), np.nan))


def _step_positive(n: Any, x: Any, d: Any) -> Any:
    """n! (ζ(n + 1, x) - ζ(n + 1, x + d)) for x, d > 0: Euler-Maclaurin summation of differences."""

    def part(m: Any, y: Any) -> Any:
        return -np.expm1(-m * np.log1p(d / y))

    scale = np.ones_like(x)
    for k in range(1, int(np.max(n, initial=1)) + 1):
        scale = np.where(k <= n, scale * (k / x), scale)
    total, y, step = np.zeros_like(x), x, 0
    while (y < n + 11).any():
        small = y < n + 11
        total = np.where(small, total + (x / y) ** (n + 1) * part(n + 1, y), total)
        step += 1
        y = np.where(small, x + step, y)
    integral = np.where(n == 0, y * np.log1p(d / y), y / np.maximum(n, 1) * part(n, y))
    term, series = (n + 1) / y, 0.5 * part(n + 1, y) + integral
    for k, b in enumerate(_BERNOULLI, start=1):
        series = series + b / math.factorial(2 * k) * term * part(n + 2 * k, y)
        term = term * ((n + 2 * k) / y) * ((n + 2 * k + 1) / y)
    total = total + (x / y) ** (n + 1) * series
    return scale * (total / x)


def polygamma_step(n: Any, x: Any, d: Any) -> Any:
    """polygamma(n, x + d) - polygamma(n, x), without cancellation for positive x and x + d.

    The derivatives of betaln: ψ(a + b) - ψ(a) is about b/a for large a.
    """
    n, x, d = np.broadcast_arrays(*(np.asarray(v, float) for v in (n, x, d)))
    known = (n >= 0) & (n <= 1000) & (n == np.floor(n))
    with np.errstate(all="ignore"):
        y = x + d
        inside = (x > 0) & (y > 0) & np.isfinite(x) & np.isfinite(y) & known
        one = np.ones_like(x)
        low = np.where(inside, np.where(d < 0, y, x), one)
        step = _step_positive(np.where(known, n, 1.0), low, np.where(inside, np.abs(d), one))
        step = np.where((d < 0) == (n % 2 == 1), step, -step)
        result = np.where(inside, step, polygamma(n, y) - polygamma(n, x))
        return np.where(known, result, np.nan)


def logit(x: Any) -> Any:
    """log(x / (1 - x)), in exact steps near its root 1/2."""
    x = np.asarray(x)
    x = x if x.dtype.kind == "f" else x.astype(float)
    with np.errstate(all="ignore"):
        m = np.where(x < 0.5, x, 1 - x) + x.dtype.type(0)  # -0 becomes 0
        tiny = np.abs(m) < np.finfo(m.dtype).tiny  # 1 / m would overflow: with 2^60 m instead
        size = np.log1p((1 - 2 * m) / np.where(tiny, m * 2.0**60, m))
        size = np.where(tiny, size + 60 * math.log(2), size)
        return np.where(x < 0.5, -size, size)


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


def gap(a: Any, b: Any) -> Any:
    """a - b, and 0 for equal infinities."""
    return np.where(np.equal(a, b), 0, np.subtract(a, b))


def slope(x: Any, r: Any) -> Any:
    """x / r, and 0 for r = 0: what a root r contributes to a first derivative where it has none."""
    zero = np.equal(r, 0)
    return np.where(zero, 0, np.divide(x, np.where(zero, 1, r)))


def xlog1py(x: Any, y: Any) -> Any:
    """x log(1 + y), and 0 where x is 0 and y is not NaN."""
    zero = (np.asarray(x) == 0) & ~np.isnan(y)
    return np.where(zero, 0, x * np.log1p(np.where(zero, 0, y)))


def rel_entr(x: Any, y: Any) -> Any:
    """x log(x / y) for positive numbers, 0 for x = 0 and y >= 0, else inf."""
    x, y = np.asarray(x), np.asarray(y)
    inside = (x > 0) & (y > 0)
    value = np.where(inside, x * np.log(np.where(inside, x / y, 1)), np.inf)
    value = np.where((x == 0) & (y >= 0), 0, value)
    return np.where(np.isnan(x) | np.isnan(y), np.nan, value)


def sinc(x: Any) -> Any:
    """sin(x) / x, and 1 at 0."""
    zero = np.asarray(x) == 0
    return np.where(zero, 1, np.sin(x) / np.where(zero, 1, x))


def jn_root(n: Any, x: Any) -> Any:
    """j_n(√x) / √xⁿ for n = -1, 0, …, 40 and every real x; NaN for other n.

    It is entire in x, and its derivative is -1/2 of the next one (DLMF 10.51.3): for n = -1, 0 it
    is cos √x and sin √x / √x. The power series (10.53.1) where that does not cancel, for x < 0
    until |x| is large, else upwards from n = 0 (10.51.1).
    """
    n, x = np.broadcast_arrays(np.asarray(n, float), np.asarray(x, float))
    known = (n >= -1) & (n <= 40) & (n == np.floor(n)) & ~np.isnan(x)
    result = np.full(x.shape, np.nan)
    with np.errstate(all="ignore"):
        for order in np.unique(n[known]):
            at = known & (n == order)
            result[at] = _jn_root(int(order), x[at])
    return result


def _jn_root(n: int, x: Any) -> Any:
    r = np.sqrt(np.abs(x))
    circle = x >= 0
    below = np.where(circle, np.cos(r), np.cosh(r))
    if n == -1:
        return below
    one = np.where(r == 0, 1, r)
    at = np.where(r == 0, 1, np.where(circle, np.sin(r), np.sinh(r)) / one)
    for k in range(n):
        below, at = at, ((2 * k + 1) * at - below) / np.where(x == 0, 1, x)
    at = np.where(np.isposinf(x), 0, at)
    near = np.where(circle, r < n + 1, r < 30) & (n > 0)
    term = np.where(near, 1 / np.prod(np.arange(1.0, 2 * n + 2, 2)), 0)
    series, k = term, 0
    safe = np.where(near, x, 0)
    while (np.abs(term) > 1e-17 * np.abs(series)).any():
        term = term * (-0.5 * safe / ((k + 1) * (2 * n + 2 * k + 3)))
        series, k = series + term, k + 1
    return np.where(near, series, at)
