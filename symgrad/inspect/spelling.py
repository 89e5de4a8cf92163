"""How each operation is spelled in matrix notation: the table behind `matrix.py`.

A maker takes the notation so far and a node, and returns its formula, or None for the default
spelling `name(arguments, attribute=value)`. Operations without a maker are spelled by default too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.expr.node import EYE, Expr
from symgrad.inspect import algebra as F
from symgrad.inspect.contract import Contraction, total, trace
from symgrad.inspect.elementwise import BARS, ELEMENTWISE, Maker, calls, named
from symgrad.inspect.formula import Formula
from symgrad.inspect.naming import latex_index, subscript

if TYPE_CHECKING:
    from symgrad.inspect.matrix import Notation


def _broadcast(self: Notation, node: Expr) -> Formula | None:
    x, f = node.args[0], self.known[node.args[0]]
    shape, dims = node.attrs
    if f.rank == 0:
        return f
    if node.ndim == 2 and x.ndim == 1:
        if dims == (0,):
            return F.matmul([f, F.transpose(F.ones(shape[1]))], 2)
        return F.matmul([F.ones(shape[0]), F.transpose(f)], 2)
    return self.indexed(node, [(x, dims)], range(len(shape)))


def _sum(self: Notation, node: Expr) -> Formula:
    x, axes = node.args[0], node.attrs[0]
    f = self.known[x]
    if f.rank == 0:
        count = x.size // node.size if node.size else 0
        return F.hadamard([F.number(np.int64(count)), f])
    if x.ndim == 1:
        return total(f, x.size)
    if x.ndim == 2:
        rows, columns = x.shape
        if axes == (1,):
            return F.matmul([f, F.ones(columns)], 1)
        if axes == (0,):
            return F.matmul([F.transpose(f), F.ones(rows)], 1)
        return _total_of_matrix(f, rows, columns)
    labels = range(x.ndim)
    return self.indexed(node, [(x, labels)], [k for k in labels if k not in axes])


def _total_of_matrix(f: Formula, rows: int, columns: int) -> Formula:
    if f.kind == "neg":
        return F.neg(_total_of_matrix(f.args[0], rows, columns))
    if f.kind == "mul":
        return F.matmul([*f.args[:-1], _total_of_matrix(f.args[-1], rows, columns)], 0)
    if f.kind == "pow" and F.is_number(f.args[1], "2"):
        return F.squared_norm(f.args[0])
    if f.kind == "had" and len(f.args) == 2:
        return trace(F.matmul([F.transpose(f.args[0]), f.args[1]], 2))
    return F.matmul([F.transpose(F.ones(rows)), f, F.ones(columns)], 0)


def _permute(self: Notation, node: Expr) -> Formula | None:
    f = self.full(node.args[0])
    if f.rank == 0:
        return f
    return F.transpose(f) if node.ndim == 2 else None


def _reshape(self: Notation, node: Expr) -> Formula | None:
    x = node.args[0]
    f = self.known[x]
    if f.rank == 0:
        return f
    source, target = x.shape, node.shape
    if x.name == "slice":  # x[k], X[k, :]
        dropped = _dropped(source, target)
        if dropped is not None:
            return _index(self, x, dropped, node.ndim)
    if node.size == 1 and node.ndim == 0:
        return Formula("index", (f,), ", ".join("0" * x.ndim), 0)
    if sorted((len(source), len(target))) == [1, 2]:
        wide = source if len(source) == 2 else target
        if wide[1] == 1:
            return _reranked(f, node.ndim)
        if wide[0] == 1:
            return _reranked(F.transpose(f), node.ndim)
    size = "×".join(map(str, target))
    if len(source) == 2 and len(target) == 1:
        return F.call("vec", r"\operatorname{vec}", [F.transpose(f)], 1)
    latex = rf"\operatorname{{reshape}}_{{{size.replace('×', chr(92) + 'times ')}}}"
    return F.call(
        f"reshape{subscript(size) if len(target) == 1 else '_' + size}", latex, [f], node.ndim
    )


def _reranked(f: Formula, rank: int) -> Formula:
    copy = Formula(f.kind, f.args, f.data, rank)
    copy.owner = f.owner
    return copy


def _dropped(source: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...] | None:
    """The axes of size 1 that a reshape removes, if it does nothing else."""
    left = list(target)
    dropped = []
    for k, n in enumerate(source):
        if left and left[0] == n and not (n == 1 and len(source) - k > len(left)):
            left.pop(0)
        elif n == 1:
            dropped.append(k)
        else:
            return None
    return None if left else tuple(dropped)


def _slice(self: Notation, node: Expr) -> Formula:
    return _index(self, node, (), node.ndim)


def _index(self: Notation, node: Expr, dropped: tuple[int, ...], rank: int) -> Formula:
    f = self.full(node.args[0])
    if f.rank == 0:
        return f
    starts, sizes, steps = node.attrs
    text = window(node.args[0].shape, starts, sizes, steps, dropped)
    return Formula("index", (f,), text, rank)


def window(shape: Any, starts: Any, sizes: Any, steps: Any, dropped: tuple[int, ...] = ()) -> str:
    """What NumPy has between the brackets: "1:", ":-1", "2, :", "::2"."""
    parts = []
    for k, (n, start, size, step) in enumerate(zip(shape, starts, sizes, steps, strict=True)):
        if k in dropped:
            parts.append(str(start))
            continue
        stop = start + size * step
        if step > 0:
            first = str(start) if start else ""
            over = stop >= n or (step > 1 and start + size * step >= n)
            last = "" if over and size else str(stop if stop <= n - stop or size == 1 else stop - n)
        else:
            first = str(start) if start != n - 1 else ""
            last = "" if stop < 0 else str(stop)
        parts.append(f"{first}:{last}" + (f":{step}" if step != 1 else ""))
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return ", ".join(parts)


def _pad(self: Notation, node: Expr) -> Formula | None:
    x = node.args[0]
    shape, starts, steps = node.attrs
    f = self.known[x]
    if node.ndim == 1 and (steps == (1,) or x.size == 1):
        after = shape[0] - starts[0] - x.size
        zero = F.symbol("0", "0")
        rows = []
        for count in (starts[0], -1, after):
            if count < 0:
                rows.append(_row(self, x))
            elif count == 1:
                rows.append(zero)
            elif count > 1:
                rows.append(F.symbol("0" + subscript(str(count)), f"0_{{{count}}}"))
        return Formula("stack", tuple(rows), None, 1)
    text = window(shape, starts, x.shape, steps)
    where = F.symbol(f"at [{text}]", rf"\text{{at }} [{latex_index(text)}]")
    return F.call("pad", r"\operatorname{pad}", [self.full(x) if x.ndim else f, where], node.ndim)


def _concat(self: Notation, node: Expr) -> Formula | None:
    if node.attrs[0] != 0 or node.ndim > 2:
        return None
    return Formula("stack", tuple(_row(self, a) for a in node.args), None, node.ndim)


def _row(self: Notation, x: Expr) -> Formula:
    """A part of a column; a single element needs no 1 that shows its shape."""
    return self.known[x] if x.shape == (1,) else self.full(x)


def _gather(self: Notation, node: Expr) -> Formula | None:
    x, index = node.args
    f, i = self.full(x), self.known[index]
    if i.kind not in ("symbol", "number", "part"):
        i = self.cut(i, index, "k")
    if f.rank == 0:
        return f
    return F.gathered(f, i, node.attrs[0], node.ndim)


def _iota(self: Notation, node: Expr) -> Formula:
    n = node.attrs[0]
    return F.symbol(f"[0, …, {n - 1}]", rf"\left[0, \ldots, {n - 1}\right]", 1)


# ---- einsum ------------------------------------------------------------------------------------


def _einsum(self: Notation, node: Expr) -> Formula:
    inputs, output = node.attrs
    sizes: dict[int, int] = {}
    factors: list[tuple[Expr, tuple[int, ...]]] = []
    for x, labels in zip(node.args, inputs, strict=True):
        sizes.update(zip(labels, x.shape, strict=True))
        if x.name == "broadcast":  # the repeated axes contribute their labels only
            labels = tuple(labels[d] for d in x.attrs[1])
            x = x.args[0]
        factors.append((x, labels))

    def shorten(f: Formula) -> Formula:
        return self.cut(f, f.owner or node, "d")

    work = Contraction(sizes, output, shorten)
    if all(_place(self, work, x, labels, len(factors)) for x, labels in factors):
        f = work.reduce()
        if f is not None:
            return f
    present = {k for _, labels in factors for k in labels}
    if not set(sizes) <= present:
        factors = list(zip(node.args, inputs, strict=True))
    return self.indexed(node, factors, output)


def _place(self: Notation, work: Contraction, x: Expr, labels: tuple[int, ...], count: int) -> bool:
    """Put a factor where the contraction expects it; False if it has no place there."""
    f = self.known[x]
    if f.rank == 0:
        work.scalars.append(f)
    elif len(labels) == 1:
        work.vector(labels[0], f)
    elif len(labels) == 2 and labels[0] != labels[1]:
        work.edge(labels[0], labels[1], f)
    elif len(labels) == 2 and x.op is not EYE:
        if labels[0] not in work.output and count == 1:
            work.scalars.append(trace(f))
            work.live.remove(labels[0])
        else:
            work.vector(labels[0], F.call("diag", r"\operatorname{diag}", [f], 1))
    else:
        return False
    return True


# ---- linear algebra and reductions -------------------------------------------------------------


def _reduction(self: Notation, node: Expr) -> Formula:
    """name(x), with the axes where they are not all."""
    x, axes = node.args[0], node.attrs[0]
    axes = axes if isinstance(axes, tuple) else (axes,)
    text, latex = calls(node.name)
    f = self.full(x)
    args = [f]
    if len(axes) != x.ndim:
        word = "axis=" + ",".join(map(str, axes))
        args.append(F.symbol(word, rf"\mathrm{{axis}}={','.join(map(str, axes))}"))
    return F.call(text, latex, args, node.ndim)


def _norm(self: Notation, node: Expr) -> Formula:
    x = node.args[0]
    if len(node.attrs[0]) == x.ndim and self.full(x).rank:
        return F.norm(self.full(x))
    return _reduction(self, node)


def _solve(self: Notation, node: Expr) -> Formula:
    a, b = (self.full(x) for x in node.args)
    inverse = F.inverse(a)
    if node.name == "solve_transposed":
        inverse = F.transpose(inverse)
    return F.matmul([inverse, b], node.ndim)


def _solve_triangular(self: Notation, node: Expr) -> Formula:
    """tri(A)⁻¹ b: only one triangle of A is read."""
    a, b = (self.full(x) for x in node.args)
    lower, transposed, unit = node.attrs
    word = ("lower" if lower else "upper") + ("₁" if unit else "")
    latex = rf"\operatorname{{{'lower' if lower else 'upper'}}}" + ("_{1}" if unit else "")
    triangle = a if node.args[0].name == "cholesky" else F.call(word, latex, [a], 2)
    inverse = F.inverse(triangle)
    return F.matmul([F.transpose(inverse) if transposed else inverse, b], node.ndim)


def _logabsdet(self: Notation, node: Expr) -> Formula:
    inner = F.call(*calls("det"), [self.full(node.args[0])], 0)
    return named("log", Formula("wrap", (inner,), BARS))


def _detsign(self: Notation, node: Expr) -> Formula:
    return named("sign", F.call(*calls("det"), [self.full(node.args[0])], 0))


MAKERS: dict[str, Maker] = {
    **ELEMENTWISE,
    "broadcast": _broadcast,
    "sum": _sum,
    "permute": _permute,
    "reshape": _reshape,
    "slice": _slice,
    "pad": _pad,
    "concat": _concat,
    "gather": _gather,
    "iota": _iota,
    "einsum": _einsum,
    **dict.fromkeys(("max", "min", "prod", "any", "all", "argmax", "argmin"), _reduction),
    "logsumexp": _reduction,
    "softmax": _reduction,
    "norm": _norm,
    "solve": _solve,
    "solve_transposed": _solve,
    "solve_triangular": _solve_triangular,
    "logabsdet": _logabsdet,
    "detsign": _detsign,
}
