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
from symgrad.lower.program import Draft, Program, bodies_of, replaced, walk
from symgrad.lower.scalar import GUARD, LOAD
from symgrad.lower.statement import Body, Buffer
from symgrad.lower.statements import Best, Let, Loop, Store
from symgrad.lower.strides import is_costly, steps, word_of
from symgrad.lower.tuning import LANES, Tuning

Variable = Let | int  # a value with a name, or the number of a buffer that is a variable


class Block:
    """What differs between the lanes of a block of points, or between the rounds of a vector."""

    def __init__(self, loop: Loop, buffers: Mapping[int, Buffer] | Sequence[Buffer]) -> None:
        self.loop, self.buffers = loop, buffers
        self._homes = {s.index for body in bodies_of([loop]) for s in body if isinstance(s, Loop)}
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
            b = self.buffers[node.attrs[0]] if node.op is LOAD else None
            private = b is not None and (b.lanes > 0 or b.home in self._homes)
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
    alone, vector, in_order : whether in one of its own, which may be a vector, or comes in order
    apart : as of the store that it is, or is for
    calls : whether it calls functions that are worth a vector
    uneven : whether it has branches, or elements that lie apart in memory
    takes : the variables that it uses, those that it sets included
    inside : of a loop that has loops over lanes inside, its body; then the groups in it
    """

    statement: Any
    over: bool = True
    alone: bool = False
    vector: bool = True
    in_order: bool = False
    apart: int = 0
    calls: bool = False
    uneven: bool = False
    takes: frozenset[Variable] = frozenset()
    inside: tuple[Any, ...] = ()


_Group = tuple[_Item, ...]  # share a loop over the lanes; or one statement that stands in none


class _Cut:
    """A loop in blocks of lanes, whose statements get loops over these.

    names : values that were computed before, and those that are where the text has come to, with
        what computes them if lanes have one each
    arrays : variables that several loops over lanes use
    wide : those of numbers that have another length than what functions are called for
    """

    def __init__(self, loop: Loop, draft: Draft, names: Collection[Expr]) -> None:
        self.source, self.draft = loop, draft
        self.block, self.word = Block(loop, draft.buffers), word_of(loop)
        self.names: dict[Expr, Let | None] = dict.fromkeys(names)
        self.arrays: set[Variable] = set()
        self.wide: set[Variable] = set()

    def loop(self) -> Loop:
        items = self._items(self.source.body)
        while True:
            groups = self._groups(items)
            users = Counter(v for group in _nested(groups) for v in _takes(group))
            self.arrays = {v for v, count in users.items() if count > 1}
            found = {v for v in self.arrays if self._bytes(v) != self.word}
            if found <= self.wide:
                break
            self.wide |= found  # such an array keeps its users from sharing a loop with calls
        for v in self.arrays:
            if isinstance(v, int):
                self.draft.change(v, role="block")
        return replace(self.source, body=self._built(groups, self.source))

    def _bytes(self, v: Variable) -> int:
        dtype = v.value.dtype if isinstance(v, Let) else self.draft.buffers[v].dtype
        return np.dtype(dtype).itemsize

    # ---- what is known of statements -------------------------------------------------------------

    def _items(self, body: Sequence[Any]) -> tuple[_Item, ...]:
        known, once, found = dict(self.names), [], []
        for s in body:
            item = self._item(s)
            found.append(item)
            if isinstance(s, Let):
                self.names[s.value] = s if item.over else None
                once += [s.value] * (s.once and item.over)
                continue
            for value in once:
                self.names.pop(value, None)
            once.clear()
        self.names = known
        apart = 0
        for k in reversed(range(len(found))):  # values are as the store that they are for
            if not _is_let(found[k]):
                apart = getattr(found[k].statement, "apart", 0)
            found[k] = replace(found[k], apart=apart) if apart else found[k]
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
            item = self._facts(s, [*s.index, s.value, s.position], s.buffer, s.value_buffer)
            return replace(item, alone=True, vector=False, in_order=True)
        if not isinstance(s, Loop):
            return _Item(s, over=False)
        parts = self._items(s.body)
        if not s.accumulates:
            return _Item(s, over=False, inside=parts)
        calls, uneven = any(p.calls for p in parts), any(p.uneven for p in parts)
        return _Item(s, alone=True, calls=calls, uneven=uneven, takes=_takes(parts))

    def _store(self, s: Store) -> _Item:
        if s.partial is not None:  # of all lanes
            return replace(self._facts(s, [*s.index, s.value]), over=False)
        item = self._facts(s, [*s.index, s.value], s.buffer)
        scattered = s.apart > 0 and s.buffer.lanes == 0  # several lanes might store to one element
        by_branch = s.op in ("max", "min") and not is_by_bits(s)
        meets = self.block.meets(s)
        alone = meets or by_branch
        return replace(item, alone=alone, vector=not (alone or scattered), in_order=meets)

    def _facts(self, s: Any, roots: list[Expr], *targets: Buffer) -> _Item:
        """What its expressions call and read, but for those that have a name."""
        calls = uneven = False
        takes: set[Variable] = set()
        places = [(b, s.index) for b in targets]
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
                takes.update([b.number] * (b.lanes > 0))
            elif b.shape or b.role != "in":
                uneven = uneven or not steps(self.source.index, b, index, self.word)
        return _Item(s, calls=calls, uneven=uneven, takes=frozenset(takes))

    # ---- loops over the lanes --------------------------------------------------------------------

    def _groups(self, items: Sequence[_Item]) -> tuple[_Group, ...]:
        found: list[_Group] = []
        run: list[_Item] = []
        calls = uneven = False  # in the run
        for item in items:
            if _is_let(item) and not item.over:
                found.append((item,))
                continue
            calls, uneven = calls or item.calls, uneven or self._is_uneven(item)
            # Beside calls no compiler may have to choose functions.
            shares = item.over and not item.alone and not (calls and uneven)
            if run and not (shares and not run[-1].alone and run[-1].apart == item.apart):
                found.append(tuple(run))
                run, calls, uneven = [], item.calls, self._is_uneven(item)
            if item.over:
                run.append(item)
            else:
                found.append((replace(item, inside=self._groups(item.inside)),))
                calls = uneven = False
        return (*found, tuple(run)) if run else tuple(found)

    def _is_uneven(self, item: _Item) -> bool:
        return item.uneven or not item.takes.isdisjoint(self.wide)

    def _built(self, groups: Sequence[_Group], around: Loop) -> Body:
        """The statements of groups in a loop; variables that several of them use are arrays."""
        found: list[Any] = []
        for group in groups:
            s = group[0].statement
            if group[0].over:
                found.append(self._over(group, around))
            elif group[0].inside:
                found.append(replace(s, body=self._built(group[0].inside, s)))
            else:
                found.append(s)
        return tuple(found)

    def _over(self, group: _Group, around: Loop) -> Lanes:
        calls, uneven = any(p.calls for p in group), any(map(self._is_uneven, group))
        vector = all(p.vector for p in group)

        def vectors(extent: int) -> int:
            # Compilers would choose between two functions.
            if not vector or (calls and (extent < LANES or uneven)):
                return 0
            return extent - extent % LANES if calls else extent

        loop = self.source
        last = 0 if loop.again else loop.extent % loop.lanes
        more: dict[str, Any] = dict(home=around.index, lanes=loop.lanes)
        body = [p.statement for p in group]
        for k, s in enumerate(body):  # what other loops over the lanes take has an array
            if s in self.arrays:
                body[k] = replace(s, array=self.draft.array((), s.value.dtype, "block", **more))
        return Lanes(body, (vectors(loop.lanes), vectors(last)), group[0].in_order)


def is_by_bits(s: Store) -> bool:
    """Whether a maximum or minimum can be a choice of bits, without a branch."""
    return s.op in ("max", "min") and s.value.dtype in FLOATS


def _is_let(item: _Item) -> bool:
    return isinstance(item.statement, Let)


def _takes(items: Sequence[_Item]) -> frozenset[Variable]:
    return frozenset().union(*(p.takes for p in items))


def _nested(groups: Sequence[_Group]) -> list[_Group]:
    """Groups with those inside of loops."""
    found = [*groups]
    for group in found:  # which grows meanwhile
        found.extend(group[0].inside)
    return found
