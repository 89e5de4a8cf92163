"""Whether scalar form pays: a count of operations of both forms.

The constants are those of a table of times (benchmarks/small/choice.py; 0058). The default form is
the other one as long as `symgrad.options.SCALAR` says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.expr.node import Expr
from symgrad.expr.walk import toposort
from symgrad.graph import Graph
from symgrad.scalar.opening import is_small
from symgrad.scalar.program import how_long

_ELEMENTS = 400  # of each array: larger ones are better in loops
_MOST = 1500  # operations: more are longer to compile than a default may take
_SHARE = 0.8  # of the operations of the other form


def may_pay(outs: Sequence[Expr]) -> bool:
    """Whether it is worth looking closer: small arrays only, and more than moves of elements."""
    return is_small(outs) and all(n.size <= _ELEMENTS for n in toposort(outs))


def pays(plain: Graph, scalar: Graph) -> bool:
    """Whether a function is expected to be faster in scalar form, by both of its graphs."""
    count = how_long(scalar.args, scalar.simplify().outs, _MOST)
    if count is None:
        return False
    cost = plain.simplify().cost()
    # a call of a function is one operation here, and 20 or more there
    usual: int = cost.flops - 19 * cost.transcendental
    return count <= _SHARE * usual
