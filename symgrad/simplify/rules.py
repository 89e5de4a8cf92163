"""Elementwise rules: algebra, strength reduction, and stable forms.

Every rule states its identity and where it holds. What a rule keeps:

* a finite value stays finite, a NaN input stays NaN, and zero keeps its sign;
* `x + 0.0`, `x * 0`, `x - x`, `x / x` are left alone: at -0.0 or inf they are not x, 0, 0, 1;
* rounding may change by a few units in the last place. An overflow or underflow of an
  *intermediate* result of the user's formula may disappear ("improves"); in the stable forms the
  same holds for inf - inf and inf / inf at the ends of the axis, where the limit is returned.

Not here on purpose: a*b + a*c → a*(b + c) and exp(a)*exp(b) → exp(a + b) (the sum can overflow
where the products do not), -(a - b) → b - a (sign of zero), exp(log x) → x for x of unknown sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from symgrad.expr.node import CONST, FLOATS, Expr, bind, const, const_value, is_const
from symgrad.ops import elementwise as _elementwise  # noqa: F401  (registers the rows)
from symgrad.ops.elementwise import log, select, softplus, sqrt
from symgrad.simplify.pattern import (
    Context,
    Pattern,
    Rule,
    constants,
    function,
    function_rule,
    once,
    rule,
    variables,
)

LN2 = math.log(2)

a, b, x, y, z = variables("a b x y z")
c, d = constants("c d")
exp_, log_, log1p_, expm1_, sqrt_ = map(function, ("exp", "log", "log1p", "expm1", "sqrt"))
square_, power_, abs_, cosh_ = map(function, ("square", "power", "absolute", "cosh"))
sigmoid_, softplus_, tanh_, erf_, erfc_ = map(
    function, ("sigmoid", "softplus", "tanh", "erf", "erfc")
)
sinh_, hypot_, logaddexp_, exp2_ = map(function, ("sinh", "hypot", "logaddexp", "exp2"))
xlogy_, sech_, cos_, complement_square_ = map(
    function, ("xlogy", "sech", "cos", "complement_square")
)
select_, not_, maximum_, minimum_ = map(
    function, ("select", "logical_not", "maximum", "minimum")
)


# ---- facts about nodes and constants ----------------------------------------------------------

# Ranges of functions: never negative, never -0.0 (NaN is possible).
_NONNEGATIVE = frozenset(
    {
        "exp", "exp2", "square", "absolute", "cosh", "softplus", "sigmoid", "erfc", "hypot",
        "softmax", "norm",
    }
)  # fmt: skip
_KEEPS_SIGN = frozenset(
    {"broadcast", "permute", "reshape", "slice", "gather", "sum", "add", "multiply", "einsum",
     "maximum", "sqrt", "concat", "max", "min", "minimum", "divide"}
)  # fmt: skip
_MOST_LOOKED_AT = 40


def nonnegative(node: Expr) -> bool:
    """Whether `node` is known to be >= +0.0 or NaN."""
    stack, looked = [node], 0
    while stack:
        e = stack.pop()
        looked += 1
        if looked > _MOST_LOOKED_AT:
            return False
        if e.op is CONST:
            if not (const_value(e) >= 0 and not np.signbit(const_value(e))):
                return False
        elif e.name in _KEEPS_SIGN:
            # a gather's index is not a value
            stack.extend(e.args[:1] if e.name == "gather" else e.args)
        elif e.name not in _NONNEGATIVE:
            return False
    return True


def number(node: Expr) -> float:
    """The value of a constant as a number of Python: whole ones beyond 2^53 keep their digits."""
    return const_value(node).item()


def normal(value: float, dtype: str) -> bool:
    """Whether `value` is finite, not zero and not subnormal in `dtype`, with room to spare."""
    if dtype not in FLOATS:
        return False
    limit = 1e290 if dtype == "float64" else 1e34
    return 1 / limit < abs(value) < limit


def is_float(node: Expr) -> bool:
    """Whether `node` has a float dtype."""
    return node.dtype in FLOATS


def like(value: float, node: Expr) -> Expr:
    """A constant of `node`'s type."""
    return const(value, node.dtype, node.shape)


def _power_of_two(value: float) -> bool:
    return math.isfinite(value) and value != 0 and abs(math.frexp(value)[0]) == 0.5


def _product(c: Expr, d: Expr) -> bool:
    return (
        normal(number(c), c.dtype)
        and normal(number(d), c.dtype)
        and normal(number(c) * number(d), c.dtype)
    )


def _quotient(c: Expr, d: Expr) -> bool:
    return (
        normal(number(c), c.dtype)
        and normal(number(d), c.dtype)
        and normal(number(c) / number(d), c.dtype)
    )


def _same_sign(c: Expr, d: Expr) -> bool:
    p, q = number(c), number(d)
    return normal(p, c.dtype) and normal(q, c.dtype) and p * q > 0


def _positive(c: Expr) -> bool:
    return normal(number(c), c.dtype) and number(c) > 0


def _halvable(c: Expr) -> bool:
    return _power_of_two(number(c)) and normal(number(c), c.dtype)


def _not_bool(x: Expr) -> bool:
    return x.dtype != "bool"


def _negated(c: Expr) -> Expr:
    return -c


# ---- negation ---------------------------------------------------------------------------------


def _odd(name: str) -> Rule:
    f = function(name)
    return rule(f"odd-{name}", f(once(-x)), -f(x), f"{name}(-x) = -{name}(x), exactly")


def _even(name: str) -> list[Rule]:
    f = function(name)
    return [
        rule(f"even-{name}", f(-x), f(x), f"{name}(-x) = {name}(x), exactly"),
        rule(f"even-{name}-abs", f(abs_(x)), f(x), f"{name}(|x|) = {name}(x), exactly"),
    ]


NEGATION: list[Rule] = [
    rule("negate-twice", -(-x), x,  # noqa: B002
         "-(-x) = x"),
    rule("negate-both", (-a) * (-b), a * b, "(-a)(-b) = ab", rank=0),
    rule("negate-both-divide", (-a) / (-b), a / b, "(-a)/(-b) = a/b", rank=0),
    rule("negate-product", once(-a) * b, -(a * b), "(-a)b = -(ab)",
         when=lambda b: b.op is not CONST),
    rule("negate-numerator", once(-a) / b, -(a / b), "(-a)/b = -(a/b)",
         when=lambda b: b.op is not CONST),
    rule("negate-denominator", a / once(-b), -(a / b), "a/(-b) = -(a/b)",
         when=lambda a: a.op is not CONST),
    rule("negate-scaled", -once(c * x), lambda c, x: _negated(c) * x, "-(cx) = (-c)x"),
    rule("scale-negated", c * (-x), lambda c, x: _negated(c) * x, "c(-x) = (-c)x"),
    rule("negate-scaled-divide", -once(c / x), lambda c, x: _negated(c) / x, "-(c/x) = (-c)/x"),
    rule("divide-negated", c / (-x), lambda c, x: _negated(c) / x, "c/(-x) = (-c)/x",
         when=lambda c: not is_const(c, 1) and not is_const(c, -1), rank=0),
    rule("negated-divide", (-x) / c, lambda c, x: x / _negated(c), "(-x)/c = x/(-c)", rank=0),
    rule("negate-negative-scale", -once(x / c), lambda c, x: x / _negated(c), "-(x/c) = x/(-c)"),
    *[_odd(n) for n in ("sin", "tan", "sinh", "tanh", "arcsin", "arctan", "arcsinh", "arctanh",
                        "erf", "cbrt")],
    *[r for n in ("cos", "cosh", "square", "absolute") for r in _even(n)],
]  # fmt: skip


# ---- constants, products, quotients -------------------------------------------------------------


def _scaled(c: Expr, d: Expr, x: Expr) -> Expr:
    return (c * d) * x


PRODUCTS: list[Rule] = [
    rule("scale-twice", c * (d * x), _scaled, "c(dx) = (cd)x; c, d and cd far from over/underflow",
         when=_product),
    rule("scale-quotient", c * once(x / d), lambda c, d, x: (c / d) * x,
         "c(x/d) = (c/d)x; constants far from over/underflow", when=_quotient),
    rule("scaled-quotient", once(c * x) / d, lambda c, d, x: (c / d) * x,
         "(cx)/d = (c/d)x; constants far from over/underflow", when=_quotient),
    rule("divide-twice", once(x / c) / d, lambda c, d, x: x / (c * d),
         "(x/c)/d = x/(cd); constants far from over/underflow", when=_product),
    rule("scale-reciprocal", c * once(d / x), lambda c, d, x: (c * d) / x,
         "c(d/x) = (cd)/x; constants far from over/underflow", when=_product),
    rule("reciprocal-scaled", c / once(d * x), lambda c, d, x: (c / d) / x,
         "c/(dx) = (c/d)/x; constants far from over/underflow", when=_quotient),
    rule("divide-by-power-of-two", x / c, lambda c, x: x * (1 / c), "x/2^k = x 2^-k, exactly",
         when=_halvable),
    rule("add-same", x + x, 2 * x, "x + x = 2x, exactly", when=_not_bool, rank=0),
    rule("add-scaled", x + c * x, lambda c, x: (1 + c) * x, "x + cx = (1 + c)x for c > 0",
         when=_positive),
    rule("add-both-scaled", c * x + d * x, lambda c, d, x: (c + d) * x,
         "cx + dx = (c + d)x for c, d of one sign", when=_same_sign),
    rule("x-log-x", x * log_(x), xlogy_(x, x),
         "x log x as one function: at 0 it is 0 and its derivative -inf", group="stable"),
    rule("square", x * x, square_(x), "x x = x²", when=_not_bool, rank=0),
    rule("reciprocal", function("reciprocal")(x), 1 / x, "one spelling of 1/x",
         when=is_float),
    rule("reciprocal-twice", 1 / (1 / x), x, "1/(1/x) = x; improves where 1/x overflows", rank=0),
    rule("reciprocal-quotient", 1 / once(a / b), b / a,
         "1/(a/b) = b/a; improves where a/b over- or underflows"),
    rule("times-reciprocal", a * (1 / b), a / b, "a(1/b) = a/b; improves where 1/b overflows",
         when=lambda a: a.op is not CONST),
    rule("divide-by-reciprocal", a / (1 / b), a * b,
         "a/(1/b) = ab; improves where 1/b overflows", rank=0),
]  # fmt: skip


# ---- powers, roots, logarithms -------------------------------------------------------------------


def _exponent(value: float) -> Callable[..., bool]:
    return lambda c: is_const(c, value)


def _float_base(value: float) -> Callable[..., bool]:
    return lambda x, c: is_const(c, value) and is_float(x)


def _root_base(value: float) -> Callable[..., bool]:
    return lambda x, c: is_const(c, value) and is_float(x) and nonnegative(x)


def _nonnegative_y(y: Expr) -> bool:
    return nonnegative(y)


def _whole(c: Expr) -> bool:
    """A whole exponent from 2 on: then no partial product is farther from 1 than the result."""
    return number(c) >= 2 and number(c) == int(number(c)) <= 64


def _small_power(x: Expr, c: Expr) -> bool:
    return _not_bool(x) and number(c) in range(3, 9)


def _by_squaring(x: Expr, n: int) -> Expr:
    half = x if n < 4 else bind("square", x) if n < 6 else x * bind("square", x)
    even = bind("square", bind("square", x)) if n in (4, 5) else bind("square", half)
    if n == 8:
        even = bind("square", bind("square", bind("square", x)))
    return even * x if n % 2 else even


POWERS: list[Rule] = [
    rule("power-0", power_(x, c), lambda x: like(1, x), "x⁰ = 1, for NaN too", _exponent(0)),
    rule("power-1", power_(x, c), lambda x: x, "x¹ = x", _exponent(1)),
    rule("power-2", power_(x, c), lambda x: bind("square", x), "pow(x, 2) = x²",
         lambda x, c: is_const(c, 2) and _not_bool(x)),
    rule("power-n", power_(x, c), lambda x, c: _by_squaring(x, int(number(c))),
         "pow(x, n) by multiplications, n = 3 to 8", lambda x, c: _small_power(x, c),
         group="strength"),
    rule("cube", x * square_(x), lambda x: bind("power", x, like(3, x)), "x x² = x³", _not_bool,
         group="collect"),
    rule("power-step", x * power_(x, c), lambda x, c: bind("power", x, c + 1),
         "x xⁿ = xⁿ⁺¹ for n = 2, 3, …", lambda x, c: _whole(c), group="collect"),
    rule("power-two-steps", square_(x) * power_(x, c), lambda x, c: bind("power", x, c + 2),
         "x² xⁿ = xⁿ⁺² for n = 2, 3, …", lambda x, c: _whole(c), group="collect"),
    rule("times-scaled", x * once(c * x), lambda x, c: c * bind("square", x), "x (c x) = c x²",
         lambda x, c: _not_bool(x) and abs(number(c)) >= 1, group="collect"),
    rule("power-minus-1", power_(x, c), lambda x: 1 / x, "pow(x, -1) = 1/x", _float_base(-1)),
    rule("power-minus-2", power_(x, c), lambda x: bind("square", 1 / x),
         "pow(x, -2) = (1/x)²; 1/x² would underflow early", _float_base(-2)),
    rule("power-half", power_(x, c), lambda x: sqrt(x),
         "pow(x, 1/2) = √x for x >= +0 (at -inf, -0 they differ)", _root_base(0.5)),
    rule("power-minus-half", power_(x, c), lambda x: 1 / sqrt(x),
         "pow(x, -1/2) = 1/√x for x >= +0", _root_base(-0.5)),
    rule("power-3-halves", power_(x, c), lambda x: x * sqrt(x),
         "pow(x, 3/2) = x √x for x >= +0", _root_base(1.5), group="strength"),
    rule("power-of-two", power_(c, x), lambda x: bind("exp2", x), "pow(2, x) = 2^x",
         lambda x, c: is_const(c, 2) and is_float(x)),
    rule("root-of-square", sqrt_(square_(x)), abs_(x),
         "√(x²) = |x|; improves where x² over- or underflows"),
    rule("root-of-scaled-square", sqrt_(c * square_(x)),
         lambda c, x: bind("absolute", x) * math.sqrt(number(c)),
         "√(c x²) = √c |x| for c > 0; improves where x² over- or underflows", when=_positive),
    rule("square-of-root", square_(sqrt_(x)), lambda x: x, "(√x)² = x for x >= +0", nonnegative),
    rule("absolute-nonnegative", abs_(x), lambda x: x, "|x| = x for x >= +0", nonnegative),
    rule("exp-of-log", exp_(log_(x)), lambda x: x, "exp(log x) = x for x >= +0", nonnegative,
         group="stable"),
    rule("log-of-exp", log_(exp_(x)), x, "log(exp x) = x; improves where exp over- or underflows",
         group="stable"),
    rule("log-of-root", log_(sqrt_(x)), 0.5 * log_(x), "log √x = ½ log x, NaN for x < 0 in both"),
    rule("log-of-square", log_(once(square_(x))), 2 * log_(abs_(x)),
         "log x² = 2 log |x|; improves where x² over- or underflows"),
    rule("reciprocal-of-exp", 1 / exp_(x), exp_(-x),
         "1/exp(x) = exp(-x); improves where exp(x) is subnormal", group="stable"),
    rule("log-of-exp-product", log_(once(exp_(x) * y)), lambda x, y: x + log(y),
         "log(eˣ y) = x + log y for y >= +0; improves where eˣ over- or underflows",
         lambda y: nonnegative(y) and y.name != "exp", group="stable"),
    rule("log-of-exp-times-exp", log_(once(exp_(x) * exp_(y))), x + y,
         "log(eˣ eʸ) = x + y", group="stable", rank=0),
    rule("log-of-exp-quotient", log_(once(exp_(x) / y)), lambda x, y: x - log(y),
         "log(eˣ / y) = x - log y for y >= +0; improves where eˣ over- or underflows",
         _nonnegative_y, group="stable"),
    rule("log-of-quotient-by-exp", log_(once(y / exp_(x))), lambda x, y: log(y) - x,
         "log(y / eˣ) = log y - x for y >= +0", _nonnegative_y, group="stable"),
]  # fmt: skip


# ---- conditions ------------------------------------------------------------------------------

CONDITIONS: list[Rule] = [
    rule("not-twice", not_(not_(x)), x, "not not x = x"),
    rule("not-equal", not_(once(function("equal")(x, y))), function("not_equal")(x, y),
         "not x = y is x ≠ y, for NaN too"),
    rule("not-not-equal", not_(once(function("not_equal")(x, y))), function("equal")(x, y),
         "not x ≠ y is x = y, for NaN too"),
    rule("and-same", function("logical_and")(x, x), lambda x: x, "x and x = x",
         lambda x: x.dtype == "bool"),
    rule("or-same", function("logical_or")(x, x), lambda x: x, "x or x = x",
         lambda x: x.dtype == "bool"),
    rule("select-not", select_(not_(x), a, b), lambda x, a, b: bind("select", x, b, a),
         "(not x ? a : b) = (x ? b : a)", lambda x: x.dtype == "bool"),
    rule("select-nested-then", select_(x, select_(x, a, y), b), select_(x, a, b),
         "x ? (x ? a : _) : b = x ? a : b"),
    rule("select-nested-else", select_(x, a, select_(x, y, b)), select_(x, a, b),
         "x ? a : (x ? _ : b) = x ? a : b"),
    rule("maximum-same", maximum_(x, x), x, "max(x, x) = x"),
    rule("minimum-same", minimum_(x, x), x, "min(x, x) = x"),
]  # fmt: skip

_EXACT = {
    "bool": {"int32", "int64", "float32", "float64"},
    "int32": {"int64", "float64"},
    "float32": {"float64"},
}


def _convert_twice(node: Expr, context: Context) -> Expr | None:
    inner = node.args[0]
    source = inner.args[0]
    if inner.dtype in _EXACT.get(source.dtype, ()):
        return bind("convert", source, attrs=node.attrs)
    return None


CONVERSIONS = [
    function_rule("convert-twice", "convert", _convert_twice,
                  "convert(convert(x)) = convert(x) if the inner one is exact",
                  "algebra", among="convert"),
]  # fmt: skip


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
    """Both branches are smooth where they are taken; |x| keeps inf - inf out of the second."""
    small = bind("less", bind("square", x), like(1, x))
    near = 0.5 * bind("log1p", bind("square", bind("sinh", x)))
    size = bind("absolute", x)
    return select(small, near, softplus(-2 * size) + size - LN2)


def _not_clipped(x: Expr) -> bool:
    return not (x.name == "select" and is_const(x.args[1], like_value(-LN2, x)))


def like_value(value: float, node: Expr) -> float:
    """`value` rounded to `node`'s dtype."""
    return float(np.asarray(value, node.dtype)) if is_float(node) else value


_MOST_TERMS = 64


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
        if len(terms) + len(stack) > _MOST_TERMS:
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
    stable("exp-softplus", exp_(-softplus_(x)), sigmoid_(-x), "exp(-softplus(x)) = σ(-x)"),
    stable("softplus-minus", softplus_(x) - x, softplus_(-x), "softplus(x) - x = softplus(-x)"),
    stable("minus-softplus", x - softplus_(x), -softplus_(-x), "x - softplus(x) = -softplus(-x)"),
    function_rule("logaddexp", "log", _log_of_exps, "log(eᵃ + eᵇ) = logaddexp(a, b), nested",
                  "stable", among="add"),
    stable("log-cosh", log_(cosh_(x)),
           lambda x: _log_cosh(x),
           "log cosh x = ½ log1p(sinh² x) for x² < 1, else softplus(-2|x|) + |x| - log 2"),
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
           "log(c erfc x) = log c + log erfc x", _positive),
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

SCALAR_RULES: tuple[Rule, ...] = (
    *NEGATION,
    *PRODUCTS,
    *POWERS,
    *CONDITIONS,
    *CONVERSIONS,
    *STABLE,
)
