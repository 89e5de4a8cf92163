"""Derivatives and batches of loops and switches, against JAX's, evaluated with NumPy."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from symgrad.diff import modes
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import FLOATS, Expr, arg, bind, const
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.ops.body import Body, scan, switch, while_loop
from symgrad.simplify import simplify

jax.config.update("jax_enable_x64", True)

LENGTHS = [0, 3, 7]


def body(f: Callable[..., Any], *types: Any) -> Body:
    """The body of a function of arrays; a type is a shape, or (shape, dtype)."""
    pairs = [t if t and isinstance(t[-1], str) else (t, "float64") for t in types]
    graph = sg.trace(f, *[sg.Spec(dtype, shape) for shape, dtype in pairs])
    return Body.close(graph.args, graph.outs)


@dataclass
class Loop:
    """A round `f(xp, *consts, *carry, *xs)` → (carry…, ys…); shapes of a row for xs."""

    name: str
    f: Callable[..., Any]
    consts: list[Any]
    carry: list[Any]
    xs: list[Any]

    def body(self) -> Body:
        return body(lambda *a: self.f(np, *a), *self.consts, *self.carry, *self.xs)

    def args(self, n: int) -> list[Expr]:
        types = [typed(t) for t in [*self.consts, *self.carry]]
        types += [((n, *s), d) for s, d in map(typed, self.xs)]
        return [arg(k, s, d) for k, (s, d) in enumerate(types)]

    def outs(self, args: list[Expr], n: int, **options: Any) -> list[Expr]:
        i, j = len(self.consts), len(self.consts) + len(self.carry)
        return scan(self.body(), args[:i], args[i:j], args[j:], n, **options)

    def jax(self, n: int, reverse: bool = False, count: int | None = None) -> Callable[..., Any]:
        """The loop written out: JAX would compile its own for each length and each derivative."""
        i, j = len(self.consts), len(self.consts) + len(self.carry)
        c = j - i
        shapes = self.body().outs[c:]

        def run(*args: Any) -> Any:
            carry, xs = args[i:j], args[j:]
            ys: list[Any] = [[jnp.zeros(y.shape)] * n for y in shapes]
            for t in range(n if count is None else count)[:: -1 if reverse else 1]:
                made = self.f(jnp, *args[:i], *carry, *[x[t] for x in xs])
                carry = made[:c]
                for stacked, y in zip(ys, made[c:], strict=True):
                    stacked[t] = y
            empty = [jnp.zeros((0, *y.shape)) for y in shapes]
            return [*carry, *([jnp.stack(y) for y in ys] if n else empty)]

        return run


def typed(t: Any) -> tuple[tuple[int, ...], str]:
    return t if t and isinstance(t[-1], str) else (t, "float64")


def _hmm(xp, log_a, alpha, e):
    new = xp.log(xp.sum(xp.exp(alpha[:, None] + log_a), axis=0)) + e
    return [new, xp.max(new)]


def _kalman(xp, a, q, m, p, ll, y):
    m, p = a @ m, a @ p @ a.T + q
    s = p[0, 0] + 0.5
    k = p[:, 0] / s
    r = y - m[0]
    return [m + k * r, p - xp.outer(k, p[0]), ll - 0.5 * (xp.log(s) + r * r / s)]


LOOPS = [
    Loop("decay", lambda xp, d, m, x: [m * d + x, m * m], [(3,)], [(3,)], [(3,)]),
    Loop("exp", lambda xp, w, h, x: [xp.tanh(w @ h + x)], [(2, 2)], [(2,)], [(2,)]),
    Loop("hmm", _hmm, [(3, 3)], [(3,)], [(3,)]),
    Loop("kalman", _kalman, [(2, 2), (2, 2)], [(2,), (2, 2), ()], [()]),
    Loop("garch", lambda xp, w, a, b, h, ll, x: [
        w * w + a * x * x + b * h, ll + xp.log(1 + h * h) + x * x / (1 + h * h)],
        [(), (), ()], [(), ()], [()]),
    Loop("map", lambda xp, c, x: [xp.exp(c * x), x * x], [()], [], [(2,)]),
    Loop("power", lambda xp, m, v: [v_ / xp.sqrt(xp.sum(v_ * v_))
                                    for v_ in [m @ v]], [(3, 3)], [(3,)], []),
    Loop("counter", lambda xp, c, i, s, x: [i + 1, s + c * x * i], [()], [((), "int64"), ()],
         [()]),
    Loop("shift", lambda xp, a, b, x: [b, xp.sin(a) * x, a * b], [], [(), ()], [()]),
    Loop("late", lambda xp, a, b, x: [xp.sin(a) + x, b + xp.exp(a), b], [], [(), ()], [()]),
    Loop("handed through", lambda xp, a, s, x: [a, s * a + x], [], [(), ()], [()]),
    Loop("forgets", lambda xp, a, x: [xp.exp(x), a * x], [], [()], [()]),
]  # fmt: skip


def sample(args: list[Expr], seed: str) -> list[np.ndarray]:
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    return [
        np.asarray(rng.normal(0.3, 0.4, a.shape), a.dtype) if a.dtype in FLOATS
        else np.asarray(1, a.dtype) for a in args
    ]  # fmt: skip


def close(got: Any, want: Any, what: str = "") -> None:
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-11, err_msg=f"{what} {k}")


def dense(exprs: list[Expr | None], like: list[Expr]) -> list[Expr]:
    return [modes.zeros_like(e) if x is None else x for x, e in zip(exprs, like, strict=True)]


def against_jax(
    outs: list[Expr], args: list[Expr], f: Callable[..., Any], seed: str, order: int = 2
) -> None:
    """Values, forward and reverse mode; of order 2 forward over reverse and reverse over reverse.

    All at once they are simplified too, with each rewrite checked.
    """
    floats = [a for a in args if a.dtype in FLOATS]
    values = sample(args, seed)
    given = dict(zip(args, values, strict=True))
    primal = list(given.items())
    keep = [k for k, o in enumerate(outs) if o.dtype in FLOATS]
    outs = [outs[k] for k in keep]

    def g(*x: Any) -> Any:
        full = iter(x)
        made = f(*[next(full) if a.dtype in FLOATS else v for a, v in primal])
        return [made[k] for k in keep]

    x = [given[a] for a in floats]
    rng = np.random.default_rng(7)
    dx = [rng.normal(size=a.shape) for a in floats]
    ct = [rng.normal(size=o.shape) for o in outs]
    gradient = lambda *x: jax.vjp(g, *x)[1](ct)  # noqa: E731

    def wanted(x: list[Any]) -> tuple[Any, ...]:
        second = lambda: (jax.jvp(gradient, x, dx)[1], jax.vjp(gradient, *x)[1](tuple(dx)))
        return g(*x), jax.jvp(g, x, dx)[1], gradient(*x), *(second() if order > 1 else ())

    # compiled whole: one operation after another takes longer
    found, along, back, *of_second = jax.jit(wanted)(x)
    close(evaluate(outs, given), found, "values")
    t = [arg(100 + k, a.shape, a.dtype) for k, a in enumerate(floats)]
    c = [arg(200 + k, o.shape, o.dtype) for k, o in enumerate(outs)]
    given |= dict(zip(t, dx, strict=True)) | dict(zip(c, ct, strict=True))
    pushed = dense(modes.jvp(outs, floats, t), outs)
    check(pushed)
    close(evaluate(pushed, given), along, "jvp")
    pulled = dense(modes.vjp(outs, floats, c), floats)
    check(pulled)
    close(evaluate(pulled, given), back, "vjp")
    if order < 2:
        return
    twice = dense(modes.jvp(pulled, floats, t), pulled)
    close(evaluate(twice, given), of_second[0], "jvp of vjp")
    s = [arg(300 + k, a.shape, a.dtype) for k, a in enumerate(floats)]
    given |= dict(zip(s, dx, strict=True))
    pulled_twice = dense(modes.vjp(pulled, floats, s), floats)
    every = [*outs, *pushed, *pulled, *twice, *pulled_twice]
    simpler = simplify(every)
    assert simpler.converged
    check(simpler.outs)
    close(evaluate(simpler.outs, given), evaluate(every, given), "simplified")
    close(evaluate(pulled_twice, given), of_second[1], "vjp of vjp")


@pytest.mark.sample(4)
@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)
def test_scan(loop):
    for n in LENGTHS:
        args = loop.args(n)
        order = 2 if n in (0, 3) else 1
        against_jax(loop.outs(args, n), args, loop.jax(n), f"{loop.name} {n}", order)


# Where no round or every round of 4 counts, these stand for the others: all kinds of operands, an
# integer that is carried, no carry, no ys, values of earlier rounds. All loops have counts of 2.
EVERY_COUNT = ("decay", "counter", "map", "power", "shift", "late")


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("count", [None, 0, 2, 4])
def test_scan_in_reverse_and_with_a_count(reverse, count):
    for loop in LOOPS:
        if count in (0, 4) and loop.name not in EVERY_COUNT:
            continue
        args = loop.args(4)
        counted = None if count is None else const(count, "int64")
        outs = loop.outs(args, 4, reverse=reverse, count=counted)
        order = 2 if loop.name in ("shift", "late") else 1
        against_jax(outs, args, loop.jax(4, reverse, count), f"{loop.name} {count}", order)


# ---- switch -------------------------------------------------------------------------------------


SIDES = [
    lambda xp, x, y: [xp.log(x) * xp.sum(y), y],
    lambda xp, x, y: [x * x, y * x],
    lambda xp, x, y: [x / xp.sum(y), xp.zeros_like(y)],
]


def switched(index: Expr, x: Expr, y: Expr) -> list[Expr]:
    bodies = [body(lambda *a, f=f: f(np, *a), (), (3,)) for f in SIDES]
    return switch(index, bodies, [x, y])


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.quick(1)
def test_switch(index):
    args = [arg(0, (), "float64"), arg(1, (3,), "float64")]
    outs = switched(const(index, "int64"), *args)
    against_jax(outs, args, lambda x, y: SIDES[index](jnp, x, y), f"switch {index}")


@pytest.mark.parametrize("index", [0, 1, 2])
def test_sides_that_are_not_taken_contribute_nothing(index):
    """log of a negative number and division by zero stand in the other sides."""
    i, x, y = arg(0, (), "int64"), arg(1, (), "float64"), arg(2, (3,), "float64")
    outs = switched(i, x, y)
    at = {i: np.int64(index), x: np.float64([2.0, -1.0, -1.0][index]),
          y: np.array([[1.0, -1, 0], [1, -1, 0], [1, 1, 1]][index])}  # fmt: skip
    one = [modes.zeros_like(o) + 1 for o in outs]
    ds = [modes.zeros_like(a) + 1 for a in (x, y)]
    pulled = dense(modes.vjp(outs, [x, y], one), [x, y])
    for exprs in (
        outs, modes.jvp(outs, [x, y], ds), pulled, modes.jvp(pulled, [x, y], ds),
        modes.vjp(pulled, [x, y], ds), modes.vjp(modes.jvp(outs, [x, y], ds), [x, y], one),
    ):  # fmt: skip
        assert all(np.isfinite(v).all() for v in evaluate([e for e in exprs if e], at))


def test_a_zero_of_the_other_side_does_not_meet_infinity():
    """√z at z = 0 is read by one side only: the derivative of the other is 0, not 0 · inf."""
    i, z = arg(0, (), "int64"), arg(1, (), "float64")
    root = bind("sqrt", z)
    (out,) = switch(i, [body(lambda r: r * 0 + 1.0, ()), body(lambda r: r + 1.0, ())], [root])
    (plain,) = switch(i, [body(lambda r: np.float64(1.0), ()), body(lambda r: r + 1.0, ())], [root])
    del out
    (pulled,) = modes.vjp([plain], [z], [const(1.0)])
    assert evaluate([pulled], {i: np.int64(0), z: np.float64(0)})[0] == 0
    assert evaluate([pulled], {i: np.int64(1), z: np.float64(4)})[0] == 0.25
    (once,) = switch(i, [body(lambda z: np.float64(0.0), ()), body(lambda z: z, ())], [z])
    (pushed,) = modes.jvp([bind("sqrt", once)], [z], [const(1.0)])
    assert evaluate([pushed], {i: np.int64(0), z: np.float64(5)})[0] == 0


def test_zeros_in_the_carry_do_not_meet_infinity():
    """The last rounds of √ are not read: their infinite derivatives multiply no zero."""
    loop = Loop("root", lambda xp, a, x: [xp.sqrt(a), a * x], [], [()], [()])
    args = loop.args(4)
    final, ys = loop.outs(args, 4)
    first = bind("slice", ys, attrs=((0,), (1,), (1,)))
    given = dict(zip(args, [np.float64(0.0), np.ones(4)], strict=True))
    (pulled,) = modes.vjp([first], args[:1], [const(1.0, shape=(1,))])
    assert evaluate([pulled], given)[0] == 1
    # forward: the start has no tangent, and the root is taken of it first
    loop = Loop("root", lambda xp, a, b, x: [b, xp.sqrt(a) + x], [], [(), ()], [()])
    args = loop.args(3)
    outs = loop.outs(args, 3)
    given = dict(zip(args, [np.float64(0.0), np.float64(0.0), np.ones(3)], strict=True))
    pushed = modes.jvp(outs, args[2:], [const(1.0, shape=(3,))])
    got = evaluate(dense(pushed, outs), given)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, [1 + 0.5 * 0, 1.5])


# ---- while --------------------------------------------------------------------------------------


def newton(limit: int | None) -> tuple[list[Expr], list[Expr]]:
    """x ← (x + a/x) / 2 while |x² - a| > 1e-9; the rounds are counted."""
    test = body(lambda a, x: abs(x * x - a) > 1e-9, (), ())
    step = body(lambda a, x: (x + a / x) / 2, (), ())
    args = [arg(0, (), "float64"), arg(1, (), "float64")]
    return args, while_loop(test, step, args[:1], args[1:], limit)


@pytest.mark.slow
def test_while_in_both_modes():
    def f(a, x):
        for _ in range(rounds):
            x = (x + a / x) / 2
        return [x]

    args, outs = newton(None)
    values = sample(args, "newton 0")
    rounds = int(evaluate(outs, dict(zip(args, [np.abs(v) for v in values], strict=True)))[1])
    assert rounds > 2
    args, outs = newton(20)
    at = dict(zip(args, [np.float64(2.0), np.float64(1.0)], strict=True))
    rounds = int(evaluate(outs, at)[1])
    one = const(1.0)
    (a,) = modes.jvp(outs[:1], args[:1], [one])
    (b,) = modes.vjp(outs[:1], args[:1], [one])
    want = jax.grad(lambda a: f(a, 1.0)[0])
    got = evaluate([a, b], at)
    np.testing.assert_allclose(got, [want(2.0)] * 2, rtol=1e-13)
    second = [modes.jvp([b], args[:1], [one])[0], modes.vjp([b], args[:1], [one])[0],
              modes.vjp([a], args[:1], [one])[0]]  # fmt: skip
    np.testing.assert_allclose(evaluate(second, at), [jax.grad(want)(2.0)] * 3, rtol=1e-12)
    third = modes.vjp([modes.vjp([b], args[:1], [one])[0]], args[:1], [one])
    np.testing.assert_allclose(evaluate(third, at), [jax.grad(jax.grad(want))(2.0)], rtol=1e-11)


def test_reverse_through_a_while_without_a_limit_makes_room_for_many_rounds():
    args, outs = newton(None)
    (back,) = modes.vjp(outs[:1], args[:1], [const(1.0)])
    limits = [n.attr("limit") for n in toposort([back]) if n.op.name == "while"]
    assert limits == [10_000]


@pytest.mark.slow
def test_order_three():
    loop = LOOPS[1]
    args = loop.args(3)
    (final,) = loop.outs(args, 3)[:1]
    values = sample(args, "order 3")
    given = dict(zip(args, values, strict=True))
    v = [modes.zeros_like(a) + 0.5 for a in args]
    ones = np.ones(2)

    def g(*x: Any) -> Any:
        return loop.jax(3)(*x)[0] @ ones

    outs: list[Any] = modes.vjp([final], args, [const(1.0, shape=(2,))])
    for _ in range(2):
        outs = modes.vjp(dense(outs, args), args, v)
    half = [np.full(a.shape, 0.5) for a in args]

    def times(f: Any) -> Any:
        return lambda *x: sum(jnp.sum(a * b) for a, b in zip(
            jax.grad(f, tuple(range(len(x))))(*x), half, strict=True))  # fmt: skip

    want = jax.grad(times(times(g)), tuple(range(len(values))))(*values)
    close(evaluate(dense(outs, args), given), want, "order 3")


# ---- vmap ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["consts", "carry", "xs", "all"])
@pytest.mark.quick(2)
def test_vmap_of_scan(which):
    for loop in LOOPS:
        args = loop.args(3)
        i, j = len(loop.consts), len(loop.consts) + len(loop.carry)
        chosen = {"consts": args[:i], "carry": args[i:j], "xs": args[j:], "all": args}[which]
        batched_against_points(loop.outs(args, 3), args, chosen, loop.name)


def batched_against_points(
    outs: list[Expr], args: list[Expr], chosen: list[Expr], seed: str, **given: Any
) -> None:
    """vmap of values and of cotangents, against one point after another."""
    if not chosen:
        return
    wide = {a: arg(50 + k, (4, *a.shape), a.dtype) for k, a in enumerate(chosen)}
    values = dict(zip(args, sample(args, seed), strict=True))
    rng = np.random.default_rng(3)
    batch = {
        a: np.asarray(rng.normal(1.0, 0.3, w.shape) if a.dtype in FLOATS
                      else rng.integers(0, 3, w.shape), a.dtype)
        for a, w in wide.items()
    }  # fmt: skip
    floats = [a for a in args if a.dtype in FLOATS]
    keep = [o for o in outs if o.dtype in FLOATS]
    pulled = modes.vjp(keep, floats, [modes.zeros_like(o) + 1 for o in keep])
    for exprs in (outs, dense(pulled, floats)):
        made = modes.vmap(exprs, wide, 4)
        check(made)
        got = evaluate(made, values | {w: batch[a] for a, w in wide.items()})
        for p in range(4):
            point = values | {a: np.asarray(b[p]) for a, b in batch.items()}
            close([g[p] for g in got], evaluate(exprs, point), f"{seed} point {p}")


def test_vmap_of_switch():
    i, x, y = arg(0, (), "int64"), arg(1, (), "float64"), arg(2, (3,), "float64")
    outs = switched(i, x, y)
    for chosen in ([i], [x], [y], [i, x, y]):
        batched_against_points(outs, [i, x, y], chosen, "switch")


def test_vmap_of_while():
    args, outs = newton(20)
    for chosen in (args[:1], args[1:], args):
        batched_against_points(outs[:2], args, chosen, "newton")


def test_vmap_of_a_count():
    for loop in LOOPS:
        count = arg(77, (), "int64")
        args = [*loop.args(3), count]
        outs = loop.outs(args[:-1], 3, count=count)
        batched_against_points(outs, args, [count], loop.name)


# ---- nodes and text -----------------------------------------------------------------------------


def test_a_thousand_rounds():
    loop = LOOPS[0]
    args = loop.args(1000)
    outs = loop.outs(args, 1000)
    final = outs[:1]
    values = sample(args, "long")
    pulled = dense(modes.vjp(final, args, [const(1.0, shape=(3,))]), args)
    got = evaluate(simplify(pulled).outs, dict(zip(args, values, strict=True)))
    d, m, xs = values
    states = [m]
    for x in xs:
        states.append(states[-1] * d + x)
    weights = d ** np.arange(999, -1, -1)[:, None]  # what a round gives to the last
    close(got, [np.sum(weights * np.array(states[:-1]), axis=0), d**1000, weights], "long")


def test_nothing_is_kept_that_is_there_anyway():
    """No residual is an operand, and none is kept twice: bytes a round are those by hand."""
    by_hand = {"decay": 1, "exp": 2, "hmm": 1, "power": 2, "shift": 2, "late": 2, "garch": 2}
    for loop in LOOPS:
        if loop.name not in by_hand:
            continue
        args = loop.args(5)
        outs = loop.outs(args, 5)
        n = len(loop.carry)
        ones = [modes.zeros_like(o) + 1 for o in outs[:n]]
        pulled = dense(modes.vjp(outs[:n], args, ones), args)
        made = simplify([*outs[:n], *pulled])
        forward = [n for n in toposort(made.outs) if n.op.kind is Kind.CONTROL][0]
        stacked = forward.attrs[0].outs[forward.attr("carry") :]
        assert len(stacked) <= by_hand[loop.name], loop.name
        xs = forward.attrs[0].params[forward.attr("consts") + forward.attr("carry") :]
        assert not set(xs) & set(stacked)


SCRIPT = """
import numpy as np, symgrad as sg
def f(x, a):
    def step(s, r):
        s = sg.cond(s[0] > r, lambda s: np.sin(s * a), lambda s: s + a * r, s)
        return s, np.sum(s) * r
    last, ys = sg.scan(step, x, np.arange(5.0))
    root = sg.while_loop(lambda s: s < 9, lambda s: s * s + 1, a, max_steps=5)
    return np.sum(last) + np.sum(ys) + root
graph = sg.trace(sg.hessian(f, (0, 1)), sg.f64[3], sg.f64).simplify()
print(graph, graph.formula(), graph.to_dot(), graph.digest())
"""


@pytest.mark.slow
def test_text_is_the_same_in_every_process():
    def run(seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        return done.stdout

    texts = {run(seed) for seed in ("0", "1", "77")}
    assert len(texts) == 1 and "scan of 5 rounds" in texts.pop()


# ---- zeros that loops leave ---------------------------------------------------------------------


def rooted(x):
    """√x goes into a loop whose rounds read it where a decision says so."""
    return np.sqrt(x)


def reads_some(xs, on):
    rows = sg.scan(
        lambda s, r: (s + sg.cond(r[1] > 0, lambda v: v * 2.0, lambda v: 0.0, r[0]), None),
        0.0,
        np.stack([rooted(xs), on], axis=1),
    )
    return rows[0]


def reads_none(x, n):
    """The root is shared by rounds of which there may be none."""
    root = np.sqrt(x)
    return sg.fori_loop(0, n, lambda i, s: s + root, 1.0, max_steps=4)


def starts_late(xs):
    """Row 0 is read by no later round: the cotangent of its root is zero by structure."""
    roots = np.sqrt(xs)
    ys = sg.scan(lambda s, r: (r, s), 0.0, roots)[1]
    return ys[1]


def evaluated(f, *args):
    return sg.trace(f, *args).simplify().evaluate(*args)


def test_what_no_round_reads_has_derivative_zero():
    xs, on = np.array([4.0, 0.0, 9.0]), np.array([1.0, 0.0, 1.0])
    want = [0.5, 0, 1 / 3]
    np.testing.assert_allclose(evaluated(sg.grad(reads_some), xs, on), want)
    np.testing.assert_allclose(evaluated(sg.jacfwd(reads_some), xs, on), want)
    second = evaluated(sg.hessian(reads_some), xs, on)
    np.testing.assert_allclose(second, np.diag([-1 / 16, 0, -1 / 54]), atol=1e-15)
    for mode in (sg.grad, sg.jacfwd):
        assert evaluated(mode(reads_none), 0.0, 0) == 0
        assert evaluated(mode(reads_none), 4.0, 2) == 0.5
        np.testing.assert_array_equal(
            evaluated(mode(starts_late), np.array([4.0, 0.0, 0.0])), [0.25, 0, 0]
        )


def test_an_unread_round_may_divide_by_zero():
    """Rounds behind the one that is read have infinite values and derivatives."""

    def f(x):
        return sg.scan(lambda s, r: (1.0 / (s - r) * x, s * x), x, np.array([0.0, 1.0, 2.0]))[1][0]

    for order, want in ((sg.grad, 2.0), (sg.jacfwd, 2.0)):
        assert evaluated(order(f), 1.0) == want
    assert evaluated(sg.grad(sg.grad(f)), 1.0) == 2.0
    assert evaluated(sg.hessian(f), 1.0) == 2.0


def test_infinities_from_outside_meet_no_zeros_by_structure():
    """The second element is log(0) in the loop, and no part of the result."""

    def loop(x, y):
        return sg.scan(lambda s, _: (s * np.log(y), None), x, None, length=3)[0][0]

    graph = sg.trace(sg.grad(loop), np.ones(2), np.ones(2))
    x, y = np.array([1.0, 2.0]), np.array([2.0, 0.0])
    np.testing.assert_allclose(graph.evaluate(x, y), [np.log(2) ** 3, 0], rtol=1e-14)
