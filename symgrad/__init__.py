"""symgrad: write NumPy, read the derivative, ship the C."""

import symgrad.ops
from symgrad.api import (
    compile,  # noqa: A004
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jit,
    jvp,
    stop_gradient,
    trace,
    value_and_grad,
    vjp,
    vmap,
    where,
)
from symgrad.check import check_grads
from symgrad.sparse.derivatives import sparse_hessian, sparse_jacobian
from symgrad.specs import Spec, bool_, f32, f64, i32, i64
from symgrad.trace import log_softmax, logsumexp, softmax, solve_triangular, take
from symgrad.version import __version__

__all__ = [
    "Spec", "__version__", "bool_", "check_grads", "compile", "f32", "f64", "grad", "hessian",
    "hvp", "i32", "i64", "jacfwd", "jacobian", "jacrev", "jit", "jvp", "log_softmax", "logsumexp",
    "softmax", "solve_triangular", "sparse_hessian", "sparse_jacobian", "stop_gradient", "take",
    "trace", "value_and_grad", "vjp", "vmap", "where",
]  # fmt: skip
