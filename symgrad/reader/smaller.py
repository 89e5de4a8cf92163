"""The same graph with short axes, so that formulas of large arrays can be compared with it quickly.

Long sizes become small ones: sizes that differ by little stay apart by as much (n and n - 1 in a
chain), others become different ones. A formula whose text depends on a size in another way (a
number that counts) does not fit the smaller graph, and then does not agree with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.expr.node import ARG, ARRAY, CONST, Expr, arg, array, bind, const, const_value
from symgrad.expr.walk import toposort, transform
from symgrad.reader.functions import Unknown

LONG = 8  # sizes up to this stay as they are
_NEAR = 6  # sizes that differ by at most this belong together
_STARTS = (5, 12, 17, 4, 8, 21, 14)  # of the smallest of sizes that belong together
_OF_SIZES = frozenset({"shape", "n", "size", "sizes", "starts"})  # attributes that hold sizes


@dataclass(frozen=True)
class Smaller:
    """args : of the original graph, each with its own here; arrays : captured ones, shortened."""

    outs: list[Expr]
    args: dict[Expr, Expr]
    arrays: dict[Expr, np.ndarray]
    sizes: Mapping[int, int]


def smaller(args: Sequence[Expr], outs: Sequence[Expr]) -> Smaller:
    """Raises Unknown, or ValueError, where an axis cannot be shortened."""
    nodes = toposort([*args, *outs])
    sizes = _short({n for node in nodes for n in _sizes_of(node)})
    new: dict[Expr, Expr] = {}
    arrays: dict[Expr, np.ndarray] = {}

    def rule(node: Expr, given: tuple[Expr, ...]) -> Expr:
        shape = tuple([_of(sizes, n) for n in node.shape])
        if node.op is ARG:
            new[node] = arg(node.attrs[0], shape, node.dtype, node.attr("name"))
            return new[node]
        if node.op is CONST:
            return const(const_value(node), node.dtype, shape)
        if node.op is ARRAY:
            values = node.attrs[0].array
            if values.dtype.kind == "i" and shape != node.shape:
                raise Unknown("captured positions on a long axis")
            arrays[node] = values[tuple(map(slice, shape))]
            return array(np.ascontiguousarray(arrays[node]))
        attrs = tuple([
            _mapped(sizes, a) if name in _OF_SIZES else a
            for name, a in zip(node.op.attr_names, node.attrs, strict=True)
        ])  # fmt: skip
        made = bind(node.op.name, *given, attrs=attrs)
        if made.shape != shape:
            raise Unknown("an axis that cannot be shortened")
        return made

    changed = transform([*args, *outs], rule)
    return Smaller(changed[len(args) :], new, arrays, sizes)


def shortened(sizes: Mapping[int, int], n: int) -> int:
    """A size, or an index near an end of an axis, where axes have the lengths `sizes`."""
    if not sizes or n in sizes:
        return sizes.get(n, n)
    near = min(sizes, key=lambda long: abs(long - n))
    if n <= LONG:
        return n
    if abs(near - n) > LONG:
        raise Unknown("an index in the middle of a long axis")
    return sizes[near] + n - near


def _sizes_of(node: Expr) -> Sequence[int]:
    found = list(node.shape)
    for name, a in zip(node.op.attr_names, node.attrs, strict=False):
        if name in _OF_SIZES:
            found += a if isinstance(a, tuple) else [a]
    return found


def _short(found: set[int]) -> dict[int, int]:
    """What long sizes become."""
    sizes: dict[int, int] = {}
    starts = iter(_STARTS)
    base = start = -LONG
    for n in sorted(k for k in found if k > LONG):
        if n - base > _NEAR:
            base, start = n, next(starts, 0)
            if not start:
                raise Unknown("many different sizes")
        sizes[n] = start + n - base
    return sizes


def _of(sizes: Mapping[int, int], n: int) -> int:
    return sizes[n] if n > LONG else n


def _mapped(sizes: Mapping[int, int], attr: Any) -> Any:
    if isinstance(attr, tuple):
        return tuple([_of(sizes, n) for n in attr])
    return _of(sizes, attr)
