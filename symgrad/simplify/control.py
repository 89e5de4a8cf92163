"""Loops and switches made smaller: named rewrites that look at a control node and who reads it.

In: a graph. Out: an equal one. Bodies are simplified by all rules first, each once. Then a loop
loses what is the same in all rounds, what nobody reads and what it has twice, and a switch loses
sides that are never taken. Nothing moves out of a side of a switch. `join` makes one loop of
loops that compute the same things, as a function and its derivative do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from symgrad.diff.modes import vmap
from symgrad.diff.support import has_pole, is_singular
from symgrad.expr.node import CONST, TUPLE, Expr, arg, bind, const, const_value, is_const
from symgrad.expr.op import Kind
from symgrad.expr.walk import depends_on, rebuild, substitute, toposort
from symgrad.ops.body import Body, item, switch
from symgrad.ops.elementwise import select
from symgrad.ops.flops import flops
from symgrad.ops.linear import broadcast, broadcast_to, concat, reshape, slice_
from symgrad.ops.loops import Loop
from symgrad.simplify.pattern import Check, Rule

_CHEAP = 10  # flops of both sides of a switch below which both are computed
_MOST_SIDES = 4
_MOST_COST = 2  # of an operation in them

Inner = Callable[[Sequence[Expr]], Sequence[Expr]]


def _rule(name: str, doc: str, roots: tuple[str, ...] = ("scan", "while")) -> Rule:
    return Rule(name, "control", doc, roots, parts=())  # whole graphs are looked at


CONTROL: list[Rule] = [
    _rule("loop-constant", "what each round hands on unchanged is the same in all rounds"),
    _rule("loop-equal", "operands and carries that are equal are one"),
    _rule("loop-unused", "what no result needs is not carried, stacked or handed in"),
    _rule("loop-invariant", "what is the same in all rounds is computed before the loop"),
    _rule("loop-rows", "rows of ys that are those of an x, or all the same, need no loop"),
    _rule("loop-short", "a loop of no round or of one is no loop"),
    _rule("loop-first", "a bool that only the first round has: that round is done before the loop"),
    _rule("loop-map", "a loop without carry is done for all rounds at once"),
    _rule("loop-join", "loops that have much in common are one"),
    _rule("switch-known", "a switch whose index is known, or with equal sides, is one of these",
          ("switch",)),
    Rule("switch-only", "checkpoint", "a switch with one side is that side, once all derivatives "
         "are taken: before, it says what they are not to keep", ("switch",), parts=()),
    _rule("switch-unused", "what no side needs is not handed in, what nobody reads not computed",
          ("switch",)),
    _rule("switch-cheap", "(i ? a : b) as a selection where both sides are cheap and safe",
          ("switch",)),
]  # fmt: skip


def restructured(
    outs: Sequence[Expr], inner: Inner, enabled: frozenset[str], check: Check | None
) -> tuple[list[Expr], dict[str, int]]:
    """Equal outputs with smaller control nodes, and which rules led there.

    inner : simplifies the results of bodies
    """
    return _Pass(outs, inner, enabled, check).run()


class _Pass:
    def __init__(
        self, outs: Sequence[Expr], inner: Inner, enabled: frozenset[str], check: Check | None
    ) -> None:
        self.outs, self.inner, self.enabled, self.check = list(outs), inner, enabled, check
        self.fired: dict[str, int] = {}

    def run(self) -> tuple[list[Expr], dict[str, int]]:
        nodes = toposort(self.outs)
        used: dict[Expr, set[int]] = {}
        for node in nodes:
            if node.op.kind is Kind.ITEM:
                used.setdefault(node.args[0], set()).add(node.attrs[0])
        mapped: dict[Expr, Expr] = {}
        made: dict[Expr, Mapping[int, Expr]] = {}
        for node in nodes:
            args = tuple([mapped[a] for a in node.args])
            if node.op.kind is Kind.CONTROL:
                mapped[node] = self._inside(node, args)
                made[node] = self._smaller(mapped[node], used.get(node, set()))
            elif node.op.kind is Kind.ITEM:
                mapped[node] = made[node.args[0]][node.attrs[0]]
            else:
                mapped[node] = rebuild(node, args)
        return [mapped[o] for o in self.outs], self.fired

    def _inside(self, node: Expr, args: tuple[Expr, ...]) -> Expr:
        """The node with simplified bodies."""

        def simpler(value: Any) -> Any:
            if isinstance(value, Body):
                return value.map(self.inner)
            return tuple([simpler(v) for v in value]) if isinstance(value, tuple) else value

        attrs = tuple([simpler(a) for a in node.attrs])
        if args == node.args and attrs == node.attrs:
            return node
        new = bind(node.op, *args, attrs=attrs)
        new.site = new.site or node.site
        return new

    def _smaller(self, node: Expr, used: set[int]) -> Mapping[int, Expr]:
        """Expressions for the results that are used."""
        before = {k: item(node, k) for k in sorted(used)}
        if not used:
            return before
        fired: list[str] = []
        if "bodies" in node.op.attr_names:
            after = _switch(node, sorted(used), self.enabled, fired)
        elif "body" in node.op.attr_names:
            after = _Loop(node, used, self.enabled, fired).results()
        else:
            return before
        if not fired:
            return before
        for name in fired:
            self.fired[name] = self.fired.get(name, 0) + 1
        if self.check is not None:
            self.check(" ".join(fired), list(before.values()), [after[k] for k in before])
        return after


# ---- loops ------------------------------------------------------------------------------------


class _Rounds:
    """A loop, and what becomes of its results.

    ys : by key the values of a round that are stacked
    place : by key the argument of the carry that a result is the last of
    """

    loop: Loop
    ys: dict[Any, Expr]
    place: dict[Any, Expr]

    def all(self) -> list[Expr]:
        """All results of a round, and the test."""
        test = [] if self.loop.test is None else [self.loop.test]
        return [*(new for _, _, new in self.loop.carry), *self.ys.values(), *test]

    def put(self, changes: Mapping[Expr, Expr]) -> None:
        """Replace nodes in all results of a round."""
        if not changes:
            return
        made = substitute(self.all(), changes)
        loop, n = self.loop, len(self.loop.carry)
        loop.carry = [(v, a, new) for (v, a, _), new in zip(loop.carry, made, strict=False)]
        self.ys = dict(zip(self.ys, made[n:], strict=False))
        if loop.test is not None:
            loop.test = made[-1]

    def found(self) -> dict[Any, Expr]:
        """Expressions for the results that the loop has."""
        loop = self.loop
        loop.ys = list(self.ys.values())
        final, rounds, ys = loop.results()
        last = {a: f for (_, a, _), f in zip(loop.carry, final, strict=True)}
        found = {k: last[a] for k, a in self.place.items() if a in last}
        found.update(zip(self.ys, ys, strict=True))
        if loop.test is not None:
            found[ROUNDS] = rounds
        return found

    def equal(self) -> bool:
        """Equal operands; carries that start as one and follow from each other as one."""
        loop = self.loop
        changes: dict[Expr, Expr] = {}
        for part in (loop.consts, loop.xs):
            seen: dict[Expr, Expr] = {}
            for v, a in part:
                if seen.setdefault(v, a) is not a:
                    changes[a] = seen[v]
        group: list[Any] = [v for v, _, _ in loop.carry]
        while len(set(group)) < len(group):
            first: dict[Any, Expr] = {}
            for g, (_, a, _) in zip(group, loop.carry, strict=True):
                first.setdefault(g, a)
            same = {a: first[g] for g, (_, a, _) in zip(group, loop.carry, strict=True)}
            made = substitute([new for _, _, new in loop.carry], changes | same)
            finer = list(zip(group, made, strict=True))
            if len(set(finer)) == len(set(group)):
                changes |= {a: b for a, b in same.items() if a is not b}
                break
            numbers: dict[Any, int] = {}
            group = [numbers.setdefault(g, len(numbers)) for g in finer]
        if not changes:
            return False
        loop.consts = [(v, a) for v, a in loop.consts if a not in changes]
        loop.xs = [(v, a) for v, a in loop.xs if a not in changes]
        self.place = {k: changes.get(a, a) for k, a in self.place.items()}
        loop.carry = [entry for entry in loop.carry if entry[1] not in changes]
        self.put(changes)
        return True


ROUNDS = "rounds"


class _Loop(_Rounds):
    """A loop while it is made smaller; the arguments of its body are the parameters.

    ys : position among the results and value, of those that are left
    place : the argument of the carry that a result is the last of
    done : results that need no loop
    """

    def __init__(
        self, node: Expr, used: set[int], enabled: frozenset[str], fired: list[str]
    ) -> None:
        self.node, self.used, self.enabled, self.fired = node, used, enabled, fired
        self.loop = Loop.of(node, opened=False)
        loop, n = self.loop, len(self.loop.carry)
        first = n + (loop.test is not None)
        self.rounds = n if loop.test is not None else None  # position of the number of rounds
        self.ys = {first + k: y for k, y in enumerate(loop.ys)}
        self.place = {k: a for k, (_, a, _) in enumerate(loop.carry)}
        self.done: dict[int, Expr] = {}
        self.first: dict[int, Expr] = {}  # rows of ys of a round that is done before the loop
        self.always = loop.test is None and loop.count is None  # that rounds take place

    def results(self) -> Mapping[int, Expr]:
        for name, step in (
            ("loop-short", self._short), ("loop-constant", self._constant),
            ("loop-equal", self.equal), ("loop-unused", self._unused),
            ("loop-invariant", self._invariant), ("loop-rows", self._rows),
            ("loop-unused", self._unused), ("loop-first", self._first), ("loop-map", self._map),
        ):  # fmt: skip
            if name in self.enabled and step() and name not in self.fired:
                self.fired.append(name)
            if self.used <= set(self.done):
                break
        if not self.fired:
            return {}
        found = dict(self.done)
        if not self.used <= set(found):
            found = self.found() | found
        if self.rounds is not None and ROUNDS in found:
            found.setdefault(self.rounds, found.pop(ROUNDS))
        for k, row in self.first.items():
            if k in found:
                parts = [found[k], row] if self.loop.reverse else [row, found[k]]
                found[k] = concat(parts, 0)
        return found

    def _outside(self) -> dict[Expr, Expr]:
        return {a: v for v, a in self.loop.consts}

    # ---- rules ----

    def _short(self) -> bool:
        """No round, or one."""
        loop = self.loop
        start = {a: v for v, a, _ in loop.carry}
        none = loop.length == 0 and loop.test is None
        if loop.test is not None:
            (first,) = substitute([loop.test], self._outside() | start)
            none = is_const(first, 0)
        if none:
            self.done.update({k: start[a] for k, a in self.place.items()})
            rows = loop.length or 0
            self.done.update({k: const(0, y.dtype, (rows, *y.shape)) for k, y in self.ys.items()})
            if self.rounds is not None:
                self.done[self.rounds] = const(0, "int64")
            return True
        if loop.length != 1 or not self.always:
            return False
        values = self._outside() | start
        values |= {a: reshape(v, a.shape) for v, a in loop.xs}
        made = substitute(self.all(), values)
        self.done.update(zip(self.place, made, strict=False))
        rest = made[len(loop.carry) :]
        for (k, y), value in zip(self.ys.items(), rest, strict=True):
            self.done[k] = reshape(value, (1, *y.shape))
        return True

    def _constant(self) -> bool:
        """Carries that stay what they are, and operands that are numbers.

        All are taken for such first; one that then changes is not, until none does.
        """
        loop = self.loop
        numbers = {a: v for v, a in loop.consts if v.op is CONST}
        numbers |= {
            a: const(const_value(v), v.dtype, a.shape) for v, a in loop.xs if v.op is CONST
        }  # fmt: skip
        outside = self._outside()
        stay = {a: v for v, a, _ in loop.carry}
        while stay:
            known = numbers | {a: v for a, v in stay.items() if v.op is CONST}
            made = substitute([new for _, _, new in loop.carry], known)
            moved = [
                a for (v, a, _), new in zip(loop.carry, made, strict=True)
                if a in stay and new is not known.get(a, a) and outside.get(new) is not v
            ]  # fmt: skip
            if not moved:
                break
            for a in moved:
                del stay[a]
        changes = numbers | {a: v for a, v in stay.items() if v.op is CONST}
        if not changes and not stay:
            return False
        self.done.update({k: stay[a] for k, a in self.place.items() if a in stay})
        loop.consts = [(v, a) for v, a in loop.consts if a not in numbers]
        loop.consts += [(v, a) for a, v in stay.items() if v.op is not CONST]
        loop.xs = [(v, a) for v, a in loop.xs if a not in numbers]
        loop.carry = [entry for entry in loop.carry if entry[1] not in stay]
        self.put(changes)
        return True

    def _unused(self) -> bool:
        loop = self.loop
        wanted = self.used - set(self.done)
        ys = {k: y for k, y in self.ys.items() if k in wanted}
        kept = {self.place[k] for k in wanted if k in self.place}
        test = [] if loop.test is None else [loop.test]
        while True:
            outs = [new for _, a, new in loop.carry if a in kept]
            nodes = set(toposort([*outs, *ys.values(), *test]))
            reached = {a for _, a, _ in loop.carry if a in nodes}
            if reached <= kept:
                break
            kept |= reached
        before = len(loop.consts), len(loop.carry), len(loop.xs), len(self.ys)
        loop.consts = [(v, a) for v, a in loop.consts if a in nodes]
        loop.xs = [(v, a) for v, a in loop.xs if a in nodes]
        loop.carry = [entry for entry in loop.carry if entry[1] in kept]
        self.ys = ys
        return before != (len(loop.consts), len(loop.carry), len(loop.xs), len(self.ys))

    def _invariant(self) -> bool:
        """Values of a round that depend on what all rounds share only, where any other reads them.

        A loop that may have no round computes only what cannot fail.
        """
        loop = self.loop
        nodes = toposort(self.all())
        varying = depends_on(nodes, [a for _, a, _ in loop.carry] + [a for _, a in loop.xs])
        fixed = depends_on(nodes, [a for _, a in loop.consts]) - varying
        fixed -= {a for _, a in loop.consts}
        if not self.always:
            fixed -= depends_on(nodes, [n for n in nodes if _may_fail(n)])
        waiting = [a for n in nodes if n in varying for a in n.args if a in fixed]
        waiting += [o for o in self.all() if o in fixed]
        found: dict[Expr, None] = {}
        while waiting:
            n = waiting.pop()
            if n.op.moves is not None:  # read where it is
                waiting.extend(a for a in n.args if a in fixed)
            elif n.dtype != TUPLE:
                found[n] = None
        if not found:
            return False
        before = substitute(list(found), self._outside())
        start = len(loop.consts) + len(loop.carry) + len(loop.xs)
        inside = [arg(start + k, n.shape, n.dtype) for k, n in enumerate(found)]
        self.put(dict(zip(found, inside, strict=True)))
        loop.consts += list(zip(before, inside, strict=True))
        self._unused()
        return True

    def _rows(self) -> bool:
        if not self.always:
            return False
        loop = self.loop
        rows = {a: v for v, a in loop.xs}
        outside = self._outside()
        first: dict[Expr, int] = {}
        changed = False
        for k, y in self.ys.items():
            assert loop.length is not None
            if y in rows:
                self.done[k] = rows[y]
            elif y in outside or y.op is CONST:
                value = outside.get(y, y)
                dims = tuple(range(1, y.ndim + 1))
                self.done[k] = broadcast(value, (loop.length, *y.shape), dims)
            else:
                first.setdefault(y, k)
                continue
            changed = True
        self.ys = {k: y for k, y in self.ys.items() if k not in self.done}
        return changed

    def _first(self) -> bool:
        """The first round before the loop, if a bool is the same in all others."""
        loop = self.loop
        told = any(a.dtype == "bool" and new.op is CONST for _, a, new in loop.carry)
        if not told or not self.always or self.first or (loop.length or 0) < 2:
            return False
        assert loop.length is not None
        at = loop.length - 1 if loop.reverse else 0
        values = self._outside() | {a: v for v, a, _ in loop.carry}
        values |= {a: reshape(_rows(v, at, 1), a.shape) for v, a in loop.xs}
        made = substitute(self.all(), values)
        rest = 0 if loop.reverse else 1
        loop.length -= 1
        loop.carry = [(v, a, new) for v, (_, a, new) in zip(made, loop.carry, strict=False)]
        loop.xs = [(_rows(v, rest, loop.length), a) for v, a in loop.xs]
        for (k, y), row in zip(self.ys.items(), made[len(loop.carry) :], strict=True):
            self.first[k] = reshape(row, (1, *y.shape))
        return True

    def _map(self) -> bool:
        """All rounds at once, where none needs another and no branch is in them."""
        loop = self.loop
        if loop.carry or not self.always or not self.ys:
            return False
        values = substitute(list(self.ys.values()), self._outside())
        inside = toposort(values, [a for _, a in loop.xs])
        varying = depends_on(inside, [a for _, a in loop.xs])
        if any(n.op.kind is Kind.CONTROL for n in varying):
            return False
        assert loop.length is not None
        made = vmap(values, {a: v for v, a in loop.xs}, loop.length)
        self.done.update(zip(self.ys, made, strict=True))
        self.ys = {}
        return True


def _rows(x: Expr, first: int, count: int) -> Expr:
    rest = x.shape[1:]
    return slice_(x, (first, *[0] * len(rest)), (count, *rest), (1,) * x.ndim)


def _may_fail(node: Expr) -> bool:
    return node.op.indices is not None or node.op.kind in (
        Kind.CALL, Kind.COMPOSITE, Kind.CONTROL,
    )  # fmt: skip


# ---- switches ---------------------------------------------------------------------------------


def _switch(
    node: Expr, used: list[int], enabled: frozenset[str], fired: list[str]
) -> Mapping[int, Expr]:
    index, *operands = node.args
    sides: tuple[Body, ...] = node.attrs[0]
    if len(sides) == 1:
        if "switch-only" in enabled:
            fired.append("switch-only")
            return dict(enumerate(sides[0].open(operands)))
    elif "switch-known" in enabled:
        known = None
        if index.op is CONST:
            known = sides[min(max(int(const_value(index)), 0), len(sides) - 1)]
        elif all(b == sides[0] for b in sides):
            known = sides[0]
        if known is not None:
            fired.append("switch-known")
            return dict(enumerate(known.open(operands)))
    done: dict[int, Expr] = {}
    if "switch-unused" in enabled:
        values = dict(zip(sides[0].params, operands, strict=True))
        for k in used:
            outs = {b.outs[k] for b in sides}
            if len(outs) == 1 and (found := outs.pop()).op.kind is Kind.SOURCE:
                done[k] = values.get(found, found)
    wanted = [k for k in used if k not in done]
    rows = [[b.outs[k] for k in wanted] for b in sides]
    if "switch-cheap" in enabled and 1 < len(sides) <= _MOST_SIDES:
        if all(_cheap(row) for row in rows):
            fired.append("switch-cheap")
            return done | dict(zip(wanted, _selected(index, rows, sides[0].params, operands),
                                   strict=True))  # fmt: skip
    if "switch-unused" not in enabled:
        return {}
    first: dict[Expr, Expr] = {}
    changes: dict[Expr, Expr] = {}
    for p, value in zip(sides[0].params, operands, strict=True):
        if value.op is CONST:
            changes[p] = value
        elif first.setdefault(value, p) is not p:
            changes[p] = first[value]
    rows = [substitute(row, changes) for row in rows]
    read = set(toposort([o for row in rows for o in row]))
    kept = [k for k, p in enumerate(sides[0].params) if p in read]
    if len(kept) == len(operands) and len(wanted) == len(sides[0].outs):
        return {}
    fired.append("switch-unused")
    if not wanted:
        return done
    params = [sides[0].params[k] for k in kept]
    made = switch(index, [Body.close(params, row) for row in rows], [operands[k] for k in kept])
    made[0].args[0].site = made[0].args[0].site or node.site
    return done | dict(zip(wanted, made, strict=True))


def _cheap(outs: Sequence[Expr]) -> bool:
    """Whether a side costs next to nothing and can be computed at any values."""
    total = 0
    seen: dict[object, int] = {}
    for n in toposort(outs):
        if n.op.kind is Kind.ELEMENTWISE:
            if n.op.cost > _MOST_COST or has_pole(n) or is_singular(n, False):
                return False
            if n.op.partials is None and n.op.c_int is not None:
                return False
        elif n.op.kind is not Kind.SOURCE and (n.op.moves is None or n.op.indices is not None):
            if n.op.kind is not Kind.LINEAR or n.op.reduces or n.op.indices is not None:
                return False
        total += flops(n, seen)
    return total < _CHEAP


def _selected(
    index: Expr,
    rows: Sequence[Sequence[Expr]],
    params: Sequence[Expr],
    operands: Sequence[Expr],
) -> list[Expr]:
    values = dict(zip(params, operands, strict=True))
    opened = [substitute(row, values) for row in rows]
    made = list(opened[-1])
    for k in reversed(range(len(rows) - 1)):
        before = _at_most(index, k)
        pairs = zip(opened[k], made, strict=True)
        made = [select(broadcast_to(before, a.shape), a, b) for a, b in pairs]
    return made


def _at_most(index: Expr, k: int) -> Expr:
    """Whether the index is one of the first k + 1."""
    if index.name == "convert" and index.args[0].dtype == "bool" and k == 0:
        return bind("logical_not", index.args[0])
    return bind("less_equal", index, const(k, index.dtype))


# ---- loops that are one -----------------------------------------------------------------------


def joined(outs: Sequence[Expr], check: Check | None) -> tuple[list[Expr], int]:
    """Equal outputs where loops that share work are one, and how many that was.

    Two scans can be one if they have the same rounds and neither needs the other: they have as many
    scans below them. They are one if that has fewer operations: equal carries are carried once.
    """
    nodes = toposort(outs)
    level: dict[Expr, int] = {}
    groups: dict[Any, list[Expr]] = {}
    for node in nodes:
        below = max([level[a] for a in node.args], default=0)
        is_scan = node.op.kind is Kind.CONTROL and "reverse" in node.op.attr_names
        level[node] = below + (node.op.kind is Kind.CONTROL)
        if is_scan:
            count = node.args[0] if node.attr("counted") else None
            key = level[node], node.attr("length"), node.attr("reverse"), count
            groups.setdefault(key, []).append(node)
    clusters = [c for group in groups.values() for c in _clusters(group)]
    if not clusters:
        return list(outs), 0
    mapped: dict[Expr, Expr] = {}
    made: dict[Expr, dict[Any, Expr]] = {}
    of = {node: c for c in clusters for node in c.members}
    for node in sorted(nodes, key=lambda n: level[n]):  # operands of all members come first
        if node in of:
            cluster = of[node]
            if cluster.members[0] not in made:
                cluster.set_operands(mapped)
                made.update(dict.fromkeys(cluster.members, cluster.found()))
        elif node.op.kind is Kind.ITEM and node.args[0] in of:
            mapped[node] = made[node.args[0]][node.args[0], node.attrs[0]]
        else:
            mapped[node] = rebuild(node, tuple([mapped[a] for a in node.args]))
    new = [mapped[o] for o in outs]
    if check is not None:
        check("loop-join", outs, new)
    return new, len(clusters)


class _Cluster(_Rounds):
    """Scans that are to be one; keys are (scan, position of a result)."""

    def __init__(self, node: Expr) -> None:
        self.members = [node]
        self.loop = Loop.of(node)
        n = len(self.loop.carry)
        self.place = {(node, k): a for k, (_, a, _) in enumerate(self.loop.carry)}
        self.ys = {(node, n + k): y for k, y in enumerate(self.loop.ys)}
        self.equal()
        self.cost = self._cost()

    def _cost(self) -> int:
        seen: dict[object, int] = {}
        return sum(flops(n, seen) for n in toposort(self.all()))

    def with_(self, other: _Cluster) -> _Cluster | None:
        """Both as one, if that is less than both."""
        both = _Cluster.__new__(_Cluster)
        both.members = self.members + other.members
        both.loop, more = self.loop.copy(), other.loop
        both.loop.consts += more.consts
        both.loop.carry += more.carry
        both.loop.xs += more.xs
        both.place, both.ys = self.place | other.place, self.ys | other.ys
        both.equal()
        both.cost = both._cost()
        return both if both.cost < self.cost + other.cost else None

    def set_operands(self, mapped: Mapping[Expr, Expr]) -> None:
        loop = self.loop
        loop.consts = [(mapped[v], a) for v, a in loop.consts]
        loop.carry = [(mapped[v], a, new) for v, a, new in loop.carry]
        loop.xs = [(mapped[v], a) for v, a in loop.xs]
        loop.count = None if loop.count is None else mapped[loop.count]


_MOST_TRIED = 4  # loops that one is compared with


def _clusters(group: list[Expr]) -> list[_Cluster]:
    """The scans of a group that are better one."""
    if len(group) < 2:
        return []
    clusters: list[_Cluster] = []
    readers: dict[Expr, list[_Cluster]] = {}  # those that read an operand
    for node in group:
        cluster = _Cluster(node)
        operands = [a for a in node.args if a.op is not CONST]
        tried = 0
        for other in dict.fromkeys(c for a in operands for c in readers.get(a, ())):
            if other not in clusters or tried == _MOST_TRIED:
                continue
            tried += 1
            both = other.with_(cluster)
            if both is not None:
                clusters.remove(other)
                cluster = both
        clusters.append(cluster)
        for member in cluster.members:
            for a in member.args:
                readers.setdefault(a, []).append(cluster)
    return [c for c in clusters if len(c.members) > 1]
