"""The function of one point that a graph maps over an axis: `vmap` the other way round.

A node that has one element, or one small array, for each of `size` points gets the node that
computes it for one of them. What mixes points, or has no such form, stays whole; a whole array that
has an axis of that size is an argument of the function of one point, any other is the same
argument for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from symgrad.expr.node import ARG, ARRAY, CONST, TUPLE, Expr, arg, bind, const, const_value
from symgrad.expr.op import Kind, Op
from symgrad.expr.walk import toposort
from symgrad.ops.checks import CHECKED
from symgrad.ops.einsum import EINSUM
from symgrad.ops.elementwise import CONVERT
from symgrad.ops.linear import (
    BROADCAST,
    CONCAT,
    GATHER,
    PAD,
    PERMUTE,
    RESHAPE,
    SCATTER_ADD,
    SLICE,
    SUM,
)
from symgrad.scalar.matrices import LU_FACTOR, MOST_ORDER, WITH_FACTORS, WITHOUT_FACTORS

One = tuple[Expr, int | None]  # a node of one point, and the axis of the points in the whole node
Given = Sequence[One]


class Unbatched:
    """What nodes are on one point.

    size : how many points there are
    most, longest : of elements of one point, and of an axis of these; what has more stays whole
    calls : whether small matrices may be factored, which can fail
    one : of each node that is computed point by point, its node of one point, and the axis of the
        points
    added : of each node that accumulates over the points, and perhaps over more, the operand of one
        point and the row that accumulates
    shared : of each node without points that is made of constants or small, its node of one point
    leaves : of each argument of the function of one point, the whole array, and its axis of points
    """

    def __init__(self, outs: Sequence[Expr], size: int, most: int, longest: int) -> None:
        self.size, self.most, self.longest = size, most, longest
        self.calls = not any(o.op is CHECKED for o in outs)
        nodes = toposort(outs)
        self._look_at(nodes)
        if self._factors_are_whole(nodes, outs):
            self.calls = False
            self._look_at(nodes)

    def _look_at(self, nodes: Sequence[Expr]) -> None:
        self.one: dict[Expr, tuple[Expr, int]] = {}
        self.added: dict[Expr, tuple[Expr, Op]] = {}
        self.shared: dict[Expr, Expr] = {}
        self.leaves: dict[Expr, One] = {}
        self._leaf_of: dict[Expr, One] = {}
        for node in nodes:
            if node.op.kind is not Kind.SOURCE:
                self._look(node)

    def _factors_are_whole(self, nodes: Sequence[Expr], outs: Sequence[Expr]) -> bool:
        """Whether something needs factors as an array: in scalars they have no numbers of rows."""
        needed = {*outs, *(a for n in nodes if n not in self.one for a in n.args)}
        return any(n.op is LU_FACTOR and n in self.one for n in needed)

    def _look(self, node: Expr) -> None:
        rule = _RULES.get(node.op) or _KINDS.get(node.op.kind)
        if rule is None or node.op.kind is Kind.REDUCE and not node.op.reduces:
            return
        given = []
        for a in node.args:
            found = self.operand(a)
            if found is None:
                return
            given.append(found)
        if self.size not in node.shape and all(axis is None for _, axis in given):
            if self._is_small(node.shape) and node.op.kind is not Kind.CALL:
                self.shared[node] = bind(node.op, *(g for g, _ in given), attrs=node.attrs)
            return
        made = rule(self, node, given)
        if made is None or not made[0].size or not self._is_small(made[0].shape):
            return
        one, axis = made
        if axis is not None:
            self.one[node] = one, axis
        else:
            self.added[node] = one, SUM if node.op is EINSUM else node.op

    def _is_small(self, shape: tuple[int, ...]) -> bool:
        return math.prod(shape) <= self.most and all(n <= self.longest for n in shape)

    def operand(self, node: Expr) -> One | None:
        """A node as an operand of one point; None if it is none, or has several axes like that."""
        if node in self.one:
            return self.one[node]
        if node in self.shared:
            return self.shared[node], None
        if node in self._leaf_of:
            return self._leaf_of[node]
        axes = [k for k, n in enumerate(node.shape) if n == self.size]
        if len(axes) > 1 or node.dtype == TUPLE:
            return None
        axis = axes[0] if axes else None
        shape = node.shape if axis is None else without(node.shape, axis)
        if node.op is CONST:
            return const(const_value(node), node.dtype, shape), axis
        if not self._is_small(shape):
            return None
        if axis is None and node.op.kind is Kind.SOURCE and node.op is not ARG:
            return node, None
        made = arg(len(self.leaves), shape, node.dtype)
        self.leaves[made], self._leaf_of[node] = (node, axis), (made, axis)
        return made, axis


def without(values: Sequence[Any], axis: int) -> tuple[Any, ...]:
    """All but one."""
    return (*values[:axis], *values[axis + 1 :])


def _common(given: Given) -> int | None:
    """The axis of points that all operands have."""
    first = given[0][1]
    return first if all(axis == first for _, axis in given) else None


def _elementwise(points: Unbatched, node: Expr, given: Given) -> One | None:
    axis = _common(given)
    if axis is None:
        return None
    return bind(node.op, *(g for g, _ in given), attrs=node.attrs), axis


def _broadcast(points: Unbatched, node: Expr, given: Given) -> One | None:
    (x, axis), (shape, dims) = given[0], node.attrs
    if axis is not None:
        at, kept = dims[axis], without(dims, axis)
    else:
        new = [k for k, n in enumerate(shape) if n == points.size and k not in dims]
        if len(new) != 1:
            return None
        at, kept = new[0], dims
    attrs = without(shape, at), tuple(d - (d > at) for d in kept)
    return bind(BROADCAST, x, attrs=attrs), at


def _permute(points: Unbatched, node: Expr, given: Given) -> One | None:
    (x, axis), perm = given[0], node.attrs[0]
    if axis is None:
        return None
    at = perm.index(axis)
    return bind(PERMUTE, x, attrs=(tuple(p - (p > axis) for p in without(perm, at)),)), at


def _reshape(points: Unbatched, node: Expr, given: Given) -> One | None:
    """The points stay an axis where as many elements lie before them as did."""
    (x, axis), shape = given[0], node.attrs[0]
    if axis is None:
        return None
    before = math.prod(node.args[0].shape[:axis])
    for at, n in enumerate(shape):
        if n == points.size and math.prod(shape[:at]) == before:
            return bind(RESHAPE, x, attrs=(without(shape, at),)), at
    return None


def _slice(points: Unbatched, node: Expr, given: Given) -> One | None:
    (x, axis), (starts, sizes, steps) = given[0], node.attrs
    if axis is None or (starts[axis], sizes[axis], steps[axis]) != (0, points.size, 1):
        return None
    return bind(SLICE, x, attrs=tuple(without(a, axis) for a in node.attrs)), axis


def _pad(points: Unbatched, node: Expr, given: Given) -> One | None:
    (x, axis), (shape, starts, steps) = given[0], node.attrs
    if axis is None or (starts[axis], shape[axis], steps[axis]) != (0, points.size, 1):
        return None
    return bind(PAD, x, attrs=tuple(without(a, axis) for a in node.attrs)), axis


def _concat(points: Unbatched, node: Expr, given: Given) -> One | None:
    axis, along = _common(given), node.attrs[0]
    if axis is None or axis == along:
        return None
    return bind(CONCAT, *(g for g, _ in given), attrs=(along - (along > axis),)), axis


def _gather(points: Unbatched, node: Expr, given: Given) -> One | None:
    (x, axis), (index, _), along = *given, node.attrs[0]
    if index.op is not ARRAY or axis is None or axis == along:
        return None
    made = bind(GATHER, x, index, attrs=(along - (along > axis),))
    return made, axis if axis < along else axis + index.ndim - 1


def _scatter(points: Unbatched, node: Expr, given: Given) -> One | None:
    (ct, axis), (index, _), (along, size) = *given, node.attrs
    if index.op is not ARRAY or axis is None or along <= axis < along + index.ndim:
        return None
    made = bind(SCATTER_ADD, ct, index, attrs=(along - (along > axis), size))
    return made, axis if axis < along else axis - index.ndim + 1


def _einsum(points: Unbatched, node: Expr, given: Given) -> One | None:
    inputs, output = node.attrs
    terms = [(t, axis) for t, (_, axis) in zip(inputs, given, strict=True)]
    labels = {t[axis] for t, axis in terms if axis is not None}
    if len(labels) != 1:
        return None
    (label,) = labels
    if any(t.count(label) != (axis is not None) for t, axis in terms):
        return None
    parts = tuple(tuple(k for k in t if k != label) for t in inputs)
    attrs = parts, tuple(k for k in output if k != label)
    made = bind(EINSUM, *(g for g, _ in given), attrs=attrs)
    return made, output.index(label) if label in output else None


def _accumulated(points: Unbatched, node: Expr, given: Given) -> One | None:
    """Sums, extremes and the like: along other axes, or over the points as well."""
    (x, axis), axes = given[0], node.attrs[0]
    if axis is None:
        return None
    rest = tuple(a - (a > axis) for a in axes if a != axis)
    made = bind(node.op, x, attrs=(rest,)) if rest else x
    return made, None if axis in axes else axis - sum(a < axis for a in axes)


def _call(points: Unbatched, node: Expr, given: Given) -> One | None:
    """A small matrix of each point, in a row that has a scalar form."""
    row = node.op
    if not points.calls or row not in WITH_FACTORS | WITHOUT_FACTORS:
        return None
    if row in WITH_FACTORS and given[0][0].op is not LU_FACTOR:
        return None
    axis = _common(given)
    if axis != 0 or any(max(g.shape[-2:]) > MOST_ORDER + 1 for g, _ in given):
        return None
    return bind(row, *(g for g, _ in given), attrs=node.attrs), axis


Rule = Callable[[Unbatched, Expr, Given], One | None]
_RULES: dict[Op, Rule] = {
    BROADCAST: _broadcast, PERMUTE: _permute, RESHAPE: _reshape, SLICE: _slice, PAD: _pad,
    CONCAT: _concat, GATHER: _gather, SCATTER_ADD: _scatter, SUM: _accumulated,
    CONVERT: _elementwise,
}  # fmt: skip
_KINDS: dict[Kind, Rule] = {
    Kind.ELEMENTWISE: _elementwise, Kind.EINSUM: _einsum, Kind.REDUCE: _accumulated,
    Kind.CALL: _call,
}  # fmt: skip
