"""x.flat, np.ndenumerate, and ufuncs with where= and out=: as NumPy has them, traced."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import MutationError, UnsupportedError

X = np.array([0.7, -1.2, 2.5])


def one_place(x):
    A = np.zeros((2, 3))
    A.flat[4] = x[0] * x[1]
    A.flat[-1] += x[2] ** 2
    return A


def slices_and_lists(x):
    A = np.outer(x, x)
    A.flat[::4] = x
    A.flat[[1, 2]] = np.array([x[0], 3.0])
    A.flat[5:] = x[1]
    return A


def repeated(x):
    A = np.zeros((2, 3))
    A.flat = x[:2]
    B = A.T
    B.flat[1] = x[2]
    return A + 2 * A.flat[3], A.flat[1:3]


def copies(x):
    A = np.outer(x, x)
    part = A.flat[:2]
    A.flat[0] = 5.0
    return part * sum(v * k for k, v in enumerate(A.flat)), len(A.flat), A.flat.copy()


def in_a_branch(x):
    A = np.zeros((2, 2))
    if x[0] > x[1]:
        A.flat[1] = x[0]
    else:
        A.flat[2] = x[1] ** 2
    return A


def counted(x):
    A, total = np.outer(x, x), 0.0
    for (i, j), v in np.ndenumerate(A):
        total = total + (i - j) * v**2 + v
    return total


def left_out(x):
    out = np.full(3, 7.0)
    np.log(x, out=out, where=x > 0)
    y = np.divide(
        x, x[::-1], out=np.zeros((2, 3)), where=[[True, False, True], [False, True, True]]
    )
    np.add(y[0], out, where=x < 1, out=out)
    return out, y


@pytest.mark.parametrize(
    "f", [one_place, slices_and_lists, repeated, copies, in_a_branch, counted, left_out],
    ids=lambda f: f.__name__,
)  # fmt: skip
@pytest.mark.quick(4)
def test_values_and_slopes(f):
    weighted = lambda x: sum(np.sum(np.cos(np.arange(np.size(v)).reshape(np.shape(v))) * v)
                             for v in (f(x) if isinstance(f(x), tuple) else (f(x),)))  # fmt: skip
    for x in (X, X[::-1].copy(), np.array([0.0, 0.4, -0.3])):
        with np.errstate(all="ignore"):
            got, want = sg.jit(f)(x), f(x)
            for g, w in zip(*((v if isinstance(v, tuple) else (v,)) for v in (got, want)),
                            strict=True):  # fmt: skip
                np.testing.assert_allclose(g, w, rtol=1e-13)
    slope = sg.grad(weighted)(X)
    if f in (slices_and_lists, copies, counted):  # the others do not run on complex numbers
        along = [np.imag(weighted(X + 1e-30j * e)) / 1e-30 for e in np.eye(3)]
        np.testing.assert_allclose(slope, along, rtol=1e-12)
    assert np.isfinite(slope).all()


def test_slopes_of_what_is_left_out_are_zero():
    f = lambda x: np.sum(np.sqrt(x, out=np.ones(3), where=x > 0) * np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(sg.grad(f)(np.array([4.0, 0.0, -1.0])), [0.25, 0.0, 0.0])


def test_refusals():
    with pytest.raises(UnsupportedError, match="out="):
        sg.grad(lambda x: np.sum(np.sqrt(x, where=x > 0)))(X)

    def at_an_argument(x):
        A = np.zeros((2, 2))
        A.flat[np.argmax(x)] = x[0]
        return np.sum(A * A)

    with pytest.raises(MutationError, match="known while tracing"):
        sg.jit(at_an_argument)(X)
