"""Many scatters into one: sums of pads."""

from __future__ import annotations

from typing import Any

from symgrad.expr.node import CONST, Expr, const
from symgrad.ops.elementwise import NEGATIVE
from symgrad.ops.linear import PAD, concat, pad
from symgrad.simplify.facts import number, scalable
from symgrad.simplify.pattern import Context, Rule, function_rule
from symgrad.simplify.terms import add_up, sum_of


def _merge_pads(node: Expr, context: Context) -> Expr | None:
    """Σ of pads with disjoint windows: one pad of their concatenation, in n log n."""
    if context.is_inner(node):
        return None
    tree = sum_of(node, context)
    windows: list[tuple[Expr, list[int]]] = []
    pads: list[int] = []
    for k in tree.leaves:
        e = tree.nodes[k]
        if (
            e.op is PAD
            and e.size
            and all(s == 1 for s, n in zip(e.attrs[2], e.args[0].shape, strict=True) if n > 1)
        ):
            inner = e.args[0]
            windows.append((-inner if tree.signs[k] < 0 else inner, list(e.attrs[1])))
            pads.append(k)
    if len(windows) < 2:
        return None
    before = len(windows)
    for axis in reversed(range(node.ndim)):
        windows = _merge_along(windows, axis)
    if len(windows) == before:
        return None
    ones = (1,) * node.ndim
    parts = [(1, pad(part, node.shape, tuple(starts), ones)) for part, starts in windows]
    return tree.merged([pads], [add_up(parts)])


def _merge_along(windows: list[tuple[Expr, list[int]]], axis: int) -> list[tuple[Expr, list[int]]]:
    groups: dict[Any, list[tuple[Expr, list[int]]]] = {}
    for part, starts in windows:
        key = (part.shape[:axis], part.shape[axis + 1 :], *starts[:axis], *starts[axis + 1 :])
        groups.setdefault(key, []).append((part, starts))
    merged = []
    for group in groups.values():
        group.sort(key=lambda w: w[1][axis])
        while group:
            run, rest, end, start = [], [], None, 0
            for part, starts in group:
                if end is None:
                    start, end = starts[axis], starts[axis]
                if starts[axis] < end:  # overlaps: next round
                    rest.append((part, starts))
                    continue
                gap = starts[axis] - end
                if gap:
                    shape = (*part.shape[:axis], gap, *part.shape[axis + 1 :])
                    run.append(const(0, part.dtype, shape))
                run.append(part)
                end = starts[axis] + part.shape[axis]
                last = starts
            if len(run) == 1:
                merged.append((run[0], last))
            else:
                merged.append((concat(run, axis), [*last[:axis], start, *last[axis + 1 :]]))
            group = rest
    return merged


def _pad_scaled(node: Expr, context: Context) -> Expr | None:
    """-pad(x) = pad(-x), c pad(x) = pad(c x), where no other user needs pad(x)."""
    if node.op is NEGATIVE:
        p = node.args[0]
        return pad(-p.args[0], *p.attrs) if context.single(p) else None
    for this, p in (node.args, node.args[::-1]):
        if this.op is CONST and p.op is PAD and context.single(p) and scalable(number(this)):
            return pad(p.args[0] * number(this), *p.attrs)
    return None


SCATTERS: list[Rule] = [
    function_rule("scatter-to-stack", "add subtract", _merge_pads,
                  "Σ pad(xᵢ) with disjoint windows = pad(concat(xᵢ)), up to the sign of zero",
                  "view", "pad add subtract", axes=1),
    function_rule("pad-scaled", "negative multiply", _pad_scaled,
                  "c pad(x) = pad(c x) for finite c, up to the sign of zero", "view", "pad"),
]  # fmt: skip
