"""What threads= and blas=True gain over one thread.

    python benchmarks/threads.py [threads]

Default is one for each processor. Interleaved, medians of elapsed time; before anything is timed,
threads= has to give the bits of one thread, and the BLAS numbers that agree. Above 1 is faster. On
a machine that is busy otherwise, threads wait for each other, and all of this is slower than one.
"""

from __future__ import annotations

import os
import statistics
import sys

import environment

THREADS = os.cpu_count() or 1
if __name__ == "__main__":
    THREADS = int(sys.argv[1]) if sys.argv[1:] else THREADS
    environment.limit_threads(THREADS)

import functools  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import harness  # noqa: E402
import numpy as np  # noqa: E402

import symgrad as sg  # noqa: E402
from symgrad.tree import flatten  # noqa: E402


def network(weights: list[Any], x: Any) -> Any:
    for w in weights:
        x = np.tanh(x @ w)
    return np.sum(x**2)


def expression(a: Any, b: Any) -> Any:
    return np.sum(np.exp(-a * b) * np.sin(a) + np.log(1 + a * a + b * b))


def mixture(factors: Any, means: Any, x: Any) -> Any:
    z = np.einsum("kab,nkb->nka", factors, x[:, None, :] - means)
    return np.sum(sg.logsumexp(-0.5 * np.sum(z**2, axis=2), axis=1))


def logistic(w: Any, x: Any) -> Any:
    return np.mean(np.log1p(np.exp(-(x @ w))))


def layers(width: int, depth: int, points: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(width, width)) / width**0.5 for _ in range(depth)]
    return weights, rng.normal(size=(points, width))


def matrices(n: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(2, n, n)))


def normals(*shapes: tuple[int, ...]) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=shape) / 8 for shape in shapes)


CASES: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
    *((f"product, {n} rows", np.matmul, matrices(n)) for n in (256, 480, 1000)),
    ("gradient, 4 layers of 256, 4,096 points", sg.grad(network), layers(256, 4, 4096)),
    ("gradient, 2 layers of 512, 1,024 points", sg.grad(network), layers(512, 2, 1024)),
    ("gradient, 3 layers of 64, 20,000 points", sg.grad(network), layers(64, 3, 20_000)),
    ("gradient, mixture, 10,000 points, 32, 25", sg.grad(mixture, (0, 1)),
     normals((25, 32, 32), (25, 32), (10_000, 32))),
    ("Hessian, logistic, 100,000 points, 100", sg.hessian(logistic),
     normals((100,), (100_000, 100))),
    ("gradient of exp, sin, log, 1e6 points", sg.grad(expression, argnums=(0, 1)),
     tuple(np.random.default_rng(0).normal(size=(2, 1_000_000)))),
]  # fmt: skip


def main() -> None:
    print(f"{'':42}{'1 thread':>10}{f'threads={THREADS}':>12}{'blas=True':>12}")
    for name, f, args in CASES:
        made = [sg.compile(f, *args, **choice)
                for choice in ({}, {"threads": THREADS}, {"blas": True})]  # fmt: skip
        alone, shared, by_blas = ([np.asarray(x) for x in flatten(c(*args))[0]] for c in made)
        if any(a.tobytes() != b.tobytes() for a, b in zip(alone, shared, strict=True)):
            raise SystemExit(f"{name}: other bits with {THREADS} threads")
        if max(harness.disagreement(a, b) for a, b in zip(alone, by_blas, strict=True)) > 1e-11:
            raise SystemExit(f"{name}: disagrees")
        calls = [functools.partial(c, *args) for c in made]
        # Not all three by turns: waiting threads of OpenMP and of a BLAS are in each other's way.
        pairs = [harness.interleave({"one": calls[0], "other": c}, harness.ROUNDS)
                 for c in calls[1:]]  # fmt: skip
        times = [[statistics.median(wall for _, wall in pair[k]) for k in ("one", "other")]
                 for pair in pairs]  # fmt: skip
        ratios = "".join(f"{one / other:12.2f}" for one, other in times)
        print(f"{name:42}{1e3 * times[0][0]:7.2f} ms{ratios}", flush=True)


if __name__ == "__main__":
    main()
