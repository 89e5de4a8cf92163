"""Indexing by NumPy's rules: x[index], and x with x[index] replaced or added to.

In: an Expr and an index as the user wrote it, tracers already turned into Exprs. Out: Exprs.
Basic indices become slice and reshape; index arrays become one gather with a linearised index;
constant boolean masks become index arrays. Replacing a part cuts the array along the indexed
axes and joins the pieces again, so that a loop of ``z[i] = …`` leaves one concat and no trace of
the loop.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from symgrad.errors import (
    ConcretizationError,
    DtypeError,
    OutOfRangeError,
    ShapeError,
    UnsupportedError,
)
from symgrad.expr.node import ARRAY, Expr, arg, array, bind, const
from symgrad.expr.walk import rebuild
from symgrad.ops.linear import (
    broadcast_to,
    concat,
    gather,
    pad,
    permute,
    reshape,
    scatter_add,
    slice_,
)
from symgrad.trace.state import fail

Item = Any  # int, slice, None, integer ndarray or integer Expr


def parse(shape: tuple[int, ...], index: Any) -> list[Item]:
    """One item per axis of `shape` (and None for each new axis), without ellipsis and masks."""
    raw = list(index) if isinstance(index, tuple) else [index]
    items: list[Item] = []
    for item in raw:
        items.extend(_classify(item))
    used = sum(i is not None and i is not Ellipsis for i in items)
    dots = [k for k, i in enumerate(items) if i is Ellipsis]
    if len(dots) > 1:
        raise fail(OutOfRangeError, "an index can only have a single ellipsis ('...')")
    if used > len(shape):
        raise fail(OutOfRangeError, f"too many indices: {used} for an array of shape {shape}")
    fill = [slice(None)] * (len(shape) - used)
    if dots:
        items[dots[0] : dots[0] + 1] = fill
    else:
        items += fill
    axis = 0
    for k, item in enumerate(items):
        if item is not None:
            items[k] = _in_range(item, shape[axis], axis, shape)
            axis += 1
    _check_masks(raw, shape)
    return items


def _classify(item: Any) -> list[Item]:
    if item is None or item is Ellipsis or isinstance(item, slice):
        return [item]
    if isinstance(item, Expr):
        if item.dtype == "bool":
            raise fail(
                ConcretizationError,
                "a traced boolean mask selects a number of elements that is not known while "
                "tracing; "
                "use np.where(mask, a, b), or multiply by the mask before a sum",
            )
        if item.dtype not in ("int32", "int64"):
            raise fail(DtypeError, f"indices must be integers, got {item.dtype}")
        return [item]
    if isinstance(item, (bool, np.bool_)):
        raise fail(UnsupportedError, "a single bool as an index is not supported; use np.where")
    if isinstance(item, (list, np.ndarray)):
        indices = np.asarray(item)
        if indices.size == 0 and isinstance(item, list):
            indices = indices.astype(np.int64)
        if indices.dtype == bool:
            return list(np.nonzero(indices))
        if indices.dtype.kind not in "iu":
            raise fail(DtypeError, f"indices must be integers or booleans, got {indices.dtype}")
        return [int(indices)] if indices.ndim == 0 else [indices.astype(np.int64)]
    try:
        return [operator.index(item)]
    except TypeError:
        raise fail(
            UnsupportedError, f"an index of type {type(item).__name__} is not supported"
        ) from None


def _check_masks(raw: list[Any], shape: tuple[int, ...]) -> None:
    """Boolean masks must have the shape of the axes they index."""
    axis = 0
    masks = [np.asarray(i) if isinstance(i, (list, np.ndarray)) else i for i in raw]
    used = [i.ndim if isinstance(i, np.ndarray) and i.dtype == bool else 1 for i in masks]
    real = [i is not None and i is not Ellipsis for i in masks]
    for k, item in enumerate(masks):
        if item is Ellipsis:
            axis = len(shape) - sum(u for u, r in zip(used[k:], real[k:], strict=True) if r)
        elif item is not None:
            if isinstance(item, np.ndarray) and item.dtype == bool:
                if item.shape != shape[axis : axis + item.ndim]:
                    raise fail(
                        OutOfRangeError,
                        f"a boolean index of shape {item.shape} does not fit the array of shape "
                        f"{shape}",
                    )
            axis += used[k]


def _in_range(item: Item, n: int, axis: int, shape: tuple[int, ...]) -> Item:
    if isinstance(item, int):
        if not -n <= item < n:
            raise fail(
                OutOfRangeError,
                f"index {item} is out of bounds for axis {axis} with size {n} of shape {shape}",
            )
        return item % n
    if isinstance(item, np.ndarray):
        bad = item[(item < -n) | (item >= n)]
        if bad.size:
            raise fail(
                OutOfRangeError,
                f"index {bad.flat[0]} is out of bounds for axis {axis} with size {n} of shape "
                f"{shape}",
            )
        return np.where(item < 0, item + n, item)
    return item


def is_basic(items: list[Item]) -> bool:
    """Whether NumPy would return a view: integers, slices and new axes only."""
    return not any(isinstance(i, (np.ndarray, Expr)) for i in items)


def _window(items: list[Item], shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(start, size, step) for every axis of `shape`; index arrays take the whole axis."""
    result = []
    for item, n in zip([i for i in items if i is not None], shape, strict=True):
        if isinstance(item, int):
            result.append((item, 1, 1))
        elif isinstance(item, slice):
            start, stop, step = item.indices(n)
            size = len(range(start, stop, step))
            result.append((start, size, step) if size else (0, 0, 1))
        else:
            result.append((0, n, 1))
    return result


def get(x: Expr, items: list[Item]) -> Expr:
    """x[items]."""
    window = _window(items, x.shape)
    whole, x = x, part(x, window)
    if is_basic(items):
        return reshape(x, _basic_shape(items, window))
    if is_place(items):
        return _at_place(whole, items)
    many = _Many.of(items, x.shape)
    axes, place = many.axes, many.place
    order = [*many.rest[:place], *axes, *many.rest[place:]]
    moved = permute(x, tuple(order))
    before, behind = moved.shape[:place], moved.shape[place + len(axes) :]
    flat = reshape(moved, (*before, math.prod([x.shape[a] for a in axes]), *behind))
    return reshape(gather(flat, many.index, place), many.shape)


class _Many(NamedTuple):
    """What index arrays name. Beside them, integers are index arrays of rank 0.

    axes, rest : those that they index, and all others
    place : where NumPy puts the axes of the index arrays among `rest`
    index : rows of the merged axes
    shape : of the result
    """

    axes: list[int]
    rest: list[int]
    place: int
    index: Expr  # type: ignore[assignment]  # not the method of tuples
    shape: tuple[int, ...]

    @classmethod
    def of(cls, items: list[Item], shape: tuple[int, ...]) -> _Many:
        """shape : of the array, whose other axes are cut already"""
        advanced = [k for k, i in enumerate(items) if isinstance(i, (int, np.ndarray, Expr))]
        axes = [sum(i is not None for i in items[:k]) for k in advanced]
        together = advanced[-1] - advanced[0] == len(advanced) - 1
        index, spread = _linear_index(
            [0 if isinstance(items[k], int) else items[k] for k in advanced],
            [shape[a] for a in axes],
        )
        rest = [k for k in range(len(shape)) if k not in axes]
        # New axes: sizes of the basic items in order, with the index arrays' shape at its place.
        final: list[int] = [] if together else list(spread)
        axis = 0
        for k, item in enumerate(items):
            if together and k == advanced[0]:
                final.extend(spread)
            if item is None:
                final.append(1)
            else:
                if k not in advanced:
                    final.append(shape[axis])
                axis += 1
        return cls(axes, rest, axes[0] if together else 0, index, tuple(final))


def is_place(items: list[Item]) -> bool:
    """Whether NumPy would return a view: integers, traced ones too, slices and new axes only."""
    return all(not i.shape if isinstance(i, Expr) else not isinstance(i, np.ndarray) for i in items)


def _first_traced(items: list[Item]) -> tuple[Expr, int, list[Item]]:
    """The first traced index, its axis, and the items without it."""
    k = next(k for k, i in enumerate(items) if isinstance(i, Expr))
    axis = sum(i is not None for i in items[:k])
    return items[k], axis, [*items[:k], *items[k + 1 :]]


def _at_place(x: Expr, items: list[Item]) -> Expr:
    """x[items], one axis for each traced number. Such an index adds no axis wherever it stands."""
    index, axis, rest = _first_traced(items)
    return get(gather(x, bind("convert", index, attrs=("int64",)), axis), rest)


def _put_at_place(x: Expr, items: list[Item], value: Expr) -> Expr:
    index, axis, rest = _first_traced(items)
    index = bind("convert", index, attrs=("int64",))
    return put(x, index, replace(gather(x, index, axis), rest, value), axis)


def put(x: Expr, index: Expr, value: Expr, axis: int) -> Expr:
    """`x` with `value` at `index`, an int64 scalar, of one axis; out of range is found in C."""
    n = x.shape[axis]
    if x.dtype == "bool":
        numbers = bind("convert", x, attrs=("int32",))
        new = put(numbers, index, bind("convert", value, attrs=("int32",)), axis)
        return bind("not_equal", new, const(0, "int32", new.shape))
    row = bind("select", bind("less", index, const(0, "int64")), index + n, index)
    here = bind("equal", bind("iota", attrs=(n,)), broadcast_to(row, (n,)))
    mask = broadcast_to(reshape(here, (n, *(1,) * (x.ndim - axis - 1))), x.shape)
    return bind("select", mask, scatter_add(value, index, axis, n), x)


class Put(NamedTuple):
    """The parts of a `put`."""

    x: Expr
    index: Expr  # type: ignore[assignment]  # not the method of tuples
    value: Expr
    axis: int

    @classmethod
    def of(cls, node: Expr) -> Put | None:
        """What `node` was made of, if it is one."""
        if node.op.name != "select" or node.args[1].op.name != "scatter_add":
            return None
        value, index = node.args[1].args
        axis = node.args[1].attrs[0]
        found = cls(node.args[2], index, value, axis)
        return found if put(*found) is node else None


def _basic_shape(items: list[Item], window: list[tuple[int, int, int]]) -> tuple[int, ...]:
    sizes = iter(window)
    shape = []
    for item in items:
        if item is None:
            shape.append(1)
        else:
            size = next(sizes)[1]
            if not isinstance(item, int):
                shape.append(size)
    return tuple(shape)


def _linear_index(indices: list[Any], sizes: list[int]) -> tuple[Expr, tuple[int, ...]]:
    """One index into the merged axes, and its shape."""
    shapes = [np.shape(i) if not isinstance(i, Expr) else i.shape for i in indices]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise fail(ShapeError, f"index arrays of shapes {shapes} do not broadcast") from None
    if not any(isinstance(i, Expr) for i in indices):
        # NumPy's row-major numbering; an axis of size 0 allows empty index arrays only.
        total = np.zeros(shape, np.int64)
        for i, n in zip(indices, sizes, strict=True):
            total = total * n + i
        return _int_array(np.broadcast_to(total, shape)), shape
    traced = [
        broadcast_to(bind("convert", i, attrs=("int64",)), shape) if isinstance(i, Expr)
        else _int_array(np.broadcast_to(np.asarray(i, np.int64), shape))
        for i in indices
    ]  # fmt: skip
    if len(traced) == 1:
        return traced[0], shape
    # A component that is out of range must not land on another row: the index is then made invalid.
    total_size = math.prod(sizes)
    linear: Expr | None = None
    valid: Expr | None = None
    for i, n in zip(traced, sizes, strict=True):
        zero, size = const(0, "int64", shape), const(n, "int64", shape)
        wrapped = bind("select", bind("less", i, zero), i + size, i)
        inside = bind(
            "logical_and", bind("greater_equal", wrapped, zero), bind("less", wrapped, size)
        )
        linear = wrapped if linear is None else linear * size + wrapped
        valid = inside if valid is None else bind("logical_and", valid, inside)
    assert linear is not None and valid is not None
    return bind("select", valid, linear, const(total_size, "int64", shape)), shape


def _int_array(value: np.ndarray) -> Expr:
    return array(np.ascontiguousarray(value, dtype=np.int64).reshape(value.shape))


def part(x: Expr, window: list[tuple[int, int, int]]) -> Expr:
    """The window (start, size, step per axis) of `x`; pieces of a joined array come directly."""
    while x.op.name == "concat":
        axis = x.attrs[0]
        start, size, step = window[axis]
        if (start, size, step) == (0, x.shape[axis], 1) or step != 1 or not size:
            break
        pieces = _cut(x, axis, start, start + size)
        if len(pieces) == 1:
            x = pieces[0]
            window = [*window[:axis], (0, size, 1), *window[axis + 1 :]]
            continue
        x = concat(pieces, axis)
        window = [*window[:axis], (0, size, 1), *window[axis + 1 :]]
        break
    starts, sizes, steps = zip(*window, strict=True) if window else ((), (), ())
    return slice_(x, starts, sizes, steps)


def _cut(x: Expr, axis: int, start: int, stop: int) -> list[Expr]:
    """The pieces of `x` between two positions of an axis."""
    if start >= stop:
        return []
    if x.op.name == "concat" and x.attrs[0] == axis:
        pieces: list[Expr] = []
        offset = 0
        for p in x.args:
            n = p.shape[axis]
            low, high = max(start - offset, 0), min(stop - offset, n)
            if low < high:
                pieces.append(p if high - low == n else _between(p, axis, low, high))
            offset += n
            if offset >= stop:
                break
        return pieces
    return [_between(x, axis, start, stop)]


def _between(x: Expr, axis: int, start: int, stop: int) -> Expr:
    starts = tuple(start if k == axis else 0 for k in range(x.ndim))
    sizes = tuple(stop - start if k == axis else n for k, n in enumerate(x.shape))
    return slice_(x, starts, sizes, (1,) * x.ndim)


def replace(x: Expr, items: list[Item], value: Expr) -> Expr:
    """`x` with x[items] = value; where an element is named twice, the last value stays."""
    if is_basic(items):
        window = _window(items, x.shape)
        value = _fit(value, _basic_shape(items, window))
        return _replace_window(x, window, reshape(value, tuple(w[1] for w in window)), 0)
    if is_place(items):
        return _put_at_place(x, items, value)
    if any(isinstance(i, Expr) for i in items):
        return _replace_many(x, items, value)
    flat = np.arange(x.size).reshape(x.shape)[tuple(items)]
    value = _fit(value, flat.shape)
    source = np.full(x.size, -1)
    source[flat.ravel()] = np.arange(flat.size)
    if not flat.size:
        return x
    chosen = gather(reshape(value, (flat.size,)), _int_array(np.maximum(source, 0)), 0)
    mask = array((source >= 0).reshape(x.shape))
    return bind("select", mask, reshape(chosen, x.shape), x)


def _replace_many(x: Expr, items: list[Item], value: Expr) -> Expr:
    """`x` with x[items] = value at traced index arrays, which may name an element twice."""
    window = _window(items, x.shape)
    inner = part(x, window)
    many = _Many.of(items, inner.shape)
    axes, rest, place = many.axes, many.rest, many.place
    value = _fit(value, many.shape)
    if not value.size:
        return x
    order = (*axes, *rest)
    moved = permute(inner, order)
    sizes = moved.shape[len(axes) :]
    # The value as rows: the axes of the index arrays come first, and new axes are gone.
    value = reshape(value, (*sizes[:place], many.index.size, *sizes[place:]))
    value = permute(value, (place, *[k for k in range(value.ndim) if k != place]))
    moved_rows = reshape(moved, (math.prod(moved.shape[: len(axes)]), *sizes))
    rows = _replace_rows(moved_rows, reshape(many.index, (many.index.size,)), value)
    back = tuple([order.index(k) for k in range(x.ndim)])
    return _replace_window(x, window, permute(reshape(rows, moved.shape), back), 0)


def _replace_rows(x: Expr, index: Expr, value: Expr) -> Expr:
    """`x` with rows of `value` at `index`; of rows with one index the last one stays."""
    if x.dtype == "bool":
        numbers = [bind("convert", v, attrs=("int32",)) for v in (x, value)]
        new = _replace_rows(numbers[0], index, numbers[1])
        return bind("not_equal", new, const(0, "int32", new.shape))
    n, count = x.shape[0], index.shape[0]
    index = bind("convert", index, attrs=("int64",))
    zero, size = const(0, "int64", (count,)), const(n, "int64", (count,))
    row = bind("select", bind("less", index, zero), index + size, index)
    square = (count, count)
    equal = bind("equal", _down(row, square), broadcast_to(row, square))
    # From here on by numbers of rows that stay: one for each row that is named at all.
    number = _positions((count,))
    behind = bind("less", _down(number, square), broadcast_to(number, square))
    later = bind("logical_and", equal, behind)
    stays = bind("logical_not", bind("any", later, attrs=((1,),)))
    ones = bind("convert", stays, attrs=("int64",))
    named = bind("not_equal", scatter_add(ones, index, 0, n), const(0, "int64", (n,)))
    kept = bind("select", _down(stays, value.shape), value, const(0, x.dtype, value.shape))
    return bind("select", _down(named, x.shape), scatter_add(kept, index, 0, n), x)


def _down(v: Expr, shape: tuple[int, ...]) -> Expr:
    """`v` along the first axes of a shape."""
    return broadcast_to(reshape(v, (*v.shape, *(1,) * (len(shape) - v.ndim))), shape)


def _fit(value: Expr, shape: tuple[int, ...]) -> Expr:
    """`value` broadcast for an assignment; leading axes of size 1 may be too many."""
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = reshape(value, value.shape[1:])
    try:
        return broadcast_to(value, shape)
    except ShapeError:
        raise fail(
            ShapeError, f"cannot assign an array of shape {value.shape} to a place of shape {shape}"
        ) from None


def _replace_window(x: Expr, window: list[tuple[int, int, int]], value: Expr, axis: int) -> Expr:
    if value.size == 0:
        return x
    while axis < x.ndim and window[axis] == (0, x.shape[axis], 1):
        axis += 1
    if axis == x.ndim:
        return value
    start, size, step = window[axis]
    if abs(step) != 1:
        mask = np.zeros(x.shape, bool)
        mask[
            tuple(np.s_[s : s + n * d : d] if s + n * d >= 0 else np.s_[s::d] for s, n, d in window)
        ] = True
        starts, _, steps = zip(*window, strict=True)
        return bind("select", array(mask), pad(value, x.shape, starts, steps), x)
    if step == -1:
        start, flipped = start - size + 1, [(0, n, 1) for n in value.shape]
        flipped[axis] = (size - 1, size, -1)
        value = part(value, flipped)
    pieces = _cut(x, axis, start, start + size)
    inner = concat(pieces, axis)
    window = [*window[:axis], (0, size, 1), *window[axis + 1 :]]
    new = _replace_window(inner, window, value, axis + 1)
    return concat(
        [
            *_cut(x, axis, 0, start),
            *_cut(new, axis, 0, size),
            *_cut(x, axis, start + size, x.shape[axis]),
        ],
        axis,
    )


def add(x: Expr, items: list[Item], value: Expr) -> Expr:
    """`x` with `value` added at x[items]; where an element is named twice, both are added."""
    if is_basic(items):
        window = _window(items, x.shape)
        value = reshape(_fit(value, _basic_shape(items, window)), tuple(w[1] for w in window))
        starts, _, steps = zip(*window, strict=True)
        return x + pad(value, x.shape, starts, steps)
    if any(isinstance(i, Expr) for i in items):
        positions = get(_positions(x.shape), items)
    else:
        positions = _int_array(np.arange(x.size).reshape(x.shape)[tuple(items)])
    value = reshape(_fit(value, positions.shape), (positions.size,))
    added = scatter_add(value, reshape(positions, (positions.size,)), 0, x.size)
    return x + reshape(added, x.shape)


def _positions(shape: tuple[int, ...]) -> Expr:
    return reshape(bind("iota", attrs=(math.prod(shape),)), shape)


def masked(x: Expr, mask: Expr, value: Expr) -> Expr:
    """z[mask] = number, which is a where; more values need the mask's number of elements."""
    if value.size != 1 or mask.shape != x.shape[: mask.ndim]:
        raise fail(
            ConcretizationError,
            "z[mask] = y with a traced mask is possible for a single number y only; "
            "use np.where(mask, y, z)",
        )
    return bind("select", _down(mask, x.shape), broadcast_to(reshape(value, ()), x.shape), x)


def write_through(derive: Callable[[Expr], Expr], base: Expr, value: Expr) -> Expr | None:
    """`base` changed so that derive(base) is `value`; None if that view cannot be written to."""
    probe = arg(0, base.shape, base.dtype)
    node = derive(probe)
    path = []
    while node is not probe:
        known = node.op.name == "gather" and node.args[1].op is ARRAY
        place = node.op.name == "gather" and not node.args[1].shape
        if not known and not place and node.op.name not in ("reshape", "permute", "slice"):
            return None
        path.append(node)
        node = node.args[0]
    # The value of `base` at every step from it to the view, and back again.
    steps = [base]
    for node in reversed(path):
        steps.append(rebuild(node, (steps[-1], *node.args[1:])))
    for node, before in zip(path, steps[-2::-1], strict=True):
        if node.op.name == "reshape":
            value = reshape(value, before.shape)
        elif node.op.name == "permute":
            perm = node.attrs[0]
            value = permute(value, tuple(perm.index(k) for k in range(len(perm))))
        elif node.op.name == "gather" and not node.args[1].shape:
            value = put(before, node.args[1], value, node.attrs[0])
        elif node.op.name == "gather":
            items = [slice(None)] * node.attrs[0] + [node.args[1].attrs[0].array]
            value = replace(before, parse(before.shape, tuple(items)), value)
        else:
            value = _replace_window(before, list(zip(*node.attrs, strict=True)), value, 0)
    return value
