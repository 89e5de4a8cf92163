"""From a graph to its loop program: kernels, loops, and passes from program to program.

The passes are listed here, in their order, in two levels. What the portable ones leave can be
carried to any machine; those of the CPU make vectors of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from symgrad.expr.node import Expr
from symgrad.lower import verify
from symgrad.lower.buffers import place, shrink
from symgrad.lower.contract import split_contractions
from symgrad.lower.kernel import Kernel
from symgrad.lower.kernels import Kernels
from symgrad.lower.lanes import cut_into_lanes
from symgrad.lower.program import Program
from symgrad.lower.schedule import Scheduler
from symgrad.lower.sums import leave_out_zeros, split_sums
from symgrad.lower.tuning import HOST_TUNING, Tuning

Pass = Callable[[Program, int, Tuning], Program]

# Each leaves the program alone that it is given, and its result can be verified.
PORTABLE = (shrink,)
CPU = (cut_into_lanes, leave_out_zeros, split_sums)
FINISH = (place,)


def passes(tuning: Tuning) -> tuple[Pass, ...]:
    """What a machine's programs go through."""
    return (*PORTABLE, *(CPU if tuning.vectors else ()), *FINISH)


def lower(
    args: Sequence[Expr],
    outs: Sequence[Expr],
    arg_names: Sequence[str],
    out_names: Sequence[str],
    *,
    threads: int = 1,
    blas: bool = False,
    tuning: Tuning = HOST_TUNING,
) -> Program:
    """The loop program of a graph without composites and stop_gradients.

    Parameters are the argument nodes and results with the C names they will have, how many threads
    may share a loop, whether a BLAS multiplies large matrices, and the thresholds.
    """
    kernels = Kernels(args, split_contractions(outs, tuning), arg_names, out_names, blas, tuning)
    kernels.kernels = _checks_first(kernels.kernels)
    scheduler = Scheduler(kernels, threads)
    body = scheduler.nest(kernels.kernels, {})
    inputs = kernels.inputs + [b for b in kernels.data if b.role == "data"]
    program = Program(inputs, kernels.outputs, kernels.buffers, body, -1, kernels.indices)
    verify.after("nest", program, tuning)
    for change in passes(tuning):
        program = change(program, threads, tuning)
        verify.after(change.__name__, program, tuning)
    return program


def _checks_first(kernels: list[Kernel]) -> list[Kernel]:
    """Checks of given indices before everything else: they keep no other loops apart."""
    written = {k.buffer.number for k in kernels}

    def early(k: Kernel) -> bool:
        return k.barrier and not any(number in written for number, _ in k.reads())

    return [k for k in kernels if early(k)] + [k for k in kernels if not early(k)]
