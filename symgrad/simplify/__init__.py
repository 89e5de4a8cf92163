"""Named rewrites applied to a fixed point: `simplify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from symgrad import log
from symgrad.expr import validate
from symgrad.expr.node import Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.simplify.control import CONTROL, Settled, restructured
from symgrad.simplify.facts import nonnegative
from symgrad.simplify.joined import joined
from symgrad.simplify.merged import merged
from symgrad.simplify.pattern import Check, Rule, RuleSet, Simplified, run
from symgrad.simplify.reroll import REROLL, reroll
from symgrad.simplify.rules import RULES


@dataclass(frozen=True)
class Known:
    """What is known by one set of rules.

    bodies : results of bodies, and simpler ones
    settled : control nodes that get no smaller
    """

    bodies: dict[tuple[Expr, ...], list[Expr]] = field(default_factory=dict)
    settled: Settled = field(default_factory=set)


OPTIONAL = frozenset({"strength", "checkpoint"})  # groups that are off unless enabled


@lru_cache(maxsize=64)
def _rule_set(disable: frozenset[str], order_seed: int | None) -> RuleSet:
    usual = None if disable == OPTIONAL and order_seed is None else _rule_set(OPTIONAL, None)
    return RuleSet(RULES, disable, order_seed, usual)


def _check(rule: str, before: Sequence[Expr], after: Sequence[Expr]) -> None:
    validate.check_rewrite(rule, before, after, nonnegative)


def simplify(
    outs: Sequence[Expr],
    *,
    disable: frozenset[str] = frozenset(),
    enable: frozenset[str] = frozenset(),
    order_seed: int | None = None,
    nodes: list[Expr] | None = None,
    known: Known | None = None,
) -> Simplified:
    """Equal outputs in a simpler form, and which rules led there.

    Parameters
    ----------
    outs : nodes to simplify together; what they share stays shared
    disable : names of rules or of groups ("algebra", "stable", "view", "einsum", "linalg",
        "loops")
    enable : optional groups, for lowering: "strength" (powers as multiplications: in formulas x³
        stays x³), "checkpoint" (what is computed again is as any other value)
    order_seed : shuffle the rules; the result must not depend on it (for tests)
    nodes : those of `outs`, arguments before users, where they are known
    known : what was found before, with the same rules; what else is found is added

    Examples
    --------
    >>> from symgrad.expr.node import arg
    >>> from symgrad.ops.elementwise import exp, log
    >>> x = arg(0, (), "float64", "x")
    >>> simplify([log(1 + exp(x))]).outs
    [<Expr softplus float64[]>]
    """
    nodes = toposort(outs) if nodes is None else nodes
    check = _check if validate.enabled() else None
    rolled = 0
    if REROLL.name not in disable and REROLL.group not in disable:
        before = outs
        outs, rolled = reroll(outs, nodes)
        if check is not None:
            check(REROLL.name, before, outs)
    rules = _rule_set(frozenset(disable) | (OPTIONAL - enable), order_seed)
    result = run(outs, rules, None if rolled else nodes, check)
    if rolled:
        result.fired[REROLL.name] = rolled
    if any(node.op.kind is Kind.CONTROL for node in nodes):
        known = Known() if known is None else known
        _control(result, rules, check, disable, enable, order_seed, known)
    if not result.converged:
        log.note(lambda: f"rules still fired after {result.passes} passes over {len(nodes)} nodes")
    return result


_MOST_TIMES = 20


def _control(
    result: Simplified,
    rules: RuleSet,
    check: Check | None,
    disable: frozenset[str],
    enable: frozenset[str],
    order_seed: int | None,
    known: Known,
) -> None:
    """Simplify bodies, and what stands around them, until nothing changes."""
    off = disable | (OPTIONAL - enable)
    names = frozenset(r.name for r in CONTROL if not {r.name, r.group} & off)
    fired = result.fired

    def inner(outs: Sequence[Expr]) -> list[Expr]:
        key = tuple(outs)
        if key not in known.bodies:
            made = simplify(
                outs, disable=disable, enable=enable, order_seed=order_seed, known=known
            )
            _add(fired, made.fired)
            known.bodies[key] = known.bodies[tuple(made.outs)] = made.outs
        return known.bodies[key]

    for _ in range(_MOST_TIMES):
        before = result.outs
        outs, found = restructured(before, inner, names, check, known.settled)
        _add(fired, found)
        if "loop-join" in names:
            for one in (merged, joined):
                outs, count = one(outs, check)
                _add(fired, {"loop-join": count} if count else {})
        if all(a is b for a, b in zip(before, outs, strict=True)):
            return
        again = run(outs, rules, None, check)
        _add(fired, again.fired)
        result.outs, result.converged = again.outs, again.converged
        result.passes += again.passes
    result.converged = False


def _add(fired: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        fired[name] = fired.get(name, 0) + count


__all__ = ["RULES", "Rule", "Simplified", "simplify"]
