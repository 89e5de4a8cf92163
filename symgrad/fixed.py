"""Arguments that are no arrays: values that cannot change, each with a key for its meaning.

In: a value. Out: what tells it from every other value, or `NotFixed`. A function is compiled once
for each such value, so anything that may change unseen (a settings object, another library's
array, a generator of random numbers) is no fixed value. Functions, classes and modules are: what
they hold counts as captured, as it does where they are global.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import functools
import operator
import types
from typing import Any

import numpy as np

# What holds no values of its own, or counts as captured. Each is only equal to itself.
_CODE = (
    type, types.FunctionType, types.ModuleType, types.MethodDescriptorType,
    types.WrapperDescriptorType, types.ClassMethodDescriptorType, np.ufunc, type(np.sum),
    functools.partial, type(functools.lru_cache(len)), operator.itemgetter, operator.attrgetter,
    operator.methodcaller,
)  # fmt: skip
_BOUND = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)
_SINGLE = frozenset({object, type(None), type(...), type(NotImplemented)})
# Immutable classes of the standard library whose repr says all, by name: importing them takes time.
_VALUES = frozenset({
    "decimal.Decimal", "fractions.Fraction", "datetime.date", "datetime.datetime", "datetime.time",
    "datetime.timedelta", "datetime.timezone", "uuid.UUID", "pathlib.PosixPath",
    "pathlib.PurePosixPath",
})  # fmt: skip


class NotFixed(TypeError):  # noqa: N818  (never leaves symgrad)
    """The value may change."""


class Content:
    """An array as a key: equal by type, shape and every bit. It keeps a copy if `own`."""

    __slots__ = ("_hash", "array")

    def __init__(self, array: np.ndarray, own: bool = False) -> None:
        array = np.ascontiguousarray(array).reshape(array.shape)
        self.array = array.copy() if own else array
        few = array.reshape(-1)[:: max(1, array.size // 64)]
        self._hash = hash((array.dtype, array.shape, few.tobytes()))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Content):
            return NotImplemented
        a, b = self.array, other.array
        return a.dtype == b.dtype and a.shape == b.shape and same_bytes(a, b)


_memcmp = ctypes.CDLL(None).memcmp
_memcmp.restype = ctypes.c_int
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


def same_bytes(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of one shape and dtype hold the same bits; `b` is in C order."""
    if a.flags.c_contiguous:
        return bool(_memcmp(a.ctypes.data, b.ctypes.data, b.nbytes) == 0)
    return a.tobytes() == b.tobytes()


def same(a: Any, b: Any) -> bool:
    """Whether two values are fixed and one; of arrays, whether their content is."""
    if type(a) is np.ndarray and type(b) is np.ndarray:
        return Content(a) == Content(b)
    try:
        return bool(fixed_key(a) == fixed_key(b))
    except NotFixed:
        return False


def fixed_key(value: Any) -> Any:
    """What tells `value` from other fixed values, by type and by every bit.

    It is valid as long as `value` lives. Raises NotFixed for what may change.
    """
    cls: Any = type(value)
    if cls in (str, bytes, int, bool):
        return cls, value
    if issubclass(cls, enum.Enum):
        return cls, value.name, id(value)
    if cls in (float, complex):
        return cls, repr(value)  # 0.0 == -0.0, but they are not the same
    if issubclass(cls, np.generic) and cls is not np.void and cls is not np.object_:
        return cls, value.dtype, value.tobytes()
    if issubclass(cls, np.dtype):
        return cls, value
    if cls in _SINGLE or issubclass(cls, _CODE) or getattr(cls, "__symgrad_fixed__", False):
        return cls, id(value)
    if issubclass(cls, _BOUND):
        owner = value.__self__
        if owner is None or isinstance(owner, types.ModuleType | type):
            return cls, value.__name__, id(owner)
        return cls, value.__name__, fixed_key(owner)
    if cls in (range, slice):
        return cls, *[fixed_key(v) for v in (value.start, value.stop, value.step)]
    if issubclass(cls, tuple) and not getattr(value, "__dict__", None):
        return cls, *[fixed_key(v) for v in tuple.__iter__(value)]
    if cls is frozenset:
        return cls, frozenset([fixed_key(v) for v in value])
    if dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen:  # type: ignore[union-attr]
        return cls, *[fixed_key(getattr(value, f.name)) for f in dataclasses.fields(cls)]
    if f"{cls.__module__.partition('.')[0]}.{cls.__qualname__}" in _VALUES:
        return cls, repr(value)
    raise NotFixed(cls.__name__)
