"""NumPy's (and SciPy's) ufuncs on Exprs: promotion, broadcasting, and the row or formula to bind.

A ufunc is found by its name in the `numpy` column of the rows, so a new elementwise row is traced
without a line here. Result types are asked of NumPy itself (``ufunc.resolve_dtypes``), with Python
scalars as weak types. Ufuncs that are formulas of rows are in `FORMULAS`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError, UnsupportedError
from symgrad.expr.node import (
    ARG,
    ARRAY,
    CONST,
    DTYPES,
    FLOATS,
    Expr,
    array,
    bind,
    const,
    const_value,
    is_const,
)
from symgrad.expr.op import UFUNCS
from symgrad.ops import einsum, elementwise, linalg, linear, reduce, scan  # noqa: F401  (the rows)
from symgrad.ops.linear import broadcast_to
from symgrad.trace.state import fail
from symgrad.trace.tables import FORMULA_NAMES, unsupported

DT = {name: np.dtype(name) for name in DTYPES}
Scalar = bool | int | float


@dataclasses.dataclass(frozen=True, slots=True)
class Weak:
    """A traced Python float or int: like any Python number it adapts to the dtype of arrays."""

    expr: Expr

    @property
    def example(self) -> float | int:
        return 1.0 if self.expr.dtype in FLOATS else 1


Operand = Expr | Weak | int | float  # Python numbers are weak, everything else is an Expr


def kind(value: Operand) -> Any:
    """What NumPy's promotion sees: a dtype, or the type of a Python number."""
    if isinstance(value, Weak):
        value = value.example
    return DT[value.dtype] if isinstance(value, Expr) else type(value)


@functools.lru_cache(maxsize=4096)
def _loop(ufunc: np.ufunc, kinds: tuple[Any, ...], out: str | None) -> tuple[str, ...]:
    asked: dict[str, Any] = (
        {"signature": (*(None,) * ufunc.nin, *(DT[out],) * ufunc.nout)} if out else {}
    )
    if set(kinds) == {int} and ufunc.__name__ in _COMPARISONS:  # NumPy has objects there
        kinds = (DT["int64"],) * 2
    return tuple(d.name for d in ufunc.resolve_dtypes((*kinds, *(None,) * ufunc.nout), **asked))


def loop_dtypes(
    ufunc: np.ufunc, values: tuple[Operand, ...], out: str | None = None
) -> tuple[str, ...]:
    """The dtypes NumPy computes with, one per input and output; `out` is what dtype= asks for."""
    kinds = tuple([kind(v) for v in values])
    try:
        names = _loop(ufunc, kinds, out)
    except TypeError as error:
        raise fail(DtypeError, f"np.{ufunc.__name__}: {error}") from None
    for name in names:
        if name not in DTYPES:
            spelled = ", ".join(getattr(k, "name", getattr(k, "__name__", "")) for k in kinds)
            raise fail(
                DtypeError,
                f"np.{ufunc.__name__} of {spelled} computes in {name}, which is not supported; "
                "convert the operands first, for example with .astype(float)",
            )
    return names


def promote(values: list[Operand]) -> str:
    """The common dtype by NumPy's promotion."""
    values = [v.example if isinstance(v, Weak) else v for v in values]
    kinds: list[Any] = [DT[v.dtype] if isinstance(v, Expr) else v for v in values]
    name = np.result_type(*kinds).name
    if name not in DTYPES:
        raise fail(DtypeError, f"the common dtype {name} is not supported")
    return name


def broadcast_shape(what: str, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The common shape by NumPy's broadcasting."""
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        spelled = " and ".join(map(str, shapes))
        raise fail(ShapeError, f"{what}: shapes {spelled} do not broadcast together") from None


def convert(x: Operand, dtype: str, shape: tuple[int, ...] | None = None) -> Expr:
    """`x` as an Expr of that dtype, broadcast to `shape` if given."""
    if isinstance(x, Weak):
        x = x.expr
    if not isinstance(x, Expr):
        if type(x) is int and dtype in ("int32", "int64"):
            limits = np.iinfo(dtype)
            if not limits.min <= x <= limits.max:
                raise fail(DtypeError, f"the integer {x} does not fit into {dtype}")
        return const(x, dtype, shape or ())
    if x.dtype != dtype:
        x = bind("convert", x, attrs=(dtype,))
    return x if shape is None or x.shape == shape else broadcast_to(x, shape)


def together(what: str, values: list[Operand], dtype: str | None = None) -> list[Expr]:
    """`values` broadcast together and in one dtype, the common one if none is given."""
    shape = broadcast_shape(what, [v.shape if isinstance(v, Expr) else () for v in values])
    dtype = dtype or promote(values)
    return [convert(v, dtype, shape) for v in values]


def truth(x: Operand) -> Expr:
    """Whether each element is not zero."""
    if isinstance(x, Weak):
        x = x.expr
    if not isinstance(x, Expr):
        return const(bool(x), "bool")
    if x.dtype != "bool":
        return bind("not_equal", x, const(0, x.dtype, x.shape))
    return _without_numbers(x)


def _without_numbers(x: Expr) -> Expr:
    """``flag == 0`` and the like as ``not flag``, so that what excludes each other is seen to."""
    while x.op.name in ("equal", "not_equal"):
        flag, number = x.args
        if is_const(flag):
            flag, number = number, flag
        if flag.op.name == "convert":
            flag = flag.args[0]
        if flag.dtype != "bool" or not (is_const(number, 0) or is_const(number, 1)):
            break
        as_it_is = (x.op.name == "equal") == is_const(number, 1)
        x = flag if as_it_is else bind("logical_not", flag)
    return x


# ---- application --------------------------------------------------------------------------------

_TO_LOGICAL = {
    "add": "logical_or", "maximum": "logical_or", "bitwise_or": "logical_or",
    "multiply": "logical_and", "minimum": "logical_and", "bitwise_and": "logical_and",
    "bitwise_xor": "logical_xor", "invert": "logical_not", "fmax": "logical_or",
    "fmin": "logical_and",
}  # fmt: skip
_LOGICAL = frozenset({"logical_and", "logical_or", "logical_xor", "logical_not"})
_ROUNDING = frozenset({"floor", "ceil", "trunc", "rint"})
_COMPARISONS = frozenset({"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"})


def apply(ufunc: np.ufunc, *values: Operand, dtype: str | None = None) -> Any:
    """`ufunc(*values, dtype=dtype)`: an Expr, or a tuple of them for ufuncs with two results."""
    name = ufunc.__name__
    if name in _LOGICAL and dtype in (None, "bool"):
        return logical(name, *values)
    if name not in UFUNCS and name not in FORMULAS and name not in _TO_LOGICAL:
        raise unsupported(f"{_module(ufunc)}.{name}")
    if name == "power" and len(values) == 2 and dtype is None:
        special = constant_power(*values)
        if special is not None:
            return special
    if name in _COMPARISONS and any(type(v) is int and abs(v) > 2**31 - 1 for v in values):
        # Compared by value: an int32 array may meet a larger number.
        values = tuple(
            convert(v, "int64") if isinstance(v, Expr) and v.dtype == "int32" else v for v in values
        )
    if name in _COMPARISONS and not any(isinstance(v, Expr) for v in values):
        common = promote(list(values))  # of Python's numbers, which NumPy compares as objects
        values = tuple(convert(v, common) for v in values)
    dtypes = loop_dtypes(ufunc, values, dtype)
    shape = broadcast_shape(f"np.{name}", [v.shape if isinstance(v, Expr) else () for v in values])
    args = [convert(v, d, shape) for v, d in zip(values, dtypes, strict=False)]
    first = args[0].dtype
    if first == "bool" and name in _TO_LOGICAL:
        return bind(_TO_LOGICAL[name], *args)
    if name in FORMULAS:
        return FORMULAS[name](*args)
    row = UFUNCS.get(name)
    if row is None:
        raise fail(UnsupportedError, f"np.{name} is traced for bool arrays only, not for {first}")
    if first not in FLOATS:
        if name in _ROUNDING or (first == "bool" and name == "absolute"):
            return args[0]
        if name == "reciprocal":
            one = bind("equal", bind("absolute", args[0]), const(1, first, shape))
            zero = bind("equal", args[0], const(0, first, shape))
            least = const(np.iinfo(first).min, first, shape)  # what the conversion of inf gives
            return _where(zero, least, _where(one, args[0], 0))
        if name == "power":
            args[1] = _not_negative(args[1])
        if name == "fmod":
            raise fail(UnsupportedError, "np.fmod of integers is not traced; use np.mod")
    return bind(row, *args)


def logical(name: str, *values: Operand) -> Expr:
    """A logical operation on the truth of each operand."""
    args = [truth(v) for v in values]
    shape = broadcast_shape(f"np.{name}", [a.shape for a in args])
    return bind(name, *[broadcast_to(a, shape) for a in args])


def _module(ufunc: np.ufunc) -> str:
    return "np" if getattr(np, ufunc.__name__, None) is ufunc else "scipy.special"


class IntegerPowerError(DtypeError, ValueError):
    """An integer to a negative integer power, as NumPy refuses it."""


def constant_power(x: Operand, y: Operand, operator: bool = False) -> Expr | None:
    """x ** y for the constant exponents that NumPy treats apart; None for the general case."""
    if isinstance(y, Weak):
        return None
    if isinstance(y, Expr):
        if y.op is not CONST or y.dtype not in FLOATS and y.dtype not in ("int32", "int64"):
            return None
        value: Any = const_value(y).item()
    else:
        value = y
    if not isinstance(x, Expr):
        return None
    integers = x.dtype not in FLOATS and isinstance(value, int)
    if integers and value < 0:
        raise _negative_power()
    if x.dtype == "bool" or (x.dtype not in FLOATS and not integers):
        if x.dtype == "bool" and operator and type(value) is int and value == 2:
            loop_dtypes(np.square, (x,))  # which NumPy's ** calls; it says why not
        return None
    dtypes = loop_dtypes(np.power, (x, y))
    if value not in (0, 1, 2) and not (operator and value in (-1, 0.5)):
        return None
    shape = broadcast_shape("np.power", [x.shape, y.shape if isinstance(y, Expr) else ()])
    x = convert(x, dtypes[2], shape)
    if value == 0:
        return const(1, x.dtype, shape)
    if value == 1:
        return x
    return bind({2: "square", -1: "reciprocal", 0.5: "sqrt"}[value], x)


def _not_negative(power: Expr) -> Expr:
    """An integer exponent; a negative one is an error, here if it is known, else when C runs.

    The error is that of an index outside its axis, which C checks before it computes anything.
    """
    if power.op is CONST or power.op is ARRAY:  # a constant was looked at before
        if power.op is ARRAY and power.attrs[0].array.min(initial=0) < 0:
            raise _negative_power()
        return power
    outside = bind("less", power, _like(0, power))
    index = bind("convert", outside, attrs=("int64",))  # 0 is the only index there is
    zero = bind("gather", array(np.zeros(1, power.dtype)), index, attrs=(0,))
    return power + zero


def _negative_power() -> IntegerPowerError:
    return fail(
        IntegerPowerError,
        "integers to negative integer powers are not allowed; convert the base to float first",
    )


# ---- formulas -----------------------------------------------------------------------------------


def _where(condition: Expr, a: Any, b: Any) -> Expr:
    like = a if isinstance(a, Expr) else b
    return bind(
        "select",
        condition,
        a if isinstance(a, Expr) else const(a, like.dtype, like.shape),
        b if isinstance(b, Expr) else const(b, like.dtype, like.shape),
    )


def _like(value: float, x: Expr) -> Expr:
    return const(value, x.dtype, x.shape)


def _sign_bit(x: Expr) -> Expr:
    if x.dtype not in FLOATS:
        return bind("less", x, _like(0, x))
    return bind("less", bind("copysign", _like(1, x), x), _like(0, x))


def _not_nan(name: str, x: Expr, y: Expr) -> Expr:
    if x.dtype not in FLOATS:
        return bind(name, x, y)
    return _where(bind("isnan", x), y, _where(bind("isnan", y), x, bind(name, x, y)))


def _heaviside(x: Expr, y: Expr) -> Expr:
    step = _where(bind("less", x, _like(0, x)), _like(0, x), _like(1, x))
    return _where(bind("isnan", x), x, _where(bind("equal", x, _like(0, x)), y, step))


def _divmod(x: Expr, y: Expr) -> tuple[Expr, Expr]:
    return bind("floor_divide", x, y), bind("mod", x, y)


def _modf(x: Expr) -> tuple[Expr, Expr]:
    whole = bind("trunc", x)
    rest = _where(bind("isinf", x), 0, x - whole)
    return bind("copysign", rest, x), whole


def _logaddexp2(x: Expr, y: Expr) -> Expr:
    return bind("logaddexp", x * math.log(2), y * math.log(2)) / math.log(2)


def _entr(x: Expr) -> Expr:
    return _where(bind("less", x, _like(0, x)), -math.inf, -bind("xlogy", x, x))


def _clip(x: Expr, low: Expr, high: Expr) -> Expr:
    """Derivative 1 inside the closed interval; NaN stays; where low > high, high wins."""
    inner = _where(bind("less", x, low), low, x)
    inner = _where(bind("greater", inner, high), high, inner)
    if x.dtype not in FLOATS:
        return inner
    # A NaN bound gives NaN, as in NumPy; constant bounds need no test.
    for bound in (low, high):
        if bound.op is not CONST:
            inner = _where(bind("isnan", bound), bound, inner)
        elif math.isnan(const_value(bound)):
            return bound
    return inner


def _gamma_sign(x: Expr) -> Expr:
    """Of Γ(x)."""
    below = bind("floor", x)
    odd = bind("not_equal", bind("mod", below, _like(2, x)), _like(0, x))
    negative = bind("less", x, _like(0, x))
    return _where(bind("logical_and", negative, odd), _like(-1, x), _like(1, x))


def _beta(a: Expr, b: Expr) -> Expr:
    sign = _gamma_sign(a) * _gamma_sign(b) * _gamma_sign(a + b)
    return sign * bind("exp", bind("betaln", a, b))


def _huber(delta: Expr, r: Expr) -> Expr:
    size = bind("absolute", r)
    near = bind("less_equal", size, delta)
    loss = _where(near, 0.5 * bind("square", r), delta * (size - 0.5 * delta))
    return _where(bind("less", delta, _like(0, delta)), math.inf, loss)


def _pseudo_huber(delta: Expr, r: Expr) -> Expr:
    """delta² (√(1 + v²) - 1) with v = r / delta, without the difference."""
    v = r / delta
    loss = bind("square", r) / (1 + bind("hypot", v, _like(1, v)))
    loss = _where(bind("equal", delta, _like(0, delta)), 0, loss)
    return _where(bind("less", delta, _like(0, delta)), math.inf, loss)


def _exprel(x: Expr) -> Expr:
    """(eˣ - 1) / x; near 0 by e^(x/2) sinh(x/2) / (x/2), of which every derivative is right."""
    half = 0.5 * x
    near = bind("exp", half) * bind("jn_root", _like(0, x), -bind("square", half))
    near_zero = bind("less", bind("absolute", x), _like(1, x))
    return _where(near_zero, near, _where(bind("isinf", x), _at_infinity(x), bind("expm1", x) / x))


def _at_infinity(x: Expr) -> Expr:
    return _where(bind("less", x, _like(0, x)), _like(0, x), x)


def _boxcox(log: Expr, power: Expr) -> Expr:
    """(e^(power log) - 1) / power, and log for 0."""
    x = power * log
    near_zero = bind("less", bind("absolute", x), _like(1, x))
    result = _where(near_zero, log * _exprel(x), bind("expm1", x) / power)
    return _where(bind("equal", power, _like(0, x)), _at_zero(log, result), result)


def _at_zero(log: Expr, result: Expr) -> Expr:
    """log where the product with a power of 0 is NaN."""
    return _where(bind("isinf", log), log, result)


def _with_shapes(row: str) -> Callable[..., Expr]:
    """A function of shapes, by which it has no derivative here, and of a variable."""

    def apply(*args: Expr) -> Expr:
        for shape in args[:-1]:
            if not _is_known(shape):
                raise fail(
                    UnsupportedError,
                    f"scipy.special.{row} of a traced shape is not supported, since its derivative "
                    "by the shape is not; give the shape as a plain number, or hold it constant",
                )
        return bind(row, *args)

    return apply


def _bessel(row: str, order: Any = None) -> Callable[..., Expr]:
    """A Bessel function of a fixed order, or of one that is a plain whole number."""
    if order is not None:
        return lambda x: bind(row, _like(order, x), x)

    def apply(n: Expr, x: Expr) -> Expr:
        if not is_const(n) or const_value(n) != round(const_value(n)):
            raise fail(
                UnsupportedError,
                "a Bessel function of an order that is traced, an array or no whole number is not "
                "supported; give the order as a plain integer",
            )
        return bind(row, n, x)

    return apply


def _is_known(x: Expr) -> bool:
    """Whether no argument is below."""
    stack, seen = [x], {x}
    while stack:
        node = stack.pop()
        if node.op is ARG:
            return False
        stack += [a for a in node.args if a not in seen]
        seen.update(node.args)
    return True


FORMULAS: dict[str, Callable[..., Any]] = {
    "positive": lambda x: x,
    "conjugate": lambda x: x,
    "deg2rad": lambda x: x * (math.pi / 180),
    "radians": lambda x: x * (math.pi / 180),
    "rad2deg": lambda x: x * (180 / math.pi),
    "degrees": lambda x: x * (180 / math.pi),
    "signbit": _sign_bit,
    "fmax": functools.partial(_not_nan, "maximum"),
    "fmin": functools.partial(_not_nan, "minimum"),
    "heaviside": _heaviside,
    "divmod": _divmod,
    "modf": _modf,
    "logaddexp2": _logaddexp2,
    "clip": _clip,
    "ndtr": lambda x: bind("erfc", x * -math.sqrt(0.5)) * 0.5,
    "log_expit": lambda x: -bind("softplus", -x),
    "entr": _entr,
    "kl_div": lambda x, y: bind("rel_entr", x, y) - x + y,
    **{row: _with_shapes(row) for row in ("gammainc", "gammaincc", "betainc", "stdtr")},
    "chdtr": lambda df, x: _with_shapes("gammainc")(0.5 * df, 0.5 * x),
    "chdtrc": lambda df, x: _with_shapes("gammaincc")(0.5 * df, 0.5 * x),
    "loggamma": lambda x: _where(bind("less", x, _like(0, x)), math.nan, bind("gammaln", x)),
    "beta": _beta,
    "huber": _huber,
    "pseudo_huber": _pseudo_huber,
    "exprel": _exprel,
    "boxcox": lambda x, power: _boxcox(bind("log", x), power),
    "boxcox1p": lambda x, power: _boxcox(bind("log1p", x), power),
    "exp10": lambda x: bind("power", _like(10, x), x),
    "j0": _bessel("bessel_j", 0),
    "j1": _bessel("bessel_j", 1),
    "jv": _bessel("bessel_j"),
    "i0": _bessel("bessel_i", 0),
    "i1": _bessel("bessel_i", 1),
    "iv": _bessel("bessel_i"),
    "i0e": _bessel("bessel_ie", 0),
    "i1e": _bessel("bessel_ie", 1),
    "ive": _bessel("bessel_ie"),
}
FORMULA_NAMES.update(FORMULAS)
