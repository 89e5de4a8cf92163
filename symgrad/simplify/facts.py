"""Facts about nodes and constants that conditions of rules ask for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symgrad.expr.node import CONST, FLOATS, Expr, const, const_value

# Ranges of functions: never negative, never -0.0 (NaN is possible).
_NONNEGATIVE = frozenset(
    {
        "exp", "exp2", "square", "absolute", "cosh", "softplus", "sigmoid", "erfc", "hypot",
        "softmax", "norm",
    }
)  # fmt: skip
_KEEPS_SIGN = frozenset(
    {"broadcast", "permute", "reshape", "slice", "gather", "sum", "add", "multiply", "einsum",
     "maximum", "sqrt", "concat", "max", "min", "minimum", "divide"}
)  # fmt: skip
_MOST_LOOKED_AT = 40


def nonnegative(node: Expr) -> bool:
    """Whether `node` is known to be >= +0.0 or NaN."""
    stack, looked = [node], 0
    while stack:
        e = stack.pop()
        looked += 1
        if looked > _MOST_LOOKED_AT:
            return False
        if e.op is CONST:
            if not (const_value(e) >= 0 and not np.signbit(const_value(e))):
                return False
        elif e.name in _KEEPS_SIGN:
            # a gather's index is not a value
            stack.extend(e.args[:1] if e.name == "gather" else e.args)
        elif e.name not in _NONNEGATIVE:
            return False
    return True


def number(node: Expr) -> float:
    """The value of a constant as a number of Python: whole ones beyond 2^53 keep their digits."""
    value: float = const_value(node).item()
    return value


def normal(value: float, dtype: str) -> bool:
    """Whether `value` is finite, not zero and not subnormal in `dtype`, with room to spare."""
    if dtype not in FLOATS:
        return False
    limit = 1e290 if dtype == "float64" else 1e34
    return 1 / limit < abs(value) < limit


def is_float(node: Expr) -> bool:
    """Whether `node` has a float dtype."""
    return node.dtype in FLOATS


def like(value: float, node: Expr) -> Expr:
    """A constant of `node`'s type."""
    return const(value, node.dtype, node.shape)


def positive(c: Expr) -> bool:
    """Whether a constant is positive, with room to spare."""
    return normal(number(c), c.dtype) and number(c) > 0


LARGEST_SCALE = 2.0**64


def scalable(value: float) -> bool:
    """Whether sums and products may be multiplied by `value`: then none goes out of range."""
    if isinstance(value, int):
        return 0 < abs(value) < 1 << 63
    return 1 / LARGEST_SCALE <= abs(value) <= LARGEST_SCALE


def like_value(value: float, node: Expr) -> float:
    """`value` rounded to `node`'s dtype."""
    return float(np.asarray(value, node.dtype)) if is_float(node) else value


def axes_except(ndim: int, axes: Sequence[int]) -> tuple[int, ...]:
    """The axes of `ndim` that are not in `axes`."""
    return tuple(k for k in range(ndim) if k not in axes)
