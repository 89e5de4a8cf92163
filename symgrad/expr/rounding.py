"""Values with bounds of their rounding errors: what `validate` compares."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.expr.node import CONST, FLOATS, Expr, const_value
from symgrad.expr.op import Kind, Op

_ROUNDINGS = {True: 32.0, False: 2.0}  # of a function, of arithmetic; in units of eps
_CHEAP = 5  # cost of a row up to which it is arithmetic
_PATTERNS = 4  # random signs of the errors of what is not elementwise

_ENDLESS = 1 << 60  # steps of a loop that may not end
_STEP = 20  # elements that could be computed while a node of a body is looked at

# A value of several results is an array of objects.
Value = tuple[np.ndarray, np.ndarray]  # and a bound of its error; for bool 1 where it may be wrong


def work(node: Expr) -> int:
    """Operations of a node, roughly; what runs bodies counts as its interpreter's steps."""
    if node.op.kind is Kind.CONTROL:
        inside = sum(_STEP + work(n) for b in _bodies(node) for n in b.nodes)
        rounds = 1 if node.op.rounds is None else node.op.rounds(node.attrs)
        return _ENDLESS if rounds is None else inside * max(rounds, 1)
    if node.op.kind is Kind.ELEMENTWISE:
        return node.size
    if node.op.kind is Kind.EINSUM:
        size = {k: n for a, t in zip(node.args, node.attrs[0], strict=True)
                for k, n in zip(t, a.shape, strict=True)}  # fmt: skip
        total = 1
        for n in size.values():
            total *= n
        return total
    return max([node.size, *(a.size for a in node.args)])


def _bodies(node: Expr) -> list[Any]:
    parts = [a if isinstance(a, tuple) else (a,) for a in node.attrs]
    return [b for part in parts for b in part if hasattr(b, "nodes")]


def evaluate_plainly(
    nodes: Sequence[Expr], values: dict[Expr, np.ndarray], points: int | None
) -> dict[Expr, Any]:
    """Values of `nodes`, in their order, from those of what is below them.

    points : of elementwise graphs, which are evaluated at so many at once; None for others
    """
    known: dict[Expr, Any] = dict(values)
    for node in nodes:
        if node.op is CONST and points is not None:
            known[node] = np.full(points, const_value(node))
            continue
        made = node.op.evaluate(*[known[a] for a in node.args], *node.attrs)
        if node.op.kind is Kind.CONTROL:
            known[node] = [np.asarray(v) for v in made]
        else:
            known[node] = np.asarray(made, node.dtype)
    return known


def bounded(
    nodes: Sequence[Expr], plain: dict[Expr, Any], rng: np.random.Generator
) -> dict[Expr, Value]:
    """`plain` values with bounds of their errors; what is not among `nodes` is exact."""
    known: dict[Expr, Value] = {}
    rounded = {n for n in nodes if n.args}
    for node, value in plain.items():
        if node not in rounded:
            known[node] = value, np.zeros(value.shape, _error_type(node.dtype))
    for node in nodes:
        base, given = plain[node], [known[a] for a in node.args]
        if node.op.kind is Kind.CONTROL:
            known[node] = base, _several(node, base, given, rng)
        elif node.op.kind is Kind.ITEM:
            known[node] = base, given[0][1][node.attrs[0]]
        elif node in rounded:
            error = _error(node, base, given, rng)
            error = np.broadcast_to(np.asarray(error, _error_type(node.dtype)), base.shape)
            known[node] = base, np.where(np.isnan(error), np.inf, error)
    return known


def _error_type(dtype: str) -> str:
    return dtype if dtype in FLOATS else "float64"


def _several(
    node: Expr, base: list[np.ndarray], args: list[Value], rng: np.random.Generator
) -> Any:
    """Bounds of the results of a control node, by trial."""

    def compute(*given: Any) -> list[np.ndarray]:
        return [np.asarray(v) for v in node.op.evaluate(*given)]

    eps = [float(np.finfo(b.dtype).eps) if b.dtype.kind == "f" else 0.0 for b in base]
    values, errors = [v for v, _ in args], [e for _, e in args]
    bounds = _by_trial(compute, node.attrs, False, base, values, errors, max(eps), rng)
    found = [np.where(np.isnan(e), np.inf, e) for e in bounds]
    exact = [b.dtype.kind != "f" and not any(e.any() for e in errors) for b in base]
    return [np.zeros(b.shape) if x else e for b, e, x in zip(base, found, exact, strict=True)]


def _error(node: Expr, base: np.ndarray, args: list[Value], rng: np.random.Generator) -> np.ndarray:
    """A bound of the error of `base`, the value of a node."""
    row, attrs = node.op, node.attrs
    values, errors = [v for v, _ in args], [e for _, e in args]
    eps = float(np.finfo(node.dtype).eps) if node.dtype in FLOATS else 0.0
    if node.name == "select":
        error = np.where(values[0], errors[1], errors[2])
        open_ = _gap(values[1], values[2]) + errors[1] + errors[2]
        return np.where(errors[0] > 0, np.maximum(error, open_), error)
    if row.kind is Kind.ELEMENTWISE or node.name == "convert":
        error = _rounding(node, base, values, eps)
        for k, e in enumerate(errors):
            if e.any():
                ends = [row.evaluate(*values[:k], x, *values[k + 1 :], *attrs)
                        for x in _ends(values[k], e)]  # fmt: skip
                error = error + np.maximum(*[_gap(x, base) for x in ends])
        return error
    if row.kind is Kind.LINEAR:
        return _linear(node, values, errors, eps)
    if row.kind is Kind.EINSUM:
        if not eps:
            return np.zeros(base.shape)
        sizes = [np.abs(v) for v in values]
        size: np.ndarray = row.evaluate(*sizes, *attrs)
        error = eps * (work(node) / max(base.size, 1) + len(args)) * size
        if any(e.any() for e in errors):
            wide = [s + e for s, e in zip(sizes, errors, strict=True)]
            error = error + np.abs(row.evaluate(*wide, *attrs) - size)
        return error
    return _otherwise(node, base, values, errors, eps, rng)


def _rounding(node: Expr, base: np.ndarray, values: Sequence[np.ndarray], eps: float) -> np.ndarray:
    """What an elementwise operation adds to the errors of its arguments."""
    if not eps or is_exact(node.op):
        return np.zeros(base.shape)
    step: np.ndarray = eps * np.abs(base)
    if not _adds(node.op):  # below the least normal number sums alone are exact
        limits = np.finfo(node.dtype)
        zero = functools.reduce(np.logical_or, [v == 0 for v in values])
        lost = (np.abs(base) < limits.tiny) & ~zero
        step = np.where(lost, float(limits.smallest_subnormal), step)
    return _ROUNDINGS[node.op.cost > _CHEAP] * step


@functools.cache
def _adds(row: Op) -> bool:
    """Whether an operation adds its arguments with signs: then its partials need none of them."""
    try:
        partials: Any = row.partials
        return all(p(*[None] * (len(partials) + 1)) in (1, -1) for p in partials)
    except (AttributeError, TypeError):
        return False


@functools.cache
def is_exact(row: Op) -> bool:
    """Whether an operation only moves a sign, selects or cuts, found out with multiples of 2^-10.

    Then ties remain ties, which a rounding would leave open.
    """
    rng = np.random.default_rng(0)
    if not row.domain:
        return False
    args = [rng.integers(-5000, 5000, 256) / 1024 for _ in row.domain]
    try:
        with np.errstate(all="ignore"):
            value = np.asarray(row.evaluate(*args), float)
    except ValueError:
        return False
    small = np.abs(value) <= 1 + np.max(np.abs(args), axis=0)
    return bool(np.all(small & (value * 1024 == np.rint(value * 1024))))


def _linear(
    node: Expr, values: list[np.ndarray], errors: list[np.ndarray], eps: float
) -> np.ndarray:
    """All of them have coefficients 0 and 1: the errors go the way of the values."""
    row, attrs = node.op, node.attrs
    several = row.transpose is None  # concat, linear in all its arguments
    rest = [] if several else values[1:]

    def of(arrays: list[np.ndarray]) -> Any:
        return row.evaluate(*(arrays if several else arrays[:1]), *rest, *attrs)

    if any(e.any() for e in errors[1:]) and not several:
        return np.full(node.shape, np.inf)  # an index that may be wrong
    error: np.ndarray = of(errors)
    if eps and row.element is None and not several:  # not one element for each
        summands = of([np.ones(v.shape) for v in values])
        if np.max(summands, initial=0) > 1:
            error = error + eps * summands * of([np.abs(v) for v in values])
    return error


def _otherwise(
    node: Expr,
    base: np.ndarray,
    values: list[np.ndarray],
    errors: list[np.ndarray],
    eps: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """By trial: the arguments moved by their errors, all one way and in random directions.

    What computes more than it selects is moved by a rounding of its arguments at least, which
    stands for the roundings inside.
    """
    row = node.op
    selects = row.combine is not None and row.combine[0] not in ("+", "*")

    def compute(*given: Any) -> list[np.ndarray]:
        return [np.asarray(row.evaluate(*given))]

    return _by_trial(compute, node.attrs, selects, [base], values, errors, eps, rng)[0]


def _by_trial(
    compute: Callable[..., list[np.ndarray]],
    attrs: tuple[Any, ...],
    selects: bool,
    base: list[np.ndarray],
    values: list[np.ndarray],
    errors: list[np.ndarray],
    eps: float,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Bounds of the errors of results `base`."""
    moved = errors
    if not selects:
        moved = [
            np.maximum(e, eps * np.abs(v)) if v.dtype.kind == "f" else e
            for v, e in zip(values, errors, strict=True)
        ]
    error = [np.zeros(b.shape) if selects else 32 * eps * np.abs(b) for b in base]
    if not any(e.any() for e in moved):
        return error
    widest = [np.zeros(b.shape) for b in base]
    directions: list[Any] = [(1, 1), (-1, -1), *[None] * _PATTERNS]
    for direction in directions:
        trial = []
        for v, e in zip(values, moved, strict=True):
            sign = rng.choice([-1, 1], v.shape) if direction is None else direction[0]
            low, high = _ends(v, e)
            trial.append(np.where(sign > 0, high, low).astype(v.dtype))
        made = compute(*trial, *attrs)
        widest = [np.maximum(w, _gap(m, b)) for w, m, b in zip(widest, made, base, strict=True)]
    return [e + (w if selects else 8 * w) for e, w in zip(error, widest, strict=True)]


def _ends(value: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if value.dtype == bool:
        return value & ~(error > 0), value | (error > 0)
    low, high = value - error, value + error
    return np.asarray(low, value.dtype), np.asarray(high, value.dtype)


def _gap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b|, 0 for equal infinities; NaN against NaN is no gap that can be measured."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype == bool:
        different: np.ndarray = a != b
        return different.astype(float)
    if a.dtype.kind == "i":
        a, b = a.astype(float), b.astype(float)
    return np.where(a == b, 0, np.abs(a - b))


_HOLDS = {
    "bool": {"int32", "int64", "float32", "float64"},
    "int32": {"int64", "float64"},
    "float32": {"float64"},
}


def is_exact_conversion(narrow: str, wide: str) -> bool:
    """Whether every value of a dtype is one of another dtype; float64 does not hold int64."""
    return wide in _HOLDS.get(narrow, ())
