"""Derivatives of small functions, taken scalar by scalar: every way, of which the shortest is kept.

Which mode is cheaper cannot be told before zeros, signs and common parts are gone. So each is
tried, and what comes out is brought into normal form and counted (0058). The rules are those of
`diff.modes`; only the graph is another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar

from symgrad.diff import modes
from symgrad.diff.limits import pushed, with_limits
from symgrad.expr.node import ARG, FLOATS, Expr, arg, const
from symgrad.expr.walk import substitute, toposort
from symgrad.ops.elementwise import convert
from symgrad.options import NOT_OF_SCALARS
from symgrad.scalar.blocks import Blocks, assembled, element
from symgrad.scalar.program import as_scalars, space_for
from symgrad.scalar.shortest import QUICK, shortest
from symgrad.scalar.space import NotScalar

# The most operations of a function whose derivatives are taken scalar by scalar; 0: none is.
_MOST: ContextVar[int] = ContextVar("most", default=0)


class Look:
    """Which way derivatives are taken.

    first : whether the first of the ways; None: the one that is shorter where it is taken
    asked : whether there was a choice
    """

    def __init__(self, first: bool | None = None) -> None:
        self.first, self.asked = first, False


_LOOK: ContextVar[Look] = ContextVar("look", default=Look())  # noqa: B039

Ready = Callable[[Sequence[Expr]], list[Expr]]
Table = list[list[Expr | None]]  # of each element of a result, derivatives in each scalar variable


@contextlib.contextmanager
def opened(most: int, look: Look) -> Iterator[None]:
    """Derivatives inside are taken scalar by scalar where they have up to `most` operations."""
    tokens = _MOST.set(most), _LOOK.set(look)
    try:
        yield
    finally:
        _MOST.reset(tokens[0])
        _LOOK.reset(tokens[1])


def left_out() -> frozenset[str]:
    """Groups of rules that are left out where derivatives are taken now."""
    return NOT_OF_SCALARS if _MOST.get() else frozenset()


class _Scalars:
    """Variables of a derivative as scalars, and results in terms of them."""

    def __init__(self, outs: Sequence[Expr], wrt: Sequence[Expr], most: int) -> None:
        self.wrt, self.most = wrt, most
        self.of = {w: [arg(k, (), w.dtype) for k in range(w.size)] for w in wrt}
        self.variables = [v for w in wrt for v in self.of[w]]
        self.values = Blocks(space_for(most), self.of).scalars(outs)

    def again(self, exprs: Sequence[Expr]) -> list[Expr]:
        """Expressions of scalar variables, opened once more."""
        return Blocks(space_for(self.most), {v: [v] for v in self.variables}).scalars(exprs)

    def count(self, table: Table) -> int:
        """The operations of derivatives together with the results."""
        outs = [*self.values, *[e for row in table for e in row if e is not None]]
        args = [n for n in toposort(outs) if n.op is ARG]
        space, _, _, refs, dtypes = as_scalars(args, outs, self.most)
        return shortest(space, refs, dtypes, QUICK)[1]

    def forward(self, values: Sequence[Expr], again: bool) -> Table:
        """Derivatives of each value in each variable; they may be differentiated again."""
        push = pushed if again else modes.jvp
        columns = [push(values, [v], [const(1, v.dtype)]) for v in self.variables]
        return [list(row) for row in zip(*columns, strict=True)]

    def reverse(self, values: Sequence[Expr], again: bool) -> Table:
        """As `forward`."""
        limits = with_limits if again else None
        return [
            modes.vjp([v], self.variables, [const(1, v.dtype)], limits=limits)
            if v.dtype in FLOATS else [None] * len(self.variables)
            for v in values
        ]  # fmt: skip

    def blocks(self, table: Table, outs: Sequence[Expr], like_outs: bool) -> list[list[Expr]]:
        """The derivative of each result in each variable, as arrays of both shapes.

        like_outs : whether they have the dtypes of the results, or of the variables
        """
        back = {v: element(w, k) for w in self.wrt for k, v in enumerate(self.of[w])}
        types = [o.dtype for o in outs for _ in range(o.size)]
        flat = substitute(
            [_typed(e, t if like_outs else v.dtype)
             for row, t in zip(table, types, strict=True)
             for e, v in zip(row, self.variables, strict=True)], back,
        )  # fmt: skip
        width, start = len(self.variables), 0
        found = []
        for out in outs:
            rows = [flat[(start + i) * width : (start + i + 1) * width] for i in range(out.size)]
            begin, blocks = 0, []
            for w in self.wrt:
                part = [e for row in rows for e in row[begin : begin + w.size]]
                blocks.append(assembled(part, (*out.shape, *w.shape)))
                begin += w.size
            found.append(blocks)
            start += out.size
        return found


def _typed(e: Expr | None, dtype: str) -> Expr:
    if e is None:
        return const(0, dtype)
    return e if e.dtype == dtype else convert(e, dtype)


def _started(outs: Sequence[Expr], wrt: Sequence[Expr]) -> _Scalars | None:
    most = _MOST.get()
    if not most or not all(x.size for x in (*outs, *wrt)):
        return None
    entries = sum(o.size for o in outs) * sum(w.size for w in wrt)
    if entries > most:
        return None
    return _Scalars(outs, wrt, most)


def _least(scalars: _Scalars, tables: Sequence[Table]) -> Table:
    if len(tables) == 1:
        return tables[0]
    _LOOK.get().asked = True
    if _LOOK.get().first is not None:
        return tables[0 if _LOOK.get().first else -1]
    counts = [scalars.count(t) for t in tables]
    return tables[counts.index(min(counts))]


def jacobian(
    outs: Sequence[Expr], wrt: Sequence[Expr], like_outs: bool, again: bool
) -> list[list[Expr]] | None:
    """Derivatives of each result in each argument node; None where they are not scalar.

    like_outs : whether they have the dtypes of the results, or of the arguments
    again : whether they are differentiated again
    """
    try:
        scalars = _started(outs, wrt)
        if scalars is None:
            return None
        tables = [scalars.reverse(scalars.values, again)]
        if len(scalars.values) > 1:
            tables.insert(0, scalars.forward(scalars.values, again))
        return scalars.blocks(_least(scalars, tables), outs, like_outs)
    except NotScalar:
        return None


def hessian(out: Expr, wrt: Sequence[Expr], ready: Ready, again: bool) -> list[list[Expr]] | None:
    """Second derivatives of a scalar in each pair of argument nodes; None where not scalar.

    ready : makes of first derivatives what can be differentiated again
    again : whether the second ones are
    """
    try:
        scalars = _started([out], wrt)
        if scalars is None:
            return None
        tables = []
        for way in (scalars.reverse, scalars.forward):
            first = way(scalars.values, True)[0]
            zeros = [const(0, v.dtype) for v in scalars.variables]
            gradient = [z if e is None else e for e, z in zip(first, zeros, strict=True)]
            tables.append(_second(scalars, scalars.again(ready(gradient)), again))
        return scalars.blocks(_least(scalars, tables), wrt, True)
    except NotScalar:
        return None


def _second(scalars: _Scalars, gradient: Sequence[Expr], again: bool) -> Table:
    """Derivatives of a gradient, on one side of the diagonal; the other side has the same nodes."""
    size = len(gradient)
    table: Table = [[None] * size for _ in range(size)]
    push = pushed if again else modes.jvp
    for k, v in enumerate(scalars.variables):
        column = push(gradient[k:], [v], [const(1, v.dtype)])
        for j, e in enumerate(column, k):
            table[j][k] = e
            table[k][j] = e
    return table
