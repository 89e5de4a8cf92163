"""The small kernels mapped over 1,000 points: usual form, scalars of each point (0083), CasADi's C.

    python benchmarks/small/beside_casadi.py FOLDER     where CasADi is installed
    python benchmarks/small/mapped.py FOLDER [names]

CasADi's function is called for each point in a loop of C, in one library compiled with the same
options (gcc -O3 -march=native); so does its own `map`. Nanoseconds of a point, the best of many
rounds in turns, called from Python. The largest difference of all results is printed, relative to
the largest entry of each.
"""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from table import KERNELS

import symgrad as sg
from symgrad.tree import flatten

_POINTS, _ROUNDS, _CALLS = 1000, 30, 20


def casadi_loop(kernel, folder: Path, batch, results):
    """A function that fills `results` by CasADi's C, point by point."""
    sizes = [math.prod(x.shape[1:]) for x in batch], [math.prod(r.shape[1:]) for r in results]
    ins = ", ".join(f"in[{k}] + {n} * i" for k, n in enumerate(sizes[0]))
    outs = ", ".join(f"out[{k}] + {n} * i" for k, n in enumerate(sizes[1]))
    loop = folder / "build" / f"mapped_{kernel.name}.c"
    loop.write_text(f"""
int {kernel.name}(const double **, double **, long long *, double *, int);
void loop(const double **in, double **out, long long n) {{
    for (long long i = 0; i < n; ++i) {{
        const double *x[] = {{{ins}}};
        double *y[] = {{{outs}}};
        {kernel.name}(x, y, 0, 0, 0);
    }}
}}
""")
    library = loop.with_suffix(".so")
    command = ["gcc", "-O3", "-march=native", "-fPIC", "-shared", str(loop),
               str(folder / f"{kernel.name}.c"), "-o", str(library), "-lm"]  # fmt: skip
    subprocess.run(command, check=True)
    run = ctypes.CDLL(str(library)).loop
    kept = [np.ascontiguousarray(x) for x in batch]
    given = (ctypes.c_void_p * len(kept))(*[x.ctypes.data for x in kept])
    taken = (ctypes.c_void_p * len(results))(*[r.ctypes.data for r in results])
    return lambda: run(given, taken, ctypes.c_longlong(len(kept[0])))


def measure(kernel, folder: Path) -> tuple[list[float], float]:
    """Nanoseconds of a point in each way, and the largest difference of results."""
    inputs = [kernel.inputs(seed) for seed in range(_POINTS)]
    batch = [np.stack(column) for column in zip(*inputs, strict=True)]
    made = [sg.compile(sg.vmap(kernel.function), *batch, scalar=s) for s in (False, "auto")]
    results = [flatten(m(*batch))[0] for m in made]
    theirs = [np.empty_like(r) for r in results[0]]
    loop = casadi_loop(kernel, folder, batch, theirs)
    loop()
    worst = 0.0
    for usual, ours in zip(*results, strict=True):
        worst = max(worst, float(np.max(np.abs(ours - usual)) / max(np.max(np.abs(usual)), 1e-300)))
    for ours, other in zip(results[1], theirs, strict=True):  # both in rows
        size = max(np.max(np.abs(ours)), 1e-300)
        worst = max(worst, float(np.max(np.abs(ours - other)) / size))
    ways = [lambda m=m: m(*batch) for m in made] + [loop]
    best = [math.inf] * len(ways)
    for _ in range(_ROUNDS):
        for k, way in enumerate(ways):
            start = time.perf_counter()
            for _ in range(_CALLS):
                way()
            best[k] = min(best[k], (time.perf_counter() - start) / _CALLS / _POINTS * 1e9)
    return best, worst


def main() -> None:
    folder = Path(sys.argv[1])
    (folder / "build").mkdir(exist_ok=True)
    names = sys.argv[2:]
    print(f"{'kernel':14} {'usual':>8} {'scalars':>8} {'CasADi':>8}  ratios: usual, CasADi")
    ratios = []
    for kernel in KERNELS:
        if names and kernel.name not in names:
            continue
        (usual, ours, theirs), worst = measure(kernel, folder)
        ratios.append((usual / ours, theirs / ours))
        print(f"{kernel.name:14} {usual:8.1f} {ours:8.1f} {theirs:8.1f}  {usual / ours:6.2f} "
              f"{theirs / ours:6.2f}   difference {worst:.0e}", flush=True)  # fmt: skip
    means = [math.exp(np.mean(np.log(r))) for r in zip(*ratios, strict=True)]
    print(f"geometric means {means[0]:.2f} {means[1]:.2f}")


if __name__ == "__main__":
    main()
