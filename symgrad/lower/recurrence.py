"""Linear recurrences of numbers, some rounds at a time.

In: a loop of a graph. Out: what it gives, from shorter loops, if all that it carries are numbers

    s ← A (s + gₜ) + wₜ        A the same in all rounds, gₜ and wₜ of no other round

and sums. A round waits for the one before, which is all the time that it takes. K rounds at once
wait as long as one:

    c₁ = A g₁ + w₁, cₖ = A (cₖ₋₁ + gₖ) + wₖ        which need no s
    sₖ = Aᵏ s + cₖ                                 of which only the last one is waited for

(P. M. Kogge, H. S. Stone, IEEE Transactions on Computers C-22 (1973), 786-793, with blocks.) What
remains of a round is computed before and behind, for all rounds at once.

This is another order of the same sums. As long as |A| ≤ 1 nothing overflows that was not within a
factor of K of that, and no power of A underflows where |A| is not small. Where that is not so,
which only the data say, the same loop runs round by round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from symgrad.diff.modes import vmap
from symgrad.expr.node import CONST, FLOATS, TUPLE, Expr, const, const_value, iota, param
from symgrad.expr.op import Kind
from symgrad.expr.walk import depends_on, substitute, toposort
from symgrad.lower.tuning import Tuning
from symgrad.ops.body import Body, fresh, scan, switch
from symgrad.ops.elementwise import (
    ADD,
    MULTIPLY,
    NEGATIVE,
    SUBTRACT,
    absolute,
    convert,
    greater_equal,
    less_equal,
    select,
)
from symgrad.ops.linear import concat, gather, pad, reshape, slice_
from symgrad.ops.loop import Loop

_MOVABLE = (Kind.ELEMENTWISE, Kind.LINEAR, Kind.EINSUM)


def movable(node: Expr) -> bool:
    """Whether all rounds may compute a node together: it can do no more than compute."""
    return node.op.kind in _MOVABLE and node.op.indices is None and node.dtype != TUPLE


def row_bytes(node: Expr) -> int:
    """Of one row of what is stacked."""
    return node.size * np.dtype(node.dtype).itemsize


def parameters(loop: Loop, nodes: Sequence[Expr]) -> list[Expr]:
    """New parameters of the types of `nodes`, none of which the loop has."""
    first = 1 + max([a.attr("position") for a in loop.arguments], default=-1)
    return [param(first + k, n.shape, n.dtype) for k, n in enumerate(nodes)]


def all_rounds(loop: Loop, values: Sequence[Expr], rows: Mapping[Expr, Expr]) -> list[Expr]:
    """`values` of all rounds of a loop, some of whose nodes have known `rows`."""
    assert loop.length is not None
    given = dict(zip(rows, parameters(loop, list(rows)), strict=True))
    outside = {a: v for v, a in loop.consts}
    batched = {given[x]: row for x, row in rows.items()} | {a: v for v, a in loop.xs}
    return vmap(substitute(values, given | outside), batched, loop.length)


@dataclass
class _Linear:
    """A carry s ← A (s + g) + w; None is a factor 1, or a term 0.

    added : s + g, where it is a node
    """

    start: Expr
    state: Expr
    new: Expr
    added: Expr
    factor: Expr | None
    inner: Expr | None
    outer: Expr | None


def several_at_once(
    loop: Loop, terms: Mapping[int, Expr], ys: Sequence[Expr], tuning: Tuning
) -> tuple[dict[int, Expr], dict[Expr, Expr]] | None:
    """The final carry by position, but for `terms`, and the rows of what these and `ys` read.

    terms : by position in the carry, what is only added up
    ys : what is stacked

    None if a loop is another one, or its rows would leave the cache.
    """
    places = [k for k in range(len(loop.carry)) if k not in terms]
    carried = [a for _, a, _ in loop.carry]
    found = [_linear(loop.carry[k], carried, loop) for k in places]
    linear = [x for x in found if x is not None]
    assert loop.length is not None
    if not linear or len(linear) < len(found) or loop.length < tuning.ahead_from_rounds:
        return None
    wanted = [*terms.values(), *ys]
    others = _others(wanted, linear, carried)
    if others is None:
        return None
    parts = [p for x in linear for p in (x.inner, x.outer) if p is not None]
    apart = list(dict.fromkeys([*parts, *others]))
    size = loop.length * sum(map(row_bytes, [*(x.new for x in linear), *apart]))
    behind = [n for n in toposort(wanted) if movable(n) and n.op.kind is not Kind.EINSUM]
    largest = max(map(row_bytes, behind), default=0)
    if size > tuning.read_again_bytes or loop.length * largest > tuning.split_bytes:
        return None
    alone = loop.copy()  # rounds that need none before them
    alone.carry, alone.ys = [], apart
    rows = dict(zip(apart, alone.results()[2], strict=True))
    final: dict[int, Expr] = {}
    outside = {a: v for v, a in loop.consts}
    for k, x in zip(places, linear, strict=True):
        final[k], before, after = _Blocks(x, loop, outside, rows, tuning).results()
        rows |= {x.state: before, x.new: after}
        if x.inner is not None:
            rows[x.added] = before + rows[x.inner]
    return final, {n: row for n, row in rows.items() if n not in parts or n in others}


def _others(
    wanted: Sequence[Expr], linear: Sequence[_Linear], carried: Sequence[Expr]
) -> list[Expr] | None:
    """What can only be computed in a round, but needs no carry, for what is wanted behind.

    None if something wanted there cannot be computed there.
    """
    known = [n for x in linear for n in (x.new, x.added)]
    nodes = toposort(wanted, known)
    depends = depends_on(nodes, [*carried, *known])
    stuck = {n for n in nodes if n.op.kind is not Kind.SOURCE and not movable(n)}
    if any(n in depends for n in stuck):
        return None
    found: dict[Expr, None] = {}
    for n in nodes:
        if n not in stuck:
            found.update((a, None) for a in n.args if a in stuck and a.dtype != TUPLE)
    found.update((n, None) for n in wanted if n in stuck)
    return list(found)


def _linear(entry: tuple[Expr, Expr, Expr], carried: Sequence[Expr], loop: Loop) -> _Linear | None:
    """A number of the carry as such a recurrence."""
    start, state, new = entry
    if state.shape or state.dtype not in FLOATS:
        return None
    nodes = toposort([new])
    having = depends_on(nodes, [state])
    varying = depends_on(nodes, [*carried, *(a for _, a in loop.xs)])
    split = _sum(new, having)
    if split is None:
        return None
    term, outer, negative = split
    factor = inner = None
    rest = state
    if term.op is NEGATIVE:
        term, negative = term.args[0], not negative
    if term is not state:
        if term.op is not MULTIPLY or (term.args[0] in having) == (term.args[1] in having):
            return None
        factor, rest = term.args if term.args[1] in having else term.args[::-1]
        split = _sum(rest, having)
        if split is None or split[0] is not state or split[2]:
            return None
        inner = split[1]
    if negative:
        factor = const(-1, state.dtype) if factor is None else -factor
    parts = [p for p in (inner, outer) if p is not None]
    if (factor is not None and factor in varying) or not having.isdisjoint(toposort(parts)):
        return None
    if any(n in carried for n in toposort(parts)):
        return None
    return _Linear(start, state, new, rest, factor, inner, outer)


def _sum(value: Expr, having: set[Expr]) -> tuple[Expr, Expr | None, bool] | None:
    """The term of a sum that has a node, the others, and whether it is subtracted.

    None if several terms have it.
    """
    rest: Expr | None = None
    negative = False
    while value.op in (ADD, SUBTRACT):
        a, b = value.args
        first, minus = a in having, value.op is SUBTRACT
        if first == (b in having):
            return None
        other = b if first else a
        other = -other if negative != (minus and first) else other
        rest = other if rest is None else other + rest
        value = a if first else b
        negative = negative != (minus and not first)
    return value, rest, negative


class _Blocks:
    """The rounds of such a recurrence, K at once.

    outside : values of what all rounds share; rows : of g and w
    """

    def __init__(
        self,
        linear: _Linear,
        loop: Loop,
        outside: Mapping[Expr, Expr],
        rows: Mapping[Expr, Expr],
        tuning: Tuning,
    ) -> None:
        n = loop.length
        assert n is not None
        self.linear, self.tuning, self.n, self.reverse = linear, tuning, n, loop.reverse
        self.width = next((k for k in tuning.ahead_widths if n % k == 0), tuning.ahead_widths[0])
        self.blocks = -(-n // self.width)
        self.factor = None
        if linear.factor is not None:
            (self.factor,) = substitute([linear.factor], outside)
        (self.start,) = substitute([linear.start], outside)
        self.parts = [p for p in (linear.inner, linear.outer) if p is not None]
        self.rows = [self._in_blocks(rows[p]) for p in dict.fromkeys(self.parts)]

    def _in_blocks(self, row: Expr) -> Expr:
        """With zeros behind the last round, which may be the first one here, to whole blocks."""
        more = self.blocks * self.width - self.n
        first = more if self.reverse else 0
        return pad(row, (self.n + more,), (first,), (1,)) if more else row

    def results(self) -> tuple[Expr, Expr, Expr]:
        """The last state, and of all rounds those before and behind them."""
        powers: list[Expr] = []
        if self.factor is not None:
            powers = [self.factor]
            while len(powers) < self.width:
                powers.append(powers[-1] * self.factor)
        operands = [*powers, self.start, *self.rows]
        ahead = self._ahead()
        if isinstance(ahead, bool):
            last, before, after = self._scan(operands, ahead)
        else:
            arguments = fresh(operands)
            sides = [Body.close(arguments, self._scan(arguments, k)) for k in (False, True)]
            last, before, after = switch(convert(ahead, "int64"), sides, operands)
        more = self.blocks * self.width - self.n
        first = more if self.reverse else 0
        rows = [slice_(reshape(r, (more + self.n,)), (first,), (self.n,), (1,))
                for r in (before, after)]  # fmt: skip
        if more:  # the rounds beyond have changed it
            at = 0 if self.reverse else self.n - 1
            last = reshape(slice_(rows[1], (at,), (1,), (1,)), ())
        return last, rows[0], rows[1]

    def _ahead(self) -> Expr | bool:
        """Whether powers of the factor may be taken."""
        if self.factor is None:
            return True
        least = self.tuning.ahead_from_factor
        if self.factor.op is CONST:
            return bool(least <= abs(float(const_value(self.factor))) <= 1)
        size = absolute(self.factor)
        enough = greater_equal(size, least)
        return select(enough, less_equal(size, 1), enough)

    def _scan(self, operands: Sequence[Expr], ahead: bool) -> list[Expr]:
        """The last state, and rows of states before and behind each round, in blocks."""
        factors = 0 if self.factor is None else self.width
        start, rows = operands[factors], operands[factors + 1 :]
        consts = [*rows, *operands[: factors if ahead else min(factors, 1)]]
        number = const(0, "int64")  # of a block
        arguments = fresh([*consts, start, number])
        given = dict(zip(dict.fromkeys(self.parts), arguments, strict=False))
        powers, (state, number) = arguments[len(rows) : -2], arguments[-2:]
        before: list[Expr] = []
        after: list[Expr] = []
        order = range(self.width)[:: -1 if self.reverse else 1]
        summed: Expr | None = None
        for k, at in enumerate(order):
            inner, outer = (
                None if p is None else gather(given[p], number * self.width + at, 0)
                for p in (self.linear.inner, self.linear.outer)
            )
            before.append(after[-1] if after else state)
            if ahead:
                summed = _step(powers, summed, inner, outer)
                moved = powers[k] * state if powers else state
                after.append(moved if summed is None else moved + summed)
            else:
                made = _step(powers, before[-1], inner, outer)
                assert made is not None
                after.append(made)
        ordered = [concat([reshape(x, (1,)) for x in made[:: order.step]], 0)
                   for made in (before, after)]  # fmt: skip
        body = Body.close(arguments, [after[-1], *ordered])
        numbers = [iota(self.blocks)]
        return scan(body, consts, [start], numbers, self.blocks, reverse=self.reverse)


def _step(
    powers: Sequence[Expr], state: Expr | None, inner: Expr | None, outer: Expr | None
) -> Expr | None:
    """A (s + g) + w, where None is zero."""
    total = state if inner is None else inner if state is None else state + inner
    if total is not None and powers:
        total = powers[0] * total
    return total if outer is None else outer if total is None else total + outer
