"""Jacobians and Hessians, from identity tensors as seeds."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

from symgrad.derivatives.inner import Inner, filled, ready, scalar_out
from symgrad.diff import modes
from symgrad.diff.pieces import Piece
from symgrad.errors import DifferentiationError, at_user_line
from symgrad.expr.node import FLOATS, Expr, arg, bind, const, eye
from symgrad.ops.einsum import einsum
from symgrad.ops.linear import permute
from symgrad.scalar import derive
from symgrad.signature import Static
from symgrad.trace import function_name
from symgrad.transform import Function, transformed


def jacobian(
    f: Function,
    argnums: Any = 0,
    has_aux: bool = False,
    *,
    static_argnums: Any = (),
    static_argnames: Any = (),
) -> Function:
    """A function that returns the Jacobian of `f`, by the cheaper one of forward and reverse mode.

    The block for an output of shape s and an argument of shape t has shape s + t. For several
    outputs or arguments the result has the structure of the outputs, each leaf with the structure
    of the arguments. The seeds are identity tensors that contract away symbolically (Laue,
    Mitterreiter, Giesen, NeurIPS 2018), so no product with unit vectors is ever computed.
    With `has_aux`, `f` returns (value, auxiliary) and the new function (Jacobian, auxiliary).
    Static arguments as in `jit`.
    """
    return _jacobian(f, argnums, "jacobian", has_aux, static_argnums, static_argnames)


def jacfwd(
    f: Function,
    argnums: Any = 0,
    has_aux: bool = False,
    *,
    static_argnums: Any = (),
    static_argnames: Any = (),
) -> Function:
    """`jacobian` by forward mode."""
    return _jacobian(f, argnums, "jacfwd", has_aux, static_argnums, static_argnames)


def jacrev(
    f: Function,
    argnums: Any = 0,
    has_aux: bool = False,
    *,
    static_argnums: Any = (),
    static_argnames: Any = (),
) -> Function:
    """`jacobian` by reverse mode."""
    return _jacobian(f, argnums, "jacrev", has_aux, static_argnums, static_argnames)


def _jacobian(
    f: Function,
    argnums: Any,
    what: str,
    has_aux: bool = False,
    static_argnums: Any = (),
    static_argnames: Any = (),
) -> Function:
    def impl(*args: Any, **kwargs: Any) -> Any:
        inner = Inner(f, argnums, args, kwargs)
        if has_aux:
            inner.split_aux(what)
        for o in inner.outs:
            if o.dtype not in FLOATS:
                raise DifferentiationError(
                    at_user_line(f"{what}({function_name(f)}): a result has dtype {o.dtype}")
                )
        ins = sum(v.size for v in inner.fresh)
        results = sum(o.size for o in inner.outs)
        forward = what == "jacfwd" or (what == "jacobian" and ins <= results)
        blocks = None
        if what == "jacobian":
            blocks = derive.jacobian(inner.outs, inner.fresh, forward, inner.again)
        if blocks is None:
            blocks = (_forward_blocks if forward else _reverse_blocks)(inner)
        n = len(inner.fresh)
        tracers, aux = inner.close_with_aux([b for row in blocks for b in row])
        rows = [inner.pack(tracers[k * n : (k + 1) * n]) for k in range(len(inner.outs))]
        made = inner.out_tree.unflatten(rows)
        return (made, aux) if has_aux else made

    recipe = _jacobian, (f, argnums, what, has_aux, static_argnums, static_argnames)
    static = Static(f, static_argnums, static_argnames)
    return transformed(f, impl, what, recipe, static=static, direct=True)


def _delta(shape: tuple[int, ...], dtype: str) -> Expr:
    """Identity tensor of shape + shape: one Kronecker delta per axis."""
    if not shape:
        return const(1, dtype)
    n = len(shape)
    labels = [(i, n + i) for i in range(n)]
    return einsum([eye(k, dtype) for k in shape], labels, tuple(range(2 * n)))


def _seeded(out: Expr, seed: Expr) -> Expr:
    """`out`, linear in the node `seed`, for all unit tensors as `seed`: its axes come first."""
    return modes.map_linear(out, seed, _delta(seed.shape, seed.dtype))


def _forward_blocks(inner: Inner) -> list[list[Expr]]:
    outs, pieces = inner.in_pieces()
    blocks: list[list[Expr]] = [[] for _ in outs]
    for variable, parts in zip(inner.fresh, pieces, strict=True):
        columns = [_columns(inner, outs, piece) for piece in parts]
        for row, out, found in zip(blocks, outs, zip(*columns, strict=True), strict=True):
            row.append(_total(found, (*out.shape, *variable.shape), out.dtype))
    return blocks


def _columns(inner: Inner, outs: Sequence[Expr], piece: Piece) -> list[Expr | None]:
    """The derivatives of `outs` in one piece, as columns of those in the whole."""
    seed = arg(0, piece.variable.shape, piece.variable.dtype)
    result: list[Expr | None] = []
    for tangent in inner.push(outs, [piece.variable], [seed]):
        full = None if tangent is None else _seeded(tangent, seed)
        result.append(None if full is None else piece.back(_seed_last(full, seed.ndim)))
    return result


def _seed_last(full: Expr, ndim: int) -> Expr:
    return permute(full, (*range(ndim, full.ndim), *range(ndim)))


def _total(blocks: Sequence[Expr | None], shape: tuple[int, ...], dtype: str) -> Expr:
    """The sum of those that there are."""
    present = [b for b in blocks if b is not None]
    return functools.reduce(operator.add, present) if present else const(0, dtype, shape)


def _reverse_blocks(inner: Inner) -> list[list[Expr]]:
    blocks = []
    for out in inner.outs:
        seed = arg(0, out.shape, out.dtype)
        cotangents = inner.vjp([out], inner.fresh, [seed])
        blocks.append([
            const(0, v.dtype, (*out.shape, *v.shape)) if c is None else _seeded(c, seed)
            for c, v in zip(cotangents, inner.fresh, strict=True)
        ])  # fmt: skip
    return blocks


def hessian(
    f: Function,
    argnums: Any = 0,
    has_aux: bool = False,
    *,
    static_argnums: Any = (),
    static_argnames: Any = (),
) -> Function:
    """A function that returns the Hessian of a scalar `f`: forward over reverse mode.

    For one array argument of shape t the result has shape t + t; for several, or for nested
    arguments, the structure of the arguments within itself. Of two blocks that are each other's
    transpose one is computed. With `has_aux`, `f` returns (value, auxiliary) and the new function
    (Hessian, auxiliary). Static arguments as in `jit`.
    """

    def impl(*args: Any, **kwargs: Any) -> Any:
        inner = Inner(f, argnums, args, kwargs)
        if has_aux:
            inner.split_aux("hessian")
        scalar_out(inner, "hessian")
        opened = derive.hessian(inner.outs[0], inner.fresh, ready, inner.again)
        found = _hessian_blocks(inner) if opened is None else [b for row in opened for b in row]
        tracers, aux = inner.close_with_aux(found)
        n = len(inner.fresh)
        made = inner.pack([inner.pack(tracers[k * n : (k + 1) * n]) for k in range(n)])
        return (made, aux) if has_aux else made

    recipe = _hessian, (f, argnums, has_aux, static_argnums, static_argnames)
    static = Static(f, static_argnums, static_argnames)
    return transformed(f, impl, "hessian", recipe, static=static, direct=True)


def _hessian(
    f: Function, argnums: Any, has_aux: bool, static_argnums: Any, static_argnames: Any
) -> Function:
    static = {"static_argnums": static_argnums, "static_argnames": static_argnames}
    return hessian(f, argnums, has_aux, **static)


def _hessian_blocks(inner: Inner) -> list[Expr]:
    """Second derivatives for all pairs of variables."""
    (out,), pieces = inner.in_pieces()
    flat = [piece for parts in pieces for piece in parts]
    variables = [piece.variable for piece in flat]
    cotangents = inner.vjp([out], variables, [const(1, out.dtype)], again=True)
    gradient = ready(filled(cotangents, variables))
    pairs: dict[tuple[Piece, Piece], Expr] = {}
    # The smaller piece is pushed forward, the larger one's gradient is read.
    order = sorted(range(len(flat)), key=lambda k: flat[k].variable.size)
    for place, k in enumerate(order):
        seed = arg(0, flat[k].variable.shape, flat[k].variable.dtype)
        rows = order[place:]
        tangents = inner.push([gradient[r] for r in rows], [flat[k].variable], [seed])
        for r, tangent in zip(rows, tangents, strict=True):
            if tangent is not None:
                first = _seeded(tangent, seed)
                pairs[flat[k], flat[r]] = first
                if r != k:
                    other = _seed_last(first, seed.ndim)
                    pairs[flat[r], flat[k]] = bind("convert", other, attrs=(seed.dtype,))
    return [
        _assembled(pairs, left, right, (*v.shape, *w.shape), v.dtype)
        for v, left in zip(inner.fresh, pieces, strict=True)
        for w, right in zip(inner.fresh, pieces, strict=True)
    ]


def _assembled(
    pairs: dict[tuple[Piece, Piece], Expr],
    left: Sequence[Piece],
    right: Sequence[Piece],
    shape: tuple[int, ...],
    dtype: str,
) -> Expr:
    """The second derivative in two wholes, from those in their pieces."""
    columns: list[Expr | None] = []
    for p in right:
        rows = [q.back(pairs[p, q]) for q in left if (p, q) in pairs]
        if rows:
            whole = functools.reduce(operator.add, rows)
            columns.append(p.back(_seed_last(whole, p.variable.ndim)))
    return _total(columns, shape, dtype)
