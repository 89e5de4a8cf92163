"""The node, its table and the traversals; the traps that give wrong numbers quietly."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import symgrad as sg
from symgrad.diff.modes import vjp
from symgrad.errors import ShapeError, SymgradError
from symgrad.expr import node as node_module
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import Expr, arg, array, bind, const, const_value, eye, is_const
from symgrad.expr.walk import substitute, toposort, transform
from symgrad.ops.elementwise import exp, sin
from symgrad.ops.linear import broadcast, sum_


def test_constants_are_keyed_by_dtype_and_bits():
    assert const(0.0) is const(0.0)
    assert const(0.0) is not const(-0.0)
    assert const(1.0) is not const(1, "int64")
    assert const(1, "int64") is not const(1, "int32")
    assert const(True, "bool") is not const(1, "int64")
    assert const(np.nan) is const(np.nan)
    assert const(1.0) is not const(1.0, "float64", (2,))
    assert np.signbit(const_value(const(-0.0)))


def test_captured_arrays_are_keyed_by_bits_and_copied():
    a = np.array([1.0, 2.0])
    node = array(a)
    assert array(a.copy()) is node
    assert array(a.astype(np.float32)) is not node
    assert array(np.array([0.0])) is not array(np.array([-0.0]))
    a[0] = 5
    assert node.attrs[0].array[0] == 1.0
    with pytest.raises(ValueError):
        node.attrs[0].array[0] = 3


def test_arguments_are_fresh_in_every_trace():
    assert arg(0, (), "float64", "x") is not arg(0, (), "float64", "x")


def test_no_perturbation_confusion():
    inner = sg.grad(lambda x: x * sg.grad(lambda y: x + y)(x))
    assert inner(3.0) == 1.0


def test_attributes_cannot_collide_with_parameters():
    x = arg(0, (2, 3), "float64")
    assert sum_(x, (0,)).attr("axes") == (0,)


def test_source_lines_are_not_identity():
    x = arg(0, (), "float64")
    first = sin(x)
    first.site = ("a.py", 1)
    assert sin(x) is first and sin(x).site == ("a.py", 1)


def test_equal_nodes_are_one_object_whatever_the_order():
    x, y = arg(0, (), "float64"), arg(1, (), "float64")
    assert x + y is y + x
    assert x - y is not y - x
    assert (x + y) * sin(x) is sin(x) * (y + x)


def test_identities_keep_the_sign_of_zero():
    x = arg(0, (), "float64")
    assert x + const(-0.0) is x
    assert x + const(0.0) is not x
    assert x * 1.0 is x
    assert x - const(0.0) is x
    assert not is_const(x * 0.0) and not is_const(x - x) and not is_const(x / x)
    assert sg.jit(lambda x: x + 0.0)(-0.0) == 0.0
    assert not np.signbit(sg.jit(lambda x: x + 0.0)(-0.0))


def test_constant_folding_uses_the_reference_semantics():
    assert const_value(exp(const(1.0))) == np.exp(1.0)
    assert np.isnan(const_value(bind("log", const(-1.0))))
    assert const_value(const(2**31 - 1, "int32") + const(1, "int32")) == -(2**31)


def test_table_is_weak():
    gc.collect()
    arg(0, (), "float64")  # dead entries are dropped by the next new node
    before = len(node_module._TABLE)
    x = arg(0, (), "float64")
    y = x
    for _ in range(1000):
        y = sin(y)
    assert len(node_module._TABLE) >= before + 1000
    del x, y
    gc.collect()
    arg(0, (), "float64")
    assert len(node_module._TABLE) <= before + 10


def test_a_dead_node_is_made_anew():
    """Also while its entry is still in the table, and without the old entry taking the new away."""
    x = arg(0, (), "float64")
    for _ in range(3):
        y = sin(x)
        del y
        new = sin(x)
        arg(0, (), "float64")
        assert sin(x) is new


def test_threads_share_one_table():
    x = arg(0, (), "float64")
    seen: list[Expr] = []

    def work():
        y = x
        for k in range(200):
            y = sin(y) + float(k)
        seen.append(y)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 8 and len(set(seen)) == 1


@pytest.mark.slow
def test_deep_graphs_need_no_recursion():
    limit = sys.getrecursionlimit()
    x = arg(0, (), "float64")
    y = x
    for _ in range(30_000):
        y = sin(y)
    assert len(toposort([y])) == 30_001
    (gradient,) = vjp([y], [x], [const(1.0)])
    assert evaluate([gradient], {x: np.array(0.5)})[0] > 0
    check([gradient])
    z = substitute([y], {x: x + 1.0})[0]
    assert copy.deepcopy(z) is z
    del y, z, gradient
    gc.collect()
    assert sys.getrecursionlimit() == limit


@pytest.mark.slow
def test_graph_pickles_flat_and_deep():
    def chain(x):
        for _ in range(20_000):
            x = np.sin(x) + 0.1
        return x

    graph = sg.trace(chain, sg.f64)
    assert pickle.loads(pickle.dumps(graph)).evaluate(0.3) == graph.evaluate(0.3)
    with pytest.raises(TypeError):
        pickle.dumps(graph.outs[0])


def test_check_finds_broken_nodes():
    x = arg(0, (2,), "float64")
    y = sin(x)
    check([y])
    broken = Expr.__new__(Expr)
    broken.op, broken.args, broken.attrs = y.op, (x,), ()
    broken.shape, broken.dtype, broken.order, broken.site = (3,), "float64", 0, None
    with pytest.raises(SymgradError):
        check([broken])


def test_shapes_are_checked_when_bound():
    with pytest.raises(ShapeError):
        arg(0, (2,), "float64") + arg(1, (3,), "float64")
    with pytest.raises(ShapeError):
        broadcast(arg(0, (2,), "float64"), (3, 3), (0,))


def test_transform_visits_once():
    x = arg(0, (), "float64")
    y = sin(x)
    count = []

    def rule(node, args):
        count.append(node)
        return node if not args else bind(node.op, *args, attrs=node.attrs)

    transform([y + y * y], rule)
    assert len(count) == len(set(count))


def test_eye_is_a_source():
    assert eye(3) is eye(3) and eye(3, "float32") is not eye(3)


SCRIPT = """
import numpy as np, symgrad as sg
{before}
def f(p, X):
    z = X @ p["w"] + p["b"]
    return np.sum(np.log(1 + np.exp(-z)) * np.tanh(z) + 2.5 * z) + np.sum(p["w"] ** 2)
example = {{"w": sg.f64[3], "b": sg.f64}}
print(sg.compile(sg.value_and_grad(f), example, sg.f64[5, 3]).c_source)
"""


@pytest.mark.slow
def test_generated_text_is_the_same_in_every_process(tmp_path):
    texts = set()
    other = "keep = sg.trace(lambda x: np.tanh(x) * 2.5 + np.exp(-x), sg.f64[5])"
    for seed, before in (("0", ""), ("1", ""), ("77", other)):
        cache = str(tmp_path / "c")
        environment = {**os.environ, "PYTHONHASHSEED": seed, "SYMGRAD_CACHE_DIR": cache}
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT.format(before=before)],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        texts.add(result.stdout)
    assert len(texts) == 1
