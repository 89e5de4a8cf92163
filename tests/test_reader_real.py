"""Formulas of real functions: systems and their Jacobians, graphs near the limit and beyond it.

How long a search takes is told by what it does: nodes, terms and values are counted.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.stats import norm

import symgrad as sg
from forms import adversary, notation
from forms.run import without_conditions
from support.tex import check_latex
from symgrad.expr.walk import toposort
from symgrad.inspect import summary
from symgrad.reader import form, heads

f64 = sg.f64


def graph_of(f, *specs):
    return sg.trace(f, *specs).simplify()


# ---- systems -----------------------------------------------------------------------------------


def lorenz(u, s, r, b):
    x, y, z = u
    return np.array([s * (y - x), x * (r - z) - y, x * y - b * z])


def projected(u, f):
    x, y, z = u
    return np.array([f * x / z, f * y / z])


def oscillator(x, m):
    return np.array([x[1], m * (1 - x[0] ** 2) * x[1] - x[0]])


def quadrotor(s, u):
    m, g, arm, ix, iy, iz = 1.2, 9.81, 0.2, 0.01, 0.01, 0.02
    _, _, _, vx, vy, vz, ph, th, ps, p, q, r = [s[k] for k in range(12)]
    thrust = u[0] + u[1] + u[2] + u[3]
    sin, cos = np.sin, np.cos
    return np.array([
        vx, vy, vz,
        thrust / m * (cos(ph) * sin(th) * cos(ps) + sin(ph) * sin(ps)),
        thrust / m * (cos(ph) * sin(th) * sin(ps) - sin(ph) * cos(ps)),
        thrust / m * cos(ph) * cos(th) - g,
        p + sin(ph) * np.tan(th) * q + cos(ph) * np.tan(th) * r,
        cos(ph) * q - sin(ph) * r,
        sin(ph) / cos(th) * q + cos(ph) / cos(th) * r,
        (iy - iz) / ix * q * r + arm * (u[1] - u[3]) / ix,
        (iz - ix) / iy * p * r + arm * (u[2] - u[0]) / iy,
        (ix - iy) / iz * p * q + 0.01 * (u[0] - u[1] + u[2] - u[3]) / iz,
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("f", "by", "specs", "lines"),
    [
        (oscillator, 0, (f64[2], f64),
         ["out[0,1] = 1", "out[1,0] = −2 m x[0] x[1] − 1", "out[1,1] = m − m x[0]²"]),
        (lorenz, 0, (f64[3], f64, f64, f64),
         ["out[0,0] = −s", "out[0,1] = s", "out[1,0] = r − u[2]", "out[1,1] = −1",
          "out[1,2] = −u[0]", "out[2,0] = u[1]", "out[2,1] = u[0]", "out[2,2] = −b"]),
        (lorenz, 1, (f64[3], f64, f64, f64), ["out = [u[1] − u[0]; 0; 0]"]),
        (projected, 0, (f64[3], f64),
         ["out[0,0] = out[1,1] = f / u[2]", "out[0,2] = −f u[0] / u[2]²",
          "out[1,2] = −f u[1] / u[2]²"]),
    ],
)  # fmt: skip
def test_jacobians_by_elements(f, by, specs, lines):
    """Scalars beside the elements, and Jacobians that are not square."""
    assert graph_of(sg.jacobian(f, by), *specs).formula().splitlines() == lines


@pytest.mark.parametrize("by", [0, 1])
@pytest.mark.slow
def test_a_linearised_quadrotor(by):
    """12 × 12 and 12 × 4, most of them 0: each element that is not."""
    graph = graph_of(sg.jacobian(quadrotor, by), f64[12], f64[4])
    text = graph.formula()
    assert text.startswith("out[") and "concat" not in text
    rng = np.random.default_rng(3)
    point = {"s": rng.normal(size=12), "u": rng.uniform(1, 2, 4)}
    (want,) = graph.evaluate_flat(list(point.values()))
    assert np.allclose(notation.evaluated(text, point, want.shape), want, rtol=1e-10, atol=1e-12)


def toeplitz(x, t):
    rows = np.arange(4)
    return x @ t[np.abs(rows[:, None] - rows)] @ x


def picked(x, t):
    return np.sum(x[np.array([0, 2, 2])] * t[1:])


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (toeplitz, "out = [‖x‖²; 2 (x[0] x[1] + x[1] x[2] + x[2] x[3]); "
                   "2 (x[0] x[2] + x[1] x[3]); 2 x[0] x[3]]"),
        (picked, None),
    ],
)  # fmt: skip
def test_elements_at_known_indices(f, text):
    graph = graph_of(sg.grad(f, 1), f64[4], f64[4])
    shown = graph.formula()
    if text is not None:
        a, _, b = shown.partition("; ")
        assert a == "out = [‖x‖²" and b.endswith("2 x[0] x[3]]")
    rng = np.random.default_rng(3)
    point = {"x": rng.normal(size=4), "t": rng.normal(size=4)}
    (want,) = graph.evaluate_flat(list(point.values()))
    assert "scatter" not in shown
    assert np.allclose(notation.evaluated(shown, point, want.shape), want, rtol=1e-12)


# ---- what a person would write -----------------------------------------------------------------


def black_scholes(S, K, r, s, t):  # noqa: N803
    d1 = (np.log(S / K) + (r + s**2 / 2) * t) / (s * np.sqrt(t))
    d2 = d1 - s * np.sqrt(t)
    return S * norm.cdf(d1) - K * np.exp(-r * t) * norm.cdf(d2)


@pytest.mark.slow
def test_long_arguments_have_the_users_names():
    (first, second) = graph_of(sg.grad(black_scholes), *[f64] * 5).formula().splitlines()
    assert first == "out = Φ(d1)"
    assert second == "  where d1 = (t (r + s² / 2) + log(S / K)) / (s √t)"
    assert "d_{1}" in graph_of(sg.grad(black_scholes), *[f64] * 5).latex()


def test_names_are_free():
    """A name that an argument has is none for a part."""

    def f(d, S, K, s, t):  # noqa: N803
        z = (np.log(S / K) + (d + s**2 / 2) * t) / (s * np.sqrt(t))
        return np.sin(z)

    text = graph_of(sg.grad(f, 4), *[f64] * 5).formula()
    assert text.count("z =") <= 1 and "\n        d =" not in text


@pytest.mark.parametrize(
    ("f", "count", "text"),
    [
        (lambda x: 0.5 * np.log((1 + x) / (1 - x)), 1, "1 / (1 − x²)"),
        (lambda x, a, b: np.sin(a) * np.cos(a + b) * x - np.cos(a) * np.sin(a + b) * x, 3,
         "−sin(b)"),
        (lambda x, a, b: np.cos(a) * np.cos(b) * x + np.sin(a) * np.sin(b) * x, 3, "cos(a − b)"),
        (lambda x, a, b: np.sin(a) * np.sin(b) * x - np.cos(a) * np.cos(b) * x, 3, "−cos(a + b)"),
        (lambda x, a, b: np.sin(a) * np.cos(b) * x + np.cos(a) * np.sin(b) * x, 3, "sin(a + b)"),
        (lambda x: 1.5 * x + 0.045 * x**3, 1, "1.5 + 0.135 x²"),
        (lambda x, r, t: np.exp(-r * t) * norm.cdf(x), 3, "φ(x) exp(−r t)"),
    ],
)  # fmt: skip
def test_forms(f, count, text):
    shown = graph_of(sg.grad(f), *[f64] * count).formula().splitlines()[0]
    assert shown in {"out = " + text, "out = " + " + ".join(reversed(text.split(" + ")))}


def test_conditions_are_told_once():
    def f(u, w, z, b):
        return np.log(np.abs(1 + (1 - np.tanh(w @ z + b) ** 2) * (w @ u)))

    (last,) = graph_of(sg.grad(f), f64[3], f64[3], f64[3], f64).formula().splitlines()[1:]
    assert last.count("≠") == 1


def test_limits_at_roots_are_not_told_beside_their_condition():
    """What the graph has where ‖w‖ = 0 says nothing where ‖w‖ ≠ 0."""
    text = graph_of(sg.hessian(lambda w: (np.linalg.norm(w) - 1) ** 2), f64[3]).formula()
    assert text.splitlines()[-1] == "  for ‖w‖² ≠ 0" and "= 0]" not in text


def test_indicators_are_zero_whatever_stands_beside_them():
    """At c = 0 the quotient has no value, and [c ≥ |r|] is 0."""

    def biweight(r, c):
        inside = c**2 / 6 * (1 - (1 - (r / c) ** 2) ** 3)
        return np.where(np.abs(r) <= c, inside, c**2 / 6)

    assert graph_of(sg.grad(biweight), f64, f64).formula() == "out = r (1 − r² / c²)² [c ≥ |r|]"


# ---- near the limit ----------------------------------------------------------------------------


def arm(q, p):
    """A planar arm of seven links."""
    x = y = a = 0.0
    for k in range(7):
        a = a + q[k]
        x, y = x + np.cos(a), y + np.sin(a)
    return (x - p[0]) ** 2 + (y - p[1]) ** 2


def three_bodies(x):
    masses, energy = [1.0, 0.9, 1.1], 0.0
    for i in range(3):
        for j in range(i):
            d = x[3 * i : 3 * i + 3] - x[3 * j : 3 * j + 3]
            energy = energy - masses[i] * masses[j] / np.sqrt(d @ d)
    return energy


def kalman(q, r, z):
    """Likelihood of five measurements of a random walk."""
    x, p, total = 0.0, 1.0, 0.0
    for k in range(5):
        p = p + q
        s = p + r
        gain, v = p / s, z[k] - x
        total = total + 0.5 * (np.log(s) + v * v / s)
        x, p = x + gain * v, (1 - gain) * p
    return total


def filtered(F, H, Q, R, z):  # noqa: N803
    """Likelihood of measurements of a system with two states."""
    x, P, total = np.zeros(2), np.eye(2), 0.0  # noqa: N806
    for k in range(7):
        x, P = F @ x, F @ P @ F.T + Q  # noqa: N806
        S = H @ P @ H.T + R  # noqa: N806
        v = z[k] - H @ x
        K = P @ H.T @ np.linalg.inv(S)  # noqa: N806
        total = total + 0.5 * (v @ np.linalg.inv(S) @ v + np.linalg.slogdet(S)[1])
        x, P = x + K @ v, (np.eye(2) - K @ H) @ P  # noqa: N806
    return total


def pendulum(x, k):
    def slope(y):
        return np.array([y[1], -k * np.sin(y[0])])

    h = 0.1
    for _ in range(5):
        a = slope(x)
        b = slope(x + h / 2 * a)
        c = slope(x + h / 2 * b)
        x = x + h / 6 * (a + 2 * b + 2 * c + slope(x + h * c))
    return x @ x


def fitted(w, X, t):
    residual = X @ w - t
    scale = 1 + np.sum(residual**2)
    return np.log(scale) + scale**2


REAL = {
    "arm": lambda: graph_of(sg.hessian(arm), f64[7], f64[2]),
    "three bodies": lambda: graph_of(sg.hessian(three_bodies), f64[9]),
    "kalman": lambda: graph_of(sg.grad(sg.grad(kalman)), f64, f64, f64[5]),
    "filter": lambda: graph_of(
        sg.grad(filtered), f64[2, 2], f64[1, 2], f64[2, 2], f64[1, 1], f64[7, 1]
    ),
    "pendulum": lambda: graph_of(sg.grad(pendulum), f64[2], f64),
    "quadrotor": lambda: graph_of(sg.jacobian(quadrotor), f64[12], f64[4]),
    "named": lambda: graph_of(sg.grad(fitted), f64[3], f64[5, 3], f64[5]),
}


def counted(monkeypatch):
    """All values that the work that is left of a budget will have."""
    spent = []

    class Counted(heads.Budget):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "work":
                spent.append(value)

    monkeypatch.setattr(form, "Budget", Counted)
    return spent


@pytest.mark.sample(4)
@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_search_ends_by_its_steps(name, monkeypatch):
    """Its work stays far below what is allowed."""
    graph = REAL[name]()
    count = len(toposort(graph.outs))
    assert count <= form.MOST_NODES and (count > 350 or name in ("quadrotor", "named"))
    spent = counted(monkeypatch)
    told = graph.formula()
    comparison = spent.index(form.OF_COMPARISON) if form.OF_COMPARISON in spent else len(spent)
    assert min(spent[:comparison]) > form.WORK / 2
    assert min(spent[comparison:], default=form.OF_COMPARISON) > form.OF_COMPARISON / 2
    assert name != "named" or "residual = X w − t" in told


@pytest.mark.parametrize("name", ["three bodies", "quadrotor"])
@pytest.mark.parametrize("limit", ["WORK", "OF_COMPARISON"])
@pytest.mark.quick(1)
def test_a_search_stops_when_its_work_is_done(name, limit, monkeypatch):
    """No clock is asked, so that a slow machine prints the same. It counts all the time, and does
    hardly anything once the count is up."""
    graph = REAL[name]()
    spent = counted(monkeypatch)
    monkeypatch.setattr(form, limit, 300)
    assert "where" in graph.formula()
    assert min(spent) < 0 and sum(value < 0 for value in spent) < 40
    assert min(spent) > -2 * form.MOST_NODES


# ---- beyond it ---------------------------------------------------------------------------------


def long_arm(q, lengths, p):
    x = y = a = 0.0
    for k in range(9):
        a = a + q[k]
        x, y = x + lengths[k] * np.cos(a), y + lengths[k] * np.sin(a)
    return (x - p[0]) ** 2 + (y - p[1]) ** 2


@pytest.fixture(scope="module")
def large():
    return graph_of(sg.hessian(long_arm), f64[9], f64[9], f64[2])


def test_large_graphs_have_a_summary(large):
    lines = large.formula().splitlines()
    assert len(lines) <= summary.LINES + 2
    (left,) = [line for line in lines if "definitions left out" in line]
    shown = sum(" = " in line for line in lines) - 1
    everything = large.formula("code").splitlines()
    count = int(left.split()[1])
    whole = sum(" = " in line for line in everything) - 1
    (hidden,) = [int(line.split()[1]) for line in everything if "definitions left out" in line]
    assert count + shown == whole + hidden
    told = lines[-1]
    assert told.startswith(f"  (summary of the code's form: {len(large.nodes)} operations, ")
    assert "multiply" in told and told.endswith("; of q, lengths, p)")
    counted = sum(int(w) for w in told.split("500: ")[1].split() if w.isdigit())
    assert counted == sum(bool(n.args) for n in large.nodes)


def test_summaries_as_latex_and_in_notebooks(large):
    check_latex(large.latex())
    assert "definitions left out" in large.latex()
    page = large._repr_html_()
    assert "definitions left out" in page and "operations, where formulas are shortened" in page
    assert large.latex("code") != large.latex()


@pytest.mark.slow
def test_small_graphs_have_no_summary():
    assert "summary" not in graph_of(sg.grad(three_bodies), f64[9]).formula()


# ---- random functions --------------------------------------------------------------------------


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("start", [300, 310, 320, 1000])
def test_random_functions_are_shown_right(start):
    with mpmath.workdps(adversary.DIGITS):
        for seed in range(start, start + (100 if start == 1000 else 10)):
            verdict, text, shown, told = adversary.judged(seed)
            assert verdict != "wrong", f"{seed}: {text}\n{shown}\n{told}"


@pytest.mark.parametrize(
    ("text", "shown", "point"),
    [
        ("x**3", "out = 3 x", {"x": 2.0}),
        ("np.log(x)", "out = 1 / x²", {"x": 3.0}),
        ("np.abs(x)", "out = [x > 0]", {"x": -1.0}),
        ("np.exp(-x) * x", "out = exp(−x) (x − 1)", {"x": 0.5}),
    ],
)
def test_wrong_formulas_are_found(text, shown, point):
    """The comparison itself can fail."""
    f = adversary.made(text, ["x"], text)
    graph = graph_of(sg.grad(f), f64)
    with mpmath.workdps(adversary.DIGITS):
        assert adversary._differs(graph, shown, text, point, ("x", 1))
        assert adversary._differs(graph, shown, text, point, False)
        right = without_conditions(graph.formula())
        assert not adversary._differs(graph, right, text, point, ("x", 1))
