"""Odd values for an argument, one a row, and what symgrad has to make of each."""

from __future__ import annotations

import array
import ctypes
import decimal
import enum
import fractions
import re
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from numpy.lib.stride_tricks import as_strided

import symgrad as sg
from symgrad.errors import (
    DifferentiationError,
    DtypeError,
    ShapeError,
    StructureError,
    SymgradError,
)

SIX, TABLE, NUMBER = sg.f64[6], sg.f64[2, 3], sg.f64


def step(velocity, mass):
    return velocity * mass, velocity + mass


def sample(spec: sg.Spec) -> np.ndarray:
    """A well-formed array; small multiples of 1/4, so that nothing below rounds."""
    numbers = (np.arange(spec.size) * 5 % 7 - 3).reshape(spec.shape)
    return np.array(numbers / 4 if spec.dtype.startswith("float") else numbers, spec.dtype)


SIXTEEN = sample(sg.f64[16])
WELL = sample(SIX)


def well_formed(value: Any, spec: sg.Spec) -> np.ndarray:
    return np.array(value, dtype=spec.dtype, order="C", copy=True, subok=False)


# ---- makers ------------------------------------------------------------------------------------


class Sub(np.ndarray):
    """A subclass that a user may have given any meaning."""


class Celsius(float):
    pass


class Gear(enum.IntEnum):
    THIRD = 3


class Raising:
    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("must not be asked")


class Liar:
    """Claims six float64 at an address that no process has."""

    __array_interface__ = {"shape": (6,), "typestr": "<f8", "data": (64, False), "version": 3}


class Column:
    """What a data frame's column looks like."""

    values, dtype, shape, ndim, size = WELL, WELL.dtype, (6,), 1, 6
    flags, strides, __array_interface__ = WELL.flags, (8,), WELL.__array_interface__

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return WELL

    def __len__(self) -> int:
        return 6

    def __getitem__(self, key: Any) -> Any:
        return WELL[key]


class ShapeLiar(np.ndarray):
    shape = property(lambda self: (6,))


def memmap() -> np.ndarray:
    with tempfile.TemporaryFile() as file:
        made = np.memmap(file, dtype=float, mode="w+", shape=(6,))
    made[:] = WELL
    return made


def frozen(value: np.ndarray) -> np.ndarray:
    value.flags.writeable = False
    return value


def unaligned(spec: sg.Spec) -> np.ndarray:
    raw = np.zeros(8 * spec.size + 1, np.uint8)
    made = raw[1:].view(float).reshape(spec.shape)
    made[...] = sample(spec)
    return made


def with_bits(*bits: int) -> np.ndarray:
    return np.array([*bits, *[0] * (6 - len(bits))], np.uint64).view(float)


# ---- tables ------------------------------------------------------------------------------------

RIGHT = "right"
Verdict = Any  # RIGHT, or an exception with a pattern of what the message says was got


class Row(NamedTuple):
    spec: sg.Spec
    make: Callable[[], Any]
    argument: Verdict
    out: Verdict
    gradient: Verdict


ROWS: dict[str, Row] = {}


def rows(table: dict[str, Any], argument: Verdict, out: Verdict, gradient: Verdict) -> None:
    """Add a table whose rows (make, or spec and make) are judged alike."""
    for name, entry in table.items():
        spec, make = entry if isinstance(entry, tuple) else (SIX, entry)
        ROWS[name] = Row(spec, make, argument, out, gradient)


# Unusual, and still plain arrays of the right type.
rows(
    {
        "plain": WELL.copy,
        "part of a larger array": lambda: SIXTEEN.copy()[3:9],
        "0-d": (NUMBER, lambda: np.array(2.5)),
        "table": (TABLE, lambda: sample(TABLE)),
        "dtype with metadata": lambda: WELL.astype(np.dtype(float, metadata={"unit": "m"})),
        "explicit byte order": lambda: WELL.astype("=f8"),
        "over a bytearray": lambda: np.frombuffer(bytearray(WELL.tobytes())),
        "over a ctypes array": lambda: np.ctypeslib.as_array((ctypes.c_double * 6)(*WELL)),
        "nan, inf and zeros": lambda: np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0]),
        "subnormals": lambda: np.array([5e-324, -5e-324, 1e-310, 2.2e-308, 0.0, 1.0]),
        "nan payloads": lambda: with_bits(0x7FF8DEADBEEF0001, 0xFFF8000000000001),
        "signalling nan": lambda: with_bits(0x7FF0000000000001, 0xFFF4000000000000),
        "no elements": (sg.f64[0], lambda: np.empty(0)),
        "no elements in rows": (sg.f64[0, 3], lambda: np.empty((0, 3))),
        "no elements, any stride": (sg.f64[0], lambda: SIXTEEN.copy()[5:5:-3]),
        "one element, any stride": (sg.f64[1], lambda: SIXTEEN.copy()[7::20]),
        "float32": (sg.f32[6], lambda: sample(sg.f32[6])),
    },
    RIGHT, RIGHT, RIGHT,
)  # fmt: skip

# The right values in an unusual place: read as they are, never written to.
rows(
    {
        "strided": lambda: SIXTEEN[:12:2],
        "backwards": lambda: SIXTEEN.copy()[11:5:-1],
        "backwards, strided": lambda: SIXTEEN.copy()[15:3:-2],
        "broadcast": lambda: np.broadcast_to(2.5, 6),
        "zero stride, writable": lambda: as_strided(np.array([2.5]), (6,), (0,)),
        "overlapping itself": (TABLE, lambda: as_strided(SIXTEEN.copy(), (2, 3), (8, 8))),
        "overlapping halves": lambda: as_strided(np.ones(16), (6,), (4,)),
        "read-only": lambda: frozen(WELL.copy()),
        "over bytes": lambda: np.frombuffer(WELL.tobytes()),
        "unaligned": lambda: unaligned(SIX),
        "unaligned table": (TABLE, lambda: unaligned(TABLE)),
        "field of a packed record": lambda: np.zeros(6, "i1, f8")["f1"],
        "real part": lambda: (WELL + 3j).real,
        "diagonal": lambda: SIXTEEN[:16].repeat(3)[:36].reshape(6, 6).diagonal(),
        "Fortran order": (TABLE, lambda: np.asfortranarray(sample(TABLE))),
        "transposed": (TABLE, lambda: sample(sg.f64[3, 2]).T),
        "columns reversed": (TABLE, lambda: sample(TABLE)[:, ::-1]),
        "every second column": (TABLE, lambda: sample(sg.f64[2, 6])[:, ::2]),
        "broadcast rows": (TABLE, lambda: np.broadcast_to(WELL[:3], (2, 3))),
        "broadcast columns": (TABLE, lambda: np.broadcast_to(WELL[:2, None], (2, 3))),
        "float32, strided": (sg.f32[6], lambda: sample(sg.f32[12])[::2]),
    },
    RIGHT, (StructureError, "contiguous|read-only"), RIGHT,
)  # fmt: skip

# Nothing is converted in silence. A gradient is traced anew for another supported dtype.
for dtype in ("int8", "int16", "uint8", "uint16", "uint32", "uint64", "float16", "longdouble",
              "complex64", "complex128", "S8", "U8", "object", "M8[s]", "m8[s]", "V8"):  # fmt: skip
    got = re.escape(str(np.dtype(dtype)))
    unsupported = (DtypeError, got)
    rows({dtype: lambda dtype=dtype: np.zeros(6, dtype)}, *[unsupported] * 3)
rows(
    {"string dtype": lambda: WELL.astype(np.dtypes.StringDType())},
    *[(DtypeError, "StringDType")] * 3,
)
rows({"record": lambda: np.zeros(6, [("a", float)])}, *[(DtypeError, r"\('a', '<f8'\)")] * 3)
for dtype in ("int32", "int64", "bool"):
    refused = (DtypeError, dtype)
    rows({dtype: lambda dtype=dtype: np.ones(6, dtype)}, refused, refused,
         (DifferentiationError, dtype))  # fmt: skip
rows({"float32 for float64": lambda: np.ones(6, "f4")}, *[(DtypeError, "float32")] * 2, RIGHT)
rows({"float64 for float32": (sg.f32[6], WELL.copy)}, *[(DtypeError, "float64")] * 2, RIGHT)
rows(
    {
        "byte-swapped": lambda: WELL.astype(">f8"),
        "byte-swapped ones": lambda: np.ones(6, ">f8"),
        "byte-swapped, strided": lambda: SIXTEEN.astype(">f8")[:12:2],
        "byte-swapped, empty": (sg.f64[0], lambda: np.empty(0, ">f8")),
    },
    *[(DtypeError, ">f8")] * 3,
)
rows({"byte-swapped float32": (sg.f32[6], lambda: np.ones(6, ">f4"))}, *[(DtypeError, ">f4")] * 3)

# Shapes count exactly. A gradient is traced anew for another shape.
for spec, shape in (
    (SIX, (5,)), (SIX, (7,)), (SIX, (0,)), (SIX, ()), (SIX, (1,)), (SIX, (6, 1)), (SIX, (1, 6)),
    (SIX, (2, 3)), (SIX, (6, 0)), (TABLE, (3, 2)), (TABLE, (6,)), (TABLE, (2, 3, 1)),
    (TABLE, (2, 4)), (NUMBER, (1,)), (NUMBER, (0,)), (sg.f64[0], (1,)), (sg.f64[0, 3], (3, 0)),
):  # fmt: skip
    wrong = (ShapeError, re.escape(str(shape)))
    make = lambda shape=shape: sample(sg.f64[shape])
    rows({f"{shape} for {spec}": (spec, make)}, wrong, wrong, RIGHT)
rows({"7 strided": lambda: SIXTEEN[:14:2]}, *[(ShapeError, r"\(7,\)")] * 2, RIGHT)
rows({"5 broadcast": lambda: np.broadcast_to(1.0, 5)}, *[(ShapeError, r"\(5,\)")] * 2, RIGHT)

# Subclasses mean something that C would ignore. A memmap is plain memory, but not to write to.
rows({"memmap": memmap}, RIGHT, (StructureError, "memmap"), RIGHT)
for name, make in {
    "masked": lambda: np.ma.masked_array(WELL, WELL > 0),
    "masked, no mask": lambda: np.ma.masked_array(WELL),
    "matrix": lambda: WELL.view(np.matrix),
    "recarray": lambda: np.zeros(6, [("a", float)]).view(np.recarray),
    "chararray": lambda: np.char.asarray(["a"] * 6),
    "subclass": lambda: WELL.view(Sub),
    "subclass that lies": lambda: np.ones(2).view(ShapeLiar),
}.items():
    rows({name: make}, *[(StructureError, type(make()).__name__)] * 3)

# What is no array is never asked to become one, but by the protocols that arrays share.
for name, make in {
    "generator": lambda: (x for x in WELL),
    "iterator": lambda: iter(WELL.tolist()),
    "range": lambda: range(6),
    "set": lambda: {1.0, 2.0},
    "text": lambda: "velocity",
    "bytes": WELL.tobytes,
    "bytearray": lambda: bytearray(WELL.tobytes()),
    "memoryview": lambda: memoryview(WELL.copy()),
    "array.array": lambda: array.array("d", WELL),
    "ctypes array": lambda: (ctypes.c_double * 6)(*WELL),
    "complex": lambda: 1j,
    "Fraction": lambda: fractions.Fraction(1, 2),
    "Decimal": lambda: decimal.Decimal("0.5"),
    "function": lambda: len,
    "dtype": lambda: np.dtype(float),
    "class": lambda: np.ndarray,
    "ellipsis": lambda: ...,
    "flat iterator": lambda: WELL.flat,
    "__array__ raises": Raising,
    "__array_interface__ lies": Liar,
    "mock array": lambda: mock.Mock(spec=np.ndarray),
}.items():
    foreign = (StructureError, type(make()).__name__)
    rows({name: make}, foreign, foreign, ((DifferentiationError, StructureError), foreign[1]))

# Arrays of other libraries are arguments, and no results.
rows({"column": Column}, RIGHT, (StructureError, "Column"), RIGHT)

# Containers are structure, here and in what the gradient passes on; messages show both structures.
for name, make in {
    "list": WELL.tolist,
    "nested list": lambda: WELL.reshape(2, 3).tolist(),
    "ragged list": lambda: [[1.0, 2.0], [3.0]],
    "empty list": list,
    "list of an array": lambda: [WELL],
    "tuple": lambda: tuple(WELL),
    "dict": lambda: {"velocity": WELL},
}.items():
    # the gradient takes lists of numbers for arrays, as NumPy's functions do
    expected = RIGHT if name in ("list", "nested list") else TypeError
    rows({name: make}, *[(StructureError, r"structure .*\*.*")] * 2, expected)
rows({"None": lambda: None}, *[(StructureError, "structure .*None")] * 2, TypeError)

CONTAINERS = (list, tuple, dict, type(None))

# Numbers: Python's int, bool and float fit a float, as in NumPy; NumPy's scalars are typed.
no_array = (StructureError, "int|float|bool|Gear|Celsius")
rows(
    {"float": (NUMBER, lambda: 2.5), "minus zero": (NUMBER, lambda: -0.0),
     "float nan": (NUMBER, lambda: float("nan")), "int": (NUMBER, lambda: 3),
     "np.float64": (NUMBER, lambda: np.float64(2.5)), "IntEnum": (NUMBER, lambda: Gear.THIRD),
     "float subclass": (NUMBER, lambda: Celsius(2.5)), "int beyond 2**53": (NUMBER, lambda: 2**60),
     "float for float32": (sg.f32, lambda: 2.5)},
    RIGHT, no_array, RIGHT,
)  # fmt: skip
rows({"bool": (NUMBER, lambda: True)}, RIGHT, no_array, (DifferentiationError, "bool"))
rows({"int beyond int64": (NUMBER, lambda: 2**70)}, RIGHT, no_array, (DtypeError, "71 bits"))
rows({"int beyond float": (NUMBER, lambda: 10**400)}, (DtypeError, "1329 bits"), no_array,
     (DtypeError, "1329 bits"))  # fmt: skip
rows({"int beyond print": (NUMBER, lambda: 10**5000)}, (DtypeError, "16610 bits"), no_array,
     (DtypeError, "16610 bits"))  # fmt: skip
rows({"np.float32": (NUMBER, lambda: np.float32(2.5))}, *[(DtypeError, "float32"), no_array, RIGHT])
rows({"np.int64": (NUMBER, lambda: np.int64(3))}, (DtypeError, "int64"), no_array, RIGHT)
for scalar in (np.uint8(1), np.float16(1), np.longdouble(1), np.complex128(1), np.str_("1"),
               np.datetime64(0, "s"), np.timedelta64(0, "s"), np.void(b"12345678")):  # fmt: skip
    word = re.escape(str(scalar.dtype))
    rows({f"scalar {word}": (NUMBER, lambda scalar=scalar: scalar)}, (DtypeError, word),
         (StructureError, type(scalar).__name__), (DtypeError, word))  # fmt: skip
rows({"masked number": (NUMBER, lambda: np.ma.masked)}, *[(StructureError, "MaskedConstant")] * 3)
rows({"number for an array": lambda: 2.5}, (ShapeError, "2.5"), no_array, RIGHT)
rows({"int too long for an array": lambda: 10**5000}, (ShapeError, "16610 bits"), no_array,
     (DtypeError, "16610 bits"))  # fmt: skip
for kind in (float, int, bool, np.float64, tuple, sg.Spec):
    rows({f"mock {kind.__name__}": (NUMBER, lambda kind=kind: mock.Mock(spec=kind))},
         *[(SymgradError, "Mock")] * 3)  # fmt: skip

# Integers and bools, which have no gradient.
no_gradient = (DifferentiationError, "int64|int32|bool")
rows({"int64": (sg.i64[6], lambda: sample(sg.i64[6])),
      "long long": (sg.i64[6], lambda: sample(sg.i64[6]).astype(np.longlong)),
      "int32": (sg.i32[6], lambda: sample(sg.i32[6])),
      "bools": (sg.bool_[6], lambda: sample(sg.bool_[6]))}, RIGHT, RIGHT, no_gradient)  # fmt: skip
