"""Zeros by structure around derivatives: selections and windows stay outside of products.

In: cotangents or tangents, and partials. Out: their products and sums, with each zero that is
known to be one by a condition, or by a window, around what is computed (`diff/modes.py` says why).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.diff.support import Supports, settled
from symgrad.expr.node import CONST, Expr, is_const
from symgrad.expr.walk import rebuild
from symgrad.ops.elementwise import DIVIDE, SELECT, invert, join, meet, select
from symgrad.ops.linear import PAD, is_view, pad, slice_

Condition = tuple[Expr, bool]  # a bool expression, and what it is where a value is not zero
# The zeros around a product: a condition, or the shape, starts and steps of a window.
_Zeros = Condition | tuple[Any, Any, Any]


def total_of(terms: Sequence[Expr]) -> Expr:
    """Their sum; terms under one condition are added under it."""
    sums: dict[Condition | None, Expr] = {}
    for term in terms:
        conditions, _ = conditions_of(term, most=1)
        key = conditions[0] if conditions else None
        inside = term if key is None else term.args[1 if key[1] else 2]
        sums[key] = sums[key] + inside if key in sums else inside
    total: Expr | None = None
    for key, inside in sums.items():
        term = inside if key is None else under([key], inside)
        total = term if total is None else total + term
    assert total is not None
    return total


def selected_total(terms: Sequence[Expr]) -> Expr:
    """Their sum, selected where one of them is not zero by a condition."""
    total = total_of(terms)
    anywhere: Expr | None = None
    for term in terms:
        conditions, _ = conditions_of(term, most=1)
        if not conditions:
            return total
        condition, side = conditions[0]
        condition = condition if side else invert(condition)
        anywhere = condition if anywhere is None else join(anywhere, condition)
    if anywhere is None or conditions_of(total)[0]:
        return total
    anywhere = settled(anywhere)
    return total if anywhere is None else select(anywhere, total, 0)


def scale(
    t: Expr,
    partial: object,
    supports: Supports | None = None,
    meets_infinite: bool = False,
    is_infinite: bool = False,
) -> Expr | None:
    """tangent · partial, where a zero by structure on either side stays a zero; None for one.

    Selections with zeros, and the zeros around a window, stay outermost. If the partial can be
    infinite the support of the tangent is selected as well (`meets_infinite`), if the tangent can,
    that of the partial (`is_infinite`).
    """
    if isinstance(partial, int):
        if partial == 1:
            return t
        conditions, t = conditions_of(t)
        return under(conditions, -t if partial == -1 else t * partial)
    assert isinstance(partial, Expr)
    around, t, partial = _opened(t, partial)
    support = None
    if supports is not None:
        # a constant 0 is arithmetic: the user's own
        support = meet(
            supports.of(t) if meets_infinite and t.op is not CONST else None,
            supports.of(partial) if is_infinite and partial.op is not CONST else None,
        )
    # 1/y as a partial reads better, and rounds once less, as a division
    if partial.op is DIVIDE and is_const(partial.args[0], 1):
        result = t / partial.args[1]
    else:
        result = t * partial
    if support is not None and is_const(support, 0):
        return None
    if support is not None and (support, True) not in around:
        around.append((support, True))
    return _closed(around, result)


def _opened(t: Expr, partial: Expr) -> tuple[list[_Zeros], Expr, Expr]:
    """The zeros around the two factors of a product, the outermost first, and what is inside."""
    around: list[_Zeros] = []
    while True:
        if has_zero_branch(partial):
            conditions, partial = conditions_of(partial)
            around += conditions
        elif has_zero_branch(t):
            conditions, t = conditions_of(t)
            around += conditions
        elif t.op is PAD:
            shape, starts, steps = t.attrs
            around.append((shape, starts, steps))
            t = t.args[0]
            partial = slice_(partial, starts, t.shape, steps)
        else:
            return around, t, partial


def _closed(around: Sequence[_Zeros], inside: Expr) -> Expr:
    """`inside` with the zeros around it again."""
    conditions: list[Condition] = []
    for zeros in reversed(around):
        if len(zeros) == 2:
            conditions.append(zeros)
        else:
            inside = pad(_under_all(conditions, inside), *zeros)
            conditions = []
    return _under_all(conditions, inside)


def has_zero_branch(e: Expr) -> bool:
    return e.op is SELECT and is_const(e.args[1], 0) != is_const(e.args[2], 0)


def conditions_of(e: Expr, most: int | None = None) -> tuple[list[Condition], Expr]:
    """The selections with zeros around an expression, the outermost first, and what is inside."""
    conditions: list[Condition] = []
    while has_zero_branch(e) and len(conditions) != most:
        side = is_const(e.args[2], 0)
        conditions.append((e.args[0], side))
        e = e.args[1 if side else 2]
    return conditions, e


def under(conditions: Sequence[Condition], e: Expr) -> Expr:
    """`e` inside of selections with zeros."""
    for condition, side in reversed(conditions):
        e = select(condition, e, 0) if side else select(condition, 0, e)
    return e


def _under_all(conditions: list[Condition], e: Expr) -> Expr:
    """`e` inside of one selection for all of the conditions, the innermost first.

    Nested, those of a long chain would be built again at each of its nodes.
    """
    if len(conditions) < 2:
        return under(conditions, e)
    every = meet(*[c if side else invert(c) for c, side in reversed(conditions)])
    assert every is not None
    return select(every, e, 0)


def selected_last(e: Expr) -> Expr:
    """The same with what is moved or repeated selected afterwards."""
    moves: list[Expr] = []
    inside = e
    while is_view(inside):
        moves.append(inside)
        inside = inside.args[0]
    if not moves or not has_zero_branch(inside):
        return e
    conditions, inside = conditions_of(inside)
    for m in reversed(moves):
        inside = rebuild(m, (inside, *m.args[1:]))
        conditions = [(rebuild(m, (c, *m.args[1:])), side) for c, side in conditions]
    return under(conditions, inside)
