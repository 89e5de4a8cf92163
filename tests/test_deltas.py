"""Derivatives of derivatives, whose deltas rules move about: values as without any rule."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from support.delta_programs import Program
from support.random_graphs import Builder
from support.rule_graphs import random_contractions, random_graph
from symgrad.errors import DtypeError, ShapeError
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import _intern
from symgrad.expr.op import OPS
from symgrad.expr.validate import check_rewrite
from symgrad.simplify import simplify


@pytest.mark.quick(1)
@pytest.mark.parametrize("block", range(8))
def test_random_derivatives(block):
    for seed in range(100 * block, 100 * block + 100):
        program = Program(seed)
        done = simplify(program.outs)
        check(done.outs)
        values = program.values()
        pairs = zip(evaluate(program.outs, values), evaluate(done.outs, values), strict=True)
        for old, new in pairs:
            if np.isfinite(old).all():
                size = np.max(np.abs(old), initial=1)
                np.testing.assert_allclose(new, old, rtol=1e-8, atol=1e-8 * size, err_msg=str(seed))


def outer_products(x):
    """Σ sin of the Jacobian of x xᵀ, whose entries are δ_ik x_j + x_i δ_jk."""
    return np.sum(np.sin(sg.jacobian(lambda v: np.outer(v, v))(x)))


def second_derivative(x):
    """Of Σ sin 2xᵢ + 2 (n - 1) Σ sin xᵢ, which that is."""
    return np.diag(-4 * np.sin(2 * x) - 2 * (len(x) - 1) * np.sin(x))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_modes_of_second_derivatives_together(n):
    rng = np.random.default_rng(n)
    x, v, u = rng.normal(size=n), rng.normal(size=n), rng.normal()

    def both(x, v, u):
        one = sg.grad(lambda z: np.sum(u * sg.jvp(outer_products, (z,), (v,))[1]))(x)
        two = sg.jvp(lambda z: sg.vjp(outer_products, z)[1](u)[0], (x,), (v,))[1]
        return one, two, sg.hessian(outer_products)(x)

    one, two, hessian = sg.jit(both)(x, v, u)
    exact = second_derivative(x)
    np.testing.assert_allclose(hessian, exact, rtol=1e-12, atol=1e-12)
    for got in (one, two):
        np.testing.assert_allclose(got, u * exact @ v, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_normal_forms_of_new_nodes_keep_values():
    """`bind` asks the row for a simpler node: contracted deltas, merged views, order of factors."""
    asked: dict[str, int] = {}

    def watched(row):
        normalize = row.normalize

        def checked(args, attrs):
            simpler = normalize(args, attrs)
            if simpler is not None:
                try:
                    plain = _intern(row, args, attrs)
                except (DtypeError, ShapeError):  # Σ over no axis of booleans, …
                    return simpler
                asked[row.name] = asked.get(row.name, 0) + 1
                check_rewrite(f"normal form of {row.name}", [plain], [simpler])
            return simpler

        return checked

    rows = [row for row in OPS.values() if row.normalize is not None]
    kept = [row.normalize for row in rows]
    try:
        for row in rows:
            object.__setattr__(row, "normalize", watched(row))  # rows are frozen
        for seed in range(40):
            simplify(Program(5000 + seed).outs)
            simplify(random_contractions(1000 + seed))
            simplify(random_graph(1000 + seed))
            simplify(Builder(1000 + seed).outputs())
    finally:
        for row, normalize in zip(rows, kept, strict=True):
            object.__setattr__(row, "normalize", normalize)
    assert len(asked) >= 10 and min(asked["einsum"], asked["permute"], asked["slice"]) > 20, asked
