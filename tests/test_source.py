"""Functions followed by their source: constructs that NumPy's protocols do not show.

The oracle is the function itself on plain numbers and arrays; for derivatives the complex step.
"""

# ruff: noqa: E501 (tables of constructs, one per entry)

from __future__ import annotations

import ast
import collections
import copy
import functools
import gc
import importlib
import inspect
import itertools
import linecache
import math
import threading
import traceback
import weakref
from math import sqrt as root
from typing import Any, NamedTuple

import numpy as anything
import numpy as np
import pytest
from numpy import array as make
from numpy import sin

import symgrad as sg
from symgrad import tree
from symgrad.errors import ConcretizationError, DtypeError, MutationError, SymgradError, TraceError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import arg
from symgrad.trace import Tracer, record
from symgrad.trace.source import clone

X = np.array([0.7, -1.3, 2.1])
S = 0.6
A = np.arange(1.0, 13.0).reshape(3, 4)
N = np.array([2, 0, 1])


def traced(f: Any, *values: Any) -> Any:
    nodes = [arg(k, np.shape(v), np.asarray(v).dtype.name) for k, v in enumerate(values)]
    outs, structure = record(f, tuple(Tracer(n) for n in nodes), {})
    found = evaluate(outs, {n: np.asarray(v) for n, v in zip(nodes, values, strict=True)})
    return structure.unflatten(found)


def same(f: Any, *values: Any, dtypes: bool = True) -> None:
    got, structure = tree.flatten(traced(f, *values))
    plain = [np.float64(v) if isinstance(v, float) else v.copy() for v in values]
    want, wanted = tree.flatten(f(*plain))
    assert structure == wanted
    for g, w in zip(got, want, strict=True):
        assert np.shape(g) == np.shape(w)
        if dtypes:
            assert np.asarray(g).dtype == np.asarray(w).dtype
        np.testing.assert_allclose(g, w, rtol=1e-13)


# ---- arrays made of traced values ----------------------------------------------------------------

MAKING = [
    lambda x: np.array([x[0], 1.0]), lambda x: np.array([[x[0], 1], [2, x[1]]]),
    lambda x: np.array([x[0], 2], dtype=np.float32), lambda x: np.array([x, x]),
    lambda x: np.array([[[x[0]], [1.0]], [[2.0], [x[2]]]]), lambda x: np.array((x[0], (x[1]))),
    lambda x: np.array(x, dtype=int), lambda x: np.array(x[0]), lambda x: np.array(x, ndmin=2),
    lambda x: np.asarray(x), lambda x: np.asarray([x[0], 1.0], float), lambda x: np.asanyarray(x),
    lambda x: np.ascontiguousarray(x.T), lambda x: np.atleast_1d(x[0]), lambda x: np.atleast_2d(x),
    lambda x: np.full(3, x[0]), lambda x: np.full((2, 3), x), lambda x: np.full_like(A, x[0]),
    lambda x: np.r_[x[0], 1.0, x], lambda x: np.r_[x, 1:4], lambda x: np.c_[x, x * 2], lambda x: np.c_[x, np.ones(3)],
    lambda x: np.sum([x[0], x[1]]), lambda x: np.max([x[0], x[1]]), lambda x: np.mean([x[0], 1.0]),
    lambda x: np.sin([x[0], x[1]]), lambda x: np.dot([x[0], 1.0], [1, 2]), lambda x: np.linalg.norm([x[0], x[1]]),
    lambda x: np.concatenate([[x[0]], [x[1]]]), lambda x: np.stack([[x[0], 1], [2, x[1]]]), lambda x: np.vstack([[x[0], 1], x[:2]]),
    lambda x: A[:2, :2] @ [x[0], 1.0], lambda x: [x[0], 1.0] * A[:2, 0], lambda x: A[0, :2] + [x[0], x[1]],
    lambda x: make([x[0], 2 * x[1]]), lambda x: anything.array([x[0], 2 * x[1]]), lambda x: sin(x) + anything.cos(x),
    lambda x: np.fromiter((v * v for v in x), float), lambda x: np.array([v for v in x if v is not None]),
    lambda x: np.float64(x[0]), lambda x: np.float32(x[0]), lambda x: np.array(x.tolist()),
    lambda x: np.array([np.zeros(3), x]), lambda x: np.array([f(x[0]) for f in (np.sin, np.cos, abs)]),
    lambda x: np.einsum("i,i", x, [1.0, 2.0, 3.0]), lambda x: np.outer([x[0], 1.0], x),
    lambda x: np.interp([0.5], [0.0, 1.0], [1.0, 2.0]) * x, lambda x: np.polyval([x[0], x[1], 1.0], 2.0),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(MAKING)))
def test_arrays_are_made(k: int) -> None:
    same(MAKING[k], X)


# ---- Python's functions --------------------------------------------------------------------------

PYTHON = [
    lambda x: float(x[0]) * 2, lambda x: int(x[2]) * x, lambda x: abs(x[1]), lambda x: sum([x[0], x[1]]), lambda x: sum(x, 1.0),
    lambda x: max(x[0], x[1]), lambda x: max(x), lambda x: min(x[0], x[1], 0.5), lambda x: min(x, key=lambda v: -v),
    lambda x: max([x[0] * 2, 1.0]), lambda x: max(3, 2) * x, lambda x: max([1, 2], default=0) * x, lambda x: max("ab", "c") and x,
    lambda x: sorted(x), lambda x: sorted([x[0], 0.1, x[1]], reverse=True), lambda x: sorted(x, key=abs), lambda x: [sorted([3, 1, 2])[0], x],
    lambda x: math.sin(x[0]) + math.exp(x[1]) + math.hypot(x[0], x[1]) + math.pow(abs(x[0]), 1.5),
    lambda x: root(abs(x[0])) + math.log(x[2]) + math.log(x[2], 3) + math.atan2(x[0], x[1]) + math.fabs(x[1]),
    lambda x: math.floor(x[0]) + math.ceil(x[1]) + math.trunc(x[2]), lambda x: math.erf(x[0]) + math.lgamma(x[2]) + math.gamma(x[2]),
    lambda x: math.fsum(x) + math.prod([x[0], x[1]]) + math.dist(x, [0, 0, 1]), lambda x: math.isnan(x[0]), lambda x: math.pi * x,
    lambda x: math.copysign(x[0], -1) + math.fmod(x[2], 1.5) + math.degrees(x[0]) + math.tanh(x[0]) + math.log1p(x[0]),
    lambda x: np.vectorize(lambda v: math.exp(v) * 2)(x), lambda x: np.vectorize(math.atan2)(x, 2.0), lambda x: np.vectorize(lambda v: (v, 2 * v))(x),
    lambda x: np.apply_along_axis(lambda v: v / np.sum(v), 1, np.outer(x, x)), lambda x: np.apply_along_axis(np.sum, 0, np.outer(x, x)),
    lambda x: np.apply_along_axis(np.outer, 0, np.outer(x, x), [1.0, 2.0]),
    lambda x: functools.reduce(lambda a, b: np.array([a, b])[0] * b, x), lambda x: list(itertools.accumulate(x, lambda a, b: max(a, b))),
    lambda x: list(map(lambda v: np.array([v, 1.0]), x)), lambda x: list(map(math.exp, x)), lambda x: [*filter(lambda v: v is not None, x)],
    lambda x: any([x[0] > 0, False]), lambda x: all([x[0] > 0, True]), lambda x: isinstance(x, np.ndarray) * x,
    lambda x: isinstance(x[0], float) * x, lambda x: isinstance(x, (list, tuple)) + x, lambda x: type(x) is np.ndarray and x,
    lambda x: divmod(x[0], 2.0), lambda x: pow(x[0], 2), lambda x: round(x[0], 1), lambda x: x.item(0), lambda x: [v for v in reversed(x)],
    lambda x: A.T.dot(x), lambda x: A[0, :3].dot(x), lambda x: A.T @ x, lambda x: A[:, 0].clip(x[1], x[2]),
    lambda x: f"{x[0]:.3f} {x}" and x, lambda x: (lambda v, *a, k=2, **o: v * k + sum(a))(x, 1, 2, k=3), lambda x: [*x, *[1.0]],
    lambda x: dict(zip("abc", x, strict=True))["b"], lambda x: {"a": x, **{"b": 2 * x}}, lambda x: (y := x * 2) + y, lambda x: np.zeros(3, bool) | (x > 0),
    lambda x: [1.0, 2.0, 3.0][np.argmax(x)] * x, lambda x: A[np.argmax(x)], lambda x: A[np.argmax(x), 1:], lambda x: A[:, np.argmin(x)],
    lambda x: x[0][()] + x[1][...], lambda x: x[2][None], lambda x: np.isscalar(x[0]) * x,
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(PYTHON)))
def test_python_functions(k: int) -> None:
    same(PYTHON[k], X, dtypes=False)


def test_integers_stay_integers() -> None:
    same(lambda n: A[n], N)
    same(lambda n: np.array([n[0], 2]), N)
    same(lambda n: [A[0][k] for k in n], N)

    def counted(n: Any) -> Any:
        z = np.zeros(3, int)
        for k in range(3):
            z[k] += n[k] * 2
        return z, z.sum()

    same(counted, N)


# ---- code that is text, methods whose derivatives are taken at once --------------------------------


class Named:
    """Finds its parts by name, as translated collections of problems do."""

    def __init__(self) -> None:
        self.parts, self.scale = ["filled", "decides"], 2.0

    def filled(self, x):
        z = np.zeros((2, 1))
        z[0, 0], z[1, 0] = x[0], x[1] * self.scale
        return float(z.T.dot(z)[0, 0])

    def decides(self, x):
        if x[0] > 0.5:
            return x[0] ** 2 * self.scale
        return x[1] ** 3

    def total(self, x):
        total = 0.0
        for part in self.parts:
            total += eval("self." + part + "(x)")
        return total

    def __call__(self, x):
        return self.total(x) if x[2] > 0 else 0.0


class Point(NamedTuple):
    """A method that calls its own class by its name, which is a global variable."""

    x: Any
    y: Any

    def turned(self, k):
        return Point(-self.y, self.x) if k > 0.5 else self

    def scaled(self, k):
        return type(self)(self.x * k, self.y * k) if k else Point(k, k)


def in_its_own_class(x):
    p = Point(x[0], x[1]).turned(x[2]).scaled(x[1])
    return p.x - 2 * p.y


def of_events(x):
    """Pairs of numbers and names are put in order: what is chosen is a pair, no array."""
    events = [(x[0], 1), (x[1], 0), (x[2], 2)]
    first = min(events, key=lambda e: e[0])
    events.sort(key=lambda e: -e[0])
    seen = collections.defaultdict(float)
    for when, k in events:
        seen["early" if when < 0.5 else "late"] += when * k
        if when > 0.9:
            break
    return first[0] * (first[1] + 1) + seen["early"] - 2 * seen["late"]


TEXTS = [
    lambda x: eval("np.array([x[0], 1.0]) if x[1] < 0 else x[:2]"),
    lambda x: [eval("v * x[k] + math.exp(v)") for k, v in enumerate(x) if x is not None],
    lambda x: eval("a * max(a, b)", {"a": x[0], "b": x[1]}), lambda x: eval("sin(y) + A[0, 0]", None, {"y": x, "A": A}),
    lambda x: eval("(lambda u: u * 3)(x[0])"), lambda x: eval("[v * 2 for v in (1, 2)]") * 2 + [x], lambda x: eval("  x @ x"),
    lambda x: (lambda eval: eval("x") * x)(len), lambda x: eval(compile("x * 2", "", "eval")),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(TEXTS)))
def test_text_is_evaluated(k: int) -> None:
    same(TEXTS[k], X, dtypes=False)


@pytest.mark.parametrize("f", [in_its_own_class, of_events])
@pytest.mark.quick(1)
def test_classes_by_name_and_pairs_in_order(f: Any) -> None:
    value = sg.jit(f)
    for x in (X, -X, X[::-1] * 0.3):
        np.testing.assert_allclose(value(x), f(x), rtol=1e-14)


def test_parts_that_are_found_by_name() -> None:
    def fails(x):
        return eval("np.linalg.svd(x)")

    problem = Named()
    slope = sg.grad(problem.total)
    for x in (X, -X):
        decided = [4 * x[0], 0.0] if x[0] > 0.5 else [0.0, 3 * x[1] ** 2]
        np.testing.assert_allclose(slope(x), [2 * x[0] + decided[0], 8 * x[1] + decided[1], 0.0])
    problem.scale, problem.parts[1] = 3.0, "filled"  # what the text names is looked at anew
    np.testing.assert_allclose(slope(X), [4 * X[0], 36 * X[1], 0.0])
    with pytest.raises(SymgradError, match=rf"test_source.py:{fails.__code__.co_firstlineno + 1}"):
        traced(fails, np.outer(X, X))


@pytest.mark.parametrize("f", [Named().total, Named()], ids=["method", "object"])
def test_derivatives_at_once_follow_methods(f: Any) -> None:
    v = np.array([0.3, -0.5, 1.0])
    np.testing.assert_allclose(sg.hvp(f, X, v), [6.0 * v[0], 8.0 * v[1], 0.0], rtol=1e-14)
    value, slope = sg.jvp(f, (X,), (v,))
    np.testing.assert_allclose(value, 3 * X[0] ** 2 + 4 * X[1] ** 2, rtol=1e-14)
    np.testing.assert_allclose(slope, 6 * X[0] * v[0] + 8 * X[1] * v[1], rtol=1e-14)


# ---- assignment ----------------------------------------------------------------------------------


def filled(x):
    z = np.zeros(3)
    for k in range(3):
        z[k] = x[k] ** 2
    return z


def empty(x):
    z = np.empty((2, 3))
    z[0] = x
    z[1, :] = z[0] * 2
    z[1, 1:] += x[:2]
    return z


def masked(x):
    z = np.ones(3)
    z[x > 0] = 5.0
    z[A[:, 0] > 4] = x[1]
    return z


def masked_changes(x):
    z, n, m = x.copy(), np.arange(3), np.outer(x, x)
    z[z > 1] *= 2
    z[z < 0] -= x[0]
    n[x > 0] += 2
    m[x > 0] /= x[2]
    w = m.T
    w[w < 0] **= 2
    return z, n, m


def by_list(x):
    z = [0.0] * 3
    z[1] = x[1]
    z[2] += x[2]
    return z


def nested_lists(x):
    z = [[0.0] * 2 for _ in range(2)]
    z[0][1] = x[1]
    z[1][0] += 2 * x[0]
    return np.array(z)


def add_at(x):
    z = np.zeros(3)
    np.add.at(z, [0, 0, 2], x)
    np.add.at(z, 1, 2.0)
    np.subtract.at(z, [1, 1], x[:2])
    return z


def out_of_others(x):
    z, w = np.zeros(3), np.zeros(())
    np.multiply(x, 2, out=z)
    np.sum(x, out=w)
    np.add(z, 1.0, z)
    return z, w


def made_by_arithmetic(x):
    z = A * 2
    z[0] = x[0]
    w = A.copy()
    w[:, 1] += x
    v = -A[0]
    v[1:] *= x
    u = A > 5
    u[0, 0] = x[0] > 0
    return z, w, v, u


def known_numbers(x):
    n = np.array([1, 2])
    total = 0.0
    for k in range(n[1] + n.sum()):
        total = total + x[k % 3] * float(n[0])
    if n[0] > 0 and np.all(n < 5):
        total = total * int(n[1])
    z = np.arange(3.0)
    z *= 2
    assert z[1] == 2.0 and len(z) == 3 and list(z) == [0.0, 2.0, 4.0]
    return total + z @ x


def known_until_stored(x):
    z = np.zeros(3)
    z[0] = 1.0
    w = z[1:]
    w += 3
    v = z.reshape(3, 1)
    first = z[0] * x
    z[1] = x[1]
    v[2, 0] *= x[2]
    return first, z, w, v, z[0] > 0


def swapped(x):
    z = np.zeros(3)
    z[0], z[1], y = x[1], x[0], x[2]
    z[0], z[1] = z[1], z[0]
    k = 0
    k, z[k] = 2, y
    a = z[1] = x[0] * 3
    return z, k, a


def by_attribute(x):
    class Bag:
        total = 0.0

    b = Bag()
    b.z = np.zeros(3)
    b.z[1] = x[1]
    b.z += x
    b.total += b.z[0]
    return b.z, b.total


def copies(x):
    z = np.zeros(3)
    w, v = z.copy(), np.array(z)
    z[0] = x[0]
    w[1] = x[1]
    return z, w, v


def copy_functions(x):
    z, w = np.zeros((2, 2)), np.zeros(3)
    np.fill_diagonal(z, x[0])
    np.copyto(w, x)
    np.put(w, [0], x[1])
    np.putmask(w, w > 2, x[0])
    v = np.arange(3.0)
    np.copyto(v, x, where=np.array([True, False, True]))
    u = np.zeros(3)
    u.fill(x[1])
    return z, w, v, u


def sorted_in_place(x):
    z = x * 1
    y = z
    y.sort()
    p = x * 1
    p.partition(1)
    z[0] += p[1]
    w = np.zeros((2, 2))
    w[0] = x[:2]
    w[:1].sort()
    return z, w


def copied(x):
    z = x * 1
    y, w = copy.copy(z), copy.deepcopy([z])[0]
    y[0], w[1], z[2] = 1.0, 2.0, 3.0
    k = np.ones(3)
    m = copy.deepcopy(k)
    m[0] = x[0]
    return z, y, w, k, m


def contiguous(x):
    z = np.outer(x, x)
    y = np.ascontiguousarray(z) * 1
    y[0] = 1.0
    w = np.ascontiguousarray(x * 1)
    v = w
    w[0] = 5.0
    return z, y, v


def default(x, z=()):
    z = list(z)
    z.append(x[0])
    z.extend([x[1], 2.0])
    z.insert(0, x[2])
    return z


def update_reads_first(x):
    z = np.zeros(3)

    def change():
        z[0] = 10.0
        return x[0]

    z[0] += change()
    return z


def many_views(x):
    z = np.zeros((3, 4))
    rows = [z[k] for k in range(3)]
    column = z.T[1]
    for k, row in enumerate(rows):
        row[k] = x[k]
    column *= 2
    diagonal = z.reshape(-1)[::5]
    diagonal += 1
    return z, rows, column


def in_tuple(x):
    state = (np.zeros(3), [np.ones(2)])
    state[0][1] = x[0]
    state[1][0][:] = x[:2]
    return state


def float32(x):
    z = np.zeros(3, np.float32)
    z[0] = x[0]
    z[1:] = x[1:]
    return z


def object_array(x):
    z = np.empty(2, object)
    z[0], z[1] = x[0], x
    return z[0] * z[1]


def no_values(x):
    z = np.zeros(0)
    z += x[:0]
    return z, np.zeros((0, 3)) @ x


ASSIGNING = [
    filled, empty, masked, masked_changes, by_list, nested_lists, add_at, out_of_others, made_by_arithmetic,
    known_numbers, known_until_stored, swapped, by_attribute, copies, copy_functions, sorted_in_place, copied, contiguous, default,
    update_reads_first, many_views, in_tuple, float32, object_array, no_values,
]  # fmt: skip


@pytest.mark.parametrize("f", ASSIGNING, ids=lambda f: f.__name__)
def test_assignment(f: Any) -> None:
    same(f, X)


def test_what_others_hold_as_a_plain_array_is_refused() -> None:
    def f(x: Any) -> Any:
        z = np.zeros(3)
        view = z.view(np.uint8)
        z[0] = x[0]
        return z, len(view)

    def g(x: Any) -> Any:
        z = np.zeros(3)
        w = np.broadcast_to(z, (2, 3))
        z[0] = x[0]
        return w

    def h(x: Any) -> Any:
        z = np.outer(x, x)
        y = np.ascontiguousarray(z.T)
        y[0] = 1.0
        return z

    for bad in (f, g, h):
        with pytest.raises(MutationError, match=r"test_source.py:\d+: .*copy"):
            traced(bad, X)


def test_arrays_of_others_are_not_changed() -> None:
    with pytest.raises(MutationError, match=r"test_source.py:\d+: .*outlives"):
        traced(lambda x: A.__setitem__((0, 0), x[0]), X)

    def f(x: Any) -> Any:
        A[0] = x[0]
        return A

    with pytest.raises(MutationError, match="outlives"):
        traced(f, X)
    assert A[0, 0] == 1.0


@pytest.mark.parametrize("dtype", [complex, "c8", "f2", "longdouble", "u1", "i2"])
def test_own_arrays_of_other_dtypes_are_refused_for_these(dtype: Any) -> None:
    def setting(x: Any) -> Any:
        z = np.zeros(3, dtype)
        z[0] = x[0]
        return z

    def adding(x: Any) -> Any:
        z = np.zeros(3, dtype)
        z[1:] += x[1:]
        return z

    def whole(x: Any) -> Any:
        z = np.zeros(3, dtype)
        z += x
        return z

    name = np.dtype(dtype).name
    for bad in (setting, adding, whole):
        with pytest.raises(DtypeError, match=rf"test_source.py:\d+: dtype {name} is not supp"):
            traced(bad, X)


# ---- functions, methods, classes -----------------------------------------------------------------


def helper(z, x):
    z[0] += x[0]
    z[1:] *= 2
    return float(z[0])


class Model:
    scale = 2.0

    def __init__(self, k, *, extra=1.0):
        self.k = np.array([k, 2 * k])
        self.__private = extra

    @property
    def pair(self):
        return np.array([self.k[0], 1.0])

    @classmethod
    def of(cls, k):
        return cls(k, extra=float(k))

    @staticmethod
    def half(x):
        return np.array([x, 1.0]) / 2

    def __call__(self, x):
        return self.k * self.__private + self.half(x)

    def __getitem__(self, k):
        return np.array([self.k[0], k])


class Child(Model):
    def __init__(self, k):
        super().__init__(k)
        self.more = [k]

    def __call__(self, x):
        return super().__call__(x) * np.array([self.more[0], self.scale])


def factorial(x, n):
    return float(x) if n == 0 else factorial(x, n - 1) * n


def counting(x):
    def inner():
        nonlocal total
        total = total + np.array([x[0], 1.0])

    total = np.zeros(2)
    for _ in range(3):
        inner()
    return total


def generated(x):
    def values():
        z = np.zeros(2)
        for v in x:
            z[0] = v
            yield z.copy()

    return list(values())


def wrapper(f):
    @functools.wraps(f)
    def call(*args, **kwargs):
        return f(*args, **kwargs) * np.array([args[0][0], 1.0])

    return call


@wrapper
def decorated(x):
    return np.array([x[1], x[2]])


@functools.lru_cache
def cached(v):
    return np.array([v, 1.0])


def with_statement(x):
    with np.errstate(all="ignore"):
        z = np.zeros(2)
        z[0] = x[0]
    return z


def tried(x):
    try:
        z = np.array([x[0], 1.0])[0]
    except ValueError:
        z = 0.0
    else:
        z = z * 2
    finally:
        w = np.array([x[1], 1.0])
    return z, w


def matched(x, kind="b"):
    match kind, [1, 2]:
        case "a", _:
            return x
        case "b", [1, k]:
            return np.array([x[0] * k, 1.0])


def comprehensions(x):
    i = [0, 2]
    z = {k: np.array([v, 1.0]) for k, v in zip("abc", x, strict=True)}
    return [A[x.argmax()][k] * v for k, v in enumerate(x) if k in i], z, sum(float(v) for v in x)


def counter(x, box=[0]):  # noqa: B006
    box[0] = box[0] * 0
    return x * box[0]


FUNCTIONS = [
    lambda x: helper(z := np.ones(3), x) * z, lambda x: Model(x[0])(x[1]), lambda x: Model.of(x[0]).pair,
    lambda x: Child(x[0])(x[1]), lambda x: Model(x[0])[x.argmax()], lambda x: functools.partial(helper, x=x)(np.ones(3)),
    lambda x: factorial(x[0], 4), counting, generated, decorated, lambda x: cached(x[0]), lambda x: cached(2.0) * x[:2],
    with_statement, tried, matched, comprehensions, counter, lambda x: Model.half(x[0]), lambda x: (lambda: np.array([x[0], 1.0]))(),
    lambda x: [f(x[0]) for f in [lambda v: np.array([v, 1.0]), lambda v: float(v)]], lambda x: wrapper(lambda v: v[:2])(x),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(FUNCTIONS)))
def test_functions(k: int) -> None:
    same(FUNCTIONS[k], X, dtypes=False)


def test_objects_that_are_called() -> None:
    model = Model(2.0)
    same(model, S)
    same(model.half, S)
    same(functools.partial(Model.half), S)


def test_three_lambdas_on_a_line() -> None:
    table = {"a": lambda x: np.array([x, 1.0]), "b": lambda x: np.array([x, 2.0]), "c": lambda x: np.array([x, 1.0])}  # fmt: skip
    for f in table.values():
        same(f, S)


def test_derivatives() -> None:
    def f(x: Any) -> Any:
        z = np.zeros(3, type(x[0]) if np.iscomplexobj(x) else float)
        for k in range(3):
            z[k] = np.sin(x[k]) * x[k - 1]
        return np.sum(np.array([z[0], z[1] * z[2], 1.0]) ** 2)

    steps = [f(X + 1e-30j * e).imag / 1e-30 for e in np.eye(3)]
    np.testing.assert_allclose(sg.grad(f)(X), steps, rtol=1e-13)
    assert sg.hessian(f)(X).shape == (3, 3)
    both = sg.vmap(sg.grad(f))(np.stack([X, 2 * X]))
    np.testing.assert_allclose(both, [sg.grad(f)(X), sg.grad(f)(2 * X)], rtol=1e-13)


# ---- where the source comes from -----------------------------------------------------------------


def write(path: Any, text: str) -> Any:
    path.write_text(text)
    importlib.invalidate_caches()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_helpers_of_other_modules_and_their_globals(tmp_path: Any) -> None:
    module = write(tmp_path / "other_module.py", """\
from __future__ import annotations
import numpy as np
factor = 2.0
calls = 0

def inner(x: Unknown) -> Nothing:
    global calls
    calls += 1
    return np.array([x * factor, later(x)])

def later(x):
    return float(x)
""")  # fmt: skip
    same(lambda x: module.inner(x), S)
    module.factor = 3.0
    assert traced(lambda x: module.inner(x), S)[0] == S * 3.0
    assert module.calls == 3  # twice traced, once called
    assert module.inner(1.0).tolist() == [3.0, 1.0]


def test_a_file_that_was_changed_is_not_read(tmp_path: Any) -> None:
    path = tmp_path / "changing.py"
    old = write(path, "import numpy as np\ndef f(x):\n    return np.array([x, 1.0])\n")
    same(old.f, S)
    new = write(path, "import numpy as np\ndef f(x):\n    return np.array([x, 222.0])\n")
    same(new.f, S)
    fresh = write(path, "import numpy as np\ndef f(x):\n    return np.sin(x) + 1\n")
    path.write_text("import numpy as np\ndef f(x):\n    return np.sin(x) + 7\n")
    same(fresh.f, S)
    assert clone(fresh.f) is None


def test_cells_of_a_notebook() -> None:
    text = "def f(x):\n    return np.array([x, 1.0])\ng = lambda x: float(x) * 2\n"
    name = "<ipython-input-1-abc>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    space: dict[str, Any] = {"np": np}
    exec(compile(text, name, "exec"), space)
    same(space["f"], S)
    same(space["g"], S)


def test_cells_with_imports() -> None:
    """IPython compiles a cell statement by statement, where attributes of imports are called as
    those of other names are."""
    text = (
        "import numpy as np\nfrom scipy.stats import norm\n"
        "def f(x):\n    return np.array([norm.cdf(x), 1.0])\n"
        "class Model:\n    def __call__(self, x):\n        return np.array([norm.pdf(x), 1.0])\n"
        "def mixed(x):\n    import math\n    return np.array([math.sin(x), norm.cdf(x)])\n"
    )
    name = "<ipython-input-2-abc>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    whole: dict[str, Any] = {}
    exec(compile(text, name, "exec"), whole)
    pieces: dict[str, Any] = {}
    for statement in ast.parse(text).body:
        exec(compile(ast.Module([statement], []), name, "exec"), pieces)
    for space in (whole, pieces):
        same(space["f"], S)
        same(space["Model"](), S)
        same(space["mixed"], S)


def test_no_source() -> None:
    space: dict[str, Any] = {"np": np}
    exec("def f(x):\n    return np.array([x, 1.0])\n", space)
    with pytest.raises(ConcretizationError, match="np.stack"):
        traced(space["f"], S)
    exec("def f(x):\n    return np.sin(x)\n", space)
    assert traced(space["f"], S) == np.sin(S)


def test_lines_in_errors_and_tracebacks() -> None:
    def failing(x: Any) -> Any:
        z = np.zeros(3)
        z[0] = x[0]
        y = x[:2] @ z  # here
        return y

    line = inspect.getsourcelines(failing)[1] + 3
    with pytest.raises(SymgradError, match=rf"test_source.py:{line}: "):
        traced(failing, X)

    def dividing(x: Any) -> Any:
        return [np.array([x[0], 1.0]),
                1 / 0]  # fmt: skip

    try:
        traced(dividing, X)
    except ZeroDivisionError as error:
        frames = traceback.extract_tb(error.__traceback__)
        assert (frames[-1].filename, frames[-1].name) == (__file__, "dividing")
        assert frames[-1].line == "1 / 0]  # fmt: skip"


@pytest.mark.slow
def test_clones_are_kept_as_long_as_the_function() -> None:
    text = "def f(x):\n    return float(x)\n"
    name = "<cell 77>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    space: dict[str, Any] = {}
    exec(compile(text, name, "exec"), space)
    f = space.pop("f")
    copied = clone(f)
    assert copied is not None and copied.__code__ is clone(f).__code__
    assert clone(copied) is copied
    assert (copied.__name__, copied.__globals__) == ("f", f.__globals__)
    dead = weakref.ref(f.__code__)
    del f, copied
    gc.collect()
    assert dead() is None


def test_the_functions_themselves_are_left_alone() -> None:
    before = (helper.__code__, helper.__globals__, Model.__init__.__code__, dict(vars(Model)))
    traced(lambda x: helper(np.ones(3), x) + Model(x[0]).k[0], X)
    assert before == (helper.__code__, helper.__globals__, Model.__init__.__code__, vars(Model))
    assert helper(np.ones(3), X) == 1.7
    assert "_sg_call" not in globals()


def test_threads() -> None:
    results: list[Any] = [None] * 8

    def work(k: int) -> None:
        def f(x: Any) -> Any:
            z = np.zeros(3)
            for j in range(3):
                z[j] = x[j] * k
            return z

        results[k] = traced(f, X)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k, r in enumerate(results):
        np.testing.assert_allclose(r, X * k)


def test_nested_traces() -> None:
    def f(x: Any) -> Any:
        z = np.zeros(3)

        def inner(y: Any) -> Any:
            w = np.zeros(3)
            w[0] = y[0] * z[1]
            w[1:] = y[1:]
            return np.sum(w * w)

        z[1] = x[1]
        return sg.grad(inner)(x)

    want = 2 * X * np.array([X[1] ** 2, 1.0, 1.0])
    np.testing.assert_allclose(traced(f, X), want, rtol=1e-14)


def test_known_arrays_outside_of_a_trace() -> None:
    kept = []

    def f(x: Any) -> Any:
        z = np.arange(3.0)
        kept.append(z)
        return z * x

    traced(f, X)
    np.testing.assert_array_equal(kept[0] + 1, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(np.asarray(kept[0]), [0.0, 1.0, 2.0])
    assert type(kept[0] * 2) is np.ndarray


def test_a_traced_array_after_its_trace_is_refused() -> None:
    kept = []

    def f(x: Any) -> Any:
        z = np.zeros(3)
        z[0] = x[0]
        kept.append(z)
        return z

    traced(f, X)
    with pytest.raises(TraceError, match="after"):
        kept[0] + 1
