"""Places named by traced numbers: reading, and storing in traced arrays, as NumPy does it."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import OutOfRangeError
from symgrad.trace.indexing import Put

X = np.random.default_rng(0).random((5, 3))


def row(x, i):
    z = np.zeros_like(x)
    z[i] = x[i - 1] * 2
    return z


def element(x, i):
    z = np.zeros_like(x)
    z[i, 1] += x[i - 1, 0] * 2
    return z


def column(x, i):
    z = x.copy()
    z[:, i] = x[0, i] * 2
    return z


def part_of_a_column(x, i):
    z = x.copy()
    z[1:3, i] = x[0:2, i] * 2
    return z


def both_traced(x, i):
    z = x.copy()
    z[i, i - 1] = 7
    return z


def through_a_view(x, i):
    z = x.copy()
    z[1:][i] = x[i] * 2
    return z


def truths(x, i):
    z = x > 0.5
    z[i] = False
    return z * 1.0


def read(x, i):
    return x[None, i, 1:], x[:, i], x[i, -1], x[..., i, None], x[i][i]


def rows(x, i):
    z = x.copy()
    z[[0, i]] = z[[i, 0]] * 2
    return z


def rows_in_part(x, i):
    z = x.copy()
    z[[i, 1, i], ::2] = x[1:4, 1:]
    return z


def columns(x, i):
    z = x.copy()
    z[1:4, [i, 0]] = x[:3, :2]
    return z


def elements_with_a_new_axis(x, i):
    z = x.copy()
    z[[[0], [i]], None, [[i], [2]]] = x[1, 1] * 3
    return z


def truths_of_rows(x, i):
    z = x > 0.5
    z[[i, 0]] = x[1:3] < 0.5
    return z * 1.0


MANY = [rows, rows_in_part, columns, elements_with_a_new_axis]
STORES = [row, element, column, part_of_a_column, both_traced, through_a_view, truths]


@pytest.mark.parametrize("f", [*STORES, *MANY, truths_of_rows, read])
def test_as_numpy(f):
    compiled = sg.compile(f, X, 0)
    for i in (0, 1, 2, -1, -2):
        for got in (compiled(X, i), compiled.graph.evaluate(X, i)):
            expected = f(X, i)
            if f is not read:
                got, expected = (got,), (expected,)
            for g, e in zip(got, expected, strict=True):
                np.testing.assert_array_equal(g, e)


@pytest.mark.parametrize("f", [*STORES[:4], *MANY])
def test_out_of_range(f):
    compiled = sg.compile(f, X, 0)
    for i in (5, 6, -6):
        with pytest.raises(OutOfRangeError):
            compiled(X, i)


def test_derivatives():
    """Of sum(w · z(x)), exactly: what is stored is linear in x."""
    w = np.random.default_rng(1).random((5, 3))
    for f in (*STORES[:6], *MANY):
        gradient = sg.grad(lambda x, i, f=f: np.sum(w * f(x, i)))
        for i in (0, 2, -1):
            step = 2.0**-3 * np.eye(15).reshape(15, 5, 3)
            expected = [np.sum(w * (f(X + s, i) - f(X, i))) * 8 for s in step]
            np.testing.assert_allclose(gradient(X, i).ravel(), expected, rtol=1e-12, atol=1e-12)


def test_what_was_put_is_recognised():
    out = sg.trace(row, X, 0).outs[0]
    found = Put.of(out)
    assert found is not None and found.axis == 0 and found.value.shape == (3,)
    assert Put.of(found.value) is None
