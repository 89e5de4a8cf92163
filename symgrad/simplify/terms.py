"""Products and sums under construction: taken apart into factors and terms, and put together.

`Product` is an indexed product (an einsum) with its scale taken out, `Sum` a tree of additions.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from symgrad.expr.node import CONST, EYE, Expr, bind, const, const_value
from symgrad.ops.einsum import EINSUM, einsum
from symgrad.ops.elementwise import ADD, MULTIPLY, NEGATIVE, SUBTRACT
from symgrad.ops.linear import BROADCAST, PERMUTE, SUM, broadcast
from symgrad.simplify.facts import axes_except, number, scalable
from symgrad.simplify.pattern import Context

Term = tuple[Any, ...]
_MOST_FACTORS = 10
_MOST_LABELS = 24


def contract(factors: list[Expr], terms: list[Term], output: Term, size: dict[Any, int]) -> Expr:
    """einsum where a label of `size` may be in no factor: then it repeats, or counts."""
    present = {k for t in terms for k in t}
    count = 1
    for k in size:
        if k not in present and k not in output:
            count *= size[k]
    kept = tuple(k for k in output if k in present)
    if len(factors) == 1 and factors[0].op is EYE and set(terms[0]) == set(kept) and len(kept) == 2:
        result = factors[0]
    else:
        result = einsum(factors, terms, kept)
    if count != 1:
        result = result * count
    if kept != tuple(output):
        shape = tuple(size[k] for k in output)
        result = broadcast(result, shape, tuple(output.index(k) for k in kept))
    return result


def has_delta(node: Expr) -> bool:
    """Whether an einsum has a Kronecker delta among its factors."""
    return any(f.op is EYE for f in node.args)


def _inlines(inner: Expr, context: Context) -> bool:
    """Whether an einsum inside an einsum disappears into it."""
    if context.single(inner) or has_delta(inner):
        return True
    return inner.size > max(f.size for f in inner.args)  # an outer product: never worth storing


class Product:
    """A product of indexed factors under construction, with the scale taken out of it."""

    def __init__(self, context: Context, summing: bool) -> None:
        self.context = context
        self.summing = summing
        self.factors: list[Expr] = []
        self.terms: list[Term] = []
        self.size: dict[Any, int] = {}
        self.scale: float = 1
        self.fresh = 0
        self.changed = False

    def add(self, factor: Expr, labels: Term, budget: int) -> None:
        """Add `factor`, looking through what only moves, repeats, scales or multiplies."""
        todo = [(factor, labels)]
        while todo:
            f, labels = todo.pop()
            for k, n in zip(labels, f.shape, strict=True):
                self.size[k] = n
            opened = self.open(f, labels, budget + len(todo))
            if opened is None:
                self.factors.append(f)
                self.terms.append(labels)
            else:
                self.changed = True
                todo.extend(reversed(opened))

    def open(self, f: Expr, labels: Term, others: int) -> list[tuple[Expr, Term]] | None:
        row = f.op
        room = len(self.factors) + others + 2 <= _MOST_FACTORS
        if row is PERMUTE:
            back = f.attrs[0]
            return [(f.args[0], tuple(labels[back.index(k)] for k in range(f.ndim)))]
        if row is BROADCAST:
            return [(f.args[0], tuple(labels[d] for d in f.attrs[1]))]
        if row is NEGATIVE:
            self.scale = -self.scale
            return [(f.args[0], labels)]
        if row is CONST and f.ndim and scalable(self.scale * number(f)):
            return [(const(const_value(f), f.dtype), ())]
        if row is MULTIPLY:
            for this, other in (f.args, f.args[::-1]):
                if this.op is CONST and scalable(self.scale * number(this)):
                    self.scale *= number(this)
                    return [(other, labels)]
            if room and self.separates(f):
                return [(a, labels) for a in f.args]
        if row is EINSUM and len(self.factors) + others + len(f.args) <= _MOST_FACTORS:
            if _inlines(f, self.context) and len(self.size) < _MOST_LABELS:
                inputs, output = f.attrs
                name = dict(zip(output, labels, strict=True))
                return [(g, tuple(self.name(name, k) for k in t))
                        for g, t in zip(f.args, inputs, strict=True)]  # fmt: skip
        if row is SUM and self.context.single(f) and self.context.single(f.args[0]):
            if self.summing and len(self.size) < _MOST_LABELS and f.args[0].op is MULTIPLY:
                kept = axes_except(f.args[0].ndim, f.attrs[0])
                name = dict(zip(kept, labels, strict=True))
                return [(f.args[0], tuple(self.name(name, k) for k in range(f.args[0].ndim)))]
        return None

    def separates(self, product: Expr) -> bool:
        """Whether the factors of a product gain from being factors of the contraction.

        They do if one of them lacks an axis or is itself contracted; otherwise the product is one
        pointwise factor, see `grouped`.
        """
        if not self.summing and not any(is_delta(a) for a in product.args):
            return False
        stack = [product]
        looked = 0
        while stack:
            e = stack.pop()
            looked += 1
            if is_delta(e):
                return True
            if e.op is BROADCAST or (e.op is EINSUM and _inlines(e, self.context)):
                return self.context.single(product) or _is_outer(product)
            if e.op in (MULTIPLY, NEGATIVE, PERMUTE) and looked < _MOST_FACTORS:
                if e is product or self.context.single(e):
                    stack.extend(e.args)
        return False

    def group(self) -> bool:
        """Multiply factors of the same labels together; whether there were any."""
        groups: dict[Term, list[Expr]] = {}
        deltas: set[frozenset[Any]] = set()
        for f, t in zip(self.factors, self.terms, strict=True):
            if f.op is EYE and len(set(t)) == 2:  # δ² = δ
                if frozenset(t) in deltas:
                    continue
                deltas.add(frozenset(t))
            groups.setdefault(t, []).append(f)
        alone = sum(1 for t in groups if t) == 1
        factors: list[Expr] = []
        terms: list[Term] = []
        for t, members in groups.items():
            points = [f for f in members if f.op is not EYE and f.op is not EINSUM]
            others = [f for f in members if f.op is EYE or f.op is EINSUM]
            if not t or len(set(t)) < len(t):
                points, others = [], members
            if alone and len(members) > 1 and not others:  # Σ a b keeps its two factors
                others = [points.pop()]
            if points:
                total = points[0]
                for f in points[1:]:
                    total = total * f
                others = [total, *others]
            factors += others
            terms += [t] * len(others)
        if len(factors) == len(self.factors):
            return False
        self.factors, self.terms = factors, terms
        return True

    def name(self, names: dict[Any, Any], k: Any) -> Any:
        if k not in names:
            self.fresh += 1
            names[k] = ("inner", self.fresh)
        return names[k]

    def result(self, output: Term) -> Expr:
        """The product summed over what is not in `output`."""
        scalars = [f for f, t in zip(self.factors, self.terms, strict=True) if not t]
        rest = [(f, t) for f, t in zip(self.factors, self.terms, strict=True) if t]
        rest.sort(key=lambda pair: pair[0].order)  # the result is the same however it was reached
        shape = tuple(self.size[k] for k in output)
        if rest:
            out = contract([f for f, _ in rest], [t for _, t in rest], output, self.size)
        else:
            count = 1
            for k, n in self.size.items():
                count *= 1 if k in output else n
            out = const(count, self.factors[0].dtype, shape)
        if scalars:
            scalars.sort(key=lambda s: s.order)
            out = broadcast(functools.reduce(operator.mul, scalars), shape, ()) * out
        if self.scale != 1:
            out = out * const(self.scale, out.dtype, out.shape)
        return out


def _is_outer(product: Expr) -> bool:
    """Whether all factors of a product are smaller than it: it is never worth storing."""
    stack, looked = [product], 0
    while stack:
        e = stack.pop()
        looked += 1
        while e.op in (PERMUTE, BROADCAST, NEGATIVE):
            e = e.args[0]
        if e.op is MULTIPLY and e.size == product.size and looked < _MOST_FACTORS:
            stack.extend(e.args)
        elif e.size >= product.size:
            return False
    return True


def is_delta(a: Expr) -> bool:
    """Whether `a` is a product with a delta, also one that is repeated, permuted or scaled."""
    for _ in range(_MOST_FACTORS):
        if a.op is PERMUTE or a.op is BROADCAST or a.op is NEGATIVE:
            a = a.args[0]
        elif a.op is MULTIPLY and _is_uniform(a.args[0]):
            a = a.args[1]
        elif a.op is MULTIPLY and _is_uniform(a.args[1]):
            a = a.args[0]
        else:
            break
    return a.op is EYE or (a.op is EINSUM and has_delta(a))


def _is_uniform(a: Expr) -> bool:
    return a.op is CONST or (a.op is BROADCAST and not a.args[0].ndim)


class Sum:
    """A tree of additions and subtractions, whose leaves can be exchanged one by one.

    What is not exchanged stays associated as it was: a sum whose terms cancel is as exact as the
    user wrote it. Leaves are known by their number, since one node may be several of them.

    Attributes
    ----------
    leaves : numbers of the leaves, from left to right
    below, above : operands of each node, and the node that it is an operand of
    """

    def __init__(self, node: Expr, opens: Callable[[Expr], bool], most: int | None = None) -> None:
        self.nodes = [node]
        self.signs = [1]
        self.below: list[tuple[int, int] | None] = []
        self.leaves: list[int] = []
        self.complete = True  # not more than `most` leaves
        stack = [0]
        opened: dict[int, tuple[int, int]] = {}
        while stack:
            k = stack.pop()
            e, sign = self.nodes[k], self.signs[k]
            if e.op in (ADD, SUBTRACT) and (k == 0 or opens(e)):
                left, right = len(self.nodes), len(self.nodes) + 1
                self.nodes += e.args
                self.signs += [sign, sign if e.op is ADD else -sign]
                opened[k] = left, right
                stack += [right, left]
            else:
                self.leaves.append(k)
            if most is not None and len(self.leaves) + len(stack) > most:
                self.complete = False
                break
        self.below = [opened.get(k) for k in range(len(self.nodes))]
        self.above = [-1] * len(self.nodes)
        for k, pair in opened.items():
            self.above[pair[0]] = self.above[pair[1]] = k

    def exchanged(self, new: Mapping[int, Expr | None]) -> Expr | None:
        """The sum with other leaves; None takes one out. None if nothing is left."""
        values: list[Expr | None] = list(self.nodes)
        for k in reversed(range(len(self.nodes))):
            pair = self.below[k]
            if pair is None:
                values[k] = new.get(k, self.nodes[k])
                continue
            e = self.nodes[k]
            left, right = values[pair[0]], values[pair[1]]
            if left is e.args[0] and right is e.args[1]:
                continue
            if right is None:
                values[k] = left
            elif left is None:
                values[k] = right if e.op is ADD else -right
            else:
                values[k] = bind(e.op, left, right)
        return values[0]

    def merged(self, groups: Sequence[Sequence[int]], totals: Sequence[Expr]) -> Expr:
        """The sum with each group of leaves replaced by its total, where its first leaf stands."""
        new: dict[int, Expr | None] = {}
        for group, total in zip(groups, totals, strict=True):
            new.update(dict.fromkeys(group))
            new[group[0]] = total if self.signs[group[0]] > 0 else -total
        result = self.exchanged(new)
        assert result is not None
        return result

    def forms(self, number: Mapping[int, int], coefficient: Mapping[int, float]) -> np.ndarray:
        """Coefficients of every partial sum: a row for each, a column for each number of a leaf."""
        width = max(number.values()) + 1
        rows = np.zeros((len(self.nodes), width))
        for k in self.leaves:
            rows[k, number[k]] = coefficient[k] * self.signs[k]
        for k in reversed(range(len(self.nodes))):
            pair = self.below[k]
            if pair is not None:
                rows[k] = rows[pair[0]] + rows[pair[1]]
        return rows[[k for k, pair in enumerate(self.below) if pair is not None]]


def sum_of(node: Expr, context: Context) -> Sum:
    """The tree of additions under `node` whose inner nodes have no other user."""
    return Sum(node, context.is_inner)


def add_up(terms: list[tuple[int, Expr]]) -> Expr:
    """The sum of signed terms in their order, but for a positive one first where there is one."""
    first = next((k for k, (sign, _) in enumerate(terms) if sign > 0), 0)
    total = terms[first][1] if terms[first][0] > 0 else -terms[first][1]
    for k, (sign, e) in enumerate(terms):
        if k != first:
            total = total + e if sign > 0 else total - e
    return total
