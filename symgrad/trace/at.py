"""``x.at[index]``: a changed copy of a traced array, named by the place at which it differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from symgrad.expr.node import Expr
from symgrad.trace import indexing, ufuncs
from symgrad.trace.handle import operand, plain_index, strong


class At:
    """The place of a change; `wrap` makes tracers."""

    __slots__ = ("index", "wrap", "x")

    def __init__(self, x: Any, wrap: Callable[[Expr], Any], index: Any = None) -> None:
        self.x, self.wrap, self.index = x, wrap, index

    def __getitem__(self, index: Any) -> At:
        return At(self.x, self.wrap, index)

    def set(self, value: Any) -> Any:
        """`x` with x[index] = value."""
        return self._changed(indexing.replace, value)

    def add(self, value: Any) -> Any:
        """`x` with `value` added at x[index]; indices named twice are added twice."""
        return self._changed(indexing.add, value)

    def _changed(self, change: Callable[..., Expr], value: Any) -> Any:
        x = operand(self.x)
        items = indexing.parse(x.shape, plain_index(self.index))
        return self.wrap(change(x, items, ufuncs.convert(strong(value, x.dtype), x.dtype)))
