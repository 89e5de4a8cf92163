"""NumPy's functions that make one array of several, or several of one: stack, split, meshgrid."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError, UnsupportedError
from symgrad.expr.node import Expr
from symgrad.ops.linear import broadcast_to as _broadcast_to
from symgrad.ops.linear import concat
from symgrad.ops.linear import reshape as _reshape
from symgrad.trace import ufuncs
from symgrad.trace.handle import stack as _stack
from symgrad.trace.registry import as_expr, dtype_name, implements, one_axis, to
from symgrad.trace.shapes_api import along, at_least
from symgrad.trace.state import fail


def _exprs(arrays: Any) -> list[Expr]:
    return [as_expr(a) for a in arrays]


def _same_kind(parts: list[Expr], dtype: Any, what: str) -> str:
    """The name of a dtype that is asked for, if NumPy converts the parts to it."""
    name = dtype_name(dtype)
    for p in parts:
        if not np.can_cast(p.dtype, name, "same_kind"):
            raise fail(DtypeError, f"np.{what}: {p.dtype} does not become {name} without a cast")
    return name


def _join(parts: list[Expr], axis: int | None, what: str, dtype: Any = None) -> Expr:
    if not parts:
        raise fail(ShapeError, f"np.{what}: at least one array is needed")
    if axis is None:
        parts, axis = [_reshape(p, (p.size,)) for p in parts], 0
    k = one_axis(axis, parts[0].ndim, what)
    name = ufuncs.promote(list(parts)) if dtype is None else _same_kind(parts, dtype, what)
    shapes = [p.shape for p in parts]
    if any(
        len(s) != len(shapes[0]) or s[:k] + s[k + 1 :] != shapes[0][:k] + shapes[0][k + 1 :]
        for s in shapes
    ):
        raise fail(ShapeError, f"np.{what}: shapes {shapes} differ in more than axis {k}")
    return concat([to(p, name) for p in parts], k)


@implements("concatenate", "concat")
def concatenate(arrays: Any, axis: Any = 0, *, dtype: Any = None) -> Expr:
    return _join(_exprs(arrays), axis, "concatenate", dtype)


@implements("stack")
def stack(arrays: Any, axis: int = 0, *, dtype: Any = None) -> Expr:
    parts = _exprs(arrays)
    if not parts:
        raise fail(ShapeError, "np.stack: at least one array is needed")
    k = one_axis(axis, parts[0].ndim + 1, "stack")
    if dtype is not None:
        name = _same_kind(parts, dtype, "stack")
        parts = [to(p, name) for p in parts]
    return _stack(parts, k)


@implements("hstack")
def hstack(tup: Any, *, dtype: Any = None) -> Expr:
    parts = [at_least(1, (p,)) for p in _exprs(tup)]
    return _join(parts, 0 if parts and parts[0].ndim == 1 else 1, "hstack", dtype)


@implements("vstack")
def vstack(tup: Any, *, dtype: Any = None) -> Expr:
    return _join([at_least(2, (p,)) for p in _exprs(tup)], 0, "vstack", dtype)


@implements("dstack")
def dstack(tup: Any) -> Expr:
    return _join([at_least(3, (p,)) for p in _exprs(tup)], 2, "dstack")


@implements("column_stack")
def column_stack(tup: Any) -> Expr:
    parts = [_reshape(p, (p.size, 1)) if p.ndim < 2 else p for p in _exprs(tup)]
    return _join(parts, 1, "column_stack")


@implements("append")
def append(arr: Any, values: Any, axis: Any = None) -> Expr:
    return _join([as_expr(arr), as_expr(values)], axis, "append")


@implements("block")
def block(arrays: Any) -> Expr:
    depth = _depth(arrays)
    leaves: list[Expr] = []

    def visit(value: Any) -> None:
        if isinstance(value, list):
            for v in value:
                visit(v)
        else:
            leaves.append(as_expr(value))

    visit(arrays)
    rank = max([depth, *(e.ndim for e in leaves)])

    def build(value: Any, level: int) -> Expr:
        if isinstance(value, list):
            return _join([build(v, level + 1) for v in value], level - depth, "block")
        e = as_expr(value)
        return _reshape(e, (1,) * (rank - e.ndim) + e.shape)

    return build(arrays, 0)


def _depth(value: Any) -> int:
    return 1 + max((_depth(v) for v in value), default=0) if isinstance(value, list) else 0


@implements("meshgrid")
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    if not copy:
        raise fail(
            UnsupportedError, "np.meshgrid: copy=False is not supported while tracing; leave it out"
        )
    xs = [as_expr(x) for x in xi]
    rank = len(xs)
    axes = list(range(rank))
    if indexing == "xy" and rank > 1:
        axes[0], axes[1] = 1, 0
    parts = [
        _reshape(x, tuple(x.size if k == axis else 1 for k in range(rank)))
        for x, axis in zip(xs, axes, strict=True)
    ]
    if sparse:
        return tuple(parts)
    shape = np.broadcast_shapes(*[p.shape for p in parts])
    return tuple([_broadcast_to(p, shape) for p in parts])


# ---- splitting ---------------------------------------------------------------------------------


def _split(what: str, ary: Any, sections: Any, axis: int, equal: bool) -> list[Expr]:
    x = as_expr(ary)
    k = one_axis(axis, x.ndim, what)
    n = x.shape[k]
    if np.ndim(sections) == 0:
        count = operator.index(sections)
        if count <= 0 or (equal and n % count):
            raise fail(
                ShapeError, f"np.{what}: an axis of {n} cannot be split into {count} equal parts"
            )
        sizes = [n // count + (i < n % count) for i in range(count)]
        bounds = [0, *np.cumsum(sizes).tolist()]
    else:
        bounds = [0, *[operator.index(s) for s in sections], n]
    parts = []
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        start, stop, _ = slice(low, high).indices(n)
        size = max(stop - start, 0)
        parts.append(along(x, k, start if size else 0, size))
    return parts


def _least_rank(what: str, ary: Any, least: int) -> int:
    rank = as_expr(ary).ndim
    if rank < least:
        raise fail(ShapeError, f"np.{what} needs an array of rank {least} or more")
    return rank


@implements("split", view=True)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Expr]:
    return _split("split", ary, indices_or_sections, axis, True)


@implements("array_split", view=True)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Expr]:
    return _split("array_split", ary, indices_or_sections, axis, False)


@implements("hsplit", view=True)
def hsplit(ary: Any, indices_or_sections: Any) -> list[Expr]:
    rank = _least_rank("hsplit", ary, 1)
    return _split("hsplit", ary, indices_or_sections, min(1, rank - 1), True)


@implements("vsplit", view=True)
def vsplit(ary: Any, indices_or_sections: Any) -> list[Expr]:
    _least_rank("vsplit", ary, 2)
    return _split("vsplit", ary, indices_or_sections, 0, True)


@implements("dsplit", view=True)
def dsplit(ary: Any, indices_or_sections: Any) -> list[Expr]:
    return _split("dsplit", ary, indices_or_sections, 2, True)


@implements("unstack", view=True)
def unstack(x: Any, *, axis: int = 0) -> tuple[Expr, ...]:
    e = as_expr(x)
    k = one_axis(axis, e.ndim, "unstack")
    rest = e.shape[:k] + e.shape[k + 1 :]
    return tuple([_reshape(along(e, k, i, 1), rest) for i in range(e.shape[k])])
