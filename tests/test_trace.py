"""Recording: indexing and in-place changes against NumPy, traces that nest and end, names and sites."""

# ruff: noqa: E501 (tables of constructs, one per entry)

from __future__ import annotations

import copy
import functools
import threading
import time
from typing import Any

import numpy as np
import pytest

from symgrad.errors import (
    DtypeError,
    MutationError,
    MutationWarning,
    OutOfRangeError,
    ShapeError,
    StructureError,
    TraceError,
    UnsupportedError,
)
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import arg
from symgrad.expr.walk import substitute, toposort
from symgrad.trace import ScalarTracer, Tracer, as_expr, function_name, record, wrap
from symgrad.trace.scipy_api import take

RNG = np.random.default_rng(1)
A = RNG.normal(size=(4, 5))
T3 = RNG.normal(size=(3, 4, 5))
V = RNG.normal(size=6)


def traced(f: Any, *values: Any) -> Any:
    nodes = [arg(i, np.shape(v), np.asarray(v).dtype.name) for i, v in enumerate(values)]
    outs, treedef = record(f, tuple(Tracer(n) for n in nodes), {})
    check(outs)
    arrays = {n: np.asarray(v) for n, v in zip(nodes, values, strict=True)}
    return treedef.unflatten(evaluate(outs, arrays))


def compare(f: Any, *values: Any) -> None:
    got = traced(f, *values)
    wanted = f(*[copy.deepcopy(v) for v in values])
    for g, w in zip(*[v if isinstance(v, tuple) else (v,) for v in (got, wanted)], strict=True):
        assert g.shape == np.shape(w)
        assert g.dtype == np.asarray(w).dtype
        np.testing.assert_allclose(g, w, rtol=1e-14)


S = np.s_
INDICES = [
    S[0], S[-1], S[1, 2], S[1:3], S[::-1], S[::2, ::-2], S[3:0:-1], S[3:0], S[..., 1], S[None], S[:, None, 1],
    S[...], S[1:, ..., None], S[()], S[-3:, -2:], S[10:], S[:-1, 1:], S[::-3], S[3::-1, 4::-2],
    S[[0, 2]], S[[0, -1, 0]], S[[[0, 1], [2, 3]]], S[:, [1, 0]], S[[0, 1], [2, 3]], S[[[0], [1]], [2, 3]],
    S[[0, 1], None, [2, 3]], S[1, [2, 3]], S[[2, 3], 1], S[None, [0, 1]], S[::2, [1, 1]], S[[], :],
    S[np.array([0, 1], np.uint8)], S[np.array(2)], S[np.int64(1), np.array([0, 3])],
    S[A[:, 0] > 0], S[A > 0], S[:, A[0] > 0], S[A[:, 0] > 0, 1], S[[True, False, True, True]], S[np.zeros((4, 5), bool)],
]  # fmt: skip
INDICES3 = [
    S[0, :, [1, 2]], S[[0, 1], :, [1, 2]], S[:, [0, 1], [1, 2]], S[[0, 1], [1, 2]], S[..., [0, 1]], S[[0, 1], ..., 2],
    S[:, 1, [0, 2]], S[:, None, [0, 1], 2], S[[0, 1], :, None, [1, 2]], S[[[0, 1]], :, [[1], [2]]],
    S[T3[:, :, 0] > 0], S[:, T3[0] > 0], S[T3[:, 0, 0] > -9, :, 2], S[1:, [0, 1], ::-1], S[[0, 1], 1:, [0, 1]],
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(INDICES)))
def test_index(k: int) -> None:
    i = INDICES[k]
    compare(lambda x: x[i], A)
    shape = A[i].shape
    compare(lambda x, y: _changed(x, i, y), A, RNG.normal(size=shape))
    compare(lambda x: _changed(x, i, 7.0), A)
    np.testing.assert_allclose(traced(lambda x: x.at[i].set(3.0), A), _changed(A, i, 3.0))
    added = A.copy()
    np.add.at(added, i, 2.0)
    np.testing.assert_allclose(traced(lambda x: x.at[i].add(2.0), A), added)


def _changed(x: Any, i: Any, y: Any) -> Any:
    z = x.copy()
    z[i] = y
    return z


@pytest.mark.parametrize("k", range(len(INDICES3)))
def test_index_rank_three(k: int) -> None:
    i = INDICES3[k]
    compare(lambda x: x[i], T3)
    compare(lambda x: _changed(x, i, 2.0), T3)


def test_traced_indices() -> None:
    i, j = np.array([2, -1, 0]), np.array([[1], [3]])
    compare(lambda x, i: x[i], A, i)
    compare(lambda x, i: x[:, i], A, i)
    compare(lambda x, i, j: x[i, j], A, i, j)
    compare(lambda x, i, j: x[i, :, j], T3, i, j)
    compare(lambda x, i: x[i, 1:], A, np.int64(-2))
    compare(lambda x, i: x[1, i], A, i.astype(np.int32))
    compare(lambda x, i: x[np.argmax(x[:, 0])] + x[i, i].sum(), A, i)
    added = A.copy()
    np.add.at(added, (i, i), 1.0)
    np.testing.assert_allclose(traced(lambda x, i: x.at[i, i].add(1.0), A, i), added)
    np.testing.assert_allclose(traced(lambda i: take(V, i), i), V[i])
    with pytest.raises(IndexError):
        traced(lambda x, i, j: x[i, j], A, np.array([0]), np.array([7]))  # never another element


@pytest.mark.parametrize(
    "i", [4, -5, S[:, 5], S[[0, 4]], S[0, 0, 0], S[[-5]], S[..., ...], S[np.ones((3, 5), bool)]]
)
def test_index_out_of_range(i: Any) -> None:
    with pytest.raises(IndexError):
        A[i]
    with pytest.raises(OutOfRangeError, match="test_trace.py"):
        traced(lambda x: x[i], A)


def test_iteration_and_unpacking() -> None:
    compare(lambda x: sum(row[0] * row for row in x), A)

    def unpack(v: Any) -> Any:
        a, b, *rest = v
        return a * b + len(rest) + len(v)

    compare(unpack, V)
    compare(lambda x: np.stack([r.sum() for r in reversed(x)]), A)


# ---- in-place changes ----------------------------------------------------------------------------


def _alias(x: Any) -> Any:
    y = x * 1.0
    z = y
    z *= 2
    y += 1
    return y, z


def _fill(x: Any) -> Any:
    z = np.zeros_like(x)
    z[0] = x[1] * 2
    z[1:] += 3
    z[2, 1] = 7
    z[:, 3] -= x[:, 0]
    z[::2] *= 2
    z[::-1][0] = 5.0
    return z


def _recurrence(x: Any) -> Any:
    z = np.zeros_like(x)
    z[0] = x[0]
    for i in range(1, len(x)):
        z[i] = 0.5 * z[i - 1] + x[i]
    return z


def _views(x: Any) -> Any:
    z = x.copy()
    row = z[1]
    row += 1  # seen by z
    z[1, 0] = 9  # seen by row
    t = z.T
    t[0, 0] = -1
    flat = z[0][None, :]
    flat[0, 1:3] = 4
    z[2] = z[3]
    z[1:] = z[:-1]  # overlapping
    return z, row * 1.0, t * 1.0


def _rows(x: Any) -> Any:
    z = np.ones_like(x)
    for row in z:
        row *= x[0]
        row[1:] -= row[:-1]
    return z


def _reshaped(v: Any) -> Any:
    z = v.copy()
    m = z.reshape(2, 3)
    m[0] = 1.0
    z[5] = 2.0
    return z, m * 1.0


def _inner_views(x: Any) -> Any:
    z = x.copy()
    left, right = np.split(z, [2], axis=1)
    left[...] = 0.0
    z[0] += 1
    np.flip(z)[0, 0] = 3.0
    return z, right + 0.0, left + 0.0


def _masked(x: Any) -> Any:
    z = x.copy()
    z[z < 0] = 0.0
    z[x[:, 0] > 0] = 2
    z[A > 1] = 5
    return z


def _repeats(x: Any) -> Any:
    z = x.copy()
    z[[0, 0, 1]] = np.stack([x[1], x[2], x[3]])
    z[[0, 0]] += 1
    z[[1, 2], [0, 3]] *= 2
    return z


def _scalars(x: Any) -> Any:
    s = x[0, 0]
    t = s
    s += 1
    s *= 2
    return s, t


def _outs(x: Any) -> Any:
    y = x + 0.0
    np.multiply(y, 2, out=y)
    np.add(x, y, out=y)
    z = np.zeros((4, 5))
    z += x
    z -= 1
    return y, z


def _integers(i: Any) -> Any:
    z = i * 1
    z += 2
    z[0] = 9
    z[1] = 2.7
    z //= 2
    z **= 2
    return z


@pytest.mark.parametrize(
    "f",
    [_alias, _fill, _recurrence, _views, _rows, _inner_views, _masked, _repeats, _scalars, _outs],
)
def test_in_place(f: Any) -> None:
    compare(f, A)


def test_in_place_more() -> None:
    compare(_reshaped, V)
    compare(_integers, np.arange(5))
    compare(_fill, A.astype(np.float32))
    compare(_fill, A[:, :4])


def test_filling_leaves_no_trace_of_the_loop() -> None:
    def f(x: Any) -> Any:
        z = np.zeros_like(x)
        for i in range(len(x)):
            z[i] = x[i] * i
        return z

    node = arg(0, (40,), "float64")
    outs, _ = record(f, (Tracer(node),), {})
    assert outs[0].op.name == "multiply"
    assert {n.op.name for n in toposort(outs)} == {"arg", "iota", "convert", "multiply"}


ARGUMENT = [
    lambda x: x.__iadd__(1),
    lambda x: x.__setitem__(0, 1.0),
    lambda x: x[1:].__imul__(2),
    lambda x: x.T.__setitem__(0, 1.0),
    lambda x: np.add(x, 1, out=x),
    lambda x: np.copyto(x, 1.0),
    lambda x: np.add.at(x, 0, 1.0),
]


@pytest.mark.parametrize("k", range(len(ARGUMENT)))
def test_a_changed_argument_is_followed_inside(k: int) -> None:
    def f(x: Any) -> Any:
        y = x
        ARGUMENT[k](x)
        return y * 1.0

    given = A.copy()
    with pytest.warns(MutationWarning, match="caller"):
        got = traced(f, given)
    np.testing.assert_array_equal(given, A)
    np.testing.assert_array_equal(got, f(given))


REFUSED = [
    lambda x: x.ravel().__setitem__(0, 1.0),
    lambda x: np.broadcast_to(x * 1.0, (2, 4, 5)).__setitem__(0, 1.0),
    lambda x: (x * 1.0).diagonal().__setitem__(0, 1.0),
    lambda x: np.multiply(x, 2, out=A),
    lambda x: A.__setitem__(0, x[0]),
]


@pytest.mark.parametrize("k", range(len(REFUSED)))
def test_refused_changes(k: int) -> None:
    with pytest.raises(MutationError, match=r"test_trace.py:\d+: ") as info:
        traced(REFUSED[k], A)
    assert isinstance(info.value, ValueError)


def test_reshape_that_numpy_may_copy_is_refused() -> None:
    def f(x: Any) -> Any:
        z = x.T + 0.0
        flat = z.reshape(-1)
        flat[0] = 1.0
        return z

    def dropped(x: Any) -> Any:
        flat = (x.T + 0.0).reshape(-1)
        flat[0] = 1.0
        return flat

    with pytest.raises(MutationError, match="memory layout"):
        traced(f, A)
    compare(dropped, A)


def test_in_place_dtype_and_shape_rules() -> None:
    def widen(i: Any) -> Any:
        z = i * 1
        z += 0.5
        return z

    def grow(v: Any) -> Any:
        z = v * 1
        z += A[:, :1]
        return z

    with pytest.raises(DtypeError):
        traced(widen, np.arange(3))
    with pytest.raises(ShapeError):
        traced(grow, V)
    with pytest.raises(ShapeError):
        traced(lambda x: _changed(x, 0, V), A)


# ---- traces --------------------------------------------------------------------------------------


def test_leaked_tracer_is_refused() -> None:
    kept: list[Any] = []
    record(lambda x: kept.append(x * 2), (Tracer(arg(0, (3,), "float64")),), {})
    for use in (
        lambda y: y + 1, lambda y: 1 + y, lambda y: y[0], lambda y: np.sin(y), lambda y: y.sum(),
        lambda y: np.stack([y, y]), lambda y: y @ y, lambda y: as_expr(y), lambda y: y * y,
    ):  # fmt: skip
        with pytest.raises(TraceError, match="after that trace has ended"):
            use(kept[0])
    repr(kept[0])


def test_traces_nest() -> None:
    def outer(x: Any) -> Any:
        y = x * 2

        def inner(z: Any) -> Any:
            return z * y + x

        variable = arg(0, (), "float64")
        outs, _ = record(inner, (Tracer(variable, is_argument=True),), {})
        return wrap(substitute(outs, {variable: as_expr(y)})[0]) + y

    got = traced(outer, 2.0)
    assert got == 4.0 * 4.0 + 2.0 + 4.0


def test_inner_function_cannot_change_outer_arrays() -> None:
    def outer(x: Any) -> Any:
        z = np.zeros_like(x)

        def inner(y: Any) -> Any:
            z[0] = y
            return y

        record(inner, (Tracer(arg(0, (), "float64")),), {})
        return z

    with pytest.raises(MutationError, match="made outside"):
        traced(outer, V)


def test_swallowed_error_is_raised_at_the_end() -> None:
    def f(x: Any) -> Any:
        try:
            return complex(x)
        except TypeError:
            return x * 0

    with pytest.raises(TraceError, match="complex"):
        traced(f, 1.0)


def test_threads_trace_independently() -> None:
    results: list[Any] = [None] * 8

    def work(k: int) -> None:
        results[k] = traced(lambda x: np.sin(x) * k + sum(x), V)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k, r in enumerate(results):
        np.testing.assert_allclose(r, np.sin(V) * k + sum(V))


def test_outputs() -> None:
    node = arg(0, (2,), "float64")
    constant = np.ones(3)

    def f(x: Any) -> Any:
        return {"a": x, "b": [1.0, True, np.float32(2)], "c": constant, "d": None}

    outs, treedef = record(f, (Tracer(node),), {})
    constant[:] = 5
    values = evaluate(outs, {node: np.zeros(2)})
    assert treedef.unflatten(values)["c"].tolist() == [1, 1, 1]
    objects = np.empty(2, object)

    def g(x: Any) -> Any:
        objects[0], objects[1] = x[1], 2.0
        return objects

    assert traced(g, np.array([1.0, 3.0])).tolist() == [3.0, 2.0]
    for bad in ("text", b"x", object(), 1j, np.array(["a"])):
        with pytest.raises((StructureError, DtypeError)):
            traced(lambda x, bad=bad: bad, V)


def test_function_names() -> None:
    class Model:
        def __call__(self, x: Any) -> Any:
            return x

    assert function_name(traced) == "traced"
    assert function_name(lambda x: x) == "function"
    assert function_name(functools.partial(traced, 1)) == "traced"
    assert function_name(Model()) == "Model"
    assert function_name(np.sin) == "sin"


def test_sites() -> None:
    def f(x: Any) -> Any:
        y = np.sin(x) * 3.25
        return y.std() + 17.125

    outs, _ = record(f, (Tracer(arg(0, (3,), "float64")),), {})
    first = f.__code__.co_firstlineno
    by_name = {n.op.name: n.site for n in toposort(outs) if n.site}
    assert by_name["sin"] == (__file__, first + 1)
    assert by_name["norm"] == (__file__, first + 2)
    assert by_name["sum"] == (__file__, first + 2)


def test_errors_of_rows_name_the_line() -> None:
    with pytest.raises(ShapeError, match=r"test_trace.py:\d+: "):
        traced(lambda x: x + V, A)
    with pytest.raises(ShapeError, match=r"test_trace.py:\d+: "):
        traced(lambda x: x @ x, A)
    with pytest.raises(ShapeError, match=r"test_trace.py:\d+: "):
        traced(lambda x: x.reshape(3, 3), A)


def test_unknown_function_lists_near_names() -> None:
    with pytest.raises(
        UnsupportedError, match=r"test_trace.py:\d+: np.linalg.svd is not supported"
    ):
        traced(lambda x: np.linalg.svd(x), A)
    with pytest.raises(UnsupportedError, match="nanmean|median"):
        traced(lambda x: np.nanmedian(x), A)
    with pytest.raises(UnsupportedError, match="option casting"):
        traced(lambda x: np.concatenate([x, x], casting="no"), A)
    compare(lambda x: np.sum(x, out=np.zeros(5), axis=0), A)
    with pytest.raises(UnsupportedError):
        traced(lambda x: np.sum(x, where=A > 0), A)


def test_handles() -> None:
    def f(x: Any) -> Any:
        y, z = copy.copy(x), copy.deepcopy(x)
        y[0], z[1] = 1.0, 2.0
        assert copy.copy(x[0, 0]) is not None
        assert hash(x) == hash(x)
        assert (x == None) is False  # noqa: E711
        assert (x != None) is True  # noqa: E711
        assert "float64[4, 5]" in f"{x!r} {x:.3f} {x}"
        assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((4, 5), 2, 20, np.float64, 4)
        assert isinstance(x[0, 0], ScalarTracer)
        assert not hasattr(x[0, 0], "__len__")
        assert np.shape(x) == (4, 5)
        assert not np.may_share_memory(x, x + 1)
        assert np.shares_memory(x, x[1:])
        return x

    traced(f, A)
    compare(lambda x: round(x) + abs(-x) + divmod(x, 2)[1] + (+x), np.float64(2.6))
    compare(lambda x: pow(x, 2) + x.conj(), np.float64(2.6))


def test_captured_arrays_are_copied() -> None:
    c = np.ones(6)
    node = arg(0, (6,), "float64")
    outs, _ = record(lambda x: x * c, (Tracer(node),), {})
    c[:] = 9
    np.testing.assert_array_equal(evaluate(outs, {node: V})[0], V)
    big_endian = np.arange(6.0).astype(">f8")
    compare(lambda x: x * big_endian, V)


def test_unsupported_dtypes() -> None:
    for value in (
        1j,
        np.ones(6, np.complex128),
        np.ones(6, np.float16),
        np.ones(6, np.int8),
        np.array(["a"] * 6),
    ):
        with pytest.raises(TypeError):
            traced(lambda x, value=value: x * value, V)
    for value in (np.ma.masked_array(np.ones(6)), np.ones(6).view(np.recarray)):
        with pytest.raises(TraceError):
            traced(lambda x, value=value: x * value, V)
    with pytest.raises(DtypeError):
        traced(lambda x: x.astype(complex), V)


def test_foreign_arrays_may_take_over() -> None:
    class Box:
        __array_ufunc__ = None

        def __rmul__(self, other: Any) -> str:
            return "box"

    seen = []
    record(lambda x: seen.append(x * Box()), (Tracer(arg(0, (), "float64")),), {})
    assert seen == ["box"]


def test_long_chain_is_traced_quickly() -> None:
    def chain(y: Any) -> Any:
        for _ in range(33_000):
            y = np.sin(y) * 1.0001 + 0.1
        return y

    start = time.process_time()
    record(chain, (Tracer(arg(0, (5,), "float64")),), {})
    assert time.process_time() - start < 5.0  # 1.2 s on the machine this was written on


def test_column_major_order_is_refused() -> None:
    for f in (
        lambda x: x.reshape(5, 4, order="F"),
        lambda x: np.reshape(x, (5, 4), "F"),
        lambda x: x.ravel(order="K"),
        lambda x: x.flatten("F"),
    ):
        with pytest.raises(UnsupportedError, match="order"):
            traced(f, A)
    compare(lambda x: x.ravel(order="C") + x.astype(float, copy=False).reshape(-1, order="C"), A)
