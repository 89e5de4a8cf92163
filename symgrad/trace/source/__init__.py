"""The user's function by its source: rewritten, so that what no protocol shows can be traced."""

from symgrad.trace.source import (  # noqa: F401  (fill the tables)
    decisions,
    each,
    handed,
    items,
    loops,
    numpy_api,
    python_api,
    texts,
    walks,
)
from symgrad.trace.source.calls import start
from symgrad.trace.source.clones import clone
from symgrad.trace.source.recursion import fewer, levels

__all__ = ["clone", "fewer", "levels", "start"]
