"""vmap: a function of one example as a function of many, in one graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.diff import modes
from symgrad.errors import ShapeError, StructureError
from symgrad.expr.node import Expr, arg
from symgrad.ops.checks import apart
from symgrad.ops.linear import lead, permute
from symgrad.trace import Tracer, as_expr, checked, record, set_checks
from symgrad.trace.state import fail
from symgrad.transform import Function, simplified, transformed
from symgrad.tree import TreeDef, flatten


def vmap(f: Function, in_axes: Any = 0, out_axes: Any = 0) -> Function:
    """`f` applied along an axis of its arguments, as one graph: vmap : (a → b) → [a] → [b].

    Parameters
    ----------
    in_axes : axis that is mapped over, None for an argument that is shared; one for all arguments
        or a tuple with one per argument. For an argument that is a structure it is one for all its
        leaves, or a structure of the same containers, which may stop anywhere. Keyword arguments
        are mapped over their first axis.
    out_axes : axis of every result that holds the examples, or a structure of them in the same
        way; None for a result that is the same for all examples

    Raises
    ------
    ShapeError
        The mapped axes have different sizes, nothing is mapped, an axis is not there, or a result
        whose out_axes is None differs from example to example.
    StructureError
        `in_axes` or `out_axes` has other containers than the arguments or the results.

    Examples
    --------
    >>> import numpy as np, symgrad as sg
    >>> f = lambda p, x: {"y": p["w"] * x, "w": p["w"]}
    >>> sg.vmap(f, in_axes=({"w": None}, 0), out_axes={"y": 0, "w": None})({"w": 2.0}, np.ones(2))
    {'y': array([2., 2.]), 'w': 2.0}
    """

    def impl(*args: Any, **kwargs: Any) -> Any:
        axes = list(in_axes) if isinstance(in_axes, (tuple, list)) else [in_axes] * len(args)
        if len(axes) != len(args):
            raise fail(StructureError, f"vmap: {len(axes)} in_axes for {len(args)} arguments")
        leaves, tree = flatten((args, kwargs))
        wanted = _spread("in_axes", (tuple(axes), dict.fromkeys(kwargs, 0)), tree)
        values, batched, size = _examples(leaves, wanted)
        given, keywords = tree.unflatten(values)
        outs, tree = record(f, given, keywords)
        outs, check = apart(outs, checked())
        if check is not None:  # one for all examples
            set_checks(modes.batched_outs([check], batched, size)[0][0])
        return tree.unflatten(_results(outs, _spread("out_axes", out_axes, tree), batched, size))

    return transformed(f, impl, "vmap", (vmap, (f, in_axes, out_axes)))


def _spread(what: str, axes: Any, tree: TreeDef) -> list[int | None]:
    """The axis of each leaf, from a structure of axes that may stop above the leaves."""
    found: list[int | None] = [None] * tree.num_leaves
    stack = [(axes, tree.unflatten(range(tree.num_leaves)))]
    while stack:
        part, positions = stack.pop()
        if part is None or isinstance(part, int) and not isinstance(part, bool):
            for k in flatten(positions)[0]:
                found[k] = part
        elif (
            isinstance(part, dict)
            and isinstance(positions, dict)
            and part.keys() == positions.keys()
        ):
            stack += [(part[key], positions[key]) for key in part]
        elif (
            isinstance(part, (tuple, list))
            and isinstance(positions, (tuple, list))
            and len(part) == len(positions)
        ):
            stack += zip(part, positions, strict=True)
        else:
            raise fail(
                StructureError,
                f"vmap: {what} is {part!r} where the value is {tree}; write an int, None, or a "
                "structure of these with the same tuples, lists and dicts",
            )
    return found


def _examples(
    leaves: Sequence[Any], axes: Sequence[int | None]
) -> tuple[list[Any], dict[Expr, Expr], int]:
    """What stands for one example, the batches by that, and how many examples there are."""
    values = list(leaves)
    batched: dict[Expr, Expr] = {}
    size: int | None = None
    for k, (leaf, axis) in enumerate(zip(leaves, axes, strict=True)):
        if axis is None:
            continue
        node = as_expr(leaf)
        at = _position(axis, node.ndim, f"an argument of shape {node.shape}")
        if size is None:
            size = node.shape[at]
        elif node.shape[at] != size:
            raise fail(ShapeError, f"vmap: mapped axes have sizes {size} and {node.shape[at]}")
        moved = permute(node, (at, *(j for j in range(node.ndim) if j != at)))
        example = arg(len(batched), moved.shape[1:], node.dtype)
        batched[example] = moved
        values[k] = Tracer(example, is_argument=True)
    if size is None:
        raise fail(ShapeError, "vmap: nothing to map over; every in_axes is None")
    return values, batched, size


def _results(
    outs: Sequence[Expr], axes: Sequence[int | None], batched: dict[Expr, Expr], size: int
) -> list[Tracer]:
    made, flags = modes.batched_outs(simplified(outs), batched, size)
    results = []
    for out, is_batched, axis in zip(made, flags, axes, strict=True):
        if axis is None:
            if is_batched:
                raise fail(
                    ShapeError,
                    "vmap: out_axes is None for a result that differs from example to example",
                )
            results.append(Tracer(out))
            continue
        many = out if is_batched else lead(out, size)
        at = _position(axis, many.ndim, f"the results of shape {many.shape[1:]}")
        order = [*range(1, many.ndim)]
        order.insert(at, 0)
        results.append(Tracer(permute(many, tuple(order))))
    return results


def _position(axis: int, ndim: int, what: str) -> int:
    if not -ndim <= axis < ndim:
        raise fail(ShapeError, f"vmap: there is no axis {axis} for {what}")
    return axis % ndim
