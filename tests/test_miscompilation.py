"""C of ours that some compilers translate wrongly unless they are told something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from support.codegen import c_of, expanded, run_c
from support.random_graphs import Builder
from symgrad.expr.evaluate import evaluate
from symgrad.runtime.build import build, ffi
from symgrad.runtime.compiler import find_compiler
from symgrad.simplify import simplify

TEXT = (Path(__file__).parent / "support" / "gcc_if_convert.c").read_text()


def results(optimize: int) -> list[np.ndarray]:
    entry = build(TEXT, ("jacfwd_grad_s_entry",), optimize=optimize).entry("jacfwd_grad_s_entry")
    inputs = [np.array([1.2, 0.7, 2.1]), np.array([0.5, 1.7, 2.2, 0.9])]
    outs = [np.full(n, np.nan) for n in (9, 12, 12, 16)]
    status = entry(
        ffi.new("void *[]", [ffi.from_buffer(a) for a in inputs]),
        ffi.new("void *[]", [ffi.from_buffer(a) for a in outs]),
        ffi.NULL,
    )
    assert status == 0
    return outs


def test_every_level_gives_the_same_numbers():
    for level in (1, 2, 3):
        for got, expected in zip(results(level), results(0), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-16)


ORDER = [2, 0, 3, 1]
VIEWS = [
    lambda A: A[..., ::-1],
    lambda A: A[::-1, ::-1],
    np.rot90,
    lambda A: A.T[::-1],
    lambda A: A[:, ORDER],
    lambda A: np.roll(A, 1, axis=1),
    lambda A: np.concatenate([A[:, 1:], A[:, :1]], axis=1),
    lambda A: np.stack([A[:, 3], A[:, 0] * 2, A[:, 1]], axis=1),
    lambda A: np.pad(A[:, ::-1], ((0, 0), (1, 1))),
]  # fmt: skip
SUMS = [
    lambda B, A: np.sum(B),
    lambda B, A: np.mean(B**2),
    lambda B, A: np.linalg.norm(B) + np.sum(A[:, 0]),
    lambda B, A: np.sum(B, axis=0),
    lambda B, A: np.sum(B[:, 2]) + np.sum(B[:, 0]) + np.sum(B[:, 1]),
    lambda B, A: np.sum(np.sum(B, axis=1) * np.sum(B, axis=1)),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rows", [5, 19])
def test_sums_in_another_order_than_memory(rows):
    """gcc 11 to 13 add elements twice in vectors of such sums (its bug 110381), from -O2 on."""
    A = np.random.default_rng(rows).normal(size=(rows, 4))
    texts, names, expected = [], [], []
    for view in VIEWS:
        for total in SUMS if rows == 5 else SUMS[:2]:
            graph = sg.trace(lambda A, view=view, total=total: total(view(A), A), A).simplify()
            names.append(f"f{len(names)}")
            text = c_of(graph.args, expanded(simplify(graph.outs).outs), names[-1]).c
            texts.append(text.replace("c0[", f"{names[-1]}_order["))
            expected.append(total(view(A), A))
    for level in (2, 3):
        library = build("\n".join(texts), tuple(f"{n}_entry" for n in names), optimize=level)
        for name, true in zip(names, expected, strict=True):
            got, work = np.full(np.shape(true), np.nan), np.empty(4096)
            pointers = [ffi.from_buffer(a) for a in (A, got, work)]
            pointer = ffi.new("void *[]", pointers)
            assert library.entry(f"{name}_entry")(pointer, pointer + 1, pointers[2]) == 0
            np.testing.assert_allclose(got, true, rtol=1e-13, err_msg=f"-O{level}\n{name}")


def test_some_sums_are_kept_from_vectors():
    backwards = sg.compile(lambda A: np.sum(A[:, ::-1]), sg.f64[9, 4])
    forwards = sg.compile(lambda A: np.sum(A), sg.f64[9, 4])
    assert "SG_SERIAL" in backwards.c_source and "SG_SERIAL" not in forwards.c_source


def wide() -> bool:
    return "-mavx512f" in find_compiler().native


@pytest.mark.slow
@pytest.mark.parametrize("width", [128, 256, 512])
def test_vectors_of_every_width(width, monkeypatch):
    """gcc 12 reads arrays on the stack by an alignment that they do not have: seed 95, 512 bits."""
    if width == 512 and not wide():
        pytest.skip("needs AVX-512")
    monkeypatch.setenv("SYMGRAD_CFLAGS", f"-mprefer-vector-width={width}")
    for seed in (95, *range(400, 412)):
        b = Builder(seed, "float32" if seed % 5 == 1 else "float64")
        outs, args, values = b.outputs(), list(b.args), b.values()
        simple = expanded(simplify(outs).outs)
        source = c_of(args, simple)
        for level in (1, 3) if seed == 95 else (1,):
            status, got = run_c(source, args, simple, values, optimize=level)
            assert status == 0
            for g, e in zip(got, evaluate(outs, values), strict=True):
                scale = 2e-3 if b.dtype == "float32" else 1e-10
                scale *= max(1.0, float(np.max(np.abs(e), initial=0)))
                np.testing.assert_allclose(g, e, rtol=scale, atol=scale, err_msg=f"{seed}")
