"""Times peers side by side on one work: agreement first, then interleaved blocks and medians.

A work is a module with one `Work`. A peer is a function ``peer(stage, *data)`` that prepares a
call, `with stage("derive")` and `with stage("compile")` around what belongs there, and returns a
function without arguments that does one evaluation, or that function and another one that brings
its result into the form in which results are compared. The same holds for all peers:

* Imports, starting a runtime, and converting the inputs to a peer's own arrays are outside the
  timing. One evaluation makes fresh results in the peer's own arrays and waits for them.
* derive is Python function to code or graph (derivation, simplification, printing C); compile is
  everything else up to the end of the first call. Both are measured once, cold, in wall time.
* Evaluations are timed in blocks of at least 20 ms, round robin over the peers, after the results
  were compared. The number is the median over the rounds of CPU time (user + system, all threads)
  per evaluation, so that other load on the machine counts little; with several threads, of wall
  time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import importlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from environment import scratch_folder

HERE = Path(__file__).parent
BLOCK = 0.02  # seconds
ROUNDS, FEW_ROUNDS = 9, 3
SLOW = 0.5  # seconds; a peer that takes longer is timed in few rounds
PACKAGES = "numpy scipy jax torch casadi pytensor heyoka numba".split()
SCHEMA = 1


class Skip(Exception):
    """The peer does not take part; the message says why."""


class Stages:
    """Seconds spent in each stage; stages of one name add up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


Call = Callable[[], Any]
Peer = Callable[..., Call | tuple[Call, Callable[[Any], Any]]]


@dataclasses.dataclass(frozen=True)
class Work:
    """One thing to compute, at several sizes, by several peers. The first peer is the reference."""

    title: str
    data: Callable[..., tuple[Any, ...]]
    sizes: list[dict[str, Any]]
    tiny: list[dict[str, Any]]
    peers: dict[str, Peer]
    tolerance: float = 1e-10
    quick: int = 1  # how many of the sizes `run.py --quick` runs
    slow: tuple[str, ...] = ("PyTorch compiled", "PyTensor")  # to compile; not in --quick
    absent: dict[str, str] = dataclasses.field(default_factory=dict)  # peer: why it cannot do it


# ---- agreement ---------------------------------------------------------------------------------


def leaves(result: Any) -> list[np.ndarray]:
    """The arrays of a nested result, in order, as NumPy arrays without axes of length 1."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (tuple, list)):
        return [leaf for part in result for leaf in leaves(part)]
    if hasattr(result, "detach"):
        result = result.detach()
    return [np.squeeze(np.asarray(result))]


def disagreement(got: Any, expected: Any) -> float:
    """Largest difference relative to the largest entry, over all arrays; inf if shapes differ.

    Arrays stacked into one count as their parts.
    """
    left, right = leaves(got), leaves(expected)
    if len(left) == 1 < len(right):
        left = list(left[0])
    if [x.shape for x in left] != [x.shape for x in right]:
        return math.inf
    worst = 0.0
    for a, b in zip(left, right, strict=True):
        scale = float(np.max(np.abs(b), initial=0.0))
        difference = float(np.max(np.abs(a.astype(float) - b), initial=0.0))
        if not math.isfinite(difference):
            return math.inf
        worst = max(worst, difference / scale if scale else difference)
    return worst


# ---- timing ------------------------------------------------------------------------------------


def block(call: Call, count: int) -> tuple[float, float]:
    """CPU and wall seconds per call."""
    gc.collect(0)
    gc.disable()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in itertools.repeat(None, count):
        call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    gc.enable()
    return cpu / count, wall / count


def calls_per_block(call: Call) -> int:
    count = 1
    while True:
        seconds = block(call, count)[1] * count
        if seconds >= BLOCK:
            return count
        count = max(2 * count, math.ceil(1.2 * count * BLOCK / max(seconds, 1e-6)))


def interleave(calls: dict[str, Call], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Blocks of every call, round robin."""
    counts = {name: calls_per_block(call) for name, call in calls.items()}
    blocks: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            if number < FEW_ROUNDS or counts[name] > 1 or blocks[name][0][1] < SLOW:
                blocks[name].append(block(call, counts[name]))
    return blocks


def prepare(peer: Peer, data: tuple[Any, ...]) -> tuple[Call, Any, dict[str, float]]:
    """The call, its first result as it is compared, and the seconds to get there."""
    stage = Stages()
    call = peer(stage, *data)
    call, compared = call if isinstance(call, tuple) else (call, lambda result: result)
    with stage("compile"):
        first = call()
    return call, compared(first), stage.seconds


def failure(error: Exception) -> str:
    """One line without places on this machine."""
    text = " ".join(str(error).split())
    for folder in (HERE, scratch_folder()):
        text = text.replace(f"{folder}/", "")
    return f"fails: {type(error).__name__}: {text[:200]}"


def run_size(
    work: Work, size: dict[str, Any], wanted: Callable[[str], bool], rounds: int, clock: str
) -> list[dict[str, Any]]:
    """One row per peer."""
    data = work.data(**size)
    rows, calls, expected = [], {}, None
    for name, peer in work.peers.items():
        if expected is not None and not wanted(name):
            continue
        row: dict[str, Any] = {"peer": name, "derive": None, "compile": None, "evaluate": None}
        rows.append(row)
        try:
            call, first, seconds = prepare(peer, data)
        except Skip as reason:
            row["note"] = str(reason)
            continue
        except Exception as error:  # a peer that fails is a row that says so
            row["note"] = failure(error)
            continue
        expected = first if expected is None else expected
        row["error"] = disagreement(first, expected)
        if row["error"] > work.tolerance:
            row["note"] = f"disagrees by {row['error']:.1e}: not timed"
            continue
        row["derive"] = seconds.get("derive")
        row["compile"] = seconds["compile"]
        calls[name] = call
    blocks = interleave(calls, rounds)
    for row in rows:
        if row["peer"] in blocks:
            cpu, wall = zip(*blocks[row["peer"]], strict=True)
            row["evaluate_cpu"] = statistics.median(cpu)
            row["evaluate_wall"] = statistics.median(wall)
            row["evaluate"] = row[f"evaluate_{clock}"]
            row["blocks"] = list(cpu if clock == "cpu" else wall)
    rows += [{"peer": name, "derive": None, "compile": None, "evaluate": None, "note": reason}
             for name, reason in work.absent.items() if wanted(name)]  # fmt: skip
    return rows


# ---- surroundings ------------------------------------------------------------------------------


def surroundings(threads: int) -> dict[str, Any]:
    """What the numbers depend on: processor, compiler, versions."""
    cpu = platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    compiler = subprocess.run([*C_COMPILER, "--version"], capture_output=True, text=True).stdout
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.system(), "threads": threads,
            "compiler": compiler.splitlines()[0], "versions": versions}  # fmt: skip


def write_json(path: Path, results: dict[str, Any]) -> None:
    path.write_text(json.dumps(results, indent=1) + "\n")


# ---- peers -------------------------------------------------------------------------------------

C_TYPES = {"<f8": "double[]", "<f4": "float[]", "<i4": "int[]"}
C_COMPILER = shlex.split(os.environ.get("CC", "")) or ["gcc"]
# gnu99, not c99: as by default, gcc may then fuse multiply-add.
C_FLAGS = "-O3 -march=native -std=gnu99 -fPIC -shared".split()


def need(module: str) -> Any:
    """The module, or the peer is skipped."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise Skip(f"{module.partition('.')[0]} is not installed") from None


def by_symgrad(stage: Stages, f: Callable[..., Any], *args: Any, out: Any = None) -> Call:
    """`f`, a function made by symgrad's transformations, compiled for `args` and called on them."""
    import symgrad as sg
    from symgrad.generate import source_of
    from symgrad.runtime.call import build_source

    sg.compile(lambda x: x, 0.0)  # the compiler is looked for once
    with stage("derive"):
        graph = sg.trace(f, *args).simplify()
        source = source_of(graph)
    with stage("compile"):
        build_source(source, threads=1)
    compiled = sg.compile(f, *args)
    if out is None:
        return functools.partial(compiled, *args)
    (x,) = args
    return lambda: compiled(x, out=out)  # a partial would make a dictionary at every call


def compile_c(source: Path) -> Path:
    """The shared library of a C file."""
    library = scratch_folder() / f"{source.parent.name}-{source.stem}.so"  # no path is loaded twice
    try:
        command = [*C_COMPILER, *C_FLAGS, source, "-o", library, "-lm"]
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        raise Skip(f"{C_COMPILER[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{C_COMPILER[0]}: {error.stderr.decode()}") from None
    return library


class HandwrittenC:
    """handwritten/<name>.c, whose only function is declared on its lines up to the first ``{``.

    Called with NumPy arrays and numbers in the order of its parameters.
    """

    def __init__(self, stage: Stages, name: str) -> None:
        import cffi

        self.ffi = cffi.FFI()
        source = HERE / "handwritten" / f"{name}.c"
        with stage("compile"):
            library = compile_c(source)
        text = source.read_text()
        start = text.index(f"void {name}(")
        self.ffi.cdef(text[start : text.index("{", start)].replace("restrict", "") + ";")
        self.library = self.ffi.dlopen(str(library))
        self.function = getattr(self.library, name)

    def __call__(self, *args: Any) -> None:
        from_buffer = self.ffi.from_buffer
        self.function(*[
            from_buffer(C_TYPES[a.dtype.str], a) if isinstance(a, np.ndarray) else a for a in args
        ])  # fmt: skip


def by_jax(stage: Stages, f: Callable[..., Any], *args: Any) -> Call:
    """`f`, written with jax.numpy, jitted for `args`."""
    jax = need("jax")
    args = jax.tree.map(jax.numpy.asarray, args)
    with stage("derive"):
        lowered = jax.jit(f).lower(*args)
    with stage("compile"):
        compiled = lowered.compile()
    jitted = jax.jit(f)  # the way users call it: its dispatch is faster than that of `compiled`
    jax.block_until_ready(jitted(*args))
    del compiled
    return lambda: jax.block_until_ready(jitted(*args))


def by_torch(
    stage: Stages, f: Callable[..., Any], wrt: int, *args: np.ndarray, compiled: bool = False
) -> Call:
    """Value of `f`, written with PyTorch, and its gradient for the first `wrt` arguments."""
    torch = need("torch")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    tensors = [torch.as_tensor(a) for a in args]
    inputs = [tensor.requires_grad_() for tensor in tensors[:wrt]]
    if compiled:
        torch._dynamo.reset()
        f = torch.compile(f, dynamic=False)

    def call() -> Any:
        value = f(*tensors)
        seed = None if value.ndim == 0 else torch.ones_like(value)  # elementwise: a gradient each
        return value.detach(), torch.autograd.grad(value, inputs, seed)

    return call


def by_casadi(stage: Stages, function: Any, *args: np.ndarray, generate: bool = True) -> Call:
    """A CasADi function, by default through generated C, on its buffer interface, fresh results.

    CasADi stores matrices by columns: arguments and results here are the transposed NumPy arrays,
    or the entries of a sparse matrix.
    """
    casadi = need("casadi")
    if generate:
        name = function.name()
        with stage("derive"), contextlib.chdir(scratch_folder()):
            function.generate(f"{name}.c")
        with stage("compile"):
            library = compile_c(scratch_folder() / f"{name}.c")
        function = casadi.external(name, str(library))
    patterns = [function.sparsity_out(k) for k in range(function.n_out())]
    shapes = [p.size()[::-1] if p.is_dense() else p.nnz() for p in patterns]
    buffer, trigger = function.buffer()
    for k, a in enumerate(args):
        buffer.set_arg(k, memoryview(a))

    def call() -> list[np.ndarray]:
        outs = [np.empty(shape) for shape in shapes]
        for k, out in enumerate(outs):
            buffer.set_res(k, memoryview(out))
        trigger()
        return outs

    call.keep = function, args  # type: ignore[attr-defined]  # the buffer does not
    return call
