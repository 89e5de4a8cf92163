"""The fast call path in C against the slow one in Python: same results, same refusals."""

import copy
import dataclasses
import gc
import inspect
import pickle
import subprocess
import sys
import threading
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import symgrad as sg
from symgrad.compiled import Compiled
from symgrad.dispatcher import Dispatcher
from symgrad.errors import DtypeError, OutOfRangeError, ShapeError, StructureError, SymgradError
from symgrad.runtime import dispatch

pytestmark = pytest.mark.skipif(
    dispatch._native is None,
    reason="no C compiler, or an interpreter that fastcall/abi.h does not know",
)

X = np.array([1.0, 2.0, 3.0])


def slow_refused(self, *args, **kwargs):
    raise AssertionError("the slow path was taken")


@pytest.fixture
def only_fast(monkeypatch):
    """From here on every call has to be taken by the C path."""

    def enable():
        monkeypatch.setattr(Compiled, "_slow", slow_refused)
        monkeypatch.setattr(Dispatcher, "_slow", slow_refused)

    return enable


def cube(x):
    return np.sum(x**3)


def test_the_c_type_is_the_base_class():
    assert issubclass(Compiled, dispatch._native) and issubclass(Dispatcher, dispatch._native)


def test_arrays_of_the_traced_type_are_taken_by_c(only_fast):
    g = sg.grad(cube)
    expected = g(X)
    compiled = sg.compile(sg.grad(cube), sg.f64[3])
    only_fast()
    np.testing.assert_array_equal(g(X), expected)
    assert g(X).flags.owndata and g(X) is not g(X)
    np.testing.assert_array_equal(compiled(X), expected)
    out = np.empty(3)
    assert compiled(X, out=out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(compiled(X, out=None), expected)


def nested(p, t):
    return {"z": [p["w"] * t, None], "a": (np.sum(p["w"]) + p["b"][0], p["b"][1] > 0, {})}


def test_structures_go_in_and_out(only_fast):
    p = {"w": X, "b": [2.0, -1.0]}
    compiled = sg.compile(nested, p, 3.0)
    f = sg.jit(nested)
    expected = f(p, 3.0)
    only_fast()
    for got in (f(p, 3.0), compiled(p, 3.0), f({"b": [2.0, -1.0], "w": X}, 3.0)):
        assert list(got) == ["z", "a"] and list(got["z"][1:]) == [None]
        np.testing.assert_array_equal(got["z"][0], expected["z"][0])
        assert got["a"] == expected["a"] == (8.0, False, {})
        assert type(got["a"][0]) is float and type(got["a"][1]) is bool
    out = {"z": [np.empty(3), None], "a": (np.empty(()), np.empty((), bool), {})}
    assert compiled(p, 3.0, out=out) is out
    np.testing.assert_array_equal(out["z"][0], expected["z"][0])
    assert out["a"][0][()] == 8.0 and not out["a"][1]


@pytest.mark.parametrize(
    "dtype, value",
    [("f64", 1.5), ("f32", np.float32(1.5)), ("i64", 7), ("i32", np.int32(7)), ("bool_", True)],
)
def test_scalars_of_each_dtype_come_back_as_python_numbers(dtype, value):
    compiled = sg.compile(lambda x: (x, np.stack([x, x])), getattr(sg, dtype))
    number, pair = compiled(value)
    assert number == value and type(number) in (float, int, bool)
    assert pair.dtype == np.asarray(value).dtype or dtype == "i64"
    zero_d = np.array(value, dtype=pair.dtype)
    assert compiled(zero_d)[0] == value


def test_integers_at_the_ends_of_their_range():
    f = sg.jit(lambda n: n)
    for n in (-1, 2**63 - 1, -(2**63)):
        assert f(n) == n
    with pytest.raises(SymgradError):
        f(2**63)


WRONG = {
    "float32": X.astype(np.float32),
    "byte-swapped": X.astype(">f8"),
    "longer": np.zeros(4),
    "two axes": np.zeros((3, 1)),
    "a number": 1.0,
    "a list": [1.0, 2.0, 3.0],
    "None": None,
    "a record array": np.zeros(3).view(np.recarray),
    "masked": np.ma.masked_array(X, [0, 1, 0]),
    "a string": "abc",
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused_as_before(value):
    compiled = sg.compile(sg.grad(cube), sg.f64[3])
    with pytest.raises((DtypeError, ShapeError, StructureError)):
        compiled(value)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0)[::2],
        np.arange(6.0)[::-2],
        np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(float),
    ],
    ids=["strided", "backwards", "unaligned"],
)
def test_strides_and_alignment_are_repaired(value):
    compiled = sg.compile(sg.grad(cube), sg.f64[3])
    np.testing.assert_array_equal(compiled(value), 3 * np.array(value) ** 2)


def test_wrong_results_are_refused():
    compiled = sg.compile(lambda x: (x + 1, x * 2), sg.f64[3])
    a, b = np.empty(3), np.empty(3)
    block = np.empty(6)
    frozen = np.empty(3)
    frozen.flags.writeable = False
    for out in (
        a, [a, b], (a,), (a, np.empty(4)), (a, np.empty(3, np.float32)), (a, frozen), (a, X),
        (a, a), (block[:3], block[2:5]), (a, block[::2]), (a, [1.0, 2.0, 3.0]), (a, None), "out",
    ):  # fmt: skip
        with pytest.raises(SymgradError):
            compiled(X, out=out)
    np.testing.assert_array_equal(X, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(compiled(X, out=(block[:3], block[3:]))[1], 2 * X)


def test_other_calls_than_those_by_position(only_fast):
    compiled = sg.compile(lambda x, y: x - y, sg.f64[3], sg.f64[3])
    np.testing.assert_array_equal(compiled(y=X, x=2 * X), X)
    np.testing.assert_array_equal(compiled(2 * X, y=X), X)
    for args, kwargs in (((X,), {}), ((X, X, X), {}), ((X,), {"z": X}), ((), {})):
        with pytest.raises(StructureError):
            compiled(*args, **kwargs)


def test_a_parameter_of_the_users_that_is_called_out():
    f = sg.jit(lambda x, out=2.0: x if out is None else x * out)
    for _ in range(2):
        np.testing.assert_array_equal(f(X), 2 * X)
        np.testing.assert_array_equal(f(X, out=None), X)
        np.testing.assert_array_equal(f(X, out=3.0), 3 * X)


def test_containers_that_only_python_rebuilds():
    Point = namedtuple("Point", "x y")
    f = sg.jit(lambda p: Point(p["b"], p["a"]))
    got = f(OrderedDict(a=X, b=2.0))
    assert type(got) is Point and got.x == 2.0
    np.testing.assert_array_equal(got.y, X)


def test_a_dispatcher_keeps_versions_apart():
    f = sg.jit(lambda x: x * 2)
    for _ in range(2):
        for k in range(12):  # more than there are fast plans
            np.testing.assert_array_equal(f(np.ones(k)), np.full(k, 2.0))
        assert f(np.ones(3, np.float32)).dtype == np.float32
        assert type(f(2)) is int and type(f(2.0)) is float and f(np.float64(2.0)) == 4.0
        assert f(True) == 2
        assert f(np.array(2.5)) == 5.0


def test_plain_arrays_under_a_trace_are_recorded(only_fast):
    inner = sg.jit(lambda a: a * 2)
    np.testing.assert_array_equal(inner(X), 2 * X)
    graph = sg.trace(lambda x: inner(X) + x, sg.f64[3])
    np.testing.assert_array_equal(graph.evaluate(X), 3 * X)
    y = sg.grad(lambda x: np.sum(sg.jit(lambda a: a * x)(X)))(X)
    np.testing.assert_array_equal(y, X)


def test_status_of_the_c_code_becomes_an_exception():
    f = sg.jit(lambda x, i: x[i])
    assert f(X, 1) == 2.0
    for bad in (3, -4):
        with pytest.raises((OutOfRangeError, IndexError)):
            f(X, bad)
    inverse = sg.compile(np.linalg.inv, sg.f64[2, 2])
    with pytest.raises(np.linalg.LinAlgError):
        inverse(np.zeros((2, 2)), out=np.empty((2, 2)))


def test_nothing_leaks():
    """References of dtypes, arguments and results are where they were after many calls."""
    compiled = sg.compile(nested, {"w": X, "b": [2.0, -1.0]}, 3.0)
    p = {"w": X, "b": [2.0, -1.0]}
    out = {"z": [np.empty(3), None], "a": (np.empty(()), np.empty((), bool), {})}
    bad = np.zeros(4)
    watched = [np.dtype(float), X, p, p["b"], out, out["z"][0], None, "w", bad]

    def calls(n):
        for _ in range(n):
            compiled(p, 3.0)
            compiled(p, 3.0, out=out)
            with pytest.raises(ShapeError):
                compiled({"w": bad, "b": [2.0, -1.0]}, 3.0)

    calls(3)
    gc.collect()
    before = [sys.getrefcount(w) for w in watched]
    calls(500)
    gc.collect()
    after = [sys.getrefcount(w) for w in watched]
    assert all(abs(a - b) < 100 for a, b in zip(after, before, strict=True)), (before, after)


def test_callables_are_freed():
    freed = []

    class Marked(Compiled):
        def __del__(self):
            freed.append(1)

    marked = Marked(sg.trace(cube, sg.f64[3]).simplify())
    assert marked(X) == 36.0
    del marked
    gc.collect()
    assert freed == [1]


def test_threads_share_one_function():
    f = sg.compile(sg.grad(lambda x: np.sum(np.cumsum(x) ** 2)), sg.f64[2000])
    assert f.cost().workspace >= 0
    inputs = [np.random.default_rng(k).normal(size=2000) for k in range(4)]
    expected = [f(x) for x in inputs]
    wrong = []

    def work(k):
        out = np.empty(2000)
        for _ in range(300):
            if not np.array_equal(f(inputs[k], out=out), expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_an_array_may_leave_its_list_during_the_call():
    f = sg.jit(lambda p: np.sum(np.exp(p[0]) * np.log1p(np.exp(p[0]))))
    p = [np.ones(100_000)]
    expected = f(p)
    results = []
    thread = threading.Thread(target=lambda: results.extend(f(p) for _ in range(20)))
    thread.start()
    for _ in range(2000):
        p[0] = np.ones(100_000)
    thread.join()
    assert set(results) == {expected}


def test_the_python_class_passes_on_to_c_when_that_is_ready():
    class Half(dispatch.PythonCaller):
        def __init__(self):
            self.slow_calls = 0

        def _slow(self, *args, **kwargs):
            self.slow_calls += 1
            return compiled._slow(*args, **kwargs)

    compiled = sg.compile(cube, sg.f64[3])
    half = Half()
    half._add_plan(compiled.plan([dispatch.ACCEPT_ALL], takes_out=True))
    assert half(X) == 36.0 and half.slow_calls == 1
    assert half(X) == 36.0 and half.slow_calls == 1
    with pytest.raises(ShapeError):
        half(np.zeros(4))
    assert half.slow_calls == 2


@pytest.mark.slow
def test_a_cold_process_is_right_while_the_library_is_being_built(tmp_path):
    program = """
import numpy as np, symgrad as sg
from symgrad.runtime import dispatch
g = sg.grad(lambda x: np.sum(x**3))
x = np.array([1.0, 2.0])
assert g(x).tolist() == [3.0, 12.0]
assert dispatch._background is not None
dispatch._background.join()
assert dispatch._native is not None
for _ in range(3):
    assert g(x).tolist() == [3.0, 12.0]
"""
    env = {**__import__("os").environ, "SYMGRAD_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", program], check=True, env=env, timeout=120)


def test_a_subclass_may_have_its_own_call():
    class Loud(Compiled):
        def __call__(self, *args, **kwargs):
            return "loud", super().__call__(*args, **kwargs)

    loud = Loud(sg.trace(cube, sg.f64[3]).simplify())
    assert loud(X) == loud(*[X]) == ("loud", 36.0)


def test_a_keyword_that_compares_as_it_likes():
    class Odd(str):
        def __eq__(self, other):
            raise KeyError("odd")

        __hash__ = str.__hash__

    compiled = sg.compile(cube, sg.f64[3])
    with pytest.raises((KeyError, SymgradError)):
        Compiled.__call__(compiled, X, **{Odd("out"): None})
    assert compiled(X) == 36.0


GARBAGE = (
    None, 5, (), (1,) * 11, (1, (), (), (), (), (), 0, 0, 0, 0), (1, (), (), (), (), (), 0, 0, 0, 0, 0),
    (0, (), (), (), (), (), 0, 0, 0, 0, 0), (2**200, (), ((1, 0, (), ()),), (), (), (), 0, 0, 0, 0, 0),
    (1, ((0, 0, (), ()),) * 500, (), (), (), (), 0, 0, 0, 0, 0),
    (1, (), ((1, 0, (), ()),), ((0, 0, 0, 0, ()),) * 40, (), (), 0, 0, 0, 0, 0),
    (1, (), ((1, 3, (), ()),), (), (), (), 0, 0, 0, 0, 0),
    (1, (), ((3, 1, ("a",), (7,)), (0, 0, (), ())), (), ((0, 0, 7, 8, ()),), (), 0, 0, 0, 0, 0),
    (1, (), ((1, 0, (), ()),), (), (), ("x",), 0, 0, 0, 0, 0),
    (1, (), ((1, 0, (), ()),), (), (), (), 0, -5, 0, 0, 0),
    (1, (), ((1, 0, (), ()),), (), (), (), 2**70, 0, 0, 0, 0),
    (1, (), ((1, 0, (), ()),), (), ((0, 0, 0, 0, (1,) * 9),), (), 0, 0, 0, 0, 0),
)  # fmt: skip


def test_garbage_is_refused_where_plans_are_expected():
    compiled = sg.compile(cube, sg.f64[3])
    for given in GARBAGE:
        with pytest.raises((TypeError, OverflowError)):
            compiled._add_plan(given)
    for given in (None, 5, (), (1,), (1, 2, 3)):
        with pytest.raises(TypeError):
            compiled._watch(given)
    for given in (None, 5, (), "x", np.float64(1), np.ma.masked_array(X)):
        with pytest.raises(TypeError):
            compiled._probe(given)
    assert compiled(X) == 36.0


def test_watching_anew_leaks_nothing():
    compiled = sg.compile(cube, sg.f64[3])
    variable, idle = object(), object()
    before = sys.getrefcount(variable), sys.getrefcount(idle)
    for _ in range(10):
        compiled._watch((variable, idle))
    assert (sys.getrefcount(variable), sys.getrefcount(idle)) == (before[0] + 1, before[1] + 1)
    assert compiled(X) == 36.0  # no context variable: the slow path
    del compiled
    gc.collect()
    assert (sys.getrefcount(variable), sys.getrefcount(idle)) == before


@pytest.mark.slow
def test_a_forked_process_calls_on():
    f = sg.compile(lambda x: np.cumsum(np.exp(np.cumsum(x))) / np.sum(x), sg.f64[5000])
    x = np.linspace(0, 1e-3, 5000)
    expected = f(x)
    program = f"""
import os, sys, numpy as np, symgrad as sg
f = sg.compile(lambda x: np.cumsum(np.exp(np.cumsum(x))) / np.sum(x), sg.f64[5000])
x = np.linspace(0, 1e-3, 5000)
first = f(x)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(f(x), first) else 3)
assert os.waitpid(child, 0)[1] == 0 and first[-1] == {expected[-1]!r}
"""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program.replace("np.float64", "")],
        check=True,
        timeout=120,
    )


def half_square(x):
    """Half of the square."""
    return 0.5 * x**2


jitted = sg.jit(half_square)
slope = sg.grad(half_square)


@dataclasses.dataclass
class Scaled:
    factor: float

    @sg.jit
    def times(self, x):
        """x, scaled."""
        return self.factor * x


def test_what_transformations_return_passes_for_a_function():
    assert (slope.__name__, slope.__doc__) == (
        "grad_half_square",
        "grad of half_square, by symgrad.",
    )
    assert (jitted.__name__, jitted.__doc__) == ("half_square", "Half of the square.")
    assert jitted.__wrapped__ is half_square and jitted.__module__ == __name__
    assert inspect.signature(slope) == inspect.signature(half_square)
    assert callable(slope) and repr(slope) == "<function grad_half_square, by symgrad>"
    assert slope(3.0) == 3.0 and jitted(3.0) == 4.5


def test_what_transformations_return_binds_to_objects():
    two, three = Scaled(2.0), Scaled(3.0)
    assert [two.times(5.0), three.times(5.0), two.times(5.0)] == [10.0, 15.0, 10.0]
    two.factor = 4.0
    assert two.times(5.0) == 20.0
    assert isinstance(Scaled.times, Dispatcher) and Scaled.times(three, 2.0) == 6.0
    assert two.times.__doc__ == "x, scaled."


def test_what_transformations_return_pickles_by_name():
    """As functions do, where it stands under its own name; else it is made anew."""
    assert pickle.loads(pickle.dumps(slope))(3.0) == 3.0  # half_square is another function
    assert copy.copy(slope) is copy.deepcopy(slope) is slope
    method = pickle.loads(pickle.dumps(Scaled.times))
    assert method is Scaled.times


def test_no_frame_of_python_stands_between_a_call_and_c():
    """Seen by a profiler, a repeated call is not a call of any Python function."""
    x = np.array([1.0, 2.0])
    gradient = sg.grad(lambda x: np.sum(x**3))
    gradient(x)
    seen = []
    sys.setprofile(lambda frame, event, arg: seen.append((event, frame.f_code.co_name)))
    try:
        gradient(x)
    finally:
        sys.setprofile(None)
    assert [event for event, _ in seen if event == "call"] == []
