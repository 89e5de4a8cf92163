"""Straight lines are lowered from the operands up; what comes out is the same text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import symgrad as sg
from symgrad.expr.node import arg, bind, const, moved
from symgrad.generate import source_of
from symgrad.lower.elements import ElementReader
from symgrad.lower.kernels import Kernels
from symgrad.lower.tuning import HOST_TUNING

UNARY = [
    np.sin,
    np.tanh,
    lambda a: np.log1p(np.exp(a)),
    lambda a: np.exp(-abs(a)),
    lambda a: a**3,
    lambda a: a**0.3,
    np.sign,
    lambda a: np.floor(a) + 0.5,
    lambda a: -a,
]
BINARY = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / (2.5 + b * b),
    np.maximum,
    lambda a, b: np.where(a < b, a, 0.5 * b),
    lambda a, b: np.where((a > 0) & (b > 0), a * b, a - b),
    np.hypot,
    np.arctan2,
    np.mod,
]


def program(seed, steps=60):
    """Numbers of several types, elements of an array and a few loops, from earlier ones."""

    def f(x, y, k, v):
        rng = np.random.default_rng(seed)
        known = [x, y, k, v[1], v[3], np.sum(v * x), x * 0 + 1]
        for _ in range(steps):
            a, b = (known[-1 - int(rng.integers(min(len(known), 9)))] for _ in range(2))
            if rng.random() < 0.4:
                known.append(UNARY[rng.integers(len(UNARY))](a))
            else:
                known.append(BINARY[rng.integers(len(BINARY))](a, b))
        return known[-1], known[-2] * v, known[-3], known[-1], k, 1.5, known[-4] + known[-5]

    return sg.trace(f, sg.f64, sg.f32, sg.i64, sg.f64[4])


def written(graph, options):
    source = source_of(graph, **options)
    return source.c, source.workspace_bytes, source.units


@pytest.mark.parametrize("parts", [None, 1, 7])
@pytest.mark.parametrize("seed", range(6))
def test_the_same_text_as_element_by_element(seed, parts, monkeypatch):
    graph = program(seed)
    options = (
        {}
        if parts is None
        else {"tuning": replace(HOST_TUNING, part_statements=parts, unit_parts=2)}
    )
    for g in (graph, graph.simplify()):
        fast = written(g, options)
        with monkeypatch.context() as m:
            m.setattr(ElementReader, "number", lambda self, node: None)
            assert written(g, options) == fast


@pytest.mark.parametrize("seed", range(3))
def test_gradients_of_numbers(seed, monkeypatch):
    def f(x, y):
        rng = np.random.default_rng(seed)
        known = [x, y, x * y]
        for _ in range(40):
            a, b = (known[-1 - int(rng.integers(3))] for _ in range(2))
            known.append(
                [np.sin(a) * b, a + 0.5 * b, np.hypot(a, b), a / (2 + b * b)][rng.integers(4)]
            )
        return known[-1]

    graph = sg.trace(sg.value_and_grad(f, argnums=(0, 1)), sg.f64, sg.f64).simplify()
    fast = written(graph, {})
    monkeypatch.setattr(ElementReader, "number", lambda self, node: None)
    assert written(graph, {}) == fast


def test_moved_is_what_bind_finds():
    x, y, z = (arg(k, (), "float64", n) for k, n in enumerate("xyz"))
    for node in (x * y, y * x, x + y, x - y, x / y, bind("less", x, y), x * const(2), -x):
        new = {x: z, y: x}
        args = tuple(new.get(a, a) for a in node.args)
        assert moved(node, args) is bind(node.op, *args, attrs=node.attrs)


def test_costs_of_numbers_do_not_grow_exponentially():
    """What an element costs is a sum over ways: of numbers that read one another it doubles."""

    names: dict = {}
    exec("def f(x, v):\n    for _ in range(3000):\n        x = x * x + x\n    return v * x", names)
    graph = sg.trace(names["f"], sg.f64, sg.f64[3])
    costs = []

    class Kernels_(Kernels):
        def _is_shared(self, node, users, cost):
            costs.append(cost)
            return super()._is_shared(node, users, cost)

    Kernels_(False, HOST_TUNING).graph(graph.args, graph.outs, ["x", "v"], ["y"])
    assert len(costs) > 3000
    assert max(costs) < 100
