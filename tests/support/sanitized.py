"""Stand-alone C run under gcc's sanitizers for memory and undefined behaviour."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from support.codegen import c_of, expanded
from support.random_graphs import Builder
from symgrad.diff.modes import vjp, zeros_like
from symgrad.emit.c import Source
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import const
from symgrad.lower.tuning import HOST_TUNING, Tuning
from symgrad.simplify import simplify

# Reports say lines (-g1); to say variables as well takes gcc three times as long.
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all",
            "-g1", "-O1", "-ffp-contract=off"]  # fmt: skip
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


def check_seeds(
    seeds, folder: Path, options: str = "", products: float = 0.1, tuning: Tuning = HOST_TUNING
) -> list[Source]:
    sources, inputs, outputs, references = [], [], [], []
    for seed in seeds:
        args, outs, values = graph(seed, products)
        references.append(evaluate(outs, values))
        outs = expanded(simplify(outs).outs)
        sources.append(c_of(args, outs, name=f"graph_{seed}", tuning=tuning))
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


needs_sanitizers = pytest.mark.skipif(bool(sanitizers()), reason=sanitizers())
