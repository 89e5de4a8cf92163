"""One traced round of a loop, and what all rounds make: a scan, or arrays where that is possible.

In: the values that a round leaves, as expressions of its number and of what it was given. Out: what
`n` such rounds leave. Only what depends on the round before is a recurrence. Whatever else a round
does is done for all rounds at once:

* ``x[t]``, ``x[t + 1]`` of an array that no round changes are rows of a slice;
* ``y[t] = v`` in an array of which rounds read what earlier ones have written needs the last few
  rows only, and the rows written are stacked: the array itself is not carried;
* ``s += v`` is a sum over all rounds where nothing reads s;
* what each round checks is checked for all of them.

No loop is unrolled here, and nothing depends on the number of rounds but shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from symgrad.diff.modes import vmap
from symgrad.expr.node import (
    CONST,
    FLOATS,
    Expr,
    arg,
    bind,
    const,
    const_value,
    iota,
    is_const,
)
from symgrad.expr.walk import depends_on, rebuild, substitute, toposort, transform
from symgrad.ops.body import Body
from symgrad.ops.checks import CHECK
from symgrad.ops.control import BRANCH, ITEM, branch, scan
from symgrad.ops.elementwise import ADD, CONVERT, MULTIPLY, NEGATIVE, SUBTRACT
from symgrad.ops.linear import GATHER, gather, permute, slice_, sum_
from symgrad.simplify.control import restructured
from symgrad.trace.indexing import Put, parse, put, replace
from symgrad.trace.sink import is_constant, sink

# Rules by which a branch that is cheap on both sides is none, so that arrays stay arrays.
_CHEAP = frozenset({"switch-known", "switch-cheap", "switch-unused"})
_MOST_BEFORE = 8  # rows written before that a round may read


@dataclass
class Round:
    """What one round computes.

    number : an int64 argument, which round it is, from 0 on
    carry, after : what it gets from the round before, as arguments, and what it leaves
    extra : what it computes besides, to be stacked over all rounds
    """

    number: Expr
    carry: list[Expr]
    after: list[Expr]
    extra: list[Expr] = field(default_factory=list)


def run(round_: Round, start: Sequence[Expr], n: int) -> tuple[list[Expr], list[Expr]]:
    """What `n` rounds leave that begin with `start`, and the stacked `extra`."""
    return _Loop(round_, list(start), n).result()


class _Loop:
    """A loop while it is taken apart.

    carry, start : of the values that are still handed from round to round, by number; rows of
        arrays that are read again get numbers of their own
    values : what a round computes, by what becomes of it: ("after", k) is handed on as number k,
        ("row", k) goes into array k, ("term", k) is added to number k, ("bad", k) is checked before
        all rounds behind number k, ("extra", j) is stacked
    final : what the others end as
    elements : an argument that stands for the element of a round, and all these elements
    """

    def __init__(self, round_: Round, start: Sequence[Expr], n: int) -> None:
        self.n, self.number, self.count = n, round_.number, len(start)
        self.carry = dict(enumerate(round_.carry))
        self.start = dict(enumerate(start))
        self.values = {("after", k): v for k, v in enumerate(round_.after)}
        self.values |= {("extra", j): v for j, v in enumerate(round_.extra)}
        self.final: dict[int, Expr] = {}
        self.elements: dict[Expr, Expr] = {}
        self.rows_of: dict[int, tuple[int, Expr, int]] = {}  # the number of a row, and its place
        self.checks: dict[int, Expr] = {}
        self.rows: dict[int, tuple[int, int]] = {}  # where row 0 of an array goes, and the step

    def result(self) -> tuple[list[Expr], list[Expr]]:
        self._set(forwarded(list(self.values.values()), self.number, n=self.n))
        self._pass_through()
        for k in list(self.carry):
            self._take_out_counter(k)
        for k in list(self.carry):
            self._take_out_row(k)
        for k in list(self.carry):
            self._take_out_array(k)
        for k in list(self.carry):
            self._take_out_sum(k)
        for k in list(self.carry):
            self._take_out_check(k)
        for k in list(self.carry):
            self._take_out_last(k)
        self._take_out_elements()
        stacked = self._rounds()
        for (kind, k), rows in stacked.items():
            if kind == "row":
                self.final[k] = _with_rows(self.final[k], rows, *self.rows[k])
            elif kind == "term":
                total = sum_(rows, (0,))
                start = self.final[k]
                self.final[k] = total if is_const(start, 0) else start + total
            elif kind == "bad":
                attrs = self.checks[k].attrs
                self.final[k] = bind(CHECK, self.final[k], rows, attrs=attrs)
        for k, (row, index, axis) in self.rows_of.items():
            self.final[k] = put(self.final[k], index, self.final[row], axis)
        extra = [stacked[key] for key in stacked if key[0] == "extra"]
        return [self.final[k] for k in range(self.count)], extra

    def _set(self, values: Sequence[Expr]) -> None:
        self.values = dict(zip(self.values, values, strict=True))

    def _replace(self, changes: dict[Expr, Expr]) -> None:
        if changes:
            self._set(substitute(list(self.values.values()), changes))

    def _others(self, k: int) -> list[Expr]:
        return [v for key, v in self.values.items() if key != ("after", k)]

    def _take_out(self, k: int) -> Expr:
        """Number `k` is no longer handed on; what it is after a round."""
        del self.carry[k]
        self.final[k] = self.start.pop(k)
        return self.values.pop(("after", k))

    # ---- what is no recurrence ---------------------------------------------------------------

    def _pass_through(self) -> None:
        """Carries that a round leaves as they are."""
        for k, c in list(self.carry.items()):
            if self.values["after", k] is c or self.values["after", k] is self.start[k]:
                self._take_out(k)
                self._replace({c: self.final[k]})

    def _take_out_counter(self, k: int) -> None:
        """An integer to which each round adds the same number."""
        c = self.carry[k]
        step = added(self.values["after", k], c) if c.dtype == "int64" else None
        if step is None or not is_const(step) or step.shape:
            return
        self._take_out(k)
        start = self.final[k]
        self._replace({c: start + self.number * step})
        self.final[k] = start + step * const(self.n, "int64")

    def _take_out_row(self, k: int) -> None:
        """An array of which all rounds change, and read, one and the same row: it is handed on."""
        written, array = Put.of(self.values["after", k]), self.carry[k]
        if written is None or written.x is not array or not self._is_fixed(written.index):
            return
        others = self._others(k)
        row = gather(array, written.index, written.axis)
        readers = [n for n in toposort([*others, written.value]) if array in n.args]
        if array in others or any(n is not row for n in readers):
            return
        new = 1 + max([self.count, *self.carry])
        self.rows_of[k] = new, written.index, written.axis
        self._take_out(k)
        self.carry[new] = arg(0, row.shape, row.dtype)
        self.start[new] = gather(self.final[k], written.index, written.axis)
        self.values["after", new] = written.value
        self._replace({row: self.carry[new]})

    def _is_fixed(self, value: Expr) -> bool:
        """Whether a value is the same in all rounds."""
        nodes = toposort([value])
        return self.number not in nodes and self._is_free(value)

    def _take_out_array(self, k: int) -> None:
        """An array that gets one row in each round: these are stacked.

        What later rounds read of it is handed on row by row.
        """
        written, array = Put.of(self.values["after", k]), self.carry[k]
        if written is None or written.axis or written.x is not array:
            return
        place = affine(written.index, self.number)
        if place is None or abs(place[0]) != 1 or not _inside(place, self.n, array.shape[0]):
            return
        reads = self._rows_read(k, array, written.value, place)
        if reads is None:
            return
        step, row = place
        length, most = array.shape[0], max([0, *reads.values()])
        if most and row - most * step < -length or row - most * step >= length:
            return
        start = self.start[k]
        handed = [arg(0, written.value.shape, array.dtype) for _ in range(most)]
        self.rows[k] = row, step
        self._take_out(k)
        self.values["row", k] = written.value
        first = 1 + max([self.count, *self.carry])
        for d, c in enumerate(handed):
            self.carry[first + d] = c
            at = const((row - (d + 1) * step) % length, "int64")
            self.start[first + d] = gather(start, at, 0)
            self.values["after", first + d] = written.value if d == 0 else handed[d - 1]
        self._replace({
            read: handed[d - 1] if d > 0 else gather(start, read.args[1], 0)
            for read, d in reads.items()
        })  # fmt: skip

    def _rows_read(
        self, k: int, array: Expr, value: Expr, written: tuple[int, int]
    ) -> dict[Expr, int] | None:
        """What rounds read of an array, and how many rounds before that was written, if known."""
        others = [*self._others(k), value]
        found: dict[Expr, int] = {}
        for node in toposort(others):
            if array in node.args:
                place = affine(node.args[1], self.number) if node.op is GATHER else None
                if place is None or node.attrs[0] or node.args[0] is not array:
                    return None
                distance = (written[1] - place[1]) * written[0]
                if place[0] != written[0] or distance > _MOST_BEFORE:
                    return None
                found[node] = distance
        return None if array in others else found

    def _take_out_sum(self, k: int) -> None:
        """A number to which rounds add something, if no recurrence has a part in that."""
        c = self.carry[k]
        term = added(self.values["after", k], c) if c.dtype in FLOATS else None
        if term is None:
            return
        if self._is_free(term) and c not in toposort(self._others(k)):
            self._take_out(k)
            self.values["term", k] = term

    def _take_out_check(self, k: int) -> None:
        """What rounds check, if it is one thing, and no recurrence has a part in it."""
        c, after = self.carry[k], self.values["after", k]
        if after.op is not CHECK or after.args[:-1] != (c,) or not self._is_free(after.args[-1]):
            return
        if c not in toposort(self._others(k)):
            self.checks[k] = self._take_out(k)
            self.values["bad", k] = after.args[-1]

    def _take_out_last(self, k: int) -> None:
        """What no round reads, such as a variable inside the loop: the last round's, if that is
        no recurrence.
        """
        c, after = self.carry[k], self.values["after", k]
        values = toposort(list(self.values.values()))
        if self.n and c not in values and self._is_free(after):
            self._take_out(k)
            last = const(self.n - 1, "int64")
            (self.final[k],) = substitute([after], {self.number: last})

    def _is_free(self, value: Expr) -> bool:
        """Whether a value depends on no other round."""
        return set(self.carry.values()).isdisjoint(toposort([value]))

    def _take_out_elements(self) -> None:
        """Rows of arrays that no round changes, as elements of a slice."""
        nodes = toposort(list(self.values.values()))
        moving = depends_on(nodes, [self.number, *self.carry.values()])
        changes: dict[Expr, Expr] = {}
        for node in nodes:
            if node.op is not GATHER or node.args[0] in moving or node.args[1].shape:
                continue
            x, axis = node.args[0], node.attrs[0]
            place = affine(node.args[1], self.number)
            if place is None or not place[0] or not _inside(place, self.n, x.shape[axis]):
                continue
            if axis:
                x = permute(x, (axis, *[a for a in range(x.ndim) if a != axis]))
            rest = x.shape[1:]
            element = arg(0, rest, x.dtype)
            starts, steps = (place[1], *[0] * len(rest)), (place[0], *[1] * len(rest))
            self.elements[element] = slice_(x, starts, (self.n, *rest), steps)
            changes[node] = element
        self._replace(changes)

    # ---- all rounds --------------------------------------------------------------------------

    def _rounds(self) -> dict[tuple[str, int], Expr]:
        """The values of all rounds that are not handed on; `final` gets those that are."""
        arguments = [self.number, *self.carry.values(), *self.elements]
        closed = sink(list(self.values.values()), arguments)
        self._set(restructured(closed, lambda outs: list(outs), _CHEAP, None)[0])
        wanted = {key: v for key, v in self.values.items() if key[0] != "after"}
        recurring = depends_on(toposort(list(wanted.values())), list(self.carry.values()))
        inside = list(dict.fromkeys(v for v in wanted.values() if v in recurring))
        apart = list(dict.fromkeys(v for v in wanted.values() if v not in recurring))
        stacked: dict[Expr, Expr] = {}
        if self.carry:
            after = [self.values["after", k] for k in self.carry]
            made = self._scan(after, inside)
            self.final.update(zip(self.carry, made, strict=False))
            stacked.update(zip(inside, made[len(after) :], strict=True))
        if apart:
            batched = {self.number: iota(self.n), **self.elements}
            stacked.update(zip(apart, vmap(apart, batched, self.n), strict=True))
        return {key: stacked[v] for key, v in wanted.items()}

    def _scan(self, after: list[Expr], ys: list[Expr]) -> list[Expr]:
        nodes = toposort([*after, *ys])
        xs = {e: x for e, x in {self.number: iota(self.n), **self.elements}.items() if e in nodes}
        carry = list(self.carry.values())
        consts = outside(nodes, [*carry, *xs], [*after, *ys])
        body = Body.close([*consts, *carry, *xs], [*after, *ys])
        start = [self.start[k] for k in self.carry]
        return scan(body, consts, start, list(xs.values()), self.n)


def outside(nodes: Sequence[Expr], arguments: Sequence[Expr], outs: Sequence[Expr]) -> list[Expr]:
    """What `outs` need that depends on none of `arguments`, apart from constants."""
    inside = depends_on(nodes, arguments)
    found: dict[Expr, None] = {}
    for node in nodes:
        for a in node.args if node in inside else ():
            if a not in inside and not is_constant(a):
                found[a] = None
    found.update((o, None) for o in outs if o not in inside and not is_constant(o))
    return list(found)


# ---- places ------------------------------------------------------------------------------------


def affine(index: Expr, number: Expr) -> tuple[int, int] | None:
    """(a, b) if an integer is a · number + b with numbers a and b."""
    known: dict[Expr, tuple[int, int] | None] = {number: (1, 0)}
    for node in toposort([index]):
        if node in known:
            continue
        parts = [known[a] for a in node.args]
        known[node] = None
        if node.op is CONST and not node.shape and node.dtype != "bool":
            known[node] = 0, int(const_value(node))
        elif None in parts or not parts:
            continue
        elif node.op is CONVERT and node.dtype == "int64":
            known[node] = parts[0]
        elif node.op is NEGATIVE:
            known[node] = -parts[0][0], -parts[0][1]  # type: ignore[index]
        elif node.op in (ADD, SUBTRACT):
            sign = 1 if node.op is ADD else -1
            (a, b), (c, d) = parts  # type: ignore[misc]
            known[node] = a + sign * c, b + sign * d
        elif node.op is MULTIPLY:
            (a, b), (c, d) = parts  # type: ignore[misc]
            if not a or not c:
                known[node] = a * d + c * b, b * d
    return known[index]


def _inside(place: tuple[int, int], n: int, length: int) -> bool:
    """Whether the places of all rounds lie in an axis, counted from its start."""
    step, first = place
    return all(0 <= first + step * t < length for t in (0, n - 1))


def forwarded(outs: Sequence[Expr], number: Expr, n: int) -> list[Expr]:
    """`outs` where what was just put into an array is read as it is, not out of the array."""

    def differ(one: Expr, other: Expr, length: int) -> bool:
        """Whether two indices are known to be of other rows in every round."""
        a, b = affine(one, number), affine(other, number)
        if a is None or b is None or a[0] != b[0] or a[1] == b[1]:
            return False
        return _inside(a, n, length) and _inside(b, n, length)

    def rule(node: Expr, args: tuple[Expr, ...]) -> Expr:
        new = rebuild(node, args)
        if new.op is GATHER and not new.args[1].shape:
            x, index = new.args
            while (found := Put.of(x)) is not None and found.axis == new.attrs[0]:
                if found.index is index:
                    return found.value
                if not differ(found.index, index, x.shape[found.axis]):
                    break
                x = found.x
            return gather(x, index, new.attrs[0])
        found = Put.of(new)
        if found is not None:
            below = Put.of(found.x)
            if below is not None and (below.index, below.axis) == (found.index, found.axis):
                return put(below.x, found.index, found.value, found.axis)
        return new

    return transform(outs, rule)


def added(value: Expr, c: Expr) -> Expr | None:
    """d if a value is c + d, written as sums and differences."""
    terms: list[Expr] = []
    having = depends_on(toposort([value]), [c])
    while value is not c:
        if value.op is ITEM and value.args[0].op is BRANCH:
            node, k = value.args[0], value.attrs[0]
            half = len(node.args) // 2
            sides = [added(node.args[1 + k + h], c) for h in (0, half)]
            if None in sides or node.args[0] in having:
                return None
            terms.append(branch(node.args[0], sides[:1], sides[1:])[0])  # type: ignore[arg-type]
            break
        if value.op not in (ADD, SUBTRACT) or value not in having:
            return None
        a, b = value.args
        if a not in having and value.op is ADD:
            a, b = b, a
        terms.append(b if value.op is ADD else -b)
        value = a
    total: Expr | None = None
    for term in terms:
        total = term if total is None else total + term
    return const(0, c.dtype, c.shape) if total is None else total


def _with_rows(array: Expr, rows: Expr, first: int, step: int) -> Expr:
    """`array` with rows first, first + step, … replaced."""
    n = rows.shape[0]
    window = slice(first, first + n) if step == 1 else slice(first - n + 1, first + 1)
    if step != 1:
        rest = rows.ndim - 1
        rows = slice_(rows, (n - 1, *[0] * rest), rows.shape, (-1, *[1] * rest))
    return replace(array, parse(array.shape, window), rows)
