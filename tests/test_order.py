"""Sorted elements, quantiles, running extrema and sums of exponentials: derivatives, and C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import ShapeError, UnsupportedError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import arg
from symgrad.ops.sorting import argsort
from symgrad.trace import Tracer, record

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def x64() -> Any:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def traced(f: Callable[..., Any], *values: Any) -> Any:
    """What `f` computes on `values` by way of a trace."""
    nodes = [arg(i, np.shape(v), np.asarray(v).dtype.name) for i, v in enumerate(values)]
    outs, treedef = record(f, tuple(Tracer(n, True) for n in nodes), {})
    return treedef.unflatten(
        evaluate(outs, {n: np.asarray(v) for n, v in zip(nodes, values, strict=True)})
    )


# Functions of one array, with the library that they are taken from.
FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "sort": lambda lib, x: lib.sort(x, axis=1),
    "sort 0": lambda lib, x: lib.sort(x, axis=0) ** 2,
    "sort all": lambda lib, x: lib.sort(x, axis=None),
    "argsort": lambda lib, x: x[lib.argsort(x[:, 0])] * lib.arange(5.0)[:, None],
    "median": lambda lib, x: lib.median(x, axis=1),
    "median even": lambda lib, x: lib.median(x, axis=1),
    "median all": lambda lib, x: lib.median(lib.sin(x)),
    "quantile": lambda lib, x: lib.quantile(x, lib.asarray([0.1, 0.62]), axis=0),
    "percentile": lambda lib, x: lib.percentile(x, 30.0),
    "gradient": lambda lib, x: lib.gradient(x, axis=1) ** 2,
    "interp": lambda lib, x: lib.interp(x, lib.arange(-3.0, 3.0, 0.3), lib.arange(20.0) ** 2),
    "unwrap": lambda lib, x: lib.unwrap(5 * x, axis=1) ** 2,
    "cumulative max": lambda lib, x: (
        np.maximum.accumulate(x, 1) if lib is np else jax.lax.cummax(x, 1)
    ),
    "cumulative min": lambda lib, x: (
        np.minimum.accumulate(x, 0) if lib is np else jax.lax.cummin(x, 0)
    ),
    "cumulative logsumexp": lambda lib, x: (
        np.logaddexp.accumulate(90 * x, 1) if lib is np else jax.lax.cumlogsumexp(90 * x, 1)
    ),
    "logsumexp": lambda lib, x: (
        np.logaddexp.reduce(x, 1) if lib is np else jax.scipy.special.logsumexp(x, 1)
    ),
    "nanvar": lambda lib, x: lib.nanvar(lib.where(x > -0.5, x, lib.nan), axis=1),
    "nanstd": lambda lib, x: lib.nanstd(lib.where(x > -0.5, x, lib.nan)),
    "corrcoef": lambda lib, x: lib.corrcoef(x),
}


@pytest.mark.sample(10)
@pytest.mark.quick(1)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives(name: str) -> None:
    """Gradients and second derivatives of a weighted sum, against JAX."""
    f = FUNCTIONS[name]
    x = RNG.normal(size=(5, 6 if name == "median even" else 7))
    shape = np.shape(f(np, x))
    w, v = RNG.normal(size=shape), RNG.normal(size=x.shape)
    np.testing.assert_allclose(traced(lambda x: f(np, x), x), f(np, x), rtol=1e-12)

    def ours(x: Any) -> Any:
        return np.sum(w * np.sin(f(np, x)))

    def theirs(x: Any) -> Any:
        return jnp.sum(w * jnp.sin(f(jnp, x)))

    # compiled whole: JAX would compile each of its operations otherwise, which takes longer
    gradient, product = jax.jit(lambda x: jax.jvp(jax.grad(theirs), (x,), (v,)))(x)
    np.testing.assert_allclose(traced(sg.grad(ours), x), gradient, rtol=1e-10, atol=1e-12)
    got = traced(lambda x: sg.hvp(ours, x, v), x)
    np.testing.assert_allclose(got, product, rtol=1e-9, atol=1e-10)


SHAPES = [(0,), (1,), (2,), (3,), (9,), (64,), (501,), (3, 7), (0, 4), (4, 0), (2, 3, 5)]


@pytest.mark.slow
def test_orders_in_c() -> None:
    """Ties, both zeros, NaN, infinities, along every axis, of every dtype, in stable order."""

    def f(*arrays: Any) -> Any:
        return [
            [np.argsort(x, k, stable=True) for k in range(x.ndim)] + [np.sort(x)] for x in arrays
        ]

    arrays: list[Any] = []
    for shape in SHAPES:
        x = RNG.integers(-4, 5, shape).astype(float)
        x[x == 4], x[x == 3], x[x == -4] = np.nan, np.inf, -0.0
        arrays += [x, x.astype(np.float32), RNG.integers(-4, 5, shape),
                   RNG.integers(-4, 5, shape).astype(np.int32), x > 0]  # fmt: skip
    for got, wanted in zip(sg.jit(f)(*arrays), f(*arrays), strict=True):
        for g, w in zip(got, wanted, strict=True):
            assert g.dtype == w.dtype
            np.testing.assert_array_equal(g, w)


@pytest.mark.slow
def test_running_functions_in_c() -> None:
    def f(x: Any) -> Any:
        return (
            np.maximum.accumulate(x), np.minimum.accumulate(x, 1), np.logaddexp.accumulate(40 * x),
            np.median(x, 0), np.quantile(x, [0.2, 0.9], 1), np.searchsorted(np.sort(x[0]), x),
        )  # fmt: skip

    x = RNG.normal(size=(33, 21))
    for got, wanted in zip(sg.jit(f)(x), f(x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-13, atol=1e-13)
    loss = sg.grad(lambda x: sum(np.sum(v * v) for v in f(x)[:5]))
    np.testing.assert_allclose(loss(x), traced(loss, x), rtol=1e-11, atol=1e-11)


def test_running_sums_of_exponentials_at_the_ends() -> None:
    """No weight at all shares equally; an infinite term takes all; NaN stays."""
    inf, nan = np.inf, np.nan
    for x in (
        [-inf, -inf, 1.0],
        [1.0, inf, 2.0],
        [0.0, nan, 3.0],
        [-1e308, 1e308, 0.0],
        [800.0, -800],
    ):
        with np.errstate(all="ignore"):
            wanted = np.logaddexp.accumulate(np.array(x))
        np.testing.assert_array_equal(traced(np.logaddexp.accumulate, np.array(x)), wanted)
    rows = traced(sg.jacobian(np.logaddexp.accumulate), np.array([-inf, -inf, 1.0]))
    np.testing.assert_array_equal(rows, [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])


def test_equal_elements() -> None:
    """The derivative of a sorted element is that of the one which stands there, in stable order."""
    x = np.array([2.0, 1.0, 2.0, 1.0])
    np.testing.assert_array_equal(traced(sg.jacobian(np.sort), x), np.eye(4)[[1, 3, 0, 2]])
    half = traced(sg.grad(np.median), x)
    np.testing.assert_array_equal(half, [0.5, 0, 0, 0.5])


def test_methods_that_sort_in_place() -> None:
    """All names and views of the array see it; an argument of the caller is refused or followed."""

    def f(x: Any) -> Any:
        y = x * 1.0
        alias, view = y, y[:2]
        y.sort()
        z = x * 2.0
        z.partition(1)
        return alias, view * 10, np.sort(z[:2]), z[2:].min()

    x = np.array([3.0, 1.0, 2.0, 0.5])
    for got, wanted in zip(traced(f, x), f(x), strict=True):
        np.testing.assert_array_equal(got, wanted)
    rows = traced(sg.jacobian(lambda x: f(x)[0]), x)
    np.testing.assert_array_equal(rows, np.eye(4)[[3, 1, 2, 0]])


def test_an_order_is_not_differentiated() -> None:
    def f(x: Any) -> Any:
        return np.sum(np.argsort(x) * x)

    x = RNG.normal(size=6)
    np.testing.assert_array_equal(traced(sg.grad(f), x), np.argsort(x))
    np.testing.assert_array_equal(traced(sg.vmap(np.argsort), np.stack([x, -x])),
                                  [np.argsort(x), np.argsort(-x)])  # fmt: skip


def cox(beta: Any, x: Any, time: Any, event: Any) -> Any:
    """A Cox partial likelihood, sorted inside: the order is that of data."""
    order = np.argsort(-time)
    risk = (x @ beta)[order]
    return np.sum(event[order] * (risk - np.logaddexp.accumulate(risk)))


@pytest.mark.slow
def test_a_cox_likelihood() -> None:
    x, time = RNG.normal(size=(9, 3)), RNG.exponential(size=9)
    event, beta = (RNG.uniform(size=9) < 0.7).astype(float), RNG.normal(size=3)

    def theirs(beta: Any) -> Any:
        order = np.argsort(-time)
        risk = (x @ beta)[order]
        return jnp.sum(event[order] * (risk - jax.lax.cumlogsumexp(risk)))

    gradient, hessian = jax.jit(lambda b: (jax.grad(theirs)(b), jax.hessian(theirs)(b)))(beta)
    for got in (sg.grad(cox)(beta, x, time, event), traced(sg.grad(cox), beta, x, time, event)):
        np.testing.assert_allclose(got, gradient, rtol=1e-11)
    np.testing.assert_allclose(sg.hessian(cox)(beta, x, time, event), hessian, rtol=1e-9)


@pytest.mark.parametrize(
    "f, error, words",
    [
        (lambda x: np.quantile(x, x[0]), UnsupportedError, "q must be plain"),
        (lambda x: np.quantile(x, 0.5, method="inverted_cdf"), UnsupportedError, "hazen"),
        (lambda x: np.quantile(x, 2.0), ShapeError, "range"),
        (lambda x: np.sort(x, order="a"), UnsupportedError, "order='a'"),
        (lambda x: np.partition(x, 9), ShapeError, "out of bounds"),
        (lambda x: np.bincount(x.astype(int), x), UnsupportedError, "size is not known"),
        (lambda x: np.gradient(x, edge_order=3), UnsupportedError, "edge_order=3"),
        (lambda x: np.gradient(x[:1]), ShapeError, "2 elements"),
        (lambda x: np.gradient(x, np.arange(3.0)), ShapeError, "coordinates"),
    ],
)
def test_errors(f: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        sg.trace(f, sg.f64[4])


def test_types_of_orders() -> None:
    with pytest.raises(ShapeError, match="float32"):
        sg.trace(np.sort, sg.f32[2**24 + 1])
    node = argsort(arg(0, (3, 2), "bool"), 0)
    assert node.dtype == "int64" and node.shape == (3, 2)
