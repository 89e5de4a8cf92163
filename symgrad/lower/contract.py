"""Contractions of many factors become contractions of two and products (see `ops.contract`)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from symgrad.expr.node import EYE, Expr, iota
from symgrad.expr.op import Kind
from symgrad.expr.validate import validated
from symgrad.expr.walk import rebuild, toposort, transform
from symgrad.lower import product
from symgrad.lower.tuning import Tuning
from symgrad.ops.contract import Step, steps
from symgrad.ops.einsum import Labels, einsum, sizes
from symgrad.ops.elementwise import equal, less, select
from symgrad.ops.linear import broadcast, permute


def split_contractions(outs: Sequence[Expr], tuning: Tuning) -> list[Expr]:
    """Every einsum of more than two factors in its cheapest pairwise order.

    A step that sums nothing becomes an elementwise product, which fuses into its reader.
    """

    def rule(node: Expr, args: tuple[Expr, ...]) -> Expr:
        if node.op.kind is not Kind.EINSUM:
            return rebuild(node, args)
        inputs, output = node.attrs
        size = sizes(args, inputs)
        factors, terms = list(args), list(inputs)
        for step in steps(inputs, output, size):
            _fold_quadratic_form(factors, terms, step, output, size, tuning)
            chosen = [factors[i] for i in step.positions]
            for i in reversed(step.positions):
                del factors[i], terms[i]
            factors.append(_computed(chosen, step))
            terms.append(step.output)
        return factors[0]

    if all(n.op.kind is not Kind.EINSUM for n in toposort(outs)):
        return list(outs)
    return validated("split-contractions", outs, transform(outs, rule))


def _fold_quadratic_form(
    factors: list[Expr],
    terms: Sequence[Labels],
    step: Step,
    output: Labels,
    size: Mapping[int, int],
    tuning: Tuning,
) -> None:
    """Before R and z of sum_ab R_ab z_a z_b are contracted: a triangle T for R, half the work.

    T_ab is R_ab + R_ba below the diagonal, R_aa on it. Tiles leave out what is zero, and so do
    loops over the points in lanes.
    """
    if len(step.positions) != 2:
        return
    for m, one in itertools.permutations(step.positions):
        for other in range(len(factors)):
            if other in step.positions or factors[other] is not factors[one]:
                continue
            differ = [p for p in zip(terms[other], terms[one], strict=True) if p[0] != p[1]]
            used = [k for t, labels in enumerate(terms) if t not in (one, other) for k in labels]
            if len(differ) != 1 or any(
                k in output or not terms[m].count(k) == used.count(k) == 1 for k in differ[0]
            ):
                continue
            i, j = differ[0]  # of a product over j
            rest = dict.fromkeys(k for k in (*terms[m], *terms[one]) if k != j)
            labels = terms[one], terms[m]
            tiled = product.choose(labels, tuple(rest), size, factors[m].dtype, tuning)
            points = math.prod(size[k] for k in rest if k not in terms[m])
            if tiled is None and points < tuning.triangle_from_points:
                continue
            if size[i] >= (tuning.triangle_from_rows if tiled is None else tuning.fold_from_rows):
                factors[m] = _folded(factors[m], terms[m].index(i), terms[m].index(j))
                return


def _folded(x: Expr, i: int, j: int) -> Expr:
    """x + x^T below the diagonal of axes i and j, x on it, 0 above."""
    row, column = (broadcast(iota(x.shape[k]), x.shape, (k,)) for k in (i, j))
    order = list(range(x.ndim))
    order[i], order[j] = j, i
    diagonal = select(equal(row, column), x, 0)
    return select(less(column, row), x + permute(x, tuple(order)), diagonal)


def _computed(factors: Sequence[Expr], step: Step) -> Expr:
    """One contraction; a product without a sum, over plain labels, as multiplication."""
    inputs, output = step.inputs, step.output
    present = {k for t in inputs for k in t}
    plain = all(len(set(t)) == len(t) for t in inputs) and not any(f.op is EYE for f in factors)
    if present - set(output) or not plain:
        return einsum(tuple(factors), inputs, output)
    size = sizes(tuple(factors), inputs)
    shape = tuple(size[k] for k in output)
    result: Expr | None = None
    for factor, labels in zip(factors, inputs, strict=True):
        order = sorted(range(len(labels)), key=lambda i: output.index(labels[i]))
        spread = broadcast(
            permute(factor, tuple(order)), shape, tuple(output.index(labels[i]) for i in order)
        )
        result = spread if result is None else result * spread
    assert result is not None
    return result
