"""Whose code a file holds, told by its place."""

from __future__ import annotations

import json

import numpy
import pytest

import symgrad
from symgrad.errors import is_internal
from symgrad.origin import foreign_package, is_library, is_of, package_of

PLACES = ["/srv/venv/lib/python3.11/site-packages", "/usr/lib/python3/dist-packages"]


@pytest.mark.parametrize("place", PLACES)
def test_installed_packages(place):
    assert package_of(f"{place}/tool/inner/part.py") == f"{place}/tool"
    assert package_of(f"{place}/single.py") == f"{place}/single.py"
    assert is_of(f"{place}/single.py", "other", "single")
    assert not is_of(f"{place}/tool/scipy.py", "scipy")
    assert foreign_package(f"{place}/tool/part.py") == f"{place}/tool"
    for name in ("numpy", "scipy"):
        assert is_internal(f"{place}/{name}/part.py")
        assert foreign_package(f"{place}/{name}/part.py") is None
        assert is_of(f"{place}/{name}/part.py", name)


def test_files_of_python_symgrad_and_the_user():
    assert package_of(__file__) == "" and package_of("<stdin>") == ""
    assert not is_library(__file__) and foreign_package(__file__) is None
    for file in (json.__file__, "<frozen importlib._bootstrap>", symgrad.__file__, numpy.__file__):
        assert is_library(file), file
        assert foreign_package(file) is None, file
