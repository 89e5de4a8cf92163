"""From one C text to a loaded library, compiled at most once per cache.

Comes in: a self-contained C99 file and the symbols it exports, each of type
``int f(const void *const *inputs, void *const *outputs, void *workspace)``. Goes out: a
:class:`Library`. This module must not know what the functions compute or who calls them.

Order of events: memory table, else verified cache entry, else compile, verify, load, publish.
Only bytes that were just verified reach the dynamic loader.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import platform
import re
import struct
import sys
import sysconfig
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _cffi_backend

from symgrad import log
from symgrad.errors import BuildError, CompileError
from symgrad.runtime.cache import (
    FORMAT,
    LIBRARY,
    SOURCE,
    Cache,
    Verified,
    open_cache,
    read_entry,
    seal_entry,
    write_file,
)
from symgrad.runtime.compiler import (
    BLAS,
    Compiler,
    compile_library,
    find_compiler,
    memory_file,
    resolve_flags,
)
from symgrad.runtime.process import timeout

# What `cffi.FFI().set_source(name, None)` generates for DECLARATIONS (a test compares the two).
# Parsing them here instead would cost each process 50 ms for pycparser, and each library 0.5 ms.
# The loader is called through this, rather than through ffi.dlopen, because nothing then ever
# closes a library, and because its symbols need no declaration each.
DECLARATIONS = """
void *dlopen(const char *, int);
void *dlsym(void *, const char *);
char *dlerror(void);
typedef int (*symgrad_entry)(const void *const *, void *const *, void *);
"""
# fmt: off
ffi = _cffi_backend.FFI("symgrad.runtime.build",
    _version=0x2601,
    _types=b"\x00\x00\x0F\x0D\x00\x00\x00\x0F\x00\x00\x09\x0D\x00\x00\x12\x03\x00\x00\x05\x03\x00\x00\x13\x03\x00\x00\x00\x0F\x00\x00\x05\x0D\x00\x00\x10\x03\x00\x00\x07\x01\x00\x00\x00\x0F\x00\x00\x05\x0D\x00\x00\x05\x11\x00\x00\x08\x11\x00\x00\x00\x0F\x00\x00\x10\x03\x00\x00\x02\x01\x00\x00\x02\x03\x00\x00\x13\x03\x00\x00\x00\x01",  # noqa: E501
    _globals=(
        b"\x00\x00\x00\x23dlerror", 0, b"\x00\x00\x07\x23dlopen", 0,
        b"\x00\x00\x0B\x23dlsym", 0,
    ),
    _typenames=(b"\x00\x00\x00\x11symgrad_entry",),
)
# fmt: on
_loader = ffi.dlopen(None)
# Looked up now: the first look-up of a name goes through dlsym, which resets dlerror.
_dlopen, _dlsym, _dlerror = _loader.dlopen, _loader.dlsym, _loader.dlerror

_THREADS = "-DSG_THREADS="
_SYMBOL = r"[A-Za-z_][A-Za-z0-9_]{0,254}"
_libraries: dict[str, Library] = {}
_locks: dict[str, threading.Lock] = {}
_serial = itertools.count()

# A lock that another thread held at the moment of a fork would stay held in the child for ever.
os.register_at_fork(after_in_child=_locks.clear)


@dataclass(frozen=True, eq=False)
class Library:
    """A loaded shared library; it stays loaded until the process ends."""

    path: Path
    key: str
    from_cache: bool
    compile_seconds: float
    flags: tuple[str, ...]
    compiler: Compiler
    _handle: object

    @property
    def optimize(self) -> int:
        """The -O level that was asked for; the user's options stand behind it."""
        return next(int(flag[2:]) for flag in self.flags if flag.startswith("-O"))

    @property
    def threads(self) -> int:
        """How many share its loops."""
        return next((int(f[len(_THREADS) :]) for f in self.flags if f.startswith(_THREADS)), 1)

    @property
    def blas(self) -> bool:
        """Whether it has pointers to a BLAS, which are to be set."""
        return BLAS in self.flags

    def address(self, symbol: str) -> int:
        """Address of an exported function, for callers that do not go through cffi."""
        if not re.fullmatch(_SYMBOL, symbol):
            raise BuildError(f"{symbol!r} is not the name of a C function.")
        found = _dlsym(self._handle, symbol.encode())
        if not found:
            raise BuildError(f"the compiled library does not export {symbol!r}.")
        return int(ffi.cast("uintptr_t", found))

    def offers(self, symbols: tuple[str, ...]) -> bool:
        """Whether all of these are exported."""
        try:
            return all(self.address(symbol) for symbol in symbols)
        except BuildError:
            return False

    def entry(self, symbol: str) -> Any:
        """cffi pointer of type ``int (*)(const void *const *, void *const *, void *)``."""
        return ffi.cast("symgrad_entry", self.address(symbol))


def build(
    source: str,
    symbols: tuple[str, ...],
    *,
    optimize: int = 2,
    native: bool = True,
    key_extra: str = "",
    units: int = 1,
    threads: int = 1,
    blas: bool = False,
) -> Library:
    """Compile and load `source`, or find it in this process or in the cache.

    Parameters
    ----------
    source : C99 text; it exports `symbols` by a visibility attribute of its own
    symbols : names that the library must offer
    optimize : 0 to 3, the compiler's -O level
    native : whether to use every feature of this CPU
    key_extra : anything else that must be part of the cache key, such as symgrad's version
    units : in how many pieces `source` can be compiled side by side, by ``-DSG_UNIT=0``, 1, …
    threads : how many share its loops, by OpenMP and ``-DSG_THREADS``
    blas : whether it calls a BLAS by pointers that whoever loads it sets, by ``-DSG_BLAS``

    Raises
    ------
    CompilerNotFoundError, CompileError, CompileTimeoutError, CacheError : all BuildError

    Examples
    --------
    >>> text = '''__attribute__((visibility("default")))
    ... int one(const void *const *in, void *const *out, void *work)
    ... { (void)in; (void)work; *(double *)out[0] = 1.0; return 0; }'''
    >>> result = ffi.new("double *")
    >>> build(text, ("one",)).entry("one")(ffi.NULL, ffi.new("void *[]", [result]), ffi.NULL)
    0
    >>> result[0]
    1.0
    """
    compiler = find_compiler()
    flags = resolve_flags(compiler, native=native, optimize=optimize, threads=threads, blas=blas)
    key = cache_key(source, compiler, flags, key_extra)
    library = _libraries.get(key)
    if library is None:
        try:
            with _locks.setdefault(key, threading.Lock()):
                library = _libraries.get(key)
                if library is None:
                    library = _load_or_compile(source, symbols, key, compiler, flags, units)
                    _libraries[key] = library
        finally:
            _locks.pop(key, None)
    for symbol in symbols:
        library.address(symbol)
    return library


def find_cached(
    source: str,
    symbols: tuple[str, ...],
    *,
    optimize: int = 2,
    native: bool = True,
    key_extra: str = "",
) -> Library | None:
    """As `build`, but None where `build` would have to compile."""
    compiler = find_compiler()
    flags = resolve_flags(compiler, native=native, optimize=optimize)
    return find_key(cache_key(source, compiler, flags, key_extra), symbols, compiler, flags)


def find_key(
    key: str, symbols: tuple[str, ...], compiler: Compiler, flags: tuple[str, ...]
) -> Library | None:
    """The library that has this cache key, made with `compiler` and `flags`, if there is one."""
    library = _libraries.get(key)
    if library is None:
        library = _load_cached(open_cache(), symbols, key, compiler, flags)
        if library is not None:
            library = _libraries.setdefault(key, library)
    return library if library is not None and library.offers(symbols) else None


def cache_key(source: str, compiler: Compiler, flags: tuple[str, ...], extra: str) -> str:
    """SHA-256 over everything that decides what the library contains and where it can run."""
    parts = (
        FORMAT,
        extra,
        source,
        *compiler.argv,
        os.path.realpath(compiler.path),
        compiler.version,
        *flags,
        _libc(),
        f"{sysconfig.get_platform()}-{8 * struct.calcsize('P')}",
    )
    # The length before each part keeps ("ab", "c") and ("a", "bc") apart.
    encoded = [part.encode() for part in parts]
    return hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in encoded)).hexdigest()


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except ValueError:  # not glibc
        return " ".join(platform.libc_ver())


def _load_or_compile(
    source: str,
    symbols: tuple[str, ...],
    key: str,
    compiler: Compiler,
    flags: tuple[str, ...],
    units: int,
) -> Library:
    cache = open_cache()
    if library := _load_cached(cache, symbols, key, compiler, flags):
        return library
    with cache.lock(key, timeout()):
        # Whoever held the lock before may have built it.
        library = _load_cached(cache, symbols, key, compiler, flags)
        return library or _compile(cache, source, symbols, key, compiler, flags, units)


def _load_cached(
    cache: Cache, symbols: tuple[str, ...], key: str, compiler: Compiler, flags: tuple[str, ...]
) -> Library | None:
    path = cache.root / key / LIBRARY
    if verified := cache.load(key):
        try:
            library = Library(path, key, True, 0.0, flags, compiler, _load(verified, path))
            for symbol in symbols:
                library.address(symbol)
            size = len(verified.data)
            log.note(lambda: f"{symbols[-1]} loaded from the cache: {size} bytes of code")
            return library
        except _NoMoreMapsError:
            raise
        except BuildError:  # intact, and still not a library for this machine
            cache.discard(key)
    return None


def _compile(
    cache: Cache,
    source: str,
    symbols: tuple[str, ...],
    key: str,
    compiler: Compiler,
    flags: tuple[str, ...],
    units: int,
) -> Library:
    with cache.workspace() as place:
        made = place / "entry"
        made.mkdir(mode=0o700)
        write_file(made / SOURCE, source.encode())
        level = next(flag for flag in flags if flag.startswith("-O"))
        with log.Stage("compiling", "compiled", symbols[-1]) as stage:
            started = time.perf_counter()
            compile_library(compiler, flags, made, units)
            seconds = time.perf_counter() - started
            stage.facts = lambda: f"{len(source)} bytes of C at {level} by {compiler.path}"
        seal_entry(made, key)
        verified = read_entry(made, key)
        if not _is_whole(verified.data):
            os.close(verified.fd)
            raise CompileError(f"{compiler.path} reported success but wrote a damaged library.")
        path = cache.root / key / LIBRARY
        library = Library(
            path, key, False, seconds, flags, compiler, _load(verified, made / LIBRARY)
        )
        for symbol in symbols:
            library.address(symbol)
        # Published last, so that no entry exists that could not be loaded where it was made.
        cache.publish(key, made)
    return library


# --- the dynamic loader ---------------------------------------------------------------------


def _load(verified: Verified, path: Path) -> object:
    """dlopen the very bytes that were verified, and close the descriptor.

    `path` serves only where the system has no path for an open descriptor.
    """
    try:
        if not os.path.isdir("/proc/self/fd"):  # macOS; the directory is private
            return _open(str(path))
        try:
            return _open(_unique_spelling(verified.fd))
        except _NoMoreMapsError:
            raise
        except BuildError:
            # A cache mounted noexec cannot be mapped for execution; memory can.
            with memory_file(verified.data) as fd:
                return _open(_unique_spelling(fd))
    finally:
        os.close(verified.fd)


def _open(path: str) -> object:
    handle = _dlopen(path.encode(), os.RTLD_NOW | os.RTLD_LOCAL)
    if not handle:
        reason = _dlerror()
        said = ffi.string(reason).decode("utf-8", "replace") if reason else "no reason given"
        _refuse_more_maps()
        raise BuildError(f"the compiled library could not be loaded: {said}")
    return handle


class _NoMoreMapsError(BuildError):
    """The process has as many memory maps as the system allows it."""


def _memory_maps() -> tuple[int, int]:
    """How many memory maps this process has, and may have."""
    try:
        with open("/proc/sys/vm/max_map_count") as file:
            limit = int(file.read())
        with open("/proc/self/maps") as file:
            return sum(1 for _ in file), limit
    except (OSError, ValueError):  # not Linux
        return 0, 1 << 62


def _refuse_more_maps() -> None:
    """Say so, if a library could not be loaded because the process has too many already.

    Libraries are never unloaded: their addresses are in the hands of the user (interop), of plans
    of the fast path and of threads that are calling them, none of which can be asked.
    """
    maps, limit = _memory_maps()
    if maps > limit - 100:
        raise _NoMoreMapsError(
            f"this process has loaded {len(_libraries)} compiled functions and has {maps} memory "
            f"maps, of which the system allows {limit} (vm.max_map_count). Compiled functions stay "
            "loaded until the process ends. Compile fewer: pass what changes as an argument, "
            "rather than capture it, or do the work in several processes."
        )


def _unique_spelling(fd: int) -> str:
    """A path of `fd` that was never used before in this process.

    glibc knows loaded libraries by the text of their path: a second library that happens to get
    descriptor 5 would silently be taken for the first. "/" and "/./" name the same directory,
    so they spell out a serial number in base two.
    """
    bits = f"{next(_serial):032b}".replace("0", "/").replace("1", "./")
    return f"/proc/self/fd/{bits}{fd}"


def _is_whole(data: bytes) -> bool:
    """Whether an ELF file reaches to the end of its section table, the last thing linkers write.

    dlopen does not look: a library cut short would kill the process by SIGBUS when first used.
    """
    if not data.startswith(b"\x7fELF") or len(data) < 64:
        return sys.platform != "linux"
    order = "<" if data[5] == 1 else ">"
    layout = "40xQ10xHH" if data[4] == 2 else "32xI10xHH"  # 64 or 32 bits
    start, size, count = map(int, struct.unpack_from(order + layout, data))
    return start > 0 and start + size * count <= len(data)
