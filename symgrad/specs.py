"""Shapes and dtypes as users write them: ``sg.f64[3, 4]``.

In: sizes, or a value to take them from. Out: `Spec`, checked once so that every later stage may
trust it. This module must not know expressions: a spec says what an argument looks like before
tracing.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError

MAX_BYTES = 2**40  # far beyond memory, far below where products of sizes overflow 64-bit C indices
MAX_NDIM = 64  # NumPy's own limit

_SHORT = {"float64": "f64", "float32": "f32", "int64": "i64", "int32": "i32", "bool": "bool_"}


@dataclasses.dataclass(frozen=True, slots=True)
class Spec:
    """Dtype name and shape of one array; shape ``()`` is a scalar.

    >>> f64[3, 4]
    f64[3, 4]
    >>> f64[3, 4] == Spec("float64", (3, 4)) == Spec.of(np.zeros((3, 4)))
    True

    Raises
    ------
    DtypeError
        The dtype is none of float64, float32, int64, int32, bool.
    ShapeError
        A size is no integer or negative, or there are more than 64 axes or 2**40 bytes. Axes of
        size 0 count as 1 there, so that sums and outer products over them cannot overflow either.
    """

    dtype: str
    shape: tuple[int, ...] = ()

    __symgrad_leaf__ = True  # tree.flatten takes dataclasses apart, but a spec stands for one array
    __iter__ = None  # otherwise __getitem__ makes list(f64) an endless loop

    def __post_init__(self) -> None:
        if not isinstance(self.dtype, str) or self.dtype not in _SHORT:
            raise DtypeError(
                f"dtype {self.dtype!r} is not supported: use one of {', '.join(_SHORT)}."
            )
        shape = tuple(map(_size, self.shape)) if isinstance(self.shape, tuple | list) else None
        if shape is None:
            raise ShapeError(f"shape must be a tuple of sizes, got {self.shape!r}.")
        object.__setattr__(self, "shape", shape)
        if len(shape) > MAX_NDIM:
            raise ShapeError(f"{len(shape)} axes are too many: NumPy allows {MAX_NDIM}.")
        if math.prod(max(1, size) for size in shape) * self.numpy.itemsize > MAX_BYTES:
            raise ShapeError(
                f"{self} is too large: one array may have at most 2**40 bytes (1 TiB)."
            )

    def __getitem__(self, sizes: Any) -> Any:
        """The spec with these sizes; one that is text makes it a `SizedSpec`."""
        if self.shape:
            raise ShapeError(
                f"{self} already has a shape: write all sizes in one pair of brackets."
            )
        sizes = sizes if isinstance(sizes, tuple) else (sizes,)
        if any(type(n) is str for n in sizes):
            return SizedSpec(self.dtype, sizes)
        return Spec(self.dtype, sizes)

    def __repr__(self) -> str:
        sizes = ", ".join(map(str, self.shape))
        return f"{_SHORT[self.dtype]}[{sizes}]" if self.shape else _SHORT[self.dtype]

    @property
    def numpy(self) -> np.dtype[Any]:
        """The dtype as NumPy's, in native byte order."""
        return np.dtype(self.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @classmethod
    def of(cls, value: Any) -> Spec:
        """The spec of an array, a NumPy scalar or a Python float, int or bool.

        Byte order and strides do not count: they are matters of the call, not of the type.

        >>> Spec.of(1.5), Spec.of(True), Spec.of(np.ones(2, "f4"))
        (f64, bool_, f32[2])

        Raises
        ------
        DtypeError
            Another type or dtype, or an int beyond 64 bits.
        """
        kind = type(value)  # isinstance would believe an object's own __class__
        if kind is Spec:
            spec: Spec = value
            return spec
        if kind is SizedSpec:
            raise value.refused()
        if issubclass(kind, (np.ndarray, np.generic)):
            if value.dtype.name not in _SHORT:
                raise DtypeError(
                    f"dtype {value.dtype} is not supported: convert with .astype to one of "
                    f"{', '.join(_SHORT)}."
                )
            return cls(value.dtype.name, value.shape)
        if kind is bool:
            return bool_
        if issubclass(kind, int):
            if not -(2**63) <= value < 2**63:
                raise DtypeError(f"an int of {value.bit_length()} bits does not fit int64.")
            return i64
        if issubclass(kind, float):
            return f64
        raise DtypeError(
            f"a {kind.__name__} is no array: pass an array, a NumPy scalar, a float, an int "
            "or a bool (lists: np.asarray)."
        )


@dataclasses.dataclass(frozen=True, slots=True)
class SizedSpec:
    """Dtype name and shape of an array some of whose sizes are names, for formulas.

    >>> f64["n", 3]
    f64['n', 3]
    >>> f64["n", 3].at({"n": 5})
    f64[5, 3]

    Raises
    ------
    ShapeError
        A name is none that a variable could have, or another size is none.
    """

    dtype: str
    shape: tuple[Any, ...]

    __symgrad_leaf__ = True

    def __post_init__(self) -> None:
        for n in self.shape:
            if type(n) is str and not n.isidentifier():
                raise ShapeError(f"a size must be an integer or a name such as 'n', got {n!r}.")
        self.at(dict.fromkeys(self.names, 1))

    @property
    def names(self) -> list[str]:
        """The names among the sizes."""
        return [n for n in self.shape if type(n) is str]

    def at(self, sizes: dict[str, int]) -> Spec:
        """The spec with numbers in the place of names."""
        return Spec(self.dtype, tuple([sizes[n] if type(n) is str else n for n in self.shape]))

    def __repr__(self) -> str:
        return f"{_SHORT[self.dtype]}[{', '.join(map(repr, self.shape))}]"

    def refused(self) -> ShapeError:
        """The error where a size has to be a number."""
        some = self.at({n: 10 + k for k, n in enumerate(dict.fromkeys(self.names))})
        return ShapeError(
            f"{self}: a size that has a name is any size, and is for formulas: "
            f"sg.trace(f, {self}).formula(). Code, values and zeros need numbers, such as {some}."
        )


def _size(size: Any) -> int:
    try:
        # A bool is an int to Python, but f64[n > 3] is a slip, never a size.
        number = None if isinstance(size, bool) else operator.index(size)
    except TypeError:
        number = None
    if number is None or number < 0:
        raise ShapeError(f"a size must be an integer of at least 0, got {size!r}.")
    return number


f64 = Spec("float64")
f32 = Spec("float32")
i64 = Spec("int64")
i32 = Spec("int32")
bool_ = Spec("bool")
