"""Floating-point operations of a node, in the order in which contractions are computed."""

from __future__ import annotations

from symgrad.expr.node import Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.ops.body import Body, bodies, fresh
from symgrad.ops.contract import steps
from symgrad.ops.einsum import sizes


def flops(node: Expr, seen: dict[object, int]) -> int:
    """Of one evaluation; a math function counts as its row says, a branch as its costlier side.

    seen : what was found before: the search for an order runs once per form of contraction
    """
    row = node.op
    if row.flops is not None:
        return row.flops(node.args, node.attrs)
    match row.kind:
        case Kind.SOURCE | Kind.ITEM:
            return 0
        case Kind.ELEMENTWISE:
            return row.cost * node.size
        case Kind.EINSUM:
            key: object = (node.attrs, tuple(a.shape for a in node.args))
            if key not in seen:
                size = sizes(node.args, node.attrs[0])
                inputs, output = node.attrs
                made = steps(inputs, output, size)
                seen[key] = sum(step.flops(size) for step in made)
            return seen[key]
        case Kind.COMPOSITE if row.expand is not None:
            key = (row, node.attrs, tuple((a.shape, a.dtype) for a in node.args))
            if key not in seen:
                arguments = fresh(node.args)
                seen[key] = sum(
                    flops(n, seen) for n in toposort([row.expand(arguments, node.attrs)])
                )
            return seen[key]
        case Kind.CONTROL:
            inside = [body_flops(b, seen) for b in bodies(node)]
            if row.rounds is None:
                return max(inside, default=0)
            rounds = row.rounds(node.attrs)  # None: nobody knows, one is counted
            return (1 if rounds is None else rounds) * sum(inside)
        case _:
            return row.cost * max([node.size, *(a.size for a in node.args)])


def body_flops(body: Body, seen: dict[object, int]) -> int:
    """Of one run of a body."""
    if body not in seen:
        seen[body] = sum(flops(n, seen) for n in toposort(body.outs))
    return seen[body]
