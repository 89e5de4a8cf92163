"""Losses as people write them for optimisers: NumPy, SciPy and Python, written for nobody's tracer.

Nothing here is written to fit symgrad. An entry is refused for as long as it is refused.
"""

# ruff: noqa: B905
from __future__ import annotations

import math
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.stats
from scipy.interpolate import BSpline, CubicSpline
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.special import expit, gammaln, logsumexp
from scipy.stats import norm

from corpus.entry import Collection

add = Collection()
rng = np.random.default_rng(20240)

# ---- filters and time series ---------------------------------------------------------------------


def kalman_2x2(params, y):
    """Constant-velocity model: negative log-likelihood."""
    q, r = np.exp(params[0]), np.exp(params[1])
    F = np.array([[1.0, 0.1], [0.0, 1.0]])
    H = np.array([[1.0, 0.0]])
    Q = q * np.array([[0.1**3 / 3, 0.1**2 / 2], [0.1**2 / 2, 0.1]])
    x = np.zeros(2)
    P = np.eye(2)
    nll = 0.0
    for t in range(len(y)):
        x = F @ x
        P = F @ P @ F.T + Q
        v = y[t] - (H @ x)[0]
        S = (H @ P @ H.T)[0, 0] + r
        K = (P @ H.T)[:, 0] / S
        x = x + K * v
        P = P - np.outer(K, K) * S
        nll += 0.5 * (np.log(2 * np.pi * S) + v**2 / S)
    return nll


add(kalman_2x2, np.array([-1.0, -2.0]), np.cumsum(rng.normal(size=12)) * 0.3)


class LocalLevel:
    def __init__(self, y):
        self.y = y

    def negative_loglik(self, theta):
        a, p = self.y[0], 10.0
        out = []
        for obs in self.y[1:]:
            p_pred = p + math.exp(theta[1])
            f = p_pred + math.exp(theta[0])
            v = obs - a
            k = p_pred / f
            a, p = a + k * v, p_pred * (1 - k)
            out.append(0.5 * (math.log(f) + v * v / f))
        return sum(out)


add(LocalLevel(np.cumsum(rng.normal(size=10))).negative_loglik, np.array([0.1, -0.5]),
    name="local_level")  # fmt: skip


def hmm_scaled(theta, obs):
    """Forward algorithm with scaling, Gaussian emissions, three states."""
    k = 3
    mu = theta[:k]
    logits = theta[k:].reshape(k, k)
    A = np.exp(logits)
    A /= A.sum(axis=1, keepdims=True)
    alpha = np.ones(k) / k
    loglik = 0.0
    for y in obs:
        b = np.exp(-0.5 * (y - mu) ** 2) / np.sqrt(2 * np.pi)
        alpha = (alpha @ A) * b
        c = alpha.sum()
        alpha /= c
        loglik += np.log(c)
    return -loglik


add(hmm_scaled, rng.normal(size=12), rng.normal(size=8))


def hmm_logsumexp(theta, obs):
    k = 4
    log_A = theta[k:].reshape(k, k) - logsumexp(theta[k:].reshape(k, k), axis=1)[:, None]
    log_alpha = np.full(k, -np.log(k))
    for y in obs:
        log_alpha = logsumexp(log_alpha[:, None] + log_A, axis=0) + norm.logpdf(y, theta[:k], 1.0)
    return -logsumexp(log_alpha)


add(hmm_logsumexp, rng.normal(size=20), rng.normal(size=7))


def garch11(params, r):
    omega, alpha, beta = params
    n = len(r)
    sigma2 = np.zeros(n)
    sigma2[0] = np.var(r)
    for t in range(1, n):
        sigma2[t] = omega + alpha * r[t - 1] ** 2 + beta * sigma2[t - 1]
    return 0.5 * np.sum(np.log(2 * np.pi) + np.log(sigma2) + r**2 / sigma2)


add(garch11, np.array([0.1, 0.1, 0.8]), rng.normal(size=20))


def egarch(params, r):
    omega, alpha, gamma, beta = params
    h = omega / (1 - beta)
    total = 0.0
    for x in r:
        z = x / np.exp(h / 2)
        total += h + z**2
        h = omega + beta * h + alpha * (abs(z) - np.sqrt(2 / np.pi)) + gamma * z
    return total / 2


add(egarch, np.array([0.05, 0.2, -0.1, 0.7]), rng.normal(size=15))


def arma11(params, y):
    phi, theta, c, log_s = params
    eps = np.empty(len(y))
    eps[0] = 0.0
    for t in range(1, len(y)):
        eps[t] = y[t] - c - phi * y[t - 1] - theta * eps[t - 1]
    s2 = np.exp(2 * log_s)
    return 0.5 * (len(y) - 1) * np.log(2 * np.pi * s2) + 0.5 * (eps[1:] ** 2).sum() / s2


add(arma11, np.array([0.5, 0.3, 0.1, 0.0]), rng.normal(size=15))


def holt_winters(params, y):
    alpha, beta = expit(params)
    level, trend = y[0], y[1] - y[0]
    sse = 0.0
    for t in range(1, len(y)):
        forecast = level + trend
        sse += (y[t] - forecast) ** 2
        new_level = alpha * y[t] + (1 - alpha) * forecast
        trend = beta * (new_level - level) + (1 - beta) * trend
        level = new_level
    return sse


add(holt_winters, np.array([0.2, -0.4]), np.cumsum(rng.normal(size=12)))


def stochastic_volatility(theta, y):
    """Joint density of latent log-volatilities."""
    mu, phi, sigma = theta[0], np.tanh(theta[1]), np.exp(theta[2])
    h = theta[3:]
    lp = norm.logpdf(h[0], mu, sigma / np.sqrt(1 - phi**2))
    for t in range(1, len(h)):
        lp += norm.logpdf(h[t], mu + phi * (h[t - 1] - mu), sigma)
    lp += np.sum(norm.logpdf(y, 0, np.exp(h / 2)))
    return -lp


add(stochastic_volatility, rng.normal(size=11) * 0.3, rng.normal(size=8))


def ekf_pendulum(params, z):
    g_over_l, log_q, log_r = params
    dt = 0.05
    m = np.array([0.5, 0.0])
    P = 0.1 * np.eye(2)
    Q = np.exp(log_q) * np.eye(2)
    R = np.exp(log_r)
    cost = 0.0
    for zk in z:
        F = np.array([[1.0, dt], [-g_over_l * np.cos(m[0]) * dt, 1.0]])
        m = np.array([m[0] + m[1] * dt, m[1] - g_over_l * np.sin(m[0]) * dt])
        P = F @ P @ F.T + Q
        h = np.sin(m[0])
        H = np.array([np.cos(m[0]), 0.0])
        S = H @ P @ H + R
        K = P @ H / S
        m = m + K * (zk - h)
        P = (np.eye(2) - np.outer(K, H)) @ P
        cost += np.log(S) + (zk - h) ** 2 / S
    return 0.5 * cost


add(ekf_pendulum, np.array([9.8, -4.0, -2.0]), rng.normal(size=8) * 0.3)

# ---- differential equations ----------------------------------------------------------------------


def rk4(f, y, t, dt, *args):
    k1 = f(t, y, *args)
    k2 = f(t + dt / 2, y + dt / 2 * k1, *args)
    k3 = f(t + dt / 2, y + dt / 2 * k2, *args)
    k4 = f(t + dt, y + dt * k3, *args)
    return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def kinetics(t, c, k):
    r1, r2, r3 = k[0] * c[0], k[1] * c[1], k[2] * c[2] * c[0]
    return np.array([-r1 - r3, r1 - r2, r2 - r3, r3])


def kinetics_fit(log_k, data):
    c = np.array([1.0, 0.0, 0.0, 0.0])
    k = np.exp(log_k)
    loss = 0.0
    for i in range(len(data)):
        for _ in range(4):
            c = rk4(kinetics, c, 0.0, 0.05, k)
        loss += np.sum((c - data[i]) ** 2)
    return loss


add(kinetics_fit, np.array([0.1, -0.3, 0.2]), rng.uniform(0, 1, (4, 4)))


def lotka_volterra(theta, t, obs):
    a, b, c, d = theta

    def rhs(t, u):
        return np.array([a * u[0] - b * u[0] * u[1], -c * u[1] + d * u[0] * u[1]])

    u = np.array([1.0, 0.5])
    ys = [u]
    for i in range(len(t) - 1):
        u = rk4(rhs, u, t[i], t[i + 1] - t[i])
        ys.append(u)
    return np.mean((np.array(ys) - obs) ** 2)


add(lotka_volterra, np.array([1.1, 0.4, 0.4, 0.3]), np.linspace(0, 2, 15),
    rng.uniform(0, 2, (15, 2)))  # fmt: skip


def sir_fit(params, infected):
    beta, gamma = params[0], params[1]
    N = 1000.0
    S, I, R = N - 1.0, 1.0, 0.0
    preds = []
    for _ in range(len(infected)):
        new_inf = beta * S * I / N
        new_rec = gamma * I
        S -= new_inf
        I += new_inf - new_rec
        R += new_rec
        preds.append(I)
    return np.sum((np.asarray(preds) - infected) ** 2) / len(infected)


add(sir_fit, np.array([0.6, 0.2]), rng.uniform(1, 50, 14))


def double_pendulum_energy_drift(p):
    m1, m2, l1, l2, g = 1.0, p[0], 1.0, p[1], 9.81

    def deriv(state):
        th1, w1, th2, w2 = state
        d = th2 - th1
        den = (m1 + m2) * l1 - m2 * l1 * np.cos(d) ** 2
        a1 = (m2 * l1 * w1**2 * np.sin(d) * np.cos(d) + m2 * g * np.sin(th2) * np.cos(d)
              + m2 * l2 * w2**2 * np.sin(d) - (m1 + m2) * g * np.sin(th1)) / den  # fmt: skip
        a2 = (-m2 * l2 * w2**2 * np.sin(d) * np.cos(d)
              + (m1 + m2) * (g * np.sin(th1) * np.cos(d) - l1 * w1**2 * np.sin(d)
                             - g * np.sin(th2))) / (l2 / l1 * den)  # fmt: skip
        return np.array([w1, a1, w2, a2])

    state = np.array([0.5, 0.0, p[2], 0.0])
    for _ in range(10):
        k1 = deriv(state)
        k2 = deriv(state + 0.005 * k1)
        state = state + 0.01 * k2
    return np.sum(state**2)


add(double_pendulum_energy_drift, np.array([1.2, 0.8, 0.7]))


def heat_equation(log_kappa, u0, target):
    """Explicit finite volumes with boundary values that are kept."""
    u = u0.copy()
    dx, dt = 0.1, 0.002
    kappa = np.exp(log_kappa)
    for _ in range(15):
        flux = -kappa * (u[1:] - u[:-1]) / dx
        u[1:-1] -= dt / dx * (flux[1:] - flux[:-1])
    return 0.5 * np.sum((u - target) ** 2)


add(heat_equation, np.array(0.1) + np.zeros(9), np.sin(np.linspace(0, np.pi, 10)), np.zeros(10))


def burgers_upwind(u0):
    n, dt, dx = len(u0), 0.01, 0.1
    u = u0.copy()
    for _ in range(5):
        new = np.zeros(n)
        for i in range(n):
            if u[i] > 0:
                new[i] = u[i] - dt / dx * u[i] * (u[i] - u[i - 1])
            else:
                new[i] = u[i] - dt / dx * u[i] * (u[(i + 1) % n] - u[i])
        u = new
    return np.sum(u**2)


add(burgers_upwind, np.sin(np.linspace(0.1, 6, 8)))


def verlet_springs(k, x0, v0, steps=12, dt=0.05):
    x, v = np.array(x0), np.array(v0)
    n = len(x)

    def force(x):
        f = np.zeros(n)
        for i in range(n - 1):
            stretch = x[i + 1] - x[i] - 1.0
            f[i] += k[i] * stretch
            f[i + 1] -= k[i] * stretch
        return f

    a = force(x)
    for _ in range(steps):
        v = v + 0.5 * dt * a
        x = x + dt * v
        a = force(x)
        v = v + 0.5 * dt * a
    return 0.5 * np.sum(v**2) + np.sum(x)


add(verlet_springs, np.array([1.0, 2.0, 0.5]), np.array([0.0, 1.2, 2.1, 3.3]), np.zeros(4),
    argnums=(0, 1))  # fmt: skip


def projectile_with_drag(p):
    """Shooting until the ground is reached."""
    angle, speed = p
    pos = np.array([0.0, 1.0])
    vel = np.array([speed * np.cos(angle), speed * np.sin(angle)])
    dt = 0.05
    steps = 0
    while pos[1] > 0 and steps < 200:
        drag = 0.05 * np.linalg.norm(vel) * vel
        vel = vel + dt * (np.array([0.0, -9.81]) - drag)
        pos = pos + dt * vel
        steps += 1
    return (pos[0] - 5.0) ** 2


add(projectile_with_drag, np.array([0.7, 5.0]))

# ---- finance -------------------------------------------------------------------------------------


def bs_call(S, K, T, r, sigma):
    d1 = (np.log(S / K) + (r + 0.5 * sigma**2) * T) / (sigma * np.sqrt(T))
    d2 = d1 - sigma * np.sqrt(T)
    return S * norm.cdf(d1) - K * np.exp(-r * T) * norm.cdf(d2)


add(bs_call, 100.0, 105.0, 0.5, 0.02, 0.25, argnums=(0, 2, 3, 4))


def implied_vol(price, S=100.0, K=105.0, T=0.5, r=0.02):
    sigma = 0.3
    for _ in range(50):
        sq = sigma * math.sqrt(T)
        d1 = (math.log(S / K) + (r + sigma * sigma / 2) * T) / sq
        value = S * norm.cdf(d1) - K * math.exp(-r * T) * norm.cdf(d1 - sq)
        diff = value - price
        if abs(diff) < 1e-12:
            break
        sigma = sigma - diff / (S * norm.pdf(d1) * math.sqrt(T))
    return sigma


add(implied_vol, 5.9)


def binomial_tree_put(p):
    """American put on a recombining tree."""
    S0, sigma = p
    K, r, T, n = 100.0, 0.05, 1.0, 12
    dt = T / n
    u = np.exp(sigma * np.sqrt(dt))
    d = 1 / u
    q = (np.exp(r * dt) - d) / (u - d)
    values = [max(K - S0 * u**j * d ** (n - j), 0.0) for j in range(n + 1)]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1):
            cont = np.exp(-r * dt) * (q * values[j + 1] + (1 - q) * values[j])
            exercise = K - S0 * u**j * d ** (i - j)
            values[j] = max(cont, exercise)
    return values[0]


add(binomial_tree_put, np.array([97.3, 0.23]))


def nelson_siegel(beta, tau, y):
    lam = beta[3]
    x = tau / lam
    load1 = (1 - np.exp(-x)) / x
    fitted = beta[0] + beta[1] * load1 + beta[2] * (load1 - np.exp(-x))
    return ((fitted - y) ** 2).mean()


add(nelson_siegel, np.array([0.04, -0.02, 0.01, 2.0]), np.array([0.25, 0.5, 1, 2, 5, 10, 30.0]),
    rng.uniform(0.01, 0.05, 7))  # fmt: skip


def vasicek_loglik(params, rates, dt=1 / 12):
    kappa, theta, sigma = params
    if kappa <= 0 or sigma <= 0:
        return np.inf
    e = np.exp(-kappa * dt)
    var = sigma**2 * (1 - e**2) / (2 * kappa)
    mean = theta + (rates[:-1] - theta) * e
    return -np.sum(norm.logpdf(rates[1:], loc=mean, scale=np.sqrt(var)))


add(vasicek_loglik, np.array([0.8, 0.03, 0.02]), 0.03 + 0.005 * rng.normal(size=12))


def cir_quasi_loglik(params, rates, dt=1 / 12):
    kappa, theta, sigma = np.exp(params)
    total = 0
    for r0, r1 in zip(rates[:-1], rates[1:]):
        mean = theta + (r0 - theta) * np.exp(-kappa * dt)
        var = r0 * sigma**2 / kappa * (np.exp(-kappa * dt) - np.exp(-2 * kappa * dt))
        var += theta * sigma**2 / (2 * kappa) * (1 - np.exp(-kappa * dt)) ** 2
        total += 0.5 * np.log(2 * np.pi * var) + 0.5 * (r1 - mean) ** 2 / var
    return total


add(cir_quasi_loglik, np.array([0.1, -3.5, -2.0]), rng.uniform(0.02, 0.05, 10))


def portfolio(w, mu, cov, prev):
    w = w / np.sum(w)
    risk = np.sqrt(w @ cov @ w)
    turnover = sum(abs(a - b) for a, b in zip(w, prev))
    return -(w @ mu - 0.02) / risk + 0.1 * turnover


add(portfolio, np.array([0.2, 0.5, 0.4]), np.array([0.05, 0.07, 0.1]),
    np.diag([0.1, 0.2, 0.3]) + 0.02, np.array([0.3, 0.3, 0.4]))  # fmt: skip


def heston_call(params, S=100.0, K=100.0, T=1.0, r=0.01):
    """Characteristic function, integrated by the trapezoidal rule."""
    v0, kappa, theta, sigma, rho = params

    def phi(u):
        d = np.sqrt((rho * sigma * 1j * u - kappa) ** 2 + sigma**2 * (1j * u + u**2))
        g = (kappa - rho * sigma * 1j * u - d) / (kappa - rho * sigma * 1j * u + d)
        e = np.exp(-d * T)
        C = r * 1j * u * T + kappa * theta / sigma**2 * (
            (kappa - rho * sigma * 1j * u - d) * T - 2 * np.log((1 - g * e) / (1 - g))
        )
        D = (kappa - rho * sigma * 1j * u - d) / sigma**2 * ((1 - e) / (1 - g * e))
        return np.exp(C + D * v0 + 1j * u * np.log(S))

    us = np.linspace(0.01, 30, 40)
    integrand = np.real(np.exp(-1j * us * np.log(K)) * phi(us - 0.5j) / (us**2 + 0.25))
    integral = np.sum((integrand[1:] + integrand[:-1]) / 2 * np.diff(us))
    return S - np.sqrt(S * K) / np.pi * np.exp(-r * T / 2) * integral


add(heston_call, np.array([0.04, 1.5, 0.05, 0.3, -0.6]))


def nelder_bootstrap_curve(rates):
    """Discount factors one after another from par rates."""
    dfs = []
    for i, r in enumerate(rates):
        annuity = sum(dfs)
        dfs.append((1 - r * annuity) / (1 + r))
        if i > 0:
            assert dfs[i] < dfs[i - 1]
    return np.prod(dfs)


add(nelder_bootstrap_curve, np.array([0.02, 0.023, 0.025, 0.03]), name="bootstrap_curve")

# ---- statistics ----------------------------------------------------------------------------------


def cox_sorted(beta, X, time, event):
    order = np.argsort(-time)
    eta = X[order] @ beta
    event = event[order]
    log_risk = np.logaddexp.accumulate(eta)
    return -np.sum((eta - log_risk)[event == 1])


add(cox_sorted, np.array([0.3, -0.2]), rng.normal(size=(10, 2)), rng.uniform(0, 5, 10),
    rng.integers(0, 2, 10))  # fmt: skip


def cox_masks(beta, X, time, event):
    eta = X @ beta
    ll = 0.0
    for i in np.where(event)[0]:
        at_risk = time >= time[i]
        ll += eta[i] - np.log(np.sum(np.exp(eta[at_risk])))
    return -ll / event.sum()


add(cox_masks, np.array([0.3, -0.2]), rng.normal(size=(9, 2)), rng.uniform(0, 5, 9),
    rng.integers(0, 2, 9).astype(bool))  # fmt: skip


def weibull_aft(params, t, delta, X):
    b, log_k = params[:-1], params[-1]
    k = np.exp(log_k)
    lam = np.exp(X @ b)
    log_h = np.log(k) - np.log(lam) + (k - 1) * (np.log(t) - np.log(lam))
    H = (t / lam) ** k
    return -(log_h[delta].sum() - H.sum())


add(weibull_aft, np.array([0.3, -0.2, 0.1]), rng.uniform(0.1, 3, 9), rng.uniform(0, 1, 9) > 0.4,
    rng.normal(size=(9, 2)))  # fmt: skip


def poisson_glm(beta, X, y, offset=None):
    eta = X @ beta
    if offset is not None:
        eta = eta + offset
    mu = np.exp(eta)
    return np.sum(mu - y * eta + gammaln(y + 1))


add(poisson_glm, np.array([0.3, -0.2]), rng.normal(size=(10, 2)), rng.poisson(2, 10))


def negative_binomial(params, X, y):
    mu = np.exp(X @ params[:-1])
    r = np.exp(params[-1])
    ll = gammaln(y + r) - gammaln(r) - gammaln(y + 1)
    ll += r * np.log(r / (r + mu)) + y * np.log(mu / (r + mu))
    return -ll.mean()


add(negative_binomial, np.array([0.3, -0.2, 0.5]), rng.normal(size=(8, 2)),
    rng.poisson(2, 8).astype(float))  # fmt: skip


def ordinal_probit(params, X, y):
    beta, raw = params[:2], params[2:]
    cuts = np.concatenate([[raw[0]], raw[0] + np.cumsum(np.exp(raw[1:]))])
    eta = X @ beta
    total = 0.0
    for i in range(len(y)):
        lo = norm.cdf(cuts[y[i] - 1] - eta[i]) if y[i] > 0 else 0.0
        hi = norm.cdf(cuts[y[i]] - eta[i]) if y[i] < len(cuts) else 1.0
        total -= np.log(hi - lo)
    return total


add(ordinal_probit, np.array([0.5, -0.3, -1.0, 0.2, 0.1]), rng.normal(size=(8, 2)),
    rng.integers(0, 4, 8))  # fmt: skip


def irt_2pl(params, responses):
    n_items = responses.shape[1]
    a = np.exp(params[:n_items])
    b = params[n_items : 2 * n_items]
    theta = params[2 * n_items :]
    p = expit(a * (theta[:, None] - b))
    ll = responses * np.log(p) + (1 - responses) * np.log1p(-p)
    return -ll.sum() + 0.5 * np.sum(theta**2)


add(irt_2pl, rng.normal(size=14) * 0.5, rng.integers(0, 2, (6, 4)))


def student_t_regression(params, X, y):
    beta, log_sigma, log_nu = params[:-2], params[-2], params[-1]
    resid = y - X.dot(beta)
    return -scipy.stats.t.logpdf(resid, np.exp(log_nu), 0, np.exp(log_sigma)).sum()


add(student_t_regression, np.array([0.5, -0.3, 0.1, 1.0]), rng.normal(size=(8, 2)),
    rng.normal(size=8))  # fmt: skip


def gmm_full(params, X):
    """Mixture with Cholesky factors filled into zeros."""
    k, d = 2, 2
    logits, means, chol = params["logits"], params["means"], params["chol"]
    log_w = logits - logsumexp(logits)
    logp = np.zeros((len(X), k))
    for j in range(k):
        L = np.zeros((d, d))
        L[np.tril_indices(d)] = chol[j]
        L[np.diag_indices(d)] = np.exp(np.diag(L))
        z = np.linalg.solve(L, (X - means[j]).T)
        logp[:, j] = log_w[j] - 0.5 * np.sum(z**2, axis=0) - np.log(np.diag(L)).sum()
        logp[:, j] -= d / 2 * np.log(2 * np.pi)
    return -np.sum(np.logaddexp.reduce(logp, axis=1))


add(gmm_full, {"logits": np.array([0.1, -0.2]), "means": rng.normal(size=(2, 2)),
               "chol": rng.normal(size=(2, 3)) * 0.3}, rng.normal(size=(8, 2)))  # fmt: skip


def gmm_1d(theta, x):
    w = 1 / (1 + np.exp(-theta[0]))
    comp1 = norm.pdf(x, theta[1], np.exp(theta[3]))
    comp2 = norm.pdf(x, theta[2], np.exp(theta[4]))
    return -np.log(w * comp1 + (1 - w) * comp2).sum()


add(gmm_1d, np.array([0.3, -1.0, 1.2, 0.1, -0.1]), rng.normal(size=10))


def zero_inflated_poisson(params, y):
    pi, lam = expit(params[0]), np.exp(params[1])
    ll = 0.0
    for yi in y:
        if yi == 0:
            ll += np.log(pi + (1 - pi) * np.exp(-lam))
        else:
            ll += np.log(1 - pi) + yi * np.log(lam) - lam - math.lgamma(yi + 1)
    return -ll


add(zero_inflated_poisson, np.array([-0.3, 0.7]), np.array([0, 0, 1, 3, 0, 2, 5]))


def quantile_regression(beta, X, y, tau=0.3):
    r = y - X @ beta
    return np.mean(np.where(r >= 0, tau * r, (tau - 1) * r))


add(quantile_regression, np.array([0.5, -0.3]), rng.normal(size=(9, 2)), rng.normal(size=9))


def huber_loop(beta, X, y, delta=0.8):
    total = 0.0
    for xi, yi in zip(X, y):
        r = yi - np.dot(xi, beta)
        if abs(r) <= delta:
            total += 0.5 * r**2
        else:
            total += delta * (abs(r) - 0.5 * delta)
    return total / len(y)


add(huber_loop, np.array([0.5, -0.3]), rng.normal(size=(9, 2)), rng.normal(size=9))


def tobit(params, X, y, left=0.0):
    beta, sigma = params[:-1], np.exp(params[-1])
    mu = X @ beta
    censored = y <= left
    ll = np.zeros(len(y))
    ll[censored] = norm.logcdf((left - mu[censored]) / sigma)
    ll[~censored] = norm.logpdf((y[~censored] - mu[~censored]) / sigma) - np.log(sigma)
    return -ll.sum()


add(tobit, np.array([0.5, -0.3, 0.2]), rng.normal(size=(9, 2)),
    np.maximum(rng.normal(size=9), 0.0))  # fmt: skip


def beta_binomial(log_ab, k, n):
    a, b = np.exp(log_ab)

    def betaln(p, q):
        return gammaln(p) + gammaln(q) - gammaln(p + q)

    return -sum(betaln(ki + a, ni - ki + b) - betaln(a, b) for ki, ni in zip(k, n))


add(beta_binomial, np.array([0.5, 0.2]), np.array([1.0, 3.0, 2.0]), np.array([5.0, 4.0, 6.0]))


def hierarchical_normal(params, groups):
    mu, log_tau = params[0], params[1]
    tau = np.exp(log_tau)
    theta = mu + tau * params[2:]
    lp = norm.logpdf(mu, 0, 10) + norm.logpdf(log_tau) + norm.logpdf(params[2:]).sum()
    for j, data in enumerate(groups):
        lp = lp + norm.logpdf(data, theta[j], 1.0).sum()
    return -lp


add(hierarchical_normal, rng.normal(size=5),
    [rng.normal(size=4), rng.normal(size=6), rng.normal(size=3)])  # fmt: skip

# ---- Gaussian processes and splines --------------------------------------------------------------


def gp_scipy(theta, X, y):
    """Negative log marginal likelihood with SciPy's Cholesky."""
    amp, ls, noise = np.exp(theta)
    d2 = np.sum(X**2, 1)[:, None] + np.sum(X**2, 1)[None, :] - 2 * X @ X.T
    K = amp**2 * np.exp(-0.5 * d2 / ls**2) + noise**2 * np.eye(len(X))
    L = cholesky(K, lower=True)
    alpha = cho_solve((L, True), y)
    return 0.5 * y @ alpha + np.sum(np.log(np.diag(L))) + 0.5 * len(y) * np.log(2 * np.pi)


add(gp_scipy, np.array([0.1, -0.2, -1.0]), rng.normal(size=(7, 2)), rng.normal(size=7))


class Matern32:
    def __init__(self, X):
        self.X = np.asarray(X)

    def __call__(self, length):
        n = len(self.X)
        K = np.empty((n, n))
        for i in range(n):
            for j in range(i + 1):
                r = np.sqrt(3.0) * abs(self.X[i] - self.X[j]) / length
                K[i, j] = K[j, i] = (1 + r) * np.exp(-r)
        return K


class GP:
    def __init__(self, X, y):
        self.kernel, self.y = Matern32(X), y

    def nll(self, theta):
        K = self.kernel(np.exp(theta[0])) + np.exp(theta[1]) * np.eye(len(self.y))
        c, low = cho_factor(K)
        return 0.5 * self.y.dot(cho_solve((c, low), self.y)) + np.log(np.diag(c)).sum()


add(GP(np.linspace(0, 1, 6), rng.normal(size=6)).nll, np.array([-0.5, -1.0]), name="gp_matern")


def sparse_gp(theta, X, y, Z):
    s, ls = np.exp(theta)

    def k(a, b):
        return np.exp(-0.5 * (a[:, None] - b[None, :]) ** 2 / ls**2)

    Kmm = k(Z, Z) + 1e-6 * np.eye(len(Z))
    L = np.linalg.cholesky(Kmm)
    A = solve_triangular(L, k(Z, X), lower=True) / s
    B = np.eye(len(Z)) + A @ A.T
    LB = np.linalg.cholesky(B)
    c = solve_triangular(LB, A @ y, lower=True) / s
    return np.sum(np.log(np.diag(LB))) + len(y) * np.log(s) + 0.5 * (y @ y / s**2 - c @ c)


add(sparse_gp, np.array([-0.5, -0.7]), np.linspace(0, 1, 8), rng.normal(size=8),
    np.array([0.1, 0.5, 0.9]))  # fmt: skip


def bspline_fit(coef, t, x, y):
    spline = BSpline(t, coef, 3)
    return np.sum((spline(x) - y) ** 2) + 0.1 * np.sum(np.diff(coef, 2) ** 2)


add(bspline_fit, rng.normal(size=6), np.array([0, 0, 0, 0, 0.4, 0.7, 1, 1, 1, 1.0]),
    np.linspace(0.05, 0.95, 9), rng.normal(size=9))  # fmt: skip


def cox_de_boor(x, k, i, t):
    if k == 0:
        return 1.0 if t[i] <= x < t[i + 1] else 0.0
    left = 0.0 if t[i + k] == t[i] else (x - t[i]) / (t[i + k] - t[i]) * cox_de_boor(x, k - 1, i, t)
    right = 0.0
    if t[i + k + 1] != t[i + 1]:
        right = (t[i + k + 1] - x) / (t[i + k + 1] - t[i + 1]) * cox_de_boor(x, k - 1, i + 1, t)
    return left + right


def bspline_by_hand(x, c):
    t = [0, 0, 0, 0.5, 1, 1, 1]
    return sum(c[i] * cox_de_boor(x, 2, i, t) for i in range(len(c)))


add(bspline_by_hand, 0.3, np.array([1.0, -1.0, 2.0, 0.5]), argnums=(0, 1))


def curve_warp(p, xk, yk, xs, target):
    """A fixed cubic spline read at warped places."""
    spline = CubicSpline(xk, yk)
    return np.mean((spline(p[0] + p[1] * xs) - target) ** 2)


add(curve_warp, np.array([0.05, 0.9]), np.linspace(0, 1, 6), rng.normal(size=6),
    np.linspace(0.05, 0.9, 7), rng.normal(size=7))  # fmt: skip


def interp_calibration(y_nodes, x_nodes, x, target):
    return np.sum((np.interp(x, x_nodes, y_nodes) - target) ** 2)


add(interp_calibration, rng.normal(size=5), np.linspace(0, 1, 5), rng.uniform(0, 1, 8),
    rng.normal(size=8))  # fmt: skip

# ---- machine learning ----------------------------------------------------------------------------


def relu(z):
    return np.maximum(0, z)


def init_net(sizes, rng):
    return [{"W": rng.normal(size=(m, n)) * 0.5, "b": np.zeros(n)}
            for m, n in zip(sizes[:-1], sizes[1:])]  # fmt: skip


def net_loss(params, X, labels):
    h = X
    for layer in params[:-1]:
        h = relu(h @ layer["W"] + layer["b"])
    logits = h @ params[-1]["W"] + params[-1]["b"]
    logits = logits - np.max(logits, axis=1, keepdims=True)
    log_probs = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(log_probs[np.arange(len(labels)), labels])


add(net_loss, init_net([3, 5, 4], rng), rng.normal(size=(6, 3)), rng.integers(0, 4, 6))


@dataclass
class Weights:
    W1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray


def dataclass_net(w, X, y):
    hidden = np.tanh(X @ w.W1 + w.b1)
    return np.mean((hidden @ w.w2 - y) ** 2)


add(dataclass_net, Weights(rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=3)),
    rng.normal(size=(5, 2)), rng.normal(size=5))  # fmt: skip


def softmax_regression(W, X, Y):
    scores = X.dot(W)
    exp_scores = np.exp(scores - scores.max(axis=1)[:, np.newaxis])
    probs = exp_scores / exp_scores.sum(axis=1)[:, np.newaxis]
    return -np.sum(Y * np.log(probs)) / X.shape[0] + 0.5e-2 * np.sum(W * W)


add(softmax_regression, rng.normal(size=(3, 4)), rng.normal(size=(6, 3)),
    np.eye(4)[rng.integers(0, 4, 6)])  # fmt: skip


def stable_logistic(w, X, y):
    z = X @ w
    loss = 0.0
    for zi, yi in zip(z, y):
        if zi >= 0:
            loss += np.log(1 + np.exp(-zi)) + (1 - yi) * zi
        else:
            loss += np.log(1 + np.exp(zi)) - yi * zi
    return loss / len(y)


add(stable_logistic, np.array([0.4, -0.7]), rng.normal(size=(8, 2)), rng.integers(0, 2, 8))


def hinge_svm(w, X, y, C=2.0):
    loss = 0.5 * np.dot(w[:-1], w[:-1])
    for i in range(len(y)):
        margin = y[i] * (X[i] @ w[:-1] + w[-1])
        loss += C * max(0.0, 1 - margin)
    return loss


add(hinge_svm, np.array([0.4, -0.7, 0.1]), rng.normal(size=(8, 2)), rng.choice([-1, 1], 8))


def matrix_factorisation(params, triples, shape=(4, 5), k=2, lam=0.1):
    n, m = shape
    U = params[: n * k].reshape(n, k)
    V = params[n * k :].reshape(m, k)
    err = 0.0
    for i, j, r in triples:
        err += (r - U[i] @ V[j]) ** 2 + lam * (np.sum(U[i] ** 2) + np.sum(V[j] ** 2))
    return err


add(matrix_factorisation, rng.normal(size=18),
    [(0, 1, 3.0), (2, 4, 1.0), (3, 0, 5.0), (0, 2, 2.0), (1, 1, 4.0)])  # fmt: skip


def skipgram(E, pairs, negatives):
    d = E.shape[1] // 2
    total = 0.0
    for (c, o), neg in zip(pairs, negatives):
        v, u = E[c, :d], E[o, d:]
        total -= np.log(1 / (1 + np.exp(-u @ v)))
        for k in neg:
            total -= np.log(1 / (1 + np.exp(E[k, d:] @ v)))
    return total


add(skipgram, rng.normal(size=(5, 4)), [(0, 1), (2, 3), (4, 0)], [[2, 3], [0, 4], [1, 1]])


def nmf(params, V):
    W = np.exp(params[:8]).reshape(4, 2)
    H = np.exp(params[8:]).reshape(2, 5)
    WH = W @ H
    return np.sum(V * np.log(V / WH) - V + WH)


add(nmf, rng.normal(size=18) * 0.3, rng.uniform(0.5, 2, (4, 5)))


def ica_infomax(W, X):
    S = W @ X
    return np.mean(np.sum(np.log(np.cosh(S)), axis=0)) - np.log(np.abs(np.linalg.det(W)))


add(ica_infomax, np.eye(3) + 0.2 * rng.normal(size=(3, 3)), rng.normal(size=(3, 10)))


def tsne_kl(Y, P):
    n = Y.shape[0]
    num = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                num[i, j] = 1 / (1 + np.sum((Y[i] - Y[j]) ** 2))
    Q = num / num.sum()
    Q = np.maximum(Q, 1e-12)
    return np.sum(P * np.log(np.maximum(P, 1e-12) / Q))


_P = rng.uniform(0, 1, (5, 5))
_P = (_P + _P.T) * (1 - np.eye(5))
add(tsne_kl, rng.normal(size=(5, 2)), _P / _P.sum())


def crf_nll(params, features, labels):
    """Linear-chain conditional random field: forward algorithm."""
    n_labels = params["transitions"].shape[0]
    emissions = features @ params["weights"]
    T = len(labels)
    score = emissions[0, labels[0]]
    for t in range(1, T):
        score += params["transitions"][labels[t - 1], labels[t]] + emissions[t, labels[t]]
    alpha = emissions[0]
    for t in range(1, T):
        new = []
        for j in range(n_labels):
            new.append(logsumexp(alpha + params["transitions"][:, j]) + emissions[t, j])
        alpha = np.array(new)
    return logsumexp(alpha) - score


add(crf_nll, {"weights": rng.normal(size=(3, 3)), "transitions": rng.normal(size=(3, 3))},
    rng.normal(size=(5, 3)), rng.integers(0, 3, 5))  # fmt: skip


def soft_dtw(x, y, gamma=0.5):
    n, m = len(x), len(y)
    R = np.full((n + 1, m + 1), 1e10)
    R[0, 0] = 0.0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            d = (x[i - 1] - y[j - 1]) ** 2
            prev = np.array([R[i - 1, j], R[i, j - 1], R[i - 1, j - 1]])
            R[i, j] = d - gamma * logsumexp(-prev / gamma)
    return R[n, m]


add(soft_dtw, rng.normal(size=4), rng.normal(size=5), argnums=(0, 1))


def hard_dtw(x, y):
    table = [[math.inf] * (len(y) + 1) for _ in range(len(x) + 1)]
    table[0][0] = 0.0
    for i in range(1, len(x) + 1):
        for j in range(1, len(y) + 1):
            cost = abs(x[i - 1] - y[j - 1])
            table[i][j] = cost + min(table[i - 1][j], table[i][j - 1], table[i - 1][j - 1])
    return table[-1][-1]


add(hard_dtw, rng.normal(size=4), rng.normal(size=3), argnums=(0, 1))


def rnn_tanh(params, xs, target):
    Wx, Wh, b, v = params
    h = np.zeros(Wh.shape[0])
    for x in xs:
        h = np.tanh(Wx @ x + Wh @ h + b)
    return (v @ h - target) ** 2


add(rnn_tanh, (rng.normal(size=(3, 2)), rng.normal(size=(3, 3)), np.zeros(3), rng.normal(size=3)),
    rng.normal(size=(5, 2)), 0.3)  # fmt: skip


def lstm_step(W, x, h, c):
    n = len(h)
    z = np.concatenate([x, h, [1.0]]) @ W
    i, f, o, g = (z[k * n : (k + 1) * n] for k in range(4))
    c = expit(f) * c + expit(i) * np.tanh(g)
    return expit(o) * np.tanh(c), c


def lstm_loss(W, xs, ys):
    h, c = np.zeros(2), np.zeros(2)
    loss = []
    for x, y in zip(xs, ys):
        h, c = lstm_step(W, x, h, c)
        loss.append((h.sum() - y) ** 2)
    return np.mean(loss)


add(lstm_loss, rng.normal(size=(4, 8)), rng.normal(size=(5, 1)), rng.normal(size=5))


def triplet_loss(E, triplets, margin=0.5):
    losses = []
    for a, p, n in triplets:
        d_pos = np.linalg.norm(E[a] - E[p])
        d_neg = np.linalg.norm(E[a] - E[n])
        losses.append(np.maximum(d_pos - d_neg + margin, 0))
    return np.array(losses).mean()


add(triplet_loss, rng.normal(size=(5, 3)), [(0, 1, 2), (3, 4, 0), (1, 2, 4)])


def conv1d_net(w, x, y):
    h = np.convolve(x, w[:3], mode="valid")
    h = np.where(h > 0, h, 0.1 * h)
    return (np.mean(h) * w[3] - y) ** 2


add(conv1d_net, rng.normal(size=4), rng.normal(size=10), 0.7)


def attention(W, X):
    d = X.shape[1]
    Q, K, V = (X @ W[i] for i in range(3))
    scores = Q @ K.T / math.sqrt(d)
    mask = np.triu(np.ones_like(scores), k=1).astype(bool)
    scores[mask] = -1e9
    A = scipy.special.softmax(scores, axis=-1)
    return np.sum((A @ V) ** 2)


add(attention, rng.normal(size=(3, 2, 2)), rng.normal(size=(4, 2)))

# ---- geometry, vision, robots --------------------------------------------------------------------


def rodrigues(r):
    theta = np.linalg.norm(r)
    if theta < 1e-8:
        return np.eye(3)
    k = r / theta
    K = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    return np.eye(3) + np.sin(theta) * K + (1 - np.cos(theta)) * K @ K


def bundle_adjustment(cams, points, obs):
    residuals = []
    for ci, pi, uv in obs:
        cam = cams[ci]
        p = rodrigues(cam[:3]) @ points[pi] + cam[3:6]
        xy = -p[:2] / p[2]
        r2 = xy @ xy
        proj = cam[6] * (1 + cam[7] * r2 + cam[8] * r2**2) * xy
        residuals.extend(proj - uv)
    return np.sum(np.array(residuals) ** 2)


add(bundle_adjustment, rng.normal(size=(2, 9)) * 0.3 + np.array([0, 0, 0, 0, 0, 5, 1, 0, 0]),
    rng.normal(size=(3, 3)),
    [(0, 0, np.array([0.1, 0.2])), (0, 1, np.array([0.0, 0.3])), (1, 2, np.array([-0.2, 0.1]))],
    argnums=(0, 1))  # fmt: skip


Quaternion = namedtuple("Quaternion", "w x y z")


def qmul(a, b):
    return Quaternion(
        a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z,
        a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
        a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x,
        a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w,
    )


def quaternion_pose(q, src, dst):
    q = q / np.sqrt(np.sum(q**2))
    quat = Quaternion(*q)
    conj = Quaternion(quat.w, -quat.x, -quat.y, -quat.z)
    err = 0.0
    for s, d in zip(src, dst):
        r = qmul(qmul(quat, Quaternion(0.0, *s)), conj)
        err += (r.x - d[0]) ** 2 + (r.y - d[1]) ** 2 + (r.z - d[2]) ** 2
    return err


add(quaternion_pose, np.array([0.9, 0.1, -0.3, 0.2]), rng.normal(size=(4, 3)),
    rng.normal(size=(4, 3)))  # fmt: skip


class Arm:
    """Planar robot arm: inverse kinematics with joint limits as a penalty."""

    def __init__(self, lengths, target, limit=2.0):
        self.lengths, self.target, self.limit = lengths, target, limit

    def tip(self, q):
        pos = np.zeros(2)
        angle = 0.0
        for l, dq in zip(self.lengths, q):
            angle += dq
            pos += l * np.array([np.cos(angle), np.sin(angle)])
        return pos

    def cost(self, q):
        penalty = 0.0
        for qi in q:
            if qi > self.limit:
                penalty += (qi - self.limit) ** 2
            elif qi < -self.limit:
                penalty += (qi + self.limit) ** 2
        return np.sum((self.tip(q) - self.target) ** 2) + 10 * penalty


add(Arm([1.0, 0.7, 0.4], np.array([0.8, 1.1])).cost, np.array([0.3, 2.4, -2.2]), name="arm_ik")


def denavit_hartenberg(q):
    T = np.eye(4)
    for theta, (a, alpha, d) in zip(q, [(0.3, 0.1, 0.2), (0.5, -0.4, 0.0), (0.2, 0.3, 0.1)]):
        ct, st, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
        T = T @ np.array(
            [[ct, -st * ca, st * sa, a * ct], [st, ct * ca, -ct * sa, a * st], [0, sa, ca, d],
             [0, 0, 0, 1]]
        )  # fmt: skip
    return np.sum((T[:3, 3] - np.array([0.5, 0.2, 0.4])) ** 2)


add(denavit_hartenberg, np.array([0.3, -0.5, 0.8]))


def pendulum_lagrangian(path, m=1.0, l=1.0, g=9.8, dt=0.1):
    action = 0
    for k in range(len(path) - 1):
        q = 0.5 * (path[k] + path[k + 1])
        v = (path[k + 1] - path[k]) / dt
        T = 0.5 * m * l**2 * v**2
        V = -m * g * l * math.cos(q)
        action += (T - V) * dt
    return action


add(pendulum_lagrangian, np.linspace(0.1, 0.9, 7) ** 2)


def tv_denoise(u, f, lam=0.3):
    dx = u[1:, :] - u[:-1, :]
    dy = u[:, 1:] - u[:, :-1]
    tv = np.sqrt(dx[:, :-1] ** 2 + dy[:-1, :] ** 2 + 1e-6).sum()
    return 0.5 * np.sum((u - f) ** 2) + lam * tv


add(tv_denoise, rng.normal(size=(4, 5)), rng.normal(size=(4, 5)))


def lennard_jones(x):
    pos = x.reshape(-1, 3)
    energy = 0.0
    for i in range(len(pos)):
        for j in range(i):
            r2 = ((pos[i] - pos[j]) ** 2).sum()
            if r2 > 9.0:
                continue
            s6 = (1.0 / r2) ** 3
            energy += 4 * (s6 * s6 - s6)
    return energy


add(lennard_jones, (np.arange(15).reshape(5, 3) * 0.5 + 0.2 * rng.normal(size=(5, 3))).ravel())


def ising_mean_field(m, J, h, steps=10):
    for _ in range(steps):
        m = np.tanh(J @ m + h)
    return -np.sum(m * h) - 0.5 * m @ J @ m


add(ising_mean_field, np.zeros(4), rng.normal(size=(4, 4)) * 0.2, rng.normal(size=4),
    argnums=(1, 2))  # fmt: skip


def truss_compliance(areas, nodes, bars, load):
    ndof = 2 * len(nodes)
    K = np.zeros((ndof, ndof))
    for (i, j), a in zip(bars, areas):
        d = nodes[j] - nodes[i]
        length = np.hypot(d[0], d[1])
        c = d / length
        k = a / length * np.outer(c, c)
        dof = [2 * i, 2 * i + 1, 2 * j, 2 * j + 1]
        block = np.block([[k, -k], [-k, k]])
        K[np.ix_(dof, dof)] += block
    free = slice(4, ndof)
    u = np.linalg.solve(K[free, free], load)
    return load @ u


add(truss_compliance, np.array([1.0, 0.8, 1.2, 0.9, 1.1]),
    np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]),
    [(0, 2), (1, 3), (2, 3), (0, 3), (1, 2)], np.array([0.0, 0.0, 0.0, -1.0]))  # fmt: skip

# ---- test functions ------------------------------------------------------------------------------


def rosenbrock_loop(x):
    total = 0
    for i in range(len(x) - 1):
        total += 100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2
    return total


add(rosenbrock_loop, np.array([-1.2, 1.0, 0.5, 0.7]))
add(scipy.optimize.rosen, np.array([-1.2, 1.0, 0.5, 0.7]), name="scipy_rosen")


def ackley(x, a=20, b=0.2, c=2 * math.pi):
    d = len(x)
    sum1 = sum(xi**2 for xi in x)
    sum2 = sum(math.cos(c * xi) for xi in x)
    return -a * math.exp(-b * math.sqrt(sum1 / d)) - math.exp(sum2 / d) + a + math.e


add(ackley, np.array([0.3, -0.4, 0.8]))


def trid_penalty(x, bounds):
    f = sum((xi - 1) ** 2 for xi in x) - sum(x[i] * x[i - 1] for i in range(1, len(x)))
    for xi, (lo, hi) in zip(x, bounds):
        if not lo <= xi <= hi:
            f += 100 * (max(lo - xi, 0) + max(xi - hi, 0)) ** 2
    return f


add(trid_penalty, np.array([0.3, -1.4, 2.8]), [(-1, 1), (-1, 1), (-1, 1)])


def logsumexp_smooth_max(x):
    return logsumexp(5 * x) / 5 + scipy.special.softmax(x) @ x


add(logsumexp_smooth_max, np.array([0.3, -1.4, 2.8]))


def matrix_exponential_fit(A, target):
    M = A.reshape(3, 3)
    return np.sum((scipy.linalg.expm(M - M.T) - target) ** 2)


add(matrix_exponential_fit, rng.normal(size=9) * 0.4, np.eye(3))


def peaks_and_valleys(p):
    x, y = p
    if x**2 + y**2 < 1:
        return (1 - x**2 - y**2) ** 2
    if x > y:
        return math.log(x**2 + y**2)
    return x * y - 1


add(peaks_and_valleys, np.array([1.3, 0.4]))
