"""Bounds of index expressions: whether an integer is at least 0 wherever it is evaluated.

An index is a linear form over *atoms*: loop variables, loads, and what is not linear (minimum,
division, a selection). `Bounds.holds` eliminates the atom that depends on the deepest loop first,
by one of its facts, which are linear forms that are at least 0 as well (start and stop of its loop,
a guard, a Check, n (a / n) <= a), until a constant is left: Fourier and Motzkin's elimination, with
roundings to integers. It proves; what it cannot prove may still be true.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from symgrad.expr.node import CONST, Expr, bind, const_value
from symgrad.expr.op import OPS
from symgrad.expr.walk import toposort
from symgrad.lower.forms import Form, constant, last_round, plus, rounded, times, without
from symgrad.lower.program import bodies_of
from symgrad.lower.scalar import INDEX, INDEX_DIV, INDEX_MOD, LOAD
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Best, Check, Loop, Store, While, Zero
from symgrad.ops.elementwise import (
    ADD,
    AND,
    CONVERT,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    NEGATIVE,
    NOT,
    OR,
    SELECT,
    SUBTRACT,
    less,
)
from symgrad.ops.interval import ANY, Interval

INTEGERS = ("bool", "int32", "int64")
_MOST_STEPS = 14  # atoms eliminated one after another
# Rows of integers whose values are linear in what they take, a product if a factor is constant.
_LINEAR = (ADD, SUBTRACT, NEGATIVE, MULTIPLY, CONVERT)

Facts = frozenset[Form]  # forms that are at least 0


class Bounds:
    """What is known of the integers in one program.

    loops : by loop variable, the loops that bind it; `Bounds` may be asked about all of them
    """

    def __init__(self, body: Sequence[Any], buffers: Mapping[int, Buffer]) -> None:
        self.buffers = buffers
        self.loops: dict[Expr, list[Loop]] = {}
        self.ranges: dict[Expr, Interval] = {}  # of variables that are no loop's index
        self.stored: dict[int, list[Any]] = {}  # of integer buffers: what is stored there
        self.checks: list[tuple[Expr, int, frozenset[Expr]]] = []
        self._hulls: dict[int, Interval] = {}
        self._intervals: dict[Expr, Interval] = {}
        self._forms: dict[Expr, Form] = {}
        self._loads: dict[Expr, bool] = {}
        self._known: dict[tuple[Any, ...], bool] = {}
        for s in (s for inside in bodies_of(body) for s in inside):
            if isinstance(s, Loop):
                self.loops.setdefault(s.index, []).append(s)
                if s.chunk is not None:
                    self.ranges[s.chunk] = (0, s.chunks - 1)
            elif isinstance(s, While):
                if s.index is not None:
                    self.ranges[s.index] = 0, math.inf if s.most is None else s.most - 1
            elif isinstance(s, (Store, Zero)) and s.buffer.dtype in INTEGERS:
                self.stored.setdefault(s.buffer.number, []).append(s)
            elif isinstance(s, Best):
                self.stored.setdefault(s.buffer.number, []).append(s)
                if s.value_buffer.dtype in INTEGERS:
                    self.stored.setdefault(s.value_buffer.number, []).append(s)

    # ---- constants ------------------------------------------------------------------------------

    def add_check(self, s: Check, path: Sequence[Loop]) -> None:
        """From here on, a value has been checked, for all rounds of the loops around the check."""
        outside = frozenset(loop.index for loop in path)
        self.checks.append((_bare(s.value), s.size, outside))
        self._forget()

    def drop_checks(self) -> None:
        """From here on, nothing has been checked."""
        self.checks.clear()
        self._forget()

    def _forget(self) -> None:
        for known in (self._intervals, self._forms, self._known, self._hulls):
            known.clear()

    def interval(self, node: Expr) -> Interval:
        """The least and the greatest value, as far as constants tell; infinite if unknown."""
        stack = [node]
        while stack:
            n = stack[-1]
            if n in self._intervals:
                stack.pop()
                continue
            missing = [a for a in n.args if a not in self._intervals]
            if n.op is INDEX:
                missing = self._of_loops(n)
            elif n.op is LOAD:
                missing = []  # whatever the index is
            if missing:
                self._intervals[n] = ANY  # should it be asked for while it is not known
                del self._intervals[n]
                stack.extend(missing)
                continue
            stack.pop()
            self._intervals[n] = self._interval(n)
        return self._intervals[node]

    def _of_loops(self, index: Expr) -> list[Expr]:
        """The bounds of a variable's loops, those of which the intervals are not known."""
        bounds = [e for loop in self.loops.get(index, ()) for e in (loop.start, loop.stop)]
        return [e for e in bounds if e is not None and e not in self._intervals]

    def _interval(self, n: Expr) -> Interval:
        low, high = self._computed(n)
        if self._has_load(n):
            for size in self._sizes(n):
                low, high = max(low, -size), min(high, size - 1)
        return low, high

    def _computed(self, n: Expr) -> Interval:
        if n.dtype not in INTEGERS:
            return ANY
        if n.op is CONST:
            value = int(const_value(n))
            return value, value
        if n.op is INDEX:
            return self._of_variable(n)
        if n.op is LOAD:
            return self.hull(n.attrs[0])
        given = [self._intervals[a] for a in n.args]
        if n.op is INDEX_DIV or n.op is INDEX_MOD:
            (low, high), divisor = given[0], int(const_value(n.args[1]))
            if n.op is INDEX_DIV:
                return _quotient(low, divisor), _quotient(high, divisor)
            if 0 <= low and high < divisor:
                return low, high
            return (0 if low >= 0 else 1 - divisor), divisor - 1
        if n.op is SELECT and (size := _wrapped(n)) is not None:
            low, high = given[2]
            ends = [size + low, size + min(high, -1)] if low < 0 else []
            ends += [max(low, 0), high] if high >= 0 else []
            return min(ends), max(ends)
        rule = n.op.interval
        if rule is not None and all(a.dtype in INTEGERS for a in n.args):
            return rule(*given)
        return (0, 1) if n.dtype == "bool" else ANY

    def _of_variable(self, n: Expr) -> Interval:
        low, high = math.inf, -math.inf
        if n in self.ranges:
            low, high = self.ranges[n]
        for loop in self.loops.get(n, ()):
            low = min(low, 0 if loop.start is None else self._intervals[loop.start][0])
            last = loop.extent if loop.stop is None else self._intervals[loop.stop][1]
            high = max(high, last - 1)
        return (low, high) if low <= high else (0, -1) if n in self.loops else ANY

    def hull(self, number: int) -> Interval:
        """Of all elements of a buffer of integers."""
        if number not in self._hulls:
            self._hulls[number] = ANY  # if a value depends on others of the buffer
            self._hulls[number] = self._hull(self.buffers[number])
        return self._hulls[number]

    def _hull(self, buffer: Buffer) -> Interval:
        if buffer.dtype == "bool":
            return 0, 1
        if buffer.data is not None:
            return (int(buffer.data.min()), int(buffer.data.max())) if buffer.data.size else (0, 0)
        if buffer.role == "in" or buffer.number not in self.stored:
            return ANY
        low, high = math.inf, -math.inf
        for s in self.stored[buffer.number]:
            if isinstance(s, Zero):
                values = 0.0, 0.0
            elif isinstance(s, Best):
                values = self.interval(s.position if s.buffer.number == buffer.number else s.value)
            else:
                values = self.interval(s.value) if s.op in ("=", "max", "min") else ANY
            low, high = min(low, values[0]), max(high, values[1])
        return low, high

    def _has_load(self, node: Expr) -> bool:
        if node not in self._loads:
            for n in toposort([node]):
                if n not in self._loads:
                    self._loads[n] = n.op is LOAD or any(self._loads[a] for a in n.args)
        return self._loads[node]

    # ---- checks ---------------------------------------------------------------------------------

    def _sizes(
        self, node: Expr, path: Sequence[Loop] = (), facts: Facts = frozenset()
    ) -> Iterator[int]:
        """The sizes that a value has been checked against."""
        for pattern, size, outside in self.checks:
            found: dict[Expr, Expr] = {}
            if not _match(pattern, _bare(node), found):
                continue
            around = {loop.index for loop in path}
            if all(
                e is i
                if i in around and i in outside
                else self.inside(e, self.interval(i), path, facts)
                for i, e in found.items()
            ):
                yield size

    def inside(self, e: Expr, bounds: Interval, path: Sequence[Loop], facts: Facts) -> bool:
        low, high = self.interval(e)
        if low >= bounds[0] and high <= bounds[1]:
            return True
        if not path or math.inf in bounds or -math.inf in bounds:
            return False
        form = self.form(e)
        least, most = (
            plus(form, constant(int(bounds[0])), -1),
            plus(constant(int(bounds[1])), form, -1),
        )
        return self.holds(least, path, facts) and self.holds(most, path, facts)

    # ---- linear forms ---------------------------------------------------------------------------

    def form(self, node: Expr | int) -> Form:
        """An integer expression as a linear form."""
        if isinstance(node, int):
            return constant(node)
        stack = [node]
        while stack:
            n = stack[-1]
            if n in self._forms:
                stack.pop()
                continue
            parts = self._parts(n)
            missing = [a for a in parts if a not in self._forms]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            self._forms[n] = self._form(n, parts)
        return self._forms[node]

    def _parts(self, n: Expr) -> Sequence[Expr]:
        """The operands of what is linear in them."""
        if n.op not in _LINEAR:
            return ()
        if n.dtype not in INTEGERS or any(a.dtype not in INTEGERS for a in n.args):
            return ()
        if n.op is MULTIPLY and not any(a.op is CONST for a in n.args):
            return ()
        if n.op is CONVERT and n.dtype == "bool":
            return ()
        if self._is_checked(n):
            return () if n is _bare(n) else n.args
        return n.args

    def _is_checked(self, n: Expr) -> bool:
        return self._has_load(n) and any(_match(p, _bare(n), {}) for p, _, _ in self.checks)

    def _form(self, n: Expr, parts: Sequence[Expr]) -> Form:
        if n.op is CONST and n.dtype in INTEGERS:
            return constant(int(const_value(n)))
        if not parts:
            return 0, frozenset({(n, 1)})
        first = self._forms[parts[0]]
        if n.op is CONVERT:
            return first
        if n.op is NEGATIVE:
            return times(first, -1)
        second = self._forms[parts[1]]
        if n.op is SUBTRACT:  # 5 - i, where -i has been checked
            opposite = bind(NEGATIVE, parts[1])
            if self._is_checked(opposite):
                return plus(first, (0, frozenset({(opposite, 1)})), 1)
        if n.op is MULTIPLY:
            return times(first, second[0]) if not second[1] else times(second, first[0])
        return self._joined(plus(first, second, 1 if n.op is ADD else -1))

    def _joined(self, form: Form) -> Form:
        """n (a / n) + a % n is a."""
        terms = dict(form[1])
        for atom, c in form[1]:
            if atom.op is INDEX_MOD:
                quotient = bind(INDEX_DIV, *atom.args)
                if terms.get(quotient) == c * int(const_value(atom.args[1])):
                    rest = form[0], form[1] - {(atom, c), (quotient, terms[quotient])}
                    return self._joined(plus(rest, self.form(atom.args[0]), c))
        return form

    def least(self, form: Form) -> float:
        """A lower bound from the intervals of the atoms."""
        total: float = form[0]
        for atom, c in form[1]:
            low, high = self.interval(atom)
            total += c * low if c > 0 else c * high
        return total

    def span(self, form: Form) -> Interval:
        """Bounds from the intervals of the atoms."""
        return self.least(form), -self.least(times(form, -1))

    # ---- conditions -----------------------------------------------------------------------------

    def facts(self, conditions: Iterable[Expr]) -> Facts:
        """What conditions that hold say of integers."""
        found: set[Form] = set()
        stack = [(c, True) for c in conditions]
        while stack:
            c, holds = stack.pop()
            if c.op is NOT:
                stack.append((c.args[0], not holds))
            elif c.op is (AND if holds else OR):
                stack += [(a, holds) for a in c.args]
            else:
                found.update(self._inequalities(c, holds))
        return frozenset(found)

    def _inequalities(self, c: Expr, holds: bool) -> Iterator[Form]:
        """What a comparison of integers says if it holds, or if it does not."""
        if c.op.negation is None or any(a.dtype not in INTEGERS for a in c.args):
            return
        row = c.op if holds else OPS[c.op.negation]
        difference = plus(self.form(c.args[1]), self.form(c.args[0]), -1)
        for sign, shift in row.inequalities or ():
            yield plus(constant(-shift), difference, sign)

    def _facts_of(self, atom: Expr, path: Sequence[Loop], facts: Facts) -> Iterator[Form]:
        """What is true of an atom wherever it is evaluated."""
        me: Form = 0, frozenset({(atom, 1)})
        if atom.op is INDEX:
            for loop in path:
                if loop.index is atom:
                    yield from self._facts_of_loop(loop, me)
        elif atom.op is INDEX_DIV:
            a, n = self.form(atom.args[0]), int(const_value(atom.args[1]))
            slack = n - 1
            yield plus(plus(times(me, n), a, -1), constant(slack))
            if self.least(a) < 0 and not self.holds(a, path, facts):  # C rounds towards 0
                a = plus(a, constant(slack))
            yield plus(a, me, -n)
        elif atom.op is INDEX_MOD:
            a, n = self.form(atom.args[0]), int(const_value(atom.args[1]))
            yield plus(constant(n - 1), me, -1)
            if self.least(a) >= 0 or self.holds(a, path, facts):
                yield me
                yield plus(a, me, -1)
        elif atom.op in (MINIMUM, MAXIMUM):
            sign = -1 if atom.op is MINIMUM else 1
            for side in atom.args:
                yield times(plus(me, self.form(side), -1), sign)
        if self._has_load(atom):
            for size in self._sizes(atom, path, facts):
                yield plus(me, constant(size))
                yield plus(constant(size - 1), me, -1)
        low, high = self.interval(atom)
        if low > -math.inf:
            yield plus(me, constant(-int(low)))
        if high < math.inf:
            yield plus(constant(int(high)), me, -1)

    def _facts_of_loop(self, loop: Loop, me: Form) -> Iterator[Form]:
        start = constant(0) if loop.start is None else self.form(loop.start)
        yield plus(me, start, -1)
        for stop in self.ends(loop):
            yield plus(plus(last_round(start, stop, loop.step), me, -1), constant(0))

    def ends(self, loop: Loop) -> list[Form]:
        """Linear forms that a loop's variable stays below."""
        if loop.stop is None:
            return [constant(loop.extent)]
        found, stack = [], [loop.stop]
        while stack:
            n = stack.pop()
            found.append(self.form(n))
            if n.op is MINIMUM:
                stack.extend(n.args)
        return found

    def _cases(self, atom: Expr) -> list[tuple[Form, Facts]]:
        """The values that an atom is one of, each with what is true then."""
        if atom.op in (MINIMUM, MAXIMUM):
            return [(self.form(a), frozenset()) for a in atom.args]
        if atom.op is SELECT:
            condition, a, b = atom.args
            return [
                (self.form(a), self.facts([condition])),
                (self.form(b), frozenset(self._inequalities(condition, False))),
            ]
        return []

    # ---- proofs ---------------------------------------------------------------------------------

    def holds(
        self, form: Form, path: Sequence[Loop], facts: Facts, steps: int = _MOST_STEPS
    ) -> bool:
        """Whether a linear form is proved to be at least 0 inside the loops of a path.

        Recursion is bounded by `steps`.
        """
        form = rounded(form)
        if self.least(form) >= 0:
            return True
        if not form[1] or not steps:
            return False
        key = (form, facts, tuple(map(id, path)))
        if key not in self._known:
            self._known[key] = False  # should it be asked again on the way
            self._known[key] = self._holds(form, path, facts, steps - 1)
        return self._known[key]

    def _holds(self, form: Form, path: Sequence[Loop], facts: Facts, steps: int) -> bool:
        atom, c = max(form[1], key=lambda term: (self.depth(term[0], path), term[0].order))
        for fact in (*self._relations(atom, form, path, facts), *self._facts_of(atom, path, facts)):
            f = dict(fact[1]).get(atom, 0)
            if f * c > 0 and self.holds(without(form, c, fact, f), path, facts, steps):
                return True
        for fact in facts:
            f = dict(fact[1]).get(atom, 0)
            rest = facts - {fact}
            if f * c > 0 and self.holds(without(form, c, fact, f), path, rest, steps):
                return True
        rest_of_form = form[0], form[1] - {(atom, c)}
        cases = self._cases(atom)
        return bool(cases) and all(
            self.holds(plus(rest_of_form, value, c), path, facts | more, steps)
            for value, more in cases
        )

    def _relations(
        self, atom: Expr, form: Form, path: Sequence[Loop], facts: Facts
    ) -> Iterator[Form]:
        """What one quotient says of another one with the same divisor: x/n + 1 is (x + n)/n.

        And that x is n (x / n) + x % n, where a guard speaks of these, and x has the atom in it.
        """
        me: Form = 0, frozenset({(atom, 1)})
        said = {a for fact in facts for a, _ in fact[1] if a.op in (INDEX_DIV, INDEX_MOD)}
        for other in sorted(said, key=lambda a: a.order):
            whole = self.form(other.args[0])
            if atom in dict(whole[1]):
                n = int(const_value(other.args[1]))
                parts = [(bind(INDEX_DIV, *other.args), n), (bind(INDEX_MOD, *other.args), 1)]
                apart = plus(whole, (0, frozenset(parts)), -1)
                yield from (apart, times(apart, -1))
        if atom.op is not INDEX_DIV:
            return
        for other, _ in form[1]:
            if other is atom or other.op is not INDEX_DIV or other.args[1] is not atom.args[1]:
                continue
            n = int(const_value(atom.args[1]))
            mine, its = self.form(atom.args[0]), self.form(other.args[0])
            apart = plus(mine, its, -1)
            lower = mine if apart[0] < 0 else its
            if not apart[1] and self.holds(lower, path, facts):
                difference = plus(me, (0, frozenset({(other, 1)})), -1)
                yield plus(constant(-(-apart[0] // n)), difference, -1)
                yield plus(constant(-(apart[0] // n)), difference)

    def depth(self, atom: Expr, path: Sequence[Loop]) -> int:
        """How many loops of a path there are down to the last one that an atom depends on."""
        around = {loop.index: k for k, loop in enumerate(path, 1)}
        return max((around.get(n, 0) for n in toposort([atom]) if n.op is INDEX), default=0)


def _quotient(value: float, divisor: int) -> float:
    """As C divides: towards 0."""
    if math.isinf(value):
        return value
    return int(value) // divisor if value >= 0 else -(-int(value) // divisor)


def _wrapped(node: Expr) -> int | None:
    """The n of select(i < 0, n + i, i), by which negative indices count from the end."""
    condition, behind, i = node.args
    if condition is not less(i, 0) or behind.op is not ADD or i not in behind.args:
        return None
    size = behind.args[behind.args[0] is i]
    return int(const_value(size)) if size.op is CONST else None


def _bare(node: Expr) -> Expr:
    """Without conversions from one type of integers to another."""
    while node.op is CONVERT and node.dtype != "bool" and node.args[0].dtype in INTEGERS:
        node = node.args[0]
    return node


def _match(pattern: Expr, node: Expr, found: dict[Expr, Expr]) -> bool:
    """Whether a node is the pattern with other expressions for its loop variables, or for numbers
    that count elements: those of a loop of one round, which is opened."""
    pairs = [(pattern, node, False)]
    while pairs:
        p, n, counts = pairs.pop()
        p, n = _bare(p), _bare(n)
        if p.op is INDEX or counts and p.op is CONST and p is not n:
            if found.setdefault(p, n) is not n:
                return False
        elif p is not n or p.args:
            if p.op is not n.op or p.attrs != n.attrs or len(p.args) != len(n.args):
                return False
            pairs += [(a, b, p.op is LOAD) for a, b in zip(p.args, n.args, strict=True)]
    return True
