"""Products of matrices in register tiles, and streams of blocks of points.

Blocks are made small, so that random graphs and small arrays meet every kind of edge.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import symgrad as sg
from support import queries
from support.codegen import FUSES, tuned
from support.functions import mixture, mixture_data, mixture_gradient
from support.random_graphs import compare
from support.sanitized import check_seeds, needs_sanitizers, run_sanitized
from support.tunings import SHORT_STREAMS, SMALL_TILES
from symgrad.generate import source_of
from symgrad.lower.cpu import Tiles
from symgrad.lower.tuning import HOST_TUNING

# Vectors of 16 bytes, and of 64, which a compiler makes of what the processor has: two panels side
# by side are one tile then.
WIDTHS = pytest.mark.parametrize("option", ["", "-D__AVX512F__"])


def in_tiles(f, *args, tuning=None) -> str:
    """The C of a function, which has products in tiles; its values are compared."""
    compiled = tuned(f, *args, tuning=tuning)
    assert queries.has(queries.program(compiled), Tiles)
    got, expected = compiled(*args), f(*args)
    for g, e in zip(
        got if isinstance(got, tuple) else (got,),
        expected if isinstance(expected, tuple) else (expected,),
        strict=True,
    ):
        scale = np.max(np.abs(e)) * (1e-5 if g.dtype == np.float32 else 1e-13)
        np.testing.assert_allclose(g, e, rtol=0, atol=scale)
    return compiled.c_source


SIZES = [17, 96, 97, 130]


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("m", SIZES)
def test_sizes_around_panels_and_blocks(m, dtype):
    rng = np.random.default_rng(m)
    for n, k in ((33, 16), (32, 257), (520, 40)):
        a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
        in_tiles(lambda a, b: a @ b, a, b)
        in_tiles(lambda a, b: (a.T @ b.T).T, b, a)


@pytest.mark.quick(2)
@pytest.mark.parametrize("spec", [
    "nkb,kab->nka", "kna,knb->kab", "abk,kcd->abcd", "iab,iac->bc", "ab,bc->ca", "xaby,zab->yxz",
    "iajb,kaib->jk",
])  # fmt: skip
def test_other_labels(spec):
    rng = np.random.default_rng(0)
    size = dict(a=17, b=19, c=18, d=3, i=2, j=20, k=16, n=40, x=16, y=2, z=21)
    terms = spec.split("->")[0].split(",")
    args = [rng.normal(size=[size[k] for k in t]) for t in terms]
    in_tiles(lambda a, b: np.einsum(spec, a, b), *args)


@pytest.mark.quick(2)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("copied, f", [
    ("panels", lambda a, b: a @ b),
    ("panels", lambda a, b: a[:20, :19].T @ b[5:, 3:]),
    ("panels", lambda a, b: np.einsum("ki,jk->ij", a[3:], b[:, 3:])),
    ("panels", lambda a, b: a.T @ a),
    ("copy_rows", lambda a, b: a[:, 2:] @ b[2:, 1:24].T),
    ("panels", lambda a, b: np.einsum("tik,tkj->tij", np.stack([a, a + 1]), np.stack([b, b]))),
    ("", lambda a, b: (a * a) @ (b + 1)),  # copied by a loop that computes
    ("", lambda a, b: np.repeat(a, 2, axis=1)[:, 1:26] @ np.repeat(b, 2, axis=0)[1:26]),
])  # fmt: skip
def test_factors_are_copied_where_they_lie(copied, f, dtype):
    """Transposed, cut, batched: whatever an element's neighbours are in memory."""
    rng = np.random.default_rng(5)
    a, b = (rng.normal(size=(25, 25)).astype(dtype) for _ in "ab")
    source = in_tiles(f, a, b)
    assert f"sg_{copied}" in source if copied else "sg_panels" not in source
    in_tiles(f, a, b, tuning=SMALL_TILES)


def test_factors_are_computed_while_they_are_copied():
    rng = np.random.default_rng(1)
    X, d = rng.normal(size=(300, 40)), rng.uniform(size=300)
    in_tiles(lambda X, d: (X * d[:, None]).T @ X, X, d)
    compiled = sg.compile(lambda X, d: (X * d[:, None]).T @ X, X, d)
    assert compiled.source.workspace_bytes < 3 * 150 * 48 * 8  # panels, no DX


@pytest.mark.slow
def test_a_symmetric_product_computes_one_triangle_and_is_symmetric():
    rng = np.random.default_rng(2)
    X, d = rng.normal(size=(5000, 50)), rng.normal(size=5000)
    compiled = sg.compile(lambda X, d: np.einsum("ni,n,nj->ij", X, d, X), X, d)
    H = compiled(X, d)
    np.testing.assert_array_equal(H, H.T)
    wide = (X * d[:, None]).astype(np.longdouble).T @ X.astype(np.longdouble)
    size = np.abs(X * d[:, None]).T @ np.abs(X)
    assert np.max(np.abs(H - wide) / size) < 2e-17 * 50
    # a product that only looks like one is left alone
    Y = rng.normal(size=(5000, 50))
    in_tiles(lambda X, Y: X.T @ Y, X, Y)


def sequential(a, b, fused):
    """The product with sums added up in the order of their summands, in the precision of a."""
    if not fused:
        total = np.zeros((len(a), b.shape[1]), a.dtype)
        for k in range(len(b)):
            total += a[:, k, None] * b[k]
        return total
    total = np.empty((len(a), b.shape[1]), a.dtype)
    exact = np.frompyfunc(Fraction, 1, 1)
    a_, b_ = exact(a), exact(b)
    for i, j in np.ndindex(total.shape):
        s = a.dtype.type(0)
        for k in range(len(b)):
            s = rounded(Fraction(float(s)) + a_[i, k] * b_[k, j], a.dtype.type)
        total[i, j] = s
    return total


def rounded(exact, real):
    """The nearest number; a double that was rounded to odd (Boldo and Melquiond) rounds once."""
    if real is np.float64:
        return real(exact)
    near = float(exact)
    if near != exact and not np.float64(near).view(np.int64) & 1:
        near = float(np.nextafter(near, np.inf if exact > near else -np.inf))
    return real(near)


@pytest.mark.sample(15)
@pytest.mark.quick(1)
@pytest.mark.skipif(not FUSES, reason="needs x86-64 with fused multiply-add")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", [
    "-O3 -mfma", "-O1 -mfma", "-O3 -mavx2", "-O2", "-O0", "-O3 -mfma -D__AVX512F__",
    "-O0 -D__AVX512F__",
])  # fmt: skip
@pytest.mark.parametrize("compiler", [c for c in ("gcc", "clang") if shutil.which(c)])
def test_bits_depend_on_fused_multiply_add_alone(compiler, options, dtype, tmp_path):
    """Not on the compiler, its level or the width of vectors."""
    rng = np.random.default_rng(9)
    a, b = (rng.normal(size=s).astype(dtype) for s in ((16, 40), (40, 17)))
    source = sg.compile(lambda a, b: (a @ b, a[:, 0] * b[0, 0] - a[:, 0] * b[0, 1]), a, b).source
    assert "sg_product" in source.c
    flags = ["-std=c99", "-ffp-contract=off", "-shared", "-fPIC", "-x", "c", "-", "-lm"]
    made = tmp_path / "made.so"
    command = [compiler, *options.split(), *flags, "-o", made]
    subprocess.run(command, input=source.c, text=True, check=True)
    product, difference = np.empty((16, 17), dtype), np.empty(16, dtype)
    work = np.empty(source.workspace_bytes, np.uint8)
    inputs, outputs = (
        (ctypes.c_void_p * 2)(*(x.ctypes.data for x in xs))
        for xs in ((a, b), (product, difference))
    )
    entry = getattr(ctypes.CDLL(made), source.entry)
    assert entry(inputs, outputs, ctypes.c_void_p(work.ctypes.data)) == 0
    np.testing.assert_array_equal(product, sequential(a, b, "fma" in options))
    # everything else is rounded after every operation
    np.testing.assert_array_equal(difference, a[:, 0] * b[0, 0] - a[:, 0] * b[0, 1])


def error_of_long_sum(n, compensate):
    """Of sums whose summands cancel, in half ulps of the sum of their sizes."""
    tuning = replace(HOST_TUNING, compensate_from_blocks=compensate)
    rng = np.random.default_rng(6)
    a = rng.uniform(1, 2, size=(2, n, 16))
    b = np.repeat([1.0, -1.0], n // 2)[None, :, None] * rng.uniform(1, 2, size=(2, 1, 16))
    a[1] *= 1e6
    got = tuned(lambda a, b: np.einsum("zni,znj->zij", a, b), a, b, tuning=tuning)(a, b)
    exact = np.einsum("zni,znj->zij", a.astype(np.longdouble), b.astype(np.longdouble))
    bound = np.einsum("zni,znj->zij", np.abs(a), np.abs(b))
    return np.max(np.abs(got - exact) / bound) * 2.0**53


@pytest.mark.slow
def test_long_sums_are_compensated():
    """The error does not grow with the number of blocks; each product has its own compensation."""
    n = 100_000
    assert error_of_long_sum(n, 16) < 2
    assert error_of_long_sum(n, n) > 4


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinite_and_nan_summands(value):
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(16, 5000)), rng.normal(size=(5000, 16))
    a[3, 4321] = value
    got = sg.compile(lambda a, b: a @ b, a, b)(a, b)
    with np.errstate(invalid="ignore"):
        expected = a @ b
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
    np.testing.assert_array_equal(got[3], expected[3])
    np.testing.assert_allclose(np.delete(got, 3, 0), np.delete(expected, 3, 0), atol=1e-11)


def test_small_and_thin_products_stay_as_they_are():
    for m, k, n in ((4, 100, 100), (100, 4, 100), (100, 100, 4), (8, 8, 8)):
        compiled = sg.compile(lambda a, b: a @ b, np.ones((m, k)), np.ones((k, n)))
        assert not queries.has(queries.program(compiled), Tiles)


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_random_graphs_in_tiles(block):
    dtype = "float64" if block % 3 else "float32"
    seeds = range(5000 + 15 * block, 5000 + 15 * block + 15)
    texts = [
        compare(seed, dtype, block % 2 == 1, products=0.5, tuning=SMALL_TILES) for seed in seeds
    ]
    assert any("sg_product" in text for text in texts)


# ---- streams -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("n", [4800, 5000, 5051])
def test_the_workspace_of_a_mixture_does_not_grow_with_the_points(n):
    args = mixture_data(n, 24, 12)
    compiled = sg.compile(sg.value_and_grad(mixture, (0, 1)), *args)
    value, slopes = compiled(*args)
    expected, by_hand = mixture_gradient(*args)
    assert abs(value - expected) < 1e-12 * abs(expected)
    for got, wanted in zip(slopes, by_hand, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12 * np.max(np.abs(wanted)))
    more = sg.compile(sg.value_and_grad(mixture, (0, 1)), *mixture_data(10 * n, 24, 12))
    assert more.source.workspace_bytes == compiled.source.workspace_bytes


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "D, K", [(1, 3), (2, 2), (3, 5), (5, 3), (8, 8), (12, 1), (12, 8), (16, 3), (40, 2)]
)
def test_nor_does_it_with_few_components_or_dimensions(D, K):
    """Whichever axis is longer, the loop over the points is the one outside."""
    f = sg.value_and_grad(mixture, (0, 1))
    few, many = (source_of(sg.trace(f, *mixture_data(n, D, K))) for n in (2_000, 20_000))
    assert many.workspace_bytes <= 1.2 * few.workspace_bytes  # a carry for each sum
    args = mixture_data(2_000, D, K)
    value, slopes = sg.compile(f, *args)(*args)
    expected, by_hand = mixture_gradient(*args)
    assert abs(value - expected) < 1e-12 * abs(expected)
    for got, wanted in zip(slopes, by_hand, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12 * np.max(np.abs(wanted)))


@pytest.mark.slow
def test_passes_over_the_data():
    args = mixture_data(5000, 24, 12)
    compiled = sg.compile(sg.value_and_grad(mixture, (0, 1)), *args)
    assert compiled.cost().passes["X"] == 1 and "passes over X" in str(compiled.cost())
    X = sg.f64[50_000, 30]
    twice = sg.compile(lambda X: np.sum((X - np.mean(X, axis=0)) ** 2), X)
    assert twice.cost().passes == {"X": 2}
    products = sg.compile(lambda W, X: np.einsum("kab,nb->kna", W, X), sg.f64[3, 20, 30], X)
    assert products.cost().passes == {"W": 1, "X": 3}


@pytest.mark.slow
@pytest.mark.parametrize("n", [20_000, 20_011])
def test_a_product_over_the_points_shares_their_pass(n):
    """The weights of a logistic Hessian and the product with them: block by block."""
    rng = np.random.default_rng(n)
    w, X = rng.normal(size=20), rng.normal(size=(n, 20))

    def loss(w, X):
        return np.mean(np.log1p(np.exp(-(X @ w))))

    compiled = sg.compile(sg.hessian(loss), w, X)
    assert compiled.cost().passes["X"] == 1
    p = 1 / (1 + np.exp(-(X @ w)))
    expected = (X * (p * (1 - p) / n)[:, None]).T @ X
    np.testing.assert_allclose(compiled(w, X), expected, rtol=0, atol=1e-15)
    few = sg.compile(sg.hessian(loss), w, X[:1000])  # they stay in the cache
    assert few.cost().passes["X"] == 2 and queries.has(queries.program(few), Tiles)


@pytest.mark.quick(1)
@pytest.mark.parametrize("n", [4, 5, 9])
def test_short_streams(n):
    args = mixture_data(n, 3, 2)
    compiled = tuned(sg.value_and_grad(mixture, (0, 1)), *args, tuning=SHORT_STREAMS)
    assert 2 in queries.block_sizes(queries.program(compiled))
    value, slopes = compiled(*args)
    expected, by_hand = mixture_gradient(*args)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    for got, wanted in zip(slopes, by_hand, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_random_graphs_in_streams(block):
    seeds = range(6000 + 15 * block, 6000 + 15 * block + 15)
    texts = [
        compare(seed, "float64", block % 2 == 1, products=0.5, tuning=SHORT_STREAMS)
        for seed in seeds
    ]
    assert any("sg_product" in text for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("n", [37, 40, 64])
def test_blocks_grow_where_each_of_them_adds_to_large_sums(n):

    def net(W, V, X, y):
        return np.mean((np.tanh(np.tanh(X @ W) @ V) @ V[0] - y) ** 2)

    rng = np.random.default_rng(n)
    args = [rng.normal(size=shape) for shape in ((3, 6), (6, 6), (n, 3), (n,))]
    compiled = tuned(sg.hessian(net, (0, 1)), *args, tuning=replace(SHORT_STREAMS, added_share=0.1))
    assert queries.block_sizes(queries.program(compiled)) & {4, 8, 16}
    expected_rows = compiled.graph.evaluate(*args)
    for row, expected in zip(compiled(*args), expected_rows, strict=True):
        for got, wanted in zip(row, expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.slow
def test_sums_over_many_blocks_are_compensated():
    """The error of a sum over the points does not grow with their number."""
    n, D, K = 200_000, 16, 16
    rng = np.random.default_rng(5)
    W, X = rng.normal(size=(K, D, D)) / 8, rng.normal(size=(n, D))

    def f(W, X):
        y = np.einsum("kab,nb->nka", W, X)
        return np.sum(1 + 1e-3 * np.sum(y**2, axis=2), axis=0)

    compiled = sg.compile(f, W, X)
    assert 384 in queries.block_sizes(queries.program(compiled))
    wide = X.astype(np.longdouble)
    moments = wide.T @ wide
    exact = n + 1e-3 * np.einsum("kab,bc,kac->k", W, moments, W)
    assert np.max(np.abs(compiled(W, X) / exact - 1)) < 4 * 2.0**-53


def layers(W, V, X, y):
    """A network with scans, offsets, maxima and sums over the points beside its products."""
    h = np.tanh(X @ W)
    g = h @ V
    e = np.exp(g - np.max(g, axis=1, keepdims=True))
    p = e / np.sum(e, axis=1, keepdims=True)
    late = np.cumsum(np.sum(h, axis=1))
    return np.sum((p - y) ** 2) + np.sum(late * h[:, 0]) + np.sum(h[1:] * h[:-1]) + np.max(g)


@pytest.mark.quick(1)
@pytest.mark.parametrize("n", [4, 7])
def test_what_cannot_run_in_blocks_of_points(n):
    rng = np.random.default_rng(n)
    shapes = (5, 4), (4, 3), (n, 5), (n, 3)
    args = [rng.normal(size=s) for s in shapes]
    compiled = tuned(sg.value_and_grad(layers, (0, 1, 2)), *args, tuning=SHORT_STREAMS)
    got, expected = compiled(*args), compiled.graph.evaluate(*args)
    np.testing.assert_allclose(got[0], layers(*args), rtol=1e-13)
    for g, e in zip(got[1], expected[1], strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-11, atol=1e-12)


def chosen(W, V, X):
    """Positions of maxima, beside what exists for one block of points."""
    h = np.tanh(X @ W)
    g = h @ V
    return np.sum(g * (1.0 + np.argmax(g, axis=1)[:, None])) + np.sum(h**2)


def causal(W, V, X):
    """A triangle of points: what is 0 depends on where a block of points begins."""
    h = np.tanh(X @ W)
    i = np.arange(len(X))
    scores = np.where(i[:, None] >= i[None, :], h @ V @ X.T, 0)
    return np.sum(h**2, axis=0), scores @ X, X.T @ scores


def twice(W, V, X):
    """A stream without a product, behind the one with it."""
    h = np.tanh(X @ W)
    g = h @ V
    return np.sum(np.exp(g - np.max(g[:, 0])), axis=0) + np.sum(h**2)


@pytest.mark.quick(2)
@pytest.mark.parametrize("n", [4, 7])
@pytest.mark.parametrize("f", [chosen, causal, twice])
def test_what_blocks_of_points_share(f, n):
    rng = np.random.default_rng(n)
    args = [rng.normal(size=s) for s in ((3, 5), (5, 3), (n, 3))]
    compiled = tuned(f, *args, tuning=SHORT_STREAMS)
    assert 2 in queries.block_sizes(queries.program(compiled))
    got, expected = compiled(*args), f(*args)
    for g, e in zip(*(v if isinstance(v, tuple) else (v,) for v in (got, expected)), strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-13)


@pytest.mark.quick(1)
@pytest.mark.parametrize("f", [chosen, twice])
def test_streams_of_real_size(f):
    rng = np.random.default_rng(8)
    args = [rng.normal(size=s) / 5 for s in ((20, 300), (300, 40), (1000, 20))]
    compiled = sg.compile(f, *args)
    assert 384 in queries.block_sizes(queries.program(compiled))
    np.testing.assert_allclose(compiled(*args), f(*args), rtol=1e-12)


@pytest.mark.quick(1)
@pytest.mark.parametrize("columns", [5, 9, 10, 14, 50])
def test_functions_of_few_columns_are_vectors_in_blocks_of_points(columns):
    rng = np.random.default_rng(columns)
    X, W = rng.normal(size=(40_000, 100)), rng.normal(size=(100, columns)) / 10
    compiled = sg.compile(lambda X, W: np.tanh(X @ W), X, W)
    loop = re.search(r"SG_SIMD\n *for [^\n]*\n *\w+\[[^\n]* = tanh\(", compiled.c_source)
    assert loop
    assert compiled.source.workspace_bytes < 40_000 * columns * 4  # the product is not stored
    np.testing.assert_allclose(compiled(X, W), np.tanh(X @ W), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(64, 64), (300, 50), (100, 300)])
def test_readers_of_a_mirrored_product(shape):
    """What is written under the diagonal is read behind that, not before; twice in a maximum."""
    x = np.sin(np.random.default_rng(0).uniform(-1, 1, shape))
    compiled = sg.compile(lambda x: np.maximum(np.einsum("ik,jk->ij", x, x), 0.1), x)
    np.testing.assert_allclose(compiled(x), np.maximum(x @ x.T, 0.1), atol=1e-12)


@pytest.mark.slow
@needs_sanitizers
@WIDTHS
@pytest.mark.parametrize("n", [17, 20, 23, 47])
def test_triangles_of_panels_that_are_not_full(n, option, tmp_path):
    """Their first panel has columns that are none: nothing is written to their places."""
    rng = np.random.default_rng(n)
    X, d = rng.normal(size=(300, n)), rng.uniform(size=300)
    compiled = sg.compile(lambda X, d: np.einsum("ni,n,nj->ij", X, d, X), X, d)
    assert queries.has(queries.program(compiled), Tiles)
    ((got,),) = run_sanitized([compiled.source], [[X, d]], [[np.empty((n, n))]], tmp_path, option)
    np.testing.assert_allclose(got, (X * d[:, None]).T @ X, atol=1e-12)


@pytest.mark.slow
@needs_sanitizers
@WIDTHS
@pytest.mark.parametrize("n", [12, 20, 23])
def test_panels_that_are_not_full_are_not_read_to_their_end(n, option, tmp_path):
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=(300, 40)), rng.normal(size=(40, n))
    compiled = sg.compile(lambda a, b: a @ b, a, b)
    assert queries.has(queries.program(compiled), Tiles)
    ((got,),) = run_sanitized([compiled.source], [[a, b]], [[np.empty((300, n))]], tmp_path, option)
    np.testing.assert_allclose(got, a @ b, atol=1e-12)


@pytest.mark.slow
@needs_sanitizers
@pytest.mark.parametrize("n", [4, 7])
def test_nothing_is_read_or_written_outside(n, tmp_path):
    args = mixture_data(n, 3, 2)
    value, slopes = mixture_gradient(*args)
    like = [np.empty(()), *map(np.empty_like, slopes)]
    compiled = tuned(sg.value_and_grad(mixture, (0, 1)), *args, tuning=SHORT_STREAMS)
    (got,) = run_sanitized([compiled.source], [args], [like], tmp_path)
    for g, e in zip(got, (value, *slopes), strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-11, atol=1e-13)


@pytest.mark.quick(1)
@needs_sanitizers
@WIDTHS
@pytest.mark.parametrize("columns", [8, 10, 16, 17])
def test_panels_that_are_not_full(columns, option, tmp_path):
    """Rows of a factor begin at the end of the one before, and behind the last there is nothing."""
    rng = np.random.default_rng(columns)
    args = [rng.normal(size=(128, 40)), rng.normal(size=(40, columns))]
    compiled = sg.compile(lambda a, b: (a @ b, b.T @ a.T, np.tanh(a) @ b), *args)
    expected = [args[0] @ args[1], args[1].T @ args[0].T, np.tanh(args[0]) @ args[1]]
    like = [np.empty(e.shape) for e in expected]
    (got,) = run_sanitized([compiled.source], [args], [like], tmp_path, option)
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@needs_sanitizers
@WIDTHS
def test_random_graphs_in_streams_under_sanitizers(option, tmp_path):
    sources = check_seeds(range(7000, 7010), tmp_path, option, 0.5, SHORT_STREAMS)
    assert sum("sg_product" in s.c for s in sources) >= 2


@pytest.mark.slow
@needs_sanitizers
@WIDTHS
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_carries_of_all_tiles(dtype, option, tmp_path):
    """Whole tiles, those at the edges and the triangle of a symmetric product: summands cancel."""
    rng, n = np.random.default_rng(8), 3000
    X, Y = (rng.uniform(1, 2, size=(n, k)).astype(dtype) for k in (31, 70))
    d = np.repeat([1.0, -1.0], n // 2).astype(dtype)
    compiled = tuned(lambda X, Y, d: ((X.T * d) @ Y, (X.T * d) @ X), X, Y, d, tuning=SMALL_TILES)
    like = [np.empty((31, k), dtype) for k in (70, 31)]
    (got,) = run_sanitized([compiled.source], [[X, Y, d]], [like], tmp_path, option)
    assert not queries.has(queries.program(compiled), Tiles, carry=None)
    for g, right in zip(got, (Y, X), strict=True):
        exact = (X.T * d).astype(np.longdouble) @ right.astype(np.longdouble)
        size = X.T.astype(np.longdouble) @ right.astype(np.longdouble)
        assert np.max(np.abs(g - exact) / size) < np.finfo(dtype).eps
