"""Loops of a graph split: what no later round needs is computed for all rounds at once.

In: a graph ready for lowering. Out: an equal one, whose long scans keep what is a recurrence.

    before the loop   what a round computes of rows of `xs` alone, handed in as rows of one more
    the loop          what a round hands on to the next one, and what that needs
    behind the loop   what only stacked results or sums over all rounds need, from rows that the
                      loop keeps

A round of a recurrence is never a vector, the rest of it then is. Both choices are minimum cuts: an
operation that leaves the loop saves what it costs there, a row that is kept or handed in costs
memory traffic. Only operations without a failure and without a choice leave a loop, and only of
loops all of whose rounds take place, so nothing is computed that was not. Sums are added up by
blocks then, as others are: their error does not grow with the number of rounds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from symgrad.diff.modes import vmap
from symgrad.expr.node import FLOATS, Expr
from symgrad.expr.op import Kind
from symgrad.expr.validate import validated
from symgrad.expr.walk import depends_on, rebuild, substitute, toposort, users
from symgrad.lower.recurrence import all_rounds, movable, parameters, row_bytes, several_at_once
from symgrad.lower.tuning import Tuning
from symgrad.ops.control import SCAN
from symgrad.ops.cut import NEVER, Cut
from symgrad.ops.flops import flops
from symgrad.ops.linear import sum_
from symgrad.ops.loop import Loop
from symgrad.ops.loops import reduced


def fission(outs: Sequence[Expr], tuning: Tuning) -> list[Expr]:
    """Equal `outs` with split loops; the same list if there are none."""
    nodes = toposort(outs)
    if not any(_is_long(n, tuning) for n in nodes):
        return list(outs)
    readers, results = users(nodes), set(outs)
    mapped: dict[Expr, Expr] = {}
    made: dict[Expr, Mapping[int, Expr]] = {}
    for node in nodes:
        args = tuple([mapped[a] for a in node.args])
        if node.op.kind is Kind.ITEM and node.args[0] in made:
            mapped[node] = made[node.args[0]][node.attrs[0]]
            continue
        mapped[node] = rebuild(node, args)
        if _is_long(node, tuning):
            temporary = {
                new for a, new in zip(node.args, args, strict=True)
                if new.op.kind is Kind.ELEMENTWISE and a not in results and readers[a] == [node]
            }  # fmt: skip
            found = _split(mapped[node], {r.attrs[0] for r in readers[node]}, temporary, tuning)
            if found is not None:
                made[node] = found
    return validated("fission", outs, [mapped[o] for o in outs]) if made else list(outs)


def _is_long(node: Expr, tuning: Tuning) -> bool:
    if node.op is not SCAN or node.attr("counted"):
        return False
    return bool(node.attr("length") >= tuning.split_from_rounds)


def _split(
    node: Expr, used: set[int], temporary: set[Expr], tuning: Tuning
) -> Mapping[int, Expr] | None:
    """The results of a scan that are `used`, by position; None if it stays as it is.

    temporary : operands that are computed for this loop alone
    """
    loop = Loop.of(node, opened=False)
    if len(toposort(loop.outs)) > tuning.split_nodes:
        return None
    behind = _Behind(loop, used, tuning)
    several = several_at_once(loop, behind.terms, list(behind.ys.values()), tuning)
    if several is not None:
        return behind.results(set(behind.terms), *several)
    behind.choose()
    before = _Before(behind.loop, temporary, tuning)
    if not behind.outside and not before.handed:
        return None
    rest = before.loop
    final, _, rows = rest.results() if rest.carry or rest.ys else ([], None, [])
    if not behind.outside:
        return dict(enumerate([*final, *rows]))
    stay = [k for k in range(len(loop.carry)) if k not in behind.outside]
    return behind.results(
        behind.outside,
        dict(zip(stay, final, strict=True)),
        dict(zip(behind.kept, rows, strict=True)),
    )


class _Behind:
    """What can be computed behind a loop.

    terms : by position in the carry, what each round adds to a value that nothing else reads, or
        joins to a bool
    roots : values of a round that are wanted, by ("term", position) or ("y", number)
    outside : nodes of the body, and terms by position, that are computed behind the loop
    kept : what the loop stacks for these
    loop : what is left
    """

    def __init__(self, loop: Loop, used: set[int], tuning: Tuning) -> None:
        self.whole, self.tuning, n = loop, tuning, len(loop.carry)
        self.terms = {k: term for k in range(n) if (term := self._term(k)) is not None}
        self.ys = {k: y for k, y in enumerate(loop.ys) if n + k in used}
        self.outside: set[Expr | int] = set()
        self.kept: list[Expr] = []
        core = [new for k, (_, _, new) in enumerate(loop.carry) if k not in self.terms]
        nodes = toposort([*self.terms.values(), *self.ys.values(), *core])
        moving = depends_on(nodes, [a for _, a, _ in loop.carry] + [a for _, a in loop.xs])
        self.nodes = [x for x in nodes if x in moving]
        stuck = [x for x in self.nodes if x.op.kind is not Kind.SOURCE and not movable(x)]
        self.inside = set(toposort([*core, *stuck]))
        self.inside.update(a for _, a, _ in loop.carry)
        self.free = {a for _, a in loop.xs}
        self.loop = loop

    def _term(self, k: int) -> Expr | None:
        """What a round adds to number `k` of the carry, if that is all that it does with it."""
        _, a, new = self.whole.carry[k]
        others = [o for j, o in enumerate(self.whole.outs) if j != k]
        if new.op.accumulates not in ("+", "||") or a not in new.args:
            return None
        if a.dtype not in FLOATS and (a.dtype != "bool" or a.shape):
            return None
        term = new.args[1] if new.args[0] is a else new.args[0]
        return None if a in toposort([*others, term]) else term

    def choose(self) -> None:
        """The cheapest cut: on the side of the start is what is computed behind the loop."""
        number = {x: k for k, x in enumerate(self.nodes)}
        first = len(number)
        sums = {k: 2 * first + j for j, k in enumerate(self.terms)}
        start, end = 2 * first + len(sums), 2 * first + len(sums) + 1
        cut = Cut(end + 1)
        seen: dict[object, int] = {}
        stacked = set(self.ys.values())

        def read(a: Expr, by: int) -> None:
            """`by` reads `a`: behind the loop together, or `a` is kept for it."""
            if a in number and a not in self.free:
                cut.edge(number[a], by, NEVER)
                cut.edge(by, first + number[a], NEVER)

        for x, k in number.items():
            if x in self.free:
                continue
            if x in self.inside:
                cut.edge(k, end, NEVER)
            else:
                cut.edge(start, k, flops(x, seen))
            cut.edge(first + k, k, 0 if x in stacked else self._price(x))
            for a in dict.fromkeys(x.args):
                read(a, k)
        for k, at in sums.items():
            cut.edge(start, at, self.terms[k].size)
            read(self.terms[k], at)
        near = cut.near(start, end)
        chosen: set[Expr | int] = {x for x, k in number.items() if k in near}
        chosen |= {k for k, at in sums.items() if at in near}
        self.kept = self._needed(chosen)
        if self._pays(chosen, seen):
            self.outside = chosen
            self.loop = self._rest()

    def _needed(self, chosen: set[Expr | int]) -> list[Expr]:
        """What the loop has to stack."""
        read = [a for x in chosen if isinstance(x, Expr) for a in x.args]
        read += [self.terms[x] for x in chosen if isinstance(x, int)]
        found = {*read, *self.ys.values()} - chosen - self.free
        return [x for x in self.nodes if x in found]

    def _pays(self, chosen: set[Expr | int], seen: dict[object, int]) -> bool:
        """Whether that is worth it, and has room."""
        stacked, rounds = set(self.ys.values()), self.whole.length
        assert rounds is not None
        gain = sum(flops(x, seen) for x in chosen if isinstance(x, Expr))
        gain += sum(self.terms[x].size for x in chosen if isinstance(x, int))
        more = [x for x in self.kept if x not in stacked]
        rows = [x for x in chosen if isinstance(x, Expr) and x.op.kind is not Kind.EINSUM]
        largest = max([row_bytes(x) for x in (*more, *rows)], default=0)
        size = rounds * max(largest, sum(map(row_bytes, more)))
        no_loop = not self.kept and chosen.issuperset(range(len(self.whole.carry)))
        worth = gain - sum(map(self._price, more)) >= self.tuning.split_from_cost or no_loop
        return worth and size <= self.tuning.split_bytes

    def _price(self, x: Expr) -> int:
        return x.size * self.tuning.row_cost

    def _rest(self) -> Loop:
        """The loop without what is computed behind it."""
        rest = self.whole.copy()
        rest.carry = [c for k, c in enumerate(rest.carry) if k not in self.outside]
        rest.ys = list(self.kept)
        return rest

    def results(
        self, outside: Collection[Expr | int], final: Mapping[int, Expr], rows: Mapping[Expr, Expr]
    ) -> Mapping[int, Expr]:
        """By position, from what the loop leaves of its carry, and what it stacks."""
        n = len(self.whole.carry)
        found = dict(final)
        later = {n + k: y for k, y in self.ys.items() if y not in rows}
        later |= {k: t for k, t in self.terms.items() if k in outside}
        made = dict(zip(later, all_rounds(self.whole, list(later.values()), rows), strict=True))
        for k, value in made.items():
            if k >= n:
                found[k] = value
                continue
            start, a, new = self.whole.carry[k]
            total = reduced(value) if a.dtype == "bool" else sum_(value, (0,))
            found[k] = rebuild(new, (start, total))
        return found | {n + k: rows[y] for k, y in self.ys.items() if y in rows}


class _Before:
    """What can be computed before a loop: operations on rows of `xs` and what all rounds share.

    handed : values of a round that are rows of new `xs`
    loop : what is left
    """

    def __init__(self, loop: Loop, temporary: set[Expr], tuning: Tuning) -> None:
        self.loop, self.tuning, self.handed = loop, tuning, list[Expr]()
        self.temporary = {a for v, a in loop.xs if v in temporary}
        nodes = toposort(loop.outs)
        rows = [a for _, a in loop.xs]
        own = depends_on(nodes, rows)
        carried = depends_on(nodes, [a for _, a, _ in loop.carry])
        stuck = [x for x in nodes if x.op.kind is not Kind.SOURCE and not movable(x)]
        after = depends_on(nodes, stuck)
        self.nodes = [x for x in nodes if x in own]
        self.outs = set(loop.outs)
        self.fixed = {x for x in self.nodes if x in carried or x in after}
        if len(self.fixed) + len(rows) < len(self.nodes):
            self._choose(set(rows))

    def _choose(self, rows: set[Expr]) -> None:
        """The cheapest cut: on the side of the start is what is computed before the loop."""
        number = {x: k for k, x in enumerate(self.nodes)}
        first = len(number)
        start, end = 2 * first, 2 * first + 1
        cut = Cut(end + 1)
        seen: dict[object, int] = {}
        for x, k in number.items():
            if x in rows:
                cut.edge(start, k, NEVER)
            elif x in self.fixed:
                cut.edge(k, end, NEVER)
            else:
                cut.edge(start, k, flops(x, seen))
            there = x in rows and x not in self.temporary
            cut.edge(k, first + k, 0 if there else x.size * self.tuning.row_cost)
            if x in self.outs:
                cut.edge(first + k, end, NEVER)
            for a in dict.fromkeys(x.args):
                if a in number:
                    cut.edge(first + number[a], k, NEVER)
                    if x not in self.fixed:
                        cut.edge(k, number[a], NEVER)
        near = cut.near(start, end)
        chosen = [x for x, k in number.items() if k in near and x not in rows]
        read = {a for x in self.nodes if x not in chosen for a in x.args} | self.outs
        handed = [x for x in chosen if x in read]
        gone = {a for a in self.temporary if a not in read}
        assert self.loop.length is not None
        price = (sum(x.size for x in handed) - sum(a.size for a in gone)) * self.tuning.row_cost
        worth = sum(flops(x, seen) for x in chosen) - price >= self.tuning.split_from_cost
        size = self.loop.length * sum(map(row_bytes, chosen))
        if worth and size <= self.tuning.split_bytes:
            self._hand_in(handed)

    def _hand_in(self, handed: list[Expr]) -> None:
        loop = self.loop.copy()
        assert loop.length is not None
        outside = {a: v for v, a in loop.consts}
        made = vmap(substitute(handed, outside), {a: v for v, a in loop.xs}, loop.length)
        rows = parameters(loop, handed)
        outs = substitute(loop.outs, dict(zip(handed, rows, strict=True)))
        n = len(loop.carry)
        loop.carry = [(v, a, o) for (v, a, _), o in zip(loop.carry, outs, strict=False)]
        loop.ys = outs[n:]
        loop.xs += zip(made, rows, strict=True)
        self.loop, self.handed = loop, handed
