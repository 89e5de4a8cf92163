"""What has to be set before NumPy and the peers are imported: threads, and empty compile caches."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def limit_threads(threads: int) -> None:
    """Threads of every library, and places for compile caches that are empty at the start."""
    for name in "OMP OPENBLAS MKL NUMBA NUMEXPR VECLIB_MAXIMUM".split():
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        os.environ["NPROC"] = "1"  # the size of XLA's pool
    os.environ["JAX_ENABLE_X64"] = "1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    scratch = scratch_folder()
    os.environ["SYMGRAD_CACHE_DIR"] = str(scratch / "symgrad")
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(scratch / "torch")
    os.environ["PYTENSOR_FLAGS"] = f"base_compiledir={scratch / 'pytensor'}"
    _build_call_path()


@functools.cache
def _build_call_path() -> None:
    """The first process with a cache calls by way of Python, while it builds the way that is C."""
    first = "import symgrad as sg; sg.compile(lambda x: x, 0.0)(0.0)"
    subprocess.run([sys.executable, "-c", first], check=True)


@functools.cache
def scratch_folder() -> Path:
    """A folder that lives as long as the process."""
    keep = tempfile.TemporaryDirectory(prefix="symgrad-benchmarks-")
    scratch_folder.keep = keep  # type: ignore[attr-defined]
    (Path(keep.name) / "symgrad").mkdir(mode=0o700)
    return Path(keep.name)
