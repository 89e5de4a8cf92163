"""Passes over loop programs leave their argument alone, and any beginning of the list works."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

import symgrad as sg
from support import queries
from support.codegen import tuned
from support.functions import mixture, mixture_data, mixture_gradient
from support.golden_functions import GOLDEN
from support.tunings import SHORT_STREAMS
from symgrad.lower import pipeline, verify
from symgrad.lower.cpu import Merge, Tiles
from symgrad.lower.interpret import check, operations
from symgrad.lower.program import Program, walk
from symgrad.lower.share import share
from symgrad.lower.statements import Multiply
from symgrad.lower.tuning import HOST_TUNING

FEW = ("logistic_gradient_tiny", "bundle_few", "scans", "joined", "extrema", "linear_algebra")


def state(program: Program) -> tuple[object, ...]:
    """All that a program is, as text and numbers."""
    buffers = tuple((b.number, b.role, b.offset, b.lanes, b.kept_axes) for b in program.buffers)
    return str(program), buffers, program.workspace_bytes, program.indices


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ["mixture_middle", "network_wide_threads", *FEW])
def test_passes_leave_their_argument_alone(name, monkeypatch):
    def watched(change):
        def run(program, *options):
            before = state(program)
            made = change(program, *options)
            assert state(program) == before
            return made

        run.__name__ = change.__name__
        return run

    every = tuple(map(watched, pipeline.passes(HOST_TUNING)))
    monkeypatch.setattr(pipeline, "passes", lambda tuning: every)
    graph, options = GOLDEN[name]()
    sg.generate.program_of(graph, **options)


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", FEW)
def test_the_list_can_be_cut_short(name, monkeypatch):
    graph, _ = GOLDEN[name]()
    outs = share(graph.lowered_outs())
    every = pipeline.passes(HOST_TUNING)
    for count in range(len(every)):
        monkeypatch.setattr(pipeline, "passes", lambda tuning, count=count: every[:count])
        program = sg.generate.program_of(graph)
        assert not verify.verify(program), count
        if operations(program, 20_000) <= 20_000:
            check(program, graph.args, outs, 20_000)


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 9])
def test_streams_and_tiles_are_passes(n, monkeypatch):
    """Before them a program has plain loops over blocks, rows, columns and summands."""
    args = mixture_data(n, 3, 2)
    graph = sg.trace(sg.value_and_grad(mixture, (0, 1)), *args)
    outs = share(graph.lowered_outs())
    every = pipeline.passes(SHORT_STREAMS)
    assert [p.__name__ for p in every[:2]] == ["open_streams", "multiply_in_tiles"]
    for count in range(4):
        monkeypatch.setattr(pipeline, "passes", lambda tuning, count=count: every[:count])
        program = sg.generate.program_of(graph, tuning=SHORT_STREAMS)
        assert 2 in queries.block_sizes(program)
        assert queries.has(program, Multiply) == (count < 2)
        assert queries.has(program, Merge) == (count > 0)
        assert queries.has(program, Tiles) == (count > 1)
        assert not verify.verify(program, tuning=SHORT_STREAMS), count
        check(program, graph.args, outs, 20_000)


@pytest.mark.parametrize("n", [4, 9])
def test_streams_and_products_without_vectors(n):
    """They are plain loops where no pass makes more of them."""
    args = mixture_data(n, 3, 2)
    compiled = tuned(
        sg.value_and_grad(mixture, (0, 1)), *args, tuning=replace(SHORT_STREAMS, vectors=False)
    )
    value, slopes = compiled(*args)
    expected, by_hand = mixture_gradient(*args)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    for got, wanted in zip(slopes, by_hand, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-13)
    assert "sg_product" not in compiled.c_source


def test_programs_are_values():
    graph, options = GOLDEN["network_wide_threads"]()
    program = sg.generate.program_of(graph, **options)
    parts = [program, *program.buffers, *(s for s, *_ in walk(program.body))]
    assert len({type(part) for part in parts}) > 4
    for part in parts:
        with pytest.raises(FrozenInstanceError):
            part.role = "none"
        for value in vars(part).values():
            assert not isinstance(value, (list, dict, set))
    assert [b.number for b in program.buffers] == list(range(len(program.buffers)))
