"""Derivatives of order 1 to 4 at ties, guards and removable singularities, and the table of them.

The cases and the oracle are in special_points.py. Run as a script to write symgrad/kinks.md.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.special as ss

import symgrad as sg
from support.codegen import c_of, run_c
from support.special_points import (
    MODES,
    SMOOTH,
    Case,
    by_modes,
    columns,
    cosine_root,
    derivatives,
    faults,
    indices,
    nodes_of,
    norm,
    sine_root,
    softplus,
    truths,
    wrong,
)
from symgrad.expr.evaluate import evaluate

TABLE = Path(sg.__path__[0]) / "kinks.md"

# Fourth derivatives leave out limits in parts that nothing needs: values are what counts here.
WARNED = pytest.mark.filterwarnings("ignore::symgrad.errors.LimitWarning")


def modes_of(case: Case) -> tuple[str, ...]:
    """In both modes, in turns, and with the variables in the other order."""
    return MODES if len(columns(case)) > 1 else tuple(m for m in MODES if m != "turned")


@pytest.mark.sample(44)
@WARNED
@pytest.mark.quick(4)
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_have_their_derivatives(name):
    """Up to the fourth order where modes take turns, up to the third otherwise."""
    case = SMOOTH[name]
    for mode in modes_of(case):
        most = case.orders if mode == "mixed" else min(case.orders, 3)
        _, bad = faults(case._replace(orders=most), mode)
        assert not bad, bad[:3]


@WARNED
@pytest.mark.slow
@pytest.mark.sample(9)
@pytest.mark.parametrize("name", [name for name, case in SMOOTH.items() if case.orders > 3])
def test_fourth_derivatives_in_the_other_modes(name, request):
    """In reverse mode; with --thorough in all but the one where modes take turns, tested above."""
    thorough = request.config.getoption("thorough")
    for mode in modes_of(SMOOTH[name]) if thorough else ("reverse",):
        if mode != "mixed":
            _, bad = faults(SMOOTH[name], mode)
            assert not bad, bad[:3]


def test_there_are_many_points():
    count = sum(
        len(case.points) * sum(1 for _ in indices(len(columns(case)), case.orders))
        for case in SMOOTH.values()
    )
    assert count > 9_500


def of_root(g, root, exact, square, at):
    """g(r) for a root r; exact: g as a function of r²."""
    return Case(lambda *v: g(root(*v)), lambda *v: exact(square(*v)), [at])


ONE = (lambda x: norm(x, 0 * x), lambda x: x * x)
TWO = (norm, lambda x, y: x * x + y * y)
EVEN = {
    "cos": (np.cos, cosine_root),
    # to the fourth order: the odd terms begin at the fifth and the seventh
    "Matérn 5/2": (
        lambda r: (1 + r + r * r / 3) * np.exp(-r),
        lambda q: 1 - q / 6 + q * q / 24,
    ),
    "Matérn 7/2": (
        lambda r: (1 + r + 2 * r * r / 5 + r**3 / 15) * np.exp(-r),
        lambda q: 1 - q / 10 + q * q / 120,
    ),
}


ALL_MODES = {
    "Matérn 5/2": (*EVEN["Matérn 5/2"], *ONE, (0.0,)),
    "Matérn 7/2": (*EVEN["Matérn 7/2"], *ONE, (0.0,)),
    "Matérn 5/2 of |x|": (*EVEN["Matérn 5/2"], np.abs, lambda x: x * x, (0.0,)),
    "Matérn 5/2 of two": (*EVEN["Matérn 5/2"], *TWO, (0.0, 0.0)),
    "cos of √(x² + 2y²)": (
        *EVEN["cos"], lambda x, y: np.sqrt(x**2 + 2 * y**2), lambda x, y: x * x + 2 * y * y, (0.0, 0.0)
    ),
    "Matérn 5/2 of hypot": (*EVEN["Matérn 5/2"], np.hypot, TWO[1], (0.0, 0.0)),
}  # fmt: skip


@WARNED
@pytest.mark.slow
@pytest.mark.sample(1)
@pytest.mark.parametrize("name", list(ALL_MODES)[::2])
def test_fourth_derivatives_at_a_root_by_sequences_of_modes(name, request):
    """Each sequence of forward and reverse mode gives the formula another form."""
    g, exact, root, square, at = ALL_MODES[name]
    case = of_root(g, root, exact, square, at)
    args, out = nodes_of(case)
    right = truths(case)
    path = (0, 0, 0, 0) if len(args) == 1 else (0, 1, 1, 0)
    every = ["".join(modes) for modes in itertools.product("fr", repeat=4)]
    some = ["rffr", "frfr", "rrff"]
    graphs = by_modes(args, out, path, every if request.config.getoption("thorough") else some)
    exact = float(right[tuple(sorted(path))][0])
    assert exact != 0
    values = evaluate(list(graphs.values()), dict(zip(args, columns(case), strict=True)))
    for modes, (value,) in zip(graphs, values, strict=True):
        assert value == pytest.approx(exact, rel=1e-10), modes


IN_C = [
    "logaddexp(x, y)", "logaddexp(x, -x)", "softplus by hand", "logits loss", "mixture", "norm²",
    "exp(-norm²)", "hypot⁴", "std²", "sinc", "xlogy(x, y)", "xlog1py(x, y)", "rel_entr(x, y)",
    "kl_div(x, y)", "x**y", "x**x", "log cosh", "cos of a norm", "Matérn 5/2", "signed log",
    "sigmoid in branches", "where(x ≠ 0, sin x/x, 1)",
]  # fmt: skip


@pytest.mark.slow
def test_the_compiled_c_has_them_too():
    """First to third derivatives of a sample, all in one function."""
    args, outs, values, wanted = [], [], {}, []
    for name in IN_C:
        case = SMOOTH[name]._replace(orders=min(3, SMOOTH[name].orders))
        nodes, out = nodes_of(case)
        values.update(zip(nodes, columns(case), strict=True))
        args += nodes
        right = truths(case)
        for index, graph in derivatives(nodes, out, case.orders, "mixed").items():
            size = np.max([np.abs(v) for i, v in right.items() if len(i) == len(index)], axis=0)
            outs.append(graph)
            wanted.append((name, index, right[index], np.maximum(size, 1)))
    status, got = run_c(c_of(args, outs), args, outs, values)
    assert status == 0
    bad = [
        (name, index, g[bad_there], right[bad_there])
        for g, (name, index, right, size) in zip(got, wanted, strict=True)
        if (bad_there := wrong(g, right, size)).any()
    ]
    assert not bad, bad[:5]


def nth(f, order):
    for _ in range(order):
        f = sg.grad(f)
    return f


LOGITS = np.array([[1.0, -0.5], [0.3, 2.0], [-1.0, 1.0]])
LABELS = np.array([1.0, 0.0, 1.0])


def logistic_loss(w):
    z = LOGITS @ w
    return np.sum(np.maximum(z, 0) - z * LABELS + np.log1p(np.exp(-np.abs(z))))


def two_means(m):
    data = np.array([-1.0, 0.5, 2.0])
    return -np.sum(np.logaddexp(-0.5 * (data - m[0]) ** 2, -0.5 * (data - m[1]) ** 2))


def matern(x):
    """Σ (1 + r) e⁻ʳ over all pairs of rows, the diagonal among them."""
    r = np.linalg.norm(x[:, None] - x[None], axis=-1)
    return np.sum((1 + r) * np.exp(-r))


def matern_hessian(x):
    """Of (1 + r) e⁻ʳ: -e⁻ʳ (I - d dᵀ/r), and -I at r = 0, from which x[i] - x[i] does not move."""
    n, k = x.shape
    h = np.zeros((n, k, n, k))
    for i, j in itertools.permutations(range(n), 2):
        d = x[i] - x[j]
        r = np.linalg.norm(d)
        block = -np.exp(-r) * (np.eye(k) - (np.outer(d, d) / r if r else 0))
        h[i, :, i] += 2 * block
        h[i, :, j] -= 2 * block
    return h


@pytest.mark.slow
def test_whole_programs():
    """Hessians through the public functions and C, where users meet these points."""
    zero = np.zeros(2)
    h = sg.hessian(logistic_loss)(zero)
    np.testing.assert_allclose(h, LOGITS.T @ LOGITS / 4, rtol=1e-13)
    data, m = np.array([-1.0, 0.5, 2.0]), 0.3  # equal means: p = 1/2, and p (1 - p) d² off it
    d2 = np.sum((data - m) ** 2)
    exact = np.array([[1.5 - d2 / 4, d2 / 4], [d2 / 4, 1.5 - d2 / 4]])
    np.testing.assert_allclose(sg.hessian(two_means)(np.full(2, m)), exact, rtol=1e-13)
    np.testing.assert_allclose(sg.hessian(lambda x: np.linalg.norm(x) ** 2)(zero), 2 * np.eye(2))
    np.testing.assert_allclose(
        sg.hessian(lambda x: np.std(x) ** 2)(np.ones(2)), [[0.5, -0.5]] * 2 * np.array([[1], [-1]])
    )
    x = np.array([[0.0, 1.0], [0.5, -0.3], [0.5, -0.3]])  # two rows are equal
    for second in (sg.hessian(matern), sg.jacfwd(sg.jacfwd(matern)), sg.jacrev(sg.grad(matern))):
        np.testing.assert_allclose(second(x), matern_hessian(x), rtol=1e-12, atol=1e-13)
    for order, exact in ((1, 0.0), (2, -(math.pi**2) / 3), (3, 0.0), (4, math.pi**4 / 5)):
        assert nth(np.sinc, order)(0.0) == pytest.approx(exact, rel=1e-14)
    assert nth(lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))), 4)(0.0) == -0.125
    g = sg.trace(lambda x: np.cos(np.linalg.norm(x)), zero).grad()
    assert [k for k in g.evaluate(zero)] == [0, 0]


# ---- the table ---------------------------------------------------------------------------------


class Row(NamedTuple):
    """A function at a point; exact: its smooth form, None at a kink or an end of the domain."""

    text: str
    f: Any
    at: tuple[float, ...]
    exact: Any = None


def named(name: str, at: tuple[float, ...], text: str = "") -> Row:
    case = SMOOTH[name]
    return Row(text or name, case.f, at, case.exact)


# ruff: noqa: E501 (one row a line)
SECTIONS: dict[str, list[Row]] = {
    "Kinks: the sub- or supergradient of least norm, ties share equally": [
        Row("np.abs(x)", np.abs, (0.0,)),
        Row("np.maximum(x, y)", np.maximum, (1.0, 1.0)),
        Row("np.minimum(x, y)", np.minimum, (1.0, 1.0)),
        Row("np.maximum(x, 0)", lambda x: np.maximum(x, 0), (0.0,)),
        Row("np.maximum(x, 0)**2", lambda x: np.maximum(x, 0) ** 2, (0.0,)),
        Row("np.where(x > 0, x, 0)", lambda x: np.where(x > 0, x, 0), (0.0,)),
        Row("np.clip(x, 0, 1)", lambda x: np.clip(x, 0, 1), (0.0,)),
        Row("np.max([x, y])", lambda x, y: np.max(np.stack([x, y]), axis=0), (1.0, 1.0)),
        Row("np.linalg.norm([x, y])", norm, (0.0, 0.0)),
        Row("np.hypot(x, y)", np.hypot, (0.0, 0.0)),
        Row("np.std([x, y])", lambda x, y: np.std(np.stack([x, y]), axis=0), (1.0, 1.0)),
        Row("np.exp(-np.abs(x))", lambda x: np.exp(-np.abs(x)), (0.0,)),
        Row("x * np.abs(x)", lambda x: x * np.abs(x), (0.0,)),
        Row("np.linalg.norm([x, y])**3", lambda x, y: norm(x, y) ** 3, (0.0, 0.0)),
    ],
    "Steps: 0": [
        Row("np.sign(x)", np.sign, (0.0,)),
        Row("np.floor(x)", np.floor, (1.0,)),
        Row("np.round(x)", np.round, (0.5,)),
        Row("np.heaviside(x, 0.5)", lambda x: np.heaviside(x, 0.5), (0.0,)),
        Row("np.mod(x, 3.)", lambda x: np.mod(x, 3.0), (3.0,)),
    ],
    "Ends of the domain": [
        Row("np.sqrt(x)", np.sqrt, (0.0,)),
        Row("np.cbrt(x)", np.cbrt, (0.0,)),
        Row("np.log(x)", np.log, (0.0,)),
        Row("np.arcsin(x)", np.arcsin, (1.0,)),
        Row("x * np.log(x)", lambda x: x * np.log(x), (0.0,)),
        Row("scipy.special.entr(x)", ss.entr, (0.0,)),
        Row("scipy.special.xlogy(x, y)", ss.xlogy, (0.0, 0.0)),
        Row("scipy.special.rel_entr(x, y)", ss.rel_entr, (0.0, 2.0)),
        Row("x**y", np.power, (0.0, 0.0)),
        Row("x**y", np.power, (0.0, 1.0)),
        Row("x**y", np.power, (0.0, 2.0)),
        Row("np.arctan2(y, x)", np.arctan2, (0.0, 0.0)),
    ],
    "Ties inside smooth functions: the derivative": [
        named("logaddexp(x, y)", (1.0, 1.0), "np.logaddexp(x, y)"),
        named("logsumexp(x, y, 0)", (0.0, 0.0), "sg.logsumexp([x, y, 0])"),
        named("log(eˣ + e⁻ˣ)", (0.0,), "np.log(np.exp(x) + np.exp(-x))"),
        Row("np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))", SMOOTH["softplus by hand"].f, (0.0,), softplus),
        named("logits loss", (0.0, 1.0), "np.maximum(z, 0) - z*y + np.log1p(np.exp(-np.abs(z)))"),
        named("log cosh by hand", (0.0,), "np.abs(x) + np.log1p(np.exp(-2*np.abs(x))) - np.log(2)"),
        named("sigmoid in branches", (0.0,), "e = np.exp(-np.abs(z)); np.where(z >= 0, 1/(1 + e), e/(1 + e))"),
        named("norm²", (0.0, 0.0), "np.linalg.norm([x, y])**2"),
        named("hypot²", (0.0, 0.0), "np.hypot(x, y)**2"),
        named("std²", (1.0, 1.0), "np.std([x, y])**2"),
        Row("np.cos(np.linalg.norm([x, y]))", lambda x, y: np.cos(norm(x, y)), (0.0, 0.0), lambda x, y: cosine_root(x * x + y * y)),
        named("Matérn 5/2", (0.0, 0.0), "r = np.linalg.norm([x, y]); (1 + r + r*r/3) * np.exp(-r)"),
        named("|x|⁴", (0.0,), "np.abs(x)**4"),
    ],
    "Removable singularities: the derivative": [
        named("sinc", (0.0,), "np.sinc(x)"),
        named("where(x = 0, 1, sin x/x)", (0.0,), "np.where(x == 0, 1, np.sin(x)/x)"),
        Row("r = np.linalg.norm([x, y]); np.sinc(r/np.pi)", SMOOTH["sinc of a norm"].f, (0.0, 0.0), lambda x, y: sine_root(x * x + y * y)),
        named("xlogy(x, y)", (0.0, 2.0), "scipy.special.xlogy(x, y)"),
        named("xlog1py(x, y)", (0.0, 2.0), "scipy.special.xlog1py(x, y)"),
        named("x**y", (2.0, 0.0)),
        named("x**y", (2.0, 1.0)),
        named("x**x", (1.0,)),
        Row("np.prod([x, y, x])", SMOOTH["prod"].f, (0.0, 0.0), SMOOTH["prod"].exact),
    ],
}  # fmt: skip

HEAD = """# Kinks, ties and removable singularities

What symgrad returns where a function or its formula is special. Written by
`python tests/test_special_points.py`; a test compares it with what comes out.

* Where a function is smooth, derivatives are right whatever its formula is: through a tie, a guard,
  a root that vanishes. So for the functions of NumPy and SciPy that symgrad knows, and for the
  formulas below, to the fourth order and in both modes. A `where` of your own is differentiated
  branch by branch: at `x == 0` the derivative is that of the branch that `x == 0` takes.
* At a kink: the sub- or supergradient of least norm; arguments that are equal share equally. Second
  and higher derivatives do not exist there. What is returned is what the formula gives with its
  conditions held constant, and the limit from outside for a function of `abs`, `hypot` or a norm
  alone.
* At the ends of the domain a limit that is infinite is `inf` (for `x**y` and `xlogy` at x = 0 the
  convention is 0, and higher derivatives follow from it); where there is no limit, and outside of
  the domain, the derivative is NaN.
* *Next to* a removable singularity, where it is not one of a function that symgrad knows, quotients
  cancel as they do in the formula: third derivatives of `cos(norm(x))` lose digits for `norm(x)`
  below about 1e-4. At the point itself they are exact.
* Formulas of your own may be too long for that where a root (`abs`, `sqrt`, `hypot`, a norm) is 0:
  if more than 300 operations lie between the root and its factor in a derivative, the next one
  takes 0 for their quotient, as at a kink, without a warning. First derivatives are always right,
  second ones for formulas of up to about 80 operations, all four for about ten.

Of a function of two variables the table gives ∂x, ∂y; ∂xx, ∂xy, ∂yy; ∂xxx, ∂xxy, ∂xyy, ∂yyy, with
variables in the order in which they stand.
"""


def results(row: Row) -> dict[tuple[int, ...], float]:
    """Derivatives of order 1 to 3, and the value at ()."""
    case = Case(row.f, row.exact, [row.at], 3)
    args, out = nodes_of(case)
    graphs = {(): out, **derivatives(args, out, 3, "reverse")}
    at = dict(zip(args, columns(case), strict=True))
    return {
        i: float(v[0]) for i, v in zip(graphs, evaluate(list(graphs.values()), at), strict=True)
    }


def spelled(value: float) -> str:
    return "0" if abs(value) < 1e-14 else f"{value:.6g}"


def table() -> str:
    lines = [HEAD]
    for title, rows in SECTIONS.items():
        lines += [
            f"## {title}\n",
            "| function | at | value | order 1 | order 2 | order 3 |",
            "|---|---|---|---|---|---|",
        ]
        for row in rows:
            got = results(row)
            cells = [", ".join(spelled(v) for i, v in got.items() if len(i) == n) for n in range(4)]
            at = ", ".join(spelled(v) for v in row.at)
            lines.append(
                f"| `{row.text.replace('|', chr(92) + '|')}` | {at} | {' | '.join(cells)} |"
            )
        lines.append("")
    return "\n".join(lines)


@pytest.mark.slow
def test_the_table_is_up_to_date():
    assert TABLE.read_text() == table(), "run python tests/test_special_points.py"


@pytest.mark.slow
def test_the_table_is_right_where_the_function_is_smooth():
    rows = [row for section in SECTIONS.values() for row in section if row.exact is not None]
    assert len(rows) > 20
    for row in rows:
        right = truths(Case(row.f, row.exact, [row.at], 3))
        got = results(row)
        for index, value in right.items():
            assert got[index] == pytest.approx(float(value[0]), rel=1e-12, abs=1e-13), row.text


if __name__ == "__main__":
    TABLE.write_text(table())
    print(f"{TABLE} is written")
