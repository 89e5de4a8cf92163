"""Structural linear operations, in transposed pairs: one definition serves both modes.

    broadcast ⇄ sum     slice ⇄ pad     gather ⇄ scatter_add     permute, reshape ⇄ themselves
    concat ⇄ slices     cumsum ⇄ reversed cumsum (ops/scan.py)   convert ⇄ convert

All are linear in their first argument (concat in all of them). `batch` gives the same operation on
arrays that carry one more leading axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError
from symgrad.expr.node import ARRAY, CONST, FLOATS, Expr, array, bind, const, const_value
from symgrad.expr.op import OPS, Kind, Moves, Op, if_all, if_first, register
from symgrad.ops import readings
from symgrad.ops.elements import (
    broadcast_element,
    gather_element,
    pad_element,
    permute_element,
    reshape_element,
    slice_element,
)

Attrs = tuple[Any, ...]
Args = tuple[Expr, ...]
Type = tuple[tuple[int, ...], str]


def _refill(args: Args, shape: tuple[int, ...]) -> Expr | None:
    """A uniform constant stays one under any operation that only moves elements."""
    if args[0].op is CONST:
        return const(const_value(args[0]), args[0].dtype, shape)
    return None


# ---- broadcast and sum -----------------------------------------------------------------------


def broadcast(x: Expr, shape: tuple[int, ...], dims: tuple[int, ...]) -> Expr:
    """Repeat `x` to `shape`; axis k of `x` becomes axis `dims[k]`, all other axes are new.

    Axes of `x` keep their size: a size-1 axis that is to be stretched is reshaped away first.
    """
    return bind("broadcast", x, attrs=(tuple(shape), tuple(dims)))


def broadcast_to(x: Expr, shape: tuple[int, ...]) -> Expr:
    """NumPy's broadcasting of `x` to `shape`."""
    if x.shape == tuple(shape):
        return x
    lead = len(shape) - x.ndim
    if lead < 0 or any(n != 1 and n != m for n, m in zip(x.shape, shape[lead:], strict=True)):
        raise ShapeError(f"cannot broadcast an array of shape {x.shape} to {tuple(shape)}")
    kept = [k for k in range(x.ndim) if x.shape[k] == shape[lead + k]]
    core = reshape(x, tuple(x.shape[k] for k in kept))
    return broadcast(core, tuple(shape), tuple(lead + k for k in kept))


def sum_(x: Expr, axes: tuple[int, ...]) -> Expr:
    """Sum over `axes` (sorted, no keepdims)."""
    return bind("sum", x, attrs=(tuple(axes),))


def _infer_broadcast(x: Expr, shape: tuple[int, ...], dims: tuple[int, ...]) -> Type:
    if len(dims) != x.ndim or list(dims) != sorted(set(dims)):
        raise ShapeError(f"broadcast: axes {dims} for an array of shape {x.shape}")
    for n, d in zip(x.shape, dims, strict=True):
        if d >= len(shape) or shape[d] != n:
            raise ShapeError(f"broadcast: shape {x.shape} on axes {dims} of {shape}")
    return shape, x.dtype


def _evaluate_broadcast(x: Any, shape: tuple[int, ...], dims: tuple[int, ...]) -> Any:
    full = [1] * len(shape)
    for n, d in zip(np.shape(x), dims, strict=True):
        full[d] = n
    return np.broadcast_to(np.reshape(x, full), shape)


def _normalize_broadcast(args: Args, attrs: Attrs) -> Expr | None:
    x, (shape, dims) = args[0], attrs
    if x.shape == shape:
        return x
    if x.name == "broadcast":
        inner = x.attrs[1]
        return broadcast(x.args[0], shape, tuple(dims[d] for d in inner))
    return _refill(args, shape)


def _lead_broadcast(shape: tuple[int, ...], dims: tuple[int, ...], size: int) -> Attrs:
    return (size, *shape), (0, *(d + 1 for d in dims))


def _transpose_broadcast(ct: Expr, args: Args, attrs: Attrs) -> Expr:
    shape, dims = attrs
    return sum_(ct, tuple(k for k in range(len(shape)) if k not in dims))


def _infer_sum(x: Expr, axes: tuple[int, ...]) -> Type:
    if list(axes) != sorted(set(axes)) or (axes and not 0 <= axes[0] <= axes[-1] < x.ndim):
        raise ShapeError(f"sum: axes {axes} of an array of shape {x.shape}")
    if x.dtype == "bool":
        raise DtypeError("sum: convert bool to an integer first")
    return tuple(n for k, n in enumerate(x.shape) if k not in axes), x.dtype


def _normalize_sum(args: Args, attrs: Attrs) -> Expr | None:
    x, axes = args[0], attrs[0]
    if not axes:
        return x
    if x.name == "sum":
        kept = [k for k in range(x.args[0].ndim) if k not in x.attrs[0]]
        return sum_(x.args[0], tuple(sorted({*x.attrs[0], *(kept[a] for a in axes)})))
    if all(x.shape[a] == 1 for a in axes):
        return reshape(x, tuple(n for k, n in enumerate(x.shape) if k not in axes))
    return None


def _transpose_sum(ct: Expr, args: Args, attrs: Attrs) -> Expr:
    x, axes = args[0], attrs[0]
    return broadcast(ct, x.shape, tuple(k for k in range(x.ndim) if k not in axes))


# ---- permute and reshape ---------------------------------------------------------------------


def permute(x: Expr, perm: tuple[int, ...]) -> Expr:
    """Transposed axes: axis k of the result is axis `perm[k]` of `x`."""
    return bind("permute", x, attrs=(tuple(perm),))


def reshape(x: Expr, shape: tuple[int, ...]) -> Expr:
    """The same elements in row-major order, in another shape."""
    return bind("reshape", x, attrs=(tuple(shape),))


def _infer_permute(x: Expr, perm: tuple[int, ...]) -> Type:
    if sorted(perm) != list(range(x.ndim)):
        raise ShapeError(f"permute: axes {perm} of an array of shape {x.shape}")
    return tuple(x.shape[p] for p in perm), x.dtype


def _normalize_permute(args: Args, attrs: Attrs) -> Expr | None:
    x, perm = args[0], attrs[0]
    if list(perm) == sorted(perm):
        return x
    if x.name == "permute":
        return permute(x.args[0], tuple(x.attrs[0][p] for p in perm))
    return _refill(args, tuple(x.shape[p] for p in perm))


def _transpose_permute(ct: Expr, args: Args, attrs: Attrs) -> Expr:
    perm = attrs[0]
    return permute(ct, tuple(perm.index(k) for k in range(len(perm))))


def _infer_reshape(x: Expr, shape: tuple[int, ...]) -> Type:
    size = 1
    for n in shape:
        size *= n
    if size != x.size:
        raise ShapeError(f"cannot reshape {x.shape} ({x.size} elements) into {shape}")
    return shape, x.dtype


def _normalize_reshape(args: Args, attrs: Attrs) -> Expr | None:
    x, shape = args[0], attrs[0]
    if x.shape == shape:
        return x
    if x.name == "reshape":
        return reshape(x.args[0], shape)
    return _refill(args, shape) if _infer_reshape(x, shape) else None


# ---- slice and pad ---------------------------------------------------------------------------


def slice_(
    x: Expr, starts: tuple[int, ...], sizes: tuple[int, ...], steps: tuple[int, ...]
) -> Expr:
    """Elements start + k·step, k < size, of every axis; steps may be negative."""
    return bind("slice", x, attrs=(tuple(starts), tuple(sizes), tuple(steps)))


def pad(x: Expr, shape: tuple[int, ...], starts: tuple[int, ...], steps: tuple[int, ...]) -> Expr:
    """Zeros of `shape`, with `x` at start + k·step of every axis: the transpose of slice."""
    return bind("pad", x, attrs=(tuple(shape), tuple(starts), tuple(steps)))


def _check_window(what: str, shape: Any, starts: Any, sizes: Any, steps: Any) -> None:
    if not len(shape) == len(starts) == len(sizes) == len(steps):
        raise ShapeError(f"{what}: ranks differ")
    for n, start, size, step in zip(shape, starts, sizes, steps, strict=True):
        last = start + (size - 1) * step
        if size < 0 or step == 0 or (size and not (0 <= start < n and 0 <= last < n)):
            raise ShapeError(f"{what}: window ({start}, {size}, {step}) on an axis of {n}")


def _infer_slice(x: Expr, starts: Any, sizes: Any, steps: Any) -> Type:
    _check_window("slice", x.shape, starts, sizes, steps)
    return sizes, x.dtype


def _window(starts: Any, sizes: Any, steps: Any) -> tuple[slice, ...]:
    parts = []
    for start, size, step in zip(starts, sizes, steps, strict=True):
        stop: int | None = start + size * step
        if size == 0:
            parts.append(slice(0, 0))
        else:
            parts.append(slice(start, None if stop is not None and stop < 0 else stop, step))
    return tuple(parts)


def _normalize_slice(args: Args, attrs: Attrs) -> Expr | None:
    x, (starts, sizes, steps) = args[0], attrs
    if sizes == x.shape and not any(starts) and all(s == 1 for s in steps):
        return x
    if any(n == 1 and s != 1 for n, s in zip(sizes, steps, strict=True)):  # one spelling for one
        return slice_(
            x, starts, sizes, tuple(1 if n == 1 else s for n, s in zip(sizes, steps, strict=True))
        )
    if x.name == "slice":
        inner_starts, _, inner_steps = x.attrs
        return slice_(
            x.args[0],
            tuple(a + b * s for a, b, s in zip(inner_starts, starts, inner_steps, strict=True)),
            sizes,
            tuple(s * t for s, t in zip(inner_steps, steps, strict=True)),
        )
    return _refill(args, sizes)


def _transpose_slice(ct: Expr, args: Args, attrs: Attrs) -> Expr:
    return pad(ct, args[0].shape, attrs[0], attrs[2])


def _infer_pad(x: Expr, shape: Any, starts: Any, steps: Any) -> Type:
    _check_window("pad", shape, starts, x.shape, steps)
    return shape, x.dtype


def _evaluate_pad(x: Any, shape: Any, starts: Any, steps: Any) -> Any:
    x = np.asarray(x)
    out = np.zeros(shape, x.dtype)
    out[_window(starts, x.shape, steps)] = x
    return out


def _normalize_pad(args: Args, attrs: Attrs) -> Expr | None:
    x, (shape, starts, steps) = args[0], attrs
    if x.shape == shape and not any(starts) and all(s == 1 for s in steps):
        return x
    if any(n == 1 and s != 1 for n, s in zip(x.shape, steps, strict=True)):
        return pad(
            x, shape, starts, tuple(1 if n == 1 else s for n, s in zip(x.shape, steps, strict=True))
        )
    if x.name == "pad":
        _, inner_starts, inner_steps = x.attrs
        return pad(
            x.args[0],
            shape,
            tuple(b + a * s for a, b, s in zip(inner_starts, starts, steps, strict=True)),
            tuple(s * t for s, t in zip(inner_steps, steps, strict=True)),
        )
    if x.op is CONST and const_value(x) == 0 or x.size == 0:
        return const(0, x.dtype, shape)
    return None


def _transpose_pad(ct: Expr, args: Args, attrs: Attrs) -> Expr:
    return slice_(ct, attrs[1], args[0].shape, attrs[2])


# ---- concat ----------------------------------------------------------------------------------


def concat(parts: list[Expr] | tuple[Expr, ...], axis: int) -> Expr:
    """Arrays joined along an axis."""
    return bind("concat", *parts, attrs=(axis,))


def _infer_concat(*args: Any) -> Type:
    *parts, axis = args
    first = parts[0]
    if not 0 <= axis < first.ndim:
        raise ShapeError(f"concat: axis {axis} of an array of shape {first.shape}")
    for p in parts:
        if p.ndim != first.ndim or any(
            k != axis and n != m for k, (n, m) in enumerate(zip(p.shape, first.shape, strict=True))
        ):
            raise ShapeError(f"concat along axis {axis}: shapes {[p.shape for p in parts]}")
        if p.dtype != first.dtype:
            raise DtypeError(f"concat: dtypes {[p.dtype for p in parts]}")
    total = sum(p.shape[axis] for p in parts)
    return (*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype


def _normalize_concat(args: Args, attrs: Attrs) -> Expr | None:
    axis = attrs[0]
    kept = tuple(p for p in args if p.shape[axis])
    if len(kept) == 1 and _infer_concat(*args, axis):
        return kept[0]
    if 0 < len(kept) < len(args):
        return concat(kept, axis)
    return None


def concat_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr]:
    """Each operand gets its slice."""
    axis, start, result = attrs[0], 0, []
    for p in args:
        starts = tuple(start if k == axis else 0 for k in range(p.ndim))
        result.append(slice_(ct, starts, p.shape, (1,) * p.ndim))
        start += p.shape[axis]
    return result


def _concat_jvp(tangents: list[Expr | None], out: Expr, args: Args, attrs: Attrs) -> Expr:
    parts = [
        const(0, p.dtype, p.shape) if t is None else t for t, p in zip(tangents, args, strict=True)
    ]
    return concat(parts, attrs[0])


def lead(x: Expr, size: int) -> Expr:
    """`x` repeated along one new leading axis."""
    return broadcast(x, (size, *x.shape), tuple(range(1, x.ndim + 1)))


def _batch_concat(args: Args, batched: list[bool], attrs: Attrs, size: int) -> Expr:
    parts = [a if b else lead(a, size) for a, b in zip(args, batched, strict=True)]
    return concat(parts, attrs[0] + 1)


# ---- gather and scatter_add ------------------------------------------------------------------


def gather(x: Expr, index: Expr, axis: int) -> Expr:
    """x[..., index, ...] along one axis; negative indices count from the end.

    The result has shape x.shape[:axis] + index.shape + x.shape[axis + 1:].
    """
    return bind("gather", x, index, attrs=(axis,))


def scatter_add(ct: Expr, index: Expr, axis: int, size: int) -> Expr:
    """Zeros with `ct` added at `index` along `axis`: the transpose of gather; repeats add up."""
    return bind("scatter_add", ct, index, attrs=(axis, size))


def _infer_gather(x: Expr, index: Expr, axis: int) -> Type:
    if not 0 <= axis < x.ndim or index.dtype not in ("int32", "int64"):
        raise ShapeError(f"gather: axis {axis} of {x.shape} by {index.dtype}{index.shape}")
    if x.shape[axis] == 0 and index.size:
        raise ShapeError("gather: an axis of size 0 has no elements to take")
    return (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]), x.dtype


def _infer_scatter(ct: Expr, index: Expr, axis: int, size: int) -> Type:
    if ct.shape[axis : axis + index.ndim] != index.shape:
        raise ShapeError(f"scatter_add: {ct.shape} at {index.shape} from axis {axis}")
    return (*ct.shape[:axis], size, *ct.shape[axis + index.ndim :]), ct.dtype


def _evaluate_scatter(ct: Any, index: Any, axis: int, size: int) -> Any:
    ct, index = np.asarray(ct), np.asarray(index)
    shape = (*ct.shape[:axis], size, *ct.shape[axis + index.ndim :])
    out = np.zeros(shape, ct.dtype)
    np.add.at(out, (slice(None),) * axis + (index,), ct)
    return out


def _flat_rows(index: Expr, batch: int, size: int) -> Expr:
    """Row numbers into an array whose batch axis was merged with the indexed one."""
    wrapped = bind(
        "select",
        bind("less", index, const(0, index.dtype, index.shape)),
        index + size,
        index,
    )
    offset = bind("convert", bind("iota", attrs=(batch,)), attrs=(index.dtype,)) * size
    return broadcast(offset, index.shape, (0,)) + wrapped


def _batch_gather(args: Args, batched: list[bool], attrs: Attrs, size: int) -> Expr:
    x, index = args
    axis = attrs[0]
    if not batched[1]:
        return gather(x, index, axis + 1)
    if not batched[0]:
        out = gather(x, index, axis)  # the batch axis of the index lands at `axis`
        return permute(out, (axis, *(k for k in range(out.ndim) if k != axis)))
    moved = permute(x, (0, axis + 1, *(k for k in range(1, x.ndim) if k != axis + 1)))
    n = moved.shape[1]
    rows = reshape(moved, (size * n, *moved.shape[2:]))
    out = gather(rows, _flat_rows(index, size, n), 0)  # (batch, index..., before, after)
    k = index.ndim
    before = tuple(range(k, k + axis))
    return permute(out, (0, *before, *range(1, k), *range(k + axis, out.ndim)))


def _batch_scatter(args: Args, batched: list[bool], attrs: Attrs, size: int) -> Expr:
    ct, index = args
    axis, n = attrs
    if not batched[1]:
        return scatter_add(ct, index, axis + 1, n)
    if not batched[0]:
        ct = lead(ct, size)
    k = index.ndim  # with the batch axis
    before = tuple(range(1, 1 + axis))
    moved = permute(
        ct, (0, *range(1 + axis, axis + k), *before, *range(axis + k, ct.ndim))
    )  # (batch, index..., before, after)
    out = scatter_add(moved, _flat_rows(index, size, n), 0, size * n)
    out = reshape(out, (size, n, *out.shape[1:]))
    b = tuple(range(2, 2 + axis))
    return permute(out, (0, *b, 1, *range(2 + axis, out.ndim)))


# ---- one element at an index: what lowering reads ---------------------------------------------


# ---- where a value can be other than zero -------------------------------------------------------


def counted(counts: Expr) -> Expr:
    """Where sums of ones have terms."""
    return bind("not_equal", counts, const(0, counts.dtype, counts.shape))


def ones_at(support: Expr | None, like: Expr) -> Expr:
    """1 where `support` is true, else 0; of the type of `like`."""
    if support is None:
        return const(1, like.dtype, like.shape)
    return bind("convert", support, attrs=(like.dtype,))


def _moved(name: str) -> Any:
    """The support of elements that are moved or repeated."""
    return lambda args, attrs, supports: (
        None if supports[0] is None else bind(name, supports[0], *args[1:], attrs=attrs)
    )


def _of_pad(args: Args, attrs: Attrs, supports: Any) -> Expr:
    inside = const(True, "bool", args[0].shape) if supports[0] is None else supports[0]
    return bind("pad", inside, attrs=attrs)


def _of_concat(args: Args, attrs: Attrs, supports: Any) -> Expr | None:
    if all(s is None for s in supports):
        return None
    whole = [
        const(True, "bool", a.shape) if s is None else s
        for a, s in zip(args, supports, strict=True)
    ]
    return concat(whole, attrs[0])


def _of_scatter(args: Args, attrs: Attrs, supports: Any) -> Expr:
    ct, index = args
    axis, size = attrs
    if supports[0] is not None:
        return counted(scatter_add(ones_at(supports[0], ct), index, axis, size))
    if index.op is ARRAY:
        hit = np.zeros(size, bool)
        hit[index.attrs[0].array] = True
        rows = array(hit)
    else:
        rows = counted(scatter_add(const(1, ct.dtype, index.shape), index, 0, size))
    shape = (*ct.shape[:axis], size, *ct.shape[axis + index.ndim :])
    return broadcast(rows, shape, (axis,))


def _of_sum(args: Args, attrs: Attrs, supports: Any) -> Expr | None:
    return None if supports[0] is None else bind("any", supports[0], attrs=attrs)


# ---- rows ------------------------------------------------------------------------------------


def _row(
    name: str, infer: Any, evaluate: Any, attr_names: Attrs, transpose: Any, batch: Any, **more: Any
) -> Op:
    return register(
        Op(name, Kind.LINEAR, infer, evaluate, attr_names, transpose=transpose, batch=batch, **more)
    )


def _shifted(name: str, shift: Any) -> Any:
    """A batch rule: the same row on shifted attributes."""
    return lambda args, batched, attrs, size: bind(name, *args, attrs=shift(*attrs, size))


# fmt: off
_row("broadcast", _infer_broadcast, _evaluate_broadcast, ("shape", "dims"), _transpose_broadcast, _shifted("broadcast", _lead_broadcast), normalize=_normalize_broadcast, cost=0, element=broadcast_element, support=_moved("broadcast"), nonnegative=if_first, moves=Moves.REPEATED, reads=readings.reads_broadcast)
_row("sum", _infer_sum, lambda x, axes: np.sum(x, axis=axes), ("axes",), _transpose_sum, _shifted("sum", lambda axes, size: (tuple(a + 1 for a in axes),)), normalize=_normalize_sum, combine=("+", 0), support=_of_sum, nonnegative=if_first, reduces=True, reads=readings.reads_sum)
_row("permute", _infer_permute, np.transpose, ("perm",), _transpose_permute, _shifted("permute", lambda perm, size: ((0, *(p + 1 for p in perm)),)), normalize=_normalize_permute, cost=0, element=permute_element, support=_moved("permute"), nonnegative=if_first, moves=Moves.ONCE, reads=readings.reads_permute)
_row("reshape", _infer_reshape, np.reshape, ("shape",), lambda ct, args, attrs: reshape(ct, args[0].shape), _shifted("reshape", lambda shape, size: ((size, *shape),)), normalize=_normalize_reshape, cost=0, element=reshape_element, support=_moved("reshape"), nonnegative=if_first, moves=Moves.ONCE, reads=readings.reads_reshape)
_row("slice", _infer_slice, lambda x, starts, sizes, steps: x[_window(starts, sizes, steps)], ("starts", "sizes", "steps"), _transpose_slice, _shifted("slice", lambda starts, sizes, steps, size: ((0, *starts), (size, *sizes), (1, *steps))), normalize=_normalize_slice, cost=0, element=slice_element, support=_moved("slice"), nonnegative=if_first, moves=Moves.SOME, reads=readings.reads_slice)
_row("pad", _infer_pad, _evaluate_pad, ("shape", "starts", "steps"), _transpose_pad, _shifted("pad", lambda shape, starts, steps, size: ((size, *shape), (0, *starts), (1, *steps))), normalize=_normalize_pad, element=pad_element, support=_of_pad, nonnegative=if_first, rereads=True, reads=readings.reads_pad)
_row("concat", _infer_concat, lambda *args: np.concatenate(args[:-1], axis=args[-1]), ("axis",), None, _batch_concat, normalize=_normalize_concat, vjp=concat_vjp, jvp=_concat_jvp, support=_of_concat, nonnegative=if_all, moves=Moves.JOINED, reads=readings.reads_concat)
_row("gather", _infer_gather, lambda x, index, axis: np.take(x, index, axis=axis), ("axis",), lambda ct, args, attrs: scatter_add(ct, args[1], attrs[0], args[0].shape[attrs[0]]), _batch_gather, element=gather_element, support=_moved("gather"), nonnegative=if_first, moves=Moves.SOME, indices=1, rereads=True)
_row("scatter_add", _infer_scatter, _evaluate_scatter, ("axis", "size"), lambda ct, args, attrs: gather(ct, args[1], attrs[0]), _batch_scatter, support=_of_scatter, nonnegative=if_first, indices=1)
# fmt: on

BROADCAST, SUM, PERMUTE, RESHAPE, SLICE, PAD, CONCAT, GATHER, SCATTER_ADD = (
    OPS[name] for name in (
        "broadcast", "sum", "permute", "reshape", "slice", "pad", "concat", "gather", "scatter_add",
    )
)  # fmt: skip


def is_view(node: Expr) -> bool:
    """Whether `node` only moves or repeats elements of one array, from places that are known."""
    return node.op.moves is not None and len(node.args) == 1


__all__ = [
    "broadcast", "broadcast_to", "sum_", "permute", "reshape", "slice_", "pad", "concat", "gather",
    "scatter_add", "lead", "is_view", "FLOATS", "BROADCAST", "SUM", "PERMUTE", "RESHAPE", "SLICE",
    "PAD", "CONCAT", "GATHER", "SCATTER_ADD",
]  # fmt: skip
