"""Sines and cosines of several angles at once: within 1 ulp, the same bits from every compiler."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess

import mpmath
import numpy as np
import pytest

import symgrad as sg
from support import queries
from symgrad.lower.interpret import interpret
from symgrad.lower.statements import Sines

COMPILERS = [c for c in ("gcc", "clang") if shutil.which(c)]
LEVELS = ("-O0", "-O1", "-O2", "-O3", "-O3 -march=native")
STRICT = (
    "-std=c99 -pedantic -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wdouble-promotion "
    "-Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wundef -Werror"
).split()
N = 8
SPECIAL = np.array([
    0.0, -0.0, 5e-324, -5e-324, 1e-310, 2.3e-308, 1e-300, -1e-20, 1e-8, -1e-8, 0.5, -0.5,
    8192.0, -8192.0, math.nextafter(8192.0, 1e9), -1e4, 1e5, 1e15, 1e22, -1e300, 1.7e308,
    np.inf, -np.inf, np.nan,
])  # fmt: skip


def angles() -> np.ndarray:
    """Random ones, the doubles next to multiples of an eighth of a turn, special ones."""
    rng = np.random.default_rng(0)
    found = [SPECIAL, rng.uniform(-1, 1, 1500), rng.uniform(-10, 10, 1500)]
    found += [rng.uniform(-8192, 8192, 1500)]
    with mpmath.workdps(60):
        turns = [*range(-40, 40), *rng.integers(-5215, 5216, 1000).tolist()]
        near = np.array([float(k * mpmath.pi / 4) for t in turns for k in (2 * t, 2 * t + 1)])
    found += [near, np.nextafter(near, np.inf), np.nextafter(near, -np.inf)]
    found += [6381956970095103.0 * 2.0 ** np.arange(-50, -42)]  # the double next to such a multiple
    x = np.concatenate(found)
    return np.concatenate([x, np.zeros(-x.size % N)])


def both(x):
    return np.sin(x), np.cos(x)


def made_by(compiler, level, folder, exact="-ffp-contract=off"):
    """The exported function of N angles, for arrays of any length."""
    folder.mkdir(exist_ok=True)
    sg.compile(both, sg.f64[N], name="both", scalar=True).export(folder, overwrite=True)
    library = folder / "both.so"
    flags, made = [*level.split(), *STRICT, exact, "-fPIC", "-c"], folder / "both.o"
    subprocess.run([compiler, *flags, folder / "both.c", "-o", made], check=True)
    # linked without -ffast-math, which has a library set what is subnormal to 0 in all of a process
    subprocess.run([compiler, "-shared", made, "-o", library, "-lm"], check=True)
    run = ctypes.CDLL(str(library)).both
    pointer = ctypes.POINTER(ctypes.c_double)

    def call(x):
        x, out = np.ascontiguousarray(x), np.empty((2, x.size))
        for k in range(0, x.size, N):
            parts = (x[k : k + N], out[0, k : k + N], out[1, k : k + N])
            assert run(*(p.ctypes.data_as(pointer) for p in parts)) == 0
        return out

    return call


@pytest.mark.slow
def test_within_one_ulp_by_every_compiler(tmp_path):
    x = angles()
    found = None
    for compiler in COMPILERS:
        for k, level in enumerate(LEVELS):
            got = made_by(compiler, level, tmp_path / f"{compiler}{k}")(x)
            assert found is None or got.tobytes() == found.tobytes(), (compiler, level)
            found = got
    assert found is not None
    finite = np.isfinite(x)
    assert np.isnan(found[:, ~finite]).all()
    zero = x == 0
    assert np.array_equal(np.signbit(found[0, zero]), np.signbit(x[zero]))
    with mpmath.workdps(400):
        for f, row in ((mpmath.sin, found[0]), (mpmath.cos, found[1])):
            for angle, got in zip(x[finite].tolist(), row[finite].tolist(), strict=True):
                right = f(mpmath.mpf(angle))
                assert abs(mpmath.mpf(got) - right) <= 0.85 * math.ulp(float(right)), angle


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("free", ["-ffp-contract=fast", "-ffast-math"])
def test_compilers_may_contract_and_associate(compiler, free, tmp_path):
    """Exported C is compiled as its user likes it."""
    x = np.random.default_rng(1).uniform(-100, 100, 800)
    got = made_by(compiler, "-O3 -march=native", tmp_path, free)(x)
    right = np.stack([np.sin(x), np.cos(x)])
    assert np.max(np.abs(got - right) / np.spacing(np.abs(right))) < 4


def test_what_is_taken_at_once():
    def chain(x):
        return np.cos(np.sin(x)) + np.sin(x[0] + x[1])

    def few(x):
        return np.sin(x[:3])

    for f, size, count in ((both, 6, 1), (both, 7, 1), (chain, 4, 1), (few, 6, 0)):
        made = sg.compile(f, sg.f64[size], scalar=True)
        program = queries.program(made)
        assert queries.count(program, Sines) == count, f
        for seed in range(3):
            x = np.random.default_rng(seed).uniform(-20, 20, size)
            rights, ones = f(x), made(x)
            for right, got in zip(np.atleast_2d(rights), np.atleast_2d(ones), strict=True):
                assert np.allclose(got, right, rtol=1e-14, atol=1e-15)
            outs = interpret(program, [x]).outputs
            assert np.allclose(np.ravel(outs), np.ravel(rights), rtol=1e-14, atol=1e-15)


def test_float32_and_processors_without_vectors_call_the_library():
    made = sg.compile(both, sg.f32[6], scalar=True)
    assert not queries.count(queries.program(made), Sines)
    small = sg.compile(both, sg.f64[6], scalar=True, machine="cortex_m4")
    assert "sg_sines" not in small.c_source
