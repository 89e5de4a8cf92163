"""Functions of installed packages that a trace does something else with than call them.

`INSTEAD` names a function that is called in its place, with the same arguments; `ENTERED` names
those that are rewritten and followed as the user's own functions are. Keys are ``module.name`` as
the function itself has them (``f.__module__``, ``f.__qualname__``), or ``package.`` with a dot at
the end for all of a package, so that nothing is imported to fill the tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from symgrad.trace import scipy_api

INSTEAD: dict[str, Callable[..., Any]] = {
    "scipy.special._logsumexp.logsumexp": scipy_api.logsumexp,
    "scipy.special._logsumexp.softmax": scipy_api.softmax,
    "scipy.special._logsumexp.log_softmax": scipy_api.log_softmax,
    "scipy.special._basic.polygamma": scipy_api.polygamma,
    "scipy.linalg._basic.solve_triangular": scipy_api.solve_triangular,
}
ENTERED: set[str] = {
    "scipy.optimize._optimize.rosen",
    "scipy.optimize._optimize.rosen_der",
}


def key_of(f: Any) -> str:
    """The name of a function in these tables."""
    return f"{getattr(f, '__module__', '')}.{getattr(f, '__qualname__', '')}"


def is_entered(key: str) -> bool:
    """Whether a function of an installed package is followed."""
    return key in ENTERED or any(name[-1] == "." and key.startswith(name) for name in ENTERED)
