"""A scalar expression of four variables: value and four derivatives at many points."""

from __future__ import annotations

import numpy as np
from harness import HandwrittenC, Work, by_casadi, by_jax, by_symgrad, by_torch, need

import symgrad as sg


def data(n):
    return tuple(np.random.default_rng(0).uniform(0.1, 1.5, size=(4, n)))


def expression(a, b, c, d):
    return (
        np.exp(-a * b) * np.sin(c + a * d)
        + np.log(1 + a**2 + b**2) * np.sqrt(1 + c * d)
        + (a + c) ** 1.7 / (1 + np.exp(-d))
        + np.cos(b * c)
    )


def symgrad(stage, *data):
    return by_symgrad(stage, sg.vmap(sg.value_and_grad(expression, (0, 1, 2, 3))), *data)


def numpy_by_hand(stage, a, b, c, d):
    def value_and_gradient():
        decay, angle = np.exp(-a * b), c + a * d
        wave, turned = decay * np.sin(angle), decay * np.cos(angle)
        square = 1 + a * a + b * b
        logarithm, root = np.log(square), np.sqrt(1 + c * d)
        sigmoid = 1 / (1 + np.exp(-d))
        rise = (a + c) ** 0.7 * sigmoid
        swing, bend, ring = np.sin(b * c), 0.5 * logarithm / root, 2 * root / square
        value = wave + logarithm * root + (a + c) * rise + np.cos(b * c)
        by_a = -b * wave + d * turned + ring * a + 1.7 * rise
        by_b = -a * wave + ring * b - c * swing
        by_c = turned + bend * d + 1.7 * rise - b * swing
        by_d = a * turned + bend * c + (a + c) * rise * (1 - sigmoid)
        return value, by_a, by_b, by_c, by_d

    return value_and_gradient


def c_by_hand(stage, *data):
    c, n = HandwrittenC(stage, "expression"), len(data[0])

    def call():
        results = tuple(np.empty(n) for _ in range(5))
        c(n, *data, *results)
        return results

    return call


def numba_by_hand(stage, *data):
    numba = need("numba")

    @numba.njit
    def value_and_gradient(A, B, C, D):
        value, by_a, by_b, by_c, by_d = [np.empty(len(A)) for _ in range(5)]
        for i in range(len(A)):
            a, b, c, d = A[i], B[i], C[i], D[i]
            decay, angle = np.exp(-a * b), c + a * d
            wave, turned = decay * np.sin(angle), decay * np.cos(angle)
            square = 1 + a * a + b * b
            logarithm, root = np.log(square), np.sqrt(1 + c * d)
            sigmoid = 1 / (1 + np.exp(-d))
            rise = (a + c) ** 0.7 * sigmoid
            swing, bend, ring = np.sin(b * c), 0.5 * logarithm / root, 2 * root / square
            value[i] = wave + logarithm * root + (a + c) * rise + np.cos(b * c)
            by_a[i] = -b * wave + d * turned + ring * a + 1.7 * rise
            by_b[i] = -a * wave + ring * b - c * swing
            by_c[i] = turned + bend * d + 1.7 * rise - b * swing
            by_d[i] = a * turned + bend * c + (a + c) * rise * (1 - sigmoid)
        return value, by_a, by_b, by_c, by_d

    return lambda: value_and_gradient(*data)


def written_with(m):
    """The expression on the functions of a module `m`."""

    def expression(a, b, c, d):
        return (
            m.exp(-a * b) * m.sin(c + a * d)
            + m.log(1 + a**2 + b**2) * m.sqrt(1 + c * d)
            + (a + c) ** 1.7 / (1 + m.exp(-d))
            + m.cos(b * c)
        )

    return expression


def jax_naive(stage, *data):
    jax = need("jax")
    each = jax.value_and_grad(written_with(jax.numpy), (0, 1, 2, 3))
    return by_jax(stage, jax.vmap(each), *data)


def jax_best(stage, *data):
    """One reverse sweep over whole arrays."""
    jax = need("jax")
    f = written_with(jax.numpy)

    def value_and_gradient(*args):
        value, back = jax.vjp(f, *args)
        return value, back(jax.numpy.ones_like(value))

    return by_jax(stage, value_and_gradient, *data)


def torch_eager(stage, *data, compiled=False):
    torch = need("torch")
    return by_torch(stage, written_with(torch), 4, *data, compiled=compiled)


def torch_compiled(stage, *data):
    return torch_eager(stage, *data, compiled=True)


def casadi_c(stage, *data):
    """Scalars for one point, mapped over the points."""
    ca = need("casadi")
    n = len(data[0])
    with stage("derive"):
        x = ca.SX.sym("x", 4)
        value = written_with(ca)(*ca.vertsplit(x))
        results = ca.vertcat(value, ca.gradient(value, x))
        function = ca.Function("expression", [x], [results]).map(n)
    call = by_casadi(stage, function, np.ascontiguousarray(np.transpose(data)))
    return lambda: call()[0].T


def pytensor_function(stage, *data):
    pytensor, pt = need("pytensor"), need("pytensor.tensor")
    with stage("derive"):
        inputs = [pt.vector(name) for name in "abcd"]
        value = written_with(pt)(*inputs)
        slopes = pytensor.grad(value.sum(), inputs)
    with stage("compile"):
        function = pytensor.function(inputs, [value, *slopes], trust_input=True)
    return lambda: function(*data)


def heyoka_cfunc(stage, *data):
    hy = need("heyoka")
    with stage("derive"):
        variables = hy.make_vars("a", "b", "c", "d")
        value = written_with(hy)(*variables)
        results = [value, *(hy.diff(value, v) for v in variables)]
    with stage("compile"):
        function = hy.cfunc(results, variables)
    inputs = np.ascontiguousarray(data)
    return lambda: function(inputs)


WORK = Work(
    title="Expression of 4 variables, value and gradient",
    data=data,
    sizes=[dict(n=1_000_000), dict(n=4096)],
    tiny=[dict(n=6)],
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
        "heyoka": heyoka_cfunc,
        "numba by hand": numba_by_hand,
    },
)
