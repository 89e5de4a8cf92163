"""Compilers that tests make of gcc by a script: what they are need not be asked each time.

Asking is three runs of gcc, as much as the rest of such a test. Compilers that lie about themselves
are in tests/test_compiler.py.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from pathlib import Path

from symgrad.runtime import compiler


@functools.cache
def _gcc() -> compiler.Compiler:
    return compiler._probe((shutil.which("gcc"),))


def make_known(script: Path) -> None:
    """`script`, which answers as gcc does, is known if CC names it; other processes will ask."""
    made = dataclasses.replace(_gcc(), argv=(str(script),))
    compiler._found[str(script), os.environ.get("PATH")] = made
