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
from symgrad.scalar.opening import Opening
from symgrad.scalar.program import space_for
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
    space = space_for(int(most), careful)
    opening = Opening(space)
    ones = [points.added[n][0] if n in points.added else points.one[n][0] for n in wanted]
    opening.leaves([a for a in toposort(ones) if a in points.leaves])
    room, space.most = space.most, space.count + int(_NODES * most)
    opening.open(ones)
    space.most = room
    elements = [opening.elements(one) for one in ones]
    failing = list(opening.matrices.singular)
    refs = [r for found in elements for r in found] + failing
    dtypes = [one.dtype for one, found in zip(ones, elements, strict=True) for _ in found]
    dtypes += ["bool"] * len(failing)
    if work(space, refs, dtypes) > _AHEAD * most:
        raise NotScalar("it is far longer before it is made shorter")
    sums = sum(one.size for one, n in zip(ones, wanted, strict=True) if n in points.added)
    refs, _ = shortest(space, refs, dtypes, ONE if careful else ORDERS)
    if work(space, refs, dtypes) + _SUM * sums > most:
        raise NotScalar(f"its work is more than {most:.0f} for each point")
    whole = _Whole(points)
    writer = Writer(space, whole.element, many=points.size)
    done = 0
    for n in nodes:
        if n in wanted:
            count = len(elements[wanted[n]])
            values = writer.write(refs[done : done + count], dtypes[done : done + count])
            whole.put(n, values)
            done += count
        elif n not in points.one:
            whole.known[n] = rebuild(n, tuple([whole.known[a] for a in n.args]))
    found = validated("points in scalars", outs, [whole.known[o] for o in outs])
    conditions = writer.write(refs[done:], dtypes[done:])
    if not conditions:
        return found, []
    bad = functools.reduce(functools.partial(writer.bind, OR), conditions)
    return found, [bind(CHECK, bad, attrs=(SINGULAR,))]


def _wanted(nodes: Sequence[Expr], outs: Sequence[Expr], points: Unbatched) -> dict[Expr, int]:
    """What is computed from scalars of points and needed whole, numbered in the order of nodes."""
    needed = set(outs)
    for n in nodes:
        if n not in points.one and n not in points.added:
            needed.update(n.args)
    found = [n for n in nodes if n in points.added or n in points.one and n in needed]
    return {n: k for k, n in enumerate(found)}


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
            at = [int(k) for k in np.unravel_index(place, what.shape)] if what.shape else []
            found = self._columns[what, place] = _column(self.known[node], axis, at)
        return found

    def put(self, node: Expr, values: Sequence[Expr]) -> None:
        """A whole array, of the elements that each point has of it or of its operand."""
        size = self.points.size
        columns = [v if v.shape else broadcast(v, (size,), ()) for v in values]
        if node not in self.points.added:
            axis = self.points.one[node][1]
            self.known[node] = _stacked(columns, (size,), without(node.shape, axis), axis)
            return
        row = self.points.added[node][1]
        totals = [bind(row, c, attrs=((0,),)) for c in columns]
        self.known[node] = _stacked(totals, (), node.shape, 0)


def _column(x: Expr, axis: int | None, at: Sequence[int]) -> Expr:
    """What stands at one place of an array, along an axis or alone."""
    starts, sizes = [*at], [1] * len(at)
    shape: tuple[int, ...] = ()
    if axis is not None:
        starts.insert(axis, 0)
        sizes.insert(axis, x.shape[axis])
        shape = (x.shape[axis],)
    return reshape(slice_(x, tuple(starts), tuple(sizes), (1,) * x.ndim), shape)


def _stacked(
    columns: Sequence[Expr], lead: tuple[int, ...], shape: tuple[int, ...], axis: int
) -> Expr:
    """Columns of shape `lead` as an array: `shape` with the axis of `lead`, if any, put in."""
    ndim = len(lead)
    parts = [reshape(c, (*lead, *(1,) * len(shape))) for c in columns]
    for k in reversed(range(len(shape))):
        n = shape[k]
        parts = [concat(parts[i : i + n], k + ndim) for i in range(0, len(parts), n)]
    (whole,) = parts
    if not ndim:
        return whole
    return permute(whole, (*range(1, axis + 1), 0, *range(axis + 1, len(shape) + 1)))
