"""Arguments that decide about the structure: sizes, loops, axes, flags, masks, orders.

They are found by the trace that fails at them, or declared; each of their values has a version.
Oracles are closed forms, and JAX where there is none.
"""

import enum
import pickle

import numpy as np
import pytest

import symgrad as sg
from symgrad import compiled, dispatcher
from symgrad.compiled import Compiled
from symgrad.errors import (
    CompilerNotFoundError,
    ConcretizationError,
    StructureError,
    SymgradWarning,
    UnsupportedError,
)

X = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.fixture(autouse=True)
def by_numpy(request, monkeypatch):
    """Functions run on the NumPy evaluator, except in tests that are about C."""
    if "in_c" in request.keywords:
        return

    def none(self):
        raise CompilerNotFoundError("not needed here")

    monkeypatch.setattr(Compiled, "_make_native", none)
    monkeypatch.setattr(compiled, "warn_no_compiler", lambda error: None)


class Mode(enum.Enum):
    SQUARE = 1
    CUBE = 2


def power(x, n):
    result = x
    for _ in range(n - 1):
        result = result * x
    return np.sum(result)


USES = {
    # name: (function, values of its second argument, gradient by hand)
    "a range": (power, (1, 2, 5), lambda n: n * X ** (n - 1)),
    "a size": (lambda x, n: np.sum(x) * np.ones(n).sum(), (1, 3), lambda n: np.full(4, n)),
    "a slice": (lambda x, n: np.sum(x[:n] ** 2), (0, 2, -1), lambda n: np.append(
        2 * X[:n], np.zeros(4 - len(X[:n])))),
    "an axis": (lambda x, n: np.sum(np.sum(x.reshape(2, 2), axis=n) ** 2), (0, 1), lambda n: (
        2 * np.tile(X.reshape(2, 2).sum(0), 2) if n == 0
        else 2 * np.repeat(X.reshape(2, 2).sum(1), 2))),
    "a shape": (lambda x, n: np.sum(x.reshape(n, -1)[0]), (1, 2, 4),
                lambda n: np.repeat([1.0, 0.0], [4 // n, 4 - 4 // n])),
    "a flag": (lambda x, flag: np.sum(x**2) if flag else np.sum(x), (True, False),
               lambda flag: 2 * X if flag else np.ones(4)),
    "a number in an if": (lambda x, n: np.sum(x**2) if n > 1 else np.sum(x), (1, 2),
                          lambda n: 2 * X if n > 1 else np.ones(4)),
    "an index of a list": (lambda x, n: [np.sum(x), np.sum(x**2)][n], (0, 1, -1),
                           lambda n: 2 * X if n else np.ones(4)),
    "a NumPy int": (power, (np.int64(2), np.int64(3)), lambda n: n * X ** (n - 1)),
    "text": (lambda x, m: np.sum(x**2) if m == "a" else np.sum(x), ("a", "b"),
             lambda m: 2 * X if m == "a" else np.ones(4)),
    "an enum": (lambda x, m: np.sum(x**3) if m is Mode.CUBE else np.sum(x**2), tuple(Mode),
                lambda m: 3 * X**2 if m is Mode.CUBE else 2 * X),
    "a mask": (lambda x, m: np.sum(np.flip(x[m]) ** 2),
               (np.array([True, False, True, True]), np.array([True, True, False, False])),
               lambda m: 2 * X * m),
    "a comparison of ints": (lambda x, k: np.sum(np.flip(x[k > 1]) ** 2), (np.array([0, 1, 2, 3]),
                             np.array([2, 2, 2, 0])), lambda k: 2 * X * (k > 1)),
    "an order": (lambda x, t: np.sum(x[np.argsort(t)] * np.arange(4.0)),
                 (np.array([3.0, 1.0, 2.0, 0.0]), np.array([0.0, 5.0, 1.0, 2.0])),
                 lambda t: np.argsort(np.argsort(t)).astype(float)),
    "a sorted array": (lambda x, t: np.sum(x * np.unique(t)),
                       (np.array([3.0, 1.0, 2.0, 0.0]), np.array([7.0, 5.0, 1.0, 2.0])),
                       np.sort),
}  # fmt: skip


# Of which one version can take them all.
CHOOSES = {"an index of a list", "an order", "a flag", "a number in an if"}


@pytest.mark.parametrize("use", USES)
@pytest.mark.quick(7)
def test_found_by_the_trace(use):
    f, values, slope = USES[use]
    g, both = sg.grad(f), sg.jit(sg.value_and_grad(f))
    for value in (*values, *values):
        np.testing.assert_allclose(g(X, value), slope(value), rtol=1e-14)
        found, gradient = both(X, value)
        assert found == pytest.approx(f(X, value), rel=1e-14)
        np.testing.assert_allclose(gradient, slope(value), rtol=1e-14)
    if use not in CHOOSES:
        assert len(g.compiled) == len(both.compiled) == len(values)


@pytest.mark.parametrize("use", USES)
@pytest.mark.quick(3)
def test_declared(use):
    f, values, slope = USES[use]
    named = eval("lambda x, choice: f(x, choice)", {"f": f})
    for g in (
        sg.grad(named, static_argnums=1),
        sg.grad(named, static_argnames="choice"),
        sg.grad(named, static_argnames=("choice",)),
    ):
        for value in (*values, values[0]):
            np.testing.assert_allclose(g(X, value), slope(value), rtol=1e-14)
            np.testing.assert_allclose(g(X, choice=value), slope(value), rtol=1e-14)


def shapes_differ(x, up):
    if up:
        return x
    return np.sum(x)


def sides_differ(x, up):
    if up:
        z = {"a": x}
    else:
        z = {"b": np.stack([x, x])}
    return np.sum(z["a" if up else "b"] ** 2)


def sizes_in_branches(x, n):
    if n > 2:
        return np.sum(x[:n])
    return np.sum(np.ones(n)) * x[0]


@pytest.mark.parametrize("f, values", [(shapes_differ, (True, False)), (sides_differ, (1, 0)),
                                       (sizes_in_branches, (1, 2, 3, 4))])  # fmt: skip
def test_flags_whose_sides_have_different_structures(f, values):
    g = sg.jit(f)
    for value in (*values, *values):
        np.testing.assert_allclose(g(X, value), f(X, value), rtol=1e-15)


def test_every_transformation_takes_them():
    def f(x, n):
        return np.sum(x**2) * np.ones(n).sum()

    for how in ({}, {"static_argnums": (1,)}, {"static_argnames": "n"}):
        for n in (2, 3):
            assert sg.jit(f, **how)(X, n) == n * 30.0
            np.testing.assert_array_equal(sg.hessian(f, **how)(X, n), 2 * n * np.eye(4))
            value, slope = sg.value_and_grad(f, **how)(X, n)
            assert value == n * 30.0
            np.testing.assert_array_equal(slope, 2 * n * X)
            for jacobian in (sg.jacobian, sg.jacfwd, sg.jacrev):
                got = jacobian(lambda x, n: x * np.ones(n).sum(), **how)(X, n)
                np.testing.assert_array_equal(got, n * np.eye(4))
    rows = np.stack([X, 2 * X])
    np.testing.assert_array_equal(sg.vmap(f, in_axes=(0, None))(rows, 2), [60.0, 240.0])
    sparse = sg.sparse_hessian(lambda x, n: np.sum(x[:n] ** 2))
    for n in (2, 3, 2):
        expected = np.diag(2.0 * (np.arange(4) < n))
        np.testing.assert_array_equal(sparse(X, n).toarray(), expected)
        np.testing.assert_array_equal(sparse(X, n=n).toarray(), expected)


def test_versions_of_other_static_values_do_not_mix():
    """1, True and 1.0 are different values, and so are arrays that differ in one bit."""
    f = sg.jit(lambda x, n: np.sum(x) * (2 if n is True else 1), static_argnums=1)
    assert [f(X, n) for n in (1, True, 1, np.int64(1))] == [10.0, 20.0, 10.0, 10.0]
    g = sg.jit(lambda x, a: np.sum(x) * np.copysign(1.0, a[0]), static_argnums=1)
    assert [g(X, np.array([z, 1.0])) for z in (0.0, -0.0, 0.0)] == [10.0, -10.0, 10.0]


def test_content_is_compared_at_each_call_and_copied():
    mask = np.array([True, True, False, False])
    g = sg.grad(lambda x, m: np.sum(np.flip(x[m]) ** 2))
    np.testing.assert_array_equal(g(X, mask), 2 * X * mask)
    mask[:] = [False, True, True, True]
    np.testing.assert_array_equal(g(X, mask), 2 * X * mask)
    mask[:] = [True, True, False, False]
    np.testing.assert_array_equal(g(X, mask), 2 * X * mask)
    assert len(g.compiled) == 2


def test_compile_is_for_one_value():
    c = sg.compile(power, X, 3)
    assert c(X, 3) == np.sum(X**3)
    with pytest.raises(StructureError, match="was traced with 3 for argument n, got"):
        c(X, 2)
    mask = np.array([True, True, False, False])
    c = sg.compile(lambda x, m: np.sum(np.flip(x[m])), X, mask)
    assert c(X, mask.copy()) == 3.0
    mask[:] = False
    with pytest.raises(StructureError, match="was traced with"):
        c(X, mask)
    with pytest.raises(ConcretizationError):  # a type has no value
        sg.compile(power, sg.f64[4], sg.i64)


def test_never_what_a_derivative_is_taken_by():
    with pytest.raises(ConcretizationError, match="needs a number"):
        sg.grad(lambda x: np.sum(np.ones(x)) * x)(3)
    with pytest.raises((ConcretizationError, UnsupportedError)):
        sg.grad(lambda x: np.sum(x[np.unique(x) > 1]))(X)


@pytest.mark.parametrize("value", [2.0, np.float64(2.0), np.array(2.0)])
def test_floats_are_not_static_by_themselves(value):
    with pytest.raises(ConcretizationError):
        sg.grad(lambda x, n: np.sum(x) * np.ones(int(n)).sum())(X, value)
    assert sg.jit(lambda x, n: np.sum(x) * int(n), static_argnums=1)(X, 2.5) == 20.0


def test_float_arrays_are_not_static_where_no_derivative_is_taken():
    with pytest.raises((ConcretizationError, UnsupportedError)):
        sg.jit(lambda x: np.unique(x))(X)
    unique = sg.jit(lambda x: np.unique(x) * 2, static_argnums=0)
    np.testing.assert_array_equal(unique(X), 2 * X)


def test_what_only_computes_stays_an_argument():
    g = sg.grad(lambda x, n, m: np.sum(x**2 * n) + np.sum(np.where(m, x, 0.0)))
    for n in range(5):
        m = X > n
        np.testing.assert_allclose(g(X, n, m), 2 * X * n + m, rtol=1e-15)
    assert len(g.compiled) == 1


def test_many_values_mean_a_warning_and_not_more_memory(monkeypatch):
    monkeypatch.setattr(dispatcher, "_MAX_STATES", 18)
    g = sg.jit(lambda x, n: np.sum(x[:1]) * np.ones(n).sum())
    for n in range(1, 17):
        assert g(X, n) == n
    with pytest.warns(SymgradWarning, match="17th value of n, which decides"):
        g(X, 17)
    for n in range(18, 30):
        assert g(X, n) == n
    assert len(g.compiled) == 18
    assert g(X, 1) == 1.0


def test_wrong_declarations():
    for how in ({"static_argnums": "n"}, {"static_argnames": 1}, {"static_argnums": (True,)}):
        with pytest.raises(StructureError, match="static_argnums must be positions"):
            sg.jit(power, **how)
    with pytest.raises(StructureError, match="cannot change"):
        sg.jit(lambda x, n: x, static_argnums=1)(X, {1, 2})


def test_pickled():
    g = pickle.loads(pickle.dumps(sg.grad(power, static_argnums=1)))
    np.testing.assert_array_equal(g(X, 3), 3 * X**2)
    for make in (sg.jit, sg.hessian, sg.value_and_grad, sg.jacobian):
        f = pickle.loads(pickle.dumps(make(power, static_argnames="n")))
        f(X, 3)


# ---- lists ---------------------------------------------------------------------------------------


def test_lists_of_numbers_are_arrays_where_only_arrays_do():
    g = sg.grad(lambda x: np.sum(x**2))
    for _ in range(2):
        got = g([1.0, 2.0])
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, [2.0, 4.0])
    np.testing.assert_array_equal(g([[1.0], [2.0]]), [[2.0], [4.0]])
    both = sg.grad(lambda x, A: x @ A @ x)
    np.testing.assert_array_equal(both([1.0, 2.0], [[1.0, 0.0], [0.0, 3.0]]), [2.0, 12.0])
    assert sg.jit(lambda x: x.sum() * 2)([1.0, 2.0]) == 6.0
    np.testing.assert_array_equal(sg.hessian(lambda x: np.sum(x**3))([1.0, 2.0]), np.diag([6, 12]))


def test_lists_stay_lists_where_they_do():
    """A list is a structure, as in JAX: its gradient is a list."""
    assert sg.grad(lambda x: x[0] ** 2 * x[1])([1.0, 2.0]) == [4.0, 1.0]
    assert sg.grad(lambda p: np.sum(p[0] * p[1][0]))([2.0, [3.0]]) == [3.0, [2.0]]
    got = sg.grad(lambda p: np.sum(p[0] * p[1]))([X, 2 * X])
    np.testing.assert_array_equal(got[0], 2 * X)


def test_errors_with_lists_are_those_of_the_list():
    with pytest.raises(TypeError, match="list"):
        sg.grad(lambda x: np.sum(x**2) + None)([1.0, 2.0])


# ---- in C ----------------------------------------------------------------------------------------


@pytest.mark.in_c
def test_in_c():
    g = sg.grad(power)
    for n in (2, 3, 2, 3):
        np.testing.assert_allclose(g(X, n), n * X ** (n - 1), rtol=1e-15)
    mask = np.array([True, False, True, True])
    h = sg.grad(lambda x, m, scale: scale * np.sum(np.flip(x[m]) ** 2))
    for k in (1.0, 2.0):
        np.testing.assert_allclose(h(X, mask, k), 2 * k * X * mask, rtol=1e-15)
        np.testing.assert_allclose(h(X, ~mask, scale=k), 2 * k * X * ~mask, rtol=1e-15)
