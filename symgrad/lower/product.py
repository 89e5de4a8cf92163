"""Products of matrices: which contractions are such, and what a kernel of one knows of it.

Where kernels nest, one becomes a `Multiply`, of which `tiles` makes panels and register tiles.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from symgrad.expr.node import CONST, FLOATS, Expr, bind, const, const_value
from symgrad.expr.walk import substitute, toposort
from symgrad.lazy import dataclass
from symgrad.lower.cpu import PANEL_ROWS
from symgrad.lower.program import Program, replaced, walk
from symgrad.lower.scalar import GUARD, load_of
from symgrad.lower.statement import Statement
from symgrad.lower.statements import Loop, Multiply, Store, nested
from symgrad.lower.tuning import Tuning
from symgrad.ops.elementwise import MULTIPLY, equal, less, less_equal, not_equal

_PANEL_BYTES = 64  # of one row of a right panel: two AVX registers


@dataclass(frozen=True)
class Labels:
    """The roles of an einsum's labels: those without one are looped over outside."""

    row: int
    column: int
    inner: tuple[int, ...]
    swapped: bool  # whether rows come from the second factor


def panel_columns(dtype: str) -> int:
    """Columns of a right panel."""
    return _PANEL_BYTES // np.dtype(dtype).itemsize


def choose(
    inputs: Sequence[Sequence[int]],
    output: Sequence[int],
    size: Mapping[int, int],
    dtype: str,
    tuning: Tuning,
) -> Labels | None:
    """How to tile a contraction; None if it is no product of matrices or too small."""
    if len(inputs) != 2 or dtype not in FLOATS or any(len(set(t)) != len(t) for t in inputs):
        return None
    first, second, kept = set(inputs[0]), set(inputs[1]), set(output)
    inner = tuple(k for k in inputs[0] if k in second and k not in kept)
    if (first | second) - kept - set(inner):
        return None  # a label of one factor only is summed
    rows = [k for k in inputs[0] if k not in second]
    columns = [k for k in inputs[1] if k not in first]
    if not (rows and columns and inner):
        return None
    row, column = max(rows, key=lambda k: size[k]), max(columns, key=lambda k: size[k])
    summands = math.prod(size[k] for k in inner)
    small, middle, _ = sorted((size[row], size[column], summands))
    if small < tuning.tiles_from_extent or small * middle < tuning.tiles_from_face:
        return None

    def work(row: int, column: int) -> float:
        """Elements computed, padding included, and stored one by one."""
        m, n = -(-size[row] // PANEL_ROWS) * PANEL_ROWS, panel_columns(dtype)
        computed = m * -(-size[column] // n) * n * summands
        if column != output[-1]:
            return computed + 4 * size[row] * size[column]
        return computed * (tuning.share_of_blocks if size[row] >= 4 * size[column] else 1)

    swapped = work(column, row) < work(row, column)
    return Labels(column, row, inner, True) if swapped else Labels(row, column, inner, False)


def needs_carry(extents: tuple[int, int, int], tuning: Tuning) -> bool:
    """Whether so many blocks of summands are added that their roundings would be seen."""
    return extents[2] >= tuning.compensate_from_blocks * tuning.block_summands


def is_triangular(value: Expr, k: Expr, j: Expr) -> bool:
    """Whether a right factor is 0 wherever the summand k is greater than the column j."""
    if any(n.op.negation is not None for n in toposort([value])):  # a comparison
        true, false = const(True, "bool"), const(False, "bool")
        known = {
            less(k, j): false, less(j, k): true, less_equal(k, j): false, less_equal(j, k): true,
            equal(k, j): false, equal(j, k): false,
        }  # fmt: skip
        (value,) = substitute((value,), known)
    return value.op is CONST and const_value(value) == 0


def suits_blas(p: Multiply, tuning: Tuning) -> bool:
    """Whether a BLAS can compute a product and would not do more work."""
    large = math.prod(p.extents) >= tuning.blas_from_work
    last = p.index[-1] in (p.row, p.column)
    possible = last and fits_blas(*p.extents, math.prod(p.buffer.shape))
    return large and possible and not p.triangular and not is_symmetric(p)


def written_out(p: Multiply) -> Multiply:
    """A product with loops as its body."""
    begun = not_equal(p.added, 0)
    sums = [(p.buffer, p.index)] + ([] if p.carry is None else [(p.carry, p.carry_index)])
    start = [Store(b, at, bind(GUARD, begun, load_of(b, at))) for b, at in sums]
    loops = [
        Loop(i, n, stop=None if limit.op is CONST else limit)
        for i, n, limit in zip(p.own, p.extents, p.limits, strict=True)
    ]
    add = Store(p.buffer, p.index, p.left * p.right, "+")
    element: list[Statement] = [*start, *nested(loops[2:], [add])]
    return replace(p, body=nested(loops[:2], element))


def multiply_in_loops(program: Program, threads: int, tuning: Tuning) -> Program:
    """Products of matrices as the loops that they are written with."""
    plain = {id(s): s.body for s, *_ in walk(program.body) if isinstance(s, Multiply)}
    return replace(program, body=replaced(program.body, plain)) if plain else program


def fits_blas(*sizes: int) -> bool:
    """Whether a BLAS that counts in 32 bits can be told such sizes, or steps up to them."""
    return max(sizes) < 1 << 31


def is_symmetric(p: Multiply) -> bool:
    """Whether rows and columns may be exchanged, as in X^T D X: then one triangle is computed."""
    return p.extents[0] == p.extents[1] and is_exchangeable((p.left, p.right), p.row, p.column)


def is_exchangeable(factors: Sequence[Expr], i: Expr, j: Expr) -> bool:
    """Whether a product of scalars is the same for i and j exchanged."""
    each = _factors(factors)
    return Counter(each) == Counter(substitute(each, {i: j, j: i}))


def _factors(values: Sequence[Expr]) -> list[Expr]:
    found, stack = [], list(values)
    while stack:
        node = stack.pop()
        if node.op is MULTIPLY:
            stack.extend(node.args)
        else:
            found.append(node)
    return found
