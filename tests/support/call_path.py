"""Loads the fast call path, before `symgrad.compiled` is imported by anything else.

The suite then tests it, and not the one that bridges the first seconds of a machine, also where the
cache is new.
"""

from __future__ import annotations

import contextlib

from symgrad.errors import BuildError
from symgrad.runtime import dispatch

with contextlib.suppress(BuildError):
    dispatch.load()
