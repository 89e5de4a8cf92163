"""What asks for the class of a value gets that of what a tracer stands for, as in plain Python."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import numbers
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import UnsupportedError

X = np.array([0.3, -0.7, 1.2])


@dataclasses.dataclass
class Pair:
    first: Any
    second: Any


def the_type(x):
    a = np.arange(3.0)
    return x * (type(a) is np.ndarray) * (type(x) == np.ndarray) * (type(x[0]) is np.float64)  # noqa: E721


def the_type_decides(x):
    a = np.zeros(3)
    a[0] = x[1]
    if type(a) is np.ndarray and type(a + 1) in (list, np.ndarray):
        return x * 2
    return x


def looked_up(x):
    table = {np.ndarray: 2.0, float: 3.0, int: 4.0, np.float64: 5.0, bool: 6.0}
    kinds = [np.ones(2), x, 1.5, 2, x[0], x.sum(), x > 0, True]
    return x * sum(table[type(k)] * 7**n for n, k in enumerate(kinds))


def mapped(x):
    return x * all(k is np.ndarray for k in map(type, [np.arange(3.0), x]))


def the_class(x):
    a = np.ones((2, 3))
    same = a.__class__ is np.ndarray and x.__class__ is np.ndarray and x[0].__class__ is np.float64
    return x * same * (a.__class__.__name__ == type(x).__name__ == "ndarray")


def subclasses(x):
    return x * issubclass(type(np.ones(2)), np.ndarray) * issubclass(x.__class__, np.ndarray)


def read_by_name(x):
    return x * (getattr(x, "__class__", None) is np.ndarray) * getattr(x[0], "nothing", 2.0)


def made_by_class(x):
    class Base:
        def scaled(self, x):
            return x * len(self.__class__.__name__) * len(super().__getattribute__("__module__"))

    class Longer(Base):
        pass

    return Longer().scaled(x) + Base().scaled(x)


def dispatched(x):
    @functools.singledispatch
    def of(a):
        return 1.0

    of.register(np.ndarray, lambda a: 2.0)
    of.register(float, lambda a: 3.0)
    return x * of(np.arange(2.0)) * of(x) * of(2.5) * of("")


def abstract(x):
    a = np.ones(2)
    kinds = (numbers.Number, collections.abc.Sequence, collections.abc.Iterable, np.generic, list)
    return x * sum(
        isinstance(v, k) * 2.0**n
        for n, (v, k) in enumerate((v, k) for v in (a, x, x[0]) for k in kinds)
    )


def case_array(x):
    match x:
        case np.ndarray():
            return x * 2
    return x


def case_of_own_array(x):
    a = np.ones(3)
    match a:
        case list() | tuple():
            return x
        case np.ndarray(shape=(n,)):
            return x * n


def case_number(x):
    match x[0]:
        case int() | str():
            return x
        case float(v) if v > 0:
            return x * v
    return x * 7


def case_guards_on_traced(x):
    match x[1]:
        case np.floating() if x[1] > 0:
            return x * 2
        case np.floating() as v:
            return x * v
    return x


def case_inside(x):
    match [x[0], 2, (x, Pair(x[1], 3))]:
        case [float(a), int(b), (np.ndarray() as c, Pair(float() as d, second=e))]:
            return a * b * c * d * e
    return x


def case_of_the_users(x):
    match Pair(x[0], [x, 2.0]):
        case int() | Pair(first=int()):
            return x
        case Pair(p, [q, float(r)]):
            return p * q * r
    return x


def case_in_a_dict(x):
    match {"key": x, "n": 4}:
        case {"key": np.ndarray() as z, "n": int(n), **rest}:
            return z * n + len(rest)
    return x


def case_whose_class_is_never_asked_for(x):
    match 3:
        case int():
            return x * 5
        case nowhere.Missing():  # noqa: F821
            return x
    return x


FUNCTIONS = [v for v in list(globals().values()) if getattr(v, "__module__", "") == __name__
             and callable(v) and v is not Pair]  # fmt: skip


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_as_in_python(f):
    want = f(X)
    np.testing.assert_allclose(sg.trace(f, X).evaluate(X), want, rtol=1e-14)
    # all are polynomials of x
    fixed = sg.trace(f, X)
    J = sg.trace(sg.jacfwd(f), X).evaluate(X)
    for k in range(3):
        step = np.eye(3)[k] * 0.0625
        at = [fixed.evaluate(X + s * step) for s in (-2, -1, 1, 2)]
        slope = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * 0.0625)  # exact up to degree four
        np.testing.assert_allclose(J[:, k], slope, rtol=1e-9, atol=1e-9 * (1 + abs(want).max()))


def test_python_numbers():
    def f(p, n, b):
        match p, n, b:
            case float(), int(), bool():
                return p * (type(p) is float) * (type(n) is int) * (type(b) is bool)
        return -p

    assert f(2.5, 3, True) == sg.jit(f)(2.5, 3, True) == 2.5


def test_attributes_are_those_of_what_a_tracer_stands_for():
    names = {*dir(np.ndarray), *dir(np.float64), *dir(float), *dir(int), "nothing", "expr", "mro",
             "__call__", "__name__", "__len__", "__torch_function__"} - {"mT"}  # fmt: skip
    found: list[Any] = []

    def f(x, number, p, n, b):
        a = np.arange(3.0)
        values = (x, x[0], number, p, n, b, a, a * x, x > 0, p > 0)
        found.append([{m for m in names if hasattr(v, m)} for v in values])
        return x

    args = X, np.float64(2.0), 2.5, 3, True
    f(*args)
    sg.jit(f)(*args)
    assert found[0] == found[1]


def test_attributes_by_name():
    def f(x, p):
        return x * getattr(p, "shape", (2.0,))[0] + getattr(p, "ndim", 3) + getattr(x, "ndim", 3)

    np.testing.assert_array_equal(sg.jit(f)(X, 1.5), f(X, 1.5))
    assert sg.jit(lambda x: x * hasattr(x, "at"))(X)[2] == 1.2  # as our errors advise
    for name, value in (("strides", X), ("is_integer", 2.5), ("data", X)):
        with pytest.raises(UnsupportedError, match=rf"test_kinds\.py:\d+: the attribute x\.{name}"):
            sg.jit(lambda x, n=name: getattr(x, n, None))(value)
