"""Rules made of functions, each alone, branch by branch, against NumPy; and the check of rewrites.

Rules made of patterns are in test_rules.py. A rule without an example fails here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from symgrad.errors import RewriteError
from symgrad.expr import validate
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import Expr, arg, bind, const, eye
from symgrad.expr.validate import check_rewrite
from symgrad.ops import linalg
from symgrad.ops.control import Body, scan, switch, while_loop
from symgrad.ops.einsum import einsum
from symgrad.ops.elementwise import exp, log, select, sin, sqrt, square
from symgrad.ops.linear import broadcast, concat, gather, pad, permute, reshape, slice_, sum_
from symgrad.simplify import OPTIONAL, RULES, simplify
from symgrad.simplify.facts import nonnegative
from symgrad.simplify.pattern import RuleSet, function_rule, rule, run, variables

FUNCTIONS = {r.name: r for r in RULES if r.pattern is None}
RANKS = [(), (3,), (2, 3)]


@dataclass
class Example:
    """A formula at which a rule fires, and the same in NumPy.

    rule : its name, perhaps with what is special about the example
    types : shape of each argument, or (shape, dtype)
    """

    rule: str
    types: list[Any]
    formula: Callable[..., Expr]
    oracle: Callable[..., Any]

    @property
    def name(self) -> str:
        return self.rule.split(":")[0]

    def args(self) -> list[Expr]:
        pairs = [t if t and isinstance(t[-1], str) else (t, "float64") for t in self.types]
        return [arg(k, shape, dtype) for k, (shape, dtype) in enumerate(pairs)]

    def values(self, args: list[Expr], rng: np.random.Generator) -> list[np.ndarray]:
        made = []
        for a in args:
            if a.dtype == "bool":
                made.append(rng.random(a.shape) < 0.5)
            elif a.dtype == "float64":
                made.append(rng.normal(size=a.shape) + 0.0)
            else:
                made.append(rng.integers(-5, 5, a.shape).astype(a.dtype))
        return made


def spread(x: Expr, shape: tuple[int, ...], *dims: int) -> Expr:
    return broadcast(x, shape, dims)


def cut(x: Expr, *window: tuple[int, int, int]) -> Expr:
    """start, size and step of every axis."""
    return slice_(x, *(tuple(w[k] for w in window) for k in range(3)))


def everywhere(rule: str, count: int, formula: Any, oracle: Any) -> list[Example]:
    """The same for arguments of every rank."""
    return [
        Example(f"{rule}: rank {len(shape)}", [shape] * count, formula, oracle) for shape in RANKS
    ]


def delta(v: Expr) -> Expr:
    """diag(v), as derivatives spell it."""
    return einsum((eye(v.shape[0]), v), ("ij", "j"), "ij")


def np_lse(x, axis=-1):
    return logsumexp(x, axis=axis)


def norm(x: Expr, axis: int) -> Expr:
    return bind("norm", x, attrs=((axis,),))


def all_axes(x: Expr) -> tuple[int, ...]:
    return tuple(range(x.ndim))


V, M, T = (3,), (3, 3), (2, 3, 4)
P = arg(90, V, "float64")
U = ("ij", "jk")
one = np.ones
EXAMPLES: list[Example] = [
    *[
        Example(f"convert-twice: rank {len(s)}", [(s, "int32")],
                lambda x: bind("convert", bind("convert", x, attrs=("int64",)), attrs=("float64",)),
                lambda x: x.astype(float))
        for s in RANKS
    ],
    *everywhere("logaddexp", 2, lambda a, b: log(exp(a) + (exp(b) + 2)),
                lambda a, b: np.log(np.exp(a) + np.exp(b) + 2)),
    # ---- views
    Example("lift-broadcast: scalar", [()], lambda s: exp(spread(s, (2, 3))),
            lambda s: np.exp(s) * one((2, 3))),
    Example("lift-broadcast: two axes", [(4,), (2,)],
            lambda c, d: spread(c, T, 2) * spread(d, T, 0),
            lambda c, d: d[:, None, None] * c * one(T)),
    Example("lift-broadcast: with a constant", [(2, 4)],
            lambda x: spread(x, T, 0, 2) + const(2.0, shape=T),
            lambda x: x[:, None] + 2 * one(T)),
    Example("lift-broadcast: select", [((2,), "bool"), (2,)],
            lambda c, x: select(spread(c, T, 0), spread(x, T, 0), 0),
            lambda c, x: np.where(c, x, 0)[:, None, None] * one(T)),
    Example("lift-broadcast: convert", [((2,), "int64")],
            lambda x: bind("convert", spread(x, T, 0), attrs=("float64",)),
            lambda x: x[:, None, None] * one(T)),
    Example("lift-permute", [(2, 3), (2, 3)],
            lambda x, y: permute(x, (1, 0)) - permute(y, (1, 0)), lambda x, y: (x - y).T),
    Example("lift-permute: three axes", [T, ()],
            lambda x, s: permute(x, (2, 0, 1)) * const(3.0, shape=(4, 2, 3)),
            lambda x, s: 3 * np.transpose(x, (2, 0, 1))),
    Example("lift-reshape", [(2, 3), (2, 3)],
            lambda x, y: reshape(x, (6,)) - reshape(y, (6,)), lambda x, y: (x - y).reshape(6)),
    Example("lift-reshape: scalar", [()], lambda s: sin(reshape(s, (1, 1))),
            lambda s: np.sin(s).reshape(1, 1)),
    Example("lift-reshape: vector", [(6,)],
            lambda x: reshape(x, (2, 3)) + const(1.0, shape=(2, 3)),
            lambda x: 1 + x.reshape(2, 3)),
    Example("broadcast-view: axes of 1", [V], lambda x: spread(x, (1, 3, 1), 1),
            lambda x: x.reshape(1, 3, 1)),
    Example("broadcast-view: scalar", [()], lambda x: spread(x, (1, 1)),
            lambda x: x.reshape(1, 1)),
    Example("broadcast-view: of a reshape", [(2, 3)],
            lambda x: spread(reshape(x, (2, 1, 3)), (2, 1, 4, 3), 0, 1, 3),
            lambda x: x[:, None, None] * one((2, 1, 4, 3))),
    Example("permute-view: identity", [V], lambda x: permute(eye(3), (1, 0)) + spread(x, M, 1),
            lambda x: np.eye(3) + x),
    Example("permute-view: broadcast", [(2, 3)],
            lambda x: permute(spread(x, (2, 4, 3), 0, 2), (2, 1, 0)),
            lambda x: x.T[:, None] * one((3, 4, 2))),
    Example("permute-view: einsum", [(2, 3), (3, 4)],
            lambda x, y: permute(einsum((x, y), U, "ik"), (1, 0)), lambda x, y: (x @ y).T),
    Example("permute-view: units inserted", [(2, 3)],
            lambda x: permute(reshape(x, (2, 1, 3)), (0, 2, 1)), lambda x: x.reshape(2, 3, 1)),
    Example("permute-view: units moved", [(2, 1, 3)], lambda x: permute(x, (1, 0, 2)),
            lambda x: x.reshape(1, 2, 3)),
    Example("slice-view: broadcast", [(6,)],
            lambda x: cut(spread(x, (4, 6), 1), (1, 2, 1), (5, 3, -2)),
            lambda x: x[5::-2] * one((2, 3))),
    Example("slice-view: permute", [T], lambda x: cut(permute(x, (2, 0, 1)), (3, 2, -2), (1, 1, 1),
            (0, 2, 2)), lambda x: np.transpose(x, (2, 0, 1))[3::-2, 1:2, ::2]),
    Example("slice-view: concat", [(2, 3), (4, 3)],
            lambda x, y: cut(concat([x, y], 0), (5, 2, -2), (0, 3, 1)),
            lambda x, y: np.concatenate([x, y])[5:1:-2]),
    Example("slice-view: pad", [(2, 3)],
            lambda x: cut(pad(x, (5, 7), (1, 2), (1, 1)), (2, 1, 1), (4, 2, -2)),
            lambda x: np.pad(x, ((1, 2), (2, 2)))[2:3, 4:1:-2]),
    Example("slice-view: beside a pad", [(2, 3)],
            lambda x: cut(pad(x, (5, 7), (1, 2), (1, 1)), (3, 2, 1), (2, 2, 1)),
            lambda x: np.zeros((2, 2))),
    Example("slice-view: elementwise", [(5,), (5,)],
            lambda x, y: cut(x * sin(y), (4, 3, -2)), lambda x, y: (x * np.sin(y))[::-2]),
    Example("slice-view: convert", [((5,), "int64")],
            lambda x: cut(bind("convert", x, attrs=("float64",)), (1, 2, 2)),
            lambda x: x[1:4:2].astype(float)),
    Example("slice-view: sum", [T], lambda x: cut(sum_(x, (1,)), (1, 1, 1), (3, 2, -2)),
            lambda x: x.sum(1)[1:, 3::-2]),
    Example("slice-view: einsum", [(4, 2), (2, 5)],
            lambda x, y: cut(einsum((x, y), U, "ki"), (4, 2, -2), (0, 4, 1)),
            lambda x, y: (x @ y).T[4:0:-2]),
    # ---- contractions
    Example("square-delta", [V], lambda x: square(eye(3)) - spread(x, M, 0),
            lambda x: np.eye(3) - x[:, None]),
    Example("einsum-flatten: permute", [(2, 3), (4, 3)],
            lambda x, y: einsum((x, permute(y, (1, 0))), U, "ki"), lambda x, y: (x @ y.T).T),
    Example("einsum-flatten: broadcast", [V, (3, 4)],
            lambda v, x: einsum((spread(v, (2, 3), 1), x), U, "ik"),
            lambda v, x: one((2, 1)) * (v @ x)),
    Example("einsum-flatten: scales", [(2, 3), (3, 4)],
            lambda x, y: einsum((-x, y * 3.0), U, "ik"), lambda x, y: -3 * x @ y),
    Example("einsum-flatten: constant", [(2, 3)],
            lambda x: einsum((x, const(3.0, shape=(3, 4))), U, "i"), lambda x: 12 * x.sum(1)),
    Example("einsum-flatten: product", [(2, 3), V, (3, 4)],
            lambda x, v, y: einsum((x * spread(v, (2, 3), 1), y), U, "ik"),
            lambda x, v, y: (x * v) @ y),
    Example("einsum-flatten: inner contraction", [(2, 3), (3, 4), (4, 2)],
            lambda x, y, z: einsum((einsum((x, y), U, "ik"), z), U, "ki"),
            lambda x, y, z: (x @ y @ z).T),
    Example("einsum-flatten: inner sum", [T, V],
            lambda x, v: einsum((sum_(x * spread(v, T, 1), (2,)), v), ("ij", "j"), "i"),
            lambda x, v: np.einsum("ijk,j,j->i", x, v, v)),
    Example("einsum-flatten: factors of the same labels", [(2, 3), V, V, V],
            lambda x, a, b, c: einsum((x, a, b, c), ("ij", "j", "j", "j"), "i"),
            lambda x, a, b, c: x @ (a * b * c)),
    Example("einsum-flatten: scalars", [(), (2, 3), (3, 4)],
            lambda s, x, y: einsum((s, x, y), ("", *U), "ik"), lambda s, x, y: s * (x @ y)),
    Example("einsum-flatten: two deltas", [V],
            lambda v: einsum((delta(v), eye(3)), ("ij", "ij"), "ij"), np.diag),
    Example("einsum-flatten: diagonal", [M, M],
            lambda x, y: einsum((x * 2.0, y), ("ii", "ij"), "j"),
            lambda x, y: 2 * np.diag(x) @ y),
    Example("einsum-units", [(1, 4), (4, 1)], lambda x, y: einsum((x, y), U, "ki"),
            lambda x, y: x @ y),
    Example("einsum-units: delta", [(1, 3)],
            lambda x: einsum((eye(1), x), U, "ijk"), lambda x: x.reshape(1, 1, 3)),
    Example("einsum-units: diagonal", [(1, 1), (2, 1)],
            lambda x, y: einsum((reshape(x, (1,)), y), ("i", "ki"), "ki"), lambda x, y: x * y),
    Example("einsum-product", [V, (2, 3)], lambda v, x: einsum((v, x), ("j", "ij"), "ij"),
            lambda v, x: v * x),
    Example("einsum-product: outer", [V, (2,)], lambda v, w: einsum((v, w), ("i", "j"), "ji"),
            lambda v, w: np.outer(w, v)),
    Example("einsum-product: permuted", [T, (4, 2)],
            lambda x, y: einsum((x, y), ("abc", "ca"), "cba"),
            lambda x, y: np.transpose(x, (2, 1, 0)) * y[:, None]),
    Example("einsum-product: scalars", [(), ()], lambda s, t: einsum((s, t), ("", ""), ""),
            lambda s, t: s * t),
    Example("sum-view: empty", [(0, 3)], lambda x: sum_(x, (0,)), lambda x: np.zeros(3)),
    Example("sum-view: constant", [V],
            lambda x: x + sum_(const(2.0, shape=(3, 5)), (1,)), lambda x: x + 10),
    Example("sum-view: identity", [V],
            lambda x: x + sum_(eye(3), (0,)), lambda x: x + 1),
    Example("sum-view: trace of the identity", [()],
            lambda s: s * sum_(eye(3), (0, 1)), lambda s: 3 * s),
    Example("sum-view: broadcast", [(2, 4)], lambda x: sum_(spread(x, T, 0, 2), (1, 2)),
            lambda x: 3 * x.sum(1)),
    Example("sum-view: broadcast sum", [(4,)], lambda x: sum_(spread(x, (2, 4), 1), (1,)),
            lambda x: x.sum() * one(2)),
    Example("sum-view: scalar", [()], lambda s: sum_(spread(s, (2, 3)), (0,)),
            lambda s: 2 * s * one(3)),
    Example("sum-view: permute", [T], lambda x: sum_(permute(x, (2, 0, 1)), (1,)),
            lambda x: x.sum(0).T),
    Example("sum-view: units", [(2, 3)], lambda x: sum_(reshape(x, (2, 1, 3)), (0, 1)),
            lambda x: x.sum(0)),
    Example("sum-view: reshape", [(2, 3)], lambda x: sum_(reshape(x, (6,)), (0,)), np.sum),
    Example("sum-view: pad", [(2, 3)],
            lambda x: sum_(pad(x, (5, 7), (1, 6), (2, -2)), (0,)),
            lambda x: np.array([0, 0, *np.insert(x.sum(0)[::-1], [1, 2], 0)])),
    Example("sum-view: negative", [(2, 3)], lambda x: sum_(-x, (1,)), lambda x: -x.sum(1)),
    Example("sum-view: quotient", [(2, 3)],
            lambda x: sum_(x / const(3.0, shape=(2, 3)), (0, 1)), lambda x: x.sum() / 3),
    Example("sum-product", [(2, 3), (2, 3)], lambda x, y: sum_(x * y, (1,)),
            lambda x, y: (x * y).sum(1)),
    Example("sum-product: square", [(2, 3)], lambda x: sum_(square(x), (0,)),
            lambda x: (x * x).sum(0)),
    Example("sum-product: all", [V, V], lambda x, y: sum_(x * y, (0,)), np.dot),
    Example("sum-product: einsum", [(2, 3), (3, 4)],
            lambda x, y: sum_(einsum((x, y), U, "ik"), (0,)), lambda x, y: (x @ y).sum(0)),
    Example("delta-product", [M], lambda x: sin(x) * eye(3), lambda x: np.sin(x) * np.eye(3)),
    Example("delta-product: below a scale", [V, (), M],
            lambda v, s, x: (spread(s, M) * delta(v)) * -x, lambda v, s, x: -s * np.diag(v) * x),
    Example("delta-product: repeated", [V, (2, 3, 3)],
            lambda v, x: spread(delta(v), (2, 3, 3), 1, 2) * x, lambda v, x: np.diag(v) * x),
    # ---- sums
    Example("scatter-to-stack", [(1,), (2,), (1,)],
            lambda a, b, c: pad(a, (5,), (0,), (1,)) - pad(b, (5,), (1,), (1,))
            + pad(c, (5,), (4,), (1,)), lambda a, b, c: np.array([*a, *-b, 0, *c])),
    Example("scatter-to-stack: overlapping", [(3,), (2,), (2,), (5,)],
            lambda a, b, c, x: (pad(a, (5,), (0,), (1,)) + x) - pad(b, (5,), (3,), (1,))
            + pad(c, (5,), (1,), (1,)),
            lambda a, b, c, x: x + [*a, *-b] + np.array([0, *c, 0, 0])),
    Example("scatter-to-stack: blocks", [(1, 2), (1, 1), (1, 1)],
            lambda a, b, c: pad(a, (2, 3), (0, 0), (1, 1)) + pad(b, (2, 3), (1, 2), (1, 1))
            + pad(c, (2, 3), (1, 0), (1, 1)),
            lambda a, b, c: np.array([[*a[0], 0], [*c[0], 0, *b[0]]])),
    Example("pad-scaled: negative", [V], lambda x: -pad(x, (5,), (4,), (-1,)),
            lambda x: np.array([0, 0, *-x[::-1]])),
    Example("pad-scaled", [(1, 2)], lambda x: pad(x, (2, 3), (1, 0), (1, 2)) * 3.0,
            lambda x: np.array([[0, 0, 0], [3 * x[0, 0], 0, 3 * x[0, 1]]])),
    *everywhere("like-terms", 2, lambda x, y: (x * 3.0 - y) + x, lambda x, y: 4 * x - y),
    *everywhere("like-terms: negative", 2, lambda x, y: (y - x * 2.0) - x,
                lambda x, y: y - 3 * x),
    *everywhere("like-terms: both signs", 2, lambda x, y: (x - y * 3.0) + (y - x),
                lambda x, y: -2 * y),
    *everywhere("scale-inside", 2, lambda a, b: ((b * 3.0) * a) * 2.0, lambda a, b: 6 * a * b),
    Example("scale-inside: broadcast", [(2, 3), V],
            lambda a, b: (spread(b * 3.0, (2, 3), 1) * a) * -2.0, lambda a, b: -6 * a * b),
    # ---- stable reductions
    Example("logsumexp", [(2, 3)], lambda x: log(sum_(exp(x), (1,))), np_lse),
    Example("logsumexp: of all", [V], lambda x: log(sum_(exp(x), (0,))), np_lse),
    Example("logsumexp: two axes", [T], lambda x: log(sum_(exp(x), (0, 2))),
            lambda x: np_lse(x, (0, 2))),
    *[
        Example(f"logsumexp-shift: rank {len(s)}", [s],
                lambda x: (m := bind("max", x, attrs=((x.ndim - 1,),)))
                + bind("logsumexp", x - spread(m, x.shape, *range(x.ndim - 1)),
                       attrs=((x.ndim - 1,),)), np_lse)
        for s in (V, (2, 3))
    ],
    *[
        Example(f"logsumexp-shifted: rank {len(s)}", [s],
                lambda x: (u := x - spread(bind("max", x, attrs=((x.ndim - 1,),)), x.shape,
                                           *range(x.ndim - 1)))
                - spread(bind("logsumexp", u, attrs=((x.ndim - 1,),)), x.shape,
                         *range(x.ndim - 1)),
                lambda x: x - np_lse(x)[..., None])
        for s in (V, (2, 3))
    ],
    Example("softmax", [(2, 3)], lambda x: exp(x) / spread(sum_(exp(x), (1,)), (2, 3), 0),
            lambda x: softmax(x, 1)),
    Example("softmax: reciprocal", [V], lambda x: exp(x) * spread(1.0 / sum_(exp(x), (0,)), V),
            softmax),
    Example("softmax-exp", [(2, 3)],
            lambda x: exp(x - spread(bind("logsumexp", x, attrs=((0,),)), (2, 3), 1)),
            lambda x: softmax(x, 0)),
    Example("softmax-shift", [(2, 3)],
            lambda x: bind("softmax", x - spread(bind("max", x, attrs=((1,),)), (2, 3), 0),
                           attrs=((1,),)), lambda x: softmax(x, 1)),
    Example("log-softmax", [V], lambda x: log(bind("softmax", x, attrs=((0,),))),
            lambda x: x - np_lse(x)),
    Example("log-softmax: part", [(2, 3)],
            lambda x: log(cut(bind("softmax", x, attrs=((1,),)), (1, 1, 1), (2, 2, -2))),
            lambda x: (x - np_lse(x)[:, None])[1:, ::-2]),
    Example("log-softmax: gathered", [V, ((2,), "int64")],
            lambda x, k: log(gather(bind("softmax", x, attrs=((0,),)), select(
                bind("less", k, const(0, "int64", (2,))), const(1, "int64", (2,)),
                const(2, "int64", (2,))), 0)),
            lambda x, k: (x - np_lse(x))[np.where(k < 0, 1, 2)]),
    Example("norm", [(2, 3)], lambda x: sqrt(sum_(square(x), (1,))),
            lambda x: np.linalg.norm(x, axis=1)),
    Example("norm: of all", [V], lambda x: sqrt(sum_(square(x), (0,))), np.linalg.norm),
    Example("norm: einsum", [T], lambda x: sqrt(einsum((x, x), ("ijk", "ijk"), "j")),
            lambda x: np.sqrt((x * x).sum((0, 2)))),
    Example("norm-squared", [(2, 3)], lambda x: square(norm(x, 1)), lambda x: (x * x).sum(1)),
    Example("norm-squared: power", [V], lambda x: bind("power", norm(x, 0), const(6.0)),
            lambda x: (x * x).sum() ** 3),
    Example("norm-squared: times a factor", [V, ()], lambda x, y: square(norm(x, 0) * y),
            lambda x, y: (x * x).sum() * y * y),
    Example("norm-squared: quotient", [V, ()], lambda x, y: square(norm(x, 0) / exp(y)),
            lambda x, y: (x * x).sum() / np.exp(y) ** 2),
    Example("norm-twice", [(2, 3), (2,)], lambda x, y: norm(x, 1) * (norm(x, 1) * exp(y)),
            lambda x, y: (x * x).sum(1) * np.exp(y)),
    Example("norm-contracted", [(2, 3), (2,)],
            lambda x, y: einsum((norm(x, 1), norm(x, 1), y), ("i", "i", "i"), ""),
            lambda x, y: (x * x).sum(1) @ y),
    *everywhere("logaddexp-by-hand", 2,
                lambda a, b: bind("maximum", a, b) + bind("softplus", -bind("absolute", a - b)),
                lambda a, b: np.log(np.exp(a) + np.exp(b))),
    *everywhere("logaddexp-by-hand: in a sum", 3, lambda a, b, y: (
                    bind("maximum", a, b) - y) + bind("softplus", -bind("absolute", a - b)),
                lambda a, b, y: np.log(np.exp(a) + np.exp(b)) - y),
    *everywhere("side-of-a-kink", 2, lambda a, b: select(
                    bind("greater", a, b), square(bind("maximum", a, b)), bind("minimum", a, b)),
                lambda a, b: np.where(a > b, a * a, a)),
    *everywhere("side-of-a-kink: of an absolute value", 1, lambda a: select(
                    bind("less", a, const(0.0, "float64", a.shape)), bind("absolute", a), a * 3),
                lambda a: np.where(a < 0, -a, 3 * a)),
    # ---- inverses
    Example("solve-inverse", [M, V], lambda a, b: einsum((linalg.inv(a), b), ("ij", "j"), "i"),
            np.linalg.solve),
    Example("solve-inverse: transposed", [M, V],
            lambda a, b: einsum((linalg.inv(a), b), ("ji", "j"), "i"),
            lambda a, b: np.linalg.solve(a.T, b)),
    Example("solve-inverse: columns", [M, (2, 3), V],
            lambda a, b, c: einsum((linalg.inv(a), b, c), ("ij", "kj", "i"), "k"),
            lambda a, b, c: c @ np.linalg.solve(a, b.T)),
    # ---- deltas
    Example("delta-sum: product", [V, M, M], lambda v, x, y: (x + delta(v)) * y,
            lambda v, x, y: (x + np.diag(v)) * y),
    Example("delta-sum: difference below views", [V, M, (2, 3, 3)],
            lambda v, x, y: spread(-permute(x - delta(v), (1, 0)), (2, 3, 3), 1, 2) * y,
            lambda v, x, y: (np.diag(v) - x.T) * y),
    Example("delta-sum: einsum", [V, M, V],
            lambda v, x, w: einsum((x - delta(v) + eye(3), w), ("ij", "j"), "i"),
            lambda v, x, w: (x - np.diag(v) + np.eye(3)) @ w),
    Example("delta-sum: sum", [V, M], lambda v, x: sum_(delta(v) - x, (0,)),
            lambda v, x: v - x.sum(0)),
    Example("delta-sum: select", [(M, "bool"), V, M], lambda c, v, x: select(c, delta(v) - x, 0),
            lambda c, v, x: np.where(c, np.diag(v) - x, 0)),
    Example("delta-terms", [V, V, M], lambda v, w, x: (delta(v) - x) + delta(w),
            lambda v, w, x: np.diag(v + w) - x),
    Example("delta-terms: common factor", [V, V, (3, 3, 3)],
            lambda v, w, x: einsum((eye(3), v, x), ("ij", "k", "ijk"), "ijk")
            - einsum((eye(3), v, w), ("ij", "k", "j"), "ijk"),
            lambda v, w, x: np.eye(3)[:, :, None] * v * (x - w[:, None])),
    Example("delta-terms: three axes", [V, V, (3, 3, 3)],
            lambda v, w, x: einsum((eye(3), eye(3), v), ("ij", "jk", "k"), "ijk")
            + (x - einsum((eye(3), eye(3), w), ("ik", "jk", "i"), "ijk")),
            lambda v, w, x: x + np.einsum("ij,jk,k->ijk", np.eye(3), np.eye(3), v - w)),
    Example("common-factor", [V, (2,), (2,)],
            lambda a, x, y: einsum((a, x), ("i", "j"), "ij") - einsum((a, y), ("i", "j"), "ij"),
            lambda a, x, y: np.outer(a, x - y)),
    Example("common-factor: summed", [V, (2, 4), (4,), (2, 4), (4,)],
            lambda a, x, p, y, q: spread(a, (3, 2), 0) * spread(einsum((x, p), U[:1] + ("j",), "i"),
            (3, 2), 1) + einsum((a, y, q), ("k", "ij", "j"), "ki"),
            lambda a, x, p, y, q: np.outer(a, x @ p + y @ q)),
    Example("delta-select", [(M, "bool"), V, M], lambda c, v, x: select(c, delta(v), x),
            lambda c, v, x: np.where(c, np.diag(v), x)),
    *[
        Example(f"select-together: rank {len(s)}", [(s, "bool"), s, s],
                lambda c, x, y: select(c, x, 0) + select(c, 0, y), np.where)
        for s in RANKS
    ],
    Example("delta-padded", [V], lambda v: concat(
            [const(0.0, shape=(3, 2)), delta(v), const(0.0, shape=(3, 1))], 1),
            lambda v: np.pad(np.diag(v), ((0, 0), (2, 1)))),
    Example("delta-in-window: einsum", [V, (5, 2)],
            lambda v, x: einsum((pad(delta(v), (3, 5), (0, 1), (1, 1)), x), U, "ik"),
            lambda v, x: v[:, None] * x[1:4]),
    Example("delta-in-window: remaining axis", [V, (3, 2)],
            lambda v, x: einsum((pad(delta(v), (6, 3), (1, 0), (2, 1)), x), U, "ki"),
            lambda v, x: np.insert((v[:, None] * x).T, [0, 1, 2], 0, axis=1)),
    Example("delta-in-window: product", [V, (3, 5)],
            lambda v, x: pad(delta(v), (3, 5), (0, 4), (1, -1)) * x,
            lambda v, x: np.pad(np.diag(v)[:, ::-1], ((0, 0), (2, 0))) * x),
    Example("delta-inside: quotient", [V, M], lambda v, x: delta(v) / (1.0 + square(x)),
            lambda v, x: np.diag(v) / (1 + x * x)),
    Example("delta-inside: denominators", [V, V],
            lambda v, w: delta(v) / spread(1.0 + square(w), M, 0),
            lambda v, w: np.diag(v / (1 + w * w))),
    Example("delta-inside: select", [(V, "bool"), V], lambda c, v: select(spread(c, M, 0), delta(v),
            0), lambda c, v: np.diag(np.where(c, v, 0))),
    Example("delta-inside: select not", [(V, "bool"), V], lambda c, v: select(
            spread(c, M, 1), 0, delta(v)), lambda c, v: np.diag(np.where(c, 0, v))),
    # ---- loops
    Example("re-roll: elements", [(9,)],
            lambda x: chain("add", [sin(reshape(cut(x, (k, 1, 1)), ())) for k in range(9)]),
            lambda x: np.sin(x).sum()),
    Example("re-roll: signs", [(18,)],
            lambda x: chain("subtract", [reshape(cut(x, (17 - 2 * k, 1, 1)), ()) * (k + 1.0)
                                         for k in range(9)]),
            lambda x: x[17] - np.arange(2, 10) @ x[15::-2]),
    Example("re-roll: rows", [(9, 3), V],
            lambda x, v: chain("add", [square(reshape(cut(x, (k, 1, 1), (0, 3, 1)), V)) * v
                                       for k in range(9)]),
            lambda x, v: (x * x * v).sum(0)),
    Example("re-roll: maximum", [(9, 3), V],
            lambda x, v: chain("maximum", [reshape(cut(x, (k, 1, 1), (0, 3, 1)), V) - v
                                           for k in range(9)]),
            lambda x, v: (x - v).max(0)),
    Example("re-roll: product", [(9,)],
            lambda x: chain("multiply", [sin(reshape(cut(x, (k, 1, 1)), ())) for k in range(9)]),
            lambda x: np.sin(x).prod()),
    Example("re-roll: concat", [(9, 2)],
            lambda x: concat([sin(reshape(cut(x, (k, 1, 1), (0, 2, 1)), (1, 2))) for k in range(9)],
                             0), np.sin),
    Example("re-roll: two loops", [(4, 5)],
            lambda x: chain("add", [exp(reshape(cut(x, (i, 1, 1), (j, 1, 1)), ()))
                                    for i in range(4) for j in range(3)]),
            lambda x: np.exp(x[:, :3]).sum()),
    Example("re-roll: anywhere", [(40,)],
            lambda x: chain("add", [exp(reshape(cut(x, (k * k % 37, 1, 1)), ()))
                                    for k in range(12)]),
            lambda x: np.exp(x[np.arange(12) ** 2 % 37]).sum()),
]  # fmt: skip


def looped(
    f: Callable[..., list[Expr]],
    operands: tuple[Sequence[Expr], ...],
    n: int,
    carried: int = 1,
    **options: Any,
) -> list[Expr]:
    """A scan whose rounds compute `f` of its operands: those all rounds share, carry, rows."""
    consts, carry, xs = operands
    types = [(e.shape, e.dtype) for e in [*consts, *carry]]
    types += [(e.shape[1:], e.dtype) for e in xs]
    arguments = [arg(90 + k, s, d) for k, (s, d) in enumerate(types)]
    body = Body.close(arguments, f(*arguments))
    return scan(body, consts, carry, xs, n, **options)


def sided(index: Expr, *sides: Callable[..., Expr], of: Sequence[Expr]) -> Expr:
    arguments = [arg(90 + k, e.shape, e.dtype) for k, e in enumerate(of)]
    return switch(index, [Body.close(arguments, [f(*arguments)]) for f in sides], of)[0]


def total(outs: Sequence[Expr]) -> Expr:
    """One scalar of all."""
    sums = [sum_(o, all_axes(o)) for o in outs]
    return chain("add", [s if s.dtype == "float64" else bind("convert", s, attrs=("float64",))
                         for s in sums])  # fmt: skip


def np_recurrence(start: Any, a: Any, xs: Any) -> list[Any]:
    """s ← a s + x."""
    made = []
    for x in xs:
        start = a * start + x
        made.append(start)
    return made


B1 = ((), "bool")
FALSE = const(False, "bool")
EXAMPLES += [
    Example("condition-known: selection", [(3,), (3,)],
            lambda x, y: select(spread(bind("any", pad(const(True, "bool", (2,)), V, (0,), (1,)),
                                            attrs=((0,),)), V), x, y),
            lambda x, y: x),
    Example("condition-known: condition", [B1],
            lambda x: bind("logical_and", x, bind("any", spread(FALSE, V), attrs=((0,),))),
            lambda x: False),
    Example("loop-equal: an operand and the same permuted", [(2, 2), (2,)],
            lambda a, s: looped(lambda a, b, s: [sin(einsum((a, s), ("ij", "j"), "i"))
                                                 + einsum((b, s), ("ij", "j"), "i")],
                                ([a, permute(a, (1, 0))], [s], []), 3)[0],
            lambda a, s: np_both_ways(a, s)),
    Example("connective-constant: and", [B1], lambda x: bind("logical_and", FALSE, x),
            lambda x: False),
    Example("connective-constant: or", [B1], lambda x: bind("logical_or", FALSE, x), lambda x: x),
    Example("loop-constant: handed on", [(), (), (4,)],
            lambda a, s, x: looped(lambda a, s, x: [a, a * s + x], ([], [a, s], [x]), 4, 2)[1],
            lambda a, s, x: np_recurrence(s, a, x)[-1]),
    Example("loop-constant: a number", [(), (4,)],
            lambda s, x: looped(lambda c, s, x: [c * s + x], ([const(2.0)], [s], [x]), 4)[0],
            lambda s, x: np_recurrence(s, 2, x)[-1]),
    Example("loop-constant: two that swap are none", [(), (), (4,)],
            lambda a, s, x: total(looped(lambda a, b, c, s, x: [b, a, c, c * s + x],
                                         ([], [a, s, a, s], [x]), 4, 4)),
            lambda a, s, x: 2 * a + s + np_recurrence(s, a, x)[-1]),
    Example("loop-equal: carries", [(), (4,)],
            lambda s, x: total(looped(lambda s, r, x: [sin(s) + x, sin(r) + x], ([], [s, s], [x]),
                                      4, 2)),
            lambda s, x: 2 * np_sines(s, x)),
    Example("loop-equal: operands", [(), (), (4,)],
            lambda a, s, x: looped(lambda a, b, s, x, y: [a * s + b * s + x + y],
                                   ([a, a], [s], [x, x]), 4)[0],
            lambda a, s, x: np_recurrence(s, 2 * a, 2 * x)[-1]),
    Example("loop-equal: those that part later are two", [(), (4,)],
            lambda s, x: total(looped(lambda s, r, q, p, x: [s + x, r + x, sin(r), sin(q)],
                                      ([], [s, s, s, s], [x]), 4, 4)[2:]),
            lambda s, x: np_parted(s, x)),
    Example("loop-unused", [(), (), (4,)],
            lambda a, s, x: looped(lambda a, s, r, x: [a * s + x, exp(r) + s, exp(x)],
                                   ([a], [s, s], [x]), 4, 2)[0],
            lambda a, s, x: np_recurrence(s, a, x)[-1]),
    Example("loop-invariant", [(), (), (4,)],
            lambda a, s, x: looped(lambda a, s, x: [exp(sin(a)) * s + x], ([a], [s], [x]), 4)[0],
            lambda a, s, x: np_recurrence(s, np.exp(np.sin(a)), x)[-1]),
    Example("loop-rows: of an x", [(), (4, 2)],
            lambda s, x: looped(lambda s, x: [s + sum_(x, (0,)), x], ([], [s], [x]), 4)[1],
            lambda s, x: x),
    Example("loop-rows: all the same", [(3,), ()],
            lambda a, s: looped(lambda a, s: [sin(s), a], ([a], [s], []), 4)[1],
            lambda a, s: a * one((4, 1))),
    Example("loop-short: no round", [(3,), (0, 3)],
            lambda s, x: looped(lambda s, x: [s + x, s * x], ([], [s], [x]), 0)[0], lambda s, x: s),
    Example("loop-short: one round", [(3,), (1, 3)],
            lambda s, x: looped(lambda s, x: [s + x, s * x], ([], [s], [x]), 1)[1],
            lambda s, x: s * x),
    Example("loop-short: while false", [(3,)],
            lambda s: while_loop(Body.close([P], [const(False, "bool")]), Body.close([P], [sin(P)]),
                                 [], [s])[0],
            lambda s: s),
    *[
        Example(f"loop-first: reverse={reverse}", [(), (4,)],
                lambda s, x, reverse=reverse: looped(
                    lambda f, s, x: [const(True, "bool"), select(f, sin(s), s) + x, s * x],
                    ([], [const(False, "bool"), s], [x]), 4, 2, reverse=reverse)[2],
                lambda s, x, reverse=reverse: np_started(s, x, reverse))
        for reverse in (False, True)
    ],
    Example("loop-map", [(), (4, 3)],
            lambda c, x: looped(lambda c, x: [exp(x) * spread(c, V), sum_(x, (0,))], ([c], [], [x]),
                                4, 0)[0],
            lambda c, x: np.exp(x) * c),
    Example("loop-join", [(), (), (4,)],
            lambda a, s, x: looped(lambda a, s, x: [exp(a * s) + x], ([a], [s], [x]), 4)[0]
            + total(looped(lambda a, s, r, x: [exp(a * s) + x, r + s, s * s],
                           ([a], [s, a], [x]), 4, 2)[1:]),
            lambda a, s, x: np_joined(a, s, x)),
    Example("loop-join: while", [(), ()], lambda a, x: total(halved(a, x) + halved(a, x, 1.0)),
            lambda a, x: np_halved(a, x)),
    Example("switch-known: index", [(), ()],
            lambda x, y: sided(const(7, "int64"), lambda x, y: x, lambda x, y: exp(x) * y,
                               of=[x, y]),
            lambda x, y: np.exp(x) * y),
    Example("switch-known: equal sides", [((), "int64"), (3,)],
            lambda i, x: sided(i, sin, sin, of=[x]), lambda i, x: np.sin(x)),
    Example("switch-only", [(3,)], lambda x: sided(const(0, "int64"), sin, of=[x]), np.sin),
    Example("switch-unused", [((), "int64"), (), ()],
            lambda i, x, y: sided(i, lambda x, z, c, y: log(square(x) + c),
                                  lambda x, z, c, y: exp(z) * c, of=[x, x, const(2.0), y]),
            lambda i, x, y: np.where(i > 0, 2 * np.exp(x), np.log(x * x + 2))),
    Example("switch-cheap", [((), "int64"), (), ()],
            lambda i, x, y: sided(i, lambda x, y: x * y, lambda x, y: x - y, lambda x, y: -y,
                                  of=[x, y]),
            lambda i, x, y: np.where(i <= 0, x * y, np.where(i == 1, x - y, -y))),
    Example("switch-cheap: a decision", [B1, (3,)],
            lambda p, x: sided(bind("convert", p, attrs=("int64",)), lambda x: -x, lambda x: x,
                               of=[x]),
            lambda p, x: np.where(p, x, -x)),
]  # fmt: skip


def halved(a: Expr, x: Expr, *ys: float) -> list[Expr]:
    """x ← sin(x / 2) + a while x > a + 0.1, at most 50 times; perhaps with x stacked."""
    p, q = arg(90, (), "float64"), arg(91, (), "float64")
    test = Body.close([p, q], [bind("greater", q, sin(p) + p + 0.1)])
    body = Body.close([p, q], [sin(q / 2) + sin(p), *[q * y for y in ys]])
    return while_loop(test, body, [a], [x], 50)


def np_halved(a: Any, x: Any) -> Any:
    stacked, n = 0, 0
    while x > np.sin(a) + a + 0.1:
        stacked, n = stacked + x, n + 1
        x = np.sin(x / 2) + np.sin(a)
    return 2 * x + 2 * n + stacked


def np_both_ways(a: Any, s: Any) -> Any:
    for _ in range(3):
        s = np.sin(a @ s) + a.T @ s
    return s


def np_sines(s: Any, xs: Any) -> Any:
    for x in xs:
        s = np.sin(s) + x
    return s


def np_parted(s: Any, xs: Any) -> Any:
    r = q = p = s
    for x in xs:
        r, q, p = r + x, np.sin(r), np.sin(q)
    return q + p


def np_started(s: Any, x: Any, reverse: bool) -> Any:
    made = np.zeros(len(x))
    for n, t in enumerate(range(len(x))[:: -1 if reverse else 1]):
        made[t] = s * x[t]
        s = (np.sin(s) if n else s) + x[t]
    return made


def np_joined(a: Any, s: Any, xs: Any) -> Any:
    r, rest = a, 0
    for x in xs:
        rest += s * s
        s, r = np.exp(a * s) + x, r + s
    return s + r + rest


def chain(op: str, terms: list[Expr]) -> Expr:
    total = terms[0]
    for t in terms[1:]:
        total = bind(op, total, t)
    return total


def rewritten(e: Expr, name: str) -> tuple[Expr, dict[str, int]]:
    """`e` after one rule alone."""
    if not FUNCTIONS[name].parts:  # whole graphs are looked at
        group = frozenset({FUNCTIONS[name].group}) & OPTIONAL
        done = simplify([e], disable=frozenset({r.name for r in RULES} - {name}), enable=group)
    else:
        done = run([e], RuleSet([FUNCTIONS[name]]))
    return done.outs[0], done.fired


@pytest.mark.quick(40)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.rule)
def test_rule_alone(example):
    args = example.args()
    before = example.formula(*args)
    after, fired = rewritten(before, example.name)
    assert fired and after is not before
    check([after])
    rng = np.random.default_rng(len(example.rule))
    for _ in range(3):
        values = example.values(args, rng)
        expected = example.oracle(*values)
        for side in (before, after):
            (got,) = evaluate([side], dict(zip(args, values, strict=True)))
            np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-12)
    check_rewrite(example.name, [before], [after], nonnegative)


def test_every_rule_has_examples():
    assert {e.name for e in EXAMPLES} == set(FUNCTIONS)


# ---- the check of rewrites ---------------------------------------------------------------------

x, y = variables("x y")
A, B = arg(0, M, "float64"), arg(1, M, "float64")
W, S = arg(2, V, "float64"), arg(3, (), "float64")
BATCH = arg(4, (40, 40, 40), "float64")
WRONG = {
    "a sign": (exp(A) - B, B - exp(A)),
    "a term": ((A + sin(B)) + 1e-9 * square(A), A + sin(B)),
    "a constant": (A * 3.0, A * 3.0000001),
    "an axis": (sum_(square(A), (0,)), sum_(square(A), (1,))),
    "a transposed factor": (einsum((A, B), U, "ik"), einsum((A, B), ("ij", "kj"), "ik")),
    "a delta": (einsum((eye(3), W), ("ij", "k"), "ijk"), einsum((eye(3), W), ("ik", "j"), "ijk")),
    "a delta left out": (delta(W), spread(W, M, 1)),
    "a count": (sum_(spread(W, (3, 4), 0), (0, 1)), sum_(W, (0,))),
    "a tie": (bind("less_equal", A, B), bind("less", A, B)),
    "zero": (select(bind("equal", A, const(0.0, shape=M)), 1, A), A),
    "overflow": (bind("sigmoid", A), exp(A) / (1 + exp(A))),
    "negative numbers": (sqrt(square(A)), A),
    "a window": (slice_(W, (0,), (2,), (1,)), slice_(W, (1,), (2,), (1,))),
    "the last element": (pad(W, (4,), (0,), (1,)), pad(W, (4,), (1,), (1,))),
    "an index": tuple(gather(W, const(k, "int64", (2,)), 0) for k in (1, 2)),
    "a large array": (sum_(BATCH, (0,)), sum_(BATCH, (1,))),
    "a whole number": (bind("convert", bind("floor", A), attrs=("int64",)),
                       bind("convert", A, attrs=("int64",))),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_rewrite_is_found(what):
    before, after = WRONG[what]
    for _ in range(2):  # a rewrite that was refused is refused again
        with pytest.raises(RewriteError, match="'wrong'"):
            check_rewrite("wrong", [A, before], [A, after])


RIGHT = {
    "rounding": ((A + B) + 1e6, A + (B + 1e6)),
    "cancellation": ((A + 1e9) - 1e9, A),
    "a contraction": (einsum((einsum((A, B), U, "ik"), A), U, "ik"),
                      einsum((A, einsum((B, A), U, "ik")), U, "ik")),
    "below the least normal number": (square(A) * 2.0**-1060 * 2.0**1020,
                                      square(A) * 2.0**-40),
    "a stable form": (log(1 + exp(A)), bind("softplus", A)),
    "a comparison of what is rounded": (bind("less", (A + B) - B, A),
                                        bind("less", A, A)),
    "an inverse": (einsum((linalg.inv(A), W), ("ij", "j"), "i"), linalg.solve(A, W)),
}  # fmt: skip


@pytest.mark.parametrize("what", RIGHT)
def test_a_right_rewrite_passes(what):
    before, after = RIGHT[what]
    check_rewrite("right", [before], [after])


@pytest.mark.parametrize("value, error, found", [(1.0, 1e-15, 0), (0.0, 0.0, 0), (0.0, 5.0, None)])
def test_only_a_value_with_digits_is_lost_as_nan(value, error, found):
    """det of a singular matrix is 0 or a rounding, and a quotient by it anything."""
    before = np.array([value]), np.array([error])
    after = np.array([np.nan]), np.array([np.inf])
    assert validate._differ(before, after, strict=True)[0] == found


def test_what_a_rule_knows_of_its_operands_is_respected():
    """√(x²) = x for x >= 0; m is the maximum of x."""
    check_rewrite("known", [sqrt(square(exp(A)))], [exp(A)], nonnegative)
    top, element = bind("max", exp(W), attrs=((0,),)), reshape(cut(exp(W), (1, 1, 1)), ())
    check_rewrite("known", [bind("maximum", top, element) + sum_(exp(W), (0,))],
                  [top + sum_(exp(W), (0,))])  # fmt: skip


def test_the_suite_checks_and_off_means_off(monkeypatch):
    assert validate.enabled()
    wrong = function_rule("wrong", "sin", lambda node, context: bind("cos", *node.args), "", "")
    monkeypatch.setattr("symgrad.simplify._rule_set", lambda *a: RuleSet([wrong]))
    with pytest.raises(RewriteError, match=r"(?s)'wrong'.*= cos\(v0\).*= sin\(v0\)"):
        simplify([sin(A)])
    for off in ("0", None):
        if off is None:
            monkeypatch.delenv(validate.VARIABLE)
        else:
            monkeypatch.setenv(validate.VARIABLE, off)
        assert simplify([sin(A)]).outs == [bind("cos", A)]


def test_patterns_are_checked_too(monkeypatch):
    wrong = rule("wrong", x + y * x, x * y, "")
    monkeypatch.setattr("symgrad.simplify._rule_set", lambda *a: RuleSet([wrong]))
    with pytest.raises(RewriteError, match="'wrong'"):
        simplify([sin(A) + exp(B) * sin(A)])
