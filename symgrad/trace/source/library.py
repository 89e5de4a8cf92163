"""Functions of installed packages that a trace does something else with than call them.

Those of SciPy have counterparts, found by identity (`scipy_table`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from symgrad.errors import TraceError, UnsupportedError
from symgrad.trace import scipy_sparse_api, scipy_table
from symgrad.trace.handle import Handle
from symgrad.trace.known import is_traced, plain
from symgrad.trace.state import CURRENT, fail


def counterpart(f: Any, args: Any, kwargs: Any) -> Callable[..., Any] | None:
    """What is called instead of a function of SciPy, if a traced value has part in the call.

    Arrays of the traced function that are known are plain ones for it.
    """
    if not is_traced(args) and not is_traced(kwargs) and not (args and _holds(args[0])):
        return None
    found = scipy_table.lookup(f)
    if found is None:
        return None
    return lambda *args, **kwargs: found(*plain(args), **plain(kwargs))


def _holds(owner: Any) -> bool:
    """Whether a distribution that was given its parameters has traced ones."""
    if not type(owner).__module__.startswith("scipy.stats"):
        return False
    return is_traced(getattr(owner, "args", ())) or is_traced(getattr(owner, "kwds", {}))


def called(f: Any, args: Any, kwargs: Any, foreign: Callable[..., Any]) -> Any:
    """A function of SciPy as it is; if it cannot take a traced value the error names it."""
    trace = CURRENT.get()
    before = trace.poison
    try:
        return foreign(f, args, kwargs)
    except Exception as error:
        refused = trace.poison if before is None else None
        if not isinstance(error, TraceError) and refused is None:
            raise
        outer: Any = trace if before is None else None
        while outer is not None and outer.poison is refused:
            outer.poison, outer = None, outer.parent
        raise fail(UnsupportedError, scipy_table.advice_for(f)) from error


# ---- operators -----------------------------------------------------------------------------------


def _is_traced_one(x: Any) -> bool:
    return isinstance(x, Handle) and not x.is_known


def _matmul(a: Any, b: Any) -> Any:
    """``a @ b``; a sparse matrix would take a traced array for a plain one."""
    if (_is_traced_one(a) and scipy_sparse_api.is_sparse(b)) or (
        _is_traced_one(b) and scipy_sparse_api.is_sparse(a)
    ):
        return scipy_sparse_api.matmul(a, b)
    return operator.matmul(a, b)


def _multiply(a: Any, b: Any) -> Any:
    """``a * b``; of a sparse matrix the product of matrices, of a sparse array it is not."""
    for sparse, other in ((a, b), (b, a)):
        if _is_traced_one(other) and scipy_sparse_api.is_sparse(sparse):
            if scipy_sparse_api.is_matrix(sparse) and other.ndim:
                return scipy_sparse_api.matmul(a, b)
            raise fail(
                UnsupportedError,
                "a sparse array times a traced one, element by element, is not supported; use "
                "S @ x, or S.toarray() * x",
            )
    return operator.mul(a, b)


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"matmul": _matmul, "mul": _multiply}
