"""Which functions of SciPy have a counterpart here, by identity; SciPy is never imported.

`lookup` answers what to call instead of a function, of a method, or of an object that can be
called; `advice_for` says what to write where there is nothing. Names are those under which users
know the functions; they are looked up among the modules that are loaded, so that a function by any
name, `from scipy.special import logsumexp as lse`, is the same one.
"""

from __future__ import annotations

import difflib
import functools
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.trace import (
    scipy_api,
    scipy_interpolate_api,
    scipy_linalg_api,
    scipy_multivariate_api,
    scipy_sparse_api,
    scipy_stats_api,
)

NAMES: dict[str, Callable[..., Any]] = {
    **scipy_api.NAMES,
    **scipy_linalg_api.NAMES,
    **scipy_stats_api.NAMES,
    **scipy_multivariate_api.NAMES,
    **scipy_interpolate_api.NAMES,
    **scipy_sparse_api.NAMES,
}
# Longest first: scipy.spatial.distance before scipy.spatial.
_MODULES = sorted(
    {".".join(parts[:k]) for parts in (name.split(".") for name in NAMES) for k in (2, 3)},
    key=len,
    reverse=True,
)


def lookup(f: Any) -> Callable[..., Any] | None:
    """What to call instead of `f` with the same arguments, if any of them is traced.

    f : a function or class of SciPy, a bound method of one of its objects, or such an object
    """
    if type(f) is types.MethodType:
        found = lookup(f.__func__)
        return None if found is None else functools.partial(found, f.__self__)
    if not isinstance(f, (types.FunctionType, types.BuiltinFunctionType, type)):
        cls = type(f)
        if not any(c.__module__.startswith("scipy.") for c in cls.__mro__):
            return None
        found = lookup(getattr(cls, "__call__", None))  # noqa: B004
        return None if found is None else functools.partial(found, f)
    if not (getattr(f, "__module__", None) or "").startswith("scipy"):
        return None
    return _table(tuple(name for name in _MODULES if name in sys.modules)).get(f)


@functools.lru_cache(maxsize=16)
def _table(modules: tuple[str, ...]) -> dict[Any, Callable[..., Any]]:
    """The counterparts by function, of the modules that are loaded."""
    table: dict[Any, Callable[..., Any]] = {}
    for name, implementation in NAMES.items():
        module = next((m for m in modules if name.startswith(m + ".")), None)
        target: Any = sys.modules.get(module) if module else None
        for part in name[len(module) + 1 :].split(".") if module else ():
            # Of a class its own functions, and what it inherits.
            target = getattr(target, part, None)
        if target is not None:
            table[target] = implementation
    return table


_INSTEAD = {
    "scipy.integrate.quad": "write a Gauss rule: np.sum(weights * f(nodes))",
    "scipy.integrate.solve_ivp": "write the steps of a Runge-Kutta method as a loop",
    "scipy.integrate.odeint": "write the steps of a Runge-Kutta method as a loop",
    "scipy.optimize": "write the iteration, Newton's say, as a loop",
    "scipy.linalg.eig": "of a symmetric matrix take np.linalg.eigh",
    "scipy.linalg.lstsq": "use np.linalg.solve(A.T @ A, A.T @ b)",
    "scipy.sparse.linalg": "use np.linalg.solve with a dense matrix",
    "scipy.ndimage": "write convolutions with np.convolve or sums of shifted slices",
    "scipy.signal": "use np.convolve",
}


def advice_for(f: Any) -> str:
    """What an error says of a function of SciPy that is not traced: its name, and what to write."""
    owner = getattr(f, "__self__", None)
    name = getattr(f, "__name__", type(f).__name__)
    module = getattr(f, "__module__", None) or type(f).__module__ or ""
    if name == "__init__":  # of a class
        name = getattr(f, "__qualname__", name).split(".")[-2]
    if isinstance(f, np.ufunc):
        module = "numpy" if getattr(np, name, None) is f else "scipy.special"
    public = ".".join(p for p in module.split(".") if not p.startswith("_"))
    if owner is not None and not isinstance(owner, types.ModuleType):
        name = f"{type(owner).__name__}.{name}"
    full = f"{public}.{name}" if public else name
    for start, words in _INSTEAD.items():
        if full == start or full.startswith(start + "."):
            return f"{full} is not supported while tracing; {words}"
    known = {n.rsplit(".", 1)[-1]: n for n in NAMES}
    near = difflib.get_close_matches(name.rsplit(".", 1)[-1], known, 3)
    if near:
        return f"{full} is not supported while tracing; near names that are: " + ", ".join(
            known[n] for n in near
        )
    return (
        f"{full} is not supported while tracing; compute it before and pass the result as an "
        "argument, or write it with NumPy"
    )
