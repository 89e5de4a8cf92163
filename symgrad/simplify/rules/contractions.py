"""Products and sums of whole arrays as contractions, in one normal form.

Contractions are re-associated, as any optimised linear algebra library does. So these rules, and
those in `sums`, `scatters` and `deltas`, hold for magnitudes whose products stay clear of overflow,
and up to the sign of a zero sum; constants pulled out of a sum lie within 2^±64. Everything else
holds as stated in `algebra`.
"""

from __future__ import annotations

from symgrad.expr.node import CONST, EYE, Expr, const, const_value
from symgrad.ops.einsum import EINSUM, einsum, sizes
from symgrad.ops.elementwise import DIVIDE, MULTIPLY, NEGATIVE
from symgrad.ops.linear import (
    BROADCAST,
    PAD,
    PERMUTE,
    RESHAPE,
    broadcast,
    pad,
    permute,
    reshape,
    sum_,
)
from symgrad.simplify.facts import axes_except, number, scalable
from symgrad.simplify.pattern import Context, Rule, function_rule
from symgrad.simplify.rules.views import unit_axes
from symgrad.simplify.terms import Product, has_delta, is_delta
from symgrad.simplify.vocabulary import SQUARE


def _flatten(node: Expr, context: Context) -> Expr | None:
    """einsum: views, scales, products and inner contractions dissolve into it."""
    inputs, output = node.attrs
    size = sizes(node.args, inputs)
    product = Product(context, summing=len(output) < len(size))
    for k, (f, labels) in enumerate(zip(node.args, inputs, strict=True)):
        product.add(f, labels, len(node.args) - k - 1)
    grouped = product.group()
    if not product.changed and not grouped and all(product.terms):
        return None
    return product.result(output)


def _einsum_product(node: Expr, context: Context) -> Expr | None:
    """An einsum that sums nothing and has no delta is an elementwise product of views."""
    inputs, output = node.attrs
    for f, labels in zip(node.args, inputs, strict=True):
        if f.op is EYE or len(set(labels)) < len(labels) or not set(labels) <= set(output):
            return None
    views = []
    for f, labels in zip(node.args, inputs, strict=True):
        places = [output.index(k) for k in labels]
        order = tuple(sorted(range(len(places)), key=places.__getitem__))
        views.append(broadcast(permute(f, order), node.shape, tuple(sorted(places))))
    result = views[0]
    for v in views[1:]:
        result = result * v
    return result


def _einsum_units(node: Expr, context: Context) -> Expr | None:
    """Axes of size 1 are no labels."""
    inputs, output = node.attrs
    size = sizes(node.args, inputs)
    if 1 not in size.values() or 0 in size.values():
        return None
    factors, terms = [], []
    for f, labels in zip(node.args, inputs, strict=True):
        if f.op is EYE and 1 in f.shape:
            f, labels = const(1, f.dtype), ()
        kept = tuple(k for k in labels if size[k] != 1)
        factors.append(reshape(f, tuple(size[k] for k in kept)) if len(set(labels)) == len(labels)
                       else f)  # fmt: skip
        if factors[-1].ndim != len(kept):
            return None
        terms.append(kept)
    kept_output = tuple(k for k in output if size[k] != 1)
    return reshape(einsum(factors, terms, kept_output), node.shape)


def _sum_product(node: Expr, context: Context) -> Expr | None:
    """Σ of a product is an einsum; Σ of an einsum is one with fewer output labels."""
    x, axes = node.args[0], node.attrs[0]
    output = axes_except(x.ndim, axes)
    labels = tuple(range(x.ndim))
    if x.op is SQUARE and context.single(x):
        return einsum((x.args[0], x.args[0]), (labels, labels), output)
    if x.op is MULTIPLY:
        if not context.single(x) and not any(
            a.op is BROADCAST or a.op is CONST or is_delta(a) for a in x.args
        ):
            return None
        product = Product(context, summing=True)
        for k, a in enumerate(x.args):
            product.add(a, labels, 1 - k)
        return product.result(output)
    if x.op is EINSUM and (context.single(x) or has_delta(x)):
        inputs, kept = x.attrs
        return einsum(x.args, inputs, tuple(kept[k] for k in output))
    return None


def _sum_view(node: Expr, context: Context) -> Expr | None:
    """Σ of a view, of an identity matrix, of a scaled array."""
    x, axes = node.args[0], node.attrs[0]
    if x.size == 0:
        return const(0, node.dtype, node.shape) if node.size else None
    if x.op is CONST:
        return const(const_value(x) * (x.size // node.size), node.dtype, node.shape)
    if x.op is EYE:
        return const(1 if len(axes) == 1 else x.shape[0], x.dtype, node.shape)
    if x.op is BROADCAST:
        dims = x.attrs[1]
        kept = axes_except(x.ndim, axes)
        count = 1
        for k in axes:
            count *= x.shape[k] if k not in dims else 1
        if count == 1 and set(axes) <= set(dims) and not any(d in kept for d in dims):
            return broadcast(sum_(x.args[0], tuple(range(len(dims)))), node.shape, ())
        inner = sum_(x.args[0], tuple(k for k, d in enumerate(dims) if d in axes))
        inner = inner if count == 1 else inner * count
        return broadcast(inner, node.shape, tuple(kept.index(d) for d in dims if d in kept))
    if x.op is PERMUTE:
        perm = x.attrs[0]
        inner_axes = tuple(sorted(perm[k] for k in axes))
        inner_kept = axes_except(x.ndim, inner_axes)
        inner = sum_(x.args[0], inner_axes)
        return permute(inner, tuple(inner_kept.index(p) for k, p in enumerate(perm)
                                    if k not in axes))  # fmt: skip
    if x.op is RESHAPE:
        places = unit_axes(x)
        if places is not None:
            inner_axes = tuple(k for k, p in enumerate(places) if p in axes)
            return reshape(sum_(x.args[0], inner_axes), node.shape)
        if node.ndim == 0:
            return sum_(x.args[0], tuple(range(x.args[0].ndim)))
    if x.op is PAD:
        shape, starts, steps = x.attrs
        kept = axes_except(x.ndim, axes)
        return pad(sum_(x.args[0], axes), *(tuple(t[k] for k in kept) for t in x.attrs))
    if not context.single(x):
        return None
    if x.op is NEGATIVE:
        return -sum_(x.args[0], axes)
    if x.op is DIVIDE and x.args[1].op is CONST and scalable(number(x.args[1])):
        return sum_(x.args[0], axes) / const(number(x.args[1]), node.dtype, node.shape)
    return None


def _delta_product(node: Expr, context: Context) -> Expr | None:
    """A product with an identity matrix is an einsum with a delta factor."""
    if not any(is_delta(a) for a in node.args) or any(a.op is CONST for a in node.args):
        return None
    labels = tuple(range(node.ndim))
    product = Product(context, summing=False)
    for k, a in enumerate(node.args):
        product.add(a, labels, 1 - k)
    return product.result(labels)


def _square_delta(node: Expr, context: Context) -> Expr | None:
    return node.args[0] if node.args[0].op is EYE else None


EINSUMS: list[Rule] = [
    function_rule("square-delta", "square", _square_delta, "δ² = δ", "einsum", "eye"),
    function_rule("einsum-flatten", "einsum", _flatten,
                  "views, scales, products and inner contractions dissolve into an einsum",
                  "einsum", rank=2),
    function_rule("einsum-units", "einsum", _einsum_units, "axes of size 1 are no labels",
                  "einsum"),
    function_rule("einsum-product", "einsum", _einsum_product,
                  "an einsum that sums nothing and has no delta is a product of views",
                  "einsum", rank=0),
    function_rule("sum-view", "sum", _sum_view, "Σ broadcast x = n Σ x, Σ permute x, Σ(-x), Σ I",
                  "einsum"),
    function_rule("sum-product", "sum", _sum_product, "Σ a b = einsum(a, b)", "einsum",
                  "multiply square einsum", rank=2),
    function_rule("delta-product", "multiply", _delta_product, "x ⊙ I = einsum(x, δ)", "einsum",
                  "eye einsum broadcast permute multiply negative", axes=2),
]  # fmt: skip
