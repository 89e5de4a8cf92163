"""Random graphs for the rules: of what they look for, and of contractions."""

from __future__ import annotations

import numpy as np

from symgrad.errors import ShapeError
from symgrad.expr.node import Expr, arg, bind, const, eye
from symgrad.ops.einsum import einsum
from symgrad.ops.elementwise import select
from symgrad.ops.linear import broadcast, pad, permute, slice_, sum_


def tensor(name: str, *shape: int, dtype: str = "float64") -> Expr:
    return arg(0, shape, dtype, name)


def spread(x: Expr, shape: tuple[int, ...], *dims: int) -> Expr:
    return broadcast(x, shape, dims)


def random_graph(seed: int, operations: int = 60) -> list[Expr]:
    rng = np.random.default_rng(seed)
    pool = [tensor("x", 4), tensor("y", 4), tensor("z", 4), tensor("m", 4, 4)]
    unary = ["negative", "absolute", "exp", "square", "sin", "cos", "tanh", "sigmoid", "softplus",
             "log", "sqrt", "log1p", "expm1", "cosh", "reciprocal"]  # fmt: skip
    binary = ["add", "subtract", "multiply", "divide", "maximum", "add", "subtract", "multiply"]
    for _ in range(operations):
        kind = rng.integers(10)
        a = pool[rng.integers(len(pool))]
        same = [p for p in pool if p.shape == a.shape]
        b = same[rng.integers(len(same))]
        if kind < 3:
            node = bind(unary[rng.integers(len(unary))], a)
        elif kind < 6:
            node = bind(binary[rng.integers(len(binary))], a, b)
        elif kind == 6:
            value = float(rng.choice([-2, -1, 0.5, 1, 2, 3, 4]))
            node = bind(str(rng.choice(["add", "multiply", "divide", "subtract", "power"])), a,
                        const(value, "float64", a.shape))  # fmt: skip
        elif kind == 7:
            node = sum_(a, (int(rng.integers(2)),)) if a.ndim == 2 else spread(
                a, (4, 4), int(rng.integers(2)))  # fmt: skip
        elif kind == 8:
            node = permute(a, (1, 0)) if a.ndim == 2 else slice_(pad(a, (6,), (1,), (1,)), (0,),
                                                                 (4,), (1,))  # fmt: skip
        else:
            node = select(bind("less", a, b), a, b)
        pool.append(node)
    return pool[-3:]


def random_contractions(seed: int, operations: int = 30) -> list[Expr]:
    """Einsums, identity matrices, sums and views of all kinds on axes of 1 and 3."""
    rng = np.random.default_rng(seed)
    n = 3
    pool = [tensor("x", n), tensor("y", n), tensor("A", n, n), tensor("B", n, n), tensor("s"),
            eye(n), tensor("u", 1, n)]  # fmt: skip
    for _ in range(operations):
        kind, a = rng.integers(10), pool[rng.integers(len(pool))]
        same = [p for p in pool if p.shape == a.shape]
        b = same[rng.integers(len(same))]
        if kind == 0:
            node = bind(str(rng.choice(["negative", "sin", "square", "tanh"])), a)
        elif kind < 3:
            node = bind(str(rng.choice(["add", "subtract", "multiply", "multiply"])), a, b)
        elif kind == 3:
            node = a * float(rng.choice([-1, 2, 0.5, 3]))
        elif kind == 4 and a.ndim:
            count = rng.integers(1, a.ndim + 1)
            node = sum_(a, tuple(sorted(rng.choice(a.ndim, size=count, replace=False).tolist())))
        elif kind == 5 and a.ndim == 2:
            node = permute(a, (1, 0))
        elif kind == 6 and a.shape in ((), (n,)):
            node = spread(a, (n, n), *([int(rng.integers(2))] if a.ndim else []))
        elif kind == 7 and a.ndim:
            starts = [int(rng.integers(m)) for m in a.shape]
            sizes = [int(rng.integers(1, m - k + 1)) for m, k in zip(a.shape, starts, strict=True)]
            ones = (1,) * a.ndim
            node = pad(slice_(a, tuple(starts), tuple(sizes), ones), a.shape,
                       tuple(int(rng.integers(m - k + 1))
                             for m, k in zip(a.shape, sizes, strict=True)), ones)  # fmt: skip
        else:
            factors = [pool[rng.integers(len(pool))] for _ in range(rng.integers(1, 4))]
            terms = [tuple(rng.choice(list("ijkl"), size=f.ndim).tolist()) for f in factors]
            used = sorted({c for t in terms for c in t})
            rng.shuffle(used)
            try:
                node = einsum(factors, terms, used[: rng.integers(0, min(3, len(used) + 1))])
            except ShapeError:
                continue
        pool.append(node)
    return pool[-3:]
