"""threads=: blocks of points shared by OpenMP, with the same bits for any number of threads.

That rounds do not depend on each other is tested in three ways: several threads take them at once;
one thread takes them backwards, which may round sums that are added in order differently; and all
are computed once before any of these sums is added.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest

import symgrad as sg
from support import codegen, lane_functions, queries, random_graphs
from support.agreement import close, leaves, same_bits
from support.codegen import STRICT
from support.functions import mixture, normals
from support.lane_functions import Points
from support.tunings import SHORT_STREAMS
from symgrad.errors import BuildError, CompileError, SymgradWarning
from symgrad.generate import source_of
from symgrad.lower.tuning import HOST_TUNING
from symgrad.options import Options
from symgrad.runtime import call
from symgrad.runtime.build import build
from symgrad.runtime.call import Native
from symgrad.runtime.compiler import find_compiler
from symgrad.runtime.record import Record

MARK = "SG_PARALLEL\n "
TEAM = re.compile(
    r"(SG_TEAM(?:_IN_ORDER)?\(\d+\)\n *for \(ptrdiff_t (\w+)) = 0; "
    r"\2 < (\d+); (\+\+\2|\2 \+= (\d+))\)"
)
THREADS = (1, 3, 4)  # one; fewer than there is room for, who do not divide the rounds; all
GCC = shutil.which("gcc")


def has_openmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openmp")
    (folder / "a.c").write_text("int f(void) { return 0; }")
    command = [*find_compiler().argv, "-shared", "-fPIC", "-fopenmp", "a.c", "-o", "a.so"]
    return subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


@pytest.fixture(autouse=True, scope="module")
def openmp(tmp_path_factory):
    if not has_openmp(tmp_path_factory):
        pytest.skip("the compiler has no OpenMP")


EAGER = replace(HOST_TUNING, parallel_from_cost=0)  # loops are shared however little they do
SHARED = replace(HOST_TUNING, share_from_work=0)  # and so are products


@pytest.fixture
def small(monkeypatch):
    """Functions have some thousand points."""
    monkeypatch.setattr(lane_functions, "SIZES", (1023, 1024, 1025, 2048, 2050, 3333, 4096))


def run(graph, source, args, threads, text=None):
    """Results without records, which do not know what a test has changed."""
    library = build(text or source.c, (source.entry, source.name), optimize=3, threads=threads)
    assert library.threads == threads
    native = Native(source, library, graph.input_types, graph.output_types)
    return native(graph.flat(args, {}))


def backwards(text):
    """The C with the rounds of shared loops in the opposite order."""
    pattern = r"(SG_PARALLEL\n *for \(ptrdiff_t (\w+)) = 0; \2 < ([^;]+); \+\+\2\)"
    changed, count = re.subn(pattern, r"\1 = (\3) - 1; \2 >= 0; --\2)", text)
    assert count == text.count(MARK) > 0
    return changed


def team_backwards(text):
    """The C with the rounds of loops whose threads have arrays in the workspace turned round."""
    loops = TEAM.findall(text)
    assert len(loops) == teams(text)
    for head, name, stop, step, size in loops:
        size = int(size or 1)
        last = (int(stop) - 1) // size * size
        forwards = f"{head} = 0; {name} < {stop}; {step})"
        assert text.count(forwards) == 1
        text = text.replace(forwards, f"{head} = {last}; {name} >= 0; {name} -= {size})")
        text = re.sub(rf"(sg_mergef?\(\d+, {name}) == 0,", rf"\1 == {last},", text)
    return text


def in_two_passes(text):
    """The C with the rounds of such loops computed twice, sums added the second time."""
    for name, value in (
        ("SG_TEAM(most)", "for (int pass = 0; pass < 2; ++pass)"),
        ("SG_TEAM_IN_ORDER(most)", "for (int pass = 0; pass < 2; ++pass)"),
        ("SG_IN_ORDER", "if (pass == 1)"),
        ("SG_MEMBER", "pass"),
    ):
        empty = rf"#define {re.escape(name)}( 0)?\n"
        text, count = re.subn(empty, f"#define {name} {value}\n", text)
        assert count == 1
    return text


def teams(text):
    """How many loops have threads with arrays in the workspace."""
    return len(re.findall(r"SG_TEAM(?:_IN_ORDER)?\(\d", text))


def check(f, args, tolerance, tuning=HOST_TUNING, numbers=THREADS):
    """Compare numbers of threads, orders and the evaluator; how many loops are shared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SymgradWarning)
        graph = sg.trace(f, *args).simplify()
    plain, shared = (source_of(graph, threads=n, tuning=tuning) for n in (1, 4))
    assert "SG_PARALLEL" not in plain.c
    assert "SG_TEAM" not in plain.c
    assert shared.parallel == (MARK in shared.c or teams(shared.c) > 0)
    if not shared.parallel:
        assert shared.c == plain.c
        return 0
    expected = run(graph, plain, args, 1)
    close(expected, graph.evaluate_flat(graph.flat(args, {})), tolerance)
    for threads in numbers:
        same_bits(run(graph, shared, args, threads), expected)
    if MARK in shared.c:
        same_bits(run(graph, shared, args, 1, backwards(shared.c)), expected)
    if teams(shared.c):
        same_bits(run(graph, shared, args, 1, in_two_passes(shared.c)), expected)
        close(run(graph, shared, args, 1, team_backwards(shared.c)), expected, tolerance)
    return shared.c.count(MARK) + teams(shared.c)


def check_random(seed):
    dtype = np.float32 if seed % 4 == 0 else np.float64
    points = Points(seed, dtype)
    tolerance = 2e-3 if dtype is np.float32 else 1e-9
    args = points.reals, points.labels
    every = 1, 2, 3, 4
    count = check(points, args, tolerance, EAGER, every)
    return count + check(sg.value_and_grad(points.loss), args, tolerance, EAGER, every)


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30_000, 30_006))
def test_random_functions(seed, small):
    check_random(seed)


@pytest.mark.slow
def test_most_of_them_are_shared(small):
    shared = 0
    for seed in range(30_000, 30_010):
        points = Points(seed)
        graph = sg.trace(points, points.reals, points.labels).simplify()
        shared += source_of(graph, threads=4, tuning=EAGER).parallel
    assert shared >= 5


def sums(x, w, b):
    z = np.tanh(x @ w + b)
    return np.sum(np.log1p(z * z), axis=0), np.sum(z)


def rows(x, w, b):
    z = np.exp(-((x @ w + b) ** 2))
    return z / np.sum(z, axis=1, keepdims=True)


def loss(x, w, b):
    return np.sum(rows(x, w, b)[:, 0] * np.sin(x[:, 1]))


def sample(n, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=s).astype(dtype) for s in ((n, 5), (5, 4), 4))


@pytest.mark.quick(1)
@pytest.mark.parametrize("f", [sums, rows, sg.grad(loss), sg.grad(loss, argnums=(1, 2))])
@pytest.mark.parametrize("n", [51_200, 51_455])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_any_number_of_points(f, n, dtype):
    assert check(f, sample(n, n, dtype), 1e-10 if dtype is np.float64 else 2e-3) == 1


def test_infinities_and_nan_in_sums():
    x, w, b = sample(50_000)
    x[777, 2], x[40_000, 1] = np.inf, np.nan
    graph = sg.trace(lambda x: np.sum(np.exp(x), axis=0), x).simplify()
    check(sums, (x, w, b), 1e-10)
    got = sg.compile(lambda x: (np.sum(np.exp(x), axis=0), np.sum(x * x, axis=1)), x, threads=3)(x)
    assert np.isnan(got[0][1])
    assert got[0][2] == np.inf
    close(got[0], graph.evaluate(x), 1e-10)


@pytest.mark.slow
def test_sums_are_as_accurate():
    n = 1_000_000
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 2)) * 10.0 ** rng.integers(-6, 7, (n, 1))

    def f(x):
        y = x * np.sqrt(np.abs(x) + 1)
        return np.sum(y, axis=0), np.sum(np.sqrt(np.sum(y * y, axis=1)))

    c = sg.compile(f, x, threads=3)
    assert queries.shared(queries.program(c))
    got = c(x)
    y = x * np.sqrt(np.abs(x) + 1)
    for k in range(2):
        exact, size = math.fsum(y[:, k]), math.fsum(np.abs(y[:, k]))
        assert abs(got[0][k] - exact) <= 1e-15 * size
    same_bits(leaves(got), leaves(sg.compile(f, x)(x)))


def test_small_loops_and_index_checks_stay_serial():
    assert not queries.shared(queries.program(sg.compile(sums, *sample(200), threads=4)))
    x = np.linspace(0, 1, 100_000)
    index = np.arange(100_000)
    c = sg.compile(lambda x, i: np.sum(np.sin(x[i]) * np.exp(x)) + np.sum(np.cos(x)), x, index,
                   threads=3)  # fmt: skip
    close(c(x, index), c.graph.evaluate(x, index), 1e-12)
    with pytest.raises(sg.errors.OutOfRangeError):
        c(x, index + 1)


def test_points_that_meet_stay_serial():
    n = 50_000
    rng = np.random.default_rng(5)
    x, label = rng.normal(size=(n, 4)), rng.integers(0, 7, n)

    def f(b):  # its gradient scatters: two points may add to one element
        return np.sum(np.tanh(b[label][:, None] * x))

    b = rng.normal(size=7)
    c = sg.jit(sg.grad(f), threads=4)
    same_bits([c(b)], [sg.grad(f)(b)])


# ---- products of matrices -----------------------------------------------------------------------


def triangle(x, w):
    return x.T @ (x * w[:, None])


def network(a, b, c):
    h = np.maximum(a @ b, 0)
    return np.sum(np.tanh(h @ c) ** 2)


GRADIENTS = sg.grad(network, argnums=(0, 1, 2)), sg.grad(network, argnums=(1, 2))
PANELS = MARK + r".*\n +SG_ALIGNED (?:double|float) \w+\[(\d+)\]"  # of the rows that one round has


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("f, shapes", [
    (np.matmul, ((101, 70), (70, 203))),
    (np.matmul, ((13, 300), (300, 64))),
    (np.matmul, ((300, 4200), (4200, 24))),
    (lambda a, b: np.sin(a).T @ np.exp(b), ((600, 50), (600, 77))),
    (lambda a, b: np.einsum("bij,kj->bki", a, b), ((3, 40, 90), (25, 90))),
    (triangle, ((50, 111), (50,))),
    (triangle, ((9000, 59), (9000,))),
    (GRADIENTS[0], ((250, 30), (30, 40), (40, 16))),
    (GRADIENTS[1], ((12_000, 30), (30, 40), (40, 16))),
])  # fmt: skip
def test_products(f, shapes, dtype):
    args = normals(*shapes, dtype=dtype)
    assert check(f, args, 1e-11 if dtype is np.float64 else 2e-3, SHARED) > 0
    c = source_of(sg.trace(f, *args).simplify(), threads=4, tuning=SHARED).c
    assert re.search(PANELS, c) or (f in GRADIENTS and teams(c))


def test_products_of_real_size():
    assert check(np.matmul, normals((400, 300), (300, 350)), 1e-12) == 1
    assert check(np.matmul, normals((60, 60), (60, 60)), 1e-12) == 0  # too small to share


@pytest.mark.slow
def test_arrays_of_products_are_small_enough_for_stacks():
    for dtype in (np.float64, np.float32):
        for m in (33, 97, 500, 5000):
            for k in (8, 100, 257, 5000):
                a, b = np.empty((m, k), dtype), np.empty((k, 40), dtype)
                graph = sg.trace(np.matmul, a, b).simplify()
                c = source_of(graph, threads=4, tuning=SHARED).c
                (size,) = re.findall(PANELS, c)
                assert int(size) * np.dtype(dtype).itemsize <= 96 * 1024


# ---- blocks of points with products --------------------------------------------------------------


def logistic_hessian(w, x):
    return sg.hessian(lambda w: np.mean(np.log1p(np.exp(-(x @ w)))))(w)


def kernel_regression(a, b, c):
    """Two axes of points: blocks of one within blocks of the other."""
    distance = np.sum(a * a, axis=1)[:, None] - 2 * a @ b.T + np.sum(b * b, axis=1)
    return np.exp(-0.01 * distance) @ c


def sums_of_kernel(a, b, c):
    """Sums over either axis of points, and over both."""
    k = kernel_regression(a, b, np.eye(len(b)))
    return np.exp(k) @ c, np.sum(k), np.sum(np.exp(k), axis=0), np.sum(k, axis=1)


def kernel_gradient(a, b, c):
    return sg.grad(lambda s: np.sum(kernel_regression(s * a, b, c) ** 2))(np.ones((), a.dtype)[()])


def mirrored(x, c, w, v):
    """What is read is not where the round writes."""
    return np.tanh(np.tanh(np.exp(x @ x.T / 9) @ c) @ w) @ v


def stored_and_added(a, b, c):
    """Loops that store what they add as well: one order and one vector function for all builds."""
    h = np.exp(np.sin(a @ b))
    return np.sum(h, axis=0), np.sum(h, axis=1), h @ c


def largest(a, b, c):
    """A maximum over the points: nothing is added up."""
    h = np.tanh(a @ b)
    return np.max(h @ c, axis=0), np.sum(h @ c, axis=0)


@pytest.mark.sample(5)
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("f, shapes", [
    (sg.value_and_grad(mixture, (0, 1)), ((12, 24, 24), (12, 24), (5051, 24))),
    (logistic_hessian, ((60,), (20_011, 60))),
    (sg.grad(network, argnums=(0, 1, 2)), ((6000, 30), (30, 200), (200, 16))),
    (sg.grad(network, argnums=(1, 2)), ((12_001, 30), (30, 40), (40, 16))),
    (kernel_regression, ((1500, 30), (1200, 30), (1200, 9))),
    (kernel_gradient, ((1500, 30), (1200, 30), (1200, 9))),
    (sums_of_kernel, ((1500, 30), (1201, 30), (1201, 9))),
    (stored_and_added, ((9000, 30), (30, 60), (60, 50))),
])  # fmt: skip
def test_blocks_of_points_with_products(f, shapes, dtype):
    args = tuple(a / 5 for a in normals(*shapes, dtype=dtype))
    assert check(f, args, 1e-11 if dtype is np.float64 else 2e-3) > 0
    assert teams(source_of(sg.trace(f, *args).simplify(), threads=4).c)


@pytest.mark.slow
def test_rounds_do_not_read_what_others_write():
    args = normals((1100, 30), (1100, 300), (300, 300), (300, 9))
    c = source_of(sg.trace(mirrored, *args).simplify(), threads=4).c
    shared = re.findall(r"\n    SG_TEAM\w*\(\d\)\n    for .*?\n    }\n", c, re.DOTALL)
    mirror = re.compile(r"\? s\d+\[i\d+ \* 1100")
    assert shared
    assert mirror.search(c)
    assert not any(mirror.search(text) for text in shared)
    check(mirrored, args, 1e-10)


@pytest.mark.slow
def test_a_maximum_over_the_points_is_not_shared():
    args = normals((6000, 30), (30, 200), (200, 16))
    assert not teams(source_of(sg.trace(largest, *args).simplify(), threads=4).c)
    check(largest, args, 1e-11)


class NothingShared(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_random_graphs_in_blocks(dtype, monkeypatch):
    """Workspaces begin as NaN."""
    tuning = replace(SHORT_STREAMS, share_from_work=0)

    def run_c(plain, args, outs, values):
        shared = codegen.c_of(args, outs, threads=3, tuning=tuning)
        if not teams(shared.c):
            raise NothingShared
        status, expected = codegen.run_c(plain, args, outs, values)
        texts = [shared.c, in_two_passes(shared.c)]
        texts += [backwards(shared.c)] if MARK in shared.c else []
        for text in texts:
            same_bits(codegen.run_c(shared, args, outs, values, text)[1], expected)
        # with any other number: test_blocks_of_points_with_products
        same_bits(codegen.run_c(shared, args, outs, values, threads=3)[1], expected)
        return status, expected

    monkeypatch.setattr(random_graphs, "run_c", run_c)
    count = 0
    for seed in range(31_000, 31_016):
        with contextlib.suppress(NothingShared):
            random_graphs.compare(seed, dtype, seed % 2 == 1, products=0.5, tuning=tuning)
            count += 1
    assert count >= 1


# ---- the interface ------------------------------------------------------------------------------


def test_jit_and_compile():
    args = sample(50_000)
    f = sg.jit(sg.grad(loss), threads=3)
    same_bits([f(*args)], [sg.grad(loss)(*args)])
    (compiled,) = f.compiled.values()
    assert compiled.options == Options(3)
    assert compiled._native.library.threads == 3
    assert "-DSG_THREADS=3" in compiled._native.library.flags
    again = sg.compile(sg.grad(loss), *args, threads=3, name="again")
    assert "-fopenmp" in again._native.library.flags
    assert sg.compile(sg.grad(loss), *args)._native.library.threads == 1


def test_the_default_is_one_thread():
    args = sample(50_000)
    c = sg.compile(sums, *args)
    assert c.c_source == sg.compile(sums, *args, threads=1).c_source
    assert "SG_PARALLEL" not in c.c_source
    assert not any(flag.startswith(("-fopenmp=", "-DSG_THREADS")) or flag == "-fopenmp"
                   for flag in c._native.library.flags)  # fmt: skip


@pytest.mark.parametrize("threads", [0, -1, 1.0, True, "2", None, 10**9])
def test_odd_numbers_are_refused(threads):
    with pytest.raises(BuildError, match="threads"):
        sg.jit(sums, threads=threads)
    with pytest.raises(BuildError, match="threads"):
        sg.compile(sums, *sample(100), threads=threads)


RECORDS = """
import numpy as np, symgrad as sg
from symgrad.options import Options
from symgrad.runtime.record import Record

def sums(x, w, b):
    z = np.tanh(x @ w + b)
    return np.sum(np.log1p(z * z), axis=0), np.sum(z)

def rows(x, w, b):
    return np.exp(-((x @ w + b) ** 2))

def sample(n):
    return np.ones((n, 5)), np.ones((5, 4)), np.ones(4)

for f, n in (sums, 50_007), (rows, 90):  # the second has nothing to share
    graph = sg.compile(f, *sample(n), threads=2).graph
    records = [Record(graph.digest(), graph.captured, Options(n)).find() for n in (1, 2, 3)]
    print([record and record[1].threads for record in records])
"""


@pytest.mark.slow
def test_records_know_the_number(tmp_path):
    """In a process of its own: tests make no records."""
    place = {"SYMGRAD_CACHE_DIR": str(tmp_path / "cache"),
             "PYTHONPATH": os.pathsep.join(sys.path)}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", RECORDS], env={**os.environ, **place},
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout == "[None, 2, None]\n[None, 1, None]\n", done.stderr


def test_a_compiler_without_openmp(monkeypatch):
    args = sample(50_009)

    def no_openmp(*a, threads=1, **options):
        if threads > 1:
            raise CompileError("cannot find -lomp")
        return build(*a, threads=threads, **options)

    monkeypatch.setattr(call, "build", no_openmp)
    monkeypatch.setattr(call, "_said", set())
    recorded = []
    monkeypatch.setattr(Record, "find", lambda self: None)
    monkeypatch.setattr(Record, "write", lambda self, *made: recorded.append(made))
    with pytest.warns(SymgradWarning, match="OpenMP") as caught:
        c = sg.compile(sums, *args, threads=2)
    assert caught[0].filename == __file__
    assert not recorded  # so later processes warn as well
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sg.compile(sums, *args, threads=3)
    assert not recorded
    same_bits(leaves(c(*args)), leaves(sg.compile(sums, *args)(*args)))


@pytest.mark.skipif(GCC is None, reason="needs gcc")
@pytest.mark.slow
def test_exported_c_is_serial_or_parallel_with_the_same_bits(tmp_path):
    args = sample(50_001)
    c = sg.compile(sums, *args, threads=4, name="sums")
    path = c.export(tmp_path)[0]
    expected = leaves(c(*args))
    first = None
    for options in ((), ("-fopenmp",), ("-fopenmp", "-DSG_THREADS=3")):
        made = tmp_path / f"{len(options)}.so"
        command = [GCC, "-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC", *options,
                   str(path), "-o", str(made), "-lm"]  # fmt: skip
        subprocess.run(command, check=True)
        got = [np.empty_like(e) for e in expected]
        work = np.empty(c.source.workspace_bytes // 8 + 8)
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*args, *got, work)]
        assert ctypes.CDLL(str(made)).sums(*pointers) == 0
        close(got, expected, 1e-13)  # exp and log of libm instead of libmvec
        first = first or got
        same_bits(got, first)


@pytest.mark.slow
@pytest.mark.skipif(GCC is None, reason="needs gcc")
@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_exported_c_has_room_for_the_threads_it_was_made_for(threads, tmp_path):
    """More of them are not used, and the workspace is not left: what is behind it stays."""
    args = normals((60,), (20_011, 60))
    c = sg.compile(logistic_hessian, *args, threads=2, name="hessian")
    assert [loop.team is None for loop in queries.shared(queries.program(c))] == [False]
    path, made = c.export(tmp_path)[0], tmp_path / "made.so"
    options = ["-fopenmp", f"-DSG_THREADS={threads}"] if threads else []
    command = [GCC, "-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC", *options,
               str(path), "-o", str(made), "-lm"]  # fmt: skip
    subprocess.run(command, check=True)
    doubles = c.source.workspace_bytes // 8
    got, work = np.empty((60, 60)), np.full(doubles + 1000, 7.0)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*args, got, work)]
    assert ctypes.CDLL(str(made)).hessian(*pointers) == 0
    assert np.all(work[doubles:] == 7)
    close([got], [c(*args)], 1e-13)


@pytest.mark.quick(2)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("f", [sums, stored_and_added, mirrored])
def test_pragmas_give_no_warning(f, compiler):
    args = sample(50_000) if f is sums else normals((9000, 30), (30, 60), (60, 50))
    if f is mirrored:
        args = normals((1100, 30), (1100, 300), (300, 300), (300, 9))
    source = source_of(sg.trace(f, *args).simplify(), threads=4)
    assert source.parallel
    if shutil.which(compiler):
        command = [compiler, *STRICT, "-fopenmp", "-DSG_THREADS=3", "-fsyntax-only", "-x", "c", "-"]
        done = subprocess.run(command, input=source.c, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


# ---- threads of Python, and processes ----------------------------------------------------------


def test_threads_of_python_call_at_once():
    args = [sample(50_000, seed) for seed in range(4)]
    c = sg.compile(sums, *args[0], threads=2)
    expected = [leaves(c(*a)) for a in args]
    failures = []

    def work(k):
        try:
            for _ in range(20):
                same_bits(leaves(c(*args[k])), expected[k])
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


FORK = """
import os, signal, sys, threading
import numpy as np
import symgrad as sg
x, w = np.random.default_rng(0).normal(size=(50_000, 5)), np.ones((5, 4))
f = sg.jit(lambda x, w: np.sum(np.tanh(x @ w), axis=0), threads=3)
expected = f(x, w)
ends = []
def fork():
    f(x, w)
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            os._exit(0 if np.array_equal(f(x, w), expected) else 3)
        ends.append(os.waitpid(pid, 0)[1])
        assert np.array_equal(f(x, w), expected)
fork()
thread = threading.Thread(target=fork)
thread.start()
thread.join()
print(ends)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_fork():
    """The child of a process that has used threads uses them as well."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], capture_output=True,
                          text=True, timeout=400)  # fmt: skip
    assert done.stdout.split("\n")[0] == str([0] * 6), (done.stdout, done.stderr, signal.SIGALRM)


if __name__ == "__main__":
    lane_functions.SIZES = (1023, 1024, 1025, 2048, 2050, 3333, 4096)
    warnings.simplefilter("ignore", SymgradWarning)
    print(sum(check_random(seed) for seed in range(*map(int, sys.argv[1:3]))), "shared loops")
