"""glibc's vector functions on the nasty places of their domains: same classes, few ulp.

Each function that glibc has for vectors runs over one array in a vector loop, and the same C without vector functions
runs beside it. Classes (NaN, infinity, zero, sign) have to be equal; the error against mpmath has to
stay below the bound that docs/decisions/0018-… and the comment in generated files promise.

Run as a program, ``python tests/test_vector_math.py``, it prints the largest error of each function.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import re
import sys

import mpmath
import numpy as np
import pytest

import symgrad as sg
from support.codegen import FUSES, c_of
from symgrad.expr.node import arg, bind
from symgrad.expr.op import OPS
from symgrad.ops.elementwise import vector_functions
from symgrad.runtime.build import build, ffi
from symgrad.runtime.compiler import find_compiler

ULP = 4.0  # what glibc promises of its vector functions
TWO = ("atan2", "hypot", "pow")
libm = ctypes.CDLL(ctypes.util.find_library("m"))
libm.pow.argtypes, libm.pow.restype = [ctypes.c_double] * 2, ctypes.c_double


@functools.cache
def rows() -> dict[str, str]:
    """The operation that a C function stands for."""
    found = {}
    for name, row in OPS.items():
        match = re.fullmatch(r"(\w+)@\(\{0\}(, \{1\})?\)", row.c or "")
        if match:
            found[match[1]] = name
    return found


def uses_vector_math() -> bool:
    return any("lmvec" in flag for flag in find_compiler().native)


pytestmark = pytest.mark.skipif(
    not uses_vector_math(),
    reason="no glibc with vector functions, or a compiler that does not use them",
)


def nasty(dtype) -> np.ndarray:
    """Zeros, subnormals, ends of ranges, neighbours of special points, huge arguments, inf, NaN."""
    t = np.dtype(dtype).type
    info = np.finfo(t)
    points = [0.0, info.smallest_subnormal, info.tiny * 0.75, info.tiny, info.eps, info.max]
    for x in (
        0.25,
        0.5,
        1,
        2,
        3,
        8,
        10,
        1000,
        np.pi / 4,
        np.pi / 2,
        np.pi,
        3 * np.pi / 2,
        2 * np.pi,
        np.e,
        np.log(2),
        22.0,
        36.7,
        88.72283,
        88.72284,
        89.4,
        103.27893,
        103.97208,
        104.5,
        127,
        128,
        149,
        150,
        709.782712,
        709.782713,
        710.4758,
        710.5,
        745.13,
        745.14,
        746,
        1023,
        1024,
        1074,
        1075,
        5.86,
        5.9,
        6.0,
        9.19,
        10.05,
        26.5,
        26.54,
        27.2,
        27.3,
        1e-3,
        1e-5,
        1e-8,
        1e-10,
        1e-20,
        1e-30,
        1e5,
        1e6,
        1e7,
        2.0**22,
        2.0**23,
        2.0**24,
        1e9,
        1e10,
        2.0**31,
        2.0**32,
        2.0**52,
        2.0**53,
        1e17,
        1e20,
        1e22,
        1e30,
        1e37,
        3e38,
        1e100,
        1e150,
        1e155,
        1e200,
        1e300,
        5.319372648326541e255,
    ):
        with np.errstate(over="ignore", under="ignore"):
            x = t(x)
        if np.isfinite(x):
            points += [x, np.nextafter(x, t(0)), np.nextafter(x, t(np.inf))]
    rng = np.random.default_rng(5)
    ends = np.log(float(info.tiny)), np.log(float(info.max))
    spread = np.exp(rng.uniform(*ends, 120))
    near = np.concatenate(
        [rng.uniform(0, 2, 80), 1 + rng.normal(size=40) * 1e-3, rng.uniform(0, 110, 120)]
    )
    positive = np.concatenate([np.array(points, t), spread.astype(t), np.abs(near).astype(t)])
    return np.concatenate([positive, -positive, np.array([np.inf, -np.inf, np.nan], t)])


def arguments(name: str, dtype) -> list[np.ndarray]:
    t = np.dtype(dtype).type
    x = nasty(dtype)
    if name not in TWO:
        return [x]
    info = np.finfo(t)
    few = np.array(
        [
            0.0,
            info.smallest_subnormal,
            info.tiny,
            1e-9,
            0.3,
            0.5,
            1,
            np.nextafter(t(1), t(0)),
            np.nextafter(t(1), t(2)),
            2,
            2.5,
            3,
            17,
            1023,
            1e9,
            2.0**53,
            1e30,
            info.max,
            np.inf,
            np.nan,
        ],
        t,
    )
    few = np.concatenate([few, -few])
    a, b = (v.ravel() for v in np.meshgrid(few, few))
    rng = np.random.default_rng(6)
    c = np.exp(rng.normal(size=800) * 5).astype(t)
    return [np.concatenate([a, c * rng.choice([-1, 1], 800).astype(t), x, x[::-1]]),
            np.concatenate([b, (rng.normal(size=800) * 20).astype(t), x[::-1], np.roll(x, 7)])]  # fmt: skip


def run(source: str, entry: str, inputs, *, native: bool) -> np.ndarray:
    function = build(source, (entry,), optimize=3 if native else 1, native=native).entry(entry)
    out = np.full_like(inputs[0], 77)
    pointers = [ffi.from_buffer(a) for a in inputs]
    assert (
        function(
            ffi.new("void *[]", pointers), ffi.new("void *[]", [ffi.from_buffer(out)]), ffi.NULL
        )
        == 0
    )
    return out


def both(name: str, dtype: str) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Arguments, results in a vector loop, results without vector functions."""
    inputs = arguments(name, dtype)
    args = [arg(k, a.shape, dtype) for k, a in enumerate(inputs)]
    source = c_of(args, [bind(rows()[name], *args)])
    assert re.search(r"SG_SIMD\n +for \(", source.c)
    return (
        inputs,
        run(source.c, source.entry, inputs, native=True),
        run(source.c, source.entry, inputs, native=False),
    )


def exact(name: str, *x: float):
    """mpmath's value, None where it has none."""
    names = dict(pow="power")
    try:
        with mpmath.workprec(2300 if abs(x[0]) > 1e15 else 400):
            a = [mpmath.mpf(float(v)) for v in x]
            if name == "log2":
                return mpmath.log(a[0]) / mpmath.log(2)
            if name == "log10":
                return mpmath.log(a[0]) / mpmath.log(10)
            if name == "cbrt":
                return mpmath.sign(a[0]) * mpmath.cbrt(abs(a[0]))
            if name == "exp" and abs(a[0]) > 2000:
                return None
            return getattr(mpmath, names.get(name, name))(*a)
    except (ValueError, ZeroDivisionError, OverflowError, mpmath.libmp.ComplexResult):
        return None


def errors(name: str, inputs, got: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Errors in ulp of the exact value; 0 where there is no finite one to compare with."""
    result = np.zeros(got.shape)
    with np.errstate(all="ignore"):
        spacing = np.spacing(np.abs(plain)).astype(float)
    for k in np.flatnonzero(np.isfinite(plain) & np.isfinite(got)):
        if got[k] == plain[k]:
            continue  # the scalar functions stay below one ulp (two for a few)
        value = exact(name, *(a[k] for a in inputs))
        if value is None or not isinstance(value, mpmath.mpf):
            value = mpmath.mpf(float(plain[k]))
        result[k] = float(abs(mpmath.mpf(float(got[k])) - value) / mpmath.mpf(float(spacing[k])))
    return result


def classes(x: np.ndarray) -> np.ndarray:
    """0 zero, 1 finite, 2 infinite, negative with a sign; 3 NaN."""
    kind = np.where(x == 0, 0.5, np.where(np.isinf(x), 2, 1))
    return np.where(np.isnan(x), 3, np.copysign(kind, x))


def faults(name: str, dtype: str) -> list[str]:
    inputs, got, plain = both(name, dtype)
    tiny = np.finfo(dtype).smallest_subnormal
    wrong = (classes(got) != classes(plain)) & ~((np.abs(got) <= 4 * tiny) & (np.abs(plain) <= 4 * tiny)
                                                 & (np.signbit(got) == np.signbit(plain)))  # fmt: skip
    wrong |= errors(name, inputs, got, plain) > ULP
    return [f"{name}({', '.join(repr(a[k]) for a in inputs)}) = {got[k]!r}, should be {plain[k]!r}"
            for k in np.flatnonzero(wrong)]  # fmt: skip


@pytest.mark.quick(6)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", vector_functions())
def test_nasty_places(name, dtype):
    found = faults(name, dtype)
    assert not found, f"{len(found)}: " + "; ".join(found[:5])


@pytest.mark.parametrize("exponent", [0.7, -0.3, 1.7, -1.5, 1e-5, 1 / 3, 33.3, -63.9, 64 - 2**-46])
def test_powers_by_own_code(exponent):
    """Bases of every size to a constant exponent, many of them."""
    x = nasty(np.float64)
    x = np.concatenate([x, np.exp(np.random.default_rng(7).uniform(-9, 9, 1500))])
    compiled = sg.compile(lambda x: x**exponent, x)
    assert "sg_powers(" in compiled.c_source
    got, plain = compiled(x), np.array([libm.pow(v, exponent) for v in x])
    np.testing.assert_array_equal(classes(got), classes(plain))
    assert np.max(errors("pow", [x, np.full(x.shape, exponent)], got, plain)) < (
        2 if FUSES else ULP
    )


if __name__ == "__main__":
    for name in sys.argv[1:] or vector_functions():
        for dtype in ("float64", "float32"):
            inputs, got, plain = both(name, dtype)
            e = errors(name, inputs, got, plain)
            worst = int(np.argmax(e))
            print(f"{name:6} {dtype}  {len(got)} points, worst {e[worst]:.2f} ulp at "
                  f"{[float(a[worst]) for a in inputs]}")  # fmt: skip
            for line in faults(name, dtype)[:12]:
                print("    ", line)
