"""Sums that some compilers must not add in vectors: see templates/c99/compilers/serial.h."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.emit.body import Emitter, adds
from symgrad.expr.walk import toposort
from symgrad.lower.scalar import loads
from symgrad.lower.statements import Loop, Store
from symgrad.lower.strides import ascends

_WRITTEN_OUT = 32  # rounds; compilers may write such loops out. gcc does up to 16


def is_serial(s: Store, e: Emitter) -> bool:
    """Whether a loop around short ones, which compilers write out, adds elements of a group in
    another order than memory has."""
    if not (adds(s) and e.path and e.tuning.vectors) or e.lanes is not None:
        return False
    moving = set(toposort(s.index))
    short: list[Loop] = []  # loops inside of the one looked at that do not move the target
    for loop in reversed(e.path):
        if loop.serial:  # which has a mark of its own
            break
        if loop.index not in moving:
            if s.buffer.number in e.added_twice or not _reads_in_order(s, e, short):
                return True
            short.insert(0, loop)
        if loop.extent > _WRITTEN_OUT:
            break
    return False


def _reads_in_order(s: Store, e: Emitter, loops: Sequence[Loop]) -> bool:
    """Whether loops that add to one element read all arrays in the order of memory."""
    # A compiler sees through small arrays to what was stored there, in whatever order.
    reads = [(e.buffers[n.attrs[0]], n.args) for n in loads((s.value,)) if n.args]
    return not loops or all(
        b.role in ("in", "data", "constant") and ascends(b, index, loops) for b, index in reads
    )
