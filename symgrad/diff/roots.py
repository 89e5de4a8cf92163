"""Slopes by roots that vanish, in derivatives as they are written down.

`limits` finds the limit of what a root divides, where that is one expression. Here slopes are
looked for in an expression that is about to be differentiated: in what a program wrote itself, in
derivatives of rows that stand for whole functions, in forward mode with loops, in gradients of
`Graph.grad`. The slopes by one root are collected from sums and products first, since only the
whole quotient has a limit: forward mode gives e⁻ʳ ṙ - (1 + r) e⁻ʳ ṙ for (1 + r) e⁻ʳ.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from symgrad.diff.limits import (
    SHOW_ALL,
    Say,
    base_of,
    between,
    is_known_view,
    left_out,
    limit_of,
)
from symgrad.expr.node import FLOATS, Expr, const, is_const
from symgrad.expr.op import Kind, Moves
from symgrad.expr.walk import in_bodies, rebuild, substitute, toposort, transform
from symgrad.ops.einsum import EINSUM, einsum
from symgrad.ops.elementwise import (
    ADD,
    AND,
    DIVIDE,
    EQUAL,
    FINITE,
    MULTIPLY,
    NEGATIVE,
    NOT,
    NOT_EQUAL,
    SELECT,
    SIGN,
    SLOPE,
    SUBTRACT,
    absolute,
    both,
    equal,
    is_finite,
    select,
    sign,
    slope,
)
from symgrad.ops.linear import broadcast, permute

Limit = Callable[[Expr, Expr, frozenset[Expr]], Expr | None]
_SHIFT = (Moves.SOME, Moves.JOINED)
_MOST_CARRIED = 2  # roots of what is moved to other elements, with its slopes
_MOST_CONDITIONS = 20


@dataclass(frozen=True)
class _Sum:
    """rest + Σ c/r + Σ k sign(x): by root, in the shape in which it divides, and by x."""

    rest: Expr | None
    slopes: dict[Expr, Expr]
    signs: dict[Expr, Expr]

    def map(self, f: Callable[[Expr], Expr]) -> _Sum:
        rest = None if self.rest is None else f(self.rest)
        slopes = {r: f(c) for r, c in self.slopes.items()}
        return _Sum(rest, slopes, {x: f(k) for x, k in self.signs.items()})

    def seen(self, view: Callable[[Expr], Expr]) -> _Sum:
        """A view of the sum: that of all its parts."""
        whole = self.map(view)
        slopes = {view(r): c for r, c in whole.slopes.items()}
        return _Sum(whole.rest, slopes, {view(x): k for x, k in whole.signs.items()})

    @staticmethod
    def joined(node: Expr, parts: Sequence[_Sum]) -> _Sum:
        """What joins arrays, of sums: slopes by the same root, in whatever view, are one slope."""

        def join(given: Sequence[Expr | None], missing: float) -> Expr:
            like = [a.shape for a in node.args]
            made = [const(missing, node.dtype, shape) if e is None else e
                    for e, shape in zip(given, like, strict=True)]  # fmt: skip
            return rebuild(node, tuple(made))

        rests = [p.rest for p in parts]
        rest = None if all(r is None for r in rests) else join(rests, 0)
        pairs: list[dict[Expr, Expr]] = []
        for tables in ([p.slopes for p in parts], [p.signs for p in parts]):
            places: dict[tuple[Expr, int], list[tuple[Expr, Expr] | None]] = {}
            for k, table in enumerate(tables):
                count: Counter[Expr] = Counter()
                for key, value in table.items():
                    base = base_of(key)
                    place = places.setdefault((base, count[base]), [None] * len(parts))
                    place[k] = key, value
                    count[base] += 1
            # Where a part has no such slope, that is 0 by a root of 1.
            pairs.append({
                join([None if p is None else p[0] for p in place], 1):
                join([None if p is None else p[1] for p in place], 0)
                for place in places.values()
            })  # fmt: skip
        return _Sum(rest, *pairs)

    def plus(self, other: _Sum) -> _Sum:
        rest = _plus(self.rest, other.rest)
        slopes, signs = dict(self.slopes), dict(self.signs)
        for mine, theirs in ((slopes, other.slopes), (signs, other.signs)):
            for key, value in theirs.items():
                mine[key] = mine[key] + value if key in mine else value
        return _Sum(rest, slopes, signs)

    def extended(self, settled: frozenset[Expr], limit_of: Limit) -> Expr | None:
        """The sum with limits, but for roots in `settled`; None where no root has one."""
        terms: list[Expr] = [] if self.rest is None else [self.rest]
        changed = False
        for root, c in self.slopes.items():
            limit, term = limit_of(c, root, settled), slope(c, root)
            changed |= limit is not None
            terms.append(term if limit is None else _where(root, limit, term))
        for x, k in self.signs.items():
            root, term = _modulus(x, k), k * sign(x)
            limit = limit_of(k * x, root, settled)
            changed |= limit is not None
            terms.append(term if limit is None else _where(root, limit, term))
        return functools.reduce(operator.add, terms) if changed else None


def _modulus(x: Expr, k: Expr) -> Expr:
    """|x| as `k` has it: of x, or a view of that of what x is a view of."""
    whole, base = absolute(x), base_of(x)
    if base is x or between(k, whole) is not None:
        return whole
    (root,) = substitute([x], {base: absolute(base)})
    return root


def _plus(a: Expr | None, b: Expr | None) -> Expr | None:
    return b if a is None else a if b is None else a + b


def _where(root: Expr, limit: Expr, term: Expr) -> Expr:
    return select(both(equal(root, 0), is_finite(limit)), limit, term)


def extended(
    outs: Sequence[Expr],
    signs: bool = True,
    known: dict[Any, Any] | None = None,
    say: Say = left_out,
) -> list[Expr]:
    """Equal outputs whose derivatives are right where a root vanishes.

    Slopes are best found before rules move factors into contractions. A sign may be the user's
    own; rules that know what it is part of come first (`signs` False, then True).

    say : is told which limits are left out
    """
    nodes = toposort(outs)
    begins = (SLOPE, SIGN) if signs else (SLOPE,)
    if any(n.op.kind is Kind.CONTROL for n in nodes):
        outs = _in_bodies(outs, signs, {} if known is None else known, say)
        nodes = toposort(outs)
    limit = _once(say)
    divided = _divided(nodes, outs)
    begin = {n for n in nodes if n.op in begins and n not in divided}
    if not begin:
        return list(outs)
    collects = _collecting(nodes, begin)
    whole, settled = _wanted(nodes, outs, collects)
    plain: dict[Expr, Expr] = {}
    full: dict[Expr, Expr] = {}
    sums: dict[Expr, _Sum] = {}
    for node in nodes:
        places = collects.get(node, ())
        if node.op.moves in _SHIFT and _is_long([sums[node.args[k]] for k in places]):
            for a in [node.args[k] for k in places]:
                if a not in whole:
                    full[a] = sums[a].extended(settled[a], limit) or plain[a]
            plain[node] = full[node] = rebuild(node, tuple([full[a] for a in node.args]))
            sums[node] = _Sum(full[node], {}, {})
            continue
        args = tuple([(plain if k in places else full)[a] for k, a in enumerate(node.args)])
        plain[node] = full[node] = rebuild(node, args)
        if node in collects:
            sums[node] = _collected(node, args, places, sums)
            if node in whole:
                full[node] = sums[node].extended(settled[node], limit) or plain[node]
        elif node.op is EINSUM:
            full[node] = _contracted(node, args, sums, settled[node], limit) or plain[node]
    return [full[o] for o in outs]


def of_graph(outs: Sequence[Expr]) -> list[Expr]:
    """`outs` of a graph, which may be derivatives already, as they are differentiated.

    Of one number that divides, what is looked for is found. Gives a LimitWarning where there are
    more: elements are moved to one another's places then before they meet what vanishes with them.
    """
    nodes = set(toposort(outs))
    roots = {base_of(n.args[1]) for n in nodes if n.op is SLOPE}
    signs = [n.args[0] for n in nodes if n.op is SIGN and n.dtype in FLOATS]
    roots |= nodes.intersection(absolute(y) for x in signs for y in (x, base_of(x)))
    if sum(root.size for root in roots) > 1:
        left_out(
            "not all limits are found in a graph that is a derivative already; trace the whole"
            " derivative instead, such as sg.hessian"
        )
    return extended(outs)


def _divided(nodes: Sequence[Expr], outs: Sequence[Expr]) -> set[Expr]:
    """Slopes and signs that have their limits already, from `with_limits`."""
    inside: dict[Expr, frozenset[Expr]] = dict.fromkeys(outs, frozenset())
    for node in reversed(nodes):
        here = inside[node]
        below = here | _zero_here(node) if node.op is SELECT else here
        for k, a in enumerate(node.args):
            found = below if k else here
            inside[a] = inside[a] & found if a in inside else found
    roots = {n: n.args[1] if n.op is SLOPE else absolute(n.args[0])
             for n in nodes if n.op in (SLOPE, SIGN)}  # fmt: skip
    return {n for n, root in roots.items() if base_of(root) in inside[n]}


def _zero_here(selection: Expr) -> frozenset[Expr]:
    """The root of which a selection tells that it is 0, if `with_limits` made it."""
    condition, then, term = selection.args
    if then.op is not SELECT or then.args[0].op is not FINITE or then.args[2] is not term:
        return frozenset()
    while is_known_view(condition):
        condition = condition.args[0]
    is_root = condition.op is EQUAL and is_const(condition.args[1], 0)
    return frozenset([base_of(condition.args[0])]) if is_root else frozenset()


def _once(say: Say) -> Limit:
    """`limit_of`, which is asked no more about a root for which there was one that it left out."""
    far: set[Expr] = set()

    def limit(divided: Expr, root: Expr, settled: frozenset[Expr]) -> Expr | None:
        base = base_of(root)

        def tell(why: str) -> None:
            far.add(base)
            say(why)

        return None if base in far else limit_of(divided, root, settled, say=tell)

    return limit


def _is_long(sums: Sequence[_Sum]) -> bool:
    """Whether what is to be moved has so many slopes that they are not carried on."""
    roots = {base_of(key) for one in sums for key in (*one.slopes, *one.signs)}
    return len(roots) > _MOST_CARRIED


def _in_bodies(outs: Sequence[Expr], signs: bool, known: dict[Any, Any], say: Say) -> list[Expr]:
    inside = functools.partial(extended, signs=signs, known=known, say=say)

    def rule(node: Expr, args: tuple[Expr, ...]) -> Expr:
        if node.op.kind is Kind.CONTROL:
            return in_bodies(node, args, inside, known)
        return rebuild(node, args)

    return transform(outs, rule)


def _wanted(
    nodes: Sequence[Expr], outs: Sequence[Expr], collects: dict[Expr, tuple[int, ...]]
) -> tuple[set[Expr], dict[Expr, frozenset[Expr]]]:
    """Nodes that are wanted with all that they collect, and for each node the settled roots.

    A root is settled in both sides of a selection made here before, which tells that it is 0: on
    one side it is not, the other holds its limit. It is told element by element, so views of
    what is selected are looked through only where the root is the same view.
    """
    whole = set(outs)
    settled: dict[Expr, frozenset[Expr]] = dict.fromkeys(outs, frozenset())
    for node in reversed(nodes):
        here = settled[node]
        if here and node.op.kind is not Kind.ELEMENTWISE:
            here = frozenset([r for r in map(functools.partial(_before, node), here) if r])
        told = _told(node.args[0]) if node.op is SELECT else frozenset()
        for k, a in enumerate(node.args):
            below = here | told if k else here
            settled[a] = settled[a] & below if a in settled else below
            if k not in collects.get(node, ()):
                whole.add(a)
    return whole, settled


def _before(node: Expr, root: Expr) -> Expr | None:
    """What a root is for the operand of a node; a single one is the same for all."""
    if root.op is node.op and root.attrs == node.attrs and node.op.moves in SHOW_ALL:
        return root.args[0]
    return root if root.size == 1 and root.op.radicand is not None else None


def _told(condition: Expr) -> frozenset[Expr]:
    """Roots that a condition compares with 0, each for the element that it is told of."""
    found: set[Expr] = set()
    stack: list[tuple[Expr, tuple[Expr, ...]]] = [(condition, ())]
    looked = 0
    while stack and looked < _MOST_CONDITIONS:
        e, views = stack.pop()
        looked += 1
        if e.op in (NOT, AND):
            stack.extend((a, views) for a in e.args)
        elif e.op.moves in SHOW_ALL:
            stack.append((e.args[0], (e, *views)))
        elif e.op in (EQUAL, NOT_EQUAL) and is_const(e.args[1], 0):
            root, base = e.args[0], base_of(e.args[0])
            if base.op.radicand is None:
                continue
            for view in views:
                root = rebuild(view, (root, *view.args[1:]))
            found.add(base if base.size == 1 else root)
    return frozenset(found)


def _collecting(nodes: Sequence[Expr], begin: set[Expr]) -> dict[Expr, tuple[int, ...]]:
    """Nodes that are sums of slopes times factors, and which arguments they have them from."""
    collects: dict[Expr, tuple[int, ...]] = {}
    for node in nodes:
        having = tuple(k for k, a in enumerate(node.args) if a in collects)
        if node in begin:
            if node.dtype in FLOATS:
                collects[node] = ()
        elif (
            node.op in (ADD, SUBTRACT, NEGATIVE)
            and having
            or node.op is MULTIPLY
            and len(having) == 1
            or (node.op is DIVIDE or is_known_view(node))
            and having == (0,)
            or node.op.moves is Moves.JOINED
            and having
        ):
            collects[node] = having
    return collects


def _collected(
    node: Expr, args: tuple[Expr, ...], places: tuple[int, ...], sums: dict[Expr, _Sum]
) -> _Sum:
    if node.op is SLOPE:
        return _Sum(None, {args[1]: args[0]}, {})
    if node.op is SIGN:
        return _Sum(None, {}, {args[0]: const(1, node.dtype, node.shape)})
    parts = [sums[a] if k in places else None for k, a in enumerate(node.args)]
    if node.op is MULTIPLY:
        (k,) = places
        return sums[node.args[k]].map(lambda e: e * args[1 - k])
    if node.op is DIVIDE:
        return sums[node.args[0]].map(lambda e: e / args[1])
    if node.op is NEGATIVE:
        return sums[node.args[0]].map(operator.neg)
    if is_known_view(node):
        return sums[node.args[0]].seen(lambda e: rebuild(node, (e, *args[1:])))
    known = [_Sum(a, {}, {}) if part is None else part for a, part in zip(args, parts, strict=True)]
    if node.op.moves is Moves.JOINED:
        return _Sum.joined(node, known)
    left, right = known
    return left.plus(right.map(operator.neg) if node.op is SUBTRACT else right)


def _contracted(
    node: Expr,
    args: tuple[Expr, ...],
    sums: dict[Expr, _Sum],
    settled: frozenset[Expr],
    limit: Limit,
) -> Expr | None:
    """A contraction whose factors beside a slope depend on its root: they are what it divides."""
    inputs, output = node.attrs
    having = [p for p, a in enumerate(node.args) if a in sums]
    if len(having) != 1:
        return None
    (p,) = having
    labels, whole = inputs[p], sums[node.args[p]]
    shape = node.args[p].shape
    if len(set(labels)) < len(labels):
        return None
    bases = [base_of(r) for r in whole.slopes] + [absolute(x) for x in whole.signs]
    inside = []
    for q, other in enumerate(args):
        if q == p or not set(inputs[q]) <= set(labels) or len(set(inputs[q])) < other.ndim:
            continue
        if any(between(other, b) is not None for b in bases if b.op.radicand):
            inside.append(q)
            order = sorted(range(other.ndim), key=lambda k: labels.index(inputs[q][k]))  # noqa: B023
            moved = permute(other, tuple(order))
            factor = broadcast(moved, shape, tuple(labels.index(inputs[q][k]) for k in order))
            whole = whole.map(lambda e: e * factor)  # noqa: B023
    limits = whole.extended(settled, limit) if inside else None
    if limits is None:
        return None
    rest = [k for k in range(len(args)) if k != p and k not in inside]
    return einsum([limits, *(args[k] for k in rest)], [labels, *(inputs[k] for k in rest)], output)
