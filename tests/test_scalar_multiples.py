"""Scalar form writes the multiple of each node that saves signs and factors, and knows roots."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import symgrad as sg
from support import scalars
from support.random_graphs import Builder
from symgrad.scalar.blocks import element
from symgrad.scalar.space import NotScalar
from symgrad.scalar.writing import Writer, operations


def body(made):
    return re.split(r"\n(?:SG_STRAIGHT )?int \w+\(", made.c_source)[1].split("return 0;")[0]


def signs_alone(made):
    return len(re.findall(r"(?:= |[(?:] ?)-(?=[(a-z])", body(made)))


@pytest.mark.parametrize(
    ("f", "most"),
    [
        (lambda x: (x[0] - x[1]) * -x[2], 0),  # x2 (x1 - x0)
        (lambda x: -(0.5 * x[0] + x[1] + x[2]), 0),  # -0.5 x0 - x1 - x2
        (lambda x: -(x[0] * (x[1] - x[2]) * x[3]), 0),  # the sign of a product is its factor's
        (lambda x: (-(x[0] * x[1]), 3 - x[0] * x[1]), 1),
        (lambda x: (-(x[0] * x[1] + 2), np.sin(x[0] * x[1] + 2)), 1),  # both are wanted
        (lambda x: -((x[0] - x[1]) * (x[1] - x[2]) ** 2 / (x[2] - x[3])), 0),
        (lambda x: (-((x[0] - x[1]) * (x[0] - x[1] + x[2] * x[3])), -(x[0] - x[1])), 0),
    ],
)
@pytest.mark.quick(5)
def test_signs_change_sides(f, most):
    made = sg.compile(f, sg.f64[4], scalar=True)
    assert signs_alone(made) <= most, made.c_source
    for seed in range(4):
        x = np.random.default_rng(seed).normal(size=4)
        for got, right in zip(np.atleast_1d(made(x)), np.atleast_1d(f(x)), strict=True):
            assert got == pytest.approx(right, rel=1e-14, abs=1e-15)


def test_a_division_by_a_number_goes_into_coefficients():
    def f(x):
        return (0.17 * x[0] - 0.0036 * (x[1] * x[2])) / 0.0048

    made = sg.compile(f, sg.f64[3], scalar=True)
    assert body(made).count(" * ") == 3 and "/" not in body(made)
    assert made(np.array([1.25, -3.5, 2.0])) == pytest.approx(0.2377 / 0.0048, rel=4e-16)
    apart = sg.compile(lambda x: (x[0] - 0.5 * x[1]) / 3, sg.f64[2], scalar=True)
    assert "/ 3.0" in body(apart)  # exact terms, whose difference may be 0


@pytest.mark.parametrize("x", [[3.0, -4.0, 12.0], [1e-3, 1e-3, 0.0], [0.0, 0.0, 0.0]])
@pytest.mark.slow
def test_a_root_times_its_slope(x):
    def f(x):
        r2 = x[0] * x[0] + x[1] * x[1] + x[2] * x[2]
        return r2 * np.sqrt(r2) * np.sin(x[0])

    made = sg.compile(sg.grad(f), sg.f64[3], scalar=True)
    assert "?" not in body(made) and "/" not in body(made)
    r = math.sqrt(sum(v * v for v in x))
    right = [3 * r * v * math.sin(x[0]) + (k == 0) * r**3 * math.cos(x[0]) for k, v in enumerate(x)]
    assert made(np.array(x)) == pytest.approx(right, rel=1e-14, abs=0)


def test_a_multiple_or_zero_is_a_multiple():
    def f(x):
        return [np.where(x[1] > 0, k * x[0], 0.0) for k in (-20.0, 3.0)]

    made = sg.compile(lambda x: tuple(f(x)), sg.f64[2], scalar=True)
    assert body(made).count("?") == 1
    for x in ([0.5, 1.0], [0.5, -1.0], [0.0, 2.0]):
        assert made(np.array(x)) == tuple(f(x))


def test_a_factor_of_two_is_taken_once():
    def f(x):
        xy = x[0] * np.sin(x[1])
        return 2 * xy, 2 * (xy * x[2]), 4 * (xy * x[3]) + x[2], 8 / x[3] + x[0]

    made = sg.compile(f, sg.f64[4], scalar=True)
    assert len(re.findall(r"\d\)? \*", body(made))) <= 2, body(made)
    x = np.array([1.7, -0.3, 2.9, 0.6])
    assert np.allclose(made(x), f(x), rtol=1e-15)


def test_a_multiple_is_computed_with_one_sign():
    made = sg.compile(lambda x: (-2.5 * x[0], 2.5 * x[0] + x[1]), sg.f64[2], scalar=True)
    assert made.c_source.count("2.5) * ") == 1 and "= 2.5 * " not in made.c_source
    assert made(np.array([3.0, 1.0])) == (-7.5, 8.5)


@pytest.mark.parametrize("seed", range(12))
def test_multiples_never_cost_more(seed):
    outs = Builder(seed).outputs()
    try:
        space, refs, dtypes = scalars.opened(outs)
    except NotScalar:
        return
    plain, turned = (
        operations(Writer(space, element, turns).write(refs, dtypes)) for turns in (False, True)
    )
    assert turned <= plain
