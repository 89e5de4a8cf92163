"""Jumps out of loops: in an `else` behind a loop, and those that only a later round can take.

Each function runs in plain Python with numbers, and with dual numbers for its derivative.
"""

# ruff: noqa: B007 (loops that count)
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import symgrad as sg
from support.dual import Dual

POINTS = [3.0, 0.5, 7.0, -1.0, 1.2]


def agree(f: Callable[..., float], points: list[float] | None = None) -> None:
    value, slope = sg.trace(f, 1.0), sg.trace(sg.grad(f), 1.0)
    for t in points or POINTS:
        want = f(Dual(t, 1.0))
        assert value.evaluate(t) == pytest.approx(f(t), rel=1e-12), t
        assert slope.evaluate(t) == pytest.approx(getattr(want, "slope", 0.0), rel=1e-12), t


# ---- behind jumps that may be made: the else of a loop, what follows in a block ------------------


def on_with_the_outer_loop(t):
    n = 0
    while n < 3:
        n += 1
        for k in range(3):
            if n > 6:
                break
        else:
            continue
        break
    return n * t


def on_with_the_outer_for(t):
    n = 0
    for n in range(1, 4):
        for k in range(3):
            if n > 6:
                break
        else:
            continue
        break
    return n * t


def traced_inner_break(t):
    n = 0
    for n in range(1, 4):
        for k in range(3):
            if t > 6:
                break
        else:
            continue
        break
    return n * t


def else_assigns_and_goes_on(t):
    n = 0
    for n in range(1, 4):
        for k in range(3):
            if n * k > 3:
                break
        else:
            n = n * 10
            continue
        break
    return n * t


def inner_while(t):
    n = 0
    for n in range(1, 4):
        k = 0
        while k < 3:
            k += 1
            if n * k > 5:
                break
        else:
            continue
        break
    return n * t + k


def sums_until(t):
    n, s = 0, 0.0
    for n in range(1, 10):
        for k in range(10):
            s += t
            if s > 60:
                break
        else:
            continue
        break
    return n * t + k


def while_around_for(t):
    n, s = 0, 0.0
    while n < 9:
        n += 1
        for k in range(10):
            s += t
            if s > 60:
                break
        else:
            s += 1
            continue
        s = s * 2
        break
    return n * t + k + s


def late_inner_break(t):
    n, s = 0, 0.0
    while n < 9:
        n += 1
        for k in range(10):
            s += t
            if n > 4 and s > 60:
                break
        else:
            continue
        break
    return n * t + k + s


def return_behind(t):
    n, s = 0, 0.0
    while n < 3:
        n += 1
        for k in range(3):
            if n > 6 and t > 20:
                break
        else:
            continue
        return -t
    return n * t + k + s


def two_decisions(t):
    n = 0
    while n < 3:
        n += 1
        for k in range(3):
            if n > 6:
                if t > 20:
                    break
        else:
            continue
        break
    return n * t


def else_returns(t):
    for k in range(3):
        if t > k + 5:
            break
    else:
        return t * 100
    return t + k


def while_else_returns(t):
    k = 0
    while k < 3:
        k += 1
        if t > k + 5:
            break
    else:
        return t * 100
    return t + k


def else_returns_from_two_loops(t):
    for n in range(4):
        for k in range(3):
            if t > k + 5:
                break
        else:
            return t * 100 + n
        t = t + 1
    return t


def else_of_else(t):
    s = 0.0
    for n in range(4):
        for k in range(3):
            if t > k + n + 2:
                break
        else:
            for j in range(3):
                if t > 1 + j:
                    break
                s += t
            else:
                s += 5
                continue
            s -= 1
            break
        s += k
    else:
        s = s * 3
    return s + n * 10


def try_else_breaks(t):
    s = 0.0
    for n in range(4):
        try:
            if t > n + 1:
                raise ValueError
        except ValueError:
            s += 1
        else:
            break
        s += t
    return s + n


def in_try_finally(t):
    s = 0.0
    for n in range(4):
        try:
            for k in range(3):
                if t * k > n + 1:
                    break
            else:
                continue
        finally:
            s += 100
        s += t
        break
    return s + n


def in_with(t):
    s = 0.0
    for n in range(4):
        with np.errstate(all="ignore"):
            for k in range(3):
                if t * k > n + 1:
                    break
            else:
                break
        s += t
    return s + n


def inner_return(t):
    s = 0.0
    for n in range(4):
        for k in range(3):
            if t * k > n + 1:
                return t * k
        break
    return s + n


def else_breaks(t):
    s = 0.0
    for n in range(9):
        for k in range(9):
            if t * k > n + 4:
                break
        else:
            if n > 3:
                continue
            s += 1
            if n == 2:
                break
        s += t * k
    return s + n


def in_a_helper(t):
    def inner(n):
        for k in range(4):
            if t * k > n:
                break
        else:
            return -1.0
        return k * t

    return sum(inner(n) for n in range(5))


def primes(t):
    # primes style
    c, s = 0, 0.0
    for n in range(2, 12):
        for k in range(2, n):
            if n % k == 0 and t > 0:
                break
        else:
            c += 1
            s += n * t
            if s > 20 * t:
                break
            continue
        s += 0.5
    return s + c + n


def return_behind_continue(t):
    b, n = 1.0 - t, 3
    for _ in range(3):
        if n < 5 or b < t:
            n += 1
            continue
        return b * 2
    return 10 * b + 100 * n


def ends_on_both_sides(t):
    count = 0
    while count < 9:
        count += 1
        if t > 1.3:
            break
        elif count == 5:
            never = 0  # noqa: F841
        break
    return count * t


def ends_on_both_sides_and_computes(t):
    a, b, count = 0.3 * t, 1.0 - t, 0
    while count < 9:
        count += 1
        if t > 1.3 or a + b < t:
            for _ in range(2):
                b = max(a, b) * 0.9
            break
        elif count % 2 == 0:
            b = max(a, b) * 0.9
        break
    return a + 10 * b


BEHIND = [
    return_behind_continue,
    ends_on_both_sides,
    ends_on_both_sides_and_computes,
    on_with_the_outer_loop,
    on_with_the_outer_for,
    traced_inner_break,
    else_assigns_and_goes_on,
    inner_while,
    sums_until,
    while_around_for,
    late_inner_break,
    return_behind,
    two_decisions,
    else_returns,
    while_else_returns,
    else_returns_from_two_loops,
    else_of_else,
    try_else_breaks,
    in_try_finally,
    in_with,
    inner_return,
    else_breaks,
    in_a_helper,
    primes,
]


@pytest.mark.parametrize("f", BEHIND, ids=lambda f: f.__name__)
def test_behind_jumps_that_may_be_made(f):
    agree(f)


# ---- which only a later round can take -----------------------------------------------------------


def breaks(most, first):
    def f(t):
        n = 0
        while n < most:
            n += 1
            t = t * 1.5
            if t > 2 and n > first:
                break
        return t * n

    return f


def returns(most, first):
    def f(t):
        n = m = 0
        while n < most:
            n += 1
            if t > 2:
                if n > first:
                    return t * n + m
            m += n
        else:
            m = m * 100
        return -t * n + m

    return f


def goes_on(most, first):
    def f(t):
        n, s = 0, 0.0
        while True:
            n += 1
            if n > most:
                break
            t = t * 1.1
            if n > first and t > 2:
                break
            if n % 2:
                continue
            s += t
        return s + n + t

    return f


def loops_in_loops(most, first):
    def f(t):
        s, n = 0.0 * t, 0
        while n < most:
            n += 1
            m = 0
            while m < most:
                m += 1
                if m > first and t * m > 4:
                    break
                s += t
            if n > first and s > 9:
                break
        return s + n * 10

    return f


def lists_grow(most, first):
    def f(t):
        n, items = 0, []
        while n < most:
            items.append(t * n)
            n += 1
            if n >= first and t > 1:
                break
        return sum(items) + n

    return f


def raises(most, first):
    def f(t):
        n, held = 0, {"sum": 0.0 * t}
        while n < most:
            held["sum"] += t
            n += 1
            try:
                if n >= first and held["sum"] > 4:
                    raise KeyError
            except KeyError:
                break
        return held["sum"] + n

    return f


def unlike_rounds(most, first):
    """What no round can stand for."""

    def f(t):
        n, text, s = 0, "", 0.0
        while n < most:
            n += 1
            text += "b"
            s += t
            if n >= first:
                s *= 2
                if t > 1:
                    break
        return n * t + len(text) + s

    return f


def tuples_grow(most, first):
    def f(t):
        n, items = 0, ()
        while n < most:
            n += 1
            items = (*items, t)
            if n > first and t > 2:
                break
        return n * t + len(items)

    return f


LATE = [breaks, returns, goes_on, loops_in_loops, lists_grow, raises, unlike_rounds, tuples_grow]


@pytest.mark.parametrize("make", LATE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("most", [3, 5, 8, 12])
def test_a_jump_that_only_a_later_round_can_take(make, most):
    for first in (0, 1, 2, 3, 4, 6, 9):
        agree(make(most, first), [3.0, 0.3, 1.3, -1.0])


def test_compiled():
    for f in (breaks(12, 6), else_returns, traced_inner_break, primes):
        run = sg.jit(sg.value_and_grad(f))
        for t in POINTS:
            np.testing.assert_allclose(run(t), (f(t), f(Dual(t, 1.0)).slope), rtol=1e-12)
