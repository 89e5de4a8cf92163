"""Arguments of user functions: their names, and which of them are arrays."""

from __future__ import annotations

import enum
import inspect as python_inspect
import types
from typing import Any

import numpy as np

from symgrad.boundary import plain
from symgrad.errors import DtypeError, ShapeError, StructureError
from symgrad.fixed import Content, NotFixed, fixed_key
from symgrad.specs import Spec
from symgrad.trace import Tracer
from symgrad.tree import TreeDef, flatten, leaf_paths

_NUMBERS = (float, int, bool, np.generic)
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


def lists_as_arrays(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The arguments with arrays in place of those that are lists of numbers; None without any."""
    found = False

    def converted(value: Any) -> Any:
        nonlocal found
        if type(value) is not list or not all([issubclass(type(v), _NUMBERS) for v in
                                               flatten(value)[0] or [None]]):  # fmt: skip
            return value
        try:
            numbers = np.array(value)
        except ValueError:  # rows of different lengths
            return value
        found = True
        return numbers

    result = tuple([converted(v) for v in args]), {k: converted(v) for k, v in kwargs.items()}
    return result if found else None


class Static:
    """Arguments that the user declares static, by position or name.

    A name and its position are the same argument, however it is given.
    """

    def __init__(self, f: Any, argnums: Any = (), argnames: Any = ()) -> None:
        numbers = tuple(argnums) if isinstance(argnums, (tuple, list)) else (argnums,)
        names = tuple(argnames) if isinstance(argnames, (tuple, list)) else (argnames,)
        known = parameter_names(f)
        if {type(n) for n in numbers} - {int} or {type(n) for n in names} - {str}:
            raise StructureError(
                "static_argnums must be positions and static_argnames names, got "
                f"{argnums!r} and {argnames!r}"
            )
        self.numbers = {n % len(known) if n < 0 and known else n for n in numbers}
        self.names = {*names, *(known[n] for n in self.numbers if n < len(known))}
        self.numbers |= {known.index(name) for name in names if name in known}

    def __bool__(self) -> bool:
        return bool(self.numbers or self.names)

    def positions(self, tree: TreeDef) -> frozenset[int]:
        """Of the leaves of these arguments among those of (args, kwargs)."""
        found: set[int] = set()
        if self.numbers or self.names:
            for which, leaves in leaves_by_argument(tree):
                if which in self.numbers or which in self.names:
                    found.update(leaves)
        return frozenset(found)


def leaves_by_argument(tree: TreeDef) -> list[tuple[int | str, range]]:
    """For each argument, by position or name, the numbers of its leaves."""
    nodes, at, first = tree.nodes, 2, 0
    found: list[tuple[int | str, range]] = []
    keys: list[Any] = list(range(nodes[1].arity))
    for part in range(2):
        if part:
            keys = list(nodes[at].keys)
            at += 1
        for which in keys:
            start, left = first, 1
            while left:
                left += nodes[at].arity - 1
                first += nodes[at].type is None
                at += 1
            found.append((which, range(start, first)))
    return found


def static_key(leaf: Any, own: bool = False) -> Any:
    """What tells a static leaf from others; of an array its content, as a copy if `own`.

    Raises NotFixed for what may change unseen.
    """
    if type(leaf) is np.ndarray and not leaf.dtype.hasobject:
        return Content(leaf, own)
    return fixed_key(leaf)


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
