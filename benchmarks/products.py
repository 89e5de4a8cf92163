"""Products of matrices beside NumPy's (OpenBLAS), and a network's step beside its five products.

    python benchmarks/products.py

One thread, interleaved after results were compared, medians of CPU time; results go to memory that
is there already. Below 1 symgrad is faster.
"""

from __future__ import annotations

import statistics

import environment

environment.limit_threads(1)

import functools  # noqa: E402

import harness  # noqa: E402
import mlp  # noqa: E402
import numpy as np  # noqa: E402

import symgrad as sg  # noqa: E402

SHAPES = [(n, n, n) for n in (100, 200, 480, 1000, 2000)]  # rows, summands, columns
SHAPES += [(300, 64, 64), (96, 32, 32), (1000, 50, 50)]
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-4}


def ratio(ours: harness.Call, theirs: harness.Call) -> float:
    blocks = harness.interleave({"ours": ours, "theirs": theirs}, harness.ROUNDS)
    cpu = {name: statistics.median(t for t, _ in each) for name, each in blocks.items()}
    return cpu["ours"] / cpu["theirs"]


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"{'time / OpenBLAS':20}{'float64':>9}{'float32':>9}")
    for m, k, n in SHAPES:
        row = f"{m} x {k} x {n}"
        print(f"{row:20}", end="", flush=True)
        for real, tolerance in TOLERANCE.items():
            a, b = rng.normal(size=(m, k)).astype(real), rng.normal(size=(k, n)).astype(real)
            out, known = np.empty((2, m, n), real)
            ours = functools.partial(sg.compile(lambda a, b: a @ b, a, b), a, b, out=out)
            theirs = functools.partial(np.matmul, a, b, out=known)
            if harness.disagreement(ours(), theirs()) > tolerance:
                raise SystemExit(f"{row}: disagrees")
            print(f"{ratio(ours, theirs):9.2f}", end="", flush=True)
        print()

    params, X, labels = mlp.data(**mlp.WORK.sizes[0])
    W1, _, W2, _ = params
    h, z = X @ W1, X @ W1 @ W2
    pairs = [(X, W1), (h, W2), (z, W2.T), (h.T, z), (X.T, h)]
    outs = [a @ b for a, b in pairs]

    def products():
        for (a, b), out in zip(pairs, outs, strict=True):
            np.matmul(a, b, out=out)

    step, _, _ = harness.prepare(mlp.WORK.peers["symgrad"], (params, X, labels))
    print(f"network's step / its five products in OpenBLAS {ratio(step, products):.2f}")


if __name__ == "__main__":
    main()
