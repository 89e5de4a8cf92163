"""Names of the user's variables: which are kept, and what they stand for."""

from __future__ import annotations

import gc
import pickle
import weakref

import numpy as np
import pytest

import symgrad as sg
from symgrad.expr.evaluate import evaluate

S = sg.f64


def names_of(f, *specs):
    """The names of a graph with their values at a point, beside the point."""
    graph = sg.trace(f, *specs)
    rng = np.random.default_rng(3)
    point = {a: np.asarray(rng.uniform(0.5, 2.0, a.shape)) for a in graph.args}
    values = evaluate(list(graph.names.values()), point) if graph.names else []
    return dict(zip(graph.names, values, strict=True)), list(point.values())


def price(s, k, t):
    ratio = np.log(s / k)
    d1 = ratio / np.sqrt(t)
    d2 = d1 - np.sqrt(t)
    return s * np.tanh(d1) - k * np.tanh(d2)


DERIVATIVES = [
    lambda f: f,
    sg.grad,
    sg.hessian,
    lambda f: sg.grad(sg.grad(f), 1),
    lambda f: sg.jit(sg.value_and_grad(f, argnums=(0, 2))),
    lambda f: lambda *x: sg.grad(f)(*x) * 2,
]


@pytest.mark.parametrize("derive", DERIVATIVES)
def test_names_of_a_function_and_of_its_derivatives(derive):
    """In terms of the arguments of the graph, at any depth."""
    known, (s, k, t) = names_of(derive(price), S, S, S)
    d1 = np.log(s / k) / np.sqrt(t)
    assert list(known) == ["ratio", "d1", "d2"]
    assert np.allclose([known["ratio"], known["d1"], known["d2"]],
                       [np.log(s / k), d1, d1 - np.sqrt(t)], rtol=1e-14)  # fmt: skip


def test_which_variables_have_names():
    n = 2

    def f(x, y):
        once = x * y
        twice = x + y
        twice = twice * x
        x = x + 1
        _hidden = once * 3
        a, (b, *_) = once * 2, (once - 1, once + 2)
        for k in range(3):
            inside = once * k
            once_there = inside + 1
        if n:
            decided = x * 3
        total = 0.0
        total += once
        size = 7
        same = y
        walrus = (found := once + 7) * 2
        number: float = once / 3
        return once_there + twice + a + b + decided + total + size + same + walrus + found + number

    known, (x, y) = names_of(f, S, S)
    assert {k: float(v) for k, v in known.items()} == pytest.approx(
        {"once": x * y, "a": 2 * x * y, "b": x * y - 1, "walrus": 2 * (x * y + 7)}
    )


def test_two_values_of_one_name_are_no_name():
    def helper(a):
        inner = a * 2
        return inner + 1

    def f(x):
        return helper(x) * helper(x + 1)

    def g(x):
        outer = helper(x)
        return outer * outer

    assert not names_of(f, S)[0]
    known, (x,) = names_of(g, S)
    assert known == {"inner": 2 * x, "outer": 2 * x + 1}

    def twice(x):
        return sg.grad(g)(x) + sg.grad(g)(x * x)

    assert not names_of(twice, S)[0]


def test_no_names_of_what_depends_on_control_flow_or_is_large():
    def f(x):
        if x > 0:
            side = x * 2
        else:
            side = x * 3
        after = side * 5
        long = x
        for k in range(100):
            long = np.sin(long) * (k + 1.5)
        deep = long * 2
        plain = x * 7
        return after + deep + plain

    known, (x,) = names_of(f, S)
    assert known == {"plain": 7 * x}

    def early(x):
        first = x * 2
        if x > 3:
            return first
        second = first + 1
        return second * first

    assert not names_of(early, S)[0]


def test_a_batch_and_a_loop_have_no_names():
    def f(x):
        double = x * 2
        return double + 1

    assert not names_of(sg.vmap(f), S[3])[0]
    assert not names_of(lambda x: sg.fori_loop(0, 3, lambda k, c: f(c), x), S)[0]


def test_arrays_live_no_longer_than_without_names():
    class Array(np.ndarray):
        """Has weak references."""

    big = np.ones(10_000).view(Array)
    gone = weakref.ref(big)

    def unused(x):
        dead = np.asarray(big) * x  # noqa: F841
        used = x * 2
        return used + 1

    graph = sg.trace(unused, S)
    assert list(graph.names) == ["used"]
    del unused
    big = None
    gc.collect()
    assert gone() is None

    data = np.arange(10_000.0)

    def loss(x):
        r = data * x
        return r @ r

    assert list(sg.trace(loss, S).names) == ["r"]


def test_names_survive_and_change_no_result():
    def with_names(x):
        u = np.sin(x)
        return u * u

    def without(x):
        return np.sin(x) * np.sin(x)

    graph = sg.trace(sg.grad(with_names), S)
    assert list(graph.simplify().names) == ["u"]
    assert list(sg.trace(with_names, S).grad().names) == ["u"]
    lines = str(graph), str(sg.trace(sg.grad(without), S))
    assert lines[0].split("\n")[1:] == lines[1].split("\n")[1:]
    again = pickle.loads(pickle.dumps(graph))
    assert list(again.names) == ["u"] and again.names["u"].name == "sin"
    assert again.names["u"].args == again.args and again.digest() == graph.digest()
    assert len(again.outs) == 1


def test_a_function_without_source_has_no_names():
    scope = {}
    exec("def f(x):\n    u = x * 2\n    return u * u", scope)
    assert not sg.trace(scope["f"], S).names
