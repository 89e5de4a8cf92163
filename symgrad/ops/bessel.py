"""Bessel functions of whole order, the reference evaluator's and the rows.

No coefficients are fitted: power series, recurrences and Hankel's expansions are summed until they
have double's digits. Each is used only where nothing cancels. The C counterparts are in
templates/c99/helpers; both compute in double.

J is accurate to a few units of the last place of its amplitude, the least of 1 and √(2/πx): next to
a zero its digits are those that half a unit of x leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.expr.node import Expr, bind, const_value, is_const
from symgrad.ops.elementwise import binary, sign

MOST = 100  # the largest order
_FAR = 25.0  # from here on Hankel's expansions have all digits
_TERMS = 30


def _each_order(f: Callable[[int, Any], Any], n: Any, x: Any) -> Any:
    """f(|n|, |x|) for each whole n, with the sign that it has at -x; NaN for other n."""
    n, x = np.broadcast_arrays(np.asarray(n, float), np.asarray(x, float))
    known = (np.abs(n) <= MOST) & (n == np.floor(n)) & ~np.isnan(x)
    result = np.full(x.shape, np.nan)
    with np.errstate(all="ignore"):
        for order in np.unique(np.abs(n[known])):
            at = known & (np.abs(n) == order)
            result[at] = f(int(order), np.abs(x[at]))
        return np.where((np.mod(n, 2) == 1) & np.signbit(x), -result, result)


def _series(n: int, x: Any, sign: float) -> Any:
    """(x/2)ⁿ Σ (sign x²/4)ᵏ / (k! (n + k)!) (DLMF 10.2.2, 10.25.2)."""
    term = np.ones_like(x)
    for k in range(1, n + 1):
        term = term * (0.5 * x / k)
    total, k = term, 0
    while (np.abs(term) > 1e-17 * np.abs(total)).any():
        k += 1
        term = term * (0.25 * sign * x * x / (k * (n + k)))
        total = total + term
    return total


def _expansion(n: int, x: Any, signs: tuple[int, ...]) -> Any:
    """Σ signs aₖ(n) / xᵏ with Hankel's aₖ (DLMF 10.17.1); `signs` are repeated."""
    term, total = np.ones_like(x), np.full_like(x, signs[0])
    for k in range(1, _TERMS):
        term = term * ((4 * n * n - (2 * k - 1) ** 2) / (8 * k * x))
        total = total + signs[k % len(signs)] * term
    return total


def _j_far(n: int, x: Any) -> Any:
    """J for x >= 25 and x > n: Hankel's expansion of J_0 and J_1 (DLMF 10.17.3), then upwards."""
    c, s = np.cos(x), np.sin(x)
    found = []
    for order, even, odd in ((0, c + s, s - c), (1, s - c, -s - c)):
        p, q = _expansion(order, x, (1, 0, -1, 0)), _expansion(order, x, (0, 1, 0, -1))
        found.append((p * even - q * odd) / np.sqrt(math.pi * x))
    below, at = found
    for k in range(1, n):
        below, at = at, 2 * k / x * at - below
    return np.where(np.isinf(x), 0, below if n == 0 else at)


def _j_between(n: int, x: Any) -> Any:
    """J by its recurrence downwards (Miller), where J_0² + 2 Σ J_k² is 1 (DLMF 10.23.3).

    That sum has no cancellation; the sign is that of J_0 + 2 Σ J_2k, which is 1 (DLMF 10.12.4).
    """
    start = 2 * ((max(n, int(_FAR)) + 40) // 2)
    squares: Any = 1.0
    sums: Any = 1.0
    wanted: Any = 0.0
    above, at = np.zeros_like(x), np.ones_like(x)
    for k in range(start, 0, -1):
        above, at = at, 2 * k / x * at - above
        squares = squares + at * at
        sums = sums + (at if k % 2 == 1 else 0)
        wanted = at if k - 1 == n else wanted
    return np.copysign(wanted / np.sqrt(2 * squares - at * at), wanted * (2 * sums - at))


def _j(n: int, x: Any) -> Any:
    near, far = x * x <= 2 * (n + 1), (x >= _FAR) & (x > n)
    between = _j_between(n, np.where(near | far, _FAR, x))
    result = np.where(far, _j_far(n, np.where(far, x, max(_FAR, n + 1.0))), between)
    return np.where(near, _series(n, np.where(near, x, 0), -1), result)


def _ie_between(n: int, x: Any) -> Any:
    """exp(-x) I by the recurrence downwards, where I_0 + 2 Σ I_k is exp(x) (DLMF 10.35.4)."""
    start = n + int(math.sqrt(80 * np.max(x, initial=0.0))) + 10
    sums: Any = 1e-100
    wanted: Any = 0.0
    above, at = np.zeros_like(x), np.full_like(x, 1e-100)
    for k in range(start, 0, -1):
        above, at = at, 2 * k / x * at + above
        sums = sums + at
        wanted = at if k - 1 == n else wanted
        down = np.where(at > 1e200, 1e-200, 1.0)  # `start` is that of the largest x
        above, at, sums, wanted = above * down, at * down, sums * down, wanted * down
    return wanted / (2 * sums - at)


def _ie(n: int, x: Any) -> Any:
    near, far = x <= 12, x > max(30, n * n)
    small, large = np.where(near, x, 0), np.where(far, x, max(31, n * n))
    between = _ie_between(n, np.where(near | far, 12, x))
    asymptotic = _expansion(n, large, (1, -1)) / np.sqrt(2 * math.pi * large)  # DLMF 10.40.1
    return np.where(near, _series(n, small, 1) * np.exp(-small), np.where(far, asymptotic, between))


def _i(n: int, x: Any) -> Any:
    near = x <= 12
    half = np.exp(0.5 * np.where(near, 0, x))
    far = np.where(np.isinf(x), np.inf, half * _ie(n, np.where(np.isinf(x), 1e4, x)) * half)
    return np.where(near, _series(n, np.where(near, x, 0), 1), far)


def bessel_j(n: Any, x: Any) -> Any:
    """J_n(x) for n = -100, …, 100 and every real x; J_(-n) is (-1)ⁿ J_n (DLMF 10.4.1)."""
    n = np.asarray(n, float)
    return np.where((n < 0) & (np.mod(n, 2) == 1), -1.0, 1.0) * _each_order(_j, n, x)


def bessel_i(n: Any, x: Any) -> Any:
    """I_n(x), the modified function, for n = -100, …, 100 and every real x."""
    return _each_order(_i, n, x)


def bessel_ie(n: Any, x: Any) -> Any:
    """exp(-|x|) I_n(x), which does not overflow."""
    return _each_order(_ie, n, x)


# ---- the rows --------------------------------------------------------------------------------


def _neighbours(name: str, n: Expr, x: Expr, sign: int) -> Expr:
    """(Z_(n-1) + sign Z_(n+1)) / 2 (DLMF 10.6.1, 10.29.1); of order 0 these are one function."""
    if is_const(n) and const_value(n) == 0:
        return sign * bind(name, n + 1, x)
    return 0.5 * (bind(name, n - 1, x) + sign * bind(name, n + 1, x))


_REAL = (-3.0, 3.0)
# fmt: off
binary("bessel_j",  bessel_j,  "sg_bessel_j@({0}, {1})",  (None, lambda n, x, out: _neighbours("bessel_j", n, x, -1)),                      "besselj(a, b)",              ((1.0, 1.0), _REAL), 150, numpy=())
binary("bessel_i",  bessel_i,  "sg_bessel_i@({0}, {1})",  (None, lambda n, x, out: _neighbours("bessel_i", n, x, 1)),                       "besseli(a, b)",              ((1.0, 1.0), _REAL), 150, numpy=())
binary("bessel_ie", bessel_ie, "sg_bessel_ie@({0}, {1})", (None, lambda n, x, out: _neighbours("bessel_ie", n, x, 1) - sign(x) * out), "exp(-Abs(b))*besseli(a, b)", ((1.0, 1.0), (0.2, 3.0)), 150, numpy=())
# fmt: on
