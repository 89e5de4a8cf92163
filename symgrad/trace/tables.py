"""Which functions are traced, by name and by NumPy object, and the error for those that are not."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from symgrad.errors import UnsupportedError
from symgrad.expr.op import UFUNCS
from symgrad.trace.state import fail

SUPPORTED: dict[str, Callable[..., Any]] = {}  # by NumPy's public name, filled by the *_api modules
FORMULA_NAMES: set[str] = set()  # of ufuncs that are formulas of rows, filled by `ufuncs`
DISPATCH: dict[Any, Callable[..., Any]] = {}  # the same, by the NumPy function itself


def public_name(func: Any) -> str:
    """The name by which a user knows a NumPy function, such as ``np.linalg.norm``."""
    module = getattr(func, "__module__", "") or ""
    name = getattr(func, "__name__", repr(func))
    module = {"numpy": "np", "numpy.linalg": "np.linalg", "numpy.fft": "np.fft"}.get(module, module)
    return f"{module}.{name}"


def unsupported(name: str, advice: str = "") -> UnsupportedError:
    """The error for a function that is not traced, with names that are near."""
    short = name.rsplit(".", 1)[-1]
    known = sorted({*SUPPORTED, *UFUNCS, *FORMULA_NAMES} - {"ufunc"})
    near = difflib.get_close_matches(short, [k.rsplit(".", 1)[-1] for k in known], 3)
    hint = f"; near names that are traced: {', '.join(near)}" if near else ""
    hint = f"; {advice}" if advice else hint
    return fail(UnsupportedError, f"{name} is not supported while tracing{hint}")
