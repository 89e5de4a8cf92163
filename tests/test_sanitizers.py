"""Stand-alone C of random graphs and programs under sanitizers for memory and undefined behaviour.

Graphs are small; programs have the rows with which loops become lanes, tiles and streams. The same
C is compiled at -O2 and -O3 with the warnings that only optimising compilers give as errors.

Run as a program, ``python tests/test_sanitizers.py FIRST LAST``, it checks larger ranges of seeds.
"""

from __future__ import annotations

import dataclasses
import functools
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
from codegen import FATAL, c_of
from fuzz.grammar import program
from fuzz.kept import KEPT
from fuzz.oracles import Subject
from random_graphs import Builder

import symgrad as sg
from symgrad.diff.modes import drop_stops, vjp, zeros_like
from symgrad.emit import c as emit_module
from symgrad.emit.c import Source
from symgrad.errors import SymgradWarning
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import const
from symgrad.expr.walk import expand_composites
from symgrad.generate import source_of
from symgrad.simplify import simplify

SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=all -g -O1 -ffp-contract=off".split()
GCC = shutil.which("gcc")

# Every array is a heap block of its own and of exact size, so that one element too many is seen.
MAIN = """
#include <stdio.h>
#include <stdlib.h>

typedef int entry(const void *const *, void *const *, void *);
{declarations}

static void *block(size_t size)
{{
    void *made = malloc(size);
    if (made == NULL) {{
        exit(3);
    }}
    return made;
}}

static void run(entry *f, const size_t *sizes, size_t inputs, size_t outputs, size_t workspace)
{{
    void *arrays[64];
    void *work = block(workspace);
    size_t k;
    for (k = 0; k < inputs + outputs; k++) {{
        arrays[k] = block(sizes[k]);
        if (k < inputs && sizes[k] != 0 && fread(arrays[k], sizes[k], 1, stdin) != 1) {{
            exit(4);
        }}
    }}
    if (f((const void *const *)arrays, arrays + inputs, work) != 0) {{
        exit(5);
    }}
    for (k = 0; k < inputs + outputs; k++) {{
        if (k >= inputs && sizes[k] != 0) {{
            fwrite(arrays[k], sizes[k], 1, stdout);
        }}
        free(arrays[k]);
    }}
    free(work);
}}

int main(void)
{{
{calls}
    return 0;
}}
"""


@functools.cache
def sanitizers() -> str:
    """Why they cannot be used here, or nothing."""
    if GCC is None:
        return "needs gcc"
    with tempfile.TemporaryDirectory() as folder:
        command = [GCC, *SANITIZE, "-x", "c", "-", "-o", f"{folder}/probe"]
        made = subprocess.run(command, input="int main(void){return 0;}", text=True,
                              capture_output=True)  # fmt: skip
        if made.returncode or subprocess.run([f"{folder}/probe"], capture_output=True).returncode:
            return f"gcc's sanitizer runtime does not work here: {made.stderr[-200:]}"
    return ""


def graph(seed: int, products: float = 0.1):
    """Arguments, results (values, or gradients for odd seeds) and values of a random graph."""
    b = Builder(seed, "float32" if seed % 5 == 0 else "float64", products)
    outs, args, values = b.outputs(), list(b.args), b.values()
    if seed % 2:
        pulled = vjp(outs, args, [const(0.7, o.dtype, o.shape) for o in outs])
        outs = [zeros_like(a) if p is None else p for a, p in zip(args, pulled, strict=True)]
    return args, outs, values


def lowered(outs):
    outs = expand_composites(drop_stops(simplify(outs).outs))
    return simplify(outs, disable=frozenset({"stable", "linalg"})).outs


def run_sanitized(sources: list[Source], inputs, outputs, folder: Path, options: str = ""):
    """Run each function once, all in one program; `outputs` are arrays of the results' types."""
    declarations, calls, files = [], [], []
    for k, (source, ins, outs) in enumerate(zip(sources, inputs, outputs, strict=True)):
        files.append(folder / f"{source.name}.c")
        files[-1].write_text(source.c)
        blocks = [*ins, *source.data, *outs]
        sizes = ", ".join(f"{a.nbytes}u" for a in blocks)
        declarations.append(f"extern entry {source.entry};")
        declarations.append(f"static const size_t sizes{k}[] = {{{sizes}}};")
        calls.append(f"    run({source.entry}, sizes{k}, {len(blocks) - len(outs)}, {len(outs)}, "
                     f"{source.workspace_bytes}u);")  # fmt: skip
    (folder / "main.c").write_text(
        MAIN.format(declarations="\n".join(declarations), calls="\n".join(calls))
    )
    program = folder / "program"
    flags = ["-std=c99", *options.split(), *SANITIZE]
    command = [GCC, *flags, *files, folder / "main.c", "-o", program, "-lm"]
    subprocess.run(command, check=True)
    data = b"".join(
        a.tobytes() for s, ins in zip(sources, inputs, strict=True) for a in (*ins, *s.data)
    )
    done = subprocess.run([program], input=data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr, done.stderr.decode()
    rest = memoryview(done.stdout)
    for outs in outputs:
        for k, like in enumerate(outs):
            outs[k] = np.frombuffer(rest[: like.nbytes], like.dtype).reshape(like.shape)
            rest = rest[like.nbytes :]
    assert not rest
    return outputs


def check_seeds(seeds, folder: Path, options: str = "", products: float = 0.1) -> list[Source]:
    sources, inputs, outputs, references = [], [], [], []
    for seed in seeds:
        args, outs, values = graph(seed, products)
        references.append(evaluate(outs, values))
        sources.append(c_of(args, lowered(outs), name=f"graph_{seed}"))
        inputs.append([values[a] for a in args])
        outputs.append([np.empty(o.shape, o.dtype) for o in outs])
    results = run_sanitized(sources, inputs, outputs, folder, options)
    for seed, got, expected in zip(seeds, results, references, strict=True):
        finite = [float(np.max(np.abs(e))) for e in expected if e.size and np.isfinite(e).all()]
        scale = max([1.0, *finite]) * (2e-3 if seed % 5 == 0 else 1e-10)
        for k, (g, e) in enumerate(zip(got, expected, strict=True)):
            message = f"seed {seed}, result {k}"
            np.testing.assert_allclose(g, e, rtol=scale, atol=scale, err_msg=message)
    return sources


def program_source(seed: int, text: str | None = None):
    """C of a random program of NumPy, its loss and gradient; its arguments; the truth."""
    subject = Subject(text or program(seed)[0])
    f = sg.value_and_grad(subject.loss, argnums=subject.floats) if subject.floats else subject.loss
    with warnings.catch_warnings():  # of arguments that do not matter
        warnings.simplefilter("ignore", SymgradWarning)
        graph = sg.trace(f, *subject.args).simplify()
    source = source_of(dataclasses.replace(graph, name=f"program_{seed}"))
    flat = graph.flat(subject.args, {})
    inputs = [np.ascontiguousarray(a, n.dtype) for a, n in zip(flat, graph.args, strict=True)]
    truth = evaluate(graph.outs, dict(zip(graph.args, inputs, strict=True)))
    single = 2e-3 if subject.precision == "float32" else 1e-10
    return source, inputs, truth, single


def compile_optimised(text: str) -> None:
    """At every level that matters, with vectors as in this process; warnings are errors."""
    vectors = ["-march=native", "-DSG_VECTORIZE", "-fopenmp-simd"]
    for level in ("-O2", "-O3"):
        for compiler in ("gcc", "clang"):
            if shutil.which(compiler) is None:
                continue
            # gcc does not see that the guard of a read, kept in an array of lanes, never holds: the
            # sanitizers tell whether what it says of array bounds is so.
            fatal = [f"-Werror={w}" for w in FATAL[compiler].split() if w != "array-bounds"]
            command = [compiler, "-std=c99", "-Wall", "-Wextra", *fatal, *vectors, level]
            command += ["-c", "-x", "c", "-", "-o", os.devnull]
            done = subprocess.run(command, input=text, text=True, capture_output=True)
            assert done.returncode == 0, f"{compiler} {level}: {done.stderr}\n{text}"


def check_programs(seeds, folder: Path, texts: Sequence[str | None] | None = None) -> list[Source]:
    made = [program_source(s, t) for s, t in zip(seeds, texts or [None] * len(seeds), strict=True)]
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


needs_sanitizers = pytest.mark.skipif(bool(sanitizers()), reason=sanitizers())


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


@needs_sanitizers
def test_programs_of_real_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(emit_module, "PART_STATEMENTS", 25)
    texts = [*[None] * len(PROGRAMS), BLOCKS, LONG]
    sources = check_programs([*PROGRAMS, 9100, 9101], tmp_path, texts)
    text = "".join(source.c for source in sources)
    assert all(word in text for word in WAYS), [w for w in WAYS if w not in text]


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
from test_boundary import RIGHT, ROWS, sample, step, well_formed
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
