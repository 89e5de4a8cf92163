"""First call to result, cold and with a warm disk cache, and the size of the C.

    python benchmarks/cold_start.py

Every measurement is a fresh process with the imports done; cold ones have an empty cache
directory. Medians of five; the machine's other load is in the numbers.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

CHILD = """
import json, sys, time
import numpy as np
import symgrad as sg

def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

def logistic(w, X, y):
    return np.sum(np.log(1 + np.exp(-y * (X @ w)))) + 0.05 * w @ w

def mlp(p, X, Y):
    h = np.maximum(X @ p["W1"] + p["b1"], 0)
    z = h @ p["W2"] + p["b2"]
    return -np.mean(np.sum(Y * (z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))), axis=1))

rng = np.random.default_rng(0)
CASES = {
    "rosenbrock 2": (rosenbrock, (rng.normal(size=2),)),
    "rosenbrock 1000": (rosenbrock, (rng.normal(size=1000),)),
    "logistic 1000x20": (logistic, (rng.normal(size=20), rng.normal(size=(1000, 20)),
                                    np.sign(rng.normal(size=1000)))),
    "mlp 784-128-10 b128": (mlp, ({
        "W1": 0.05 * rng.normal(size=(784, 128)), "b1": np.zeros(128),
        "W2": 0.1 * rng.normal(size=(128, 10)), "b2": np.zeros(10)},
        rng.normal(size=(128, 784)), np.eye(10)[rng.integers(0, 10, 128)])),
}
f, args = CASES[sys.argv[1]]
start = time.perf_counter()
sg.grad(f)(*args)
seconds = time.perf_counter() - start
size = len(sg.compile(sg.grad(f), *args).c_source)
print(json.dumps([seconds, size]))
"""


def run(case: str, cache: str) -> tuple[float, int]:
    """Seconds from the call to the result in a fresh process, and characters of C."""
    environment = {**os.environ, "SYMGRAD_CACHE_DIR": cache}
    out = subprocess.run(
        [sys.executable, "-c", CHILD, case], env=environment, check=True, capture_output=True
    ).stdout
    seconds, size = json.loads(out)
    return seconds, size


def main() -> None:
    print(f"{'gradient of':22} {'cold s':>8} {'warm s':>8} {'C chars':>8}")
    for case in ("rosenbrock 2", "rosenbrock 1000", "logistic 1000x20", "mlp 784-128-10 b128"):
        cold, warm, size = [], [], 0
        for _ in range(5):
            with tempfile.TemporaryDirectory() as folder:
                cache = os.path.join(folder, "cache")
                # the compiler's own identity is remembered per cache: not part of this question
                run("rosenbrock 2" if case != "rosenbrock 2" else "logistic 1000x20", cache)
                cold.append(run(case, cache)[0])
                seconds, size = run(case, cache)
                warm.append(seconds)
        print(f"{case:22} {statistics.median(cold):8.3f} {statistics.median(warm):8.3f} {size:8d}")


if __name__ == "__main__":
    main()
