"""Lists that grow as often as the data decide: what is known of them is right, the rest is refused.

The oracle is the same function in plain Python, on numbers and on dual numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from support import growing_lists as gl
from support.dual_numpy import derivatives, load
from symgrad.errors import ConcretizationError, MutationError

ON_DUALS = load(Path(gl.__file__), "growing_lists_on_duals")
THETA = gl.THETA
POINTS = [THETA, np.array([0.8, 0.6, -0.4]), np.array([0.15, -0.3, 1.2])]


@pytest.mark.parametrize("f", gl.KNOWN, ids=lambda f: f.__name__)
@pytest.mark.quick(2)
def test_what_is_known(f):
    both = sg.value_and_grad(f)
    direction = np.array([0.3, -0.7, 0.4])
    product = sg.jit(lambda x: sg.jvp(sg.grad(f), (x,), (direction,))[1])
    for x in POINTS:
        value, gradient = both(x)
        want = derivatives(ON_DUALS[f.__name__], (x,), along=direction)
        np.testing.assert_allclose(value, f(x), rtol=1e-12)
        np.testing.assert_allclose(gradient, want.gradient, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(product(x), want.product, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("f", gl.KNOWN, ids=lambda f: f.__name__)
def test_as_one_loop_on_the_evaluator(f):
    graph = sg.trace(f, THETA)
    assert len(graph.nodes) < 60
    for x in POINTS:
        np.testing.assert_allclose(graph.evaluate(x), f(x), rtol=1e-12)


@pytest.mark.parametrize("f", gl.UNKNOWN, ids=lambda f: f.__name__)
def test_what_is_not_known_is_refused(f):
    with pytest.raises(ConcretizationError) as told:
        sg.trace(f, THETA)
    text = str(told.value)
    if f is not gl.as_a_shape:  # which is refused as any traced value there
        assert "growing_lists.py" in text
        assert "a list grows in the loop at" in text
        assert "out = np.zeros(max_steps)" in text


@pytest.mark.parametrize(
    ("f", "error"),
    [(gl.last_of_perhaps_none, IndexError), (gl.largest_of_perhaps_none, ValueError)],
)
def test_a_list_may_be_too_short(f, error):
    """As in Python, with Python's error."""
    both = sg.value_and_grad(f)
    value, gradient = both(POINTS[1])
    want = derivatives(ON_DUALS[f.__name__], (POINTS[1],))
    np.testing.assert_allclose(value, want.value, rtol=1e-12)
    np.testing.assert_allclose(gradient, want.gradient, rtol=1e-12)
    for g in (f, both):
        with pytest.raises(error):
            g(POINTS[0])


@pytest.mark.parametrize("f", [gl.variable_changed, gl.element_changed])
def test_elements_that_others_have(f):
    with pytest.raises(MutationError):
        sg.trace(f, THETA)


def test_what_nobody_asks_for_is_not_computed():
    """Sums, extremes and elements further back leave the loop again."""
    source = sg.compile(sg.grad(gl.newton_history), THETA).source.c
    assert "INFINITY" not in source
    assert source.count("while (") == 1
