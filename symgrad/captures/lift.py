"""Large captured arrays, and numbers that change, as arguments that the user does not see.

To compare an array with a copy at each call means to read it twice, which for a large one may take
longer than the function. Where a function reaches such an array by its own globals and closures
alone, the trace is given a function in which an argument stands for it, and calls pass the array
that is there: its content may be anything. So with floats that have changed between two calls: a
further value then needs no compilation. Everything else about what is captured stays as it is.
"""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symgrad.captures.code import Seen, names_of
from symgrad.captures.rows import ABSENT

Place = tuple[int, str]  # a dict of globals and a name in it, or a cell and ""

LARGE = 1 << 15  # bytes; below, the comparison takes less than a microsecond


@dataclass
class Reach:
    """The functions that lead to large arrays, and how often all of these are met on the way.

    possible : whether clones of the functions can stand for them, and traced values for what they
        read; not so where one assigns to globals or cells, or looks at the text or class of a value
    """

    functions: dict[int, types.FunctionType] = field(default_factory=dict)
    arrays: dict[int, np.ndarray] = field(default_factory=dict)
    floats: dict[Place, float] = field(default_factory=dict)
    met: Counter[int] = field(default_factory=Counter)
    possible: bool = True


def is_large(value: Any) -> bool:
    """Whether an array is better passed than compared. Integers may be indices, and floats of
    small arrays may be zero by structure: both are worth more as constants."""
    return (
        type(value) is np.ndarray
        and value.dtype in (np.float64, np.float32)
        and value.nbytes > LARGE
        and value.flags.c_contiguous
        and value.flags.aligned
    )


def reach_of(root: Any, seen: Seen) -> Reach:
    """What a function leads to; `root` is one of the user's, or a transformed one."""
    reach = Reach()
    stack = [root]
    while stack:
        value = stack.pop()
        if is_large(value):
            reach.met[id(value)] += 1
            reach.arrays[id(value)] = value
        elif isinstance(value, types.FunctionType):
            reach.met[id(value)] += 1
            if id(value) not in reach.functions and not seen.is_library(value.__code__.co_filename):
                reach.functions[id(value)] = value
                names = names_of(value.__code__)
                reach.possible &= not (names.assigns or names.looks)
                for place, content in _read(value):
                    if type(content) is float:
                        reach.floats[place] = content
                    stack.append(content)
        elif value is root and hasattr(type(value), "__symgrad_captures__"):
            root = next((v for v in value.__symgrad_captures__() if callable(v)), None)
            stack.append(root)
    return reach


@dataclass(frozen=True)
class Lift:
    """What is passed: arrays, by id, and floats, by place; and the functions that see it so."""

    arrays: frozenset[int] = frozenset()
    floats: frozenset[Place] = frozenset()
    functions: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.arrays or self.floats)


def lift_of(reach: Reach, met: Counter[int], varying: set[Place]) -> Lift:
    """What can be passed of large arrays and of the floats at the places `varying`.

    met : how often everything is met, by any way: where it is more often than by that of `reach`,
        somebody sees it as it is
    """
    if not reach.possible or any(met[k] != reach.met[k] for k in reach.functions):
        return Lift()
    arrays = frozenset(k for k in reach.arrays if met[k] == reach.met[k])
    return Lift(arrays, frozenset(varying & reach.floats.keys()), frozenset(reach.functions))


def _read(f: types.FunctionType) -> list[tuple[Place, Any]]:
    """What a function reads of its cells and its globals."""
    found: list[tuple[Place, Any]] = []
    for cell in f.__closure__ or ():
        try:
            found.append(((id(cell), ""), cell.cell_contents))
        except ValueError:
            pass
    names = f.__globals__
    read = names_of(f.__code__).read
    return found + [((id(names), name), names.get(name, ABSENT)) for name in read]


class Replaced:
    """Clones of the functions of a `Reach`, which see other values in place of some.

    values : by the id of an array, or by the place of a float
    """

    def __init__(self, reach: Reach, values: Mapping[Any, Any]) -> None:
        self.reach, self.values = reach, values
        self.made: dict[int, types.FunctionType] = {}
        self.globals: dict[int, dict[str, Any]] = {}

    def of(self, value: Any) -> Any:
        """What stands for a value."""
        if id(value) in self.values:
            return self.values[id(value)]
        if id(value) in self.made:
            return self.made[id(value)]
        if id(value) in self.reach.functions:
            return self._clone(value)
        recipe = getattr(value, "recipe", None)
        if recipe is not None and hasattr(type(value), "__symgrad_captures__"):
            return recipe[0](*[self.of(part) for part in recipe[1]])
        return value

    def _clone(self, f: types.FunctionType) -> types.FunctionType:
        names = self.globals.setdefault(id(f.__globals__), dict(f.__globals__))
        cells = tuple([types.CellType() for _ in f.__closure__ or ()])
        new = types.FunctionType(f.__code__, names, f.__name__, f.__defaults__, cells or None)
        new.__kwdefaults__, new.__qualname__, new.__module__ = (
            f.__kwdefaults__, f.__qualname__, f.__module__)  # fmt: skip
        new.__dict__.update({k: v for k, v in f.__dict__.items() if not k.startswith("__symgrad")})
        self.made[id(f)] = new
        for cell, old in zip(cells, f.__closure__ or (), strict=True):
            try:
                content = old.cell_contents
                cell.cell_contents = self.values.get((id(old), ""), self.of(content))
            except ValueError:  # not filled yet
                pass
        for name in names_of(f.__code__).read:
            if name in names:
                place = id(f.__globals__), name
                names[name] = self.values.get(place, self.of(f.__globals__[name]))
        return new
