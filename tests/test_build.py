"""From C text to a loaded function: hits, damage, races, kills and a misbehaving compiler."""

from __future__ import annotations

import ast
import ctypes
import errno
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cffi
import numpy as np
import pytest

from support.known_compiler import make_known
from symgrad.errors import BuildError, CacheError, CompileError, CompileTimeoutError
from symgrad.runtime import build as module
from symgrad.runtime import cache, compiler
from symgrad.runtime.build import Library, build, cache_key, ffi
from symgrad.runtime.compiler import Compiler

GCC = shutil.which("gcc")
pytestmark = pytest.mark.skipif(GCC is None, reason="needs gcc")


def text(value: float, name: str = "f") -> str:
    return (
        '__attribute__((visibility("default")))\n'
        f"int {name}(const void *const *in, void *const *out, void *work)\n"
        f"{{ (void)in; (void)work; ((double *)out[0])[0] = {value!r}; return 7; }}\n"
    )


def call(library: Library, name: str = "f") -> float:
    result = ffi.new("double *")
    status = library.entry(name)(ffi.NULL, ffi.new("void *[]", [result]), ffi.NULL)
    assert status == 7
    return result[0]


def forget() -> None:
    """What a new process would not know."""
    module._libraries.clear()
    compiler._found.clear()


# Compiles like gcc, after whatever stands in the file `hook`; every compilation is counted.
FAKE = """#!/bin/sh
case " $* " in *mod.so*) echo x >> {here}/count; [ -f {here}/hook ] && . {here}/hook;; esac
exec {gcc} "$@"
"""


class Fake:
    """A compiler under the control of a test."""

    def __init__(self, here: Path) -> None:
        self.here = here
        (here / "fakecc").write_text(FAKE.format(here=here, gcc=GCC))
        (here / "fakecc").chmod(0o755)

    @property
    def count(self) -> int:
        log = self.here / "count"
        return log.read_text().count("x") if log.exists() else 0

    def hook(self, script: str) -> None:
        (self.here / "hook").write_text(script)


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(tmp_path)
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", str(tmp_path / "fakecc"))
    for name in ("SYMGRAD_CFLAGS", "SYMGRAD_CC_TIMEOUT", "SYMGRAD_CACHE_SIZE_MB"):
        monkeypatch.delenv(name, raising=False)
    forget()
    make_known(tmp_path / "fakecc")
    return made


@pytest.mark.slow
def test_what_is_known_of_the_compiler_is_what_would_be_found(fake):
    known = compiler.find_compiler()
    forget()
    assert compiler.find_compiler() == known


def leftovers(tmp_path: Path) -> list[str]:
    names = [item.name for item in (tmp_path / "cache").iterdir()]
    return [name for name in names if not name.startswith("note-")]


# --- the plain path -------------------------------------------------------------------------


def test_cold_then_memory_then_disk(fake, tmp_path):
    first = build(text(1.5), ("f",))
    assert call(first) == 1.5
    assert not first.from_cache
    assert first.compile_seconds > 0
    assert first.path.is_file()
    assert build(text(1.5), ("f",)) is first
    forget()
    second = build(text(1.5), ("f",))
    assert call(second) == 1.5
    assert second.from_cache
    assert second.key == first.key
    assert fake.count == 1
    assert leftovers(tmp_path) == [first.key]


def test_second_process_compiles_nothing(fake, tmp_path):
    build(text(2.5), ("f",))
    assert child(tmp_path, f"print(call(build({text(2.5)!r}, ('f',))))").communicate() == (
        "2.5\n",
        "",
    )
    assert fake.count == 1


@pytest.mark.slow
def test_libraries_do_not_mistake_each_other():
    """Each is loaded through a descriptor of the same number; glibc compares path texts."""
    libraries = [build(text(float(n)), ("f",)) for n in range(4)]
    assert [call(library) for library in libraries] == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.slow
@pytest.mark.parametrize("compiler_name", ["gcc", "clang", "zig"])
@pytest.mark.parametrize("name", ["step", "advance", "abs", "malloc", "PyList_New"])
def test_own_functions_come_before_those_of_the_process(name, compiler_name, monkeypatch):
    """glibc offers a `step` of its own: called in place of ours, it would end the process."""
    if compiler_name == "zig":
        pytest.importorskip("ziglang")
        monkeypatch.setenv("CC", f"{sys.executable} -m ziglang cc")
    elif shutil.which(compiler_name) is None:
        pytest.skip(f"needs {compiler_name}")
    else:
        monkeypatch.setenv("CC", compiler_name)
    source = (
        f'#define API __attribute__((visibility("default")))\n'
        f'API int own_{name}(double *out) __asm__("{name}");\n'
        f"API int own_{name}(double *out) {{ *out = 8.5; return 7; }}\n"
        "API int f(const void *const *in, void *const *out, void *work)\n"
        f"{{ (void)in; (void)work; return own_{name}((double *)out[0]); }}\n"
    )
    assert call(build(source, ("f", name))) == 8.5


@pytest.mark.slow
def test_no_descriptor_leaks():
    build(text(0.0), ("f",))
    before = len(os.listdir("/proc/self/fd"))
    build(text(1.0), ("f",))
    forget()
    build(text(1.0), ("f",))
    assert len(os.listdir("/proc/self/fd")) == before


def test_address_calls_the_same_function():
    library = build(text(3.5), ("f",))
    pointer = ctypes.POINTER(ctypes.c_double)
    function = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(pointer), ctypes.c_void_p
    )(library.address("f"))
    result = ctypes.c_double()
    assert function(None, (pointer * 1)(ctypes.pointer(result)), None) == 7
    assert result.value == 3.5


def test_symbols(fake, tmp_path):
    with pytest.raises(BuildError, match="does not export 'g'"):
        build(text(1.0), ("f", "g"))
    assert leftovers(tmp_path) == []
    library = build(text(1.0), ("f",))
    for name in ("", "f g", "f\0", "ƒ", "g"):
        with pytest.raises(BuildError):
            library.address(name)


def test_subnormals_survive():
    build(text(1.0), ("f",))
    assert np.array([5e-324]) * 1.0 != 0.0
    assert 5e-324 * 1.0 != 0.0


def test_noexec_cache(monkeypatch):
    original, refused = module._open, []

    def refuse_first(path):
        if not refused:
            refused.append(path)
            raise BuildError("failed to map segment from shared object")
        return original(path)

    monkeypatch.setattr(module, "_open", refuse_first)
    assert call(build(text(4.5), ("f",))) == 4.5
    assert refused


def test_generated_declarations_are_current(tmp_path):
    maker = cffi.FFI()
    maker.cdef(module.DECLARATIONS)
    maker.set_source("generated", None)
    maker.emit_python_code(str(tmp_path / "generated.py"))

    def tables(path: Path) -> dict[str, object]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "_cffi_backend.FFI":
                return {word.arg: ast.literal_eval(word.value) for word in node.keywords}
        raise AssertionError(path)

    expected = tables(tmp_path / "generated.py")
    assert tables(Path(module.__file__)) == expected


# --- the key --------------------------------------------------------------------------------

COMPILER = Compiler(("/usr/bin/cc",), "cc 1", "gcc")
PLAIN = ("int x;", COMPILER, ("-O2", "-lm"), "symgrad 1")


@pytest.mark.parametrize(
    "arguments",
    [
        ("int y;", *PLAIN[1:]),
        ("int x;", Compiler(("/usr/bin/dd",), "cc 1", "gcc"), *PLAIN[2:]),
        ("int x;", Compiler(("/usr/bin/cc", "-g"), "cc 1", "gcc"), *PLAIN[2:]),
        ("int x;", Compiler(("/usr/bin/cc",), "cc 2", "gcc"), *PLAIN[2:]),
        (*PLAIN[:2], ("-O3", "-lm"), PLAIN[3]),
        (*PLAIN[:2], ("-O2", "-mfma", "-lm"), PLAIN[3]),
        (*PLAIN[:2], ("-O2-lm",), PLAIN[3]),
        (*PLAIN[:3], "symgrad 2"),
    ],
)
def test_key_depends_on_every_argument(arguments):
    assert cache_key(*arguments) != cache_key(*PLAIN)


def test_key_depends_on_the_system(monkeypatch, tmp_path):
    keys = [cache_key(*PLAIN)]
    for owner, name, value in (
        (module, "_libc", lambda: "glibc 9.99"),
        (module, "FORMAT", "symgrad-cache-99"),
        (module.sysconfig, "get_platform", lambda: "linux-riscv64"),
        (module.os.path, "realpath", lambda path: "/usr/bin/gcc-99"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            keys.append(cache_key(*PLAIN))
    assert len(set(keys)) == 5


@pytest.mark.slow
def test_key_depends_on_options_and_variables(monkeypatch):
    source = text(1.0)
    libraries = [
        build(source, ("f",)),
        build(source, ("f",), optimize=1),
        build(source, ("f",), native=False),
        build(source, ("f",), key_extra="1"),
    ]
    monkeypatch.setenv("SYMGRAD_CFLAGS", "-fno-unroll-loops")
    libraries.append(build(source, ("f",)))
    assert len({library.key for library in libraries}) == 5


@pytest.mark.slow
def test_key_ignores_directory_and_hash_seed(tmp_path, monkeypatch):
    expected = build(text(1.0), ("f",)).key
    program = f"print(build({text(1.0)!r}, ('f',)).key)"
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        assert child(tmp_path, program, cwd="/").communicate()[0].strip() == expected


# --- damage on disk -------------------------------------------------------------------------


def flip(data: bytes) -> bytes:
    return data[:5000] + bytes([data[5000] ^ 4]) + data[5001:]


@pytest.mark.parametrize("change", [flip, lambda data: data[:5000], lambda data: b""])
@pytest.mark.slow
def test_damaged_library_is_rebuilt(change, fake):
    path = build(text(5.5), ("f",)).path
    path.write_bytes(change(path.read_bytes()))
    forget()
    assert call(build(text(5.5), ("f",))) == 5.5
    forget()
    assert build(text(5.5), ("f",)).from_cache
    assert fake.count == 2


@pytest.mark.slow
@pytest.mark.parametrize("change", ["foreign machine", "another function", "no library"])
def test_planted_library_with_a_valid_manifest_is_rebuilt(change, fake):
    """The manifest matches, so only the loader or the missing symbol can tell."""
    library = build(text(6.5), ("f",))
    other = build(text(6.5, "other"), ("other",))
    data = {
        "foreign machine": library.path.read_bytes()[:18]
        + b"\xb7"
        + library.path.read_bytes()[19:],
        "another function": other.path.read_bytes(),
        "no library": b"#!/bin/sh\n",
    }[change]
    library.path.write_bytes(data)
    (library.path.parent / "manifest.json").unlink()
    cache.seal_entry(library.path.parent, library.key)
    forget()
    again = build(text(6.5), ("f",))
    assert not again.from_cache
    assert call(again) == 6.5


def test_cache_deleted_while_running(tmp_path):
    build(text(1.0), ("f",))
    shutil.rmtree(tmp_path / "cache")
    assert call(build(text(2.0), ("f",))) == 2.0


# --- a compiler that misbehaves -------------------------------------------------------------


def test_error_shows_the_line_and_the_end(fake, tmp_path):
    source = text(1.0) + "int a;\nint b;\nint c = wrong;\nint d;\n"
    with pytest.raises(CompileError) as caught:
        build(source, ("f",))
    message = str(caught.value)
    assert ">     6 | int c = wrong;" in message
    assert "      3 | " in message
    assert "undeclared" in message
    assert leftovers(tmp_path) == []


BAD = {
    "fails": ("exit 3", CompileError, "status 3"),
    "dies": ("kill -SEGV $$", CompileError, "signal 11"),
    "talks": ("yes blah | head -c 10000000; exit 1", CompileError, "blah"),
    "long line": ("head -c 3000000 /dev/zero | tr '\\0' x; exit 1", CompileError, "xxx"),
    "writes nothing": ("exit 0", CompileError, "wrote no library"),
    "writes junk": ("echo junk > mod.so; exit 0", CompileError, "damaged"),
    "truncates": (
        f'{GCC} "$@"; head -c 9000 mod.so > x; mv x mod.so; exit 0',
        CompileError,
        "damaged",
    ),
    "disk full": ("echo 'fatal: No space left on device'; exit 1", CacheError, "free some space"),
    "hangs": ("sleep 1000", CompileTimeoutError, "SYMGRAD_CC_TIMEOUT"),
}


@pytest.mark.quick(1)
@pytest.mark.parametrize(("hook", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_compiler(hook, error, message, fake, tmp_path, monkeypatch):
    fake.hook(hook)
    compiler.find_compiler()
    monkeypatch.setenv("SYMGRAD_CC_TIMEOUT", "1")
    started = time.monotonic()
    with pytest.raises(error, match=message) as caught:
        build(text(1.0), ("f",))
    assert time.monotonic() - started < 2.0
    assert len(str(caught.value)) < 20000
    assert leftovers(tmp_path) == []
    fake.hook("")
    monkeypatch.delenv("SYMGRAD_CC_TIMEOUT")
    assert call(build(text(1.0), ("f",))) == 1.0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.quick(1)
def test_unwritable_cache_names_the_path(number, tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    compiler.find_compiler()
    monkeypatch.setattr(cache.tempfile, "mkdtemp", refuse)
    with pytest.raises(CacheError, match=str(tmp_path / "cache")):
        build(text(1.0), ("f",))


# --- many at once ---------------------------------------------------------------------------


@pytest.mark.slow
def test_threads_compile_one_key_once(fake):
    found: list[Library] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        found.append(build(text(7.5), ("f",)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
    assert fake.count == 1
    assert not module._locks


@pytest.mark.slow
def test_threads_compile_different_keys():
    found: dict[int, float] = {}

    def work(number: int) -> None:
        found[number] = call(build(text(float(number)), ("f",)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: float(number) for number in range(8)}


PRELUDE = """
import sys
from symgrad.runtime.build import build, ffi
def call(library):
    result = ffi.new("double *")
    library.entry("f")(ffi.NULL, ffi.new("void *[]", [result]), ffi.NULL)
    return result[0]
"""


def child(tmp_path: Path, program: str, **options) -> subprocess.Popen:
    package = Path(module.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program],
        env={**os.environ, "PYTHONPATH": str(package)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.slow
def test_processes_compile_one_key_once(fake, tmp_path):
    program = f"print(call(build({text(8.5)!r}, ('f',))))"
    fake.hook("sleep 0.5")
    children = [child(tmp_path, program) for _ in range(8)]
    assert [process.communicate() for process in children] == [("8.5\n", "")] * 8
    assert fake.count == 1


def test_fork_after_load(tmp_path):
    """In a process of its own: where JAX has threads, a fork may wait for ever."""
    program = f"""
import os, signal, threading
from symgrad.runtime import build as module

library = build({text(1.0)!r}, ("f",))
# As if another thread were building at the moment of the fork.
source = {text(2.0)!r}
key = module.cache_key(source, library.compiler, library.flags, "")
module._locks[key] = threading.Lock()
module._locks[key].acquire()
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    try:
        os._exit(int(10 * call(library) + call(build(source, ("f",)))))
    finally:
        os._exit(99)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert child(tmp_path, program).communicate() == ("12\n", "")


def wait_for(path: Path) -> int:
    for _ in range(2000):
        if path.exists() and (content := path.read_text().strip()):
            return int(content)
        time.sleep(0.005)
    raise AssertionError(f"{path} never came")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_kill_in_mid_compile(fake, tmp_path):
    fake.hook(f"echo $$ > {tmp_path}/pid; exec sleep 1000")
    process = child(tmp_path, f"build({text(9.5)!r}, ('f',))")
    orphan = wait_for(tmp_path / "pid")
    process.kill()
    process.communicate()
    fake.hook("")
    started = time.monotonic()
    library = build(text(9.5), ("f",))
    assert time.monotonic() - started < 1.0 + library.compile_seconds
    assert call(library) == 9.5
    os.kill(orphan, signal.SIGKILL)


@pytest.mark.slow
def test_interrupt_in_mid_compile(fake, tmp_path):
    fake.hook(f"echo $$ > {tmp_path}/pid; exec sleep 1000")
    process = child(tmp_path, f"build({text(9.5)!r}, ('f',))")
    compiling = wait_for(tmp_path / "pid")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=5)
    assert "KeyboardInterrupt" in errors
    assert not alive(compiling)
    assert leftovers(tmp_path) == []


LEAN = """
#include <math.h>
#include <string.h>
__attribute__((visibility("default")))
int f(const void *const *in, void *const *out, void *work)
{
    unsigned __int128 wide = ((unsigned __int128)*(const double *)in[0] << 90) / 7;
    memmove(out[1], in[1], (size_t)*(const double *)in[0]);
    *(double *)out[0] = exp(*(const double *)in[0]) + (double)(wide % 1000003);
    (void)work;
    return 7;
}
"""


def test_libraries_find_libc_libm_and_parts_of_the_compiler(monkeypatch):
    """They are linked without start files and libc, which the process has."""
    monkeypatch.delenv("SYMGRAD_CFLAGS", raising=False)
    library = build(LEAN, ("f",), optimize=0)  # nothing is computed beforehand
    lean = sys.platform == "linux" and library.compiler.kind == "gcc"
    assert ("-nostdlib" in library.flags) == lean
    count, text_ = ffi.new("double *", 20.0), ffi.new("char[]", b"twenty bytes of text!")
    result, copy = ffi.new("double *"), ffi.new("char[32]")
    assert library.entry("f")(
        ffi.new("void *[]", [count, text_]), ffi.new("void *[]", [result, copy]), ffi.NULL
    ) == 7  # fmt: skip
    assert result[0] == math.exp(20.0) + ((20 << 90) // 7) % 1000003
    assert ffi.string(copy) == b"twenty bytes of text"
    # A user's options, and threads, may need what the compiler links by itself.
    monkeypatch.setenv("SYMGRAD_CFLAGS", "-g")
    found = compiler.find_compiler()
    assert "-nostdlib" not in compiler.resolve_flags(found, native=True, optimize=2)
    monkeypatch.delenv("SYMGRAD_CFLAGS")
    assert "-nostdlib" not in compiler.resolve_flags(found, native=True, optimize=2, threads=2)
