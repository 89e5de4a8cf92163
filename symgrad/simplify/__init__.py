"""Named rewrites applied to a fixed point: `simplify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from symgrad import log
from symgrad.expr import validate
from symgrad.expr.node import Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.simplify.control import CONTROL, restructured
from symgrad.simplify.facts import nonnegative
from symgrad.simplify.joined import joined
from symgrad.simplify.merged import merged
from symgrad.simplify.pattern import Check, Rule, RuleSet, Simplified, run
from symgrad.simplify.reroll import REROLL, reroll
from symgrad.simplify.rules import RULES

Bodies = dict[tuple[Expr, ...], list[Expr]]  # results of bodies, and simpler ones

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
    bodies: Bodies | None = None,
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
    bodies : what bodies were simplified to before, with the same rules; further ones are added

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
        bodies = {} if bodies is None else bodies
        _control(result, rules, check, disable, enable, order_seed, bodies)
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
    bodies: Bodies,
) -> None:
    """Simplify bodies, and what stands around them, until nothing changes."""
    off = disable | (OPTIONAL - enable)
    names = frozenset(r.name for r in CONTROL if not {r.name, r.group} & off)
    fired = result.fired

    def inner(outs: Sequence[Expr]) -> list[Expr]:
        key = tuple(outs)
        if key not in bodies:
            made = simplify(
                outs, disable=disable, enable=enable, order_seed=order_seed, bodies=bodies
            )
            _add(fired, made.fired)
            bodies[key] = bodies[tuple(made.outs)] = made.outs
        return bodies[key]

    for _ in range(_MOST_TIMES):
        before = result.outs
        outs, found = restructured(before, inner, names, check)
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
