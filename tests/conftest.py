"""Shared set-up: repeatable random examples, and checks of all that any test makes.

Each rewrite that fires is evaluated, each loop program verified and interpreted, each C file
compiled strictly.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import os
import signal
import sys
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import settings

from support import call_path, codegen
from support.c_types import faults_of
from support.codegen import FATAL, compile_strictly
from support.vector_loops import mixed_vectors, uncertain_vectors, undecided_calls
from symgrad import generate
from symgrad.emit.body import Emitter
from symgrad.emit.c import Source
from symgrad.expr import validate
from symgrad.lower import interpret, pipeline, verify
from symgrad.lower.program import Program, statements
from symgrad.runtime import compiler
from symgrad.runtime.record import Record

# Every loop program that a test lowers is verified behind each pass, in child processes as well.
os.environ["SYMGRAD_VERIFY"] = "1"
verify.ENABLED = True

# Dozens of child processes import symgrad: what one of them has compiled is kept for the others.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Random examples are the same in every run, so that a failure can be repeated.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# Rewrites that fire in any test, also in processes that tests start, are evaluated before and after
# (symgrad/expr/validate.py); where one rule fires often in one test, one in eight is.
os.environ.setdefault(validate.VARIABLE, "1")

# What JAX is compared for runs once: XLA's optimisations take longer than they gain.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# Modules and collected tests are no garbage: nothing is looked for until the tests begin.
gc.disable()

# In the background a shell makes the suite ignore interrupts, and some tests send them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

assert call_path  # imported first

_emitted: list[Source] = []
_make = Source.__init__


@functools.wraps(_make)
def _noting(self: Source, *args: object, **kwargs: object) -> None:
    _make(self, *args, **kwargs)
    _emitted.append(self)


# Whatever way C takes through the package, it is a Source first: one place sees every file.
Source.__init__ = _noting


_compile = compiler._compile


@functools.wraps(_compile)
def _compile_or_fail(
    used: compiler.Compiler, command: tuple[str, ...], *rest: object, **named: object
) -> None:
    words = len(used.argv)
    fatal = (f"-Werror={warning}" for warning in FATAL[used.kind].split())
    _compile(used, (*command[:words], "-Wall", "-Wextra", *fatal, *command[words:]), *rest, **named)


# Every library that a test builds, at the level at which it is used.
compiler._compile = _compile_or_fail


_parts = Emitter.parts


@functools.wraps(_parts)
def _parts_are_right(emitter: Emitter) -> object:
    """All C that is emitted, as a tree, looked at for types and names."""
    found = _parts(emitter)
    faults = faults_of(emitter, found)
    assert not faults, faults[:5]
    return found


Emitter.parts = _parts_are_right


_KEPT_DAYS = 14
_ALWAYS = 20  # rewrites by one rule in one test, before only one in eight is evaluated
_MOST_SLOW = 24  # cases of one test that run without --thorough, where it does not say how many
_MOST_OPERATIONS = 20_000  # of a loop program that is interpreted: a few hundredths of a second
_lowered: list[tuple[Program, tuple, tuple]] = []
_lower = pipeline.lower


@functools.wraps(_lower)
def _noting_lower(args, outs, *rest, **options) -> Program:
    program = _lower(args, outs, *rest, **options)
    if interpret.operations(program, _MOST_OPERATIONS) <= _MOST_OPERATIONS:
        _lowered.append((program, tuple(args), tuple(outs)))
    return program


for _module in (pipeline, generate, codegen):
    _module.lower = _noting_lower


def _is_new(folder: Path, text: str) -> bool:
    try:
        (folder / hashlib.sha256(text.encode()).hexdigest()).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of collected tests are no garbage: collections in tests need not look at them.

    Those of all objects were a twentieth of the time of the quick tier.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="module", autouse=True)
def jax_forgets():
    """What JAX has compiled stays until it is told to forget it: gigabytes in one process."""
    yield
    jax = sys.modules.get("jax")
    if jax is not None:
        jax.clear_caches()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="all cases of sampled tests")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as slow what is behind `quick(count)`; leave out most of many slow cases.

    Cases that are named on the command line are kept.
    """
    tests: dict[object, list[pytest.Item]] = {}
    for item in items:
        name = getattr(item, "originalname", item.name)
        tests.setdefault((item.parent, name), []).append(item)
    left_out: set[pytest.Item] = set()
    for cases in tests.values():
        _mark_slow(cases)
        left_out |= _left_out(cases)
    if left_out and not config.getoption("thorough") and not any("::" in a for a in config.args):
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=[*left_out])


def _mark_slow(cases: list[pytest.Item]) -> None:
    quick = cases[0].get_closest_marker("quick")
    for item in cases[quick.args[0] :] if quick is not None else ():
        item.add_marker(pytest.mark.slow)


def _left_out(cases: list[pytest.Item]) -> set[pytest.Item]:
    """Of the slow cases of a test, all but those that `sample(count)` leaves."""
    sample = cases[0].get_closest_marker("sample")
    slow = [item for item in cases if item.get_closest_marker("slow") is not None]
    count = sample.args[0] if sample is not None else _MOST_SLOW
    # the first, and the others as far apart as there is room
    return {item for k, item in enumerate(slow) if k * count % len(slow) >= count}


@pytest.fixture(scope="session")
def seen_c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one empty file per distinct text, common to the processes of a run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "seen_c"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def accepted(request: pytest.FixtureRequest) -> Path:
    """The texts that compilers took without a word in earlier runs, but for those long unused."""
    folder = request.config.cache.mkdir("accepted_c")
    oldest = time.time() - _KEPT_DAYS * 86400
    for known in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another worker does the same
            if known.stat().st_mtime < oldest:
                known.unlink()
    return folder


@pytest.fixture(autouse=True)
def emitted_c_gives_no_warning(seen_c: Path, accepted: Path, request: pytest.FixtureRequest):
    """C and header that a test emits, compiled with every warning as an error.

    But for those of variables that nobody reads, where a test is marked `unread`: graphs that were
    not simplified have some.
    """
    yield
    unread = request.node.get_closest_marker("unread") is not None
    options = ("-Wno-unused-variable", "-Wno-unused-but-set-variable") if unread else ()
    sources = list(_emitted)
    _emitted.clear()
    for source in sources:
        text = source.c + source.header  # together, so that the prototypes are compared as well
        if not _is_new(seen_c, text):
            continue
        assert not undecided_calls(source.c), f"{undecided_calls(source.c)}\n{source.c}"
        assert not mixed_vectors(source.c), f"{mixed_vectors(source.c)}\n{source.c}"
        assert not uncertain_vectors(source.c), f"{uncertain_vectors(source.c)}\n{source.c}"
        # One in four of thousands of texts says what all would; builds have -Wall -Wextra as well.
        for name in ("gcc", "clang") if zlib.crc32(text.encode()) % 4 == 0 else ():
            messages = compile_strictly(text, name, options, accepted)
            assert not messages, f"{name}: {messages}\n{text}"


@pytest.fixture(autouse=True)
def programs_are_right_on_checked_memory(seen_c: Path):
    """Loop programs that a test lowers, if they are small, against the graph evaluator."""
    yield
    programs = list(_lowered)
    _lowered.clear()
    for program, args, outs in programs:
        whole = [v.order for s, _ in statements(program.body) for v in s.exprs()]
        if _is_new(seen_c, f"{program}{whole}{[o.order for o in outs]}"):
            interpret.check(program, args, outs, _MOST_OPERATIONS)


@pytest.fixture(autouse=True)
def rewrites_are_counted_anew(request: pytest.FixtureRequest):
    """Which ones are evaluated depends on the test alone."""
    validate.fired.clear()
    if not request.config.getoption("thorough"):
        validate.always = _ALWAYS


@pytest.fixture(autouse=True)
def c_is_generated(monkeypatch: pytest.MonkeyPatch):
    """Tests see the C of today's code, and leave no record of code that a test has changed."""
    monkeypatch.setattr(Record, "find", lambda self: None)
    monkeypatch.setattr(Record, "write", lambda self, binding, library: None)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any compiler, neither on PATH nor as a Python package."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "ziglang", None)


@pytest.fixture(params=["source", "no source"])
def source(request, monkeypatch):
    """Whether functions are followed by their source."""
    if request.param != "source":
        monkeypatch.setattr(sys.modules["symgrad.trace.source"], "start", lambda f: f)
    return request.param == "source"
