"""Limits of quotients by roots that vanish, for derivatives that are differentiated again.

r = ‖x‖, √(x² + 2y²), hypot(x, y) or |x| has a kink at 0; an even function g(r) may have none:
cos r, a Matérn kernel, rᵖ where p turns out to be 2. Its gradient is g'(r) x/r, and 0 at r = 0
whatever g is. That is what the rows `slope` and `sign` give, and all that a first derivative needs.
A second one needs the limit of g'(r)/r there, which is g''(0) by l'Hôpital's rule.

With c = a r + b r³ + … the quotient is a + b r² + …, which is smooth in r² = Σ x², and a and b are
derivatives of c by r at 0, of each root alone: what c has of other roots keeps its value
(`aligned`). So derivatives of g come out right up to the fourth. Where c does not vanish (a true
kink) there is no limit, and this is what stands for it: 0 for ‖x‖ itself.

In reverse mode the cotangent of a root is c, all of it, so that is where limits are made
(`with_limits`). In forward mode no node has c; there reverse mode is transposed (`pushed`).
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from symgrad import log
from symgrad.diff import modes
from symgrad.diff.aligned import alone
from symgrad.errors import LimitWarning, warn
from symgrad.expr.node import ARRAY, CONST, DEPTH_SHIFT, FLOATS, Expr, arg, const, is_const
from symgrad.expr.op import Kind, Moves
from symgrad.expr.walk import rebuild, substitute, toposort
from symgrad.ops.elementwise import (
    AND,
    EQUAL,
    MAXIMUM,
    SELECT,
    equal,
    is_finite,
    is_nonnegative,
    select,
)
from symgrad.ops.linear import SUM, sum_
from symgrad.ops.reduce import spread

Say = Callable[[str], None]
_NONE: Mapping[Expr, Expr] = MappingProxyType({})
SHOW_ALL = (Moves.ONCE, Moves.REPEATED)  # each element
_MOST_BETWEEN = 300  # nodes between a root and what is divided by it, which depend on it,
_MOST_LOOKED = 5_000  # and nodes among which they are searched


def left_out(why: str) -> None:
    warn(
        "a higher derivative is taken as if a quotient by a root (a norm, sqrt or abs) were 0 where"
        f" the root is exactly 0, instead of its limit: {why}. Elsewhere it is right. Write"
        " the function of the square under the root, or add a small number to that square",
        LimitWarning,
    )


def is_known_view(node: Expr) -> bool:
    """Whether it has elements of its first argument alone, known ones in known places."""
    if node.op.moves is Moves.SOME:
        return all(a.op is ARRAY for a in node.args[1:])
    return node.op.moves in SHOW_ALL


def base_of(root: Expr) -> Expr:
    """The row that makes a root, below views and what joins views of it."""
    found: set[Expr] = set()
    stack = [root]
    while stack and len(found) < 2:
        node = stack.pop()
        if is_known_view(node):
            stack.append(node.args[0])
        elif node.op.moves is Moves.JOINED:
            stack.extend(node.args)
        elif node.op is not CONST:
            found.add(node)
    return found.pop() if len(found) == 1 else root


def noted(why: str) -> None:
    """Instead of `left_out`: a line in the log."""
    log.note(lambda: f"a limit where a root is 0 is left out: {why}")


def with_limits(
    root: Expr,
    cotangent: Expr,
    contributions: modes.Contributions,
    units: Mapping[Expr, Expr] = _NONE,
) -> modes.Contributions:
    """What a root contributes to the cotangents of its arguments, also where it is 0.

    The cotangent is all that the root divides, so its limit is that of the quotient; nothing has
    been made of the two yet.

    units : what stands for variables in which all is linear where conditions are made of it
    """
    if root.op.radicand is None or all(c is None for c in contributions):
        return contributions
    square, weight = _radicand(root)
    if not is_nonnegative(square):
        return contributions  # no slope, and infinite at 0
    limit = limit_of(_where_zero(cotangent, root), root, frozenset(), units)
    if limit is None or is_const(limit, 0):
        return contributions
    # Of each argument alone: hypot(x, x) has one twice.
    places = [arg(k, a.shape, a.dtype, f"operand {k}") for k, a in enumerate(root.args)]
    square = root.op.radicand(tuple(places), root.attrs)
    found = modes.vjp([square], places, [limit * (0.5 * weight)])
    back = dict(zip(places, root.args, strict=True))
    there, finite = equal(root, 0), _finite(limit, units)
    return [c if c is None or f is None
            else _selected((there, finite), substitute([f], back)[0], c, a, root)
            for a, f, c in zip(root.args, found, contributions, strict=True)]  # fmt: skip


def _where_zero(e: Expr, root: Expr) -> Expr:
    """`e` where the root is 0, as far as selections made here tell, element by element."""
    zero = _zero_seen_from(e, root)
    known: dict[Expr, Expr] = {}
    for node in sorted(zero, key=lambda n: n.order):
        there = zero[node]
        if there is None or not node.args:
            continue
        if node.op is SELECT and _says(node.args[0], there, root):
            known[node] = known.get(node.args[1], node.args[1])
        else:
            known[node] = rebuild(node, tuple([known.get(a, a) for a in node.args]))
    return known.get(e, e)


def _zero_seen_from(e: Expr, root: Expr) -> dict[Expr, Expr | None]:
    """For nodes below `e`: whether that root is 0 to which the element of `e` belongs.

    None where elements are of several ones, or it is not seen; nothing where nodes are too many.
    """
    found: dict[Expr, Expr | None] = {e: equal(root, 0)}
    waiting = [(-e.order, 0, e)]
    while waiting:
        node = heapq.heappop(waiting)[2]
        here = found[node]
        is_sum = node.op is SUM
        same = is_sum or node.op.kind is Kind.ELEMENTWISE or root.size == 1
        if here is None or not same or node.op.kind in (Kind.CONTROL, Kind.ITEM):
            found[node] = None
            continue
        if is_sum and root.size > 1:
            here = spread(here, node.args[0], node.attrs[0])
        for a in node.args:
            if a not in found:
                found[a] = here
                heapq.heappush(waiting, (-a.order, len(found), a))
            elif found[a] is not here:
                found[a] = None
        if len(found) > _MOST_LOOKED:
            return {}
    return found


def _says(condition: Expr, zero: Expr, root: Expr) -> bool:
    """Whether it is one that is made here: the root is 0, and there may be a limit."""
    if condition.op is AND:
        return any(_says(a, zero, root) for a in condition.args)
    if root.size == 1:
        while is_known_view(condition):
            condition = condition.args[0]
        if condition.op is not EQUAL or not is_const(condition.args[1], 0):
            return False
        return base_of(condition.args[0]) is root
    return condition is zero


def _radicand(root: Expr) -> tuple[Expr, float]:
    """What a root is the square root of, and what derivatives of that are multiplied by at 0.

    max(d, 0) is how people write d where rounding may have made it negative. Where it is 0 because
    d is, half of its derivative is that of d (a tie).
    """
    assert root.op.radicand is not None
    square = root.op.radicand(root.args, root.attrs)
    clamped = square.op is MAXIMUM and any(is_const(a, 0) for a in square.args)
    return square, 2.0 if clamped else 1.0


def _finite(e: Expr, units: Mapping[Expr, Expr]) -> Expr:
    return is_finite(substitute([e], units)[0])


def _selected(conditions: tuple[Expr, Expr], limit: Expr, term: Expr, a: Expr, root: Expr) -> Expr:
    """The limit where there is one, in the form that `roots` knows."""
    there, finite = conditions
    if root.op.reduces:
        there, finite = (spread(c, a, root.attrs[0]) for c in conditions)
    return select(there, select(finite, limit, term), term)


def pushed(
    outs: Sequence[Expr], wrt: Sequence[Expr], tangents: Sequence[Expr | None]
) -> list[Expr | None]:
    """Forward mode whose results are differentiated again.

    In forward mode no node has all that a root divides. The cotangents of `wrt` have limits; they
    are linear in those of `outs`, and what transposes them is the tangents.
    """
    nodes = toposort(outs)
    if any(n.op.kind is Kind.CONTROL for n in nodes) or all(n.op.radicand is None for n in nodes):
        return modes.jvp(outs, wrt, tangents)
    free = {k: arg(k, o.shape, o.dtype, f"cotangent {k}")
            for k, o in enumerate(outs) if o.dtype in FLOATS}  # fmt: skip
    units = {f: const(1, f.dtype, f.shape) for f in free.values()}
    limits = functools.partial(with_limits, units=units)
    pulled = modes.vjp(outs, wrt, [free.get(k) for k in range(len(outs))], limits=limits)
    totals: dict[str, Expr] = {}  # by dtype
    for c, t in zip(pulled, tangents, strict=True):
        if c is not None and t is not None:
            term = sum_(c * t, tuple(range(c.ndim)))
            totals[c.dtype] = totals[c.dtype] + term if c.dtype in totals else term
    ones = [const(1, dtype) for dtype in totals]
    found = modes.vjp(list(totals.values()), list(free.values()), ones)
    tangents_of = dict(zip(free, found, strict=True))
    return [tangents_of.get(k) for k in range(len(outs))]


def limit_of(
    divided: Expr,
    root: Expr,
    settled: frozenset[Expr],
    units: Mapping[Expr, Expr] = _NONE,
    say: Say = left_out,
) -> Expr | None:
    """a + b r² of divided = a r + b r³ + …, or None if that is 0 everywhere."""
    base = base_of(root)
    if root in settled or base.op.radicand is None or (base.size == 1 and base in settled):
        return None
    way = between(divided, base, say)
    if way is None:
        return None
    found = alone(divided, way, base, root)
    if found is None:
        say("which of several roots divides which element is not seen")
        return None
    own, held = found
    first = _by_root(own, base)
    if first is None:
        return None
    second = _by_root(first, base)
    third = None if second is None else _by_root(second, base)
    zero = {base: const(0, base.dtype, base.shape), **held}
    (limit,) = substitute([first], zero)
    if third is not None:
        (rest,) = substitute([third], zero)
        square, weight = _radicand(base)
        (size,) = substitute([root], {base: square})
        limit = limit + select(_finite(rest, units), rest * size * (weight / 6), 0)
    return limit


def _by_root(e: Expr, base: Expr) -> Expr | None:
    return modes.jvp([e], [base], [const(1, base.dtype, base.shape)])[0]


def between(top: Expr, base: Expr, say: Say = noted) -> list[Expr] | None:
    """Nodes on the way from `top` down to `base`; None if there is none, or they are too many.

    Limits that were put in for the last derivative do not depend on the root: they do not count.
    """
    depth = base.order >> DEPTH_SHIFT
    seen = {top}
    stack = [top]
    while stack:
        for a in stack.pop().args:
            if a not in seen and a.order >> DEPTH_SHIFT > depth:
                seen.add(a)
                stack.append(a)
        if len(seen) > _MOST_LOOKED:
            say(f"over {_MOST_LOOKED} nodes are above the root")
            return None
    reaching = {base}
    found = []
    for node in sorted(seen - reaching, key=lambda n: n.order):
        if not reaching.isdisjoint(node.args):
            reaching.add(node)
            found.append(node)
    if top not in reaching:
        return None
    if len(found) > _MOST_BETWEEN:
        say(f"over {_MOST_BETWEEN} nodes are above the root")
        return None
    return found
