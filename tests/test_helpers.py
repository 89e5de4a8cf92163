"""Each C helper compiled alone with strict warnings, against mpmath and NumPy."""

from __future__ import annotations

import ctypes
import itertools
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import mpmath
import numpy as np
import pytest

from symgrad.emit.c99 import C99
from symgrad.emit.templates import environment
from symgrad.expr.op import OPS, Kind
from symgrad.names import _MATH, _MATH_SUFFIX, _has_base
from symgrad.ops import special

TEMPLATES = environment("c99")
STRICT = (
    "-std=c99 -pedantic -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wdouble-promotion "
    "-Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wundef -Werror"
).split()
COMPILERS = [c for c in ("gcc", "clang") if shutil.which(c)]
FLOAT_HELPERS = {
    "sg_gammaln": 1, "sg_digamma": 1, "sg_polygamma": 2, "sg_sigmoid": 1, "sg_softplus": 1,
    "sg_logaddexp": 2, "sg_mod": 2, "sg_floor_divide": 2, "sg_xlogy": 2,
    "sg_rel_entr": 2, "sg_jn_root": 2,
    "sg_logit": 1,
    "sg_betaln": 2, "sg_polygamma_step": 3, "sg_ndtri": 1, "sg_erfinv": 1, "sg_erfcinv": 1,
    "sg_erfcx": 1, "sg_log_ndtr": 1, "sg_scaled_ierfc": 2, "sg_gammainc": 2,
    "sg_gammaincc": 2, "sg_betainc": 3, "sg_stdtr": 2,
    "sg_bessel_j": 2, "sg_bessel_i": 2, "sg_bessel_ie": 2,
}  # fmt: skip
INT_HELPERS = ("sg_ipow", "sg_imod", "sg_ifloor_divide")
WORD_HELPERS = {"sg_threefry": 3, "sg_fold_words": 1, "sg_random_below": 3}  # of int64 alone
TYPES = {
    "float64": ctypes.c_double,
    "float32": ctypes.c_float,
    "int64": ctypes.c_int64,
    "int32": ctypes.c_int32,
}
INCLUDES = "#include <math.h>\n#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n"
EDGES = np.array([
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 0.1, -0.1, 1e-310, -1e-310, 5e-324,
    1e-300, -1e-300, 1e300, -1e300, 1.7e308, 700.0, -700.0, 745.0, -745.0, 710.0, 1e15, -1e15,
    1e-16, np.inf, -np.inf, np.nan,
])  # fmt: skip


def render(helper: str, dtype: str) -> str:
    """The helper as a function `h`, behind the selection if it uses that."""

    def text(template: str, name: str) -> str:
        return TEMPLATES.get_template(f"helpers/{template}.c.jinja").render(
            name=name, real=C99.types[dtype], integer=C99.types[dtype],
            f="f" if dtype == "float32" else "", lit=lambda value: C99.literal(value, dtype),
        )  # fmt: skip

    own = text(helper, "h")
    select = "sg_selectf" if dtype == "float32" else "sg_select"
    return (text("sg_select", select) if select + "(" in own else "") + own


def build(folder: Path, helper: str, dtype: str, count: int, compiler=COMPILERS[0], extra=()):
    """A function of arrays, elementwise; compiled with the strict list."""
    real = C99.types[dtype]
    names = "abc"[:count]
    operands = ", ".join(f"const {real} *{k}" for k in names)
    prototype = f"void run({operands}, {real} *out, ptrdiff_t n)"
    elements = ", ".join(f"{k}[k]" for k in names)
    loop = f"ptrdiff_t k;\n    for (k = 0; k < n; k++) {{\n        out[k] = h({elements});\n    }}"
    text = f"{INCLUDES}{render(helper, dtype)}\n{prototype};\n{prototype}\n{{\n    {loop}\n}}\n"
    source, library = (
        folder / f"{helper}_{dtype}_{compiler}.c",
        folder / f"{helper}_{dtype}_{compiler}.so",
    )
    source.write_text(text)
    flags = ["-O2", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC", *STRICT, *extra]
    done = subprocess.run(
        [compiler, *flags, str(source), "-o", str(library), "-lm"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run = ctypes.CDLL(str(library)).run
    run.restype = None

    def call(*arrays):
        arrays = [np.ascontiguousarray(a, dtype) for a in np.broadcast_arrays(*arrays)]
        out = np.empty(arrays[0].shape, dtype)
        pointers = [a.ctypes.data_as(ctypes.POINTER(TYPES[dtype])) for a in (*arrays, out)]
        run(*pointers, ctypes.c_ssize_t(out.size))
        return out

    return call


@pytest.fixture(scope="module")
def helper(tmp_path_factory):
    folder, built = tmp_path_factory.mktemp("helpers"), {}

    def get(name: str, dtype: str = "float64"):
        if (name, dtype) not in built:
            built[name, dtype] = build(folder, name, dtype, FLOAT_HELPERS.get(name, 2))
        return built[name, dtype]

    return get


@pytest.mark.sample(27)
@pytest.mark.quick(6)
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FLOAT_HELPERS)
def test_compiles_without_a_warning(tmp_path, name, dtype, compiler):
    build(tmp_path, name, dtype, FLOAT_HELPERS[name], compiler)


@pytest.mark.quick(4)
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize("name", INT_HELPERS)
def test_integer_helper_compiles_without_a_warning(tmp_path, name, dtype, compiler):
    build(tmp_path, name, dtype, 2, compiler)


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", WORD_HELPERS)
def test_helper_of_words_compiles_without_a_warning(tmp_path, name, compiler):
    build(tmp_path, name, "int64", WORD_HELPERS[name], compiler)


FUNCTIONS = [n for n in TEMPLATES.list_templates() if n.startswith(("helpers/sg_", "call/"))]
NAMED = re.compile(r"SG_(KERNEL|SIMD|ALIGNED|NOINLINE)|INFINITY|NAN|NULL|bool|ptrdiff_t|int\d+_t")


@pytest.mark.parametrize("carries", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_template_says_what_it_uses(name, carries):
    """Its `uses` are what its text calls and names: headers and declarations come from them."""
    dtype = "int64" if name.startswith("helpers/sg_i") else "float64"
    module = TEMPLATES.get_template(name).make_module(
        dict(name="own", real=C99.types[dtype], integer=C99.types[dtype], f="", carries=carries,
             lit=lambda value: C99.literal(value, dtype))
    )  # fmt: skip
    text = re.sub(r"(?s)/\*.*?\*/", "", str(module))
    found = {word for word in re.findall(r"\w+", text) if NAMED.fullmatch(word)}
    if "sg_i" not in name:
        found |= {"uint32_t", "uint64_t"} & set(re.findall(r"\w+", text))
    called = set(re.findall(r"\b[A-Za-z]\w*(?=\()", text))
    found |= {call for call in called if _has_base(call, _MATH, _MATH_SUFFIX)}
    found |= {call for call in called & set(HELPERS) if f"/{call}." not in name}
    assert found == set(module.uses.split())
    single = dict(name="own", real="float", integer="int32_t", f="f", carries=carries)
    other = TEMPLATES.get_template(name).make_module(
        {**single, "lit": lambda v: C99.literal(v, "float32")}
    )
    assert other.uses == module.uses


HELPERS = [name.split("/")[1].removesuffix(".c.jinja") for name in FUNCTIONS if "helpers" in name]


def test_every_helper_that_a_row_names_exists():
    wanted = {
        name
        for row in OPS.values()
        if row.kind is not Kind.LOWERED  # those have tests of their own: test_vector_math
        for c in (row.c, row.c_int)
        if c
        for name in re.findall(r"sg_\w+", c)
    }
    assert wanted == {*FLOAT_HELPERS, *INT_HELPERS, *WORD_HELPERS}


def error(value, reference, scale=None) -> float:
    """Largest error relative to the reference, or to a larger scale."""
    worst = 0.0
    for v, r, s in itertools.zip_longest(value, reference, scale if scale is not None else []):
        size = abs(r) if s is None else max(abs(r), s)
        worst = max(worst, float(abs(mpmath.mpf(float(v)) - r) / size)) if size else worst
    return worst


def reference(function, *arrays):
    with mpmath.workdps(40):
        return [
            function(*map(lambda v: mpmath.mpf(float(v)), p)) for p in zip(*arrays, strict=True)
        ]


def agree(got, want, tolerance):
    got, want = np.asarray(got, float), np.asarray(want, float)
    with np.errstate(all="ignore"):
        close = (
            (got == want)
            | (np.isnan(got) & np.isnan(want))
            | (abs(got - want) <= tolerance * abs(want))
        )
    assert close.all(), list(zip(got[~close], want[~close], strict=True))[:5]


def pairs():
    return map(np.ravel, np.meshgrid(EDGES, EDGES))


GAMMA_RANGES = [
    (1e-3, 0.5),
    (0.5, 0.95),
    (0.95, 1.05),
    (1.05, 1.95),
    (1.95, 2.05),
    (2.05, 10),
    (10, 1e3),
    (1e3, 1e30),
]
EPS = {"float64": 2.0**-52, "float32": 2.0**-23}


def sample(low, high, count, dtype):
    x = np.exp(np.random.default_rng(7).uniform(np.log(low), np.log(high), count)).astype(dtype)
    return x[(x != 1) & (x != 2)]


def log_gamma(x):
    return mpmath.re(mpmath.loggamma(x))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("low, high", GAMMA_RANGES)
@pytest.mark.quick(1)
def test_gammaln_and_digamma(helper, dtype, low, high):
    x = sample(low, high, 200, dtype)
    assert error(helper("sg_gammaln", dtype)(x), reference(log_gamma, x)) < 3 * EPS[dtype]
    assert error(helper("sg_digamma", dtype)(x), reference(mpmath.digamma, x)) < 3 * EPS[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gamma_functions_of_negative_numbers(helper, dtype):
    """Roots between the poles limit the relative error to eps times the condition."""
    x = -np.random.default_rng(1).uniform(0, 30, 300).astype(dtype)
    r = reference(log_gamma, x)
    assert error(helper("sg_gammaln", dtype)(x), r, np.maximum(1, abs(x))) < 3 * EPS[dtype]
    scale = [float(abs(v * mpmath.psi(1, v))) + 2 for v in map(float, x)]
    assert (
        error(helper("sg_digamma", dtype)(x), reference(mpmath.digamma, x), scale) < 3 * EPS[dtype]
    )


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_polygamma(helper, dtype, n):
    x = sample(0.01 if dtype == "float32" else 1e-3, 1e3, 200, dtype)
    r = reference(lambda t: mpmath.psi(n, t), x)
    fits = [abs(v) > 1e-35 for v in r]
    got = helper("sg_polygamma", dtype)(np.asarray(float(n)), x)
    assert error(got[fits], [v for v, ok in zip(r, fits, strict=True) if ok]) < 10 * EPS[dtype]
    x = -np.random.default_rng(1).uniform(0, 3, 60).astype(dtype)
    r = reference(lambda t: mpmath.psi(n, t), x)
    scale = [float(abs(v * mpmath.psi(n + 1, v)) + abs(mpmath.psi(n, v))) for v in map(float, x)]
    assert error(helper("sg_polygamma", dtype)(np.asarray(float(n)), x), r, scale) < 10 * EPS[dtype]


def test_polygamma_of_large_arguments_and_orders(helper):
    for n, x in [(1, 1e200), (2, 1e120), (40, 1e5), (100, 60.0), (0, 3.5), (150, 0.9), (1, 1e-150)]:
        with mpmath.workdps(40):
            r = mpmath.psi(n, mpmath.mpf(x))
        for got in (
            helper("sg_polygamma")(np.asarray(float(n)), np.asarray(x)),
            special.polygamma(n, x),
        ):
            assert error(np.ravel(got), [r]) < 1e-13
    for n in (-1.0, 0.5, 1001.0, np.nan, np.inf):
        assert np.isnan(helper("sg_polygamma")(np.asarray(n), np.asarray(2.5)))
        assert np.isnan(special.polygamma(n, 2.5))


@pytest.mark.parametrize("name", ["sg_gammaln", "sg_digamma", "sg_sigmoid", "sg_softplus"])
def test_edges_agree_with_the_evaluator(helper, name):
    x = np.concatenate([EDGES, -np.arange(9.0), np.linspace(-9, 9, 73)])
    agree(helper(name)(x), getattr(special, name[3:])(x), 1e-13)


@pytest.mark.parametrize("n", range(5))
def test_polygamma_edges(helper, n):
    x = np.concatenate([EDGES, -np.arange(9.0), np.linspace(0.1, 9, 73)])
    agree(helper("sg_polygamma")(np.asarray(float(n)), x), special.polygamma(n, x), 1e-13)


POSITIVE = (1e-300, 1e-8, 0.1, 0.5, 1, 1.5, 2.5, 7, 9.9, 10, 10.1, 50, 1e3, 1e6, 1e15, 1e17, 1e300)
NEGATIVE = (-1e-8, -0.1, -0.5, -1.5, -2.5, -7.25, -50.5, -1000.25, -1e6 - 0.25, -1e10 - 0.25)


def exact_betaln(a, b):
    a, b = mpmath.mpf(float(a)), mpmath.mpf(float(b))
    y = a + b
    if y <= 0 and y == mpmath.floor(y):
        return -mpmath.inf
    return mpmath.re(mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(y))


@pytest.mark.slow
def test_betaln(helper):
    """SciPy loses half of the digits where one argument is large, and more among negative ones."""
    pairs = list(itertools.product(POSITIVE, POSITIVE))
    pairs += [p for p in itertools.product(POSITIVE[1:-2] + NEGATIVE, repeat=2) if min(p) < 0]
    a, b = np.array(pairs).T
    with mpmath.workdps(350):
        exact = np.array([float(exact_betaln(x, y)) for x, y in pairs])
    assert np.isfinite(exact).sum() > 450
    for got in (helper("sg_betaln")(a, b), special.betaln(a, b)):
        np.testing.assert_allclose(got, exact, rtol=4e-15, atol=2e-15)
    x, y = np.float32([0.1, 2.5, 1e6, -2.25]), np.float32([3, 1e5, 0.3, 0.5])
    exact = [float(exact_betaln(p, q)) for p, q in zip(x, y, strict=True)]
    np.testing.assert_allclose(helper("sg_betaln", "float32")(x, y), exact, rtol=2e-6)


def test_betaln_at_poles(helper):
    """A pole of one argument is finite where the sum has one as well, as SciPy has it."""
    for a, b, value in (
        (-1, 1, 0.0), (-3, 2, -np.log(6)), (2, -3, -np.log(6)), (-3, 4, np.inf), (-3, 2.5, np.inf),
        (0, 1, np.inf), (-0.0, 2, np.inf), (-1, -1, np.inf), (np.inf, 2, -np.inf),
        (-1.5, 0.5, -np.inf), (np.inf, -2.5, np.inf), (-np.inf, 1, np.inf), (np.nan, 1, np.nan),
        (np.nan, 0, np.nan), (0, np.nan, np.nan),
    ):  # fmt: skip
        for got in (helper("sg_betaln")(np.asarray(a), np.asarray(b)), special.betaln(a, b)):
            np.testing.assert_allclose(got, value, rtol=1e-15, err_msg=f"betaln({a}, {b})")


@pytest.mark.quick(1)
@pytest.mark.parametrize("n", range(5))
def test_polygamma_step(helper, n):
    """Differences of polygamma to the last digits, where the operands agree in all of theirs."""
    values = [v for v in POSITIVE if 1e-10 < v < 1e18]
    x, d = np.array(list(itertools.product(values, values))).T
    with mpmath.workdps(120):
        exact = np.array([
            float(mpmath.psi(n, mpmath.mpf(p) + mpmath.mpf(q)) - mpmath.psi(n, p))
            for p, q in zip(x.tolist(), d.tolist(), strict=True)
        ])  # fmt: skip
    order = np.asarray(float(n))
    for got in (helper("sg_polygamma_step")(order, x, d), special.polygamma_step(n, x, d)):
        np.testing.assert_allclose(got, exact, rtol=2e-15, atol=1e-300)
    back = helper("sg_polygamma_step")(order, np.asarray(3.5), np.asarray(-1.25))
    np.testing.assert_allclose(back, float(mpmath.psi(n, 2.25) - mpmath.psi(n, 3.5)), rtol=2e-15)
    grid = [v.ravel() for v in np.meshgrid([*EDGES, *-np.arange(5.0)], EDGES)]
    with np.errstate(all="ignore"):
        agree(helper("sg_polygamma_step")(order, *grid), special.polygamma_step(n, *grid), 1e-12)
    single = np.float32([0.5, 3, 40]), np.float32([1e-3, 2, 700])
    exact = [float(special.polygamma_step(n, *map(float, v))) for v in zip(*single, strict=True)]
    got = helper("sg_polygamma_step", "float32")(np.float32(n), *single)
    np.testing.assert_allclose(got, exact, rtol=4e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_logit(helper, dtype):
    """Its root at 1/2 as well as the ends, also where 1/x overflows."""
    near = 0.5 + np.outer([1, -1], [2**-22, 1e-6, 1e-3, 0.1, 0.2, 0.3, 0.49]).ravel()
    ends = np.array([1e-5, 1e-20, 1e-30, 1e-38, 1 - 1e-5, 1 - 2**-24, 0.25, 0.75])
    least = np.finfo(dtype).smallest_subnormal
    x = np.concatenate([near, ends, [least, 3 * least, np.finfo(dtype).tiny]]).astype(dtype)
    if dtype == "float64":
        x = np.append(x, 0.5 + np.array([2**-53, -(2**-54), 1e-10]))
    exact = reference(lambda t: mpmath.log(t) - mpmath.log(1 - t), x)
    for got in (helper("sg_logit", dtype)(x), special.logit(x)):
        assert got.dtype == dtype and error(got, exact) < 3 * EPS[dtype]
    edges = np.array([0.5, 0, -0.0, 1, -0.1, 1.1, np.nan, np.inf, -np.inf], dtype)
    wanted = [0, -np.inf, -np.inf, np.inf, *[np.nan] * 5]
    for got in (helper("sg_logit", dtype)(edges), special.logit(edges)):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.slow
def test_special_functions_of_the_evaluator():
    x = np.concatenate([sample(1e-3, 1e3, 200, "float64"), np.linspace(0.91, 2.09, 101)])
    assert error(special.gammaln(x), reference(log_gamma, x)) < 1e-15
    assert error(special.digamma(x), reference(mpmath.digamma, x)) < 1e-15
    for n in (1, 2, 6):
        assert error(special.polygamma(n, x), reference(partial(mpmath.psi, n), x)) < 3e-15
    for function in (special.gammaln, special.digamma, lambda x: special.polygamma(1, x)):
        assert function(np.zeros((0, 3))).shape == (0, 3)
    x = np.linspace(-6, 6, 101)
    assert error(special.erf(x), reference(mpmath.erf, x)) < 1e-15
    assert error(special.erfc(x), reference(mpmath.erfc, x)) < 3e-15


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.quick(1)
def test_sigmoid_softplus_xlogy_logaddexp(helper, dtype):
    x = np.random.default_rng(0).uniform(-80, 80, 300).astype(dtype)
    y = np.random.default_rng(1).uniform(-80, 80, 300).astype(dtype)
    r = reference(lambda t: 1 / (1 + mpmath.exp(-t)), x)
    assert error(helper("sg_sigmoid", dtype)(x), r) < 3 * EPS[dtype]
    r = reference(lambda t: mpmath.log1p(mpmath.exp(t)), x)
    assert error(helper("sg_softplus", dtype)(x), r) < 3 * EPS[dtype]
    r = reference(lambda s, t: s * mpmath.log(t), x, abs(y))
    assert error(helper("sg_xlogy", dtype)(x, abs(y)), r) < 2 * EPS[dtype]
    r = reference(lambda s, t: mpmath.log(mpmath.exp(s) + mpmath.exp(t)), x, y)
    assert (
        error(helper("sg_logaddexp", dtype)(x, y), r, np.maximum(abs(x), abs(y))) < 2 * EPS[dtype]
    )


def signs(a, b):
    """Also the sign of zero."""
    np.testing.assert_array_equal(a, b)
    known = ~np.isnan(a)
    np.testing.assert_array_equal(np.signbit(a)[known], np.signbit(b)[known])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "name, function", [("sg_mod", np.mod), ("sg_floor_divide", np.floor_divide)]
)
def test_division_with_remainder(helper, dtype, name, function):
    rng = np.random.default_rng(3)
    with np.errstate(all="ignore"):
        a, b = (v.astype(dtype) for v in pairs())
        signs(helper(name, dtype)(a, b), function(a, b))
        a, b = rng.normal(0, 9, 3000).astype(dtype), rng.normal(0, 3, 3000).astype(dtype)
        signs(helper(name, dtype)(a, b), function(a, b))
        a, b = np.round(a * 4) / 4, np.round(b * 4) / 4
        signs(helper(name, dtype)(a, b), function(a, b))
        a, b = (a * dtype_of(10.0, dtype)), np.full_like(b, 0.1)
        signs(helper(name, dtype)(a, b), function(a, b))


def dtype_of(value, dtype):
    return np.dtype(dtype).type(value)


def test_edges_of_xlogy_and_logaddexp(helper):
    x, y = pairs()
    with np.errstate(all="ignore"):
        agree(helper("sg_xlogy")(x, y), special.xlogy(x, y), 1e-15)
        agree(helper("sg_rel_entr")(x, y), special.rel_entr(x, y), 1e-15)
        agree(helper("sg_logaddexp")(x, y), np.logaddexp(x, y), 1e-15)


@pytest.mark.parametrize("n", [-1, 0, 1, 2, 4, 8])
def test_jn_root(helper, n):
    """Near 0, where the series is left, far out, and the hyperbolic side."""
    edge = float((n + 1) ** 2)
    x = np.concatenate([
        [0.0, 1e-300, -1e-300, 1e-9, edge * (1 - 1e-15), edge * (1 + 1e-15), 1e4, -899.9, -900.1],
        np.linspace(-100, 300, 81),
    ])  # fmt: skip

    def exact(v):
        if v == 0:
            return 1 / mpmath.fac2(2 * n + 1) if n >= 0 else mpmath.mpf(1)
        z = mpmath.sqrt(mpmath.mpc(v))
        return mpmath.re(mpmath.sqrt(mpmath.pi / (2 * z)) * mpmath.besselj(n + 0.5, z) / z**n)

    r = reference(exact, x)
    scale = np.where(x > 0, (1 + np.abs(x)) ** (-(n + 1) / 2), 0)  # it oscillates around 0
    got = helper("sg_jn_root")(np.full_like(x, n), x)
    assert error(got, r, scale) < 2e-14
    assert error(special.jn_root(n, x), r, scale) < 2e-14
    with np.errstate(all="ignore"):
        agree(helper("sg_jn_root")(*pairs()), special.jn_root(*pairs()), 1e-12)


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_integers(helper, dtype):
    info = np.iinfo(dtype)
    values = np.array(
        [0, 1, -1, 2, -2, 3, -3, 7, -7, 10, info.max, info.min, info.max - 1, info.min + 1], dtype
    )
    a, b = map(np.ravel, np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(helper("sg_imod", dtype)(a, b), np.mod(a, b))
        np.testing.assert_array_equal(
            helper("sg_ifloor_divide", dtype)(a, b), np.floor_divide(a, b)
        )
        up = b >= 0
        np.testing.assert_array_equal(
            helper("sg_ipow", dtype)(a[up], b[up]), np.power(a[up], b[up])
        )
    down = helper("sg_ipow", dtype)(
        np.array([0, 1, -1, -1, 2], dtype), np.array([-1, -3, -3, -2, -1], dtype)
    )
    np.testing.assert_array_equal(down, [0, 1, -1, 1, 0])


@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize("name", INT_HELPERS)
def test_integer_helpers_have_no_undefined_behaviour(tmp_path, name, dtype):
    """Undefined behaviour would stop this process (an illegal instruction)."""
    call = build(
        tmp_path,
        name,
        dtype,
        2,
        extra=("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"),
    )
    info = np.iinfo(dtype)
    values = np.array([0, 1, -1, 2, 63, 64, info.max, info.min, info.max - 1, info.min + 1], dtype)
    call(*map(np.ravel, np.meshgrid(values, values)))
