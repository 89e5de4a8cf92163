"""Axis classes: loop variables of different kernels that one loop can run over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from symgrad.expr.node import Expr
from symgrad.lower.kernel import Extremum, Kernel
from symgrad.lower.statement import Buffer


class AxisClasses:
    """The loop variables of kernels, joined where a kernel reads what another wrote at that index.

    members, extent : of each class, by its variable
    reads : of each kernel, what it reads
    writers : of each buffer, the kernels that write to it, in order
    deps : of each kernel, what has to come before, and the index at which it is read
    """

    def __init__(
        self, kernels: Sequence[Kernel], together: Iterable[tuple[Expr, Expr]], begin: int
    ) -> None:
        """`together` are variables that had better be one; others use buffers before `begin`."""
        self._begin = begin
        self.reads = {k: k.reads for k in kernels}
        self.parent: dict[Expr, Expr] = {}
        self.members: dict[Expr, set[Kernel]] = {}
        self.extent: dict[Expr, int] = {}
        for k in kernels:
            for i, n in (*((i, k.extents[i]) for i in (*k.dims, *k.reduce)), *k.own.items()):
                self.parent[i] = i
                self.members[i] = {k}
                self.extent[i] = n
        self.writers: dict[int, list[Kernel]] = {}
        self.deps: dict[Kernel, list[tuple[Kernel, tuple[Expr | None, ...]]]] = {}
        self._link(kernels)
        for a, b in together:
            self._union(a, b)

    def find(self, index: Expr) -> Expr:
        while self.parent[index] is not index:
            self.parent[index] = self.parent[self.parent[index]]
            index = self.parent[index]
        return index

    def _union(self, a: Expr, b: Expr) -> None:
        a, b = self.find(a), self.find(b)
        # Two axes of one kernel never become one: a loop could then not run over both. A part of
        # a concatenation walks less than the whole axis.
        if (
            a is not b
            and self.extent[a] == self.extent[b]
            and not (self.members[a] & self.members[b])
        ):
            self.parent[b] = a
            self.members[a] |= self.members.pop(b)

    def _link(self, kernels: Sequence[Kernel]) -> None:
        last_barrier: Kernel | None = None
        for k in kernels:
            deps: list[tuple[Kernel, tuple[Expr | None, ...]]] = []
            for number, index in self.reads[k]:
                for writer in self.writers.get(number, ()):
                    deps.append((writer, index))
                    for mine, theirs in zip(index, writer.target, strict=False):
                        if mine in self.parent and theirs in self.parent:
                            self._union(theirs, mine)
            if last_barrier is not None:
                deps.append((last_barrier, ()))
            self.deps[k] = deps
            if k.barrier:
                last_barrier = k
            for b in k.writes():
                self.writers.setdefault(b.number, []).append(k)
        walked: dict[tuple[int, int], Expr] = {}
        for k in kernels:
            for number, index in self.reads[k]:
                if number not in self.writers:
                    for axis, i in enumerate(index):
                        if i in self.parent:
                            other = walked.setdefault((number, axis), i)
                            if other is not i:
                                self._union(other, i)

    def axes(self, k: Kernel, axis: Expr) -> list[Expr]:
        """The loop variables of a kernel that are in the class of `axis`."""
        return [i for i in k.variables if self.find(i) is axis]

    def private(
        self, members: Sequence[Kernel], axis: Expr, buffers: Sequence[Buffer]
    ) -> dict[int, int]:
        """Buffers that only `members` use, at one point of `axis` each: the axis of the points."""
        result: dict[int, int] = {}
        shared: set[int] = set()
        inside = set(members)
        for k in self.reads:
            written = [(b.number, k.target) for b in k.writes()]
            if isinstance(k, Extremum):  # both have one index
                shared.update(number for number, _ in written)
            for number, index in (*written, *self.reads[k]):
                if number < self._begin or buffers[number].role != "work" or number in shared:
                    continue
                at = [a for a, i in enumerate(index) if i in self.parent and self.find(i) is axis]
                if k not in inside or len(at) != 1 or result.setdefault(number, at[0]) != at[0]:
                    shared.add(number)
        return {number: a for number, a in result.items() if number not in shared}
