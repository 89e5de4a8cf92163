"""Arguments of user functions: their names, and which of them are arrays."""

from __future__ import annotations

import inspect as python_inspect
from typing import Any

import numpy as np

from symgrad.boundary import plain
from symgrad.errors import DtypeError, ShapeError, StructureError
from symgrad.specs import Spec
from symgrad.trace import Tracer
from symgrad.tree import TreeDef, leaf_paths

_ARRAYS = (Tracer, np.ndarray, np.generic, float, int, bool)


def parameter_names(f: Any) -> tuple[str, ...]:
    """Names of the positional parameters of a function, as far as Python knows them."""
    try:
        signature = python_inspect.signature(f)
    except (TypeError, ValueError):
        return ()
    parameters = signature.parameters.values()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array or a number, by its type: `__class__` may say anything."""
    return issubclass(type(leaf), _ARRAYS)


def argument_spec(leaf: Any, path: str) -> Spec:
    """The spec of an array argument that users write as `path`.

    Raises
    ------
    DtypeError, ShapeError, StructureError
        Naming the argument.
    """
    if issubclass(type(leaf), np.ndarray):
        leaf = plain(leaf, path)
    try:
        return Spec.of(leaf)
    except (DtypeError, ShapeError) as error:
        raise type(error)(f"argument {path}: {error}") from None


def argument_paths(f: Any, tree: TreeDef) -> list[str]:
    """How the user would write each leaf of (args, kwargs)."""
    names = parameter_names(f)
    result = []
    for path in leaf_paths(tree, ""):  # "[0][2]…" for positional, '[1]["k"]…' for keywords
        if path.startswith("[0]["):
            number, _, rest = path[4:].partition("]")
            position = int(number)
            name = names[position] if position < len(names) else f"x{position}"
        else:
            key, _, rest = path[3:].removeprefix('["').partition('"]')
            name = key
        result.append(name + rest)
    return result


def require_hashable(leaf: Any, path: str) -> None:
    try:
        hash(leaf)
    except (TypeError, ValueError):  # ValueError: a memoryview
        raise StructureError(
            f"argument {path}: {type(leaf).__name__} is neither an array, a number nor a fixed "
            "(hashable) value"
        ) from None


def leaf_key(leaf: Any) -> Any:
    """What tells apart the versions of a function that are compiled for different leaves."""
    cls = type(leaf)
    if cls is np.ndarray:
        return leaf.dtype, leaf.shape
    if cls is np.memmap or issubclass(cls, np.generic):
        return cls, leaf.dtype, leaf.shape
    # Numbers by class, since Python's own are weak in promotion; other arrays are refused later.
    return cls if is_array(leaf) else (cls, leaf)
