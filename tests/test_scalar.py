"""Scalar form: right, as accurate as the evaluator, within limits, and off unless asked for."""

from __future__ import annotations

import logging
import re

import mpmath
import numpy as np
import pytest

import symgrad as sg
from support import nasty_graphs, scalars
from support.agreement import close
from support.random_graphs import Builder
from support.scalars import arm
from symgrad import tree
from symgrad.errors import BuildError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import arg
from symgrad.expr.walk import substitute, toposort
from symgrad.ops.elementwise import SIN, sin
from symgrad.options import Options
from symgrad.scalar import stores
from symgrad.scalar.shortest import ORDERS
from symgrad.scalar.space import NotScalar

# ---- the same values -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(16))
@pytest.mark.quick(12)
def test_random_graphs(seed, dtype):
    b = Builder(seed, dtype)
    outs, given = b.outputs(), b.values()
    expected = evaluate(outs, given)
    try:
        found = [scalars.values(outs, given, [order]) for order in ORDERS]
    except NotScalar:
        return
    size = max([1.0, *(float(np.max(np.abs(e))) for e in expected if e.size)])
    for got in found:
        close(got, expected, size * (1e-12 if dtype == "float64" else 1e-3), f"seed {seed}")


def test_most_random_graphs_have_a_scalar_form():
    refused = 0
    for seed in range(30):
        try:
            scalars.opened(Builder(seed).outputs(), None)
        except NotScalar:
            refused += 1
    assert refused < 15


MODERATE = 1e60  # products are associated anew: beyond, one of two orders may overflow


@pytest.mark.quick(2)
@pytest.mark.parametrize("block", range(6))
def test_nasty_inputs(block):
    """Not further from the truth than the rounding errors of what was written can explain."""
    grid = nasty_graphs.GRID
    for seed in range(20 * block, 20 * block + 20):
        one, many = (nasty_graphs.Builder(seed, n) for n in (1, len(grid[0])))
        depth = int(one.rng.integers(2, 6))
        assert depth == int(many.rng.integers(2, 6))
        after, leaves = scalars.over_points(one.formula(depth), len(grid[0]))
        before = many.formula(depth)
        back = {leaves[a]: b for a, b in zip(one.args, many.args, strict=True) if a in leaves}
        (after,) = substitute([after], back)
        flaws = nasty_graphs.flaws(before, after, many.args, (), False)
        bad = [f for f in flaws if all(x == 0 or 1 / MODERATE < abs(x) < MODERATE for x in f[0])]
        assert not bad, (seed, bad[0])


# ---- accuracy against 50 digits ------------------------------------------------------------------

HARD = {
    "difference squared": (lambda x, y, z: (x - y) ** 2 * z, 1e-9),
    "two differences": (lambda x, y, z: (x - y) + (x - z), 1e-12),
    "differences of different pairs": (lambda x, y, z: (x - y) + (z - 1.0), 1e-12),
    "difference of squares": (lambda x, y, z: x * x - y * y, 1e-9),
    "scaled differences": (lambda x, y, z: 0.3 * (x - y) + 0.3 * (y - z), 1e-10),
    "product of differences": (lambda x, y, z: (x - y) * (y - z) + (x - y) * (x - z), 1e-9),
    "norm of a difference": (lambda x, y, z: (x - y) * (x - y) + (y - z) * (y - z), 1e-11),
    "variance": (lambda x, y, z: ((x - (x + y + z) / 3) ** 2 + (y - (x + y + z) / 3) ** 2
                                  + (z - (x + y + z) / 3) ** 2) / 3, 1e-8),
    "quotient of differences": (lambda x, y, z: (x - y) / (x - z), 1e-10),
    "determinant": (lambda x, y, z: x * y - z * z, 1e-10),
}  # fmt: skip


def error(got, exact):
    return float(abs(mpmath.mpf(float(got)) - exact))


@pytest.mark.parametrize("name", HARD)
def test_no_digits_are_lost_to_cancellation(name):
    f, near = HARD[name]
    compiled = sg.compile(lambda x, y, z: (f(x, y, z), 1.0 * x + y), *[sg.f64] * 3, scalar=True)
    rng = np.random.default_rng(1)
    ours = plain = 0.0
    with mpmath.workdps(60):
        for _ in range(200):
            x = 1 + rng.uniform(0, 0.5)
            point = [x, x * (1 + near * rng.normal()), x * (1 + near * rng.normal())]
            exact = f(*map(mpmath.mpf, point))
            ours = max(ours, error(compiled(*point)[0], exact) / abs(float(exact)))
            plain = max(plain, error(f(*point), exact) / abs(float(exact)))
    assert ours <= 2 * plain + 1e-16


@pytest.mark.parametrize("count", [3, 5, 9])
def test_small_differences_of_like_terms_stay_small(count):
    """As in power flow, where every line of a bus brings a difference of about equal terms."""
    rng = np.random.default_rng(count)
    weights = rng.uniform(1, 20, count)

    def f(x, y):
        total = 0.0
        for k, w in enumerate(weights):
            total = total + w * x * x - x * y[k] * w
        return total

    made = sg.compile(f, sg.f64, sg.f64[count], scalar=True)
    ours = plain = 0.0
    with mpmath.workdps(60):
        for _ in range(200):
            x = rng.uniform(1, 2)
            y = x * (1 + 1e-3 * rng.normal(size=count))
            exact = f(mpmath.mpf(x), [mpmath.mpf(v) for v in y])
            ours, plain = ours + error(made(x, y), exact), plain + error(f(x, y), exact)
    assert ours <= 2 * plain


@pytest.mark.parametrize("name", ["difference squared", "variance", "two differences"])
def test_gradients_lose_no_digits_either(name):
    f, near = HARD[name]
    made = sg.compile(sg.grad(f, argnums=(0, 1, 2)), *[sg.f64] * 3, scalar=True)
    rng = np.random.default_rng(2)
    ours = plain = 0.0
    with mpmath.workdps(60):
        for _ in range(100):
            x = 1 + rng.uniform(0, 0.5)
            point = [x, x * (1 + near * rng.normal()), x * (1 + near * rng.normal())]
            wide = list(map(mpmath.mpf, point))
            exact = [mpmath.diff(f, wide, tuple(int(k == j) for j in range(3))) for k in range(3)]
            size = max(abs(float(e)) for e in exact)
            ours = max(
                ours, *(error(g, e) / size for g, e in zip(made(*point), exact, strict=True))
            )
            reference = made.graph.evaluate(*point)
            plain = max(plain, *(error(g, e) / size for g, e in zip(reference, exact, strict=True)))
    assert ours <= 2 * plain + 2e-16


def energy(q, v):
    j = sg.jacobian(lambda q: arm(q)[:2, 2])(q)
    return 0.5 * np.sum((j @ v) ** 2) - 9.81 * arm(q)[1, 2]


FUNCTIONS = {
    "arm": lambda q, v: arm(q),
    "jacobian": lambda q, v: sg.jacobian(arm)(q),
    "energy": lambda q, v: sg.value_and_grad(energy)(q, v),
    "mass": lambda q, v: sg.hessian(energy, argnums=1)(q, v),
    "hessian": lambda q, v: sg.hessian(energy)(q, v),
    "mixed": lambda q, v: sg.jacobian(sg.grad(energy, argnums=1))(q, v),
    "products": lambda q, v: sg.jvp(lambda q: sg.grad(energy)(q, v), (q,), (v,)),
    "bounds": lambda q, v: np.where(q > 0, np.sqrt(np.maximum(q, 1e-3)), v).sum() + np.max(q * v),
    "clipped": lambda q, v: sg.grad(lambda q: np.sum(np.clip(q, -0.5, 0.5) * v))(q),
    "guarded": lambda q, v: sg.grad(lambda q: np.sum(np.where(q > 0, np.log(np.abs(q)), 0)))(q),
    "norms": lambda q, v: sg.hessian(lambda q: np.linalg.norm(q - v) + np.exp(-np.sum(q * q)))(q),
    "softmax": lambda q, v: sg.grad(lambda q: np.log(np.sum(np.exp(q * v))))(q),
    "indices": lambda q, v: (q[[2, 0, 0]] * v)[::-1] + np.cumsum(v)[1],
    "ints": lambda q, v: q * np.arange(3) + (np.arange(3) // 2) * v,
    "decided": lambda q, v: (q > v, (q * v > 0) & (q < 1)),
}  # fmt: skip


CASES = [(name, "float64") for name in FUNCTIONS] + [
    (name, "float32") for name in ("jacobian", "mass", "bounds", "norms", "softmax")
]


@pytest.mark.sample(12)
@pytest.mark.quick(2)
@pytest.mark.parametrize("name, dtype", CASES)
def test_functions_agree_with_the_other_form(name, dtype):
    f = FUNCTIONS[name]
    spec = (sg.f64 if dtype == "float64" else sg.f32)[3]
    small, plain = sg.compile(f, spec, spec, scalar=True), sg.trace(f, spec, spec)
    rng = np.random.default_rng(3)
    for _ in range(3):
        q, v = (rng.uniform(-1, 1, 3).astype(dtype) for _ in range(2))
        close(small(q, v), plain.evaluate(q, v), 1e-13 if dtype == "float64" else 2e-5, name)


# ---- linear algebra ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 6])
@pytest.mark.quick(2)
def test_solves_are_as_good_as_those_of_lapack(n):
    solve = sg.compile(np.linalg.solve, sg.f64[n, n], sg.f64[n], scalar=True)
    rng = np.random.default_rng(n)
    ours, lapack = [], []
    for k in range(60):
        a = rng.normal(size=(n, n))
        a[-1] = a[0] + 10.0 ** rng.integers(-9, 1) * rng.normal(size=n)
        a[k % n, 0] = 0.0  # a pivot that must not be taken
        b = rng.normal(size=n)
        ours.append(residual(a, solve(a, b), b))
        lapack.append(residual(a, np.linalg.solve(a, b), b))
    assert np.mean(ours) <= 2 * np.mean(lapack)
    assert max(ours) <= 16 * max(lapack)


def residual(a, x, b):
    with mpmath.workdps(50):
        r = mpmath.matrix(a.tolist()) * mpmath.matrix(x.tolist()) - mpmath.matrix(b.tolist())
        size = np.abs(a) @ np.abs(x) + np.abs(b)
        return max(float(abs(r[k])) / size[k] for k in range(len(b)))


MATRICES = {
    "inverse": np.linalg.inv,
    "det": np.linalg.det,
    "slogdet": lambda a: tuple(np.linalg.slogdet(a)),
    "cholesky": lambda a: np.linalg.cholesky(a @ a.T + np.eye(3)),
    "gradient of a solve": lambda a: sg.grad(lambda a: np.sum(np.linalg.solve(a, a[0]) ** 2))(a),
    "jacobian of an inverse": lambda a: sg.jacobian(lambda x: np.linalg.inv(a + x * a.T)[0])(0.5),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.quick(4)
def test_matrices_agree_with_the_other_form(name):
    made = sg.compile(MATRICES[name], sg.f64[3, 3], scalar=True)
    for seed in range(3):
        a = np.random.default_rng(seed).normal(size=(3, 3))
        close(made(a), made.graph.evaluate(a), 1e-11, name)


def test_a_singular_matrix_is_an_error():
    solve = sg.compile(np.linalg.solve, sg.f64[3, 3], sg.f64[3], scalar=True)
    with pytest.raises(np.linalg.LinAlgError):
        solve(np.ones((3, 3)), np.ones(3))
    root = sg.compile(np.linalg.cholesky, sg.f64[2, 2], scalar=True)
    with pytest.raises(np.linalg.LinAlgError):
        root(-np.eye(2))


# ---- options, limits, text -----------------------------------------------------------------------


def test_what_is_asked_for_is_done():
    f = FUNCTIONS["arm"]
    forms = {sg.compile(f, sg.f64[3], sg.f64[3], scalar=s).c_source for s in (False, True, "auto")}
    assert len(forms) == 3


@pytest.mark.slow
def test_float32_stays_float32():
    def f(q, v):
        turned = np.array([[np.cos(q[0]), -q[1] / 3], [0.1 * q[1], v[0] ** 3]]) @ v
        return np.linalg.solve(
            np.array([[q[0], q[1]], [v[1], 2.5 * v[0]]]), np.where(v > 0.3, turned, q)
        )

    made = sg.compile(lambda q, v: sg.jacobian(f)(q, v), sg.f32[2], sg.f32[2], scalar=True)
    code = re.sub(r"/\*.*?\*/", "", made.c_source, flags=re.S)
    assert "double" not in code
    assert not re.search(r"\d\.\d+(?![\df])", code)


@pytest.mark.parametrize("narrow, wide, back", [
    ("float32", "float64", True), ("int32", "int64", True), ("int32", "float64", True),
    ("int64", "float64", False), ("float64", "float32", False),
])  # fmt: skip
def test_what_was_widened_is_as_it_was(narrow, wide, back):
    spec = {"float32": sg.f32, "float64": sg.f64, "int32": sg.i32, "int64": sg.i64}[narrow]

    def f(x):
        # a stack between, so that no rule on arrays sees both conversions at once
        there = np.stack([-x, x + x]).astype(wide)
        return there[::-1].astype(narrow)

    made = sg.compile(f, spec, scalar=True)
    code = re.sub(r"/\*.*?\*/", "", made.c_source, flags=re.S)
    ctype = {"float64": "double", "float32": "float", "int64": "int64_t"}[wide]
    assert (f"({ctype})" not in code) is back
    x = np.array({"int32": 2**24 + 1, "int64": 2**53 + 1}.get(narrow, 0.1), narrow)
    got, want = made(x), f(x)
    np.testing.assert_array_equal(got, want)
    assert got.dtype == want.dtype


@pytest.mark.parametrize(
    "f, why",
    [
        (lambda x: sg.grad(lambda x: np.sum(np.sin(x) ** 2))(x), "operations, more than"),
        (lambda x: np.sort(x), "has no scalar form"),
        (lambda x: x[np.argmax(x)], "has no scalar form"),
    ],
)
def test_what_has_none_or_a_longer_one_gets_the_other_form(f, why, caplog):
    with caplog.at_level(logging.INFO, "symgrad"):
        made = sg.compile(f, sg.f64[40], scalar=30)
    told = [r.getMessage() for r in caplog.records if "without scalar form" in r.getMessage()]
    assert len(told) == 1
    assert why in told[0] or "scalars are made" in told[0]
    x = np.random.default_rng(0).normal(size=40)
    close(made(x), made.graph.evaluate(x), 1e-14)


def test_loops_are_left_as_they_are(caplog):
    def f(x):
        return sg.fori_loop(0, 1000, lambda k, y: np.cos(y), x)

    with caplog.at_level(logging.INFO, "symgrad"):
        made, plain = (sg.compile(f, sg.f64[3], scalar=s) for s in (True, False))
    assert made.c_source == plain.c_source


@pytest.mark.parametrize(
    "options, both",
    [
        ({"threads": 2}, ("scalar=True", "threads=2")),
        ({"blas": True}, ("scalar=True", "blas=True")),
    ],
)
def test_options_that_contradict_each_other(options, both):
    makers = (
        lambda: Options(scalar=True, **options),
        lambda: sg.jit(np.sin, scalar=True, **options),
    )
    for make in makers:
        with pytest.raises(BuildError) as caught:
            make()
        assert all(b in str(caught.value) for b in both)


@pytest.mark.parametrize("value", [0.5, -1, "yes", None])
def test_values_that_are_none(value):
    with pytest.raises(BuildError, match="scalar="):
        sg.compile(np.sin, sg.f64, scalar=value)


def test_sparse_derivatives_have_none():
    with pytest.raises(BuildError, match="scalar"):
        sg.compile(sg.sparse_jacobian(np.sin), sg.f64[3], scalar=True)


@pytest.mark.slow
def test_jit_takes_it():
    f = sg.jit(lambda q, v: sg.grad(energy)(q, v), scalar=True)
    q, v = np.array([0.1, 0.2, 0.3]), np.array([1.0, -1.0, 0.5])
    close(f(q, v), sg.grad(energy)(q, v), 1e-13)


def alive(values, order):
    """The most temporaries, read by several results, that live at one time."""
    inside = [{n for n in toposort([v]) if n.op is SIN} for v in values]
    most = 0
    for k in range(len(order)):
        before = set().union(*(inside[n] for n in order[: k + 1]))
        after = set().union(*(inside[n] for n in order[k + 1 :]), set())
        most = max(most, len(before & after))
    return most


def test_results_that_share_are_stored_one_after_another():
    xs = [arg(k, (), "float64") for k in range(12)]
    values = [sin(x) * (k + 2.0) for k in range(3) for x in xs]
    found = stores.order(values)
    assert sorted(found) == list(range(len(values)))
    assert (alive(values, range(len(values))), alive(values, found)) == (12, 1)
    assert stores.order(values) == found
    chain = [xs[0]]
    for _ in range(3000):
        chain.append(sin(chain[-1]))
    assert stores.order(chain[1:]) == list(range(3000))


def test_what_is_mostly_zero_is_set_in_one_loop():
    def f(x):
        out = np.zeros((16, 16))
        for k in range(8):
            out[k, 2 * k] = x[k] * x[0]
        out[9, 9] = -0.0
        return out, np.array([x[0], 0.0])

    made = sg.compile(f, sg.f64[8], scalar=True)
    assert made.c_source.count("for (") == 1
    assert len(re.findall(r"\] = 0\.0;", made.c_source)) == 1
    x = np.arange(1.0, 9.0)
    for got, right in zip(made(x), f(x), strict=True):
        assert np.array_equal(got, right) and np.array_equal(np.signbit(got), np.signbit(right))
    small = sg.compile(f, sg.f64[8], scalar=True, machine="cortex_m4")  # whose memset is no faster
    assert "for (" not in small.c_source


def test_the_order_of_stores_changes_no_bits():
    made = sg.compile(FUNCTIONS["jacobian"], sg.f64[3], sg.f64[3], scalar=True)
    q, v = np.array([0.3, -0.7, 1.1]), np.ones(3)
    kept, stores.order = stores.order, lambda values: list(range(len(values)))
    try:
        plain = sg.compile(FUNCTIONS["jacobian"], sg.f64[3], sg.f64[3], scalar=True, name="other")
    finally:
        stores.order = kept
    assert made.c_source.count("\n") == plain.c_source.count("\n")
    for a, b in zip(tree.flatten(made(q, v))[0], tree.flatten(plain(q, v))[0], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_the_text_does_not_depend_on_what_was_made_before():
    f = FUNCTIONS["energy"]
    first = sg.compile(f, sg.f64[3], sg.f64[3], scalar=True).c_source
    [sg.trace(FUNCTIONS[k], sg.f64[3], sg.f64[3]) for k in ("hessian", "mass")]
    assert sg.compile(f, sg.f64[3], sg.f64[3], scalar=True).c_source == first


@pytest.mark.slow
def test_a_long_chain_does_not_recurse():
    y = arg(0, (), "float64")
    for _ in range(5000):
        y = sin(y) + 1.0
    assert len(scalars.written([y], orders=ORDERS[:1])) == 1


def test_zeros_by_structure_cost_nothing():
    def f(x):
        return np.diag([2.0, 0.0, 1.0]) @ np.block([[x, np.zeros((2, 1))], [np.eye(3)[2:]]])

    made = sg.compile(f, sg.f64[2, 2], scalar=True)
    assert len(re.findall(r"\*", made.c_source.split("restrict out)\n{")[1].split("}")[0])) == 2


def test_an_error_that_cancels_is_not_put_in_the_place_of_another():
    """Deviations from a mean, whose error they share, and differences that stand beside others."""

    def f(x, y, z, w):
        m = (x + y + z) / 3
        p = x * w
        return (
            (x - m) + 2 * (y - m) - 3 * (z - m),
            ((x - p) + (p - y)) + ((z - m) + (m - w)),
            (x - m) * w - (y - m) * w,
        )

    made = sg.compile(f, *[sg.f64] * 4, scalar=True)
    rng = np.random.default_rng(4)
    ours, plain = np.zeros(3), np.zeros(3)
    with mpmath.workdps(60):
        for _ in range(200):
            x = 1 + rng.uniform(0, 0.5)
            point = [x, *(x * (1 + 1e-9 * rng.normal(size=3)))]
            exact = f(*map(mpmath.mpf, point))
            for found, values in ((ours, made(*point)), (plain, f(*point))):
                errors = [error(v, e) / abs(float(e)) for v, e in zip(values, exact, strict=True)]
                np.maximum(found, errors, out=found)
    assert np.all(ours <= 2 * plain + 2e-16)


@pytest.mark.parametrize(
    "f, specs, chosen",
    [
        (lambda q, v: sg.jacobian(arm)(q), (sg.f64[3], sg.f64[3]), True),
        (lambda x: np.sum(np.sin(x)), (sg.f64[1000],), False),
        (lambda a, b: a @ b, (sg.f64[6, 6], sg.f64[6, 6]), False),
    ],
)
def test_auto_chooses_by_count(f, specs, chosen):
    made = sg.compile(f, *specs, scalar="auto")
    usual = sg.compile(f, *specs, scalar=False)
    assert (made.c_source == usual.c_source) is not chosen
    assert made.c_source == sg.compile(f, *specs).c_source  # it is the default
    assert made.graph.digest() == usual.graph.digest()
    threads = sg.compile(f, *specs, scalar="auto", threads=2).c_source
    assert threads == sg.compile(f, *specs, scalar=False, threads=2).c_source
