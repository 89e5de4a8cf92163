"""Sparse patterns through loops and switches, against dense Jacobians and NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad.sparse import bodies
from symgrad.sparse.pattern import jacobian_pattern


def pattern_of(f, x):
    graph = sg.trace(f, x)
    (out,) = graph.outs
    found = jacobian_pattern(out, graph.args[0])
    dense = np.zeros(found.shape, bool)
    dense[found.rows(), found.indices] = True
    return dense


def jacobian_of(f, x):
    """Evaluated with NumPy."""
    graph = sg.trace(sg.jacfwd(f), x).simplify()
    return graph.evaluate(x).reshape(-1, x.size)


def running(x):
    return sg.scan(lambda s, r: (s + r, s * r), 1.0, x)[1]


def each(x):
    return sg.map(lambda r: np.sin(r) * r[0], x.reshape(4, 2))


def decided(x):
    return sg.map(lambda r: sg.cond(r[0] > 0.5, lambda r: r[1:] * 2, lambda r: np.exp(r[:2]), r),
                  x[:6].reshape(2, 3))  # fmt: skip


def late(x):
    """x[0] is in the result after two rounds."""

    def step(s, r):
        a, b, c = s
        return (r, a, b), c

    return sg.scan(step, (x[0], 0.0 * x[1], 0.0), x)[1]


def halves(x):
    start = x[0], x[1], x[2]
    last = sg.while_loop(lambda s: s[0] > 0.1, lambda s: (s[0] / 2, s[2] * 2, s[1]), start,
                         max_steps=20)  # fmt: skip
    return np.stack(last)


FUNCTIONS = [running, each, decided, late]


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("steps", [20_000, 0])
def test_patterns_hold_every_entry(f, steps, monkeypatch):
    monkeypatch.setattr(bodies, "_MOST_STEPS", steps)
    rng = np.random.default_rng(5)
    found = pattern_of(f, np.ones(8))
    seen = np.zeros(found.shape, bool)
    for _ in range(6):
        seen |= jacobian_of(f, rng.uniform(0.1, 1, 8)) != 0
    assert not (seen & ~found).any()
    if steps:  # round by round nothing is there in vain
        np.testing.assert_array_equal(found, seen)


def test_rows_of_a_map_stay_apart_in_long_loops(monkeypatch):
    monkeypatch.setattr(bodies, "_MOST_STEPS", 0)
    assert pattern_of(each, np.ones(8)).sum() == 4 * 3


def test_while():
    x = np.array([0.9, 2.0, 3.0])
    found = pattern_of(halves, x)
    assert not ((jacobian_of(halves, x) != 0) & ~found).any()
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 1, 1], [0, 1, 1]])


def test_sparse_derivatives_with_loops():
    x = np.linspace(0.2, 1, 8)
    np.testing.assert_allclose(sg.sparse_jacobian(running)(x).toarray(), jacobian_of(running, x))

    def loss(x):
        return np.sum(each(x) ** 2)

    dense = sg.trace(sg.hessian(loss), x).simplify().evaluate(x)
    np.testing.assert_allclose(sg.sparse_hessian(loss)(x).toarray(), dense, atol=1e-12)


def by_scan(x):
    return sg.scan(lambda s, r: (0.5 * s + np.exp(x[0]) * x[1], s * s), 1.0, np.arange(5.0))[1]


def by_fori(x):
    return sg.fori_loop(0, 4, lambda k, s: 0.5 * s + np.exp(x[0]) * x[1], x[2])


def by_while(x):
    return sg.while_loop(lambda s: s < 9, lambda s: s + np.exp(x[0]) * x[1], x[2], max_steps=20)


def by_cond(x):
    return sg.cond(x[3] > 0, lambda a: a * a * x[0], np.sin, np.exp(x[0]) * x[1])


def by_switch(x):
    return sg.switch(1, [np.sin, lambda a: a * a * x[0]], np.exp(x[0]) * x[1])


def by_map(x):
    return sg.map(lambda r: r * r * np.exp(x[0]), x[1:])


def by_checkpoint(x):
    return sg.checkpoint(by_scan)(x)


MIXED = [by_scan, by_fori, by_while, by_cond, by_switch, by_map, by_checkpoint]


@pytest.mark.parametrize("f", MIXED, ids=lambda f: f.__name__)
@pytest.mark.quick(2)
def test_entries_that_reach_the_result_beside_a_loop_and_through_it(f):
    """Entry by entry is one way, sweeps are the other; the part through the loop was once lost."""
    x = np.array([0.3, 1.2, 0.7, 0.4])

    def loss(x):
        return np.sum(np.sin(x) * x) + np.sum(f(x) ** 2)

    dense = sg.trace(sg.hessian(loss), x).simplify().evaluate(x)
    graph, pattern = sg.sparse_hessian(loss).trace(x)
    found = np.zeros((4, 4))
    found[pattern.rows(), pattern.indices] = graph.simplify().evaluate(x)
    np.testing.assert_allclose(found, dense, atol=1e-12)

    dense = sg.trace(sg.jacrev(lambda x: f(x) + 0 * np.sum(x)), x).simplify().evaluate(x)
    graph, pattern = sg.sparse_jacobian(lambda x: f(x) + 0 * np.sum(x)).trace(x)
    found = np.zeros((dense.size // 4, 4))
    found[pattern.rows(), pattern.indices] = graph.simplify().evaluate(x)
    np.testing.assert_allclose(found, dense.reshape(-1, 4), atol=1e-12)
