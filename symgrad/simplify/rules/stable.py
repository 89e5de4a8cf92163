"""Elementwise forms without the overflow, underflow or cancellation of what users write."""

from __future__ import annotations

import math

from symgrad.expr.node import CONST, Expr, bind, is_const
from symgrad.ops.elementwise import log, select
from symgrad.simplify.facts import is_float, like, like_value, number, positive
from symgrad.simplify.pattern import Context, Pattern, Rule, function_rule, once, rule
from symgrad.simplify.vocabulary import (
    a,
    b,
    c,
    complement_square_,
    cos_,
    cosh_,
    erf_,
    erfc_,
    exp_,
    expm1_,
    hypot_,
    log1p_,
    log_,
    logaddexp_,
    logit_,
    sech_,
    sigmoid_,
    sinh_,
    softplus_,
    sqrt_,
    square_,
    tanh_,
    x,
    y,
    z,
)

LN2 = math.log(2)


# ---- stable forms ----------------------------------------------------------------------------


def stable(
    name: str,
    pattern: Pattern,
    replacement: object,
    doc: str,
    when: object = None,
    rank: int = 1,
) -> Rule:
    """A rule that removes an overflow, an underflow or a cancellation."""
    return rule(name, pattern, replacement, doc, when, "stable", rank)  # type: ignore[arg-type]


def _log1mexp(x: Expr) -> Expr:
    """log(1 - exp(x)): log(expm1(-x)) + x above -log 2, log1p(-exp(x)) below (Mächler 2012).

    Each branch is given an argument that is harmless where it is not taken.
    """
    cut = like(-LN2, x)
    above = bind("greater", x, cut)
    near = select(above, x, cut)
    far = select(above, cut, x)
    return select(
        above,
        log(bind("expm1", -near)) + near,
        bind("log1p", -bind("exp", far)),
    )


def _versine(x: Expr) -> Expr:
    return bind("square", bind("sin", 0.5 * x)) * 2


def _erfc_cut(x: Expr) -> float:
    """Beyond this erfc is near underflow, and its asymptotic series is exact to rounding."""
    return 25.0 if x.dtype == "float64" else 9.0


def _log_erfc(x: Expr) -> Expr:
    """log erfc x = -x² - log(x √π) + log1p(Σ (-1)ⁿ (2n-1)!! qⁿ), q = 1/(2x²), far to the right."""
    cut = like(_erfc_cut(x), x)
    far = bind("greater", x, cut)
    u = select(far, x, cut)
    q = 0.5 / bind("square", u)
    series = q * (q * (q * (q * (q * -945 + 105) - 15) + 3) - 1)
    tail = bind("log1p", series) - log(u) - 0.5 * math.log(math.pi) - bind("square", u)
    return select(far, tail, log(bind("erfc", select(far, cut, x))))


def _erfc_not_cut(x: Expr) -> bool:
    return not (x.name == "select" and is_const(x.args[1], _erfc_cut(x)))


def _log_cosh(x: Expr) -> Expr:
    """Both branches are smooth where they are taken; logaddexp keeps inf - inf out."""
    small = bind("less", bind("square", x), like(1, x))
    near = 0.5 * bind("log1p", bind("square", bind("sinh", x)))
    return select(small, near, bind("logaddexp", x, -x) - LN2)


def _not_clipped(x: Expr) -> bool:
    return not (x.name == "select" and is_const(x.args[1], like_value(-LN2, x)))


MOST_TERMS = 64


def _log_of_exps(node: Expr, context: Context) -> Expr | None:
    """log(Σ exp aᵢ + Σ cᵢ) → nested logaddexp, for an addition tree of exponentials."""
    terms: list[Expr] = []
    stack = [node.args[0]]
    while stack:
        e = stack.pop()
        if e.name == "exp":
            terms.append(e.args[0])
        elif e.op is CONST and number(e) > 0 and math.isfinite(number(e)):
            terms.append(log(e))
        elif e.name == "add" and (e is node.args[0] or context.single(e)):
            stack.extend(reversed(e.args))
        else:
            return None
        if len(terms) + len(stack) > MOST_TERMS:
            return None
    if all(t.op is CONST for t in terms):
        return None
    total = terms[0]
    for t in terms[1:]:
        total = bind("logaddexp", total, t)
    return total


STABLE: list[Rule] = [
    stable("log1p", log_(1 + x), log1p_(x), "log(1 + x) = log1p(x)", rank=0),
    stable("log1p-negative", log_(1 - x), log1p_(-x), "log(1 - x) = log1p(-x)", rank=0),
    stable("log1p-of-expm1", log1p_(expm1_(x)), x, "log1p(expm1 x) = x"),
    stable("expm1", exp_(x) - 1, expm1_(x), "exp(x) - 1 = expm1(x)"),
    stable("expm1-add", exp_(x) + (-1), expm1_(x), "exp(x) + (-1) = expm1(x)"),
    stable("expm1-negative", 1 - exp_(x), -expm1_(x), "1 - exp(x) = -expm1(x)"),
    stable("exp-of-expm1", 1 + expm1_(x), exp_(x), "1 + expm1(x) = exp(x)"),
    stable("softplus", log1p_(exp_(x)), softplus_(x), "log(1 + eˣ) = softplus(x)"),
    stable("softplus-logaddexp", logaddexp_(0, x), softplus_(x), "logaddexp(0, x) = softplus(x)"),
    stable("log1mexp", log_(-expm1_(x)), lambda x: _log1mexp(x),
           "log(1 - eˣ), switched at -log 2"),
    stable("log1mexp-log1p", log1p_(-exp_(x)), lambda x: _log1mexp(x),
           "log(1 - eˣ), switched at -log 2", _not_clipped),
    stable("tanh-expm1", expm1_(x) / (1 + exp_(x)), tanh_(0.5 * x),
           "(eˣ - 1)/(eˣ + 1) = tanh(x/2)", rank=0),
    stable("tanh-exp", (exp_(x) - exp_(-x)) / (exp_(x) + exp_(-x)), tanh_(x),
           "(eˣ - e⁻ˣ)/(eˣ + e⁻ˣ) = tanh x", rank=0),
    stable("tanh-exp-negative", (exp_(-x) - exp_(x)) / (exp_(x) + exp_(-x)), -tanh_(x),
           "(e⁻ˣ - eˣ)/(eˣ + e⁻ˣ) = -tanh x", rank=0),
    stable("tanh-ratio", sinh_(x) / cosh_(x), tanh_(x), "sinh x / cosh x = tanh x"),
    stable("tanh-sigmoid", 2 * sigmoid_(x) - 1, tanh_(0.5 * x), "2σ(x) - 1 = tanh(x/2)"),
    stable("tanh-sigmoid-add", 2 * sigmoid_(x) + (-1), tanh_(0.5 * x), "2σ(x) - 1 = tanh(x/2)"),
    stable("tanh-sigmoid-negative", 1 - 2 * sigmoid_(x), -tanh_(0.5 * x),
           "1 - 2σ(x) = -tanh(x/2)"),
    stable("sinh", 0.5 * (exp_(x) - exp_(-x)), sinh_(x), "(eˣ - e⁻ˣ)/2 = sinh x", rank=0),
    stable("sinh-negative", 0.5 * (exp_(-x) - exp_(x)), -sinh_(x), "(e⁻ˣ - eˣ)/2 = -sinh x",
           rank=0),
    stable("cosh", 0.5 * (exp_(x) + exp_(-x)), cosh_(x), "(eˣ + e⁻ˣ)/2 = cosh x", rank=0),
    stable("sigmoid", a / (1 + exp_(x)), a * sigmoid_(-x), "a/(1 + eˣ) = a σ(-x)"),
    stable("sigmoid-ratio", exp_(x) / (1 + exp_(x)), sigmoid_(x), "eˣ/(1 + eˣ) = σ(x)", rank=0),
    stable("sigmoid-tanh", 0.5 * (1 + tanh_(x)), sigmoid_(2 * x), "(1 + tanh x)/2 = σ(2x)"),
    stable("sigmoid-complement", 1 - sigmoid_(x), sigmoid_(-x), "1 - σ(x) = σ(-x)"),
    stable("log-sigmoid", log_(sigmoid_(x)), -softplus_(-x), "log σ(x) = -softplus(-x)"),
    stable("log1p-sigmoid", log1p_(-sigmoid_(x)), -softplus_(x), "log(1 - σ(x)) = -softplus(x)"),
    stable("logit-sigmoid", logit_(sigmoid_(x)), x, "logit σ(x) = x"),
    stable("exp-softplus", exp_(-softplus_(x)), sigmoid_(-x), "exp(-softplus(x)) = σ(-x)"),
    stable("softplus-minus", softplus_(x) - x, softplus_(-x), "softplus(x) - x = softplus(-x)"),
    stable("minus-softplus", x - softplus_(x), -softplus_(-x), "x - softplus(x) = -softplus(-x)"),
    function_rule("logaddexp", "log", _log_of_exps, "log(eᵃ + eᵇ) = logaddexp(a, b), nested",
                  "stable", among="add"),
    stable("log-cosh", log_(cosh_(x)),
           lambda x: _log_cosh(x),
           "log cosh x = ½ log1p(sinh² x) for x² < 1, else logaddexp(x, -x) - log 2"),
    stable("hypot", sqrt_(square_(x) + square_(y)), hypot_(x, y),
           "√(x² + y²) = hypot(x, y); with inf and NaN the result is inf, as IEEE 754 has it"),
    stable("hypot-nested", sqrt_(square_(x) + square_(y) + square_(z)),
           hypot_(hypot_(x, y), z), "√(x² + y² + z²) = hypot(hypot(x, y), z)", rank=0),
    stable("erfc", 1 - erf_(x), erfc_(x), "1 - erf x = erfc x"),
    stable("erfc-negative", erf_(x) - 1, -erfc_(x), "erf x - 1 = -erfc x"),
    stable("erfc-negative-add", erf_(x) + (-1), -erfc_(x), "erf x - 1 = -erfc x"),
    stable("erfc-mirror", 1 + erf_(x), erfc_(-x), "1 + erf x = erfc(-x)"),
    stable("erf", 1 - erfc_(x), erf_(x), "1 - erfc x = erf x"),
    stable("log-erfc", log_(erfc_(x)), lambda x: _log_erfc(x),
           "log erfc x; improves where erfc x underflows", _erfc_not_cut),
    stable("log-scaled-erfc", log_(once(c * erfc_(x))),
           lambda c, x: log(bind("erfc", x)) + log(like(number(c), x)),
           "log(c erfc x) = log c + log erfc x", positive),
    stable("sech", a / cosh_(x), a * sech_(x), "a/cosh x = a sech x", rank=2),
    stable("sech-tanh", 1 - square_(tanh_(x)), square_(sech_(x)), "1 - tanh² x = sech² x"),
    stable("complement-square", 1 - square_(x), complement_square_(x), "1 - x² = (1 - x)(1 + x)",
           is_float, rank=2),
    stable("versine", 1 - cos_(x), lambda x: _versine(x), "1 - cos x = 2 sin²(x/2)"),
    stable("versine-negative", cos_(x) - 1, lambda x: -_versine(x), "cos x - 1 = -2 sin²(x/2)"),
    stable("versine-negative-add", cos_(x) + (-1), lambda x: -_versine(x),
           "cos x - 1 = -2 sin²(x/2)"),
    stable("sigmoid-difference", a * sigmoid_(-x) - a * sigmoid_(x), -(a * tanh_(0.5 * x)),
           "a σ(-x) - a σ(x) = -a tanh(x/2)"),
    stable("sigmoid-difference-scaled", (b * sigmoid_(-x)) * a - (b * sigmoid_(x)) * a,
           -((a * b) * tanh_(0.5 * x)), "a b σ(-x) - a b σ(x) = -a b tanh(x/2)"),
]  # fmt: skip
