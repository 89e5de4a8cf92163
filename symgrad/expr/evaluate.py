"""Run a graph with NumPy: the reference semantics, the fallback without a C compiler, the oracle.

`check` is the validity test of a graph that the test suite runs after every pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from symgrad.errors import SymgradError
from symgrad.expr.node import ARG, DTYPES, EYE, PARAM, TUPLE, Expr
from symgrad.expr.op import OPS, Kind
from symgrad.expr.walk import toposort


def evaluate(outs: Sequence[Expr], values: Mapping[Expr, np.ndarray]) -> list[np.ndarray]:
    """The values of `outs`, given an array for every argument node (or parameter of a body).

    Memory of an intermediate result is released after its last use.
    """
    nodes = toposort(outs)
    uses: dict[Expr, int] = dict.fromkeys(nodes, 0)
    for node in nodes:
        for a in node.args:
            uses[a] += 1
    for o in outs:
        uses[o] += 1
    known: dict[Expr, np.ndarray] = {}
    with np.errstate(all="ignore"):
        for node in nodes:
            if node.op is ARG or node.op is PARAM:
                known[node] = values[node]
            else:
                given = [known[a] for a in node.args]
                if node.op.kind is Kind.EINSUM and any(a.op is EYE for a in node.args):
                    result = _with_deltas(node, given)
                else:
                    result = node.op.evaluate(*given, *node.attrs)
                is_tuple = node.dtype == TUPLE
                known[node] = result if is_tuple else np.asarray(result, dtype=node.dtype)
            for a in node.args:
                uses[a] -= 1
                if not uses[a]:
                    del known[a]
    return [known[o] for o in outs]


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
