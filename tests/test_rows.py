"""Every row of the op tables: partials against SymPy, C against NumPy in double and float."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

import symgrad.ops  # noqa: F401  (fills the registry)
from support.codegen import c_of, run_c
from symgrad.diff.modes import jvp, vjp
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import arg, bind, const
from symgrad.expr.op import OPS, Kind

FLOAT_ROWS = [
    op for op in OPS.values()
    if op.kind is Kind.ELEMENTWISE and op.partials is not None and "logical" not in op.name
]  # fmt: skip
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 5e-324, -5e-324, 1e-300, 1e300, -1e300, 2.0, -2.0, 20.0,
         -20.0, 745.0, -745.0, 3.5, np.inf, -np.inf, np.nan]  # fmt: skip
# SymPy's text is a formula for readers; at these the function is not the formula
_NOT_ANALYTIC = {"rint", "cbrt", "polygamma", "polygamma_step", "digamma", "gammaln", "isnan",
                 "isinf", "isfinite", "stop_gradient", "mod", "fmod", "copysign",
                 "floor_divide", "jn_root", "scaled_ierfc", "gammainc", "gammaincc", "betainc",
                 "stdtr"}  # fmt: skip


def _domain(op, count, dtype, rng):
    values = []
    for low, high in op.domain:
        values.append(rng.uniform(low, high, count).astype(dtype))
    if op.name in ("polygamma", "polygamma_step"):
        values[0] = np.ones(count, dtype)
    return values


ANALYTIC = [
    op for op in FLOAT_ROWS
    if op.name not in _NOT_ANALYTIC and any(p is not None for p in op.partials)
]  # fmt: skip


def sympy_errors(op, points=8):
    """Relative errors of all first and second derivatives in C, against SymPy (30 digits).

    Errors are taken relative to the larger of the derivative and 1e-3 of the largest one.
    """
    letters = sympy.symbols("a b c", real=True)[: len(op.partials)]
    formula = sympy.sympify(op.sympy, locals=dict(zip("abc", letters, strict=False)))
    columns = _domain(op, points, "float64", np.random.default_rng(1))
    args = [arg(k, (points,), "float64") for k in range(len(columns))]
    one = const(1.0, "float64", (points,))
    outs, formulas = [], []
    for g, x in zip(vjp([bind(op, *args)], args, [one]), letters, strict=True):
        if g is None:
            continue
        outs.append(g)
        formulas.append(sympy.diff(formula, x))
        for h, y in zip(vjp([g], args, [one]), letters, strict=True):
            if h is not None:
                outs.append(h)
                formulas.append(sympy.diff(formula, x, y))
    check(outs)
    status, got = run_c(c_of(args, outs), args, outs, dict(zip(args, columns, strict=True)))
    assert status == 0
    errors = []
    for values, derivative in zip(got, formulas, strict=True):
        exact = []
        for i in range(points):
            at = {x: sympy.Rational(float(p[i])) for x, p in zip(letters, columns, strict=True)}
            exact.append(float(derivative.subs(at).doit().evalf(30)))
        scale = np.maximum(np.abs(exact), 1e-3 * np.max(np.abs(exact)) + 1e-300)
        errors.append(float(np.max(np.abs(values - exact) / scale)))
    return errors


@pytest.mark.quick(12)
@pytest.mark.parametrize("op", ANALYTIC, ids=lambda op: op.name)
def test_derivatives_against_sympy(op):
    assert max(sympy_errors(op)) < 2e-13


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_c_of_every_elementwise_row(dtype):
    """One C function with every row as an output, on the domain and on edge values."""

    rng = np.random.default_rng(0)
    args, outs, values, names = [], [], {}, []
    with np.errstate(all="ignore"):
        edges = np.array(EDGES).astype(dtype)
    for op in FLOAT_ROWS:
        columns = _domain(op, 20, dtype, rng)
        if op.name == "polygamma":
            orders = np.append(columns[0], np.ones(len(edges), dtype))
            columns = [orders, np.append(columns[1], edges)]
        elif op.name == "polygamma_step":  # edges: test_helpers
            pass
        elif len(columns) == 2:
            grid = np.meshgrid(edges, edges)
            columns = [np.append(c, g.ravel()) for c, g in zip(columns, grid, strict=True)]
        else:
            columns = [np.append(c, edges) for c in columns]
        nodes = [arg(len(args) + k, c.shape, dtype) for k, c in enumerate(columns)]
        args += nodes
        values.update(zip(nodes, columns, strict=True))
        outs.append(bind(op, *nodes))
        names.append(op.name)
    source = c_of(args, outs)
    status, got = run_c(source, args, outs, values)
    assert status == 0
    with np.errstate(all="ignore"):
        expected = evaluate(outs, values)
    # the evaluator's special functions work in double; a float result may differ by its rounding
    rtol = 2e-14 if dtype == "float64" else 2e-6
    bad = []
    for name, g, e in zip(names, got, expected, strict=True):
        # these have zeros inside their domain, beside which a rounding of the argument counts
        zeros = ("polygamma", "digamma", "gammaln", "betaln", "jn_root")
        tolerance = rtol * (100 if name in zeros else 1)
        tiny = np.finfo(dtype).tiny if name not in ("mod", "fmod", "floor_divide") else 0
        g, e = g.astype(float), e.astype(float)
        same = np.isclose(g, e, rtol=tolerance, atol=float(tiny), equal_nan=True)
        if not same.all():
            k = int(np.argmin(same))
            inputs = [float(values[a].ravel()[k]) for a in outs[names.index(name)].args]
            bad.append((name, inputs, g.ravel()[k], e.ravel()[k], int((~same).sum())))
    assert not bad, bad


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [False, True])
def test_spelling_of_every_elementwise_row_with_sums_as_operands(lanes):
    """Operands that need parentheses, and the row as a factor, in plain loops and in lanes."""
    rng = np.random.default_rng(5)
    shape = (40, 3) if lanes else (7,)
    args, outs, values = [], [], {}
    for op in FLOAT_ROWS:
        operands = []
        for low, high in op.domain:
            x, y = (arg(len(args) + k, shape, "float64") for k in (0, 1))
            args += [x, y]
            mixed = rng.uniform(low, high, shape)
            values[x] = rng.uniform(0, 1, shape)
            values[y] = values[x] - mixed
            operands.append(const(1.0, "float64", shape) if op.name == "polygamma" else x - y)
        if op.name in ("polygamma", "jn_root", "scaled_ierfc"):
            operands[0] = const(1.0, "float64", shape)
        out = bind(op, *operands)
        outs.append(bind("convert", out, attrs=("float64",)) * 0.75)
    if lanes:
        outs = [bind("sum", o * o, attrs=((1,),)) for o in outs]
    status, got = run_c(c_of(args, outs), args, outs, values)
    assert status == 0
    for op, g, e in zip(FLOAT_ROWS, got, evaluate(outs, values), strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-14, err_msg=op.name)


LINEAR = [op for op in OPS.values() if op.kind is Kind.LINEAR]


def test_linear_rows_have_both_modes():
    for op in LINEAR:
        assert op.transpose is not None or op.vjp is not None, op.name
        assert op.batch is not None, op.name


@pytest.mark.quick(20)
@pytest.mark.parametrize("op", FLOAT_ROWS, ids=lambda op: op.name)
def test_forward_and_reverse_agree(op):
    """⟨u, J v⟩ = ⟨Jᵀ u, v⟩ on the row's domain, and again for the derivative."""

    rng = np.random.default_rng(2)
    points = _domain(op, 6, "float64", rng)
    args = [arg(k, (6,), "float64") for k in range(len(points))]
    out = bind(op, *args)
    if out.dtype == "bool":
        return
    u, v = arg(8, (6,), "float64"), [arg(9 + k, (6,), "float64") for k in range(len(args))]
    values = dict(zip(args, points, strict=True))
    values.update({u: rng.normal(size=6), **{x: rng.normal(size=6) for x in v}})
    for _ in range(2):
        (pushed,) = jvp([out], args, v)
        pulled = vjp([out], args, [u])
        if pushed is None:
            assert all(p is None for p in pulled)
            return
        left = np.sum(evaluate([pushed * u], values)[0])
        terms = [p * x for p, x in zip(pulled, v, strict=True) if p is not None]
        right = sum(np.sum(t) for t in evaluate(terms, values))
        assert left == pytest.approx(right, rel=1e-12, abs=1e-12)
        out = pushed


if __name__ == "__main__":
    worst = {op.name: sympy_errors(op) for op in ANALYTIC}
    count = sum(map(len, worst.values()))
    name = max(worst, key=lambda n: max(worst[n]))
    print(
        f"{len(worst)} ops, {count} first and second derivatives against SymPy at 30 digits: "
        f"largest relative error {max(worst[name]):.1e} ({name})"
    )
