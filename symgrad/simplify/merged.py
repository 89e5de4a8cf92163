"""While loops, and branches, that differ only in what they give: made one.

A function and its derivative have such pairs: the derivative's loop gives what its reverse reads
of each round beside what the function's loop gives, and its branch takes the same side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symgrad.expr.node import Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import rebuild, toposort
from symgrad.ops.body import Body, fresh, results, switch, while_loop
from symgrad.simplify.pattern import Check

Results = dict[tuple[Expr, int], Expr]  # of nodes that became one, by position


def merged(outs: Sequence[Expr], check: Check | None) -> tuple[list[Expr], int]:
    """Equal outputs where such nodes are one, and how many that was."""
    nodes = toposort(outs)
    level: dict[Expr, int] = {}
    groups: dict[Any, list[Expr]] = {}
    for node in nodes:
        below = max([level[a] for a in node.args], default=0)
        level[node] = below + (node.op.kind is Kind.CONTROL)
        if node.op.kind is Kind.CONTROL:
            key = _key(node)
            if key is not None:  # as many below: neither needs the other
                groups.setdefault((level[node], *key), []).append(node)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return list(outs), 0
    of = {node: group for group in several for node in group}
    mapped: dict[Expr, Expr] = {}
    made: Results = {}
    for node in sorted(nodes, key=lambda n: level[n]):  # operands of all of a group come first
        if node in of:
            if (node, 0) not in made:
                make = _switches if "bodies" in node.op.attr_names else _loops
                found = make(of[node], lambda a: mapped[a])
                for result in found.values():  # a line of the user's for errors
                    result.args[0].site = result.args[0].site or node.site
                made.update(found)
        elif node.op.kind is Kind.ITEM and node.args[0] in of:
            mapped[node] = made[node.args[0], node.attrs[0]]
        else:
            mapped[node] = rebuild(node, tuple([mapped[a] for a in node.args]))
    new = [mapped[o] for o in outs]
    if check is not None:
        check("loop-join", outs, new)
    return new, len(several)


def _key(node: Expr) -> Any:
    """What nodes have in common that can be one; None for others."""
    if "bodies" in node.op.attr_names:
        return node.op, node.args[0], len(node.attr("bodies"))
    if "test" not in node.op.attr_names:
        return None
    carry = len(node.args) - node.attr("consts")
    rest = node.attr("test"), node.attr("consts"), node.attr("limit")
    return node.op, node.args, *rest, node.attr("body").outs[:carry]


def _loops(group: Sequence[Expr], new: Callable[[Expr], Expr]) -> Results:
    """Loops with the same rounds as one that stacks all that they stack."""
    first, consts = group[0], group[0].attr("consts")
    body, carry = first.attr("body"), len(first.args) - consts
    ys = list(dict.fromkeys(y for n in group for y in n.attr("body").outs[carry:]))
    whole = Body(body.params, [*body.outs[:carry], *ys])
    operands = [new(a) for a in first.args]
    found = while_loop(
        first.attr("test"), whole, operands[:consts], operands[consts:], first.attr("limit")
    )
    made: Results = {}
    for n in group:
        made.update({(n, k): found[k] for k in range(carry + 1)})
        for k, y in enumerate(n.attr("body").outs[carry:], carry + 1):
            made[n, k] = found[carry + 1 + ys.index(y)]
    return made


def _switches(group: Sequence[Expr], new: Callable[[Expr], Expr]) -> Results:
    """Branches on one index as one that gives all that they give."""
    operands = list(dict.fromkeys(a for n in group for a in n.args[1:]))
    arguments = dict(zip(operands, fresh(operands), strict=True))
    rows: dict[tuple[Expr, ...], int] = {}  # a result of each side, and its position
    places: dict[tuple[Expr, int], int] = {}
    for n in group:
        sides = [b.open([arguments[a] for a in n.args[1:]]) for b in n.attr("bodies")]
        for k in range(len(results(n))):
            row = tuple([side[k] for side in sides])
            places[n, k] = rows.setdefault(row, len(rows))
    bodies = [Body.close(list(arguments.values()), side) for side in zip(*rows, strict=True)]
    found = switch(new(group[0].args[0]), bodies, [new(a) for a in operands])
    return {place: found[k] for place, k in places.items()}
