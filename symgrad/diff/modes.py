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

from collections.abc import Mapping, Sequence
from typing import Any

from symgrad.diff.support import Supports, has_pole, is_singular, settled
from symgrad.errors import DifferentiationError, at_user_line
from symgrad.expr.node import CONST, FLOATS, Expr, arg, bind, const, is_const
from symgrad.expr.op import Kind
from symgrad.expr.walk import depends_on, rebuild, substitute, toposort
from symgrad.ops.elementwise import DIVIDE, SELECT, STOP_GRADIENT, invert, join, meet, select
from symgrad.ops.linear import BROADCAST, PAD, broadcast_to, is_view, lead, pad, slice_
from symgrad.ops.reduce import spread

_Condition = tuple[Expr, bool]  # a bool expression, and what it is where a value is not zero
# The zeros around a product: a condition, or the shape, starts and steps of a window.
_Zeros = _Condition | tuple[Any, Any, Any]


def jvp(
    outs: Sequence[Expr], wrt: Sequence[Expr], tangents: Sequence[Expr | None]
) -> list[Expr | None]:
    """Tangents of `outs` for given tangents of the nodes `wrt`.

    Returns one Expr of the output's shape per output, or None where it does not depend on `wrt`.
    """
    nodes = toposort(outs)
    active = depends_on(nodes, wrt)
    infinite = _Infinite(nodes, active)
    infinite.met = depends_on(nodes, infinite.made)
    known: dict[Expr, Expr | None] = dict(zip(wrt, tangents, strict=True))
    for node in nodes:
        if node not in known:
            incoming = [known[a] for a in node.args]
            pushed = None
            if node.dtype in FLOATS and any(t is not None for t in incoming):
                pushed = _push(node, incoming, infinite)
            known[node] = pushed
    return [known[o] for o in outs]


class _Infinite:
    """The nodes of a derivative where infinities come in, or have come in before.

    made : nodes with derivatives that may be infinite
    met : nodes on the way from there; in forward mode to the results, in reverse mode to the
        arguments
    """

    def __init__(self, nodes: Sequence[Expr], active: set[Expr]) -> None:
        values = depends_on(nodes, [n for n in nodes if has_pole(n)])
        self.made = {
            n for n in nodes
            if n in active and is_singular(n, n in values or any(a in values for a in n.args))
        }  # fmt: skip
        self.met: set[Expr] = set()
        self.supports = Supports()

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
        result = _selected_last(result)
        if node not in self.met:
            return result
        conditions, inside = _conditions(result)
        if inside.op is PAD:
            return result
        kept = self.selected(inside, inside)
        return None if kept is None else _under(conditions, kept)


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
    outs: Sequence[Expr], wrt: Sequence[Expr], cotangents: Sequence[Expr | None]
) -> list[Expr | None]:
    """Cotangents of the nodes `wrt` for given cotangents of `outs`.

    Returns one Expr of the node's shape per node in `wrt`, or None where no output depends on it.
    """
    nodes = toposort(outs)
    active = depends_on(nodes, wrt)
    infinite = _Infinite(nodes, active)
    for node in reversed(nodes):
        if node in infinite.made or node in infinite.met:
            infinite.met.update(node.args)
    pending: dict[Expr, list[Expr]] = {}
    for out, cotangent in zip(outs, cotangents, strict=True):
        if cotangent is not None and out in active:
            pending.setdefault(out, []).append(cotangent)
    sources = set(wrt)
    result: dict[Expr, Expr | None] = dict.fromkeys(wrt)
    for node in reversed(nodes):
        terms = pending.pop(node, None)
        if terms is None:
            continue
        if node in sources:
            result[node] = _total(terms)
            continue
        pulled = _pull(node, _selected_total(terms), active, infinite)
        for a, contribution in zip(node.args, pulled, strict=True):
            if contribution is not None and a in active and a.dtype in FLOATS:
                pending.setdefault(a, []).append(contribution)
    return [result[w] for w in wrt]


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
    conditions = [] if row is SELECT else _conditions(ct)[0]
    result: list[Expr | None] = []
    for a, c in zip(args, pulled, strict=True):
        kept = None if c is None else infinite.kept(c, node)
        if kept is not None and kept.op is not PAD and not _has_zero_branch(kept):
            own = [(_condition_of(node, k, a), side) for k, side in conditions]
            kept = _under([(k, side) for k, side in own if k is not None], kept)
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


def _total(terms: Sequence[Expr]) -> Expr:
    """Their sum; terms under one condition are added under it."""
    sums: dict[_Condition | None, Expr] = {}
    for term in terms:
        conditions, _ = _conditions(term, most=1)
        key = conditions[0] if conditions else None
        inside = term if key is None else term.args[1 if key[1] else 2]
        sums[key] = sums[key] + inside if key in sums else inside
    total: Expr | None = None
    for key, inside in sums.items():
        term = inside if key is None else _under([key], inside)
        total = term if total is None else total + term
    assert total is not None
    return total


def _selected_total(terms: Sequence[Expr]) -> Expr:
    """Their sum, selected where one of them is not zero by a condition."""
    total = _total(terms)
    anywhere: Expr | None = None
    for term in terms:
        conditions, _ = _conditions(term, most=1)
        if not conditions:
            return total
        condition, side = conditions[0]
        condition = condition if side else invert(condition)
        anywhere = condition if anywhere is None else join(anywhere, condition)
    if anywhere is None or _conditions(total)[0]:
        return total
    anywhere = settled(anywhere)
    return total if anywhere is None else select(anywhere, total, 0)


def scale(
    t: Expr,
    partial: object,
    supports: Supports | None = None,
    meets_infinite: bool = False,
    is_infinite: bool = False,
) -> Expr | None:
    """tangent · partial, where a zero by structure on either side stays a zero; None for one.

    Selections with zeros, and the zeros around a window, stay outermost. If the partial can be
    infinite the support of the tangent is selected as well (`meets_infinite`), if the tangent can,
    that of the partial (`is_infinite`).
    """
    if isinstance(partial, int):
        if partial == 1:
            return t
        conditions, t = _conditions(t)
        return _under(conditions, -t if partial == -1 else t * partial)
    assert isinstance(partial, Expr)
    around, t, partial = _opened(t, partial)
    support = None
    if supports is not None:
        # a constant 0 is arithmetic: the user's own
        support = meet(
            supports.of(t) if meets_infinite and t.op is not CONST else None,
            supports.of(partial) if is_infinite and partial.op is not CONST else None,
        )
    # 1/y as a partial reads better, and rounds once less, as a division
    if partial.op is DIVIDE and is_const(partial.args[0], 1):
        result = t / partial.args[1]
    else:
        result = t * partial
    if support is not None and is_const(support, 0):
        return None
    if support is not None and (support, True) not in around:
        around.append((support, True))
    return _closed(around, result)


def _opened(t: Expr, partial: Expr) -> tuple[list[_Zeros], Expr, Expr]:
    """The zeros around the two factors of a product, the outermost first, and what is inside."""
    around: list[_Zeros] = []
    while True:
        if _has_zero_branch(partial):
            conditions, partial = _conditions(partial)
            around += conditions
        elif _has_zero_branch(t):
            conditions, t = _conditions(t)
            around += conditions
        elif t.op is PAD:
            shape, starts, steps = t.attrs
            around.append((shape, starts, steps))
            t = t.args[0]
            partial = slice_(partial, starts, t.shape, steps)
        else:
            return around, t, partial


def _closed(around: Sequence[_Zeros], inside: Expr) -> Expr:
    """`inside` with the zeros around it again."""
    conditions: list[_Condition] = []
    for zeros in reversed(around):
        if len(zeros) == 2:
            conditions.append(zeros)
        else:
            inside = pad(_under_all(conditions, inside), *zeros)
            conditions = []
    return _under_all(conditions, inside)


def _has_zero_branch(e: Expr) -> bool:
    return e.op is SELECT and is_const(e.args[1], 0) != is_const(e.args[2], 0)


def _conditions(e: Expr, most: int | None = None) -> tuple[list[_Condition], Expr]:
    """The selections with zeros around an expression, the outermost first, and what is inside."""
    conditions: list[_Condition] = []
    while _has_zero_branch(e) and len(conditions) != most:
        side = is_const(e.args[2], 0)
        conditions.append((e.args[0], side))
        e = e.args[1 if side else 2]
    return conditions, e


def _under(conditions: Sequence[_Condition], e: Expr) -> Expr:
    """`e` inside of selections with zeros."""
    for condition, side in reversed(conditions):
        e = select(condition, e, 0) if side else select(condition, 0, e)
    return e


def _under_all(conditions: list[_Condition], e: Expr) -> Expr:
    """`e` inside of one selection for all of the conditions, the innermost first.

    Nested, those of a long chain would be built again at each of its nodes.
    """
    if len(conditions) < 2:
        return _under(conditions, e)
    every = meet(*[c if side else invert(c) for c, side in reversed(conditions)])
    assert every is not None
    return select(every, e, 0)


def _selected_last(e: Expr) -> Expr:
    """The same with what is moved or repeated selected afterwards."""
    moves: list[Expr] = []
    inside = e
    while is_view(inside):
        moves.append(inside)
        inside = inside.args[0]
    if not moves or not _has_zero_branch(inside):
        return e
    conditions, inside = _conditions(inside)
    for m in reversed(moves):
        inside = rebuild(m, (inside, *m.args[1:]))
        conditions = [(rebuild(m, (c, *m.args[1:])), side) for c, side in conditions]
    return _under(conditions, inside)


def vmap(outs: Sequence[Expr], batched: Mapping[Expr, Expr], size: int) -> list[Expr]:
    """`outs` with a leading axis of `size`, given batched versions of some nodes.

    An output that does not depend on a batched node is repeated.
    """
    nodes = toposort(outs)
    active = depends_on(nodes, batched)
    known: dict[Expr, Expr] = dict(batched)
    for node in nodes:
        if node in known:
            continue
        if node not in active:
            known[node] = node
        else:
            flags = [a in active for a in node.args]
            args = tuple([known[a] for a in node.args])
            if node.op.kind is Kind.ELEMENTWISE:
                full = [a if f else lead(a, size) for a, f in zip(args, flags, strict=True)]
                known[node] = bind(node.op, *full, attrs=node.attrs)
            elif node.op.batch is not None:
                known[node] = node.op.batch(args, flags, node.attrs, size)
            else:
                raise DifferentiationError(
                    at_user_line(f"{node.name} has no batching rule", node.site)
                )
            if known[node].site is None:
                known[node].site = node.site
    return [known[o] if o in active else lead(o, size) for o in outs]


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
    """Remove stop_gradient once no further derivative will be taken."""
    mapped: dict[Expr, Expr] = {}
    for node in toposort(outs):
        args = tuple([mapped[a] for a in node.args])
        mapped[node] = args[0] if node.op is STOP_GRADIENT else rebuild(node, args)
    return [mapped[o] for o in outs]


def _no_rule(node: Expr) -> DifferentiationError:
    return DifferentiationError(
        at_user_line(f"{node.name} has no derivative rule (see TODO.md)", node.site)
    )
