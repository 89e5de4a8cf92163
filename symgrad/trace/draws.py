"""Random numbers that a function draws while it is traced: refused, with the user's line.

They would be constants of the compiled function, the same in every later call. What can be seen is
the state of a generator before and after the trace: that of np.random, of Python's random, and of
the generators that the function can reach by closures, globals, defaults and arguments. A generator
that the function makes itself is seen only by what it draws from; one that it seeds gives the same
numbers in every call of plain NumPy as well.
"""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from symgrad.errors import UnsupportedError, at_user_line, is_internal

_MOST = 2000  # objects that are looked at
_FRESH = ("fresh",)


class Draws:
    """The states of all generators that `f` can reach, and whether calling it changes them."""

    def __init__(self, f: Any, args: Any, kwargs: Any) -> None:
        self.sources: dict[str, Callable[[], Any]] = {
            "np.random": _numpy_state,
            "Python's random": random.getstate,
        }
        if "numpy.random" in sys.modules:  # else there is no generator yet
            for name, generator in _generators((f, args, kwargs)):
                self.sources[name] = functools.partial(_state, generator)
        self.before = self.states()

    def states(self) -> dict[str, Any]:
        """The state of each source now."""
        return {name: read() for name, read in self.sources.items()}

    def refuse(self, again: Callable[[], Any], name: str) -> None:
        """Raise UnsupportedError if numbers were drawn since `before`.

        The function is called once more then, which finds the line. If that draws nothing it gave
        itself a seed, or another thread drew: both are right.
        """
        if self.states() == self.before:
            return
        found = self._drawing_line(again)
        if found is not None:
            source, site = found
            message = (
                f"{name} draws from {source} while it is traced: the numbers would be constants, "
                "the same in every call. Use symgrad.random with a key as an argument, or draw "
                "before the call and pass the numbers"
            )
            raise UnsupportedError(at_user_line(message, site))

    def _drawing_line(self, again: Callable[[], Any]) -> tuple[str, tuple[str, int] | None] | None:
        """The source that a further call draws from, and the line before which it had not."""
        known = self.states()
        last: tuple[str, int] | None = None
        found: list[tuple[str, tuple[str, int] | None]] = []

        def changed() -> bool:
            if not found:
                for source, state in self.states().items():
                    if state != known[source]:
                        found.append((source, last))
            return bool(found)

        def follow(frame: types.FrameType, event: str, arg: Any) -> Any:
            nonlocal last
            file = frame.f_code.co_filename
            if is_internal(file) or file == random.__file__ or changed():
                return None
            if event != "call":
                last = file, frame.f_lineno
            return follow

        tracer = sys.gettrace()
        sys.settrace(follow)
        try:
            again()
        except Exception:  # it did not fail before
            pass
        finally:
            sys.settrace(tracer)
        return found[0] if changed() and self.states() != known else None


def _numpy_state() -> Any:
    """Comparable state of np.random; not importing it, which takes as long as ten traces."""
    if "numpy.random" not in sys.modules:
        return _FRESH
    state = _plain(np.random.get_state(legacy=False))
    # A Mersenne twister that has drawn nothing since it was seeded from an array begins like that.
    inner = dict(state)["state"]
    words = dict(inner).get("key", b"")[:4]
    seeded = words == (1 << 31).to_bytes(4, sys.byteorder) and dict(inner).get("pos") == 623
    return _FRESH if seeded else state


def _state(generator: Any) -> Any:
    if isinstance(generator, random.SystemRandom):  # it has no state
        return None
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return _plain(generator.get_state(legacy=False))
    return _plain(getattr(generator, "bit_generator", generator).state)


def _plain(state: Any) -> Any:
    """A state with its arrays as bytes, to be compared."""
    if isinstance(state, dict):
        return tuple((k, _plain(v)) for k, v in state.items())
    return state.tobytes() if hasattr(state, "tobytes") else state


def _generators(root: Any) -> Iterator[tuple[str, Any]]:
    """Generators that `root` leads to, each once, with the name by which it is reached."""
    kinds = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
    seen: set[int] = set()
    stack: list[tuple[str, Any]] = [("", root)]
    while stack and len(seen) < _MOST:
        name, value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, kinds):
            yield f"{name or 'a generator'} ({type(value).__name__})", value
        else:
            stack.extend(_below(name, value))


def _below(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a function, method, container or object of the user refers to."""
    if isinstance(value, types.FunctionType):
        code = value.__code__
        yield from zip(code.co_freevars, _contents(value.__closure__ or ()), strict=True)
        for default in (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()):
            yield name, default
        if not is_internal(code.co_filename):
            names = set(_names(code))
            for used in sorted(names & value.__globals__.keys()):
                found = value.__globals__[used]
                yield used, found
                if isinstance(found, types.ModuleType) and found.__name__ != "numpy":
                    yield from ((f"{used}.{n}", vars(found)[n]) for n in names & vars(found).keys())
    elif isinstance(value, types.MethodType):
        yield name, value.__func__
        yield name, value.__self__
    elif isinstance(value, functools.partial):
        yield name, (value.func, value.args, value.keywords)
    elif isinstance(value, (tuple, list)):
        yield from ((name, v) for v in value[:_MOST])
    elif isinstance(value, dict):
        yield from ((str(k), v) for k, v in [*value.items()][:_MOST])
    elif not isinstance(value, (type, types.ModuleType)) and not hasattr(type(value), "__array__"):
        call = getattr(type(value), "__call__", None)  # noqa: B004
        if isinstance(call, types.FunctionType):
            yield name, call
        with contextlib.suppress(AttributeError):
            yield from object.__getattribute__(value, "__dict__").items()


def _contents(cells: Any) -> Iterator[Any]:
    for cell in cells:
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            yield None


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from constant.co_names
            yield from (n for c in constant.co_consts if isinstance(c, types.CodeType)
                        for n in _names(c))  # fmt: skip
