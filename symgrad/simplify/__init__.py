"""Named rewrites applied to a fixed point: `simplify`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from symgrad.expr import validate
from symgrad.expr.node import Expr
from symgrad.expr.walk import toposort
from symgrad.simplify.facts import nonnegative
from symgrad.simplify.pattern import Rule, RuleSet, Simplified, run
from symgrad.simplify.reroll import REROLL, reroll
from symgrad.simplify.rules import RULES

OPTIONAL = frozenset({"strength"})  # groups that are off unless enabled


@lru_cache(maxsize=64)
def _rule_set(disable: frozenset[str], order_seed: int | None) -> RuleSet:
    return RuleSet(RULES, disable, order_seed)


def _check(rule: str, before: Sequence[Expr], after: Sequence[Expr]) -> None:
    validate.check_rewrite(rule, before, after, nonnegative)


def simplify(
    outs: Sequence[Expr],
    *,
    disable: frozenset[str] = frozenset(),
    enable: frozenset[str] = frozenset(),
    order_seed: int | None = None,
) -> Simplified:
    """Equal outputs in a simpler form, and which rules led there.

    Parameters
    ----------
    outs : nodes to simplify together; what they share stays shared
    disable : names of rules or of groups ("algebra", "stable", "view", "einsum", "linalg",
        "loops")
    enable : optional groups: "strength" (powers as multiplications, for lowering: in formulas x³
        stays x³)
    order_seed : shuffle the rules; the result must not depend on it (for tests)

    Examples
    --------
    >>> from symgrad.expr.node import arg
    >>> from symgrad.ops.elementwise import exp, log
    >>> x = arg(0, (), "float64", "x")
    >>> simplify([log(1 + exp(x))]).outs
    [<Expr softplus float64[]>]
    """
    nodes = toposort(outs)
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
    return result


__all__ = ["RULES", "Rule", "Simplified", "simplify"]
