"""Functions and arguments that several test files compile."""

from __future__ import annotations

import numpy as np

import symgrad as sg


def mixture(Q, means, X):
    """Sum over points of a log of a sum of exponentials of quadratic forms."""
    z = np.einsum("kab,nkb->nka", Q, X[:, None, :] - means)
    e = -0.5 * np.sum(z**2, axis=2)
    return np.sum(sg.logsumexp(e, axis=1))


def normals(*shapes, dtype=np.float64):
    """Normal random arrays, the same ones in every call."""
    rng = np.random.default_rng(7)
    return tuple(rng.normal(size=s).astype(dtype) for s in shapes)
