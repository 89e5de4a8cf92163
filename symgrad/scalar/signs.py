"""Which nodes are written with the other sign, so that fewest signs are changed alone.

a - b and b - a are one node. Where all that is wanted is -(a - b), it is b - a that is written;
where a sum of products is only taken away, or stored negated, its parts change sides for nothing.
Nothing is rounded otherwise: the sign of a product or a sum is exact (0082).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from symgrad.scalar.reach import FUNCTION, PRODUCT, SUM
from symgrad.scalar.space import Node, Ref

_SWEEPS = 3
_MOST_USERS = 64  # of a node whose other sign is tried
_MOST_INSIDE = 8  # sums that are turned together with the one they are in


class _Signs:
    """Signs of nodes as they are written, and what the signs around them cost.

    of : 1 or -1 times a node is written; a product's follows from those of its factors
    """

    def __init__(self, nodes: Sequence[Node], refs: Sequence[Ref], one: Node) -> None:
        self.one = one
        self.of = dict.fromkeys(nodes, 1)
        self.users: dict[Node, list[Node]] = {n: [] for n in nodes}
        self.wanted: dict[Node, set[int]] = {}  # signs with which a node stands alone
        for node in nodes:
            if node.kind == FUNCTION:
                self._want(node.terms)
            else:
                odd = [n for n, p in node.terms if node.kind == SUM or p % 2]
                for n in odd:
                    self.users[n].append(node)
        self._want(refs)

    def _want(self, refs: Iterable[Ref]) -> None:
        for c, n in refs:
            if abs(c) == 1 and n is not self.one:
                self.wanted.setdefault(n, set()).add(1 if c > 0 else -1)

    def around(self, node: Node) -> list[Node]:
        """A sum with the products that have its sign, and all sums that one of these is in."""
        found, stack = {node: None}, [node]
        while stack:
            for user in self.users[stack.pop()]:
                if user not in found:
                    found[user] = None
                    if user.kind == PRODUCT:
                        stack.append(user)
            if len(found) > _MOST_USERS:
                return []
        return sorted(found, key=lambda n: n.number)  # operands first

    def cost(self, nodes: Iterable[Node]) -> int:
        """How many signs are changed alone in some nodes, and behind them."""
        return sum(self._of_sum(n) + self._alone(n) for n in nodes)

    def _alone(self, node: Node) -> bool:
        return -self.of[node] in self.wanted.get(node, ())

    def _of_sum(self, node: Node) -> bool:
        if node.kind != SUM:
            return False
        sign = self.of[node]
        return all(abs(c) == 1 and n is not self.one and c * self.of[n] * sign < 0
                   for n, c in node.terms)  # fmt: skip

    def turn(self, node: Node, around: Iterable[Node]) -> None:
        """Write a sum with the other sign; products around it, in their order, have its sign."""
        self.of[node] = -self.of[node]
        for product in around:
            if product.kind == PRODUCT:
                sign = 1
                for n, p in product.terms:
                    sign *= self.of[n] if p % 2 else 1
                self.of[product] = sign

    def improved(self, node: Node) -> bool:
        """Whether signs are saved if a sum is turned, alone or together with one inside of it."""
        around = self.around(node)
        before = self.cost(around)
        if not before:
            return False
        self.turn(node, around)
        if self.cost(around) < before:
            return True
        for inner in _inside(node):
            near = self.around(inner)
            rest = [n for n in near if n not in around]
            other = self.cost(rest)
            self.turn(inner, near)
            if near and self.cost(around) + self.cost(rest) < before + other:
                return True
            self.turn(inner, near)
        self.turn(node, around)
        return False


def _inside(node: Node) -> list[Node]:
    """Sums that are terms of a sum, or factors of its terms."""
    found = dict.fromkeys(n for n, _ in node.terms if n.kind == SUM)
    for product, _ in node.terms:
        if product.kind == PRODUCT:
            found |= dict.fromkeys(n for n, p in product.terms if n.kind == SUM and p % 2)
    return list(found)[:_MOST_INSIDE]


def signs(nodes: Sequence[Node], refs: Sequence[Ref], one: Node) -> dict[Node, int]:
    """1 or -1 for each of some nodes that results need, operands first."""
    found = _Signs(nodes, refs, one)
    sums = [n for n in reversed(nodes) if n.kind == SUM]
    for _ in range(_SWEEPS):
        if not sum([found.improved(n) for n in sums]):
            break
    return found.of
