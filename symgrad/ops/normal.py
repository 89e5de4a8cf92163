"""Functions of the normal distribution: quantiles, scaled tails, their logarithm.

Quantiles use +, -, *, / and √ alone, also for the logarithm that they need, in the order in which
templates/c99/helpers/quantile has them: their bits are the same in NumPy and in C, which random
numbers are made of. Importing this module registers the rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symgrad.expr.node import Expr, bind, const
from symgrad.ops import readings
from symgrad.ops.elementwise import binary, exp, square, unary
from symgrad.ops.special import erfc

# Wichura, Algorithm AS 241: The percentage points of the normal distribution (PPND16),
# Applied Statistics 37 (1988) 477: rational functions of 0.425² - q², of s - 1.6 and of s - 5,
# with s = √(-log tail).
_CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
     1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
     3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
     5.2264952788528545610e3),
)  # fmt: skip
_BESIDE = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
     3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
     2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
     1.05075007164441684324e-9),
)  # fmt: skip
_FAR = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
     2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
     2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
     2.04426310338993978564e-15),
)  # fmt: skip


def _ratio(table: Any, x: Any) -> Any:
    above, below = (np.full_like(x, row[-1]) for row in table)
    for k in range(len(table[0]) - 2, -1, -1):
        above, below = above * x + table[0][k], below * x + table[1][k]
    return above / below


def _minus_log(x: Any) -> Any:
    """-log x for 0 < x <= 1/2: 2 artanh of (m - 1)/(m + 1) by its series, and the exponent."""
    m, exponent = np.frexp(x)
    small = m < 0.70710678118654752
    m, exponent = np.where(small, 2 * m, m), exponent - small
    s = (m - 1) / (m + 1)
    square_, total = s * s, np.full_like(s, 1 / 23)
    for k in range(21, 0, -2):
        total = total * square_ + 1 / k
    return -(exponent * 0.6931471805599453 + 2 * (s * total))


def _quantile(q: Any, tail: Any) -> Any:
    """The z with Φ(z) = 1/2 + q, given also the tail 1/2 - |q|, which q may have rounded off."""
    with np.errstate(all="ignore"):
        centre = np.abs(q) <= 0.425
        near = q * _ratio(_CENTRE, 0.180625 - q * q)
        s = np.sqrt(_minus_log(np.where(centre | ~(tail > 0), 0.25, tail)))
        beside = np.where(s <= 5, _ratio(_BESIDE, s - 1.6), _ratio(_FAR, s - 5))
        outside = np.where(tail > 0, beside, np.where(tail == 0, np.inf, np.nan))
        return np.where(centre, near, np.where(q < 0, -outside, outside))


def _double(f: Any) -> Any:
    def evaluate(*args: Any) -> Any:
        return f(*(np.asarray(a, float) for a in args))

    return evaluate


@_double
def ndtri(p: Any) -> Any:
    """The standard normal quantile of p."""
    return _quantile(p - 0.5, np.where(p < 0.5, p, 1 - p))


@_double
def erfinv(x: Any) -> Any:
    """The y with erf(y) = x."""
    return _quantile(0.5 * x, 0.5 * (1 - np.abs(x))) / 1.4142135623730951


@_double
def erfcinv(x: Any) -> Any:
    """The y with erfc(y) = x."""
    return _quantile(0.5 * (1 - x), 0.5 * np.where(x < 1, x, 2 - x)) / 1.4142135623730951


# ---- scaled tails ----------------------------------------------------------------------------

_TERMS = 40  # of the continued fraction for x >= 10: it has all digits after 12


def _exp_square(x: Any) -> Any:
    """exp(x²) without what the rounding of x² would cost."""
    high = np.rint(x * 65536) / 65536
    return np.exp(high * high) * np.exp((x - high) * (x + high))


@_double
def erfcx(x: Any) -> Any:
    """exp(x²) erfc(x)."""
    with np.errstate(all="ignore"):
        near = _exp_square(np.minimum(x, 10)) * erfc(np.minimum(x, 10))
        near = np.where(x < -27, np.inf, near)
        return np.where(x < 10, near, _scaled(np.zeros_like(x), np.maximum(x, 10)))


def _scaled(n: Any, x: Any) -> Any:
    """exp(x²) iⁿerfc(x) for x >= 1: the ratios of neighbours by Gautschi's recurrence downwards.

    i^(k-1)erfc = 2 (k + 1) i^(k+1)erfc + 2 x iᵏerfc (DLMF 7.18.7), from i^(-1)erfc = 2/√π.
    """
    total, ratio = np.full_like(x, 2 / math.sqrt(math.pi)), np.zeros_like(x)
    for k in range(_count(n, x), -1, -1):
        ratio = 1 / (2 * x + 2 * (k + 1) * ratio)
        total = np.where(k <= n, total * ratio, total)
    return total


def _count(n: Any, x: Any) -> int:
    least = float(np.min(x, initial=np.inf))
    return int(np.max(n, initial=0)) + (_TERMS if least >= 10 else 300)


@_double
def scaled_ierfc(n: Any, x: Any) -> Any:
    """exp(x²) iⁿerfc(x), the repeated integral of erfc, for n = 0, 1, …, 40; NaN for other n.

    Its derivative is -2 (n + 1) times the next one: a product, where 2 x erfcx(x) - 2/√π cancels.
    """
    n, x = np.broadcast_arrays(n, x)
    known = (n >= 0) & (n <= 40) & (n == np.floor(n)) & ~np.isnan(x)
    m = np.where(known, n, 0)
    with np.errstate(all="ignore"):
        far = _scaled(m, np.where(x >= 1, x, 1))
        below = np.full_like(x, 2 / math.sqrt(math.pi))
        low = np.where(x < 1, x, 0)
        at = erfcx(low)
        for k in range(1, int(np.max(m, initial=0)) + 1):  # DLMF 7.18.7 upwards
            on = k <= m
            after = (0.5 * below - low * at) / k
            below, at = np.where(on, at, below), np.where(on, after, at)
        return np.where(known, np.where(x >= 1, far, at), np.nan)


@_double
def log_ndtr(x: Any) -> Any:
    """log Φ(x)."""
    with np.errstate(all="ignore"):
        u = np.minimum(x, -1) * -math.sqrt(0.5)
        left = np.log(0.5 * erfcx(u)) - u * u
        right = np.log1p(-0.5 * erfc(np.maximum(x, -1) * math.sqrt(0.5)))
        return np.where(x < -1, left, right)


# ---- the rows --------------------------------------------------------------------------------


def _scaled_tail(n: float, x: Expr) -> Expr:
    return bind("scaled_ierfc", const(n, x.dtype, x.shape), x)


_UNIT, _REAL = (0.02, 0.98), (-3.0, 3.0)
# fmt: off
unary("ndtri",   ndtri,   "sg_ndtri@({0})",   lambda x, out: math.sqrt(2 * math.pi) * exp(0.5 * square(out)), "sqrt(2)*erfinv(2*a - 1)", _UNIT,         40)
unary("erfinv",  erfinv,  "sg_erfinv@({0})",  lambda x, out: math.sqrt(math.pi) / 2 * exp(square(out)),       "erfinv(a)",               (-0.95, 0.95), 40)
unary("erfcinv", erfcinv, "sg_erfcinv@({0})", lambda x, out: -math.sqrt(math.pi) / 2 * exp(square(out)),      "erfinv(1 - a)",              (0.05, 1.95),  40)
unary("erfcx",   erfcx,   "sg_erfcx@({0})",   lambda x, out: -2 * _scaled_tail(1, x),                         "exp(a**2)*erfc(a)",       _REAL,         60, nonnegative=lambda args, attrs, which: True, reads=readings.reads_erfcx)
unary("log_ndtr", log_ndtr, "sg_log_ndtr@({0})", lambda x, out: math.sqrt(2 / math.pi) / bind("erfcx", x * -math.sqrt(0.5)), "log(erfc(-a/sqrt(2))/2)", _REAL, 80, reads=readings.reads_log_ndtr)
binary("scaled_ierfc", scaled_ierfc,  "sg_scaled_ierfc@({0}, {1})", (None, lambda n, x, out: -2 * (n + 1) * bind("scaled_ierfc", n + 1, x)), "exp(b**2)*(exp(-b**2)/sqrt(pi) - b*erfc(b))", ((1.0, 1.0), _REAL), 150, numpy=(), reads=readings.reads_repeated_tail)
# fmt: on
