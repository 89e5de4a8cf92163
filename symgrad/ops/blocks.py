"""Scans in blocks: what reverse mode keeps of a loop is what its blocks begin with.

A scan of n rounds becomes one over blocks of rounds, each of which is a scan inside of a switch
with one side: the mark of what derivatives compute again (`ops/control`). Reverse mode then keeps
the carry at the beginning of each block, and while it goes back through a block the values of this
one: with √n blocks that is O(√n) instead of O(n), for one more way forward. A block is cut into
blocks again `levels` times: O(n^(1 / (levels + 1))), for so many more ways forward.

Multilevel checkpointing: Griewank & Walther, Evaluating Derivatives, 2nd ed., chapter 12.
"""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.expr.node import Expr, const
from symgrad.expr.op import Kind
from symgrad.expr.walk import in_bodies, rebuild, toposort
from symgrad.ops.body import Body, items, scan, switch
from symgrad.ops.control import SCAN
from symgrad.ops.linear import concat, reshape, slice_

_FEW = 16  # rounds that are better kept


def in_blocks(outs: Sequence[Expr], levels: int) -> list[Expr]:
    """Equal expressions whose scans are in blocks; those inside of sides as well."""
    mapped: dict[Expr, Expr] = {}
    made: dict[Expr, list[Expr]] = {}
    for node in toposort(outs):
        args = tuple([mapped[a] for a in node.args])
        if node.op.kind is Kind.ITEM and node.args[0] in made:
            mapped[node] = made[node.args[0]][node.attrs[0]]
            continue
        if node.op.kind is Kind.CONTROL and node.op.rounds is None:
            mapped[node] = in_bodies(node, args, lambda inner: in_blocks(inner, levels))
            continue
        mapped[node] = new = rebuild(node, args)
        if node.op is SCAN and is_long(new):
            made[node] = _blocks(new, levels)
    return [mapped[o] for o in outs]


def is_long(node: Expr) -> bool:
    """Whether a scan hands something on, and for many rounds."""
    return node.attr("length") >= _FEW and node.attr("carry") > 0 and not node.attr("counted")


def _blocks(node: Expr, levels: int) -> list[Expr]:
    """The results of a scan, computed in blocks."""
    body, consts, carry, n, reverse, _ = node.attrs
    fixed, state = list(node.args[:consts]), list(node.args[consts : consts + carry])
    rows = list(node.args[consts + carry :])
    count = max(round(n ** (1 / (levels + 1))), 2)
    size = n // count
    whole = size * count
    parts: dict[bool, list[Expr]] = {}  # ys of the blocks, and of the rounds behind them
    for behind in (True, False) if reverse else (False, True):
        if behind and whole < n:
            rest = [_part(x, whole, n) for x in rows]
            made = scan(body, fixed, state, rest, n - whole, reverse=reverse)
        elif not behind:
            given = [reshape(_part(x, 0, whole), (count, size, *x.shape[1:])) for x in rows]
            block = _block(body, consts, carry, size, reverse, given, levels)
            made = scan(block, fixed, state, given, count, reverse=reverse)
            made[carry:] = [reshape(y, (whole, *y.shape[2:])) for y in made[carry:]]
        else:
            continue
        state, parts[behind] = made[:carry], made[carry:]
    columns = [parts[k] for k in sorted(parts)]
    ys = [concat(list(p), 0) if len(p) > 1 else p[0] for p in zip(*columns, strict=True)]
    return [*state, *ys]


def _block(
    body: Body,
    consts: int,
    carry: int,
    size: int,
    reverse: bool,
    given: Sequence[Expr],
    levels: int,
) -> Body:
    """The rounds of a block, as the body of a round of the loop over blocks."""
    rows = [const(0, x.dtype, x.shape[1:]) for x in given]
    shaped = Body.close([*body.params[: consts + carry], *rows], [])
    params = shaped.params
    fixed, state, xs = params[:consts], params[consts : consts + carry], params[consts + carry :]
    made = scan(body, fixed, state, xs, size, reverse=reverse)
    if levels > 1:
        made = in_blocks(made, levels - 1)
    inner = Body(params, made)
    return Body(params, items(switch(const(0, "int64"), [inner], params)[0].args[0]))


def _part(x: Expr, start: int, stop: int) -> Expr:
    if (start, stop) == (0, x.shape[0]):
        return x
    zeros = (0,) * (x.ndim - 1)
    return slice_(x, (start, *zeros), (stop - start, *x.shape[1:]), (1,) * x.ndim)
