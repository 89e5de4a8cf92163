"""blas=True: large products of matrices by SciPy's BLAS, or one that exported C is linked with."""

from __future__ import annotations

import ctypes
import os
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import symgrad as sg
from support import codegen, queries
from support.codegen import STRICT, tuned
from support.functions import normals
from support.random_graphs import compare
from support.tunings import SHORT_STREAMS, SMALL_TILES
from symgrad.errors import BuildError, MissingPackageError
from symgrad.generate import source_of
from symgrad.lower.cpu import Gemm, Tiles
from symgrad.lower.tuning import HOST_TUNING
from symgrad.runtime.blas import _address, connect
from symgrad.runtime.build import build

pytest.importorskip("scipy.linalg.cython_blas")


EVERY = replace(HOST_TUNING, blas_from_work=0)  # product of matrices


def calls(compiled):
    return queries.count(queries.program(compiled), Gemm)


def loss(v, w, x):
    return np.sum(np.tanh(np.tanh(x @ v) @ w) ** 2)


def slopes(v, w, x):
    """The gradient of `loss` by v and w, by hand."""
    h = np.tanh(x @ v)
    o = np.tanh(h @ w)
    d = 2 * o * (1 - o**2)
    return x.T @ ((d @ w.T) * (1 - h**2)), h.T @ d


PRODUCTS = [
    (1, lambda a, b: a @ b, ((31, 40), (40, 23))),
    (1, lambda a, b: a @ b.T, ((31, 40), (23, 40))),
    (1, lambda a, b: a.T @ b, ((40, 31), (40, 23))),
    (1, lambda a, b: a.T @ b.T, ((40, 31), (23, 40))),
    (1, lambda a, b: (a @ b).T, ((31, 40), (40, 23))),
    (1, lambda a, b: np.exp(a) @ np.sin(b.T), ((31, 40), (23, 40))),
    (1, lambda a, b: a[3:34, 2:42] @ b[1:41], ((40, 50), (50, 23))),
    (1, lambda a, b: a[::2, ::2] @ b[::2], ((62, 80), (80, 23))),
    (1, lambda a, b: np.concatenate([a @ b, a[:, :23]]), ((31, 40), (40, 23))),
    (1, lambda a, b: np.einsum("bij,bkj->bik", a, b), ((3, 31, 40), (3, 23, 40))),
    (1, lambda a, b: np.einsum("ijc,kjc->ik", a, b), ((31, 10, 4), (23, 10, 4))),
    (1, lambda a, b: np.einsum("ij,bkj->bki", a, b), ((31, 40), (3, 23, 40))),
    (0, lambda a, b: np.einsum("ijb,kjb->ikb", a, b), ((31, 40, 3), (23, 40, 3))),
    (0, lambda a, b: a.T @ (a * b[:, None]), ((40, 31), (40,))),  # symmetric: one triangle is less
    (1, lambda a, b: a @ np.triu(b), ((31, 40), (40, 40))),
]


@pytest.mark.quick(8)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", range(len(PRODUCTS)))
def test_products(case, dtype):
    count, f, shapes = PRODUCTS[case]
    args = normals(*shapes, dtype=dtype)
    compiled = tuned(f, *args, blas=True, tuning=EVERY)
    assert calls(compiled) == count
    got, expected = compiled(*args), f(*(a.astype(np.longdouble) for a in args))
    size = f(*(np.abs(a) for a in args[:2])).max() * (2e-15 if dtype == "float64" else 1e-6)
    np.testing.assert_allclose(got, expected, rtol=0, atol=size)
    assert got.dtype == dtype


@pytest.mark.quick(2)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n", [300, 2048, 5001])
def test_blocks_of_points(n, threads):
    args = normals((40, 60), (60, 50), (n, 40))
    gradient = sg.grad(loss, argnums=(0, 1))
    compiled = tuned(gradient, *args, blas=True, threads=threads, tuning=EVERY)
    assert calls(compiled) == 5
    program = queries.program(compiled)
    assert not queries.has(program, Tiles)
    assert (1024 in queries.block_sizes(program)) == (n >= 2048)
    for g, e in zip(compiled(*args), slopes(*args), strict=True):
        np.testing.assert_allclose(g, e, rtol=0, atol=1e-12 * np.abs(e).max())


@pytest.mark.sample(3)
@pytest.mark.quick(1)
@pytest.mark.parametrize("block", range(3))
@pytest.mark.parametrize("streams", [False, True])
def test_random_graphs(block, streams, monkeypatch):
    tuning = replace(SHORT_STREAMS if streams else SMALL_TILES, blas_from_work=0, blas_block=2)
    made = []

    def connected(text, *args, **options):
        library = build(text, *args, blas="SG_BLAS" in text, **options)
        connect(library)
        made.append(library.blas)
        return library

    monkeypatch.setattr(codegen, "build", connected)
    for seed in range(8000 + 10 * block, 8000 + 10 * block + 10):
        dtype = "float64" if block else "float32"
        compare(seed, dtype, block == 2, products=0.5, blas=True, tuning=tuning)
    assert any(made)


def test_what_stood_in_the_result_does_not_matter():
    a, b = normals((31, 40), (40, 23))
    out = np.full((31, 23), np.nan)
    compiled = tuned(np.matmul, a, b, blas=True, tuning=EVERY)
    assert compiled(a, b, out=out) is out
    np.testing.assert_allclose(out, a @ b, atol=1e-13)


def test_the_default_calls_none():
    a = np.ones((300, 300))
    plain, called = sg.compile(np.matmul, a, a), sg.compile(np.matmul, a, a, blas=True)
    assert "gemm" not in plain.c_source
    assert not plain._native.library.blas
    assert calls(called) == 1
    assert called._native.library.blas
    small = sg.compile(np.matmul, a[:200, :200], a[:200, :200], blas=True)
    assert small.c_source == sg.compile(np.matmul, a[:200, :200], a[:200, :200]).c_source
    assert not small._native.library.blas


def test_jit_sparse_and_pickles():
    a, b = normals((300, 300), (300, 300))
    f = sg.jit(lambda a, b: np.sum(np.tanh(a @ b)), blas=True)
    assert f(a, b) == pytest.approx(np.sum(np.tanh(a @ b)), rel=1e-12)
    (compiled,) = f.compiled.values()
    again = pickle.loads(pickle.dumps(compiled))
    assert again.options == compiled.options
    assert calls(again) == 1
    sparse = sg.sparse_jacobian(lambda x: (a @ b)[0] * x**2).compile(b[0], blas=True)
    assert sparse.compiled.options == compiled.options
    np.testing.assert_allclose(sparse(b[0]).toarray(), np.diag(2 * (a @ b)[0] * b[0]), rtol=1e-12)


@pytest.mark.parametrize("odd", [1, 0, None, "yes"])
def test_odd_values_are_refused(odd):
    with pytest.raises(BuildError, match="blas"):
        sg.jit(np.sin, blas=odd)
    with pytest.raises(BuildError, match="blas"):
        sg.compile(np.sin, 1.0, blas=odd)
    with pytest.raises(BuildError, match="blas"):
        sg.sparse_hessian(lambda x: np.sum(x**2)).compile(np.ones(3), blas=odd)


def test_files_in_several_units():
    """Of which one defines the pointer and the others call by it."""
    tuning = replace(EVERY, part_statements=1, unit_parts=1)
    args = normals((40, 60), (60, 50), (70, 40))
    compiled = tuned(sg.grad(loss, argnums=(0, 1)), *args, blas=True, tuning=tuning)
    assert compiled.source.units > 3
    for g, e in zip(compiled(*args), slopes(*args), strict=True):
        np.testing.assert_allclose(g, e, rtol=0, atol=1e-12 * np.abs(e).max())


def test_a_library_without_pointers_is_refused():
    library = build(sg.compile(np.sin, 1.0).c_source, ("sin_",), blas=True)
    with pytest.raises(BuildError, match="no pointer"):
        connect(library)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.linalg", None)
    _address.cache_clear()
    a, b = normals((32, 40), (40, 23))
    with pytest.raises(MissingPackageError, match=r"symgrad\[sparse\]"):
        tuned(np.matmul, a, b, blas=True, tuning=EVERY)
    np.testing.assert_allclose(sg.compile(np.matmul, a, b)(a, b), a @ b, atol=1e-13)


RECORDS = """
import numpy as np, symgrad as sg
from symgrad.options import Options
from symgrad.runtime.record import Record
a = np.arange(90_000.0).reshape(300, 300) / 1000
compiled = sg.compile(np.matmul, a, a, blas=True)
np.testing.assert_allclose(compiled(a, a), a @ a, rtol=1e-12)
graph = compiled.graph
found = [Record(graph.digest(), graph.captured, Options(blas=b)).find() for b in (True, False)]
print(compiled._native.library.from_cache, *[record and record[1].blas for record in found])
"""


@pytest.mark.slow
def test_records(tmp_path):
    place = {"SYMGRAD_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    for from_cache in (False, True):
        done = subprocess.run([sys.executable, "-c", RECORDS], env={**os.environ, **place},
                              capture_output=True, text=True)  # fmt: skip
        assert done.stdout == f"{from_cache} True None\n", done.stderr


# ---- exported C --------------------------------------------------------------------------------

NAIVE = """
#include <stdint.h>
typedef INTEGER integer;
void dgemm_(const char *ta, const char *tb, const integer *m, const integer *n, const integer *k,
            const double *alpha, const double *a, const integer *lda, const double *b,
            const integer *ldb, const double *beta, double *c, const integer *ldc)
{
    for (integer i = 0; i < *m; ++i) {
        for (integer j = 0; j < *n; ++j) {
            double sum = 0;
            for (integer l = 0; l < *k; ++l) {
                sum += (*ta == 'N' ? a[i + l * *lda] : a[l + i * *lda])
                     * (*tb == 'N' ? b[l + j * *ldb] : b[j + l * *ldb]);
            }
            c[i + j * *ldc] = *alpha * sum + (*beta == 0 ? 0 : *beta * c[i + j * *ldc]);
        }
    }
}
"""


@pytest.mark.parametrize("integer", ["int32_t", "int64_t"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.quick(2)
def test_exported_c_with_another_blas(compiler, integer, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")

    def three(a, b, c):
        return a @ b, c @ a.T, np.cos(b) @ c

    args = normals((31, 40), (40, 23), (23, 40))
    compiled = tuned(three, *args, blas=True, tuning=EVERY)
    assert calls(compiled) == 3
    path = compiled.export(tmp_path)[0]
    (tmp_path / "naive.c").write_text(NAIVE.replace("INTEGER", integer))
    command = [compiler, "-std=c99", "-O1", "-shared", "-fPIC", str(path),
               str(tmp_path / "naive.c"), "-o", str(tmp_path / "three.so"), "-lm"]  # fmt: skip
    subprocess.run(command, check=True)
    expected = three(*args)
    got = [np.full_like(e, np.nan) for e in expected]
    work = np.empty(compiled.source.workspace_bytes // 8 + 8)
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in (*args, *got, work)]
    assert ctypes.CDLL(str(tmp_path / "three.so")).three(*pointers) == 0
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=0, atol=1e-13)


@pytest.mark.parametrize("option", [[], ["-DSG_BLAS"], ["-DSG_BLAS", "-DSG_UNIT=1"]])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_warnings(compiler, option):
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    for dtype in (np.float64, np.float32):
        graph = sg.trace(np.matmul, *normals((31, 40), (40, 23), dtype=dtype)).simplify()
        command = [compiler, *STRICT, *option, "-fsyntax-only", "-x", "c", "-"]
        text = source_of(graph, blas=True, tuning=EVERY).c
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_sizes_beyond_32_bits():
    def call(*shapes):
        """The call of the BLAS, with the names of what it multiplies: x1, x2 or copies."""
        graph = sg.trace(np.matmul, *(sg.f64[shape] for shape in shapes)).simplify()
        return re.findall(r"^ +sg_gemm\((.*)\);", source_of(graph, blas=True).c, re.MULTILINE)

    (whole,) = call((40, 2**25), (2**25, 40))
    assert "x1" in whole
    assert "x2" in whole
    assert call((40, 2**31), (2**31, 40)) == []
    assert call((2**30, 40), (40, 1000)) == []  # the result
    (copied,) = call((3, 2**16, 2**15), (3, 2**15, 40))  # of the first, matrix by matrix
    assert "x1" not in copied
    assert "x2" in copied
