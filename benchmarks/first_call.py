"""Gradient of the chained Rosenbrock function. Here the first two columns are the question.

The cached row is a new process that finds the compiled code on disk.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys

import numpy as np
from harness import HERE, HandwrittenC, Work, by_casadi, by_jax, by_symgrad, by_torch, need
from rosenbrock_hessian import data, rosenbrock

import symgrad as sg

CHILD = """
import json, sys
import first_call, harness
stage = harness.Stages()
first_call.symgrad(stage, *first_call.data(int(sys.argv[1])))
print(json.dumps(stage.seconds))
"""


def symgrad(stage, x):
    return by_symgrad(stage, sg.value_and_grad(rosenbrock), x)


def symgrad_cached(stage, x):
    call = symgrad(type(stage)(), x)  # fills the cache
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD, str(len(x))]
    out = subprocess.run(command, cwd=HERE, env=environment, check=True, capture_output=True).stdout
    stage.seconds.update(json.loads(out))
    return call


def numpy_by_hand(stage, x):
    def value_and_gradient():
        rise, rest = x[1:] - x[:-1] ** 2, 1 - x[:-1]
        slope = np.zeros_like(x)
        slope[:-1] = -400 * rise * x[:-1] - 2 * rest
        slope[1:] += 200 * rise
        return 100 * rise @ rise + rest @ rest, slope

    return value_and_gradient


def c_by_hand(stage, x):
    c, n = HandwrittenC(stage, "rosenbrock_gradient"), len(x)

    def call():
        value, slope = np.empty(1), np.empty(n)
        c(n, x, value, slope)
        return value, slope

    return call


def numba_by_hand(stage, x):
    numba = need("numba")

    @numba.njit
    def value_and_gradient(x):
        value, slope = 0.0, np.zeros(len(x))
        for i in range(len(x) - 1):
            rise, rest = x[i + 1] - x[i] ** 2, 1 - x[i]
            value += 100 * rise**2 + rest**2
            slope[i] -= 400 * rise * x[i] + 2 * rest
            slope[i + 1] = 200 * rise
        return value, slope

    return lambda: value_and_gradient(x)


def jax_naive(stage, x):
    jax = need("jax")

    def rosenbrock(x):
        return jax.numpy.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    return by_jax(stage, jax.value_and_grad(rosenbrock), x)


def torch_eager(stage, x, compiled=False):
    torch = need("torch")

    def rosenbrock(x):
        return torch.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    return by_torch(stage, rosenbrock, 1, x, compiled=compiled)


def torch_compiled(stage, x):
    return torch_eager(stage, x, compiled=True)


def casadi_vm(stage, x, generate=False):
    """Array expressions on CasADi's virtual machine."""
    ca = need("casadi")
    with stage("derive"):
        X = ca.MX.sym("x", len(x))
        value = 100 * ca.sumsqr(X[1:] - X[:-1] ** 2) + ca.sumsqr(1 - X[:-1])
        function = ca.Function(f"gradient_{len(x)}", [X], [value, ca.gradient(value, X)])
    return by_casadi(stage, function, x, generate=generate)


def casadi_c(stage, x):
    return casadi_vm(stage, x, generate=True)


def pytensor_function(stage, x):
    pytensor, pt = need("pytensor"), need("pytensor.tensor")
    with stage("derive"):
        X = pt.vector("x")
        value = pt.sum(100 * (X[1:] - X[:-1] ** 2) ** 2 + (1 - X[:-1]) ** 2)
        slope = pytensor.grad(value, X)
    with stage("compile"):
        function = pytensor.function([X], [value, slope], trust_input=True)
    return functools.partial(function, x)


def heyoka_cfunc(stage, x):
    hy = need("heyoka")
    with stage("derive"):
        X = hy.make_vars(*[f"x{i}" for i in range(len(x))])
        terms = [100.0 * (b - a**2.0) ** 2.0 + (1.0 - a) ** 2.0
                 for a, b in zip(X[:-1], X[1:], strict=True)]  # fmt: skip
        value = hy.sum(terms)
        tensors = hy.diff_tensors([value], diff_args=X, diff_order=1)
    with stage("compile"):
        function = hy.cfunc([value, *tensors.gradient], X)

    def value_and_gradient():
        result = function(x)
        return result[0], result[1:]

    return value_and_gradient


WORK = Work(
    title="Chained Rosenbrock, first gradient",
    data=data,
    sizes=[dict(n=1000)],
    tiny=[dict(n=5)],
    peers={
        "NumPy by hand": numpy_by_hand,
        "C by hand": c_by_hand,
        "symgrad": symgrad,
        "symgrad, cached": symgrad_cached,
        "JAX": jax_naive,
        "PyTorch": torch_eager,
        "PyTorch compiled": torch_compiled,
        "CasADi": casadi_vm,
        "CasADi C": casadi_c,
        "PyTensor": pytensor_function,
        "heyoka": heyoka_cfunc,
        "numba by hand": numba_by_hand,
    },
)
