"""Constants that people write: fractions, roots, multiples of π and of logarithms."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from symgrad.reader.folds import number_power
from symgrad.reader.heads import PI, Exponent, Factor, exact
from symgrad.reader.poly import apply, gather
from symgrad.reader.poly import number as rational

_LARGEST_DENOMINATOR = 1000
_HALF = Fraction(1, 2)


def recognised(value: Any) -> tuple[Exponent, list[Factor]]:
    """A float as an exact coefficient and powers of primes, of π and of log 2 or log 10."""
    x = float(value)
    single = value.dtype == np.float32
    ulp = 2.0**-24 if single else 2.0**-53
    most = 50 if single else _LARGEST_DENOMINATOR
    c = _near(x, most, 4 * ulp)
    if c is not None:
        return c, []
    text = str(value)
    if len(text.strip("-0.").replace(".", "")) <= (4 if single else 9):
        return exact(Fraction(text)), []
    sign = -1 if x < 0 else 1
    for k in (0, -1, 1, -2, 2):
        square = _near(x * x * math.pi**-k, most, 10 * ulp)
        if square is None:
            continue
        scale, primes = number_power(square, _HALF)
        if primes is not None:
            return exact(sign * scale), primes + ([(PI, (), exact(Fraction(k, 2)))] if k else [])
    for square, k in ((2, 0), (1, 1), (1, -1), (2, 1), (2, -1)):  # 0.134145 / √(2π)
        unit = math.sqrt(square * math.pi**k)
        text = f"{x / unit:.9g}"
        if abs(float(text) * unit - x) <= 4 * ulp * abs(x):
            scale, primes = number_power(square, _HALF)
            root = [(PI, (), exact(Fraction(k, 2)))] if k else []
            return exact(Fraction(text) * scale), (primes or []) + root
    for base in (2, 10):
        for e in (1, -1):
            c = _near(x * math.log(base) ** -e, 50, 8 * ulp)
            if c is not None:
                return c, [(apply("fn", "log", [rational(base)])[0], (), e)]
    c = _near(x / math.log(2 * math.pi), 50, 8 * ulp)
    if c is not None:  # of normal densities
        circle = gather((), [(2, [(PI, (), 1)], {})])
        return c, [apply("fn", "log", [circle])]
    return exact(Fraction(x)), []


def _near(x: float, most: int, tolerance: float) -> Exponent | None:
    c = Fraction(x).limit_denominator(most)
    if c and abs(float(c) - x) <= tolerance * abs(x) and abs(c.numerator) < 10**9:
        return exact(c)
    return 0 if x == 0 else None
