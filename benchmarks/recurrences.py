"""Recurrences written as Python loops: value and gradient, beside `jax.lax.scan` under jit.

    python benchmarks/recurrences.py [steps ...]

For each length: seconds of the first call (tracing, deriving, C, compiler), characters of C,
nanoseconds per step, and how many times as long JAX takes for a step, scan alone and unrolled eight
times. Blocks are timed in turn, CPU time, medians; results are compared first. Without JAX its
columns stay empty.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time

import environment

environment.limit_threads(1)

import numpy as np  # noqa: E402
from harness import block, calls_per_block  # noqa: E402

import symgrad as sg  # noqa: E402

ROUNDS = 9


# ---- as people write them ------------------------------------------------------------------------


def kalman(theta, y):
    """Minus the log-likelihood of positions y of an object that drifts."""
    q, r = np.exp(theta[0]), np.exp(theta[1])
    F = np.array([[1.0, 1.0], [0.0, 1.0]])
    H = np.array([1.0, 0.0])
    m, P = np.zeros(2), np.eye(2)
    loss = 0.0
    for t in range(len(y)):
        m = F @ m
        P = F @ P @ F.T + q * np.eye(2)
        v = y[t] - H @ m
        S = H @ P @ H + r
        K = P @ H / S
        m = m + K * v
        P = P - np.outer(K, H @ P)
        loss += 0.5 * (np.log(2 * np.pi * S) + v**2 / S)
    return loss


def hmm(theta, y):
    """Minus the log-likelihood of a hidden Markov chain of 4 states, emissions N(mu, 1)."""
    logits, mu = theta[:16].reshape(4, 4), theta[16:]
    logA = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    alpha = -0.5 * (y[0] - mu) ** 2 - np.log(4.0)
    for t in range(1, len(y)):
        s = alpha[:, None] + logA
        top = np.max(s, axis=0)
        alpha = top + np.log(np.sum(np.exp(s - top), axis=0)) - 0.5 * (y[t] - mu) ** 2
    top = np.max(alpha)
    return -(top + np.log(np.sum(np.exp(alpha - top))))


def garch(theta, y):
    """Minus the log-likelihood of GARCH(1, 1)."""
    w, a, b = np.exp(theta[0]), np.exp(theta[1]), np.exp(theta[2])
    h = w
    loss = 0.0
    for t in range(len(y)):
        h = w + a * (y[t - 1] ** 2 if t > 0 else 0.0) + b * h
        loss += 0.5 * (np.log(h) + y[t] ** 2 / h)
    return loss


def lotka_volterra(theta, y):
    """Squares of what an integration by Runge-Kutta misses of y."""

    def rhs(u):
        return np.array([
            theta[0] * u[0] - theta[1] * u[0] * u[1],
            theta[2] * u[0] * u[1] - theta[3] * u[1],
        ])  # fmt: skip

    u, dt, loss = np.array([1.0, 0.5]), 0.01, 0.0
    for t in range(len(y)):
        k1 = rhs(u)
        k2 = rhs(u + dt / 2 * k1)
        k3 = rhs(u + dt / 2 * k2)
        k4 = rhs(u + dt * k3)
        u = u + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        loss += (u[0] - y[t]) ** 2
    return loss


def data(n: int) -> dict:
    rng = np.random.default_rng(0)
    y = rng.standard_normal(n)
    chain = np.concatenate([0.3 * rng.standard_normal(16), [-1.0, 0.0, 0.5, 1.5]])
    return {
        kalman: (np.array([-1.0, 0.2]), np.cumsum(y)),
        hmm: (chain, y),
        garch: (np.array([-1.0, -2.0, -0.5]), y),
        lotka_volterra: (np.array([1.1, 0.4, 0.1, 0.4]), 1 + 0.1 * y),
    }


# ---- the same with lax.scan ----------------------------------------------------------------------


def in_jax(unroll: int) -> dict:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def scan(step, start, xs):
        return jax.lax.scan(step, start, xs, unroll=unroll)[0]

    def j_kalman(theta, y):
        q, r = jnp.exp(theta[0]), jnp.exp(theta[1])
        F, H = jnp.array([[1.0, 1.0], [0.0, 1.0]]), jnp.array([1.0, 0.0])

        def step(carry, y):
            m, P, loss = carry
            m = F @ m
            P = F @ P @ F.T + q * jnp.eye(2)
            v, S = y - H @ m, H @ P @ H + r
            K = P @ H / S
            loss += 0.5 * (jnp.log(2 * jnp.pi * S) + v**2 / S)
            return (m + K * v, P - jnp.outer(K, H @ P), loss), None

        return scan(step, (jnp.zeros(2), jnp.eye(2), 0.0), y)[2]

    def j_hmm(theta, y):
        logits, mu = theta[:16].reshape(4, 4), theta[16:]
        logA = jax.nn.log_softmax(logits, axis=1)

        def step(alpha, y):
            s = jax.scipy.special.logsumexp(alpha[:, None] + logA, axis=0)
            return s - 0.5 * (y - mu) ** 2, None

        alpha = scan(step, -0.5 * (y[0] - mu) ** 2 - jnp.log(4.0), y[1:])
        return -jax.scipy.special.logsumexp(alpha)

    def j_garch(theta, y):
        w, a, b = jnp.exp(theta[0]), jnp.exp(theta[1]), jnp.exp(theta[2])

        def step(carry, pair):
            h, loss = carry
            h = w + a * pair[0] ** 2 + b * h
            return (h, loss + 0.5 * (jnp.log(h) + pair[1] ** 2 / h)), None

        before = jnp.concatenate([jnp.zeros(1), y[:-1]])
        return scan(step, (w, 0.0), (before, y))[1]

    def j_lotka_volterra(theta, y):
        dt = 0.01

        def rhs(u):
            return jnp.array([
                theta[0] * u[0] - theta[1] * u[0] * u[1],
                theta[2] * u[0] * u[1] - theta[3] * u[1],
            ])  # fmt: skip

        def step(carry, y):
            u, loss = carry
            k1 = rhs(u)
            k2 = rhs(u + dt / 2 * k1)
            k3 = rhs(u + dt / 2 * k2)
            k4 = rhs(u + dt * k3)
            u = u + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            return (u, loss + (u[0] - y) ** 2), None

        return scan(step, (jnp.array([1.0, 0.5]), 0.0), y)[1]

    peers = {kalman: j_kalman, hmm: j_hmm, garch: j_garch, lotka_volterra: j_lotka_volterra}
    return {f: jax.jit(jax.value_and_grad(g)) for f, g in peers.items()}


# ---- the table -----------------------------------------------------------------------------------


def row(f, theta, y, peers) -> None:
    start = time.perf_counter()
    function = sg.value_and_grad(f)
    got = function(theta, y)
    first = time.perf_counter() - start
    size = len(sg.compile(function, theta, y).c_source)
    calls = [lambda: function(theta, y)]
    for peer in peers:
        import jax

        there = jax.numpy.asarray(theta), jax.numpy.asarray(y)
        value, gradient = peer(*there)
        np.testing.assert_allclose(got[0], value, rtol=1e-9)
        np.testing.assert_allclose(got[1], gradient, rtol=1e-7, atol=1e-9 * len(y))
        calls.append(lambda peer=peer, there=there: jax.block_until_ready(peer(*there)))
    counts = [calls_per_block(call) for call in calls]
    times = [[block(c, n)[0] for c, n in zip(calls, counts, strict=True)] for _ in range(ROUNDS)]
    mine, *others = (statistics.median(column) for column in zip(*times, strict=True))
    ratios = "".join(f"{t / mine:9.1f}" for t in others)
    text = f"{f.__name__:15}{len(y):8}{first:9.2f}{size:9}{1e9 * mine / len(y):9.1f}"
    print(text + ratios, flush=True)


def main(lengths: list[int]) -> None:
    found = importlib.util.find_spec("jax") is not None
    peers = [in_jax(1), in_jax(8)] if found else []
    print("                  steps  first s        C  ns/step     scan unroll=8")
    for n in lengths:
        for f, (theta, y) in data(n).items():
            row(f, theta, y, [p[f] for p in peers])


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]] or [100, 1000, 10_000])
