"""Stand-alone C of random graphs and programs under sanitizers for memory and undefined behaviour.

Graphs are small; programs have the rows with which loops become lanes, tiles and streams. The same
C is compiled at -O2 and -O3 with the warnings that only optimising compilers give as errors.

Run as a program, ``python tests/test_sanitizers.py FIRST LAST``, it checks larger ranges of seeds.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from fuzz.grammar import program
from fuzz.kept import KEPT
from fuzz.oracles import Subject
from support.codegen import FATAL
from support.sanitized import GCC, SANITIZE, check_seeds, needs_sanitizers, run_sanitized
from symgrad.emit.c import Source
from symgrad.errors import SymgradWarning
from symgrad.expr.evaluate import evaluate
from symgrad.generate import source_of
from symgrad.lower.tuning import HOST_TUNING, Tuning


def program_source(seed: int, text: str | None = None, tuning: Tuning = HOST_TUNING):
    """C of a random program of NumPy, its loss and gradient; its arguments; the truth."""
    subject = Subject(text or program(seed)[0])
    f = sg.value_and_grad(subject.loss, argnums=subject.floats) if subject.floats else subject.loss
    with warnings.catch_warnings():  # of arguments that do not matter
        warnings.simplefilter("ignore", SymgradWarning)
        graph = sg.trace(f, *subject.args).simplify()
    source = source_of(dataclasses.replace(graph, name=f"program_{seed}"), tuning=tuning)
    flat = graph.flat(subject.args, {})
    inputs = [np.array(a, n.dtype, order="C") for a, n in zip(flat, graph.args, strict=True)]
    truth = evaluate(graph.outs, dict(zip(graph.args, inputs, strict=True)))
    single = 2e-3 if subject.precision == "float32" else 1e-10
    return source, inputs, truth, single


def compile_optimised(text: str) -> None:
    """With vectors as in this process; warnings are errors."""
    vectors = ["-march=native", "-DSG_VECTORIZE", "-fopenmp-simd"]
    for level, compiler in (("-O3", "gcc"), ("-O2", "clang")):
        if shutil.which(compiler) is None:
            continue
        # gcc does not see that the guard of a read, kept in an array of lanes, never holds: the
        # sanitizers tell whether what it says of array bounds is so.
        fatal = [f"-Werror={w}" for w in FATAL[compiler].split() if w != "array-bounds"]
        command = [compiler, "-std=c99", "-Wall", "-Wextra", *fatal, *vectors, level]
        command += ["-c", "-x", "c", "-", "-o", os.devnull]
        done = subprocess.run(command, input=text, text=True, capture_output=True)
        assert done.returncode == 0, f"{compiler} {level}: {done.stderr}\n{text}"


def check_programs(
    seeds,
    folder: Path,
    texts: Sequence[str | None] | None = None,
    tuning: Tuning = HOST_TUNING,
) -> list[Source]:
    texts = texts or [None] * len(seeds)
    made = [program_source(s, t, tuning) for s, t in zip(seeds, texts, strict=True)]
    sources = [source for source, *_ in made]
    for source in sources:
        compile_optimised(source.c)
    empty = [[np.empty(t.shape, t.dtype) for t in truth] for _, _, truth, _ in made]
    results = run_sanitized(sources, [inputs for _, inputs, _, _ in made], empty, folder)
    for seed, got, (_, _, truth, tolerance) in zip(seeds, results, made, strict=True):
        for k, (g, e) in enumerate(zip(got, truth, strict=True)):
            scale = tolerance * max(1.0, float(np.max(np.abs(e), initial=0.0)))
            message = f"program {seed}, result {k}"
            np.testing.assert_allclose(g, e, rtol=scale, atol=scale, err_msg=message)
    return sources


@pytest.mark.slow
@needs_sanitizers
@pytest.mark.parametrize("first", [5000, 5010, 5020])
def test_random_graphs(first, tmp_path):
    check_seeds(range(first, first + 10), tmp_path)


# Seeds of programs with what stands in WAYS; a program of blocks of points; a long function.
PROGRAMS = [8, 12, 16, 38, 39]
BLOCKS = """
def f(a, b, c):
    h = np.tanh(a @ b)
    return np.sum(h @ c, axis=0), np.exp(a[:, :1]) + np.pad(c[:3, :1], ((0, 4998), (0, 0)))

def loss(a, b, c):
    sums, others = f(a, b, c)
    return np.sum(sums**2) + np.sum(others)

def arguments():
    rng = np.random.default_rng(4)
    return rng.normal(size=(5001, 24)) / 5, rng.normal(size=(24, 40)) / 5, rng.normal(size=(40, 9))
"""
LONG = """
def f(x, t):
    r, power = np.sin(t), np.ones_like(t)
    for j in range(len(x)):
        r = r - x[j] * power
        power = power * t
    return r

def loss(x, t):
    return np.sum(f(x, t) ** 2)

def arguments():
    return np.linspace(-0.5, 0.5, 20), np.linspace(-1, 1, 333)
"""
WAYS = ("sg_add_lanes(", "sg_product(", "sg_panels(", "sg_merge(", "sg_turn_rows(", "sg_put_rows(",
        "sg_take_rows(", "sg_turned(", "SG_SERIAL", "_part2(")  # fmt: skip


@pytest.mark.slow
@needs_sanitizers
def test_programs_of_real_sizes(tmp_path):
    tuning = dataclasses.replace(HOST_TUNING, part_statements=25)
    texts = [*[None] * len(PROGRAMS), BLOCKS, LONG]
    sources = check_programs([*PROGRAMS, 9100, 9101], tmp_path, texts, tuning)
    text = "".join(source.c for source in sources)
    assert all(word in text for word in WAYS), [w for w in WAYS if w not in text]


@pytest.mark.slow
@needs_sanitizers
def test_programs_that_failed_once(tmp_path):
    check_programs(range(9000, 9000 + len(KEPT)), tmp_path, [text for *_, text in KEPT])


@needs_sanitizers
@pytest.mark.parametrize("line", ["return x[n];", "return n + 2147483647;"])
def test_the_sanitizers_are_awake(line, tmp_path):
    text = f"#include <stdlib.h>\nint get(int *x, int n) {{ {line} }}\n"
    text += "int main(int c, char **v) { (void)v; return get(malloc(4), c) == 77; }\n"
    (tmp_path / "bad.c").write_text(text)
    command = [GCC, "-std=c99", *SANITIZE, tmp_path / "bad.c", "-o", tmp_path / "bad"]
    subprocess.run(command, check=True)
    done = subprocess.run([tmp_path / "bad"], capture_output=True, text=True)
    assert done.returncode != 0 and "rror" in done.stderr


CALLS = """
import numpy as np, symgrad as sg
from support.odd_arguments import RIGHT, ROWS, sample, step, well_formed
count = 0
for name, row in ROWS.items():
    if row.argument == RIGHT:
        value, mass = row.make(), sample(row.spec)
        with np.errstate(all="ignore"):
            wanted = step(well_formed(value, row.spec), mass)
        np.testing.assert_array_equal(sg.compile(step, row.spec, row.spec)(value, mass), wanted)
        count += 1
print(count)
"""


@pytest.mark.slow
@needs_sanitizers
def test_accepted_arguments_reach_c_in_order(tmp_path):
    """Where the processor forgives a wrong alignment, the sanitizer does not."""
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "CC": GCC,
        "SYMGRAD_CFLAGS": "-fsanitize=undefined -fno-sanitize-recover -O1",
        "SYMGRAD_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
    }
    done = subprocess.run(
        [sys.executable, "-c", CALLS], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert int(done.stdout) > 50


if __name__ == "__main__":
    first, last = map(int, sys.argv[1:])
    for start in range(first, last, 20):
        with tempfile.TemporaryDirectory() as folder:
            check_seeds(range(start, min(start + 20, last)), Path(folder))
            check_programs(range(start, min(start + 20, last)), Path(folder))
    print(f"seeds {first} to {last - 1}: no report, all equal to the evaluator")
