"""Long sums: as accurate as NumPy's pairwise ones, and right for infinities."""

from __future__ import annotations

import math

import numpy as np
import pytest

import symgrad as sg
from support.codegen import compile_strictly


@pytest.mark.quick(4)
@pytest.mark.parametrize("n", [15, 16, 17, 31, 1000, 2048, 2049, 2055, 10_000, 100_003])
def test_sum_against_exact(n):
    rng = np.random.default_rng(n)
    total = sg.compile(lambda x: np.sum(x), sg.f64[n])
    for spread in (0, 8):
        x = rng.normal(size=n) * 10.0 ** rng.integers(-spread, spread + 1, n)
        exact = math.fsum(x)
        scale = math.fsum(abs(x))
        assert abs(total(x) - exact) <= 4e-16 * scale
    x = np.full(n, 0.1)
    exact = math.fsum(x)
    assert abs(total(x) - exact) <= max(abs(np.sum(x) - exact), 2 * np.spacing(exact))


@pytest.mark.parametrize("n", [20, 5000])
def test_infinities_and_nan(n):
    total = sg.compile(lambda x: np.sum(x), sg.f64[n])
    for k in (0, n // 2, n - 1):
        for value in (np.inf, -np.inf, np.nan):
            x = np.ones(n)
            x[k] = value
            np.testing.assert_equal(total(x), float(np.sum(x)))
    x = np.ones(n)
    x[1], x[-2] = np.inf, -np.inf
    assert math.isnan(total(x))


def test_several_sums_in_one_loop():
    def f(x, y):
        return np.sum(x), np.sum(y), np.sum(np.exp(x) * y)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3001))
    got = sg.compile(f, x, y)(x, y)
    expected = (math.fsum(x), math.fsum(y), math.fsum(np.exp(x) * y))
    np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_float32_sums_stay_float32():
    c = sg.compile(lambda x: np.sum(x * x), sg.f32[5000])
    assert "double" not in c.c_source.split("static")[0].split("int function")[1].split("{")[0]
    x = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    assert c(x) == pytest.approx(math.fsum(x.astype(float) ** 2), rel=1e-6)


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [63, 64, 65, 96, 127, 1000])
def test_maxima_of_long_rows(n, dtype):
    """Taken in lanes; NaN and infinities wherever they stand, in full blocks and behind them."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=(40, n)).astype(dtype)
    for row, column in enumerate(rng.integers(0, n, 30)):
        x[row, column] = (np.nan, np.inf, -np.inf)[row % 3]
    x[30], x[31, :-1], x[32, 0], x[33, -1] = -np.inf, np.inf, np.nan, np.nan

    def f(x):
        y = np.sin(x) * x
        return np.max(x, axis=1), np.min(x, axis=1), np.max(y, axis=1), np.max(x[34:]), np.min(y)

    with np.errstate(invalid="ignore"):
        compiled, expected = sg.compile(f, x), f(x)
        got = compiled(x)
    assert ("[32]" in compiled.c_source) == (n >= 64)
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-6 if dtype is np.float32 else 1e-14)
    assert not compile_strictly(compiled.c_source, "gcc")
    assert not compile_strictly(compiled.c_source, "clang")
