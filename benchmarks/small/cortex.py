"""The small kernels for Cortex-M beside CasADi's C: instructions, text and stack, not executed.

    python benchmarks/small/beside_casadi.py FOLDER     where CasADi is installed
    python benchmarks/small/cortex.py FOLDER [names]

Cortex-M7 in double precision and Cortex-M4F in single, arm-none-eabi-gcc -O2, hard floats. Both
sides are straight lines, so instructions of the text are those that run, but for selections and
for what libm does: its calls are counted apart. CasADi's C in single precision is edited: it would
call the functions of doubles, and its literals are doubles.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from run import mean
from table import KERNELS, Kernel

import symgrad as sg

TARGETS = {
    "M7 double": ("float64", ["-mcpu=cortex-m7", "-mfpu=fpv5-d16"]),
    "M4F single": ("float32", ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"]),
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


def ours(kernel: Kernel, dtype: str) -> str:
    spec = sg.f64 if dtype == "float64" else sg.f32
    specs = [spec[s] if s else spec for s in kernel.shapes]
    with constants(kernel, dtype):
        made = sg.compile(kernel.function, *specs, name=f"ours_{kernel.name}", scalar=True)
        assert {t.dtype for t in made.graph.output_types} == {dtype}, kernel.name
        return made.c_source


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


def main() -> None:
    folder = Path(sys.argv[1])
    work = folder / "cortex"
    work.mkdir(exist_ok=True)
    ratios: dict[str, list[float]] = {label: [] for label in TARGETS}
    for kernel in KERNELS:
        if sys.argv[2:] and kernel.name not in sys.argv[2:]:
            continue
        given = (folder / f"{kernel.name}.c").read_text()
        given = given.replace("static int casadi_f0", "int casadi_f0")  # to be seen alone
        for label, (dtype, options) in TARGETS.items():
            theirs = work / f"{kernel.name}_{dtype}.c"
            theirs.write_text(in_single(given) if dtype == "float32" else given)
            mine = work / f"ours_{kernel.name}_{dtype}.c"
            mine.write_text(ours(kernel, dtype))
            a = sizes(mine, f"ours_{kernel.name}", options)
            b = sizes(theirs, f"{kernel.name}_f0", options)
            ratios[label].append(a[0] / b[0])
            print(f"{kernel.name:12} {label:10} " + ", ".join(
                f"{what} {x} / {y}"
                for what, x, y in zip(("instructions", "calls", "text", "stack"), a, b, strict=True)
            ), flush=True)  # fmt: skip
    for label, found in ratios.items():
        print(f"{label}: {mean(found):.2f} of the instructions, {max(found):.2f} at most")


if __name__ == "__main__":
    main()
