"""Exported headers are C99 and C++11 without a warning."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

import symgrad as sg
from support.codegen import STRICT

FUNCTIONS = {
    "scalar": (lambda x: np.sin(x) * x, sg.f64),
    "hessian_of_cubes": (sg.hessian(lambda x: np.sum(x**3)), sg.f64[4]),
    "class": (lambda new: new * 2, sg.f64[3]),
    "structured": (lambda p: {"y": p["w"] @ p["x"], "n": p["k"] + 1},
                   {"w": sg.f32[2, 3], "x": sg.f32[3], "k": sg.i32[2]}),
    "bools": (lambda x: (x > 0, np.where(x > 0, x, -x)), sg.f64[5]),
    "indexed": (lambda x, i: np.take(x, i), sg.f64[5], sg.i64[2]),
    "captured": (lambda x: np.arange(5000.0) * x, sg.f64[5000]),
    "solver": (sg.grad(lambda a: np.sum(np.linalg.solve(a, np.ones(3)))), sg.f64[3, 3]),
    "empty": (lambda x: x * 2, sg.f64[0]),
    "nothing": (lambda: 1.5,),
}  # fmt: skip


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_header_is_cpp(name, tmp_path):
    if (cpp := shutil.which("g++")) is None:
        pytest.skip("needs g++")
    function, *specs = FUNCTIONS[name]
    paths = sg.compile(function, *specs, name=f"of_{name}").export(tmp_path)
    header = next(path for path in paths if path.suffix == ".h")
    # Twice, for the include guard; nothing before it, for what it includes itself.
    text = f'#include "{header.name}"\n' * 2
    text += "typedef int entry(const void *const *, void *const *, void *);\n"
    text += f"entry *volatile used = of_{name}_entry;\n"
    strict = "-std=c++11 -Wall -Wextra -Wpedantic -Wold-style-cast -Wconversion -Werror".split()
    command = [cpp, *strict, f"-I{tmp_path}", "-fsyntax-only", "-x", "c++", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    for path in paths:  # the exported files, the header included by itself, as C
        words = ["gcc", *STRICT, f"-I{tmp_path}", "-fsyntax-only", "-x", "c", path]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
