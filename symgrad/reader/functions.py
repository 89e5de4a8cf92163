"""What the signs of formulas mean, on arrays with spare digits.

Functions are evaluated by the rows of their operations. NumPy has no spare digits for linear
algebra, so there is an elimination here; special functions are as good as their rows.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from symgrad.expr.op import OPS, Kind
from symgrad.inspect.elementwise import signs

EXTENDED = np.longdouble


class Unknown(Exception):
    """Notation or an operation that cannot be evaluated here."""


def apply(op: Any, values: Sequence[Any], attrs: Sequence[Any] = ()) -> np.ndarray:
    """A row's own semantics, with the spare digits where it has them."""
    try:
        result = op.evaluate(*values, *attrs)
    except TypeError:  # NumPy's linear algebra, functions of math
        plain = [np.asarray(v, float) if v.dtype == EXTENDED else v for v in values]
        result = op.evaluate(*plain, *attrs)
    result = np.asarray(result)
    return result.astype(EXTENDED) if result.dtype.kind == "f" else result


def exact(value: Any) -> np.longdouble:
    """The number that a float stands for: 0.333… is 1/3, 0.707… is √½, 0.1 is a tenth.

    Formulas print such numbers, and a comparison should not stop at the float's own error.
    """
    if not np.isfinite(value) or value == 0:
        return EXTENDED(value)
    v, ulp = float(abs(value)), float(np.spacing(abs(value)))
    sign = EXTENDED(1 if value > 0 else -1)
    pi = EXTENDED("3.14159265358979323846264338327950288")
    for unit, squared in itertools.product((EXTENDED(1), pi, 1 / pi), (False, True)):
        ratio = v * v / float(unit) if squared else v / float(unit)
        near = Fraction(ratio).limit_denominator(1000) if ratio < 1e6 else Fraction(0)
        allowed = (4 if squared else 2) * ulp / v * ratio
        if near and abs(float(near) - ratio) <= allowed:
            found = EXTENDED(near.numerator) / EXTENDED(near.denominator) * unit
            return sign * (np.sqrt(found) if squared else found)
    return EXTENDED(str(value))


def column(v: Any) -> Any:
    v = np.asarray(v)
    return v.reshape(-1, 1) if v.ndim == 1 else v


def inverse(a: Any) -> Any:
    """By elimination: NumPy has none with spare digits."""
    n = len(a)
    m = np.concatenate([np.array(a, EXTENDED), np.eye(n, dtype=EXTENDED)], axis=1)
    for k in range(n):
        p = k + int(np.argmax(np.abs(m[k:, k])))
        m[[k, p]] = m[[p, k]]
        m[k] /= m[k, k]
        for i in range(n):
            if i != k:
                m[i] -= m[i, k] * m[k]
    return m[:, n:]


def determinant(a: Any) -> Any:
    m, n, result = np.array(a, EXTENDED), len(a), EXTENDED(1)
    for k in range(n):
        p = k + int(np.argmax(np.abs(m[k:, k])))
        if m[p, k] == 0:
            return EXTENDED(0)
        if p != k:
            m[[k, p]] = m[[p, k]]
            result = -result
        result *= m[k, k]
        for i in range(k + 1, n):
            m[i] -= m[i, k] / m[k, k] * m[k]
    return result


def _row(name: str) -> Callable[..., Any]:
    return lambda *args: apply(OPS[name], np.broadcast_arrays(*args))


def _reduced(row: Any, x: Any, axes: tuple[int, ...] | None) -> Any:
    """A reduction of all elements, or along the given axes; vectors are columns."""
    plain = x[:, 0] if axes is None and x.ndim == 2 and x.shape[1] == 1 else x
    axes = tuple(range(plain.ndim)) if axes is None else axes
    result = apply(row, [plain], (axes,))
    return result.reshape(x.shape) if result.shape == plain.shape else column(result)


def _phi(x: Any) -> Any:
    return np.exp(-x * x / 2) / np.sqrt(2 * exact(np.float64(np.pi)))


def _ndtr(x: Any) -> Any:
    half = EXTENDED(1) / 2
    return half * apply(OPS["erfc"], [-x * np.sqrt(half)])


def _diag(v: Any) -> Any:
    if v.ndim == 2 and v.shape[1] == 1:
        return np.diag(v.ravel())
    return column(np.diagonal(v))


_CALLS: dict[str, Callable[..., Any]] = {
    "tr": np.trace, "diag": _diag, "det": determinant, "vec": lambda v: v.T.reshape(-1, 1),
    "Φ": _ndtr, "φ": _phi, "tril": np.tril, "triu": np.triu, "kron": np.kron,
    "clip": np.clip,
    "lower": np.tril, "upper": np.triu,
    "Γ": _row("gamma"), "B": lambda a, b: np.exp(apply(OPS["betaln"], [a, b])),
    "logit": lambda p: np.log(p / (1 - p)), "¬": np.logical_not, "relu": lambda x: np.maximum(x, 0),
    "sech": lambda x: 1 / np.cosh(x), "trunc": np.trunc,
    "cof": lambda a: determinant(a) * inverse(a).T,
}  # fmt: skip
INFIX: dict[str, Callable[..., Any]] = {
    "<": np.less, "≤": np.less_equal, ">": np.greater, "≥": np.greater_equal, "=": np.equal,
    "≠": np.not_equal, "∧": np.logical_and, "∨": np.logical_or, "⊻": np.logical_xor,
    "mod": np.mod, "⊗": np.kron,
}  # fmt: skip
_BOTH: dict[str, str] = {"max": "maximum", "min": "minimum"}  # of one array, or of several
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def number(text: str) -> Any:
    """A number as formulas spell it: 2, 0.5, 1e-3, 1/7, ½, π, 2π, √2, inf."""
    halves = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅙": "1/6",
              "⅛": "1/8"}  # fmt: skip
    text = halves.get(text, text).replace("−", "-")
    if "/" in text:
        top, bottom = text.split("/")
        return number(top) / number(bottom)
    if text.startswith("√"):
        return np.sqrt(number(text[1:]))
    if text.endswith("π"):
        return number(text[:-1] or "1") * exact(np.float64(np.pi))
    if text in ("true", "false"):
        return np.asarray(text == "true")
    return EXTENDED(text)


def called(
    name: str, values: list[Any], axes: tuple[int, ...] | None, reverse: bool = False
) -> Any:
    """A function by the sign with which formulas write it."""
    derivative = re.fullmatch(r"ψ⁽([⁰¹²³⁴⁵⁶⁷⁸⁹]+)⁾", name)
    if derivative:
        order = EXTENDED(derivative[1].translate(_DIGITS))
        return apply(OPS["polygamma"], np.broadcast_arrays(order, *values))
    if name in _CALLS:
        return _CALLS[name](*values)
    if name in _BOTH and len(values) > 1:
        result = values[0]
        for v in values[1:]:
            result = apply(OPS[_BOTH[name]], np.broadcast_arrays(result, v))
        return result
    row = OPS.get(signs().get(name, name))
    if row is None:
        raise Unknown(name)
    if row.kind is Kind.ELEMENTWISE and axes is None:
        return apply(row, np.broadcast_arrays(*values))
    if row.kind is Kind.SCAN:
        axis = axes[0] if axes else 0
        return apply(row, np.broadcast_arrays(*values), (axis, reverse))
    if row.kind in (Kind.REDUCE, Kind.COMPOSITE) and len(values) == 1 and row.attr_names[:1]:
        return _reduced(row, values[0], axes)
    raise Unknown(name)
