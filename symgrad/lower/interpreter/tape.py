"""Scalar expressions of a statement, compiled to steps over registers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.expr.node import CONST, Expr, const_value
from symgrad.expr.walk import toposort
from symgrad.lower.scalar import GUARD, INDEX, INDEX_DIV, INDEX_MOD, LOAD
from symgrad.ops.elementwise import SELECT

if TYPE_CHECKING:
    from symgrad.lower.interpreter.machine import Machine
    from symgrad.lower.interpreter.memory import Memory


# NumPy's functions of two scalars as operators, which take a tenth of the time.
_OPERATORS: dict[Any, Callable[..., Any]] = {
    np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul,
    np.divide: operator.truediv, np.less: operator.lt, np.less_equal: operator.le,
    np.greater: operator.gt, np.greater_equal: operator.ge, np.equal: operator.eq,
    np.not_equal: operator.ne,
}  # fmt: skip


class Tape:
    """Expressions of one statement, compiled to steps over registers.

    A step is a function of the registers; what only a guard needs is a list of steps of its own.
    """

    def __init__(self, machine: Machine, exprs: Sequence[Expr]) -> None:
        names = machine.names
        nodes = toposort(exprs, names) if names else toposort(exprs)
        if names:
            below = [*exprs, *(a for n in nodes for a in n.args)]
            nodes = [*dict.fromkeys(n for n in below if n in names), *nodes]
        self.registers: list[Any] = [None] * len(nodes)
        self.at = {node: k for k, node in enumerate(nodes)}
        self.results = [self.at[e] for e in exprs]
        self.machine = machine
        self.indices: list[tuple[int, int]] = []
        for k, node in enumerate(nodes):
            if node.op is CONST:
                self.registers[k] = const_value(node)
            elif node.op is INDEX:
                self.indices.append((k, machine.slot(node)))
        done: set[Expr] = set()
        self.steps: list[Callable[[list[Any]], None]] = []
        waiting: list[tuple[list[Any], Sequence[Expr], set[Expr]]] = [(self.steps, exprs, done)]
        while waiting:
            steps, roots, before = waiting.pop()
            eager = _without_lazy(roots, before)
            known = before | eager
            for node in nodes:  # arguments first, also of what a guard may need
                if node not in eager or node.op in (CONST, INDEX):
                    continue
                if node.op is GUARD and node not in names:
                    inside: list[Any] = []
                    waiting.append((inside, node.args[1:], known))
                    steps.append(self._guard(node, inside))
                else:
                    steps.append(self._step(node))

    def run(self) -> list[Any]:
        registers, env = self.registers, self.machine.env
        for k, slot in self.indices:
            value = env[slot]
            if value is None:
                self.machine.fault("scope", "scope: a loop variable outside of its loop")
                value = 0
            registers[k] = value
        for step in self.steps:
            step(registers)
        return [registers[k] for k in self.results]

    def _guard(self, node: Expr, inside: list[Any]) -> Callable[[list[Any]], None]:
        to, condition, value = self.at[node], self.at[node.args[0]], self.at[node.args[1]]
        zero = np.dtype(node.dtype).type(0)

        def step(r: list[Any]) -> None:
            if r[condition]:
                for s in inside:
                    s(r)
                r[to] = r[value]
            else:
                r[to] = zero

        return step

    def _step(self, node: Expr) -> Callable[[list[Any]], None]:
        to, machine = self.at[node], self.machine
        found = machine.names.get(node)
        if found is not None:
            return _take(machine, found, to)
        args = [self.at[a] for a in node.args]
        if node.op is LOAD:
            memory = machine.memories[node.attrs[0]]

            def load(r: list[Any]) -> None:
                r[to] = memory.read(tuple([r[a] for a in args]), machine.lane)

            return load
        if node.op is SELECT:
            condition, a, b = args

            def select(r: list[Any]) -> None:
                r[to] = r[a] if r[condition] else r[b]

            return select
        if node.op in (INDEX_DIV, INDEX_MOD):
            a, b = args

            def divide(r: list[Any]) -> None:
                if r[a] < 0:  # C rounds towards zero, Python down
                    machine.fault("division", f"division: {r[a]} by {r[b]} in an index")
                r[to] = node.op.evaluate(r[a], r[b])

            return divide
        function = _OPERATORS.get(node.op.evaluate)
        if function is not None and len(args) == 2 and node.args[0].dtype != "bool":
            a, b = args

            def operate(r: list[Any]) -> None:
                r[to] = function(r[a], r[b])

            return operate
        evaluate, attrs, scalar = node.op.evaluate, node.attrs, np.dtype(node.dtype).type

        def general(r: list[Any]) -> None:
            result = evaluate(*[r[a] for a in args], *attrs)
            r[to] = result if type(result) is scalar else scalar(result)

        return general


def _take(
    machine: Machine, found: dict[int | None, Any] | Memory, to: int
) -> Callable[[list[Any]], None]:
    """A value with a name."""

    def take(r: list[Any]) -> None:
        if not isinstance(found, dict):
            r[to] = found.value(machine.lane)
        else:  # outside of a block of lanes it was computed for all of them
            r[to] = found[machine.lane if machine.lane in found else None]

    return take


def _without_lazy(roots: Iterable[Expr], known: set[Expr]) -> set[Expr]:
    """What is needed for `roots` whatever the guards say, apart from what is known."""
    found: set[Expr] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in found and node not in known:
            found.add(node)
            stack.extend(node.args[:1] if node.op is GUARD else node.args)
    return found
