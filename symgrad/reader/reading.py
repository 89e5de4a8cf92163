"""What the search for a formula gives: trees with names, side conditions, and the steps taken.

In the trees a `symbol` that stands for an argument of the graph has its node as `owner`; a `part`
has a `Part` as data, whose formula it stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from symgrad.inspect.formula import Formula


class Part:
    """A named subexpression: a line after "where".

    labels : letters of the free indices, if it is defined element by element
    """

    __slots__ = ("formula", "hint", "text", "latex", "labels")

    def __init__(
        self, formula: Formula, hint: str = "", text: str = "?", latex: str = "?",
        labels: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.formula, self.hint, self.text, self.latex = formula, hint, text, latex
        self.labels = labels


@dataclass(frozen=True)
class Piece:
    """Some elements of a result.

    places   their indices: letters with a shift, such as i+1, or numbers
    letter   the one in the places and in the formula, if there is one
    range    its first and last value
    bounded  whether the range is less than what the result has room for, and is printed
    """

    places: tuple[tuple[str, ...], ...]
    formula: Formula
    letter: str | None
    range: tuple[int, int]
    bounded: bool


@dataclass(frozen=True)
class Line:
    """One result: `name = formula`, or `name[i, j] = formula` with letters as labels.

    pieces : formulas of some elements each, if there is none of all; the others are 0
    """

    name: str
    formula: Formula
    labels: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Condition:
    """Where the formula holds: `left sign 0`, elementwise for arrays; sign is ≠, > or ≥.

    shown : the same as it is printed, such as x ≠ 1
    """

    left: Formula
    sign: str
    shown: Formula | None = None


@dataclass(frozen=True)
class Reading:
    """Formulas of all results of a graph.

    lines       one for each result
    parts       what the lines name, users before what they use
    conditions  where the formulas agree with the graph
    steps       how often each named rule was applied
    cost        what it takes to read all of it, as `cost.cost` counts
    domain      makes conditions under which the graph's operations have values
    """

    lines: tuple[Line, ...]
    parts: tuple[Part, ...] = ()
    conditions: tuple[Condition, ...] = ()
    steps: dict[str, int] = field(default_factory=dict)
    cost: int = 0
    domain: Callable[[], tuple[Condition, ...]] = tuple
