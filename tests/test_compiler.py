"""Finding a compiler, its flags, and running it under control."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import symgrad.runtime
from symgrad.errors import (
    BuildError,
    CompilerNotFoundError,
    CompileTimeoutError,
    UnusableCompilerError,
)
from symgrad.runtime import compiler as module
from symgrad.runtime import process
from symgrad.runtime.compiler import Compiler, find_compiler, resolve_flags
from symgrad.runtime.process import timeout

GCC = shutil.which("gcc")
pytestmark = pytest.mark.skipif(GCC is None, reason="needs gcc")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_found", {})
    for name in ("CC", "SYMGRAD_CFLAGS", "SYMGRAD_CC_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)


def script(tmp_path: Path, text: str, name: str = "fakecc") -> str:
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_default_is_absolute_and_known():
    found = find_compiler()
    assert os.path.isabs(found.path)
    assert found.version
    assert found.kind in ("gcc", "clang", "zig")
    assert find_compiler() is found


@pytest.mark.parametrize("name", ["gcc", "clang"])
@pytest.mark.quick(1)
def test_named_compilers(name, monkeypatch):
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    monkeypatch.setenv("CC", f"{name} -g0 -pthread")
    found = find_compiler()
    assert found.argv == (shutil.which(name), "-g0", "-pthread")
    assert found.kind == name
    if sys.platform == "linux":
        assert any(word.startswith(("-march=", "-mcpu=")) for word in found.native)
        assert not any("native" in word for word in found.native)


@pytest.mark.slow
def test_ziglang_is_the_last_resort(tmp_path, monkeypatch):
    pytest.importorskip("ziglang")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_compiler()
    assert found.kind == "zig"
    assert found.argv[1:] == ("cc",)


def test_nothing_found_lists_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(CompilerNotFoundError) as caught:
        find_compiler()
    for word in ("cc", "gcc", "clang", "ziglang", "symgrad[cc]"):
        assert word in str(caught.value)


@pytest.mark.parametrize("named", ["/nonexistent/cc", "no-such-compiler", "/bin/false", "/", "''"])
def test_named_but_useless(named, monkeypatch):
    monkeypatch.setenv("CC", named)
    with pytest.raises(UnusableCompilerError, match="CC="):
        find_compiler()


def test_strangers_are_refused(tmp_path, monkeypatch):
    for text in ("kill -9 $$", "echo hello", "exit 3", f'exec {GCC} -ffast-math "$@"'):
        monkeypatch.setenv("CC", script(tmp_path, text))
        module._found.clear()
        with pytest.raises(CompilerNotFoundError):
            find_compiler()
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)


@pytest.mark.parametrize(
    "options, what",
    [
        ("-fassociative-math -fno-signed-zeros -fno-trapping-math", "order of additions"),
        ("-ffp-contract=fast", "fuses"),
        ("-freciprocal-math", "inverse"),
        ("-fno-signed-zeros", "sign of zero"),
        ("-ffinite-math-only", "infinity"),
        ("-DSG_ALIGNED= -Dn=25", "ended with status"),
    ],
)
@pytest.mark.quick(1)
def test_a_wrapper_that_changes_results_is_refused(options, what, tmp_path, monkeypatch):
    """By what it computes, whatever it is called; the option comes last, as wrappers add them."""
    monkeypatch.setenv("CC", script(tmp_path, f'exec {GCC} "$@" {options}'))
    with pytest.raises(UnusableCompilerError, match=what):
        find_compiler()


def test_a_compiler_whose_programs_crash_is_refused(tmp_path, monkeypatch):
    text = (
        f'case "$*" in *-shared*|*-E*|*--version*|*-print*) exec {GCC} "$@";; esac\n'
        f'{GCC} "$@" -Dmain=unused -c -o /dev/null && '
        f"printf '#!/bin/sh\\nkill -SEGV $$\\n' > traps && chmod +x traps\n"
        'while [ "$1" != "-o" ]; do shift; done; mv traps "$2"'
    )
    monkeypatch.setenv("CC", script(tmp_path, text))
    with pytest.raises(UnusableCompilerError, match="signal 11"):
        find_compiler()


def test_traps_run_where_files_may_not_be_executed(monkeypatch):
    """From memory, if a program in a folder cannot be started."""
    started = []
    run = module.run

    def refusing(argv, *rest):
        if os.path.basename(argv[0]).startswith("traps"):
            raise BuildError("permission denied")
        started.append(argv[0])
        return run(argv, *rest)

    monkeypatch.setattr(module, "run", refusing)
    assert find_compiler()
    assert sum(word.startswith("/proc/") for word in started) == 2


def test_relative_path_entries_are_ignored(tmp_path, monkeypatch):
    script(tmp_path, f'exec {GCC} "$@"', "planted-cc")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join(["", ".", os.environ["PATH"]]))
    monkeypatch.setenv("CC", "planted-cc")
    with pytest.raises(CompilerNotFoundError):
        find_compiler()


@pytest.mark.slow
def test_probe_is_remembered_across_processes(tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setenv("CC", script(tmp_path, f'echo x >> {log}; exec {GCC} "$@"'))
    first = find_compiler()
    calls = len(log.read_text())
    module._found.clear()  # as a new process
    assert find_compiler() == first
    assert len(log.read_text()) == calls
    module._found.clear()
    script(tmp_path, f'echo x >> {log}; exec {GCC} "$@" # changed')
    assert find_compiler() == first
    assert len(log.read_text()) > calls


@pytest.mark.slow
def test_note_of_another_cpu_is_not_used(tmp_path, monkeypatch):
    find_compiler()
    module._found.clear()
    monkeypatch.setattr(module, "_cpu_identity", lambda: "another machine")
    asked = []
    original = module._ask
    monkeypatch.setattr(module, "_ask", lambda *words: (asked.append(words), original(*words))[1])
    find_compiler()
    assert asked


# --- options --------------------------------------------------------------------------------

PLAIN = Compiler(("/usr/bin/cc",), "cc 1", "gcc", ("-march=rocketlake", "-mfma"))

REFUSED = """
-ffast-math -Ofast -funsafe-math-optimizations -ffinite-math-only -fassociative-math -O4
-freciprocal-math -fno-signed-zeros -fcx-limited-range -ffp-model=fast -fno-honor-nans
-mrecip -mrecip=all -mdaz-ftz -mpc32 -mlow-precision-div -fdenormal-fp-math=preserve-sign
-fapprox-func -fsingle-precision-constant -mveclibabi=svml -fveclib=SVML -mfpmath=387
--fast-math -f"fast-math" -ffast\\-math -Xclang -mllvm @file -specs=x -specs --specs=x
-fplugin=x.so -wrapper -B/tmp -B -Wl,-rpath,/x -Wa,x -Wp,x -include -I/tmp -L/tmp -lfoo x.o
-DX=1 -std=gnu89 -march=native -mcpu=native -mtune=native -o --param -fopenmp
-fprofile-use=/x -dumpdir -save-temps -x -T --config=x -###
""".split()


@pytest.fixture(scope="module")
def gcc():
    """Looked for once: each search starts it."""
    return find_compiler()


@pytest.mark.quick(10)
@pytest.mark.parametrize("option", REFUSED)
@pytest.mark.parametrize("variable", ["CC", "SYMGRAD_CFLAGS"])
def test_refused_options(option, variable, monkeypatch, gcc):
    monkeypatch.setenv(variable, option if variable == "SYMGRAD_CFLAGS" else f"gcc {option}")
    with pytest.raises(BuildError, match="refused"):
        compiler = gcc if variable == "SYMGRAD_CFLAGS" else find_compiler()
        resolve_flags(compiler, native=False, optimize=2)


@pytest.mark.parametrize("option", ["; touch x", "$(touch x)", "`touch x`", "| cat", "-O2\n-B/x"])
def test_no_shell_is_involved(option, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CC", f"gcc {option}")
    with pytest.raises(BuildError):
        find_compiler()
    assert not (tmp_path / "x").exists()


def test_unbalanced_quote(monkeypatch):
    monkeypatch.setenv("SYMGRAD_CFLAGS", "'-O2")
    with pytest.raises(BuildError, match="SYMGRAD_CFLAGS"):
        resolve_flags(PLAIN, native=False, optimize=2)


def test_flags(monkeypatch):
    monkeypatch.setenv("SYMGRAD_CFLAGS", "-g -O1 -mno-avx512f -Wall -Werror -march=x86-64-v3")
    flags = resolve_flags(PLAIN, native=True, optimize=3)
    assert flags.index("-O3") < flags.index("-mfma") < flags.index("-O1")
    assert flags[-1] == "-lm"
    assert {"-std=c99", "-shared", "-ffp-contract=off", "-fvisibility=hidden"} <= set(flags)
    assert "-mfma" not in resolve_flags(PLAIN, native=False, optimize=3)
    assert not any("fast" in flag for flag in flags)
    with pytest.raises(BuildError):
        resolve_flags(PLAIN, native=False, optimize=9)


# --- running --------------------------------------------------------------------------------


def run(tmp_path: Path, text: str, seconds: float = 10.0) -> tuple[int, str]:
    return module.run((script(tmp_path, text),), tmp_path, tmp_path, seconds)


def test_environment_is_small(tmp_path, monkeypatch):
    for name in (
        "CPATH",
        "LIBRARY_PATH",
        "GCC_EXEC_PREFIX",
        "COMPILER_PATH",
        "CCC_OVERRIDE_OPTIONS",
    ):
        monkeypatch.setenv(name, "/planted")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    _, output = run(tmp_path, "env")
    assert "/planted" not in output
    assert "LC_ALL=C\n" in output
    assert f"TMPDIR={tmp_path}\n" in output


@pytest.mark.parametrize("closes", ["", "exec >&- 2>&-;"])
def test_timeout_ends_the_whole_group(tmp_path, closes):
    started = time.monotonic()
    with pytest.raises(CompileTimeoutError, match="SYMGRAD_CC_TIMEOUT"):
        run(tmp_path, f"{closes} sleep 1000 & echo $! > {tmp_path}/child; sleep 1000", 0.2)
    assert time.monotonic() - started < 1.2
    child = int((tmp_path / "child").read_text())
    for _ in range(200):  # an orphan is reaped by init, a little later
        if not alive(child):
            return
        time.sleep(0.01)
    pytest.fail("the grandchild still runs")


def test_interrupt_while_the_compiler_is_being_started(tmp_path, monkeypatch):
    """Ctrl-C just after the fork, when nobody could yet say which process to end."""
    started = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self.pid)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "sleep 1000")
    assert not alive(started[0])
    assert signal.getsignal(signal.SIGINT) is before


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_output_is_bounded(tmp_path):
    status, output = run(
        tmp_path, "echo first; yes 0123456789 | head -c 10000000; echo last; exit 2"
    )
    assert status == 2
    assert output.startswith("first\n")
    assert output.endswith("last\n")
    assert len(output) < 1 << 20


def test_timeout_variable(monkeypatch):
    assert timeout() == 120.0
    monkeypatch.setenv("SYMGRAD_CC_TIMEOUT", "0.5")
    assert timeout() == 0.5
    for wrong in ("0", "-1", "nan", "inf", "soon", "1e9"):
        monkeypatch.setenv("SYMGRAD_CC_TIMEOUT", wrong)
        with pytest.raises(BuildError, match="SYMGRAD_CC_TIMEOUT"):
            timeout()


def test_the_package_runs_no_data_as_code():
    forbidden = {"pickle", "marshal", "shelve", "eval", "exec", "system", "popen", "__import__"}
    files = list(Path(symgrad.runtime.__path__[0]).glob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                    assert name not in forbidden, f"{file.name}: {name}"
                case ast.ImportFrom(module=name):
                    assert name not in forbidden, f"{file.name}: {name}"
                case ast.keyword(arg="shell"):
                    pytest.fail(f"{file.name}: shell=")


def test_a_unit_that_fails_ends_the_others(tmp_path, monkeypatch):
    """The first error is reported at once, and no compiler runs on."""
    monkeypatch.setattr(process, "_processors", lambda: 2)
    entry = tmp_path / "place" / "entry"
    entry.mkdir(parents=True)
    (entry / "src.c").write_text("int x;\n")
    slow = tmp_path / "slow"
    fake = script(
        tmp_path,
        f'case "$*" in *SG_UNIT=0*) echo $$ > {slow}; sleep 60;;'
        f" *) while [ ! -s {slow} ]; do sleep 0.01; done; echo unit is bad; exit 1;; esac",
    )
    started = time.monotonic()
    with pytest.raises(module.CompileError, match="unit is bad"):
        module.compile_library(Compiler((fake,), "fake", "gcc"), (), entry, 2)
    assert time.monotonic() - started < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(slow.read_text()), 0)
