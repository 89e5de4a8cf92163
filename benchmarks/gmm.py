"""Gaussian mixture with a Wishart prior: log-likelihood and gradient, as in ADBench."""

from __future__ import annotations

import math

import numpy as np
from harness import (
    HandwrittenC,
    Skip,
    Work,
    by_casadi,
    by_jax,
    by_symgrad,
    by_torch,
    need,
)
from scipy.special import logsumexp, multigammaln

import symgrad as sg

GAMMA, M = 1.0, 0.0  # of the prior; GradBench's values


def data(n, D, K):
    rng = np.random.default_rng(0)
    icf = rng.normal(size=(K, D * (D + 1) // 2)) / math.sqrt(D)
    return rng.normal(size=K), rng.uniform(size=(K, D)), icf, rng.normal(size=(n, D))


def below(D):
    """Rows and columns of the entries below the diagonal, column by column."""
    cols, rows = np.triu_indices(D, 1)
    return rows, cols


def constant(n, D, K):
    freedom = D + M + 1
    scale = freedom * D * (math.log(GAMMA) - 0.5 * math.log(2)) - multigammaln(freedom / 2, D)
    return -0.5 * n * D * math.log(2 * math.pi) - K * scale


def log_likelihood(alphas, means, icf, X):
    n, D = X.shape
    K = len(alphas)
    rows, cols = below(D)
    Q = np.zeros_like(icf, shape=(K, D, D))
    Q[:, np.arange(D), np.arange(D)] = np.exp(icf[:, :D])
    Q[:, rows, cols] = icf[:, D:]
    log_det = np.sum(icf[:, :D], axis=1)
    z = np.einsum("kab,nkb->nka", Q, X[:, None, :] - means)
    e = alphas + log_det - 0.5 * np.sum(z**2, axis=2)
    fit = np.sum(sg.logsumexp(e, axis=1)) - n * sg.logsumexp(alphas)
    return fit + 0.5 * GAMMA**2 * np.sum(Q**2) - M * np.sum(log_det) + constant(n, D, K)


def symgrad(stage, *data):
    return by_symgrad(stage, sg.value_and_grad(log_likelihood, (0, 1, 2)), *data)


def numpy_by_hand(stage, alphas, means, icf, X):
    """Matrix products over all components at once: Q (x - mu) = Q x - Q mu."""
    n, D = X.shape
    K = len(alphas)
    rows, cols = below(D)

    def value_and_gradient():
        Q = np.zeros((K, D, D))
        diagonal = np.exp(icf[:, :D])
        Q[:, np.arange(D), np.arange(D)] = diagonal
        Q[:, rows, cols] = icf[:, D:]
        log_det = icf[:, :D].sum(axis=1)
        z = (X @ Q.reshape(K * D, D).T).reshape(n, K, D)
        z -= (Q @ means[:, :, None])[:, :, 0]
        e = alphas + log_det - 0.5 * np.einsum("nkd,nkd->nk", z, z)
        each = logsumexp(e, axis=1)
        value = np.sum(each) - n * logsumexp(alphas) + 0.5 * GAMMA**2 * np.sum(Q**2)
        value += constant(n, D, K) - M * np.sum(log_det)
        r = np.exp(e - each[:, None])
        z *= r[:, :, None]
        weight, moved = r.sum(axis=0), z.sum(axis=0)
        dQ = moved[:, :, None] * means[:, None, :] - (z.reshape(n, K * D).T @ X).reshape(K, D, D)
        dQ += GAMMA**2 * Q
        d_icf = np.empty_like(icf)
        d_icf[:, :D] = weight[:, None] + dQ[:, np.arange(D), np.arange(D)] * diagonal - M
        d_icf[:, D:] = dQ[:, rows, cols]
        d_means = (moved[:, None, :] @ Q)[:, 0, :]
        return value, (weight - n * np.exp(alphas - logsumexp(alphas)), d_means, d_icf)

    return value_and_gradient


def c_by_hand(stage, alphas, means, icf, X):
    n, D = X.shape
    K = len(alphas)
    c = HandwrittenC(stage, "gmm")
    work = np.empty(K * (3 * D + 2))

    def call():
        value = np.empty(1)
        slopes = tuple(np.empty_like(a) for a in (alphas, means, icf))
        c(n, D, K, alphas, means, icf, X, GAMMA, M, constant(n, D, K), value, *slopes, work)
        return value, slopes

    return call


def numba_by_hand(stage, alphas, means, icf, X):
    numba = need("numba")

    @numba.njit
    def gradient(alphas, means, icf, X, constant):
        n, D = X.shape
        K = len(alphas)
        diagonal = np.exp(icf[:, :D])
        base = alphas + np.sum(icf[:, :D], axis=1)
        centred, z, e = np.empty((K, D)), np.empty((K, D)), np.empty(K)
        d_alphas, d_means, d_icf = np.zeros(K), np.zeros((K, D)), np.zeros(icf.shape)
        value = constant
        for i in range(n):
            for k in range(K):
                p = D
                for d in range(D):
                    centred[k, d] = X[i, d] - means[k, d]
                    z[k, d] = diagonal[k, d] * centred[k, d]
                for b in range(D):
                    for a in range(b + 1, D):
                        z[k, a] += icf[k, p] * centred[k, b]
                        p += 1
                e[k] = base[k] - 0.5 * np.sum(z[k] * z[k])
            largest = np.max(e)
            e = np.exp(e - largest)
            total = np.sum(e)
            value += largest + np.log(total)
            for k in range(K):
                r = e[k] / total
                d_alphas[k] += r
                for d in range(D):
                    z[k, d] *= r
                    d_means[k, d] += diagonal[k, d] * z[k, d]
                    d_icf[k, d] += r - z[k, d] * centred[k, d] * diagonal[k, d]
                p = D
                for b in range(D):
                    back = 0.0
                    for a in range(b + 1, D):
                        back += icf[k, p] * z[k, a]
                        d_icf[k, p] -= z[k, a] * centred[k, b]
                        p += 1
                    d_means[k, b] += back
        largest = np.max(alphas)
        weights = np.exp(alphas - largest)
        value -= n * (largest + np.log(np.sum(weights)))
        d_alphas -= n * weights / np.sum(weights)
        value += 0.5 * GAMMA**2 * (np.sum(diagonal**2) + np.sum(icf[:, D:] ** 2))
        value -= M * np.sum(icf[:, :D])
        d_icf[:, :D] += GAMMA**2 * diagonal**2 - M
        d_icf[:, D:] += GAMMA**2 * icf[:, D:]
        return value, (d_alphas, d_means, d_icf)

    return lambda: gradient(alphas, means, icf, X, constant(*X.shape, len(alphas)))


def jax_function(centred_first):
    jax = need("jax")
    jnp = jax.numpy

    def log_likelihood(alphas, means, icf, X):
        n, D = X.shape
        K = len(alphas)
        rows, cols = below(D)
        Q = jnp.zeros((K, D, D))
        Q = Q.at[:, np.arange(D), np.arange(D)].set(jnp.exp(icf[:, :D]))
        Q = Q.at[:, rows, cols].set(icf[:, D:])
        log_det = jnp.sum(icf[:, :D], axis=1)
        if centred_first:
            z = jnp.einsum("kab,nkb->nka", Q, X[:, None, :] - means)
        else:
            z = (X @ Q.reshape(K * D, D).T).reshape(n, K, D) - jnp.einsum("kab,kb->ka", Q, means)
        e = alphas + log_det - 0.5 * jnp.sum(z**2, axis=2)
        fit = jnp.sum(jax.nn.logsumexp(e, axis=1)) - n * jax.nn.logsumexp(alphas)
        return fit + 0.5 * GAMMA**2 * jnp.sum(Q**2) - M * jnp.sum(log_det) + constant(n, D, K)

    return jax.value_and_grad(log_likelihood, (0, 1, 2))


def jax_naive(stage, *data):
    return by_jax(stage, jax_function(centred_first=True), *data)


def jax_best(stage, *data):
    return by_jax(stage, jax_function(centred_first=False), *data)


def torch_eager(stage, *data, compiled=False):
    torch = need("torch")
    K, (n, D) = len(data[0]), data[3].shape
    rows, cols = map(torch.as_tensor, below(D))
    rest = constant(n, D, K)

    def log_likelihood(alphas, means, icf, X):
        Q = torch.diag_embed(torch.exp(icf[:, :D]))
        Q = Q.index_put((torch.arange(K)[:, None], rows, cols), icf[:, D:])
        log_det = torch.sum(icf[:, :D], dim=1)
        z = (X @ Q.reshape(K * D, D).T).reshape(n, K, D) - (Q @ means[:, :, None])[:, :, 0]
        e = alphas + log_det - 0.5 * torch.sum(z**2, dim=2)
        fit = torch.sum(torch.logsumexp(e, dim=1)) - n * torch.logsumexp(alphas, dim=0)
        prior = 0.5 * GAMMA**2 * torch.sum(Q**2) - M * torch.sum(log_det)
        return fit + prior + rest

    return by_torch(stage, log_likelihood, 3, *data, compiled=compiled)


def torch_compiled(stage, *data):
    return torch_eager(stage, *data, compiled=True)


def casadi_c(stage, alphas, means, icf, X):
    """Symbolic scalars for one point, summed over the points by map."""
    ca = need("casadi")
    n, D = X.shape
    K = len(alphas)
    if D > 10:
        raise Skip("straight-line code of more than 25,000 entries per point")
    rows, cols = below(D)
    with stage("derive"):
        x, a, mu = ca.SX.sym("x", D), ca.SX.sym("a", K), ca.SX.sym("mu", D, K)
        diagonal, low = ca.SX.sym("diagonal", D, K), ca.SX.sym("low", len(rows), K)
        squares = []
        for k in range(K):
            centred = x - mu[:, k]
            z = [diagonal[d, k] * centred[d] for d in range(D)]
            for p, (i, j) in enumerate(zip(rows, cols, strict=True)):
                z[i] += low[p, k] * centred[j]
            squares.append(ca.sumsqr(ca.vertcat(*z)))
        e = a - 0.5 * ca.vertcat(*squares)
        largest = ca.mmax(e)
        weight = ca.exp(e - largest)
        total = ca.sum1(weight)
        r = weight / total
        slopes = [ca.jtimes(e, v, r, True) for v in (a, mu, diagonal, low)]
        point = ca.Function("point", [x, a, mu, diagonal, low], [largest + ca.log(total), *slopes])
        every = point.map("every", "serial", n, [1, 2, 3, 4], [0, 1, 2, 3, 4])

        A, MU = ca.MX.sym("A", K), ca.MX.sym("MU", D, K)
        ICF, XS = ca.MX.sym("ICF", D * (D + 1) // 2, K), ca.MX.sym("XS", D, n)
        logs, LOW = ICF[:D, :], ICF[D:, :]
        DIAGONAL = ca.exp(logs)
        value, dA, dMU, dDIAGONAL, dLOW = every(XS, A + ca.sum1(logs).T, MU, DIAGONAL, LOW)
        top = ca.mmax(A)
        WEIGHT = ca.exp(A - top)
        value += constant(n, D, K) - n * (top + ca.log(ca.sum1(WEIGHT)))
        value -= M * ca.sum1(ca.vec(logs))
        value += 0.5 * GAMMA**2 * (ca.sumsqr(DIAGONAL) + ca.sumsqr(LOW))
        dLOGS = ca.repmat(dA.T, D, 1) + DIAGONAL * (dDIAGONAL + GAMMA**2 * DIAGONAL) - M
        dICF = ca.vertcat(dLOGS, dLOW + GAMMA**2 * LOW)
        results = [value, dA - n * WEIGHT / ca.sum1(WEIGHT), dMU, dICF]
        function = ca.Function(f"gmm_{n}_{D}_{K}", [A, MU, ICF, XS], results)
    return by_casadi(stage, function, alphas, means, icf, X)


def pytensor_function(stage, alphas, means, icf, X):
    pytensor, pt = need("pytensor"), need("pytensor.tensor")
    n, D = X.shape
    K = len(alphas)
    rows, cols = below(D)
    with stage("derive"):
        A, MU, ICF, XS = pt.vector("A"), pt.matrix("MU"), pt.matrix("ICF"), pt.matrix("XS")
        Q = pt.zeros((K, D, D))
        Q = pt.set_subtensor(Q[:, np.arange(D), np.arange(D)], pt.exp(ICF[:, :D]))
        Q = pt.set_subtensor(Q[:, rows, cols], ICF[:, D:])
        log_det = pt.sum(ICF[:, :D], axis=1)
        z = (XS @ Q.reshape((K * D, D)).T).reshape((n, K, D)) - pt.sum(Q * MU[:, None, :], axis=2)
        e = A + log_det - 0.5 * pt.sum(z**2, axis=2)
        fit = pt.sum(pt.logsumexp(e, axis=1)) - n * pt.logsumexp(A)
        value = fit + 0.5 * GAMMA**2 * pt.sum(Q**2) - M * pt.sum(log_det) + constant(n, D, K)
        slopes = pytensor.grad(value, [A, MU, ICF])
    with stage("compile"):
        function = pytensor.function([A, MU, ICF, XS], [value, *slopes], trust_input=True)
    return lambda: function(alphas, means, icf, X)


WORK = Work(
    title="Gaussian mixture: log-likelihood and gradient",
    data=data,
    sizes=[
        dict(n=1000, D=2, K=5),
        dict(n=10_000, D=10, K=25),
        dict(n=1000, D=32, K=25),
        dict(n=1000, D=64, K=50),
    ],
    tiny=[dict(n=7, D=1, K=2), dict(n=20, D=3, K=4)],
    peers={
        "NumPy by hand": numpy_by_hand,
        "C by hand": c_by_hand,
        "symgrad": symgrad,
        "JAX": jax_naive,
        "JAX best": jax_best,
        "PyTorch": torch_eager,
        "PyTorch compiled": torch_compiled,
        "CasADi C": casadi_c,
        "PyTensor": pytensor_function,
        "numba by hand": numba_by_hand,
    },
    absent={"heyoka": "scalar expressions only"},
)
