"""Which entries of a Jacobian can be non-zero, read off the graph.

Every node carries a boolean CSR matrix: row = element of the node in C order, column = element of
the variable. A node's matrix follows from those of its arguments by the *kind* of its row:

    elementwise               union of the operands' rows
    linear with `element`     each row is one row of the argument, or empty
    sum, scatter_add, reduce  rows united along the map input element -> output element
    einsum                    rows united wherever labels agree; zeros of captured factors count
    scan                      rows united with all that come before
    call                      dense within one matrix, batch axes stay apart
    control                   `sparse.bodies`: through the bodies, round by round

All of it is whole-array work. The result is a superset of the true pattern, and equal to it unless
values cancel. Where an operand is a captured array, its zeros are structural.

Griewank & Walther, Evaluating Derivatives, 2008, section 7.1 (sparse index-domain propagation).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.errors import GraphTooLargeError, MissingPackageError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import ARG, CONST, FLOATS, Expr, arg, const_value
from symgrad.expr.op import Kind
from symgrad.expr.walk import expand_composites, toposort
from symgrad.ops.einsum import sizes
from symgrad.ops.elementwise import CONVERT, SELECT
from symgrad.ops.linear import CONCAT
from symgrad.sparse.bodies import through

_MOST_ENTRIES = 2**27  # 1 GiB of values; past this a "sparse" matrix is a mistake


def scipy_sparse() -> Any:
    """The module scipy.sparse, imported when the first sparse derivative is taken.

    Raises MissingPackageError (an ImportError) if SciPy is not installed.
    """
    try:
        import scipy.sparse
    except ImportError as error:
        raise MissingPackageError(
            "sparse derivatives need SciPy: pip install symgrad[sparse]"
        ) from error
    return scipy.sparse


@dataclass(frozen=True, eq=False)
class Pattern:
    """Positions of the entries of a sparse matrix in CSR order, sorted within rows; read-only.

    shape : (rows, columns)
    indptr : integer [rows + 1]; indices : integer [nnz], both int32 where that is enough
    """

    shape: tuple[int, int]
    indptr: np.ndarray
    indices: np.ndarray

    @classmethod
    def of(cls, matrix: Any) -> Pattern:
        """The pattern of a scipy CSR matrix."""
        matrix.sum_duplicates()  # sorts as well
        wide = max(*matrix.shape, matrix.nnz) > np.iinfo(np.int32).max
        dtype = np.int64 if wide else np.int32
        return cls(matrix.shape, matrix.indptr.astype(dtype), matrix.indices.astype(dtype))

    def __post_init__(self) -> None:
        self.indptr.flags.writeable = self.indices.flags.writeable = False

    def __reduce__(self) -> Any:
        return Pattern, (self.shape, self.indptr, self.indices)

    @property
    def nnz(self) -> int:
        return len(self.indices)

    def rows(self) -> np.ndarray:
        """The row of every entry."""
        return np.repeat(np.arange(self.shape[0], dtype=self.indptr.dtype), np.diff(self.indptr))


def jacobian_pattern(out: Expr, wrt: Expr) -> Pattern:
    """Structural pattern of ∂ out / ∂ wrt, both flattened in C order: shape (out.size, wrt.size).

    Raises GraphTooLargeError if it, or a step on the way, has more than 2**27 entries.
    """
    (out,) = expand_composites([out])
    return Pattern.of(_Propagation(wrt).run(out))


def symmetric(pattern: Pattern) -> Pattern:
    """The union of a square pattern and its transpose."""
    ones = np.ones(pattern.nnz, bool)
    matrix = scipy_sparse().csr_array((ones, pattern.indices, pattern.indptr), pattern.shape)
    return Pattern.of((matrix + matrix.T).tocsr())


class _Propagation:
    """One forward pass. A node without an entry in `known` does not depend on the variable."""

    def __init__(self, wrt: Expr) -> None:
        self.csr = scipy_sparse().csr_array
        self.wrt = wrt
        self.columns = wrt.size
        self.known: dict[Expr, Any] = {}
        self.fixed: dict[Expr, bool] = {}
        self.values: dict[Expr, np.ndarray] = {}
        self.unions: dict[tuple[int, int], Any] = {}
        self.several: dict[Expr, dict[int, Any]] = {}  # of the results of control nodes

    def run(self, out: Expr) -> Any:
        return self.all([out])[0]

    def all(self, outs: Sequence[Expr]) -> list[Any]:
        """The matrices of `outs`."""
        self._walk(outs)
        return [self._or_empty(self.known.get(o), o.size) for o in outs]

    def inside(self, outs: Sequence[Expr], given: Mapping[Expr, Any]) -> list[Any]:
        """Those of the results of a body, from those of its arguments; None for empty ones."""
        inner = _Propagation(self.wrt)
        inner.known = {a: m for a, m in given.items() if m is not None and m.nnz}
        inner._walk(outs)
        return [inner.known.get(o) for o in outs]

    def _or_empty(self, matrix: Any, rows: int) -> Any:
        if matrix is None:
            return self._matrix(rows, np.zeros(rows + 1, np.int64), np.zeros(0, np.int64))
        return matrix

    def _walk(self, outs: Sequence[Expr]) -> None:
        known = self.known
        for node in toposort(outs):
            self.fixed[node] = node.op is not ARG and all(self.fixed[a] for a in node.args)
            if node is self.wrt:
                identity = np.arange(self.columns + 1)
                known[node] = self._matrix(self.columns, identity, identity[:-1])
            elif node in known:
                continue
            elif node.op.kind is Kind.CONTROL:
                if any(a in known for a in node.args):
                    self.several[node] = through(self, node)
            elif node.dtype in FLOATS:
                matrix = None
                if node.op.kind is Kind.ITEM:
                    matrix = self.several.get(node.args[0], {}).get(node.attrs[0])
                elif any(a in known for a in node.args):
                    matrix = self._node(node)
                if matrix is not None and matrix.nnz:
                    known[node] = matrix

    # ---- one node --------------------------------------------------------------------------------

    def _node(self, node: Expr) -> Any:
        kind = node.op.kind
        if kind is Kind.ELEMENTWISE:
            return self._elementwise(node)
        if node.op is CONVERT:
            return self.known[node.args[0]]
        if node.op is CONCAT:
            return self._concat(node)
        if kind is Kind.LINEAR:
            return self._linear(node)
        if kind is Kind.REDUCE:
            return self._united(self.known[node.args[0]], _reduced(node), node.size)
        if kind is Kind.EINSUM:
            return self._einsum(node)
        if kind is Kind.SCAN:
            return self._scan(node)
        return self._dense(node)

    def _elementwise(self, node: Expr) -> Any:
        partials = node.op.partials or (None,) * len(node.args)
        total = None
        for k, (a, partial) in enumerate(zip(node.args, partials, strict=True)):
            if a not in self.known or (partial is None and node.op is not SELECT):
                continue
            matrix = self.known[a]
            kept = self._reached(node, k, partial)
            if kept is not None and not kept.all():
                matrix = self._taken(matrix, np.where(kept, np.arange(node.size), -1))
            total = matrix if total is None else self._union(total, matrix)
        return total

    def _reached(self, node: Expr, k: int, partial: Any) -> np.ndarray | None:
        """Which elements of operand k matter, where a captured array decides; None: all."""
        if node.op is SELECT and self.fixed[node.args[0]]:
            condition = self._value(node.args[0]).reshape(-1)
            return condition if k == 1 else ~condition
        factor = None if partial is None else partial(*node.args, node)
        if isinstance(factor, Expr) and self.fixed.get(factor):
            matter: np.ndarray = self._value(factor).reshape(-1) != 0
            return matter
        return None

    def _linear(self, node: Expr) -> Any:
        x = node.args[0]
        matrix = self.known.get(x)
        if matrix is None:
            return None
        if not all(self.fixed[a] for a in node.args[1:]):  # an index that is only known at run time
            return self._between(node, node.attrs[0], x)
        if node.op.element is not None:
            return self._taken(matrix, sources(node))
        return self._united(matrix, targets(node), node.size)

    def _concat(self, node: Expr) -> Any:
        """Rows of all operands one below the other, then picked in the order of the result."""
        axis, start = node.attrs[0], 0
        parts, ramps = [], []
        for a in node.args:
            parts.append(self.known.get(a))
            ramps.append(np.arange(start, start + a.size).reshape(a.shape))
            start += a.size
        counts = [np.zeros(a.size, np.int64) if m is None else np.diff(m.indptr)
                  for a, m in zip(node.args, parts, strict=True)]  # fmt: skip
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        indices = np.concatenate([m.indices for m in parts if m is not None])
        stacked = self._matrix(start, indptr, indices)
        order = np.concatenate(ramps, axis=axis).reshape(-1)
        return stacked if axis == 0 else self._taken(stacked, order)

    def _einsum(self, node: Expr) -> Any:
        inputs, output = node.attrs
        size = sizes(node.args, inputs)
        total = None
        for k, (a, labels) in enumerate(zip(node.args, inputs, strict=True)):
            if a not in self.known:
                continue
            # One entry of the selector per assignment of the labels of this factor and the result.
            wanted = [*output, *dict.fromkeys(j for j in labels if j not in output)]
            shape = tuple(size[j] for j in wanted)
            self._affordable(math.prod(shape))
            index = dict(zip(wanted, np.ogrid[tuple(slice(n) for n in shape)], strict=True))
            row = _flat([index[j] for j in output], node.shape)
            column = _flat([index[j] for j in labels], a.shape)
            row, column = (np.broadcast_to(x, shape) for x in (row, column))
            mask = self._nonzero(node, k, wanted, shape)
            if mask is not None:
                row, column = row[mask], column[mask]
            matrix = self._selected(row.reshape(-1), column.reshape(-1), node.size, a)
            total = matrix if total is None else self._union(total, matrix)
        return total

    def _nonzero(self, node: Expr, k: int, wanted: list[int], shape: Any) -> np.ndarray | None:
        """Where the product of the captured factors can be non-zero, over the labels `wanted`."""
        inputs, _ = node.attrs
        operands: list[Any] = []
        for j, (a, labels) in enumerate(zip(node.args, inputs, strict=True)):
            if j != k and self.fixed[a] and a.op is not CONST:
                operands += [(self._value(a) != 0).astype(np.float32), list(labels)]
        if not operands:
            return None
        covered = [j for j in wanted if any(j in t for t in operands[1::2])]
        mask = np.einsum(*operands, covered) > 0
        full = [n if j in covered else 1 for j, n in zip(wanted, shape, strict=True)]
        return np.broadcast_to(mask.reshape(full), shape)

    def _scan(self, node: Expr) -> Any:
        axis, reverse = node.attrs
        n = node.shape[axis]
        self._affordable(node.size * (n + 1) // 2)
        later, earlier = np.tril_indices(n)
        if reverse:
            later, earlier = n - 1 - later, n - 1 - earlier
        lanes = np.moveaxis(np.arange(node.size).reshape(node.shape), axis, 0).reshape(n, -1)
        total = None
        for a in node.args:
            if a in self.known:
                matrix = self._selected(
                    lanes[later].reshape(-1), lanes[earlier].reshape(-1), node.size, a
                )
                total = matrix if total is None else self._union(total, matrix)
        return total

    def _dense(self, node: Expr) -> Any:
        """Calls work on one matrix after another: everything within one depends on everything."""
        batch = node.args[0].shape[:-2]
        if node.op.kind is not Kind.CALL or any(
            a.shape[: len(batch)] != batch for a in (*node.args, node)
        ):
            batch = ()
        total = None
        for a in node.args:
            if a in self.known:
                matrix = self._between(node, len(batch), a)
                total = matrix if total is None else self._union(total, matrix)
        return total

    def _between(self, node: Expr, axes: int, x: Expr) -> Any:
        """Dense, but apart for every index of the leading axes, which both arrays have."""
        blocks = math.prod(node.shape[:axes])
        united = self._united(self.known[x], _block(x, blocks), blocks)
        return self._taken(united, _block(node, blocks))

    # ---- matrices --------------------------------------------------------------------------------

    def _matrix(self, rows: int, indptr: np.ndarray, indices: np.ndarray) -> Any:
        return self.csr((np.ones(len(indices), bool), indices, indptr), shape=(rows, self.columns))

    def taken(self, matrix: Any, source: np.ndarray) -> Any:
        """Rows of a matrix that may be empty."""
        return None if matrix is None else self._taken(matrix, source)

    def union(self, a: Any, b: Any) -> Any:
        """Of matrices that may be empty."""
        return b if a is None else a if b is None else self._union(a, b)

    def below(self, parts: Sequence[Any], rows: int) -> Any:
        """Matrices of so many rows each, one below the other; None are empty."""
        counts = [np.zeros(rows, np.int64) if m is None else np.diff(m.indptr) for m in parts]
        if not any(c.any() for c in counts):
            return None
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        self._affordable(indptr[-1])
        indices = np.concatenate([m.indices for m in parts if m is not None])
        return self._matrix(rows * len(parts), indptr, indices)

    def _taken(self, matrix: Any, source: np.ndarray) -> Any:
        """Rows `source` of a matrix; -1 is an empty row."""
        start = matrix.indptr[source]
        counts = np.where(source < 0, 0, matrix.indptr[source + 1] - start)
        indptr = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._affordable(indptr[-1])
        within = np.arange(indptr[-1]) + np.repeat(start - indptr[:-1], counts)
        return self._matrix(len(source), indptr, matrix.indices[within])

    def _united(self, matrix: Any, target: np.ndarray, rows: int) -> Any:
        """Row r of the argument goes into row target[r]; rows that meet are united."""
        counts = np.diff(matrix.indptr)
        if rows == 1:
            present = np.zeros(self.columns, bool)
            present[matrix.indices] = True
            indices = np.flatnonzero(present)
            return self._matrix(1, np.array([0, len(indices)]), indices)
        result = scipy_sparse().coo_array(
            (np.ones(matrix.nnz, bool), (np.repeat(target, counts), matrix.indices)),
            shape=(rows, self.columns),
        ).tocsr()  # fmt: skip
        result.sum_duplicates()
        return result

    def _selected(self, row: np.ndarray, column: np.ndarray, rows: int, x: Expr) -> Any:
        """Row `row[k]` takes row `column[k]` of the argument, for all k."""
        matrix = self.known[x]
        self._affordable(np.diff(matrix.indptr)[column].sum())
        ones = np.ones(len(row), bool)
        selector = scipy_sparse().coo_array((ones, (row, column)), shape=(rows, x.size)).tocsr()
        result = selector @ matrix
        result.sum_duplicates()
        return result

    def _union(self, a: Any, b: Any) -> Any:
        if a is b:
            return a
        key = (id(a), id(b))  # both live in `known` or in this table as long as the pass runs
        if key not in self.unions:
            self._affordable(max(a.nnz, b.nnz))
            self.unions[key] = (a + b, a, b)
        return self.unions[key][0]

    def _value(self, node: Expr) -> np.ndarray:
        if node not in self.values:
            if node.op is CONST:
                self.values[node] = np.broadcast_to(const_value(node), node.shape)
            else:
                self.values[node] = evaluate([node], {})[0]
        return self.values[node]

    def _affordable(self, entries: Any) -> None:
        if entries > _MOST_ENTRIES:
            raise GraphTooLargeError(
                f"the derivative is not sparse: {int(entries):,} entries in a step of its pattern; "
                "use sg.jacobian or sg.hessian, or products with sg.jvp, sg.vjp, sg.hvp"
            )


def sources(node: Expr) -> np.ndarray:
    """For every element of a linear node the element of its first argument that it reads, or -1.

    The row reads at most one: applied to 1, 2, … it tells which. An index must be known.
    """
    x = node.args[0]
    ramp = np.arange(1, x.size + 1).reshape(x.shape)
    rest = evaluate(node.args[1:], {})
    return np.asarray(node.op.evaluate(ramp, *rest, *node.attrs)).reshape(-1) - 1


def targets(node: Expr) -> np.ndarray:
    """For every element of the first argument of sum or scatter_add the element it goes to."""
    seed = arg(0, node.shape, "int64")
    pulled = node.op.transpose(seed, node.args, node.attrs)  # type: ignore[misc]
    ramp = np.arange(node.size).reshape(node.shape)
    return evaluate([pulled], {seed: ramp})[0].reshape(-1)


def _reduced(node: Expr) -> np.ndarray:
    """For every element of the argument of a reduction, the element of the result it goes to."""
    x, axes = node.args[0], node.attrs[0]
    kept = [1 if k in axes else n for k, n in enumerate(x.shape)]
    return np.broadcast_to(np.arange(node.size).reshape(kept), x.shape).reshape(-1)


def _flat(index: list[np.ndarray], shape: tuple[int, ...]) -> Any:
    """C-order position of an index."""
    position: Any = np.zeros((), np.int64)
    for i, n in zip(index, shape, strict=True):
        position = position * n + i
    return position


def _block(node: Expr, blocks: int) -> np.ndarray:
    """The block of every element, of so many equal ones one after the other."""
    return np.repeat(np.arange(blocks), node.size // max(1, blocks))
