"""What `n` traced rounds leave, against the same rounds in plain Python; and which need a scan."""

from __future__ import annotations

import numpy as np
import pytest

from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import arg, array, bind, const
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.ops.linear import gather
from symgrad.trace.indexing import put
from symgrad.trace.rounds import Round, affine, run

DATA = np.random.default_rng(0).random(12)
X = array(DATA)


def sin(x):
    return bind("sin", x)


def integer(k):
    return const(k, "int64")


def neighbours(t, s):
    return [s + (gather(X, t + 1, 0) - gather(X, t, 0)) * 2.0], []


def neighbours_in_python(t, s):
    return [s + (DATA[t + 1] - DATA[t]) * 2.0], []


def fill(t, y):
    return [put(y, t, sin(gather(X, t, 0)), 0)], []


def fill_in_python(t, y):
    y[t] = np.sin(DATA[t])
    return [y], []


def two_before(t, y):
    value = gather(y, t + 1, 0) * 0.5 + gather(y, t, 0) * 0.3 + gather(X, t, 0)
    return [put(y, t + 2, value, 0)], [gather(y, t + 1, 0)]


def two_before_in_python(t, y):
    y[t + 2] = y[t + 1] * 0.5 + y[t] * 0.3 + DATA[t]
    return [y], [y[t + 1]]


def backwards(t, y):
    value = gather(y, integer(11) - t, 0) * 0.5 + gather(X, t, 0)
    return [put(y, integer(10) - t, value, 0)], []


def backwards_in_python(t, y):
    y[10 - t] = y[11 - t] * 0.5 + DATA[t]
    return [y], []


def row_in_parts(t, y):
    """y[t, 0] = x[t]; y[t, 1] = y[t, 0] + y[t - 1, 1], which is y[-1, 1] at first."""
    first = put(gather(y, t, 0), integer(0), gather(X, t, 0), 0)
    y = put(y, t, first, 0)
    value = gather(gather(y, t, 0), integer(0), 0) + gather(gather(y, t - 1, 0), integer(1), 0)
    return [put(y, t, put(gather(y, t, 0), integer(1), value, 0), 0)], []


def row_in_parts_in_python(t, y):
    y[t, 0] = DATA[t]
    y[t, 1] = y[t, 0] + y[t - 1, 1]
    return [y], []


def all_rows(t, y):
    """Reads the whole array: it has to be handed on."""
    return [put(y, t, bind("sum", y, attrs=((0,),)) * 0.1, 0)], []


def all_rows_in_python(t, y):
    y[t] = np.sum(y) * 0.1
    return [y], []


def variance(t, h, loss):
    h = h * 0.5 + gather(X, t, 0) * 0.1
    return [h, loss + sin(h)], [h * 2.0]


def variance_in_python(t, h, loss):
    h = 0.5 * h + DATA[t] * 0.1
    return [h, loss + np.sin(h)], [h * 2.0]


def before_the_first(t, s):
    return [s + gather(X, t - 1, 0)], []


def before_the_first_in_python(t, s):
    return [s + DATA[t - 1]], []


def swap(t, a, b):
    return [b, a + b * 0.5], []


def counter(t, k, s, same):
    return [k + integer(2), s + gather(X, k, 0) * same, same], [k]


def counter_in_python(t, k, s, same):
    return [k + 2, s + DATA[k] * same, same], [k]


def difference(t, a, b):
    return [b, b - a], []


def last(t, v, w):
    return [gather(X, t, 0) * 2.0, w], [gather(X, t + 1, 0)]


def last_in_python(t, v, w):
    return [DATA[t] * 2.0, w], [DATA[t + 1]]


CASES = [
    (last, last_in_python, [0.0, 5.0], 11, False),
    (neighbours, neighbours_in_python, [0.0], 11, False),
    (fill, fill_in_python, [np.zeros(12)], 12, False),
    (fill, fill_in_python, [np.ones(12)], 5, False),
    (two_before, two_before_in_python, [np.arange(1.0, 12)], 9, True),
    (backwards, backwards_in_python, [np.arange(1.0, 13)], 10, True),
    (row_in_parts, row_in_parts_in_python, [np.arange(24.0).reshape(12, 2)], 12, True),
    (all_rows, all_rows_in_python, [np.arange(1.0, 13)], 12, True),
    (variance, variance_in_python, [1.0, 0.0], 12, True),
    (before_the_first, before_the_first_in_python, [0.0], 12, False),
    (swap, swap, [1.0, 2.0], 7, True),
    (difference, difference, [1.0, 2.5], 7, True),
    (counter, counter_in_python, [np.int64(0), 2.0, 3.0], 5, False),
    (neighbours, neighbours_in_python, [0.0], 1, False),
    (two_before, two_before_in_python, [np.arange(1.0, 12)], 1, True),
]


def traced(make, start, n):
    t = arg(0, (), "int64")
    arrays = [np.asarray(s) for s in start]
    starts = [arg(k, a.shape, str(a.dtype)) for k, a in enumerate(arrays)]
    carry = [arg(k, s.shape, s.dtype) for k, s in enumerate(starts)]
    final, stacked = run(Round(t, carry, *make(t, *carry)), starts, n)
    check([*final, *stacked])
    return [*final, *stacked], dict(zip(starts, arrays, strict=True))


@pytest.mark.parametrize(("make", "plain", "start", "n", "recurs"), CASES)
def test_all_rounds(make, plain, start, n, recurs):
    outs, values = traced(make, start, n)
    assert any(v.op.kind is Kind.CONTROL for v in toposort(outs)) is recurs
    state, rows = [np.array(s) if np.ndim(s) else s for s in start], []
    for t in range(n):
        state, extra = plain(t, *state)
        rows.append(extra)
    expected = [*state, *map(np.array, zip(*rows, strict=True))]
    for got, want in zip(evaluate(outs, values), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-14)


def test_arrays_that_are_filled_are_not_handed_on():
    outs, _ = traced(two_before, [np.zeros(1002)], 1000)
    loops = [v for v in toposort(outs) if v.op.kind is Kind.CONTROL]
    assert [[p.shape for p in loop.attr("body").params] for loop in loops] == [[()] * 3]


def test_places():
    t = arg(0, (), "int64")
    two = integer(2)
    assert affine(t, t) == (1, 0)
    assert affine(integer(7) - t * two, t) == (-2, 7)
    assert affine(t * t, t) is None
    assert affine(arg(1, (), "int64") + t, t) is None
