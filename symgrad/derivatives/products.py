"""Derivatives times vectors: tangents pushed forward, cotangents pulled back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad.derivatives.gradients import grad
from symgrad.derivatives.immediate import immediate
from symgrad.derivatives.inner import Inner, filled
from symgrad.errors import DtypeError, ShapeError, StructureError, at_user_line
from symgrad.expr.node import FLOATS, Expr, bind
from symgrad.trace import as_expr, function_name
from symgrad.transform import Function, jit, transformed
from symgrad.tree import flatten


def jvp(f: Function, primals: Any, tangents: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(f(*primals), directional derivative along tangents): jvp : (a → b) → a → T a → T b.

    Parameters
    ----------
    primals, tangents : tuples of arguments of equal structure and shapes; a single array stands
        for a tuple of one
    has_aux : `f` returns (value, auxiliary), and the auxiliary result comes third

    Raises
    ------
    StructureError, ShapeError, DtypeError if tangents do not fit the primals.
    """
    pushed = immediate(f, "jvp, aux" if has_aux else "jvp", lambda f: _jvp_impl(f, has_aux))
    results: tuple[Any, ...] = pushed(_tuple(primals), _tuple(tangents))
    return results


def vjp(f: Function, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(f(*primals), pullback): vjp : (a → b) → a → (b, T*b → T*a).

    The pullback takes a cotangent of the structure of the result and returns a tuple with one
    cotangent per primal. With `has_aux`, `f` returns (value, auxiliary), and the auxiliary result
    comes third.
    """
    result, pullback = immediate(f, "jit", jit)(*primals), Pullback(f, primals, has_aux)
    if not has_aux:
        return result, pullback
    if not isinstance(result, tuple) or len(result) != 2:
        raise StructureError(
            at_user_line(f"vjp({function_name(f)}): has_aux=True needs a (value, aux) result")
        )
    return result[0], pullback, result[1]


class Pullback:
    """The second of what `vjp` returns. It keeps its function alive, and pickles as that does."""

    def __init__(self, f: Function, primals: tuple[Any, ...], has_aux: bool = False) -> None:
        self._f, self._primals, self._has_aux = f, primals, has_aux
        label = "vjp, aux" if has_aux else "vjp"
        self._pull = immediate(f, label, lambda f: _vjp_impl(f, has_aux))

    def __symgrad_captures__(self) -> tuple[Any, ...]:
        return self._f, self._primals

    def __call__(self, cotangent: Any) -> Any:
        return self._pull(self._primals, cotangent)

    def __reduce__(self) -> Any:
        return Pullback, (self._f, self._primals, self._has_aux)

    def __repr__(self) -> str:
        return f"<pullback of {function_name(self._f)}, by symgrad>"


def hvp(f: Function, x: Any, v: Any) -> Any:
    """Hessian of the scalar function `f` at `x` times `v`, forward over reverse; x's structure."""
    return jvp(immediate(f, "grad", lambda g: grad(g)), (x,), (v,))[1]


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _jvp_impl(f: Function, has_aux: bool = False) -> Function:
    def impl(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
        inner = Inner(f, tuple(range(len(primals))), primals, {})
        if has_aux:
            inner.split_aux("jvp")
        given = _matching(tangents, primals, inner.fresh, "tangent", function_name(f))
        pushed = inner.push(inner.outs, inner.fresh, given)
        tracers, aux = inner.close_with_aux([*inner.outs, *filled(pushed, inner.outs)])
        n = len(inner.outs)
        both = inner.out_tree.unflatten(tracers[:n]), inner.out_tree.unflatten(tracers[n:])
        return (*both, aux) if has_aux else both

    return transformed(f, impl, "jvp", (_jvp_impl, (f, has_aux)), direct=True)


def _vjp_impl(f: Function, has_aux: bool = False) -> Function:
    def impl(primals: tuple[Any, ...], cotangent: Any) -> Any:
        inner = Inner(f, tuple(range(len(primals))), primals, {})
        if has_aux:
            inner.split_aux("vjp")
        structure = inner.out_tree.unflatten(inner.outs)
        given = _matching(cotangent, structure, inner.outs, "cotangent", function_name(f))
        pulled = inner.vjp(inner.outs, inner.fresh, given)
        return inner.pack(inner.close(filled(pulled, inner.fresh)))

    return transformed(f, impl, "vjp", (_vjp_impl, (f, has_aux)), direct=True)


def _matching(values: Any, primals: Any, nodes: Sequence[Expr], what: str, name: str) -> list[Expr]:
    leaves, tree = flatten(values)
    expected = flatten(primals)[1]
    if tree != expected:
        raise StructureError(
            at_user_line(f"{name}: {what}s have structure {tree}, expected {expected}")
        )
    result = []
    for leaf, node in zip(leaves, nodes, strict=True):
        value = as_expr(leaf)
        if value.shape != node.shape:
            raise ShapeError(
                at_user_line(f"{name}: a {what} has shape {value.shape}, expected {node.shape}")
            )
        if value.dtype != node.dtype:
            if value.shape == () and node.dtype in FLOATS and not isinstance(leaf, np.ndarray):
                value = bind("convert", value, attrs=(node.dtype,))
            else:
                raise DtypeError(
                    at_user_line(f"{name}: a {what} has dtype {value.dtype}, expected {node.dtype}")
                )
        result.append(value)
    return result
