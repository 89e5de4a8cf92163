"""Reductions that are not linear. `axes` is sorted and the reduced axes disappear.

Ties share the cotangent equally. logsumexp, softmax and norm are kept whole, because their
derivatives and formulas are simple while their expansions are not; they expand before lowering.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from symgrad.errors import ShapeError
from symgrad.expr.node import Expr, bind, const
from symgrad.expr.op import OPS, Kind, Op, always, if_first, register
from symgrad.ops.elementwise import equal, exp, log, select, slope, square
from symgrad.ops.linear import broadcast, concat, reshape, slice_, sum_
from symgrad.ops.readings import reads_decision, reads_norm, reads_softmax

Attrs = tuple[Any, ...]
Args = tuple[Expr, ...]
Type = tuple[tuple[int, ...], str]


def spread(reduced: Expr, x: Expr, axes: tuple[int, ...]) -> Expr:
    """A reduction's result, repeated along the reduced axes to the shape of `x`."""
    return broadcast(reduced, x.shape, tuple(k for k in range(x.ndim) if k not in axes))


def _infer(x: Expr, axes: tuple[int, ...]) -> Type:
    if list(axes) != sorted(set(axes)) or (axes and not 0 <= axes[0] <= axes[-1] < x.ndim):
        raise ShapeError(f"reduction over axes {axes} of an array of shape {x.shape}")
    return tuple(n for k, n in enumerate(x.shape) if k not in axes), x.dtype


def _infer_nonempty(x: Expr, axes: tuple[int, ...]) -> Type:
    if any(x.shape[a] == 0 for a in axes):
        raise ShapeError("a maximum or minimum over no elements has no value")
    return _infer(x, axes)


def _infer_arg(x: Expr, axis: int) -> Type:
    if not 0 <= axis < x.ndim or x.shape[axis] == 0:
        raise ShapeError(f"argmax: axis {axis} of an array of shape {x.shape}")
    return tuple(n for k, n in enumerate(x.shape) if k != axis), "int64"


def _shift_axes(name: str) -> Any:
    def batch(args: Args, batched: list[bool], attrs: Attrs, size: int) -> Expr:
        axes = attrs[0]
        shifted = axes + 1 if isinstance(axes, int) else tuple(a + 1 for a in axes)
        return bind(name, args[0], attrs=(shifted,))

    return batch


def _no_axes(args: Args, attrs: Attrs) -> Expr | None:
    return args[0] if not attrs[0] else None


# ---- max and min -----------------------------------------------------------------------------


def _ties(name: str, out: Expr, x: Expr, axes: tuple[int, ...]) -> tuple[Expr, Expr]:
    """Which elements lose, and how many do not.

    The derivative of a NaN is NaN: no element equals it, so the count is made NaN, and none loses
    against it.
    """
    best = spread(out, x, axes)
    count = sum_(bind("convert", equal(x, best), attrs=(x.dtype,)), axes)
    return bind(name, x, best), select(equal(count, 0), np.nan, count)


def _extremum(name: str) -> dict[str, Any]:
    """Derivatives; `name` says how an element compares to the extremum when it loses."""

    def vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr]:
        loses, count = _ties(name, out, args[0], attrs[0])
        return [select(loses, 0, spread(ct / count, args[0], attrs[0]))]

    def jvp(tangents: list[Any], out: Expr, args: Args, attrs: Attrs) -> Expr:
        loses, count = _ties(name, out, args[0], attrs[0])
        return sum_(select(loses, 0, tangents[0]), attrs[0]) / count

    return {"vjp": vjp, "jvp": jvp}


# ---- prod ------------------------------------------------------------------------------------


def _products_of_others(x: Expr, axes: tuple[int, ...]) -> Expr:
    """For every element the product of all others along `axes`, right with any number of zeros.

    Exclusive prefix times exclusive suffix product; `recurrence` is closed under differentiation,
    so this is right at every order.
    """
    if not x.size:
        return x
    rest = tuple(k for k in range(x.ndim) if k not in axes)
    order = rest + axes
    moved = bind("permute", x, attrs=(order,))
    n = 1
    for a in axes:
        n *= x.shape[a]
    flat = reshape(moved, (*moved.shape[: len(rest)], n))
    others = _exclusive(flat, False) * _exclusive(flat, True)
    back = reshape(others, moved.shape)
    return bind("permute", back, attrs=(tuple(order.index(k) for k in range(x.ndim)),))


def _exclusive(x: Expr, reverse: bool) -> Expr:
    """Product of all elements strictly before (or after) each one along the last axis."""
    axis, n = x.ndim - 1, x.shape[-1]
    one = const(1, x.dtype, (*x.shape[:-1], 1))
    starts = [0] * x.ndim
    starts[-1] = 1 if reverse else 0
    inner = slice_(x, tuple(starts), (*x.shape[:-1], n - 1), (1,) * x.ndim)
    zeros = const(0, x.dtype, (*x.shape[:-1], n - 1))
    a = concat([inner, one] if reverse else [one, inner], axis)
    b = concat([zeros, one] if reverse else [one, zeros], axis)
    return bind("recurrence", a, b, attrs=(axis, reverse))


def _prod_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr]:
    x, axes = args[0], attrs[0]
    return [spread(ct, x, axes) * _products_of_others(x, axes)]


def _prod_jvp(tangents: list[Any], out: Expr, args: Args, attrs: Attrs) -> Expr:
    return sum_(tangents[0] * _products_of_others(args[0], attrs[0]), attrs[0])


# ---- logsumexp, softmax, norm ----------------------------------------------------------------


def _finite_max(x: Expr, axes: tuple[int, ...]) -> Expr:
    """The maximum, or 0 where it is infinite: exp(x - shift) then stays free of inf - inf."""
    top = bind("max", x, attrs=(axes,))
    return select(bind("isfinite", top), top, 0)


def _evaluate_logsumexp(x: Any, axes: tuple[int, ...]) -> Any:
    top = np.max(x, axis=axes, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.sum(np.exp(x - top), axis=axes)) + np.squeeze(top, axis=axes)


def _expand_logsumexp(args: Args, attrs: Attrs) -> Expr:
    x, axes = args[0], attrs[0]
    top = _finite_max(x, axes)
    return log(sum_(exp(x - spread(top, x, axes)), axes)) + top


def _evaluate_softmax(x: Any, axes: tuple[int, ...]) -> Any:
    top = np.max(x, axis=axes, keepdims=True)
    e = np.exp(x - np.where(np.isfinite(top), top, 0))
    count = np.prod([np.shape(x)[a] for a in axes])
    return np.where(np.isneginf(top), 1 / count, e / np.sum(e, axis=axes, keepdims=True))


def _expand_softmax(args: Args, attrs: Attrs) -> Expr:
    """Equal shares where every element is -inf, so that a fully masked row poisons nothing."""
    x, axes = args[0], attrs[0]
    top = bind("max", x, attrs=(axes,))
    e = exp(x - spread(select(bind("isfinite", top), top, 0), x, axes))
    total = sum_(e, axes)
    count = math.prod(x.shape[a] for a in axes)
    masked = equal(top, const(-np.inf, x.dtype, top.shape))
    return select(
        spread(masked, x, axes), const(1 / count, x.dtype, x.shape), e / spread(total, x, axes)
    )


def softmax(x: Expr, axes: tuple[int, ...]) -> Expr:
    """exp(x) / Σ exp(x) along `axes`, without overflow."""
    return bind("softmax", x, attrs=(axes,))


def _logsumexp_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr]:
    return [spread(ct, args[0], attrs[0]) * softmax(args[0], attrs[0])]


def _logsumexp_jvp(tangents: list[Any], out: Expr, args: Args, attrs: Attrs) -> Expr:
    return sum_(tangents[0] * softmax(args[0], attrs[0]), attrs[0])


def _softmax_derivative(t: Expr, out: Expr, args: Args, attrs: Attrs) -> Expr:
    """p ⊙ (t - Σ p t): the Jacobian diag(p) - p pᵀ is symmetric, so this is both modes."""
    return out * (t - spread(sum_(out * t, attrs[0]), args[0], attrs[0]))


def _expand_norm(args: Args, attrs: Attrs) -> Expr:
    return bind("sqrt", sum_(square(args[0]), attrs[0]))


def _norm_vjp(ct: Expr, out: Expr, args: Args, attrs: Attrs) -> list[Expr]:
    """ct x / ‖x‖, and 0 at 0: the subgradient of least norm."""
    x, axes = args[0], attrs[0]
    return [spread(ct, x, axes) * slope(x, spread(out, x, axes))]


def _norm_jvp(tangents: list[Any], out: Expr, args: Args, attrs: Attrs) -> Expr:
    """Σ t x / ‖x‖, and 0 at 0; outside of the sum, where factors of the tangent meet the slope."""
    return slope(sum_(tangents[0] * args[0], attrs[0]), out)


# ---- rows ------------------------------------------------------------------------------------


def _row(name: str, kind: Kind, infer: Any, evaluate: Any, **more: Any) -> Op:
    more.setdefault("attr_names", ("axes",))
    return register(Op(name, kind, infer, evaluate, batch=_shift_axes(name), **more))


# fmt: off
_row("max",    Kind.REDUCE, _infer_nonempty, lambda x, axes: np.max(x, axis=axes), **_extremum("less"), normalize=_no_axes, domain=((-3.0, 3.0),), combine=("max", -np.inf), nonnegative=if_first, reduces=True)
_row("min",    Kind.REDUCE, _infer_nonempty, lambda x, axes: np.min(x, axis=axes), **_extremum("greater"), normalize=_no_axes, domain=((-3.0, 3.0),), combine=("min", np.inf), nonnegative=if_first, reduces=True)
_row("prod",   Kind.REDUCE, _infer,          lambda x, axes: np.prod(x, axis=axes), vjp=_prod_vjp, jvp=_prod_jvp, normalize=_no_axes, domain=((-3.0, 3.0),), combine=("*", 1), nonnegative=if_first, reduces=True)
_row("any",    Kind.REDUCE, _infer,          lambda x, axes: np.any(x, axis=axes), normalize=_no_axes, combine=("||", False), reduces=True, reads=reads_decision)
_row("all",    Kind.REDUCE, _infer,          lambda x, axes: np.all(x, axis=axes), normalize=_no_axes, combine=("&&", True), reduces=True, reads=reads_decision)
_row("argmax", Kind.REDUCE, _infer_arg,      lambda x, axis: np.argmax(x, axis=axis), attr_names=("axis",), combine=("argmax", 0), rereads=True)
_row("argmin", Kind.REDUCE, _infer_arg,      lambda x, axis: np.argmin(x, axis=axis), attr_names=("axis",), combine=("argmin", 0), rereads=True)
_row("logsumexp", Kind.COMPOSITE, _infer_nonempty, _evaluate_logsumexp, vjp=_logsumexp_vjp, jvp=_logsumexp_jvp, expand=_expand_logsumexp, domain=((-3.0, 3.0),), reduces=True)
_row("norm",      Kind.COMPOSITE, _infer, lambda x, axes: np.sqrt(np.sum(np.square(x), axis=axes)), expand=_expand_norm, nonnegative=always, domain=((-3.0, 3.0),),
     vjp=_norm_vjp, jvp=_norm_jvp, reduces=True, radicand=lambda args, attrs: sum_(square(args[0]), attrs[0]), reads=reads_norm)
_row("softmax",   Kind.COMPOSITE, lambda x, axes: (_infer_nonempty(x, axes) and x.shape, x.dtype), _evaluate_softmax, expand=_expand_softmax, nonnegative=always, domain=((-3.0, 3.0),),
     vjp=lambda ct, out, args, attrs: [_softmax_derivative(ct, out, args, attrs)],
     jvp=lambda tangents, out, args, attrs: _softmax_derivative(tangents[0], out, args, attrs), reads=reads_softmax)
# fmt: on

ARGMAX, ARGMIN = OPS["argmax"], OPS["argmin"]
