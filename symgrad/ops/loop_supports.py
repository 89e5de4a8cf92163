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


def support(node: Expr, supports: Sequence[Maybe], calculus: Any) -> list[Maybe]:
    """Where the results are not zero by structure: one loop that carries that of its carry."""
    loop: Loop
    flags: list[Expr]
    loop, flags = calculus.opened(node, _opened)
    if loop.count is not None:
        supports = supports[1:]
    have, found = _inside(loop, supports, flags, calculus)
    first, n = len(loop.consts), len(loop.carry)
    asked = [
        k for k, f in enumerate(found)
        if f is not None or (have[first + k] if k < n else _skips(loop, True))
    ]  # fmt: skip
    made = _simulated(loop, asked, supports, flags, found) if asked else {}
    if made is None:
        made = _looped(loop, asked, have, supports, flags, found)
    everything = [made.get(k) for k in range(len(found))]
    if loop.test is not None:
        everything.insert(n, None)
    return everything


def _inside(
    loop: Loop, supports: Sequence[Maybe], flags: Sequence[Expr], calculus: Any
) -> tuple[list[bool], list[Maybe]]:
    """Which arguments of the body have supports, and those of its results."""
    first, n = len(loop.consts), len(loop.carry)
    have = [s is not None for s in supports]
    while True:
        known = {a: f for a, f, h in zip(loop.arguments, flags, have, strict=True) if h}
        inside = calculus.supports(known)
        found = [inside.of(o) for o in loop.outs]
        grown = [
            h or (first <= k < first + n and found[k - first] is not None)
            for k, h in enumerate(have)
        ]  # fmt: skip
        if grown == have:
            return have, found
        have = grown


def _looped(
    loop: Loop,
    asked: Sequence[int],
    have: Sequence[bool],
    supports: Sequence[Maybe],
    flags: Sequence[Expr],
    found: Sequence[Maybe],
) -> dict[int, Maybe]:
    """The supports of the results `asked`, by a loop beside the other one."""
    first, n = len(loop.consts), len(loop.carry)
    new = loop.copy()
    slots = {}
    for k, (a, flag) in enumerate(zip(loop.arguments, flags, strict=True)):
        if have[k]:
            now = None
            if first <= k < first + n:
                slots[k - first] = len(new.carry)
                now = everywhere(found[k - first], a)
            new.add(k, first, n, (everywhere(supports[k], a), flag, now))
    rows = [k for k in asked if k >= n]
    new.ys = [everywhere(found[k], loop.ys[k - n]) for k in rows]
    final, _, stacked = new.results()
    last: dict[int, Maybe] = {k: final[slots[k]] for k in asked if k < n}
    return last | dict(zip(rows, stacked, strict=True))


def _opened(node: Expr) -> tuple[Loop, list[Expr]]:
    """The loop of a node, and a flag for each argument of its body."""
    loop = Loop.of(node)
    arguments = loop.arguments
    return loop, fresh([const(True, "bool", a.shape) for a in arguments], len(arguments))


_MOST_SIMULATED = 64


def _simulated(
    loop: Loop,
    asked: Sequence[int],
    supports: Sequence[Maybe],
    flags: Sequence[Expr],
    found: Sequence[Maybe],
) -> dict[int, Maybe] | None:
    """The supports of results where only the rounds decide; None if data or rows of xs do.

    After a few rounds they are the same in all that follow.
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
    rows: list[Sequence[np.ndarray]] = []
    for _ in range(min(loop.length, _MOST_SIMULATED)):
        made = evaluate(outs, state)
        rows.append(made)
        after = state | dict(zip(flags[first:], made[:n], strict=False))
        if all(np.array_equal(after[f], state[f]) for f in flags):
            break
        state = after
    else:
        if loop.length > _MOST_SIMULATED:
            return None
    return {
        k: _settled(_constant(state[flags[first + k]]) if k < n
                    else _stacked(loop, k, [made[k] for made in rows]))
        for k in asked
    }  # fmt: skip


def _stacked(loop: Loop, position: int, rows: Sequence[np.ndarray]) -> Expr:
    """The support of stacked results, of which the last row stands for all that follow."""
    assert loop.length is not None
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


def _settled(support: Expr) -> Maybe:
    return None if is_const(support, True) else support


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
