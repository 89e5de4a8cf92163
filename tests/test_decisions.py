"""Decisions on traced values, by the source of the function: both sides are run and merged.

The oracle is the function itself on plain numbers, and dual numbers by the complex step where it
decides nothing on complex values; each function is traced once and asked at several points.
"""

# ruff: noqa: E501 (tables of expressions, one per entry)

from __future__ import annotations

import functools
import math
from collections import Counter, defaultdict, deque
from typing import Any, NamedTuple

import numpy as np
import pytest

import symgrad as sg
from support.sourceless import stripped
from symgrad import tree
from symgrad.errors import BranchError, MutationError, SymgradError, TraceError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import arg
from symgrad.trace import Tracer, record

POINTS = [np.array(p) for p in (
    [0.7, -1.3, 2.1], [-0.7, 1.3, 0.4], [2.5, 0.3, -2.0], [-1.0, -2.0, -3.0], [0.0, 0.0, 0.0],
    [0.2, 5.0, 1.0],
)]  # fmt: skip


def traced(f: Any) -> Any:
    node = arg(0, (3,), "float64")
    outs, structure = record(f, (Tracer(node),), {})
    return lambda x: structure.unflatten(evaluate(outs, {node: x}))


def same(f: Any, dtypes: bool = True) -> None:
    """At every point, where both sides of most decisions are taken."""
    found = traced(f)
    for x in POINTS:
        got, structure = tree.flatten(found(x))
        want, wanted = tree.flatten(f(x.copy()))
        assert structure == wanted
        for g, w in zip(got, want, strict=True):
            assert np.shape(g) == np.shape(w)
            np.testing.assert_allclose(g, w, rtol=1e-13, err_msg=str(x))


EXPRESSIONS = [
    lambda x: x[0] if x[0] > 0 else -x[1], lambda x: x * 2 if x[0] > x[1] else x / 2, lambda x: x[0] > 0 and x[1] > 0,
    lambda x: x[0] > 0 or x[1] > 0 or x[2] > 0, lambda x: not x[0], lambda x: not (x[0] > 0 and not x[1] < 0),
    lambda x: 0 < x[0] < 1, lambda x: 0 < x[0] < x[1] <= x[2], lambda x: (x[0] > 0) == (x[1] > 0), lambda x: x[0] and x[1],
    lambda x: x[0] or 5.0, lambda x: max(x[0], x[1], 0), lambda x: min(x), lambda x: x[0] in (0.0, 0.7, 2.5), lambda x: x[0] not in [0.2, 1],
    lambda x: [v if v > 0 else 0.0 for v in x], lambda x: sum(v for v in x if v is not None), lambda x: 1 if x[0] > 0 else 2,
    lambda x: 1 if x[0] > 0 else 2.5, lambda x: (1.0, x) if x[0] > 0 else (x[1], 2 * x), lambda x: {"a": x[0]} if x[1] > 0 else {"a": 3.0},
    lambda x: math.sqrt(x[0]) if x[0] > 0 else 0.0, lambda x: 1 / x[1] if x[1] else x[0], lambda x: x[0] ** 2 if x[0] < 0 else (x[0] if x[0] < 1 else 1.0),
    lambda x: (x[0] > 0) + (x[1] > 0), lambda x: np.array([v > 0 and v < 2 for v in x]), lambda x: x[0] > 0 and x[1] or x[2],
    lambda x: x[1] if 0.0 < x[0] else None or x[2], lambda x: bool(x[0] > 0), lambda x: (lambda v: v if v > 0 else -v)(x[1]),
    lambda x: functools.reduce(lambda a, b: a if a > b else b, x), lambda x: x.max() if (x > 0).all() else x.min(),
    lambda x: "never" in "text" or x[0] > 1, lambda x: x[0] if len(x) == 3 and x[0] > 0 else x[1], lambda x: x[np.argmax(x)] if x[0] > 0 else x[0],
    lambda x: (x if x[0] > 0 else x[::-1]) * 2, lambda x: np.zeros(3) if x[0] > 0 else x, lambda x: True if x[0] > 0 else False,
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(EXPRESSIONS)))
def test_expressions(k: int) -> None:
    same(EXPRESSIONS[k])


# ---- statements ----------------------------------------------------------------------------------


def elif_chain(x):
    if x[0] < -0.5:
        y = -x[1]
    elif x[0] < 0.1:
        y = x[1] ** 2
    elif x[0] < 1:
        y = x[2] ** 3
    else:
        y = 1.0
    return y * x


def early_returns(x):
    if x[0] > 1:
        return np.sum(x**2)
    y = x * 2
    if y[1] < -1:
        if y[2] > 0:
            return np.prod(y)
        y = y + 1
    for v in y:
        if v > 5:
            return v
    return np.sum(y)


def nested(x):
    a, b, c = x
    if a > 0:
        if b > 0:
            return a * b
        if c > 1:
            r = a / c
        else:
            r = a - c
    else:
        r = b
    return r**2 + c


def assigned_on_one_side(x):
    y = 1.0
    if x[0] > 0:
        y = x[1] * 3
        z = y
    else:
        z = 2.0
    if x[1] > 0:
        pass
    else:
        z += y
    return y, z


def one_of_two_arrays_changed(x):
    z, w = np.zeros(3), np.ones(3)
    y = z if x[0] > 0 else w
    y[0] = x[1]
    return z, w, y


def source_of_one_changed(x):
    z, w = x * 2, x * 3
    y = z if x[0] > 0 else w
    z[0] = 5.0
    return y, w


def one_of_an_argument_changed(x):
    y = x
    if x[0] > 0:
        x = x * 2
    x[1] = 3.0
    return x, y


def one_of_views_changed(x):
    z = np.outer(x, [1.0, 2.0])
    v = z[:, 1] if x[0] > 0 else x * 2
    v[0] += 1.0
    w = z if x[1] > 0 else z * 3
    z[1] = -x[2]
    return z, v, w


def one_of_three_changed(x):
    z, w = x * 2, x * 3
    y = z if x[0] > 0 else w
    u = y if x[1] > 0 else x.copy()
    u *= 2
    del y
    u[0] = 7.0
    w[2] -= u[1]
    return z, w, u


def one_of_two_in_a_branch(x):
    z, w = x * 2, x * 3
    y = z if x[0] > 0 else w
    if x[1] > 0:
        y[0] = 1.0
    else:
        w[1] = 2.0
    return z, w, y


def flags_as_numbers(x):
    low, high = x[0] <= 0.1, x[1] > 0
    if low != 0:
        a = -x[1]
    if low == 0:
        a = x[1] * 2
    if 1 == high:
        b = a * x[0]
    if high == False:  # noqa: E712
        b = a + x[2]
    return a, b, high == 1.0


def stored_on_one_side(x):
    z = np.zeros(3)
    for k in range(3):
        if x[k] > 0.5:
            z[k] = x[k] ** 2
        else:
            z[k] += 0.1 * x[k]
    return z


def known_numbers_on_both_sides(x):
    z = np.zeros(3)
    if x[0] > 0:
        z[0] = 1.0
        z[1:] += 2
    else:
        z[:] = 5.0
        z *= 2
    n = np.array([1, 2])
    if x[1] > 0:
        m = n.copy()
        m[0] = 7
        k = int(m[0]) - 5
        z[k] = 9.0
    return z, n, n[0]


def views_and_aliases(x):
    z = np.zeros((2, 3))
    row, alias = z[0], z
    flat = z.reshape(-1)
    if x[0] > 0:
        row += x
        flat[4] = x[1]
    elif x[1] > 0:
        alias[1] = x * 2
        alias *= 3
    row[2] = 1.0
    return z, row * 1, alias, flat


def change(z, v, box):
    z[0] += v
    box["n"] = box["n"] + v
    box["list"].append(v)


def helper_changes(x):
    z, box = np.ones(3), {"n": 0.0, "list": []}
    if x[0] > x[1]:
        change(z, x[0], box)
    else:
        change(z[1:], x[1] * 2, box)
    return z, box


class Bag:
    def __init__(self, v):
        self.v = v
        self.items = [v]

    def grow(self, k):
        self.v += k
        self.items[0] = self.items[0] * k


def attributes(x):
    b = Bag(x[0])
    other = b
    if x[1] > 0:
        b.grow(x[1])
        b.new = 1.0
    else:
        b.v = -1.0
        b.new = x[2]
    return b.v, other.items, b.new


def cells(x):
    total = 0.0

    def add(v):
        nonlocal total
        total += v
        return total

    if x[0] > 0:
        add(x[0])
        add(x[1])
    elif x[1] > 0:
        add(3.0)
    return total


COUNTER = 0.0


def global_variable(x):
    global COUNTER
    COUNTER = 0.0
    if x[0] > 0:
        COUNTER = COUNTER + x[1]
    value = COUNTER
    COUNTER = 0.0
    return value * 2


def broken_loop(x):
    total, seen = 0.0, 0
    for k, v in enumerate(x):
        if v < 0:
            break
        total += v * (k + 1)
        seen = seen + 1
    return total, seen, k


def continued_loop(x):
    total = 0.0
    for v in x:
        if v > 1:
            continue
        total += v
        if v < -1.5:
            total *= 2
            continue
        total += 1
    return total


def loop_else(x):
    for v in x:
        if v > 2:
            r = v
            break
    else:
        r = x[0] * x[2]
    return r


def nested_loops(x):
    total = 0.0
    for a in x:
        for b in x:
            if b > 1:
                break
            if a > b:
                continue
            total += a * b
        else:
            total += 10
        if total > 4:
            break
    return total


def returns_from_loops(x):
    for a in x:
        for b in (0.5, 1.0):
            if a * b > 1:
                return a + b
        if a < -0.9:
            return -a
    return 0.0


def while_with_known_end(x):
    k, total = 0, 0.0
    while k < 3:
        k += 1
        if x[k - 1] > 0:
            continue
        total += x[k - 1] * k
    return total


def newton(x):
    a = abs(x[0]) + 0.5
    r = 1.0
    for _ in range(12):
        step = (r * r - a) / (2 * r)
        if abs(step) < 1e-9:
            break
        r = r - step
    return r


def bisection(x):
    low, high = 0.0, 3.0
    for _ in range(30):
        middle = (low + high) / 2
        if middle**3 > abs(x[1]):
            high = middle
        else:
            low = middle
    return middle


def matched(x, kind="b"):
    match x[0]:
        case 0.7:
            y = x[1]
        case _:
            y = x[2]
    match kind:
        case "a" | "c":
            y = y + 1
        case "b" if x[1] > 0:
            y = y * 2
        case other:
            y = y + len(other)
    return y


def matched_numbers(x):
    match x[0]:
        case 0.7 | 2.5:
            return x[1]
        case 0.0:
            return 1.0
        case v if v < 0:
            return v * 3
    return x[2]


def with_and_try(x):
    z = 0.0
    with np.errstate(all="ignore"):
        try:
            if x[0] > 0:
                return x[1]
            z = x[2]
        except ValueError:
            z = 100.0
        else:
            z = z + 1
        finally:
            w = 2.0
    return z * w


def out_of_known(x):
    z, w, total = np.ones(3), np.zeros(()), np.zeros(3)
    if x[0] > 0:
        np.sum(z, out=w)
        z.cumsum(out=total)
    elif x[1] > 0:
        np.add(z, 1.0, out=total)
    return w * 1, total


def returns_through_finally(x):
    seen, y = [], 1.0
    try:
        if x[0] > 0:
            return x[1], seen
        y = 2.0 * x[2]
    finally:
        seen.append(y)
    return x[0], seen


def lists(x):
    stack = [x[0]]
    if x[1] > 0:
        stack.append(x[1])
        stack[0] = 2.0
    else:
        stack.extend([x[2]])
    both = [1.0] if x[0] > 0 else [x[2]]
    both.append(2.0)
    window = deque([0.0], maxlen=2)
    if x[2] > 0:
        window[0] = x[2]
        window.append(1.0)
    else:
        window.append(x[0])
    names = {1}
    if x[0] > 0:
        names.add(2)
    else:
        names.add(2)
    return stack, both, list(window), len(names)


def several_containers(x):
    counts, d, it = Counter(a=1), defaultdict(list), iter([1.0, 2.0, 3.0])
    first = next(it)
    d["k"].append(x[0])
    bag = Bag(0.0)
    if x[0] > 0:
        counts["a"] += 2
        counts["b"] = 0
        d["new"].append(1.0)
        bag.v = x[1]
        bag.other = 3.0
        del bag.other
        object.__setattr__(bag, "w", 1.0)
        for bag.v in [x[2]]:
            pass
        del d["k"][0]
        d["k"].insert(0, sum(v for v in x))
    else:
        counts["a"] -= 1
        counts["b"] += 0
        d["new"].append(x[1])
        bag.w = 2.0
        d["k"][0] = 7.0
    return dict(counts), d["k"], d["new"], bag.v, bag.w, first, next(it)


def deleted(x):
    y, z = x[0], 1.0
    if x[1] > 0:
        del y
    else:
        del y
        z = 2.0
    y = z
    return y


def decided_sizes(x):
    n = 2
    if x[0] > 0:
        n = 2
    return [x[0]] * n


def equal_conditions(x):
    p = x[0] > 0
    if p:
        y = 2 * x[1]
        if x[0] > 0:
            y = y + 1
        elif not p:
            y = "never"
    else:
        y = x[2]
    return y


class Pair(NamedTuple):
    a: Any
    b: Any


def tuples(x):
    p = Pair(x[0], 1.0)
    if x[1] > 0:
        p = Pair(2.0, x[1])
    a, b = (p.a, p.b) if x[2] > 0 else (p.b, p.a)
    return p, a, b


def either_array(x):
    z, w = np.zeros(3), np.ones(3)
    y = (z if x[0] > 0 else w).copy()
    y[0] = x[1]
    if x[2] > 0:
        u = x * 2
    else:
        u = np.zeros(3)
    u[1] = 5.0
    return z, w, y, u


def argument_changed_in_a_copy(x):
    x = x.copy()
    if x[0] < x[1]:
        x[0], x[1] = x[1], x[0]
    if x[1] < x[2]:
        x[1], x[2] = x[2], x[1]
    return x


def integers(x):
    n = 0
    for v in x:
        if v > 0:
            n += 1
    z = np.zeros(3, int)
    if x[0] > 0:
        z[0] = 3
    return n, z, n * 2 > 3


def recursive(x, n=3):
    if n == 0:
        return x[0]
    if x[n - 1] > 0:
        return recursive(x, n - 1) * 2
    return recursive(x, n - 1) + 1


def generated(x):
    def values():
        for v in x:
            w = v if v > 0 else -v
            if w > 1:
                w = 1.0
            yield w

    return list(values())


def gradient_inside(x):
    def inner(y):
        if y[0] > x[1]:
            return np.sum(y**2)
        return y[1] * 3

    return sg.grad(inner)(x) if isinstance(x, Tracer) else (
        2 * x if x[0] > x[1] else np.array([0.0, 3.0, 0.0]))  # fmt: skip


STATEMENTS = [
    elif_chain, early_returns, nested, assigned_on_one_side, flags_as_numbers, stored_on_one_side,
    one_of_two_arrays_changed, source_of_one_changed, one_of_an_argument_changed,
    one_of_views_changed, one_of_three_changed, one_of_two_in_a_branch,
    known_numbers_on_both_sides, views_and_aliases, helper_changes, attributes, cells,
    global_variable, broken_loop, continued_loop, loop_else, nested_loops, returns_from_loops,
    while_with_known_end, newton, bisection, matched, matched_numbers, with_and_try, lists, out_of_known, returns_through_finally, several_containers, deleted,
    decided_sizes, equal_conditions, tuples, either_array, argument_changed_in_a_copy, integers,
    recursive, generated,
]  # fmt: skip


@pytest.mark.parametrize("f", STATEMENTS, ids=lambda f: f.__name__)
def test_statements(f: Any) -> None:
    same(f)


def test_a_gradient_inside() -> None:
    found = traced(lambda x: gradient_inside(x))
    for x in POINTS:
        want = 2 * x if x[0] > x[1] else np.array([0.0, 3.0, 0.0])
        np.testing.assert_allclose(found(x), want)


# ---- derivatives, batches, compiled --------------------------------------------------------------


def decided(x):
    """Real and imaginary parts go the ways of the real part."""
    z = np.zeros(3, x.dtype)
    for k in range(3):
        if x[k].real > 0.1:
            z[k] = np.sin(x[k]) * x[k - 1]
        elif x[k].real < -0.5:
            z[k] = x[k] ** 3
    if np.sum(z).real > 1:
        return np.sum(z * z)
    return np.sum(z) * x[0]


def steps(x):
    return np.array([decided(x + 1e-30j * e).imag / 1e-30 for e in np.eye(3)])


def test_derivatives_compiled() -> None:
    f = sg.jit(sg.value_and_grad(decided))
    for x in POINTS:
        value, gradient = f(x)
        np.testing.assert_allclose(value, decided(x), rtol=1e-13)
        np.testing.assert_allclose(gradient, steps(x), rtol=1e-12, atol=1e-13)


def test_batches_and_second_derivatives() -> None:
    batch = np.stack(POINTS)
    got = sg.vmap(sg.grad(decided))(batch)
    np.testing.assert_allclose(got, [steps(x) for x in POINTS], rtol=1e-12, atol=1e-13)
    hessian = sg.trace(sg.hessian(decided), sg.f64[3])
    for x in POINTS[:3]:
        h = hessian.evaluate(x)
        np.testing.assert_allclose(h, h.T, rtol=1e-12)
        moved = (steps(x + 1e-6 * np.eye(3)[0]) - steps(x - 1e-6 * np.eye(3)[0])) / 2e-6
        np.testing.assert_allclose(h[0], moved, rtol=1e-6, atol=1e-6)


def test_the_other_side_is_not_computed() -> None:
    def f(x):
        if x[0] > 0:
            return np.log(x[0]) + x[1] / x[0]
        return x[1] * 2

    found = sg.grad(f)
    np.testing.assert_allclose(found(np.array([0.0, 1.0, 2.0])), [0.0, 2.0, 0.0])
    np.testing.assert_allclose(found(np.array([2.0, 1.0, 2.0])), [0.5 - 0.25, 0.5, 0.0])


# ---- refused -------------------------------------------------------------------------------------


def other_shape(x):
    if x[0] > 0:
        y = x
    else:
        y = x[:2]
    return y


def other_structure(x):
    return (x, x) if x[0] > 0 else x


def other_text(x):
    s = "a" if x[0] > 0 else "b"
    return x * len(s)


def nothing_returned(x):
    if x[0] > 0:
        return x


def not_assigned(x):
    if x[0] > 0:
        y = x
    return y * 2


def longer_list(x):
    found = []
    for v in x:
        if v > 0:
            found.append(v)
    return sum(found)


def raises_inside_try(x):
    try:
        if x[0] > 0:
            raise ValueError("no")
        y = x
    except ValueError:
        y = x * 2
    return y


def truth_of_arrays(x):
    return x if x > 0 else -x


def advances(x):
    it = iter([1.0, 2.0])
    y = next(it) if x[0] > 0 else 5.0
    return y * next(it)


def advances_in_a_loop(x):
    it = iter(x)
    total = 0.0
    if x[0] > 0:
        for v in it:
            total += v
    return total, list(it)


def case_true(x):
    match x[0] > 0:
        case True:
            return x
    return 2 * x


def yields(x):
    def values():
        if x[0] > 0:
            yield x

    return list(values())


def filtered(x):
    return [v for v in x if v > 0]


TABLE = np.zeros(3)
LISTED = [0.0]


def changes_a_global_array(x):
    if x[0] > 0:
        TABLE[0] = 1.0
    return x


REFUSED = [
    other_shape, other_structure, other_text, nothing_returned, not_assigned, longer_list,
    raises_inside_try, case_true, advances, advances_in_a_loop, truth_of_arrays, yields, filtered,
    changes_a_global_array,
]  # fmt: skip


@pytest.mark.parametrize("f", REFUSED, ids=lambda f: f.__name__)
def test_refused(f: Any) -> None:
    with pytest.raises((TraceError, SymgradError), match=r"test_decisions.py:\d+: "):
        traced(f)
    assert not TABLE.any()


def test_errors_say_what_differs() -> None:
    for f, words in (
        (other_shape, r"variable y has shape \(3,\).*test_decisions.py:\d+ and \(2,\)"),
        (not_assigned, "variable y has no value"), (other_text, "'a'.*'b'"),
        (nothing_returned, "None"), (longer_list, "list"), (raises_inside_try, "ValueError: no, which"),
    ):  # fmt: skip
        with pytest.raises(TraceError, match=words):
            traced(f)


def test_what_was_changed_is_taken_back_where_a_side_raises() -> None:
    def f(x: Any) -> Any:
        z = np.zeros(3)
        if x[0] > 0:
            z[0] = x[1]
            LISTED[0] = 1.0
            raise KeyError("a")
        return z

    graph = sg.trace(f, POINTS[0])
    assert LISTED == [0.0]
    assert not graph.evaluate(POINTS[1]).any()
    with pytest.raises(KeyError, match="'a'"):
        graph.evaluate(POINTS[0])
    assert LISTED == [0.0]


def test_branch_errors_are_type_errors() -> None:
    assert issubclass(BranchError, TypeError)


# ---- what is changed in a branch, or one of two --------------------------------------------------


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_arrays_of_objects_and_of_other_classes_are_not_changed_in_a_branch() -> None:
    for a in (np.array([None, 1], dtype=object), np.matrix([[1.0, 2.0]])):

        def stores(x: Any, a: Any = a) -> Any:
            if x > 0:
                a[0] = 1
            return x

        def adds(x: Any, a: Any = a) -> Any:
            if x > 0:
                a[..., 1:] += 1
            return x

        before = a.copy()
        for f in (stores, adds):
            with pytest.raises(MutationError, match="a traced condition holds"):
                sg.trace(f, 1.0)
            assert (a == before).all()


def test_lists_stay_one_under_all_of_their_names() -> None:
    def f(x: Any) -> Any:
        if x > 0:
            lst = [x]
            other = lst
        else:
            lst = [2 * x]
            other = lst
        lst.append(x)
        return x * len(other) + other[0]

    for x in (3.0, -3.0):
        assert sg.trace(f, 1.0).evaluate(x) == f(x)

    def g(x: Any) -> Any:
        if x > 0:
            lst = [x]
            other = lst
        else:
            lst, other = [2 * x], [3 * x]
        lst.append(x)
        return x * len(other)

    with pytest.raises(BranchError, match="copy them"):
        traced(lambda x: g(x[0]))
    for x in (3.0, -3.0):  # path by path
        assert sg.trace(g, 1.0).evaluate(x) == g(x)


def test_defaults_of_extrema() -> None:
    assert sg.trace(lambda x: x if max([], default=None) is None else -x, 1.0).evaluate(2.0) == 2


# ---- path by path --------------------------------------------------------------------------------


def same_by_paths(f: Any) -> None:
    graph = sg.trace(f, POINTS[0])
    for x in POINTS:
        got, structure = tree.flatten(graph.evaluate(x.copy()))
        want, wanted = tree.flatten(f(x.copy()))
        assert structure == wanted
        for g, w in zip(got, want, strict=True):
            assert np.shape(g) == np.shape(w)
            np.testing.assert_allclose(g, w, rtol=1e-13, err_msg=str(x))


# What asks for numbers, or stores in plain arrays, which takes the source.
NUMBERS = {
    "stored_on_one_side", "views_and_aliases", "helper_changes", "either_array", "21", "25",
    "one_of_two_arrays_changed",
}  # fmt: skip
MANY = {"nested_loops", "bisection"}
WITHOUT_SOURCE = {
    **{str(k): f for k, f in enumerate(EXPRESSIONS)},
    **{f.__name__: f for f in STATEMENTS},
}


@pytest.mark.filterwarnings("ignore::symgrad.errors.MutationWarning")
@pytest.mark.parametrize("name", WITHOUT_SOURCE)
def test_the_same_functions_without_their_source(name: str) -> None:
    """Called once for each way that they can go (see test_paths)."""
    f = stripped(WITHOUT_SOURCE[name])
    if name in NUMBERS | MANY:
        with pytest.raises(TraceError, match="max_paths" if name in MANY else "number|array"):
            sg.trace(f, POINTS[0])
    else:
        same_by_paths(f)


ANY_STRUCTURE = {
    "other_text", "longer_list", "raises_inside_try", "advances", "source_of_one_changed",
}  # fmt: skip
ONE_OF_THE_TWO = {
    "one_of_two_arrays_changed",
    "case_true without source",  # elements of arrays are never True itself
}


@pytest.mark.parametrize("f", REFUSED, ids=lambda f: f.__name__)
def test_what_cannot_be_merged_is_not_taken_from_one_path(f: Any) -> None:
    """By its paths the function is right, or refused."""
    kept = TABLE.copy(), list(LISTED)
    try:
        for which, name in ((f, f.__name__), (stripped(f), f"{f.__name__} without source")):
            if f.__name__ in ANY_STRUCTURE or name in ONE_OF_THE_TWO:
                same_by_paths(which)
            else:
                with pytest.raises(TraceError):
                    sg.trace(which, POINTS[0])
    finally:
        TABLE[:], LISTED[:] = kept
