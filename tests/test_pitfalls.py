"""Python and NumPy constructs that trip tracers: each is right or a clear error at the user's line.

An error is clear if it is one of ours of the stated class, starts with this file and the line of the
construct, and says what to write instead. Nothing may be silently wrong.
"""

# ruff: noqa: E501 (tables of constructs, one per entry)

from __future__ import annotations

import inspect
import math
import operator
from typing import Any

import numpy as np
import pytest

from symgrad.errors import (
    ConcretizationError,
    DtypeError,
    MutationError,
    OutOfRangeError,
    ShapeError,
    SymgradError,
    TraceError,
    UnsupportedError,
)
from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import arg
from symgrad.trace import Tracer, record

X = np.array([0.7, -1.3, 2.1])
S = 0.7
Z = np.array([1.0, 2.0, 3.0])


def traced(f: Any, *values: Any) -> Any:
    nodes = [arg(i, np.shape(v), np.asarray(v).dtype.name) for i, v in enumerate(values)]
    outs, treedef = record(f, tuple(Tracer(n) for n in nodes), {})
    check(outs)
    arrays = {n: np.asarray(v) for n, v in zip(nodes, values, strict=True)}
    return treedef.unflatten(evaluate(outs, arrays))


def set_item(s: Any) -> Any:
    z = np.zeros(3)
    z[0] = s
    return z


def add_to_item(s: Any) -> Any:
    z = np.zeros(3)
    z[0] += s
    return z


def set_slice(x: Any) -> Any:
    z = np.zeros(3)
    z[:] = x
    return z


def add_to_slice(x: Any) -> Any:
    z = np.zeros(3)
    z[1:] += x[1:]
    return z


def add_to_plain(x: Any) -> Any:
    z = np.zeros(3)
    z += x
    return z


def branch(s: Any) -> Any:
    if s > 0:
        return s
    return -s


def while_loop(s: Any) -> Any:
    while s > 0.1:
        s = s / 2
    return s


def swallow(s: Any) -> Any:
    try:
        return float(s) * 2
    except Exception:
        return s * 0


def swallow_bool(s: Any) -> Any:
    try:
        if s > 0:
            return s
    except TypeError:
        pass
    return s * 0


def comparison_equal(x: Any) -> Any:
    if x[0] == 0.7:
        return x[0]
    return x[1]


def alias(x: Any) -> Any:
    y = x
    y *= 2
    return x + y


def alias_inside(x: Any) -> Any:
    x = x * 1.0
    y = x
    y *= 2
    return x + y


def rebind_scalar(s: Any) -> Any:
    t = s
    s += 1
    return s * t


def unpack(x: Any) -> Any:
    a, b, c = x
    return a * b + c


def clean_loop(x: Any) -> Any:
    total = 0.0
    for k in range(len(x)):
        total += x[k] ** 2
    return total


def fill_like(x: Any) -> Any:
    z = np.zeros_like(x)
    z[0] = x[1]
    z[1:] += x[:2]
    return z


def in_class(x: Any) -> Any:
    class Model:
        def __init__(self, w: Any) -> None:
            self.w = w

        def __call__(self, v: Any) -> Any:
            return np.tanh(self.w * v).sum()

    return Model(x)(Z)


def in_dict(x: Any) -> Any:
    return {x: 1.0}[x] * x


RIGHT: list[tuple[Any, ...]] = [
    (lambda s: 2 * s, S), (lambda s: np.float64(2) * s, S), (lambda x: Z * x, X), (lambda x: Z @ x, X),
    (lambda x: Z > x, X), (lambda x: abs(x), X), (lambda x: divmod(x, 2.0)[0], X), (lambda s: round(s), S),
    (lambda s: round(s, 2), 0.5432), (lambda s: math.floor(s), S), (lambda s: math.ceil(s), S),
    (lambda s: math.trunc(s), S), (lambda x: x * (2 if np.isscalar(x) else 3), X),
    (lambda x: np.sin(x), X), (lambda x: np.stack([x[0], 1.0]), X), (lambda x: np.hstack([x, 1.0]), X),
    (lambda x: np.concatenate([Z, x]), X), (lambda s: np.block([[s, s], [s, 1.0]]), S),
    (lambda x: np.where(x > 0, 1, 2), X), (lambda s: np.linspace(0, s, 5), S), (lambda x: sum([x[0], x[1]]), X),
    (lambda x: sum(x), X), (lambda x: np.add.reduce(x), X), (lambda x: np.add.accumulate(x), X),
    (lambda x: np.add.outer(x, Z), X), (lambda x: np.zeros_like(x) + x, X), (lambda x: [v * 2 for v in x][1], X),
    (lambda x: np.prod([*x.shape]) * x, X), (lambda x: x[::-1][x.argmax() * 0], X), (add_to_plain, X),
    (alias_inside, X), (rebind_scalar, S), (unpack, X), (clean_loop, X), (fill_like, X), (in_class, X), (in_dict, S),
    (lambda x: max(len(x), 2) * x, X), (lambda x: np.full_like(Z, 2.0) * x, X), (lambda x: x.at[0].set(1.0) if hasattr(x, "at") else np.array([1.0, *x[1:]]), X),
    (lambda x: np.select([x > 1, x > 0], [x, 2 * x], 0.0), X), (lambda x: isinstance(x, float) * x, X),
    (lambda x: operator.itemgetter(1)(x), X), (lambda x: np.multiply(x, 2, out=None), X), (lambda x: x ** np.array(2), X),
    (lambda x: x.item(0) + x[:1].item(), X), (lambda x: sum(x.tolist()), X),
    (lambda x: x[np.array([True, False, True])], X), (lambda x: (x > 0).sum() * x, X), (lambda x: x.mean() ** 2, X),
    (lambda x: np.array(x.shape) * x, X), (lambda x: f"{x}" and x, X), (lambda x: np.maximum(x, 0), X),
    (lambda x: x @ np.eye(3), X), (lambda x: 0 + x - 0, X), (lambda x: (lambda v=x: v * 2)(), X),
]  # fmt: skip

REFUSED_WITH_SOURCE = 25
C, U, M, D = ConcretizationError, UnsupportedError, MutationError, DtypeError
# construct, argument, class, a word that the message must contain; the line is the lambda's own
WRONG: list[tuple[Any, Any, type[Exception], str]] = [
    (lambda s: math.sin(s), S, C, "np.sin"),
    (lambda s: math.sqrt(s), S, C, "np.sin"),
    (lambda s: float(s), S, C, "float"),
    (lambda s: int(s), S, C, "astype"),
    (lambda s: complex(s), S, C, "complex"),
    (lambda s: range(s), 3, C, "integer"),
    (lambda s: [1, 2, 3][s], 1, C, "integer"),
    (lambda s: [0.0] * s, 2, C, "integer"),
    (lambda s: "abc"[s], 1, C, "integer"),
    (lambda s: Z[s], 1, C, "symgrad.take"),
    (lambda x: Z[x], np.array([0, 1]), C, "symgrad.take"),
    (lambda s: 1.0 if s > 0 else 2.0, S, C, "np.where"),
    (lambda s: s > 0 and s < 1, S, C, "np.logical_and"),
    (lambda s: 0 < s < 1, S, C, "np.logical_and"),
    (lambda s: not s, S, C, "np.where"),
    (lambda x: max(x[0], x[1]), X, C, "np.maximum"),
    (lambda x: min(x), X, C, "np.minimum"),
    (lambda x: sorted(x), X, C, "np.where"),
    (lambda x: 0.7 in x, X, C, "np.where"),
    (lambda s: np.array([s, 1.0]), S, C, "np.stack"),
    (lambda x: np.array([x, x]), X, C, "np.stack"),
    (lambda x: np.asarray(x), X, C, "left out"),
    (lambda s: np.asarray(s), S, C, "left out"),
    (lambda x: np.array(x, dtype=float), X, C, "np.stack"),
    (lambda s: np.array([[s], [s]], dtype=float), S, C, "np.s"),
    (lambda s: np.full(3, s), S, C, "np.s"),
    (lambda s: np.full_like(Z, s), S, M, "np.copyto"),
    (lambda s: np.arange(s), 3.0, C, ""),
    (lambda x: np.sum([x[0], x[1]]), X, C, "np.stack"),
    (lambda x: np.max([x[0], x[1]]), X, C, "np.stack"),
    (lambda x: np.mean([x[0], x[1]]), X, C, "np.stack"),
    (lambda x: np.sin([x[0], x[1]]), X, C, "np.stack"),
    (lambda x: np.dot([x[0], x[1]], [1, 2]), X, C, "np.stack"),
    (lambda x: np.linalg.norm([x[0], x[1]]), X, C, "np.stack"),
    (lambda x: np.r_[x[0], x[1]], X, C, "np.stack"),
    (lambda x: np.c_[x, x], X, C, "np.stack"),
    (lambda x: np.concatenate([[x[0]], [x[1]]]), X, C, "np.stack"),
    (lambda x: np.vectorize(math.sin)(x), X, C, "np.stack"),
    (lambda x: np.array([x[0], None], dtype=object) + np.array(x), X, C, "np.stack"),
    (lambda x: np.isscalar(x) or float(x[0]), X, C, "float"),
    (lambda x: x[x > 0], X, C, "np.where"),
    (lambda x: x[x[0]], X, D, "integers"),
    (lambda x: x[3], X, OutOfRangeError, "out of bounds"),
    (lambda x: np.nonzero(x), X, U, "np.where"),
    (lambda x: np.where(x > 0), X, U, "np.where(condition, a, b)"),
    (lambda x: np.unique(x), X, U, "size"),
    (lambda x: np.fft.fft(x), X, U, "np.fft.fft"),
    (lambda x: sum(v * v for _, v in np.ndenumerate(x)), X, C, "np.stack"),
    (lambda x: np.frexp(x), X, U, "np.frexp"),
    (lambda x: np.add.at(np.zeros(3), 0, x), X, M, ".at"),
    (lambda x: np.multiply(Z, x, out=np.zeros(3)), X, M, "out="),
    (lambda x: np.random.normal(x), X, C, ""),
    (lambda x: np.random.normal(x[0]), X, C, ""),
    (lambda x: x * 1j, X, D, "complex"),
    (lambda x: x.astype("U3"), X, D, "str"),
    (lambda x: np.sum(x, where=Z > 1), X, U, "where"),
    (lambda x: __import__("pickle").dumps(x), X, U, "pickled"),
    (lambda x: bytes(x[0]), X, C, "integer"),
    (lambda x: math.fsum(x), X, C, "np.sin"),
    (lambda x: any(x > 0), X, C, "np.where"),
    (lambda x: x.reshape(x[0].astype(int), 1), X, C, "integer"),
    (lambda x: np.zeros(x[0].astype(int)), X, C, "integer"),
    (lambda x: np.eye(x[0].astype(int)), X, C, "integer"),
]
FUNCTIONS: list[
    tuple[Any, Any, type[Exception], str, int]
] = [  # …, line of the construct in the function
    (set_item, S, C, "np.zeros_like", 2),
    (add_to_item, S, C, "np.zeros_like", 2),
    (set_slice, X, C, "np.zeros_like", 2),
    (add_to_slice, X, C, "np.zeros_like", 2),
    (branch, S, C, "np.where", 1),
    (while_loop, S, C, "np.where", 1),
    (swallow, S, C, "float", 2),
    (swallow_bool, S, C, "np.where", 2),
    (comparison_equal, X, C, "np.where", 1),
]


@pytest.mark.parametrize("k", range(len(RIGHT)))
def test_right(k: int) -> None:
    f, value = RIGHT[k]
    got = traced(f, value)
    wanted = f(value.copy() if isinstance(value, np.ndarray) else np.float64(value))
    np.testing.assert_allclose(got, wanted, rtol=1e-14)


# What is refused for another reason where the source is at hand.
WITH_SOURCE = {38: (U, "NoneType"), 49: (ShapeError, "shape (3,)")}


@pytest.mark.parametrize("k", range(len(WRONG)))
def test_clear_error(k: int, source: bool) -> None:
    f, value, cls, word = WRONG[k]
    line = f.__code__.co_firstlineno
    if source:
        cls, word = WITH_SOURCE.get(k, (cls, word))
        right_or_refused(f, value, line, cls, word)
        return
    with pytest.raises(SymgradError) as info:
        traced(f, value)
    assert type(info.value) is cls
    assert str(info.value).startswith(f"{__file__}:{line}: ")
    assert word in str(info.value)


@pytest.mark.parametrize("case", FUNCTIONS, ids=lambda c: c[0].__name__)
def test_clear_error_in_function(case: Any, source: bool) -> None:
    f, value, cls, word, offset = case
    line = inspect.getsourcelines(f)[1] + offset
    if source:
        right_or_refused(f, value, line, cls, word)
        return
    with pytest.raises(TraceError) as info:
        traced(f, value)
    assert type(info.value) is cls
    assert str(info.value).startswith(f"{__file__}:{line}: ")
    assert word in str(info.value)


def right_or_refused(f: Any, value: Any, line: int, cls: type[Exception], word: str) -> None:
    """With the source at hand more is traced; what is not is refused as without, as a rule."""
    try:
        got = traced(f, value)
    except SymgradError as error:
        assert type(error) is cls and word in str(error), error
        assert str(error).startswith(f"{__file__}:{line}: "), error
        return
    except Exception as error:  # as without a trace
        with pytest.raises(type(error)):
            f(value)
        return
    plain = np.float64(value) if isinstance(value, float) else value
    wanted = f(value.copy() if isinstance(value, np.ndarray) else plain)
    pairs = [(got, wanted)] if not isinstance(got, list) else zip(got, wanted, strict=True)
    for g, w in pairs:
        np.testing.assert_allclose(g, w, rtol=1e-14)


def test_most_constructs_are_right_with_their_source() -> None:
    refused = []
    for k, (f, value, *_) in enumerate(WRONG):
        try:
            traced(f, value)
        except Exception:
            refused.append(k)
    assert len(refused) == REFUSED_WITH_SOURCE, refused


def test_errors_are_standard_types_too() -> None:
    with pytest.raises(TypeError):
        traced(lambda s: complex(s), S)
    with pytest.raises(ValueError):
        traced(lambda x: Z.__setitem__(0, x[0]), X)
    with pytest.raises(IndexError):
        traced(lambda x: x[9], X)


def test_handled_index_error_is_no_failure() -> None:
    def f(x: Any) -> Any:
        try:
            return x[5]
        except IndexError:
            return x[0]

    assert traced(f, X) == X[0]


def test_scipy_python_functions(source: bool) -> None:
    special = pytest.importorskip("scipy.special")
    for f in (special.logsumexp, special.softmax, special.log_softmax):
        if source:
            np.testing.assert_allclose(traced(lambda x, f=f: f(x), X), f(X), rtol=1e-14)
            continue
        with pytest.raises(TraceError):
            traced(lambda x, f=f: f(x), X)
