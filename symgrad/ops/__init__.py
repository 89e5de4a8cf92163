"""The tables: every primitive is one row here. Imports `expr` only."""

from symgrad.ops import einsum, elementwise, linalg, linear, reduce, scan

__all__ = ["einsum", "elementwise", "linalg", "linear", "reduce", "scan"]
