"""Loops over data points in blocks of lanes: compiled C against the NumPy evaluator and plain NumPy.

Run as a program, ``python tests/test_lanes.py FIRST LAST``, it checks a larger range of random functions.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from support import queries
from support.agreement import close
from support.codegen import FUSES, tuned
from support.lane_functions import Points
from support.sanitized import needs_sanitizers, run_sanitized
from support.tunings import LOOPS
from support.vector_loops import mixed_vectors, uncertain_vectors, undecided_calls
from symgrad.errors import SymgradWarning
from symgrad.generate import source_of
from symgrad.lower.cpu import Fetch, Powers, Rows

MARK = "SG_SIMD"  # stands before every loop over lanes


def in_lanes(f, *args, tolerance=1e-11, tuning=None):
    """Compile, compare with the evaluator; whether there are loops over lanes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SymgradWarning)
        compiled = tuned(f, *args, tuning=tuning)
    close(compiled(*args), compiled.graph.evaluate(*args), tolerance)
    return queries.in_lanes(queries.program(compiled))


def check_random(seed, tuning=None):
    dtype = np.float32 if seed % 4 == 0 else np.float64
    points = Points(seed, dtype)
    tolerance = 2e-3 if dtype is np.float32 else 1e-9
    args = points.reals, points.labels
    options = dict(tolerance=tolerance, tuning=tuning)
    count = in_lanes(points, *args, **options)
    return count + in_lanes(sg.value_and_grad(points.loss), *args, **options)


@pytest.mark.quick(1)
@pytest.mark.parametrize("seed", range(20_000, 20_012))
def test_random_functions(seed):
    check_random(seed)


@pytest.mark.quick(1)
@pytest.mark.parametrize("seed", range(20_012, 20_018))
def test_random_functions_with_inner_loops(seed):
    check_random(seed, LOOPS)


def test_random_functions_agree_with_numpy():
    for seed in range(20_000, 20_006):
        points = Points(seed, np.float64)
        with np.errstate(all="ignore"):
            close(sg.trace(points, points.reals, points.labels).evaluate(points.reals, points.labels),
                  points(points.reals, points.labels), 1e-9, f"seed {seed}")  # fmt: skip


# ---- as users write them -----------------------------------------------------------------------


def mixture(mu, x):
    distance = np.sum((x[:, None, :] - mu[None]) ** 2, axis=2)
    return -np.sum(np.log(np.sum(np.exp(-0.5 * distance), axis=1) + 1e-6))


def softmax_loss(w, x, label):
    z = x @ w
    return np.mean(sg.logsumexp(z, axis=1) - z[np.arange(len(x)), label])


def k_means(mu, x):
    near = np.argmin(np.sum((x[:, None, :] - mu[None]) ** 2, axis=2), axis=1)
    return np.sum(np.sum((x - mu[near]) ** 2, axis=1))


def sample(n, k, dtype=np.float64):
    rng = np.random.default_rng(n + k)
    real = {
        "x": (n, 3), "w": (3, k), "mu": (k, 3), "q": (n, k), "y": (n,),
    }  # fmt: skip
    made = {name: rng.normal(size=shape).astype(dtype) for name, shape in real.items()}
    made["label"] = rng.integers(0, max(k, 1), n)
    return made


NASTY = {"a NaN": np.nan, "inf": np.inf, "-inf": -np.inf}
SMALL = {
    "mixture": (sg.value_and_grad(mixture), "mu x"),
    "mixture by data": (sg.grad(mixture, argnums=1), "mu x"),
    "softmax": (sg.value_and_grad(softmax_loss), "w x label"),
    "k-means": (sg.value_and_grad(k_means), "mu x"),
    "scatter by label": (sg.grad(lambda mu, x, label: np.sum(np.exp(np.sum(x * mu[label], axis=1)))), "mu x label"),
    "scatter by argmax": (sg.grad(lambda mu, x, q: np.sum(np.exp(np.sum(x * mu[np.argmax(q, axis=1)], axis=1)))),
                          "mu x q"),
    "best of both axes": (lambda q, y: (np.argmax(q, axis=0), np.argmax(q, axis=1), np.argmin(q * y[:, None], axis=1),
                                        np.max(q * y[:, None], axis=1), y[np.argmin(q, axis=0)]), "q y"),
    "results and a transpose": (lambda q, y: (np.sum(np.exp(q), axis=1), np.exp(q).T, np.cumsum(np.exp(q), axis=1),
                                              np.sum(np.exp(q), axis=0), np.sum(np.exp(q) * y[:, None])), "q y"),
    "shared conditions": (lambda q, y: (np.where(q > y[:, None], np.exp(q), np.sin(q)), q > y[:, None], y > 0,
                                        np.sum(np.where(q > y[:, None], q, 0), axis=1),
                                        np.where(y > 0, np.sum(np.where(q > y[:, None], q, y[:, None]), axis=1), y)),
                          "q y"),
    "Jacobians of points": (lambda x, w: sg.vmap(sg.jacobian(lambda r: np.tanh(r @ w)))(x), "x w"),
    "Hessians of points": (lambda x: sg.vmap(sg.hessian(lambda r: np.exp(np.sum(r * r) * 0.1)))(x), "x"),
    "integers": (lambda label, q: (np.sum(label), np.sum(label[:, None] == np.arange(q.shape[1]), axis=0),
                                   np.cumsum(label), label // (label - 1), label % (label - 2),
                                   np.sum(np.exp(q) * (label % 3)[:, None], axis=0)), "label q"),
    "nested axes": (lambda q, x: (np.einsum("nk,nd,ne->kde", np.exp(q), x, x),
                                  np.einsum("nk,nd->ndk", np.exp(q), x)), "q x"),
    "used as it is and transposed": (lambda q: (q.T @ np.exp(q), np.exp(q) @ np.sum(q, axis=0), np.exp(q) @ q.T), "q"),
    "neighbours": (lambda q, y: (np.roll(np.exp(q), 1, axis=1), np.roll(y, 3), np.exp(y)[1:] - np.exp(y)[:-1],
                                 np.sum(np.exp(q)[::-1] * q, axis=0)), "q y"),
    "gathered rows": (lambda mu, x, label, y: sg.vmap(sg.jacobian(
        lambda m, r, a: np.stack([np.sin(a) * m @ r + np.cos(a), np.cos(r[0]) / (2 + m[1] ** 2), np.sin(np.sin(a))]),
        (0, 1, 2)))(mu[label], x[::-1], y), "mu x label y"),
    "sines": (lambda y, label: (np.sin(y) * np.cos(y) + np.cos(y[label]), np.sin(y * y[0]), np.sin(y[1]) * y), "y label"),
    "products": (sg.value_and_grad(lambda q: np.sum(np.prod(np.tanh(q), axis=1))), "q"),
    "sums along rows": (sg.value_and_grad(lambda q: np.sum(np.exp(np.cumsum(q, axis=1) * 0.1) ** 2)), "q"),
    "sums along points": (sg.value_and_grad(lambda q: np.sum(np.sin(np.cumsum(np.exp(-q * q), axis=0)))), "q"),
    "product over points": (lambda q: (np.prod(1 + np.tanh(q) ** 2, axis=0), np.sum(np.exp(q), axis=1)), "q"),
}  # fmt: skip


@pytest.mark.sample(10)
@pytest.mark.quick(1)
@pytest.mark.parametrize("name", SMALL)
def test_functions_of_points_with_inner_loops(name):
    test_functions_of_points(name, LOOPS)


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", SMALL)
def test_functions_of_points(name, tuning=None):
    f, names = SMALL[name]
    for n, k, dtype in ((67, 1, np.float64), (131, 3, np.float64), (37, 2, np.float32)):
        arguments = sample(n, k, dtype)
        args, tolerance = (
            (arguments[a] for a in names.split()),
            1e-11 if dtype is np.float64 else 3e-4,
        )
        in_lanes(f, *args, tolerance=tolerance, tuning=tuning)


def by_camera(cameras, points, camera, point):
    """Directions of points as cameras see them, and how they change with both."""
    each = sg.vmap(
        sg.jacobian(
            lambda c, p: np.cos(c[3]) * (p - c[:3]) / np.sqrt(np.sum((p - c[:3]) ** 2)), (0, 1)
        )
    )
    return each(cameras[camera], points[point])


def cameras_and_points(n, m=5):
    rng = np.random.default_rng(n)
    cameras, points = rng.normal(size=(m, 4)), 9 + rng.normal(size=(7, 3))
    return cameras, points, rng.integers(-m, m, n), rng.integers(-7, 7, n, dtype=np.int32)


@pytest.mark.quick(1)
@pytest.mark.parametrize("n", [32, 33, 47, 48, 3000])
def test_written_out(n):
    """Closed form: d (v / |v|) / dv = (1 - u u^T) / |v|."""
    # With few cameras, what depends on them alone would be computed before.
    args = cameras, points, camera, point = cameras_and_points(n, n)
    compiled = sg.compile(by_camera, *args)
    text = compiled.c_source
    assert "sg_turns(" in text
    fetched = queries.has(queries.program(compiled), Fetch)
    assert fetched == (n == 3000)
    assert ("_next" in text) == (n % 16 > 0)  # the last block overlaps the one before
    v = points[point] - cameras[camera][:, :3]
    length = np.linalg.norm(v, axis=1)[:, None]
    u, angle = v / length, cameras[camera][:, 3, None]
    by_v = (
        np.cos(angle)[:, :, None] * (np.eye(3) - u[:, :, None] * u[:, None, :]) / length[:, :, None]
    )
    close(
        compiled(*args),
        (np.concatenate([-by_v, (-np.sin(angle) * u)[:, :, None]], axis=2), by_v),
        1e-13,
    )


def powers(x, y):
    """Of sines and of powers, in angles, of several bases and exponents, some whole or too large."""
    z = x**0.7
    return (
        np.sin(z) + (np.cos(y) + 1.5) ** -1.3,
        z**0.4 + y**0.7 + (x * y) ** 0.7,
        x**-2.5 * y**3 + x**80.5 * 1e-30,
    )


@pytest.mark.parametrize("n", [1024, 1043])
def test_powers_in_steps(n):
    rng = np.random.default_rng(n)
    x, y = rng.uniform(0.1, 2, size=(2, n))
    compiled = sg.compile(powers, x, y)
    in_steps = queries.count(queries.program(compiled), Powers)
    assert in_steps == 2  # a base is no sine and no power
    close(compiled(x, y), powers(x, y), 1e-13)
    close(sg.compile(powers, x, y, threads=2)(x, y), compiled(x, y), 0)
    few = sg.compile(powers, x[:1000], y[:1000])
    assert not queries.has(queries.program(few), Powers)


@needs_sanitizers
@pytest.mark.slow
@pytest.mark.parametrize("option", ["", *["-mfma -DSG_VECTORIZE"] * FUSES])
def test_powers_in_steps_under_sanitizers(option, tmp_path):
    """By the library, and by code of our own where the processor has fused multiply-add."""
    x, y = np.random.default_rng(1).uniform(0.1, 2, size=(2, 1043))
    source, like = sg.compile(powers, x, y).source, [np.empty_like(x) for _ in range(3)]
    (got,) = run_sanitized([source], [[x, y]], [like], tmp_path, option)
    close(tuple(got), powers(x, y), 1e-13)


def test_what_finds_undecided_calls_finds_them():
    """tests/support/vector_loops.py, which looks at all C that any test emits."""
    x = np.ones((131, 31))
    c = sg.compile(lambda x: (np.sum(np.sin(x @ x.T)), np.exp(x)), x).c_source
    assert "SG_SCALAR" in c and not undecided_calls(c)
    for mark in ("SG_SCALAR", "SG_SIMD"):
        assert undecided_calls(re.sub(rf"\n *{mark}\n", "\n", c))
    assert not undecided_calls(re.sub(r"(?m)^extern .*simd.*\n", "", c))


@pytest.mark.parametrize("bounds, line, certain", [
    ("i = 0; i < 24", "a[i + 2] = exp(b[i] + 1.0)", True),
    ("i = t0; i < t0 + 8", "a[k * 8 + i] = exp(b[i]) * c[i]", True),
    ("i = 8; i < 12", "a[i] = exp(b[i])", True),
    ("i = 0; i < 7", "a[i] = exp(b[i])", False),
    ("i = 0; i < n", "a[i] = exp(b[i])", False),
    ("i = t0; i < t0 + 12", "a[i] = exp(b[i])", False),
    ("i = 0; i < 24", "a[i] = exp(b[i * 64 + k])", False),
    ("i = 0; i < 24", "a[(i + 1) * 4] = exp(b[i])", False),
    ("i = 0; i < 7", "a[i] = b[i * 64] + sg_select(b[i], c, d)", True),
    ("i = 0; i < 24", "a[i] = exp(b[i] * b[k])", True),
    ("i = 0; i < 24", "a[i] = exp(b[i] * s3[k])", False),
    ("i = 0; i < 24", "a[i] = exp(s3[i] * s3[i + 1])", True),
])  # fmt: skip
def test_what_finds_uncertain_vectors_finds_them(bounds, line, certain):
    c = (
        'extern double exp(double) __attribute__((simd("notinbranch")));\n'
        "double *restrict const s3 = work + 24;\n"
        f"SG_SIMD\n    for (ptrdiff_t {bounds}; ++i) {{\n        {line};\n    }}\n"
    )
    assert bool(uncertain_vectors(c)) is not certain


def powers_and_masks(x, y):
    """Functions of float64 beside a bool of each point, which several loops over lanes read."""
    v = x * y[:, None]
    w = (1.2 + v**2) ** np.tanh(v)
    return np.log(1 + np.sum(np.log(1.2 + y**2) ** 2)) + np.mean(np.cos(w) * w)


def test_functions_beside_shorter_elements_are_vectors_whatever_stands_around():
    """gcc makes vectors of 32 lanes of a loop that stores a bool, and numbers of the other 8."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-1, 1, (1000, 2)), rng.uniform(-1, 1, 1000)
    gradient = sg.grad(powers_and_masks, argnums=(0, 1))
    alone = sg.compile(gradient, x, y)
    assert not mixed_vectors(alone.c_source)
    for threads in (2, 3):
        shared = sg.compile(gradient, x, y, threads=threads)
        for one, other in zip(alone(x, y), shared(x, y), strict=True):
            np.testing.assert_array_equal(one, other)
    names = "double *restrict a, bool *restrict b"
    loop = "SG_SIMD\n    for (ptrdiff_t l0 = 0; l0 < 40; ++l0) {\n        a[l0] = log(a[l0]);%s\n    }\n"
    head = (
        'extern double log(double) __attribute__((simd("notinbranch")));\nvoid f(%s)\n{\n    %s}\n'
    )
    assert mixed_vectors(head % (names, loop % "\n        b[l0] = a[l0] > 0;"))
    assert not mixed_vectors(head % (names, loop % ""))


def test_functions_of_an_element_of_the_workspace_are_vectors_whatever_stands_around():
    """gcc would load it again at the end of each round of the loop with cos, and make no vectors.

    Found by tests/fuzz: seed 796031213480. The check of all C that tests emit looks for such loads.
    """

    def f(x):
        v = np.tanh(np.sum(x, axis=1) / 17.0)
        return np.sum(np.sin(np.maximum(v[None], v[np.argmax(v)])))

    x = np.random.default_rng(1).choice([0.0, 1.0, 0.5, -0.5, 2.0], (257, 31))
    alone, shared = (sg.compile(sg.value_and_grad(f), x, threads=n) for n in (1, 2))
    for one, other in zip(alone(x), shared(x), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not uncertain_vectors(alone.c_source)


def moved_about(width, dtype="float64"):
    """Rows of neighbours and of gathered points, also with gaps, and rows put together of them."""

    def f(x, y, z, index):
        near, far = x * np.sin(y[:, :1]), x[index, 1:] + z[index, ::2] * y[:, :1] ** 2
        return near[:, ::-1], np.concatenate([far, y, near], axis=1), far[:, 1:]

    rng = np.random.default_rng(width)
    x, y, z = (rng.normal(size=(67, n)).astype(dtype) for n in (width, 2, 2 * width - 3))
    return f, (x, y, z, rng.integers(-67, 67, 67))


@pytest.mark.quick(3)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("width", range(2, 12))
def test_rows_are_copied_in_tiles(width, dtype):
    f, args = moved_about(width, dtype)
    compiled = sg.compile(f, *args)
    program, expected = queries.program(compiled), f(*args)
    close(compiled(*args), expected, 1e-15 if dtype == "float64" else 1e-6)
    # x by rows, x gathered without its first element; three results of w, 2 w + 1, w - 2 elements
    assert queries.count(program, Rows, write=False) == (width >= 4) + (width >= 5)
    rows = (width, 2 * width + 1, width - 2)
    assert queries.count(program, Rows, write=True) == sum(n >= 4 for n in rows)
    assert compiled.cost().passes["x"] == 1


def summed_up(width, dtype="float64"):
    """Rows of points whose inner loops stay loops, the last block not full; one input has two axes."""

    def f(w, x, z):
        return np.sum(np.exp(x @ w), axis=0), np.einsum("nij,n,ni->j", z, np.cos(x @ w), x)

    rng = np.random.default_rng(width)
    shapes = (width, (131, width), (131, width, 3))
    return f, tuple(rng.normal(size=s).astype(dtype) for s in shapes)


@pytest.mark.quick(3)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("width", range(2, 12))
def test_rows_are_turned_in_tiles(width, dtype):
    f, args = summed_up(width, dtype)
    compiled = sg.compile(f, *args)
    close(compiled(*args), f(*args), 1e-13 if dtype == "float64" else 1e-4)
    assert queries.count(queries.program(compiled), Rows) == (width >= 4) + 1  # x and z
    assert compiled.cost().passes == {"w": 1, "x": 1, "z": 1}


@pytest.mark.slow
@needs_sanitizers
def test_rows_in_tiles_under_sanitizers(tmp_path):
    """With the compiler's shuffles and without: no element beside the rows is touched."""
    sources, inputs, outputs, expected, tolerances = [], [], [], [], []
    makers = ((moved_about, 1e-15), (summed_up, 1e-13))
    for width, (make, tolerance) in itertools.product((5, 10), makers):
        f, args = make(width)
        for kind in ("with", "without"):
            graph = sg.trace(f, *args).simplify()
            source = source_of(dataclasses.replace(graph, name=f"{kind}_{width}_{make.__name__}"))
            assert "#define SG_SHUFFLES" in source.c
            if kind == "without":
                source = dataclasses.replace(source, c=source.c.replace("#define SG_SHUFFLES", ""))
            sources.append(source)
            inputs.append(list(args))
            expected.append(f(*args))
            outputs.append([np.empty(e.shape) for e in expected[-1]])
            tolerances.append(tolerance)
    results = run_sanitized(sources, inputs, outputs, tmp_path)
    for got, e, tolerance in zip(results, expected, tolerances, strict=True):
        close(tuple(got), e, tolerance)


@pytest.mark.slow
def test_a_nest_of_single_elements_is_one_loop():
    for shape in ((67, 3), (40, 2, 5), (33, 1, 2), (64, 0)):
        q = np.random.default_rng(5).normal(size=shape)
        for f in (
            lambda q: (np.exp(q), q * 2 - q),
            lambda q: np.sin(q) * q,
            lambda q: q + np.cos(3 * q) / (1 + q * q),
        ):
            compiled = sg.compile(f, q)
            close(compiled(q), f(q), 1e-15)
            assert not q.size or queries.depth(queries.program(compiled)) == 1
        for f in (
            lambda q: q + np.arange(q.shape[-1]),
            lambda q: np.exp(q) * q[..., ::-1],
            lambda q: q + q[:1],
        ):
            close(sg.compile(f, q)(q), f(q), 1e-15)


@pytest.mark.parametrize("place", [0, 30, 66])
def test_indices_are_checked_before_anything_is_read(place):
    args = cameras_and_points(67)
    compiled = sg.compile(by_camera, *args)
    for which, wrong in ((2, 5), (2, -6), (3, 7), (3, 2**31 - 1), (2, -(2**62))):
        bad = [a.copy() for a in args]
        bad[which][place] = wrong
        with pytest.raises(sg.errors.OutOfRangeError):
            compiled(*bad)


def test_an_index_that_is_read_at_an_index():
    """The inner index is checked for all points before the outer one is read anywhere."""
    rng = np.random.default_rng(3)
    table, y, inner = rng.integers(0, 9, 20), rng.normal(size=9), rng.integers(0, 20, 67)
    f = lambda y, table, inner: (np.sin(y[table[inner]]), np.cos(y[table[inner[::-1]]]))  # noqa: E731
    compiled = sg.compile(f, y, table, inner)
    close(compiled(y, table, inner), f(y, table, inner), 1e-15)
    for k in (0, 66):
        wrong = inner.copy()
        wrong[k] = 2**40
        with pytest.raises(sg.errors.OutOfRangeError):
            compiled(y, table, wrong)
    table[inner[5]] = 9
    with pytest.raises(sg.errors.OutOfRangeError):
        compiled(y, table, inner)


def test_zero_inner_axes():
    for name in ("results and a transpose", "shared conditions", "sums along rows", "products"):
        f, names = SMALL[name]
        arguments = sample(67, 0)
        in_lanes(f, *(arguments[a] for a in names.split()))


@pytest.mark.slow
def test_hessians():
    arguments = sample(67, 2)
    assert in_lanes(sg.hessian(softmax_loss), *(arguments[a] for a in ("w", "x", "label")))
    assert in_lanes(sg.hessian(mixture), arguments["mu"], arguments["x"])


@pytest.mark.slow
def test_most_of_them_are_in_lanes():
    """Otherwise these tests would test something else."""
    for name in ("mixture", "softmax", "k-means", "shared conditions", "Jacobians of points"):
        f, names = SMALL[name]
        arguments = sample(67, 3)
        compiled = sg.compile(f, *(arguments[a] for a in names.split()))
        assert queries.in_lanes(queries.program(compiled)), name


@pytest.mark.parametrize("value", NASTY.values(), ids=NASTY)
def test_nasty_values(value):
    def f(q, y):
        return (np.max(q, axis=1), np.argmax(q, axis=1), np.argmin(q, axis=1), np.sum(np.where(q > 0, q, 0), axis=1),
                np.sum(np.where(np.isfinite(q), np.exp(np.where(np.isfinite(q), q, 0)), 0), axis=0),
                np.maximum(q, y[:, None]), np.sum(np.exp(-np.abs(q)), axis=0), np.minimum(y, 1))  # fmt: skip

    arguments = sample(67, 3)
    q, y = arguments["q"], arguments["y"]
    q.ravel()[::7] = value
    y[::9] = value
    assert in_lanes(f, q, y)


def test_reads_and_writes_of_one_row():
    """A row that is read after it was written, by a kernel of the same loop and by one of a later loop."""

    def f(q):
        rows = np.cumsum(np.exp(q), axis=1)
        centred = rows - np.mean(rows, axis=0)
        return rows, centred, np.sum(rows * centred, axis=1), np.cumsum(np.sin(rows), axis=1)

    for n in (33, 64, 131):
        assert in_lanes(f, sample(n, 3)["q"])


def test_a_maximum_over_points_beside_another_reader():
    arguments = sample(67, 1)
    in_lanes(lambda x, w: (np.max(x @ w, axis=0), (x @ w).T), arguments["x"], arguments["w"])


def test_no_simd_loop_has_all_lanes_write_to_one_element():
    """`omp simd` promises that lanes do not see each other; a running maximum over them does."""
    arguments = sample(67, 3)
    compiled = sg.compile(
        lambda x, w: np.max(np.sum(np.exp(x @ w), axis=1)), arguments["x"], arguments["w"]
    )
    lines = compiled.c_source.split("\n")
    for number, line in enumerate(lines):
        if "out[0] = sg_select" in line:
            head = max(k for k in range(number) if lines[k].lstrip().startswith("for ("))
            assert MARK not in lines[head - 1]


# ---- sums over points --------------------------------------------------------------------------


def sums(x, z):
    return np.sum(x * np.exp(z), axis=0)


@pytest.mark.quick(1)
@pytest.mark.parametrize("n", [100, 8192, 8193, 100_003, 1_000_000])
def test_sums_over_points_are_as_accurate_as_numpy(n):
    rng = np.random.default_rng(n)
    zero = np.zeros((n, 2))
    compiled = sg.compile(sums, sg.f64[n, 2], sg.f64[n, 2])
    assert queries.in_lanes(queries.program(compiled))
    for x in (np.full((n, 2), 0.1), rng.random((n, 2)), rng.normal(size=(n, 2))):
        for k in (0, 1):
            exact, scale = math.fsum(x[:, k]), math.fsum(abs(x[:, k]))
            error = abs(compiled(x, zero)[k] - exact)
            assert error <= max(abs(np.sum(x[:, k]) - exact), 5e-16 * scale)


def test_sums_over_points_and_an_inner_axis_are_as_accurate_as_numpy():
    x = np.full((1000, 100), 0.1)
    compiled = sg.compile(lambda x, z: np.sum(x * np.exp(z)), x, x)
    assert queries.in_lanes(queries.program(compiled))
    assert abs(compiled(x, 0 * x) - 10_000) <= 1e-15 * 10_000


@pytest.mark.parametrize("n", [40, 100, 9000, 20_000])
def test_infinities_in_sums_over_points(n):
    compiled = sg.compile(sums, sg.f64[n, 2], sg.f64[n, 2])
    zero = np.zeros((n, 2))
    for k in (0, 7, n // 2, n - 1):
        for value in NASTY.values():
            x = np.ones((n, 2))
            x[k, 0] = value
            np.testing.assert_equal(compiled(x, zero), np.sum(x, axis=0))
    x = np.ones((n, 2))
    x[1, 0], x[-2, 0] = np.inf, -np.inf
    got = compiled(x, zero)
    assert math.isnan(got[0]) and got[1] == n


def test_large_terms_that_cancel():
    n = 30_000
    x = np.ones((n, 2))
    x[5, 0], x[n - 3, 0] = 1e17, -1e17
    compiled = sg.compile(sums, x, x)
    assert abs(compiled(x, 0 * x)[0] - (n - 2)) <= 1e17 * 2**-52 * 8  # one lane rounds to 16


# ---- under sanitizers --------------------------------------------------------------------------


def check_sanitized(seeds, folder: Path):
    sources, inputs, outputs, references = [], [], [], []
    for seed in seeds:
        points = Points(seed, np.float32 if seed % 4 == 0 else np.float64)
        graph = sg.trace(points if seed % 2 else points.loss, points.reals, points.labels)
        graph = dataclasses.replace(graph, name=f"points_{seed}")
        values = graph.flat((points.reals, points.labels), {})
        references.append(graph.evaluate_flat(values))
        source = source_of(graph.simplify())
        sources.append(source)
        inputs.append(
            [
                np.ascontiguousarray(v, t.dtype)
                for v, t in zip(values, graph.input_types, strict=True)
            ]
        )
        outputs.append([np.empty(r.shape, r.dtype) for r in references[-1]])
    results = run_sanitized(sources, inputs, outputs, folder)
    for seed, got, expected in zip(seeds, results, references, strict=True):
        close(got, expected, 2e-3 if seed % 4 == 0 else 1e-9, f"seed {seed}")
    return sum(MARK in s.c for s in sources)


@pytest.mark.slow
@needs_sanitizers
def test_under_sanitizers(tmp_path):
    assert check_sanitized(range(21_000, 21_010), tmp_path) > 5


# ---- triangles ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [33, 200, 1000])
def test_half_of_a_symmetric_sum(n):
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(n, 6)), rng.normal(size=(n, 3))

    def sums(X, W):
        return np.einsum("nk,ni,nj->kij", np.exp(W), X, X), np.einsum("nk,ni,nj->kij", W, X, X + 1)

    compiled = sg.compile(sums, X, W)
    half, whole = compiled(X, W)
    assert queries.in_triangles(queries.program(compiled))
    assert np.array_equal(half, half.transpose(0, 2, 1))
    np.testing.assert_allclose(half, np.einsum("nk,ni,nj->kij", np.exp(W), X, X), rtol=1e-12)
    np.testing.assert_allclose(
        whole, np.einsum("nk,ni,nj->kij", W, X, X + 1), rtol=1e-11, atol=1e-11
    )


@pytest.mark.quick(1)
@pytest.mark.parametrize("n, size, halved", [(33, 4, 0), (33, 15, 0), (200, 7, 1), (900, 15, 1)])
def test_half_of_a_quadratic_form(n, size, halved):
    rng = np.random.default_rng(0)
    X, R, m = rng.normal(size=(n, size)), rng.normal(size=(3, size, size)), rng.normal(size=size)

    def form(X, R, m):
        return np.sum(np.exp(-(np.einsum("ni,kij,nj->nk", X - m, R, X - m) ** 2)))

    compiled = sg.compile(form, X, R, m)
    assert queries.in_triangles(queries.program(compiled)) == halved
    expected = np.einsum("ni,kij,nj->nk", X - m, R, X - m)
    np.testing.assert_allclose(compiled(X, R, m), np.sum(np.exp(-(expected**2))), rtol=1e-12)
    slopes = sg.grad(form, (0, 1, 2))(X, R, m)
    outer = -2 * expected * np.exp(-(expected**2))
    by_R = np.einsum("nk,ni,nj->kij", outer, X - m, X - m)
    by_X = np.einsum("nk,kij,nj->ni", outer, R + R.transpose(0, 2, 1), X - m)
    for slope, known in zip(slopes, (by_X, by_R, -by_X.sum(0)), strict=True):
        np.testing.assert_allclose(slope, known, rtol=1e-11, atol=1e-12)


def test_triangles_are_left_out_of_loops_that_other_statements_share():
    """What does not know a triangle keeps every round."""
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(64, 5)), rng.normal(size=64)

    def sums(X, w):
        outer = np.einsum("n,ni,nj->nij", np.exp(w), X, X)
        return np.sum(outer, axis=0), np.sum(outer[:, :, 1:] * X[:, None, :4], axis=0)

    for got, expected in zip(sg.compile(sums, X, w)(X, w), sums(X, w), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


def test_threads_do_not_change_triangles():
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(20_000, 6)), rng.normal(size=(20_000, 3))

    def sums(X, W):
        return np.einsum("nk,ni,nj->kij", np.exp(W), X, X)

    alone, shared = sg.compile(sums, X, W), sg.compile(sums, X, W, threads=2)
    assert queries.in_triangles(queries.program(shared))
    assert np.array_equal(alone(X, W), shared(X, W))


if __name__ == "__main__":
    first, last = map(int, sys.argv[1:])
    count = 0
    for seed in range(first, last):
        try:
            count += check_random(seed)
        except Exception as error:  # noqa: BLE001
            print(seed, str(error)[:500])
    for start in range(first, last, 20):
        with tempfile.TemporaryDirectory() as folder:
            check_sanitized(range(start, min(start + 20, last)), Path(folder))
    print(f"seeds {first} to {last - 1}: {count} of {2 * (last - first)} in lanes")


def weighted_sums(x, w, m):
    e, d = np.exp(w), x - m
    return [np.einsum("ik,il->kl", a, b) for a, b in ((e, d), (e, x), (e * w, d * d))]


def test_values_that_one_of_several_statements_has_are_hoisted_out_of_it():
    """What the others become was looked for without end; found by tests/fuzz."""
    rng = np.random.default_rng(3)
    given = rng.uniform(-1, 1, (1000, 6)), rng.uniform(-1, 1, (1000, 8)), rng.uniform(-1, 1, 6)
    found = sg.compile(weighted_sums, *given)(*given)
    for got, expected in zip(found, weighted_sums(*given), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
