"""Which multiple of a node is written, so that fewest signs and factors of two stand alone.

a - b and b - a are one node. Where all that is wanted is -(a - b), it is b - a that is written;
where a sum of products is only taken away, or stored negated, its parts change sides for nothing.
In the same way 2 x y is written once where that is what all others have. Nothing is rounded
otherwise: signs and powers of two are exact (0082).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from symgrad.scalar.reach import FUNCTION, PRODUCT, SUM
from symgrad.scalar.space import Node, Ref, is_shift

_SWEEPS = 3
_MOST_USERS = 64  # of a node of which another multiple is tried
_MOST_INSIDE = 8  # sums that are turned together with the one they are in
_MOST_FACTOR = 2.0**10


class _Multiples:
    """Multiples of nodes as they are written, and the operations around them.

    of : times a node is written; a product's follows from those of its factors and from `own`
    """

    def __init__(self, nodes: Sequence[Node], refs: Sequence[Ref], one: Node) -> None:
        self.one = one
        self.of = dict.fromkeys(nodes, 1.0)
        self.own = {n: 1.0 for n in nodes if n.kind == PRODUCT}
        self.users: dict[Node, list[Node]] = {n: [] for n in nodes}
        self.alone: dict[Node, set[float]] = {}  # multiples that are wanted by themselves
        self.inside: dict[Node, list[tuple[Node, float]]] = {}  # sums, with the coefficient there
        for node in nodes:
            if node.kind == FUNCTION:
                self._want(node.terms)
            for n, c in node.terms if node.kind in (SUM, PRODUCT) else ():
                self.users[n].append(node)
                if node.kind == SUM:
                    self.inside.setdefault(n, []).append((node, c))
        self._want(refs)

    def _want(self, refs: Iterable[Ref]) -> None:
        for c, n in refs:
            if n is not self.one:
                self.alone.setdefault(n, set()).add(c)

    def around(self, node: Node) -> list[Node]:
        """A node and the products that change with it, all sums that one of these is in, and the
        terms of a sum; operands first. Nothing where that are too many."""
        found, stack = {node: None}, [node]
        while stack:
            for user in self.users[stack.pop()]:
                if user not in found:
                    found[user] = None
                    if user.kind == PRODUCT:
                        stack.append(user)
            if len(found) > _MOST_USERS:
                return []
        if node.kind == SUM:
            found |= dict.fromkeys(n for n, _ in node.terms)
        return sorted(found, key=lambda n: n.number)

    def seen(self, node: Node) -> Iterator[float]:
        """Which multiples of what is written of a node are computed from it."""
        own = self.of[node]
        for c in self.alone.get(node, ()):
            yield c / own
        for user, c in self.inside.get(node, ()):
            yield c * self.of[user] / own

    def signs(self, nodes: Iterable[Node]) -> int:
        """The signs that stand alone at some nodes."""
        total = 0
        for node in nodes:
            own = self.of[node]
            if node in self.alone:
                total += -own in self.alone[node]
            if node.kind == SUM:
                total += all(n is not self.one and c * own == -self.of[n] for n, c in node.terms)
        return total

    def products(self, nodes: Iterable[Node]) -> int:
        """The multiplications of some nodes by numbers."""
        total = 0
        for node in nodes:
            if node is not self.one:
                sizes = {abs(c) for c in self.seen(node)}
                total += len(sizes) - (1.0 in sizes)
                if node.kind == PRODUCT and self.own[node] != 1:
                    total += any(p > 0 for _, p in node.terms)  # 2 / x is one operation
        return total

    def change(self, node: Node, factor: float, around: Iterable[Node]) -> None:
        """Write another multiple of a node, and of the products around it."""
        if node.kind == PRODUCT:
            self.own[node] *= factor
        else:
            self.of[node] *= factor
        for product in around:
            if product.kind == PRODUCT:
                self.of[product] = self.own[product] * math.prod(
                    self.of[n] ** p for n, p in product.terms
                )

    def turned(self, node: Node) -> bool:
        """Whether signs are saved by the other sign of a sum, alone or with one inside of it."""
        around = self.around(node)
        before = self.signs(around)
        if not before:
            return False
        self.change(node, -1.0, around)
        if self.signs(around) < before or self._with_one_inside(node, around, before):
            return True
        self.change(node, -1.0, around)
        return False

    def scaled(self, node: Node) -> bool:
        """Whether products are saved by another multiple of a node."""
        around = self.around(node)
        sizes = {abs(c) for n in around if n is node or n.kind == PRODUCT for c in self.seen(n)}
        if node.kind == SUM:
            sizes |= {abs(self.of[n] / (c * self.of[node])) for n, c in node.terms}
        factors = sorted(s for s in sizes if s != 1 and is_shift(s))
        before = self.products(around) + self.signs(around) if factors else 0
        for factor in factors:
            self.change(node, factor, around)
            now = self.products(around) + self.signs(around)
            if now < before and self._is_moderate(around):
                return True
            self.change(node, 1 / factor, around)
        return False

    def _is_moderate(self, around: Iterable[Node]) -> bool:
        return all(1 / _MOST_FACTOR <= abs(self.of[n]) <= _MOST_FACTOR for n in around)

    def _with_one_inside(self, node: Node, around: list[Node], before: int) -> bool:
        """Whether signs are saved if a sum, which is turned, and one inside of it are."""
        for inner in _inside(node):
            near = self.around(inner)
            rest = [n for n in near if n not in around]
            other = self.signs(rest)
            self.change(inner, -1.0, near)
            if near and self.signs(around) + self.signs(rest) < before + other:
                return True
            self.change(inner, -1.0, near)
        return False


def _inside(node: Node) -> list[Node]:
    """Sums that are terms of a sum, or factors of its terms."""
    found = dict.fromkeys(n for n, _ in node.terms if n.kind == SUM)
    for product, _ in node.terms:
        if product.kind == PRODUCT:
            found |= dict.fromkeys(n for n, p in product.terms if n.kind == SUM and p % 2)
    return list(found)[:_MOST_INSIDE]


def multiples(nodes: Sequence[Node], refs: Sequence[Ref], one: Node) -> dict[Node, float]:
    """Which multiple of each of some nodes is written that results need, operands first."""
    found = _Multiples(nodes, refs, one)
    sums = [n for n in reversed(nodes) if n.kind == SUM]
    both = sums + [n for n in reversed(nodes) if n.kind == PRODUCT]
    for _ in range(_SWEEPS):
        if not sum([*map(found.turned, sums), *map(found.scaled, both)]):
            break
    return found.of
