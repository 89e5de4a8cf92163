"""Points where a function is smooth and its formula is not: ties, guards, removable singularities.

Each case is a function as a user writes it, the same function in a form that is smooth at the
points, and the points. The second is applied to `taylor.Taylor` numbers, so the right derivatives
of every order come from 50-digit arithmetic and share nothing with symgrad.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.special as ss

import symgrad as sg
from support import taylor as t
from support.taylor import MP, Taylor
from symgrad.derivatives.inner import ready
from symgrad.diff import modes
from symgrad.diff.limits import pushed, with_limits
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import Expr, const

PI = math.pi


class Case(NamedTuple):
    """f: for symgrad; exact: for Taylor numbers; points: one tuple of arguments each.

    orders: up to which order the function has derivatives at the points, or they are wanted.
    """

    f: Callable[..., Any]
    exact: Callable[..., Any]
    points: Sequence[Any]
    orders: int = 4


def series(coefficient: Callable[[int], Any], terms: int = 60) -> Callable[[Any], Any]:
    """The function with that power series, which converges everywhere."""

    def f(x: Any) -> Any:
        total: Any = MP.zero
        for k in reversed(range(terms)):
            total = x * total + coefficient(k)
        return total

    return f


def alternating(offset: int) -> Callable[[Any], Any]:
    """Σ (-x²)ᵏ / (2k + offset)!, the entire functions next to cos (0) and sin(x)/x (1)."""
    f = series(lambda k: (-1) ** k / MP.factorial(2 * k + offset))
    return lambda x: f(x * x)


sinc = alternating(1)


def cosine_root(v: Any) -> Any:
    """cos √v, by its power series."""
    return series(lambda k: (-1) ** k / MP.factorial(2 * k))(v)


def sine_root(v: Any) -> Any:
    """sin √v / √v, by its power series."""
    return series(lambda k: (-1) ** k / MP.factorial(2 * k + 1))(v)


def cat(*values: Any) -> Any:
    return np.stack(values)


def norm(*values: Any) -> Any:
    return np.linalg.norm(np.stack(values), axis=0)


def mixture(m1: Any, m2: Any) -> Any:
    """Minus the log-likelihood of one point of a mixture of two normal densities."""
    return -np.logaddexp(-0.5 * (0.3 - m1) ** 2, -0.5 * (0.3 - m2) ** 2)


def mixture_exact(m1: Any, m2: Any) -> Any:
    c = MP.mpf(0.3)
    half = MP.mpf(1) / 2
    return -t.log(t.exp(-((c - m1) ** 2) * half) + t.exp(-((c - m2) ** 2) * half))


def softplus(z: Any) -> Any:
    return t.log(1 + t.exp(z))


def lse(*values: Any) -> Any:
    return t.log(sum((t.exp(v) for v in values[1:]), t.exp(values[0])))


TIES = [0.0, 1e-12, -1e-12, 1e-8, 1e-5, -1e-5, 1e-3, 0.1, -0.7, 1.0, -3.0, 12.0]
PAIRS = [(0.0, 0.0), (1.0, 1.0), (-3.5, -3.5), (40.0, 40.0), (1e-9, 0.0), (0.4, 0.4 + 1e-9),
         (2.0, -1.0), (-30.0, 5.0), (0.0, -0.0)]  # fmt: skip
PLANE = [(0.0, 0.0), (1e-9, 0.0), (0.0, -1e-9), (0.3, 0.0), (0.0, -2.0), (1.0, 1.0), (-3.0, 4.0)]
APART = [(0.0, 0.0), *PLANE[3:]]  # next to 0 such a quotient cancels
POSITIVE = [(0.0, 2.0), (0.0, 1.0), (0.0, 0.3), (1.0, 1.0), (0.5, 2.0), (3.0, 1e-3), (1e-9, 2.0)]
BASES = [(1.0, 1.0), (2.0, 1.0), (0.5, 1.0), (1.0, 0.0), (2.0, 0.0), (3.0, 2.0), (1.0, 2.0),
         (0.7, -1.0), (2.0, 3.0), (1e-3, 1.0)]  # fmt: skip


def q(x: Any, y: Any) -> Any:
    return x * x + y * y


# ruff: noqa: E501 (one case a line)
# fmt: off
SMOOTH: dict[str, Case] = {
    # ties
    "logaddexp(x, y)": Case(np.logaddexp, lse, PAIRS),
    "logaddexp(x, -x)": Case(lambda x: np.logaddexp(x, -x), lambda x: lse(x, -x), TIES),
    "logaddexp(x, 0)": Case(lambda x: np.logaddexp(x, 0), softplus, TIES),
    "logaddexp(x, x)": Case(lambda x: np.logaddexp(x, x), lambda x: x + MP.log(2), TIES),
    "logaddexp(2x, x²)": Case(lambda x: np.logaddexp(2 * x, x * x), lambda x: lse(x * 2, x * x), [0.0, 2.0, 1.0, -1.0]),
    "logaddexp2(x, y)": Case(np.logaddexp2, lambda x, y: lse(x * MP.log(2), y * MP.log(2)) / MP.log(2), PAIRS),
    "log(eˣ + e⁻ˣ)": Case(lambda x: np.log(np.exp(x) + np.exp(-x)), lambda x: lse(x, -x), TIES),
    "log(eˣ + eʸ)": Case(lambda x, y: np.log(np.exp(x) + np.exp(y)), lse, PAIRS),
    "log(eˣ + eʸ + 1)": Case(lambda x, y: np.log(np.exp(x) + np.exp(y) + 1), lambda x, y: lse(x, y, x * 0), PAIRS),
    "logsumexp(x, y, 0)": Case(lambda x, y: sg.logsumexp(cat(x, y, 0 * x), axis=0), lambda x, y: lse(x, y, x * 0), PAIRS),
    "logsumexp by hand": Case(lambda x, y: (lambda z: (lambda m: m + np.log(np.sum(np.exp(z - m), 0)))(np.max(z, 0)))(cat(x, y)), lse, PAIRS),
    "logaddexp by hand": Case(lambda x, y: np.maximum(x, y) + np.log1p(np.exp(-np.abs(x - y))), lse, PAIRS),
    "logaddexp by hand, y - x": Case(lambda x, y: np.log1p(np.exp(-np.abs(y - x))) + np.maximum(x, y), lse, PAIRS),
    "-log(e⁻ˣ + e⁻ʸ) by hand": Case(lambda x, y: np.minimum(x, y) - np.log1p(np.exp(-np.abs(x - y))), lambda x, y: -lse(-x, -y), PAIRS),
    "softmax": Case(lambda x, y: sg.softmax(cat(x, y), 0)[0], lambda x, y: 1 / (1 + t.exp(y - x)), PAIRS),
    "log softmax": Case(lambda x, y: sg.log_softmax(cat(x, y), 0)[0], lambda x, y: -softplus(y - x), PAIRS),
    "softmax by hand": Case(lambda x, y: (lambda e: e[0] / np.sum(e, 0))(np.exp(cat(x, y) - np.max(cat(x, y), 0))), lambda x, y: 1 / (1 + t.exp(y - x)), PAIRS),
    "mixture": Case(mixture, mixture_exact, [(0.5, 0.5), (0.0, 0.0), (0.3, 0.3), (-2.0, -2.0), (1.0, -0.4), (0.1, 0.5)]),
    "mixture by hand": Case(lambda a, b: -np.log(0.5 * np.exp(-0.5 * (0.3 - a) ** 2) + 0.5 * np.exp(-0.5 * (0.3 - b) ** 2)), lambda a, b: mixture_exact(a, b) + MP.log(2), [(0.5, 0.5), (0.0, 0.0), (1.0, -0.4)]),
    # softplus and logistic losses
    "softplus by hand": Case(lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))), softplus, TIES),
    "softplus by hand, log": Case(lambda z: np.maximum(0, z) + np.log(1 + np.exp(-np.abs(z))), softplus, TIES),
    "softplus by where": Case(lambda z: np.where(z > 0, z, 0) + np.log1p(np.exp(-np.abs(z))), softplus, TIES),
    "softplus by a mask": Case(lambda z: z * (z > 0) + np.log1p(np.exp(-np.abs(z))), softplus, TIES),
    "softplus by clip": Case(lambda z: np.clip(z, 0, None) + np.log1p(np.exp(-np.abs(z))), softplus, TIES),
    "softplus in branches": Case(lambda z: np.where(z > 0, z + np.log1p(np.exp(-z)), np.log1p(np.exp(z))), softplus, TIES),
    "softplus of -z": Case(lambda z: np.maximum(-z, 0) + np.log1p(np.exp(-np.abs(z))), lambda z: softplus(-z), TIES),
    "softplus of 2z": Case(lambda z: np.maximum(2 * z, 0) + np.log1p(np.exp(-np.abs(2 * z))), lambda z: softplus(z * 2), TIES),
    "log sigmoid by hand": Case(lambda z: np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z))), lambda z: -softplus(-z), TIES),
    "logits loss": Case(lambda z, y: np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z))), lambda z, y: softplus(z) - z * y, PLANE),
    "logits loss, tail first": Case(lambda z, y: np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - y * z, lambda z, y: softplus(z) - z * y, PLANE),
    "logits loss, 1 - y": Case(lambda z, y: (1 - y) * z + np.maximum(-z, 0) + np.log1p(np.exp(-np.abs(z))), lambda z, y: (1 - y) * z + softplus(-z), PLANE),
    "logits loss, weighted": Case(lambda z, y: (1 - y) * z + (1 + 2 * y) * (np.log1p(np.exp(-np.abs(z))) + np.maximum(-z, 0)), lambda z, y: (1 - y) * z + (1 + 2 * y) * softplus(-z), PLANE),
    "sigmoid by hand": Case(lambda z: np.where(z >= 0, 1 / (1 + np.exp(-z)), np.exp(z) / (1 + np.exp(z))), t.expit, TIES),
    "sigmoid of |z|": Case(lambda z: np.where(z >= 0, 1, np.exp(-np.abs(z))) / (1 + np.exp(-np.abs(z))), t.expit, TIES),
    "sigmoid in branches": Case(lambda z: (lambda e: np.where(z >= 0, 1 / (1 + e), e / (1 + e)))(np.exp(-np.abs(z))), t.expit, TIES),
    "sigmoid in branches, >": Case(lambda z: (lambda e: np.where(z > 0, 1 / (1 + e), e / (1 + e)))(np.exp(-np.abs(z))), t.expit, TIES),
    "elu": Case(lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1), lambda x: x, [0.0, 1.0], 1),
    "elu, swapped": Case(lambda x: np.where(x <= 0, np.expm1(np.minimum(x, 0.0)), x), lambda x: x, [0.0, 1.0], 1),
    "softsign": Case(lambda x: x / (1 + np.abs(x)), lambda x: x, [0.0], 1),
    "signed log": Case(lambda x: np.sign(x) * np.log1p(np.abs(x)), lambda x: x, [0.0], 1),
    "signed exp": Case(lambda x: np.sign(x) * np.expm1(np.abs(x)), lambda x: x, [0.0], 1),
    "x |x|": Case(lambda x: x * np.abs(x), lambda x: x * 0, [0.0], 1),
    "cos of a norm": Case(lambda x, y: np.cos(norm(x, y)), lambda x, y: cosine_root(q(x, y)), APART),
    "cosh of a norm": Case(lambda x, y: np.cosh(norm(x, y)), lambda x, y: cosine_root(-q(x, y)), APART),
    "sinc of a norm": Case(lambda x, y: np.sinc(norm(x, y) / np.pi), lambda x, y: sine_root(q(x, y)), APART),
    "Matérn 5/2": Case(lambda x, y: (lambda r: (1 + r + r * r / 3) * np.exp(-r))(norm(x, y)), lambda x, y: 1 - q(x, y) / 6 + q(x, y) ** 2 / 24, [(0.0, 0.0)], 4),
    "Matérn 3/2": Case(lambda x, y: (lambda r: (1 + r) * np.exp(-r))(norm(x, y)), lambda x, y: 1 - q(x, y) / 2, [(0.0, 0.0)], 2),
    "|x|**p": Case(lambda x, p: np.abs(x) ** p, lambda x, p: x * x, [(0.0, 2.0)], 1),
    "log cosh": Case(lambda x: np.log(np.cosh(x)), lambda x: lse(x, -x) - MP.log(2), TIES),
    "log cosh by hand": Case(lambda x: np.abs(x) + np.log1p(np.exp(-2 * np.abs(x))) - np.log(2.0), lambda x: lse(x, -x) - MP.log(2), TIES),
    "log cosh by softplus": Case(lambda x: x + np.logaddexp(0, -2 * x) - np.log(2.0), lambda x: lse(x, -x) - MP.log(2), TIES),
    "expit": Case(ss.expit, t.expit, TIES),
    "log_expit": Case(ss.log_expit, lambda z: -softplus(-z), TIES),
    "logit of expit": Case(lambda z: ss.logit(ss.expit(z)), lambda z: z, [0.0, 0.5, -1.0]),
    # even functions of a root
    "norm²": Case(lambda x, y: norm(x, y) ** 2, q, PLANE),
    "norm * norm": Case(lambda x, y: norm(x, y) * norm(x, y), q, PLANE),
    "norm⁴": Case(lambda x, y: norm(x, y) ** 4, lambda x, y: q(x, y) ** 2, PLANE),
    "norm⁶": Case(lambda x, y: norm(x, y) ** 6.0, lambda x, y: q(x, y) ** 3, PLANE),
    "x norm²": Case(lambda x, y: x * norm(x, y) ** 2, lambda x, y: x * q(x, y), PLANE),
    "norm x norm": Case(lambda x, y: norm(x, y) * x * norm(x, y), lambda x, y: x * q(x, y), PLANE),
    "(3 norm)²": Case(lambda x, y: (3 * norm(x, y)) ** 2, lambda x, y: 9 * q(x, y), PLANE),
    "(norm/3)²": Case(lambda x, y: (norm(x, y) / 3) ** 2, lambda x, y: q(x, y) / 9, PLANE),
    "(y norm)²": Case(lambda x, y: (y * norm(x, y)) ** 2, lambda x, y: y * y * q(x, y), PLANE),
    "(norm/(1 + x²))²": Case(lambda x, y: (norm(x, y) / (1 + x * x)) ** 2, lambda x, y: q(x, y) / (1 + x * x) ** 2, PLANE),
    "exp(-norm²)": Case(lambda x, y: np.exp(-norm(x, y) ** 2), lambda x, y: t.exp(-q(x, y)), PLANE),
    "√(1 + norm²)": Case(lambda x, y: np.sqrt(1 + norm(x, y) ** 2), lambda x, y: t.sqrt(1 + q(x, y)), PLANE),
    "log(1 + norm²)": Case(lambda x, y: np.log(1 + norm(x, y) ** 2), lambda x, y: t.log(1 + q(x, y)), PLANE),
    "norm of two rows, dotted": Case(lambda x, y: np.sum(norm(cat(x, y), cat(y, 2 * x)) ** 2, 0), lambda x, y: q(x, y) + q(y, 2 * x), PLANE),
    "√(Σx²)²": Case(lambda x, y: np.sqrt(np.sum(cat(x, y) ** 2, 0)) ** 2, q, PLANE),
    "√(x² + y²)²": Case(lambda x, y: np.sqrt(x**2 + y**2) ** 2, q, PLANE),
    "hypot²": Case(lambda x, y: np.hypot(x, y) ** 2, q, PLANE),
    "hypot⁴": Case(lambda x, y: np.hypot(x, y) ** 4, lambda x, y: q(x, y) ** 2, PLANE),
    "exp(-hypot²/2)": Case(lambda x, y: np.exp(-np.hypot(x, y) ** 2 / 2), lambda x, y: t.exp(-q(x, y) / 2), PLANE),
    "√(x² + y² + 1)": Case(lambda x, y: np.sqrt(x**2 + y**2 + 1), lambda x, y: t.sqrt(1 + q(x, y)), PLANE),
    "hypot(x, 1)": Case(lambda x: np.hypot(x, 1.0), lambda x: t.sqrt(1 + x * x), TIES),
    "std²": Case(lambda x, y: np.std(cat(x, y), axis=0) ** 2, lambda x, y: (x - y) ** 2 / 4, PAIRS),
    "std², ddof 1": Case(lambda x, y: np.std(cat(x, y, 0 * x), axis=0, ddof=1) ** 2, lambda x, y: (q(x, y) - (x + y) ** 2 / 3) / 2, PAIRS),
    "var": Case(lambda x, y: np.var(cat(x, y), axis=0), lambda x, y: (x - y) ** 2 / 4, PAIRS),
    "|x|²": Case(lambda x: np.abs(x) ** 2, lambda x: x * x, TIES),
    "|x|⁴": Case(lambda x: np.abs(x) ** 4, lambda x: x**4, TIES),
    "|x| |x|": Case(lambda x: np.abs(x) * np.abs(x), lambda x: x * x, TIES),
    "|x| eˣ |x|": Case(lambda x: np.abs(x) * np.exp(x) * np.abs(x), lambda x: x * x * t.exp(x), TIES),
    "cos |x|": Case(lambda x: np.cos(np.abs(x)), t.cos, TIES),
    "cosh |x|": Case(lambda x: np.cosh(np.abs(x)), t.cosh, TIES),
    "norm, ord 4": Case(lambda x: np.linalg.norm(cat(x, 1 + 0 * x), 4, axis=0), lambda x: t.power(1 + x**4, MP.mpf(1) / 4), TIES),
    "norm, ord 3": Case(lambda x: np.linalg.norm(cat(x, 1 + 0 * x), 3, axis=0), lambda x: x * 0 + 1, [0.0], 2),
    "(x²)^1.5": Case(lambda x: (x**2) ** 1.5, lambda x: x * 0, [0.0], 2),
    "(x² + y²)^1.5": Case(lambda x, y: (x**2 + y**2) ** 1.5, lambda x, y: x * 0, [(0.0, 0.0)], 2),
    "norm³": Case(lambda x, y: norm(x, y) ** 3, lambda x, y: x * 0, [(0.0, 0.0)], 2),
    "norm⁵": Case(lambda x, y: norm(x, y) ** 5, lambda x, y: x * 0, [(0.0, 0.0)], 4),
    "√(x⁴)": Case(lambda x: np.sqrt(x**4), lambda x: x * x, TIES),
    "sign(x) |x|": Case(lambda x: np.sign(x) * np.abs(x), lambda x: x, TIES),
    "sign(x) tanh |x|": Case(lambda x: np.sign(x) * np.tanh(np.abs(x)), t.tanh, TIES),
    "sign(x) |x|²": Case(lambda x: np.sign(x) * np.abs(x) ** 2, lambda x: x * 0, [0.0], 1),
    # guards
    "sinc": Case(np.sinc, lambda x: sinc(x * MP.mpf(PI)), [0.0, 5e-324, 1e-300, 1e-12, 1e-9, -1e-8, 1e-6, 1e-5, -1e-4, 1e-3, 0.01, 0.1, 0.3, -0.5, 1.0, 1.43, 2.0, -3.7]),
    "sinc of x²": Case(lambda x: np.sinc(x * x), lambda x: sinc(x * x * MP.mpf(PI)), TIES[:10]),
    "where(x = 0, 1, sin x/x)": Case(lambda x: np.where(x == 0, 1, np.sin(x) / x), sinc, TIES),
    "where(x ≠ 0, sin x/x, 1)": Case(lambda x: np.where(x != 0, np.sin(x) / x, 1), sinc, TIES),
    "sin x/x, safe": Case(lambda x: (lambda s: np.where(x == 0, 1.0, np.sin(s) / s))(np.where(x == 0, 1.0, x)), sinc, TIES),
    "xlogy(x, y)": Case(ss.xlogy, lambda x, y: x * t.log(y), POSITIVE),
    "xlogy(x, x + 1)": Case(lambda x: ss.xlogy(x, x + 1), lambda x: x * t.log1p(x), TIES[:10]),
    "xlogy(x², y)": Case(lambda x, y: ss.xlogy(x**2, y), lambda x, y: x * x * t.log(y), POSITIVE),
    "xlog1py(x, y)": Case(ss.xlog1py, lambda x, y: x * t.log1p(y), [(0.0, 2.0), (0.0, 0.0), (0.0, -0.5), (1.0, 0.0), (1.0, 1e-9), (2.0, 3.0)]),
    "xlog1py(x, x)": Case(lambda x: ss.xlog1py(x, x), lambda x: x * t.log1p(x), TIES[:10]),
    "x xlogy(x, y)": Case(lambda x, y: x * ss.xlogy(x, y), lambda x, y: x * x * t.log(y), POSITIVE),
    "binary cross entropy": Case(lambda p, y: -(ss.xlogy(y, p) + ss.xlog1py(1 - y, -p)), lambda p, y: -(y * t.log(p) + (1 - y) * t.log(1 - p)), [(0.5, 0.0), (0.5, 1.0), (0.2, 0.0), (0.9, 1.0), (0.3, 0.4)]),
    "rel_entr(0, y)": Case(lambda y: ss.rel_entr(np.zeros_like(y), y), lambda y: y * 0, [2.0, 1.0, 0.3]),
    "rel_entr(x, y)": Case(ss.rel_entr, lambda x, y: x * t.log(x / y), [(1.0, 1.0), (0.5, 2.0), (2.0, 0.5), (1e-9, 1.0)]),
    "kl_div(x, y)": Case(ss.kl_div, lambda x, y: x * t.log(x / y) - x + y, [(1.0, 1.0), (0.5, 2.0), (2.0, 0.5), (0.3, 0.3)]),
    "entr": Case(ss.entr, lambda x: -x * t.log(x), [1.0, 0.5, 1e-3]),
    # powers
    "x**y": Case(np.power, t.power, BASES),
    "x**x": Case(lambda x: x**x, lambda x: t.power(x, x), [1.0, 2.0, 0.5, 1e-3, 3.0]),
    "x**(y + 1)": Case(lambda x, y: x ** (y + 1), lambda x, y: t.power(x, y + 1), BASES),
    "(1 + x²)**y": Case(lambda x, y: (1 + x * x) ** y, lambda x, y: t.power(1 + x * x, y), PLANE),
    "x**2": Case(lambda x: x**2, lambda x: x**2, TIES),
    "x**3": Case(lambda x: x**3, lambda x: x**3, TIES),
    "x**4.": Case(lambda x: x**4.0, lambda x: x**4, TIES),
    "x**7": Case(lambda x: x**7, lambda x: x**7, TIES),
    "x**1": Case(lambda x: x**1.0, lambda x: x, TIES),
    "x**0": Case(lambda x: x**0.0, lambda x: x * 0 + 1, TIES),
    "x**4.5": Case(lambda x: x**4.5, lambda x: x * 0, [0.0]),
    "prod": Case(lambda x, y: np.prod(cat(x, y, x), axis=0), lambda x, y: x * x * y, PLANE),
    "cumprod": Case(lambda x, y: np.sum(np.cumprod(cat(x, y, x), axis=0), 0), lambda x, y: x + x * y + x * x * y, PLANE),
    "det": Case(lambda x, y: np.linalg.det(np.moveaxis(np.stack([cat(x, y), cat(y, x)]), -1, 0)), lambda x, y: x * x - y * y, PLANE),
    # functions that are smooth as they are, at their special points
    "square": Case(np.square, lambda x: x * x, TIES),
    "exp": Case(np.exp, t.exp, TIES), "expm1": Case(np.expm1, t.expm1, TIES), "exp2": Case(np.exp2, lambda x: t.exp(x * MP.log(2)), TIES),
    "sin": Case(np.sin, t.sin, TIES), "cos": Case(np.cos, t.cos, TIES), "tan": Case(np.tan, t.tan, TIES),
    "sinh": Case(np.sinh, t.sinh, TIES), "cosh": Case(np.cosh, t.cosh, TIES), "tanh": Case(np.tanh, t.tanh, TIES),
    "1/cosh": Case(lambda x: 1 / np.cosh(x), lambda x: 1 / t.cosh(x), TIES),
    "arcsin": Case(np.arcsin, t.arcsin, TIES[:9]), "arccos": Case(np.arccos, t.arccos, TIES[:9]), "arctan": Case(np.arctan, t.arctan, TIES),
    "arcsinh": Case(np.arcsinh, t.arcsinh, TIES), "arctanh": Case(np.arctanh, t.arctanh, TIES[:9]),
    "log1p": Case(np.log1p, t.log1p, TIES[:10]), "log": Case(np.log, t.log, [1.0, 0.5, 2.0, 1e-3]), "log2": Case(np.log2, lambda x: t.log(x) / MP.log(2), [1.0, 2.0, 0.5]),
    "sqrt": Case(np.sqrt, t.sqrt, [1.0, 4.0, 0.25]), "cbrt": Case(np.cbrt, t.cbrt, [1.0, 8.0, 0.125]), "reciprocal": Case(lambda x: 1 / x, lambda x: 1 / x, [1.0, -1.0, 2.0]),
    "erf": Case(ss.erf, t.erf, TIES), "erfc": Case(ss.erfc, t.erfc, TIES), "ndtr": Case(ss.ndtr, lambda x: t.erfc(-x / MP.sqrt(2)) / 2, TIES),
    "gammaln": Case(ss.gammaln, t.gammaln, [1.0, 2.0, 0.5, 1.5, 1 + 1e-9, 2 - 1e-9, 3.0, 10.0, 25.0]),
    "digamma": Case(ss.digamma, t.digamma, [1.0, 2.0, 0.5, 1.5, 3.0, 10.0]),
    "betaln": Case(ss.betaln, lambda x, y: t.gammaln(x) + t.gammaln(y) - t.gammaln(x + y), [(1.0, 1.0), (0.5, 0.5), (1.0, 2.0), (3.0, 1.0)]),
    "logit": Case(ss.logit, lambda x: t.log(x / (1 - x)), [0.5, 0.25, 0.9]),
    "arctan2": Case(np.arctan2, t.arctan2, [(0.0, 1.0), (1.0, 1.0), (-1.0, 2.0), (1e-9, 3.0), (-0.0, 2.0)]),
    "arctan2(x, y) on the y axis": Case(lambda x, y: np.arctan2(x, y), lambda x, y: MP.pi / 2 - t.arctan(y / x), [(1.0, 0.0), (2.0, -1.0), (3.0, 1e-9)]),
    "hypot": Case(np.hypot, lambda x, y: t.sqrt(q(x, y)), PLANE[3:]),
    "norm": Case(norm, lambda x, y: t.sqrt(q(x, y)), PLANE[3:]),
    "log(1 - e⁻ˣ)": Case(lambda x: np.log(1 - np.exp(-x)), lambda x: t.log(-t.expm1(-x)), [math.log(2), 0.1, 1.0, 5.0]),
    "1 - cos x": Case(lambda x: 1 - np.cos(x), lambda x: 1 - t.cos(x), TIES),
    "1 - x²": Case(lambda x: 1 - x * x, lambda x: 1 - x * x, TIES),
    "√(1 - x²)": Case(lambda x: np.sqrt(1 - x * x), lambda x: t.sqrt(1 - x * x), TIES[:9]),
    "log(1 + x²)": Case(lambda x: np.log(1 + x * x), lambda x: t.log(1 + x * x), TIES),
    "mod(x, 3)": Case(lambda x: np.mod(x, 3.0), lambda x: x, [1.0, 2.5]),
    "huber": Case(lambda x: np.where(np.abs(x) <= 1, 0.5 * x * x, np.abs(x) - 0.5), lambda x: x * x / 2, [0.0, 1e-9, -0.5]),
    "pseudo-huber": Case(lambda x: np.sqrt(1 + np.abs(x) ** 2) - 1, lambda x: t.sqrt(1 + x * x) - 1, TIES),
    "quadratic form by abs": Case(lambda x, y: np.abs(x - y) ** 2 + np.abs(x + y) ** 2, lambda x, y: 2 * q(x, y), PLANE),
}
# fmt: on


# ---- derivatives ---------------------------------------------------------------------------------


def indices(variables: int, orders: int) -> Iterator[tuple[int, ...]]:
    """Which variables to differentiate by, in which order: (0, 0, 1) is ∂x∂x∂y."""
    for order in range(1, orders + 1):
        yield from itertools.combinations_with_replacement(range(variables), order)


def columns(case: Case) -> list[np.ndarray]:
    """The points as one array per argument."""
    points = [p if isinstance(p, tuple) else (p,) for p in case.points]
    return [np.array(c, float) for c in zip(*points, strict=True)]


def nodes_of(case: Case) -> tuple[list[Expr], Expr]:
    graph = sg.trace(case.f, *columns(case))
    return list(graph.args), ready(graph.outs)[0]


def _next(out: Expr, x: Expr, forward: bool, again: bool = True) -> Expr:
    one = const(1, out.dtype, out.shape)
    if forward:
        (d,) = (pushed if again else modes.jvp)([out], [x], [one])
    else:
        (d,) = modes.vjp([out], [x], [one], limits=with_limits if again else None)
    if d is None:
        return const(0, out.dtype, out.shape)
    return ready([d])[0]


def derivatives(args: list[Expr], out: Expr, orders: int, mode: str) -> dict[tuple[int, ...], Expr]:
    """Graphs of all derivatives; mode: "reverse", "forward", "turned" (the other order of
    variables) or "mixed" (forward and reverse in turns).

    Functions are elementwise over the points, so a seed of ones gives the derivatives at each.
    """
    known = {(): out}
    found = {}
    for index in indices(len(args), orders):
        path = index[::-1] if mode == "turned" else index
        for k in range(1, len(path) + 1):
            if path[:k] not in known:
                forward = mode == "forward" or mode == "mixed" and k % 2 == 0
                known[path[:k]] = _next(
                    known[path[: k - 1]], args[path[k - 1]], forward, k < orders
                )
        found[index] = known[path]
    return found


def by_modes(
    args: list[Expr], out: Expr, path: Sequence[int], chosen: Sequence[str]
) -> dict[str, Expr]:
    """The derivative by `path`: its steps in the modes that are chosen, forward (f) or reverse."""
    known = {"": out}
    for way in chosen:
        for k, mode in enumerate(way):
            if way[: k + 1] not in known:
                known[way[: k + 1]] = _next(known[way[:k]], args[path[k]], mode == "f")
    return {way: known[way] for way in chosen}


def truths(case: Case) -> dict[tuple[int, ...], np.ndarray]:
    """The right derivatives at all points."""
    data = columns(case)
    found: dict[tuple[int, ...], list[float]] = {}
    for point in zip(*data, strict=True):
        variables = [Taylor.variable(v, k, case.orders) for k, v in enumerate(point)]
        value = variables[0].lift(case.exact(*variables))
        for index in indices(len(data), case.orders):
            found.setdefault(index, []).append(float(value.derivative(*index)))
    return {index: np.array(values) for index, values in found.items()}


def wrong(got: np.ndarray, truth: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Where `got` is not `truth` to ten digits of the largest derivative of that order there."""
    return ~(np.abs(got - truth) <= 1e-10 * np.maximum(np.abs(truth), 1e-3 * size))


def faults(case: Case, mode: str) -> tuple[int, list[str]]:
    """How many derivatives there are, and those that are wrong."""
    args, out = nodes_of(case)
    data = columns(case)
    graphs = derivatives(args, out, case.orders, mode)
    values = evaluate(list(graphs.values()), dict(zip(args, data, strict=True)))
    right = truths(case)
    bad = []
    for index, got in zip(graphs, values, strict=True):
        largest = np.max([np.abs(v) for i, v in right.items() if len(i) == len(index)], axis=0)
        for k in np.flatnonzero(wrong(got, right[index], np.maximum(largest, 1))):
            point = tuple(float(c[k]) for c in data)
            bad.append(f"{mode} {index} at {point}: {got[k]}, right is {right[index][k]}")
    return sum(v.size for v in right.values()), bad


MODES = ("reverse", "forward", "mixed", "turned")


if __name__ == "__main__":
    total, found = 0, []
    for name, case in SMOOTH.items():
        for mode in MODES:
            count, bad = faults(case, mode)
            total += count
            found += [f"{name}, {b}" for b in bad]
    print(*found, sep="\n")
    print(f"{len(found)} of {total} derivatives at special points are wrong")
