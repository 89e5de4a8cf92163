"""Small arrays of each of many points, as scalars of each point (0083).

What a graph does point by point is opened into scalars, as a small function is, and written again
as a graph: every scalar is an array with one element for each point. So loops over the points have
straight lines for bodies, and the points become lanes as any others.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from symgrad.expr.node import Expr, bind
from symgrad.expr.validate import validated
from symgrad.expr.walk import rebuild, toposort
from symgrad.ops.checks import CHECK, Failure
from symgrad.ops.elementwise import OR
from symgrad.ops.linear import broadcast, concat, permute, reshape, slice_
from symgrad.scalar.blocks import assembled, element
from symgrad.scalar.program import opened
from symgrad.scalar.shortest import ONE, ORDERS, shortest, work
from symgrad.scalar.space import NotScalar
from symgrad.scalar.unbatched import Unbatched, without
from symgrad.scalar.writing import Writer

# A matrix that is singular or not positive definite: where calls say so, C returns the same status.
SINGULAR = Failure(np.linalg.LinAlgError, ("Singular matrix",), None, "", 0, "")
_AHEAD = 1.3  # times as much work before anything is shortened; then no pass does
_NODES = 2  # for each operation, before anything is shortened
_SUM = 2  # the work of adding an element of a point to a sum of all points, beside its addition


def in_scalars(
    outs: Sequence[Expr], points: Unbatched, most: float, careful: bool = True
) -> tuple[list[Expr], list[Expr]]:
    """The same results, with scalars where `points` has found what is done point by point.

    Behind them a check, if matrices are factored: where one is singular, results are not finite.

    most : of work for one point; raises NotScalar if there would be more, or for what has no scalar
        form
    careful : as of `scalar_program`
    """
    nodes = toposort(outs)
    wanted = _wanted(nodes, outs, points)
    ones = [*wanted.values()]
    leaves = [a for a in toposort(ones) if a in points.leaves]
    space, failing, refs, dtypes = opened(leaves, ones, int(most), careful, int(_NODES * most))
    if work(space, refs, dtypes) > _AHEAD * most:
        raise NotScalar("it is far longer before it is made shorter")
    refs, _ = shortest(space, refs, dtypes, ONE if careful else ORDERS)
    sums = sum(n.size for n in points.added)
    if work(space, refs, dtypes) + _SUM * sums > most:
        raise NotScalar(f"its work is more than {most:.0f} for each point")
    whole = _Whole(points)
    writer = Writer(space, whole.element, many=points.size)
    done = failing
    for n in nodes:
        if n in wanted:
            own = slice(done, done + wanted[n].size)
            whole.put(n, writer.write(refs[own], dtypes[own]))
            done = own.stop
        elif n not in points.one:
            whole.known[n] = rebuild(n, tuple([whole.known[a] for a in n.args]))
    found = validated("points in scalars", outs, [whole.known[o] for o in outs])
    conditions = writer.write(refs[:failing], dtypes[:failing])
    if not conditions:
        return found, []
    bad = functools.reduce(functools.partial(writer.bind, OR), conditions)
    return found, [bind(CHECK, bad, attrs=(SINGULAR,))]


def _wanted(nodes: Sequence[Expr], outs: Sequence[Expr], points: Unbatched) -> dict[Expr, Expr]:
    """What is needed whole and computed from scalars of points, and what these are of one point."""
    needed = set(outs)
    for n in nodes:
        if n not in points.one and n not in points.added:
            needed.update(n.args)
    found = {n: one for n, (one, _) in points.one.items() if n in needed}
    found |= {n: operand for n, (operand, _) in points.added.items()}
    return {n: found[n] for n in nodes if n in found}


class _Whole:
    """Whole arrays, of whose columns scalars of points are made, and which are made of these."""

    def __init__(self, points: Unbatched) -> None:
        self.points = points
        self.known: dict[Expr, Expr] = {}
        self._columns: dict[tuple[Expr, int], Expr] = {}

    def element(self, what: Expr, place: int) -> Expr:
        """One element of an argument of a point: of all points, if it has them."""
        found = self._columns.get((what, place))
        if found is None:
            node, axis = self.points.leaves[what]
            x = self.known[node]
            found = element(x, place) if axis is None else _column(x, axis, place)
            self._columns[what, place] = found
        return found

    def put(self, node: Expr, values: Sequence[Expr]) -> None:
        """A whole array, of the elements that each point has of it or of its operand."""
        size = self.points.size
        columns = [v if v.shape else broadcast(v, (size,), ()) for v in values]
        if node not in self.points.added:
            axis = self.points.one[node][1]
            self.known[node] = _stacked(columns, without(node.shape, axis), axis)
            return
        row = self.points.added[node][1]
        totals = [bind(row, c, attrs=((0,),)) for c in columns]
        self.known[node] = assembled(totals, node.shape)


def _column(x: Expr, axis: int, place: int) -> Expr:
    """What all points have at one place of the rest of an array."""
    at = np.unravel_index(place, without(x.shape, axis)) if x.ndim > 1 else ()
    starts, sizes = [int(k) for k in at], [1] * len(at)
    starts.insert(axis, 0)
    sizes.insert(axis, x.shape[axis])
    return reshape(slice_(x, tuple(starts), tuple(sizes), (1,) * x.ndim), (x.shape[axis],))


def _stacked(columns: Sequence[Expr], shape: tuple[int, ...], axis: int) -> Expr:
    """An array of columns, one for each place of `shape`, with their axis put in.

    Joined axis by axis, so that each is stored where it belongs, without a copy.
    """
    parts = [reshape(c, (c.size, *(1,) * len(shape))) for c in columns]
    for k in reversed(range(len(shape))):
        n = shape[k]
        parts = [concat(parts[i : i + n], k + 1) for i in range(0, len(parts), n)]
    (whole,) = parts
    return permute(whole, (*range(1, axis + 1), 0, *range(axis + 1, len(shape) + 1)))
