"""Which traced arrays share memory, and what an in-place change of one does to the others.

NumPy's views are followed, not forbidden: a change is written through to the array that owns the
memory and read again by every other view of it that is alive. The caller's arrays stay as they
were, with a warning. Where a traced decision says which of two arrays a variable has, a change of
it changes either where that holds. Refused are changes of arrays that an enclosing trace made, and
those where NumPy itself decides by memory layout whether it copies.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.errors import MutationError, MutationWarning, at_user_line, warn
from symgrad.expr.node import Expr, arg, array, bind, const
from symgrad.expr.op import Kind
from symgrad.ops.control import branch
from symgrad.ops.linear import gather, reshape, slice_
from symgrad.trace import indexing, journal
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
            if where is None:
                where = site()
                if where is None:
                    return
                for a in node.args:
                    if a.site == where:
                        where = a.site  # one object for all of a line
                        break
            node.site = where
            stack.extend(node.args)


def share(base: Tracer, view: Tracer, derive: Callable[[Expr], Any] | None) -> None:
    """Note that `view` is memory of `base`, read by `derive`; None where NumPy may have copied."""
    if base.is_known:
        base.become()
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
            error = fail(
                MutationError,
                f"{what} changes an array that may share its memory with another one that is alive "
                f"({other!r}), depending on the memory layout; change a .copy()",
            )
            # one that is the other on one side of a branch can be followed path by path
            branches = [h.expr.args[0] for h in (root, chain[-1]) if h.expr.op.kind is Kind.ITEM]
            error.decisions = frozenset([b.site for b in branches if b.site]) or None
            raise error
    return chain


def _others(chain: list[Tracer]) -> list[Tracer]:
    """The handles alive that share this one's memory, without those in `chain`, oldest first."""
    alive = [reference() for reference in chain[0]._group or ()]
    return [h for h in alive if h is not None and not any(h is c for c in chain)]


def join(joined: Tracer, sources: Sequence[tuple[Tracer, Expr | None]]) -> None:
    """Note that `joined` is each of `sources` where its truth holds; None where nobody knows.

    What the sources are linked with, `joined` is linked with: it may outlive them.
    """
    found: dict[int, tuple[Tracer, Expr | None]] = {}
    for source, truth in sources:
        if source.is_known:
            source.become()
        for other, where in [(source, _ALWAYS), *_linked(source)]:
            both = _both(truth, where)
            if id(other) in found:
                both = _either(found[id(other)][1], both)
            found[id(other)] = other, both
    joined._links = [
        (weakref.ref(other), truth, None if other._base is None else other)
        for other, truth in found.values()
    ]
    for other, truth in found.values():
        links = other._links = other._links or []
        if len(links) > 64 and not len(links) & (len(links) - 1):
            links[:] = [link for link in links if link[0]() is not None]
        links.append((weakref.ref(joined), truth, None))


_ALWAYS = const(True, "bool")


def _both(a: Expr | None, b: Expr | None) -> Expr | None:
    if a is None or b is None:
        return None
    return b if a is _ALWAYS else a if b is _ALWAYS else bind("logical_and", a, b)


def _either(a: Expr | None, b: Expr | None) -> Expr | None:
    return None if a is None or b is None else bind("logical_or", a, b)


def _linked(handle: Tracer) -> list[tuple[Tracer, Expr | None]]:
    """The arrays alive that are this one in some cases."""
    return [(h, truth) for r, truth, _ in handle._links or () if (h := r()) is not None]


def _pass_on(root: Tracer, what: str) -> None:
    """Have the arrays that are this one in some cases, or a view of it, see that it has changed.

    What is in them is not known where nobody knows whether they are it: results that depend on that
    are refused.
    """
    seen = {id(root)}
    handles = [root, *_others([root])]
    for handle in handles:
        for other, truth in _linked(handle):
            chain = writable(other, what)
            if truth is None or id(chain[-1]) in seen:
                _write(chain, _unknown(other, what), what)
            else:
                _write(chain, branch(truth, [handle.expr], [other.expr])[0], what)
            if id(chain[-1]) not in seen:
                seen.add(id(chain[-1]))
                handles += [h for h in (chain[-1], *_others([chain[-1]])) if h is not other]


def _unknown(handle: Tracer, what: str) -> Expr:
    """What stands for content that is not known."""
    made = arg(0, handle.expr.shape, handle.expr.dtype)
    CURRENT.get().symbols[made] = MutationError(
        at_user_line(
            f"{what} changes an array that may share its memory with another one that is used "
            "later, depending on traced values; change a .copy()"
        )
    )
    return made


def store(tracer: Tracer, new: Expr, what: str) -> None:
    """Write `new` here and into the arrays of which this is a view, then let other views see it."""
    chain = writable(tracer, what)
    if tracer.is_argument:
        warn(
            f"{what} changes an array that the caller passed in: the function goes on with what "
            "it has changed, as in NumPy, but the caller's array stays as it was. Change a "
            ".copy() to say so",
            MutationWarning,
        )
    _write(chain, new, what)
    _pass_on(chain[-1], what)


def _write(chain: list[Tracer], new: Expr, what: str) -> None:
    values = [new]
    for handle in chain[:-1]:
        assert handle._base is not None and handle._derive is not None
        written = indexing.write_through(handle._derive, handle._base.expr, values[-1])
        if written is None:
            raise fail(MutationError, f"{what}: this view is read-only; change a .copy()")
        values.append(written)
    for handle, value in zip(chain, values, strict=True):
        mark(value)
        journal.note_handle(handle)
        handle.expr = value
    for other in _others(chain):
        assert other._base is not None and other._derive is not None
        journal.note_handle(other)
        other.expr = other._derive(other._base.expr)


def hold(tracer: Tracer, new: Expr) -> None:
    """Let an array that owns its memory hold `new`, and its views see it; not as a store of the
    user's.
    """
    journal.note_handle(tracer)
    tracer.expr = new
    for other in _others([tracer]):
        if other._base is not None and other._derive is not None:
            journal.note_handle(other)
            other.expr = other._derive(other._base.expr)


class Part:
    """Reads x[items]."""

    __slots__ = ("items",)

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __call__(self, x: Expr) -> Expr:
        return indexing.get(x, self.items)


# ---- plain arrays as elements in memory ----------------------------------------------------------


class Reader:
    """Reads an array out of the elements of a owner, in the order of memory."""

    __slots__ = ("positions", "shape", "start")

    def __init__(self, start: int, positions: np.ndarray | None, shape: tuple[int, ...]) -> None:
        self.start, self.positions, self.shape = start, positions, shape

    def __call__(self, memory: Expr) -> Expr:
        if self.positions is not None:
            return reshape(gather(memory, array(self.positions.ravel()), 0), self.shape)
        size = int(np.prod(self.shape))
        return reshape(slice_(memory, (self.start,), (size,), (1,)), self.shape)


def reader_of(owner: np.ndarray, value: np.ndarray) -> Reader:
    """How `value`, whose memory is that of `owner`, is read out of `content(owner)`."""
    return reader_at(np.lib.array_utils.byte_bounds(owner)[0], owner.dtype, value)


def reader_at(low: int, dtype: np.dtype, value: np.ndarray, where: str = "") -> Reader:
    """The same, of memory that begins at address `low`."""
    size, start = value.itemsize, value.__array_interface__["data"][0] - low
    if value.dtype != dtype or start % size or any(s % size for s in value.strides):
        raise fail(
            MutationError,
            f"an array of {value.dtype} shares its memory with one of {dtype} that was "
            f"changed in place{where}; use a .copy()",
        )
    if value.flags.c_contiguous:
        return Reader(start // size, None, value.shape)
    positions = np.full(value.shape, start // size, np.int64)
    for axis, (n, stride) in enumerate(zip(value.shape, value.strides, strict=True)):
        steps = np.arange(n, dtype=np.int64) * (stride // size)
        positions += steps.reshape([-1 if k == axis else 1 for k in range(value.ndim)])
    return Reader(0, positions, value.shape)


def content(owner: np.ndarray) -> Expr:
    """The elements of an array in the order of memory."""
    ordered = owner.transpose(np.argsort([-abs(s) for s in owner.strides], kind="stable"))
    return array(ordered[tuple(slice(None, None, -1 if s < 0 else 1) for s in ordered.strides)]
                 .reshape(-1))  # fmt: skip
