"""Functions whose inactive sides and unread elements have infinite derivatives, and their twins.

`f` is what a user writes; `safe` is the same function near `x` without what is not reached, smooth
there, so that an independent tool can differentiate it to any order. Both take the module that
computes (NumPy for symgrad, `MP` for the twin) and the point. `truth` is the twin's gradient and
second derivative by central differences with 100 digits: their error is far below a double's.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import mpmath
import numpy

# ruff: noqa: E501 (one case a line)


class Row(NamedTuple):
    """orders: how many derivatives the twin has at `x`; beyond that `f` has a kink there."""

    f: Callable[..., Any]
    safe: Callable[..., Any]
    x: numpy.ndarray
    orders: int = 2


def A(*values: float) -> numpy.ndarray:
    return numpy.array(values, float)


_M = mpmath.mp.clone()
_M.dps = 100
_STEP = _M.mpf(10) ** -25
MP = SimpleNamespace(
    sum=numpy.sum,
    **{
        name: numpy.frompyfunc(getattr(_M, mp_name), 1, 1)
        for name, mp_name in (("sqrt", "sqrt"), ("log", "log"), ("exp", "exp"),
                              ("arcsin", "asin"), ("arccos", "acos"))
    },
)  # fmt: skip


def truth(row: Row) -> tuple[numpy.ndarray, numpy.ndarray | None]:
    """Gradient and second derivative of the twin, or None where it is asked for one order."""
    x = numpy.vectorize(_M.mpf, otypes=[object])(row.x)
    size = x.size

    def at(*moves: tuple[int, int]) -> Any:
        point = x.copy()
        for k, sign in moves:
            point.flat[k] += sign * _STEP
        return row.safe(MP, point if point.ndim else point[()])

    gradient = [(at((i, 1)) - at((i, -1))) / (2 * _STEP) for i in range(size)]
    first = numpy.array(gradient, float).reshape(x.shape)
    if row.orders < 2:
        return first, None
    second = numpy.empty((size, size))
    for i in range(size):
        for j in range(i + 1):
            corners = [(a * b, at((i, a), (j, b))) for a in (1, -1) for b in (1, -1)]
            second[i, j] = float(sum(sign * value for sign, value in corners) / (4 * _STEP**2))
            second[j, i] = second[i, j]
    return first, second.reshape(x.shape + x.shape)


M = numpy.array([[0.0, 2.0, 0.0], [3.0, 4.0, 0.0], [0.0, 5.0, 9.0]])
MASK = numpy.array([False, True, True])
DATA = numpy.array([numpy.nan, 2.0, 3.0])
POINTS = numpy.array([[0.0, 1.0], [0.5, -0.5], [2.0, 0.3]])
OFF = ~numpy.eye(3, dtype=bool)


def set_part(np: Any, x: Any) -> Any:
    y = np.zeros_like(x)
    y[1:] = x[:-1]
    return np.sum(np.sqrt(y))


def heston(np: Any, p: Any) -> Any:
    """Full truncation: three Euler steps of a variance that becomes negative."""
    v, s = p[0], p[1]
    for z in (-2.0, -1.5, 0.7):
        plus = np.maximum(v, 0.0)
        root = np.sqrt(plus)
        s = s * np.exp(-0.5 * plus * 0.1 + root * 0.3 * z)
        v = v + 2.0 * (0.04 - plus) * 0.1 + 0.9 * root * 0.3 * z
    return s


def heston_safe(np: Any, p: Any) -> Any:
    """The variance is positive at first and negative from then on."""
    v, s = p[0], p[1]
    root = np.sqrt(v)
    return s * np.exp(-0.5 * v * 0.1 + root * 0.3 * -2.0)


def srgb(np: Any, x: Any) -> Any:
    c = np.minimum(np.maximum(x, 0), 1)
    return np.sum(np.where(c <= 0.0031308, 12.92 * c, 1.055 * c ** (1 / 2.4) - 0.055))


def matern(np: Any, ell: Any) -> Any:
    r = np.sqrt(np.sum((POINTS[:, None] - POINTS[None]) ** 2 / ell**2, -1))
    return np.sum((1 + r) * np.exp(-r))


def matern_clipped(np: Any, ell: Any) -> Any:
    d2 = np.sum(((POINTS[:, None] - POINTS[None]) / ell) ** 2, -1)
    r = np.sqrt(np.maximum(d2, 0.0))
    return np.sum((1 + r) * np.exp(-r))


def matern_expanded(np: Any, ell: Any) -> Any:
    z = POINTS / ell
    n = np.sum(z * z, 1)
    r = np.sqrt(np.maximum(n[:, None] + n - 2 * (z @ z.T), 0.0) * OFF)
    return np.sum(np.exp(-r) * (1 + r))


def matern_log(np: Any, ell: Any) -> Any:
    r = np.sqrt(np.sum((POINTS[:, None] - POINTS[None]) ** 2 * np.exp(-2 * ell), -1))
    return np.sum(np.exp(-r))


def matern_safe(np: Any, ell: Any) -> Any:
    i, j = numpy.nonzero(OFF)
    r = np.sqrt(np.sum((POINTS[i] - POINTS[j]) ** 2 / ell**2, -1))
    return np.sum((1 + r) * np.exp(-r)) + 3 * (ell / ell)


def matern_log_safe(np: Any, ell: Any) -> Any:
    i, j = numpy.nonzero(OFF)
    r = np.sqrt(np.sum((POINTS[i] - POINTS[j]) ** 2, -1)) * np.exp(-ell)
    return np.sum(np.exp(-r)) + 3


def relu(np: Any, x: Any) -> Any:
    return x * (x > 0)


# fmt: off
ROWS: dict[str, Row] = {
    # the side of a maximum or minimum, of a clip, of a rectifier
    "√max(x, 0)": Row(lambda np, x: np.sum(np.sqrt(np.maximum(x, 0))), lambda np, x: np.sqrt(x[1]), A(-1, 4)),
    "√max(0, x)": Row(lambda np, x: np.sum(np.sqrt(np.maximum(0.0, x))), lambda np, x: np.sqrt(x[1]), A(-1, 4)),
    "√fmax(x, 0)": Row(lambda np, x: np.sum(np.sqrt(np.fmax(x, 0))), lambda np, x: np.sqrt(x[1]), A(-1, 4)),
    "√fmax(NaN, x)": Row(lambda np, x: np.sum(np.sqrt(np.fmax(DATA, x))), lambda np, x: np.sqrt(x[0]) + np.sqrt(x[2]) + 2**0.5, A(4, -1, 5)),
    "√-min(x, 0)": Row(lambda np, x: np.sum(np.sqrt(-np.minimum(x, 0))), lambda np, x: np.sqrt(-x[0]), A(-1, 4)),
    "√-fmin(x, 0)": Row(lambda np, x: np.sum(np.sqrt(-np.fmin(x, 0))), lambda np, x: np.sqrt(-x[0]), A(-1, 4)),
    "log max(x, 0), behind where": Row(lambda np, x: np.sum(np.where(x > 0, np.log(np.maximum(x, 0)), 0)), lambda np, x: np.log(x[1]), A(-1, 4)),
    "max(√x, 1)": Row(lambda np, x: np.sum(np.maximum(np.sqrt(x), 1)), lambda np, x: np.sqrt(x[1]) + 1, A(0, 4)),
    "min(1/x, 1)": Row(lambda np, x: np.sum(np.minimum(1 / x, 1)), lambda np, x: 1 / x[1] + 1, A(0, 4)),
    "max(log x, -3)": Row(lambda np, x: np.sum(np.maximum(np.log(x), -3)), lambda np, x: np.log(x[1]) - 3, A(0, 4)),
    "max(x, 0)**0.5": Row(lambda np, x: np.sum(np.maximum(x, 0) ** 0.5), lambda np, x: np.sqrt(x[1]), A(-1, 4)),
    "max(x, 0)**0.3": Row(lambda np, x: np.sum(np.maximum(x, 0) ** 0.3), lambda np, x: x[1] ** 0.3, A(-1, 4)),
    "max(x, 0)**1.5": Row(lambda np, x: np.sum(np.maximum(x, 0) ** 1.5), lambda np, x: x[1] ** 1.5, A(-1, 4)),
    "max(x, 0)**2.5": Row(lambda np, x: np.sum(np.maximum(x, 0) ** 2.5), lambda np, x: x[1] ** 2.5, A(-1, 4)),
    "power(max(x, 0), p)": Row(lambda np, x: np.sum(np.power(np.maximum(x[:2], 0), x[2])), lambda np, x: x[1] ** x[2], A(-1, 4, 0.7)),
    "min(max(x, 0), 1)**(1/2.4)": Row(lambda np, x: np.sum(np.minimum(np.maximum(x, 0), 1) ** (1 / 2.4)), lambda np, x: x[1] ** (1 / 2.4) + 1, A(-1, 0.5, 2)),
    "sRGB": Row(srgb, lambda np, x: 1.055 * x[1] ** (1 / 2.4) + 12.92 * x[3] + 0.945, A(-1, 0.5, 2, 0.001)),
    "√clip(x, 0, 1)": Row(lambda np, x: np.sum(np.sqrt(np.clip(x, 0, 1))), lambda np, x: np.sqrt(x[1]) + 1, A(-1, 0.5, 3)),
    "√clip(x, 0, None)": Row(lambda np, x: np.sum(np.sqrt(np.clip(x, 0, None))), lambda np, x: np.sqrt(x[1]), A(-1, 0.5)),
    "∛clip": Row(lambda np, x: np.sum(np.cbrt(np.clip(x, 0, 1))), lambda np, x: x[1] ** (1 / 3) + 1, A(-1, 0.5, 3)),
    "clip(√x, 1, 2)": Row(lambda np, x: np.sum(np.clip(np.sqrt(x), 1, 2)), lambda np, x: np.sqrt(x[1]) + 1, A(0, 2)),
    "arcsin(clip(x, -1, 1))": Row(lambda np, x: np.sum(np.arcsin(np.clip(x, -1, 1))), lambda np, x: np.arcsin(x[1]), A(-2, 0.5, 3)),
    "arccos(clip(x, -1, 1))": Row(lambda np, x: np.sum(np.arccos(np.clip(x, -1, 1))), lambda np, x: np.arccos(x[1]) + numpy.pi, A(-2, 0.5, 3)),
    "arccos(max(min(x, 1), -1))": Row(lambda np, x: np.sum(np.arccos(np.maximum(np.minimum(x, 1), -1))), lambda np, x: np.arccos(x[1]) + numpy.pi, A(-2, 0.5, 3)),
    "arctanh(clip), behind min": Row(lambda np, x: np.sum(np.minimum(np.arctanh(np.clip(x, -1, 1)), 5)), lambda np, x: np.log((1 + x[1]) / (1 - x[1])) / 2 + 5, A(3, 0.5)),
    "√(x (x > 0))": Row(lambda np, x: np.sum(np.sqrt(x * (x > 0))), lambda np, x: np.sqrt(x[1]), A(-1, 4)),
    "√x (x > 0)": Row(lambda np, x: np.sum(np.sqrt(x) * (x > 0)), lambda np, x: np.sqrt(x[1]), A(0, 4)),
    "relu by where": Row(lambda np, x: np.sum(np.sqrt(np.where(x > 0, x, 0))), lambda np, x: np.sqrt(x[1]), A(-1, 4)),
    "relu(x)**1.5": Row(lambda np, x: np.sum(relu(np, x) ** 1.5), lambda np, x: x[1] ** 1.5, A(-1, 4)),
    "relu, weights, root": Row(lambda np, x: np.sum(np.sqrt(np.maximum(M @ x - 3, 0))), lambda np, x: np.sqrt(3 * x[0] + 4 * x[1] - 3) + np.sqrt(5 * x[1] + 9 * x[2] - 3), A(1, 1, 1)),
    "root, weights, relu": Row(lambda np, x: np.sum(np.maximum(M[:, 1:] @ np.sqrt(x[1:]) - 9.0, 0) * np.sqrt(x)), lambda np, x: (5 * np.sqrt(x[1]) + 9 * np.sqrt(x[2]) - 9) * np.sqrt(x[2]), A(1, 4, 9)),
    "max of two roots": Row(lambda np, x: np.sum(np.maximum(np.sqrt(x), np.sqrt(1 - x))), lambda np, x: np.sqrt(1 - x[0]) + np.sqrt(x[1]), A(0, 1)),
    "max of pieces": Row(lambda np, x: np.sqrt(np.maximum(np.maximum(x[0], x[1]), x[2])), lambda np, x: np.sqrt(x[2]), A(-1, 0, 4)),
    "√(max(x, 0) + max(-x, 0))": Row(lambda np, x: np.sum(np.sqrt(np.maximum(x, 0) + np.maximum(-x, 0))), lambda np, x: np.sqrt(-x[0]) + np.sqrt(x[1]), A(-1, 4)),
    "√Σ max(x, 0)": Row(lambda np, x: np.sqrt(np.sum(np.maximum(x, 0))), lambda np, x: 0.0 * x[0], A(-1, -4)),
    "√Σ where": Row(lambda np, x: np.sqrt(np.sum(np.where(x > 0, x, 0))), lambda np, x: 0.0 * x[0], A(-1, -4)),
    "√cumsum max(x, 0)": Row(lambda np, x: np.sum(np.sqrt(np.cumsum(np.maximum(x, 0)))), lambda np, x: np.sqrt(x[1]) + np.sqrt(x[1] + x[2]), A(-1, 4, 5)),
    "√(M max(x, 0))": Row(lambda np, x: np.sum(np.sqrt(M @ np.maximum(x, 0))), lambda np, x: np.sqrt(3 * x[0]), A(1, -1, -2)),
    "positive part of a quotient": Row(lambda np, x: np.sum(np.maximum(x[1] / x, 0)), lambda np, x: x[1] / x[1] + x[1] / x[2], A(-1, 4, 5)),
    "Heston": Row(heston, heston_safe, A(0.04, 1.3)),
    "hinge, root": Row(lambda np, x: np.sum(np.sqrt(np.maximum(0, 1 - x))), lambda np, x: np.sqrt(1 - x[0]), A(-1, 4)),
    "option payoff": Row(lambda np, x: np.sqrt(np.maximum(x[0] - x[1], 0)) + np.log(x[0]), lambda np, x: np.log(x[0]), A(1, 4)),
    "max(|x| - 1, 0)**0.5": Row(lambda np, x: np.sum(np.sqrt(np.maximum(np.abs(x) - 1, 0))), lambda np, x: np.sqrt(-x[0] - 1), A(-3, 0.2)),
    "copysign root": Row(lambda np, x: np.sum(np.copysign(np.sqrt(np.maximum(np.abs(x) - 1, 0)), x)), lambda np, x: -np.sqrt(-x[0] - 1), A(-3, 0.2)),
    # at the point itself: the least of the slopes
    "√max(x, 0) at 0": Row(lambda np, x: np.sum(np.sqrt(np.maximum(x, 0))), lambda np, x: np.sqrt(x[1]), A(0, 4)),
    "√|x| at 0": Row(lambda np, x: np.sum(np.sqrt(np.abs(x))), lambda np, x: np.sqrt(x[1]), A(0, 4)),
    "√x² at 0": Row(lambda np, x: np.sum(np.sqrt(x**2)), lambda np, x: x[1], A(0, 4)),
    "(x²)**0.3 at 0": Row(lambda np, x: np.sum((x**2) ** 0.3), lambda np, x: x[1] ** 0.6, A(0, 4)),
    "relu at 0": Row(lambda np, x: np.sum(np.sqrt(relu(np, x))), lambda np, x: np.sqrt(x[1]), A(0, 4)),
    "√clip at 0": Row(lambda np, x: np.sum(np.sqrt(np.clip(x, 0, 1))), lambda np, x: np.sqrt(x[1]), A(0, 0.3)),
    # masks
    "mask · √x": Row(lambda np, x: np.sum(MASK * np.sqrt(x)), lambda np, x: np.sqrt(x[1]) + np.sqrt(x[2]), A(0, 4, 9)),
    "float mask · log x": Row(lambda np, x: np.sum((x > 0).astype(float) * 2 * np.where(x > 0, np.log(x), 0)), lambda np, x: 2 * np.log(x[1]), A(0, 4)),
    "float mask · √x": Row(lambda np, x: np.sum((x > 0).astype(float) * 2 * np.sqrt(x)), lambda np, x: 4 * np.sqrt(x[1]) / 2, A(0, 4)),
    "mask · a + (1 - mask) · b": Row(lambda np, x: np.sum((x > 0) * np.sqrt(x) + (1 - (x > 0)) * x**2), lambda np, x: np.sqrt(x[1]) + x[0] ** 2, A(0, 4)),
    "mask of rows": Row(lambda np, x: np.sum(np.sqrt(x[:, None] * x) * (x > 0)[:, None] * (x > 0)), lambda np, x: x[1] + x[2] + 2 * np.sqrt(x[1] * x[2]), A(0, 4, 9)),
    "mask @ √x": Row(lambda np, x: (x > 0).astype(float) @ np.sqrt(x), lambda np, x: np.sqrt(x[1]), A(0, 4)),
    "mask @ √x, squared": Row(lambda np, x: ((x > 0).astype(float) @ np.sqrt(x)) ** 2, lambda np, x: np.sqrt(x[1]) ** 2, A(0, 4)),
    "√(mask @ x)": Row(lambda np, x: np.sqrt((x > 9).astype(float) @ x) + x[0] ** 2, lambda np, x: x[0] ** 2, A(1, 4)),
    "masked mean of roots": Row(lambda np, x: np.sum((x > 0) * np.sqrt(x)) / np.sum(x > 0), lambda np, x: (np.sqrt(x[1]) + np.sqrt(x[2])) / 2, A(0, 4, 9)),
    "mask · 1/x": Row(lambda np, x: np.sum(np.where(x != 0, 1 / x, 0) * (x > 1)), lambda np, x: 1 / x[1], A(0, 4)),
    "mask, cumsum of roots": Row(lambda np, x: np.sum(np.cumsum(np.sqrt(x)[::-1])[::-1] * (x > 1)), lambda np, x: np.sqrt(x[2]) * 2 + np.sqrt(x[1]), A(0, 4, 9)),
    "nansum of roots": Row(lambda np, x: np.nansum(np.sqrt(x)), lambda np, x: np.sqrt(x[1]), A(-1, 4)),
    "nansum of residuals": Row(lambda np, x: np.nansum((x - DATA) ** 2), lambda np, x: (x[1] - 2) ** 2 + (x[2] - 3) ** 2, A(1, 4, 5)),
    "nanmean of logs": Row(lambda np, x: np.nanmean(np.log(x)), lambda np, x: np.log(x[1]), A(-1, 4)),
    "nanmax of roots": Row(lambda np, x: np.nanmax(np.sqrt(x)), lambda np, x: np.sqrt(x[1]), A(-1, 4)),
    "nanprod of roots": Row(lambda np, x: np.nanprod(np.sqrt(x)), lambda np, x: np.sqrt(x[1]), A(-1, 4)),
    # where
    "where, nested": Row(lambda np, x: np.sum(np.where(x > 0, np.where(x > 1, np.sqrt(x - 1), np.log(x)), x)), lambda np, x: x[0] + np.log(x[1]) + np.sqrt(x[2] - 1), A(-1, 0.5, 4)),
    "where, cumsum, mod": Row(lambda np, x: np.sum(np.where(numpy.array([True, False]), np.cumsum(np.mod(3.0, x)), 0.0)), lambda np, x: 3 - x[0], A(2, 0)),
    "where, cumsum, fmod": Row(lambda np, x: np.sum(np.where(numpy.array([True, False]), np.cumsum(np.fmod(3.0, x)), 0.0)), lambda np, x: 3 - x[0], A(2, 0)),
    "where, flip, fmod": Row(lambda np, x: np.sum(np.where(x[::-1] > 1, np.fmod(5.0, x)[::-1], 0.0)), lambda np, x: 5 - 2 * x[0], A(2, 0)),
    "where, mod, take": Row(lambda np, x: np.sum(np.take(np.mod(5.0, x), [0, 0])), lambda np, x: 2 * (5 - 2 * x[0]), A(2, 0)),
    "where, reshape, root": Row(lambda np, x: np.sum(np.sqrt(np.reshape(np.where(x > 0, x, 0), (2, 2)))), lambda np, x: np.sqrt(x[1]) + np.sqrt(x[3]), A(-1, 4, -2, 9)),
    "where, gather, root": Row(lambda np, x: np.sum(np.sqrt(np.where(x > 0, x, 0)[numpy.array([1, 1, 0])])), lambda np, x: 2 * np.sqrt(x[1]), A(-1, 4)),
    "where, sum, overflow": Row(lambda np, x: np.sum(np.where(x < 100, x, np.exp(x * x))), lambda np, x: x[0] + x[1], A(50, 40)),
    "two wheres, overflow": Row(lambda np, x: np.sum(np.where(x < 100, x, np.exp(x * x)) + np.where(x < 90, x, np.exp(x * x))), lambda np, x: 2 * (x[0] + x[1]), A(50, 40)),
    "where of scalars, broadcast, overflow": Row(lambda np, x: np.where(x[1] < 100, x[0], np.sum(np.exp(x[1] * numpy.ones(3) * x[1]))), lambda np, x: x[0], A(2, 40)),
    "where of scalars, product, overflow": Row(lambda np, x: np.where(x[1] < 100, x[0], np.sum(M @ np.exp(x * x))), lambda np, x: x[0], A(2, 40, 50)),
    "select, roots": Row(lambda np, x: np.sum(np.select([x < 0, x > 1], [np.sqrt(-x), np.sqrt(x - 1)], x)), lambda np, x: np.sqrt(-x[0]) + x[1] + np.sqrt(x[2] - 1), A(-4, 0.5, 5)),
    "1/x in where in a matrix product": Row(lambda np, x: np.sum((M @ np.where(x != 0, 1 / x, 0)) ** 2), lambda np, x: (2 / x[1]) ** 2 + (4 / x[1]) ** 2 + (5 / x[1] + 9 / x[2]) ** 2, A(0, 4, 2)),
    "log of a row of zeros, masked": Row(lambda np, x: np.sum(np.where(numpy.array([[True], [False]]), np.log(np.stack([x, x * 0])), 0)), lambda np, x: np.log(x[0]) + np.log(x[1]), A(1, 2)),
    "entropy": Row(lambda np, x: -np.sum(np.where(x > 0, x * np.log(x), 0)), lambda np, x: -(x[1] * np.log(x[1])), A(0, 0.5)),
    # elements that nobody reads
    "take": Row(lambda np, x: np.sum(np.take(np.sqrt(x), numpy.array([1, 1]))), lambda np, x: 2 * np.sqrt(x[1]), A(0, 4)),
    "boolean mask": Row(lambda np, x: np.sum(np.sqrt(x)[MASK]), lambda np, x: np.sqrt(x[1]) + np.sqrt(x[2]), A(0, 4, 9)),
    "boolean mask, logs": Row(lambda np, x: np.sum(np.log(x)[MASK] ** 2), lambda np, x: np.log(x[1]) ** 2 + np.log(x[2]) ** 2, A(-1, 4, 9)),
    "fancy rows": Row(lambda np, x: np.sum(np.sqrt(x.reshape(3, 3))[[0, 2]]), lambda np, x: np.sum(np.sqrt(x[:3])) + np.sum(np.sqrt(x[6:])), A(1, 2, 3, 0, 0, -1, 4, 5, 6)),
    "delete": Row(lambda np, x: np.sum(np.delete(np.sqrt(x), 0)), lambda np, x: np.sqrt(x[1]) + np.sqrt(x[2]), A(0, 4, 9)),
    "one element": Row(lambda np, x: np.sqrt(x)[1], lambda np, x: np.sqrt(x[1]), A(0, 4)),
    "last element": Row(lambda np, x: np.log(x)[-1] * 3, lambda np, x: 3 * np.log(x[-1]), A(0, -1, 4)),
    "slice": Row(lambda np, x: np.sum(np.sqrt(x)[1:]), lambda np, x: np.sqrt(x[1]) + np.sqrt(x[2]), A(0, 4, 9)),
    "slice with a step": Row(lambda np, x: np.sum((1 / x)[1::2]), lambda np, x: 1 / x[1] + 1 / x[3], A(0, 4, 0, 5)),
    "slice backwards": Row(lambda np, x: np.sum(np.sqrt(x)[:0:-1] * numpy.array([1.0, 2.0])), lambda np, x: np.sqrt(x[2]) + 2 * np.sqrt(x[1]), A(0, 4, 9)),
    "two slices": Row(lambda np, x: np.sum(np.sqrt(x)[1:3] * np.sqrt(x)[2:4]), lambda np, x: np.sqrt(x[1] * x[2]) + np.sqrt(x[2] * x[3]), A(0, 4, 9, 16, 0)),
    "slice, squared": Row(lambda np, x: np.sum(np.sqrt(x)[1:] ** 2), lambda np, x: x[1] + x[2], A(0, 4, 9)),
    "slice, chain": Row(lambda np, x: np.sum((np.log(np.sqrt(x)) * np.exp(x))[1:]), lambda np, x: np.log(np.sqrt(x[1])) * np.exp(x[1]), A(0, 2)),
    "slice of overflow": Row(lambda np, x: np.sum(np.exp(x)[1:]), lambda np, x: np.exp(x[1]), A(1000, 2)),
    "slice of NaN data": Row(lambda np, x: np.sum(((x - DATA) ** 2)[1:]), lambda np, x: (x[1] - 2) ** 2 + (x[2] - 3) ** 2, A(1, 4, 5)),
    "mask of NaN data": Row(lambda np, x: np.sum((x * DATA)[MASK] ** 2), lambda np, x: (x[1] * 2) ** 2 + (x[2] * 3) ** 2, A(1, 4, 5)),
    "column": Row(lambda np, x: np.sum(np.sqrt(x.reshape(2, 2))[:, 1] ** 3), lambda np, x: x[1] ** 1.5 + x[3] ** 1.5, A(0, 4, 0, 9)),
    "block": Row(lambda np, x: np.sum(np.sqrt(x.reshape(3, 3))[1:, :2] ** 3), lambda np, x: x[3] ** 1.5 + x[4] ** 1.5 + x[6] ** 1.5 + x[7] ** 1.5, A(0, 0, 0, 4, 5, 0, 6, 7, 0)),
    "interior of a grid": Row(lambda np, x: np.sum((lambda u: u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2])(np.sqrt(x.reshape(3, 3))) ** 2), lambda np, x: (np.sqrt(x[1]) + np.sqrt(x[3]) + np.sqrt(x[5]) + np.sqrt(x[7])) ** 2, A(0, 1, 0, 2, 0, 3, 0, 4, 0)),
    "differences": Row(lambda np, x: np.sum(np.diff(np.sqrt(x))[1:] ** 2), lambda np, x: (np.sqrt(x[2]) - np.sqrt(x[1])) ** 2, A(0, 4, 9)),
    "diagonal": Row(lambda np, x: np.sum(np.diagonal(np.sqrt(x.reshape(2, 2))) ** 3), lambda np, x: x[0] ** 1.5 + x[3] ** 1.5, A(4, 0, 0, 9)),
    "diag": Row(lambda np, x: np.sum(np.diag(np.log(x.reshape(2, 2)))), lambda np, x: np.log(x[0]) + np.log(x[3]), A(4, 0, -1, 9)),
    "trace": Row(lambda np, x: np.trace(np.sqrt(x.reshape(2, 2))), lambda np, x: np.sqrt(x[0]) + np.sqrt(x[3]), A(4, 0, 0, 9)),
    "trace with offset": Row(lambda np, x: np.trace(np.sqrt(x.reshape(2, 2)), offset=1), lambda np, x: np.sqrt(x[1]), A(0, 4, 0, 0)),
    "einsum ii": Row(lambda np, x: np.einsum("ii", np.sqrt(x.reshape(2, 2))) ** 2, lambda np, x: (np.sqrt(x[0]) + np.sqrt(x[3])) ** 2, A(4, 0, 0, 9)),
    "einsum ii,i": Row(lambda np, x: np.einsum("ii,i->", np.sqrt(x.reshape(2, 2)), x[:2] + 1), lambda np, x: np.sqrt(x[0]) * (x[0] + 1) + np.sqrt(x[3]) * (x[1] + 1), A(4, 0, 0, 9)),
    "triu": Row(lambda np, x: np.sum(np.triu(np.sqrt(x.reshape(2, 2)))), lambda np, x: np.sqrt(x[0]) + np.sqrt(x[1]) + np.sqrt(x[3]), A(4, 1, 0, 9)),
    "tril, log": Row(lambda np, x: np.sum(np.tril(np.log(x.reshape(2, 2)))), lambda np, x: np.log(x[0]) + np.log(x[2]) + np.log(x[3]), A(4, 0, 1, 9)),
    "tril indices": Row(lambda np, x: np.sum(np.log(x.reshape(2, 2))[numpy.tril_indices(2)]), lambda np, x: np.log(x[0]) + np.log(x[2]) + np.log(x[3]), A(4, 0, 1, 9)),
    "off the diagonal": Row(lambda np, x: np.sum(np.sqrt((x[:, None] - x) ** 2)[numpy.triu_indices(3, 1)]), lambda np, x: np.sqrt((x[0] - x[1]) ** 2) + np.sqrt((x[0] - x[2]) ** 2) + np.sqrt((x[1] - x[2]) ** 2), A(1, 4, 9)),
    "set part": Row(lambda np, x: set_part(np, x), lambda np, x: np.sqrt(x[0]) + np.sqrt(x[1]), A(4, 9, 0)),
    "take_along_axis": Row(lambda np, x: np.sum(np.take_along_axis(np.sqrt(x.reshape(2, 2)), numpy.array([[1], [1]]), 1)), lambda np, x: np.sqrt(x[1]) + np.sqrt(x[3]), A(0, 4, 0, 9)),
    "split": Row(lambda np, x: np.sum(np.split(np.sqrt(x), 2)[1]), lambda np, x: np.sqrt(x[2]) + np.sqrt(x[3]), A(0, 0, 4, 9)),
    "unpacked": Row(lambda np, x: np.sqrt(x)[0] + np.sqrt(x)[2], lambda np, x: np.sqrt(x[0]) + np.sqrt(x[2]), A(1, 0, 9)),
    "roll, slice": Row(lambda np, x: np.sum(np.roll(np.sqrt(x), 1)[1:]), lambda np, x: np.sqrt(x[0]) + np.sqrt(x[1]), A(4, 9, 0)),
    "cumsum, slice": Row(lambda np, x: np.cumsum(np.sqrt(x))[1] ** 2, lambda np, x: (np.sqrt(x[0]) + np.sqrt(x[1])) ** 2, A(4, 9, 0)),
    "cumprod, slice": Row(lambda np, x: np.cumprod(np.sqrt(x))[1], lambda np, x: np.sqrt(x[0] * x[1]), A(4, 9, 0), 1),
    "rows of a product": Row(lambda np, x: (M @ np.sqrt(x))[1:] @ numpy.ones(2) - 0 * np.sqrt(x)[0], lambda np, x: 3 * np.sqrt(x[0]) + 9 * np.sqrt(x[1]) + 9 * np.sqrt(x[2]), A(1, 4, 9), 0),
    "product of part": Row(lambda np, x: np.sum(M[:, :2] @ np.sqrt(x)[:2]), lambda np, x: 3 * np.sqrt(x[0]) + 11 * np.sqrt(x[1]), A(1, 4, 0)),
    "sorted maximum": Row(lambda np, x: np.max(np.sqrt(x)), lambda np, x: np.sqrt(x[1]), A(0, 4)),
    "maximum of a part": Row(lambda np, x: np.max(np.sqrt(x)[1:]) ** 3, lambda np, x: x[2] ** 1.5, A(0, 4, 9)),
    "max of running sums": Row(lambda np, x: np.max(np.cumsum(np.log(x))[:2]), lambda np, x: np.log(x[0]) + np.log(x[1]), A(2, 3, 0)),
    "max of taken": Row(lambda np, x: np.max(np.log(x)[numpy.array([2, 1, 0])]), lambda np, x: np.log(x[2]), A(0, 3, 4)),
    "√max": Row(lambda np, x: np.sqrt(np.max(x)), lambda np, x: np.sqrt(x[1]), A(-1, 4)),
    "√(max - min) of part": Row(lambda np, x: np.sqrt(np.maximum(np.max(x[1:]) - np.min(x), 0)), lambda np, x: np.sqrt(x[2] - x[0]), A(-1, 4, 9)),
    "max along rows": Row(lambda np, x: np.sum(np.max(np.sqrt(x.reshape(2, 2)), axis=1)), lambda np, x: np.sqrt(x[1]) + np.sqrt(x[2]), A(0, 4, 9, 0)),
    "maximum of a sum of parts": Row(lambda np, x: np.max(M[:, :2] @ np.sqrt(x)[:2]), lambda np, x: 5 * np.sqrt(x[1]), A(0.5, 400, 0)),
    # elements that do not vary
    "pad, root": Row(lambda np, x: np.sum(np.sqrt(np.pad(x, 1))), lambda np, x: np.sqrt(x[0]) + np.sqrt(x[1]), A(4, 9)),
    "concatenate, root": Row(lambda np, x: np.sum(np.sqrt(np.concatenate([x, numpy.zeros(2)]))), lambda np, x: np.sqrt(x[0]) + np.sqrt(x[1]), A(4, 9)),
    "stack, root": Row(lambda np, x: np.sum(np.sqrt(np.stack([x, numpy.zeros(2)]))), lambda np, x: np.sqrt(x[0]) + np.sqrt(x[1]), A(4, 9)),
    "concatenate, running sum, root": Row(lambda np, x: np.sum(np.sqrt(np.cumsum(np.concatenate([numpy.zeros(1), x])))), lambda np, x: np.sqrt(x[0]) + np.sqrt(x[0] + x[1]), A(4, 9)),
    "pad, windows, log": Row(lambda np, x: np.sum(np.log(1 - np.pad(x, 1)[::2] + np.pad(x, 1)[1::2])), lambda np, x: np.log(1 + x[0]) + np.log(1 - x[1]), A(4, 0.5)),
    "tril, root": Row(lambda np, x: np.sum(np.sqrt(np.tril(x.reshape(2, 2)))), lambda np, x: np.sqrt(x[0]) + np.sqrt(x[2]) + np.sqrt(x[3]), A(4, 7, 1, 9)),
    "diag of a vector, root": Row(lambda np, x: np.sum(np.sqrt(np.diag(x))), lambda np, x: np.sqrt(x[0]) + np.sqrt(x[1]), A(4, 9)),
    "outer with a mask, root": Row(lambda np, x: np.sum(np.sqrt(x[:, None] * MASK)), lambda np, x: 2 * (np.sqrt(x[0]) + np.sqrt(x[1])), A(4, 9)),
    "kron with eye, root": Row(lambda np, x: np.sum(np.sqrt(np.eye(2) * x[:, None])), lambda np, x: np.sqrt(x[0]) + np.sqrt(x[1]), A(4, 9)),
    # zero distances
    "Matérn": Row(matern, matern_safe, numpy.array(0.7)),
    "Matérn, clipped": Row(matern_clipped, matern_safe, numpy.array(0.7)),
    "Matérn, expanded": Row(matern_expanded, matern_safe, numpy.array(0.7)),
    "Matérn, log length": Row(matern_log, matern_log_safe, numpy.array(0.3)),
    "√Σ (x - y)²/ℓ²": Row(lambda np, x: np.sqrt(np.sum((x[:2] - numpy.array([1.0, 2.0])) ** 2 / x[2] ** 2)), lambda np, x: 0 * x[2], A(1, 2, 3), 1),
    "√(x² + y²), weighted": Row(lambda np, x: np.sqrt(2 * x[0] ** 2 + 3 * x[1] ** 2) + x[1], lambda np, x: x[1], A(0, 0), 1),
    "√max(x² + y², 0)": Row(lambda np, x: np.sqrt(np.maximum(x[0] ** 2 + x[1] ** 2, 0)) + x[1], lambda np, x: x[1], A(0, 0), 1),
    "√(x @ x)": Row(lambda np, x: np.sqrt(x @ x) + x[1], lambda np, x: x[1], A(0, 0), 1),
    "weighted norm": Row(lambda np, x: np.sqrt(np.sum(x**2 * numpy.array([1.0, 4.0]))) + x[1], lambda np, x: x[1], A(0, 0), 1),
    "(Σ x²)**0.25": Row(lambda np, x: np.sum(x**2) ** 0.25 + x[1], lambda np, x: x[1], A(0, 0), 1),
    "distances of points, all pairs": Row(lambda np, x: np.sum(np.sqrt(np.sum((x.reshape(3, 2)[:, None] - x.reshape(3, 2)) ** 2, -1))), lambda np, x: 2 * (np.sqrt(np.sum((x[:2] - x[2:4]) ** 2)) + np.sqrt(np.sum((x[:2] - x[4:]) ** 2)) + np.sqrt(np.sum((x[2:4] - x[4:]) ** 2))), A(0, 1, 0.5, -0.5, 2, 0.3)),
    "distances of points, clipped": Row(lambda np, x: np.sum(np.sqrt(np.maximum(np.sum((x.reshape(3, 2)[:, None] - x.reshape(3, 2)) ** 2, -1), 0))), lambda np, x: 2 * (np.sqrt(np.sum((x[:2] - x[2:4]) ** 2)) + np.sqrt(np.sum((x[:2] - x[4:]) ** 2)) + np.sqrt(np.sum((x[2:4] - x[4:]) ** 2))), A(0, 1, 0.5, -0.5, 2, 0.3)),
    "distances with lengths": Row(lambda np, x: np.sum(np.sqrt(np.sum((POINTS[:, None] - POINTS) ** 2 / x**2, -1))), lambda np, x: 2 * (np.sqrt(np.sum((POINTS[0] - POINTS[1]) ** 2 / x**2)) + np.sqrt(np.sum((POINTS[0] - POINTS[2]) ** 2 / x**2)) + np.sqrt(np.sum((POINTS[1] - POINTS[2]) ** 2 / x**2))), A(0.7, 1.3)),
    "norm of an inactive difference": Row(lambda np, x: np.linalg.norm(np.maximum(x - 5, 0)) ** 0.5 + x[0], lambda np, x: x[0], A(1, 2)),
    "√std": Row(lambda np, x: np.sqrt(np.std(np.maximum(x - 5, 0))) + x[0], lambda np, x: x[0], A(1, 2)),
}
# fmt: on
