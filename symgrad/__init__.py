"""symgrad: write NumPy, read the derivative, ship the C."""

import symgrad.ops  # noqa: F401  (fills the table of ops)
from symgrad import random
from symgrad.batching import vmap
from symgrad.check import check_grads
from symgrad.control import (
    checkpoint,
    cond,
    fori_loop,
    map,  # noqa: A004
    scan,
    switch,
    while_loop,
)
from symgrad.derivatives import (
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    value_and_grad,
    vjp,
)
from symgrad.sparse.derivatives import sparse_hessian, sparse_jacobian
from symgrad.specs import Spec, bool_, f32, f64, i32, i64
from symgrad.trace import log_softmax, logsumexp, softmax, solve_triangular, take
from symgrad.transform import (
    compile,  # noqa: A004
    fast_calls,
    jit,
    stop_gradient,
    trace,
    where,
)
from symgrad.version import __version__

__all__ = [
    "Spec", "__version__", "bool_", "check_grads", "checkpoint", "compile", "cond", "f32", "f64",
    "fast_calls", "fori_loop", "grad", "hessian", "hvp", "i32", "i64", "jacfwd", "jacobian",
    "jacrev", "jit", "jvp", "log_softmax", "logsumexp", "map", "random", "scan", "softmax",
    "solve_triangular", "sparse_hessian", "sparse_jacobian", "stop_gradient", "switch", "take",
    "trace", "value_and_grad", "vjp", "vmap", "where", "while_loop",
]  # fmt: skip
