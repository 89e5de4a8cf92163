"""Columns of the rows: each says what its function does, and nobody lists names instead."""

from __future__ import annotations

import ast
import itertools
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.special

import symgrad as sg
from symgrad.diff.modes import jvp, vjp
from symgrad.diff.singular import is_singular
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import Expr, arg, array, bind, const
from symgrad.expr.op import OPS, UFUNCS, Kind, Moves, Op, register, unregister
from symgrad.ops.elementwise import select, sin, sqrt, vector_functions
from symgrad.ops.linear import sum_

FOLDERS = ("diff", "lower", "emit", "sparse")
# Words that name a row and something else as well.
ALSO = {
    ("lower", "max"): "how a reduction accumulates (`Op.combine`)",
    ("lower", "min"): "the same",
    ("lower", "argmax"): "the same",
    ("lower", "any"): "a word of English",
    ("lower", "index"): "a field of statements",
    ("emit", "max"): "how a reduction accumulates (`Op.combine`)",
    ("emit", "min"): "the same",
    ("emit", "argmax"): "the same",
    ("emit", "isfinite"): "the C function",
    ("emit", "sin"): "the same",
    ("emit", "cos"): "the same",
}
PACKAGE = Path(sg.__path__[0])
SOURCES = [p for folder in FOLDERS for p in sorted((PACKAGE / folder).rglob("*.py"))]
FLOAT_ROWS = [
    row for row in OPS.values()
    if row.kind is Kind.ELEMENTWISE and row.partials is not None
    and bind(row, *[arg(k, (), "float64") for k in range(len(row.partials))]).dtype == "float64"
]  # fmt: skip


# ---- nobody lists names ------------------------------------------------------------------------


def words(tree: ast.AST) -> Iterator[ast.Constant]:
    """String constants, but docstrings and the names of rows that are registered here."""
    left_out: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            left_out.add(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Op":
            left_out.add(node.args[0])
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in left_out:
            yield node


def named_rows(tree: ast.AST, folder: str) -> list[tuple[int, str]]:
    """Where a tree names a row: (line, word)."""
    found = [
        (w.lineno, w.value) for w in words(tree)
        if w.value in OPS and (folder, w.value) not in ALSO
    ]  # fmt: skip
    for node in ast.walk(tree):  # a name is compared: no word is something else here
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(isinstance(s, ast.Attribute) and s.attr == "name" for s in sides):
                found += [(w.lineno, w.value) for s in sides for w in words(s) if w.value in OPS]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rows_are_not_named(path):
    found = named_rows(ast.parse(path.read_text()), path.relative_to(PACKAGE).parts[0])
    assert not found, f"{path}: {found}: a fact is a column, a row itself is imported from ops"


@pytest.mark.parametrize(
    "line",
    [
        'if node.name == "concat": pass',
        'VIEWS = frozenset({"slice", "reshape"})',
        'x = bind("select", a, b, c)',
        'if row.name in ("max", "min"): pass',
        'RULES = {"sum": f}',
    ],
)
def test_names_are_found(line):
    assert named_rows(ast.parse(line), "lower")


@pytest.mark.slow
def test_words_that_mean_something_else_are_still_used():
    used = {
        (folder, w.value) for folder in FOLDERS
        for path in (PACKAGE / folder).rglob("*.py") for w in words(ast.parse(path.read_text()))
    }  # fmt: skip
    assert used >= set(ALSO)


# ---- infinite derivatives ------------------------------------------------------------------------

DENSE = np.concatenate([np.arange(-32, 33) / 8, [-0.0, 0.3, -1.7, math.pi]])


def partials_are_finite(node: Expr, free: list[Expr]) -> bool:
    """Whether the partials of a node of scalars are finite wherever its arguments are of DENSE."""
    grid = np.array(list(itertools.product(DENSE, repeat=len(free)))).reshape(-1, len(free))
    made = {a: arg(100 + k, (len(grid),), "float64") for k, a in enumerate(free)}
    args = [made[a] if a in made else const(a.value, "float64", (len(grid),)) for a in node.args]
    out = bind(node.op, *args)
    partials = [
        p(*args, out) for p, a in zip(node.op.partials, node.args, strict=True)
        if p is not None and a in made
    ]  # fmt: skip
    values = {x: grid[:, k] for k, x in enumerate(made.values())}
    exprs = [p for p in partials if isinstance(p, Expr)]
    with np.errstate(all="ignore"):
        return all(np.isfinite(v).all() for v in evaluate(exprs, values))


def scalars(row: Op) -> Iterator[tuple[Expr, list[Expr]]]:
    """Nodes of the row with different arguments, and with the same, each with its variables."""
    free = [arg(k, (), "float64") for k in range(len(row.partials))]
    yield bind(row, *free), free
    if len(free) == 2:
        yield bind(row, free[0], free[0]), free[:1]


@pytest.mark.parametrize("row", FLOAT_ROWS, ids=lambda row: row.name)
def test_singular_rows_are_those_whose_partials_are_infinite_somewhere(row):
    """The few points at which `is_singular` looks are those where rows have poles and ends."""
    if len(row.partials) > 2:
        pytest.skip("three arguments: the first is a whole number")
    for node, free in scalars(row):
        if node.op is row:
            if not partials_are_finite(node, free):
                assert is_singular(node, False)


def bad_points(row: Op) -> list[tuple[float, ...]]:
    """Points of DENSE where a partial of the row is infinite or NaN, at most ten."""
    free = [arg(100 + k, (), "float64") for k in range(len(row.partials))]
    grid = np.array(list(itertools.product(DENSE, repeat=len(free))))
    args = [arg(100 + k, (len(grid),), "float64") for k in range(len(free))]
    out = bind(row, *args)
    partials = [p(*args, out) for p in row.partials if p is not None]
    exprs = [p for p in partials if isinstance(p, Expr)]
    with np.errstate(all="ignore"):
        found = evaluate(exprs, {a: grid[:, k] for k, a in enumerate(args)})
    bad = ~np.logical_and.reduce([np.isfinite(v) for v in found])
    points = grid[bad]
    return [tuple(p) for p in points[:: max(1, len(points) // 10)]]


@pytest.mark.quick(50)
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("row", FLOAT_ROWS, ids=lambda row: row.name)
def test_an_element_that_nothing_reads_has_derivative_zero(row, order):
    """Whatever the row's derivatives are there: Σ where([1, 0], cumsum(f(x)), 0) by x[1]."""
    if len(row.partials) > 2:
        pytest.skip("three arguments: the first is a whole number")
    mask, none = array(np.array([True, False])), const(0, "float64", (2,))
    args = [arg(k, (2,), "float64") for k in range(len(row.partials))]
    summed = bind("cumsum", bind(row, *args), attrs=(0, False))
    out = sum_(select(mask, summed, none), (0,))
    one = const(1, "float64")
    for a in args:
        (pulled,) = vjp([out], [a], [one])
        last = array(np.array([0.0, 1.0]))
        if order == 2 and pulled is not None:
            (pulled,) = vjp([sum_(pulled, (0,))], [a], [one])
        (pushed,) = jvp([out], [a], [last])
        if order == 2 and pushed is not None:
            (pushed,) = jvp([pushed], [a], [last])
        for point in bad_points(row):
            values = {
                x: np.array([np.mean(row.domain[k]), p])
                for k, (x, p) in enumerate(zip(args, point, strict=True))
            }
            with np.errstate(all="ignore"):
                for e in (pulled, pushed):
                    if e is not None:
                        (value,) = evaluate([e], values)
                        assert value.reshape(-1)[-1] == 0, (point, a.attrs[0])
                        assert np.isfinite(value).all()


@pytest.mark.parametrize("name", ["mod", "fmod"])
@pytest.mark.parametrize("mode", [sg.jacfwd, sg.grad])
def test_zeros_by_structure_do_not_meet_the_infinite_derivative_of_a_remainder(name, mode):
    remainder = getattr(np, name)
    where = np.array([True, False])
    f = mode(lambda x: np.sum(np.where(where, np.cumsum(remainder(3.0, x)), 0.0)))
    np.testing.assert_array_equal(f(np.array([2.0, 0.0])), [-1.0, 0.0])


# ---- rows that move elements ---------------------------------------------------------------------

X = arg(0, (2, 3), "float64")
INDEX = array(np.array([2, 0, 2]))
LINEAR = {  # a node of each row
    "broadcast": bind("broadcast", X, attrs=((2, 4, 3), (0, 2))),
    "sum": bind("sum", X, attrs=((1,),)),
    "permute": bind("permute", X, attrs=((1, 0),)),
    "reshape": bind("reshape", X, attrs=((3, 2),)),
    "slice": bind("slice", X, attrs=((1, 0), (1, 2), (1, 2))),
    "pad": bind("pad", X, attrs=((4, 3), (1, 0), (1, 1))),
    "concat": bind("concat", X, arg(1, (2, 2), "float64"), attrs=(1,)),
    "gather": bind("gather", X, INDEX, attrs=(1,)),
    "scatter_add": bind("scatter_add", X, INDEX, attrs=(1, 4)),
    "convert": bind("convert", X, attrs=("float32",)),
}


def elements_of(node: Expr) -> tuple[list[float], list[float]]:
    """Elements of the arguments, all different, and of the result."""
    given: list[float] = []
    values = {}
    for a in node.args:
        if a.dtype == "float64":
            values[a] = np.sqrt(np.arange(2.0, 2 + a.size) + len(given)).reshape(a.shape)
            given += values[a].ravel().tolist()
    return given, evaluate([node], values)[0].ravel().tolist()


def test_there_is_a_node_of_each_linear_row():
    assert set(LINEAR) == {row.name for row in OPS.values() if row.kind is Kind.LINEAR}


@pytest.mark.parametrize("name", LINEAR)
def test_moves(name):
    node = LINEAR[name]
    given, got = elements_of(node)
    match node.op.moves:
        case None:
            moved = set(got) <= set(given) and node.dtype == "float64"
            assert not moved
        case Moves.ONCE:
            assert len(node.args) == 1 and sorted(got) == sorted(given)
        case Moves.JOINED:
            assert len(node.args) > 1 and sorted(got) == sorted(given)
        case Moves.REPEATED:
            assert len(got) > len(given) and set(got) == set(given)
        case Moves.SOME:
            assert set(got) < set(given)


@pytest.mark.parametrize("name", LINEAR)
def test_indices(name):
    node = LINEAR[name]
    whole_numbers = [k for k, a in enumerate(node.args) if a.dtype == "int64"]
    assert whole_numbers == ([] if node.op.indices is None else [node.op.indices])


def test_other_rows_move_nothing():
    assert {row.name for row in OPS.values() if row.moves or row.indices} <= set(LINEAR)


# ---- reductions ----------------------------------------------------------------------------------

WITH_AXES = [row for row in OPS.values() if row.attr_names == ("axes",)]


@pytest.mark.parametrize("row", WITH_AXES, ids=lambda row: row.name)
def test_reduces(row):
    """Each element of the result depends on its own elements of the argument only."""
    rng = np.random.default_rng(3)
    value = rng.uniform(0.5, 2, (2, 3, 4))
    dtype = "bool" if row.name in ("any", "all") else "float64"
    value = value > 1.2 if dtype == "bool" else value
    x = arg(0, value.shape, dtype)
    node = bind(row, x, attrs=((0, 2),))
    assert row.reduces == (node.shape == (3,))
    if row.reduces:
        (before,) = evaluate([node], {x: value})
        for j in range(3):
            other = value.copy()
            other[:, j] = ~other[:, j] if dtype == "bool" else other[:, j] + 1
            (after,) = evaluate([node], {x: other})
            kept = np.arange(3) != j
            np.testing.assert_array_equal(after[kept], before[kept])


def test_nothing_else_reduces():
    assert all(row in WITH_AXES for row in OPS.values() if row.reduces)


CODES = {row.combine[0] for row in OPS.values() if row.combine is not None and row.reduces}


@pytest.mark.parametrize("code", sorted(CODES))
def test_one_row_accumulates_what_a_reduction_does(code):
    (row,) = [row for row in OPS.values() if row.accumulates == code]
    (whole,) = [r for r in OPS.values() if r.reduces and r.combine and r.combine[0] == code]
    values = [True, False] if code in ("&&", "||") else [-1.5, 0.25, 3.0]
    for a, b in itertools.product(values, repeat=2):
        assert row.evaluate(np.array(a), np.array(b)) == whole.evaluate(np.array([a, b]), (0,))
        start = np.array(whole.combine[1], np.array(a).dtype)
        assert row.evaluate(start, np.array(a)) == a


# ---- other columns -------------------------------------------------------------------------------


def test_radicands():
    rows = [row for row in OPS.values() if row.radicand is not None]
    assert {row.name for row in rows} == {"sqrt", "hypot", "absolute", "norm"}
    rng = np.random.default_rng(5)
    for row in rows:
        args = [arg(k, (4, 3), "float64") for k in range(len(row.partials or (None,)))]
        attrs = ((1,),) if row.reduces else ()
        node = bind(row, *args, attrs=attrs)
        values = {a: rng.uniform(0 if row.name == "sqrt" else -3, 3, a.shape) for a in args}
        whole, root = evaluate([node, sqrt(row.radicand(args, attrs))], values)
        np.testing.assert_allclose(root, whole, rtol=1e-15, err_msg=row.name)


@pytest.mark.parametrize(
    "row", [r for r in OPS.values() if r.of_decay is not None], ids=lambda row: row.name
)
def test_rows_made_of_a_decay(row):
    x, e = arg(0, (9,), "float64"), arg(1, (9,), "float64")
    at = np.array([-800.0, -30.0, -1.5, -1e-9, 0.0, 1e-9, 2.0, 40.0, 800.0])
    got, want = evaluate([row.of_decay(x, e), bind(row, x)], {x: at, e: np.exp(-np.abs(at))})
    np.testing.assert_allclose(got, want, rtol=1e-15)


INTERVALS = [
    row for row in OPS.values()
    if row.interval is not None and row.kind is not Kind.LOWERED and row.name != "convert"
]  # fmt: skip
EXACT = {"add", "subtract", "negative", "multiply", "absolute", "minimum", "maximum"}


@pytest.mark.parametrize("row", INTERVALS, ids=lambda row: row.name)
def test_intervals_hold_every_value(row):
    """All integers of random intervals; for most rows the ends are values."""
    rng = np.random.default_rng(zlib.crc32(row.name.encode()))
    count = 3 if row.name == "select" else len(row.partials)
    for _ in range(60):
        low = rng.integers(-6, 6, count)
        high = low + rng.integers(0, 5, count)
        grid = np.array(list(itertools.product(*map(range, low, high + 1)))).T
        given = [(int(a), int(b)) for a, b in zip(low, high, strict=True)]
        args = [grid[0] > 0, *grid[1:]] if row.name == "select" else list(grid)
        if row.name == "mod":
            args = [a[grid[1] != 0] for a in args]
            if not args[0].size:
                continue
        values = row.evaluate(*args)
        least, most = row.interval(*given)
        assert least <= values.min() and values.max() <= most
        if row.name in EXACT:
            assert (least, most) == (values.min(), values.max())
        if row.name != "select":  # wider is wider, also without an end
            wide = [(-math.inf, b) for _, b in given]
            assert row.interval(*wide)[0] <= least and row.interval(*wide)[1] >= most


@pytest.mark.parametrize(
    "row", [r for r in OPS.values() if r.negation is not None], ids=lambda row: row.name
)
def test_comparisons_of_integers(row):
    a, b = np.mgrid[-3:4, -3:4]
    says = row.evaluate(a, b)
    np.testing.assert_array_equal(OPS[row.negation].evaluate(a, b), ~says)
    assert OPS[row.negation].negation == row.name
    holds = np.ones(a.shape, bool)
    for sign, shift in row.inequalities:
        holds &= sign * (b - a) - shift >= 0
    np.testing.assert_array_equal(holds, says | (row.inequalities == ()))


def test_functions_of_vectors_are_those_of_glibc():
    """Its manual, as of 2.35, without exp2, exp10 and the like, which no row calls as such."""
    one = """acos acosh asin asinh atan atanh cbrt cos cosh erf erfc exp expm1 log log10 log1p log2
             sin sinh tan tanh"""
    known = dict.fromkeys(one.split(), 1) | dict.fromkeys(("atan2", "hypot", "pow"), 2)
    assert vector_functions() == known


# ---- rows from outside ---------------------------------------------------------------------------


@pytest.fixture
def cosm1():
    """A row from outside: cos x - 1 without cancellation, which symgrad does not have."""
    row = register(
        Op(
            "cosm1", Kind.ELEMENTWISE, lambda x: (x.shape, x.dtype), scipy.special.cosm1,
            partials=(lambda x, out: -sin(x),), c="-2 * sin@({0} / 2) * sin@({0} / 2)",
            sympy="cos(a) - 1", domain=((-3.0, 3.0),), cost=40, numpy=("cosm1",),
        )
    )  # fmt: skip
    yield row
    unregister(row)


def test_a_row_from_outside_is_traced_differentiated_and_compiled(cosm1):
    def f(x):
        return np.sum(x * scipy.special.cosm1(x))

    x = np.array([1e-4, 0.5, -2.0, 3.0])
    graph = sg.trace(f, x)
    assert any(node.op is cosm1 for node in graph.nodes)
    value, gradient = sg.value_and_grad(f)(x)
    np.testing.assert_allclose(value, np.sum(-2 * x * np.sin(x / 2) ** 2), rtol=1e-14)
    np.testing.assert_allclose(gradient, -2 * np.sin(x / 2) ** 2 - x * np.sin(x), rtol=1e-14)
    np.testing.assert_allclose(
        sg.hessian(f)(x), np.diag(-2 * np.sin(x) - x * np.cos(x)), rtol=1e-14, atol=1e-16
    )


def test_a_row_that_was_taken_out_is_not_traced(cosm1):
    unregister(cosm1)
    try:
        with pytest.raises(sg.errors.UnsupportedError, match="cosm1"):
            sg.trace(lambda x: scipy.special.cosm1(x), np.ones(3))
    finally:
        register(cosm1)


def test_a_ufunc_is_one_row(cosm1):
    twin = Op("twin", Kind.ELEMENTWISE, cosm1.infer, np.sin, numpy=("cosm1",))
    with pytest.raises(KeyError, match="cosm1"):
        register(twin)
    assert "twin" not in OPS and UFUNCS["cosm1"] is cosm1
