"""What a function raises where its values say so: in values, derivatives, batches, loops and C.

The oracle is the function itself: plain Python says which exception there is, and with what. Values
and derivatives elsewhere are those of dual numbers.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import pickle
import re
import traceback
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from support.dual import Dual
from symgrad.errors import TraceError
from symgrad.lower import interpret


class Own(ValueError):
    """An exception whose constructor takes other things than what it hands on."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"{what}: {code}")
        self.code = code


def log_of(v: Any) -> Any:
    if v <= 0:
        raise Own("not positive", 7)
    return np.log(v)


def asserted(x: Any) -> Any:
    assert x[0] > 0, "positive, please"
    assert abs(x[1]) < 10
    return x[0] * x[1]


def helped(x: Any) -> Any:
    return log_of(x[0]) * log_of(x[1] + 3.0)


def all_of_them(x: Any) -> Any:
    if not np.all(x < 50.0):
        raise OverflowError("too large")
    return x[0] * x[1] * x[2]


def one_side_of_a_side(x: Any) -> Any:
    if x[0] > 0:
        if x[1] > 3.0:
            raise OverflowError("big")
        y = x[1] * x[0]
    else:
        raise KeyError("negative")
    return y * x[0]


def else_raises(x: Any) -> Any:
    if x[0] > 0:
        return x[0] * x[1]
    raise LookupError("not found")


def first_side_raises(x: Any) -> Any:
    if x[0] > 1.0:
        raise OverflowError("first")
    else:
        if x[0] > 0.5 - x[1]:
            assert x[2] > 0.3, "second"
            y = x[1] * 2
        else:
            y = x[2]
            if x[1] < -1.0:
                raise KeyError("third")
        y = y * x[0]
    return y


def recurrence(x: Any) -> Any:
    s = x[1]
    for k in range(12):
        s = s * x[0] + 0.1 * k
        if s > 1e3:
            raise OverflowError("diverges")
    return s


def rounds_apart(x: Any) -> Any:
    y = np.zeros(12)
    for k in range(12):
        v = x[0] - 0.01 * k
        assert v > 0.0, "in a round"
        y[k] = v * v * x[1]
    return np.sum(y)


def until_small(x: Any) -> Any:
    s, k = x[0], 0
    while abs(s) > 1e-3:
        s = s * x[1] * 0.2
        k += 1
        if k > 40:
            raise RuntimeError("no convergence")
    return s + x[2]


def index_behind_a_check(x: Any) -> Any:
    table = np.arange(5.0)
    total = 0.0
    for v in (x[0], x[1], x[2]):
        if v < 0 or v > 4:
            raise IndexError("mine")
        total += table[int(v)] * v
    return total


def loop_behind_a_check(x: Any) -> Any:
    if x[0] != 3.0:
        raise ValueError("would not end")
    n, s = x[0], 0.0
    while n != 0.0:
        s += n * x[1]
        n -= 1.0
    return s


def slope(x: Any) -> Any:
    return x[0] * sg.grad(log_of)(x[1])


def explicit(x: Any) -> Any:
    return sg.cond(x[0] > 1, lambda x: log_of(x[1]), lambda x: x[2], x)


def loop_in_a_side(x: Any) -> Any:
    return sg.cond(x[0] > 1, recurrence, lambda x: x[2] + x[0], x)


def scanned(x: Any) -> Any:
    return sg.scan(lambda c, v: (c * log_of(v + 2), c), 1.0, x)[0]


FUNCTIONS = [
    asserted, helped, all_of_them, one_side_of_a_side, else_raises, first_side_raises, recurrence,
    rounds_apart, until_small, index_behind_a_check, loop_behind_a_check, slope, explicit,
    loop_in_a_side, scanned,
]  # fmt: skip
POINTS = [np.array(p) for p in (
    [1.3, 0.7, 2.1], [3.0, 1.5, 0.5], [-0.7, 1.3, 0.4], [2.5, 20.3, 2.0], [0.05, -2.0, -3.0],
    [3.0, -6.0, 60.0], [2.6, 3.1, 0.3],
)]  # fmt: skip


def bundle(k: Any, x: Any, functions: Any = FUNCTIONS) -> Any:
    """All of them in one function: that is compiled once."""
    first, *rest = functions
    if not rest:
        return first(x)
    return first(x) if k <= 0 else bundle(k - 1, x, rest)


def plain(f: Any, x: np.ndarray) -> Any:
    """Value and gradient in plain Python, or the exception."""
    try:
        if f is slope:
            log_of(x[1])
            return x[0] / x[1], np.array([1 / x[1], -x[0] / x[1] ** 2, 0.0])
        value = f(x)
        parts = [Dual(v, np.eye(3)[k]) for k, v in enumerate(x)]
        found = f(np.array(parts, dtype=object)) if f in ON_DUALS else None
        return value, found.slope if isinstance(found, Dual) else found
    except Exception as error:
        return error


ON_DUALS = [asserted, one_side_of_a_side, else_raises, recurrence, until_small, loop_behind_a_check]


@pytest.mark.slow
def test_values_and_derivatives_or_what_is_raised() -> None:
    one = lambda k, x: bundle(k, x)
    both = sg.compile(sg.value_and_grad(one, 1), 0.0, POINTS[0])
    second = sg.trace(sg.hessian(one, 1), 0.0, POINTS[0])
    counts = {"raised": 0, "right": 0}
    for k, f in enumerate(FUNCTIONS):
        for x in POINTS:
            want = plain(f, x)
            for call in (both, both.graph.evaluate, second.evaluate):
                if isinstance(want, Exception):
                    with pytest.raises(type(want)) as raised:
                        call(float(k), x)
                    assert type(raised.value) is type(want)
                    # pytest adds lines to what plain Python asserts
                    assert str(raised.value) == re.split(r"(?:^|\n)assert ", str(want))[0]
                    assert vars(raised.value) == vars(want)
                    counts["raised"] += 1
                elif call != second.evaluate:
                    value, gradient = call(float(k), x)
                    np.testing.assert_allclose(value, want[0], rtol=1e-12)
                    if want[1] is not None:
                        np.testing.assert_allclose(gradient, want[1], rtol=1e-10, atol=1e-12)
                    counts["right"] += 1
    assert counts["raised"] > 60 and counts["right"] > 60, counts


def test_a_batch_fails_where_any_of_its_points_does() -> None:
    batch = np.stack([POINTS[0]] * 9)
    for f in (asserted, recurrence, one_side_of_a_side, explicit):
        graph = sg.trace(sg.vmap(sg.value_and_grad(f)), batch)
        values, _ = graph.evaluate(batch)
        np.testing.assert_allclose(values, f(POINTS[0]), rtol=1e-13)
        bad = batch.copy()
        bad[5] = next(x for x in POINTS if isinstance(plain(f, x), Exception))
        with pytest.raises(type(plain(f, bad[5]))):
            graph.evaluate(bad)


def test_in_compiled_batches_and_the_interpreter_of_programs() -> None:
    def checked(x: Any) -> Any:
        assert x > 0, "positive"
        return np.exp(x) * x

    batch = np.linspace(0.1, 2.0, 100)
    f = sg.compile(sg.vmap(sg.value_and_grad(checked)), batch)
    np.testing.assert_allclose(f(batch)[0], np.exp(batch) * batch, rtol=1e-14)
    batch[77] = -1.0
    with pytest.raises(AssertionError, match="positive"):
        f(batch)
    program = sg.generate.program_of(f.graph)
    assert "fail with 16 if" in str(program)
    assert interpret.interpret(program, [batch]).status == 16


def test_the_first_of_several_is_raised() -> None:
    def f(x: Any) -> Any:
        assert np.all(x < 100), "first"
        if x[0] > 5:
            raise ValueError("second")
        y = np.linalg.cholesky(np.diag(x[:2]))[0]
        if x[1] > 5:
            raise ValueError("third")
        return y[0]

    c = sg.compile(f, POINTS[0])
    for x, told in (
        ([6.0, 0.0, 200.0], "first"),
        ([6.0, 0.0, 0.0], "second"),
        ([1.0, 6.0, 0.0], "third"),
    ):
        with pytest.raises((AssertionError, ValueError), match=told):
            c(np.array(x))
    with pytest.raises(np.linalg.LinAlgError):
        c(np.array([1.0, 0.0, 0.0]))


def test_the_traceback_ends_in_the_user_s_line() -> None:
    for call in (sg.compile(helped, POINTS[0]), sg.trace(helped, POINTS[0]).evaluate):
        with pytest.raises(Own) as raised:
            call(POINTS[2])
        last = traceback.extract_tb(raised.value.__traceback__)[-1]
        assert (last.filename, last.name) == (__file__, "log_of")
        assert last.line == 'raise Own("not positive", 7)'
        assert raised.value.code == 7


def test_messages_have_what_is_known_while_tracing() -> None:
    limit = 2

    def f(x: Any) -> Any:
        if x > limit:
            raise ValueError(f"{x} is above {limit}", x, limit)
        return x

    with pytest.raises(ValueError, match="above") as raised:
        sg.trace(f, 1.0).evaluate(3.0)
    unknown = "<a value of this call>"
    assert raised.value.args == (f"{unknown} is above 2", unknown, 2)


def test_exported_c_returns_a_status_of_its_own() -> None:
    c = sg.compile(asserted, POINTS[0])
    assert "16  AssertionError: positive, please (test_raises.py:" in c.c_header
    assert "17  AssertionError (test_raises.py:" in c.c_header
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(c.address)
    out = np.zeros(1)
    for x, status in (([1.0, 2.0, 3.0], 0), ([-1.0, 20.0, 3.0], 16), ([1.0, 20.0, 3.0], 17)):
        given = np.array(x)
        assert call(given.ctypes.data, out.ctypes.data) == status
    assert out == 2.0


def test_listings_and_formulas_say_it() -> None:
    graph = sg.trace(asserted, POINTS[0]).simplify()
    assert "if ~(x[0] > 0): raise" not in str(graph)  # x[0] is a reshaped slice
    assert "raise AssertionError: positive, please (test_raises.py:" in str(graph)
    assert "may raise AssertionError" in graph.formula()
    assert "check" not in graph.latex()
    assert "check" not in str(sg.trace(sg.grad(lambda x: x * x), 1.0))


def test_pickled_and_from_the_cache() -> None:
    c = sg.compile(helped, POINTS[0])
    for again in (pickle.loads(pickle.dumps(c)), sg.compile(helped, POINTS[0])):
        with pytest.raises(Own, match="not positive: 7"):
            again(POINTS[2])


def test_a_compiled_function_inside_another_one() -> None:
    inner = sg.compile(asserted, POINTS[0])

    def f(x: Any) -> Any:
        return inner(x) if x[2] > 0 else x[1]

    graph = sg.trace(sg.grad(f), POINTS[0])
    np.testing.assert_allclose(graph.evaluate(POINTS[0]), [0.7, 1.3, 0.0])
    np.testing.assert_allclose(graph.evaluate(np.array([-1.0, 2.0, -1.0])), [0.0, 1.0, 0.0])
    with pytest.raises(AssertionError, match="positive"):
        graph.evaluate(POINTS[2])


def test_a_check_stays_where_it_is_made() -> None:
    """It is not done before the loop or beside the side that makes it."""

    def f(x: Any) -> Any:
        def term(v: Any) -> Any:
            if v > 0 and x[0] > 1:
                raise ValueError("in the side")
            return v * v

        return sg.grad(term)(x[1]) * sg.cond(
            x[2] > 0, lambda: sg.grad(term)(-abs(x[1])), lambda: x[1]
        )

    def g(x: Any) -> Any:
        s = x[1]
        while s < 0:
            s = s + sg.grad(lambda v: v * log_of(x[0]))(s) + 1
        return s

    for call, x, bad in (
        (f, [2.0, -3.0, 1.0], [2.0, 3.0, 1.0]),
        (g, [-1.0, 1.0, 0.0], [-1.0, -1.0, 0.0]),
    ):
        graph = sg.trace(call, POINTS[0]).simplify()
        assert math.isfinite(graph.evaluate(np.array(x)))
        with pytest.raises(ValueError, match="side|positive"):
            graph.evaluate(np.array(bad))


def test_a_check_in_what_two_branches_need() -> None:
    def f(x: Any, y: Any) -> Any:
        a, z = x.copy(), np.zeros(4)
        if y >= a[2]:
            pass
        elif -0.4 > x[2]:
            a = z
        else:
            if a[3] >= 0.7:
                a[3:4] = np.array([y])
            else:
                if a[3] > 0.2:
                    raise Own("here", 1)
                x[-1], x[-2] = x[-2], x[-1]
        a[1] = np.tanh(x[-2])
        return x[3]

    with pytest.warns(sg.errors.MutationWarning):
        graph = sg.trace(f, np.zeros(4), 0.0)
    rng = np.random.default_rng(1)
    raised = 0
    for _ in range(60):
        x, y = rng.uniform(-1, 1, 4), rng.uniform(-1, 1)
        try:
            want = f(x.copy(), y)
        except Own:
            raised += 1
            with pytest.raises(Own):
                graph.evaluate(x, y)
        else:
            assert graph.evaluate(x, y) == want
    assert 3 < raised < 30


# ---- what is refused -----------------------------------------------------------------------------


def answer_of_an_iterator(x: Any) -> Any:
    def values() -> Any:
        if x[0] > 0:
            raise StopIteration
        yield x[0]

    return next(values())


def not_by_a_raise(x: Any) -> Any:
    return {}["a"] if x[0] > 0 else x[1]


def caught_by_a_derivative_s_caller(x: Any) -> Any:
    try:
        return sg.grad(log_of)(x[0])
    except Own:
        return x[1]


REFUSED = [answer_of_an_iterator, not_by_a_raise, caught_by_a_derivative_s_caller]


@pytest.mark.parametrize("f", REFUSED, ids=lambda f: f.__name__)
def test_refused(f: Any) -> None:
    with pytest.raises(TraceError, match=r"test_raises.py:\d+: "):
        sg.trace(f, POINTS[0])


# ---- what somebody catches: no check, but one of the ways that a function can go -----------------


def caught_by_a_caller(x: Any) -> Any:
    try:
        return log_of(x[0])
    except ValueError:
        return x[1]


def suppressed(x: Any) -> Any:
    with contextlib.suppress(Own):
        return log_of(x[0])
    return x[1]


def dropped_by_a_jump(x: Any) -> Any:
    for _ in range(2):
        try:
            log_of(x[0])
        finally:
            break  # noqa: B012
    return x[1]


class Row:
    def __init__(self, x: Any) -> None:
        self.x = x

    def __getitem__(self, k: int) -> Any:
        if k > 1 or self.x[k] > 2:
            raise IndexError
        return self.x[k]


def answer_of_a_method(x: Any) -> Any:
    return sum(Row(x))


CAUGHT = [caught_by_a_caller, suppressed, dropped_by_a_jump, answer_of_a_method]


@pytest.mark.parametrize("f", CAUGHT, ids=lambda f: f.__name__)
def test_what_is_caught_is_no_check(f: Any) -> None:
    graph = sg.trace(f, POINTS[0])
    assert not graph.failures
    for x in POINTS:
        np.testing.assert_allclose(graph.evaluate(x), f(x), rtol=1e-13)


def test_exceptions_that_nobody_catches_pass_other_handlers() -> None:
    def f(x: Any) -> Any:
        try:
            with np.errstate(all="ignore"):
                return functools.reduce(lambda a, v: a * log_of(v), [x[0], x[1]], 1.0)
        except ZeroDivisionError:
            return 0.0

    graph = sg.trace(f, POINTS[0])
    np.testing.assert_allclose(graph.evaluate(POINTS[0]), np.log(1.3) * np.log(0.7))
    with pytest.raises(Own):
        graph.evaluate(POINTS[2])


def test_rounds_that_need_each_other_for_checks_alone_are_no_loop() -> None:
    graph = sg.trace(rounds_apart, POINTS[0])
    assert not any(n.name == "scan" for n in graph.nodes)
    c = sg.compile(sg.grad(rounds_apart), POINTS[0])
    np.testing.assert_allclose(c(POINTS[0])[1], np.sum((1.3 - 0.01 * np.arange(12)) ** 2))
    with pytest.raises(AssertionError, match="in a round"):
        c(POINTS[4])


def test_jit_follows_what_decides() -> None:
    assert sg.jit(else_raises)(POINTS[0]) == pytest.approx(1.3 * 0.7)


@pytest.mark.parametrize("loops", [8, 40])
def test_checks_of_loops_that_follow_each_other(loops):
    """One after the other, each was looked at twice for each behind it; 40 are one loop around one.

    There the loop inside gets what was checked in earlier rounds.
    """

    def f(x):
        for _ in range(loops):
            n = 0
            while x > 1.0:
                assert n < 50, "too large"
                x, n = x / 2, n + 1
            x = (2 * x + 3) / 2
        return x

    # Linear between points where a loop has a round more; fractions are exact.
    slope = float((f(Fraction(3) + Fraction(1, 2**99)) - f(Fraction(3))) * 2**99)
    compiled = sg.compile(sg.value_and_grad(f), sg.f64)
    assert compiled(3.0) == pytest.approx((f(3.0), slope), rel=1e-14)
    with pytest.raises(AssertionError, match="too large"):
        compiled(1e300)
