"""Odd values at the boundary: each gives exactly NumPy's result, or is refused by name.

Every row of the tables goes in as an argument, as ``out=`` and into a gradient, both where C runs
and where the NumPy evaluator stands in for it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from support.odd_arguments import (
    CONTAINERS,
    RIGHT,
    ROWS,
    SIX,
    WELL,
    Verdict,
    frozen,
    memmap,
    sample,
    step,
    well_formed,
)
from symgrad.errors import (
    BuildError,
    ShapeError,
    StructureError,
    SymgradError,
)

pytestmark = pytest.mark.filterwarnings("ignore::symgrad.errors.NoCompilerWarning")


def energy(velocity):
    return np.sum(velocity * velocity * velocity)


@pytest.fixture(params=["native", "evaluator"])
def engine(request: pytest.FixtureRequest) -> None:
    """Runs a test with C, and again with the NumPy evaluator in its place."""
    if request.param == "evaluator":
        request.getfixturevalue("no_compiler")


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


def by_numpy(f: Callable[..., Any], *values: Any) -> Any:
    with np.errstate(all="ignore"):
        return f(*values)


@pytest.mark.quick(80)
@every_row
@pytest.mark.usefixtures("engine")
def test_argument(row):
    f = sg.compile(step, row.spec, row.spec)
    value, mass = row.make(), sample(row.spec)
    name = "step: expected" if type(value) in CONTAINERS else "argument velocity: "
    if refused(row.argument, lambda: f(value, mass), name):
        return
    plain = well_formed(value, row.spec)
    for got, wanted in zip(f(value, mass), by_numpy(step, plain, mass), strict=True):
        same(got, wanted)
    np.testing.assert_array_equal(value, plain)  # still what it was


@pytest.mark.quick(80)
@every_row
@pytest.mark.usefixtures("engine")
def test_out(row):
    f = sg.compile(step, row.spec, row.spec)
    velocity, mass = sample(row.spec), sample(row.spec)
    first, odd = np.full(row.spec.shape, 77, row.spec.dtype), row.make()
    name = "step: out has" if type(odd) in CONTAINERS else "out out[1]: "
    if refused(row.out, lambda: f(velocity, mass, out=(first, odd)), name):
        return
    result = f(velocity, mass, out=(first, odd))
    assert result[0] is first and result[1] is odd
    for got, wanted in zip(result, step(velocity, mass), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.quick(26)
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


@pytest.mark.quick(1)
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
