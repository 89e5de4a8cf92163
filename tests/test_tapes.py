"""Loops that take more rounds than reverse mode has made room for at first.

The oracle is a closed form: a number that grows by the same factor in each round.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import LoopLimitError, TapeFullError
from symgrad.expr import limits

RATE = 1e-4


def grown(x: Any, n: Any, rate: float = RATE) -> Any:
    """x (1 + rate)^n, in a way that reverse mode has to keep something of each round."""
    s, k = x, 0.0
    while k < n:
        s = np.sqrt(s * s) * (1 + rate)
        k += 1
    return s


def exact(x: float, n: float) -> tuple[float, float]:
    slope = float(np.exp(n * np.log1p(RATE)))
    return x * slope, slope


def same(got: Any, x: float, n: float) -> None:
    np.testing.assert_allclose(got, exact(x, n), rtol=1e-9)


@pytest.fixture(autouse=True)
def _some_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMGRAD_TAPE_MB", "4")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Room for 16 rounds at first."""
    monkeypatch.setattr(limits, "FIRST_TAPE", 16)
    token = limits.tape_rounds.set(16)
    yield
    limits.tape_rounds.reset(token)


def test_compiled_functions_make_room() -> None:
    c = sg.compile(sg.value_and_grad(grown), 0.0, 0.0)
    assert c.cost().kept == c.source.workspace_bytes  # value and gradient share one loop
    for n in (10_000, 10_001, 30_000, 90_000, 5):
        same(c(0.5, float(n)), 0.5, n)
    assert "10000 rounds" in c.c_header  # exported C has what it was compiled with
    again = pickle.loads(pickle.dumps(c))
    same(again(0.5, 9_000.0), 0.5, 9_000)
    with pytest.raises(TapeFullError, match="max_steps="):
        again(0.5, 11_000.0)


def test_functions_called_at_once_and_threads() -> None:
    f = sg.value_and_grad(grown)
    found: list[Any] = []
    counts = [float(n) for n in (20_000, 90_000, 3, 100_000)]
    threads = [threading.Thread(target=lambda n=n: found.append((n, f(0.5, n)))) for n in counts]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for n, got in found:
        same(got, 0.5, n)
    assert len(found) == 4
    for n in counts:
        same(f(0.5, n), 0.5, n)


@pytest.mark.usefixtures("short")
def test_the_evaluator_makes_room() -> None:
    graph = sg.trace(sg.value_and_grad(grown), 0.0, 0.0)
    for g in (graph, graph.simplify()):
        for n in (16, 17, 200):
            same(g.evaluate(0.5, float(n)), 0.5, n)


@pytest.mark.usefixtures("short")
def test_second_derivatives_make_room() -> None:
    def f(x: Any, n: Any) -> Any:
        return grown(x * x, n)

    graph = sg.trace(sg.grad(sg.grad(f)), 0.0, 0.0)
    np.testing.assert_allclose(graph.evaluate(0.5, 300.0), 2 * exact(1.0, 300)[1], rtol=1e-9)


def test_there_is_an_end_to_the_memory() -> None:
    f = sg.compile(sg.grad(grown), 0.0, 0.0)
    with pytest.raises(LoopLimitError, match=r"MiB.*SYMGRAD_TAPE_MB.*max_steps="):
        f(0.5, 1e12)


@pytest.mark.usefixtures("short")
def test_rounds_that_somebody_has_limited_stay_limited() -> None:
    for most in (20, 32):
        f = sg.grad(
            lambda x, most=most: sg.while_loop(
                lambda s: s < 1e9, lambda s: s + x, x, max_steps=most
            )
        )
        with pytest.raises(LoopLimitError, match="max_steps"):
            f(1.0)


@pytest.mark.usefixtures("short")
def test_what_is_frozen_stays_frozen() -> None:
    rate = RATE

    def f(x: Any, n: Any) -> Any:
        return grown(x, n, rate)

    c = sg.trace(sg.grad(f), 0.0, 0.0)
    np.testing.assert_allclose(c.evaluate(0.5, 110.0), exact(0.5, 110)[1], rtol=1e-9)
    rate = 2e-4
    c = sg.trace(sg.grad(f), 0.0, 0.0)
    rate = 3e-4
    with pytest.raises(LoopLimitError, match="captures has changed"):
        c.evaluate(0.5, 110.0)


def within_each_other(cos, sin, exp, x):
    t, total = x, 0.0
    while t < 3:
        u = t
        while u < 4:
            v = u
            while v < 5:
                v = v + 0.9 * cos(v * 0.3) ** 2 + 0.1
                total += sin(v) * t
            u = u + 0.7 + 0.1 * sin(v)
        t = t + 0.5 * exp(-0.1 * u)
    return total


@pytest.mark.slow
def test_loops_within_each_other_need_room_for_one_tape_each():
    """An outer loop that kept the tapes of inner ones would take terabytes."""
    f = lambda x: within_each_other(np.cos, np.sin, np.exp, x)
    exact = lambda x: within_each_other(mpmath.cos, mpmath.sin, mpmath.exp, x)
    slope = sg.grad(f)
    with mpmath.workdps(50):
        first, second = (float(mpmath.diff(exact, mpmath.mpf(0.3), n)) for n in (1, 2))
    assert slope(0.3) == pytest.approx(first, rel=1e-11)
    assert sg.grad(slope)(0.3) == pytest.approx(second, rel=1e-9)
    (compiled,) = slope.compiled.values()
    assert compiled.cost().workspace < 50e6
