"""Forward mode, reverse mode and vectorisation of a graph.

    jvp  : (a → b) → a → T a → T b        forward, tangents along the graph
    vjp  : (a → b) → a → T*b → T*a        reverse, cotangents against the graph
    vmap : (a → b) → [a] → [b]            one more leading axis on every node that needs it

Each walks the graph once and asks the rows for their rule; no operation is named here. A
derivative that is structurally zero is absent (None), never a zero that is multiplied through.

Reverse mode keeps the cotangent of a node as a list of (guard, term): the term holds where the
guard (a conjunction of `where` conditions, None for everywhere) is true. Local derivatives are
multiplied inside the guard, so a branch that was not taken never contributes 0 * inf = NaN. Where
elements are mixed (a sum over copies, a contraction) the guard becomes the part that is reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symgrad.errors import DifferentiationError, at_user_line
from symgrad.expr.node import FLOATS, Expr, arg, bind, const, is_const
from symgrad.expr.op import Kind
from symgrad.expr.walk import depends_on, rebuild, substitute, toposort
from symgrad.ops.elementwise import SELECT, both, select
from symgrad.ops.linear import broadcast_to, lead, sum_
from symgrad.ops.reduce import spread

Guarded = list[tuple[Expr | None, Expr]]
_MOVES_ELEMENTS = frozenset({"broadcast", "reshape", "permute", "slice"})
# Rows with an infinite derivative at a finite point: a zero that meets it must stay a zero.
_SINGULAR = frozenset(
    {
        "divide", "reciprocal", "sqrt", "cbrt", "log", "log1p", "log2", "log10", "power", "xlogy",
        "arcsin", "arccos", "arccosh", "arctanh", "arctan2", "gammaln", "digamma", "polygamma",
        "polygamma_step", "betaln", "logit",
    }
)  # fmt: skip
_REDUCE_AXES = frozenset({"max", "min", "prod", "logsumexp", "norm"})
_MOST_GUARDS = 4  # more guarded terms than this at one node are merged first


def jvp(
    outs: Sequence[Expr], wrt: Sequence[Expr], tangents: Sequence[Expr | None]
) -> list[Expr | None]:
    """Tangents of `outs` for given tangents of the nodes `wrt`.

    Returns one Expr of the output's shape per output, or None where it does not depend on `wrt`.
    """
    known: dict[Expr, Expr | None] = dict(zip(wrt, tangents, strict=True))
    for node in toposort(outs):
        if node not in known:
            incoming = [known[a] for a in node.args]
            known[node] = _push(node, incoming) if any(t is not None for t in incoming) else None
    return [known[o] for o in outs]


def _push(node: Expr, tangents: list[Expr | None]) -> Expr | None:
    row = node.op
    if node.dtype not in FLOATS:
        return None
    if row.partials is not None:
        total: Expr | None = None
        for partial, tangent in zip(row.partials, tangents, strict=True):
            factor = None if partial is None or tangent is None else partial(*node.args, node)
            if factor is not None:
                assert tangent is not None
                term = scale(tangent, factor)
                total = term if total is None else total + term
        return total
    if row.jvp is not None:
        return row.jvp(tangents, node, node.args, node.attrs)
    if row.transpose is not None:  # linear in the first argument: the row itself, on the tangent
        if tangents[0] is None:
            return None
        return bind(row, tangents[0], *node.args[1:], attrs=node.attrs)
    raise _no_rule(node)


def vjp(
    outs: Sequence[Expr], wrt: Sequence[Expr], cotangents: Sequence[Expr | None]
) -> list[Expr | None]:
    """Cotangents of the nodes `wrt` for given cotangents of `outs`.

    Returns one Expr of the node's shape per node in `wrt`, or None where no output depends on it.
    """
    nodes = toposort(outs)
    active = depends_on(nodes, wrt)
    fragile = {n for n in active if n.name in _SINGULAR}
    fragile = depends_on(nodes, fragile) & active if fragile else fragile
    pending: dict[Expr, Guarded] = {}
    for out, cotangent in zip(outs, cotangents, strict=True):
        if cotangent is not None and out in active:
            pending.setdefault(out, []).append((None, cotangent))
    sources = set(wrt)
    result: dict[Expr, Expr | None] = dict.fromkeys(wrt)
    for node in reversed(nodes):
        guarded = pending.pop(node, None)
        if guarded is None:
            continue
        if node in sources:
            result[node] = _materialize(guarded)
            continue
        guarded = _group(guarded)
        for guard, cotangent in guarded:
            for a, contribution in zip(
                node.args, _pull(node, guard, cotangent, active, fragile), strict=True
            ):
                if contribution and a in active and a.dtype in FLOATS:
                    pending.setdefault(a, []).extend(contribution)
    return [result[w] for w in wrt]


def _pull(
    node: Expr, guard: Expr | None, ct: Expr, active: set[Expr], fragile: set[Expr]
) -> list[Guarded | None]:
    """Contributions of one guarded cotangent of `node` to each of its arguments."""
    row, args = node.op, node.args
    if row is SELECT:
        taken = args[0]
        untaken = bind("logical_not", taken)
        return [
            None,
            [(taken if guard is None else both(guard, taken), ct)],
            [(untaken if guard is None else both(guard, untaken), ct)],
        ]
    if row.partials is not None:
        contributions: list[Guarded | None] = []
        for a, partial in zip(args, row.partials, strict=True):
            factor = None if partial is None or a not in active else partial(*args, node)
            contributions.append(None if factor is None else [(guard, scale(ct, factor))])
        return contributions
    if row.transpose is not None:
        if row.name == "sum" or row.name in _MOVES_ELEMENTS - {"broadcast"}:
            # The transpose only moves elements, or repeats them: the guard can go along.
            moved = None if guard is None else _transpose_guard(node, guard)
            if guard is None or moved is not None:
                return [[(moved, row.transpose(ct, args, node.attrs))], *[None] * (len(args) - 1)]
        rule = _transposed
    elif row.vjp is not None:
        rule = row.vjp
    else:
        raise _no_rule(node)
    guards: Sequence[Expr | None] | None = _guards(node, guard)
    if guards is None:
        ct = _materialize([(guard, ct)])
        if guard is not None and any(a in fragile for a in args):
            guards = _reach(node, guard)
    return [
        None if c is None else [(g, c)]
        for g, c in zip(guards or [None] * len(args), rule(ct, node, args, node.attrs), strict=True)
    ]


def _transposed(ct: Expr, node: Expr, args: tuple[Expr, ...], attrs: Any) -> list[Expr | None]:
    assert node.op.transpose is not None
    return [node.op.transpose(ct, args, attrs), *[None] * (len(args) - 1)]


def _transpose_guard(node: Expr, guard: Expr) -> Expr | None:
    if node.name == "slice":  # pad has no bool form; outside the window the cotangent is 0 anyway
        return None
    assert node.op.transpose is not None
    if node.name == "sum":
        x, axes = node.args[0], node.attrs[0]
        kept = tuple(k for k in range(x.ndim) if k not in axes)
        return bind("broadcast", guard, attrs=(x.shape, kept))
    return node.op.transpose(guard, node.args, node.attrs)


def _guards(node: Expr, guard: Expr | None) -> list[Expr] | None:
    """The guard of a result as one guard per argument, if each of their elements has just one.

    That is so for a reduction, and for everything if the guard is one condition for all elements.
    """
    if guard is None:
        return None
    if guard.name == "broadcast" and guard.args[0].shape == ():
        guard = guard.args[0]
    if guard.shape == ():
        return [broadcast_to(guard, a.shape) for a in node.args]
    if node.name in _REDUCE_AXES:
        return [spread(guard, node.args[0], node.attrs[0])]
    return None


def _reach(node: Expr, guard: Expr) -> list[Expr | None] | None:
    """Per argument, the elements that a guarded part of the result depends on; None if not known.

    It is the reverse rule applied to a pattern of ones. Elsewhere the cotangent is zero whatever
    the values are, and the guard keeps it from meeting an infinite derivative.
    """
    row, args, attrs = node.op, node.args, node.attrs
    ones = bind("convert", guard, attrs=(node.dtype,))
    counts: list[Expr | None]
    if row.kind is Kind.EINSUM:
        pattern = tuple([a if a.name == "eye" else const(1, a.dtype, a.shape) for a in args])
        counts = row.vjp(ones, node, pattern, attrs)  # type: ignore[misc]
    elif row.name == "softmax":
        counts = [spread(sum_(ones, attrs[0]), args[0], attrs[0])]
    elif row.name == "recurrence":
        counts = [bind("cumsum", ones, attrs=(attrs[0], not attrs[1]))] * 2
    elif row.transpose is not None:
        counts = _transposed(ones, node, args, attrs)
    elif row.kind is Kind.LINEAR:
        counts = row.vjp(ones, node, args, attrs)  # type: ignore[misc]
    else:
        return None
    return [
        None if c is None else bind("not_equal", c, const(0, c.dtype, c.shape)) for c in counts
    ]


def _sums(guarded: Guarded) -> Guarded:
    """One term per guard."""
    sums: dict[Expr | None, Expr] = {}
    for guard, term in guarded:
        sums[guard] = sums[guard] + term if guard in sums else term
    return list(sums.items())


def _group(guarded: Guarded) -> Guarded:
    """One term per guard; everything merged into one, under any of them, when there are many."""
    sums = _sums(guarded)
    if len(sums) <= _MOST_GUARDS:
        return sums
    merged: Expr | None = None
    for guard, _ in sums:
        if guard is None:
            return [(None, _materialize(sums))]
        merged = guard if merged is None else bind("logical_or", merged, guard)
    return [(merged, _materialize(sums))]


def _materialize(guarded: Guarded) -> Expr:
    """The cotangent as one array."""
    total: Expr | None = None
    for guard, term in _sums(guarded):
        value = term if guard is None else select(guard, term, 0)
        total = value if total is None else total + value
    assert total is not None
    return total


def scale(t: Expr, partial: object) -> Expr:
    """tangent · partial, where an exact zero of a select on either side stays an exact zero."""
    if isinstance(partial, int):
        return t if partial == 1 else -t if partial == -1 else t * partial
    assert isinstance(partial, Expr)
    conditions: list[tuple[Expr, bool]] = []
    while True:
        # x · select(c, y, 0) = select(c, x · y, 0), peeled iteratively from both factors
        if partial.op is SELECT and _has_zero_branch(partial):
            side = is_const(partial.args[2], 0)
            conditions.append((partial.args[0], side))
            partial = partial.args[1] if side else partial.args[2]
        elif t.op is SELECT and _has_zero_branch(t):
            side = is_const(t.args[2], 0)
            conditions.append((t.args[0], side))
            t = t.args[1] if side else t.args[2]
        else:
            break
    # 1/y as a partial reads better, and rounds once less, as a division
    if partial.name == "divide" and is_const(partial.args[0], 1):
        result = t / partial.args[1]
    else:
        result = t * partial
    for condition, side in reversed(conditions):
        result = select(condition, result, 0) if side else select(condition, 0, result)
    return result


def _has_zero_branch(node: Expr) -> bool:
    return is_const(node.args[1], 0) != is_const(node.args[2], 0)


def vmap(
    outs: Sequence[Expr], batched: Mapping[Expr, Expr], size: int
) -> list[Expr]:
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
        mapped[node] = args[0] if node.name == "stop_gradient" else rebuild(node, args)
    return [mapped[o] for o in outs]


def _no_rule(node: Expr) -> DifferentiationError:
    return DifferentiationError(
        at_user_line(f"{node.name} has no derivative rule (see TODO.md)", node.site)
    )
