"""Truth values that become numbers in C: right, and no reason for a compiler to warn.

gcc's -Wbool-compare and -Wparentheses are part of -Wall, which users of exported C turn on;
conftest compiles whatever a test emits with all warnings as errors.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

import symgrad as sg

OPERATORS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
PAIRS = [np.greater, np.less, np.equal, np.not_equal, np.less_equal, np.greater_equal, np.maximum,
         np.minimum, np.logical_xor, np.bitwise_xor]  # fmt: skip


def compared(x: Any) -> list[Any]:
    """Comparisons of truth values with numbers inside and outside of 0 and 1, and each other."""
    truths = [x > 0, (x > 0).astype(int), (x > 0).astype(np.int32), (x > 0).astype(float)]
    results = [op(t, c) for t in truths for c in (-1, 0, 1, 2, 0.5) for op in OPERATORS]
    return results + [f(x > 0, x < 1) for f in PAIRS]


def computed(x: Any) -> list[Any]:
    """Arithmetic and indexing with truth values."""
    n = (x > 0).astype(int)
    return [
        np.maximum(n, 2), np.minimum(n, -1), np.clip(n, 2, 5), abs(n), np.sign(n), n // 2, n % 2,
        n**2, n + n * 3_000_000_000, np.where(x > 0, 1, 0) > 1, np.reciprocal(n + 1), np.take(x, n),
        x[n], 2**n, np.argmax(x > 0), np.max(x > 0), x ** (x > 0), np.isclose(x > 0, 1),
        np.cumsum(x > 0) > 1, np.any(x > 0) > np.all(x < 1), np.count_nonzero(x > 0) > 2,
    ]  # fmt: skip


def test_truth_values_in_c() -> None:
    for f in (compared, computed):
        compiled = sg.compile(f, sg.f64[5])
        for x in (np.array([0.5, -1, 2, 0, 1]), np.full(5, np.nan), np.zeros(5)):
            with np.errstate(all="ignore"):
                wanted = f(x)
            for got, value in zip(compiled(x), wanted, strict=True):
                np.testing.assert_array_equal(got, value)
                assert np.asarray(got).dtype.kind == np.asarray(value).dtype.kind
