"""A graph whose elements are scalars, with what is kept whole for calculus as blocks between them.

In: results of arrays. Out: the expression of every element of every result, in terms of elements of
the arguments. Composites and the like, whose derivatives are rules of their own (solve, norm),
stay one node, with arguments that are put together from scalars. So derivatives of the opened graph
are taken by the same rules as of any other, scalar by scalar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from symgrad.expr.node import ARG, Expr, bind
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.ops.elementwise import STOP_GRADIENT
from symgrad.ops.linear import concat, reshape, slice_
from symgrad.scalar.opening import Opening
from symgrad.scalar.space import Space
from symgrad.scalar.writing import Writer

_WHOLE = frozenset({Kind.COMPOSITE, Kind.CALL, Kind.REDUCE, Kind.SCAN, Kind.CONTROL, Kind.ITEM})


def element(x: Expr, place: int) -> Expr:
    """One element of an array, by its place in memory."""
    if not x.shape:
        return x
    index = tuple(int(k) for k in np.unravel_index(place, x.shape))
    return reshape(slice_(x, index, (1,) * x.ndim, (1,) * x.ndim), ())


def assembled(elements: Sequence[Expr], shape: tuple[int, ...]) -> Expr:
    """An array of its elements, in the order of memory; there is one at least."""
    if math.prod(shape) == 1:
        return reshape(elements[0], shape)
    return reshape(concat([reshape(e, (1,)) for e in elements], 0), shape)


class Blocks(Opening):
    """Opens a graph but for the nodes that calculus wants whole.

    variables : expressions of the elements of some arguments
    """

    opens_functions = False

    def __init__(self, space: Space, variables: Mapping[Expr, Sequence[Expr]]) -> None:
        super().__init__(space)
        self._variables = variables
        self._writer = Writer(space, self._leaf)

    def _leaf(self, what: Expr, place: int) -> Expr:
        given = self._variables.get(what)
        return element(what, place) if given is None else given[place]

    def scalars(self, outs: Sequence[Expr]) -> list[Expr]:
        """The elements of all results, one result after another."""
        self.leaves([n for n in toposort(outs) if n.op is ARG])
        self.open(outs)
        refs = [r for o in outs for r in self.elements(o)]
        return self._writer.write(refs, [o.dtype for o in outs for _ in range(o.size)])

    def _opened(self, node: Expr) -> np.ndarray:
        if node.op.kind not in _WHOLE and node.op is not STOP_GRADIENT:
            return super()._opened(node)
        args = []
        for a in node.args:
            refs = self.elements(a)
            args.append(assembled(self._writer.write(refs, [a.dtype] * a.size), a.shape))
        self.leaves([whole := bind(node.op, *args, attrs=node.attrs)])
        return self.known[whole]
