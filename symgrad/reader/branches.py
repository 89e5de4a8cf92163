"""Selections between two ways to compute one function, each where it is accurate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import ARG, FLOATS, Expr, const
from symgrad.expr.walk import rebuild, toposort

_LARGEST = 10_000  # elements
_CLOSE = 1e-9
_FEWEST = 8  # numbers that have to be finite on both sides


def alike(node: Expr) -> tuple[Expr, Expr] | None:
    """The sides of a selection, each under its condition, if both are one function: they have the
    same values at points on both sides.
    """
    condition, a, b = node.args
    if node.size > _LARGEST or node.dtype not in FLOATS:
        return None
    sides = _under(a, condition, True), _under(b, condition, False)
    nodes = toposort(sides)
    args = [n for n in nodes if n.op is ARG]
    if any(n.size > _LARGEST for n in nodes) or not args:
        return None
    found = 0
    seen: set[float] = set()  # one value may be that of another selection inside
    for values in _points(args):
        p, q = evaluate(sides, dict(zip(args, values, strict=True)))
        both = np.isfinite(p) & np.isfinite(q)
        found += int(both.sum())
        p, q = p[both], q[both]
        if not (np.abs(p - q) <= _CLOSE * np.maximum(np.abs(p), np.abs(q)) + 1e-12).all():
            return None
        seen.update(p.flat)
    return sides if found >= _FEWEST and len(seen) > 1 else None


def is_limit(node: Expr, x: Expr, value: float) -> bool:
    """Whether a selection is continuous where the argument x has the value."""
    args = [n for n in toposort([node]) if n.op is ARG]
    if x not in args or x.dtype not in FLOATS or any(n.size > _LARGEST for n in args):
        return False
    for values in _points(args)[:3]:
        point = dict(zip(args, values, strict=True))
        (here,) = evaluate([node], point | {x: np.full(x.shape, value, x.dtype)})
        for step in (1e-6, -1e-6):
            (near,) = evaluate([node], point | {x: np.full(x.shape, value + step, x.dtype)})
            if not (np.abs(here - near) <= 1e-3 * (1 + np.abs(here))).all():
                return False
    return True


def _under(branch: Expr, condition: Expr, truth: bool) -> Expr:
    """The branch with its own condition decided."""
    nodes = toposort([branch])
    if condition not in nodes:
        return branch
    new: dict[Expr, Expr] = {condition: const(truth, "bool", condition.shape)}
    for n in nodes:
        if n not in new:
            args = tuple([new[a] for a in n.args])
            new[n] = n if args == n.args else rebuild(n, args)
    return new[branch]


def _points(args: Sequence[Expr]) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(7)
    rows = []
    for scale in (1.0, 0.2, 4.0, -1.0, -0.3, 1.0, 3.0, -3.0, 0.7, 1.5):
        row = []
        for a in args:
            draw = rng.uniform(0.3, 1, a.shape) if abs(scale) != 1.5 else rng.normal(size=a.shape)
            if a.dtype in FLOATS:
                row.append(np.asarray(scale * draw, a.dtype))
            else:
                row.append(np.asarray(np.abs(np.rint(3 * draw)), a.dtype))
        rows.append(row)
    return rows


__all__ = ["alike", "is_limit"]
