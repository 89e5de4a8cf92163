"""Where views and gathers read for one element of their result: the column `element`.

Generators: they yield (array, index) for a scalar they need and return the result, so that the
reader can keep its own stack. An index is a tuple of int64 scalar nodes.
"""

from __future__ import annotations

from typing import Any

from symgrad.expr.node import Expr, bind, const

Attrs = tuple[Any, ...]
Args = tuple[Expr, ...]


def ix(n: int) -> Expr:
    """An index constant."""
    return const(n, "int64")


def broadcast_element(index: Args, args: Args, attrs: Attrs) -> Any:
    return (yield args[0], tuple(index[d] for d in attrs[1]))


def permute_element(index: Args, args: Args, attrs: Attrs) -> Any:
    perm = attrs[0]
    return (yield args[0], tuple(index[perm.index(k)] for k in range(len(perm))))


def reshape_element(index: Args, args: Args, attrs: Attrs) -> Any:
    """Axes are matched in groups of equal size; only a group that splits needs a division."""
    source, target = args[0].shape, attrs[0]
    if 0 in source:  # groups need not match, and nothing is ever read
        return (yield args[0], tuple(ix(0) for _ in source))
    result: list[Expr] = []
    i = j = 0
    while i < len(source) or j < len(target):
        first_i, first_j = i, j
        m = source[i] if i < len(source) else 1
        n = target[j] if j < len(target) else 1
        i, j = min(i + 1, len(source)), min(j + 1, len(target))
        while m != n:
            if m < n:
                m, i = m * source[i], i + 1
            else:
                n, j = n * target[j], j + 1
        wide = [k for k in range(first_i, i) if source[k] != 1]
        flat: Expr | None = None
        for k in range(first_j, j):
            if target[k] != 1:
                flat = index[k] if flat is None else flat * ix(target[k]) + index[k]
        flat = ix(0) if flat is None else flat
        coordinates: dict[int, Expr] = {}
        for k in reversed(wide):
            if k == wide[0]:
                coordinates[k] = flat
            else:
                coordinates[k] = bind("index_mod", flat, ix(source[k]))
                flat = bind("index_div", flat, ix(source[k]))
        result += [coordinates.get(k, ix(0)) for k in range(first_i, i)]
    return (yield args[0], tuple(result))


def slice_element(index: Args, args: Args, attrs: Attrs) -> Any:
    starts, _, steps = attrs
    return (
        yield (
            args[0],
            tuple(
                ix(a) + (i if s == 1 else i * ix(s))
                for i, a, s in zip(index, starts, steps, strict=True)
            ),
        )
    )


def pad_element(index: Args, args: Args, attrs: Attrs) -> Any:
    shape, starts, steps = attrs
    conditions: list[Expr] = []
    inner: list[Expr] = []
    for i, n, size, start, step in zip(index, shape, args[0].shape, starts, steps, strict=True):
        if step < 0:  # the window read backwards
            last = start + (size - 1) * step
            offset, stride = ix(start) - i, -step
            low, high = last, start
        else:
            offset, stride = (i - ix(start) if start else i), step
            low, high = start, start + (size - 1) * step
        if low > 0:
            conditions.append(bind("greater_equal", i, ix(low)))
        if high < n - 1:
            conditions.append(bind("less_equal", i, ix(high)))
        if stride != 1:
            conditions.append(bind("equal", bind("index_mod", offset, ix(stride)), ix(0)))
            offset = bind("index_div", offset, ix(stride))
        # Of one element it is 0 wherever it is read, which gcc does not see from the condition.
        inner.append(ix(0) if size == 1 else offset)
    value = yield args[0], tuple(inner)
    for condition in reversed(conditions):
        value = bind("guard", condition, value)
    return value


def gather_element(index: Args, args: Args, attrs: Attrs) -> Any:
    axis, rank = attrs[0], args[1].ndim
    row = yield args[1], index[axis : axis + rank]
    row = bind("convert", row, attrs=("int64",))
    if args[1].name != "array" or bool((args[1].attrs[0].array < 0).any()):
        row = bind("select", bind("less", row, ix(0)), row + ix(args[0].shape[axis]), row)
    return (yield args[0], (*index[:axis], row, *index[axis + rank :]))
