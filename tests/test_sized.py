"""Sizes with names: formulas that hold for every size, and errors where there is none.

The oracle is the complex step at sizes that no trace had.
"""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from forms import notation, run
from symgrad.errors import ShapeError

f64 = sg.f64


def ridge(w, X, y, c):
    return np.mean((X @ w - y) ** 2) + c * w @ w


def logistic(w, X, y):
    return np.mean(np.log(1 + np.exp(-y * (X @ w))))


def attention(q, K, v):
    s = np.exp(K @ q / np.sqrt(K.shape[1]))
    return s @ v / np.sum(s)


def normal(s, x):
    return np.sum(np.log(s) + 0.5 * (x / s) ** 2)


def two_parts(x, y):
    return np.sum(np.concatenate([x**2, 3 * y])) / (x.shape[0] + y.shape[0])


CASES = [
    (ridge, [("d",), ("n", "d"), ("n",), ()], "2 Xᵀ (X w − y) / n + 2 c w"),
    (logistic, [("d",), ("n", "d"), ("n",)], "−Xᵀ (y ⊙ σ(−y ⊙ X w)) / n"),
    (lambda x: np.sum((x - np.mean(x)) ** 2) / (x.shape[0] - 1), [("n",)], None),
    (lambda x: np.sqrt(np.mean(x**2)), [("n",)], None),
    (attention, [("d",), ("n", "d"), ("n",)], None),
    (normal, [(), ("n",)], "n / s − ‖x‖² / s³"),
    (two_parts, [("n",), ("m",)], "2 x / (m + n)"),
    (lambda x: np.sum((x[1:] - x[:-1] ** 2) ** 2), [("n",)], None),
    (lambda x: np.sum(x * np.log(x)) / np.log(x.shape[0]), [("n",)], "(1 + log(x)) / log(n)"),
    (lambda x: sum(x[i] ** 3 for i in range(x.shape[0])), [("n",)], "3 x²"),
]


def specs(shapes):
    return [f64[s] if s else f64 for s in shapes]


@pytest.mark.parametrize(("f", "shapes", "wanted"), CASES, ids=range(len(CASES)))
@pytest.mark.quick(2)
def test_formulas_hold_at_other_sizes(f, shapes, wanted):
    text = sg.trace(sg.grad(f), *specs(shapes)).simplify().formula()
    assert "code's form" not in text
    if wanted is not None:
        assert text == f"out = {wanted}"
    rng = np.random.default_rng(3)
    sizes = {"n": 7, "d": 4, "m": 5}
    point = [rng.uniform(0.3, 2, [sizes[n] for n in s]) for s in shapes]
    want = np.zeros(point[0].shape)
    for k in np.ndindex(want.shape):
        step = [p.astype(complex) for p in point]
        step[0][k] += 1e-30j
        want[k] = f(*step).imag / 1e-30
    names = f.__code__.co_varnames[: f.__code__.co_argcount]
    known = dict(zip(names, point, strict=True)) | {k: np.float64(v) for k, v in sizes.items()}
    told = run.without_conditions(text)
    for n, size in sizes.items():  # positions are numbers to the reader of texts
        for k in range(3, -1, -1):
            told = told.replace(f"[{n}−{k}]" if k else f"[{n}]", f"[{size - k}]")
            told = told.replace(f"< {n}−{k}" if k else f"< {n}\n", f"< {size - k}\n")
    got = notation.evaluated(told.replace("\n\n", "\n"), known, want.shape)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def test_listing_and_latex():
    graph = sg.trace(ridge, *specs(CASES[0][1])).grad("w").simplify()
    assert str(graph).splitlines()[0] == (
        "ridge_grad(w: f64[d], X: f64[n, d], y: f64[n], c: f64) -> f64[d]:"
    )
    assert "1 / n" in str(graph)
    assert r"{n}" in graph.latex()
    assert graph._repr_latex_().startswith("$")
    assert repr(graph) == "<SizedGraph ridge_grad of d, n>"


def test_bands_count_from_the_ends():
    def springs(x):
        return 0.5 * np.sum((x[1:] - x[:-1]) ** 2)

    graph = sg.trace(sg.hessian(springs), f64["n"]).simplify()
    assert graph.formula().splitlines() == [
        "out[i,i] = 2  for 0 < i < n−1",
        "out[i,i+1] = out[i+1,i] = −1",
        "out[0,0] = out[n−1,n−1] = 1",
    ]


@pytest.mark.parametrize(
    ("f", "told"),
    [
        (lambda x: x[0] if x.shape[0] > 14 else x[1], "depends on n"),
        (lambda x: np.sum(x) * np.sin(x.shape[0]), "the constants"),
        (lambda x: np.sum(x) * (3.0 if x.shape[0] % 3 == 1 else 5.0), "depends on n"),
        (lambda n: np.sum(n), "'n' is an argument and a size"),
    ],
)
def test_what_depends_on_sizes_is_refused(f, told):
    with pytest.raises(ShapeError, match=told):
        sg.trace(f, f64["n"]).simplify().formula()


@pytest.mark.parametrize(
    "use",
    [
        lambda f, *s: sg.compile(f, *s),
        lambda f, *s: sg.compile(sg.sparse_hessian(f), *s),
        lambda f, *s: sg.trace(f, *s)(1.0),
        lambda f, *s: sg.jit(f)(*s),
        lambda f, *s: sg.Spec.of(s[0]),
    ],
)
def test_code_needs_numbers(use):
    with pytest.raises((ShapeError, TypeError), match="number"):
        use(lambda x: np.sum(x * x), f64["n"])


def test_names_of_sizes():
    assert f64["n", 3].at({"n": 5}) == f64[5, 3]
    assert repr(f64["n", 3]) == "f64['n', 3]"
    for bad in ("n 1", "", "2n"):
        with pytest.raises(ShapeError, match="name such as"):
            f64[bad]
    with pytest.raises(ShapeError, match="at most 4"):
        sg.trace(lambda x: x, f64["a", "b", "c", "d", "e"])
