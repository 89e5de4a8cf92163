"""Which side conditions a formula is shown with: those without which it differs from the graph.

A condition is judged by points at which it fails, that are looked for: some of small integers are
moved along one argument at a time until the condition's left side is exactly 0. Of conditions that
the formula was made under (a dropped guard) all stay but those that never fail, and those at whose
points the formula agrees all the same. Of what the graph divides by, or takes the logarithm or root
of, only that is told without which the formula has a value and the graph has none.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from symgrad.expr.node import FLOATS, Expr
from symgrad.inspect.formula import Formula, to_text
from symgrad.reader.check import FAILURES, Point, Subject, Target, subjects
from symgrad.reader.functions import EXTENDED
from symgrad.reader.reading import Condition, Reading
from symgrad.reader.sizes import Sizes
from symgrad.reader.values import Values

_RANDOM = 12
_STEPS = 12  # along one line
# Points that are moved: eighths, in which most arithmetic is exact.
_DRAWS: tuple[Callable[[np.random.Generator, Any], Any], ...] = (
    lambda rng, shape: rng.integers(1, 4, shape),
    lambda rng, shape: rng.integers(1, 24, shape) / 8,
    lambda rng, shape: rng.integers(1, 24, shape) / 8 * rng.choice((-1, 1), shape),
)
_MORE = 3  # draws with signs, where there are few elements: max(x, y) is 0 in one of four quadrants
_FEW = 32
_NEAR = 1e-9  # what is as close to 0 would be 0 with more digits


def needed(
    reading: Reading, args: Sequence[Expr], outs: Sequence[Expr], sizes: Sizes | None = None
) -> tuple[Condition, ...]:
    """Those of the reading's conditions, and of its domain, that are to be shown.

    Once the work of the context's budget is used up, no more are judged: the reading's conditions
    that are left are shown, and those of the domain are not.
    """
    kept = list({_told(c): c for c in reading.conditions}.values())
    shown = _shown(reading)
    domain = [c for c in reading.domain() if to_text(_inside(c.left)) not in shown]
    if not kept and not domain:
        return ()
    try:
        subject = next(subjects(args, outs, sizes))
        usual = list(subject.targets(subject.special_points())) if kept else []
        for condition in list(kept):
            rest = [c for c in kept if c is not condition]
            if not _matters(condition, rest, reading, subject, usual):
                kept = rest
        for condition in domain:
            said = [_told(c) for c in kept]  # with uᵀ w for wᵀ u, and the like
            if _told(condition) in said:
                continue
            if _says_more(condition, kept, reading, subject):
                kept.append(condition)
    except FAILURES:
        pass
    return tuple(kept)


def _told(c: Condition) -> str:
    return to_text(c.left if c.shown is None else c.shown)


def _shown(reading: Reading) -> set[str]:
    """What stands below a bar, under a root or in a logarithm: the formula itself says where."""
    found: set[str] = set()
    stack = [*[x.formula for x in reading.lines], *[x.formula for x in reading.parts]]
    while stack:
        f = stack.pop()
        stack += f.args
        inside: list[Formula] = []
        if f.kind == "div":
            inside = [f.args[1]]
        elif (
            f.kind in ("sqrt", "inverse")
            or f.kind == "call"
            and f.data[0] == "log"
            or f.kind == "pow"
            and not to_text(f.args[1]).isdigit()
        ):
            inside = [f.args[0]]
        while inside:
            g = _inside(inside.pop())
            found.add(to_text(g.data.formula if g.kind == "part" else g))
            if g.kind in ("mul", "had"):
                inside += g.args
    return found


def _matters(
    condition: Condition, rest: Sequence[Condition], reading: Reading, subject: Subject,
    usual: Sequence[Target],
) -> bool:  # fmt: skip
    """Whether the formula differs from the graph where only this condition fails, or may do so."""
    points, near = _failing(condition, subject)
    agreed = False
    for target in itertools.chain(usual, subject.targets(points)):
        if _holds(condition, target, subject):
            continue
        same = subject.same(target, reading, rest)
        if same is False:
            return True
        agreed |= same is True
    return near and not agreed


def _says_more(
    condition: Condition, kept: Sequence[Condition], reading: Reading, subject: Subject
) -> bool:
    """Whether the formula has a value at a point where this fails, and the graph has another or
    none."""
    points: list[Iterator[Point]] = []
    if condition.sign != "≠":
        points = [subject.special_points(), itertools.islice(subject.random_points(), _RANDOM)]
    for target in subject.targets(itertools.chain(_failing(condition, subject)[0], *points)):
        if _holds(condition, target, subject):
            continue
        same = subject.same(target, reading, kept)
        if same is False:
            return True
        if same is True or not all(_holds(c, target, subject) for c in kept):
            continue
        known = subject.known(target[0])
        with np.errstate(all="ignore"):
            values = Values(known, subject.sizes)
            for line, want in zip(reading.lines, target[1], strict=True):
                got = values.result(line, want.shape)
                if (np.isfinite(got) & ~np.isfinite(want)).any():
                    return True
    return False


def _holds(condition: Condition, target: Target, subject: Subject) -> bool:
    with np.errstate(all="ignore"):
        return Values(subject.known(target[0]), subject.sizes).hold(condition)


def _failing(condition: Condition, subject: Subject) -> tuple[list[Point], bool]:
    """Points at which the left side is exactly 0; whether there is one at which it nearly is."""
    rng = np.random.default_rng(22)
    found: list[Point] = []
    near = False
    moved = [a for a in subject.args.values() if a.dtype in FLOATS and a.size]
    few = sum(a.size for a in moved) <= _FEW
    for draw in (*_DRAWS, *[_DRAWS[-1]] * (_MORE if few else 0)):
        start = {a: _small(a, draw(rng, a.shape)) for a in subject.args.values()}
        for a in moved:
            for point, rest in _moved(condition, subject, start, a):
                near |= rest <= _NEAR
                if rest == 0:
                    found.append(point)
    return found, near


def _inside(f: Formula) -> Formula:
    """What is 0 where f is: x for ‖x‖², |x| and √x."""
    while f.kind in ("pow", "sqrt") or f.kind == "wrap" and f.data[0] in "‖|":
        f = f.args[0]
    return f


def _small(a: Expr, values: Any) -> np.ndarray:
    return np.asarray(values, EXTENDED) if a.dtype in FLOATS else np.asarray(values).astype(a.dtype)


def _moved(
    condition: Condition, subject: Subject, start: Point, a: Expr
) -> Iterator[tuple[Point, float]]:
    """Points with `a` changed so that the left side comes close to 0, and how close it is."""

    formula = _inside(condition.left)

    def left(value: np.ndarray) -> np.ndarray:
        known = subject.known(start | {a: value})
        with np.errstate(all="ignore"):
            return np.asarray(Values(known, subject.sizes).matrix(formula, None))

    shape = left(start[a]).shape
    column = (*a.shape, 1) if a.ndim == 1 else a.shape
    along: list[np.ndarray] = [np.ones(a.shape)]
    if shape != column and a.size > 1:  # one element decides
        along = [np.zeros(a.shape)]
        along[0].flat[0] = 1
    for direction in along:
        value, before = start[a], start[a] + direction
        there = left(before)
        for _ in range(_STEPS):  # the secant method, for each element or along one
            here = left(value)
            if not np.isfinite(here).all() or not here.any():
                break
            change = (value - before)[direction != 0]
            change = change.reshape(here.shape) if shape == column else change.flat[0]
            with np.errstate(all="ignore"):
                step = np.where(here == 0, 0, -here * change / (here - there))
            step = step.reshape(a.shape) if shape == column else step.flat[0]
            if not np.isfinite(step).all():
                break
            value, before, there = value + step * direction, value, here
        rest = np.abs(left(value))
        if rest.size and np.isfinite(rest).any():
            yield start | {a: value}, float(rest[np.isfinite(rest)].min())
