"""The hottest kernels against what the machine can do, its clock and memory measured beside them.

    python benchmarks/roofline.py

Peak: two fused multiplications and additions of vectors in each cycle. x86-64 and gcc only. CPU
time, medians, interleaved.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import statistics  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402

import gmm  # noqa: E402
import numpy as np  # noqa: E402
from harness import HandwrittenC, Stages  # noqa: E402

import symgrad as sg  # noqa: E402

VECTOR_BYTES = 32
ADDITIONS = 2_000_000
ROUNDS = 25


def main() -> None:
    rng = np.random.default_rng(0)
    machine = HandwrittenC(Stages(), "machine")
    out, large = np.empty(1), rng.normal(size=10_000_000)
    A, B = rng.normal(size=(480, 480)), rng.normal(size=(480, 480))
    a, b = A.astype(np.float32), B.astype(np.float32)
    X, d, w = rng.normal(size=(100_000, 100)), rng.uniform(size=100_000), rng.normal(size=100)
    mixture = gmm.data(1_000, 32, 25)

    def gram(X, d):
        return (X * d[:, None]).T @ X

    def logistic(w, X, d):
        return np.mean(np.log1p(np.exp(-d * (X @ w))))

    product = sg.compile(lambda a, b: a @ b, A, B)
    product32 = sg.compile(lambda a, b: a @ b, a, b)
    triangle = sg.compile(gram, X, d)
    gradient = sg.compile(sg.grad(logistic), w, X, d)
    likelihood = sg.compile(sg.value_and_grad(gmm.log_likelihood, (0, 1, 2)), *mixture)
    result, result32 = np.empty_like(A), np.empty_like(a)
    n, D, K = 1_000, 32, 25
    # name: call, floating-point operations, bytes from memory, bytes of one number
    work: dict[str, tuple[Callable[[], object], float, float, int]] = {
        "A B, 480, float64": (lambda: product(A, B, out=result), 2 * 480**3, 0, 8),
        "A B, 480, float32": (lambda: product32(a, b, out=result32), 2 * 480**3, 0, 4),
        "NumPy's (OpenBLAS), float64": (lambda: np.matmul(A, B, out=result), 2 * 480**3, 0, 8),
        "NumPy's (OpenBLAS), float32": (lambda: np.matmul(a, b, out=result32), 2 * 480**3, 0, 4),
        "X^T D X, 100 000 x 100, a triangle": (lambda: triangle(X, d), X.size * 101, X.nbytes, 8),
        "logistic gradient, 100 000 x 100": (lambda: gradient(w, X, d), 4 * X.size, X.nbytes, 8),
        "mixture gradient, n=1 000, D=32, K=25": (
            lambda: likelihood(*mixture), n * K * D * (2 * D + 12), 0, 8,
        ),
    }  # fmt: skip
    clock = lambda: machine(ADDITIONS, large, 0, out)  # noqa: E731
    memory = lambda: machine(0, large, large.size, out)  # noqa: E731
    calls = {"clock": clock, "memory": memory, **{name: row[0] for name, row in work.items()}}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            times[name].append(time.thread_time() - start)
    median = {name: statistics.median(each) for name, each in times.items()}
    hertz = ADDITIONS / median["clock"]
    bandwidth = large.nbytes / median["memory"]
    print(f"clock {hertz / 1e9:.2f} GHz, reading memory {bandwidth / 1e9:.1f} GB/s")
    print(f"{'':40}{'ms':>8}{'GFlop/s':>10}{'of peak':>9}{'GB/s':>8}{'of memory':>11}")
    for name, (_, flops, nbytes, size) in work.items():
        rate, peak = flops / median[name], 4 * VECTOR_BYTES / size * hertz
        line = f"{name:40}{median[name] * 1e3:8.3f}{rate / 1e9:10.1f}{rate / peak:9.0%}"
        if nbytes:
            read = nbytes / median[name]
            line += f"{read / 1e9:8.1f}{read / bandwidth:11.0%}"
        print(line)


if __name__ == "__main__":
    main()
