"""Shared set-up: repeatable random examples, and checks of all C and all rewrites of the tests."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import signal
import sys
from pathlib import Path

import pytest
from codegen import compile_strictly
from hypothesis import settings

from symgrad.emit.c import Source
from symgrad.errors import BuildError
from symgrad.expr import validate
from symgrad.runtime import dispatch
from symgrad.runtime.record import Record

# Random examples are the same in every run, so that a failure can be repeated.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# Every rewrite that fires in any test, also in processes that tests start, is evaluated before and
# after (symgrad/expr/validate.py).
os.environ.setdefault(validate.VARIABLE, "1")

# In the background a shell makes the suite ignore interrupts, and some tests send them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The fast call path has to be there before symgrad.compiled is imported, so that the suite tests it
# and not the one that bridges the first seconds of a machine.
with contextlib.suppress(BuildError):
    dispatch.load()

_emitted: list[Source] = []
_make = Source.__init__


@functools.wraps(_make)
def _noting(self: Source, *args: object, **kwargs: object) -> None:
    _make(self, *args, **kwargs)
    _emitted.append(self)


# Whatever way C takes through the package, it is a Source first: one place sees every file.
Source.__init__ = _noting


@pytest.fixture(scope="session")
def seen_c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one empty file per distinct text, common to the processes of a run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "seen_c"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def emitted_c_gives_no_warning(seen_c: Path):
    """C and header that a test emits, compiled by gcc and clang with every warning as an error."""
    yield
    sources = list(_emitted)
    _emitted.clear()
    for source in sources:
        text = source.c + source.header  # together, so that the prototypes are compared as well
        try:
            (seen_c / hashlib.sha256(text.encode()).hexdigest()).touch(exist_ok=False)
        except FileExistsError:
            continue
        for compiler in ("gcc", "clang"):
            messages = compile_strictly(text, compiler)
            assert not messages, f"{compiler}: {messages}\n{text}"


@pytest.fixture(autouse=True)
def c_is_generated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Tests see the C of today's code, and leave no record of code that a test has changed."""
    if "records" not in request.keywords:
        monkeypatch.setattr(Record, "find", lambda self: None)
        monkeypatch.setattr(Record, "write", lambda self, binding, library: None)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any compiler, neither on PATH nor as a Python package."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "ziglang", None)
