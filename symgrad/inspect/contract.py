"""einsum as matrix products: reduces a contraction to matrix notation, label by label.

Vectors sit on labels, matrices are edges between two labels. A summed label with one edge is a
matrix-vector product, with two a matrix product, with none a dot product; parallel edges are an
elementwise product; a closed cycle is a trace. What does not reduce has no matrix notation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from symgrad.inspect.algebra import (
    add,
    call,
    diagonal,
    hadamard,
    is_number,
    matmul,
    number,
    ones,
    squared_norm,
    transpose,
)
from symgrad.inspect.formula import Formula, turned


class Contraction:
    """One einsum on its way to matrix notation."""

    def __init__(
        self,
        sizes: dict[int, int],
        output: tuple[int, ...],
        shorten: Callable[[Formula], Formula],
    ) -> None:
        self.sizes = sizes
        self.shorten = shorten  # gives a name to what is too large to stand in diag(…)
        self.output = output
        self.scalars: list[Formula] = []
        self.vectors: dict[int, list[Formula]] = {k: [] for k in sizes}
        self.edges: list[tuple[int, int, Formula]] = []
        self.live = set(sizes)

    def vector(self, label: int, f: Formula) -> None:
        self.vectors[label].append(f)

    def edge(self, a: int, b: int, f: Formula) -> None:
        self.edges.append((a, b, f))

    def _on(self, label: int) -> list[tuple[int, int, Formula]]:
        return [e for e in self.edges if label in e[:2]]

    def _from(self, label: int, edge: tuple[int, int, Formula]) -> Formula:
        """The matrix of an edge, its rows at `label`."""
        return edge[2] if edge[0] == label else transpose(edge[2])

    def _weights(self, label: int) -> list[Formula]:
        """diag of what sits on a label, if anything does."""
        found = self.vectors[label]
        return [diagonal(hadamard(found), self.shorten)] if found else []

    def _column(self, label: int) -> Formula:
        found = self.vectors[label]
        return hadamard(found) if found else ones(self.sizes[label])

    def reduce(self) -> Formula | None:
        """The formula, or None if matrix notation does not reach."""
        if len(self.output) > 2:
            return None
        while self._step():
            pass
        left = self.live - set(self.output)
        if left:
            return None
        if not self.output:
            return matmul(self.scalars, 0)
        if len(self.output) == 1:
            return hadamard([*self.scalars, self._column(self.output[0])])
        i, j = self.output
        if self.edges:
            body = [*self._weights(i), self._from(i, self.edges[0]), *self._weights(j)]
        else:
            body = [self._column(i), transpose(self._column(j))]
        return matmul([*self.scalars, *body], 2)

    def _step(self) -> bool:
        summed = sorted(self.live - set(self.output))
        for k in summed:
            if not self._on(k):
                self.scalars.append(self._dot(k))
                self.live.remove(k)
                return True
        for k in summed:
            on = self._on(k)
            if len(on) == 1:
                a = on[0][0] if on[0][1] == k else on[0][1]
                self.edges.remove(on[0])
                if not (a in self.output or self._on(a) or self.vectors[a] or self.vectors[k]):
                    rows, columns = (self.sizes[e] for e in on[0][:2])
                    self.scalars.append(whole_sum(on[0][2], rows, columns))
                    self.live -= {a, k}
                    return True
                self.vector(a, matmul([self._from(a, on[0]), self._column(k)], 1))
                self.live.remove(k)
                return True
        for k in summed:
            on = self._on(k)
            if len(on) == 2:
                a, b = (e[0] if e[1] == k else e[1] for e in on)
                if a == b and a not in self.output and len(self._on(a)) == 2:
                    self._close(a, k, on)
                    return True
                if a != b:
                    if a > b:
                        a, b, on = b, a, on[::-1]
                    left, right = self._from(a, on[0]), self._from(k, on[1])
                    for e in on:
                        self.edges.remove(e)
                    self.edge(a, b, matmul([left, *self._weights(k), right], 2))
                    self.live.remove(k)
                    return True
        for x, first in enumerate(self.edges):
            for second in self.edges[x + 1 :]:
                if {*first[:2]} == {*second[:2]}:
                    a, b = first[:2]
                    self.edges.remove(first)
                    self.edges.remove(second)
                    self.edge(a, b, hadamard([first[2], self._from(a, second)]))
                    return True
        return False

    def _dot(self, k: int) -> Formula:
        found = self.vectors[k]
        if not found:
            return number(np.int64(self.sizes[k]))
        if len(found) == 1:
            return total(found[0], self.sizes[k])
        if len(found) == 2:
            return dot(found[0], found[1])
        return dot(found[0], hadamard(found[1:]))

    def _close(self, a: int, k: int, on: list[tuple[int, int, Formula]]) -> None:
        """The trace of a cycle of two edges."""
        if on[0][0] == k:
            a, k = k, a
        first, second = self._from(a, on[0]), self._from(k, on[1])
        if not self.vectors[a] and not self.vectors[k]:
            if first.same(transpose(second)):
                self.scalars.append(squared_norm(second if second.kind != "T" else first))
            else:
                flipped = [transpose(second), transpose(first)]
                pair = min([first, second], flipped, key=_turned)
                self.scalars.append(trace(matmul(pair, 2)))
        else:
            ring = [*self._weights(a), first, *self._weights(k), second]
            self.scalars.append(trace(matmul(ring, 2)))
        for e in on:
            self.edges.remove(e)
        self.live -= {a, k}


def _turned(factors: list[Formula]) -> tuple[int, bool]:
    """How many transposes a product shows, and whether they stand late."""
    count = 0
    for f in factors:
        count += sum(x.kind == "T" for x in (f.args if f.kind == "mat" else (f,)))
    return count, factors[0].kind != "T"


def trace(f: Formula) -> Formula:
    """tr(f)."""
    sign = f.kind == "neg"
    inner = f.args[0] if sign else f
    if inner.kind == "mul":
        return matmul([*f_sign(sign), *inner.args[:-1], trace(inner.args[-1])], 0)
    return matmul([*f_sign(sign), call("tr", r"\operatorname{tr}", [inner], 0)], 0)


def f_sign(negative: bool) -> list[Formula]:
    """−1 as a factor, if negative."""
    return [number(np.int64(-1))] if negative else []


def dot(a: Formula, b: Formula) -> Formula:
    """aᵀ b, turned so that few transposes show."""
    options = [[transpose(a), b], [transpose(b), a]]
    return matmul(min(options, key=_turned), 0)


def whole_sum(f: Formula, rows: int, columns: int) -> Formula:
    """The sum of a matrix' elements: ‖A‖_F², or 1ᵀ A 1."""
    if f.kind == "T":
        f, rows, columns = f.args[0], columns, rows
    if f.kind == "pow" and is_number(f.args[1], "2"):
        return squared_norm(min(f.args[0], transpose(f.args[0]), key=turned))
    return matmul([transpose(ones(rows)), f, ones(columns)], 0)


def _sums_well(f: Formula) -> bool:
    while f.kind in ("neg", "mul"):
        f = f.args[-1]
    return (f.kind == "pow" and is_number(f.args[1], "2")) or (f.kind == "had" and len(f.args) == 2)


def total(f: Formula, size: int) -> Formula:
    """The sum of a vector's elements: 1ᵀ x, or uᵀ v and ‖x‖² where x is a product or a square."""
    if f.kind == "neg":
        return matmul([number(np.int64(-1)), total(f.args[0], size)], 0)
    if f.kind == "mul":
        return matmul([*f.args[:-1], total(f.args[-1], size)], 0)
    if f.rank == 0:
        return matmul([number(np.int64(size)), f], 0)
    if f.kind == "pow" and is_number(f.args[1], "2"):
        return squared_norm(f.args[0])
    if f.kind == "had" and len(f.args) == 2:
        return dot(f.args[0], f.args[1])
    if f.kind == "ones":
        return number(np.int64(size))
    if f.kind == "sum" and all(_sums_well(t) for t in f.args):
        return add([total(t, size) for t in f.args], reorder=False)
    return matmul([transpose(ones(size)), f], 0)
