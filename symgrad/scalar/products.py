"""Products of matrices in the order that takes fewer operations, where a sum stands between.

    (M - A B) C = M C - A (B C)

with M an identity or another constant with zeros, as in the covariance of a Kalman filter, whose
B C is there already. A B is rounded before it meets M, so both orders have errors of one size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from symgrad.expr.node import ARRAY, EYE, Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import rebuild, toposort, transform, users
from symgrad.ops.einsum import EINSUM, einsum, sizes
from symgrad.ops.elementwise import ADD, SUBTRACT


def _matrices(node: Expr) -> tuple[Expr, Expr] | None:
    """The factors of a plain product of two matrices."""
    if node.op is not EINSUM or len(node.args) != 2 or node.ndim != 2:
        return None
    (left, right), out = node.attrs
    if len(left) == len(right) == 2 and left[1] == right[0] and out == (left[0], right[1]):
        return node.args[0], node.args[1]
    return None


def _product(a: Expr, b: Expr) -> Expr:
    return einsum([a, b], [(0, 1), (1, 2)], (0, 2))


def _work(node: Expr) -> int:
    return math.prod(sizes(node.args, node.attrs[0]).values())


def _is_sparse(node: Expr) -> bool:
    """Whether a constant has no more entries than rows."""
    if node.op is EYE:
        return True
    return node.op is ARRAY and int(np.count_nonzero(node.attrs[0].array)) <= node.shape[0]


def reordered(outs: Sequence[Expr]) -> list[Expr]:
    """Results with such products in the shorter order."""
    nodes = toposort(outs)
    if not any(n.op.kind is Kind.EINSUM for n in nodes):
        return list(outs)
    readers = users(nodes)
    there = set(nodes)

    def rule(node: Expr, args: tuple[Expr, ...]) -> Expr:
        factors = _matrices(node)
        if factors is not None and len(readers[factors[0]]) == 1 and factors[0] not in outs:
            difference, c = factors
            inner = difference.args[1] if difference.op in (SUBTRACT, ADD) else None
            pair = None if inner is None else _matrices(inner)
            if pair is not None and inner is not None and _is_sparse(difference.args[0]):
                a, b = pair
                first = _product(b, c)
                second = _product(a, first)
                before = _work(inner) + _work(node)
                if _work(second) + (0 if first in there else _work(first)) < before:
                    rest = _product(difference.args[0], c)
                    return rest - second if difference.op is SUBTRACT else rest + second
        return rebuild(node, args)

    return transform(outs, rule)
