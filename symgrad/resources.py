"""Files: those that ship with symgrad, and how those for the user are written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from symgrad.errors import ExportError


def template_folder() -> Path:
    """templates/: inside the installed package, else beside it (editable installs, checkouts)."""
    package = Path(__file__).resolve().parent
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


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
