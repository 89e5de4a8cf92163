"""Values of a point that an inner loop would compute again and again, computed before it."""

from __future__ import annotations

import math
from typing import Any

from symgrad.expr.node import FLOATS, Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import substitute
from symgrad.lower.access import rewrite, targets
from symgrad.lower.program import statements
from symgrad.lower.scalar import GUARD, INDEX, LOAD, index_of, load_of, loads
from symgrad.lower.statements import (
    Buffer,
    Loop,
    Store,
)  # fmt: skip
from symgrad.lower.tuning import Tuning


class Hoist:
    """Values of a point that a loop would compute again and again, computed before it.

    In ``for k: for l: s[k, l] += w[k] * (x[l] - m[l])`` the difference does not depend on k: it
    goes into an array over l, private to the point, that is filled before the loop over k.
    """

    def __init__(
        self,
        loop: Loop,
        buffers: list[Buffer],
        by_number: dict[int, Buffer],
        next_index: int,
        tuning: Tuning,
    ) -> None:
        self.tuning = tuning
        self.loop, self.buffers, self.by_number, self.next_index = (
            loop,
            buffers,
            by_number,
            next_index,
        )
        self.moving: dict[Expr, bool] = {}
        self.inside: dict[Expr, frozenset[Expr]] = {}

    def run(self) -> int:
        """Changes the loop's body; returns the next free number of an index."""
        pending = [self.loop.body]
        while pending:
            body = pending.pop()
            position = 0
            while position < len(body):
                statement = body[position]
                if isinstance(statement, Loop):
                    before = self._before(statement, body)
                    body[position:position] = before
                    position += len(before)
                    pending.append(statement.body)
                position += 1
        return self.next_index

    def _before(self, outer: Loop, body: list[Any]) -> list[Any]:
        """Statements that fill what `outer` need not compute in each of its rounds."""
        leaves = list(statements([outer]))
        written = {b.number for s, _ in leaves for b, _ in targets(s)}
        extents = {l.index: l.extent for _, path in leaves for l in path}
        made: dict[Expr, Expr] = {}
        result: list[Any] = []
        for s, path in leaves:
            if not isinstance(s, Store) or len(path) < 2:
                continue
            for node in self._candidates(s.value, outer.index, written, extents):
                if node not in made:
                    made[node], fill = self._array(node, extents, body)
                    result.append(fill)
            rewrite(s, made)
        return result

    def _candidates(
        self, root: Expr, outer: Expr, written: set[int], extents: dict[Expr, int]
    ) -> list[Expr]:
        """The largest parts of `root` that depend on the point and an inner loop, not `outer`."""
        found: list[Expr] = []
        seen: set[Expr] = set()
        stack = [root]
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            used = self._indices(node)
            inner = used & extents.keys()
            size = math.prod(extents[i] for i in inner) * self.loop.lanes * 8
            if (
                node.op.kind is Kind.ELEMENTWISE
                and node.dtype in FLOATS
                and self.loop.index in used
                and inner
                and outer not in used
                and size <= self.tuning.block_bytes
                and extents[outer] >= self.tuning.hoist_from_rounds
                and not any(n.attrs[0] in written for n in loads((node,)))
            ):
                found.append(node)
            elif node.op is not LOAD and node.op is not GUARD:  # not what an index is made of
                stack.extend(node.args)
        return found

    def _indices(self, node: Expr) -> frozenset[Expr]:
        """The loop variables that a value depends on; the point's for what is private to it."""
        stack = [node]
        while stack:
            n = stack[-1]
            missing = [a for a in n.args if a not in self.inside]
            if n in self.inside or not missing:
                stack.pop()
                own = frozenset({n}) if n.op is INDEX else frozenset()
                if n.op is LOAD and self.by_number[n.attrs[0]].lanes:
                    own = frozenset({self.loop.index})
                self.inside[n] = own.union(*(self.inside[a] for a in n.args))
            else:
                stack.extend(missing)
        return self.inside[node]

    def _array(self, node: Expr, extents: dict[Expr, int], body: list[Any]) -> tuple[Expr, Any]:
        """A load that stands for `node`, and the loops that compute it."""
        inner = sorted(self._indices(node) & extents.keys(), key=lambda i: i.attrs[0])
        shape = tuple(extents[i] for i in inner)
        buffer = Buffer(len(self.buffers), f"s{len(self.buffers)}", shape, node.dtype, "work")
        buffer.home, buffer.lanes = body, self.loop.lanes
        self.buffers.append(buffer)
        self.by_number[buffer.number] = buffer
        fresh = [index_of(self.next_index + k) for k in range(len(inner))]
        self.next_index += len(inner)
        (value,) = substitute([node], dict(zip(inner, fresh, strict=True)))
        fill: Any = Store(buffer, tuple(fresh), value)
        for i, n in zip(reversed(fresh), reversed(shape), strict=True):
            fill = Loop(i, n, [fill])
        load = load_of(buffer, tuple(inner))
        self.inside.pop(load, None)
        return load, fill
