"""Control nodes: what they compute, against plain Python; equal closed bodies are one node."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from symgrad.errors import DtypeError, LoopLimitError, ShapeError
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import arg, array, bind, const, iota, param
from symgrad.expr.op import Kind
from symgrad.expr.walk import expand_composites
from symgrad.graph import Graph
from symgrad.ops.control import Body, bodies, branch, scan, switch, while_loop
from symgrad.tree import flatten


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


# ---- graphs with control nodes ----------------------------------------------------------------


def looped() -> Graph:
    """A scan with a switch and a captured array in its body."""
    x, xs = arg(0, (), "float64", "x"), arg(1, (4, 3), "float64", "xs")
    i, s, row = arg(0, (), "int64"), arg(1, (), "float64"), arg(2, (3,), "float64")
    sides = [Body.close([s], [s * k]) for k in (1, 2)]
    weights = array(np.arange(3.0) + 0.5)
    (chosen,) = switch(i, sides, [s])
    new = chosen + bind("sum", row * weights, attrs=((0,),))
    body = Body.close([i, s, row], [1 - i, new, bind("softmax", row, attrs=((0,),))])
    outs = scan(body, [], [const(0, "int64"), x], [xs], 4)
    tree = flatten((0, 0))[1]
    return Graph("looped", (x, xs), tuple(outs[1:]), flatten(((0, 0), {}))[1], tree,
                    ("x", "xs"), ("out[0]", "out[1]"))  # fmt: skip


def test_pickled():
    graph = looped()
    x, xs = 0.5, np.arange(12.0).reshape(4, 3)
    again = pickle.loads(pickle.dumps(graph))
    assert again.digest() == graph.digest()
    assert again.outs[0].args[0].attrs == graph.outs[0].args[0].attrs
    for a, b in zip(again.evaluate(x, xs), graph.evaluate(x, xs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(graph.captured) == 1


def test_a_digest_sees_into_bodies():
    x = arg(0, (), "float64", "x")

    def digest(k: float, values: list[float]) -> str:
        s = arg(0, (), "float64")
        total = bind("sum", array(np.array(values, float)), attrs=((0,),))
        outs = scan(Body.close([s], [s * k + total]), [], [x], [], 4)
        return Graph("f", (x,), tuple(outs), *[flatten(0)[1]] * 2, ("x",), ("o",)).digest()

    assert len({digest(2, [1, 2]), digest(3, [1, 2]), digest(2, [1, 3])}) == 3
    assert digest(2, [1, 2]) == digest(2, [1, 2])


def test_composites_are_expanded_inside_bodies():
    graph = looped()
    outs = expand_composites(graph.outs)
    inside = [n for o in outs for b in bodies(o.args[0]) for n in b.nodes]
    assert not any(n.op.kind is Kind.COMPOSITE for n in inside)
    given = dict(zip(graph.args, [np.float64(0.5), np.arange(12.0).reshape(4, 3)], strict=True))
    for a, b in zip(evaluate(outs, given), evaluate(graph.outs, given), strict=True):
        np.testing.assert_allclose(a, b)
