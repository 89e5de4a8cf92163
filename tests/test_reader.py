"""Formulas for readers: their arithmetic, each rule by name, conditions, limits.

That whole derivatives read as they should is the table's (test_forms.py), that wrong formulas are
found test_reader_check.py's.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.special import erf, expit
from scipy.stats import norm

import symgrad as sg
from forms import notation, run, table
from symgrad.inspect import algebra as F
from symgrad.inspect.formula import Formula, to_text
from symgrad.reader.check import agrees
from symgrad.reader.constants import recognised
from symgrad.reader.cost import cost
from symgrad.reader.folds import exponential, power
from symgrad.reader.form import MOST_NODES, read
from symgrad.reader.heads import Head
from symgrad.reader.poly import Poly, apply, gather, number, product
from symgrad.reader.quotient import divided, together
from symgrad.reader.rules import RULES


def symbol(name, *shape):
    return gather(
        shape, [(1, [(Head("sym", (name, 0), (), shape), tuple(range(len(shape))), 1)], {})]
    )


x, y, z = (symbol(n) for n in "xyz")
A, B = symbol("A", 3, 3), symbol("B", 3, 3)
u, v = symbol("u", 3), symbol("v", 3)


def times(*factors, out=()):
    """einsum of (Poly, letters), with sizes of 3."""
    letters = sorted({k for _, word in factors for k in word} - set(out))
    at = {k: n for n, k in enumerate(out)} | {k: 100 + n for n, k in enumerate(letters)}
    parts = [(p, tuple(at[k] for k in word)) for p, word in factors]
    return product((3,) * len(out), parts, {at[k]: 3 for k in letters})


def formula(f, *args):
    return sg.trace(f, *args).simplify().formula()


def grad_formula(f, *args):
    return formula(sg.grad(f), *args)


# ---- arithmetic --------------------------------------------------------------------------------


def test_like_terms_are_one():
    assert (x + y) * (x - y) == x * x - y * y
    assert times((A, "ij"), (u, "j"), out="i") + times((A, "ij"), (u, "j"), out="i") == (
        times((u, "k"), (A, "ik"), out="i").scale(2)
    )
    assert times((A, "ij"), (B, "ji")) == times((B, "ab"), (A, "ba"))
    assert (A + A.relabel((1, 0), (3, 3))).relabel((1, 0), (3, 3)) == (
        A + A.relabel((1, 0), (3, 3))
    )


def test_names_of_indices_do_not_matter():
    """Random products with their factors in another order and their indices renamed."""
    rng = random.Random(3)
    symbols = [(A, 2), (B, 2), (u, 1), (v, 1)]
    for _ in range(60):
        words = [(p, [rng.choice("ijklm") for _ in range(n)])
                 for p, n in rng.choices(symbols, k=rng.randint(2, 5))]  # fmt: skip
        letters = sorted({k for _, w in words for k in w})
        new = dict(zip(letters, rng.sample("pqrstuvw", len(letters)), strict=True))
        other = [(p, [new[k] for k in w]) for p, w in words]
        rng.shuffle(other)
        assert times(*words) == times(*other)


def test_a_product_has_the_value_of_its_sum():
    rng = np.random.default_rng(1)
    values = {"A": rng.normal(size=(3, 3)), "B": rng.normal(size=(3, 3)), "u": rng.normal(size=3)}

    def value(p):
        total = 0.0
        for term, c in p.terms.items():
            part = float(c)
            for head, labels, e in term:
                inner = value_of(head, labels)
                part *= inner**e
            total += part
        return total

    def value_of(head, labels):
        if head.kind == "sym":
            return values[head.payload[0]][tuple(-1 - k for k in labels)]
        ((term, _),) = head.args[0].terms.items()
        names = {k: n for n, k in enumerate(sorted({k for _, w, _ in term for k in w}))}
        operands = []
        for h, w, e in term:
            operands += [values[h.payload[0]] ** e, [names[k] for k in w]]
        return np.einsum(*operands, [])

    got = value(times((A, "ij"), (B, "jk"), (u, "k"), (u, "i")))
    want = values["u"] @ values["A"] @ values["B"] @ values["u"]
    assert got == pytest.approx(want, rel=1e-13)


def test_powers_meet():
    norm = power(times((u, "i"), (u, "i")), Fraction(1, 2))
    assert norm * norm == times((u, "i"), (u, "i"))
    assert norm * power(norm, -1) == number(1)
    assert power(x * x, Fraction(1, 2)) == gather((), [(1, [apply("fn", "absolute", [x])], {})])
    assert power(number(8), Fraction(1, 2)) == power(number(2), Fraction(1, 2)).scale(2)
    assert exponential(x) * exponential(-x) == number(1)
    log = gather((), [(1, [apply("fn", "log", [y])], {})])
    assert exponential(log.scale(3) + x) == y * y * y * exponential(x)


def test_division_is_exact_or_none():
    rng = random.Random(5)
    for _ in range(40):
        p, q = (
            sum((t.scale(rng.randint(-3, 3)) for t in (x * x, x * y, y, z, number(1))), number(0))
            for _ in range(2)
        )
        if len(q.terms) > 1 and p.terms:
            assert divided(p * q, q) == p
            assert divided(p * q + number(1), q) is None
    top, below = together(x * power(x - y, -1) - y * power(x - y, -1))
    assert (top, below) == (number(1), [])


def test_inverses_meet_what_they_are_of():
    inverse = gather((3, 3), [(1, [(Head("inv", None, (A,), (3, 3)), (0, 1), 1)], {})])
    eye = gather((3, 3), [(1, [(Head("delta", 3, (), (3, 3), True, True), (0, 1), 1)], {})])
    for first, second in ((A, inverse), (inverse, A)):
        assert times((first, "ij"), (second, "jk"), out="ik") == eye
        assert times((first, "ji"), (second, "kj"), out="ik") == eye
        assert times((first, "ij"), (second, "kj"), out="ik") != eye
    assert times((A, "ij"), (inverse, "ji")) == number(3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1 / 3, "1/3"), (0.1, "1/10"), (1 / 1.7320508075688772, "1/3 3^1/2"),
        (2 / np.sqrt(np.pi), "2 π^-1/2"), (np.sqrt(2 * np.pi), "2^1/2 π^1/2"), (np.pi / 4, "1/4 π"),
        (np.log(2), "log(2)"), (1 / np.log(10), "log(10)^-1"), (-0.75, "-3/4"),
        (0.1234, "617/5000"),
    ],
)  # fmt: skip
def test_constants_are_exact(value, text):
    c, factors = recognised(np.float64(value))
    powers = [
        f"log({h.args[0].constant})" if h.kind == "fn" else str(h.payload) for h, _, _ in factors
    ]
    told = [f"{p}^{e}" if e != 1 else p for p, (_, _, e) in zip(powers, factors, strict=True)]
    assert " ".join([str(c)] * (c != 1 or not told) + told) == text


# ---- rules -------------------------------------------------------------------------------------

S = np.array([[2.0, 1.0, 0.5], [0.0, 3.0, 1.0], [1.0, 0.0, 4.0]])
V = np.array([0.3, -1.2, 0.7])

# Rule, function, arguments, and what is printed.
EXAMPLES = [
    ("common-factor", lambda A, x: A @ x + A.T @ x, (S, V), "(A + Aᵀ) x"),
    ("common-denominator", lambda x: 1 / (1 + x) + x / (1 + x), (0.5,), "1"),
    ("exact-division", lambda x: (x**2 - 1) / (x - 1), (0.5,), "x + 1"),
    ("merged-exponentials", lambda x: np.exp(x) * np.exp(-x / 2), (0.5,), "exp(x / 2)"),
    ("exponential-of-logarithm", lambda x: np.exp(2 * np.log(x)), (0.5,), "x²"),
    ("sin²", lambda x: np.sin(x) ** 2 + np.cos(x) ** 2, (0.5,), "1"),
    ("sinh²", lambda x: np.cosh(x) ** 2 - np.sinh(x) ** 2, (0.5,), "1"),
    ("cosh²", lambda x: np.tanh(x) ** 2 + 1 / np.cosh(x) ** 2, (0.5,), "1"),
    ("sign²", lambda x: x * np.sign(x) ** 3, (0.5,), "|x|"),
    ("sign-of-absolute", sg.grad(lambda x: np.abs(x) ** 3), (0.5,), "3 x |x|"),
    ("odd-function", lambda x, y: np.sin(x - y) + np.sin(y - x), (0.5, 1.0), "0"),
    ("sigmoid-mirror", lambda x: expit(x) + expit(-x), (0.5,), "1"),
    ("as-sigmoid", lambda x: expit(x) + np.tanh(x / 2) / 2, (0.5,), "2 σ(x) − 1 / 2"),
    ("perfect-square", lambda x, y: x**2 + 2 * x * y + y**2 + 1 / x, (0.5, 1.0),
     "(x + y)² + 1 / x"),
    ("common-exponential", sg.hessian(lambda x: np.exp(-np.exp(x))), (0.5,),
     "(exp(x) − 1) exp(x − exp(x))"),
    ("difference-of-angles", lambda x, y: np.sin(x) * np.cos(y) - np.cos(x) * np.sin(y),
     (0.5, 1.0), "sin(x − y)"),
    ("conjugate-sums", sg.grad(lambda x: np.log((1 + x) / (1 - x))), (0.5,), "2 / (1 − x²)"),
    ("quotient-of-logarithms", lambda x, y: np.log(x + y) - np.log(x), (0.5, 1.0),
     "log(y / x + 1)"),
    ("determinant-of-power", lambda A: np.linalg.det(A @ A), (S,), "det(A)²"),
    ("normal-mirror", lambda x: norm.cdf(x) + norm.cdf(-x), (0.5,), "1"),
    ("erf-as-normal", lambda x: 1 + erf(x / np.sqrt(2)), (0.5,), "2 Φ(x)"),
    ("guard", sg.grad(lambda x: np.linalg.norm(x)), (V,), "x / ‖x‖"),
    ("two-ways", sg.grad(lambda x: np.log(np.cosh(x))), (0.5,), "tanh(x)"),
    ("inverse", lambda A, x: np.linalg.inv(A) @ (A @ x), (S, V), "x"),
    ("inverse-of-product", sg.grad(lambda X, A: np.linalg.slogdet(A @ X)[1]), (S, S), "X⁻ᵀ"),
    ("sums-to-one", lambda z: np.sum(np.exp(z) / np.sum(np.exp(z))), (V,), "1"),
    ("split-delta", sg.grad(lambda X, A: np.trace(np.kron(A, X))), (S, S), "tr(A) I₃"),
    ("kronecker", lambda A, B: np.kron(A, B) + np.kron(A, B), (S, S), "2 A ⊗ B"),
    ("logarithm-of-constant", lambda x, y: x * 0.6931471805599453 + x * y, (0.5, 1.0),
     "x (y + log(2))"),
]  # fmt: skip


def test_every_rule_has_an_example():
    assert {name for name, *_ in EXAMPLES} | {"elements"} == set(RULES)


@pytest.mark.parametrize(("rule", "f", "args", "text"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_rules(rule, f, args, text):
    """It is applied, the formula is the shorter one, and its value is that of the graph."""
    graph = sg.trace(f, *args).simplify()
    told = graph.formula()
    assert run.without_conditions(told) == f"out = {text}"
    found = read(graph.args, graph.outs, graph.arg_names, graph.out_names, graph.names)
    assert rule in found.reading.steps
    assert rule in graph.explain().partition("formula:")[2]
    point = dict(zip(graph.arg_names, map(np.asarray, args), strict=True))
    want = np.asarray(graph.evaluate(*args))
    got = notation.evaluated(f"out = {text}", point, want.shape)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def springs(x):
    return 0.5 * np.sum((x[1:] - x[:-1]) ** 2)


def test_bands_are_written_element_by_element():
    graph = sg.trace(sg.hessian(springs), sg.f64[5]).simplify()
    assert graph.formula().splitlines() == [
        "out[i,i] = 2  for 0 < i < 4",
        "out[i,i+1] = out[i+1,i] = −1",
        "out[0,0] = out[4,4] = 1",
    ]
    assert r"{\mathrm{out}}_{i,i+1} = {\mathrm{out}}_{i+1,i} &= -1" in graph.latex()
    assert "elements  ×1" in graph.explain()


def test_elements_are_those_of_the_graph():
    """A wrong offset, sign or range is found."""
    graph = sg.trace(sg.hessian(springs), sg.f64[5]).simplify()
    reading = read(graph.args, graph.outs).reading
    assert agrees(reading, graph.args, graph.outs)
    (line,) = reading.lines
    for k, piece in enumerate(line.pieces):
        faults = [replace(piece, formula=F.neg(piece.formula))]
        if piece.letter:
            faults.append(replace(piece, range=(piece.range[0], piece.range[1] - 1)))
            faults.append(replace(piece, places=piece.places + (("i", "i+2"),), range=(0, 1)))
        for fault in faults:
            pieces = (*line.pieces[:k], fault, *line.pieces[k + 1 :])
            wrong = replace(reading, lines=(replace(line, pieces=pieces),))
            assert not agrees(wrong, graph.args, graph.outs)


# ---- conditions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "args", "wanted"),
    [
        (sg.grad(lambda x: x**x), (0.5,), "out = (1 + log(x)) x^x\n  for x > 0"),
        (sg.grad(lambda x: (x**2 - 1) / (x - 1)), (0.5,), "out = 1\n  for x ≠ 1"),
        (sg.grad(lambda x: np.linalg.norm(x)), (V,), "out = x / ‖x‖\n  for ‖x‖² ≠ 0"),
        (lambda x: np.where(x == 1, 5.0, x**2), (0.5,), "out = {5 if x = 1, else x²}"),
        (sg.grad(lambda x: np.maximum(x, 0) ** 2), (0.5,), "out = 2 max(0, x)"),
        (sg.grad(lambda x: np.maximum(x, 0)), (0.5,), "out = [x > 0]\n  for x ≠ 0"),
        (sg.grad(lambda x: np.sin((x**2 - 1) / (x - 1))), (0.5,), "out = cos(x + 1)\n  for x ≠ 1"),
        (lambda x: np.sin(x**3 / x), (0.5,), "out = sin(x²)\n  for x ≠ 0"),
        (lambda x: np.exp(2 * np.log(x)), (0.5,), "out = x²\n  for x > 0"),
        (lambda x: np.sqrt(x) ** 2, (0.5,), "out = x\n  for x ≥ 0"),
        (sg.grad(lambda x: np.log(1 + x @ x)), (V,), "out = 2 x / (1 + ‖x‖²)"),
        (sg.grad(np.linalg.norm), (np.outer(V, V),), "out = x / ‖x‖_F\n  for ‖x‖_F² ≠ 0"),
        (
            lambda s, t: np.where(t / s >= s**t, 2.0, np.sin(s)),
            (0.5, 0.2),
            "out = {2 if t / s ≥ s^t, else sin(s)}",
        ),
        (
            sg.grad(lambda s, t: np.where(np.sign(s) == t, 2 * s, s)),
            (0.5, 0.2),
            "out = {2 if t = sign(s), else 1}",
        ),
        (sg.grad(lambda x: np.max(x)), (V,), "out = [x ≥ max(x)] / (1ᵀ [x = max(x)])"),
        (lambda k, x: np.where(k == 0, x, 2 * x), (1, 0.5), "out = {x if k = 0, else 2 x}"),
    ],
)
def test_conditions_are_shown(f, args, wanted):
    assert formula(f, *args) == wanted


def test_no_condition_where_both_agree():
    assert formula(sg.grad(lambda x, y: np.linalg.norm(x - y) ** 2), V, V + 1) == "out = 2 (x − y)"


@pytest.mark.parametrize(
    ("f", "args", "wanted"),
    [
        # A power of a half of what is written with another sign, and roots of what is negative.
        (sg.grad(lambda s: np.sqrt(np.log1p(np.exp(np.hypot(s, s))))), (0.5,),
         "out = s σ(√2 |s|) / (√2 |s| √log(1 + exp(√2 |s|)))\n  for s ≠ 0"),
        (lambda x, y: np.sqrt(-np.exp(x) * y), (0.5, -0.5), "out = √(−y exp(x))"),
        # bᶜ bᵈ is a sum where c + d is 1.
        (lambda x, c: (x + c) ** c * (x + c) ** (1 - c), (0.5, 0.2),
         "out = c + x\n  for c + x > 0"),
        (lambda t: np.exp(t) ** t**2, (0.5,), "out = exp(t³)"),
        (lambda s, t: s ** t**2, (0.5, 0.2), "out = s^(t²)"),
        (lambda x: np.cumsum(x) @ x, (V,), "out = xᵀ cumsum(x)"),
        (sg.hessian(lambda A: 1 / np.trace(A)), (np.outer(V, V),),
         "out[i,j,k,l] = 2 δ[i,j] δ[k,l] / tr(A)³"),
        # Selections whose sides are 0 at the points that are looked at are not one function.
        (sg.grad(lambda y, s: np.minimum(np.log(np.abs(2 * y)), -9 * s)), (0.5, 0.9),
         "out = [log(|y|) + 9 s + log(2) ≤ 0] / y\n  for log(|y|) + 9 s + log(2) ≠ 0, y ≠ 0"),
    ],
)  # fmt: skip
def test_random_functions_found(f, args, wanted):
    assert formula(f, *args) == wanted


def test_the_codes_form_says_why_it_stands():
    """Its guards are cases, and a line tells that there is no other form."""
    text = sg.trace(lambda x: np.prod(np.cumsum(x)) + np.linalg.norm(x), V).simplify().formula()
    assert "code's form" not in text
    guarded = sg.trace(sg.grad(np.linalg.norm), V).simplify().formula(form="code")
    assert guarded == "out = {0 if ‖x‖ = 0, else x / ‖x‖}"


# ---- forms -------------------------------------------------------------------------------------


def test_the_form_is_chosen():
    graph = sg.trace(sg.grad(lambda x: np.exp(-x) * x), 0.5).simplify()
    assert graph.formula() == "out = (1 − x) exp(−x)"
    assert graph.formula(form="code") == "out = exp(−x) − x exp(−x)"
    assert graph.latex() == r"\mathrm{out} = \left(1 - x\right) \exp\left(-x\right)"
    with pytest.raises(ValueError, match="expected .reader. or .code., got 'c'"):
        graph.formula(form="c")


def test_large_graphs_say_why_they_are_as_the_code_has_them():
    def f(x):
        rng = random.Random(1)
        for _ in range(600):
            x = rng.choice([np.sin, np.tanh, np.arctan, np.cos])(x)
        return x

    told = formula(f, 0.5)
    assert f"formulas are shortened up to {MOST_NODES}: " in told.splitlines()[-1]
    assert told.splitlines()[0] == sg.trace(f, 0.5).simplify().formula("code").splitlines()[0]


@pytest.mark.slow
def test_names_of_variables_are_used():
    def f(w, X, t):
        residual = X @ w - t
        scale = 1 + np.sum(residual**2)
        return np.log(scale) + scale**2

    told = formula(sg.grad(f), V, S, V)
    assert "residual = X w − t" in told and "scale = 1 + ‖" in told


@pytest.mark.parametrize(
    ("f", "args", "wanted"),
    [
        (lambda w, X: np.mean(X @ w), (sg.f64[20], sg.f64[1000, 20]), "Xᵀ 1 / n|n = 1000"),
        (lambda x: np.var(x), (sg.f64[6],), "2 (x − 1ᵀ x / n) / n|n = 6"),
        (lambda x, n: np.mean(x**n), (sg.f64[10], sg.f64), "n x^(n − 1) / m|m = 10"),
        (lambda X, v: np.mean(X, axis=0) @ v * np.mean(X), (sg.f64[9, 6], sg.f64[6]),
         "1 ((1ᵀ X 1) v + 1ᵀ X v)ᵀ / (n m)|n = 54|m = 9"),
        (lambda x: np.sum(x**2 / 7), (sg.f64[7],), "2 x / 7"),  # no mean
        (lambda x: np.mean(x**2), (sg.f64[4],), "x / 2"),  # few
        (lambda x: np.mean(x) + np.sum(x**2) / 4, (sg.f64[6],), "1 / n + x / 2|n = 6"),
    ],
)  # fmt: skip
def test_means_divide_by_n(f, args, wanted):
    text = sg.trace(sg.grad(f), *args).simplify().formula()
    told = [line.split("  for")[0].split("where")[-1].strip() for line in text.splitlines()]
    assert told[0].removeprefix("out = ") == wanted.split("|")[0]
    assert sorted(t for t in told[1:] if t) == sorted(wanted.split("|")[1:])


def test_text_is_the_same_in_every_thread():
    functions = lambda x: np.sin(x) ** 3 / x, lambda x: x**2 * np.exp(-x), lambda x: x / (1 + x)
    graphs = [sg.trace(sg.grad(f), 0.5).simplify() for f in functions]
    want = [read(g.args, g.outs).reading for g in graphs]
    got = {}

    def work(k):
        got[k] = [read(g.args, g.outs).reading for g in graphs]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for readings in got.values():
        for a, b in zip(readings, want, strict=True):
            assert to_text(a.lines[0].formula) == to_text(b.lines[0].formula)


@pytest.mark.slow
def test_no_module_of_it_is_imported_before_a_formula_is_asked_for():
    code = (
        "import sys, symgrad as sg; g = sg.trace(lambda x: x * x, 1.0)\n"
        "assert not [m for m in sys.modules if m.startswith('symgrad.reader')]\n"
        "g.formula(); assert 'symgrad.reader.form' in sys.modules and 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- what a formula costs ----------------------------------------------------------------------


def sym(name, rank=0):
    return F.symbol(name, name, rank)


X_, w_, y_, p_ = sym("X", 2), sym("w", 1), sym("y", 1), sym("p", 1)
a_, b_, c_ = map(sym, "abc")
XT = F.transpose(X_)
ONE, TWO = (Formula("number", (), n) for n in "12")
SIGMA = F.call("σ", "", [F.matmul([X_, w_], 1)], 1)

# The first is easier to read than the second.
PAIRS = [
    (F.matmul([XT, F.add([SIGMA, F.neg(y_)], False)], 1),
     F.add([F.matmul([XT, SIGMA], 1), F.neg(F.matmul([XT, y_], 1))], False)),
    (F.hadamard([a_, F.add([b_, c_], False)]),
     F.add([F.hadamard([a_, b_]), F.hadamard([a_, c_])], False)),
    (F.matmul([F.add([X_, XT], False), w_], 1),
     F.add([F.matmul([X_, w_], 1), F.matmul([XT, w_], 1)], False)),
    (F.power(a_, TWO, 0), F.hadamard([a_, F.call("abs", "", [a_], 0)])),
    (F.divide(a_, b_), F.hadamard([a_, F.divide(ONE, b_)])),
    (F.add([a_, b_], False), F.neg(F.add([F.neg(a_), F.neg(b_), c_], False))),
    (F.norm(w_), Formula("sqrt", (F.matmul([F.transpose(w_), w_], 0),), None, 0)),
    (X_, F.transpose(X_)),
    (F.hadamard([TWO, a_]), F.add([a_, F.hadamard([ONE, a_])], False)),
    (F.call("tanh", "", [a_], 0), F.add([F.hadamard([TWO, F.call("σ", "", [b_], 0)]), ONE], False)),
    (F.hadamard([F.divide(a_, TWO)]), F.hadamard([Formula("number", (), "0.123456"), a_])),
    (F.call("max", "", [ONE, a_], 0),
     Formula("cases", (ONE, Formula("infix", (ONE, a_), (">", ">")), a_))),
    (F.matmul([p_, F.transpose(p_)], 2),
     F.matmul([F.diagonal(p_, lambda f: f), F.ones(3), F.transpose(p_)], 2)),
    (F.call("exp", "", [a_], 0), F.call("complement_square", "", [a_], 0)),
    (F.inverse(X_), F.transpose(F.inverse(F.transpose(X_)))),
]  # fmt: skip


@pytest.mark.parametrize(("easy", "hard"), PAIRS)
def test_cost_ranks(easy, hard):
    assert cost(easy) <= cost(hard), (to_text(easy), cost(easy), to_text(hard), cost(hard))


def test_a_formula_is_never_dearer_than_the_codes():
    """What is printed for a product that is already short is what the code computes."""
    graph = sg.trace(lambda x, y: x * y + 1, 0.5, 0.5)
    assert graph.formula() == graph.formula("code")
    assert isinstance(Poly({}, ()), Poly)


# ---- SymPy ---------------------------------------------------------------------------------------


def explicit(expression, point):
    """The value of a SymPy expression: symbols by numbers, matrices by their elements."""
    sympy = pytest.importorskip("sympy")
    known = {}
    for name, v in point.items():
        if v.ndim:
            rows = sympy.ImmutableDenseMatrix(v.reshape(v.shape[0], -1).tolist())
            known[sympy.MatrixSymbol(name, *rows.shape)] = rows
        else:
            known[sympy.Symbol(name, real=True)] = sympy.Float(float(v))
    whole = expression.replace(sympy.OneMatrix, lambda m, n: sympy.ones(m, n).as_immutable())
    value = whole.subs(known).doit()
    value = value.as_explicit() if hasattr(value, "as_explicit") else value
    return np.array(sympy.N(value).tolist() if hasattr(value, "tolist") else sympy.N(value), float)


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("matrixcalculus", "logistic w"), ("cookbook", "logdet X"), ("cookbook", "trace_form X"),
        ("cookbook", "norm x,x"), ("scalars", "sine_gauss x,x"), ("scalars", "sigmoid x,x"),
        ("losses", "ridge w,w"), ("losses", "log_sum_exp x,x"), ("losses", "welsch r"),
    ],
)  # fmt: skip
def test_sympy_has_the_readers_form(group, name):
    """With a MatrixSymbol for each array; the value is the graph's."""
    sympy = pytest.importorskip("sympy")
    row = next((r for r in table.rows(group) if r.name == name), None)
    assert row is not None, [r.name for r in table.rows(group)]
    graph = row.graph()
    expression = graph.to_sympy()
    assert not isinstance(expression, sympy.MatrixBase)
    point = row.function.point(np.random.default_rng(2))
    want = np.asarray(graph.evaluate_flat(list(point.values()))[0], float)
    got = explicit(expression, point).reshape(want.shape)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def test_sympy_of_the_code():
    sympy = pytest.importorskip("sympy")
    graph = sg.trace(sg.grad(lambda x: np.linalg.norm(x)), V).simplify()
    x = sympy.MatrixSymbol("x", 3, 1)
    assert graph.to_sympy() == x / sympy.sqrt(sympy.Trace(x.T * x))
    assert isinstance(graph.to_sympy(form="code"), sympy.NDimArray)
    bands = sg.trace(sg.hessian(springs), sg.f64[5]).simplify()  # elements have no matrix form
    assert isinstance(bands.to_sympy(), sympy.MatrixBase)
    with pytest.raises(ValueError, match="form"):
        graph.to_sympy(form="short")
