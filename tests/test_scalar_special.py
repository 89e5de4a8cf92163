"""NaN, infinities and signs of zero in the scalar form that is chosen where nobody asks (0078)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import symgrad as sg
from fuzz.small import check, check_range, everything_pays
from support import scalars
from support.scalars import arm
from symgrad.generate import program_of
from symgrad.options import Options
from symgrad.scalar import choice, program
from symgrad.scalar.space import NotScalar, Space
from symgrad.tree import flatten

LOWER = np.array([[1.0, 0, 0], [2, 3, 0], [4, 5, 6]])
AXIS = np.array([[0.0, 1, 2], [1, 0, 0], [3, 1, 0]])

# Of a vector of three. Each loses a NaN or an infinity if 0 · x is 0.
FUNCTIONS = {
    "identity": lambda v: np.eye(3) @ v,
    "triangle": lambda v: LOWER @ v,
    "entries": lambda v: np.array([[np.cos(v[0]), 0, 0], [0, 1.0, 0], [0, 0, 1]]) @ v,
    "zero times": lambda v: 0 * v + v[::-1],
    "difference": lambda v: v - v + v[0],
    "quotient": lambda v: v / v * v[1],
    "masked sum": lambda v: np.sum(np.array([0.0, 1, 0]) * v),
    "circle": lambda v: np.sin(v) ** 2 + np.cos(v) ** 2 + v[0],
    "pole": lambda v: 0 * (1 / v) + np.sum(v),
    "beyond the domain": lambda v: 0 * np.log(v) + np.exp(v[::-1]),
    "multiplied out": lambda v: v[0] * (v[1] + v[2]) - v[0] * v[1] + np.sum(v**2),
    "padded": lambda v: np.pad(v, 1) @ np.sqrt(np.arange(5) * v[0]),
    "divided again": lambda v: v[0] * v[1] / v[0] / v[1] + v,
    "bounded": lambda v: 0 * np.tanh(v) + v[0],
    "power of zero": lambda v: np.array([0.0, 1.0, 0.0]) ** -1.0 * v + np.zeros(3) ** 2 * v,
    "arm": arm,
    "jacobian": lambda v: sg.jacobian(arm)(v),
    "gradient": lambda v: sg.grad(lambda v: np.sum(AXIS @ np.sin(v) * v))(v),
    "hessian": lambda v: sg.hessian(lambda v: np.sum(AXIS @ np.log(v) * v))(v),
}
DERIVATIVES = ("jacobian", "gradient", "hessian")
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -1.0)


def careful(f, *args):
    """The scalar form of a function, however long it is, under NumPy."""
    graph = sg.trace(f, *args).simplify()
    run = scalars.compiled(graph, graph.outs, 3000, careful=True)
    return lambda *given: flatten(graph.finish(run(list(given))))[0]


def places():
    for k in range(3):
        for value in SPECIAL:
            v = np.array([1.0, 2.0, 3.0])
            v[k] = value
            yield v


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in DERIVATIVES])
def test_values_are_not_finite_where_numpys_are_not(name):
    f = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        made = careful(f, sg.f64[3])
        for v in places():
            for got, want in zip(made(v), flatten(f(v))[0], strict=True):
                np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want), str(v))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.quick(8)
def test_what_is_not_finite_is_so_entry_by_entry(name):
    """As in the usual form, which has NaN where NumPy has, but for zeros of structure (0007)."""
    f = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        made, usual = careful(f, sg.f64[3]), sg.compile(f, sg.f64[3], scalar=False)
        for v in places():
            for got, want in zip(made(v), flatten(usual(v))[0], strict=True):
                np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want), str(v))
                finite = np.isfinite(want)
                np.testing.assert_allclose(
                    np.asarray(got)[finite], np.asarray(want)[finite], rtol=1e-13, atol=1e-13
                )


def test_it_is_what_c_does_by_default():
    def f(v):
        return FUNCTIONS["entries"](v), FUNCTIONS["masked sum"](v), FUNCTIONS["arm"](v)

    made = sg.compile(f, sg.f64[3])
    assert made.c_source != sg.compile(f, sg.f64[3], scalar=False).c_source
    with np.errstate(all="ignore"):
        for v in places():
            for got, want in zip(flatten(made(v))[0], flatten(f(v))[0], strict=True):
                np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want), str(v))


# Of two numbers, each on the cut of arctan2 at some points.
CUTS = {
    "difference": lambda a, b: np.arctan2(a - b, -1.0 - a * a),
    "the other difference": lambda a, b: np.arctan2(b - a, -1.0 - a * a),
    "taken from zero": lambda a, b: np.arctan2(0.0 - a, -1.0 - b * b),
    "negative": lambda a, b: np.arctan2(-a, -1.0 - b * b),
    "zero times": lambda a, b: np.arctan2(0.0 * a, -1.0 - b * b),
    "product of a matrix": lambda a, b: np.arctan2(
        (np.array([[b, 0.0], [1.0, b]]) @ np.stack([a, b]))[0], -1.0 - b * b
    ),
    "common factor": lambda a, b: np.arctan2(a * b - a * a, -1.0 - b * b),
    "sign": lambda a, b: np.copysign(1.0, a - b) + np.copysign(2.0, b - a) + 0.0 * a,
    "square from zero": lambda a, b: np.arctan2(a, 0.0 * a - a * a),
    "pole at a square from zero": lambda a, b: np.maximum(1 / (0.0 * a - a * a), -2.0),
    "pole at a sum from zero": lambda a, b: np.maximum(
        1 / (0.0 - np.sqrt(np.sum(np.stack([a, b]) ** 2))), -2.0
    ),
    "quotients": lambda a, b: np.minimum(1 / (a - b), 2.0) + np.maximum(1 / (b - a), -2.0),
}


@pytest.mark.parametrize("name", CUTS)
def test_signs_of_zeros_are_those_of_the_text(name):
    f = CUTS[name]
    try:
        made = careful(f, sg.f64, sg.f64)
    except NotScalar:  # refused, then
        return
    points = [(a, b) for a in (-1.0, 0.0, 1.0, 2.0) for b in (-1.0, 0.0, 1.0, 2.0)]
    with np.errstate(all="ignore"):
        for a, b in points:
            (got,) = made(np.array(a), np.array(b))
            want = f(np.float64(a), np.float64(b))
            assert got == want or np.isnan(got) and np.isnan(want), (a, b, got, want)


@pytest.mark.parametrize("column", [*itertools.product([np.nan, 0.0, 1.0, -2.0], repeat=3)])
def test_a_matrix_with_nan_is_singular_where_numpy_finds_it_so(column):
    """A zero must not take the place of NaN as a pivot: there would be an error in its place."""
    matrix = np.array([[0.0, 1.0, 2.0], [0.0, 3.0, 1.0], [0.0, 1.0, 1.0]])
    matrix[:, 0] = column
    made = careful(lambda a: np.linalg.solve(a, np.ones(3)), sg.f64[3, 3])

    def outcome(f):
        try:
            return [np.isfinite(r) for r in flatten(f(matrix))[0]]
        except np.linalg.LinAlgError:
            return "singular"

    with np.errstate(all="ignore"):
        usual = outcome(sg.compile(lambda a: np.linalg.solve(a, np.ones(3)), matrix, scalar=False))
        found = outcome(made)
        assert (found == "singular") == (usual == "singular")


def test_some_cuts_are_kept_and_some_refused():
    careful(CUTS["difference"], sg.f64, sg.f64)
    with pytest.raises(NotScalar):
        careful(CUTS["taken from zero"], sg.f64, sg.f64)


@pytest.mark.parametrize("scalar", [True, "auto"])
def test_a_power_of_zero_is_no_zero(scalar):
    with np.errstate(all="ignore"):
        made = sg.compile(
            lambda v: (0 * np.zeros(2) + [0.0, 2.0]) ** -2.0 * v, sg.f64[2], scalar=scalar
        )
    np.testing.assert_array_equal(made(np.array([1.0, 2.0])), [np.inf, 0.5])


SINGULAR = {
    "zeros": np.zeros((3, 3)),
    "a column of zeros": np.array([[0.0, 1, 2], [0, 3, 4], [0, 5, 7]]),
    "a column of zeros later": np.array([[1.0, 2, 3], [2, 4, 5], [3, 6, 9]]),
    "two": np.array([[0.0, 1], [0, 2]]),
}


@pytest.mark.parametrize("scalar", [True, False, "auto"])
@pytest.mark.parametrize("name", SINGULAR)
def test_determinants_of_singular_matrices_are_zero(name, scalar):
    a = SINGULAR[name]
    f = lambda a: (np.linalg.det(a), *np.linalg.slogdet(a))  # noqa: E731
    got = sg.compile(f, sg.f64[a.shape], scalar=scalar)(a)
    np.testing.assert_array_equal(got, [0.0, 0.0, -np.inf])


def test_an_infinity_beside_its_negative_may_stay_one():
    """Documented in 0078: 2x - x is inf where NumPy has NaN; a NaN is never lost."""
    made = careful(lambda x, y: 2.0 * x - x + y, sg.f64, sg.f64)
    assert not np.isfinite(made(np.array(np.inf), np.array(0.0))[0])
    assert np.isnan(made(np.array(np.nan), np.array(0.0))[0])


# ---- what is chosen ------------------------------------------------------------------------------


def test_it_is_the_default_and_the_function_is_called_once():
    calls = []

    def f(q):
        calls.append(1)
        return arm(q)

    assert Options().scalar == "auto"
    sg.compile(f, sg.f64[3])
    assert len(calls) == 1


def test_choices_about_loops_are_respected():
    graph = sg.trace(arm, sg.f64[3]).simplify()
    assert choice.most_that_pay(graph, Options())
    assert not choice.most_that_pay(graph, Options(scalar=False))
    assert not choice.most_that_pay(graph, Options(threads=2))
    assert str(program_of(graph, threads=2)) == str(program_of(graph, threads=2, scalar=False))


@pytest.mark.parametrize("f, specs", [
    (lambda a, b: a @ b, (sg.f64[10, 10], sg.f64[10, 10])),
    (lambda a: np.linalg.inv(a), (sg.f64[8, 8],)),
    (lambda w, x, y: sg.hessian(lambda w: np.sum(np.log1p(np.exp(-y * (x @ w)))))(w),
     (sg.f64[6], sg.f64[60, 6], sg.f64[60])),
    (lambda x: sg.grad(lambda x: np.sum(np.sin(x) * x[::-1]))(x), (sg.f64[300],)),
])  # fmt: skip
def test_what_ends_in_the_usual_form_costs_no_more_than_a_count(f, specs, monkeypatch):
    """No pass over scalars, and no more of them than a form that pays would need."""
    spaces = []

    class Counted(Space):
        def __init__(self, *args):
            super().__init__(*args)
            spaces.append(self)

    monkeypatch.setattr(program, "Space", Counted)
    monkeypatch.setattr(program, "shortest", lambda *args: pytest.fail("a pass over scalars"))
    graph = sg.trace(f, *specs).simplify()
    usual = program_of(graph, scalar=False)
    assert not spaces
    assert str(program_of(graph)) == str(usual)
    leaves = sum(a.size for a in graph.args)
    assert sum(s.count for s in spaces) <= leaves + 2000


@pytest.mark.parametrize("block", range(15))
@pytest.mark.quick(1)
def test_small_programs_agree_at_ties_and_special_points(block):
    for seed in range(10 * block, 10 * block + 10):
        _, finding = check(seed, graphs=True)
        assert not finding, finding


@pytest.mark.parametrize("block", range(5))
@pytest.mark.slow
def test_nothing_is_lost_near_the_ends_of_the_range(block):
    for seed in range(3000 + 20 * block, 3020 + 20 * block):
        _, finding = check_range(seed)
        assert not finding, finding


FAR = {  # functions, what they are, and where
    "quotients": (lambda x, y, z: x * y / z / z + y * y / z / z, 1e-60, 1e200, 1e100, 1e180),
    "coefficients": (lambda x, y, z: (1e-150 * x) * (1e-150 * y) / (1e-150 * z),
                     1e50, 1e200, 1e200, 1e200),
    "hypot": (lambda x, y, z: np.hypot(x, y) / z, 5**0.5, 1e200, 2e200, 1e200),
    "root of a square": (lambda x, y, z: np.linalg.norm(x) * y / z, 1e-200, 1e-200, 1e200, 1e200),
    "factors": (lambda x, y, z: z * x * y + z * np.sin(x) * y, 2e200, 1e-200, 1e200, 1e200),
}  # fmt: skip


@pytest.mark.parametrize("name", FAR)
def test_products_are_taken_as_they_are_written(name):
    """x y / z in another order may be 0 or infinite where it is not."""
    f, want, *given = FAR[name]
    graph = sg.trace(f, *given).simplify()
    with everything_pays():
        most = choice.most_that_pay(graph, Options(scalar="auto"))
        got = scalars.compiled(graph, graph.outs, most, careful=True)(given)
    np.testing.assert_allclose(got[0], want, rtol=1e-12)


def test_nothing_is_solved_for_no_columns():
    a = 2 * np.eye(3)
    for scalar in (True, "auto"):
        made = sg.compile(np.linalg.solve, a, np.zeros((3, 0)), scalar=scalar)
        assert made(a, np.zeros((3, 0))).shape == (3, 0)
