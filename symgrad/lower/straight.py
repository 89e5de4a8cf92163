"""The body of a loop over points as straight-line code: inner loops written out, arrays gone.

Where a point has a handful of components, loops over them cost more than what they compute: every
value goes through memory, and a delta is asked for in every round. Here such a body becomes one
expression for each element of its results, made of what the point reads. Equal parts are one node,
as everywhere; the order of additions stays what it was.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from symgrad.expr.node import CONST, FLOATS, Expr, bind, const, const_value, is_const
from symgrad.expr.op import Kind
from symgrad.expr.walk import depends_on, rebuild, substitute, toposort, transform
from symgrad.lower.cpu import Fetch, Powers, Rows, Turns
from symgrad.lower.program import Draft, statements
from symgrad.lower.scalar import COS_TURNED, GUARD, LOAD, SIN_TURNED, load_of
from symgrad.lower.statement import Buffer, is_flat
from symgrad.lower.statements import Loop, Store
from symgrad.lower.tuning import Tuning
from symgrad.ops.elementwise import ADD, COS, MAXIMUM, MINIMUM, MULTIPLY, POWER, SIN

_MOST_EXPONENT = 64  # of sg_powers, whose logarithms have bits enough for it
TILE = 4  # elements of a row that are copied together
_TURNED = {SIN: SIN_TURNED, COS: COS_TURNED}
_COMBINED = {row.accumulates: row for row in (ADD, MULTIPLY, MAXIMUM, MINIMUM)}


def straight(loop: Loop, private: set[int], tuning: Tuning) -> list[Store] | None:
    """One store for each element of a result that a point of `loop` sets; None if there is no way.

    private : the buffers that only one point uses; nothing is stored there any more
    """
    if not _is_short(loop, tuning):
        return None
    point = _Point(loop, private)
    for statement, at in _rounds(loop.body):
        if not point.run(statement, at):
            return None
    return [s for s in point.elements.values() if s.buffer.number not in private]


def _is_short(loop: Loop, tuning: Tuning) -> bool:
    leaves = list(statements(loop.body))
    extents = [inner.extent for _, path in leaves for inner in path]
    if any(n > tuning.straight_rounds for n in extents):
        return False
    if not all(isinstance(s, Store) for s, _ in leaves):
        return False
    nodes = [toposort(s.exprs()) for s, _ in leaves]
    if any(n.op is GUARD for own in nodes for n in own):  # what must not be read everywhere
        return False
    if all(n == 1 for n in extents):  # a straight line already
        return True
    operations = 0
    for own, (_, path) in zip(nodes, leaves, strict=True):
        count = sum(n.op.kind is Kind.ELEMENTWISE for n in own)
        operations += max(count, 1) * math.prod(inner.extent for inner in path)
    return operations <= tuning.straight_operations


def _rounds(body: Sequence[Any]) -> Iterator[tuple[Any, dict[Expr, Expr]]]:
    """The statements in the order in which they run, with the values of inner indices."""
    stack: list[tuple[Any, dict[Expr, Expr]]] = [(s, {}) for s in reversed(body)]
    while stack:
        statement, at = stack.pop()
        if isinstance(statement, Loop):
            for k in reversed(range(statement.extent)):
                inside = {**at, statement.index: const(k, "int64")}
                stack.extend((s, inside) for s in reversed(statement.body))
        else:
            yield statement, at


class _Point:
    """What one point has stored so far."""

    def __init__(self, loop: Loop, private: set[int]) -> None:
        self.index, self.private = loop.index, private
        self.buffers = {s.buffer.number: s.buffer for s, _ in statements(loop.body)}
        self.elements: dict[tuple[int, tuple[Expr, ...]], Store] = {}
        self.missing = False  # whether something was read that is not there

    def run(self, s: Store, at: dict[Expr, Expr]) -> bool:
        """Carry out a statement; whether that was possible."""
        *place, value = transform([*s.index, s.value], self._read, at)
        index = tuple(place)
        key = self._key(s.buffer.number, index)
        if s.op != "=":
            if s.op not in _COMBINED or key not in self.elements:
                return False
            before = self.elements[key].value
            started = s.op == "+" and is_const(before, 0)
            value = value if started else bind(_COMBINED[s.op], before, value)
        self.elements[key] = Store(s.buffer, index, value)
        return not self.missing and self._is_own(s.buffer.number, key[1])

    def _read(self, node: Expr, args: tuple[Expr, ...]) -> Expr:
        if node.op is not LOAD or node.attrs[0] not in self.buffers:
            return rebuild(node, args)
        found = self.elements.get(self._key(node.attrs[0], args))
        self.missing = self.missing or found is None
        return node if found is None else found.value

    def _key(self, number: int, index: tuple[Expr, ...]) -> tuple[int, tuple[Expr, ...]]:
        return number, tuple(index[a] for a in self.buffers[number].kept_axes)

    def _is_own(self, number: int, place: tuple[Expr, ...]) -> bool:
        """Whether two places are one element only if they are spelled alike."""
        if is_flat(self.buffers[number], place, self.index):
            return number not in self.private
        others = [i for i in place if i is not self.index]
        points = len(place) - len(others)
        return all(i.op is CONST for i in others) and points == (number not in self.private)


class Written:
    """The straight-line code of a point as statements of a block of lanes.

    What is not contiguous over the points is copied: rows of inputs before, rows of results behind.
    """

    def __init__(self, loop: Loop, draft: Draft, tuning: Tuning) -> None:
        self.loop, self.draft, self.tuning = loop, draft, tuning
        self.groups = itertools.count(1)  # each copy has a loop over the lanes of its own
        self._in_tiles = loop.lanes % TILE == 0
        self.swap: dict[Expr, Expr] = {}  # what is read or computed by statements before

    def out(self, stores: list[Store]) -> list[Any]:
        """The statements; adds buffers."""
        results = [s.value for s in stores]
        before = [*self._rows(results), *self._powers(results), *self._turns(results)]
        values = substitute(results, self.swap)
        stores = [replace(s, value=v) for s, v in zip(stores, values, strict=True)]
        fetches, stores, behind = self._results(stores)
        return [*fetches, *before, *stores, *behind]

    def _rows(self, results: list[Expr]) -> list[Any]:
        """Copies of what a point reads that does not stand beside the same of the next point."""
        rows: dict[tuple[Any, ...], list[Expr]] = {}
        seen: set[Expr] = set()
        stack = results[::-1]
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node.op is not LOAD:  # an index is read where the row is
                stack.extend(reversed(node.args))
            elif self._moves(node) and not self._is_contiguous(*self._place(node)):
                moving = tuple(None if a.op is CONST else a for a in node.args)
                rows.setdefault((node.attrs[0], moving), []).append(node)
        copies: list[Any] = []
        for (number, _), found in rows.items():
            source, group = self.draft.buffers[number], next(self.groups)
            copy = self._array(f"{source.name}_lanes", len(found), source.dtype)
            found.sort(key=lambda n: _constants(n.args))
            as_rows = self._in_tiles and _is_run(source, [n.args for n in found])
            if as_rows:
                start = self._array(f"{source.name}_start", 1, "int64")
                copies.append(Store(start, _at(0), _offset(source, found[0].args), apart=group))
                copies.append(Rows(copy, source, found[0].args, start))
            for k, node in enumerate(found):
                if not as_rows:
                    copies.append(Store(copy, _at(k), node, apart=group))
                self.swap[node] = load_of(copy, _at(k))
        return copies

    def _powers(self, results: list[Expr]) -> list[Any]:
        """Bases with the same constant exponent, in an array; not bases made of sines or powers."""
        nodes = toposort(results)
        found = [n for n in nodes if is_power(n, self.loop.extent, self.tuning)]
        moving = depends_on(nodes, [self.loop.index])
        later = depends_on(nodes, [*found, *(n for n in nodes if is_turned(n))])
        powers: dict[float, list[Expr]] = {}
        for node in found:
            if node.args[0] in moving and node.args[0] not in later:
                powers.setdefault(float(const_value(node.args[1])), []).append(node)
        out: list[Any] = []
        for exponent, users in powers.items():
            bases, raised = (self._array(n, len(users), "float64") for n in ("bases", "powers"))
            group = next(self.groups)
            values = substitute([node.args[0] for node in users], self.swap)
            out += [Store(bases, _at(k), v, apart=group) for k, v in enumerate(values)]
            out.append(Powers(bases, exponent, raised))
            self.swap.update((node, load_of(raised, _at(k))) for k, node in enumerate(users))
        return out

    def _turns(self, results: list[Expr]) -> list[Any]:
        """The angles whose sin and cos are taken, in one array; not angles made of other sines."""
        nodes = toposort(results)
        moving = depends_on(nodes, [self.loop.index])
        later = depends_on(nodes, [n for n in nodes if is_turned(n)])
        angles: dict[Expr, list[Expr]] = {}
        for node in nodes:
            if is_turned(node) and node.args[0] in moving and node.args[0] not in later:
                angles.setdefault(node.args[0], []).append(node)
        if not angles:
            return []
        names, group = ("angles", "rests", "quarters"), next(self.groups)
        turns = Turns(*(self._array(name, len(angles), "float64") for name in names))
        values = substitute(list(angles), self.swap)
        for k, users in enumerate(angles.values()):
            parts = load_of(turns.rests, _at(k)), load_of(turns.quarters, _at(k))
            self.swap.update({n: bind(_TURNED[n.op], *parts) for n in users})
        stores = [Store(turns.angles, _at(k), v, apart=group) for k, v in enumerate(values)]
        return [*stores, turns]

    def _results(self, stores: list[Store]) -> tuple[list[Any], list[Store], list[Any]]:
        """Rows of results in arrays of lanes: what is done before, with them, and behind."""
        into: dict[int, Store] = {}
        members: dict[int, list[Store]] = {}
        for s in stores:
            if not self._is_contiguous(s.buffer, s.index):
                members.setdefault(s.buffer.number, []).append(s)
        fetches: list[Any] = []
        copies: list[Any] = []
        for number, found in members.items():
            target, group = self.draft.buffers[number], next(self.groups)
            rows = self._array(f"{target.name}_lanes", len(found), target.dtype)
            large = target.nbytes >= self.tuning.fetch_from_bytes
            if large and found[0].index[0] is self.loop.index:
                fetches.append(Fetch(target, math.prod(target.shape[1:])))
            found.sort(key=lambda s: _constants(s.index))
            as_rows = self._in_tiles and _is_run(target, [s.index for s in found])
            if as_rows:
                copies.append(Rows(rows, target, found[0].index, write=True))
            for k, s in enumerate(found):
                if not as_rows:
                    copies.append(Store(target, s.index, load_of(rows, _at(k)), apart=group))
                into[id(s)] = replace(s, buffer=rows, index=_at(k))
        return fetches, [into.get(id(s), s) for s in stores], copies

    def _array(self, name: str, elements: int, dtype: str) -> Buffer:
        home, lanes = self.loop.index, self.loop.lanes
        name = self.draft.unused(name)
        return self.draft.array((elements,), dtype, name=name, home=home, lanes=lanes)

    def _place(self, load: Expr) -> tuple[Buffer, tuple[Expr, ...]]:
        return self.draft.buffers[load.attrs[0]], load.args

    def _moves(self, expr: Expr) -> bool:
        return self.loop.index in toposort([expr])

    def _is_contiguous(self, buffer: Buffer, index: tuple[Expr, ...]) -> bool:
        """Whether an element stands beside that of the next point."""
        if is_flat(buffer, index, self.loop.index):
            return True
        moving = [a for a in buffer.kept_axes if self._moves(index[a])]
        if len(moving) != 1 or index[moving[0]] is not self.loop.index:
            return False
        return math.prod(buffer.shape[a] for a in buffer.kept_axes if a > moving[0]) == 1


def is_turned(node: Expr) -> bool:
    """Whether a node is the sine or cosine of an angle that is taken apart."""
    return node.op in _TURNED and node.dtype == "float64"


def is_power(node: Expr, points: int, tuning: Tuning) -> bool:
    """Whether a node is a power that sg_powers can take, and there are points enough for it."""
    if node.op is not POWER or node.dtype != "float64" or node.args[1].op is not CONST:
        return False
    exponent = float(const_value(node.args[1]))
    fits = abs(exponent) <= _MOST_EXPONENT and not exponent.is_integer()
    return fits and points >= tuning.powers_from_points


def _offset(buffer: Buffer, index: tuple[Expr, ...]) -> Expr:
    """How many elements into a buffer an element stands."""
    total = index[0]
    for i, n in zip(index[1:], buffer.shape[1:], strict=True):
        total = total * const(n, "int64") + i
    return total


def _is_run(buffer: Buffer, places: list[tuple[Expr, ...]]) -> bool:
    """Whether elements that differ only in constants are contiguous, and enough for a tile."""
    if buffer.dtype not in FLOATS or buffer.lanes or len(buffer.kept_axes) < len(buffer.shape):
        return False
    if len(places) < TILE:
        return False
    steps = [math.prod(buffer.shape[a + 1 :]) for a in range(len(buffer.shape))]
    first: int | None = None
    for k, place in enumerate(places):
        fixed = [(i, s) for i, s in zip(place, steps, strict=True) if i.op is CONST]
        at = sum(int(const_value(i)) * s for i, s in fixed)
        first = at if first is None else first
        if at != first + k:
            return False
    return True


def _at(k: int) -> tuple[Expr]:
    return (const(k, "int64"),)


def _constants(index: tuple[Expr, ...]) -> tuple[int, ...]:
    return tuple(int(const_value(i)) for i in index if i.op is CONST)
