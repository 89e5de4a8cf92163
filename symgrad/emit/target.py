"""What a language says of itself, for loop programs to be written in it.

The loop program, its passes and the tree of statements (`tree.py`) are the same for all languages
like C. A new one is a `Target` in a module of its own, listed in `targets.py`, and a folder of
templates with the same names of files as those of the others. What it cannot do in vectors it
leaves out by a `Tuning` without `vectors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from symgrad.expr.op import OPS, Kind, Op
from symgrad.lazy import dataclass
from symgrad.lower.scalar import INDEX, LOAD
from symgrad.ops.elementwise import CONVERT

_SPELLED = (Kind.ELEMENTWISE, Kind.LOWERED)  # kinds of what stands in the expressions of a program
_APART = (INDEX, LOAD, CONVERT)  # have no column: they are variables, elements and casts


@dataclass(frozen=True, eq=False)
class Target:
    """A language.

    name : also that of its folder in templates/
    types : the type of each dtype
    literal : the text that reads back as exactly a value of a dtype
    needed_by : the type or constant of a header that stands in that text; "" if none does
    column : the spelling of an op in terms of its operands, for floats or for integers; None if
        there is none. It is parsed by `rows.py`.
    """

    name: str
    types: Mapping[str, str]
    literal: Callable[[Any, str], str]
    needed_by: Callable[[Any, str], str]
    column: Callable[[Op, bool], str | None]

    def lacking(self) -> Iterator[str]:
        """The ops that may stand in a program and have no spelling here, by name."""
        for name, op in sorted(OPS.items()):
            if op.kind in _SPELLED and op not in _APART:
                if self.column(op, True) is None:
                    yield name
