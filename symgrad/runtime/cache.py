"""A directory of compiled libraries that is trusted only after it was checked.

Comes in: a key (SHA-256, hex) and the files made for it. Goes out: an open file descriptor of a
library whose bytes were verified, or None. This module knows nothing of compilers or loading.

Layout of the root (mode 0700, owned by the effective user)::

    <key>/src.c  <key>/mod.so  <key>/manifest.json      one entry; only ever renamed into place
    <key>.lock                                          flock: saves work, never correctness
    note-<name>                                         small facts that are dear to find out
    symgrad-tmp.<pid>.<random>/                         work in progress, or an entry set aside

Every doubt about an entry makes it a miss: it is set aside and built again.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from symgrad.errors import BuildError, CacheError, SymgradWarning, warn

FORMAT = "symgrad-cache-1"
SOURCE, LIBRARY, MANIFEST = "src.c", "mod.so", "manifest.json"

_TEMPORARY = "symgrad-tmp."
_KEY = r"[0-9a-f]{64}"
_DAY = 86400.0
_NOTE_DAYS = 30.0  # a note that nobody believes any more
_SMALL = 1 << 16  # bytes; no manifest or note comes near this
_LARGE = 1 << 30  # bytes; no source or library comes near this
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # nonblocking: a fifo


class _Untrusted(OSError):
    """A file or directory is not what this package would have written."""


@dataclass(frozen=True)
class Verified:
    """A library that matched its manifest: its bytes, and the descriptor they were read from."""

    fd: int
    data: bytes


# --- the root directory ---------------------------------------------------------------------


@dataclass(frozen=True)
class Cache:
    """One cache root that passed :func:`open_cache`; all paths are made from `root`."""

    root: Path

    def load(self, key: str) -> Verified | None:
        """The verified library of `key`, or None; an entry in doubt is set aside.

        The caller closes the descriptor.
        """
        entry = self.root / key
        try:
            verified = read_entry(entry, key)
        except FileNotFoundError:
            if os.path.lexists(entry):  # there, but a file is missing
                self.discard(key)
            return None
        except (OSError, ValueError, RecursionError):
            self.discard(key)
            return None
        with contextlib.suppress(OSError):
            os.utime(entry)  # the time of last use, for `shrink`
        return verified

    def discard(self, key: str) -> None:
        """Take the entry of `key`, whatever kind of file it is, out of the way."""
        self._remove(self.root / key)

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """A fresh private directory on the cache's file system, removed at the end.

        An OSError from within (a full or read-only disk) becomes a CacheError naming the root.
        """
        try:
            path = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{os.getpid()}.", dir=self.root))
        except OSError as error:
            raise _unwritable(self.root, error) from error
        try:
            yield path
        except BuildError:  # some are an OSError too
            raise
        except OSError as error:
            raise _unwritable(self.root, error) from error
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def publish(self, key: str, made: Path) -> None:
        """Rename the finished directory `made` to the entry of `key`.

        When another process was faster, its entry stays and `made` is left to the workspace.
        """
        try:
            os.rename(made, self.root / key)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise _unwritable(self.root, error) from error
        # One store in sixteen looks at the whole cache: no counter to keep, no clock to trust.
        if key[0] == "0":
            self.shrink(size_limit())

    @contextlib.contextmanager
    def lock(self, key: str, seconds: float) -> Iterator[None]:
        """Let one process at a time work on `key`, if that can be had within `seconds`.

        The kernel drops an flock when its holder dies, however it dies. Where locks do not work
        or do not come, the block runs all the same: at worst something is compiled twice.
        """
        path = self.root / f"{key}.lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            yield
            return
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.005)
                except OSError:  # a file system without locks
                    break
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
                fcntl.flock(fd, fcntl.LOCK_UN)  # a child forked meanwhile shares the descriptor
            os.close(fd)

    def shrink(self, limit: int) -> None:
        """Remove the entries used longest ago until `limit` bytes remain, and old leftovers."""
        now = time.time()
        entries: list[tuple[float, int, Path]] = []
        try:
            listing = list(os.scandir(self.root))
        except OSError:
            return
        for item in listing:
            with contextlib.suppress(OSError):
                used = item.stat(follow_symlinks=False).st_mtime
                if re.fullmatch(_KEY, item.name):
                    size = sum(f.stat(follow_symlinks=False).st_size for f in os.scandir(item))
                    entries.append((used, size, Path(item.path)))
                elif now - used > _DAY * (_NOTE_DAYS if item.name.startswith("note-") else 1) and (
                    item.name.startswith((_TEMPORARY, "note-")) or item.name.endswith(".lock")
                ):
                    self._remove(Path(item.path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= limit:
                break
            self._remove(path)
            total -= size

    def read_note(self, name: str, days: float = _NOTE_DAYS) -> object:
        """What :meth:`write_note` stored less than so many days ago, or None."""
        try:
            with _open_checked(self.root / f"note-{name}", _SMALL) as fd:
                if not 0 <= time.time() - os.fstat(fd).st_mtime < days * _DAY:
                    return None
                digest, _, text = _read(fd).partition(b"\n")
            if digest != _note_digest(name, text):
                return None
            return json.loads(text)
        except (OSError, ValueError, RecursionError):
            return None

    def write_note(self, name: str, value: object) -> None:
        """Store a small JSON value; failing to is no error, since notes only save time."""
        text = json.dumps(value).encode()
        with contextlib.suppress(OSError, CacheError), self.workspace() as place:
            write_file(place / "note", _note_digest(name, text) + b"\n" + text)
            os.replace(place / "note", self.root / f"note-{name}")

    def keep_note(self, name: str) -> None:
        """Let the age of a note begin anew."""
        with contextlib.suppress(OSError):
            os.utime(self.root / f"note-{name}", follow_symlinks=False)

    def _remove(self, path: Path) -> None:
        """Rename away, then delete: a name under the root is whole or absent, never half gone."""
        aside = self.root / f"{_TEMPORARY}{os.getpid()}.{os.urandom(8).hex()}"
        try:
            os.rename(path, aside)
        except OSError:
            return
        if stat.S_ISDIR(os.lstat(aside).st_mode):
            shutil.rmtree(aside, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(aside)


def _note_digest(name: str, text: bytes) -> bytes:
    """The name is part of it, so that no note passes for another."""
    return hashlib.sha256(name.encode() + b"\n" + text).hexdigest().encode()


def open_cache() -> Cache:
    """The cache to use now: ``SYMGRAD_CACHE_DIR``, else the user's own cache directory.

    A named directory that cannot be trusted or written is an error; in place of the default one
    a private directory is used until the process ends, with one warning. A size limit that is no
    number is an error here, where every use of the cache begins, not when it is first applied.
    """
    size_limit()
    named = os.environ.get("SYMGRAD_CACHE_DIR")
    if named:
        return Cache(_checked_root(Path(os.path.abspath(os.path.expanduser(named)))))
    try:
        return Cache(_checked_root(platformdirs.user_cache_path("symgrad", appauthor=False)))
    except CacheError as error:
        return Cache(_private_root(str(error)))


def is_key(text: str) -> bool:
    """Whether `text` can be the name of an entry."""
    return re.fullmatch(_KEY, text) is not None


def size_limit() -> int:
    """Bytes the cache may hold: ``SYMGRAD_CACHE_SIZE_MB``, else 1 GiB."""
    text = os.environ.get("SYMGRAD_CACHE_SIZE_MB") or "1024"
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise CacheError(f"SYMGRAD_CACHE_SIZE_MB={text!r} is not a whole number of megabytes.")
    return int(text) << 20


def _checked_root(path: Path) -> Path:
    """`path`, made if missing, when nobody but this user can have written below it."""
    if not path.is_absolute():
        raise CacheError(f"cache directory {path}: not absolute (is HOME set?).")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = path.parent.resolve(strict=True) / path.name
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        info = os.lstat(path)
        above = [(parent, os.lstat(parent).st_mode) for parent in path.parents]
    except OSError as error:
        raise _unwritable(path, error) from error
    fault = None
    if not stat.S_ISDIR(info.st_mode):
        fault = "is a symbolic link or no directory: name a real directory"
    elif info.st_uid != os.geteuid():
        fault = f"belongs to user {info.st_uid}, not to {os.geteuid()}: name one of your own"
    elif info.st_mode & 0o022:
        fault = f"can be written by other users: run `chmod go-w {path}` after checking its files"
    elif not os.access(path, os.W_OK | os.X_OK):
        fault = "cannot be written: name another, or change its permissions"
    for parent, mode in above:
        if mode & 0o002 and not mode & stat.S_ISVTX:
            fault = fault or f"lies below {parent}, where any user may replace it: name another"
    if fault:
        raise CacheError(f"cache directory {path} {fault} (SYMGRAD_CACHE_DIR names the place).")
    return path


@functools.cache
def _private_root(reason: str) -> Path:
    try:
        path = Path(tempfile.mkdtemp(prefix="symgrad-"))
    except OSError as error:
        raise _unwritable(Path(tempfile.gettempdir()), error) from error
    warn(f"{reason} Compiled code is kept in {path} until this process ends.", SymgradWarning)
    atexit.register(_remove_private, path, os.getpid())
    return path


def _remove_private(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child must not empty its parent's cache
        shutil.rmtree(path, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> CacheError:
    return CacheError(
        f"cache directory {path}: {error.strerror or error}. Free some space or change its "
        "permissions, or name another directory by SYMGRAD_CACHE_DIR."
    )


# --- one entry ------------------------------------------------------------------------------


def write_file(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)


def seal_entry(entry: Path, key: str) -> None:
    """Write the manifest of the directory `entry`, which holds the source and the library.

    Nothing waits for the disk: what a power failure leaves incomplete fails these checks.
    """
    files = {}
    for name in (SOURCE, LIBRARY):
        with open(entry / name, "rb") as file:
            os.fchmod(file.fileno(), 0o600)  # compilers obey the umask, which may be lax
            data = file.read()
        files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {"format": FORMAT, "key": key, "files": files}
    write_file(entry / MANIFEST, json.dumps(manifest, indent=1).encode())


def read_entry(entry: Path, key: str) -> Verified:
    """Check every file of `entry` against its manifest; raises when anything is amiss.

    The library's bytes are read through the returned descriptor, so that what was checked and
    what is loaded are one inode.
    """
    with _open_checked(entry / MANIFEST, _SMALL) as fd:
        files = _parse_manifest(_read(fd), key)
    info = os.lstat(entry)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
        raise _Untrusted(entry)
    with _open_checked(entry / SOURCE, _LARGE) as fd:
        _match(_read(fd), files[SOURCE])
    with _open_checked(entry / LIBRARY, _LARGE) as fd:
        data = _read(fd)
        _match(data, files[LIBRARY])
        return Verified(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3), data)


def _parse_manifest(text: bytes, key: str) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 by file name; the schema allows nothing more and nothing less."""
    match json.loads(text):
        case {"format": str(format_), "key": str(key_), "files": dict(files), **rest}:
            pass
        case _:
            raise _Untrusted("manifest")
    if format_ != FORMAT or key_ != key or rest or set(files) != {SOURCE, LIBRARY}:
        raise _Untrusted("manifest")
    parsed: dict[str, tuple[int, str]] = {}
    for name, described in files.items():
        match described:
            case {"size": int(size), "sha256": str(digest), **rest} if not rest:
                parsed[name] = (size, digest)
            case _:
                raise _Untrusted("manifest")
    return parsed


def _match(data: bytes, expected: tuple[int, str]) -> None:
    if (len(data), hashlib.sha256(data).hexdigest()) != expected:
        raise _Untrusted("hash")


@contextlib.contextmanager
def _open_checked(path: Path, largest: int) -> Iterator[int]:
    """Open `path` if it is a plain file with one name that only this user can have written."""
    fd = os.open(path, _OPEN)
    try:
        info = os.fstat(fd)
        if (
            not stat.S_ISREG(info.st_mode)
            or info.st_uid != os.geteuid()
            or info.st_mode & 0o022
            or info.st_nlink != 1
            or info.st_size > largest
        ):
            raise _Untrusted(path)
        yield fd
    finally:
        os.close(fd)


def _read(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        return file.read()
