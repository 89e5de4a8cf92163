"""Odd values at the boundary: each gives exactly NumPy's result, or is refused by name.

Every row of the tables goes in as an argument, as ``out=`` and into a gradient, both where C runs
and where the NumPy evaluator stands in for it.
"""

from __future__ import annotations

import array
import ctypes
import decimal
import enum
import fractions
import itertools
import re
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import symgrad as sg
from symgrad.errors import (
    BuildError,
    DifferentiationError,
    DtypeError,
    ShapeError,
    StructureError,
    SymgradError,
)

pytestmark = pytest.mark.filterwarnings("ignore::symgrad.errors.NoCompilerWarning")

SIX, TABLE, NUMBER = sg.f64[6], sg.f64[2, 3], sg.f64


def step(velocity, mass):
    return velocity * mass, velocity + mass


def energy(velocity):
    return np.sum(velocity * velocity * velocity)


def sample(spec: sg.Spec) -> np.ndarray:
    """A well-formed array; small multiples of 1/4, so that nothing below rounds."""
    numbers = (np.arange(spec.size) * 5 % 7 - 3).reshape(spec.shape)
    return np.array(numbers / 4 if spec.dtype.startswith("float") else numbers, spec.dtype)


SIXTEEN = sample(sg.f64[16])
WELL = sample(SIX)


@pytest.fixture(params=["native", "evaluator"])
def engine(request: pytest.FixtureRequest) -> None:
    """Runs a test with C, and again with the NumPy evaluator in its place."""
    if request.param == "evaluator":
        request.getfixturevalue("no_compiler")


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


class Packed:
    """An array of another library: DLPack and nothing else."""

    def __dlpack__(self, **options: Any) -> Any:
        return WELL.copy().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return WELL.__dlpack_device__()


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

# What is no array is never asked to become one.
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
    "column": Column,
    "DLPack": Packed,
    "mock array": lambda: mock.Mock(spec=np.ndarray),
}.items():
    foreign = (StructureError, type(make()).__name__)
    rows({name: make}, foreign, foreign, ((DifferentiationError, StructureError), foreign[1]))

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
    rows({name: make}, *[(StructureError, r"structure .*\*.*")] * 2, TypeError)
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
rows({"mock float": (NUMBER, lambda: mock.Mock(spec=float))}, *[(SymgradError, "Mock")] * 3)

# Integers and bools, which have no gradient.
no_gradient = (DifferentiationError, "int64|int32|bool")
rows({"int64": (sg.i64[6], lambda: sample(sg.i64[6])),
      "long long": (sg.i64[6], lambda: sample(sg.i64[6]).astype(np.longlong)),
      "int32": (sg.i32[6], lambda: sample(sg.i32[6])),
      "bools": (sg.bool_[6], lambda: sample(sg.bool_[6]))}, RIGHT, RIGHT, no_gradient)  # fmt: skip


every_row = pytest.mark.parametrize("row", [pytest.param(r, id=n) for n, r in ROWS.items()])


# ---- the three ways in -------------------------------------------------------------------------


def refused(verdict: Verdict, call: Callable[[], Any], name: str) -> bool:
    """Whether the verdict is a refusal; then `call` must raise it and name the argument."""
    if verdict == RIGHT:
        return False
    kinds, got = verdict
    with pytest.raises(kinds) as caught:
        call()
    assert isinstance(caught.value, SymgradError) and not isinstance(caught.value, BuildError)
    assert name in str(caught.value) and re.search(got, str(caught.value))
    return True


def same(got: Any, expected: Any) -> None:
    """Equal type, shape and bits, but for the bits of a nan; a scalar is a Python number."""
    expected = np.asarray(expected)
    if expected.ndim:
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    else:
        assert type(got) is type(expected.item())
    np.testing.assert_array_equal(got, expected)
    number = ~np.isnan(expected)
    assert (np.signbit(got) == np.signbit(expected))[number].all()


def well_formed(value: Any, spec: sg.Spec) -> np.ndarray:
    return np.array(value, dtype=spec.dtype, order="C", copy=True, subok=False)


def by_numpy(f: Callable[..., Any], *values: Any) -> Any:
    with np.errstate(all="ignore"):
        return f(*values)


@every_row
@pytest.mark.usefixtures("engine")
def test_argument(row):
    f = sg.compile(step, row.spec, row.spec)
    value, mass = row.make(), sample(row.spec)
    name = "step: expected" if isinstance(value, CONTAINERS) else "argument velocity: "
    if refused(row.argument, lambda: f(value, mass), name):
        return
    plain = well_formed(value, row.spec)
    for got, wanted in zip(f(value, mass), by_numpy(step, plain, mass), strict=True):
        same(got, wanted)
    np.testing.assert_array_equal(value, plain)  # still what it was


@every_row
@pytest.mark.usefixtures("engine")
def test_out(row):
    f = sg.compile(step, row.spec, row.spec)
    velocity, mass = sample(row.spec), sample(row.spec)
    first, odd = np.full(row.spec.shape, 77, row.spec.dtype), row.make()
    name = "step: out has" if isinstance(odd, CONTAINERS) else "out out[1]: "
    if refused(row.out, lambda: f(velocity, mass, out=(first, odd)), name):
        return
    result = f(velocity, mass, out=(first, odd))
    assert result[0] is first and result[1] is odd
    for got, wanted in zip(result, step(velocity, mass), strict=True):
        np.testing.assert_array_equal(got, wanted)


@every_row
@pytest.mark.usefixtures("engine")
def test_gradient(row):
    gradient, value = sg.grad(energy), row.make()
    if row.gradient is TypeError:  # of the user's own operation, as without symgrad
        for f in (energy, gradient):
            with pytest.raises(TypeError, match="unsupported operand|can't multiply"):
                f(value)
        return
    if refused(row.gradient, lambda: gradient(value), "velocity"):
        return
    plain = np.array(value, order="C", subok=False)
    plain = plain if plain.dtype == np.float32 else plain.astype(float)
    got = gradient(value)
    assert np.shape(got) == plain.shape
    np.testing.assert_allclose(got, by_numpy(lambda v: 3 * v**2, plain), rtol=1e-14)
    if plain.ndim:
        assert got.dtype == plain.dtype


def test_nan_payloads_pass_through():
    bits = [0x7FF8DEADBEEF0001, 0xFFF8000000000001, 0x7FF0000000000001, 0xFFF0000000000002, 1, 2]
    bits = np.array(bits, np.uint64)
    got = sg.compile(lambda x: x[::-1], SIX)(bits.view(float))
    np.testing.assert_array_equal(got.view(np.uint64), bits[::-1])


class FalseMap(np.memmap):
    """Claims that one byte is six float64."""

    def view(self, *_args):
        class OneByte(bytearray):
            dtype, shape, flags = WELL.dtype, (6,), WELL.flags

        return OneByte(1)


def test_a_subclass_cannot_pass_for_memory_it_has_not():
    value = memmap().view(FalseMap)
    f = sg.compile(step, SIX, SIX)
    try:
        got = f(value, WELL)[1]
    except StructureError:
        return
    np.testing.assert_array_equal(got, WELL + WELL)


# ---- memory in common --------------------------------------------------------------------------

def right_or_refused(room, velocity, mass, outs):
    """Call with views of `room`; returns whether it was refused, which must change nothing."""
    expected, before = step(velocity.copy(), mass.copy()), room.copy()
    shared = {
        f"out out[{k}]: overlaps {name}"
        for k, name, other in [
            (0, "argument velocity", velocity), (1, "argument velocity", velocity),
            (0, "argument mass", mass), (1, "argument mass", mass),
            (0, "out out[1]", outs[1]), (1, "out out[0]", outs[0]),
        ] if np.shares_memory(outs[k], other)
    }  # fmt: skip
    try:
        sg.compile(step, SIX, SIX)(velocity, mass, out=outs)
    except StructureError as error:
        assert str(error) in shared
        np.testing.assert_array_equal(room, before)
        return True
    for got, wanted in zip(outs, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    return False


VIEWS = {
    "contiguous": lambda room: room[8:14], "backwards": lambda room: room[13:7:-1],
    "strided": lambda room: room[4:16:2], "strided backwards": lambda room: room[18:2:-3],
    "broadcast": lambda room: np.broadcast_to(room[10], 6),
}  # fmt: skip


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
@pytest.mark.usefixtures("engine")
def test_out_over_an_argument(view):
    for start, which in itertools.product(range(19), (0, 1)):
        room = np.arange(24.0)
        outs = [np.empty(6), np.empty(6)]
        outs[which] = room[start : start + 6]
        refused = right_or_refused(room, view(room), WELL, tuple(outs))
        assert not (refused and not 2 < start < 19)


@pytest.mark.usefixtures("engine")
def test_out_over_another_out():
    for start in range(13):
        room = np.arange(18.0)
        outs = (room[6:12], room[start : start + 6])
        assert right_or_refused(room, WELL, WELL[::-1], outs) == (0 < start < 12)


@pytest.mark.usefixtures("engine")
def test_refused_outs_are_refused_before_anything_is_written():
    first = np.full(6, 77.0)
    for odd in (np.empty(5), np.empty(6, "f4"), frozen(np.empty(6)), [1.0] * 6):
        with pytest.raises(SymgradError):
            sg.compile(step, SIX, SIX)(WELL, WELL, out=(first, odd))
        assert (first == 77).all()


@pytest.mark.usefixtures("engine")
def test_one_array_for_several_arguments():
    f = sg.compile(step, SIX, SIX)
    for got, wanted in zip(f(WELL, WELL), step(WELL, WELL), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.usefixtures("engine")
def test_structure_of_out():
    f, a, b = sg.compile(step, SIX, SIX), np.empty(6), np.empty(6)
    for wrong in (a, (a,), [a, b], (a, b, a), ((a, b),), {"a": a, "b": b}, (), (a, [b])):
        with pytest.raises(StructureError, match=r"step: out has .*, expected \(\*, \*\)"):
            f(WELL, WELL, out=wrong)


def test_nothing_is_written_around_an_out():
    room = np.full(30, 77.0)
    sg.compile(step, SIX, SIX)(WELL, WELL, out=(room[6:12], room[18:24]))
    assert (np.flatnonzero(room == 77) == [*range(6), *range(12, 18), *range(24, 30)]).all()


# ---- names and fixed values ----------------------------------------------------------------------


@pytest.mark.usefixtures("engine")
def test_keywords():
    f, mass = sg.compile(step, SIX, SIX), WELL[::-1]
    for got in (f(WELL, mass=mass), f(velocity=WELL, mass=mass), f(mass=mass, velocity=WELL)):
        np.testing.assert_array_equal(got[0], WELL * mass)
    for wrong, why in [
        ({}, "argument mass is missing"), ({"speed": mass}, "argument mass is missing"),
        ({"mass": mass, "speed": mass}, "there is no argument speed"),
        ({"mass": [mass]}, r"argument mass has structure \[\*\], expected \*"),
    ]:  # fmt: skip
        with pytest.raises(StructureError, match=f"step: expected arguments .*: {why}"):
            f(WELL, **wrong)
    with pytest.raises(StructureError, match="step: expected arguments .*: .* no argument x2"):
        f(WELL, mass, mass)
    with pytest.raises(ShapeError, match="argument mass: expected .*(6,).*(5,)"):
        f(WELL, mass=mass[1:])


@pytest.mark.usefixtures("engine")
def test_arguments_that_were_traced_by_name():
    f, mass = sg.compile(step, SIX, mass=SIX), WELL[::-1]
    for got in (f(WELL, mass=mass), f(velocity=WELL, mass=mass)):
        np.testing.assert_array_equal(got[0], WELL * mass)
    np.testing.assert_array_equal(f.graph.evaluate(velocity=WELL, mass=mass)[0], WELL * mass)
    with pytest.raises(StructureError, match="there is no argument speed"):
        f(WELL, mass=mass, speed=mass)


@pytest.mark.usefixtures("engine")
def test_an_argument_given_twice_is_refused():
    f = sg.compile(step, SIX, SIX)
    for named in ({"velocity": WELL, "mass": WELL}, {"velocity": WELL}):
        with pytest.raises(StructureError, match="step: argument velocity is given twice"):
            f(WELL, **named)


def test_a_name_that_is_both_a_parameter_and_a_keyword():
    def weighted(x, /, **weights):
        return x * weights["x"]

    f = sg.compile(weighted, SIX, x=SIX)
    np.testing.assert_array_equal(f(WELL, x=WELL), WELL * WELL)


def scaled(velocity, unit):
    return velocity * 2 if unit == "double" else velocity


@pytest.mark.parametrize("other", ["single", 1j, b"double", None, ["double"]])
def test_another_fixed_value_is_refused(other):
    with pytest.raises(StructureError, match="scaled: (was traced with|expected).*argument unit"):
        sg.compile(scaled, SIX, "double")(WELL, other)


def test_an_array_for_a_fixed_value_is_refused():
    with pytest.raises(StructureError, match="scaled: was traced with 'double' for argument unit"):
        sg.compile(scaled, SIX, "double")(WELL, WELL)


@pytest.mark.usefixtures("engine")
def test_results_of_a_failed_call_are_left_alone():
    """An index out of range is found before anything is written."""
    f, out = sg.compile(lambda x, i: np.take(x, i), SIX, sg.i64[2]), np.full(2, 77.0)
    for index in ([0, 6], [-7, 0], [0, 2**63 - 1], [-(2**63), 0]):
        with pytest.raises(IndexError):
            f(WELL, np.array(index), out=out)
        assert (out == 77).all()
