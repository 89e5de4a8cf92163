"""Dense derivatives of functions whose parameters are packed in one array, against JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symgrad as sg
from symgrad.compiled import Compiled
from symgrad.diff.pieces import in_pieces
from symgrad.expr.evaluate import check

jax.config.update("jax_enable_x64", True)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3))
T = RNG.normal(size=5)
SOME = np.array([4, 1, 2, 2, 0])


def net(m, p):
    """One hidden layer."""
    W, b, v, c = p[:12].reshape(3, 4), p[12:16], p[16:20], p[20]
    return m.mean((m.tanh(X @ W + b) @ v + c - T) ** 2)


def deep(m, p):
    """Two hidden layers, one with a branch and one with a quotient."""
    U, a, V, b, w = p[:6].reshape(3, 2), p[6:8], p[8:12].reshape(2, 2), p[12:14], p[14:16]
    z = X @ U + a
    h = m.where(z > 0, z**2, 0.1 * z) @ V + b
    return m.sum((h / (1 + m.exp(-h))) @ w)


def with_bias_row(m, p):
    """Weights and bias stacked to one matrix."""
    W = m.concatenate([p[:6].reshape(3, 2), p[6:8].reshape(1, 2)])
    x = np.concatenate([X, np.ones((5, 1))], axis=1)
    return m.sum(m.exp(0.3 * m.sin(x @ W)) @ p[8:10])


def unrolled(m, p):
    """A recurrent net: the same weights at every step."""
    W, v = p[:9].reshape(3, 3), p[9:12]
    h = 0.1 * X[0]
    for x in X[1:4]:
        h = m.tanh(h @ W + x * v)
    return m.sum(h**2)


def attention(m, p):
    Q, K = p[:6].reshape(3, 2), p[6:12].reshape(3, 2)
    e = m.exp((X @ Q) @ (X @ K).T)
    return m.sum((e / m.sum(e, axis=1, keepdims=True)) @ X)


# name: (function of namespace and parameters, shape of these)
LAYOUTS = {
    "net": (net, (21,)),
    "two hidden layers": (deep, (16,)),
    "bias as a row": (with_bias_row, (10,)),
    "recurrent": (unrolled, (12,)),
    "attention": (attention, (12,)),
    "with a penalty": (lambda m, p: net(m, p) + 0.1 * m.sum(p**2), (21,)),
    "with a penalty on the weights": (lambda m, p: net(m, p) + m.sum(p[:12] ** 4), (21,)),
    "used whole": (lambda m, p: m.sum(m.sin(X @ p[:6].reshape(3, 2))) * m.sum(m.exp(p)), (8,)),
    "overlapping": (
        lambda m, p: m.sum(m.sin(X @ p[:6].reshape(3, 2)) @ m.cos(p[4:6])) * m.exp(p[5]), (8,)),
    "a view of a view": (
        lambda m, p: m.sum(m.sin(X @ p[:6].reshape(3, 2)) * p[:6].reshape(3, 2)[1, ::-1]), (6,)),
    "read twice": (
        lambda m, p: m.sum(m.sin(X @ p[:6].reshape(3, 2)) @ p[:6].reshape(2, 3)), (6,)),
    "strided": (lambda m, p: m.sum(m.sin(X @ p[::2].reshape(3, 2)) @ m.cos(p[1:4:2])), (12,)),
    "backwards": (lambda m, p: m.sum(m.sin(X @ p[5::-1].reshape(3, 2)) @ p[:-3:-1]), (9,)),
    "transposed": (lambda m, p: m.sum(m.sin(X @ p[1:7].reshape(2, 3).T) @ p[7:]), (9,)),
    "by index": (lambda m, p: m.sum(m.sin(p[SOME]) * p[3:8]) + m.prod(p[:2]), (8,)),
    "scalars": (lambda m, p: m.sin(p[0] * p[1]) * m.exp(p[2]) + p[3], (4,)),
    "many scalars": (lambda m, p: sum(m.sin(p[k] * p[k + 1]) for k in range(23)), (24,)),
    "neighbours": (
        lambda m, p: m.sum(100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2), (7,)),
    "a matrix": (
        lambda m, p: m.sum(m.sin(X @ p[:, :2]) @ p[1, 1:]) + m.sum(m.cos(p.reshape(-1))), (3, 3)),
    "rows of a matrix": (lambda m, p: m.sum(m.sin(X @ p[:3]) @ m.tanh(p[3:])), (5, 2)),
    "not read": (lambda m, p: m.sum(m.sin(p[2:5].reshape(3, 1)) ** 2), (8,)),
}  # fmt: skip


def parameters(shape):
    return 0.5 * np.random.default_rng(1).normal(size=shape)


def agree(ours, theirs, *args):
    """The graph, the simplified graph and compiled C, against JAX."""
    expected = jax.tree.leaves(jax.jit(theirs)(*args))
    graph = sg.trace(ours, *args)
    simple = graph.simplify()
    check([*graph.outs, *simple.outs])
    for result in (graph.evaluate(*args), simple.evaluate(*args), Compiled(simple)(*args)):
        for a, b in zip(jax.tree.leaves(result), expected, strict=True):
            assert np.shape(a) == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.sample(8)
@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_hessian(name):
    f, shape = LAYOUTS[name]
    p = parameters(shape)
    ours, theirs = (lambda p: f(np, p)), jax.hessian(lambda p: f(jnp, p))
    agree(lambda p: (sg.hessian(ours)(p), sg.jacfwd(sg.grad(ours))(p), sg.jacrev(sg.grad(ours))(p)),
          lambda p: (theirs(p),) * 3, p)  # fmt: skip


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["net", "overlapping", "backwards", "by index", "a matrix"])
def test_in_other_transformations(name):
    f, shape = LAYOUTS[name]
    ps, q = parameters((2, *shape)), parameters(shape)

    def ours(p):
        return f(np, p)

    def theirs(p):
        return f(jnp, p)

    agree(sg.vmap(sg.hessian(ours)), jax.vmap(jax.hessian(theirs)), ps)
    agree(
        sg.grad(lambda p: np.sum(np.sin(sg.hessian(ours)(p)) * q.reshape(-1)[0])),
        jax.grad(lambda p: jnp.sum(jnp.sin(jax.hessian(theirs)(p)) * q.reshape(-1)[0])),
        q,
    )
    agree(
        sg.jacobian(lambda p: sg.hvp(ours, p, q)),
        jax.jacfwd(lambda p: jax.jvp(jax.grad(theirs), (p,), (q,))[1]),
        q,
    )


def vector(m, p):
    """A vector from packed parameters, packed itself."""
    W, b = p[:6].reshape(3, 2), p[6:8]
    h = m.tanh(X @ W + b)
    return m.concatenate([h.reshape(-1)[::-1], (h.T @ X).reshape(-1), m.sin(b)])


@pytest.mark.parametrize("way", ["jacfwd", "jacrev"])
@pytest.mark.quick(1)
def test_jacobian(way):
    p = parameters(10)
    ours = getattr(sg, way)(lambda p: vector(np, p))
    agree(ours, getattr(jax, way)(lambda p: vector(jnp, p)), p)


@pytest.mark.slow
def test_several_arguments():
    p, q = parameters(8), parameters((2, 3))

    def f(m, args, s):
        W, v = args["p"][:6].reshape(3, 2), args["p"][6:]
        return m.sum(m.tanh(X @ W) @ v * s) + m.sum(args["q"][0] * m.sin(args["p"][2:5])) * s

    def ours(args, s):
        return f(np, args, s)

    def theirs(args, s):
        return f(jnp, args, s)

    args = {"p": p, "q": q}
    agree(sg.hessian(ours), jax.hessian(theirs), args, 0.7)
    agree(sg.hessian(ours, (0, 1)), jax.hessian(theirs, (0, 1)), args, 0.7)
    swapped = jax.jacobian(jax.grad(theirs, (0, 1)), (1, 0))
    agree(sg.jacobian(sg.grad(ours, (0, 1)), (1, 0)), swapped, args, 0.7)


@pytest.mark.slow
def test_float32():
    p = parameters(21).astype(np.float32)
    h = sg.hessian(lambda p: net(np, p))(p)
    np.testing.assert_allclose(h, jax.hessian(lambda p: net(jnp, p))(p), rtol=2e-4, atol=2e-5)


def test_blocks_have_the_dtypes_of_their_gradients():
    def f(a, b, c):
        return np.sum(np.sin(a[:2]) * a[1:]) * np.sum(np.exp(b[1:] * b[0])) + np.sum(c * 2.0)

    args = np.ones(3, np.float32), np.full(4, 0.5), np.ones(2, np.float32)
    blocks = sg.hessian(f, (0, 1, 2))(*args)
    expected = sg.jacfwd(sg.grad(f, (0, 1, 2)), (0, 1, 2))(*args)
    for row, others in zip(blocks, expected, strict=True):
        for block, other in zip(row, others, strict=True):
            assert block.dtype == other.dtype and block.shape == other.shape
            np.testing.assert_allclose(block, other, rtol=1e-5)


@pytest.mark.sample(8)
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_random_layouts(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 15))
    views = []
    for _ in range(int(rng.integers(1, 5))):
        start, stop = sorted(int(k) for k in rng.integers(0, n + 1, size=2))
        step = int(rng.choice([1, 1, 1, 2, -1, -2]))
        at = slice(start, stop, step) if step > 0 else slice(n - 1 - start, None, step)
        k = len(range(n)[at])
        shape = (k // 2, 2) if k % 2 == 0 and rng.random() < 0.7 else (k,)
        views.append((at, shape, bool(rng.random() < 0.4), float(rng.normal())))
    whole = rng.random() < 0.3

    def f(m, p):
        total = m.sum(m.sin(p)) if whole else 0 * p[0]
        for at, shape, transposed, c in views:
            v = p[at].reshape(shape)
            v = v.T if transposed else v
            total = total * m.cos(m.sum(v)) + c * m.sum(m.tanh(v @ (v.T if v.ndim == 2 else v)))
        return total

    p = parameters(n)
    agree(sg.hessian(lambda p: f(np, p)), jax.hessian(lambda p: f(jnp, p)), p)


def pieces_of(f, shape):
    graph = sg.trace(f, sg.f64[shape]).simplify()
    _, (pieces,) = in_pieces(graph.outs, graph.args)
    return sorted(p.variable.shape for p in pieces), pieces[0].view is graph.args[0]


def test_pieces():
    assert pieces_of(lambda p: net(np, p), (21,)) == ([(), (3, 4), (4,), (4,)], False)
    assert pieces_of(lambda p: np.sum(p[:4]) * np.sin(p[4]), (5,))[0] == [(), (4,)]
    # one piece for all that only reshapes or permutes it
    f = lambda p: np.sum(X @ p[:6].reshape(3, 2)) * np.sum(np.sin(p[:6])) * np.sum(p[6:])  # noqa: E731
    assert pieces_of(f, (8,))[0] == [(2,), (3, 2)]
    # beside the whole
    assert pieces_of(lambda p: np.sum(p[:4]) * np.sin(p[4]) + np.sum(p**2), (5,))[0] == [
        (), (4,), (5,)]  # fmt: skip
    # no pieces: nothing but the whole, too many, more elements than the whole has
    for f in (
        lambda p: np.sum(np.sin(p)),
        lambda p: sum(np.sin(p[k]) for k in range(20)),
        lambda p: np.sum(np.sin(p[np.arange(100) % 3])),
        lambda p: np.sum((p[1:] - p[:-1] ** 2) ** 2),
    ):
        assert pieces_of(f, (20,)) == ([(20,)], True)


# Which row of one argument is read, another one decides, of which the pieces are read as well.
CHOSEN = {
    "row of the other": lambda m, x, y: y[m.argmax(x[:3])] * y[0] * m.sin(x[0]) + x[3] ** 2 * y[1],
    "both": lambda m, x, y: x[m.argmax(y[:3])] * y[m.argmin(x[:2])] * m.cos(x[0] * y[1]),
    "own": lambda m, x, y: x[m.argmax(x[:3])] ** 2 * y[0] * m.exp(x[1] * y[2]),
    "slice": lambda m, x, y: m.sum(m.where(x[0] > x[1], y[:2], y[2:]) ** 3) * x[2] * y[3],
    "in turn": lambda m, x, y: y[m.argmax(x[m.argmax(y[:2]) + 1] * x[:2])] ** 2 * x[2] * y[0],
}  # fmt: skip


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", CHOSEN)
def test_pieces_that_pieces_of_another_argument_choose(name):
    def each(m, sg_or_jax):
        f = lambda x, y: CHOSEN[name](m, x, y)  # noqa: E731
        at = (0, 1)
        return lambda x, y: (
            sg_or_jax.hessian(f, at)(x, y), sg_or_jax.hessian(f, (1, 0))(x, y),
            sg_or_jax.jacfwd(f, at)(x, y), sg_or_jax.jacfwd(sg_or_jax.grad(f), at)(x, y),
        )  # fmt: skip

    x, y = RNG.normal(size=(2, 4))
    agree(each(np, sg), each(jnp, jax), x, y)


# Layouts in which nothing but the way to the result, and sums on it, reads an array with a delta.
CLOSED = [name for name in LAYOUTS if name not in (
    "recurrent",  # a reshape of one row between the steps
    "read twice",  # as matrices of different shapes
    "used whole", "by index", "many scalars", "neighbours",
)]  # fmt: skip
ON_THE_WAY = {"add", "subtract", "negative", "permute", "reshape", "concat", "pad", "slice"}


def is_uniform(node):
    return node.name == "const" or (node.name == "broadcast" and not node.args[0].ndim)


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", CLOSED)
def test_no_delta_is_multiplied_out(name):
    f, shape = LAYOUTS[name]
    graph = sg.trace(sg.hessian(lambda p: f(np, p)), parameters(shape)).simplify()
    wide: set = set()  # arrays with zeros off a diagonal among their terms
    for node in graph.nodes:
        if node.name == "eye" or (node.name in ON_THE_WAY and wide.intersection(node.args)):
            wide.add(node)
        elif node.name == "einsum" and any(a.name == "eye" for a in node.args):
            output = node.attrs[1]
            for a, labels in zip(node.args, node.attrs[0], strict=True):
                assert a.name != "eye" or set(labels) <= set(output)
            wide.add(node)
        elif wide.intersection(node.args):
            assert node.name == "multiply" and any(map(is_uniform, node.args)), node
            wide.add(node)


def multiplications(graph):
    """Of all contractions, with pairs of factors contracted in their best order."""
    return graph.cost().by_op.get("einsum", 0) / 2


def test_hessian_of_a_net_multiplies_no_zeros():
    n, d, m = 200, 8, 24
    size = (d + 2) * m + 1

    def loss(p, X, t):
        W, b = p[: d * m].reshape(d, m), p[d * m : (d + 1) * m]
        v, c = p[(d + 1) * m : -1], p[-1]
        return 0.5 * np.mean((np.tanh(X @ W + b) @ v + c - t) ** 2)

    graph = sg.trace(sg.hessian(loss), sg.f64[size], sg.f64[n, d], sg.f64[n]).simplify()
    # No array over points and two units or more: none but contractions mixes them.
    largest = max(node.size for node in graph.nodes)
    assert largest == size * size
    # By hand: the block of W with W is a product of arrays n x d² and n x m², and a diagonal one of
    # n x d² and n x m; blocks with one W are products of n x d and n x m², and one of n x m; …
    products = n * (d * d * m * m + d * d * m + 2 * (d * m * m + d * m) + 4 * m * m)
    elementwise = n * (d * d + 3 * m * m + 12 * m * d)  # on the way to them, at most
    assert products <= multiplications(graph) <= products + elementwise
    assert graph.cost().flops <= 2.2 * (products + elementwise)


@pytest.mark.slow
def test_deep_net_shares_what_its_blocks_have_in_common():
    n, d, m, k = 50, 6, 12, 10
    cuts = np.cumsum([0, d * m, m, m * k, k, k, 1])

    def loss(p, X, t):
        U, a, V, b, v, c = (p[i:j] for i, j in zip(cuts, cuts[1:], strict=False))
        h = np.tanh(np.tanh(X @ U.reshape(d, m) + a) @ V.reshape(m, k) + b)
        return 0.5 * np.mean((h @ v + c[0] - t) ** 2)

    graph = sg.trace(sg.hessian(loss), sg.f64[cuts[-1]], sg.f64[n, d], sg.f64[n]).simplify()
    # X is in front of the sums over points and pairs of units: no array has its columns as well.
    assert all(node.size <= max(n * m * k, cuts[-1] ** 2) for node in graph.nodes)
