"""What long graphs cost, counted: nodes made, rules called, sweeps over all of them.

Counts do not depend on the load of a machine. They are for graphs that the source of a function
does not roll into loops: here functions have none.
"""

from __future__ import annotations

import gc
import itertools
import sys
import threading

import numpy as np
import pytest

import symgrad as sg
from symgrad.collector import seldom
from symgrad.expr import node as node_module
from symgrad.expr import validate, walk
from symgrad.generate import source_of
from symgrad.lower import interpret, verify
from symgrad.simplify import pattern

# From a string, so that there is no source to follow.
PROGRAMS: dict = {}
exec(  # noqa: S102
    """
def chain(n):
    def f(x):
        for _ in range(n):
            x = np.sin(x) * 1.0001 + 0.1 * x * x
        return x
    return f, (sg.f64,)

def straight(n):
    steps = np.random.default_rng(0).integers(0, 1000, (n, 3))
    def f(x):
        v = [x[k] for k in range(20)]
        for op, i, j in steps:
            a, b = v[-1 - i % len(v[-50:])], v[-1 - j % len(v[-50:])]
            v.append([a + b, a - b, a * b, np.sin(a), a * 0.5 + b, a / (1.5 + b * b)][op % 6] * 0.9)
        return sum(v[-30:])
    return f, (sg.f64[20],)

def markov(n):
    def f(A, B, start):
        a, total = np.exp(start), 0.0
        for t in range(n):
            a = (a @ np.exp(A)) * np.exp(B)[:, t % 4]
            s = np.sum(a)
            total, a = total + np.log(s), a / s
        return total
    return f, (sg.f64[3, 3], sg.f64[3, 4], sg.f64[3])
""",
    {"np": np, "sg": sg},
    PROGRAMS,
)


class Counts:
    """Nodes made, rules called, and nodes that sweeps have come by."""

    def __init__(self, monkeypatch):
        self.made = self.rules = self.swept = 0
        store, sort, find = node_module._store, walk.toposort, pattern.RuleSet.candidates

        def counting_store(*args):
            self.made += 1
            return store(*args)

        def counting_sort(*args):
            result = sort(*args)
            self.swept += len(result)
            return result

        def counted(apply):
            def call(node, context):
                self.rules += 1
                return apply(node, context)

            return call

        def candidates(rules, key):
            found = rules.tables[key] = [(name, counted(f)) for name, f in find(rules, key)]
            return found

        monkeypatch.setattr(node_module, "_store", counting_store)
        monkeypatch.setattr(pattern.RuleSet, "candidates", candidates)
        monkeypatch.setattr(pattern, "_RULE_SETS", itertools.count(50))  # bits of `Expr.settled`
        for module in list(sys.modules.values()):
            if getattr(module, "toposort", None) is sort:
                monkeypatch.setattr(module, "toposort", counting_sort)

    def taken(self):
        """What has been counted since it was last taken."""
        found = self.made, self.rules, self.swept
        self.made = self.rules = self.swept = 0
        return found


@pytest.fixture
def counts(monkeypatch):
    rule_set = sys.modules["symgrad.simplify"]._rule_set
    rule_set.cache_clear()  # sets of rules are made anew, with counting, and for this test alone
    monkeypatch.setenv(validate.VARIABLE, "0")  # checks make nodes as well
    monkeypatch.setattr(verify, "ENABLED", False)
    monkeypatch.setattr(interpret, "ENABLED", False)
    yield Counts(monkeypatch)
    rule_set.cache_clear()


def costs(counts, name, n):
    """Of trace and gradient, of simplifying, and of the usual C, for each node of the result."""
    f, specs = PROGRAMS[name](n)
    graph = sg.trace(sg.grad(f), *specs)
    rows = [counts.taken()]
    simple = graph.simplify()
    rows.append(counts.taken())
    source_of(simple, scalar=False)
    rows.append(counts.taken())
    return np.array(rows) / len(simple.nodes)


# Nodes made, rules called, nodes swept over, for each final node; measured, and some more. Of the
# nodes of C some are loads of what crosses a cut of a long function.
MOST = {
    "chain": [[1.1, 0.1, 4.8], [0.6, 0.6, 2.2], [1.3, 0.1, 8.5]],
    "straight": [[6.0, 1.7, 8.5], [1.0, 1.3, 2.5], [4.5, 0.4, 16]],
    "markov": [[1.3, 1.1, 5.2], [1.3, 2.8, 2.2], [4.2, 0.8, 17.5]],
}


@pytest.mark.quick(1)
@pytest.mark.parametrize("n", [60, 240])  # one bound for both: costs are linear
@pytest.mark.parametrize("name", MOST)
def test_counts_for_each_final_node(name, n, counts):
    found = costs(counts, name, n)
    assert (found <= MOST[name]).all(), f"\n{found}"


def test_what_is_simplified_is_not_looked_at_again(counts):
    f, specs = PROGRAMS["chain"](30)
    simple = sg.trace(sg.grad(f), *specs).simplify()
    counts.taken()
    assert all(a is b for a, b in zip(simple.simplify().outs, simple.outs, strict=True))
    assert counts.made == 0
    assert counts.rules <= 3 * 30  # those that ask who else uses a node


def test_rules_that_ask_are_tried_again_when_uses_change():
    x = sg.trace(lambda x: -np.sin(2 * x), sg.f64)
    both = sg.trace(lambda x: (-np.sin(2 * x), np.sin(2 * x) * 3.0, 5.0 * np.sin(2.0 * x)), sg.f64)
    for graph in (both, x, both):  # in this order: what was remembered must not matter
        simple = graph.simplify()
        for got, expected in zip(
            simple.evaluate_flat([0.7]), graph.evaluate_flat([0.7]), strict=True
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-15)


# ---- the collector of cycles -------------------------------------------------------------------


def test_thresholds_are_the_users_again():
    before = gc.get_threshold()
    with seldom():
        with seldom():
            assert gc.get_threshold()[0] >= 50_000
        assert gc.get_threshold()[0] >= 50_000
    assert gc.get_threshold() == before
    with pytest.raises(ZeroDivisionError), seldom():
        1 / 0  # noqa: B018
    assert gc.get_threshold() == before
    try:
        with seldom():
            gc.set_threshold(11, 12, 13)  # the user's own, which stays
        assert gc.get_threshold() == (11, 12, 13)
        gc.set_threshold(0)
        off = gc.get_threshold()
        with seldom():
            assert gc.get_threshold() == off
        assert gc.get_threshold() == off
    finally:
        gc.set_threshold(*before)


def test_thresholds_wait_for_all_threads():
    before = gc.get_threshold()
    inside, leave = threading.Event(), threading.Event()

    def other():
        with seldom():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with seldom():
        thread.start()
        assert inside.wait(10)
    assert gc.get_threshold()[0] >= 50_000
    leave.set()
    thread.join()
    assert gc.get_threshold() == before


# ---- variables of derivatives that are the trace's own arguments ---------------------------------

X = np.array([0.3, -1.2])


def test_a_function_that_captures_its_argument_is_not_confused():
    """d/dy (x y) at y = x is x, whoever traces; by hand."""
    inside = sg.jit(lambda x: sg.grad(lambda y: np.sum(x * y))(x))
    np.testing.assert_array_equal(inside(X), X)
    np.testing.assert_array_equal(sg.jit(inside)(X), X)
    np.testing.assert_array_equal(sg.jit(sg.jit(lambda x: inside(x) * 2))(X), 2 * X)
    # d/dx Σ (d/dy Σ x y)² = 2 x
    outer = sg.grad(lambda x: np.sum(sg.grad(lambda y: np.sum(x * y))(x) ** 2))
    np.testing.assert_allclose(outer(X), 2 * X)
    value, pushed = sg.jvp(lambda x: sg.grad(lambda y: np.sum(x * y))(x), (X,), (np.ones(2),))
    np.testing.assert_array_equal(value, X)
    np.testing.assert_array_equal(pushed, np.ones(2))


def test_one_array_for_two_arguments_is_two_variables():
    f = sg.grad(lambda x, y: np.sum(x**2 * y), argnums=(0, 1))
    once = sg.jit(lambda x: f(x, x))
    for by_first, by_second in (f(X, X), sg.jit(f)(X, X), once(X)):
        np.testing.assert_allclose(by_first, 2 * X * X)
        np.testing.assert_allclose(by_second, X**2)


def test_the_variables_of_a_derivative_are_never_made_constants():
    """Positions that are sorted may be static, what the derivative is taken by may not."""

    def f(x, knots):
        return np.sum(np.interp(x, knots, np.arange(3.0)) ** 2)

    knots = np.array([0.0, 1.0, 3.0])
    at = np.array([0.5, 2.0])
    # slopes 1 and 1/2; values 1/2 and 3/2
    np.testing.assert_allclose(sg.grad(f)(at, knots), [1.0, 1.5])
