"""Formulas, listings, SymPy forms, graphs and costs of hand-built and random graphs."""

from __future__ import annotations

import math
import re
import time

import numpy as np
import pytest

from support.tex import check_latex
from symgrad.errors import StructureError, UnsupportedError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import arg, array, bind, const, eye
from symgrad.expr.walk import toposort
from symgrad.inspect import cost, explain, listing, matrix_latex, matrix_text, to_dot, to_sympy
from symgrad.inspect.formula import Formula
from symgrad.inspect.matrix import Notation
from symgrad.inspect.naming import latex_name, short_number
from symgrad.lower.contract import split_contractions
from symgrad.lower.tuning import HOST_TUNING
from symgrad.ops import elementwise as el
from symgrad.ops import linear as li
from symgrad.ops.einsum import einsum, parse, sizes


def ein(spec, *args):
    return einsum(list(args), *parse(spec, [a.ndim for a in args]))


def to(scalar, *shape):
    return li.broadcast_to(scalar, shape)


N, D = 20, 4
X = arg(0, (N, D), "float64", "X")
y = arg(1, (N,), "float64", "y")
w = arg(2, (D,), "float64", "w")
lam = arg(3, (), "float64", "λ")
b = arg(4, (), "float64", "b")
A = arg(5, (D, D), "float64", "A")
B = arg(6, (D, D), "float64", "B")
Y = arg(7, (N, D), "float64", "Y")
T = arg(8, (N, D, D), "float64", "T")
x = arg(9, (10,), "float64", "x")
ARGS = [X, y, w, lam, b, A, B, Y, T, x]

z = ein("ni,i->n", X, w) + to(b, N)
p = el.sigmoid(-(y * z))
d = el.sigmoid(z) * el.sigmoid(-z)
r = ein("ni,i->n", X, w) - y
XA = ein("ni,ic->nc", X, A)
softmax = bind("softmax", XA, attrs=((1,),))
logsumexp = bind("logsumexp", XA, attrs=((1,),))
norm = bind("norm", w, attrs=((0,),))
after = li.slice_(x, (1,), (9,), (1,))
before = li.slice_(x, (0,), (9,), (1,))
step = after - el.square(before)
valley = li.sum_(100 * el.square(step) + el.square(1 - before), (0,))
slope = -400 * (step * before) - 2 * (1 - before)

# fmt: off
FORMULAS = {
    "least squares": (ein("n,n->", r, r), "‖X w − y‖²"),
    "least squares gradient": (2 * ein("ni,n->i", X, r), "2 Xᵀ (X w − y)"),
    "normal matrix": (2 * ein("ni,nj->ij", X, X), "2 Xᵀ X"),
    "quadratic form": (ein("i,ij,j->", w, A, w), "wᵀ A w"),
    "its gradient": (ein("ij,j->i", A, w) + ein("ji,j->i", A, w), "A w + Aᵀ w"),
    "logistic gradient": (to(lam, D) * w - ein("ni,n->i", X, y * p),
        "λ w − Xᵀ (y ⊙ p)\n  where p = σ(−y ⊙ (X w + b))"),
    "logistic Hessian": (ein("ni,n,nj->ij", X, d, X) + to(lam, D, D) * eye(D),
        "Xᵀ diag(d) X + λ I\n  where d = σ(z) ⊙ σ(−z)\n        z = X w + b"),
    "cross-entropy": (li.sum_(logsumexp, (0,)) - ein("nc,nc->", Y, XA),
        "1ᵀ logsumexp(X A, axis=1) − tr(X A Yᵀ)"),
    "cross-entropy gradient": (ein("ni,nc->ic", X, softmax - Y), "Xᵀ (softmax(X A, axis=1) − Y)"),
    "Rosenbrock": (valley, "100 ‖x[1:] − x[:-1]²‖² + ‖1 − x[:-1]‖²"),
    "its gradient, padded": (
        li.pad(slope, (10,), (0,), (1,)) + li.pad(200 * step, (10,), (1,), (1,)),
        "[−400 x[:-1] ⊙ (x[1:] − x[:-1]²) − 2 (1 − x[:-1]); 0] + [0; 200 (x[1:] − x[:-1]²)]"),
    "norm": (norm, "‖w‖"),
    "unit vector": (w / to(norm, D), "w / ‖w‖"),
    "product": (ein("ij,jk->ik", A, B), "A B"),
    "product of transposes": (ein("ji,kj->ik", A, B), "Aᵀ Bᵀ"),
    "outer product": (ein("i,j->ij", y, w), "y wᵀ"),
    "trace": (ein("ii->", A), "tr(A)"),
    "trace of a product": (ein("ij,ji->", A, B), "tr(A B)"),
    "trace of three": (ein("ij,jk,ki->", A, B, A), "tr(B A A)"),
    "Frobenius": (ein("ij,ij->", A, A), "‖A‖_F²"),
    "row dots": (ein("ij,ij->i", A, B), "(A ⊙ B) 1"),
    "diagonal": (ein("ii->i", A), "diag(A)"),
    "diagonal matrix": (ein("i,ij->ij", w, eye(D)), "diag(w)"),
    "scaled columns": (X * li.broadcast(w, (N, D), (1,)), "X diag(w)"),
    "row and column": (
        li.broadcast(y, (N, D), (0,)) + li.broadcast(w, (N, D), (1,)), "1 wᵀ + y 1ᵀ"),
    "sums": (li.sum_(X, (0,)), "Xᵀ 1"),
    "sum": (li.sum_(X, (0, 1)), "1ᵀ X 1"),
    "select": (el.select(el.greater(w, 0), w, 0.5 * w), "{w if w > 0, else 0.5 w}"),
    "tensor": (ein("nij,n->ij", T, y), "Σₙ T[n,i,j] y[n]"),
    "tensor scalar": (ein("nij,n,i,j->", T, y, w, w), "Σₙₘₚ T[n,m,p] y[n] w[m] w[p]"),
    "constant": (const(0.5, "float64", (3,)), "0.5 · 1"),
    "identity": (eye(3), "I₃"),
    "scalars": (lam * b * lam / (b + lam), "λ² b / (λ + b)"),
    "signs": (-(lam - b) * -lam, "λ (λ − b)"),
    "nested": (el.sqrt(lam + b) * el.exp(-el.square(lam)), "exp(−λ²) √(λ + b)"),
    "log1p": (el.log1p(el.exp(lam)) - el.softplus(b), "log(1 + exp(λ)) − log(1 + exp(b))"),
    "equal terms": (ein("ni,n->i", X, r + r) + w + w, "2 Xᵀ (X w − y) + 2 w"),
    "logaddexp": (bind("logaddexp", const(0.0), -lam), "log(1 + exp(−λ))"),
    "solve": (bind("solve", A, ein("ij,jk->ik", B, A)), "A⁻¹ B A"),
    "logdet": (bind("logabsdet", A), "log(|det(A)|)"),
    "element": (li.reshape(li.slice_(A, (1, 0), (1, D), (1, 1)), (D,)), "A[1]"),
    "one": (li.reshape(li.slice_(x, (3,), (1,), (1,)), ()), "x[3]"),
    "small": (1e-3 * lam + 2 * np.pi * b, "1e-3 λ + 2π b"),
}
# fmt: on


@pytest.mark.parametrize("title", FORMULAS)
def test_formula(title):
    out, expected = FORMULAS[title]
    text = matrix_text(ARGS, [out])
    lhs = "f[i,j]" if title == "tensor" else "f"
    assert text == f"{lhs} = {expected}"


def test_latex_of_the_logistic_gradient():
    out, _ = FORMULAS["logistic gradient"]
    assert matrix_latex(ARGS, [out], out_names=["∇w"]) == (
        "\\begin{aligned}\n"
        "\\nabla w &= \\lambda w - X^{\\top} \\left(y \\odot p\\right) \\\\\n"
        "\\text{where}\\quad p &= \\sigma\\left(-y \\odot \\left(X w + b\\right)\\right)\n"
        "\\end{aligned}"
    )


def test_latex_of_small_formulas():
    for out, expected in [
        (w / to(norm, D), r"\frac{w}{\left\lVert w\right\rVert}"),
        (el.select(el.greater(w, 0), w, 0.5 * w),
         r"\begin{cases} w & \text{if } w > 0 \\ 0.5 w & \text{otherwise} \end{cases}"),
        (ein("nij,n,i,j->", T, y, w, w), r"\sum_{n m p} T_{n m p} \, y_{n} \, w_{m} \, w_{p}"),
        (1e-3 * lam, r"10^{-3} \lambda"),
        (el.square(before), r"x_{:-1}^{2}"),
    ]:  # fmt: skip
        assert matrix_latex(ARGS, [out]) == "f = " + expected


@pytest.mark.parametrize("title", FORMULAS)
def test_latex_is_balanced(title):
    check_latex(matrix_latex(ARGS, [FORMULAS[title][0]]))


def test_several_outputs_share_definitions():
    text = matrix_text(ARGS, [li.sum_(el.softplus(z), (0,)), el.sigmoid(z)], out_names=["f", "g"])
    assert text == "f = 1ᵀ log(1 + exp(z))\ng = σ(z)\n  where z = X w + b"


def test_an_output_used_by_another_keeps_its_name():
    assert matrix_text(ARGS, [d, ein("n,n->", d, y)], out_names=["d", "s"]) == (
        "d = σ(z) ⊙ σ(−z)\ns = dᵀ y\n  where z = X w + b"
    )


def test_names_of_definitions_avoid_arguments():
    z_arg = arg(0, (N,), "float64", "z")
    q = z_arg * y + to(b, N)
    text = matrix_text([z_arg, y, b], [el.exp(q) * el.sin(q)])
    assert text.splitlines()[1].strip().startswith("where u = ")


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2"), (0.5, "0.5"), (1e-3, "1e-3"), (0.01, "0.01"), (1e6, "1e6"), (123456.0, "123456"),
     (1 / 3, "0.3333333333333333"), (1e300, "1e300"), (-1.5e-7, "-1.5e-7"), (0.0, "0"),
     (np.inf, "inf"), (-np.inf, "-inf"), (np.nan, "nan"), (100.0, "100"), (12.25, "12.25")],
)  # fmt: skip
def test_numbers(value, text):
    assert short_number(np.float64(value)) == text
    if value == value:
        assert float(text) == value


def test_float32_numbers_are_short():
    assert short_number(np.float32(0.1)) == "0.1"


@pytest.mark.parametrize(
    ("name", "latex"),
    [("x", "x"), ("x0", "x_{0}"), ("w_out", r"w_{\mathrm{out}}"), ("alpha", r"\alpha"),
     ("θ", r"\theta"), ('params["w"]', r"\mathrm{params}_{w}"),
     ("params.layer.b", r"\mathrm{params}_{\mathrm{layer},b}"), ("∇²w", r"\nabla^{2} w"),
     ("x_", r"\mathrm{x\_}"), ("rate", r"\mathrm{rate}")],
)  # fmt: skip
def test_latex_names(name, latex):
    assert latex_name(name) == latex


HOSTILE = [
    "a}{b", "\\input{x}", '"]; evil [', "x\ny", "$x$", "%", "a_b_c__", "^^5c", "‮abc", "{", "}",
    "\\", '\\"', "x & y \\\\ z", "#1", "~", "a" * 500, "名前", "\\end{aligned}", "-->", "`",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name):
    u = arg(0, (3,), "float64", name)
    out = el.sin(u) * u
    check_latex(matrix_latex([u], [out], out_names=[name]))
    assert "\n" not in latex_name(name) and "input" not in re.findall(r"\\(\w+)", latex_name(name))
    for text in (matrix_text([u], [out], out_names=[name]), listing([u], [out], name=name)):
        assert all(ch.isprintable() or ch == "\n" for ch in text)
        assert len(text.splitlines()) <= 4
    dot = to_dot([u], [out], out_names=[name])
    for line in dot.splitlines():
        outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
        assert '"' not in outside and "evil" not in outside


# ---- what is printed means what the graph computes ----------------------------------------------
# An interpreter of formulas: vectors are columns, so every product is a matrix product.

_CALLS = {
    "sin": np.sin, "cos": np.cos, "exp": np.exp, "log": np.log, "tanh": np.tanh, "tr": np.trace,
    "σ": lambda v: 1 / (1 + np.exp(-v)), "max": np.maximum, "min": np.minimum, "det": np.linalg.det,
    "sign": np.sign, "vec": lambda v: v.T.reshape(-1, 1),
}  # fmt: skip
_TESTS = {"<": np.less, ">": np.greater, "≤": np.less_equal, "=": np.equal, "∧": np.logical_and}


def column(v):
    v = np.asarray(v)
    return v.reshape(-1, 1) if v.ndim == 1 else v


def meaning(f: Formula, env):
    if f.kind == "part":
        if f.data not in env:
            env[f.data] = meaning(f.data.formula, env)
        return env[f.data]
    if f.kind == "sigma":
        summed, terms = f.data
        operands = []
        for a, labels in zip(f.args, terms, strict=True):
            v = np.eye(D) if a.kind == "symbol" and a.data[0] == "δ" else meaning(a, env)
            operands += [np.reshape(v, -1) if len(labels) == 1 else v]
        spec = ",".join("".join(t) for t in terms)
        free = "".join(sorted({k for t in terms for k in t} - set(summed)))
        return column(np.einsum(f"{spec}->{free}", *operands))
    a = [meaning(x, env) for x in f.args]
    match f.kind:
        case "symbol":
            return env[f.data[0]]
        case "number":
            return float(f.data.replace("2π", str(2 * np.pi)).replace("π", str(np.pi)))
        case "ones":
            return np.ones((f.data, 1))
        case "eye":
            return np.eye(f.data or D)
        case "neg":
            return -a[0]
        case "sum":
            return sum(a[1:], a[0])
        case "mul":
            return np.prod(a[:-1]) * a[-1]
        case "had":
            return np.prod(np.broadcast_arrays(*a), axis=0)
        case "mat":
            result = a[0]
            for v in a[1:]:
                result = result @ v
            return result.item() if f.rank == 0 else result
        case "div":
            return a[0] / a[1]
        case "T":
            return a[0].T
        case "inverse":
            return np.linalg.inv(a[0]).T if f.data else np.linalg.inv(a[0])
        case "diag":
            return np.diag(a[0].ravel())
        case "pow":
            return a[0] ** a[1]
        case "sqrt":
            return np.sqrt(a[0])
        case "infix":
            return _TESTS[f.data[0]](*a)
        case "cases":
            return np.where(a[1], a[0], a[2] if len(a) == 3 else np.where(a[3], a[2], a[4]))
        case "wrap":
            kinds = {"‖": np.linalg.norm, "|": np.abs, "[": np.float64, "⌊": np.floor, "⌈": np.ceil}
            return kinds[f.data[0]](a[0])
        case "index":
            base = a[0].ravel() if f.args[0].rank == 1 else a[0]
            return column(eval(f"base[{f.data}]", {"base": base}))
        case "stack":
            blocks = []
            for block, v in zip(f.args, a, strict=True):
                is_zero = block.kind == "symbol" and block.data[0].startswith("0")
                count = int(block.data[1][3:-1] or 1) if is_zero else 0  # 0 or 0_{7}
                blocks.append(np.zeros((count, 1)) if is_zero else np.atleast_2d(v))
            return np.concatenate(blocks)
        case "call":
            if f.data[0] == "diag":
                return column(np.diag(a[0]))
            if f.data[0] == "logsumexp":
                return np.log(np.exp(a[0]).sum(1, keepdims=True))
            if f.data[0] == "softmax":
                return np.exp(a[0]) / np.exp(a[0]).sum(1, keepdims=True)
            return _CALLS[f.data[0]](*a)
    raise AssertionError(f.kind)


class Zeros(dict):
    """The names of zero blocks and of remarks have no value."""

    def __missing__(self, key):
        if isinstance(key, str):
            return None
        raise KeyError(key)


def check_meaning(args, outs, values):
    expected = evaluate(outs, values)
    notation = Notation(args, outs, None)
    env = Zeros({notation.names[a]: column(values[a]) if a.ndim < 3 else values[a] for a in args})
    for f, want in zip(notation.outs, expected, strict=True):
        got = np.asarray(meaning(f, env))
        want = column(want)
        if got.size == want.size:
            got = got.reshape(want.shape)
        assert np.allclose(np.broadcast_to(got, want.shape), want, rtol=1e-9, atol=1e-9)


def sample(args, seed=0):
    rng = np.random.default_rng(seed)
    return {a: rng.uniform(0.2, 1.5, a.shape) for a in args}


@pytest.mark.parametrize("title", FORMULAS)
def test_formula_means_the_graph(title):
    check_meaning(ARGS, [FORMULAS[title][0]], sample(ARGS))


def random_graph(rng, steps=14):
    """A random graph over scalars, vectors of D, matrices D × D, and its arguments."""
    args = [
        arg(0, (), "float64", "s"), arg(1, (D,), "float64", "v"), arg(2, (D,), "float64", "u"),
        arg(3, (D, D), "float64", "M"), arg(4, (D, D), "float64", "N"), arg(5, (), "float64", "a"),
    ]  # fmt: skip
    pool = list(args) + [eye(D), const(2.0, "float64", (D,)), const(-0.5)]

    def pick(rank):
        found = [n for n in pool if n.ndim == rank]
        return found[rng.integers(len(found))]

    contractions = [
        "ij,j->i", "ji,j->i", "ij,jk->ik", "ij,kj->ik", "i,i->", "i,j->ij", "ij,ij->", "ij,ji->",
        "ii->", "ii->i", "ij,ij->i", "i,ij,j->", "ki,k,kj->ij", "ij,jk,ki->", "i,ij->ij",
        "ij,i,j->ij", "ij,ij->ij", "i,i,i->", "ij,jk,k->i", "ij,ik,il->", "ij->ji", "ij->j",
        "i,j->i",
        "ij,kj,k->j",
    ]  # fmt: skip
    for _ in range(steps):
        kind = rng.integers(9)
        rank = int(rng.integers(3))
        if kind <= 3:
            spec = contractions[rng.integers(len(contractions))]
            terms = spec.split("->")[0].split(",")
            pool.append(ein(spec, *[pick(len(t)) for t in terms]) * 0.25)
        elif kind == 4:
            pool.append(
                el.bind(
                    ("sin", "sigmoid", "tanh", "square", "absolute")[rng.integers(5)], pick(rank)
                )
            )
        elif kind == 5:
            name = ("add", "subtract", "multiply", "maximum")[rng.integers(4)]
            pool.append(bind(name, pick(rank), pick(rank)))
        elif kind == 6:
            pool.append(pick(rank) / (2 + el.square(pick(rank))))
        elif kind == 7:
            v = pick(1)
            axis = int(rng.integers(2))
            options = [
                li.broadcast(v, (D, D), (axis,)), to(pick(0), D), to(pick(0), D, D),
                li.sum_(pick(2), (axis,)), li.sum_(pick(2), (0, 1)), -v,
            ]  # fmt: skip
            pool.append(options[rng.integers(6)])
        else:
            v = pick(1)
            part = li.slice_(v, (1,), (D - 1,), (1,))
            pool.append([li.pad(part, (D,), (0,), (1,)), li.permute(pick(2), (1, 0)),
                         el.select(el.greater(v, 0.3), v, 0.5 * pick(1)),
                         li.slice_(v, (D - 1,), (D,), (-1,))][rng.integers(4)])  # fmt: skip
    return args, [n for n in pool[-3:] if n.op.name != "const"] or args[1:2]


@pytest.mark.quick(50)
@pytest.mark.parametrize("seed", range(150))
def test_random_graphs_mean_what_they_compute(seed):
    args, outs = random_graph(np.random.default_rng(seed))
    check_meaning(args, outs, sample(args, seed))
    check_latex(matrix_latex(args, outs))
    assert matrix_text(args, outs) == matrix_text(args, outs)


# ---- listing ---------------------------------------------------------------------------------


def test_listing():
    g = to(lam, D) * w - ein("ni,n->i", X, y * p)
    hessian = ein("ni,n,nj->ij", X, d, X) + to(lam, D, D) * eye(D)
    assert listing([X, y, w, lam, b], [g, hessian], name="newton") == (
        "newton(X: f64[20, 4], y: f64[20], w: f64[4], λ: f64, b: f64) -> (f64[4], f64[4, 4]):\n"
        "  t1 = X @ w + b                        # f64[20]\n"
        "  t2 = X.T @ (y * sigmoid(-(y * t1)))   # f64[4]\n"
        '  t3 = einsum("ij,i,ik->jk", X, sigmoid(t1) * sigmoid(-t1), X)  # f64[4, 4]\n'
        "  return w * λ - t2, eye(4) * λ + t3"
    )


def test_listing_of_broadcasts_and_names():
    u = arg(0, (3,), "float32", 'params["w"]')
    v = arg(1, (2,), "int64", "")
    out = li.broadcast(u, (3, 2), (0,)) * bind(
        "convert", li.broadcast(v, (3, 2), (1,)), attrs=("float32",)
    )
    assert listing([u, v], [out], out_names=["p"]) == (
        'f(params["w"]: f32[3], x1: i64[2]) -> f32[3, 2]:\n'
        '  return p=params["w"][:, None] * float32(broadcast_to(x1, (3, 2)))'
    )
    assert listing([u, v], [li.broadcast(u, (3, 2), (0,))]).endswith(
        'return broadcast_to(params["w"][:, None], (3, 2))'
    )


def run_listing(args, outs, values):
    text = listing(args, outs).partition("\n")[2].replace("λ", "lam")
    body, _, last = text.partition("  return ")
    body = "\n".join(line.strip() for line in body.splitlines())
    names = {a.attr("name").replace("λ", "lam"): values[a] for a in args}
    scope = {**vars(np), "sigmoid": lambda v: 1 / (1 + np.exp(-v)), **names}
    exec(body, scope)
    found = eval(" ".join(last.split()), scope)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.quick(50)
@pytest.mark.parametrize("seed", range(150))
def test_listing_runs_as_numpy(seed):
    args, outs = random_graph(np.random.default_rng(seed))
    outs = [o for o in outs if "pad(" not in listing(args, [o])]
    values = sample(args, seed)
    if outs:
        for got, want in zip(run_listing(args, outs, values), evaluate(outs, values), strict=True):
            assert np.shape(got) == want.shape
            assert np.allclose(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_long_chains():
    u = arg(0, (3,), "float64", "u")
    e = u
    for k in range(10_000):
        e = el.sin(e) + u if k % 3 else el.exp(-e) * e
    start = time.process_time()
    text = listing([u], [e], limit=9)
    assert len(text.splitlines()) == 12 and "lines left out" in text
    text = matrix_text([u], [e], limit=9)
    assert len(text.splitlines()) == 10 and "definitions left out" in text
    check_latex(matrix_latex([u], [e], limit=9))
    assert to_dot([u], [e], limit=9).count("[label=") == 11
    assert cost([u], [e]).nodes > 20_000
    with pytest.raises(UnsupportedError, match="scalar operations"):
        to_sympy([u], [e])
    assert time.process_time() - start < 60


@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    [lambda e: 2 * e + 1, el.square, lambda e: 1 / e, lambda e: -e * 3, lambda e: e - 0.5,
     lambda e: li.permute(el.sin(e), (1, 0)), lambda e: li.slice_(e, (1, 1), (2, 2), (-1, -1)),
     lambda e: el.select(el.greater(e, 0), e, 1), lambda e: ein("ij,jk->ik", A, e) * 0.5],
)  # fmt: skip
def test_chains_of_one_operation(step):
    e = li.slice_(A, (0, 0), (2, 2), (1, 1)) if step(A).shape == (2, 2) else A
    for _ in range(1200):
        e = step(e)
    for text in (matrix_text(ARGS, [e]), matrix_latex(ARGS, [e]), listing(ARGS, [e])):
        assert max(map(len, text.splitlines())) < 3000


# ---- SymPy -----------------------------------------------------------------------------------


def sympy_value(expression, args, values):
    """Put numbers into a SymPy form."""
    import sympy

    table = {}
    for a in args:
        if a.ndim == 0:
            table[a.attr("name")] = float(values[a])
        else:
            for index in np.ndindex(a.shape):
                table[f"{a.attr('name')}[{', '.join(map(str, index))}]"] = float(values[a][index])
    e = sympy.sympify(expression).doit()
    spots = {s: table[str(s)] for s in e.free_symbols | e.atoms(sympy.Indexed) if str(s) in table}
    return float(sympy.N(e.subs(spots)))


@pytest.mark.sample(31)
@pytest.mark.quick(4)
@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("expand", [True, False])
def test_sympy_agrees_with_numpy(seed, expand):
    args, outs = random_graph(np.random.default_rng(seed), steps=7)
    values = sample(args, seed)
    out = next((o for o in outs[::-1] if o.ndim == 0), li.sum_(outs[0], tuple(range(outs[0].ndim))))
    try:
        expression = to_sympy(args, [out], expand=expand)
    except UnsupportedError as error:
        assert not expand and "symbolic index" in str(error)
        return
    want = evaluate([out], values)[0]
    assert np.isclose(sympy_value(expression, args, values), want, rtol=1e-8, atol=1e-8)


_ROWS = sorted(name for name, row in el.register.__globals__["OPS"].items()
               if row.kind.value == "elementwise" and row.sympy and not name.startswith("logical")
               and name not in ("polygamma", "select", "rint"))  # fmt: skip


@pytest.mark.parametrize("name", _ROWS)
def test_sympy_of_every_elementwise_row(name):
    import sympy

    row = el.register.__globals__["OPS"][name]
    rng = np.random.default_rng(3)
    args = [arg(k, (), "float64", f"x{k}") for k in range(len(row.domain))]
    for _ in range(3):
        values = {a: np.float64(rng.uniform(*dom)) for a, dom in zip(args, row.domain, strict=True)}
        out = bind(name, *args)
        want = evaluate([out], values)[0]
        e = sympy.sympify(to_sympy(args, [out]))
        got = e.subs({s: float(values[args[int(str(s)[1:])]]) for s in e.free_symbols})
        assert np.isclose(
            float(bool(got)) if out.dtype == "bool" else float(sympy.N(got)), want, rtol=1e-9
        )


@pytest.mark.slow
def test_sympy_forms():
    import sympy

    u = arg(0, (3,), "float64", "u")
    M = arg(1, (3, 3), "float64", "M")
    s = arg(2, (), "float64", "s")
    values = sample([u, M, s])
    values[M] = values[M] @ values[M].T + np.eye(3)
    reductions = [
        bind("logsumexp", u, attrs=((0,),)), bind("norm", u, attrs=((0,),)),
        *(bind(name, u, attrs=((0,),)) for name in ("max", "min", "prod")),
        bind("det", M), bind("logabsdet", M), bind("argmax", u, attrs=(0,)),
        *(li.reshape(li.slice_(v, (1,), (1,), (1,)), ()) for v in (
            bind("softmax", u, attrs=((0,),)), bind("cumsum", u, attrs=(0, False)),
            bind("cumsum", u, attrs=(0, True)), bind("recurrence", u, u, attrs=(0, False)),
            li.concat([li.slice_(u, (2,), (1,), (1,)), u], 0),
            li.gather(u, array(np.array([0, -1])), 0),
            li.scatter_add(u, array(np.array([1, 0, 1])), 0, 4),
            li.reshape(bind("solve", M, li.reshape(u, (3, 1))), (3,)),
            li.reshape(li.permute(M, (1, 0)), (9,)),
        )),
    ]  # fmt: skip
    for out in reductions:
        want = evaluate([out], values)[0]
        assert np.isclose(sympy_value(to_sympy([u, M, s], [out]), [u, M, s], values), want), out
    assert str(to_sympy([u, M, s], [ein("ij,j->i", M, u) * to(s, 3)])[1]) == (
        "s*(M[1, 0]*u[0] + M[1, 1]*u[1] + M[1, 2]*u[2])"
    )
    assert to_sympy([u, M], [M]).shape == (3, 3)
    assert str(to_sympy(ARGS, [ein("n,n->", y, z)])) == (
        "Sum((b + Sum(X[i, j]*w[j], (j, 0, 3)))*y[i], (i, 0, 19))"
    )
    scalar = to_sympy([s], [el.sin(s) * s])
    assert sympy.diff(scalar, sympy.Symbol("s", real=True)) == sympy.sympify(
        "s*cos(s) + sin(s)", locals={"s": sympy.Symbol("s", real=True)}
    )


def test_sympy_refuses_what_is_too_large():
    with pytest.raises(UnsupportedError, match="too many elements"):
        to_sympy(ARGS, [X])
    with pytest.raises(UnsupportedError, match="scalar operations"):
        to_sympy(ARGS, [ein("nij,njk,nkl,nlm->im", T, T, T, T)], expand=True)
    big = arg(0, (6, 6), "float64", "big")
    with pytest.raises(UnsupportedError, match="4 x 4"):
        to_sympy([big], [bind("det", big)])


def test_sympy_stays_unloaded():
    import subprocess
    import sys

    code = "import sys, symgrad.inspect; sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- graphs, costs, rules --------------------------------------------------------------------


def test_dot():
    out = el.sin(lam) * b
    assert to_dot([lam, b], [out], show="shape", direction="LR").splitlines() == [
        "digraph {",
        "  rankdir=LR;",
        "  node [shape=box, style=filled];",
        '  n0 [label="b\\nf64", fillcolor="#dbe9f6", shape=ellipse];',
        '  n1 [label="λ\\nf64", fillcolor="#dbe9f6", shape=ellipse];',
        '  n2 [label="sin\\nf64", fillcolor="#ffffff"];',
        '  n3 [label="multiply\\nf64", fillcolor="#ffffff"];',
        "  n1 -> n2;",
        "  n0 -> n3;",
        "  n2 -> n3;",
        '  out0 [label="out", shape=plaintext, style=solid];',
        "  n3 -> out0;",
        "}",
    ]
    with pytest.raises(StructureError):
        to_dot([lam], [out], direction="LR; evil")


def test_cost():
    found = cost(ARGS, [ein("ni,n,nj->ij", X, el.sigmoid(y), X)])
    assert found.transcendental == N
    assert found.by_op == {"einsum": N * D + 2 * N * D * D, "sigmoid": 25 * N}
    assert found.bytes_written == 8 * D * D and found.bytes_read == 8 * (N * D + N)
    assert found.workspace is None
    assert "einsum" in str(found) and "720" in str(found)
    chain = cost(ARGS, [ein("ij,jk,k->i", A, B, w)])
    assert chain.flops == 4 * D * D  # right to left


def test_what_is_kept_whole_costs_what_it_consists_of():
    n, k, many = 30, 2, 5
    a = arg(0, (many, n, n), "float64")
    b = arg(1, (many, n, k), "float64")
    found = cost([a, b], [bind("solve", a, b), bind("det", a)])  # one factorisation for both
    assert found.by_op == {"lu_factor": many * 2 * n**3 // 3, "lu_solve": many * 2 * n * n * k,
                           "lu_det": many * n}  # fmt: skip
    rooted = cost([a], [bind("cholesky", a)])
    assert rooted.flops == many * n**3 // 3
    assert cost([X], [bind("softmax", X, attrs=((1,),))]).transcendental == N * D
    assert cost([x], [bind("norm", x, attrs=((0,),))]).flops == 10 + 10 + 5


def random_contraction(rng):
    """An einsum of 6 to 8 distinct factors of rank 1 to 3, with a result of rank 0 to 2."""
    size = [int(n) for n in rng.integers(2, 9, 7)]
    terms = [
        tuple(int(k) for k in rng.choice(7, rng.integers(1, 4), replace=False))
        for _ in range(rng.integers(6, 9))
    ]
    present = sorted({k for t in terms for k in t})
    output = tuple(int(k) for k in rng.choice(present, rng.integers(0, 3), replace=False))
    args = [arg(p, tuple(size[k] for k in t), "float64") for p, t in enumerate(terms)]
    return args, einsum(args, terms, output)


def operations(node):
    """Of one lowered node, from the sizes of its labels."""
    if node.name == "einsum":
        inputs, output = node.attrs
        size = sizes(node.args, inputs)
        return math.prod(size.values()) * (len(inputs) - (set(size) == set(output)))
    if node.name == "sum":
        return node.args[0].size
    return node.size if node.name == "multiply" else 0


@pytest.mark.slow
def test_contractions_cost_what_is_lowered():
    rng = np.random.default_rng(11)
    most = 0
    for _ in range(200):
        args, whole = random_contraction(rng)
        lowered = toposort(split_contractions([whole], HOST_TUNING))
        assert all(len(n.args) <= 2 for n in lowered)
        assert cost(args, [whole]).flops == sum(map(operations, lowered))
        most = max(most, sum(n.name == "einsum" for n in lowered))
    assert most > 4


def test_explain():
    assert explain({}) == "no rule fired"
    text = explain({"log1p": 2, "idle": 0, "merge": 11}, {"merge": "einsum of einsum\nmore"})
    assert text == "merge  ×11  einsum of einsum\nlog1p  ×2"
