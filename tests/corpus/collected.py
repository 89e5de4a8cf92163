"""Functions as papers, textbooks and notebooks have them: loops, classes, dicts, early exits."""

# ruff: noqa: B905, B007, E731, E501
from __future__ import annotations

import collections
import enum
import functools
import itertools
import math
import operator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from corpus.entry import Collection

add = Collection()
R = np.random.default_rng(15)


# ---- linear algebra by hand ----------------------------------------------------------------------


def thomas(d):
    """Tridiagonal solver as in Numerical Recipes."""
    n = len(d)
    a, b, c = -np.ones(n), 2.5 * np.ones(n) + 0.1 * d, -np.ones(n)
    cp, dp = np.zeros(n), np.zeros(n)
    cp[0] = c[0] / b[0]
    dp[0] = d[0] / b[0]
    for i in range(1, n):
        m = b[i] - a[i] * cp[i - 1]
        cp[i] = c[i] / m
        dp[i] = (d[i] - a[i] * dp[i - 1]) / m
    x = np.zeros(n)
    x[-1] = dp[-1]
    for i in range(n - 2, -1, -1):
        x[i] = dp[i] - cp[i] * x[i + 1]
    return x


add(thomas, R.random(20))


def cholesky_by_hand(theta):
    """Log-density of a normal with a covariance of squared exponentials."""
    n = 6
    xs = np.linspace(0, 1, n)
    K = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            K[i, j] = K[j, i] = theta[0] ** 2 * np.exp(-((xs[i] - xs[j]) ** 2) / theta[1])
            if i == j:
                K[i, j] += theta[2] ** 2
    L = np.zeros_like(K)
    for i in range(n):
        for j in range(i + 1):
            s = sum(L[i, k] * L[j, k] for k in range(j))
            if i == j:
                L[i, i] = math.sqrt(K[i, i] - s)
            else:
                L[i, j] = (K[i, j] - s) / L[j, j]
    y = np.sin(3 * xs)
    z = []
    for i in range(n):
        z.append((y[i] - sum(L[i, k] * z[k] for k in range(i))) / L[i, i])
    return -0.5 * sum(v * v for v in z) - sum(math.log(L[i, i]) for i in range(n))


add(cholesky_by_hand, np.array([1.1, 0.3, 0.2]))


def conjugate_gradients(b):
    """Hestenes and Stiefel, until the residual is small."""
    n = len(b)
    A = np.diag(2.0 + 0.1 * np.arange(n)) - np.eye(n, k=1) * 0.7 - np.eye(n, k=-1) * 0.7
    A = A + 0.05 * np.outer(b, b)
    x = np.zeros(n)
    r = b - A @ x
    p = r.copy()
    rs = r @ r
    for _ in range(25):
        Ap = A @ p
        alpha = rs / (p @ Ap)
        x += alpha * p
        r -= alpha * Ap
        new = r @ r
        if np.sqrt(new) < 1e-10:
            break
        p = r + (new / rs) * p
        rs = new
    return b @ x


add(conjugate_gradients, R.random(5))


def qr_givens(v):
    """Determinant of R by Givens rotations, skipping zeros."""
    A = np.array([[v[0], 1.0, 0.3], [0.0, v[1], 2.0], [1.5, v[2], 0.7]])
    m, n = A.shape
    for j in range(n):
        for i in range(m - 1, j, -1):
            if A[i, j] != 0:
                r = np.hypot(A[i - 1, j], A[i, j])
                c, s = A[i - 1, j] / r, -A[i, j] / r
                G = np.eye(m)
                G[[i - 1, i], [i - 1, i]] = c
                G[i - 1, i] = -s
                G[i, i - 1] = s
                A = G @ A
    return np.abs(np.prod(np.diag(A)))


add(qr_givens, np.array([1.2, 0.8, -0.5]))


def householder_tridiagonal(x):
    """A step of Householder's reduction."""
    n = 4
    A = np.add.outer(x, x) + np.diag([4.0, 3.0, 2.0, 1.0])
    for k in range(n - 2):
        v = A[k + 1 :, k].copy()
        alpha = -np.sign(v[0]) * np.linalg.norm(v)
        if alpha == 0:
            continue
        v[0] -= alpha
        v /= np.linalg.norm(v)
        A[k + 1 :, k:] -= 2 * np.outer(v, v @ A[k + 1 :, k:])
        A[:, k + 1 :] -= 2 * np.outer(A[:, k + 1 :] @ v, v)
    return np.sum(np.diag(A) ** 2) + np.sum(np.diag(A, 1) ** 4)


add(householder_tridiagonal, np.array([0.3, 0.9, -0.4, 0.6]))


def lanczos_sum(b):
    """Coefficients of Lanczos's recurrence."""
    n = len(b)
    A = np.diag(np.arange(1.0, n + 1)) + 0.1
    q_old, beta = np.zeros(n), 0.0
    q = b / np.linalg.norm(b)
    alphas, betas = [], []
    for k in range(3):
        w = A @ q - beta * q_old
        alpha = q @ w
        w = w - alpha * q
        beta = np.linalg.norm(w)
        alphas.append(alpha)
        betas.append(beta)
        if beta < 1e-12:
            break
        q_old, q = q, w / beta
    return sum(alphas) + sum(x**2 for x in betas)


add(lanczos_sum, np.array([0.3, 1.0, -0.2, 0.8, 0.5]))


def sor(f):
    """Successive over-relaxation of a Poisson problem, until nothing changes."""
    n = 5
    u = np.zeros(n + 2)
    w = 1.4
    for it in range(200):
        biggest = 0.0
        for i in range(1, n + 1):
            new = (1 - w) * u[i] + w * 0.5 * (u[i - 1] + u[i + 1] + f[i - 1])
            biggest = max(biggest, abs(new - u[i]))
            u[i] = new
        if biggest < 1e-11:
            break
    return np.sum(u[1:-1] ** 2)


add(sor, R.random(5))


# ---- finite elements and volumes -----------------------------------------------------------------


def truss_assembly(areas):
    """Bars of a truss, assembled with loops over elements and degrees of freedom."""
    nodes = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    bars = [(0, 1), (0, 2), (1, 3), (2, 3), (0, 3), (1, 2)]
    K = np.zeros((8, 8))
    for area, (i, j) in zip(areas, bars):
        dx, dy = nodes[j][0] - nodes[i][0], nodes[j][1] - nodes[i][1]
        length = math.hypot(dx, dy)
        c, s = dx / length, dy / length
        k = area / length * np.array([[c * c, c * s], [c * s, s * s]])
        dofs = [2 * i, 2 * i + 1, 2 * j, 2 * j + 1]
        ke = np.block([[k, -k], [-k, k]])
        for a in range(4):
            for b in range(4):
                K[dofs[a], dofs[b]] += ke[a, b]
    free = [4, 5, 6, 7]
    F = np.array([0.0, 0.0, 1.0, -0.5])
    u = np.linalg.solve(K[np.ix_(free, free)], F)
    return F @ u


add(truss_assembly, R.random(6) + 0.5)


def beam_elements(E):
    """Euler-Bernoulli elements with Hermite shape functions."""
    n = len(E)
    L = 1.0 / n
    K = np.zeros((2 * (n + 1), 2 * (n + 1)))
    for e in range(n):
        k = E[e] / L**3 * np.array([
            [12, 6 * L, -12, 6 * L],
            [6 * L, 4 * L**2, -6 * L, 2 * L**2],
            [-12, -6 * L, 12, -6 * L],
            [6 * L, 2 * L**2, -6 * L, 4 * L**2],
        ])  # fmt: skip
        ix = slice(2 * e, 2 * e + 4)
        K[ix, ix] += k
    K = np.delete(np.delete(K, [0, 1], axis=0), [0, 1], axis=1)
    f = np.zeros(2 * n)
    f[-2] = -1.0
    return np.linalg.solve(K, f)[-2]


add(beam_elements, R.random(4) + 1)


def triangles(u):
    """Dirichlet energy of linear elements on a mesh given as a list of triangles."""
    points = np.array([[0, 0], [1, 0], [0, 1], [1, 1.2], [0.5, 0.5]])
    mesh = [(0, 1, 4), (1, 3, 4), (3, 2, 4), (2, 0, 4)]
    energy = 0
    for tri in mesh:
        p = points[list(tri)]
        area = 0.5 * abs(np.linalg.det(np.column_stack([np.ones(3), p])))
        B = np.array([p[[1, 2, 0], 1] - p[[2, 0, 1], 1], p[[2, 0, 1], 0] - p[[1, 2, 0], 0]])
        grad = B @ u[list(tri)] / (2 * area)
        energy += 0.5 * area * np.sqrt(1 + grad @ grad)
    return energy


add(triangles, R.random(5))


def shallow_water(h0):
    """Lax-Friedrichs for shallow water, periodic, with a CFL step."""
    h, q = h0.copy(), 0.1 * h0
    t, dx, g = 0.0, 0.1, 9.81
    while t < 0.05:
        speed = np.max(np.abs(q / h) + np.sqrt(g * h))
        dt = 0.4 * dx / speed
        if t + dt > 0.05:
            dt = 0.05 - t
        F1, F2 = q, q**2 / h + 0.5 * g * h**2
        hn = 0.5 * (np.roll(h, 1) + np.roll(h, -1)) - dt / (2 * dx) * (
            np.roll(F1, -1) - np.roll(F1, 1)
        )
        q = 0.5 * (np.roll(q, 1) + np.roll(q, -1)) - dt / (2 * dx) * (
            np.roll(F2, -1) - np.roll(F2, 1)
        )
        h, t = hn, t + dt
    return np.sum(h * np.arange(len(h)))


add(shallow_water, 1 + 0.2 * R.random(8))


def minmod_advection(u):
    """Second-order upwind with a minmod limiter, written element by element."""

    def minmod(a, b):
        if a * b <= 0:
            return 0.0
        elif abs(a) < abs(b):
            return a
        else:
            return b

    n, nu = len(u), 0.4
    for step in range(3):
        slope = [minmod(u[i] - u[i - 1], u[(i + 1) % n] - u[i]) for i in range(n)]
        flux = [u[i] + 0.5 * (1 - nu) * slope[i] for i in range(n)]
        u = [u[i] - nu * (flux[i] - flux[i - 1]) for i in range(n)]
    return sum(v**3 for v in u)


add(minmod_advection, R.random(7))


# ---- dynamics, robots, control -------------------------------------------------------------------


@dataclass
class Body:
    mass: float
    position: np.ndarray
    velocity: np.ndarray

    def kinetic(self):
        return 0.5 * self.mass * self.velocity @ self.velocity


def orbits(v0):
    """Leapfrog of bodies that are dataclasses; pairs by itertools."""
    bodies = [
        Body(1.0, np.zeros(2), np.zeros(2)),
        Body(0.1, np.array([1.0, 0.0]), np.array([0.0, v0[0]])),
        Body(0.05, np.array([0.0, 1.7]), np.array([v0[1], 0.0])),
    ]
    dt = 0.02
    for _ in range(12):
        forces = [np.zeros(2) for _ in bodies]
        for (i, a), (j, b) in itertools.combinations(enumerate(bodies), 2):
            d = b.position - a.position
            f = a.mass * b.mass * d / np.sum(d**2) ** 1.5
            forces[i] += f
            forces[j] -= f
        for body, force in zip(bodies, forces):
            body.velocity = body.velocity + dt * force / body.mass
            body.position += dt * body.velocity
    return sum(b.kinetic() for b in bodies)


add(orbits, np.array([1.0, -0.7]))


class Pose(NamedTuple):
    x: float
    y: float
    heading: float

    def moved(self, speed, turn, dt):
        if abs(turn) < 1e-6:
            return self._replace(
                x=self.x + speed * dt * math.cos(self.heading),
                y=self.y + speed * dt * math.sin(self.heading),
            )
        r = speed / turn
        new = self.heading + turn * dt
        return Pose(
            self.x + r * (math.sin(new) - math.sin(self.heading)),
            self.y - r * (math.cos(new) - math.cos(self.heading)),
            new,
        )


def unicycle(turns):
    """A robot's pose as a named tuple, with the arc's limit as a case."""
    pose = Pose(0.0, 0.0, 0.1)
    for turn in turns:
        pose = pose.moved(1.0, turn, 0.1)
    return (pose.x - 0.3) ** 2 + (pose.y - 0.1) ** 2 + pose.heading**2


add(unicycle, np.array([0.3, -0.5, 1.1, 0.2]))


def ik_damped(target):
    """Inverse kinematics by damped least squares until the target is reached."""
    lengths = [1.0, 0.8, 0.5]
    q = np.array([0.3, 0.4, 0.5])

    def end(q):
        angles = np.cumsum(q)
        return np.array([
            sum(l * np.cos(a) for l, a in zip(lengths, angles)),
            sum(l * np.sin(a) for l, a in zip(lengths, angles)),
        ])  # fmt: skip

    for _ in range(30):
        e = target - end(q)
        if np.linalg.norm(e) < 1e-9:
            break
        angles = np.cumsum(q)
        J = np.zeros((2, 3))
        for k in range(3):
            J[0, k] = -sum(lengths[m] * np.sin(angles[m]) for m in range(k, 3))
            J[1, k] = sum(lengths[m] * np.cos(angles[m]) for m in range(k, 3))
        q = q + J.T @ np.linalg.solve(J @ J.T + 1e-3 * np.eye(2), e)
    return np.sum(q**2)


add(ik_damped, np.array([1.2, 0.9]))


def lqr_riccati(q):
    """Backward Riccati recursion, gains in a list that is reversed."""
    A = np.array([[1.0, 0.1], [0.0, 1.0]])
    B = np.array([[0.0], [0.1]])
    Q, R_ = np.diag(q), np.array([[0.5]])
    P, gains = Q, []
    for _ in range(10):
        K = np.linalg.inv(R_ + B.T @ P @ B) @ (B.T @ P @ A)
        P = Q + A.T @ P @ (A - B @ K)
        gains.append(K)
    x, cost = np.array([1.0, 0.0]), 0.0
    for K in reversed(gains):
        u = -K @ x
        cost += x @ Q @ x + u @ R_ @ u
        x = A @ x + B @ u
    return cost


add(lqr_riccati, np.array([1.0, 0.3]))


def complementary_filter(gains):
    """An attitude filter over a list of dicts of measurements."""
    log = [{"gyro": 0.1 * k, "accel": (math.sin(0.05 * k), math.cos(0.05 * k))} for k in range(20)]
    log[7]["accel"] = None
    angle, bias, loss = 0.0, 0.0, 0.0
    for sample in log:
        rate = sample["gyro"] - bias
        angle += 0.05 * rate
        if sample["accel"] is None:
            continue
        measured = math.atan2(*sample["accel"])
        error = measured - angle
        angle += gains[0] * error
        bias -= gains[1] * error
        loss += error**2
    return loss


add(complementary_filter, np.array([0.2, 0.05]))


def bang_bang(params):
    """A thermostat with hysteresis."""
    temperature, on, energy = 15.0, True, 0.0
    for minute in range(60):
        if temperature > params[0] + params[1]:
            on = False
        elif temperature < params[0] - params[1]:
            on = True
        heat = 0.8 if on else 0.0
        temperature += heat - 0.02 * (temperature - params[2])
        energy += heat * temperature
    return energy / 60 + temperature


add(bang_bang, np.array([20.0, 0.5, 5.0]))


def trapezoidal_profile(p):
    """Duration of a motion with limits of velocity and acceleration."""
    distance, vmax, amax = p
    sign = 1 if distance >= 0 else -1
    distance = abs(distance)
    if vmax**2 / amax > distance:
        peak = math.sqrt(distance * amax)
        return sign * 2 * peak / amax
    ramp = vmax / amax
    return sign * (2 * ramp + (distance - vmax * ramp) / vmax)


add(trapezoidal_profile, np.array([2.0, 1.0, 0.8]))


# ---- pharmacokinetics, epidemics, chemistry ------------------------------------------------------


def one_compartment(theta):
    """Repeated doses by superposition, with a lag and missing samples."""
    doses = {0.0: 100.0, 12.0: 100.0, 24.0: 50.0}
    samples = {1.0: 3.1, 6.0: 2.2, 13.0: 4.6, 30.0: None, 36.0: 1.1}
    ka, ke, volume = np.exp(theta)
    sse = 0.0
    for time, seen in samples.items():
        if seen is None:
            continue
        c = 0.0
        for at, dose in doses.items():
            tau = time - at - 0.25
            if tau > 0:
                c += dose / volume * ka / (ka - ke) * (np.exp(-ke * tau) - np.exp(-ka * tau))
        sse += (np.log(c) - np.log(seen)) ** 2
    return sse


add(one_compartment, np.array([0.3, -2.0, 3.4]))


def michaelis_menten_infusion(p):
    """Elimination that saturates; the infusion ends at an argument."""
    vmax, km, stop = p
    c, dt, area = 0.0, 0.1, 0.0
    for step in range(80):
        t = step * dt
        rate = 2.0 if t < stop else 0.0
        c = c + dt * (rate - vmax * c / (km + c))
        area += c * dt
    return area


add(michaelis_menten_infusion, np.array([1.3, 0.7, 3.05]))


def seir_age_groups(beta):
    """Compartments in a dict, contacts in a matrix."""
    contacts = np.array([[3.0, 1.0], [1.0, 2.0]])
    state = {
        "S": np.array([0.99, 0.98]),
        "E": np.array([0.01, 0.0]),
        "I": np.zeros(2),
        "R": np.zeros(2),
    }
    peak = 0.0
    for day in range(30):
        force = beta[0] * contacts @ state["I"]
        if day > 10:
            force = force * beta[1]
        infected, ill, healed = force * state["S"], 0.3 * state["E"], 0.1 * state["I"]
        state["S"] = state["S"] - infected
        state["E"] = state["E"] + infected - ill
        state["I"] = state["I"] + ill - healed
        state["R"] = state["R"] + healed
        total = state["I"].sum()
        if total > peak:
            peak = total
    return peak + state["R"] @ [1.0, 2.0]


add(seir_age_groups, np.array([0.4, 0.6]))


def reed_frost(p):
    """Chain binomial likelihood of household outbreaks, with a Counter."""
    chains = collections.Counter({(1, 0): 20, (1, 1, 0): 9, (1, 2, 0): 4, (1, 1, 1, 0): 3})
    loglik = 0.0
    for chain, count in chains.items():
        susceptible = 3
        for now, later in itertools.pairwise(chain):
            escape = (1 - p) ** now
            loglik += count * (
                math.log(math.comb(susceptible, later))
                + later * np.log(1 - escape)
                + (susceptible - later) * np.log(escape)
            )
            susceptible -= later
    return loglik


add(reed_frost, 0.23)


def gillespie_mean(k):
    """Reactions as tuples of a rate and a change; the mean-field equations."""
    reactions = [
        (lambda s: k[0] * s["A"] * s["B"], {"A": -1, "B": -1, "C": +1}),
        (lambda s: k[1] * s["C"], {"C": -1, "A": +1, "B": +1}),
        (lambda s: k[2] * s["C"], {"C": -1, "P": +1}),
    ]
    s = dict(A=1.0, B=0.8, C=0.0, P=0.0)
    for _ in range(25):
        rates = [rate(s) for rate, _ in reactions]
        s = {
            name: value
            + 0.05 * sum(r * change.get(name, 0) for r, (_, change) in zip(rates, reactions))
            for name, value in s.items()
        }
    return s["P"] - 0.1 * s["C"]


add(gillespie_mean, np.array([1.1, 0.4, 0.9]))


def ph_by_newton(c):
    """pH of a weak acid by Newton's method on the charge balance."""
    ka, kw = 1.8e-5, 1e-14
    h = 1e-4
    for _ in range(50):
        f = h + c[1] - kw / h - c[0] * ka / (ka + h)
        df = 1 + kw / h**2 + c[0] * ka / (ka + h) ** 2
        step = f / df
        h_new = h - step
        if h_new <= 0:
            h_new = h / 2
        if abs(h_new - h) < 1e-14 * h:
            h = h_new
            break
        h = h_new
    return -math.log10(h)


add(ph_by_newton, np.array([0.1, 0.02]))


def hueckel(beta):
    """Bond orders of a chain by density matrix purification."""
    n = 4
    H = np.zeros((n, n))
    for i in range(n - 1):
        H[i, i + 1] = H[i + 1, i] = beta[i]
    H = 0.5 * np.eye(n) - 0.2 * H
    P = H
    for _ in range(8):
        P2 = P @ P
        if np.trace(P) > n / 2:
            P = P2
        else:
            P = 2 * P - P2
    return np.trace(P @ H)


add(hueckel, np.array([1.0, 0.8, 1.1]))


def overlap_of_gaussians(exponents):
    """Overlap integrals of contracted s functions, from a basis in a dict."""
    basis = {"H1": ([0.15, 0.53, 0.44], 0.0), "H2": ([0.2, 0.5, 0.4], 1.4)}

    @functools.cache
    def norm(k):
        return (2 * exponents[k] / math.pi) ** 0.75

    S = {}
    for (a, (ca, xa)), (b, (cb, xb)) in itertools.product(basis.items(), repeat=2):
        s = 0
        for i, j in itertools.product(range(3), range(3)):
            p = exponents[i] + exponents[j]
            mu = exponents[i] * exponents[j] / p
            s += (
                ca[i]
                * cb[j]
                * norm(i)
                * norm(j)
                * (math.pi / p) ** 1.5
                * math.exp(-mu * (xa - xb) ** 2)
            )
        S[a, b] = s
    return S["H1", "H2"] / math.sqrt(S["H1", "H1"] * S["H2", "H2"])


add(overlap_of_gaussians, np.array([3.4, 0.62, 0.17]))


def boys(t):
    """Boys's function: a series where t is small, a closed form elsewhere."""
    if t < 1e-8:
        return 1 - t / 3
    if t > 30:
        return 0.5 * math.sqrt(math.pi / t)
    term = total = 1.0
    k = 0
    while term > 1e-16 * total:
        k += 1
        term *= 2 * t / (2 * k + 1)
        total += term
    return math.exp(-t) * total


add(boys, 2.3)


def morse_path(x):
    """Energy of a band of images with springs, as in NEB."""
    images = [np.array([-1.0, 0.0]), *x.reshape(-1, 2), np.array([1.0, 0.0])]
    V = lambda r: (r[0] ** 2 - 1) ** 2 + 2 * (r[1] - 0.3 * r[0]) ** 2
    energies = [V(r) for r in images]
    highest = max(range(1, len(images) - 1), key=lambda i: float(energies[i]) if False else i)
    springs = sum(np.sum((b - a) ** 2) for a, b in zip(images, images[1:]))
    return sum(energies) + 0.5 * springs + energies[highest]


add(morse_path, np.array([-0.5, 0.2, 0.0, 0.3, 0.5, 0.1]))


# ---- insurance, finance, econometrics ------------------------------------------------------------


def gompertz_annuity(p):
    """Present value of a life annuity until survival is negligible."""
    alpha, beta, rate = p
    survival, value, age = 1.0, 0.0, 65
    while survival > 1e-6 and age < 120:
        value += survival * (1 + rate) ** (65 - age)
        hazard = alpha * math.exp(beta * (age - 65))
        survival *= math.exp(-hazard)
        age += 1
    return value


add(gompertz_annuity, np.array([0.01, 0.1, 0.03]))


def chain_ladder(triangle):
    """Reserves by chain ladder, rows of different length."""
    rows = [triangle[0:4], triangle[4:7], triangle[7:9], triangle[9:10]]
    factors = []
    for j in range(3):
        upper = [row for row in rows if len(row) > j + 1]
        factors.append(sum(r[j + 1] for r in upper) / sum(r[j] for r in upper))
    reserve = 0.0
    for row in rows[1:]:
        ultimate = row[-1]
        for f in factors[len(row) - 1 :]:
            ultimate = ultimate * f
        reserve += ultimate - row[-1]
    return reserve


add(chain_ladder, np.array([1.0, 1.8, 2.2, 2.3, 1.1, 1.9, 2.4, 0.9, 1.6, 1.2]))


def bond_yield(price):
    """Yield to maturity by Newton with a fallback to bisection."""
    flows = [(t, 5.0 if t < 5 else 105.0) for t in range(1, 6)]
    value = lambda y: sum(c / (1 + y) ** t for t, c in flows)
    slope = lambda y: sum(-t * c / (1 + y) ** (t + 1) for t, c in flows)
    low, high = -0.5, 1.0
    y = 0.05
    for _ in range(100):
        f = value(y) - price
        if abs(f) < 1e-12:
            break
        if f > 0:
            low = y
        else:
            high = y
        y_new = y - f / slope(y)
        y = y_new if low < y_new < high else 0.5 * (low + high)
    return y


add(bond_yield, 97.0)


def american_put_psor(sigma):
    """An American put on a tree, the exercise boundary kept in a list."""
    S, K, r, T, n = 100.0, 105.0, 0.04, 0.5, 8
    dt = T / n
    u = math.exp(sigma * math.sqrt(dt))
    p = (math.exp(r * dt) - 1 / u) / (u - 1 / u)
    values = [max(K - S * u ** (2 * j - n), 0.0) for j in range(n + 1)]
    boundary = []
    for i in reversed(range(n)):
        exercised = 0
        for j in range(i + 1):
            hold = math.exp(-r * dt) * (p * values[j + 1] + (1 - p) * values[j])
            now = K - S * u ** (2 * j - i)
            if now > hold:
                exercised += 1
                values[j] = now
            else:
                values[j] = hold
        boundary.append(exercised)
    return values[0]


add(american_put_psor, 0.25)


def waterfall(losses):
    """Tranches of losses in order of seniority."""
    tranches = [("equity", 0.05), ("mezzanine", 0.1), ("senior", 0.85)]
    paid = collections.defaultdict(float)
    for loss in losses:
        remaining = loss
        for name, size in tranches:
            part = min(remaining, size)
            paid[name] += part
            remaining -= part
            if remaining <= 0:
                break
    return paid["equity"] + 2 * paid["mezzanine"] ** 2 + 3 * paid["senior"]


add(waterfall, np.array([0.03, 0.12, 0.2]))


def markov_switching(p):
    """Hamilton's filter with two regimes."""
    y = np.sin(np.arange(25.0)) * 1.5 + np.where(np.arange(25) > 12, 2.0, 0.0)
    mu, sigma = p[:2], np.exp(p[2:4])
    stay = 1 / (1 + np.exp(-p[4:6]))
    T = np.array([[stay[0], 1 - stay[0]], [1 - stay[1], stay[1]]])
    prob, loglik = np.array([0.5, 0.5]), 0.0
    for obs in y:
        predicted = T.T @ prob
        density = np.exp(-0.5 * ((obs - mu) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        joint = predicted * density
        total = joint.sum()
        loglik += np.log(total)
        prob = joint / total
    return -loglik


add(markov_switching, np.array([0.0, 2.0, 0.1, 0.2, 1.5, 1.0]))


def gjr_garch(p):
    """Asymmetric GARCH: bad news counts more."""
    omega, alpha, gamma, beta = p
    r = 0.02 * np.sin(1.7 * np.arange(60)) * (1 + 0.5 * np.cos(0.3 * np.arange(60)))
    h = np.zeros(len(r))
    h[0] = np.var(r)
    for t in range(1, len(r)):
        leverage = gamma if r[t - 1] < 0 else 0
        h[t] = omega + (alpha + leverage) * r[t - 1] ** 2 + beta * h[t - 1]
    return 0.5 * np.sum(np.log(h) + r**2 / h)


add(gjr_garch, np.array([1e-5, 0.05, 0.04, 0.8]))


def gini_by_loops(x):
    """Gini's coefficient from all pairs."""
    n, total = len(x), 0.0
    for i in range(n):
        for j in range(n):
            if i < j:
                total += abs(x[i] - x[j])
    return total / (n * sum(x))


add(gini_by_loops, R.random(7) + 0.2)


def nested_logit(b):
    """Choice probabilities of nests given as a dict of lists."""
    nests = {"road": ["car", "bus"], "rail": ["train", "tram", "metro"]}
    cost = {"car": 3.0, "bus": 1.5, "train": 2.0, "tram": 1.2, "metro": 1.6}
    chosen = {"car": 30, "bus": 12, "train": 20, "tram": 8, "metro": 25}
    lam = dict(zip(nests, 1 / (1 + np.exp(-b[1:3]))))
    utility = {name: b[0] * c for name, c in cost.items()}
    inclusive = {}
    for nest, members in nests.items():
        inclusive[nest] = np.log(sum(np.exp(utility[m] / lam[nest]) for m in members))
    bottom = np.log(sum(np.exp(lam[n] * inclusive[n]) for n in nests))
    loglik = 0
    for nest, members in nests.items():
        for m in members:
            inside = utility[m] / lam[nest] - inclusive[nest]
            loglik += chosen[m] * (inside + lam[nest] * inclusive[nest] - bottom)
    return loglik


add(nested_logit, np.array([-0.5, 0.3, -0.2]))


def kalman_missing(theta):
    """Local linear trend with missing observations."""
    y = [1.0, 1.3, None, 1.9, 2.6, None, None, 3.3, 3.1, 3.9]
    q1, q2, r = np.exp(theta)
    a, P = np.zeros(2), 10.0 * np.eye(2)
    T, Z = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([1.0, 0.0])
    ll = 0.0
    for obs in y:
        a, P = T @ a, T @ P @ T.T + np.diag([q1, q2])
        if obs is not None:
            v = obs - Z @ a
            F = Z @ P @ Z + r
            K = P @ Z / F
            a = a + K * v
            P = P - np.outer(K, K) * F
            ll -= 0.5 * (math.log(2 * math.pi) + math.log(F) + v**2 / F)
    return ll


add(kalman_missing, np.array([-2.0, -4.0, -1.5]))


# ---- statistics ----------------------------------------------------------------------------------


def eight_schools(q):
    """Log-posterior of a hierarchical model, not centred, as in Stan's manual."""
    y = [28, 8, -3, 7, -1, 1, 18, 12]
    sigma = [15, 10, 16, 11, 9, 11, 10, 18]
    mu, log_tau, eta = q[0], q[1], q[2:]
    tau = np.exp(log_tau)
    target = -0.5 * (mu / 5) ** 2 - np.log(1 + (tau / 5) ** 2) + log_tau
    for j in range(8):
        theta_j = mu + tau * eta[j]
        target += -0.5 * eta[j] ** 2
        target += -0.5 * ((y[j] - theta_j) / sigma[j]) ** 2 - math.log(sigma[j])
    return target


add(eight_schools, 0.1 * np.arange(10.0))


def changepoint_disasters(q):
    """Coal mining disasters: the switch year summed out with logsumexp."""
    counts = [4, 5, 4, 0, 1, 4, 3, 4, 0, 6, 1, 0, 1, 1, 0, 2, 0, 0, 1, 1]
    early, late = np.exp(q)
    lp = []
    for s in range(len(counts)):
        total = -math.log(len(counts))
        for t, c in enumerate(counts):
            rate = early if t < s else late
            total = total + c * np.log(rate) - rate - math.lgamma(c + 1)
        lp.append(total)
    m = max(lp)
    return m + np.log(sum(np.exp(v - m) for v in lp)) - 0.5 * np.sum(q**2)


add(changepoint_disasters, np.array([1.2, -0.1]))


class Mixture:
    """Expectation maximisation with its state in attributes."""

    def __init__(self, data, means):
        self.data, self.means = data, list(means)
        self.weights = [0.5, 0.5]
        self.history = []

    def step(self):
        r = []
        for x in self.data:
            parts = [w * math.exp(-0.5 * (x - m) ** 2) for w, m in zip(self.weights, self.means)]
            total = sum(parts)
            self.history.append(math.log(total))
            r.append([p / total for p in parts])
        for k in range(2):
            nk = sum(row[k] for row in r)
            self.weights[k] = nk / len(r)
            self.means[k] = sum(row[k] * x for row, x in zip(r, self.data)) / nk


def em_mixture(start):
    model = Mixture([0.1, -0.3, 2.2, 1.9, 0.4, 2.6], start)
    for _ in range(4):
        model.step()
    return sum(model.history[-6:])


add(em_mixture, np.array([0.2, 1.5]))


def irls_logistic(ridge):
    """Iteratively reweighted least squares until the deviance settles."""
    X = np.column_stack([np.ones(8), np.linspace(-2, 2, 8)])
    y = np.array([0, 0, 1, 0, 1, 1, 0, 1.0])
    beta, deviance = np.zeros(2), np.inf
    for iteration in range(20):
        p = 1 / (1 + np.exp(-X @ beta))
        new = -2 * np.sum(y * np.log(p) + (1 - y) * np.log(1 - p)) + ridge * beta @ beta
        if abs(new - deviance) < 1e-12 * (abs(new) + 0.1):
            break
        deviance = new
        W = p * (1 - p)
        beta = beta + np.linalg.solve(
            (X.T * W) @ X + ridge * np.eye(2), X.T @ (y - p) - ridge * beta
        )
    return deviance


add(irls_logistic, 0.3)


def huber_irls(y):
    """Robust location with a scale from the median of absolute deviations."""
    center = np.median(y)
    scale = 1.4826 * np.median(np.abs(y - center))
    for _ in range(30):
        z = (y - center) / scale
        w = np.where(np.abs(z) <= 1.345, 1.0, 1.345 / np.maximum(np.abs(z), 1e-12))
        new = np.sum(w * y) / np.sum(w)
        if abs(new - center) < 1e-10:
            break
        center = new
    return center


add(huber_irls, np.array([1.0, 1.2, 0.7, 1.1, 5.0, 0.9, 1.4]))


def kernel_density_score(h):
    """Leave-one-out log-likelihood, with a generator in a sum."""
    data = [0.1, 0.4, 0.45, 1.2, 1.5, 2.0]
    phi = lambda u: math.exp(-u * u / 2) / math.sqrt(2 * math.pi)

    def density(i):
        others = (phi((data[i] - x) / h) for j, x in enumerate(data) if j != i)
        return sum(others) / (h * (len(data) - 1))

    return sum(math.log(density(i)) for i in range(len(data)))


add(kernel_density_score, 0.4)


def loess_at(x0):
    """Local regression with tricube weights."""
    xs = np.linspace(0, 4, 9)
    ys = np.cos(xs)
    distance = np.abs(xs - x0)
    h = np.sort(distance)[5]
    W = np.zeros(9)
    for i, d in enumerate(distance):
        if d < h:
            W[i] = (1 - (d / h) ** 3) ** 3
    A = np.vander(xs - x0, 2, increasing=True)
    return np.linalg.solve(A.T @ (W[:, None] * A), A.T @ (W * ys))[0]


add(loess_at, 1.63)


# ---- signals, images, queues, games --------------------------------------------------------------


def biquads(gains):
    """A cascade of second-order sections, direct form II transposed."""
    x = np.sin(0.3 * np.arange(40)) + 0.3 * np.cos(1.9 * np.arange(40))
    sections = [(gains[0], 0.2, 0.1, -0.5, 0.2), (0.9, gains[1], 0.1, -0.3, gains[2])]
    for b0, b1, b2, a1, a2 in sections:
        y = np.zeros_like(x)
        z1 = z2 = 0.0
        for n, v in enumerate(x):
            out = b0 * v + z1
            z1 = b1 * v - a1 * out + z2
            z2 = b2 * v - a2 * out
            y[n] = out
        x = y
    return np.sqrt(np.mean(x**2))


add(biquads, np.array([0.5, 0.3, 0.1]))


def lms_equaliser(mu):
    """Least mean squares with a deque as the delay line."""
    signal = np.sign(np.sin(2.3 * np.arange(30)))
    line = collections.deque([0.0] * 3, maxlen=3)
    w, error = np.zeros(3), 0.0
    for k, s in enumerate(signal):
        line.appendleft(s + 0.4 * (signal[k - 1] if k else 0.0))
        u = np.array(line)
        e = s - w @ u
        w = w + mu * e * u
        error += e**2
    return error


add(lms_equaliser, 0.05)


def compressor(p):
    """A dynamic range compressor with attack and release."""
    x = 0.9 * np.sin(0.5 * np.arange(50)) * np.linspace(0.2, 1, 50)
    threshold, ratio = p[0], p[1]
    envelope, energy = 0.0, 0.0
    for sample in x:
        level = abs(sample)
        rate = 0.3 if level > envelope else 0.05
        envelope += rate * (level - envelope)
        gain = 1.0
        if envelope > threshold:
            gain = (threshold + (envelope - threshold) / ratio) / envelope
        energy += (gain * sample) ** 2
    return energy


add(compressor, np.array([0.4, 3.0]))


def goertzel(x):
    """Power at one frequency."""
    w = 2 * math.pi * 3 / len(x)
    s1 = s2 = 0.0
    for v in x:
        s1, s2 = v + 2 * math.cos(w) * s1 - s2, s1
    return s1**2 + s2**2 - 2 * math.cos(w) * s1 * s2


add(goertzel, R.random(16))


def fft_by_hand(x):
    """Cooley and Tukey by recursion, real and imaginary parts apart."""

    def fft(re, im):
        n = len(re)
        if n == 1:
            return re, im
        er, ei = fft(re[::2], im[::2])
        our, oi = fft(re[1::2], im[1::2])
        c, s = np.cos(2 * np.pi * np.arange(n // 2) / n), -np.sin(2 * np.pi * np.arange(n // 2) / n)
        tr, ti = c * our - s * oi, c * oi + s * our
        return np.concatenate([er + tr, er - tr]), np.concatenate([ei + ti, ei - ti])

    re, im = fft(x, np.zeros_like(x))
    return np.sum(np.log(1 + re**2 + im**2))


add(fft_by_hand, R.random(8))


def sobel_edges(img):
    """Edges by loops over pixels."""
    kx = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    h, w = img.shape
    out = np.zeros((h - 2, w - 2))
    for i in range(h - 2):
        for j in range(w - 2):
            gx = gy = 0.0
            for a in range(3):
                for b in range(3):
                    gx += kx[a][b] * img[i + a, j + b]
                    gy += kx[b][a] * img[i + a, j + b]
            out[i, j] = math.sqrt(gx * gx + gy * gy + 1e-6)
    return out.mean()


add(sobel_edges, R.random((5, 5)))


def mmc_queue(rates):
    """Mean waiting time of M/M/c with Erlang's formula, a service level as a case."""
    lam, mu = rates
    c = 3
    a = lam / mu
    rho = a / c
    if rho >= 1:
        return math.inf * lam
    terms = [a**k / math.factorial(k) for k in range(c)]
    last = a**c / (math.factorial(c) * (1 - rho))
    wait = last / (sum(terms) + last)
    return wait / (c * mu - lam)


add(mmc_queue, np.array([2.0, 0.9]))


def lindley(service):
    """Waiting times of customers in order."""
    arrivals = [0.0, 0.7, 1.1, 2.9, 3.0, 3.2]
    wait, total = 0.0, 0.0
    previous = None
    for at, s in zip(arrivals, service):
        if previous is not None:
            gap = at - previous[0]
            wait = max(0.0, wait + previous[1] - gap)
        total += wait
        previous = (at, s)
    return total


add(lindley, np.array([1.0, 0.6, 0.9, 1.4, 0.2, 0.8]))


def value_iteration(reward):
    """A grid world; the best action by max over a dict of successors."""
    moves = {0: [0, 1], 1: [0, 1, 2], 2: [1, 3], 3: [3]}
    V = [0.0] * 4
    for sweep in range(30):
        new = [reward[s] + 0.8 * max(V[t] for t in moves[s]) for s in moves]
        delta = max(abs(a - b) for a, b in zip(new, V))
        V = new
        if delta < 1e-3:
            break
    return V[0] + 2 * V[2]


add(value_iteration, np.array([0.1, -0.2, 0.3, 1.0]))


def page_rank(w):
    """Power iteration on a graph given as an adjacency dict."""
    graph = {"a": ["b", "c"], "b": ["c"], "c": ["a"], "d": ["c", "a"]}
    rank = {n: 1 / len(graph) for n in graph}
    weight = dict(zip(graph, w))
    for _ in range(10):
        new = {n: 0.15 / len(graph) for n in graph}
        for n, targets in graph.items():
            share = sum(weight[t] for t in targets)
            for t in targets:
                new[t] += 0.85 * rank[n] * weight[t] / share
        rank = new
    return rank["c"] * 3 + rank["a"]


add(page_rank, np.array([1.0, 0.6, 1.3, 0.9]))


class Kind(enum.Enum):
    LINEAR = "linear"
    RELU = "relu"
    GATE = "gate"


def layers_by_enum(w):
    """Layers told apart by an enum and a match."""
    x = np.array([0.5, -0.3])
    for kind, part in zip((Kind.LINEAR, Kind.RELU, Kind.GATE, Kind.LINEAR), w.reshape(4, 2, 2)):
        match kind:
            case Kind.LINEAR:
                x = part @ x
            case Kind.RELU:
                x = part @ np.array([v if v > 0 else 0.1 * v for v in x])
            case Kind.GATE:
                x = x / (1 + np.exp(-part @ x))
    return x @ x


add(layers_by_enum, R.random(16) - 0.4)


def rpn(x):
    """An expression in reverse Polish notation, evaluated with a stack."""
    stack = []
    operators = {"+": operator.add, "*": operator.mul, "-": operator.sub}
    for token in "x0 x1 * x2 + x0 -".split():
        if token in operators:
            b, a = stack.pop(), stack.pop()
            stack.append(operators[token](a, b))
        else:
            stack.append(x[int(token[1:])])
    (result,) = stack
    return result


add(rpn, np.array([0.4, 1.2, -0.3]))


@dataclass(frozen=True)
class Optimiser:
    rate: float
    momentum: float = 0.9
    state: dict = field(default_factory=dict)

    def update(self, name, value, slope):
        v = self.momentum * self.state.get(name, 0.0) - self.rate * slope
        self.state[name] = v
        return value + v


def unrolled_training(rate):
    """A learning rate through steps of momentum on two parameters."""
    opt = replace(Optimiser(0.0), rate=rate, state={})
    params = {"w": 0.5, "b": 0.1}
    for step in range(10):
        xs, ys = (0.0, 1.0, 2.0), (1.0, 2.9, 5.1)
        errors = [params["w"] * x + params["b"] - y for x, y in zip(xs, ys)]
        slopes = {"w": sum(e * x for e, x in zip(errors, xs)), "b": sum(errors)}
        params = {k: opt.update(k, params[k], s) for k, s in slopes.items()}
    return sum((params["w"] * x + params["b"] - y) ** 2 for x, y in zip(xs, ys))


add(unrolled_training, 0.02)


# ---- optimisation and roots ----------------------------------------------------------------------


def newton_history(a):
    """Newton's method that keeps its iterates."""
    xs = [1.0]
    while abs(xs[-1] ** 3 - a) > 1e-10:
        x = xs[-1]
        xs.append(x - (x**3 - a) / (3 * x**2))
    return xs[-1]


add(newton_history, 3.7)


def brent_like(c):
    """Regula falsi (Illinois) until the bracket is small."""
    f = lambda x: math.cos(x) - c * x
    a, b = 0.0, 2.0
    fa, fb = f(a), f(b)
    side = 0
    for _ in range(60):
        x = (fa * b - fb * a) / (fa - fb)
        fx = f(x)
        if abs(fx) < 1e-13:
            return x
        if fx * fb > 0:
            b, fb = x, fx
            if side == -1:
                fa /= 2
            side = -1
        else:
            a, fa = x, fx
            if side == 1:
                fb /= 2
            side = 1
    return x


add(brent_like, 1.3)


def backtracking(x0):
    """Steepest descent with Armijo's rule."""
    f = lambda x: (1 - x[0]) ** 2 + 5 * (x[1] - x[0] ** 2) ** 2
    g = lambda x: np.array(
        [-2 * (1 - x[0]) - 20 * x[0] * (x[1] - x[0] ** 2), 10 * (x[1] - x[0] ** 2)]
    )
    x = x0.copy()
    for _ in range(6):
        d = -g(x)
        t = 1.0
        while f(x + t * d) > f(x) - 1e-4 * t * (d @ d):
            t *= 0.5
        x = x + t * d
    return f(x)


add(backtracking, np.array([-0.5, 0.6]))


def nelder_mead_step(p):
    """One step of Nelder and Mead: sorting points, then reflection and its cases."""
    f = lambda x: (x[0] - 0.3) ** 2 + 2 * (x[1] + 0.1) ** 2 + x[0] * x[1]
    simplex = [p[0:2], p[2:4], p[4:6]]
    simplex.sort(key=f)
    best, good, worst = simplex
    middle = (best + good) / 2
    reflected = middle + (middle - worst)
    if f(reflected) < f(best):
        expanded = middle + 2 * (middle - worst)
        return f(expanded) if f(expanded) < f(reflected) else f(reflected)
    if f(reflected) < f(good):
        return f(reflected)
    return f(middle + 0.5 * (worst - middle))


add(nelder_mead_step, np.array([1.0, 0.2, 0.1, 0.9, 0.7, 0.8]))


def augmented_lagrangian(start):
    """Outer multipliers, inner gradient steps, a penalty that grows."""
    x, lam, rho = start, 0.0, 1.0
    for outer in range(3):
        for inner in range(15):
            h = x[0] + x[1] - 1
            grad = 2 * x + (lam + rho * h)
            x = x - grad / (2 + 2 * rho)
        h = x[0] + x[1] - 1
        lam += rho * h
        if abs(h) > 0.01:
            rho *= 2
    return x @ x + lam * h


add(augmented_lagrangian, np.array([0.9, -0.2]))


def simplex_projection(y):
    """Projection to the probability simplex (Duchi et al.)."""
    u = np.sort(y)[::-1]
    total, theta = 0.0, 0.0
    for j in range(len(u)):
        total += u[j]
        if u[j] - (total - 1) / (j + 1) > 0:
            theta = (total - 1) / (j + 1)
    return np.sum(np.maximum(y - theta, 0) ** 2)


add(simplex_projection, np.array([0.3, 0.9, -0.2, 0.6]))


def adaptive_simpson(p):
    """Adaptive quadrature by recursion, with a limit of depth."""
    f = lambda t: math.exp(-p[0] * t * t) + p[1] * t

    def rule(a, b):
        return (b - a) / 6 * (f(a) + 4 * f((a + b) / 2) + f(b))

    def integrate(a, b, whole, depth):
        m = (a + b) / 2
        left, right = rule(a, m), rule(m, b)
        if depth == 0 or abs(left + right - whole) < 1e-6:
            return left + right + (left + right - whole) / 15
        return integrate(a, m, left, depth - 1) + integrate(m, b, right, depth - 1)

    return integrate(0.0, 2.0, rule(0.0, 2.0), 4)


add(adaptive_simpson, np.array([0.8, 0.5]))


def agm(x):
    """The mean of arithmetic and geometric means, by recursion."""

    def mean(a, b):
        if abs(a - b) < 1e-14 * a:
            return a
        return mean((a + b) / 2, math.sqrt(a * b))

    return mean(x[0], x[1])


add(agm, np.array([1.0, 2.7]))


def event_queue(rates):
    """Events taken from a list in the order of their times, until a horizon."""
    queue = [(1 / rates[0], 0), (1 / rates[1], 1)]
    level = 0.0
    for _ in range(8):
        queue.sort(key=lambda e: e[0])
        when, kind = queue.pop(0)
        if when > 3.0:
            break
        level += 0.3 * when if kind == 0 else -0.1 * when
        queue.append((when + 1 / rates[kind], kind))
    return level


add(event_queue, np.array([1.1, 1.9]))


def polygon_clip(shift):
    """Area of a square clipped by a half plane (Sutherland and Hodgman)."""
    square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    inside = lambda p: p[0] + 0.5 * p[1] < shift
    out = []
    for k, current in enumerate(square):
        before = square[k - 1]
        if inside(current) != inside(before):
            da = before[0] + 0.5 * before[1] - shift
            db = current[0] + 0.5 * current[1] - shift
            t = da / (da - db)
            out.append(
                (before[0] + t * (current[0] - before[0]), before[1] + t * (current[1] - before[1]))
            )
        if inside(current):
            out.append(current)
    area = 0.0
    for (x0, y0), (x1, y1) in zip(out, out[1:] + out[:1]):
        area += 0.5 * (x0 * y1 - x1 * y0)
    return area


add(polygon_clip, 0.8)


# ---- classes with operators, properties and the like ---------------------------------------------


class Quaternion:
    """Rotations with operators; one is normed when it is not."""

    def __init__(self, w, x, y, z):
        self.w, self.x, self.y, self.z = w, x, y, z

    def __mul__(self, other):
        if isinstance(other, Quaternion):
            a, b = self, other
            return Quaternion(
                a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z,
                a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
                a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x,
                a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w,
            )
        return Quaternion(*(other * c for c in self))

    __rmul__ = __mul__

    def __neg__(self):
        return self.conjugate

    def __iter__(self):
        yield from (self.w, self.x, self.y, self.z)

    def __abs__(self):
        return np.sqrt(np.array(list(self)) @ np.array(list(self)))

    @property
    def conjugate(self):
        return Quaternion(self.w, -self.x, -self.y, -self.z)

    @property
    def matrix(self):
        w, x, y, z = self
        return np.array([
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ])  # fmt: skip

    def __bool__(self):
        return bool(abs(abs(self) - 1) < 1e-9)


def attitude(q):
    p = Quaternion(*q)
    if not p:
        p = (1 / abs(p)) * p
    v = p * Quaternion(0.0, 1.0, 2.0, -1.0) * -p
    return np.sum(p.matrix @ np.array([1.0, 2.0, -1.0]) * [0.5, 1.0, 2.0]) + v.y


add(attitude, np.array([0.8, 0.1, -0.3, 0.4]))


class Poly:
    """A polynomial by its coefficients, lowest first."""

    def __init__(self, *c):
        self.c = np.array(c)

    def __add__(self, other):
        if not isinstance(other, Poly):
            other = Poly(other)
        n = max(len(self.c), len(other.c))
        total = np.zeros(n)
        total[: len(self.c)] += self.c
        total[: len(other.c)] += other.c
        return Poly(*total)

    __radd__ = __add__

    def __mul__(self, other):
        product = np.zeros(len(self.c) + len(other.c) - 1)
        for i, a in enumerate(self.c):
            for j, b in enumerate(other.c):
                product[i + j] += a * b
        return Poly(*product)

    def __pow__(self, n):
        result = Poly(1.0)
        for _ in range(n):
            result = result * self
        return result

    def __call__(self, x):
        value = 0.0
        for c in reversed(self.c):
            value = value * x + c
        return value

    def __getitem__(self, k):
        return self.c[k] if k < len(self.c) else 0.0

    def __len__(self):
        return len(self.c)


def poly_class(x):
    p, q = Poly(x[0], 1.0, x[1]), Poly(1.0, x[2])
    r = 2.0 + p * q**2 + q
    return r(0.7) + r[2] * len(r) + r[9]


add(poly_class, np.array([0.3, -0.7, 1.2]))


@functools.total_ordering
class Interval:
    """Interval arithmetic; the order is by the middle."""

    def __init__(self, low, high):
        self.low, self.high = (low, high) if low <= high else (high, low)

    def __add__(self, o):
        return Interval(self.low + o.low, self.high + o.high)

    def __sub__(self, o):
        return Interval(self.low - o.high, self.high - o.low)

    def __mul__(self, o):
        ends = [a * b for a in (self.low, self.high) for b in (o.low, o.high)]
        return Interval(min(ends), max(ends))

    def __eq__(self, o):
        return self.low == o.low and self.high == o.high

    def __lt__(self, o):
        return self.low + self.high < o.low + o.high

    def __contains__(self, v):
        return self.low <= v <= self.high

    @property
    def width(self):
        return self.high - self.low


def interval_newton(x):
    a, b = Interval(x[0], x[1]), Interval(-0.5, x[2])
    c = a * b - a + b
    if 0.0 in c:
        return c.width if a < b else c.width**2
    return c.low


add(interval_newton, np.array([0.3, -0.7, 1.2]))


class Camera:
    """Intrinsics as properties, with a setter that checks, and a cache."""

    def __init__(self, focal, center):
        self.focal = focal
        self.center = center

    @property
    def focal(self):
        return self._focal

    @focal.setter
    def focal(self, value):
        self._focal = value if value > 0 else -value

    @functools.cached_property
    def K(self):
        return np.array(
            [[self.focal, 0, self.center[0]], [0, self.focal, self.center[1]], [0, 0, 1]]
        )

    def __matmul__(self, point):
        p = self.K @ point
        return p[:2] / p[2]


def reprojection(p):
    camera = Camera(p[0], p[1:3])
    seen = {(0.1, 0.2, 2.0): (0.1, 0.3), (-0.3, 0.1, 1.5): (-0.2, 0.2)}
    return sum(np.sum((camera @ np.array(at) - pixel) ** 2) for at, pixel in seen.items())


add(reprojection, np.array([-1.3, 0.05, 0.1]))


@functools.singledispatch
def stiffness(element, E):
    raise TypeError(type(element))


@dataclass
class Bar:
    length: float


@dataclass
class Spring:
    k: float


@stiffness.register
def _(element: Bar, E):
    return np.array([[1, -1], [-1, 1]]) * (E / element.length)


@stiffness.register
def _(element: Spring, E):
    return np.array([[element.k, -element.k], [-element.k, element.k]])


def chain_of_elements(p):
    elements = [Bar(0.5), Spring(p[0]), Bar(p[1])]
    K = np.zeros((4, 4))
    for i, e in enumerate(elements):
        K[i : i + 2, i : i + 2] += stiffness(e, p[2])
    return np.linalg.solve(K[1:, 1:], [0.0, 0.0, 1.0])[-1]


add(chain_of_elements, np.array([2.0, 0.8, 3.0]))


class Positive:
    """A descriptor that keeps logarithms."""

    def __set_name__(self, owner, name):
        self.name = "_log_" + name

    def __get__(self, instance, owner=None):
        return np.exp(getattr(instance, self.name))

    def __set__(self, instance, value):
        setattr(instance, self.name, np.log(value) if value > 1e-3 else value * 1e3 - 7.9)


class Gamma:
    shape, rate = Positive(), Positive()

    def __init__(self, shape, rate):
        self.shape, self.rate = shape, rate

    def __iadd__(self, data):
        self.shape += len(data)
        self.rate += np.array([abs(v) for v in data]).sum()
        return self

    def __len__(self):
        return 2


def conjugate_update(p):
    posterior = Gamma(p[0], p[1])
    for batch in ([0.3, -0.1], [p[2]], []):
        if batch:
            posterior += batch
    return posterior.shape / posterior.rate**2 * len(posterior)


add(conjugate_update, np.array([1.2, 0.7, 0.4]))


class Account:
    """A ledger: `in`, `del`, `[]` and iteration of the user's own."""

    def __init__(self):
        self._entries = {}

    def __setitem__(self, name, amount):
        self._entries[name] = amount * (0.9 if amount > 1 else 1.0)

    def __getitem__(self, name):
        return self._entries[name]

    def __delitem__(self, name):
        del self._entries[name]

    def __contains__(self, name):
        return name in self._entries

    def __iter__(self):
        for name in sorted(self._entries):
            yield self._entries[name] if self._entries[name] > 0 else 0.0 * self._entries[name]


def ledger(x):
    book = Account()
    for k, v in enumerate(x):
        book[f"entry {k}"] = v
    if "entry 1" in book:
        del book["entry 1"]
    return sum(v**2 for v in book) + max(book) * sum(book)


add(ledger, np.array([0.3, -0.7, 1.2, 0.9]))


def with_state(x):
    """A context manager as a class, one as a generator, and a closure that counts."""
    scale = [1.0]

    class Scaled:
        def __init__(self, by):
            self.by = by

        def __enter__(self):
            scale.append(scale[-1] * self.by)
            return scale[-1]

        def __exit__(self, *error):
            scale.pop()

    total = 0.0
    with Scaled(x[0]) as s, Scaled(2.0):
        total += s * x[1] * scale[-1]
    return total + scale[-1] * x[2]


add(with_state, np.array([0.3, -0.7, 1.2]))
