"""Loops over data points: whether they can be taken in blocks of lanes, and whether that pays.

It is right where points do not see each other, apart from sums that nobody reads in the loop.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Any

from symgrad.expr.node import FLOATS, Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.lower.program import Draft, statements
from symgrad.lower.scalar import LOAD, loads
from symgrad.lower.statement import Buffer, is_flat
from symgrad.lower.statements import Loop, Store
from symgrad.lower.straight import TILE, is_power, is_turned, straight
from symgrad.lower.tuning import COSTLY, Tuning


def contains(expr: Expr, index: Expr) -> bool:
    return index in toposort([expr])


Write = tuple[tuple[Expr, ...], Any]  # an index, and the statement that writes there


class _Use(enum.Enum):
    """How the points of a loop use a buffer that they write to."""

    PRIVATE = "each point has one"
    OWN = "each point has an element or a row"
    PARTS = "each element is set by one point: the parts of a concat"
    ADDED = "points add to it, or take maxima, and do not read it"


class Points:
    """What a loop over points does with what it touches: whether lanes are right, and pay.

    private : buffers of which each point has one
    turned : of inputs that are copied with the point last, the axis of the points, and the others
    sums : stores that add up what all points have
    straight : the stores of a point without inner loops, where it is written out
    """

    def __init__(self, loop: Loop, draft: Draft, parallel: bool, tuning: Tuning) -> None:
        self.loop, self.draft, self.tuning = loop, draft, tuning
        self.parallel = parallel  # until something speaks against it
        self.index = loop.index
        self.leaves = list(statements(loop.body))
        self.private: set[int] = set()
        self.turned: dict[int, tuple[int, list[int]]] = {}
        self.sums: list[Store] = []
        self.straight: list[Store] | None = None

    # ---- is it right, does it pay ---------------------------------------------------------------

    def possible(self) -> bool:
        if not all(s.of_points for s, _ in self.leaves):
            return False
        if not (self._pays() and self._is_right()):
            return False
        if not self.sums:
            self.straight = straight(self.loop, self.private, self.tuning)
        return self.straight is not None or self.sums != [] or self._is_nested()

    def _is_nested(self) -> bool:
        return any(inner.extent > 1 for _, path in self.leaves for inner in path)

    def _pays(self) -> bool:
        if self._is_nested():
            return not any(isinstance(s, Store) and self._jumps(s, path) for s, path in self.leaves)
        # Stores alone are vectorised by the compiler.
        sums = [s for s, _ in self.leaves if isinstance(s, Store) and s.op == "+"]
        if sums:
            return len(sums) < len(self.leaves) or self._is_costly()
        nodes = toposort([v for s, _ in self.leaves for v in s.exprs()])
        points, tuning = self.loop.extent, self.tuning
        if any(is_turned(n) or is_power(n, points, tuning) for n in nodes):
            return True
        return self._takes_rows(nodes)

    def _takes_rows(self, nodes: Sequence[Expr]) -> bool:
        """Whether points compute much from rows, which compilers gather element by element."""
        rows = [n for n in nodes if n.op is LOAD and self._is_of_row(n)]
        work = sum(n.op.kind is Kind.ELEMENTWISE for n in nodes)
        return len(rows) >= TILE and work >= self.tuning.rows_from_operations

    def _is_of_row(self, load: Expr) -> bool:
        """Whether what is read stands in a row of its point."""
        buffer = self.draft.buffers[load.attrs[0]]
        axes = [a for a in buffer.kept_axes if contains(load.args[a], self.index)]
        return bool(axes) and any(buffer.shape[a] > 1 for a in buffer.kept_axes if a > axes[0])

    def _jumps(self, s: Store, path: Sequence[Loop]) -> bool:
        """Whether inner loops walk so far that lanes would have to jump in memory."""
        moving = [n for n in path if any(contains(i, n.index) for i in s.index)]
        summed = (n.extent for n in path if n not in moving)
        if s.op == "+" and any(n > self.tuning.most_inner_summands for n in summed):
            return True
        # Long rows are contiguous: the compiler vectorises along them.
        row = math.prod(n.extent for n in moving)
        whole = any(i is self.index for i in s.index[:-1]) and self.index in self._kept(s)
        return whole and row >= self.tuning.long_row

    def _kept(self, s: Store) -> list[Expr]:
        """The index of the elements that a store reaches in memory, without dropped axes."""
        return [s.index[a] for a in s.buffer.kept_axes]

    def _is_costly_inside(self) -> bool:
        """Whether an inner loop evaluates a function, which only lanes vectorise beside a sum."""
        return any(
            n.op.cost >= COSTLY and any(contains(n, loop.index) for loop in path)
            for s, path in self.leaves
            for n in toposort(s.exprs())
        )

    def _is_costly(self) -> bool:
        return any(n.op.cost >= COSTLY for s, _ in self.leaves for n in toposort(s.exprs()))

    def _is_right(self) -> bool:
        """Whether points do not see each other, apart from sums that nobody reads in the loop.

        Notes what is private to a point, what is added up, what is copied into lanes, and whether
        threads may share the points.
        """
        written: dict[int, list[Write]] = {}
        read: dict[int, list[tuple[Expr, ...]]] = {}
        for s, _ in self.leaves:
            for a in s.touches():  # those of points do nothing else but write
                written.setdefault(a.buffer, []).append((a.index, s))
            for node in loads(s.exprs()):
                read.setdefault(node.attrs[0], []).append(node.args)
        for number, writes in written.items():
            use = self._use(self.draft.buffers[number], writes, read.get(number, []))
            if use is None:
                return False
            if use is _Use.PRIVATE:
                self.private.add(number)
            elif use is _Use.PARTS:
                self.parallel &= not any(True for index, _ in writes for _ in loads(index))
            elif use is _Use.ADDED:
                self._add_up(writes)
        partial = {s.buffer.number: s.buffer.size for s in self.sums}
        if sum(partial.values()) > self.tuning.most_partial_sums:
            return False
        self._find_turned(read, written)
        # Long rows of inputs are vectorised along themselves, without turning them round.
        if any(self.draft.buffers[n].shape[-1] >= self.tuning.long_input_row for n in self.turned):
            if not self._is_costly_inside():
                return False
        return self.lane_bytes() * self.tuning.lane_counts[-1] <= self.tuning.most_block_bytes

    def _use(
        self, buffer: Buffer, writes: list[Write], reads: list[tuple[Expr, ...]]
    ) -> _Use | None:
        """How points use a buffer that they write to; None if they may see each other in it."""
        every = [index for index, _ in writes] + reads
        if self._is_private(buffer, every):
            return _Use.PRIVATE
        at_point = any(all(i[a] is self.index for i in every) for a in buffer.kept_axes)
        if at_point or all(is_flat(buffer, i, self.index) for i in every):
            return _Use.OWN
        stores = [s for _, s in writes if isinstance(s, Store)]
        if reads or len(stores) < len(writes):
            return None
        if all(s.op == "=" and any(contains(i, self.index) for i in s.index) for s in stores):
            return _Use.PARTS
        return None if any(s.op == "=" for s in stores) else _Use.ADDED

    def _is_private(self, buffer: Buffer, every: list[tuple[Expr, ...]]) -> bool:
        """Whether an axis that a buffer does not keep is that of the points."""
        dropped = [a for a in range(len(buffer.shape)) if a not in buffer.kept_axes]
        moved = any(contains(i[a], self.index) for i in every for a in buffer.kept_axes)
        return bool(dropped) and not moved and all(
            any(i[a] is self.index for a in dropped) for i in every
        )  # fmt: skip

    def _add_up(self, writes: list[Write]) -> None:
        """Notes sums to elements that all points share; other accumulations come in order."""
        for index, s in writes:
            own = s.op == "+" and not any(contains(i, self.index) for i in index)
            if own:
                self.sums.append(s)
            self.parallel &= own and s.buffer.dtype in FLOATS

    def _find_turned(self, read: dict[int, Any], written: dict[int, Any]) -> None:
        """Inputs whose rows are points: a block of them is copied with the point last."""
        everywhere = {a.buffer for s, _ in self.leaves for a in s.accesses if not a.when}
        for number, indices in read.items():
            buffer = self.draft.buffers[number]
            if number in written or buffer.role not in ("in", "data", "constant", "work"):
                continue
            if buffer.role == "work" and number not in everywhere:  # perhaps not written everywhere
                continue
            if len(buffer.kept_axes) < len(buffer.shape):
                continue
            for axis in range(len(buffer.shape) - 1):
                if self._is_of_points(buffer, axis, indices):
                    rest = [a for a in range(len(buffer.shape)) if a != axis]
                    self.turned[number] = axis, rest
                    break

    def _is_of_points(self, buffer: Buffer, axis: int, indices: Sequence[tuple[Expr, ...]]) -> bool:
        """Whether a row of an input along `axis` is a point, and inner loops walk through it."""
        if buffer.shape[axis] < self.loop.extent:  # read for some points only: no copy
            return False
        mine = [i for i in indices if i[axis] is self.index]
        inner = {loop.index for _, path in self.leaves for loop in path}
        walked = any(all(e in inner for a, e in enumerate(i) if a != axis) for i in mine)
        return walked and any(n != 1 for n in buffer.shape[axis + 1 :])

    def lane_bytes(self) -> int:
        """Bytes that one point takes in the arrays of a block."""
        total = sum(self.draft.buffers[n].nbytes for n in self.private)
        for number, (axis, _) in self.turned.items():
            buffer = self.draft.buffers[number]
            total += buffer.nbytes // max(buffer.shape[axis], 1)
        return max(total, 8)
