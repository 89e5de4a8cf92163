"""What a loop walks over: how long it is, and the value of a round, also of a traced one.

Iterators cannot be asked: `zip`, `enumerate` and `reversed` in traced functions are therefore ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.trace.handle import Handle
from symgrad.trace.source.calls import ALWAYS
from symgrad.trace.source.items import element_of
from symgrad.trace.tracer import Tracer, is_python, wrap_python


@dataclass(frozen=True)
class Walk:
    """`length` values; `at` gives the one of a number, which may be traced."""

    length: int
    at: Callable[[Any], Any]


def sequence(values: Any) -> Walk | None:
    """What is known of an iterable without walking over it."""
    cls = type(values)
    if cls is range:
        return Walk(len(values), lambda k: values.start + k * values.step)
    if cls is _Zip:
        return values.sequence()
    if isinstance(values, Tracer) and values.shape:
        return Walk(len(values), lambda k: values[k])
    if cls is np.ndarray and values.ndim and values.dtype.kind in "fib":
        return Walk(len(values), lambda k: _of_plain(values, k))
    if cls in (list, tuple) and values and _is_uniform(values):
        return Walk(len(values), lambda k: _of_list(values, k))
    return None


def _of_plain(values: np.ndarray, k: Any) -> Any:
    return element_of(values, k) if isinstance(k, Handle) else values[k]


def _of_list(values: Sequence[Any], k: Any) -> Any:
    if not isinstance(k, Handle):
        return values[k]
    element = element_of(list(values), k)
    return wrap_python(element) if all(map(is_python, values)) else element


def _is_uniform(values: Sequence[Any]) -> bool:
    """Whether a list's elements are arrays or numbers of one kind."""
    first = values[0]
    if isinstance(first, Tracer):
        return all(
            type(v) is type(first) and (v.shape, v.dtype) == (first.shape, first.dtype)
            for v in values
        )
    if isinstance(first, np.ndarray):
        return all(
            type(v) is np.ndarray and (v.shape, v.dtype) == (first.shape, first.dtype)
            for v in values
        )
    return type(first) in (int, float, np.float64) and all(type(v) is type(first) for v in values)


class _Zip:
    """``zip(…)``, ``enumerate(…)`` and ``reversed(…)`` whose parts can be asked for."""

    def __init__(self, walk: Iterator[Any], make: Callable[[], Walk | None]) -> None:
        self._walk, self.sequence = walk, make

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.sequence = _nothing  # it has begun
        return next(self._walk)


def _nothing() -> None:
    return None


def zip_(*parts: Any, strict: bool = False) -> Any:
    def make() -> Walk | None:
        found = [s for s in map(sequence, parts) if s is not None]
        if not found or len(found) < len(parts):
            return None
        lengths = [s.length for s in found]
        if strict and len(set(lengths)) > 1:
            return None  # which raises in its place
        return Walk(min(lengths), lambda k: tuple([s.at(k) for s in found]))

    return _Zip(zip(*parts, strict=strict), make)


def enumerate_(values: Any, start: int = 0) -> Any:
    def make() -> Walk | None:
        found = sequence(values)
        if found is None or type(start) is not int:
            return None
        return Walk(found.length, lambda k: (start + k, found.at(k)))

    return _Zip(enumerate(values, start), make)


def reversed_(values: Any) -> Any:
    def make() -> Walk | None:
        found = sequence(values)
        if found is None:
            return None
        return Walk(found.length, lambda k: found.at(found.length - 1 - k))

    return _Zip(reversed(values), make)


ALWAYS.update({zip: zip_, enumerate: enumerate_, reversed: reversed_})
