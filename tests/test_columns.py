"""Columns of the rows: each says what its function does, and nobody lists names instead."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

import symgrad as sg
from symgrad.expr.op import OPS, UFUNCS, Kind, Op, register, unregister
from symgrad.ops.elementwise import sin


@pytest.fixture
def cosm1():
    """A row from outside: cos x - 1 without cancellation, which symgrad does not have."""
    row = register(
        Op(
            "cosm1", Kind.ELEMENTWISE, lambda x: (x.shape, x.dtype), scipy.special.cosm1,
            partials=(lambda x, out: -sin(x),), c="-2 * sin@({0} / 2) * sin@({0} / 2)",
            sympy="cos(a) - 1", domain=((-3.0, 3.0),), cost=40, numpy=("cosm1",),
        )
    )  # fmt: skip
    yield row
    unregister(row)


def test_a_row_from_outside_is_traced_differentiated_and_compiled(cosm1):
    def f(x):
        return np.sum(x * scipy.special.cosm1(x))

    x = np.array([1e-4, 0.5, -2.0, 3.0])
    graph = sg.trace(f, x)
    assert any(node.op is cosm1 for node in graph.nodes)
    value, gradient = sg.value_and_grad(f)(x)
    np.testing.assert_allclose(value, np.sum(-2 * x * np.sin(x / 2) ** 2), rtol=1e-14)
    np.testing.assert_allclose(gradient, -2 * np.sin(x / 2) ** 2 - x * np.sin(x), rtol=1e-14)
    np.testing.assert_allclose(
        sg.hessian(f)(x), np.diag(-2 * np.sin(x) - x * np.cos(x)), rtol=1e-14, atol=1e-16
    )


def test_a_row_that_was_taken_out_is_not_traced(cosm1):
    unregister(cosm1)
    try:
        with pytest.raises(sg.errors.UnsupportedError, match="cosm1"):
            sg.trace(lambda x: scipy.special.cosm1(x), np.ones(3))
    finally:
        register(cosm1)


def test_a_ufunc_is_one_row(cosm1):
    twin = Op("twin", Kind.ELEMENTWISE, cosm1.infer, np.sin, numpy=("cosm1",))
    with pytest.raises(KeyError, match="cosm1"):
        register(twin)
    assert "twin" not in OPS and UFUNCS["cosm1"] is cosm1
