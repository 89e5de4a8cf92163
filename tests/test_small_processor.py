"""C for small processors: compiled for Cortex-M4 and M7 and run by an emulator, if there is one.

What it computes is compared with NumPy; what it takes of stack and flash has a bound.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from symgrad.machines import CORTEX_M4

COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
FLAGS = "-mthumb -mfloat-abi=hard -std=c99".split()
CPUS = {
    "cortex_m4": ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"],
    "cortex_m7": ["-mcpu=cortex-m7", "-mfpu=fpv5-d16"],
}
BOARDS = {"cortex_m4": "mps2-an386", "cortex_m7": "mps2-an500"}
STRICT = "-Wall -Wextra -Werror -Wdouble-promotion -Wconversion".split()
needs_compiler = pytest.mark.skipif(not shutil.which(COMPILER), reason=f"needs {COMPILER}")
needs_emulator = pytest.mark.skipif(
    not (shutil.which(COMPILER) and shutil.which(EMULATOR)), reason=f"needs {EMULATOR}"
)

BOARD = Path(__file__).parent / "support" / "board"
C_TYPES = {"float32": "float", "float64": "double", "int32": "int32_t", "int64": "int64_t"}


def logistic(w, X, y):
    return np.mean(np.logaddexp(0, -y * (X @ w))) + np.float32(1e-3) * np.sum(w**2)


def filtered(x, state, h):
    """A filter with memory, as on a sensor: products, a scan, selections."""
    y = x * h[0] + state * h[1]
    return np.cumsum(y) / 4, np.where(y > 0, y, y / 8), np.max(np.abs(y))


def solved(a, b):
    return np.linalg.solve(a @ a.T + np.eye(3, dtype=a.dtype), b)


def picked(table, rows):
    return np.exp(table)[rows], np.sum(table[rows] ** 2, axis=1)


def normals(*shapes, dtype=np.float32):
    rng = np.random.default_rng(3)
    return tuple(rng.standard_normal(s).astype(dtype) for s in shapes)


WORKS = {
    "logistic": (sg.grad(logistic), normals((3,), (100, 3), (100,))),
    "logistic in double": (sg.value_and_grad(logistic), normals((3,), (50, 3), (50,), dtype=float)),
    "filtered": (filtered, normals((32,), (32,), (2,))),
    "filtered, slopes": (
        sg.grad(lambda h, x, s: np.sum(np.sin(filtered(x, s, h)[0]))), normals((2,), (32,), (32,))
    ),
    "solved": (solved, normals((3, 3), (3,))),
    "picked": (picked, (*normals((5, 4)), np.array([1, 0, 4, -1], np.int32))),
    "hessian": (sg.hessian(logistic), normals((3,), (40, 3), (40,))),
}  # fmt: skip


def exported(name, folder, machine=CORTEX_M4):
    f, args = WORKS[name]
    compiled = sg.compile(f, *args, machine=machine, name="work_")
    return compiled, compiled.export(folder), args


def compiled_for_arm(path, folder, *flags, machine="cortex_m4"):
    command = [COMPILER, *FLAGS, *CPUS[machine], *STRICT, *flags]
    command += ["-c", str(path), "-o", str(folder / "work.o")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert result.returncode == 0 and not result.stderr, result.stderr
    return folder / "work.o"


@needs_compiler
@pytest.mark.parametrize("name", WORKS)
@pytest.mark.parametrize("level", ["-Os", "-O2"])
@pytest.mark.parametrize("machine", CPUS)
@pytest.mark.quick(1)
def test_compiles_without_a_warning(name, level, machine, tmp_path):
    """Double promotion included: float32 stays float throughout."""
    compiled, paths, args = exported(name, tmp_path, machine)
    compiled_for_arm(paths[0], tmp_path, level, machine=machine)
    if all(a.dtype != np.float64 for a in args):
        assert not re.search(r"\bdouble\b(?! \*restrict work)", body(compiled.c_source))


def body(c):
    """C up to the entry for tools, without comments."""
    entry = "_entry(const void *const *inputs, void *const *outputs, void *workspace)\n{"
    return re.sub(r"/\*.*?\*/", "", c, flags=re.S).partition(entry)[0]


@needs_compiler
def test_sizes(tmp_path):
    """A gradient of 100 points in some hundred bytes of each; the header says what arrays take."""
    compiled, paths, _ = exported("logistic", tmp_path)
    made = compiled_for_arm(paths[0], tmp_path, "-Os", "-fstack-usage")
    usage = (tmp_path / "work.su").read_text()
    stack = int(re.search(r":work_\s+(\d+)", usage)[1])
    text = int(subprocess.run(["arm-none-eabi-size", str(made)], capture_output=True, text=True,
                              check=True).stdout.split()[6])  # fmt: skip
    arrays = int(re.search(r"WORK__STACK (\d+)", compiled.source.header)[1])
    assert arrays <= stack <= 104
    assert text <= 416
    assert not re.search(r"SG_(SIMD|SCALAR|ALIGNED|PARALLEL|LIBMVEC)|_lanes", compiled.c_source)


@needs_emulator
@pytest.mark.parametrize("machine", CPUS)
@pytest.mark.parametrize("name", WORKS)
@pytest.mark.quick(1)
def test_computes_what_numpy_does(name, machine, tmp_path):
    compiled, paths, args = exported(name, tmp_path, machine)
    wanted = [np.asarray(v) for v in compiled.graph.evaluate_flat(list(args))]
    lines = ['#include "work_.h"', "void show(const void *data, int bytes);"]
    given, outs = [], []
    for k, a in enumerate(args):
        values = ", ".join(map(repr, a.reshape(-1).tolist()))
        lines.append(f"static const {C_TYPES[str(a.dtype)]} x{k}[] = {{{values}}};")
        given.append(f"x{k}")
    for k, w in enumerate(wanted):
        lines.append(f"static {C_TYPES[str(w.dtype)]} y{k}[{w.size}];")
        outs.append(f"y{k}")
    room = ["work"] if compiled.source.workspace_bytes else []
    lines.append("static double work[WORK__WORKSPACE + 1];")
    shows = " ".join(f"show(y{k}, sizeof y{k});" for k in range(len(wanted)))
    lines.append(f"int main(void) {{ int s = work_({', '.join([*given, *outs, *room])});"
                 f" show(&s, 4); {shows} (void)work; return 0; }}")  # fmt: skip
    (tmp_path / "main.c").write_text("\n".join(lines))
    files = [paths[0], tmp_path / "main.c", BOARD / "board.c"]
    program = tmp_path / "program"
    subprocess.run(
        [COMPILER, *FLAGS, *CPUS[machine], "-O2", *map(str, files),
         "-T", str(BOARD / "board.ld"), "-nostartfiles", "-o", str(program),
         "-lm", "-lc", "-lgcc"],
        check=True, capture_output=True,
    )  # fmt: skip
    run = subprocess.run(
        [EMULATOR, "-M", BOARDS[machine], "-display", "none", "-semihosting-config",
         "enable=on,target=native", "-kernel", str(program)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    status, *results = (run.stdout + run.stderr).split()
    assert status == "00000000"
    for text, w in zip(results, wanted, strict=True):
        got = np.frombuffer(bytes.fromhex(text), w.dtype).reshape(w.shape)
        tolerance = 1e-5 if w.dtype == np.float32 else 1e-13
        np.testing.assert_allclose(got, w, rtol=tolerance, atol=tolerance)


def test_arrays_beyond_the_budget_go_to_the_workspace():
    f, args = WORKS["hessian"]
    small = sg.compile(f, *args, machine=replace(CORTEX_M4, name="tiny", stack_bytes=16))
    large = sg.compile(f, *args, machine=replace(CORTEX_M4, name="roomy", stack_bytes=1 << 16))
    used = [int(re.search(r"_STACK (\d+)", c.source.header)[1]) for c in (small, large)]
    assert used[0] <= 16 < used[1]
    assert small.source.workspace_bytes >= large.source.workspace_bytes
    for got, want in zip(small.graph.evaluate_flat(list(args)), [large(*args)], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(small(*args), large(*args))
