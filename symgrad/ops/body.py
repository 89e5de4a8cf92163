"""Bodies, closed functions in the attributes of control nodes, and how these nodes are made.

    switch : index, operands → results of the body at index          only that body is computed
    scan   : consts, carry, xs → final carry, stacked ys             one round for each row of xs
    while  : consts, carry → final carry, number of rounds, stacked ys
    item   : one result of these
    branch : predicate, values of two sides → the values of one      open; `switch` takes its place

A body is *closed*: it reads its parameters and constants, nothing from outside. Equal loops are
therefore one node, no variable of one can be meant by another, and whoever walks through a graph
need not descend. To differentiate a body, open it: put fresh arguments in the place of its
parameters, and close the result again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.expr.evaluate import Steps
from symgrad.expr.node import Expr, arg, bind, const, param
from symgrad.expr.walk import substitute, toposort
from symgrad.ops.linear import concat, gather, reshape

Type = tuple[tuple[int, ...], str]  # shape, dtype
Args = tuple[Expr, ...]


class Body:
    """Results `outs` as expressions of parameters: a function in the attributes of a node.

    params : Exprs with op `param`, in the order of their positions
    """

    __slots__ = ("__weakref__", "_hash", "_steps", "outs", "params")

    def __init__(self, params: Sequence[Expr], outs: Sequence[Expr]) -> None:
        self.params, self.outs = tuple(params), tuple(outs)
        self._hash = zlib.crc32(repr(self).encode())
        self._steps: Steps | None = None

    @classmethod
    def close(cls, arguments: Sequence[Expr], outs: Sequence[Expr]) -> Body:
        """The body that computes `outs` of `arguments`, nodes of any kind.

        Below them `outs` may have nothing but constants.
        """
        params = [param(k, a.shape, a.dtype) for k, a in enumerate(arguments)]
        return cls(params, substitute(outs, dict(zip(arguments, params, strict=True))))

    def open(self, arguments: Sequence[Expr]) -> list[Expr]:
        """The results for given arguments."""
        return substitute(self.outs, dict(zip(self.params, arguments, strict=True)))

    def map(self, f: Callable[[Sequence[Expr]], Sequence[Expr]]) -> Body:
        """The body whose results are those that `f` makes of these."""
        outs = f(self.outs)
        return self if tuple(outs) == self.outs else Body(self.params, outs)

    def run(self, arguments: Sequence[Any]) -> list[Any]:
        """The results for arrays, computed with NumPy."""
        given = [np.asarray(v, p.dtype) for v, p in zip(arguments, self.params, strict=True)]
        # What is checked is such an integer, and comes before what may fail for other reasons.
        first = [o for o in self.outs if o.dtype == "int64" and not o.shape]
        if self._steps is None:
            self._steps = Steps([*first, *self.outs])
        made = self._steps.run(dict(zip(self.params, given, strict=True)))
        return made[len(first) :]

    @property
    def nodes(self) -> list[Expr]:
        """All nodes, arguments before users; those of bodies inside are not among them."""
        return toposort((*self.params, *self.outs))

    @property
    def types(self) -> tuple[Type, ...]:
        """Shape and dtype of each result."""
        return tuple([(o.shape, o.dtype) for o in self.outs])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Body)
            and len(self.outs) == len(other.outs)
            and all(a is b for a, b in zip(self.params, other.params, strict=False))
            and len(self.params) == len(other.params)
            and all(a is b for a, b in zip(self.outs, other.outs, strict=True))
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        """The same text for equal bodies, in every process: nodes are known by their order."""
        params = ", ".join(f"{p.dtype}{list(p.shape)}" for p in self.params)
        return f"body<{params} -> {', '.join(f'{o.order:x}' for o in self.outs)}>"


def bodies(node: Expr) -> list[Body]:
    """The bodies in the attributes of a control node."""
    parts = [a if isinstance(a, tuple) else (a,) for a in node.attrs]
    return [b for part in parts for b in part if isinstance(b, Body)]


def fresh(nodes: Sequence[Expr], start: int = 0) -> list[Expr]:
    """New arguments of the types of `nodes`, to open bodies with."""
    return [arg(start + k, n.shape, n.dtype) for k, n in enumerate(nodes)]


def results(node: Expr) -> tuple[Type, ...]:
    """Shape and dtype of each result of a control node."""
    assert node.op.results is not None
    kinds: tuple[Type, ...] = node.op.results(node.args, node.attrs)
    return kinds


def item(node: Expr, k: int) -> Expr:
    """Result number `k` of a control node."""
    return bind("item", node, attrs=(k,))


def items(node: Expr) -> list[Expr]:
    """All results of a control node."""
    return [item(node, k) for k in range(len(results(node)))]


# ---- what users of this module make ------------------------------------------------------------


def branch(predicate: Expr, then: Sequence[Expr], orelse: Sequence[Expr]) -> list[Expr]:
    """For each pair the first where `predicate`, a bool scalar, holds, else the second.

    What only one side needs is computed only there, once `sink` has seen the whole function.
    """
    return items(bind("branch", predicate, *then, *orelse))


def switch(index: Expr, bodies: Sequence[Body], operands: Sequence[Expr]) -> list[Expr]:
    """The results of one of `bodies` for `operands`; `index` is an int64 scalar.

    An index below 0 means the first, one beyond the last means the last, as `jax.lax.switch` has it.
    """
    return items(bind("switch", index, *operands, attrs=(tuple(bodies),)))


def scan(
    body: Body,
    consts: Sequence[Expr],
    carry: Sequence[Expr],
    xs: Sequence[Expr],
    length: int,
    *,
    reverse: bool = False,
    count: Expr | None = None,
) -> list[Expr]:
    """Final carry and stacked ys of ``carry, y = body(*consts, *carry, *[x[t] for x in xs])``.

    reverse : rounds t = length - 1, …, 0; row t of ys always belongs to round t
    count : an int64 scalar, 0 ≤ count ≤ length: only rounds t < count take place (in reverse too),
        and the other rows of ys are 0
    """
    counted = () if count is None else (count,)
    attrs = (body, len(consts), len(carry), length, reverse, count is not None)
    return items(bind("scan", *counted, *consts, *carry, *xs, attrs=attrs))


def while_loop(
    test: Body, body: Body, consts: Sequence[Expr], carry: Sequence[Expr], limit: int | None = None
) -> list[Expr]:
    """Final carry and number of rounds of ``while test(*consts, *carry): carry = body(…)``.

    limit : most rounds; where the test still holds after these the call fails (`LoopLimitError`).
        With it the body may have more results than the carry: ys, stacked in `limit` rows, of which
        those of rounds that did not take place are 0. They come behind the number of rounds.
    """
    attrs = (test, body, len(consts), limit)
    return items(bind("while", *consts, *carry, attrs=attrs))


def written_out(node: Expr) -> list[Expr]:
    """The results of a scan of all its rounds, one after the other."""
    body, consts, carry, n = node.attrs[0], node.attr("consts"), node.attr("carry"), node.attrs[3]
    fixed, state = node.args[:consts], list(node.args[consts : consts + carry])
    rows: dict[int, list[Expr]] = {}
    for t in range(n)[:: -1 if node.attr("reverse") else 1]:
        xs = [gather(x, const(t, "int64"), 0) for x in node.args[consts + carry :]]
        made = body.open([*fixed, *state, *xs])
        state, rows[t] = made[:carry], made[carry:]
    ys = []
    for k, (shape, dtype) in enumerate(results(node)[carry:]):
        if not n:
            ys.append(const(0, dtype, shape))
            continue
        parts = [reshape(rows[t][k], (1, *shape[1:])) for t in sorted(rows)]
        ys.append(concat(parts, 0))
    return [*state, *ys]
