"""Machines and thresholds are values: passed down, none of them a constant of a module."""

from __future__ import annotations

import ast
import pickle
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from support.agreement import close
from support.codegen import tuned
from support.functions import normals
from symgrad.errors import BuildError
from symgrad.lower.tuning import HOST_TUNING, NEVER, Tuning
from symgrad.machines import CORTEX_M4, HOST, MACHINES, Machine
from symgrad.options import Options
from symgrad.runtime.record import Record

PACKAGE = Path(sg.__path__[0])
SOURCES = [p for folder in ("lower", "emit") for p in sorted((PACKAGE / folder).rglob("*.py"))]

# What no machine and no measurement changes.
CONSTANTS = {
    # How far an analysis goes, and how much a message says.
    "_MOST_GUARDS", "_MOST_STEPS", "MOST_OPERATIONS", "_MOST_FAULTS", "_MOST_TEXT",
    # A mark in the interpreter's memory.
    "_MANY",
    # What templates are written for: the sizes of panels, tiles of rows, and lanes of sums, whose
    # order decides about bits.
    "PANEL_ROWS", "_PANEL_BYTES", "TILE", "LANES", "SHORT",
    # From which cost on an operation is a call of a function: how it is spelled depends on it.
    "COSTLY",
    # Places in the workspace, which is as the caller's memory is.
    "_ALIGNMENT",
    # Rounds that some compilers write out, wrongly; how deep the spelling of a value recurses.
    "_WRITTEN_OUT", "_TREE_LIMIT",
    # More than there is of anything.
    "NEVER",
    # The exponents for which sg_powers is made; a line of a cache.
    "_MOST_EXPONENT", "_LINE_BYTES",
}  # fmt: skip


def is_number(node: ast.AST) -> bool:
    """Whether a value is made of numbers alone: 1 << 20, (3, 2), -1."""
    allowed = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.Tuple, ast.operator, ast.unaryop, ast.Load)
    nodes = list(ast.walk(node))
    numbers = [n.value for n in nodes if isinstance(n, ast.Constant)]
    return bool(numbers) and all(
        isinstance(n, allowed) for n in nodes
    ) and all(type(v) in (int, float) for v in numbers)  # fmt: skip


def constants(text: str) -> list[str]:
    found = []
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        for t in targets:
            if isinstance(t, ast.Name) and t.id.strip("_").isupper() and is_number(node.value):
                found.append(t.id)
    return found


def test_no_threshold_is_a_constant_of_a_module():
    assert constants("A = 1 << 3\n_B: int = -2\nC = (1, 2.5)\nD = 'x', 1\nE = f(2)\nf = 3") == [
        "A", "_B", "C",
    ]  # fmt: skip
    found = {name for path in SOURCES for name in constants(path.read_text())}
    assert not found - CONSTANTS, "a field of symgrad.lower.tuning.Tuning, or of a Machine?"
    assert not CONSTANTS - found, "gone, so it needs no exception"


def test_every_threshold_is_used_and_explained():
    readers = [*SOURCES, *sorted((PACKAGE / "scalar").rglob("*.py"))]
    text = "".join(p.read_text() for p in readers if p.name != "tuning.py")
    own = (PACKAGE / "lower" / "tuning.py").read_text()
    machines = (PACKAGE / "options.py").read_text() + own
    for field in fields(Tuning):
        assert re.search(rf"tuning\.{field.name}\b", text), field.name
    for field in fields(Machine):
        assert re.search(rf"machine\.{field.name}\b", machines), field.name


def test_what_follows_from_a_machine():
    assert Tuning.of(HOST) == HOST_TUNING == Tuning.of(MACHINES["host"])
    assert HOST_TUNING.block_bytes == HOST.l1_bytes
    small = Tuning.of(replace(HOST, l1_bytes=16 << 10, stack_bytes=1 << 10))
    assert small.block_bytes == 16 << 10 and small.all_locals_bytes == 1 << 10
    assert not Tuning.of(CORTEX_M4).vectors and Tuning.of(CORTEX_M4).tiles_from_face == NEVER


def test_unknown_machines_are_refused():
    for odd in ("pdp11", "", None, 3, ["host"]):
        with pytest.raises(BuildError, match="machine=.*'host', 'cortex_m4'"):
            sg.compile(np.sin, 1.0, machine=odd)
    with pytest.raises(BuildError, match="'host', 'cortex_m4'"):
        sg.sparse_hessian(lambda x: np.sum(x**2)).compile(np.ones(3), machine="pdp11")
    with pytest.raises(BuildError, match="cortex_m4 has one thread"):
        sg.compile(np.sin, 1.0, machine="cortex_m4", threads=2)
    with pytest.raises(BuildError, match="cortex_m4 has no BLAS"):
        sg.compile(np.sin, 1.0, machine="cortex_m4", blas=True)


def logistic(w, X, y):
    return np.mean(np.logaddexp(0.0, -y * (X @ w))) + 0.01 * np.sum(w**2)


def test_a_small_processor_gets_plain_loops():
    """No lanes, no tiles; what it computes is the same."""
    args = normals((3,), (100, 3), (100,))
    f = sg.value_and_grad(logistic)
    here, there = sg.compile(f, *args), sg.compile(f, *args, machine="cortex_m4")
    assert there.options.machine is CORTEX_M4
    assert "_lanes" in here.c_source and "_lanes" not in there.c_source
    close(there(*args), there.graph.evaluate(*args), 1e-13)
    a, b = normals((30, 40), (40, 20))
    there = sg.compile(np.matmul, a, b, machine=CORTEX_M4)
    assert "sg_product" not in there.c_source
    close(there(a, b), a @ b, 1e-13)
    arrays = re.findall(r"double \w+\[(\d+)\];", there.c_source)
    assert 8 * sum(map(int, arrays)) <= CORTEX_M4.stack_bytes


def test_thresholds_decide_about_the_text_and_are_no_part_of_the_result():
    args = normals((3,), (40, 3), (40,))
    f = sg.grad(logistic)
    plain, tiny = sg.compile(f, *args), tuned(f, *args, tuning=Tuning.tiny())
    assert tiny.c_source != plain.c_source
    close(tiny(*args), plain(*args), 1e-13)


def test_options_are_values():
    same = [Options(machine="host"), Options(machine=HOST), Options()]
    assert len(set(same)) == 1
    others = [Options(machine="cortex_m4"), Options(tuning=Tuning.tiny())]
    assert len({*same, *others}) == 3
    assert [pickle.loads(pickle.dumps(o)) for o in others] == others


def test_records_know_them():
    names = {Record("digest", [], o)._name() for o in (
        Options(), Options(machine="cortex_m4"), Options(tuning=Tuning.tiny()), Options(threads=2),
    )}  # fmt: skip
    if None in names:
        pytest.skip("files of symgrad have changed since they were imported")
    assert len(names) == 4
