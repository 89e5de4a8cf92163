"""Values that are computed once: a program says where, and the verifier whether it may be there."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

import symgrad as sg
from support.by_hand import ByHand, changed, edited, with_buffer, without
from support.codegen import program_of
from support.golden_functions import GOLDEN, loops
from support.random_graphs import Builder
from support.random_loops import RandomLoops
from support.tunings import TINY
from symgrad.expr.node import bind, const
from symgrad.lower import pipeline, verify
from symgrad.lower.access import accesses
from symgrad.lower.interpret import interpret
from symgrad.lower.program import Program, statements, walk
from symgrad.lower.scalar import load_of
from symgrad.lower.statements import If, Let, Loop, Store, While
from symgrad.lower.tuning import HOST_TUNING
from symgrad.ops.elementwise import less

X = np.linspace(0.3, 1.2, 4)


class Hand(ByHand):
    def __init__(self) -> None:
        super().__init__()
        self.x, self.y = self.buffer("x", (4,), "in"), self.buffer("y", (4,), "out")
        self.i = self.draft.fresh()

    def at(self, k):
        return (const(k, "int64"),) if isinstance(k, int) else (k,)

    def load(self, buffer, k):
        return load_of(buffer, self.at(k))

    def store(self, k, value, op="="):
        return Store(self.y, self.at(k), value, op)


def faults(program: Program) -> list[str]:
    return [str(f) for f in verify.verify(program, "hand") if f.rule == "values"]


def copied(hand: Hand) -> Loop:
    j = hand.draft.fresh()
    return Loop(j, 4, [hand.store(j, hand.load(hand.x, j))])


def test_a_value_is_taken_from_where_it_was_computed():
    """Also where that is wrong: the interpreter finds it by its value, the verifier without one."""
    hand = Hand()
    value = bind("exp", hand.load(hand.y, 1))
    change, use = hand.store(1, const(0.0, "float64")), hand.store(2, value)
    right = hand.of(copied(hand), change, Let(value), use)
    wrong = hand.of(copied(hand), Let(value), change, use)
    assert faults(right) == [] and "is not what it was" in faults(wrong)[0]
    assert interpret(right, [X]).outputs[0][2] == 1.0
    assert interpret(wrong, [X]).outputs[0][2] == np.exp(X[1])


def test_elements_are_told_apart():
    """What is written beside the element that is loaded does not matter, in a loop as well."""
    hand = Hand()
    value, i = bind("exp", hand.load(hand.y, 0)), hand.i
    beside = Loop(i, 3, [hand.store(i + const(1, "int64"), value)])
    over = Loop(i, 3, [hand.store(i, value)])
    assert faults(hand.of(copied(hand), Let(value), beside)) == []
    assert faults(hand.of(copied(hand), Let(value), over)) != []
    once = hand.store(0, value)
    assert faults(hand.of(copied(hand), Let(value), once)) == []
    assert faults(hand.of(copied(hand), Let(value), once, hand.store(3, value))) != []


def test_bodies_that_change_what_was_computed_before():
    hand = Hand()
    value = bind("exp", hand.load(hand.y, 0))
    goes_on = less(value, const(30.0, "float64"))
    more = hand.store(0, const(1.0, "float64"), "+")
    assert faults(hand.of(copied(hand), Let(value), While(goes_on, [more]))) != []
    assert faults(hand.of(copied(hand), While(goes_on, [more], values=(value,)))) == []
    one_side = If(goes_on, [hand.store(2, value), more])
    assert faults(hand.of(copied(hand), Let(value), one_side)) == []
    assert faults(hand.of(copied(hand), Let(value), one_side, hand.store(3, value))) != []
    assert faults(hand.of(copied(hand), Let(value, once=True), one_side)) == []


def test_a_value_is_known_only_in_its_body():
    """A side that does not run computes nothing for those behind it, who do it themselves."""
    hand = Hand()
    value = bind("exp", hand.load(hand.x, 0))
    never = less(hand.load(hand.x, 0), const(0.0, "float64"))
    side = If(never, [Let(value), hand.store(0, value)])
    program = hand.of(copied(hand), side, hand.store(1, value))
    assert faults(program) == []
    outcome = interpret(program, [X])
    assert outcome.faults == () and outcome.outputs[0][1] == np.exp(X[0])
    assert "  v0 = exp(x[0])\n  y[0] = v0\ny[1] = exp(x[0])" in str(program)


# ---- the pass ------------------------------------------------------------------------------------

NAMES = ("logistic_gradient_tiny", "scans", "joined", "extrema", "bundle_few", "elements")


def lowered(name: str, tuning=HOST_TUNING) -> Program:
    cases = {name: (args, outs) for name, args, outs in loops()}
    if name in cases:
        return program_of(*cases[name], tuning=tuning)
    graph, options = GOLDEN[name]()
    return sg.generate.program_of(graph, tuning=tuning, **options)


@pytest.mark.slow
def test_values_are_the_same_before_and_after(monkeypatch):
    """Nothing but where something is computed changes: the same bits, in any order of rounds."""
    named = 0
    for name in (*NAMES, *(name for name, *_ in loops())):
        after = lowered(name, TINY)
        passes = tuple(p for p in pipeline.passes(TINY) if p.__name__ != "name_values")
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "passes", lambda tuning, passes=passes: passes)
            before = lowered(name, TINY)
        assert not any(isinstance(s, Let) for s, _ in statements(before.body))
        named += sum(isinstance(s, Let) for s, _ in statements(after.body))
        rng = np.random.default_rng(0)
        inputs = [
            rng.integers(0, 2, b.shape) if b.dtype == "int64" else rng.uniform(0.5, 1.5, b.shape)
            for b in before.inputs if b.role == "in"
        ]  # fmt: skip
        one, two = (interpret(p, inputs) for p in (before, after))
        assert one.faults == two.faults == () and one.status == two.status
        for a, b in zip(one.outputs, two.outputs, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
    assert named > 100


def kept(program: Program) -> Program | None:
    """The first of the values that are computed anew for each statement, taken by all behind it."""
    lets = [s for s, _ in statements(program.body) if isinstance(s, Let)]
    values = [s.value for s in lets if s.once]
    first = next((s for s in lets if s.once and values.count(s.value) > 1), None)
    if first is None:
        return None
    others = [s for s in lets if s.value is first.value and s is not first]
    steady = replace(first, once=False)
    return edited(program, lambda s: [steady] if s is first else [] if s in others else None)


@pytest.mark.slow
def test_values_of_one_statement_are_not_kept():
    """Where the others are in the same body, that is: elsewhere they are computed where needed."""
    found = []
    for seed in range(12):
        made = RandomLoops(seed)
        mutant = kept(program_of(made.args, made.outs))
        if mutant is not None:
            found.append(any(fault.rule == "values" for fault in verify.verify(mutant)))
    assert sum(found) >= 5, found  # of 8


# ---- long functions ------------------------------------------------------------------------------


def in_parts(seed: int, size: int = 2) -> Program:
    built = Builder(seed)
    tuning = replace(HOST_TUNING, part_statements=size)
    return program_of(built.args, built.pool[-3:], tuning=tuning)


def store_dropped(program: Program) -> Program | None:
    """Without the store of a value that a part behind takes."""
    taken = [s.source for s, _ in statements(program.body) if isinstance(s, Let) and s.source]
    places = {(n.attrs[0], n.args) for n in taken}
    found = (s for s, _ in statements(program.body) if isinstance(s, Store))
    gone = next((s for s in found if (s.buffer.number, s.index) in places), None)
    return None if gone is None else without(program, gone)


def another_taken(program: Program) -> Program | None:
    """A value taken from where another one of its type has been kept."""
    lets = [s for s, _ in statements(program.body) if isinstance(s, Let) and s.source is not None]
    for one, two in itertools.combinations(lets, 2):
        if one.source.attrs == two.source.attrs and one.source is not two.source:
            return changed(program, two, source=one.source)
    return None


def made_a_variable(program: Program) -> Program | None:
    """What several parts use is a variable of each."""
    for b in program.buffers:
        users = [k for k, part in enumerate(program.parts) if b.number in buffers_of(part)]
        if b.role == "work" and len(users) > 1 and not b.name.startswith("kept"):
            return with_buffer(program, b, role="scalar" if not b.kept_axes else "local")
    return None


def buffers_of(body) -> set[int]:
    return {access.buffer for access, _ in accesses(body)}


MADE = {store_dropped: 10, another_taken: 4, made_a_variable: 20}  # of 40


@pytest.mark.parametrize("mutant", MADE, ids=lambda f: f.__name__)
@pytest.mark.slow
def test_what_crosses_a_cut(mutant):
    made = caught = 0
    for seed in range(40):
        wrong = mutant(in_parts(seed))
        if wrong is not None:
            made += 1
            caught += bool(verify.verify(wrong))
    assert caught == made >= MADE[mutant], (caught, made)


@pytest.mark.slow
def test_loops_of_one_round_are_opened():
    for name in NAMES:
        program = lowered(name)
        found = [s for s, *_ in walk(program.body) if isinstance(s, Loop)]
        assert all(s.extent != 1 or s.lanes or not s.is_plain for s in found)
