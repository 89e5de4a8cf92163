"""Small matrices written out: LU with partial pivoting, Cholesky, triangular systems.

Rows are exchanged by selections, so no step is left out and nothing branches. A column whose other
entries are structural zeros needs none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.expr.node import Expr
from symgrad.expr.op import OPS
from symgrad.ops.elementwise import EQUAL, NOT, NOT_EQUAL, OR, SELECT, SLOPE
from symgrad.scalar.space import NotScalar, Ref

Rows = list[list[Ref]]
Swap = tuple[int, int, Ref]  # two rows, and whether they stay where they are
_ABSOLUTE, _LESS_EQUAL, _GREATER, _SQRT, _LOG, _SIGN = (
    OPS[name] for name in ("absolute", "less_equal", "greater", "sqrt", "log", "sign")
)
LU_FACTOR = OPS["lu_factor"]
WITH_FACTORS = frozenset(
    OPS[name] for name in ("lu_solve", "lu_det", "lu_logabsdet", "lu_detsign")
)  # rows that read what LU_FACTOR gives
WITHOUT_FACTORS = frozenset((LU_FACTOR, OPS["cholesky_factor"], OPS["solve_triangular"]))
_MEASURES = frozenset(OPS[name] for name in ("lu_det", "lu_logabsdet", "lu_detsign"))
MOST_ORDER = 8  # of a matrix that is written out


@dataclass(frozen=True)
class Factors:
    """P a = L U: below the diagonal of `rows` L without its ones; `swaps` in their order."""

    rows: Rows
    swaps: list[Swap]


class Matrices:
    """What rows of linear algebra are on scalars, in terms of what elementwise rows are.

    element : of `Opening`
    singular : conditions under which a matrix is singular, or not positive definite
    """

    def __init__(self, opening: Any) -> None:
        self.opening, self.space = opening, opening.space
        self.singular: dict[Ref, None] = {}
        self._factors: dict[Expr, list[Factors]] = {}
        self._measured: set[Expr] = set()  # factors that determinants are taken of
        self.calls = {
            LU_FACTOR: self._lu_factor,
            OPS["lu_solve"]: self._lu_solve,
            OPS["lu_det"]: self._lu_det,
            OPS["lu_logabsdet"]: self._lu_logabsdet,
            OPS["lu_detsign"]: self._lu_detsign,
            OPS["cholesky_factor"]: self._cholesky,
            OPS["solve_triangular"]: self._triangular,
        }
        assert self.calls.keys() == {*WITH_FACTORS, *WITHOUT_FACTORS}

    def look(self, nodes: Sequence[Expr]) -> None:
        """Note what reads factors, before they are opened."""
        self._measured.update(n.args[0] for n in nodes if n.op in _MEASURES)

    # ---- scalars -----------------------------------------------------------------------------

    def _less(self, a: Ref, b: Ref, factor: Ref, dtype: str) -> Ref:
        """a - factor b"""
        product = self.space.times(factor, b, dtype)
        total: Ref = self.space.add(a, (-product[0], product[1]), dtype)
        return total

    def _apply(self, row: Any, args: tuple[Ref, ...], dtype: str, out: str = "") -> Ref:
        types = (dtype,) * len(args)
        found: Ref = self.opening.element(row, args, types, out or dtype)
        return found

    def _exchanged(self, rows: Rows, swap: Swap, dtype: str) -> None:
        i, j, condition = swap
        for k, (a, b) in enumerate(zip(rows[i], rows[j], strict=True)):
            for row, one, other in ((i, a, b), (j, b, a)):
                rows[row][k] = self.opening.element(
                    SELECT, (condition, one, other), ("bool", dtype, dtype), dtype
                )

    def _refuse(self, condition: Ref) -> None:
        """What makes a function fail, unless it never holds."""
        if self.space.is_constant(condition):
            if condition[0]:
                raise NotScalar("a matrix is singular whatever its entries are")
            return
        self.singular[condition] = None

    # ---- rows --------------------------------------------------------------------------------

    def _each(self, array: np.ndarray) -> list[Rows]:
        """The matrices of an array of numbers, as references."""
        refs = self.opening.refs
        n, m = array.shape[-2:]
        if max(n, m) > MOST_ORDER + 1:
            raise NotScalar(f"a matrix of shape {(n, m)} has no scalar form")
        count = math.prod(array.shape[:-2])  # not -1: there may be no columns
        return [[[refs[k] for k in row] for row in matrix] for matrix in array.reshape(count, n, m)]

    def _joined(self, found: list[Any], node: Expr) -> np.ndarray:
        flat = [self.opening.number(r) for r in found]
        return np.array(flat, np.int64).reshape(node.shape)

    def _flat(self, matrices: list[Rows]) -> list[Ref]:
        return [r for rows in matrices for row in rows for r in row]

    def _lu_factor(self, node: Expr, given: list[np.ndarray]) -> np.ndarray:
        singular = node in self._measured
        made = [self._factored(rows, node.dtype, singular) for rows in self._each(given[0])]
        self._factors[node] = made
        last = [self.space.zero] * node.shape[-1]  # who exchanges rows asks `_factors`
        return self._joined(self._flat([[*f.rows, last] for f in made]), node)

    def _factored(self, rows: Rows, dtype: str, singular: bool) -> Factors:
        """singular : whether factors of a singular matrix are of use: a column of zeros is left."""
        n, swaps = len(rows), []
        for k in range(n):
            for i in range(k + 1, n):
                if not rows[i][k][0]:
                    continue
                size = [self._apply(_ABSOLUTE, (r[k],), dtype) for r in (rows[i], rows[k])]
                stays = self._apply(_LESS_EQUAL, (size[0], size[1]), dtype, "bool")
                if self.space.reach is not None:  # NaN takes the place of a zero, and keeps it
                    is_nan = self._apply(NOT_EQUAL, (rows[k][k], rows[k][k]), dtype, "bool")
                    stays = self._apply(OR, (stays, is_nan), "bool")
                swap = k, i, stays
                swaps.append(swap)
                self._exchanged(rows, swap, dtype)
            for i in range(k + 1, n):
                if not rows[i][k][0]:
                    continue
                if not rows[k][k][0]:
                    raise NotScalar("a matrix is singular whatever its entries are")
                if singular and not self.space.is_constant(rows[k][k]):
                    factor = self._apply(SLOPE, (rows[i][k], rows[k][k]), dtype)
                else:
                    factor = self.space.over(rows[i][k], rows[k][k], dtype, True)
                rows[i][k] = factor
                for j in range(k + 1, n):
                    rows[i][j] = self._less(rows[i][j], rows[k][j], factor, dtype)
        return Factors(rows, swaps)

    def _of(self, node: Expr) -> list[Factors]:
        found = self._factors.get(node.args[0])
        if found is None:
            raise NotScalar("factors of a matrix that are moved have no scalar form")
        return found

    def _lu_solve(self, node: Expr, given: list[np.ndarray]) -> np.ndarray:
        (transposed,) = node.attrs
        dtype, solved = node.dtype, []
        for f, x in zip(self._of(node), self._each(given[1]), strict=True):
            for k, row in enumerate(f.rows):
                self._refuse(self._apply(EQUAL, (row[k], self.space.zero), dtype, "bool"))
            if transposed:
                self._substitute(f.rows, x, (False, True, False), dtype)
                self._substitute(f.rows, x, (True, True, True), dtype)
                for swap in reversed(f.swaps):
                    self._exchanged(x, swap, dtype)
            else:
                for swap in f.swaps:
                    self._exchanged(x, swap, dtype)
                self._substitute(f.rows, x, (True, False, True), dtype)
                self._substitute(f.rows, x, (False, False, False), dtype)
            solved.append(x)
        return self._joined(self._flat(solved), node)

    def _substitute(self, t: Rows, x: Rows, attrs: tuple[bool, ...], dtype: str) -> None:
        """Solve with a triangle of t, in place; attributes as of `solve_triangular`."""
        lower, transposed, unit = attrs
        n = len(t)
        forward = lower is not transposed
        for i in range(n) if forward else reversed(range(n)):
            for k in range(i) if forward else range(i + 1, n):
                entry = t[k][i] if transposed else t[i][k]
                for c in range(len(x[i])):
                    x[i][c] = self._less(x[i][c], x[k][c], entry, dtype)
            if not unit:
                x[i] = [self.space.over(r, t[i][i], dtype, True) for r in x[i]]

    def _triangular(self, node: Expr, given: list[np.ndarray]) -> np.ndarray:
        solved = self._each(given[1])
        for t, x in zip(self._each(given[0]), solved, strict=True):
            if not node.attrs[2]:
                for k, row in enumerate(t):
                    zero = (row[k], self.space.zero)
                    self._refuse(self._apply(EQUAL, zero, node.dtype, "bool"))
            self._substitute(t, x, node.attrs, node.dtype)
        return self._joined(self._flat(solved), node)

    def _signed(self, f: Factors, sign: Ref, dtype: str) -> Ref:
        for _, _, condition in f.swaps:
            args = condition, sign, (-sign[0], sign[1])
            sign = self.opening.element(SELECT, args, ("bool", dtype, dtype), dtype)
        return sign

    def _lu_det(self, node: Expr, given: list[np.ndarray]) -> np.ndarray:
        found = []
        for f in self._of(node):
            total: Ref = (1.0, self.space.one)
            for k, row in enumerate(f.rows):
                total = self.space.times(total, row[k], node.dtype)
            found.append(self._signed(f, total, node.dtype))
        return self._joined(found, node)

    def _lu_logabsdet(self, node: Expr, given: list[np.ndarray]) -> np.ndarray:
        found = []
        for f in self._of(node):
            total = self.space.zero
            for k, row in enumerate(f.rows):
                size = self._apply(_ABSOLUTE, (row[k],), node.dtype)
                total = self.space.add(total, self._apply(_LOG, (size,), node.dtype), node.dtype)
            found.append(total)
        return self._joined(found, node)

    def _lu_detsign(self, node: Expr, given: list[np.ndarray]) -> np.ndarray:
        found = []
        for f in self._of(node):
            total: Ref = (1.0, self.space.one)
            for k, row in enumerate(f.rows):
                sign = self._apply(_SIGN, (row[k],), node.dtype)
                total = self.space.times(total, sign, node.dtype)
            found.append(self._signed(f, total, node.dtype))
        return self._joined(found, node)

    def _cholesky(self, node: Expr, given: list[np.ndarray]) -> np.ndarray:
        dtype, made = node.dtype, []
        for rows in self._each(given[0]):
            n = len(rows)
            for k in range(n):
                positive = self._apply(_GREATER, (rows[k][k], self.space.zero), dtype, "bool")
                self._refuse(self._apply(NOT, (positive,), "bool"))
                root = rows[k][k] = self._apply(_SQRT, (rows[k][k],), dtype)
                for i in range(k + 1, n):
                    rows[i][k] = self.space.over(rows[i][k], root, dtype, True)
                for i in range(k + 1, n):
                    for j in range(k + 1, i + 1):
                        rows[i][j] = self._less(rows[i][j], rows[j][k], rows[i][k], dtype)
                    rows[k][i] = self.space.zero
            made.append(rows)
        return self._joined(self._flat(made), node)
