"""Settings that are wrong, Ctrl-C at any moment, forks beside threads, and too many libraries."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import BuildError, CacheError
from symgrad.forks import ForkSafeLock, cached
from symgrad.runtime import build as build_module
from symgrad.runtime import compiler


def run(program: str, seconds: float = 120.0) -> str:
    """What a process of its own prints; it has to end in time and to say nothing else."""
    environment = {**os.environ, "PYTHONPATH": str(Path(sg.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment, capture_output=True, text=True, timeout=seconds,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


# ---- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["abc", "-1", "1.5", " 7", "1e3", "99999999999"])
def test_a_size_limit_that_is_no_number(text, monkeypatch, tmp_path):
    """One clear error for every function, before anything is compiled."""

    def no_compilation(*args, **kwargs):
        raise AssertionError("the compiler was started")

    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("SYMGRAD_CACHE_SIZE_MB", text)
    monkeypatch.setattr(build_module, "compile_library", no_compilation)
    for k in range(1, 4):
        for make in (sg.compile, lambda f, spec: sg.jit(f)(np.ones(3)),
                     lambda f, spec: sg.grad(f)(np.ones(3))):  # fmt: skip
            with pytest.raises(CacheError) as info:
                # no other test has this function: what is loaded needs no cache
                make(lambda x, k=k: np.sum(x**k) * 1.8125, sg.f64[3])
            assert str(info.value).startswith(f"SYMGRAD_CACHE_SIZE_MB={text!r} is not")


@pytest.mark.parametrize("option", ["-ffp-contract=fast", "-ffp-contract=on"])
def test_contraction_is_refused(option, monkeypatch):
    """It changes bits: a * b + c is rounded once."""
    monkeypatch.setenv("SYMGRAD_CFLAGS", option)
    with pytest.raises(BuildError, match=re.escape(option)):
        sg.compile(lambda x: x * x + 1, sg.f64[3])
    monkeypatch.setenv("SYMGRAD_CFLAGS", "-ffp-contract=off")
    assert sg.compile(lambda x: x * x + 1, sg.f64[3])(np.ones(3)).tolist() == [2, 2, 2]


@pytest.mark.parametrize("path, told", [("", True), (":.:bin", True), ("/nowhere", False)])
def test_ziglang_for_lack_of_a_path(path, told, monkeypatch, tmp_path):
    """Its first compilation takes a minute, so an empty PATH is not passed over in silence."""
    found = compiler.Compiler(("/zig", "cc"), "zig", "zig")
    monkeypatch.setattr(compiler, "_found", {})
    monkeypatch.setattr(compiler, "_default_command", lambda label: _only_zig(label))
    monkeypatch.setattr(compiler, "_known_or_probed", lambda argv: found)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", path)
    if told:
        with pytest.warns(sg.errors.SymgradWarning, match="names no directory.*ziglang"):
            assert compiler.find_compiler() is found
    assert compiler.find_compiler() is found


def _only_zig(label):
    if label != "ziglang":
        raise compiler._Rejected("none")
    return ("/zig", "cc")


# ---- Ctrl-C ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_interrupt_is_lost_where_nodes_die():
    """A weak table that calls Python when a node dies loses one in twenty."""
    program = """
        import random, signal, time
        from symgrad.expr.node import arg, bind

        x = arg(0, (), "float64")
        lost = 0
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for k in range(150):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.002 + 0.004 * random.random())
                end = time.monotonic() + 1.0
                while time.monotonic() < end:
                    y = x
                    for _ in range(20):
                        y = bind("sin", y)
                lost += 1
            except KeyboardInterrupt:
                pass
        print(lost)
    """
    assert run(program) == "0\n"


# ---- forks -------------------------------------------------------------------------------------

FORK = """
    import os, sys, threading, time
    import numpy as np
    import symgrad as sg

    main = threading.main_thread()
    inside, go = threading.Event(), threading.Event()

    def f(x):
        if threading.current_thread() is not main and os.getpid() == parent:
            inside.set()
            go.wait()
        return np.sum(x * x * x)

    parent = os.getpid()
    g = {make}
    worker = threading.Thread(target=lambda: g(np.ones(3)))
    worker.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        value = g(np.full(3, 2.0))
        os._exit(0 if np.all(np.asarray(getattr(value, "data", value)) == {value}) else 1)
    end = time.monotonic() + 60
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, 9)
            print("hangs")
            break
        time.sleep(0.01)
    else:
        print("done")
    go.set()
    worker.join()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "make, value",
    [("sg.jit(f)", 24), ("sg.grad(f)", 12), ("sg.sparse_hessian(f)", 12)],
    ids=["jit", "grad", "sparse"],
)
def test_a_fork_while_a_thread_traces_the_same_function(make, value):
    if "sparse" in make:
        pytest.importorskip("scipy")
    program = textwrap.dedent(FORK).replace("{make}", make).replace("{value}", str(value))
    assert run(program) == "done\n"


def test_a_lock_is_free_in_a_child():
    """Held by another thread, or by the one that forks, which still leaves its block in both."""
    program = """
        import os, threading
        from symgrad.forks import ForkSafeLock

        lock, held, go = ForkSafeLock(), threading.Event(), threading.Event()

        def hold():
            with lock.held():
                held.set()
                go.wait()

        def child_takes(lock):
            child = os.fork()
            if child == 0:
                threading.Timer(20, os._exit, (1,)).start()
                with lock.held(), lock.held():
                    pass
                done = threading.Event()
                def other():
                    with lock.held():
                        done.set()
                threading.Thread(target=other).start()
                os._exit(0 if done.wait(10) else 2)
            return os.waitpid(child, 0)[1]

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        first = child_takes(lock)
        go.set()
        thread.join()
        with lock.held():
            second = child_takes(lock)
        print(first, second)
    """
    assert run(program) == "0 0\n"


def test_a_lock_keeps_threads_apart_and_is_reentrant():
    lock, inside, most = ForkSafeLock(), 0, 0

    def work():
        nonlocal inside, most
        for _ in range(200):
            with lock.held(), lock.held():
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert most == 1


def test_every_lock_of_the_package_survives_a_fork():
    """No plain lock that could be held at a fork; those named here are taken care of otherwise."""
    allowed = {
        "forks.py": {"threading.RLock()", "cached_property"},
        "captures/walk.py": {"cached_property"},  # looks into those of users
        "trace/source/special.py": {"cached_property"},  # follows those of users
        # Cleared in a child; events and threads are local to one call.
        "runtime/build.py": {"threading.Lock()"},
        "runtime/process.py": {"threading.Event()"},
        "log.py": {"threading.Event()"},  # of one line, which a child leaves alone
    }
    package = Path(sg.__file__).parent
    pattern = r"threading\.(?:R?Lock|Condition|Semaphore|Event|Barrier)\(\)|cached_property"
    for path in package.rglob("*.py"):
        found = set(re.findall(pattern, path.read_text(encoding="utf-8")))
        name = path.relative_to(package).as_posix()
        assert found <= allowed.get(name, set()), name


def test_cached():
    calls = []

    class Thing:
        @cached
        def value(self) -> int:
            """What it is."""
            calls.append(1)
            return 7

    thing = Thing()
    assert (thing.value, thing.value, calls) == (7, 7, [1])
    assert Thing.value.__doc__ == "What it is."


# ---- libraries ---------------------------------------------------------------------------------


def test_too_many_libraries(monkeypatch):
    """The error says why and what to do; the entries of the cache stay."""
    compiled = sg.compile(lambda x: np.sum(x * x) + 0.125, sg.f64[3])
    library = compiled._library()
    entry = library.path.parent
    monkeypatch.setattr(build_module, "_libraries", {})
    monkeypatch.setattr(build_module, "_dlopen", lambda *args: build_module.ffi.NULL)
    monkeypatch.setattr(build_module, "_memory_maps", lambda: (65500, 65530))
    with pytest.raises(BuildError, match="65500 memory maps.*max_map_count.*several processes"):
        sg.compile(lambda x: np.sum(x * x) + 0.125, sg.f64[3])
    assert entry.is_dir()
    monkeypatch.setattr(build_module, "_memory_maps", lambda: (900, 65530))
    with pytest.raises(BuildError, match="could not be loaded"):
        sg.compile(lambda x: np.sum(x * x) + 0.25, sg.f64[3])


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="Linux counts its maps here")
def test_memory_maps_are_counted():
    maps, limit = build_module._memory_maps()
    assert 20 < maps < limit
