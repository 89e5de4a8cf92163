"""Shared set-up: random examples are the same in every run, so that a failure can be repeated."""

import contextlib

from hypothesis import settings

from symgrad.errors import BuildError
from symgrad.runtime import dispatch

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# The fast call path has to be there before symgrad.compiled is imported, so that the suite tests it
# and not the one that bridges the first seconds of a machine.
with contextlib.suppress(BuildError):
    dispatch.load()
