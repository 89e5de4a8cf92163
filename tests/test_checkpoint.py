"""Loops in blocks: what reverse mode keeps of them, and that nothing else changes.

Values are compared with those of plain Python on dual numbers, and with `jax.lax.scan`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from support.dual import Dual
from symgrad.generate import program_of
from symgrad.inspect.cost import Cost
from symgrad.lower.program import bodies_of
from symgrad.lower.statements import Loop
from symgrad.lower.tuning import HOST_TUNING, Tuning

jax.config.update("jax_enable_x64", True)

LENGTHS = {5: 1, 16: 1, 30: 1, 41: 2}  # and the levels of blocks


def loop(x: Any, n: int) -> Any:
    """A recurrence, with rows that come in and a sum that goes out."""
    s, total = x, 0.0
    for k in range(n):
        s = s + 0.3 * np.sin(s * (1 + 0.1 * k)) - 0.05 * s * s
        total = total + s * 0.2 * k
    return total + s


def exact(x: float, n: int) -> tuple[float, float, float]:
    """Value, first and second derivative."""
    y = loop(Dual(Dual(x, 1.0), Dual(1.0, 0.0)), n)
    return y.value.value, y.value.slope, y.slope.slope


def compare(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.quick(1)
@pytest.mark.parametrize("n", LENGTHS)
def test_blocks_change_no_derivative(n: int) -> None:
    f = sg.checkpoint(lambda x: loop(x, n), levels=LENGTHS[n])
    first = sg.trace(lambda x: (*sg.value_and_grad(f)(x), sg.jvp(f, (x,), (2.0,))[1]), 0.0)
    second = sg.trace(sg.grad(sg.grad(f)), 0.0)
    for x in (0.4, -1.1):
        value, slope, curvature = exact(x, n)
        compare(first.evaluate(x), (value, slope, 2 * slope))
        compare(second.evaluate(x), curvature)


def carried(xp: Any, scan: Any, x: Any, rows: Any, reverse: bool) -> Any:
    def step(s: Any, row: Any) -> Any:
        new = xp.tanh(s @ W + row)
        return new, xp.sum(new) * row

    last, ys = scan(step, x, rows, reverse=reverse)
    return xp.sum(last) + xp.sum(ys * ys)


W = np.array([[0.3, -0.8], [0.9, 0.2]])
ROWS = np.sin(np.arange(46.0)).reshape(23, 2)
X = np.array([0.3, -0.4])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.quick(1)
def test_scans_as_in_jax(reverse: bool) -> None:
    want = jax.value_and_grad(lambda x, r: carried(jnp, jax.lax.scan, x, r, reverse), (0, 1))(
        X, ROWS
    )
    f = sg.checkpoint(lambda x, r: carried(np, sg.scan, x, r, reverse))
    graph = sg.trace(sg.value_and_grad(f, (0, 1)), X, ROWS)
    value, (by_x, by_rows) = graph.evaluate(X, ROWS)
    compare(value, want[0])
    compare(by_x, want[1][0])
    compare(by_rows, want[1][1])
    batch = np.stack([X, 2 * X])
    compare(sg.trace(sg.vmap(sg.grad(f), (0, None)), batch, ROWS).evaluate(batch, ROWS)[0], by_x)


WHOLE = replace(HOST_TUNING, split_bytes=0)  # loops are not split, which takes rows of its own


def buffers(f: Any, *args: Any, tuning: Tuning = HOST_TUNING) -> tuple[int, Cost]:
    """The bytes of all arrays of a program, and its cost."""
    graph = sg.trace(f, *args).simplify()
    program = program_of(graph, tuning=tuning)
    own = [b for b in program.buffers if b.role in ("work", "local") and b.size > 1]
    return sum(8 * b.size for b in own), graph.cost()


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewrites are not evaluated: the loops are long, and the same as short ones."""
    monkeypatch.setenv("SYMGRAD_CHECK_REWRITES", "0")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.slow
def test_what_is_kept() -> None:
    sizes: dict[int, list[int]] = {}
    for n in (1024, 4096):
        f = lambda x, n=n: loop(x, n)  # noqa: E731
        for g in (f, sg.checkpoint(f), sg.checkpoint(f, levels=3)):
            found, cost = buffers(sg.value_and_grad(g), 0.0, tuning=WHOLE)
            assert cost.kept <= found <= cost.kept + 200
            split, _ = buffers(sg.value_and_grad(g), 0.0)
            assert split <= found + (200 if g is not f else 8 * n + 500)
            sizes.setdefault(n, []).append(cost.kept)
    for n, (plain, roots, fourth) in sizes.items():
        assert plain >= 8 * n
        assert roots <= 8 * 4 * 2 * n**0.5
        assert fourth <= 8 * 4 * 4 * n**0.25
    assert sizes[4096][1] == 2 * sizes[1024][1]


@pytest.mark.usefixtures("unchecked")
def test_whoever_goes_forward_goes_once_more() -> None:
    """The loop over blocks is one for the value and for what reverse mode begins with."""
    f = lambda x: loop(x, 1024)  # noqa: E731
    both = [sg.trace(sg.value_and_grad(g), 0.0).simplify() for g in (f, sg.checkpoint(f))]
    plain, blocks = [program_of(g) for g in both]
    assert [sum(s.serial for s in loops_of(p)) for p in (plain, blocks)] == [2, 5]
    value, gradient = sg.compile(sg.value_and_grad(sg.checkpoint(f)), 0.0)(0.4)
    compare((value, gradient), exact(0.4, 1024)[:2])


def loops_of(program: Any) -> list[Any]:
    return [s for body in bodies_of(program.body) for s in body if isinstance(s, Loop)]


def test_inside_of_other_loops_and_with_checks() -> None:
    def f(x: Any) -> Any:
        @sg.checkpoint
        def inner(s: Any) -> Any:
            for k in range(20):
                s = s + 0.1 * np.sin(s) * k
                if s > 50.0:
                    raise OverflowError("too large")
            return s

        for _ in range(9):
            x = inner(x) * 0.3
        return x

    graph = sg.trace(sg.value_and_grad(f), 0.0)
    y = plain_of(f, Dual(0.4, 1.0))
    compare(graph.evaluate(0.4), (y.value, y.slope))
    with pytest.raises(OverflowError, match="too large"):
        graph.evaluate(60.0)


def plain_of(f: Any, x: Any) -> Any:
    """Outside of traces `checkpoint` is the function itself."""
    return f(x)


def test_levels() -> None:
    for levels in (0, -1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="levels must be a positive int"):
            sg.checkpoint(loop, levels=levels)  # type: ignore[arg-type]
