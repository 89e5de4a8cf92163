"""Functions of NumPy that call one of the user's for each element, or for each row, of an array.

They are loops, and followed as loops are: one round stands for all where rounds are alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.errors import ShapeError
from symgrad.trace import ufuncs
from symgrad.trace.applying_api import along_axis, over_axes
from symgrad.trace.handle import as_expr
from symgrad.trace.known import is_traced
from symgrad.trace.registry import dtype_name, to
from symgrad.trace.source.calls import ALWAYS, call, foreign, instead_of
from symgrad.trace.source.loops import Rounds, rounds
from symgrad.trace.state import fail
from symgrad.trace.tracer import ArrayTracer, Tracer, wrap_array


def results(function: Callable[[Any], tuple[Any, ...]], n: int) -> list[Any]:
    """Of a function of 0, 1, … n - 1 with several results the stacked ones."""
    first = [as_expr(v) for v in function(0)]
    made: list[Any] = [wrap_array(as_expr(np.zeros((n, *e.shape), e.dtype))) for e in first]
    for array, expr in zip(made, first, strict=True):
        array[0] = wrap_array(expr)
    loop = rounds(range(1, n))
    held = type(loop) is Rounds
    if held:
        loop.begin((), {})
    for k in loop:
        try:
            for array, value in zip(made, function(k), strict=True):
                array[k] = value
        except BaseException as error:
            if not (held and loop.failed(error)):
                raise
        if held and loop.on:
            loop.swap({})
    return made


def stacked(row: Callable[[Any], Any], n: int) -> Any:
    return results(lambda k: (row(k),), n)[0]


@instead_of(np.apply_along_axis)
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    return along_axis(lambda x: call(func1d, x, *args, **kwargs), axis, arr, stacked)


@instead_of(np.apply_over_axes)
def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    return over_axes(lambda x, axis: call(func, x, axis), a, axes)


def vectorized(f: np.vectorize, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of np.vectorize(function): the function is called for each element."""
    if not is_traced(args) and not is_traced(kwargs):
        return foreign(f, args, kwargs)
    if f.signature is not None:
        raise fail(
            ShapeError,
            "np.vectorize with signature= is not traced; use np.apply_along_axis, symgrad.vmap or "
            "a loop over the rows",
        )
    given: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
    arrays = {
        name: a if isinstance(a, Tracer) else wrap_array(as_expr(a))
        for name, a in given.items()
        if name not in f.excluded
    }
    shape = ufuncs.broadcast_shape("np.vectorize", [a.shape for a in arrays.values()])
    flat = {name: np.broadcast_to(a, shape).ravel() if shape else a for name, a in arrays.items()}
    several = False

    def one(k: Any) -> tuple[Any, ...]:
        nonlocal several
        now = dict(given)
        for name, a in flat.items():
            now[name] = a[k] if shape else a[()] if isinstance(a, ArrayTracer) else a
        result = call(f.pyfunc, *[now[n] for n in range(len(args))], **{n: now[n] for n in kwargs})
        several = isinstance(result, tuple)
        return result if several else (result,)

    n = int(np.prod(shape))
    if not n:
        raise fail(ShapeError, "np.vectorize of an empty array is not traced")
    made = [a.reshape(shape) for a in results(one, n)] if shape else [*one(0)]
    for k, kind in enumerate(f.otypes or ""):
        made[k] = wrap_array(to(as_expr(made[k]), dtype_name(np.dtype(kind))))
    return tuple(made) if several else made[0]


ALWAYS["vectorize"] = vectorized
