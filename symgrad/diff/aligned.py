"""A function of the elements of an array as one of each element alone, all others held.

The limit of c(r)/r where r = 0 is the derivative of c by r there. Of an array of roots this is
meant element by element: r_i is 0, and what c has of the other elements, a sum of all for example,
keeps its value. `held` puts placeholders where elements of the array meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.expr.node import Expr, arg
from symgrad.expr.op import Kind
from symgrad.expr.walk import rebuild
from symgrad.ops.einsum import EINSUM
from symgrad.ops.linear import BROADCAST, CONCAT, PAD, PERMUTE, RESHAPE, SLICE, SUM

# Where the axes of the array lie in a node each of whose elements depends on one element of it: a
# tuple with one axis for each that is longer than 1, or the views that led there.
Axes = Any
_THROUGH = frozenset({Kind.ELEMENTWISE, Kind.LINEAR, Kind.EINSUM})


def held(
    top: Expr, between: Sequence[Expr], base: Expr, root: Expr
) -> tuple[Expr, dict[Expr, Expr]] | None:
    """`top` with placeholders for what other elements of `base` are in, and what these stand for.

    None where no element of `top` depends on its own element of `base`.

    between : the nodes on the way from `base` to `top`, arguments first
    root : a view of `base`, of the shape of `top`: it says which element is whose
    """
    whose = _of_view(root, base)
    axes: dict[Expr, Axes] = {base: _own(base)}
    made: dict[Expr, Expr] = {base: base}
    stand: dict[Expr, Expr] = {}

    def placeholder(node: Expr) -> Expr:
        for made_, actual in stand.items():
            if actual is node:
                return made_
        new = arg(len(stand), node.shape, node.dtype, f"held {len(stand)}")
        stand[new] = node
        return new

    for node in between:
        if node.op.kind not in _THROUGH:
            made[node] = placeholder(node)
            continue
        moved = {k: _moved(node, k, axes[a]) for k, a in enumerate(node.args) if a in axes}
        kept = {m for m in moved.values() if m is not None}
        if kept:
            axes[node] = whose if whose in kept else min(kept, key=repr)
        apart = {k for k, m in moved.items() if m is None or m != axes[node]}
        args = [placeholder(a) if k in apart else made.get(a, a) for k, a in enumerate(node.args)]
        made[node] = rebuild(node, tuple(args))
    return (made[top], stand) if whose is not None and axes.get(top) == whose else None


def _own(base: Expr) -> Axes:
    return tuple([k for k, n in enumerate(base.shape) if n > 1])


def _of_view(root: Expr, base: Expr) -> Axes:
    chain = []
    while root is not base:
        chain.append(root)
        root = root.args[0]
    axes = _own(base)
    for node in reversed(chain):
        axes = None if axes is None else _moved(node, 0, axes)
    return axes


def _moved(node: Expr, k: int, axes: Axes) -> Axes:
    """Where the axes lie behind a node that has them in operand k; None where elements meet."""
    row, attrs = node.op, node.attrs
    if row.kind is Kind.ELEMENTWISE or not axes:
        return axes
    if row is RESHAPE:
        return _reshaped(node, axes)
    if axes[0] == "view":  # of which nothing but the views themselves is known
        return ("view", row.name, attrs, axes) if row in (BROADCAST, PERMUTE) else None
    if row is BROADCAST:
        return tuple([attrs[1][a] for a in axes])
    if row is PERMUTE:
        return tuple([attrs[0].index(a) for a in axes])
    if row is SUM:
        (gone,) = attrs
        if not set(gone).isdisjoint(axes):
            return None
        return tuple([a - sum(g < a for g in gone) for a in axes])
    if row is EINSUM:
        inputs, output = attrs
        labels = [inputs[k][a] for a in axes]
        lost = any(n not in output or inputs[k].count(n) > 1 for n in labels)
        return None if lost else tuple([output.index(n) for n in labels])
    if row in (SLICE, PAD):
        starts, steps = (attrs[0], attrs[2]) if row is SLICE else attrs[1:]
        whole = [node.shape[a] == node.args[0].shape[a] and not starts[a] for a in axes]
        return axes if all(whole) and all(steps[a] == 1 for a in axes) else None
    return axes if row is CONCAT and attrs[0] not in axes else None


def _reshaped(node: Expr, axes: Axes) -> Axes:
    shapes = node.args[0].shape, node.shape
    long = [[k for k, n in enumerate(shape) if n > 1] for shape in shapes]
    sizes = [[shape[k] for k in ks] for shape, ks in zip(shapes, long, strict=True)]
    if axes[0] != "view" and sizes[0] == sizes[1]:
        return tuple([long[1][long[0].index(a)] for a in axes])
    return ("view", "reshape", node.attrs, axes)
