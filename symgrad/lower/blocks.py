"""Blocks of lanes: which statements share a loop over the lanes, and what lives between such loops.

What shares a loop depends on which values have names, and what has to be an array of lanes on what
shares a loop. Here a block whose statements stand for one point becomes loops over its lanes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from symgrad.expr.node import FLOATS, Expr
from symgrad.lazy import dataclass
from symgrad.lower.cpu import Lanes
from symgrad.lower.program import Draft, Program, replaced, walk
from symgrad.lower.scalar import GUARD, LOAD
from symgrad.lower.statement import Body, Buffer
from symgrad.lower.statements import Best, Let, Loop, Store
from symgrad.lower.strides import is_costly, steps, word_of
from symgrad.lower.tuning import LANES, Tuning

Variable = Let | int  # a value with a name, or the number of a buffer that is a variable


class Block:
    """What differs between the lanes of a block of points."""

    def __init__(self, loop: Loop, buffers: Mapping[int, Buffer] | Sequence[Buffer]) -> None:
        self.loop, self.buffers = loop, buffers
        self._moves: dict[Expr, bool] = {}

    def moves(self, expr: Expr) -> bool:
        """Whether a value differs between the lanes."""
        known, stack = self._moves, [expr]
        while stack:
            node = stack[-1]
            missing = [a for a in node.args if a not in known]
            if missing and node not in known:
                stack.extend(missing)
                continue
            stack.pop()
            private = node.op is LOAD and self.buffers[node.attrs[0]].lanes > 0
            known[node] = node is self.loop.index or private or any(known[a] for a in node.args)
        return known[expr]

    def meets(self, s: Store) -> bool:
        """Whether two lanes may store to one element, as far as one can see."""
        # Only additions meet: an element is set once.
        moves = s.op == "=" and any(map(self.moves, s.index))
        return not (moves or s.buffer.lanes > 0 or any(i is self.loop.index for i in s.index))


def loop_over_lanes(program: Program, threads: int, tuning: Tuning) -> Program:
    """The statements of each block of lanes in loops over the lanes."""
    draft = Draft(program)
    known: list[tuple[Any, Let]] = []
    cut: dict[int, Sequence[Loop]] = {}
    for s, _, around in walk(program.body):
        if isinstance(s, Let):
            known.append((around, s))
        elif isinstance(s, Loop) and s.lanes:
            names = {let.value for outer, let in known if around[: len(outer)] == outer}
            cut[id(s)] = [_Cut(s, draft, names).loop()]
    return draft.of(program, replaced(program.body, cut)) if cut else program


@dataclass(frozen=True, slots=True)
class _Item:
    """A statement of a block, and what decides where it stands.

    over : whether in a loop over the lanes
    alone : in one of its own
    vector : whether that may be a vector
    calls : whether it calls functions that are worth one
    uneven : whether it has branches, or elements that lie apart in memory
    takes : the variables that it uses, those that it sets included
    inside : of a loop that has loops over lanes inside, its body
    """

    statement: Any
    over: bool = True
    alone: bool = False
    vector: bool = True
    calls: bool = False
    uneven: bool = False
    takes: frozenset[Variable] = frozenset()
    inside: tuple[_Item, ...] = ()

    @property
    def apart(self) -> int:
        found: int = getattr(self.statement, "apart", 0)
        return found


@dataclass(frozen=True, slots=True)
class _Group:
    """Statements that share a loop over the lanes; a loop with such inside."""

    items: tuple[_Item, ...]
    inside: tuple[_Group, ...] = ()


class _Cut:
    """A loop in blocks of lanes, whose statements get loops over these.

    names : values that were computed before, and those that are where the text has come to, with
        what computes them if lanes have one each
    """

    def __init__(self, loop: Loop, draft: Draft, names: Collection[Expr]) -> None:
        self.source, self.draft = loop, draft
        self.block, self.word = Block(loop, draft.buffers), word_of(loop)
        self.names: dict[Expr, Let | None] = dict.fromkeys(names)

    def loop(self) -> Loop:
        items = self._items(self.source.body)
        wide: set[Variable] = set()  # arrays of numbers that have another length
        while True:
            groups = self._groups(items, wide)
            arrays = _several(groups)
            found = {v for v in arrays if self._bytes(v) != self.word}
            if found <= wide:
                for v in arrays:
                    if isinstance(v, int):
                        self.draft.change(v, role="block")
                return replace(self.source, body=self._built(groups, arrays, wide, self.source))
            wide |= found  # such an array keeps its users from sharing a loop with calls

    def _bytes(self, v: Variable) -> int:
        dtype = v.value.dtype if isinstance(v, Let) else self.draft.buffers[v].dtype
        return np.dtype(dtype).itemsize

    # ---- what is known of statements -------------------------------------------------------------

    def _items(self, body: Sequence[Any]) -> tuple[_Item, ...]:
        known, once, found = dict(self.names), [], []
        for s in body:
            found.append(self._item(s))
            if isinstance(s, Let):
                self.names[s.value] = s if found[-1].over else None
                once += [s.value] * (s.once and found[-1].over)
            else:
                for value in once:
                    self.names.pop(value, None)
                once.clear()
        self.names = known
        return tuple(found)

    def _item(self, s: Any) -> _Item:
        if isinstance(s, Let):
            item = self._facts(s, [s.value])
            if not self.block.moves(s.value):  # it needs nothing that a lane computes
                return replace(item, statement=replace(s, once=False), over=False)
            return replace(item, takes=item.takes | {s})
        if isinstance(s, Store):
            return self._store(s)
        if isinstance(s, Best):
            roots = [*s.index, s.value, s.position]
            return replace(
                self._facts(s, roots, s.buffer, s.value_buffer), alone=True, vector=False
            )
        if not isinstance(s, Loop):
            return _Item(s, over=False)
        if not s.accumulates:
            return _Item(s, over=False, inside=self._items(s.body))
        parts = self._items(s.body)
        return _Item(
            s,
            alone=True,
            calls=any(p.calls for p in parts),
            uneven=any(p.uneven for p in parts),
            takes=frozenset().union(*(p.takes for p in parts)),
        )

    def _store(self, s: Store) -> _Item:
        item = self._facts(s, [*s.index, s.value], s.buffer if s.partial is None else None)
        if s.partial is not None:  # of all lanes
            return replace(item, over=False)
        scattered = s.apart > 0 and s.buffer.lanes == 0  # several lanes might store to one element
        by_branch = s.op in ("max", "min") and not is_by_bits(s)
        meets = self.block.meets(s)
        return replace(item, alone=meets or by_branch, vector=not (meets or by_branch or scattered))

    def _facts(self, s: Any, roots: list[Expr], *targets: Buffer | None) -> _Item:
        """What its expressions call and read, but for those that have a name."""
        calls = uneven = False
        takes: set[Variable] = set()
        places = [(b, s.index) for b in targets if b is not None]
        stack, seen = roots, set()
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in self.names:
                takes.update(let for let in [self.names[node]] if let is not None)
                continue
            calls = calls or is_costly(node)
            uneven = uneven or node.op is GUARD
            if node.op is LOAD:
                b = self.draft.buffers[node.attrs[0]]
                places.append((b, node.args))
                stack += [node.args[a] for a in b.kept_axes]
            else:
                stack += node.args
        for b, index in places:
            if b.role == "scalar":
                takes.update([b.number] if b.lanes else [])
            elif b.shape or b.role != "in":
                uneven = uneven or not steps(self.source.index, b, index, self.word)
        return _Item(s, calls=calls, uneven=uneven, takes=frozenset(takes))

    # ---- loops over the lanes --------------------------------------------------------------------

    def _groups(self, items: Sequence[_Item], wide: Collection[Variable]) -> tuple[_Group, ...]:
        found: list[_Group] = []
        run: list[_Item] = []

        def flush() -> None:
            if run:
                found.append(_Group(tuple(run)))
                run.clear()

        for item in items:
            if isinstance(item.statement, Let) and not item.over:
                found.append(_Group((item,)))
                continue
            if not item.over or item.alone or (run and not _meet_well(run, item, wide)):
                flush()
            if not item.over:
                found.append(_Group((item,), self._groups(item.inside, wide)))
                continue
            run.append(item)
            if item.alone:
                flush()
        flush()
        return tuple(found)

    def _built(
        self,
        groups: Sequence[_Group],
        arrays: Collection[Variable],
        wide: Collection[Variable],
        around: Loop,
    ) -> Body:
        """The statements of groups in a loop; variables that several of them use are arrays."""
        found = []
        for group in groups:
            first = group.items[0]
            if not first.over:
                s = first.statement
                if first.inside:
                    s = replace(s, body=self._built(group.inside, arrays, wide, s))
                found.append(s)
                continue
            body = tuple([self._kept(p.statement, arrays, around) for p in group.items])
            found.append(self._over(group.items, body, wide))
        return tuple(found)

    def _kept(self, s: Any, arrays: Collection[Variable], around: Loop) -> Any:
        """A statement; of a value that other loops over the lanes take, with an array for it."""
        if not isinstance(s, Let) or s not in arrays:
            return s
        more: dict[str, Any] = dict(home=around.index, lanes=self.source.lanes)
        return replace(s, array=self.draft.array((), s.value.dtype, "block", **more))

    def _over(self, items: Sequence[_Item], body: Body, wide: Collection[Variable]) -> Lanes:
        calls = any(p.calls for p in items)
        uneven = any(_is_uneven(p, wide) for p in items)
        vector = all(p.vector for p in items)
        first = items[0].statement
        in_order = isinstance(first, Best) or (isinstance(first, Store) and self.block.meets(first))

        def vectors(extent: int) -> int:
            # Compilers would choose between two functions.
            if not vector or (calls and (extent < LANES or uneven)):
                return 0
            return extent - extent % LANES if calls else extent

        loop = self.source
        last = 0 if loop.again else loop.extent % loop.lanes
        return Lanes(body, (vectors(loop.lanes), vectors(last)), in_order)


def is_by_bits(s: Store) -> bool:
    """Whether a maximum or minimum can be a choice of bits, without a branch."""
    return s.op in ("max", "min") and s.value.dtype in FLOATS


def _several(groups: Sequence[_Group]) -> set[Variable]:
    """The variables that more than one of the loops over lanes, and sums over all lanes, use."""
    users: Counter[Variable] = Counter()
    stack = [*groups]
    for group in stack:  # which grows meanwhile
        stack.extend(group.inside)
        users.update(frozenset().union(*(p.takes for p in group.items)))
    return {v for v, count in users.items() if count > 1}


def _is_uneven(item: _Item, wide: Collection[Variable]) -> bool:
    return item.uneven or not item.takes.isdisjoint(wide)


def _meet_well(run: Sequence[_Item], item: _Item, wide: Collection[Variable]) -> bool:
    """Whether a statement can join others: beside calls no compiler may have to choose."""
    both = [*run, item]
    chooses = any(p.calls for p in both) and any(_is_uneven(p, wide) for p in both)
    return run[-1].apart == item.apart and not chooses
