"""Find a C compiler that can be relied on, and run it under control.

Comes in: environment variables and C files. Goes out: a :class:`Compiler`, its flags, a shared
library in a given directory, or an exception that says what to do. This module knows neither keys
nor loading.

The compiler itself is trusted; what is kept out is everything that changes floating-point
meaning or runs other programs: no shell, an allow-list of options, a small environment.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import itertools
import os
import platform
import re
import shlex
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from symgrad.errors import (
    BuildError,
    CacheError,
    CompileError,
    CompilerNotFoundError,
    SymgradWarning,
    UnusableCompilerError,
    warn,
)
from symgrad.resources import template_folder
from symgrad.runtime.cache import LIBRARY, SOURCE, Cache, open_cache
from symgrad.runtime.process import ending, run, side_by_side, timeout

# -fno-math-errno: errno is never read, and sqrt becomes one instruction. -fno-trapping-math: the
# floating-point status flags are never read either; it lets both sides of a select be computed,
# which vectorises `where`. Neither changes a value. -ffp-contract=off: equal bits
# from all compilers, the functions of libm and libmvec apart. (Tiles of products alone are fused,
# by themselves, wherever the processor has fused multiply-add.)
_BASE = (
    "-std=c99", "-fPIC", "-shared", "-fvisibility=hidden",
    "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
)  # fmt: skip

# A library's calls of its own functions would otherwise go to whatever the process already has
# under that name: glibc still offers a `step`, for one. macOS binds to the library by itself.
_BIND = () if sys.platform == "darwin" else ("-Wl,-Bsymbolic",)

# A library without constructors needs no start files, and finds the process's own libc; without
# these the linker is done in half the time. Parts of gcc's own library that C needs are copied.
_LEAN = ("-nostdlib", "-lgcc")

BLAS = "-DSG_BLAS"  # routines of a BLAS are called by pointers; see runtime/blas.py

# gcc 12 -O3 vectorises some if-converted loops wrongly: tests/support/gcc_if_convert.c, clean under
# the sanitizers, gives other numbers than at -O2. Wrong numbers are worse than slower selects.
# zig's debug mode adds traps on undefined behaviour, whose runtime it would have to link.
_QUIRKS = {"gcc": ("-fno-tree-loop-if-convert",), "zig": ("-fno-sanitize=undefined",)}

# -O1 is for long straight-line code, where each value is computed once and every store to a slot is
# read. Passes of gcc that look for the opposite take a third of its time and find nothing.
_STRAIGHT = {
    "gcc": (
        "-fno-tree-dse", "-fno-dse", "-fno-tree-pta", "-fno-tree-fre", "-fno-tree-dominator-opts",
    ),
}  # fmt: skip

# Options that users may add. A list of what is allowed, since no list of what is forbidden is
# ever complete: -Ofast, -ffast-math and its parts, -mrecip, -mdaz-ftz, -fplugin, -specs,
# -wrapper, -B, -Xclang, @file, -Wl, … all fail to match. -march=native is absent because the
# cache key would not say which CPU it meant: native=True resolves it.
_ALLOWED_OPTION = (  # compiled when first used, which most processes never do
    r"-O[0-3sgz]|-g[0-3]?|-ggdb[0-3]?|-pipe|-pthread|-w|-W[a-z][a-z0-9+-]*(=[0-9]+)?"
    r"|-m(arch|cpu|tune)=(?!native)[A-Za-z0-9_.+-]+"
    r"|-m(no-)?(sse[0-9.a]*|ssse3|avx[a-z0-9.-]*|fma|f16c|bmi2?|popcnt|lzcnt)"
    r"|-mprefer-vector-width=[0-9]+|-ffp-contract=off"
    r"|-f(no-)?(unroll-loops|tree-vectorize|vectorize|slp-vectorize|tree-slp-vectorize)"
    r"|-f(no-)?(omit-frame-pointer|stack-protector|stack-protector-strong|plt)"
    r"|-fsanitize=(address|undefined|thread)|-fno-sanitize-recover"
)

_NOTE = "native options with SIMD loops, traps"  # what notes say; a new text makes old ones unknown
# Of templates/c99/compilers:
_TRAPS = ("serial.h", "aligned.h", "descending.h", "straight.h", "traps.c")
_TRAP_OF_STATUS = {
    1: "adds the elements of a sum wrongly",
    2: "computes exp or asinh of vectors wrongly",
    3: "multiplies by an inverse instead of dividing",
    4: "fuses multiplications and additions",
    5: "changes the order of additions",
    6: "does not tell infinity and NaN from numbers",
    7: "loses the sign of zero",
    8: "takes numbers below the least normal one for zero",
    9: "puts wrong elements into vectors",
}
_LABELS = ("cc", "gcc", "clang", "ziglang")  # what is tried where CC names nothing
_LAUNCHERS = ("ccache", "sccache", "distcc")


@dataclass(frozen=True)
class Compiler:
    """A C compiler that answered.

    `argv` is its command with an absolute first word, `version` the first line it says of
    itself, `kind` one of gcc, clang and zig, and `native` the options that mean "the CPU of this
    machine", spelled out (empty where they could not be found).
    """

    argv: tuple[str, ...]
    version: str
    kind: str
    native: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return self.argv[0]


class _Rejected(Exception):
    """A candidate is no usable compiler; the text says why."""


_found: dict[tuple[str | None, ...], Compiler] = {}


def find_compiler() -> Compiler:
    """The compiler named by ``CC``, else cc, gcc or clang on ``PATH``, else the ziglang wheel.

    Raises CompilerNotFoundError if there is none. A ``CC`` that does not work is an
    UnusableCompilerError, which also users of `sg.compile` and `sg.grad` see: to fall back, on
    another compiler or on NumPy, would hide the mistake.
    """
    named = os.environ.get("CC", "").strip()
    question = (named, os.environ.get("PATH"))
    if question in _found:
        return _found[question]
    tried = []
    for label in (f"CC={named}",) if named else _LABELS:
        try:
            argv = _named_command(named) if named else _default_command(label)
            _found[question] = compiler = _known_or_probed(argv)
            if label == "ziglang":
                _mention_path()
            return compiler
        except _Rejected as reason:
            tried.append(f"  {label}: {reason}")
    if named:
        raise UnusableCompilerError(
            "the compiler that CC names does not work:\n" + "\n".join(tried) + "\nCorrect CC, or "
            "unset it: then cc, gcc, clang and the package ziglang are tried."
        )
    raise CompilerNotFoundError(
        "no working C compiler:\n" + "\n".join(tried) + "\nInstall gcc or clang, or run "
        "`pip install symgrad[cc]`, or set CC to the compiler's path."
    )


def resolve_flags(
    compiler: Compiler, *, native: bool, optimize: int, threads: int = 1, blas: bool = False
) -> tuple[str, ...]:
    """All options for a shared library, in the order in which they follow the source file.

    The result says everything that decides the library's content, so it can be part of a key:
    ``native`` is spelled out, and the user's ``SYMGRAD_CFLAGS`` come last of the options.
    """
    if optimize not in (0, 1, 2, 3):
        raise BuildError(f"optimize={optimize!r}: must be 0, 1, 2 or 3.")
    extra = _split("SYMGRAD_CFLAGS", os.environ.get("SYMGRAD_CFLAGS", ""))
    _check_options("SYMGRAD_CFLAGS", extra)
    own = compiler.native if native else ()
    openmp = ("-fopenmp", f"-DSG_THREADS={threads}") if threads > 1 else ()
    pointers = (BLAS,) if blas else ()
    # Options of users may need the compiler's own libraries.
    lean = compiler.kind == "gcc" and sys.platform == "linux" and not (openmp or extra)
    libraries = _LEAN if lean else ()
    return (*_flags(compiler, optimize, own), *openmp, *pointers, *extra, *libraries, "-lm")


def _flags(compiler: Compiler, optimize: int, own: tuple[str, ...]) -> tuple[str, ...]:
    """The options of all builds at one level."""
    quirks: tuple[str, ...] = _QUIRKS.get(compiler.kind, ())
    if optimize == 1:
        quirks = (*quirks, *_STRAIGHT.get(compiler.kind, ()))
    return (*_BASE, *_BIND, f"-O{optimize}", *quirks, *own)


def compile_library(
    compiler: Compiler, flags: tuple[str, ...], entry: Path, units: int = 1
) -> None:
    """Turn ``entry/src.c`` into ``entry/mod.so``; temporary files go next to `entry`.

    `units` pieces of the source, which SG_UNIT tells apart, are compiled side by side.
    """
    sources = [SOURCE]
    if units > 1:
        sources = [os.path.join(os.pardir, f"unit{k}.o") for k in range(units)]
        commands = [
            (*compiler.argv, "-c", f"-DSG_UNIT={k}", SOURCE, *flags, "-o", made)
            for k, made in enumerate(sources)
        ]
        side_by_side([functools.partial(_compile, compiler, c, entry) for c in commands])
    _compile(compiler, (*compiler.argv, *sources, *flags, "-o", LIBRARY), entry)
    if not (entry / LIBRARY).is_file():
        raise CompileError(f"{compiler.path} reported success but wrote no library.")


def _compile(
    compiler: Compiler,
    command: tuple[str, ...],
    entry: Path,
    stop: threading.Event | None = None,
) -> None:
    status, output = run(command, entry, entry.parent, timeout(), stop)
    if "No space left on device" in output:
        raise CacheError(
            f"{entry.parent.parent} is full: free some space, or name another directory by "
            "SYMGRAD_CACHE_DIR."
        )
    if status != 0:
        raise CompileError(_explain(compiler, status, output, entry / SOURCE))


# --- which command --------------------------------------------------------------------------


def _named_command(named: str) -> tuple[str, ...]:
    """The words of ``CC``: [ccache] program [allowed options], or a spelling of `zig cc`."""
    words = _split("CC", named)
    launcher = words[:1] if os.path.basename(words[0]) in _LAUNCHERS and len(words) > 1 else ()
    program, *rest = words[len(launcher) :]
    fixed: tuple[str, ...] = ()
    for zig in (("-m", "ziglang", "cc"), ("cc",)):
        if tuple(rest[: len(zig)]) == zig and (len(zig) > 1 or "zig" in os.path.basename(program)):
            fixed = zig
    options = tuple(rest[len(fixed) :])
    _check_options("CC", options)
    return (*(_which(word) for word in (*launcher, program)), *fixed, *options)


def _default_command(label: str) -> tuple[str, ...]:
    if label != "ziglang":
        return (_which(label),)
    spec = importlib.util.find_spec("ziglang")
    for place in (spec and spec.submodule_search_locations) or ():
        # The program inside the wheel: `python -m ziglang` would only start a Python for it.
        if os.access(program := os.path.join(place, "zig"), os.X_OK):
            return (program, "cc")
    raise _Rejected("the package ziglang is not installed")


def _which(program: str) -> str:
    """Absolute path of `program`; unlike shutil.which it never looks in relative directories."""
    if os.sep in program:
        places = [os.path.abspath(program)]
    else:
        path = os.environ.get("PATH", os.defpath).split(os.pathsep)
        places = [os.path.join(place, program) for place in path if os.path.isabs(place)]
    for place in places:
        if os.path.isfile(place) and os.access(place, os.X_OK):
            return place
    raise _Rejected(f"{program} is not an executable file" + (" on PATH" * (len(places) != 1)))


def _mention_path() -> None:
    """Say why the last choice was taken, if that is no lack of compilers but of a PATH."""
    path = os.environ.get("PATH", os.defpath)
    if not any(os.path.isabs(place) for place in path.split(os.pathsep)):
        warn(
            f"PATH={path!r} names no directory, so that no cc, gcc or clang is found. The package "
            "ziglang compiles instead; its first compilation takes about a minute.",
            SymgradWarning,
        )


def _split(variable: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise BuildError(f"{variable}={text!r}: {error}.") from error


def _check_options(variable: str, options: tuple[str, ...]) -> None:
    for option in options:
        if not re.fullmatch(_ALLOWED_OPTION, option):
            raise BuildError(
                f"{variable}: option {option!r} is refused. Allowed are -O0 to -O3, -g, -W…, "
                "-march=<name>, vector features and a few -f…; nothing that changes "
                "floating-point meaning, adds files or runs programs. For the CPU of this "
                "machine use native=True."
            )


# --- what a command is ----------------------------------------------------------------------


def _known_or_probed(argv: tuple[str, ...]) -> Compiler:
    """Describe `argv`, from a note in the cache if the same files were asked within a day.

    Asking takes three short runs of the compiler; reading the note a tenth of a millisecond.
    """
    try:
        cache = open_cache()
        name = _note_name(argv)
    except CacheError:
        return _probe(argv)
    compiler = _noted(cache, name, argv)
    if compiler is None:
        compiler = _probe(argv)
        note = {"version": compiler.version, "kind": compiler.kind, "native": compiler.native}
        if _cpu_identity():
            cache.write_note(name, note)
    return compiler


def _note_name(argv: tuple[str, ...]) -> str:
    traps = [(template_folder() / "c99" / "compilers" / part).read_bytes() for part in _TRAPS]
    seen = [_NOTE, argv, _file_identities(argv), _cpu_identity(), _libc(), *traps]
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:32]


def _noted(cache: Cache, name: str, argv: tuple[str, ...]) -> Compiler | None:
    match cache.read_note(name, days=1):
        case {
            "version": str(version),
            "kind": "gcc" | "clang" | "zig" as kind,
            "native": list(own),
        }:
            return Compiler(argv, version, kind, tuple(map(str, own)))
    return None


def is_known() -> bool:
    """Whether `find_compiler` can answer at once, without running the compiler."""
    named = os.environ.get("CC", "").strip()
    for label in ("CC",) if named else _LABELS:
        try:
            argv = _named_command(named) if named else _default_command(label)
            found = _noted(open_cache(), _note_name(argv), argv)
            if found is not None and label != "ziglang":  # of which users are told
                _found[named, os.environ.get("PATH")] = found
            return found is not None
        except _Rejected:
            continue
        except BuildError:
            break
    return False


def _file_identities(argv: tuple[str, ...]) -> list[tuple[str, int, int]]:
    programs = [os.path.realpath(word) for word in argv if os.path.isabs(word)]
    found = [(program, os.stat(program)) for program in programs]
    return [(program, info.st_mtime_ns, info.st_size) for program, info in found]


def _cpu_identity() -> str:
    """What the kernel says of the first CPU, or nothing where it cannot be asked.

    It guards notes in a home directory that several machines share. Lines that vary between
    equal machines or over time (clock, core number) are left out.
    """
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU ", "isa")
    try:
        with open("/proc/cpuinfo") as file:
            lines = file.read(16384).partition("\n\n")[0].splitlines()
    except OSError:
        return ""
    return "\n".join(line for line in lines if line.startswith(wanted))


def _probe(argv: tuple[str, ...]) -> Compiler:
    version = _ask(argv, "--version").strip().partition("\n")[0].strip()
    macros = _ask(argv, "-dM", "-E", "-x", "c", os.devnull)
    defined = dict(re.findall(r"^#define (\w+) ?(.*)$", macros, re.MULTILINE))
    strangers = ("__INTEL_LLVM_COMPILER", "__INTEL_COMPILER", "__NVCOMPILER", "__TINYC__")
    if "__GNUC__" not in defined or any(name in defined for name in strangers):
        raise _Rejected(f"{argv[0]} is neither gcc nor clang")
    if "__FAST_MATH__" in defined or defined.get("__FINITE_MATH_ONLY__", "0") != "0":
        raise _Rejected(f"{argv[0]} turns on -ffast-math, which makes NaN and infinity wrong")
    kind = "gcc"
    if "__clang__" in defined:
        kind = "zig" if "cc" in argv[1:] else "clang"
    compiler = Compiler(argv, version, kind, _native_options(argv, kind))
    _require_right_results(compiler)
    return compiler


def _require_right_results(compiler: Compiler) -> None:
    """Compile and run programs with known results as generated C is compiled; _Rejected if wrong.

    Faults of compilers that are known, and options that a wrapper adds, are found here instead of
    in somebody's numbers. The programs run in processes of their own: one may end by a signal.
    """
    with tempfile.TemporaryDirectory(prefix="symgrad-") as name:
        folder = Path(name)
        texts = [(template_folder() / "c99" / "compilers" / part).read_text() for part in _TRAPS]
        (folder / SOURCE).write_text("".join(texts))
        works = [functools.partial(_spring, compiler, level, folder) for level in (1, 3)]
        try:
            side_by_side(works)
        except BuildError as error:
            raise _Rejected(str(error)) from error


def _spring(
    compiler: Compiler, level: int, folder: Path, stop: threading.Event | None = None
) -> None:
    """Run the traps, compiled at one level; a BuildError says which of them sprang."""
    flags = [f for f in _flags(compiler, level, compiler.native) if f != "-shared"]
    made = folder / f"traps{level}"
    command = (*compiler.argv, SOURCE, *flags, "-lm", "-o", str(made))
    status, output = run(command, folder, folder, timeout(), stop)
    if status != 0:
        raise BuildError(f"{compiler.path} {ending(status)}: {output.strip()[-300:]}")
    try:
        status, _ = run((str(made),), folder, None, timeout(), stop)
    except BuildError:  # a folder from which nothing may be executed; memory can be
        with memory_file(made.read_bytes()) as fd:
            status, _ = run((f"/proc/{os.getpid()}/fd/{fd}",), folder, None, timeout(), stop)
    if status != 0:
        what = _TRAP_OF_STATUS.get(status, f"made a program that {ending(status)}")
        raise BuildError(f"{compiler.path} {what}: a test program at -O{level} shows it")


@contextlib.contextmanager
def memory_file(data: bytes) -> Iterator[int]:
    """A descriptor of `data` in memory, for systems whose folders forbid to execute files."""
    try:
        fd = os.memfd_create("symgrad", os.MFD_CLOEXEC)
    except OSError as error:
        raise BuildError(f"no memory for a compiled library: {error.strerror}.") from error
    with open(fd, "wb", closefd=True) as file:
        file.write(data)
        file.flush()
        yield fd


def _ask(argv: tuple[str, ...], *question: str) -> str:
    seconds = min(timeout(), 30.0)
    try:
        status, output = run((*argv, *question), Path(os.sep), None, seconds)
    except BuildError as error:
        raise _Rejected(error) from error
    if status != 0:
        raise _Rejected(f"{argv[0]} {question[0]} {ending(status)}")
    return output


def _native_options(argv: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """The options that -march=native stands for, read from the inner command of the driver.

    gcc passes plain -m options on. clang passes a CPU name and a list of features, which its
    driver cannot take back under the same names, so they go straight to its inner command.
    """
    machine = platform.machine()
    option = "-mcpu=" if kind == "zig" or machine.startswith(("aarch64", "arm")) else "-march="
    try:
        output = _ask(argv, f"{option}native", "-###", "-E", "-x", "c", os.devnull)
        inner = next(line for line in output.splitlines() if re.search(r"cc1\"? ", line))
        words = shlex.split(inner)
    except (_Rejected, StopIteration, ValueError):
        return ()
    if kind == "gcc":
        own = tuple(word for word in words if re.fullmatch(r"-m[a-z0-9=.+_-]+", word))
        known = any(word.startswith(("-march=", "-mcpu=")) for word in own)
        if not known or any(word.endswith("=native") for word in own):
            return ()
        return (*own, *_vector_math(argv, kind))
    pairs = list(itertools.pairwise(words))
    names = [value for word, value in pairs if word == "-target-cpu"]
    if not names:
        return ()
    name = names[-1].replace("-", "_") if kind == "zig" else names[-1]
    features = [value for word, value in pairs if word == "-target-feature"]
    passed = [("-Xclang", "-target-feature", "-Xclang", value) for value in features]
    vector = _vector_math(argv, kind) if kind == "clang" else ()
    return (option + name, *(word for words in passed for word in words), *vector)


def _vector_math(argv: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """Options for SIMD loops, with glibc's vector versions of exp, log, sin …

    Those are complete since glibc 2.35, and within 4 ulp, not 1.
    """
    simd = ("-DSG_VECTORIZE", "-fopenmp-simd")
    name, _, version = _libc().partition(" ")
    numbers = [int(n) for n in version.split(".") if n.isdigit()]
    if platform.machine() != "x86_64" or name != "glibc" or numbers < [2, 35]:
        return simd
    library = _ask(argv, "-print-file-name=libmvec.so").strip()
    if not os.path.isabs(library):
        return simd
    return (*simd, "-DSG_LIBMVEC" if kind == "gcc" else "-fveclib=libmvec", "-lmvec")


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, AttributeError):
        return ""


def _explain(compiler: Compiler, status: int, output: str, source: Path) -> str:
    """The C lines around the first error, then the end of what the compiler said."""
    message = [f"{compiler.path} ({compiler.version}) {ending(status)}."]
    found = re.search(rf"^{re.escape(SOURCE)}:(\d{{1,9}}):.*error", output, re.MULTILINE)
    if found:
        failing = int(found[1])
        lines = source.read_text("utf-8", "replace").split("\n")
        for number in range(max(1, failing - 3), min(len(lines), failing + 3) + 1):
            mark = ">" if number == failing else " "
            message.append(f"{mark}{number:6} | {lines[number - 1][:200]}")
    message.append("The compiler's last lines:")
    message += [line[:300] for line in output.splitlines()[-40:]]
    return "\n".join(message)
