"""The comparison of formulas with graphs: right ones agree, and faults of every kind are noticed.

The formulas are those of the code's form of the table in forms/, with a fault put in at each place
where one fits. Whether a fault changes anything is decided by forms/notation.py, which reads text
and shares nothing with the comparison.
"""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

import symgrad as sg
from forms import notation, table
from symgrad.expr.node import ARRAY, arg, const
from symgrad.inspect.formula import Formula, to_text
from symgrad.inspect.matrix import Notation
from symgrad.ops import elementwise as el
from symgrad.reader.check import agrees, bounds
from symgrad.reader.conditions import needed
from symgrad.reader.functions import EXTENDED, Unknown, exact
from symgrad.reader.reading import Condition, Line, Reading
from symgrad.reader.smaller import smaller

EVERY = 8  # of the table's rows


def formulas_in(reading):
    """Every formula of a reading, each once."""
    stack = [line.formula for line in reading.lines]
    seen = set()
    while stack:
        f = stack.pop()
        if id(f) not in seen:
            seen.add(id(f))
            yield f
            stack += f.args
            if f.kind == "part":
                stack.append(f.data.formula)


def reading_of(graph):
    """The code's form of a graph, as a reading."""
    work = Notation(graph.args, graph.outs, graph.arg_names)
    nodes = {name: node for node, name in work.names.items()}
    lines = []
    for f in work.outs:
        labels = f.data.labels if f.kind == "part" else ()
        lines.append(Line("f", f.data.formula if labels else f, labels))
    reading = Reading(tuple(lines))
    for f in list(formulas_in(reading)):
        if f.kind == "symbol" and f.data[0] in nodes:
            f.owner = nodes[f.data[0]]
        if f.kind == "part" and f.data.node.op is ARRAY:
            f.data.formula.owner = f.data.node
    return reading


def graphs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for group in ("cookbook", "losses", "scalars", "matrixcalculus"):
            for row in table.rows(group)[::EVERY]:
                yield row, row.graph()


# ---- faults ------------------------------------------------------------------------------------


def faults(f):
    """(what is wrong, the formula instead of `f`) for each fault that fits."""
    if f.kind == "neg":
        yield "sign", f.args[0]
    if f.kind == "sum":
        for k in range(len(f.args)):
            terms = list(f.args)
            terms[k] = terms[k].args[0] if terms[k].kind == "neg" else Formula(
                "neg", (terms[k],), None, terms[k].rank)  # fmt: skip
            yield "sign", Formula("sum", tuple(terms), None, f.rank)
            if len(f.args) > 2:
                yield "term", Formula("sum", f.args[:k] + f.args[k + 1 :], None, f.rank)
    if f.kind == "number" and f.data.replace(".", "").isdigit():
        wrong = {"0": "1", "1": "2"}.get(f.data[-1], "1")
        yield "digit", Formula("number", (), f.data[:-1] + wrong)
    if f.kind == "T" and f.args[0].rank == 2:
        yield "transpose", f.args[0]
    if f.kind == "symbol" and f.rank == 2:
        plain = Formula(f.kind, f.args, f.data, f.rank)
        plain.owner = f.owner
        yield "transpose", Formula("T", (plain,), None, 2)
    if f.kind == "inverse":
        yield "inverse", Formula("inverse", f.args, None if f.data else "T", 2)
        yield "no inverse", f.args[0]
    if f.kind == "call" and f.data[0] in ("sin", "cos", "exp", "log", "tanh", "σ"):
        other = {"sin": "cos", "cos": "sin", "exp": "cos", "log": "exp", "tanh": "σ", "σ": "tanh"}
        yield "function", Formula("call", f.args, (other[f.data[0]],) * 2, f.rank)
    if f.kind == "mat" and len(f.args) > 2 and f.rank == 2:
        yield "order", Formula("mat", (f.args[1], f.args[0], *f.args[2:]), None, f.rank)


def mutants(reading):
    """Copies of a reading with one fault each."""
    places = list(formulas_in(reading))
    for k, f in enumerate(places):
        for kind, _ in faults(f):
            changed = copy.deepcopy(reading, {id(n): n for n in nodes_in(reading)})
            target = list(formulas_in(changed))[k]
            _, new = next(p for p in faults(target) if p[0] == kind)
            target.kind, target.args, target.data = new.kind, new.args, new.data
            target.rank, target.owner = new.rank, new.owner
            yield kind, changed


def nodes_in(reading):
    for f in formulas_in(reading):
        if f.owner is not None:
            yield f.owner
        if f.kind == "part":
            yield f.data.node


def printed(reading):
    """The reading as text, with names for its parts."""
    numbers = itertools.count(1)
    parts = {}
    for f in formulas_in(reading):
        if f.kind == "part" and f.data not in parts:
            f.data.text = f"part{next(numbers)}"
            parts[f.data] = None
    left = [f"{p.text}[{','.join(p.labels)}]" if p.labels else p.text for p in parts]
    lines = [f"{a} = {to_text(p.formula)}" for a, p in zip(left, parts, strict=True)]
    return " ; ".join([f"f = {to_text(reading.lines[0].formula)}", *lines])


def same_by_text(row, graph, text):
    """Whether a text has the graph's values, at points that the comparison does not use."""
    for seed in (5, 6, 7):
        point = row.function.point(np.random.default_rng(seed))
        want = np.asarray(graph.evaluate_flat(list(point.values()))[0], float)
        with np.errstate(all="ignore"):
            got = notation.evaluated(text, point, want.shape)
        if not np.allclose(got, want, rtol=1e-9, atol=1e-11):
            return False
    return True


@pytest.mark.slow
def test_faults_are_noticed():
    """More than 99 of 100, when those are left out that change nothing."""
    caught, missed, right = 0, [], 0
    for row, graph in graphs():
        reading = reading_of(graph)
        if not agrees(reading, graph.args, graph.outs):
            continue
        right += 1
        for kind, mutant in mutants(reading):
            if not agrees(mutant, graph.args, graph.outs):
                caught += 1
                continue
            try:
                equal = same_by_text(row, graph, printed(mutant))
            except (notation.Unreadable, ValueError):
                equal = False
            if not equal:
                missed.append(f"{row.name}: {kind}: {printed(mutant)}")
    assert right > 45 and caught > 300
    assert len(missed) < 0.01 * caught, "\n".join(missed)


# ---- single traps ------------------------------------------------------------------------------


def graph_of(f, *specs):
    return sg.trace(f, *specs).simplify()


def symbol(node):
    f = Formula("symbol", (), (node.attr("name"),) * 2, node.ndim)
    f.owner = node
    return f


def number(text):
    return Formula("number", (), text)


def verdict(formula, args, out, *conditions):
    return agrees(Reading((Line("f", formula),), (), conditions), args, [out])


x = arg(0, (), "float64", "x")
v = arg(1, (5,), "float64", "v")
S = arg(2, (3, 3), "float64", "S")


def test_a_formula_without_values_agrees_with_nothing():
    nowhere = Formula("sqrt", (Formula("sum", (number("-1"),
        Formula("neg", (Formula("pow", (symbol(x), number("2"))),)))),))  # fmt: skip
    assert not verdict(nowhere, [x], x)
    assert not verdict(nowhere, [x], el.sqrt(-1 - el.square(x)))


def test_a_guard_asks_for_its_condition():
    """x / |x| is not what a graph computes that is 0 at 0."""
    ratio = Formula("div", (symbol(x), Formula("wrap", (symbol(x),), ("|", "|", "", ""))))
    out = el.sign(x)
    nonzero = Condition(symbol(x), "≠")
    assert not verdict(ratio, [x], out)
    assert verdict(ratio, [x], out, nonzero)
    reading = Reading((Line("f", ratio),), (), (nonzero, Condition(number("1"), "≠")))
    assert needed(reading, [x], [out]) == (nonzero,)


def test_unknown_notation_does_not_agree():
    assert not verdict(Formula("call", (symbol(x),), ("frobnicate",) * 2), [x], x)
    assert not verdict(Formula("symbol", (), ("y", "y")), [x], x)


def test_the_identity_takes_its_size_from_the_result():
    eye = Formula("eye", (), None, 2)
    out = sg.trace(lambda S: np.linalg.inv(S) @ S + S, sg.f64[3, 3])
    s = symbol(out.args[0])
    assert verdict(Formula("sum", (s, eye), None, 2), out.args, out.outs[0])
    assert not verdict(Formula("sum", (s, Formula("neg", (eye,), None, 2)), None, 2),
                       out.args, out.outs[0])  # fmt: skip


def test_float32_numbers_are_read_as_what_they_stand_for():
    y = arg(0, (), "float32", "y")
    seventh = Formula("div", (symbol(y), number("7")))
    assert verdict(seventh, [y], y * const(np.float32(1 / 7), "float32"))
    assert not verdict(Formula("div", (symbol(y), number("6.9999"))), [y],
                       y * const(np.float32(1 / 7), "float32"))  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(1 / 3, "0.33333333333333333333333"), (0.1, "0.1"), (2**-0.5, "0.70710678118654752440084"),
     (2 / np.sqrt(np.pi), "1.12837916709551257389616"), (-np.pi / 4, "-0.785398163397448309615661"),
     (1.2345678901234, "1.2345678901234"), (1e300, "1e300"), (-7.0, "-7")],
)  # fmt: skip
def test_numbers_are_exact(value, text):
    got, want = exact(np.float64(value)), EXTENDED(text)
    assert abs(got - want) <= 4 * np.finfo(EXTENDED).eps * abs(want)


def test_elements_with_shifts():
    """f[i] = v[i+1] - v[i] for a result of four elements."""
    graph = graph_of(lambda v: v[1:] - v[:-1], sg.f64[5])
    source = graph.args[0]

    def at(text):
        return Formula("index", (symbol(source),), text, 0)

    for index, right in (("i+1", True), ("i", False), ("i+2", False)):
        f = Formula("sum", (at(index), Formula("neg", (at("i"),))))
        assert agrees(Reading((Line("f", f, ("i",)),)), graph.args, graph.outs) is right


# ---- long axes ---------------------------------------------------------------------------------


def loss(w, X, y, c):
    r = X @ w - y
    return np.mean(r**2) + c * np.sum(np.abs(w))


def chain(x, c):
    return np.sum((x[1:] - c * x[:-1] ** 2) ** 2)


data = np.random.default_rng(1).normal(size=(4000, 30))


def captured(w):
    return np.sum(np.log1p(np.exp(data @ w)))


@pytest.mark.parametrize(
    ("derive", "f", "shapes"),
    [
        (sg.grad, loss, ((200,), (5000, 200), (5000,), ())),
        (sg.hessian, loss, ((200,), (5000, 200), (5000,), ())),
        (sg.grad, chain, ((1000,), ())),
        (sg.grad, captured, ((30,),)),
        (sg.hessian, captured, ((30,),)),
    ],
)
def test_long_axes_are_compared_as_short_ones(derive, f, shapes):
    """In little time, and faults are seen as well."""
    graph = graph_of(derive(f), *[sg.f64[s] if s else sg.f64 for s in shapes])
    reading = reading_of(graph)
    start = time.process_time()
    assert agrees(reading, graph.args, graph.outs)
    assert time.process_time() - start < 0.5
    kinds = ("sign", "digit", "function", "term", "transpose")
    wrong = [m for kind, m in mutants(reading) if kind in kinds]
    assert wrong and not any(agrees(m, graph.args, graph.outs) for m in wrong)


def test_sizes_keep_their_differences():
    x, y = arg(0, (1000,), "float64", "x"), arg(1, (999, 3), "float64", "y")
    z = arg(2, (50,), "float64", "z")
    short = smaller([x, y, z], [x, y, z])
    (a,), (b, three), (c,) = (short.args[n].shape for n in (x, y, z))
    assert a == b + 1 and three == 3 and len({a, b, c}) == 3 and a < 30


def test_what_cannot_be_shortened_is_refused():
    places = np.arange(4000)[::-1].copy()
    graph = graph_of(lambda x: x[places], sg.f64[4000])
    with pytest.raises(Unknown):
        smaller(graph.args, graph.outs)
    assert not agrees(reading_of(graph), graph.args, graph.outs)


@pytest.mark.slow
def test_bounds_depend_on_the_digits_that_are_there():
    """With doubles only, right formulas pass, and one wrong digit of nine does not."""
    assert bounds(1.1e-19) == (1e-12, 1e-16)
    value, noise = bounds(2.3e-16)
    assert 1e-10 < value < 1e-8 and 1e-14 < noise < 1e-12
    code = """
import numpy as np
np.longdouble = np.float64
import symgrad as sg
from symgrad.reader import check, functions
assert functions.EXTENDED is np.float64 and check.BOUND > 1e-10
def f(w, X, y):
    return np.mean(np.log(1 + np.exp(-y * (X @ w)))) + np.linalg.norm(w)
graph = sg.trace(sg.grad(f), sg.f64[3], sg.f64[5, 3], sg.f64[5]).simplify()
print(graph.formula())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[0] == "out = w / ‖w‖ − Xᵀ (y ⊙ σ(−y ⊙ X w)) / n"
