"""Open branches closed: what only one side needs is computed only there.

In: expressions with `branch` nodes, made while both sides of each decision were run. Out: equal
ones with `switch` nodes instead, whose bodies hold what belongs to one side.

The *region* of a node is where its uses have in common: a side of a branch, or the whole. A side
lies in the region of its branch, so regions are a tree, and a node's region is the lowest one that
has all its uses in it. It is found from users to what they use, in one sweep.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from symgrad.expr.node import ARG, PARAM, Expr, bind, const_value, is_const
from symgrad.expr.op import Kind
from symgrad.expr.walk import depends_on, in_bodies, rebuild, toposort
from symgrad.ops.control import BRANCH, Body, switch


@dataclass(eq=False)
class _Region:
    """The whole, or a side of a branch.

    inside : the nodes that belong here and not into a region within
    """

    parent: _Region | None
    depth: int = 0
    inside: list[Expr] = field(default_factory=list)

    @staticmethod
    def common(a: _Region, b: _Region) -> _Region:
        while a is not b:
            if a.depth < b.depth:
                a, b = b, a
            assert a.parent is not None
            a = a.parent
        return a


def sink(
    outs: Sequence[Expr],
    arguments: Sequence[Expr] | None = None,
    known: dict[Any, Any] | None = None,
) -> list[Expr]:
    """Equal expressions without branches, in bodies neither.

    arguments : of the function that has `outs`, if it was called inside another one: what depends
        on none of them belongs to that one, and stays as it is
    known : what has become of bodies before
    """
    nodes = toposort(outs)
    if all(n.op.kind is not Kind.CONTROL for n in nodes):
        return list(outs)
    own = set(nodes) if arguments is None else depends_on(nodes, arguments)
    nodes = [n for n in nodes if n in own]
    return _Sinking(outs, nodes, {} if known is None else known).outs()


class _Sinking:
    def __init__(self, outs: Sequence[Expr], nodes: Sequence[Expr], known: dict[Any, Any]) -> None:
        self.results, self.nodes, self.known = outs, nodes, known
        self.own = {n for n in nodes if n.op not in (ARG, PARAM)}  # that may move
        self.sides: dict[Expr, tuple[_Region, _Region]] = {}
        self.region: dict[Expr, _Region] = {}
        whole = _Region(None)
        for o in outs:
            self._use(o, whole)
        for node in reversed(nodes):
            here = self.region.get(node)
            if here is None:  # of a side that is never taken
                continue
            if node.op is not BRANCH:
                for a in node.args:
                    self._use(a, here)
                continue
            self._use(node.args[0], here)
            if is_const(node.args[0]):
                for a in _taken(node):
                    self._use(a, here)
                continue
            self.sides[node] = _Region(here, here.depth + 1), _Region(here, here.depth + 1)
            for side, values in zip(self.sides[node], _halves(node), strict=True):
                for a in values:
                    self._use(a, side)
        for node in nodes:
            if node in self.region:
                if node.op.kind is Kind.ITEM:  # has no place but where all results are
                    self.region[node] = self.region[node.args[0]]
                self.region[node].inside.append(node)

    def _use(self, node: Expr, region: _Region) -> None:
        known = self.region.get(node)
        self.region[node] = region if known is None else _Region.common(known, region)

    def outs(self) -> list[Expr]:
        mapped: dict[Expr, Expr] = {}
        made: dict[Expr, list[Expr]] = {}  # results of what was a branch
        read: dict[_Region, dict[Expr, None]] = {}  # what regions read from outside

        def new(node: Expr) -> Expr:
            return mapped.get(node, node)

        inside = functools.partial(sink, known=self.known)
        for node in self.nodes:
            if node not in self.region:
                continue
            if node.op is BRANCH:
                made[node] = self._closed(node, [new(a) for a in node.args], mapped, read)
            elif node.op.kind is Kind.ITEM and node.args[0] in made:
                mapped[node] = made[node.args[0]][node.attrs[0]]
            else:
                args = tuple([new(a) for a in node.args])
                if node.op.kind is Kind.CONTROL:
                    mapped[node] = in_bodies(node, args, inside, self.known)
                else:
                    mapped[node] = rebuild(node, args)
        return [new(o) for o in self.results]

    def _closed(
        self,
        node: Expr,
        args: list[Expr],
        mapped: dict[Expr, Expr],
        read: dict[_Region, dict[Expr, None]],
    ) -> list[Expr]:
        """The results of a branch, as those of a switch."""
        if node not in self.sides:
            half = len(args) // 2
            return args[1 : 1 + half] if const_value(args[0]) else args[1 + half :]
        operands: dict[Expr, None] = {}
        for side, values in zip(self.sides[node], _halves(node), strict=True):
            read[side] = self._read(side, values, read)
            operands.update(dict.fromkeys(mapped.get(a, a) for a in read[side]))
        half = len(args) // 2
        given = [a for a in operands if not is_constant(a)]
        bodies = [Body.close(given, args[1 + half :]), Body.close(given, args[1 : 1 + half])]
        index = bind("convert", args[0], attrs=("int64",))
        results = switch(index, bodies, given)
        if results and results[0].args[0].site is None:
            results[0].args[0].site = node.site
        return results

    def _read(
        self, side: _Region, values: Sequence[Expr], read: dict[_Region, dict[Expr, None]]
    ) -> dict[Expr, None]:
        """The nodes outside of a side that are read in it, or are its results."""
        found: dict[Expr, None] = {}
        for n in reversed(side.inside):
            if n in self.sides:
                used: list[Expr] = [n.args[0]]
                for inner in self.sides[n]:
                    used += read[inner]
            elif n.op is BRANCH:
                used = list(_taken(n))
            else:
                used = list(n.args)
            found.update(dict.fromkeys(used))
        found.update(dict.fromkeys(values))
        return {n: None for n in found if self.region[n] is not side or n not in self.own}


def _halves(branch: Expr) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    half = len(branch.args) // 2
    return branch.args[1 : 1 + half], branch.args[1 + half :]


def _taken(branch: Expr) -> tuple[Expr, ...]:
    return _halves(branch)[0 if const_value(branch.args[0]) else 1]


def is_constant(node: Expr) -> bool:
    return node.op.kind is Kind.SOURCE and node.op not in (ARG, PARAM)
