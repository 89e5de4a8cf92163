"""Derivatives, batches and supports of `switch` and `branch`.

Each side is differentiated by itself, and only that of the side that is taken is computed: what the
other has to do with a value, an infinity included, cannot be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.expr.node import FLOATS, Expr, bind, const
from symgrad.expr.walk import toposort
from symgrad.ops.body import Body, branch, fresh, switch
from symgrad.ops.elementwise import select
from symgrad.ops.linear import broadcast_to, lead
from symgrad.ops.loop import everywhere, zero
from symgrad.ops.loop_batches import over_points

Maybe = Expr | None


def _built(
    node: Expr, outs: Sequence[Sequence[Expr]], arguments: Sequence[Expr], values: Sequence[Expr]
) -> list[Expr]:
    """A switch of bodies with these results; of the operands those that any of them reads."""
    read = set(toposort([o for row in outs for o in row]))
    kept = [k for k, a in enumerate(arguments) if a in read]
    closed = [Body.close([arguments[k] for k in kept], row) for row in outs]
    made = switch(node.args[0], closed, [values[k] for k in kept])
    if made and made[0].args[0].site is None:
        made[0].args[0].site = node.site
    return made


class _Seeds:
    """Arguments of the bodies for what comes in, and for where it is not zero by structure."""

    def __init__(self, values: Sequence[Maybe], start: int, calculus: Any) -> None:
        self.given = [k for k, v in enumerate(values) if v is not None]
        self.values: list[Expr] = [v for v in values if v is not None]
        self.seeds = fresh(self.values, start)
        self.known: dict[Expr, Expr] = {}
        self.flags: list[Expr] = []
        supports: list[Expr] = []
        if calculus.guarded:
            for value, seed in zip(self.values, self.seeds, strict=True):
                found = calculus.outside.of(value)
                if found is not None:
                    (flag,) = fresh([found], start + len(values) + len(self.flags))
                    self.known[seed] = flag
                    self.flags.append(flag)
                    supports.append(found)
        self.arguments = [*self.seeds, *self.flags]
        self.operands = [*self.values, *supports]


def jvp_switch(tangents: Sequence[Maybe], node: Expr, calculus: Any) -> list[Maybe]:
    operands = node.args[1:]
    arguments = fresh(operands)
    seeds = _Seeds(tangents[1:], len(arguments), calculus)
    wrt = [arguments[k] for k in seeds.given]
    bodies: Sequence[Body] = node.attrs[0]
    pushed = [
        calculus.jvp(b.open(arguments), wrt, seeds.seeds, seeds.known) for b in bodies
    ]  # fmt: skip
    return _joined(node, pushed, bodies[0].outs, [*arguments, *seeds.arguments],
                   [*operands, *seeds.operands])  # fmt: skip


def vjp_switch(
    cotangents: Sequence[Maybe], node: Expr, wanted: Sequence[bool], calculus: Any
) -> list[Maybe]:
    operands = node.args[1:]
    arguments = fresh(operands)
    seeds = _Seeds(cotangents, len(arguments), calculus)
    floats = [w and a.dtype in FLOATS for w, a in zip(wanted[1:], arguments, strict=True)]
    wrt = [a for a, f in zip(arguments, floats, strict=True) if f]
    pulled = []
    for body in node.attrs[0]:
        outs = body.open(arguments)
        found = calculus.vjp([outs[k] for k in seeds.given], wrt, seeds.seeds, seeds.known)
        rest = iter(found)
        pulled.append([next(rest) if f else None for f in floats])
    return [None, *_joined(node, pulled, operands, [*arguments, *seeds.arguments],
                           [*operands, *seeds.operands])]  # fmt: skip


def _joined(
    node: Expr,
    rows: Sequence[Sequence[Maybe]],
    like: Sequence[Expr],
    arguments: Sequence[Expr],
    values: Sequence[Expr],
) -> list[Maybe]:
    """A switch of derivatives; absent where all bodies have none, zero where this one has none."""
    kept = [k for k in range(len(like)) if any(row[k] is not None for row in rows)]
    outs = []
    for row in rows:
        full = [(row[k], like[k]) for k in kept]
        outs.append([zero(e) if v is None else v for v, e in full])
    made = iter(_built(node, outs, arguments, values) if kept else ())
    return [next(made) if k in kept else None for k in range(len(like))]


def batch_switch(
    args: Sequence[Expr], batched: Sequence[bool], node: Expr, size: int, calculus: Any
) -> tuple[list[Expr], list[bool]]:
    """One switch of batches if all points go one way, else a loop over points."""
    if batched[0]:
        return over_points(args, batched, node, size)
    arguments = fresh(node.args[1:])
    wide = fresh(args[1:], len(arguments))
    inside = [w if b else a for a, w, b in zip(arguments, wide, batched[1:], strict=True)]
    given = {a: w for a, w, b in zip(arguments, wide, batched[1:], strict=True) if b}
    made = [calculus.vmap(b.open(arguments), given, size) for b in node.attrs[0]]
    flags = [any(column) for column in zip(*[f for _, f in made], strict=True)]
    outs = [
        [lead(o, size) if flag and not own else o
         for o, own, flag in zip(row, marks, flags, strict=True)]
        for row, marks in made
    ]  # fmt: skip
    closed = [Body.close(inside, row) for row in outs]
    return switch(args[0], closed, args[1:]), flags


def support_switch(node: Expr, supports: Sequence[Maybe], calculus: Any) -> list[Maybe]:
    """One switch for all results: those of switches inside of others are not made for each."""
    operands = node.args[1:]
    arguments, every, opened = calculus.opened(node, _opened)
    given = [(k, s) for k, s in enumerate(supports[1:]) if s is not None]
    flags = [every[k] for k, _ in given]
    known = {arguments[k]: f for (k, _), f in zip(given, flags, strict=True)}
    inside = calculus.supports(known)
    found = [[inside.of(o) for o in outs] for outs in opened]
    asked = [k for k, column in enumerate(zip(*found, strict=True))
             if any(f is not None for f in column)]  # fmt: skip
    full = [[everywhere(row[k], outs[k]) for k in asked]
            for row, outs in zip(found, opened, strict=True)]  # fmt: skip
    values = [*operands, *(s for _, s in given)]
    made = iter(_built(node, full, [*arguments, *flags], values) if asked else ())
    return [next(made) if k in asked else None for k in range(len(opened[0]))]


def _opened(node: Expr) -> tuple[list[Expr], list[Expr], list[list[Expr]]]:
    """Arguments for the bodies of a switch, a flag for each, and the results of each body."""
    operands = node.args[1:]
    arguments = fresh(operands)
    flags = fresh([const(True, "bool", o.shape) for o in operands], len(arguments))
    return arguments, flags, [b.open(arguments) for b in node.attrs[0]]


# ---- branch: values of both sides are at hand ---------------------------------------------------


def jvp_branch(tangents: Sequence[Maybe], node: Expr, calculus: Any) -> list[Maybe]:
    half = len(node.args) // 2
    sides = node.args[1 : 1 + half]
    pairs = [(tangents[1 + k], tangents[1 + half + k]) for k in range(half)]
    return [
        None if t is None and e is None
        else _choose(node, zero(like) if t is None else t, zero(like) if e is None else e)
        for (t, e), like in zip(pairs, sides, strict=True)
    ]  # fmt: skip


def _choose(node: Expr, then: Expr, orelse: Expr) -> Expr:
    return select(broadcast_to(node.args[0], then.shape), then, orelse)


def vjp_branch(
    cotangents: Sequence[Maybe], node: Expr, wanted: Sequence[bool], calculus: Any
) -> list[Maybe]:
    then = [None if c is None else _choose(node, c, zero(c)) for c in cotangents]
    orelse = [None if c is None else _choose(node, zero(c), c) for c in cotangents]
    return [None, *then, *orelse]


def batch_branch(
    args: Sequence[Expr], batched: Sequence[bool], node: Expr, size: int, calculus: Any
) -> tuple[list[Expr], list[bool]]:
    half = len(args) // 2
    full = [a if b else lead(a, size) for a, b in zip(args, batched, strict=True)]
    if not batched[0]:
        return branch(args[0], full[1 : 1 + half], full[1 + half :]), [True] * half
    made = []
    for then, orelse in zip(full[1 : 1 + half], full[1 + half :], strict=True):
        chosen = bind("broadcast", args[0], attrs=(then.shape, (0,)))
        made.append(select(chosen, then, orelse))
    return made, [True] * half


def support_branch(node: Expr, supports: Sequence[Maybe], calculus: Any) -> list[Maybe]:
    half = len(node.args) // 2
    pairs = zip(supports[1 : 1 + half], supports[1 + half :], strict=True)
    return [
        None if then is None and orelse is None
        else _choose(node, everywhere(then, like), everywhere(orelse, like))
        for (then, orelse), like in zip(pairs, node.args[1 : 1 + half], strict=True)
    ]  # fmt: skip
