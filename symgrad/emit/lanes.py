"""Loops over the lanes of a block of points, and sums of all its lanes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from symgrad.emit import tree as c
from symgrad.emit.tree import integer, renamed, walk
from symgrad.lower.statements import Loop
from symgrad.lower.tuning import LANES

SIMD, SCALAR = c.Mark("SG_SIMD"), c.Mark("SG_SCALAR")


class Block:
    """The block that is being spelled.

    name : of the lane
    extent : how many lanes there are
    last : whether it is the shorter last one
    vector, in_order : of the loop over lanes that is being spelled, whether it is a vector, and
        whether its lanes come one after another
    arrays : those of its lanes that are to be declared in the body that is being spelled
    """

    def __init__(self, loop: Loop, name: str, extent: int) -> None:
        self.loop, self.name, self.extent = loop, name, extent
        self.last = extent < loop.lanes
        self.vector = self.in_order = False
        self.arrays: list[c.Statement] = []


def calls(*roots: c.Node) -> bool:
    """Whether functions are called below `roots` that are worth a vector."""
    return any(isinstance(n, c.Call) and n.costly for n in walk(*roots))


def lane_loop(name: str, extent: int, body: Iterable[c.Statement], simd: bool = False) -> c.For:
    """A loop over numbers from 0 on."""
    return c.For(name, c.Lit("0"), integer(extent), tuple(body), marks=(SIMD,) if simd else ())


def over_lanes(block: Block, vectors: int, body: tuple[c.Statement, ...]) -> list[c.Statement]:
    """Loops over the lanes, the first `vectors` of which are vectors."""
    if not vectors:
        return [lane_loop(block.name, block.extent, [*[SCALAR] * calls(*body), *body])]
    found: list[c.Statement] = [lane_loop(block.name, vectors, body, simd=True)]
    if vectors < block.extent:
        rest = integer(vectors), integer(block.extent)
        found.append(c.For(block.name, *rest, _numbers(body)))
    return found


def _numbers(body: Iterable[c.Statement]) -> tuple[c.Statement, ...]:
    """The body of a loop without vectors, in which loops that call functions have none either."""
    return SCALAR, *map(_marked, body)


def _marked(s: c.Statement) -> c.Statement:
    if isinstance(s, c.For) and calls(*s.body):
        return replace(s, body=_numbers(s.body))
    if isinstance(s, (c.Block, c.Together)):
        return replace(s, body=tuple(map(_marked, s.body)))
    return s


# ---- sums of lanes -------------------------------------------------------------------------------


def sum_of_lanes(block: Block, target: c.Expression, value: c.Expression) -> Iterator[c.For]:
    """Pairwise sums of the lanes that stand LANES apart, as C that every compiler vectorises."""
    brackets = _shows_operator(value)

    def at(k: int) -> c.Expression:
        shifted = c.Sum((c.Name(block.name),), k * LANES)
        return renamed(value, {block.name: shifted}) if k else value

    def pairs(low: int, high: int) -> c.Expression:
        if high - low == 1:
            return c.Group(at(low)) if brackets else at(low)
        middle = (low + high + 1) // 2
        return c.Pair(pairs(low, middle), pairs(middle, high))

    count, rest = divmod(block.extent, LANES)
    if count:
        yield lane_loop(block.name, LANES, [c.Assign(target, "+=", pairs(0, count))], simd=True)
    if rest:
        yield lane_loop(block.name, rest, [c.Assign(target, "+=", at(count))])


def _shows_operator(node: c.Expression) -> bool:
    """Whether a sum, a comparison or a choice stands outside of all parentheses."""
    if isinstance(node, (c.Group, c.Call, c.Pair)):
        return False
    if isinstance(node, c.Conditional) or (isinstance(node, c.Binary) and node.op in "+-<>"):
        return True
    if isinstance(node, c.Sum) and len(node.terms) + bool(node.constant) > 1:
        return True
    if isinstance(node, (c.Unary, c.Cast)) and node.operand.level < node.level:
        return False
    return any(_shows_operator(part) for part in node.children())  # type: ignore[arg-type]
