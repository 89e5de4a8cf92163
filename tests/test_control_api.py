"""cond, switch, while_loop, fori_loop, scan, map, checkpoint: against `jax.lax`, plain Python."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
import symgrad.tree
from symgrad.errors import (
    DtypeError,
    LoopLimitError,
    ShapeError,
    StructureError,
)
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.ops.control import bodies

jax.config.update("jax_enable_x64", True)


def graph_of(f, *args):
    return sg.trace(f, *args).simplify()


def value(f, *args):
    """The result computed with NumPy, without C."""
    return graph_of(f, *args).evaluate(*args)


def same(got, want, rtol=1e-11):
    got, want = sg.tree.flatten(got)[0], jax.tree.leaves(want)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=rtol, atol=1e-12)


# ---- the same function in both ------------------------------------------------------------------


def decays(xp, lax, x, w):
    def step(carry, row):
        m, n = carry["m"], carry["n"]
        m = xp.tanh(w * m + row["a"])
        return {"m": m, "n": n + 1}, (m * row["b"], n)

    rows = {"a": xp.arange(6.0).reshape(3, 2), "b": xp.arange(3.0)}
    last, ys = lax.scan(step, {"m": x, "n": 0}, rows)
    return xp.sum(last["m"]) + xp.sum(ys[0]) + 0.0 * xp.sum(ys[1])


def decides(xp, lax, x, w):
    return lax.cond(xp.sum(x) > 1, lambda x: xp.log(xp.sum(x)) * w, lambda x: xp.sum(x * x) + w, x)


def chooses(xp, lax, x, w):
    sides = [lambda x: xp.sin(x) * w, lambda x: x, lambda x: x * xp.exp(w)]
    return xp.sum(lax.switch(2, sides, x)) + xp.sum(
        lax.switch(xp.where(xp.sum(x) > 0, 1, 0), sides, x)
    )


def counts(xp, lax, x, w):
    return xp.sum(lax.fori_loop(2, 6, lambda i, v: xp.sin(v) * w + i, x))


def maps(xp, lax, x, w):
    return xp.sum(lax.map(lambda v: xp.exp(v) * w + xp.sum(x), x))


def nests(xp, lax, x, w):
    def inner(s, r):
        return lax.cond(r > 1, lambda s: s * r, lambda s: s + w, s), s

    def outer(s, row):
        last, ys = lax.scan(inner, s, row * w)
        return last, xp.sum(ys)

    last, ys = lax.scan(outer, xp.sum(x), xp.arange(6.0).reshape(2, 3))
    return last + xp.sum(ys)


BOTH = [decays, decides, chooses, counts, maps, nests]
AT = [(np.array([0.3, -0.2]), 0.7), (np.array([1.3, 0.9]), 1.1)]


@pytest.mark.slow
@pytest.mark.parametrize("f", BOTH, ids=lambda f: f.__name__)
def test_as_in_jax(f):
    mine = lambda x, w: f(np, sg, x, w)  # noqa: E731
    theirs = lambda x, w: f(jnp, jax.lax, x, w)  # noqa: E731
    for x, w in AT:
        right = jax.jit(theirs)(x, w)
        same(value(mine, x, w), right)
        same(mine(x, w), right)  # plain Python
        same(value(sg.grad(mine, (0, 1)), x, w), jax.jit(jax.grad(theirs, (0, 1)))(x, w))
    same(value(sg.jacfwd(mine), x, w), jax.jit(jax.jacfwd(theirs))(x, w))
    same(value(sg.hessian(mine), x, w), jax.jit(jax.hessian(theirs))(x, w))
    batch = np.stack([x, x[::-1], -x])
    gradients = sg.vmap(sg.value_and_grad(mine), (0, None))
    wanted = jax.jit(jax.vmap(jax.value_and_grad(theirs), (0, None)))
    same(value(gradients, batch, w), wanted(batch, w))


@pytest.mark.slow
def test_compiled():
    for f in BOTH:
        x, w = AT[1]
        want = jax.value_and_grad(lambda x: f(jnp, jax.lax, x, w))(x)  # noqa: B023
        same(sg.value_and_grad(lambda x: f(np, sg, x, w))(x), want)  # noqa: B023


# ---- while --------------------------------------------------------------------------------------


def root(a, max_steps=None):
    return sg.while_loop(lambda x: abs(x * x - a) > 1e-12, lambda x: (x + a / x) / 2, a,
                         max_steps=max_steps)  # fmt: skip


def test_while(monkeypatch):
    assert root(4.0) == pytest.approx(2.0)  # plain Python
    same(value(root, 4.0), 2.0)
    same(value(sg.jacfwd(root), 4.0), 0.25)
    same(value(sg.grad(lambda a: root(a, 40)), 4.0), 0.25)
    same(value(sg.vmap(root), np.array([4.0, 9.0, 1.0])), np.array([2.0, 3.0, 1.0]))
    same(value(sg.grad(root), 4.0), 0.25)  # with room for 10,000 rounds
    endless = sg.grad(lambda x: sg.while_loop(lambda s: s > 0, lambda s: s + x, x))
    monkeypatch.setenv("SYMGRAD_TAPE_MB", "1")
    with pytest.raises(LoopLimitError, match="max_steps="):
        endless(1.0)
    for run in (lambda a: root(a, 2), lambda a: value(lambda a: root(a, 2), a)):
        with pytest.raises(LoopLimitError):
            run(400.0)


@pytest.mark.slow
def test_traced_bounds():
    def f(n, x):
        return sg.fori_loop(0, n, lambda i, s: s * x + i, 1.0, max_steps=10)

    for n in (0, 1, 3):
        want = 1.0
        for i in range(n):
            want = want * 2.0 + i
        same(value(f, n, 2.0), want)
        theirs = lambda x, n=n: jax.lax.fori_loop(0, n, lambda i, s: s * x + i, 1.0)  # noqa: B023, E731
        same(value(sg.grad(f, 1), n, 2.0), jax.grad(theirs)(2.0))


# ---- what is captured, and types ----------------------------------------------------------------


def test_dtypes_of_the_carry_are_promoted():
    def f(x):
        total, _ = sg.scan(lambda s, r: (s + r * x, None), 0, np.arange(4.0))
        return total

    same(value(f, 0.5), 3.0)
    same(value(sg.grad(f), 0.5), 6.0)
    same(value(lambda x: sg.fori_loop(0, 3, lambda i, s: (s[1], s[0] + x), (1, 0)), 0.5), (0.5, 2))


@pytest.mark.parametrize("last", [4, "traced"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_number_of_a_round_is_an_int_of_pythons(dtype, last):
    """As in ``for i in range(1, 4)``: beside float32 it is float32."""
    bodies = [
        lambda i, c: c * i, lambda i, c: c / i, lambda i, c: c + c**i, lambda i, c: c * (-1) ** i,
        lambda i, c: c // i + c % i + i / 2 + i // 2, lambda i, c: np.where(i > 1, c * i, c),
        lambda i, c: c + np.full(3, i, c.dtype) + c[i % 3],
    ]  # fmt: skip
    x = np.array([0.3, 1.7, 1.2], dtype)
    for body in bodies:
        want = x
        for i in range(1, 4):
            want = body(i, want)
        run = sg.jit(lambda x, n, f=body: sg.fori_loop(1, n if last == "traced" else 4, f, x))
        got = run(x, 4)
        assert got.dtype == want.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=1e-6 if dtype == "float32" else 1e-14)


def test_a_loop_is_one_node_however_long_it_is():
    def f(x, n):
        return sg.scan(lambda s, _: (np.sin(s) * x, None), x, None, length=n)[0]

    sizes = {len(graph_of(sg.grad(lambda x, n=n: f(x, n)), 0.5).nodes) for n in (50, 1000)}
    assert len(sizes) == 1


def test_no_rounds():
    empty = np.zeros((0, 2))
    for run in (lambda f, *a: f(*a), value):
        carry, ys = run(lambda x: sg.scan(lambda s, r: (s + r, s * 2), x, empty), np.ones(2))
        same((carry, ys), (np.ones(2), np.zeros((0, 2))))


def test_reverse():
    def f(lax, xp, xs):
        return lax.scan(lambda s, x: (s * 0.5 + x, s), 1.0, xs, reverse=True)

    xs = np.arange(4.0)
    same(value(lambda xs: f(sg, np, xs), xs), f(jax.lax, jnp, xs))
    same(f(sg, np, xs), f(jax.lax, jnp, xs))


CARRIES = [
    (ShapeError, "value 0 of the carry has shape", lambda x: sg.scan(
        lambda s, r: (s * x, None), 1.0, np.arange(3.0))),
    (StructureError, "structure", lambda x: sg.scan(
        lambda s, r: ((s, s), None), x, np.arange(3.0))),
    (StructureError, r"returns \(carry, y\)", lambda x: sg.scan(
        lambda s, r: s, x, np.arange(3.0))),
]  # fmt: skip


@pytest.mark.parametrize(
    "error, match, f",
    [
        *CARRIES,
        (ShapeError, "how many rounds", lambda x: sg.scan(lambda s, r: (s, r), x)),
        (ShapeError, "how many rounds", lambda x: sg.scan(
            lambda s, r: (s, r), x, (np.arange(3.0), np.arange(4.0)))),
        (ShapeError, "np.where", lambda x: sg.cond(x > 0, np.sin, np.cos, x)),
        (StructureError, "different structures", lambda x: sg.cond(
            x[0] > 0, lambda x: (x, x), lambda x: x, x)),
        (ShapeError, "equal shapes", lambda x: sg.cond(
            x[0] > 0, lambda x: x, lambda x: x[0], x)),
        (DtypeError, "bool", lambda x: sg.while_loop(np.sum, lambda x: x, x)),
        (ShapeError, "one bool scalar", lambda x: sg.while_loop(lambda x: x > 0, np.sin, x)),
        (DtypeError, "integer scalar", lambda x: sg.switch(x[0], [np.sin, np.cos], x)),
        (StructureError, "no branches", lambda x: sg.switch(0, [], x)),
    ],
)  # fmt: skip
def test_refused(error, match, f):
    with pytest.raises(error, match=rf"test_control_api.py:\d+: .*{match}"):
        sg.trace(f, np.ones(3))


@pytest.mark.parametrize(
    "error, match, f",
    [
        *CARRIES,
        (ShapeError, "value 0 of the carry", lambda x: sg.fori_loop(
            0, 3, lambda k, s: np.concatenate([s, s]), x)),
        (ShapeError, "value 0 of the carry", lambda x: sg.while_loop(
            lambda s: len(s) < 99, lambda s: np.concatenate([s, s]), x)),
    ],
)  # fmt: skip
def test_plain_values_are_refused_alike(error, match, f):
    with pytest.raises(error, match=rf"test_control_api.py:\d+: .*{match}"):
        f(np.ones(3))


# ---- checkpoint ---------------------------------------------------------------------------------


def stacked_bytes(graph):
    """Elements that scans stack for other scans."""
    return sum(n.size for n in toposort(graph.outs) if n.op.kind is Kind.ITEM and n.ndim)


@pytest.mark.slow
def test_checkpoint_keeps_nothing_of_a_round():
    def inner(s, r):
        return np.tanh(np.exp(np.sin(s) * r) + np.log(2 + s * s))

    def f(x, g):
        return sg.scan(lambda s, r: (g(s, r), None), x, np.arange(1.0, 9.0))[0]

    plain = lambda x: f(x, inner)  # noqa: E731
    again = lambda x: f(x, sg.checkpoint(inner))  # noqa: E731
    assert again(0.3) == plain(0.3)
    kept = [stacked_bytes(graph_of(sg.grad(g), 0.3)) for g in (plain, again)]
    assert kept[1] == 8 < kept[0]
    want = jax.grad(lambda x: jax.lax.scan(
        lambda s, r: (jnp.tanh(jnp.exp(jnp.sin(s) * r) + jnp.log(2 + s * s)), None), x,
        jnp.arange(1.0, 9.0))[0])  # fmt: skip
    for g in (plain, again):
        same(value(sg.grad(g), 0.3), want(0.3))
        same(value(sg.grad(sg.grad(g)), 0.3), jax.grad(want)(0.3), rtol=1e-9)
        same(sg.grad(g)(0.3), want(0.3))
    lowered = sg.trace(again, 0.3).lowered_outs()
    assert all(not b.nodes or n.name == "scan" for n in toposort(lowered)
               if n.op.kind is Kind.CONTROL for b in bodies(n))  # fmt: skip


def test_rounds_may_decide_as_python_does():
    """An `if` in a round is a branch of its own."""

    def step(s, r):
        if r > 1.5:
            s = s * np.sin(r)
        return s, s

    def f(x):
        return np.sum(sg.scan(step, x, np.arange(4.0))[1]) * x

    factor = 2 + np.sin(2) + np.sin(2) * np.sin(3)
    same(value(f, 0.5), factor * 0.25)
    same(value(sg.grad(f), 0.5), factor)
    same(value(sg.hessian(f), 0.5), 2 * factor)
