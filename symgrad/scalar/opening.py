"""From a graph of arrays to scalars: every element of every node becomes a reference.

Arrays are held as integers that number references, 0 for the number 0. So rows that only move
elements run as they are, and zeros stay absent: what is padded, an identity matrix or a constant
with zeros costs nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from symgrad.expr.node import ARG, EYE, FLOATS, Expr, arg
from symgrad.expr.op import OPS, Kind, Op
from symgrad.expr.rounding import is_exact_conversion
from symgrad.expr.walk import toposort
from symgrad.ops.contract import steps
from symgrad.ops.einsum import sizes
from symgrad.ops.elementwise import (
    ADD,
    CONVERT,
    DIVIDE,
    MULTIPLY,
    NEGATIVE,
    POWER,
    SELECT,
    SLOPE,
    STOP_GRADIENT,
    SUBTRACT,
    sqrt,
    square,
)
from symgrad.ops.linear import PAD, SCATTER_ADD
from symgrad.scalar.matrices import Matrices
from symgrad.scalar.reach import FUNCTION, tells_signs
from symgrad.scalar.space import NotScalar, Ref, Space

SQUARE, RECIPROCAL, ABSOLUTE, EXP, HYPOT, GREATER_EQUAL = (
    OPS[name] for name in ("square", "reciprocal", "absolute", "exp", "hypot", "greater_equal")
)
_COMBINED = {row.accumulates: row for row in OPS.values() if row.accumulates is not None}
_NEVER = frozenset({Kind.CONTROL, Kind.ITEM, Kind.CHECK, Kind.SCAN})
_MOST_ELEMENTS = 4096  # of one array: beyond, no straight line is short


def is_small(outs: Sequence[Expr]) -> bool:
    """Whether results could have a scalar form: every array is small, nothing loops or decides."""
    return all(n.size <= _MOST_ELEMENTS and n.op.kind not in _NEVER for n in toposort(outs))


def _power(space: Space, a: Ref, b: Ref, dtype: str) -> Ref | None:
    """A small whole exponent, as a product."""
    exponent = b[0] if space.is_constant(b) else None
    if exponent is None or exponent != int(exponent) or not 0 < abs(exponent) <= 4:
        return None
    return space.power(a, int(exponent), dtype)


def _slope(space: Space, x: Ref, r: Ref, dtype: str) -> Ref:
    """x / r, and 0 where r is: x times that of 1, which others of a gradient share."""
    one = space.function(SLOPE, ((1.0, space.one), r), (dtype, dtype), dtype)
    return space.times(x, one, dtype)


def _back(ref: Ref, wide: str, dtype: str) -> Ref | None:
    """(float)(double)x = x: what was widened, and has its own dtype again."""
    c, n = ref
    if n.kind != FUNCTION or n.row is not CONVERT or n.types[0] != dtype or abs(c) != 1:
        return None
    if not is_exact_conversion(dtype, wide):
        return None
    k, inner = n.terms[0]
    return c * k, inner


# What rows are in normal form, on floats: (space, references, dtype) -> reference, or None.
_FORMS: dict[Op, Callable[..., Ref | None]] = {
    ADD: lambda s, a, b, t: s.add(a, b, t),
    SUBTRACT: lambda s, a, b, t: s.add(a, (-b[0], b[1]), t),
    NEGATIVE: lambda s, a, t: (-a[0], a[1]),
    MULTIPLY: lambda s, a, b, t: s.times(a, b, t),
    DIVIDE: lambda s, a, b, t: s.over(a, b, t),
    SQUARE: lambda s, a, t: s.times(a, a, t),
    RECIPROCAL: lambda s, a, t: s.over((1.0, s.one), a, t),
    POWER: _power,
    SLOPE: _slope,
}


class Opening:
    """Opens graphs into one `Space`.

    opens_functions : whether rows that are made of others are taken apart
    """

    opens_functions = True

    def __init__(self, space: Space) -> None:
        self.space = space
        self.refs: list[Ref] = [space.zero]
        self._numbers: dict[Ref, int] = {} if space.reach is not None else {space.zero: 0}
        self.known: dict[Expr, np.ndarray] = {}
        self.matrices = Matrices(self)

    def number(self, ref: Ref) -> int:
        """The number of a reference; 0 for zero, of whatever type.

        Where NaN and infinities are kept on their way, 0 is a zero of structure only: what is
        beside a diagonal, or nobody has put there.
        """
        if not ref[0] and self.space.reach is None:
            return 0
        found = self._numbers.get(ref)
        if found is None:
            found = self._numbers[ref] = len(self.refs)
            self.refs.append(ref)
        return found

    def leaves(self, args: Sequence[Expr]) -> None:
        """Elements of arguments as leaves."""
        for node in args:
            size = self._bounded(node)
            numbers = [self.number(self.space.leaf(node, k, node.dtype)) for k in range(size)]
            self.known[node] = np.array(numbers, np.int64).reshape(node.shape)

    def open(self, outs: Sequence[Expr]) -> list[np.ndarray]:
        """The numbers of the elements of `outs`, which are without composites.

        Raises NotScalar for what has no scalar form.
        """
        nodes = toposort(outs, self.known)
        self.matrices.look(nodes)
        for node in nodes:
            self.known[node] = self._opened(node)
        return [self.known[o] for o in outs]

    def elements(self, node: Expr) -> list[Ref]:
        """The references of what was opened, in the order of memory."""
        return [self.refs[k] for k in self.known[node].ravel()]

    def _bounded(self, node: Expr) -> int:
        if node.size > _MOST_ELEMENTS:
            raise NotScalar(f"{node.name} has {node.size} elements")
        return node.size

    def _opened(self, node: Expr) -> np.ndarray:
        self._bounded(node)
        row = node.op
        given = [self.known[a] for a in node.args]
        if row.kind is Kind.SOURCE and row is not ARG:
            values = np.asarray(row.evaluate(*node.attrs))
            if row is EYE:
                return values.astype(np.int64) * self.number((1.0, self.space.one))
            return self._array([self.space.constant(v, node.dtype) for v in values.flat], node)
        if row is STOP_GRADIENT:
            return given[0]
        if row is CONVERT and node.args[0].dtype == node.dtype:
            return given[0]
        if row.kind is Kind.ELEMENTWISE or row is CONVERT:
            columns = [[self.refs[k] for k in g.ravel()] for g in given]
            types = tuple(a.dtype for a in node.args)
            return self._array(
                [self.element(row, refs, types, node.dtype, node.attrs)
                 for refs in zip(*columns, strict=True)], node,
            )  # fmt: skip
        if row.indices is not None:
            given[row.indices] = self._fixed(node, given[row.indices])
        if row is SCATTER_ADD:
            return self._scattered(node, *given)
        if row.moves is not None or row is PAD:
            return np.asarray(row.evaluate(*given, *node.attrs), np.int64)
        if row in self.matrices.calls:
            return self.matrices.calls[row](node, given)
        if row.kind is Kind.EINSUM:
            return self._contracted(node, given)
        if row.combine is not None and row.combine[0] in _COMBINED and row.kind is not Kind.SCAN:
            return self._reduced(node, given[0])
        raise NotScalar(f"{row.name} has no scalar form")

    def element(
        self, row: Op, refs: Sequence[Ref], types: Sequence[str], dtype: str,
        attrs: tuple[Any, ...] = (),
    ) -> Ref:  # fmt: skip
        """An elementwise row of scalars."""
        if row is SELECT:
            return self._selected(refs, types, dtype)
        if row is CONVERT and (found := _back(refs[0], types[0], dtype)) is not None:
            return found
        opens = row.of_decay is not None or row is HYPOT and not self.space.keeps_products
        if self.opens_functions and opens:
            return self._taken_apart(row, refs, types, dtype)
        if dtype in FLOATS and row in _FORMS:
            found = _FORMS[row](self.space, *refs, dtype)
            if found is not None:
                return found
        self._require_signs(row, refs, attrs)
        return self.space.function(row, refs, types, dtype, attrs)

    def _require_signs(self, row: Op, refs: Sequence[Ref], attrs: tuple[Any, ...]) -> None:
        """0 - x is 0 at 0, and -x is -0: on the other side of the cut of arctan2."""
        reach = self.space.reach
        if reach is not None and any(reach.is_doubtful(*r) for r in refs):
            if tells_signs(row, len(refs), attrs):
                raise NotScalar(f"{row.name} would see another sign of a zero")

    def _taken_apart(self, row: Op, refs: Sequence[Ref], types: Sequence[str], dtype: str) -> Ref:
        """A row made of others, some of which others need as well."""
        args = [arg(k, (), dtype) for k in range(2)]
        if row is HYPOT:
            given, out = refs, sqrt(square(args[0]) + square(args[1]))
        else:
            size = self.element(ABSOLUTE, refs, types, dtype)
            decay = self.element(EXP, ((-size[0], size[1]),), types, dtype)
            assert row.of_decay is not None
            given, out = [refs[0], decay], row.of_decay(*args)
            self._meet(refs[0], decay, dtype)
        self.known |= dict(zip(args, (self._array([r], args[0]) for r in given), strict=True))
        self.open([out])
        return self.elements(out)[0]

    def _meet(self, x: Ref, decay: Ref, dtype: str) -> None:
        """(x >= 0 ? 1 : e) (-x >= 0 ? 1 : e) = e, in the product of sigmoids of x and -x."""
        one, sides = (1.0, self.space.one), []
        for side in (x, (-x[0], x[1])):
            zero = (side, self.space.zero)
            above = self.element(GREATER_EQUAL, zero, (dtype, dtype), "bool")
            chosen = self.element(SELECT, (above, one, decay), ("bool", dtype, dtype), dtype)
            sides.append(chosen[1])
        a, b = sides
        if a.kind == b.kind == FUNCTION and (b, a) not in self.space.known_products:
            self.space.known_products[a, b] = decay

    def _selected(self, refs: Sequence[Ref], types: Sequence[str], dtype: str) -> Ref:
        condition, a, b = refs
        if self.space.is_constant(condition):
            return a if condition[0] else b
        if a == b:
            return a
        sizes = {abs(r[0]) for r in (a, b)}
        if self.space.reach is None:  # c x or 0, whose sign does not count
            sizes.discard(0.0)
        common = a[0] or b[0]
        numbers = [r[0] for r in (a, b) if r[0] and self.space.is_constant(r)]
        if dtype in FLOATS and len(sizes) == 1 and common != 1 and not numbers:
            a, b = ((r[0] / common, r[1]) if r[0] else r for r in (a, b))  # ± one of both
            chosen = self.space.function(SELECT, (condition, a, b), types, dtype)
            return common * chosen[0], chosen[1]
        return self.space.function(SELECT, refs, types, dtype)

    def _array(self, refs: Sequence[Ref], node: Expr) -> np.ndarray:
        return np.array([self.number(r) for r in refs], np.int64).reshape(node.shape)

    def _fixed(self, node: Expr, numbers: np.ndarray) -> np.ndarray:
        """Indices, which have to be known."""
        refs = [self.refs[k] for k in numbers.ravel()]
        if not all(self.space.is_constant(r) for r in refs):
            raise NotScalar(f"{node.name} by indices that are known in the call only")
        return np.array([int(c) for c, _ in refs], np.int64).reshape(numbers.shape)

    def _scattered(self, node: Expr, ct: np.ndarray, index: np.ndarray) -> np.ndarray:
        axis, size = node.attrs
        out = np.zeros(node.shape, np.int64)
        lead = ct.shape[:axis]
        rest = ct.shape[axis + index.ndim :]
        places = itertools.product(np.ndindex(*lead), np.ndindex(*index.shape), np.ndindex(*rest))
        for i, j, k in places:
            at = (*i, int(index[j]) % size, *k)
            total = self._combined(ADD, (out[at], ct[(*i, *j, *k)]), node.dtype)
            out[at] = self.number(total)
        return out

    def _combined(self, row: Op, numbers: Sequence[int], dtype: str) -> Ref:
        refs = [self.refs[k] for k in numbers]
        total = refs[0]
        for ref in refs[1:]:
            total = self.element(row, (total, ref), (dtype, dtype), dtype)
        return total

    def _reduced(self, node: Expr, x: np.ndarray) -> np.ndarray:
        row, axes = node.op, node.attrs[0]
        combined = _COMBINED[row.combine[0]]  # type: ignore[index]
        kept = [k for k in range(x.ndim) if k not in axes]
        lines = np.transpose(x, (*kept, *axes)).reshape(max(node.size, 1), -1)
        if not lines.shape[1]:
            raise NotScalar(f"{row.name} of nothing")
        dtype = node.args[0].dtype
        found = [self._combined(combined, line.tolist(), dtype) for line in lines]
        if combined is ADD:
            found = [self._from_zero(total) for total in found]
        return self._array(found, node)

    def _contracted(self, node: Expr, given: list[np.ndarray]) -> np.ndarray:
        """Pairwise along the order in which lowering would, so that no product is made whole."""
        inputs, output = node.attrs
        size = sizes(node.args, inputs)
        factors = list(given)
        for step in steps(inputs, output, size):
            chosen = [factors[i] for i in step.positions]
            for i in reversed(step.positions):
                del factors[i]
            factors.append(self._product(chosen, step.inputs, step.output, size, node.dtype))
        return factors[-1]

    def _product(
        self, factors: Sequence[np.ndarray], inputs: Sequence[Any], output: Sequence[Any],
        size: Mapping[Any, int], dtype: str,
    ) -> np.ndarray:  # fmt: skip
        summed = [k for k in dict.fromkeys(k for t in inputs for k in t) if k not in output]
        shape = tuple(size[k] for k in output)
        out = np.zeros(shape, np.int64)
        for place in np.ndindex(*shape):
            at = dict(zip(output, place, strict=True))
            total = self.space.zero
            for inner in np.ndindex(*[size[k] for k in summed]):
                at.update(zip(summed, inner, strict=True))
                numbers = [int(f[tuple(at[k] for k in t)])
                           for f, t in zip(factors, inputs, strict=True)]  # fmt: skip
                if all(numbers):
                    term = self._combined(MULTIPLY, numbers, dtype)
                    total = self.element(ADD, (total, term), (dtype, dtype), dtype)
            out[place] = self.number(self._from_zero(total) if summed else total)
        return out

    def _from_zero(self, total: Ref) -> Ref:
        """A sum, of which is noted that loops add it to a 0: there it is never -0."""
        if self.space.reach is not None:
            self.space.reach.added_to_zero(*total)
        return total
