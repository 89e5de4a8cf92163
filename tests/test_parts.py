"""Long functions, cut into parts: the same bits wherever the cuts fall.

What crosses a cut has to be stored where it is complete and loaded where it is needed, whatever
kind of statement writes it. Parts of one statement put a cut between any two.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import symgrad as sg
from support.codegen import run_c
from support.lane_functions import Points
from support.loop_programs import program
from support.random_graphs import Builder
from symgrad.compiled import Compiled
from symgrad.diff.modes import drop_stops
from symgrad.emit.c import emit
from symgrad.expr.evaluate import evaluate
from symgrad.expr.walk import expand_composites
from symgrad.generate import source_of
from symgrad.lower.pipeline import lower
from symgrad.lower.share import share
from symgrad.lower.tuning import HOST_TUNING
from symgrad.runtime.build import build
from symgrad.runtime.call import Native

SIZES = (1, 2, 5)


def sources(args, outs, threads=1):
    """C of one program: whole, then in parts of `SIZES`."""
    names = [f"x{k}" for k in range(len(args))], [f"y{k}" for k in range(len(outs))]
    found = []
    for size in (10**9, *SIZES):
        tuning = replace(HOST_TUNING, part_statements=size)
        program = lower(args, share(outs), *names, threads=threads, tuning=tuning)
        found.append(emit(program, "f", tuning=tuning))
    return found


def check(args, outs, values, threads=1) -> set[str]:
    """Assert that every way to cut gives the bits of the uncut function; returns its statements."""
    whole, *cut = sources(args, outs, threads)
    status, expected = run_c(whole, args, outs, values, threads=threads)
    assert status == 0
    for got, true in zip(expected, evaluate(outs, values), strict=True):
        scale = float(np.max(np.abs(true), initial=1.0))
        tolerance = (1e-9 if got.dtype != np.float32 else 1e-3) * scale
        np.testing.assert_allclose(got, true, rtol=0, atol=tolerance, err_msg=whole.c)
    for size, source in zip(SIZES, cut, strict=True):
        status, results = run_c(source, args, outs, values, threads=threads)
        assert status == 0
        for got, want in zip(results, expected, strict=True):
            np.testing.assert_array_equal(got, want, err_msg=f"parts of {size}\n{source.c}")
    return {word for word in STATEMENTS if word in cut[0].c} if "_part2(" in cut[0].c else set()


STATEMENTS = {
    "sg_add_lanes(", "sg_product(", "sg_panels(", "sg_merge(", "sg_turn_rows(", "SG_SIMD",
    "SG_PARALLEL", "SG_TEAM", " == 0) {", "isfinite(", "sg_lu_factor(", "sg_select(", "return 1;",
    "bool ", "int64_t ", "float ", "_end", "[32]",
}  # fmt: skip


def graph_of(f, *args):
    graph = sg.trace(f, *args).simplify()
    outs = expand_composites(drop_stops(graph.lowered_outs()))
    return graph, outs


def check_function(f, *args, threads=1):
    graph, outs = graph_of(f, *args)
    leaves = [a for a in args]
    values = {node: np.asarray(a) for node, a in zip(graph.args, leaves, strict=True)}
    return check(graph.args, outs, values, threads)


def residuals(x, t):
    """Least squares for a polynomial, one coefficient after another."""
    r, power = np.sign(t), np.ones_like(t)
    for j in range(len(x)):
        r = r - x[j] * power
        power = power * t
    return 0.5 * np.sum(r * r)


def mixed(x, A, k, b):
    """Sums over points, an index from data, products, a solution, extrema and flags, one by one."""
    total = np.sum(np.exp(A[:, 0] * x[0]))
    far = np.sum(A > x[1])
    best = np.argmax(A[:, 1] * total)
    rows = np.sum(A[k] * total, axis=0)
    S = A[: len(x)].T @ A[: len(x)] + np.eye(A.shape[1]) * total
    z = np.linalg.solve(S, rows * b[: A.shape[1]])
    top = np.max(A[:, 0] * z[0]) - np.min(A[:, 1] + best)
    flag = np.all(A[:, 2] < top)
    return (np.where(flag, total, top) + far * z[1], np.sum(rows) * top, best + far, z,
            np.linalg.norm(z) + np.sum(b * np.sin(top)), np.prod(np.tanh(rows) + 1.5))  # fmt: skip


def test_a_polynomial_keeps_every_sum():
    """96 sums over 1,000 points, cut where the statements say; the right values by NumPy."""
    x, t = np.full(96, 0.5), np.linspace(-1, 1, 1000)
    V = t[:, None] ** np.arange(len(x))
    np.testing.assert_allclose(
        sg.grad(residuals)(x, t), -V.T @ (np.sign(t) - V @ x), rtol=1e-10, atol=1e-9
    )
    check_function(sg.grad(residuals), x[:9], t[:650])


@pytest.mark.slow
def test_every_kind_of_statement_is_cut():
    rng = np.random.default_rng(5)
    A, k, b = rng.normal(size=(700, 4)), rng.integers(-700, 700, 60), rng.normal(size=300)
    seen = check_function(mixed, rng.normal(size=5), A, k, b)
    seen |= check_function(sg.grad(lambda x: mixed(x, A, k, b)[0]), rng.normal(size=5))

    def products(W, X, y):
        hidden = np.tanh(X @ W)
        return np.sum(hidden.T @ hidden) * np.sum(hidden[:, 0] * y) + np.max(hidden)

    W, X = rng.normal(size=(24, 20)) / 5, rng.normal(size=(900, 24))
    seen |= check_function(sg.value_and_grad(products), W, X, X[:, 0])
    seen |= check_function(
        sg.value_and_grad(lambda W: products(W, X, X[:, 0])), W.astype(np.float32)
    )

    def shared(w, t):
        p = np.exp(np.outer(t, w)) / (1 + np.exp(np.outer(t, w[::-1])))
        return np.sum(np.log1p(np.sum(p, axis=1)))

    t = np.linspace(-1, 1, 60_000)
    seen |= check_function(sg.grad(shared), np.array([0.1, 0.7]), t, threads=2)

    def streamed(a, b, c):
        h = np.exp(np.sin(a @ b))
        return np.sum(h, axis=0), np.sum(h, axis=1), h @ c, np.sum(c[0] * np.sum(b))

    shapes = (9000, 30), (30, 60), (60, 50)
    seen |= check_function(streamed, *(rng.normal(size=s) / 5 for s in shapes), threads=2)
    assert seen >= STATEMENTS, STATEMENTS - seen


def test_whole_numbers_cross_a_cut_exactly():
    """2^53 + 1 is no double."""
    big = 2**53 + 1

    def f(k):
        a, b = np.sum(k[:3]), np.sum(k[3:])
        return a - b, a + 1, b, (a > b) & (b > 0)

    check_function(f, np.array([big, 0, 2, 1, 3, big]))


@pytest.mark.quick(1)
@pytest.mark.parametrize("seed", range(4))
def test_random_graphs(seed):
    b = Builder(7000 + seed, "float32" if seed == 3 else "float64", 0.2)
    outs = expand_composites(drop_stops(b.outputs()))
    check(list(b.args), outs, b.values())


@pytest.mark.quick(1)
@pytest.mark.parametrize("seed", range(3))
def test_functions_of_points(seed):
    points = Points(40 + seed)
    names, labels = list(points.reals), list(points.labels)

    def f(*arrays):
        return points.loss(
            dict(zip(names, arrays, strict=False)), dict(zip(labels, arrays[-2:], strict=True))
        )

    arrays = [np.asarray(a) for a in (*points.reals.values(), *points.labels.values())]
    check_function(f, *arrays)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.quick(1)
def test_loops_of_plain_python(seed):
    p = program(900 + seed)
    check_function(p.function(np), *p.arguments)


def test_emitting_leaves_the_program_as_it_was():
    tuning = replace(HOST_TUNING, part_statements=3)
    graph, outs = graph_of(sg.grad(residuals), np.full(60, 0.5), np.linspace(-1, 1, 33))
    program = lower(graph.args, outs, ["x", "t"], ["y"], tuning=tuning)
    first = emit(program, "f", tuning=tuning)
    assert "f_part2(" in first.c and emit(program, "f", tuning=tuning) == first


def straight(n):
    """A function without source, so that nothing of it is a loop: n steps of all kinds."""
    names: dict = {"np": np, "steps": np.random.default_rng(5).integers(0, 1000, (n, 3))}
    exec(
        """
def f(x):
    v = [x[k] for k in range(12)]
    for op, i, j in steps:
        a, b = v[-1 - i % len(v[-40:])], v[-1 - j % len(v[-40:])]
        c = [a + b, a - b, a * b, np.sin(a), a * 0.5 + b, a / (1.5 + b * b),
             np.where(a < b, a, np.exp(-b * b))][op % 7]
        v.append(c * 0.9)
    return sum(v[-20:])
""",
        names,
    )
    return names["f"]


@pytest.mark.slow
def test_the_same_bits_at_every_level_and_part_size():
    """Nor do the passes that builds of long code do without (-O1) change a bit."""
    graph = sg.trace(sg.grad(straight(150)), sg.f64[12]).simplify()
    x = np.random.default_rng(6).normal(size=12)
    np.testing.assert_allclose(Compiled(graph)(x), graph.evaluate(x), rtol=1e-11, atol=1e-13)
    found = set()
    for size in (10**9, 60, 7):
        source = source_of(graph, tuning=replace(HOST_TUNING, part_statements=size, unit_parts=8))
        for level in (0, 1, 2, 3) if size == 7 else (1, 3):
            library = build(
                source.c, (source.entry, source.name), optimize=level, units=source.units
            )
            types = graph.input_types, graph.output_types
            (result,) = Native(source, library, *types)([x])
            found.add(result.tobytes())
        assert (source.units > 1) == (size < 10**9)
    assert len(found) == 1


@pytest.mark.parametrize(
    "f, args",
    [
        (lambda a, b: (1.2 + np.concatenate([a, a])) ** np.tanh(b), [(16, 16), (16,)]),
        (lambda a: sg.grad(lambda a: np.min(a, axis=-2)[0] + np.sum(np.sin(a)))(a), [(32, 2)]),
        (lambda a, w: np.sum(np.exp(a * np.cumsum(w)) * np.cumsum(w)[0], axis=0), [(40, 3), (3,)]),
    ],
    ids=["power", "minimum", "running"],
)
def test_elements_that_stay_the_same_in_a_loop_cross_cuts(f, args):
    """They are loaded before the loop: in parts of their own from an array that is local."""
    rng = np.random.default_rng(0)
    check_function(f, *[rng.uniform(0.2, 0.9, shape) for shape in args])


def test_a_value_named_in_a_branch_and_behind_it():
    """A side of a branch computes it of a variable that an earlier part has made; what stands
    behind the branch has a name for it of its own, which the side cannot take."""

    def f(x, a):
        m = np.sum(np.exp(a))
        s = sg.cond(
            x[0] > 0, lambda m: np.exp(m) * np.sin(np.exp(m)) + x[1], lambda m: np.sin(m) * m, m
        )
        for k in range(3):
            s = s * np.cos(s) + x[k]
        e = np.exp(m)
        return s * e + np.cos(e) / (1 + e * x[2]), e * s

    rng = np.random.default_rng(3)
    for x0 in (0.4, -0.4):
        check_function(f, np.array([x0, 0.3, -0.2]), rng.normal(size=5) / 9)
        check_function(sg.grad(lambda *a: f(*a)[0]), np.array([x0, 0.3, -0.2]), rng.normal(size=5))
