"""Bundle adjustment as in ADBench: the 2 x 15 Jacobian of every reprojection error."""

from __future__ import annotations

import numpy as np
from harness import HandwrittenC, Work, by_casadi, by_jax, by_symgrad, need

import symgrad as sg


def data(n, cameras, points):
    rng = np.random.default_rng(0)
    camera = np.concatenate([
        rng.normal(scale=0.3, size=(cameras, 3)),  # rotation vector
        rng.normal(size=(cameras, 3)) - [0, 0, 10],  # centre
        rng.uniform(500, 600, size=(cameras, 1)),  # focal length
        rng.normal(size=(cameras, 2)),  # principal point
        rng.normal(scale=0.1, size=(cameras, 2)),  # distortion
    ], axis=1)  # fmt: skip
    return (
        camera, rng.normal(size=(points, 3)), rng.uniform(size=n), rng.normal(size=(n, 2)),
        rng.integers(cameras, size=n, dtype=np.int32), rng.integers(points, size=n, dtype=np.int32),
    )  # fmt: skip


def reprojection_error(camera, point, weight, feature):
    rotation, centre, focal = camera[:3], camera[3:6], camera[6]
    principal, distortion = camera[7:9], camera[9:]
    angle = np.sqrt(np.sum(rotation**2))
    axis = rotation / angle
    x = point - centre
    q = x * np.cos(angle) + np.cross(axis, x) * np.sin(angle)
    q = q + axis * (axis @ x) * (1 - np.cos(angle))
    p = q[:2] / q[2]
    s = np.sum(p**2)
    stretch = 1 + distortion[0] * s + distortion[1] * s**2
    return weight * (focal * stretch * p + principal - feature)


def jacobians(cameras, points, weights, features, camera_index, point_index):
    each = sg.vmap(sg.jacobian(reprojection_error, (0, 1, 2)))
    return each(cameras[camera_index], points[point_index], weights, features)


def symgrad(stage, *data):
    return by_symgrad(stage, jacobians, *data)


def numpy_by_hand(stage, cameras, points, weights, features, camera_index, point_index):
    """Over all observations at once."""

    def jacobian():
        camera, X, w = cameras[camera_index], points[point_index], weights[:, None]
        focal, k = camera[:, 6:7], camera[:, 9:]
        r, x = camera[:, :3], X - camera[:, 3:6]
        t = np.linalg.norm(r, axis=1)[:, None]
        v, c, s = r / t, np.cos(t), np.sin(t)
        along, vx = np.sum(v * x, axis=1)[:, None], np.cross(v, x)
        q = x * c + vx * s + v * along * (1 - c)
        dv = (np.eye(3) - v[:, :, None] * v[:, None, :]) / t[:, :, None]  # [n, i, j]: dv_i / dr_j
        d_along = np.einsum("nij,ni->nj", dv, x)
        turn = np.cross(dv, x[:, :, None], axisa=1, axisb=1, axisc=1)
        by_r = (-x * s + vx * c + v * along * s)[:, :, None] * v[:, None, :]
        by_r += turn * s[:, :, None]
        by_r += (dv * along[:, :, None] + v[:, :, None] * d_along[:, None, :]) * (1 - c)[:, :, None]
        skew = np.cross(v[:, None, :], np.eye(3)).transpose(0, 2, 1)
        R = np.eye(3) * c[:, :, None] + skew * s[:, :, None]
        R += v[:, :, None] * v[:, None, :] * (1 - c)[:, :, None]

        p = q[:, :2] / q[:, 2:]
        square = np.sum(p * p, axis=1)[:, None]
        stretch = 1 + k[:, :1] * square + k[:, 1:] * square**2
        slope = 2 * (k[:, :1] + 2 * k[:, 1:] * square)
        to_p = slope[:, :, None] * p[:, :, None] * p[:, None, :] + stretch[:, :, None] * np.eye(2)
        to_p *= (w * focal)[:, :, None]
        by_q = np.empty((len(w), 2, 3))
        by_q[:, :, :2] = to_p / q[:, 2:, None]
        by_q[:, :, 2] = -np.einsum("nij,nj->ni", to_p, p) / q[:, 2:]

        by_point = by_q @ R
        by_camera = np.empty((len(w), 2, 11))
        by_camera[:, :, :3] = by_q @ by_r
        by_camera[:, :, 3:6] = -by_point
        by_camera[:, :, 6] = w * stretch * p
        by_camera[:, :, 7:9] = w[:, :, None] * np.eye(2)
        by_camera[:, :, 9] = w * focal * square * p
        by_camera[:, :, 10] = w * focal * square**2 * p
        return by_camera, by_point, focal * stretch * p + camera[:, 7:9] - features

    return jacobian


def c_by_hand(stage, *data):
    c, n = HandwrittenC(stage, "ba"), len(data[2])

    def call():
        results = np.empty((n, 2, 11)), np.empty((n, 2, 3)), np.empty((n, 2))
        c(n, *data, *results)
        return results

    return call


def jax_error():
    jnp = need("jax").numpy

    def reprojection_error(camera, point, weight, feature):
        rotation, centre, focal = camera[:3], camera[3:6], camera[6]
        principal, distortion = camera[7:9], camera[9:]
        angle = jnp.sqrt(jnp.sum(rotation**2))
        axis = rotation / angle
        x = point - centre
        q = x * jnp.cos(angle) + jnp.cross(axis, x) * jnp.sin(angle)
        q = q + axis * (axis @ x) * (1 - jnp.cos(angle))
        p = q[:2] / q[2]
        s = jnp.sum(p**2)
        stretch = 1 + distortion[0] * s + distortion[1] * s**2
        return weight * (focal * stretch * p + principal - feature)

    return reprojection_error


def jax_with(stage, derivative, data):
    jax = need("jax")

    def jacobians(cameras, points, weights, features, camera_index, point_index):
        each = jax.vmap(derivative(jax_error(), (0, 1, 2)))
        return each(cameras[camera_index], points[point_index], weights, features)

    return by_jax(stage, jacobians, *data)


def jax_naive(stage, *data):
    return jax_with(stage, need("jax").jacfwd, data)


def jax_best(stage, *data):
    """Two results, fifteen inputs: reverse mode."""
    return jax_with(stage, need("jax").jacrev, data)


def torch_eager(stage, *data, compiled=False):
    torch = need("torch")

    def reprojection_error(camera, point, weight, feature):
        rotation, centre, focal = camera[:3], camera[3:6], camera[6]
        principal, distortion = camera[7:9], camera[9:]
        angle = torch.sqrt(torch.sum(rotation**2))
        axis = rotation / angle
        x = point - centre
        q = x * torch.cos(angle) + torch.linalg.cross(axis, x) * torch.sin(angle)
        q = q + axis * torch.sum(axis * x) * (1 - torch.cos(angle))
        p = q[:2] / q[2]
        s = torch.sum(p**2)
        stretch = 1 + distortion[0] * s + distortion[1] * s**2
        return weight * (focal * stretch * p + principal - feature)

    each = torch.func.vmap(torch.func.jacrev(reprojection_error, (0, 1, 2)))
    tensors = map(torch.as_tensor, data)
    cameras, points, weights, features, camera_index, point_index = tensors

    def jacobians():
        return each(cameras[camera_index], points[point_index], weights, features)

    return torch.compile(jacobians, dynamic=False) if compiled else jacobians


def torch_compiled(stage, *data):
    return torch_eager(stage, *data, compiled=True)


def casadi_c(stage, cameras, points, weights, features, camera_index, point_index):
    """Scalars for one observation, mapped over all; cameras and points are gathered beforehand."""
    ca = need("casadi")
    n = len(weights)
    with stage("derive"):
        camera, point = ca.SX.sym("camera", 11), ca.SX.sym("point", 3)
        weight, feature = ca.SX.sym("weight"), ca.SX.sym("feature", 2)
        angle = ca.norm_2(camera[:3])
        axis, x = camera[:3] / angle, point - camera[3:6]
        q = x * ca.cos(angle) + ca.cross(axis, x) * ca.sin(angle)
        q += axis * ca.dot(axis, x) * (1 - ca.cos(angle))
        p = q[:2] / q[2]
        s = ca.sumsqr(p)
        stretch = 1 + camera[9] * s + camera[10] * s**2
        error = weight * (camera[6] * stretch * p + camera[7:9] - feature)
        slopes = [ca.densify(ca.jacobian(error, v)).T for v in (camera, point, weight)]
        one = ca.Function("one", [camera, point, weight, feature], slopes)
        function = one.map(n)
    inputs = cameras[camera_index], points[point_index], weights, features
    call = by_casadi(stage, function, *inputs)

    def jacobians():
        by_camera, by_point, by_weight = call()
        return by_camera.reshape(n, 2, 11), by_point.reshape(n, 2, 3), by_weight.reshape(n, 2)

    return jacobians


def heyoka_cfunc(stage, cameras, points, weights, features, camera_index, point_index):
    """Scalars for one observation, evaluated in batches; gathered beforehand."""
    hy = need("heyoka")
    n = len(weights)
    with stage("derive"):
        names = [f"camera{i}" for i in range(11)] + ["X0", "X1", "X2", "w", "u0", "u1"]
        variables = hy.make_vars(*names)
        r, C, focal, x0, k = (variables[:3], variables[3:6], variables[6], variables[7:9],
                              variables[9:11])  # fmt: skip
        X, w, feature = variables[11:14], variables[14], variables[15:]
        angle = hy.sqrt(r[0] ** 2.0 + r[1] ** 2.0 + r[2] ** 2.0)
        v, x = [e / angle for e in r], [a - b for a, b in zip(X, C, strict=True)]
        cos, sin = hy.cos(angle), hy.sin(angle)
        turn = [v[1] * x[2] - v[2] * x[1], v[2] * x[0] - v[0] * x[2], v[0] * x[1] - v[1] * x[0]]
        along = v[0] * x[0] + v[1] * x[1] + v[2] * x[2]
        q = [x[i] * cos + turn[i] * sin + v[i] * along * (1.0 - cos) for i in range(3)]
        p = [q[0] / q[2], q[1] / q[2]]
        s = p[0] ** 2.0 + p[1] ** 2.0
        stretch = 1.0 + k[0] * s + k[1] * s**2.0
        error = [w * (focal * stretch * p[i] + x0[i] - feature[i]) for i in range(2)]
        tensors = hy.diff_tensors(error, diff_args=variables[:15], diff_order=1)
        slopes = [e for row in tensors.jacobian for e in row]
    with stage("compile"):
        function = hy.cfunc(slopes, variables)
    gathered = (cameras[camera_index], points[point_index], weights[:, None], features)
    inputs = np.ascontiguousarray(np.concatenate(gathered, axis=1).T)

    def jacobians():
        every = np.moveaxis(function(inputs).reshape(2, 15, n), 2, 0)
        return every[:, :, :11], every[:, :, 11:14], every[:, :, 14]

    return jacobians


WORK = Work(
    title="Bundle adjustment, all 2 x 15 Jacobians",
    data=data,
    sizes=[dict(n=31_843, cameras=49, points=7776)],
    tiny=[dict(n=9, cameras=2, points=4)],
    peers={
        "NumPy by hand": numpy_by_hand,
        "C by hand": c_by_hand,
        "symgrad": symgrad,
        "JAX": jax_naive,
        "JAX best": jax_best,
        "PyTorch": torch_eager,
        "PyTorch compiled": torch_compiled,
        "CasADi C": casadi_c,
        "heyoka": heyoka_cfunc,
    },
    absent={
        "PyTensor": "no Jacobian per observation without a Python loop or scan",
        "numba by hand": "the same as C by hand",
    },
)
