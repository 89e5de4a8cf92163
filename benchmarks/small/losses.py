"""Ordinary small functions, as people try first: losses, rotations, matrix functions, steps."""

from __future__ import annotations

import numpy as np

import symgrad as sg

f64 = sg.f64
SHORT = {"value_and_grad": "both", "jacobian": "jac"}


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def rastrigin(x):
    return 10 * x.size + np.sum(x**2 - 10 * np.cos(2 * np.pi * x))


def ackley(x):
    a = -20 * np.exp(-0.2 * np.sqrt(np.mean(x**2)))
    return a - np.exp(np.mean(np.cos(2 * np.pi * x))) + 20 + np.e


def quadratic(x, a, b):
    return 0.5 * x @ a @ x - b @ x


def logistic(w, x, y):
    return np.mean(np.log1p(np.exp(-y * (x @ w))))


def least_squares(w, x, y):
    return np.sum((x @ w - y) ** 2)


def softmax_loss(w, x, y):
    z = x @ w
    return -np.sum(y * (z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))))


def network(w, v, x):
    return np.sum(np.tanh(x @ w) @ v)


def gaussian(x, mean, s):
    d = x - mean
    return 0.5 * d @ np.linalg.solve(s, d) + 0.5 * np.linalg.slogdet(s)[1]


def rotation(q):
    a, b, c = q[0], q[1], q[2]
    rx = np.array([[1.0, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1.0, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1.0]])
    return rz @ ry @ rx


def turned(q, x):
    return rotation(q) @ x


def quaternion(q):
    w, x, y, z = q / np.linalg.norm(q)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def lorenz(s):
    return np.array([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]])


def pendulum(s):
    return np.array([s[1], -9.81 * np.sin(s[0]) - 0.1 * s[1]])


def rk4(f):
    def step(s):
        h = 0.01
        k1 = f(s)
        k2 = f(s + h / 2 * k1)
        k3 = f(s + h / 2 * k2)
        k4 = f(s + h * k3)
        return s + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    step.__name__ = f"rk4_{f.__name__}"
    return step


def kalman(x, p, z):
    a = np.array([[1.0, 0.1], [0, 1]])
    h = np.array([[1.0, 0]])
    x, p = a @ x, a @ p @ a.T + 0.01 * np.eye(2)
    s = h @ p @ h.T + 0.5
    k = p @ h.T / s
    return x + k @ (z - h @ x), (np.eye(2) - k @ h) @ p


def bearing(x, landmark):
    d = landmark - x[:2]
    return np.array([np.sqrt(d @ d), np.arctan2(d[1], d[0]) - x[2]])


def black_scholes(s, k, t, r, v):
    d = (np.log(s / k) + (r + v**2 / 2) * t) / (v * np.sqrt(t))
    n = lambda x: 1 / (1 + np.exp(-1.702 * x))  # noqa: E731
    return s * n(d) - k * np.exp(-r * t) * n(d - v * np.sqrt(t))


def lennard_jones(x):
    d = x[:, None] - x[None] + 1e3 * np.eye(len(x))[:, :, None]
    r = np.sum(d**2, axis=2)
    return np.sum(1 / r**6 - 1 / r**3) / 2


def huber(w, x, y):
    r = x @ w - y
    return np.sum(np.where(np.abs(r) < 1, 0.5 * r**2, np.abs(r) - 0.5))


def polynomial(c, x):
    return np.sum((((c[3] * x + c[2]) * x + c[1]) * x + c[0]) ** 2)


def cubic(x):
    return np.sum(x**3 - 2 * x**2 + x)


def named(f, label):
    f.__name__ = label
    return f


def derived(how, f, **options):
    """A derivative with a name for C."""
    return named(getattr(sg, how)(f, **options), f"{SHORT.get(how, how)}_{f.__name__}")


def of(f, label):
    """A function whose name says its size."""

    def call(*args):
        return f(*args)

    return named(call, label)


def cases():
    """Functions, and the specs of their arguments."""
    for n in (2, 3, 5, 10):
        yield derived("value_and_grad", of(rosenbrock, f"rosenbrock{n}")), (f64[n],)
        yield derived("hessian", of(rosenbrock, f"rosenbrock{n}")), (f64[n],)
    yield rosenbrock, (f64[10],)
    yield himmelblau, (f64[2],)
    yield derived("value_and_grad", himmelblau), (f64[2],)
    yield derived("hessian", himmelblau), (f64[2],)
    for n in (3, 8):
        yield derived("grad", of(rastrigin, f"rastrigin{n}")), (f64[n],)
        yield derived("grad", of(ackley, f"ackley{n}")), (f64[n],)
    for n in (2, 3, 6):
        yield derived("value_and_grad", of(quadratic, f"quadratic{n}")), (f64[n], f64[n, n], f64[n])
        yield of(np.matmul, f"product{n}"), (f64[n, n], f64[n, n])
        yield of(np.linalg.inv, f"inverse{n}"), (f64[n, n],)
        yield of(np.linalg.det, f"det{n}"), (f64[n, n],)
        yield of(np.linalg.solve, f"solve{n}"), (f64[n, n], f64[n])
        yield derived("value_and_grad", of(gaussian, f"gaussian{n}")), (f64[n], f64[n], f64[n, n])
        yield of(lambda a, x: a @ x, f"matvec{n}"), (f64[n, n], f64[n])
    for m, n in ((5, 2), (20, 3), (50, 4)):
        many = f64[n], f64[m, n], f64[m]
        yield derived("value_and_grad", of(logistic, f"logistic{m}")), many
        yield derived("grad", of(least_squares, f"least_squares{m}")), many
        yield derived("grad", of(huber, f"huber{m}")), many
        yield derived("hessian", of(logistic, f"logistic{m}")), many
    yield derived("grad", softmax_loss), (f64[3, 3], f64[10, 3], f64[10, 3])
    yield derived("grad", network, argnums=(0, 1)), (f64[3, 8], f64[8], f64[5, 3])
    yield rotation, (f64[3],)
    yield turned, (f64[3], f64[3])
    yield derived("jacobian", turned, argnums=(0, 1)), (f64[3], f64[3])
    yield quaternion, (f64[4],)
    yield derived("jacobian", quaternion), (f64[4],)
    for f, n in ((lorenz, 3), (pendulum, 2)):
        yield rk4(f), (f64[n],)
        yield derived("jacobian", rk4(f)), (f64[n],)
    yield kalman, (f64[2], f64[2, 2], f64[1])
    yield bearing, (f64[3], f64[2])
    yield derived("jacobian", bearing), (f64[3], f64[2])
    yield black_scholes, (f64,) * 5
    yield derived("grad", black_scholes, argnums=(0, 1, 2, 3, 4)), (f64,) * 5
    yield derived("value_and_grad", lennard_jones), (f64[4, 3],)
    yield derived("grad", polynomial), (f64[4], f64[12])
    for n in (4, 16, 64):
        yield derived("grad", of(cubic, f"cubic{n}")), (f64[n],)
        yield of(cubic, f"cubic{n}"), (f64[n],)
