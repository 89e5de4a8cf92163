"""Where the results of a loop are not zero by structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import Expr, array, const, is_const
from symgrad.expr.walk import toposort
from symgrad.ops.body import fresh
from symgrad.ops.linear import broadcast, concat, slice_
from symgrad.ops.loop import Loop, Maybe, everywhere, is_variable


def support(node: Expr, position: int, supports: Sequence[Maybe], calculus: Any) -> Maybe:
    """Where a result is not zero by structure: a loop that carries that of its carry."""
    loop: Loop
    flags: list[Expr]
    loop, flags = calculus.opened(node, _opened)
    if loop.count is not None:
        supports = supports[1:]
    first, n = len(loop.consts), len(loop.carry)
    is_ys = position >= n
    if loop.test is not None:
        if position == n:
            return None
        position -= is_ys
    arguments = loop.arguments
    have = [s is not None for s in supports]
    while True:
        known = {a: f for a, f, h in zip(arguments, flags, have, strict=True) if h}
        inside = calculus.supports(known)
        found = [inside.of(o) for o in loop.outs]
        grown = [
            h or (first <= k < first + n and found[k - first] is not None)
            for k, h in enumerate(have)
        ]  # fmt: skip
        if grown == have:
            break
        have = grown
    if (
        found[position] is None
        and (is_ys or not have[first + position])
        and not _skips(loop, is_ys)
    ):
        return None
    simulated = _simulated(loop, position, is_ys, supports, flags, found)
    if simulated is not None:
        return None if is_const(simulated, True) else simulated
    new = loop.copy()
    new.ys = []
    slot = None
    for k, (a, flag) in enumerate(zip(arguments, flags, strict=True)):
        if not have[k]:
            continue
        if k - first == position and not is_ys:
            slot = len(new.carry)
        now = everywhere(found[k - first], a) if first <= k < first + n else None
        new.add(k, first, n, (everywhere(supports[k], a), flag, now))
    if is_ys:
        new.ys = [everywhere(found[position], loop.ys[position - n])]
        return new.results()[2][0]
    assert slot is not None
    return new.results()[0][slot]


def _opened(node: Expr) -> tuple[Loop, list[Expr]]:
    """The loop of a node, and a flag for each argument of its body."""
    loop = Loop.of(node)
    arguments = loop.arguments
    return loop, fresh([const(True, "bool", a.shape) for a in arguments], len(arguments))


_MOST_SIMULATED = 64


def _simulated(
    loop: Loop,
    position: int,
    is_ys: bool,
    supports: Sequence[Maybe],
    flags: Sequence[Expr],
    found: Sequence[Maybe],
) -> Maybe:
    """The support of a result where only the rounds decide; None if data or rows of xs do.

    After a few rounds it is the same in all that follow.
    """
    first, n = len(loop.consts), len(loop.carry)
    given = [s for s in supports[: first + n] if s is not None]
    makes = [f for f in found if f is not None]
    sources = {m for m in toposort([*given, *makes]) if not m.args}
    if any(is_variable(m) for m in sources - set(flags)) or any(
        s is not None for s in supports[first + n :]
    ) or loop.length is None or _skips(loop, True):  # fmt: skip
        return None
    like = loop.arguments
    starts = evaluate([everywhere(s, a) for s, a in zip(supports, like, strict=True)], {})
    state = dict(zip(flags, starts, strict=True))
    outs = [everywhere(f, o) for f, o in zip(found, loop.outs, strict=True)]
    rows: list[np.ndarray] = []
    for _ in range(min(loop.length, _MOST_SIMULATED)):
        made = evaluate(outs, state)
        rows.append(made[position])
        after = state | dict(zip(flags[first:], made[:n], strict=False))
        if all(np.array_equal(after[f], state[f]) for f in flags):
            break
        state = after
    else:
        if loop.length > _MOST_SIMULATED:
            return None
    if not is_ys:
        return _constant(state[flags[first + position]])
    if not rows:
        return const(True, "bool", (0, *loop.outs[position].shape))
    rest = loop.length - len(rows)
    last = _constant(rows[-1])
    parts = [broadcast(last, (rest + 1, *last.shape), tuple(range(1, last.ndim + 1)))]
    if len(rows) > 1:
        parts.insert(0, _constant(np.stack(rows[:-1])))
    if all(is_const(p, True) for p in parts):
        return const(True, "bool", (loop.length, *last.shape))
    if loop.reverse:  # row t is of round t
        order = tuple(range(1, parts[0].ndim))
        parts = [_flipped(p, order) for p in reversed(parts)]
    return concat(parts, 0)


def _flipped(x: Expr, rest: Sequence[int]) -> Expr:
    starts = (x.shape[0] - 1, *[0] * len(rest))
    return slice_(x, starts, x.shape, (-1, *[1] * len(rest)))


def _constant(value: np.ndarray) -> Expr:
    """A bool array as a node."""
    if value.all() or not value.any():
        return const(bool(value.all()), "bool", value.shape)
    return array(value)


def _skips(loop: Loop, is_ys: bool) -> bool:
    """Whether rows of ys may belong to no round: they are 0."""
    return is_ys and (loop.count is not None or loop.test is not None)
