"""Branches and loops in C: what it computes, against the same rounds run by plain Python.

A body is a function in NumPy. It is traced for the loop program, and called as it is for the truth.
Every program is verified behind each pass and, where it is small, run on checked memory.
"""

from __future__ import annotations

import types
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
import pytest

import symgrad as sg
from support.by_hand import edited
from support.codegen import expanded, program_of, run_c
from support.loop_functions import while_in_break
from support.queries import loops, program
from support.random_loops import RandomLoops
from support.sanitized import needs_sanitizers, run_sanitized
from support.tunings import SHORT_STREAMS, SMALL_TILES, TINY, TINY_LOOPS
from symgrad.diff.modes import vjp
from symgrad.emit.c import emit
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import Expr, arg, bind, const, iota
from symgrad.lower.statements import Loop, Store, While, Zero
from symgrad.lower.tuning import HOST_TUNING, Tuning
from symgrad.lower.verify import verify
from symgrad.machines import find_machine
from symgrad.ops.control import Body, scan, switch, while_loop
from symgrad.ops.einsum import einsum
from symgrad.simplify import simplify

F, I = "float64", "int64"  # noqa: E741
TUNINGS = {
    "host": HOST_TUNING,
    "tiny": TINY,
    "tiny loops": TINY_LOOPS,
    "tiles": SMALL_TILES,
    "streams": SHORT_STREAMS,
    "parts": replace(TINY_LOOPS, part_statements=2, constant_elements=3),
    "small": Tuning.of(find_machine("cortex_m4")),
}


def body(f: Callable[..., Any], *like: np.ndarray) -> Body:
    """A function of NumPy as a body for arguments like these."""
    graph = sg.trace(f, *like).simplify()
    return Body.close(graph.args, graph.outs)


@dataclass
class Case:
    """A loop or branch: its arguments, its results as nodes and as Python has them."""

    args: list[Expr] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    outs: list[Expr] = field(default_factory=list)
    expected: list[np.ndarray] = field(default_factory=list)
    status: int = 0

    def arguments(self, *values: Any) -> list[Expr]:
        arrays = [np.asarray(v) for v in values]
        nodes = [arg(len(self.args) + k, v.shape, str(v.dtype)) for k, v in enumerate(arrays)]
        self.args += nodes
        self.values += arrays
        return nodes


def loop(f, consts=(), carry=(), xs=(), length=None, reverse=False, count=None) -> Case:
    """A scan of `f(*consts, *carry, *rows)`, which returns the carry and the ys, two tuples."""
    case = Case()
    groups = [[np.asarray(v) for v in group] for group in (consts, carry, xs)]
    nodes = [case.arguments(*group) for group in groups]
    length = len(xs[0]) if length is None else length
    given = None if count is None else case.arguments(np.int64(count))[0]
    like = [*groups[0], *groups[1], *[np.zeros(x.shape[1:], x.dtype) for x in groups[2]]]
    case.outs = scan(body(f, *like), *nodes, length, reverse=reverse, count=given)
    state = groups[1]
    ys = [np.zeros(o.shape, o.dtype) for o in case.outs[len(state) :]]
    for t in range(length if count is None else count)[:: -1 if reverse else 1]:
        state, rows = f(*groups[0], *state, *[x[t] for x in groups[2]])
        for y, row in zip(ys, rows, strict=True):
            y[t] = row
    case.expected = [*map(np.asarray, state), *ys]
    return case


def agree(cases: dict[str, Case], tuning: Tuning = HOST_TUNING, threads: int = 1, **options) -> str:
    """All cases in one function in C; each alone is verified and interpreted."""
    for case in cases.values():
        program_of(case.args, case.outs, tuning=tuning, threads=threads)
    args = [a for case in cases.values() for a in case.args]
    outs = [o for case in cases.values() for o in case.outs]
    values = {a: v for case in cases.values() for a, v in zip(case.args, case.values, strict=True)}
    program = program_of(args, outs, tuning=tuning, threads=threads)
    source = emit(program, "f", tuning=tuning)
    status, got = run_c(source, args, outs, values, threads=threads, **options)
    assert status == 0
    results = iter(got)
    for name, case in cases.items():
        for k, e in enumerate(case.expected):
            g = next(results)
            tolerance = 2e-5 if g.dtype == np.float32 else 1e-12
            np.testing.assert_allclose(
                g, e, rtol=tolerance, atol=tolerance, err_msg=f"{name}, result {k}\n{source.c}"
            )
    return source.c


def rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


TABLE = np.arange(9.0).reshape(3, 3)

# ---- bodies --------------------------------------------------------------------------------------


def decay(a, m, x):
    new = m * a + np.exp(x)
    return (new,), (new * new, m)


def garch(omega, alpha, beta, s, total, r):
    new = omega + alpha * r * r + beta * s
    return (new, total + np.log(new) + r * r / new), (new,)


def kalman(F, Q, h, m, P, ll, y):
    m, P = F @ m, F @ P @ F.T + Q
    v, s = y - h @ m, h @ P @ h + 0.3
    k = P @ h / s
    return (m + k * v, P - np.outer(k, h @ P), ll - 0.5 * (np.log(s) + v * v / s)), (m, s)


def hmm(A, a, b):
    z = a[:, None] + A
    top = np.max(z, axis=0)
    return (b + top + np.log(np.sum(np.exp(z - top), axis=0)),), ()


def swapped(a, b, c, x):
    return (b, c, a + x), (a, x)


def turned(v, x):
    return (v[::-1] + x,), (v,)


def rolled(v, w, x):
    """Each element follows from others of both arrays."""
    return (np.concatenate([w[1:], v[:1]]) * 0.9, v + x), (v * w,)


def mixed(k, b, s, x):
    """An integer and a bool beside a float."""
    k = k + 1
    b = np.logical_xor(b, x > 0.5)
    return (k, b, s + np.where(b, x, -x) * k), (k, b)


def picks(table, where, s, x):
    """A gather with an index that is known when C runs."""
    return (s * 0.5 + table[where] * x,), (table[where] + s,)


def walks(after, k, total, x):
    """A gather with an index that is carried."""
    k = after[k]
    return (k, total + x * k), (k,)


def solves(A, v, x):
    new = np.linalg.solve(A + np.eye(3) * x, v)
    return (new / (1 + np.sum(new * new)),), (new,)


def factors(P, x):
    L = np.linalg.cholesky(P)
    return (L @ L.T * 0.5 + np.eye(3) * x,), (L,)


def reduces(m, x):
    """Sums, maxima, positions of maxima, running sums."""
    top, at = np.max(m * x), np.argmax(m + x)
    new = np.cumsum(m * 0.1) + np.sum(np.exp(x)) / (3 + top) + at
    return (new / (1 + np.max(np.abs(new))),), (top, at, np.sum(new))


def multiplies(W, V, b, h, x):
    h = np.tanh(W @ h + V @ x + b)
    return (h,), (np.sum(h * h),)


def squares(W, X, x):
    X = W @ X * 0.01 + x
    return (X / (1 + np.max(np.abs(X))),), (np.sum(X, axis=0),)


def small_cases() -> dict[str, Case]:
    r = rng("small")
    n = r.normal
    F2, Q2 = np.array([[1, 0.1], [0, 1]]), np.eye(2) * 0.1
    spd = np.eye(3) * 3 + r.random((3, 3)) * 0.1
    spd = spd + spd.T
    found = {
        "scalar": loop(decay, [0.5], [1.0], [n(size=9)]),
        "reverse": loop(decay, [0.5], [1.0], [n(size=9)], reverse=True),
        "vector": loop(decay, [r.random(5)], [n(size=5)], [n(size=(7, 5))]),
        "matrix": loop(decay, [r.random((2, 3))], [n(size=(2, 3))], [n(size=(4, 2, 3))]),
        "float32": loop(decay, [np.float32(0.5)], [np.float32(1)], [n(size=6).astype("float32")]),
        "garch": loop(garch, [0.1, 0.2, 0.7], [0.3, 0.0], [n(size=8)]),
        "kalman": loop(kalman, [F2, Q2, np.array([1.0, 0])], [n(size=2), np.eye(2), 0.0],
                       [n(size=8)]),
        "hmm": loop(hmm, [n(size=(4, 4))], [n(size=4)], [n(size=(5, 4))]),
        "swapped scalars": loop(swapped, (), [1.0, 2.0, 3.0], [n(size=5)]),
        "swapped vectors": loop(swapped, (), n(size=(3, 4)), [n(size=(5, 4))]),
        "turned": loop(turned, (), [n(size=5)], [n(size=(3, 5))], reverse=True),
        "rolled": loop(rolled, (), n(size=(2, 5)), [n(size=(4, 5))]),
        "mixed": loop(mixed, (), [np.int64(3), np.bool_(True), 0.5], [r.random(7)]),
        "picks": loop(picks, [n(size=6), np.array([1, -2])], [n(size=2)], [n(size=(4, 2))]),
        "walks": loop(walks, [np.array([3, 0, -1, 2])], [np.int64(0), 0.0], [n(size=6)]),
        "solves": loop(solves, [spd], [n(size=3)], [r.random(4)]),
        "factors": loop(factors, (), [spd], [r.random(3)]),
        "reduces": loop(reduces, (), [n(size=5)], [n(size=(4, 5))]),
        "captured": loop(lambda s, x: ((TABLE @ s * 0.1 + x,), (TABLE[1] @ s,)), (), [n(size=3)],
                         [n(size=(4, 3))]),
        "no carry": loop(lambda a, x: ((), (a * x, x)), [2.0], (), [n(size=(3, 2))]),
        "no xs": loop(lambda a, s: ((s * a,), ()), [1.1], [2.0], (), 7),
        "handed through": loop(lambda s, u, x: ((s, u + s * x), (x, s)), (), [2.0, n(size=3)],
                               [n(size=(4, 3))]),
    }  # fmt: skip
    for count in (0, 1, 3, 4):
        for reverse in (False, True):
            found[f"counted {count} {reverse}"] = loop(
                decay, [0.5], [1.0], [n(size=4)], reverse=reverse, count=count
            )
    for length in (0, 1, 2, 3):
        found[f"{length} rounds"] = loop(
            decay, [r.random(2)], [n(size=2)], [n(size=(length, 2))], reverse=length == 2
        )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("tuning", TUNINGS)
def test_small_loops(tuning):
    agree(small_cases(), TUNINGS[tuning])


def sized_cases() -> dict[str, Case]:
    """Sizes from which loops inside become lanes, tiles and streams."""
    r = rng("sized")
    n = r.normal
    return {
        "lanes": loop(decay, [r.random(45)], [n(size=45)], [n(size=(3, 45))]),
        "rolled": loop(rolled, (), n(size=(2, 65)), [n(size=(3, 65))]),
        "rows": loop(reduces, (), [n(size=70)], [n(size=(3, 70))]),
        "net": loop(multiplies, [n(size=(33, 33)), n(size=(33, 17)), n(size=33)], [n(size=33)],
                    [n(size=(4, 17))]),
        "product": loop(squares, [n(size=(40, 40))], [n(size=(40, 24))], [n(size=(3, 40, 24))]),
        "stream": loop(squares, [n(size=(330, 20))] and [n(size=(20, 20))], [n(size=(20, 330))],
                       [n(size=(2, 20, 330))]),
        "per row": loop(lambda W, s, X: ((s + np.sum(np.tanh(X @ W) ** 2),), ()),
                        [n(size=(12, 9))], [0.0], [n(size=(2, 300, 12))]),
        "picks": loop(picks, [n(size=60), r.integers(-60, 60, 50)], [n(size=50)],
                      [n(size=(3, 50))]),
        "many rounds": loop(garch, [0.1, 0.2, 0.7], [0.3, 0.0], [n(size=1000)]),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("tuning", TUNINGS)
def test_loops_inside_are_cut_as_everywhere(tuning):
    agree(sized_cases(), TUNINGS[tuning])


# ---- while ---------------------------------------------------------------------------------------


def repeat(test, f, consts=(), carry=(), limit=None) -> Case:
    """A while loop: `f` returns the carry and, where there is a limit, the ys."""
    case = Case()
    groups = [[np.asarray(v) for v in group] for group in (consts, carry)]
    nodes = [case.arguments(*group) for group in groups]
    like = [*groups[0], *groups[1]]
    case.outs = while_loop(body(test, *like), body(f, *like), *nodes, limit)
    state, rounds = groups[1], 0
    ys = [np.zeros(o.shape, o.dtype) for o in case.outs[len(state) + 1 :]]
    while test(*groups[0], *state):
        if rounds == limit:
            case.status = 3
            break
        state, rows = f(*groups[0], *state)
        for y, row in zip(ys, rows, strict=True):
            y[rounds] = row
        rounds += 1
    case.expected = [*map(np.asarray, state), np.int64(rounds), *ys]
    return case


def newton(a, x):
    return (0.5 * (x + a / x),), ()


def newton_goes_on(a, x):
    return np.abs(x * x - a) > 1e-12 * a


def newton_kept(a, x):
    return (0.5 * (x + a / x),), (x, x * x - a)


def power(A, v, old, k):
    w = A @ v
    new = np.sqrt(np.sum(w * w))
    return (w / new, new, k + 1), ()


def power_goes_on(A, v, old, k):
    return np.logical_and(np.sum(np.abs(A @ v - old * v)) > 1e-6, k < 50)


def bisect(low, high):
    middle = 0.5 * (low + high)
    left = middle**3 - 2 > 0
    return (np.where(left, low, middle), np.where(left, middle, high)), ()


def follows(after, k, total):
    """Along a list until its end."""
    return (after[k], total + k * 0.5), (k,)


def while_cases() -> dict[str, Case]:
    r = rng("while")
    A = r.random((5, 5))
    A = A + A.T
    B = r.random((40, 40))
    after = np.array([3, 5, 1, 2, -1, 4])
    return {
        "newton": repeat(newton_goes_on, newton, [7.3], [2.0]),
        "newton, limited": repeat(newton_goes_on, newton, [7.3], [2.0], 40),
        "newton, stacked": repeat(newton_goes_on, newton_kept, [7.3], [2.0], 9),
        "no round": repeat(newton_goes_on, newton_kept, [4.0], [2.0], 3),
        "all rounds": repeat(lambda k: k < 5, lambda k: ((k + 1,), (k,)), (), [np.int64(0)], 5),
        "none allowed": repeat(lambda k: k < 0, lambda k: ((k + 1,), (k,)), (), [np.int64(0)], 0),
        "power": repeat(power_goes_on, power, [A], [np.ones(5), 0.0, np.int64(0)], 60),
        "power, 40": repeat(power_goes_on, power, [B + B.T], [np.ones(40), 0.0, np.int64(0)]),
        "bisection": repeat(lambda a, b: b - a > 1e-9, bisect, (), [0.0, 2.0]),
        "list": repeat(lambda after, k, s: k >= 0, follows, [after], [np.int64(0), 0.0], 20),
        "vector": repeat(lambda a, v: np.max(v) < 100, lambda a, v: ((v[::-1] * a,), (v,)),
                         [1.5], [r.random(6)], 30),
    }  # fmt: skip


@pytest.mark.quick(1)
@pytest.mark.parametrize("tuning", TUNINGS)
def test_while_loops(tuning):
    agree(while_cases(), TUNINGS[tuning])


def test_a_while_loop_beyond_its_limit_has_status_3():
    for limit in (0, 1, 3):
        case = repeat(newton_goes_on, newton_kept, [7.3], [2.0], limit)
        assert case.status == 3
        source = emit(program_of(case.args, case.outs), "f")
        values = dict(zip(case.args, case.values, strict=True))
        assert run_c(source, case.args, case.outs, values)[0] == 3
        assert "3 if a loop" in source.header


# ---- switch --------------------------------------------------------------------------------------


def choose(index, sides, operands) -> Case:
    """One of some functions of the operands; a bool chooses the first where it holds."""
    case = Case()
    arrays = [np.asarray(v) for v in operands]
    bodies = [body(f, *arrays) for f in sides]
    (at,) = case.arguments(np.asarray(index))
    position = int(np.clip(index, 0, len(sides) - 1))
    if at.dtype == "bool":
        position, bodies, at = 1 - int(index), bodies[::-1], bind("convert", at, attrs=(I,))
    case.outs = switch(at, bodies, case.arguments(*arrays))
    case.expected = [np.asarray(v) for v in sides[position](*arrays)]
    return case


def switch_cases() -> dict[str, Case]:
    r = rng("switch")
    x, v, A = 1.5, r.random(5), r.random((5, 5))
    wide, W = r.random(70), r.random((70, 70))
    table, at = r.random(4), np.array([1, 3])
    scalars = [lambda x: (np.sin(x), x), lambda x: (x * 2, x), lambda x: (x, 1 / x)]
    arrays = [
        lambda A, v: (A @ v, np.sum(v), v),
        lambda A, v: (np.linalg.solve(A + np.eye(len(v)) * 9, v), np.max(v), v[::-1]),
    ]
    found = {}
    for index in (-3, 0, 1, 2, 5):
        found[f"scalars {index}"] = choose(np.int64(index), scalars, [x])
    for index in (True, False):
        found[f"arrays {index}"] = choose(np.bool_(index), arrays, [A, v])
        found[f"wide {index}"] = choose(
            np.bool_(index),
            arrays[:1] + [lambda A, v: (np.exp(v) * 2, np.prod(v), np.cumsum(v))],
            [W, wide],
        )
        found[f"same {index}"] = choose(np.bool_(index), [lambda v: (v,), lambda v: (v * 0,)], [v])
        found[f"picks {index}"] = choose(
            np.bool_(index), [lambda t, i: (t[i],), lambda t, i: (t[i] * 2 + 1,)], [table, at]
        )
    found["one side"] = choose(np.int64(4), scalars[:1], [x])
    return found


@pytest.mark.quick(1)
@pytest.mark.parametrize("tuning", TUNINGS)
def test_branches(tuning):
    agree(switch_cases(), TUNINGS[tuning])


def status_of(case: Case, **changed: Any) -> tuple[int, list[np.ndarray]]:
    source = emit(program_of(case.args, case.outs), "f")
    values = dict(zip(case.args, case.values, strict=True))
    return run_c(source, case.args, case.outs, values, **changed)


def test_a_side_that_is_not_taken_checks_nothing():
    """An index out of range, a matrix that is singular: only where the side is."""
    table = np.arange(4.0)
    for f, bad in ((lambda t, i, A: (t[i],), 1), (lambda t, i, A: (np.linalg.inv(A)[0, 0],), 2)):
        for taken in (True, False):
            case = Case()
            operands = [table, np.int64(4), np.zeros((2, 2))]
            index, *nodes = case.arguments(np.int64(taken), *operands)
            zero = body(lambda t, i, A: (t[0],), *operands)
            case.outs = switch(index, [zero, body(f, *operands)], nodes)
            status, got = status_of(case)
            assert status == (bad if taken else 0)
            assert taken or got[0] == 0.0


def test_a_side_that_is_not_taken_computes_nothing():
    """No floating-point exception either: 1 / x is not evaluated."""
    case = choose(np.bool_(True), [lambda x: (x * 2,), lambda x: (1 / np.log(x) ** 2,)], [1.0])
    text = emit(program_of(case.args, case.outs), "f").c
    flow = text[text.index("if (x0)") :]
    assert "log" in flow and "log" not in text[: text.index("if (x0)")].partition("int f(")[2]
    assert status_of(case)[1][0] == 2.0


def test_an_index_out_of_range_is_seen_in_its_round():
    for position, length, status in ((9, 10, 1), (0, 10, 1), (9, 9, 0)):
        case = Case()
        where = np.zeros(10, I)
        where[position] = 4
        table, at = case.arguments(np.arange(4.0), where[:length])
        start = case.arguments(0.0)
        step = body(lambda t, s, i: (s + t[i],), np.zeros(4), 0.0, np.int64(0))
        case.outs = scan(step, [table], start, [at], length)
        assert status_of(case)[0] == status


def test_indices_that_are_rounds_are_not_checked():
    """x[i] and x[i - 1] with i from a ramp: what is known to be inside needs no check."""
    case, x = Case(), np.random.default_rng(3).random(50)
    nodes = case.arguments(x, 0.5)
    step = body(lambda x, s, i: ((s * 0.5 + x[i] * x[i - 1]),), x, 0.5, np.int64(0))
    case.outs = scan(step, nodes[:1], nodes[1:], [iota(50)], 50)
    state = 0.5
    for i in range(50):
        state = state * 0.5 + x[i] * x[i - 1]
    case.expected = [np.float64(state)]
    text = agree({"ramp": case})
    assert "return 1" not in text
    assert "x0[i0]" in text


# ---- one inside the other ------------------------------------------------------------------------


def inner(f, *operands: Expr, carry=(), xs=(), length=0) -> list[Expr]:
    like = [np.zeros(o.shape, o.dtype) for o in (*operands, *carry)]
    rows = [np.zeros(x.shape[1:], x.dtype) for x in xs]
    return scan(body(f, *like, *rows), operands, carry, xs, length)


def nested_case() -> Case:
    """A loop over rows; in it a loop over elements; in that a branch; in its side a while loop."""
    case = Case()
    r = rng("nested")
    X, a = r.normal(size=(4, 6)), np.float64(0.7)
    nodes = case.arguments(X, a)

    def halves(s):
        count = 0
        while s > 0.5:
            s, count = s * 0.5, count + 1
        return s, count

    def step(a, s, x):
        if x > 0:
            s, count = halves(s + x)
            return s + count, count
        return s * a - x, -1

    s, total = arg(0, (), F), arg(1, (), F)
    test = body(lambda s: s > 0.5, 0.0)
    half = body(lambda s: (s * 0.5,), 0.0)
    p = [arg(k, (), F) for k in range(3)]  # a, s, x
    low, count = while_loop(test, half, [], [p[1] + p[2]])
    as_float = bind("convert", count, attrs=(F,))
    yes = Body.close(p, [low + as_float, count])
    no = Body.close(p, [p[1] * p[0] - p[2], const(-1, I)])
    q = [arg(k, (), F) for k in range(3)]
    chosen = bind("convert", bind("greater", q[2], const(0.0)), attrs=(I,))
    element = Body.close(q, switch(chosen, [no, yes], q))
    row, b = arg(2, (6,), F), arg(3, (), F)
    end, counts = scan(element, [b], [s], [row], 6)
    outer = Body.close([b, s, total, row], [end, total + end, counts])
    case.outs = scan(outer, nodes[1:], case.arguments(0.3, 0.0), nodes[:1], 4)
    state, summed, expected = 0.3, 0.0, np.zeros((4, 6), I)
    for t, x in enumerate(X):
        for k, e in enumerate(x):
            state, expected[t, k] = step(a, state, e)
        summed += state
    case.expected = [np.asarray(state), np.asarray(summed), expected]
    return case


@pytest.mark.parametrize("tuning", TUNINGS)
def test_nested(tuning):
    agree({"nested": nested_case()}, TUNINGS[tuning])


# ---- derivatives ---------------------------------------------------------------------------------


def total_of(results):
    """A scalar that depends on all floats among some results."""
    floats = [r for r in results if r.dtype == F]
    return sum((einsum((bind("sin", r),), (tuple(range(r.ndim)),), ()) for r in floats[1:]),
               einsum((bind("sin", floats[0]),), (tuple(range(floats[0].ndim)),), ()))  # fmt: skip


@pytest.mark.slow
def test_gradients_of_loops():
    """Tapes and reverse loops in C, against jax.grad through jax.lax.scan."""
    jnp = jax.numpy
    cases, every = small_cases(), {}
    with jax.enable_x64(True):
        for name, f, (consts, carry), reverse in [
            ("kalman", kalman, (3, 3), False), ("garch", garch, (3, 2), False),
            ("solves", solves, (1, 1), False), ("reverse", decay, (1, 1), True),
            ("swapped vectors", swapped, (0, 3), False),
        ]:  # fmt: skip
            case = cases[name]

            def loss(*values, f=f, consts=consts, carry=carry, reverse=reverse):
                fixed, start, xs = (
                    values[:consts],
                    values[consts:][:carry],
                    values[consts + carry :],
                )
                state, ys = jax.lax.scan(
                    lambda s, rows: of_jax(f)(*fixed, *s, *rows), start, xs, reverse=reverse
                )
                return sum(jnp.sum(jnp.sin(r)) for r in (*state, *ys))

            loss_and_grads = jax.value_and_grad(loss, argnums=tuple(range(len(case.args))))
            value, grads = loss_and_grads(*(jnp.asarray(v) for v in case.values))
            out = total_of(case.outs)
            outs = [out, *vjp([out], case.args, [const(1.0)])]
            expected = [np.asarray(v) for v in (value, *grads)]
            every[name] = Case(case.args, case.values, expanded(simplify(outs).outs), expected)
    for tuning in ("tiny loops", "streams"):
        agree(every, TUNINGS[tuning])


def test_gradient_of_a_while_loop_has_a_tape():
    """Newton's square root: the tape has a row for each round, and nothing is set to zero."""
    case = repeat(newton_goes_on, newton, [7.3], [2.0], 40)
    outs = simplify([case.outs[0], *vjp(case.outs[:1], case.args, [const(1.0)])]).outs
    case.outs, root = expanded(outs), 7.3**0.5
    case.expected = [np.float64(root), np.float64(0.5 / root), np.float64(0.0)]
    source = emit(program_of(case.args, case.outs), "f")
    status, got = run_c(
        source, case.args, case.outs, dict(zip(case.args, case.values, strict=True))
    )
    assert status == 0
    np.testing.assert_allclose(got, case.expected, rtol=1e-10, atol=1e-10)
    assert "sg_k" not in source.c


def test_a_value_and_its_gradient_share_loops_and_branches():
    case = repeat(newton_goes_on, newton, [7.3], [2.0], 40)
    outs = simplify([case.outs[0], *vjp(case.outs[:1], case.args, [const(1.0)])]).outs
    assert emit(program_of(case.args, expanded(outs)), "f").c.count("while (") == 1
    sides = [lambda A, v: (np.sum(np.linalg.solve(A, v)),), lambda A, v: (np.sum(np.exp(v)),)]
    A, v = np.eye(3) + 0.1, np.arange(3.0)
    for index, expected in ((0, np.linalg.solve(A, v).sum()), (1, np.exp(v).sum())):
        case = choose(np.int64(index), sides, [A, v])
        outs = simplify([*case.outs, *vjp(case.outs, case.args[2:], [const(1.0)])]).outs
        gradient = np.linalg.solve(A.T, np.ones(3)) if index == 0 else np.exp(v)
        case.outs, case.expected = expanded(outs), [np.float64(expected), gradient]
        text = agree({"switch": case})
        assert text.count("if (x0") == 1
        assert text.count("sg_lu_factor(s") + text.count("sg_lu_factor(x") == 1


# ---- compilers and machines ----------------------------------------------------------------------


@pytest.mark.parametrize("optimize", [2, 3])
def test_sums_over_rounds_in_another_order_than_memory(optimize):
    """What gcc's bug 110381 adds twice: several additions to one carry in each round."""
    cases = {}
    for order in ((1, 0), (0, 2, 1), (2, 1, 0), (3, 1, 2, 0), (0, 1, 2, 3)):

        def adds(s, x, order=order):
            for k in order:
                s = s + x[k]
            return (s,), ()

        rows = np.sqrt(np.arange(100.0 * len(order))).reshape(100, -1)
        cases[f"{order}"] = loop(adds, (), [0.0], [rows])
        cases[f"{order}, while"] = repeat(
            lambda x, k, s: k < 100,
            lambda x, k, s, adds=adds: ((k + 1, adds(s, x[k])[0][0]), ()),
            [rows], [np.int64(0), 0.0],
        )  # fmt: skip
    agree(cases, optimize=optimize)


@pytest.mark.slow
def test_the_highest_level_of_optimisation():
    agree({**small_cases(), **while_cases(), **switch_cases()}, optimize=3)


@pytest.mark.slow
def test_sizes_at_the_highest_level():
    agree(sized_cases(), optimize=3)


@pytest.mark.slow
def test_threads_share_no_rounds():
    agree({**sized_cases(), "nested": nested_case()}, TINY, threads=3)


def of_jax(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy with jax.numpy in its place."""
    return types.FunctionType(f.__code__, {**f.__globals__, "np": jax.numpy}, f.__name__)


@pytest.mark.slow
def test_jax_agrees():
    """The same bodies in jax.lax.scan and while_loop, and its switch."""
    with jax.enable_x64(True):
        cases = small_cases()
        for name, f, (consts, carry) in [
            ("kalman", kalman, (3, 3)), ("garch", garch, (3, 2)), ("hmm", hmm, (1, 1)),
            ("solves", solves, (1, 1)), ("reduces", reduces, (0, 1)), ("rolled", rolled, (0, 2)),
        ]:  # fmt: skip
            case = cases[name]
            values = [jax.numpy.asarray(v) for v in case.values]
            fixed, start, xs = values[:consts], values[consts:][:carry], values[consts + carry :]

            def step(state, rows, f=f, fixed=fixed):
                return of_jax(f)(*fixed, *state, *rows)

            state, ys = jax.lax.scan(step, tuple(start), tuple(xs))
            case.expected = [np.asarray(v) for v in (*state, *ys)]
            agree({name: case})
        case = while_cases()["newton"]
        a, x = (jax.numpy.asarray(v) for v in case.values)
        root = jax.lax.while_loop(
            lambda x: of_jax(newton_goes_on)(a, x), lambda x: of_jax(newton)(a, x)[0][0], x
        )
        np.testing.assert_allclose(case.expected[0], root, rtol=1e-15)
        case = choose(
            np.int64(7), [lambda x, f=f: (f(x),) for f in (np.sin, np.cos, np.exp)], [0.3]
        )  # beyond the last is the last
        sides = [jax.numpy.sin, jax.numpy.cos, jax.numpy.exp]
        np.testing.assert_allclose(case.expected[0], jax.lax.switch(7, sides, 0.3), rtol=1e-15)


@pytest.mark.slow
@needs_sanitizers
@pytest.mark.parametrize("tuning", ["tiny loops"])
def test_under_sanitizers(tuning, tmp_path):
    """Stand-alone C with arrays of exact size; every carry, tape and temporary is where it is."""
    groups: list[Case] = [Case()]
    every = {**small_cases(), **while_cases(), **switch_cases(), **sized_cases()}
    for case in [*every.values(), nested_case()]:
        if len(groups[-1].args) + len(groups[-1].outs) > 40:
            groups.append(Case())
        for name in ("args", "values", "outs", "expected"):
            getattr(groups[-1], name).extend(getattr(case, name))
    sources = [
        emit(program_of(g.args, g.outs, tuning=TUNINGS[tuning]), f"f{k}", tuning=TUNINGS[tuning])
        for k, g in enumerate(groups)
    ]
    inputs = [[np.asarray(v) for v in g.values] for g in groups]
    outputs = [[np.empty(o.shape, o.dtype) for o in g.outs] for g in groups]
    for group, got in zip(groups, run_sanitized(sources, inputs, outputs, tmp_path), strict=True):
        for g, e in zip(got, group.expected, strict=True):
            tolerance = 2e-5 if g.dtype == np.float32 else 1e-12
            np.testing.assert_allclose(g, e, rtol=tolerance, atol=tolerance)


# ---- random programs -----------------------------------------------------------------------------


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.unread
@pytest.mark.parametrize("tuning", ["host", "tiny loops", "tiles", "tiny", "streams"])
@pytest.mark.parametrize("n", [3, 40])
def test_random_loops(n, tuning):
    """Branches and loops nested in each other: as C, and where they are small on checked memory."""
    graphs = [RandomLoops(seed, n) for seed in range(2 if n == 40 else 4)]
    args = [a for g in graphs for a in g.args]
    outs = [o for g in graphs for o in g.outs]
    values = {a: v for g in graphs for a, v in g.values.items()}
    for g in graphs:
        program_of(g.args, g.outs, tuning=TUNINGS[tuning])
    source = emit(program_of(args, outs, tuning=TUNINGS[tuning]), "f", tuning=TUNINGS[tuning])
    status, got = run_c(source, args, outs, values)
    assert status == 0
    for g, e in zip(got, evaluate(outs, values), strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-9, atol=1e-10)


# ---- what the verifier says of broken loops ------------------------------------------------------


def broken(case: Case, change: Callable[[Any], Any]) -> set[str]:
    """The rules that a program breaks with `change(s)` in the place of statements: see `edited`."""
    return {fault.rule for fault in verify(edited(program_of(case.args, case.outs), change))}


def setting(kind: type, **fields: Any) -> Callable[[Any], Any]:
    """A change of all statements of a kind."""
    return lambda s: [replace(s, **fields)] if isinstance(s, kind) else None


def test_broken_loops_are_found():
    stacked, count = while_cases()["newton, stacked"], small_cases()["counted 3 False"]
    assert not broken(stacked, lambda s: None)
    assert broken(stacked, lambda s: [] if isinstance(s, Zero) else None) == {"init"}
    assert broken(stacked, setting(While, most=10)) == {"range"}
    assert broken(stacked, setting(While, index=None)) >= {"scope"}
    assert broken(small_cases()["scalar"], setting(Loop, simd=True)) >= {"form"}

    def shorter(s: Any) -> Any:
        return [replace(s, extent=2)] if isinstance(s, Loop) and s.stop is not None else None

    assert "rounds" in broken(count, shorter)


def test_a_tape_is_read_only_as_far_as_it_is_written():
    """Without zeros a reverse loop may not go beyond the rounds that took place."""
    case = repeat(newton_goes_on, newton, [7.3], [2.0], 40)
    case.outs = simplify(vjp(case.outs[:1], case.args, [const(1.0)])).outs

    def miscounts(s: Any) -> Any:
        if isinstance(s, Store) and s.buffer.dtype == I:
            return [replace(s, value=s.value + const(1, I))]
        return None

    assert "init" in broken(case, miscounts)
    assert "range" in broken(case, setting(Loop, stop=None))


@pytest.mark.parametrize("shape", [(300,), (257, 8), (64, 3)])
def test_rounds_over_points_that_the_data_end(shape):
    """Loops over points inside of such rounds are cut into lanes, and so are rows of the tape."""

    def f(x):
        while np.sum(np.real(x) ** 2) > 1.03:
            x = 0.6 * np.sin(x)
        return np.log(1.0 + np.sum(x**3))

    x = np.random.default_rng(0).uniform(-1, 1, shape)
    direction = np.random.default_rng(1).normal(size=shape)
    slope = np.imag(f(x + 1e-30j * direction)) / 1e-30
    np.testing.assert_allclose(np.sum(sg.grad(f)(x) * direction), slope, rtol=1e-12)


def test_a_tape_in_a_tape_is_set_before_its_rounds():
    """All of a row is 0 before the rounds inside store there: they may be few."""
    theta = np.array([0.5, 0.2, 0.9])
    graph = sg.trace(sg.grad(while_in_break), theta).simplify()
    case = Case(list(graph.args), [theta], list(graph.lowered_outs()))
    assert not broken(case, lambda s: None)
    assert broken(case, lambda s: [] if isinstance(s, Zero) else None) == {"init"}


def nested_whiles(x):
    for _ in range(40):
        while x > 1.0:
            x = x / 2
        x = (2 * x + 3) / 2
    return x


def rounds_within_rounds(x):
    def body(c, _):
        c = sg.while_loop(lambda s: s > 1.0, lambda s: s * 0.5, c, max_steps=100)
        return c * 1.1 + 1.3, None

    return sg.scan(body, x, None, length=40)[0]


@pytest.mark.parametrize("f", [nested_whiles, rounds_within_rounds])
def test_numbers_of_rounds_that_another_loop_has_stored(f):
    """In reverse the bound of a loop is read from an array: it is an access as any other."""
    graph = sg.trace(sg.value_and_grad(f), 3.0).simplify()
    np.testing.assert_allclose(sg.compile(sg.value_and_grad(f), sg.f64)(3.0), graph.evaluate(3.0))


@pytest.mark.parametrize("shape", [(0, 1), (1, 0), (0,)])
def test_no_loops_of_no_rounds_in_rounds(shape):
    """What stands in one is read before it, where it does not change: beyond an empty array."""

    def f(x, a):
        def body(c, _):
            t, u = np.reshape(x, (0,)), np.reshape(3 * x * c, (0,))
            return np.tanh(c), (t * u, np.reshape(x * c + 1, (0,)), np.exp(x) * c)

        return sg.scan(body, a, None, length=20)

    x = np.zeros(shape)
    compiled = sg.compile(f, x, 0.3)
    assert all(loop.extent for loop in loops(program(compiled)))
    for got, expected in zip(
        sg.tree.flatten(compiled(x, 0.3))[0], sg.tree.flatten(f(x, 0.3))[0], strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
