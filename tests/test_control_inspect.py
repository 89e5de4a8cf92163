"""Loops and switches for readers: listing, formulas, SymPy, Graphviz, cost."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

import symgrad as sg
from symgrad.errors import UnsupportedError


def forward(log_a, e):
    def step(alpha, row):
        return np.log(np.sum(np.exp(alpha[:, None] + log_a), axis=0)) + row, None

    return np.sum(sg.scan(step, np.zeros(3), e)[0])


def decides(x):
    y = sg.cond(x > 0, lambda x: np.log(x) / x, np.exp, x)
    return sg.while_loop(lambda s: s < 10, lambda s: s * s + y, y, max_steps=7)


def test_listing():
    graph = sg.trace(sg.grad(forward), sg.f64[3, 3], sg.f64[5, 3]).simplify()
    text = str(graph)
    assert "scan of 5 rounds with c1 = log_a, s1 = full((3,), 0), x1 in e:" in text
    assert "    s1, y1 = x1 + logsumexp(t1, axis=0), softmax(t1, axis=0)" in text
    assert "scan of 5 rounds backwards" in text and "s1, s2 = x1 @ s1, s2 + x1 * s1" in text
    text = str(sg.trace(decides, 1.0).simplify())
    for line in (
        "t1 = switch(int64(x > 0)) with p1 = x:", "    0:", "      return exp(p1)",
        "t2 = while, at most 7 rounds, with c1 = t1.r1, s1 = t1.r1:", "    while s1 < 10",
        "    s1 = c1 + s1 ** 2", "return out=t2.s1",
    ):  # fmt: skip
        assert line in text


def test_formulas_name_loops():
    graph = sg.trace(decides, 1.0).simplify()
    assert graph.formula() == (
        "out = while(s, s, rounds=7, result=s1)\n  where s = switch([x > 0], x, result=r1)"
    )
    assert r"\operatorname{while}" in graph.latex()
    assert "while of 7 rounds" in graph.to_dot()


def test_sympy():
    x = sympy.Symbol("x", real=True)

    def f(x):
        side = sg.cond(x > 0, lambda x: np.log(x), lambda x: 2 * x, x)
        last, ys = sg.scan(lambda s, r: (s * x + r, s), x, np.arange(1.0, 4.0), reverse=True)
        return side + last + ys[0]

    def plain(x):
        s, ys = x, {}
        for t in (2, 1, 0):
            s, ys[t] = s * x + t + 1, s
        return s + ys[0]

    got = sg.trace(f, 1.0).to_sympy()
    assert sympy.expand(got.subs(x, 2) - sympy.log(2) - plain(2)) == 0
    assert sympy.expand(got.subs(x, -2) + 4 - plain(-2)) == 0
    with pytest.raises(UnsupportedError, match="while.*not known"):
        sg.trace(decides, 1.0).to_sympy()
    with pytest.raises(UnsupportedError, match="loop of 9000 rounds"):
        sg.trace(lambda x: sg.fori_loop(0, 9000, lambda i, s: s * x, x), 1.0).to_sympy()


def test_cost_counts_rounds():
    one, five = (sg.trace(forward, sg.f64[3, 3], sg.f64[n, 3]).simplify().cost() for n in (2, 10))
    last = 3  # the sum behind the loop
    assert five.flops - last == 5 * (one.flops - last)
    assert five.transcendental == 10 * (9 + 3) and five.kept == 0
    gradient = sg.trace(sg.grad(forward), sg.f64[3, 3], sg.f64[10, 3]).simplify().cost()
    assert gradient.kept == 10 * 9 * 8  # the weights of each round
    assert "bytes kept of rounds" in str(gradient)
    sides = sg.trace(lambda x: sg.cond(x > 0, np.exp, lambda x: x / 2, x), 1.0).cost()
    assert sides.transcendental == 1 and "divide" not in sides.by_op
