"""Functions from textbooks, forums and tutorials of libraries, written without a look at symgrad.

An entry is refused for as long as it is refused.
"""

# ruff: noqa: B905
from __future__ import annotations

import collections
import functools
import itertools
import math

import numpy as np
import scipy.special
from scipy.special import i0e, j0

from corpus.entry import Collection

add = Collection()
rng = np.random.default_rng(77)

# ---- statistics ----------------------------------------------------------------------------------

ANGLES = rng.uniform(-3, 3, 25)


def von_mises(p):
    """Directions on a circle."""
    mu, kappa = p[0], np.exp(p[1])
    return -np.sum(kappa * np.cos(ANGLES - mu) - np.log(2 * np.pi * i0e(kappa)) - kappa)


add(von_mises, np.array([0.3, 0.5]))


def ledoit_wolf_like(x):
    """Shrunk covariance: sum of logs of eigenvalues and a condition number."""
    X = x.reshape(6, 3)
    X = X - X.mean(axis=0)
    S = X.T @ X / len(X)
    S = 0.8 * S + 0.2 * np.trace(S) / 3 * np.eye(3)
    w, _ = np.linalg.eigh(S)
    return np.sum(np.log(w)) + 0.1 * w[-1] / w[0]


add(ledoit_wolf_like, rng.normal(size=18))


def pca_reconstruction(x):
    """Loss of a projection onto the two leading eigenvectors."""
    X = x.reshape(8, 3)
    Xc = X - X.mean(0)
    vals, vecs = np.linalg.eigh(Xc.T @ Xc / (len(X) - 1))
    order = np.argsort(vals)[::-1]
    W = vecs[:, order[:2]]
    return np.sum((Xc - Xc @ W @ W.T) ** 2)


add(pca_reconstruction, rng.normal(size=24))

EVENTS = np.sort(rng.uniform(0, 5, 15))


def hawkes(p):
    """Self-exciting events: log-likelihood by Ogata's recursion."""
    mu, alpha, beta = np.exp(p)
    R, ll = 0.0, 0.0
    last = None
    for t in EVENTS:
        if last is not None:
            R = math.exp(-beta * (t - last)) * (1 + R)
        ll += math.log(mu + alpha * R)
        last = t
    T = 5.0
    return -(ll - mu * T - alpha / beta * np.sum(1 - np.exp(-beta * (T - EVENTS))))


add(hawkes, np.array([-0.5, -1.0, 0.4]))

WINS = [("a", "b"), ("a", "c"), ("b", "c"), ("c", "a"), ("b", "a"), ("a", "c")]


def bradley_terry(s):
    """Strengths from games, in a dict by name."""
    strength = dict(zip("abc", s))
    total = 0.0
    for winner, loser in WINS:
        total -= math.log(1 / (1 + math.exp(strength[loser] - strength[winner])))
    return total + 0.01 * sum(v * v for v in strength.values())


add(bradley_terry, np.array([0.4, -0.1, 0.2]))


def elo_season(k):
    """Ratings that are updated game by game."""
    rating = collections.defaultdict(float)
    loss = 0.0
    for winner, loser in WINS * 2:
        p = 1 / (1 + 10 ** ((rating[loser] - rating[winner]) / 4))
        loss -= np.log(p)
        rating[winner] += k * (1 - p)
        rating[loser] -= k * (1 - p)
    return loss


add(elo_season, 0.7)


def change_point(p, y):
    """Two means, with a soft point of change and a hard penalty."""
    m1, m2, at = p
    total = 0.0
    for i, v in enumerate(y):
        w = 1 / (1 + np.exp(-(i - at)))
        total += (1 - w) * (v - m1) ** 2 + w * (v - m2) ** 2
    if m1 > m2:
        total += 10 * (m1 - m2) ** 2
    return total


add(change_point, np.array([0.2, 1.1, 4.5]), rng.normal(size=10))


def kaplan_meier_area(t):
    """Area under a product-limit curve with smooth weights."""
    order = np.argsort(t)
    s, area, before = 1.0, 0.0, 0.0
    n = len(t)
    for rank, idx in enumerate(order):
        area += s * (t[idx] - before)
        before = t[idx]
        s *= 1 - 1 / (n - rank)
    return area + np.std(t, ddof=1)


add(kaplan_meier_area, np.array([2.0, 0.7, 3.1, 1.4]))


def isotonic_pav(y):
    """Pool adjacent violators with a stack of blocks."""
    blocks = []
    for v in y:
        blocks.append([v, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            v2, n2 = blocks.pop()
            v1, n1 = blocks.pop()
            blocks.append([(v1 * n1 + v2 * n2) / (n1 + n2), n1 + n2])
    return sum(n * b**2 for b, n in blocks)


add(isotonic_pav, np.array([1.0, 2.0, 1.5, 3.0]))

# ---- numerical methods ---------------------------------------------------------------------------


def simpson(f, a, b, n=20):
    h = (b - a) / n
    total = f(a) + f(b)
    for i in range(1, n):
        total += (4 if i % 2 else 2) * f(a + i * h)
    return total * h / 3


def bessel_integral(p):
    """A diffraction pattern: an integral with a Bessel function, by Simpson's rule."""
    return simpson(lambda r: r * np.exp(-p[0] * r * r) * j0(p[1] * r), 0.0, 2.0)


add(bessel_integral, np.array([0.6, 1.7]))


def romberg(p):
    f = lambda t: np.exp(p[0] * t) * np.sin(p[1] * t)
    R = [[0.0] * (k + 1) for k in range(4)]
    h = 1.0
    R[0][0] = 0.5 * h * (f(0.0) + f(1.0))
    for k in range(1, 4):
        h /= 2
        R[k][0] = 0.5 * R[k - 1][0] + h * sum(
            f((2 * i - 1) * h) for i in range(1, 2 ** (k - 1) + 1)
        )
        for j in range(1, k + 1):
            R[k][j] = R[k][j - 1] + (R[k][j - 1] - R[k - 1][j - 1]) / (4**j - 1)
    return R[3][3]


add(romberg, np.array([0.4, 1.3]))


def thomas(a, b, c, d):
    """A tridiagonal system, in place."""
    n = len(d)
    b, d = b.copy(), d.copy()
    for i in range(1, n):
        w = a[i - 1] / b[i - 1]
        b[i] -= w * c[i - 1]
        d[i] -= w * d[i - 1]
    x = np.empty(n)
    x[-1] = d[-1] / b[-1]
    for i in range(n - 2, -1, -1):
        x[i] = (d[i] - c[i] * x[i + 1]) / b[i]
    return x


def crank_nicolson(u):
    n = u.size
    off, on = np.full(n - 1, -0.3), np.full(n, 1.6)
    for _ in range(4):
        right = 0.4 * u
        right[1:] += 0.3 * u[:-1]
        right[:-1] += 0.3 * u[1:]
        u = thomas(off, on, off, right)
    return np.sum(u**2) + u[n // 2]


add(crank_nicolson, rng.normal(size=7))


def jacobi_poisson(f):
    """Sweeps of Gauss-Seidel on a grid."""
    u = np.zeros((5, 5))
    for _ in range(3):
        for i in range(1, 4):
            for j in range(1, 4):
                u[i, j] = 0.25 * (u[i - 1, j] + u[i + 1, j] + u[i, j - 1] + u[i, j + 1] - f[i, j])
    return np.sum(u * u)


add(jacobi_poisson, rng.normal(size=(5, 5)))


def secant_or_break(c):
    """Root of cos t = c t by the secant method, at most 30 steps."""
    f = lambda t: math.cos(t) - c * t
    a, b = 0.0, 1.0
    fa, fb = f(a), f(b)
    for _ in range(30):
        if abs(fb) < 1e-12 or fa == fb:
            break
        a, b, fa = b, b - fb * (b - a) / (fb - fa), fb
        fb = f(b)
    return b


add(secant_or_break, 0.8)


def adaptive_heun(k):
    """An integrator that takes a step again, smaller, if it was too bold."""
    y, t, h = 1.0, 0.0, 0.4
    rejected = 0
    while t < 1.0 - 1e-12:
        h = min(h, 1.0 - t)
        k1 = -k * y + np.sin(3 * t)
        k2 = -k * (y + h * k1) + np.sin(3 * (t + h))
        err = abs(h * (k2 - k1) / 2)
        if err < 0.02:
            t += h
            y += h * (k1 + k2) / 2
            h *= 1.5
        else:
            rejected += 1
            h *= 0.5
    return y + 0 * rejected


add(adaptive_heun, 2.2)


def newton_fractal_energy(z):
    """Newton's method for z³ = 1, in two reals."""
    x, y = z
    for _ in range(6):
        a, b = x * x - y * y, 2 * x * y
        fr, fi = x * a - y * b - 1, x * b + y * a
        d = 9 * (a * a + b * b)
        x, y = x - 3 * (fr * a + fi * b) / d, y - 3 * (fi * a - fr * b) / d
    return (x - 1) ** 2 + y**2 + x


add(newton_fractal_energy, np.array([0.9, 0.4]))


def gram_schmidt(m):
    """Modified Gram-Schmidt; columns appended to a list."""
    basis = []
    for v in m.T:
        for b in basis:
            v = v - (b @ v) * b
        basis.append(v / np.linalg.norm(v))
    return np.stack(basis, axis=1) @ np.arange(1.0, 4.0)


add(gram_schmidt, rng.normal(size=(4, 3)))


def lu_det(m):
    """A determinant by elimination on a list of rows."""
    rows = [list(r) for r in m]
    det = 1.0
    for i in range(len(rows)):
        det *= rows[i][i]
        for r in rows[i + 1 :]:
            factor = r[i] / rows[i][i]
            for j in range(i, len(rows)):
                r[j] -= factor * rows[i][j]
    return det


add(lu_det, rng.normal(size=(3, 3)) + 2 * np.eye(3))


def de_casteljau(p):
    """A point of a Bézier curve, and its length along samples."""
    control = p.reshape(4, 2)

    def point(t):
        pts = [c for c in control]
        while len(pts) > 1:
            pts = [(1 - t) * a + t * b for a, b in zip(pts, pts[1:])]
        return pts[0]

    samples = [point(t) for t in np.linspace(0, 1, 9)]
    return sum(np.hypot(*(b - a)) for a, b in itertools.pairwise(samples))


add(de_casteljau, rng.normal(size=8))


def clenshaw(c):
    """A Chebyshev series with `reduce`."""
    t = 0.3
    b1, b2 = functools.reduce(lambda s, a: (a + 2 * t * s[0] - s[1], s[0]), c[:0:-1], (0.0, 0.0))
    return c[0] + t * b1 - b2


add(clenshaw, rng.normal(size=6))

# ---- physics, games and engineering --------------------------------------------------------------


class Vec:
    """A vector of the user's own."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __add__(self, other):
        return Vec(self.x + other.x, self.y + other.y)

    def __sub__(self, other):
        return Vec(self.x - other.x, self.y - other.y)

    def __mul__(self, k):
        return Vec(self.x * k, self.y * k)

    __rmul__ = __mul__

    @property
    def length(self):
        return math.hypot(self.x, self.y)


def three_bodies(masses):
    pos = [Vec(1.0, 0.0), Vec(-0.5, 0.8), Vec(-0.5, -0.8)]
    vel = [Vec(0.0, 0.5), Vec(-0.4, -0.2), Vec(0.4, -0.3)]
    for _ in range(5):
        for i, j in itertools.combinations(range(3), 2):
            d = pos[j] - pos[i]
            pull = d * (0.05 / d.length**3)
            vel[i] = vel[i] + masses[j] * pull
            vel[j] = vel[j] - masses[i] * pull
        pos = [p + v * 0.05 for p, v in zip(pos, vel)]
    return sum(m * (v.x**2 + v.y**2) / 2 for m, v in zip(masses, vel))


add(three_bodies, np.array([1.0, 0.8, 1.2]))


def ball_with_losses(p):
    """Height after some time, with losses at each bounce."""
    height, velocity = p[0], 0.0
    bounces = 0
    for _ in range(40):
        velocity -= 9.81 * 0.02
        height += velocity * 0.02
        if height < 0:
            height = -height
            velocity = -p[1] * velocity
            bounces += 1
    return height + 0.1 * velocity


add(ball_with_losses, np.array([0.5, 0.8]))


def pid_controller(gains):
    kp, ki, kd = gains
    state, integral, previous, cost = 0.0, 0.0, None, 0.0
    for step in range(30):
        error = (1.0 if step > 3 else 0.0) - state
        integral = np.clip(integral + 0.1 * error, -2, 2)
        slope = 0.0 if previous is None else (error - previous) / 0.1
        previous = error
        u = kp * error + ki * integral + kd * slope
        u = max(-1.5, min(1.5, u))
        state += 0.1 * (u - 0.5 * state)
        cost += error**2 + 0.01 * u**2
    return cost


add(pid_controller, np.array([1.2, 0.4, 0.05]))


def ray_sphere(p):
    """Brightness of a sphere where a ray hits it, and of the sky elsewhere."""
    origin, direction = np.zeros(3), p / np.sqrt(p @ p)
    centre, radius = np.array([0.2, 0.1, 3.0]), 1.0
    to = origin - centre
    b = 2 * direction @ to
    c = to @ to - radius**2
    disc = b * b - 4 * c
    if disc < 0:
        return 0.1 + 0.5 * direction[1]
    t = (-b - np.sqrt(disc)) / 2
    normal = (origin + t * direction - centre) / radius
    light = np.array([0.5, 0.7, -0.6])
    return max(0.0, normal @ light) * 0.9 + 0.05


add(ray_sphere, np.array([0.1, 0.05, 1.0]))


def snell_path(x):
    """Time of a ray through layers, by their borders."""
    speeds = {"air": 1.0, "water": 0.75, "glass": 0.66}
    layers = [("air", 1.0), ("water", 0.5), ("glass", 0.3)]
    points = [0.0, *x, 2.0]
    return sum(
        math.sqrt((b - a) ** 2 + depth**2) / speeds[name]
        for (name, depth), a, b in zip(layers, points, points[1:])
    )


add(snell_path, np.array([0.9, 1.5]))


def ising_energy(j):
    """Fixed spins, couplings of a grid, periodic."""
    spins = np.sign(rng_spins())
    return -(
        np.sum(j[0] * spins * np.roll(spins, 1, 0) + j[1] * spins * np.roll(spins, -1, 1)) ** 2
    )


def rng_spins():
    return np.array([[1.0, -1, 1], [-1, -1, 1], [1, 1, -1]])


add(ising_energy, np.array([0.4, 0.7]))


def kepler_to_tolerance(p):
    """Position on an ellipse: Kepler's equation by Newton, to a tolerance."""
    e, mean = p
    big = mean if e < 0.8 else math.pi
    while True:
        step = (big - e * math.sin(big) - mean) / (1 - e * math.cos(big))
        big -= step
        if abs(step) < 1e-13:
            break
    return math.cos(big) - e + 2 * math.sqrt(1 - e * e) * math.sin(big)


add(kepler_to_tolerance, np.array([0.3, 1.1]))

# ---- learning ------------------------------------------------------------------------------------

TREE = {"at": 0.2, "no": {"value": 0}, "yes": {"at": 0.9, "no": {"value": 1}, "yes": {"value": 2}}}


def decision_tree(leaves, x):
    """A recursive walk through a tree of dicts, soft in its leaves."""

    def predict(node, v):
        if "value" in node:
            return leaves[node["value"]]
        return predict(node["yes" if v > node["at"] else "no"], v)

    return sum((predict(TREE, v) - v**2) ** 2 for v in x)


add(decision_tree, np.array([0.1, 0.4, 0.8]), np.array([0.0, 0.5, 1.2, 0.7]))


def adam_run(rate):
    """Ten steps of Adam on a quadratic; the rate is what is learned."""
    w, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for t in range(1, 11):
        g = 2 * w * np.array([1.0, 3.0])
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g**2
        w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
    return np.sum(w**2)


add(adam_run, 0.1)


def batch_norm_net(params, X):
    hidden = X @ params["W"] + params["b"]
    hidden = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-5)
    hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
    return np.mean((hidden @ params["v"] - 1) ** 2)


add(
    batch_norm_net,
    {"W": rng.normal(size=(3, 4)), "b": np.zeros(4), "v": rng.normal(size=4)},
    rng.normal(size=(6, 3)),
)


def edit_distance_soft(costs):
    """Levenshtein's table with learned costs and a smooth minimum."""
    a, b = "kitten", "sitting"
    insert, delete, change = np.exp(costs)
    D = np.zeros((len(a) + 1, len(b) + 1))
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            if i == 0 or j == 0:
                D[i, j] = i * delete + j * insert
                continue
            options = [D[i - 1, j] + delete, D[i, j - 1] + insert]
            options.append(D[i - 1, j - 1] + (0.0 if a[i - 1] == b[j - 1] else change))
            D[i, j] = -0.2 * scipy.special.logsumexp(-np.array(options) / 0.2)
    return D[-1, -1]


add(edit_distance_soft, np.array([0.1, -0.2, 0.3]))


def viterbi_score(emit):
    """The best path's score, by maxima."""
    move = np.log(np.array([[0.7, 0.3], [0.4, 0.6]]))
    score = emit[0]
    for row in emit[1:]:
        score = np.max(score[:, None] + move, axis=0) + row
    return np.max(score)


add(viterbi_score, rng.normal(size=(5, 2)))


def k_nearest(q):
    """Mean of the targets of the three nearest points, by distance weights."""
    points = np.array([[0.0, 0.1], [1.0, 0.9], [0.4, 0.5], [0.9, 0.2], [0.3, 0.8]])
    targets = np.array([0.1, 0.9, 0.4, 0.6, 0.5])
    d = np.sqrt(((points - q) ** 2).sum(axis=1))
    nearest = np.argsort(d)[:3]
    w = 1 / (d[nearest] + 0.1)
    return np.average(targets[nearest], weights=w)


add(k_nearest, np.array([0.45, 0.35]))


def spectral_radius(m):
    """Power iteration until it stops to change, then Rayleigh's quotient."""
    A = m @ m.T + np.eye(3)
    v = np.ones(3)
    for _ in range(100):
        w = A @ v
        w = w / np.linalg.norm(w)
        if np.linalg.norm(w - v) < 1e-10:
            break
        v = w
    return w @ A @ w


add(spectral_radius, rng.normal(size=(3, 3)))
