"""Loops of functions as people write them: one round is traced, and the C has one loop.

The oracle is the same function in plain Python, on numbers and on dual numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from support import loop_functions as lf
from support.dual_numpy import derivatives, load
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort

ON_DUALS = load(Path(lf.__file__), "loop_functions_on_duals")
THETA = lf.THETA


def gradient(f, x):
    return derivatives(ON_DUALS[f.__name__], (x,)).gradient


ONE_LOOP = [
    lf.carried_number, lf.carried_array, lf.several, lf.number_becomes_array, lf.inside_only,
    lf.fills, lf.fills_rows, lf.fills_backwards, lf.adds_in_place, lf.appends,
    lf.appends_from_nothing, lf.zipped, lf.nested, lf.in_a_dict, lf.in_an_object,
    lf.branches_inside, lf.continues,
]  # fmt: skip
SHORT = [lf.counted]
ARRAYS = [
    lf.int_becomes_float, lf.sum_of_neighbours, lf.outer_product, lf.even_and_odd,
]  # no recurrences  # fmt: skip
NONE = [*ARRAYS, lf.first_round_differs]
EARLY = [lf.bisection, lf.breaks, lf.returns, lf.breaks_with_else, lf.branches_inside]
IN_OTHERS = [
    lf.while_in_break, lf.while_in_while, lf.whiles_three_deep, lf.array_in_while_in_break,
]  # fmt: skip
BY_DATA = [*EARLY, lf.halves, lf.newton, lf.until_a_break, *IN_OTHERS]


@pytest.mark.quick(3)
@pytest.mark.parametrize("f", [*ONE_LOOP, *NONE, *SHORT], ids=lambda f: f.__name__)
def test_as_in_python(f):
    graph = sg.trace(f, THETA)
    np.testing.assert_allclose(graph.evaluate(THETA), f(THETA), rtol=1e-13)
    assert len(graph.nodes) < 130, "rounds are written out"
    np.testing.assert_allclose(sg.grad(f)(THETA), gradient(f, THETA), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("f", BY_DATA, ids=lambda f: f.__name__)
@pytest.mark.quick(4)
def test_as_many_rounds_as_the_data_decide(f):
    compiled = sg.compile(f, THETA)
    assert len(compiled.graph.nodes) < 130
    for scale in (1.0, 0.1, 3.0):
        x = THETA * scale
        np.testing.assert_allclose(compiled(x), f(x), rtol=1e-13)
        np.testing.assert_allclose(compiled.graph.evaluate(x), f(x), rtol=1e-13)


@pytest.mark.parametrize("f", BY_DATA, ids=lambda f: f.__name__)
@pytest.mark.quick(3)
def test_gradients_where_data_decide(f):
    g = sg.grad(f)
    for scale in (1.0, 0.1, 3.0):
        x = THETA * scale
        np.testing.assert_allclose(g(x), gradient(f, x), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("f", ONE_LOOP, ids=lambda f: f.__name__)
def test_there_is_one_loop(f):
    loops = [n for n in toposort(sg.trace(f, THETA).outs) if n.op.kind is Kind.CONTROL]
    assert 1 <= len(loops) <= 2


@pytest.mark.parametrize("f", ARRAYS, ids=lambda f: f.__name__)
def test_what_is_no_recurrence_is_arrays(f):
    assert not any(n.op.kind is Kind.CONTROL for n in toposort(sg.trace(f, THETA).outs))


# ---- what no symbol stands for -------------------------------------------------------------------


def long_integer(x):
    p = 1
    for k in range(120):
        p *= k + 1
    return x / p


def integer_beyond_64_bits(x):
    p = 3**60
    for _ in range(20):
        p = p - 1
    return x / p


def long_integer_while(x):
    p, k = 1, 0
    while k < 120:
        k += 1
        p *= k
    return x / p


def complex_number(x):
    z = 1 + 1j
    for _ in range(10):
        z = z * 1j
    return x * z.real


def text(x):
    s = ""
    for k in range(12):
        s = s + str(k)
    return x * len(s)


def first_of_a_list_that_grows(x):
    xs = [x]
    for _ in range(40):
        xs.append(0.5 * np.sin(xs[-1]) + 0.1 * xs[0])
    return xs[-1]


def counts_a_list_that_grows(x):
    xs = [x]
    for _ in range(40):
        xs.append(np.sin(xs[-1]) + sum(1 for _ in xs))
    return xs[-1]


def numbers_a_list_that_grows(x):
    xs, last = [x], 0
    while len(xs) < 40:
        for last, _ in enumerate(xs):  # noqa: B007
            pass
        xs.append(np.sin(xs[-1]) + last + xs.__len__())
    return xs[-1]


def asks_how_long_a_list_is(x):
    xs = [x, x]
    for _ in range(40):
        xs.append(xs[-1] * 0.5 if np.size(xs) < 20 else xs[-2] + 1)
    return xs[-1]


GROWING = [
    first_of_a_list_that_grows, counts_a_list_that_grows, numbers_a_list_that_grows,
    asks_how_long_a_list_is,
]  # fmt: skip


@pytest.mark.parametrize(
    "f", [*GROWING, long_integer, integer_beyond_64_bits, long_integer_while, complex_number, text],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_what_is_not_traced_runs_as_in_python(f):
    assert sg.trace(f, 2.0).evaluate(2.0) == f(2.0)


def test_an_inner_function_may_outlive_its_trace():
    def outer(x):
        def inner(n):
            i = 0
            while i < n:
                i += 1
            return i

        kept.append(inner)
        return x * inner(10)

    kept = []
    assert sg.trace(outer, 2.0).evaluate(2.0) == 20
    for n in (3, 12):
        assert type(kept[0](n)) is int and kept[0](n) == n


def test_value_and_gradient_of_a_while_loop_share_it():
    both = sg.trace(sg.value_and_grad(lf.newton), THETA).simplify()
    assert sum(n.op.name == "while" for n in both.nodes) == 1


def accumulated(x):
    s = 0.0
    for v in x:
        s = np.sin(s * 0.9 + v)
    return s


def counted(x):
    s = 0
    for v in x:
        s += v * v
    return s


def until(x):
    s = 1.0
    while s < 10.0:
        s = s * 1.5 + x[0] ** 2
    return s


def decided(x):
    s = 0.0
    for v in x:
        if v > 0.5:
            s += v
        else:
            s = s * 0.5
    return s


def listed(x):
    out = [0.0]
    for v in x:
        out.append(np.tanh(out[-1] * 0.5 + v))
    return out[-1]


def only_python(x):
    s, f = 0.0, 1.0
    for v in x:
        f = f * 0.5
        s += f * v
    return s, np.float64(f)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("f", [accumulated, counted, until, decided, listed, only_python])
def test_python_numbers_take_the_dtype_of_what_a_round_makes_of_them(f, dtype):
    """A float32 loop that begins with 0.0 is one of float32, as in NumPy."""
    x = (4 * np.linspace(0.1, 1, 40)).astype(dtype)
    want = f(x)
    graph = sg.trace(f, x)
    got = graph.evaluate(x)
    wanted, found = (r if isinstance(r, tuple) else (r,) for r in (want, got))
    assert [o.dtype for o in graph.outs] == [w.dtype.name for w in wanted]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_carries_of_scan_and_while_loop_take_the_dtype_of_a_round():
    x = np.linspace(0.1, 1, 40, dtype=np.float32)
    graph = sg.trace(lambda x: sg.scan(lambda s, r: (s * 0.5 + r, s), 0, x), x)
    assert [o.dtype for o in graph.outs] == ["float32", "float32"]
    graph = sg.trace(lambda x: sg.while_loop(lambda s: s < 9, lambda s: s * 1.5 + x[0], 1), x)
    assert [o.dtype for o in graph.outs] == ["float32"]
