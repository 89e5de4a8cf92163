"""One round stands for all: loops by the functions that rewritten code calls, without rewriting.

The same functions run in plain Python where nothing is traced; that is the oracle.
"""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.trace.source.loops import for_, while_
from symgrad.trace.source.places import UNDEFINED, State
from symgrad.trace.state import is_tracing

N = 20
Y = np.random.default_rng(0).random(N)
THETA = np.array([0.5, 0.2, 0.9])


class Names(dict):
    """The variables of a function, by name, as the state that a loop assigns."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__

    def state(self, *names):
        def put(values):
            for name, value in zip(names, values, strict=True):
                self[name] = value

        return State(lambda: tuple([self.get(n, UNDEFINED) for n in names]), put)


def loop(values, body, state):
    if is_tracing():
        for_(values, body, state)
    else:
        for value in values:
            body(value)


def loop_while(test, body, state):
    if is_tracing():
        while_(test, body, state)
    else:
        while test():
            body()


def carried_number(th):
    v = Names(s=0.0)

    def body(t):
        v.s = v.s * th[0] + Y[t] * th[1]

    loop(range(N), body, v.state("s"))
    return v.s


def carried_array(th):
    v = Names(m=np.zeros(3))

    def body(y):
        v.m = np.tanh(v.m * th + y)

    loop(Y, body, v.state("m"))
    return np.sum(v.m)


def several(th):
    v = Names(a=1.0, b=th[0])

    def body(t):
        v.a, v.b = v.b, v.a * 0.5 + v.b * th[1] + Y[t]

    loop(range(N), body, v.state("a", "b"))
    return v.a + v.b


def int_becomes_float(th):
    v = Names(s=0, k=0)

    def body(y):
        v.s = v.s + y * th[0]
        v.k += 2

    loop(Y, body, v.state("s", "k"))
    return v.s * v.k


def first_round_differs(th):
    v = Names(previous=None, s=0.0)

    def body(y):
        if v.previous is not None:
            v.s = v.s + (y - v.previous) ** 2 * th[0]
        v.previous = y * th[1]

    loop(list(Y), body, v.state("previous", "s"))
    return v.s


def number_becomes_array(th):
    v = Names(s=0.0)

    def body(y):
        v.s = v.s * 0.5 + y * th

    loop(Y, body, v.state("s"))
    return np.sum(v.s**2)


def inside_only(th):
    """`u` is a variable of the loop; what it was last is used behind."""
    v = Names(s=0.0)

    def body(y):
        v.u = y * th[0]
        v.s = v.s * th[1] + np.sin(v.u)

    loop(Y, body, v.state("u", "s"))
    return v.s + v.u


def fills(th):
    z = np.zeros(N)
    z[0] = th[2]
    v = Names()

    def body(t):
        z[t] = z[t - 1] * th[0] + th[1] * Y[t]

    loop(range(1, N), body, v.state())
    return np.sum(z * Y)


def fills_rows(th):
    z = np.zeros((N, 3))
    v = Names()

    def body(t):
        z[t + 1] = z[t] * th + Y[t]
        z[t + 1, 0] = 2 * z[t + 1, 1]

    z[0] = th
    loop(range(N - 1), body, v.state())
    return np.sum(z**2)


def adds_to_array(th):
    z = np.zeros(3)
    alias = z
    v = Names()

    def body(y):
        nonlocal z
        z += th * y
        z[0] *= 0.5

    loop(Y, body, v.state())
    return np.sum(alias * th)


def appends(th):
    out = [th[0]]
    v = Names()

    def body(y):
        out.append(out[-1] * 0.5 + y * th[1])

    # Rewritten code tells the journal; here the list is told by hand.
    from symgrad.trace import journal

    def told(y):
        journal.note_container(out)
        body(y)

    loop(Y, told if is_tracing() else body, v.state())
    return out[0] * out[1] + out[7] + out[-1] + sum(out)


def appends_without_reading(th):
    out, v = [], Names(s=0.0)
    from symgrad.trace import journal

    def body(y):
        v.s = v.s * th[0] + y
        if is_tracing():
            journal.note_container(out)
        out.append(v.s)

    loop(Y, body, v.state("s"))
    return np.sum(np.stack(out) ** 2) if is_tracing() else np.sum(np.array(out) ** 2)


def zipped(th):
    v = Names(s=1.0)
    from symgrad.trace.source.walks import enumerate_, reversed_, zip_

    def body(item):
        k, (a, b) = item
        v.s = v.s * a + b * th[0] + 0.01 * k

    if is_tracing():
        loop(enumerate_(zip_(Y, reversed_(Y)), 1), body, v.state("s"))
    else:
        loop(enumerate(zip(Y, reversed(Y), strict=True), 1), body, v.state("s"))
    return v.s


def nested(th):
    v = Names(s=1.0)

    def outer(t):
        def inner(j):
            v.s = v.s * th[0] + Y[j] * Y[t]

        loop(range(N), inner, v.state("s"))
        v.s = np.sin(v.s)

    loop(range(N), outer, v.state("s"))
    return v.s


def halves(th):
    """A number of rounds that the data decide."""
    v = Names(x=th[0] * 100, k=0)

    def body():
        v.x = v.x / 2 + 0.1 * th[1]
        v.k += 1

    loop_while(lambda: v.x > 1.0, body, v.state("x", "k"))
    return v.x + v.k


def counted(th):
    v = Names(i=0, s=1.0)

    def body():
        v.s = v.s * th[0] + Y[v.i]
        v.i += 2

    loop_while(lambda: v.i < N - 1, body, v.state("i", "s"))
    return v.s * v.i


def newton(th):
    v = Names(x=1.0 + th[0], k=0)

    def body():
        v.x = v.x - (v.x**2 - 2 * th[1] - 1) / (2 * v.x)
        v.k += 1

    loop_while(lambda: np.abs(v.x**2 - 2 * th[1] - 1) > 1e-9, body, v.state("x", "k"))
    return v.x


ONE_LOOP = [
    carried_number, carried_array, several, number_becomes_array, inside_only,
    fills, fills_rows, appends, appends_without_reading, zipped, nested, counted,
]  # fmt: skip
NONE = [adds_to_array, first_round_differs, int_becomes_float]


@pytest.mark.parametrize("f", [*ONE_LOOP, *NONE])
def test_as_in_python(f):
    graph = sg.trace(f, THETA)
    np.testing.assert_allclose(graph.evaluate(THETA), f(THETA), rtol=1e-13)
    assert len(graph.nodes) < 100, "rounds are written out"
    gradient = sg.grad(f)(THETA)
    near = [f(THETA + h) - f(THETA - h) for h in 1e-6 * np.eye(3)]
    np.testing.assert_allclose(gradient, np.array(near) / 2e-6, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("f", [halves, newton])
def test_as_many_rounds_as_the_data_decide(f):
    compiled = sg.compile(f, THETA)
    for scale in (1.0, 0.1, 3.0):
        x = THETA * scale
        np.testing.assert_allclose(compiled(x), f(x), rtol=1e-13)
        np.testing.assert_allclose(compiled.graph.evaluate(x), f(x), rtol=1e-13)


@pytest.mark.parametrize("f", ONE_LOOP)
def test_there_is_one_loop(f):
    loops = [n for n in toposort(sg.trace(f, THETA).outs) if n.op.kind is Kind.CONTROL]
    assert 1 <= len(loops) <= 2
