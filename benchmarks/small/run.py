"""The small kernels in scalar form beside CasADi's C: operations, results, times, text and stack.

    python benchmarks/small/beside_casadi.py FOLDER     where CasADi is installed
    python benchmarks/small/run.py FOLDER [names] [--time]

Results are compared with CasADi's at four inputs, relative to the largest entry of each result.
Times are of calls in one program, in turns, the best of 1,000 short rounds of each of 10 runs;
inputs change.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import count
import numpy as np
from table import KERNELS

import symgrad as sg
from symgrad.tree import flatten

COMPILERS = [
    c for c in (["gcc", "-O2"], ["gcc", "-O3", "-march=native"], ["clang", "-O2"])
    if shutil.which(c[0])
]  # fmt: skip
_ROUNDS, _CALLS, _RUNS = 1000, 300, 10


def compiled(kernel):
    specs = [sg.f64[s] if s else sg.f64 for s in kernel.shapes]
    return sg.compile(kernel.function, *specs, name=f"ours_{kernel.name}", scalar=True)


def difference(kernel, made, folder: Path) -> float:
    """The largest difference to CasADi's results, relative to the largest entry of each."""
    stored, worst = np.load(folder / f"{kernel.name}.npz"), 0.0
    for seed in range(4):
        results = flatten(made(*kernel.inputs(seed)))[0]
        for k, value in enumerate(results):
            other = stored[f"{seed}_{k}"]
            size = max(np.max(np.abs(other)), 1e-300)
            worst = max(worst, float(np.max(np.abs(np.ravel(value) - other)) / size))
    return worst


def program(kernel, made) -> str:
    """C that calls both functions in turns and prints nanoseconds for each call."""
    inputs, outputs = made.graph.input_types, made.graph.output_types
    lines = [
        "#include <stdio.h>",
        "#include <time.h>",
        f'#include "ours_{kernel.name}.h"',
        f"int {kernel.name}(const double **, double **, long long *, double *, int);",
    ]
    for name, arrays in (("x", inputs), ("y", outputs)):
        for k, t in enumerate(arrays):
            lines.append(f"static double {name}{k}[{max(math.prod(t.shape), 1)}];")
    given = [f"x{k}" if t.shape else f"x{k}[0]" for k, t in enumerate(inputs)]
    results = [f"y{k}" for k in range(len(outputs))]
    ours = f"ours_{kernel.name}({', '.join([*given, *results])})"
    fill = []
    for k, x in enumerate(kernel.inputs(0)):
        fill += [f"x{k}[{i}] = {float(v)!r};" for i, v in enumerate(np.ravel(x))]
    lines.append(f"""
static double now(void) {{
    struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return 1e9 * t.tv_sec + t.tv_nsec;
}}
int main(void) {{
    double best[2] = {{1e30, 1e30}};
    const double *in[] = {{{", ".join(f"x{k}" for k in range(len(inputs)))}}};
    double *out[] = {{{", ".join(results)}}};
    {" ".join(fill)}
    for (int r = 0; r < {2 * _ROUNDS}; ++r) {{
        double t0 = now();
        for (int k = 0; k < {_CALLS}; ++k) {{
            x0[0] += 1e-9;
            if (r & 1) {ours}; else {kernel.name}(in, out, 0, 0, 0);
        }}
        double t = (now() - t0) / {_CALLS};
        if (t < best[r & 1]) best[r & 1] = t;
    }}
    printf("%.2f %.2f\\n", best[1], best[0]);
    return 0;
}}""")
    return "\n".join(lines)


def times(kernel, made, folder: Path) -> list[tuple[float, float]]:
    """Nanoseconds of both, by compiler."""
    work = folder / "build"
    work.mkdir(exist_ok=True)
    made.export(work, overwrite=True)
    (work / f"{kernel.name}_main.c").write_text(program(kernel, made))
    found = []
    for compiler in COMPILERS:
        files = [work / f"{kernel.name}_main.c", work / f"ours_{kernel.name}.c",
                 folder / f"{kernel.name}.c"]  # fmt: skip
        target = work / f"{kernel.name}.out"
        command = [*compiler, "-I", str(work), *map(str, files), "-o", str(target), "-lm"]
        subprocess.run(command, check=True, capture_output=True)
        runs = [
            subprocess.run([target], check=True, capture_output=True, text=True).stdout.split()
            for _ in range(_RUNS)
        ]
        found.append(tuple(min(map(float, column)) for column in zip(*runs, strict=True)))
    return found


def sizes(path: Path, work: Path) -> tuple[int, int]:
    """Bytes of text and of stack at gcc -O2."""
    target = work / "sizes.o"
    subprocess.run(["gcc", "-O2", "-fstack-usage", "-c", str(path), "-o", str(target)], check=True)
    text = int(subprocess.run(["size", target], check=True, capture_output=True, text=True)
               .stdout.splitlines()[1].split()[0])  # fmt: skip
    usage = [int(m[1]) for m in re.finditer(r"\t(\d+)\t", target.with_suffix(".su").read_text())]
    return text, max(usage)


def mean(ratios) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def main() -> None:
    folder = Path(sys.argv[1])
    names = [a for a in sys.argv[2:] if not a.startswith("-")]
    rows = []
    for kernel in KERNELS:
        if names and kernel.name not in names:
            continue
        made = compiled(kernel)
        text = (folder / f"{kernel.name}.c").read_text()
        ours = count.of_function(made.c_source, f"ours_{kernel.name}")
        theirs = count.of_function(text, "casadi_f0")
        row = [ours, theirs]
        line = f"{kernel.name:12} operations {ours:5} / {theirs:5} = {ours / theirs:.2f}, "
        line += f"difference {difference(kernel, made, folder):.1e}"
        if "--time" in sys.argv:
            for (a, b), compiler in zip(times(kernel, made, folder), COMPILERS, strict=True):
                line += f", {' '.join(compiler)}: {a:.0f} / {b:.0f} ns"
                row += [b / a]
            work = folder / "build"
            mine, other = (
                sizes(p, work)
                for p in (work / f"ours_{kernel.name}.c", folder / f"{kernel.name}.c")
            )
            line += f", text {mine[0]} / {other[0]}, stack {mine[1]} / {other[1]}"
        print(line, flush=True)
        rows.append(row)
    print(f"operations: {mean([a / b for a, b, *_ in rows]):.3f} in the geometric mean, "
          f"{max(a / b for a, b, *_ in rows):.2f} at most")  # fmt: skip
    if "--time" in sys.argv:
        for k, compiler in enumerate(COMPILERS):
            print(f"{' '.join(compiler)}: {mean([r[2 + k] for r in rows]):.2f} times faster")


if __name__ == "__main__":
    main()
