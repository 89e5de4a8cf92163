"""Arguments of user functions: their names, and which of them are arrays."""

from __future__ import annotations

import enum
import inspect as python_inspect
import types
from typing import Any

import numpy as np

from symgrad.boundary import plain
from symgrad.errors import DtypeError, ShapeError, StructureError
from symgrad.fixed import NotFixed, fixed_key
from symgrad.specs import Spec
from symgrad.trace import Tracer
from symgrad.tree import TreeDef, leaf_paths

_ARRAYS = (Tracer, np.ndarray, np.generic, float, int, bool)


def parameter_names(f: Any) -> tuple[str, ...]:
    """Names of the positional parameters of a function, as far as Python knows them."""
    try:
        parameters = python_inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return ()
    kind = python_inspect.Parameter
    positional = (kind.POSITIONAL_ONLY, kind.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in parameters if p.kind in positional)


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array or a number, by its type: `__class__` may say anything."""
    cls = type(leaf)
    return issubclass(cls, _ARRAYS) and not issubclass(cls, enum.Enum)


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


def require_fixed(leaf: Any, path: str) -> None:
    """Refuse an argument that is neither an array nor a value that cannot change.

    Raises
    ------
    StructureError
        Naming the argument, and what to write instead.
    """
    try:
        leaf_key(leaf)
    except NotFixed:
        raise StructureError(
            f"argument {path}: expected an array, a number or a value that cannot change (text, an "
            f"enum, a function, …), got a {_type_name(leaf)}; {_instead(leaf, path)}"
        ) from None


def require_fixed_keys(tree: TreeDef, name: str) -> None:
    """The same of the keys of dicts in the arguments of a function."""
    for node in tree.nodes:
        if node.type is not None and issubclass(node.type, dict):
            for key in node.keys:
                require_fixed(key, f"of {name}, a dict key")


def _type_name(leaf: Any) -> str:
    cls = type(leaf)
    if cls is types.MethodType:
        return f"method of a {type(leaf.__self__).__qualname__}"
    module, name = cls.__module__.partition(".")[0], cls.__qualname__
    return name if module in ("builtins", "__main__") else f"{module}.{name}"


def _instead(leaf: Any, path: str) -> str:
    cls = type(leaf)
    if cls is Spec:
        return "specs are for sg.compile and sg.trace; pass an array"
    if issubclass(cls, (np.random.Generator, np.random.RandomState)):
        return "draw before the call, and pass the numbers"
    if any(hasattr(cls, name) for name in ("toarray", "todense")):
        return f"pass {path}.toarray()"
    if any(hasattr(cls, name) for name in ("__array__", "__dlpack__", "__array_interface__")):
        return f"pass np.asarray({path})"
    for near in (dict, list, str, bytes, set, bytearray):
        if issubclass(cls, near):
            wanted = {set: "frozenset", bytearray: "bytes"}.get(near, near.__name__)
            return f"pass {wanted}({path})"
    if path == "self":
        return (
            "decorate the class with dataclasses.dataclass, and its fields are arguments, or "
            "transform a bound method, as in sg.jit(model.loss), which takes the object as it is "
            "at the first call"
        )
    return (
        "pass what the function reads of it (a dataclass is taken apart into its fields), or, if "
        "it never changes, let the function capture it: lambda x: f(x, value)"
    )


def leaf_key(leaf: Any) -> Any:
    """What tells apart the versions of a function that are compiled for different leaves.

    Raises NotFixed for what `require_fixed` refuses.
    """
    cls = type(leaf)
    if cls is np.ndarray:
        return leaf.dtype, leaf.shape
    if cls is Spec:  # stands for an array where there is none
        raise NotFixed
    if cls is np.memmap or issubclass(cls, np.generic):
        return cls, leaf.dtype, leaf.shape
    # Numbers by class, since Python's own are weak in promotion; other arrays are refused later.
    return cls if is_array(leaf) else fixed_key(leaf)
