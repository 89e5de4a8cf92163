"""Mean logistic loss: value and gradient, and Hessian."""

from __future__ import annotations

import numpy as np
from harness import HandwrittenC, Skip, Work, by_casadi, by_jax, by_symgrad, by_torch, need
from scipy.special import expit

import symgrad as sg


def data(n, d, order):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    y = np.sign(X @ rng.normal(size=d) + rng.normal(size=n))
    return 0.3 * rng.normal(size=d), X, y, order


def loss(w, X, y):
    return np.mean(np.log1p(np.exp(-y * (X @ w))))


def symgrad(stage, w, X, y, order):
    derivative = sg.hessian(loss) if order == "Hessian" else sg.value_and_grad(loss)
    return by_symgrad(stage, derivative, w, X, y)


def numpy_by_hand(stage, w, X, y, order):
    def gradient():
        margin = y * (X @ w)
        value = np.mean(np.logaddexp(0, -margin))
        return value, X.T @ (-y * expit(-margin)) / len(y)

    def hessian():
        p = expit(X @ w)
        return X.T @ ((p * (1 - p) / len(y))[:, None] * X)

    return hessian if order == "Hessian" else gradient


def c_by_hand(stage, w, X, y, order):
    n, d = X.shape
    c = HandwrittenC(stage, f"logistic_{order.lower()}")

    def gradient():
        value, slope = np.empty(1), np.empty(d)
        c(n, d, w, X, y, value, slope)
        return value, slope

    def hessian():
        result = np.empty((d, d))
        c(n, d, w, X, y, result)
        return result

    return hessian if order == "Hessian" else gradient


def numba_by_hand(stage, w, X, y, order):
    numba = need("numba")

    @numba.njit
    def gradient(w, X, y):
        value, slope = 0.0, np.zeros(len(w))
        for i in range(len(y)):
            margin = 0.0
            for j in range(len(w)):
                margin += X[i, j] * w[j]
            margin *= -y[i]
            value += max(margin, 0.0) + np.log1p(np.exp(-abs(margin)))
            factor = -y[i] / (1 + np.exp(-margin)) / len(y)
            for j in range(len(w)):
                slope[j] += factor * X[i, j]
        return value / len(y), slope

    @numba.njit
    def hessian(w, X, y):
        d = len(w)
        result = np.zeros((d, d))
        for i in range(len(y)):
            margin = 0.0
            for j in range(d):
                margin += X[i, j] * w[j]
            p = 1 / (1 + np.exp(-margin))
            for a in range(d):
                scaled = p * (1 - p) / len(y) * X[i, a]
                for b in range(a + 1):
                    result[a, b] += scaled * X[i, b]
        for a in range(d):
            for b in range(a):
                result[b, a] = result[a, b]
        return result

    function = hessian if order == "Hessian" else gradient
    return lambda: function(w, X, y)


def jax_call(stage, w, X, y, order, mean_loss):
    jax = need("jax")
    derivative = jax.hessian(mean_loss) if order == "Hessian" else jax.value_and_grad(mean_loss)
    return by_jax(stage, derivative, w, X, y)


def jax_naive(stage, *data):
    jnp = need("jax").numpy
    return jax_call(stage, *data, lambda w, X, y: jnp.mean(jnp.log1p(jnp.exp(-y * (X @ w)))))


def jax_best(stage, *data):
    jax = need("jax")
    return jax_call(stage, *data, lambda w, X, y: jax.numpy.mean(jax.nn.softplus(-y * (X @ w))))


def torch_eager(stage, w, X, y, order, compiled=False):
    torch = need("torch")

    def mean_loss(w, X, y):
        return torch.mean(torch.nn.functional.softplus(-y * (X @ w)))

    if order != "Hessian":
        return by_torch(stage, mean_loss, 1, w, X, y, compiled=compiled)
    w, X, y = map(torch.as_tensor, (w, X, y))
    hessian = torch.func.hessian(mean_loss)
    if compiled:
        hessian = torch.compile(hessian, dynamic=False)
    return lambda: hessian(w, X, y)


def torch_compiled(stage, *data):
    return torch_eager(stage, *data, compiled=True)


def casadi_c(stage, w, X, y, order):
    ca = need("casadi")
    n, d = X.shape
    if order == "Hessian":
        raise Skip("no matrix form: d² straight-line entries or d products per call")
    with stage("derive"):
        W, XT, Y = ca.MX.sym("w", d), ca.MX.sym("XT", d, n), ca.MX.sym("y", n)
        value = ca.sum1(ca.log1p(ca.exp(-Y * ca.mtimes(XT.T, W)))) / n
        gradient = ca.Function(f"logistic_{n}_{d}", [W, XT, Y], [value, ca.gradient(value, W)])
    return by_casadi(stage, gradient, w, X, y)


def pytensor_function(stage, w, X, y, order):
    pytensor, pt = need("pytensor"), need("pytensor.tensor")
    with stage("derive"):
        W, XS, Y = pt.vector("w"), pt.matrix("X"), pt.vector("y")
        value = pt.mean(pt.log1p(pt.exp(-Y * (XS @ W))))
        gradient = pytensor.grad(value, W)
        if order == "Hessian":
            results = pytensor.gradient.hessian(value, W)
        else:
            results = [value, gradient]
    with stage("compile"):
        function = pytensor.function([W, XS, Y], results, trust_input=True)
    return lambda: function(w, X, y)


WORK = Work(
    title="Logistic loss",
    data=data,
    sizes=[dict(n=n, d=d, order=order) for n, d in ((1000, 20), (100_000, 100))
           for order in ("gradient", "Hessian")],
    quick=2,
    tiny=[dict(n=9, d=3, order="gradient"), dict(n=9, d=3, order="Hessian")],
    peers={
        "NumPy by hand": numpy_by_hand,
        "C by hand": c_by_hand,
        "symgrad": symgrad,
        "JAX": jax_naive,
        "JAX best": jax_best,
        "PyTorch": torch_eager,
        "PyTorch compiled": torch_compiled,
        "CasADi C": casadi_c,
        "PyTensor": pytensor_function,
        "numba by hand": numba_by_hand,
    },
    absent={"heyoka": "scalar expressions only"},
)  # fmt: skip
