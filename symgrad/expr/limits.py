"""Bounds of evaluations with values that nobody chose."""

from contextvars import ContextVar

# How many rounds a `while` may take; made-up values may never end it.
most_rounds: ContextVar[int | None] = ContextVar("most_rounds", default=None)
