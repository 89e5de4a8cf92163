"""The body of a loop over points as straight-line code: inner loops written out, arrays gone.

Where a point has a handful of components, loops over them cost more than what they compute: every
value goes through memory, and a delta is asked for in every round. Here such a body becomes one
expression for each element of its results, made of what the point reads. Equal parts are one node,
as everywhere; the order of additions stays what it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from symgrad.expr.node import CONST, Expr, bind, const, is_const
from symgrad.expr.op import Kind
from symgrad.expr.walk import rebuild, toposort, transform
from symgrad.lower.program import GUARD, LOAD, Loop, Store, statements, values

_MOST_OPERATIONS = 1500  # of one point; beyond it, loops are cheaper to compile
_MOST_ROUNDS = 16  # of one inner loop; longer sums are added up in parts
_COMBINED = {"+": "add", "*": "multiply", "max": "maximum", "min": "minimum"}


def straight(loop: Loop, private: set[int]) -> list[Store] | None:
    """One store for each element of a result that a point of `loop` sets; None if there is no way.

    private : the buffers that only one point uses; nothing is stored there any more
    """
    if not _is_short(loop):
        return None
    point = _Point(loop, private)
    for statement, at in _rounds(loop.body):
        if not point.run(statement, at):
            return None
    return [s for s in point.elements.values() if s.buffer.number not in private]


def _is_short(loop: Loop) -> bool:
    operations = 0
    nested = False
    for s, path in statements(loop.body):
        if not isinstance(s, Store) or any(inner.extent > _MOST_ROUNDS for inner in path):
            return False
        nested = nested or bool(path)
        nodes = toposort(values(s))
        if any(n.op is GUARD for n in nodes):  # what must not be read everywhere
            return False
        own = sum(n.op.kind is Kind.ELEMENTWISE for n in nodes)
        operations += max(own, 1) * math.prod(inner.extent for inner in path)
    return nested and operations <= _MOST_OPERATIONS


def _rounds(body: list[Any]) -> Iterator[tuple[Any, dict[Expr, Expr]]]:
    """The statements in the order in which they are carried out, with the values of inner indices."""
    stack: list[tuple[Any, dict[Expr, Expr]]] = [(s, {}) for s in reversed(body)]
    while stack:
        statement, at = stack.pop()
        if isinstance(statement, Loop):
            for k in reversed(range(statement.extent)):
                inside = {**at, statement.index: const(k, "int64")}
                stack.extend((s, inside) for s in reversed(statement.body))
        else:
            yield statement, at


class _Point:
    """What one point has stored so far."""

    def __init__(self, loop: Loop, private: set[int]) -> None:
        self.index, self.private = loop.index, private
        self.buffers = {s.buffer.number: s.buffer for s, _ in statements(loop.body)}
        self.elements: dict[tuple[int, tuple[Expr, ...]], Store] = {}
        self.missing = False  # whether something was read that is not there

    def run(self, s: Store, at: dict[Expr, Expr]) -> bool:
        """Carry out a statement; whether that was possible."""
        *place, value = transform([*s.index, s.value], self._read, at)
        index = tuple(place)
        key = self._key(s.buffer.number, index)
        if s.op != "=":
            if s.op not in _COMBINED or key not in self.elements:
                return False
            before = self.elements[key].value
            started = s.op == "+" and is_const(before, 0)
            value = value if started else bind(_COMBINED[s.op], before, value)
        self.elements[key] = Store(s.buffer, index, value)
        return not self.missing and self._is_own(s.buffer.number, key[1])

    def _read(self, node: Expr, args: tuple[Expr, ...]) -> Expr:
        if node.op is not LOAD or node.attrs[0] not in self.buffers:
            return rebuild(node, args)
        found = self.elements.get(self._key(node.attrs[0], args))
        self.missing = self.missing or found is None
        return node if found is None else found.value

    def _key(self, number: int, index: tuple[Expr, ...]) -> tuple[int, tuple[Expr, ...]]:
        return number, tuple(index[a] for a in self.buffers[number].kept_axes)

    def _is_own(self, number: int, place: tuple[Expr, ...]) -> bool:
        """Whether two places are one element only if they are spelled alike."""
        others = [i for i in place if i is not self.index]
        points = len(place) - len(others)
        return all(i.op is CONST for i in others) and points == (number not in self.private)
