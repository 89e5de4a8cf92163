"""Seeded random graphs over the op tables, for comparing evaluator, simplifier and C."""

from __future__ import annotations

from typing import Any

import numpy as np

import symgrad.ops  # noqa: F401
from support.codegen import c_of, expanded, run_c
from symgrad.diff.modes import jvp, vjp, zeros_like
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import FLOATS, Expr, arg, array, bind, const, eye, iota
from symgrad.ops.einsum import einsum
from symgrad.ops.linear import (
    broadcast_to,
    concat,
    gather,
    pad,
    permute,
    reshape,
    scatter_add,
    slice_,
    sum_,
)  # fmt: skip
from symgrad.ops.scan import cumsum, recurrence
from symgrad.simplify import simplify

SAFE = ["negative", "absolute", "sin", "cos", "tanh", "arctan", "sigmoid", "softplus", "square",
        "expm1", "arcsinh", "erf", "sign", "floor", "rint"]  # fmt: skip
PAIRS = ["add", "subtract", "multiply", "maximum", "minimum", "hypot", "logaddexp", "arctan2"]
COMPARE = ["less", "less_equal", "greater", "not_equal"]
SHAPES = [(), (1,), (3,), (4,), (2, 3), (3, 4), (1, 4), (2, 3, 2), (0, 3), (20,)]


class Builder:
    """Grows a pool of nodes; every node is finite on moderate inputs.

    products : the share of products of matrices among them
    """

    def __init__(self, seed: int, dtype: str = "float64", products: float = 0.1) -> None:
        self.products = products
        self.rng = np.random.default_rng(seed)
        self.dtype = dtype
        self.args = [arg(k, SHAPES[self.rng.integers(len(SHAPES))], dtype) for k in range(3)]
        self.pool: list[Expr] = list(self.args)
        for _ in range(int(self.rng.integers(4, 25))):
            node = self.step()
            if node.size <= 400:
                self.pool.append(node)

    def pick(self) -> Expr:
        k = len(self.pool)
        return self.pool[int(self.rng.integers(max(0, k - 8), k))]

    def like(self, x: Expr) -> Expr:
        """Something of the shape of `x`."""
        same = [p for p in self.pool if p.shape == x.shape and p is not x]
        if same and self.rng.random() < 0.7:
            return same[int(self.rng.integers(len(same)))]
        fits = [p for p in self.pool if _broadcasts(p.shape, x.shape)]
        return broadcast_to(fits[int(self.rng.integers(len(fits)))], x.shape) if fits else x

    def step(self) -> Expr:
        kind = int(self.rng.integers(16))
        x = self.pick()
        if x.ndim and self.rng.random() < self.products:
            return self.product(x)
        if kind <= 2:
            return bind(str(self.rng.choice(SAFE)), x)
        if kind <= 4:
            return bind(str(self.rng.choice(PAIRS)), x, self.like(x))
        if kind == 5:
            return bind("divide", x, bind("square", self.like(x)) + 1.5)
        if kind == 6:
            condition = bind(str(self.rng.choice(COMPARE)), x, self.like(x))
            return bind("select", condition, self.like(x), x * 0.5)
        if kind == 7 and x.ndim:
            count = self.rng.integers(1, x.ndim + 1)
            axes = tuple(sorted(self.rng.choice(x.ndim, count, False).tolist()))
            names = ["sum", "sum", "max", "min", "logsumexp", "softmax", "norm", "prod"]
            name = str(self.rng.choice(names))
            if name == "sum" or not all(x.shape[a] for a in axes):
                return sum_(x, axes)
            return bind(name, bind("tanh", x), attrs=(axes,))
        if kind == 8 and x.ndim:
            return permute(x, tuple(self.rng.permutation(x.ndim).tolist()))
        if kind == 9 and x.size:
            flat = x.size
            shapes = [(flat,), (1, flat), (flat, 1)] + [
                (a, flat // a) for a in range(2, flat) if flat % a == 0
            ]
            return reshape(x, shapes[int(self.rng.integers(len(shapes)))])
        if kind == 10 and x.ndim and x.size:
            starts, sizes, steps = [], [], []
            for n in x.shape:
                step = int(self.rng.choice([1, 1, -1, 2, -2]))
                start = int(self.rng.integers(n))
                room = (n - 1 - start) // step if step > 0 else start // -step
                starts.append(start)
                sizes.append(int(self.rng.integers(1, room + 2)))
                steps.append(step)
            cut = slice_(x, tuple(starts), tuple(sizes), tuple(steps))
            whole = self.rng.random() < 0.5
            return cut if whole else pad(cut, x.shape, tuple(starts), tuple(steps))
        if kind == 11 and x.ndim:
            return concat([x, self.like(x), x], int(self.rng.integers(x.ndim)))
        if kind == 12 and x.ndim:
            axis = int(self.rng.integers(x.ndim))
            n = x.shape[axis]
            if not n:
                return x
            rows = array(self.rng.integers(-n, n, size=(2, 2)[: self.rng.integers(1, 3)]))
            taken = gather(x, rows, axis)
            return taken if self.rng.random() < 0.5 else scatter_add(taken, rows, axis, n)
        if kind == 13 and x.ndim:
            axis, reverse = int(self.rng.integers(x.ndim)), bool(self.rng.integers(2))
            if self.rng.random() < 0.5:
                return cumsum(x, axis, reverse)
            return recurrence(bind("tanh", x), bind("sin", self.like(x)), axis, reverse)
        if kind == 14:
            labels = list(range(x.ndim))
            y = self.like(x)
            keep = [k for k in labels if self.rng.random() < 0.5]
            self.rng.shuffle(keep)
            if x.ndim and self.rng.random() < 0.3:
                n = x.shape[0]
                rest = [k for k in keep if k]
                factors = [x, y, eye(n, self.dtype)]
                return einsum(factors, [labels, labels, [0, 99]], [99, *rest])
            return einsum([x, y], [labels, labels], keep)
        if kind == 15 and x.ndim and x.shape[0]:
            ramp = bind("convert", iota(x.shape[0]), attrs=(self.dtype,))
            shape = (x.shape[0],) + (1,) * (x.ndim - 1)
            return x * broadcast_to(reshape(ramp, shape), x.shape) + const(0.5, self.dtype, x.shape)
        return bind("sin", x)

    def product(self, x: Expr) -> Expr:
        """A sum over the last axis of `x` and an axis of something else; they may share another."""
        recent = self.pool[-8:]
        fitting = [(y, a) for y in recent for a in range(y.ndim) if y.shape[a] == x.shape[-1]]
        y, axis = fitting[int(self.rng.integers(len(fitting)))] if fitting else (x, x.ndim - 1)
        left, right = list(range(x.ndim)), [100 + k for k in range(y.ndim)]
        right[axis] = left[-1]
        shared = [(i, k) for i in left[:-1] for k in range(y.ndim)
                  if k != axis and x.shape[i] == y.shape[k]]  # fmt: skip
        if shared and self.rng.random() < 0.2:
            i, k = shared[int(self.rng.integers(len(shared)))]
            right[k] = i
        keep = sorted({*left, *right} - {left[-1]})
        self.rng.shuffle(keep)
        return einsum([x, y], [left, right], keep)

    def outputs(self) -> list[Expr]:
        """The last nodes, one of them twice, and an argument."""
        floats = [p for p in self.pool if p.dtype in FLOATS]
        return [*floats[-3:], floats[-1], self.args[0]]

    def values(self) -> dict[Expr, np.ndarray]:
        return {a: self.rng.uniform(-2, 2, a.shape).astype(a.dtype) for a in self.args}


def _broadcasts(shape, target):
    return len(shape) <= len(target) and all(
        n in (1, m) for n, m in zip(shape[::-1], target[::-1], strict=False)
    )


def _close(got, expected, scale, what):
    for k, (g, e) in enumerate(zip(got, expected, strict=True)):
        assert g.shape == e.shape and g.dtype == e.dtype
        np.testing.assert_allclose(g, e, rtol=scale, atol=scale, err_msg=f"{what}, output {k}")


def compare(seed: int, dtype: str, derivatives: bool, products: float = 0.1, **options: Any) -> str:
    """Raises unless evaluator, simplified graph and C agree; returns the C.

    options : of `c_of`
    """
    b = Builder(seed, dtype, products)
    outs, args, values = b.outputs(), list(b.args), b.values()
    if derivatives:
        cts = [const(0.7, o.dtype, o.shape) for o in outs]
        pulled = vjp(outs, args, cts)
        gradients = [zeros_like(a) if p is None else p for a, p in zip(args, pulled, strict=True)]
        tangents = [arg(10 + k, a.shape, dtype) for k, a in enumerate(args)]
        values.update({t: b.rng.uniform(-1, 1, t.shape).astype(dtype) for t in tangents})
        pushed = [p for p in jvp(gradients, args, tangents) if p is not None]
        outs, args = [*gradients, *pushed], args + tangents
    check(outs)
    expected = evaluate(outs, values)
    finite = [e for e in expected if e.size and np.isfinite(e).all()]
    size = max([1.0, *(float(np.max(np.abs(e))) for e in finite)])
    scale = (1e-10 if dtype == "float64" else 2e-3) * size
    simple = simplify(outs).outs
    check(simple)
    _close(evaluate(simple, values), expected, scale, f"seed {seed}: simplified")
    ready = expanded(simple)
    source = c_of(args, ready, **options)
    status, got = run_c(source, args, ready, values)
    assert status == 0
    _close(got, expected, scale, f"seed {seed}: C\n{source.c}")
    return source.c
