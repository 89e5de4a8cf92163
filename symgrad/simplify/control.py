"""Loops and switches made smaller: named rewrites that look at a control node and who reads it.

In: a graph. Out: an equal one. Bodies are simplified by all rules first, each once. Then a loop
loses what is the same in all rounds, what nobody reads and what it has twice, and a switch loses
sides that are never taken. Nothing moves out of a side of a switch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from symgrad.expr.node import Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import in_bodies, rebuild, toposort
from symgrad.ops.body import item
from symgrad.simplify.loops import LoopRules
from symgrad.simplify.pattern import Check, Rule
from symgrad.simplify.switches import smaller_switch

Inner = Callable[[Sequence[Expr]], Sequence[Expr]]
Settled = set[tuple[Expr, frozenset[int]]]  # control nodes, and which of their results are used


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
    outs: Sequence[Expr],
    inner: Inner,
    enabled: frozenset[str],
    check: Check | None,
    settled: Settled | None = None,
) -> tuple[list[Expr], dict[str, int]]:
    """Equal outputs with smaller control nodes, and which rules led there.

    inner : simplifies the results of bodies
    settled : what is known to get no smaller by the same rules; what is found to be so is added
    """
    return _Pass(outs, inner, enabled, check, set() if settled is None else settled).run()


class _Pass:
    def __init__(
        self,
        outs: Sequence[Expr],
        inner: Inner,
        enabled: frozenset[str],
        check: Check | None,
        settled: Settled,
    ) -> None:
        self.settled = settled
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
                mapped[node] = in_bodies(node, args, self.inner)
                made[node] = self._smaller(mapped[node], used.get(node, set()))
            elif node.op.kind is Kind.ITEM:
                mapped[node] = made[node.args[0]][node.attrs[0]]
            else:
                mapped[node] = rebuild(node, args)
        return [mapped[o] for o in self.outs], self.fired

    def _smaller(self, node: Expr, used: set[int]) -> Mapping[int, Expr]:
        """Expressions for the results that are used."""
        before = {k: item(node, k) for k in sorted(used)}
        key = node, frozenset(used)
        if not used or key in self.settled:
            return before
        fired: list[str] = []
        if "bodies" in node.op.attr_names:
            after = smaller_switch(node, sorted(used), self.enabled, fired)
        elif "body" in node.op.attr_names:
            after = LoopRules(node, used, self.enabled, fired).results()
        else:
            return before
        if not fired:
            self.settled.add(key)
            return before
        for name in fired:
            self.fired[name] = self.fired.get(name, 0) + 1
        if self.check is not None:
            self.check(" ".join(fired), list(before.values()), [after[k] for k in before])
        return after
