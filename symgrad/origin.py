"""Whose code a file holds: the user's, an installed package's, Python's or symgrad's.

Known by the file's place alone, and kept by its name.
"""

from __future__ import annotations

import os
import sysconfig

from symgrad.errors import INSTALLED, is_internal

# Where Python itself is; folders of packages may lie inside.
_STANDARD = tuple(
    os.path.abspath(place) + os.sep
    for place in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    if place
)
_packages: dict[str, str | None] = {}


def package_of(filename: str) -> str | None:
    """The folder of the installed package, or its only file; "" if the file is the user's own, None
    if it is Python's or, not being installed, symgrad's."""
    if filename not in _packages:
        _packages[filename] = _package_of(filename)
    return _packages[filename]


def _package_of(filename: str) -> str | None:
    for mark in INSTALLED:
        place, found, rest = filename.rpartition(mark)
        if found:
            return place + found + rest.split(os.sep)[0]
    if is_internal(filename) or filename.startswith((*_STANDARD, "<frozen")):
        return None
    return ""


def is_of(filename: str, *names: str) -> bool:
    """Whether a file belongs to an installed package with one of these names."""
    package = package_of(filename)
    return bool(package) and os.path.basename(str(package)).removesuffix(".py") in names


def is_library(filename: str) -> bool:
    """Whether a file is not the user's own: none of it changes while a program runs."""
    return package_of(filename) != ""


def foreign_package(filename: str) -> str | None:
    """The folder of an installed package that is not symgrad, NumPy or SciPy; None otherwise."""
    return None if is_internal(filename) else package_of(filename) or None
