"""How operations that move or combine elements read their arguments, for SymPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.errors import UnsupportedError
from symgrad.expr.node import Expr

if TYPE_CHECKING:
    from symgrad.inspect.sympy_form import Writer

Index = tuple[Any, ...]
Reads = Generator[tuple[Expr, Index], Any, Any]
_LATTICE = {"max": "Max", "min": "Min", "all": "And", "any": "Or"}


def _numeric(index: Sequence[Any]) -> bool:
    return all(isinstance(i, int) for i in index)


def _refuse(node: Expr) -> UnsupportedError:
    return UnsupportedError(
        f"to_sympy: {node.name} of shape {node.shape} under a symbolic index; "
        "pass expand=True or smaller arrays"
    )


def _contract(
    w: Writer, size: dict[int, int], known: dict[int, Any], term: Callable[[dict[int, Any]], Reads]
) -> Reads:
    """Σ of `term` over the labels that `known` lacks: written out, or as a Sum."""
    summed = [k for k in size if k not in known]
    if w.expand:
        terms = []
        for values in itertools.product(*(range(size[k]) for k in summed)):
            terms.append((yield from term({**known, **dict(zip(summed, values, strict=True))})))
        return w.sp.Add(*terms)
    fresh = {k: w.fresh(size[k]) for k in summed}
    inner = yield from term({**known, **{k: s for k, (s, _) in fresh.items()}})
    return w.sp.Sum(inner, *(limits for _, limits in fresh.values())) if summed else inner


def _einsum(w: Writer, node: Expr, index: Index) -> Reads:
    inputs, output = node.attrs
    size: dict[int, int] = {}
    for x, labels in zip(node.args, inputs, strict=True):
        size.update(zip(labels, x.shape, strict=True))

    def term(at: dict[int, Any]) -> Reads:
        factors = []
        for x, labels in zip(node.args, inputs, strict=True):
            factors.append((yield x, tuple(at[k] for k in labels)))
        return w.sp.Mul(*factors)

    return (yield from _contract(w, size, dict(zip(output, index, strict=True)), term))


def _sum(w: Writer, node: Expr, index: Index) -> Reads:
    x, axes = node.args[0], node.attrs[0]
    kept = [k for k in range(x.ndim) if k not in axes]

    def term(at: dict[int, Any]) -> Reads:
        return (yield x, tuple(at[k] for k in range(x.ndim)))

    known = dict(zip(kept, index, strict=True))
    return (yield from _contract(w, dict(enumerate(x.shape)), known, term))


def _convert(w: Writer, node: Expr, index: Index) -> Reads:
    x = node.args[0]
    value = yield x, index
    if x.dtype == "bool" and node.dtype != "bool":
        return w.choose(value, w.sp.Integer(1), w.sp.Integer(0))
    if node.dtype == "bool":
        return w.sp.Ne(value, 0)
    if x.dtype.startswith("float") and node.dtype.startswith("int"):
        return w.sp.sign(value) * w.sp.floor(w.sp.Abs(value))
    return value


def _broadcast(w: Writer, node: Expr, index: Index) -> Reads:
    return (yield node.args[0], tuple(index[d] for d in node.attrs[1]))


def _permute(w: Writer, node: Expr, index: Index) -> Reads:
    perm = node.attrs[0]
    return (yield node.args[0], tuple(index[perm.index(k)] for k in range(len(perm))))


def _slice(w: Writer, node: Expr, index: Index) -> Reads:
    starts, _, steps = node.attrs
    at = tuple(a + i * s for i, a, s in zip(index, starts, steps, strict=True))
    return (yield node.args[0], at)


def _reshape(w: Writer, node: Expr, index: Index) -> Reads:
    source = node.args[0].shape
    flat: Any = 0
    for i, n in zip(index, node.shape, strict=True):
        flat = flat * n + i
    wide = [n for n in source if n != 1]
    if [n for n in node.shape if n != 1] == wide:  # axes of size 1 come and go
        moving = iter([i for i, n in zip(index, node.shape, strict=True) if n != 1])
        return (yield node.args[0], tuple(0 if n == 1 else next(moving) for n in source))
    at: list[Any] = []
    for n in reversed(source):
        if isinstance(flat, int):
            flat, rest = divmod(flat, n)
        else:
            flat, rest = w.sp.floor(flat / n), w.sp.Mod(flat, n)
        at.append(rest)
    return (yield node.args[0], tuple(reversed(at)))


def _pad(w: Writer, node: Expr, index: Index) -> Reads:
    x = node.args[0]
    _, starts, steps = node.attrs
    if not _numeric(index):
        raise _refuse(node)
    at = []
    for i, start, step, n in zip(index, starts, steps, x.shape, strict=True):
        k, rest = divmod(i - start, step)
        if rest or not 0 <= k < n:
            return w.sp.Integer(0)
        at.append(k)
    return (yield x, tuple(at))


def _concat(w: Writer, node: Expr, index: Index) -> Reads:
    axis = node.attrs[0]
    at = index[axis]
    if not isinstance(at, int):
        raise _refuse(node)
    for part in node.args:
        if at < part.shape[axis]:
            return (yield part, (*index[:axis], at, *index[axis + 1 :]))
        at -= part.shape[axis]
    raise AssertionError(index)


def _row_number(w: Writer, value: Any, size: int) -> int:
    if not getattr(value, "is_Integer", False):
        raise UnsupportedError(f"to_sympy: indexing by {value}, which is no known number")
    return int(value) % size


def _gather(w: Writer, node: Expr, index: Index) -> Reads:
    x, rows = node.args
    axis = node.attrs[0]
    row = yield rows, index[axis : axis + rows.ndim]
    at = _row_number(w, row, x.shape[axis])
    return (yield x, (*index[:axis], at, *index[axis + rows.ndim :]))


def _scatter_add(w: Writer, node: Expr, index: Index) -> Reads:
    ct, rows = node.args
    axis, size = node.attrs
    if not isinstance(index[axis], int):
        raise _refuse(node)
    terms = []
    for at in np.ndindex(rows.shape):
        row = yield rows, at
        if _row_number(w, row, size) == index[axis]:
            terms.append((yield ct, (*index[:axis], *at, *index[axis + 1 :])))
    return w.sp.Add(*terms)


def _reduced(w: Writer, node: Expr, index: Index) -> Reads:
    """The elements that one element of a reduction sees."""
    x, axes = node.args[0], node.attrs[0]
    axes = axes if isinstance(axes, tuple) else (axes,)
    kept = [k for k in range(x.ndim) if k not in axes]
    at: list[Any] = [0] * x.ndim
    for k, i in zip(kept, index, strict=True):
        at[k] = i
    values = []
    for inner in itertools.product(*(range(x.shape[a]) for a in axes)):
        for a, i in zip(axes, inner, strict=True):
            at[a] = i
        values.append((yield x, tuple(at)))
    return values


def _reduction(w: Writer, node: Expr, index: Index) -> Reads:
    if not w.expand:
        raise _refuse(node)
    values = yield from _reduced(w, node, index)
    if node.name == "prod":
        return w.sp.Mul(*values)
    return getattr(w.sp, _LATTICE[node.name])(*values)


def _arg_reduction(w: Writer, node: Expr, index: Index) -> Reads:
    if not w.expand:
        raise _refuse(node)
    values = yield from _reduced(w, node, index)
    best = w.sp.Max(*values) if node.name == "argmax" else w.sp.Min(*values)
    pairs = [(w.sp.Integer(k), w.sp.Eq(v, best)) for k, v in enumerate(values[:-1])]
    return w.sp.Piecewise(*pairs, (w.sp.Integer(len(values) - 1), True))


def _over_axes(w: Writer, node: Expr, index: Index, f: Callable[[Any], Any]) -> Reads:
    """Σ f(element) over the reduced axes."""
    x, axes = node.args[0], node.attrs[0]
    kept = [k for k in range(x.ndim) if k not in axes]

    def term(at: dict[int, Any]) -> Reads:
        value = yield x, tuple(at[k] for k in range(x.ndim))
        return f(value)

    known = dict(zip(kept, index, strict=True))
    return (yield from _contract(w, dict(enumerate(x.shape)), known, term))


def _logsumexp(w: Writer, node: Expr, index: Index) -> Reads:
    return w.sp.log((yield from _over_axes(w, node, index, w.sp.exp)))


def _norm(w: Writer, node: Expr, index: Index) -> Reads:
    return w.sp.sqrt((yield from _over_axes(w, node, index, lambda v: v**2)))


def _softmax(w: Writer, node: Expr, index: Index) -> Reads:
    value = yield node.args[0], index
    kept = tuple(i for k, i in enumerate(index) if k not in node.attrs[0])
    return w.sp.exp(value) / (yield from _over_axes(w, node, kept, w.sp.exp))


def _scan(w: Writer, node: Expr, index: Index) -> Reads:
    """One step of a scan from the step before it."""
    axis, reverse = node.attrs
    i = index[axis]
    if not isinstance(i, int):
        raise _refuse(node)
    before = i + 1 if reverse else i - 1
    inside = 0 <= before < node.shape[axis]
    at = (*index[:axis], before, *index[axis + 1 :])
    previous = (yield node, at) if inside else w.sp.Integer(0)
    if node.name == "cumsum":
        return previous + (yield node.args[0], index)
    return (yield node.args[0], index) * previous + (yield node.args[1], index)


_BIGGEST_MATRIX = 4  # closed forms of inverses and determinants grow like n!


def _matrix(w: Writer, node: Expr, index: Index) -> Reads:
    """solve, det and their kin, on explicit small matrices."""
    a = node.args[0]
    n = a.shape[-1]
    if n > _BIGGEST_MATRIX or a.ndim != 2:
        raise UnsupportedError(
            f"to_sympy: {node.name} of shape {a.shape}; up to "
            f"{_BIGGEST_MATRIX} x {_BIGGEST_MATRIX} can be written out"
        )
    sp = w.sp
    m = sp.Matrix((yield from w.whole(a)).tolist())
    match node.name:
        case "det":
            return m.det(method="berkowitz")
        case "logabsdet":
            return sp.log(sp.Abs(m.det(method="berkowitz")))
        case "detsign":
            return sp.sign(m.det(method="berkowitz"))
        case "cofactor":
            return m.cofactor_matrix()[index]
        case "solve_transposed":
            m = m.T
        case "cholesky":
            return m.cholesky(hermitian=False)[index]
        case "solve_triangular":
            lower, transposed, unit = node.attrs
            m = m.lower_triangular() if lower else m.upper_triangular()
            if unit:
                for k in range(n):
                    m[k, k] = sp.Integer(1)
            m = m.T if transposed else m
    if not m.shape[0]:
        return sp.Integer(0)
    column = []
    for k in range(n):
        column.append((yield node.args[1], (k, *index[1:])))
    return m.adjugate().row(index[0]).dot(column) / m.det(method="berkowitz")


READERS: dict[str, Callable[[Writer, Expr, Index], Reads]] = {
    "einsum": _einsum,
    "sum": _sum,
    "convert": _convert,
    "broadcast": _broadcast,
    "permute": _permute,
    "slice": _slice,
    "reshape": _reshape,
    "pad": _pad,
    "concat": _concat,
    "gather": _gather,
    "scatter_add": _scatter_add,
    **dict.fromkeys(("max", "min", "prod", "any", "all"), _reduction),
    **dict.fromkeys(("argmax", "argmin"), _arg_reduction),
    "logsumexp": _logsumexp,
    "norm": _norm,
    "softmax": _softmax,
    **dict.fromkeys(("cumsum", "recurrence"), _scan),
    # fmt: off
    **dict.fromkeys(
        (
            "solve",
            "solve_transposed",
            "solve_triangular",
            "det",
            "logabsdet",
            "detsign",
            "cholesky",
            "cofactor",
        ),
        _matrix,
    ),
    # fmt: on
}
