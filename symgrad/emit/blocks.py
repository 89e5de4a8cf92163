"""Loops over points in blocks of lanes, and the chunks of blocks that threads share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.emit import tree as c
from symgrad.emit.body import Emitter
from symgrad.emit.expr import ZERO
from symgrad.emit.lanes import SCALAR, Block, calls
from symgrad.emit.threads import PARALLEL, own_arrays
from symgrad.emit.tree import integer
from symgrad.lower.program import statements
from symgrad.lower.statements import Loop


def blocks(loop: Loop, e: Emitter, depth: int) -> list[c.Statement]:
    """A loop in blocks of lanes: the full blocks, then the shorter last one."""
    out: list[c.Statement] = []
    full = loop.extent if loop.again else loop.extent // loop.lanes * loop.lanes
    for start, stop, extent in ((0, full, loop.lanes), (full, loop.extent, loop.extent - full)):
        if start < stop:
            body = _block(loop, e, depth, extent)
            if not loop.chunks:
                body += _flush(loop, e, depth, stop - start, extent)
                out.append(_over_blocks(loop, integer(start), integer(stop), stop, extent, body))
                continue
            first: c.Expression = c.Binary("*", c.Name(_chunk(loop)), integer(loop.chunk_points))
            end: c.Expression = c.Name(f"{_chunk(loop)}_stop")
            if start:  # the shorter block is part of the last chunk
                first = c.Conditional(_before_last(loop), integer(stop), integer(start))
                end = integer(stop)
            out.append(_over_blocks(loop, first, end, stop, extent, body))
    if loop.chunks:
        return [_chunks(loop, full, out, e, depth)]
    return out + e.nodes(loop.flush, depth)


def _block(loop: Loop, e: Emitter, depth: int, extent: int) -> tuple[c.Statement, ...]:
    """The body of a loop for so many lanes. What it declares is declared again in the other one."""
    number = loop.index.attrs[0]
    e.lanes = Block(loop, f"l{number}", extent)
    e.loop_names[loop.index] = c.Sum((c.Name(f"i{number}"), c.Name(e.lanes.name)))
    e.branchless, defined = True, e.defined.copy()
    body = body_of_block(loop.body, e, depth + 1)
    e.lanes, e.branchless, e.defined = None, False, defined
    return body


def body_of_block(body: Sequence[Any], e: Emitter, depth: int) -> tuple[c.Statement, ...]:
    """Loops over lanes and what stands between them, behind the arrays that they set."""
    assert e.lanes is not None
    outer, e.lanes.arrays = e.lanes.arrays, []
    with e.scope():
        nodes = e.nodes(body, depth)
    arrays, e.lanes.arrays = e.lanes.arrays, outer
    called = calls(*(n for n in nodes if isinstance(n, c.Declare)))  # beside loops over lanes
    return (*arrays, *[SCALAR] * called, *nodes)


def _flush(loop: Loop, e: Emitter, depth: int, points: int, step: int) -> tuple[c.Statement, ...]:
    """What follows on every few blocks."""
    between = loop.flush_blocks * loop.lanes if loop.flush else 0
    if not loop.flush or between >= points:
        return ()
    done = c.Group(c.Sum((c.Name(f"i{loop.index.attrs[0]}"),), step))
    condition = c.Binary("==", c.Binary("%", done, integer(between)), ZERO)
    return (c.If(condition, tuple(e.nodes(loop.flush, depth))),)


def _over_blocks(
    loop: Loop,
    start: c.Expression,
    stop: c.Expression,
    end: int,
    extent: int,
    body: tuple[c.Statement, ...],
) -> c.For:
    """The loop over blocks; where points before `end` are no whole blocks, the last overlaps."""
    name = f"i{loop.index.attrs[0]}"
    if end % extent == 0:
        return c.For(name, start, stop, body, extent)
    following, last = c.Name(f"{name}_next"), integer(end - extent)
    value = c.Conditional(c.Binary("<", following, last), following, last)
    return c.For(following.name, start, stop, (c.Declare("ptrdiff_t", name, value), *body), extent)


# ---- chunks --------------------------------------------------------------------------------------


def _chunk(loop: Loop) -> str:
    return f"i{loop.index.attrs[0]}_chunk"


def _before_last(loop: Loop) -> c.Expression:
    return c.Binary("<", c.Name(_chunk(loop)), integer(loop.chunks - 1))


def _chunks(loop: Loop, full: int, out: list[c.Statement], e: Emitter, depth: int) -> c.For:
    """A loop over chunks of blocks, which threads share; its arrays are those of a chunk."""
    assert loop.chunk is not None
    name = _chunk(loop)
    e.loop_names[loop.chunk] = c.Name(name)
    body = out + e.nodes(loop.flush, depth)
    sums = {s.partial.number for s, _ in statements(loop.flush)}
    points = c.Binary("*", c.Group(c.Sum((c.Name(name),), 1)), integer(loop.chunk_points))
    stop = c.Conditional(_before_last(loop), points, integer(full))
    first = c.Declare("ptrdiff_t", f"{name}_stop", stop)
    whole = (first, *own_arrays(e, body, sums), *body)
    return c.For(name, ZERO, integer(loop.chunks), whole, marks=(PARALLEL,))
