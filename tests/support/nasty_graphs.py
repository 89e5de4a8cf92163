"""Random formulas on nasty inputs: is the simplified graph as good as the one the user wrote?

`flaws` evaluates a formula before and after simplification at zeros, subnormal and huge numbers,
infinities and NaN. Where the two differ, 700 digits and a running error bound decide:
the simplified one may not become inf or NaN, and may not be further from the truth than the
rounding errors of the original can explain.
"""

from __future__ import annotations

import math

import numpy as np

import symgrad.ops  # noqa: F401
from support import taylor
from support.taylor import MP, Taylor
from symgrad.diff.modes import vjp
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import Expr, arg, bind, const, const_value
from symgrad.expr.walk import toposort
from symgrad.ops.linear import broadcast, pad, permute, reshape, sum_
from symgrad.simplify import RULES, simplify
from symgrad.simplify.pattern import Pattern
from symgrad.simplify.rules.smooth import SMOOTH

NASTY = [0.0, 5e-324, 1e-310, 1e-300, 1e-160, 1e-17, 1e-8, 0.1, 0.5, 1.0, 2.0, 3.7, 36.0, 40.0,
         700.0, 745.5, 800.0, 1e8, 1e16, 1e155, 1e300, 1.7e308, math.inf]  # fmt: skip
POINTS = [*NASTY, *(-x for x in NASTY), math.nan]
UNARY = ["negative", "absolute", "exp", "expm1", "log", "log1p", "sigmoid", "softplus", "tanh",
         "sqrt", "square", "reciprocal", "sinh", "cosh", "erf", "erfc", "exp2"]  # fmt: skip
BINARY = ["add", "subtract", "multiply", "divide", "hypot", "logaddexp", "maximum", "minimum"]
COMPARE = ["less", "greater_equal", "equal"]
CONSTANTS = [1.0, 1.0, -1.0, 2.0, 0.5, -0.5, 0.0, -0.0, 3.0, 1e-3, 1e300, 1e-300]
PATTERNS = [r.pattern for r in RULES if r.pattern is not None]
NEED_CONDITIONS = {"select", "logical_not", "logical_and", "logical_or", *COMPARE, "not_equal",
                   "less_equal", "greater"}  # fmt: skip
# Rules that promise nothing near overflow: those that re-associate sums (rules/contractions.py),
# and x x = x², whose derivative 2x overflows where that of x x does not, but x x does.
NOT_NEAR_OVERFLOW = {"like-terms", "sum-view", "sum-product", "einsum-flatten", "scale-inside",
                     "square"}  # fmt: skip
FAR = 1e280
WIDTH = 3  # of the arrays that are summed


# ---- random formulas -----------------------------------------------------------------------------


class Builder:
    """Formulas grown from single operations and from the left sides of rules."""

    def __init__(self, seed: int, points: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.args = [arg(k, (points,), "float64") for k in range(2)]
        self.points = points

    def choose(self, options):
        return options[int(self.rng.integers(len(options)))]

    def constant(self) -> Expr:
        return const(self.choose(CONSTANTS), "float64", (self.points,))

    def formula(self, depth: int) -> Expr:
        if depth <= 0 or self.rng.random() < 0.1:
            return self.choose(self.args) if self.rng.random() < 0.85 else self.constant()
        kind = self.rng.random()
        if kind < 0.45:
            return self.of_pattern(self.choose(PATTERNS), depth, {})
        if kind < 0.65:
            return bind(self.choose(UNARY), self.formula(depth - 1))
        if kind < 0.85:
            return bind(self.choose(BINARY), self.formula(depth - 1), self.formula(depth - 2))
        if kind < 0.93:
            return self.sum_of_view(self.formula(depth - 1), self.formula(depth - 2))
        condition = bind(self.choose(COMPARE), self.formula(depth - 2), self.constant())
        return bind("select", condition, self.formula(depth - 1), self.formula(depth - 2))

    def of_pattern(self, p: Pattern, depth: int, env: dict[str, Expr]) -> Expr:
        """The left side of a rule with formulas for its variables."""
        if p.kind == "op":
            parts = [self.of_pattern(a, depth, env) for a in p.args]
            if p.name in NEED_CONDITIONS:
                return parts[-1]
            return bind(p.name, *parts)
        if p.kind == "literal":
            return const(p.value, "float64", (self.points,))
        if p.name not in env:
            env[p.name] = self.constant() if p.kind == "const" else self.formula(depth - 2)
        return env[p.name]

    def sum_of_view(self, x: Expr, y: Expr) -> Expr:
        """A sum over rows made of x and y, as negated, scaled, permuted, repeated, padded array."""
        n, wide = self.points, (self.points, WIDTH)
        kind = int(self.rng.integers(7))
        rows = broadcast(x, wide, (0,))
        if kind == 0:
            return sum_(rows, (1,))
        rows = pad(reshape(x, (n, 1)), wide, (0, 1), (1, 1))
        rows = rows + pad(reshape(y, (n, 1)), wide, (0, 0), (1, 1))
        if kind == 1:
            return sum_(-rows, (1,))
        if kind == 2:
            return sum_(rows * const(self.choose(CONSTANTS), "float64", wide), (1,))
        if kind == 3:
            return sum_(rows / const(self.choose(CONSTANTS), "float64", wide), (1,))
        if kind == 4:
            return sum_(permute(rows, (1, 0)), (0,))
        if kind == 5:
            return sum_(rows * broadcast(y, wide, (0,)), (1,))
        return sum_(reshape(rows, (n, 1, WIDTH)), (1, 2))


# ---- the truth -----------------------------------------------------------------------------------


class Undefined(Exception):
    """No finite real value, or none that 700 digits hold."""


UNIT = 2.0**-53
LARGEST = MP.mpf(1.797e308)
EXACT = {**taylor.UNARY, **taylor.BINARY, "gap": lambda x, y: x - y,
         "sigmoid": taylor.expit,
         "softplus": lambda x: taylor.log1p(taylor.exp(x)),
         "logit": lambda x: taylor.log(x) - taylor.log1p(-x),
         "sech": lambda x: 1 / taylor.cosh(x), "slope": lambda x, r: x / r,
         "complement_square": lambda x: (1 - x) * (1 + x)}  # fmt: skip
CONNECTIVES = {"logical_and": lambda a, b: a and b, "logical_or": lambda a, b: a or b,
               "logical_not": lambda a: not a}  # fmt: skip
# and which argument may not come near zero
SINGULAR = {"divide": 1, "slope": 1, "reciprocal": 0, "log": 0, "sqrt": 0, "power": 0}
HOLDS = {"less": lambda a, b: a < b, "greater": lambda a, b: a > b, "equal": lambda a, b: a == b,
         "less_equal": lambda a, b: a <= b, "greater_equal": lambda a, b: a >= b,
         "not_equal": lambda a, b: a != b}  # fmt: skip
EXPONENTIALS = {"exp", "expm1", "sinh", "cosh", "exp2", "sigmoid", "softplus", "tanh",
                "sech", "erf", "erfc", "logaddexp"}  # fmt: skip


class Truth:
    """Exact values, with the error that double precision may make, of one row of a graph.

    With an infinite input the values are those of the extended reals, without a bound.
    """

    def __init__(self, values: dict[Expr, float], at_kinks: bool = True) -> None:
        self.values = values
        self.at_kinks = at_kinks  # whether conventions there count as values
        self.bounded = all(map(math.isfinite, values.values()))
        self.known: dict[Expr, np.ndarray] = {}

    def __call__(self, e: Expr):
        """(value, error bound) of a scalar node; only what is selected is evaluated."""
        with MP.workdps(700):
            return self.array(e).reshape(-1)[0]

    def array(self, e: Expr) -> np.ndarray:
        if e not in self.known:
            self.known[e] = self.compute(e)
        return self.known[e]

    def compute(self, e: Expr) -> np.ndarray:
        shape = (1, *e.shape[1:]) if e.shape[0] != WIDTH or e.ndim == 1 else (*e.shape[:-1], 1)
        out = np.empty(shape, dtype=object)
        if e.name in ("arg", "const"):
            value = self.values[e] if e.name == "arg" else float(const_value(e))
            if math.isnan(value) or (math.isinf(value) and self.bounded):
                raise Undefined
            out.fill((MP.mpf(value), MP.zero))
            return out
        if e.dtype == "bool":
            raise Undefined  # conditions are taken by `holds`
        if e.name == "sign" and not self.at_kinks and not self.array(e.args[0]).reshape(-1)[0][0]:
            raise Undefined
        if e.name == "select":
            return self.array(e.args[1 if self.holds(e.args[0]) else 2])
        args = [self.array(a) for a in e.args]
        if e.name == "sum":
            rows = args[0].reshape(-1)
            if out.size != 1:
                raise Undefined
            value = MP.fsum(v for v, _ in rows)
            size = MP.fsum(abs(v) for v, _ in rows)
            error = MP.fsum(b for _, b in rows)
            out.fill((value, error + len(rows) * MP.mpf(UNIT) * size))
            return out
        if e.name == "broadcast":
            out.fill(args[0].reshape(-1)[0])
            return out
        if e.name == "reshape":
            return args[0].reshape(shape)
        if e.name == "permute":
            return args[0].transpose(e.attrs[0])
        if e.name == "slice":
            return args[0][:, e.attrs[0][1] : e.attrs[0][1] + 1]
        if e.name == "pad":
            out.fill((MP.zero, MP.zero))
            out[0, e.attrs[1][1]] = args[0].reshape(-1)[0]
            return out
        for index in np.ndindex(shape):
            out[index] = self.apply(e.name, [a[index] for a in args])
        return out

    def holds(self, e: Expr) -> bool:
        if e.name.startswith("logical"):
            return CONNECTIVES[e.name](*map(self.holds, e.args))
        if e.name == "const":
            return bool(const_value(e))
        if e.name not in HOLDS:
            raise Undefined
        (a, da), (b, db) = (self.array(x).reshape(-1)[0] for x in e.args)
        if abs(a - b) <= 4 * (da + db) and da + db:
            raise Undefined  # rounding decides which branch is taken
        if a == b and not self.at_kinks:
            raise Undefined
        return HOLDS[e.name](a, b)

    def apply(self, name: str, args):
        """One operation: its value, and what the errors of its arguments and rounding make."""
        if name in EXPONENTIALS and any(LARGEST < abs(v) < MP.inf for v, _ in args):
            raise Undefined
        if name in SINGULAR:
            v, b = args[SINGULAR[name]]
            if b > abs(v) / 4:  # zero, of either sign, for all that double precision knows
                raise Undefined
        order = int(self.bounded)
        numbers = [Taylor.variable(v, k, order) for k, (v, _) in enumerate(args)]
        try:
            if name == "power":  # rules have constant exponents
                out = numbers[0] ** args[1][0]
            else:
                out = numbers[0].lift(EXACT[name](*numbers))
        except (ZeroDivisionError, ValueError, TypeError, OverflowError) as e:
            raise Undefined from e
        if not isinstance(out.value, MP.mpf) or MP.isnan(out.value):
            raise Undefined
        if not self.bounded:
            return out.value, MP.zero
        if MP.isinf(out.value):
            raise Undefined
        error = MP.mpf(UNIT) * 4 * abs(out.value) + MP.mpf(5e-324)
        for k, (_, b) in enumerate(args):
            slope = out.derivative(k)
            if b:
                if not isinstance(slope, MP.mpf) or not MP.isfinite(slope):
                    raise Undefined
                error += abs(slope) * b
        return out.value, error


# ---- judging -------------------------------------------------------------------------------------


def grid() -> list[np.ndarray]:
    pairs = [(a, b) for a in POINTS for b in POINTS[::4]] + [(a, a) for a in POINTS]
    return [np.array(c) for c in zip(*pairs, strict=True)]


GRID = grid()


def flaws(before: Expr, after: Expr, args: list[Expr], fired, infinite=True, most: int = 12):
    """(inputs, before, after, truth, what is wrong) of points where `after` is worse.

    infinite : look at infinite inputs and results too; there a derivative is what its formula says.
        The formula of a derivative has conventions where kinks of its parts cancel; rules that know
        of the cancelling put the derivative there.
    """
    at_kinks = infinite or not {r.name for r in SMOOTH} & set(fired)
    values = dict(zip(args, GRID, strict=True))
    old, new = evaluate([before, after], values)
    used = [a for a in args if a in set(toposort([before]))]
    with np.errstate(all="ignore"):
        near = np.abs(old - new) <= 1e-15 * np.abs(old)
    differ = np.flatnonzero(~(near | (old == new) | (np.isnan(old) & np.isnan(new))))
    found = []
    for i in differ[np.linspace(0, len(differ) - 1, min(most, len(differ))).astype(int)]:
        point = [float(values[a][i]) for a in args]
        o, n = float(old[i]), float(new[i])
        try:
            exact, bound = Truth({a: float(values[a][i]) for a in used}, at_kinks)(before)
        except Undefined:
            continue
        what = judge(o, n, exact, bound)
        if not infinite and not all(map(math.isfinite, (*point, o))):
            continue
        far = any(FAR < abs(p) < math.inf for p in point)
        if what and not (far and NOT_NEAR_OVERFLOW & set(fired)):
            found.append((point, o, n, float(exact), what))
    return found


def judge(old: float, new: float, exact, bound) -> str | None:
    """What is wrong with `new`, or None."""
    if abs(exact) + bound > LARGEST:  # inf is right; so is a number of that size
        return "inf became NaN" if math.isnan(new) and not math.isnan(old) else None
    was = abs(MP.mpf(old) - exact) if math.isfinite(old) else MP.inf
    if was > 16 * bound + abs(exact) / 2:
        return None  # the original has no correct digit: not even inf or NaN is worse
    if not math.isfinite(new):
        return "finite became inf or NaN"
    now = abs(MP.mpf(new) - exact)
    return None if now <= 4 * was + 16 * bound else f"error {float(now):.1e}, was {float(was):.1e}"


def example(seed: int, derivative: bool = False):
    """(formula or its derivative, simplified, arguments, rules that fired) of a seed."""
    b = Builder(seed, len(GRID[0]))
    before = b.formula(int(b.rng.integers(2, 6)))
    done = simplify([before])
    if not derivative:
        return before, done.outs[0], b.args, done.fired
    one = const(1.0, "float64", before.shape)
    slow, fast = (vjp([out], b.args[:1], [one])[0] for out in (before, done.outs[0]))
    zero = const(0.0, "float64", before.shape)
    slow, fast = (zero if g is None else g for g in (slow, fast))
    again = simplify([fast])
    return slow, again.outs[0], b.args, {**done.fired, **again.fired}
