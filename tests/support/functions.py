"""Functions and arguments that several test files compile."""

from __future__ import annotations

import numpy as np

import symgrad as sg


def mixture(Q, means, X):
    """Sum over points of a log of a sum of exponentials of quadratic forms."""
    z = np.einsum("kab,nkb->nka", Q, X[:, None, :] - means)
    e = -0.5 * np.sum(z**2, axis=2)
    return np.sum(sg.logsumexp(e, axis=1))


def mixture_gradient(Q, means, X):
    """By hand, in NumPy."""
    d = X[:, None, :] - means
    z = np.einsum("kab,nkb->nka", Q, d)
    e = -0.5 * np.sum(z**2, axis=2)
    top = e.max(axis=1, keepdims=True)
    value = np.sum(np.log(np.sum(np.exp(e - top), axis=1)) + top[:, 0])
    r = np.exp(e - top)
    r /= r.sum(axis=1, keepdims=True)
    rz = r[:, :, None] * z
    return value, (-np.einsum("nka,nkb->kab", rz, d), np.einsum("nka,kab->kb", rz, Q))


def mixture_data(n, D, K):
    rng = np.random.default_rng(n)
    return rng.normal(size=(K, D, D)) / D, rng.normal(size=(K, D)), rng.normal(size=(n, D))


def normals(*shapes, dtype=np.float64):
    """Normal random arrays, the same ones in every call."""
    rng = np.random.default_rng(7)
    return tuple(rng.normal(size=s).astype(dtype) for s in shapes)
