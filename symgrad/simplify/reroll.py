"""Unrolled loops made arrays again: isomorphic terms of a long sum or stack, computed as one array.

A loop of Python over the elements or rows of arrays leaves a copy of its body for every iteration.
Bodies that differ only in where they read (`x[i]`) and in the numbers they use (`i / 3`) become one
body on arrays with a leading axis:

    sin(x₀) + sin(x₁) + …       →  sum(sin(x[0:n]))
    concat [f(x₀), f(x₁), …]    →  f(x[0:n])

1. *Chains* of an associative operation with many terms, and concats of many parts, are found.
2. Terms are numbered by their *shape*: two have one number if they are equal as trees, up to the
   places of windows into an array and up to the values of constants. Numbers are interned, not
   hashed. What a loop leaves is a sequence of numbers with a period.
3. The terms of such a stretch are walked side by side. That verifies that they are isomorphic, and
   gives one *template* whose leaves are sequences of windows and of constants.
4. Windows that advance evenly (in one loop or in several nested ones) are one slice of their array,
   others are gathered. The template is vectorised over the leaves with `vmap`, once for each loop.

Sums are re-associated; products keep the order of their factors. Every walk is iterative, and a
graph without long chains is looked at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from symgrad.expr.node import CONST, DEPTH_SHIFT, Expr, bind, is_const
from symgrad.expr.op import OPS, Op
from symgrad.expr.walk import rebuild, toposort
from symgrad.ops.linear import concat, permute, reshape
from symgrad.simplify.isomorphic import Roll, roll, shift
from symgrad.simplify.pattern import Rule
from symgrad.simplify.shapes import FEWEST, Shapes
from symgrad.simplify.windows import LONGEST_PERIOD

_MOST_STRETCHES = 4  # of a sum; if there are more, its terms are grouped regardless of their order
_MOST_ROUNDS = 4
_DEEPEST_FIRST_TERM = 32  # additions in the first term of a sum, which look like the sum itself

_ADD, _SUBTRACT, _CONCAT = OPS["add"], OPS["subtract"], OPS["concat"]
_REDUCED = {
    OPS[name]: reduction
    for name, reduction in (
        ("add", "sum"), ("subtract", "sum"), ("multiply", "prod"), ("maximum", "max"),
        ("minimum", "min"), ("logical_and", "all"), ("logical_or", "any"),
    )
}  # fmt: skip
_ORDERED = frozenset({"prod"})  # 1e200 · 1e-200 · … would overflow in another order

REROLL = Rule(
    "re-roll",
    "loops",
    "f(x₀) + f(x₁) + … = Σ f(x) and [f(x₀), f(x₁), …] = f(x): unrolled loops on whole arrays",
    tuple(row.name for row in _REDUCED) + ("concat",),
    parts=(),  # not tried node by node: `reroll` looks at the whole graph
)


def reroll(outs: Sequence[Expr], nodes: Sequence[Expr]) -> tuple[list[Expr], int]:
    """`outs`, whose toposorted nodes are `nodes`, with loops on arrays; how many stretches.

    A body whose values are needed outside of the loop as well would be computed twice: such a
    chain is left alone.
    """
    spines = _spines(outs, nodes)
    for _ in range(_MOST_ROUNDS):
        if not spines:
            break
        run = _Run(nodes, spines)
        new = run.outs(outs)
        wasted = run.computed_twice(new)
        if not wasted:
            return new, run.count
        spines = {root: spine for root, spine in spines.items() if root not in wasted}
    return list(outs), 0


# ---- chains ----------------------------------------------------------------------------------


def _spines(outs: Sequence[Expr], nodes: Sequence[Expr]) -> dict[Expr, list[Expr]]:
    """Root → nodes from the root downwards, for every chain or concat worth a look."""
    long, length = False, dict[Expr, int]()
    for node in nodes:
        row = node.op
        if row in _REDUCED:
            family = _REDUCED[row]
            longest = 1
            for a in node.args:
                if a in length and length[a] >= longest and _REDUCED[a.op] == family:
                    longest = length[a] + 1
            length[node] = longest
            long = long or longest >= FEWEST - 1
        elif row is _CONCAT and len(node.args) >= FEWEST:
            long = True
    if not long:
        return {}
    uses = dict.fromkeys(length, 0)
    for node in nodes:
        for a in node.args:
            if a in uses:
                uses[a] += 1
    for o in outs:
        if o in uses:
            uses[o] += 1
    return _single_use_spines(nodes, uses)


def _single_use_spines(nodes: Sequence[Expr], uses: dict[Expr, int]) -> dict[Expr, list[Expr]]:
    length: dict[Expr, int] = {}
    below: dict[Expr, Expr] = {}
    for node in nodes:
        if node not in uses:
            continue
        family = _REDUCED[node.op]
        length[node] = 1
        for a in node.args:
            if a in length and uses[a] == 1 and _REDUCED[a.op] == family:
                if length[a] >= length[node]:
                    length[node], below[node] = length[a] + 1, a
    inner = set(below.values())
    result = {}
    for node in nodes:
        if node in length:
            boolean = node.dtype == "bool" and _REDUCED[node.op] not in ("all", "any")
            if node in inner or length[node] < FEWEST - 1 or boolean:
                continue
            spine = [node]
            while spine[-1] in below:
                spine.append(below[spine[-1]])
            terms = [a for v in spine for a in v.args if a is not below.get(v)]
        elif node.op is _CONCAT and len(node.args) >= FEWEST:
            spine, terms = [node], list(node.args)
        else:
            continue
        if _alike(terms):
            result[node] = spine
    return result


def _alike(terms: Sequence[Expr]) -> bool:
    """Whether some terms may have one shape: in a recurrence every term is deeper than the last."""
    depths = Counter([t.order >> DEPTH_SHIFT for t in terms if t.op is not CONST])
    return 2 * max(depths.values(), default=0) >= FEWEST


class _Run:
    """One pass from arguments to users in which every chain of `spines` is tried."""

    def __init__(self, nodes: Sequence[Expr], spines: dict[Expr, list[Expr]]) -> None:
        self.nodes = nodes
        self.spines = spines
        self.inner = {v for spine in spines.values() for v in spine[1:]}
        self.shapes = Shapes(nodes)
        self.mapped: dict[Expr, Expr] = {}
        self.bodies: dict[Expr, list[Expr]] = {}  # root → nodes that its templates replace
        self.count = 0

    def outs(self, outs: Sequence[Expr]) -> list[Expr]:
        for node in self.nodes:
            if node in self.spines:
                self.mapped[node] = self.rolled(node)
            elif node not in self.inner:
                self.rebuild(node)
        return [self.mapped.get(o, o) for o in outs]

    def rebuild(self, node: Expr) -> Expr:
        mapped = self.mapped
        for a in node.args:
            if a in mapped:
                new = rebuild(node, tuple([mapped.get(a, a) for a in node.args]))
                if new is not node:
                    mapped[node] = new
                return new
        return node

    def computed_twice(self, outs: Sequence[Expr]) -> set[Expr]:
        """Roots of which many replaced nodes are still there."""
        if not self.bodies:
            return set()
        alive = set(toposort(outs))
        return {
            root
            for root, body in self.bodies.items()
            if 4 * sum(node in alive for node in body) > len(body)
        }

    def rolled(self, root: Expr) -> Expr:
        if root.op is _CONCAT:
            return self.concat(root)
        spine = self.spines[root]
        first = spine[:0:-1][:_DEEPEST_FIRST_TERM]
        for node in first:
            self.rebuild(node)
        terms = self.terms(spine, set(first))
        if any(t.dtype != root.dtype for _, t in terms):
            groups = []
        else:
            groups = self.groups(terms, _REDUCED[root.op] in _ORDERED)
        items: dict[int, tuple[int, Expr]] = dict(enumerate(terms))
        for group in groups:
            for made in roll(group, [[terms[k][1] for k in row] for row in group], self.shapes):
                total = _total(made, [terms[k][0] for k in made.rows[0]], root.op)
                if total is None:
                    continue
                self.note(root, made)
                for row in made.rows:
                    for k in row:
                        del items[k]
                items[made.rows[0][0]] = total
        if len(items) == len(terms):
            for node in spine[::-1]:
                self.rebuild(node)
            return self.mapped.get(root, root)
        return _fold([items[k] for k in sorted(items)], root.op)

    def note(self, root: Expr, made: Roll) -> None:
        self.count += 1
        self.bodies.setdefault(root, []).extend(made.template.body)

    def terms(self, spine: list[Expr], first: set[Expr]) -> list[tuple[int, Expr]]:
        """(sign, term) of a chain, in the order in which the user added them."""
        mapped, number = self.mapped, self.shapes.number
        result: list[tuple[int, Expr]] = []
        seen: set[tuple[int, int]] = set()
        sign = 1
        for node, below in pairwise(spine):
            if node in first and (sign, number(mapped.get(node, node))) in seen:
                break  # the first term is itself a sum
            a, b = node.args
            other = b if a is below else a
            minus = node.op is _SUBTRACT
            term = mapped.get(other, other)
            result.append((-sign if minus and other is b else sign, term))
            seen.add((result[-1][0], number(term)))
            sign = -sign if minus and other is a else sign
        else:
            node = spine[-1]
        value = mapped.get(node, node)
        if node in first and (sign, number(value)) in seen:
            return self.in_order([(sign, value), result.pop()], result[::-1])
        a, b = [mapped.get(x, x) for x in node.args]
        ends = [(sign, a), (-sign if node.op is _SUBTRACT else sign, b)]
        return self.in_order(ends, result[::-1])

    def in_order(
        self, ends: list[tuple[int, Expr]], rest: list[tuple[int, Expr]]
    ) -> list[tuple[int, Expr]]:
        """The first two terms of a sum, which were sorted, put back before the others."""
        if len(rest) < 2:
            return ends + rest
        symbols = [self.symbol(t) for t in rest]
        for p in range(1, min(LONGEST_PERIOD, len(rest) - 1) + 1):
            for pair in (ends, ends[::-1]):
                row = [self.symbol(t) for t in pair] + symbols
                if row[:2] == row[p : p + 2]:
                    if row[0] == row[1] and p == 1:
                        places = [self.shapes.place[t] for _, t in (*ends, *rest[:2])]
                        if shift(*places[1:3]) != shift(*places[2:4]):
                            pair = ends[::-1]
                    return pair + rest
        for pair in (ends, ends[::-1]):  # where the sum starts with something else
            if self.symbol(pair[1]) in symbols[:LONGEST_PERIOD]:
                return pair + rest
        return ends + rest

    def symbol(self, term: tuple[int, Expr]) -> tuple[int, int]:
        return term[0], self.shapes.number(term[1])

    def groups(self, terms: list[tuple[int, Expr]], ordered: bool) -> list[list[list[int]]]:
        """Groups of positions: each a list of iterations, each a list of terms."""
        symbols = [self.symbol(t) for t in terms]
        stretches = list(_stretches(symbols))
        if ordered:
            return stretches
        if len(stretches) > _MOST_STRETCHES:
            stretches = []
        taken = {k for rows in stretches for row in rows for k in row}
        families: dict[Any, list[list[int]]] = {}
        for k, symbol in enumerate(symbols):
            if k not in taken:
                families.setdefault(symbol, []).append([k])
        return stretches + [rows for rows in families.values() if len(rows) >= FEWEST]

    def concat(self, root: Expr) -> Expr:
        axis = root.attrs[0]
        parts = [self.mapped.get(a, a) for a in root.args]
        items: dict[int, Expr] = dict(enumerate(parts))
        for group in _stretches([self.shapes.number(p) for p in parts]):
            for made in roll(group, [[parts[k] for k in row] for row in group], self.shapes):
                joined = _joined(made, axis)
                if joined is None:
                    continue
                self.note(root, made)
                for row in made.rows:
                    for k in row:
                        del items[k]
                items[made.rows[0][0]] = joined
        if len(items) == len(parts):
            return self.rebuild(root)
        return concat([items[k] for k in sorted(items)], axis)


def _stretches(symbols: Sequence[Any]) -> Iterator[list[list[int]]]:
    """Positions of stretches that repeat with a short period: a list of iterations each."""
    start, n = 0, len(symbols)
    while start + FEWEST <= n:
        covered, period = 0, 0
        for p in range(1, LONGEST_PERIOD + 1):
            stop = start + p
            if stop > n or (p > 1 and covered >= n - start - p):
                break
            while stop < n and symbols[stop] == symbols[stop - p]:
                stop += 1
            count = (stop - start) // p
            if count >= FEWEST and count * p > covered:
                covered, period = count * p, p
        if covered:
            yield [list(range(k, k + period)) for k in range(start, start + covered, period)]
        start += covered or 1


def _fold(items: list[tuple[int, Expr]], row: Op) -> Expr:
    """The signed terms put together again; 0 + Σ is Σ."""
    if _REDUCED[row] != "sum":
        total = items[0][1]
        for _, term in items[1:]:
            total = bind(row, total, term)
        return total
    items = [t for t in items if not is_const(t[1], 0)] or items[:1]
    lead = next((k for k, (sign, _) in enumerate(items) if sign > 0), 0)
    sign, total = items.pop(lead)
    total = -total if sign < 0 else total
    for sign, term in items:
        total = bind(_ADD if sign > 0 else _SUBTRACT, total, term)
    return total


def _total(made: Roll, signs: list[int], row: Op) -> tuple[int, Expr] | None:
    """The reduction of one stretch of a chain, with its sign."""
    sign = 1 if 1 in signs else -1
    body = _fold([(s * sign, o) for s, o in zip(signs, made.template.outs, strict=True)], row)
    arrays = made.vectorised([body])
    if arrays is None:
        return None
    return sign, bind(_REDUCED[row], arrays[0], attrs=(tuple(range(len(made.loops))),))


def _joined(made: Roll, axis: int) -> Expr | None:
    """The parts of one stretch of a concat as one part."""
    if not made.even and all(node.op.moves is not None for node in made.template.body):
        return None  # a gather is no better than reading the elements where they are
    arrays = made.vectorised(made.template.outs)
    if arrays is None:
        return None
    n, k = len(made.rows), len(made.loops)
    shape = arrays[0].shape[k:]
    if len(arrays) == 1 and shape[axis] == 1:
        rest = (*shape[:axis], *shape[axis + 1 :])
        stacked = reshape(arrays[0], (n, *rest))
        return permute(stacked, (*range(1, axis + 1), 0, *range(axis + 1, stacked.ndim)))
    joined = concat([reshape(a, (n, *a.shape[k:])) for a in arrays], axis + 1)
    moved = permute(joined, (*range(1, axis + 1), 0, *range(axis + 1, joined.ndim)))
    merged = n * moved.shape[axis + 1]
    return reshape(moved, (*moved.shape[:axis], merged, *moved.shape[axis + 2 :]))
