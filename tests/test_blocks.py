"""Loops over the lanes of a block: the program says what shares one, the verifier if it may."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from support import random_graphs
from support.by_hand import ByHand, with_buffer
from support.codegen import program_of
from support.golden_functions import GOLDEN
from support.random_graphs import Builder
from support.tunings import TINY
from symgrad import generate
from symgrad.diff.modes import drop_stops
from symgrad.expr.node import bind, const
from symgrad.expr.walk import expand_composites
from symgrad.lower import pipeline, verify
from symgrad.lower.cpu import Lanes
from symgrad.lower.interpret import interpret
from symgrad.lower.program import Program, statements
from symgrad.lower.scalar import load_of
from symgrad.lower.statements import Let, Loop, Store

X = np.linspace(0.3, 1.2, 10)
FEW = replace(TINY, lane_counts=(8,), lanes_from_points=8)  # points, so that vectors have a rest


class Hand(ByHand):
    """y = exp(x) over 10 points in blocks of 8 lanes, the value in one loop and its use in another.

    s is a variable of each lane.
    """

    def __init__(self) -> None:
        super().__init__()
        self.i = self.draft.fresh()
        self.x, self.y = self.buffer("x", (10,), "in"), self.buffer("y", (10,), "out")
        self.s = self.buffer("s", (), "block", home=self.i, lanes=8)
        self.v = self.buffer("v", (), "block", home=self.i, lanes=8)
        self.most = self.buffer("most", (), "out")
        self.value = bind("exp", load_of(self.x, (self.i,)))
        self.set = Store(self.s, (), self.value)
        self.use = Store(self.y, (self.i,), load_of(self.s, ()))
        self.highest = Store(self.most, (), load_of(self.s, ()), "max")

    def program(self, *body: Lanes) -> Program:
        first = Store(self.most, (), const(0.0, "float64"))
        return self.of(first, Loop(self.i, 10, body, lanes=8), workspace_bytes=0)


@pytest.fixture
def hand() -> Hand:
    return Hand()


def over(*body, vectors=(8, 0), **more) -> Lanes:
    return Lanes(body, vectors, **more)


def rules(program: Program) -> list[str]:
    return sorted({f.rule for f in verify.verify(program, "hand")})


def ordered(hand: Hand) -> Lanes:
    return over(hand.highest, vectors=(0, 0), in_order=True)


def test_a_right_program_has_no_fault(hand):
    program = hand.program(over(hand.set), over(hand.use), ordered(hand))
    assert rules(program) == []
    for backwards in (False, True):
        outcome = interpret(program, [X], backwards=backwards)
        assert outcome.faults == ()
        np.testing.assert_array_equal(outcome.outputs[0], np.exp(X))
        assert outcome.outputs[1] == np.exp(X[-1])


def test_a_variable_of_one_loop_is_not_known_in_another(hand):
    program = hand.program(over(hand.set), over(hand.use), ordered(hand))
    assert rules(with_buffer(program, hand.s, role="scalar")) == ["scope"]
    assert rules(with_buffer(program, hand.s, lanes=7)) == ["lanes"]
    named = Let(hand.value)
    taken = Store(hand.y, (hand.i,), hand.value)
    shared = [over(hand.set), ordered(hand)]
    assert rules(hand.program(*shared, over(named, taken))) == []
    assert rules(hand.program(*shared, over(named), over(taken))) == ["lanes"]
    kept = hand.program(*shared, over(replace(named, array=hand.v)), over(taken))
    assert rules(kept) == []
    np.testing.assert_array_equal(interpret(kept, [X]).outputs[0], np.exp(X))


def test_what_a_lane_reads_was_written(hand):
    program = hand.program(over(hand.use), over(hand.set), ordered(hand))
    assert rules(program) == ["init"]
    assert interpret(program, [X]).faults[0].startswith("not written: read s[]")


def test_lanes_that_change_one_element(hand):
    begin = over(hand.set), over(hand.use)
    assert rules(hand.program(*begin, over(hand.highest))) == ["lanes"]
    assert rules(hand.program(*begin, over(hand.highest, in_order=True))) == ["lanes"]
    beside = over(hand.use, hand.highest, vectors=(0, 0), in_order=True)
    assert rules(hand.program(begin[0], beside)) == ["lanes"]


def test_form(hand):
    last = ordered(hand)
    for count in (-1, 5, 9):
        assert rules(hand.program(over(hand.set, hand.use, vectors=(count, 0)), last)) == ["lanes"]
    assert rules(hand.program(over(hand.set, hand.use, vectors=(8, 3)), last)) == ["lanes"]
    assert rules(hand.program(over(hand.set), hand.use, last)) == ["lanes"]
    assert rules(hand.program(over(over(hand.set)), over(hand.use), last)) == ["lanes"]


def both(make) -> tuple[Program, Program]:
    """A program before its blocks have loops over lanes, and behind."""
    every = pipeline.passes
    with pytest.MonkeyPatch().context() as patch:
        left = pipeline.loop_over_lanes
        passes = lambda tuning: tuple(p for p in every(tuning) if p is not left)  # noqa: E731
        patch.setattr(pipeline, "passes", passes)
        before = make()
    return before, make()


@pytest.mark.parametrize("tuning", [TINY, FEW], ids=["tiny", "few"])
@pytest.mark.slow
def test_results_are_the_same_before_and_after(tuning, monkeypatch):
    """The same bits, whatever the order of lanes; most blocks have several loops over them."""
    monkeypatch.setattr(random_graphs, "SHAPES", [(13, 3), (13,), (3,), ()])
    found = arrays = 0
    for seed in range(20):
        built = Builder(seed)
        outs = expand_composites(drop_stops(built.pool[-3:]))
        before, after = both(lambda a=built.args, o=outs: program_of(a, o, tuning=tuning))
        found += sum(isinstance(s, Lanes) for s, _ in statements(after.body))
        arrays += sum(b.role == "block" for b in after.buffers)
        rng = np.random.default_rng(seed)
        inputs = [_input(rng, b) for b in before.inputs if b.role == "in"]
        for backwards in (False, True):
            one, two = (interpret(p, inputs, backwards=backwards) for p in (before, after))
            assert one.faults == two.faults == ()
            for a, b in zip(one.outputs, two.outputs, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=str(seed))
    assert found > 20 and arrays > 5


def _input(rng, b):
    if b.dtype in ("int64", "int32", "bool"):
        return rng.integers(0, 2, b.shape)
    return rng.uniform(0.5, 1.5, b.shape)


def test_vectors_of_golden_functions():
    """Loops that call functions have whole vectors, and numbers for the rest."""
    graph, options = GOLDEN["branches_in_lanes"]()
    program = generate.program_of(graph, **options)
    assert (64, 10) in {s.vectors for s, _ in statements(program.body) if isinstance(s, Lanes)}
