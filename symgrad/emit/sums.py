"""Loops that only add up, or only take maxima, as partial results in lanes.

The order of sums is in the C: no compiler and no vector width changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from symgrad.emit import tree as c
from symgrad.emit.body import Emitter
from symgrad.emit.expr import ZERO
from symgrad.emit.lanes import SCALAR, calls, lane_loop
from symgrad.emit.statements import exceeds, larger
from symgrad.emit.tree import integer
from symgrad.expr.walk import toposort
from symgrad.lazy import dataclass
from symgrad.lower.scalar import GUARD
from symgrad.lower.statements import Let, Loop, Store, stores_of
from symgrad.lower.strides import is_even
from symgrad.lower.tuning import LANES


def bounds(loop: Loop, e: Emitter) -> tuple[c.Expression, c.Expression]:
    """Where the variable of a loop starts and stops."""
    start = ZERO if loop.start is None else e.spell(loop.start)
    return start, integer(loop.extent) if loop.stop is None else e.spell(loop.stop, c.COMPARE)


# ---- sums ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Partial:
    """A sum in lanes: what is added where, and the names of its parts.

    values : an array for what all lanes add, where that is taken in a vector
    """

    ctype: str
    target: c.Expression
    value: c.Expression
    partial: str
    total: str
    carry: str
    values: str

    def lane(self, at: c.Expression) -> c.Index:
        return c.Index(self.partial, at)

    def all_lanes(self) -> c.Expression:
        """The pairwise sum of the eight lanes."""

        def pair(a: int) -> c.Expression:
            return c.Group(c.Binary("+", self.lane(integer(a)), self.lane(integer(a + 4))))

        left, right = (c.Group(c.Binary("+", pair(a), pair(a + 1))) for a in (0, 2))
        return c.Binary("+", left, right)


@dataclass(frozen=True, slots=True)
class _Rounds:
    """A loop in lanes: its variable, lanes and rounds, and what is computed before its stores."""

    index: str
    lane: str
    lanes: int
    full: int
    extent: int
    before: tuple[c.Statement, ...]

    def index_at(self, start: str) -> c.Declare:
        return c.Declare("ptrdiff_t", self.index, c.Sum((c.Name(start), c.Name(self.lane))))

    def over_lanes(self, body: Iterable[c.Statement], simd: bool = False) -> c.For:
        return lane_loop(self.lane, self.lanes, body, simd)

    def rest(self, body: Iterable[c.Statement], scalar: bool) -> list[c.Statement]:
        """What is left over goes to the first lanes."""
        if self.full == self.extent:
            return []
        mark = (SCALAR,) if scalar else ()
        whole = (*mark, *self.before, *body)
        return [c.For(self.index, integer(self.full), integer(self.extent), whole)]

    @property
    def rest_lane(self) -> c.Sum:
        return c.Sum((c.Name(self.index),), -self.full)


def sum_in_lanes(loop: Loop, e: Emitter, depth: int) -> c.Statement:
    """Partial sums in lanes, in an order that no compiler or vector width can change.

    Lanes vectorise without leave to re-associate, and shorten the chain of roundings; blocks of a
    long sum are added with compensation, so that the error does not grow with its length.
    """
    with e.scope():
        nodes = e.nodes(loop.body, depth + 1)
    adds = [n for n in nodes if isinstance(n, c.Assign)]
    called = calls(*nodes)
    branches = any(
        n.op is GUARD for n in toposort([v for s in loop.body for v in s.exprs()], e.names)
    )
    vector = called and not branches and is_even(loop, stores_of(loop), e.buffers)
    position, start, lane = e.fresh(), e.fresh(), e.fresh()
    sums = [
        _Partial(e.target.types[s.buffer.dtype], a.target, a.value, e.fresh(), e.fresh(), e.fresh(),
                 e.fresh() if vector else "")
        for a, s in zip(adds, stores_of(loop), strict=True)
    ]  # fmt: skip
    full = loop.extent // LANES * LANES
    before = tuple(n for n in nodes if not isinstance(n, c.Assign))
    rounds = _Rounds(f"i{loop.index.attrs[0]}", lane, LANES, full, loop.extent, before)
    blocks = _blocks_of(sums, rounds, position, vector, called)
    block = e.tuning.sum_block
    long = loop.extent > block
    full_blocks: c.Statement = blocks(ZERO, integer(full))
    if long:
        full_blocks = _long(sums, rounds, start, block, blocks)
    at = rounds.rest_lane
    rest = rounds.rest([c.Assign(a.lane(at), "+=", a.value) for a in sums], called)
    begin = [part for a in sums for part in _begin(a, long)]
    return c.Block((*begin, full_blocks, *rest, *(_end(a, long) for a in sums)))


def _blocks_of(
    sums: list[_Partial], rounds: _Rounds, position: str, vector: bool, calls: bool
) -> Callable[[c.Expression, c.Expression], c.For]:
    """Full blocks of lanes from one number to another."""
    lane = c.Name(rounds.lane)
    mark = [SCALAR] if calls and not vector else []
    stores = [
        c.Assign(c.Index(a.values, lane), "=", a.value)
        if vector
        else c.Assign(a.lane(lane), "+=", a.value)
        for a in sums
    ]
    body = [*mark, rounds.index_at(position), *rounds.before, *stores]
    inner: list[c.Statement] = [rounds.over_lanes(body, simd=vector)]
    if vector:
        add = [c.Assign(a.lane(lane), "+=", c.Index(a.values, lane)) for a in sums]
        arrays = [c.DeclareArray(a.ctype, a.values, rounds.lanes) for a in sums]
        inner = [*arrays, *inner, rounds.over_lanes(add)]
    return lambda start, stop: c.For(position, start, stop, tuple(inner), rounds.lanes)


def _long(
    sums: list[_Partial],
    rounds: _Rounds,
    start: str,
    block: int,
    blocks: Callable[[c.Expression, c.Expression], c.For],
) -> c.For:
    """Blocks of a long sum, each added to the total with what rounding takes away from that."""
    end, full = f"{start}_end", integer(rounds.full)
    behind = c.Sum((c.Name(start),), block)
    stop = c.Declare("ptrdiff_t", end, c.Conditional(c.Binary("<", behind, full), behind, full))
    body: list[c.Statement] = [stop, blocks(c.Name(start), c.Name(end))]
    body += [_compensated(a, rounds) for a in sums]
    return c.For(start, ZERO, full, tuple(body), block)


def _compensated(a: _Partial, rounds: _Rounds) -> c.Block:
    x, t, e, total = c.Name("sg_x"), c.Name("sg_t"), c.Name("sg_e"), c.Name(a.total)
    lost = c.Group(c.Binary("-", total, c.Group(c.Binary("-", t, e))))
    carry = c.Binary("+", lost, c.Group(c.Binary("-", x, e)))
    return c.Block((
        c.Declare(a.ctype, "sg_x", a.all_lanes()),
        c.Declare(a.ctype, "sg_t", c.Binary("+", total, x)),
        c.Declare(a.ctype, "sg_e", c.Binary("-", t, total)),
        c.If(c.Call("isfinite", (t,), origin="math"), (c.Assign(c.Name(a.carry), "+=", carry),)),
        c.Assign(total, "=", t),
        rounds.over_lanes([c.Assign(a.lane(c.Name(rounds.lane)), "=", ZERO)]),
    ))  # fmt: skip


def _begin(a: _Partial, long: bool) -> list[c.Statement]:
    array = c.DeclareArray(a.ctype, a.partial, LANES, zero=True)
    numbers = [c.Declare(a.ctype, n, ZERO, const=False) for n in (a.total, a.carry) if long]
    return [array, *numbers]


def _end(a: _Partial, long: bool) -> c.Assign:
    value = a.all_lanes()
    if long:
        value = c.Binary("+", value, c.Group(c.Binary("+", c.Name(a.total), c.Name(a.carry))))
    return c.Assign(a.target, "+=", value)


# ---- sums of one lane ----------------------------------------------------------------------------


# A sum that every lane has: type, target and summand, a variable, and one for a few summands.
_Own = tuple[str, c.Expression, c.Expression, str, str]


def inner_sum(loop: Loop, e: Emitter, depth: int) -> c.Together:
    """A sum that every lane has for itself: its loop goes inside the one over the lanes."""
    assert e.lanes is not None
    before: list[c.Statement] = []
    adds: list[_Own] = []
    for s in loop.body:
        if isinstance(s, Let):
            before.append(e.let(s))
            continue
        assert isinstance(s, Store)
        target, value = e.place(s.buffer, s.index), e.spell(s.value)
        adds.append((e.target.types[s.buffer.dtype], target, value, e.fresh(), e.fresh()))
    begin, end = bounds(loop, e)
    start, name = e.fresh(), f"i{loop.index.attrs[0]}"
    block = e.tuning.inner_block
    full = loop.extent // block * block if loop.is_plain and loop.extent > block else 0
    if not e.lanes.vector and calls(*before, *(value for _, _, value, *_ in adds)):
        before.insert(0, SCALAR)
    body: list[c.Statement] = [
        c.Declare(ctype, name, target, const=False) for ctype, target, _, name, _ in adds
    ]
    if full:
        body.append(_inner_blocks(adds, before, name, start, full, block))
    if not full or full < loop.extent:
        rest = [c.Assign(c.Name(name), "+=", value) for _, _, value, name, _ in adds]
        body.append(c.For(name, integer(full) if full else begin, end, (*before, *rest)))
    body += [c.Assign(target, "=", c.Name(name)) for _, target, _, name, _ in adds]
    return c.Together(tuple(body))


def _inner_blocks(
    adds: list[_Own], before: list[c.Statement], name: str, start: str, full: int, block: int
) -> c.For:
    parts = [c.Declare(ctype, part, ZERO, const=False) for ctype, *_, part in adds]
    stores = [c.Assign(c.Name(part), "+=", value) for _, _, value, _, part in adds]
    inner = c.For(name, c.Name(start), c.Sum((c.Name(start),), block), (*before, *stores))
    ends = [c.Assign(c.Name(name), "+=", c.Name(part)) for *_, name, part in adds]
    return c.For(start, ZERO, integer(full), (*parts, inner, *ends), block)


# ---- maxima --------------------------------------------------------------------------------------


def extremum(loop: Loop, e: Emitter, depth: int) -> c.Statement:
    """Maxima in lanes: which of them is the greatest does not depend on the order."""
    with e.scope():
        nodes = e.nodes(loop.body, depth + 1)
    start, lane = e.fresh(), e.fresh()
    lanes, index = e.tuning.extremum_lanes, f"i{loop.index.attrs[0]}"
    full = loop.extent // lanes * lanes
    extrema = []
    for s, n in zip(stores_of(loop), (n for n in nodes if isinstance(n, c.Together)), strict=True):
        declared, change = n.body
        assert isinstance(declared, c.Declare) and isinstance(change, c.If)
        extrema.append((s, declared, e.place(s.buffer, s.index), e.fresh()))
    before = tuple(n for n in nodes if not isinstance(n, c.Together))
    rounds = _Rounds(index, lane, lanes, full, loop.extent, before)

    def taken(at: c.Expression) -> list[c.Statement]:
        out: list[c.Statement] = []
        for s, declared, _, partial in extrema:
            place = c.Index(partial, at)
            out += [declared, c.Assign(place, "=", larger(s, c.Name(declared.name), place))]
        return out

    at = c.Name(lane)
    begin = [c.Assign(c.Index(partial, at), "=", target) for *_, target, partial in extrema]
    block = rounds.over_lanes([rounds.index_at(start), *before, *taken(at)], simd=True)
    end = [
        c.If(
            exceeds(s, c.Index(partial, at), target), (c.Assign(target, "=", c.Index(partial, at)),)
        )
        for s, _, target, partial in extrema
    ]
    return c.Block((
        *(c.DeclareArray(d.ctype, partial, lanes) for _, d, _, partial in extrema),
        rounds.over_lanes(begin),
        c.For(start, ZERO, integer(full), (block,), lanes),
        *rounds.rest(taken(rounds.rest_lane), calls(*nodes)),
        rounds.over_lanes(end),
    ))  # fmt: skip
