"""scipy.sparse arrays as constants of a traced function: products with traced vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.errors import ShapeError
from symgrad.expr.node import Expr, array, bind
from symgrad.ops.linear import broadcast_to, gather, permute, reshape, scatter_add
from symgrad.trace import ufuncs
from symgrad.trace.handle import as_expr
from symgrad.trace.scipy_api import give
from symgrad.trace.state import fail


def is_sparse(x: Any) -> bool:
    """Whether `x` is a sparse matrix or array of SciPy."""
    return any(c.__module__ == "scipy.sparse._base" for c in type(x).__mro__)


def is_matrix(x: Any) -> bool:
    """Whether a sparse object is one of the matrices, whose ``*`` is the product of matrices."""
    return any(c.__module__ == "scipy.sparse._matrix" for c in type(x).__mro__)


def dot(self: Any, other: Any) -> Any:
    """The sparse matrix times a vector or a matrix."""
    return give(_product(self, as_expr(other)), other)


def rmatmul(self: Any, other: Any) -> Any:
    """A vector or a matrix times the sparse matrix."""
    x = as_expr(other)
    if x.ndim == 2:
        return give(permute(_product(self.T, permute(x, (1, 0))), (1, 0)), other)
    return give(_product(self.T, x), other)


def _product(matrix: Any, x: Expr) -> Expr:
    """Σ data x[column], added up at the rows: only what is stored is touched."""
    shape = tuple(int(n) for n in matrix.shape)
    if len(shape) != 2 or x.ndim not in (1, 2) or x.shape[0] != shape[1]:
        raise fail(ShapeError, f"a sparse matrix of shape {shape} times an array of {x.shape}")
    entries = matrix.tocoo()
    data = as_expr(np.asarray(entries.data))
    dtype = ufuncs.promote([data, x])
    rows, columns = (array(np.asarray(k).astype(np.int64)) for k in (entries.row, entries.col))
    taken = gather(ufuncs.convert(x, dtype), columns, 0)
    weights = reshape(ufuncs.convert(data, dtype), (data.size,) + (1,) * (x.ndim - 1))
    weighted = bind("multiply", taken, broadcast_to(weights, taken.shape))
    return scatter_add(weighted, rows, 0, shape[0])


def matmul(a: Any, b: Any) -> Any:
    """``a @ b`` where one side is sparse and the other one traced."""
    return dot(a, b) if is_sparse(a) else rmatmul(b, a)


_METHODS = {"dot": dot, "__matmul__": dot, "__rmatmul__": rmatmul, "_matmul_dispatch": dot}
NAMES: dict[str, Callable[..., Any]] = {
    f"scipy.sparse.{cls}.{name}": f
    for cls in ("_base._spbase", "_coo._coo_base")
    for name, f in _METHODS.items()
}
