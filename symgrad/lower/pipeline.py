"""From a graph to its loop program: kernels, loops, and passes from program to program.

The passes are listed here, in their order, in two levels. What the portable ones leave can be
carried to any machine; those of the CPU make chunks, tiles and vectors of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from symgrad.expr.node import Expr
from symgrad.expr.walk import toposort
from symgrad.lower import verify
from symgrad.lower.blocks import loop_over_lanes
from symgrad.lower.buffers import place, shrink
from symgrad.lower.elements import Shared
from symgrad.lower.kernel import Kernel
from symgrad.lower.kernels import Kernels
from symgrad.lower.lanes import cut_into_lanes
from symgrad.lower.parts import cut_into_parts
from symgrad.lower.product import multiply_in_loops
from symgrad.lower.program import Program
from symgrad.lower.rounds import open_single_rounds
from symgrad.lower.schedule import Scheduler
from symgrad.lower.stream import open_streams
from symgrad.lower.sums import leave_out_zeros, split_sums
from symgrad.lower.tiles import multiply_in_tiles
from symgrad.lower.tuning import HOST_TUNING, Tuning
from symgrad.lower.values import name_values
from symgrad.lower.vectors import mark_vectors
from symgrad.ops.checks import failures, status_numbers

Pass = Callable[[Program, int, Tuning], Program]

# Each leaves the program alone that it is given, and its result can be verified.
CPU = (cut_into_lanes, leave_out_zeros, split_sums)
FINISH = (place, open_single_rounds)


def passes(tuning: Tuning) -> tuple[Pass, ...]:
    """What a machine's programs go through."""
    if not tuning.vectors:
        return (multiply_in_loops, shrink, *FINISH, name_values, cut_into_parts)
    last = (mark_vectors, name_values, loop_over_lanes, cut_into_parts)
    return (open_streams, multiply_in_tiles, shrink, *CPU, *FINISH, *last)


def lower(
    args: Sequence[Expr],
    outs: Sequence[Expr],
    arg_names: Sequence[str],
    out_names: Sequence[str],
    *,
    threads: int = 1,
    blas: bool = False,
    tuning: Tuning = HOST_TUNING,
    statuses: Mapping[Any, int] | None = None,
    behind: Sequence[Expr] = (),
) -> Program:
    """The loop program of a graph without composites and stop_gradients.

    Parameters are the argument nodes and results with the C names they will have, how many threads
    may share a loop, whether a BLAS multiplies large matrices, the thresholds, the statuses of
    checks (numbered here if they are not given), and checks that come behind all results.
    """
    if statuses is None:
        statuses = status_numbers(failures(toposort(outs)))
    shared = Shared(statuses=statuses)
    kernels = Kernels(blas, tuning, shared)
    inputs, outputs = kernels.graph(args, outs, arg_names, out_names, behind)
    kernels.kernels = _needed(kernels.kernels)
    variables = {i for k in kernels.kernels for i in k.variables}
    kernels.together = [pair for pair in kernels.together if variables.issuperset(pair)]
    body = Scheduler(kernels).body()
    inputs = inputs + [b for b in shared.data if b.role == "data"]
    program = kernels.draft.program(inputs, outputs, body)
    return through_passes(program, "nest", threads, tuning)


def through_passes(program: Program, made_by: str, threads: int, tuning: Tuning) -> Program:
    """What all passes make of a program; it is verified as it comes and behind each change."""
    verify.after(made_by, program, tuning)
    for change in passes(tuning):
        before, program = program, change(program, threads, tuning)
        if program is not before:
            verify.after(change.__name__, program, tuning)
    return program


def _needed(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Without those whose values nobody reads: elements of a constant are known without a copy."""
    read: set[int] = set()
    found: list[Kernel] = []
    for k in reversed(kernels):
        if k.is_empty:
            continue
        if k.barrier or any(b.role == "out" or b.number in read for b in k.writes()):
            read.update(number for number, _ in k.reads)
            found.append(k)
    return found[::-1]
