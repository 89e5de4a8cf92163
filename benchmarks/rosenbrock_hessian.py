"""Sparse Hessian of the chained Rosenbrock function: tridiagonal.

Where a tool has products with the Hessian but no sparse Hessian, three of them, with every third
column each, give all entries.
"""

from __future__ import annotations

import functools

import numpy as np
import scipy.sparse
from harness import HandwrittenC, Skip, Work, by_casadi, by_jax, by_symgrad, need

import symgrad as sg


def data(n):
    return (np.random.default_rng(0).normal(size=n),)


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def seeds(n):
    """Ones at every third entry."""
    return (np.arange(n) % 3 == np.arange(3)[:, None]).astype(float)


def entries(products):
    """The diagonal and the one above it, from the products with the seeds."""
    products = np.asarray(products)
    i = np.arange(products.shape[1])
    return products[i % 3, i], products[(i[:-1] + 1) % 3, i[:-1]]


def bands(H):
    return H.diagonal(), H.diagonal(1)


def numpy_by_hand(stage, x):
    def hessian():
        diagonal = np.zeros_like(x)
        diagonal[:-1] = 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
        diagonal[1:] += 200
        return diagonal, -400 * x[:-1]

    return hessian


def c_by_hand(stage, x):
    c, n = HandwrittenC(stage, "rosenbrock_hessian"), len(x)

    def hessian():
        diagonal, above = np.empty(n), np.empty(n - 1)
        c(n, x, diagonal, above)
        return diagonal, above

    return hessian


def numba_by_hand(stage, x):
    numba = need("numba")

    @numba.njit
    def hessian(x):
        diagonal, above = np.empty(len(x)), np.empty(len(x) - 1)
        diagonal[0] = 0
        for i in range(len(x) - 1):
            diagonal[i] += 1200 * x[i] ** 2 - 400 * x[i + 1] + 2
            diagonal[i + 1] = 200
            above[i] = -400 * x[i]
        return diagonal, above

    return lambda: hessian(x)


def symgrad(stage, x):
    if not hasattr(sg, "sparse_hessian"):
        raise Skip("sparse_hessian does not exist yet")
    hessian = functools.partial(sg.sparse_hessian(rosenbrock), x)
    return hessian, bands


def symgrad_products(stage, x):
    def products(x, seeds):
        return sg.vmap(lambda v: sg.hvp(rosenbrock, x, v))(seeds)

    return by_symgrad(stage, products, x, seeds(len(x))), entries


def jax_products(stage, x):
    jax = need("jax")
    jnp = jax.numpy

    def rosenbrock(x):
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    def products(x, seeds):
        _, push = jax.linearize(jax.grad(rosenbrock), x)
        return jax.vmap(push)(seeds)

    return by_jax(stage, products, x, seeds(len(x))), entries


def torch_products(stage, x, compiled=False):
    torch = need("torch")

    def rosenbrock(x):
        return torch.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    def product(x, v):
        return torch.func.jvp(torch.func.grad(rosenbrock), (x,), (v,))[1]

    products = torch.func.vmap(product, (None, 0))
    if compiled:
        torch._dynamo.reset()
        products = torch.compile(products, dynamic=False)
    return functools.partial(products, *map(torch.as_tensor, (x, seeds(len(x))))), entries


def torch_compiled(stage, x):
    return torch_products(stage, x, compiled=True)


def casadi_vm(stage, x, generate=False):
    """CasADi's own colouring, on array expressions and its virtual machine."""
    ca = need("casadi")
    n = len(x)
    with stage("derive"):
        X = ca.MX.sym("x", n)
        value = ca.sumsqr(10 * (X[1:] - X[:-1] ** 2)) + ca.sumsqr(1 - X[:-1])
        function = ca.Function(f"rosenbrock_{n}", [X], [ca.hessian(value, X)[0]])
    call = by_casadi(stage, function, x, generate=generate)
    columns, rows = function.sparsity_out(0).get_ccs()

    def dense_bands(result):
        return bands(scipy.sparse.csc_matrix((result[0], rows, columns), (n, n)))

    return call, dense_bands


def casadi_c(stage, x):
    return casadi_vm(stage, x, generate=True)


def pytensor_products(stage, x):
    pytensor, pt = need("pytensor"), need("pytensor.tensor")
    with stage("derive"):
        X, V = pt.vector("x"), pt.matrix("V")
        value = pt.sum(100 * (X[1:] - X[:-1] ** 2) ** 2 + (1 - X[:-1]) ** 2)
        slope = pytensor.grad(value, X)
        products = [pytensor.grad(pt.sum(slope * V[k]), X) for k in range(3)]
    with stage("compile"):
        function = pytensor.function([X, V], products, trust_input=True)
    return functools.partial(function, x, seeds(len(x))), entries


WORK = Work(
    title="Chained Rosenbrock, sparse Hessian",
    data=data,
    sizes=[dict(n=10_000), dict(n=100_000)],
    tiny=[dict(n=2), dict(n=7)],
    peers={
        "NumPy by hand": numpy_by_hand,
        "C by hand": c_by_hand,
        "symgrad": symgrad,
        "symgrad, 3 products": symgrad_products,
        "JAX, 3 products": jax_products,
        "PyTorch, 3 products": torch_products,
        "PyTorch compiled": torch_compiled,
        "CasADi": casadi_vm,
        "CasADi C": casadi_c,
        "PyTensor, 3 products": pytensor_products,
        "numba by hand": numba_by_hand,
    },
    absent={"heyoka": "scalar expressions only"},
)
