"""Isomorphic subgraphs walked side by side, and computed as one graph on arrays.

`roll` takes rows of nodes, one row per iteration of a loop, verifies that the rows are isomorphic,
and finds out how their windows advance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from symgrad.diff.modes import vmap
from symgrad.expr.node import Expr, arg, bind, const
from symgrad.expr.op import Kind, Op
from symgrad.expr.walk import substitute
from symgrad.ops.elementwise import MULTIPLY
from symgrad.simplify.shapes import DATA, FEWEST, Axes, Shapes, coefficient
from symgrad.simplify.windows import LONGEST_PERIOD, MOST_RUNS, Data, Stacked, Windows, even_loops

_MOST_PLACES = 8  # of a template, per node of an iteration; more only if these share differently
_MOST_ELEMENTS = 2**22  # of a node of the vectorised body that needs memory


# ---- templates ---------------------------------------------------------------------------------


@dataclass
class Template:
    """What is common to all iterations.

    outs     one per node of a row, over the placeholders in `leaves`
    leaves   placeholder → what it stands for
    body     the nodes that are replaced
    """

    outs: list[Expr]
    leaves: dict[Expr, Windows | Data] = field(default_factory=dict)
    body: list[Expr] = field(default_factory=list)
    memory: int = 0  # elements of its largest node that needs memory

    def add(self, place: tuple[Expr, ...], made: Expr, row: Op) -> None:
        """`made`, an operation of `row`, computes what stands at `place`."""
        node = place[0]
        if made.site is None:
            made.site = node.site
        self.body.extend(place)
        if row.kind not in (Kind.ELEMENTWISE, Kind.LINEAR):
            self.memory = max(self.memory, node.size)

    def starts(self, n: int) -> np.ndarray:
        """Where all windows start: one row per iteration."""
        columns = [leaf.starts for leaf in self.leaves.values() if isinstance(leaf, Windows)]
        return np.concatenate(columns, axis=1) if columns else np.zeros((n, 1), np.int64)


def _template(rows: Sequence[Sequence[Expr]], shapes: Shapes) -> Template | None:
    """The rows walked side by side; None if they are not isomorphic.

    A place of the template is the tuple of the nodes that stand there, one per row.
    """
    n = len(rows)
    made: dict[tuple[Expr, ...], Expr] = {}
    below: dict[tuple[Expr, ...], list[tuple[Expr, ...]]] = {}
    template, first = Template([]), {rows[0][0]}
    roots = [tuple([row[k] for row in rows]) for k in range(len(rows[0]))]
    stack = list(roots)
    while stack:
        place = stack[-1]
        if place in made:
            stack.pop()
            continue
        node = place[0]
        if place.count(node) == n:
            made[place] = node
            continue
        first.add(node)
        if len(made) > _MOST_PLACES * len(first):
            return None
        if any(x.shape != node.shape or x.dtype != node.dtype for x in place):
            return None
        leaf = _leaf(place, shapes)
        if leaf is not None:
            made[place] = arg(len(template.leaves), node.shape, node.dtype)
            template.leaves[made[place]] = leaf
            continue
        row = node.op
        factors = _factors(place)
        if factors is not None:
            row = MULTIPLY
            below.setdefault(place, factors)
        if place not in below:
            if not _same_operation(place):
                return None
            below[place] = _below(place, shapes)
        waiting = [p for p in below[place] if p not in made]
        if waiting:
            stack.extend(reversed(waiting))
            continue
        attrs = () if factors else node.attrs
        made[place] = bind(row, *[made[p] for p in below.pop(place)], attrs=attrs)
        template.add(place, made[place], row)
    template.outs = [made[place] for place in roots]
    return template


def _leaf(place: tuple[Expr, ...], shapes: Shapes) -> Windows | Data | None:
    if all(x.op in DATA for x in place):
        return Data(place)
    first = shapes.window(place[0])
    if first is None:
        return None
    starts = []
    for node in place:
        window = shapes.window(node)
        if window is None or window.base is not first.base or window[2:] != first[2:]:
            return None
        starts.append(window.starts)
    return Windows(first, place[0].shape, np.array(starts, np.int64))


def _factors(place: tuple[Expr, ...]) -> list[tuple[Expr, ...]] | None:
    """The places of c and x where some of the nodes are c x, and the others x."""
    found = [coefficient(node) for node in place]
    if not any(found):
        return None
    one = const(1, place[0].dtype, place[0].shape)
    pairs = [(one, node) if f is None else f for f, node in zip(found, place, strict=True)]
    return list(zip(*pairs, strict=True))


def _same_operation(place: tuple[Expr, ...]) -> bool:
    node = place[0]
    row, attrs, arity = node.op, node.attrs, len(node.args)
    if row.kind is not Kind.ELEMENTWISE and row.batch is None:
        return False
    return arity > 0 and all(
        x.op is row and x.attrs == attrs and len(x.args) == arity for x in place
    )


def _below(place: tuple[Expr, ...], shapes: Shapes) -> list[tuple[Expr, ...]]:
    """The places of the arguments."""
    columns = [shapes.arguments(node) for node in place]
    if shapes.interchangeable(place[0]):
        columns = _aligned(columns, shapes)
    return list(zip(*columns, strict=True))


def _aligned(pairs: list[tuple[Expr, ...]], shapes: Shapes) -> list[tuple[Expr, ...]]:
    """Pairs whose order says nothing (they were sorted), so that their windows advance evenly."""
    place = shapes.place
    result: list[tuple[Expr, ...]] = []
    last, before = None, None
    for pair in pairs:
        at = sorted([(place[x], k) for k, x in enumerate(pair)])
        choices = [at, at[::-1]]
        if last is not None:
            moves = [[shift(a, b[0]) for a, b in zip(last, c, strict=True)] for c in choices]
            costs = [
                (m != before, m[0] != m[1], sum(abs(s) for step in m for s in step)) for m in moves
            ]
            best = costs.index(min(costs))
            before, at = moves[best], choices[best]
        last = [a for a, _ in at]
        result.append(tuple([pair[k] for _, k in at]))
    return result


def shift(a: Axes, b: Axes) -> Axes:
    """How far `b` is from `a`."""
    return tuple([y - x for x, y in zip(a, b, strict=True)])


# ---- rolling -----------------------------------------------------------------------------------


@dataclass
class Roll:
    """Rows that can be computed as one: their template, and the loops that they come from."""

    rows: list[list[int]]  # positions, as given to `roll`
    template: Template
    loops: Axes
    arrays: dict[Expr, Stacked]  # placeholder → all its values
    even: bool = True  # no window has to be gathered

    def vectorised(self, outs: Sequence[Expr]) -> list[Expr] | None:
        """`outs`, which are over the template's placeholders, with one leading axis per loop.

        None if it would need much memory.
        """
        if self.template.memory * len(self.rows) > _MOST_ELEMENTS:
            return None
        exprs = list(outs)
        wide = {placeholder: placeholder for placeholder in self.arrays}
        for k in reversed(range(len(self.loops))):
            batched = {}
            for placeholder, (used, _) in self.arrays.items():
                if k in used:
                    old = wide[placeholder]
                    wide[placeholder] = arg(0, (self.loops[k], *old.shape), old.dtype)
                    batched[old] = wide[placeholder]
            exprs = vmap(exprs, batched, self.loops[k])
        return substitute(exprs, {wide[p]: value for p, (_, value) in self.arrays.items()})


def roll(rows: list[list[int]], nodes: list[list[Expr]], shapes: Shapes) -> list[Roll]:
    """How to compute rows of one shape; `rows` are the positions of the nodes."""
    for several in range(1, LONGEST_PERIOD // len(rows[0]) + 1):
        count = len(rows) // several
        if count < FEWEST:
            break
        made = _even(_merged(rows, several, count), _merged(nodes, several, count), shapes)
        if made is not None:
            return [made]
    template = _template(nodes, shapes)
    if template is None:
        return []
    runs = _runs(template.starts(len(rows)))
    if len(runs) <= MOST_RUNS and 4 * sum(b - a for a, b in runs) >= 3 * len(rows):
        found = [_even(rows[a:b], nodes[a:b], shapes) for a, b in runs]
        if all(found):
            return [r for r in found if r is not None]
    arrays = {p: leaf.stacked() for p, leaf in template.leaves.items()}
    return [Roll(rows, template, (len(rows),), arrays, even=False)]


def _merged(rows: list[list[Any]], several: int, count: int) -> list[list[Any]]:
    """`several` rows as one."""
    if several == 1:
        return rows
    return [sum(rows[k * several : (k + 1) * several], []) for k in range(count)]


def _even(rows: list[list[int]], nodes: list[list[Expr]], shapes: Shapes) -> Roll | None:
    template = _template(nodes, shapes)
    loops = None if template is None else even_loops(template.starts(len(rows)))
    if template is None or loops is None:
        return None
    arrays = {}
    for placeholder, leaf in template.leaves.items():
        stacked = leaf.even(loops)
        if stacked is None:
            return None
        arrays[placeholder] = stacked
    return Roll(rows, template, loops, arrays)


def _runs(starts: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of rows that advance evenly, none of them short."""
    change = np.diff(starts, axis=0)
    breaks = np.flatnonzero((change[1:] != change[:-1]).any(axis=1)) + 1
    result, free = [], 0
    for a, b in pairwise([0, *breaks.tolist(), len(change)]):
        first = max(a, free)
        if b + 1 - first >= FEWEST:
            result.append((first, b + 1))
            free = b + 1
    return result
