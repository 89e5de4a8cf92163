"""Dual numbers in plain Python: a user's function run as it stands, with exact derivatives.

A `Dual` is value + slope·e with e² = 0 (Clifford 1873; forward mode in Griewank & Walther,
Evaluating Derivatives, 2nd ed., chapter 3). Value and slope may be Duals themselves, which gives
derivatives of any order; the innermost slope may be an array with one entry for each direction.
It behaves as a float does: comparisons and `bool` are those of the value, so branches and loops of
Python run as they are written, assignments and aliases are Python's and NumPy's own.

Nothing here knows of symgrad. `support.dual_numpy` has what arrays need.

Conventions, those of kinks.md: ties of maxima share equally, |x| has derivative 0 at 0, steps
have derivative 0. A comparison decides as Python does and has no derivative.
"""

from __future__ import annotations

import builtins
import cmath
import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special


class Dual:
    """value + slope·e."""

    __slots__ = ("value", "slope")
    __array_priority__ = 1000.0

    def __init__(self, value: Any, slope: Any) -> None:
        self.value, self.slope = value, slope

    # ---- arithmetic ------------------------------------------------------------------------------

    def __add__(self, y: Any) -> Any:
        if isinstance(y, Dual):
            return Dual(self.value + y.value, self.slope + y.slope)
        return Dual(self.value + y, self.slope) if isinstance(y, PLAIN) else NotImplemented

    __radd__ = __add__

    def __sub__(self, y: Any) -> Any:
        if isinstance(y, Dual):
            return Dual(self.value - y.value, self.slope - y.slope)
        return Dual(self.value - y, self.slope) if isinstance(y, PLAIN) else NotImplemented

    def __rsub__(self, y: Any) -> Any:
        return Dual(y - self.value, -self.slope) if isinstance(y, PLAIN) else NotImplemented

    def __mul__(self, y: Any) -> Any:
        if isinstance(y, Dual):
            return Dual(self.value * y.value, self.value * y.slope + y.value * self.slope)
        return Dual(self.value * y, self.slope * y) if isinstance(y, PLAIN) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, y: Any) -> Any:
        return divide(self, y) if isinstance(y, (Dual, *PLAIN)) else NotImplemented

    def __rtruediv__(self, y: Any) -> Any:
        return divide(y, self) if isinstance(y, PLAIN) else NotImplemented

    def __pow__(self, y: Any) -> Any:
        return power(self, y) if isinstance(y, (Dual, *PLAIN)) else NotImplemented

    def __rpow__(self, y: Any) -> Any:
        return power(y, self) if isinstance(y, PLAIN) else NotImplemented

    def __floordiv__(self, y: Any) -> Any:
        return plain(self) // plain(y) if isinstance(y, (Dual, *PLAIN)) else NotImplemented

    def __rfloordiv__(self, y: Any) -> Any:
        return y // plain(self) if isinstance(y, PLAIN) else NotImplemented

    def __mod__(self, y: Any) -> Any:
        return remainder(self, y) if isinstance(y, (Dual, *PLAIN)) else NotImplemented

    def __rmod__(self, y: Any) -> Any:
        return remainder(y, self) if isinstance(y, PLAIN) else NotImplemented

    def __divmod__(self, y: Any) -> Any:
        return self // y, self % y

    def __rdivmod__(self, y: Any) -> Any:
        return y // self, y % self

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope)

    def __pos__(self) -> Dual:
        return self

    def __abs__(self) -> Any:
        return absolute(self)

    # ---- decisions: by value ---------------------------------------------------------------------

    def __bool__(self) -> bool:
        return bool(plain(self))

    def __lt__(self, y: Any) -> Any:
        return plain(self) < plain(y) if isinstance(y, (Dual, *PLAIN)) else NotImplemented

    def __le__(self, y: Any) -> Any:
        return plain(self) <= plain(y) if isinstance(y, (Dual, *PLAIN)) else NotImplemented

    def __gt__(self, y: Any) -> Any:
        return plain(self) > plain(y) if isinstance(y, (Dual, *PLAIN)) else NotImplemented

    def __ge__(self, y: Any) -> Any:
        return plain(self) >= plain(y) if isinstance(y, (Dual, *PLAIN)) else NotImplemented

    def __eq__(self, y: Any) -> Any:
        return plain(self) == plain(y) if isinstance(y, (Dual, *PLAIN)) else NotImplemented

    def __ne__(self, y: Any) -> Any:
        return plain(self) != plain(y) if isinstance(y, (Dual, *PLAIN)) else NotImplemented

    def __hash__(self) -> int:
        return hash(plain(self))

    # ---- conversions -----------------------------------------------------------------------------

    def __float__(self) -> float:
        raise TypeError("a dual number would lose its derivative here")

    def __complex__(self) -> complex:
        raise TypeError("a dual number would lose its derivative here")

    def __int__(self) -> int:
        return int(plain(self))

    def __trunc__(self) -> int:
        return math.trunc(plain(self))

    def __floor__(self) -> int:
        return math.floor(plain(self))

    def __ceil__(self) -> int:
        return math.ceil(plain(self))

    def __round__(self, digits: int | None = None) -> Any:
        return round(plain(self)) if digits is None else round(plain(self), digits)

    def __format__(self, spec: str) -> str:
        return format(plain(self), spec)

    def __repr__(self) -> str:
        return repr(plain(self))

    # ---- what floats and NumPy's scalars have ----------------------------------------------------

    shape: tuple[int, ...] = ()
    ndim = 0
    size = 1
    dtype = np.dtype(float)
    real = property(lambda self: real(self))
    imag = property(lambda self: imag(self))
    T = property(lambda self: self)

    def conjugate(self) -> Any:
        return conjugate(self)

    conj = conjugate

    def item(self) -> Dual:
        return self

    copy = item

    def astype(self, dtype: Any, **_: Any) -> Any:
        return self if np.dtype(dtype).kind in "fcO" else np.dtype(dtype).type(plain(self))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        from support.dual_numpy import call_ufunc

        return call_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, func: Any, _: Any, args: Any, kwargs: Any) -> Any:
        from support.dual_numpy import call_function

        return call_function(func, args, kwargs)


PLAIN = (int, float, complex, np.number, np.bool_)
numbers.Real.register(Dual)


def plain(x: Any) -> Any:
    """The number without its derivatives."""
    while isinstance(x, Dual):
        x = x.value
    return x


# ---- functions of one number ---------------------------------------------------------------------


def _quiet(exact: Any, ieee: Callable[..., Any]) -> Callable[..., Any]:
    """Python's function; where it raises, or for a complex number, NumPy's value."""

    def call(x: Any) -> Any:
        if exact is not None and not isinstance(x, (complex, np.complexfloating)):
            try:
                return exact(x)
            except (ValueError, OverflowError, ZeroDivisionError):
                pass
        with np.errstate(all="ignore"):
            return ieee(x).item()

    return call


def unary(name: str, function: Callable[[Any], Any], derivative: Callable[[Any, Any], Any]) -> Any:
    """x -> f(x), with the derivative as a function of x and f(x)."""

    def call(x: Any) -> Any:
        if not isinstance(x, Dual):
            return function(x)
        y = call(x.value)
        return Dual(y, derivative(x.value, y) * x.slope)

    call.__name__ = name
    return call


_RATIO = 2 / math.sqrt(math.pi)
_DENSITY = 1 / math.sqrt(2 * math.pi)
sp = scipy.special


def _ufunc(name: str) -> Any:
    return _quiet(None, getattr(sp, name, None) or getattr(np, name))


def polygamma(n: int, x: Any) -> Any:
    if not isinstance(x, Dual):
        return float(sp.polygamma(n, x))
    return Dual(polygamma(n, x.value), polygamma(n + 1, x.value) * x.slope)


def _bessel(name: str, derivative: Callable[[Any, Any], Any]) -> Any:
    return unary(name, _ufunc(name), derivative)


def _sign(x: Any) -> float:
    return math.copysign(1.0, plain(x))


def recip(x: Any) -> Any:
    return divide(1.0, x)


exp = unary("exp", _quiet(math.exp, np.exp), lambda x, y: y)
log = unary("log", _quiet(math.log, np.log), lambda x, y: recip(x))
sqrt = unary("sqrt", _quiet(math.sqrt, np.sqrt), lambda x, y: divide(0.5, y))
sin = unary("sin", _quiet(math.sin, np.sin), lambda x, y: cos(x))
cos = unary("cos", _quiet(math.cos, np.cos), lambda x, y: -sin(x))
tan = unary("tan", _quiet(math.tan, np.tan), lambda x, y: 1 + y * y)
sinh = unary("sinh", _quiet(math.sinh, np.sinh), lambda x, y: cosh(x))
cosh = unary("cosh", _quiet(math.cosh, np.cosh), lambda x, y: sinh(x))
tanh = unary("tanh", _quiet(math.tanh, np.tanh), lambda x, y: recip(cosh(x)) ** 2)
expit = unary("expit", _ufunc("expit"), lambda x, y: y * expit(-x))
ndtr = unary("ndtr", _ufunc("ndtr"), lambda x, y: _DENSITY * exp(-0.5 * x * x))

UNARY: dict[str, Any] = {
    f.__name__: f
    for f in [
        exp, log, sqrt, sin, cos, tan, sinh, cosh, tanh, expit, ndtr,
        unary("exp2", _quiet(None, np.exp2), lambda x, y: math.log(2) * y),
        unary("expm1", _quiet(math.expm1, np.expm1), lambda x, y: exp(x)),
        unary("log1p", _quiet(math.log1p, np.log1p), lambda x, y: recip(1 + x)),
        unary("log2", _quiet(None, np.log2), lambda x, y: divide(1 / math.log(2), x)),
        unary("log10", _quiet(None, np.log10), lambda x, y: divide(1 / math.log(10), x)),
        unary("cbrt", _quiet(None, np.cbrt), lambda x, y: divide(1.0, 3 * y * y)),
        unary("arcsin", _quiet(math.asin, np.arcsin), lambda x, y: recip(sqrt(1 - x * x))),
        unary("arccos", _quiet(math.acos, np.arccos), lambda x, y: -recip(sqrt(1 - x * x))),
        unary("arctan", _quiet(math.atan, np.arctan), lambda x, y: recip(1 + x * x)),
        unary("arcsinh", _quiet(math.asinh, np.arcsinh), lambda x, y: recip(sqrt(1 + x * x))),
        unary("arccosh", _quiet(math.acosh, np.arccosh), lambda x, y: recip(sqrt(x * x - 1))),
        unary("arctanh", _quiet(math.atanh, np.arctanh), lambda x, y: recip(1 - x * x)),
        unary("erf", _ufunc("erf"), lambda x, y: _RATIO * exp(-x * x)),
        unary("erfc", _ufunc("erfc"), lambda x, y: -_RATIO * exp(-x * x)),
        unary("erfcx", _ufunc("erfcx"), lambda x, y: 2 * x * y - _RATIO),
        unary("erfinv", _ufunc("erfinv"), lambda x, y: exp(y * y) / _RATIO),
        unary("log_ndtr", _ufunc("log_ndtr"),
              lambda x, y: exp(-0.5 * x * x - y) * _DENSITY),
        unary("ndtri", _ufunc("ndtri"), lambda x, y: exp(0.5 * y * y) / _DENSITY),
        unary("logit", _ufunc("logit"), lambda x, y: recip(x * (1 - x))),
        unary("log_expit", _ufunc("log_expit"), lambda x, y: expit(-x)),
        unary("gammaln", _ufunc("gammaln"), lambda x, y: polygamma(0, x)),
        unary("gamma", _ufunc("gamma"), lambda x, y: y * polygamma(0, x)),
        _bessel("j0", lambda x, y: -UNARY["j1"](x)),
        _bessel("j1", lambda x, y: UNARY["j0"](x) - divide(y, x)),
        _bessel("i0", lambda x, y: UNARY["i1"](x)),
        _bessel("i1", lambda x, y: UNARY["i0"](x) - divide(y, x)),
        _bessel("i0e", lambda x, y: UNARY["i1e"](x) - _sign(x) * y),
        _bessel("i1e", lambda x, y: UNARY["i0e"](x) - _sign(x) * y - divide(y, x)),
    ]
}  # fmt: skip


def _loggamma(x: Any) -> Any:
    return UNARY["gammaln"](x)


def absolute(x: Any) -> Any:
    v = plain(x)
    if isinstance(v, (complex, np.complexfloating)):
        return sqrt(real(x) * real(x) + imag(x) * imag(x)) if isinstance(x, Dual) else abs(v)
    return -x if v < 0 else x if v > 0 else 0.0 * x if v == 0 else abs(v)


def real(x: Any) -> Any:
    return Dual(real(x.value), real(x.slope)) if isinstance(x, Dual) else np.real(x)


def imag(x: Any) -> Any:
    return Dual(imag(x.value), imag(x.slope)) if isinstance(x, Dual) else np.imag(x)


def conjugate(x: Any) -> Any:
    return Dual(conjugate(x.value), conjugate(x.slope)) if isinstance(x, Dual) else np.conj(x)


def angle(z: Any) -> Any:
    return arctan2(imag(z), real(z))


def _step(function: Any) -> Callable[[Any], Any]:
    """A function whose derivative is 0 wherever it exists."""
    return lambda x: function(plain(x)).item()


UNARY |= {
    "absolute": absolute,
    "fabs": absolute,
    "negative": lambda x: -x,
    "positive": lambda x: x,
    "square": lambda x: x * x,
    "reciprocal": recip,
    "conjugate": conjugate,
    "deg2rad": lambda x: x * (math.pi / 180),
    "radians": lambda x: x * (math.pi / 180),
    "rad2deg": lambda x: x * (180 / math.pi),
    "degrees": lambda x: x * (180 / math.pi),
    "psi": lambda x: polygamma(0, x),
    "digamma": lambda x: polygamma(0, x),
    "loggamma": _loggamma,
    **{
        name: _step(getattr(np, name))
        for name in "sign floor ceil trunc rint isnan isinf isfinite signbit logical_not".split()
    },
}


# ---- functions of two numbers --------------------------------------------------------------------


def divide(x: Any, y: Any) -> Any:
    if isinstance(x, Dual):
        if isinstance(y, Dual):
            quotient = divide(x.value, y.value)
            return Dual(quotient, divide(x.slope - quotient * y.slope, y.value))
        return Dual(divide(x.value, y), divide(x.slope, y))
    if isinstance(y, Dual):
        quotient = divide(x, y.value)
        return Dual(quotient, divide(-quotient * y.slope, y.value))
    try:
        return x / y
    except ZeroDivisionError:
        with np.errstate(all="ignore"):
            return np.divide(x, y).item()


def _plain_power(x: Any, y: Any) -> Any:
    try:
        result = x**y
    except (ZeroDivisionError, OverflowError):
        result = None
    real_inputs = not isinstance(x, complex) and not isinstance(y, complex)
    if result is None or real_inputs and isinstance(result, complex):
        with np.errstate(all="ignore"):
            return np.power(float(x), float(y)).item()
    return result


def power(x: Any, y: Any) -> Any:
    """x**y; the derivative with respect to y is 0 at x = 0, as that of 0**y is for y > 0."""
    if not isinstance(x, Dual) and not isinstance(y, Dual):
        return _plain_power(x, y)
    if not isinstance(y, Dual):
        if y == 0:
            return 1.0
        return Dual(power(x.value, y), y * power(x.value, y - 1) * x.slope)
    xv, yv = (x.value if isinstance(x, Dual) else x), y.value
    result = power(xv, yv)
    slope = 0.0 if plain(xv) == 0 else result * log(xv) * y.slope
    if isinstance(x, Dual):
        slope = slope + yv * power(xv, yv - 1) * x.slope
    return Dual(result, slope)


def remainder(x: Any, y: Any) -> Any:
    with np.errstate(all="ignore"):
        return x - np.floor_divide(plain(x), plain(y)).item() * y


def _fmod(x: Any, y: Any) -> Any:
    with np.errstate(all="ignore"):
        return x - np.trunc(np.divide(plain(x), plain(y))).item() * y


def _extremum(better: Callable[[Any, Any], bool], skips_nan: bool = False) -> Any:
    def call(x: Any, y: Any) -> Any:
        a, b = plain(x), plain(y)
        if a != a or b != b:
            return (y if a != a else x) if skips_nan else (x if a != a else y)
        if a == b:
            return 0.5 * (x + y) if isinstance(x, Dual) or isinstance(y, Dual) else x
        return x if better(a, b) else y

    return call


maximum = _extremum(lambda a, b: a > b)
minimum = _extremum(lambda a, b: a < b)


def clip(x: Any, low: Any, high: Any) -> Any:
    """Within the closed interval the derivative is 1, as it is in symgrad."""
    if low is not None and plain(x) < plain(low):
        x = low
    if high is not None and plain(x) > plain(high):
        x = high
    return x


def logaddexp(x: Any, y: Any) -> Any:
    top = max(plain(x), plain(y))
    if math.isinf(top):
        return 0.5 * (x + y) if plain(x) == plain(y) else x if plain(x) > plain(y) else y
    return log(exp(x - top) + exp(y - top)) + top


def hypot(x: Any, y: Any) -> Any:
    if plain(x) == 0 and plain(y) == 0:
        return 0.0 * x
    return sqrt(x * x + y * y)


def arctan2(y: Any, x: Any) -> Any:
    if isinstance(x, Dual) or isinstance(y, Dual):
        xv, yv = (n.value if isinstance(n, Dual) else n for n in (x, y))
        xs, ys = (n.slope if isinstance(n, Dual) else 0.0 for n in (x, y))
        r = xv * xv + yv * yv
        return Dual(arctan2(yv, xv), divide(xv, r) * ys - divide(yv, r) * xs)
    return math.atan2(y, x)


def xlogy(x: Any, y: Any) -> Any:
    return 0.0 if plain(x) == 0 and not isinstance(x, Dual) else x * log(y)


def _compare(ufunc: Any) -> Callable[[Any, Any], Any]:
    return lambda x, y: ufunc(plain(x), plain(y)).item()


BINARY: dict[str, Any] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": divide,
    "true_divide": divide,
    "power": power,
    "float_power": power,
    "remainder": remainder,
    "mod": remainder,
    "fmod": _fmod,
    "maximum": maximum,
    "minimum": minimum,
    "fmax": _extremum(lambda a, b: a > b, True),
    "fmin": _extremum(lambda a, b: a < b, True),
    "logaddexp": logaddexp,
    "hypot": hypot,
    "arctan2": arctan2,
    "xlogy": xlogy,
    "xlog1py": lambda x, y: xlogy(x, 1 + y),
    "copysign": lambda x, y: absolute(x) * math.copysign(1.0, plain(y)),
    "betaln": lambda x, y: _loggamma(x) + _loggamma(y) - _loggamma(x + y),
    **{
        name: _compare(getattr(np, name))
        for name in (
            "less less_equal greater greater_equal equal not_equal logical_and logical_or "
            "logical_xor floor_divide heaviside"
        ).split()
    },
}

# NumPy calls a method of this name for each element of an array of objects.
for _name, _function in UNARY.items():
    if not hasattr(Dual, _name):
        setattr(Dual, _name, lambda self, f=_function: f(self))
for _name in ("arctan2", "hypot", "logaddexp"):
    setattr(Dual, _name, lambda self, y, f=BINARY[_name]: f(self, y))


# ---- Python's `math` and `cmath`, and builtins ---------------------------------------------------

_MATH = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh",
    "atanh": "arctanh", "atan2": "arctan2", "lgamma": "gammaln", "pow": "power", "fabs": "absolute",
}  # fmt: skip


class MathModule:
    """`math` or `cmath` whose functions take dual numbers too."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        original = getattr(self._module, name)
        ours = _MATH.get(name, name)
        function = _OWN_MATH.get(name) or UNARY.get(ours) or BINARY.get(ours)
        if function is None or name in ("floor", "ceil", "trunc", "isnan", "isinf", "isfinite"):
            return (lambda *args: original(*map(plain, args))) if callable(original) else original

        def call(*args: Any) -> Any:
            found = [unwrapped(a) for a in args]
            kinds = (Dual, list, tuple, np.ndarray)
            return function(*found) if any(isinstance(a, kinds) for a in found) else original(*args)

        return call


def unwrapped(x: Any) -> Any:
    """An array with one element as its element, as `float` takes it."""
    return x.item() if isinstance(x, np.ndarray) and x.size == 1 else x


def _log(x: Any, base: Any = None) -> Any:
    return log(x) if base is None else log(x) / log(base)


def _sum_of_squares(p: Any, q: Any) -> Any:
    return sqrt(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)))


_OWN_MATH: dict[str, Any] = {"log": _log, "dist": _sum_of_squares}
MATH, CMATH = MathModule(math), MathModule(cmath)


class _Float(type):
    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, (builtins.float, Dual))

    def __call__(cls, x: Any = 0.0) -> Any:
        x = unwrapped(x)
        return x if isinstance(x, Dual) else builtins.float(x)

    def __eq__(cls, other: Any) -> bool:
        return other is cls or other is builtins.float

    def __hash__(cls) -> int:
        return hash(builtins.float)


class Float(metaclass=_Float):
    """`float` for functions that run on dual numbers: the derivative is kept."""

    fromhex = builtins.float.fromhex


class _Int(type):
    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, builtins.int)

    def __call__(cls, x: Any = 0, *base: Any) -> Any:
        return builtins.int(plain(unwrapped(x)), *base)


class Int(metaclass=_Int):
    """`int` for functions that run on dual numbers: a step, whose derivative is 0."""
