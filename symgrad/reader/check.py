"""Does a formula say what the graph computes? Both are evaluated at points, with spare digits.

In: a `Reading` and the graph that it was made of. Out: whether they agree. What is evaluated is the
tree that gets printed, not the polynomials behind it, so that every later mistake counts too. A
formula with notation that is not known here does not agree: it cannot be vouched for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from symgrad.expr.node import FLOATS, Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import expand_composites, toposort
from symgrad.reader.functions import EXTENDED, Unknown
from symgrad.reader.heads import TooLong, spend
from symgrad.reader.reading import Condition, Reading
from symgrad.reader.sizes import Sizes
from symgrad.reader.smaller import smaller
from symgrad.reader.values import Values, extended


def bounds(eps: float) -> tuple[float, float]:
    """(of a value, of the largest intermediate value) what a difference may be.

    eps : the spacing of the numbers that are compared. Some operations have no spare digits and are
        good to 1e-16; the rest is what sums and cancellation may take, where there is no more.
    """
    return max(1e-12, 4e6 * eps), max(1e-16, 500 * eps)


BOUND, NOISE = bounds(float(np.finfo(EXTENDED).eps))  # Windows and arm64 macOS have doubles only
LARGEST = 1e8  # points with larger intermediate values say little
WANTED = 4  # random points at which the values were finite, and agreed
FEWEST = 3
TRIES = 40
MOST_WORK = 3e4  # multiplications of one evaluation; longer axes are shortened
FAILURES = (
    Unknown, TooLong, ArithmeticError, IndexError, KeyError, TypeError, ValueError,
    np.linalg.LinAlgError,
)  # fmt: skip

Point = dict[Expr, np.ndarray]
Target = tuple[Point, list[Any], float]  # the graph's values there, the largest on the way to them


def agrees(
    reading: Reading, args: Sequence[Expr], outs: Sequence[Expr], sizes: Sizes | None = None
) -> bool:
    """Whether the formulas of `reading` have the values of `outs`, wherever its conditions hold.

    They are compared at random points and at special ones: zeros, ones, equal arguments. Where the
    graph has a finite value the formula must have it as well. At least three random points must
    be finite in all elements. Long axes are compared as short ones. What is too large to be
    compared within the work that the context's budget has left does not agree. Where sizes have
    names, the graphs at other sizes must agree as well.
    """
    try:
        return all(_agrees(reading, subject) for subject in subjects(args, outs, sizes))
    except FAILURES:
        return False


def _agrees(reading: Reading, subject: Subject) -> bool:
    good = 0
    for target in subject.targets(itertools.islice(subject.random_points(), TRIES)):
        same = subject.same(target, reading, reading.conditions)
        if same is False:
            return False
        good += same is True
        if good == WANTED:
            break
    return good >= FEWEST and all(
        subject.same(target, reading, reading.conditions) is not False
        for target in subject.targets(subject.special_points())
    )


def subjects(args: Sequence[Expr], outs: Sequence[Expr], sizes: Sizes | None) -> Iterator[Subject]:
    """The graph; where sizes have names, at all sizes that there are."""
    if sizes is None or not sizes.values:
        yield Subject(args, outs).shortened(args)
        return
    first = Subject(args, outs)
    first.fixed = sizes.values
    yield first
    for sibling in sizes.siblings:
        other = Subject((), sibling.outs)
        other.args, other.arrays = sibling.args, sibling.arrays
        other.sizes, other.fixed = sibling.sizes, sibling.values
        yield other


class Subject:
    """A graph as it is compared: without composites, with short axes where it is large."""

    def __init__(self, args: Sequence[Expr], outs: Sequence[Expr]) -> None:
        self.outs: Sequence[Expr] = expand_composites(outs)
        self.args: Mapping[Expr, Expr] = dict(zip(args, args, strict=True))
        self.fixed: Mapping[Expr, int] = {}  # arguments that stand for sizes
        self.arrays: Mapping[Expr, np.ndarray] = {}
        self.sizes: Mapping[int, int] = {}
        self.count = len(toposort(self.outs))

    def shortened(self, args: Sequence[Expr]) -> Subject:
        """With short axes, if it is large."""
        if _work(self.outs) > MOST_WORK:
            short = smaller(args, self.outs)
            if _work(short.outs) > MOST_WORK:
                raise Unknown("too large")
            self.outs, self.args = short.outs, short.args
            self.arrays, self.sizes = short.arrays, short.sizes
        return self

    def random_points(self) -> Iterator[Point]:
        return _random_points(list(self.args.values()))

    def special_points(self) -> Iterator[Point]:
        return _special_points(list(self.args.values()))

    def targets(self, points: Iterable[Point]) -> Iterator[Target]:
        """The graph's values at points; singular ones say nothing."""
        for free in points:
            point = free | self.lengths()
            spend(self.count)
            with np.errstate(all="ignore"):
                try:
                    values, scale = extended(self.outs, point)
                except np.linalg.LinAlgError:
                    continue
            if scale < LARGEST:
                yield point, values, scale

    def known(self, point: Point) -> Point:
        """The values at a point, by the arguments and arrays of the graph that is read."""
        spend(self.count)
        known = {original: point[own] for original, own in self.args.items()}
        return {**known, **self.arrays, **self.lengths()}

    def lengths(self) -> Point:
        """The values of arguments that stand for sizes."""
        return {a: np.asarray(n, EXTENDED) for a, n in self.fixed.items()}

    def same(
        self, target: Target, reading: Reading, conditions: Sequence[Condition]
    ) -> bool | None:
        """Equal at a point? None if that says nothing: a condition is not met, or values are not
        finite."""
        point, wanted, scale = target
        with np.errstate(all="ignore"):
            formulas = Values(self.known(point), self.sizes)
            if not all(formulas.hold(c) for c in conditions):
                return None
            complete = True
            for line, want in zip(reading.lines, wanted, strict=True):
                finite = np.isfinite(want)
                complete &= bool(finite.all())
                if finite.any():
                    got = formulas.result(line, want.shape)
                    allowed = BOUND * np.abs(want) + NOISE * max(scale, 1.0)
                    # Zeros of a structure are there where the rest has no value: 0 · 1/0.
                    compared = finite if finite.all() else finite & np.isfinite(got)
                    if not (np.abs(got - want) <= allowed)[compared].all():
                        return False
            return True if complete else None


def _work(outs: Sequence[Expr]) -> float:
    """Multiplications of contractions, elements of everything else."""
    total = 0.0
    for node in toposort(outs):
        if node.op.kind is Kind.EINSUM:
            sizes: dict[int, int] = {}
            for a, labels in zip(node.args, node.attrs[0], strict=True):
                sizes.update(zip(labels, a.shape, strict=True))
            steps = math.prod(sizes.values())
            if len(node.args) > 2:  # two at a time
                largest = max(a.size for a in (*node.args, node))
                steps = min(steps, len(node.args) * largest * max(sizes.values(), default=1))
            total += steps
        else:
            total += node.size if isinstance(node.shape, tuple) else 1
    return total


# ---- points ----------------------------------------------------------------------------------

_DRAWS: tuple[Callable[[np.random.Generator, Any], Any], ...] = (
    lambda rng, shape: rng.normal(size=shape),
    lambda rng, shape: rng.uniform(0.2, 2.0, shape),
    lambda rng, shape: rng.uniform(0.1, 0.9, shape),
    lambda rng, shape: rng.uniform(2.0, 5.0, shape),
    lambda rng, shape: -rng.uniform(0.2, 2.0, shape),
)


def _random_points(args: Sequence[Expr]) -> Iterator[Point]:
    """All normal, all positive, all fractions; then a kind of its own for each argument."""
    rng = np.random.default_rng(20)
    for round_ in itertools.count():
        point = {}
        for a in args:
            # Matrices that are definite, where nothing else is finite.
            definite = round_ % 7 == 6 and a.ndim >= 2 and a.shape[-1] == a.shape[-2]
            kind = round_ if round_ < 3 else int(rng.integers(len(_DRAWS)))
            point[a] = _typed(a, _DRAWS[kind](rng, a.shape))
            if definite and a.dtype in FLOATS:
                m = point[a]
                point[a] = m @ np.swapaxes(m, -1, -2) + np.eye(a.shape[-1], dtype=EXTENDED)
        yield point


def _special_points(args: Sequence[Expr]) -> Iterator[Point]:
    """Zeros, ones, and equal arguments; one argument special and the others not."""
    rng = np.random.default_rng(21)

    def usual() -> Point:
        return {a: _typed(a, rng.uniform(0.2, 2.0, a.shape)) for a in args}

    for value in (0, 1, -1):
        yield {a: _typed(a, np.full(a.shape, float(value))) for a in args}
    for a in args if len(args) > 1 else ():
        yield usual() | {a: _typed(a, np.zeros(a.shape))}
    for a in args:  # one element is special, which a guard for each element sees
        if a.size > 1:
            point = usual()
            point[a].flat[0] = 0
            point[a].flat[-1] = -1 if a.dtype in FLOATS else 0
            yield point
    for a, b in itertools.islice(itertools.combinations(args, 2), 6 if len(args) > 2 else 0):
        yield usual() | {c: _typed(c, np.zeros(c.shape)) for c in (a, b)}
    shapes: dict[Any, list[Expr]] = {}
    for a in args:
        shapes.setdefault((a.shape, a.dtype), []).append(a)
    for alike in shapes.values():
        for a, b in itertools.islice(itertools.combinations(alike, 2), 3):
            point = usual()
            point[b] = point[a].copy()
            yield point


def _typed(a: Expr, value: Any) -> np.ndarray:
    """As an argument of that type: floats with spare digits, small integers, booleans."""
    if a.dtype in FLOATS:
        return np.asarray(value, EXTENDED)
    if a.dtype == "bool":
        return np.asarray(value) > 0.5
    return np.asarray(np.abs(np.rint(value)), a.dtype) % 3
