"""Nested arguments and results ("pytrees") taken apart into leaves and put together again.

In: any nesting of tuple, list, namedtuple, dict, OrderedDict, defaultdict, dataclass and None. Out:
the list of its leaves and a `TreeDef`. This module must not know what a leaf is: whatever is no
container is one, subclasses of list and dict included, since nothing says how to rebuild them.

A treedef holds its containers as one flat tuple in preorder, so that comparing, hashing, pickling
and rebuilding need no recursion. None is a container without leaves, as an absent argument is.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import json
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from symgrad.errors import StructureError

MAX_DEPTH = 1000

# Types known to be leaves: a flat argument list of these is the fast path of every call.
_PLAIN = frozenset(
    {np.ndarray, np.float64, np.float32, np.int64, np.int32, np.bool_, float, int, bool}
)
_NUMBERS = frozenset({bool, int, float})
_ORDERED = frozenset({str, bytes, int, float, tuple})


@dataclasses.dataclass(frozen=True, slots=True)
class _Node:
    """One container, or a leaf where `type` is None.

    `keys` are dict keys in leaf order or names of fields, `order` is the insertion order of a dict
    as positions in `keys`: it is restored on output but two dicts that differ only there are equal.
    """

    type: Any  # a class
    arity: int = 0
    keys: tuple[Any, ...] = ()
    factory: Any = None  # of a defaultdict
    order: tuple[int, ...] = dataclasses.field(default=(), compare=False)


_LEAF = _Node(None)


class TreeDef:
    """The nesting of a value without its leaves. Immutable, hashable, equal by structure.

    >>> leaves, treedef = flatten({"w": [1.0, 2.0], "b": None})
    >>> print(treedef)
    {'w': [*, *], 'b': None}
    """

    __slots__ = ("_hash", "nodes", "num_leaves")
    num_leaves: int
    nodes: tuple[_Node, ...]
    _hash: int

    def __init__(self, nodes: tuple[_Node, ...]) -> None:
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "num_leaves", sum(node.type is None for node in nodes))
        object.__setattr__(self, "_hash", hash(nodes))  # once: treedefs are keys on the call path

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"TreeDef is immutable, {name!r} cannot be set")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, TreeDef):
            return NotImplemented
        return self._hash == other._hash and self.nodes == other.nodes

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return TreeDef, (self.nodes,)  # without the hash, which differs between processes

    def __str__(self) -> str:
        text: str = self._fold(["*"] * self.num_leaves, _describe)
        return text

    __repr__ = __str__

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """The value of this structure with `leaves`, given in the order of `flatten`.

        Raises
        ------
        StructureError
            The number of leaves is not `num_leaves`.
        """
        leaves = list(leaves)
        if len(leaves) != self.num_leaves:
            raise StructureError(
                f"{len(leaves)} leaves were given for a structure of {self.num_leaves}: {self}"
            )
        return self._fold(leaves, _build)

    def _fold(self, leaves: list[Any], combine: Callable[[_Node, list[Any]], Any]) -> Any:
        """Replace each container by ``combine(node, children)``, innermost first."""
        stack: list[Any] = []
        for node in reversed(self.nodes):
            if node.type is None:
                stack.append(leaves.pop())
            else:
                # Backwards through the preorder, the first child is the last one pushed.
                first = len(stack) - node.arity
                children = stack[first:][::-1]
                del stack[first:]
                stack.append(combine(node, children))
        return stack.pop()


def flatten(value: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], TreeDef]:
    """The leaves of `value` from left to right, and its structure.

    Dicts give their leaves by sorted key (by type name and repr where keys do not compare), so that
    equal dicts give equal leaves whatever their insertion order. `is_leaf` may declare a container
    a leaf. A class with ``__symgrad_leaf__ = True`` is a leaf even if it is a dataclass.

    >>> flatten({"b": 2.0, "a": (1.0, None)})
    ([1.0, 2.0], {'b': *, 'a': (*, None)})

    Raises
    ------
    StructureError
        A container contains itself, or containers are nested more than 1000 deep.
    """
    if is_leaf is None:
        cls: Any = type(value)
        if cls in _PLAIN:
            return [value], _SINGLE
        if cls is tuple or cls is list:
            for item in value:
                if type(item) not in _PLAIN:
                    break
            else:
                return list(value), _flat(cls, len(value))
    leaves: list[Any] = []
    nodes: list[_Node] = []
    path: list[Any] = []  # the containers around the present one, to tell a cycle from mere depth
    stack: list[tuple[Any, int]] = [(value, 0)]
    while stack:
        value, depth = stack.pop()
        opened = None if is_leaf is not None and is_leaf(value) else _open(value)
        if opened is None:
            leaves.append(value)
            nodes.append(_LEAF)
            continue
        node, children = opened
        nodes.append(node)
        if not children:
            continue
        del path[depth:]
        path.append(value)
        if depth >= MAX_DEPTH:
            raise StructureError(_too_deep(path))
        stack.extend((child, depth + 1) for child in reversed(children))
    return leaves, TreeDef(tuple(nodes))


def map(fn: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`tree` with ``fn(leaf, *leaves of rest at the same place)`` in place of each leaf.

    >>> map(lambda x: 2 * x, {"a": 1.0, "b": [2.0]})
    {'a': 2.0, 'b': [4.0]}

    Raises
    ------
    StructureError
        The trees differ in structure.
    """
    leaves, treedef = flatten(tree)
    columns = [leaves]
    for other in rest:
        more, found = flatten(other)
        if found != treedef:
            raise StructureError(f"the trees differ in structure: {treedef} and {found}")
        columns.append(more)
    return treedef.unflatten([fn(*row) for row in zip(*columns, strict=True)])


def leaf_paths(treedef: TreeDef, root: str = "x") -> list[str]:
    """How a user would write each leaf of a value named `root`, in the order of `flatten`.

    >>> leaf_paths(flatten({"w": [1.0, 2.0]})[1], "params")
    ['params["w"][0]', 'params["w"][1]']
    """
    paths: list[str] = []
    stack = [root]
    for node in treedef.nodes:
        path = stack.pop()
        if node.type is None:
            paths.append(path)
        else:
            stack.extend(path + step for step in reversed(list(_steps(node))))
    return paths


_SINGLE = TreeDef((_LEAF,))


@functools.lru_cache(maxsize=256)
def _flat(cls: type, length: int) -> TreeDef:
    return TreeDef((_Node(cls, length), *(_LEAF,) * length))


def _open(value: Any) -> tuple[_Node, Sequence[Any]] | None:
    """The node and the children of a container, None for a leaf."""
    cls: Any = type(value)
    if cls in _PLAIN:
        return None
    if value is None:
        return _Node(cls), ()
    if cls is tuple or cls is list:
        return _Node(cls, len(value)), value
    if cls is dict or cls is OrderedDict or cls is defaultdict:
        keys = tuple(_sorted_keys(value))
        position = {key: index for index, key in enumerate(keys)}
        order = tuple(position[key] for key in value)
        factory = value.default_factory if cls is defaultdict else None
        return _Node(cls, len(keys), keys, factory, order), [value[key] for key in keys]
    if issubclass(cls, tuple):
        if not (hasattr(cls, "_fields") and hasattr(cls, "_make")):
            return None
        return _Node(cls, len(value), tuple(cls._fields)), value
    names = _field_names(cls)
    if names is None:
        return None
    # A field with init=False may not have been set yet; it stays so.
    names = tuple(name for name in names if hasattr(value, name))
    return _Node(cls, len(names), names), [getattr(value, name) for name in names]


@functools.lru_cache(maxsize=1024)
def _field_names(cls: type) -> tuple[str, ...] | None:
    """Names of the fields of a dataclass that `_build` can make, None for any other class."""
    if not dataclasses.is_dataclass(cls) or getattr(cls, "__symgrad_leaf__", False):
        return None
    try:
        object.__new__(cls)
    except TypeError:  # derives from dict, Exception or another type with data of its own
        return None
    return tuple(field.name for field in dataclasses.fields(cls))


def _sorted_keys(mapping: dict[Any, Any]) -> list[Any]:
    # Only types whose < is a total order: frozensets compare without being ordered, so sorting them
    # would depend on insertion order.
    types = set(builtins.map(type, mapping))
    if types <= _NUMBERS or (len(types) == 1 and types <= _ORDERED):
        try:
            return sorted(mapping)
        except TypeError:  # tuples of mixed types
            pass
    return sorted(mapping, key=lambda key: (type(key).__name__, repr(key)))


def _build(node: _Node, children: list[Any]) -> Any:
    cls = node.type
    if cls is tuple:
        return tuple(children)
    if cls is list:
        return children
    if cls is type(None):
        return None
    if issubclass(cls, dict):
        items = ((node.keys[index], children[index]) for index in node.order)
        return defaultdict(node.factory, items) if cls is defaultdict else cls(items)
    if issubclass(cls, tuple):
        return cls._make(children)
    # Neither __init__ nor __post_init__ runs: they may take other arguments than the fields, and
    # may check or convert values, where leaves can be tracers, specs or None. Every field is
    # restored, those with init=False too. object.__setattr__ also reaches frozen classes and slots.
    value = object.__new__(cls)
    for name, child in zip(node.keys, children, strict=True):
        object.__setattr__(value, name, child)
    return value


def _describe(node: _Node, children: list[str]) -> str:
    cls = node.type
    if cls is type(None):
        return "None"
    if cls is tuple:
        return f"({', '.join(children)}{',' * (node.arity == 1)})"
    if cls is list:
        return f"[{', '.join(children)}]"
    if issubclass(cls, dict):
        inside = ", ".join(f"{node.keys[index]!r}: {children[index]}" for index in node.order)
        return f"{{{inside}}}" if cls is dict else f"{cls.__name__}({{{inside}}})"
    inside = ", ".join(builtins.map("=".join, zip(node.keys, children, strict=True)))
    return f"{cls.__name__}({inside})"


def _steps(node: _Node) -> Iterator[str]:
    """What leads from a container to each child: ``[0]``, ``["key"]`` or ``.field``."""
    if issubclass(node.type, dict):
        for key in node.keys:
            # json quotes as the documentation does, and escapes what would disturb a terminal.
            yield f"[{json.dumps(key) if type(key) is str else repr(key)}]"
    elif node.keys:
        for name in node.keys:
            yield f".{name}"
    else:
        for index in range(node.arity):
            yield f"[{index}]"


def _too_deep(path: list[Any]) -> str:
    inner = path[-1]
    if any(inner is outer for outer in path[:-1]):
        return (
            f"a {type(inner).__name__} contains itself; arguments and results must be finite trees"
        )
    return (
        f"containers are nested more than {MAX_DEPTH} deep; put the values into one array or list"
    )
