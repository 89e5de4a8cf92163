"""What factors of Polys are made of, and what one reading may cost."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symgrad.expr.node import Expr
    from symgrad.inspect.formula import Formula
    from symgrad.reader.poly import Poly

FIRST = 100  # labels from here on are summed
MOST_TERMS = 60  # more are not multiplied out
MOST_OPENED = 4  # nor are higher powers of sums
_DECIMAL = 1000  # larger denominators than this are floats that nobody wrote as a fraction
_KINDS = {k: n for n, k in enumerate(
    ("num", "sym", "delta", "ind", "det", "inv", "fn", "opaque", "paren"))}  # fmt: skip

Exponent = int | Fraction
Shape = tuple[int, ...]
Labels = tuple[int, ...]


def at(index: int) -> int:
    """The label of one element."""
    return -1 - index


class NoMatrixForm(Exception):
    """What matrix notation does not reach, or nobody would read."""


class TooLong(Exception):
    """The steps or the work of one reading are used up."""


@dataclass
class Budget:
    """What one reading may cost, and what it did: a value of the context it runs in."""

    ticks: int = 10**9  # steps of the search that are left
    work: int = 10**9  # nodes, terms and values that may still be looked at
    most_terms: int = MOST_TERMS
    steps: Counter[str] = field(default_factory=Counter)
    atoms: set[Head] = field(default_factory=set)  # sums that are not multiplied out
    opens_sech: bool = True  # 1/cosh² = 1 - tanh²
    sizes: Mapping[int, Poly] = field(default_factory=dict)  # of axes, where they have names
    lengths: Mapping[int, Formula] = field(default_factory=dict)  # of means, as names
    positive: Collection[Expr] = ()  # arguments that stand for sizes


BUDGET: ContextVar[Budget] = ContextVar("BUDGET")


def tick() -> None:
    """Count a step of the search; raise `TooLong` if the steps or the work are used up."""
    spend()
    here = budget()
    here.ticks -= 1
    if here.ticks < 0:
        raise TooLong


def spend(work: int = 1) -> None:
    """Count work between steps; raise `TooLong` if it is used up.

    No clock is asked: a slow or a busy machine prints the same formulas.
    """
    here = budget()
    here.work -= work
    if here.work < 0:
        raise TooLong


def note(rule: str) -> None:
    """A rule was applied."""
    budget().steps[rule] += 1


def budget() -> Budget:
    """The budget of the context; without one, an endless one."""
    found = BUDGET.get(None)
    return Budget() if found is None else found


class Head:
    """What a factor is made of, without its labels; equal ones have equal digests.

    kind      num (a prime or π), sym (an argument), fn (elementwise), paren (a sum held together),
              ind (1 where a relation holds, else 0), delta, inv, det, opaque
    payload   the function's or argument's name, the prime, …: strings, numbers and tuples of them
    args      Polys over the head's own labels 0, 1, …; of inv, det and opaque over theirs
    shape     sizes of the labels
    symmetric whether both orders of its two labels are the same
    nonneg    whether no value is negative
    node      the argument's node
    sums_to_one  the label whose values have the sum 1
    odd       whether it changes sign with its first argument
    size, depth  of the tree that it stands for
    """

    __slots__ = (
        "kind", "payload", "args", "shape", "symmetric", "nonneg", "node", "digest", "order",
        "sums_to_one", "odd", "size", "depth",
    )  # fmt: skip

    def __init__(
        self, kind: str, payload: Any = None, args: tuple[Poly, ...] = (), shape: Shape = (),
        symmetric: bool = False, nonneg: bool = False, node: Any = None,
    ) -> None:  # fmt: skip
        self.kind, self.payload, self.args, self.shape = kind, payload, args, shape
        self.symmetric, self.nonneg, self.node = symmetric, nonneg, node
        self.sums_to_one: int | None = None
        self.odd = False
        self.size: int = 1 + sum([a.size for a in args])
        self.depth: int = 1 + max([a.depth for a in args], default=0)
        text = repr((kind, payload, shape, [a.digest for a in args]))
        self.digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        self.order = (_KINDS[kind], str(payload), self.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return self is other or isinstance(other, Head) and self.digest == other.digest

    def __repr__(self) -> str:
        inside = ", ".join(map(repr, self.args))
        return f"{self.payload or self.kind}" + (f"({inside})" if self.args else "")


Factor = tuple[Head, Labels, Exponent]
Term = tuple[Factor, ...]
PI = Head("num", "π", nonneg=True)


def exact(value: Exponent) -> Exponent:
    """An integer as an int: its hash and its sums are cheaper."""
    return value.numerator if value.denominator == 1 else value


def magnitude(value: Exponent) -> Exponent:
    """|value|, as what it is."""
    return -value if value < 0 else value


def is_decimal(q: int) -> bool:
    """Whether people write numbers of this denominator with a point."""
    if q > _DECIMAL:
        return True
    rest = q
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1 and q >= 10 and q & (q - 1) != 0


def key(f: Factor) -> Any:
    """Factors and terms are sorted by it: by structure, the same in every process."""
    return f[0].order, f[1], f[2]
