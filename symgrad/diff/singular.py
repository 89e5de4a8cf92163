"""Which values and derivatives can be infinite: rows are asked at their poles and ends.

A divisor that is a sum of 1 and squares is known to be away from 0, so nothing has to be guarded
from what it divides (`diff/modes.py`).
"""

from __future__ import annotations

import itertools
import weakref
from functools import lru_cache

import numpy as np

from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import ARRAY, CONST, FLOATS, Expr, arg, bind, const, const_value, is_const
from symgrad.expr.op import Kind, Op
from symgrad.ops.body import Body, bodies
from symgrad.ops.elementwise import (
    ADD,
    CONVERT,
    EQUAL,
    MAXIMUM,
    MULTIPLY,
    SELECT,
    SQUARE,
    is_nonnegative,
)
from symgrad.ops.linear import is_view

# Where rows are asked for their derivatives: ends of domains, poles, and what lies between.
_POINTS = (-2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0)
# What is at least this is away from 0: its reciprocal is finite, and so are some powers of that.
_AWAY = 1e-8
_MOST_TERMS = 16


def has_pole(node: Expr) -> bool:
    """Whether the value of an elementwise node, or of data, can be infinite or NaN on its own."""
    if node.op is ARRAY:
        return not np.isfinite(node.attrs[0].array).all()
    if node.op.kind is Kind.CONTROL:
        return any(_has_pole(b) for b in bodies(node))
    if node.op.kind is not Kind.ELEMENTWISE or node.dtype not in FLOATS or node.op is SELECT:
        return False
    return not _is_finite(node, False, False)


def is_singular(node: Expr, infinite: bool) -> bool:
    """Whether the derivative of an elementwise node can be infinite or NaN.

    At a finite point, or also at infinite values if the node can have or meet such (`infinite`).
    That of a control node can if any inside its bodies can.
    """
    if node.op.kind is Kind.CONTROL:
        return any(_is_singular_body(b, infinite) for b in bodies(node))
    if node.op.partials is None or node.dtype not in FLOATS:
        return False
    return not _is_finite(node, True, infinite)


_POLES: weakref.WeakKeyDictionary[Body, bool] = weakref.WeakKeyDictionary()
_SINGULAR: weakref.WeakKeyDictionary[Body, dict[bool, bool]] = weakref.WeakKeyDictionary()


def _has_pole(body: Body) -> bool:
    """Found once for each body: those inside of others would be gone through once for each way."""
    if body not in _POLES:
        _POLES[body] = any(has_pole(n) for n in body.nodes)
    return _POLES[body]


def _is_singular_body(body: Body, infinite: bool) -> bool:
    found = _SINGULAR.setdefault(body, {})
    if infinite not in found:
        nodes = body.nodes
        poles = infinite or any(has_pole(n) for n in nodes)
        found[infinite] = any(is_singular(n, poles) for n in nodes)
    return found[infinite]


def _is_finite(node: Expr, derivative: bool, infinite: bool) -> bool:
    """Whether the node, or its derivative, is finite whatever its arguments are."""
    numbers = tuple([
        float(const_value(a)) if a.op is CONST else None for a in node.args
    ])  # fmt: skip
    same = tuple([node.args.index(a) for a in node.args])
    if _are_finite(node.op, numbers, same, (), derivative, infinite):
        return True
    away = tuple([k for k, a in enumerate(node.args) if a.op is not CONST and is_away(a)])
    return bool(away) and _are_finite(node.op, numbers, same, away, derivative, infinite)


def is_away(x: Expr) -> bool:
    """Whether `x` is known to be positive and not near 0, or NaN: 1 + v², and products of such."""
    stack, looked, least = [x], 0, _AWAY
    while stack:
        node = stack.pop()
        looked += 1
        if looked > _MOST_TERMS:
            return False
        if is_view(node) or node.op in (MULTIPLY, SQUARE):
            if node.op in (MULTIPLY, SQUARE):  # however many of these there are
                least = 1.0
            stack.extend(node.args)
        elif node.op is ADD:
            terms = _terms(node)
            if not (any(_is_at_least(t, least) for t in terms) and all(map(is_nonnegative, terms))):
                return False
        elif node.op is SELECT and _is_count(node):
            continue
        elif not _is_at_least(node, least) and not (
            node.op is MAXIMUM and any(_is_at_least(a, least) for a in node.args)
        ):
            return False
    return True


def _is_count(node: Expr) -> bool:
    """Whether a selection is how many of some truths hold, or NaN where none does.

    So is what the derivative of a maximum is divided by (`ops/reduce.py`).
    """
    condition, none, count = node.args
    if condition.op is not EQUAL or none.op is not CONST or not np.isnan(const_value(none)):
        return False
    is_sum = count.op.kind is Kind.LINEAR and count.op.combine == ("+", 0)
    if not is_sum or count.args[0].op is not CONVERT or count.args[0].args[0].dtype != "bool":
        return False
    return any(a is count and is_const(b, 0) for a, b in itertools.permutations(condition.args))


def _terms(node: Expr) -> list[Expr]:
    """The terms of a sum of sums."""
    terms: list[Expr] = []
    stack = [node]
    while stack and len(terms) + len(stack) <= _MOST_TERMS:
        term = stack.pop()
        if term.op is ADD:
            stack.extend(term.args)
        else:
            terms.append(term)
    return [*terms, *stack]


def _is_at_least(node: Expr, least: float) -> bool:
    return node.op is CONST and bool(const_value(node) >= least)


@lru_cache(maxsize=1024)
def _are_finite(
    row: Op,
    numbers: tuple[float | None, ...],
    same: tuple[int, ...],
    away: tuple[int, ...],
    derivative: bool,
    infinite: bool,
) -> bool:
    """Found from the row itself, at the points where functions have poles or ends.

    away : which arguments are known to be positive and away from 0
    """
    free = [k for k, number in enumerate(numbers) if number is None and same[k] == k]
    points = (*_POINTS, -np.inf, np.inf, np.nan) if infinite else _POINTS
    ranges = [[p for p in points if k not in away or not p <= 0] for k in free]
    grid = np.array(list(itertools.product(*ranges))).reshape(-1, len(free))
    size = (len(grid),)
    variables = {k: arg(k, size, "float64") for k in free}
    args = [
        variables[same[k]] if number is None else const(number, "float64", size)
        for k, number in enumerate(numbers)
    ]
    exprs = [bind(row, *args)]
    if derivative:
        assert row.partials is not None
        exprs = [
            partial
            for p, number in zip(row.partials, numbers, strict=True)
            if p is not None and number is None
            and isinstance(partial := p(*args, exprs[0]), Expr)
        ]  # fmt: skip
    values = {v: grid[:, n] for n, v in enumerate(variables.values())}
    return all(np.isfinite(value).all() for value in evaluate(exprs, values))
