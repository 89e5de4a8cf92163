"""The public transformations as a user calls them: nesting, structure, errors, boundaries."""

from __future__ import annotations

import dataclasses
import pickle
import re
import subprocess
import threading
import warnings
from collections import namedtuple

import mpmath
import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import (
    ConcretizationError,
    DifferentiationError,
    DtypeError,
    ExportError,
    ShapeError,
    StructureError,
    SymgradWarning,
    UnsafeNameError,
    UnsupportedError,
)  # fmt: skip
from symgrad.runtime.compiler import find_compiler

RNG = np.random.default_rng(0)


def rosen(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.mark.quick(6)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "f, g",
    [(np.tanh, mpmath.tanh), (lambda x: x**4, lambda x: x**4),
     (lambda x: np.log(np.exp(x) + np.exp(2 * x)),
      lambda x: mpmath.log(mpmath.exp(x) + mpmath.exp(2 * x))),
     (lambda x: x**x, lambda x: x**x)],
)  # fmt: skip
def test_nested_gradients_against_mpmath(f, g, order):
    nested = f
    for _ in range(order):
        nested = sg.grad(nested)
    with mpmath.workdps(40):
        expected = float(mpmath.diff(g, mpmath.mpf("0.7"), order))
    assert nested(0.7) == pytest.approx(expected, rel=1e-12, abs=1e-13)


def test_transformations_nest_in_any_order():
    x = RNG.normal(size=5)
    h = sg.hessian(rosen)(x)
    for other in (
        sg.jit(sg.hessian(rosen)), sg.hessian(sg.jit(rosen)), sg.jacfwd(sg.grad(rosen)),
        sg.jacrev(sg.grad(rosen)), sg.jacobian(sg.grad(rosen)), sg.jacrev(sg.jacrev(rosen)),
        sg.jacfwd(sg.jacfwd(rosen)), lambda x: np.stack([sg.hvp(rosen, x, e) for e in np.eye(5)]),
        sg.jit(lambda x: sg.vmap(lambda v: sg.hvp(rosen, x, v))(np.eye(5))),
    ):  # fmt: skip
        np.testing.assert_allclose(other(x), h, rtol=1e-12, atol=1e-10)
    X = RNG.normal(size=(4, 5))
    np.testing.assert_allclose(
        sg.vmap(sg.grad(rosen))(X), np.stack([sg.grad(rosen)(r) for r in X]), rtol=1e-13
    )


def test_jvp_vjp_hvp_are_consistent():
    def f(x, y):
        return np.sin(x) * y, np.sum(x * y)

    x, y, dx, dy, u = RNG.normal(size=(5, 3))
    out, tangent = sg.jvp(f, (x, y), (dx, dy))
    value, pullback = sg.vjp(f, x, y)
    np.testing.assert_allclose(out[0], value[0])
    pulled = pullback((u, 2.0))
    assert np.dot(u, tangent[0]) + 2 * tangent[1] == pytest.approx(
        np.dot(pulled[0], dx) + np.dot(pulled[1], dy), rel=1e-13
    )
    with pytest.raises(StructureError):
        pullback(u)
    with pytest.raises(ShapeError):
        sg.jvp(f, (x, y), (dx[:2], dy))


Pair = namedtuple("Pair", "a b")


@dataclasses.dataclass
class Model:
    w: np.ndarray
    rest: dict


def test_nested_arguments_and_results():
    def f(m, p, n):
        return np.sum(m.w * p.a) + m.rest["k"][0] * p.b

    m = Model(np.ones(2), {"k": [2.0, None]})
    g = sg.grad(f, argnums=(0, "p"))(m, Pair(np.array([1.0, 2.0]), 3.0), None)
    assert isinstance(g[0], Model) and g[0].rest == {"k": [3.0, None]}
    np.testing.assert_array_equal(g[0].w, [1.0, 2.0])
    assert isinstance(g[1], Pair) and g[1].b == 2.0


def test_results_are_plain_and_fresh():
    f = sg.jit(lambda x: (np.sum(x), x > 0, np.argmax(x), np.max(x) > 0, x, np.array([1.0, 2.0])))
    x = np.array([1.0, 3.0])
    a, b = f(x), f(x)
    assert type(a[0]) is float and type(a[2]) is int and type(a[3]) is bool
    assert a[1].dtype == bool
    for p, q in zip(a, b, strict=True):
        if isinstance(p, np.ndarray):
            assert not np.shares_memory(p, q) and not np.shares_memory(p, x)
            p[...] = 0
    np.testing.assert_array_equal(f(x)[5], [1.0, 2.0])


def test_argnums_names_aux_and_statics():
    def f(x, y, how="a"):
        return (x * y if how == "a" else x + y), {"twice": 2 * x}

    assert sg.grad(f, argnums="y", has_aux=True)(2.0, 3.0) == (2.0, {"twice": 4.0})
    assert sg.grad(f, argnums=-1, has_aux=True)(2.0, 3.0)[0] == 2.0
    assert sg.grad(f, has_aux=True)(2.0, 3.0, how="b")[0] == 1.0
    assert sg.value_and_grad(lambda x, y: x * y, argnums=(0, 1))(2.0, 3.0) == (6.0, (3.0, 2.0))
    with pytest.raises(StructureError):
        sg.grad(f, argnums="z")(1.0, 2.0)
    with pytest.raises(StructureError):
        sg.grad(f, argnums=5)(1.0, 2.0)


def test_aux_of_the_other_derivatives():
    """As in JAX: (derivative, auxiliary), and third of what jvp and vjp return."""
    x, v = np.array([0.3, 0.7]), np.array([1.0, -2.0])

    def f(x):
        return x**2, {"half": x / 2, "n": 3}

    for jacobian in (sg.jacobian, sg.jacfwd, sg.jacrev):
        matrix, aux = jacobian(f, has_aux=True)(x)
        np.testing.assert_allclose(matrix, np.diag(2 * x))
        np.testing.assert_array_equal(aux["half"], x / 2)
        assert aux["n"] == 3
    matrix, aux = sg.hessian(lambda x: (np.sum(x**3), x + 1), has_aux=True)(x)
    np.testing.assert_allclose(matrix, np.diag(6 * x))
    np.testing.assert_array_equal(aux, x + 1)
    value, tangent, aux = sg.jvp(f, (x,), (v,), has_aux=True)
    np.testing.assert_allclose([value, tangent], [x**2, 2 * x * v])
    np.testing.assert_array_equal(aux["half"], x / 2)
    value, pull, aux = sg.vjp(f, x, has_aux=True)
    np.testing.assert_allclose([value, pull(v)[0]], [x**2, 2 * x * v])
    assert aux["n"] == 3
    with pytest.raises(StructureError, match=r"test_api.py:\d+: vjp.*needs a \(value, aux\)"):
        sg.vjp(np.sin, x, has_aux=True)
    with pytest.raises(StructureError, match=r"test_api.py:\d+: .*names an argument twice"):
        sg.grad(lambda a, b: a * b, argnums=(0, -2))(1.0, 2.0)


def test_errors_name_the_users_line():
    def size(x):
        return x * np.sum(np.ones(int(x)))

    with pytest.raises(ConcretizationError, match=r"test_api.py:\d+: .*must be plain integers"):
        sg.grad(size)(2.0)
    with pytest.raises(DifferentiationError, match=r"float64\[3\].*jacobian"):
        sg.grad(lambda x: x * 2)(np.ones(3))
    with pytest.raises(DifferentiationError, match="astype"):
        sg.grad(lambda x: np.sum(x * 1.0))(np.array([1, 2]))
    with pytest.raises(UnsupportedError, match="fft"):
        sg.jit(lambda x: np.fft.fft(x))(np.ones(3))
    assert sg.grad(lambda x: x**2)(3) == 6.0


def test_unused_arguments_have_zero_gradients():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SymgradWarning)
        np.testing.assert_array_equal(sg.grad(lambda x, y: y * 2)(np.ones(3), 1.0), np.zeros(3))


ODD = [
    (np.ones(5), ShapeError), (np.ones(7), ShapeError), (np.ones((6, 1)), ShapeError),
    (np.float64(1.0), ShapeError), (1.0, ShapeError), (np.array(1.0), ShapeError),
    (np.ones(0), ShapeError), (np.ones(6, ">f8"), DtypeError), (np.ones(6, np.float32), DtypeError),
    (np.ones(6, int), DtypeError), (np.ones(6, complex), DtypeError),
    (np.array(["a"] * 6), DtypeError), (np.ones(6, bool), DtypeError),
    (np.ones(6, object), DtypeError), (np.zeros(6, "M8[s]"), DtypeError),
    (np.ones(6, np.float16), DtypeError),
    (np.ma.masked_array(np.ones(6)), StructureError), (np.ones(6).view(np.matrix), StructureError),
    ("text", StructureError), (1j, DtypeError), (np.ones(6).view(np.recarray), StructureError),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(ODD)))
def test_odd_arrays_are_refused_by_name(k):
    f = sg.compile(lambda velocity: np.sum(velocity * np.arange(6.0)), sg.f64[6])
    value, kind = ODD[k]
    with pytest.raises((kind, StructureError), match="velocity|structure"):
        f(value)


def test_odd_layouts_are_right():
    f = sg.compile(lambda x: np.sum(x * np.arange(6.0)), sg.f64[6])
    base = np.arange(12.0)
    raw = np.zeros(49, np.uint8)
    unaligned = raw[1:].view(np.float64)
    unaligned[:] = base[:6]
    frozen = base[:6].copy()
    frozen.flags.writeable = False
    for x in (base[::2], base[5::-1], unaligned, frozen, np.asfortranarray(base[:6])):
        assert f(x) == np.sum(x * np.arange(6.0))


def test_out_arguments():
    f = sg.compile(lambda x: (x * 2, np.sum(x)), sg.f64[3])
    x, a, b = np.ones(3), np.empty(3), np.empty(())
    result = f(x, out=(a, b))
    assert result[0] is a and b == 3.0 and (a == 2).all()
    frozen = np.empty(3)
    frozen.flags.writeable = False
    short, narrow, strided = np.empty(4), np.empty(3, np.float32), np.empty(6)[::2]
    for bad in (x, frozen, short, narrow, strided, a[:0], [1.0] * 3):
        with pytest.raises((StructureError, ShapeError, DtypeError)):
            f(x, out=(bad, b))
    big = np.empty(4)
    with pytest.raises(StructureError, match="overlaps"):
        sg.compile(lambda x: (x * 2, x * 3), sg.f64[3])(x, out=(big[:3], big[1:]))


def test_compiled_calls_and_pickles():
    f = sg.compile(lambda x, y: x * y + 1, sg.f64[2], sg.f64, name="scaled")
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(f(x, y=3.0), f(x, 3.0))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(f))(x, 3.0), f(x, 3.0))
    with pytest.raises(StructureError):
        f(x)
    with pytest.raises(UnsafeNameError):
        sg.compile(lambda x: x, sg.f64, name="*/ int z; /*")
    assert "workspace" in str(f.cost())


def test_export_of_captured_data(tmp_path):
    A = RNG.normal(size=(100, 60))
    c = sg.compile(sg.grad(lambda x: np.sum(np.tanh(A @ x))), sg.f64[60], name="captured")
    paths = c.export(tmp_path)
    assert [p.name for p in paths] == ["captured.c", "captured.h", "captured_data.c"]
    with pytest.raises(ExportError):
        c.export(tmp_path)
    c.export(tmp_path, overwrite=True)
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "captured.h"\nint main(void)\n{\n'
        "double x[60], g[60], work[CAPTURED_WORKSPACE + 1];\n(void)work;\n"
        "for (int i = 0; i < 60; i++) x[i] = 0.125 * i;\n"
        f"captured(x, captured_c0, g{', work' if c.source.workspace_bytes else ''});\n"
        'for (int i = 0; i < 60; i++) printf("%.17g\\n", g[i]);\nreturn 0;\n}\n'
    )
    files = [str(tmp_path / n) for n in ("captured.c", "captured_data.c", "main.c")]
    program = str(tmp_path / "run")
    command = [*find_compiler().argv, "-std=c99", "-O1", *files, "-o", program, "-lm"]
    subprocess.run(command, check=True)
    printed = subprocess.run([program], capture_output=True, check=True).stdout.split()
    np.testing.assert_allclose(np.array(printed, float), c(0.125 * np.arange(60)), rtol=1e-12)


def test_threads():
    f = sg.jit(lambda x: np.exp(-x) @ x)
    x = RNG.normal(size=50)
    expected, seen = f(x), []

    def work():
        seen.extend(f(x) for _ in range(300))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 2400 and set(seen) == {expected}


def test_captured_arrays_are_copied():
    a = np.array([1.0, 2.0])
    f = sg.compile(lambda x: x * a, sg.f64[2])
    a[:] = 100
    np.testing.assert_array_equal(f(np.ones(2)), [1.0, 2.0])


def test_graph_reads_and_differentiates():
    graph = sg.trace(lambda A, x, b: np.sum((A @ x - b) ** 2), sg.f64[3, 2], sg.f64[2], sg.f64[3])
    g = graph.grad("x").simplify()
    assert "Aᵀ" in g.formula() and "A^{" in g.latex() and "digraph" in g.to_dot()
    A, x, b = RNG.normal(size=(3, 2)), RNG.normal(size=2), RNG.normal(size=3)
    np.testing.assert_allclose(g.evaluate(A, x, b), 2 * A.T @ (A @ x - b), rtol=1e-13)
    assert "f64[2]" in str(g) and g.explain() and str(g.cost())
    s = sg.trace(lambda x: np.sin(x) ** 2, sg.f64).to_sympy()
    assert re.sub(r"\s", "", str(s)) == "sin(x)**2"
    with pytest.raises(StructureError):
        graph.grad("nothing")


def test_dynamic_indices_are_checked_in_c():
    f = sg.compile(lambda x, i: np.take(x, i) * 2, sg.f64[5], sg.i64[3])
    x = np.arange(5.0)
    np.testing.assert_array_equal(f(x, np.array([0, -1, 4])), [0.0, 8.0, 8.0])
    g = sg.compile(sg.grad(lambda x, i: np.sum(np.take(x, i))), sg.f64[5], sg.i64[3])
    np.testing.assert_array_equal(g(x, np.array([1, 1, -5])), [1, 2, 0, 0, 0])
    for bad in (5, -6, 2**62, -(2**63)):
        for compiled in (f, g):
            with pytest.raises(IndexError):
                compiled(x, np.array([0, bad, 1]))


def test_check_grads():
    sg.check_grads(lambda x, y: np.sum(np.sin(x) * y) + y**3, (RNG.normal(size=3), 1.5))

    def wrong(x):  # the derivative of the second factor is thrown away
        return np.sum(x * sg.stop_gradient(np.sin(x)))

    with pytest.raises(DifferentiationError, match="order 1"):
        sg.check_grads(wrong, (RNG.normal(size=3),))


def test_index_checks_of_computed_indices():
    def picked(z, labels):
        return np.sum(z[np.arange(len(z)), labels])

    z, labels = np.arange(15.0).reshape(5, 3), np.array([0, 1, 2, -1, 1], np.int32)
    expected = np.zeros((5, 3))
    expected[np.arange(5), labels] = 1
    np.testing.assert_array_equal(sg.compile(sg.grad(picked), z, labels)(z, labels), expected)
    for bad in (3, -4):
        labels[2] = bad
        with pytest.raises(sg.errors.OutOfRangeError):
            sg.grad(picked)(z, labels)


# ---- Python numbers as arguments: weak in promotion, as NumPy 2 has it ---------------------------


def weak_cases():
    w = np.arange(3, dtype=np.float32)
    k = np.arange(3, dtype=np.int32)
    return {
        "times an array": (lambda x, s: s * x, w),
        "operators between numbers": (lambda x, s: (2 * s**2 - s / 3 + abs(-s)) * x, w),
        "a ufunc of a number is strong": (lambda x, s: np.exp(s) * x, w),
        "a NumPy number is strong": (lambda x, s: (np.float64(2) * s) * x, w),
        "where": (lambda x, s: np.where(x > 1, s, x), w),
        "clip": (lambda x, s: np.clip(x, -s, s), w),
        "maximum": (lambda x, s: np.maximum(s, x), w),
        "in place": (lambda x, s: (x + 0).__iadd__(s), w),
        "with integers": (lambda x, s: x * s, k),
        "power": (lambda x, s: x**s, w),
        "alone": (lambda x, s: s * 2, w),
    }


@pytest.mark.quick(6)
@pytest.mark.parametrize("name", weak_cases())
@pytest.mark.parametrize("number", [0.5, 2], ids=["float", "int"])
def test_python_numbers_are_weak(name, number):
    f, x = weak_cases()[name]
    expected = np.asarray(f(x, number))
    got = np.asarray(sg.jit(f)(x, number))
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    strong = np.float64(number) if isinstance(number, float) else np.int64(number)
    expected = np.asarray(f(x, strong))
    assert np.asarray(sg.jit(f)(x, strong)).dtype == expected.dtype
    assert sg.compile(f, x, number)(x, number) is not None


def test_gradients_by_python_numbers_beside_float32():
    def loss(w, rate):
        return np.sum((rate * w) ** 2)

    w = np.array([1.0, 2.0], np.float32)
    by_w, by_rate = sg.grad(loss, (0, 1))(w, 0.5)
    assert by_w.dtype == np.float32 and type(by_rate) is float
    np.testing.assert_allclose(by_w, [0.5, 1.0])
    assert by_rate == 5.0
    assert sg.jit(lambda w, rate: w - rate * sg.grad(loss)(w, rate))(w, 0.1).dtype == np.float32


def test_gradients_by_unused_arguments_are_zero_with_a_warning():
    def f(p, x):
        return np.sum(p["w"] * x)

    p = {"w": np.ones(2), "forgotten": np.ones(3)}
    with pytest.warns(sg.errors.SymgradWarning, match=r'p\["forgotten"\]'):
        gradient = sg.grad(f)(p, 2.0)
    np.testing.assert_array_equal(gradient["forgotten"], np.zeros(3))
    # In a second derivative independence is no mistake, and a difference that cancels is no slip.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sg.grad(sg.grad(lambda x: 3.0 * x))(1.0) == 0.0
        assert sg.grad(lambda x: x - x)(1.0) == 0.0
        assert sg.hessian(lambda x: np.sum(x))(np.ones(2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_tangents_of_another_dtype():
    with pytest.raises(DtypeError, match="a tangent has dtype float32, expected float64"):
        sg.jvp(np.sin, (np.ones(3),), (np.ones(3, np.float32),))
    assert sg.jvp(np.sin, (0.0,), (1,))[1] == 1.0
