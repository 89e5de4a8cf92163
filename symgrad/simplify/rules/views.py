"""Views: lifted towards the outputs, slices pushed towards the arguments.

Normal form: broadcast stands outermost, so that arithmetic happens on the smaller array and on
whole contiguous ones; of what is sliced only what is needed is computed.
"""

from __future__ import annotations

from symgrad.expr.node import CONST, EYE, Expr, bind, const, const_value
from symgrad.expr.op import Kind, Op
from symgrad.ops.einsum import EINSUM, einsum
from symgrad.ops.linear import (
    BROADCAST,
    CONCAT,
    PAD,
    PERMUTE,
    RESHAPE,
    SUM,
    broadcast,
    permute,
    reshape,
    slice_,
    sum_,
)
from symgrad.simplify.facts import axes_except
from symgrad.simplify.pattern import Context, Rule, function_rule
from symgrad.simplify.vocabulary import ELEMENTWISE, Axes


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
        kept = axes_except(inner.ndim, x.attrs[0])
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
