"""What is left of NumPy: arrays made like others, ufunc methods, questions, refusals.

Importing this module fills `SUPPORTED` with all of the *_api modules.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, MutationError, ShapeError, UnsupportedError
from symgrad.expr.node import FLOATS, Expr, array, bind, const
from symgrad.expr.op import UFUNCS
from symgrad.ops.linear import broadcast_to, concat, reshape
from symgrad.trace import plain, ufuncs
from symgrad.trace.elementwise_api import isclose
from symgrad.trace.handle import operand
from symgrad.trace.reduce_api import _count, all_, any_, max, min, prod, sum
from symgrad.trace.registry import (
    as_expr,
    axes_of,
    dtype_name,
    implements,
    refuse,
    to,
)
from symgrad.trace.running_api import ACCUMULATE, hypot_reduce, logaddexp_reduce
from symgrad.trace.shapes_api import along
from symgrad.trace.state import fail
from symgrad.trace.tables import SUPPORTED, unsupported
from symgrad.trace.tracer import ArrayTracer, Tracer, ZeroTracer, weak_operand, wrap_all, wrap_array

# ---- making arrays -------------------------------------------------------------------------------


def _filled(a: Any, value: Any, dtype: Any, shape: Any) -> Expr:
    like = as_expr(a)
    if shape is None:
        shape = like.shape
    elif not isinstance(shape, (tuple, list)):
        shape = (shape,)
    name = like.dtype if dtype is None else dtype_name(dtype)
    number = operand(value)
    return ufuncs.convert(number, name, tuple(int(n) for n in shape))


@implements("zeros_like", "empty_like")
def zeros_like(a: Any, dtype: Any = None, *, shape: Any = None) -> Expr:
    return _filled(a, 0, dtype, shape)


@implements("ones_like")
def ones_like(a: Any, dtype: Any = None, *, shape: Any = None) -> Expr:
    return _filled(a, 1, dtype, shape)


@implements("full_like")
def full_like(a: Any, fill_value: Any, dtype: Any = None, *, shape: Any = None) -> Expr:
    return _filled(a, fill_value, dtype, shape)


@implements("copy")
def copy(a: Any) -> Expr:
    return as_expr(a)


@implements("linspace")
def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False
) -> Any:
    given = [weak_operand(start), weak_operand(stop)]
    dtype = ufuncs.promote(given)
    a, b = ufuncs.together("np.linspace", given, dtype if dtype in FLOATS else "float64")
    num = operator.index(num)
    if num < 0:
        raise fail(ShapeError, f"np.linspace: {num} samples cannot be given")
    steps = num - 1 if endpoint else num
    step = (b - a) / float(steps) if steps > 0 else const(math.nan, "float64")
    shape = (num, *a.shape)
    ramp = array(np.arange(num, dtype=a.dtype).reshape((num,) + (1,) * a.ndim))
    value = broadcast_to(a, shape)
    rise = step if steps > 0 else b - a
    value = value + broadcast_to(ramp, shape) * broadcast_to(rise, shape)
    if endpoint and num > 1:  # the last value is exact
        value = concat([along(value, 0, 0, num - 1), reshape(b, (1, *b.shape))], 0)
    return (value, step) if retstep else value


# ---- ufunc methods and options -----------------------------------------------------------------

_REDUCTIONS = {
    "add": sum, "multiply": prod, "maximum": max, "minimum": min, "logical_and": all_,
    "logical_or": any_, "logaddexp": logaddexp_reduce, "hypot": hypot_reduce,
}  # fmt: skip


def _ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A ufunc with options, a method of a ufunc, or a ufunc over core axes such as matmul."""
    out = kwargs.pop("out", None)
    target = (
        _target(ufunc, inputs, out) if out is not None and any(o is not None for o in out) else None
    )
    kwargs = {k: v for k, v in kwargs.items() if v is not np._NoValue}
    name = ufunc.__name__
    if method == "__call__":
        where = kwargs.pop("where", True) if target is not None else True
        result = _call(ufunc, inputs, kwargs)
        if where is not True:
            result = SUPPORTED["where"](where, wrap_all(result), target)
    elif method == "reduce" and name in _REDUCTIONS:
        if "axis" not in kwargs:
            kwargs["axis"] = 0
        if kwargs.get("initial", 0) is None:
            del kwargs["initial"]
        if kwargs.get("dtype") is None:
            kwargs.pop("dtype", None)
        result = _REDUCTIONS[name](*inputs, **kwargs)
    elif method == "accumulate" and name in ACCUMULATE:
        axis = kwargs.pop("axis", 0)
        if kwargs.get("dtype") is None:
            kwargs.pop("dtype", None)
        result = ACCUMULATE[name](*inputs, axis, **kwargs)
    elif method == "outer":
        a, b = (as_expr(v) for v in inputs)
        result = _call(ufunc, (reshape(a, a.shape + (1,) * b.ndim), b), kwargs)
    elif method == "at":
        return _at(ufunc, *inputs)
    else:
        raise unsupported(f"np.{name}.{method}")
    result = wrap_all(result)
    return result if target is None else _store(result, target, name)


def _at(ufunc: np.ufunc, target: Any, index: Any, *values: Any) -> None:
    """``np.add.at(z, i, y)``: an index that is named twice counts twice."""
    name = f"np.{ufunc.__name__}.at"
    if not isinstance(target, (ArrayTracer, ZeroTracer)):
        raise fail(
            MutationError,
            f"{name} would have to change a plain array that was made outside of the function; "
            "change a .copy() of it",
        )
    if ufunc not in (np.add, np.subtract):
        raise unsupported(name, "only np.add.at and np.subtract.at are")
    value = values[0] if ufunc is np.add else -values[0]
    target.assign(target.at[index].add(value).expr, name)


# What NumPy hands on for `F @= A`: the axes that matmul takes by itself.
_IN_PLACE_AXES = ([(-2, -1), (-2, -1), (-2, -1)], [(-1,), (-2, -1), (-1,)])


def _call(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    kwargs = dict(kwargs)
    if ufunc.signature is not None:
        if ufunc is np.matmul and kwargs.get("axes") in _IN_PLACE_AXES:
            del kwargs["axes"]
        if ufunc.__name__ not in SUPPORTED:
            raise unsupported(f"np.{ufunc.__name__}")
        return SUPPORTED[ufunc.__name__](*inputs, **kwargs)
    dtype = kwargs.pop("dtype", None)
    if kwargs.pop("where", True) is not True:
        raise fail(
            UnsupportedError,
            f"np.{ufunc.__name__}: where= is traced with out=, which says what else there is",
        )
    if (
        kwargs.pop("casting", "same_kind") != "same_kind"
        or kwargs.pop("subok", True) is not True
        or kwargs
    ):
        options = ", ".join(kwargs) or "casting"
        raise fail(
            UnsupportedError,
            f"np.{ufunc.__name__}: the option {options} is not supported while tracing",
        )
    operands = [weak_operand(v) if not isinstance(v, Expr) else v for v in inputs]
    return ufuncs.apply(ufunc, *operands, dtype=None if dtype is None else dtype_name(dtype))


def _target(ufunc: np.ufunc, inputs: tuple[Any, ...], out: tuple[Any, ...]) -> Any:
    """The array that `out=` names, if the change can be followed."""
    if len(out) == 1 and (isinstance(out[0], (ArrayTracer, ZeroTracer)) or out[0] is inputs[0]):
        return out[0]
    raise fail(
        MutationError,
        f"np.{ufunc.__name__}: out= would have to change a plain array while tracing; use the "
        "result",
    )


def _store(result: Any, target: Any, name: str) -> Any:
    """``z += t``; for a plain array z Python rebinds z to what is returned, in the dtype of z."""
    if isinstance(target, (ArrayTracer, ZeroTracer)):
        return target.assign(result.expr, f"np.{name} with out=")
    if result.shape != target.shape:
        raise fail(
            ShapeError, f"in-place {name}: shape {result.shape} does not fit into {target.shape}"
        )
    if not np.can_cast(result.dtype, target.dtype, "same_kind"):
        raise fail(
            DtypeError,
            f"in-place {name}: {result.dtype} values do not fit into an array of {target.dtype}",
        )
    value = to(result.expr, dtype_name(target.dtype))
    return plain.change(target, value, f"in-place {name} of a plain array", wrap_array)


SUPPORTED["ufunc"] = _ufunc

# ---- questions that have a plain answer
# ------------------------------------------------------------


@implements("shape")
def shape(a: Any) -> tuple[int, ...]:
    return as_expr(a).shape


@implements("ndim")
def ndim(a: Any) -> int:
    return as_expr(a).ndim


@implements("size")
def size(a: Any, axis: Any = None) -> int:
    x = as_expr(a)
    return x.size if axis is None else _count(x, axes_of(axis, x, "size"))


@implements("iscomplexobj")
def iscomplexobj(x: Any) -> bool:
    return False


@implements("isrealobj")
def isrealobj(x: Any) -> bool:
    return True


@implements("result_type")
def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    return np.result_type(*[v.dtype if isinstance(v, Tracer) else v for v in arrays_and_dtypes])


@implements("can_cast")
def can_cast(from_: Any, to: Any, casting: str = "safe") -> bool:
    return np.can_cast(from_.dtype if isinstance(from_, Tracer) else from_, to, casting)  # type: ignore[arg-type]


@implements("may_share_memory", "shares_memory")
def may_share_memory(a: Any, b: Any) -> bool:
    return (
        isinstance(a, Tracer)
        and isinstance(b, Tracer)
        and (a is b or (a._group is not None and a._group is b._group))
    )


@implements("common_type")
def common_type(*arrays: Any) -> type:
    return np.common_type(*[np.empty(0, v.dtype) if isinstance(v, Tracer) else v for v in arrays])


@implements("copyto")
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    raise fail(
        MutationError,
        "np.copyto (also called by np.full_like with a traced value) writes a traced value into "
        "a plain "
        "array; use np.broadcast_to, np.stack, or x.at[index].set(y)",
    )


@implements("array_equal")
def array_equal(a1: Any, a2: Any) -> Any:
    a, b = as_expr(a1), as_expr(a2)
    if a.shape != b.shape:
        return False
    same = ufuncs.apply(np.equal, a, b)
    return bind("all", same, attrs=(tuple(range(same.ndim)),))


@implements("allclose")
def allclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Expr:
    close = isclose.__wrapped__(a, b, rtol, atol, equal_nan)
    return bind("all", close, attrs=(tuple(range(close.ndim)),))


for _name, _advice in (
    ("unique", "its size is not known while tracing"),
    ("nonzero", "its size is not known while tracing; use np.where(mask, a, b)"),
    ("argwhere", "its size is not known while tracing; use np.where(mask, a, b)"),
    ("flatnonzero", "its size is not known while tracing; use np.where(mask, a, b)"),
    ("put", "it changes an array in place; use x.at[index].set(y)"),
    ("place", "it changes an array in place; use np.where"),
    ("putmask", "it changes an array in place; use np.where"),
    ("put_along_axis", "it changes an array in place; use x.at[index].set(y)"),
    ("fill_diagonal", "it changes an array in place; use np.where(np.eye(n, dtype=bool), v, x)"),
    ("array2string", "print the value itself"), ("array_repr", "print the value itself"),
    ("save", ""), ("savetxt", ""),
):  # fmt: skip
    refuse(_name, _advice)


def supported_names() -> list[str]:
    """NumPy functions, and ufuncs of NumPy and SciPy, that can be traced."""
    return sorted({*SUPPORTED, *UFUNCS, *ufuncs.FORMULAS} - {"ufunc"})
