"""Which loops outside of lanes are vectors, and which add up or take maxima in partial results.

Decided where a program has its places: what is a variable of each round is known then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from symgrad.expr.node import FLOATS, Expr
from symgrad.expr.walk import toposort
from symgrad.lower.lanes import only_adds
from symgrad.lower.program import Program, rebuilt, walk
from symgrad.lower.scalar import GUARD, is_next, loads
from symgrad.lower.statement import Statement, is_flat
from symgrad.lower.statements import Loop, Store, stores_of
from symgrad.lower.strides import is_even
from symgrad.lower.tuning import COSTLY, LANES, SHORT, Tuning

_EXTREMA = ("max", "min")


def mark_vectors(program: Program, threads: int, tuning: Tuning) -> Program:
    """Loops whose rounds are independent and worth a vector, and those that only accumulate."""
    marks: dict[int, dict[str, bool]] = {}
    for s, path, _ in walk(program.body):
        if not isinstance(s, Loop) or s.lanes:
            continue
        stores = stores_of(s)
        if not stores or len(stores) < len(s.body):
            continue
        if any(loop.lanes for loop in path):
            if only_adds(stores, s.index):
                marks[id(s)] = {"accumulates": True}
        elif _is_sum(s, stores) or _is_extremum(s, stores, tuning):
            marks[id(s)] = {"accumulates": True}
        else:
            simd = s.simd or _is_elementwise(s, stores, tuning)
            simd = simd and _is_certain(s, stores, program)
            if simd != s.simd:
                marks[id(s)] = {"simd": simd}
    if not marks:
        return program

    def change(old: Any, new: Any) -> Sequence[Statement]:
        return [replace(new, **marks[id(old)]) if id(old) in marks else new]

    return replace(program, body=rebuilt(program.body, change))


def _accumulates(loop: Loop, stores: Sequence[Store]) -> bool:
    """Whether the rounds of a loop add to elements that it does not move, or take maxima."""
    still = not any(loop.index in toposort(s.index) for s in stores)
    return loop.is_plain and not loop.serial and still


def _is_sum(loop: Loop, stores: Sequence[Store]) -> bool:
    added = all(s.op == "+" and s.buffer.dtype in FLOATS for s in stores)
    return loop.extent >= 2 * LANES and added and _accumulates(loop, stores)


def _is_extremum(loop: Loop, stores: Sequence[Store], tuning: Tuning) -> bool:
    if loop.extent < 2 * tuning.extremum_lanes or not _accumulates(loop, stores):
        return False
    if not all(s.op in _EXTREMA and s.buffer.dtype in FLOATS for s in stores):
        return False
    return not any(n.op is GUARD for n in toposort([s.value for s in stores]))


def _is_elementwise(loop: Loop, stores: Sequence[Store], tuning: Tuning) -> bool:
    """Whether the rounds of a loop are independent of each other, and worth vectorising.

    Each round stores to elements of its own, and reads of what the loop writes only these. Short
    loops are worth it for functions such as exp.
    """
    if loop.serial or loop.extent < tuning.vector_from_rounds:
        return False
    nodes = toposort([v for s in stores for v in s.exprs()])
    if loop.extent < 2 * LANES and all(n.op.cost < COSTLY for n in nodes):
        return False
    # A part that must not be evaluated everywhere keeps its branch.
    if any(n.op is GUARD for n in nodes):
        return False
    written: dict[int, tuple[Expr, ...]] = {}
    for s in stores:
        if not _is_own(s, loop.index) or written.setdefault(s.buffer.number, s.index) != s.index:
            return False
    reads = loads(tuple(v for s in stores for v in s.exprs()))
    return all(n.args == written.get(n.attrs[0], n.args) for n in reads)


def _is_certain(loop: Loop, stores: Sequence[Store], program: Program) -> bool:
    """Whether functions that a loop calls, if any, are those of vectors whatever stands around it.

    Their last bits differ from those of numbers, and compilers choose where they may.
    """
    nodes = toposort([v for s in stores for v in s.exprs()])
    if all(n.op.cost < COSTLY for n in nodes):
        return True
    return loop.extent >= SHORT and is_even(loop, stores, program.buffers)


def _is_own(s: Store, index: Expr) -> bool:
    """Whether each round of a loop stores to an element of its own."""
    extremum = s.op in _EXTREMA and s.buffer.dtype in FLOATS  # by choices of bits
    if s.op not in ("=", "+", "*") and not extremum:
        return False
    moves = any(is_next(s.index[a], index) for a in s.buffer.kept_axes)
    moves = moves or is_flat(s.buffer, s.index, index)
    return moves or (s.op == "=" and s.buffer.role == "scalar")
