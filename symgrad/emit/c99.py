"""C99: its types, numbers, and which column of a row spells an op."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symgrad.emit.target import Target
from symgrad.expr.op import Op

_TYPES = {
    "float64": "double",
    "float32": "float",
    "int64": "int64_t",
    "int32": "int32_t",
    "bool": "bool",
}


def _literal(value: Any, dtype: str) -> str:
    """A C literal that reads back as exactly `value`."""
    if dtype == "bool":
        return "true" if value else "false"
    if dtype in ("int32", "int64"):
        number = int(value)
        if dtype == "int32" and number == -(2**31):
            return "(-2147483647 - 1)"
        if number == -(2**63):
            return "(-INT64_C(9223372036854775807) - 1)"
        if abs(number) > 2**31 - 1:
            return f"INT64_C({number})" if number >= 0 else f"(-INT64_C({-number}))"
        return str(number) if number >= 0 else f"({number})"
    real = float(value)
    suffix = "f" if dtype == "float32" else ""
    if math.isnan(real):
        return f"({_TYPES[dtype]})NAN"
    if math.isinf(real):
        return f"({_TYPES[dtype]})INFINITY" if real > 0 else f"(-({_TYPES[dtype]})INFINITY)"
    text = repr(real) if dtype == "float64" else str(np.float32(real))
    if "e" not in text and "." not in text:
        text += ".0"
    text += suffix
    return text if not text.startswith("-") else f"({text})"


def _needed_by(value: Any, dtype: str) -> str:
    """The type or constant of a header that stands in the literal of a value; "" if none does."""
    if dtype == "bool":
        return "bool"
    if dtype in ("int32", "int64"):
        wide = dtype == "int64" and abs(int(value)) > 2**31 - 1
        return "int64_t" if wide else ""
    return "" if math.isfinite(value) else "INFINITY"


def _column(op: Op, is_float: bool) -> str | None:
    return op.c if is_float or op.c_int is None else op.c_int


C99 = Target("c99", _TYPES, _literal, _needed_by, _column)
