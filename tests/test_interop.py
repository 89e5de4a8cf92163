"""Compiled functions called without Python in between."""

import ctypes
import warnings

import cffi
import numpy as np
import pytest
from scipy import integrate

import symgrad as sg
from symgrad.errors import CompilerNotFoundError, UnsupportedError


def test_an_address_can_be_called():
    compiled = sg.compile(sg.grad(lambda x: np.sum(x**3)), sg.f64[3])
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(compiled.address)
    x, out = np.array([1.0, 2.0, 3.0]), np.empty(3)
    assert function(x.ctypes.data, out.ctypes.data) == 0
    np.testing.assert_array_equal(out, 3 * x**2)


def test_a_cffi_pointer_has_the_signature():
    compiled = sg.compile(lambda x, s, k: s * x[k], sg.f64[3], sg.f64, sg.i32)
    ffi = cffi.FFI()
    x, out = np.array([1.0, 2.0, 3.0]), np.empty(1)
    pointers = [ffi.cast("double *", a.ctypes.data) for a in (x, out)]
    assert compiled.cffi(pointers[0], 2.0, 1, pointers[1]) == 0
    assert out[0] == 4.0
    assert compiled.cffi(pointers[0], 2.0, 3, pointers[1]) == 1


@pytest.mark.parametrize("d", [1, 2])
def test_scipy_integrates_numbers(d):
    def f(x, y=0.0):
        return np.exp(-x * x) * np.cos(y)

    compiled = sg.compile(f, *[sg.f64] * d)
    got = integrate.nquad(compiled.low_level_callable(), [(0.0, 1.0)] * d)[0]
    expected = 0.7468241328124271 * (np.sin(1.0) if d == 2 else 1.0)
    assert abs(got - expected) < 1e-12


def test_scipy_integrates_an_array():
    compiled = sg.compile(lambda x: np.sum(np.cumsum(x) ** 2), sg.f64[2])
    got = integrate.nquad(compiled.low_level_callable(), [(0.0, 1.0)] * 2)[0]
    assert abs(got - (2 / 3 + 1 / 3 + 1 / 2)) < 1e-12


def test_a_status_becomes_nan():
    compiled = sg.compile(
        lambda x: np.log(np.linalg.det(np.linalg.inv(x[:4].reshape(2, 2)))), sg.f64[4]
    )
    f = compiled.low_level_callable()
    call = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int, ctypes.c_void_p)
    address = int(cffi.FFI().cast("uintptr_t", f.function))
    assert np.isnan(call(address)(4, np.zeros(4).ctypes.data))


def test_functions_that_scipy_cannot_call():
    for f, specs in (
        (lambda x: x, [sg.f64[3]]),
        (np.sum, [sg.f32[3]]),
        (np.sum, [sg.f64[2, 2]]),
        (lambda x, y: np.sum(x) * y, [sg.f64[2], sg.f64]),
        (lambda: 1.0, []),
    ):
        with pytest.raises(UnsupportedError):
            sg.compile(f, *specs).low_level_callable()


def test_without_a_compiler(no_compiler):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # given once per process, here or in another test
        compiled = sg.compile(lambda x: x * 2, sg.f64)
    for use in (lambda: compiled.address, lambda: compiled.cffi, compiled.low_level_callable):
        with pytest.raises(CompilerNotFoundError):
            use()
