"""Graphs in scalar form as expressions of elements, which the evaluator can run."""

from __future__ import annotations

import numpy as np

from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import CONST, Expr, arg, bind, const, const_value
from symgrad.expr.walk import expand_composites, toposort
from symgrad.scalar.blocks import element
from symgrad.scalar.opening import Opening
from symgrad.scalar.program import as_scalars
from symgrad.scalar.shortest import ONE, ORDERS, shortest
from symgrad.scalar.space import NotScalar, Space
from symgrad.scalar.writing import Writer


def opened(outs, orders=ORDERS):
    """(space, references, dtypes) of all elements of `outs`, after some orders of passes."""
    outs = expand_composites(outs)
    opening = Opening(Space(200_000))
    opening.leaves([n for n in toposort(outs) if n.name == "arg"])
    opening.open(outs)
    refs = [r for o in outs for r in opening.elements(o)]
    dtypes = [o.dtype for o in outs for _ in range(o.size)]
    made = refs if orders is None else shortest(opening.space, refs, dtypes, orders)[0]
    return opening.space, made, dtypes


def written(outs, leaf=element, orders=ORDERS):
    """The scalar form of the elements of `outs`, as expressions."""
    space, refs, dtypes = opened(outs, orders)
    return Writer(space, leaf, turns=True).write(refs, dtypes)


def values(outs, given, orders=ORDERS):
    """What the scalar form of `outs` computes for arrays."""
    flat = evaluate(written(outs, orders=orders), given)
    found, start = [], 0
    for o in outs:
        part = np.array(flat[start : start + o.size], o.dtype).reshape(o.shape)
        found.append(part)
        start += o.size
    return found


def of_graph(graph, given, most):
    """What a graph computes that was traced for scalar form, and is compiled so, without C."""
    return compiled(graph, graph.simplify().outs, most)(given)


def compiled(graph, outs, most, careful=False):
    """A function of argument arrays that runs the scalar form of some results, without C."""
    space, plain, failing, refs, dtypes = as_scalars(graph.args, outs, most, careful)
    refs, count = shortest(space, refs, dtypes, ONE if careful else ORDERS)
    if count > most:
        raise NotScalar(f"{count} operations")
    written = Writer(space, element, turns=True).write(refs, dtypes)

    def run(given):
        flat = evaluate(written, dict(zip(graph.args, given, strict=True)))
        if any(flat[:failing]):
            raise np.linalg.LinAlgError("a matrix is singular")
        found, start = [], failing
        for o in plain:
            found.append(np.array(flat[start : start + o.size], o.dtype).reshape(o.shape))
            start += o.size
        return found

    return run


def over_points(out: Expr, points: int) -> tuple[Expr, dict[Expr, Expr]]:
    """The scalar form of an array of one element, at many points side by side; its arguments."""
    leaves: dict[Expr, Expr] = {}

    def leaf(what, place):
        return leaves.setdefault(what, arg(what.attrs[1], (), what.dtype))

    (scalar,) = written([out], leaf)
    wide = {a: arg(a.attrs[1], (points,), a.dtype) for a in leaves.values()}
    made = dict(wide)
    for node in toposort([scalar]):
        if node.op is CONST:
            made[node] = const(const_value(node), node.dtype, (points,))
        elif node not in made:
            made[node] = bind(node.op, *[made[a] for a in node.args], attrs=node.attrs)
    return made[scalar], {what: wide[a] for what, a in leaves.items()}


def arm(q):
    t = np.eye(3)
    for k, length in enumerate((0.4, 0.3, 0.2)):
        c, s = np.cos(q[k]), np.sin(q[k])
        t = t @ np.array([[c, -s, length * c], [s, c, length * s], [0.0, 0.0, 1.0]])
    return t
