"""The entries of a sparse Jacobian by forward accumulation of whole diagonals: no sweeps.

A sweep computes as many numbers as there are results, and most of them are zeros that were known
beforehand. Here every node carries a short list of index maps with one coefficient array each:

    Diagonal    a box of elements of the node; element start + step·k depends on the variable's
                element columns[k] with coefficients[k]
    Scattered   the same for elements rows[k] in any order, with repetitions, which add up

Elementwise operations scale coefficients; views and captured indices move the maps, which are
integers known now; sums join them. Stencils, chains and everything else that works on slices stays
made of diagonals: its entries in CSR order are slices of the coefficient arrays, side by side, and
C writes each once, in streams. Meshes and graphs (gather, work, scatter) become scattered, and C
adds each contribution where it belongs, which is how finite elements are assembled.

Where the graph leaves this class, or the lists get long, the answer is None and `compress` takes
over. Both end up at the pattern that `pattern` found independently; that is checked.

Griewank & Walther, Evaluating Derivatives, 2008, section 7.1 (sparse vector forward mode), with
one array operation for each diagonal instead of one scalar operation for each entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from symgrad.diff.singular import has_pole
from symgrad.diff.support import Supports
from symgrad.diff.zeros import scale
from symgrad.expr.node import ARG, EYE, FLOATS, TUPLE, Expr, arg, bind, const
from symgrad.expr.op import Kind
from symgrad.expr.walk import depends_on, toposort
from symgrad.ops.einsum import EINSUM, sizes
from symgrad.ops.elementwise import CONVERT, SELECT, select
from symgrad.ops.linear import broadcast, permute, sum_
from symgrad.sparse.entries import contributions, streams
from symgrad.sparse.maps import MOVES, Diagonal, Irregular, Map, loosened, rerouted
from symgrad.sparse.pattern import Pattern

_MOST_MAPS = 64  # at one node
_MOST_REPEATED = 8  # contributions to one entry, on average
Known = dict[Expr, list[Map]]


def direct_entries(out: Expr, wrt: Expr, pattern: Pattern) -> Expr | None:
    """The entries of ∂ out / ∂ wrt at `pattern`, in its order: [nnz]; None if sweeps must do it."""
    seed: Known = {wrt: [_identity(wrt)]}
    try:
        maps = _accumulated(out, seed, _MOST_REPEATED * pattern.nnz + 1000)
    except Irregular:
        return None
    if not maps:
        return None
    for assemble in (streams, contributions):
        try:
            return assemble(maps, out, pattern)
        except Irregular:
            pass
    return None


def _identity(wrt: Expr) -> Diagonal:
    ramp = np.arange(wrt.size).reshape(wrt.shape)
    return Diagonal((0,) * wrt.ndim, (1,) * wrt.ndim, ramp, const(1, wrt.dtype, wrt.shape))


# ---- accumulation --------------------------------------------------------------------------------


def _accumulated(out: Expr, known: Known, most: int) -> list[Map]:
    """The maps of `out`, given those of the nodes in `known`."""
    nodes = toposort([out])
    active = depends_on(nodes, known)
    known = dict(known)
    supports = Supports() if any(has_pole(n) for n in nodes) else None
    for node in nodes:
        if node not in known:
            known[node] = []
            if node in active and node.dtype == TUPLE:
                raise Irregular  # a branch or a loop: its results have no maps, yet they depend
            if node in active and node.dtype in FLOATS:
                known[node] = _merged(_node(node, known, most, supports))
                if sum(m.columns.size for m in known[node]) > most:
                    raise Irregular
    return known[out]


def _merged(maps: Iterable[Map]) -> list[Map]:
    """One diagonal per place."""
    result: list[Map] = []
    for m in maps:
        if not m.columns.size:
            continue
        for k, other in enumerate(result):
            if isinstance(m, Diagonal) and isinstance(other, Diagonal) and m.same_place(other):
                result[k] = other.scaled(other.coefficients + m.coefficients)
                break
        else:
            result.append(m)
        if len(result) > _MOST_MAPS:
            raise Irregular
    return result


def _node(node: Expr, known: Known, most: int, supports: Supports | None) -> Iterator[Map]:
    for k, a in enumerate(node.args):
        if not known[a]:
            continue
        if node.op.kind is Kind.ELEMENTWISE:
            for m in known[a]:
                coefficients = _scaled(node, k, m, supports)
                if coefficients is not None:
                    yield m.scaled(coefficients)
        elif node.op.kind is Kind.LINEAR:
            for m in known[a]:
                yield from _through(node, k, m, most)
        else:
            yield from _tangent(node, k, known, most)


def _scaled(node: Expr, k: int, m: Map, supports: Supports | None) -> Expr | None:
    if node.op is SELECT:
        condition = m.window(node.args[0])
        branches = (m.coefficients, 0) if k == 1 else (0, m.coefficients)
        return select(condition, *branches)
    partial = node.op.partials[k] if node.op.partials else None
    factor = None if partial is None else partial(*node.args, node)
    if factor is None:
        return None
    factor = m.window(factor) if isinstance(factor, Expr) else factor
    return scale(m.coefficients, factor, supports, supports is not None, supports is not None)


def _tangent(node: Expr, k: int, known: Known, most: int) -> list[Map]:
    """Through the node's own derivative, an expression that is linear in a tangent."""
    seed = arg(0, node.args[k].shape, node.args[k].dtype)
    if node.op is EINSUM:
        tangent = _written_out(node, k, seed, most)
    elif node.op.jvp is not None and node.op.kind is not Kind.SCAN:
        tangents = [seed if j == k else None for j in range(len(node.args))]
        tangent = node.op.jvp(tangents, node, node.args, node.attrs)
    else:
        raise Irregular
    if tangent is None:
        return []  # as of detsign: constant wherever there is a derivative
    # solve' is a solve again, cumprod' a recurrence: going through those would never end.
    seen = depends_on(toposort([tangent]), [seed])
    if any(n.op.kind is Kind.COMPOSITE or n.op is node.op for n in seen if node.op is not EINSUM):
        raise Irregular
    return _accumulated(tangent, {seed: known[node.args[k]]}, most)


def _written_out(node: Expr, k: int, seed: Expr, most: int) -> Expr:
    """A contraction over few elements as a sum of products, factor k replaced by the seed."""
    inputs, output = node.attrs
    size = sizes(node.args, inputs)
    labels = [*output, *sorted(j for j in size if j not in output)]
    shape = tuple(size[j] for j in labels)
    plain = all(len(set(t)) == len(t) for t in inputs) and all(a.op is not EYE for a in node.args)
    if math.prod(shape) > most or not plain:
        raise Irregular
    product: Expr | None = None
    for j, (a, t) in enumerate(zip(node.args, inputs, strict=True)):
        order = sorted(range(len(t)), key=lambda i: labels.index(t[i]))
        factor = permute(seed if j == k else a, tuple(order))
        factor = broadcast(factor, shape, tuple(labels.index(t[i]) for i in order))
        product = factor if product is None else product * factor
    assert product is not None
    return sum_(product, tuple(range(len(output), len(labels))))


def _through(node: Expr, k: int, m: Map, most: int) -> Iterable[Map]:
    """A linear operation that moves or adds elements."""
    if node.op is CONVERT:
        return [m.scaled(bind(CONVERT, m.coefficients, attrs=node.attrs))]
    index = node.op.indices
    if index is not None and any(n.op is ARG for n in toposort([node.args[index]])):
        raise Irregular  # known at run time only
    rule = MOVES.get(node.op)
    if rule is not None and isinstance(m, Diagonal):
        try:
            return list(rule(node, k, m))
        except Irregular:
            pass
    return [rerouted(node, k, loosened(m, node.args[k]), most)]
