"""What an argument or a result must be: the boundary where memory could be misread.

Every array is checked for type, dtype, byte order, shape, alignment, contiguity and, for results
that the caller hands in, writability. What can be repaired without changing a value (strides,
alignment) is copied; everything else is refused by name. A value is taken for what `type` says:
isinstance would believe an object's own ``__class__``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad import interchange
from symgrad.errors import DtypeError, ShapeError, StructureError
from symgrad.interchange import is_elsewhere


@dataclass(frozen=True)
class Binding:
    """What a call of generated C takes besides arrays of the right types.

    name : C name of the function; `entry` the uniform one that takes arrays of pointers
    workspace_bytes : what the caller has to provide, 0 if nothing
    data : captured arrays the caller passes behind its own arguments, in order
    """

    name: str
    entry: str
    workspace_bytes: int
    data: tuple[np.ndarray, ...]


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
        checked: np.ndarray = value
        if not (checked.flags.c_contiguous and checked.flags.aligned):
            checked = np.array(checked, order="C", copy=True)
        return checked

    def _array(self, value: Any) -> np.ndarray:
        cls = type(value)
        if issubclass(cls, np.ndarray):
            return plain(value, self.name)
        if issubclass(cls, np.generic):  # before float, from which np.float64 derives
            self._require_scalar(f"a {cls.__name__} scalar")
            return np.asarray(value)
        if issubclass(cls, (float, int)):
            return self._number(_exactly(value))
        if is_elsewhere(value):
            return interchange.plain(value, f"argument {self.name}")
        raise StructureError(f"argument {self.name}: expected {self.described}, got {cls.__name__}")

    def _number(self, value: float | int) -> np.ndarray:
        """Python's int and bool fit a float argument, as in NumPy; nothing narrows."""
        self._require_scalar(f"the number {_shown(value)}")
        if type(value) is float and not self.dtype.startswith("float"):
            return np.asarray(value)  # of the wrong dtype, which `check` explains
        if self.dtype == "bool" and type(value) is not bool:
            raise DtypeError(
                f"argument {self.name}: expected {self.described}, got {_shown(value)}"
            )
        try:
            return np.array(value, dtype=self.numpy)
        except OverflowError as error:
            raise DtypeError(
                f"argument {self.name}: {_shown(value)} does not fit {self.dtype}"
            ) from error

    def _require_scalar(self, got: str) -> None:
        if self.shape:
            raise ShapeError(f"argument {self.name}: expected {self.described}, got {got}")

    def check_out(self, value: Any) -> np.ndarray:
        """`value` as a result array to write into; nothing is copied here."""
        if type(value) is not np.ndarray:
            raise StructureError(
                f"out {self.name}: expected a NumPy array, got {type(value).__name__}"
            )
        if value.dtype != self.numpy or not value.dtype.isnative:
            raise DtypeError(f"out {self.name}: expected {self.described}, got {value.dtype}")
        if value.shape != self.shape:
            raise ShapeError(f"out {self.name}: expected {self.described}, got shape {value.shape}")
        if not (value.flags.c_contiguous and value.flags.aligned):
            raise StructureError(f"out {self.name}: must be C-contiguous and aligned")
        if not value.flags.writeable:
            raise StructureError(f"out {self.name}: is read-only")
        return value


def plain(value: np.ndarray, name: str) -> np.ndarray:
    """An array, or the memory of a memmap, as a plain array; another subclass is refused.

    A subclass may mean anything (units, a mask, another product), which C would ignore.
    """
    if type(value) not in (np.ndarray, np.memmap):
        raise StructureError(
            f"argument {name}: expected a plain NumPy array, got {type(value).__name__}, "
            "whose extra meaning would be lost; pass np.asarray(...) of it"
        )
    return np.ndarray.view(value, np.ndarray)


def check_call(
    inputs: Sequence[ArrayType],
    outputs: Sequence[ArrayType],
    values: Sequence[Any],
    outs: Sequence[Any] | None,
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Arguments and result arrays (None: fresh ones) that may be read and written.

    All are checked before anything is computed or written; a result array that shares memory with
    an argument or with another one is refused.
    """
    arrays = [t.check(v) for t, v in zip(inputs, values, strict=True)]
    if outs is None:
        return arrays, None
    results = [t.check_out(o) for t, o in zip(outputs, outs, strict=True)]
    for k, result in enumerate(results):
        others = [(a, f"argument {t.name}") for a, t in zip(arrays, inputs, strict=True)]
        others += [(r, f"out {t.name}") for r, t in zip(results[:k], outputs, strict=False)]
        for other, name in others:
            if np.may_share_memory(result, other):  # exact, as both are contiguous
                raise StructureError(f"out {outputs[k].name}: overlaps {name}")
    return arrays, results


def _exactly(value: float | int) -> float | int:
    """A number of a subclass as Python's own, whatever the subclass overrides."""
    if type(value) is bool:
        return value
    return float.__float__(value) if isinstance(value, float) else int.__int__(value)


def _shown(value: float | int) -> str:
    """For messages: Python refuses to print an int of thousands of digits, and nobody reads one."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an int of {value.bit_length()} bits"
    return repr(value)
