"""Gradients of scalar functions, by reverse mode."""

from __future__ import annotations

from typing import Any

from symgrad.derivatives.inner import Inner, filled, scalar_out
from symgrad.errors import SymgradWarning, warn
from symgrad.expr.node import const
from symgrad.scalar import derive
from symgrad.signature import Static
from symgrad.trace import function_name, is_nested
from symgrad.transform import Function, transformed


def value_and_grad(
    f: Function,
    argnums: Any = 0,
    has_aux: bool = False,
    *,
    static_argnums: Any = (),
    static_argnames: Any = (),
) -> Function:
    """A function that returns (f(...), gradient).

    Parameters
    ----------
    f : function with a float scalar result of shape ()
    argnums : position or name of the argument, or a tuple of them
    has_aux : `f` returns (value, auxiliary); the new function then returns
        ((value, auxiliary), gradient)
    static_argnums, static_argnames : positions and names of arguments that are compiled in; see
        `jit`. Arrays among them are told apart by content.

    Returns
    -------
    function
        Gradients have the structure, shapes and dtypes of the arguments; a tuple of them if
        `argnums` is one. Reverse mode: the cost is a small multiple of that of `f`, whatever the
        number of inputs (Griewank & Walther, Evaluating Derivatives, 2008, ch. 3).

    Raises
    ------
    DifferentiationError
        The result is not a float scalar; an argument is not a float; an op has no rule.
    """

    def impl(*args: Any, **kwargs: Any) -> Any:
        value, gradient, aux = _gradient(f, argnums, has_aux, args, kwargs, "value_and_grad")
        return ((value, aux), gradient) if has_aux else (value, gradient)

    return _transformed(
        f, impl, "value_and_grad", argnums, has_aux, static_argnums, static_argnames
    )


def grad(
    f: Function,
    argnums: Any = 0,
    has_aux: bool = False,
    *,
    static_argnums: Any = (),
    static_argnames: Any = (),
) -> Function:
    """A function that returns the gradient of `f`; see `value_and_grad`.

    With `has_aux`, it returns (gradient, auxiliary).

    Examples
    --------
    >>> import numpy as np, symgrad as sg
    >>> sg.grad(lambda x: np.sum(x**3))(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """

    def impl(*args: Any, **kwargs: Any) -> Any:
        _, gradient, aux = _gradient(f, argnums, has_aux, args, kwargs, "grad")
        return (gradient, aux) if has_aux else gradient

    return _transformed(f, impl, "grad", argnums, has_aux, static_argnums, static_argnames)


def _transformed(f: Function, impl: Function, what: str, argnums: Any, has_aux: bool,
                 static_argnums: Any, static_argnames: Any) -> Function:  # fmt: skip
    recipe = _again, (f, what, argnums, has_aux, static_argnums, static_argnames)
    static = Static(f, static_argnums, static_argnames)
    return transformed(f, impl, what, recipe, static=static, direct=True)


def _again(f: Function, what: str, argnums: Any, has_aux: bool,
           static_argnums: Any, static_argnames: Any) -> Function:  # fmt: skip
    make = grad if what == "grad" else value_and_grad
    return make(f, argnums, has_aux, static_argnums=static_argnums, static_argnames=static_argnames)


def _gradient(
    f: Function, argnums: Any, has_aux: bool, args: Any, kwargs: Any, what: str
) -> tuple[Any, Any, Any]:
    inner = Inner(f, argnums, args, kwargs)
    if has_aux:
        inner.split_aux(what)
    out = scalar_out(inner, what)
    # In a derivative of a derivative independence is no mistake.
    if not is_nested() and not hasattr(f, "__symgrad_transformed__"):
        unused = [v.attrs[-1] for v in inner.fresh if v not in inner.used]
        if unused:
            warn(
                f"{what}({function_name(f)}): the function does not depend on "
                f"{', '.join(unused)}; that gradient is zero",
                SymgradWarning,
            )
    opened = derive.jacobian([out], inner.fresh, False, inner.again)
    if opened is None:
        gradients = filled(inner.vjp([out], inner.fresh, [const(1, out.dtype)]), inner.fresh)
    else:
        gradients = opened[0]
    tracers, aux = inner.close_with_aux([out, *gradients])
    return tracers[0], inner.pack(tracers[1:]), aux
