"""A collection: functions with the arguments at which they are differentiated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """function(*args), differentiated with respect to the arguments `argnums`."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    argnums: int | tuple[int, ...]


class Collection(dict[str, Entry]):
    """Called with a function and its arguments, behind the function's definition."""

    def __call__(
        self,
        function: Callable[..., Any],
        *args: Any,
        argnums: int | tuple[int, ...] = 0,
        name: str | None = None,
    ) -> None:
        name = name or function.__name__
        assert name not in self, f"two functions are called {name}"
        self[name] = Entry(name, function, args, argnums)
