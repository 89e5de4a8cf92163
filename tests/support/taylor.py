"""Numbers that know all their derivatives: truncated Taylor polynomials with 50-digit coefficients.

`Taylor` is a polynomial in any number of infinitesimals, cut at a total order. Arithmetic on it is
exact up to the precision of mpmath, so derivatives of every order come from the definition of a
function alone: no finite differences, and nothing shared with symgrad or JAX. NumPy's object
arrays of it do the moving around (indexing, sums, products).
"""

from __future__ import annotations

from math import factorial

import numpy as np
from mpmath.ctx_mp import MPContext

MP = MPContext()
MP.dps = 50

Key = tuple[int, ...]  # infinitesimals of a monomial, sorted; (1, 1, 4) is e1² e4


def number(x):
    """A Python, NumPy or mpmath number as an mpf."""
    return MP.mpf(x.item() if hasattr(x, "item") else x)


def of_numbers(method):
    """A binary operator that leaves arrays to NumPy, which comes back for every element."""

    def operator(self, other):
        return NotImplemented if isinstance(other, np.ndarray) else method(self, other)

    return operator


class Taylor:
    """Σ terms[k] · Π e_i for i in k, without products of more than `order` infinitesimals."""

    __slots__ = ("order", "terms")

    def __init__(self, terms, order: int) -> None:
        self.terms, self.order = terms, order

    @classmethod
    def variable(cls, value, index: int, order: int) -> Taylor:
        terms = {(): number(value)}
        if order:
            terms[(index,)] = MP.one
        return cls(terms, order)

    @property
    def value(self):
        return self.terms[()]

    def lift(self, other) -> Taylor:
        return other if isinstance(other, Taylor) else Taylor({(): number(other)}, self.order)

    def derivative(self, *indices: int):
        """∂/∂e_i ∂/∂e_j … at zero."""
        key = tuple(sorted(indices))
        scale = 1
        for i in set(key):
            scale *= factorial(key.count(i))
        return self.terms.get(key, MP.zero) * scale

    # ---- arithmetic ----------------------------------------------------------------------------

    @of_numbers
    def __add__(self, other):
        other = self.lift(other)
        terms = dict(self.terms)
        for k, c in other.terms.items():
            terms[k] = terms[k] + c if k in terms else c
        return Taylor(terms, self.order)

    @of_numbers
    def __mul__(self, other):
        other = self.lift(other)
        terms = {}
        for k, c in self.terms.items():
            for m, d in other.terms.items():
                if len(k) + len(m) <= self.order:
                    key = tuple(sorted(k + m)) if k and m else k or m
                    terms[key] = terms[key] + c * d if key in terms else c * d
        return Taylor(terms, self.order)

    def __neg__(self):
        return Taylor({k: -c for k, c in self.terms.items()}, self.order)

    @of_numbers
    def __sub__(self, other):
        return self + -self.lift(other)

    @of_numbers
    def __rsub__(self, other):
        return self.lift(other) - self

    @of_numbers
    def __truediv__(self, other):
        other = self.lift(other)
        return self * other.compose([(-1) ** k / other.value ** (k + 1) for k in other.powers])

    def __rtruediv__(self, other):
        return self.lift(other) / self

    @of_numbers
    def __pow__(self, other):
        if isinstance(other, Taylor):
            return power(self, other)
        # binomial series; zero coefficients first, so that 0**2 needs no 0**-1
        series, coefficient = [], MP.one
        for k in self.powers:
            series.append(coefficient * self.value ** (other - k) if coefficient else MP.zero)
            coefficient = coefficient * (number(other) - k) / (k + 1)
        return self.compose(series)

    def __rpow__(self, other):
        return power(self.lift(other), self)

    __radd__, __rmul__ = __add__, __mul__

    @property
    def powers(self) -> range:
        return range(self.order + 1)

    def compose(self, series) -> Taylor:
        """Σ series[k] (self - value)^k."""
        small = Taylor({k: c for k, c in self.terms.items() if k} | {(): MP.zero}, self.order)
        total = self.lift(series[-1])
        for c in series[-2::-1]:
            total = total * small + c
        return total

    # ---- order, by value -----------------------------------------------------------------------

    def __lt__(self, other):
        return self.value < self.lift(other).value

    def __gt__(self, other):
        return self.value > self.lift(other).value

    def __le__(self, other):
        return self.value <= self.lift(other).value

    def __ge__(self, other):
        return self.value >= self.lift(other).value

    def __eq__(self, other):
        return self.value == self.lift(other).value

    def __abs__(self):
        return self if self.value >= 0 else -self


# ---- functions of one number -------------------------------------------------------------------


def analytic(value, derivative):
    """A function from its value in mpmath and its derivative in terms of such functions.

    `derivative` is applied to a + e at one order less; integrating it gives the Taylor series.
    """

    def f(x):
        if not isinstance(x, Taylor):
            return value(number(x))
        series = [value(x.value)]
        if x.order:
            slope = derivative(Taylor.variable(x.value, 0, x.order - 1))
            series += [slope.terms.get((0,) * k, MP.zero) / (k + 1) for k in range(x.order)]
        return x.compose(series)

    f.value, f.slope = value, derivative
    return f


def flat(value):
    """A function whose derivative is zero wherever it exists."""
    return analytic(value, lambda x: x * 0)


def polygamma(n: int):
    return analytic(lambda x: MP.psi(n, x), lambda x: polygamma(n + 1)(x))


exp = analytic(MP.exp, lambda x: exp(x))
expm1 = analytic(MP.expm1, exp)
log = analytic(MP.log, lambda x: 1 / x)
log1p = analytic(MP.log1p, lambda x: 1 / (1 + x))
sqrt = analytic(MP.sqrt, lambda x: 1 / (2 * sqrt(x)))
cbrt = analytic(MP.cbrt, lambda x: 1 / (3 * cbrt(x) * cbrt(x)))
sin = analytic(MP.sin, lambda x: cos(x))
cos = analytic(MP.cos, lambda x: -sin(x))
tan = analytic(MP.tan, lambda x: 1 / (cos(x) * cos(x)))
sinh = analytic(MP.sinh, lambda x: cosh(x))
cosh = analytic(MP.cosh, lambda x: sinh(x))
tanh = analytic(MP.tanh, lambda x: 1 / (cosh(x) * cosh(x)))
arcsin = analytic(MP.asin, lambda x: 1 / sqrt(1 - x * x))
arccos = analytic(MP.acos, lambda x: -1 / sqrt(1 - x * x))
arctan = analytic(MP.atan, lambda x: 1 / (1 + x * x))
arcsinh = analytic(MP.asinh, lambda x: 1 / sqrt(1 + x * x))
arccosh = analytic(MP.acosh, lambda x: 1 / sqrt(x * x - 1))
arctanh = analytic(MP.atanh, lambda x: 1 / (1 - x * x))
erf = analytic(MP.erf, lambda x: exp(-x * x) * (2 / MP.sqrt(MP.pi)))
erfc = analytic(MP.erfc, lambda x: exp(-x * x) * (-2 / MP.sqrt(MP.pi)))
gammaln = analytic(lambda x: MP.re(MP.loggamma(x)), polygamma(0))
digamma = polygamma(0)
floor, ceil = flat(MP.floor), flat(MP.ceil)
sign = flat(MP.sign)
trunc = flat(lambda x: MP.floor(x) if x >= 0 else MP.ceil(x))


def expit(x):
    return 1 / (1 + exp(-x))


def power(x, y):
    return exp(y * log(x))


def arctan2(y, x):
    """On the right half plane."""
    return arctan(y / x)


def maximum(x, y):
    return x if x >= y else y


def minimum(x, y):
    return x if x <= y else y


def floor_divide(x, y):
    return floor(x / y)


UNARY = {
    "negative": lambda x: -x, "absolute": abs, "sqrt": sqrt, "square": lambda x: x * x, "exp": exp,
    "expm1": expm1, "log": log, "log1p": log1p, "log2": lambda x: log(x) / MP.log(2),
    "log10": lambda x: log(x) / MP.log(10), "sin": sin, "cos": cos, "tan": tan, "sinh": sinh,
    "cosh": cosh, "tanh": tanh, "sign": sign, "floor": floor, "ceil": ceil, "trunc": trunc,
    "reciprocal": lambda x: 1 / x, "arcsin": arcsin, "arccos": arccos, "arctan": arctan,
    "arcsinh": arcsinh, "arccosh": arccosh, "arctanh": arctanh,
    "exp2": lambda x: exp(x * MP.log(2)), "cbrt": cbrt, "erf": erf, "erfc": erfc,
    "gammaln": gammaln, "digamma": digamma, "expit": expit,
}  # fmt: skip
BINARY = {
    "add": lambda x, y: x + y, "subtract": lambda x, y: x - y, "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y, "power": power, "maximum": maximum, "minimum": minimum,
    "arctan2": arctan2, "hypot": lambda x, y: sqrt(x * x + y * y),
    "logaddexp": lambda x, y: log(exp(x) + exp(y)), "mod": lambda x, y: x - y * floor(x / y),
    "floor_divide": floor_divide, "xlogy": lambda x, y: x * log(y),
}  # fmt: skip
