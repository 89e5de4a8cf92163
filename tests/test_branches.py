"""`If` and `While` in loop programs written by hand, since no pass makes them yet.

Each program is verified behind every pass, run on checked memory and as C, and compared with plain
Python. Programs that are broken are found by the verifier.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from support.by_hand import ByHand
from support.codegen import run_c
from support.tunings import TINY
from symgrad.emit.c import emit
from symgrad.expr.node import Expr, bind, const
from symgrad.lower import verify
from symgrad.lower.interpret import interpret
from symgrad.lower.pipeline import CPU, passes
from symgrad.lower.program import Program
from symgrad.lower.scalar import index_of, load_of
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Call, Check, If, Loop, Store, While
from symgrad.lower.tuning import HOST_TUNING, Tuning
from symgrad.ops.elementwise import convert, greater, greater_equal, less, less_equal, not_equal

N = 7
RANDOM = 30  # programs
I, J = index_of(0), index_of(1)
ZERO = const(0, "int64")
ROW = np.array([2.5, -1.0, 0.25, 9.0, -3.0, 100.0, 1.5])
NEXT = np.array([4, 0, 5, -2, 6, 1, 2])


def n(value: int) -> Expr:
    return const(value, "int64")


def f(value: float) -> Expr:
    return const(value, "float64")


class Hand(ByHand):
    """A program with inputs x[7] and p[7] (integers), and a result y[7], which is 0 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.x = self.buffer("x", (N,), "in")
        self.p = self.buffer("p", (N,), "in", "int64")
        self.y = self.buffer("y", (N,), "out")

    def program(self, *body: Any) -> Program:
        k = index_of(9)
        first = Loop(k, N, [Store(self.y, (k,), f(0.0))])
        self.draft.indices = max(self.draft.indices, 10)
        return self.of(first, *body)

    def rules(self, *body: Any) -> set[str]:
        return {fault.rule for fault in verify.verify(self.program(*body), "hand")}


def at(buffer: Buffer, *index: Expr) -> Expr:
    return load_of(buffer, index)


def put(buffer: Buffer, *rest: Expr, op: str = "=") -> Store:
    *index, value = rest
    return Store(buffer, tuple(index), value, op)


def rows(*body: Any) -> Loop:
    return Loop(I, N, list(body))


# ---- right programs ------------------------------------------------------------------------------


@dataclass
class Case:
    """A program, what Python says y is (and further results are), and the status."""

    make: Callable[[Hand], Program]
    expected: Callable[[], list[Any]]
    status: int = 0


def one_of_two(h: Hand) -> Program:
    x = at(h.x, I)
    return h.program(rows(If(greater(x, 0.0), [put(h.y, I, bind("log", x))], [put(h.y, I, -x)])))


def before_the_first(h: Hand) -> Program:
    """What the other side reads does not exist."""
    before = put(h.y, I, at(h.x, I - n(1)) * f(2.0))
    last = put(h.y, I, at(h.x, ZERO))
    return h.program(rows(If(less(I, 1), [last], [before])))


def nested(h: Hand) -> Program:
    s, x, before = h.buffer("s"), at(h.x, I), at(h.x, I - n(1))
    inner = If(greater(x, before), [put(s, x * before)], [put(s, bind("exp", before * f(0.01)))])
    outer = If(greater_equal(I, 1), [inner, put(h.y, I, at(s) - f(1.0))], [put(s, f(5.0))])
    return h.program(rows(outer, put(h.y, I, at(s), op="+")))


def python_of_nested() -> list[Any]:
    y = []
    for i, x in enumerate(ROW):
        s = 5.0
        if i:
            s = x * ROW[i - 1] if x > ROW[i - 1] else math.exp(ROW[i - 1] * 0.01)
        y.append(s - 1.0 + s if i else s)
    return [y]


def halving(h: Hand) -> Program:
    s, k = h.buffer("s"), h.buffer("k", dtype="int64")
    count = h.buffer("count", (N,), "out", "int64")
    half = While(greater(at(s), 1.0), [put(s, at(s) * f(0.5)), put(k, at(k) + n(1))])
    ends = [put(h.y, I, at(s)), put(count, I, at(k))]
    return h.program(rows(put(s, at(h.x, I)), put(k, ZERO), half, *ends))


def python_of_halving() -> list[Any]:
    counts = [max(0, math.ceil(math.log2(x))) if x > 1 else 0 for x in ROW]
    return [[x * 0.5**k for x, k in zip(ROW, counts, strict=True)], counts]


def newton(h: Hand) -> Program:
    """Square roots; whatever is at hand is checked in each round."""
    r, a = h.buffer("r"), h.buffer("a")
    off = bind("absolute", at(r) * at(r) - at(a))
    step = [Check(at(h.p, I), N), put(r, f(0.5) * (at(r) + at(a) / at(r)))]
    search = While(greater(off, f(1e-13) * at(a)), step, most=60)
    start = [put(a, bind("absolute", at(h.x, I))), put(r, at(a))]
    return h.program(rows(*start, search, put(h.y, I, at(r))))


def sum_of_some(h: Hand) -> Program:
    t, x = h.buffer("t"), at(h.x, I)
    add = If(greater(x, 0.0), [put(t, x * f(2.0), op="+")])
    return h.program(put(t, f(1.0)), rows(add), put(h.y, ZERO, at(t)))


def call_in_one_side(h: Hand, least: float = 0.0) -> Program:
    """A system that may be singular, and is only then not solved."""
    a, b = h.buffer("a", (2, 2)), h.buffer("b", (2, 1))
    fill = [put(a, n(r), n(c), at(h.x, n(r + c))) for r in range(2) for c in range(2)]
    found, lower = h.buffer("c", (2, 1)), (True, False, False)
    solve = Call("solve_triangular", (2, 1), lower, ((a, ()), (b, ())), (found, ()))
    ends = [put(h.y, n(r), at(found, n(r), ZERO)) for r in range(2)]
    start = [put(b, n(r), ZERO, f(1.0 + r)) for r in range(2)]
    usable = greater(bind("absolute", at(a, ZERO, ZERO)), least)
    return h.program(*fill, *start, If(usable, [solve, *ends], [put(h.y, n(2), f(-1.0))]))


def python_of_call() -> list[Any]:
    solution = np.linalg.solve([[ROW[0], 0.0], [ROW[1], ROW[2]]], [1.0, 2.0])
    return [[*solution, *[0.0] * (N - 2)]]


def never(h: Hand) -> Program:
    x = at(h.x, ZERO)
    return h.program(While(less(x, x), [put(h.y, ZERO, f(1.0))]))


def too_many(h: Hand) -> Program:
    s = h.buffer("s")
    up = While(greater(at(s), 0.0), [put(s, at(s) + f(1.0))], most=5)
    return h.program(put(s, f(1.0)), up, put(h.y, ZERO, at(s)))


def just_enough(h: Hand) -> Program:
    s = h.buffer("s")
    up = While(less(at(s), 6.0), [put(s, at(s) + f(1.0))], most=5)
    return h.program(put(s, f(1.0)), up, put(h.y, ZERO, at(s)))


def changing_values(h: Hand) -> Program:
    """One expression of a variable that changes: before, inside, behind, and in a condition."""
    s = h.buffer("s")
    e = bind("exp", at(s)) * bind("exp", at(s)) + bind("sin", bind("exp", at(s)))
    long = sum((bind("cos", e * f(k)) for k in range(1, 9)), e)
    rise = [put(h.y, n(1), long, op="+"), put(s, at(s) + f(0.25)), put(h.y, n(2), long, op="+")]
    branch = If(greater(long, 3.0), [put(s, -at(s)), put(h.y, n(3), long)], [put(s, f(0.5))])
    loop = Loop(J, 2, [put(h.y, n(4) + J, long)])
    return h.program(
        put(s, f(-1.0)), put(h.y, ZERO, long), While(less(long, 9.0), rise, most=99), branch, loop
    )  # fmt: skip


def python_of_changing() -> list[Any]:
    def long(s: float) -> float:
        e = math.exp(s) ** 2 + math.sin(math.exp(s))
        return e + sum(math.cos(e * k) for k in range(1, 9))

    s, y = -1.0, [0.0] * N
    y[0] = long(s)
    while long(s) < 9.0:
        y[1] += long(s)
        s += 0.25
        y[2] += long(s)
    s, y[3] = (-s, long(-s)) if long(s) > 3.0 else (0.5, 0.0)
    y[4] = y[5] = long(s)
    return [y]


def along_a_list(h: Hand) -> Program:
    """Rounds that go where an array of indices says, each checked before it is used."""
    k, steps = h.buffer("k", dtype="int64"), h.buffer("steps", dtype="int64")
    place = bind("select", less(at(k), 0), at(k) + n(N), at(k))
    visit = [
        Check(at(k), N),
        put(h.y, place, convert(at(steps), "float64") + f(1.0)),
        put(k, at(h.p, place)),
        put(steps, at(steps) + n(1)),
    ]
    return h.program(put(k, n(3)), put(steps, ZERO), While(not_equal(at(k), 6), visit, most=99))


def python_of_list() -> list[Any]:
    y, k, steps = [0.0] * N, 3, 0
    while k != 6:
        y[k], k, steps = steps + 1.0, NEXT[k], steps + 1
    return [y]


def hoisted_inside(h: Hand) -> Program:
    """A value that is the same in all rounds, of a loop in one side: it has no logarithm else."""
    x = at(h.x, n(1))
    value = bind("log", -x) * bind("log", -x)
    return h.program(
        If(less(x, 0.0), [Loop(J, N, [put(h.y, J, value * at(h.x, J))])]),
        If(less_equal(x, -2.0), [put(h.y, ZERO, value)], [put(h.y, ZERO, value + f(3.0))]),
    )  # fmt: skip


def own_element(h: Hand) -> Program:
    """A statement reads what it writes; the same expression behind it has another value."""
    z, value = h.buffer("z", (N,), "out"), bind("tanh", at(h.y, I))
    first, again = put(h.y, I, at(h.x, I)), put(h.y, I, value * f(2.0))
    return h.program(rows(first, again, put(z, I, value + f(1.0))))


CASES = {
    "one of two": Case(one_of_two, lambda: [[math.log(x) if x > 0 else -x for x in ROW]]),
    "before the first": Case(before_the_first, lambda: [[ROW[0], *(2 * ROW[:-1])]]),
    "nested": Case(nested, python_of_nested),
    "halving": Case(halving, python_of_halving),
    "Newton": Case(newton, lambda: [np.sqrt(np.abs(ROW))]),
    "sum of some": Case(sum_of_some, lambda: [[1 + 2 * ROW[ROW > 0].sum(), *[0.0] * (N - 1)]]),
    "call": Case(call_in_one_side, python_of_call),
    "no call": Case(
        lambda h: call_in_one_side(h, 50.0), lambda: [[0.0, 0.0, -1.0, *[0.0] * (N - 3)]]
    ),
    "never": Case(never, lambda: [[0.0] * N]),
    "too many": Case(too_many, lambda: [], status=3),
    "just enough": Case(just_enough, lambda: [[6.0, *[0.0] * (N - 1)]]),
    "changing values": Case(changing_values, python_of_changing),
    "along a list": Case(along_a_list, python_of_list),
    "own element": Case(
        own_element, lambda: [2 * np.tanh(ROW), np.tanh(2 * np.tanh(ROW)) + 1]
    ),
    "hoisted inside": Case(
        hoisted_inside, lambda: [[3.0, *(ROW[1:] * math.log(-ROW[1]) ** 2)]]
    ),
}  # fmt: skip


def lowered(program: Program, tuning: Tuning, alone: bool = True) -> Program:
    """Behind all passes, of which those for vectors find nothing to do where branches are."""
    for change in passes(tuning):
        text, program = str(program), change(program, 1, tuning)
        verify.after(change.__name__, program, tuning)
        if change in CPU and alone:
            assert str(program) == text
    return program


@pytest.mark.quick(15)
@pytest.mark.parametrize("tuning", [HOST_TUNING, TINY, replace(TINY, part_statements=2)],
                         ids=["host", "tiny", "parts"])  # fmt: skip
@pytest.mark.parametrize("name", CASES)
def test_a_program_is_what_python_says(name, tuning):
    case, hand = CASES[name], Hand()
    program = case.make(hand)
    assert verify.verify(program, "hand") == []
    before = interpret(program, [ROW, NEXT])
    program = lowered(program, tuning)
    outcome = interpret(program, [ROW, NEXT])
    source = emit(program, "f", tuning=tuning)
    values = {hand.x: ROW, hand.p: NEXT}
    status, results = run_c(source, program.inputs, program.outputs, _renamed(program, values))
    assert before.faults == outcome.faults == ()
    assert before.status == outcome.status == status == case.status
    for found in (before.outputs, outcome.outputs, results) if status == 0 else ():
        for got, expected in zip(found, case.expected(), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


def _renamed(program: Program, values: dict[Buffer, np.ndarray]) -> dict[Buffer, np.ndarray]:
    """Values for the inputs of a copy."""
    by_name = {b.name: v for b, v in values.items()}
    return {b: by_name[b.name] for b in program.inputs}


# ---- what it looks like --------------------------------------------------------------------------


def test_programs_are_printed_as_code():
    text = str(nested(Hand())).partition("for i0")[2].splitlines()[1:]
    assert text == [
        "  if i0 >= 1:",
        "    if x[i0] > x[i0 - 1]:",
        "      s = x[i0] * x[i0 - 1]",
        "    else:",
        "      s = exp(0.01 * x[i0 - 1])",
        "    y[i0] = s - 1.0",
        "  else:",
        "    s = 5.0",
        "  y[i0] += s",
    ]
    head = "  while absolute((r * r) - a) > (1e-13 * a):  # at most 60 rounds"
    assert f"\n{head}\n    check -7 <= p[i0] < 7\n    r = " in str(newton(Hand()))
    assert "else" not in str(sum_of_some(Hand()))
    assert "while x[0] < x[0]:\n  y[0] = 1.0" in str(never(Hand()))


def c_of(make: Callable[[Hand], Program]) -> str:
    return emit(lowered(make(Hand()), HOST_TUNING), "f").c


def test_nothing_is_hoisted_out_of_a_side():
    """A value that both sides and other statements use is computed where it is needed."""
    before, _, inside = c_of(hoisted_inside).partition("if (x[1] < 0.0) {")
    assert "= log(" not in before
    assert inside.lstrip().startswith("const double t0 = log(-x[1]);")


def test_a_value_that_changes_is_computed_anew():
    text = c_of(changing_values)
    assert text.count("= exp(s);") == 7  # of each statement and each condition


def test_only_what_may_not_end_says_so():
    said = "3 if a loop did\n * not end within the rounds that it may have."
    assert said in c_of(too_many) and "return 3;" in c_of(too_many)
    assert said not in c_of(halving) and "return 3;" not in c_of(halving)


# ---- broken programs -----------------------------------------------------------------------------


def at_p() -> Expr:
    return at(Hand().p, ZERO)


def both(a: Expr, b: Expr) -> Expr:
    return bind("logical_and", a, b)


INSIDE = both(less(at_p(), N), greater_equal(at_p(), 0))


@pytest.fixture
def hand():
    return Hand()


def test_range_of_a_side(hand):
    """A condition holds in its side, its opposite in the other one, nothing behind."""
    use = put(hand.y, at_p(), f(1.0))
    assert hand.rules(If(INSIDE, [use])) == set()
    assert hand.rules(If(INSIDE, [], [use])) == {"range"}
    assert hand.rules(If(bind("logical_not", INSIDE), [], [use])) == set()
    assert hand.rules(If(INSIDE, []), use) == {"range"}
    assert hand.rules(If(both(less(at_p(), N + 1), greater_equal(at_p(), 0)), [use])) == {"range"}
    assert hand.rules(While(INSIDE, [use])) == set()
    assert hand.rules(rows(If(greater_equal(I, 1), [put(hand.y, I - n(1), f(1.0))]))) == set()
    assert hand.rules(rows(If(greater_equal(I, 0), [put(hand.y, I - n(1), f(1.0))]))) == {"range"}


def test_a_condition_is_read_like_any_value(hand):
    assert hand.rules(If(greater(at(hand.x, n(N)), 0.0))) == {"range"}
    assert hand.rules(While(greater(at(hand.x, n(-1)), 0.0))) == {"range"}
    assert hand.rules(If(greater(at(hand.buffer("s")), 0.0))) == {"init"}
    assert "scope" in hand.rules(If(greater(at(hand.x, I), 0.0)))
    assert hand.rules(If(greater(load_of(hand.buffer("t", (2,)), ()), 0.0))) == {"form"}


def test_what_a_condition_said_is_forgotten_when_that_changes(hand):
    k = hand.buffer("k", dtype="int64")
    small = both(less(at(k), N), greater_equal(at(k), 0))
    start, use, change = put(k, at(hand.p, ZERO)), put(hand.y, at(k), f(1.0)), put(k, n(50))
    for branch in (If, While):
        assert hand.rules(start, branch(small, [use, change])) == set()
        assert hand.rules(start, branch(small, [change, use])) == {"range"}
        assert hand.rules(start, branch(small, [Loop(J, 2, [use, change])])) == {"range"}
        assert hand.rules(start, branch(small, [If(small, [change]), use])) == {"range"}
    assert hand.rules(start, While(small, [use, put(k, at(k) + n(1))])) == set()


def test_a_check_counts_only_where_it_stands(hand):
    use, check = put(hand.y, bind("maximum", at_p(), ZERO), f(1.0)), Check(at_p(), N)
    some = greater(at(hand.x, ZERO), 0.0)
    assert hand.rules(check, If(some, [use])) == set()
    assert hand.rules(If(some, [check, use])) == set()
    assert hand.rules(If(some, [check]), use) == {"range"}
    assert hand.rules(If(some, [check], [use])) == {"range"}
    assert hand.rules(While(some, [check]), use) == {"range"}
    assert hand.rules(If(some, [use, check])) == {"range"}


def test_a_check_counts_only_until_the_value_changes(hand):
    k = hand.buffer("k", dtype="int64")
    start, change = put(k, at(hand.p, ZERO)), put(k, at(hand.p, n(1)))
    use, check = put(hand.y, bind("maximum", at(k), ZERO), f(1.0)), Check(at(k), N)
    some = greater(at(hand.x, ZERO), 0.0)
    assert hand.rules(start, check, use) == set()
    assert hand.rules(start, check, change, use) == {"range"}
    assert hand.rules(start, check, While(some, [use, change])) == {"range"}
    assert hand.rules(start, While(some, [check, use, change])) == set()
    assert hand.rules(start, check, If(some, [use], [change])) == set()
    assert hand.rules(start, check, If(some, [change]), use) == {"range"}
    assert hand.rules(start, check, rows(If(some, [use], [change]))) == {"range"}


def test_what_is_read_behind_a_branch_is_written_on_both_sides(hand):
    s = hand.buffer("s")
    some, one, two = greater(at(hand.x, ZERO), 0.0), put(s, f(1.0)), put(s, f(2.0))
    read = put(hand.y, ZERO, at(s))
    assert hand.rules(If(some, [one], [two]), read) == set()
    assert hand.rules(two, If(some, [one]), read) == set()
    assert hand.rules(If(some, [one, read], [two])) == set()
    assert hand.rules(If(some, [one]), read) == {"init"}
    assert hand.rules(If(some, [], [one]), read) == {"init"}
    assert hand.rules(If(some, [one], [read])) == {"init"}
    assert hand.rules(If(some, [If(some, [one], [two])], [one]), read) == set()
    assert hand.rules(If(some, [If(some, [one])], [one]), read) == {"init"}
    assert hand.rules(While(some, [one, read])) == set()
    assert hand.rules(While(some, [one]), read) == {"init"}
    assert hand.rules(While(some, [read, one])) == {"init"}
    assert hand.rules(If(some, [put(s, f(1.0), op="+")], [one])) == {"init"}


def test_parts_of_an_array_that_sides_write(hand):
    s, k = hand.buffer("s", (N,)), index_of(5)
    some = greater(at(hand.x, ZERO), 0.0)

    def first(count, index):
        return [Loop(index, count, [put(s, index, f(1.0))])]

    read, whole = rows(put(hand.y, I, at(s, I))), first(N, J)
    assert hand.rules(If(some, whole, first(N, k)), read) == set()
    assert hand.rules(If(some, whole, first(4, k)), read) == {"init"}
    few = Loop(I, 4, [put(hand.y, I, at(s, I))])
    assert hand.rules(If(some, whole, first(4, k)), few) == set()
    assert hand.rules(If(some, first(N, k), first(4, k)), few) == {"form"}
    # What a branch around says holds for what is read there.
    inside = If(less(I, 4), [put(hand.y, I, at(s, I))])
    assert hand.rules(*first(4, k), rows(inside)) == set()
    assert hand.rules(*first(3, k), rows(inside)) == {"init"}
    # Results are read by whoever calls.
    z = hand.buffer("z", (N,), "out")
    assert hand.rules(If(some, [rows(put(z, I, f(1.0)))])) == {"init"}


def test_a_value_of_the_round_before(hand):
    s, some = hand.buffer("s", (N,)), greater(at(hand.x, I), 0.0)
    before = bind("guard", greater(I, 0), at(s, I - n(1)))
    here, there = put(s, I, before + f(1.0)), put(s, I, f(2.0))
    assert hand.rules(rows(If(some, [here], [there]))) == set()
    assert hand.rules(rows(If(some, [put(hand.y, I, before)], [there]))) == {"init"}


def test_homes_around_branches(hand):
    s = hand.buffer("s", role="scalar")
    some, one, two = greater(at(hand.x, ZERO), 0.0), put(s, f(1.0)), put(s, f(2.0))
    read = put(hand.y, ZERO, at(s))
    # C declares it where it is set first, or before a branch around that.
    assert hand.rules(If(some, [one], [two]), read) == set()
    assert hand.rules(While(some, [one, read])) == set()
    assert "scope" in hand.rules(rows(If(some, [one], [two])), read)
    hand.change(s, home=I)
    assert hand.rules(rows(If(some, [one], [two]), read)) == set()
    assert "scope" in hand.rules(rows(one), If(some, [read]))


@pytest.mark.parametrize("kind", ["simd", "shared"])
def test_races_of_rounds_with_branches(hand, kind):
    def loop(*body):
        return replace(rows(*body), **{kind: True})

    x, s = at(hand.x, I), hand.buffer("s")

    def sides(place):
        return loop(If(greater(x, 0.0), [put(hand.y, I, x)], [put(hand.y, place, f(2.0))]))

    assert hand.rules(sides(I)) == set()
    assert hand.rules(sides(ZERO)) == {"races"}
    both_ = loop(put(s, x), If(greater(x, 0.0), [put(hand.y, I, at(s))]))
    assert hand.rules(both_) == {"races"}
    hand.change(s, home=I)
    assert hand.rules(both_) == set()
    assert hand.rules(loop(If(greater(x, 0.0), [put(s, x), put(hand.y, I, at(s))]))) == set()
    again = While(greater(at(s), 1.0), [put(s, at(s) * f(0.5))])
    assert hand.rules(loop(put(s, x), again)) == set()
    # the function cannot be left from there
    assert hand.rules(loop(put(s, x), replace(again, most=9))) == {"form"}


def test_a_check_in_a_side_keeps_no_rounds_apart(hand):
    place = bind("minimum", bind("maximum", at_p(), ZERO), n(N - 1))
    loop = Loop(I, 3, [put(hand.y, n(3) + I, at(hand.y, place))], simd=True)
    check = Check(bind("maximum", at_p(), ZERO), 3)
    assert hand.rules(check, loop) == set()
    assert hand.rules(If(greater(at(hand.x, ZERO), 0.0), [check]), loop) == {"races"}


def test_branches_do_not_stand_in_lanes(hand):
    branch = If(greater(at(hand.x, I), 0.0), [put(hand.y, I, f(1.0))])
    assert hand.rules(Loop(I, N, [branch], lanes=4)) == {"form"}


def test_the_interpreter_finds_what_was_not_written(hand):
    s, x = hand.buffer("s"), at(hand.x, I)
    body = rows(If(greater(x, 0.0), [put(s, x)]), put(hand.y, I, at(s)))
    (fault,) = interpret(hand.program(body), [-np.abs(ROW), NEXT]).faults
    assert "not written" in fault and "y[i0] = s" in fault


# ---- random programs -----------------------------------------------------------------------------


class Random:
    """Programs at random, right and wrong: a few variables that branches and loops change.

    Loops of any kind end, even where the C is wrong: each `While` has a limit.
    """

    def __init__(self, seed: int) -> None:
        self.rng, self.hand = random.Random(seed), Hand()
        self.role = self.rng.choice(["work", "scalar"])
        self.scalars = [self.hand.buffer(f"s{k}", role=self.role) for k in range(3)]
        self.array = self.hand.buffer("a", (N,))
        self.next_index = 20

    def program(self) -> Program:
        homes: list[Expr | None] = [None]
        # What is set in a loop first is not known behind it in C: `place` looks at the home only.
        all_ = self.role == "work"
        first = [s for s in self.scalars if all_ or self.rng.random() < 0.7]
        start = [one for s in first for one in self.seen(put(s, f(0.5)))]
        k = self.index()
        fill = [put(self.array, k, f(1.0)), put(self.hand.y, k, at(self.array, k))]
        start += [Loop(k, N, fill)] if self.rng.random() < 0.8 else []
        body = [*start, *self.body(3, (), homes)]
        self.hand.draft.indices = self.next_index
        for s in self.scalars:
            if not all_ and self.rng.random() < 0.2:
                self.hand.change(s, home=self.rng.choice(homes))
        return self.hand.program(*body)

    def seen(self, store: Store) -> list[Any]:
        """A store, and one to a result, or compilers say that it was for nothing."""
        if store.buffer is self.hand.y:
            return [store]
        value = at(self.hand.y, ZERO) + at(store.buffer, *store.index)
        return [store, put(self.hand.y, ZERO, bind("sin", value))]

    def index(self) -> Expr:
        self.next_index += 1
        return index_of(self.next_index - 1)

    def body(self, depth: int, around: tuple[Expr, ...], homes: list[Expr | None]) -> list[Any]:
        return [
            s for _ in range(self.rng.randint(1, 3)) for s in self.statements(depth, around, homes)
        ]

    def statements(
        self, depth: int, around: tuple[Expr, ...], homes: list[Expr | None]
    ) -> list[Any]:
        kind = self.rng.choice(
            ["if", "if", "while", "loop", "store", "store"] if depth else ["store"]
        )
        if kind == "store":
            return self.seen(self.store(around))
        if kind == "loop":
            index = self.index()
            homes.append(index)
            return [
                Loop(
                    index, self.rng.choice([1, 3, N]), self.body(depth - 1, (*around, index), homes)
                )
            ]
        if kind == "if":
            sides = [self.body(depth - 1, around, homes) for _ in range(self.rng.randint(1, 2))]
            return [If(self.condition(around), *sides)]
        count = self.hand.buffer(f"k{len(self.hand.buffers)}", dtype="int64")
        more = both(less(at(count), self.rng.randint(1, 3)), self.condition(around))
        body = self.body(depth - 1, around, homes)
        body.insert(self.rng.randint(0, len(body)), put(count, at(count) + n(1)))
        return [put(count, ZERO), While(more, body, self.rng.choice([9, 9, 2]))]

    def store(self, around: tuple[Expr, ...]) -> Store:
        value, op = self.value(around), self.rng.choice("===+")
        if self.rng.random() < 0.6:
            return put(self.rng.choice(self.scalars), bind("sin", value), op=op)
        return put(
            self.rng.choice([self.array, self.hand.y]),
            self.place(around),
            bind("cos", value),
            op=op,
        )

    def place(self, around: tuple[Expr, ...]) -> Expr:
        if around and self.rng.random() < 0.8:
            return self.rng.choice(around)
        return n(self.rng.randrange(N))

    def value(self, around: tuple[Expr, ...], depth: int = 3) -> Expr:
        """Values that stay small, with parts that many statements have."""
        kind = self.rng.random()
        if not depth or kind < 0.3:
            buffer = self.rng.choice([*self.scalars, self.hand.x, self.array, self.hand.y])
            return at(buffer, *([self.place(around)] if buffer.shape else []))
        a = self.value(around, depth - 1)
        if kind < 0.6:
            return bind(self.rng.choice(["sin", "cos", "tanh"]), a)
        if kind < 0.7:
            # Not of what is written: the verifier takes any guard for one of the first round.
            return bind("guard", self.condition(around, 0), at(self.hand.x, self.place(around)))
        return bind("sin", a * self.value(around, depth - 1) + a)

    def condition(self, around: tuple[Expr, ...], depth: int = 2) -> Expr:
        return greater(self.value(around, depth), self.rng.choice([-0.5, 0.0, 0.25]))


@pytest.mark.slow
def test_random_programs():
    """What the verifier finds right runs without a fault, and the C does what the program says."""
    right = wrong = left = 0
    for seed in range(RANDOM):
        made = Random(seed)
        program = made.program()
        inputs = [ROW / 50, NEXT]
        outcome = interpret(program, inputs)
        if verify.verify(program, "hand"):
            wrong += 1
            continue
        right += 1
        assert outcome.faults == (), f"{program}"
        tuning = TINY if seed % 2 else replace(TINY, part_statements=3)
        placed = lowered(program, tuning, alone=False)
        again = interpret(placed, inputs)
        assert again.faults == (), f"{placed}"
        source = emit(placed, "f", tuning=tuning)
        values = dict(zip([made.hand.x, made.hand.p], inputs, strict=True))
        status, results = run_c(source, placed.inputs, placed.outputs, _renamed(placed, values))
        assert outcome.status == again.status == status, f"{seed}\n{placed}"
        left += status == 3
        for got, first, second in zip(results, outcome.outputs, again.outputs, strict=False):
            np.testing.assert_array_equal(first, second)
            np.testing.assert_allclose(
                got, first, rtol=1e-9, atol=1e-11, err_msg=f"{seed}\n{placed}"
            )
    assert right > RANDOM // 5 and wrong > RANDOM // 5 and left, (right, wrong, left)


def test_rows_that_rounds_keep_are_set_on_both_sides_of_a_branch(hand):
    """What a `while` keeps of each round is read backwards, as far as its rounds are counted."""
    t, j = index_of(7), index_of(8)
    s, k = hand.buffer("s", (N,)), hand.buffer("k", dtype="int64")
    more, some = greater(at(hand.x, ZERO), 0.0), greater(at(hand.x, t), 0.0)
    one, two = put(s, t, f(1.0)), put(s, t, f(2.0))
    start, count = put(k, ZERO), put(k, t + n(1))
    back = Loop(j, N, [put(hand.y, j, at(s, at(k) - n(1) - j))], stop=at(k))

    def rules(*body):
        return hand.rules(start, While(more, [*body, count], most=N, index=t), back)

    assert rules(one) == set()
    assert rules(If(some, [one], [two])) == set()
    assert rules(If(some, [one], [If(some, [two], [one])])) == set()
    assert rules(If(some, [one])) == {"init"}
    assert rules(If(some, [], [one])) == {"init"}
    assert rules(If(some, [one], [If(some, [two])])) == {"init"}
    assert rules(While(some, [one])) == {"init"}
