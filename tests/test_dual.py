"""The interpreter on dual numbers against mpmath, and programs of which the derivative is known."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from support import dual
from support.dual import Dual
from support.dual_numpy import derivatives, gradient, hessian_vector, load

# name: mpmath's function, points
ONE = {
    "exp": (mpmath.exp, [-1.5, 0.3]),
    "exp2": (lambda x: mpmath.mpf(2) ** x, [-1.5, 0.3]),
    "expm1": (mpmath.expm1, [-1.5, 0.3]),
    "log": (mpmath.log, [0.2, 3.1]),
    "log1p": (mpmath.log1p, [-0.4, 2.0]),
    "log2": (lambda x: mpmath.log(x, 2), [0.2, 3.1]),
    "log10": (mpmath.log10, [0.2, 3.1]),
    "sqrt": (mpmath.sqrt, [0.2, 3.1]),
    "cbrt": (lambda x: mpmath.sign(x) * abs(x) ** (mpmath.mpf(1) / 3), [0.2, -3.1]),
    "square": (lambda x: x * x, [0.7]),
    "reciprocal": (lambda x: 1 / x, [0.7, -2.0]),
    "sin": (mpmath.sin, [0.4, 2.5]),
    "cos": (mpmath.cos, [0.4, 2.5]),
    "tan": (mpmath.tan, [0.4, 2.5]),
    "arcsin": (mpmath.asin, [0.4, -0.7]),
    "arccos": (mpmath.acos, [0.4, -0.7]),
    "arctan": (mpmath.atan, [0.4, -2.7]),
    "sinh": (mpmath.sinh, [0.4, -2.5]),
    "cosh": (mpmath.cosh, [0.4, -2.5]),
    "tanh": (mpmath.tanh, [0.4, -2.5]),
    "arcsinh": (mpmath.asinh, [0.4, -2.7]),
    "arccosh": (mpmath.acosh, [1.4, 2.7]),
    "arctanh": (mpmath.atanh, [0.4, -0.7]),
    "absolute": (abs, [0.4, -0.7]),
    "deg2rad": (mpmath.radians, [0.4]),
    "rad2deg": (mpmath.degrees, [0.4]),
    "erf": (mpmath.erf, [0.4, -1.7]),
    "erfc": (mpmath.erfc, [0.4, 1.7]),
    "erfcx": (lambda x: mpmath.exp(x * x) * mpmath.erfc(x), [0.4, -1.7]),
    "erfinv": (mpmath.erfinv, [0.4, -0.7]),
    "ndtr": (mpmath.ncdf, [0.4, -1.7]),
    "log_ndtr": (lambda x: mpmath.log(mpmath.ncdf(x)), [0.4, -1.7]),
    "ndtri": (lambda x: mpmath.sqrt(2) * mpmath.erfinv(2 * x - 1), [0.4, 0.7]),
    "expit": (lambda x: 1 / (1 + mpmath.exp(-x)), [0.4, -1.7]),
    "logit": (lambda x: mpmath.log(x / (1 - x)), [0.4, 0.7]),
    "log_expit": (lambda x: -mpmath.log(1 + mpmath.exp(-x)), [0.4, -1.7]),
    "gammaln": (mpmath.loggamma, [0.4, 2.7]),
    "gamma": (mpmath.gamma, [0.4, 2.7]),
    "psi": (mpmath.digamma, [0.4, 2.7]),
    "j0": (lambda x: mpmath.besselj(0, x), [0.4, -2.7]),
    "j1": (lambda x: mpmath.besselj(1, x), [0.4, -2.7]),
    "i0": (lambda x: mpmath.besseli(0, x), [0.4, -2.7]),
    "i1": (lambda x: mpmath.besseli(1, x), [0.4, -2.7]),
    "i0e": (lambda x: mpmath.exp(-abs(x)) * mpmath.besseli(0, x), [0.4, -2.7]),
    "i1e": (lambda x: mpmath.exp(-abs(x)) * mpmath.besseli(1, x), [0.4, -2.7]),
}
TWO = {
    "add": (lambda x, y: x + y, [(0.3, 1.2)]),
    "subtract": (lambda x, y: x - y, [(0.3, 1.2)]),
    "multiply": (lambda x, y: x * y, [(0.3, 1.2)]),
    "divide": (lambda x, y: x / y, [(0.3, -1.2)]),
    "power": (lambda x, y: x**y, [(0.3, -1.2), (1.7, 2.4)]),
    "remainder": (lambda x, y: x - mpmath.floor(x / y) * y, [(2.3, 1.2), (-2.3, 1.2)]),
    "fmod": (lambda x, y: x - int(x / y) * y, [(2.3, 1.2), (-2.3, 1.2)]),
    "maximum": (max, [(2.3, 1.2), (1.2, 2.3)]),
    "minimum": (min, [(2.3, 1.2), (1.2, 2.3)]),
    "logaddexp": (lambda x, y: mpmath.log(mpmath.exp(x) + mpmath.exp(y)), [(0.3, 1.2)]),
    "hypot": (mpmath.hypot, [(0.3, 1.2)]),
    "arctan2": (mpmath.atan2, [(0.3, 1.2), (0.3, -1.2)]),
    "xlogy": (lambda x, y: x * mpmath.log(y), [(0.3, 1.2)]),
    "xlog1py": (lambda x, y: x * mpmath.log(1 + y), [(0.3, 1.2)]),
    "betaln": (lambda x, y: mpmath.log(mpmath.beta(x, y)), [(0.3, 1.2)]),
}  # fmt: skip


def parts(y, order):
    """Value and derivatives along e from nested numbers that were seeded alike."""
    found = []
    for k in range(order + 1):
        x = y
        for level in range(order):
            x = (
                (x.slope if level < k else x.value)
                if isinstance(x, Dual)
                else 0.0
                if level < k
                else x
            )
        found.append(float(x))
    return found


def seeded(x, order):
    """x + e1 + e2 + …"""
    made = x
    for _ in range(order):
        made = Dual(made, 1.0)
    return made


@pytest.fixture(autouse=True)
def digits():
    """More than others may have set, and not the hundreds with which functions take minutes."""
    with mpmath.workdps(40):
        yield


@pytest.mark.parametrize("name", ONE)
def test_functions_of_one_number(name):
    """Value and three derivatives."""
    exact, points = ONE[name]
    for x in points:
        expected = [float(mpmath.diff(exact, x, k)) for k in range(4)]
        got = parts(dual.UNARY[name](seeded(x, 3)), 3)
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_numbers(name):
    exact, points = TWO[name]
    for x, y in points:
        along = lambda t, x=x, y=y: exact(x + mpmath.mpf(0.7) * t, y - mpmath.mpf(0.4) * t)
        expected = [float(mpmath.diff(along, 0, k)) for k in range(4)]
        t = seeded(0.0, 3)
        got = parts(dual.BINARY[name](x + 0.7 * t, y - 0.4 * t), 3)
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-12)
        for fixed in (0, 1):  # one of the two a plain number
            pair = [x, y]
            pair[fixed] = mpmath.mpf(pair[fixed])
            alone = lambda t, fixed=fixed, x=x, y=y: exact(x if fixed == 0 else x + t,
                                                           y if fixed == 1 else y + t)  # fmt: skip
            expected = [float(mpmath.diff(alone, 0, k)) for k in range(3)]
            args = [x, y]
            args[1 - fixed] = seeded(args[1 - fixed], 2)
            got = parts(dual.BINARY[name](*args), 2)
            np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-12)


def test_every_function_is_compared():
    steps = set("sign floor ceil trunc rint isnan isinf isfinite signbit logical_not".split())
    same = set("fabs negative positive conjugate radians degrees digamma loggamma".split())
    assert set(dual.UNARY) == set(ONE) | steps | same
    compare = set("less less_equal greater greater_equal equal not_equal logical_and logical_or "
                  "logical_xor floor_divide heaviside".split())  # fmt: skip
    same = set("true_divide float_power mod fmax fmin copysign".split())
    assert set(dual.BINARY) == set(TWO) | compare | same


PROGRAM = """
import math
import numpy as np
from numpy import sin as sine
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import norm, t, gamma


def newton(a):
    x = a / 2
    while abs(x * x - a) > 1e-14:
        x = 0.5 * (x + a / x)
    return x


def filled(x):
    z = np.zeros(4)
    y = z[1:]
    for i in range(3):
        z[i] += x * (i + 1)
        if z[i] > 2.0:
            continue
        y[i] = sine(z[i]) + float(x)
    w = z
    w *= 2
    return z[0] * z[1] + z[2] * z[3]


def linear(x):
    A = np.array([[2.0, x, 0.1], [x, 3.0, x * x], [0.1, x * x, 4.0]])
    b = np.array([1.0, x, math.sin(x)])
    L = np.linalg.cholesky(A)
    total = np.log(np.linalg.det(A)) + np.sum(np.linalg.inv(A)) + np.trace(L)
    total += np.linalg.solve(A, b) @ b - b @ cho_solve(cho_factor(A, lower=True), b)
    return total + np.linalg.slogdet(A)[1] + np.sum(np.linalg.eigvalsh(A) ** 3)


def statistics(x):
    v = np.array([x, 2 * x, x * x, 0.3])
    total = np.mean(v) + np.var(v) + np.std(v, ddof=1) + np.max(v) + np.median(v)
    total += norm.logpdf(x, 0.3, 2.0) + norm.cdf(x) + t.logpdf(x, df=3.0) + gamma.logpdf(x, 2.5)
    return total + np.interp(x, [0.0, 1.0, 2.0], [1.0, 5.0, 2.0])
"""


def test_programs():
    """Branches, loops, assignment, views: against mpmath's derivative of the formula."""
    space = load(PROGRAM)
    r = derivatives(space["newton"], (2.0,), along=np.ones(1))
    assert abs(r.gradient[0] - 0.5 / 2**0.5) < 1e-15 and abs(r.product[0] + 0.25 / 2**1.5) < 1e-15

    def filled(x):
        b = mpmath.sin(x) + x + 2 * x  # above 2, so the store behind `continue` is left out
        return 4 * (x * b + 3 * x * (mpmath.sin(3 * x) + x))

    x = 0.6
    assert space["filled"](x) == pytest.approx(float(filled(x)), rel=1e-14)
    assert gradient(space["filled"], x)[0] == pytest.approx(float(mpmath.diff(filled, x)))

    def linear(x):
        A = mpmath.matrix([[2, x, 0.1], [x, 3, x * x], [0.1, x * x, 4]])
        L = mpmath.cholesky(A)
        inverse = A**-1
        total = 2 * mpmath.log(mpmath.det(A)) + sum(inverse) + sum(L[k, k] for k in range(3))
        cube = A * A * A
        return total + sum(cube[k, k] for k in range(3))

    for x in (0.3, 0.9):
        r = derivatives(space["linear"], (x,), along=np.ones(1))
        expected = [linear(x), mpmath.diff(linear, x), mpmath.diff(linear, x, 2)]
        np.testing.assert_allclose([r.value, r.gradient[0], r.product[0]],
                                   [float(e) for e in expected], rtol=1e-12)  # fmt: skip

    def statistics(x):
        v = [x, 2 * x, x * x, mpmath.mpf(0.3)]
        mean = sum(v) / 4
        squares = sum((e - mean) ** 2 for e in v)
        total = mean + squares / 4 + mpmath.sqrt(squares / 3) + max(v)
        total += (x * x + x) / 2  # the middle ones of four
        total += mpmath.log(mpmath.npdf(x, 0.3, 2)) + mpmath.ncdf(x)
        total += mpmath.log(mpmath.gamma(2) / mpmath.sqrt(3 * mpmath.pi) / mpmath.gamma(1.5))
        total -= 2 * mpmath.log(1 + x * x / 3)
        total += 1.5 * mpmath.log(x) - x - mpmath.log(mpmath.gamma(2.5))
        return total + 1 + 4 * x

    x = 0.7
    r = derivatives(space["statistics"], (x,), along=np.ones(1))
    expected = [statistics(x), mpmath.diff(statistics, x), mpmath.diff(statistics, x, 2)]
    np.testing.assert_allclose([r.value, r.gradient[0], r.product[0]],
                               [float(e) for e in expected], rtol=1e-11)  # fmt: skip


def test_nothing_is_lost_unseen():
    with pytest.raises(TypeError, match="lose its derivative"):
        float(Dual(1.0, 1.0))
    plain = np.zeros(3)
    with pytest.raises((TypeError, ValueError)):
        gradient(lambda x: plain.__setitem__(0, x), 1.0)
    with pytest.raises(TypeError, match="lose its derivative"):
        gradient(lambda x: np.add(plain, x, out=plain), 1.0)


def test_hessian_of_many_variables():
    """A quadratic form and a cube: x'Ax + Σx³."""
    rng = np.random.default_rng(0)
    A, x, v = rng.normal(size=(4, 4)), rng.normal(size=4), rng.normal(size=4)
    f = lambda x, A: x @ A @ x + np.sum(x**3)
    np.testing.assert_allclose(gradient(f, x, A), (A + A.T) @ x + 3 * x**2, rtol=1e-13)
    product = hessian_vector(f, (x, A), v)
    np.testing.assert_allclose(product, (A + A.T) @ v + 6 * x * v, rtol=1e-13)
