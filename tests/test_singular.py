"""Which divisors are known to be away from 0: what they divide needs no guards."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad.diff.singular import has_pole, is_away, is_singular
from symgrad.expr.node import arg, bind, const
from symgrad.expr.walk import toposort
from symgrad.ops.elementwise import equal, select
from symgrad.ops.linear import sum_


@pytest.mark.parametrize("function", [np.max, np.min])
@pytest.mark.parametrize("axis", [None, 0])
def test_ties_of_extremes_are_no_poles(function, axis):
    """How many elements are the largest is 1 at least, or NaN where there is a NaN."""
    f = lambda x: np.sum(function(np.sin(x), axis=axis))
    for g in (sg.grad(f), lambda x: sg.jvp(sg.grad(f), (x,), (x,))[1]):
        graph = sg.trace(g, np.ones((3, 2)))
        for nodes in (toposort(graph.outs), toposort(graph.simplify().outs)):
            assert any(n.op.name == "divide" for n in nodes)
            assert not any(has_pole(n) or is_singular(n, False) for n in nodes)


def test_other_selections_may_be_zero():
    x, truths = arg(0, (3,), "float64"), arg(1, (3,), "bool")
    count = sum_(bind("convert", truths, attrs=("float64",)), (0,))
    nan, zero = const(np.nan), const(0.0)
    assert is_away(select(equal(count, 0), nan, count))
    assert is_away(select(equal(zero, count), nan, count))
    other = sum_(x, (0,))
    for divisor in (
        count,
        select(equal(count, 0), count, nan),
        select(equal(count, 0), zero, count),
        select(equal(count, 1), nan, count),
        select(equal(other, 0), nan, count),
        select(equal(other, 0), nan, other),
        select(bind("less", count, zero), nan, count),
    ):
        assert not is_away(divisor)


def test_maxima_in_branches_and_loops_stay_small():
    """Guards of each level asked for the supports of all that is inside: 8 times the work."""

    def f(x):
        for k in range(4):
            if x[k] > 0.1:
                if np.max(x) > 0.5:
                    x = np.tanh(x * np.max(x))
                else:
                    x = np.sin(x) + np.max(x)
        return np.sum(x)

    graph = sg.trace(lambda x: sg.jvp(sg.grad(f), (x,), (x,))[1], np.ones(4))
    assert not any(has_pole(n) for n in toposort(graph.outs))
