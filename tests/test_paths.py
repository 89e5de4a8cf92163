"""Functions that are called once for each way that they can go: their source cannot be had, or the
two sides of a decision leave what cannot be one value.

The oracle is the function itself on plain numbers, and on dual numbers (support.dual).
"""

from __future__ import annotations

import types
import warnings
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from support.dual import Dual
from support.sourceless import stripped
from symgrad import tree
from symgrad.errors import BranchError, StructureError, TraceError, UnsupportedError

POINTS = [np.array(p) for p in (
    [0.7, -1.3, 2.1], [-0.7, 1.3, 0.4], [2.5, 0.3, -2.0], [-1.0, -2.0, -3.0], [0.0, 0.0, 0.0],
    [0.2, 5.0, 1.0],
)]  # fmt: skip


def same(f: Any, plain: Any = None) -> None:
    """The graph of `f` at every point, against `plain` or itself."""
    graph = sg.trace(f, POINTS[0])
    for x in POINTS:
        got, structure = tree.flatten(graph.evaluate(x.copy()))
        want, wanted = tree.flatten((plain or f)(x.copy()))
        assert structure == wanted
        for g, w in zip(got, want, strict=True):
            assert np.shape(g) == np.shape(w)
            np.testing.assert_allclose(g, w, rtol=1e-13, err_msg=str(x))


def of_text(text: str, **names: Any) -> Any:
    """The function that a text defines, as `exec` leaves it."""
    space = {"np": np, **names}
    exec(text, space)
    return [v for v in space.values() if type(v) is types.FunctionType][-1]


PIECES = """
def pieces(x):
    if x[0] > 0:
        y = x[0] ** 3 * x[1]
    elif x[1] > 0.5:
        y = np.exp(x[2]) * x[1]
    else:
        y = x[2] if x[2] < x[0] else np.sin(x[0]) * x[2]
    for v in sorted([x[0], x[1] * x[2]]):
        y = y * (v + 2)
    return y
"""
WALK = """
def walk(x):
    z = np.zeros_like(x) + x
    view = z[1:]
    for k in range(2):
        if z[k] > z[k + 1]:
            view[0] = z[0] * z[1]
        else:
            z *= 0.5
    out = {"z": z, "rest": (view[0] + z[1], 1)}
    if x[2] > 0 and x[1] < 2:
        out["rest"] = (2.0 * x[0], 3)
    return np.sum(out["z"] ** 2) + out["rest"][0] * out["rest"][1]
"""


@pytest.mark.slow
def test_derivatives_compiled() -> None:
    """Values, gradients and second derivatives in C, at points on both sides of each decision."""
    fs = [of_text(PIECES), of_text(WALK)]

    def each(x: Any) -> Any:
        return [(sg.value_and_grad(f)(x), sg.hessian(f)(x)) for f in fs]

    compiled = sg.jit(each)
    for x in POINTS[:4]:
        for f, ((value, gradient), hessian) in zip(fs, compiled(x), strict=True):
            eye = np.eye(3)
            first = f(np.array([Dual(v, e) for v, e in zip(x, eye, strict=True)], object))
            second = [
                f(np.array([Dual(Dual(v, d), Dual(e, 0 * e)) for v, d, e in
                            zip(x, row, eye, strict=True)], object))
                for row in eye
            ]  # fmt: skip
            assert value == pytest.approx(f(x), rel=1e-13)
            np.testing.assert_allclose(gradient, first.slope, rtol=1e-12, atol=1e-13)
            want = [s.slope.slope for s in second]
            np.testing.assert_allclose(hessian, want, rtol=1e-12, atol=1e-12)


def test_batches() -> None:
    f = of_text(PIECES)
    x = np.stack(POINTS)
    graph = sg.trace(sg.vmap(sg.grad(f)), x)
    one = sg.trace(sg.grad(f), x[0])
    np.testing.assert_allclose(graph.evaluate(x), [one.evaluate(v) for v in x], rtol=1e-13)


def test_only_one_side_is_computed() -> None:
    f = of_text("def f(x):\n if x > 0:\n  return np.log(x) / x\n return x * x\n")
    assert sg.trace(sg.grad(f), 1.0).evaluate(0.0) == 0.0
    assert np.isfinite(sg.trace(sg.grad(f), 1.0).evaluate(-2.0))


# ---- functions with source whose sides cannot be merged ------------------------------------------


def positive(x):
    """How many values there are depends on them."""
    for v in x:
        if v > 0:
            yield v
        else:
            yield v * v
            yield 1.0


def generated(x):
    return sum(positive(x)) * x[0]


def filtered(x):
    kept = [v for v in x if v > 0.3]
    return sum(kept) + len(kept) * x[1]


def caught(x):
    try:
        if x[0] < 0:
            raise ValueError("negative")
        y = x[0] * x[1]
    except ValueError:
        y = x[2]
    finally:
        y = y + 1
    return y


def named(x):
    state = "low"
    for v in x:
        if v > 1:
            state = "high"
    return x[0] * {"low": 2.0, "high": 3.0}[state]


def queue(x):
    left, total = list(x), 0.0
    for k in range(4):
        if not left:
            break
        v = left.pop()
        if v > 1:
            left += [v - 1]
        total = total + (k + 1) * v * v
    return total


def swallowed(x):
    """Whoever catches all does not hide a decision."""
    try:
        return np.sum(x) if [v for v in x if v > 0] else x[0]
    except Exception:
        return x[1]


def made_on_one_side(x):
    total = x[0]
    if x[1] > 0:
        made = []
        made.append(x[0] * 2)
        table = {}
        table["a"] = x[1]
        box = types.SimpleNamespace()
        box.value = x[2]
        total = sum(made) + table["a"] + box.value
    return total


def partitioned(values):
    if len(values) < 2:
        return values
    pivot, *rest = values
    low, high = [v for v in rest if v < pivot], [v for v in rest if not v < pivot]
    return [*partitioned(low), pivot, *partitioned(high)]


def quick(x):
    return np.dot(np.array(partitioned(list(x))), np.array([1.0, 10.0, 100.0]))


@pytest.mark.parametrize(
    "f", [generated, filtered, caught, named, queue, swallowed, made_on_one_side, quick],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_sides_of_different_structure(f: Any) -> None:
    same(f)
    graph = sg.trace(sg.grad(f), POINTS[0])
    for x in POINTS[:4]:
        duals = [Dual(v, e) for v, e in zip(x, np.eye(3), strict=True)]
        if f is not quick:  # np.array of the objects
            slope = f(duals if f is not swallowed else np.array(duals, object)).slope
            np.testing.assert_allclose(graph.evaluate(x), slope, rtol=1e-13, atol=0)


def test_what_source_can_merge_is_merged() -> None:
    """Only the decisions that need it are explored: 2 ways here, not 2**11."""

    def f(x):
        y = x[0]
        for k in range(10):
            y = y * x[1] if y > k else y + x[2]
        return y * len([v for v in x[:1] if v > 0])

    same(f)
    assert str(sg.trace(f, POINTS[0])).count("switch") <= 12


# ---- what is refused -----------------------------------------------------------------------------


def told(f: Any, *args: Any) -> str:
    with pytest.raises(TraceError) as caught:
        sg.trace(f, *(args or (1.0,)))
    return str(caught.value)


def test_a_loop_whose_end_is_traced() -> None:
    message = told(of_text("def f(t):\n while t > 1:\n  t = t / 2\n return t"))
    assert message.startswith("<string>:2: ")
    assert "max_paths=256" in message and "while_loop" in message
    message = told(of_text("def f(t):\n return t if t < 1 else f(t / 2)"))
    assert "<string>:2" in message and "recursion" in message


def test_the_bound_is_an_option() -> None:
    text = "def f(t):\n for k in range(9):\n  if t > k:\n   break\n return t * k\n"
    f = of_text(text)
    assert sg.jit(f, max_paths=10)(3.5) == f(3.5)
    with pytest.raises(BranchError, match="<string>:3: .*max_paths=9.*9 in one call"):
        sg.jit(f, max_paths=9)(3.5)
    with pytest.raises(BranchError, match="max_paths=2"):
        sg.compile(sg.grad(f), 1.0, max_paths=2)
    for bad in (0, True, 2.0):
        with pytest.raises(StructureError, match="max_paths"):
            sg.jit(f, max_paths=bad)


def test_a_path_that_raises() -> None:
    """It is a check of the call; what Python itself raises on the way is refused."""
    text = """
def f(t):
    if t < 0:
        raise ValueError('no', 1)
    if t < 1:
        assert t > 0.5, 'small'
        return t
    if t > 7:
        if t > 8:
            raise OverflowError
        raise KeyError('between')
    return t * t
"""
    f = of_text(text)
    for graph in (sg.trace(f, 1.0), sg.trace(sg.grad(f), 1.0), sg.trace(sg.grad(sg.grad(f)), 1.0)):
        for t, error in ((-1.0, ValueError), (0.2, AssertionError), (9.0, OverflowError),
                         (7.5, KeyError)):  # fmt: skip
            with pytest.raises(error) as caught:
                graph.evaluate(t)
            with pytest.raises(error) as plain:
                f(t)
            assert caught.value.args == plain.value.args
    for t, want in ((0.7, 1.0), (3.0, 6.0)):
        assert sg.trace(f, 1.0).evaluate(t) == f(t)
        assert sg.trace(sg.grad(f), 1.0).evaluate(t) == want
    with pytest.raises(ValueError, match="no"):
        sg.jit(f)(-1.0)
    message = told(of_text("def f(t):\n if t < 0:\n  return {}['a']\n return t"))
    assert message.startswith("<string>:2: ") and "KeyError: 'a'" in message and "True" in message
    with pytest.raises(ValueError, match="one"):  # whichever way it goes
        sg.trace(of_text("def f(t):\n raise ValueError('one' if t > 0 else 'other')"), 1.0)

    def f(t):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="^mine$"):  # nothing was decided
        sg.trace(stripped(f), 1.0)


def test_state_that_runs_share() -> None:
    counter, numbers = [0], iter(range(100))
    message = told(of_text("def f(t):\n C[0] += 1\n return t if t > 0 else C[0] * t", C=counter))
    assert "changes C" in message
    text = "def f(t):\n k = next(N)\n return t * k if t > 0 else t"
    assert "from call to call" in told(of_text(text, N=numbers))

    class Counts:
        total = 0.0

        def __call__(self, t):
            self.total = self.total + 1
            return t if [v for v in (t,) if v > 0] else -t * self.total

    # Followed by the source, what a run has changed is taken back, but not for the first call.
    assert "changes total" in told(Counts())


def test_arguments_are_new_in_each_run() -> None:
    text = """
def f(lst, d):
    lst.append(d["a"])
    d["b"] = lst[0] * 2
    if lst[0] > 0:
        lst[1] = lst[0] * 3
    d["a"] = 0.0
    return lst[0] * lst[1] + d["b"] + len(lst)
"""
    f = of_text(text)
    given = [2.0], {"a": 5.0}
    graph = sg.trace(f, *given)
    assert given == ([2.0], {"a": 5.0})
    for a in (2.0, -3.0):
        assert graph.evaluate([a], {"a": 5.0}) == f([a], {"a": 5.0})


def test_decisions_in_handlers() -> None:
    text = """
def f(t):
    try:
        1 / 0
    except ZeroDivisionError:
        if t > 0:
            return t * t
    return -t
"""
    for t in (2.0, -3.0):
        assert sg.trace(of_text(text), 1.0).evaluate(t) == of_text(text)(t)
    text = "def f(t):\n try:\n  return float(t)\n except TypeError:\n  return t if t > 0 else -t"
    assert "float()" in told(of_text(text))


def test_structures_that_differ() -> None:
    message = told(of_text("def f(t):\n if t > 0:\n  return t, t\n return t"))
    assert message.startswith("<string>:2: ") and "different structures" in message
    message = told(
        of_text("def f(t):\n if t > 0:\n  return np.ones(2) * t\n return np.ones(3) * t")
    )
    assert message.startswith("<string>:2: ") and "(2,)" in message and "(3,)" in message


def test_errors_of_functions_with_source_stay() -> None:
    def endless(x):
        while x[0] > 1:
            x = [*x, x[0]] if len(x) < 4 else [x[0] / 2]
        return x[0]

    message = told(endless, [3.0])
    assert "cannot be one loop" in message and "too many ways" in message


def test_random_numbers_are_refused() -> None:
    generator = np.random.default_rng(0)
    text = "def f(t):\n return t if t > 0 else t * R.normal()"
    with pytest.raises(UnsupportedError):
        sg.trace(of_text(text, R=generator), 1.0)


def test_a_data_argument_that_goes_too_many_ways_is_static() -> None:
    text = """
def f(w, knots):
    k = 0
    while knots[k] < 3.5:
        k = k + 1
    return np.sum(w * knots[k]) + sum(v for v in knots if v > 2)
"""
    f = of_text(text)
    g = sg.grad(f)
    for scale in (1.0, 0.5):
        knots = scale * np.arange(40.0)
        k = int(np.argmax(knots >= 3.5))
        np.testing.assert_allclose(g(np.ones(2), knots), [knots[k]] * 2)


def test_without_decisions_nothing_is_repeated() -> None:
    calls = []

    def f(x):
        calls.append(1)
        return x * x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sg.trace(stripped(f), 1.0)
    assert len(calls) == 1
