"""Errors name the line of the user's code, also in functions with decorators: that of Python."""

from __future__ import annotations

import contextlib
import functools
import re
import traceback

import numpy as np
import pytest

import symgrad as sg


def same(f):
    return f


def given(*args, **options):
    return lambda f: f


def passing_on(f):
    @functools.wraps(f)
    def inner(*args):
        return f(*args)

    return inner


@same
def once(x):
    y = x * 2
    return y[7]


@same
@given(
    1,
    b=2,
)
@passing_on
def thrice(x):
    for _ in range(3):
        if x[0] > 0:
            x = x + np.ones(2)
    return x


@functools.lru_cache
def cached(number):
    y = number * np.ones(3)

    return y @ np.ones(2)


@same
def asserting(x):
    assert x.shape == (9,), "another shape"
    return x


@same
def raising(x):
    if x[0] < 5:
        raise ValueError("too small")
    return x


class Held:
    def __init__(self, x):
        self.x = x

    @staticmethod
    @same
    def alone(x):
        return x[7]

    @property
    def first(self):
        z = self.x
        return z[7]

    @given(1)
    @same
    def method(self):
        return self.x[7]


def inside(x):
    @same
    @given(
        2,
    )
    def inner(t):
        u = t
        return u[7]

    return inner(x)


def managed(x):
    @contextlib.contextmanager
    def element():
        yield x[7]

    with element() as e:
        return e


CASES = [
    once, thrice, lambda x: cached(x[0]), asserting, raising, inside, managed, Held.alone,
    lambda x: Held(x).first, lambda x: Held(x).method(),
]  # fmt: skip


@pytest.mark.parametrize("f", CASES, ids=lambda f: f.__qualname__)
def test_the_line_is_that_of_python(f):
    x = np.ones(3)

    def line(error):
        frames = traceback.extract_tb(error.__traceback__)
        return [q.lineno for q in frames if q.filename == __file__][-1]

    with pytest.raises(Exception) as plain:
        f(x)
    with pytest.raises(type(plain.value)) as traced:
        sg.jit(f)(x)
    told = re.match(r"\S*test_lines\.py:(\d+): ", str(traced.value))
    assert line(plain.value) == (int(told[1]) if told else line(traced.value))
