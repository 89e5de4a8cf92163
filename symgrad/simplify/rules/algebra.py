"""Elementwise algebra: negation, products and quotients, powers, conditions.

Every rule states its identity and where it holds. What a rule keeps, here and in `stable`:

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

from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import (
    ARRAY,
    CONST,
    EYE,
    IOTA,
    Expr,
    bind,
    const,
    const_value,
    is_const,
)
from symgrad.expr.op import Kind
from symgrad.expr.rounding import is_exact_conversion
from symgrad.ops.elementwise import AND, log, sqrt
from symgrad.simplify.facts import is_float, like, nonnegative, normal, number, positive
from symgrad.simplify.pattern import Context, Rule, function, function_rule, once, rule
from symgrad.simplify.vocabulary import (
    a,
    abs_,
    b,
    c,
    d,
    exp_,
    log_,
    maximum_,
    minimum_,
    not_,
    power_,
    select_,
    sqrt_,
    square_,
    x,
    xlogy_,
    y,
)


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
         when=positive),
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
         "√(c x²) = √c |x| for c > 0; improves where x² over- or underflows", when=positive),
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


def _connective(node: Expr, context: Context) -> Expr | None:
    neutral = node.op is AND
    for known, other in (node.args, node.args[::-1]):
        if known.op is CONST and known.dtype == other.dtype == "bool":
            return other if bool(const_value(known)) == neutral else known
    return None


_MOST_KNOWN = 40  # nodes of a condition that is looked at,
_MOST_ELEMENTS = 1 << 16  # and elements


def _known_condition(node: Expr, context: Context) -> Expr | None:
    """A selection, or a condition, where nothing below a condition is a variable."""
    condition = node.args[0] if node.dtype != "bool" else node
    found, stack, size = {condition}, [condition], 0
    while stack:
        n = stack.pop()
        size += n.size
        if not n.args and n.op not in (CONST, ARRAY, EYE, IOTA):
            return None
        new = [a for a in n.args if a not in found]
        found.update(new)
        stack.extend(new)
        if len(found) > _MOST_KNOWN or size > _MOST_ELEMENTS or n.op.kind is Kind.CONTROL:
            return None
    (value,) = evaluate([condition], {})
    if not value.size or value.all() != value.any():
        return None
    known = bool(value.all())
    return const(known, "bool", node.shape) if condition is node else node.args[1 if known else 2]


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
    function_rule("condition-known", "select any all not_equal", _known_condition,
                  "(c ? a : b) = a or b, and c is true or false, where c has no variables",
                  "algebra"),
    function_rule("connective-constant", "logical_and logical_or", _connective,
                  "x and true = x, x and false = false, x or true = true, x or false = x",
                  "algebra", among="const"),
    rule("select-not", select_(not_(x), a, b), lambda x, a, b: bind("select", x, b, a),
         "(not x ? a : b) = (x ? b : a)", lambda x: x.dtype == "bool"),
    rule("select-nested-then", select_(x, select_(x, a, y), b), select_(x, a, b),
         "x ? (x ? a : _) : b = x ? a : b"),
    rule("select-nested-else", select_(x, a, select_(x, y, b)), select_(x, a, b),
         "x ? a : (x ? _ : b) = x ? a : b"),
    rule("above-infinity", function("greater")(x, math.inf),
         lambda x: const(False, "bool", x.shape), "x > inf is never so", is_float),
    rule("below-infinity", function("less")(x, -math.inf),
         lambda x: const(False, "bool", x.shape), "x < -inf is never so", is_float),
    rule("maximum-nonnegative", maximum_(x, 0), x, "max(x, 0) = x where x is never negative",
         lambda x: is_float(x) and nonnegative(x)),
    rule("maximum-same", maximum_(x, x), x, "max(x, x) = x"),
    rule("minimum-same", minimum_(x, x), x, "min(x, x) = x"),
]  # fmt: skip


def _convert_twice(node: Expr, context: Context) -> Expr | None:
    inner = node.args[0]
    source = inner.args[0]
    if is_exact_conversion(source.dtype, inner.dtype):
        return bind("convert", source, attrs=node.attrs)
    return None


CONVERSIONS = [
    function_rule("convert-twice", "convert", _convert_twice,
                  "convert(convert(x)) = convert(x) if the inner one is exact",
                  "algebra", among="convert"),
]  # fmt: skip
