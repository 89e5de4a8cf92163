"""Files: those that ship with symgrad, and how those for the user are written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def template_folder() -> Path:
    """templates/: inside the installed package, else beside it (editable installs, checkouts)."""
    package = Path(__file__).resolve().parent
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


def write_whole(path: Path, text: str) -> None:
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
