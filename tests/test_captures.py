"""What a function captures may change between two calls: the second call sees it, as in NumPy.

Each case is a function and a change of something that it reads without being given it. The oracle
is the same computation by hand, written with the values as they are at the moment of the call.
"""

import collections
import contextvars
import dataclasses
import functools
import gc
import importlib
import math
import pickle
import sys
import threading
import types
import weakref

import numpy as np
import numpy as xp
import pytest

import symgrad as sg
from symgrad import compiled, dispatcher
from symgrad.captures import Captures
from symgrad.compiled import Compiled
from symgrad.dispatcher import Dispatcher
from symgrad.errors import CompilerNotFoundError, SymgradWarning
from symgrad.runtime import dispatch

W = np.array([1.0, -2.0, 0.5])
lam = 0.5
scales = np.array([1.0, 2.0, 3.0])
other = 1
shape = (3,)
table = {"a": 1.0, "b": np.array([1.0, 1.0, 1.0])}
steps = [1.0, 2.0]
config = types.SimpleNamespace(k=2.0, zero=0.0)


@pytest.fixture(autouse=True)
def as_before():
    """What the cases change of this module is put back."""
    kept = dict(globals())
    arrays = scales.copy(), table["b"].copy()
    others = dict(table), list(steps), dict(vars(config))
    classes = [(c, dict(vars(c))) for c in (Base, Model)]
    yield
    for name in set(globals()) - set(kept):
        del globals()[name]
    globals().update(kept)
    scales[:] = arrays[0]
    table.clear()
    table.update(others[0])
    table["b"][:] = arrays[1]
    steps[:] = others[1]
    vars(config).clear()
    vars(config).update(others[2])
    has_an_attribute.factor = 2.0
    for cls, names in classes:
        for n in ("power", "weight", "inner", "twice"):
            if n in names:
                setattr(cls, n, names[n])
            elif n in vars(cls):
                delattr(cls, n)


def sets(**values):
    return lambda: globals().update(values)


def helper(w):
    return lam * np.sum(w**2)


def deep(w):
    return helper(w) + np.sum(scales * w)


def with_default(w, a=2.0, *, b=3.0):
    return np.sum(a * b * w**2)


def reads_a_builtin(w):
    return np.sum(w**2) * round(2.6)


def evaluates(w):
    return eval("lam * np.sum(w**2)")


def by_globals(w):
    return globals()["lam"] * np.sum(w**2)


def by_getattr(w):
    return getattr(config, "k") * np.sum(w**2)  # noqa: B009


def has_an_attribute(w):
    return has_an_attribute.factor * np.sum(w**2)


has_an_attribute.factor = 2.0


class Base:
    power = 2
    weight = 1.5


class Model(Base):
    def __init__(self):
        self.k, self.data, self.parts = 2.0, np.array([1.0, 2.0, 3.0]), [np.ones(3), np.ones(3)]
        self.unused = 1

    @property
    def twice(self):
        return 2 * self.k

    def inner(self, w):
        return self.twice * np.sum(self.data * w**self.power) * self.weight

    def loss(self, w):
        return self.inner(w) + np.sum(self.parts[1] * w)

    def __call__(self, w):
        return self.loss(w)


class Slotted:
    __slots__ = ("k", "data")

    def __init__(self):
        self.k, self.data = 2.0, np.array([1.0, 2.0, 3.0])

    def loss(self, w):
        return self.k * np.sum(self.data * w**2)


@dataclasses.dataclass
class Settings:
    k: float = 2.0
    more: tuple = (1.0, np.ones(3))

    def loss(self, w):
        return self.k * np.sum(self.more[1] * w**2)


@dataclasses.dataclass(frozen=True)
class Frozen:
    rate: float
    data: np.ndarray


def closure():
    a, b = 2.0, np.array([1.0, 2.0, 3.0])

    def loss(w):
        return a * np.sum(b * w**2)

    def change():
        nonlocal a
        a = 5.0

    def put():
        b[1] = 7.0

    return loss, change, put


def wrapped(f):
    @functools.wraps(f)
    def inside(w):
        return 2 * f(w)

    return inside


decorated = wrapped(helper)


def cases():
    """name: (function, change): made anew for each test."""
    loss, change, put = closure()
    m, s, d = Model(), Slotted(), Settings()
    frozen = Frozen(2.0, np.array([1.0, 2.0, 3.0]))
    own = with_default
    copied = types.FunctionType(own.__code__, globals(), "copied", own.__defaults__)
    copied.__kwdefaults__ = {"b": 3.0}
    array_default = eval("lambda w, a=np.ones(3): np.sum(a * w**2)")
    partial = functools.partial(lambda a, w: np.sum(a * w**2), np.array([1.0, 2.0, 3.0]))
    grown = np.ones(3)
    queue = collections.deque([1.0, 2.0])
    mask = {0, 2}
    strided = np.arange(1.0, 7.0)[::2]
    words = bytearray(b"\1\2\3")
    inner = sg.grad(helper)
    ordered = collections.OrderedDict(a=1.0, b=2.0)
    scaled = collections.defaultdict(float, a=2.0)
    nested = {"w": [np.ones(3), {"deep": 2.0}]}
    cfg = types.SimpleNamespace(sub=types.SimpleNamespace(k=2.0))
    vector = np.vectorize(lambda x: lam * x)
    module = types.ModuleType("settings_of_a_test")
    module.k, module.unused = 2.0, 1
    view = np.arange(6.0)
    part = view[1:4]
    bit = np.array([1.0, 0.0, 3.0])

    def sorts(w):
        return sum(v * np.sum(w ** (k + 1)) for k, v in enumerate(ordered.values()))

    @functools.lru_cache
    def cached(n):
        return lam * n

    def method(name, value, owner=None):
        return lambda: setattr(owner or m, name, value)

    return {
        "a global": (lambda w: lam * np.sum(w**2), sets(lam=3.0)),
        "a global array replaced": (deep, sets(scales=np.array([3.0, 2.0, 1.0]))),
        "a global array of another shape": (lambda w: np.sum(scales) * np.sum(w**2),
                                            sets(scales=np.ones((2, 2)))),
        "a global array in place": (deep, lambda: scales.__setitem__(0, 9.0)),
        "a global array through a view": (deep, lambda: scales[1:].fill(4.0)),
        "one bit": (lambda w: np.sum(w**2 * np.copysign(1.0, bit)),
                    lambda: np.negative(bit, out=bit)),
        "a global of a helper": (deep, sets(lam=3.0)),
        "a helper": (deep, sets(helper=lambda w: np.sum(w**4))),
        "a global by eval": (evaluates, sets(lam=3.0)),
        "a global by globals()": (by_globals, sets(lam=3.0)),
        "a builtin": (reads_a_builtin, sets(round=lambda x: 7)),
        "a name of a builtin": (lambda w: max(1, 2) * np.sum(w**2), sets(max=lambda a, b: 9)),
        "a module by another": (lambda w: xp.sum(w**2) * lam,
                                sets(xp=types.SimpleNamespace(sum=lambda x: np.sum(3 * x)))),
        "int to float": (lambda w: other / 2 * np.sum(w**2), sets(other=1.5)),
        "1 to True": (lambda w: (2.0 if other is True else 1.0) * np.sum(w**2), sets(other=True)),
        "0.0 to -0.0": (lambda w: np.sum(w**2) * np.copysign(1.0, config.zero),
                        lambda: setattr(config, "zero", -0.0)),
        "a cell": (loss, change),
        "an array in a cell, in place": (loss, put),
        "a default": (copied, lambda: setattr(copied, "__defaults__", (4.0,))),
        "a keyword default": (copied, lambda: copied.__kwdefaults__.update(b=5.0)),
        "keyword defaults": (copied, lambda: setattr(copied, "__kwdefaults__", {"b": 5.0})),
        "an array as default, in place": (array_default,
                                          lambda: array_default.__defaults__[0].fill(3.0)),
        "the code": (copied, lambda: setattr(copied, "__code__", (lambda w, a=2.0, *, b=3.0:
                                                                  np.sum(w)).__code__)),
        "an argument of a partial, in place": (partial, lambda: partial.args[0].fill(3.0)),
        "an attribute of a function": (has_an_attribute,
                                       lambda: setattr(has_an_attribute, "factor", 3.0)),
        "an attribute of an object": (lambda w: config.k * np.sum(w**2),
                                      lambda: setattr(config, "k", 3.0)),
        "an attribute by getattr": (by_getattr, lambda: setattr(config, "k", 3.0)),
        "an object": (lambda w: config.k * np.sum(w**2),
                      sets(config=types.SimpleNamespace(k=4.0))),
        "an attribute of an attribute": (lambda w: cfg.sub.k * np.sum(w**2),
                                         lambda: setattr(cfg.sub, "k", 5.0)),
        "self": (m.loss, method("k", 3.0)),
        "self, through __dict__": (m.loss, lambda: m.__dict__.update(k=3.0)),
        "self, another __dict__": (m.loss, lambda: setattr(m, "__dict__", {**vars(m), "k": 3.0})),
        "self, an array in place": (m.loss, lambda: m.data.fill(2.0)),
        "self, an array of a list": (m.loss, lambda: m.parts[1].fill(2.0)),
        "self, an element of a list": (m.loss, lambda: m.parts.__setitem__(1, np.zeros(3))),
        "self, an attribute over that of the class": (m.loss, method("power", 3)),
        "self, a method": (m.loss, method("inner", lambda w: np.sum(w))),
        "self, another class": (m.loss, method("__class__", type("Sub", (Model,), {"weight": 9}))),
        "a callable object": (m, method("k", 3.0)),
        "an attribute of the class": (m.loss, method("power", 3, Model)),
        "an attribute of a base class": (m.loss, method("power", 3, Base)),
        "an attribute of a class in between": (m.loss, method("weight", 7.0, Model)),
        "a method of the class": (m.loss, method("inner", lambda self, w: np.sum(w), Model)),
        "a property": (m.loss, method("twice", property(lambda self: 7.0), Model)),
        "a slot": (s.loss, method("k", 3.0, s)),
        "an array in a slot": (s.loss, lambda: s.data.fill(2.0)),
        "a field": (d.loss, method("k", 3.0, d)),
        "an array in a tuple": (d.loss, lambda: d.more[1].fill(2.0)),
        "an array of a frozen dataclass": (lambda w: np.sum(frozen.data * w**2),
                                           lambda: frozen.data.fill(2.0)),
        "an item": (lambda w: table["a"] * np.sum(table["b"] * w**2),
                    lambda: table.update(a=3.0)),
        "an array of a dict, in place": (lambda w: np.sum(table["b"] * w**2),
                                         lambda: table["b"].fill(3.0)),
        "a new item": (lambda w: len(table) * np.sum(w**2), lambda: table.update(c=1)),
        "one item for another": (lambda w: ("a" in table) * np.sum(w**2),
                                 lambda: (table.pop("a"), table.update(z=1.0))),
        "the order of items": (sorts, lambda: ordered.move_to_end("a")),
        "an item of a defaultdict": (lambda w: scaled["a"] * np.sum(w**2),
                                     lambda: scaled.update(a=5.0)),
        "deep in containers": (lambda w: nested["w"][1]["deep"] * np.sum(nested["w"][0] * w),
                               lambda: nested["w"][1].update(deep=7.0)),
        "an element": (lambda w: sum(steps) * np.sum(w**2), lambda: steps.__setitem__(0, 5.0)),
        "a longer list": (lambda w: len(steps) * np.sum(w**2), lambda: steps.append(1.0)),
        "a deque": (lambda w: sum(queue) * np.sum(w**2), lambda: queue.append(3.0)),
        "a set": (lambda w: len(mask) * np.sum(w**2), lambda: mask.add(1)),
        "bytes": (lambda w: words[0] * np.sum(w**2), lambda: words.__setitem__(0, 5)),
        "a strided array": (lambda w: np.sum(strided * w**2), lambda: strided.__setitem__(1, 9.0)),
        "a view": (lambda w: np.sum(part * w**2), lambda: view.__setitem__(2, 9.0)),
        "the shape of an array": (lambda w: grown.shape[0] * np.sum(w**2),
                                  lambda: setattr(grown, "shape", (1, 3))),
        "a captured derivative": (lambda w: np.sum(inner(w) ** 2), sets(lam=3.0)),
        "inside a decorator": (decorated, sets(lam=3.0)),
        "inside np.vectorize": (lambda w: np.sum(vector(np.ones(3)) * w**2), sets(lam=3.0)),
        "a name of a module": (lambda w: module.k * np.sum(w**2),
                               lambda: setattr(module, "k", 5.0)),
        "a cached function": (lambda w: cached(2) * np.sum(w**2),
                              lambda: (sets(lam=3.0)(), cached.cache_clear())),
    }  # fmt: skip


NAMES = list(cases())


def slope_of(f, w):
    """The gradient of a polynomial of degree 4 at most in each element, in plain NumPy: this
    difference quotient has no error but rounding."""
    unit = np.eye(w.size)
    parts = [8 * (f(w + e) - f(w - e)) - (f(w + 2 * e) - f(w - 2 * e)) for e in unit]
    return np.array(parts) / 12


@pytest.fixture
def by_numpy(monkeypatch):
    """Functions run on the NumPy evaluator: these tests are about what is traced, and when."""

    def none(self):
        raise CompilerNotFoundError("not needed here")

    monkeypatch.setattr(Compiled, "_make_native", none)
    monkeypatch.setattr(compiled, "warn_no_compiler", lambda error: None)


def guards_of(f):
    """What the fast path would compare, None if that is left to Python."""
    state = Captures((f,)).now()
    rows = state.native()
    if rows is None or dispatch._native is None:
        return None
    guards = type("Guards", (dispatch._native,), {})()
    guards._switch((rows, (), state))
    return guards


BY_PYTHON = {"the order of items", "a deque", "a set", "bytes", "a strided array"}


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.sample(54)
@pytest.mark.quick(15)
def test_a_change_between_two_calls_is_seen(name, by_numpy):
    f, change = cases()[name]
    both = sg.value_and_grad(f)
    old = f(W)
    for _ in range(2):
        value, slope = both(W)
        assert value == pytest.approx(old, rel=1e-13)
        np.testing.assert_allclose(slope, slope_of(f, W), rtol=1e-9, atol=1e-9)
    assert len(both.compiled) == 1
    guards = guards_of(f)
    assert guards is None or guards._all_hold()
    change()
    assert f(W) != old, "the change makes no difference"
    assert guards is None or not guards._all_hold()
    assert guards is not None or name in BY_PYTHON or dispatch._native is None
    for _ in range(2):
        value, slope = both(W)
        assert value == pytest.approx(f(W), rel=1e-13)
        np.testing.assert_allclose(slope, slope_of(f, W), rtol=1e-9, atol=1e-9)
    assert len(both.compiled) == 2


# ---- what does not trace again -------------------------------------------------------------------


@pytest.fixture
def no_trace(monkeypatch):
    """From here on nothing may be traced."""

    def enable():
        def refuse(self, *args):
            raise AssertionError("traced again")

        monkeypatch.setattr(Dispatcher, "_make", refuse)

    return enable


def test_other_changes_trace_nothing(by_numpy, no_trace):
    m = Model()
    g, h = sg.grad(deep), sg.jit(m.loss)
    g(W), h(W)
    no_trace()
    globals()["another_name"] = 1
    globals()["other"] = 2
    globals()["lam"] = float("0.5")  # an equal number, another object
    globals()["scales"] = scales.copy()
    m.unused = 2
    m.new = 3
    Model.new = 4
    del globals()["another_name"]
    np.testing.assert_allclose(g(W), 2 * lam * W + scales, rtol=1e-13)
    assert h(W) == pytest.approx(m.loss(W), rel=1e-13)


def test_values_that_come_back_trace_nothing(by_numpy, no_trace):
    g = sg.jit(helper)
    for value in (1.0, 2.0):
        globals()["lam"] = value
        g(W)
    no_trace()
    for value in (1.0, 2.0, 1.0):
        globals()["lam"] = value
        assert g(W) == value * np.sum(W**2)


def test_the_same_function_defined_again_traces_nothing(by_numpy, no_trace):
    text = "def again(w):\n    return lam * sum(w**2)\n"
    exec(text, globals())
    g = sg.jit(lambda w: again(w))  # noqa: F821
    g(W)
    no_trace()
    exec(text, globals())
    g(W)


def test_deleted_and_defined_again(by_numpy):
    globals()["late"] = 2.0
    g = sg.jit(lambda w: late * np.sum(w))  # noqa: F821
    assert g(W) == -1.0
    del globals()["late"]
    with pytest.raises(NameError):
        g(W)
    globals()["late"] = 4.0
    assert g(W) == -2.0


def test_a_change_back_and_forth_in_place(by_numpy):
    a = np.ones(3)
    g = sg.jit(lambda w: np.sum(a * w))
    for factor in (1.0, 2.0, 1.0, 3.0):
        a[:] = factor
        assert g(W) == factor * np.sum(W)
    assert len(g.compiled) == 3


def test_nan_and_signs_of_zero(by_numpy):
    a = np.array([np.nan, 0.0, 1.0])
    g = sg.jit(lambda w: np.copysign(1.0, a[1]) * np.sum(w[1:]) * a[2])
    assert g(W) == -1.5 == g(W) and len(g.compiled) == 1
    a[1] = -0.0
    assert g(W) == 1.5


# ---- in C, and every transformation --------------------------------------------------------------


def quadratic():
    scale = np.array([1.0, 2.0, 3.0])

    def f(w):
        return lam * np.sum(scale * w**2)

    return f, scale


@pytest.mark.slow
def test_all_transformations_see_changes():
    f, scale = quadratic()
    sparse = sg.sparse_hessian(f)
    made = {
        "grad": (sg.grad(f), lambda: 2 * lam * scale * W),
        "hessian": (sg.hessian(f), lambda: np.diag(2 * lam * scale)),
        "jacobian": (sg.jacobian(lambda w: scale * w), lambda: np.diag(scale)),
        "of a gradient": (sg.jit(lambda w: sg.grad(f)(w)), lambda: 2 * lam * scale * W),
        "vmap": (sg.vmap(f), lambda: np.array([f(W), f(2 * W)])),
        "hvp": (lambda w: sg.hvp(f, w, w), lambda: 2 * lam * scale * W),
        "jvp": (lambda w: sg.jvp(f, (w,), (w,))[1], lambda: 2 * f(W)),
        "vjp": (lambda w: sg.vjp(f, w)[1](1.0)[0], lambda: 2 * lam * scale * W),
        "sparse": (lambda w: sparse(w).toarray(),
                   lambda: np.diag(2 * lam * scale)),
    }  # fmt: skip
    rows = np.array([W, 2 * W])
    for value in (0.5, 0.5, 3.0):
        globals()["lam"] = value
        scale[0] = value
        for name, (g, expected) in made.items():
            got = g(rows if name == "vmap" else W)
            np.testing.assert_allclose(got, expected(), rtol=1e-13, err_msg=name)


def test_the_fast_path_takes_calls_again_after_a_change(monkeypatch):
    f, scale = quadratic()
    g = sg.grad(f)
    for value in (1.0, 2.0):
        globals()["lam"] = value
        g(W)
    if dispatch._native is None:
        return
    slow = []
    monkeypatch.setattr(Dispatcher, "_slow", lambda self, *args: slow.append(1))
    np.testing.assert_allclose(g(W), 4 * scale * W, rtol=1e-15)
    assert not slow
    globals()["lam"] = 1.0
    g(W)
    assert slow == [1]


def test_sparse_derivatives_ask_c_whether_captures_changed(monkeypatch):
    f, scale = quadratic()
    sparse = sg.sparse_hessian(f)

    def right(w):
        expected = 2 * globals()["lam"] * np.resize(scale, w.size)
        np.testing.assert_allclose(sparse(w).toarray(), np.diag(expected), rtol=1e-15)

    for value in (1.0, 1.0, 2.0, 2.0):
        globals()["lam"] = value
        right(W)
    if dispatch._native is None:
        return
    looked = []
    now = Captures.now
    monkeypatch.setattr(Captures, "now", lambda self, *a: looked.append(1) or now(self, *a))
    right(W)
    assert not looked
    right(W[:1] * np.ones((1, 3)))  # of another shape
    right(W)
    assert looked == [1]
    scale[1] = 7.0
    right(W)
    right(W)
    assert looked == [1, 1]
    globals()["lam"] = 1.0
    right(W)


def test_functions_among_the_arguments():
    scale = np.ones(3)
    f = sg.jit(lambda h, w: h(w))

    def h(w):
        return np.sum(scale * w)

    assert f(h, W) == np.sum(W) == f(h, W)
    scale[:] = 2.0
    assert f(h, W) == 2 * np.sum(W)


def test_compile_freezes():
    f, scale = quadratic()
    g = sg.compile(sg.grad(f), W)
    expected = g(W)
    scale[:] = 7.0
    globals()["lam"] = 7.0
    np.testing.assert_array_equal(g(W), expected)


def test_a_captured_compiled_function_stays_as_it_is(by_numpy):
    f, scale = quadratic()
    inner = sg.compile(f, W)
    g = sg.jit(lambda w: inner(w))
    before = g(W)
    scale[:] = 7.0
    assert g(W) == before


# ---- functions that change what they capture -----------------------------------------------------


class Counts:
    def __init__(self):
        self.calls, self.kept = 0, {}

    def loss(self, w):
        self.calls += 1
        return self.calls * np.sum(w)

    def caching(self, w):
        if "weights" not in self.kept:
            self.kept["weights"] = np.array([1.0, 2.0, 3.0])
        return np.sum(self.kept["weights"] * w)


def test_a_counter_counts_calls_as_in_numpy(by_numpy):
    m = Counts()
    g = sg.jit(m.loss)
    assert [g(W) for _ in range(4)] == [-0.5, -1.0, -1.5, -2.0]


def test_what_a_function_keeps_for_later_is_computed_once(by_numpy, no_trace):
    m = Counts()
    g = sg.jit(m.caching)
    assert g(W) == g(W) == -1.5
    no_trace()
    assert g(W) == -1.5


def test_many_different_values_mean_a_warning_and_not_more_memory(by_numpy, monkeypatch):
    monkeypatch.setattr(dispatcher, "_MAX_STATES", 20)
    g = sg.jit(lambda w: np.sum(w**2) * other)
    for k in range(dispatcher._MANY_STATES):
        globals()["other"] = k
        g(W)
    globals()["other"] = -1
    with pytest.warns(SymgradWarning, match="other, which it captures, has changed"):
        assert g(W) == -np.sum(W**2)
    for k in range(100, 140):
        globals()["other"] = k
        assert g(W) == k * np.sum(W**2)
    assert len(g.compiled) <= 20 and len(g.plans) <= 20 and len(g.same) <= 20


def test_what_cannot_be_seen_is_said(by_numpy):
    numbers = iter([2.0, 3.0])
    with pytest.warns(SymgradWarning, match="captures numbers .*an iterator"):
        sg.jit(lambda w: next(numbers) * np.sum(w))(W)


# ---- lives, processes, threads -------------------------------------------------------------------


class Owner:
    """An object that keeps derivatives of its own functions."""

    def __init__(self):
        self.data = np.ones(3)
        self.f = lambda w: np.sum(self.data * w**2)
        self.slope = sg.grad(self.f)
        self.method_slope = sg.grad(self.loss)

    def loss(self, w):
        return np.sum(self.data * w**2)


def test_objects_that_keep_their_own_derivatives_die():
    alive = []
    for _ in range(2):
        owner = Owner()
        alive.append(weakref.ref(owner))
        for g in (owner.slope, owner.method_slope):
            np.testing.assert_allclose(g(W), 2 * W)
            np.testing.assert_allclose(g(W), 2 * W)
        np.testing.assert_allclose(sg.hvp(owner.f, W, W), 2 * W)
    del owner, g
    gc.collect()
    assert [a() for a in alive] == [None, None]


def test_pickles_see_their_own_captures():
    g = sg.grad(deep)
    g(W)
    copy = pickle.loads(pickle.dumps(g))
    globals()["lam"] = 4.0
    for h in (g, copy):
        np.testing.assert_allclose(h(W), 8 * W + scales, rtol=1e-13)


@pytest.mark.slow
def test_threads_get_results_of_values_that_there_were():
    factor = [1.0]
    g = sg.jit(lambda w: factor[0] * np.sum(w))
    allowed = {k * np.sum(W) for k in (1.0, 2.0, 3.0)}
    wrong, stop = [], threading.Event()

    def calls():
        while not stop.is_set():
            value = g(W)
            if value not in allowed:
                wrong.append(value)

    threads = [threading.Thread(target=calls) for _ in range(4)]
    for t in threads:
        t.start()
    for k in range(300):
        factor[0] = 1.0 + k % 3
        now = g(W)
        if now != factor[0] * np.sum(W):
            wrong.append(now)
    stop.set()
    for t in threads:
        t.join()
    assert not wrong


def test_references_are_where_they_were():
    """Switching plans and guards to and fro neither loses nor frees anything."""
    value = [1.0]
    array = np.ones(3)
    g = sg.jit(lambda w: value[0] * np.sum(array * w))

    def calls(n):
        for k in range(n):
            value[0] = float(k % 2)
            g(W), g(W)

    calls(10)
    gc.collect()
    counts = [sys.getrefcount(v) for v in (array, value, g, W.dtype)]
    calls(400)
    gc.collect()
    assert [sys.getrefcount(v) for v in (array, value, g, W.dtype)] == counts


def test_modules_that_are_imported_inside(tmp_path, monkeypatch, by_numpy):
    (tmp_path / "settings_for_a_test.py").write_text("k = 2.0\ndef f(x): return k * x\n")
    monkeypatch.syspath_prepend(tmp_path)

    def loss(w):
        import settings_for_a_test

        return np.sum(settings_for_a_test.f(w)) * settings_for_a_test.k

    g = sg.jit(loss)
    assert g(W) == g(W) == -2.0
    sys.modules["settings_for_a_test"].k = 3.0
    assert g(W) == -4.5
    del sys.modules["settings_for_a_test"]


def test_scipy_and_other_arrays(by_numpy):
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.csr_array(np.diag([1.0, 2.0, 3.0]))
    g = sg.jit(lambda w: np.sum(matrix.toarray() @ w))
    assert g(W) == -1.5
    matrix.data[0] = 5.0
    assert g(W) == 2.5


# ---- large arrays are passed ---------------------------------------------------------------------

rows = np.linspace(-1, 1, 13_500).reshape(4_500, 3)  # above the size from which they are passed
signs = np.where(np.arange(4_500) % 3, 1.0, -1.0)


def margin(w):
    return signs * (rows @ w)


def logistic(w):
    return np.mean(np.log1p(np.exp(-margin(w)))) + lam * np.sum(w**2)


def logistic_slope(w):
    m = signs * (rows @ w)
    return rows.T @ (-signs / (1 + np.exp(m))) / signs.size + 2 * lam * w


def test_large_arrays_are_read_at_each_call(no_trace):
    made = {"grad": sg.grad(logistic), "jit": sg.jit(sg.grad(logistic), threads=1)}
    kept = rows.copy()
    try:
        for g in made.values():
            np.testing.assert_allclose(g(W), logistic_slope(W), rtol=1e-12)
            assert len(g.armed.hidden) == 2
        no_trace()
        changes = [
            lambda: rows.__setitem__(5, 3.0),
            lambda: globals().update(rows=np.sin(rows)),
            lambda: globals().update(signs=-signs),
        ]
        for change in changes:
            change()
            for g in made.values():
                for _ in range(2):
                    np.testing.assert_allclose(g(W), logistic_slope(W), rtol=1e-12)
    finally:
        rows[:] = kept


def test_large_arrays_of_another_type_trace_again(by_numpy):
    big = np.ones((1_500, 3))

    def f(w):
        return np.sum(big * w)

    g = sg.jit(f)
    assert g(W) == pytest.approx(-750.0)
    big.resize((3_000, 3), refcheck=False)
    assert g(W) == pytest.approx(f(W))
    big = np.ones((1_500, 3), np.float32)
    assert g(W) == pytest.approx(-750.0)
    big = np.ones((3_000, 3))[::2]
    assert g(W) == pytest.approx(-750.0)
    big = 3.0
    assert g(W) == pytest.approx(f(W))


def passes(f, *args):
    """Whether the large arrays that a function captures are passed, after two calls, the second of
    which sees a change of them."""
    g = sg.jit(f)
    for _ in range(2):
        np.testing.assert_allclose(g(*args), f(*args), rtol=1e-10)
        rows[:] *= 2
    hidden = g.captures.now().hidden
    rows[:] /= 4
    return len(hidden) > 0


def appended(w):
    global other
    other = 3
    return np.sum(rows @ w)


def through_a_list(w):
    return sum(np.sum(m(w)) for m in [margin])


by_list = [margin]
in_object = types.SimpleNamespace(rows=rows)


@pytest.mark.slow
def test_where_large_arrays_are_passed(by_numpy):
    assert passes(logistic, W)
    assert passes(lambda w: np.sum(rows[:100] @ w), W)
    assert passes(through_a_list, W)
    partial = functools.partial(margin)
    not_passed = {
        "what is made of them is costly": lambda w: np.sum(np.sin(np.exp(rows)) @ w),
        "they decide": lambda w: np.sum(rows[rows[:, 0] > 0] @ w),
        "no traced operation": lambda w: np.sum(w) * float(np.linalg.svd(rows)[1][0]),
        "a function of a list": lambda w: np.sum(by_list[0](w)),
        "a function of a list, and by name": lambda w: np.sum(by_list[0](w) + margin(w)),
        "a partial": lambda w: np.sum(partial(w)),
        "an object": lambda w: np.sum(in_object.rows @ w),
        "an object, and by name": lambda w: np.sum(in_object.rows @ w) + np.sum(rows @ w),
        "globals()": lambda w: np.sum(globals()["rows"] @ w),
        "a function that assigns": appended,
        "an integer array": lambda w: np.sum(np.arange(9_000).reshape(-1, 3) @ w),
    }
    for name, f in not_passed.items():
        assert not passes(f, W), name


def test_large_arrays_of_functions_of_functions():
    """Below derivatives of derivatives, and in functions that call themselves."""

    def powers(w, n):
        return np.sum(rows @ w) if n == 0 else np.sum(w) * powers(w, n - 1)

    def outer(w):
        return np.sum(sg.grad(logistic)(w) ** 2) + powers(w, 2)

    g = sg.jit(outer)
    for _ in range(2):
        expected = np.sum(logistic_slope(W) ** 2) + np.sum(rows @ W) * np.sum(W) ** 2
        assert g(W) == pytest.approx(expected, rel=1e-12)
        rows[:] *= 2
    rows[:] /= 4


def test_large_arrays_die_with_their_functions():
    alive = []

    def make():
        big = np.ones((1_500, 3)).view()
        alive.append(weakref.ref(big))
        g = sg.jit(lambda w: np.sum(big @ w))
        assert g(W) == g(W) == pytest.approx(-750.0)

    make()
    gc.collect()
    assert alive[0]() is None


# ---- floats that change are passed ---------------------------------------------------------------


def test_a_number_that_has_changed_needs_no_further_compilation(no_trace):
    rate = 0.5

    def inner(w):
        return rate * np.sum(w**3)

    made = {
        "global": (sg.grad(helper), lambda v: globals().update(lam=v), lambda v: 2 * v * W),
        "below a derivative": (sg.jit(lambda w: sg.grad(helper)(w)),
                               lambda v: globals().update(lam=v), lambda v: 2 * v * W),
    }  # fmt: skip

    def set_rate(v):
        nonlocal rate
        rate = v

    made["cell"] = sg.grad(inner), set_rate, lambda v: 3 * v * W**2
    for value in (0.5, 0.25):
        for g, change, expected in made.values():
            change(value)
            np.testing.assert_allclose(g(W), expected(value), rtol=1e-15)
    no_trace()
    for value in (0.125, 7.0, 0.5, -0.0, np.inf, 0.25):
        for g, change, expected in made.values():
            change(value)
            for _ in range(2):
                np.testing.assert_array_equal(g(W), expected(value))


def test_a_number_that_changes_its_kind_or_decides(by_numpy):
    g = sg.jit(helper)
    for value in (1.5, 2.5, 3, 4.5, np.float64(2.0), np.float32(2.0), np.ones(()), True, 0.5):
        globals()["lam"] = value
        got = g(W.astype(np.float32))
        expected = helper(W.astype(np.float32))
        assert got == pytest.approx(float(expected), rel=1e-6)
    h = sg.jit(lambda w: np.sum(w[: int(lam)]))
    for value in (1.0, 2.0, 3.0, 1.5):
        globals()["lam"] = value
        assert h(W) == np.sum(W[: int(value)])
    looks = [
        lambda w: np.sum(w) * len(f"{lam:.3f}"),
        lambda w: np.sum(w) * len(str(lam)),
        lambda w: np.sum(w) * {1.0: 3.0}.get(lam, 7.0),
        lambda w: np.sum(w) * (2.0 if lam in {1.0, 333.0} else 5.0),
        lambda w: np.sum(w) * (2.0 if type(lam) is float else 5.0),
        lambda w: np.sum(w) * (2.0 if isinstance(lam, float) else 5.0),
        lambda w: np.sum(w) * (2.0 if lam == 1.0 else 5.0),
        lambda w: np.sum(w) * {1.0: 3.0, 22.0: 1.0, 333.0: 2.0}[lam],
        lambda w: np.sum(w) * [1.0, 22.0, 333.0].index(lam),
        lambda w: np.sum(w) * math.floor(lam / 10),
        lambda w: np.sum(w) * (lam and 2.0),
        lambda w: np.sum(w) * lam.is_integer() * lam.as_integer_ratio()[0],
    ]
    for f in looks:
        g = sg.jit(f)
        for value in (1.0, 22.0, 333.0, 1.0):
            globals()["lam"] = value
            assert g(W) == pytest.approx(f(W), rel=1e-15)


def test_numbers_keep_their_dtypes_meaning(by_numpy):
    """A captured Python float stays weak, whether it is a constant or passed."""
    small = W.astype(np.float32)
    g = sg.jit(lambda w: lam * w)
    for value in (0.5, 0.25, 0.125):
        globals()["lam"] = value
        assert g(small).dtype == np.float32


def test_a_number_under_two_names(by_numpy):
    """One object in two places: each place is its own."""
    a = b = 0.5

    def f(w):
        return a * np.sum(w) + 10 * b * np.sum(w**2)

    g = sg.jit(f)
    for value in (0.5, 0.25, 0.75):
        a = value
        assert g(W) == pytest.approx(f(W), rel=1e-14)
    for value in (0.25, 0.75):
        b = value
        assert g(W) == pytest.approx(f(W), rel=1e-14)


def test_static_arguments_beside_what_is_passed(by_numpy):
    def f(w, n):
        return lam * np.sum((rows @ w)[:n])

    g = sg.jit(f)
    for value in (0.5, 0.25, 0.125):
        globals()["lam"] = value
        for n in (2, 3):
            assert g(W, n) == pytest.approx(f(W, n), rel=1e-12)
            assert g(W, n=n) == pytest.approx(f(W, n), rel=1e-12)
    assert len(g.captures.now().hidden) == 2


# ---- libraries -----------------------------------------------------------------------------------


def test_a_function_of_an_installed_package_sees_its_own_package(tmp_path, monkeypatch, by_numpy):
    """And not what other packages hold."""
    for name in ("mine_for_a_test", "other_for_a_test"):
        folder = tmp_path / "site-packages" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "settings.py").write_text("k = 2.0\n")
    (tmp_path / "site-packages" / "mine_for_a_test" / "losses.py").write_text(
        "from mine_for_a_test import settings\n"
        "from other_for_a_test import settings as other\n"
        "def loss(w): return settings.k * other.k * (w[0] + w[1])\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    losses = importlib.import_module("mine_for_a_test.losses")
    g = sg.jit(losses.loss)
    assert g(W) == g(W) == -4.0
    losses.other.k = 5.0
    assert g(W) == -4.0
    losses.settings.k = 3.0
    assert g(W) == -15.0


def test_context_variables(by_numpy):
    variable = contextvars.ContextVar("variable", default=2.0)
    g = sg.jit(lambda w: variable.get() * np.sum(w))
    assert g(W) == g(W) == -1.0
    variable.set(4.0)
    assert g(W) == -2.0
    assert contextvars.Context().run(g, W) == -1.0


def test_a_weak_reference_is_not_followed(by_numpy):
    m = Model()
    reference = weakref.ref(m)
    with pytest.warns(SymgradWarning, match="captures reference .*not followed"):
        sg.jit(lambda w: np.sum(w) * reference().k)(W)


def test_old_values_are_not_kept(by_numpy):
    """Versions for other values stay, the values themselves do not."""
    alive = []
    g = sg.jit(lambda w: np.sum(data * w))

    for k in range(4):
        data = np.full(3, float(k))
        alive.append(weakref.ref(data))
        assert g(W) == k * np.sum(W)
    gc.collect()
    assert [a() is None for a in alive] == [True, True, True, False]
    assert len(g.compiled) == 4


def test_the_point_of_a_pullback_is_seen():
    def at(x):
        return sg.vjp(lambda x: x**2, x)[1]

    pull = at(np.ones(3))

    def g(ct):
        return pull(ct)[0]

    compiled = sg.jit(g)
    np.testing.assert_array_equal(compiled(np.ones(3)), 2 * np.ones(3))
    pull = at(5 * np.ones(3))
    np.testing.assert_array_equal(compiled(np.ones(3)), 10 * np.ones(3))


def test_states_of_functions_among_the_arguments_are_bounded():
    """Each keeps alive what its function captures."""
    call = sg.jit(lambda f, x: f(x))
    for k in range(70):
        assert call(lambda x, k=k % 2: x + k, 1.0) == 1.0 + k % 2
    assert len(call.captures._states) <= 64
