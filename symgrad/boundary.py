"""What an argument or a result must be: the boundary where memory could be misread.

Every array is checked for type, dtype, byte order, shape, alignment, contiguity and, for results
that the caller hands in, writability. What can be repaired without changing a value (strides,
alignment) is copied; everything else is refused by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError, StructureError

_PLAIN = (float, int, bool)


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
