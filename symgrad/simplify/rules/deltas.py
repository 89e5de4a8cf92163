"""Rules on sums that have Kronecker deltas among their terms, as second derivatives do.

A term with a delta is zero off a diagonal. Added to an array that is not, it would be filled up
with zeros, and everything that reads the sum would multiply by them. So products and contractions
take the terms of such a sum one by one, until the deltas have contracted or the result is reached;
terms with the same deltas are one term. What has no delta stays one sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from symgrad.expr.node import CONST, EYE, Expr, bind, const, const_value, is_const
from symgrad.expr.walk import rebuild
from symgrad.ops.einsum import EINSUM
from symgrad.ops.elementwise import ADD, MULTIPLY, NEGATIVE, SELECT, SUBTRACT, select
from symgrad.ops.linear import BROADCAST, PAD, PERMUTE, RESHAPE, pad, slice_
from symgrad.simplify.pattern import Context, Rule, function_rule
from symgrad.simplify.rules.views import unit_axes
from symgrad.simplify.terms import Product, Sum, Term, add_up, contract, is_delta, sum_of

_PRODUCTS = (MULTIPLY, NEGATIVE, EINSUM, BROADCAST, PERMUTE)
_MOST_TERMS = 16  # longer sums are left as they are


def _below(e: Expr) -> Expr | None:
    """What is repeated, permuted or scaled to `e`, or None."""
    if e.op in (BROADCAST, PERMUTE, NEGATIVE):
        return e.args[0]
    if e.op is MULTIPLY:
        for this, other in (e.args, e.args[::-1]):
            if this.op is CONST:
                return other
    return None


def _apart(e: Expr) -> list[tuple[int, Expr]] | None:
    """The signed terms with deltas of a sum, and the sum of the others; None for anything else."""
    above: list[Expr] = []
    inner: Expr | None = e
    while inner is not None and inner.op is not ADD and inner.op is not SUBTRACT:
        if len(above) == _MOST_TERMS:
            return None
        above.append(inner)
        inner = _below(inner)
    if inner is None:
        return None
    tree = Sum(inner, lambda x: True, _MOST_TERMS)
    deltas = [k for k in tree.leaves if is_delta(tree.nodes[k])]
    if not tree.complete or not deltas:
        return None
    terms = [(tree.signs[k], tree.nodes[k]) for k in deltas]
    others = tree.exchanged(dict.fromkeys(deltas))
    if others is not None:
        terms.append((1, others))
    result = []
    for sign, x in terms:
        for view in reversed(above):
            x = rebuild(view, tuple([x if a is _below(view) else a for a in view.args]))
        result.append((sign, x))
    return result


def _distribute(node: Expr, context: Context) -> Expr | None:
    """f(a + δ b) = f(a) + f(δ b) for a product, contraction or sum f."""
    for position, a in enumerate(node.args):
        if node.op is MULTIPLY and node.args[1 - position].op is CONST:
            continue
        if node.op is SELECT and not _keeps_zero(node, position):
            continue
        terms = _apart(a)
        if terms is not None:
            before, after = node.args[:position], node.args[position + 1 :]
            return add_up(
                [(sign, bind(node.op, *before, x, *after, attrs=node.attrs)) for sign, x in terms]
            )
    return None


class _Term:
    """Δ r: deltas between axes, times factors indexed by axes.

    alike : for each axis the last one that a delta makes equal to it. Axes of seeds come first, so
        this is the axis of what is differentiated: a zero off the diagonal stays as far from what
        the factors are elsewhere as it was.
    """

    def __init__(self, e: Expr, context: Context, summing: bool = False) -> None:
        product = Product(context, summing)
        product.add(e, tuple(range(e.ndim)), 0)
        self.size, self.scale = product.size, product.scale
        self.alike = list(range(e.ndim))
        self.deltas: list[tuple[Expr, Term]] = []
        pairs = list(zip(product.factors, product.terms, strict=True))
        for f, t in pairs:
            if f.op is EYE and t[0] != t[1] and _are_axes(t):
                self.deltas.append((f, t))
                low, high = sorted(self.alike[k] for k in t)
                self.alike = [high if k == low else k for k in self.alike]
        self.rest = [(f, self.last(t)) for f, t in pairs if (f, t) not in self.deltas]

    def last(self, labels: Term) -> Term:
        """The labels of a factor, with one name for axes that are equal."""
        return tuple(self.alike[k] if isinstance(k, int) else k for k in labels)

    def axes(self) -> set[int]:
        """The axes along which the factors differ."""
        return {k for _, t in self.rest for k in t if isinstance(k, int)}

    def factor(self, axes: Term, dtype: str) -> Expr:
        """The product of the factors as an array over `axes`."""
        # what is summed counts even if it is in no factor: Σₖ 1 = n
        summed = [k for k in self.size if not isinstance(k, int)]
        size = {k: self.size[k] for k in (*axes, *sorted(summed, key=repr))}
        if not self.rest:
            count = math.prod(self.size[k] for k in summed)
            return const(self.scale * count, dtype, tuple(self.size[k] for k in axes))
        result = contract([f for f, _ in self.rest], [t for _, t in self.rest], axes, size)
        return result if self.scale == 1 else result * self.scale

    def times(self, value: Expr, axes: Term, shared: Sequence[tuple[Expr, Term]] = ()) -> Expr:
        """The deltas, times `value` over `axes`."""
        factors = [*self.deltas, *shared, (value, axes)]
        size = {k: self.size[k] for k in range(len(self.alike))}
        return contract([f for f, _ in factors], [t for _, t in factors], tuple(size), size)


def _are_axes(labels: Term) -> bool:
    return all(isinstance(k, int) for k in labels)


def _collect(node: Expr, context: Context) -> Expr | None:
    """δ a + δ b = δ (a + b), with what a and b have in common in front of the sum as well."""
    if context.is_inner(node):
        return None
    tree = sum_of(node, context)
    if len(tree.leaves) > _MOST_TERMS:
        return None
    groups: dict[Any, list[tuple[int, _Term]]] = {}
    for k in tree.leaves:
        term = _Term(tree.nodes[k], context) if is_delta(tree.nodes[k]) else None
        if term is not None and term.deltas:
            groups.setdefault(tuple(term.alike), []).append((k, term))
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return None
    totals = [_merged([(tree.signs[k], term) for k, term in g], node.dtype) for g in several]
    return tree.merged([[k for k, _ in group] for group in several], totals)


def _merged(group: list[tuple[int, _Term]], dtype: str) -> Expr:
    """The sum of terms with the same deltas."""
    assert all(term.alike == group[0][1].alike for _, term in group)
    shared = _take_shared([term for _, term in group])
    axes = tuple(sorted(set().union(*(term.axes() for _, term in group))))
    total = add_up([(sign, term.factor(axes, dtype)) for sign, term in group])
    return group[0][1].times(total, axes, shared)


def _take_shared(terms: list[_Term]) -> list[tuple[Expr, Term]]:
    """The factors that all terms have; they are taken out of them."""
    shared = []
    for pair in list(terms[0].rest):
        if _are_axes(pair[1]) and all(pair in term.rest for term in terms):
            shared.append(pair)
            for term in terms:
                term.rest.remove(pair)
    return shared


def _factor_out(node: Expr, context: Context) -> Expr | None:
    """a x + a y = a (x + y) where an axis that only `a` has makes the sum smaller."""
    if context.is_inner(node) or sum(n != 1 for n in node.shape) < 2:
        return None
    tree = sum_of(node, context)
    leaves = [(tree.signs[k], tree.nodes[k]) for k in tree.leaves]
    if len(leaves) > _MOST_TERMS or any(e.op not in _PRODUCTS or is_delta(e) for _, e in leaves):
        return None
    group = [(sign, _Term(e, context, summing=True)) for sign, e in leaves]
    if any(term.deltas for _, term in group):  # deeper than `is_delta` looks
        return None
    shared = set(group[0][1].rest).intersection(*(term.rest for _, term in group))
    own = [pair for _, term in group for pair in term.rest if pair not in shared]
    axes = {k for _, t in own for k in t}
    if all(k in axes for k, n in enumerate(node.shape) if n != 1):
        return None
    return _merged(group, node.dtype)


def _padded(f: Expr) -> bool:
    """Whether `f` is a delta, perhaps with more axes of size 1, with zeros around."""
    if f.op is not PAD:
        return False
    inner = f.args[0]
    return is_delta(inner.args[0] if inner.op is RESHAPE and unit_axes(inner) else inner)


def _concat_zeros(node: Expr, context: Context) -> Expr | None:
    """A delta joined with zeros is a pad of it."""
    axis, start, found = node.attrs[0], 0, None
    for part in node.args:
        if not is_const(part, 0):
            starts = tuple(start if k == axis else 0 for k in range(node.ndim))
            padded = pad(part, node.shape, starts, (1,) * node.ndim)
            if found is not None or not _padded(padded):
                return None
            found = padded
        start += part.shape[axis]
    return found


def _inside_pad(node: Expr, context: Context) -> Expr | None:
    """Σ pad(δ) x = Σ δ slice(x); along an axis that remains the result is padded."""
    if node.op is EINSUM:
        inputs, output = node.attrs
    else:
        inputs, output = (tuple(range(node.ndim)),) * 2, tuple(range(node.ndim))
    for p, f in enumerate(node.args):
        if _padded(f) and len(set(inputs[p])) == len(inputs[p]):
            break
    else:
        return None
    _, offsets, strides = f.attrs
    window = dict(zip(inputs[p], zip(offsets, f.args[0].shape, strides, strict=True), strict=True))
    factors = []
    for g, labels in zip(node.args, inputs, strict=True):
        if g is f and labels == inputs[p]:
            factors.append(f.args[0])
            continue
        if g.op is EYE and any(k in window and window[k] != (0, g.shape[0], 1) for k in labels):
            return None
        parts = [window.get(k, (0, n, 1)) for k, n in zip(labels, g.shape, strict=True)]
        factors.append(slice_(g, *(tuple(t) for t in zip(*parts, strict=True))) if parts else g)
    inner = bind(node.op, *factors, attrs=node.attrs)
    around = [window.get(k, (0, n, 1)) for k, n in zip(output, node.shape, strict=True)]
    return pad(inner, node.shape, tuple(a for a, _, _ in around), tuple(s for _, _, s in around))


def _zero_at_zero(node: Expr, context: Context) -> Expr | None:
    """f(δ a, b) = δ f(a, b) where f is 0 for a = 0: quotients, selections."""
    for position, a in enumerate(node.args):
        if a.dtype == node.dtype and is_delta(a) and _keeps_zero(node, position):
            break
    else:
        return None
    term = _Term(a, context)
    if not term.deltas:
        return None
    cores = [_core(b, term) for b in node.args]
    cores[position] = (const(0, a.dtype), ())
    if any(b.dtype == "bool" and len(set(t)) < len(t) for b, t in cores):
        return None
    axes = tuple(sorted(term.axes().union(*(t for _, t in cores))))
    size = {k: term.size[k] for k in axes}
    args = [contract([b], [t], axes, size) for b, t in cores]
    args[position] = term.factor(axes, a.dtype)
    return term.times(bind(node.op, *args, attrs=node.attrs), axes)


def _core(b: Expr, term: _Term) -> tuple[Expr, Term]:
    """What is repeated and permuted to `b`, and its labels in `term`."""
    labels: Term = tuple(range(b.ndim))
    if b.op is CONST:
        return const(const_value(b), b.dtype), ()
    while b.op is BROADCAST or b.op is PERMUTE:
        places = b.attrs[1] if b.op is BROADCAST else _inverse(b.attrs[0])
        b, labels = b.args[0], tuple(labels[k] for k in places)
    return b, term.last(labels)


def _select_apart(node: Expr, context: Context) -> Expr | None:
    """(c ? x : y) = (c ? x : 0) + (c ? 0 : y) where x or y has a delta."""
    c, x, y = node.args
    if is_const(x, 0) or is_const(y, 0):
        return None
    if not any(is_delta(a) or _apart(a) for a in (x, y)):
        return None
    return select(c, x, 0) + select(c, 0, y)


def _select_together(node: Expr, context: Context) -> Expr | None:
    """(c ? x : 0) + (c ? 0 : y) = (c ? x : y) where neither has a delta."""
    for first, second in (node.args, node.args[::-1]):
        if first.op is SELECT and second.op is SELECT and first.args[0] is second.args[0]:
            c, x, y = first.args[0], first.args[1], second.args[2]
            if is_const(first.args[2], 0) and is_const(second.args[1], 0):
                if not any(is_delta(a) or _apart(a) for a in (x, y)):
                    return select(c, x, y)
    return None


def _keeps_zero(node: Expr, position: int) -> bool:
    if node.op is SELECT:
        return position > 0 and is_const(node.args[3 - position], 0)
    return position == 0


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(perm.index(k) for k in range(len(perm)))


DELTAS: tuple[Rule, ...] = (
    function_rule(
        "delta-sum",
        "multiply einsum sum select",
        _distribute,
        "f(a + δ b) = f(a) + f(δ b)",
        "einsum",
        rank=0,
        axes=2,
    ),
    function_rule(
        "delta-terms",
        "add subtract",
        _collect,
        "δ a + δ b = δ (a + b)",
        "einsum",
        axes=2,
    ),
    function_rule(
        "common-factor",
        "add subtract",
        _factor_out,
        "a x + a y = a (x + y) for x and y of fewer axes",
        "einsum",
        "multiply einsum",
        axes=2,
    ),
    function_rule(
        "delta-select",
        "select",
        _select_apart,
        "(c ? δ x : y) = (c ? δ x : 0) + (c ? 0 : y)",
        "einsum",
        axes=2,
    ),
    function_rule(
        "select-together",
        "add",
        _select_together,
        "(c ? x : 0) + (c ? 0 : y) = (c ? x : y)",
        "einsum",
        "select",
    ),
    function_rule(
        "delta-padded", "concat", _concat_zeros, "a delta joined with zeros is padded", "einsum"
    ),
    function_rule(
        "delta-in-window",
        "einsum multiply",
        _inside_pad,
        "Σ pad(δ) x = Σ δ slice(x)",
        "einsum",
        "pad",
        rank=0,
    ),
    function_rule(
        "delta-inside",
        "divide select",
        _zero_at_zero,
        "δ a / b = δ (a / b); the same for selections with a zero",
        "einsum",
        axes=2,
    ),
)
