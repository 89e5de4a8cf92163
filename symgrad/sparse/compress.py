"""The entries of a sparse derivative as one expression: a few sweeps, then a gather.

A sweep is a Jacobian-vector product for the sum of all unit vectors of one colour. The colours are
the leading axis of one batched sweep. In its result every entry of the matrix stands somewhere,
alone; a gather with constant indices puts them into CSR order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from symgrad.diff import modes
from symgrad.expr.node import Expr, arg, array, const
from symgrad.expr.walk import substitute
from symgrad.ops.linear import gather, reshape
from symgrad.sparse.colouring import column_colouring, lone, symmetric_colouring, transposed
from symgrad.sparse.diagonals import direct_entries
from symgrad.sparse.pattern import Pattern


def jacobian_entries(out: Expr, wrt: Expr, pattern: Pattern) -> Expr:
    """The entries of ∂ out / ∂ wrt at `pattern`, in its order: [nnz], of `out`'s dtype.

    Forward sweeps over column colours or reverse sweeps over row colours, whichever are fewer.
    """
    if not pattern.nnz:
        return const(0, out.dtype, (0,))
    direct = direct_entries(out, wrt, pattern)
    if direct is not None:
        return direct
    other, _ = transposed(pattern)
    # The longest row is a lower bound for the colours of the columns, and the other way round.
    bounds = [int(np.diff(p.indptr).max()) for p in (pattern, other)]
    colours: dict[int, np.ndarray] = {}
    for k in sorted((0, 1), key=lambda k: bounds[k]):
        if not colours or bounds[k] < min(_count(c) for c in colours.values()):
            colours[k] = column_colouring((pattern, other)[k])
    forward = min(colours, key=lambda k: (_count(colours[k]), k)) == 0
    if forward:
        sweep, width = _forward(out, wrt, colours[0]), out.size
        place = colours[0][pattern.indices] * np.int64(width) + pattern.rows()
    else:
        sweep, width = _reverse(out, wrt, colours[1]), wrt.size
        place = colours[1][pattern.rows()] * np.int64(width) + pattern.indices
    return _picked(sweep, place, out.dtype)


def hessian_entries(gradient: Expr, wrt: Expr, pattern: Pattern) -> Expr:
    """The entries of ∂ gradient / ∂ wrt, a symmetric matrix: [nnz].

    `pattern` is symmetric. An entry is read at (row, colour of column) or, mirrored, at (column,
    colour of row), wherever it stands alone.
    """
    if not pattern.nnz:
        return const(0, gradient.dtype, (0,))
    direct = direct_entries(gradient, wrt, pattern)
    if direct is not None:
        return direct
    colours = symmetric_colouring(pattern)
    rows, columns = pattern.rows(), pattern.indices
    here = lone(pattern, colours)
    width = np.int64(wrt.size)
    place = np.where(here, colours[columns] * width + rows, colours[rows] * width + columns)
    return _picked(_forward(gradient, wrt, colours), place, gradient.dtype)


def _count(colours: np.ndarray) -> int:
    return int(colours.max(initial=-1)) + 1


def _forward(out: Expr, wrt: Expr, colours: np.ndarray) -> Expr | None:
    """J S for the 0/1 matrix S of the colours, transposed: shape (colours, *out.shape)."""
    return _batched(wrt, colours, lambda seed: modes.jvp([out], [wrt], [seed])[0])


def _reverse(out: Expr, wrt: Expr, colours: np.ndarray) -> Expr | None:
    """Sᵀ J: shape (colours, *wrt.shape)."""
    return _batched(out, colours, lambda seed: modes.vjp([out], [wrt], [seed])[0])


def _batched(
    like: Expr, colours: np.ndarray, product: Callable[[Expr], Expr | None]
) -> Expr | None:
    """`product` on the indicator vector of every colour, as one batch; None for zero."""
    count = _count(colours)
    seed = arg(0, like.shape, like.dtype)
    one = product(seed)
    if one is None:  # the pattern holds more than there is
        return None
    wide = arg(0, (count, *like.shape), like.dtype)
    (many,) = modes.vmap([one], {seed: wide}, count)
    chosen = np.arange(count)[:, None] == colours
    seeds = array(chosen.reshape(wide.shape).astype(like.dtype))
    return substitute([many], {wide: seeds})[0]


def _picked(sweep: Expr | None, place: np.ndarray, dtype: str) -> Expr:
    if sweep is None:
        return const(0, dtype, place.shape)
    flat = reshape(sweep, (sweep.size,))
    if np.array_equal(place, np.arange(sweep.size)):
        return flat
    narrow = place.astype(np.int32 if sweep.size <= np.iinfo(np.int32).max else np.int64)
    return gather(flat, array(narrow), 0)
