"""What `scalar="auto"` would choose, and what both forms take: the table of `scalar/choice.py`.

    python benchmarks/small/choice.py FOLDER [golden]

The small kernels; with "golden", where the tests are on the path, the functions of
tests/support/golden_functions.py that have small arrays only. Nanoseconds of a call at gcc -O3
-march=native, in turns, the best of 1,000 short rounds.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from run import mean
from table import KERNELS

import symgrad as sg
from symgrad.scalar.opening import is_small

_ROUNDS, _CALLS = 1000, 200


def functions():
    """Names, functions, and their arguments."""
    for kernel in KERNELS:
        yield kernel.name, kernel.function, kernel.inputs(0)
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


def times(name, f, args, folder: Path) -> tuple[float, float, bool] | None:
    """Nanoseconds of the usual form and of scalar form, and what would be chosen."""
    forms = [(f"{form}_{name}", sg.compile(f, *args, name=f"{form}_{name}", scalar=scalar))
             for form, scalar in (("usual", False), ("scalar", True))]  # fmt: skip
    auto = sg.compile(f, *args, name=f"auto_{name}", scalar="auto")
    if any(made.source.data for _, made in forms) or not is_small(forms[0][1].graph.outs):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for label, made in forms:
        made.export(folder, overwrite=True)
        files.append(folder / f"{label}.c")
    main = folder / f"{name}_main.c"
    main.write_text(program(forms, args))
    target = folder / f"{name}.out"
    command = ["gcc", "-O3", "-march=native", *map(str, [main, *files]), "-o", str(target), "-lm"]
    subprocess.run(command, check=True, capture_output=True)
    text = subprocess.run([target], check=True, capture_output=True, text=True).stdout
    usual, scalar = map(float, text.split())
    return usual, scalar, auto.graph.scalar


def main() -> None:
    folder = Path(sys.argv[1])
    ratios = []
    for name, f, args in functions():
        try:
            found = times(name, f, args, folder)
        except Exception as error:  # the table goes on
            print(f"{name:24} {type(error).__name__}: {str(error)[:60]}", flush=True)
            continue
        if found is None:
            continue
        usual, scalar, chosen = found
        print(f"{name:24} usual {usual:9.1f} ns, scalar {scalar:8.1f} ns, "
              f"{usual / scalar:5.2f} times, {'scalar' if chosen else 'usual'} is chosen",
              flush=True)  # fmt: skip
        ratios.append((usual / scalar, chosen))
    for chosen in (True, False):
        part = [r for r, c in ratios if c is chosen]
        if part:
            print(f"{'chosen' if chosen else 'left'}: {len(part)}, {mean(part):.2f} times faster, "
                  f"{min(part):.2f} to {max(part):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
