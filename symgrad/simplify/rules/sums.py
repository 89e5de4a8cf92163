"""Like terms of a sum, and constants inside a product."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

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
_MOST_MOVES = 256  # partial sums that are looked at where a term moves
_LARGEST_GROWTH = 1.0  # of all partial sums together, and with them of the error


def _like_terms(node: Expr, context: Context) -> Expr | None:
    """Σ cᵢ x = (Σ cᵢ) x within a tree of additions; terms of both signs side by side: (y - y).

    A partial sum of the new tree differs from one of the old tree by a multiple of x. If that is
    large where all old ones are small, as x is in (x - y) + (x - z), the new tree is less exact.
    So x has to be a combination of old partial sums, and all of the new ones together may be twice
    as large at most: g x - y + h x - z + k x - w stays as it is, if all its differences are small.
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
    growth = _Growth(tree, place, coefficient)
    left = _LARGEST_GROWTH
    new: dict[int, Expr | None] = {}
    for n, (base, leaves) in enumerate(bases.items()):
        total: list[float] = [0, 0]
        for k in leaves:
            total[int(coefficient[k] * tree.signs[k] < 0)] += abs(coefficient[k])
        if len(leaves) == 1 or (all(total) and tuple(leaves) in pairs):
            continue
        grown = growth.of(n, leaves, total)
        if grown > left:
            continue
        left -= grown
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


class _Growth:
    """By how much the partial sums of a tree grow where like terms are collected.

    place : which base a leaf is a multiple of
    """

    def __init__(
        self, tree: Sum, place: Mapping[int, int], coefficient: Mapping[int, float]
    ) -> None:
        self.tree, self.place, self.coefficient = tree, place, coefficient
        self._forms: np.ndarray | None = None

    def of(self, base: int, leaves: Sequence[int], total: Sequence[float]) -> float:
        """Σ |new partial sums| <= (1 + growth) Σ |old ones|, and the growth is this.

        leaves : of the base, all of which go to the place of the first
        total : of the coefficients of either sign
        """
        moved = self._moved(leaves, total) + self._rounded(leaves)
        if moved == 0 or moved == math.inf:
            return moved
        return moved * min(self._by_neighbours(base, leaves), self._by_all(base))

    def _rounded(self, leaves: Sequence[int]) -> float:
        """How many times x is, if the sum of coefficients has a rounding; 0 if it has none."""
        signed = [self._signed(k) for k in leaves]
        if all(isinstance(c, int) for c in signed):
            return 0.0
        exact, rounded = sum(map(Fraction, signed)), sum(signed)
        return 0.0 if exact == rounded else float(sum(map(abs, signed)))

    def _moved(self, leaves: Sequence[int], total: Sequence[float]) -> float:
        """How many times x the partial sums change by, all together."""
        tree, net = self.tree, total[0] - total[1]
        # (node, change of its coefficient, whether it is left out); operands have larger numbers
        changes = {k: (-self._signed(k), True) for k in leaves}
        changes[leaves[0]] = net - self._signed(leaves[0]), False
        moved = abs(net) if all(total) else 0.0
        waiting = [-k for k in changes]
        heapq.heapify(waiting)
        for _ in range(_MOST_MOVES):
            k = -heapq.heappop(waiting)
            if not waiting:  # they have met
                return moved
            parent = tree.above[k]
            change, gone = changes[k]
            other = sum(tree.below[parent] or ()) - k
            if waiting[0] == -other:
                heapq.heappop(waiting)
                change, gone = change + changes[other][0], gone and changes[other][1]
                alone = changes[k][1] != changes[other][1]
            else:
                alone, gone = gone, False
            moved += 0.0 if alone or gone else abs(change)
            changes[parent] = change, gone
            heapq.heappush(waiting, -parent)
        return math.inf

    def _signed(self, k: int) -> float:
        return self.coefficient[k] * self.tree.signs[k]

    def _by_neighbours(self, base: int, leaves: Sequence[int]) -> float:
        """x = Σ fᵢ pᵢ with old partial sums pᵢ: the largest |fᵢ|, of sums next to its leaves."""
        weights: dict[int, float] = {}
        whole = 0.0
        for k in leaves:
            parent = self.tree.above[k]
            other = sum(self.tree.below[parent] or ()) - k
            c = self._signed(k)
            if self.place.get(other) == base:  # both are leaves of it
                c = (c + self._signed(other)) / 2
            elif other in self.place:
                continue
            else:
                weights[other] = weights.get(other, 0.0) - math.copysign(1.0, c)
            share = 0.5 if other in self.place else 1.0
            weights[parent] = weights.get(parent, 0.0) + math.copysign(share, c)
            whole += abs(c)
        return max(map(abs, weights.values())) / whole if whole else math.inf

    def _by_all(self, base: int) -> float:
        """The same, of all partial sums."""
        if len(self.tree.leaves) > _MOST_FORMS:
            return math.inf
        if self._forms is None:
            self._forms = self.tree.forms(self.place, self.coefficient)
        size = np.maximum(np.max(np.abs(self._forms), axis=0), 1e-300)
        forms = self._forms / size
        wanted = np.zeros(forms.shape[1])
        wanted[base] = 1
        factors = np.linalg.lstsq(forms.T, wanted, rcond=None)[0]
        if np.max(np.abs(factors @ forms - wanted)) >= 1e-9:
            return math.inf
        return float(np.max(np.abs(factors)) / size[base])


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
