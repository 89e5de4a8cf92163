"""Dataclasses that are finished when the first object is made.

`dataclasses.dataclass` composes and compiles the text of five to eight functions for each class,
which takes a third of a millisecond. A process that differentiates one small function imports a
hundred such classes and makes objects of a third of them. Here `__init__` alone is composed for
these; what compares and prints objects are the same functions for all classes.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from symgrad.forks import ForkSafeLock

_LOCK = ForkSafeLock()


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        cls: type | None = None, /, *, slots: bool = False, **options: bool
    ) -> type | Callable[[type], type]:
        """As `dataclasses.dataclass`, of which it takes the options."""

        def decorated(plain: type) -> type:
            made = _slotted(plain) if slots else plain
            made.__init__ = _first(plain, made, options)
            return made

        return decorated if cls is None else decorated(cls)


def _slotted(plain: type) -> type:
    """The same class with slots for its fields, of which it keeps no defaults."""
    names = [n for n, a in plain.__annotations__.items() if not str(a).startswith("ClassVar")]
    body = {
        name: value
        for name, value in vars(plain).items()
        if name not in names and name not in ("__dict__", "__weakref__")
    }
    made = type(plain)(plain.__name__, plain.__bases__, {**body, "__slots__": tuple(names)})
    made.__qualname__ = plain.__qualname__
    return made


def _first(plain: type, made: type, options: dict[str, bool]) -> Callable[..., None]:
    """An `__init__` that puts the real one in its place, and all other methods."""
    real: list[Callable[..., None]] = []

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        finish()
        real[0](self, *args, **kwargs)

    def finish() -> None:
        with _LOCK.held():
            if real:  # another thread has
                return
            for base in plain.__mro__[1:]:
                waiting = getattr(vars(base).get("__init__"), "finish", None)
                if waiting is not None:
                    waiting()
            present = vars(made)["__init__"]
            found = _finished(plain, options)
            for name, value in found.items():
                setattr(made, name, value)
            if present is not __init__:  # somebody has wrapped it
                made.__init__ = present  # type: ignore[misc]
            real.append(found["__init__"])

    __init__.finish = finish  # type: ignore[attr-defined]
    return __init__


def _finished(plain: type, options: dict[str, bool]) -> dict[str, Any]:
    """What `dataclasses` adds to a class that has not got it itself."""
    if "__init__" in vars(plain):
        del plain.__init__  # type: ignore[misc]
    plain.__doc__ = plain.__doc__ or plain.__name__  # or a signature would be composed
    own = set(vars(plain))
    dataclasses.dataclass(**{**options, "eq": False, "repr": False})(plain)
    found = {name: value for name, value in vars(plain).items() if name not in own}
    fields, eq = dataclasses.fields(plain), options.get("eq", True)
    for name, method in _methods(fields, eq, options.get("frozen", False)).items():
        if name not in own:
            found[name] = method
    return found


def _methods(fields: Sequence[Any], eq: bool, frozen: bool) -> dict[str, Any]:
    """What `dataclasses` makes for these fields, without any text."""
    shown = [f.name for f in fields if f.repr]

    def __repr__(self: Any) -> str:
        values = ", ".join([f"{name}={getattr(self, name)!r}" for name in shown])
        return f"{type(self).__qualname__}({values})"

    found: dict[str, Any] = {"__repr__": __repr__}
    if not eq:
        return found
    compared = _values([f.name for f in fields if f.compare])
    hashed = _values([f.name for f in fields if (f.compare if f.hash is None else f.hash)])

    def __eq__(self: Any, other: Any) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return compared(self) == compared(other)

    def __hash__(self: Any) -> int:
        return hash(hashed(self))

    return found | {"__eq__": __eq__, "__hash__": __hash__ if frozen else None}


def _values(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda value: tuple([getattr(value, name) for name in names])
