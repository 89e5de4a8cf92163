"""Dense Hessian of the squared error of a network with one hidden layer, in all its parameters."""

from __future__ import annotations

import functools

import numpy as np
from harness import HandwrittenC, Work, by_casadi, by_jax, by_symgrad, need

import symgrad as sg


def data(n, inputs, hidden):
    rng = np.random.default_rng(0)
    params = 0.5 * rng.normal(size=(inputs + 2) * hidden + 1)
    return params, rng.normal(size=(n, inputs)), rng.normal(size=n)


def loss(params, X, target):
    d = X.shape[1]
    m = (len(params) - 1) // (d + 2)
    W = params[: d * m].reshape(d, m)
    b, v, c = params[d * m : (d + 1) * m], params[(d + 1) * m : -1], params[-1]
    u = np.tanh(X @ W + b) @ v + c
    return 0.5 * np.mean((u - target) ** 2)


def symgrad(stage, *data):
    return by_symgrad(stage, sg.hessian(loss), *data)


def numpy_by_hand(stage, params, X, target):
    """H = mean g g' + (u - t) H_u over the points, with a 1 appended to each x for the bias."""
    n, d = X.shape
    m = (len(params) - 1) // (d + 2)

    def hessian():
        W, v, c = params[: (d + 1) * m].reshape(d + 1, m), params[(d + 1) * m : -1], params[-1]
        x = np.concatenate([X, np.ones((n, 1))], axis=1)
        h = np.tanh(x @ W)
        s = 1 - h * h
        residual = (h @ v + c - target) / n
        first = (x[:, :, None] * (v * s)[:, None, :]).reshape(n, -1)
        g = np.concatenate([first, h, np.ones((n, 1))], axis=1)
        H = g.T @ g / n
        units = np.arange(m)
        bend = np.einsum("n,np,nq,nj->jpq", residual, x, x, -2 * v * h * s, optimize=True)
        each = H[:-1, :-1].reshape(d + 2, m, d + 2, m)  # a view
        each[: d + 1, units, : d + 1, units] += bend
        mixed = (residual[:, None] * x).T @ s
        each[: d + 1, units, d + 1, units] += mixed
        each[d + 1, units, : d + 1, units] += mixed.T  # the axis of an index list comes first
        return H

    return hessian


def c_by_hand(stage, params, X, target):
    c = HandwrittenC(stage, "dense_hessian")
    n, d = X.shape
    P = len(params)
    m = (P - 1) // (d + 2)
    work = np.empty(P + 2 * m + d + 1)

    def hessian():
        result = np.empty((P, P))
        c(n, d, m, params, X, target, result, work)
        return result

    return hessian


def written_with(xp):
    """The loss on the functions of a module."""

    def loss(params, X, target):
        d = X.shape[1]
        m = (params.shape[0] - 1) // (d + 2)
        W = params[: d * m].reshape((d, m))
        b, v, c = params[d * m : (d + 1) * m], params[(d + 1) * m : -1], params[-1]
        u = xp.tanh(X @ W + b) @ v + c
        return 0.5 * xp.mean((u - target) ** 2)

    return loss


def jax_naive(stage, *data):
    jax = need("jax")
    return by_jax(stage, jax.hessian(written_with(jax.numpy)), *data)


def jax_best(stage, *data):
    """Reverse mode once, linearised once, then pushed forward."""
    jax = need("jax")

    def hessian(params, X, target):
        _, push = jax.linearize(jax.grad(lambda p: written_with(jax.numpy)(p, X, target)), params)
        return jax.vmap(push)(jax.numpy.eye(len(params)))

    return by_jax(stage, hessian, *data)


def torch_eager(stage, *data, compiled=False):
    torch = need("torch")
    hessian = torch.func.hessian(written_with(torch))
    if compiled:
        torch._dynamo.reset()
        hessian = torch.compile(hessian, dynamic=False)
    return functools.partial(hessian, *map(torch.as_tensor, data))


def torch_compiled(stage, *data):
    return torch_eager(stage, *data, compiled=True)


def casadi_vm(stage, params, X, target, generate=False):
    """Array expressions; derived by CasADi's own choice of mode."""
    ca = need("casadi")
    n, d = X.shape
    m = (len(params) - 1) // (d + 2)
    with stage("derive"):
        P, XT, T = ca.MX.sym("params", len(params)), ca.MX.sym("XT", d, n), ca.MX.sym("target", n)
        WT = ca.reshape(P[: d * m], m, d)  # by columns
        a = ca.mtimes(WT, XT) + ca.repmat(P[d * m : (d + 1) * m], 1, n)
        u = ca.mtimes(ca.tanh(a).T, P[(d + 1) * m : -1]) + P[-1]
        H = ca.hessian(0.5 / n * ca.sumsqr(u - T), P)[0]
        function = ca.Function(f"dense_hessian_{n}_{len(params)}", [P, XT, T], [ca.densify(H)])
    return by_casadi(stage, function, params, X, target, generate=generate)


def casadi_c(stage, *data):
    return casadi_vm(stage, *data, generate=True)


def pytensor_function(stage, *data):
    pytensor, pt = need("pytensor"), need("pytensor.tensor")
    with stage("derive"):
        P, X, T = pt.vector("params"), pt.matrix("X"), pt.vector("target")
        d = data[1].shape[1]
        m = (len(data[0]) - 1) // (d + 2)
        W = P[: d * m].reshape((d, m))
        u = pt.tanh(X @ W + P[d * m : (d + 1) * m]) @ P[(d + 1) * m : -1] + P[-1]
        H = pytensor.gradient.hessian(0.5 * pt.mean((u - T) ** 2), P)
    with stage("compile"):
        function = pytensor.function([P, X, T], H, trust_input=True)
    return functools.partial(function, *data)


WORK = Work(
    title="Network, dense Hessian",
    data=data,
    sizes=[dict(n=200, inputs=8, hidden=24)],
    tiny=[dict(n=5, inputs=2, hidden=3)],
    peers={
        "NumPy by hand": numpy_by_hand,
        "C by hand": c_by_hand,
        "symgrad": symgrad,
        "JAX": jax_naive,
        "JAX best": jax_best,
        "PyTorch": torch_eager,
        "PyTorch compiled": torch_compiled,
        "CasADi": casadi_vm,
        "CasADi C": casadi_c,
        "PyTensor": pytensor_function,
    },
    slow=(*Work.slow, "CasADi C"),  # gcc -O3 takes minutes
    absent={"heyoka": "scalar expressions only", "numba": "the same as C by hand"},
)
