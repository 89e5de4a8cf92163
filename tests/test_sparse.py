"""Sparse Jacobians and Hessians: pattern, colouring, values, C export, errors."""

from __future__ import annotations

import pickle
import re
import subprocess
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import symgrad as sg
from symgrad.errors import (
    DifferentiationError,
    ExportError,
    GraphTooLargeError,
    MissingPackageError,
    StructureError,
    UnsupportedError,
)
from symgrad.runtime.compiler import find_compiler
from symgrad.sparse import compress, derivatives
from symgrad.sparse.colouring import column_colouring, lone, symmetric_colouring, transposed
from symgrad.sparse.pattern import Pattern, symmetric

jax.config.update("jax_enable_x64", True)
RNG = np.random.default_rng(0)
TARGETS = RNG.permutation(7)
DIFFERENCES = np.diff(np.eye(7), axis=0)
MASK = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])
BLOCKS = RNG.normal(size=(3, 2, 2))


def rosen(m, x):
    return m.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def poisson(m, u):
    """Nonlinear 5-point stencil with boundary values 0."""
    p = m.pad(u, 1)
    return p[2:, 1:-1] + p[:-2, 1:-1] + p[1:-1, 2:] + p[1:-1, :-2] - 4 * u + m.exp(u)


def branch(m, x):
    return m.where(x > 0, m.roll(x, 1) ** 2, m.sin(x))


# name: (function of namespace and argument, shape, whether no entry cancels or vanishes)
JACOBIANS = {
    "elementwise": (lambda m, x: m.sin(x) * x, (7,), True),
    "matrix argument": (lambda m, x: m.sin(x) * x, (3, 4), True),
    "diff": (lambda m, x: m.diff(x) ** 2, (7,), True),
    "even and odd": (lambda m, x: x[1::2] * x[:-1:2] ** 2, (8,), True),
    "odd length, steps": (lambda m, x: m.concatenate([x[::2] ** 2, x[1::3] * 2]), (11,), True),
    "reversed": (lambda m, x: x[::-1] * x, (7,), True),
    "roll": (lambda m, x: m.roll(x, 2) * x, (7,), True),
    "transpose": (lambda m, x: x.T * x[0, 0], (3, 3), True),
    "reshape": (lambda m, x: x.reshape(4, 3)[1:] ** 2, (3, 4), True),
    "poisson": (poisson, (4, 5), True),
    "heat": (lambda m, u: u[1:-1] + 0.1 * (u[2:] - 2 * u[1:-1] + u[:-2]) ** 3, (9,), True),
    "pentadiagonal": (lambda m, x: x[4:] * x[:-4] + x[2:-2] ** 2 + x[1:-3] - x[3:-1], (9,), True),
    "sum of rows": (lambda m, x: m.sum(x**2, axis=1), (4, 3), True),
    "norms of points": (lambda m, x: m.sqrt(m.sum((x[1:] - x[:-1]) ** 2, axis=1)), (5, 3), True),
    "broadcast": (lambda m, x: x[:, None] * m.arange(1.0, 4.0), (4,), True),
    "outer": (lambda m, x: x[:, None] * x[None, :], (4,), True),
    "block einsum": (lambda m, x: m.einsum("bij,bj->bi", BLOCKS, x**2), (3, 2), True),
    "dense matrix": (lambda m, x: RNG_MATRIX @ m.tanh(x), (4,), True),
    "captured matrix with zeros": (lambda m, x: DIFFERENCES @ x**2, (7,), True),
    "captured mask": (lambda m, x: MASK * x**2 + x, (7,), True),
    "mask only": (lambda m, x: MASK * x**2, (7,), True),
    "gather": (lambda m, x: x[TARGETS] * x, (7,), True),
    "gather some": (lambda m, x: m.sin(x[m.array([0, 2, 2, 5])]), (7,), True),
    "where": (branch, (7,), False),
    "captured where": (lambda m, x: m.where(MASK > 0, x**2, m.roll(x, 1)), (7,), True),
    "cumsum": (lambda m, x: m.cumsum(x**2), (6,), True),
    "cumprod": (lambda m, x: m.cumprod(x, axis=1), (3, 4), True),
    "max": (lambda m, x: m.max(x, axis=0), (3, 4), False),
    "prod": (lambda m, x: m.prod(x, axis=1), (3, 4), True),
    "dense row": (lambda m, x: m.concatenate([m.sum(x, keepdims=True), x[1:] ** 2]), (7,), True),
    "dense column": (lambda m, x: x * x[3], (7,), True),
    "dense row and column": (
        lambda m, x: m.concatenate([m.sum(m.sin(x), keepdims=True), x[1:] * x[0]]), (30,), True),
    "scalar result": (lambda m, x: m.sum(x**3), (5,), True),
    "scalar argument": (lambda m, x: x * m.arange(1.0, 5.0), (), True),
    "scalar to scalar": (lambda m, x: m.sin(x), (), True),
    "empty pattern": (lambda m, x: m.floor(x) + m.arange(7.0), (7,), True),
    "no elements": (lambda m, x: x[:0] ** 2, (7,), True),
    "no argument elements": (lambda m, x: m.sum(x) + m.arange(3.0), (0,), True),
    "softmax of rows": (
        lambda m, x: m.exp(x) / m.sum(m.exp(x), axis=1, keepdims=True), (3, 4), True),
    "solve in batches": (lambda m, x: m.linalg.solve(BLOCKS, x[:, :, None]), (3, 2), True),
    "inverse": (lambda m, x: m.linalg.inv(x + 3 * m.eye(3)), (3, 3), True),
    "sign of a determinant": (lambda m, x: m.linalg.slogdet(x + m.eye(3))[0] * x, (3, 3), False),
    "set items": (lambda m, x: m.stack([x[0] * x[1], x[1] + x[5], x[2] ** 2]), (7,), True),
    "more in the pattern than there is": (
        lambda m, x: (m.linalg.norm(m.triu(x)[0]) * m.triu(x, 1))[:, :1], (2, 2), False),
    "long chain": (lambda m, x: m.tanh(x[2:] - m.tanh(x[1:-1] - m.tanh(x[:-2]))), (12,), True),
}  # fmt: skip
RNG_MATRIX = RNG.normal(size=(5, 4))

HESSIANS = {
    "rosenbrock": (rosen, (12,), True),
    "two elements": (rosen, (2,), True),
    "pairs": (
        lambda m, x: m.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2), (10,), True),
    "separable": (lambda m, x: m.sum(m.exp(x) * x), (7,), True),
    "arrow": (lambda m, x: m.sum(x[1:] ** 2 * m.sin(x[0])), (30,), True),
    "two hubs": (lambda m, x: m.sum(m.exp(x[1:-1] * x[0] + x[1:-1] * x[-1])), (30,), True),
    "star without diagonal": (lambda m, x: x[0] * m.sum(x[1:]), (9,), True),
    "grid": (
        lambda m, u: m.sum(m.diff(u, axis=0) ** 4) + m.sum(m.diff(u, axis=1) ** 4), (4, 5), True),
    "grid with boundary": (lambda m, u: m.sum(poisson(m, u) ** 2), (5, 6), True),
    "block diagonal": (lambda m, x: m.sum(m.sqrt(1 + m.sum(x**2, axis=1))), (4, 3), True),
    "springs": (
        lambda m, p: m.sum((m.sqrt(m.sum((p[1:] - p[:-1]) ** 2, axis=1)) - 1) ** 2), (6, 2), True),
    "beam": (lambda m, x: m.sum(m.cos(x[2:] - 2 * x[1:-1] + x[:-2])), (11,), True),
    "dense": (lambda m, x: m.sum(x) ** 3, (6,), True),
    "quadratic": (lambda m, x: x @ (DIFFERENCES.T @ (DIFFERENCES @ x)), (7,), True),
    "linear": (lambda m, x: m.sum(x * m.arange(7.0)), (7,), True),
    "constant": (lambda m, x: m.sum(m.floor(x)), (7,), True),
    "gather": (lambda m, x: m.sum(x[TARGETS[:5]] * x[:5] ** 2), (7,), True),
    "where": (lambda m, x: m.sum(branch(m, x)), (9,), False),
    "logsumexp of rows": (lambda m, x: m.sum(m.log(m.sum(m.exp(x), axis=1))), (4, 3), True),
    "scalar argument": (lambda m, x: x**3, (), True),
    "no elements": (lambda m, x: m.sum(x**2), (0,), True),
    "periodic": (lambda m, x: m.sum((x - m.roll(x, 1)) ** 4), (8,), True),
    "three": (lambda m, x: m.sum(x[:-2] * x[1:-1] * x[2:]), (10,), True),
}  # fmt: skip


@pytest.fixture(params=["direct", "sweeps"])
def way(request, monkeypatch):
    """Each case twice: as it comes, and by coloured sweeps where it would not need them."""
    if request.param == "sweeps":
        monkeypatch.setattr(compress, "direct_entries", lambda *args: None)
    return request.param


def argument(shape, seed=1):
    x = np.random.default_rng(seed).uniform(0.3, 1.5, shape)
    return x if shape else float(x)


def of_numpy(f):
    return lambda x: f(np, x)


def agree(got, f, dense, oracle, shape, exact):
    """Values against the dense derivative and JAX; pattern against values at several points."""
    x = argument(shape)
    matrix = got(x)
    assert isinstance(matrix, scipy.sparse.csr_array)
    graph = sg.trace(dense(of_numpy(f)), x)
    expected = np.asarray(graph.evaluate(x)).reshape(matrix.shape)
    np.testing.assert_allclose(matrix.toarray(), expected, rtol=1e-11, atol=1e-11)
    if oracle is not None:
        theirs = jax.jit(oracle(lambda x: f(jnp, x)))(jnp.asarray(x))
        theirs = np.asarray(theirs).reshape(matrix.shape)
        np.testing.assert_allclose(matrix.toarray(), theirs, rtol=1e-9, atol=1e-9)
    found = np.zeros(matrix.shape, bool)
    for seed in range(3):
        value = np.asarray(graph.evaluate(argument(shape, seed))).reshape(matrix.shape)
        found |= value != 0
    structural = np.zeros(matrix.shape, bool)
    structural[matrix.nonzero() if matrix.data.all() else rows_and_columns(matrix)] = True
    assert not (found & ~structural).any()
    if exact:
        np.testing.assert_array_equal(structural, found)
    assert matrix.has_sorted_indices and not matrix.indices.flags.writeable


def rows_and_columns(matrix):
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), matrix.indices


@pytest.mark.sample(47)
@pytest.mark.quick(2)
@pytest.mark.parametrize("name", JACOBIANS)
def test_jacobian(name, way):
    f, shape, exact = JACOBIANS[name]
    oracle = jax.jacobian if way == "direct" else None
    agree(sg.sparse_jacobian(of_numpy(f)), f, sg.jacobian, oracle, shape, exact)


@pytest.mark.sample(24)
@pytest.mark.quick(1)
@pytest.mark.parametrize("name", HESSIANS)
def test_hessian(name, way):
    f, shape, exact = HESSIANS[name]
    oracle = jax.hessian if way == "direct" else None
    agree(sg.sparse_hessian(of_numpy(f)), f, sg.hessian, oracle, shape, exact)


def test_float32(way):
    x = argument((9,)).astype(np.float32)
    h = sg.sparse_hessian(lambda x: rosen(np, x))(x)
    assert h.dtype == np.float32
    np.testing.assert_allclose(h.toarray(), sg.hessian(lambda x: rosen(np, x))(x), rtol=1e-5)


def regular(graph):
    """Neither sweeps nor contributions: nothing is read or written through a captured index."""
    return not any(n.name in ("scatter_add", "gather") for n in graph.nodes)


SWEPT = {
    "cumsum", "cumprod", "prod", "solve in batches", "inverse", "dense matrix", "mask only",
    "captured matrix with zeros", "captured where", "dense", "quadratic", "star without diagonal",
    "linear", "constant", "no elements", "empty pattern", "no argument elements",
    "more in the pattern than there is", "sign of a determinant",
}  # fmt: skip
CONTRIBUTED = {
    "gather", "gather some", "dense row", "dense column", "dense row and column", "reversed",
    "scalar result", "arrow", "two hubs",
}  # fmt: skip


@pytest.mark.quick(10)
@pytest.mark.parametrize("name", [*JACOBIANS, *(f"hessian {name}" for name in HESSIANS)])
def test_slices_need_neither_sweeps_nor_indices(name, monkeypatch):
    monkeypatch.setattr(compress, "_batched", lambda *args: pytest.fail("swept"))
    bare = name.removeprefix("hessian ")
    table, derivative = (
        (HESSIANS, sg.sparse_hessian) if bare != name else (JACOBIANS, sg.sparse_jacobian)
    )
    f, shape, _ = table[bare]
    if bare in SWEPT:
        return
    graph, _ = derivative(of_numpy(f)).trace(argument(shape))
    assert regular(graph.simplify()) or bare in CONTRIBUTED


# ---- colouring, checked from its definition ------------------------------------------------------


def recovers_columns(dense, colours):
    """Columns of one colour share no row; empty columns alone have none."""
    assert ((colours >= 0) == dense.any(axis=0)).all()
    for c in range(colours.max(initial=-1) + 1):
        assert dense[:, colours == c].sum(axis=1).max() <= 1


def recovers_symmetric(dense, colours):
    """Every entry can be read from one of its two compressed places."""
    for i, j in zip(*np.nonzero(dense), strict=True):
        there = dense[i, colours == colours[j]].sum() == 1
        mirrored = dense[j, colours == colours[i]].sum() == 1
        assert there or mirrored, (i, j)


@st.composite
def boolean_matrix(draw):
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    seed, density = draw(st.integers(0, 2**32 - 1)), draw(st.floats(0, 1))
    return np.random.default_rng(seed).random((rows, columns)) < density


@given(boolean_matrix())
@settings(max_examples=200, deadline=None)
@pytest.mark.slow
def test_column_colouring_is_valid(dense):
    pattern = Pattern.of(scipy.sparse.csr_array(dense))
    recovers_columns(dense, column_colouring(pattern))
    other, order = transposed(pattern)
    np.testing.assert_array_equal(pattern.indices[order], other.rows())
    recovers_columns(dense.T, column_colouring(other))


@given(boolean_matrix(), st.booleans())
@settings(max_examples=200, deadline=None)
@pytest.mark.slow
def test_symmetric_colouring_is_valid(dense, diagonal):
    n = min(dense.shape)
    dense = dense[:n, :n] | dense[:n, :n].T
    if diagonal:
        np.fill_diagonal(dense, True)
    pattern = symmetric(Pattern.of(scipy.sparse.csr_array(dense)))
    colours = symmetric_colouring(pattern)
    recovers_symmetric(dense, colours)
    here = lone(pattern, colours)
    for k, (i, j) in enumerate(zip(pattern.rows(), pattern.indices, strict=True)):
        assert here[k] == (dense[i, colours == colours[j]].sum() == 1)


def banded(n, half):
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= half


def test_numbers_of_colours():
    arrow = np.eye(40, dtype=bool)
    arrow[0] = arrow[:, 0] = True
    line, unit = banded(8, 1).astype(int), np.eye(8, dtype=int)
    laplace = np.kron(unit, line) + np.kron(line, unit) > 0
    for dense, columns, both in (
        (banded(50, 1), 3, 3), (banded(50, 4), 9, 9), (np.eye(20, dtype=bool), 1, 1),
        (arrow, 40, 2), (arrow[::-1, ::-1], 40, 2), (laplace, 7, 6), (np.ones((6, 6), bool), 6, 6),
    ):  # fmt: skip
        pattern = Pattern.of(scipy.sparse.csr_array(dense))
        assert column_colouring(pattern).max() + 1 <= columns
        assert symmetric_colouring(pattern).max() + 1 <= both


def test_colouring_of_a_large_grid_takes_moments():
    n = 200
    line = scipy.sparse.diags_array([1.0, 1.0, 1.0], offsets=[-1, 0, 1], shape=(n, n))
    unit = scipy.sparse.eye_array(n)
    grid = scipy.sparse.kron(unit, line) + scipy.sparse.kron(line, unit)
    pattern = Pattern.of(scipy.sparse.csr_array(grid != 0))
    start = time.perf_counter()
    colours = symmetric_colouring(pattern)
    assert time.perf_counter() - start < 5
    assert colours.max() < 8 and lone(pattern, colours).all()


# ---- random functions ----------------------------------------------------------------------------


@st.composite
def local_function(draw):
    """Source of a function of vectors that are built from slices, gathers, products, choices."""
    return [
        (draw(st.sampled_from("slice shift gather product where pad step sum mask cumsum".split())),
         draw(st.integers(0, 10**6)))
        for _ in range(draw(st.integers(1, 6)))
    ]  # fmt: skip


def built(steps, x):
    y = x
    for what, k in steps:
        n = y.shape[0]
        if what == "slice" and n > 3:
            y = y[k % 2 : n - k % 3]
        elif what == "shift":
            y = y + np.sin(np.roll(y, k % n))
        elif what == "gather":
            y = y[np.random.default_rng(k).integers(0, n, max(1, n - k % 2))]
        elif what == "product":
            y = y * y[::-1] if k % 2 else y**2
        elif what == "where":
            y = np.where(np.arange(n) % (k % 3 + 1) == 0, y**2, 3 * y)
        elif what == "pad":
            y = np.concatenate([np.ones(k % 3), y, y[: k % 2]])
        elif what == "step" and n > 4:
            y = y[k % 2 :: 2 + k % 2] * 2.0
        elif what == "sum" and n % 2 == 0 and n > 2:
            y = np.sum(y.reshape(-1, 2) ** 2, axis=1)
        elif what == "mask":
            y = y * (np.arange(n) % 2 if k % 2 else np.arange(n)) + 1
        elif what == "cumsum" and k % 4 == 0:
            y = np.cumsum(y) / n
    return y


@given(local_function(), st.integers(5, 9), st.booleans())
@settings(max_examples=60, deadline=None)
@pytest.mark.slow
def test_random_functions(steps, n, sweeps):
    x = argument((n,))
    f = lambda x: built(steps, x)
    g = lambda x: np.sum(np.sin(built(steps, x)))
    original = compress.direct_entries
    if sweeps:
        compress.direct_entries = lambda *args: None
    try:
        jacobian, hessian = evaluated(sg.sparse_jacobian(f), x), evaluated(sg.sparse_hessian(g), x)
    finally:
        compress.direct_entries = original
    expected = sg.trace(sg.jacobian(f), x).evaluate(x)
    np.testing.assert_allclose(jacobian, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        hessian, sg.trace(sg.hessian(g), x).evaluate(x), rtol=1e-8, atol=1e-8
    )


def evaluated(derivative, x):
    """The matrix by the NumPy evaluator: no compiler in a loop over random functions."""
    graph, pattern = derivative.trace(x)
    data = graph.evaluate(x)
    return scipy.sparse.csr_array((data, pattern.indices, pattern.indptr), pattern.shape).toarray()


# ---- the interface -------------------------------------------------------------------------------


def test_calls():
    f = lambda a, x, k: a * np.diff(x) ** k
    x = argument((6,))
    for got, expected in (
        (sg.sparse_jacobian(f, 1)(2.0, x, 2), sg.jacobian(f, 1)(2.0, x, 2)),
        (sg.sparse_jacobian(f, "x")(2.0, x, 2), sg.jacobian(f, 1)(2.0, x, 2)),
        (sg.sparse_jacobian(f, "x")(2.0, x=x, k=3), sg.jacobian(f, 1)(2.0, x, 3)),
        (sg.sparse_jacobian(f)(2.0, x, 2), sg.jacobian(f)(2.0, x, 2)[:, None]),
    ):
        np.testing.assert_allclose(got.toarray(), expected, rtol=1e-13)
    d = sg.sparse_jacobian(lambda x: np.diff(x) ** 2)
    first, second = d(x), d(2 * x)
    assert first.indices is second.indices or np.shares_memory(first.indices, second.indices)
    assert not np.shares_memory(first.data, second.data)
    assert d(np.ones(3)).shape == (2, 3)
    assert "sparse_jacobian" in repr(d)


@pytest.mark.slow
def test_ahead_of_time():
    x = argument((50,))
    derivative = sg.sparse_hessian(lambda x: rosen(np, x))
    c = sg.compile(derivative, sg.f64[50], name="rosen_hessian")
    assert c.pattern.shape == (50, 50) and c.pattern.nnz == 148
    assert "rosen_hessian(" in c.c_source and "rosen_hessian(" in c.c_header
    out = np.empty(148)
    assert np.shares_memory(c(x, out=out).data, out)
    np.testing.assert_array_equal(c.values(x), out)
    np.testing.assert_allclose(c(x).toarray(), derivative(x).toarray())
    again = pickle.loads(pickle.dumps(c))
    np.testing.assert_array_equal(again(x=x).toarray(), c(x).toarray())
    assert not again.pattern.indices.flags.writeable
    assert c.cost().flops > 0 and "148" in repr(c)


MAIN = """
#include <stdio.h>
#include "g.h"
#include "g_pattern.h"
static double x[X], data[G_NNZ + 1], work[1 << 16];
int main(void)
{
    (void)work;
    for (int k = 0; k < X; ++k) x[k] = 0.5 + 0.125 * k;
    if (g(ARGUMENTS)) return 1;
    for (int r = 0; r < G_ROWS; ++r)
        for (int k = g_indptr[r]; k < g_indptr[r + 1]; ++k)
            printf("%d %d %.17g\\n", r, (int)g_indices[k], data[k]);
    return 0;
}
"""


@pytest.mark.parametrize("f", [
    lambda x: np.sum(poisson(np, x.reshape(3, 5)) ** 2), lambda x: np.sum(x[7] * x**2),
    lambda x: np.sum(x),
])  # fmt: skip
@pytest.mark.slow
def test_exported_c(f, tmp_path):
    c = sg.compile(sg.sparse_hessian(f), sg.f64[15], name="g")
    paths = c.export(tmp_path)
    assert {p.name for p in paths} >= {"g.c", "g.h", "g_pattern.c", "g_pattern.h"}
    with pytest.raises(ExportError):
        c.export(tmp_path)
    c.export(tmp_path, overwrite=True)
    declared = re.search(r"int g\(([^)]*)\)", c.c_header).group(1)
    arguments = ", ".join(n for n, c_name in (("x", "*x"), ("data", "*out"), ("work", "*work"))
                          if c_name in declared)  # fmt: skip
    (tmp_path / "main.c").write_text(MAIN.replace("ARGUMENTS", arguments).replace("X", "15"))
    program = str(tmp_path / "run")
    sources = [str(tmp_path / n) for n in ("g.c", "g_pattern.c", "main.c")]
    command = [*find_compiler().argv, "-std=c99", "-Wall", "-Wextra", "-Werror", "-O1"]
    subprocess.run([*command, *sources, "-o", program, "-lm"], check=True)
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    rows = np.array([line.split() for line in printed.splitlines()], float).reshape(-1, 3)
    x = 0.5 + 0.125 * np.arange(15)
    dense = np.zeros((15, 15))
    dense[rows[:, 0].astype(int), rows[:, 1].astype(int)] = rows[:, 2]
    np.testing.assert_allclose(dense, sg.hessian(f)(x), rtol=1e-12, atol=1e-12)


def test_errors(monkeypatch):
    x = argument((5,))
    with pytest.raises(DifferentiationError, match="one float scalar"):
        sg.sparse_hessian(lambda x: x**2)(x)
    with pytest.raises(DifferentiationError, match="int64"):
        sg.sparse_jacobian(lambda x: x * 2)(np.arange(5))
    with pytest.raises(DifferentiationError, match="int64"):
        sg.sparse_jacobian(lambda x: np.argmax(x))(x)
    with pytest.raises(StructureError, match="one array"):
        sg.sparse_jacobian(lambda p: p["a"] * p["b"])({"a": x, "b": x})
    with pytest.raises(StructureError, match="one array"):
        sg.sparse_jacobian(lambda p: p["a"])({"a": x})
    with pytest.raises(StructureError, match="2 results"):
        sg.sparse_jacobian(lambda x: (x, x))(x)
    with pytest.raises(StructureError, match="argnums"):
        sg.sparse_jacobian(lambda x, y: x * y, argnums=(0, 1))
    with pytest.raises(StructureError):
        sg.sparse_jacobian(lambda x: x, argnums=2)(x)
    with pytest.raises(StructureError, match="options"):
        sg.sparse_jacobian(lambda x, options: x)(x, bytearray(b"ab"))
    with pytest.raises(IndexError):
        sg.sparse_jacobian(lambda x: x[np.array([0, 7])] ** 2)(x)
    with pytest.raises(UnsupportedError, match="sg.hessian"):
        sg.jit(sg.sparse_hessian(lambda x: np.sum(x**2)))(x)
    with pytest.raises(GraphTooLargeError, match="not sparse"):
        sg.sparse_hessian(lambda x: np.sum(x) ** 2)(np.ones(100_000))
    with pytest.raises(GraphTooLargeError, match="not sparse"):
        sg.sparse_jacobian(np.cumsum)(np.ones(100_000))
    monkeypatch.setitem(__import__("sys").modules, "scipy.sparse", None)
    with pytest.raises(MissingPackageError, match="pip install"):
        sg.sparse_jacobian(lambda x: x)(x)
    assert issubclass(MissingPackageError, ImportError)


def test_threads_share_one_compilation():
    made = []
    derivative = sg.sparse_hessian(lambda x: rosen(np, x))
    original = derivative.compile
    derivative.compile = lambda *args, **kwargs: made.append(1) or original(*args, **kwargs)
    x = argument((20,))
    results = []
    threads = [threading.Thread(target=lambda: results.append(derivative(x))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(made) == 1 and len(results) == 8
    for r in results:
        np.testing.assert_array_equal(r.data, results[0].data)


def test_a_hundred_thousand_variables():
    n = 100_000
    x = argument((n,))
    start = time.perf_counter()
    h = sg.sparse_hessian(lambda x: rosen(np, x))(x)
    assert time.perf_counter() - start < 10  # 0.15 s on a quiet machine
    assert h.nnz == 3 * n - 2
    expected = 1200 * x**2 - 400 * np.append(x[1:], 0) + 202
    expected[0] -= 200
    expected[-1] = 200
    np.testing.assert_allclose(h.diagonal(), expected, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(h.diagonal(1), -400 * x[:-1], rtol=1e-13)
    v = np.random.default_rng(1).normal(size=n)
    np.testing.assert_allclose(h @ v, sg.hvp(lambda x: rosen(np, x), x, v), rtol=1e-9, atol=1e-7)


def test_module_of_derivatives_is_where_the_public_names_come_from():
    assert sg.sparse_hessian is derivatives.sparse_hessian


@pytest.mark.slow
def test_versions_are_told_apart_by_the_types_of_arguments():
    """Arrays alone take a shorter way to their version than numbers, names and other kinds."""

    def f(x, a):
        return np.sum(a * x[1:] * x[:-1] ** 2)

    hessian = sg.sparse_hessian(f)
    x = np.linspace(0.5, 2, 6)

    def expected(x, a):
        slope = 2 * a * x[:-1]
        diagonal = np.append(2 * a * np.ones(len(x) - 1) * x[1:], 0)
        return np.diag(diagonal) + np.diag(slope, 1) + np.diag(slope, -1)

    for n in (6, 4, 6):
        for a in (np.array(3.0), np.array(3.0), 3.0, np.float64(2)):
            for call in (lambda: hessian(x[:n], a), lambda: hessian(x[:n], a=a)):  # noqa: B023
                np.testing.assert_allclose(call().toarray(), expected(x[:n], a), rtol=1e-14)
    assert hessian(x.astype("float32"), np.array(3.0, "float32")).dtype == np.float32
    first, second = hessian(x, np.array(1.0)), hessian(x, np.array(2.0))
    first.data[:] = 0
    np.testing.assert_allclose(second.toarray(), expected(x, 2.0), rtol=1e-14)
    with pytest.raises(sg.errors.SymgradError):
        hessian(x.astype(object), np.array(1.0))


def test_rounds_of_a_vector_share_no_element():
    """A temporary of one element, whose rounds were told apart by an axis that it does not keep."""

    def loss(a):
        m = a.T @ a / 31 + 1.5 * np.eye(1)
        v = np.sum(np.log(np.diag(np.linalg.cholesky((m + m.T) / 2))))
        return np.mean(np.cos(v) * v) + 0.1 * np.sum(np.sin(a))

    a = np.random.default_rng(0).uniform(-1, 1, (31, 1))
    dense = sg.trace(sg.hessian(loss), a).evaluate(a).reshape(31, 31)
    np.testing.assert_allclose(sg.sparse_hessian(loss)(a).toarray(), dense, rtol=1e-12, atol=1e-14)
