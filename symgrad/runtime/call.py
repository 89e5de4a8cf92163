"""From NumPy arrays to a C call and back: the slow and exact path.

The fast one is in dispatch.py. Nothing is ever computed from memory that `boundary.check_call` has
not checked.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from symgrad import log
from symgrad.boundary import ArrayType, Binding, check_call
from symgrad.errors import (
    CompileError,
    CompilerNotFoundError,
    LoopLimitError,
    NoCompilerWarning,
    OutOfRangeError,
    SymgradWarning,
    TapeFullError,
    warn,
)
from symgrad.ops.checks import FIRST_STATUS, Failure
from symgrad.runtime.blas import connect
from symgrad.runtime.build import Library, build, ffi
from symgrad.runtime.dispatch import empty
from symgrad.runtime.threads import end_before_fork
from symgrad.tapes import ADVICE
from symgrad.version import __version__

if TYPE_CHECKING:
    from symgrad.emit.c import Source

_LARGE_SOURCE = 400_000  # characters; past this -O3 costs minutes and gains nothing


def build_source(source: Source, threads: int) -> Library:
    """The library of generated C, for so many threads if it has loops that they can share.

    Raises CompilerNotFoundError if there is no compiler. Where a compiler has no OpenMP there is a
    warning and one thread: the results are the same.
    """
    large = len(source.c) > _LARGE_SOURCE
    if large:
        log.note(lambda: f"{source.name}: over {_LARGE_SOURCE} bytes of C, so -O1 in place of -O3")

    def made(threads: int) -> Library:
        return build(
            source.c,
            (source.entry, source.name),
            optimize=1 if large else 3,
            key_extra=__version__,
            units=source.units,
            threads=threads,
            blas=source.blas,
        )

    if threads == 1 or not source.parallel:
        return made(1)
    try:
        return made(threads)
    except CompileError as error:
        library = made(1)  # which fails as well if OpenMP was not the reason
        if "no OpenMP" not in _said:
            _said.add("no OpenMP")
            warn(
                f"threads={threads}: the compiler cannot use OpenMP, so functions run on one "
                f"thread: the same results, but slower. Install its OpenMP runtime (libgomp of "
                f"gcc, libomp of clang). ({str(error).splitlines()[-1]})",
                SymgradWarning,
            )
        return library


class Native:
    """A compiled function on flat lists of arrays. Thread-safe: all state is per call."""

    def __init__(
        self,
        binding: Binding,
        library: Library,
        inputs: Sequence[ArrayType],
        outputs: Sequence[ArrayType],
        failures: Sequence[Failure] = (),
    ) -> None:
        self.binding, self.library, self.failures = binding, library, failures
        self.inputs, self.outputs = list(inputs), list(outputs)
        self._entry = library.entry(binding.entry)
        self._data = [ffi.from_buffer(d) if d.size else ffi.NULL for d in binding.data]
        self._memory = threading.local()
        if library.threads > 1:
            end_before_fork(library)
        connect(library)

    def __call__(
        self, values: Sequence[Any], outs: Sequence[Any] | None = None
    ) -> list[np.ndarray]:
        """Check, call, and return the results as arrays (fresh ones, or `outs`)."""
        arrays, results = check_call(self.inputs, self.outputs, values, outs)
        if results is None:
            results = [empty(t) for t in self.outputs]
        pointers = [_pointer(a) for a in arrays]
        status = self._entry(
            ffi.new("void *[]", [*pointers, *self._data] or [ffi.NULL]),
            ffi.new("void *[]", [_pointer(r) for r in results] or [ffi.NULL]),
            self._workspace(),
        )
        if status:
            raise_status(status, self.binding.name, self.failures)
        return results

    def _workspace(self) -> Any:
        """One scratch block per thread and function, kept: fresh pages cost more than work."""
        if not self.binding.workspace_bytes:
            return ffi.NULL
        pointer = getattr(self._memory, "pointer", None)
        if pointer is None:
            block = np.empty(self.binding.workspace_bytes + 64, np.uint8)
            start = -block.ctypes.data % 64
            self._memory.block = block
            pointer = self._memory.pointer = ffi.from_buffer(block[start:])
        return pointer


def _pointer(array: np.ndarray) -> Any:
    return ffi.from_buffer(array) if array.size else ffi.NULL


def raise_status(status: int, name: str, failures: Sequence[Failure] = ()) -> NoReturn:
    """The exception for a status that generated C returns; `failures` are the function's own."""
    if status >= FIRST_STATUS:
        failures[status - FIRST_STATUS].throw()
    if status == 1:
        raise OutOfRangeError(
            f"{name}: an index is outside its axis, or an integer has a negative integer power"
        )
    if status == 3:
        raise LoopLimitError(f"{name}: a while loop did not end within its max_steps= rounds")
    if status == 4:
        raise TapeFullError(
            f"{name}: a while loop takes more rounds than reverse mode has made room for: {ADVICE}"
        )
    raise np.linalg.LinAlgError(f"{name}: a matrix is singular or not positive definite")


_said: set[str] = set()  # warnings that come once per process


def warn_no_compiler(error: CompilerNotFoundError) -> None:
    """Say once per process that functions run on the NumPy evaluator."""
    if "no compiler" not in _said:
        _said.add("no compiler")
        warn(
            f"no C compiler was found, so functions run on the NumPy evaluator: correct, but "
            f"slower. Install one with `pip install symgrad[cc]`. ({error})",
            NoCompilerWarning,
        )
