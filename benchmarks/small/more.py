"""Nine more small kernels, in plain NumPy: estimation, vision, robots, space, elements, chemistry,
finance, power networks."""

from __future__ import annotations

import numpy as np

import symgrad as sg

# ---- preintegration of an inertial measurement unit ----------------------------------------------

DT = 0.005


def imu(state, w, a):
    """One step of preintegration with its Jacobians in state (place, velocity, quaternion, biases:
    16 numbers) and measurements."""
    j = sg.jacobian(imu_step, argnums=(0, 1, 2))(state, w, a)
    return imu_step(state, w, a), j[0], j[1], j[2]


def imu_step(state, w, a):
    p, v, q = state[0:3], state[3:6], state[6:10]
    rate, force = w - state[10:13], a - state[13:16]
    qw, qx, qy, qz = q[0], q[1], q[2], q[3]
    turned = np.array([
        (1 - 2 * (qy * qy + qz * qz)) * force[0] + 2 * (qx * qy - qw * qz) * force[1]
        + 2 * (qx * qz + qw * qy) * force[2],
        2 * (qx * qy + qw * qz) * force[0] + (1 - 2 * (qx * qx + qz * qz)) * force[1]
        + 2 * (qy * qz - qw * qx) * force[2],
        2 * (qx * qz - qw * qy) * force[0] + 2 * (qy * qz + qw * qx) * force[1]
        + (1 - 2 * (qx * qx + qy * qy)) * force[2],
    ])  # fmt: skip
    h = 0.5 * DT * rate
    q_new = np.array([
        qw - qx * h[0] - qy * h[1] - qz * h[2], qx + qw * h[0] + qy * h[2] - qz * h[1],
        qy + qw * h[1] + qz * h[0] - qx * h[2], qz + qw * h[2] + qx * h[1] - qy * h[0],
    ])  # fmt: skip
    return np.concatenate([
        p + DT * v + 0.5 * DT * DT * turned, v + DT * turned, q_new, state[10:13], state[13:16],
    ])  # fmt: skip


# ---- a camera with distortion --------------------------------------------------------------------


def project(camera, point):
    """Rodrigues' rotation, then radial and tangential distortion; camera has 15 numbers."""
    r, t = camera[0:3], camera[3:6]
    angle2 = r[0] * r[0] + r[1] * r[1] + r[2] * r[2]
    angle = np.sqrt(angle2)
    c, s = np.cos(angle), np.sin(angle)
    k = r / angle
    along = (k[0] * point[0] + k[1] * point[1] + k[2] * point[2]) * (1 - c)
    cross = np.array([
        k[1] * point[2] - k[2] * point[1], k[2] * point[0] - k[0] * point[2],
        k[0] * point[1] - k[1] * point[0],
    ])  # fmt: skip
    x = point * c + cross * s + k * along + t
    u, v = x[0] / x[2], x[1] / x[2]
    r2 = u * u + v * v
    radial = 1 + r2 * (camera[10] + r2 * (camera[11] + r2 * camera[12]))
    du = 2 * camera[13] * u * v + camera[14] * (r2 + 2 * u * u)
    dv = 2 * camera[14] * u * v + camera[13] * (r2 + 2 * v * v)
    return np.array([camera[6] * (u * radial + du) + camera[8],
                     camera[7] * (v * radial + dv) + camera[9]])  # fmt: skip


def camera(parameters, point):
    """Projection and its Jacobians."""
    j = sg.jacobian(project, argnums=(0, 1))(parameters, point)
    return project(parameters, point), j[0], j[1]


# ---- inverse dynamics of a 6-joint arm -----------------------------------------------------------

LINKS = (
    (0.0, 0.36, 1),
    (0.21, 0.0, -1),
    (0.0, 0.42, -1),
    (0.19, 0.0, 1),
    (0.0, 0.4, 1),
    (0.1, 0.0, -1),
)
MASSES = (4.0, 3.5, 2.5, 2.0, 1.2, 0.4)
SPREADS = ((0.03, 0.02, 0.01), (0.02, 0.03, 0.008), (0.015, 0.012, 0.006), (0.01, 0.008, 0.005),
           (0.004, 0.003, 0.002), (0.001, 0.001, 0.0005))  # fmt: skip


def cross(a, b):
    return np.array(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


def torque(q, v, a):
    """Recursive Newton and Euler; joints turn about z, links are twisted by right angles."""
    w, dw, acc = np.zeros(3), np.zeros(3), np.array([0.0, 0.0, 9.81])
    forward = []
    for k in range(6):
        x, z, side = LINKS[k]
        c, s = np.cos(q[k]), np.sin(q[k])
        turn = np.array([[c, -s, 0.0], [0.0, 0.0, -1.0 * side], [s * side, c * side, 0.0]])
        arm = np.array([x, -z * side, 0.0])
        w_in, dw_in = turn.T @ w, turn.T @ dw
        acc = turn.T @ (acc + cross(dw, arm) + cross(w, cross(w, arm)))
        spin = np.array([0.0, 0.0, 1.0])
        dw = dw_in + cross(w_in, spin * v[k]) + spin * a[k]
        w = w_in + spin * v[k]
        centre = np.array([0.3 * x, 0.0, 0.4 * z])
        force = MASSES[k] * (acc + cross(dw, centre) + cross(w, cross(w, centre)))
        spread = np.array(SPREADS[k])
        moment = spread * dw + cross(w, spread * w)
        forward.append((turn, arm, centre, force, moment))
    f, n, result = np.zeros(3), np.zeros(3), []
    for k in reversed(range(6)):
        turn, arm, centre, force, moment = forward[k]
        f_here = f + force
        n_here = n + moment + cross(centre, force)
        result.append(n_here[2])
        f = turn @ f_here
        n = turn @ n_here + cross(arm, f)
    return np.array(result[::-1])


def rnea(q, v, a):
    """Torques and their derivatives in positions and velocities."""
    j = sg.jacobian(torque, argnums=(0, 1))(q, v, a)
    return torque(q, v, a), j[0], j[1]


# ---- a bicycle model -----------------------------------------------------------------------------


def bicycle_rate(x, u):
    """Place, heading, speeds and yaw rate; tyres by a magic formula; steering and force."""
    heading, vx, vy, r = x[2], x[3], x[4], x[5]
    front = u[0] - np.arctan((vy + 1.2 * r) / vx)
    rear = -np.arctan((vy - 1.4 * r) / vx)
    ff = 5200.0 * np.sin(1.4 * np.arctan(8.0 * front))
    fr = 5500.0 * np.sin(1.4 * np.arctan(9.0 * rear))
    c, s = np.cos(heading), np.sin(heading)
    drag = 0.4 * vx * vx
    return np.array([
        vx * c - vy * s, vx * s + vy * c, r,
        (u[1] - drag - ff * np.sin(u[0])) / 1200.0 + vy * r,
        (fr + ff * np.cos(u[0])) / 1200.0 - vx * r,
        (1.2 * ff * np.cos(u[0]) - 1.4 * fr) / 1600.0,
    ])  # fmt: skip


def bicycle(x, u):
    """The rate and its linearisation."""
    a, b = sg.jacobian(bicycle_rate, argnums=(0, 1))(x, u)
    return bicycle_rate(x, u), a, b


# ---- two bodies, one of them flattened -----------------------------------------------------------

MU, RADIUS, J2 = 398600.4418, 6378.137, 1.08262668e-3


def two_body_rate(x):
    """Position and velocity about the Earth with its second zonal harmonic."""
    p, v = x[0:3], x[3:6]
    r2 = p[0] * p[0] + p[1] * p[1] + p[2] * p[2]
    r = np.sqrt(r2)
    pull = MU / (r2 * r)
    factor = 1.5 * J2 * (RADIUS * RADIUS) / r2
    up = 5 * p[2] * p[2] / r2
    g = np.array([1 - factor * (up - 1), 1 - factor * (up - 1), 1 - factor * (up - 3)])
    return np.concatenate([v, -pull * p * g])


def two_body(x):
    """The rate and the matrix of its variational equations."""
    return two_body_rate(x), sg.jacobian(two_body_rate)(x)


# ---- stiffness of a hexahedron -------------------------------------------------------------------

CORNERS = np.array([[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1],
                    [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], float)  # fmt: skip


def hexahedron_energy(u, x):
    """Energy density of a linear elastic trilinear element at its centre."""
    slopes = CORNERS / 8
    jacobian = x.T @ slopes
    a, b, c = jacobian[0], jacobian[1], jacobian[2]
    bc, ca, ab = cross(b, c), cross(c, a), cross(a, b)
    det = a[0] * bc[0] + a[1] * bc[1] + a[2] * bc[2]
    gradient = u.T @ slopes
    inverse = np.array([bc, ca, ab]) / det
    strain = gradient @ inverse.T
    e = 0.5 * (strain + strain.T)
    trace = e[0, 0] + e[1, 1] + e[2, 2]
    return (0.6 * trace * trace + 0.4 * np.sum(e * e)) * 8 * det


def hexahedron(u, x):
    """Forces on the corners, and the row blocks of the stiffness of the first corner."""
    force = sg.grad(hexahedron_energy)

    def first(u):
        return force(u, x)[0]

    return force(u, x), sg.jacobian(first)(u)


# ---- chemical kinetics ---------------------------------------------------------------------------


def robertson_rate(y):
    slow, fast, mid = 0.04 * y[0], 3e7 * y[1] * y[1], 1e4 * y[1] * y[2]
    return np.array([mid - slow, slow - mid - fast, fast])


def hydrogen_rate(y):
    """Nine species, ten reversible reactions with constant rates."""
    h2, o2, h2o, h, o, oh, ho2, h2o2, m = (y[k] for k in range(9))
    r = [
        1.1 * h * o2 - 0.3 * o * oh, 2.3 * o * h2 - 0.7 * h * oh, 1.7 * oh * h2 - 0.2 * h2o * h,
        0.9 * o * h2o - 1.3 * oh * oh, 0.5 * h2 * m - 0.8 * h * h * m,
        0.6 * o * o * m - 0.1 * o2 * m,
        1.4 * h * oh * m - 0.05 * h2o * m, 2.1 * h * o2 * m - 0.4 * ho2 * m,
        3.0 * ho2 * h - 0.2 * h2 * o2, 1.9 * ho2 * ho2 - 0.6 * h2o2 * o2,
    ]  # fmt: skip
    return np.array([
        -r[1] - r[2] - r[4] + r[8], -r[0] + r[5] - r[7] + r[8] + r[9], r[2] - r[3] + r[6],
        -r[0] + r[1] + r[2] + 2 * r[4] - r[6] - r[7] - r[8], r[0] - r[1] - r[3] - 2 * r[5],
        r[0] + r[1] - r[2] + 2 * r[3] - r[6], r[7] - r[8] - 2 * r[9], r[9], 0 * m,
    ])  # fmt: skip


def kinetics(y, z):
    """Rates and Jacobians of both mechanisms."""
    return (robertson_rate(y), sg.jacobian(robertson_rate)(y),
            hydrogen_rate(z), sg.jacobian(hydrogen_rate)(z))  # fmt: skip


# ---- implied volatility of SABR ------------------------------------------------------------------


def sabr_volatility(p):
    """Hagan's formula away from the money; forward, strike, time, alpha, beta, rho, nu."""
    f, k, t, alpha, beta, rho, nu = (p[i] for i in range(7))
    log = np.log(f / k)
    power = np.exp(0.5 * (1 - beta) * np.log(f * k))
    b2 = (1 - beta) * (1 - beta)
    z = nu / alpha * power * log
    root = np.sqrt(1 - 2 * rho * z + z * z)
    x = np.log((root + z - rho) / (1 - rho))
    l2 = log * log
    below = power * (1 + b2 / 24 * l2 + b2 * b2 / 1920 * l2 * l2)
    time = (b2 / 24 * alpha * alpha / (power * power) + rho * beta * nu * alpha / (4 * power)
            + (2 - 3 * rho * rho) / 24 * nu * nu)  # fmt: skip
    return alpha / below * z / x * (1 + time * t)


def sabr(p):
    """Volatility, its gradient and Hessian."""
    return sabr_volatility(p), sg.grad(sabr_volatility)(p), sg.hessian(sabr_volatility)(p)


# ---- power flow of 14 buses ----------------------------------------------------------------------

LINES = ((0, 1, 4.999, -15.263), (0, 4, 1.026, -4.235), (1, 2, 1.135, -4.782),
         (1, 3, 1.686, -5.116), (1, 4, 1.701, -5.194), (2, 3, 1.986, -5.069),
         (3, 4, 6.841, -21.579), (3, 6, 0.0, -4.89),
         (3, 8, 0.0, -1.855), (4, 5, 0.0, -4.257), (5, 10, 1.955, -4.094), (5, 11, 1.526, -3.176),
         (5, 12, 3.099, -6.103), (6, 7, 0.0, -5.677), (6, 8, 0.0, -9.09), (8, 9, 3.902, -10.365),
         (8, 13, 1.424, -3.029), (9, 10, 1.881, -4.403), (11, 12, 2.489, -2.252),
         (12, 13, 1.137, -2.315))  # fmt: skip


def injections(state):
    """Active and reactive power at each bus, from 14 angles and 14 voltages."""
    angle, v = state[:14], state[14:]
    p, q = [0.0] * 14, [0.0] * 14
    for i, j, g, b in LINES:
        c, s = np.cos(angle[i] - angle[j]), np.sin(angle[i] - angle[j])
        both = v[i] * v[j]
        p[i] = p[i] + g * v[i] * v[i] - both * (g * c + b * s)
        p[j] = p[j] + g * v[j] * v[j] - both * (g * c - b * s)
        q[i] = q[i] - b * v[i] * v[i] - both * (g * s - b * c)
        q[j] = q[j] - b * v[j] * v[j] + both * (g * s + b * c)
    return np.array(p + q)


def power_flow(state):
    """Injections and their Jacobian."""
    return injections(state), sg.jacobian(injections)(state)
