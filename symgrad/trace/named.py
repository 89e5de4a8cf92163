"""Names that the user gave to values: formulas are written with them.

A rewritten function hands over, when it returns, what its variables hold that it binds in one place
only (`source.blocks`). Of these the trace keeps expressions, never arrays or tracers: those of
few nodes that were computed from its arguments. Two values of one name are no name.

Without its source a function has no names. By how many elements a mean divides is noted in any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from symgrad.expr.node import ARG, ARRAY, CONST, Expr, const
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.inspect.naming import LENGTH
from symgrad.trace.handle import Handle
from symgrad.trace.state import CURRENT, NO_TRACE

MOST = 40  # names of one trace
LARGEST = 60  # nodes of what a name stands for
FEWEST = 5  # elements of a mean, so that 1/2 and 1/4 stay what they are
MOST_BYTES = 4096  # of an array that only a name would keep alive


def returned(value: Any, names: tuple[str, ...], *held: Any) -> Any:
    """`value`, which a function returns whose variables `names` hold `held`."""
    note({n: h.expr for n, h in zip(names, held, strict=True) if isinstance(h, Handle)})
    return value


def note(found: Mapping[str, Expr]) -> None:
    """The trace that is running has these names."""
    trace = CURRENT.get()
    if trace is not NO_TRACE and len(trace.named) < MOST:
        for name, expr in found.items():
            trace.named[name] = expr if trace.named.get(name, expr) is expr else None


def note_length(n: int) -> None:
    """A mean divides by the number of these elements: formulas give that a name."""
    trace = CURRENT.get()
    if trace is not NO_TRACE and n >= FEWEST:
        trace.named.setdefault(f"{LENGTH}{n}", const(n, "int64"))


def kept(
    named: Mapping[str, Expr | None], outs: Sequence[Expr], symbols: Iterable[Expr]
) -> dict[str, Expr]:
    """Those that are worth a name, and keep nothing alive that `outs` do not keep.

    symbols : what stands for values of one round of a loop, and for nothing outside of it
    """
    never = set(symbols)
    result: dict[str, Expr] = {}
    arrays: set[Expr] | None = None
    for name, expr in named.items():
        if name.startswith(LENGTH) and expr is not None:
            result[name] = expr
            continue
        nodes = None if expr is None or expr.op in (ARG, CONST) else _few(expr)
        if expr is None or nodes is None or not never.isdisjoint(nodes):
            continue
        large = {n for n in nodes if n.op is ARRAY and n.attrs[0].array.nbytes > MOST_BYTES}
        if large and arrays is None:
            arrays = {n for n in toposort(outs) if n.op is ARRAY}
        if not large or arrays is not None and large <= arrays:
            result[name] = expr
    return result


def _few(expr: Expr) -> Iterable[Expr] | None:
    """What `expr` is made of; None if that is much, or holds branches and loops."""
    seen = {expr}
    stack = [expr]
    while stack:
        node = stack.pop()
        if node.op.kind in (Kind.CONTROL, Kind.ITEM) or len(seen) > LARGEST:
            return None
        for a in node.args:
            if a not in seen:
                seen.add(a)
                stack.append(a)
    return seen
