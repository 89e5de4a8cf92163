"""From scalars back to expressions, as they will be computed and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from symgrad.expr.node import Expr, bind, const
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.scalar.reach import FUNCTION, LEAF, PRODUCT, SUM
from symgrad.scalar.space import Node, Ref, Space, is_number

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
    """

    def __init__(self, space: Space, leaf: Callable[[Any, int], Expr]) -> None:
        self.space, self.leaf = space, leaf
        self.known: dict[Node, Expr] = {}
        self._inverted: set[Factors] = set()  # denominators whose reciprocal is taken once

    def write(self, refs: Sequence[Ref], dtypes: Sequence[str]) -> list[Expr]:
        """The expressions of references, which have dtypes."""
        nodes = order(refs)
        self._inverted |= _shared_denominators(nodes)
        for node in nodes:
            if node is not self.space.one and node not in self.known:
                self.known[node] = self._written(node)
        return [self.ref(r, t) for r, t in zip(refs, dtypes, strict=True)]

    def ref(self, ref: Ref, dtype: str) -> Expr:
        """One reference, whose node is written."""
        c, node = ref
        if node is self.space.one:
            return const(c, dtype)
        found = self.known[node]
        if c == 1:
            return found
        return -found if c == -1 else const(c, dtype) * found

    def _written(self, node: Node) -> Expr:
        if node.kind == LEAF:
            if is_number(node):
                return const(np.frombuffer(node.attrs[0])[0], node.dtype)
            return self.leaf(*node.attrs)
        if node.kind == FUNCTION:
            args = [self.ref(r, t) for r, t in zip(node.terms, node.types, strict=True)]
            assert node.row is not None
            return bind(node.row, *args, attrs=node.attrs)
        if node.kind == SUM:
            return self._sum(node)
        above = [self._raised(n, p) for n, p in node.terms if p > 0]
        below = [self._raised(n, -p) for n, p in node.terms if p < 0]
        one = const(1, node.dtype)
        if not below:
            return _chain(above, one)
        if above and denominator(node) in self._inverted:
            return _chain([*above, one / _chain(below, one)], one)
        return _chain(above, one) / _chain(below, one)

    def _sum(self, node: Node) -> Expr:
        """In the order of their making; a positive one first, so that no sign is changed alone."""
        total: Expr | None = None
        first = next((n for n, c in node.terms if c > 0), None)
        for n, c in sorted(node.terms, key=lambda t: t[0] is not first):
            if n is self.space.one:
                term = const(abs(c), node.dtype)
            else:
                term = self.ref((abs(c), n), node.dtype)
            if total is None:
                total = term if c > 0 else -term
            else:
                total = total + term if c > 0 else total - term
        assert total is not None
        return total

    def _raised(self, node: Node, power: int) -> Expr:
        """By squares."""
        base, result = self.known[node], None
        while True:
            if power & 1:
                result = base if result is None else result * base
            power >>= 1
            if not power:
                assert result is not None
                return result
            base = base * base


def _chain(factors: Sequence[Expr], one: Expr) -> Expr:
    if not factors:
        return one
    result = factors[0]
    for f in factors[1:]:
        result = result * f
    return result


def operations(outs: Sequence[Expr]) -> int:
    """How many operations C has: each + - * / and sign, each comparison and call is one."""
    return sum(n.op.kind is Kind.ELEMENTWISE for n in toposort(outs))
