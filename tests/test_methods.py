"""Each method of NumPy's arrays, called as NumPy has it, on traced ones; and Python's operators."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import ConcretizationError, UnsupportedError

A = np.array([[0.3, -0.7, 1.2], [2.5, -3.0, 0.9], [-0.4, 1.1, 0.2]])
V = A.ravel()
N = np.array([5, -6, 7])

# method: (array, positional arguments in NumPy's order …), or what changes an array in place
CALLS = {
    "all": (A, (0,)), "any": (A, (1,)), "argmax": (A, (1,)), "argmin": (A, (0,)),
    "argpartition": (V[:2], (0,)), "argsort": (A, (0,)), "astype": (A, (np.float32,)),
    "clip": (A, (-0.5, 0.5)), "compress": (A, ([True, False, True], 1)), "conj": (A, ()),
    "conjugate": (A, ()), "copy": (A, ()), "cumprod": (A, (1,)), "cumsum": (A, (0,)),
    "diagonal": (A, (1, 0, 1)), "dot": (A, (V[:3],)), "flatten": (A, ()), "item": (A, (1, 2)),
    "max": (A, (1,)), "mean": (A, (0,)), "min": (A, (1,)), "prod": (A, (0,)), "ravel": (A, ()),
    "repeat": (A, (2, 1)), "reshape": (A, (9, 1)), "round": (A, (1,)),
    "searchsorted": (np.sort(V), (0.5, "right")), "squeeze": (A[:1], (0,)), "std": (A, (0, None)),
    "sum": (A, (1,)), "swapaxes": (A, (0, 1)), "take": (A, ([2, 0], 1)), "tolist": (V, ()),
    "trace": (A, (1, 0, 1)), "transpose": (A, (1, 0)), "var": (A, (1, None)),
}  # fmt: skip
IN_PLACE = {"fill": (2.5,), "sort": (0,), "partition": (1,)}
REFUSED = """byteswap choose dump dumps getfield nonzero put resize setfield setflags to_device
    tobytes tofile view""".split()


def test_every_method_has_a_row() -> None:
    named = {*CALLS, *IN_PLACE, *REFUSED}
    public = {n for n in dir(np.ndarray) if not n.startswith("_")}
    assert named == {n for n in public if callable(getattr(np.ndarray, n))}


@pytest.mark.parametrize("name", CALLS)
def test_method(name: str) -> None:
    x, args = CALLS[name]
    call = operator.methodcaller(name, *args)
    want, got = call(x), sg.trace(lambda x: call(x), x).evaluate(x)
    if name != "item":
        assert np.asarray(got).dtype == np.asarray(want).dtype
    np.testing.assert_allclose(got, want, rtol=1e-6 if name == "astype" else 1e-14)


@pytest.mark.parametrize("name", IN_PLACE)
def test_method_in_place(name: str) -> None:
    def changed(x):
        x = x.copy()
        assert operator.methodcaller(name, *IN_PLACE[name])(x) is None
        return np.sort(x, 0)

    np.testing.assert_array_equal(sg.trace(changed, A).evaluate(A), changed(A))


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    args = ([V, V],) if name == "choose" else ()
    with pytest.raises(UnsupportedError, match=rf"test_methods\.py:\d+: .*\b{name}\b"):
        sg.trace(lambda n: operator.methodcaller(name, *args)(n + 1), sg.i64[9])


def test_compress() -> None:
    for condition, axis in (([1, 0, 1], 0), ([False, True], 1), (V > 0, None), ([True], None)):
        got = sg.jit(lambda x, c=condition, k=axis: x.compress(c, axis=k))(A)
        np.testing.assert_array_equal(got, A.compress(condition, axis=axis))
    J = sg.jacobian(lambda x: x.compress([0, 1, 1]) ** 2)(V)
    np.testing.assert_array_equal(J, np.diag(2 * V)[1:3])


@pytest.mark.parametrize("what", ["compress", "extract"])
def test_how_many_are_chosen_has_to_be_known(what: str) -> None:
    with pytest.raises(ConcretizationError, match=rf"np\.{what}: a traced boolean mask"):
        sg.trace(lambda x: getattr(np, what)(x > 0, x), V)


@pytest.mark.parametrize("shift", [operator.lshift, operator.rshift])
def test_shifts_are_refused_by_name_where_their_numbers_are_not_known(shift) -> None:
    for f in (lambda n: shift(n + 1, 2), lambda n: shift(1, n * n), lambda n: shift(n, n)):
        with pytest.raises(UnsupportedError, match=r"test_methods\.py:\d+: np\.\w+_shift"):
            sg.trace(f, sg.i64[3])
    # an array of which no derivative is taken is compiled in
    np.testing.assert_array_equal(sg.jit(lambda n: shift(n, 1))(N), shift(N, 1))
