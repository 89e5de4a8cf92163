"""Functions of small arrays that are mapped over points, as scalars of each point (0083)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from fuzz.small import check_mapped
from support.agreement import close, leaves
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import arg, array, bind, const
from symgrad.expr.walk import toposort
from symgrad.generate import program_of
from symgrad.lower.cpu import Rows
from symgrad.lower.program import statements
from symgrad.lower.tuning import HOST_TUNING
from symgrad.ops.einsum import einsum
from symgrad.ops.linear import (
    broadcast,
    concat,
    gather,
    pad,
    permute,
    reshape,
    scatter_add,
    slice_,
    sum_,
)
from symgrad.options import DEFAULT_OPTIONS
from symgrad.scalar.choice import points_that_pay
from symgrad.scalar.mapped import in_scalars
from symgrad.scalar.unbatched import Unbatched
from symgrad.scalar.writing import operations

jax.config.update("jax_enable_x64", True)

N = 7  # points of the graphs that NumPy evaluates
X = arg(0, (N, 3, 2), "float64", "x")
Y = arg(1, (2, N), "float64", "y")
W = arg(2, (3, 2), "float64", "w")
Z = arg(3, (2 * N,), "float64", "z")
INDEX = array(np.array([2, 0, 2, -1]))


def _late(x):
    """The points as the last axis."""
    return permute(x, (1, 2, 0))


# What each row does with points that stand at several of its axes.
ROWS = {
    "elementwise": bind("sin", X) * X,
    "broadcast": broadcast(Y, (4, 2, 5, N), (1, 3)),
    "broadcast-shared": broadcast(W, (3, N, 2), (0, 2)) * permute(X, (1, 0, 2)),
    "broadcast-constant": X * const(2.0, "float64", (N, 3, 2)),
    "permute": permute(X, (2, 0, 1)),
    "reshape-behind": reshape(X, (N, 6)),
    "reshape-before": reshape(_late(X), (6, N)),
    "reshape-between": reshape(permute(X, (1, 0, 2)), (3, 1, N, 2, 1)),
    "slice": slice_(X, (0, 2, 1), (N, 2, 1), (1, -2, 1)),
    "slice-late": slice_(_late(X), (1, 0, 0), (2, 2, N), (1, 1, 1)),
    "pad": pad(X, (N, 7, 3), (0, 5, 1), (1, -2, 1)),
    "concat": concat([X, X * X], 1),
    "concat-late": concat([_late(X), _late(X)], 1),
    "concat-constant": concat([X, const(0.5, "float64", (N, 1, 2))], 1),
    "gather": gather(X, INDEX, 1),
    "gather-late": gather(_late(X), array(np.array([[0, 1], [-1, 0]])), 1),
    "scatter": scatter_add(gather(X, INDEX, 1), INDEX, 1, 3),
    "scatter-late": scatter_add(gather(_late(X), INDEX, 0), INDEX, 0, 5),
    "einsum": einsum([X, W, Y], ((0, 1, 2), (1, 2), (2, 0)), (1, 0)),
    "einsum-sum": einsum([X, Y], ((0, 1, 2), (2, 0)), (1,)),
    "einsum-diagonal": einsum([concat([X, X], 2)], ((0, 1, 2),), (0,)),
    "sum": sum_(X, (2,)),
    "sum-late": sum_(_late(X), (0,)),
    "sum-points": sum_(X, (0, 2)),
    "max": bind("max", X, attrs=((1, 2),)),
    "max-points": bind("max", _late(X), attrs=((1, 2),)),
    "prod-points": bind("prod", X, attrs=((0,),)),
    "any-points": bind("any", bind("less", X, const(-1.4, "float64", X.shape)), attrs=((0, 1),)),
    "convert": bind("convert", X, attrs=("float32",)),
}


def _values(seed=0):
    rng = np.random.default_rng(seed)
    return {a: rng.uniform(-1.5, 1.5, a.shape) for a in (X, Y, W, Z)}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_one_point(name):
    """NumPy evaluates the whole node and that of one point."""
    out, values = ROWS[name], _values()
    points = Unbatched([out], N, 400, 16)
    assert out in points.one or out in points.added
    known = dict(zip(points.leaves, evaluate([n for n, _ in points.leaves.values()], values),
                     strict=True))  # fmt: skip
    for node in [n for n in toposort([out]) if n in points.one or n in points.added]:
        one, axis = points.one.get(node) or (points.added[node][0], None)
        each = []
        for k in range(N):
            own = {
                leaf: np.take(known[leaf], k, at) if at is not None else known[leaf]
                for leaf, (_, at) in points.leaves.items()
            }
            each.append(evaluate([one], own)[0])
        (whole,) = evaluate([node], values)
        if axis is not None:
            np.testing.assert_allclose(np.stack(each, axis), whole, rtol=1e-14)
            continue
        row = points.added[node][1]
        np.testing.assert_allclose(row.evaluate(np.stack(each), (0,)), whole, rtol=1e-14)


@pytest.mark.parametrize("name", ROWS)
def test_rows_in_scalars(name):
    """The graph in scalars of points has the values that the graph had."""
    out = ROWS[name]
    points = Unbatched([out], N, 400, 16)
    (new,), _ = in_scalars([out], points, 10_000)
    assert new.shape == out.shape and new.dtype == out.dtype
    for seed in range(3):
        values = _values(seed)
        np.testing.assert_allclose(
            evaluate([new], values)[0], evaluate([out], values)[0], rtol=1e-13, atol=1e-14
        )


WHOLE = {
    "part of the points": slice_(X, (1, 0, 0), (N - 1, 3, 2), (1, 1, 1)),
    "reversed points": slice_(X, (N - 1, 0, 0), (N, 3, 2), (-1, 1, 1)),
    "more points": pad(X, (N + 1, 3, 2), (1, 0, 0), (1, 1, 1)),
    "joined points": concat([X, X], 0),
    "merged axes": reshape(X, (3 * N, 2)),
    "points by points": einsum([Y, Y], ((0, 1), (0, 2)), (1, 2)),
    "diagonal": einsum([einsum([Y, Y], ((0, 1), (0, 2)), (1, 2))], ((0, 0),), (0,)),
    "chosen points": gather(X, array(np.arange(N)[::-1].copy()), 0),
    "in order": bind("cumsum", X, attrs=(1, False)),
    "cut into points": reshape(Z, (N, 2)),
    "which one": bind("argmax", X, attrs=(1,)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_mixes_points_stays_whole(name):
    out = WHOLE[name]
    points = Unbatched([out], N, 400, 16)
    assert out not in points.one and out not in points.added
    result = bind("sin", out) if out.dtype == "float64" else out
    (new,), _ = in_scalars([result], points, 10_000)
    values = _values()
    (expected,) = evaluate([out], values)
    expected = np.sin(expected) if out.dtype == "float64" else expected
    np.testing.assert_allclose(evaluate([new], values)[0], expected, rtol=1e-14)


def test_large_arrays_of_points_stay_whole():
    points = Unbatched([X * X], N, 5, 16)
    assert not points.one
    points = Unbatched([X * X], N, 6, 2)
    assert not points.one


# ---- functions as people map them ----------------------------------------------------------------


def arm(q):
    t = np.eye(4)
    for k in range(3):
        c, s = np.cos(q[k]), np.sin(q[k])
        t = t @ np.array([
            [c, -s * 0.6, s * 0.8, 0.4 * c], [s, c * 0.6, -c * 0.8, 0.4 * s],
            [0.0, 0.8, 0.6, 0.1], [0.0, 0.0, 0.0, 1.0],
        ])  # fmt: skip
    return t


def arm_jax(q):
    t = jnp.eye(4)
    for k in range(3):
        c, s = jnp.cos(q[k]), jnp.sin(q[k])
        t = t @ jnp.array([
            [c, -s * 0.6, s * 0.8, 0.4 * c], [s, c * 0.6, -c * 0.8, 0.4 * s],
            [0.0, 0.8, 0.6, 0.1], [0.0, 0.0, 0.0, 1.0],
        ])  # fmt: skip
    return t


def turned(np_, r, p):
    """A rotation vector applied to a point, with the matrix of a cross product."""
    angle = np_.sqrt(np_.sum(r * r) + 0.01)
    zero = 0.0
    k = np_.array([[zero, -r[2], r[1]], [r[2], zero, -r[0]], [-r[1], r[0], zero]]) / angle
    return (np_.eye(3) + np_.sin(angle) * k + (1 - np_.cos(angle)) * (k @ k)) @ p


def pose(r, p, q):
    d = turned(np, r, p) - q
    return d @ d


def pose_jax(r, p, q):
    d = turned(jnp, r, p) - q
    return d @ d


def poses(r, p, q):
    return np.sum(sg.vmap(pose)(r, p, q))


def poses_jax(r, p, q):
    return jnp.sum(jax.vmap(pose_jax)(r, p, q))


def shared(r, p, q):
    return np.sum(sg.vmap(pose, in_axes=(None, 0, 0))(r, p, q))


def shared_jax(r, p, q):
    return jnp.sum(jax.vmap(pose_jax, in_axes=(None, 0, 0))(r, p, q))


def strain(x, t):
    """Energy of triangles, of arrays of matrices as people write them."""
    f = np.einsum("eij,ejk->eik", x, t)
    c = np.einsum("eki,ekj->eij", f, f) - np.eye(2)
    return np.sum(c * c, axis=(1, 2)) + np.log(f[:, 0, 0] * f[:, 1, 1] - f[:, 0, 1] * f[:, 1, 0])


def strain_jax(x, t):
    f = jnp.einsum("eij,ejk->eik", x, t)
    c = jnp.einsum("eki,ekj->eij", f, f) - jnp.eye(2)
    return jnp.sum(c * c, axis=(1, 2)) + jnp.log(f[:, 0, 0] * f[:, 1, 1] - f[:, 0, 1] * f[:, 1, 0])


def mesh(x, t):
    return np.sum(strain(x, t))


def mesh_jax(x, t):
    return jnp.sum(strain_jax(x, t))


def _vectors(rng, n):
    return [rng.normal(size=(n, 3)) for _ in range(3)]


def _angles(rng, n):
    return [rng.uniform(-3, 3, (n, 3))]


def _matrices(rng, n):
    return [np.eye(2) + 0.1 * rng.normal(size=(n, 2, 2)) for _ in range(2)]


CASES = {
    "arm": (sg.vmap(arm), jax.vmap(arm_jax), _angles, True),
    "arm-jacobian": (
        sg.vmap(sg.jacobian(arm)), jax.vmap(jax.jacobian(arm_jax)), _angles, True),
    "arm-axes": (
        sg.vmap(arm, in_axes=1, out_axes=2), jax.vmap(arm_jax, in_axes=1, out_axes=2),
        lambda rng, n: [rng.uniform(-3, 3, (3, n))], True),
    "poses": (sg.grad(poses, (0, 1, 2)), jax.grad(poses_jax, (0, 1, 2)), _vectors, True),
    "pose-hessians": (
        sg.vmap(sg.hessian(pose)), jax.vmap(jax.hessian(pose_jax)), _vectors, None),
    "shared": (
        sg.value_and_grad(shared), jax.value_and_grad(shared_jax),
        lambda rng, n: [rng.normal(size=3), *_vectors(rng, n)[1:]], None),
    "mesh": (sg.grad(mesh), jax.grad(mesh_jax), _matrices, True),
}  # fmt: skip


@pytest.mark.sample(12)
@pytest.mark.quick(8)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("n", [33, 1003, 1, 31, 32])
def test_mapped_functions(case, n):
    f, oracle, draw, chosen = CASES[case]
    inputs = draw(np.random.default_rng(n), n)
    made = sg.compile(f, *inputs)
    if chosen and n >= HOST_TUNING.lanes_from_points:
        outs = made.graph.lowered_outs()
        found = points_that_pay(outs, DEFAULT_OPTIONS, HOST_TUNING)
        assert found is not None
        in_scalars(outs, *found)  # is short enough
    for got, want in zip(leaves(made(*inputs)), leaves(jax.jit(oracle)(*inputs)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("case", ["arm-jacobian", "poses", "mesh"])
def test_what_is_not_finite_stays_at_its_point(case):
    """NaN and infinities reach what they reach in the usual form, and no other point."""
    f, _, draw, _ = CASES[case]
    inputs = draw(np.random.default_rng(5), 100)
    for k, value in enumerate((np.nan, np.inf, -np.inf)):
        for x in inputs:
            x[7 * k + 3].flat[k] = value
    with np.errstate(all="ignore"):
        usual = leaves(sg.compile(f, *inputs, scalar=False)(*inputs))
        found = leaves(sg.compile(f, *inputs)(*inputs))
    for got, want in zip(found, usual, strict=True):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)
        assert np.isfinite(np.delete(got, [3, 10, 17], 0)).all()


def slanted(np_, r, p):
    """In the precision of its arguments."""
    k = np_.array([[0, -r[2], r[1]], [r[2], 0, -r[0]], [-r[1], r[0], 0]], dtype=r.dtype)
    return p + k @ p + k @ (k @ p) / (1 + r @ r)


@pytest.mark.parametrize("n", [33, 400])
def test_single_precision_stays_single(n):
    rng = np.random.default_rng(n)
    r, p = (rng.normal(size=(n, 3)).astype(np.float32) for _ in range(2))
    f = sg.vmap(sg.jacobian(lambda r, p: slanted(np, r, p), (0, 1)))
    oracle = jax.jit(jax.vmap(jax.jacobian(lambda r, p: slanted(jnp, r, p), (0, 1))))
    graph = sg.trace(f, r, p)
    assert points_that_pay(graph.lowered_outs(), DEFAULT_OPTIONS, HOST_TUNING) is not None
    made = sg.compile(f, r, p)
    assert "double" not in made.c_source.split("#endif")[-1]
    for got, want in zip(made(r, p), oracle(r, p), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def gathered(r, p, camera, point):
    return sg.vmap(sg.jacobian(lambda r, p: turned(np, r, p), (0, 1)))(r[camera], p[point])


def gathered_jax(r, p, camera, point):
    return jax.vmap(jax.jacobian(lambda r, p: turned(jnp, r, p), (0, 1)))(r[camera], p[point])


@pytest.mark.quick(1)
@pytest.mark.parametrize("n", [61, 32, 500])
def test_rows_by_an_index(n):
    rng = np.random.default_rng(n)
    r, p = rng.normal(size=(5, 3)), rng.normal(size=(20, 3))
    camera, point = rng.integers(-5, 5, n), rng.integers(-20, 20, n)
    made = sg.compile(gathered, r, p, camera, point)
    close(made(r, p, camera, point), jax.jit(gathered_jax)(r, p, camera, point), 1e-12)
    point[n // 2] = 20
    with pytest.raises(IndexError):
        made(r, p, camera, point)


def columns(x):
    """As people write it who have no vmap."""
    a, b, c, d, e = (x[:, k] for k in range(5))
    for _ in range(6):
        a, b, c, d, e = b * c - d, c * d + 0.5 * a, d - e * a, e * b - 0.25 * c, a + 0.125 * b
    return np.stack([a, b, c, d, e], axis=1)


@pytest.mark.parametrize("n", [31, 32, 35, 100, 1001])
def test_rows_of_many_columns_are_copied_to_lanes(n):
    x = np.random.default_rng(n).uniform(-1, 1, (n, 5))
    made = sg.compile(columns, x)
    close(made(x), columns(x), 1e-13)
    rows = [s for s, _ in statements(program_of(made.graph).body) if isinstance(s, Rows)]
    assert bool(rows) == (n >= HOST_TUNING.lanes_from_points)


def test_choice():
    """Where nothing but dense products is done there are no scalars; nor are there when told so."""
    x, w = np.ones((100, 20)), np.ones(20)

    def logistic(w, x):
        return np.sum(np.log1p(np.exp(-(x @ w))))

    outs = sg.trace(sg.grad(logistic), w, x).lowered_outs()
    assert points_that_pay(outs, DEFAULT_OPTIONS, HOST_TUNING) is None
    q = np.ones((100, 3))
    graph = sg.trace(sg.vmap(sg.jacobian(arm)), q)
    usual, made = (
        operations([e for s, _ in statements(program_of(graph, scalar=scalar).body)
                    for e in s.exprs()])
        for scalar in (False, "auto")
    )  # fmt: skip
    assert made < 0.5 * usual


def test_calls_of_other_kinds():
    """Sorted points, and eigenvalues of each, beside scalars."""

    def f(x, y):
        a = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
        return np.sort(x[:, 0]), np.linalg.eigvalsh(y + np.swapaxes(y, 1, 2)) @ a, x @ a

    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 3, 3))
    close(sg.compile(f, x, y)(x, y), f(x, y), 1e-12)


def test_results_of_no_elements():
    x = np.ones((40, 3, 0))
    y = np.ones((40, 3))

    def f(x, y):
        a = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
        return np.einsum("ij,njk->nik", a, x), y @ a

    got = sg.compile(f, x, y)(x, y)
    assert got[0].shape == (40, 3, 0)
    close(got[1], y * [1, 1, 2], 1e-15)


# ---- stacks of small matrices --------------------------------------------------------------------


def _spread(rng, n, order):
    """Matrices that are far from singular, but for the order of their rows."""
    matrices = 2 * order * np.eye(order) + rng.uniform(-1, 1, (n, order, order))
    return np.stack([m[rng.permutation(order)] for m in matrices])


def mahalanobis(a, b):
    c = a @ np.swapaxes(a, 1, 2)
    return np.sum(b * np.linalg.solve(c, b[:, :, None])[:, :, 0], axis=1) + np.linalg.slogdet(c)[1]


def mahalanobis_jax(a, b):
    c = a @ jnp.swapaxes(a, 1, 2)
    x = jnp.linalg.solve(c, b[:, :, None])[:, :, 0]
    return jnp.sum(b * x, axis=1) + jnp.linalg.slogdet(c)[1]


STACKS = {
    "solve": (lambda a, b: np.linalg.solve(a, b[:, :, None]),
              lambda a, b: jnp.linalg.solve(a, b[:, :, None])),
    "solve-gradient": (
        sg.vmap(sg.grad(lambda a, b: np.sum(np.linalg.solve(a, b) ** 2), (0, 1))),
        jax.vmap(jax.grad(lambda a, b: jnp.sum(jnp.linalg.solve(a, b) ** 2), (0, 1)))),
    "transposed": (lambda a, b: np.linalg.solve(np.swapaxes(a, 1, 2), b[:, :, None]),
                   lambda a, b: jnp.linalg.solve(jnp.swapaxes(a, 1, 2), b[:, :, None])),
    "inverse": (lambda a, b: np.linalg.inv(a) * b[:, None],
                lambda a, b: jnp.linalg.inv(a) * b[:, None]),
    "determinant": (lambda a, b: np.linalg.det(a) * b[:, 0],
                    lambda a, b: jnp.linalg.det(a) * b[:, 0]),
    "cholesky": (lambda a, b: np.linalg.cholesky(a @ np.swapaxes(a, 1, 2)),
                 lambda a, b: jnp.linalg.cholesky(a @ jnp.swapaxes(a, 1, 2))),
    "mahalanobis": (mahalanobis, mahalanobis_jax),
    "mahalanobis-gradient": (
        sg.grad(lambda a, b: np.sum(mahalanobis(a, b)), (0, 1)),
        jax.grad(lambda a, b: jnp.sum(mahalanobis_jax(a, b)), (0, 1))),
}  # fmt: skip


@pytest.mark.sample(12)
@pytest.mark.quick(8)
@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("n", [33, 500, 32])
@pytest.mark.parametrize("order", [3, 2, 5])
def test_stacks_of_small_matrices(name, n, order):
    """Rows are exchanged in all points at once, as each needs it."""
    f, oracle = STACKS[name]
    rng = np.random.default_rng(n + order)
    a, b = _spread(rng, n, order), rng.normal(size=(n, order))
    want = jax.jit(oracle)(a, b)
    for got, expected in zip(leaves(sg.compile(f, a, b)(a, b)), leaves(want), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["solve", "cholesky", "inverse"])
@pytest.mark.parametrize("point", [0, 40, 49])
def test_a_singular_matrix_fails_wherever_it_is(name, point):
    f, _ = STACKS[name]
    rng = np.random.default_rng(1)
    a, b = _spread(rng, 50, 3), rng.normal(size=(50, 3))
    made = sg.compile(f, a, b)
    made(a, b)
    a[point] = 0.0
    with pytest.raises(np.linalg.LinAlgError):
        made(a, b)
    a[point] = np.eye(3)
    made(a, b)


def test_a_function_with_checks_of_its_own_fails_as_it_says():
    def f(a, b):
        if np.any(b > 100.0):
            raise ValueError("too large")
        return np.linalg.solve(a, b[:, :, None])

    rng = np.random.default_rng(1)
    a, b = _spread(rng, 50, 3), rng.normal(size=(50, 3))
    made = sg.compile(f, a, b)
    close(made(a, b), np.linalg.solve(a, b[:, :, None]), 1e-10)
    a[7] = 0.0
    with pytest.raises(np.linalg.LinAlgError):
        made(a, b)
    b[3, 0] = 101.0
    with pytest.raises(ValueError, match="too large"):
        made(a, b)


@pytest.mark.parametrize("order", [8, 9, 12])
def test_larger_matrices_are_factored_by_calls(order):
    rng = np.random.default_rng(order)
    a, b = _spread(rng, 40, order), rng.normal(size=(40, order))
    f = STACKS["solve"][0]
    close(sg.compile(f, a, b)(a, b), np.linalg.solve(a, b[:, :, None]), 1e-8)


def test_one_matrix_for_all_points():
    rng = np.random.default_rng(3)
    a, b = _spread(rng, 1, 3)[0], rng.normal(size=(40, 3))

    def f(a, b):
        return sg.vmap(lambda x: np.linalg.solve(a, x) * np.array([1.0, 0.0, 2.0]))(b)

    close(sg.compile(f, a, b)(a, b), np.linalg.solve(a, b.T).T * [1, 0, 2], 1e-10)

    def repeated(a, b):
        """Whether it is singular is the same for all points; of the other matrices it is not."""
        same = np.broadcast_to(a, (len(b), 3, 3))
        other = same + b[:, :, None] * np.eye(3)
        x = np.linalg.solve(same, b[:, :, None])
        return x, np.linalg.solve(other, x)

    b = b + 4
    made = sg.compile(repeated, a, b)
    close(made(a, b), repeated(a, b), 1e-10)
    with pytest.raises(np.linalg.LinAlgError):
        made(np.zeros((3, 3)), b)


@pytest.mark.parametrize("order", [2, 6])
def test_factors_that_are_needed_whole_stay_calls(order):
    """Scalars do not say in which rows pivots were: found by random programs."""
    rng = np.random.default_rng(order)
    a = 6 * np.eye(order) + rng.normal(size=(33, order, order))
    f = sg.vmap(sg.hessian(lambda a: np.sum(np.linalg.solve(a[::-1], a))))
    oracle = jax.vmap(jax.hessian(lambda a: jnp.sum(jnp.linalg.solve(a[::-1], a))))
    close(sg.compile(f, a)(a), jax.jit(oracle)(a), 1e-11)


@pytest.mark.quick(20)
@pytest.mark.parametrize("seed", range(160))
def test_random_functions_in_scalars_of_points(seed):
    """At ordinary points, ties, NaN and infinities, each beside all the others."""
    outcome, finding = check_mapped(seed, graphs=True)
    assert not finding, finding


@pytest.mark.sample(12)
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200, 230))
def test_random_functions_in_lanes_of_points(seed):
    outcome, finding = check_mapped(seed)
    assert not finding, finding


@pytest.mark.parametrize("n", [33, 400])
def test_rows_of_one_round_are_not_copied_in_each(n):
    """Of steps of time, a round in lanes reads those of its own step."""

    def one(x, u):
        for step in u:
            x = x + 0.1 * np.array([x[1], -np.sin(x[0]), x[0] * x[2]]) + step
        return x

    rng = np.random.default_rng(n)
    x, u = rng.normal(size=(n, 3)), rng.normal(size=(n, 40, 3))
    made = sg.compile(sg.vmap(one), x, u)
    close(made(x, u), np.stack([one(*pair) for pair in zip(x, u, strict=True)]), 1e-12)
    lanes = [b for b in program_of(made.graph).buffers if b.lanes]
    assert lanes and all(math.prod(b.shape[a] for a in b.kept_axes) <= 3 for b in lanes)
