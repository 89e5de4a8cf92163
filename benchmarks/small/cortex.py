"""The small kernels for Cortex-M beside CasADi's C: instructions, text and stack.

    python benchmarks/small/beside_casadi.py FOLDER     where CasADi is installed
    python benchmarks/small/cortex.py FOLDER [names] [--run]

Cortex-M7 in double precision and Cortex-M4F in single, arm-none-eabi-gcc -O2, hard floats. Both
sides are straight lines; what libm does is counted apart, as calls. CasADi's C in single precision
is edited: it would call the functions of doubles, and its literals are doubles.

With --run both are executed by qemu-system-arm, whose clock goes on one nanosecond with each
instruction: what a call executes, newlib's functions included. The results are compared first.
"""

from __future__ import annotations

import contextlib
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from run import mean
from table import KERNELS, Kernel

import symgrad as sg
from symgrad.machines import CORTEX_M4, CORTEX_M7


class Target(NamedTuple):
    """A processor, the precision for it, gcc's options, and qemu's board."""

    machine: Any
    dtype: str
    options: list[str]
    board: str


TARGETS = {
    "M7 double": Target(CORTEX_M7, "float64", ["-mcpu=cortex-m7", "-mfpu=fpv5-d16"], "mps2-an500"),
    "M4F single": Target(
        CORTEX_M4, "float32", ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"], "mps2-an386"
    ),
}
_PREFIX = "arm-none-eabi-"
_NUMBER = re.compile(r"(?<![\w.])(\d+\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)")
_FUNCTIONS = re.compile(r"\b(sin|cos|tan|exp|log|log1p|sqrt|atan|atan2|tanh|asin|fabs|pow)\(")


def in_single(c: str) -> str:
    """CasADi's C with floats for doubles."""
    c = re.sub(r"#define casadi_real double", "#define casadi_real float", c)
    return _NUMBER.sub(r"\1f", _FUNCTIONS.sub(r"\1f(", c))


class Single:
    """NumPy whose constants are floats: np.eye(4) makes doubles of whatever it meets."""

    def __getattr__(self, name: str) -> Any:
        f = getattr(np, name)
        if name in ("eye", "zeros", "ones"):
            return lambda *args: f(*args, dtype=np.float32)
        if name in ("sin", "cos"):
            return lambda x: float(f(x)) if isinstance(x, float) else f(x)
        if name in ("array", "diag"):
            return lambda x: narrow(f(x))
        return f


def narrow(x: Any) -> Any:
    wide = isinstance(x, np.ndarray) and x.dtype == np.float64
    return x.astype(np.float32) if wide else x


@contextlib.contextmanager
def constants(kernel: Kernel, dtype: str) -> Iterator[None]:
    """The module of a kernel with constants of this dtype."""
    scope = vars(sys.modules[kernel.function.__module__])
    kept = dict(scope)
    if dtype == "float32":
        scope.update({k: narrow(v) for k, v in kept.items()}, np=Single())
    try:
        yield
    finally:
        scope.update(kept)


def ours(kernel: Kernel, target: Target, folder: Path) -> tuple[Any, Path]:
    """The function, and its C."""
    spec = sg.f64 if target.dtype == "float64" else sg.f32
    specs = [spec[s] if s else spec for s in kernel.shapes]
    with constants(kernel, target.dtype):
        made = sg.compile(kernel.function, *specs, name=f"ours_{kernel.name}", scalar=True,
                          machine=target.machine)  # fmt: skip
        assert {t.dtype for t in made.graph.output_types} == {target.dtype}, kernel.name
        return made, made.export(folder, overwrite=True)[0]


def sizes(path: Path, name: str, options: list[str]) -> np.ndarray:
    """Instructions, calls, bytes of text and of stack of the one function."""
    target = path.with_suffix(".o")
    command = [
        f"{_PREFIX}gcc", "-O2", "-mthumb", "-mfloat-abi=hard", *options, "-fstack-usage",
        "-ffunction-sections", "-I", str(path.parent), "-c", str(path), "-o", str(target),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    listing = subprocess.run(
        [f"{_PREFIX}objdump", "-d", "--no-show-raw-insn", f"--section=.text.{name}", str(target)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    code = re.findall(r"(?m)^\s+[0-9a-f]+:\s+([a-z]\S*)\s*(.*)$", listing)
    sections = subprocess.run([f"{_PREFIX}size", "-A", str(target)], check=True,
                              capture_output=True, text=True).stdout  # fmt: skip
    text = re.search(rf"\.text\.{name}\s+(\d+)", sections)
    stack = re.search(rf":{name}\t(\d+)\t", target.with_suffix(".su").read_text())
    assert text is not None and stack is not None, name
    calls = sum(op.startswith("bl") and op not in ("ble", "blt", "bls") for op, _ in code)
    steps = sum(op not in (".word", ".short") for op, _ in code)
    return np.array([steps, calls, int(text[1]), int(stack[1])])


_CALLS = 400
_TICK = 40  # nanoseconds of SysTick on these boards: 25 MHz
_BOARD = Path(__file__).parents[2] / "tests" / "support" / "board"


def program(kernel: Kernel, made: Any, real: str) -> str:
    """C that shows the ticks of calls of neither, ours and theirs, then the results of both."""
    lines = [
        "#include <stdint.h>",
        f'#include "ours_{kernel.name}.h"',
        "#define R(address) (*(volatile uint32_t *)(address))",
        "void show(const void *data, int bytes);",
        f"int {kernel.name}(const {real} **, {real} **, long long *, {real} *, int);",
    ]
    inputs, outputs = made.graph.input_types, made.graph.output_types
    fill = []
    for k, (t, x) in enumerate(zip(inputs, kernel.inputs(0), strict=True)):
        lines.append(f"static {real} x{k}[{max(math.prod(t.shape), 1)}];")
        fill += [f"x{k}[{i}] = ({real}){float(v)!r};" for i, v in enumerate(np.ravel(x))]
    for k, t in enumerate(outputs):
        lines.append(f"static {real} y{k}[{math.prod(t.shape)}], z{k}[{math.prod(t.shape)}];")
    numbers = range(len(outputs))
    given = [f"x{k}" if t.shape else f"x{k}[0]" for k, t in enumerate(inputs)]
    mine = f"ours_{kernel.name}({', '.join([*given, *[f'y{k}' for k in numbers]])})"
    lines.append(f"""
int main(void)
{{
    const {real} *in[] = {{{", ".join(f"x{k}" for k in range(len(inputs)))}}};
    {real} *out[] = {{{", ".join(f"z{k}" for k in numbers)}}};
    volatile int zero = 0;
    {" ".join(fill)}
    R(0xE000E014) = 0xFFFFFF; R(0xE000E018) = 0; R(0xE000E010) = 5; /* SysTick */
    for (int which = 0; which < 3; ++which) {{
        uint32_t ticks = R(0xE000E018);
        for (int k = 0; k < {_CALLS}; ++k) {{
            x0[0] += ({real})zero;
            if (which == 1) {mine};
            if (which == 2) {kernel.name}(in, out, 0, 0, 0);
        }}
        ticks = (ticks - R(0xE000E018)) & 0xFFFFFF;
        show(&ticks, 4);
    }}
    {" ".join(f"show(y{k}, sizeof y{k}); show(z{k}, sizeof z{k});" for k in numbers)}
    return 0;
}}
""")
    return "\n".join(lines)


def executed(
    kernel: Kernel, made: Any, target: Target, mine: Path, theirs: Path
) -> tuple[float, float]:
    """Instructions of a call, ours and theirs."""
    work = mine.parent
    real = "double" if target.dtype == "float64" else "float"
    (work / "run.c").write_text(program(kernel, made, real))
    files = [work / "run.c", _BOARD / "board.c", mine, theirs]
    command = [f"{_PREFIX}gcc", "-O2", "-mthumb", "-mfloat-abi=hard", *target.options, "-I",
               str(work), "-nostartfiles", "-T", str(_BOARD / "board.ld"), *map(str, files), "-o",
               str(work / "run.elf"), "-lm", "-lc", "-lgcc"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    told = subprocess.run(
        ["qemu-system-arm", "-M", target.board, "-display", "none", "-semihosting-config",
         "enable=on,target=native", "-icount", "shift=0", "-kernel", str(work / "run.elf")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    shown = [bytes.fromhex(word) for word in (told.stdout + told.stderr).split()]
    none, *both = [int.from_bytes(word, "little") for word in shown[:3]]
    results = [np.frombuffer(word, target.dtype) for word in shown[3:]]
    for got, want in zip(results[::2], results[1::2], strict=True):
        bound = (1e-6 if target.dtype == "float64" else 2e-3) * np.max(np.abs(want))
        np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=kernel.name)
    return tuple((ticks - none) * _TICK / _CALLS for ticks in both)


def main() -> None:
    folder = Path(sys.argv[1])
    work = folder / "cortex"
    work.mkdir(exist_ok=True)
    ratios: dict[str, list[float]] = {label: [] for label in TARGETS}
    ran: dict[str, list[float]] = {label: [] for label in TARGETS}
    names = [a for a in sys.argv[2:] if not a.startswith("-")]
    for kernel in KERNELS:
        if names and kernel.name not in names:
            continue
        given = (folder / f"{kernel.name}.c").read_text()
        given = given.replace("static int casadi_f0", "int casadi_f0")  # to be seen alone
        for label, target in TARGETS.items():
            theirs = work / f"{kernel.name}_{target.dtype}.c"
            theirs.write_text(in_single(given) if target.dtype == "float32" else given)
            made, mine = ours(kernel, target, work)
            a = sizes(mine, f"ours_{kernel.name}", target.options)
            b = sizes(theirs, f"{kernel.name}_f0", target.options)
            ratios[label].append(a[0] / b[0])
            told = [f"{what} {x} / {y}" for what, x, y in
                    zip(("instructions", "calls", "text", "stack"), a, b, strict=True)]  # fmt: skip
            if "--run" in sys.argv:
                x, y = executed(kernel, made, target, mine, theirs)
                ran[label].append(x / y)
                told.append(f"executed {x:.0f} / {y:.0f} = {x / y:.2f}")
            print(f"{kernel.name:12} {label:10} {', '.join(told)}", flush=True)
    for what, of in (("instructions", ratios), ("executed instructions", ran)):
        for label, found in of.items():
            if found:
                print(f"{label}: {mean(found):.2f} of the {what}, {max(found):.2f} at most")


if __name__ == "__main__":
    main()
