"""Derivatives as functions of functions: gradients, Jacobians, Hessians, products with vectors."""

from symgrad.derivatives.gradients import grad, value_and_grad
from symgrad.derivatives.jacobians import hessian, jacfwd, jacobian, jacrev
from symgrad.derivatives.products import hvp, jvp, vjp

__all__ = [
    "grad", "hessian", "hvp", "jacfwd", "jacobian", "jacrev", "jvp", "value_and_grad", "vjp",
]  # fmt: skip
