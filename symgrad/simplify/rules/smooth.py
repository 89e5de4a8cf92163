"""Elementwise formulas whose kinks cancel, as functions that are smooth as a whole.

A kink at which two terms meet is none of their sum, and a power may have none either. Calculus
would take the kink's convention for the derivative. `√q` stands for any root whose square is
known: |x|, ‖x‖, hypot.
"""

from __future__ import annotations

import math

from symgrad.expr.node import CONST, Expr, bind, is_const
from symgrad.expr.op import Kind
from symgrad.expr.walk import rebuild
from symgrad.simplify.facts import nonnegative, number
from symgrad.simplify.pattern import Context, Rule, function, function_rule, once
from symgrad.simplify.rules.stable import MOST_TERMS, stable
from symgrad.simplify.vocabulary import (
    abs_,
    c,
    exp_,
    gap_,
    hypot_,
    power_,
    select_,
    sigmoid_,
    sign_,
    sin_,
    sinc_,
    sqrt_,
    square_,
    x,
    y,
)

# A kink at which two terms meet is none of their sum, and a power may have none either. Such
# formulas become functions that are smooth as a whole, since calculus would take the kink's
# convention for the derivative. `√q` stands for any root whose square is known: |x|, ‖x‖, hypot.

_HALVES = {"maximum": 1, "absolute": 1, "minimum": -1, "select": 1, "multiply": 1}


def _parts(e: Expr) -> tuple[Expr, Expr] | None:
    """(a, b) where `e` is max(a, b) or, for minimum, min(a, b), in one of its spellings."""
    if e.name in ("maximum", "minimum"):
        return e.args[0], e.args[1]
    if e.name == "absolute":
        return e.args[0], -e.args[0]
    if e.name == "select":  # x > 0 ? x : 0, and clip with one bound
        condition, one, other = e.args
        if condition.name in ("greater", "greater_equal") and condition.args == (one, other):
            return one, other
        if condition.name in ("less", "less_equal") and condition.args == (other, one):
            return one, other
    if e.name == "multiply":  # x (x > 0)
        for x, mask in (e.args, e.args[::-1]):
            if mask.name == "convert" and mask.args[0].name in ("greater", "greater_equal"):
                if mask.args[0].args[0] is x and is_const(mask.args[0].args[1], 0):
                    return x, mask.args[0].args[1]
    return None


def _is_gap(w: Expr, a: Expr, b: Expr) -> bool:
    """Whether `w` is -|a - b|."""
    if w.name == "negative" and w.args[0].name == "absolute":
        scale, d = 1.0, w.args[0].args[0]
    elif w.name == "multiply" and w.args[0].op is CONST and w.args[1].name == "absolute":
        scale, d = -number(w.args[0]), w.args[1].args[0]
    elif w.name == "multiply" and w.args[1].op is CONST and w.args[0].name == "absolute":
        scale, d = -number(w.args[1]), w.args[0].args[0]
    else:
        return False
    if b is -a:
        return scale == 2 and d is a
    for p, q in ((a, b), (b, a)):
        if scale == 1 and (d is p - q or is_const(q, 0) and (d is p or d is -p or p is -d)):
            return True
    return False


def _logaddexp_by_hand(node: Expr, context: Context) -> Expr | None:
    """max(a, b) + log(1 + exp(-|a - b|)) = logaddexp(a, b), also among other terms of a sum."""
    if context.is_inner(node):
        return None
    terms: list[tuple[int, Expr]] = []
    stack = [(1, node)]
    while stack:
        sign, e = stack.pop()
        if e.name in ("add", "subtract") and (e is node or context.is_inner(e)):
            stack.append((sign if e.name == "add" else -sign, e.args[1]))
            stack.append((sign, e.args[0]))
        elif e.name == "negative" and context.single(e):
            stack.append((-sign, e.args[0]))
        else:
            terms.append((sign, e))
        if len(terms) + len(stack) > MOST_TERMS:
            return None
    for i, (sign, tail) in enumerate(terms):
        if tail.name != "softplus":
            continue
        for j, (other, e) in enumerate(terms):
            pair = _parts(e) if other == sign * _HALVES.get(e.name, 0) else None
            if pair is None or not _is_gap(tail.args[0], *pair):
                continue
            a, b = pair if other == sign else (-pair[0], -pair[1])
            whole = bind("logaddexp", a, b)
            total = whole if sign == 1 else -whole
            for k, (s, term) in enumerate(terms):
                if k not in (i, j):
                    total = total + term if s == 1 else total - term
            return total
    return None


# Comparisons of u with c: what holds where they are true, and where they are not (or u is NaN).
_ABOVE = {"greater": True, "greater_equal": True, "less": False, "less_equal": False}
_MOST_GUARDED = 60  # nodes of a branch that are looked at


def _side(e: Expr, u: Expr, c: Expr, above: bool) -> Expr | None:
    """|u|, max(u, c) or min(u, c) where u >= c, or else where u <= c or u is NaN."""
    if e.name == "absolute" and e.args[0] is u and is_const(c, 0):
        return u if above else -u
    if e.name == ("maximum" if above else "minimum") and (e.args == (u, c) or e.args == (c, u)):
        return u
    return None


def _resolved(branch: Expr, u: Expr, c: Expr, above: bool) -> Expr:
    """The elementwise part of `branch`, with what is known of u."""
    order: list[Expr] = []
    stack: list[Expr] = [branch]
    seen: set[Expr] = set()
    while stack and len(seen) <= _MOST_GUARDED:
        e = stack.pop()
        if e in seen:
            if e not in order:
                order.append(e)
            continue
        seen.add(e)
        if e.op.kind is Kind.ELEMENTWISE:
            stack.append(e)
            stack.extend(a for a in e.args if a not in seen)
    new: dict[Expr, Expr] = {}
    if not any(_side(e, u, c, above) is not None for e in order):
        return branch
    for e in order:
        args = tuple([new.get(a, a) for a in e.args])
        new[e] = _side(e, u, c, above) or rebuild(e, args)
    return new.get(branch, branch)


def _sides(node: Expr, context: Context) -> Expr | None:
    """In a branch that is taken for u > c only, max(u, c) is u: smooth, and no tie at u = c."""
    condition, a, b = node.args
    if condition.name not in _ABOVE:
        return None
    above, (u, c) = _ABOVE[condition.name], condition.args
    if u.op is CONST:
        u, c, above = c, u, not above
    return bind("select", condition, _resolved(a, u, c, above), _resolved(b, u, c, not above))


def _stable_sigmoid(name: str) -> Rule:
    positive = function(name)(x, 0)
    return stable(f"sigmoid-by-hand-{name.replace('_', '-')}",
                  select_(positive, 1, exp_(x)) * sigmoid_(abs_(x)), sigmoid_(x),
                  "(x > 0 ? 1 : eˣ) σ(|x|) = σ(x)", rank=0)  # fmt: skip


def _even_exponent(c: Expr) -> bool:
    return number(c) in range(2, 65, 2)


def _not_whole(c: Expr) -> bool:
    return math.isfinite(number(c)) and number(c) > 0 and number(c) != int(number(c))


def _halved_power(x: Expr, c: Expr) -> Expr:
    return bind("power", x, c * 0.5)


def _sinc_guard(name: str, swap: bool) -> list[Rule]:
    """x = 0 ? 1 : sin(x)/x, plain and with an argument that is harmless where x is 0."""
    compare = function(name)
    rules = []
    safe = select_(compare(x, 0), x, c) if swap else select_(compare(x, 0), c, x)
    for label, v in (("", x), ("-safe", safe)):
        ratio = sin_(v) / v
        whole = select_(compare(x, 0), ratio, 1) if swap else select_(compare(x, 0), 1, ratio)
        rules.append(
            stable(f"sinc-{name.replace('_', '-')}{label}", whole, sinc_(x),
                   "x = 0 ? 1 : sin(x)/x is smooth", rank=0)
        )  # fmt: skip
    return rules


SMOOTH: list[Rule] = [
    function_rule("logaddexp-by-hand", "add subtract", _logaddexp_by_hand,
                  "max(a, b) + log(1 + exp(-|a - b|)) = logaddexp(a, b), within a sum",
                  "stable", "softplus add subtract negative", rank=0),
    function_rule("side-of-a-kink", "select", _sides,
                  "|u|, max(u, c), min(u, c) in a branch that is taken on one side of u = c",
                  "stable", "greater greater_equal less less_equal", rank=0),
    _stable_sigmoid("greater"),
    _stable_sigmoid("greater_equal"),
    *_sinc_guard("equal", False),
    *_sinc_guard("not_equal", True),
    stable("gap-constant", gap_(x, c), x - c, "x - c for finite c",
           lambda c: math.isfinite(number(c))),
    stable("constant-gap", gap_(c, x), c - x, "c - x for finite c",
           lambda c: math.isfinite(number(c))),
    stable("gap-mirrored", gap_(x, -x), lambda x: x * 2, "x - (-x) = 2x"),
    stable("mirrored-gap", gap_(-x, x), lambda x: x * -2, "-x - x = -2x"),
    stable("square-of-hypot", square_(hypot_(x, y)), square_(x) + square_(y),
           "hypot(x, y)² = x² + y²; smooth at 0"),
    stable("power-of-hypot", power_(hypot_(x, y), c),
           lambda x, y, c: _halved_power(bind("square", x) + bind("square", y), c),
           "hypot(x, y)²ⁿ = (x² + y²)ⁿ; smooth at 0", _even_exponent),
    stable("power-of-absolute", power_(abs_(x), c), lambda x, c: bind("power", x, c),
           "|x|²ⁿ = x²ⁿ; smooth at 0", _even_exponent),
    stable("absolute-twice", abs_(x) * once(abs_(x) * y), x * (x * y),
           "|x| (|x| y) = x (x y); smooth at 0"),
    stable("root-twice", sqrt_(x) * once(sqrt_(x) * y), lambda x, y: x * y,
           "√x (√x y) = x y for x >= +0", lambda x: nonnegative(x)),
    stable("power-of-root", power_(sqrt_(x), c), _halved_power, "(√x)²ⁿ = xⁿ for x >= +0",
           lambda x, c: _even_exponent(c) and nonnegative(x)),
    stable("power-of-square", power_(square_(x), c),
           lambda x, c: bind("power", bind("absolute", x), c * 2),
           "(x²)ᵖ = |x|²ᵖ; improves where x² over- or underflows", _not_whole),
    stable("root-of-even-power", sqrt_(power_(x, c)),
           lambda x, c: bind("absolute", _halved_power(x, c)), "√(x²ⁿ) = |xⁿ|", _even_exponent),
    stable("sign-of-absolute", sign_(x) * abs_(x), lambda x: x, "sign(x) |x| = x"),
    *[stable(f"sign-{f}", sign_(x) * function(f)(abs_(x)), function(f)(x),
             f"sign(x) {f}(|x|) = {f}(x), an odd function")
      for f in ("sin", "tan", "sinh", "tanh", "arcsin", "arctan", "arcsinh", "arctanh", "erf",
                "cbrt")],
]  # fmt: skip
