"""Nine small kernels of robotics, control and estimation, in plain NumPy."""

from __future__ import annotations

import numpy as np

import symgrad as sg

# ---- a 6-joint arm, by Denavit and Hartenberg ----------------------------------------------------

A = (0.0, -0.425, -0.39225, 0.0, 0.0, 0.0)
D = (0.089159, 0.0, 0.0, 0.10915, 0.09465, 0.0823)
ALPHA = (np.pi / 2, 0.0, 0.0, np.pi / 2, -np.pi / 2, 0.0)


def link(q, a, d, alpha):
    """The 4 x 4 transform of one joint."""
    ca, sa = np.cos(alpha), np.sin(alpha)
    c, s = np.cos(q), np.sin(q)
    rotation = np.array([[c, -s * ca, s * sa], [s, c * ca, -c * sa], [0.0, sa, ca]])
    place = np.array([[a * c], [a * s], [d]])
    return np.block([[rotation, place], [np.zeros((1, 3)), np.ones((1, 1))]])


def fk(q):
    """Pose of the hand."""
    t = np.eye(4)
    for k in range(6):
        t = t @ link(q[k], A[k], D[k], ALPHA[k])
    return t


def fk_position(q):
    return fk(q)[:3, 3]


def fk_pos_jac(q):
    """Place of the hand and its Jacobian."""
    return fk_position(q), sg.jacobian(fk_position)(q)


def fk_full_jac(q):
    """Pose of the hand and its derivative."""
    return fk(q), sg.jacobian(fk)(q)


# ---- a double pendulum from its Lagrangian -------------------------------------------------------

M1, M2, L1, L2, G = 1.0, 0.8, 0.7, 0.5, 9.81


def lagrangian(q, v):
    """Kinetic less potential energy of two point masses on rods."""
    x1 = L1 * np.cos(q[0]) * v[0]
    y1 = L1 * np.sin(q[0]) * v[0]
    x2 = x1 + L2 * np.cos(q[1]) * v[1]
    y2 = y1 + L2 * np.sin(q[1]) * v[1]
    kinetic = 0.5 * M1 * (x1 * x1 + y1 * y1) + 0.5 * M2 * (x2 * x2 + y2 * y2)
    h1 = -L1 * np.cos(q[0])
    h2 = h1 - L2 * np.cos(q[1])
    return kinetic - G * (M1 * h1 + M2 * h2)


def pend_acc(q, v, tau):
    """Accelerations: M a = dL/dq + tau - C v."""
    mass = sg.hessian(lagrangian, argnums=1)(q, v)
    mixed = sg.jacobian(sg.grad(lagrangian, argnums=1), argnums=0)(q, v)
    force = sg.grad(lagrangian, argnums=0)(q, v) + tau - mixed @ v
    return np.linalg.solve(mass, force)


def pend_rate(x, tau):
    return np.concatenate([x[2:], pend_acc(x[:2], x[2:], tau)])


def pend_lin(x, tau):
    """x' and its Jacobians in state and torque."""
    a, b = sg.jacobian(pend_rate, argnums=(0, 1))(x, tau)
    return pend_rate(x, tau), a, b


# ---- a quadrotor ---------------------------------------------------------------------------------

MASS, ARM, DRAG, STEP = 0.9, 0.17, 0.016, 0.01
INERTIA = np.array([0.0048, 0.0051, 0.0087])


def quad_rate(x, u):
    """Derivative of place, velocity, quaternion and rates for four thrusts."""
    v, q, w = x[3:6], x[6:10], x[10:13]
    thrust = u[0] + u[1] + u[2] + u[3]
    qw, qx, qy, qz = q[0], q[1], q[2], q[3]
    up = np.array([2 * (qx * qz + qw * qy), 2 * (qy * qz - qw * qx), 1 - 2 * (qx * qx + qy * qy)])
    acceleration = up * (thrust / MASS) - np.array([0.0, 0.0, G])
    turn = 0.5 * np.array([
        -qx * w[0] - qy * w[1] - qz * w[2],
        qw * w[0] + qy * w[2] - qz * w[1],
        qw * w[1] + qz * w[0] - qx * w[2],
        qw * w[2] + qx * w[1] - qy * w[0],
    ])  # fmt: skip
    torque = np.array([
        ARM * (u[1] - u[3]), ARM * (u[2] - u[0]), DRAG * (u[0] - u[1] + u[2] - u[3]),
    ])  # fmt: skip
    spin = (torque - np.cross(w, INERTIA * w)) / INERTIA
    return np.concatenate([v, acceleration, turn, spin])


def quad_step(x, u):
    """One Runge-Kutta step of 10 ms."""
    k1 = quad_rate(x, u)
    k2 = quad_rate(x + STEP / 2 * k1, u)
    k3 = quad_rate(x + STEP / 2 * k2, u)
    k4 = quad_rate(x + STEP * k3, u)
    return x + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def quad_lin(x, u):
    """The step and its linearisation."""
    a, b = sg.jacobian(quad_step, argnums=(0, 1))(x, u)
    return quad_step(x, u), a, b


# ---- stage cost of model predictive control ------------------------------------------------------

Q = np.diag([10.0, 10.0, 5.0, 1.0, 1.0, 0.5])
R = np.diag([0.1, 0.2, 0.15])
SHARP, LIMIT = 20.0, 1.5


def stage(x, u, goal):
    """Quadratic cost and soft bounds of the inputs."""
    e = x - goal
    cost = 0.5 * e @ Q @ e + 0.5 * u @ R @ u
    above = np.log1p(np.exp(SHARP * (u - LIMIT))) / SHARP
    below = np.log1p(np.exp(SHARP * (-LIMIT - u))) / SHARP
    return cost + np.sum(above) + np.sum(below)


def stage_all(x, u, goal):
    """Value, gradient and Hessian blocks."""
    value, (gx, gu) = sg.value_and_grad(stage, argnums=(0, 1))(x, u, goal)
    (hxx, hxu), (_, huu) = sg.hessian(stage, argnums=(0, 1))(x, u, goal)
    return value, gx, gu, hxx, hxu, huu


# ---- a range and bearing update ------------------------------------------------------------------

DT = 0.1
NOISE = np.diag([0.01, 0.01, 0.005])
NOISE_Z = np.diag([0.04, 0.0025])


def motion(x, u):
    """A unicycle."""
    return np.array([
        x[0] + DT * u[0] * np.cos(x[2]), x[1] + DT * u[0] * np.sin(x[2]), x[2] + DT * u[1],
    ])  # fmt: skip


def measured(x, mark):
    dx, dy = mark[0] - x[0], mark[1] - x[1]
    return np.array([np.sqrt(dx * dx + dy * dy), np.arctan2(dy, dx) - x[2]])


def ekf(x, p, u, z, mark):
    """One step of an extended Kalman filter."""
    f = sg.jacobian(motion)(x, u)
    x = motion(x, u)
    p = f @ p @ f.T + NOISE
    h = sg.jacobian(measured)(x, mark)
    s = h @ p @ h.T + NOISE_Z
    gain = np.linalg.solve(s.T, (p @ h.T).T).T
    x = x + gain @ (z - measured(x, mark))
    return x, (np.eye(3) - gain @ h) @ p
