"""Quotients by a root that vanishes, as they must be before another derivative is taken.

r = ‖x‖, √(x² + 2y²), hypot(x, y) or |x| has a kink at 0; an even function g(r) may have none:
cos r, a Matérn kernel, rᵖ where p turns out to be 2. Its gradient is g'(r) x/r, and 0 at r = 0
whatever g is. That is what the rows `slope` and `sign` give, and all that a first derivative needs.
A second one needs the limit of g'(r)/r there, which is g''(0) by l'Hôpital's rule.

`extended` puts the limit there. With c = a r + b r³ + … the quotient is a + b r² + …, which is
smooth in r² = Σ x², and a and b are derivatives of c by r at 0, of each root alone: what c has of
other roots keeps its value (`aligned`). So derivatives of g come out right up to the fourth. Where
c does not vanish (a true kink) there is no limit, and this is what stands for it: 0 for ‖x‖ itself.

The slopes by one root are collected from sums and products first, since only the whole quotient
has a limit: forward mode gives e⁻ʳ ṙ - (1 + r) e⁻ʳ ṙ for (1 + r) e⁻ʳ.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from symgrad.diff import modes
from symgrad.diff.aligned import alone
from symgrad.errors import LimitWarning, warn
from symgrad.expr.node import ARRAY, CONST, DEPTH_SHIFT, FLOATS, Expr, arg, const, is_const
from symgrad.expr.op import Kind, Moves, Op
from symgrad.expr.walk import in_bodies, rebuild, substitute, toposort, transform
from symgrad.ops.einsum import EINSUM, einsum
from symgrad.ops.elementwise import (
    ADD,
    AND,
    DIVIDE,
    EQUAL,
    MAXIMUM,
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
    is_nonnegative,
    select,
    sign,
    slope,
)
from symgrad.ops.linear import broadcast, permute, sum_
from symgrad.ops.reduce import spread

_NONE: Mapping[Expr, Expr] = MappingProxyType({})
_SHOW_ALL = (Moves.ONCE, Moves.REPEATED)  # each element
_SHIFT = (Moves.SOME, Moves.JOINED)
_MOST_CARRIED = 2  # roots of what is moved to other elements, with its slopes
_MOST_CONDITIONS = 20
_MOST_BETWEEN = 300  # nodes between a root and what is divided by it, which depend on it,
_MOST_LOOKED = 5_000  # and nodes among which they are searched


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
                    base = _base(key)
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

    def extended(self, settled: frozenset[Expr]) -> Expr | None:
        """The sum with limits, but for roots in `settled`; None where no root has one."""
        terms: list[Expr] = [] if self.rest is None else [self.rest]
        changed = False
        for root, c in self.slopes.items():
            limit, term = _limit(c, root, settled), slope(c, root)
            changed |= limit is not None
            terms.append(term if limit is None else _where(root, limit, term))
        for x, k in self.signs.items():
            root, term = _modulus(x, k), k * sign(x)
            limit = _limit(k * x, root, settled)
            changed |= limit is not None
            terms.append(term if limit is None else _where(root, limit, term))
        return functools.reduce(operator.add, terms) if changed else None


def _modulus(x: Expr, k: Expr) -> Expr:
    """|x| as `k` has it: of x, or a view of that of what x is a view of."""
    whole, base = absolute(x), _base(x)
    if base is x or _between(k, whole) is not None:
        return whole
    (root,) = substitute([x], {base: absolute(base)})
    return root


def _plus(a: Expr | None, b: Expr | None) -> Expr | None:
    return b if a is None else a if b is None else a + b


def _where(root: Expr, limit: Expr, term: Expr) -> Expr:
    return select(both(equal(root, 0), is_finite(limit)), limit, term)


def extended(
    outs: Sequence[Expr], signs: bool = True, known: dict[Any, Any] | None = None
) -> list[Expr]:
    """Equal outputs whose derivatives are right where a root vanishes.

    Slopes are best found before rules move factors into contractions. A sign may be the user's
    own; rules that know what it is part of come first (`signs` False, then True).
    """
    nodes = toposort(outs)
    begins = (SLOPE, SIGN) if signs else (SLOPE,)
    if any(n.op.kind is Kind.CONTROL for n in nodes):
        outs = _in_bodies(outs, signs, {} if known is None else known)
        nodes = toposort(outs)
    if all(n.op not in begins for n in nodes):
        return list(outs)
    collects = _collecting(nodes, begins)
    whole, settled = _wanted(nodes, outs, collects)
    plain: dict[Expr, Expr] = {}
    full: dict[Expr, Expr] = {}
    sums: dict[Expr, _Sum] = {}
    for node in nodes:
        places = collects.get(node, ())
        if node.op.moves in _SHIFT and _is_long([sums[node.args[k]] for k in places]):
            for a in [node.args[k] for k in places]:
                if a not in whole:
                    full[a] = sums[a].extended(settled[a]) or plain[a]
            plain[node] = full[node] = rebuild(node, tuple([full[a] for a in node.args]))
            sums[node] = _Sum(full[node], {}, {})
            continue
        args = tuple([(plain if k in places else full)[a] for k, a in enumerate(node.args)])
        plain[node] = full[node] = rebuild(node, args)
        if node in collects:
            sums[node] = _collected(node, args, places, sums)
            if node in whole:
                full[node] = sums[node].extended(settled[node]) or plain[node]
        elif node.op is EINSUM:
            full[node] = _contracted(node, args, sums, settled[node]) or plain[node]
    return [full[o] for o in outs]


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
    limit = _limit(_where_zero(cotangent, root), root, frozenset(), units)
    if limit is None or is_const(limit, 0):
        return contributions
    square, weight = _radicand(root)
    if not is_nonnegative(square):
        return contributions  # no slope, and infinite at 0
    pairs = zip(root.args, contributions, strict=True)
    sources = [a for a, c in pairs if c is not None]
    found = iter(modes.vjp([square], sources, [limit * (0.5 * weight)]))
    there = both(equal(root, 0), _finite(limit, units))
    return [c if c is None else _selected(there, next(found), c, a, root)
            for a, c in zip(root.args, contributions, strict=True)]  # fmt: skip


def _where_zero(e: Expr, root: Expr) -> Expr:
    """`e` where the root is 0, as far as selections made here tell, element by element."""
    seen = {e}
    stack = [e]
    while stack:
        node = stack.pop()
        if node.op.kind is Kind.ELEMENTWISE:
            new = [a for a in node.args if a not in seen]
            seen.update(new)
            stack += new
    known: dict[Expr, Expr] = {}
    for node in sorted(seen, key=lambda n: n.order):
        if node.op is SELECT and _says_zero(node.args[0], root):
            known[node] = known[node.args[1]]
        elif node.op.kind is Kind.ELEMENTWISE and node.args:
            known[node] = rebuild(node, tuple([known[a] for a in node.args]))
        else:
            known[node] = node
    return known[e]


def _says_zero(condition: Expr, root: Expr) -> bool:
    """Whether it is one that is made here: root = 0, and there is a limit."""
    if condition.op is AND:
        return any(_says_zero(a, root) for a in condition.args)
    return condition.op is EQUAL and condition.args[0] is root and is_const(condition.args[1], 0)


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


def _selected(condition: Expr, limit: Expr | None, term: Expr, a: Expr, root: Expr) -> Expr:
    if root.op.reduces:
        condition = spread(condition, a, root.attrs[0])
    return select(condition, const(0, a.dtype, a.shape) if limit is None else limit, term)


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
    free = [arg(k, o.shape, o.dtype, f"cotangent {k}") for k, o in enumerate(outs)]
    units = {f: const(1, f.dtype, f.shape) for f in free}
    limits = functools.partial(with_limits, units=units)
    pulled = modes.vjp(outs, wrt, free, limits=limits)
    total: Expr | None = None
    for c, t in zip(pulled, tangents, strict=True):
        if c is not None and t is not None:
            term = sum_(c * t, tuple(range(c.ndim)))
            total = term if total is None else total + term
    if total is None:
        return [None] * len(outs)
    return modes.vjp([total], free, [const(1, total.dtype)])


def _is_long(sums: Sequence[_Sum]) -> bool:
    """Whether what is to be moved has so many slopes that they are not carried on."""
    roots = {_base(key) for one in sums for key in (*one.slopes, *one.signs)}
    return len(roots) > _MOST_CARRIED


def _in_bodies(outs: Sequence[Expr], signs: bool, known: dict[Any, Any]) -> list[Expr]:
    inside = functools.partial(extended, signs=signs, known=known)

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
    if root.op is node.op and root.attrs == node.attrs and node.op.moves in _SHOW_ALL:
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
        elif e.op.moves in _SHOW_ALL:
            stack.append((e.args[0], (e, *views)))
        elif e.op in (EQUAL, NOT_EQUAL) and is_const(e.args[1], 0):
            root, base = e.args[0], _base(e.args[0])
            if base.op.radicand is None:
                continue
            for view in views:
                root = rebuild(view, (root, *view.args[1:]))
            found.add(base if base.size == 1 else root)
    return frozenset(found)


def _collecting(nodes: Sequence[Expr], begins: tuple[Op, ...]) -> dict[Expr, tuple[int, ...]]:
    """Nodes that are sums of slopes times factors, and which arguments they have them from."""
    collects: dict[Expr, tuple[int, ...]] = {}
    for node in nodes:
        having = tuple(k for k, a in enumerate(node.args) if a in collects)
        if node.op in begins:
            if node.dtype in FLOATS:
                collects[node] = ()
        elif (
            node.op in (ADD, SUBTRACT, NEGATIVE)
            and having
            or node.op is MULTIPLY
            and len(having) == 1
            or (node.op is DIVIDE or _is_view(node))
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
    if _is_view(node):
        return sums[node.args[0]].seen(lambda e: rebuild(node, (e, *args[1:])))
    known = [_Sum(a, {}, {}) if part is None else part for a, part in zip(args, parts, strict=True)]
    if node.op.moves is Moves.JOINED:
        return _Sum.joined(node, known)
    left, right = known
    return left.plus(right.map(operator.neg) if node.op is SUBTRACT else right)


def _contracted(
    node: Expr, args: tuple[Expr, ...], sums: dict[Expr, _Sum], settled: frozenset[Expr]
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
    bases = [_base(r) for r in whole.slopes] + [absolute(x) for x in whole.signs]
    inside = []
    for q, other in enumerate(args):
        if q == p or not set(inputs[q]) <= set(labels) or len(set(inputs[q])) < other.ndim:
            continue
        if any(_between(other, b) is not None for b in bases if b.op.radicand):
            inside.append(q)
            order = sorted(range(other.ndim), key=lambda k: labels.index(inputs[q][k]))  # noqa: B023
            moved = permute(other, tuple(order))
            factor = broadcast(moved, shape, tuple(labels.index(inputs[q][k]) for k in order))
            whole = whole.map(lambda e: e * factor)  # noqa: B023
    limits = whole.extended(settled) if inside else None
    if limits is None:
        return None
    rest = [k for k in range(len(args)) if k != p and k not in inside]
    return einsum([limits, *(args[k] for k in rest)], [labels, *(inputs[k] for k in rest)], output)


def _is_view(node: Expr) -> bool:
    """Whether it has elements of its first argument alone, known ones in known places."""
    if node.op.moves is Moves.SOME:
        return all(a.op is ARRAY for a in node.args[1:])
    return node.op.moves in _SHOW_ALL


def _base(root: Expr) -> Expr:
    """The row that makes a root, below views and what joins views of it."""
    found: set[Expr] = set()
    stack = [root]
    while stack and len(found) < 2:
        node = stack.pop()
        if _is_view(node):
            stack.append(node.args[0])
        elif node.op.moves is Moves.JOINED:
            stack.extend(node.args)
        elif node.op is not CONST:
            found.add(node)
    return found.pop() if len(found) == 1 else root


def _limit(
    divided: Expr, root: Expr, settled: frozenset[Expr], units: Mapping[Expr, Expr] = _NONE
) -> Expr | None:
    """a + b r² of divided = a r + b r³ + …, or None if that is 0 everywhere."""
    base = _base(root)
    if root in settled or base.op.radicand is None or (base.size == 1 and base in settled):
        return None
    between = _between(divided, base)
    if between is None:
        return None
    found = alone(divided, between, base, root)
    if found is None:
        _left_out("which of several roots divides which element is not seen")
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


def _between(top: Expr, base: Expr) -> list[Expr] | None:
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
            _left_out(f"over {_MOST_LOOKED} nodes are above the root")
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
        _left_out(f"over {_MOST_BETWEEN} nodes are above the root")
        return None
    return found


def _left_out(why: str) -> None:
    warn(
        "a higher derivative is taken as if a quotient by a root (a norm, sqrt or abs) were 0 where"
        f" the root is exactly 0, instead of its limit: {why}. Elsewhere it is right. Write"
        " the function of the square under the root, or add a small number to that square",
        LimitWarning,
    )
