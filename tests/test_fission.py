"""Loops that are split: values and derivatives against plain Python, and what stays where it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from support.codegen import c_of, expanded, run_c, tuned
from support.dual_numpy import derivatives, load
from support.queries import loops
from support.random_loops import RandomLoops
from support.sanitized import needs_sanitizers, run_sanitized
from support.tunings import TINY
from symgrad.compiled import Compiled
from symgrad.errors import CheckFailedError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import Expr, arg, bind, const
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.generate import program_of, source_of
from symgrad.lower.fission import fission
from symgrad.lower.recurrence import several_at_once
from symgrad.lower.tuning import HOST_TUNING, NEVER, Tuning
from symgrad.machines import CORTEX_M4
from symgrad.ops.body import Body, bodies, fresh, scan, switch
from symgrad.ops.elementwise import convert, greater
from symgrad.options import Options

EAGER = replace(HOST_TUNING, split_from_rounds=3, split_from_cost=1, ahead_from_rounds=NEVER)
GREEDY = replace(TINY, row_cost=0)  # whatever may leave a loop does

TEXT = '''
import numpy as np


def garch(p, y):
    w, a, b = np.exp(p[0]), np.exp(p[1]), np.exp(p[2])
    h, loss = w, 0.0
    for t in range(len(y)):
        h = w + a * (y[t - 1] ** 2 if t > 0 else 0.0) + b * h
        loss += 0.5 * (np.log(h) + y[t] ** 2 / h)
    return loss


def smoothed(p, y):
    """Exponential smoothing with a transcendental of the row before, and one of the state after."""
    level, loss = p[0], 0.0
    for x in y:
        level = 0.9 * level + 0.1 * np.tanh(x * p[1]) * np.exp(-x * x)
        loss += np.exp(np.sin(level)) * p[2]
    return loss - level


def backwards(p, y):
    """The same from the end, with a sum that another sum reads, which is none then."""
    s, total, weighted = p[0], 0.0, 0.0
    for t in range(len(y) - 1, -1, -1):
        s = s * np.cos(p[1]) + np.log(1.5 + np.tanh(y[t]))
        total += np.exp(-s * s) * p[2]
        weighted += total * 0.01
    return weighted + s


def kalman(p, y):
    q, r = np.exp(p[0]), np.exp(p[1])
    F = np.array([[1.0, 1.0], [0.0, 1.0]])
    H = np.array([1.0, 0.0])
    m, P = np.zeros(2), np.eye(2)
    loss = 0.0
    for t in range(len(y)):
        m = F @ m
        P = F @ P @ F.T + q * np.eye(2)
        v = y[t] - H @ m
        S = H @ P @ H + r
        K = P @ H / S
        m = m + K * v
        P = P - np.outer(K, H @ P)
        loss += 0.5 * (np.log(2 * np.pi * S) + v**2 / S)
    return loss * p[2]


def network(p, y):
    """A recurrent net: the gradient of its weights is a product over all rounds."""
    W, h, loss = 0.3 * np.sin(np.outer(p, p + 1.0)), np.zeros(3), 0.0
    for t in range(len(y)):
        h = np.tanh(W @ h + y[t] * p)
        loss += np.sum(np.exp(-h * h))
    return loss
'''
NAMES = ("garch", "smoothed", "backwards", "kalman", "network")
P = np.array([-1.0, -2.0, -0.5])


def data(n: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal(n)


@functools.cache
def plain(tmp: str) -> dict[str, Callable[..., Any]]:
    """The functions of TEXT, from a file."""
    from importlib import util

    spec = util.spec_from_file_location("fission_functions", tmp)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    path = tmp_path_factory.mktemp("fission") / "functions.py"
    path.write_text(TEXT)
    return plain(str(path))


@functools.cache
def on_duals() -> dict[str, Any]:
    return load(TEXT, "functions_on_duals")


def inside_of_scans(outs) -> list[Expr]:
    """The nodes of the bodies of all scans at the top."""
    scans = [n for n in toposort(outs) if n.op.kind is Kind.CONTROL and "length" in n.op.attr_names]
    return [n for s in scans for b in bodies(s) for n in toposort(b.outs)]


def calls(nodes) -> int:
    """Functions such as exp among nodes."""
    return sum(n.op.kind is Kind.ELEMENTWISE and n.op.cost >= 20 for n in nodes)


@pytest.mark.sample(12)
@pytest.mark.quick(2)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [3, 100, 1000])
def test_value_gradient_and_hessian_product(functions, name, n):
    f, y, along = functions[name], data(n), np.array([0.3, -1.1, 0.7])
    tuning = EAGER if n == 3 else HOST_TUNING
    truth = derivatives(on_duals()[name], (P, y), 0, along)
    value, slope = tuned(sg.value_and_grad(f), P, y, tuning=tuning)(P, y)
    np.testing.assert_allclose(value, f(P, y), rtol=1e-12)
    np.testing.assert_allclose(slope, truth.gradient, rtol=1e-9, atol=1e-12 * n)
    graph = sg.trace(lambda p, y: sg.hvp(lambda q: f(q, y), p, along), P, y).simplify()
    second = Compiled(graph, Options(tuning=tuning))(P, y)
    np.testing.assert_allclose(second, truth.product, rtol=1e-8, atol=1e-11 * n)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_what_is_no_recurrence_leaves_the_loop(functions, name):
    """Of these functions all calls of exp, log, … but those that a round needs of the last one."""
    graph = sg.trace(sg.value_and_grad(functions[name]), P, data(100)).simplify()
    before = graph.lowered_outs()
    after = graph.lowered_outs(functools.partial(fission, tuning=HOST_TUNING))
    rest = {"network": 1, "backwards": 1}.get(name, 0)  # tanh of the state, exp in what is read
    assert calls(inside_of_scans(after)) <= rest < calls(inside_of_scans(before))


def test_short_loops_and_small_machines_stay_as_they_are(functions):
    graph = sg.trace(functions["garch"], P, data(40)).simplify()
    outs = graph.lowered_outs()
    assert fission(outs, HOST_TUNING) is not outs and fission(outs, HOST_TUNING) == list(outs)
    long = sg.trace(functions["garch"], P, data(4000)).simplify().lowered_outs()
    assert fission(long, replace(HOST_TUNING, split_nodes=9)) == list(long)
    assert fission(long, Tuning.of(CORTEX_M4)) == list(long)
    assert fission(long, HOST_TUNING) != list(long)


def test_memory_has_a_bound(functions):
    """A loop that would keep more rows than that keeps none."""
    graph = sg.trace(functions["garch"], P, data(4000)).simplify()
    outs = graph.lowered_outs()
    assert fission(outs, replace(HOST_TUNING, split_bytes=8 * 4000 - 1)) == list(outs)
    assert fission(outs, replace(HOST_TUNING, split_bytes=8 * 4000)) != list(outs)
    before = source_of(graph, tuning=replace(HOST_TUNING, split_bytes=0)).workspace_bytes
    after = source_of(graph).workspace_bytes
    assert before < after <= before + 2 * 8 * 4000


@pytest.mark.filterwarnings("ignore:.*does not depend on p")
def test_no_round(functions):
    for name in ("smoothed", "backwards", "network"):
        f, y = functions[name], np.zeros(0)
        value, slope = tuned(sg.value_and_grad(f), P, y, tuning=EAGER)(P, y)
        assert value == f(P, y)
        np.testing.assert_array_equal(slope, derivatives(on_duals()[name], (P, y)).gradient)


@pytest.mark.slow
@pytest.mark.sample(1)
@pytest.mark.parametrize("name", NAMES)
def test_many_at_once_and_in_single_precision(functions, name):
    f, y = functions[name], data(70)
    many = P + 0.1 * np.arange(4.0)[:, None]
    whole = sg.compile(sg.vmap(sg.grad(f), in_axes=(0, None)), many, y)(many, y)
    expected = [derivatives(on_duals()[name], (p, y)).gradient for p in many]
    np.testing.assert_allclose(whole, expected, rtol=1e-8, atol=1e-10)
    p, z = P.astype(np.float32), y.astype(np.float32)
    got = sg.compile(sg.grad(f), p, z)(p, z)
    exact = derivatives(on_duals()[name], (p.astype(float), z.astype(float))).gradient
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, exact, rtol=2e-3, atol=2e-4 * np.max(np.abs(exact)))


@pytest.mark.slow
@needs_sanitizers
def test_exported_c_under_sanitizers(functions, tmp_path):
    y, sources, expected = data(67), [], []
    for name in NAMES:
        graph = sg.trace(sg.value_and_grad(functions[name]), P, y).simplify()
        sources.append(replace(source_of(graph), name=name))
        expected.append(derivatives(on_duals()[name], (P, y)).gradient)
    outs = [[np.zeros(()), np.zeros(3)] for _ in NAMES]
    run_sanitized(sources, [[P, y]] * len(NAMES), outs, tmp_path)
    for (_, got), truth in zip(outs, expected, strict=True):
        np.testing.assert_allclose(got, truth, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("tuning", [EAGER, GREEDY], ids=["eager", "greedy"])
@pytest.mark.slow
def test_random_loops(tuning):
    split = 0
    for seed in range(15):
        made = RandomLoops(seed, n=4)
        outs = expanded(made.outs)
        after = fission(outs, tuning)
        split += after != outs
        with np.errstate(all="ignore"):
            one, other = evaluate(outs, made.values), evaluate(after, made.values)
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9)
        if seed % 5 == 0:
            source = c_of(made.args, after, tuning=tuning)
            status, results = run_c(source, made.args, after, made.values)
            assert status == 0
            for a, b in zip(one, results, strict=True):
                np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9)
    assert split >= 5


# ---- what must stay in its round -----------------------------------------------------------------


def test_nothing_is_computed_of_rounds_that_do_not_take_place():
    """A while loop, and its way back, stop in time: beyond that log would be NaN."""

    def f(p):
        x, loss = p[0], 0.0
        while x > 0.5:
            loss += np.log(x - 0.4) * p[1]
            x = x * 0.9
        return loss

    p = np.array([9.0, 1.0])
    value, slope = tuned(sg.value_and_grad(f), p, tuning=EAGER)(p)
    h = 1e-200
    assert value == pytest.approx(f(p))
    for k in range(2):
        assert slope[k] == pytest.approx(f(p + 1j * h * np.eye(2)[k] if k else _along(p)).imag / h)


def _along(p):
    """p with a complex step in its first element; comparisons look at the real part."""

    class Step(complex):
        def __gt__(self, other):
            return self.real > other

        def __mul__(self, other):
            return Step(complex(self) * other)

    return [Step(p[0], 1e-200), p[1]]


def test_a_failing_round_still_fails():
    def f(p, y):
        s, loss = p[0], 0.0
        for x in y:
            s = 0.5 * s + x
            assert s < 100, "too much"
            loss += np.log(1 + s * s)
        return loss

    y = data(80)
    compiled = tuned(f, P, y, tuning=EAGER)
    assert compiled(P, y) == pytest.approx(f(P, y))
    y[40] = 1e3
    with pytest.raises((AssertionError, CheckFailedError), match="too much"):
        compiled(P, y)


@pytest.mark.slow
def test_a_branch_is_taken_in_its_round_alone():
    """What only one side may compute is not computed for all rounds."""

    def f(p, y):
        s, loss = p[0], 0.0
        for t in range(len(y)):
            s = 0.5 * s + 0.1 * y[t]
            loss += np.log(s) if s > 0 else y[int(t * 0)] * s
        return loss

    y = data(90)
    with np.errstate(invalid="raise"):
        assert tuned(f, P, y, tuning=GREEDY)(P, y) == pytest.approx(f(P, y))
        value, slope = tuned(sg.value_and_grad(f), P, y, tuning=GREEDY)(P, y)
    assert np.isfinite(value) and np.isfinite(slope).all()


def test_sums_are_more_exact_then():
    """In float32, of 100,000 terms that a recurrence makes."""

    def f(p, y):
        s, total = p[0], p[0] * 0
        for x in y:
            s = 0.5 * s + x
            total += np.exp(-s * s)
        return total

    rng = np.random.default_rng(1)
    y, p = rng.uniform(0, 1, 100_000).astype(np.float32), np.float32([0.5])
    exact = f(p.astype(float), y.astype(float))
    got = sg.compile(f, p, y)(p, y)
    assert abs(got - exact) < 1e-6 * exact < abs(_in_order(f, p, y) - exact)


def _in_order(f, p, y):
    off = replace(HOST_TUNING, split_bytes=0)
    return tuned(f, p, y, tuning=off)(p, y)


def test_loops_of_the_c(functions):
    """The recurrence is one loop, which calls nothing; logarithms are vectors behind it."""
    graph = sg.trace(functions["garch"], P, data(512)).simplify()
    program = program_of(graph)
    serial = [x for x in loops(program) if x.serial]
    assert [x.extent for x in serial] == [128, 128]  # of which one runs, by the factor
    assert "log" not in str(replace(program, body=serial)) and "log" in str(program)


# ---- linear recurrences, several rounds at a time ------------------------------------------------

AHEAD = '''
import numpy as np


def smooth(p, y):
    s, rows = p[0], []
    for x in y:
        s = p[1] * s + p[2] * np.sin(x)
        rows.append(s)
    return np.array(rows)


def from_the_end(p, y):
    """Discounted sums from the end, of which the state before each round is read as well."""
    s, total = p[0], 0.0
    for t in range(len(y) - 1, -1, -1):
        total += np.exp(-s * s) * y[t]
        s = p[1] * (s + y[t])
    return np.array([s, total])


def running(p, y):
    """Running sums: the factor is 1."""
    s, loss = p[0], 0.0
    for x in y:
        s = s + p[1] * x
        loss += np.tanh(s) * p[2]
    return np.array([loss, s])


def fixed(p, y):
    """A factor that is known, with its sign changed, and two recurrences in one loop."""
    s, v, loss = p[0], p[1], 0.0
    for x in y:
        s = x - 0.75 * s
        v = 0.5 * (v - x * x) + p[2]
        loss += np.sin(s) * np.cos(v)
    return np.array([loss, s, v])


def decayed(p, y):
    s, loss = p[0], 0.0
    for x in y:
        s = p[1] * s
        loss += np.exp(-s) * x
    return np.array([loss, s])
'''
LINEAR = ("smooth", "from_the_end", "running", "fixed", "decayed")


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    path = tmp_path_factory.mktemp("ahead") / "linear_functions.py"
    path.write_text(AHEAD)
    return plain(str(path))


def blocks(graph, tuning=HOST_TUNING) -> list[Expr]:
    """The scans of a split graph which do several rounds at once."""
    outs = graph.lowered_outs(functools.partial(fission, tuning=tuning))
    n = max(int(np.prod(a.shape)) for a in graph.args)
    inside = [b for s in toposort(outs) if s.op.kind is Kind.CONTROL for b in bodies(s)]
    every = [*toposort(outs), *(x for b in inside for x in toposort(b.outs))]
    scans = {s for s in every if s.op.kind is Kind.CONTROL and "length" in s.op.attr_names}
    return [s for s in scans if 2 * s.attr("length") < n]


@pytest.mark.quick(1)
@pytest.mark.sample(23)
@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("n", [64, 3, 4, 7, 97, 3000])
def test_several_rounds_at_once(linear, name, n):
    """Against the same rounds in plain Python, one by one; factors above 1 and next to 0 too."""
    f, y = linear[name], data(n)
    compiled = tuned(f, P, y, tuning=EAGER_AHEAD if n < 64 else HOST_TUNING)
    for factor in (0.9, -1.0, 1.07, 1e-3, 1e-7, 0.0):
        if factor > 1 and n > 1000:
            continue  # it overflows
        p = np.array([0.4, factor, 0.3])
        truth = f(p, y)
        size = np.maximum(np.abs(truth), np.max(np.abs(truth)) * 1e-3 + 1e-300)
        assert np.max(np.abs(compiled(p, y) - truth) / size) < 1e-11
    if n > 64:  # the first round may be another one
        assert blocks(sg.trace(f, P, y).simplify())


EAGER_AHEAD = replace(EAGER, ahead_from_rounds=3)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("n", [5, 66])
@pytest.mark.quick(3)
@pytest.mark.sample(5)
def test_derivatives_of_several_rounds_at_once(linear, name, n):
    p, y = np.array([0.4, 0.8, 0.3]), data(n)
    f = linear[name]
    on_dual = load(AHEAD, "linear_on_duals")[name]
    weight = np.cos(np.arange(f(p, y).size))
    tuning = EAGER_AHEAD if n < 64 else HOST_TUNING
    gradient = tuned(sg.grad(lambda p, y: np.sum(weight * f(p, y))), p, y, tuning=tuning)(p, y)
    scalar = lambda leaves: sum(w * x for w, x in zip(weight, leaves[0].flat, strict=True))
    truth = derivatives(on_dual, (p, y), 0, np.ones(3), scalar)
    np.testing.assert_allclose(gradient, truth.gradient, rtol=1e-10, atol=1e-12)
    graph = sg.trace(lambda p, y: sg.hvp(lambda q: np.sum(weight * f(q, y)), p, np.ones(3)), p, y)
    second = Compiled(graph.simplify(), Options(tuning=tuning))(p, y)
    np.testing.assert_allclose(second, truth.product, rtol=1e-9, atol=1e-11)


def test_nothing_overflows_or_is_lost_that_was_not(linear):
    """Powers of a factor of 1e100 are infinite, those of 1e-100 are 0: such loops go round by
    round, and give what plain Python gives, bit by bit."""
    for factor, start, value in ((1e100, 0.0, 0.0), (1e-100, 1e250, 0.0), (-1e150, 1e-250, 0.0)):
        y = np.full(96, value)
        p = np.array([start, factor, 0.3])
        with np.errstate(over="ignore", invalid="ignore"):
            truth = linear["smooth"](p, y)
        np.testing.assert_array_equal(sg.compile(linear["smooth"], p, y)(p, y), truth)


@pytest.mark.slow
def test_other_recurrences_go_round_by_round(functions):
    for name in ("kalman", "network"):
        graph = sg.trace(sg.value_and_grad(functions[name]), P, data(100)).simplify()
        assert not blocks(graph)

    def growing(p, y):
        s, v = p[0], p[1]
        for x in y:
            s, v = 0.5 * s + v, 0.5 * v + s * x  # each reads the other
        return s + v

    def squared(p, y):
        s = p[0]
        for x in y:
            s = 0.5 * s * s + x
        return s

    def varying(p, y):
        s = p[0]
        for x in y:
            s = x * s + 1
        return s

    for f in (growing, squared, varying):
        graph = sg.trace(f, P, data(100)).simplify()
        assert not blocks(graph)
        y = 0.1 * data(100)
        np.testing.assert_allclose(sg.compile(f, P, y)(P, y), f(P, y), rtol=1e-13)


@pytest.mark.slow
def test_rows_stay_in_the_cache(linear):
    graph = sg.trace(linear["smooth"], P, data(1000)).simplify()
    assert blocks(graph)
    assert not blocks(graph, replace(HOST_TUNING, read_again_bytes=8 * 1000))
    assert not blocks(graph, Tuning.of(CORTEX_M4))


def random_recurrence(seed: int) -> tuple[list[Expr], dict[Expr, np.ndarray], list[Expr]]:
    """A scan with linear recurrences, sums, branches that read old and new states, in any order."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 14))
    dtype = "float64" if seed % 4 else "float32"
    args = [arg(0, (), dtype), arg(1, (), dtype), arg(2, (n,), dtype), arg(3, (n,), dtype)]
    values = {a: rng.uniform(-1.2, 1.2, a.shape).astype(dtype) for a in args}
    carries = int(rng.integers(1, 3))
    sums = int(rng.integers(0, 3))
    consts, rows = fresh(args[:2]), [arg(2 + k, (), dtype) for k in range(2)]
    states = [arg(4 + k, (), dtype) for k in range(carries + sums)]

    def value(pool: list[Expr]) -> Expr:
        one, other = (pool[int(rng.integers(len(pool)))] for _ in range(2))
        made = [lambda: one + other, lambda: one * other, lambda: bind("sin", one), lambda: -one,
                lambda: chosen(one, other), lambda: one - other]  # fmt: skip
        return made[int(rng.integers(len(made)))]()

    def chosen(one: Expr, other: Expr) -> Expr:
        given = fresh([one, other])
        sides = [Body.close(given, [given[0] * 2]), Body.close(given, [given[1] - given[0]])]
        return switch(convert(greater(one, 0.1), "int64"), sides, [one, other])[0]

    plain = [*consts, *rows]
    after = []
    for s in states[:carries]:
        g, w = value(plain), value([*rows, value(plain)])
        factor = [None, consts[0], consts[1] * consts[0], const(0.5, dtype)][int(rng.integers(4))]
        inner = [s, s + g, g + s][int(rng.integers(3))]
        term = inner if factor is None else [factor * inner, -(factor * inner)][seed % 2]
        after.append([term + w, w - term, term - w, term][int(rng.integers(4))])
    pool = [*plain, *states[:carries], *after]
    terms = [value([*pool, value(pool)]) for _ in range(sums)]
    after += [s + t for s, t in zip(states[carries:], terms, strict=True)]
    ys = [value(pool), *[pool[int(rng.integers(len(pool)))] for _ in range(int(rng.integers(3)))]]
    body = Body.close([*consts, *states, *rows], [*after, *ys])
    starts = [args[0] * k for k in range(1, len(states) + 1)]
    made = scan(body, args[:2], starts, args[2:], n, reverse=bool(rng.integers(2)))
    return args, values, made


@pytest.mark.slow
def test_random_recurrences(monkeypatch):
    found = 0

    def several(*given):
        nonlocal found
        made = several_at_once(*given)
        found += made is not None
        return made

    monkeypatch.setattr("symgrad.lower.fission.several_at_once", several)
    for seed in (*range(100), 566, 599, 652):  # of the last ones parameters were taken twice
        args, values, outs = random_recurrence(seed)
        outs = expanded(outs)
        after = fission(outs, GREEDY)
        for a, b in zip(evaluate(outs, values), evaluate(after, values), strict=True):
            limit = 1e-11 if a.dtype == np.float64 else 2e-4
            np.testing.assert_allclose(b, a, rtol=limit, atol=limit * (1 + np.max(np.abs(a))))
        if seed % 25 == 0:
            after = expanded(after)
            status, results = run_c(c_of(args, after, tuning=GREEDY), args, after, values)
            assert status == 0
            for a, b in zip(evaluate(outs, values), results, strict=True):
                limit = 1e-11 if a.dtype == np.float64 else 2e-4
                np.testing.assert_allclose(b, a, rtol=limit, atol=limit * (1 + np.max(np.abs(a))))
    assert found > 40
