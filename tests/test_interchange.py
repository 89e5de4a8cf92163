"""Arrays of other libraries as arguments and captured, by the protocols that they share with NumPy.

JAX stands for the libraries; pandas, Polars and PyTorch are asked where they are installed.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad import interchange
from symgrad.errors import (
    DifferentiationError,
    DtypeError,
    MutationError,
    ShapeError,
    StructureError,
    UnsupportedError,
)


class Column:
    """``__array__``, as data frames have it."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


class OnlyPacked:
    """DLPack and nothing else."""

    device = (1, 0)

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


class Bytes:
    """``__array_interface__`` of memory that Python keeps, as images have it."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        v = self.values
        return {"shape": v.shape, "typestr": v.dtype.str, "data": v.tobytes(), "version": 3}


def of_jax(values: Any) -> Any:
    import jax

    with jax.enable_x64(True):
        return jax.numpy.asarray(np.asarray(values))


def of(package: str, make: str) -> Any:
    def made(values: Any) -> Any:
        return functools.reduce(getattr, make.split("."), pytest.importorskip(package))(values)

    made.__name__ = package
    return made


def of_torch(values: Any) -> Any:
    return pytest.importorskip("torch").from_numpy(np.array(values))


MAKERS = [
    Column, OnlyPacked, Bytes, of_jax, of("pandas", "Series"), of("polars", "Series"), of_torch,
]  # fmt: skip
X, Y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.5, 1.0])


def loss(w: Any, x: Any, y: Any) -> Any:
    return np.sum((w * x - y) ** 2)


def slope(w: float) -> Any:
    return np.sum(2 * (w * X - Y) * X)


def identical(got: Any, want: Any) -> None:
    assert isinstance(got, np.ndarray) == isinstance(want, np.ndarray)
    np.testing.assert_allclose(got, want, rtol=1e-14)


@pytest.fixture(scope="module")
def derived() -> Any:
    """Compiled once for all makers: what they give must not be told from NumPy's arrays."""
    return sg.grad(loss), sg.grad(loss, argnums=1), sg.compile(loss, 1.5, X, Y)


@pytest.mark.parametrize("make", MAKERS, ids=lambda m: m.__name__)
def test_arguments(make: Any, derived: Any) -> None:
    x, y = make(X), make(Y)
    by_w, by_x, compiled = derived
    identical(by_w(1.5, x, y), slope(1.5))
    identical(by_x(1.5, x, y=y), 2 * (1.5 * X - Y) * 1.5)
    identical(compiled(2.5, x, y), loss(2.5, X, Y))
    assert len(by_w.compiled) == 1
    assert sg.trace(loss, 1.5, x, {"y": Y}["y"]).evaluate(1.5, x, y) == loss(1.5, X, Y)
    assert "frozen" not in str(sg.trace(loss, 1.5, x, y))


@pytest.mark.parametrize("make", MAKERS, ids=lambda m: m.__name__)
def test_captured(make: Any) -> None:
    """In any place of an operator, and in calls of NumPy's functions."""
    x, y = make(X), make(Y)
    for f in (
        lambda w: np.sum((w * x - y) ** 2),
        lambda w: np.sum((np.multiply(x, w) - y) ** 2),
        lambda w: np.sum(np.square(np.subtract(y, x * w))),
        lambda w: np.dot(w * x - y, w * x - y),
        lambda w: np.where(x < w * 1e9, np.square(y - w * x), 0.0).sum(),
    ):
        identical(sg.trace(sg.grad(f), 1.0).evaluate(0.7), slope(0.7))


@pytest.mark.parametrize("make", MAKERS, ids=lambda m: m.__name__)
def test_captured_ones_are_read_at_each_call(make: Any) -> None:
    values = X.copy()
    x = make(values)
    numbers = getattr(x, "values", None)
    if make is of_torch:
        numbers = x.numpy()
    if not isinstance(numbers, np.ndarray) or not numbers.flags.writeable:
        pytest.skip("cannot be changed in place")
    g = sg.grad(lambda w: np.sum(w * x))
    assert g(1.0) == np.sum(X)
    numbers[0] = 10.0
    assert g(1.0) == np.sum(X) + 9


def test_no_copy_is_made() -> None:
    """The memory that C reads is the library's own."""
    values = np.arange(6.0)
    for value in (Column(values), OnlyPacked(values)):
        found = interchange.plain(value, "x")
        assert found.ctypes.data == values.ctypes.data


def test_other_transformations() -> None:
    x = Column(X)
    matrix = Column(np.outer(X, Y))
    f = lambda v: np.sum(v**3)  # noqa: E731
    identical(sg.trace(sg.hessian(f), x).evaluate(x), np.diag(6 * X))
    identical(sg.trace(sg.vmap(f), matrix).evaluate(matrix), np.sum(np.outer(X, Y) ** 3, axis=1))
    value, tangent = sg.jvp(f, (x,), (Column(Y),))
    identical(value, np.sum(X**3))
    identical(tangent, np.sum(3 * X**2 * Y))
    identical(sg.hvp(f, x, Column(Y)), 6 * X * Y)
    inner = sg.trace(lambda w: w * np.sum(sg.grad(f)(x)), 1.0)
    assert inner.evaluate(2.0) == 2 * np.sum(3 * X**2)
    identical(sg.sparse_hessian(f)(x).toarray(), np.diag(6 * X))


def test_nested_and_static() -> None:
    def f(p: Any, n: Any) -> Any:
        return np.sum(p["a"] * p["b"][0]) * sum(1.0 for _ in range(n[0]))

    p = {"a": Column(X), "b": [OnlyPacked(Y)]}
    graph = sg.trace(f, p, np.array([3]))
    assert graph.evaluate(p, Column([3])) == 3 * np.sum(X * Y)
    with pytest.raises(StructureError, match="traced with"):
        graph.evaluate(p, Column([4]))


def test_types_are_checked() -> None:
    compiled = sg.compile(lambda x: 2 * x, sg.f64[3])
    with pytest.raises(DtypeError, match=r"float64 array of shape \(3,\), got float32"):
        compiled(Column(X.astype("f4")))
    with pytest.raises(ShapeError, match=r"got shape \(2,\)"):
        compiled(Column(X[:2]))
    with pytest.raises(StructureError, match="expected a NumPy array"):
        compiled(X, out=Column(X))
    with pytest.raises(DtypeError, match="datetime"):
        sg.grad(np.sum)(Column(np.array(["2020-01-01"], "M8[D]")))
    with pytest.raises((DtypeError, DifferentiationError), match="int64"):
        sg.grad(lambda x: np.sum(x))(Column([1, 2]))


class OnDevice(OnlyPacked):
    device = (2, 0)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise AssertionError("a copy that nobody sees")


class OfCuda(Column):
    __cuda_array_interface__: dict[str, Any] = {}


class Quantity(Column):
    units = "metre"


class Wanted(Column):
    requires_grad = True

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


class Address:
    """Claims six numbers at an address that no process has."""

    __array_interface__ = {"shape": (6,), "typestr": "<f8", "data": (64, False), "version": 3}


class Meaning(Column):
    """A class of the user's with products of its own."""

    def __mul__(self, other: Any) -> Any:
        return 2 * self.values * other

    __rmul__ = __mul__


@pytest.mark.parametrize(
    "value, told",
    [
        (OnDevice(X), r"copy it there before the call: x\.cpu\(\)"),
        (OfCuda(X), r"copy it there before the call: x\.cpu\(\)"),
        (Quantity(X), "units would be lost"),
        (Wanted(X), r"pass x\.detach\(\)"),
        (Address(), "a bare address"),
        (Column(np.array([1.0, None])), r"no numbers of one type.*to_numpy\(float\)"),
        (Meaning(X), r"pass np\.asarray\(x\)"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_refused(value: Any, told: str) -> None:
    def f(x: Any) -> Any:
        return np.sum(x * x)

    for call in (sg.grad(f), sg.jit(f), functools.partial(sg.trace, f)):
        with pytest.raises(StructureError, match=f"argument x: .*{told}"):
            call(value)
    if type(value) is not Meaning:
        with pytest.raises(StructureError, match=told):
            sg.compile(f, sg.f64[3])(value)
        with pytest.raises(UnsupportedError, match=told):
            sg.trace(lambda w: np.sum(w * value), 1.0)


def test_operators_of_users_classes_are_called() -> None:
    value = Meaning(X)
    for f in (lambda w: np.sum(w * value), lambda w: np.sum(value * w)):
        assert sg.trace(f, 1.0).evaluate(3.0) == f(3.0) == 6 * np.sum(X)


def test_captured_ones_are_not_changed() -> None:
    box = {"x": of_jax(X), "c": Column(X)}

    def f(w: Any) -> Any:
        box["c"] += w
        return np.sum(box["c"])

    with pytest.raises(MutationError, match="outlives"):
        sg.trace(f, 1.0)


def test_inside_a_trace_of_jax() -> None:
    import jax

    with pytest.raises(StructureError, match="pure_callback"):
        jax.jit(sg.grad(lambda x: np.sum(x * x)))(np.ones(2, "f4"))


def test_tables() -> None:
    """Labels are read by plain code of a traced function, so they are captured as well."""
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"x": X, "y": Y}, index=["a", "b", "c"])

    def f(w: Any) -> Any:
        return w * table["x"]["b"] + w * table.loc[table["y"] > 0.6, "x"].mean()

    g = sg.grad(f)
    assert g(1.0) == 2.0 + 2.0
    table.index = ["b", "a", "c"]
    assert g(1.0) == 1.0 + 2.0
    table.loc["c", "x"] = 9.0
    assert g(1.0) == 1.0 + 5.0
    table.columns = ["y", "x"]
    assert g(1.0) == 2.0 + 3.5 / 3
    identical(sg.trace(sg.grad(lambda t: np.sum(t**2)), table).evaluate(table), 2 * table.values)
    missing = pandas.Series([1.0, None], dtype="Float64")
    assert np.isnan(sg.trace(lambda x: np.sum(x), missing).evaluate(missing))
    with pytest.raises(StructureError, match="pandas.DataFrame whose elements"):
        sg.jit(loss)(1.0, pandas.DataFrame({"a": [1.0], "b": ["text"]}), Y)
