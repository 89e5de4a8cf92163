"""Loops that compute the same things made one, as those of a function and its derivative do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symgrad.expr.node import CONST, Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import rebuild, toposort
from symgrad.ops.flops import flops
from symgrad.ops.loop import Loop
from symgrad.simplify.loops import ROUNDS, Rounds
from symgrad.simplify.pattern import Check


def joined(outs: Sequence[Expr], check: Check | None) -> tuple[list[Expr], int]:
    """Equal outputs where loops that share work are one, and how many that was.

    Two loops can be one if they have the same rounds and neither needs the other: they have as many
    control nodes below them. They are one if that has fewer operations: equal carries are carried
    once. While loops have the same rounds if their tests are the same then; one without a limit,
    which stacks nothing, takes that of the other, where the call would fail in any case.
    """
    nodes = toposort(outs)
    level: dict[Expr, int] = {}
    groups: dict[Any, list[Expr]] = {}
    for node in nodes:
        below = max([level[a] for a in node.args], default=0)
        level[node] = below + (node.op.kind is Kind.CONTROL)
        if node.op.kind is Kind.CONTROL and node.op.rounds is not None:
            rounds = None if "test" in node.op.attr_names else node.op.rounds(node.attrs)
            key: tuple[Any, ...] = level[node], node.op, rounds
            if "reverse" in node.op.attr_names:
                key += node.attr("reverse"), node.args[0] if node.attr("counted") else None
            groups.setdefault(key, []).append(node)
    clusters = [c for group in groups.values() for c in _clusters(group)]
    if not clusters:
        return list(outs), 0
    mapped: dict[Expr, Expr] = {}
    made: dict[Expr, dict[Any, Expr]] = {}
    of = {node: c for c in clusters for node in c.members}
    for node in sorted(nodes, key=lambda n: level[n]):  # operands of all members come first
        if node in of:
            cluster = of[node]
            if cluster.members[0] not in made:
                cluster.set_operands(mapped)
                made.update(dict.fromkeys(cluster.members, cluster.found()))
        elif node.op.kind is Kind.ITEM and node.args[0] in of:
            mapped[node] = made[node.args[0]][node.args[0], node.attrs[0]]
        else:
            mapped[node] = rebuild(node, tuple([mapped[a] for a in node.args]))
    new = [mapped[o] for o in outs]
    if check is not None:
        check("loop-join", outs, new)
    return new, len(clusters)


class _Cluster(Rounds):
    """Loops that are to be one; keys are (loop, position of a result)."""

    def __init__(self, node: Expr) -> None:
        self.members = [node]
        self.loop = Loop.of(node)
        n = len(self.loop.carry)
        self.place = {(node, k): a for k, (_, a, _) in enumerate(self.loop.carry)}
        first = n + (self.loop.test is not None)  # behind the number of rounds
        self.ys = {(node, first + k): y for k, y in enumerate(self.loop.ys)}
        self.rounds = [(node, n)] if first > n else []
        self.equal()
        self.cost = self._cost()

    def _cost(self) -> int:
        seen: dict[object, int] = {}
        return sum(flops(n, seen) for n in toposort(self.all()))

    def with_(self, other: _Cluster) -> _Cluster | None:
        """Both as one, if that is less than both."""
        both = _Cluster.__new__(_Cluster)
        both.members = self.members + other.members
        both.loop, more = self.loop.copy(), other.loop
        both.loop.consts += more.consts
        both.loop.carry += more.carry
        both.loop.xs += more.xs
        both.place, both.ys = self.place | other.place, self.ys | other.ys
        both.rounds = self.rounds + other.rounds
        lengths = {self.loop.length, more.length} - {None}
        if len(lengths) > 1:
            return None
        both.loop.length = lengths.pop() if lengths else None
        if more.test is not None:
            both.ys[ROUNDS] = more.test
        both.equal()
        if both.ys.pop(ROUNDS, None) is not both.loop.test:
            return None
        both.cost = both._cost()
        return both if both.cost < self.cost + other.cost else None

    def found(self) -> dict[Any, Expr]:
        made = super().found()
        return made | {key: made[ROUNDS] for key in self.rounds}

    def set_operands(self, mapped: Mapping[Expr, Expr]) -> None:
        loop = self.loop
        loop.consts = [(mapped[v], a) for v, a in loop.consts]
        loop.carry = [(mapped[v], a, new) for v, a, new in loop.carry]
        loop.xs = [(mapped[v], a) for v, a in loop.xs]
        loop.count = None if loop.count is None else mapped[loop.count]


_MOST_TRIED = 4  # loops that one is compared with


def _clusters(group: list[Expr]) -> list[_Cluster]:
    """The loops of a group that are better one."""
    if len(group) < 2:
        return []
    clusters: list[_Cluster] = []
    readers: dict[Expr, list[_Cluster]] = {}  # those that read an operand
    for node in group:
        cluster = _Cluster(node)
        operands = [a for a in node.args if a.op is not CONST]
        tried = 0
        for other in dict.fromkeys(c for a in operands for c in readers.get(a, ())):
            if other not in clusters or tried == _MOST_TRIED:
                continue
            tried += 1
            both = other.with_(cluster)
            if both is not None:
                clusters.remove(other)
                cluster = both
        clusters.append(cluster)
        for member in cluster.members:
            for a in member.args:
                readers.setdefault(a, []).append(cluster)
    return [c for c in clusters if len(c.members) > 1]
