"""What is not reached contributes nothing: no 0 · inf from a side not taken, an element not read.

The table (unreached_table.py) in every mode, against differences with 100 digits; random programs
that leave elements out in every way there is; and the line between a zero by structure and one by
arithmetic, which stays a number like any other.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special as special

import symgrad as sg
from support.unreached_table import ROWS, A, Row, truth
from symgrad.diff.singular import has_pole, is_singular
from symgrad.expr.node import arg, bind, const
from symgrad.expr.op import OPS
from symgrad.expr.walk import toposort
from symgrad.ops.body import bodies

TOLERANCE = {"rtol": 1e-10, "atol": 1e-13}
NAMES = list(ROWS)
BUNDLE = 24

# Limits at roots are left out in parts of long formulas; values are compared.
pytestmark = pytest.mark.filterwarnings("ignore::symgrad.errors.LimitWarning")


def of(row: Row) -> Callable[..., Any]:
    return lambda x: row.f(np, x)


def first_orders(f: Callable[..., Any], x: Any) -> dict[str, Any]:
    """The gradient in all modes; both modes also for many points at once."""
    twice = np.stack([x, x])
    return {
        "reverse": sg.grad(f)(x),
        "forward": sg.jacfwd(f)(x),
        "seeded": sg.jacrev(f)(x),
        "batched": sg.vmap(sg.grad(f))(twice)[1],
        "batched, forward": sg.vmap(sg.jacfwd(f))(twice)[0],
    }


def second_orders(f: Callable[..., Any], x: Any) -> dict[str, Any]:
    units = np.eye(x.size).reshape(-1, *x.shape)
    return {
        "hessian": sg.hessian(f)(x),
        "reverse twice": sg.jacrev(sg.grad(f))(x),
        "reverse over forward": sg.jacrev(sg.jacfwd(f))(x),
        "forward twice": sg.jacfwd(sg.jacfwd(f))(x),
        "products": np.stack([sg.hvp(f, x, v) for v in units]).reshape(x.shape + x.shape),
    }


@pytest.mark.sample(43)
@pytest.mark.quick(3)
@pytest.mark.parametrize("name", NAMES)
def test_graphs(name):
    """The graphs as they are differentiated, and simplified."""
    row = ROWS[name]
    gradient, second = truth(row)
    orders = [(first_orders, gradient), (second_orders, second)][: 1 if second is None else 2]
    for ways, wanted in orders:
        graph = sg.trace(lambda x, ways=ways: ways(of(row), x), row.x)
        for label, g in (("traced", graph), ("simplified", graph.simplify())):
            for way, got in g.evaluate(row.x).items():
                np.testing.assert_allclose(got, wanted, err_msg=f"{label}, {way}", **TOLERANCE)


@pytest.mark.sample(4)
@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, len(NAMES), BUNDLE))
def test_compiled(start):
    names = NAMES[start : start + BUNDLE]
    rows = [ROWS[n] for n in names]

    def derivatives(points: Any) -> Any:
        return [
            (of(row)(x), sg.grad(of(row))(x), sg.jacfwd(of(row))(x),
             sg.hessian(of(row))(x) if row.orders > 1 else 0.0)
            for row, x in zip(rows, points, strict=True)
        ]  # fmt: skip

    found = sg.jit(derivatives)([row.x for row in rows])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        values = [of(row)(row.x) for row in rows]
    for name, row, value, got in zip(names, rows, values, found, strict=True):
        gradient, second = truth(row)
        np.testing.assert_allclose(got[0], value, err_msg=name, **TOLERANCE)
        np.testing.assert_allclose(got[1], gradient, err_msg=name, **TOLERANCE)
        np.testing.assert_allclose(got[2], gradient, err_msg=f"{name}, forward", **TOLERANCE)
        if second is not None:
            np.testing.assert_allclose(got[3], second, err_msg=f"{name}, second", **TOLERANCE)


@pytest.mark.parametrize("name", ["√max(x, 0)", "mask · √x", "slice", "trace", "clip(√x, 1, 2)"])
def test_single_precision(name):
    row = ROWS[name]
    got = sg.grad(of(row))(row.x.astype(np.float32))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, truth(row)[0], rtol=1e-5)


@pytest.mark.slow
def test_sparse_derivatives():
    x = A(-1, 4, 0, -2, 5)
    for f in (
        lambda x: np.sqrt(np.maximum(x, 0)),
        lambda x: np.sqrt(x) * (x > 0),
        lambda x: np.sqrt(x * (x > 0)),
        lambda x: np.sqrt(np.cumsum(np.maximum(x, 0))),
        lambda x: np.sqrt(np.maximum(x[1:], 0) + np.maximum(x[:-1], 0)),
    ):
        dense = sg.jacobian(f)(x)
        assert np.isfinite(dense).all()
        np.testing.assert_array_equal(sg.sparse_jacobian(f)(x).toarray(), dense)
    for name in ("√max(x, 0)", "mask @ √x, squared", "slice, squared", "Heston", "triu"):
        got = sg.sparse_hessian(of(ROWS[name]))(ROWS[name].x).toarray()
        np.testing.assert_allclose(got, truth(ROWS[name])[1], err_msg=name, **TOLERANCE)


def test_an_infinity_stays_at_its_element():
    """Off the diagonal of a Jacobian nothing is reached; so are the zeros of np.diag."""
    x = A(4, 0, 1)
    wanted = np.diag([0.25, math.inf, 0.5])
    for mode in (sg.jacfwd, sg.jacrev):
        np.testing.assert_array_equal(mode(np.sqrt)(x), wanted)
        graph = sg.trace(mode(np.sqrt), x).simplify()
        np.testing.assert_array_equal(graph.evaluate(x), wanted)
    np.testing.assert_array_equal(sg.jit(np.diag)(1 / A(math.inf, 1)), np.diag([0.0, 1.0]))
    np.testing.assert_array_equal(sg.jit(np.diag)(A(math.inf, 1)), np.diag([math.inf, 1.0]))


# ---- zeros of arithmetic ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: 0 * np.sqrt(x),
        lambda x: x * np.sqrt(x) * 0.0,
        lambda x: np.exp(-1 / x),
        lambda x: np.sqrt(x) ** 2,
        lambda x: np.sin(x) / x,
    ],
)
def test_zeros_of_arithmetic_are_numbers(f):
    """0 · inf that the formula itself has at 0 is NaN, as IEEE 754 has it: nothing is hidden."""
    graph = sg.trace(sg.grad(f), 0.0)
    assert not math.isfinite(graph.evaluate(0.0))


def test_limits_that_are_infinite_stay():
    """What is reached, and infinite, is infinite."""
    for f, slope in (
        (lambda x: np.sum(np.sqrt(x)[:1]), math.inf),
        (lambda x: np.sum(np.sqrt(x) * (x >= 0)), math.inf),
        (lambda x: np.max(np.sqrt(x) + 1), math.inf),
        (lambda x: np.sum(np.arcsin(np.clip(x + 1, -1, 1))), math.inf),
    ):
        assert sg.trace(sg.grad(f), A(0)).evaluate(A(0))[0] == slope


# ---- which rows have infinite derivatives -------------------------------------------------------


def rows_where(fact: Callable[..., bool]) -> set[str]:
    found = set()
    for op in OPS.values():
        if op.partials is not None:
            node = bind(op, *[arg(k, (), "float64") for k in range(len(op.partials))])
            if node.dtype == "float64" and fact(node):
                found.add(op.name)
    return found


def test_infinite_derivatives_are_found():
    """From the partials; what has none at finite points must not cost a selection."""
    singular = rows_where(lambda node: is_singular(node, False))
    assert singular >= {
        "divide", "reciprocal", "sqrt", "cbrt", "log", "log1p", "log2", "log10", "power", "xlogy",
        "arcsin", "arccos", "arccosh", "arctanh", "arctan2", "gammaln", "digamma", "polygamma",
        "mod", "fmod",
    }  # fmt: skip
    assert not singular & {
        "add", "subtract", "multiply", "negative", "exp", "sin", "cos", "tanh", "sigmoid",
        "softplus", "square", "maximum", "minimum", "absolute", "logaddexp", "erf", "expm1",
    }  # fmt: skip
    assert {"log", "divide", "gammaln"} <= rows_where(has_pole)
    x = arg(0, (2,), "float64")
    for node, wanted in ((x / 3.0, False), (3.0 / x, True),
                         (bind("power", x, const(3, "float64", (2,))), False),
                         (bind("power", x, const(0.5, "float64", (2,))), True)):  # fmt: skip
        assert is_singular(node, False) == wanted


def test_divisors_that_are_away_from_zero_are_no_poles():
    """A sum of terms that are not negative, one of them a number; products of such."""
    x, y = arg(0, (2,), "float64"), arg(1, (2,), "float64")
    one, square = const(1, "float64", (2,)), lambda e: bind("square", e)
    away = [
        one + square(x), square(y) + (square(x) + 0.5), (one + square(x)) * (2.0 + square(y)),
        square(one + square(y)), bind("maximum", x, const(0.1, "float64", (2,))),
        one + bind("exp", x), bind("broadcast", one + square(x), attrs=((3, 2), (1,))),
    ]  # fmt: skip
    near = [
        x, square(x), one + x, square(x) - 1.0, square(x) + square(y), 1e-9 + square(x),
        (one + square(x)) * x, bind("maximum", x, y), bind("minimum", x, one), bind("exp", x),
        -1.0 + square(x), x * x + y, bind("maximum", x, const(0.0, "float64", (2,))),
        square(1e-6 + square(x)),  # powers of it are 0
    ]  # fmt: skip
    for divisors, wanted in ((away, False), (near, True)):
        for e in divisors:
            node = bind("divide", const(1, "float64", e.shape) * arg(2, e.shape, "float64"), e)
            assert has_pole(node) == is_singular(node, False) == wanted, e
            assert is_singular(node, True)  # inf / inf
    assert is_singular(bind("log", square(x)), False)
    assert not is_singular(bind("log", one + square(x)), False)
    assert is_singular(bind("arccosh", one + square(x)), False)  # at 1

    def selections(divisor):
        f = sg.grad(lambda x: np.sum(np.where(x > 0, np.cumsum(x / divisor(x)), 0)))
        return sum(node.name == "select" for node in sg.trace(f, A(1, 2)).nodes)

    assert selections(lambda x: 0.5 + 3 * x**2) == selections(lambda x: 2.0) == 1
    assert selections(lambda x: 3 * x**2) > 1


# ---- branches in branches -----------------------------------------------------------------------


def turned(a, b, c, level, real=lambda v: v):
    """Three arrays, each of which may be zero by structure in a part, and may be infinite."""
    if real(a[0]) > 0.1 * level:
        if level:
            a, b, c = turned(np.cumsum(b / c), a * b, np.sin(c), level - 1, real)
        else:
            a, b, c = a / b, np.cumsum(b / c), c / a
    else:
        a = b * c
    return a, b, np.where(real(c) > real(b), c / a, 0)


def written_out(outs):
    """Nodes, those of a body as often as it stands somewhere."""
    known = {}

    def count(outs):
        if outs not in known:
            inside = [b for node in toposort(outs) for b in bodies(node)]
            known[outs] = len(toposort(outs)) + sum(count(b.outs) for b in inside)
        return known[outs]

    return count(tuple(outs))


@pytest.mark.slow
def test_supports_of_branches_in_branches_are_made_once_for_all_results():
    """Each level has its branch twice, for derivatives and for supports; not once more for each of
    three results, with all levels inside."""

    def loss(x, level, real=lambda v: v):
        parts = turned(x, x + 1, x * 2, level, real)
        return np.sum(np.where(real(x) > 0.4, sum(parts), 0))

    def slope(level):
        return sg.grad(lambda x: loss(x, level))

    sizes = {k: written_out(sg.trace(slope(k), A(1, 2, 3)).outs) for k in (3, 6)}
    assert sizes[3] < sizes[6] < 9 * sizes[3]
    for x in (A(0.9, 0.5, 0.3), A(-0.7, 0.6, 0.8), A(0.25, 0.5, 1.5)):
        steps = x + 1e-30j * np.eye(3)
        want = [loss(step, 3, np.real).imag / 1e-30 for step in steps]
        np.testing.assert_allclose(slope(3)(x), want, rtol=1e-12)


# ---- random programs ----------------------------------------------------------------------------

# name: (function with an infinite derivative, or none, at `bad`; finite on (1/4, 3/4))
SINGULAR: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "sqrt": (np.sqrt, (0.0, -1.0)),
    "log": (np.log, (0.0, -2.0)),
    "reciprocal": (lambda x: 1 / x, (0.0,)),
    "power": (lambda x: x**-1.5, (0.0, -1.0)),
    "cbrt": (np.cbrt, (0.0,)),
    "arccos": (np.arccos, (1.0, 2.0)),
    "arctanh": (np.arctanh, (1.0, -1.0, 2.0)),
    "gammaln": (special.gammaln, (0.0,)),
    "mod": (lambda x: np.mod(2.0, x), (0.0,)),
    "x log x": (lambda x: x * np.log(x), (0.0,)),
    "sin(x)/x": (lambda x: np.sin(x) / x, (0.0,)),
}


def leave_out(rng: np.random.Generator, f: Callable[..., Any], read: np.ndarray) -> Any:
    """f(x) without the elements where `read` is false, in one of the ways there are."""
    places = np.flatnonzero(read)
    out = np.flatnonzero(~read)
    n = len(read)
    inner = float(rng.uniform(0.4, 0.6))
    ways: list[Callable[..., Any]] = [
        lambda x: np.where(read, f(x), 0),
        lambda x: np.where(read, f(np.where(read, x, inner)), 0),
        lambda x: np.where(read, f(x), x**2),
        lambda x: f(x)[places],
        lambda x: np.take(f(x), places),
        lambda x: f(x)[read],
        lambda x: np.delete(f(x), out),
        lambda x: np.concatenate([f(x)[places], x]),
        lambda x: np.sin(np.exp(f(x))[places] * f(x)[places]),
        lambda x: np.select([read], [f(x)], -x),
        lambda x: np.where(read, np.stack([f(x), x]), np.stack([x, x])).reshape(2 * n),
        lambda x: np.diag(np.outer(f(x), np.ones(n)))[places],
        lambda x: (np.where(read[:, None], f(x)[:, None] * np.ones(3), 0)).reshape(3 * n),
        lambda x: np.einsum("i,j->ij", f(x), f(x))[np.ix_(places, places)].ravel(),
        lambda x: np.where(read, f(x) * (x > 0), 0),
    ]
    if out[-1] == len(out) - 1:  # the first ones
        ways += [
            lambda x: f(x)[len(out) :],
            lambda x: np.split(f(x), [len(out)])[1],
            lambda x: np.cumsum(f(x)[::-1])[: len(places)],
            lambda x: np.diff(f(x)[len(out) :] ** 2),
        ]
    return ways[rng.integers(len(ways))]


MIX: list[Callable[..., Any]] = [
    lambda y: y,
    np.sin,
    np.cumsum,
    lambda y: y[::-1] * 2,
    lambda y: np.cumsum(y * y)[::-1],
    lambda y: np.tanh(np.ones((3, y.size)) @ y),
    lambda y: y[:, None] * y,
    lambda y: np.maximum(y, 0.1) - np.minimum(y, 0.2),
    lambda y: np.sqrt(1 + y * y),
]
TO_SCALAR: list[Callable[..., Any]] = [
    np.sum, lambda y: np.sum(y * y), sg.logsumexp, lambda y: np.sum(np.exp(-(y**2))),
    lambda y: np.linalg.norm(y) + np.sum(y),
]  # fmt: skip


def program(seed: int) -> tuple[Callable[..., Any], np.ndarray, np.ndarray, np.ndarray]:
    """A function, a point with infinite derivatives at what it does not read, a point without."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 7))
    read = rng.random(n) < 0.6
    if rng.random() < 0.4:
        read = np.sort(read)
    read[-1], read[0] = True, False
    f, bad = SINGULAR[list(SINGULAR)[rng.integers(len(SINGULAR))]]
    before = [lambda x: x, lambda x: x * 1.0, lambda x: np.sqrt(x * x) if min(bad) >= 0 else x]
    inner = before[rng.integers(len(before))]
    part = leave_out(rng, lambda x: f(inner(x)), read)
    mix, to_scalar = MIX[rng.integers(len(MIX))], TO_SCALAR[rng.integers(len(TO_SCALAR))]
    safe = rng.uniform(0.3, 0.7, n)
    return lambda x: to_scalar(mix(part(x))), np.where(read, safe, rng.choice(bad, n)), safe, read


@pytest.mark.sample(30)
@pytest.mark.quick(8)
@pytest.mark.parametrize("seed", range(80))
def test_elements_that_are_not_read_do_not_matter(seed):
    """Where `x` is read the derivatives are those beside a harmless value of the rest.

    Ways that read the rest as well read it as a polynomial: -x, x or x², summed up or not.
    """
    f, x, safe, read = program(seed)
    graph = sg.trace(lambda x: (f(x), sg.grad(f)(x), sg.jacfwd(f)(x), sg.hessian(f)(x),
                                sg.jacrev(sg.grad(f))(x)), x)  # fmt: skip
    value, gradient, forward, hessian, twice = graph.evaluate(x)
    assert np.isfinite(value)
    assert all(np.isfinite(d).all() for d in (gradient, forward, hessian, twice)), graph
    np.testing.assert_allclose(forward, gradient, **TOLERANCE)
    np.testing.assert_allclose(twice, hessian, rtol=1e-9, atol=1e-11)
    if np.allclose(value, graph.evaluate(safe)[0], rtol=1e-14):  # the rest is not read at all
        _, calm, _, calm_hessian, _ = graph.evaluate(safe)
        np.testing.assert_allclose(gradient, np.where(read, calm, 0), **TOLERANCE)
        np.testing.assert_allclose(hessian, np.where(read[:, None] & read, calm_hessian, 0),
                                   rtol=1e-9, atol=1e-11)  # fmt: skip


@pytest.mark.slow
def test_random_programs_compiled():
    """Some of them in C: what the evaluator found."""
    chosen = [program(seed) for seed in range(80, 104)]

    def derivatives(points: Any) -> Any:
        functions = [f for f, *_ in chosen]
        return [
            (sg.grad(f)(x), sg.hessian(f)(x)) for f, x in zip(functions, points, strict=True)
        ]  # fmt: skip

    points = [x for _, x, *_ in chosen]
    found = sg.jit(derivatives)(points)
    wanted = sg.trace(derivatives, points).evaluate(points)
    for seed, got, want in zip(range(80, 104), found, wanted, strict=True):
        for g, w in zip(got, want, strict=True):
            assert np.isfinite(w).all(), seed
            np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-11, err_msg=str(seed))
