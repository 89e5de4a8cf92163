"""The text of a program under JAX: gradient and Hessian product in double precision.

Item assignment becomes ``.at[].set``. It takes JAX seconds to compile the operations of a program,
so only a few programs are compared with it; what JAX lacks or refuses is left out.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from fuzz.oracles import load


class _Functional(ast.NodeTransformer):
    """x[i] = y and x[i] += y as assignments of a new x; x += y as x = x + y."""

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        target = node.targets[0]
        return self._at(target, "set", node.value) if isinstance(target, ast.Subscript) else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        target = node.target
        if isinstance(target, ast.Subscript):
            old = ast.Subscript(target.value, target.slice, ast.Load())
            return self._at(target, "set", ast.BinOp(old, node.op, node.value))
        assert isinstance(target, ast.Name)
        value = ast.BinOp(ast.Name(target.id, ast.Load()), node.op, node.value)
        return ast.Assign([ast.Name(target.id, ast.Store())], value)

    def _at(self, target: ast.Subscript, name: str, value: ast.expr) -> ast.stmt:
        at = ast.Subscript(ast.Attribute(target.value, "at", ast.Load()), target.slice, ast.Load())
        new = ast.Call(ast.Attribute(at, name, ast.Load()), [value], [])
        return ast.Assign([ast.Name(ast.unparse(target.value), ast.Store())], new)


def derivatives(
    text: str, args: Sequence[Any], floats: Sequence[int], along: Sequence[Any]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """[value, *gradient] and the Hessian times `along`, one array for each float argument."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    tree = ast.fix_missing_locations(_Functional().visit(ast.parse(text)))
    names = ("logsumexp", "softmax", "log_softmax")
    symgrad = types.SimpleNamespace(
        logsumexp=jax.scipy.special.logsumexp, **{n: getattr(jax.nn, n) for n in names[1:]}
    )
    module = types.SimpleNamespace(**{**vars(jnp), "random": np.random})
    loss = load(ast.unparse(tree), module, jax.scipy.special, symgrad)["loss"]
    constant = [jnp.asarray(a) if isinstance(a, np.ndarray) else a for a in args]

    def of(*xs: Any) -> Any:
        whole = list(constant)
        for k, x in zip(floats, xs, strict=True):
            whole[k] = x
        return loss(*whole)

    xs = tuple(jnp.asarray(args[k], float) for k in floats)
    vs = tuple(jnp.asarray(v, float) for v in along)
    both = jax.value_and_grad(of, argnums=tuple(range(len(xs))))
    (value, gradient), (_, product) = jax.jvp(both, xs, vs)
    return [np.asarray(x) for x in (value, *gradient)], [np.asarray(x) for x in product]
