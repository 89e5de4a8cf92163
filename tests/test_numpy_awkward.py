"""Traced functions against NumPy by value, dtype, shape and kind of error, on awkward input.

Whatever NumPy computes is computed or refused by an error of ours; what NumPy refuses is refused.
The rows are in numpy_table.py.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from support.numpy_table import BINARY, ONE, REDUCTIONS, TWO, UNARY, calls
from symgrad.errors import SymgradError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import arg
from symgrad.trace import Tracer, logsumexp, record, supported_names

CALLS = list(calls())
# What NumPy refuses and symgrad computes, by the label's first words: nothing is silently other
# than NumPy, since NumPy has no value.
MORE: dict[str, str] = {
    "average 2 of 0 x 0": "weights of no elements",
}
PARTS = 8


def traced(f: Any, *values: Any) -> Any:
    nodes = [arg(i, np.shape(v), np.asarray(v).dtype.name) for i, v in enumerate(values)]
    outs, treedef = record(f, tuple(Tracer(n) for n in nodes), {})
    arrays = {n: np.asarray(v) for n, v in zip(nodes, values, strict=True)}
    return treedef.unflatten(evaluate(outs, arrays))


def parts(value: Any) -> list[np.ndarray]:
    if isinstance(value, (tuple, list)):
        return [a for v in value for a in parts(v)]
    return [np.asarray(value)]


def difference(got: Any, wanted: Any) -> str | None:
    """What differs; signs of zero are not compared, sums begin with a zero of their own."""
    given, expected = parts(got), parts(wanted)
    if len(given) != len(expected):
        return f"{len(given)} results, not {len(expected)}"
    for g, w in zip(given, expected, strict=True):
        if (g.shape, g.dtype) != (w.shape, w.dtype):
            return f"{g.dtype}{list(g.shape)}, not {w.dtype}{list(w.shape)}"
        if w.dtype.kind != "f":
            close = np.array_equal(g, w)
        else:
            tolerance = 3e-6 if w.dtype == np.float32 else 2e-13
            close = np.allclose(g, w, rtol=tolerance, atol=tolerance, equal_nan=True)
        if not close:
            return f"{g.ravel()[:8]}, not {w.ravel()[:8]}"
    return None


def outcome(label: str, f: Any, values: Any) -> tuple[str, str | None]:
    """What symgrad made of a call, and what is wrong with that."""
    try:
        wanted, theirs = f(*[v.copy() for v in values]), None
    except Exception as error:
        wanted, theirs = None, error
    try:
        got = traced(f, *values)
    except Exception as ours:
        if isinstance(ours, SymgradError):
            return "refused" if theirs is None else "error", None
        if type(ours) is type(theirs):  # such as the IndexError of the evaluator
            return "error", None
        if isinstance(ours, IndexError) and "negative integer powers" in str(theirs):
            return "error", None  # an exponent that is known when the function is called
        return "crash", f"{type(ours).__name__}: {ours}"
    if theirs is not None:
        return "more", None if label in MORE else f"{got}; NumPy: {type(theirs).__name__} {theirs}"
    return "right", difference(got, wanted)


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(PARTS))
def test_every_call(part: int) -> None:
    counts = dict.fromkeys(("right", "refused", "error", "more"), 0)
    wrong = []
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for label, f, values in CALLS[part::PARTS]:
            kind, fault = outcome(label, f, values)
            counts[kind] = counts.get(kind, 0) + 1
            if fault is not None:
                wrong.append(f"{label}: {fault}")
    assert not wrong, f"{len(wrong)} of {sum(counts.values())}\n" + "\n".join(wrong[:20])
    # Refusing everything would pass as well.
    assert counts["right"] > 0.55 * sum(counts.values()), counts


# Functions whose arguments are other than one or two arrays, or that ask what is known.
ELSEWHERE = set(
    """
    amax amin around array_split astype atleast_1d atleast_2d broadcast_arrays can_cast
    common_type concat copy copyto empty_like fix flatten flipud iscomplexobj isrealobj
    linalg.cholesky linalg.cross linalg.diagonal linalg.matmul linalg.matrix_transpose
    linalg.multi_dot linalg.outer linalg.tensordot linalg.trace linalg.vecdot
    matrix_transpose matvec may_share_memory mod ndim permute_dims ravel real_if_close
    resize result_type shape shares_memory size true_divide unstack vecdot vecmat
    """.split()
)
SPECIAL = """erf erfc gammaln psi digamma expit logit ndtr log_expit entr xlogy xlog1py betaln
    rel_entr kl_div ndtri log_ndtr erfinv erfcinv erfcx huber pseudo_huber exprel boxcox
    boxcox1p exp10 gammainc gammaincc betainc stdtr chdtr chdtrc
    gamma loggamma beta j0 j1 jv i0 i1 iv i0e i1e ive""".split()
ELSEWHERE |= {*SPECIAL, "polygamma", "stop_gradient"}


def test_every_supported_name_has_a_row() -> None:
    named = {label.split(" ")[0] for label in (*ONE, *TWO)} | {*UNARY, *BINARY, *REDUCTIONS}
    named |= {f"linalg.{name}" for name in named}
    assert set(supported_names()) - named - ELSEWHERE == set()


def test_logsumexp_of_no_elements() -> None:
    """log 0, as SciPy has it since 1.15."""
    for shape, axis, rest in (((0,), None, ()), ((0, 3), 0, (3,)), ((0, 3), 1, (0,)),
                              ((2, 0), -1, (2,))):  # fmt: skip
        for dtype in (np.float64, np.float32):
            wanted = np.full(rest, -np.inf, dtype)
            x = np.zeros(shape, dtype)
            assert difference(traced(lambda x, k=axis: logsumexp(x, axis=k), x), wanted) is None
            assert difference(logsumexp(x, axis=axis), wanted) is None


def test_logsumexp_with_weights_of_any_sign() -> None:
    special = pytest.importorskip("scipy.special")
    for a, b in (
        ([1.0, 800, 3], [2, 0.5, 0]), ([800.0, 1], [2, -0.5]), ([1.0, 800], [2, -0.5]),
        ([1.0, 2], [0.0, 0.0]), ([-1e4, -1e4 + 1], [-0.5, 1]), ([900.0, 1], [0, 1]),
    ):  # fmt: skip
        a, b = np.array(a), np.array(b, float)
        with np.errstate(all="ignore"):
            wanted = special.logsumexp(a, b=b)
        for got in (
            traced(lambda a, b: logsumexp(a, b=b), a, b),
            traced(lambda a, b=b: logsumexp(a, b=b), a),
        ):
            np.testing.assert_allclose(got, wanted, rtol=1e-14)
    x = np.float32([1, 2])
    for b, dtype in ((2.0, "f4"), (np.float32(2), "f4"), (np.float64(2), "f8"), (3, "f4")):
        got = traced(lambda x, b=b: logsumexp(x, b=b), x)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, np.log(float(b) * (np.e + np.e**2)), rtol=1e-6)
