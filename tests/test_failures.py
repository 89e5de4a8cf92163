"""What a user sees when the compiler or the cache directory fails: through sg.compile and sg.grad.

The parts are tested in test_compiler, test_build and test_cache; here is the way through all of
them, in processes of their own where a fresh process is part of the case.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from support.known_compiler import make_known
from symgrad.errors import (
    BuildError,
    CacheError,
    CompileError,
    CompileTimeoutError,
    NoCompilerWarning,
    UnusableCompilerError,
)
from symgrad.runtime import call

GCC = shutil.which("gcc")
pytestmark = pytest.mark.skipif(GCC is None, reason="needs gcc")

X = np.array([0.5, -1.0, 2.0])


def cubes(x):
    return np.sum(x**3)


def by_compile():
    return sg.compile(cubes, sg.f64[3])(X), 7.125


def by_grad():
    return sg.grad(cubes)(X), [0.75, 3.0, 12.0]


both = pytest.mark.parametrize("way", [by_compile, by_grad])


def is_right(way: Callable[[], tuple[object, object]]) -> None:
    got, expected = way()
    np.testing.assert_allclose(got, expected, rtol=1e-15)


# ---- a compiler that fails ---------------------------------------------------------------------

# Answers like gcc; runs the shell text in `hook` in place of making a library.
FAKE = """#!/bin/sh
case " $* " in *mod.so*) [ -f {here}/hook ] && . {here}/hook;; esac
exec {gcc} "$@"
"""


@pytest.fixture
def hook(tmp_path, monkeypatch) -> Path:
    """A file of shell commands that run instead of the compiler; they may use "$@"."""
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", str(tmp_path / "fakecc"))
    for name in ("SYMGRAD_CFLAGS", "SYMGRAD_CC_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "fakecc").write_text(FAKE.format(here=tmp_path, gcc=GCC))
    (tmp_path / "fakecc").chmod(0o755)
    make_known(tmp_path / "fakecc")
    return tmp_path / "hook"


def entries(tmp_path: Path) -> list[str]:
    return [p.name for p in (tmp_path / "cache").iterdir() if not p.name.startswith("note-")]


BAD = {
    "prints an error": ("echo 'src.c:1:1: error: no' >&2; exit 1", CompileError, "error: no"),
    "says nothing": ("exit 1", CompileError, "status 1"),
    "segfaults": ("kill -SEGV $$", CompileError, "signal 11"),
    "is killed": ("kill -KILL $$", CompileError, "signal 9"),
    "hangs": ("sleep 1000", CompileTimeoutError, "SYMGRAD_CC_TIMEOUT"),
    "hangs after output": ("echo x; exec >&- 2>&-; sleep 1000", CompileTimeoutError, "1 s"),
    "truncates": ('{gcc} "$@"; truncate -s -4096 mod.so; exit 0', CompileError, "damaged"),
    "writes an empty file": (": > mod.so; exit 0", CompileError, "damaged"),
    "writes text": ("seq 9999 > mod.so; exit 0", CompileError, "damaged"),
    "writes nothing": ("exit 0", CompileError, "wrote no library"),
    "prints 10 MB": ("yes error: no | head -c 10000000; exit 1", CompileError, "error: no"),
    "loses a symbol": ('echo "int x;" > src.c; exec {gcc} "$@"', BuildError, "export"),
    "loses the cache": ('rm -rf {cache}; exec {gcc} "$@"', CompileError, "src.c: No"),
    "loses it later": ('{gcc} "$@"; rm -rf {cache}; exit 0', CompileError, "wrote no library"),
}  # fmt: skip


@pytest.mark.sample(11)
@pytest.mark.quick(1)
@both
@pytest.mark.parametrize(("text", "kind", "message"), BAD.values(), ids=BAD.keys())
def test_bad_compiler(text, kind, message, way, hook, tmp_path, monkeypatch):
    words = {"gcc": GCC, "cache": tmp_path / "cache"}
    sg.compile(lambda x: x + 1.0, sg.f64)  # so that only the building is timed
    hook.write_text(text.format(**words))
    if kind is CompileTimeoutError:
        monkeypatch.setenv("SYMGRAD_CC_TIMEOUT", "1")
    before = set(entries(tmp_path))
    started = time.monotonic()
    with pytest.raises(kind, match=message.format(**words)) as caught:
        way()
    assert time.monotonic() - started < 10.0
    assert len(str(caught.value)) < 20000
    if (tmp_path / "cache").exists():
        assert set(entries(tmp_path)) == before
    hook.unlink()  # a failure is not remembered
    monkeypatch.delenv("SYMGRAD_CC_TIMEOUT", raising=False)
    is_right(way)


@both
@pytest.mark.quick(1)
def test_a_talkative_compiler_is_no_failure(way, hook):
    hook.write_text("yes warning | head -c 10000000")
    is_right(way)


@both
@pytest.mark.quick(1)
def test_cache_deleted_between_and_after(way, hook, tmp_path):
    kept = sg.compile(cubes, sg.f64[4])
    shutil.rmtree(tmp_path / "cache")
    assert kept(np.ones(4)) == 4.0
    is_right(way)
    shutil.rmtree(tmp_path / "cache")
    is_right(way)


# ---- a cache directory that is refused -----------------------------------------------------------


def group_writable(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def symlinked(path: Path) -> None:
    path.with_name("real").mkdir(mode=0o700)
    path.symlink_to("real")


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("")


def foreign(path: Path) -> None:
    if os.geteuid() == 0:
        path.mkdir(mode=0o700)
        os.chown(path, 65534, 65534)
    else:
        path.symlink_to("/usr")  # resolved below: root's


def unwritable(path: Path) -> None:
    if os.geteuid() == 0:
        path.symlink_to("/proc/sys")  # resolved below: nobody can make a file there
    else:
        path.mkdir(mode=0o500)


PLACES = {
    group_writable: "chmod go-w",
    symlinked: "symbolic link",
    below_a_file: "Not a directory|exists",
    foreign: "belongs to user",
    unwritable: "SYMGRAD_CACHE_DIR",
}


@pytest.mark.parametrize(
    ("make", "message"), PLACES.items(), ids=[make.__name__ for make in PLACES]
)
@both
@pytest.mark.quick(1)
def test_named_cache_that_is_refused(make, message, way, hook, tmp_path, monkeypatch):
    place = tmp_path / "above" / "cache"
    place.parent.mkdir()
    make(place)
    if make in (foreign, unwritable) and place.is_symlink():
        place = place.resolve()
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(place))
    with pytest.raises(CacheError, match=message) as caught:
        way()
    assert str(place) in str(caught.value) and "SYMGRAD_CACHE_DIR" in str(caught.value)
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path / "good"))
    is_right(way)


# ---- fresh processes -----------------------------------------------------------------------------

PROGRAM = """
import json, os, sys, warnings
if os.environ.get("HIDE_ZIG"):
    sys.modules["ziglang"] = None
import numpy as np, symgrad as sg
x = np.array([0.5, -1.0, 2.0])
cubes = lambda x: np.sum(x**3)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    f = sg.compile(cubes, sg.f64[3], name="cubes")
    values = [f(x), sg.grad(cubes)(x), sg.hessian(cubes)(x), sg.jit(cubes)(x), sg.grad(cubes)(x)]
    files = [path.name for path in f.export("exported")]
print(json.dumps({
    "values": [np.asarray(v).tolist() for v in values], "native": f.native, "files": files,
    "warnings": [[w.category.__name__, str(w.message), w.filename] for w in seen],
}))
"""
VALUES = [7.125, [0.75, 3.0, 12.0], np.diag([3.0, -6.0, 12.0]).tolist(), 7.125, [0.75, 3.0, 12.0]]


def fresh(tmp_path: Path, **environment: str) -> list[list[str]]:
    """Run PROGRAM with only these variables; returns its warnings, after checking its numbers."""
    variables = {
        "PYTHONPATH": str(Path(sg.__file__).parents[1]),
        "PATH": os.environ["PATH"],
        "TMPDIR": str(tmp_path),
        **environment,
    }
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert result["values"] == VALUES
    assert result["files"] == ["cubes.c", "cubes.h"]
    found = [name for name, _, _ in result["warnings"]]
    assert result["native"] is ("NoCompilerWarning" not in found)
    return result["warnings"]


def test_no_compiler_at_all(tmp_path):
    ((kind, message, file),) = fresh(tmp_path, PATH="", HIDE_ZIG="1", HOME=str(tmp_path))
    assert kind == "NoCompilerWarning" and "symgrad[cc]" in message
    assert file.endswith("program.py")  # the user's line, not one of symgrad


@pytest.mark.parametrize(
    "use",
    [
        lambda: sg.compile(cubes, sg.f64[3]),
        lambda: sg.grad(cubes)(X),
        lambda: sg.jit(cubes)(X),
        lambda: sg.hessian(cubes)(X),
        lambda: sg.jvp(cubes, (X,), (X,)),
        lambda: sg.vjp(cubes, X),
        lambda: sg.vmap(cubes)(X[None]),
    ],
    ids=["compile", "grad", "jit", "hessian", "jvp", "vjp", "vmap"],
)
@pytest.mark.usefixtures("no_compiler")
def test_the_warning_blames_the_users_line(use, monkeypatch):
    monkeypatch.setattr(call, "_said", set())
    with pytest.warns(NoCompilerWarning) as seen:
        use()
    ((file, line),) = [(w.filename, w.lineno) for w in seen]
    assert (file, line) == (__file__, use.__code__.co_firstlineno)


@both
@pytest.mark.parametrize("named", ["/nonexistent/cc", "no-such-compiler", "/bin/false"])
def test_a_named_compiler_that_is_none(named, way, tmp_path, monkeypatch):
    """To run on NumPy, or with another compiler, would hide a mistake in CC."""
    monkeypatch.setenv("CC", named)
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(UnusableCompilerError, match=f"CC={named}: .*\n.*unset"):
        way()
    monkeypatch.delenv("CC")
    is_right(way)


@pytest.mark.slow
def test_ziglang_alone(tmp_path):
    pytest.importorskip("ziglang")
    shared = str(Path.home() / ".cache" / "zig")  # zig builds its C library once per cache
    options = {"HOME": str(tmp_path), "ZIG_GLOBAL_CACHE_DIR": shared}
    ((kind, message, _),) = fresh(tmp_path, PATH="", **options)
    assert kind == "SymgradWarning" and "PATH='' names no directory" in message
    (tmp_path / "again").mkdir()
    assert fresh(tmp_path / "again", PATH=str(tmp_path / "again"), **options) == []


@pytest.mark.slow
def test_home_unset(tmp_path):
    for _, message, _ in fresh(tmp_path):
        assert "until this process ends" in message


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("make", [group_writable, symlinked, below_a_file])
def test_default_cache_that_is_refused(make, tmp_path):
    """A private directory takes its place until the process ends, with one warning."""
    (tmp_path / "xdg").mkdir()
    make(tmp_path / "xdg" / "symgrad")
    ((kind, message, _),) = fresh(tmp_path, XDG_CACHE_HOME=str(tmp_path / "xdg"))
    assert kind == "SymgradWarning" and "until this process ends" in message
    assert not list(tmp_path.glob("symgrad-*"))
    assert not list(tmp_path.glob("xdg/symgrad/*"))
