"""Arguments that a function reads in pieces: many parameters packed in one array.

f(θ) = F(V₁θ, V₂θ, …) with linear views Vₖ (slices, reshapes, …). By the chain rule the
derivative in θ is Σ Fₖ Vₖ, whatever the views are: overlapping, one inside another, θ itself as
well. In F each piece is a variable of its own shape, so the seeds of its derivative are deltas
along its axes. These contract away, where a view of θ's own deltas would be multiplied out, zeros
included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from symgrad.diff import modes
from symgrad.expr import validate
from symgrad.expr.node import Expr, arg
from symgrad.expr.op import Moves
from symgrad.expr.walk import rebuild, substitute, toposort, users
from symgrad.ops.linear import PERMUTE, permute, reshape

_PARTS = (Moves.SOME, Moves.ONCE)  # with no more elements, mostly
_MOST_PIECES = 16  # the blocks of a Hessian grow with the square
_MOST_READ = 1.5  # elements in all pieces but the whole, for one of the array


@dataclass(frozen=True)
class Piece:
    """What a function reads of one of its variables.

    variable : argument node that stands for it
    view : what it is, in terms of `whole`
    whole : the argument node that is read
    """

    variable: Expr
    view: Expr
    whole: Expr

    def back(self, ct: Expr) -> Expr:
        """The transposed view of an array whose last axes are those of the piece."""
        if self.view is self.whole:
            return ct
        one = arg(0, self.variable.shape, self.variable.dtype)
        (back,) = modes.vjp([self.view], [self.whole], [one])
        assert back is not None
        return modes.map_linear(back, one, ct)


def in_pieces(outs: Sequence[Expr], wholes: Sequence[Expr]) -> tuple[list[Expr], list[list[Piece]]]:
    """`outs` in terms of pieces, and the pieces of each of the nodes `wholes`."""
    pieces: list[list[Piece]] = []
    views: dict[Expr, Expr] = {}  # of all pieces so far
    for whole in wholes:
        outs, found = _split(outs, whole)
        # y[i] where i is computed from pieces of x
        whence = substitute([p.view for p in found], views)
        found = [replace(p, view=v) for p, v in zip(found, whence, strict=True)]
        views |= {p.variable: p.view for p in found if p.variable is not whole}
        pieces.append(found)
    return list(outs), pieces


def _split(outs: Sequence[Expr], whole: Expr) -> tuple[Sequence[Expr], list[Piece]]:
    groups = list(_same_elements(_read(outs, whole)).items())
    shown = [max(views, key=_most_axes) for _, views in groups]
    size = sum(view.size for view in shown if view is not whole)
    if len(groups) > _MOST_PIECES or size > _MOST_READ * whole.size or shown in ([], [whole]):
        return outs, [Piece(whole, whole, whole)]
    replacement: dict[Expr, Expr] = {}
    pieces: list[Piece] = []
    for (root, views), found in zip(groups, shown, strict=True):
        view = reshape(found, tuple(n for n in found.shape if n != 1))
        variable = arg(len(pieces), view.shape, view.dtype)
        pieces.append(Piece(variable, view, whole))
        replacement[root] = _undone(view, root, variable)
        for v in views:
            replacement[v] = _redone(v, root, replacement[root])
    split = substitute(outs, replacement)
    if validate.enabled():
        validate.check_rewrite(
            "pieces", outs, substitute(split, {p.variable: p.view for p in pieces})
        )
    return split, pieces


def _read(outs: Sequence[Expr], whole: Expr) -> list[Expr]:
    """The views of `whole`, and perhaps itself, that anything but a view reads."""
    nodes = toposort(outs)
    views = {whole}
    for node in nodes:
        if node.op.moves in _PARTS and node.args[0] in views:
            views.add(node)
    readers, results = users(nodes), set(outs)
    return [
        node for node in nodes
        if node in views and (node in results or any(r not in views for r in readers[node]))
    ]  # fmt: skip


def _same_elements(views: Sequence[Expr]) -> dict[Expr, list[Expr]]:
    """Views grouped by what they only reshape or permute."""
    groups: dict[Expr, list[Expr]] = {}
    for view in views:
        root = view
        while root.op.moves is Moves.ONCE:
            root = root.args[0]
        groups.setdefault(root, []).append(view)
    return groups


def _most_axes(view: Expr) -> tuple[int, int]:
    """By the number of axes, where those of size 1 are none: each gets a delta of its own."""
    return sum(n != 1 for n in view.shape), -view.ndim


def _chain(view: Expr, root: Expr) -> list[Expr]:
    """The nodes from `view` down to `root`, `root` excluded."""
    chain = []
    while view is not root:
        chain.append(view)
        view = view.args[0]
    return chain


def _undone(view: Expr, root: Expr, value: Expr) -> Expr:
    """`root` where its reshaped and permuted `view` has this value."""
    for node in _chain(view, root):
        if node.op is PERMUTE:
            value = permute(value, tuple(node.attrs[0].index(k) for k in range(node.ndim)))
        else:
            value = reshape(value, node.args[0].shape)
    return value


def _redone(view: Expr, root: Expr, value: Expr) -> Expr:
    for node in reversed(_chain(view, root)):
        value = rebuild(node, (value,))
    return value
