"""Run a graph with NumPy: the reference semantics, the fallback without a C compiler, the oracle.

`check` is the validity test of a graph that the test suite runs after every pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from symgrad.errors import SymgradError
from symgrad.expr.node import ARG, DTYPES, EYE, PARAM, TUPLE, Expr
from symgrad.expr.op import OPS, Kind
from symgrad.expr.walk import toposort


def evaluate(outs: Sequence[Expr], values: Mapping[Expr, np.ndarray]) -> list[np.ndarray]:
    """The values of `outs`, given an array for every argument node (or parameter of a body).

    Memory of an intermediate result is released after its last use.
    """
    return Steps(outs).run(values)


class Steps:
    """What computes `outs`: found once for bodies, which run in every round of a loop."""

    __slots__ = ("count", "inputs", "outs", "steps")

    def __init__(self, outs: Sequence[Expr]) -> None:
        nodes = toposort(outs)
        place = {node: k for k, node in enumerate(nodes)}
        last = [k for k in range(len(nodes))]
        for k, node in enumerate(nodes):
            for a in node.args:
                last[place[a]] = k
        self.outs = [place[o] for o in outs]
        for k in self.outs:
            last[k] = len(nodes)
        ends: list[list[int]] = [[] for _ in range(len(nodes) + 1)]
        for k, end in enumerate(last):
            ends[end].append(k)
        self.count = len(nodes)
        self.inputs = [(k, n) for k, n in enumerate(nodes) if n.op is ARG or n.op is PARAM]
        self.steps = [
            (k, n, [place[a] for a in n.args], _dtype(n), ends[k])
            for k, n in enumerate(nodes)
            if n.op is not ARG and n.op is not PARAM
        ]

    def run(self, values: Mapping[Expr, np.ndarray]) -> list[np.ndarray]:
        """The values of `outs`, as from `evaluate`."""
        known: list[Any] = [None] * self.count
        for k, node in self.inputs:
            known[k] = values[node]
        with np.errstate(all="ignore"):
            for k, node, places, dtype, ends in self.steps:
                given = [known[a] for a in places]
                if node.op.kind is Kind.EINSUM and any(a.op is EYE for a in node.args):
                    result = _with_deltas(node, given)
                else:
                    result = node.op.evaluate(*given, *node.attrs)
                if dtype is not None and (type(result) is not np.ndarray or result.dtype != dtype):
                    result = np.asarray(result, dtype=dtype)
                known[k] = result
                for a in ends:
                    known[a] = None
        return [known[k] for k in self.outs]


def _dtype(node: Expr) -> np.dtype[Any] | None:
    """None for the results of a control node, which are a list of arrays."""
    return None if node.dtype == TUPLE else np.dtype(node.dtype)


def _with_deltas(node: Expr, values: Sequence[np.ndarray]) -> np.ndarray:
    """A contraction with identity matrices, whose zeros stay zeros also beside an infinity."""
    inputs, output = node.attrs
    factors, terms, equal = [], [], []
    for a, value, labels in zip(node.args, values, inputs, strict=True):
        if a.op is EYE and labels[0] != labels[1] and set(labels) <= set(output):
            equal.append([output.index(k) for k in labels])
            factors += [np.ones(len(value), value.dtype)] * 2
            terms += [labels[:1], labels[1:]]
        else:
            factors.append(value)
            terms.append(labels)
    result: np.ndarray = node.op.evaluate(*factors, tuple(terms), output)
    places = np.indices(node.shape, sparse=True)
    for i, j in equal:
        result = np.where(places[i] == places[j], result, np.zeros((), node.dtype))
    return result


def check(outs: Iterable[Expr]) -> None:
    """Raise SymgradError unless every node is well-formed and typed as its row infers."""
    outs = list(outs)
    seen: set[Expr] = set()
    for node in toposort(outs):
        if OPS.get(node.op.name) is not node.op:
            raise SymgradError(f"{node!r}: operation is not registered")
        typed = node.dtype in DTYPES or node.dtype == TUPLE and node.op.kind is Kind.CONTROL
        if not typed or not all(isinstance(n, int) and n >= 0 for n in node.shape):
            raise SymgradError(f"{node!r}: bad type")
        if any(a not in seen for a in node.args):
            raise SymgradError(f"{node!r}: argument comes after its user")
        if node.op.attr_names and len(node.attrs) != len(node.op.attr_names):
            raise SymgradError(f"{node!r}: {len(node.attrs)} attributes, row names them all")
        inferred = node.op.infer(*node.args, *node.attrs)
        if inferred != (node.shape, node.dtype):
            raise SymgradError(f"{node!r}: row infers {inferred}")
        if node.op.kind is Kind.ELEMENTWISE and any(a.shape != node.shape for a in node.args):
            raise SymgradError(f"{node!r}: elementwise operands of other shapes")
        if node.op.kind is Kind.ELEMENTWISE and node.op.partials is not None:
            if len(node.op.partials) != len(node.args):
                raise SymgradError(f"{node!r}: {len(node.args)} arguments")
        hash(node.attrs)
        seen.add(node)
