"""Second derivatives where one of several roots is 0 and what it is multiplied by has all of them.

Each function of roots r is even in every r_i, so it is the same smooth function of x where
r = |x|: JAX differentiates that, which has no root.
"""

from __future__ import annotations

import functools
import math
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import LimitWarning

jax.config.update("jax_enable_x64", True)
ROOTS = {
    "abs": np.abs,
    "sqrt": lambda x: np.sqrt(x**2),
    "norm": lambda x: np.linalg.norm(np.stack([x, 0 * x]), axis=0),
}
WEIGHTS = np.arange(9.0).reshape(3, 3)


def cosh(m, r):
    """Not by name: no rule knows that this is even, and |x| stays in it."""
    return (m.exp(r) + m.exp(-r)) / 2


def solved(m, r):
    matrix = m.diag(cosh(m, r)) + 0.1 * m.outer(m.cos(r), m.cos(r))
    return m.sum(m.linalg.solve(matrix, m.ones(3)) * cosh(m, r))


COUPLED = {
    "square of a sum": lambda m, r: m.sum(cosh(m, r)) ** 2,
    "product": lambda m, r: m.prod(cosh(m, r)),
    "reversed": lambda m, r: m.sum(m.cos(r) * cosh(m, r[::-1])),
    "rolled": lambda m, r: m.sum(m.cos(r) * cosh(m, m.roll(r, 1))),
    "neighbours": lambda m, r: m.sum(cosh(m, r[1:]) * cosh(m, r[:-1])) + m.sum(cosh(m, r)),
    "joined": lambda m, r: m.sum(cosh(m, m.concatenate([r, r[:2]])) * m.arange(5.0)),
    "taken": lambda m, r: m.sum(m.cos(r[np.array([2, 0, 1])]) * cosh(m, r) * m.arange(3.0)),
    "taken twice": lambda m, r: m.sum(cosh(m, r[np.array([2, 0, 2, 1])]) * m.arange(4.0)),
    "stacked": lambda m, r: m.sum(cosh(m, m.stack([r[0], r[1]])) * m.arange(2.0)) * r[2] ** 2,
    "running sum": lambda m, r: m.sum(m.cos(r) * m.cumsum(cosh(m, r))),
    "outer product": lambda m, r: m.sum(m.outer(m.cos(r), cosh(m, r)) ** 2),
    "pairs": lambda m, r: m.sum(m.cos(r[:, None]) * cosh(m, r[None, :]) * WEIGHTS),
    "bilinear": lambda m, r: m.cos(r) @ WEIGHTS @ cosh(m, r),
    "logsumexp": lambda m, r: m.log(m.sum(m.exp(cosh(m, r)))),
    "norm of all": lambda m, r: m.sqrt(1 + m.sum(cosh(m, r) ** 2)),
    "column": lambda m, r: m.sum(m.cos(r.reshape(3, 1)) * m.sum(cosh(m, r))),
    "solve": solved,
}
POINTS = [np.array(p) for p in ([0.0, 1.0, 2.0], [0.0, 0.0, 0.7], [0.5, 0.0, 0.0], [0.0] * 3)]


@functools.cache
def smooth(name):
    return jax.jit(jax.hessian(lambda x: COUPLED[name](jnp, x)))


@pytest.mark.sample(37)
@pytest.mark.quick(3)
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("name", COUPLED)
def test_hessians(name, root):
    """They were those of a function all of whose roots are 0."""
    derived = sg.trace(sg.hessian(lambda x: COUPLED[name](np, ROOTS[root](x))), POINTS[0])
    derived = derived.simplify()
    for x in POINTS:
        np.testing.assert_allclose(derived.evaluate(x), smooth(name)(x), rtol=1e-9, atol=1e-9)


def test_a_kernel_of_distances():
    """(Σ m(|x_i|))² with m(r) = (1 + r) exp(-r); m'(0) = 0, m''(0) = -1: a closed form."""
    total = lambda x: np.sum((1 + np.abs(x)) * np.exp(-np.abs(x)))
    x = np.array([0.0, 1.0, 2.0])
    first = -x * np.exp(-x)
    exact = 2 * np.outer(first, first) + 2 * total(x) * np.diag((x - 1) * np.exp(-x))
    assert exact[0, 0] == pytest.approx(-4.2835, rel=1e-4)  # was -6
    found = sg.trace(sg.hessian(lambda x: total(x) ** 2), x).evaluate(x)
    np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e-15)


@pytest.mark.slow
def test_what_is_held_is_not_computed_at_roots_that_are_zero():
    """A matrix that is definite where it is needed, and was factorised where it is not."""

    def f(m, a, x):
        v = m.cos(x / m.sqrt(0.2 + m.sum(x**2)))
        w = m.sin(a.T @ a) * v
        return m.sum(m.linalg.cholesky(w.T @ w / 5 + 1.5 * m.eye(2)))

    a, x = np.zeros((0, 2)), np.array([0.3, -0.4])
    found = sg.compile(sg.hessian(lambda x: f(np, a, x)), sg.f64[2])(x)
    theirs = jax.hessian(lambda x: f(jnp, a, x))(x)
    np.testing.assert_allclose(found, theirs, rtol=1e-9, atol=1e-12)


ALONG = np.array([1.0, -2.0, 3.0])


def higher(module, numpy, f, modes):
    """A derivative along ALONG more for each mode: gradients of products (r), products (f)."""
    g = module.grad(f)
    for mode in modes:
        inner = g
        if mode == "r":
            g = module.grad(lambda x, inner=inner: numpy.sum(inner(x) * ALONG))
        else:
            g = lambda x, inner=inner: module.jvp(inner, (x,), (ALONG,))[1]
    return g


@functools.cache
def higher_of_smooth(name, modes):
    return jax.jit(higher(jax, jnp, lambda x: COUPLED[name](jnp, x), modes))


@pytest.mark.sample(12)
@pytest.mark.filterwarnings("ignore::symgrad.errors.LimitWarning")  # values are right with it too
@pytest.mark.slow
@pytest.mark.parametrize("root", ["abs", "norm"])
@pytest.mark.parametrize("name", COUPLED)
def test_third_derivatives(name, root):
    """Slopes had limits where they are read through a roll before they met what vanishes there."""
    for modes in ("rr", "rf", "fr", "ff") if root == "abs" else ("rr", "ff"):
        f = lambda x: COUPLED[name](np, ROOTS[root](x))
        derived = sg.trace(higher(sg, np, f, modes), POINTS[0]).simplify()
        for x in POINTS:
            np.testing.assert_allclose(
                derived.evaluate(x),
                higher_of_smooth(name, "rr")(x),
                rtol=1e-7,
                atol=1e-7,
                err_msg=modes,
            )


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["neighbours", "stacked", "square of a sum", "pairs"])
def test_fourth_derivatives_are_right_or_said_not_to_be(name):
    """Those of `neighbours` and `stacked` are wrong by reverse mode three times."""
    for modes in ("rrr", "ffr"):
        f = lambda x: COUPLED[name](np, np.abs(x))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            derived = sg.trace(higher(sg, np, f, modes), POINTS[0]).simplify()
        assert all(w.category is LimitWarning for w in said)
        for x in POINTS:
            found, right = derived.evaluate(x), higher_of_smooth(name, modes)(x)
            assert said or np.allclose(found, right, rtol=1e-7, atol=1e-7)


def test_a_limit_that_is_left_out_is_said():
    def far(x):  # more nodes on one root than limits are searched among
        y = r = np.sqrt(x @ x)
        for _ in iter([0] * 160):
            y = np.sin(y) + r
        return y

    with pytest.warns(LimitWarning, match="over 300 nodes are above the root") as said:
        sg.trace(sg.grad(lambda x: np.sum(sg.grad(far)(x))), sg.f64[2])
    assert {w.filename for w in said} == {__file__}


# Squares of roots that differ, and an even function of all roots that couples them.
SQUARES = [
    "X[:1]**2", "X[1:2]**2", "X[:1]**2 + X[2:]**2", "X[1:2]**2 + 2*X[2:]**2", "X**2", "X[:2]**2",
    "X[::-1]**2 + X**2", "(X[1:] - X[:-1])**2", "X[0]**2 * M.ones(2)",
    "M.stack([X[0]**2, X[2]**2 + X[1]**2])",
]  # fmt: skip
AS_ROOTS = {
    "X[:1]**2": "np.abs(X[:1])", "X**2": "np.abs(X)",
    "(X[1:] - X[:-1])**2": "np.abs(X[1:] - X[:-1])",
    "X[:1]**2 + X[2:]**2": "np.hypot(X[:1], X[2:])", "X[::-1]**2 + X**2": "np.hypot(X[::-1], X)",
}  # fmt: skip
EVEN = {  # of a root, and the same of its square
    "cosh": (lambda r: (np.exp(r) + np.exp(-r)) / 2, lambda q: series(q, 1, 0)),
    "cos": (np.cos, lambda q: series(q, -1, 0)),
    "r sin r": (lambda r: r * np.sin(r), lambda q: q * series(q, -1, 1)),
    "square": (lambda r: r**2, lambda q: q),
    "bell": (lambda r: np.exp(-r * r), lambda q: jnp.exp(-q)),
    "rational": (lambda r: 1 / (1 + r**2), lambda q: 1 / (1 + q)),
}
COUPLINGS = [
    "M.sum(A * B[::-1])", "M.sum(A * M.roll(B, 1))", "M.sum(A) * M.sum(B)", "M.prod(A) + M.sum(B)",
    "M.sum(M.cumsum(A) * B)", "M.sum(M.outer(A, B)) + A[0] * B[-1]", "M.sum((A[1:] - B[:-1])**2)",
    "M.sqrt(1 + M.sum(A * A)) * M.sum(B)", "M.log(M.sum(M.exp(A)))", "M.sum(A)**3",
    "M.sum(M.where(M.arange(len(A)) % 2 == 0, A, B) * A)",
    "M.sum(A[I % len(A)] * B[I[::-1] % len(A)])",
]  # fmt: skip


def series(q, sign, odd):
    """Σ (±q)ᵏ / (2k + odd)!, of a cosine or of sin(r)/r."""
    return sum((sign * q) ** k / float(math.factorial(2 * k + odd)) for k in range(13))


def joined(seed):
    """Text of a function of joined roots: with NumPy, and with JAX of their squares."""
    rng = np.random.default_rng(seed)
    squares = [SQUARES[k] for k in rng.integers(len(SQUARES), size=rng.integers(1, 5))]
    forms = [[f"np.sqrt({s})", f"np.sqrt(np.maximum({s}, 0))", AS_ROOTS.get(s, f"np.sqrt({s})")]
             for s in squares]  # fmt: skip
    roots = [form[rng.integers(3)].replace("M.", "np.") for form in forms]
    first, second = rng.choice(list(EVEN), 2)
    coupling = COUPLINGS[rng.integers(len(COUPLINGS))]
    index = np.array([0, 4, 1]) + rng.integers(5)

    def made(module, which, parts):
        whole = f"M.concatenate([{', '.join(parts)}])"
        text = f"lambda X: (lambda A, B: {coupling})(*[e({whole}) for e in E])"
        functions = [EVEN[first][which], EVEN[second][which]]
        return eval(text, {"np": np, "M": module, "I": index, "E": functions})

    return made(np, 0, roots), made(jnp, 1, squares), (coupling, first, second, roots)


JOINED_POINTS = [*POINTS, np.array([0.4, 0.4, 0.2]), np.array([0.3, 0.0, 0.8])]
SECOND = {
    "ff": lambda f: sg.jacfwd(sg.jacfwd(f)),
    "fr": sg.hessian,
    "rr": lambda f: sg.jacrev(sg.grad(f)),
}
THIRD = {modes: lambda f, modes=modes: higher(sg, np, f, modes) for modes in ("rr", "ff", "rf")}


def evaluated(derived):
    return sg.trace(derived, POINTS[0]).simplify().evaluate


@pytest.mark.sample(1)
@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_hessians_of_joined_roots(block):
    """Most were wrong, in silence, when slopes were only looked for."""
    for seed in range(2 * block, 2 * block + 2):
        f, g, text = joined(seed)
        right = jax.jit(jax.hessian(g))
        found = {mode: evaluated(make(f)) for mode, make in SECOND.items()}
        if block < 2:
            found["scalar form"] = sg.compile(sg.hessian(f), sg.f64[3], scalar=True)
        for mode, of in found.items():
            for x in JOINED_POINTS:
                np.testing.assert_allclose(
                    of(x), right(x), rtol=1e-7, atol=1e-7, err_msg=f"{mode} {text}"
                )


@pytest.mark.slow
def test_a_derivative_of_a_graph_that_is_one():
    """It lacks limits, as it was made before anybody wanted them, and says so."""
    f, g, _ = joined(1)
    graph = sg.trace(lambda x: sg.grad(f)(x) @ ALONG, POINTS[0])
    with pytest.warns(LimitWarning, match="trace the whole derivative"):
        found = graph.grad()
    x = np.array([0.4, 0.5, 0.2])  # no root is 0 there
    np.testing.assert_allclose(found.evaluate(x), jax.hessian(g)(x) @ ALONG, rtol=1e-9)
    single = sg.trace(lambda x: sg.grad(lambda x: cosh(np, np.abs(x)))(x), 0.0)
    assert single.grad().evaluate(0.0) == 1  # of one number nothing is missed


@pytest.mark.slow
def test_a_clamped_square_that_is_not_known_to_be_one():
    """max(|x|² + |y|² - 2 x·y, 0), as pairwise distances are written: half of it at a tie."""

    def kernel(x):
        products = x @ x.T
        squares = np.diag(products)
        d2 = squares[:, None] + squares[None, :] - 2 * products
        r = np.sqrt(np.maximum(d2, 0))
        return np.sum((1 + r) * np.exp(-r))

    # (1 + r) exp(-r) = 1 - r²/2 + …, twice for each pair: -|x - y|²
    exact = jax.hessian(lambda x: -jnp.sum((x[0] - x[1]) ** 2))
    x = np.array([[1.0, 2.0], [1.0, 2.0]])
    for derived in (sg.hessian(kernel), sg.jacfwd(sg.jacfwd(kernel)), sg.jacrev(sg.grad(kernel))):
        found = sg.trace(derived, x).evaluate(x)
        np.testing.assert_allclose(found, exact(x), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_forward_mode_of_several_types_and_of_integers():
    """Reverse mode, transposed: it met results that are no floats, and sums of two types."""

    def parts(m, x, y):
        r = m.abs(x)
        first = m.sum(m.cos(r) * y) + m.sum(y**2) * m.sum(r * m.sin(r))
        return first, m.argmax(x), y * m.sum(m.cos(r))

    def total(s, m):
        def f(x, y):
            ones = m.ones(3), m.ones(3, dtype=m.float32)
            tangents = s.jvp(lambda x, y: parts(m, x, y), (x, y), ones)[1]
            return m.sum(tangents[0]) + m.sum(tangents[2] * y)

        return f

    x, y = np.array([1e-9, 0.5, -0.3]), np.array([1.0, 2.0, 3.0], np.float32)
    right = jax.grad(total(jax, jnp), argnums=(0, 1))(x, y)  # beside 0, where |x| has no kink
    found = sg.trace(sg.grad(total(sg, np), argnums=(0, 1)), x, y).evaluate(x * [0, 1, 1], y)
    for a, b in zip(found, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_a_root_that_has_an_argument_twice():
    """cosh(hypot(x, x)) = cosh(√2 x)."""
    derived = sg.hessian(lambda x: np.sum(cosh(np, np.hypot(x, x))) ** 2)
    x = np.array([0.0, 0.4])
    right = jax.hessian(lambda x: jnp.sum(jnp.cosh(math.sqrt(2) * x)) ** 2)(x)
    np.testing.assert_allclose(sg.trace(derived, x).evaluate(x), right, rtol=1e-12, atol=1e-12)


def wrong(makes, right, seed):
    """Whether a derivative is wrong somewhere, and whether that is said each time."""
    f, g, _ = joined(seed)
    exact, bad, silent = jax.jit(right(g)), False, False
    for make in makes.values():
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            of = evaluated(make(f))
        if not all(np.allclose(of(x), exact(x), rtol=1e-6, atol=1e-7) for x in JOINED_POINTS):
            bad, silent = True, silent or all(w.category is not LimitWarning for w in told)
    return bad, silent


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    for name, makes, right in (
        ("Hessians", SECOND, jax.hessian),
        ("third derivatives", THIRD, lambda g: higher(jax, jnp, g, "rr")),
    ):
        found = [wrong(makes, right, seed) for seed in range(count)]
        bad, silent = (sum(column) for column in zip(*found, strict=True))
        print(f"{name}: {bad} of {count} functions wrong, {silent} in silence", flush=True)
