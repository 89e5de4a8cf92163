"""First call to result in a fresh process, cold and with a warm disk cache, beside JAX's.

    python benchmarks/cold_start.py [rounds]

Every measurement is a fresh process; symgrad and JAX take turns. "import" is NumPy and symgrad, or
JAX; "first" is the time from after the imports to the first gradient; "next" is that of a function
after another one in the same process. Cold ones have a cache without the function, but with the
compiler's identity and the call path, which are remembered per machine. JAX compiles by `jit`;
without it, operation by operation, its first gradients take longer. Medians; the machine's other
load is in the numbers.
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

tool, *cases = sys.argv[1:]
start = time.perf_counter()
if tool == "jax":
    import jax
    import jax.numpy as np
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
else:
    import numpy as np
    import symgrad as sg
imported = time.perf_counter() - start

import numpy

def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

def logistic(w, X, y):
    return np.sum(np.log(1 + np.exp(-y * (X @ w)))) + 0.05 * w @ w

def mlp(p, X, Y):
    h = np.maximum(X @ p["W1"] + p["b1"], 0)
    z = h @ p["W2"] + p["b2"]
    return -np.mean(np.sum(Y * (z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))), axis=1))

def mixture(p, X):
    z = (X[:, None, :] - p["means"]) * np.exp(p["scales"])
    energy = p["weights"] + np.sum(p["scales"], axis=1) - 0.5 * np.sum(z * z, axis=2)
    top = np.max(energy, axis=1, keepdims=True)
    each = np.log(np.sum(np.exp(energy - top), axis=1)) + top[:, 0]
    return np.sum(each) - len(X) * np.log(np.sum(np.exp(p["weights"])))

rng = numpy.random.default_rng(0)
CASES = {
    "rosenbrock 2": (rosenbrock, (rng.normal(size=2),)),
    "rosenbrock 1000": (rosenbrock, (rng.normal(size=1000),)),
    "logistic 1000x20": (logistic, (rng.normal(size=20), rng.normal(size=(1000, 20)),
                                    numpy.sign(rng.normal(size=1000)))),
    "mixture 1000x5, 8": (mixture, ({
        "means": rng.normal(size=(8, 5)), "scales": 0.1 * rng.normal(size=(8, 5)),
        "weights": rng.normal(size=8)}, rng.normal(size=(1000, 5)))),
    "mlp 784-128-10 b128": (mlp, ({
        "W1": 0.05 * rng.normal(size=(784, 128)), "b1": numpy.zeros(128),
        "W2": 0.1 * rng.normal(size=(128, 10)), "b2": numpy.zeros(10)},
        rng.normal(size=(128, 784)), numpy.eye(10)[rng.integers(0, 10, 128)])),
}
for case in cases:
    f, args = CASES[case]
    start = time.perf_counter()
    if tool == "jax":
        jax.block_until_ready(jax.jit(jax.grad(f))(*args))
    else:
        sg.grad(f)(*args)
    seconds = time.perf_counter() - start
print(json.dumps([imported, seconds]))
"""

CASES = (
    "rosenbrock 2",
    "rosenbrock 1000",
    "logistic 1000x20",
    "mixture 1000x5, 8",
    "mlp 784-128-10 b128",
)


def run(folder: str, cache: str, tool: str, *cases: str) -> list[float]:
    """Seconds of the imports and from the call of the last case to its result."""
    environment = {**os.environ, "SYMGRAD_CACHE_DIR": os.path.join(folder, cache)}
    # Packages are installed with their bytecode; a checkout gets it here.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = os.path.join(folder, "bytecode")
    command = [sys.executable, "-c", CHILD, tool, *cases]
    out = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(out)


def main(rounds: int) -> None:
    try:
        import jax  # noqa: F401
    except ImportError:
        jax_too = False
    else:
        jax_too = True
    columns = ["import", "cold", "warm", "next cold", "next warm"]
    columns += ["JAX import", "JAX first", "JAX next"] if jax_too else []
    print(f"{'seconds, gradient of':22}" + "".join(f"{c:>11}" for c in columns))
    with tempfile.TemporaryDirectory() as folder:
        if jax_too:
            run(folder, "-", "jax", "rosenbrock 2")  # bytecode
        for case in CASES:
            other = "logistic 1000x20" if case == "rosenbrock 2" else "rosenbrock 2"
            times: dict[str, list[float]] = {c: [] for c in columns}
            for k in range(rounds):
                first, then = f"{case} {k}", f"{case} {k} then"
                run(folder, first, "symgrad", other)
                run(folder, then, "symgrad", other)
                imported, seconds = run(folder, first, "symgrad", case)
                times["import"].append(imported)
                times["cold"].append(seconds)
                times["warm"].append(run(folder, first, "symgrad", case)[1])
                times["next cold"].append(run(folder, then, "symgrad", other, case)[1])
                times["next warm"].append(run(folder, then, "symgrad", other, case)[1])
                if jax_too:
                    imported, seconds = run(folder, "-", "jax", case)
                    times["JAX import"].append(imported)
                    times["JAX first"].append(seconds)
                    times["JAX next"].append(run(folder, "-", "jax", other, case)[1])
            row = "".join(f"{statistics.median(t):11.3f}" for t in times.values())
            print(f"{case:22}{row}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
