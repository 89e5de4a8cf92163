"""Loops over batches, and a loop over the points of a batch where each takes its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from symgrad.expr.node import Expr, bind, const
from symgrad.expr.walk import depends_on, toposort
from symgrad.ops.body import fresh, items
from symgrad.ops.linear import lead, permute
from symgrad.ops.loop import Loop


def batch_scan(
    args: Sequence[Expr], batched: Sequence[bool], node: Expr, size: int, calculus: Any
) -> tuple[list[Expr], list[bool]]:
    """One scan over batches; a loop over points if they differ in the number of rounds."""
    if node.attr("counted") and batched[0]:
        return over_points(args, batched, node, size)
    loop = Loop.of(node, args)
    return _batched(loop, batched[1:] if loop.count is not None else batched, size, calculus)


def batch_while(
    args: Sequence[Expr], batched: Sequence[bool], node: Expr, size: int, calculus: Any
) -> tuple[list[Expr], list[bool]]:
    """One loop over batches if the test is the same for all, else a loop over points."""
    loop = Loop.of(node, args)
    assert loop.test is not None
    have = list(batched)
    first = len(loop.consts)
    while True:
        sources = [a for a, h in zip(loop.arguments, have, strict=True) if h]
        reached = depends_on(toposort([*loop.outs, loop.test]), sources)
        before = list(have)
        for j, (_, _, new) in enumerate(loop.carry):
            have[first + j] |= new in reached
        if have == before:
            break
    if loop.test in reached:
        return over_points(args, batched, node, size)
    return _batched(loop, batched, size, calculus)


def _batched(
    loop: Loop, batched: Sequence[bool], size: int, calculus: Any
) -> tuple[list[Expr], list[bool]]:
    arguments, first, n = loop.arguments, len(loop.consts), len(loop.carry)
    wide = fresh([const(0, a.dtype, (size, *a.shape)) for a in arguments], len(arguments))
    have = list(batched)
    while True:
        given = {a: w for a, w, h in zip(arguments, wide, have, strict=True) if h}
        outs, flags = calculus.vmap(loop.outs, given, size)
        grown = [h or (first <= k < first + n and flags[k - first]) for k, h in enumerate(have)]
        if grown == have:
            break
        have = grown
    consts = [(v, given.get(a, a)) for v, a in loop.consts]
    carry = []
    for j, (value, a, _) in enumerate(loop.carry):
        out = outs[j]
        if have[first + j]:
            value = value if batched[first + j] else lead(value, size)
            out = out if flags[j] else lead(out, size)
        carry.append((value, given.get(a, a), out))
    xs = [(_swapped(v) if a in given else v, given.get(a, a)) for v, a in loop.xs]
    final, rounds, ys = replace(loop, consts=consts, carry=carry, xs=xs, ys=outs[n:]).results()
    made = [*final]
    marks = have[first : first + n]
    if loop.test is not None:
        assert rounds is not None
        made.append(rounds)
        marks = [*marks, False]
    made += [_swapped(y) if f else y for y, f in zip(ys, flags[n:], strict=True)]
    return made, [*marks, *flags[n:]]


def _swapped(x: Expr) -> Expr:
    """The first two axes in the other order."""
    return permute(x, (1, 0, *range(2, x.ndim)))


def over_points(
    args: Sequence[Expr], batched: Sequence[bool], node: Expr, size: int
) -> tuple[list[Expr], list[bool]]:
    """A control node for each point of a batch, one after the other: each takes its own way."""
    inner = fresh(node.args)
    loop = Loop([], [], [], items(bind(node.op, *inner, attrs=node.attrs)), size, site=node.site)
    for value, a, is_batched in zip(args, inner, batched, strict=True):
        (loop.xs if is_batched else loop.consts).append((value, a))
    _, _, ys = loop.results()
    return ys, [True] * len(ys)
