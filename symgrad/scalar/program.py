"""The loop program of a function in scalar form: no loops, a store for each element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from symgrad.diff.modes import drop_stops
from symgrad.expr.node import Expr, const
from symgrad.expr.walk import expand_composites
from symgrad.lower.pipeline import through_passes
from symgrad.lower.program import Draft, Program
from symgrad.lower.scalar import load_of
from symgrad.lower.statements import Fail, Store, Zero
from symgrad.lower.tuning import NEVER, Tuning
from symgrad.options import NOT_OF_SCALARS
from symgrad.scalar import angles, stores
from symgrad.scalar.opening import Opening
from symgrad.scalar.products import reordered
from symgrad.scalar.shortest import ONE, ORDERS, length, shortest, work
from symgrad.scalar.space import NotScalar, Ref, Space
from symgrad.scalar.writing import Writer
from symgrad.scalar.writing import operations as counted
from symgrad.simplify import simplify

SINGULAR_STATUS = 2  # the status of a function whose matrix is singular or not positive definite
_NODES_PER_OPERATION = 40  # that may be made on the way to one
_AHEAD = 1.08  # times as many operations, or nodes, before anything is shortened; then no pass does
_FEW = 20  # nodes that make no difference


def tuned(tuning: Tuning) -> Tuning:
    """Thresholds for a straight line: no vectors, no parts."""
    return replace(tuning, vectors=False, part_statements=NEVER)


def scalar_program(
    args: Sequence[Expr],
    outs: Sequence[Expr],
    arg_names: Sequence[str],
    out_names: Sequence[str],
    tuning: Tuning,
    most: int,
    careful: bool = False,
) -> tuple[Program, list[Expr]]:
    """The program of a graph, with the C names of its arguments and results.

    The results that it computes, as expressions of arrays, come with it.

    most : of operations. Raises NotScalar if there would be more, or for what has no scalar form.
    careful : whether nobody asked for it: NaN and infinities then reach all that they reach in the
        usual form, and `most` is of work, as `choice` counts it
    """
    space, bare, failing, refs, dtypes = as_scalars(args, outs, most, careful)
    if careful and work(space, refs, dtypes) > _AHEAD * most:
        raise NotScalar("it is far longer before it is made shorter")
    refs, count = shortest(space, refs, dtypes, ONE if careful else ORDERS)
    if careful:
        count = work(space, refs, dtypes)
    if count > most:
        raise NotScalar(f"it would have {count} operations, more than {most}")
    draft = Draft()
    inputs = [draft.array(a.shape, a.dtype, "in", n) for a, n in zip(args, arg_names, strict=True)]
    outputs = [draft.array(o.shape, o.dtype, "out", n)
               for o, n in zip(bare, out_names, strict=True)]  # fmt: skip
    buffers = dict(zip(args, inputs, strict=True))

    def leaf(node: Any, place: int) -> Expr:
        return load_of(buffers[node], _index(place, node.shape))

    values = Writer(space, leaf, turns=True).write(refs, dtypes)
    values, body = angles.together(values, draft, tuning)
    body += [Fail(v, SINGULAR_STATUS) for v in values[:failing]]
    places = [(b, k) for b in outputs for k in range(b.size)]
    results = values[failing:]
    blank = stores.mostly_zero(places, results, tuning)
    body += [Zero(b) for b in outputs if b.number in blank]
    for k in stores.order(results):
        b, place = places[k]
        if b.number not in blank or not stores.is_zero(results[k]):
            body.append(Store(b, _index(place, b.shape), results[k]))
    program = draft.program(inputs, outputs, body)
    return through_passes(program, "scalar_program", 1, tuning), bare


def space_for(most: int, careful: bool = False) -> Space:
    """Room for what is made on the way to so many operations."""
    return Space(most * _NODES_PER_OPERATION, careful)


def as_scalars(
    args: Sequence[Expr], outs: Sequence[Expr], most: int, careful: bool = False
) -> tuple[Space, list[Expr], int, list[Ref], list[str]]:
    """Results without composites, and their scalars, behind the conditions of failures.

    careful : as of `scalar_program`
    """
    bare = plain(outs)
    first = int(_AHEAD * most) + _FEW if careful else None  # what cannot be short enough ends soon
    space, failing, refs, dtypes = opened(args, bare, most, careful, first)
    return space, bare, failing, refs, dtypes


def opened(
    args: Sequence[Expr], bare: Sequence[Expr], most: int, careful: bool, first: int | None
) -> tuple[Space, int, list[Ref], list[str]]:
    """The scalars of results that are ready for it, behind the conditions of failures, with the
    number of these.

    first : of nodes that may be made before anything is shortened; None: as many as later
    """
    space = space_for(most, careful)
    opening = Opening(space)
    opening.leaves(args)
    room, space.most = space.most, space.most if first is None else space.count + first
    opening.open(bare)
    space.most = room
    failing = list(opening.matrices.singular)
    refs = failing + [r for o in bare for r in opening.elements(o)]
    dtypes = ["bool"] * len(failing) + [o.dtype for o in bare for _ in range(o.size)]
    return space, len(failing), refs, dtypes


def how_long(args: Sequence[Expr], outs: Sequence[Expr], most: int) -> int | None:
    """The operations of a scalar form; None if there is none, or a longer one."""
    try:
        space, _, _, refs, dtypes = as_scalars(args, outs, most)
    except NotScalar:
        return None
    if len(refs) > most or length(space, refs, dtypes) > 2 * most:
        return None
    count = shortest(space, refs, dtypes)[1]
    return count if count <= most else None


def plain(outs: Sequence[Expr]) -> list[Expr]:
    """Results that are ready to be opened."""
    return expand_composites(drop_stops(simpler(outs)))


def simpler(outs: Sequence[Expr]) -> list[Expr]:
    """Results with powers as products, and nothing expanded yet."""
    off = frozenset({"stable", "linalg", "collect"}) | NOT_OF_SCALARS
    found = simplify(outs, disable=off, enable=frozenset({"strength", "checkpoint"})).outs
    return reordered(found)


def operations(program: Program) -> int:
    """How many operations the C of a program has that is a straight line."""
    return counted([v for s in program.body for v in s.exprs()])


def _index(place: int, shape: tuple[int, ...]) -> tuple[Expr, ...]:
    return tuple(const(int(k), "int64") for k in np.unravel_index(place, shape)) if shape else ()
