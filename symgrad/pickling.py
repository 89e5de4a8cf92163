"""How what transformations return is pickled: by its name, as functions are, or by how it is made.

In: the object and its recipe. Out: what ``__reduce__`` returns. What stands in a module under its
own name (a decorated function) comes back as itself; everything else is made anew from the user's
function, which has to pickle by the same pickler.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Recipe = tuple[Callable[..., Any], tuple[Any, ...]]


def reduced(value: Any, recipe: Recipe) -> str | Recipe:
    """The name of `value` where it stands under that name in its module, else `recipe`."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    found = sys.modules.get(module or "")
    for part in (name or "<none>").split("."):
        found = getattr(found, part, None)
    if found is not value or module == "__main__" and _is_by_value():
        return recipe
    return name  # type: ignore[return-value]


def _is_by_value() -> bool:
    """Whether cloudpickle asks: it takes functions of ``__main__`` apart, so that they reach
    processes whose ``__main__`` is another one."""
    name: str = sys._getframe(3).f_globals.get("__name__", "")
    return name.rpartition(".")[2] == "cloudpickle"
