"""Rows that are read from the last to the first must not be read in vectors by gcc.

Where a round of a loop reads some neighbouring elements of a row, and the next round those of the
row before, gcc 11 and 12 read whole vectors: beyond the end of the last row, which may be the end
of all memory. Leaving a round to numbers, as they do, helps only where the last round is the one
that is highest in memory. The elements may come from loops inside, which gcc writes out.

Nor short rows that are read backwards: of rows of six, gcc 12 puts wrong elements into vectors of
512 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from symgrad.emit import tree as c

DESCENDING = c.Mark("SG_DESCENDING")
_WRITTEN_OUT = 16  # rounds that compilers write out


def marked(node: Any) -> Any:
    """A statement in which such loops have a mark that keeps them from vectors."""

    def change(n: c.Node) -> c.Node | None:
        if not isinstance(n, c.For):
            return None
        body = tuple([c.replaced(s, change) for s in n.body])
        falls = n.step is None and (_falls(n) or _turns(n))
        return replace(n, body=(DESCENDING, *body) if falls else body)

    return c.replaced(node, change)


def _falls(loop: c.For) -> bool:
    """Whether it reads several elements of rows that come before those of the last round."""
    found: dict[str, set[c.Expression]] = {}
    for index, inside in _reads(loop):
        step = _coefficient(index.index, loop.variable)
        if step is not None and step < -1:
            places = found.setdefault(index.array, set())
            places.add(index.index)
            if inside or len(places) > 1:
                return True
    return False


def _turns(loop: c.For) -> bool:
    """Whether it is short, and reads a row backwards beside one that it goes along."""
    stop = loop.stop.text if isinstance(loop.stop, c.Lit) else ""
    if not stop.isdigit() or int(stop) > _WRITTEN_OUT:
        return False
    steps = {_coefficient(index.index, loop.variable) for index, _ in _reads(loop)}
    return {-1, 1} <= steps


def _reads(loop: c.For) -> Iterator[tuple[c.Index, bool]]:
    """Elements in a loop, and whether a loop inside is around them."""
    stack: list[tuple[c.Node, bool]] = [(s, False) for s in loop.body]
    while stack:
        node, inside = stack.pop()
        if isinstance(node, c.Index):
            yield node, inside
        stack.extend((n, inside or isinstance(node, c.For)) for n in node.children())


def _coefficient(node: c.Node, name: str) -> int | None:
    """How much an offset grows with a variable; None if it is not linear in it."""
    if isinstance(node, c.Name):
        return int(node.name == name)
    if isinstance(node, c.Group):
        return _coefficient(node.inner, name)
    parts = [_coefficient(n, name) for n in node.children()]
    if not any(n is None or n for n in parts):
        return 0
    if None not in parts:
        if isinstance(node, c.Sum):
            return sum(parts)  # type: ignore[arg-type]
        if isinstance(node, c.Binary) and node.op in ("+", "-"):
            return parts[0] + parts[1] if node.op == "+" else parts[0] - parts[1]  # type: ignore
        if isinstance(node, c.Binary) and node.op == "*":
            for factor, n in ((node.left, parts[1]), (node.right, parts[0])):
                if isinstance(factor, c.Lit) and factor.text.lstrip("-").isdigit():
                    return int(factor.text) * n  # type: ignore[operator]
    return None
