"""Functions of one argument that share their costly part.

In: a graph ready for lowering. Out: an equal one, in which xᵖ and xᵖ⁻¹ take one pow, and the
functions made of exp(-|x|) (sigmoid, softplus) take one exponential for x and -x together. This is
done last: as they were, the functions are what rules and readers recognise.
"""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.expr.node import CONST, Expr, bind, const, const_value
from symgrad.expr.validate import validated
from symgrad.expr.walk import rebuild, toposort, transform
from symgrad.ops.elementwise import NEGATIVE, POWER, absolute, exp


def share(outs: Sequence[Expr], nodes: Sequence[Expr] | None = None) -> list[Expr]:
    """`outs` with shared powers and exponentials.

    nodes : all nodes, if they are at hand
    """
    every = toposort(outs) if nodes is None else nodes
    found = [n for n in every if n.op is POWER or n.op.of_decay is not None]
    if not found:
        return list(outs)
    powers = {n for n in found if n.op is POWER and n.args[1].op is CONST}
    by_base: dict[Expr, set[float]] = {}
    for n in powers:
        by_base.setdefault(n.args[0], set()).add(float(const_value(n.args[1])))
    logistic = {n: None for n in found if n.op.of_decay is not None}
    count: dict[Expr, int] = {}
    for n in logistic:
        x = _without_sign(n.args[0])
        count[x] = count.get(x, 0) + 1

    def rule(node: Expr, args: tuple[Expr, ...]) -> Expr:
        if node in powers:
            x, exponent = args[0], float(const_value(node.args[1]))
            lower = exponent - 1
            if lower > 0 and lower in by_base[node.args[0]]:  # then 0 and infinity come out right
                return x * bind(POWER, x, const(lower, x.dtype, x.shape))
        elif node in logistic and count[_without_sign(node.args[0])] > 1:
            assert node.op.of_decay is not None
            shared: Expr = node.op.of_decay(args[0], _decay(args[0]))
            return shared
        return rebuild(node, args)

    return validated("share", outs, transform(outs, rule)) if powers or logistic else list(outs)


def _without_sign(x: Expr) -> Expr:
    return x.args[0] if x.op is NEGATIVE else x


def _decay(x: Expr) -> Expr:
    return exp(-absolute(_without_sign(x)))
