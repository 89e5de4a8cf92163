"""np.apply_along_axis, np.apply_over_axes and np.vectorize, which call a function of the user's.

The oracle of values is NumPy, that of derivatives a loop that says the same, on dual numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from support import each_functions as ef
from support.dual_numpy import derivatives, load
from symgrad.errors import ShapeError

ON_DUALS = load(Path(ef.__file__), "each_functions_on_duals")
X = np.array([0.5, 0.2, 0.9])


@pytest.mark.parametrize(("f", "loop"), ef.PAIRS, ids=lambda f: f.__name__)
@pytest.mark.quick(1)
def test_as_numpy_does(f, loop):
    both = sg.value_and_grad(f)
    direction = np.array([0.3, -0.7, 0.4])
    for x in (X, np.array([-0.7, 1.1, 0.35])):
        np.testing.assert_allclose(f(x), loop(x), rtol=1e-12)
        want = derivatives(ON_DUALS[loop.__name__], (x,), along=direction)
        value, gradient = both(x)
        np.testing.assert_allclose(value, f(x), rtol=1e-12)
        np.testing.assert_allclose(gradient, want.gradient, rtol=1e-10, atol=1e-12)
        product = sg.jvp(sg.grad(f), (x,), (direction,))[1]
        np.testing.assert_allclose(product, want.product, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "f", [ef.decides, ef.vectorized, ef.matrices_of_rows, ef.vectorized_with_two_results]
)
def test_one_call_stands_for_all(f):
    assert len(sg.trace(f, X).nodes) < 60


@pytest.mark.parametrize("f", [ef.norm_of_rows, ef.of_columns, ef.two_axes_before, ef.over_axes])
@pytest.mark.quick(2)
def test_without_source(f):
    """By NumPy's protocol alone."""
    text = "\n".join(["import numpy as np", *Path(ef.__file__).read_text().splitlines()[4:]])
    space: dict = {}
    exec(compile(text, "<no source>", "exec"), space)
    again = space[f.__name__]
    np.testing.assert_allclose(sg.jit(again)(X), f(X), rtol=1e-12)
    np.testing.assert_allclose(sg.grad(again)(X), sg.grad(f)(X), rtol=1e-12)


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda x: np.vectorize(np.sum, signature="(n)->()")(np.outer(x, x)), "apply_along_axis"),
        (lambda x: np.vectorize(np.sin)(x[:0]), "empty array"),
        (lambda x: np.apply_along_axis(np.sum, 1, x[:0, None]), "no vector"),
        (lambda x: np.apply_over_axes(lambda a, k: np.sum(a), np.outer(x, x), [0]), "axes"),
    ],
)
def test_what_is_refused(f, text):
    with pytest.raises(ShapeError, match=text):
        sg.trace(f, X)
