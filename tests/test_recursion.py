"""Functions that call themselves until their values say stop: right up to a bound, or an error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.diff import singular
from symgrad.errors import BranchError, RecursionLimitError
from symgrad.trace.source import levels


def halved(x: Any) -> Any:
    return x if x < 1 else 1 + halved(x / 2)


def wave(x: Any) -> Any:
    if x >= 1:
        return wave(x / 2)
    return np.sin(x)


def mean(x: Any) -> Any:
    """Of arithmetic and geometric means."""

    def step(a: Any, b: Any) -> Any:
        if abs(a - b) < 1e-14 * a:
            return a
        return step((a + b) / 2, math.sqrt(a * b))

    return step(x, 2.0)


class Tree:
    """A function of a method that calls itself twice in each level."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def area(self, f: Any, a: Any, b: Any) -> Any:
        m = (a + b) / 2
        rough, fine = (b - a) * f(m), (b - a) / 2 * (f((a + m) / 2) + f((m + b) / 2))
        if abs(rough - fine) > self.tolerance:
            return self.area(f, a, m) + self.area(f, m, b)
        return fine


def quadrature(x: Any) -> Any:
    return Tree(1e-3).area(lambda t: np.exp(-x * t * t), 0.0, 1.5)


def even(n: Any) -> Any:
    return 0.0 * n if n < 1 else 1 + odd(n - 1)


def odd(n: Any) -> Any:
    return 1.0 * n if n < 1 else 2 * even(n - 1)


@pytest.mark.parametrize(
    ("f", "points", "deep"),
    [
        (halved, (0.3, 1.5, 1e6), 1e40),
        (mean, (1.0, 1e-3), None),
        (quadrature, (0.1, 2.0), -9.0),
        (even, (0.2, 2.5, 9.5), 1e3),
    ],
)
@pytest.mark.quick(1)
def test_to_the_bound(f: Any, points: Any, deep: Any) -> None:
    graph = sg.trace(f, 1.0)
    for x in points:
        np.testing.assert_allclose(graph.evaluate(x), f(x), rtol=1e-14)
    if deep is not None:
        with pytest.raises(RecursionLimitError, match="levels deep") as caught:
            graph.evaluate(deep)
        assert isinstance(caught.value, RecursionError)


def test_derivatives_and_c() -> None:
    with levels(4):  # so that the C is short
        g = sg.compile(sg.value_and_grad(sg.grad(wave)), 1.0)
        slope = sg.trace(sg.grad(quadrature), 1.0)
    for x in (0.3, 3.0, 6.0):
        n = 0 if x < 1 else math.floor(math.log2(x)) + 1
        y = x / 2**n
        want = math.cos(y) / 2**n, -math.sin(y) / 4**n
        np.testing.assert_allclose(g(x), want, rtol=1e-14)
    with pytest.raises(RecursionLimitError, match="wave calls itself"):
        g(1e40)
    t = (np.arange(256) + 0.5) / 256 * 1.5
    want = -np.mean(1.5 * t**2 * np.exp(-2 * t**2))
    np.testing.assert_allclose(slope.evaluate(2.0), want, rtol=2e-2)


def test_checks_in_branches_in_branches_have_no_variables() -> None:
    """What only says what was checked is 0 in bodies inside of bodies too: the C of all tests is
    compiled with warnings as errors, and a variable that nobody reads is one."""
    with levels(4):
        compiled = sg.compile(sg.value_and_grad(quadrature), 1.0)
    assert "int64_t s" not in compiled.c_source
    for x in (0.01, 0.3, 1.0):
        value, slope = compiled(x)
        assert value == quadrature(x)
        assert slope == pytest.approx(quadrature(x + 1e-30j).imag / 1e-30, rel=1e-13)
    with pytest.raises(RecursionLimitError):
        compiled(10.0)


@pytest.mark.slow
def test_poles_of_bodies_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derivatives of branches in branches: twice as many levels look at four times as many nodes,
    not at eight times."""
    seen: list[Any] = []
    has_pole = singular.has_pole
    monkeypatch.setattr(singular, "has_pole", lambda n: seen.append(n) or has_pole(n))
    counts = []
    for depth in (12, 24):
        seen.clear()
        with levels(depth):
            sg.trace(sg.grad(sg.grad(wave)), 1.7 + depth)
        counts.append(len(seen))
    assert 0 < counts[1] < 5 * counts[0]


@pytest.mark.slow
def test_what_has_no_end() -> None:
    def endless(x: Any) -> Any:
        return endless(x / 2) if x < 0 else endless(x / 3)

    with pytest.raises(BranchError, match="inside of each other|too many ways"):
        sg.trace(endless, 1.0)


def test_what_may_be_caught_is_refused() -> None:
    def caught(x: Any) -> Any:
        try:
            return halved(x)
        except Exception:
            return 0.0

    with pytest.raises(BranchError):
        sg.trace(caught, 1.0)
