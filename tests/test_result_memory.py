"""The memory of large results is recycled: never while anybody can see it, never without bound."""

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import OutOfRangeError
from symgrad.runtime import dispatch

pytestmark = pytest.mark.skipif(
    dispatch._native is None,
    reason="no C compiler, or an interpreter that fastcall/abi.h does not know",
)

LARGE = 40_000  # elements of a result whose memory is recycled
handler_name = np._core.multiarray.get_handler_name


def empty(size):
    """An array of bytes, made as results are."""
    return dispatch._native._empty(((np.dtype(np.uint8), 0, 0, size, (size,)),))


def pooled():
    return dispatch._native._pooled()


@pytest.fixture
def five():
    return sg.compile(lambda x: tuple(x + k for k in range(1, 6)), sg.f64[LARGE])


def test_memory_of_results_that_were_let_go_is_used_again(five):
    x = np.zeros(LARGE)
    seen = {r.ctypes.data for _ in range(3) for r in five(x)}
    for _ in range(20):
        results = five(x)
        seen.update(r.ctypes.data for r in results)
    assert len(seen) <= 10  # two generations of five
    for k, r in enumerate(results, start=1):
        assert r.flags.owndata and r.base is None and r.ctypes.data % 64 == 0
        assert r[0] == r[-1] == k and np.all(r == k)


def test_results_that_are_held_are_never_overwritten(five):
    """Also where only a view or a view of a view is held."""
    rng = np.random.default_rng(0)
    held = []
    for n in range(200):
        results = five(np.full(LARGE, float(n)))
        for k in rng.permutation(5)[:2]:
            r = results[k]
            view = (r, r[7:], r.reshape(200, -1).T[3:][:, ::2], memoryview(r))[rng.integers(4)]
            held.append((view, n + k + 1.0))
        if len(held) > 60:
            del held[: rng.integers(40)]
        assert all(np.all(np.asarray(view) == value) for view, value in held)


def test_threads_never_share_memory_of_results(five):
    wrong = []

    def work(number):
        mine = []
        for n in range(150):
            value = 1000.0 * number + n
            mine.append((five(np.full(LARGE, value))[n % 5], value + n % 5 + 1))
            if len(mine) > 7:
                del mine[::2]
            wrong.extend(v for r, v in mine if not np.all(r == v))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_spare_memory_is_bounded():
    """By 64 MiB and by 64 blocks; a result beyond that is given back at once."""
    f = sg.compile(lambda x: x + 1, sg.f64[2**20])
    held = [f(np.ones(2**20)) for _ in range(12)]
    del held
    assert 2**25 < pooled() <= 2**26
    small = sg.compile(lambda x: x + 1, sg.f64[2**13])
    held = [small(np.ones(2**13)) for _ in range(200)]
    del held
    assert pooled() <= 64 * 2**17
    before = pooled()
    beyond = empty(2**27)
    del beyond
    assert pooled() == before


def test_small_requests_do_not_waste_large_blocks():
    large, small = (sg.compile(lambda x: x + 1, sg.f64[n]) for n in (2**20, 2**14))
    a = large(np.ones(2**20))
    address = a.ctypes.data
    del a
    held = [small(np.ones(2**14)) for _ in range(100)]
    b = large(np.ones(2**20))
    assert b.ctypes.data == address
    assert all(not np.shares_memory(b, h) for h in held)


def test_small_results_have_numpys_own_memory():
    f = sg.compile(lambda x: (x[:3] + 1, x + 1), sg.f64[LARGE])
    few, many = f(np.ones(LARGE))
    assert handler_name(few) == "default_allocator" and handler_name(many) == "symgrad"
    assert (
        handler_name() == handler_name(many.copy()) == handler_name(many + 1) == "default_allocator"
    )


def test_the_slow_path_recycles_as_well(five):
    x = np.zeros(2 * LARGE)[::2]  # strides only Python repairs
    seen = {r.ctypes.data for _ in range(20) for r in five(x)}
    assert len(seen) <= 10
    assert handler_name(five(x)[0]) == "symgrad"


@pytest.mark.parametrize("size", [0, 10, LARGE - 1, LARGE + 1, 3 * LARGE])
def test_results_can_be_resized(five, size):
    for _ in range(5):
        r = five(np.zeros(LARGE))[1]
        r.resize(size, refcheck=False)
        kept = min(size, LARGE)
        assert r.shape == (size,) and np.all(r[:kept] == 2) and np.all(r[kept:] == 0)
        r[...] = 7
        assert all(np.all(s == k) for k, s in enumerate(five(np.zeros(LARGE)), start=1))


def test_headers_changed_in_place_do_not_mislead_the_pool(five):
    r = five(np.zeros(LARGE))[0]
    r.dtype = np.uint8
    r.shape = (8, LARGE)
    del r
    assert all(np.all(s == k) for k, s in enumerate(five(np.zeros(LARGE)), start=1))


def test_results_are_pickled_and_copied(five):
    r = five(np.zeros(LARGE))[2]
    buffers = []
    data = pickle.dumps(r, protocol=5, buffer_callback=buffers.append)
    shared = pickle.loads(data, buffers=buffers)
    copied = pickle.loads(pickle.dumps(r))
    other = five(np.ones(LARGE))[2]
    other.__setstate__(copied.__reduce__()[2])  # frees and replaces the memory
    del r
    five(np.ones(LARGE))
    for c in (shared, copied, other, copy.deepcopy(shared)):
        assert np.all(c == 3)


def test_failed_calls_hand_nothing_out():
    f = sg.compile(lambda x, i: (x + x[i], x * 2), sg.f64[LARGE], sg.i64)
    for _ in range(5):
        with pytest.raises(OutOfRangeError):
            f(np.ones(LARGE), LARGE)
        a, b = f(np.ones(LARGE), 1)
        assert np.all(a == 2) and np.all(b == 2)


def test_memory_that_does_not_exist_is_a_memory_error():
    keep = sg.compile(lambda x: x + 1, sg.f64[LARGE])(np.ones(LARGE))
    del keep
    with pytest.raises(MemoryError):
        empty(2**55)
    assert pooled() == 0  # it was given back first
    assert handler_name() == "default_allocator"
    for given in (None, (), (1,), ((np.dtype(float), 0, 0, 8),), ((1, 2, 3, 4, 5),)):
        with pytest.raises(TypeError):
            dispatch._native._empty(given)


@pytest.mark.slow
def test_results_outlive_functions_forks_and_the_interpreter():
    program = """
import os, sys, threading, numpy as np, symgrad as sg
f = sg.compile(lambda x: (x + 1, x * 2), sg.f64[40_000])
x = np.ones(40_000)
held = [f(x) for _ in range(5)]
stop = threading.Event()
def busy():
    while not stop.is_set():
        f(x)
threads = [threading.Thread(target=busy) for _ in range(3)]
for t in threads:
    t.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        ok = all(np.all(a == 2) and np.all(b == 2) for a, b in held)
        del held
        again = [f(x) for _ in range(5)]
        os._exit(0 if ok and all(np.all(r == 2) for pair in again for r in pair) else 3)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for t in threads:
    t.join()
del f
assert all(np.all(a == 2) and np.all(b == 2) for a, b in held)
sys.kept_to_the_end = held
class Last:
    def __del__(self):
        self.held.clear()
last = Last()
last.held = held
builtins = sys.modules["builtins"]
builtins.last = last
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, timeout=120
    )
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()


def test_every_element_of_a_recycled_result_is_written():
    """The memory is full of what was there before: results of many kinds must not show it."""
    n = 300
    x = np.random.default_rng(0).normal(size=(n, n))

    def everything(x):
        padded = np.pad(x[1:], ((0, 1), (0, 0)))
        return (
            np.where(x > 0, np.exp(x), 0), padded, np.concatenate([x[:7], x[7:]]), x.T, np.tril(x),
            np.cumsum(x, axis=0), x @ x, np.eye(n) * x[0, 0], np.zeros((n, n)), np.diag(x[0]),
            x[::-1], x[np.arange(n) // 2], np.broadcast_to(x[0], (n, n)),
        )  # fmt: skip

    f = sg.compile(everything, sg.f64[n, n])
    expected = [np.array(r) for r in everything(x)]
    f(np.full((n, n), 3.0))
    for poison in (np.nan, -7.0):
        results = f(x)
        assert all(handler_name(r) == "symgrad" for r in results)
        for r, e in zip(results, expected, strict=True):
            np.testing.assert_allclose(r, e, rtol=1e-12, atol=1e-11)
            r[...] = poison
        del results, r
