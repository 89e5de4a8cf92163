"""Random graphs: evaluator, simplified graph and compiled C agree, derivatives included."""

from __future__ import annotations

import numpy as np
import pytest
from codegen import c_of, run_c
from random_graphs import Builder

from symgrad.diff.modes import drop_stops, jvp, vjp, zeros_like
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import arg, const
from symgrad.expr.walk import expand_composites
from symgrad.lower import lanes, straight
from symgrad.simplify import simplify


def close(got, expected, scale, what):
    for k, (g, e) in enumerate(zip(got, expected, strict=True)):
        assert g.shape == e.shape and g.dtype == e.dtype
        np.testing.assert_allclose(g, e, rtol=scale, atol=scale, err_msg=f"{what}, output {k}")


def compare(seed: int, dtype: str, derivatives: bool, products: float = 0.1) -> str:
    """Raises unless all three agree; returns the C."""
    b = Builder(seed, dtype, products)
    outs, args, values = b.outputs(), list(b.args), b.values()
    if derivatives:
        cts = [const(0.7, o.dtype, o.shape) for o in outs]
        pulled = vjp(outs, args, cts)
        gradients = [zeros_like(a) if p is None else p for a, p in zip(args, pulled, strict=True)]
        tangents = [arg(10 + k, a.shape, dtype) for k, a in enumerate(args)]
        values.update({t: b.rng.uniform(-1, 1, t.shape).astype(dtype) for t in tangents})
        pushed = [p for p in jvp(gradients, args, tangents) if p is not None]
        outs, args = [*gradients, *pushed], args + tangents
    check(outs)
    expected = evaluate(outs, values)
    finite = [e for e in expected if e.size and np.isfinite(e).all()]
    size = max([1.0, *(float(np.max(np.abs(e))) for e in finite)])
    scale = (1e-10 if dtype == "float64" else 2e-3) * size
    simple = simplify(outs).outs
    check(simple)
    close(evaluate(simple, values), expected, scale, f"seed {seed}: simplified")
    lowered = simplify(
        expand_composites(drop_stops(simple)), disable=frozenset({"stable", "linalg"})
    ).outs
    source = c_of(args, lowered)
    status, got = run_c(source, args, lowered, values)
    assert status == 0
    close(got, expected, scale, f"seed {seed}: C\n{source.c}")
    return source.c


@pytest.mark.parametrize("block", range(10))
def test_values(block):
    for seed in range(10 * block, 10 * block + 10):
        compare(seed, "float64", False)


@pytest.mark.parametrize("block", range(10))
def test_derivatives(block):
    for seed in range(1000 + 10 * block, 1000 + 10 * block + 10):
        compare(seed, "float64", True)


@pytest.mark.parametrize("block", range(4))
def test_float32(block):
    for seed in range(2000 + 10 * block, 2000 + 10 * block + 10):
        compare(seed, "float32", False)


@pytest.fixture(params=["straight", "loops"])
def short_blocks(monkeypatch, request):
    """Lanes for loops that are short enough for random graphs, with a shorter block at the end;
    inner loops written out and not."""
    if request.param == "loops":
        monkeypatch.setattr(straight, "_MOST_OPERATIONS", 0)
    monkeypatch.setattr(lanes, "_MIN_EXTENT", 2)
    monkeypatch.setattr(lanes, "_SIZES", (3, 2))
    monkeypatch.setattr(lanes, "_FLUSH_BLOCKS", 1)
    monkeypatch.setattr(lanes, "_COMPENSATE", 0)


@pytest.mark.parametrize("block", range(6))
def test_lanes(block, short_blocks):
    for seed in range(3000 + 10 * block, 3000 + 10 * block + 10):
        compare(seed, "float64" if block % 3 else "float32", block % 2 == 1)
