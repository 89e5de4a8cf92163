"""Translation validation of rewrites: both sides are evaluated and have to agree.

Off unless the environment variable SYMGRAD_CHECK_REWRITES is set (to anything but 0), as the test
suite does: then every rewrite that fires is evaluated before and after, and `RewriteError` names
the rule, both sides and the numbers at which they differ. Off, it costs one look at a flag for each
rewrite.

1. The nodes that both sides share become free variables, so a rule is checked for all that may
   stand there and not for what stood there. One that is a function of another is computed from it:
   a rule may know that m is the maximum of x. If the sides differ then, what is below is taken into
   account step by step, since a rule may look through a node and make it again. Integers (indices)
   are never free.
2. The variables take normal numbers, numbers in (0, 1), many zeros, ones and ties, and numbers of
   very different magnitude. A variable that is known to be never negative gets no negative ones.
   If all operations are elementwise, one row of points stands for any shape.
3. Every value is computed with a bound of its rounding error (running error analysis): each
   operation is evaluated at its arguments and at their ends, and makes a few roundings of its own.
   The sides may differ by the sum of both bounds and no more. So sums that cancel are compared as
   exactly as they were computed, and a wrong sign or a missing term shows wherever the numbers are
   well conditioned. Where a bound is infinite nothing is compared, but a finite value may not have
   become infinite or NaN, whatever overflowed on the way; in contractions only if nothing did.

What was checked once is not checked again: rewrites are known by their rule and by both sides up to
the names of variables. That table is the only state, and grows by one number for each of them.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import os
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.errors import RewriteError
from symgrad.expr.node import ARG, CONST, FLOATS, Expr, const_value
from symgrad.expr.op import Kind, Op

VARIABLE = "SYMGRAD_CHECK_REWRITES"
_MOST_NODES = 20_000
_MOST_ELEMENTS = 2_000_000  # evaluated for one check: larger ones would need a minute
_ROUNDS = 4
_POINTS = 48  # of elementwise rules
_ROUNDINGS = {True: 32.0, False: 2.0}  # of a function, of arithmetic; in units of eps
_CHEAP = 5  # cost of a row up to which it is arithmetic
_SLACK = 4.0  # the bounds are of first order
_DEPENDENT = 16  # nodes below a shared one that are searched for another one
_MOST_OPENED = 12
_PATTERNS = 4  # random signs of the errors of what is not elementwise

_checked: set[int] = set()
_special: set[int] = set()  # that do not hold for all that may stand below
counts = {"checked": 0, "repeated": 0, "too large": 0, "undefined": 0, "void": 0}

Value = tuple[np.ndarray, np.ndarray]  # and a bound of its error; for bool 1 where it may be wrong


def enabled() -> bool:
    """Whether rewrites are to be checked."""
    return os.environ.get(VARIABLE, "0") != "0"


@np.errstate(all="ignore")
def check_rewrite(
    rule: str,
    before: Sequence[Expr],
    after: Sequence[Expr],
    nonnegative: Callable[[Expr], bool] = lambda node: False,
) -> None:
    """Raise RewriteError unless `before` and `after` have the same values.

    nonnegative : whether a node is known to be >= +0.0 or NaN, for variables that rules ask about
    """
    pairs = [(b, a) for b, a in zip(before, after, strict=True) if b is not a]
    if not pairs:
        return
    cut = _Cut([b for b, _ in pairs], [a for _, a in pairs])
    for opened in range(_MOST_OPENED + 1):
        if cut.too_large:
            counts["too large"] += 1
            return
        signed = {leaf: not nonnegative(leaf) for leaf in cut.leaves if leaf.op is not ARG}
        key = hash((rule, cut.spelled(signed)))
        if key in _checked:
            counts["repeated"] += not opened
            return
        if key not in _special:
            counts["checked"] += 1
            flaw = _compare(rule, pairs, cut, signed)
            if flaw is None:
                _checked.add(key)
                return
            _special.add(key)
        if opened == _MOST_OPENED or not cut.deepen():
            # evaluated again: the same rewrite is refused as often as it is made
            raise RewriteError(_compare(rule, pairs, cut, signed))


def validated(rule: str, before: Sequence[Expr], after: Sequence[Expr]) -> list[Expr]:
    """`after`, checked against `before` where rewrites are to be checked."""
    if enabled():
        check_rewrite(rule, before, after)
    return list(after)


def _compare(
    rule: str, pairs: list[tuple[Expr, Expr]], cut: _Cut, signed: dict[Expr, bool]
) -> str | None:
    """What differs between the sides, or None; the same in every process."""
    spelling = " ".join([rule, *(node.name for node in cut.nodes)])
    rng = np.random.default_rng(zlib.crc32(spelling.encode()))
    points = _POINTS if cut.is_elementwise else None
    informative = False
    for kind in range(_ROUNDS):
        values = {n: _sample(n, signed.get(n, True), kind, points, cut, rng) for n in cut.leaves}
        try:
            known = _evaluate(cut.nodes, values, points, rng)
        except (IndexError, ValueError, np.linalg.LinAlgError):  # an index, a matrix, a power
            counts["undefined"] += 1
            continue
        # a delta's zero times an infinity is NaN wherever the rule has put it
        strict = cut.is_elementwise or all(
            np.isfinite(v).all() for n, (v, _) in known.items() if cut.side[n] & 1
        )
        for b, a in pairs:
            wrong, compared = _differ(known[b], known[a], strict)
            informative = informative or compared
            if wrong is not None:
                return _report(rule, b, a, known, cut, wrong)
    counts["void"] += not informative
    return None


# ---- which nodes are computed, and which are variables ------------------------------------------


class _Cut:
    """The nodes of two graphs down to what they share.

    nodes : to compute, arguments first
    leaves : those that are variables: arguments, and what both sides share
    """

    def __init__(self, before: Sequence[Expr], after: Sequence[Expr]) -> None:
        self.before, self.after = before, after
        self.side: dict[Expr, int] = {}
        self.numbers = itertools.count()
        self.heap: list[tuple[int, int, Expr]] = []
        self.leaves: dict[Expr, None] = {}
        self.nodes: list[Expr] = []
        self.smallest_axis = 1 << 40
        self.elements = 0
        self.is_elementwise = True
        for roots, bit in ((before, 1), (after, 2)):
            for root in roots:
                self.reach(root, bit)
        self.settle()

    def settle(self) -> None:
        """Walk on, and open variables that are functions of others."""
        self.walk()
        while not self.too_large:
            several = len(self.leaves) > 1
            dependent = [n for n in self.leaves if several and n.args and self.depends(n)]
            if not dependent:
                break
            for node in dependent:
                del self.leaves[node]
                self.open(node)
            self.walk()
        self.nodes.sort(key=lambda n: n.order)

    def deepen(self) -> bool:
        """Compute the variables from their arguments; whether there were any to compute."""
        wanted = [n for n in self.leaves if n.args]
        for node in wanted:
            del self.leaves[node]
            self.open(node)
        self.settle()
        return bool(wanted)

    @property
    def too_large(self) -> bool:
        few = self.is_elementwise or self.elements <= _MOST_ELEMENTS
        return len(self.nodes) > _MOST_NODES or not few

    def reach(self, node: Expr, bit: int) -> None:
        if node not in self.side:
            heapq.heappush(self.heap, (-node.order, next(self.numbers), node))
        self.side[node] = self.side.get(node, 0) | bit

    def open(self, node: Expr) -> None:
        self.nodes.append(node)
        self.elements += _work(node)
        if node.op.kind is not Kind.ELEMENTWISE and node.op is not CONST:
            self.is_elementwise = False
        for a in node.args:
            self.reach(a, self.side[node])
        if node.name == "gather":
            self.smallest_axis = min(self.smallest_axis, node.args[0].shape[node.attrs[0]])
        elif node.name == "scatter_add":
            self.smallest_axis = min(self.smallest_axis, node.attrs[1])

    def walk(self) -> None:
        """From the deepest node on: all users of a node are seen before it."""
        while self.heap and len(self.nodes) <= _MOST_NODES:
            node = heapq.heappop(self.heap)[2]
            free = self.side[node] == 3 and (node.dtype in FLOATS or node.dtype == "bool")
            if node.op is ARG or (free and node.args):
                self.leaves[node] = None
            else:
                self.open(node)

    def depends(self, node: Expr) -> bool:
        """Whether another variable is near below."""
        stack, seen = list(node.args), set(node.args)
        while stack:
            n = stack.pop()
            if n in self.leaves:
                return True
            if len(seen) < _DEPENDENT:
                for a in n.args:
                    if a not in seen:
                        seen.add(a)
                        stack.append(a)
        return False

    def spelled(self, signed: dict[Expr, bool]) -> tuple[Any, ...]:
        """Both sides, up to the names of variables, and to the shape of what is elementwise."""
        shapes = not self.is_elementwise
        number: dict[Expr, int] = {}
        items: list[Any] = []
        opened = set(self.nodes)
        stack = [*self.after[::-1], *self.before[::-1]]
        while stack:
            node = stack[-1]
            if node in number:
                stack.pop()
                continue
            if node in opened:
                waiting = [a for a in node.args if a not in number]
                if waiting:
                    stack.extend(reversed(waiting))
                    continue
                attrs = node.attrs[:2] if node.op is CONST and not shapes else node.attrs
                items.append((node.name, attrs, *[number[a] for a in node.args]))
            else:
                items.append((node.dtype, node.shape if shapes else None, signed.get(node)))
            number[node] = len(number)
            stack.pop()
        return (*items, *[number[n] for n in (*self.before, *self.after)])


def _work(node: Expr) -> int:
    """Operations of a node, roughly."""
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


# ---- values of variables ------------------------------------------------------------------------

_SPECIAL = np.array([0.0, 0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 3.0])


def _sample(
    node: Expr, signed: bool, kind: int, points: int | None, cut: _Cut, rng: np.random.Generator
) -> np.ndarray:
    shape = node.shape if points is None else (points,)
    if node.dtype == "bool":
        return rng.random(shape) < 0.5
    if node.dtype not in FLOATS:
        most = min(cut.smallest_axis, 5)
        return rng.integers(-most if kind % 2 else 0, max(most, 1), shape).astype(node.dtype)
    if kind == 0:
        value = rng.normal(size=shape)
    elif kind == 1:
        value = rng.uniform(0.05, 0.95, shape)
    elif kind == 2:
        value = rng.choice(_SPECIAL, shape)
    else:
        widest = 6.0 if node.dtype == "float64" else 3.0
        value = 10.0 ** rng.uniform(-widest, widest, shape) * rng.choice([-1, 1], shape)
    return np.asarray(value if signed else np.abs(value), node.dtype)


# ---- values with bounds of their errors ---------------------------------------------------------


def _evaluate(
    nodes: Sequence[Expr],
    values: dict[Expr, np.ndarray],
    points: int | None,
    rng: np.random.Generator,
) -> dict[Expr, Value]:
    known: dict[Expr, Value] = {
        n: (v, np.zeros(v.shape, _error_type(n.dtype))) for n, v in values.items()
    }
    for node in nodes:
        if node.op is CONST and points is not None:
            value = np.full(points, const_value(node))
            known[node] = value, np.zeros(points, _error_type(node.dtype))
            continue
        value, error = _value(node, [known[a] for a in node.args], rng)
        value = np.asarray(value, node.dtype)
        error = np.broadcast_to(np.asarray(error, _error_type(node.dtype)), value.shape)
        known[node] = value, np.where(np.isnan(error), np.inf, error)
    return known


def _error_type(dtype: str) -> str:
    return dtype if dtype in FLOATS else "float64"


def _value(node: Expr, args: list[Value], rng: np.random.Generator) -> Value:
    row, attrs = node.op, node.attrs
    values, errors = [v for v, _ in args], [e for _, e in args]
    if not args:
        value = np.asarray(row.evaluate(*attrs))
        return value, np.zeros(value.shape)
    base = np.asarray(row.evaluate(*values, *attrs))
    eps = float(np.finfo(node.dtype).eps) if node.dtype in FLOATS else 0.0
    if node.name == "select":
        error = np.where(values[0], errors[1], errors[2])
        return base, np.where(
            errors[0] > 0, np.maximum(error, _gap(values[1], values[2]) + errors[1] + errors[2]),
            error,
        )  # fmt: skip
    if row.kind is Kind.ELEMENTWISE or node.name == "convert":
        error = _rounding(node, base, values, eps)
        for k, e in enumerate(errors):
            if e.any():
                ends = [row.evaluate(*values[:k], x, *values[k + 1 :], *attrs)
                        for x in _ends(values[k], e)]  # fmt: skip
                error = error + np.maximum(*[_gap(x, base) for x in ends])
        return base, error
    if row.kind is Kind.LINEAR:
        return base, _linear(node, values, errors, eps)
    if row.kind is Kind.EINSUM:
        if not eps:
            return base, np.zeros(base.shape)
        sizes = [np.abs(v) for v in values]
        size = row.evaluate(*sizes, *attrs)
        error = eps * (_work(node) / max(base.size, 1) + len(args)) * size
        if any(e.any() for e in errors):
            wide = [s + e for s, e in zip(sizes, errors, strict=True)]
            error = error + np.abs(row.evaluate(*wide, *attrs) - size)
        return base, error
    return base, _otherwise(node, base, values, errors, eps, rng)


def _rounding(
    node: Expr, base: np.ndarray, values: Sequence[np.ndarray], eps: float
) -> np.ndarray:
    """What an elementwise operation adds to the errors of its arguments."""
    if not eps or _is_exact(node.op):
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
def _is_exact(row: Op) -> bool:
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
    row, attrs = node.op, node.attrs
    selects = row.combine is not None and row.combine[0] not in ("+", "*")
    moved = errors
    if not selects:
        moved = [
            np.maximum(e, eps * np.abs(v)) if v.dtype.kind == "f" else e
            for v, e in zip(values, errors, strict=True)
        ]
    error = np.zeros(base.shape) if selects else 32 * eps * np.abs(base)
    if not any(e.any() for e in moved):
        return error
    widest = np.zeros(base.shape)
    directions: list[Any] = [(1, 1), (-1, -1), *[None] * _PATTERNS]
    for direction in directions:
        trial = []
        for v, e in zip(values, moved, strict=True):
            sign = rng.choice([-1, 1], v.shape) if direction is None else direction[0]
            low, high = _ends(v, e)
            trial.append(np.where(sign > 0, high, low).astype(v.dtype))
        widest = np.maximum(widest, _gap(np.asarray(row.evaluate(*trial, *attrs)), base))
    return error + (widest if selects else 8 * widest)


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


# ---- judging ------------------------------------------------------------------------------------


def _differ(before: Value, after: Value, strict: bool) -> tuple[int | None, bool]:
    """Where the sides differ for certain (a flat index), and whether anything was compared.

    strict : a finite value may not become infinite or NaN, unless none of its digits is known
    """
    (old, old_error), (new, new_error) = before, after
    if old.dtype.kind == "f":
        finite = np.isfinite(old)
        lost = finite & ~np.isfinite(new) & strict & (old_error <= np.abs(old))
        bound = _SLACK * (old_error + new_error) + np.finfo(old.dtype).tiny
        wrong = lost | (finite & np.isfinite(new) & (np.abs(old - new) > bound))
        compared = finite & np.isfinite(bound)
    else:
        certain = (old_error == 0) & (new_error == 0)
        wrong = certain & (old != new)
        compared = certain
    found = np.flatnonzero(wrong)
    return (int(found[0]) if found.size else None), bool(compared.any() or not old.size)


def _report(
    rule: str, before: Expr, after: Expr, known: dict[Expr, Value], cut: _Cut, at: int
) -> str:
    lines: list[str] = []
    names: dict[Expr, str] = {}
    for node in sorted(known, key=lambda n: n.order):
        names[node] = f"v{len(names)}"
        args = ", ".join(names[a] for a in node.args) if node not in cut.leaves else ""
        attrs = "" if node in cut.leaves else f" {node.attrs}"
        what = "any" if node in cut.leaves else node.name
        shown = np.array2string(known[node][0], threshold=8, edgeitems=3).replace("\n", "")
        lines.append(f"  {names[node]} = {what}({args}){attrs} {node.dtype}{list(node.shape)}"
                     f" = {shown}")  # fmt: skip
    if len(lines) > 60:
        lines = [*lines[:30], "  …", *lines[-30:]]
    (old, old_error), (new, new_error) = known[before], known[after]
    return "\n".join([
        f"rule {rule!r} changed {names[before]} to {names[after]}; at element {at} "
        f"{old.flat[at]!r} became {new.flat[at]!r} "
        f"(error bounds {old_error.flat[at]:.1e}, {new_error.flat[at]:.1e})", *lines,
    ])  # fmt: skip
