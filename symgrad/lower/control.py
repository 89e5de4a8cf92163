"""Branches and loops: the kernels of control nodes, with those of their bodies inside.

A body is a graph of its own, and so are its kernels: its loops are fused and cut as everywhere, but
never with what stands around the branch or the loop. What it reads of its operands it reads where
they are: a row of `xs` is an index, not a copy.

A carry is an array that the rounds have in common. A round takes what it reads of it in an array
of its own before anything new is stored there; where each element only follows from the old one in
its place, a loop takes and stores one after the other, and that array becomes a variable.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from symgrad.errors import InternalError
from symgrad.expr.node import Expr, const
from symgrad.expr.op import Kind, Op
from symgrad.expr.walk import toposort
from symgrad.lower.kernel import Control
from symgrad.lower.scalar import load_of, loads
from symgrad.lower.statement import Buffer, Statement
from symgrad.lower.statements import If, Loop, While, Zero
from symgrad.ops.body import Body, item
from symgrad.ops.checks import nothing_but_checks
from symgrad.ops.control import SCAN, SWITCH, WHILE
from symgrad.ops.elementwise import CONVERT, less_equal, minimum

if TYPE_CHECKING:
    from symgrad.lower.kernels import Kernels

# `whole` are the positions of results of which rows are read that no round has made.
Results = Mapping[int, Expr]  # the results of a node that are read, by position
Where = tuple[Buffer, tuple[Expr, ...]]  # an array, or the part of it behind an index
Positions = frozenset[int]  # of results that are nothing but checks
First = Mapping[Expr, Where]  # where a node has to be in the end: an output, or a row of ys


def read_often(node: Expr) -> Sequence[Expr]:
    """The operands that bodies read, perhaps in each round: better computed before."""
    return _READ_OFTEN[node.op](node.args, *node.attrs) if node.op in _READ_OFTEN else ()


def add(
    kernels: Kernels,
    node: Expr,
    readers: Mapping[Expr, Sequence[Expr]],
    outs: Collection[Expr],
    first: First,
) -> None:
    """The kernels of a control node; its results are in `kernels.stored` then.

    readers : of each node of the graph; outs : its results, of which `first` have a place

    Raises
    ------
    InternalError
        No body stands for what only one side needs.
    """
    if node.op not in _ADD:
        raise InternalError(f"{node.name} was not made a switch before lowering")
    results = {r.attrs[0]: r for r in readers[node]}
    zeros = nothing_but_checks(node, kernels.zeros)
    for k in zeros.intersection(results):  # they are made, but not stored
        kernels.be_zero(results[k])
    whole = {k for k, r in results.items() if r in outs or not all(map(_reads_rows(r), readers[r]))}
    _ADD[node.op](kernels, node, results, first, whole, zeros)


def _reads_rows(result: Expr) -> Callable[[Expr], bool]:
    """Whether a node reads no more rows of a result than there were rounds."""
    loop = result.args[0]
    if loop.op is SCAN:
        count = loop.args[0] if loop.attr("counted") else None
    else:
        count = _rounds_of(loop) if loop.op is WHILE else None

    def reads(user: Expr) -> bool:
        if user.op is not SCAN or not user.attr("counted") or user.args[0] is not count:
            return False
        return result not in user.args[: 1 + user.attr("consts") + user.attr("carry")]

    return reads


# ---- loops ---------------------------------------------------------------------------------------


def _scan(
    kernels: Kernels, node: Expr, results: Results, first: First, whole: set[int], zeros: Positions
) -> None:
    body, consts, carry, length, reverse, counted = node.attrs
    operands = list(node.args)
    last: Expr = const(length, "int64")
    stop = None
    if counted:
        count = operands.pop(0)
        last = stop = kernels.element(count, ())
        if not _is_rounds(count, length):
            last = stop = minimum(stop, length)
    checks = zeros.intersection(results)
    alive = [k for k in _alive(body, consts, carry, results) if k not in zeros]
    stored = {k: r for k, r in results.items() if k not in checks}
    states = _states(kernels, operands[consts : consts + carry], alive, stored, first)
    ys = _arrays(kernels, stored, first, carry)
    if length and (states or ys or checks):
        t = kernels.fresh()
        kernels.shared.rounds[t] = length
        row = last - const(1, "int64") - t if reverse else t
        inner = kernels.inside()
        _give(kernels, inner, body.params, operands[:consts])
        for p, x in zip(body.params[consts + carry :], operands[consts + carry :], strict=True):
            inner.given[p] = functools.partial(_row, kernels, x, row)
        _be_zero(inner, body.params[consts : consts + carry], zeros)
        _round(inner, body, consts, states, ys, row, checks)

        def made(statements: Sequence[Statement]) -> list[Statement]:
            cleared = [Zero(*y) for k, y in ys.items() if counted and k in whole]
            serial = bool(states or checks)
            return [*cleared, Loop(t, length, statements, stop=stop, serial=serial)]

        exprs = (last,)
        written = [*states.values(), *_buffers(ys)]
        _keep(kernels, [inner], written, states.values(), exprs, made)
    _hand_out(kernels, stored, first, {**_everywhere(states), **ys})


def _while(
    kernels: Kernels, node: Expr, results: Results, first: First, whole: set[int], zeros: Positions
) -> None:
    test, body, consts, limit = node.attrs
    fixed, start = node.args[:consts], node.args[consts:]
    rounds = len(start)  # the position of their number
    used = {k if k < rounds else k - 1: r for k, r in results.items() if k != rounds}
    checks = zeros.intersection(results)
    alive = [k for k in _alive(body, consts, rounds, used, test.outs) if k not in zeros]
    stored = {k: r for k, r in results.items() if k not in checks}
    states = _states(kernels, start, alive, stored, first)
    ys = _arrays(kernels, stored, first, rounds + 1)
    t = kernels.fresh()
    kernels.shared.rounds[t] = math.inf if limit is None else limit
    inner = kernels.inside()
    _give(kernels, inner, body.params, fixed)
    _be_zero(inner, body.params[consts:], zeros)
    if limit != 0:
        made_ys = {k - 1: y for k, y in ys.items()}
        _round(inner, body, consts, states, made_ys, t, {k - (k > rounds) for k in checks})
    done = {}
    if rounds in results:
        count = done[rounds] = kernels.work((), "int64")
        kernels.set(count, const(0, "int64"))
        inner.put(count, (), t + const(1, "int64"))
    tests, conditions = _tests(kernels, node, states)
    condition = conditions[0]
    again: list[Buffer] = []
    if tests[0].kernels:
        go = kernels.work((), "bool")
        again = [go]
        for tester, value in zip(tests, conditions, strict=True):
            tester.put(go, (), value)
        condition = load_of(go, ())

    def made(
        before: Sequence[Statement], behind: Sequence[Statement], inside: Sequence[Statement]
    ) -> list[Statement]:
        cleared = [Zero(*y) for k, y in ys.items() if k in whole]
        loop = While(condition, [*inside, *behind], limit, t)
        return [*cleared, *before, loop]

    carried = [*states.values(), *done.values()]
    _keep(kernels, [*tests, inner], [*carried, *_buffers(ys), *again], carried, conditions, made)
    _hand_out(kernels, stored, first, {**_everywhere(states), **ys, **_everywhere(done)})


def _tests(
    kernels: Kernels, node: Expr, states: Mapping[int, Buffer]
) -> tuple[list[Kernels], list[Expr]]:
    """The test of a while loop twice, before the loop and behind a round, and its values."""
    test, _, consts, _ = node.attrs
    tests = [kernels.inside(), kernels.inside()]
    conditions = []
    for tester in tests:
        _give(kernels, tester, test.params, node.args[:consts])
        for k, state in states.items():
            tester.stored[test.params[consts + k]] = state
        (value,) = tester.values(test.outs)
        conditions.append(tester.element(value, ()))
    return tests, conditions


def _be_zero(inner: Kernels, carry: Sequence[Expr], zeros: Positions) -> None:
    """Have a round know which of the numbers it is handed are 0, being checks."""
    for k, param in enumerate(carry):
        if k in zeros:
            inner.be_zero(param)


def _is_rounds(count: Expr, most: int) -> bool:
    """Whether a count is the number of rounds of a loop that has no more than `most`."""
    if count.op.kind is not Kind.ITEM or count.args[0].op is not WHILE:
        return False
    loop = count.args[0]
    limit = loop.attr("limit")
    return limit is not None and limit <= most and count is _rounds_of(loop)


def _rounds_of(loop: Expr) -> Expr:
    """The number of rounds of a while loop."""
    return item(loop, len(loop.args) - loop.attr("consts"))


def _row(kernels: Kernels, x: Expr, row: Expr, index: tuple[Expr, ...]) -> Expr:
    return kernels.element(x, (row, *index))


def _alive(
    body: Body, consts: int, carry: int, results: Iterable[int], others: Sequence[Expr] = ()
) -> list[int]:
    """The positions in the carry of what a result depends on, or `others` that are computed."""
    place = {p: k for k, p in enumerate(body.params[consts : consts + carry])}
    alive: set[int] = {k for k in results if k < carry}
    found = -1
    while found < len(alive):
        found = len(alive)
        outs = [body.outs[k] for k in {*alive, *results}]
        alive.update(place[n] for n in toposort([*outs, *others]) if n in place)
    return sorted(alive)


def _states(
    kernels: Kernels, start: Sequence[Expr], alive: Sequence[int], results: Results, first: First
) -> dict[int, Buffer]:
    """Arrays that the rounds have in common, with what the first one finds there."""
    states = {}
    for k in alive:
        node = start[k]
        out, part = first.get(results[k], (None, ())) if k in results else (None, ())
        large = out is not None and not part and out.size > kernels.tuning.carried_elements
        states[k] = out if large and out is not None else kernels.work(node.shape, node.dtype)
        kernels.set(states[k], node)
    return states


def _round(
    inner: Kernels,
    body: Body,
    consts: int,
    states: Mapping[int, Buffer],
    ys: Mapping[int, Where],
    row: Expr,
    checks: Collection[int],
) -> None:
    """One round: what it reads of the carry, what it computes, and what it stores at the end."""
    params = body.params[consts:]
    outs = {k: body.outs[k] for k in (*ys, *states)}
    first = [body.outs[k] for k in sorted(checks)]
    needed = set(toposort(outs.values()))
    for k, state in states.items():
        passed_on = outs[k] is params[k] or params[k] not in needed
        inner.stored[params[k]] = state if passed_on else inner.taken(state)
    rows = [(y, (*part, row)) for y, part in ys.values()]
    values = dict(zip(outs, inner.values(list(outs.values()), rows, first), strict=True))
    for k, state in states.items():
        if outs[k] is not params[k]:
            inner.set(state, values[k], replaces=True)


# ---- branches ------------------------------------------------------------------------------------


def _switch(
    kernels: Kernels, node: Expr, results: Results, first: First, whole: set[int], zeros: Positions
) -> None:
    index, *operands = node.args
    (bodies,) = node.attrs
    checks = zeros.intersection(results)
    stored = {k: r for k, r in results.items() if k not in checks}
    targets = _arrays(kernels, stored, first, 0)
    sides = []
    for body in bodies:
        inner = kernels.inside()
        _give(kernels, inner, body.params, operands)
        first_done = [body.outs[k] for k in sorted(checks)]
        inner.values([body.outs[k] for k in targets], list(targets.values()), first_done)
        sides.append(inner)
    conditions: list[Expr] = []  # that it is this side, or one before it
    if len(bodies) == 2 and index.op is CONVERT and index.args[0].dtype == "bool":
        sides.reverse()
        conditions = [kernels.element(index.args[0], ())]
    else:
        at = kernels.element(index, ())
        conditions = [less_equal(at, k) for k in range(len(bodies) - 1)]

    def made(*sides: Sequence[Statement]) -> Sequence[Statement]:
        *others, whole = sides
        for condition, side in zip(reversed(conditions), reversed(others), strict=True):
            whole = [If(condition, side, whole)]
        return whole

    _keep(kernels, sides, _buffers(targets), (), conditions, made)
    _hand_out(kernels, stored, first, targets)


# ---- what they have in common --------------------------------------------------------------------


def _give(
    kernels: Kernels, inner: Kernels, params: Sequence[Expr], operands: Sequence[Expr]
) -> None:
    """Parameters that are read where the operands are."""
    for p, operand in zip(params, operands, strict=False):
        if operand in kernels.zeros:
            inner.be_zero(p)
        elif operand in kernels.stored:
            inner.stored[p] = kernels.stored[operand]
        else:
            inner.given[p] = functools.partial(kernels.element, operand)


def _arrays(kernels: Kernels, results: Results, first: First, begin: int) -> dict[int, Where]:
    """Where the results from position `begin` on are put."""
    return {
        k: first.get(r) or (kernels.work(r.shape, r.dtype), ())
        for k, r in sorted(results.items())
        if k >= begin
    }


def _buffers(places: Mapping[int, Where]) -> list[Buffer]:
    return [buffer for buffer, _ in places.values()]


def _everywhere(buffers: Mapping[int, Buffer]) -> dict[int, Where]:
    """Whole arrays."""
    return {k: (b, ()) for k, b in buffers.items()}


def _keep(
    kernels: Kernels,
    bodies: Sequence[Kernels],
    written: Iterable[Buffer],
    carried: Iterable[Buffer],
    exprs: Iterable[Expr],
    made: Callable[..., Sequence[Statement]],
) -> None:
    """The kernel itself."""
    every = list(written)
    read = {b.number for b in carried}
    read |= {n.attrs[0] for n in loads(tuple(exprs))} - {b.number for b in every}
    own = min(inner.begin for inner in bodies)
    for inner in bodies:
        read |= {number for k in inner.kernels for number, _ in k.reads if 0 <= number < own}
    uses = [b for b in kernels.draft.buffers if b.number in read]
    target = every[0] if every else kernels.work((), "bool")
    kernels.kernels.append(
        Control(target, (), (), (), {}, bodies=tuple(bodies), build=made, uses=uses, results=every)
    )


def _hand_out(
    kernels: Kernels, results: Results, first: First, places: Mapping[int, Where]
) -> None:
    """Results are read where they are, and copied to where they have to be in the end."""
    for k, result in results.items():
        buffer, part = places[k]
        if part:
            kernels.given[result] = functools.partial(_behind, buffer, part)
        else:
            kernels.stored[result] = buffer
        out = first.get(result)
        if out is not None and out != places[k]:
            kernels.set(out[0], result, *out[1])


def _behind(buffer: Buffer, part: tuple[Expr, ...], index: tuple[Expr, ...]) -> Expr:
    return load_of(buffer, (*part, *index))


_ADD: dict[Op, Callable[..., None]] = {SCAN: _scan, WHILE: _while, SWITCH: _switch}
_READ_OFTEN: dict[Op, Callable[..., Sequence[Expr]]] = {
    SCAN: lambda args, body, consts, carry, length, reverse, counted: (
        *args[: consts + counted], *args[consts + counted + carry :]
    ),
    WHILE: lambda args, test, body, consts, limit: args[:consts],
    SWITCH: lambda args, bodies: [a for a in args[1:] if a.ndim],
}  # fmt: skip
