"""Seeded random derivatives: Jacobians with delta seeds inside further functions and derivatives.

Sums, products, contractions, selections, windows and quotients of what differentiation leaves, in
forward and reverse mode, one, two and three times, simplified in between or not.
"""

from __future__ import annotations

import numpy as np

from symgrad.diff.modes import jvp, vjp, vmap
from symgrad.errors import ShapeError
from symgrad.expr.node import Expr, arg, bind, const, eye
from symgrad.expr.walk import substitute, toposort
from symgrad.ops.einsum import einsum
from symgrad.ops.elementwise import select
from symgrad.ops.linear import broadcast, concat, pad, permute, reshape, slice_, sum_
from symgrad.simplify import simplify

_LARGEST = 600  # elements of a node
_MOST_NODES = 1000


def jacobian(out: Expr, x: Expr, reverse: bool) -> Expr | None:
    """∂out/∂x, of shape out.shape + x.shape, by one batch of deltas."""
    seeded = out if reverse else x
    seed = arg(0, seeded.shape, "float64")
    (d,) = vjp([out], [x], [seed]) if reverse else jvp([out], [x], [seed])
    if d is None:
        return None
    k = seeded.ndim
    wide, exprs = seed, [d]
    for axis in reversed(range(k)):
        wider = arg(0, (seeded.shape[axis], *wide.shape), "float64")
        exprs, wide = vmap(exprs, {wide: wider}, seeded.shape[axis]), wider
    deltas = const(1.0)
    if k:
        pairs = [(i, k + i) for i in range(k)]
        deltas = einsum([eye(n) for n in seeded.shape], pairs, tuple(range(2 * k)))
    (result,) = substitute(exprs, {wide: deltas})
    if reverse or not k:
        return result
    return permute(result, (*range(k, result.ndim), *range(k)))


class Program:
    """`outs` of `args`."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = np.random.default_rng(seed)
        n = self.n = int(rng.integers(2, 4))
        self.args = [arg(0, (n,), "float64"), arg(1, (n, n), "float64"), arg(2, (), "float64")]
        self.pool = list(self.args)
        self.grow(int(rng.integers(2, 7)))
        for _ in range(int(rng.integers(1, 4))):
            self.derive()
            self.grow(int(rng.integers(0, 4)))
        self.outs = self.pool[-int(rng.integers(2, 9)) :]  # several users make rules stop early

    def values(self) -> dict[Expr, np.ndarray]:
        return {a: self.rng.normal(size=a.shape) for a in self.args}

    def add(self, e: Expr | None) -> None:
        if e is not None and e.size <= _LARGEST and e.ndim <= 4:
            self.pool.append(e)

    def grow(self, count: int) -> None:
        for _ in range(count):
            self.add(self.step())

    def derive(self) -> None:
        rng = self.rng
        made = [p for p in self.pool if p.ndim <= 2 and p not in self.args]
        if not made:
            return
        out = made[-1] if rng.random() < 0.7 else made[int(rng.integers(len(made)))]
        x = self.args[0] if rng.random() < 0.8 else self.args[1]
        size = len(toposort([out]))
        if out.ndim + x.ndim > 4 or size > _MOST_NODES // 5:
            out = sum_(out, tuple(range(out.ndim)))
        if size > _MOST_NODES:
            return
        if rng.random() < 0.4:
            (out,) = simplify([out]).outs
        d = jacobian(out, x, bool(rng.random() < 0.5))
        if d is not None and rng.random() < 0.4:
            (d,) = simplify([d]).outs
        self.add(d)

    def pick(self) -> Expr:
        pool = self.pool[-8:] if self.rng.random() < 0.8 else self.pool
        return pool[int(self.rng.integers(len(pool)))]

    def like(self, a: Expr) -> Expr:
        """Something of the shape of `a`."""
        same = [p for p in self.pool if p.shape == a.shape]
        if same and self.rng.random() < 0.7:
            return same[int(self.rng.integers(len(same)))]
        x = self.pick()
        if x.ndim <= a.ndim:
            dims = tuple(sorted(self.rng.choice(a.ndim, x.ndim, replace=False).tolist()))
            if all(a.shape[d] == m for d, m in zip(dims, x.shape, strict=True)):
                return broadcast(x, a.shape, dims)
        return broadcast(self.args[2], a.shape, ())

    def step(self) -> Expr | None:
        rng, a = self.rng, self.pick()
        kind = int(rng.integers(16))
        if kind <= 1:
            return bind(str(rng.choice(["sin", "square", "tanh", "negative", "negative"])), a)
        if kind <= 6:
            names = ["add", "subtract", "multiply", "multiply", "add"]
            return bind(str(rng.choice(names)), a, self.like(a))
        if kind == 7:
            return a / (1.5 + bind("square", self.like(a)))
        if kind == 8:
            return a * float(rng.choice([-1, 2, 0.5, 3, -2]))
        if kind == 9 and a.ndim:
            count = int(rng.integers(1, a.ndim + 1))
            return sum_(a, tuple(sorted(rng.choice(a.ndim, count, replace=False).tolist())))
        if kind == 10 and a.ndim > 1:
            return permute(a, tuple(rng.permutation(a.ndim).tolist()))
        if kind == 11:
            return self.contraction()
        if kind == 12:
            # of an argument: whether what is rounded ties is not decided by the rules
            c = broadcast(bind("less", self.args[2], const(0.1)), a.shape, ())
            b = self.like(a) if rng.random() < 0.5 else const(0.0, shape=a.shape)
            return select(c, a, b) if rng.random() < 0.5 else select(c, b, a)
        if kind == 13 and a.ndim:
            return self.window(a)
        if kind == 14 and a.ndim > 1 and a.size == self.n:
            return reshape(a, (self.n,))
        if kind == 15 and a.ndim:
            new = int(rng.integers(a.ndim + 1))
            shape = (*a.shape[:new], self.n, *a.shape[new:])
            return broadcast(a, shape, tuple(k for k in range(a.ndim + 1) if k != new))
        return None

    def contraction(self) -> Expr | None:
        rng = self.rng
        factors = [self.pick() for _ in range(int(rng.integers(1, 4)))]
        terms = [tuple(rng.choice(list("ijkl"), f.ndim).tolist()) for f in factors]
        used = sorted({k for t in terms for k in t})
        rng.shuffle(used)
        try:
            return einsum(factors, terms, used[: int(rng.integers(0, min(4, len(used) + 1)))])
        except ShapeError:
            return None

    def window(self, a: Expr) -> Expr | None:
        """A part with zeros around it, or put together with another one."""
        rng = self.rng
        axis = int(rng.integers(a.ndim))
        n = a.shape[axis]
        if n < 2:
            return None
        size = int(rng.integers(1, n))
        start = int(rng.integers(0, n - size + 1))
        ones, zeros = (1,) * a.ndim, (0,) * a.ndim

        def along(k: int, rest: tuple[int, ...]) -> tuple[int, ...]:
            return (*rest[:axis], k, *rest[axis + 1 :])

        part = slice_(a, along(start, zeros), along(size, a.shape), ones)
        if rng.random() < 0.5:
            return pad(part, a.shape, along(start, zeros), ones)
        return concat([part, slice_(a, zeros, along(n - size, a.shape), ones)], axis)
