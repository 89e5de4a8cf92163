"""Whether elements of a node are read more than once, so that it is worth a buffer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from symgrad.expr.node import Expr
from symgrad.expr.op import Kind, Moves
from symgrad.ops.linear import SLICE


def is_reread(node: Expr, readers: Sequence[Expr], most_slices: int) -> bool:
    """Whether elements of `node` are read more than once, as far as one looks."""
    if any(_rereads(u, node) for u in readers):
        return True
    return len(readers) > 1 and not (len(readers) <= most_slices and _are_apart(readers))


def _are_apart(readers: Sequence[Expr]) -> bool:
    """Whether all are slices, in boxes that do not overlap."""
    if any(r.op is not SLICE for r in readers):
        return False
    boxes = [_box(r) for r in readers if r.size]
    return all(
        any(high < start or stop < low for (low, high), (start, stop) in zip(a, b, strict=True))
        for a, b in itertools.combinations(boxes, 2)
    )


def _box(node: Expr) -> list[tuple[int, int]]:
    """The first and last element that a slice reads, for each axis."""
    ends = [(start, start + (n - 1) * step) for start, n, step in zip(*node.attrs, strict=True)]
    return [(min(pair), max(pair)) for pair in ends]


def _rereads(user: Expr, node: Expr) -> bool:
    """Whether `user` reads elements of `node` more than once."""
    if user.op.kind is Kind.EINSUM:
        labels = {k for t in user.attrs[0] for k in t}
        return any(
            a is node and set(t) != labels for a, t in zip(user.args, user.attrs[0], strict=True)
        )
    if user.op.moves is Moves.REPEATED:
        return user.size > node.size
    return user.op.rereads
