"""Gradients of losses as people write them store nothing that grows with the number of points."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad.generate import source_of

FEW, MANY = 2_000, 20_000
SLACK = 70_000  # bytes: what compensated sums of more blocks need

LOSSES = {}


def loss(**shapes):
    """Shapes of the parameters and of the data; n is the number of points, K a label below K."""

    def register(f):
        LOSSES[f.__name__] = f, shapes
        return f

    return register


@loss(m=(8, 5), s=(8, 5), w=(8,), X=("n", 5))
def diagonal_mixture(m, s, w, X):
    z = (X[:, None, :] - m) * np.exp(s)
    e = w + np.sum(s, axis=1) - 0.5 * np.sum(z * z, axis=2)
    return np.sum(sg.logsumexp(e, axis=1))


@loss(c=(4, 3), X=("n", 3))
def k_means(c, X):
    return np.sum(np.min(np.sum((X[:, None, :] - c) ** 2, axis=2), axis=1))


@loss(W=(10, 4), X=("n", 10), Y=("n", 4))
def multinomial_regression(W, X, Y):
    return -np.mean(np.sum(Y * sg.log_softmax(X @ W, axis=1), axis=1))


@loss(W=(50, 20), X=("n", 50), Y=("n", 20))
def large_multinomial_regression(W, X, Y):
    return -np.mean(np.sum(Y * sg.log_softmax(X @ W, axis=1), axis=1))


@loss(w=(7,), X=("n", 7), y=("n",))
def poisson_regression(w, X, y):
    return np.sum(np.exp(0.1 * (X @ w)) - y * (X @ w))


@loss(W=(6, 16), b=(16,), v=(16,), X=("n", 6), y=("n",))
def small_net(W, b, v, X, y):
    return np.mean((np.tanh(X @ W + b) @ v - y) ** 2)


@loss(W=(20, 64), b=(64,), U=(64, 64), a=(64,), v=(64,), X=("n", 20), y=("n",))
def deep_net(W, b, U, a, v, X, y):
    return np.mean((np.tanh(np.tanh(X @ W + b) @ U + a) @ v - y) ** 2)


@loss(w=(8,), V=(8, 3), X=("n", 8), y=("n",))
def factorization_machine(w, V, X, y):
    pairs = 0.5 * np.sum((X @ V) ** 2 - X**2 @ V**2, axis=1)
    return np.mean(np.log1p(np.exp(-y * (X @ w + pairs))))


@loss(c=(12, 2), w=(12,), X=("n", 2), y=("n",))
def radial_basis(c, w, X, y):
    return np.mean((np.exp(-np.sum((X[:, None, :] - c) ** 2, axis=2)) @ w - y) ** 2)


@loss(m=(3,), L=(3, 3), X=("n", 3))
def student(m, L, X):
    z = (X - m) @ L
    fit = np.sum(2.5 * np.log1p(np.sum(z * z, axis=1) / 4))
    return fit - len(X) * np.log(np.abs(np.linalg.det(L)))


@loss(W=(5, 5), X=("n", 5))
def principal_components(W, X):
    return np.sum((X - X @ W @ W.T) ** 2)


@loss(c=(9,), x=("n",))
def polynomial(c, x):
    return np.mean((sum(c[k] * x**k for k in range(9)) - np.sin(x)) ** 2)


@loss(a=(6,), s=(6,), group=("n", "6"), y=("n",))
def random_effects(a, s, group, y):
    return np.sum(0.5 * ((y - a[group]) * np.exp(-s[group])) ** 2 + s[group])


@loss(w=(5,), X=("n", 5))
def standardised(w, X):
    return np.mean(np.tanh((X - X.mean(axis=0)) / X.std(axis=0) @ w) ** 2)


def sample(shapes, n):
    rng = np.random.default_rng(0)
    args = []
    for shape in shapes.values():
        if isinstance(shape[-1], str) and shape[-1] != "n":
            args.append(rng.integers(int(shape[-1]), size=n))
        else:
            args.append(rng.normal(size=[n if k == "n" else k for k in shape]))
    return args


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", LOSSES)
def test_nothing_is_stored_for_every_point(name):
    f, shapes = LOSSES[name]
    parameters = tuple(k for k, shape in enumerate(shapes.values()) if shape[0] != "n")
    gradient = sg.value_and_grad(f, parameters)
    few, many = (sg.trace(gradient, *sample(shapes, n)).simplify() for n in (FEW, MANY))
    assert source_of(many).workspace_bytes < source_of(few).workspace_bytes + SLACK
    args = sample(shapes, FEW)
    value, slopes = sg.compile(gradient, *args)(*args)
    expected, known = few.evaluate(*args)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for got, wanted in zip(slopes, known, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12 * np.max(np.abs(wanted)))


@pytest.mark.slow
def test_nor_for_the_hessian_of_a_net():
    """Its sums are larger than what a block of few points makes: blocks are larger, too."""

    def net(p, X, y):
        h = np.tanh(X @ p["A"] + p["a"])
        return np.mean((np.tanh(h @ p["B"] + p["b"]) @ p["c"] - y) ** 2)

    rng = np.random.default_rng(0)
    p = {"A": rng.normal(size=(10, 24)), "a": np.zeros(24), "B": rng.normal(size=(24, 24)) / 5,
         "b": np.zeros(24), "c": rng.normal(size=24)}  # fmt: skip

    def bytes_for(n):
        hessian = sg.trace(sg.hessian(net), p, sg.f64[n, 10], sg.f64[n]).simplify()
        return source_of(hessian).workspace_bytes

    assert bytes_for(10 * FEW) == bytes_for(10 * MANY) < 50e6
