"""Unrolled loops become arrays again: graphs that do not grow, and the numbers of the loop."""

from __future__ import annotations

import functools
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from support.loop_programs import program
from symgrad.compiled import Compiled
from symgrad.diff.modes import jvp, vjp, zeros_like
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import Expr, arg, const
from symgrad.generate import source_of
from symgrad.graph import Graph
from symgrad.simplify import simplify

UNROLLED = frozenset({"loops"})
TOLERANCE = 1e-10


@pytest.fixture(autouse=True)
def double_precision():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(autouse=True)
def unrolled(monkeypatch):
    """Functions are not followed by their source: Python runs their loops."""
    monkeypatch.setattr(sys.modules["symgrad.trace.source"], "start", lambda f: f)


def error(got, expected) -> float:
    """Largest difference relative to the largest entry; equal infinities and NaNs are equal."""
    got, expected = np.asarray(got, float), np.asarray(expected, float)
    assert got.shape == expected.shape
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    scale = np.max(np.abs(expected[np.isfinite(expected)]), initial=1e-300)
    with np.errstate(invalid="ignore"):
        worst = np.max(np.where(same, 0, np.abs(got - expected) / scale), initial=0.0)
    return math.inf if np.isnan(worst) else float(worst)


def rolled(f, *specs) -> Graph:
    """The simplified graph of a function with loops, checked against the function itself."""
    graph = sg.trace(f, *specs)
    simple = graph.simplify()
    check(simple.outs)
    rng = np.random.default_rng(0)
    args = [rng.standard_normal(a.shape).astype(a.dtype) for a in graph.args]
    for got, expected in zip(simple.evaluate_flat(args), graph.evaluate_flat(args), strict=True):
        assert error(got, expected) < TOLERANCE
    return simple


# ---- numbers -----------------------------------------------------------------------------------


def derivatives(graph: Graph, disable: frozenset[str]) -> tuple[list[Expr], Expr]:
    """Gradient and Hessian-vector product of a scalar graph, as `sg.grad` and `sg.hvp` do it."""
    outs = simplify(graph.outs, disable=disable).outs
    cotangents = vjp(outs, graph.args, [const(1.0)])
    gradient = [zeros_like(a) if c is None else c
                for c, a in zip(cotangents, graph.args, strict=True)]  # fmt: skip
    gradient = simplify(gradient, disable=disable).outs
    x = graph.args[0]
    direction = arg(9, x.shape, x.dtype)
    (product,) = jvp(gradient[:1], [x], [direction])
    product = simplify([zeros_like(x) if product is None else product], disable=disable).outs[0]
    return [*gradient, product], direction


def total(f, module):
    """A scalar that depends on every argument."""
    return lambda *args: sum(module.sum(module.sin(value)) for value in (*args, *f(*args)))


@pytest.mark.sample(28)
@pytest.mark.quick(1)
@pytest.mark.parametrize("seed", range(60))
def test_programs_like_unrolled(seed):
    text, function, args = program(seed)
    f = function(np)
    simple = sg.trace(f, *args).simplify()
    check(simple.outs)
    for got, expected in zip(simple.evaluate(*args), f(*args), strict=True):
        assert error(got, expected) < TOLERANCE, text
    graph = sg.trace(total(f, np), *args)
    values = dict(zip(graph.args, args, strict=True))
    results = []
    for disable in (frozenset(), UNROLLED):
        outs, direction = derivatives(graph, disable)
        check(outs)
        values[direction] = np.random.default_rng(1).standard_normal(direction.shape)
        results.append(evaluate(outs, values))
    for got, expected in zip(*results, strict=True):
        assert error(got, expected) < TOLERANCE, text


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 112))
def test_compiled_programs_like_jax(seed):
    text, function, args = program(seed)
    f, g = total(function(np), np), total(function(jnp), jnp)
    direction = np.random.default_rng(1).standard_normal(args[0].shape)
    values = [Compiled(sg.trace(d, *given).simplify())(*given)
              for d, given in ((sg.grad(f), args),
                               (lambda x, v: sg.hvp(lambda t: f(t, *args[1:]), x, v),
                                (args[0], direction)))]  # fmt: skip
    slope = jax.grad(g)
    expected = jax.jvp(lambda t: slope(t, *args[1:]), (args[0],), (direction,))
    for got, want in zip(values, expected, strict=True):
        assert error(got, want) < TOLERANCE, text


@pytest.mark.slow
def test_the_programs_are_about_loops():
    fired = 0
    for _, function, args in map(program, range(40)):
        fired += "re-roll" in sg.trace(function(np), *args).simplify().fired
    assert fired > 30


# ---- what becomes of a loop ---------------------------------------------------------------------


def rosenbrock(x):
    s = 0.0
    for i in range(len(x) - 1):
        s += 100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2
    return s


def test_sum_is_what_whole_arrays_give():
    def arrays(x):
        return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    loop, whole = rolled(rosenbrock, sg.f64[30]), sg.trace(arrays, sg.f64[30]).simplify()
    assert str(loop).partition("\n")[2] == str(whole).partition("\n")[2]


@pytest.mark.parametrize("transform", [sg.value_and_grad, sg.hessian])
@pytest.mark.slow
def test_c_does_not_grow(transform):
    sizes = [len(source_of(sg.trace(transform(rosenbrock), sg.f64[n]).simplify()).c)
             for n in (100, 400)]  # fmt: skip
    assert sizes[1] < 1.1 * sizes[0]


@pytest.mark.slow
def test_explain_names_it_and_it_can_be_switched_off():
    graph = sg.trace(rosenbrock, sg.f64[30])
    assert "re-roll" in graph.simplify().explain()
    assert "re-roll" in sg.trace(sg.grad(rosenbrock), sg.f64[30]).explain()
    for name in ("re-roll", "loops"):
        off = graph.simplify(disable=frozenset({name}))
        assert "re-roll" not in off.explain() and len(off.nodes) > 100


@pytest.mark.quick(6)
@pytest.mark.parametrize(
    "loop, whole, specs",
    [
        (lambda x: sum(x[i] for i in range(9)), lambda x: np.sum(x), [sg.f64[9]]),
        (lambda x: sum(np.sin(x[2 * i]) for i in range(9)), lambda x: np.sum(np.sin(x[::2])),
         [sg.f64[17]]),
        (lambda x, y: sum(x[i] * y[8 - i] for i in range(9)), lambda x, y: np.sum(x * y[::-1]),
         [sg.f64[9]] * 2),
        (lambda x: sum(x[i] * x[8 - i] ** 2 for i in reversed(range(9))),
         lambda x: np.sum(x[::-1] * x**2), [sg.f64[9]]),
        (lambda x, w: sum(np.tanh(x[i] @ w) for i in range(9)),
         lambda x, w: np.sum(np.tanh(x @ w)), [sg.f64[9, 3], sg.f64[3]]),
        (lambda x: sum((-1) ** i * np.exp(x[i]) for i in range(16)),
         lambda x: np.sum(np.exp(x[::2]) - np.exp(x[1::2])), [sg.f64[16]]),
        (lambda x, y: sum(np.sin(x[i]) * y[j] for i in range(9) for j in range(10)),
         lambda x, y: np.einsum("j,i->", y, np.sin(x)), [sg.f64[9], sg.f64[10]]),
        (lambda a: sum(a[i, j] ** 3 for i in range(9) for j in range(3)),
         lambda a: np.sum(a**3), [sg.f64[9, 3]]),
        (lambda a: sum(a[i][j] ** 3 for j in range(9) for i in range(3)),
         lambda a: np.sum(a.T**3), [sg.f64[3, 9]]),
        (lambda a, x: sum(sum(a[i, j] * x[j] for j in range(9)) ** 2 for i in range(8)),
         lambda a, x: np.sum((a @ x) ** 2), [sg.f64[8, 9], sg.f64[9]]),
        (lambda x: np.stack([np.exp(x[i]) for i in range(9)]), lambda x: np.exp(x), [sg.f64[9]]),
        (lambda x: np.stack([np.exp(x[i]) for i in range(9)], axis=1), lambda x: np.exp(x).T,
         [sg.f64[9, 2]]),
        (lambda x: np.concatenate([np.sin(x[i]) for i in range(9)]),
         lambda x: np.sin(x).reshape(18), [sg.f64[9, 2]]),
        (lambda x: np.stack([np.stack([x[i] * x[j] for j in range(9)]) for i in range(9)]),
         lambda x: np.outer(x, x), [sg.f64[9]]),
        (lambda a: sum(a[i, i] for i in range(9)), lambda a: np.sum(a.reshape(81)[::10]),
         [sg.f64[9, 9]]),
        (lambda x: sum(np.prod(x[3 * i : 3 * i + 3]) for i in range(9)),
         lambda x: np.sum(np.prod(x.reshape(9, 3), axis=1)), [sg.f64[27]]),
        (lambda x: math.prod(np.cos(x[i]) for i in range(9)), lambda x: np.prod(np.cos(x)),
         [sg.f64[9]]),
        (lambda x: functools.reduce(np.maximum, [np.exp(x[i]) for i in range(9)]),
         lambda x: np.max(np.exp(x)), [sg.f64[9]]),
    ],
)  # fmt: skip
def test_loops_become_what_whole_arrays_give(loop, whole, specs):
    expected = sg.trace(whole, *specs).simplify()
    assert str(rolled(loop, *specs)) == str(expected)


def test_numbers_of_iterations():
    """Whole numbers that advance evenly come from the index, others are a table."""
    names = [n.name for n in rolled(lambda x: sum(i * x[i] for i in range(9)), sg.f64[9]).nodes]
    assert "iota" in names and "array" not in names
    names = [n.name for n in rolled(lambda x: sum(i / 7 * x[i] for i in range(9)), sg.f64[9]).nodes]
    assert "array" in names and "slice" not in names


def test_extremum_passes_nan_on():
    def f(x):
        return functools.reduce(np.maximum, [np.exp(x[i]) for i in range(12)])

    graph = rolled(f, sg.f64[12])
    assert np.isnan(Compiled(graph)(np.array([0.0] * 5 + [np.nan] + [1.0] * 6)))


def test_two_sums_of_one_loop_share_what_they_share():
    def f(x):
        s, t = 0.0, 0.0
        for i in range(20):
            e = np.exp(x[i])
            s += e
            t += e * x[i]
        return s, t

    names = [node.name for node in rolled(f, sg.f64[20]).nodes]
    assert names.count("exp") == 1 and len(names) == 4


def test_labels_of_both_signs_are_one_family():
    labels = np.where(np.arange(40) % 3 == 0, 1.0, -1.0)

    def f(x, w):
        return sum(np.logaddexp(0, -labels[i] * (x[i] @ w)) for i in range(40))

    assert len(rolled(f, sg.f64[40, 3], sg.f64[3]).nodes) < 8


def test_long_irregular_loops_are_gathered():
    order = np.random.default_rng(0).permutation(50)
    names = [n.name for n in rolled(lambda x: sum(x[k] ** 3 for k in order), sg.f64[50]).nodes]
    assert names.count("gather") == 1 and len(names) < 7


def test_traced_indices():
    def f(x, index):
        return sum(x[index[i]] ** 2 for i in range(9))

    graph = sg.trace(f, sg.f64[5], sg.i64[9]).simplify()
    index = np.arange(9) % 5
    assert len(graph.nodes) < 6
    assert Compiled(graph)(np.arange(5.0), index) == np.sum(index**2)
    (gather,) = [n for n in graph.nodes if n.name == "gather"]
    assert gather.site is not None and gather.site[0] == __file__
    with pytest.raises(sg.errors.OutOfRangeError):
        Compiled(graph)(np.arange(5.0), index + 1)


def test_branch_not_taken_stays_silent():
    def f(x):
        return sum(np.where(x[i] > 0, np.log(x[i]) * np.sqrt(x[i]), 0.0) for i in range(9))

    x = np.array([0.0, -1.0, 2.0, 3.0, 1.0, 0.0, 0.0, 1.0, 4.0])
    positive = np.where(x > 0, x, 1.0)
    slope = np.where(x > 0, (np.log(positive) / 2 + 1) / np.sqrt(positive), 0.0)
    np.testing.assert_allclose(sg.grad(f)(x), slope, rtol=1e-14)


# ---- what is left alone -------------------------------------------------------------------------


def is_left_alone(f, *specs) -> bool:
    return "re-roll" not in rolled(f, *specs).fired


def test_short_loops():
    assert is_left_alone(lambda x: sum(np.sin(x[i]) for i in range(7)), sg.f64[7])
    assert not is_left_alone(lambda x: sum(np.sin(x[i]) for i in range(8)), sg.f64[8])


def test_recurrences():
    def f(x):
        h, s = x[0], 0.0
        for i in range(50):
            h = np.tanh(h * x[1] + x[i])
            s += h * h
        return s

    assert is_left_alone(f, sg.f64[50])


def test_what_a_recurrence_needs_as_well():
    """Otherwise exp would be computed for the vector, and again for the recurrence."""

    def f(x):
        h, s = x[0], 0.0
        for i in range(50):
            e = np.exp(x[i])
            h = np.tanh(h + e)
            s += e * e
        return h, s

    assert is_left_alone(f, sg.f64[50])


def test_partial_sums_that_are_used():
    def f(x):
        s, sums = 0.0, []
        for i in range(20):
            s = s + np.exp(x[i])
            sums.append(s)
        return np.stack(sums)

    assert is_left_alone(f, sg.f64[20])


def test_products_keep_the_order_of_their_factors():
    def f(x):
        p = 1.0
        for i in range(10):
            p = p * x[i] * x[i + 10]
        return p

    x = np.concatenate([np.full(10, 1e200), np.full(10, 1e-200)])
    assert Compiled(sg.trace(f, x).simplify())(x) == pytest.approx(1.0)


@pytest.mark.slow
def test_deep_chains_of_both_kinds():
    """No recursion, and no more than a look at chains that only seem to be loops."""

    def f(x):
        h, s = x[0], 0.0
        for i in range(6000):
            h = np.sin(h) + 0.1
            s += x[i] * x[i] if i % 2 else -x[i]
        return s, h

    fired = sg.trace(f, sg.f64[6000]).simplify().fired
    assert fired["re-roll"] == 1
