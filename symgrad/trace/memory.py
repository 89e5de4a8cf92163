"""Which traced arrays share memory, and what an in-place change of one does to the others.

NumPy's views are followed, not forbidden: a change is written through to the array that owns the
memory and read again by every other view of it that is alive. Refused are changes of the
caller's arrays, of arrays that an enclosing trace made, and those where NumPy itself decides by
memory layout whether it copies.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from symgrad.errors import MutationError
from symgrad.expr.node import Expr
from symgrad.expr.op import Kind
from symgrad.trace import indexing
from symgrad.trace.state import CURRENT, fail, site

if TYPE_CHECKING:
    from symgrad.trace.tracer import Tracer


def mark(expr: Expr) -> None:
    """Note the user's line on every node that this step has made."""
    where = None
    stack = [expr]
    while stack:
        node = stack.pop()
        if node.site is None and node.op.kind is not Kind.SOURCE:
            where = where or site()
            if where is None:
                return
            node.site = where
            stack.extend(node.args)


def share(base: Tracer, view: Tracer, derive: Callable[[Expr], Any] | None) -> None:
    """Note that `view` is memory of `base`, read by `derive`; None where NumPy may have copied."""
    group = base._group
    if group is None:
        group = base._group = [weakref.ref(base)]
    if len(group) > 64 and not len(group) & (len(group) - 1):
        group[:] = [r for r in group if r() is not None]
    group.append(weakref.ref(view))
    view._group = group
    view.is_argument = base.is_argument
    if derive is not None:
        view._base, view._derive = base, derive


def writable(tracer: Tracer, what: str) -> list[Tracer]:
    """The chain of arrays to write through, from this one to the one that owns the memory."""
    chain: list[Tracer] = [tracer]
    while chain[-1]._base is not None:
        chain.append(chain[-1]._base)
    current = CURRENT.get()
    for handle in chain:
        if handle.is_argument:
            raise fail(
                MutationError,
                f"{what} changes an array that the caller passed in; write x = x * 2 instead of "
                "x *= 2, "
                "or change a copy: x = x.copy()",
            )
        if handle.owner is not current:
            raise fail(
                MutationError,
                f"{what} changes an array that was made outside the function that is being traced; "
                "return the new value instead",
            )
    for other in _others(chain):
        root = other
        while root._base is not None:
            root = root._base
        if root is not chain[-1]:
            raise fail(
                MutationError,
                f"{what} changes an array that may share its memory with another one that is alive "
                f"({other!r}), depending on the memory layout; change a .copy()",
            )
    return chain


def _others(chain: list[Tracer]) -> list[Tracer]:
    """The handles alive that share this one's memory, without those in `chain`, oldest first."""
    alive = [reference() for reference in chain[0]._group or ()]
    return [h for h in alive if h is not None and not any(h is c for c in chain)]


def store(tracer: Tracer, new: Expr, what: str) -> None:
    """Write `new` here and into the arrays of which this is a view, then let other views see it."""
    chain = writable(tracer, what)
    values = [new]
    for handle in chain[:-1]:
        assert handle._base is not None and handle._derive is not None
        written = indexing.write_through(handle._derive, handle._base.expr, values[-1])
        if written is None:
            raise fail(MutationError, f"{what}: this view is read-only; change a .copy()")
        values.append(written)
    for handle, value in zip(chain, values, strict=True):
        mark(value)
        handle.expr = value
    for other in _others(chain):
        assert other._base is not None and other._derive is not None
        other.expr = other._derive(other._base.expr)


class Part:
    """Reads x[items]."""

    __slots__ = ("items",)

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __call__(self, x: Expr) -> Expr:
        return indexing.get(x, self.items)
