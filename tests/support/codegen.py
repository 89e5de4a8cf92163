"""Shared by tests: lower, emit, compile strictly, run, and compare with the NumPy evaluator."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

import symgrad as sg
from symgrad.compiled import Compiled
from symgrad.diff.modes import drop_stops
from symgrad.emit.c import emit
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.walk import expand_composites
from symgrad.lower.pipeline import lower
from symgrad.lower.tuning import HOST_TUNING
from symgrad.options import Options
from symgrad.runtime.build import build, ffi
from symgrad.simplify import simplify

STRICT = (
    "-std=c99 -pedantic -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wdouble-promotion "
    "-Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wundef -Werror"
).split()

# Whether this processor has fused multiply-add.
FUSES = os.path.exists("/proc/cpuinfo") and " fma " in Path("/proc/cpuinfo").read_text()

# Found only while compilers optimise: reads and writes beyond arrays, rounds that cannot be meant,
# a constant that is changed by its address.
FATAL = {
    "gcc": "aggressive-loop-optimizations array-bounds stringop-overflow discarded-qualifiers",
    "clang": "array-bounds incompatible-pointer-types-discards-qualifiers uninitialized",
    "zig": "array-bounds incompatible-pointer-types-discards-qualifiers uninitialized",
}


def tuned(f, *args, **options):
    """`f` as `sg.compile` compiles it, with any `Options`."""
    return Compiled(sg.trace(f, *args).simplify(), Options(**options))


def program_of(args, outs, **options):
    """The loop program of a graph with arguments x0, x1, … and results y0, y1, …"""
    outs = expand_composites(drop_stops(outs))
    check(outs)
    inputs, outputs = [f"x{k}" for k in range(len(args))], [f"y{k}" for k in range(len(outs))]
    return lower(args, outs, inputs, outputs, **options)


def c_of(args, outs, name="f", tuning=HOST_TUNING, **options):
    """C of a graph; further options are those of `lower`."""
    return emit(program_of(args, outs, tuning=tuning, **options), name, tuning=tuning)


def expanded(outs):
    """Simplified outputs as generation hands them to `lower`: without composites."""
    outs = expand_composites(drop_stops(outs))
    return simplify(outs, disable=frozenset({"stable", "linalg"})).outs


def run_c(source, args, outs, values, text=None, threads=1, optimize=1):
    """Results of the compiled C, or of `text` in its place; inputs are passed as they are."""
    library = build(text or source.c, (source.entry,), optimize=optimize, threads=threads)
    entry = library.entry(source.entry)
    results = [np.full(o.shape, 77, o.dtype) for o in outs]
    inputs = [np.ascontiguousarray(values[a], dtype=a.dtype) for a in args] + list(source.data)
    work = np.full(source.workspace_bytes // 8 + 1, np.nan)
    pointers = [ffi.from_buffer(a) if a.size else ffi.NULL for a in inputs]
    targets = [ffi.from_buffer(r) if r.size else ffi.NULL for r in results]
    status = entry(
        ffi.new("void *[]", pointers or [ffi.NULL]),
        ffi.new("void *[]", targets or [ffi.NULL]),
        ffi.from_buffer(work),
    )
    return status, results


def agree(args, outs, values, rtol=1e-12, atol=1e-13, outs_reference=None):
    """Assert that the C computes what the evaluator computes; returns the C source."""
    source = c_of(args, outs)
    status, got = run_c(source, args, outs, values)
    assert status == 0
    expected = evaluate(outs_reference or outs, values)
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=rtol, atol=atol, err_msg=source.c)
    return source


@functools.cache
def _version(program):
    return subprocess.run([program, "--version"], capture_output=True, text=True).stdout


def compile_strictly(text, compiler, options=(), accepted=None):
    """Compile with every warning as an error; returns the compiler's messages, '' if none.

    accepted : a folder with an empty file for each text without messages, which is not compiled
        again by the same compiler with the same options
    """
    program = shutil.which(compiler)
    if program is None:
        return ""
    command = [program, *STRICT, *options, "-fsyntax-only", "-x", "c", "-"]
    if accepted is not None:
        whole = "\0".join([_version(program), *command, text])
        known = accepted / hashlib.sha256(whole.encode()).hexdigest()
        if known.exists():
            known.touch()
            return ""
    result = subprocess.run(command, input=text, capture_output=True, text=True)
    messages = result.stderr or result.stdout or "failed" * (result.returncode != 0)
    if accepted is not None and not messages:
        known.touch()
    return messages
