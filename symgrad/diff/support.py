"""Where a derivative is zero by structure.

A cotangent (or a tangent) is zero by structure where nothing depends on the element: it is not
read, or it lies on the side of a selection, a maximum or a mask that is not taken. Such a zero
stays zero whatever it meets, also the infinite derivative of a root at 0. A zero that comes out of
arithmetic, 0 · √x at x = 0, is an ordinary number: there 0 · inf is NaN, as IEEE 754 has it.

The support of an expression is a bool expression, false where it is zero by structure. It is found
by the `support` column of the rows, from the expression of the derivative itself, so forward and
reverse mode, and derivatives of derivatives, need no rules of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import ARG, CONST, PARAM, Expr, array, const, const_value
from symgrad.expr.op import Kind

Opened = TypeVar("Opened")

_MOST_NODES = 64  # a support with at most so many nodes is looked at as a whole,
_MOST_CONDITIONS = 6  # if it has at most so many conditions,
_MOST_ELEMENTS = 1 << 22  # or does not depend on arguments and has at most so many elements

_Found = Expr | None
_Asked = tuple[Expr, tuple[_Found, ...]]


@dataclass(frozen=True)
class _Shared:
    """What the supports inside of bodies have in common with those outside.

    items : supports of all results of a loop or a switch, for those of the operands
    opened : bodies with arguments of their own, by node; the same ones whenever a node is asked for
    settled : supports, and what was found of them: many nodes have the same one
    """

    items: dict[_Asked, list[_Found]] = field(default_factory=dict)
    opened: dict[Expr, Any] = field(default_factory=dict)
    settled: dict[Expr, _Found] = field(default_factory=dict)


class Supports:
    """The supports of the expressions of one derivative; each node is looked at once."""

    def __init__(
        self, known: Mapping[Expr, Expr] | None = None, shared: _Shared | None = None
    ) -> None:
        self._known: dict[Expr, Expr | None] = dict(known or {})
        self._shared = _Shared() if shared is None else shared

    def supports(self, known: Mapping[Expr, Expr]) -> Supports:
        """Supports inside a body, some of whose arguments have known ones."""
        return Supports(known, self._shared)

    def opened(self, node: Expr, make: Callable[[Expr], Opened]) -> Opened:
        """What `make` makes of a loop or a switch, once."""
        if node not in self._shared.opened:
            self._shared.opened[node] = make(node)
        found: Opened = self._shared.opened[node]
        return found

    def of(self, expr: Expr) -> Expr | None:
        """Where `expr` is not zero by structure; None for everywhere."""
        known = self._known
        stack = [expr]
        while stack:
            node = stack[-1]
            if node in known:
                stack.pop()
                continue
            is_item = node.op.kind is Kind.ITEM
            asked = node.args[0] if is_item else node
            rule = asked.op.support
            waiting = [a for a in asked.args if a not in known] if rule is not None else []
            if waiting:
                stack.extend(waiting)
                continue
            found = None
            if rule is not None:
                supports = [known[a] for a in asked.args]
                if is_item:
                    found = self._of_item(node, supports)
                else:
                    found = rule(node.args, node.attrs, supports)
            known[node] = None if found is None else self._settled(found)
            stack.pop()
        return known[expr]

    def _settled(self, support: Expr) -> Expr | None:
        known = self._shared.settled
        if support not in known:
            known[support] = settled(support)
        return known[support]

    def _of_item(self, item: Expr, supports: Sequence[_Found]) -> _Found:
        (asked,) = item.args
        which = asked, tuple(supports)
        items = self._shared.items
        if which not in items:
            assert asked.op.support is not None
            items[which] = asked.op.support(asked, supports, self)
        found: _Found = items[which][item.attrs[0]]
        return found


def settled(support: Expr) -> Expr | None:
    """`support`, or None if it is certain to be true everywhere."""
    order = _few_nodes(support)
    if order is None or support.op is CONST or any(node.op is PARAM for node in order):
        return support
    if any(node.op is ARG for node in order):
        return None if _is_tautology(support, order) else support
    if support.size > _MOST_ELEMENTS:
        return support
    (value,) = evaluate([support], {})
    if value.all():
        return None
    if not value.any():
        return const(False, "bool", support.shape)
    is_counted = any(node.op.combine or node.op.kind is Kind.EINSUM for node in order)
    return array(value) if is_counted else support


def _few_nodes(root: Expr) -> list[Expr] | None:
    """The nodes of an expression, users before arguments; None if there are many."""
    found = {root}
    stack = [root]
    while stack:
        new = [a for a in stack.pop().args if a not in found]
        found.update(new)
        stack.extend(new)
        if len(found) > _MOST_NODES:
            return None
    return sorted(found, key=lambda node: -node.order)


def _is_tautology(support: Expr, order: list[Expr]) -> bool:
    """Whether the support is true whatever its conditions are: c or not c."""
    connectives, conditions, wanted = [], [], {support}
    for node in order:
        if node in wanted:
            if node.op.kind is Kind.ELEMENTWISE and all(a.dtype == "bool" for a in node.args):
                connectives.append(node)
                wanted.update(node.args)
            elif node.op is not CONST:
                conditions.append(node)
    if not connectives or len(conditions) > _MOST_CONDITIONS:
        return False
    cases = np.array(list(itertools.product((False, True), repeat=len(conditions))))
    truth: dict[Expr, np.ndarray] = dict(zip(conditions, cases.T, strict=True))
    for node in reversed(connectives):
        values = [truth[a] if a in truth else const_value(a) for a in node.args]
        truth[node] = node.op.evaluate(*values, *node.attrs)
    return bool(np.all(truth[support]))
