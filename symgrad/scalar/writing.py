"""From scalars back to expressions, as they will be computed and counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from symgrad.expr.node import Expr, bind, const
from symgrad.expr.op import Kind, Op
from symgrad.expr.walk import toposort
from symgrad.ops.elementwise import ADD, DIVIDE, MULTIPLY, SUBTRACT
from symgrad.ops.linear import broadcast
from symgrad.scalar.multiples import multiples
from symgrad.scalar.reach import FUNCTION, LEAF, PRODUCT, SUM
from symgrad.scalar.space import Node, Ref, Space, is_number, number_of

Factors = tuple[tuple[Node, int], ...]
_PAYS = 3  # divisions by one number that still are divisions


def order(refs: Iterable[Ref]) -> list[Node]:
    """The nodes that references need, operands first, each result's before those of the next."""
    done: set[Node] = set()
    found: list[Node] = []
    stack = [(n, False) for _, n in refs][::-1]
    while stack:
        node, finished = stack.pop()
        if finished:
            found.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack.extend((n, False) for n in reversed(list(node.nodes())) if n not in done)
    return found


def denominator(product: Node) -> Factors:
    """The factors of a product with negative powers."""
    return tuple((n, -p) for n, p in product.terms if p < 0)


def _shared_denominators(nodes: Iterable[Node]) -> set[Factors]:
    """Those by which so much is divided that a reciprocal pays: a division is worth several
    multiplications."""
    counts: dict[Factors, int] = {}
    for node in nodes:
        below = denominator(node) if node.kind == PRODUCT else ()
        if below:
            alone = len(below) == len(node.terms)  # it is there anyway
            counts[below] = counts.get(below, 0) + (_PAYS if alone else 1)
    return {below for below, count in counts.items() if count >= _PAYS + 1}


class Writer:
    """Makes scalar expressions of nodes.

    leaf : (what, place) -> the expression of an element of an argument
    many : how many points there are where expressions are of all points; 0: of scalars
    turns : whether multiples of nodes may be written in their place, in one call of `write`
    """

    def __init__(
        self, space: Space, leaf: Callable[[Any, int], Expr], turns: bool = False, many: int = 0
    ) -> None:
        self.space, self.leaf, self.many = space, leaf, many
        self.turns = turns and space.reach is None  # a - b is +0 where -(b - a) is -0
        self.known: dict[Node, Expr] = {}
        self.multiple: dict[Node, float] = {}  # times a node is what is known
        self._multiples: dict[tuple[Node, float], int] = {}  # of what is known, and their signs
        self._inverted: set[Factors] = set()  # denominators whose reciprocal is taken once

    def write(self, refs: Sequence[Ref], dtypes: Sequence[str]) -> list[Expr]:
        """The expressions of references, which have dtypes."""
        nodes = order(refs)
        self._inverted |= _shared_denominators(nodes)
        if self.turns and not self.known:
            self.multiple = multiples(nodes, refs, self.space.one)
            self._look_for_multiples(nodes, refs)
        for node in nodes:
            if node is not self.space.one and node not in self.known:
                self.known[node] = self._written(node)
        return [self.ref(r, t) for r, t in zip(refs, dtypes, strict=True)]

    def ref(self, ref: Ref, dtype: str) -> Expr:
        """One reference, whose node is written."""
        c, node = ref
        own = self.multiple.get(node, 1)
        return self._times(c if own == 1 else c / own, node, dtype)

    def _times(self, c: Any, node: Node, dtype: str) -> Expr:
        """A multiple of what is known of a node."""
        if node is self.space.one:
            return const(c, dtype)
        found = self.known[node]
        if c == 1:
            return found
        return -found if c == -1 else self.bind(MULTIPLY, const(c, dtype), found)

    def bind(self, row: Op, *args: Expr, attrs: tuple[Any, ...] = ()) -> Expr:
        """A node of scalars, or of as many as one of its operands has."""
        if len({a.shape for a in args}) > 1:
            args = tuple(a if a.shape else broadcast(a, (self.many,), ()) for a in args)
        return bind(row, *args, attrs=attrs)

    def _chain(self, factors: Sequence[Expr], one: Expr) -> Expr:
        if not factors:
            return one
        result = factors[0]
        for f in factors[1:]:
            result = self.bind(MULTIPLY, result, f)
        return result

    def _written(self, node: Node) -> Expr:
        if node.kind == LEAF:
            if is_number(node):
                return const(number_of(node), node.dtype)
            return self.leaf(*node.attrs)
        if node.kind == FUNCTION:
            args = [self.ref(r, t) for r, t in zip(node.terms, node.types, strict=True)]
            assert node.row is not None
            return self.bind(node.row, *args, attrs=node.attrs)
        if node.kind == SUM:
            return self._sum(node)
        above = [self._raised(n, p) for n, p in node.terms if p > 0]
        below = [self._raised(n, -p) for n, p in node.terms if p < 0]
        one, own = const(1, node.dtype), self._own(node)
        if own != 1:
            above.append(const(own, node.dtype))
        if not below:
            return self._chain(above, one)
        if above and denominator(node) in self._inverted:
            reciprocal = self.bind(DIVIDE, one, self._chain(below, one))
            return self._chain([*above, reciprocal], one)
        return self.bind(DIVIDE, self._chain(above, one), self._chain(below, one))

    def _own(self, product: Node) -> float:
        """How much more a product is to be than that of what is known of its factors."""
        if product not in self.multiple:
            return 1.0
        found = math.prod(self.multiple[n] ** p for n, p in product.terms)
        return float(self.multiple[product] / found)

    def _look_for_multiples(self, nodes: Sequence[Node], refs: Sequence[Ref]) -> None:
        """Where -2x is wanted alone and 2x is not, sums take -2x away."""
        alone = {r for n in nodes if n.kind == FUNCTION for r in n.terms}.union(refs)
        wanted = {(n, c / self.multiple[n]) for c, n in alone}
        for n, c in wanted:
            if c < 0 and abs(c) != 1 and n is not self.space.one and (n, -c) not in wanted:
                self._multiples[n, -c] = -1

    def _sum(self, node: Node) -> Expr:
        """In the order of their making; one that is added first, or else one with a coefficient,
        so that no sign is changed alone."""
        own = self.multiple.get(node, 1)
        terms = []  # nodes, times what is known of each, times the multiple of it that is wanted
        for n, c in node.terms:
            c *= own / self.multiple.get(n, 1)
            terms.append((n, c, c * self._multiples.get((n, abs(c)), 1)))
        lead = next((n for n, _, wanted in terms if wanted > 0), None) or next(
            (n for n, c, _ in terms if abs(c) != 1 or n is self.space.one), node.terms[0][0]
        )
        total: Expr | None = None
        for n, c, wanted in sorted(terms, key=lambda t: t[0] is not lead):
            if total is None:
                total = self._times(c, n, node.dtype)
            elif wanted > 0:
                total = self.bind(ADD, total, self._times(c, n, node.dtype))
            else:
                total = self.bind(SUBTRACT, total, self._times(-c, n, node.dtype))
        assert total is not None
        return total

    def _raised(self, node: Node, power: int) -> Expr:
        """By squares."""
        base, result = self.known[node], None
        while True:
            if power & 1:
                result = base if result is None else self.bind(MULTIPLY, result, base)
            power >>= 1
            if not power:
                assert result is not None
                return result
            base = self.bind(MULTIPLY, base, base)


def operations(outs: Sequence[Expr]) -> int:
    """How many operations C has: each + - * / and sign, each comparison and call is one."""
    return sum(n.op.kind is Kind.ELEMENTWISE for n in toposort(outs))
