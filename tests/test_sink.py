"""Open branches closed: each node is computed in the side that needs it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from symgrad.diff import modes
from symgrad.diff.roots import extended
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import Expr, arg, array, bind, const
from symgrad.expr.op import Kind
from symgrad.expr.walk import expand_composites, toposort
from symgrad.ops.control import BRANCH, Body, bodies, branch, scan, switch
from symgrad.trace.sink import sink


def positive(x: Expr) -> Expr:
    return bind("greater", x, const(0.0))


def names(body: Body) -> set[str]:
    return {n.name for n in body.nodes}


def free(outs: list[Expr]) -> list[Expr]:
    """Arguments that stand inside of bodies, which have to be closed."""
    waiting, found = [*outs], []
    for node in toposort(waiting):
        if node.op.kind is Kind.CONTROL:
            for b in bodies(node):
                found += [n for n in b.nodes if n.name == "arg"]
                found += [n for n in b.nodes if n.name == "param" and n not in b.params]
                found += free(list(b.outs))
    return found


def checked(before: list[Expr], points: list[dict[Expr, object]]) -> list[Expr]:
    after = sink(before)
    check(after)
    assert not free(after)
    assert all(n.op is not BRANCH for n in toposort(after))
    for p in points:
        given = {k: np.asarray(v, k.dtype) for k, v in p.items()}
        for a, b in zip(evaluate(before, given), evaluate(after, given), strict=True):
            np.testing.assert_array_equal(a, b)
    return after


def test_what_one_side_needs_is_computed_there():
    x, y = arg(0, (), "float64"), arg(1, (), "float64")
    shared = bind("exp", y)
    (out,) = branch(positive(x), [bind("log", x) * shared], [bind("sqrt", -x) + shared])
    points = [{x: 2.0, y: 0.5}, {x: -2.0, y: 0.5}]
    (after,) = checked([out], points)
    orelse, then = bodies(after.args[0])
    assert "log" in names(then) and "sqrt" not in names(then)
    assert "sqrt" in names(orelse) and "log" not in names(orelse)
    top = {n.name for n in toposort([after])}
    assert "exp" in top and not {"log", "sqrt"} & top


def test_what_is_used_outside_as_well_stays_outside():
    x = arg(0, (), "float64")
    e = bind("exp", x)
    (out,) = branch(positive(x), [e * 2], [x])
    after = checked([out, e], [{x: 1.0}, {x: -1.0}])
    assert after[1] is e
    assert all("exp" not in names(b) for b in bodies(after[0].args[0]))


def test_what_both_sides_need_stays_outside():
    x = arg(0, (), "float64")
    e = bind("exp", x)
    (out,) = branch(positive(x), [e * 2], [e * 3])
    (after,) = checked([out], [{x: 1.0}, {x: -1.0}])
    assert e in toposort([after])


def test_nested():
    x, y = arg(0, (), "float64"), arg(1, (), "float64")
    s = bind("sin", y)
    (inner,) = branch(positive(y), [bind("log", y) + s], [bind("sqrt", -y) * s])
    (out,) = branch(positive(x), [inner * bind("cos", x)], [x])
    points = [{x: a, y: b} for a in (1.0, -1.0) for b in (2.0, -2.0)]
    (after,) = checked([out], points)
    orelse, then = bodies(after.args[0])
    assert {"switch", "sin", "cos"} <= names(then) and "switch" not in names(orelse)
    (nested,) = [n for n in then.nodes if n.name == "switch"]
    assert [("log" in names(b), "sqrt" in names(b)) for b in bodies(nested)] == [
        (False, True), (True, False),
    ]  # fmt: skip


def test_several_results_and_one_of_them_in_a_side():
    """A branch whose results are used in one side of another one goes there as a whole."""
    x, y = arg(0, (), "float64"), arg(1, (), "float64")
    a, b = branch(positive(y), [bind("log", y), y], [y, bind("exp", y)])
    (out,) = branch(positive(x), [a * b], [x])
    points = [{x: p, y: q} for p in (1.0, -1.0) for q in (2.0, -2.0)]
    (after,) = checked([out], points)
    assert {n.name for n in toposort([after])}.isdisjoint({"log", "exp"})
    apart = checked([out, a], points)
    assert sum(n.name == "switch" for n in toposort(apart)) == 2


def test_constants_and_arguments():
    x, y = arg(0, (3,), "float64"), arg(1, (), "float64")
    c = array(np.array([1.0, 2.0, 4.0]))
    (out,) = branch(positive(y), [x * c], [c])
    (after,) = checked([out], [{x: np.ones(3), y: 1.0}, {x: np.ones(3), y: -1.0}])
    assert after.args[0].args[1:] == (x,)


@pytest.mark.parametrize("value", [True, False])
def test_a_predicate_that_is_known(value):
    x = arg(0, (), "float64")
    log = bind("log", x)
    (inner,) = branch(const(value, "bool"), [log], [x])
    (out,) = branch(positive(x), [inner + 1], [x])
    (after,) = checked([out], [{x: 2.0}, {x: -2.0}])
    assert sink([inner]) == [log if value else x]
    assert sum(n.name == "switch" for n in toposort([after])) == 1


def test_branches_in_bodies_of_loops():
    s, r = arg(0, (), "float64"), arg(1, (), "float64")
    (new,) = branch(positive(r), [s + bind("log", r)], [s])
    x, xs = arg(0, (), "float64"), arg(1, (4,), "float64")
    outs = scan(Body.close([s, r], [new]), [], [x], [xs], 4)
    (after,) = checked(outs, [{x: 0.0, xs: np.array([1.0, -1, 3, 0])}])
    (body,) = bodies(after.args[0])
    assert "branch" not in names(body) and "switch" in names(body)


def test_a_chain_of_many():
    """As of `if` in a loop that was written out; the time is linear."""
    x = arg(0, (), "float64")
    value = x
    for k in range(400):
        (value,) = branch(positive(value - k), [bind("sin", value) + k], [value * 0.5])
    (after,) = checked([value], [{x: 3.0}])
    assert sum(n.name == "switch" for n in toposort([after])) == 400
    deep = x
    for k in range(60):
        (deep,) = branch(positive(x - k), [bind("sin", deep)], [x])
    checked([deep], [{x: 3.0}, {x: 100.0}])


def test_of_a_function_inside_another():
    """What depends on none of its arguments is a value to it: the outer branch stays open."""
    x, own = arg(0, (), "float64"), arg(1, (), "float64")
    (outer,) = branch(positive(x), [bind("log", x)], [x])
    (out,) = branch(positive(own), [own * outer], [own])
    (after,) = sink([out], [own])
    assert outer in toposort([after])
    (pulled,) = modes.vjp([after], [own], [const(1.0)])
    (done,) = checked([pulled], [{x: 2.0, own: 1.0}, {x: -2.0, own: -1.0}])
    assert all(n.op is not BRANCH for n in toposort([done]))


def test_sides_are_not_evaluated():
    """An error in the side that is not taken does not arise: an index out of range."""
    x, i = arg(0, (3,), "float64"), arg(1, (), "int64")
    small = bind("less", i, const(3, "int64"))
    (out,) = branch(small, [bind("gather", x, i, attrs=(0,))], [const(0.0)])
    (after,) = sink([out])
    given = {x: np.ones(3), i: np.int64(7)}
    assert evaluate([after], given) == [0.0]


def test_shared_bodies_are_gone_through_once():
    """There are 2^40 ways to the innermost body."""
    x, which = arg(0, (), "float64"), arg(1, (), "int64")
    inner = Body.close([x, which], [bind("softplus", bind("slope", x, bind("sqrt", x)))])
    for _ in range(40):
        (same,) = switch(which, [inner, inner], [x, which])
        (other,) = switch(which, [inner, inner], [x * 0.5, which])
        inner = Body.close([x, which], [same + other])
    outs = switch(which, [inner, inner], [x, which])
    for step in (sink, extended, expand_composites):
        assert step(outs)[0].shape == ()
