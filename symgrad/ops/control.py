"""Rows of control flow: types, values, and where their other columns come from.

How the nodes are made, and what they mean, is told in `body`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, LoopLimitError, ShapeError, TapeFullError
from symgrad.expr.limits import is_tape, most_rounds
from symgrad.expr.node import TUPLE, Expr
from symgrad.expr.op import Kind, Op, register
from symgrad.ops import loop_batches, loop_supports, loops, switches
from symgrad.ops.body import (
    Args,
    Body,
    Type,
    bodies,
    branch,
    fresh,
    item,
    items,
    results,
    scan,
    switch,
    while_loop,
)

Attrs = tuple[Any, ...]

# ---- types --------------------------------------------------------------------------------


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
        if rounds == limit or rounds == most_rounds.get():
            full = rounds == limit and is_tape(limit)
            kind = TapeFullError if full else LoopLimitError
            raise kind(f"a while loop did not end within {rounds} rounds")
        made = body.run([*fixed, *state])
        state = made[:n]
        for y, row in zip(ys, made[n:], strict=True):
            y[rounds] = row
        rounds += 1
    return [*state, np.int64(rounds), *ys]


def _infer_item(node: Expr, k: int) -> Type:
    return results(node)[k]


def _results_scan(args: Args, attrs: Attrs) -> tuple[Type, ...]:
    body, _, carry, length, *_ = attrs
    return (*body.types[:carry], *[((length, *s), d) for s, d in body.types[carry:]])


def _results_while(args: Args, attrs: Attrs) -> tuple[Type, ...]:
    _, body, consts, limit = attrs
    n = len(args) - consts
    stacked = [((limit, *s), d) for s, d in body.types[n:]]
    return (*body.types[:n], ((), "int64"), *stacked)


BRANCH = register(
    Op("branch", Kind.CONTROL, _infer_branch, _evaluate_branch,
       results=lambda args, attrs: tuple(_types(args[1 : 1 + len(args) // 2])),
       jvp=switches.jvp_branch, vjp=switches.vjp_branch, batch=switches.batch_branch,
       support=switches.support_branch)
)  # fmt: skip
SWITCH = register(
    Op("switch", Kind.CONTROL, _infer_switch, _evaluate_switch, ("bodies",),
       results=lambda args, attrs: attrs[0][0].types,
       jvp=switches.jvp_switch, vjp=switches.vjp_switch, batch=switches.batch_switch,
       support=switches.support_switch)
)  # fmt: skip
SCAN = register(
    Op("scan", Kind.CONTROL, _infer_scan, _evaluate_scan,
       ("body", "consts", "carry", "length", "reverse", "counted"), results=_results_scan,
       rounds=lambda attrs: attrs[3],
       jvp=loops.jvp, vjp=loops.vjp, batch=loop_batches.batch_scan, support=loop_supports.support)
)  # fmt: skip
WHILE = register(
    Op("while", Kind.CONTROL, _infer_while, _evaluate_while, ("test", "body", "consts", "limit"),
       results=_results_while, rounds=lambda attrs: attrs[3],
       jvp=loops.jvp, vjp=loops.vjp, batch=loop_batches.batch_while, support=loop_supports.support)
)  # fmt: skip
ITEM = register(
    Op("item", Kind.ITEM, _infer_item, lambda values, k: values[k], ("position",))
)  # fmt: skip

__all__ = [
    "BRANCH", "ITEM", "SCAN", "SWITCH", "WHILE", "Body", "bodies", "branch", "fresh", "item",
    "items", "results", "scan", "switch", "while_loop",
]  # fmt: skip
