"""Awkward shapes for the oracle: empty and unit axes, negative axes, broadcasting, 4-D, transposed.

A row is a function of n and arguments, and for each argument a shape (drawn from REAL) or an array.
"""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(3)


def well(*shape):
    """Well conditioned matrices: diagonally dominant."""
    return RNG.uniform(-1, 1, shape) + 3 * np.eye(shape[-1])


def spd(*shape):
    a = RNG.uniform(-1, 1, shape)
    return a @ np.swapaxes(a, -1, -2) + 2 * np.eye(shape[-1])


def positive(*shape):
    return RNG.uniform(0.3, 3, shape)


def distinct(*shape):
    return RNG.permutation(np.linspace(-2, 2, int(np.prod(shape)))).reshape(shape)


def _set_step(x, y):
    z = x * x
    z[::2, 1:] = y
    return z * x


def _set_empty(x, y):
    z = x * x
    z[2:2] = y
    return z


def _set_scalar(x, y):
    z = x.copy()
    z[..., -1] = y[0] * y[1]
    z[np.array([0, 1])] = y[2]
    return z * z


def _add_in_place(x, y):
    z = x * x
    z[1:] += y
    z[:, 0] *= x[:, 1]
    return z


E = np.array([], dtype=int)
I2 = np.array([[0], [1]])
J2 = np.array([0, 2])
MASK = np.array([True, False, True])
A3, A4 = (2, 3, 4), (2, 1, 3, 2)

EMPTY = {
    "sum empty": (lambda n, x: n.m.sum(x * x), (0,)),
    "sum empty axis": (lambda n, x: n.m.sum(x * x, axis=0), (0, 3)),
    "sum beside empty": (lambda n, x: n.m.sum(x * x, axis=1), (0, 3)),
    "prod empty": (lambda n, x: n.m.prod(x), (0,)),
    "prod empty axis": (lambda n, x: n.m.prod(x, axis=-1, keepdims=True), (2, 0)),
    "mean beside empty": (lambda n, x: n.m.mean(x * x, axis=1), (0, 3)),
    "max beside empty": (lambda n, x: n.m.max(x * x, axis=1), (0, 3)),
    "var beside empty": (lambda n, x: n.m.var(x, axis=1), (0, 3)),
    "softmax beside empty": (lambda n, x: n.softmax(x, axis=1), (0, 3)),
    "logsumexp beside empty": (lambda n, x: n.logsumexp(x, axis=1), (0, 3)),
    "norm empty axis": (lambda n, x: n.m.linalg.norm(x, axis=1), (0, 2)),
    "exp empty": (lambda n, x: n.m.exp(x) * x, (0, 2)),
    "broadcast empty": (lambda n, x, y: x * y + n.m.sin(y), (2, 0), (1,)),
    "where empty": (lambda n, x, y: n.m.where(x > 0, x, y), (0, 3), (3,)),
    "matmul inner empty": (lambda n, x, y: x @ y, (3, 0), (0, 2)),
    "matmul outer empty": (lambda n, x, y: x @ y, (0, 3), (3, 2)),
    "matmul batch empty": (lambda n, x, y: x @ y, (0, 2, 3), (3, 2)),
    "dot empty": (lambda n, x, y: n.m.dot(x, y), (0,), (0,)),
    "outer empty": (lambda n, x, y: n.m.outer(x, y), (0,), (3,)),
    "einsum empty": (lambda n, x, y: n.m.einsum("ij,jk->ik", x, y), (2, 0), (0, 3)),
    "einsum empty trace": (lambda n, x: n.m.einsum("ii->", x * x), (0, 0)),
    "tensordot empty": (lambda n, x, y: n.m.tensordot(x, y, axes=1), (2, 0), (0, 3)),
    "trace empty": (lambda n, x: n.m.trace(x), (0, 0)),
    "diag empty": (lambda n, x: n.m.diag(x * x), (0,)),
    "solve no columns": (lambda n, a, b: n.m.linalg.solve(a, b), well(3, 3), (3, 0)),
    "det empty": (lambda n, a: n.m.linalg.det(a), (0, 0)),
    "reshape empty": (lambda n, x: n.m.reshape(x * x, (3, 0, 2)), (0, 4)),
    "transpose empty": (lambda n, x: (x * x).T, (0, 3)),
    "concatenate empty": (lambda n, x, y: n.m.concatenate([x * x, y], axis=0), (0, 3), (2, 3)),
    "stack empty": (lambda n, x, y: n.m.stack([x * y, y], axis=-1), (0,), (0,)),
    "pad empty": (lambda n, x: n.m.pad(x * x, ((1, 1), (0, 2))), (0, 2)),
    "slice to empty": (lambda n, x: x[2:2] ** 2, (4, 3)),
    "take nothing": (lambda n, x: n.m.take(x, E, axis=1) ** 2, (2, 3)),
    "fancy nothing": (lambda n, x: x[E] * x[0], (3, 2)),
    "cumsum empty": (lambda n, x: n.m.cumsum(x * x, axis=0), (0, 3)),
    "cumsum beside empty": (lambda n, x: n.m.cumsum(x * x, axis=1), (0, 3)),
    "cumprod empty": (lambda n, x: n.m.cumprod(x, axis=1), (2, 0)),
    "diff to empty": (lambda n, x: n.m.diff(x * x, axis=0), (1, 3)),
    "flip empty": (lambda n, x: n.m.flip(x * x, 0), (0, 3)),
    "set nothing": (lambda n, x, y: _set_empty(x, y), (4, 2), (2,)),
    "empty result used": (lambda n, x: n.m.sum(x[1:1] ** 2) + n.m.prod(x), (3,)),
}

UNIT = {
    "sum unit": (lambda n, x: n.m.sum(x * x, axis=(0, 1)), (1, 1, 3)),
    "prod unit": (lambda n, x: n.m.prod(x, axis=0), (1, 3)),
    "max unit": (lambda n, x: n.m.max(x * x, axis=-1), (3, 1)),
    "var unit": (lambda n, x: n.m.var(x, axis=1, keepdims=True), (3, 1)),
    "softmax unit": (lambda n, x: n.softmax(x, axis=0) * x, (1, 3)),
    "log_softmax unit": (lambda n, x: n.log_softmax(x, axis=0) * x, (1, 3)),
    "logsumexp unit": (lambda n, x: n.logsumexp(x, axis=1), (3, 1)),
    "norm unit": (lambda n, x: n.m.linalg.norm(x, axis=1), (3, 1)),
    "cumsum unit": (lambda n, x: n.m.cumsum(x * x, axis=1), (3, 1)),
    "cumprod unit": (lambda n, x: n.m.cumprod(x, axis=0), (1, 3)),
    "matmul unit": (lambda n, x, y: x @ y, (1, 1), (1, 1)),
    "matmul unit inner": (lambda n, x, y: x @ y, (3, 1), (1, 2)),
    "matmul unit vectors": (lambda n, x, y: x @ y, (1,), (1,)),
    "einsum unit": (lambda n, x, y: n.m.einsum("ij,jk->ik", x, y), (1, 3), (3, 1)),
    "einsum unit diagonal": (lambda n, x: n.m.einsum("ii->i", n.m.sin(x)), (1, 1)),
    "solve unit": (lambda n, a, b: n.m.linalg.solve(a, b), well(1, 1), (1,)),
    "inv unit": (lambda n, a: n.m.linalg.inv(a), well(1, 1)),
    "det unit": (lambda n, a: n.m.linalg.det(a) ** 2, (1, 1)),
    "slogdet unit": (lambda n, a: n.m.linalg.slogdet(a)[1], well(1, 1)),
    "cholesky unit": (lambda n, a: n.m.linalg.cholesky(a), spd(1, 1)),
    "solve_triangular unit": (
        lambda n, a, b: n.solve_triangular(a, b, lower=False), well(1, 1), (1, 2)),
    "squeeze axis": (lambda n, x: n.m.squeeze(x * x, axis=1), (2, 1, 1)),
    "squeeze negative": (lambda n, x: n.m.squeeze(x * x, axis=(-1, 0)), (1, 3, 1)),
    "diagonal unit": (lambda n, x: n.m.diagonal(x * x), (1, 3)),
    "index unit": (lambda n, x: x[0, :, -1] ** 2, (1, 3, 1)),
    "transpose unit": (lambda n, x: n.m.transpose(x * x, (2, 0, 1)), (1, 3, 1)),
    "reshape unit": (lambda n, x: n.m.reshape(x * x, (1, 2, 1, 3, 1)), (3, 2)),
}  # fmt: skip

AXES = {
    "sum negative": (lambda n, x: n.m.sum(x**3, axis=-1), A3),
    "sum two negative": (lambda n, x: n.m.sum(x**3, axis=(-1, -3), keepdims=True), A3),
    "sum mixed": (lambda n, x: n.m.sum(n.m.sin(x), axis=(0, -1)), A4),
    "prod negative": (lambda n, x: n.m.prod(x, axis=-2, keepdims=True), A3),
    "prod two": (lambda n, x: n.m.prod(x, axis=(0, -1)), (2, 2, 3)),
    "prod of zeros": (
        lambda n, x: n.m.prod(x, axis=1), np.array([[0, 0, 2.0], [0, 1, 3], [0, 0, 0]])),
    "mean negative": (lambda n, x: n.m.mean(x**3, axis=-2, keepdims=True), A3),
    "global average pool": (lambda n, x: n.m.mean(x * x, axis=(-2, -1)), (1, 2, 3, 2)),
    "max negative": (lambda n, x: n.m.max(x * x, axis=-1, keepdims=True), distinct(2, 3, 4)),
    "max two": (lambda n, x: n.m.max(x**3, axis=(0, -1)), distinct(2, 3, 4)),
    "min two": (lambda n, x: n.m.min(x**3, axis=(1, -3)), distinct(2, 3, 4)),
    "var two": (lambda n, x: n.m.var(x, axis=(0, -1), ddof=1, keepdims=True), (2, 3, 2)),
    "std negative": (lambda n, x: n.m.std(x, axis=-1), (2, 3)),
    "std two": (lambda n, x: n.m.std(x, axis=(-1, 0), keepdims=True), (2, 2, 3)),
    "logsumexp negative": (lambda n, x: n.logsumexp(x, axis=-2), A3),
    "logsumexp two": (lambda n, x: n.logsumexp(x, axis=(0, -1), keepdims=True), (2, 2, 3)),
    "logsumexp all": (lambda n, x: n.logsumexp(x), (2, 3)),
    "softmax negative": (lambda n, x: n.softmax(x, axis=-2), (2, 3, 2)),
    "softmax two": (lambda n, x: n.softmax(x, axis=(0, -1)), (2, 2, 2)),
    "log_softmax negative": (lambda n, x: n.log_softmax(x, axis=-3), (2, 2, 2)),
    "norm negative": (lambda n, x: n.m.linalg.norm(x, axis=-1, keepdims=True), (2, 2, 3)),
    "norm two": (lambda n, x: n.m.linalg.norm(x, axis=(0, -1)), (2, 2, 3)),
    "cumsum negative": (lambda n, x: n.m.cumsum(x * x, axis=-2), A3),
    "cumsum flat": (lambda n, x: n.m.cumsum(x * x), (2, 3)),
    "cumprod negative": (lambda n, x: n.m.cumprod(x, axis=-1), (2, 2, 3)),
    "cumprod of zeros": (lambda n, x: n.m.cumprod(x), np.array([1.5, 0, 2, 0, -1])),
    "diff twice": (lambda n, x: n.m.diff(x**3, n=2, axis=-2), (2, 4, 2)),
    "flip all": (lambda n, x: n.m.flip(x**3), (2, 3)),
    "flip two": (lambda n, x: n.m.flip(x**3, (0, -1)), (2, 2, 3)),
    "concatenate negative": (lambda n, x, y: n.m.concatenate([x, y * y], axis=-1), (2, 3, 1), A3),
    "stack negative": (lambda n, x, y: n.m.stack([x * y, y], axis=-2), (2, 3), (2, 3)),
    "expand two": (lambda n, x: n.m.expand_dims(x * x, (-1, 0)), (2, 3)),
    "moveaxis two": (lambda n, x: n.m.moveaxis(x**3, (0, -1), (-1, 0)), (2, 1, 3, 2)),
    "swapaxes negative": (lambda n, x: n.m.swapaxes(x**3, -1, -3), A3),
    "transpose 4": (lambda n, x: n.m.transpose(x**3, (3, 1, 0, 2)), A4),
    "take negative": (lambda n, x: n.m.take(x, np.array([-1, 0, -1]), axis=-2) ** 3, A3),
    "take flat": (lambda n, x: n.m.take(x, np.array([[-1, 0], [2, 2]])) ** 3, (2, 3)),
    "diagonal offset": (lambda n, x: n.m.diagonal(x**3, offset=1), (3, 4)),
    "diagonal axes": (lambda n, x: n.m.diagonal(x**3, -1, -2, -1), (2, 4, 3)),
    "trace offset": (lambda n, x: n.m.trace(x**3, offset=-1), (3, 2)),
    "trace axes": (lambda n, x: n.m.trace(x**3, axis1=-1, axis2=0), (3, 2, 3)),
    "diag offset": (lambda n, x: n.m.diag(x * x, -1), (2,)),
    "diag of matrix": (lambda n, x: n.m.diag(x * x, 1), (2, 4)),
    "tril stacked": (lambda n, x: n.m.tril(x**3, -1) + n.m.triu(x, 2), (2, 3, 4)),
    "pad 3": (lambda n, x: n.m.pad(x**3, ((0, 1), (2, 0), (1, 1))), (2, 1, 2)),
    "clip arrays": (lambda n, x: n.m.clip(x**3, -1, 1), (2, 2, 3)),
}  # fmt: skip

BROADCAST = {
    "both ways": (lambda n, x, y: x * n.m.sin(y), (3, 1), (1, 4)),
    "4-D": (lambda n, x, y: x * x / (3 + y), (2, 1, 3, 1), (2, 1, 2)),
    "unit with 4-D": (lambda n, x, y: n.m.hypot(x, y), (1, 1), (2, 1, 2, 2)),
    "scalar with 4-D": (lambda n, x, y: n.m.arctan2(y * y + 1, x * x + 1), (), (1, 2, 1, 3)),
    "same twice": (lambda n, x: x[:, None] * x[None, :] * x[:, None], (4,)),
    "where three": (
        lambda n, x, y, z: n.m.where(z > 0, x * y, y * z), (2, 1), (1, 3), (2, 3)),
    "maximum": (lambda n, x, y: n.m.maximum(x**3, y), (2, 1, 3), (4, 1)),
    "logaddexp": (lambda n, x, y: n.m.logaddexp(x, y), (2, 1, 3), (2, 1)),
    "power": (lambda n, x, y: n.m.power(x, y), positive(2, 1), (1, 3)),
    "mod": (lambda n, x, y: n.m.mod(x * x, y), positive(2, 1), positive(3)),
    "xlogy": (lambda n, x, y: n.s.xlogy(x, y), positive(2, 1), positive(3)),
    "broadcast_to 4-D": (lambda n, x: n.m.broadcast_to(x**3, (2, 3, 2, 2)), (3, 1, 2)),
    "concatenate of broadcast": (
        lambda n, x, y: n.m.concatenate([x * y, y * y], axis=0), (1, 3), (1, 3)),
    "matmul batch both": (lambda n, x, y: x @ y, (2, 1, 2, 3), (1, 2, 3, 2)),
    "matmul batch one": (lambda n, x, y: x @ y, (2, 3), (2, 2, 3, 1)),
    "matmul vector matrix": (lambda n, x, y: x @ y, (3,), (3, 2)),
    "matmul vector batch": (lambda n, x, y: x @ y, (3,), (2, 3, 2)),
    "matmul batch vector": (lambda n, x, y: x @ y, (2, 2, 3), (3,)),
    "dot 3-D": (lambda n, x, y: n.m.dot(x, y), (2, 2, 3), (2, 3, 2)),
    "outer of matrices": (lambda n, x, y: n.m.outer(x, y), (2, 2), (3, 1)),
    "tensordot two": (lambda n, x, y: n.m.tensordot(x, y, axes=2), (2, 2, 3), (2, 3, 2)),
    "tensordot zero": (lambda n, x, y: n.m.tensordot(x, y, axes=0), (2, 1), (3,)),
    "tensordot crossed": (
        lambda n, x, y: n.m.tensordot(x, y, axes=([2, 0], [-2, 0])), (2, 1, 3), (2, 3, 2)),
    "einsum transposed": (lambda n, x, y: n.m.einsum("ij,kj->ki", x, y), (2, 3), (2, 3)),
    "einsum batch": (lambda n, x, y: n.m.einsum("bij,bjk->ikb", x, y), (2, 2, 3), (2, 3, 2)),
    "einsum implicit": (lambda n, x, y: n.m.einsum("ba,bc", x, y), (3, 2), (3, 2)),
    "einsum 4-D": (lambda n, x, y: n.m.einsum("ijkl,klm->ijm", x, y), (2, 1, 2, 3), (2, 3, 2)),
    "einsum ellipsis both": (
        lambda n, x, y: n.m.einsum("...ij,...jk->...ki", x, y), (2, 1, 2, 3), (2, 3, 2)),
    "einsum diagonal both": (lambda n, x, y: n.m.einsum("ii,ij->j", x, y), (3, 3), (3, 2)),
    "einsum partial diagonal": (lambda n, x: n.m.einsum("iij->j", x * x), (3, 3, 2)),
    "einsum power": (lambda n, x: n.m.einsum("i,i,i->", x, x, x), (4,)),
    "einsum outer": (lambda n, x, y: n.m.einsum("i,j,k->kij", x, y, x), (2,), (3,)),
    "einsum sum": (lambda n, x, y: n.m.einsum("ij,k->j", x, y), (2, 3), (2,)),
}  # fmt: skip

INDEX = {
    "newaxis and step": (lambda n, x: x[None, ..., ::-2, None, 1] ** 3, (2, 3, 2)),
    "fancy beside slice": (lambda n, x: x[:, np.array([0, 2, 0])] ** 3, (2, 3, 2)),
    "fancy apart": (lambda n, x: x[np.array([0, 1]), :, np.array([1, 1])] ** 3, (2, 3, 2)),
    "fancy outer": (lambda n, x: x[I2, J2] ** 3, (2, 3)),
    "fancy and integer": (lambda n, x: x[0, :, np.array([1, 0, 1])] ** 3, (2, 3, 2)),
    "fancy and newaxis": (lambda n, x: x[np.array([1, 1]), None, ::-1] ** 3, (2, 3)),
    "mask": (lambda n, x: x[MASK] ** 3 * x[~MASK], (3, 2)),
    "empty slice": (lambda n, x: x[:0] ** 3, (3, 2)),
    "set step": (lambda n, x, y: _set_step(x, y), (4, 3), (2,)),
    "set scalar": (lambda n, x, y: _set_scalar(x, y), (3, 2), (3,)),
    "add in place": (lambda n, x, y: _add_in_place(x, y), (3, 2), (2,)),
}

LINALG = {
    "solve batched": (lambda n, a, b: n.m.linalg.solve(a, b), well(2, 2, 2), (2, 2, 1)),
    "inv batched": (lambda n, a: n.m.linalg.inv(a), well(2, 2, 2)),
    "det batched": (lambda n, a: n.m.linalg.det(a), (2, 3, 3)),
    "slogdet batched": (lambda n, a: n.m.linalg.slogdet(a)[1], well(2, 2, 2)),
    "cholesky batched": (
        lambda n, a: n.m.linalg.cholesky(a @ n.m.swapaxes(a, -1, -2)), well(2, 2, 2)),
    "solve transposed": (lambda n, a, b: n.m.linalg.solve(a.T, b) @ b, well(3, 3), (3,)),
    "solve twice": (
        lambda n, a, b: n.m.linalg.solve(a, n.m.linalg.solve(a.T, b)), well(2, 2), (2, 2)),
    "inv product": (lambda n, a, b: b @ n.m.linalg.inv(a) @ b, well(3, 3), (3,)),
    "det 4": (lambda n, a: n.m.linalg.det(a) * 0.1, (4, 4)),
    "det times inv": (lambda n, a: n.m.linalg.det(a) * n.m.linalg.inv(a), well(2, 2)),
    "logdet of gram": (lambda n, a: n.m.linalg.slogdet(a.T @ a)[1], well(4, 4)[:, :3]),
    "triangular upper": (
        lambda n, a, b: n.solve_triangular(a, b, lower=False), well(3, 3), (3, 2)),
    "cholesky solve": (
        lambda n, a, b: n.solve_triangular(
            n.m.linalg.cholesky(a @ a.T), b, lower=True), well(3, 3), (3,)),
}  # fmt: skip


def _transposed(shape):
    return RNG.uniform(-2, 2, shape[::-1]).T


TRANSPOSED = {
    "elementwise": (lambda n, x, y: n.m.sin(x) * y, _transposed((3, 4)), (3, 4)),
    "sum": (lambda n, x: n.m.sum(x**3, axis=0), _transposed((2, 3, 4))),
    "matmul": (lambda n, x, y: x @ y.T, _transposed((2, 3)), _transposed((4, 3))),
    "cumsum": (lambda n, x: n.m.cumsum(x * x, axis=1), _transposed((3, 4))),
    "solve": (lambda n, a, b: n.m.linalg.solve(a, b), well(3, 3).T, _transposed((3, 2))),
    "stepped": (lambda n, x: n.m.cumprod(x)[::-1], RNG.uniform(-2, 2, 9)[::-2]),
    "broadcast": (lambda n, x: x * n.m.sin(x), np.broadcast_to(RNG.normal(size=(3, 1)), (3, 2))),
}

THIRD = {
    "sin product": (lambda n, x: n.m.sin(x) * x[::-1], (3,)),
    "prod": (lambda n, x: n.m.prod(x), (4,)),
    "prod of zeros": (lambda n, x: n.m.prod(x), np.array([0, 2.0, 0, 3])),
    "cumprod of zeros": (lambda n, x: n.m.cumprod(x), np.array([0, 2.0, 0, 3])),
    "softmax": (lambda n, x: n.softmax(x, axis=-1), (2, 2)),
    "log_softmax": (lambda n, x: n.log_softmax(x, axis=0), (2, 2)),
    "logsumexp": (lambda n, x: n.logsumexp(x), (4,)),
    "norm": (lambda n, x: n.m.linalg.norm(x), (3,)),
    "std": (lambda n, x: n.m.std(x), (4,)),
    "solve": (lambda n, a, b: n.m.linalg.solve(a, b), well(2, 2), (2,)),
    "inv": (lambda n, a: n.m.linalg.inv(a), well(2, 2)),
    "det": (lambda n, a: n.m.linalg.det(a), (3, 3)),
    "det 4": (lambda n, a: n.m.linalg.det(a), well(4, 4)),
    "slogdet": (lambda n, a: n.m.linalg.slogdet(a)[1], well(3, 3)),
    "cholesky": (lambda n, a: n.m.linalg.cholesky(a @ a.T), well(2, 2)),
    "matmul": (lambda n, x: x @ x @ x, (2, 2)),
    "einsum": (lambda n, x: n.m.einsum("ij,jk,kl->il", x, x, x), (2, 2)),
    "max": (lambda n, x: n.m.max(x**3, axis=0), distinct(3, 2)),
    "where": (lambda n, x: n.m.where(x > 0, x**3, n.m.exp(x)), (4,)),
    "cumsum": (lambda n, x: n.m.cumsum(x**3), (4,)),
    "fancy": (lambda n, x: x[np.array([0, 2, 2])] ** 3, (3,)),
    "logistic": (lambda n, x: n.m.log(1 + n.m.exp(x)), (3,)),
    "logaddexp": (lambda n, x: n.m.logaddexp(x, x[::-1]), (3,)),
    "hypot": (lambda n, x: n.m.hypot(x, x[::-1] + 3), (3,)),
    "arctan2": (lambda n, x: n.m.arctan2(x, x[::-1]), positive(3)),
    "power": (lambda n, x: x ** x[::-1], positive(3)),
    "xlogy": (lambda n, x: n.s.xlogy(x, x[::-1]), positive(3)),
    "erf": (lambda n, x: n.s.erf(x) * n.s.erfc(x[::-1]), (3,)),
    "gammaln": (lambda n, x: n.s.gammaln(x) + n.s.digamma(x), positive(3)),
    "expit": (lambda n, x: n.s.expit(x), (3,)),
    "tanh": (lambda n, x: n.m.tanh(x) * n.m.arctanh(x / 3), (3,)),
    "power 5/2": (lambda n, x: x**2.5 + x**-2 + x**3, positive(3)),
    "roots": (lambda n, x: n.m.sqrt(x) * n.m.cbrt(x), positive(3)),
    "inverse functions": (
        lambda n, x: n.m.arcsin(x / 4) + n.m.arccos(x / 4) * x + n.m.arcsinh(x) + n.m.arctan(x),
        (3,)),
    "arccosh": (lambda n, x: n.m.arccosh(x + 2), positive(3)),
    "hyperbolic": (lambda n, x: n.m.sinh(x) / n.m.cosh(x) + n.m.tan(x / 3), (3,)),
    "logarithms": (lambda n, x: n.m.log1p(x) + n.m.log2(x) + n.m.log10(x), positive(3)),
    "exponentials": (lambda n, x: n.m.expm1(x) + n.m.exp2(x), (3,)),
}  # fmt: skip

GROUPS = {
    "empty": EMPTY, "unit": UNIT, "axes": AXES, "broadcast": BROADCAST, "index": INDEX,
    "linalg": LINALG, "transposed": TRANSPOSED,
}  # fmt: skip


def _cases(group, rows):
    rng = np.random.default_rng(0)
    for name, (f, *shapes) in rows.items():
        args = tuple(rng.uniform(-2, 2, s) if isinstance(s, tuple) else s for s in shapes)
        yield f"{group}: {name}", f, args


def cases():
    """(name, function of a namespace and arrays, arrays) for every awkward shape."""
    for group, rows in GROUPS.items():
        yield from _cases(group, rows)


def third_cases():
    """The same for third derivatives."""
    return _cases("third", THIRD)
