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
3. Sides that are equal bit by bit are right. Otherwise every value is computed with a bound of its
   rounding error (running error analysis): each operation is evaluated at its arguments and at
   their ends, and makes a few roundings of its own. The sides may differ by the sum of both bounds
   and no more. So sums that cancel are compared as exactly as they were computed, and a wrong sign
   or a missing term shows wherever the numbers are well conditioned. Where a bound is infinite
   nothing is compared, but a finite value may not have become infinite or NaN, whatever overflowed
   on the way; in contractions only if nothing did.

What was checked once is not checked again: rewrites are known by their rule and by both sides up to
the names of variables. That table grows by one number for each of them. With `always` set, as the
test suite does, a rule that has fired more often since `fired` was cleared is checked one time in
eight: a derivative of fourth order applies the same rules thousands of times.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import os
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.errors import CheckFailedError, LoopLimitError, RewriteError
from symgrad.expr.limits import most_rounds
from symgrad.expr.node import ARG, CONST, FLOATS, PARAM, TUPLE, Expr
from symgrad.expr.op import Kind
from symgrad.expr.rounding import Value, bounded, evaluate_plainly, work

VARIABLE = "SYMGRAD_CHECK_REWRITES"
_MOST_NODES = 20_000
_MOST_ELEMENTS = 500_000  # evaluated for one check: larger ones would need seconds
_ROUNDS = 4
_POINTS = 48  # of elementwise rules
_SLACK = 4.0  # the bounds are of first order
_DEPENDENT = 16  # nodes below a shared one that are searched for another one
_MOST_OPENED = 12

# An index, a matrix, a power, a loop that does not end.
_MOST_ROUNDS = 300  # of a loop that made-up values may never end
_UNDEFINED = (IndexError, ValueError, np.linalg.LinAlgError, LoopLimitError, CheckFailedError)

always = 1 << 60  # times that a rule fires before it is only sampled
fired: Counter[str] = Counter()
_EIGHTH = 8
_checked: set[int] = set()
_special: set[int] = set()  # that do not hold for all that may stand below
counts = {"checked": 0, "repeated": 0, "too large": 0, "undefined": 0, "void": 0, "left out": 0}


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
    fired[rule] += 1
    if fired[rule] > always and fired[rule] % _EIGHTH:
        counts["left out"] += 1
        return
    cut = _Cut([b for b, _ in pairs], [a for _, a in pairs])
    for opened in range(_MOST_OPENED + 1):
        if cut.too_large:
            counts["too large"] += 1
            return
        signed = {leaf: not nonnegative(leaf) for leaf in cut.leaves if leaf.op not in (ARG, PARAM)}
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
            flaw = _compare(rule, pairs, cut, signed)
            raise RewriteError(flaw and flaw())


def validated(rule: str, before: Sequence[Expr], after: Sequence[Expr]) -> list[Expr]:
    """`after`, checked against `before` where rewrites are to be checked."""
    if enabled():
        check_rewrite(rule, before, after)
    return list(after)


def _compare(
    rule: str, pairs: list[tuple[Expr, Expr]], cut: _Cut, signed: dict[Expr, bool]
) -> Callable[[], str] | None:
    """What says how the sides differ, or None; the same in every process."""
    spelling = " ".join([rule, *(node.name for node in cut.nodes)])
    rng = np.random.default_rng(zlib.crc32(spelling.encode()))
    points = _POINTS if cut.is_elementwise else None
    informative = False
    for kind in range(_ROUNDS):
        values = {n: _sample(n, signed.get(n, True), kind, points, cut, rng) for n in cut.leaves}
        token = most_rounds.set(_MOST_ROUNDS)
        try:
            plain = evaluate_plainly(cut.nodes, values, points)
            if all(_are_equal(plain[b], plain[a]) for b, a in pairs):  # whatever the bounds are
                informative = True
                continue
            known = bounded(cut.nodes, plain, rng)
        except _UNDEFINED:
            counts["undefined"] += 1
            continue
        finally:
            most_rounds.reset(token)
        # a delta's zero times an infinity is NaN wherever the rule has put it
        strict = cut.is_elementwise or all(
            np.isfinite(v).all()
            for n, (v, _) in known.items()
            if cut.side[n] & 1 and n.dtype != TUPLE
        )
        for b, a in pairs:
            wrong, compared = _differ(known[b], known[a], strict)
            informative = informative or compared
            if wrong is not None:
                return functools.partial(_report, rule, b, a, known, cut, wrong)
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
        self.elements += work(node)
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
            if node.op in (ARG, PARAM) or (free and node.args):
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


# ---- judging ------------------------------------------------------------------------------------


def _are_equal(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether all elements are the same number, or both NaN."""
    return np.array_equal(before, after, equal_nan=before.dtype.kind == "f")


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
        value = known[node][0]
        shown = "several results" if node.dtype == TUPLE else (
            np.array2string(value, threshold=8, edgeitems=3).replace("\n", "")
        )  # fmt: skip
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
