"""What `scalar="auto"` chooses, and what it gains: the table of `scalar/choice.py`.

    python benchmarks/small/choice.py FOLDER [kernels] [losses] [golden] [-O2]

The small kernels; the functions of losses.py; with "golden", where the tests are on the path, those
of tests/support/golden_functions.py that have small arrays only. Nanoseconds of a call at gcc -O3
-march=native, in turns, the best of 1,000 short rounds; gcc's time of both; the time of lowering.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import losses
import numpy as np
from run import mean
from table import KERNELS

import symgrad as sg
from symgrad.generate import source_of

_ROUNDS, _CALLS = 1000, 200


def functions():
    """Names, functions, and their arguments."""
    for kernel in KERNELS if "kernels" in sys.argv else ():
        yield kernel.name, kernel.function, kernel.inputs(0)
    for f, specs in losses.cases() if "losses" in sys.argv else ():
        rng = np.random.default_rng(0)
        yield f.__name__, f, [_like(rng, s) for s in specs]
    if "golden" in sys.argv:
        from support import golden_functions

        seen = []
        trace = sg.trace
        sg.trace = lambda f, *args: seen.append((f, args)) or trace(f, *args)
        for make in golden_functions.GOLDEN.values():
            make()
        sg.trace = trace
        for f, args in seen:
            yield f.__name__, f, [np.asarray(a) if np.ndim(a) else a for a in args]


def _like(rng, spec):
    """An array that suits a spec: square ones have an inverse."""
    x = rng.uniform(0.5, 1.5, spec.shape)
    if len(spec.shape) == 2 and spec.shape[0] == spec.shape[1]:
        x = (x + x.T) / 2 + 3 * np.eye(len(x))
    return x if spec.shape else float(x)


def program(forms, inputs) -> str:
    """C that calls both forms in turns."""
    lines = ["#include <stdio.h>", "#include <time.h>"]
    for name, made in forms:
        lines.append(f"int {name}_entry(const void *const *, void *const *, void *);")
        lines.append(f"static double work_{name}[{made.source.workspace_bytes // 8 + 8}];")
    ins, fill = [], []
    for k, t in enumerate(forms[0][1].graph.input_types):
        ctype = {"float64": "double", "float32": "float", "bool": "_Bool"}.get(t.dtype, "long long")
        values = np.ravel(np.asarray(inputs[k]))
        lines.append(f"static {ctype} x{k}[{max(values.size, 1)}];")
        ins.append(f"x{k}")
        fill += [f"x{k}[{i}] = {v.item()!r};" for i, v in enumerate(values.astype(float))]
    outs = []
    for k, t in enumerate(forms[0][1].graph.output_types):
        lines.append(f"static double y{k}[{int(np.prod(t.shape, initial=1)) + 1}];")
        outs.append(f"y{k}")
    calls = " else ".join(
        f"if ((r & 1) == {k}) {name}_entry(in, out, work_{name});"
        for k, (name, _) in enumerate(forms)
    )
    lines.append(f"""
static double now(void) {{
    struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return 1e9 * t.tv_sec + t.tv_nsec;
}}
int main(void) {{
    double best[2] = {{1e30, 1e30}};
    const void *in[] = {{{", ".join(ins) or "0"}}};
    void *out[] = {{{", ".join(outs)}}};
    {" ".join(fill)}
    for (int r = 0; r < {2 * _ROUNDS}; ++r) {{
        double t0 = now();
        for (int k = 0; k < {_CALLS}; ++k) {{ {calls} }}
        double t = (now() - t0) / {_CALLS};
        if (t < best[r & 1]) best[r & 1] = t;
    }}
    printf("%.2f %.2f\\n", best[0], best[1]);
    return 0;
}}""")
    return "\n".join(lines)


def seconds(command) -> float:
    """User time of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(command, check=True, capture_output=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def times(name, f, args, folder: Path) -> str | tuple[float, ...]:
    """Nanoseconds of the usual form and of what is chosen; gcc's time of both, and that of
    lowering and writing C. Why not, if the usual form is chosen: the time that it took to see."""
    graph = sg.trace(f, *args).simplify()
    written = []
    for scalar in (False, "auto"):
        spent = []
        for _ in range(3):
            start = time.process_time()
            source = source_of(graph, scalar=scalar)
            spent.append(time.process_time() - start)
        written.append((source, min(spent)))
    (plain, first), (chosen, second) = written
    if plain.c == chosen.c:
        return f"usual form; C in {1e3 * first:.1f} ms, with the choice {1e3 * second:.1f}"
    if plain.data:
        return "with data"
    forms = [(f"{form}_{name}", sg.compile(f, *args, name=f"{form}_{name}", scalar=scalar))
             for form, scalar in (("u", False), ("s", "auto"))]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    files, gcc = [], []
    level = ["-O2"] if "-O2" in sys.argv else ["-O3", "-march=native"]
    command = ["gcc", *level, "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
    for label, made in forms:
        made.export(folder, overwrite=True)
        files.append(folder / f"{label}.o")
        compiles = [*command, "-c", str(folder / f"{label}.c"), "-o", str(files[-1])]
        gcc.append(min(seconds(compiles) for _ in range(2)))
    main = folder / f"{name}_main.c"
    main.write_text(program(forms, args))
    target = folder / f"{name}.out"
    links = [*command, str(main), *map(str, files), "-o", str(target), "-lm"]
    subprocess.run(links, check=True, capture_output=True)
    runs = [subprocess.run([target], check=True, capture_output=True, text=True).stdout.split()
            for _ in range(3)]  # fmt: skip
    usual, scalar = (min(float(r[k]) for r in runs) for k in range(2))
    return usual, scalar, *gcc, first, second


def main() -> None:
    folder = Path(sys.argv[1])
    ratios = []
    for name, f, args in functions():
        try:
            found = times(name, f, args, folder)
        except Exception as error:  # the table goes on
            print(f"{name:24} {type(error).__name__}: {str(error)[:60]}", flush=True)
            continue
        if isinstance(found, str):
            print(f"{name:26} {found}", flush=True)
            continue
        usual, scalar, *rest = found
        gcc, ours = rest[:2], [1e3 * t for t in rest[2:]]
        print(f"{name:26} usual {usual:8.1f} ns, scalar {scalar:8.1f} ns, {usual / scalar:5.2f} "
              f"times; gcc {gcc[0]:.2f} / {gcc[1]:.2f} s, C in {ours[0]:.1f} / {ours[1]:.1f} ms",
              flush=True)  # fmt: skip
        ratios.append(usual / scalar)
    if ratios:
        print(f"scalar form for {len(ratios)}: {mean(ratios):.2f} times faster, "
              f"{min(ratios):.2f} to {max(ratios):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
