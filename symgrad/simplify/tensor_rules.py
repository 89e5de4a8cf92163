"""Rules on whole arrays: views, sums, einsum, softmax and norms, scatters, inverses.

Sums and contractions are re-associated, as any optimised linear algebra library does. Their rules
therefore hold for magnitudes whose products stay clear of overflow, and up to the sign of a zero
sum; constants pulled out of a sum lie within 2^±64. Everything else holds as stated in `rules`.

Normal form: views are lifted towards the outputs (broadcast outermost), so that arithmetic happens
on the smaller array and on whole contiguous ones; slices are pushed towards the arguments, so that
only what is needed is computed.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from symgrad.expr.node import CONST, EYE, Expr, bind, const, const_value, is_const
from symgrad.expr.op import OPS, Kind, Op
from symgrad.ops import reduce as _reduce  # noqa: F401  (registers the rows)
from symgrad.ops.einsum import EINSUM, einsum, sizes
from symgrad.ops.linear import broadcast, concat, pad, permute, reshape, slice_, sum_
from symgrad.simplify.pattern import Context, Rule, function_rule
from symgrad.simplify.rules import number

BROADCAST, SUM, PERMUTE, RESHAPE, SLICE, PAD, CONCAT = (
    OPS[n] for n in ("broadcast", "sum", "permute", "reshape", "slice", "pad", "concat")
)
ADD, SUBTRACT, MULTIPLY, NEGATIVE, DIVIDE, SQUARE = (
    OPS[n] for n in ("add", "subtract", "multiply", "negative", "divide", "square")
)
ELEMENTWISE = tuple(row.name for row in OPS.values() if row.kind is Kind.ELEMENTWISE)
Axes = tuple[int, ...]


def _except(ndim: int, axes: Sequence[int]) -> Axes:
    return tuple(k for k in range(ndim) if k not in axes)


def _reshaped_constants(node: Expr, row: Op, shape: Axes) -> list[Expr] | None:
    """Arguments below a common view `row`, or None; constants take the new shape."""
    args = []
    for a in node.args:
        if a.op is CONST:
            args.append(const(const_value(a), a.dtype, shape))
        elif a.op is row:
            args.append(a.args[0])
        else:
            return None
    return args


# ---- views -----------------------------------------------------------------------------------


def _lift_broadcast(node: Expr, context: Context) -> Expr | None:
    dims: set[int] = set()
    for a in node.args:
        if a.op is BROADCAST:
            dims.update(a.attrs[1])
        elif a.op is not CONST:
            return None
    if len(dims) == node.ndim:
        return None
    kept = sorted(dims)
    place = {d: k for k, d in enumerate(kept)}
    shape = tuple(node.shape[d] for d in kept)
    args = []
    for a in node.args:
        if a.op is CONST:
            args.append(const(const_value(a), a.dtype, shape))
        else:
            args.append(broadcast(a.args[0], shape, tuple(place[d] for d in a.attrs[1])))
    return broadcast(bind(node.op, *args, attrs=node.attrs), node.shape, tuple(kept))


def _lift_permute(node: Expr, context: Context) -> Expr | None:
    views = [a for a in node.args if a.op is PERMUTE]
    if any(v.attrs != views[0].attrs for v in views):
        return None
    args = _reshaped_constants(node, PERMUTE, views[0].args[0].shape)
    if args is None:
        return None
    return permute(bind(node.op, *args, attrs=node.attrs), views[0].attrs[0])


def _lift_reshape(node: Expr, context: Context) -> Expr | None:
    views = [a for a in node.args if a.op is RESHAPE]
    shape = views[0].args[0].shape
    if any(v.args[0].shape != shape for v in views):
        return None
    args = _reshaped_constants(node, RESHAPE, shape)
    if args is None:
        return None
    return reshape(bind(node.op, *args, attrs=node.attrs), node.shape)


def unit_axes(node: Expr) -> Axes | None:
    """For a reshape that only inserts axes of size 1: where its argument's axes are."""
    x = node.args[0]
    places, k = [], 0
    for axis, n in enumerate(node.shape):
        if k < x.ndim and x.shape[k] == n and (n != 1 or node.ndim - axis == x.ndim - k):
            places.append(axis)
            k += 1
        elif n != 1:
            return None
    return tuple(places) if k == x.ndim else None


def _broadcast_view(node: Expr, context: Context) -> Expr | None:
    x, (shape, dims) = node.args[0], node.attrs
    if all(shape[k] == 1 for k in range(len(shape)) if k not in dims):
        return reshape(x, shape)
    if x.op is RESHAPE:
        places = unit_axes(x)
        if places is not None:
            return broadcast(x.args[0], shape, tuple(dims[p] for p in places))
    return None


def _permute_view(node: Expr, context: Context) -> Expr | None:
    x, perm = node.args[0], node.attrs[0]
    if x.op is EYE:
        return x
    if x.op is BROADCAST:
        places = [perm.index(d) for d in x.attrs[1]]
        order = sorted(range(len(places)), key=places.__getitem__)
        inner = permute(x.args[0], tuple(order))
        return broadcast(inner, node.shape, tuple(sorted(places)))
    if x.op is EINSUM and context.single(x):
        inputs, output = x.attrs
        return einsum(x.args, inputs, tuple(output[p] for p in perm))
    if x.op is RESHAPE:
        kept = unit_axes(x)
        moved = None if kept is None else [perm.index(p) for p in kept]
        if moved is not None and moved == sorted(moved):
            return reshape(x.args[0], node.shape)
    if [n for n in node.shape if n != 1] and x.size and _moves_units_only(x.shape, perm):
        return reshape(x, node.shape)
    return None


def _moves_units_only(shape: Axes, perm: Axes) -> bool:
    real = [p for p in perm if shape[p] != 1]
    return real == sorted(real)


def _slice_view(node: Expr, context: Context) -> Expr | None:
    x, (starts, sizes_, steps) = node.args[0], node.attrs
    if x.op is BROADCAST:
        dims = x.attrs[1]
        inner = slice_(x.args[0], *(tuple(t[d] for d in dims) for t in node.attrs))
        return broadcast(inner, sizes_, dims)
    if x.op is PERMUTE:
        perm = x.attrs[0]
        back = [perm.index(k) for k in range(len(perm))]
        return permute(slice_(x.args[0], *(tuple(t[k] for k in back) for t in node.attrs)), perm)
    if x.op is CONCAT:
        return _slice_concat(x, starts, sizes_, steps)
    if x.op is PAD:
        return _slice_pad(x, starts, sizes_, steps)
    if not context.single(x):
        return None
    if x.op.kind is Kind.ELEMENTWISE or x.name == "convert":
        return bind(x.op, *[slice_(a, *node.attrs) for a in x.args], attrs=x.attrs)
    if x.op is SUM:
        inner = x.args[0]
        kept = _except(inner.ndim, x.attrs[0])
        window: list[list[int]] = [[0] * inner.ndim, list(inner.shape), [1] * inner.ndim]
        for t, values in zip(window, node.attrs, strict=True):
            for k, v in zip(kept, values, strict=True):
                t[k] = v
        return sum_(slice_(inner, *(tuple(t) for t in window)), x.attrs[0])
    if x.op is EINSUM:
        inputs, output = x.attrs
        at = {k: i for i, k in enumerate(output)}
        cut = {k for k, i in at.items() if sizes_[i] != x.shape[i] or steps[i] != 1}
        factors = []
        for f, labels in zip(x.args, inputs, strict=True):
            if f.op is EYE and cut & set(labels):
                return None
            window = [[0] * f.ndim, list(f.shape), [1] * f.ndim]
            for axis, k in enumerate(labels):
                if k in cut:
                    for t, values in zip(window, node.attrs, strict=True):
                        t[axis] = values[at[k]]
            factors.append(slice_(f, *(tuple(t) for t in window)))
        return einsum(factors, inputs, output)
    return None


def _slice_concat(x: Expr, starts: Axes, sizes_: Axes, steps: Axes) -> Expr | None:
    """The part that holds the whole window."""
    axis = x.attrs[0]
    if not sizes_[axis]:
        return None
    ends = (starts[axis], starts[axis] + (sizes_[axis] - 1) * steps[axis])
    first, last = min(ends), max(ends)
    offset = 0
    for part in x.args:
        if offset <= first and last < offset + part.shape[axis]:
            moved = (*starts[:axis], starts[axis] - offset, *starts[axis + 1 :])
            return slice_(part, moved, sizes_, steps)
        offset += part.shape[axis]
    return None


def _slice_pad(x: Expr, starts: Axes, sizes_: Axes, steps: Axes) -> Expr | None:
    """Inside the window: a slice of the argument; beside it: zeros."""
    inner, (_, offsets, strides) = x.args[0], x.attrs
    moved = []
    for k in range(x.ndim):
        low, high = offsets[k], offsets[k] + (inner.shape[k] - 1) * strides[k]
        first, last = starts[k], starts[k] + (sizes_[k] - 1) * steps[k]
        if not sizes_[k]:
            return None
        if max(first, last) < min(low, high) or min(first, last) > max(low, high):
            return const(0, x.dtype, sizes_)
        if strides[k] != 1 or first < low or last < low or max(first, last) > high:
            return None
        moved.append(first - low)
    return slice_(inner, tuple(moved), sizes_, steps)


VIEWS: list[Rule] = [
    function_rule("lift-broadcast", (*ELEMENTWISE, "convert"), _lift_broadcast,
                  "f(broadcast a, broadcast b, c) = broadcast f(a, b, c)", "view", "broadcast"),
    function_rule("lift-permute", (*ELEMENTWISE, "convert"), _lift_permute,
                  "f(permute a, permute b, c) = permute f(a, b, c)", "view", "permute"),
    function_rule("lift-reshape", (*ELEMENTWISE, "convert"), _lift_reshape,
                  "f(reshape a, reshape b, c) = reshape f(a, b, c)", "view", "reshape"),
    function_rule("broadcast-view", "broadcast", _broadcast_view,
                  "a broadcast that adds axes of size 1 is a reshape; one of such a reshape is "
                  "one broadcast", "view"),
    function_rule("permute-view", "permute", _permute_view,
                  "permute of broadcast, einsum, identity matrix, or of axes of size 1", "view"),
    function_rule("slice-view", "slice", _slice_view,
                  "slice of a view, or of an operation with no other user, is taken of the "
                  "arguments", "view"),
]  # fmt: skip


# ---- einsum ----------------------------------------------------------------------------------

Term = tuple[Any, ...]
_MOST_FACTORS = 10
_MOST_LABELS = 24
_LARGEST_SCALE = 2.0**64


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


def _scalable(value: float) -> bool:
    if isinstance(value, int):
        return 0 < abs(value) < 1 << 63
    return 1 / _LARGEST_SCALE <= abs(value) <= _LARGEST_SCALE


def _has_delta(node: Expr) -> bool:
    return any(f.op is EYE for f in node.args)


def _inlines(inner: Expr, context: Context) -> bool:
    """Whether an einsum inside an einsum disappears into it."""
    if context.single(inner) or _has_delta(inner):
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
        if row is CONST and f.ndim and _scalable(self.scale * number(f)):
            return [(const(const_value(f), f.dtype), ())]
        if row is MULTIPLY:
            for this, other in (f.args, f.args[::-1]):
                if this.op is CONST and _scalable(self.scale * number(this)):
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
                kept = _except(f.args[0].ndim, f.attrs[0])
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
    return a.op is EYE or (a.op is EINSUM and _has_delta(a))


def _is_uniform(a: Expr) -> bool:
    return a.op is CONST or (a.op is BROADCAST and not a.args[0].ndim)


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
    output = _except(x.ndim, axes)
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
    if x.op is EINSUM and (context.single(x) or _has_delta(x)):
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
        kept = _except(x.ndim, axes)
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
        inner_kept = _except(x.ndim, inner_axes)
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
        kept = _except(x.ndim, axes)
        return pad(sum_(x.args[0], axes), *(tuple(t[k] for k in kept) for t in x.attrs))
    if not context.single(x):
        return None
    if x.op is NEGATIVE:
        return -sum_(x.args[0], axes)
    if x.op is DIVIDE and x.args[1].op is CONST and _scalable(number(x.args[1])):
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
                  "eye einsum broadcast permute multiply negative"),
]  # fmt: skip


# ---- many scatters into one ------------------------------------------------------------------


class Sum:
    """A tree of additions and subtractions, whose leaves can be exchanged one by one.

    What is not exchanged stays associated as it was: a sum whose terms cancel is as exact as the
    user wrote it. Leaves are known by their number, since one node may be several of them.

    Attributes
    ----------
    leaves : numbers of the leaves, from left to right
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
            if (k == 0 or opens(e)) and e.op in (ADD, SUBTRACT):
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
    bases: dict[Expr, list[int]] = {}
    coefficient: dict[int, float] = {}  # whole if the terms are
    for k in tree.leaves:
        c, base = 1, tree.nodes[k]
        if base.op is NEGATIVE:
            c, base = -c, base.args[0]
        if base.op is MULTIPLY and base.args[0].op is CONST and context.single(base):
            if _scalable(number(base.args[0])):
                c, base = c * number(base.args[0]), base.args[1]
        bases.setdefault(base, []).append(k)
        coefficient[k] = c
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
        total = [0, 0]
        for k in leaves:
            total[coefficient[k] * tree.signs[k] < 0] += abs(coefficient[k])
        if len(leaves) == 1 or (all(total) and tuple(leaves) in pairs):
            continue
        if n not in bounded and not _is_combination(tree, n, place, coefficient):
            continue
        terms = [base if c == 1 else base * _as(c, base) for c in total if c]
        first, *others = leaves
        if len(terms) == 2:  # not 0: y may be infinite
            positive = terms[0] - terms[1] if tree.signs[first] > 0 else terms[1] - terms[0]
            new[first] = positive
        else:
            new[first] = terms[0] if (total[0] > 0) == (tree.signs[first] > 0) else -terms[0]
        new.update(dict.fromkeys(others))
    return tree.exchanged(new) if new else None


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


def _as(value: float, node: Expr) -> Expr:
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
            if 1 <= abs(scale) <= _LARGEST_SCALE:
                b = inner.args[1]
                b = b if view is None else broadcast(b, *view.attrs)
                return (a * b) * _as(scale, node)
    return None


def _merge_pads(node: Expr, context: Context) -> Expr | None:
    """Σ of pads with disjoint windows: one pad of their concatenation, in n log n."""
    if context.is_inner(node):
        return None
    tree = sum_of(node, context)
    windows: list[tuple[Expr, list[int]]] = []
    pads: list[int] = []
    for k in tree.leaves:
        e = tree.nodes[k]
        if e.op is PAD and e.size and all(
            s == 1 for s, n in zip(e.attrs[2], e.args[0].shape, strict=True) if n > 1
        ):
            inner = e.args[0]
            windows.append((-inner if tree.signs[k] < 0 else inner, list(e.attrs[1])))
            pads.append(k)
    if len(windows) < 2:
        return None
    before = len(windows)
    for axis in reversed(range(node.ndim)):
        windows = _merge_along(windows, axis)
    if len(windows) == before:
        return None
    ones = (1,) * node.ndim
    parts = [(1, pad(part, node.shape, tuple(starts), ones)) for part, starts in windows]
    return tree.merged([pads], [add_up(parts)])


def _merge_along(windows: list[tuple[Expr, list[int]]], axis: int) -> list[tuple[Expr, list[int]]]:
    groups: dict[Any, list[tuple[Expr, list[int]]]] = {}
    for part, starts in windows:
        key = (part.shape[:axis], part.shape[axis + 1 :], *starts[:axis], *starts[axis + 1 :])
        groups.setdefault(key, []).append((part, starts))
    merged = []
    for group in groups.values():
        group.sort(key=lambda w: w[1][axis])
        while group:
            run, rest, end, start = [], [], None, 0
            for part, starts in group:
                if end is None:
                    start, end = starts[axis], starts[axis]
                if starts[axis] < end:  # overlaps: next round
                    rest.append((part, starts))
                    continue
                gap = starts[axis] - end
                if gap:
                    shape = (*part.shape[:axis], gap, *part.shape[axis + 1 :])
                    run.append(const(0, part.dtype, shape))
                run.append(part)
                end = starts[axis] + part.shape[axis]
                last = starts
            if len(run) == 1:
                merged.append((run[0], last))
            else:
                merged.append((concat(run, axis), [*last[:axis], start, *last[axis + 1 :]]))
            group = rest
    return merged


def _pad_scaled(node: Expr, context: Context) -> Expr | None:
    """-pad(x) = pad(-x), c pad(x) = pad(c x), where no other user needs pad(x)."""
    if node.op is NEGATIVE:
        p = node.args[0]
        return pad(-p.args[0], *p.attrs) if context.single(p) else None
    for this, p in (node.args, node.args[::-1]):
        if this.op is CONST and p.op is PAD and context.single(p) and _scalable(number(this)):
            return pad(p.args[0] * number(this), *p.attrs)
    return None


SCATTERS: list[Rule] = [
    function_rule("scatter-to-stack", "add subtract", _merge_pads,
                  "Σ pad(xᵢ) with disjoint windows = pad(concat(xᵢ)), up to the sign of zero",
                  "view", "pad add subtract"),
    function_rule("pad-scaled", "negative multiply", _pad_scaled,
                  "c pad(x) = pad(c x) for finite c, up to the sign of zero", "view", "pad"),
]  # fmt: skip


# ---- stable reductions -----------------------------------------------------------------------


def _spread_over(node: Expr, x: Expr) -> tuple[Expr, Axes] | None:
    """(reduced, axes) if `node` repeats `reduced` along `axes` to the shape of `x`."""
    if node.op is BROADCAST and node.shape == x.shape:
        return node.args[0], _except(node.ndim, node.attrs[1])
    return None


def _is_shift(m: Expr, x: Expr, axes: Axes) -> bool:
    """Whether `m` is the maximum of `x` over `axes`, as users write the shift of an exponential."""
    while True:
        if m.name == "stop_gradient":
            m = m.args[0]
        elif m.name == "select" and m.args[0].name == "isfinite" and is_const(m.args[2], 0):
            m = m.args[1]
        else:
            break
    while x.name == "stop_gradient":
        x = x.args[0]
    return m.name == "max" and m.attrs == (axes,) and m.args[0] is x


def _unshifted(x: Expr, axes: Axes) -> tuple[Expr, Expr] | None:
    """(y, m) if x is y - m with m the maximum of y over `axes`."""
    if x.name == "subtract":
        y = x.args[0]
        spread = _spread_over(x.args[1], y)
        if spread is not None and spread[1] == axes and _is_shift(spread[0], y, axes):
            return y, spread[0]
    return None


def _logsumexp(node: Expr, context: Context) -> Expr | None:
    total = node.args[0]
    if total.op is SUM and total.args[0].name == "exp":
        x, axes = total.args[0].args[0], total.attrs[0]
        if all(x.shape[k] for k in axes):
            return bind("logsumexp", x, attrs=(axes,))
    return None


def _logsumexp_shift(node: Expr, context: Context) -> Expr | None:
    for lse, m in (node.args, node.args[::-1]):
        if lse.name == "logsumexp":
            shifted = _unshifted(lse.args[0], lse.attrs[0])
            if shifted is not None and shifted[1] is m:
                return bind("logsumexp", shifted[0], attrs=lse.attrs)
    return None


def _shifted_logsumexp(node: Expr, context: Context) -> Expr | None:
    """(x - m) - logsumexp(x - m) = x - logsumexp(x)."""
    shifted, spread = node.args[0], _spread_over(node.args[1], node)
    if spread is None or spread[0].name != "logsumexp" or spread[0].args[0] is not shifted:
        return None
    unshifted = _unshifted(shifted, spread[1])
    if unshifted is None:
        return None
    y = unshifted[0]
    lse = bind("logsumexp", y, attrs=spread[0].attrs)
    return y - broadcast(lse, y.shape, node.args[1].attrs[1])


def _softmax_ratio(node: Expr, context: Context) -> Expr | None:
    """exp(x) / Σ exp(x), as a quotient or as a product with the reciprocal."""
    e, total = node.args
    if node.op is MULTIPLY and e.name != "exp":
        e, total = total, e
    if e.name != "exp":
        return None
    spread = _spread_over(total, e)
    if spread is None:
        return None
    s, axes = spread
    if node.op is MULTIPLY:
        if s.op is not DIVIDE or not is_const(s.args[0], 1):
            return None
        s = s.args[1]
    if s.op is SUM and s.attrs == (axes,) and s.args[0] is e and all(e.shape[k] for k in axes):
        return bind("softmax", e.args[0], attrs=(axes,))
    return None


def _softmax_exp(node: Expr, context: Context) -> Expr | None:
    """exp(x - logsumexp(x))"""
    u = node.args[0]
    spread = _spread_over(u.args[1], u)
    if spread is not None and spread[0].name == "logsumexp":
        s, axes = spread
        if s.args[0] is u.args[0] and s.attrs == (axes,):
            return bind("softmax", u.args[0], attrs=(axes,))
    return None


def _softmax_shift(node: Expr, context: Context) -> Expr | None:
    unshifted = _unshifted(node.args[0], node.attrs[0])
    return None if unshifted is None else bind("softmax", unshifted[0], attrs=node.attrs)


def _log_softmax(node: Expr, context: Context) -> Expr | None:
    """log softmax(x) = x - logsumexp(x), also below a slice or a gather of it."""
    p = node.args[0]
    if p.name == "softmax":
        x, axes = p.args[0], p.attrs[0]
        lse = bind("logsumexp", x, attrs=p.attrs)
        return x - broadcast(lse, x.shape, _except(x.ndim, axes))
    if p.name in ("slice", "gather", "reshape") and _from_softmax(p):
        return bind(p.op, bind("log", p.args[0]), *p.args[1:], attrs=p.attrs)
    return None


def _from_softmax(p: Expr) -> bool:
    while p.name in ("slice", "gather", "reshape", "permute"):
        p = p.args[0]
    return p.name == "softmax"


def _norm(node: Expr, context: Context) -> Expr | None:
    total = node.args[0]
    if total.op is SUM and total.args[0].op is SQUARE:
        return bind("norm", total.args[0].args[0], attrs=total.attrs)
    if total.op is EINSUM and len(total.args) == 2 and total.args[0] is total.args[1]:
        (left, right), output = total.attrs
        x = total.args[0]
        if x.op is EYE or left != right or len(set(left)) < len(left):
            return None
        if list(output) == [k for k in left if k in output] and len(output) < len(left):
            return bind("norm", x, attrs=(tuple(i for i, k in enumerate(left) if k not in output),))
    return None


def _squared_norm(node: Expr, context: Context) -> Expr | None:
    """‖x‖² and its powers as Σ x², which is smooth at 0; a factor of the norm stays outside."""
    x = node.args[0]
    if node.op is not SQUARE:
        half = float(const_value(node.args[1])) / 2 if node.args[1].op is CONST else 0.0
        if x.name != "norm" or half not in range(1, 33):
            return None
        return bind("power", _sum_of_squares(x), const(half, x.dtype, x.shape))
    if x.name == "norm":
        return _sum_of_squares(x)
    if x.name == "divide" and x.args[0].name == "norm":  # in this order nothing overflows early
        return _sum_of_squares(x.args[0]) / x.args[1] / x.args[1]
    if x.name == "multiply":
        for y, r in (x.args, x.args[::-1]):
            if r.name == "norm":
                return y * (y * _sum_of_squares(r))
    return None


def _sum_of_squares(norm: Expr) -> Expr:
    return sum_(bind("square", norm.args[0]), norm.attrs[0])


def _norm_twice(node: Expr, context: Context) -> Expr | None:
    """‖x‖ (‖x‖ y) = (Σ x²) y."""
    for r, rest in (node.args, node.args[::-1]):
        if r.name == "norm" and rest.op is MULTIPLY and context.single(rest):
            for q, y in (rest.args, rest.args[::-1]):
                if q is r:
                    return _sum_of_squares(r) * y
    return None


def _contracted_roots(node: Expr, context: Context) -> Expr | None:
    """A contraction of a norm with itself is one of its square."""
    inputs, output = node.attrs
    for p, (e, labels) in enumerate(zip(node.args, inputs, strict=True)):
        if e.op.radicand is not None:
            for q in range(p + 1, len(inputs)):
                if node.args[q] is e and inputs[q] == labels:
                    factors = [f for k, f in enumerate(node.args) if k not in (p, q)]
                    terms = [t for k, t in enumerate(inputs) if k not in (p, q)]
                    return einsum([bind("square", e), *factors], [labels, *terms], output)
    return None


COLLECT: list[Rule] = [
    function_rule("like-terms", "add subtract", _like_terms,
                  "Σ cᵢ x = (Σ cᵢ) x within a sum, y - y side by side, where nothing is lost",
                  "algebra", "add subtract", rank=2),
    function_rule("scale-inside", "multiply", _scale_inside,
                  "c(a(db)) = (cd)(ab) for 1 <= |cd| <= 2^64", "algebra", "multiply"),
]  # fmt: skip

STABLE_REDUCTIONS: list[Rule] = [
    function_rule("logsumexp", "log", _logsumexp, "log Σ eˣ = logsumexp(x)", "stable", "sum"),
    function_rule("logsumexp-shift", "add", _logsumexp_shift,
                  "m + logsumexp(x - m) = logsumexp(x) for m = max x", "stable", "logsumexp",
                  rank=0),
    function_rule("logsumexp-shifted", "subtract", _shifted_logsumexp,
                  "(x - m) - logsumexp(x - m) = x - logsumexp(x) for m = max x", "stable",
                  "broadcast", rank=0),
    function_rule("softmax", "divide multiply", _softmax_ratio, "eˣ / Σ eˣ = softmax(x)",
                  "stable", "exp", rank=0),
    function_rule("softmax-exp", "exp", _softmax_exp, "exp(x - logsumexp x) = softmax(x)",
                  "stable", "subtract", rank=0),
    function_rule("softmax-shift", "softmax", _softmax_shift,
                  "softmax(x - max x) = softmax(x)", "stable", "subtract"),
    function_rule("log-softmax", "log", _log_softmax, "log softmax(x) = x - logsumexp(x)",
                  "stable", "softmax slice gather reshape", rank=0),
    function_rule("norm", "sqrt", _norm, "√Σ x² = ‖x‖", "stable", "sum einsum"),
    function_rule("norm-squared", "square power", _squared_norm,
                  "‖x‖²ⁿ = (Σ x²)ⁿ, (y ‖x‖)² = y² Σ x²; smooth at 0", "stable",
                  "norm multiply divide"),
    function_rule("norm-twice", "multiply", _norm_twice, "‖x‖ (‖x‖ y) = (Σ x²) y; smooth at 0",
                  "stable", "norm"),
    function_rule("norm-contracted", "einsum", _contracted_roots,
                  "Σ rᵢ rᵢ = Σ rᵢ² for norms, hypot, |x| and √x; smooth at 0", "stable",
                  "norm hypot absolute sqrt"),
]  # fmt: skip


# ---- linear algebra --------------------------------------------------------------------------


def _solve_inverse(node: Expr, context: Context) -> Expr | None:
    """A⁻¹ b = solve(A, b): no inverse is formed where only its product is wanted."""
    inputs, output = node.attrs
    for p, (inverse, term) in enumerate(zip(node.args, inputs, strict=True)):
        if inverse.name != "solve" or inverse.ndim != 2 or inverse.args[1].op is not EYE:
            continue
        if not context.single(inverse):
            continue
        for q, (b, labels) in enumerate(zip(node.args, inputs, strict=True)):
            if q == p or b.op is EYE or not 1 <= b.ndim <= 2 or len(set(labels)) < len(labels):
                continue
            for row, column, transposed in ((*term, False), (*term[::-1], True)):
                used = sum(column in t for t in inputs)
                if column in output or used != 2 or column not in labels or row in labels:
                    continue
                if row == column:
                    continue
                a = permute(inverse.args[0], (1, 0)) if transposed else inverse.args[0]
                right = b if labels[0] == column else permute(b, (1, 0))
                if right.ndim == 1:  # the row wants columns
                    solved = bind("solve", a, reshape(right, (*right.shape, 1)))
                    solved = reshape(solved, right.shape)
                else:
                    solved = bind("solve", a, right)
                rest = tuple(k for k in labels if k != column)
                keep = [i for i in range(len(node.args)) if i not in (p, q)]
                return einsum(
                    [solved, *(node.args[i] for i in keep)],
                    [(row, *rest), *(inputs[i] for i in keep)],
                    output,
                )
    return None


LINALG: list[Rule] = [
    function_rule("solve-inverse", "einsum", _solve_inverse, "A⁻¹ b = solve(A, b)", "linalg",
                  "solve"),
]  # fmt: skip

TENSOR_RULES: tuple[Rule, ...] = (
    *VIEWS,
    *EINSUMS,
    *SCATTERS,
    *COLLECT,
    *STABLE_REDUCTIONS,
    *LINALG,
)
