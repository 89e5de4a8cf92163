"""What a NaN or an infinity reaches: kept as the usual form keeps it, where nobody asked for less.

0 · x is 0 for a finite x only; so is x - x. Where such a term goes, a NaN that comes in would
be lost. So every node knows its *sources*: the leaves and functions of which it is not finite if
one of them is not. Sums and products are not finite if one of their parts is not (but for numbers
beyond the range); so is sin x. 1/x, exp x or a selection are sources of their own. What a rewrite
loses is added again as a *guard*, 0 · source, unless the sum that it stands in has that source
anyway.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.expr.node import FLOATS
from symgrad.expr.op import Op
from symgrad.ops.elementwise import CONVERT, MULTIPLY

if TYPE_CHECKING:
    from symgrad.scalar.space import Node

LEAF, SUM, PRODUCT, FUNCTION = "leaf", "sum", "product", "function"  # kinds of node
_PLACES = np.array([0, 0.5, -0.5, 1, -1, -1.5, 2, -2, -3, 40, -40, 1e3, -1e3, 1e10, 1e300, -1e300])


class Reach:
    """The sources of nodes, as bits of an int.

    of : the sources of each node
    idle : nodes that are 0 unless one of their sources is not finite: guards, and sums of them
    sources : (node, whether its reciprocal) of each bit
    unsigned : nodes whose zeros may have another sign, since a 0 was added to them or to a part
    """

    def __init__(self) -> None:
        self.of: dict[Node, int] = {}
        self.idle: set[Node] = set()
        self.unsigned: set[Node] = set()
        self._plus: set[Node] = set()  # nodes that are never -0
        self._negated: set[Node] = set()  # leaves that are taken from a 0
        self.sources: list[tuple[Node, bool]] = []
        self._bits: dict[tuple[Node, bool], int] = {}

    def _own(self, node: Node, inverse: bool = False) -> int:
        key = node, inverse
        if key not in self._bits:
            self._bits[key] = 1 << len(self.sources)
            self.sources.append(key)
        return self._bits[key]

    def bits(self, sources: int) -> list[int]:
        """The numbers of sources."""
        return [k for k in range(sources.bit_length()) if sources >> k & 1]

    def note(self, node: Node) -> None:
        """Note a node that is made, whose parts are known."""
        if node.kind == LEAF:
            number = bool(node.attrs) and isinstance(node.attrs[0], bytes)
            finite = not node.dtype or number and np.isfinite(np.frombuffer(node.attrs[0])[0])
            self.of[node] = self._own(node) if node.dtype in FLOATS and not finite else 0
            if not node.dtype:
                self._plus.add(node)
        else:
            if not self.unsigned.isdisjoint(node.nodes()):
                self.unsigned.add(node)
            {"sum": self._sum, "product": self._product, "function": self._function}[node.kind](
                node
            )

    def is_doubtful(self, c: float, node: Node) -> bool:
        """Whether the sign of a zero may be another one than in the usual form.

        0 - x² is 0 there; a multiple below 0 of what is never -0 is -0.
        """
        return node in self.idle or node in self.unsigned and (c < 0 or node not in self._plus)

    def divides_doubtfully(self, c: float, node: Node) -> bool:
        """Whether that holds where something is divided, which is infinite or NaN then: for what
        is 0 with arguments that are no -0, and is not put together of zeros only."""
        if node in self.idle or node in self._negated:
            return True
        return node.kind in (PRODUCT, FUNCTION) and self.is_doubtful(c, node)

    def added_to_zero(self, c: float, node: Node) -> None:
        """Note that a 0 was added to a multiple of a node, or something that is 0."""
        self.unsigned.add(node)
        if c < 0 and node.kind == LEAF:
            self._negated.add(node)

    def _sum(self, node: Node) -> None:
        total = 0
        for n, _ in node.terms:
            total |= self.of[n]
        self.of[node] = total
        if all(n in self.idle for n, _ in node.terms):
            self.idle.add(node)
        elif any(c > 0 and n in self._plus for n, c in node.terms):
            self._plus.add(node)

    def _product(self, node: Node) -> None:
        total = 0
        for n, p in node.terms:
            total |= self.of[n] if p > 0 else self.inverse(n)
        self.of[node] = total
        if all(p % 2 == 0 or n in self._plus for n, p in node.terms):
            self._plus.add(node)

    def inverse(self, node: Node) -> int:
        """The sources of 1 / node."""
        if node.kind == PRODUCT:
            total = 0
            for n, p in node.terms:
                total |= self.inverse(n) if p > 0 else self.of[n]
            return total
        return self._own(node, True)

    def _function(self, node: Node) -> None:
        total = 0
        if node.dtype in FLOATS:
            assert node.row is not None
            if len(node.terms) == 1 and not node.attrs:
                (c, n), = node.terms  # fmt: skip
                if _is_plus(node.row, c > 0 and n in self._plus):
                    self._plus.add(node)
            strict, total_ = _character(node.row) if len(node.terms) == 1 else (False, False)
            if node.row is MULTIPLY:  # a guard
                self.idle.add(node)
                strict, total_ = True, True
            if node.row is CONVERT:
                strict, total_ = all(t in FLOATS for t in node.types), True
            if strict:
                for _, n in node.terms:
                    total |= self.of[n]
            if not total_ or not strict and any(t in FLOATS for t in node.types):
                total |= self._own(node)
        self.of[node] = total


@functools.cache
def _character(row: Op) -> tuple[bool, bool]:
    """Whether a function of one argument is finite nowhere but where that is; and everywhere
    there. Found out by trying."""
    try:
        with np.errstate(all="ignore"):
            there = np.asarray(row.evaluate(_PLACES), float)
            beyond = np.asarray(row.evaluate(np.array([np.nan, np.inf, -np.inf])), float)
    except (TypeError, ValueError):
        return False, False
    return not np.isfinite(beyond).any(), bool(np.isfinite(there).all())


@functools.cache
def _is_plus(row: Op, of_plus: bool) -> bool:
    """Whether a function of one argument is never -0, and never below 0 if its argument may be -0:
    what is tried could miss the place where it is 0. Found out by trying.

    of_plus : whether the argument is never -0
    """
    places = _PLACES if of_plus else np.concatenate([_PLACES, -_PLACES])
    try:
        with np.errstate(all="ignore"):
            values = np.asarray(row.evaluate(places), float)
    except (TypeError, ValueError):
        return False
    return not np.any(np.signbit(values) & ~np.isnan(values))


@functools.cache
def tells_signs(row: Op, count: int, attrs: tuple[Any, ...]) -> bool:
    """Whether a function of `count` floats is another number at -0 than at 0, found out by trying;
    True for what cannot be tried."""
    for beside in (-1.0, 0.0, 1.0):
        for k in range(count):
            given = [[np.float64(beside)] * count for _ in range(2)]
            given[0][k], given[1][k] = np.float64(0.0), np.float64(-0.0)
            try:
                with np.errstate(all="ignore"):
                    right, left = (np.asarray(row.evaluate(*g, *attrs)) for g in given)
            except (TypeError, ValueError):
                return True
            if not np.array_equal(right, left, equal_nan=True):
                return True
    return False
