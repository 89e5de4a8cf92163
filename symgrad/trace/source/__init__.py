"""The user's function by its source: rewritten, so that what no protocol shows can be traced."""

from symgrad.trace.source import (  # noqa: F401  (fill the tables)
    decisions,
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

__all__ = ["clone", "start"]
