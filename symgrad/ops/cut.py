"""Minimum cuts of a network: what is computed where, what is kept, if each choice has its price."""

from __future__ import annotations

from collections import deque

NEVER = 1 << 60  # a capacity that no cut goes through


class Cut:
    """A network with capacities; Dinic's algorithm."""

    def __init__(self, size: int) -> None:
        self.out: list[list[int]] = [[] for _ in range(size)]
        self.to: list[int] = []
        self.left: list[int] = []

    def edge(self, a: int, b: int, capacity: int) -> None:
        for x, y, c in ((a, b, capacity), (b, a, 0)):
            self.out[x].append(len(self.to))
            self.to.append(y)
            self.left.append(c)

    def levels(self, start: int) -> list[int]:
        level = [-1] * len(self.out)
        level[start] = 0
        queue = deque([start])
        while queue:
            x = queue.popleft()
            for e in self.out[x]:
                y = self.to[e]
                if self.left[e] and level[y] < 0:
                    level[y] = level[x] + 1
                    queue.append(y)
        return level

    def near(self, start: int, end: int) -> set[int]:
        """What remains on the side of the start when the flow is greatest."""
        while True:
            level = self.levels(start)
            if level[end] < 0:
                return {k for k, depth in enumerate(level) if depth >= 0}
            self._block(start, end, level)

    def _block(self, start: int, end: int, level: list[int]) -> None:
        """Push flow along shortest paths until none is left."""
        at = [0] * len(self.out)
        path: list[int] = []
        x = start
        while True:
            if x == end:
                flow = min(self.left[e] for e in path)
                for e in path:
                    self.left[e] -= flow
                    self.left[e ^ 1] += flow
                path, x = [], start
                continue
            while at[x] < len(self.out[x]):
                e = self.out[x][at[x]]
                if self.left[e] and level[self.to[e]] == level[x] + 1:
                    break
                at[x] += 1
            if at[x] < len(self.out[x]):
                path.append(e)
                x = self.to[e]
            elif x == start:
                return
            else:
                level[x] = -1
                x = self.to[path.pop() ^ 1]
