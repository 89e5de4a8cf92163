"""Files: those that ship with symgrad, and how those for the user are written."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from symgrad.errors import ExportError

_IMPORTED = time.time() - 0.1  # the clock of file systems runs a few milliseconds behind


def template_folder() -> Path:
    """templates/: inside the installed package, else beside it (editable installs, checkouts)."""
    package = Path(__file__).resolve().parent
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


def generator_digest() -> str | None:
    """SHA-256 of the files that decide which C a graph becomes: this package and the templates.

    None if one of them was changed after this process began to import them: the code that runs is
    then not the code on disk. The packages that take part are there by the files that state their
    versions.
    """
    sha = hashlib.sha256()
    for path in _generator_files():
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mtime > _IMPORTED:
                return None
            data = file.read()
        sha.update(b"%s %d\n" % (os.fsencode(os.path.basename(path)), len(data)))
        sha.update(data)
    return sha.hexdigest()


def generator_stamp() -> str | None:
    """A hash of what changes whenever one of these files does: none of them is read for it.

    The system sets the time of a file's last change (ctime) itself: nothing that writes or replaces
    files can keep it. None as of `generator_digest`.
    """
    seen = []
    for path in _generator_files():
        info = os.stat(path)
        if max(info.st_mtime, info.st_ctime) > _IMPORTED:
            return None
        seen.append((path, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns,
                     info.st_ctime_ns))  # fmt: skip
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:32]


@functools.cache
def _generator_files() -> list[str]:
    files = [*_below(Path(__file__).resolve().parent), *_below(template_folder())]
    for name in ("numpy", "jinja2", "opt_einsum"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            folder = os.path.dirname(spec.origin)
            stated = {"__init__.py", "version.py", "_version.py"}.intersection(os.listdir(folder))
            files += [os.path.join(folder, file) for file in sorted(stated)]
    return files


def _below(folder: Path) -> list[str]:
    """The source files in a folder and its folders."""
    return sorted(
        os.path.join(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if name.endswith((".py", ".c", ".h", ".jinja"))
    )


def write_files(files: Mapping[Path, str], overwrite: bool) -> list[Path]:
    """Write the texts that a user exports; returns the paths.

    Raises ExportError if a file exists and `overwrite` is not set, or if one cannot be written.
    """
    for path in files:
        if path.exists() and not overwrite:
            raise ExportError(f"{path} exists; pass overwrite=True to replace it")
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, text)
        except OSError as error:
            raise ExportError(f"cannot write to {path.parent}: {error}") from error
    return list(files)


def _write_whole(path: Path, text: str) -> None:
    """All or nothing: a reader never sees half a file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="ascii", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
