"""Conventions: derivatives at kinks, ties and ends of the domain; branches not taken; dtypes.

The rule at a point without a derivative: the sub- or supergradient of least norm; equal arguments
share equally; an infinite limit is inf; outside the domain NaN. Sorting and the median are not
traced yet (TODO.md), and there is no relu; the rest of the table is here, one row a case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.special as special

import symgrad as sg

inf, nan = math.inf, math.nan


def A(*values: float) -> np.ndarray:
    return np.array(values, float)


def every_way(f: Callable[..., Any], args: Sequence[Any]) -> dict[str, list[np.ndarray]]:
    """Derivatives for each argument: both modes in compiled C, and by the evaluator."""
    numbers = tuple(range(len(args)))

    def both_modes(*args: Any) -> Any:
        return sg.grad(f, numbers)(*args), sg.jacfwd(f, numbers)(*args)

    graph = sg.trace(both_modes, *args)
    reverse, forward = sg.jit(both_modes)(*args)
    ways = {"C, reverse": reverse, "C, forward": forward}
    for label, g in (("traced", graph), ("simplified", graph.simplify())):
        results = g.evaluate(*args)
        ways |= {f"evaluator, {label}, reverse": results[0]}
        ways |= {f"evaluator, {label}, forward": results[1]}
    return ways


def assert_derivatives(f: Callable[..., Any], args: Sequence[Any], expected: Sequence[Any]) -> None:
    for way, got in every_way(f, args).items():
        for k, (g, e) in enumerate(zip(got, expected, strict=True)):
            np.testing.assert_allclose(g, e, rtol=1e-14, err_msg=f"{way}, argument {k}")


# ---- derivatives where there is none -----------------------------------------------------------

# name: (function, arguments, derivative for each argument)
KINKS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], tuple[Any, ...]]] = {
    "abs": (np.abs, (0.0,), (0,)),
    "abs -0": (np.abs, (-0.0,), (0,)),
    "fabs": (np.fabs, (0.0,), (0,)),
    "sign": (np.sign, (0.0,), (0,)),
    "floor": (np.floor, (2.0,), (0,)),
    "ceil": (np.ceil, (2.0,), (0,)),
    "round": (np.round, (2.5,), (0,)),
    "trunc": (np.trunc, (0.0,), (0,)),
    "maximum tie": (np.maximum, (2.0, 2.0), (0.5, 0.5)),
    "minimum tie": (np.minimum, (2.0, 2.0), (0.5, 0.5)),
    "maximum of zeros": (np.maximum, (0.0, -0.0), (0.5, 0.5)),
    "fmax tie": (np.fmax, (2.0, 2.0), (0.5, 0.5)),
    "fmin tie": (np.fmin, (2.0, 2.0), (0.5, 0.5)),
    "fmax with nan": (np.fmax, (2.0, nan), (1, 0)),
    "maximum(x, 0)": (lambda x: np.maximum(x, 0), (0.0,), (0.5,)),
    "where(x > 0, x, 0)": (lambda x: np.where(x > 0, x, 0), (0.0,), (0,)),
    "x (x > 0)": (lambda x: x * (x > 0), (0.0,), (0,)),
    "clip at 0": (lambda x: np.clip(x, 0, 1), (0.0,), (1,)),
    "clip at 1": (lambda x: np.clip(x, 0, 1), (1.0,), (1,)),
    "clip outside": (lambda x: np.clip(x, 0, 1), (1.5,), (0,)),
    "clip, one bound": (lambda x: np.clip(x, 0, None), (0.0,), (1,)),
    "max shares": (np.max, (A(1, 3, 3, 2),), ([0, 0.5, 0.5, 0],)),
    "min shares": (np.min, (A(1, 3, 1, 1),), ([1 / 3, 0, 1 / 3, 1 / 3],)),
    "ptp of equals": (np.ptp, (A(2, 2),), ([0, 0],)),
    "hypot(0, 0)": (np.hypot, (0.0, 0.0), (0, 0)),
    "norm(0)": (np.linalg.norm, (A(0, 0, 0),), ([0, 0, 0],)),
    "norm(0), 1": (lambda x: np.linalg.norm(x, 1), (A(0, 0),), ([0, 0],)),
    "norm(0), inf": (lambda x: np.linalg.norm(x, inf), (A(0, 0),), ([0, 0],)),
    "sqrt(sum x²)": (lambda x: np.sqrt(np.sum(x**2)), (A(0, 0, 0),), ([0, 0, 0],)),
    "sqrt(x²)": (lambda x: np.sqrt(x**2), (0.0,), (0,)),
    "sqrt(x² + y²)": (lambda x, y: np.sqrt(x**2 + y**2), (0.0, 0.0), (0, 0)),
    "std of equals": (np.std, (A(2, 2, 2),), ([0, 0, 0],)),
    "heaviside": (lambda x: np.heaviside(x, 0.5), (0.0,), (0,)),
    "copysign": (lambda x: np.copysign(x, 1.0), (0.0,), (0,)),
    "arctan2(0, 0)": (np.arctan2, (0.0, 0.0), (nan, nan)),
    "sqrt": (np.sqrt, (0.0,), (inf,)),
    "sqrt(-1)": (np.sqrt, (-1.0,), (nan,)),
    "cbrt": (np.cbrt, (0.0,), (inf,)),
    "log": (np.log, (0.0,), (inf,)),
    "arcsin(1)": (np.arcsin, (1.0,), (inf,)),
    "arccos(1)": (np.arccos, (1.0,), (-inf,)),
    "arccosh(1)": (np.arccosh, (1.0,), (inf,)),
    "arctanh(1)": (np.arctanh, (1.0,), (inf,)),
    "x**0": (lambda x: x**0, (0.0,), (0,)),
    "x**0.": (lambda x: x**0.0, (0.0,), (0,)),
    "x**1": (lambda x: x**1, (0.0,), (1,)),
    "x**2.": (lambda x: x**2.0, (0.0,), (0,)),
    "x**1.5": (lambda x: x**1.5, (0.0,), (0,)),
    "x**0.5": (lambda x: x**0.5, (0.0,), (inf,)),
    "x**y at (0, 2)": (np.power, (0.0, 2.0), (0, 0)),
    "x**y at (0, 1)": (np.power, (0.0, 1.0), (1, 0)),
    "x**y at (0, 0)": (np.power, (0.0, 0.0), (0, 0)),
    "x**y at (-2, 3)": (np.power, (-2.0, 3.0), (12, nan)),
    "x log x": (lambda x: x * np.log(x), (0.0,), (-inf,)),
    "xlogy(0, 0)": (special.xlogy, (0.0, 0.0), (0, 0)),
    "xlogy(0, 2)": (special.xlogy, (0.0, 2.0), (math.log(2), 0)),
    "entr(0)": (special.entr, (0.0,), (inf,)),
    "where(x > 0, √x, 0)": (lambda x: np.where(x > 0, np.sqrt(x), 0), (0.0,), (0,)),
    "where(x ≠ 0, sin(x)/x, 1)": (lambda x: np.where(x != 0, np.sin(x) / x, 1), (0.0,), (0,)),
    "where(x > 0, log x, 0)": (lambda x: np.where(x > 0, np.log(x), 0), (-1.0,), (0,)),
    "sinc": (np.sinc, (0.0,), (0,)),
    "prod, one zero": (np.prod, (A(0, 2, 3),), ([6, 0, 0],)),
    "prod, two zeros": (np.prod, (A(0, 2, 0),), ([0, 0, 0],)),
    "cumprod, one zero": (lambda x: np.sum(np.cumprod(x)), (A(2, 0, 3),), ([1, 8, 0],)),
    "cumprod, two zeros": (lambda x: np.sum(np.cumprod(x)), (A(0, 0, 3),), ([1, 0, 0],)),
    "mod(5, 3)": (np.mod, (5.0, 3.0), (1, -1)),
    "mod(-5, 3)": (np.mod, (-5.0, 3.0), (1, 2)),
    "fmod(-5, 3)": (np.fmod, (-5.0, 3.0), (1, 1)),
    "logaddexp(inf, inf)": (np.logaddexp, (inf, inf), (0.5, 0.5)),
    "logaddexp(-inf, -inf)": (np.logaddexp, (-inf, -inf), (0.5, 0.5)),
    "logaddexp(-inf, 0)": (np.logaddexp, (-inf, 0.0), (0, 1)),
    "logsumexp, all -inf": (sg.logsumexp, (A(-inf, -inf, -inf, -inf),), ([0.25] * 4,)),
    "logsumexp, one -inf": (sg.logsumexp, (A(-inf, 0, 0),), ([0, 0.5, 0.5],)),
    "log Σ exp, all -inf": (lambda x: np.log(np.sum(np.exp(x))), (A(-inf, -inf),), ([0.5, 0.5],)),
}


@pytest.mark.filterwarnings("ignore:.*does not depend on:symgrad.errors.SymgradWarning")  # x**0
@pytest.mark.parametrize("name", KINKS)
def test_kink(name):
    assert_derivatives(*KINKS[name])


def test_values_at_the_ends():
    """The function itself where the table fixes a value beside a derivative."""
    assert sg.jit(sg.logsumexp)(A(-inf, -inf)) == -inf
    assert sg.jit(np.logaddexp)(-inf, -inf) == -inf
    assert sg.jit(np.logaddexp)(inf, inf) == inf
    assert sg.jit(lambda x: np.prod(x))(A(0, 2)) == 0


def test_explain_notes_the_norm():
    """A square root of a sum of squares has the norm's derivative at 0; `explain` says so."""
    text = sg.trace(sg.grad(lambda x: np.sqrt(np.sum(x**2))), A(1, 2)).explain()
    assert "norm" in text


# ---- branches that are not taken ---------------------------------------------------------------


def shared_root(x: Any) -> Any:
    """One unsafe value behind two conditions (Theano #6476)."""
    root = np.sqrt(x)
    return np.where(x > 0, root, 0) + np.where(x > 1, root * x, 2 * x)


def norm_or_zero(x: Any) -> Any:
    q = np.sum(x**2)
    return np.where(q > 0, np.sqrt(q), 0)


def norm_squared(x: Any) -> Any:
    q = np.sum(x**2)
    return np.where(q > 0, np.sqrt(q) ** 2, 2 * np.sum(x * x))


def three_pieces(x: Any) -> Any:
    return np.where(x < 0, np.log1p(-x), np.where(x > 1, np.sqrt(x - 1), x * x))


def selected(x: Any) -> Any:
    return np.select([x < 0, x > 1], [np.log(-x), np.sqrt(x - 1)], x**3)


def pieces(x: Any) -> Any:
    values = [lambda v: np.log(-v), lambda v: np.sqrt(v - 1), lambda v: v**3]
    return np.piecewise(x, [x < 0, x > 1], values)


def masked_rows(x: Any) -> Any:
    """Attention with a row that is masked as a whole."""
    scores = np.where(np.array([[True, True], [False, False]]), np.stack([x, x]), -inf)
    weights = sg.softmax(scores, axis=1)
    return np.sum(np.where(np.array([[True], [False]]), weights, 0) @ np.array([1.0, 3.0]))


def guarded_solve(x: Any) -> Any:
    """A quotient whose denominator is zero where it is not wanted, inside a sum along an axis."""
    m = np.stack([x, x * 0])
    return np.sum(np.where(m != 0, np.sum(x) / m, 0))


def inside_function(x: Any) -> Any:
    """The unsafe branch passes through reductions, indexing and matrix products."""
    safe = np.where(x > 0, np.log(x), 0)
    return np.sum((np.array([[1.0, 2.0], [3.0, 4.0]]) @ safe) ** 2) + safe[::-1][0]


s = 0.5 * math.log(2.0)
# name: (function, x, gradient, diagonal of the second derivative; scalars as they are)
WHERE: dict[str, tuple[Callable[..., Any], Any, Any, Any]] = {
    "√x at 0": (lambda x: np.where(x > 0, np.sqrt(x), 0), 0.0, 0, 0),
    "√x at -1": (lambda x: np.where(x > 0, np.sqrt(x), x * x), -1.0, -2, 2),
    "√x, taken": (lambda x: np.where(x > 0, np.sqrt(x), 0), 4.0, 1 / 4, -1 / 32),
    "sin(x)/x": (lambda x: np.where(x != 0, np.sin(x) / x, 1), 0.0, 0, 0),
    "sinc": (np.sinc, 0.0, 0, 0),
    "log x at 0": (lambda x: np.where(x > 0, np.log(x), 0), 0.0, 0, 0),
    "log x at -1": (lambda x: np.where(x > 0, np.log(x), x), -1.0, 1, 0),
    "1/x": (lambda x: np.where(x == 0, x, 1 / x), 0.0, 1, 0),
    "1/x**2": (lambda x: np.where(x == 0, x, x**-2), 0.0, 1, 0),
    "x**-1.5": (lambda x: np.where(x > 0, x**-1.5, x), 0.0, 1, 0),
    "x**x": (lambda x: np.where(x > 0, x**x, x * x), -2.0, -4, 2),
    "exp(-1/x²)": (lambda x: np.where(x != 0, np.exp(-1 / x**2), 0), 0.0, 0, 0),
    "-x log x": (lambda x: np.where(x > 0, -x * np.log(x), 0), 0.0, 0, 0),
    "exp(x²) overflows": (lambda x: np.where(x < 100, x, np.exp(x * x)), 50.0, 1, 0),
    "cosh overflows": (lambda x: np.where(np.abs(x) < 100, x**2, np.cosh(x)), 90.0, 180, 2),
    "arcsin(2)": (lambda x: np.where(np.abs(x) < 1, np.arcsin(x), x * x), 2.0, 4, 2),
    "arccosh(0)": (lambda x: np.where(x > 1, np.arccosh(x), x), 0.0, 1, 0),
    "arctanh(1)": (lambda x: np.where(np.abs(x) < 1, np.arctanh(x), 2 * x), 1.0, 2, 0),
    "hypot(0, 0)": (lambda x: np.where(x != 0, np.hypot(x, 0) ** 0.5, x), 0.0, 1, 0),
    "arctan2(0, 0)": (lambda x: np.where(x != 0, np.arctan2(x, x), x), 0.0, 1, 0),
    "gammaln(0)": (lambda x: np.where(x > 0, special.gammaln(x), x), 0.0, 1, 0),
    "logit(0)": (lambda x: np.where(x > 0, special.logit(x), x), 0.0, 1, 0),
    "tan of inf": (lambda x: np.where(x < 1, x, np.tan(x / 0.0)), 0.5, 1, 0),
    "mod 0": (lambda x: np.where(x > 0, np.mod(1.0, x), x), 0.0, 1, 0),
    "NaN data": (lambda x: np.where(np.array(False), x * nan, x * x), 3.0, 6, 2),
    "shared root": (shared_root, 0.0, 2, 0),
    "shared root, taken once": (shared_root, 0.25, 1 + 2, -2),
    "shared root, taken twice": (shared_root, 4.0, 1 / 4 + 3, -1 / 32 + 3 / 8),
    "one condition in another": (three_pieces, -1.0, -1 / 2, -1 / 4),
    "one condition in another, middle": (three_pieces, 0.5, 1, 2),
    "one condition in another, end": (three_pieces, 5.0, 1 / 4, -1 / 32),
    "select": (selected, 0.5, 3 / 4, 3),
    "select, other": (selected, -2.0, -1 / 2, -1 / 4),
    "where of where": (
        lambda x: np.where(x > 0, np.sqrt(np.where(x > 0, x, 1)), 0), -1.0, 0, 0),
    "unsafe condition": (lambda x: np.where(np.sqrt(x) > 1, np.log(x), x), -1.0, 1, 0),
    "x log x in a sum": (
        lambda x: np.sum(np.where(x > 0, x * np.log(x), 0)), A(0, 1, math.e), [0, 1, 2],
        [0, 1, 1 / math.e]),
    "√q, q = Σx²": (norm_or_zero, A(0, 0), [0, 0], [0, 0]),
    "√q, q = Σx², taken": (norm_or_zero, A(3, 4), [0.6, 0.8], [16 / 125, 9 / 125]),
    "q, q = Σx²": (norm_squared, A(0, 0), [0, 0], [4, 4]),
    "piecewise": (
        lambda x: np.sum(pieces(x)), A(-2, 0, 5), [-1 / 2, 0, 1 / 4], [-1 / 4, 0, -1 / 32]),
    "axis sums": (
        lambda x: np.sum(np.where(x > 0, x / np.sum(x), 0)), A(0, 0), [0, 0], [0, 0]),
    "division in a matrix": (guarded_solve, A(1, 1), [0, 0], [2, 2]),
    "through a product": (
        inside_function, A(0, math.e), [0, (2 * (4 + 16) + 1) / math.e],
        [0, (2 * 20 - 2 * 20 - 1) / math.e**2]),
    "prod of logs": (
        lambda x: np.sum(np.where(x > 0, np.prod(np.log(x)), x)), A(-1, -2), [1, 1], [0, 0]),
    "norm in a branch": (
        lambda x: np.where(x[0] > 0, np.linalg.norm(x) ** 0.5, x[0]), A(0, 0), [1, 0], [0, 0]),
    "logsumexp in a branch": (
        lambda x: np.where(x[0] > 0, sg.logsumexp(x / 0.0), x[0]), A(0, 0), [1, 0], [0, 0]),
    "det in a branch": (
        lambda x: np.where(x[0] > 0, np.log(np.linalg.det(np.stack([x, x]))), x[0]), A(0, 0),
        [1, 0], [0, 0]),
    "a masked row": (masked_rows, A(0, 0), [-0.5, 0.5], [0, 0]),
}  # fmt: skip


@pytest.mark.parametrize("name", WHERE)
def test_branch_not_taken(name):
    f, x, gradient, second = WHERE[name]
    assert_derivatives(f, [x], [gradient])

    def hessians(x: Any) -> Any:
        return sg.jacfwd(sg.grad(f))(x), sg.jacrev(sg.grad(f))(x)

    graph = sg.trace(hessians, x)
    results = [*sg.jit(hessians)(x), *graph.evaluate(x), *graph.simplify().evaluate(x)]
    for h in results:
        assert np.isfinite(h).all(), h
        diagonal = h if np.ndim(x) == 0 else np.diag(h)
        np.testing.assert_allclose(diagonal, second, rtol=1e-13, atol=1e-15)
