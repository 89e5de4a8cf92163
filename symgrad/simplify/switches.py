"""A switch made smaller: sides that are never taken, operands that none reads, cheap sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symgrad.diff.singular import has_pole, is_singular
from symgrad.expr.node import CONST, Expr, bind, const, const_value
from symgrad.expr.op import Kind
from symgrad.expr.walk import substitute, toposort
from symgrad.ops.body import Body, switch
from symgrad.ops.elementwise import select
from symgrad.ops.flops import flops
from symgrad.ops.linear import broadcast_to

_CHEAP = 10  # flops of a side below which both are computed
_MOST_SIDES = 4
_MOST_COST = 2  # of an operation in them


def smaller_switch(
    node: Expr, used: list[int], enabled: frozenset[str], fired: list[str]
) -> Mapping[int, Expr]:
    index, *operands = node.args
    sides: tuple[Body, ...] = node.attrs[0]
    if len(sides) == 1:
        if "switch-only" in enabled:
            fired.append("switch-only")
            return dict(enumerate(sides[0].open(operands)))
    elif "switch-known" in enabled:
        known = None
        if index.op is CONST:
            known = sides[min(max(int(const_value(index)), 0), len(sides) - 1)]
        elif all(b == sides[0] for b in sides):
            known = sides[0]
        if known is not None:
            fired.append("switch-known")
            return dict(enumerate(known.open(operands)))
    done: dict[int, Expr] = {}
    if "switch-unused" in enabled:
        values = dict(zip(sides[0].params, operands, strict=True))
        for k in used:
            outs = {b.outs[k] for b in sides}
            if len(outs) == 1 and (found := outs.pop()).op.kind is Kind.SOURCE:
                done[k] = values.get(found, found)
    wanted = [k for k in used if k not in done]
    rows = [[b.outs[k] for k in wanted] for b in sides]
    if "switch-cheap" in enabled and 1 < len(sides) <= _MOST_SIDES:
        if all(_cheap(row) for row in rows):
            fired.append("switch-cheap")
            return done | dict(zip(wanted, _selected(index, rows, sides[0].params, operands),
                                   strict=True))  # fmt: skip
    if "switch-unused" not in enabled:
        return {}
    first: dict[Expr, Expr] = {}
    changes: dict[Expr, Expr] = {}
    for p, value in zip(sides[0].params, operands, strict=True):
        if value.op is CONST:
            changes[p] = value
        elif first.setdefault(value, p) is not p:
            changes[p] = first[value]
    rows = [substitute(row, changes) for row in rows]
    read = set(toposort([o for row in rows for o in row]))
    kept = [k for k, p in enumerate(sides[0].params) if p in read]
    if len(kept) == len(operands) and len(wanted) == len(sides[0].outs):
        return {}
    fired.append("switch-unused")
    if not wanted:
        return done
    params = [sides[0].params[k] for k in kept]
    made = switch(index, [Body.close(params, row) for row in rows], [operands[k] for k in kept])
    made[0].args[0].site = made[0].args[0].site or node.site
    return done | dict(zip(wanted, made, strict=True))


def _cheap(outs: Sequence[Expr]) -> bool:
    """Whether a side costs next to nothing and can be computed at any values."""
    total = 0
    seen: dict[object, int] = {}
    for n in toposort(outs):
        if n.op.kind is Kind.ELEMENTWISE:
            if n.op.cost > _MOST_COST or has_pole(n) or is_singular(n, False):
                return False
            if n.op.partials is None and n.op.c_int is not None:
                return False
        elif n.op.kind is not Kind.SOURCE and (n.op.moves is None or n.op.indices is not None):
            if n.op.kind is not Kind.LINEAR or n.op.reduces or n.op.indices is not None:
                return False
        total += flops(n, seen)
    return total < _CHEAP


def _selected(
    index: Expr,
    rows: Sequence[Sequence[Expr]],
    params: Sequence[Expr],
    operands: Sequence[Expr],
) -> list[Expr]:
    values = dict(zip(params, operands, strict=True))
    opened = [substitute(row, values) for row in rows]
    made = list(opened[-1])
    for k in reversed(range(len(rows) - 1)):
        before = _at_most(index, k)
        pairs = zip(opened[k], made, strict=True)
        made = [select(broadcast_to(before, a.shape), a, b) for a, b in pairs]
    return made


def _at_most(index: Expr, k: int) -> Expr:
    """Whether the index is one of the first k + 1."""
    if index.name == "convert" and index.args[0].dtype == "bool" and k == 0:
        return bind("logical_not", index.args[0])
    return bind("less_equal", index, const(k, index.dtype))
