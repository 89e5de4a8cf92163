"""Every rule alone keeps values: on random points, on edge values, and against mpmath."""

from __future__ import annotations

import itertools
import math
import zlib

import mpmath
import numpy as np
import pytest

from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import Expr, arg, bind, const, const_value
from symgrad.expr.validate import check_rewrite
from symgrad.expr.walk import toposort
from symgrad.simplify import RULES, simplify
from symgrad.simplify.facts import nonnegative
from symgrad.simplify.pattern import Pattern, Rule, RuleSet, run

PATTERNS = [r for r in RULES if r.pattern is not None]
BOOLEAN = {"not-twice", "and-same", "or-same"}
CONSTANTS = [2.0, 3.0, -2.0, 0.5, -0.25, 1.0, -1.0, 0.0, 4.0, 1.5, -0.5, 1e-3]
EDGES = [0.0, 1.0, 0.5, 1e-8, 3.0, 20.0, 40.0, 700.0, 800.0, 1e300, 1e-300, 5e-324, math.inf]
GRID = [s * v for v in EDGES for s in (1, -1)] + [math.nan]
EPS = 2.0**-52


def build(p: Pattern, env: dict[str, Expr], shape: tuple[int, ...]) -> Expr:
    """An expression that the pattern matches."""
    if p.kind == "op":
        return bind(p.name, *[build(a, env, shape) for a in p.args])
    if p.kind == "literal":
        return const(p.value, "float64", shape)
    return env[p.name]


def names(p: Pattern, kind: str) -> list[str]:
    if p.kind == kind:
        return [p.name]
    return list(dict.fromkeys(k for a in p.args for k in names(a, kind)))


def positives(rule: Rule, env: dict[str, Expr]) -> list[dict[str, Expr]]:
    """Variants in which variables are expressions that are never negative."""
    return [env, {k: bind("absolute", v) for k, v in env.items()}]


def instances(rule: Rule, shape: tuple[int, ...]):
    """(arguments, before, after) where the rule fired at the root."""
    assert rule.pattern is not None
    variables, constants = names(rule.pattern, "any"), names(rule.pattern, "const")
    conditional = rule.pattern.name == "select" and rule.pattern.args[0].kind == "any"
    conditional |= rule.name == "select-not"
    rules = RuleSet([rule])
    found = 0
    for dtypes in ({}, dict.fromkeys(variables[:1], "bool"), dict.fromkeys(variables, "bool")):
        if bool(dtypes) != (conditional or rule.name in BOOLEAN):
            continue
        args = {k: arg(i, shape, dtypes.get(k, "float64"), k) for i, k in enumerate(variables)}
        for values in itertools.product(CONSTANTS, repeat=len(constants)):
            fixed = {k: const(v, "float64", shape) for k, v in zip(constants, values, strict=True)}
            for env in [args] if dtypes else positives(rule, args):
                try:
                    before = build(rule.pattern, {**env, **fixed}, shape)
                except Exception:  # noqa: BLE001  (bool operands where numbers are needed)
                    continue
                done = run([before], rules)
                if rule.name in done.fired:
                    found += 1
                    yield args, before, done.outs[0]
                    break
            if found >= 6:
                return


def points(args: dict[str, Expr], rule: Rule) -> list[np.ndarray]:
    rng = np.random.default_rng(zlib.crc32(rule.name.encode()))
    grid = GRID if len(args) <= 2 else GRID[::3] + [math.nan]
    columns = list(itertools.product(grid, repeat=len(args)))
    columns += [tuple(rng.normal(size=len(args)) * s) for s in (1, 1e-3, 30) for _ in range(60)]
    return [np.array(c) for c in zip(*columns, strict=True)]


def size(rule: Rule) -> int:
    k = len(names(rule.pattern, "any"))
    return len(GRID if k <= 2 else GRID[::3] + [0]) ** k + 180


@pytest.mark.quick(40)
@pytest.mark.parametrize("rule", PATTERNS, ids=lambda r: r.name)
def test_keeps_values(rule):
    with np.errstate(all="ignore"):
        compare(rule)


def compare(rule: Rule) -> None:
    seen = 0
    for args, before, after in instances(rule, (size(rule),)):
        seen += 1
        check([after])
        data = points(args, rule)
        values = {
            a: (d > 0 if a.dtype == "bool" else d) for a, d in zip(args.values(), data, strict=True)
        }
        old, new = evaluate([before, after], values)
        if old.dtype == bool:
            assert (old == new).all()
            continue
        used = [d for a, d in zip(args.values(), data, strict=True) if a in toposort([after])]
        nan_in = np.any([np.isnan(d) for d in used], axis=0) if used else np.zeros(old.shape, bool)
        if before.op.name != "select" and "hypot" not in rule.name:  # IEEE: hypot(inf, nan) = inf
            assert np.isnan(new[np.isnan(old) & nan_in]).all(), "NaN became a number"
        finite = np.isfinite(old)
        assert np.isfinite(new[finite]).all(), describe(data, old, new, finite & ~np.isfinite(new))
        sign = finite & (old == 0) & (new == 0)
        if rule.group != "stable":
            assert (np.signbit(old) == np.signbit(new))[sign].all(), "sign of zero"
            improves = "improves" in rule.doc or "far from" in rule.doc or "(1/x)²" in rule.doc
            if not improves:
                both = np.isnan(old) == np.isnan(new)
                assert both.all(), describe(data, old, new, ~both)
                wrong = np.isinf(old) & (new != old)
                assert not wrong.any(), describe(data, old, new, wrong)
            bad = finite & (np.abs(old - new) > 8 * EPS * np.abs(old) + 1e-300)
            if improves:
                bad &= (np.abs(old) > 1e-290) | (np.abs(new) < np.abs(old))
                bad &= (old != 0) & (np.abs(old) > 1e-300)
            assert not bad.any(), describe(data, old, new, bad)
    assert seen, "the rule never fired"


@pytest.mark.quick(40)
@pytest.mark.parametrize("rule", PATTERNS, ids=lambda r: r.name)
def test_keeps_values_of_any_rank(rule):
    rng = np.random.default_rng(zlib.crc32(rule.name.encode()))
    for shape in ((), (2, 3)):
        fired = list(instances(rule, shape))
        assert fired, shape
        for args, before, after in fired:
            values = {
                a: rng.random(shape) < 0.5 if a.dtype == "bool" else rng.normal(size=shape)
                for a in args.values()
            }
            old, new = evaluate([before, after], values)
            finite = np.isfinite(old)
            np.testing.assert_allclose(new[finite], old[finite], rtol=1e-12, atol=1e-14)
            check_rewrite(rule.name, [before], [after], nonnegative)


def describe(data, old, new, where) -> str:
    k = int(np.flatnonzero(where)[0]) if where.any() else 0
    return f"at {[float(d[k]) for d in data]}: {old[k]} became {new[k]}"


# ---- accuracy --------------------------------------------------------------------------------

M = mpmath.MPContext()  # of this module: other tests need fewer digits, and so seconds
M.prec = 2600
EXACT = {
    "add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b, "negative": lambda a: -a, "exp": M.exp, "expm1": M.expm1,
    "log": M.log, "log1p": M.log1p, "sqrt": M.sqrt, "square": lambda a: a * a, "sinh": M.sinh,
    "cosh": M.cosh, "cos": M.cos, "tanh": M.tanh, "erf": M.erf, "erfc": M.erfc, "absolute": abs,
    "sigmoid": lambda a: 1 / (1 + M.exp(-a)), "softplus": lambda a: M.log1p(M.exp(a)),
    "select": lambda c, a, b: a if c else b, "less": lambda a, b: a < b,
    "logaddexp": lambda a, b: M.log(M.exp(a) + M.exp(b)),
    "sin": M.sin, "tan": M.tan, "arcsin": M.asin, "arctan": M.atan, "arcsinh": M.asinh,
    "arctanh": M.atanh, "cbrt": lambda a: M.sign(a) * M.cbrt(abs(a)), "sign": M.sign,
    "hypot": lambda a, b: M.sqrt(a * a + b * b), "power": lambda a, b: a**b,
    "gap": lambda a, b: a - b, "equal": lambda a, b: a == b,
    "greater": lambda a, b: a > b, "greater_equal": lambda a, b: a >= b,
    "not_equal": lambda a, b: a != b,
    "logit": lambda a: M.log(a / (1 - a)),
}  # fmt: skip
POINTS = [s * v for v in (1e-20, 1e-9, 1e-3, 0.3, 0.69, 0.7, 1.7, 5, 19, 37, 200, 710, 800)
          for s in (1, -1)]  # fmt: skip


def exact(e: Expr, values: dict[Expr, float]):
    known = {}
    for node in toposort([e]):
        if node.name == "const":
            known[node] = M.mpf(float(const_value(node)))
        elif node.name == "arg":
            known[node] = M.mpf(values[node])
        else:
            known[node] = EXACT[node.name](*[known[a] for a in node.args])
    return known[e]


@pytest.mark.sample(54)
@pytest.mark.quick(6)
@pytest.mark.parametrize("rule", [r for r in PATTERNS if r.group == "stable"], ids=lambda r: r.name)
def test_error_never_grows(rule):
    variables = names(rule.pattern, "any")
    grid = list(itertools.product(POINTS if len(variables) == 1 else POINTS[::3],
                                  repeat=len(variables)))  # fmt: skip
    for args, before, after in itertools.islice(instances(rule, (len(grid),)), 2):
        data = [np.array(c) for c in zip(*grid, strict=True)]
        values = dict(zip(args.values(), data, strict=True))
        old, new = evaluate([before, after], values)
        for k in range(len(grid)):
            try:
                truth = exact(before, {a: float(v[k]) for a, v in values.items()})
            except (ZeroDivisionError, ValueError):
                continue
            if not isinstance(truth, M.mpf) or not M.isfinite(truth) or abs(truth) > 1e300:
                continue
            if abs(truth) < 1e-300:
                continue
            was = abs(M.mpf(float(old[k])) - truth) if math.isfinite(old[k]) else M.inf
            now = abs(M.mpf(float(new[k])) - truth)
            assert now <= 4 * was + 16 * EPS * abs(truth), (grid[k], float(truth), old[k], new[k])


def test_log_cosh_keeps_infinity():
    """softplus(2x) - x was inf - inf; log(cosh(-inf)) is inf."""
    x = arg(0, (4,), "float64")
    (out,) = simplify([bind("log", bind("cosh", x))]).outs
    assert "cosh" not in {n.name for n in toposort([out])}
    points = np.array([np.inf, -np.inf, 1.7e308, -800.0])
    expected = [np.inf, np.inf, 1.7e308, 800 - math.log(2)]
    np.testing.assert_allclose(evaluate([out], {x: points})[0], expected, rtol=1e-15)


def test_names_are_unique_and_documented():
    assert len({r.name for r in RULES}) == len(RULES)
    assert all(r.doc for r in RULES)
    assert sum(r.group == "stable" for r in RULES) >= 40
