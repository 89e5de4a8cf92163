"""Sparse Hessian of the chained Rosenbrock function: time to build, time to evaluate.

    python benchmarks/sparse_hessian.py [n ...]

`values` is the C call that writes the entries into an array of the caller, `csr_array` a call that
returns a new matrix, `write` np.copyto of as many entries: the bound. `sweeps` is the same C call
when the entries are computed by coloured sweeps, as for functions that are not made of slices. JAX,
if it is installed, computes three coloured Hessian-vector products and no matrix. Microseconds,
the best of many calls; seconds to build include the C compiler.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import symgrad as sg
from symgrad.sparse import compress

try:
    import jax
    import jax.numpy as jnp
except ImportError:
    jax = None


def rosenbrock(x: Any) -> Any:
    return ((x[1:] - x[:-1] ** 2) ** 2 * 100 + (1 - x[:-1]) ** 2).sum()


def microseconds(call: Callable[[], Any], seconds: float = 0.5) -> float:
    """The best of the calls that fit into so many seconds."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best * 1e6


def built(n: int) -> tuple[float, Any]:
    start = time.perf_counter()
    compiled = sg.sparse_hessian(rosenbrock).compile(sg.f64[n])
    return time.perf_counter() - start, compiled


def by_sweeps(n: int) -> Any:
    direct = compress.direct_entries
    compress.direct_entries = lambda *args: None
    try:
        return built(n)[1]
    finally:
        compress.direct_entries = direct


def of_jax(x: np.ndarray) -> float:
    jax.config.update("jax_enable_x64", True)
    seeds = jnp.asarray(np.arange(3)[:, None] == np.arange(len(x)) % 3, float)
    products = jax.jit(
        lambda x: jax.vmap(lambda v: jax.jvp(jax.grad(rosenbrock), (x,), (v,))[1])(seeds)
    )
    x = jnp.asarray(x)
    products(x).block_until_ready()
    return microseconds(lambda: products(x).block_until_ready())


def row(n: int) -> list[float]:
    x = np.random.default_rng(0).normal(size=n)
    seconds, compiled = built(n)
    sweeps = by_sweeps(n)
    out = compiled.values(x)
    source = out.copy()
    values = microseconds(lambda: compiled.values(x, out=out))
    matrix = microseconds(lambda: compiled(x))
    write = microseconds(lambda: np.copyto(out, source))
    swept = microseconds(lambda: sweeps.values(x, out=out))
    theirs = of_jax(x) if jax else float("nan")
    return [seconds, values, matrix, write, values / write, swept, theirs]


def main(sizes: list[int]) -> None:
    built(5)  # imports and the compiler's identity are not part of the question
    heads = ["n", "build s", "values", "csr_array", "write", "ratio", "sweeps", "jax"]
    print(" ".join(f"{h:>9}" for h in heads))
    for n in sizes:
        seconds, *rest = row(n)
        print(f"{n:9d} {seconds:9.3f} " + " ".join(f"{v:9.1f}" for v in rest))


if __name__ == "__main__":
    main([int(a) for a in sys.argv[1:]] or [1000, 10_000, 100_000])
