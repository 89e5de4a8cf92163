"""Where the files that ship with symgrad lie."""

from __future__ import annotations

from pathlib import Path


def template_folder() -> Path:
    """templates/: inside the installed package, else beside it (editable installs, checkouts)."""
    package = Path(__file__).resolve().parent
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"
