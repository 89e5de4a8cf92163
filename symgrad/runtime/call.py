"""From NumPy arrays to a C call and back: the boundary where memory could be misread.

Every array is checked for type, dtype, byte order, shape, alignment, contiguity and, for results
that the caller hands in, writability and overlap. What can be repaired without changing a value
(strides, alignment) is copied; everything else is refused by name. Nothing is ever computed from
memory that was not checked.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad.emit.c import Source
from symgrad.errors import (
    CompilerNotFoundError,
    DtypeError,
    NoCompilerWarning,
    OutOfRangeError,
    ShapeError,
    StructureError,
)  # fmt: skip
from symgrad.runtime.build import Library, build, ffi
from symgrad.version import __version__

_PLAIN = (float, int, bool)
_LARGE_SOURCE = 400_000  # characters; past this -O3 costs minutes and gains nothing


class ArrayType:
    """What one argument or result must be: its name for messages, dtype and shape."""

    __slots__ = ("name", "dtype", "shape", "numpy", "described")

    def __init__(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        self.name, self.dtype, self.shape = name, dtype, shape
        self.numpy = np.dtype(dtype)
        self.described = f"{dtype} array of shape {shape}" if shape else f"{dtype} scalar"

    def check(self, value: Any) -> np.ndarray:
        """`value` as an aligned C-contiguous array of exactly this type, copied only if needed.

        Raises
        ------
        DtypeError, ShapeError, StructureError
            Naming the argument, what was expected and what was got.
        """
        if type(value) is not np.ndarray:
            value = self._array(value)
        if value.dtype != self.numpy or not value.dtype.isnative:
            got = "byte-swapped " if value.dtype.kind in "iuf" and not value.dtype.isnative else ""
            raise DtypeError(
                f"argument {self.name}: expected {self.described}, got {got}{value.dtype}"
                f"{list(value.shape)}; convert it with .astype(np.{self.dtype})"
            )
        if value.shape != self.shape:
            raise ShapeError(
                f"argument {self.name}: expected {self.described}, got shape {value.shape}"
            )
        if not (value.flags.c_contiguous and value.flags.aligned):
            value = np.array(value, order="C", copy=True)
        return value

    def _array(self, value: Any) -> np.ndarray:
        if isinstance(value, (*_PLAIN, np.generic)):
            if self.shape:
                raise ShapeError(
                    f"argument {self.name}: expected {self.described}, got the number {value!r}"
                )
            given = np.asarray(value)
            # Python's int and bool fit a float argument exactly, as in NumPy; nothing narrows.
            plain = isinstance(value, _PLAIN) and not isinstance(value, np.generic)
            if plain and (isinstance(value, (int, bool)) or self.dtype.startswith("float")):
                if not (isinstance(value, float) and not self.dtype.startswith("float")):
                    return self._exact(value)
            return given
        if isinstance(value, np.memmap):
            return value.view(np.ndarray)
        if isinstance(value, np.ndarray):
            raise StructureError(
                f"argument {self.name}: expected a plain NumPy array, got {type(value).__name__}, "
                "whose extra meaning would be lost; pass np.asarray(...) of it"
            )
        raise StructureError(
            f"argument {self.name}: expected {self.described}, got {type(value).__name__}"
        )

    def _exact(self, value: float | int | bool) -> np.ndarray:
        if self.dtype == "bool" and not isinstance(value, bool):
            raise DtypeError(f"argument {self.name}: expected {self.described}, got {value!r}")
        try:
            return np.array(value, dtype=self.numpy)
        except OverflowError as error:
            raise DtypeError(
                f"argument {self.name}: {value!r} does not fit {self.dtype}"
            ) from error

    def check_out(self, value: Any) -> np.ndarray:
        """`value` as a result array to write into; nothing is copied here."""
        if type(value) is not np.ndarray:
            raise StructureError(f"out {self.name}: expected a NumPy array, got {type(value).__name__}")
        if value.dtype != self.numpy or not value.dtype.isnative:
            raise DtypeError(f"out {self.name}: expected {self.described}, got {value.dtype}")
        if value.shape != self.shape:
            raise ShapeError(f"out {self.name}: expected {self.described}, got shape {value.shape}")
        if not (value.flags.c_contiguous and value.flags.aligned):
            raise StructureError(f"out {self.name}: must be C-contiguous and aligned")
        if not value.flags.writeable:
            raise StructureError(f"out {self.name}: is read-only")
        return value


class Native:
    """A compiled function on flat lists of arrays. Thread-safe: all state is per call.

    Raises CompilerNotFoundError when made, if there is no compiler.
    """

    def __init__(self, source: Source, inputs: Sequence[ArrayType], outputs: Sequence[ArrayType]) -> None:
        self.source = source
        self.inputs, self.outputs = list(inputs), list(outputs)
        large = len(source.c) > _LARGE_SOURCE
        self.library: Library = build(
            source.c, (source.entry, source.name), optimize=1 if large else 3, key_extra=__version__
        )
        self._entry = self.library.entry(source.entry)
        self._data = [ffi.from_buffer(d) if d.size else ffi.NULL for d in source.data]
        self._memory = threading.local()

    def __call__(self, values: Sequence[Any], outs: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Check, call, and return the results as arrays (fresh ones, or `outs`)."""
        arrays = [t.check(v) for t, v in zip(self.inputs, values, strict=True)]
        if outs is None:
            results = [np.empty(t.shape, t.numpy) for t in self.outputs]
        else:
            results = [t.check_out(o) for t, o in zip(self.outputs, outs, strict=True)]
            _refuse_overlap(results, arrays, self.outputs, self.inputs)
        pointers = [_pointer(a) for a in arrays]
        status = self._entry(
            ffi.new("void *[]", [*pointers, *self._data] or [ffi.NULL]),
            ffi.new("void *[]", [_pointer(r) for r in results] or [ffi.NULL]),
            self._workspace(),
        )
        if status:
            raise_status(status, self.source.name)
        return results

    def _workspace(self) -> Any:
        """One scratch block per thread and function, kept, because fresh pages cost more than work."""
        if not self.source.workspace_bytes:
            return ffi.NULL
        pointer = getattr(self._memory, "pointer", None)
        if pointer is None:
            block = np.empty(self.source.workspace_bytes + 64, np.uint8)
            start = -block.ctypes.data % 64
            self._memory.block = block
            pointer = self._memory.pointer = ffi.from_buffer(block[start:])
        return pointer


def _pointer(array: np.ndarray) -> Any:
    return ffi.from_buffer(array) if array.size else ffi.NULL


def raise_status(status: int, name: str) -> None:
    """The exception for a status that generated C returns."""
    if status == 1:
        raise OutOfRangeError(f"{name}: an index is outside its axis")
    raise np.linalg.LinAlgError(f"{name}: a matrix is singular or not positive definite")


def _refuse_overlap(
    results: Sequence[np.ndarray], arrays: Sequence[np.ndarray],
    outputs: Sequence[ArrayType], inputs: Sequence[ArrayType],
) -> None:  # fmt: skip
    for k, r in enumerate(results):
        for a, t in zip(arrays, inputs, strict=True):
            if np.may_share_memory(r, a) and np.shares_memory(r, a):
                raise StructureError(f"out {outputs[k].name}: overlaps argument {t.name}")
        for j in range(k):
            if np.may_share_memory(r, results[j]):
                raise StructureError(f"out {outputs[k].name}: overlaps out {outputs[j].name}")


_warned = threading.Event()


def warn_no_compiler(error: CompilerNotFoundError) -> None:
    """Say once per process that functions run on the NumPy evaluator."""
    if not _warned.is_set():
        _warned.set()
        warnings.warn(
            f"no C compiler was found, so functions run on the NumPy evaluator: correct, but "
            f"slower. Install one with `pip install symgrad[cc]`. ({error})",
            NoCompilerWarning,
            stacklevel=4,
        )
