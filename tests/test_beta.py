"""Derivatives of betaln and logit to order 4, compiled, against mpmath.

ψ(a + b) - ψ(a) loses every digit for a = 1e15, where the truth is b/a.
"""

from __future__ import annotations

import itertools
from typing import Any

import mpmath
import numpy as np
import pytest

import symgrad as sg

special = pytest.importorskip("scipy.special")
POINTS = [(1e15, 2.5), (2.5, 1e15), (1e15, 3e14), (0.1, 1e8), (0.5, 0.25), (12.0, 9.0), (3.0, 40.0)]


def exact(a: float, b: float, na: int, nb: int) -> Any:
    """The derivative of log B of order na in a and nb in b."""
    a, b = mpmath.mpf(a), mpmath.mpf(b)
    n = na + nb
    value = -mpmath.psi(n - 1, a + b)
    return value + (mpmath.psi(n - 1, a) if nb == 0 else mpmath.psi(n - 1, b) if na == 0 else 0)


def test_betaln() -> None:
    orders = [(na, nb) for na in range(5) for nb in range(5) if 1 <= na + nb <= 4]

    def derivatives(a: Any, b: Any) -> list[Any]:
        results = []
        for na, nb in orders:
            f: Any = special.betaln
            for place in [0] * na + [1] * nb:
                f = sg.grad(f, place)
            results.append(f(a, b))
        return results

    compiled = sg.compile(derivatives, sg.f64, sg.f64)
    for a, b in POINTS:
        with mpmath.workdps(100):
            wanted = [float(exact(a, b, *order)) for order in orders]
        np.testing.assert_allclose(compiled(a, b), wanted, rtol=2e-14, err_msg=f"{a}, {b}")


def test_symmetry_and_formula() -> None:
    graph = sg.trace(special.betaln, 1.0, 2.0)
    assert graph.evaluate(3.5, 1e12) == graph.evaluate(1e12, 3.5)
    assert graph.formula() == "out = log(B(x1, x2))"
    assert r"\log\left(\mathrm{B}" in graph.latex()
    first = sg.grad(special.betaln)
    assert sg.trace(first, 1.0, 2.0).formula() == "out = −(ψ(x1 + x2) − ψ(x1))"
    second = sg.trace(sg.grad(first), 1.0, 2.0).formula()
    assert second == "out = −(ψ⁽¹⁾(x1 + x2) − ψ⁽¹⁾(x1))"


def test_logit() -> None:
    def derivatives(x: Any) -> list[Any]:
        results, f = [], special.logit
        for _ in range(4):
            f = sg.grad(f)
            results.append(f(x))
        return results

    compiled = sg.compile(derivatives, sg.f64)
    for x in (1e-9, 0.25, 0.4, 0.625, 0.75, 1 - 2.0**-40):
        with mpmath.workdps(60):
            t = mpmath.mpf(x)
            wanted = [
                float(mpmath.factorial(n - 1) * ((-1) ** (n - 1) / t**n + 1 / (1 - t) ** n))
                for n in range(1, 5)
            ]
        np.testing.assert_allclose(compiled(x), wanted, rtol=1e-13, err_msg=str(x))
    assert compiled(0.5)[0] == 4 and abs(compiled(0.5)[1]) < 1e-12


def test_logit_undoes_expit() -> None:
    f = sg.jit(lambda x: special.logit(special.expit(x)))
    for x in (-800.0, -1e-20, 0.3, 40.0, 800.0):
        assert f(x) == x


def test_betaln_on_a_grid_agrees_with_scipy_where_scipy_is_right() -> None:
    values = [0.3, 1.0, 2.5, 7.0, -0.5, -2.25]
    a, b = np.array(list(itertools.product(values, repeat=2))).T
    np.testing.assert_allclose(sg.jit(special.betaln)(a, b), special.betaln(a, b), rtol=1e-13,
                               atol=1e-15)  # fmt: skip
