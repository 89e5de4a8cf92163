"""Linear algebra rows: values, both derivative modes, second order, batching; kernels in C."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
import pytest

from support import queries
from support.codegen import c_of, program_of, run_c
from symgrad.diff.modes import jvp, vjp, vmap, zeros_like
from symgrad.emit.c99 import C99
from symgrad.emit.templates import environment
from symgrad.errors import DtypeError, ShapeError
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import arg, bind, eye
from symgrad.expr.op import OPS, Kind
from symgrad.expr.walk import expand_composites, toposort
from symgrad.lower.statements import Call
from symgrad.ops import linalg
from symgrad.ops.linear import permute
from symgrad.ops.reference import evaluate_cofactor

jax.config.update("jax_enable_x64", True)
STRICT = (
    "-std=c99 -pedantic -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wdouble-promotion "
    "-Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wundef -Werror"
).split()
COMPILERS = [c for c in ("gcc", "clang") if shutil.which(c)]
RNG = np.random.default_rng(5)


def regular(*shape):
    return RNG.normal(size=shape) + 2 * np.eye(shape[-1])


def positive(*shape):
    m = RNG.normal(size=shape)
    return m @ np.swapaxes(m, -1, -2) + np.eye(shape[-1])


def sym_cholesky(a):
    return jax.lax.linalg.cholesky(a, symmetrize_input=True)


def jax_triangular(lower, transposed, unit):
    def apply(a, b):
        return jax.lax.linalg.triangular_solve(
            a, b, left_side=True, lower=lower, transpose_a=transposed, unit_diagonal=unit
        )

    return apply


def triangular(lower, transposed, unit):
    return lambda a, b: linalg.solve_triangular(a, b, lower, transposed, unit)


# name: symgrad function, JAX function, inputs
CASES = {
    "solve": (linalg.solve, jnp.linalg.solve, (regular(4, 4), RNG.normal(size=(4, 2)))),
    "solve_vector": (linalg.solve, jnp.linalg.solve, (regular(4, 4), RNG.normal(size=4))),
    "solve_transposed": (
        lambda a, b: linalg.solve(linalg.transpose(a), b),
        lambda a, b: jnp.linalg.solve(a.T, b),
        (regular(4, 4), RNG.normal(size=(4, 2))),
    ),
    "solve_batch": (
        linalg.solve, jnp.linalg.solve, (regular(3, 1, 2, 2), RNG.normal(size=(2, 2, 3))),
    ),
    "inv": (linalg.inv, jnp.linalg.inv, (regular(4, 4),)),
    "inv_batch": (linalg.inv, jnp.linalg.inv, (regular(2, 3, 3),)),
    "det1": (linalg.det, jnp.linalg.det, (regular(2, 1, 1),)),
    "det2": (linalg.det, jnp.linalg.det, (regular(2, 2),)),
    "det3": (linalg.det, jnp.linalg.det, (regular(2, 3, 3),)),
    "det5": (linalg.det, jnp.linalg.det, (regular(5, 5),)),
    "det_batch": (linalg.det, jnp.linalg.det, (regular(2, 4, 4),)),
    "logabsdet": (
        lambda a: linalg.slogdet(a)[1], lambda a: jnp.linalg.slogdet(a)[1], (regular(2, 4, 4),),
    ),
    "cholesky": (linalg.cholesky, sym_cholesky, (positive(4, 4),)),
    "cholesky_batch": (linalg.cholesky, sym_cholesky, (positive(2, 3, 3),)),
    **{
        f"triangular_{int(l)}{int(t)}{int(u)}": (
            triangular(l, t, u), jax_triangular(l, t, u), (regular(4, 4), RNG.normal(size=(4, 3))),
        )
        for l in (False, True) for t in (False, True) for u in (False, True)
    },
}  # fmt: skip


def trace(function, values):
    args = [arg(k, v.shape, "float64") for k, v in enumerate(values)]
    return args, function(*args)


def run(outs, args, values):
    """Whole rows and their expansion must agree."""
    known = dict(zip(args, values, strict=True))
    whole = evaluate(outs, known)
    lowered = expand_composites(outs)
    check([*outs, *lowered])
    assert not any(n.op.kind is Kind.COMPOSITE for n in toposort(lowered))
    for a, b in zip(whole, evaluate(lowered, known), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11 * max(1, np.abs(a).max(initial=0)))
    return whole


@pytest.mark.sample(14)
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_value_and_derivatives_of_first_and_second_order(case):
    function, oracle, values = CASES[case]
    args, out = trace(function, values)
    rng = np.random.default_rng(11)
    symmetric = case.startswith("cholesky")
    directions = [rng.normal(size=v.shape) for v in values]
    others = [rng.normal(size=v.shape) for v in values]
    if symmetric:  # JAX averages a and its transpose as well, so any direction will do
        directions = [v + np.swapaxes(v, -1, -2) for v in directions]
    ct = rng.normal(size=out.shape)
    d = [arg(10 + k, v.shape, "float64") for k, v in enumerate(values)]
    e = [arg(20 + k, v.shape, "float64") for k, v in enumerate(values)]
    c = arg(30, out.shape, "float64")
    (push,) = jvp([out], args, d)
    pull = vjp([out], args, [c])
    (push2,) = jvp([push], args, e)
    pull2 = vjp([push], args, [c])  # reverse over forward
    inputs, given = [*args, *d, *e, c], [*values, *directions, *others, ct]
    n = len(values)
    outs = [out, push, push2, *pull, *pull2]
    likes = [out, out, out, *args, *args]
    outs = [zeros_like(w) if o is None else o for o, w in zip(outs, likes, strict=True)]
    got = run(outs, inputs, given)

    def forward(*x):
        return jax.jvp(oracle, x, tuple(directions))[1]

    @jax.jit
    def want(*x):
        return [
            oracle(*x),
            forward(*x),
            jax.jvp(forward, x, tuple(others))[1],
            *jax.vjp(oracle, *x)[1](jnp.asarray(ct)),
            *jax.vjp(forward, *x)[1](jnp.asarray(ct)),
        ]

    for a, b in zip(got, want(*values), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    inner = sum(np.vdot(u, v) for u, v in zip(got[3 : 3 + n], directions, strict=True))
    np.testing.assert_allclose(np.vdot(ct, got[1]), inner, rtol=1e-11, atol=1e-11)


@pytest.mark.quick(20)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("flags", [(True, True), (True, False), (False, True)])
def test_batch_rule_is_a_loop(case, flags):
    function, _, values = CASES[case]
    flags = flags[-len(values) :]
    if not any(flags):
        flags = (True,)
    args, out = trace(function, values)
    rng = np.random.default_rng(2)
    many = [
        np.stack([v] * 3) * rng.uniform(0.9, 1.1, (3, *[1] * v.ndim)) if f else v
        for v, f in zip(values, flags, strict=True)
    ]
    stacked = [arg(10 + k, v.shape, "float64") for k, v in enumerate(many)]
    batched = {a: s for a, s, f in zip(args, stacked, flags, strict=True) if f}
    (mapped,) = vmap([out], batched, 3)
    inputs = [s if f else a for s, a, f in zip(stacked, args, flags, strict=True)]
    (got,) = run([mapped], inputs, many)
    for k in range(3):
        one = [m[k] if f else m for m, f in zip(many, flags, strict=True)]
        (want,) = evaluate([out], dict(zip(args, one, strict=True)))
        np.testing.assert_allclose(got[k], want, rtol=1e-12, atol=1e-12)


def test_one_matrix_many_right_hand_sides_is_one_factorisation():
    a, b = arg(0, (4, 4), "float64"), arg(1, (4,), "float64")
    many = arg(2, (7, 4), "float64")
    (mapped,) = vmap([linalg.solve(a, b)], {b: many}, 7)
    factors = [n for n in toposort(expand_composites([mapped])) if n.name == "lu_factor"]
    assert [n.shape for n in factors] == [(5, 4)]


def test_everything_about_one_matrix_shares_one_factorisation():
    a, b = arg(0, (5, 5), "float64"), arg(1, (5, 2), "float64")
    x = linalg.solve(a, b)
    outs = [x, linalg.det(a), *linalg.slogdet(a), linalg.inv(a)]
    grads = vjp(outs, [a, b], outs)
    nodes = toposort(expand_composites([*outs, *grads]))
    assert sum(n.name == "lu_factor" for n in nodes) == 1


def test_transposes_are_recognised():
    a, b = arg(0, (2, 4, 4), "float64"), arg(1, (2, 4, 3), "float64")
    turned = linalg.transpose(a)
    assert linalg.solve(turned, b) is bind("solve_transposed", a, b)
    assert bind("solve_transposed", turned, b) is linalg.solve(a, b)
    square = arg(2, (4, 4), "float64")
    assert bind("solve_transposed", square, eye(4)) is permute(linalg.inv(square), (1, 0))
    other = permute(arg(3, (4, 2, 4), "float64"), (1, 0, 2))
    assert linalg.solve(other, b).name == "solve"


def singular(n, rank, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-3, 4, (n, rank)).astype(float) @ rng.integers(-3, 4, (rank, n))


@pytest.mark.parametrize(
    "n, rank", [(2, 1), (2, 0), (3, 2), (3, 1), (5, 4), (5, 3), (6, 5), (4, 4)]
)
def test_gradient_of_det_at_singular_matrices(n, rank):
    for seed in range(5):
        value = singular(n, rank, seed)
        a = arg(0, (n, n), "float64")
        (grad,) = vjp([linalg.det(a)], [a], [bind("det", eye(n))])
        minors = np.array([
            [
                (-1) ** (i + j) * np.linalg.det(np.delete(np.delete(value, i, 0), j, 1))
                for j in range(n)
            ]
            for i in range(n)
        ])  # fmt: skip
        (got,) = run([grad], [a], [value])
        np.testing.assert_allclose(got, minors, atol=1e-9 * max(1, abs(minors).max()))


@pytest.mark.parametrize("n", [2, 3])
def test_second_derivative_of_small_det_at_a_singular_matrix(n):
    a, d = arg(0, (n, n), "float64"), arg(1, (n, n), "float64")
    (first,) = jvp([linalg.det(a)], [a], [d])
    (second,) = jvp([first], [a], [d])
    direction = np.random.default_rng(0).normal(size=(n, n))
    (got,) = run([second], [a, d], [np.zeros((n, n)), direction])
    want = 2 * np.linalg.det(direction) if n == 2 else 0.0
    np.testing.assert_allclose(got, want, atol=1e-14)


def test_failures_raise_linalgerror():
    a, b = arg(0, (3, 3), "float64"), arg(1, (3, 1), "float64")
    values = {a: np.zeros((3, 3)), b: np.ones((3, 1))}
    for out in (linalg.solve(a, b), linalg.cholesky(a), linalg.solve_triangular(a, b)):
        for outs in ([out], expand_composites([out])):
            with pytest.raises(np.linalg.LinAlgError):
                evaluate(outs, values)
    big = arg(2, (5, 5), "float64")
    for out, want in [
        (linalg.det(big), 0),
        (linalg.slogdet(big)[0], 0),
        (linalg.slogdet(big)[1], -np.inf),
    ]:
        for outs in ([out], expand_composites([out])):
            assert evaluate(outs, {big: np.zeros((5, 5))})[0] == want


def test_types_are_checked():
    a, v, k = arg(0, (3, 4), "float64"), arg(1, (3,), "float64"), arg(2, (3, 3), "int64")
    s = arg(3, (2, 3, 3), "float64")
    for call in (
        lambda: linalg.det(a), lambda: linalg.inv(v), lambda: linalg.solve(a, v),
        lambda: linalg.solve(s, arg(4, (4,), "float64")), lambda: linalg.cholesky(v),
        lambda: linalg.solve(s, arg(4, (5, 3, 1), "float64")),
        lambda: linalg.solve(s, arg(4, (), "float64")),
    ):  # fmt: skip
        with pytest.raises(ShapeError):
            call()
    for call in (lambda: linalg.det(k), lambda: bind("solve", s, arg(5, (2, 3, 1), "float32"))):
        with pytest.raises(DtypeError):
            call()


def test_empty_matrices():
    a, b = arg(0, (0, 0), "float64"), arg(1, (0, 2), "float64")
    outs = [
        linalg.det(a),
        linalg.solve(a, b),
        linalg.inv(a),
        linalg.cholesky(a),
        *linalg.slogdet(a),
    ]
    got = run(outs, [a, b], [np.zeros((0, 0)), np.zeros((0, 2))])
    assert got[0] == 1 and got[4] == 1 and got[5] == 0


# ---- kernels -----------------------------------------------------------------------------------

INCLUDES = "#include <math.h>\n#include <stddef.h>\n#include <stdint.h>\n"


def compile_kernels(folder, dtype, compiler, extra=()):
    """All kernels as exported functions of one library."""
    real, f = C99.types[dtype], "f" if dtype == "float32" else ""
    text = INCLUDES
    for spec in linalg.CALLS.values():
        kernel = (
            environment("c99")
            .get_template(f"call/{spec.template}.c.jinja")
            .render(name=spec.template, real=real, f=f, lit=lambda value: C99.literal(value, dtype))
        )
        start = kernel.index(f"static int {spec.template}(")
        head = kernel[start : kernel.index(")\n{", start) + 1]
        prototype = " ".join(head.replace("static int ", "int run_", 1).split())
        names = [
            p.split()[-1].lstrip("*") for p in prototype[prototype.index("(") + 1 : -1].split(",")
        ]
        call = f"{spec.template}({', '.join(names)})"
        text += f"{kernel}{prototype};\n{prototype}\n{{\n    return {call};\n}}\n"
    source, library = folder / "kernels.c", folder / f"kernels_{compiler}.so"
    source.write_text(text)
    flags = ["-O3", "-ffp-contract=off", "-shared", "-fPIC", *STRICT, *extra]
    done = subprocess.run(
        [compiler, *flags, str(source), "-o", str(library), "-lm"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


@pytest.fixture(
    scope="module", params=[(c, d) for c in COMPILERS for d in ("float64", "float32")], ids="-".join
)
def kernels(request, tmp_path_factory):
    compiler, dtype = request.param
    library = compile_kernels(tmp_path_factory.mktemp("kernels"), dtype, compiler)
    real = ctypes.c_double if dtype == "float64" else ctypes.c_float

    def call(name, *arrays, attrs=()):
        """Result and status of one kernel on one matrix, called as the emitter does."""
        spec = linalg.CALLS[name]
        nodes = tuple(arg(k, a.shape, dtype) for k, a in enumerate(arrays))
        out = np.full(bind(name, *nodes, attrs=attrs).shape, np.nan, dtype)
        keep = [np.ascontiguousarray(a, dtype) for a in arrays]
        pointers = [a.ctypes.data_as(ctypes.POINTER(real)) for a in (*keep, out)]
        dims = [ctypes.c_ssize_t(n) for n in spec.dims(nodes, attrs)]
        status = getattr(library, f"run_{spec.template}")(*pointers, *dims, *spec.flags(attrs))
        return out, status

    call.dtype = dtype
    call.eps = float(np.finfo(dtype).eps)
    return call


@pytest.mark.sample(48)
@pytest.mark.slow
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 40])
@pytest.mark.parametrize("m", [1, 3])
def test_lu_kernels(kernels, n, m):
    rng = np.random.default_rng(n)
    a = (rng.normal(size=(n, n)) + np.eye(n)[::-1]).astype(kernels.dtype)
    b = rng.normal(size=(n, m)).astype(kernels.dtype)
    wide = a.astype(float)
    condition = np.linalg.cond(wide) if n else 1.0
    lu, status = kernels("lu_factor", a)
    assert status == 0
    expected = OPS["lu_factor"].evaluate(a)
    np.testing.assert_array_equal(lu[n], expected[n])
    np.testing.assert_allclose(lu, expected, atol=100 * condition * kernels.eps)
    for transposed in (False, True):
        x, status = kernels("lu_solve", lu, b, attrs=(transposed,))
        assert status == 0
        want = np.linalg.solve(wide.T if transposed else wide, b)
        np.testing.assert_allclose(
            x, want, atol=10 * condition * kernels.eps * (1 + abs(want).max(initial=0))
        )
    for name, want in [
        ("lu_det", np.linalg.det(wide)), ("lu_detsign", np.linalg.slogdet(wide)[0]),
        ("lu_logabsdet", np.linalg.slogdet(wide)[1]),
        ("lu_cofactor", np.linalg.det(wide) * np.linalg.inv(wide).T),
    ]:  # fmt: skip
        got, status = kernels(name, lu)
        assert status == 0
        np.testing.assert_allclose(
            got, want, rtol=10 * condition * kernels.eps,
            atol=10 * condition * kernels.eps * abs(want).max(initial=0) + 30 * kernels.eps,
        )  # fmt: skip


@pytest.mark.quick(1)
def test_singular_matrices_in_c(kernels):
    for n, rank in [(2, 1), (3, 2), (4, 2), (6, 5)]:
        a = singular(n, rank)
        a[:, 0] = 0  # an exact zero pivot, and a rank of at most n - 1
        lu, status = kernels("lu_factor", a)
        assert status == 0
        assert kernels("lu_det", lu)[0] == 0 and kernels("lu_detsign", lu)[0] == 0
        assert kernels("lu_logabsdet", lu)[0] == -np.inf
        for transposed in (False, True):
            assert kernels("lu_solve", lu, np.ones((n, 1)), attrs=(transposed,))[1] == 2
        want = evaluate_cofactor(a)
        scale = max(1, np.linalg.norm(a, 2)) ** (n - 1)
        np.testing.assert_allclose(
            kernels("lu_cofactor", lu)[0], want, atol=10 * kernels.eps * scale
        )
    zero = kernels("lu_factor", np.array([[0.0, 1.0], [0.0, 0.0]]))[0]
    np.testing.assert_array_equal(kernels("lu_cofactor", zero)[0], [[0, 0], [-1, 0]])


@pytest.mark.slow
def test_nan_and_extreme_determinants(kernels):
    bad = np.array([[0.0, 1.0, 2.0], [np.nan, 1.0, 3.0], [0.0, 4.0, 1.0]])
    lu, _ = kernels("lu_factor", bad)
    assert np.isnan(kernels("lu_det", lu)[0])
    x, status = kernels("lu_solve", lu, np.ones((3, 1)), attrs=(False,))
    assert np.isnan(x).any() and status == 0
    big = 1e30 if kernels.dtype == "float32" else 1e300
    lu, _ = kernels("lu_factor", np.diag([big, big, 1 / big, 1 / big, -3.0]))
    np.testing.assert_allclose(kernels("lu_det", lu)[0], -3, rtol=8 * kernels.eps)
    lu, _ = kernels("lu_factor", np.diag([np.inf, -2.0]))
    assert kernels("lu_det", lu)[0] == -np.inf


@pytest.mark.quick(5)
@pytest.mark.parametrize("n", [0, 1, 2, 5, 40])
def test_cholesky_kernel(kernels, n):
    a = positive(n, n).astype(kernels.dtype) if n else np.zeros((0, 0), kernels.dtype)
    got, status = kernels(
        "cholesky_factor", np.tril(a) + 99 * np.triu(a, 1)
    )  # reads the lower half
    assert status == 0
    np.testing.assert_allclose(
        got, np.linalg.cholesky(a.astype(float)), atol=50 * n * kernels.eps * (1 + n)
    )
    if n:
        assert (np.triu(got, 1) == 0).all()
        a[n - 1, n - 1] = -1
        assert kernels("cholesky_factor", a)[1] == 2
        a[n - 1, n - 1] = np.nan
        assert kernels("cholesky_factor", a)[1] == 2


@pytest.mark.quick(20)
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("n, m", [(0, 1), (1, 1), (6, 1), (6, 4), (30, 2)])
def test_triangular_kernel(kernels, lower, transposed, unit, n, m):
    rng = np.random.default_rng(n + m)
    t = rng.normal(size=(n, n)) / (n + 1) + 2 * np.eye(n)
    full = np.tril(t) if lower else np.triu(t)
    if unit:
        np.fill_diagonal(full, 1)
    b = rng.normal(size=(n, m))
    attrs = (lower, transposed, unit)
    poisoned = np.where(np.tril(np.ones((n, n))) if lower else np.triu(np.ones((n, n))), t, np.nan)
    if unit:
        np.fill_diagonal(poisoned, np.nan)
    x, status = kernels("solve_triangular", poisoned, b, attrs=attrs)
    assert status == 0
    np.testing.assert_allclose(
        x, np.linalg.solve(full.T if transposed else full, b), atol=30 * kernels.eps
    )
    if n and not unit:
        np.fill_diagonal(t, 0)
        assert kernels("solve_triangular", t, b, attrs=attrs)[1] == 2


def test_every_call_row_has_a_kernel():
    rows = {name for name, row in OPS.items() if row.kind is Kind.CALL}
    assert rows == set(linalg.CALLS)


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "shape, right", [((5, 5), (5, 2)), ((3, 4, 4), (3, 4, 2)), ((2, 3, 3), (2, 3, 1))]
)
def test_generated_c(dtype, shape, right):
    """Values and gradients through lowering, emission and the compiler."""
    a, b = arg(0, shape, dtype), arg(1, right, dtype)
    outs = [
        linalg.solve(a, b), linalg.det(a), *linalg.slogdet(a), linalg.inv(a),
        linalg.solve_triangular(a, b, True),
    ]  # fmt: skip
    gram = linalg.cholesky(linalg.matmul(a, a, "ij", "kj", "ik"))
    outs += [*vjp(outs, [a, b], outs), gram, *vjp([gram], [a], [gram])]
    assert queries.count(program_of([a, b], outs), Call, template="lu_factor") == 1
    source = c_of([a, b], outs)
    rng = np.random.default_rng(0)
    values = {
        a: (rng.normal(size=shape) + 2 * np.eye(shape[-1])).astype(dtype),
        b: rng.normal(size=right).astype(dtype),
    }
    status, got = run_c(source, [a, b], outs, values)
    assert status == 0
    for x, y in zip(got, evaluate(outs, values), strict=True):
        scale = 1 + abs(y).max(initial=0)
        np.testing.assert_allclose(x, y, atol=3000 * np.finfo(dtype).eps * scale)
    status, _ = run_c(source, [a, b], outs, {a: np.zeros(shape), b: values[b]})
    assert status == 2
