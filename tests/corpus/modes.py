"""Entries of the corpus through every transformation: `python tests/corpus/modes.py [names]`.

What a transformation gives is compared with what the plain derivative gives, which the other tests
compare with dual numbers: batches with calls one by one, sparse matrices with dense ones, products
with matrices, a function inside of a branch or a loop with the function itself. No C is compiled.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [p for p in (str(ROOT), str(ROOT / "tests")) if p not in sys.path]

import symgrad as sg  # noqa: E402
from corpus.measure import (  # noqa: E402
    COLLECTIONS,
    Verdict,
    collection,
    compared,
    find,
    first_line,
    numbers,
    weighted,
)
from corpus.run import in_child, listed  # noqa: E402
from support.dual_numpy import flatten, is_float  # noqa: E402
from symgrad.errors import SymgradError  # noqa: E402

TOLERANCE = 1e-7
SECONDS = 300  # of processor time for one entry


class Subject:
    """An entry as a scalar function of its first float argument, with its dense derivatives."""

    def __init__(self, name: str) -> None:
        _, entry = find(name)
        self.entry, self.k = entry, numbers(entry)[0]
        x = entry.args[self.k]
        if not is_float(x):
            raise LookupError("the first argument is no array of floats")
        self.x = np.asarray(x, float) if np.ndim(x) else float(x)
        self.size = np.size(x)
        wave = np.cos(2.0 + 1.7 * np.arange(self.size)).reshape(np.shape(x))
        self.along = wave if np.ndim(x) else float(wave)

    def __call__(self, x: Any) -> Any:
        args = list(self.entry.args)
        args[self.k] = x
        return weighted(flatten(self.entry.function(*args)))

    @functools.cached_property
    def gradient(self) -> Any:
        return at(sg.grad(self.f), self.x)

    @functools.cached_property
    def hessian(self) -> np.ndarray:
        return np.asarray(at(sg.hessian(self.f), self.x)).reshape(self.size, self.size)

    @property
    def f(self) -> Callable[[Any], Any]:
        return lambda x: self(x)

    @property
    def points(self) -> np.ndarray:
        return np.stack([self.x, 1.01 * self.x, 0.99 * self.x])


def at(f: Callable[..., Any], *args: Any) -> Any:
    """The value of the simplified graph by NumPy."""
    return sg.trace(f, *args).simplify().evaluate(*args)


def one_by_one(f: Callable[..., Any], points: np.ndarray) -> np.ndarray:
    one = points[0] if points.ndim > 1 else float(points[0])
    graph = sg.trace(f, one)
    return np.stack([np.asarray(graph.evaluate(p if p.ndim else float(p))) for p in points])


def filled(derivative: Any, x: Any) -> np.ndarray:
    graph, pattern = derivative.trace(x)
    matrix = np.zeros(pattern.shape)
    matrix[pattern.rows(), pattern.indices] = graph.simplify().evaluate(x)
    return matrix


def _batch(s: Subject) -> Any:
    return at(sg.vmap(sg.grad(s.f)), s.points), one_by_one(sg.grad(s.f), s.points)


def _batch_of_matrices(s: Subject) -> Any:
    two = s.points[:2]
    return at(sg.vmap(sg.hessian(s.f)), two), one_by_one(sg.hessian(s.f), two)


def _batch_of_branches(s: Subject) -> Any:
    def either(x: Any, t: Any) -> Any:
        return sg.cond(t > 0, s.f, lambda x: 2.0 * s(x), x)

    got = at(sg.vmap(sg.grad(either)), s.points[:2], np.array([1.0, -1.0]))
    a, b = one_by_one(sg.grad(s.f), s.points[:2])
    return got, np.stack([a, 2 * b])


def _jvp(s: Subject) -> Any:
    got = at(lambda x, v: sg.jvp(s.f, (x,), (v,))[1], s.x, s.along)
    return got, np.sum(s.gradient * np.asarray(s.along))


def _vjp(s: Subject) -> Any:
    return at(lambda x: sg.vjp(s.f, x)[1](2.0), s.x), 2 * np.asarray(s.gradient)


def _hvp(s: Subject) -> Any:
    return at(lambda x, v: sg.hvp(s.f, x, v), s.x, s.along), s.hessian @ np.ravel(s.along)


def _jacobians(s: Subject) -> Any:
    got = at(lambda x: (sg.jacfwd(sg.grad(s.f))(x), sg.jacrev(sg.grad(s.f))(x)), s.x)
    return got, (s.hessian, s.hessian)


def _nested(s: Subject) -> Any:
    got = at(sg.grad(lambda x: np.sum(sg.grad(s.f)(x) ** 2)), s.x)
    return got, 2 * s.hessian @ np.ravel(s.gradient)


def _sparse_hessian(s: Subject) -> Any:
    return filled(sg.sparse_hessian(s.f), s.x), s.hessian


def _sparse_jacobian(s: Subject) -> Any:
    return filled(sg.sparse_jacobian(sg.grad(s.f)), s.x), s.hessian


def _checkpoint(s: Subject) -> Any:
    return at(sg.grad(sg.checkpoint(s.f)), s.x), s.gradient


def _in_a_branch(s: Subject) -> Any:
    def inside(x: Any) -> Any:
        return sg.cond(np.sum(x) < 1e300, s.f, lambda x: 0.0 * np.sum(x), x)

    return at(sg.grad(inside), s.x), s.gradient


def _in_a_loop(s: Subject) -> Any:
    def inside(x: Any) -> Any:
        return sg.scan(lambda c, r: (c + s(x * r), c), 0.0, np.array([1.0, 1.01]))[0]

    return at(sg.grad(inside), s.x), at(sg.grad(lambda x: s(x * 1.0) + s(x * 1.01)), s.x)


MODES: dict[str, Callable[[Subject], Any]] = {
    "vmap": _batch, "vmap of hessian": _batch_of_matrices, "vmap of cond": _batch_of_branches,
    "jvp": _jvp, "vjp": _vjp, "hvp": _hvp, "jacobians": _jacobians, "nested": _nested,
    "sparse hessian": _sparse_hessian, "sparse jacobian": _sparse_jacobian,
    "checkpoint": _checkpoint, "in cond": _in_a_branch, "in scan": _in_a_loop,
}  # fmt: skip


def verdict(name: str) -> Verdict:
    """What becomes of an entry: right, refused by some, or WRONG in some."""
    try:
        subject = Subject(name)
        with np.errstate(all="ignore"):
            _ = subject.gradient
    except (LookupError, SymgradError) as reason:
        return Verdict("refused", first_line(reason))
    refused, wrong = [], []
    for mode, compute in MODES.items():
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                told = compared(mode, *compute(subject), TOLERANCE)
            wrong += [told] if told else []
        except SymgradError as error:
            refused.append(f"{mode}: {first_line(error)}")
        except Exception as error:
            wrong.append(f"{mode}: {first_line(error)}")
    status = "WRONG" if wrong else "refused" if refused else "right"
    return Verdict(status, "; ".join([*wrong, *refused]))


def main() -> int:
    bad = 0
    for group in COLLECTIONS:
        for name in collection(group):
            wanted = not sys.argv[1:] or name in sys.argv or group in sys.argv
            if wanted and name not in listed():
                found = in_child(functools.partial(verdict, name), SECONDS)
                bad += found.status not in ("right", "refused")
                line = f"{group:10} {name:28} {found.status:9} {found.seconds:5.1f} s  "
                print(line + found.told[:300], flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
