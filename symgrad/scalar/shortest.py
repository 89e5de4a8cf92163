"""The shortest form of some scalars that a few fixed orders of passes find."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.expr.node import Expr, arg
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.scalar.cancel import cancel
from symgrad.scalar.normal import Pass, Refs, factor, flat
from symgrad.scalar.share import products, sums
from symgrad.scalar.space import Space
from symgrad.scalar.writing import Writer, operations

ORDERS: tuple[tuple[Pass, ...], ...] = (
    (flat, factor, flat, products, sums),
    (flat, sums, factor, flat, products, sums, factor),
    (flat, cancel, flat, factor, flat, products, sums),
    (flat, cancel, flat, sums, factor, flat, products, sums, factor),
)
QUICK = ORDERS[1::2]
ONE = ORDERS[1:2]
_FEW = 1500  # operations up to which every order is tried


def length(space: Space, refs: Refs, dtypes: Sequence[str]) -> int:
    """How many operations C of these references has."""
    return operations(_written(space, refs, dtypes))


def work(space: Space, refs: Refs, dtypes: Sequence[str]) -> int:
    """How much work C of these references is, by what rows say that they cost."""
    nodes = toposort(_written(space, refs, dtypes))
    return sum(n.op.cost for n in nodes if n.op.kind is Kind.ELEMENTWISE)


def _written(space: Space, refs: Refs, dtypes: Sequence[str]) -> list[Expr]:
    known: dict[tuple[int, int], Expr] = {}

    def leaf(what: Expr, place: int) -> Expr:
        key = id(what), place
        if key not in known:
            known[key] = arg(len(known), (), what.dtype)
        return known[key]

    return Writer(space, leaf).write(refs, dtypes)


def shortest(
    space: Space, refs: Refs, dtypes: Sequence[str],
    orders: Sequence[tuple[Pass, ...]] = ORDERS,
) -> tuple[Refs, int]:  # fmt: skip
    """The same results with the fewest operations that were found, and how many these are."""
    best, fewest = refs, length(space, refs, dtypes)
    for passes in orders if fewest <= _FEW else orders[:2][-1:]:
        made = refs
        for change in passes:
            made = change(space, made)
        count = length(space, made, dtypes)
        if count < fewest:
            best, fewest = made, count
    return best, fewest
