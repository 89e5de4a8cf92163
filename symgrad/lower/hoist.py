"""Values of a point that an inner loop would compute again and again, computed before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from symgrad.expr.node import FLOATS, Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import substitute
from symgrad.lower.program import Draft, replaced, statements
from symgrad.lower.scalar import GUARD, INDEX, LOAD, load_of, loads
from symgrad.lower.statement import Statement
from symgrad.lower.statements import Loop, Store, nested
from symgrad.lower.tuning import Tuning


class Hoist:
    """Values of a point that a loop would compute again and again, computed before it.

    In ``for k: for l: s[k, l] += w[k] * (x[l] - m[l])`` the difference does not depend on k: it
    goes into an array over l, private to the point, that is filled before the loop over k.
    """

    def __init__(self, loop: Loop, draft: Draft, tuning: Tuning) -> None:
        self.loop, self.draft, self.tuning = loop, draft, tuning
        self.inside: dict[Expr, frozenset[Expr]] = {}
        self._became: dict[Any, Any] = {}

    def run(self) -> Loop:
        """The loop with what is computed before loops inside of it."""
        return replace(self.loop, body=self._body(self.loop))

    def now(self, s: Any) -> Any:
        """What has become of a statement."""
        while s in self._became:
            s = self._became[s]
        return s

    def _body(self, outer: Loop) -> list[Any]:
        """The statements of a loop, those of the last loop inside made before those of others."""
        found: list[Any] = []
        inner: list[int] = []
        for s in outer.body:
            if isinstance(s, Loop):
                before, s = self._before(s, outer.index)
                found += before
                inner.append(len(found))
            found.append(s)
        for position in reversed(inner):
            s = found[position]
            found[position] = replace(s, body=self._body(s))
        return found

    def _before(self, outer: Loop, home: Expr) -> tuple[list[Any], Loop]:
        """Statements that fill what `outer` need not compute in each round, and the rest."""
        leaves = list(statements([outer]))
        written = {a.buffer for s, _ in leaves for a in s.touches() if a.writes}
        extents = {l.index: l.extent for _, path in leaves for l in path}
        made: dict[Expr, Expr] = {}
        result: list[Any] = []
        new: dict[int, Sequence[Statement]] = {}
        for s, path in leaves:
            if not isinstance(s, Store) or len(path) < 2:
                continue
            for node in self._candidates(s.value, outer.index, written, extents):
                if node not in made:
                    made[node], fill = self._array(node, extents, home)
                    result.append(fill)
            changed = s.with_exprs(lambda exprs: substitute(exprs, made))
            if changed is not s:
                self._became[s] = changed
                new[id(s)] = [changed]
        (rest,) = replaced([outer], new)
        assert isinstance(rest, Loop)
        return result, rest

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
                if n.op is LOAD and self.draft.buffers[n.attrs[0]].lanes:
                    own = frozenset({self.loop.index})
                self.inside[n] = own.union(*(self.inside[a] for a in n.args))
            else:
                stack.extend(missing)
        return self.inside[node]

    def _array(self, node: Expr, extents: dict[Expr, int], home: Expr) -> tuple[Expr, Any]:
        """A load that stands for `node`, and the loops that compute it."""
        inner = sorted(self._indices(node) & extents.keys(), key=lambda i: i.attrs[0])
        shape = tuple(extents[i] for i in inner)
        buffer = self.draft.array(shape, node.dtype, home=home, lanes=self.loop.lanes)
        fresh = [self.draft.fresh() for _ in inner]
        (value,) = substitute([node], dict(zip(inner, fresh, strict=True)))
        (fill,) = nested(map(Loop, fresh, shape), [Store(buffer, tuple(fresh), value)])
        load = load_of(buffer, tuple(inner))
        self.inside.pop(load, None)
        return load, fill
