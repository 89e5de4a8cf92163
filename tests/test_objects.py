"""What transformations return as objects: how long they live, inside traces, pickled, copied; and
which arguments are fixed values."""

from __future__ import annotations

import collections
import copy
import dataclasses
import decimal
import enum
import fractions
import functools
import gc
import math
import operator
import pathlib
import pickle
import subprocess
import sys
import types
import weakref

import cloudpickle
import numpy as np
import pytest
import scipy.sparse

import symgrad as sg
from symgrad.errors import (
    DtypeError,
    MutationError,
    ShapeError,
    StructureError,
    UnsupportedError,
)

X = np.array([1.0, 2.0])


# All with one name, which is that of a lambda: their C is one, and compiled once.
def function(x, a=2.0):
    return np.sum(a * x**3)


class Model:
    __name__ = "function"

    def __init__(self, a):
        self.a = a

    def function(self, x):
        return np.sum(self.a * x**3)

    def __call__(self, x):
        return self.function(x)


# How to make a derivative, and how to get from it, for Σ 2x³.
MADE = {
    "grad": (sg.grad, lambda g: g(X), 6 * X**2),
    "value_and_grad": (sg.value_and_grad, lambda g: g(X)[1], 6 * X**2),
    "jacobian": (sg.jacobian, lambda g: g(X), 6 * X**2),
    "jacfwd": (sg.jacfwd, lambda g: g(X), 6 * X**2),
    "jacrev": (sg.jacrev, lambda g: g(X), 6 * X**2),
    "hessian": (sg.hessian, lambda g: g(X), np.diag(12 * X)),
    "vmap": (sg.vmap, lambda g: g(X[None]), [18.0]),
    "jit": (functools.partial(sg.jit, threads=2), lambda g: g(X), 18.0),
    "nested": (lambda f: sg.jit(sg.grad(sg.jit(f))), lambda g: g(X), 6 * X**2),
    "pullback": (lambda f: sg.vjp(f, X)[1], lambda g: g(1.0)[0], 6 * X**2),
    "compiled": (lambda f: sg.compile(sg.grad(f), X), lambda g: g(X), 6 * X**2),
    "sparse": (sg.sparse_hessian, lambda g: g(X).toarray(), np.diag(12 * X)),
    "compiled sparse": (
        lambda f: sg.compile(sg.sparse_hessian(f), X),
        lambda g: g(X).toarray(),
        np.diag(12 * X),
    ),
    "graph": (lambda f: sg.trace(f, X), lambda g: g.evaluate(X), 18.0),
}
FUNCTIONS = {
    "function": lambda: function,
    "lambda": lambda: lambda x: np.sum(2 * x**3),
    "closure": lambda a=2.0: lambda x: np.sum(a * x**3),
    "partial": lambda: functools.partial(function, a=2.0),
    "method": lambda: Model(2.0).function,
    "callable": lambda: Model(2.0),
}


@pytest.mark.sample(5)
@pytest.mark.slow
@pytest.mark.parametrize("made", MADE)
def test_lives_pickles_and_copies(made):
    """Of anything callable, also where nobody else keeps that."""
    make, call, expected = MADE[made]
    for name, new in FUNCTIONS.items():
        g = make(new())
        gc.collect()
        copies = [g, copy.copy(g), copy.deepcopy(g), cloudpickle.loads(cloudpickle.dumps(g))]
        if name not in ("lambda", "closure"):
            copies.append(pickle.loads(pickle.dumps(g)))
        for h in copies:
            np.testing.assert_allclose(call(h), expected, rtol=1e-15)


@pytest.mark.slow
def test_functions_by_value_of_a_main_module(tmp_path):
    """A script's own functions, decorated or not, reach another process that has another main."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, numpy as np, symgrad as sg, pickle\n"
        "import cloudpickle\n"
        "@sg.grad\n"
        "def slope(x): return np.sum(x**3)\n"
        "def f(x): return np.sum(x**3)\n"
        "assert pickle.loads(pickle.dumps(slope)) is slope\n"
        "made = slope, sg.grad(f), sg.compile(sg.grad(f), sg.f64[2])\n"
        "open(sys.argv[1], 'wb').write(cloudpickle.dumps(made))\n"
    )
    subprocess.run([sys.executable, script, tmp_path / "made"], check=True, timeout=120)
    for g in pickle.loads((tmp_path / "made").read_bytes()):
        np.testing.assert_array_equal(g(X), 3 * X**2)


def test_nothing_keeps_functions():
    alive = []

    def run():
        def f(x):
            return np.sum(x**3)

        alive.append(weakref.ref(f))
        for g in (sg.grad(f), sg.jit(f), sg.vjp(f, X)[1]):
            g(1.0 if isinstance(g, type(sg.vjp(f, X)[1])) else X)
        sg.hvp(f, X, X)
        sg.jvp(f, (X,), (X,))

    run()
    gc.collect()
    assert alive[0]() is None


def test_versions_for_new_functions_do_not_pile_up(monkeypatch):
    from symgrad import dispatcher

    monkeypatch.setattr(dispatcher, "_MAX_FIXED", 3)
    f = sg.jit(lambda x, h: h(x))
    alive = []
    for k in range(6):
        h = eval(f"lambda x: {k} * x")
        alive.append(weakref.ref(h))
        assert f(2.0, h) == 2.0 * k
    del h
    gc.collect()
    assert [a() is None for a in alive] == [True] * 3 + [False] * 3


# ---- compiled functions inside traces ------------------------------------------------------------


@pytest.mark.slow
def test_compiled_functions_are_transformed():
    c = sg.compile(function, sg.f64[2])
    slope = sg.compile(sg.grad(function), sg.f64[2])
    checks = [
        (sg.grad(c), (X,), 6 * X**2),
        (sg.hessian(c), (X,), np.diag(12 * X)),
        (sg.jacobian(slope), (X,), np.diag(12 * X)),
        (sg.vmap(c), (np.stack([X, 2 * X]),), [18.0, 144.0]),
        (sg.jit(c), (X,), 18.0),
        (sg.compile(c, X), (X,), 18.0),
        (sg.jit(lambda y: c(2 * y) + np.sum(slope(x=y))), (X,), 174.0),
        (sg.jit(lambda y: c(X) * y), (X,), 18.0 * X),
        (lambda x: sg.hvp(c, x, x), (X,), 12 * X**2),
        (lambda x: sg.vjp(c, x)[1](1.0)[0], (X,), 6 * X**2),
        (sg.grad(sg.compile(function, sg.f64[2], sg.f64), argnums="a"), (X, 2.0), 9.0),
    ]
    for f, arguments, expected in checks:
        np.testing.assert_allclose(f(*arguments), expected, rtol=1e-15)
    sg.check_grads(c, (X,))


def test_compiled_functions_inside_traces_check_their_arguments():
    c = sg.compile(function, sg.f64[2])
    for f, arguments, error in (
        (c, (np.ones(3),), ShapeError),
        (c, (np.ones(2, np.float32),), DtypeError),
        (c, (X, X), StructureError),
        (lambda x: c(x, out=np.empty(())), (X,), MutationError),
        (lambda x: sg.compile(sg.sparse_hessian(function), X)(x), (X,), UnsupportedError),
    ):
        with pytest.raises(error):
            sg.jit(f)(*arguments)
    narrow = sg.compile(lambda w, r: w * r, sg.f32[2], sg.f32)
    for rate in (0.5, 2):  # Python's numbers are weak here too
        got = sg.jit(lambda w, r: narrow(w, r))(np.ones(2, np.float32), rate)
        assert got.dtype == np.float32 and got[0] == rate


def test_entries_of_sparse_derivatives_inside_traces():
    c = sg.compile(sg.sparse_hessian(function), X)
    np.testing.assert_allclose(sg.jit(lambda x: c.values(x) * x)(X), 12 * X**2)


# ---- fixed values --------------------------------------------------------------------------------


class Mode(enum.Enum):
    A = 1
    B = 2


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Bits(enum.Flag):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass(frozen=True)
class Leaf:
    k: float
    how: str
    __symgrad_leaf__ = True


@dataclasses.dataclass
class Settings:
    k: float


SENTINEL = object()
FIXED = [
    "text", b"bytes", None, True, 1j, Mode.A, Number.TWO, Bits.LOW | Bits.HIGH, Leaf(1.0, "a"),
    Settings(1.0), range(3), slice(0, 2), np.s_[..., 1:], frozenset({1, "a"}), ("a", (Mode.B, 1.0)),
    np.float64, np.dtype("f8"), np, math, len, math.sin, np.sum, np.sin, function, lambda x: x,
    functools.partial(function), functools.lru_cache(function), Model, Model.function, str.upper,
    "x".join, operator.itemgetter(1), decimal.Decimal("1.0"), fractions.Fraction(1, 2),
    pathlib.Path("x"), SENTINEL, NotImplemented, {"a": "b", 1: 2.0, Mode.A: 1.0}, sg.jit(function),
]  # fmt: skip


def test_fixed_values():
    f = sg.jit(lambda x, value: 2 * x)
    for value in FIXED:
        assert f(1.0, value) == f(1.0, value) == 2.0
    assert len(f.compiled) == len(FIXED)


def test_equal_fixed_values_are_told_apart():
    f = sg.jit(lambda x, value: x * sum(2.0 if type(v) is bool else 1.0 for v in value))
    assert f(1.0, frozenset({1})) == 1.0 and f(1.0, frozenset({True})) == 2.0
    stop = sg.jit(lambda x, value: x * value.stop)
    assert stop(1.0, range(0, 3, 2)) == 3.0 and stop(1.0, range(0, 4, 2)) == 4.0
    sign = sg.jit(lambda x, value: x * math.copysign(1, value.real))
    assert sign(1.0, complex(0.0, 1)) == 1.0 and sign(1.0, complex(-0.0, 1)) == -1.0
    compiled = sg.compile(lambda x, r: x * r.stop, sg.f64, range(0, 3, 2))
    assert compiled(1.0, range(0, 3, 2)) == 3.0
    with pytest.raises(StructureError):
        compiled(1.0, range(0, 4, 2))


def test_fields_of_dataclasses_are_seen():
    f = sg.jit(lambda x, settings: settings.k * x)
    settings = Settings(2.0)
    assert f(1.0, settings) == 2.0
    settings.k = 3.0
    assert f(1.0, settings) == 3.0


class MyText(str):
    pass


MUTABLE = {
    "object": (Model(1.0), "dataclass"),
    "method": (Model(1.0).function, "method of a .*Model"),
    "namespace": (types.SimpleNamespace(k=1.0), "SimpleNamespace"),
    "set": ({1, 2}, r"frozenset\(value\)"),
    "subclass of str": (MyText("a"), r"str\(value\)"),
    "bytearray": (bytearray(b"a"), r"bytes\(value\)"),
    "memoryview": (memoryview(b"a"), "memoryview"),
    "generator of random numbers": (np.random.default_rng(0), "draw before"),
    "method of one": (np.random.default_rng(0).normal, "method"),
    "global random numbers": (np.random.rand, "RandomState"),
    "deque": (collections.deque([1.0]), "deque"),
    "iterator": (iter([1.0]), "iterator"),
    "sparse matrix": (scipy.sparse.csr_array(np.eye(2)), "toarray"),
    "spec": (sg.f64[3], "sg.compile"),
    "inside": ([{"a": Model(1.0)}], r'value\[0\]\["a"\]'),
    "in a frozenset": (frozenset({Model(1.0)}), "frozenset"),
    "key of a dict": ({Model(1.0): 1.0}, "key"),
}


@pytest.mark.parametrize("name", MUTABLE)
def test_values_that_may_change_are_refused(name):
    value, words = MUTABLE[name]

    def f(x, value):
        return 2 * x

    for transformed in (sg.jit(f), sg.grad(f), functools.partial(sg.compile, f)):
        if not (name == "spec" and isinstance(transformed, functools.partial)):
            with pytest.raises(StructureError, match=f"value|key.*{words}"):
                transformed(1.0, value)
    with pytest.raises(StructureError, match=words):
        sg.jit(f)(1.0, value)


def test_methods_of_objects_that_may_change():
    class Plain:
        def __init__(self, a):
            self.a = a

        @sg.jit
        def times(self, x):
            return self.a * x

        def scaled(self, x):
            return self.a * x

    with pytest.raises(StructureError, match="argument self.*dataclass"):
        Plain(2.0).times(3.0)
    assert sg.jit(Plain(2.0).scaled)(3.0) == 6.0
