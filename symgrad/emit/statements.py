"""The statements of a loop program other than loops, in C: a function for each kind."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from symgrad.emit import tree as c
from symgrad.emit.body import Emitter, statement
from symgrad.emit.expr import ZERO
from symgrad.emit.lanes import over_lanes, sum_of_lanes
from symgrad.emit.serial import is_serial
from symgrad.emit.tree import integer
from symgrad.expr.node import FLOATS, Expr
from symgrad.lower import cpu
from symgrad.lower import statements as lowered
from symgrad.lower.blocks import is_by_bits
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Store
from symgrad.lower.strides import size_behind, steps_along

_LINE_BYTES = 64  # of a cache
NULL = c.Name("NULL")
SERIAL = c.Mark("SG_SERIAL")


def helper(function: str, dtype: str, *args: c.Expression) -> c.Call:
    """A call of a small function of the file."""
    return c.Call(function, args, dtype, "helpers")


def kernel(template: str, dtype: str, *args: c.Expression) -> c.Call:
    """A call of a kernel of the file, which has a template of its own."""
    return c.Call(f"sg_{template}", args, dtype, "call")


statement.register(lowered.Let)(lambda s, e, depth: e.let(s))


# ---- stores --------------------------------------------------------------------------------------


@statement.register(Store)
def _store(s: Store, e: Emitter, depth: int) -> c.Statement | list[c.Statement]:
    if e.lanes is not None and s.partial is not None:  # the sum over the lanes of one block
        target, value = e.place(s.partial, s.index), e.spell(s.value)
        return [*sum_of_lanes(e.lanes, target, value)]
    value, target = e.spell(s.value), e.place(s.buffer, s.index)
    if s.op in ("=", "+", "*"):
        node = e.assigned(s.buffer, target, "=" if s.op == "=" else f"{s.op}=", value)
        if isinstance(node, c.Assign) and is_serial(s, e):
            node = replace(node, marks=(SERIAL,))
        return node
    if s.op not in ("max", "min"):
        return c.Assign(target, "=", c.Binary(s.op, target, c.Group(value)))
    name = e.fresh()
    # Over all lanes a long chain of selections would keep clang busy for minutes, for no vector.
    in_order = e.lanes is not None and e.lanes.in_order
    if e.branchless and not in_order and is_by_bits(s):
        return c.Assign(target, "=", larger(s, value, target))
    known = c.Name(name)
    change = c.If(exceeds(s, known, target), (c.Assign(target, "=", known),))
    declared = c.Declare(e.target.types[s.value.dtype], name, value)
    return c.Together((declared, change))


def exceeds(s: Store, value: c.Expression, target: c.Expression) -> c.Expression:
    """Whether a value takes the place of a maximum or minimum; a NaN always does."""
    beyond = c.Binary(">" if s.op == "max" else "<", value, target)
    if s.value.dtype not in FLOATS:
        return beyond
    return c.Binary("||", beyond, c.Binary("!=", value, value))


def larger(s: Store, value: c.Expression, target: c.Expression) -> c.Call:
    """The maximum or minimum of two floats as a choice of bits."""
    beyond = c.Binary(">" if s.op == "max" else "<", value, target)
    either = c.Binary("|", c.Group(beyond), c.Group(c.Binary("!=", value, value)))
    return helper("sg_select", s.value.dtype, either, value, target)


@statement.register(lowered.Zero)
def _zero(s: lowered.Zero, e: Emitter, depth: int) -> c.Statement | list[c.Statement]:
    if s.buffer.role == "scalar":
        return e.assigned(s.buffer, e.place(s.buffer, ()), "=", ZERO)
    at: c.Expression = c.Name("sg_k")
    size = s.buffer.size
    if s.index:
        at, size = c.Sum((e.offset(s.buffer, s.index), at)), size_behind(s.buffer, s.index)
    body = (c.Assign(c.Index(s.buffer.name, at), "=", ZERO),)
    return c.For("sg_k", ZERO, integer(size), body)


@statement.register(lowered.Best)
def _best(s: lowered.Best, e: Emitter, depth: int) -> c.Statement:
    name, value = e.fresh(), e.spell(s.value)
    target, best = e.place(s.buffer, s.index), e.place(s.value_buffer, s.index)
    known = c.Name(name)
    beyond: c.Expression = c.Binary(">" if s.op == "argmax" else "<", known, best)
    if s.value.dtype in FLOATS:  # the first NaN
        first = c.Binary("&&", c.Binary("!=", known, known), c.Binary("==", best, best))
        beyond = c.Binary("||", beyond, c.Group(first))
    change = (c.Assign(best, "=", known), c.Assign(target, "=", e.spell(s.position)))
    declared = c.Declare(e.target.types[s.value.dtype], name, value)
    return c.Together((declared, c.If(beyond, change)))


# ---- sums in several parts -----------------------------------------------------------------------


@statement.register(cpu.Flush)
def _flush(s: cpu.Flush, e: Emitter, depth: int) -> c.Statement:
    args = [
        integer(size_behind(s.buffer, s.index)),
        integer(s.partial.lanes or 1),
        e.address(s.partial, s.at),
        e.address(s.buffer, s.index),
    ]
    if ("sg_add_lanes", s.buffer.dtype) in e.carrying:
        args.append(NULL if s.carry is None else e.address(s.carry, ()))
    return c.Do(helper("sg_add_lanes", s.buffer.dtype, *args))


@statement.register(cpu.Merge)
def _merge(s: cpu.Merge, e: Emitter, depth: int) -> c.Statement:
    args = [
        integer(size_behind(s.buffer, s.index)),
        c.Binary("==", e.spell(s.round, c.EQUAL), ZERO),
        e.address(s.part, s.part_index),
        e.address(s.buffer, s.index),
    ]
    if ("sg_merge", s.buffer.dtype) in e.carrying:
        args.append(NULL if s.carry is None else e.address(s.carry, s.carry_index))
    return c.Do(helper("sg_merge", s.buffer.dtype, *args))


# ---- blocks of lanes -----------------------------------------------------------------------------


@statement.register(cpu.Lanes)
def _lanes(s: cpu.Lanes, e: Emitter, depth: int) -> list[c.Statement]:
    block = e.lanes
    assert block is not None
    vectors = s.vectors[block.last]
    block.vector, block.in_order = vectors > 0, s.in_order
    return over_lanes(block, vectors, tuple(e.nodes(s.body, depth)))


@statement.register(cpu.Turns)
def _turns(s: cpu.Turns, e: Emitter, depth: int) -> c.Statement:
    arrays = [c.Name(b.name) for b in (s.angles, s.rests, s.quarters)]
    # Its text comes with sg_turned, for which it takes the angles apart.
    return c.Do(c.Call("sg_turns", (integer(s.angles.size), *arrays)))


@statement.register(lowered.Sines)
def _sines(s: lowered.Sines, e: Emitter, depth: int) -> c.Statement:
    arrays = [c.Name(b.name) for b in (s.angles, s.sines, s.cosines)]
    return c.Do(helper("sg_sines", "float64", integer(s.angles.size), *arrays))


@statement.register(cpu.Powers)
def _powers(s: cpu.Powers, e: Emitter, depth: int) -> c.Statement:
    args = [
        integer(s.bases.size),
        c.Name(s.bases.name),
        c.Lit(e.target.literal(s.exponent, "float64")),
    ]
    return c.Do(helper("sg_powers", "float64", *args, c.Name(s.results.name)))


@statement.register(cpu.Fetch)
def _fetch(s: cpu.Fetch, e: Emitter, depth: int) -> c.Statement:
    """The cache lines of results, which are written when the block is done."""
    assert e.lanes is not None
    point = c.Binary("*", c.Name(f"i{e.lanes.loop.index.attrs[0]}"), integer(s.elements))
    place = c.Sum((c.Name(s.buffer.name), point, c.Name(e.lanes.name)))
    line = _LINE_BYTES // np.dtype(s.buffer.dtype).itemsize
    body = (c.Do(c.Call("SG_PREFETCH", (place,))),)
    end = integer(s.elements * e.lanes.extent)
    return c.For(e.lanes.name, ZERO, end, body, line)


@statement.register(cpu.Rows)
def _rows(s: cpu.Rows, e: Emitter, depth: int) -> c.Statement:
    assert e.lanes is not None
    args: list[c.Expression] = [integer(e.lanes.extent), integer(math.prod(s.lanes.shape))]
    array, lanes = c.Name(s.buffer.name), c.Name(s.lanes.name)
    if s.start is not None:
        function = "sg_take_rows"
        args += [array, c.Name(s.start.name), lanes]
    else:
        block = e.lanes.loop.index
        within = e.loop_names[block]
        e.loop_names[block] = c.Name(f"i{block.attrs[0]}")  # of the first lane
        rows = e.address(s.buffer, s.index)
        e.loop_names[block] = within
        function = "sg_put_rows" if s.write else "sg_turn_rows"
        if s.write:
            args += [lanes, rows, *_steps(s.buffer, (s.index.index(block),))]
        else:
            args += [integer(e.lanes.loop.lanes), rows, lanes]
    return c.Do(helper(function, s.buffer.dtype, *args))


def _steps(buffer: Buffer, axes: tuple[int, ...]) -> list[c.Lit]:
    return [integer(n) for n in steps_along(buffer, axes)]


# ---- what can fail -------------------------------------------------------------------------------


@statement.register(lowered.Check)
def _check(s: lowered.Check, e: Emitter, depth: int) -> c.Statement:
    value = c.Group(e.spell(s.value))
    below, above = c.Binary("<", value, c.Lit(str(-s.size))), c.Binary(">=", value, integer(s.size))
    return c.If(c.Binary("||", below, above), (c.Return(1),))


@statement.register(lowered.Fail)
def _fail(s: lowered.Fail, e: Emitter, depth: int) -> c.Statement:
    return c.If(e.spell(s.condition), (c.Return(s.status),))


@statement.register(lowered.Call)
def _call(s: lowered.Call, e: Emitter, depth: int) -> c.Statement:
    operands = [e.address(b, i) for b, i in (*s.operands, s.target)]
    numbers = [c.Lit(str(int(n))) for n in (*s.dims, *s.flags)]
    call = kernel(s.template, s.target[0].dtype, *operands, *numbers)
    return c.If(c.Binary("!=", call, ZERO), (c.Return(2),))


# ---- products of matrices ------------------------------------------------------------------------


@statement.register(cpu.Panels)
def _panels(s: cpu.Panels, e: Emitter, depth: int) -> c.Statement:
    dtype, in_rows = s.panels.dtype, len(s.panels.shape) == 2
    across, along = _steps(s.buffer, s.axes)
    args = [e.spell(s.count), e.spell(s.inner), e.address(s.buffer, s.first), across]
    if not in_rows:
        args = [integer(s.panels.shape[2]), *args, along, integer(s.skip)]
    args += [integer(s.panels.shape[1]), c.Name(s.panels.name)]  # room for so many summands
    return c.Do(helper("sg_copy_rows" if in_rows else "sg_panels", dtype, *args))


@statement.register(cpu.Tiles)
def _tiles(s: cpu.Tiles, e: Emitter, depth: int) -> c.Statement:
    dtype = s.buffer.dtype
    target = [e.address(s.buffer, s.index), *_steps(s.buffer, s.axes)]
    carry = [NULL, ZERO, ZERO] if ("sg_product", dtype) in e.carrying else []
    if s.carry is not None:
        carry = [e.address(s.carry, s.carry_index), *_steps(s.carry, s.axes)]
    pointers = [e.address(b, ()) for b in (s.left, s.right)]
    numbers = _spelled(e, s.rows, s.columns, s.inner, s.begin, s.diagonal, s.reach)
    length, in_rows = s.left.shape[1], len(s.left.shape) == 2
    steps_left = (length, length, 1) if in_rows else (length, 1, s.left.shape[2])
    strides = map(integer, (*steps_left, s.right.shape[1], s.skip))
    return c.Do(kernel("product", dtype, *pointers, *strides, *numbers, *target, *carry))


@statement.register(cpu.Gemm)
def _gemm(s: cpu.Gemm, e: Emitter, depth: int) -> c.Statement:
    args = _spelled(e, s.rows, s.columns, s.inner, s.begin)
    for m in s.matrices:
        args += [e.address(m.buffer, m.first), *_steps(m.buffer, m.axes)]
    args.pop()  # columns of the target are neighbours
    return c.Do(kernel("gemm", s.target.buffer.dtype, *args))


def _spelled(e: Emitter, *numbers: Expr) -> list[c.Expression]:
    return [e.spell(n) for n in numbers]
