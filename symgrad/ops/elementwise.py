"""Elementwise operations: one row each, nothing else to write anywhere.

Columns are explained in `symgrad.expr.op.Op`. In the C column `@` stands for the type suffix
(`sin@` is `sin` or `sinf`); a name that starts with `sg_` is a file in templates/c99/helpers.

Partials are functions of the arguments and of the output. They are written in the form that keeps
*relative* accuracy: tanh' is not 1 - tanh², sigmoid' is not s (1 - s), expm1' is not out + 1.
sech and 1 - x² are rows because their own derivatives would overflow or cancel otherwise.
At kinks and ties the rule is: the derivative where there is one; else the sub- or supergradient
of least norm; equal arguments share equally; an infinite limit is inf; outside the domain NaN.

A selection is differentiated as if its condition were constant. So a partial has none at points
where the function is smooth: what would be 0/0 or inf - inf there is a row of its own (gap, sinc,
jn_root), and conditions hold only where the function ends or has a kink. kinks.md has the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError
from symgrad.expr.node import CONST, FLOATS, Expr, bind, const, const_value, is_const
from symgrad.expr.op import OPS, Kind, Op, always, if_all, if_first, register
from symgrad.ops import interval, readings, special
from symgrad.ops.readings import by

Partial = Callable[..., Any] | None


def _infer_same(first: Expr, *others: Expr) -> tuple[tuple[int, ...], str]:
    for a in others:
        if a.shape != first.shape or a.dtype != first.dtype:
            _agree((first, *others))
    return first.shape, first.dtype


def _infer_float(first: Expr, *others: Expr) -> tuple[tuple[int, ...], str]:
    if others:
        _agree((first, *others))
    if first.dtype not in FLOATS:
        raise DtypeError(f"expected float operands, got {first.dtype}")
    return first.shape, first.dtype


def _infer_bool(*args: Expr) -> tuple[tuple[int, ...], str]:
    _agree(args)
    return args[0].shape, "bool"


def _agree(args: tuple[Expr, ...]) -> None:
    for a in args[1:]:
        if a.shape != args[0].shape:
            raise ShapeError(f"operands of shapes {[a.shape for a in args]} must be equal")
        if a.dtype != args[0].dtype:
            raise DtypeError(f"operands of dtypes {[a.dtype for a in args]} must be equal")


def unary(
    name: str,
    evaluate: Callable[..., Any],
    c: str,
    partial: Partial,
    sympy: str,
    domain: tuple[float, float],
    cost: int,
    infer: Callable[..., Any] = _infer_float,
    numpy: tuple[str, ...] | None = None,
    c_int: str | None = None,
    **more: Any,
) -> Op:
    """Register a row with one argument; `numpy` () if no function of NumPy or SciPy is like it."""
    return register(
        Op(
            name, Kind.ELEMENTWISE, infer, evaluate, partials=(partial,), c=c, c_int=c_int,
            sympy=sympy, domain=(domain,), cost=cost, numpy=(name,) if numpy is None else numpy,
            **more,
        )
    )  # fmt: skip


def binary(
    name: str,
    evaluate: Callable[..., Any],
    c: str,
    partials: tuple[Partial, Partial],
    sympy: str,
    domain: tuple[tuple[float, float], tuple[float, float]],
    cost: int,
    infer: Callable[..., Any] = _infer_float,
    numpy: tuple[str, ...] | None = None,
    c_int: str | None = None,
    **more: Any,
) -> Op:
    """Register a row with two arguments."""
    return register(
        Op(
            name, Kind.ELEMENTWISE, infer, evaluate, partials=partials, c=c, c_int=c_int,
            sympy=sympy, domain=domain, cost=cost, numpy=(name,) if numpy is None else numpy,
            **more,
        )
    )  # fmt: skip


# ---- names for the rows, so that partials read like formulas ----------------------------------


def _function(name: str) -> Callable[..., Expr]:
    def apply(*args: Expr) -> Expr:
        return bind(name, *args)

    apply.__name__ = name
    return apply


sin, cos, tan, sinh, cosh = map(_function, ("sin", "cos", "tan", "sinh", "cosh"))
exp, log, sqrt, square, sign = map(_function, ("exp", "log", "sqrt", "square", "sign"))
gap, slope, jn_root = map(_function, ("gap", "slope", "jn_root"))
sigmoid, digamma, hypot, power = map(_function, ("sigmoid", "digamma", "hypot", "power"))
sech, complement_square = map(_function, ("sech", "complement_square"))
absolute, is_finite = map(_function, ("absolute", "isfinite"))
floor, trunc, log1p, expm1 = map(_function, ("floor", "trunc", "log1p", "expm1"))
softplus, logaddexp, reciprocal = map(_function, ("softplus", "logaddexp", "reciprocal"))


def equal(a: Expr, b: Any) -> Expr:
    """a == b, elementwise."""
    return bind("equal", a, _lift(b, a))


def greater(a: Expr, b: Any) -> Expr:
    """a > b, elementwise."""
    return bind("greater", a, _lift(b, a))


def less(a: Expr, b: Any) -> Expr:
    """a < b, elementwise."""
    return bind("less", a, _lift(b, a))


def not_equal(a: Expr, b: Any) -> Expr:
    """a != b, elementwise."""
    return bind("not_equal", a, _lift(b, a))


def greater_equal(a: Expr, b: Any) -> Expr:
    """a >= b, elementwise."""
    return bind("greater_equal", a, _lift(b, a))


def less_equal(a: Expr, b: Any) -> Expr:
    """a <= b, elementwise."""
    return bind("less_equal", a, _lift(b, a))


def minimum(a: Expr, b: Any) -> Expr:
    """The smaller one, elementwise."""
    return bind("minimum", a, _lift(b, a))


def convert(x: Expr, dtype: str) -> Expr:
    """The elements as another type."""
    return bind("convert", x, attrs=(dtype,))


def both(a: Expr, b: Expr) -> Expr:
    """a and b, elementwise on bool."""
    return bind("logical_and", a, b)


def either(a: Expr, b: Expr) -> Expr:
    """a or b, elementwise on bool."""
    return bind("logical_or", a, b)


def invert(a: Expr) -> Expr:
    """not a, elementwise on bool."""
    return bind("logical_not", a)


def select(condition: Expr, a: Any, b: Any) -> Expr:
    """a where condition, else b; Python numbers take the other's type."""
    like = a if isinstance(a, Expr) else b
    return bind("select", condition, _lift(a, like), _lift(b, like))


def _sigmoid_of_decay(x: Expr, e: Expr) -> Expr:
    return select(greater_equal(x, 0), const(1, x.dtype, x.shape), e) / (1 + e)


def _softplus_of_decay(x: Expr, e: Expr) -> Expr:
    return select(greater(x, 0), x, 0) + log1p(e)


def _lift(value: Any, like: Expr) -> Expr:
    return value if isinstance(value, Expr) else const(value, like.dtype, like.shape)


def _tie(x: Expr, y: Expr, wins: Expr) -> Expr:
    """1 where `wins`, a half on a tie, else 0."""
    half = const(0.5, x.dtype, x.shape)
    return select(wins, const(1, x.dtype, x.shape), select(equal(x, y), half, half * 0))


# ---- where a value can be other than zero -------------------------------------------------------


def meet(*supports: Expr | None) -> Expr | None:
    """Where all of them are true; None, which stands for everywhere, if there is none."""
    total: Expr | None = None
    for s in supports:
        if s is not None and s is not total:
            total = s if total is None else both(total, s)
    return total


def join(a: Expr | None, b: Expr | None) -> Expr | None:
    """Where one of them is true; None, which stands for everywhere, if one is that."""
    if a is None or b is None:
        return None
    if a is b or is_const(b, False):
        return a
    return b if is_const(a, False) else either(a, b)


def _of_product(args: Any, attrs: Any, supports: Any) -> Expr | None:
    """A constant factor 0 is arithmetic, no structure."""
    return meet(*[s for a, s in zip(args, supports, strict=True) if a.op is not CONST])


def _of_numerator(args: Any, attrs: Any, supports: Sequence[Expr | None]) -> Expr | None:
    return supports[0]


def _of_sum(args: Any, attrs: Any, supports: Any) -> Expr | None:
    a, b = supports
    if is_const(args[0], 1):  # 1 - mask
        b = args[1]
        if b.name == "convert" and b.args[0].dtype == "bool":
            return invert(b.args[0])
    return join(a, b)


def _of_selection(args: Any, attrs: Any, supports: Any) -> Expr | None:
    condition, (a, b) = args[0], supports[1:]
    if a is None and b is None:
        return None
    if a is None:
        return join(condition, b)
    if b is None:
        return join(invert(condition), a)
    return join(
        a if is_const(a, False) else both(condition, a),
        b if is_const(b, False) else both(invert(condition), b),
    )


# ---- normal forms that hold for every value, NaN and infinities included -----------------------


def _normalize_multiply(args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr | None:
    a, b = args
    if a.op is CONST and is_const(a, -1):
        return bind("negative", b)
    if b.op is CONST and is_const(b, -1):
        return bind("negative", a)
    return None


def _normalize_subtract(args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr | None:
    a, b = args
    if b.op.name == "const" and is_const(b, 0) and not np.signbit(const_value(b)):
        return a
    if b.name == "negative":
        return a + b.args[0]
    return None


def _normalize_add(args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr | None:
    a, b = args
    if b.name == "negative" and a.name != "negative":
        return a - b.args[0]
    if a.name == "negative" and b.name != "negative":
        return b - a.args[0]
    return None


def _normalize_divide(args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr | None:
    a, b = args
    if is_const(b, 1):
        return a
    if is_const(b, -1):
        return -a
    return None


# ---- the tables -----------------------------------------------------------------------------

_REAL = (-3.0, 3.0)
_POSITIVE = (0.1, 5.0)
_PAIR = (_REAL, _REAL)
_LN2, _LN10 = math.log(2), math.log(10)

# fmt: off
#     name        evaluate         C                      partial(x, out)                                   SymPy           domain        cost
unary("negative", np.negative,     "-{0}",                lambda x, out: -1,                                "-a",           _REAL,        1, _infer_same, support=_of_numerator, interval=interval.negative, reads=lambda r, node, x: -x)
unary("absolute", np.abs,          "fabs@({0})",          lambda x, out: sign(x),                           "Abs(a)",       _REAL,        1, _infer_same, ("absolute", "fabs"), c_int="{0} < 0 ? -{0} : {0}", nonnegative=always, interval=interval.absolute, radicand=lambda args, attrs: square(args[0]), reads=by("absolute"))
unary("sign",     np.sign,         "{0} > 0 ? 1 : ({0} < 0 ? -1 : ({0} == 0 ? 0 : {0}))", None,             "sign(a)",      _REAL,        2, _infer_same, support=lambda args, attrs, supports: bind("not_equal", args[0], _lift(0, args[0])), interval=interval.sign, reads=by("sign"))
unary("sqrt",     np.sqrt,         "sqrt@({0})",          lambda x, out: _sqrt_slope(x, out),              "sqrt(a)",      _POSITIVE,    5, nonnegative=if_first, radicand=lambda args, attrs: args[0], reads=by("root"))
unary("cbrt",     np.cbrt,         "cbrt@({0})",          lambda x, out: _root(x, 1 / (3 * square(out))),   "cbrt(a)",      _POSITIVE,    20, nonnegative=if_first, vectorized=True, reads=by("odd", "cbrt"))
unary("square",   np.square,       "{0} * {0}",           lambda x, out: 2 * x,                             "a**2",         _REAL,        1, _infer_same, nonnegative=always, reads=lambda r, node, x: r.to_the(x, 2))
unary("exp",      np.exp,          "exp@({0})",           lambda x, out: out,                               "exp(a)",       _REAL,        20, nonnegative=always, vectorized=True, reads=by("exp"))
unary("exp2",     np.exp2,         "exp2@({0})",          lambda x, out: out * _LN2,                        "2**a",         _REAL,        20, nonnegative=always, reads=readings.reads_exp2)
unary("expm1",    np.expm1,        "expm1@({0})",         lambda x, out: exp(x),                            "exp(a) - 1",   _REAL,        20, vectorized=True, reads=readings.reads_expm1)
unary("log",      np.log,          "log@({0})",           lambda x, out: 1 / x,                             "log(a)",       _POSITIVE,    20, vectorized=True, reads=by("log"))
unary("log1p",    np.log1p,        "log1p@({0})",         lambda x, out: 1 / (1 + x),                       "log(1 + a)",   (-0.9, 9.0),  20, vectorized=True, reads=readings.reads_log1p)
unary("log2",     np.log2,         "log2@({0})",          lambda x, out: (1 / _LN2) / x,                    "log(a, 2)",    _POSITIVE,    20, vectorized=True)
unary("log10",    np.log10,        "log10@({0})",         lambda x, out: (1 / _LN10) / x,                   "log(a, 10)",   _POSITIVE,    20, vectorized=True)
unary("sin",      np.sin,          "sin@({0})",           lambda x, out: cos(x),                            "sin(a)",       _REAL,        20, vectorized=True, reads=by("odd", "sin"))
unary("cos",      np.cos,          "cos@({0})",           lambda x, out: -sin(x),                           "cos(a)",       _REAL,        20, vectorized=True, reads=by("even", "cos"))
unary("tan",      np.tan,          "tan@({0})",           lambda x, out: 1 + square(out),                   "tan(a)",       (-1.4, 1.4),  25, vectorized=True, reads=by("odd", "tan"))
unary("sinh",     np.sinh,         "sinh@({0})",          lambda x, out: cosh(x),                           "sinh(a)",      _REAL,        25, vectorized=True, reads=by("odd", "sinh"))
unary("cosh",     np.cosh,         "cosh@({0})",          lambda x, out: sinh(x),                           "cosh(a)",      _REAL,        25, nonnegative=always, vectorized=True, reads=lambda r, node, x: r.even("cosh", x, True))
unary("tanh",     np.tanh,         "tanh@({0})",          lambda x, out: square(sech(x)),                   "tanh(a)",      _REAL,        25, vectorized=True, reads=by("odd", "tanh"))
unary("sech",     lambda x: 1 / np.cosh(x), "1 / cosh@({0})", lambda x, out: -out * bind("tanh", x),          "1/cosh(a)",    _REAL,        29, numpy=(), nonnegative=always, reads=lambda r, node, x: r.to_the(r.even("cosh", x, True), -1))
unary("complement_square", lambda x: (1 - x) * (1 + x), "(1 - {0}) * (1 + {0})", lambda x, out: -2 * x,     "1 - a**2",     (-0.9, 0.9),  3, numpy=(), reads=readings.reads_complement_square)
unary("arcsin",   np.arcsin,       "asin@({0})",          lambda x, out: 1 / sqrt(complement_square(x)),       "asin(a)",      (-0.95, 0.95), 20, vectorized=True, reads=by("odd", "arcsin"))
unary("arccos",   np.arccos,       "acos@({0})",          lambda x, out: -1 / sqrt(complement_square(x)),      "acos(a)",      (-0.95, 0.95), 20, vectorized=True)
unary("arctan",   np.arctan,       "atan@({0})",          lambda x, out: 1 / (1 + square(x)),               "atan(a)",      _REAL,        20, vectorized=True, reads=by("odd", "arctan"))
unary("arcsinh",  np.arcsinh,      "asinh@({0})",         lambda x, out: 1 / hypot(x, const(1, x.dtype, x.shape)), "asinh(a)", _REAL, 25, vectorized=True, reads=by("odd", "arcsinh"))
unary("arccosh",  np.arccosh,      "acosh@({0})",         lambda x, out: 1 / (sqrt(x - 1) * sqrt(x + 1)),   "acosh(a)",     (1.1, 5.0),   25, vectorized=True)
unary("arctanh",  np.arctanh,      "atanh@({0})",         lambda x, out: 1 / complement_square(x),          "atanh(a)",     (-0.95, 0.95), 25, vectorized=True, reads=by("odd", "arctanh"))
unary("floor",    np.floor,        "floor@({0})",         None,                                             "floor(a)",     _REAL,        1)
unary("ceil",     np.ceil,         "ceil@({0})",          None,                                             "ceiling(a)",   _REAL,        1)
unary("trunc",    np.trunc,        "trunc@({0})",         None,                                             "sign(a)*floor(Abs(a))", _REAL, 1, numpy=("trunc", "fix"))
unary("rint",     np.rint,         "rint@({0})",          None,                                             "floor(a + 1/2)", _REAL,      1)
unary("reciprocal", np.reciprocal, "1 / {0}",             lambda x, out: -square(out),                      "1/a",          _POSITIVE,    4, nonnegative=if_first, reads=lambda r, node, x: r.to_the(x, -1))
unary("erf",      special.erf,     "erf@({0})",           lambda x, out: 2 / math.sqrt(math.pi) * exp(-square(x)),  "erf(a)",  _REAL,     30, vectorized=True, reads=by("erf"))
unary("erfc",     special.erfc,    "erfc@({0})",          lambda x, out: -2 / math.sqrt(math.pi) * exp(-square(x)), "erfc(a)", _REAL,     30, nonnegative=always, vectorized=True, reads=by("erfc"))
unary("gammaln",  special.gammaln, "sg_gammaln@({0})",    lambda x, out: digamma(x),                        "loggamma(a)",  _POSITIVE,    40)
unary("gamma",    special.gamma,   "tgamma@({0})",        lambda x, out: out * digamma(x),                  "gamma(a)",     _POSITIVE,    40)
unary("digamma",  special.digamma, "sg_digamma@({0})",    lambda x, out: bind("polygamma", const(1, x.dtype, x.shape), x), "digamma(a)", _POSITIVE, 40, numpy=("psi", "digamma"))
unary("sigmoid",  special.sigmoid, "sg_sigmoid@({0})",    lambda x, out: out * sigmoid(-x),                 "1/(1 + exp(-a))", _REAL,     25, numpy=("expit",), nonnegative=always, of_decay=_sigmoid_of_decay, reads=by("sigmoid"))
unary("logit",    special.logit,   "sg_logit@({0})",      lambda x, out: 1 / (x * (1 - x)),                 "log(a/(1 - a))", (0.05, 0.95), 30)
unary("softplus", special.softplus, "sg_softplus@({0})",  lambda x, out: sigmoid(x),                        "log(1 + exp(a))", _REAL,     45, numpy=(), nonnegative=always, of_decay=_softplus_of_decay)
unary("sinc",     special.sinc,    "{0} == 0 ? 1 : sin@({0}) / ({0})", lambda x, out: -x * jn_root(const(1, x.dtype, x.shape), square(x)), "sinc(a)", _REAL, 25, numpy=(), reads=by("even", "sinc"))
unary("stop_gradient", np.positive, "{0}",                None,                                             "a",            _REAL,        0, _infer_same, ("stop_gradient",), nonnegative=if_first, reads=lambda r, node, x: x)
unary("isnan",    np.isnan,        "{0} != {0}",          None,                                             "Ne(a, a)",     _REAL,        1, _infer_bool, c_int="0")
unary("isinf",    np.isinf,        "isinf({0}) != 0",     None,                                             "Eq(Abs(a), oo)", _REAL,      1, _infer_bool, c_int="0")
unary("isfinite", np.isfinite,     "isfinite({0}) != 0",  None,                                             "Lt(Abs(a), oo)", _REAL,      1, _infer_bool, c_int="1", reads=readings.reads_finite)
unary("logical_not", np.logical_not, "!{0}",              None,                                             "Not(a)",       _REAL,        1, _infer_bool, reads=readings.reads_not)

#      name        evaluate          C                        partials(x, y, out)                                               SymPy          domain          cost
binary("add",      np.add,           "{0} + {1}",             (lambda x, y, out: 1, lambda x, y, out: 1),                       "a + b",       _PAIR,          1, _infer_same, commutative=True, identity=-0.0, normalize=_normalize_add, support=_of_sum, nonnegative=if_all, interval=interval.add, accumulates="+", reads=readings.reads_add)
binary("subtract", np.subtract,      "{0} - {1}",             (lambda x, y, out: 1, lambda x, y, out: -1),                      "a - b",       _PAIR,          1, _infer_same, normalize=_normalize_subtract, support=_of_sum, interval=interval.subtract, reads=readings.reads_subtract)
binary("multiply", np.multiply,      "{0} * {1}",             (lambda x, y, out: y, lambda x, y, out: x),                       "a*b",         _PAIR,          1, _infer_same, commutative=True, identity=1, normalize=_normalize_multiply, support=_of_product, nonnegative=lambda args, attrs, which: args[0] is args[1] or all(which), interval=interval.multiply, accumulates="*", reads=readings.reads_multiply)
binary("divide",   np.divide,        "{0} / {1}",             (lambda x, y, out: 1 / y, lambda x, y, out: -out / y),            "a/b",         (_REAL, _POSITIVE), 4, numpy=("divide", "true_divide"), normalize=_normalize_divide, support=_of_numerator, nonnegative=if_all, reads=by("divide"))
binary("power",    np.power,         "pow@({0}, {1})",        (lambda x, y, out: _power_dx(x, y), lambda x, y, out: _power_dy(x, y, out)), "a**b", (_POSITIVE, _REAL), 40, _infer_same, numpy=("power", "float_power"), c_int="sg_ipow({0}, {1})", nonnegative=lambda args, attrs, which: which[0] or is_const(args[1]) and const_value(args[1]) % 2 == 0, vectorized=True, reads=by("power"))
binary("maximum",  np.maximum,       "{0} > {1} || {0} != {0} ? {0} : {1}", (lambda x, y, out: _tie(x, y, greater(x, y)), lambda x, y, out: _tie(x, y, greater(y, x))), "Max(a, b)", _PAIR, 1, _infer_same, commutative=True, c_int="{0} > {1} ? {0} : {1}", nonnegative=lambda args, attrs, which: any(which), interval=interval.maximum, accumulates="max", reads=readings.reads_maximum)
binary("minimum",  np.minimum,       "{0} < {1} || {0} != {0} ? {0} : {1}", (lambda x, y, out: _tie(x, y, less(x, y)), lambda x, y, out: _tie(x, y, less(y, x))), "Min(a, b)", _PAIR, 1, _infer_same, commutative=True, c_int="{0} < {1} ? {0} : {1}", nonnegative=if_all, interval=interval.minimum, accumulates="min", reads=readings.reads_minimum)
binary("arctan2",  np.arctan2,       "atan2@({0}, {1})",      (lambda y, x, out: x / hypot(x, y) / hypot(x, y), lambda y, x, out: -y / hypot(x, y) / hypot(x, y)), "atan2(a, b)", (_REAL, _POSITIVE), 30, vectorized=True)
binary("hypot",    np.hypot,         "hypot@({0}, {1})",      (lambda x, y, out: slope(x, out), lambda x, y, out: slope(y, out)), "sqrt(a**2 + b**2)", _PAIR, 20, commutative=True, nonnegative=always, vectorized=True, radicand=lambda args, attrs: square(args[0]) + square(args[1]), reads=readings.reads_hypot)
binary("logaddexp", np.logaddexp,    "sg_logaddexp@({0}, {1})", (lambda x, y, out: sigmoid(gap(x, y)), lambda x, y, out: sigmoid(-gap(x, y))), "log(exp(a) + exp(b))", _PAIR, 45, commutative=True, reads=readings.reads_logaddexp)
binary("mod",      np.mod,           "sg_mod@({0}, {1})",     (lambda x, y, out: 1, lambda x, y, out: -floor(x / y)),           "Mod(a, b)",   (_REAL, _POSITIVE), 20, _infer_same, numpy=("remainder",), c_int="sg_imod({0}, {1})", interval=interval.mod)
binary("fmod",     np.fmod,          "fmod@({0}, {1})",       (lambda x, y, out: 1, lambda x, y, out: -trunc(x / y)),           "a - b*sign(a)*floor(Abs(a/b))", (_REAL, _POSITIVE), 20)
binary("floor_divide", np.floor_divide, "sg_floor_divide@({0}, {1})", (None, None),                                            "floor(a/b)",  (_REAL, _POSITIVE), 20, _infer_same, c_int="sg_ifloor_divide({0}, {1})")
binary("copysign", np.copysign,      "copysign@({0}, {1})",   (lambda x, y, out: sign(x) * bind("copysign", const(1, x.dtype, x.shape), y), None), "Abs(a)*sign(b)", _PAIR, 1)
binary("gap",      special.gap,      "{0} == {1} ? 0 : {0} - ({1})", (lambda x, y, out: 1, lambda x, y, out: -1),                "a - b",       _PAIR,          2, numpy=(), support=_of_sum, reads=readings.reads_subtract)
binary("slope",    special.slope,    "{1} == 0 ? 0 : ({0}) / ({1})", (lambda x, r, out: slope(const(1, x.dtype, x.shape), r), lambda x, r, out: -slope(out, r)), "a/b", (_REAL, _POSITIVE), 5, numpy=(), support=_of_numerator, reads=by("guarded"))
binary("xlogy",    special.xlogy,    "sg_xlogy@({0}, {1})",   (lambda x, y, out: _xlogy_dx(x, y), lambda x, y, out: None if x is y else _or_zero(x, y, x / y)), "a*log(b)", (_REAL, _POSITIVE), 25, reads=readings.reads_xlogy)
binary("xlog1py",  special.xlog1py,  "{0} == 0 && {1} == {1} ? 0 : ({0}) * log1p@({1})", (lambda x, y, out: _or_zero(x, 1 + y, bind("log1p", y)), lambda x, y, out: _or_zero(x, 1 + y, x / (1 + y))), "a*log(1 + b)", (_REAL, _POSITIVE), 25, reads=readings.reads_xlog1py)
binary("rel_entr", special.rel_entr, "sg_rel_entr@({0}, {1})", (lambda x, y, out: _or_zero(x, y, log(x) - log(y) + 1), lambda x, y, out: _or_zero(x, y, -(x / y))), "a*log(a/b)", (_POSITIVE, _POSITIVE), 30, reads=readings.reads_rel_entr)
binary("jn_root",  special.jn_root,  "sg_jn_root@({0}, {1})", (None, lambda n, x, out: -0.5 * jn_root(n + 1, x)),               "sqrt(pi/2)*besselj(a + 1/2, sqrt(b))/sqrt(b)**(a + 1/2)", ((1.0, 1.0), _POSITIVE), 60, numpy=())
binary("polygamma", special.polygamma, "sg_polygamma@({0}, {1})", (None, lambda n, x, out: bind("polygamma", n + 1, x)),        "polygamma(a, b)", ((1.0, 1.0), _POSITIVE), 80)
binary("betaln",   special.betaln,   "sg_betaln@({0}, {1})",  (lambda a, b, out: -_step(0, a, b), lambda a, b, out: -_step(0, b, a)), "loggamma(a) + loggamma(b) - loggamma(a + b)", (_POSITIVE, _POSITIVE), 90, commutative=True)

_evaluate: Any
for _name, _evaluate, _c, _sympy, _negation, _inequalities in (
    ("less",          np.less,          "{0} < {1}",  "a < b",    "greater_equal", ((1, 1),)),
    ("less_equal",    np.less_equal,    "{0} <= {1}", "a <= b",   "greater",       ((1, 0),)),
    ("greater",       np.greater,       "{0} > {1}",  "a > b",    "less_equal",    ((-1, 1),)),
    ("greater_equal", np.greater_equal, "{0} >= {1}", "a >= b",   "less",          ((-1, 0),)),
    ("equal",         np.equal,         "{0} == {1}", "Eq(a, b)", "not_equal",     ((1, 0), (-1, 0))),
    ("not_equal",     np.not_equal,     "{0} != {1}", "Ne(a, b)", "equal",         ()),
):
    binary(_name, _evaluate, _c, (None, None), _sympy, _PAIR, 1, _infer_bool, negation=_negation, inequalities=_inequalities, reads=getattr(readings, f"reads_{_name}"))

for _name, _evaluate, _c, _sympy, _accumulates, _reads in (
    ("logical_and",   np.logical_and,   "{0} && {1}", "And(a, b)", "&&", readings.reads_multiply),
    ("logical_or",    np.logical_or,    "{0} || {1}", "Or(a, b)",  "||", readings.reads_or),
    ("logical_xor",   np.logical_xor,   "{0} != {1}", "Xor(a, b)", None, None),
):
    binary(_name, _evaluate, _c, (None, None), _sympy, _PAIR, 1, _infer_bool, accumulates=_accumulates, reads=_reads)
# fmt: on


def _step(n: int, x: Expr, d: Expr) -> Expr:
    """polygamma(n, x + d) - polygamma(n, x)"""
    return bind("polygamma_step", const(n, x.dtype, x.shape), x, d)


register(
    Op(
        "polygamma_step", Kind.ELEMENTWISE, _infer_float, special.polygamma_step,
        partials=(
            None,
            lambda n, x, d, out: bind("polygamma_step", n + 1, x, d),
            lambda n, x, d, out: bind("polygamma", n + 1, x + d),
        ),
        c="sg_polygamma_step@({0}, {1}, {2})", sympy="polygamma(a, b + c) - polygamma(a, b)",
        domain=((1.0, 1.0), _POSITIVE, _POSITIVE), cost=150, numpy=(),
    )
)  # fmt: skip


def _infer_select(condition: Expr, a: Expr, b: Expr) -> tuple[tuple[int, ...], str]:
    if condition.dtype != "bool":
        raise DtypeError(f"select: the condition must be bool, got {condition.dtype}")
    _agree((a, b))
    if condition.shape != a.shape:
        raise ShapeError(f"select: condition {condition.shape} and values {a.shape} differ")
    return a.shape, a.dtype


def _normalize_select(args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr | None:
    condition, a, b = args
    if condition.op.name == "const":
        return a if bool(const_value(condition)) else b
    return a if a is b else None


def _select_vjp(ct: Expr, out: Expr, args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> list[Any]:
    return [None, select(args[0], ct, 0), select(args[0], 0, ct)]


def _select_jvp(
    tangents: list[Expr | None], out: Expr, args: tuple[Expr, ...], attrs: tuple[Any, ...]
) -> Expr:
    zero = const(0, out.dtype, out.shape)
    return select(args[0], tangents[1] or zero, tangents[2] or zero)


def _nonnegative_selection(args: tuple[Expr, ...], attrs: Any, which: Any) -> bool:
    """Both sides are; or the side of a clip: x where x > low or x >= low, for low >= 0."""
    condition, *sides = args
    bounded = [False, False]
    if condition.name in ("less", "less_equal", "greater", "greater_equal"):
        left, right = condition.args
        above, low = (left, right) if condition.name.startswith("greater") else (right, left)
        bounded[0] = sides[0] is above and is_nonnegative(low)
        bounded[1] = sides[1] is low and is_nonnegative(above)
    return all(b or w for b, w in zip(bounded, which[1:], strict=True))


SELECT = register(
    Op(
        "select", Kind.ELEMENTWISE, _infer_select, np.where, normalize=_normalize_select,
        vjp=_select_vjp, jvp=_select_jvp, c="{0} ? {1} : {2}", sympy="Piecewise((b, a), (c, True))",
        cost=1, numpy=(), support=_of_selection, nonnegative=_nonnegative_selection,
        interval=interval.hull, reads=readings.reads_select,
    )
)  # fmt: skip


def _or_zero(x: Expr, y: Expr, value: Expr) -> Expr:
    """`value`, and 0 at x = y = 0, where it would be 0 · inf or 0/0.

    One comparison, since && of two would be a branch in a vector loop.
    """
    return select(equal(bind("absolute", x) + bind("absolute", y), 0), 0, value)


_MOST_LOOKED_AT = 64


def is_nonnegative(x: Expr) -> bool:
    """Whether `x` is not negative whatever the values of its leaves are (it may be NaN)."""
    known: dict[Expr, bool] = {}
    stack = [x]
    while stack:
        node = stack[-1]
        rule = node.op.nonnegative
        waiting = [a for a in node.args if a not in known] if rule is not None else []
        if waiting:
            stack.extend(waiting)
            if len(stack) + len(known) > _MOST_LOOKED_AT:
                return False
            continue
        which = [known.get(a, False) for a in node.args]
        known[node] = rule is not None and rule(node.args, node.attrs, which)
        stack.pop()
    return known[x]


def _root(x: Expr, derivative: Expr) -> Expr:
    """The derivative of a root of x, infinite at 0.

    Where x is never negative, a sum of squares or max(d, 0), the root is least there: 0 is the
    subgradient of least norm. So distances of a point to itself do not vary with anything.
    """
    return select(equal(x, 0), 0, derivative) if is_nonnegative(x) else derivative


def _sqrt_slope(x: Expr, out: Expr) -> Expr:
    """As a slope, which has limits where another derivative is taken: see `diff.limits`."""
    half = const(0.5, x.dtype, x.shape)
    return slope(half, out) if is_nonnegative(x) else half / out


def _power_dx(x: Expr, y: Expr) -> Expr:
    """y x^(y-1), and 0 for y = 0 even at x = 0; for 0 < y < 1 see `_root`."""
    slope = y * power(x, y - 1)
    derivative = select(equal(y, 0), 0, slope) if y.op is CONST else _or_zero(x, y, slope)
    if is_const(y) and not 0 < const_value(y) < 1 or not is_nonnegative(x):
        return derivative
    return select(both(equal(x, 0), both(greater(y, 0), less(y, 1))), 0, derivative)


def _power_dy(x: Expr, y: Expr, out: Expr) -> Expr:
    """x^y log x, and 0 at x = 0 for y >= 0, its limit for y > 0."""
    return select(both(equal(x, 0), bind("greater_equal", y, _lift(0, y))), 0, out * log(x))


def _xlogy_dx(x: Expr, y: Expr) -> Expr:
    """log y, and 0 at (0, 0). x log x is a function of one variable: 1 + log x, -inf at 0."""
    return 1 + log(x) if x is y else _or_zero(x, y, log(y))


def _infer_convert(x: Expr, dtype: str) -> tuple[tuple[int, ...], str]:
    return x.shape, dtype


def _evaluate_convert(x: np.ndarray, dtype: str) -> np.ndarray:
    return np.asarray(x).astype(dtype)


def _element_convert(index: Any, args: Any, attrs: Any) -> Any:
    return convert((yield args[0], index), attrs[0])


CONVERT = register(
    Op(
        "convert", Kind.LINEAR, _infer_convert, _evaluate_convert, ("dtype",),
        transpose=lambda ct, args, attrs: bind("convert", ct, attrs=(args[0].dtype,)),
        batch=lambda args, batched, attrs, size: bind("convert", args[0], attrs=attrs),
        normalize=lambda args, attrs: (
            args[0] if args[0].dtype == attrs[0]
            else const(const_value(args[0]).astype(attrs[0]), attrs[0], args[0].shape)
            if args[0].op.name == "const" else None
        ),
        cost=1, sympy="a", element=_element_convert,
        support=lambda args, attrs, supports: (
            args[0] if args[0].dtype == "bool" else supports[0]
        ),
        nonnegative=lambda args, attrs, which: args[0].dtype == "bool" or which[0],
        interval=interval.same, reads=readings.reads_convert,
    )
)  # fmt: skip


def vector_functions() -> dict[str, int]:
    """C functions that C libraries have for vectors, for double, and how many arguments they take."""
    rows = [row for row in OPS.values() if row.vectorized and row.c is not None]
    return {row.c.partition("@(")[0]: len(row.domain) for row in rows if row.c is not None}


# Rows that other folders look for. Facts about rows are columns.
ADD, SUBTRACT, NEGATIVE, MULTIPLY, DIVIDE = (
    OPS[name] for name in ("add", "subtract", "negative", "multiply", "divide")
)
MINIMUM, MAXIMUM, POWER, SLOPE, SIGN, SIN, COS = (
    OPS[name] for name in ("minimum", "maximum", "power", "slope", "sign", "sin", "cos")
)
EQUAL, NOT_EQUAL, AND, OR, NOT = (
    OPS[name] for name in ("equal", "not_equal", "logical_and", "logical_or", "logical_not")
)
STOP_GRADIENT, FINITE, SQUARE = OPS["stop_gradient"], OPS["isfinite"], OPS["square"]
