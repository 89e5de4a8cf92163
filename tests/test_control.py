"""Control nodes: what they compute, against plain Python; equal closed bodies are one node."""

from __future__ import annotations

import numpy as np
import pytest

from symgrad.errors import DtypeError, LoopLimitError, ShapeError
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import arg, bind, const, iota, param
from symgrad.ops.control import Body, branch, scan, switch, while_loop


def _filter(n: int) -> Body:
    """decay, m, x → m · decay + x, and that squared."""
    decay, m, x = (arg(k, (n,), "float64") for k in range(3))
    new = m * decay + x
    return Body.close([decay, m, x], [new, new * new])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("count", [None, 0, 2, 4])
def test_scan(reverse, count):
    decay, start, xs, c = (
        arg(0, (3,), "float64"), arg(1, (3,), "float64"), arg(2, (4, 3), "float64"),
        arg(3, (), "int64"),
    )  # fmt: skip
    outs = scan(_filter(3), [decay], [start], [xs], 4, reverse=reverse,
                count=None if count is None else c)  # fmt: skip
    check(outs)
    rng = np.random.default_rng(1)
    a, m, x = rng.random(3), rng.random(3), rng.random((4, 3))
    carry, ys = evaluate(outs, {decay: a, start: m, xs: x, c: np.int64(count or 0)})
    n = 4 if count is None else count
    expected = np.zeros((4, 3))
    for t in range(n)[:: -1 if reverse else 1]:
        m = m * a + x[t]
        expected[t] = m * m
    np.testing.assert_array_equal(carry, m)
    np.testing.assert_array_equal(ys, expected)


def _halves(limit):
    """x → x / 2 while x > 1; with a limit, x is stacked."""
    x = arg(0, (), "float64")
    test = Body.close([x], [bind("greater", x, const(1.0))])
    outs = [x / 2] if limit is None else [x / 2, x]
    start = arg(0, (), "float64")
    return start, while_loop(test, Body.close([x], outs), [], [start], limit)


def test_while_loop():
    start, outs = _halves(None)
    assert [float(v) for v in evaluate(outs, {start: np.float64(10)})] == [0.625, 4]
    start, outs = _halves(5)
    value, rounds, stacked = evaluate(outs, {start: np.float64(10)})
    assert (float(value), int(rounds)) == (0.625, 4)
    np.testing.assert_array_equal(stacked, [10, 5, 2.5, 1.25, 0])
    with pytest.raises(LoopLimitError, match="5 rounds"):
        evaluate(outs, {start: np.float64(100)})


def test_switch_computes_one_body():
    x = arg(0, (), "float64")
    bodies = [Body.close([x], [x * k]) for k in (1, 2, 3)]
    index, value = arg(0, (), "int64"), arg(1, (), "float64")
    (out,) = switch(index, bodies, [value])
    got = [float(evaluate([out], {index: np.int64(k), value: np.float64(5)})[0])
           for k in (-7, 0, 1, 2, 9)]  # fmt: skip
    assert got == [5, 5, 10, 15, 15]


def test_branch_chooses():
    p, x, y = arg(0, (), "bool"), arg(1, (), "float64"), arg(2, (), "float64")
    outs = branch(p, [x, y], [y, x])
    for value in (True, False):
        given = {p: np.bool_(value), x: np.float64(1), y: np.float64(2)}
        assert [float(v) for v in evaluate(outs, given)] == ([1, 2] if value else [2, 1])


def test_equal_bodies_are_equal_nodes():
    args = [arg(0, (3,), "float64"), arg(1, (3,), "float64"), arg(2, (4, 3), "float64")]
    first, second = (scan(_filter(3), args[:1], args[1:2], args[2:], 4)[0] for _ in range(2))
    assert first is second
    assert repr(_filter(3)) == repr(_filter(3)) != repr(_filter(2))


def test_what_does_not_fit_is_refused():
    x, xs = arg(0, (3,), "float64"), arg(1, (4, 3), "float64")
    with pytest.raises(ShapeError, match="5 rounds"):
        scan(_filter(3), [x], [x], [xs], 5)
    grows = Body.close([x], [bind("greater", x, const(0.0, shape=(3,)))])
    with pytest.raises(DtypeError, match="carry"):
        scan(grows, [], [x], [], 4)
    with pytest.raises(DtypeError, match="predicate"):
        branch(iota(1), [x], [x])
    assert param(0, (3,), "float64") is param(0, (3,), "float64")
