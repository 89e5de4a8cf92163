"""What a target says of itself: nothing of it is written down elsewhere in emission."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import symgrad as sg
from support.codegen import run_c
from symgrad.emit.c import emit
from symgrad.emit.c99 import C99
from symgrad.emit.targets import TARGETS
from symgrad.emit.templates import environment
from symgrad.errors import InternalError
from symgrad.expr.node import DTYPES
from symgrad.expr.op import OPS
from symgrad.lower.pipeline import lower
from symgrad.lower.share import share

LACKING: dict[str, set[str]] = {"c99": set()}  # by target, with a reason for each
FILES = ("function.c.jinja", "function.h.jinja", "data.c.jinja")


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_whole(name):
    target, files = TARGETS[name], set(environment(name).list_templates())
    assert set(target.lacking()) == LACKING[name]
    assert set(target.types) == set(DTYPES)
    assert files.issuperset(FILES)
    columns = [
        target.column(op, is_float) or "" for op in OPS.values() for is_float in (True, False)
    ]
    called = {f for column in columns for f in re.findall(r"\bsg_\w+", column)}
    assert {f"helpers/{f}.c.jinja" for f in called} <= files
    assert len(called) > 20


def test_what_is_lacking_is_named():
    poor = replace(C99, name="poor", column=lambda op, is_float: None if op.cost else op.c)
    assert {"sin", "add", "digamma"} <= set(poor.lacking())
    assert not {"convert", "load", "index"}.intersection(poor.lacking())
    program = of(lambda x: np.sin(x))[1]
    with pytest.raises(InternalError, match="poor has no spelling for sin"):
        emit(program, "f", target=replace(poor, name="poor"))


def of(f):
    x = np.linspace(0.1, 0.7, 5)
    graph = sg.trace(f, x).simplify()
    return graph, lower(graph.args, share(graph.lowered_outs()), ["x"], ["y"]), x


def test_types_and_numbers_are_the_target_s():
    """C with hexadecimal numbers and types of its own computes the same."""
    graph, program, x = of(lambda x: np.tanh(x * 0.1) + 1.0 / 3.0)

    def hexadecimal(value, dtype):
        return float(value).hex() if dtype == "float64" else C99.literal(value, dtype)

    types = {**C99.types, "float64": "double_t"}  # of math.h; the same type where this runs
    source = emit(program, "f", target=replace(C99, literal=hexadecimal, types=types))
    assert "0x1.5555555555555p-2" in source.c and "0.333" not in source.c
    assert "const double_t *" in source.c and "const double *" not in source.header
    status, (y,) = run_c(source, graph.args, graph.outs, dict(zip(graph.args, [x], strict=True)))
    assert status == 0
    np.testing.assert_allclose(y, np.tanh(x * 0.1) + 1.0 / 3.0, rtol=1e-15)
