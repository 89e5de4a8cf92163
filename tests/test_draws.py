"""Random numbers drawn inside a traced function: refused by name, with the line of the draw."""

from __future__ import annotations

import functools
import inspect
import random
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import TraceError, UnsupportedError

RNG = np.random.default_rng(1)
STATE = np.random.RandomState(2)
PYTHON = random.Random(3)


def _helper(x: Any) -> Any:
    return x * RNG.normal()


class _Noise:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(4)

    def __call__(self, x: Any) -> Any:
        return x + self.rng.normal()

    def method(self, x: Any) -> Any:
        return x + self.rng.normal()


class _Slotted:
    __slots__ = ("rng",)

    def __init__(self) -> None:
        self.rng = np.random.default_rng(4)


def _closure() -> Any:
    rng = np.random.default_rng(5)

    def f(x: Any) -> Any:
        return x + rng.uniform()

    return f


NOISE = _Noise()


def _default(x: Any, rng: Any = np.random.default_rng(6)) -> Any:  # noqa: B008
    return x + rng.integers(3)


def _nested(x: Any) -> Any:
    return np.stack([v * _helper(v) for v in x]).sum()


CASES: dict[str, tuple[Any, str]] = {
    "np.random": (lambda x: x * np.random.normal(), "np.random"),
    "np.random, several": (lambda x: x + np.random.rand(312).sum(), "np.random"),
    "random": (lambda x: x * random.random(), "Python's random"),
    "random.gauss": (lambda x: x * random.gauss(0, 1), "Python's random"),
    "global Generator": (lambda x: x * RNG.normal(), "RNG (Generator)"),
    "global RandomState": (lambda x: x * STATE.normal(), "STATE (RandomState)"),
    "global Random": (lambda x: x * PYTHON.random(), "PYTHON (Random)"),
    "bit generator": (lambda x: x * RNG.bit_generator.random_raw(), "RNG (Generator)"),
    "closure": (_closure(), "rng (Generator)"),
    "default": (_default, "(Generator)"),
    "object": (NOISE, "rng (Generator)"),
    "method": (NOISE.method, "rng (Generator)"),
    "object in a global": (lambda x: NOISE(x), "rng (Generator)"),
    "partial": (functools.partial(lambda rng, x: x + rng.normal(), RNG), "(Generator)"),
    "helper": (lambda x: _helper(x), "RNG (Generator)"),
    "inside a comprehension": (_nested, "RNG (Generator)"),
    "the result does not need it": (lambda x: (RNG.normal(), x)[1], "RNG (Generator)"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.quick(6)
def test_refused_with_the_line_of_the_draw(name: str) -> None:
    f, source = CASES[name]
    drawing = {"helper": _helper, "inside a comprehension": _helper, "object": _Noise.__call__,
               "object in a global": _Noise.__call__}.get(name, f)  # fmt: skip
    drawing = drawing.func if isinstance(drawing, functools.partial) else drawing
    lines, first = inspect.getsourcelines(drawing)
    place = first + len(lines) - 1
    for make in (lambda: sg.trace(f, np.ones(2)), lambda: sg.jit(f)(np.ones(2)),
                 lambda: sg.grad(lambda x: np.sum(f(x)))(np.ones(2))):  # fmt: skip
        with pytest.raises(UnsupportedError) as info:
            make()
        assert str(info.value).startswith(f"{__file__}:{place}: ")
        assert f"draws from {source} while" in str(info.value) or (
            source.startswith("(") and f"{source} while" in str(info.value)
        )


def test_the_error_is_one_of_ours_and_a_type_error() -> None:
    with pytest.raises(TypeError):
        sg.jit(lambda x: x * np.random.normal())(1.0)
    assert issubclass(UnsupportedError, TraceError)


@pytest.mark.slow
def test_a_fresh_process() -> None:
    """NumPy imports its random numbers when they are first used, here inside the trace."""
    code = (
        "import sys, numpy as np, symgrad as sg\n"
        "assert 'numpy.random' not in sys.modules\n"
        "try:\n"
        "    sg.trace(lambda x: x * np.random.rand({n}).sum(), 1.0)\n"
        "except sg.errors.UnsupportedError as error:\n"
        "    print(error)\n"
    )
    for n in (1, 312):
        done = subprocess.run(
            [sys.executable, "-c", code.format(n=n)], capture_output=True, text=True, check=True
        )
        assert "draws from np.random" in done.stdout


def test_what_is_right() -> None:
    """A generator with a seed of its own gives the same numbers in plain NumPy; others rest."""

    def own(x: Any) -> Any:
        return x + np.random.default_rng(0).normal()

    def seeded(x: Any) -> Any:
        np.random.seed(0)
        return x + np.random.normal()

    def unused(x: Any) -> Any:
        return x + len(str(RNG))

    slotted = _Slotted()
    for f in (own, seeded, unused, lambda x: x + (slotted.rng is None)):
        np.testing.assert_allclose(sg.jit(f)(np.ones(2)), f(np.ones(2)))
    drawn = RNG.normal(size=2)
    np.testing.assert_allclose(sg.jit(lambda x, e: x * e)(np.ones(2), drawn), drawn)


def test_draws_of_another_thread_are_no_error() -> None:
    go, drawn = threading.Event(), threading.Event()

    def other() -> None:
        go.wait()
        np.random.normal()
        drawn.set()

    def f(x: Any) -> Any:
        go.set()
        drawn.wait()
        return x * 2

    thread = threading.Thread(target=other)
    thread.start()
    assert sg.jit(f)(1.5) == 3.0
    thread.join()


def test_a_function_that_raises_is_called_once() -> None:
    calls: list[int] = []

    def f(x: Any) -> Any:
        calls.append(1)
        raise ZeroDivisionError(np.random.normal())

    with pytest.raises(ZeroDivisionError):
        sg.jit(f)(1.0)
    assert calls == [1]
