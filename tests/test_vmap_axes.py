"""Axes of `vmap`, alone and in structures, against jax.vmap."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import ShapeError, StructureError

jax.config.update("jax_enable_x64", True)
RNG = np.random.default_rng(0)
MATRICES = {0: (3, 4, 5), 1: (4, 3, 5), 2: (4, 5, 3), -1: (4, 5, 3), None: (4, 5)}
VECTORS = {0: (3, 6), 1: (6, 3), None: (6,)}
OUT = (0, -1, {"u": 2, "v": (0, 1)}, {"u": 0, "v": 0})


def results(m):
    return lambda a, b, p: {
        "u": m.outer(m.sin(a[:, 0]), b) * p["c"], "v": (m.sum(a) * p["d"], m.cumsum(b))
    }  # fmt: skip


def mapped(vmap, m, axes, out):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=MATRICES[axes[0]]), rng.normal(size=VECTORS[axes[1]])
    c = rng.normal(size=3) if axes[2] == 0 else 0.7
    inside = axes[2] if axes[2] is None else {"c": axes[2], "d": None}
    args = a, b, {"c": c, "d": 1.5}
    f = vmap(results(m), in_axes=(*axes[:2], inside), out_axes=out)
    return f(*args) if m is jnp else sg.trace(f, *args).evaluate(*args)


@pytest.mark.parametrize("axes", list(itertools.product(MATRICES, VECTORS, (0, None))), ids=str)
@pytest.mark.quick(1)
def test_axes_are_those_of_jax(axes):
    """Numbers, or that it is an error: a number as a result has no second axis."""
    for out in OUT:
        try:
            want = mapped(jax.vmap, jnp, axes, out)
        except ValueError:
            with pytest.raises(ShapeError):
                mapped(sg.vmap, np, axes, out)
            continue
        got = mapped(sg.vmap, np, axes, out)
        leaves = [jax.tree_util.tree_leaves(r) for r in (got, want)]
        assert [np.shape(x) for x in leaves[0]] == [np.shape(x) for x in leaves[1]]
        for g, w in zip(*leaves, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-12)


def test_results_that_are_the_same_for_all_examples():
    f = sg.vmap(lambda x, y: (x * y, np.sin(y)), in_axes=(0, None), out_axes=(0, None))
    product, shared = f(np.arange(3.0), 2.0)
    np.testing.assert_array_equal(product, [0.0, 2.0, 4.0])
    assert shared == np.sin(2.0)
    with pytest.raises(ShapeError, match="differs from example to example"):
        sg.vmap(lambda x: x, out_axes=None)(np.arange(3.0))


@pytest.mark.parametrize(
    ("axes", "out", "error", "message"),
    [
        (1, 0, ShapeError, "no axis 1 for an argument of shape"),
        (0, 1, ShapeError, "no axis 1 for the results of shape"),
        (0, -2, ShapeError, "no axis -2"),
        (None, 0, ShapeError, "nothing to map over"),
        ((0, 0), 0, StructureError, "2 in_axes for 1 arguments"),
        (({"a": 0},), 0, StructureError, "in_axes is {'a': 0}"),
        ("x", 0, StructureError, "in_axes is 'x'"),
        (0, (0, 0), StructureError, "out_axes is"),
        (0, True, StructureError, "out_axes is True"),
    ],
)
def test_errors_name_the_line(axes, out, error, message):
    with pytest.raises(error, match=message) as caught:
        sg.vmap(np.sin, in_axes=axes, out_axes=out)(np.arange(3.0))
    assert f"{__file__}:" in str(caught.value)
