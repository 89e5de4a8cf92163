"""A loop made smaller: what is the same in all rounds, what nobody reads, what it has twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symgrad.diff.modes import vmap
from symgrad.expr.node import CONST, TUPLE, Expr, arg, const, const_value, is_const
from symgrad.expr.op import Kind, Moves
from symgrad.expr.walk import depends_on, substitute, toposort
from symgrad.ops.linear import broadcast, concat, reshape, slice_
from symgrad.ops.loop import Loop


class Rounds:
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
        if rounds is not None and loop.test is not None:
            found[ROUNDS] = rounds
        return found

    def equal(self) -> bool:
        """Equal operands; carries that start as one and follow from each other as one."""
        loop = self.loop
        changes: dict[Expr, Expr] = {}
        first_of: dict[Expr, Expr] = {}
        for seen, part in ((first_of, loop.consts), ({}, loop.xs)):
            for v, a in part:
                if seen.setdefault(v, a) is not a:
                    changes[a] = seen[v]
        for v, a in loop.consts:  # another one, permuted or reshaped
            root = v
            while root.op.moves is Moves.ONCE:
                root = root.args[0]
            if root is not v and root in first_of:
                changes[a] = substitute([v], {root: first_of[root]})[0]
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


class LoopRules(Rounds):
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
        found: dict[Any, Expr] = dict(self.done)
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
