"""What a round or a side of a branch gets and leaves: one call that stands for all, and its types.

The carry of a loop has to keep its structure and shapes; a dtype may grow. The same is asked of
loops that run as plain Python.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError, StructureError
from symgrad.expr.node import Expr, arg, bind
from symgrad.expr.walk import toposort
from symgrad.ops.checks import apart
from symgrad.ops.control import Body
from symgrad.trace import argument, as_expr, function_name, record, ufuncs
from symgrad.trace.rounds import outside
from symgrad.trace.state import fail
from symgrad.trace.tracer import is_python
from symgrad.tree import TreeDef, flatten

Function = Callable[..., Any]

_MOST_RETRACED = 3  # times that a body is traced until the dtypes of its carry fit


class Traced:
    """A function called once with arguments that stand for all: its results, of open arguments.

    leaves : what it is called with, for the types
    """

    def __init__(self, f: Function, values: Sequence[Any], types: Sequence[Any] = ()) -> None:
        leaves, tree = flatten(tuple(values))
        if not types:
            types = [(e.shape, e.dtype) for e in [as_expr(v) for v in leaves]]
        self.arguments = [arg(k, s, d) for k, (s, d) in enumerate(types)]
        given = [argument(a, leaf) for a, leaf in zip(self.arguments, leaves, strict=True)]
        outs, self.tree = record(f, tree.unflatten(given), {})
        self.before = arg(len(self.arguments), (), "int64")  # what was checked before
        self.outs, self.check = apart(outs, self.before)

    @property
    def types(self) -> list[tuple[tuple[int, ...], str]]:
        return [(o.shape, o.dtype) for o in self.outs]

    def captured(self) -> list[Expr]:
        """The nodes of the function around it that it needs."""
        outs = self.outs if self.check is None else [*self.outs, self.check]
        return outside(toposort(outs), [*self.arguments, self.before], outs)

    def body(
        self, captured: Sequence[Expr], checks: bool, outs: Sequence[Expr] | None = None
    ) -> Body:
        """Closed; what is checked comes before the arguments and the results, if anything is."""
        arguments = [*captured, *([self.before] if checks else []), *self.arguments]
        made = [self.check or self.before] if checks else []
        return Body.close(arguments, [*made, *(self.outs if outs is None else outs)])


def convert(node: Expr, dtype: str) -> Expr:
    return node if node.dtype == dtype else bind("convert", node, attrs=(dtype,))


def carry_and_y(f: Function, made: Any) -> tuple[Any, Any]:
    if not isinstance(made, tuple) or len(made) != 2:
        raise fail(
            StructureError,
            f"scan: {function_name(f)} returns (carry, y), got {type(made).__name__}",
        )
    return made


def checked_carry(what: str, init: Any) -> Callable[[Any], Any]:
    """What refuses a carry that a trace would refuse, where nothing is traced, and returns it."""
    given, tree = flatten(init)
    shapes = [np.shape(v) for v in given]

    def check(value: Any) -> Any:
        left, found = flatten(value)
        _require_structure(what, tree, found)
        for k, (shape, v) in enumerate(zip(shapes, left, strict=True)):
            _require_shape(what, k, shape, np.shape(v))
        return value

    return check


def _require_structure(what: str, tree: TreeDef, found: TreeDef) -> None:
    if found != tree:
        raise fail(
            StructureError,
            f"{what}: the carry has structure {tree} and becomes {found}; a round has to "
            "return the structure that it gets",
        )


def _require_shape(what: str, k: int, given: tuple[int, ...], left: tuple[int, ...]) -> None:
    if left != given:
        raise fail(
            ShapeError,
            f"{what}: value {k} of the carry has shape {given} and becomes {left}; each round has "
            "to leave the shape that it gets",
        )


def fitted(
    what: str,
    f: Function,
    init: Any,
    row_types: Sequence[tuple[tuple[int, ...], str]] = (),
) -> tuple[list[Expr], Traced, int]:
    """The start of the carry, a trace whose carry has its types, and how many leaves it has.

    `f` takes the carry and rows, and returns the carry, alone or first of a pair.
    """
    leaves, tree = flatten(init)
    start = [as_expr(v) for v in leaves]
    for _ in builtins.range(_MOST_RETRACED):
        types = [*[(s.shape, s.dtype) for s in start], *row_types]
        values = [tree.unflatten([stand_in(v, s) for v, s in zip(leaves, start, strict=True)])]
        values += [np.zeros(s, d) if s else np.asarray(0, d)[()] for s, d in row_types]
        traced = Traced(f, values, types)
        back = traced.tree.unflatten(builtins.range(len(traced.outs)))
        back = back[0] if what == "scan" else back
        returned, found = flatten(back)
        _require_structure(what, tree, found)
        changed = False
        for k, (leaf, s, position) in enumerate(zip(leaves, start, returned, strict=True)):
            out = traced.outs[position]
            _require_shape(what, k, s.shape, out.shape)
            dtype = ufuncs.promote([ufuncs.Weak(s) if is_python(leaf) else s, out])
            traced.outs[position] = convert(out, dtype)
            if dtype != s.dtype:
                start[k] = convert(s, dtype)
                changed = True
        if not changed:
            return start, traced, len(start)
    raise fail(
        DtypeError, f"{what}: the dtypes of the carry do not settle in {_MOST_RETRACED} rounds"
    )


def stand_in(leaf: Any, start: Expr) -> Any:
    """A value of the kind of a leaf (Python number, array) and the type of a node."""
    if not is_python(leaf):
        return leaf
    natural = {"float64": 0.0, "int64": 0}
    return natural.get(start.dtype, np.dtype(start.dtype).type(0))
