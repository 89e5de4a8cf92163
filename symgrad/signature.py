"""Arguments of user functions: their names, and which of them are arrays."""

from __future__ import annotations

import inspect as python_inspect
from typing import Any

import numpy as np

from symgrad.errors import StructureError
from symgrad.specs import Spec
from symgrad.trace import Tracer
from symgrad.tree import TreeDef, leaf_paths

def parameter_names(f: Any) -> tuple[str, ...]:
    """Names of the positional parameters of a function, as far as Python knows them."""
    try:
        signature = python_inspect.signature(f)
    except (TypeError, ValueError):
        return ()
    kinds = (python_inspect.Parameter.POSITIONAL_ONLY, python_inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in signature.parameters.values() if p.kind in kinds)


def is_array(leaf: Any) -> bool:
    return isinstance(leaf, (Tracer, np.ndarray, np.generic, float, int, bool))


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
    except TypeError:
        raise StructureError(
            f"argument {path}: {type(leaf).__name__} is neither an array, a number nor a fixed "
            "(hashable) value"
        ) from None


def leaf_key(leaf: Any) -> Any:
    """What tells apart the versions of a function that are compiled for different leaves."""
    if type(leaf) is np.ndarray:
        return leaf.dtype, leaf.shape
    if type(leaf) in (float, int, bool):
        return type(leaf)  # not its Spec: Python's numbers are weak in promotion
    if is_array(leaf):
        return Spec.of(leaf)
    return type(leaf), leaf
