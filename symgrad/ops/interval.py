"""Between which integers a value lies: the column `interval` of the rows.

Ends may be infinite. int32 and int64 are taken to be unbounded: a program whose integers wrap
around is wrong anyway. Moore, Kearfott & Cloud, Introduction to Interval Analysis, 2009.
"""

from __future__ import annotations

import math

Interval = tuple[float, float]

ANY: Interval = (-math.inf, math.inf)


def add(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def subtract(a: Interval, b: Interval) -> Interval:
    return a[0] - b[1], a[1] - b[0]


def negative(a: Interval) -> Interval:
    return -a[1], -a[0]


def multiply(a: Interval, b: Interval) -> Interval:
    products = [0 if 0 in (x, y) else x * y for x in a for y in b]
    return min(products), max(products)


def absolute(a: Interval) -> Interval:
    return max(0, a[0], -a[1]), max(-a[0], a[1])


def sign(a: Interval) -> Interval:
    return -1, 1


def minimum(a: Interval, b: Interval) -> Interval:
    return min(a[0], b[0]), min(a[1], b[1])


def maximum(a: Interval, b: Interval) -> Interval:
    return max(a[0], b[0]), max(a[1], b[1])


def mod(a: Interval, b: Interval) -> Interval:
    """As NumPy's mod: of the divisor's sign."""
    return (0, b[1] - 1) if b[0] > 0 else ANY


def same(a: Interval) -> Interval:
    return a


def hull(condition: Interval, a: Interval, b: Interval) -> Interval:
    """Of a selection."""
    return min(a[0], b[0]), max(a[1], b[1])


def with_zero(condition: Interval, a: Interval) -> Interval:
    """Of a value that is 0 where a condition does not hold."""
    return min(a[0], 0), max(a[1], 0)
