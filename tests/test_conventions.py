"""Conventions: derivatives at kinks, ties and ends of the domain; branches not taken; dtypes.

The rule at a point without a derivative: the sub- or supergradient of least norm; equal arguments
share equally; an infinite limit is inf; outside the domain NaN. There is no relu; the rest of the
table is here, one row a case.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.special as special

import symgrad as sg
from symgrad.errors import DifferentiationError, DtypeError, OutOfRangeError

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
        for mode, derivatives in zip(("reverse", "forward"), g.evaluate(*args), strict=True):
            ways[f"evaluator, {label}, {mode}"] = derivatives
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
    "max with nan": (np.max, (A(1, 2, nan),), ([nan, nan, nan],)),
    "min with nan": (np.min, (A(nan, 2, 1),), ([nan, nan, nan],)),
    "max of infinities": (np.max, (A(inf, 2, inf),), ([0.5, 0, 0.5],)),
    "max of -inf alone": (np.max, (A(-inf, -inf),), ([0.5, 0.5],)),
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


@pytest.mark.quick(14)
@pytest.mark.filterwarnings("ignore:.*does not depend on:symgrad.errors.SymgradWarning")
@pytest.mark.parametrize("name", KINKS)
def test_kink(name):
    assert_derivatives(*KINKS[name])


def test_deltas_choose():
    """What is beside a diagonal is 0 and not 0 · inf, in C and without a compiler."""
    x = A(0, 1, 4)
    for f, wanted in (
        (sg.jacfwd(np.sqrt), np.diag([inf, 0.5, 0.25])),
        (sg.jacrev(np.sqrt), np.diag([inf, 0.5, 0.25])),
        (sg.hessian(lambda x: np.sum(np.sqrt(x))), np.diag([-inf, -0.25, -1 / 32])),
        (lambda x: np.diag(1 / x), np.diag([inf, 1, 0.25])),
        (lambda x: np.diag(x / 0, 1), np.diag([nan, inf, inf], 1)),
        (lambda x: np.diagflat(np.log(x)), np.diag([-inf, 0, math.log(4)])),
    ):
        np.testing.assert_array_equal(sg.jit(f)(x), wanted)
        np.testing.assert_array_equal(sg.trace(f, x).simplify().evaluate(x), wanted)


def test_integers_to_negative_powers():
    """NumPy refuses them; so do we, while tracing or, if only the call knows, then."""
    power = sg.jit(lambda x, y: x**y)
    assert power(3, 4) == 81 and power(A(2, 3).astype(int), A(1, 2).astype(int)).tolist() == [2, 9]
    assert sg.jit(lambda k: (-1) ** k)(3) == -1
    for f, args in (
        (power, (2, -1)), (power, (A(2, 3).astype(int), A(1, -2).astype(int))),
        (power, (np.int32(2), np.int32(-1))), (sg.jit(lambda k: 2**k), (-3,)),
    ):  # fmt: skip
        with pytest.raises(OutOfRangeError, match="negative integer power"):
            f(*args)
    for f in (lambda x: x**-1, lambda x: x ** A(1, -1).astype(int), lambda x: np.power(x, -2)):
        with pytest.raises(ValueError, match="negative integer powers"):
            sg.trace(f, sg.i64[2])


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
    low, high = lambda v: np.log(-v), lambda v: np.sqrt(v - 1)
    return np.sum(np.piecewise(x, [x < 0, x > 1], [low, high, lambda v: v**3]))


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
    "sin(x)/x": (lambda x: np.where(x != 0, np.sin(x) / x, 1), 0.0, 0, -1 / 3),
    "sinc": (np.sinc, 0.0, 0, -math.pi**2 / 3),
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
    "piecewise": (pieces, A(-2, 0, 5), [-1 / 2, 0, 1 / 4], [-1 / 4, 0, -1 / 32]),
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


@pytest.mark.sample(24)
@pytest.mark.quick(5)
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
        h = h if np.ndim(x) == 0 else np.diag(h)
        np.testing.assert_allclose(h, second, rtol=1e-13, atol=1e-15)


# What lies between the condition and the unsafe function mixes elements: only 1, 2 and 4 are taken.
FIRST = np.array([True, False])
W = np.array([[1.0, 2.0], [3.0, 4.0]])


def distances(x: Any) -> Any:
    """All pairs; the distance of a point to itself is left out."""
    q = np.sum((x[:, None, :] - x[None, :, :]) ** 2, axis=-1)
    return np.sum(np.where(np.eye(3) > 0, 0, np.sqrt(q) + q**-3))


# name: (function with 0 · inf behind its condition, x)
MIXED: dict[str, tuple[Callable[..., Any], np.ndarray]] = {
    "contraction": (lambda x: np.sum(np.where(FIRST[::-1] & FIRST, W @ np.log(x), x)), A(0, 1)),
    "slice": (lambda x: np.sum(np.where(x[1:] > 0, np.sqrt(x)[1:], 0)), A(1, 0, 2)),
    "running sum": (
        lambda x: np.sum(np.where([True, False, False], np.cumsum(np.sqrt(x)), 0)), A(1, 0, 0)),
    "running product": (
        lambda x: np.sum(np.where([True, False, False], np.cumprod(np.sqrt(x)), 0)), A(1, 0, 0)),
    "outer": (lambda x: np.sum(np.where(np.outer(x, x) > 0, x[:, None] / x, 0)), A(0, 2, 3)),
    "softmax": (
        lambda x: np.sum(
            np.where(FIRST[:, None], W * sg.softmax(np.stack([x, np.log(x * 0)]), 1), 0)),
        A(1, 2)),
    "logsumexp": (
        lambda x: np.where(FIRST, sg.logsumexp(np.stack([x, np.log(-x)]), 1), 0).sum(), A(1, 2)),
    "norm": (
        lambda x: np.where(FIRST, np.linalg.norm(np.stack([x, np.log(-x)]), axis=1), 0).sum(),
        A(1, 2)),
    "std": (
        lambda x: np.where(FIRST, np.std(np.stack([x, np.sqrt(-x)]), axis=1), 0).sum(), A(1, 2)),
    "prod": (
        lambda x: np.where(FIRST, np.prod(np.stack([x, np.log(-x)]), axis=1), 0).sum(), A(1, 2)),
    "max": (
        lambda x: np.where(FIRST, np.max(np.stack([x, np.log(-x)]), axis=1), 0).sum(), A(1, 2)),
    "gather": (
        lambda x: np.sum(np.where(x[[0, 0, 1]] > 0, np.log(x)[[0, 0, 1]], 0)), A(0, 2)),
    "distances": (distances, A(1, 2, 3, 5, 0, 1).reshape(3, 2)),
}  # fmt: skip


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", MIXED)
def test_zero_stays_zero_when_elements_are_mixed(name):
    f, x = MIXED[name]

    def derivatives(x: Any) -> Any:
        return (sg.grad(f)(x), sg.jacfwd(f)(x), sg.jacfwd(sg.grad(f))(x), sg.jacrev(sg.grad(f))(x))

    graph = sg.trace(derivatives, x)
    for results in (sg.jit(derivatives)(x), graph.evaluate(x), graph.simplify().evaluate(x)):
        assert all(np.isfinite(r).all() for r in results), results
        np.testing.assert_allclose(results[0], results[1], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(results[2], results[3], rtol=1e-12, atol=1e-15)


# ---- dtypes ------------------------------------------------------------------------------------

F32, F64 = np.ones(3, np.float32) / 3, np.ones(3) / 7
I32, I64 = np.array([1, 2, 3], np.int32), np.array([4, 5, 6])
B = np.array([True, False, True])
f4, f8, i4, i8, b1 = "float32", "float64", "int32", "int64", "bool"

# expression: (function, arguments, result dtype); a scalar result is compared inside an array
DTYPES: dict[str, tuple[Callable[..., Any], tuple[Any, ...], str]] = {
    "f32 + Python float": (lambda x: x + 0.1, (F32,), f4),
    "Python float - f32": (lambda x: 0.1 - x, (F32,), f4),
    "f32 + Python int": (lambda x: x + 2, (F32,), f4),
    "f32 + np.float64": (lambda x: x + np.float64(0.1), (F32,), f8),
    "f32 + np.float32": (lambda x: x + np.float32(0.1), (F32,), f4),
    "f32 + f64": (lambda x, y: x + y, (F32, F64), f8),
    "f32 + captured f64": (lambda x: x + F64, (F32,), f8),
    "f32 + captured f32": (lambda x: x + F32, (F32,), f4),
    "f32 + 0-d f64": (lambda x: x + np.array(0.1), (F32,), f8),
    "f32 scalar element * Python float": (lambda x: x[0] * 0.1 + x, (F32,), f4),
    "i32 + Python float": (lambda x: x + 0.1, (I32,), f8),
    "i32 + Python int": (lambda x: x + 1, (I32,), i4),
    "i64 + Python int": (lambda x: x + 1, (I64,), i8),
    "i32 / 2": (lambda x: x / 2, (I32,), f8),
    "i32 // 2": (lambda x: x // 2, (I32,), i4),
    "i32 % 2": (lambda x: x % 2, (I32,), i4),
    "i32 + f32": (lambda x, y: x + y, (I32, F32), f8),
    "i64 * f32": (lambda x, y: x * y, (I64, F32), f8),
    "i32 + i64": (lambda x, y: x + y, (I32, I64), i8),
    "i32 ** 2": (lambda x: x**2, (I32,), i4),
    "i32 ** 2.0": (lambda x: x**2.0, (I32,), f8),
    "i32 ** i32": (lambda x: x**x, (I32,), i4),
    "f32 ** 2": (lambda x: x**2, (F32,), f4),
    "f32 ** 0.5": (lambda x: x**0.5, (F32,), f4),
    "f32 ** i32": (lambda x, y: x**y, (F32, I32), f8),
    "sum of i32": (lambda x: np.sum(x) + np.zeros_like(x), (I32,), i8),
    "sum of bool": (lambda x: np.sum(x) + np.zeros_like(x), (B,), i8),
    "sum of f32": (lambda x: np.sum(x) + x, (F32,), f4),
    "prod of i32": (lambda x: np.prod(x) + np.zeros_like(x), (I32,), i8),
    "cumsum of i32": (np.cumsum, (I32,), i8),
    "max of i32": (lambda x: np.max(x) + x, (I32,), i4),
    "min of i32": (lambda x: np.min(x) + x, (I32,), i4),
    "max of i64, axis": (lambda x: np.max(np.stack([x, -x]), axis=1), (-I64,), i8),
    "min of i64, axis": (lambda x: np.min(np.stack([x, -x]), axis=1), (I64,), i8),
    "argmin of i32": (lambda x: np.argmin(x) + x, (-I32,), i8),
    "sqrt of i32": (np.sqrt, (I32,), f8),
    "sqrt of f32": (np.sqrt, (F32,), f4),
    "mean of i32": (lambda x: np.mean(x) + np.zeros_like(x), (I32,), f8),
    "mean of f32": (lambda x: np.mean(x) + x, (F32,), f4),
    "std of f32": (lambda x: np.std(x) + x, (F32,), f4),
    "argmax": (lambda x: np.argmax(x) + np.zeros(3, np.int32), (F32,), i8),
    "comparison": (lambda x: x > 0.5, (F32,), b1),
    "comparison of i32 and f64": (lambda x, y: x < y, (I32, F64), b1),
    "f32 * mask": (lambda x: x * (x > 0.2), (F32,), f4),
    "i32 * bool": (lambda x, y: x * y, (I32, B), i4),
    "bool + bool": (lambda x: x + x, (B,), b1),
    "bool * 2": (lambda x: x * 2, (B,), i8),
    "bool * 2.0": (lambda x: x * 2.0, (B,), f8),
    "bool / bool": (lambda x: x / (x | True), (B,), f8),
    "~bool & bool": (lambda x, y: ~x & (y > 0), (B, F64), b1),
    "where, f32 and Python float": (lambda x: np.where(x > 0, x, 0.0), (F32,), f4),
    "where, Python ints": (lambda x: np.where(x > 0.2, 1, 2), (F32,), i8),
    "where, i32 and f32": (lambda x, y: np.where(y > 0, x, y), (I32, F32), f8),
    "maximum(f32, 0)": (lambda x: np.maximum(x, 0), (F32,), f4),
    "clip of f32": (lambda x: np.clip(x, 0, 0.2), (F32,), f4),
    "clip of i32": (lambda x: np.clip(x, 0, 2), (I32,), i4),
    "astype": (lambda x: x.astype(np.float32), (F64,), f4),
    "astype int": (lambda x: (x * 10).astype(int), (F64,), i8),
    "f32 @ f64": (lambda x, y: np.stack([x, x]) @ y, (F32, F64), f8),
    "i32 @ i32": (lambda x: np.stack([x, x]) @ x, (I32,), i4),
    "stack of f32 and i32": (lambda x, y: np.stack([x, y]), (F32, I32), f8),
    "exp of f32 times np.pi": (lambda x: np.exp(x) * np.pi, (F32,), f4),
    "zeros_like": (lambda x: np.zeros_like(x) + 1, (F32,), f4),
    "linspace": (lambda x: np.linspace(0, 1, 3) * x, (F32,), f8),
}


@pytest.mark.quick(10)
@pytest.mark.parametrize("name", DTYPES)
def test_dtype(name):
    f, args, dtype = DTYPES[name]
    wanted = f(*args)
    assert wanted.dtype == dtype, "the table disagrees with NumPy"
    got, evaluated = sg.jit(f)(*args), sg.trace(f, *args).evaluate(*args)
    for result in (got, evaluated):
        assert result.dtype == dtype
        rtol = 1e-6 if f4 in (dtype, *(a.dtype for a in args)) else 1e-15
        np.testing.assert_allclose(result, wanted, rtol=rtol)


def loss(x: Any, k: Any, mask: Any) -> Any:
    return np.sum(np.where(mask, x * x, 0.5) ** k) * 0.5


@pytest.mark.parametrize("k", [np.int32(2), 2])
@pytest.mark.parametrize("x", [F32, F64], ids=["f32", "f64"])
def test_gradients_have_the_dtype_of_the_argument(x, k):
    g = sg.grad(loss)(x, k, B)
    assert g.dtype == x.dtype
    np.testing.assert_allclose(g, np.where(B, 2 * x**3, 0), rtol=1e-6)
    mixed = sg.grad(lambda a, b: np.sum(a * b), (0, 1))(F32, F64)
    assert [m.dtype for m in mixed] == [f4, f8]


def test_integers_and_derivatives():
    """A Python int counts as a float; an int array is refused with the fix."""
    assert sg.grad(lambda x: x**3)(3) == 27.0
    assert sg.grad(lambda x, n: x**n)(2.0, 3) == 12.0
    for values in (I32, I64, B):
        with pytest.raises(DifferentiationError, match=r"astype\(float\)"):
            sg.grad(lambda x: np.sum(x * 1.0))(values)
    with pytest.raises(DifferentiationError, match="float"):
        sg.grad(lambda x: np.sum(x > 0))(F64)
    with pytest.raises(DifferentiationError, match=r"\[3\]"):
        sg.grad(lambda x: x)(F64)


def test_python_numbers_as_arguments_are_weak():
    assert sg.jit(lambda x, s: x * s)(F32, 0.5).dtype == np.float32
    assert sg.jit(lambda x, s: x * s)(F32, np.float64(0.5)).dtype == f8


def test_refused_integers():
    with pytest.raises(DtypeError):
        sg.jit(lambda x: x + 2**40)(I32)
    with pytest.raises(DtypeError):
        sg.jit(lambda x: x**-1)(I32)


BOOLS = {
    "added": lambda a: ((a > 0) + (a < 1)) * 2.0,
    "counted": lambda a: sum([a > 0, a < 1, a > -3]) * a,
    "counted one by one": lambda a: sum(x > 0 for x in (a, a, a)),
    "times a number": lambda a: (a > 0) * 3 - 1,
    "negative": lambda a: -(a > 0),
    "subtracted": lambda a: (a > 0) - (a > 1),
    "divided": lambda a: (a > 0) / 2,
    "inverted": lambda a: ~(a > 0),
    "added to True": lambda a: True + (a > 0),
    "both": lambda a: (a > 0) & (a < 3),
    "compared": lambda a: ((a > 0) == 1) + (((a > 0) < (a > 1)) + 1),
    "divided whole": lambda a: (a > 0) // 1 + (a > 0) % 2,
    "not": lambda a: (not a) + (not a) + (a > 0),
    "any": lambda a: any([a > 0, a > 1]) + all([a > 0, a < 2]),
    "bool": lambda a: bool(a) + bool(a),
    "round": lambda a: round(a > 0) + 1,
    "beside float32": lambda a: a * (a > 0) * np.ones(2, np.float32),
    "times True": lambda a: (a * True + np.ones(2, np.float32)) * (True * a) - False,
    "an array of bools": lambda a: (a > 0) + np.array([True, False]),
    "in a branch": lambda a: ((a > 0) if a > 0.2 else (a < 0)) + (a < 3),
}


@pytest.mark.parametrize("name", BOOLS)
@pytest.mark.parametrize("a", [0.5, -0.5, 2, np.float64(0.5), np.float32(-0.5)])
@pytest.mark.quick(12)
def test_bools_of_python_are_integers_in_arithmetic(name, a):
    """Comparisons of Python's numbers are bools of Python's, and those of NumPy's are NumPy's."""
    f = BOOLS[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of ~True, from Python 3.12 on
            expected = f(a)
    except TypeError:  # NumPy subtracts no bools
        with pytest.raises(TypeError):
            sg.compile(f, a)
        return
    found = sg.compile(f, a)(a)
    assert np.result_type(found) == np.result_type(expected)
    np.testing.assert_array_equal(found, expected)
