"""One gradient of a function of two variables, called from Python: what a call costs.

    python benchmarks/call.py

prints symgrad's ways to call beside the C through cffi with its pointers kept, and beside the
allocation of a result. The C itself, a dozen operations, takes a few nanoseconds.
"""

from __future__ import annotations

import functools
import statistics
import time

import numpy as np
from harness import HandwrittenC, Work, by_casadi, by_jax, by_symgrad, need

import symgrad as sg


def data():
    return (np.array([-1.2, 1.0]),)


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def symgrad(stage, x):
    return by_symgrad(stage, sg.grad(rosenbrock), x)


def symgrad_out(stage, x):
    return by_symgrad(stage, sg.grad(rosenbrock), x, out=np.empty(2))


def symgrad_dispatched(stage, x):
    """Without a type named beforehand: shapes and dtypes are looked up at every call."""
    return functools.partial(sg.grad(rosenbrock), x)


def numpy_by_hand(stage, x):
    def gradient(x):
        rise = x[1] - x[0] ** 2
        return np.array([-400 * rise * x[0] - 2 * (1 - x[0]), 200 * rise])

    return functools.partial(gradient, x)


def c_by_hand(stage, x):
    """cffi's ABI mode, pointers taken at every call."""
    c = HandwrittenC(stage, "rosenbrock_gradient")

    def gradient(x):
        value, result = np.empty(1), np.empty(2)
        c(2, x, value, result)
        return result

    return functools.partial(gradient, x)


def c_pointers(stage, x):
    """cffi's ABI mode, pointers kept: the least such a call costs."""
    c = HandwrittenC(stage, "rosenbrock_gradient")
    value, out = np.empty(1), np.empty(2)
    pointers = [c.ffi.from_buffer("double[]", a) for a in (x, value, out)]

    def call():
        c.function(2, *pointers)
        return out

    return call


def numba_by_hand(stage, x):
    numba = need("numba")

    @numba.njit
    def gradient(x):
        result = np.empty(2)
        rise = x[1] - x[0] ** 2
        result[0] = -400 * rise * x[0] - 2 * (1 - x[0])
        result[1] = 200 * rise
        return result

    return functools.partial(gradient, x)


def jax_call(stage, x):
    jax = need("jax")
    return by_jax(stage, jax.grad(rosenbrock), x)


def torch_eager(stage, x):
    torch = need("torch")
    x = torch.as_tensor(x).requires_grad_()
    return lambda: torch.autograd.grad(rosenbrock(x), x)


def casadi_function(stage):
    ca = need("casadi")
    with stage("derive"):
        x = ca.SX.sym("x", 2)
        return ca.Function("rosenbrock_gradient", [x], [ca.gradient(rosenbrock(x), x)])


def casadi_c(stage, x):
    return by_casadi(stage, casadi_function(stage), x)


def casadi_dm(stage, x):
    """CasADi's virtual machine and its own matrices, as its users call it."""
    function = casadi_function(stage)
    return functools.partial(function, need("casadi").DM(x))


def pytensor_function(stage, x):
    pytensor, pt = need("pytensor"), need("pytensor.tensor")
    with stage("derive"):
        X = pt.vector("x")
        slope = pytensor.grad(rosenbrock(X), X)
    with stage("compile"):
        function = pytensor.function([X], slope, trust_input=True)
    return functools.partial(function, x)


def heyoka_cfunc(stage, x):
    hy = need("heyoka")
    with stage("derive"):
        variables = hy.make_vars("x", "y")
        value = rosenbrock(variables)
        slopes = [hy.diff(value, v) for v in variables]
    with stage("compile"):
        function = hy.cfunc(slopes, variables)
    return functools.partial(function, x)


WORK = Work(
    title="One call, gradient of 2 variables",
    data=data,
    sizes=[{}],
    tiny=[{}],
    peers={
        "NumPy by hand": numpy_by_hand,
        "C by hand": c_by_hand,
        "bare cffi call": c_pointers,
        "symgrad": symgrad,
        "symgrad out=": symgrad_out,
        "symgrad, no types": symgrad_dispatched,
        "JAX": jax_call,
        "PyTorch": torch_eager,
        "CasADi C": casadi_c,
        "CasADi": casadi_dm,
        "PyTensor": pytensor_function,
        "heyoka": heyoka_cfunc,
        "numba by hand": numba_by_hand,
    },
)


def main() -> None:
    import cffi

    (x,) = data()
    out = np.empty(2)
    gradient, both = sg.grad(rosenbrock), sg.value_and_grad(rosenbrock)
    compiled = sg.compile(gradient, x)
    pointers = [cffi.FFI().from_buffer("double[]", a) for a in (x, out)]
    calls = {
        "np.empty(2)": lambda n: [np.empty(2) for _ in range(n)],
        "C by cffi": lambda n, f=compiled.cffi: [f(*pointers) for _ in range(n)],
        "sg.compile(..)(x, out=out)": lambda n: [compiled(x, out=out) for _ in range(n)],
        "sg.compile(..)(x)": lambda n: [compiled(x) for _ in range(n)],
        "sg.grad(f)(x)": lambda n: [gradient(x) for _ in range(n)],
        "sg.value_and_grad(f)(x)": lambda n: [both(x) for _ in range(n)],
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(41):
        for name, repeat in calls.items():
            repeat(1)
            start = time.thread_time()
            repeat(10_000)
            times[name].append((time.thread_time() - start) / 10_000 * 1e9)
    empty, bare = (statistics.median(times[name]) for name in ("np.empty(2)", "C by cffi"))
    print(f"{'':28}{'ns':>8}{'/ np.empty':>12}{'/ cffi':>8}")
    for name, seconds in times.items():
        ns = statistics.median(seconds)
        print(f"{name:28}{ns:8.0f}{ns / empty:12.2f}{ns / bare:8.2f}")


if __name__ == "__main__":
    main()
