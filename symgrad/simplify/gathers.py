"""Gathers after what is expensive instead of before it: f(x[i]) = f(x)[i].

In: a graph ready for lowering. Out: an equal one. Where an index array picks from few rows (49
cameras for 30,000 observations), what depends on a row alone is computed once for each row, and the
results are gathered from one table. No value changes by that: a row that nobody picks may become
infinite or NaN, and is not seen.

A node is *of rows* if it is x[i] or made, row by row, of such nodes with the same i and as many
rows, of constants and of what is repeated along that axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from symgrad.expr.node import CONST, Expr, bind, const, const_value
from symgrad.expr.op import Kind, Moves
from symgrad.expr.validate import validated
from symgrad.expr.walk import substitute, toposort, users
from symgrad.ops.einsum import sizes
from symgrad.ops.linear import broadcast, concat, gather, permute, reshape, slice_

_FEWER = 2  # points for each row from which it pays
_EXPENSIVE = 4  # cost of an operation that is rather done once for each row: a division
_TABLE_ELEMENTS = 1 << 18  # of what is gathered from: it stays in the second-level cache
_PASSES = 4  # rows that are made of sums over points, which are made of rows, …


@dataclass(frozen=True)
class _Rows:
    """That the axes of `index` stand in a node from `axis` on, and pick from `count` rows."""

    index: Expr
    count: int
    axis: int

    @property
    def stop(self) -> int:
        return self.axis + self.index.ndim

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(range(self.axis, self.stop))

    def cut(self, values: Sequence[Any], row: Any) -> tuple[Any, ...]:
        """What stands for each axis of a node, with one `row` in place of the axes of the index."""
        return (*values[: self.axis], row, *values[self.stop :])

    def number(self, axis: int) -> int:
        """The number of another axis where the rows have one."""
        return axis if axis < self.stop else axis - self.index.ndim + 1


_Found = tuple[_Rows, tuple[Any, ...]]  # of a node; its attrs when it is computed on all rows


def hoist_from_gathers(outs: Sequence[Expr], nodes: list[Expr] | None = None) -> list[Expr]:
    """`outs`, with what is expensive and depends on rows alone computed before rows are picked.

    nodes : those of `outs`, arguments before users, where they are known
    """
    for _ in range(_PASSES):
        nodes = toposort(outs) if nodes is None else nodes
        if not any(_picks_from_few(n) for n in nodes):
            break
        plan = _Plan(nodes, outs)
        replacement: dict[Expr, Expr] = {}
        for members in plan.tables():
            replacement.update(plan.gathered(members))
        if not replacement:
            break
        outs, nodes = validated("hoist-from-gathers", outs, substitute(outs, replacement)), None
    return list(outs)


def _picks_from_few(node: Expr) -> bool:
    if node.name != "gather":
        return False
    index = node.args[1]
    rows = node.args[0].shape[node.attrs[0]]
    return index.ndim > 0 and 0 < _FEWER * rows <= index.size


class _Plan:
    """Which nodes are of rows, and which of them are gathered after they were computed."""

    def __init__(self, nodes: Sequence[Expr], outs: Sequence[Expr]) -> None:
        self.nodes, self.outs = nodes, outs
        self.position = {node: k for k, node in enumerate(nodes)}
        self.rows: dict[Expr, _Rows] = {}
        self.attrs: dict[Expr, tuple[Any, ...]] = {}  # of those that can be computed on all rows
        for node in nodes:
            if _picks_from_few(node):
                x, index = node.args
                self.rows[node] = _Rows(index, x.shape[node.attrs[0]], node.attrs[0])
                continue
            given = [self.rows.get(a) for a in node.args]
            rule = _RULES.get(node.name) or _OF_KIND.get(node.op.kind)
            if rule is not None and len({(r.index, r.count) for r in given if r}) == 1:
                found = rule(node, given)
                if found is not None:
                    self.rows[node], self.attrs[node] = found

    def tables(self) -> list[list[Expr]]:
        """The nodes to gather after their computation, those together that one gather picks.

        From results to arguments: a value that is needed at the points is gathered if it is
        expensive, or no larger than what would have to be gathered for it.
        """
        readers = users(self.nodes)
        needed = {n for n in self.rows if any(u not in self.rows for u in readers[n])}
        needed.update(n for n in self.outs if n in self.rows)
        candidates = [n for n in reversed(self.nodes) if n in self.attrs]
        for node in candidates:
            if node in needed and _is_moved(node):
                needed.update(a for a in node.args if a in self.rows)
        taken: list[Expr] = []
        for node in candidates:
            if node not in needed:
                continue
            parts = [a for a in dict.fromkeys(node.args) if a in self.rows]
            if not _is_moved(node):
                sources = dict.fromkeys(_without_repeats(a) for a in parts)
                fresh = sum(a.size for a in sources if not _is_there(a, needed))
                if _cost(node) >= _EXPENSIVE or node.size <= fresh:
                    taken.append(node)
                    continue
            needed.update(parts)
        groups: dict[tuple[Any, ...], list[Expr]] = {}
        level = self._levels(set(taken))
        for node in reversed(taken):
            r = self.rows[node]
            if level[node] == 1:  # others wait for the next pass: they are made of these
                groups.setdefault((r.index, r.count, node.dtype), []).append(node)
        return [members for members in groups.values() if self._pays(members)]

    def _levels(self, taken: set[Expr]) -> dict[Expr, int]:
        """How many tables stand one behind the other before a node."""
        at_points: dict[Expr, int] = {}
        on_rows: dict[Expr, int] = {}
        for node in self.nodes:
            at_points[node] = max((at_points[a] for a in node.args), default=0)
            if node in self.attrs:
                on_rows[node] = max(on_rows.get(a, at_points[a]) for a in node.args)
            elif node in self.rows:
                on_rows[node] = at_points[node.args[0]]
            if node in taken:
                at_points[node] = on_rows[node] + 1
        return at_points

    def _pays(self, members: Sequence[Expr]) -> bool:
        r = self.rows[members[0]]
        width = sum(n.size for n in members) // r.index.size
        if r.count * width > _TABLE_ELEMENTS:
            return False
        return any(n in self.attrs and _cost(n) >= _EXPENSIVE for n in self._below(members))

    def _below(self, members: Sequence[Expr]) -> list[Expr]:
        """What is computed on rows for `members`, arguments first, and the gathers before that."""
        found: set[Expr] = set()
        stack = list(members)
        while stack:
            node = stack.pop()
            if node in self.rows and node not in found:
                found.add(node)
                stack.extend(node.args if node in self.attrs else ())
        return sorted(found, key=self.position.__getitem__)

    def gathered(self, members: Sequence[Expr]) -> dict[Expr, Expr]:
        """The same values, picked from one table with a row of all members for each row."""
        r = self.rows[members[0]]
        values = self._on_rows(members)
        if len(members) == 1:
            return {members[0]: gather(values[0], r.index, r.axis)}
        parts = []
        for node, value in zip(members, values, strict=True):
            axis = self.rows[node].axis
            first = (axis, *(k for k in range(value.ndim) if k != axis))
            parts.append(reshape(permute(value, first), (r.count, node.size // r.index.size)))
        table = gather(concat(parts, 1), r.index, 0)
        result: dict[Expr, Expr] = {}
        lead, start = (0,) * r.index.ndim, 0
        for node, part in zip(members, parts, strict=True):
            here = self.rows[node]
            width = part.shape[1]
            columns = slice_(table, (*lead, start), (*r.index.shape, width), (1,) * table.ndim)
            start += width
            rest = [k for k in range(node.ndim) if k not in here.axes]
            order = [*here.axes, *rest]
            moved = reshape(columns, tuple(node.shape[k] for k in order))
            result[node] = permute(moved, tuple(order.index(k) for k in range(node.ndim)))
        return result

    def _on_rows(self, members: Sequence[Expr]) -> list[Expr]:
        """`members` computed on all rows."""
        made: dict[Expr, Expr] = {}
        for node in self._below(members):
            if node in self.attrs:
                r = self.rows[node]
                args = [made[a] if a in made else _repeated(a, node, r) for a in node.args]
                made[node] = bind(node.op, *args, attrs=self.attrs[node])
            else:
                made[node] = node.args[0]
        return [made[n] for n in members]


def _cost(node: Expr) -> int:
    """Operations for each element."""
    if node.op.kind is Kind.EINSUM:
        every = math.prod(sizes(node.args, node.attrs[0]).values())
    else:
        every = max(a.size for a in node.args)
    return int(node.op.cost * every / max(node.size, 1))


def _is_moved(node: Expr) -> bool:
    """Whether `node` is elements of others, from places that are known."""
    return node.op.moves is not None and node.op.indices is None


def _without_repeats(node: Expr) -> Expr:
    """What a node repeats, or spells in another shape."""
    while node.op.moves in (Moves.ONCE, Moves.REPEATED):
        node = node.args[0]
    return node


def _is_there(node: Expr, needed: set[Expr]) -> bool:
    """Whether a value is needed anyway: itself, or the whole of which it is a part."""
    while node not in needed and node.name in ("broadcast", "permute", "reshape", "slice"):
        node = node.args[0]
        if node.name == "gather":  # of which only the elements in use are read
            return False
    return node in needed


def _repeated(a: Expr, reader: Expr, r: _Rows) -> Expr:
    """An operand that is the same for all points, as it is for all rows."""
    if reader.op.kind is Kind.EINSUM:
        return a
    shape = r.cut(a.shape, r.count)
    if a.op is CONST:
        return const(const_value(a), a.dtype, shape)
    return broadcast(a.args[0], shape, tuple(r.number(d) for d in a.attrs[1]))


# ---- one rule for each operation: where the rows are in its result, and its attrs there ----------
# `given` says for each argument where its rows are; None if it is not of rows.

_Given = list[_Rows | None]


def _elementwise(node: Expr, given: _Given) -> _Found | None:
    r = _together(node, given)
    return (r, node.attrs) if r else None


def _together(node: Expr, given: _Given) -> _Rows | None:
    """Where the rows of all arguments are, if that is one place; others must be repeated there."""
    (r, *others) = {g for g in given if g is not None}
    for a, g in zip(node.args, given, strict=True):
        repeated = a.op is CONST or a.name == "broadcast" and not {*r.axes} & {*a.attrs[1]}
        if g is None and not repeated:
            return None
    return None if others else r


def _concat(node: Expr, given: _Given) -> _Found | None:
    r = _together(node, given)
    axis = node.attrs[0]
    return (r, (r.number(axis),)) if r and axis not in r.axes else None


def _broadcast(node: Expr, given: _Given) -> _Found | None:
    r = given[0]
    shape, dims = node.attrs
    assert r is not None
    into = dims[r.axis : r.stop]
    if into[-1] - into[0] != len(into) - 1:
        return None
    new = replace(r, axis=into[0])
    return new, (new.cut(shape, r.count), tuple(new.number(d) for d in r.cut(dims, into[0])))


def _permute(node: Expr, given: _Given) -> _Found | None:
    r, perm = given[0], node.attrs[0]
    assert r is not None
    new = replace(r, axis=perm.index(r.axis))
    if perm[new.axis : new.stop] != r.axes:
        return None
    return new, (tuple(r.number(p) for p in new.cut(perm, r.axis)),)


def _reshape(node: Expr, given: _Given) -> _Found | None:
    r, shape = given[0], node.attrs[0]
    assert r is not None
    before = math.prod(node.args[0].shape[: r.axis])
    for axis in range(len(shape) - r.index.ndim + 1):
        new = replace(r, axis=axis)
        if math.prod(shape[:axis]) == before and shape[axis : new.stop] == r.index.shape:
            return new, (new.cut(shape, r.count),)
    return None


def _slice(node: Expr, given: _Given) -> _Found | None:
    r, (starts, sizes_, steps) = given[0], node.attrs
    assert r is not None
    if any(starts[k] or sizes_[k] != node.args[0].shape[k] or steps[k] != 1 for k in r.axes):
        return None
    return r, (r.cut(starts, 0), r.cut(sizes_, r.count), r.cut(steps, 1))


def _pad(node: Expr, given: _Given) -> _Found | None:
    r, (shape, starts, steps) = given[0], node.attrs
    assert r is not None
    if any(starts[k] or shape[k] != node.args[0].shape[k] or steps[k] != 1 for k in r.axes):
        return None
    return r, (r.cut(shape, r.count), r.cut(starts, 0), r.cut(steps, 1))


def _reduce(node: Expr, given: _Given) -> _Found | None:
    r, axes = given[0], node.attrs[0]
    assert r is not None
    if node.op.attr_names != ("axes",) or {*axes} & {*r.axes}:
        return None
    new = replace(r, axis=r.axis - sum(a < r.axis for a in axes))
    return new, (tuple(r.number(a) for a in axes),)


def _einsum(node: Expr, given: _Given) -> _Found | None:
    inputs, output = node.attrs
    mine = {labels[r.axis : r.stop] for labels, r in zip(inputs, given, strict=True) if r}
    if len(mine) != 1:
        return None
    (rows,) = mine
    first, kept, terms = rows[0], {*rows}, []
    for labels, r in zip(inputs, given, strict=True):
        other = labels if r is None else r.cut(labels, None)
        if kept & {*other}:
            return None
        terms.append(labels if r is None else r.cut(labels, first))
    if len(kept) != len(rows) or first not in output:
        return None
    r = next(g for g in given if g is not None)
    new = replace(r, axis=output.index(first))
    if output[new.axis : new.stop] != rows:
        return None
    return new, (tuple(terms), new.cut(output, first))


_Rule = Callable[[Expr, _Given], _Found | None]
_OF_KIND: dict[Kind, _Rule] = {
    Kind.ELEMENTWISE: _elementwise,
    Kind.REDUCE: _reduce,
    Kind.EINSUM: _einsum,
}
_RULES: dict[str, _Rule] = {
    "convert": _elementwise,
    "concat": _concat,
    "broadcast": _broadcast,
    "permute": _permute,
    "reshape": _reshape,
    "slice": _slice,
    "pad": _pad,
    "sum": _reduce,
}
