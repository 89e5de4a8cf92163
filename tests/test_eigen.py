"""Eigenvalues of symmetric matrices: NumPy's numbers, JAX's derivatives, ties, batches, C."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import symgrad as sg

RNG = np.random.default_rng(3)


def symmetric(*shape):
    a = RNG.normal(size=shape)
    return a + np.swapaxes(a, -1, -2)


@pytest.fixture(autouse=True)
def x64():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def graded(n):
    """Eigenvalues from 1 to 1e-8."""
    q = np.linalg.qr(RNG.normal(size=(n, n)))[0]
    return q @ np.diag(np.logspace(0, -8, n)) @ q.T


MATRICES = {
    "1": symmetric(1, 1), "2": symmetric(2, 2), "5": symmetric(5, 5), "40": symmetric(40, 40),
    "diagonal": np.diag([3.0, -1.0, 2.0]), "zero": np.zeros((3, 3)), "tie": np.ones((4, 4)),
    "graded": graded(6), "large": 1e200 * symmetric(3, 3), "small": 1e-200 * symmetric(3, 3),
    "batch": symmetric(2, 3, 4, 4), "empty": np.zeros((0, 0)), "none": np.zeros((0, 2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.quick(3)
def test_values_and_vectors(name, dtype):
    with np.errstate(over="ignore"):
        a = MATRICES[name].astype(dtype)
    if not np.isfinite(a).all():
        pytest.skip("beyond float32")
    eps, size = np.finfo(dtype).eps, np.abs(a).max(initial=0)
    values, vectors = sg.jit(lambda a: np.linalg.eigh(a))(a)
    assert values.dtype == vectors.dtype == dtype
    n = a.shape[-1]
    exact = np.linalg.eigvalsh(a.astype(float))
    np.testing.assert_allclose(values, exact, rtol=0, atol=8 * (n + 1) * eps * size)
    np.testing.assert_allclose(sg.jit(lambda a: np.linalg.eigvalsh(a))(a), values, rtol=0)
    unit = np.swapaxes(vectors, -1, -2) @ vectors
    np.testing.assert_allclose(unit, np.broadcast_to(np.eye(n), unit.shape), atol=8 * (n + 1) * eps)
    again = (vectors * values[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    np.testing.assert_allclose(again, a, rtol=0, atol=16 * (n + 1) * eps * size)


LOSSES = {
    "largest": lambda m, a: m.linalg.eigvalsh(a)[-1],
    "log det": lambda m, a: m.sum(m.log(m.linalg.eigvalsh(a @ a.T + m.eye(4)))),
    "weighted": lambda m, a: m.sum(m.sin(m.linalg.eigvalsh(a + a.T)) * m.arange(4.0)),
    "projector": lambda m, a: m.sum((m.linalg.eigh(a + a.T)[1] @ m.ones(4)) ** 2 * m.arange(4.0)),
    "root": lambda m, a: m.sum(
        m.sin(
            (m.linalg.eigh(a @ a.T)[1] * m.sqrt(m.linalg.eigh(a @ a.T)[0] + 1))
            @ m.linalg.eigh(a @ a.T)[1].T
        )
    ),
}


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_first_and_second_derivatives(name):
    f, x, v = LOSSES[name], symmetric(4, 4), symmetric(4, 4)
    if name == "projector":  # squares: signs of vectors are a choice
        f = lambda m, a: m.sum((m.ones(4) @ m.linalg.eigh(a + a.T)[1]) ** 2 * m.arange(4.0))
    ours, theirs = (lambda a: f(np, a)), (lambda a: f(jnp, a))
    value, slope = sg.value_and_grad(ours)(x)
    np.testing.assert_allclose(value, theirs(x), rtol=1e-12)
    np.testing.assert_allclose(slope, jax.jit(jax.grad(theirs))(x), rtol=1e-10, atol=1e-12)
    product = jax.jit(lambda x: jax.jvp(jax.grad(theirs), (x,), (v,))[1])(x)
    np.testing.assert_allclose(sg.hvp(ours, x, v), product, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(
        sg.jvp(ours, (x,), (v,))[1], jax.jvp(theirs, (x,), (v,))[1], rtol=1e-10
    )
    batch = np.stack([x, symmetric(4, 4)])
    np.testing.assert_allclose(
        sg.vmap(sg.grad(ours))(batch), jax.jit(jax.vmap(jax.grad(theirs)))(batch),
        rtol=1e-9, atol=1e-11,
    )  # fmt: skip


@pytest.mark.slow
def test_ties_are_right_or_no_numbers():
    """Sums of functions of all eigenvalues are smooth at ties; single eigenvalues are not."""
    a = np.diag([2.0, 2.0, 5.0])
    total = lambda a: np.sum(np.linalg.eigvalsh(a) ** 3)
    np.testing.assert_allclose(sg.grad(total)(a), 3 * a @ a, atol=1e-14)
    assert not np.isfinite(sg.hvp(total, a, symmetric(3, 3))).all()
    assert not np.isfinite(sg.grad(lambda a: np.linalg.eigh(a)[1][0, 0] ** 2)(a)).all()


def test_triangles_names_and_bad_matrices():
    a = symmetric(3, 3)
    skew = np.triu(a) + 99 * np.tril(np.ones((3, 3)), -1)
    want = np.linalg.eigvalsh(a)
    close = lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-13)
    close(sg.jit(lambda a: np.linalg.eigvalsh(a, "U"))(skew), want)
    close(sg.jit(lambda a: np.linalg.eigvalsh(a, UPLO="L"))(skew.T), want)
    close(sg.jit(lambda a: np.linalg.eigh(a).eigenvalues)(a), want)
    close(sg.jit(lambda a: scipy.linalg.eigvalsh(a))(a), want)
    close(sg.jit(lambda a: scipy.linalg.eigh(a, lower=False)[0])(skew), want)
    close(sg.jit(lambda a: scipy.linalg.eigh(a, eigvals_only=True))(a), want)
    with pytest.raises(sg.errors.ShapeError, match="square"):
        sg.jit(lambda a: np.linalg.eigvalsh(a))(np.ones((2, 3)))
    with pytest.raises(sg.errors.UnsupportedError, match="cholesky"):
        sg.jit(lambda a: scipy.linalg.eigh(a, a))(a)
    for bad in (np.nan, np.inf):
        with pytest.raises(np.linalg.LinAlgError):
            sg.jit(lambda a: np.linalg.eigvalsh(a))(a + bad)
