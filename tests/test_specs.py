"""Shapes and dtypes as users write them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import symgrad.specs as sg
from symgrad.errors import DtypeError, ShapeError


def test_text_and_equality():
    assert repr(sg.f64[3, 4]) == "f64[3, 4]"
    assert repr(sg.f32[3]) == "f32[3]"
    assert repr(sg.bool_) == "bool_"
    assert sg.f64[3, 4] == sg.Spec("float64", (3, 4)) == sg.Spec("float64", [np.int32(3), 4])
    assert sg.f64[()] == sg.f64 != sg.f32
    assert len({sg.f64[3], sg.f64[3], sg.f64[3, 1], sg.f32[3]}) == 3
    assert pickle.loads(pickle.dumps(sg.i32[2])) == sg.i32[2]


def test_properties():
    spec = sg.i32[2, 0, 5]
    assert (spec.ndim, spec.size, spec.numpy) == (3, 0, np.dtype("int32"))
    assert (sg.f64.ndim, sg.f64.size, sg.f64.shape) == (0, 1, ())


@pytest.mark.parametrize(
    "sizes",
    [
        -1,
        2.0,
        True,
        np.True_,
        None,
        "2 n",
        ("n", -1),
        ...,
        slice(3),
        (3, -1),
        (3, 2.5),
        [3],
        np.ones(2),
    ]
    + [2**63, 2**64, (2**20, 2**20), (2**31, 2**31), (0, 2**62), (2**62, 0), (1,) * 65],
    ids=repr,
)
def test_bad_sizes(sizes):
    with pytest.raises(ShapeError):
        sg.f64[sizes]


def test_largest():
    assert sg.f64[2**37].size == 2**37
    with pytest.raises(ShapeError, match="2\\*\\*40 bytes"):
        sg.f64[2**37 + 1]
    assert sg.bool_[2**40].size == 2**40
    assert sg.f64[(1,) * 64].ndim == 64


def test_other_slips():
    with pytest.raises(ShapeError, match="one pair of brackets"):
        sg.f64[3][4]
    with pytest.raises(ShapeError, match="tuple"):
        sg.Spec("float64", 3)
    for dtype in ("float16", "complex128", "f8", np.float64, None, []):
        with pytest.raises(DtypeError):
            sg.Spec(dtype)
    with pytest.raises(TypeError):
        list(sg.f64)
    with pytest.raises(AttributeError):
        sg.f64.shape = (3,)


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        (1.5, sg.f64),
        (2, sg.i64),
        (True, sg.bool_),
        (-(2**63), sg.i64),
        (np.float32(1), sg.f32),
        (np.bool_(0), sg.bool_),
        (np.int32(1), sg.i32),
        (np.ones((2, 3)), sg.f64[2, 3]),
        (np.ones((2, 3), ">f4").T[::-1], sg.f32[3, 2]),
        (np.ones((0, 4), bool), sg.bool_[0, 4]),
        (np.array(1.0), sg.f64),
        (np.ones(2, np.longlong), sg.i64[2]),
        (sg.f32[2], sg.f32[2]),
    ],
    ids=repr,
)
def test_of(value, spec):
    assert sg.Spec.of(value) == spec


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, 1j, "1.0", None, [1.0], np.ones(2, "f2"), np.ones(2, "c16")]
    + [np.array(["a"]), np.ones(2, "u1"), np.array([None]), np.datetime64("2020"), {}],
    ids=repr,
)
def test_of_refuses(value):
    with pytest.raises(DtypeError):
        sg.Spec.of(value)
