"""Functions whose C and loop programs are kept in tests/golden/, each with arguments and options.

Together they take the paths of lowering: lanes, straight code, tiles, streams, chunks, threads,
BLAS, cut functions, triangles, scans, gathers, calls. Values of arguments do not matter, shapes do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import symgrad as sg
from support.random_graphs import Builder
from symgrad.diff.modes import drop_stops, vjp
from symgrad.expr.node import arg, const
from symgrad.expr.walk import expand_composites
from symgrad.graph import Graph
from symgrad.ops.control import Body, scan, switch, while_loop
from symgrad.simplify import simplify

GOLDEN: dict[str, Callable[[], Graph]] = {}
RANDOM = 60  # random graphs, of which only hashes are kept


def ones(*shape: int, dtype: str = "float64") -> np.ndarray:
    return np.ones(shape, dtype)


def golden(*args: Any, **options: Any) -> Callable[[Any], Any]:
    """Add a function; `options` are those of a compilation."""

    def add(f: Any) -> Any:
        name = f.__name__
        assert name not in GOLDEN
        GOLDEN[name] = lambda: (sg.trace(f, *args).simplify(), options)
        return f

    return add


def every() -> Iterator[tuple[str, Graph, dict[str, Any]]]:
    for name, make in GOLDEN.items():
        graph, options = make()
        yield name, graph, options


def random_graphs() -> Iterator[tuple[str, list, list]]:
    """Names, arguments and outputs of random graphs, products among them in every third."""
    for seed in range(RANDOM):
        built = Builder(seed, products=0.1 if seed % 3 else 0.5)
        yield f"random {seed}", built.args, expand_composites(drop_stops(built.pool[-3:]))


# ---- branches and loops --------------------------------------------------------------------------


def as_body(f: Any, *like: Any) -> Body:
    graph = sg.trace(f, *like).simplify()
    return Body.close(graph.args, graph.outs)


def loops() -> Iterator[tuple[str, list, list]]:
    """Names, arguments and outputs of nodes with bodies, and of their derivatives."""
    a, x = arg(0, (), "float64"), arg(1, (), "float64")
    goes_on = as_body(lambda a, x: np.abs(x * x - a) > 1e-12 * a, 1.0, 1.0)
    round_ = as_body(lambda a, x: (0.5 * (x + a / x),), 1.0, 1.0)
    root = while_loop(goes_on, round_, [a], [x], 40)[0]
    yield "newton", [a, x], with_gradient(root, [a])

    def kalman(q, m, P, total, y):
        F, h = np.array([[1, 0.1], [0, 1]]), np.array([1.0, 0.0])
        m, P = F @ m, F @ P @ F.T + q * np.eye(2)
        v, s = y - h @ m, h @ P @ h + 0.3
        k = P @ h / s
        return m + k * v, P - np.outer(k, h @ P), total - 0.5 * (np.log(s) + v * v / s)

    step = as_body(kalman, 1.0, ones(2), ones(2, 2), 1.0, 1.0)
    q, m, P = arg(0, (), "float64"), arg(1, (2,), "float64"), arg(2, (2, 2), "float64")
    ys = arg(3, (9,), "float64")
    total = scan(step, [q], [m, P, const(0.0)], [ys], 9)[2]
    yield "kalman", [q, m, P, ys], with_gradient(total, [q, m])

    index, A, v = arg(0, (), "int64"), arg(1, (5, 5), "float64"), arg(2, (5,), "float64")
    sides = [
        lambda A, v: np.sum(np.linalg.solve(A, v)),
        lambda A, v: np.sum(np.exp(A @ v)),
        lambda A, v: np.log(v[0]),
    ]
    (chosen,) = switch(index, [as_body(f, ones(5, 5), ones(5)) for f in sides], [A, v])
    yield "branches", [index, A, v], with_gradient(chosen, [v])


def with_gradient(out: Any, wrt: list) -> list:
    outs = simplify([out, *vjp([out], wrt, [const(1.0)])]).outs
    return expand_composites(drop_stops(outs))


# ---- losses and their derivatives ----------------------------------------------------------------


def logistic_loss(w, X, y):
    return np.mean(np.logaddexp(0.0, -y * (X @ w))) + 0.01 * np.sum(w**2)


def mixture(alphas, means, icf, X):
    n, D = X.shape
    K = len(alphas)
    rows, cols = np.triu_indices(D, 1)[::-1]
    Q = np.zeros_like(icf, shape=(K, D, D))
    Q[:, np.arange(D), np.arange(D)] = np.exp(icf[:, :D])
    Q[:, rows, cols] = icf[:, D:]
    z = np.einsum("kab,nkb->nka", Q, X[:, None, :] - means)
    e = alphas + np.sum(icf[:, :D], axis=1) - 0.5 * np.sum(z**2, axis=2)
    return np.sum(sg.logsumexp(e, axis=1)) - n * sg.logsumexp(alphas) + 0.5 * np.sum(Q**2)


def network(W1, b1, W2, b2, X, Y):
    z = np.tanh(X @ W1 + b1) @ W2 + b2
    return -np.mean(np.sum(Y * sg.log_softmax(z, axis=1), axis=1))


def reprojection(camera, point, weight, feature):
    rotation, centre, focal = camera[:3], camera[3:6], camera[6]
    angle = np.sqrt(np.sum(rotation**2))
    axis = rotation / angle
    x = point - centre
    q = x * np.cos(angle) + np.cross(axis, x) * np.sin(angle)
    q = q + axis * (axis @ x) * (1 - np.cos(angle))
    p = q[:2] / q[2]
    s = np.sum(p**2)
    stretch = 1 + camera[9] * s + camera[10] * s**2
    return weight * (focal * stretch * p + camera[7:9] - feature)


def bundle(cameras, points, weights, features, camera_index, point_index):
    each = sg.vmap(sg.jacobian(reprojection, (0, 1, 2)))
    return each(cameras[camera_index], points[point_index], weights, features)


def two_layers(params, X, target):
    W, v = params[:24].reshape(4, 6), params[24:]
    return np.mean((np.tanh(X @ W) @ v - target) ** 2)


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def sizes_of_mixture(n, D, K):
    return ones(K), ones(K, D), ones(K, D * (D + 1) // 2), ones(n, D)


def observations(n):
    index = np.zeros(n, np.int32)
    return ones(5, 11), ones(20, 3), ones(n), ones(n, 2), index, index


_net = (ones(20, 16), ones(16), ones(16, 4), ones(4), ones(200, 20), ones(200, 4))
_wide = (ones(200, 128), ones(128), ones(128, 10), ones(10), ones(512, 200), ones(512, 10))
_mixture = sg.value_and_grad(mixture, (0, 1, 2))
for _name, _f, _args, _options in [
    ("logistic_gradient", sg.grad(logistic_loss), (ones(10), ones(1000, 10), ones(1000)), {}),
    ("logistic_gradient_tiny", sg.grad(logistic_loss), (ones(3), ones(7, 3), ones(7)), {}),
    ("logistic_gradient_long_rows", sg.grad(logistic_loss),
     (ones(120), ones(1000, 120), ones(1000)), {}),
    ("logistic_gradient_threads", sg.grad(logistic_loss),
     (ones(10), ones(100_000, 10), ones(100_000)), {"threads": 4}),
    ("logistic_hessian", sg.hessian(logistic_loss), (ones(10), ones(1000, 10), ones(1000)), {}),
    ("logistic_hessian_stream", sg.hessian(logistic_loss),
     (ones(100), ones(20_000, 100), ones(20_000)), {}),
    ("logistic_hessian_stream_threads", sg.hessian(logistic_loss),
     (ones(100), ones(20_000, 100), ones(20_000)), {"threads": 2}),
    ("mixture_small", _mixture, sizes_of_mixture(100, 2, 3), {}),
    ("mixture_middle", _mixture, sizes_of_mixture(1000, 8, 5), {}),
    ("mixture_large", _mixture, sizes_of_mixture(1000, 32, 25), {}),
    ("mixture_threads", _mixture, sizes_of_mixture(20_000, 3, 5), {"threads": 2}),
    ("network", sg.value_and_grad(network, (0, 1, 2, 3)), _net, {}),
    ("network_wide", sg.value_and_grad(network, (0, 1, 2, 3)), _wide, {}),
    ("network_wide_threads", sg.value_and_grad(network, (0, 1, 2, 3)), _wide, {"threads": 2}),
    ("network_wide_blas", sg.value_and_grad(network, (0, 1, 2, 3)),
     tuple(np.ones([4 * n if n > 10 else n for n in a.shape]) for a in _wide), {"blas": True}),
    ("network_float32", sg.value_and_grad(network, (0, 1, 2, 3)),
     tuple(a.astype(np.float32) for a in _net), {}),
    ("bundle_few", bundle, observations(8), {}),
    ("bundle_many", bundle, observations(2000), {}),
    ("bundle_threads", bundle, observations(30_000), {"threads": 2}),
    ("dense_hessian", sg.hessian(two_layers), (ones(30), ones(50, 4), ones(50)), {}),
    ("rosenbrock_gradient", sg.grad(rosenbrock), (ones(6),), {}),
    ("rosenbrock_gradient_long", sg.grad(rosenbrock), (ones(5000),), {}),
    ("rosenbrock_hessian", sg.hessian(rosenbrock), (ones(5),), {}),
]:  # fmt: skip
    GOLDEN[_name] = lambda f=_f, a=_args, o=_options: (sg.trace(f, *a).simplify(), o)

# ---- one path of lowering each -------------------------------------------------------------------


@golden(ones(4096), ones(4096), ones(4096), ones(4096))
def expression(a, b, c, d):
    u = np.sin(a * b) + np.cos(a * b) * np.exp(-c * c)
    return sg.vmap(sg.grad(lambda a, b: np.sin(a * b) / (1 + b * b) + a**3.5))(a, d) + u


@golden(ones(30, 40), ones(30, 40))
def pads_and_flips(x, y):
    return np.pad(x[:, ::-1], ((1, 0), (0, 2))), np.roll(y, 3, axis=1), np.sum(x[:, ::-1] * y)


@golden(ones(1000, 3), ones(40, 3))
def padded_beside_others(x, y):
    return np.exp(x) * (np.pad(y, ((0, 960), (0, 0))) + x), np.sqrt(np.sum(x[:1] ** 2))


@golden(ones(50, 20))
def scans(x):
    return np.cumsum(x, axis=0), np.cumprod(np.sin(x), axis=1), np.sum(np.cumsum(np.exp(x), axis=1))


@golden(ones(200, 8), np.zeros(200, np.int64), np.zeros((200, 2), np.int64))
def gathers(x, i, j):
    table = np.exp(x[:20])
    return table[i % 20], x[j], np.sum(np.sin(x)[i])


@golden(ones(8), np.zeros(300, np.int64), ones(300))
def scatter(t, i, w):
    return sg.grad(lambda t: np.sum(w * np.exp(t[i])))(t)


@golden(ones(40, 30), ones(500))
def extrema(x, y):
    return np.argmax(x, axis=1), np.max(x, axis=0), np.min(y), np.argmin(y), np.max(np.abs(y))


@golden(ones(30, 40), ones(2, 5, 6), ones(3))
def joined(x, y, z):
    a = np.concatenate([x, np.exp(x), x[::2]])
    return a, np.stack([y[0], np.sin(y[1])], axis=-1), np.append(z, z[::-1] * 2)


@golden(ones(6, 6), ones(6), ones(4, 3, 3))
def linear_algebra(a, b, c):
    s = a @ a.T + 6 * np.eye(6)
    return np.linalg.solve(a, b), np.linalg.det(c), np.linalg.slogdet(s)[1], np.linalg.cholesky(s)


@golden(ones(300, 40), ones(300))
def weighted_gram(x, d):
    return np.einsum("ni,n,nj->ij", x, d, x), np.tril(x.T @ x)


@golden(ones(5, 40, 30), ones(5, 30, 50))
def batched_products(x, y):
    return np.tanh(x @ y), np.einsum("bij,bjk->ik", x, y)


@golden(ones(700, 300), ones(300, 5000))
def long_product(x, y):
    return x @ y


@golden(ones(40_000, 100), ones(100, 5))
def product_in_blocks(x, w):
    return np.tanh(x @ w)


@golden(ones(131, 31), ones(31, 131), threads=2)
def sum_of_functions_of_a_product(a, b):
    return np.sum(np.sin(a @ b))


@golden(ones(64, 64, dtype="float32"), ones(64, dtype="float32"))
def single_precision(x, y):
    return sg.value_and_grad(lambda y: np.mean(np.logaddexp(x @ y, 0)) + np.max(y))(y)


@golden(ones(3, dtype="float32"), ones(3), np.arange(3, dtype=np.int32))
def mixed_types(x, y, k):
    return x * 2.5 + y, k // 2 + k % 3, np.where(k > 1, x, y), x > 0, k.astype(np.float32)


@golden(ones(100_000))
def long_sums(x):
    return np.sum(x), np.mean(np.exp(x)), np.linalg.norm(x), np.sum(x[::-1] * x)


@golden(ones(33, 65), ones(65))
def short_rows(x, v):
    return x @ v, np.sum(np.sqrt(x**2 + 1), axis=1), np.std(x, axis=0)


@golden(1.0)
def chain(x):
    for k in range(300):
        x = np.sin(x) * 1.0001 + 0.1 * k
    return x


@golden(ones(96), ones(1000))
def polynomial_in_parts(c, x):
    def loss(c):
        r, power = x, np.ones_like(x)
        for k in range(96):
            r, power = r - c[k] * power, power * x
        return np.sum(r**2)

    return sg.grad(loss)(c)


@golden(ones(9))
def elements(x):
    def f(x):
        return x[0] * np.sin(x[1]) + x[2] * x[3] ** 2 - np.exp(x[4] * x[5]) / x[6] + x[7] * x[8]

    return sg.value_and_grad(f)(x)


@golden(ones(2000), ones(2000))
def special_functions(x, y):
    import scipy.special as sp

    return sp.gammaln(x), sp.digamma(x), sp.expit(x), sp.xlogy(x, y), sp.erf(x), np.logaddexp(x, y)


@golden(ones(50, 50))
def captured(x):
    data = np.linspace(0, 1, 10_000).reshape(200, 50)
    few = np.arange(50.0)
    return data @ x, x * few


@golden(ones(400, 6))
def distances(x):
    d = x[:, None, :] - x[None, :, :]
    return np.sum(np.exp(-0.5 * np.sum(d * d, axis=2)))


@golden(ones(30, 30), ones(30))
def quadratic_form(a, x):
    return x @ a @ x, sg.hessian(lambda x: np.sin(x @ a @ x))(x)


@golden(ones(1000, 4), ones(1000, 4))
def branches_in_lanes(a, b):
    def f(a, b):
        v = np.exp(-a * a) + a * np.sum(a[:266] ** 2)
        return np.mean(np.sin(np.tanh(v))) + np.sum(np.where(b > 0, np.exp2(b), b))

    return sg.grad(f, (0, 1))(a, b)
