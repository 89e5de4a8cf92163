"""Threads of compiled loops, and processes that fork.

libgomp keeps the threads of a parallel loop for the next one. A child of fork has none of them but
would wait for them for ever. So they are ended before this process forks, and come back with the
next parallel loop on either side. Only those that the forking thread uses matter: no other thread
lives on in the child. LLVM's runtime looks after forks itself.
"""

from __future__ import annotations

import ctypes
import functools
import os

from symgrad.errors import BuildError
from symgrad.runtime.build import Library

_HARD = 2  # omp_pause_hard: end the threads


def end_before_fork(library: Library) -> None:
    """Make sure that the threads of this library's loops do not keep a fork from working."""
    if library.compiler.kind == "gcc":
        try:
            pause = library.address("omp_pause_resource_all")
        except BuildError:  # before gcc 9
            return
        _register(pause)


@functools.cache
def _register(pause: int) -> None:
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(pause)
    os.register_at_fork(before=functools.partial(function, _HARD))
