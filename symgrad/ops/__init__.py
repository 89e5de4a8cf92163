"""The tables: every primitive is one row here. Imports `expr` only.

OWN has the rows that come with symgrad; others may have been registered from outside.
"""

from symgrad.expr.op import OPS
from symgrad.ops import (
    bessel,
    checks,
    control,
    eigen,
    einsum,
    elementwise,
    incomplete,
    linalg,
    linear,
    normal,
    reduce,
    scan,
    sorting,
    threefry,
)

OWN = frozenset(OPS.values())

__all__ = [
    "OWN", "bessel", "checks", "control", "eigen", "einsum", "elementwise", "incomplete", "linalg",
    "linear", "normal", "reduce", "scan", "sorting", "threefry",
]  # fmt: skip
