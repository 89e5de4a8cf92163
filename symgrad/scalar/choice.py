"""Whether scalar form pays: the work of both forms, counted.

Work is what rows say that they cost: 1 for a sum or product, 4 for a division, 20 and more for a
call. The constants are those of a table of times (benchmarks/small/choice.py; 0078): below `_SHARE`
of the other form's work no function of the table was slower in scalar form, and none below
`_NARROW`, if little of that work is on arrays, of which machines compute several elements at once.
Nothing is opened before arrays and work have been counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from symgrad.expr.node import ARRAY, CONST, EYE, FLOATS, Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.graph import Graph
from symgrad.lower.tuning import Tuning
from symgrad.ops.flops import flops
from symgrad.ops.linear import CONCAT, PAD, SCATTER_ADD
from symgrad.options import AUTO, Options
from symgrad.scalar.opening import is_small
from symgrad.scalar.program import plain
from symgrad.scalar.unbatched import Unbatched

_ELEMENTS = 400  # of each array: larger ones are better in loops
_MOST = 1000  # of work: more is longer to compile than a default may take
_SHARE = 0.66
_NARROW, _WIDE = 0.77, 1.25  # of all work; of that with elements at once
_AT_ONCE = 8  # elements, whose work is that of the root of their number
_CALL = 50  # the work around a factorisation in a function of its own
_WORK = 40_000  # of the other form beyond which nobody looks
_DENSE, _HALF = 400, 0.5  # of work, and what is left of it, where no zeros are to be seen
_NODES = 600  # of the graph, of each of which every element is opened
# Of functions that are mapped over points (0083): work for one point.
_SHARE_OF_POINTS, _MOST_OF_POINTS = 0.85, 4000
_OPENED = 40_000  # elements of one point, of all nodes together


def most_that_pay(graph: Graph, options: Options) -> int:
    """How much work a scalar form may be that "auto" chooses; 0: none pays.

    Threads, a BLAS and thresholds of one's own are choices about loops.
    """
    if options.scalar != AUTO or options.threads > 1 or options.blas or options.tuning is not None:
        return 0
    nodes = graph.nodes
    if len(nodes) > _NODES or not is_small(graph.outs) or any(n.size > _ELEMENTS for n in nodes):
        return 0
    if not any(o.dtype in FLOATS for o in graph.outs):
        return 0
    whole = narrow = 0.0
    seen: dict[object, int] = {}
    ready = toposort(plain(graph.outs))  # with powers as products
    for node in ready:
        if node.op.moves is None:
            work = flops(node, seen) + (_CALL if node.op.kind is Kind.CALL else 0)
            whole += work
            narrow += work / math.sqrt(min(max(node.size, 1), _AT_ONCE))
    if not any(map(_has_zeros, ready)):
        return int(_HALF * whole) if whole <= _DENSE else 0
    if whole > _WORK:
        return 0
    return min(_MOST, int(max(_SHARE * whole, min(_NARROW * whole, _WIDE * narrow))))


def _has_zeros(node: Expr) -> bool:
    """Whether a node brings zeros, or the selections of a factorisation, that vanish in scalars."""
    row = node.op
    if row in (EYE, PAD, SCATTER_ADD) or row.kind is Kind.CALL:
        return True
    if row is ARRAY:
        return not np.all(node.attrs[0].array)
    return row is CONCAT and any(a.op is CONST or _is_const(a.args) for a in node.args)


def _is_const(args: Sequence[Expr]) -> bool:
    return len(args) == 1 and args[0].op is CONST


def points_that_pay(
    outs: Sequence[Expr], options: Options, tuning: Tuning
) -> tuple[Unbatched, float] | None:
    """What scalars of points may replace, and how much work they may be for one point.

    None if nothing would; without vectors, text counts for more.
    """
    if options.scalar is False or not tuning.vectors:
        return None
    size = _points_of(outs, tuning)
    if not size:
        return None
    points = Unbatched(outs, size, _ELEMENTS, tuning.straight_rounds)
    inner = [*points.one, *points.added]
    seen: dict[object, int] = {}
    whole = sum(flops(n, seen) for n in inner if n.op.moves is None) / size
    whole += _CALL * sum(n.op.kind is Kind.CALL for n in inner)
    ones = [one for one, _ in (*points.one.values(), *points.added.values())]
    if sum(n.size for n in ones) > _OPENED or whole > _WORK:
        return None
    if not any(map(_has_zeros, toposort(ones))):
        return None
    return points, min(_SHARE_OF_POINTS * whole, _MOST_OF_POINTS)


def _points_of(outs: Sequence[Expr], tuning: Tuning) -> int:
    """The number of points for which most is done that have small arrays; 0 if there are none."""
    counts: dict[int, int] = {}
    for node in toposort(outs):
        for n in {*node.shape}:
            if n >= tuning.lanes_from_points and n < node.size <= n * _ELEMENTS:
                counts[n] = counts.get(n, 0) + node.size // n
    return max(counts, key=lambda n: (counts[n], n), default=0)
