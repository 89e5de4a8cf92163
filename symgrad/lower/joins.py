"""Concatenations: where each part of a joined array is written, without a copy where possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from symgrad.expr.node import Expr, const
from symgrad.lazy import dataclass
from symgrad.ops.linear import CONCAT, PERMUTE, RESHAPE


@dataclass(frozen=True)
class Place:
    """Where a joined array writes the elements of one of its parts.

    start : for each axis of the target, where the part begins
    axes : for each axis of the part, the axis of the target and the step there
    loops : for each axis of the part, what it has in common with the axes of other parts that one
        loop should run over; None if nothing
    """

    start: tuple[int, ...]
    axes: tuple[tuple[int, int], ...]
    loops: tuple[tuple[Expr, int] | None, ...]

    @staticmethod
    def whole(ndim: int) -> Place:
        """The place of the target itself."""
        return Place((0,) * ndim, tuple((k, 1) for k in range(ndim)), (None,) * ndim)

    def parts(self, node: Expr) -> Iterator[tuple[Expr, Place]]:
        """The parts of a concat that stands here, each with its place."""
        axis = node.attrs[0]
        into, step = self.axes[axis]
        # Axes that take larger steps in memory: along them the parts alternate, and a loop for each
        # part would go through all of the target again.
        outer = [k for k, (a, s) in enumerate(self.axes) if (a, -s) < (into, -step)]
        loops = list(self.loops)
        loops[axis] = None  # the parts differ in it
        for k in outer:
            loops[k] = loops[k] or (node, k)
        begin = self.start[into]
        for part in node.args:
            start = (*self.start[:into], begin, *self.start[into + 1 :])
            yield part, replace(self, start=start, loops=tuple(loops))
            begin += step * part.shape[axis]

    def below(self, node: Expr) -> Place:
        """The place of what a reshape or permute reads that stands here."""
        axes, loops = [], []
        moved = moved_axes(node)
        assert moved is not None
        for n, (k, step) in zip(node.args[0].shape, moved, strict=True):
            axes.append((self.axes[k][0], self.axes[k][1] * step))
            loops.append(self.loops[k] if n == node.shape[k] else None)
        return replace(self, axes=tuple(axes), loops=tuple(loops))

    def index(self, at: Sequence[Expr]) -> tuple[Expr, ...]:
        """The index in the target of the element `at` of the part."""
        result = [const(n, "int64") for n in self.start]
        zero = const(0, "int64")
        for (axis, step), i in zip(self.axes, at, strict=True):
            if i is not zero:
                term = i if step == 1 else i * const(step, "int64")
                result[axis] = result[axis] + term
        return tuple(result)


def joined_in_place(
    nodes: Sequence[Expr], readers: Mapping[Expr, Sequence[Expr]], outs: set[Expr]
) -> set[Expr]:
    """Concats that need no buffer: their parts are written where the only reader would copy them.

    The reader is a concat, or a result that permutes or reshapes the concat as a whole. What does
    that between two concats is in the set as well.
    """
    joined: set[Expr] = set()  # concats, and concats moved as a whole
    for node in nodes:
        if node.size and (node.op is CONCAT or moved_axes(node) and node.args[0] in joined):
            joined.add(node)
    result: set[Expr] = set()
    for node in reversed(nodes):  # readers first
        if node in joined and node not in outs and len(readers[node]) == 1:
            reader = readers[node][0]
            if reader.op is CONCAT:
                if reader.args.count(node) == 1:  # else it would be computed twice
                    result.add(node)
            elif reader in joined and (reader in outs or reader in result):
                result.add(node)
    return result


def moved_axes(node: Expr) -> list[tuple[int, int]] | None:
    """For each axis of what a permute or reshape reads, the axis of the result and the step there.

    None for other nodes and for a reshape that splits an axis.
    """
    if node.op is PERMUTE:
        return [(node.attrs[0].index(k), 1) for k in range(node.ndim)]
    if node.op is not RESHAPE or not node.size:
        return None
    result = []
    axis, step, size = node.ndim, 1, 1
    for n in reversed(node.args[0].shape):
        if n == 1:  # on any axis
            result.append((0, 1))
            continue
        while step == size:
            axis -= 1
            step, size = 1, node.shape[axis]
        result.append((axis, step))
        step *= n
        if size % step:
            return None
    return result[::-1]
