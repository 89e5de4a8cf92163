"""Forward mode, reverse mode and vectorisation of a graph.

    jvp  : (a → b) → a → T a → T b        forward, tangents along the graph
    vjp  : (a → b) → a → T*b → T*a        reverse, cotangents against the graph
    vmap : (a → b) → [a] → [b]            one more leading axis on every node that needs it

Each walks the graph once and asks the rows for their rule; no operation is named here. A
derivative that is structurally zero is absent (None), never a zero that is multiplied through.

An array of derivatives can be zero by structure in a part of its elements: where a branch is not
taken, where nothing reads the element. Such zeros must not meet an infinite derivative, since
0 * inf is NaN. A selection with zeros therefore stays around what it selects: products are made
inside of it. Where an infinite derivative comes in, the support (`diff/support.py`) of the product
is asked for, and what is outside of it is selected away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from symgrad.diff.singular import has_pole, is_singular
from symgrad.diff.support import Supports
from symgrad.diff.zeros import (
    conditions_of,
    has_zero_branch,
    scale,
    selected_last,
    selected_total,
    total_of,
    under,
)
from symgrad.errors import DifferentiationError, at_user_line
from symgrad.expr.node import FLOATS, Expr, arg, bind, const, is_const
from symgrad.expr.op import Kind
from symgrad.expr.walk import depends_on, in_bodies, rebuild, substitute, toposort
from symgrad.ops.elementwise import SELECT, STOP_GRADIENT, select
from symgrad.ops.linear import BROADCAST, PAD, broadcast_to, lead
from symgrad.ops.reduce import spread

# Of a node, its cotangent and what it contributes to its arguments: what it is to contribute.
Contributions = Sequence[Expr | None]
Limits = Callable[[Expr, Expr, Contributions], Contributions]


def jvp(
    outs: Sequence[Expr],
    wrt: Sequence[Expr],
    tangents: Sequence[Expr | None],
    supports: Mapping[Expr, Expr] | None = None,
    *,
    inside: bool = False,
) -> list[Expr | None]:
    """Tangents of `outs` for given tangents of the nodes `wrt`.

    Returns one Expr of the output's shape per output, or None where it does not depend on `wrt`.

    supports : where tangents are not zero by structure, if they cannot tell themselves
    inside : of a body in which infinities may come in from outside
    """
    nodes = toposort(outs)
    active = depends_on(nodes, wrt)
    infinite = _Infinite(nodes, active, supports, inside)
    infinite.met = depends_on(nodes, [*infinite.made, *wrt] if inside else infinite.made)
    known: dict[Expr, Expr | None] = dict(zip(wrt, tangents, strict=True))
    of_items: dict[Expr, list[Expr | None]] = {}
    for node in nodes:
        if node in known:
            continue
        kind = node.op.kind
        pushed = None
        if kind is Kind.ITEM:
            if node.args[0] in of_items:
                pushed = of_items[node.args[0]][node.attrs[0]]
        else:
            incoming = [known[a] for a in node.args]
            if any(t is not None for t in incoming):
                if node.dtype in FLOATS:
                    pushed = _push(node, incoming, infinite)
                elif kind is Kind.CONTROL:
                    assert node.op.jvp is not None
                    of_items[node] = node.op.jvp(incoming, node, Calculus(infinite, node))
        known[node] = pushed
    return [known[o] for o in outs]


class Calculus:
    """What rules of control nodes ask for: derivatives of their bodies.

    guarded : whether infinities may come in, or arise inside
    outside : supports of tangents and cotangents around the node
    """

    def __init__(self, infinite: _Infinite, node: Expr) -> None:
        self.guarded = node in infinite.made or node in infinite.met
        self.outside = infinite.supports
        self.limits = infinite.limits

    def jvp(
        self, outs: Any, wrt: Any, tangents: Any, supports: Mapping[Expr, Expr]
    ) -> list[Expr | None]:
        """`jvp` of a body; `supports` of the tangents."""
        return jvp(outs, wrt, tangents, supports, inside=self.guarded)

    def vjp(
        self, outs: Any, wrt: Any, cotangents: Any, supports: Mapping[Expr, Expr]
    ) -> list[Expr | None]:
        """`vjp` of a body; `supports` of the cotangents."""
        return vjp(outs, wrt, cotangents, supports, inside=self.guarded, limits=self.limits)

    def supports(self, known: Mapping[Expr, Expr]) -> Supports:
        """Supports inside a body, some of whose arguments have known ones."""
        return Supports(known)


class _Infinite:
    """The nodes of a derivative where infinities come in, or have come in before.

    made : nodes with derivatives that may be infinite
    met : nodes on the way from there; in forward mode to the results, in reverse mode to the
        arguments
    """

    def __init__(
        self,
        nodes: Sequence[Expr],
        active: set[Expr],
        supports: Mapping[Expr, Expr] | None = None,
        inside: bool = False,
    ) -> None:
        values = set(nodes) if inside else depends_on(nodes, [n for n in nodes if has_pole(n)])
        self.made = {
            n for n in nodes
            if n in active and is_singular(n, n in values or any(a in values for a in n.args))
        }  # fmt: skip
        self.met: set[Expr] = set()
        self.supports = Supports(supports)
        self.limits: Limits | None = None

    def scale(self, t: Expr, partial: object, node: Expr) -> Expr | None:
        """tangent · partial of `node`, where a zero by structure of either stays a zero."""
        return scale(t, partial, self.supports, node in self.made, node in self.met)

    def selected(self, expr: Expr, pattern: Expr) -> Expr | None:
        """`expr` where `pattern` is not zero by structure; None if that is nowhere."""
        support = self.supports.of(pattern)
        if support is None:
            return expr
        return None if is_const(support, 0) else select(support, expr, 0)

    def read(self, node: Expr, tangents: list[Expr | None]) -> list[Expr | None]:
        """Tangents of the arguments of a contraction; zero where a mask is, which may meet inf."""
        assert node.op.vjp is not None
        pulled = node.op.vjp(const(1, node.dtype, node.shape), node, node.args, node.attrs)
        return [
            None if t is None else self.selected(t, p)
            for t, p in zip(tangents, pulled, strict=True)
        ]  # fmt: skip

    def kept(self, result: Expr, node: Expr) -> Expr | None:
        """The tangent or cotangent that a rule of `node` made; zero where it is by structure."""
        result = selected_last(result)
        if node not in self.met:
            return result
        conditions, inside = conditions_of(result)
        if inside.op is PAD:
            return result
        kept = self.selected(inside, inside)
        return None if kept is None else under(conditions, kept)


def _push(node: Expr, tangents: list[Expr | None], infinite: _Infinite) -> Expr | None:
    row = node.op
    if row.partials is not None:
        total: Expr | None = None
        for partial, tangent in zip(row.partials, tangents, strict=True):
            factor = None if partial is None or tangent is None else partial(*node.args, node)
            if factor is not None:
                assert tangent is not None
                term = infinite.scale(tangent, factor, node)
                if term is not None:
                    total = term if total is None else total + term
        return total
    if row.jvp is not None:
        if row.kind is Kind.EINSUM and node in infinite.met:
            tangents = infinite.read(node, tangents)
            if all(t is None for t in tangents):
                return None
        pushed = row.jvp(tangents, node, node.args, node.attrs)
    elif row.transpose is None:
        raise _no_rule(node)
    elif tangents[0] is None:
        return None
    else:  # linear in the first argument: the row itself, on the tangent
        pushed = bind(row, tangents[0], *node.args[1:], attrs=node.attrs)
    return None if pushed is None else infinite.kept(pushed, node)


def vjp(
    outs: Sequence[Expr],
    wrt: Sequence[Expr],
    cotangents: Sequence[Expr | None],
    supports: Mapping[Expr, Expr] | None = None,
    *,
    inside: bool = False,
    limits: Limits | None = None,
) -> list[Expr | None]:
    """Cotangents of the nodes `wrt` for given cotangents of `outs`; the rest as for `jvp`.

    Returns one Expr of the node's shape per node in `wrt`, or None where no output depends on it.

    limits : what is to be done where the results are differentiated again (`diff/limits.py`)
    """
    nodes = toposort(outs)
    active = depends_on(nodes, wrt)
    infinite = _Infinite(nodes, active, supports, inside)
    infinite.limits = limits
    if inside:
        infinite.met.update(outs)
    for node in reversed(nodes):
        if node in infinite.made or node in infinite.met:
            infinite.met.update(node.args)
    pending: dict[Expr, list[Expr]] = {}
    for out, cotangent in zip(outs, cotangents, strict=True):
        if cotangent is not None and out in active:
            pending.setdefault(out, []).append(cotangent)
    sources = set(wrt)
    result: dict[Expr, Expr | None] = dict.fromkeys(wrt)
    of_items: dict[Expr, dict[int, Expr]] = {}
    for node in reversed(nodes):
        kind = node.op.kind
        if kind is Kind.CONTROL:
            given = of_items.pop(node, None)
            if given is not None:
                pulled = _pull_control(node, given, active, infinite)
                _note(pending, node, pulled, active)
            continue
        terms = pending.pop(node, None)
        if terms is None:
            continue
        if node in sources:
            result[node] = total_of(terms)
            continue
        total = selected_total(terms)
        if kind is Kind.ITEM:
            of_items.setdefault(node.args[0], {})[node.attrs[0]] = total
        else:
            contributions: Contributions = _pull(node, total, active, infinite)
            if limits is not None:
                contributions = limits(node, total, contributions)
            _note(pending, node, contributions, active)
    return [result[w] for w in wrt]


def _note(
    pending: dict[Expr, list[Expr]],
    node: Expr,
    pulled: Contributions,
    active: set[Expr],
) -> None:
    """Contributions of a node to the cotangents of its arguments."""
    for a, contribution in zip(node.args, pulled, strict=True):
        if contribution is not None and a in active and a.dtype in FLOATS:
            pending.setdefault(a, []).append(contribution)


def _pull_control(
    node: Expr, given: Mapping[int, Expr], active: set[Expr], infinite: _Infinite
) -> list[Expr | None]:
    """Contributions of the cotangents of a node's results to each of its arguments."""
    if node.op.vjp is None or node.op.results is None:
        raise _no_rule(node)
    count = len(node.op.results(node.args, node.attrs))
    wanted = [a in active and a.dtype in FLOATS for a in node.args]
    pulled: list[Expr | None] = node.op.vjp(
        [given.get(k) for k in range(count)], node, wanted, Calculus(infinite, node)
    )
    return pulled


def _pull(node: Expr, ct: Expr, active: set[Expr], infinite: _Infinite) -> list[Expr | None]:
    """Contributions of the cotangent of `node` to each of its arguments."""
    row, args = node.op, node.args
    if row.partials is not None:
        contributions: list[Expr | None] = []
        for a, partial in zip(args, row.partials, strict=True):
            factor = None if partial is None or a not in active else partial(*args, node)
            contributions.append(None if factor is None else infinite.scale(ct, factor, node))
        return contributions
    if row.transpose is not None:
        pulled = [row.transpose(ct, args, node.attrs), *[None] * (len(args) - 1)]
    elif row.vjp is not None:
        if row.kind is Kind.EINSUM and node in infinite.met:
            reached = infinite.selected(ct, node)
            if reached is None:
                return [None] * len(args)
            ct = reached
        pulled = row.vjp(ct, node, args, node.attrs)
    else:
        raise _no_rule(node)
    conditions = [] if row is SELECT else conditions_of(ct)[0]
    result: list[Expr | None] = []
    for a, c in zip(args, pulled, strict=True):
        kept = None if c is None else infinite.kept(c, node)
        if kept is not None and kept.op is not PAD and not has_zero_branch(kept):
            own = [(_condition_of(node, k, a), side) for k, side in conditions]
            kept = under([(k, side) for k, side in own if k is not None], kept)
        result.append(kept)
    return result


def _condition_of(node: Expr, condition: Expr, a: Expr) -> Expr | None:
    """The condition of a result for its argument `a`, if each of its elements has just one.

    That is so for a reduction, and for everything if it is one condition for all elements.
    """
    if condition.op is BROADCAST and condition.args[0].shape == ():
        condition = condition.args[0]
    if condition.shape == ():
        return broadcast_to(condition, a.shape)
    return spread(condition, a, node.attrs[0]) if node.op.reduces else None


def vmap(outs: Sequence[Expr], batched: Mapping[Expr, Expr], size: int) -> list[Expr]:
    """`outs` with a leading axis of `size`, given batched versions of some nodes.

    An output that does not depend on a batched node is repeated.
    """
    made, flags = batched_outs(outs, batched, size)
    return [o if f else lead(o, size) for o, f in zip(made, flags, strict=True)]


class _Batches:
    """What rules of control nodes ask for: batches of the results of their bodies."""

    @staticmethod
    def vmap(
        outs: Sequence[Expr], batched: Mapping[Expr, Expr], size: int
    ) -> tuple[list[Expr], list[bool]]:
        """`batched_outs` of a body."""
        return batched_outs(outs, batched, size)


def batched_outs(
    outs: Sequence[Expr], batched: Mapping[Expr, Expr], size: int
) -> tuple[list[Expr], list[bool]]:
    """`vmap`, and which results depend on a batched node; the others stay as they are."""
    known: dict[Expr, Expr] = dict(batched)
    active = set(batched)
    of_items: dict[Expr, tuple[list[Expr], list[bool]]] = {}
    for node in toposort(outs):
        if node in known:
            continue
        flags = [a in active for a in node.args]
        args = tuple([known[a] for a in node.args])
        if not any(flags):
            known[node] = rebuild(node, args)
            continue
        active.add(node)
        kind = node.op.kind
        if kind is Kind.ITEM:
            values, marks = of_items[node.args[0]]
            known[node] = values[node.attrs[0]]
            if not marks[node.attrs[0]]:
                active.discard(node)
        elif kind is Kind.ELEMENTWISE:
            full = [a if f else lead(a, size) for a, f in zip(args, flags, strict=True)]
            known[node] = bind(node.op, *full, attrs=node.attrs)
        elif node.op.batch is None:
            raise DifferentiationError(at_user_line(f"{node.name} has no batching rule", node.site))
        elif kind is Kind.CONTROL:
            of_items[node] = node.op.batch(args, flags, node, size, _Batches)
        else:
            known[node] = node.op.batch(args, flags, node.attrs, size)
            if known[node].shape == node.shape:  # one for all, such as a check
                active.discard(node)
        if known.setdefault(node, node).site is None:
            known[node].site = node.site
    return [known[o] for o in outs], [o in active for o in outs]


def map_linear(out: Expr, variable: Expr, value: Expr) -> Expr:
    """`out`, linear in `variable`, for all of `value`, an array of such variables: its axes first.

    vmap once per axis, so that every axis of a delta keeps its own.
    """
    exprs = [out]
    for n in reversed(value.shape[: value.ndim - variable.ndim]):
        wider = arg(0, (n, *variable.shape), variable.dtype)
        exprs = vmap(exprs, {variable: wider}, n)
        variable = wider
    return substitute(exprs, {variable: value})[0]


def zeros_like(node: Expr) -> Expr:
    """The zero tangent or cotangent of a node, where a caller needs an actual array."""
    return const(0, node.dtype, node.shape)


def drop_stops(outs: Sequence[Expr]) -> list[Expr]:
    """Remove stop_gradient once no further derivative will be taken; in bodies too."""
    mapped: dict[Expr, Expr] = {}
    for node in toposort(outs):
        args = tuple([mapped[a] for a in node.args])
        if node.op is STOP_GRADIENT:
            mapped[node] = args[0]
        elif node.op.kind is Kind.CONTROL:
            mapped[node] = in_bodies(node, args, drop_stops)
        else:
            mapped[node] = rebuild(node, args)
    return [mapped[o] for o in outs]


def _no_rule(node: Expr) -> DifferentiationError:
    return DifferentiationError(
        at_user_line(f"{node.name} has no derivative rule (see TODO.md)", node.site)
    )
