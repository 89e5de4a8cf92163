"""Lowering: what gets a buffer, which loops are shared; C against the evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from codegen import agree, c_of

import symgrad as sg
from symgrad.expr.node import Expr, arg, array, bind, const, eye, iota
from symgrad.expr.walk import expand_composites
from symgrad.lower.program import Program, Store, statements
from symgrad.lower.schedule import lower
from symgrad.ops.einsum import einsum
from symgrad.ops.linear import (
    broadcast_to,
    concat,
    gather,
    pad,
    permute,
    reshape,
    scatter_add,
    slice_,
    sum_,
)  # fmt: skip
from symgrad.ops.scan import cumsum, recurrence

VALUES = {"float64": lambda rng, shape: rng.normal(size=shape),
          "float32": lambda rng, shape: rng.normal(size=shape).astype("float32"),
          "int64": lambda rng, shape: rng.integers(-50, 50, shape),
          "int32": lambda rng, shape: rng.integers(-50, 50, shape).astype("int32"),
          "bool": lambda rng, shape: rng.integers(0, 2, shape).astype(bool)}  # fmt: skip


def program(args, *outs) -> Program:
    outs = expand_composites(outs)
    names = [f"x{k}" for k in range(len(args))], [f"y{k}" for k in range(len(outs))]
    return lower(args, outs, *names)


def same(args, *outs, **kwargs) -> Program:
    """Asserts that C and evaluator agree; returns the loop program."""
    rng = np.random.default_rng(len(args))
    agree(args, outs, {a: VALUES[a.dtype](rng, a.shape) for a in args}, **kwargs)
    return program(args, *outs)


def temporaries(p: Program) -> list[str]:
    """Arrays that are neither arguments nor results."""
    return [b.name for b in p.buffers if b.role in ("work", "local")]


def loops(p: Program) -> int:
    return len({id(loop) for _, path in statements(p.body) for loop in path})


def unit_loops(p: Program) -> int:
    return sum(loop.extent == 1 for _, path in statements(p.body) for loop in path)


def stores(p: Program, name: str) -> list[Store]:
    return [s for s, _ in statements(p.body) if isinstance(s, Store) and s.buffer.name == name]


def x_of(*shape: int, number: int = 0, dtype: str = "float64") -> Expr:
    return arg(number, shape, dtype)


# ---- buffers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 3), (40, 3), (2, 5, 3), (2, 3, 2, 4)])
@pytest.mark.parametrize("reverse", [False, True])
def test_scan_along_an_outer_axis_in_the_loop_of_its_producer(shape, reverse):
    """The scan then steps in an outer loop, and keeps its last element for all inner iterations."""
    for axis in range(len(shape)):
        x = x_of(*shape)
        produced = bind("exp", bind("sin", x))
        same([x], bind("tanh", cumsum(produced, axis, reverse)) * produced)
        same([x], bind("tanh", recurrence(bind("cos", x), produced, axis, reverse)) * produced)
