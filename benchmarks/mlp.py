"""One step of gradient descent for a network with one hidden layer, in float32."""

from __future__ import annotations

import numpy as np
from harness import HandwrittenC, Work, by_jax, by_symgrad, need

import symgrad as sg

RATE = 0.1


def data(batch, inputs, hidden, classes):
    rng = np.random.default_rng(0)
    params = (
        rng.normal(scale=inputs**-0.5, size=(inputs, hidden)), np.zeros(hidden),
        rng.normal(scale=hidden**-0.5, size=(hidden, classes)), np.zeros(classes),
    )  # fmt: skip
    labels = rng.integers(classes, size=batch, dtype=np.int32)
    X = rng.uniform(size=(batch, inputs)).astype(np.float32)
    return tuple(p.astype(np.float32) for p in params), X, labels


def loss(params, X, labels):
    W1, b1, W2, b2 = params
    h = np.maximum(X @ W1 + b1, 0)
    z = h @ W2 + b2
    return np.mean(sg.logsumexp(z, axis=1) - z[np.arange(len(z)), labels])


def step(params, X, labels):
    slopes = sg.grad(loss)(params, X, labels)
    return tuple(p - RATE * g for p, g in zip(params, slopes, strict=True))


def symgrad(stage, *data):
    return by_symgrad(stage, step, *data)


def numpy_by_hand(stage, params, X, labels):
    W1, b1, W2, b2 = params

    def step():
        h = np.maximum(X @ W1 + b1, 0)
        z = h @ W2 + b2
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        z[np.arange(len(z)), labels] -= 1
        z *= np.float32(-RATE / len(z))
        dh = z @ W2.T
        dh *= h > 0
        return W1 + X.T @ dh, b1 + dh.sum(axis=0), W2 + h.T @ z, b2 + z.sum(axis=0)

    return step


def c_by_hand(stage, params, X, labels):
    """Plain loops: no BLAS."""
    c = HandwrittenC(stage, "mlp")
    batch, inputs = X.shape
    hidden, classes = params[2].shape
    work = np.empty(batch * (2 * hidden + classes), np.float32)

    def step():
        new = tuple(np.empty_like(p) for p in params)
        c(batch, inputs, hidden, classes, RATE, *params, X, labels, *new, work)
        return new

    return step


def jax_step(stage, *data):
    jax = need("jax")
    jnp = jax.numpy

    def loss(params, X, labels):
        W1, b1, W2, b2 = params
        z = jnp.maximum(X @ W1 + b1, 0) @ W2 + b2
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - z[jnp.arange(len(z)), labels])

    def step(params, X, labels):
        slopes = jax.grad(loss)(params, X, labels)
        return tuple(p - RATE * g for p, g in zip(params, slopes, strict=True))

    return by_jax(stage, step, *data)


def torch_eager(stage, params, X, labels, compiled=False):
    torch = need("torch")
    params = [torch.as_tensor(p).requires_grad_() for p in params]
    X, labels = torch.as_tensor(X), torch.as_tensor(labels).long()

    def loss(W1, b1, W2, b2):
        z = torch.relu(X @ W1 + b1) @ W2 + b2
        return torch.nn.functional.cross_entropy(z, labels)

    if compiled:
        torch._dynamo.reset()
        loss = torch.compile(loss, dynamic=False)

    def step():
        slopes = torch.autograd.grad(loss(*params), params)
        with torch.no_grad():
            return [p - RATE * g for p, g in zip(params, slopes, strict=True)]

    return step


def torch_compiled(stage, *data):
    return torch_eager(stage, *data, compiled=True)


def pytensor_step(stage, params, X, labels):
    pytensor, pt = need("pytensor"), need("pytensor.tensor")
    with stage("derive"):
        W1, W2, XS = pt.fmatrix("W1"), pt.fmatrix("W2"), pt.fmatrix("X")
        b1, b2, L = pt.fvector("b1"), pt.fvector("b2"), pt.ivector("labels")
        z = pt.maximum(XS @ W1 + b1, 0) @ W2 + b2
        loss = pt.mean(pt.logsumexp(z, axis=1) - z[pt.arange(z.shape[0]), L], dtype="float32")
        variables = [W1, b1, W2, b2]
        slopes = pytensor.grad(loss, variables)
        rate = np.float32(RATE)
        new = [p - rate * g for p, g in zip(variables, slopes, strict=True)]
    with stage("compile"):
        function = pytensor.function([*variables, XS, L], new, trust_input=True)
    return lambda: function(*params, X, labels)


WORK = Work(
    title="Network, one step of gradient descent, float32",
    data=data,
    sizes=[dict(batch=128, inputs=784, hidden=128, classes=10)],
    tiny=[dict(batch=5, inputs=4, hidden=3, classes=2)],
    tolerance=1e-5,
    peers={
        "NumPy by hand": numpy_by_hand,
        "C by hand": c_by_hand,
        "symgrad": symgrad,
        "JAX": jax_step,
        "PyTorch": torch_eager,
        "PyTorch compiled": torch_compiled,
        "PyTensor": pytensor_step,
    },
    absent={
        "CasADi": "no float32",
        "heyoka": "scalar expressions only",
        "numba": "calls the same BLAS as NumPy",
    },
)
