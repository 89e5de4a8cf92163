"""Control flow as nodes: `switch`, `scan` and `while_loop` with closed bodies, and `branch`.

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
from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, LoopLimitError, ShapeError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import TUPLE, Expr, bind, param
from symgrad.expr.op import Kind, Op, register
from symgrad.expr.walk import substitute, toposort

Type = tuple[tuple[int, ...], str]  # shape, dtype
Args = tuple[Expr, ...]


class Body:
    """Results `outs` as expressions of parameters: a function in the attributes of a node.

    params : Exprs with op `param`, in the order of their positions
    """

    __slots__ = ("_hash", "outs", "params")

    def __init__(self, params: Sequence[Expr], outs: Sequence[Expr]) -> None:
        self.params, self.outs = tuple(params), tuple(outs)
        self._hash = zlib.crc32(repr(self).encode())

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

    def run(self, arguments: Sequence[Any]) -> list[Any]:
        """The results for arrays, computed with NumPy."""
        given = [np.asarray(v, p.dtype) for v, p in zip(arguments, self.params, strict=True)]
        return evaluate(self.outs, dict(zip(self.params, given, strict=True)))

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


def results(node: Expr) -> tuple[Type, ...]:
    """Shape and dtype of each result of a control node."""
    kinds: tuple[Type, ...] = _RESULTS[node.op](node.args, *node.attrs)
    return kinds


def item(node: Expr, k: int) -> Expr:
    """Result number `k` of a control node."""
    return bind(ITEM, node, attrs=(k,))


def items(node: Expr) -> list[Expr]:
    """All results of a control node."""
    return [item(node, k) for k in range(len(results(node)))]


# ---- what users of this module make ------------------------------------------------------------


def branch(predicate: Expr, then: Sequence[Expr], orelse: Sequence[Expr]) -> list[Expr]:
    """For each pair the first where `predicate`, a bool scalar, holds, else the second.

    What only one side needs is computed only there, once `sink` has seen the whole function.
    """
    return items(bind(BRANCH, predicate, *then, *orelse))


def switch(index: Expr, bodies: Sequence[Body], operands: Sequence[Expr]) -> list[Expr]:
    """The results of one of `bodies` for `operands`; `index` is an int64 scalar.

    An index below 0 means the first, one beyond the last means the last, as `jax.lax.switch` has it.
    """
    return items(bind(SWITCH, index, *operands, attrs=(tuple(bodies),)))


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
    return items(bind(SCAN, *counted, *consts, *carry, *xs, attrs=attrs))


def while_loop(
    test: Body, body: Body, consts: Sequence[Expr], carry: Sequence[Expr], limit: int | None = None
) -> list[Expr]:
    """Final carry and number of rounds of ``while test(*consts, *carry): carry = body(…)``.

    limit : most rounds; where the test still holds after these the call fails (`LoopLimitError`).
        With it the body may have more results than the carry: ys, stacked in `limit` rows, of which
        those of rounds that did not take place are 0. They come behind the number of rounds.
    """
    attrs = (test, body, len(consts), limit)
    return items(bind(WHILE, *consts, *carry, attrs=attrs))


# ---- types and values --------------------------------------------------------------------------


def _matches(what: str, given: Sequence[Any], expected: Sequence[Any]) -> None:
    if len(given) != len(expected):
        raise ShapeError(f"{what}: {len(given)} values where {len(expected)} are expected")
    for k, (g, e) in enumerate(zip(given, expected, strict=True)):
        if g[0] != e[0]:
            raise ShapeError(f"{what}: value {k} has shape {g[0]}, expected {e[0]}")
        if g[1] != e[1]:
            raise DtypeError(f"{what}: value {k} has dtype {g[1]}, expected {e[1]}")


def _types(nodes: Sequence[Expr]) -> list[Type]:
    return [(n.shape, n.dtype) for n in nodes]


def _scalar(what: str, node: Expr, dtype: str) -> None:
    if node.shape or node.dtype != dtype:
        raise DtypeError(f"{what} is a scalar of {dtype}, got {node.dtype}{list(node.shape)}")


def _infer_branch(predicate: Expr, *sides: Expr) -> Type:
    _scalar("the predicate of a branch", predicate, "bool")
    half = len(sides) // 2
    _matches("the sides of a branch", _types(sides[half:]), _types(sides[:half]))
    return (), TUPLE


def _infer_switch(index: Expr, *args: Any) -> Type:
    *operands, bodies = args
    _scalar("the index of a switch", index, "int64")
    for body in bodies:
        _matches("operands of a switch", _types(operands), _types(body.params))
        _matches("results of a switch", body.types, bodies[0].types)
    return (), TUPLE


def _infer_scan(*args: Any) -> Type:
    *operands, body, consts, carry, length, _, counted = args
    if counted:
        _scalar("the count of a scan", operands.pop(0), "int64")
    fixed = consts + carry
    for x in operands[fixed:]:
        if not x.ndim or x.shape[0] != length:
            raise ShapeError(f"scan of {length} rounds over an array of shape {x.shape}")
    given = [*_types(operands[:fixed]), *[(x.shape[1:], x.dtype) for x in operands[fixed:]]]
    _matches("operands of a scan", given, _types(body.params))
    _matches("the carry of a scan", body.types[:carry], given[consts:fixed])
    return (), TUPLE


def _infer_while(*args: Any) -> Type:
    *operands, test, body, consts, limit = args
    carry = _types(operands[consts:])
    _matches("operands of a while loop", _types(operands), _types(body.params))
    _matches("operands of a while loop", _types(operands), _types(test.params))
    _matches("the test of a while loop", test.types, [((), "bool")])
    made = body.types if limit is None else body.types[: len(carry)]
    _matches("the carry of a while loop", made, carry)
    return (), TUPLE


def _evaluate_branch(predicate: Any, *sides: Any) -> list[Any]:
    half = len(sides) // 2
    return list(sides[:half] if predicate else sides[half:])


def _evaluate_switch(index: Any, *args: Any) -> list[Any]:
    *operands, bodies = args
    return bodies[min(max(int(index), 0), len(bodies) - 1)].run(operands)  # type: ignore[no-any-return]


def _evaluate_scan(*args: Any) -> list[Any]:
    *operands, body, consts, carry, length, reverse, counted = args
    count = int(operands.pop(0)) if counted else length
    fixed, state = operands[:consts], list(operands[consts : consts + carry])
    xs = operands[consts + carry :]
    ys = [np.zeros((length, *o.shape), o.dtype) for o in body.outs[carry:]]
    for t in range(count)[:: -1 if reverse else 1]:
        made = body.run([*fixed, *state, *[x[t] for x in xs]])
        state = made[:carry]
        for y, row in zip(ys, made[carry:], strict=True):
            y[t] = row
    return [*state, *ys]


def _evaluate_while(*args: Any) -> list[Any]:
    *operands, test, body, consts, limit = args
    fixed, state = operands[:consts], list(operands[consts:])
    n = len(state)
    ys = [np.zeros((limit or 0, *o.shape), o.dtype) for o in body.outs[n:]]
    rounds = 0
    while test.run([*fixed, *state])[0]:
        if rounds == limit:
            raise LoopLimitError(f"a while loop did not end within {limit} rounds")
        made = body.run([*fixed, *state])
        state = made[:n]
        for y, row in zip(ys, made[n:], strict=True):
            y[rounds] = row
        rounds += 1
    return [*state, np.int64(rounds), *ys]


def _infer_item(node: Expr, k: int) -> Type:
    return results(node)[k]


def _results_scan(args: Args, body: Body, consts: int, carry: int, length: int, *_: Any) -> Any:
    return (*body.types[:carry], *[((length, *s), d) for s, d in body.types[carry:]])


def _results_while(args: Args, test: Body, body: Body, consts: int, limit: int | None) -> Any:
    n = len(args) - consts
    stacked = [((limit, *s), d) for s, d in body.types[n:]]
    return (*body.types[:n], ((), "int64"), *stacked)


BRANCH = register(Op("branch", Kind.CONTROL, _infer_branch, _evaluate_branch))
SWITCH = register(Op("switch", Kind.CONTROL, _infer_switch, _evaluate_switch, ("bodies",)))
SCAN = register(
    Op("scan", Kind.CONTROL, _infer_scan, _evaluate_scan,
       ("body", "consts", "carry", "length", "reverse", "counted"))
)  # fmt: skip
WHILE = register(
    Op("while", Kind.CONTROL, _infer_while, _evaluate_while, ("test", "body", "consts", "limit"))
)
ITEM = register(Op("item", Kind.ITEM, _infer_item, lambda values, k: values[k], ("position",)))
_RESULTS: dict[Op, Any] = {
    BRANCH: lambda args: tuple(_types(args[1 : 1 + len(args) // 2])),
    SWITCH: lambda args, bodies: bodies[0].types,
    SCAN: _results_scan,
    WHILE: _results_while,
}
