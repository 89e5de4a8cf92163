"""The only traversals in the package. All iterative: a chain of a million nodes is fine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from symgrad.expr.node import Expr, bind
from symgrad.expr.op import Kind
from symgrad.expr.validate import validated


def toposort(outs: Iterable[Expr], known: Iterable[Expr] = ()) -> list[Expr]:
    """Every node that `outs` need, arguments before users, in a deterministic order.

    known : nodes that are left out, with what only they need
    """
    done: set[Expr] = set(known)
    result: list[Expr] = []
    stack: list[Expr] = list(outs)[::-1]
    push, pop = stack.append, stack.pop  # nothing is walked as often as this
    add, append = done.add, result.append
    while stack:
        node = stack[-1]
        if node in done:
            pop()
            continue
        args = node.args
        count = len(args)
        if count == 2:
            a, b = args
            if b not in done:
                push(b)
                if a not in done:
                    push(a)
                continue
            if a not in done:
                push(a)
                continue
        elif count == 1:
            if args[0] not in done:
                push(args[0])
                continue
        elif count:
            before = len(stack)
            for a in reversed(args):
                if a not in done:
                    push(a)
            if len(stack) > before:
                continue
        pop()
        add(node)
        append(node)
    return result


def users(nodes: Sequence[Expr]) -> dict[Expr, list[Expr]]:
    """For each node of a toposorted list, the nodes in the list that use it."""
    result: dict[Expr, list[Expr]] = {node: [] for node in nodes}
    for node in nodes:
        args = node.args
        for a in args if len(args) == 1 else dict.fromkeys(args):
            result[a].append(node)
    return result


def depends_on(nodes: Sequence[Expr], sources: Iterable[Expr]) -> set[Expr]:
    """The nodes of a toposorted list that depend on any of `sources` (which are included)."""
    result = set(sources)
    for node in nodes:
        if node not in result:
            for a in node.args:
                if a in result:
                    result.add(node)
                    break
    return result


def rebuild(node: Expr, args: tuple[Expr, ...]) -> Expr:
    """`node` with other arguments."""
    if args == node.args:
        return node
    new = bind(node.op, *args, attrs=node.attrs)
    if new.site is None:
        new.site = node.site
    return new


def in_bodies(
    node: Expr,
    args: tuple[Expr, ...],
    f: Callable[[Sequence[Expr]], Sequence[Expr]],
    known: dict[Any, Any] | None = None,
) -> Expr:
    """A control node with other arguments and with `f` applied to the results of its bodies.

    known : what has become of bodies before, by the same `f`. Bodies are shared: those inside of
        others would be gone through once for each way that leads to them
    """

    def mapped(body: Any) -> Any:
        if known is None:
            return body.map(f)
        found = known.get(body)
        if found is None:
            found = known[body] = body.map(f)
        return found

    attrs = tuple([
        tuple([mapped(b) for b in a]) if isinstance(a, tuple) else mapped(a) if hasattr(a, "map")
        else a for a in node.attrs
    ])  # fmt: skip
    if args == node.args and attrs == node.attrs:
        return node
    new = bind(node.op, *args, attrs=attrs)
    if new.site is None:
        new.site = node.site
    return new


def transform(
    outs: Sequence[Expr],
    rule: Callable[[Expr, tuple[Expr, ...]], Expr],
    initial: Mapping[Expr, Expr] | None = None,
) -> list[Expr]:
    """Map every node bottom-up through `rule(node, mapped args)`; `initial` is given."""
    mapped: dict[Expr, Expr] = dict(initial or {})
    for node in toposort(outs):
        if node not in mapped:
            mapped[node] = rule(node, tuple([mapped[a] for a in node.args]))
    return [mapped[o] for o in outs]


def substitute(outs: Sequence[Expr], replacement: Mapping[Expr, Expr]) -> list[Expr]:
    """`outs` with nodes replaced (inside as well), for example arguments by values."""
    if not replacement:
        return list(outs)
    nodes = toposort(outs, replacement)
    affected = depends_on(nodes, replacement)
    mapped: dict[Expr, Expr] = dict(replacement)
    for node in nodes:
        if node not in mapped:
            if node in affected:
                mapped[node] = rebuild(node, tuple([mapped[a] for a in node.args]))
            else:
                mapped[node] = node
    return [mapped[o] for o in outs]


def expand_composites(outs: Sequence[Expr], known: dict[Any, Any] | None = None) -> list[Expr]:
    """Replace composite nodes by what their rows expand to, until none is left; in bodies too."""
    known = {} if known is None else known  # bodies that are expanded
    inside = functools.partial(expand_composites, known=known)

    def rule(node: Expr, args: tuple[Expr, ...]) -> Expr:
        if node.op.kind is Kind.COMPOSITE:
            assert node.op.expand is not None
            expanded: Expr = node.op.expand(args, node.attrs)
            return expanded
        if node.op.kind is Kind.CONTROL:
            return in_bodies(node, args, inside, known)
        return rebuild(node, args)

    result = list(outs)
    while True:
        kinds = {n.op.kind for n in toposort(result)}
        if Kind.COMPOSITE not in kinds and Kind.CONTROL not in kinds:
            return result
        result = validated("expand", result, transform(result, rule))
        if Kind.COMPOSITE not in kinds:
            return result
