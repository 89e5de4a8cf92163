"""Streams: a program runs over blocks of points, with products of matrices in every block.

`schedule` decides which axes are streams and which kernels belong to them. Here is what it needs to
place a kernel in one block, and sums over blocks whose error does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from symgrad.expr.node import Expr, bind, const
from symgrad.expr.walk import rebuild, transform
from symgrad.lower.program import LOAD, Buffer, Loop, Store, load_of


@dataclass(frozen=True)
class Window:
    """One block of a stream.

    begin : its first point; size : points; extent : points, where the last block has fewer
    local : stands for a point's position in the block, in the index of
    private : buffers that exist for one block only, with the axis of the points
    sums : by number of a sum over the points, where a block adds up and what rounding takes
    """

    begin: Expr
    size: int
    extent: Expr | None
    local: Expr
    private: dict[int, int]
    sums: dict[int, tuple[Buffer, Buffer]]

    def localise(self, exprs: Sequence[Expr], point: Expr) -> Sequence[Expr]:
        """`exprs` with `local` for `point` in the index of what is private."""

        def rule(node: Expr, args: tuple[Expr, ...]) -> Expr:
            axis = self.private.get(node.attrs[0]) if node.op is LOAD else None
            if axis is not None and node.args[axis] is point:
                args = (*args[:axis], self.local, *args[axis + 1 :])
            return rebuild(node, args)

        return transform(exprs, rule) if self.private else exprs


def compensated_sum(
    total: Buffer, block: Buffer, carry: Buffer, fresh: Callable[[], Expr]
) -> tuple[Any, Any, Any]:
    """What has to happen before the blocks, behind each and behind all, for total = sum of block.

    carry takes the exact rounding error of each addition (Knuth, TAOCP 2, 4.2.2); it is NaN if the
    sum is not finite.
    """

    def for_all(make: Callable[[tuple[Expr, ...]], list[Any]]) -> Any:
        at = tuple(fresh() for _ in total.shape)
        body = make(at)
        for index, n in zip(reversed(at), reversed(total.shape), strict=True):
            body = [Loop(index, n, body)]
        return body

    zero = const(0, total.dtype)

    def clear(at: tuple[Expr, ...]) -> list[Any]:
        return [Store(block, at, zero), Store(carry, at, zero)]

    def add(at: tuple[Expr, ...]) -> list[Any]:
        old, new = load_of(total, at), load_of(block, at)
        both = old + new
        part = both - old
        lost = (old - (both - part)) + (new - part)
        return [Store(carry, at, lost, "+"), Store(total, at, new, "+"), Store(block, at, zero)]

    def finish(at: tuple[Expr, ...]) -> list[Any]:
        return [Store(total, at, with_carry(total, carry, at))]

    return for_all(clear), for_all(add), for_all(finish)


def with_carry(total: Buffer, carry: Buffer, at: tuple[Expr, ...]) -> Expr:
    """An element of a sum with what rounding took; the sum alone if it is not finite."""
    old, lost = load_of(total, at), load_of(carry, at)
    return bind("select", bind("isfinite", lost), old + lost, old)
