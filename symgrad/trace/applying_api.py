"""NumPy's functions that call one of the user's for parts of an array."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.errors import ShapeError
from symgrad.trace.handle import as_expr
from symgrad.trace.registry import implements, one_axis
from symgrad.trace.state import fail
from symgrad.trace.tracer import Tracer, wrap_array

Rows = Callable[[Callable[[Any], Any], int], Any]  # what is given the row of a number, and how many


def all_rows(row: Callable[[Any], Any], n: int) -> Any:
    """np.stack([row(k) for k in range(n)])"""
    return wrap_array(as_expr([row(k) for k in range(n)]))


@implements("apply_along_axis")
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    return along_axis(lambda x: func1d(x, *args, **kwargs), axis, arr, all_rows)


def along_axis(function: Callable[[Any], Any], axis: int, arr: Any, stacked: Rows) -> Any:
    """What a function makes of each vector along an axis, in the place of that axis."""
    x: Any = arr if isinstance(arr, Tracer) else wrap_array(as_expr(arr))
    axis = one_axis(axis, x.ndim)
    moved: Any = np.moveaxis(x, axis, -1)
    outer = moved.shape[:-1]
    n = math.prod(outer)
    if not n:
        raise fail(
            ShapeError,
            f"np.apply_along_axis of shape {x.shape}: there is no vector along axis {axis}",
        )
    rows = moved.reshape(n, moved.shape[-1])
    made = stacked(lambda k: function(rows[k]), n)
    whole = made.reshape(outer + made.shape[1:])
    order = [*range(axis), *range(len(outer), whole.ndim), *range(axis, len(outer))]
    return np.transpose(whole, order)


@implements("apply_over_axes")
def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    return over_axes(func, a, axes)


def over_axes(function: Callable[[Any, int], Any], a: Any, axes: Any) -> Any:
    """An array to which a function is applied along several axes, one after the other."""
    x: Any = a if isinstance(a, Tracer) else wrap_array(as_expr(a))
    for axis in np.atleast_1d(axes).tolist():
        axis = one_axis(axis, x.ndim)
        made: Any = function(x, axis)
        x = made if np.ndim(made) == x.ndim else np.expand_dims(made, axis)
        if x.ndim != np.ndim(a):
            raise fail(ShapeError, "np.apply_over_axes: the function changes the number of axes")
    return x
