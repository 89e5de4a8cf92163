"""Which elements a program touches, how, and under which guards: every statement says it itself.

Whoever asks where a buffer is used, whether two rounds of a loop meet, or whether an index stays
inside its axis reads it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from symgrad.expr.node import Expr
from symgrad.expr.walk import substitute, toposort
from symgrad.lower.program import Program, statements
from symgrad.lower.scalar import GUARD, INDEX, LOAD
from symgrad.lower.statement import Access, Buffer, Mode
from symgrad.lower.statements import Best, Call, Loop, Store, walks_on
from symgrad.lower.tuning import HOST_TUNING, Tuning

_MOST_GUARDS = 8  # ways to one load, each with guards of its own, that are told apart


def accesses(body: Sequence[Any]) -> Iterator[tuple[Access, tuple[Loop, ...]]]:
    """Every access in the statements of a body, with the loops around it."""
    for s, path in statements(body):
        for access in accesses_of(s):
            yield access, path


def accesses_of(statement: Any) -> list[Access]:
    """What a statement that is not a loop touches: first what its expressions read, then the rest.

    Whatever reads comes before whatever writes in the same statement, as far as it is said here.
    """
    return [*reads(statement.exprs()), *statement.touches()]


def reads(exprs: Iterable[Expr]) -> list[Access]:
    """The loads below scalar expressions, index expressions included, each under its guards."""
    nodes = toposort(exprs)
    if not any(node.op is GUARD for node in nodes):
        return [_load(n, frozenset()) for n in nodes if n.op is LOAD]
    none: frozenset[Expr] = frozenset()
    ways: dict[Expr, set[frozenset[Expr]]] = {root: {none} for root in exprs}
    for node in reversed(nodes):
        here = ways[node] = _weakest(ways[node])
        for position, a in enumerate(node.args):
            inside = here
            if node.op is GUARD and position == 1:
                inside = {way | {node.args[0]} for way in here}
            ways.setdefault(a, set()).update(inside)
    return [
        _load(n, way)
        for n in nodes
        if n.op is LOAD
        for way in sorted(ways[n], key=lambda w: sorted(c.order for c in w))
    ]


def _weakest(ways: set[frozenset[Expr]]) -> set[frozenset[Expr]]:
    """Without those that contain another one; what all have in common, if there are many."""
    kept = {way for way in ways if not any(other < way for other in ways)}
    return kept if len(kept) <= _MOST_GUARDS else {frozenset.intersection(*kept)}


def _load(node: Expr, guards: frozenset[Expr]) -> Access:
    when = tuple(sorted(guards, key=lambda c: c.order))
    return Access(node.attrs[0], Mode.READ, node.args, when=when)


def targets(statement: Any) -> list[tuple[Buffer, tuple[Expr, ...]]]:
    if isinstance(statement, Store):
        return [(statement.buffer, statement.index)]
    if isinstance(statement, Best):
        return [(b, statement.index) for b in (statement.buffer, statement.value_buffer)]
    return [statement.target] if isinstance(statement, Call) else []


def rewritten(s: Any, swap: dict[Expr, Expr]) -> Any:
    """A statement that sets elements with other expressions in the place of some."""
    if isinstance(s, Store):
        *index, value = substitute([*s.index, s.value], swap)
        return replace(s, index=tuple(index), value=value)
    if isinstance(s, Best):
        *index, value, position = substitute([*s.index, s.value, s.position], swap)
        return replace(s, index=tuple(index), value=value, position=position)
    return s


# ---- who uses a buffer, and how often ------------------------------------------------------------


def passes(program: Program, tuning: Tuning = HOST_TUNING) -> dict[str, int]:
    """How often each input comes from memory, from its first element to its last.

    Loops outside the first one that moves along an array go through it again in every round, unless
    it is small enough to stay in a cache; loops inside find what they read there.
    """
    result = {b.name: 0 for b in program.inputs}
    inputs = {b.number: b for b in program.inputs if b.shape}
    for top in program.body:
        rounds: dict[str, int] = {}
        for access, path in accesses([top]):
            array = inputs.get(access.buffer)
            if array is None:
                continue
            moving = {i for i in toposort(access.index) if i.op is INDEX}
            moving |= {i for loop in path if loop.index in moving for i in walks_on(loop)}
            count = 1
            for loop in path:
                if loop.index in moving or array.nbytes <= tuning.cached_bytes:
                    break
                count *= -(-loop.extent // loop.step)
            rounds[array.name] = max(rounds.get(array.name, 0), count)
        for name, count in rounds.items():
            result[name] += count
    return result
