"""vmap: a function of one example as a function of many, in one graph."""

from __future__ import annotations

from typing import Any

from symgrad.diff import modes
from symgrad.errors import ShapeError, StructureError
from symgrad.expr.node import Expr, arg
from symgrad.ops.checks import apart
from symgrad.ops.linear import permute
from symgrad.trace import Tracer, as_expr, checked, record, set_checks
from symgrad.transform import Function, simplified, transformed
from symgrad.tree import flatten


def vmap(f: Function, in_axes: Any = 0, out_axes: Any = 0) -> Function:
    """`f` applied along an axis of its arguments, as one graph: vmap : (a → b) → [a] → [b].

    Parameters
    ----------
    in_axes : axis that is mapped over, None for an argument that is shared; one for all arguments
        or a tuple with one per argument (it then holds for every leaf of that argument)
    out_axes : axis of every result that holds the examples

    Raises
    ------
    ShapeError if the mapped axes have different sizes or nothing is mapped.
    """

    def impl(*args: Any, **kwargs: Any) -> Any:
        axes = list(in_axes) if isinstance(in_axes, (tuple, list)) else [in_axes] * len(args)
        if len(axes) != len(args):
            raise StructureError(f"vmap: {len(axes)} in_axes for {len(args)} arguments")
        axes += [0] * len(kwargs)
        batched: dict[Expr, Expr] = {}
        size: int | None = None
        values = []
        for value, axis in zip((*args, *kwargs.values()), axes, strict=True):
            leaves, tree = flatten(value)
            if axis is None:
                values.append(value)
                continue
            tracers = []
            for leaf in leaves:
                node = as_expr(leaf)
                if not -node.ndim <= axis < node.ndim:
                    raise ShapeError(f"vmap: axis {axis} of an argument of shape {node.shape}")
                at = axis % node.ndim
                if size is None:
                    size = node.shape[at]
                elif node.shape[at] != size:
                    raise ShapeError(f"vmap: mapped axes have sizes {size} and {node.shape[at]}")
                moved = permute(node, (at, *(k for k in range(node.ndim) if k != at)))
                example = arg(len(batched), moved.shape[1:], node.dtype)
                batched[example] = moved
                tracers.append(Tracer(example, is_argument=True))
            values.append(tree.unflatten(tracers))
        if size is None:
            raise ShapeError("vmap: nothing to map over; every in_axes is None")
        keywords = dict(zip(kwargs, values[len(args) :], strict=True))
        outs, tree = record(f, tuple(values[: len(args)]), keywords)
        outs, check = apart(outs, checked())
        if check is not None:  # one for all examples
            set_checks(modes.batched_outs([check], batched, size)[0][0])
        results = []
        for out in modes.vmap(simplified(outs), batched, size):
            at = out_axes % out.ndim
            order = [*range(1, out.ndim)]
            order.insert(at, 0)
            results.append(Tracer(permute(out, tuple(order))))
        return tree.unflatten(results)

    return transformed(f, impl, "vmap", (vmap, (f, in_axes, out_axes)))
