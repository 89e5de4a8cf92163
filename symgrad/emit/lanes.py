"""Blocks of lanes: which statements share a loop over the lanes, and what lives between such loops.

In: the pieces of a body that stands for one point. Out: C statements, each run of simple ones
inside a loop over the lanes of the block. A variable that only one such loop uses stays a local
variable of it; one that several use becomes an array of lanes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from symgrad.emit import tree as c
from symgrad.emit.target import Target
from symgrad.emit.tree import integer, renamed, uses, walk
from symgrad.expr.node import Expr
from symgrad.lazy import dataclass
from symgrad.lower.scalar import LOAD
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Loop, Store
from symgrad.lower.strides import word_of
from symgrad.lower.tuning import LANES

SIMD, SCALAR = c.Mark("SG_SIMD"), c.Mark("SG_SCALAR")


class Place(enum.Enum):
    """Where a statement stands in a block of lanes."""

    SHARED = "in a loop over the lanes, with its neighbours"
    OWN = "in a loop of its own"
    BRANCHES = "in one of its own that is no vector, since branches would keep it from that"
    WHOLE = "in none: it is for the whole block"
    UNIFORM = "in none: a variable that is the same for all lanes"


@dataclass(frozen=True, slots=True)
class Piece:
    """A statement, and what a block of lanes has to know of it.

    apart : pieces with different numbers take loops of their own
    scattered : whether several lanes could store to one element
    inside : of a loop that is not over lanes, the pieces of its body
    """

    node: c.Statement
    place: Place = Place.SHARED
    apart: int = 0
    scattered: bool = False
    inside: tuple[Piece, ...] = ()


class Lanes:
    """The block that is being spelled: its loop, the name of the lane, and how many there are.

    widths : the bytes of a number of each type
    """

    def __init__(
        self, loop: Loop, buffers: Mapping[int, Buffer], name: str, extent: int, target: Target
    ) -> None:
        self.loop, self.buffers, self.name, self.extent = loop, buffers, name, extent
        self.widths = {kind: np.dtype(dtype).itemsize for dtype, kind in target.types.items()}
        self.word = word_of(loop)
        self._moves: dict[Expr, bool] = {}

    def moves(self, expr: Expr) -> bool:
        """Whether a value differs between the lanes."""
        stack = [expr]
        while stack:
            node = stack[-1]
            if node in self._moves:
                stack.pop()
                continue
            missing = [a for a in node.args if a not in self._moves]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            private = node.op is LOAD and self.buffers[node.attrs[0]].lanes > 0
            self._moves[node] = (
                node is self.loop.index or private or any(self._moves[a] for a in node.args)
            )
        return self._moves[expr]

    def apart(self, s: Store) -> bool:
        """Whether no two lanes store to the same element, as far as one can see."""
        # Only additions meet: an element is set once.
        moves = s.op == "=" and any(self.moves(i) for i in s.index)
        return moves or s.buffer.lanes > 0 or any(i is self.loop.index for i in s.index)

    def sums(self, s: Store) -> bool:
        """Whether a store adds all lanes to one element."""
        return (
            s.op == "+"
            and s.buffer.dtype in ("float64", "float32")
            and not s.buffer.lanes
            and not any(self.moves(i) for i in s.index)
        )

    def is_scalar(self, traits: Traits) -> bool:
        """Whether calls must not be vectors: compilers would choose between two functions."""
        return traits.calls and (self.extent < LANES or traits.uneven)


@dataclass(frozen=True, slots=True)
class Traits:
    """What decides whether a loop is a vector.

    calls : functions that are worth one
    branches : values that must not be evaluated everywhere
    uneven : these, and elements that lie apart in memory
    """

    calls: bool = False
    branches: bool = False
    uneven: bool = False


def traits(*roots: c.Node, other: Container[str] = ()) -> Traits:
    """Of everything below `roots`; `other` are arrays of elements that have another length."""
    calls = branches = uneven = False
    for node in walk(*roots):
        if isinstance(node, c.Call):
            calls = calls or node.costly
        elif isinstance(node, c.Conditional):
            branches = branches or node.guard
        elif isinstance(node, c.Index):
            uneven = uneven or node.uneven
        elif isinstance(node, (c.Name, c.Declare)):
            uneven = uneven or node.name in other
    return Traits(calls, branches, uneven or branches)


@dataclass(frozen=True, slots=True)
class LaneSum(c.Statement):
    """The lanes of a block added to partial sums, to each those that stand `width` apart.

    Only as long as it is open which variables are arrays: then it is loops.
    """

    lanes: str
    width: int
    extent: int
    target: c.Expression
    value: c.Expression


def lanes_apart(pieces: Sequence[Piece], lanes: Lanes) -> tuple[c.Statement, ...]:
    """The statements of one block with loops over its lanes; variables between them as arrays."""
    other: set[str] = set()
    while True:
        body = grouped(pieces, lanes, other)
        declared: dict[str, str] = {}
        users: dict[str, int] = {}
        for group in _groups(body, lanes):
            declared.update((s.name, s.ctype) for s in _inside(group) if isinstance(s, c.Declare))
            for name in uses(group).names:
                users[name] = users.get(name, 0) + 1
        arrays = {name for name in declared if users[name] > 1}
        found = {name for name in arrays if lanes.widths.get(declared[name]) != lanes.word}
        if found <= other:
            body = _with_arrays(body, arrays, lanes) if arrays else body
            body = _each(body, lanes, lambda s: _sum_loops(s) if isinstance(s, LaneSum) else [s])
            return _each(body, lanes, lambda s: _with_rest(s, lanes))
        other |= found  # such an array keeps its users from sharing a loop with calls


def grouped(
    pieces: Iterable[Piece], lanes: Lanes, other: Container[str] = ()
) -> tuple[c.Statement, ...]:
    """Runs of simple statements put into loops over the lanes; `other` as in `traits`."""
    out: list[c.Statement] = []
    run: list[tuple[Piece, Traits]] = []

    def flush(simd: bool = True) -> None:
        if run:
            out.append(_lane_loop(run, lanes, simd))
            run.clear()

    for piece in pieces:
        if piece.place is Place.UNIFORM:
            if traits(piece.node).calls and SCALAR not in out:  # beside loops over lanes
                out.insert(0, SCALAR)
            out.append(piece.node)  # needs nothing that a lane computes
            continue
        if piece.place is Place.WHOLE:
            flush()
            node = piece.node
            if piece.inside:
                assert isinstance(node, c.For)
                node = replace(node, body=grouped(piece.inside, lanes, other))
            out.append(node)
            continue
        found = traits(piece.node, other=other)
        if piece.place is not Place.SHARED or (run and not _meet_well(run, piece, found)):
            flush()
        run.append((piece, found))
        if piece.place is not Place.SHARED:
            flush(simd=piece.place is Place.OWN)
    flush()
    return tuple(out)


def _meet_well(run: list[tuple[Piece, Traits]], piece: Piece, found: Traits) -> bool:
    """Whether a piece can join a run: beside calls no compiler may have to choose functions."""
    both = [*(t for _, t in run), found]
    chooses = any(t.calls for t in both) and any(t.uneven for t in both)
    return run[-1][0].apart == piece.apart and not chooses


def _lane_loop(run: list[tuple[Piece, Traits]], lanes: Lanes, simd: bool) -> c.For:
    calls = any(t.calls for _, t in run)
    whole = Traits(calls, uneven=any(t.uneven for _, t in run))
    simd = simd and not any(p.scattered for p, _ in run) and not lanes.is_scalar(whole)
    body = [*[SCALAR] * (calls and not simd), *(p.node for p, _ in run)]
    return lane_loop(lanes.name, lanes.extent, body, simd)


def lane_loop(name: str, extent: int, body: Iterable[c.Statement], simd: bool = False) -> c.For:
    """A loop over numbers from 0 on."""
    return c.For(name, c.Lit("0"), integer(extent), tuple(body), marks=(SIMD,) if simd else ())


def _groups(body: Iterable[c.Statement], lanes: Lanes) -> Iterator[c.For | LaneSum]:
    """All loops over lanes, however deep."""
    stack = list(body)
    while stack:
        node = stack.pop()
        if isinstance(node, LaneSum) or (isinstance(node, c.For) and node.variable == lanes.name):
            yield node
        elif isinstance(node, c.For):
            stack.extend(node.body)


def _inside(group: c.For | LaneSum) -> tuple[c.Statement, ...]:
    return group.body if isinstance(group, c.For) else ()


def _with_arrays(
    body: Iterable[c.Statement], arrays: set[str], lanes: Lanes
) -> tuple[c.Statement, ...]:
    """`arrays` declared in the bodies that compute them, and spelled with a lane."""
    new: dict[str, c.Expression] = {a: c.Index(a, c.Name(lanes.name)) for a in arrays}
    declared: list[c.Statement] = []
    out: list[c.Statement] = []
    for node in body:
        if isinstance(node, LaneSum):
            out.append(renamed(node, new))
        elif not isinstance(node, c.For):
            out.append(node)
        elif node.variable != lanes.name:
            out.append(replace(node, body=_with_arrays(node.body, arrays, lanes)))
        else:
            made = []
            for s in node.body:
                s = renamed(s, new)
                if isinstance(s, c.Declare) and s.name in arrays:
                    declared.append(c.DeclareArray(s.ctype, s.name, lanes.loop.lanes))
                    s = c.Assign(new[s.name], "=", s.value)
                made.append(s)
            out.append(replace(node, body=tuple(made)))
    return *declared, *out


def _each(
    body: Iterable[c.Statement], lanes: Lanes, change: Callable[[Any], Iterable[c.Statement]]
) -> tuple[c.Statement, ...]:
    """A body with `change(s)` in the place of each s but for loops that are not over the lanes."""
    out: list[c.Statement] = []
    for s in body:
        if isinstance(s, c.For) and s.variable != lanes.name:
            out.append(replace(s, body=_each(s.body, lanes, change)))
        else:
            out.extend(change(s))
    return tuple(out)


def _with_rest(s: c.Statement, lanes: Lanes) -> Iterable[c.Statement]:
    """A loop that calls functions cut into whole vectors and a rest of numbers.

    Compilers would choose what the rest is.
    """
    rest = lanes.extent % LANES
    if not (rest and isinstance(s, c.For) and SIMD in s.marks and traits(*s.body).calls):
        return [s]
    full = integer(lanes.extent - rest)
    return replace(s, stop=full), replace(s, start=full, body=_numbers(s.body), marks=())


def _numbers(body: Iterable[c.Statement]) -> tuple[c.Statement, ...]:
    """The body of a loop without vectors, in which loops that call functions have none either."""
    return SCALAR, *map(_marked, body)


def _marked(s: c.Statement) -> c.Statement:
    if isinstance(s, c.For) and traits(*s.body).calls:
        return replace(s, body=_numbers(s.body))
    if isinstance(s, (c.Block, c.Together)):
        return replace(s, body=tuple(map(_marked, s.body)))
    return s


# ---- sums of lanes -------------------------------------------------------------------------------


def _sum_loops(s: LaneSum) -> Iterator[c.For]:
    """Pairwise sums of the lanes `width` apart, as C that every compiler vectorises."""
    brackets = _shows_operator(s.value)

    def at(k: int) -> c.Expression:
        shifted = c.Sum((c.Name(s.lanes),), k * s.width)
        return renamed(s.value, {s.lanes: shifted}) if k else s.value

    def pairs(low: int, high: int) -> c.Expression:
        if high - low == 1:
            return c.Group(at(low)) if brackets else at(low)
        middle = (low + high + 1) // 2
        return c.Pair(pairs(low, middle), pairs(middle, high))

    count, rest = divmod(s.extent, s.width)
    for rounds, terms in ((s.width if count else 0, pairs), (rest, None)):
        if rounds:
            value = at(count) if terms is None else terms(0, count)
            simd = terms is not None
            yield lane_loop(s.lanes, rounds, [c.Assign(s.target, "+=", value)], simd)


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
