"""The verifier of loop programs: it finds each kind of fault, and none where there is none.

tests/conftest.py has it run behind every pass of every program that any test lowers.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import symgrad as sg
from support import queries, random_graphs
from support.by_hand import ByHand, changed
from support.codegen import c_of, program_of, run_c
from support.loop_mutants import MUTANTS, loops
from support.random_graphs import Builder
from support.tunings import TINY, TINY_LOOPS
from symgrad.diff.modes import drop_stops, vjp, zeros_like
from symgrad.errors import InternalError
from symgrad.expr.node import Expr, arg, bind, const
from symgrad.expr.walk import expand_composites
from symgrad.lower import verify
from symgrad.lower.bounds import Bounds
from symgrad.lower.cpu import Flush, Merge, Rows
from symgrad.lower.forms import constant, plus
from symgrad.lower.pipeline import lower
from symgrad.lower.program import Program, statements
from symgrad.lower.scalar import INDEX_DIV, INDEX_MOD, index_of, load_of
from symgrad.lower.share import share
from symgrad.lower.statements import Best, Check, If, Loop, Store, Zero
from symgrad.lower.tuning import HOST_TUNING
from symgrad.ops.linear import gather
from symgrad.simplify import simplify

# ---- programs by hand ----------------------------------------------------------------------------

I, J, K = (index_of(k) for k in range(3))
ZERO = const(0, "int64")


def n(value: int) -> Expr:
    return const(value, "int64")


class Hand(ByHand):
    """A program with an input x[10, 3], an integer input p[10], and a result y[10, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.x = self.buffer("x", (10, 3), "in")
        self.p = self.buffer("p", (10,), "in", "int64")
        self.y = self.buffer("y", (10, 3), "out")

    def rules(self, *body) -> list[str]:
        """The rules that a program with these statements breaks, y being set before."""
        found = verify.verify(self.of(copy_rows(self.y, self.x), *body), "hand")
        assert all(f.after == "hand" and f.text for f in found)
        return sorted({f.rule for f in found})


def nest(*rest):
    """Loops over pairs (variable, extent), with the statements at the end inside."""
    *pairs, body = rest
    for index, extent in reversed(pairs):
        body = [Loop(index, extent, list(body))]
    return body[0]


def copy_rows(y, x):
    i, j = index_of(90), index_of(91)
    return nest((i, 10), (j, 3), [Store(y, (i, j), load_of(x, (i, j)))])


def copy_zeros(s):
    k = index_of(92)
    return nest((k, 10), [Store(s, (k,), const(0.0))])


@pytest.fixture
def hand():
    return Hand()


def rows(hand, index, extent=10, guard=None):
    """y[I, J] = x[index], perhaps under a guard, for J in 3 and I in `extent`."""
    value = load_of(hand.x, index)
    if guard is not None:
        value = bind("guard", guard, value)
    return nest((I, extent), (J, 3), [Store(hand.y, (I, J), value)])


def test_a_right_program_has_no_fault(hand):
    assert hand.rules(rows(hand, (I, J))) == []


def test_a_fault_says_what_and_where(hand):
    program = hand.of(rows(hand, (I + n(1), J)))
    (fault,) = verify.verify(program, "some pass")
    assert str(fault) == (
        "range, after some pass: read x[1 + i0, i1] (float64[10, 3]) by Store in i0 in i1: "
        "axis 0 of length 10 is reached from 1 to 10"
    )


@pytest.mark.parametrize("index, extent", [((I + n(1), J), 10), ((I, J), 11), ((I - n(1), J), 10)])
def test_range(hand, index, extent):
    assert hand.rules(rows(hand, index, extent)) == ["range"]


RIGHT_INDICES = {
    "a guard": ((I - n(1), J), bind("greater_equal", I, n(1))),
    "a guard on another variable": (
        (I + J - n(2), J),
        bind("logical_and", bind("greater_equal", I, n(2)), bind("less", I + J, n(12))),
    ),
    "minimum and maximum": (
        (bind("minimum", I + n(4), n(9)), bind("maximum", J - n(1), ZERO)), None
    ),
    "a quotient": ((bind(INDEX_DIV, I * n(3) + J, n(3)), J), None),
    "a remainder": ((I, bind(INDEX_MOD, I * n(7) + J, n(3))), None),
    "a flat index taken apart": (
        (bind(INDEX_DIV, bind(INDEX_MOD, I, n(5)) + n(5) * bind(INDEX_DIV, I, n(5)), n(1)), J), None
    ),
    "every other element": (
        (bind(INDEX_DIV, n(9) - I, n(2)), J), bind("equal", bind(INDEX_MOD, n(9) - I, n(2)), ZERO)
    ),
    "a selection": (
        (bind("select", bind("less", I, n(5)), I + n(5), I - n(5)), J), None
    ),
    "a guard on a remainder": (
        (bind(INDEX_MOD, I, n(5)) + n(5) * bind(INDEX_DIV, I, n(5)) - n(1), J),
        bind("greater_equal", bind(INDEX_MOD, I, n(5)), n(1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT_INDICES)
def test_indices_that_are_inside(hand, name):
    index, guard = RIGHT_INDICES[name]
    assert hand.rules(rows(hand, index, guard=guard)) == []


WRONG_INDICES = {
    "a guard that says too little": ((I - n(2), J), bind("greater_equal", I, n(1))),
    "a guard beside it": ((I - n(1), J), bind("greater_equal", J, n(1))),
    "the wrong side of a minimum": ((bind("maximum", I + n(4), n(9)), J), None),
    "a quotient of too much": ((bind(INDEX_DIV, I * n(3) + J + n(1), n(3)), J), None),
    "a remainder of too much": ((I, bind(INDEX_MOD, I, n(4))), None),
    "a remainder of something negative": ((I, bind(INDEX_MOD, I - n(5), n(3))), None),
    "both sides of a selection": (
        (bind("select", bind("less", I, n(6)), I + n(5), I - n(5)), J), None
    ),
    "an index that nobody has checked": ((load_of(Hand().p, (I,)), J), None),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_INDICES)
def test_indices_that_may_be_outside(hand, name):
    index, guard = WRONG_INDICES[name]
    assert hand.rules(rows(hand, index, guard=guard)) == ["range"]


def wrapped(row, size):
    return bind("select", bind("less", row, ZERO), row + n(size), row)


@pytest.mark.parametrize(
    "size, rounds, rules", [(10, 10, []), (11, 10, ["range"]), (10, 9, ["range"])]
)
def test_checks(hand, size, rounds, rules):
    """An index counts from the end if it is negative; the check must be as wide and for all."""
    row = load_of(hand.p, (I,))
    check = nest((K, rounds), [Check(load_of(hand.p, (K,)), size)])
    assert hand.rules(check, rows(hand, (wrapped(row, 10), J))) == rules


def test_a_check_that_comes_later_does_not_count(hand):
    check = nest((K, 10), [Check(load_of(hand.p, (K,)), 10)])
    assert hand.rules(rows(hand, (wrapped(load_of(hand.p, (I,)), 10), J)), check) == ["range"]


@pytest.mark.parametrize("place, rules", [(K, []), (n(9) - K, ["range"])])
def test_a_later_round_may_undo_a_check(hand, place, rules):
    s = hand.buffer("s", (10,), "work", "int64")
    start = nest((index_of(5), 10), [Store(s, (index_of(5),), ZERO)])
    changed_and_checked = [Store(s, (place,), load_of(hand.p, (K,))), Check(load_of(s, (K,)), 10)]
    use = rows(hand, (wrapped(load_of(s, (I,)), 10), J))
    assert hand.rules(start, nest((K, 10), changed_and_checked), use) == rules


@pytest.mark.parametrize("last, rules", [(9, []), (10, ["range"])])
def test_captured_and_computed_indices(hand, last, rules):
    data = np.array([0, last, 3])
    captured = hand.buffer("c", (3,), "constant", "int64", data=data)
    stored = hand.buffer("s", (3,), "work", "int64")
    fill = nest((K, 3), [Store(stored, (K,), load_of(captured, (K,)))])
    read = nest(
        (I, 3), (J, 3), [Store(hand.y, (I, J), load_of(hand.x, (load_of(stored, (I,)), J)))]
    )
    assert hand.rules(fill, read) == rules


def test_init(hand):
    s = hand.buffer("s", (10,))
    read = nest((I, 10), (J, 3), [Store(hand.y, (I, J), load_of(s, (I,)))])
    half = nest((K, 5), [Store(s, (K,), const(1.0))])
    assert hand.rules(read) == ["init"]
    assert hand.rules(half, read) == ["init"]
    assert hand.rules(Zero(s), read) == []
    assert hand.rules(nest((K, 10), [Store(s, (K,), const(1.0), "+")])) == ["init"]


def test_loops_without_rounds_set_nothing(hand):
    t = hand.buffer("t")
    read = Store(hand.y, (ZERO, ZERO), load_of(t, ()))
    set_ = Store(t, (), const(1.0))
    assert hand.rules(nest((K, 1), [set_]), read) == []
    assert hand.rules(nest((K, 0), [set_]), read) == ["init"]


def test_a_result_that_is_not_set(hand):
    program = hand.of()
    assert {f.rule for f in verify.verify(program)} == {"init"}


def test_a_scan_reads_what_the_round_before_has_set(hand):
    s = hand.buffer("s", (10,))
    before = load_of(s, (I - n(1),))
    guarded = bind("guard", bind("greater", I, ZERO), before)
    assert hand.rules(nest((I, 10), [Store(s, (I,), guarded)])) == []
    assert "init" in hand.rules(nest((I, 10), [Store(s, (I,), before)]))


def test_scope(hand):
    outside = Store(hand.y, (ZERO, ZERO), bind("convert", I, attrs=("float64",)))
    assert hand.rules(nest((I, 10), [Store(hand.y, (I, ZERO), const(1.0))]), outside) == ["scope"]
    assert "scope" in hand.rules(nest((I, 3), (I, 3), [Store(hand.y, (I, ZERO), const(1.0))]))
    assert hand.rules(rows(hand, (I, J)), rows(hand, (I, J), 9)) == ["form"]


def test_homes(hand):
    s = hand.buffer("s", (), "scalar")
    loop = nest((I, 10), [Store(s, (), const(1.0)), Store(hand.y, (I, ZERO), load_of(s, ()))])
    hand.change(s, home=I)
    assert hand.rules(loop) == []
    later = nest((J, 3), [Store(hand.y, (ZERO, J), load_of(s, ()))])
    assert hand.rules(loop, later) == ["scope"]
    hand.change(s, home=None)  # C declares it where it is first set
    assert hand.rules(loop, later) == ["scope"]
    hand.change(s, home=K)
    assert hand.rules(loop) == ["scope"]


def test_rounds(hand):
    loop = Loop(I, 4, [Store(hand.y, (I, ZERO), const(1.0))], stop=n(5))
    assert hand.rules(loop) == ["rounds"]


def test_a_statement_stands_once_and_has_the_buffers_of_its_program(hand):
    rule = lambda program: [f.rule for f in verify.verify(program, "hand")]  # noqa: E731
    program = hand.of(copy_rows(hand.y, hand.x))
    assert rule(program) == []
    assert rule(replace(program, body=[*program.body, *program.body])) == ["form"]
    other = [replace(b, offset=8) if b.number == hand.y.number else b for b in program.buffers]
    assert set(rule(replace(program, buffers=other))) == {"form"}


def test_form(hand):
    assert hand.rules(Store(hand.y, (ZERO,), const(1.0))) == ["form"]
    assert hand.rules(Store(hand.x, (ZERO, ZERO), const(1.0))) == ["form"]
    assert hand.rules(Loop(I, 10, [], lanes=11)) == ["form"]


PARALLEL = {
    "simd": dict(simd=True), "shared": dict(shared=True), "lanes": dict(lanes=5),
    "chunks": dict(lanes=2, chunks=2, chunk_points=4, chunk=K),
}  # fmt: skip


@pytest.mark.parametrize("kind", PARALLEL)
def test_races(hand, kind):
    def rules(*stores):
        return hand.rules(Loop(I, 10, list(stores), **PARALLEL[kind]))

    def store(index, value=None, op="="):
        return Store(hand.y, index, const(1.0) if value is None else value, op)

    assert rules(store((I, ZERO)), store((I, n(1)))) == []
    assert rules(store((ZERO, ZERO))) == ["races"]
    assert rules(nest((J, 3), [store((ZERO, J))])) == ["races"]
    assert rules(nest((J, 3), [store((I, J))])) == []
    assert rules(store((I, ZERO), load_of(hand.y, (n(9) - I, ZERO)))) == ["races"]
    assert rules(store((I, ZERO), load_of(hand.y, (n(9) - I, n(1))))) == []
    # Of elements two apart, three in a row meet; of different statements as well.
    flat = hand.buffer("s", (30,))
    assert rules(nest((J, 3), [Store(flat, (I * n(3) + J,), const(1.0))])) == []
    assert rules(nest((J, 3), [Store(flat, (I * n(2) + J,), const(1.0))])) == ["races"]
    assert rules(Store(flat, (I,), const(1.0)), Store(flat, (I + n(1),), const(1.0))) == ["races"]
    assert rules(Store(flat, (I,), const(1.0)), Store(flat, (I + n(10),), const(1.0))) == []


@pytest.mark.parametrize("kind", PARALLEL)
def test_bounds_of_loops_are_reads(hand, kind):
    """Bounds and conditions read memory, as values do."""
    s = hand.buffer("s", (11,), "work", "int64")

    def rules(entry, *rest):
        bound = bind("minimum", load_of(s, (entry,)), n(3))
        inner = Loop(J, 3, [Store(hand.y, (I, J), const(1.0))], stop=bound)
        return hand.rules(*rest, Loop(I, 10, [inner, Store(s, (I,), n(2))], **PARALLEL[kind]))

    assert rules(n(10), Zero(s)) == []
    assert rules(I, Zero(s)) == []
    assert rules(n(9) - I, Zero(s)) == ["races"]
    assert rules(n(11), Zero(s)) == ["range"]
    assert "init" in rules(n(10))


def test_conditions_are_reads(hand):
    s = hand.buffer("s", (10,))
    for kind in ("simd", "shared"):  # there is no `If` in a block of lanes
        for entry, rules in ((I, []), (n(9) - I, ["races"])):
            low = bind("less", load_of(s, (entry,)), const(1.0))
            body = [If(low, [Store(hand.y, (I, ZERO), const(1.0))]), Store(s, (I,), const(2.0))]
            assert hand.rules(copy_zeros(s), Loop(I, 10, body, **PARALLEL[kind])) == rules


def test_a_bound_stays_what_it_is(hand):
    """C reads it before each round; so its memory is in use as long as the loop runs."""
    s = hand.buffer("s", (), "work", "int64")
    stop = bind("minimum", load_of(s, ()), n(9))
    set_, change = Store(hand.y, (I, ZERO), const(1.0)), Store(s, (), n(3))
    assert hand.rules(Store(s, (), n(5)), Loop(I, 10, [set_], stop=stop, serial=True)) == []
    late = Loop(I, 10, [set_, change], stop=stop, serial=True)
    assert hand.rules(Store(s, (), n(5)), late) == ["rounds"]
    counts, other = hand.buffer("c", (9,), "work", "int64"), hand.buffer("o", (9,), offset=0)
    inside = [Zero(other), Store(hand.y, (I, ZERO), load_of(other, (n(0),)))]
    stop = bind("minimum", load_of(counts, (n(1),)), n(9))
    program = hand.of(copy_rows(hand.y, hand.x), Zero(counts), Loop(I, 10, inside, stop=stop),
                      workspace_bytes=72)  # fmt: skip
    assert [f.rule for f in verify.verify(program)] == ["space"]


def test_sums_over_lanes_have_partial_sums(hand):
    """A thread that adds to a sum of all meets the others; so does the order of lanes elsewhere."""
    s = hand.buffer("s", ())
    add = Store(s, (), load_of(hand.x, (I, ZERO)), "+")
    start, read = Store(s, (), const(0.0)), Store(hand.y, (ZERO, ZERO), load_of(s, ()))
    assert hand.rules(start, Loop(I, 10, [add], lanes=5), read) == []
    assert hand.rules(start, Loop(I, 10, [add], **PARALLEL["chunks"]), read) == ["races"]
    assert hand.rules(start, Loop(I, 10, [add], simd=True), read) == ["races"]
    partial = hand.buffer("s_lanes", (), "local", lanes=8)
    add = replace(add, partial=partial)
    loop = Loop(I, 10, [add], lanes=5, flush=[Flush(s, partial)], flush_blocks=1)
    assert hand.rules(start, Zero(partial), loop, read) == []
    assert hand.rules(start, loop, read) == ["init"]


def test_partial_results(hand):
    """A loop of partial results only accumulates, in one way, what it never reads."""
    s = hand.buffer("s", (10,))
    x, start = load_of(hand.x, (I, ZERO)), copy_zeros(s)
    read = nest((J, 10), [Store(hand.y, (J, ZERO), load_of(s, (J,)))])

    def rules(*stores):
        return hand.rules(start, Loop(I, 10, list(stores), accumulates=True), read)

    add = Store(s, (n(2),), x, "+")
    assert rules(add) == rules(add, Store(s, (n(3),), x, "+")) == []
    assert rules(Store(s, (n(2),), x, "max"), Store(s, (n(3),), x, "max")) == []
    assert rules(Store(s, (n(2),), x)) == ["accumulating"]
    assert rules(Store(s, (I,), x, "+")) == ["accumulating"]
    assert rules(add, Store(s, (n(3),), x, "max")) == ["accumulating"]
    assert rules(Store(s, (n(2),), load_of(s, (n(3),)), "+")) == ["accumulating"]


def test_arrays_of_one_round(hand):
    """What each round has for itself is no race, and what all rounds share is one."""
    s = hand.buffer("s", (3,), "own", home=I)
    fill = nest((J, 3), [Store(s, (J,), load_of(hand.x, (I, J)))])
    use = nest((K, 3), [Store(hand.y, (I, K), load_of(s, (K,)))])
    loop = Loop(I, 10, [fill, use], shared=True)
    assert hand.rules(loop) == []
    hand.change(s, role="work")
    assert hand.rules(loop) == ["races"]


@pytest.mark.parametrize("kind, role, rules", [
    ("lanes", "local", []), ("chunks", "own", []), ("chunks", "local", ["races"]),
])  # fmt: skip
def test_arrays_of_a_block(hand, kind, role, rules):
    """Points have lanes of an array for themselves; of threads, each needs an array of its own."""
    lanes = PARALLEL[kind]["lanes"]
    s = hand.buffer("s", (3,), role, lanes=lanes, home=I)
    fill = nest((J, 3), [Store(s, (J,), load_of(hand.x, (I, J)))])
    use = nest((K, 3), [Store(hand.y, (I, K), load_of(s, (K,)))])
    loop = Loop(I, 10, [fill, use], **{**PARALLEL[kind], "chunk": index_of(7)})
    assert hand.rules(loop) == rules


@pytest.mark.parametrize("first, rules", [(0, []), (1, []), (J, ["races", "range"])])
def test_rows_of_points(hand, first, rules):
    """Two of three elements of a row, wherever they stand, as long as they all lie in one row."""
    s = hand.buffer("s", (2,), "local", lanes=5, home=I)
    fill = nest((K, 2), [Store(s, (K,), load_of(hand.x, (I, K)))])
    first = const(first, "int64") if isinstance(first, int) else first
    put = Rows(s, hand.y, (I, first), write=True)
    inside = nest((J, 3), [put])
    assert hand.rules(Loop(I, 10, [fill, inside], lanes=5)) == rules


def test_points_twice(hand):
    set_ = Store(hand.y, (I, ZERO), load_of(hand.x, (I, ZERO)))
    assert hand.rules(Loop(I, 10, [set_], lanes=4, again=True)) == []
    add = Store(hand.y, (I, ZERO), const(1.0), "+")
    assert hand.rules(Loop(I, 10, [add], lanes=4, again=True)) == ["twice"]
    assert hand.rules(Loop(I, 10, [add], lanes=4)) == []
    read = Store(hand.y, (I, n(1)), load_of(hand.y, (I, ZERO)))
    assert "twice" in hand.rules(Loop(I, 10, [set_, read], lanes=4, again=True))


def test_space(hand):
    a, b = hand.buffer("a", (500,)), hand.buffer("b", (500,), offset=4000)
    body = [copy_rows(hand.y, hand.x), Zero(a), Zero(b), Store(a, (n(0),), load_of(b, (n(0),)))]

    def texts(size):
        program = hand.of(*body, workspace_bytes=size)
        return [f.text for f in verify.verify(program) if f.rule == "space"]

    assert texts(8000) == []
    assert texts(7999) == ["b: beyond the end of the workspace"]
    hand.change(b, offset=3992)
    assert texts(8000) == ["a and b are in use together and share memory"]
    hand.change(a, role="local")
    assert texts(8000) == ["a: 4000 bytes on the stack, 2048 at most"]


def test_merges_begin_in_the_first_round(hand):
    part, total = hand.buffer("s", (10, 3)), hand.buffer("t", (10, 3))
    merge = Merge(K, total, (), part, ())
    assert hand.rules(Zero(part), nest((K, 4), [merge])) == []
    assert hand.rules(nest((K, 4), [merge])) == ["init"]
    for never in (n(1), K + n(1)):
        merge = replace(merge, round=never)
        assert hand.rules(Zero(part), nest((K, 4), [merge])) == ["init"]
    merge = replace(merge, round=J - K)  # a chunk begins where its first block does
    blocks = Loop(J, 2, [merge], start=K, stop=K + n(2))
    assert hand.rules(Zero(part), nest((K, 4), [blocks])) == []


def test_best_goes_on_from_what_is_there(hand):
    position, value = hand.buffer("a", (), dtype="int64"), hand.buffer("v", ())
    best = nest((I, 10), [Best(position, value, (), load_of(hand.x, (I, ZERO)), I, "argmax")])
    started = [Store(position, (), ZERO), Store(value, (), const(0.0))]
    read = Store(hand.y, (ZERO, ZERO), load_of(hand.x, (load_of(position, ()), ZERO)))
    assert hand.rules(best) == ["init"]
    assert hand.rules(*started, best, read) == []


# ---- bounds --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_bounds_are_sound_and_tight():
    """Random index expressions in random nests: a bound that is proved holds in every round, and
    one that is near the tightest is nearly always proved."""
    rng = random.Random(7)
    tight = 0
    for _ in range(300):
        start = rng.choice([None, n(1), I])
        stop = rng.choice([n(9), bind("minimum", n(9), I + n(3)), n(9) - I + n(9)])
        inner = Loop(J, 9, start=start, stop=stop)
        outer = Loop(I, rng.randint(1, 8), [inner])
        terms = [
            I, J, bind("minimum", I, J), bind(INDEX_DIV, I * n(2) + J, n(3)),
            bind(INDEX_MOD, I + J, n(4)), bind("select", bind("less", I, J), J - I, I),
        ]  # fmt: skip
        e = n(rng.randint(-3, 3))
        for term in rng.sample(terms, 3):
            e = e + term * n(rng.choice([-2, -1, 1, 3]))
        seen = [value_of(e, i, j) for i in range(outer.extent) for j in rounds_of(inner, i)]
        if not seen:
            continue
        bounds = Bounds([outer], {})
        form = bounds.form(e)

        def at_least(low, form=form, bounds=bounds, path=(outer, inner)):
            return bounds.holds(plus(form, constant(-low)), path, frozenset())

        assert not any(at_least(min(seen) + k) for k in (1, 2, 5, 20))
        tight += any(at_least(min(seen) - k) for k in range(4))
    assert tight >= 290


def rounds_of(loop, i):
    start = 0 if loop.start is None else value_of(loop.start, i, 0)
    return range(start, min(value_of(loop.stop, i, 0), 10**6))


def value_of(e: Expr, i: int, j: int) -> int:
    """By plain Python; all quotients here are of what is not negative."""
    if e is I or e is J:
        return i if e is I else j
    if e.name == "const":
        return int(np.frombuffer(e.attrs[1], e.attrs[0])[0])
    a = [value_of(x, i, j) for x in e.args]
    return {
        "add": lambda: a[0] + a[1], "subtract": lambda: a[0] - a[1], "negative": lambda: -a[0],
        "multiply": lambda: a[0] * a[1], "minimum": lambda: min(a), "less": lambda: a[0] < a[1],
        "index_div": lambda: a[0] // a[1], "index_mod": lambda: a[0] % a[1],
        "select": lambda: a[1] if a[0] else a[2],
    }[e.name]()  # fmt: skip


# ---- no false alarm ------------------------------------------------------------------------------

ROWS = [
    (),
    (1,),
    (40,),
    (34,),
    (40, 3),
    (3, 40),
    (1, 40),
    (40, 3, 2),
    (0, 3),
    (64,),
    (40, 40),
    (34, 2),
]


TUNINGS = {"default": HOST_TUNING, "tiny": TINY, "tiny loops": TINY_LOOPS}


def lowered(args, outs, threads=1, tuning=HOST_TUNING):
    """The program, verified behind each pass because conftest says so."""
    outs = simplify(outs).outs
    outs = simplify(
        expand_composites(drop_stops(outs)), disable=frozenset({"stable", "linalg"})
    ).outs
    outs = expand_composites(drop_stops(share(outs)))
    names = [f"x{k}" for k in range(len(args))], [f"y{k}" for k in range(len(outs))]
    assert verify.ENABLED
    return lower(args, outs, *names, threads=threads, tuning=tuning)


def random_graph(seed, derivatives):
    b = Builder(seed, products=0.3)
    outs, args = b.outputs(), list(b.args)
    if derivatives:
        pulled = vjp(outs, args, [const(0.7, o.dtype, o.shape) for o in outs])
        outs = [zeros_like(a) if p is None else p for a, p in zip(args, pulled, strict=True)]
    return args, outs


@pytest.mark.sample(4)
@pytest.mark.slow
@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("shapes", ["few rows", "rows"])
def test_random_graphs_have_no_fault(tuning, shapes, monkeypatch):
    if shapes == "rows":
        monkeypatch.setattr(random_graphs, "SHAPES", ROWS)
    for seed in range(7000, 7030):
        args, outs = random_graph(seed, seed % 2 == 0)
        lowered(args, outs, 1 + seed % 3, TUNINGS[tuning])


def norm_of_first_rows(A):
    return np.sum(np.exp(A)) + np.sqrt(np.sum(A[:1] ** 2))


def wrapped_differences(A):
    h = A[1:] - A[:-1]
    return np.sum(np.log(np.sum(np.exp(np.concatenate([h, h[:1]])), 1)))


def padded_beside_larger(A):
    few = np.pad(A[:5] ** 2, ((0, len(A) - 5), (0, 0)))
    late = np.pad(A[:5] ** 2, ((len(A) - 5, 0), (0, 0)))
    return np.sum(np.exp(A) * (few + late + A))


def rows_at_checked_places(A):
    k = np.array([0, -1, len(A) // 2])
    return np.sum(np.sin(A[k]) * A[:3]) + np.sum(A[len(A) - 1] * np.tanh(A))


def every_other_row(A):
    return np.sum(np.exp(A[::2][:10] * A[1::2][:10])) + np.sum(np.tanh(A[::-1] * A))


def prefix_beside_all(A):
    return np.sum(np.cumsum(A, axis=0) * A) + np.max(A[3:7]) * np.sum(np.linalg.norm(A + 3, axis=1))


def shifted_products(A):
    return np.sum(np.tanh(A[2:] @ A[:-2].T)) + np.sum((A.T @ A) ** 2)


USERS = [
    norm_of_first_rows, wrapped_differences, padded_beside_larger, rows_at_checked_places,
    every_other_row, prefix_beside_all, shifted_products,
]  # fmt: skip


@pytest.mark.sample(13)
@pytest.mark.quick(1)
@pytest.mark.parametrize("f", USERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("tuning", TUNINGS)
def test_programs_of_users_have_no_fault(f, tuning):
    for size in (33, 64, 150):
        for derivative in (sg.value_and_grad(f), sg.hessian(f) if size == 33 else sg.grad(f)):
            graph = sg.trace(derivative, np.ones((size, 2)))
            outs = share(graph.simplify().lowered_outs())
            names = ["A"], [f"y{k}" for k in range(len(outs))]
            lower(graph.args, outs, *names, threads=1 + size % 2, tuning=TUNINGS[tuning])


def test_labels_and_indices_given_by_the_caller():
    """Rows that an argument picks: inside once they are checked, through copies in lanes too."""

    def loss(W, X, y, picked):
        Z = X[picked] @ W
        return np.sum(np.log(np.sum(np.exp(Z), 1))) - np.sum(Z[np.arange(len(y)), y])

    X, W = np.ones((50, 4)), np.ones((4, 3))
    y, picked = np.zeros(200, dtype=np.int64), np.zeros(200, dtype=np.int64)
    graph = sg.trace(sg.grad(loss, (0, 1)), W, X, y, picked)
    outs = share(graph.simplify().lowered_outs())
    lower(graph.args, outs, ["W", "X", "y", "picked"], ["dW", "dX"])


def test_it_is_fast():
    """The largest programs of the suite take some 10 ms; this bound only finds a blow-up."""
    args, outs = random_graph(7001, True)
    program = lowered(args, outs)
    start = time.process_time()
    verify.verify(program)
    assert time.process_time() - start < 1


# ---- what it has found ---------------------------------------------------------------------------

SIZES = (
    33,
    34,
    40,
    48,
    63,
    64,
    65,
    97,
    128,
    150,
    200,
    256,
    257,
    300,
    384,
    500,
    640,
    777,
    960,
    1000,
)


def norm_gradient(A):
    g = np.exp(A)
    g[:1] += A[:1] / np.sqrt(np.sum(A[:1] ** 2))
    return g


def wrapped_gradient(A):
    h = A[1:] - A[:-1]
    p = np.exp(np.concatenate([h, h[:1]]))
    p /= np.sum(p, 1, keepdims=True)
    q = p[:-1].copy()
    q[0] += p[-1]
    g = np.zeros_like(A)
    g[1:] += q
    g[:-1] -= q
    return g


def padded_gradient(A):
    square = np.zeros_like(A)
    square[:5] += A[:5] ** 2
    square[-5:] += A[:5] ** 2
    g = np.exp(A) * (square + A + 1)
    g[:5] += 2 * A[:5] * (np.exp(A[:5]) + np.exp(A[-5:]))
    return g


@pytest.mark.sample(5)
@pytest.mark.slow
@pytest.mark.parametrize("columns, sizes", [(2, SIZES), (5, SIZES[::7])])
@pytest.mark.parametrize(
    "f, gradient",
    [
        (norm_of_first_rows, norm_gradient),
        (wrapped_differences, wrapped_gradient),
        (padded_beside_larger, padded_gradient),
    ],
)
def test_arrays_with_fewer_rows_than_points(f, gradient, columns, sizes):
    """They were copied into lanes for all points: from their end on, memory of others was read.

    All sizes in one function, from 33 rows on, where lanes begin.
    """
    rng = np.random.default_rng(columns)
    arrays = [rng.uniform(-1, 1, (rows, columns)) for rows in sizes]
    graph = sg.trace(sg.grad(lambda every: sum(f(A) for A in every)), arrays).simplify()
    outs = graph.lowered_outs()
    assert queries.lane_arrays(program_of(graph.args, share(outs)))
    source = c_of(graph.args, share(outs))
    status, got = run_c(source, graph.args, outs, dict(zip(graph.args, arrays, strict=True)))
    assert status == 0
    for A, g in zip(arrays, got, strict=True):
        np.testing.assert_allclose(g, gradient(A), rtol=1e-12, atol=1e-14, err_msg=str(A.shape))


def test_start_values_may_stand_apart_from_streams(monkeypatch):
    """Lowering stopped with an AssertionError: a start value inside a loop had a stream's axis."""
    monkeypatch.setattr(random_graphs, "SHAPES", ROWS)
    for seed in (2004, 2260):
        args, outs = random_graph(seed, True)
        lowered(args, outs, 3, TINY)


# ---- switches ------------------------------------------------------------------------------------


def broken(program: Program) -> Program:
    loop = loops(program)[0]
    return changed(program, loop, extent=loop.extent + 1)


def test_a_fault_stops_a_compilation_only_if_asked_to(monkeypatch):
    program = broken(lowered(*random_graph(7000, False)))
    with pytest.raises(InternalError, match="range, after place: .* by Store"):
        verify.after("place", program, HOST_TUNING)
    monkeypatch.setattr(verify, "ENABLED", False)
    verify.after("place", program, HOST_TUNING)


@pytest.mark.slow
@pytest.mark.parametrize("value, enabled", [("1", True), ("0", False), (None, False)])
def test_environment_variable(value, enabled):
    environment = {k: v for k, v in os.environ.items() if k != "SYMGRAD_VERIFY"}
    if value is not None:
        environment["SYMGRAD_VERIFY"] = value
    code = f"from symgrad.lower import verify; assert verify.ENABLED is {enabled}"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


# ---- mutants -------------------------------------------------------------------------------------

# Of some 40 programs that each kind changes, the verifier finds at least so many. It does not see
# values: sums that begin anew, a statement that is gone but leaves everything set, and loops that
# are too short inside are for an interpreter. Raise a number when it finds more; never lower one.
CAUGHT = dict(
    write_further=40,  # of 41
    read_further=37,  # of 39
    guard_dropped=10,  # of 12
    statement_deleted=33,  # of 41
    loop_longer=38,  # of 39
    loop_shorter=24,  # of 39
    adds_become_sets=7,  # of 31
    sets_become_adds=41,  # of 41
    declared_parallel=9,  # of 9
    flush_dropped=10,  # of 13
    axis_dropped=2,  # of 2
    array_shorter=22,  # of 22
    home_moved=25,  # of 25
    check_widened=1,  # of 1
    value_earlier=21,  # of 23
    value_unguarded=10,  # of 12
    bound_read=39,  # of 39
    lane_array_dropped=6,  # of 6
    lane_array_shorter=9,  # of 9
    lanes_longer=22,  # of 22
    lanes_left=18,  # of 22; the others are the only such loop of a program
    lanes_in_any_order=4,  # of 4
    lanes_joined=3,  # of 3
)


@pytest.fixture(scope="module")
def graphs():
    patch = pytest.MonkeyPatch()
    with patch.context() as p:
        p.setattr(random_graphs, "SHAPES", [shape for shape in ROWS if 0 not in shape])
        return [random_graph(seed, seed % 2 == 0) for seed in range(8000, 8040)] + [picking()]


def picking():
    x, rows = arg(0, (40, 3), "float64"), arg(1, (50,), "int64")
    return [x, rows], [bind("sin", gather(x, rows, 0))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", MUTANTS)
def test_mutants_are_caught(kind, graphs, monkeypatch):
    monkeypatch.setattr(verify, "ENABLED", False)
    caught = made = 0
    for seed, (args, outs) in enumerate(graphs):
        outs = expand_composites(drop_stops(simplify(outs).outs))
        names = [f"x{k}" for k in range(len(args))], [f"y{k}" for k in range(len(outs))]
        mutant = MUTANTS[kind](lower(args, outs, *names), random.Random(seed))
        if mutant is not None:
            made += 1
            caught += bool(verify.verify(mutant))
    assert caught >= CAUGHT[kind], f"{caught} of {made}"


def test_an_element_that_was_checked_is_in_range_at_every_index():
    """Picked by an index that counts from the end where it is negative."""

    def f(a):
        rows = a[np.arange(40), np.argmax(a, axis=1)]
        return rows[np.argmax(rows)] + rows[np.argmin(rows) - 40]

    a = np.random.default_rng(0).uniform(-1, 1, (40, 2))
    best = np.max(a, axis=1)
    assert sg.jit(f)(a) == np.max(best) + np.min(best)
    slope = np.zeros_like(a)
    for k in (np.argmax(best), np.argmin(best)):
        slope[k, np.argmax(a[k])] = 1
    np.testing.assert_array_equal(sg.grad(f)(a), slope)


def test_rows_behind_an_axis_of_one_element_are_apart():
    """A false alarm: the rows were looked for on the first axis."""
    columns = np.zeros(32, int)

    def f(a, b):
        return np.concatenate([b[:, columns], a, a], axis=1)

    graph = sg.trace(sg.jacobian(f), np.ones((1, 4)), np.ones((1, 1))).simplify()
    outs = share(graph.lowered_outs())
    program = lower(graph.args, outs, ["a", "b"], ["y0"])
    assert "Rows" in {type(s).__name__ for s, _ in statements(program.body)}
