"""Loops and branches of a loop program in C: plain loops, vectors, and those shared by threads."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from symgrad.emit import tree as c
from symgrad.emit.blocks import blocks, body_of_block
from symgrad.emit.body import Emitter, statement
from symgrad.emit.expr import ZERO
from symgrad.emit.lanes import SCALAR, SIMD, calls, lane_loop
from symgrad.emit.statements import SERIAL
from symgrad.emit.sums import bounds, extremum, inner_sum, sum_in_lanes
from symgrad.emit.threads import IN_ORDER, PARALLEL, own_arrays, team_mark
from symgrad.emit.tree import integer, uses
from symgrad.lower.statements import Check, If, Let, Loop, While, stores_of
from symgrad.lower.tuning import LANES, SHORT


@statement.register(Loop)
def _loop(s: Loop, e: Emitter, depth: int) -> c.Statement | list[c.Statement]:
    if s.lanes:
        return blocks(s, e, depth)
    e.loop_names[s.index] = c.Name(f"i{s.index.attrs[0]}")
    if e.lanes is not None:
        if s.accumulates:
            return inner_sum(s, e, depth)
        return _for(s, e, body_of_block(s.body, e, depth + 1))
    if s.accumulates:
        adds = any(one.op == "+" for one in stores_of(s))
        return sum_in_lanes(s, e, depth) if adds else extremum(s, e, depth)
    return _outside(s, e, depth)


def _outside(s: Loop, e: Emitter, depth: int) -> c.Statement:
    vector = e.tuning.vectors and s.simd
    outer, e.branchless = e.branchless, e.branchless or vector
    e.path.append(s)
    first = len(s.body) - s.in_order
    body = e.nodes(s.body[:first], depth + 1)
    if s.in_order:
        last = tuple(e.nodes(s.body[first:], depth + 1))
        body.append(c.Block(last, (IN_ORDER,)) if s.shared else c.Together(last))
    e.path.pop()
    e.branchless = outer
    if _only_checks(s):
        return _checks(s, body, e)
    if s.serial and e.tuning.vectors:  # rounds come in order, also where they only add up
        body.insert(0, SERIAL)
    arrays = own_arrays(e, body, team=s.team) if s.shared else []
    called = e.tuning.vectors and calls(*_directly(body))
    if vector and called and (s.stop is not None or s.extent % LANES):
        return _in_vectors(s, e, tuple(body))
    whole = (*[SCALAR] * (called and not vector), *arrays, *body)
    marks: tuple[c.Mark | c.Call, ...] = (SIMD,) if vector else ()
    if s.shared:
        marks = (team_mark(s) if s.members else PARALLEL,)
    return _for(s, e, whole, marks)


def _for(
    s: Loop, e: Emitter, body: tuple[c.Statement, ...], marks: tuple[c.Mark | c.Call, ...] = ()
) -> c.For:
    step = None if s.step == 1 else s.step
    return c.For(f"i{s.index.attrs[0]}", *bounds(s, e), body, step, marks)


def _in_vectors(s: Loop, e: Emitter, body: tuple[c.Statement, ...]) -> c.Together:
    """Where the rest of a loop is no vector: compilers would choose what it is."""
    name, (start, stop) = f"i{s.index.attrs[0]}", bounds(s, e)
    if s.start is None and s.stop is None:
        whole = s.extent - s.extent % LANES
        ends = [whole, *[whole + SHORT] * (s.extent - whole >= SHORT)]
        loops = [
            c.For(name, integer(first), integer(last), body, marks=(SIMD,))
            for first, last in itertools.pairwise([0, *ends])
            if first < last
        ]
        if ends[-1] < s.extent:
            loops.append(c.For(name, integer(ends[-1]), stop, (SCALAR, *body)))
        return c.Together(tuple(loops))
    block, rest = e.fresh(), e.fresh()
    length = stop if start == ZERO else c.Group(c.Binary("-", stop, c.Group(start)))
    vectors = c.Binary("-", stop, c.Binary("%", length, integer(LANES)))
    vector = c.For(name, c.Name(block), c.Sum((c.Name(block),), LANES), body, marks=(SIMD,))
    return c.Together((
        c.Declare("ptrdiff_t", rest, vectors),
        c.For(block, start, c.Name(rest), (vector,), LANES),
        c.For(name, c.Name(rest), stop, (SCALAR, *body)),
    ))  # fmt: skip


def _directly(body: Iterable[c.Statement]) -> Iterator[c.Node]:
    """What runs in a body without a loop around it, the condition of a `while` included."""
    for node in body:
        if isinstance(node, c.If):
            yield node.condition
            yield from _directly((*node.body, *node.orelse))
        elif isinstance(node, c.While):
            yield from (*node.before, node.condition)
        elif isinstance(node, c.Together):
            yield from _directly(node.body)
        elif not isinstance(node, (c.For, c.Block)):
            yield node


# ---- branches ------------------------------------------------------------------------------------


@statement.register(If)
def _if(s: If, e: Emitter, depth: int) -> list[c.Statement]:
    out, condition = e.ahead(s), e.spell(s.condition)
    e.forget()
    return [*out, c.If(condition, e.side(s.then, depth + 1), e.side(s.orelse, depth + 1))]


@statement.register(While)
def _while(s: While, e: Emitter, depth: int) -> list[c.Statement]:
    out = e.ahead(s)
    counter = c.Name(e.fresh() if s.index is None else f"i{s.index.attrs[0]}")
    if s.index is not None:
        e.loop_names[s.index] = counter
    before: tuple[c.Statement, ...] = tuple(e.let(Let(v, once=True)) for v in s.values)
    condition = e.spell(s.condition)
    e.forget()
    body = e.side(s.body, depth + 1)
    if e.tuning.vectors and calls(*before, condition, *_directly(body)):
        before, body = ((SCALAR, *before), body) if before else (before, (SCALAR, *body))
    if e.tuning.vectors:
        body = (SERIAL, *body)
    if s.most is not None:
        leave = c.If(c.Binary("==", counter, integer(s.most)), (c.Return(s.status),))
        body = (leave, *body)
    elif counter.name not in uses(*body).names:
        return [*out, c.While(before, condition, body)]
    loop = c.While(before, condition, (*body, c.Assign(counter, "+=", integer(1))))
    return [*out, c.Together((c.Declare("ptrdiff_t", counter.name, ZERO, const=False), loop))]


# ---- checks --------------------------------------------------------------------------------------


def _only_checks(s: Loop) -> bool:
    return s.is_plain and all(isinstance(part, Check) for part in s.body)


def _checks(s: Loop, nodes: list[c.Statement], e: Emitter) -> c.Together:
    """All checks of a loop, without a branch in it."""
    failed = c.Name(e.fresh())
    body = []
    for node in nodes:
        assert isinstance(node, c.If) and isinstance(node.condition, c.Binary)
        below, above = node.condition.left, node.condition.right
        body.append(c.Assign(failed, "|=", c.Binary("|", c.Group(below), c.Group(above))))
    declared = c.Declare("int", failed.name, ZERO, const=False)
    loop = lane_loop(f"i{s.index.attrs[0]}", s.extent, body)
    return c.Together((declared, loop, c.If(failed, (c.Return(1),))))
