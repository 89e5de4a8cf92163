"""Random graphs with branches and loops, nested, whose bodies compute a little of everything."""

from __future__ import annotations

import numpy as np

from symgrad.expr.node import Expr, arg, bind, const, iota
from symgrad.ops.control import Body, scan, switch, while_loop
from symgrad.ops.einsum import einsum
from symgrad.ops.elementwise import convert, greater, less, select
from symgrad.ops.linear import broadcast, concat, gather, permute, slice_
from symgrad.ops.reduce import ARGMAX

F, I = "float64", "int64"  # noqa: E741


class RandomLoops:
    """A graph of the arguments `args` with results `outs`, and `values` of the arguments."""

    def __init__(self, seed: int, n: int = 3, operations: int = 6, depth: int = 2) -> None:
        self.rng = np.random.default_rng(seed)
        self.n, self.operations = n, operations
        shapes = [(), (n,), (n,), (n, n), (n, n)]
        self.args = [arg(k, shape, F) for k, shape in enumerate(shapes)]
        self.values = {a: self.rng.normal(size=a.shape) for a in self.args}
        for _ in range(2):
            a = arg(len(self.args), (n,), I)
            self.args.append(a)
            self.values[a] = self.rng.integers(-n, n, n)
        self.read: list[list[Expr]] = []  # of each body, the sums of what its loops give
        pool, read = self.pool(self.args, depth)
        self.outs = [p for p in pool if p not in self.args][-5:] + read

    def choice(self, nodes: list[Expr]) -> Expr:
        return nodes[int(self.rng.integers(len(nodes)))]

    def any(self, pool: list[Expr], shape: tuple[int, ...], dtype: str = F) -> Expr:
        """A node of the pool of that type; late ones are likelier."""
        found = [p for p in pool if p.shape == shape and p.dtype == dtype]
        if not found:
            ramp = convert(iota(self.n), dtype) if shape else const(1, dtype)
            return broadcast(ramp, shape, tuple(range(len(shape)))[:1])
        return self.choice(found[-4:]) if self.rng.random() < 0.7 else self.choice(found)

    def pool(self, given: list[Expr], depth: int) -> tuple[list[Expr], list[Expr]]:
        """Nodes made of `given`, and those to read so that no loop has a result for nobody."""
        pool = list(given)
        self.read.append([])
        for _ in range(self.operations):
            kinds = [self.pointwise] * 3 + [self.contraction, self.reduction, self.movement]
            kinds += [self.picked]
            if depth:
                kinds += [self.scan, self.scan, self.switch, self.repeat]
            kind = kinds[int(self.rng.integers(len(kinds)))]
            made = kind(pool, depth)
            pool += made
        return pool, self.read.pop()

    def bounded(self, x: Expr) -> Expr:
        return bind("tanh", x)

    def shape(self) -> tuple[int, ...]:
        return [(), (self.n,), (self.n, self.n)][int(self.rng.integers(3))]

    # ---- operations ----------------------------------------------------------------------------

    def pointwise(self, pool: list[Expr], depth: int) -> list[Expr]:
        shape = self.shape()
        a, b = self.any(pool, shape), self.any(pool, shape)
        kind = int(self.rng.integers(5))
        return [
            [a + b, self.bounded(a * b), bind("exp", -a * a), bind("sin", a) - b,
             select(greater(a, b), a, b * 0.5)][kind]
        ]  # fmt: skip

    def contraction(self, pool: list[Expr], depth: int) -> list[Expr]:
        n = (self.n,)
        A, B, v = self.any(pool, n * 2), self.any(pool, n * 2), self.any(pool, n)
        made = [
            einsum((A, v), ((0, 1), (1,)), (0,)), einsum((A, v), ((1, 0), (1,)), (0,)),
            einsum((A, B), ((0, 1), (1, 2)), (0, 2)), einsum((A, v), ((0, 1), (1,)), (0, 1)),
        ]  # fmt: skip
        return [self.bounded(made[int(self.rng.integers(len(made)))])]

    def reduction(self, pool: list[Expr], depth: int) -> list[Expr]:
        A, v = self.any(pool, (self.n, self.n)), self.any(pool, (self.n,))
        kind = int(self.rng.integers(6))
        if kind == 0:
            return [bind(ARGMAX, v, attrs=(0,))]
        return [
            bind("max", A, attrs=((0,),)) if kind == 1 else
            bind("min", v, attrs=((0,),)) if kind == 2 else
            self.bounded(bind("cumsum", v, attrs=(0, bool(self.rng.integers(2))))) if kind == 3
            else self.bounded(einsum((A,), ((0, 1),), ((), (0,), (1,))[int(self.rng.integers(3))]))
        ]  # fmt: skip

    def movement(self, pool: list[Expr], depth: int) -> list[Expr]:
        n = self.n
        A, v, s = self.any(pool, (n, n)), self.any(pool, (n,)), self.any(pool, ())
        kind = int(self.rng.integers(5))
        return [
            [permute(A, (1, 0)), slice_(v, (n - 1,), (n,), (-1,)), broadcast(s, (n,), ()),
             concat([slice_(v, (1,), (n - 1,), (1,)), slice_(v, (0,), (1,), (1,))], 0),
             broadcast(v, (n, n), (int(self.rng.integers(2)),))][kind]
        ]  # fmt: skip

    def picked(self, pool: list[Expr], depth: int) -> list[Expr]:
        """Elements at indices that are known when C runs, all inside."""
        n = self.n
        where = self.any(pool, (n,), I) if self.rng.random() < 0.5 else iota(n)
        at = bind("mod", where, const(n, I, (n,)))
        return [gather(self.any(pool, (n, n) if self.rng.random() < 0.5 else (n,)), at, 0), at]

    # ---- control -------------------------------------------------------------------------------

    def body(
        self, given: list[Expr], results: list[tuple[tuple[int, ...], str]], depth: int
    ) -> Body:
        """A body of parameters like `given`."""
        fresh = [arg(k, g.shape, g.dtype) for k, g in enumerate(given)]
        pool, read = self.pool(fresh, depth)
        outs = []
        for k, (shape, dtype) in enumerate(results, 1):
            out = self.any(pool, shape, dtype)
            keep = self.rng.random() < 0.3  # perhaps a parameter as it is
            if read and k == len(results):
                total = sum(read[1:], read[0]) * (0.3 / len(read))
                if dtype == F:
                    out = self.bounded(out + broadcast(total, shape, ()))
                else:  # 0, but no compiler knows
                    out = out + convert(total, I)
            outs.append(out if dtype != F or keep else self.bounded(out))
        return Body.close(fresh, outs)

    def types(self, most: int) -> list[tuple[tuple[int, ...], str]]:
        count = int(self.rng.integers(most + 1))
        found = [(self.shape(), F) for _ in range(count)]
        if self.rng.random() < 0.3:
            found.append(((), I))
        return found

    def operands(self, pool: list[Expr], types: list[tuple[tuple[int, ...], str]]) -> list[Expr]:
        return [self.any(pool, shape, dtype) for shape, dtype in types]

    def scan(self, pool: list[Expr], depth: int) -> list[Expr]:
        n = self.n
        carried, ys = self.types(3), self.types(2) or [((), F)]
        consts = self.operands(pool, self.types(2))
        carry = self.operands(pool, carried)
        xs = [self.any(pool, (n, n)), self.any(pool, (n,), I)]
        xs = [xs[0], slice_(xs[0], (n - 1, 0), (n, n), (-1, 1)), xs[1], iota(n)]
        xs = [x for x in xs if self.rng.random() < 0.5]
        count = None
        if self.rng.random() < 0.3:
            count = bind("mod", self.any(pool, (), I), const(n + 1, I))
        rows = [gather_row(x) for x in xs]
        step = self.body([*consts, *carry, *rows], [*carried, *ys], depth - 1)
        reverse = bool(self.rng.random() < 0.3)
        return self.kept(scan(step, consts, carry, xs, n, reverse=reverse, count=count))

    def repeat(self, pool: list[Expr], depth: int) -> list[Expr]:
        """Until a number in the carry has come to a bound, or a value is small."""
        limit = int(self.rng.integers(1, 5))
        carried = [((), I), *(self.types(3) or [((), F)])]
        ys = self.types(2) if self.rng.random() < 0.5 else []
        consts = self.operands(pool, self.types(2))
        start = bind("mod", self.any(pool, (), I), const(limit, I))
        carry = [start, *self.operands(pool, carried[1:])]
        given = [*consts, *carry]
        step = self.body(given, [*carried, *ys], depth - 1)
        k = len(consts)
        outs = [step.params[k] + const(1, I), *step.outs[1:]]
        fresh = [arg(j, g.shape, g.dtype) for j, g in enumerate(given)]
        goes_on = less(fresh[k], const(limit, I))
        wide = [f for f in fresh if f.shape == (self.n,) and f.dtype == F]
        if wide and self.rng.random() < 0.5:
            goes_on = bind("logical_and", goes_on, less(bind("max", wide[0], attrs=((0,),)), 0.9))
        most = limit if ys or self.rng.random() < 0.5 else None
        test = Body.close(fresh, [goes_on])
        return self.kept(while_loop(test, Body(step.params, outs), consts, carry, most))

    def switch(self, pool: list[Expr], depth: int) -> list[Expr]:
        types = self.types(2) or [((), F)]
        operands = self.operands(pool, [*self.types(3), ((self.n,), F)])
        sides = [self.body(operands, types, depth - 1) for _ in range(self.rng.integers(2, 4))]
        if self.rng.random() < 0.5:
            index = convert(greater(self.any(pool, ()), self.any(pool, ())), I)
            return self.kept(switch(index, sides[:2], operands))
        return self.kept(switch(self.any(pool, (), I), sides, operands))

    def kept(self, results: list[Expr]) -> list[Expr]:
        """Those that the pool can use; matrices of other shapes are summed up."""
        found = []
        for r in results:
            as_float = convert(r, F)
            axes = tuple(range(r.ndim))
            self.read[-1].append(self.bounded(einsum((as_float,), (axes,), ())))
            if r.dtype != F:
                found.append(r if r.ndim < 2 else bind("max", r, attrs=((0,),)))
            elif r.ndim > 2 or (r.ndim and r.shape[0] != self.n):
                found.append(self.bounded(einsum((r,), (axes,), ())))
            else:
                found.append(r)
        return found


def gather_row(x: Expr) -> Expr:
    """A node of the type of one row of `x`."""
    return arg(0, x.shape[1:], x.dtype)
