"""Every P0 operation: value, forward, reverse and second derivative of the compiled C against JAX.

Each case is one function of a namespace `m` (NumPy or jax.numpy) and `s` (scipy.special or its JAX
counterpart). Its compiled value, jacfwd, jacrev and the Hessian of a random-weighted sum are
compared with jax in float64. Run as a script for the table of counts and largest errors.
"""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jax.scipy.special as jspecial
import numpy as np
import scipy.special

import symgrad as sg
from symgrad.trace import log_softmax, logsumexp, softmax, solve_triangular

jax.config.update("jax_enable_x64", True)

OURS = SimpleNamespace(
    m=np, s=scipy.special, logsumexp=logsumexp, softmax=softmax, log_softmax=log_softmax,
    solve_triangular=solve_triangular,
)  # fmt: skip
THEIRS = SimpleNamespace(
    m=jnp, s=jspecial, logsumexp=jspecial.logsumexp, softmax=jax.nn.softmax,
    log_softmax=jax.nn.log_softmax, solve_triangular=jax.scipy.linalg.solve_triangular,
)  # fmt: skip

REAL, POSITIVE, UNIT, ABOVE = (-2.0, 2.0), (0.3, 3.0), (-0.9, 0.9), (1.2, 4.0)
UNARY = {
    "negative": REAL, "absolute": REAL, "sqrt": POSITIVE, "square": REAL, "exp": REAL,
    "expm1": REAL, "log": POSITIVE, "log1p": POSITIVE, "log2": POSITIVE, "log10": POSITIVE,
    "sin": REAL, "cos": REAL, "tan": UNIT, "sinh": REAL, "cosh": REAL, "tanh": REAL, "sign": REAL,
    "floor": REAL, "ceil": REAL, "trunc": REAL, "reciprocal": POSITIVE, "arcsin": UNIT,
    "arccos": UNIT, "arctan": REAL, "arcsinh": REAL, "arccosh": ABOVE, "arctanh": UNIT,
    "exp2": REAL, "cbrt": POSITIVE,
}  # fmt: skip
BINARY = {
    "add": REAL, "subtract": REAL, "multiply": REAL, "divide": POSITIVE, "power": POSITIVE,
    "maximum": REAL, "minimum": REAL, "arctan2": POSITIVE, "hypot": POSITIVE, "logaddexp": REAL,
    "mod": POSITIVE, "floor_divide": POSITIVE,
}  # fmt: skip
SPECIAL = {"erf": REAL, "erfc": REAL, "gammaln": POSITIVE, "digamma": POSITIVE, "expit": REAL}
SHAPES = [(), (4,), (1, 3)]
PAIRS = [((3,), (3,)), ((3, 1), (4,)), ((), (2, 2))]
V, M, T3, SQ = (5,), (3, 4), (2, 3, 4), (3, 3)

# name: (function of n and arguments, shapes, range)
OTHER = {
    "where": (lambda n, x, y: n.m.where(x > 0, x * y, n.m.sin(y)), (M, M), REAL),
    "clip": (lambda n, x: n.m.clip(x, -0.5, 0.75), (M,), REAL),
    "sum": (lambda n, x: n.m.sum(x * x), (T3,), REAL),
    "sum axis": (lambda n, x: n.m.sum(x**3, axis=(0, 2), keepdims=True), (T3,), REAL),
    "prod": (lambda n, x: n.m.prod(x), (V,), REAL),
    "prod axis": (lambda n, x: n.m.prod(x, axis=1), (M,), REAL),
    "mean": (lambda n, x: n.m.mean(n.m.exp(x)), (M,), REAL),
    "mean axis": (lambda n, x: n.m.mean(n.m.exp(x), axis=0, keepdims=True), (M,), REAL),
    "max": (lambda n, x: n.m.max(x * x), (M,), REAL),
    "max axis": (lambda n, x: n.m.max(x * x, axis=1), (M,), REAL),
    "min": (lambda n, x: n.m.min(x * x), (M,), REAL),
    "min axis": (lambda n, x: n.m.min(x * x, axis=0, keepdims=True), (M,), REAL),
    "var": (lambda n, x: n.m.var(x, axis=1), (M,), REAL),
    "std": (lambda n, x: n.m.std(x, ddof=1), (M,), REAL),
    "logsumexp": (lambda n, x: n.logsumexp(x, axis=1), (M,), REAL),
    "norm": (lambda n, x: n.m.linalg.norm(x), (M,), REAL),
    "norm axis": (lambda n, x: n.m.linalg.norm(x, axis=0), (M,), REAL),
    "softmax": (lambda n, x: n.softmax(x, axis=1), (M,), REAL),
    "log_softmax": (lambda n, x: n.log_softmax(x, axis=0), (M,), REAL),
    "xlogy": (lambda n, x, y: n.s.xlogy(x, y), (V, V), POSITIVE),
    "dot": (lambda n, x, y: n.m.dot(x, y), (V, V), REAL),
    "matmul mv": (lambda n, x, y: x @ y, (M, (4,)), REAL),
    "matmul mm": (lambda n, x, y: x @ y, (M, (4, 2)), REAL),
    "matmul batched": (lambda n, x, y: x @ y, ((2, 1, 2, 3), (2, 3, 2)), REAL),
    "outer": (lambda n, x, y: n.m.outer(x, y), ((2,), V), REAL),
    "tensordot": (lambda n, x, y: n.m.tensordot(x, y, axes=([1], [0])), (M, (4, 2)), REAL),
    "einsum": (lambda n, x, y: n.m.einsum("ij,jk->ik", x, y), (M, (4, 2)), REAL),
    "einsum diagonal": (lambda n, x: n.m.einsum("ii->i", x * x), (SQ,), REAL),
    "einsum three": (lambda n, x, y: n.m.einsum("i,ij,j->", x, y, x), ((3,), SQ), REAL),
    "einsum ellipsis": (lambda n, x, y: n.m.einsum("...i,i->...", x, y), (T3, (4,)), REAL),
    "trace": (lambda n, x: n.m.trace(x @ x), (SQ,), REAL),
    "diagonal": (lambda n, x: n.m.diagonal(x * x), (SQ,), REAL),
    "diag": (lambda n, x: n.m.diag(x * x), ((3,),), REAL),
    "tril triu": (lambda n, x: n.m.tril(x * x) - n.m.triu(n.m.sin(x), 1), (SQ,), REAL),
    "solve": (lambda n, a, b: n.m.linalg.solve(a + 4 * np.eye(3), b), (SQ, (3,)), REAL),
    "solve matrix": (lambda n, a, b: n.m.linalg.solve(a + 4 * np.eye(3), b), (SQ, (3, 2)), REAL),
    "inv": (lambda n, a: n.m.linalg.inv(a + 4 * np.eye(3)), (SQ,), REAL),
    "det": (lambda n, a: n.m.linalg.det(a), (SQ,), REAL),
    "det 5": (lambda n, a: n.m.linalg.det(a), ((5, 5),), REAL),
    "slogdet": (lambda n, a: n.m.linalg.slogdet(a)[1], (SQ,), REAL),
    "cholesky": (lambda n, a: n.m.linalg.cholesky(a @ a.T + 3 * np.eye(3)), (SQ,), REAL),
    "solve_triangular": (
        lambda n, a, b: n.solve_triangular(a + 3 * np.eye(3), b, lower=True), (SQ, (3,)), REAL),
    "reshape": (lambda n, x: n.m.reshape(x * x, (4, 3)), (M,), REAL),
    "ravel": (lambda n, x: n.m.ravel(n.m.sin(x)), (T3,), REAL),
    "transpose": (lambda n, x: (x * x).T, (M,), REAL),
    "transpose axes": (lambda n, x: n.m.transpose(x * x, (2, 0, 1)), (T3,), REAL),
    "swapaxes": (lambda n, x: n.m.swapaxes(x * x, 0, 2), (T3,), REAL),
    "moveaxis": (lambda n, x: n.m.moveaxis(x * x, 0, -1), (T3,), REAL),
    "concatenate": (lambda n, x, y: n.m.concatenate([x * x, y, x], axis=1), (M, (3, 2)), REAL),
    "stack": (lambda n, x, y: n.m.stack([x * y, n.m.sin(x)], axis=1), (M, M), REAL),
    "hstack vstack": (
        lambda n, x, y: n.m.vstack([n.m.hstack([x, y]), x * x]), ((1, 2), (1, 0)), REAL),
    "expand_dims": (lambda n, x: n.m.expand_dims(x * x, 1), (M,), REAL),
    "newaxis": (lambda n, x: x[:, None] * x[None, :], (V,), REAL),
    "squeeze": (lambda n, x: n.m.squeeze(x * x), ((1, 3, 1),), REAL),
    "broadcast_to": (lambda n, x: n.m.broadcast_to(x * x, (2, 3, 4)), ((3, 1),), REAL),
    "flip": (lambda n, x: n.m.flip(x * x, 1), (M,), REAL),
    "pad": (lambda n, x: n.m.pad(x * x, ((1, 0), (0, 2))), (M,), REAL),
    "basic index": (lambda n, x: x[1, ..., :2] ** 2, (T3,), REAL),
    "integer index": (lambda n, x: x[-1] * x[0], (V,), REAL),
    "negative step": (lambda n, x: x[::-2, 3:0:-1] ** 2, (M,), REAL),
    "fancy index": (lambda n, x: x[np.array([0, 2, 2, -1])] ** 2, (M,), REAL),
    "fancy two": (lambda n, x: x[np.array([0, 1, 2]), np.array([3, 1, 3])] ** 2, (M,), REAL),
    "take": (lambda n, x: n.m.take(x, np.array([[1, 0], [3, 3]]), axis=1) ** 2, (M,), REAL),
    "at set": (
        lambda n, x, y: x.at[1].set(y * y) if hasattr(x, "at") else _set(x, y), (M, (4,)), REAL),
    "cumsum": (lambda n, x: n.m.cumsum(x * x, axis=0), (M,), REAL),
    "cumprod": (lambda n, x: n.m.cumprod(x), (V,), REAL),
    "diff": (lambda n, x: n.m.diff(x * x, axis=1), (M,), REAL),
    "power 2": (lambda n, x: x**2 + x**3 + x**-1 + x**0.5, (M,), POSITIVE),
}  # fmt: skip


def _set(x, y):
    z = x.copy()
    z[1] = y * y
    return z


def cases():
    """(name, function of a namespace and arrays, arrays)."""
    rng = np.random.default_rng(0)
    for table, attribute in ((UNARY, "m"), (SPECIAL, "s")):
        for name, bounds in table.items():
            # scipy calls it psi in the ufunc's name and digamma in jax
            for shape in SHAPES:

                def f(n, x, name=name, attribute=attribute):
                    return getattr(getattr(n, attribute), name)(x)

                yield f"{name} {shape}", f, (rng.uniform(*bounds, shape),)
    for name, bounds in BINARY.items():
        for a, b in PAIRS:

            def f(n, x, y, name=name):
                return getattr(n.m, name)(x, y)

            yield f"{name} {a} {b}", f, (rng.uniform(*bounds, a), rng.uniform(*bounds, b))
    for name, (f, shapes, bounds) in OTHER.items():
        yield name, f, tuple(rng.uniform(*bounds, s) for s in shapes)


def error(got, expected):
    """Largest difference relative to the larger of 1 and the largest element."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    if not got.size:
        return 0.0
    return float(np.max(np.abs(got - expected)) / max(1.0, float(np.max(np.abs(expected)))))


def compare(f, args):
    """Errors of value, forward, reverse and Hessian for all arguments of a case."""
    args = tuple(np.asarray(a) if np.ndim(a) else float(a) for a in args)
    numbers = tuple(range(len(args)))

    def ours(*xs):
        return f(OURS, *xs)

    def theirs(*xs):
        return f(THEIRS, *map(jnp.asarray, xs))

    weights = np.random.default_rng(7).normal(size=jax.eval_shape(theirs, *args).shape)

    def our_scalar(*xs):
        return np.sum(ours(*xs) * weights)

    def their_scalar(*xs):
        return jnp.sum(theirs(*xs) * weights)

    def everything(*xs):
        return (
            ours(*xs),
            sg.jacfwd(ours, numbers)(*xs),
            sg.jacrev(ours, numbers)(*xs),
            sg.hessian(our_scalar, numbers)(*xs),
        )

    value, forward, reverse, second = sg.jit(everything)(*args)
    x, j, h = jax.jit(
        lambda *xs: (
            theirs(*xs),
            jax.jacrev(theirs, numbers)(*xs),
            jax.hessian(their_scalar, numbers)(*xs),
        )
    )(*args)
    return (
        error(value, x),
        max(error(a, b) for a, b in zip(forward, j, strict=True)),
        max(error(a, b) for a, b in zip(reverse, j, strict=True)),
        max(
            error(a, b)
            for ra, rb in zip(second, h, strict=True)
            for a, b in zip(ra, rb, strict=True)
        ),
    )


if __name__ == "__main__":
    worst, count = [0.0] * 4, 0
    rows = []
    for name, f, args in cases():
        errors = compare(f, args)
        count += 1
        worst = [max(a, b) for a, b in zip(worst, errors, strict=True)]
        rows.append((max(errors), name, errors))
    for _, name, errors in sorted(rows, reverse=True)[:8]:
        print(f"{name:28}" + "".join(f"{e:10.1e}" for e in errors))
    print(
        f"{count} cases; largest error: value {worst[0]:.1e}, forward {worst[1]:.1e}, "
        f"reverse {worst[2]:.1e}, Hessian {worst[3]:.1e}"
    )
