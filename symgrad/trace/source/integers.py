"""Python's integers in loops: they have no end, those of the C have 64 bits."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.expr.node import Expr
from symgrad.expr.walk import depends_on, toposort
from symgrad.ops.control import BRANCH, ITEM
from symgrad.ops.elementwise import ADD, NEGATIVE, SUBTRACT
from symgrad.trace.source.handed import Slot
from symgrad.trace.source.refusal import Unlike
from symgrad.trace.tracer import is_python


def check_integers(slots: Sequence[Slot]) -> None:
    """Refuse integers of Python's that may outgrow 64 bits: all but sums of what is known."""
    symbols = {s.symbol for s in slots if s.symbol is not None}
    for s in slots:
        own = s.symbol is not None and s.after.dtype == "int64" and is_python(s.like)
        if own and not _is_sum_of_known(s.after, s.symbol, symbols):
            raise Unlike("an integer may get larger than 64 bits")


def _is_sum_of_known(value: Expr, own: Expr | None, symbols: set[Expr]) -> bool:
    """Whether a value is `own` and what is known, or what is known, in all cases."""
    left = depends_on(toposort([value]), symbols)
    stack = [value]
    while stack:
        value = stack.pop()
        if value not in left or value is own:
            continue
        if value.op is ITEM and value.args[0].op is BRANCH:
            sides, k = value.args[0].args[1:], value.attrs[0]
            stack += [sides[k], sides[len(sides) // 2 + k]]
        elif value.op in (ADD, SUBTRACT):
            a, b = value.args
            if value.op is ADD and _is_one_of_known(a, symbols):
                a, b = b, a
            if not _is_one_of_known(b, symbols):
                return False
            stack.append(a)
        else:
            return False
    return True


def _is_one_of_known(value: Expr, symbols: set[Expr]) -> bool:
    """Whether only which of some known values, or sums of them, it is depends on the symbols."""
    left = depends_on(toposort([value]), symbols)
    stack = [value]
    while stack:
        value = stack.pop()
        if value not in left:
            continue
        left.remove(value)
        if value.op is ITEM and value.args[0].op is BRANCH:
            sides, k = value.args[0].args[1:], value.attrs[0]
            stack += [sides[k], sides[len(sides) // 2 + k]]
        elif value.op in (ADD, SUBTRACT, NEGATIVE):
            stack += value.args
        else:
            return False
    return True
