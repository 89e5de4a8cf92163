"""Scalar expressions of loop programs: operations that exist only there, and indices.

There is no second expression language. `index` is a loop variable, `load` an element of a buffer,
`guard` a value where a condition holds, else 0, which is not evaluated elsewhere; then integer
division of indices, and sin and cos of angles in quarter turns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from symgrad.expr.node import CONST, Expr, bind, const, const_value
from symgrad.expr.op import Kind, Op, register
from symgrad.expr.walk import toposort
from symgrad.ops import interval
from symgrad.ops.elementwise import ADD, MULTIPLY

_MOST_GUARDS = 8  # ways to one load, each with guards of its own, that are told apart


def _normalize_div(args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr | None:
    if args[1].op is not CONST:
        return None
    divisor = int(const_value(args[1]))
    if args[0].op is CONST:
        return const(int(const_value(args[0])) // divisor, "int64")
    return args[0] if divisor == 1 else None


def _normalize_mod(args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr | None:
    if args[0].op is CONST and args[1].op is CONST:
        return const(const_value(args[0]) % const_value(args[1]), "int64")
    return None


def _normalize_guard(args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr | None:
    condition, value = args
    if condition.op is not CONST:
        return None
    return value if const_value(condition) else const(0, value.dtype)


# fmt: off
INDEX = register(Op("index", Kind.LOWERED, lambda number: ((), "int64"), lambda *_: None, ("number",)))
LOAD = register(Op("load", Kind.LOWERED, lambda *args: ((), args[-1]), lambda *_: None, ("buffer", "dtype")))
GUARD = register(Op("guard", Kind.LOWERED, lambda c, v: ((), v.dtype), lambda *_: None, c="{0} ? {1} : 0", normalize=_normalize_guard, interval=interval.with_zero))
INDEX_DIV = register(Op("index_div", Kind.LOWERED, lambda a, b: ((), "int64"), lambda a, b: a // b, c="{0} / {1}", normalize=_normalize_div))
INDEX_MOD = register(Op("index_mod", Kind.LOWERED, lambda a, b: ((), "int64"), lambda a, b: a % b, c="{0} % {1}", normalize=_normalize_mod))
SIN_TURNED = register(Op("sin_turned", Kind.LOWERED, lambda rest, quarters: ((), rest.dtype), lambda rest, quarters: np.sin(rest + quarters * (np.pi / 2)), c="sg_turned({0}, {1}, 0)", cost=20))
COS_TURNED = register(Op("cos_turned", Kind.LOWERED, lambda rest, quarters: ((), rest.dtype), lambda rest, quarters: np.cos(rest + quarters * (np.pi / 2)), c="sg_turned({0}, {1}, 1)", cost=20))
# fmt: on


def loads(exprs: tuple[Expr, ...]) -> Iterator[Expr]:
    """Every load below `exprs`, index expressions included."""
    seen: set[Expr] = set()
    stack = list(exprs)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op is LOAD:
            yield node
        stack.extend(node.args)


def guarded_loads(
    exprs: Iterable[Expr], known: Iterable[Expr] = ()
) -> list[tuple[Expr, tuple[Expr, ...]]]:
    """Every load below `exprs`, with the guards that hold there; once for each way to it.

    known : values that have been computed
    """
    nodes = toposort(exprs, known)
    if not any(node.op is GUARD for node in nodes):
        return [(n, ()) for n in nodes if n.op is LOAD]
    none: frozenset[Expr] = frozenset()
    ways: dict[Expr, set[frozenset[Expr]]] = {root: {none} for root in exprs}
    for node in reversed(nodes):
        here = ways[node] = _weakest(ways[node])
        for position, a in enumerate(node.args):
            inside = here
            if node.op is GUARD and position == 1:
                inside = {way | {node.args[0]} for way in here}
            ways.setdefault(a, set()).update(inside)
    every = ((n, [_in_order(way) for way in ways[n]]) for n in nodes if n.op is LOAD)
    return [(n, way) for n, found in every for way in sorted(found, key=_orders)]


def _weakest(ways: set[frozenset[Expr]]) -> set[frozenset[Expr]]:
    """Without those that contain another one; what all have in common, if there are many."""
    kept = {way for way in ways if not any(other < way for other in ways)}
    return kept if len(kept) <= _MOST_GUARDS else {frozenset.intersection(*kept)}


def _in_order(guards: Iterable[Expr]) -> tuple[Expr, ...]:
    return tuple(sorted(guards, key=lambda c: c.order))


def _orders(guards: tuple[Expr, ...]) -> list[Any]:
    return [c.order for c in guards]


def load_of(buffer: Any, index: tuple[Expr, ...]) -> Expr:
    """An element of a buffer as a value."""
    return bind(LOAD, *index, attrs=(buffer.number, buffer.dtype))


def is_next(entry: Expr, index: Expr) -> bool:
    """Whether an entry of an index grows by one when a loop variable does."""
    while entry is not index:
        if entry.op is not ADD:
            return False
        moving = [a for a in entry.args if index in toposort([a])]
        if len(moving) != 1:
            return False
        entry = moving[0]
    return True


def unravel(index: Expr, shape: Sequence[int]) -> list[Expr]:
    """The indices of the axes of `shape` from the index of the flat array."""
    result, rest = [const(0, "int64")] * len(shape), index
    wide = [k for k, n in enumerate(shape) if n != 1]
    for k in reversed(wide):
        if k == wide[0]:
            result[k] = rest
        else:
            n = const(shape[k], "int64")
            result[k], rest = bind(INDEX_MOD, rest, n), bind(INDEX_DIV, rest, n)
    return result


def index_of(number: int) -> Expr:
    """A loop variable."""
    return bind(INDEX, attrs=(number,))


def indices_of(expr: Expr) -> list[Expr]:
    """The loop variables in an index expression."""
    return [index for index, _ in steps_of(expr)]


def steps_of(expr: Expr) -> list[tuple[Expr, int]]:
    """The loop variables in an index expression, each with its factor, as far as it is linear."""
    found, stack = [], [(expr, 1)]
    while stack:
        node, step = stack.pop()
        if node.op is INDEX:
            found.append((node, step))
        if node.op is MULTIPLY and any(a.op is CONST for a in node.args):
            step *= math.prod(abs(int(const_value(a))) for a in node.args if a.op is CONST)
        stack.extend((a, step) for a in node.args)
    return found
