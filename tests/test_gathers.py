"""Gathers after what is expensive instead of before it: same values, less work, nothing else."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from support.codegen import agree
from symgrad.errors import OutOfRangeError
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import FLOATS, Expr, arg, array, bind, const
from symgrad.expr.walk import toposort
from symgrad.ops.einsum import einsum
from symgrad.ops.linear import broadcast, concat, gather, pad, permute, reshape, slice_, sum_
from symgrad.simplify.gathers import hoist_from_gathers

UNARY = ["sin", "exp", "sqrt", "log", "negative", "square", "arctan", "floor", "isnan"]
BINARY = ["add", "multiply", "divide", "maximum", "hypot", "less"]


class Builder:
    """Random functions of rows that several index arrays pick, and of what is no row."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = np.random.default_rng(seed)
        n, more = 3, 4
        shapes = [(n, 2), (2, n), (more, 2), (8,)]
        self.args = [arg(k, shape, "float64") for k, shape in enumerate(shapes)]
        self.args.append(arg(4, (2, 4), "int64"))
        rows, by_column, others, points, index = self.args
        fixed = array(rng.integers(-n, n, 8))
        small = array(rng.integers(-n, n, 4))  # too few points for n rows
        self.pool = [
            gather(rows, fixed, 0), gather(by_column, fixed, 1), gather(others, fixed, 0),
            gather(rows, index, 0), gather(by_column, index, 1), gather(rows, small, 0),
            points, rows,
        ]  # fmt: skip
        for _ in range(int(rng.integers(4, 30))):
            node = self.step()
            if node is not None and node.size <= 600 and node.dtype in FLOATS:
                self.pool.append(node)

    def pick(self) -> Expr:
        return self.pool[int(self.rng.integers(len(self.pool)))]

    def like(self, x: Expr) -> Expr:
        same = [p for p in self.pool if p.shape == x.shape]
        kind = self.rng.integers(4)
        if kind == 0:
            return const(float(self.rng.normal()), x.dtype, x.shape)
        if kind == 1:
            short = [(p, k) for p in self.pool if p.ndim == 1 for k in range(x.ndim)
                     if p.shape[0] == x.shape[k]]  # fmt: skip
            if short:
                p, k = short[int(self.rng.integers(len(short)))]
                return broadcast(p, x.shape, (k,))
        return same[int(self.rng.integers(len(same)))]

    def step(self) -> Expr | None:
        rng, x = self.rng, self.pick()
        kind = int(rng.integers(12))
        if kind <= 2:
            made = bind(str(rng.choice(UNARY)), x)
            return made if made.dtype in FLOATS else bind("select", made, x, self.like(x))
        if kind <= 4:
            made = bind(str(rng.choice(BINARY)), x, self.like(x))
            return made if made.dtype in FLOATS else bind("convert", made, attrs=("float64",))
        if not x.ndim:
            return None
        axis = int(rng.integers(x.ndim))
        if kind == 5:
            shape = (*x.shape[:axis], 2, *x.shape[axis:])
            return broadcast(x, shape, tuple(k + (k >= axis) for k in range(x.ndim)))
        if kind == 6:
            return permute(x, tuple(rng.permutation(x.ndim).tolist()))
        if kind == 7:
            fits = [(x.size,), (1, *x.shape), (*x.shape, 1)]
            split = (*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
            fits += [split] if x.shape[axis] % 2 == 0 else []
            return reshape(x, fits[int(rng.integers(len(fits)))])
        if kind == 8:
            sizes = [n if k != axis or n < 2 else n - 1 for k, n in enumerate(x.shape)]
            starts = tuple(n - m for n, m in zip(x.shape, sizes, strict=True))
            cut = slice_(x, starts, tuple(sizes), (1,) * x.ndim)
            return cut if rng.random() < 0.6 else pad(cut, x.shape, starts, (1,) * x.ndim)
        if kind == 9:
            return sum_(x, (axis,)) if rng.random() < 0.5 else bind("max", x, attrs=((axis,),))
        if kind == 10:
            y = self.like(x)
            labels = list(range(x.ndim))
            keep = [k for k in labels if rng.random() < 0.7]
            rng.shuffle(keep)
            return einsum([x, y], [labels, labels], keep)
        return concat([x, self.like(x)], axis)

    def values(self) -> dict[Expr, np.ndarray]:
        values = {a: self.rng.normal(size=a.shape) for a in self.args[:-1]}
        return {**values, self.args[-1]: self.rng.integers(-3, 3, (2, 4))}


def works_on_rows(outs) -> bool:
    """Whether a gather picks from something computed."""
    return any(n.name == "gather" and n.args[0].args for n in toposort(outs))


@pytest.mark.quick(1)
@pytest.mark.parametrize("first", range(0, 400, 50))
def test_random_functions_of_rows(first):
    """Evaluator against evaluator, and C against the graph as it was; many are changed."""
    changed = 0
    for seed in range(first, first + 50):
        b = Builder(seed)
        outs = b.pool[-3:]
        hoisted = hoist_from_gathers(outs)
        check(hoisted)
        assert [(o.shape, o.dtype) for o in hoisted] == [(o.shape, o.dtype) for o in outs]
        values = b.values()
        for got, expected in zip(evaluate(hoisted, values), evaluate(outs, values), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-300, err_msg=str(seed))
        if hoisted != outs:
            changed += 1
            if seed % 4 == 0:
                agree(b.args, hoisted, values, outs_reference=outs, rtol=1e-11, atol=1e-11)
    assert changed > 12


def compiled_like(f, *args):
    """A compiled function that agrees with NumPy; returns it."""
    compiled = sg.compile(f, *args)
    results, expected = compiled(*args), f(*args)
    if not isinstance(results, tuple):
        results, expected = (results,), (expected,)
    for r, e in zip(results, expected, strict=True):
        np.testing.assert_allclose(r, e, rtol=1e-13, atol=1e-14)
    return compiled


def lowered(compiled):
    return toposort(compiled.graph.lowered_outs())


def sizes_of(compiled, name):
    return {n.shape for n in lowered(compiled) if n.name == name}


RNG = np.random.default_rng(0)
ROWS, POINTS = RNG.normal(size=(10, 4)), RNG.normal(size=(1000, 4))
INDEX = RNG.integers(-10, 10, 1000)


def test_expensive_functions_are_computed_once_for_each_row():
    f = compiled_like(
        lambda x, y, i: np.sum(np.sin(x[i]) * y, axis=1) / np.sqrt(1 + np.sum(x[i] ** 2, axis=1)),
        ROWS, POINTS, INDEX,
    )  # fmt: skip
    assert sizes_of(f, "sin") == {(10, 4)} and sizes_of(f, "sqrt") == {(10,)}


def test_what_an_operation_needs_is_not_gathered():
    f = compiled_like(lambda x, y, i: np.exp(2 * x[i] + 1) * y, ROWS, POINTS, INDEX)
    (table,) = [n for n in lowered(f) if n.name == "gather"]
    assert table.args[0].name == "exp"


def test_one_table_holds_what_one_index_picks():
    f = compiled_like(
        lambda x, y, i: np.sin(x[i, :2]) * y[:, :2] + np.exp(x[i, 2:]) * y[:, 2:],
        ROWS, POINTS, INDEX,
    )  # fmt: skip
    (table,) = [n for n in lowered(f) if n.name == "gather"]
    assert table.shape == (1000, 4)


def test_cheap_functions_stay_at_the_points():
    f = compiled_like(lambda x, y, i: (x[i] - y) * x[i] + 2 * x[i], ROWS, POINTS, INDEX)
    assert not works_on_rows(f.graph.lowered_outs())
    outer = compiled_like(
        lambda x, y, i: x[i][:, :, None] * x[i][:, None, :] + y[:, None, :], ROWS, POINTS, INDEX
    )
    assert not works_on_rows(outer.graph.lowered_outs())


def test_contractions_of_rows():
    A, v = RNG.normal(size=(10, 4, 4)), RNG.normal(size=4)
    f = compiled_like(lambda A, v, y, i: A[i] @ v + y, A, v, POINTS, INDEX)
    (picked,) = [n for n in lowered(f) if n.name == "gather"]
    assert picked.shape == (1000, 4)


def test_more_rows_than_points_are_left_alone():
    for n in (501, 1000, 3000):
        f = compiled_like(
            lambda x, y, i: np.sin(x[i]) * y, RNG.normal(size=(n, 4)), POINTS,
            RNG.integers(-n, n, 1000),
        )  # fmt: skip
        assert sizes_of(f, "sin") == {(1000, 4)}
    half = compiled_like(
        lambda x, y, i: np.sin(x[i]) * y, RNG.normal(size=(500, 4)), POINTS,
        RNG.integers(-500, 500, 1000),
    )  # fmt: skip
    assert sizes_of(half, "sin") == {(500, 4)}


def test_tables_that_no_cache_holds_are_not_made():
    n = 200_000
    x = sg.f64[n, 2]
    f = sg.trace(lambda x, y, i: np.sin(x[i]) * y, x, sg.f64[2 * n, 2], sg.i64[2 * n]).simplify()
    assert {m.shape for m in toposort(f.lowered_outs()) if m.name == "sin"} == {(2 * n, 2)}


def test_different_indices_and_different_sources_are_kept_apart():
    """-1 is another row of an array of another length."""
    longer, other = RNG.normal(size=(20, 4)), RNG.integers(-10, 10, 1000)

    def f(x, z, y, i, j):
        return np.sin(x[i] + z[i]) * y, np.cos(x[i] - x[j]), np.exp(x[i]) * np.exp(x[j]) * y

    compiled = compiled_like(f, ROWS, longer, POINTS, INDEX, other)
    assert sizes_of(compiled, "sin") == sizes_of(compiled, "cos") == {(1000, 4)}
    assert sizes_of(compiled, "exp") == {(10, 4)}


def test_indices_with_two_axes_and_other_axes():
    index = RNG.integers(-10, 10, (20, 50))
    x, y = RNG.normal(size=(3, 10, 2)), RNG.normal(size=(3, 20, 50, 2))
    f = compiled_like(
        lambda x, y, i: np.sum(np.sin(x[:, i]), axis=0) * y + np.exp(x[:, i]), x, y, index
    )
    assert sizes_of(f, "exp") == sizes_of(f, "sin") == {(3, 10, 2)}


MOVED = {  # whether what is made of x[i], i[20, 50], still is of rows
    "an axis between": (lambda p: p[:, None], False),
    "an axis before": (lambda p: p[None], True),
    "an axis behind": (lambda p: p[:, :, None], True),
    "repeated between": (lambda p: np.broadcast_to(p[:, None], (20, 3, 50, 4)), False),
    "repeated before": (lambda p: np.broadcast_to(p, (3, 20, 50, 4)), True),
    "transposed": (lambda p: p.T, False),
    "turned": (lambda p: np.moveaxis(p, 2, 0), True),
    "split": (lambda p: np.moveaxis(p, 2, 1), False),
    "exchanged": (lambda p: np.swapaxes(p, 0, 1), False),
    "merged": (lambda p: p.reshape(1000, 4), False),
    "merged with a row": (lambda p: p.reshape(20, 200), False),
    "cut along the row": (lambda p: p.reshape(20, 50, 2, 2)[..., 1], True),
    "some points": (lambda p: p[:, 1:], False),
    "backwards": (lambda p: p[::-1], False),
    "part of a row": (lambda p: p[:, :, ::-2], True),
    "added up": (lambda p: np.sum(p, axis=2), True),
    "points added up": (lambda p: np.sum(p, axis=0), False),
    "padded": (lambda p: np.pad(p, ((0, 0), (0, 0), (1, 2))), True),
    "padded points": (lambda p: np.pad(p, ((0, 1), (0, 0), (0, 0))), False),
    "joined": (lambda p: np.concatenate([p, 2 * p], axis=2), True),
    "points joined": (lambda p: np.concatenate([p, 2 * p], axis=1), False),
    "contracted": (lambda p: np.einsum("ijk,ijk->ij", p, p), True),
    "contracted with itself": (lambda p: np.einsum("ijk,jik->ij", p[:, :20], p[:, :20]), False),
    "exchanged by a contraction": (lambda p: np.einsum("ijk,k->ji", p, np.arange(4.0)), False),
}


@pytest.mark.parametrize("how", MOVED)
def test_what_moves_rows(how):
    move, is_of_rows = MOVED[how]
    index = RNG.integers(-10, 10, (20, 50))
    graph = sg.trace(lambda x, i: np.exp(move(x[i])), ROWS, index)  # simplifying moves views too
    outs = hoist_from_gathers(graph.outs)
    check(outs)
    assert works_on_rows(outs) == is_of_rows
    (got,) = evaluate(outs, dict(zip(graph.args, (ROWS, index), strict=True)))
    np.testing.assert_allclose(got, np.exp(move(ROWS[index])), rtol=1e-13)


def test_rows_that_nobody_picks_may_be_anything():
    x = np.array([[1.0, 2.0], [-1.0, 0.0], [np.nan, np.inf], [3.0, 4.0]])
    index = RNG.choice([0, 3], 100)
    f = compiled_like(
        lambda x, y, i: np.log(x[i]) / np.sqrt(x[i]) * y, x, RNG.normal(size=(100, 2)), index
    )
    assert sizes_of(f, "log") == {(4, 2)}


def test_guards_hold_for_rows_that_are_picked():
    x = np.array([-2.0, -1.0, 0.0, 1.0])
    index, y = RNG.integers(0, 4, 100), RNG.normal(size=100)

    def loss(x):
        picked = x[index]
        return np.sum(np.where(picked > 0, np.log(np.where(picked > 0, picked, 1)), 0) * y)

    def unguarded(x):
        picked = x[index]
        return np.sum(np.where(picked > 0, np.log(picked), 0) * y)

    expected = np.array([0, 0, 0, np.sum(y[index == 3])])
    for f in (loss, unguarded):
        np.testing.assert_allclose(sg.grad(f)(x), expected, rtol=1e-13)


def test_an_index_outside_is_refused_as_before():
    f = sg.compile(lambda x, y, i: np.sin(x[i]) * y, ROWS, POINTS, INDEX)
    for bad in (10, -11):
        index = INDEX.copy()
        index[77] = bad
        with pytest.raises(OutOfRangeError):
            f(ROWS, POINTS, index)


def test_rows_made_of_sums_over_what_other_rows_give():
    """Two tables, one behind the other: sums by segment and their normalisation."""

    segment = RNG.integers(0, 10, 1000)
    y = RNG.uniform(1, 2, 1000)

    def normalised(x, y):
        weight = np.exp(x[segment]) * y
        total = np.sum(np.where(segment[None, :] == np.arange(10)[:, None], weight, 0), axis=1)
        return weight / np.sqrt(total[segment]) + np.log(total[segment])

    compiled = compiled_like(normalised, RNG.normal(size=10), y)
    assert sizes_of(compiled, "exp") == sizes_of(compiled, "sqrt") == {(10,)}
    assert sizes_of(compiled, "log") == {(10,)}
    assert sizes_of(compiled, "gather") == {(1000,), (1000, 2)}


def test_derivatives_are_taken_before():
    """And read as if nothing had been moved."""

    def loss(x, y):
        return np.sum(np.exp(x[INDEX]) * y)

    graph = sg.trace(sg.grad(loss), sg.f64[10, 4], sg.f64[1000, 4]).simplify()
    assert "x[" in str(graph)
    x = ROWS
    expected = np.zeros((10, 4))
    np.add.at(expected, INDEX, np.exp(x[INDEX]) * POINTS)
    np.testing.assert_allclose(sg.grad(loss)(x, POINTS), expected, rtol=1e-12)


def test_float32_and_integers():
    x, y = ROWS.astype(np.float32), POINTS.astype(np.float32)
    f = sg.compile(lambda x, y, i: np.exp(x[i]) / np.sqrt(2 + x[i]) * y, x, y, INDEX)
    with np.errstate(invalid="ignore"):
        expected = np.exp(x[INDEX]) / np.sqrt(2 + x[INDEX]) * y
    np.testing.assert_allclose(f(x, y, INDEX), expected, rtol=1e-5)
    assert sizes_of(f, "exp") == {(10, 4)}
    k = RNG.integers(-50, 50, 10)
    g = compiled_like(lambda k, i: (k[i] // 7) * 2 + i, k, INDEX)
    assert sizes_of(g, "floor_divide") == {(10,)}


def test_one_cheap_function_of_rows_is_stored_as_well():
    """Or it would be computed at every point after all, where the gather reads it."""
    f = compiled_like(
        lambda x, y, i: np.sqrt(np.sum(x[i] ** 2, axis=1)) * y[:, 0], ROWS, POINTS, INDEX
    )
    (loop,) = [part for part in f.c_source.split("for (")[1:] if "sqrt(" in part]
    assert "1000" not in loop.split(")")[0]
