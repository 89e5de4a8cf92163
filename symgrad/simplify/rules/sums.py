"""Like terms of a sum, and constants inside a product."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from symgrad.expr.node import CONST, Expr, const
from symgrad.ops.elementwise import MULTIPLY, NEGATIVE
from symgrad.ops.linear import BROADCAST, broadcast
from symgrad.simplify.facts import LARGEST_SCALE, number, scalable
from symgrad.simplify.pattern import (
    Context,
    Rule,
    constants,
    function_rule,
    operation,
    variables,
)
from symgrad.simplify.terms import Sum, sum_of

_MOST_FORMS = 32  # leaves of a sum whose partial sums are looked at as a whole
_LARGEST_FACTOR = 8.0  # by which the error may grow


def _like_terms(node: Expr, context: Context) -> Expr | None:
    """Σ cᵢ x = (Σ cᵢ) x within a tree of additions; terms of both signs side by side: (y - y).

    A partial sum of the new tree differs from one of the old tree by a multiple of x. If that is
    large where all old ones are small, as x is in (x - y) + (x - z), the new tree is less exact.
    So x has to be a combination of old partial sums.
    """
    if context.is_inner(node) or node.dtype == "bool":
        return None
    tree = sum_of(node, context)
    if len(tree.leaves) < 3:
        return None
    bases, coefficient = _bases(tree, context)
    if len(bases) == len(tree.leaves):
        return None
    place = {k: n for n, leaves in enumerate(bases.values()) for k in leaves}
    pairs = {pair for pair in tree.below if pair is not None}  # operands of one operation
    # The difference between two partial sums, or one of them.
    bounded = {
        place[k]
        for pair in pairs
        for k, other in (pair, pair[::-1])
        if k in place and place.get(other, place[k]) == place[k]
    }
    new: dict[int, Expr | None] = {}
    for n, (base, leaves) in enumerate(bases.items()):
        total: list[float] = [0, 0]
        for k in leaves:
            total[int(coefficient[k] * tree.signs[k] < 0)] += abs(coefficient[k])
        if len(leaves) == 1 or (all(total) and tuple(leaves) in pairs):
            continue
        if n not in bounded and not _is_combination(tree, n, place, coefficient):
            continue
        terms = [base if c == 1 else base * like(c, base) for c in total if c]
        first, *others = leaves
        if len(terms) == 2:  # not 0: y may be infinite
            positive = terms[0] - terms[1] if tree.signs[first] > 0 else terms[1] - terms[0]
            new[first] = positive
        else:
            new[first] = terms[0] if (total[0] > 0) == (tree.signs[first] > 0) else -terms[0]
        new.update(dict.fromkeys(others))
    return tree.exchanged(new) if new else None


def _bases(tree: Sum, context: Context) -> tuple[dict[Expr, list[int]], dict[int, float]]:
    """What the leaves are multiples of, with its leaves, and the factor of each leaf."""
    bases: dict[Expr, list[int]] = {}
    coefficient: dict[int, float] = {}  # whole if the terms are
    for k in tree.leaves:
        c: float = 1
        base = tree.nodes[k]
        if base.op is NEGATIVE:
            c, base = -c, base.args[0]
        if base.op is MULTIPLY and base.args[0].op is CONST and context.single(base):
            if scalable(number(base.args[0])):
                c, base = c * number(base.args[0]), base.args[1]
        bases.setdefault(base, []).append(k)
        coefficient[k] = c
    return bases, coefficient


def _is_combination(
    tree: Sum, column: int, place: Mapping[int, int], coefficient: Mapping[int, float]
) -> bool:
    """Whether a term is a combination of partial sums, with moderate factors."""
    if len(tree.leaves) > _MOST_FORMS:
        return False
    forms = tree.forms(place, coefficient)
    forms /= np.maximum(np.max(np.abs(forms), axis=0), 1e-300)
    wanted = np.zeros(forms.shape[1])
    wanted[column] = 1
    factors = np.linalg.lstsq(forms.T, wanted, rcond=None)[0]
    exact = np.max(np.abs(factors @ forms - wanted)) < 1e-9
    return bool(exact and np.sum(np.abs(factors)) <= _LARGEST_FACTOR)


def like(value: float, node: Expr) -> Expr:
    return const(value, node.dtype, node.shape)


def _scale_inside(node: Expr, context: Context) -> Expr | None:
    """c (a (d b)) = (cd)(a b) for |cd| >= 1, also where a broadcast is in between."""
    c, product = node.args if node.args[0].op is CONST else node.args[::-1]
    if c.op is not CONST or product.op is not MULTIPLY or not context.single(product):
        return None
    for a, t in (product.args, product.args[::-1]):
        view = t if t.op is BROADCAST else None
        inner = t.args[0] if view is not None else t
        if inner.op is MULTIPLY and inner.args[0].op is CONST and context.single(t):
            if not context.single(inner):
                continue
            scale = number(c) * number(inner.args[0])
            if 1 <= abs(scale) <= LARGEST_SCALE:
                b = inner.args[1]
                b = b if view is None else broadcast(b, *view.attrs)
                return (a * b) * like(scale, node)
    return None


_X, _Y, _Z = variables("x y z")
(_C,) = constants("c")

COLLECT: list[Rule] = [
    function_rule("like-terms", "add subtract", _like_terms,
                  "Σ cᵢ x = (Σ cᵢ) x within a sum, y - y side by side, where nothing is lost",
                  "algebra", "add subtract", rank=2),
    function_rule("scale-inside", "multiply", _scale_inside,
                  "c(a(db)) = (cd)(ab) for 1 <= |cd| <= 2^64", "algebra",
                  like=(_C * (_X * (_Y * _Z)), _C * (_X * operation("broadcast", _Y)))),
]  # fmt: skip
