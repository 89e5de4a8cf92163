"""The order in which results are stored, so that few temporaries live at one time.

Each result brings temporaries that later ones read as well, and is the last reader of others. Next
comes the result that leaves the fewest behind. So fewer of them live at one time, which compilers,
who keep the order of a straight line, have to keep on the stack (0072).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symgrad.expr.node import Expr, const_value, is_const
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.lower.statement import Buffer
from symgrad.lower.tuning import Tuning

_MOST_VISITS = 100_000  # of nodes, while an order is looked for; the rest stays as it is


class _Greedy:
    """Results that are not stored yet, with what each would compute."""

    def __init__(self, values: Sequence[Expr]) -> None:
        self.values = values
        self.done: set[Expr] = set()
        self.visits = 0
        self.left: dict[Expr, int] = {}  # readers of a node that are not computed yet
        for node in toposort(values):
            for a in self._operands(node):
                self.left[a] = self.left.get(a, 0) + 1
        self.new: dict[int, list[Expr]] = {}
        self.behind: dict[int, int] = {}
        self.concerned: dict[Expr, set[int]] = {}  # results by the nodes they compute or read
        for k in range(len(values)):
            if self.visits < _MOST_VISITS:
                self.look(k)

    def _operands(self, node: Expr) -> list[Expr]:
        """What an operation computes from, without loads and numbers."""
        if node.op.kind is not Kind.ELEMENTWISE:
            return []
        return [a for a in dict.fromkeys(node.args) if a.op.kind is Kind.ELEMENTWISE]

    def look(self, k: int) -> None:
        """Find what result k would compute, and how many more temporaries then live."""
        stack, seen = [self.values[k]], dict[Expr, None]()
        while stack:
            node = stack.pop()
            if node in seen or node in self.done or node.op.kind is not Kind.ELEMENTWISE:
                continue
            seen[node] = None
            stack.extend(self._operands(node))
        read: dict[Expr, int] = {}
        for node in seen:
            for a in self._operands(node):
                read[a] = read.get(a, 0) + 1
        self.visits += len(seen) + len(read)
        self.new[k] = list(seen)
        stays = sum(self.left.get(n, 0) > read.get(n, 0) for n in seen)
        goes = sum(a not in seen and self.left[a] == count for a, count in read.items())
        self.behind[k] = stays - goes
        for node in (*seen, *read):
            self.concerned.setdefault(node, set()).add(k)

    def take(self, k: int) -> None:
        """Result k is stored next."""
        del self.behind[k]
        touched: set[int] = set()
        for node in self.new.pop(k):
            self.done.add(node)
            touched |= self.concerned[node]
            for a in self._operands(node):
                self.left[a] -= 1
                touched |= self.concerned[a]
        for other in sorted(touched & self.behind.keys()):
            self.look(other)


def order(values: Sequence[Expr]) -> list[int]:
    """The numbers of values in the order in which they are stored."""
    greedy, found = _Greedy(values), list[int]()
    while greedy.behind and greedy.visits < _MOST_VISITS:
        k = min(greedy.behind, key=lambda n: (greedy.behind[n], n))
        greedy.take(k)
        found.append(k)
    return found + sorted(set(range(len(values))).difference(found))


def is_zero(value: Expr) -> bool:
    """Whether a value is the number 0 whose bits are all 0."""
    return is_const(value, 0) and not np.signbit(const_value(value))


def mostly_zero(
    places: Sequence[tuple[Buffer, int]], values: Sequence[Expr], tuning: Tuning
) -> frozenset[int]:
    """The numbers of buffers that are set to 0 as a whole before values other than 0 are stored."""
    counts: dict[Buffer, int] = {}
    for (buffer, _), value in zip(places, values, strict=True):
        counts[buffer] = counts.get(buffer, 0) + is_zero(value)
    return frozenset(
        b.number for b, count in counts.items()
        if count >= tuning.zeros_from and count > tuning.zeros_from_share * b.size
    )  # fmt: skip
