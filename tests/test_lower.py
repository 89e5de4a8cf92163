"""Lowering: what gets a buffer, which loops are shared; C against the evaluator."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import symgrad as sg
from support.codegen import agree
from symgrad.compiled import Compiled
from symgrad.emit.c import _shared
from symgrad.expr.node import Expr, arg, array, bind, const, eye, iota
from symgrad.expr.walk import expand_composites
from symgrad.generate import source_of
from symgrad.lower import schedule
from symgrad.lower.pipeline import lower
from symgrad.lower.program import Program, statements
from symgrad.lower.share import share
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Check, Loop, Store
from symgrad.lower.tuning import HOST_TUNING
from symgrad.ops.einsum import einsum
from symgrad.ops.linear import (
    broadcast_to,
    concat,
    gather,
    pad,
    permute,
    reshape,
    scatter_add,
    slice_,
    sum_,
)  # fmt: skip
from symgrad.ops.scan import cumsum, recurrence
from symgrad.options import Options

VALUES = {"float64": lambda rng, shape: rng.normal(size=shape),
          "float32": lambda rng, shape: rng.normal(size=shape).astype("float32"),
          "int64": lambda rng, shape: rng.integers(-50, 50, shape),
          "int32": lambda rng, shape: rng.integers(-50, 50, shape).astype("int32"),
          "bool": lambda rng, shape: rng.integers(0, 2, shape).astype(bool)}  # fmt: skip


def program(args, *outs) -> Program:
    outs = expand_composites(outs)
    names = [f"x{k}" for k in range(len(args))], [f"y{k}" for k in range(len(outs))]
    return lower(args, outs, *names)


def same(args, *outs, **kwargs) -> Program:
    """Asserts that C and evaluator agree; returns the loop program."""
    rng = np.random.default_rng(len(args))
    agree(args, outs, {a: VALUES[a.dtype](rng, a.shape) for a in args}, **kwargs)
    return program(args, *outs)


def temporaries(p: Program) -> list[str]:
    """Arrays that are neither arguments nor results."""
    return [b.name for b in p.buffers if b.role in ("work", "local")]


def loops(p: Program) -> int:
    return len({id(loop) for _, path in statements(p.body) for loop in path})


def unit_loops(p: Program) -> int:
    return sum(loop.extent == 1 for _, path in statements(p.body) for loop in path)


def stores(p: Program, name: str) -> list[Store]:
    return [s for s, _ in statements(p.body) if isinstance(s, Store) and s.buffer.name == name]


def _box(x: Expr, starts, sizes, steps=None) -> Expr:
    return slice_(x, starts, sizes, steps or (1,) * x.ndim)


def x_of(*shape: int, number: int = 0, dtype: str = "float64") -> Expr:
    return arg(number, shape, dtype)


# ---- buffers -------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("shape", [(5, 3), (40, 3), (2, 5, 3), (2, 3, 2, 4)])
@pytest.mark.parametrize("reverse", [False, True])
def test_scan_along_an_outer_axis_in_the_loop_of_its_producer(shape, reverse):
    """The scan then steps in an outer loop, and keeps its last element for all inner iterations."""
    for axis in range(len(shape)):
        x = x_of(*shape)
        produced = bind("exp", bind("sin", x))
        same([x], bind("tanh", cumsum(produced, axis, reverse)) * produced)
        same([x], bind("tanh", recurrence(bind("cos", x), produced, axis, reverse)) * produced)


# ---- concats in place ----------------------------------------------------------------------------


def test_entries_of_the_rosenbrock_hessian_are_one_loop_and_no_buffer():
    n = 1000
    graph = sg.sparse_hessian(
        lambda x: ((x[1:] - x[:-1] ** 2) ** 2 * 100 + (1 - x[:-1]) ** 2).sum()
    ).compile(sg.f64[n]).graph  # fmt: skip
    assert any(part.name == "reshape" for part in graph.outs[0].args)  # concats in the result
    p = same(graph.args, *graph.outs)
    assert p.workspace_bytes == 0
    assert temporaries(p) == []
    assert [s.extent for s in p.body if isinstance(s, Loop)] == [n - 2]
    assert loops(p) == 1
    assert len(stores(p, "y0")) == 3 + 2 + 2  # a row in the loop, the first row, the last row


@pytest.mark.quick(3)
@pytest.mark.parametrize("outer", [0, 1, 2])
@pytest.mark.parametrize("inner", [0, 1, 2])
@pytest.mark.parametrize("dtype", list(VALUES))
def test_concat_in_a_concat(outer, inner, dtype):
    x, y, z = (x_of(2, 3, 4, number=k, dtype=dtype) for k in range(3))
    joined = concat([x, y, z], inner)
    shape = tuple(1 if k == outer else n for k, n in enumerate(joined.shape))
    v = x_of(*shape, number=3, dtype=dtype)
    p = same([x, y, z, v], concat([v, joined, v], outer))
    assert temporaries(p) == []


def _moved_concats() -> dict[str, tuple[list[Expr], Expr]]:
    x, y, v = x_of(4, 1, 3, number=0), x_of(4, 2, 3, number=1), x_of(5, number=2)
    m, r = x_of(16, 2, number=3), x_of(1, 1, 1, 12, number=4)
    joined = concat([bind("sin", x), y, x], 1)  # 4, 4, 3
    nodes = {
        "merged to a vector": concat([v, reshape(joined, (48,))], 0),
        "merged to a matrix": concat([reshape(joined, (16, 3)), m], 1),
        "new axes of one": concat([reshape(joined, (1, 4, 1, 12)), r], 1),
        "permuted and merged": concat([v, reshape(permute(joined, (2, 0, 1)), (48,))], 0),
        "permuted": concat([permute(joined, (1, 2, 0)), permute(x, (1, 2, 0))], 0),
        "a result, merged": reshape(joined, (48,)),
        "a result, merged and permuted": permute(reshape(joined, (4, 12)), (1, 0)),
        "twice merged": concat(
            [reshape(concat([reshape(joined, (4, 12)), reshape(x, (4, 3))], 1), (60,)), v], 0
        ),
    }
    return {name: ([x, y, v, m, r], node) for name, node in nodes.items()}


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", list(_moved_concats()))
def test_moved_concat_in_place(name):
    args, node = _moved_concats()[name]
    p = same(args, node)
    assert temporaries(p) == []
    assert unit_loops(p) == 0


def test_a_reshape_that_splits_an_axis_reads_a_buffer():
    x, y, z = x_of(5, number=0), x_of(7, number=1), x_of(1, 4, number=2)
    split = reshape(concat([x, y], 0), (3, 4))
    assert len(temporaries(same([x, y, z], concat([split, z], 0)))) == 1
    v, w = x_of(3, 3, number=0), x_of(1, 3, number=1)
    crossed = reshape(concat([v, w], 0), (2, 6))  # the axes of 4, 3 do not lie in those of 2, 6
    assert len(temporaries(same([v, w], concat([crossed, const(1, "float64", (1, 6))], 0)))) == 1


def test_parts_that_alternate_share_a_loop():
    x, y, z = (x_of(50, number=k) for k in range(3))
    columns = [reshape(bind("sin", v), (50, 1)) for v in (x, y, z)]
    assert loops(same([x, y, z], concat(columns, 1))) == 1
    assert loops(same([x, y, z], concat([reshape(v, (1, 50)) for v in (x, y, z)], 0))) == 3
    nested = concat([concat(columns[:2], 1), columns[2]], 1)
    assert loops(same([x, y, z], nested)) == 1
    m = x_of(50, 4, number=3)
    p = same([x, y, z, m], concat([*columns, m], 1))
    assert [s.extent for s in p.body] == [50]


def test_scalars_side_by_side_need_no_loop():
    scalars = [x_of(number=k) for k in range(6)]
    rows = [concat([reshape(s, (1, 1)) for s in scalars[k : k + 2]], 1) for k in (0, 2, 4)]
    p = same(scalars, concat(rows, 0))
    assert loops(p) == 0
    assert len(stores(p, "y0")) == 6


def test_a_concat_that_others_read_has_a_buffer():
    x, y = x_of(4, number=0), x_of(4, number=1)
    inner = concat([bind("sin", x), y], 0)
    same([x, y], inner, concat([inner, x], 0))  # itself a result
    same([x, y], concat([inner, x], 0), inner, inner)
    assert len(temporaries(same([x, y], concat([inner, x, inner], 0)))) == 1  # twice a part
    square = reshape(inner, (2, 4))
    for reader in (bind("cos", inner), reshape(permute(square, (1, 0)), (8,))):
        assert len(temporaries(same([x, y], concat([inner, reader], 0)))) == 1
    same([x, y], concat([inner, cumsum(inner, 0)], 0))
    product = einsum([square, square], [[0, 1], [2, 1]], [0, 2])
    assert len(temporaries(same([x, y], concat([product, _box(square, (0, 0), (2, 2))], 1)))) == 1


@pytest.mark.slow
def test_parts_of_every_kind():
    """Those that have a condition on the index of the axis of one are folded to a value."""
    x, y, i = x_of(3, 1, number=0), x_of(1, 3, number=1), arg(2, (1,), "int64")
    captured = array(np.arange(3.0).reshape(3, 1))
    padded = pad(y, (3, 6), (1, 1), (1, 2))
    parts = {
        "argument": x,
        "captured": captured,
        "constant": const(2.5, "float64", (3, 1)),
        "permute": permute(y, (1, 0)),
        "reshape": reshape(y, (3, 1)),
        "backwards": _box(x, (2, 0), (3, 1), (-1, 1)),
        "pad": pad(_box(x, (1, 0), (1, 1)), (3, 1), (2, 0), (1, 1)),
        "element of a pad": _box(padded, (0, 3), (3, 1)),
        "between elements of a pad": _box(padded, (0, 2), (3, 1)),
        "border of a pad": _box(padded, (0, 0), (3, 1)),
        "eye": _box(eye(3, "float64"), (0, 1), (3, 1)),
        "iota": reshape(bind("convert", iota(3), attrs=("float64",)), (3, 1)),
        "broadcast": broadcast_to(_box(x, (1, 0), (1, 1)), (3, 1)),
        "gather": gather(x, i, 1),
        "gather of rows": gather(x, array(np.array([-1, 0, -3])), 0),
        "element of a reshape": _box(reshape(concat([x, x], 0), (2, 3)), (1, 1), (1, 1)),
        "scatter_add": scatter_add(x, array(np.array([2, 0, 2])), 0, 3),
        "scan": cumsum(x, 0),
        "reversed scan": recurrence(x, captured, 0, True),
        "sum": reshape(sum_(x * captured, (1,)), (3, 1)),
        "concat": concat([_box(x, (0, 0), (1, 1)), _box(x, (0, 0), (2, 1))], 0),
    }
    values = {
        x: np.array([[0.3], [-0.7], [1.1]]),
        y: np.array([[4.0, 5.0, 6.0]]),
        i: np.array([-1]),
    }
    everything = concat([p for p in parts.values() if p.shape == (3, 1)], 1)
    agree([x, y, i], [everything], values)
    for part in parts.values():
        tall = reshape(concat([part, part * 2.0], 0), (2 * part.size, 1))
        agree([x, y, i], [concat([part, tall], 0)], values)


def test_arrays_without_elements():
    x, e, row = x_of(2, 3), x_of(0, 3, number=1), x_of(0, number=2)
    args = [x, e, row]
    none = concat([e, e * 2.0], 1)  # (0, 6)
    assert none.name == "concat"
    same(args, none, concat([x, e, x], 0), concat([row, row], 0))
    same(args, reshape(none, (0,)), concat([reshape(none, (0, 2, 3)), reshape(e, (0, 2, 3))], 1))
    same(args, concat([concat([none, none], 1), reshape(none, (0, 12))], 0))
    same(args, concat([reshape(none, (3, 0)), reshape(concat([e, e], 1), (3, 0))], 1))
    same(args, concat([reshape(concat([x, x], 1), (12,)), reshape(none, (0,))], 0))


@pytest.mark.slow
def test_nested_concats_to_any_depth():
    x, start = x_of(2), x_of(1, number=1)
    for depth in (40, 3000):
        node = start
        for k in range(depth):
            node = concat([node, _box(x, (k % 2,), (1,))], 0)
        p = program([x, start], node)
        assert temporaries(p) == []
        assert len(stores(p, "y0")) == depth + 1
        if depth == 40:
            same([x, start], node)


# ---- slices --------------------------------------------------------------------------------------


def test_a_node_cut_into_pieces_is_computed_in_the_pieces():
    x = x_of(40)
    node = bind("exp", bind("tanh", x))
    pieces = [_box(node, (0,), (1,)), _box(node, (1,), (30,)), _box(node, (39,), (9,), (-1,))]
    assert temporaries(same([x], concat(pieces, 0))) == []
    for again in (_box(node, (3,), (3,)), _box(node, (2,), (2,), (5,)), bind("tanh", node)):
        assert len(temporaries(same([x], concat([*pieces, again], 0)))) == 1
    nothing = _box(node, (3,), (0,))
    assert temporaries(same([x], concat(pieces, 0), nothing)) == []
    # a piece that is read twice is stored, the others are not
    p = same([x], concat([*pieces, pieces[1] * 2.0], 0))
    assert [b.shape for b in p.buffers if b.role not in ("in", "out")] == [(30,)]


def test_boxes_of_a_matrix():
    x = x_of(9, 9)
    node = bind("exp", bind("sin", x))
    apart = [_box(node, at, (3, 4)) for at in ((0, 0), (0, 5), (4, 0), (4, 4))]
    assert temporaries(same([x], concat(apart, 1))) == []
    across = _box(node, (2, 3), (3, 4))
    assert len(temporaries(same([x], concat([*apart, across], 1)))) == 1


def _scalars(n, live=12):
    """Long straight-line code on elements of an array, with many values alive at once."""
    rng = np.random.default_rng(n)
    picks = rng.integers(0, live, (n, 3))

    def f(x):
        values = [x[i] for i in range(live)]
        for i, j, k in picks:
            values[k] = 0.5 * values[k] + np.sin(values[i]) * values[j]
        return sum(values[1:], values[0])

    return f, rng.uniform(0.5, 1.0, live)


@pytest.mark.slow
def test_code_on_elements_stands_in_no_loop_and_is_cut():
    f, x = _scalars(400)
    graph = sg.trace(sg.grad(f), x).simplify()
    source = source_of(graph)
    assert source.c.count("static SG_NOINLINE int") == 1  # the macro SG_PART, used for each part
    assert "_part3(" in source.c
    parts = re.split("\n(?:SG_STRAIGHT )?SG_PART ", source.c)
    longest = max(len(part.splitlines()) for part in parts)
    assert longest < 3 * HOST_TUNING.part_statements
    np.testing.assert_allclose(Compiled(graph)(x), graph.evaluate(x), rtol=1e-12)


@pytest.mark.slow
def test_values_written_in_several_parts():
    """With cuts everywhere, also between the first and the last write of a sum."""
    f, x = _scalars(40)
    W = np.linspace(0.5, 1.5, len(x))

    def g(x):
        return f(x * (W @ x)) + np.sum(np.cumsum(x) ** 2)

    for size in (1, 3):
        options = Options(tuning=replace(HOST_TUNING, part_statements=size))
        for h in (g, sg.grad(g)):
            graph = sg.trace(h, x).simplify()
            got = Compiled(graph, options)(x)
            np.testing.assert_allclose(got, graph.evaluate(x), rtol=1e-11)


@pytest.mark.slow
def test_units_side_by_side_are_the_whole():
    """Compiled in many units and in one, the numbers are the same to the bit."""
    f, x = _scalars(60)
    graph = sg.trace(sg.grad(f), x).simplify()
    parts = replace(HOST_TUNING, part_statements=8)
    whole, cut = (Compiled(graph, Options(tuning=replace(parts, unit_parts=n))) for n in (1000, 10))
    assert cut.source.units > 3 and whole.source.units == 1
    np.testing.assert_array_equal(cut(x), whole(x))


def test_arrays_that_share_workspace_are_found():
    def work(number, offset, doubles):
        return Buffer(number, f"b{number}", (doubles,), "float64", "work", offset=offset)

    rng = np.random.default_rng(3)
    for _ in range(200):
        arrays = [work(k, 8 * int(rng.integers(30)), int(rng.integers(0, 6))) for k in range(7)]
        expected = {
            a.number
            for a in arrays
            for b in arrays
            if a is not b
            and max(a.offset, b.offset) < min(a.offset + a.nbytes, b.offset + b.nbytes)
        }
        assert _shared(arrays) == expected


def test_loops_over_one_axis_wait_for_each_other(monkeypatch):
    """What depends on nothing else may come early in the graph; it shares the later loop."""
    rng = np.random.default_rng(0)
    args = rng.normal(size=(9, 4)), rng.normal(size=(500, 3)), rng.integers(0, 9, 500)

    def f(cameras, points, index):
        x = points - cameras[index][:, :3]
        return x, x * np.sin(np.exp(cameras[:, 3]))[index][:, None]

    graph = sg.trace(f, *args).simplify()

    def loops():
        outs = share(graph.lowered_outs())
        body = lower(graph.args, outs, ["c", "p", "i"], ["x", "y"]).body
        every = [s for s in body if isinstance(s, Loop) and s.extent == 500]
        return [s for s in every if not all(isinstance(t, Check) for t in s.body)]

    assert len(loops()) == 1
    for got, expected in zip(Compiled(graph)(*args), f(*args), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-14)
    monkeypatch.setattr(schedule.Scheduler, "_put_off", lambda self, groups: None)
    assert len(loops()) == 2
