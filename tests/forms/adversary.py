"""Random functions whose formula is read back: `python tests/forms/adversary.py --count 300`.

    --count N     functions; the first is the one of --seed
    --seed S
    --show        print each function with its formula

The text is compared with the graph at random points, at negative ones, and at points with zeros,
ones and equal arguments, and must have the same value wherever the conditions hold that stand under
it. Formulas of scalars are evaluated with 40 digits, and compared with the derivative of the
function itself as well, by numbers with first and second derivatives.
"""

from __future__ import annotations

import argparse
import linecache
import operator
import random
import re
import sys
import warnings
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import mpmath
import numpy as np

import symgrad as sg
from forms import notation
from forms.run import without_conditions

DIGITS = 40
N = 3  # of vectors and matrices

# ---- functions as text -------------------------------------------------------------------------

UNARY = (
    "np.sin({})", "np.cos({})", "np.exp({})", "np.tanh({})", "np.log({})", "np.sqrt({})",
    "np.abs({})", "({})**2", "({})**3", "1 / ({})", "np.log(1 + ({})**2)", "np.sqrt(1 + ({})**2)",
    "np.exp(-({})**2)", "np.abs({})**1.5", "1 / (1 + np.exp(-({})))", "np.maximum({}, 0)",
)  # fmt: skip
BINARY = (
    "{} + {}", "{} - {}", "({}) * ({})", "({}) / ({})", "np.maximum({}, {})",
    "np.where({} > 0, {}, {})", "({}) * ({}) - ({})", "np.abs({}) ** ({})",
    "np.where(np.abs({}) <= 1, {}, {})", "({} + {}) * ({} - {})",
)  # fmt: skip
OF_ARRAYS = (
    "x @ {}", "np.sum({})", "np.sum(np.abs({}))", "np.sum(({})**2)", "np.linalg.norm({})",
    "np.log(1 + np.sum(np.exp({})))", "np.sum(np.where({} > 0, {}, 0.5))", "np.max({})",
    "np.sum(np.sqrt(1 + ({})**2))", "({}) @ ({})", "np.mean({}) * np.sum({})", "sg.logsumexp({})",
)  # fmt: skip
VECTORS = (
    "x", "y", "A @ x", "A.T @ y", "x * y", "x - y", "A @ x - y", "np.sin(x)", "np.exp(-x)",
    "np.abs(x)", "x / (1 + y**2)", "A @ (x * y)", "c * x", "x - np.mean(x)", "np.maximum(x, y)",
    "np.tanh(A @ x)", "x[::-1]", "np.cumsum(x)",
)  # fmt: skip
NUMBERS = (
    "np.trace(A @ A.T)", "np.linalg.norm(A)", "x @ A @ x", "np.sum(A * A.T)", "np.sum(A @ x)",
    "np.linalg.slogdet(np.eye(3) + A @ A.T)[1]", "np.sum(np.abs(A))", "np.trace(A @ A)",
    "x @ np.linalg.solve(np.eye(3) + A @ A.T, y)", "np.sum(sg.softmax(A @ x) * y)",
)  # fmt: skip


def scalar_text(rng, depth):
    if depth == 0 or rng.random() < 0.1:
        return rng.choice(["x", "y", "x", "y", "z", "2", "0.5", "3"])
    pattern = rng.choice(UNARY if rng.random() < 0.55 else BINARY)
    return pattern.format(*[scalar_text(rng, depth - 1) for _ in range(pattern.count("{}"))])


def array_text(rng):
    def one():
        if rng.random() < 0.35:
            return rng.choice(NUMBERS)
        pattern = rng.choice(OF_ARRAYS)
        return pattern.format(*[rng.choice(VECTORS) for _ in range(pattern.count("{}"))])

    pattern = rng.choice(
        ("{}", "{} + {}", "({}) * ({})", "np.log(1 + ({})**2)", "c * ({}) - {}",
         "np.sqrt(1 + ({})**2)", "({}) / (1 + ({})**2)", "np.where({} > 1, {}, {})")
    )  # fmt: skip
    return pattern.format(*[one() for _ in range(pattern.count("{}"))])


SCALARS = dict.fromkeys("xyz", ())
ARRAYS = {"x": (N,), "y": (N,), "A": (N, N), "c": ()}


def made(text, names, seed):
    """The function, with a source that can be followed."""
    name = f"<adversary {seed}>"
    head = "import numpy as np\nimport symgrad as sg\n\n"
    source = f"{head}def f({', '.join(names)}):\n    return {text}\n"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    scope = {}
    exec(compile(source, name, "exec"), scope)
    return scope["f"]


# ---- numbers with derivatives ------------------------------------------------------------------


class Jet:
    """f, f' and f'' with many digits; a value that the function has only at a kink is no number."""

    def __init__(self, v, d=0, h=0):
        self.v, self.d, self.h = mpmath.mpf(v), mpmath.mpf(d), mpmath.mpf(h)

    def apply(self, v, d, h):
        return Jet(v, d * self.d, h * self.d**2 + d * self.h)

    def __add__(self, o):
        o = jet(o)
        return Jet(self.v + o.v, self.d + o.d, self.h + o.h)

    def __mul__(self, o):
        o = jet(o)
        return Jet(self.v * o.v, self.d * o.v + self.v * o.d,
                   self.h * o.v + 2 * self.d * o.d + self.v * o.h)  # fmt: skip

    def __neg__(self):
        return Jet(-self.v, -self.d, -self.h)

    def __sub__(self, o):
        return self + -jet(o)

    def __truediv__(self, o):
        return self * jet(o) ** -1

    def __rtruediv__(self, o):
        return jet(o) / self

    def __rsub__(self, o):
        return jet(o) - self

    def __pow__(self, o):
        if isinstance(o, Jet):
            return exp(o * log(self))
        o = mpmath.mpf(o)
        if self.v == 0 and (o < 0 or o != int(o) and o < 2):
            raise ArithmeticError
        if self.v < 0 and o != int(o):
            raise ArithmeticError
        powers = [self.v**e if self.v or e > 0 else mpmath.mpf(e == 0) for e in (o, o - 1, o - 2)]
        return self.apply(powers[0], o * powers[1], o * (o - 1) * powers[2])

    def __gt__(self, o):
        return self._side(o) > 0

    def __le__(self, o):
        return self._side(o) < 0

    def _side(self, o):
        found = self.v - jet(o).v
        if found == 0:
            raise ArithmeticError
        return found

    __radd__, __rmul__ = __add__, __mul__


def jet(v):
    return v if isinstance(v, Jet) else Jet(v)


def exp(u):
    e = mpmath.exp(jet(u).v)
    return jet(u).apply(e, e, e)


def log(u):
    u = jet(u)
    if u.v <= 0:
        raise ArithmeticError
    return u.apply(mpmath.log(u.v), 1 / u.v, -1 / u.v**2)


def tanh(u):
    t = mpmath.tanh(jet(u).v)
    return jet(u).apply(t, 1 - t**2, -2 * t * (1 - t**2))


class Functions:
    """NumPy's functions on jets."""

    exp, log, tanh = staticmethod(exp), staticmethod(log), staticmethod(tanh)

    @staticmethod
    def sin(u):
        s, c = mpmath.sin(jet(u).v), mpmath.cos(jet(u).v)
        return jet(u).apply(s, c, -s)

    @staticmethod
    def cos(u):
        s, c = mpmath.sin(jet(u).v), mpmath.cos(jet(u).v)
        return jet(u).apply(c, -s, -c)

    @staticmethod
    def sqrt(u):
        return jet(u) ** 0.5

    @staticmethod
    def abs(u):
        return jet(u) if jet(u) > 0 else -jet(u)

    @staticmethod
    def maximum(u, v):
        return jet(u) if jet(u) > v else jet(v)

    @staticmethod
    def where(p, u, v):
        return jet(u if p else v)


def truth(text, point, by, order):
    """The derivative with many digits, or None at a kink or outside of the domain."""
    scope = {k: Jet(v, k == by) for k, v in point.items()}
    try:
        result = jet(eval(text, {"np": Functions, **scope}))
    except (ArithmeticError, ValueError, TypeError):
        return None
    return (result.d, result.h)[order - 1]


# ---- text with many digits ---------------------------------------------------------------------

PRECISE = {
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "exp": mpmath.exp, "log": mpmath.log,
    "tanh": mpmath.tanh, "sinh": mpmath.sinh, "cosh": mpmath.cosh, "sign": mpmath.sign,
    "sech": mpmath.sech, "σ": lambda u: 1 / (1 + mpmath.exp(-u)), "max": max, "min": min,
    "softplus": lambda u: mpmath.log(1 + mpmath.exp(u)), "clip": lambda u, a, b: max(a, min(u, b)),
}  # fmt: skip


COMPARE = {"<": operator.lt, ">": operator.gt, "≤": operator.le, "≥": operator.ge,
           "=": operator.eq, "≠": operator.ne}  # fmt: skip


class Precise:
    """Values of scalar formulas, from the trees of `notation`."""

    def __init__(self, values, parts):
        self.values, self.parts = dict(values), parts

    def value(self, tree):  # noqa: C901
        kind, rest = tree[0], tree[1:]
        if kind == "number":
            found = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4"}.get(tree[2])
            return mpmath.mpf(found or str(tree[1]))
        if kind == "name":
            return self.name(tree[1])
        if kind == "neg":
            return -self.value(tree[1])
        if kind == "sum":
            return mpmath.fsum([self.value(t) for t in tree[1]])
        if kind in ("chain", "⊙"):
            values = [self.value(t) for t in (tree[1] if kind == "chain" else rest)]
            masks = [t for t in (tree[1] if kind == "chain" else rest) if t[0] == "iverson"]
            if any(self.value(m) == 0 for m in masks):
                return mpmath.mpf(0)  # whatever stands beside it
            return mpmath.fprod(values)
        if kind in ("/", "⊘"):
            top = self.value(tree[1])
            if _is_masked(tree[1], self):
                return mpmath.mpf(0)
            below = self.value(tree[2])
            return top / below if below else mpmath.sign(top) * mpmath.inf
        if kind == "pow":
            base, e = self.value(tree[1]), self.value(tree[2])
            result = base**e if base or e >= 0 else mpmath.inf
            return result if isinstance(result, mpmath.mpf) else mpmath.nan
        if kind == "√":
            u = self.value(tree[1])
            return mpmath.sqrt(u) if u >= 0 else mpmath.nan
        if kind == "abs":
            return abs(self.value(tree[1]))
        if kind == "compare":
            a, b = self.value(rest[1]), self.value(rest[2])
            return COMPARE[rest[0]](a, b)
        if kind == "logic":
            a, b = self.value(rest[1]), self.value(rest[2])
            return (a and b) if rest[0] == "∧" else (a or b)
        if kind == "iverson":
            return mpmath.mpf(int(self.value(tree[1])))
        if kind == "cases":
            for value, condition in tree[1]:
                if condition is None or self.value(condition):
                    return self.value(value)
        if kind == "call" and tree[1] in PRECISE:
            found = PRECISE[tree[1]](*[self.value(t) for t in tree[2][0]])
            return found if isinstance(found, mpmath.mpf) else mpmath.nan
        raise notation.Unreadable(str(tree))

    def name(self, name):
        if name == "π":
            return mpmath.pi * 1
        if name not in self.values:
            self.values[name] = self.value(self.parts[name])
        return self.values[name]


def _is_masked(tree, reader):
    while tree[0] in ("neg", "/"):
        tree = tree[1]
    factors = tree[1] if tree[0] == "chain" else [tree]
    return any(f[0] == "iverson" and reader.value(f) == 0 for f in factors)


def precise(text, point):
    """The value of a scalar formula with its lines, with many digits; nan where it has none."""
    lines = notation.split(text)
    parts = {line[0][0][0]: notation.parse(line[1]) for line in lines[1:]}
    try:
        return Precise({k: mpmath.mpf(float(v)) for k, v in point.items()}, parts).value(
            notation.parse(lines[0][1]))  # fmt: skip
    except (ZeroDivisionError, ValueError, OverflowError):
        return mpmath.nan


# ---- the comparison ----------------------------------------------------------------------------


def conditions(text):
    """What stands behind "for" in the last line."""
    found = re.search(r"^\s+for (.*)$", text, re.M)
    return re.split(r", (?![^()\[\]]*[)\]])", found[1]) if found else []


def hold(told, text, point):
    """Whether the conditions are met, in all elements."""
    parts = [line for line in without_conditions(text).splitlines()[1:]]
    reader = notation.Reader(point)
    for patterns, right, _ in notation.split("\n".join(parts)) if parts else []:
        reader.parts[patterns[0][0]] = patterns[0][1], notation.parse(right), None
    return all(np.all(reader.value(notation.parse(c))) for c in told)


def points(names, seed):
    rng = np.random.default_rng(seed)
    draws = [
        *[lambda s: rng.normal(size=s)] * 2,
        *[lambda s: rng.uniform(0.2, 2, s)] * 2,
        lambda s: -rng.uniform(0.2, 2, s),
        lambda s: rng.uniform(1, 4, s),
        np.zeros,
        np.ones,
        lambda s: -np.ones(s),
        *[lambda s: rng.integers(-1, 2, s).astype(float)] * 2,
        lambda s: rng.integers(0, 3, s).astype(float),
    ]
    for draw in draws:
        yield {k: np.asarray(draw(s), float) for k, s in names.items()}
    for zero in names:
        point = {k: np.asarray(rng.normal(size=s)) for k, s in names.items()}
        yield point | {zero: np.zeros(names[zero])}


def judged(seed):
    """(verdict, text of the function, formula, what is wrong)"""
    rng = random.Random(seed)
    of_scalars = rng.random() < 0.55
    names = SCALARS if of_scalars else ARRAYS
    text = scalar_text(rng, rng.choice((2, 2, 3))) if of_scalars else array_text(rng)
    by = rng.choice([k for k in names if re.search(rf"\b{k}\b", text)] or ["x"])
    order = 2 if rng.random() < 0.3 and by != "A" else 1
    f, k = made(text, names, seed), list(names).index(by)
    derivative = sg.grad(f, k) if order == 1 else sg.hessian(f, k)
    specs = [sg.f64[s] if s else sg.f64 for s in names.values()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = sg.trace(derivative, *specs).simplify()
    except sg.errors.SymgradError as error:
        return "refused", text, f"{by} {order}", f"{type(error).__name__}: {error}"
    shown = graph.formula()
    what = f"d{order}/d{by}{order}: {shown}"
    if graph._found.reading is None:
        return "code", text, what, ""
    for point in points(names, seed):
        if not _has_value(f, point):
            continue
        try:
            wrong = _differs(graph, shown, text, point, of_scalars and (by, order))
        except (notation.Unreadable, np.exceptions.AxisError) as error:  # cumsum(1) has no size
            return "unread", text, what, str(error)
        if wrong:
            return "wrong", text, what, f"{wrong} at {point}"
    return "right", text, what, ""


def _has_value(f, point):
    """Whether the function itself has one there; else its derivative may be anything."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(np.isfinite(f(*point.values())).all())


def _differs(graph, shown, text, point, scalar):
    told = conditions(shown)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = np.asarray(graph.evaluate_flat(list(point.values()))[0], float)
        try:
            if not hold(told, shown, point):
                return ""
            plain = without_conditions(shown)
            if scalar:
                got = np.asarray(float(precise(plain, point)))
            else:
                got = np.asarray(notation.evaluated(plain, point, want.shape), float)
        except np.linalg.LinAlgError:
            return ""
    finite = np.isfinite(want)
    size = max(1.0, np.abs(want[finite]).max(initial=0))
    exactly = truth(text, {k: float(v) for k, v in point.items()}, *scalar) if scalar else None
    if exactly is not None:
        if abs(exactly) < 1e15 and not np.isclose(float(exactly), got, rtol=1e-9, atol=1e-12):
            return f"{got} where the derivative is {float(exactly)}"
        return ""
    if np.abs(want[finite]).max(initial=0) > 1e12:
        return ""
    if not np.allclose(got[finite], want[finite], rtol=1e-6, atol=1e-7 * size):
        return f"{got} where the graph has {want}"
    if not finite.all() and np.isfinite(got)[~finite].any() and np.isnan(want).any():
        return f"{got} where the graph has {want}, with no condition"
    return ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    counts = Counter()
    with mpmath.workdps(DIGITS):
        for seed in range(given.seed, given.seed + given.count):
            verdict, text, shown, told = judged(seed)
            counts[verdict] += 1
            if given.show or verdict in ("wrong", "unread"):
                print(f"{seed} [{verdict}] {text}\n    {shown}\n    {told}", flush=True)
    print(", ".join(f"{n} {k}" for k, n in sorted(counts.items())))


if __name__ == "__main__":
    main()
