"""A Gaussian mixture: from its log-likelihood in NumPy to the C that stands in gaussian_mixture_c/.

    python examples/gaussian_mixture.py [--out DIRECTORY]

10,000 points, 2 coordinates, 5 components with full covariances (by a triangular factor of the
precision). symgrad derives the gradient, writes it as C, and L-BFGS fits the mixture with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

import symgrad as sg

N, D, K = 10_000, 2, 5


def log_likelihood(params, X):
    """Mean over the points x of log sum_k p_k |L_k| exp(-|L_k (x - mu_k)|^2 / 2), up to a constant.

    L_k has exp(logs) on its diagonal; p is the softmax of weights.
    """
    L = np.exp(params["logs"])[:, :, None] * np.eye(D) + params["below"][:, :, None] * np.eye(
        D, k=-1
    )
    z = np.einsum("kab,nkb->nka", L, X[:, None, :] - params["mu"])
    scores = params["weights"] + np.sum(params["logs"], axis=1) - 0.5 * np.sum(z**2, axis=2)
    return np.mean(sg.logsumexp(scores, axis=1)) - sg.logsumexp(params["weights"])


def loss(params, X):
    return -log_likelihood(params, X)


def sample(rng):
    """Points of a mixture whose components have different shapes."""
    centres = rng.uniform(-6, 6, size=(K, D))
    shapes = rng.normal(size=(K, D, D))
    of = rng.integers(K, size=N)
    return centres[of] + np.einsum("nab,nb->na", shapes[of], rng.normal(size=(N, D)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "gaussian_mixture_c")
    out = parser.parse_args().out
    rng = np.random.default_rng(0)
    X = sample(rng)
    params = {
        "below": np.zeros((K, D)),
        "logs": np.zeros((K, D)),
        "mu": X[rng.integers(N, size=K)],
        "weights": np.zeros(K),
    }
    gradient = sg.compile(sg.value_and_grad(loss), params, X, name="mixture_gradient")
    print(gradient.cost())
    for path in gradient.export(out, overwrite=True):
        print("written:", path.name)

    names = list(params)
    ends = np.cumsum([params[name].size for name in names])

    def unpack(theta):
        parts = np.split(theta, ends[:-1])
        return {n: p.reshape(params[n].shape) for n, p in zip(names, parts, strict=True)}

    def flat(theta):
        value, slopes = gradient(unpack(theta), X)
        return float(value), np.concatenate([slopes[name].ravel() for name in names])

    start = np.concatenate([params[name].ravel() for name in names])
    fit = minimize(flat, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    print(f"loss {flat(start)[0]:.4f} at the start, {fit.fun:.4f} after {fit.nit} iterations")


if __name__ == "__main__":
    main()
