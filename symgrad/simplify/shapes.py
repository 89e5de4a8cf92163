"""Numbers for the shapes of nodes.

Two nodes have one number if they are equal as trees, up to the places of windows and the values of
constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from symgrad.expr.node import ARG, ARRAY, CONST, Expr, const
from symgrad.ops.elementwise import MULTIPLY, NEGATIVE
from symgrad.ops.linear import RESHAPE, SLICE

FEWEST = 8  # iterations: shorter loops stay as they are written
DATA = (CONST, ARRAY)

Axes = tuple[int, ...]


class Window(NamedTuple):
    """A rectangular part of `base`, with its axes of size 1 anywhere.

    kept : for every axis of the part the axis of `base`, or -1 for an axis of size 1
    """

    base: Expr
    starts: Axes
    sizes: Axes
    steps: Axes
    kept: Axes


class Shapes:
    """Numbers for the shapes of nodes; a number's meaning lasts as long as the object.

    An array is looked into (its windows are leaves) if it comes from outside or has many windows.
    Other slices are operations like any other: the components of a small vector of one iteration.
    """

    def __init__(self, nodes: Sequence[Expr]) -> None:
        counts: dict[Expr, int] = {}
        for node in nodes:
            if node.op is SLICE:
                counts[node.args[0]] = counts.get(node.args[0], 0) + 1
        self._arrays = {a for a, n in counts.items() if n >= FEWEST}
        self._numbers: dict[Any, int] = {}  # what a shape is → its number
        self._known: dict[Expr, int] = {}
        self._windows: dict[Expr, Window | None] = {}
        self.place: dict[Expr, Axes] = {}  # where the first window of a node starts

    def number(self, root: Expr) -> int:
        """Equal for nodes of one shape."""
        known = self._known
        stack = [root]
        while stack:
            node = stack[-1]
            if node in known:
                stack.pop()
                continue
            window = self.window(node)
            if window is None:
                waiting = [a for a in node.args if a not in known]
                if waiting:
                    stack.extend(waiting)
                    continue
            stack.pop()
            factor = coefficient(node)
            if factor is not None:
                known[node], self.place[node] = known[factor[1]], self.place[factor[1]]
                continue
            key, self.place[node] = self._key(node, window)
            known[node] = self._numbers.setdefault(key, len(self._numbers))
        return known[root]

    def _key(self, node: Expr, window: Window | None) -> tuple[Any, Axes]:
        if window is not None:
            return (window.base, *window[2:], node.shape), window.starts
        if node.op in DATA:
            return (node.dtype, node.shape), ()
        if not node.args:
            return node, ()
        place: Axes = ()
        args = self.arguments(node)
        for a in args:
            place = place or self.place[a]
        return (node.op, node.attrs, *[self._known[a] for a in args]), place

    def arguments(self, node: Expr) -> tuple[Expr, ...]:
        """The arguments of a node whose arguments are numbered, in an order that shapes decide."""
        if node.op.commutative and self._known[node.args[0]] > self._known[node.args[1]]:
            return node.args[::-1]
        return node.args

    def interchangeable(self, node: Expr) -> bool:
        """Whether both orders of the arguments of a numbered node have its shape."""
        return node.op.commutative and self._known[node.args[0]] == self._known[node.args[1]]

    def window(self, node: Expr) -> Window | None:
        """What `node` reads of an array, if it does nothing else."""
        if node.op is not SLICE and node.op is not RESHAPE:
            return None
        if node not in self._windows:
            views = [node]
            x = node.args[0]
            while x.op in (SLICE, RESHAPE) and x not in self._windows:
                views.append(x)
                x = x.args[0]
            for view in reversed(views):
                self._windows[view] = self._view(view)
        return self._windows[node]

    def _view(self, node: Expr) -> Window | None:
        x = node.args[0]
        inner = self._windows.get(x)
        if 0 in node.shape:
            return None
        if node.op is SLICE and inner is None:
            if x.op is not ARG and x.op is not ARRAY and x not in self._arrays:
                return None
            kept = [k if n > 1 else -1 for k, n in enumerate(node.shape)]
            starts, sizes, steps = node.attrs
            return Window(x, starts, sizes, steps, tuple(kept))
        if inner is None:
            return None
        if node.op is RESHAPE:
            wide = [k for k in inner.kept if k >= 0]
            if [n for n in node.shape if n > 1] != [inner.sizes[k] for k in wide]:
                return None
            axes = iter(wide)
            return inner._replace(kept=tuple([next(axes) if n > 1 else -1 for n in node.shape]))
        start, size, stride = list(inner.starts), list(inner.sizes), list(inner.steps)
        for k, a, n, s in zip(inner.kept, *node.attrs, strict=True):
            if k >= 0:
                start[k] += a * stride[k]
                size[k] = n
                stride[k] *= s if n > 1 else 1
        kept = [k if n > 1 else -1 for k, n in zip(inner.kept, node.shape, strict=True)]
        return Window(inner.base, tuple(start), tuple(size), tuple(stride), tuple(kept))


def coefficient(node: Expr) -> tuple[Expr, Expr] | None:
    """c and x where `node` is c x or -x: 1 x and -1 x are written so, in the middle of a loop."""
    if node.op is NEGATIVE:
        return const(-1, node.dtype, node.shape), node.args[0]
    if node.op is MULTIPLY:
        for c, x in (node.args, node.args[::-1]):
            if c.op is CONST:
                return c, x
    return None
