"""The user's function by its source: rewritten, so that what no protocol shows can be traced."""

from symgrad.trace.source import decisions, items, numpy_api, python_api  # noqa: F401
from symgrad.trace.source.calls import start
from symgrad.trace.source.clones import clone, names_read

__all__ = ["clone", "names_read", "start"]
