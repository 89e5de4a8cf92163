"""Every supported NumPy function, traced and evaluated, against NumPy itself on the same values."""

# ruff: noqa: E501 (tables of constructs, one per entry)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from symgrad.expr.evaluate import check, evaluate
from symgrad.expr.node import arg
from symgrad.trace import Tracer, record, scipy_api, supported_names

RNG = np.random.default_rng(0)
A = RNG.normal(size=(3, 4))
B = RNG.normal(size=(3, 4))
V = RNG.normal(size=4)
W = RNG.normal(size=3)
M = RNG.normal(size=(3, 3)) + 3 * np.eye(3)
S = M @ M.T
T3 = RNG.normal(size=(2, 3, 4))
POS = np.abs(A) + 0.1
UNIT = np.tanh(A) * 0.9
INT = np.arange(12).reshape(3, 4) - 5
I32 = INT.astype(np.int32)
BOOL = A > 0
F32 = A.astype(np.float32)
NANS = np.where(BOOL, A, np.nan)
X = 0.7


def traced(f: Any, *values: Any) -> Any:
    """What `f` computes on `values` by way of a trace."""
    nodes = [arg(i, np.shape(v), np.asarray(v).dtype.name) for i, v in enumerate(values)]
    outs, treedef = record(f, tuple(Tracer(n) for n in nodes), {})
    check(outs)
    arrays = {n: np.asarray(v) for n, v in zip(nodes, values, strict=True)}
    return treedef.unflatten(evaluate(outs, arrays))


def same(got: Any, wanted: Any, dtype: bool = True) -> None:
    """Equal structure, shape, dtype and value up to rounding."""
    if isinstance(wanted, (tuple, list)):
        assert len(got) == len(wanted)
        for g, w in zip(got, wanted, strict=True):
            same(g, w, dtype)
        return
    wanted = np.asarray(wanted)
    got = np.asarray(got)
    assert got.shape == wanted.shape
    if dtype:
        assert got.dtype == wanted.dtype
    tolerance = 2e-6 if wanted.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def compare(f: Any, *values: Any) -> None:
    with np.errstate(all="ignore"):
        wanted = f(*[v.copy() if isinstance(v, np.ndarray) else v for v in values])
    same(traced(f, *values), wanted)


UNARY = {
    **dict.fromkeys("""negative absolute fabs sign sqrt cbrt square exp exp2 expm1 log log1p log2 log10
        reciprocal arctan arcsinh sin cos tan sinh cosh tanh floor ceil trunc rint deg2rad rad2deg radians
        degrees positive isnan isinf isfinite signbit logical_not conjugate""".split(), POS),
    **dict.fromkeys(["arcsin", "arccos", "arctanh"], UNIT),
    "arccosh": POS + 1,
}  # fmt: skip
BINARY = """add subtract multiply divide true_divide power float_power maximum minimum fmax fmin arctan2
    hypot logaddexp logaddexp2 mod remainder fmod floor_divide copysign less less_equal greater
    greater_equal equal not_equal logical_and logical_or logical_xor heaviside""".split()


@pytest.mark.quick(40)
@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32"])
def test_unary(name: str, dtype: str) -> None:
    f = getattr(np, name)
    if dtype.startswith("int") and name in ("reciprocal",):
        compare(f, np.array([1, 2, -1, -3], dtype))
        return
    for x in (
        UNARY[name].astype(dtype),
        np.zeros((0, 2), dtype),
        np.asarray(UNARY[name][0, 0], dtype),
    ):
        if dtype.startswith("int") and name.startswith(("log", "arccosh")):
            x = x + np.asarray(1, dtype)
        compare(f, x)


@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str) -> None:
    f = getattr(np, name)
    compare(f, POS, np.abs(B) + 0.5)
    compare(f, POS, np.abs(V) + 0.5)
    compare(f, POS[:, :1], np.abs(B[:1]) + 0.5)
    compare(lambda x: f(x, 2.0), F32 * F32)
    compare(lambda x: f(x, np.float64(2.0)), F32 * F32)
    compare(lambda x: f(np.float32(2.0), x), F32 * F32)
    compare(lambda x: f(2, x), np.float64(1.5))
    compare(f, np.zeros((0, 4)), V)
    if name != "fmod":
        compare(f, np.abs(INT) + 1, np.abs(I32) + 1)
        compare(f, np.abs(I32) + 1, F32 * F32 + 1)
        compare(lambda x: f(x, 3), np.abs(I32) + 1)
        compare(lambda x: f(x, 2.5), np.abs(I32) + 1)


OPERATORS: list[Any] = [
    lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / y, lambda x, y: x // y,
    lambda x, y: x % y, lambda x, y: x**y, lambda x, y: x < y, lambda x, y: x <= y, lambda x, y: x > y,
    lambda x, y: x >= y, lambda x, y: x == y, lambda x, y: x != y, lambda x, y: divmod(x, y),
]  # fmt: skip


@pytest.mark.quick(60)
@pytest.mark.parametrize("k", range(len(OPERATORS)))
@pytest.mark.parametrize(
    "other", [2, 2.5, np.float64(2), np.float32(2), np.int64(2), V**2, POS, [1, 2, 3, 4]]
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "int64"])
def test_operators(k: int, other: Any, dtype: str) -> None:
    x = (POS * 5 + 1).astype(dtype)
    compare(lambda t: OPERATORS[k](t, other), x)
    compare(lambda t: OPERATORS[k](other, t), x)
    if not isinstance(other, list):
        compare(lambda t: OPERATORS[k](other, t), x[0, 0])
    compare(lambda t: OPERATORS[k](t, other), x[:, :1])


@pytest.mark.parametrize("power", [0, 1, 2, 3, -1, 0.5, -2, 2.0, 1.5, 0.0, -1.0, -0.5])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "int64"])
def test_constant_powers(power: float, dtype: str) -> None:
    x = (POS * 3 + 1).astype(dtype)
    if dtype.startswith("int") and isinstance(power, int) and power < 0:
        with pytest.raises(ValueError, match="negative integer powers"):
            traced(lambda t: t**power, x)
        return
    compare(lambda t: t**power, x)
    compare(lambda t: np.power(t, power), x)


def test_bool_arithmetic() -> None:
    other = ~BOOL | (A > 0.5)
    for f in (
        np.add,
        np.multiply,
        np.maximum,
        np.minimum,
        np.logical_and,
        np.bitwise_or,
        np.bitwise_xor,
    ):
        compare(f, BOOL, other)
    compare(lambda b, c: (b & c) | ~(b ^ c), BOOL, other)
    compare(lambda b: b * 2, BOOL)
    compare(lambda b: b * 2.0 + 1, BOOL)
    compare(lambda b, x: b * x, BOOL, A)
    for f in (np.subtract, np.sin, np.square):
        with pytest.raises(TypeError):
            traced(lambda b, f=f: f(b, b) if f is np.subtract else f(b), BOOL)


# name: (function, arguments) several times; the key's first word is the SUPPORTED name it covers
N = np
CASES: dict[str, tuple[Any, ...]] = {
    "sum": (lambda x: x.sum(), A), "sum 1": (lambda x: N.sum(x, axis=1, keepdims=True), A),
    "sum 2": (lambda x: N.sum(x, axis=(0, -1)), T3), "sum 3": (lambda x: N.sum(x), BOOL),
    "sum 4": (lambda x: N.sum(x, 0), I32), "sum 5": (lambda x: x.sum(0, initial=3.0), A),
    "sum 6": (lambda x: x.sum(dtype=float), I32), "sum 7": (lambda x: x.sum(1), np.zeros((2, 0))),
    "sum 8": (lambda x: x.sum(), F32),
    "prod": (lambda x: N.prod(x, axis=1), A), "prod 1": (lambda x: x.prod(), I32),
    "prod 2": (lambda x: x.prod(axis=0, keepdims=True), np.zeros((0, 3))),
    "max": (lambda x: x.max(), A), "max 1": (lambda x: N.max(x, axis=(0, 1), keepdims=True), T3),
    "max 2": (lambda x: N.max(x, 0, initial=1.0), A), "max 3": (lambda x: x.max(0), BOOL),
    "max 4": (lambda x: x.max(0, initial=1.0), np.zeros((0, 3))),
    "amax": (lambda x: N.amax(x, 1), A), "amin": (lambda x: N.amin(x, 1), A),
    "min": (lambda x: x.min(1), A), "min 1": (lambda x: x.min(1), I32), "ptp": (lambda x: N.ptp(x, 0), A),
    "any": (lambda x: N.any(x > 0, axis=1), A), "all": (lambda x: (x > -1).all(0, keepdims=True), A),
    "any 1": (lambda x: x.any(), INT),
    "count_nonzero": (lambda x: N.count_nonzero(x, axis=0), INT),
    "mean": (lambda x: x.mean(), A), "mean 1": (lambda x: N.mean(x, axis=1, keepdims=True), F32),
    "mean 2": (lambda x: x.mean(0), I32), "mean 3": (lambda x: x.mean(), BOOL),
    "mean 4": (lambda x: x.mean((0, 2)), T3),
    "var": (lambda x: x.var(), A), "var 1": (lambda x: N.var(x, axis=0, ddof=1, keepdims=True), A),
    "std": (lambda x: x.std(), A), "std 1": (lambda x: N.std(x, axis=(0, 2), ddof=1), T3),
    "std 2": (lambda x: N.std(x, 0), I32), "std 3": (lambda x: N.std(x, 0), F32),
    "average": (lambda x: N.average(x), A), "average 1": (lambda x, w: N.average(x, 1, w), A, POS[0]),
    "average 2": (lambda x, w: N.average(x, weights=w, returned=True), A, POS),
    "nansum": (lambda x: N.nansum(x, 1), NANS), "nanprod": (lambda x: N.nanprod(x, 1), NANS),
    "nanmean": (lambda x: N.nanmean(x), NANS), "nanmax": (lambda x: N.nanmax(x), NANS),
    "nanmin": (lambda x: N.nanmin(x), NANS),
    "argmax": (lambda x: x.argmax(), A), "argmax 1": (lambda x: N.argmax(x, axis=1, keepdims=True), A),
    "argmin": (lambda x: N.argmin(x, 0), A),
    "cumsum": (lambda x: x.cumsum(), A), "cumsum 1": (lambda x: N.cumsum(x, 1), I32),
    "cumsum 2": (lambda x: N.cumsum(x), BOOL),
    "cumprod": (lambda x: N.cumprod(x, axis=-1), A), "cumprod 1": (lambda x: x.cumprod(), A),
    "where": (lambda x: N.where(x > 0, x, 0), F32), "where 1": (lambda x, y: N.where(x > 0, x, y), A, V),
    "where 2": (lambda x: N.where(x, 1, 2.5), BOOL), "where 3": (lambda x: N.where(x, 1, -1), A),
    "clip": (lambda x: N.clip(x, -0.5, 0.5), F32), "clip 1": (lambda x: x.clip(0), A),
    "clip 2": (lambda x: N.clip(x, None, 1), INT), "clip 3": (lambda x, y: N.clip(x, y, 1), A, V),
    "clip 4": (lambda x: N.clip(x, 1, -1), A), "clip 5": (lambda x: N.clip(x, 0, 1), NANS),
    "clip 6": (lambda x: N.clip(x, min=0.0), I32),
    "select": (lambda x: N.select([x > 1, x > 0], [x, x * 2], -1.0), A),
    "piecewise": (lambda x: N.piecewise(x, [x < 0, x > 1], [lambda v: -v, 3.0, lambda v: v * v]), A),
    "nan_to_num": (lambda x: N.nan_to_num(x), NANS),
    "nan_to_num 1": (lambda x: N.nan_to_num(x / 0.0, nan=7.0, posinf=1.0), A * BOOL),
    "round": (lambda x: N.round(x, 2), A), "around": (lambda x: N.around(x), A),
    "round 1": (lambda x: x.round(1), A),
    "fix": (lambda x: N.fix(x), A), "sinc": (lambda x: N.sinc(x), np.array([0.0, 0.5, -1.0])),
    "isclose": (lambda x, y: N.isclose(x, y, 0.5, 0.1), A, B), "isneginf": (lambda x: N.isneginf(x), A),
    "isposinf": (lambda x: N.isposinf(x / 0.0), A), "allclose": (lambda x: N.allclose(x, x), A),
    "array_equal": (lambda x: N.array_equal(x, x), A),
    "real": (lambda x: N.real(x) + x.real, A), "imag": (lambda x: N.imag(x) + x.imag, A),
    "real_if_close": (lambda x: N.real_if_close(x), A),
    "diff": (lambda x: N.diff(x), A), "diff 1": (lambda x: N.diff(x, 2, axis=0), A),
    "diff 2": (lambda x: N.diff(x, prepend=0.0), A), "diff 3": (lambda x: N.diff(x, append=x[:, :1]), A),
    "diff 4": (lambda x: N.diff(x), BOOL), "diff 5": (lambda x: N.diff(x, prepend=0.0, append=0.0), A),
    "ediff1d": (lambda x: N.ediff1d(x), A), "trapezoid": (lambda x: N.trapezoid(x, dx=0.1), A),
    "trapezoid 1": (lambda y, x: N.trapezoid(y, x), A, V),
    "polyval": (lambda p, x: N.polyval(p, x), V, A), "vander": (lambda x: N.vander(x, 3), V),
    "vander 1": (lambda x: N.vander(x, increasing=True), V),
    "interp": (lambda x, f: N.interp(x, [-1.0, 0.0, 0.3, 2.0], f), A, V),
    "interp 1": (lambda x: N.interp(x, [-0.1, 0.1], [1.0, 2.0], left=-9.0, right=9.0), A),
    "interp 2": (lambda x, k, f: N.interp(x, k, f), A, np.sort(V), POS[0]), "interp 3": (lambda x: N.interp(x, [2.0, 0.3, 5.0], [1.0, 2.0, 4.0], period=-3.0), 9 * A),
    "interp 4": (lambda x: N.interp(x, np.arange(40.0) ** 2 / 100, np.sin(np.arange(40.0))), 3 * A),
    "sort": (lambda x: N.sort(x), A), "sort 1": (lambda x: N.sort(x, 0, stable=True), T3), "sort 2": (lambda x: N.sort(x, None), INT), "argsort": (lambda x: N.argsort(x, 1), T3), "argsort 1": (lambda x: x.argsort(), A), "sort 3": (lambda x: N.sort(x, kind="heapsort"), I32),
    "partition": (lambda x: N.sort(N.partition(x, 2)[:2]), V), "argpartition": (lambda x: N.sort(N.argpartition(x, 1)[:1]), V), "median": (lambda x: N.median(x), A), "median 1": (lambda x: N.median(x, (0, 2), keepdims=True), T3),
    "quantile": (lambda x: N.quantile(x, [0.1, 0.9], 1), A), "quantile 1": (lambda x: N.quantile(x, 0.5), F32), "percentile": (lambda x: N.percentile(x, 30), A), "nanvar": (lambda x: N.nanvar(x, ddof=1), NANS), "nanstd": (lambda x: N.nanstd(x), NANS),
    "nancumsum": (lambda x: N.nancumsum(x, 1), NANS), "nancumprod": (lambda x: N.nancumprod(x, 0), NANS), "corrcoef": (lambda x: N.corrcoef(x), A), "corrcoef 1": (lambda x, y: N.corrcoef(x, y), V, 2 * V**2), "bincount": (lambda w: N.bincount([0, 3, 1, 0], weights=w, minlength=6), V),
    "gradient": (lambda x: N.gradient(x), A), "gradient 1": (lambda x: N.gradient(x, 0.1, [0.0, 1.0, 3.0, 3.5], edge_order=2), A), "gradient 2": (lambda x, k: N.gradient(x, k, axis=1), A, np.sort(V)), "gradient 3": (lambda x, h: N.gradient(x, h, edge_order=2), V, 0.3),
    "unwrap": (lambda x: N.unwrap(9 * x), A), "unwrap 1": (lambda x: N.unwrap(9 * x, axis=0, period=3.0), A),
    "logaddexp.reduce": (lambda x: N.logaddexp.reduce(x), A), "logaddexp.reduce 1": (lambda x: N.logaddexp.reduce(x, axis=None, keepdims=True), A), "logaddexp.reduce 2": (lambda x: N.logaddexp.reduce(x, 1, initial=-0.5), A),
    "logaddexp.accumulate": (lambda x: N.logaddexp.accumulate(x, 1), A), "logaddexp.accumulate 1": (lambda x: N.logaddexp.accumulate(x), 300 * T3), "maximum.accumulate": (lambda x: N.maximum.accumulate(x, 1), A), "minimum.accumulate": (lambda x: N.minimum.accumulate(x), INT), "maximum.accumulate 1": (lambda x: N.maximum.accumulate(x > 0), V),
    "hypot.reduce": (lambda x: N.hypot.reduce(x), A),
    "searchsorted": (lambda x: N.searchsorted([-0.5, 0.0, 0.0, 0.7], x), A), "searchsorted 1": (lambda k, x: N.searchsorted(k, x, side="right"), np.sort(V), A),
    "searchsorted 2": (lambda x: N.searchsorted(V, x, sorter=np.argsort(V)), A), "searchsorted 3": (lambda x: N.searchsorted(np.arange(-3, 9, 2), x), INT), "searchsorted 4": (lambda x: N.searchsorted([1, 2], x, "right"), np.int64(2)),
    "digitize": (lambda x: N.digitize(x, [-1.0, 0.0, 0.5]), A), "digitize 1": (lambda x: N.digitize(x, [2.0, 0.5, -0.5], right=True), A), "digitize 2": (lambda x: N.digitize(x, [5, 0, -2]), INT),
    "zeros_like": (lambda x: N.zeros_like(x), I32), "ones_like": (lambda x: N.ones_like(x, dtype=float), I32),
    "empty_like": (lambda x: N.empty_like(x).shape[0] * x, A),
    "full_like": (lambda x: N.full_like(x, 2.5), A), "copy": (lambda x: N.copy(x), A),
    "linspace": (lambda x: N.linspace(0.0, x, 5), X), "linspace 1": (lambda x: N.linspace(x, 1, 4, endpoint=False), V),
    "shape": (lambda x: x * N.shape(x)[0], A), "ndim": (lambda x: x * N.ndim(x), A),
    "size": (lambda x: x * N.size(x, 1), A), "iscomplexobj": (lambda x: x * N.iscomplexobj(x), A),
    "isrealobj": (lambda x: x * N.isrealobj(x), A),
    "result_type": (lambda x: x.astype(N.result_type(x, np.float32)), I32),
    "can_cast": (lambda x: x * N.can_cast(x, np.float32), A),
    "common_type": (lambda x: x.astype(N.common_type(x)), F32),
    # shapes
    "reshape": (lambda x: x.reshape(4, -1), A), "reshape 1": (lambda x: N.reshape(x, (2, 6)), A),
    "reshape 2": (lambda x: x.reshape((0, 5)), np.zeros((0, 3))), "ravel": (lambda x: x.ravel(), A),
    "flatten": (lambda x: x.flatten(), A), "astype": (lambda x: x.astype(np.float32), A),
    "astype 1": (lambda x: x.astype(int), A), "astype 2": (lambda x: N.astype(x, bool), INT),
    "transpose": (lambda x: x.T, A), "transpose 1": (lambda x: x.transpose(2, 0, 1), T3),
    "transpose 2": (lambda x: N.transpose(x, (1, -1, 0)), T3), "permute_dims": (lambda x: N.permute_dims(x, (1, 0)), A),
    "matrix_transpose": (lambda x: x.mT, T3), "linalg.matrix_transpose": (lambda x: N.linalg.matrix_transpose(x), T3),
    "swapaxes": (lambda x: x.swapaxes(0, -1), T3), "moveaxis": (lambda x: N.moveaxis(x, 0, -1), T3),
    "moveaxis 1": (lambda x: N.moveaxis(x, (0, 2), (1, 0)), T3), "rollaxis": (lambda x: N.rollaxis(x, 2), T3),
    "rollaxis 1": (lambda x: N.rollaxis(x, 0, 3), T3),
    "squeeze": (lambda x: N.squeeze(x), A[:, None]), "squeeze 1": (lambda x: x.squeeze(1), A[:, None]),
    "expand_dims": (lambda x: N.expand_dims(x, (0, -1)), A),
    "atleast_1d": (lambda x: N.atleast_1d(x), X), "atleast_2d": (lambda x: N.atleast_2d(x), V),
    "atleast_3d": (lambda x: N.atleast_3d(x), V), "atleast_3d 1": (lambda x, y: N.atleast_3d(x, y), A, T3),
    "broadcast_to": (lambda x: N.broadcast_to(x, (2, 3, 4)), V),
    "broadcast_arrays": (lambda x, y: N.broadcast_arrays(x, y), A[:, :1], V),
    "concatenate": (lambda x, y: N.concatenate([x, y], axis=1), A, B),
    "concatenate 1": (lambda x: N.concatenate([x, INT], axis=None), F32), "concat": (lambda x: N.concat((x, x)), A),
    "stack": (lambda x, y: N.stack([x, y], -1), A, B), "stack 1": (lambda x: N.stack([x, 1.0, 2]), np.float32(3)),
    "hstack": (lambda x: N.hstack([x, x]), A), "hstack 1": (lambda x, y: N.hstack([x, y, 1.0]), X, V),
    "vstack": (lambda x: N.vstack([x, V]), A), "dstack": (lambda x: N.dstack([x, x]), A),
    "column_stack": (lambda x: N.column_stack([x, x, A.T]), V), "append": (lambda x: N.append(x, 1.0), A),
    "block": (lambda x: N.block([[x, N.zeros((3, 1))], [N.ones((1, 4)), 2.0 * N.ones((1, 1))]]), A),
    "block 1": (lambda s: N.block([[s, 1.0], [2.0, s]]), X),
    "meshgrid": (lambda x, y: N.meshgrid(x, y), V, W), "meshgrid 1": (lambda x, y: N.meshgrid(x, y, indexing="ij"), V, W),
    "split": (lambda x: N.split(x, 2, axis=1), A), "split 1": (lambda x: N.split(x, [1, 3], 1), A),
    "array_split": (lambda x: N.array_split(x, 3), V), "hsplit": (lambda x: N.hsplit(x, 2), A),
    "vsplit": (lambda x: N.vsplit(x, 3), A), "dsplit": (lambda x: N.dsplit(x, 2), T3),
    "unstack": (lambda x: N.unstack(x, axis=1), A),
    "flip": (lambda x: N.flip(x), A), "flip 1": (lambda x: N.flip(x, 1), A), "flipud": (lambda x: N.flipud(x), A),
    "fliplr": (lambda x: N.fliplr(x), A), "rot90": (lambda x: N.rot90(x), A), "rot90 2": (lambda x: N.rot90(x, 2), A),
    "rot90 3": (lambda x: N.rot90(x, 3), A), "roll": (lambda x: N.roll(x, 2), A),
    "roll 1": (lambda x: N.roll(x, (1, -1), (0, 1)), A), "roll 2": (lambda x: N.roll(x, -5, axis=1), A),
    "tile": (lambda x: N.tile(x, 3), A), "tile 1": (lambda x: N.tile(x, (2, 1, 3)), A),
    "repeat": (lambda x: N.repeat(x, 2), A), "repeat 1": (lambda x: x.repeat([1, 0, 2], axis=0), A),
    "resize": (lambda x: N.resize(x, (5, 3)), A),
    "pad": (lambda x: N.pad(x, 1), A), "pad 1": (lambda x: N.pad(x, ((1, 2), (0, 3)), constant_values=5.0), A),
    "pad 2": (lambda x: N.pad(x, 2, mode="edge"), A), "pad 3": (lambda x: N.pad(x, 2, "reflect"), A),
    "pad 4": (lambda x: N.pad(x, 1, "wrap"), A), "pad 5": (lambda x: N.pad(x, 1, "symmetric"), A),
    "pad 6": (lambda x: N.pad(x, ((1, 2), (1, 1)), constant_values=((1, 2), (3, 4))), A),
    "take": (lambda x: N.take(x, [1, -1, 1], axis=1), A), "take 1": (lambda x: x.take([5, 2]), A),
    "take 2": (lambda x: N.take(x, [9, -9], mode="clip"), A), "take 3": (lambda x: N.take(x, [9, -9], 0, mode="wrap"), A),
    "apply_along_axis": (lambda x: N.apply_along_axis(lambda v: v[::-1] * v.sum(), 1, x), A),
    "apply_along_axis 1": (lambda x: N.apply_along_axis(N.max, 0, x), A),
    "apply_over_axes": (lambda x: N.apply_over_axes(N.sum, x, (0, -1)), A),
    "take_along_axis": (lambda x: N.take_along_axis(x, N.argsort(A, 1), 1), A),
    "take_along_axis 1": (lambda x: N.take_along_axis(x, N.argmax(x, 1, keepdims=True), 1), A),
    "compress": (lambda x: N.compress([True, False, True], x, axis=0), A), "extract": (lambda x: N.extract(BOOL, x), A),
    "choose": (lambda x: N.choose([0, 1, 0, 1], [x, x * 2]), V), "delete": (lambda x: N.delete(x, 1, 0), A),
    "insert": (lambda x: N.insert(x, 1, 5.0), V),
    # algebra
    "matmul": (lambda x, y: x @ y, A, B.T), "matmul 1": (lambda x, y: N.matmul(x, y), T3, B.T),
    "matmul 2": (lambda x, y: x @ y, T3, V), "matmul 3": (lambda x, y: x @ y, W, A), "matmul 4": (lambda x: V @ x, V),
    "matmul 5": (lambda x, y: x @ y, RNG.normal(size=(2, 1, 3, 4)), RNG.normal(size=(5, 4, 2))),
    "matmul 6": (lambda x: A @ x, np.zeros((4, 0))), "matmul 7": (lambda x: x @ np.zeros((0, 2)), np.zeros((3, 0))),
    "linalg.matmul": (lambda x, y: N.linalg.matmul(x, y), A, B.T),
    "matvec": (lambda x, y: N.matvec(x, y), T3, V), "vecmat": (lambda x, y: N.vecmat(x, y), W, T3),
    "vecdot": (lambda x, y: N.vecdot(x, y), A, V), "linalg.vecdot": (lambda x, y: N.linalg.vecdot(x, y), A, B),
    "dot": (lambda x, y: N.dot(x, y), T3, B.T), "dot 1": (lambda x: x.dot(V), V), "dot 2": (lambda x: N.dot(x, 2.0), A),
    "dot 3": (lambda x: N.dot(x, T3.swapaxes(1, 2)), A), "inner": (lambda x, y: N.inner(x, y), A, T3),
    "vdot": (lambda x, y: N.vdot(x, y), A, B), "outer": (lambda x, y: N.outer(x, y), A, V),
    "linalg.outer": (lambda x: N.linalg.outer(x, V), V),
    "tensordot": (lambda x, y: N.tensordot(x, y), T3, A), "tensordot 1": (lambda x, y: N.tensordot(x, y, ([1, 2], [0, 1])), T3, A),
    "tensordot 2": (lambda x, y: N.tensordot(x, y, 0), V, W), "linalg.tensordot": (lambda x: N.linalg.tensordot(x, A), T3),
    "einsum": (lambda x, y: N.einsum("ij,jk->ik", x, y), A, B.T), "einsum 1": (lambda x: N.einsum("ii->i", x), M),
    "einsum 2": (lambda x: N.einsum("ii", x), M), "einsum 3": (lambda x, y: N.einsum("...i,...i", x, y), T3, A),
    "einsum 4": (lambda x: N.einsum("ij->ji", x), A), "einsum 5": (lambda x: N.einsum(x, [0, 1], V, [1], [0]), A),
    "einsum 6": (lambda x, y: N.einsum("bi,ij,j->b", x, y, V), B, RNG.normal(size=(4, 4))),
    "kron": (lambda x, y: N.kron(x, y), A, V), "cross": (lambda x, y: N.cross(x, y), M, W),
    "linalg.cross": (lambda x: N.linalg.cross(x, W), M), "cross 1": (lambda x: N.cross(x, M, axis=0), M),
    "diagonal": (lambda x: x.diagonal(), A), "diagonal 1": (lambda x: N.diagonal(x, 1, 2, 0), T3),
    "diagonal 2": (lambda x: N.diagonal(x, -1), BOOL), "linalg.diagonal": (lambda x: N.linalg.diagonal(x), M),
    "trace": (lambda x: x.trace(), A), "trace 1": (lambda x: N.trace(x, -1), I32),
    "linalg.trace": (lambda x: N.linalg.trace(x), M),
    "diag": (lambda x: N.diag(x), V), "diag 1": (lambda x: N.diag(x, -2), V), "diag 2": (lambda x: N.diag(x, 1), A),
    "diagflat": (lambda x: N.diagflat(x, 1), A), "tril": (lambda x: N.tril(x), T3), "triu": (lambda x: N.triu(x, -1), A),
    "tril 1": (lambda x: N.tril(x), V),
    "convolve": (lambda x, y: N.convolve(x, y), V, W), "convolve 1": (lambda x, y: N.convolve(x, y, "same"), V, W),
    "convolve 2": (lambda x, y: N.convolve(y, x, "valid"), V, W), "correlate": (lambda x, y: N.correlate(x, y), V, W),
    "correlate 1": (lambda x, y: N.correlate(x, y, "full"), V, W), "cov": (lambda x: N.cov(x), A),
    "cov 1": (lambda x: N.cov(x, rowvar=False, ddof=0), A), "cov 2": (lambda x, y: N.cov(x, y), V, V * V),
    "linalg.norm": (lambda x: N.linalg.norm(x), A), "linalg.norm 1": (lambda x: N.linalg.norm(x, axis=1), A),
    "linalg.norm 2": (lambda x: N.linalg.norm(x, 1, axis=0, keepdims=True), A),
    "linalg.norm 3": (lambda x: N.linalg.norm(x, N.inf), V), "linalg.norm 4": (lambda x: N.linalg.norm(x, 3), V),
    "linalg.norm 5": (lambda x: N.linalg.norm(x, "fro"), A), "linalg.norm 6": (lambda x: N.linalg.norm(x, 1), A),
    "linalg.norm 7": (lambda x: N.linalg.norm(x, -N.inf), A), "linalg.norm 8": (lambda x: N.linalg.norm(x, 0), V),
    "linalg.norm 9": (lambda x: N.linalg.norm(x, axis=(0, 2), keepdims=True), T3),
    "linalg.norm 10": (lambda x: N.linalg.norm(x), I32), "linalg.norm 11": (lambda x: N.linalg.norm(x, N.inf, (2, 0)), T3),
    "linalg.vector_norm": (lambda x: N.linalg.vector_norm(x), T3), "linalg.vector_norm 1": (lambda x: N.linalg.vector_norm(x, ord=1), A),
    "linalg.matrix_norm": (lambda x: N.linalg.matrix_norm(x), T3),
    "linalg.solve": (lambda a, b: N.linalg.solve(a, b), M, W), "linalg.solve 1": (lambda a, b: N.linalg.solve(a, b), M, A),
    "linalg.inv": (lambda a: N.linalg.inv(a), M), "linalg.det": (lambda a: N.linalg.det(a), M),
    "linalg.slogdet": (lambda a: N.linalg.slogdet(a)[1] + N.linalg.slogdet(a).sign, M),
    "linalg.cholesky": (lambda a: N.linalg.cholesky(a), S),
    "linalg.eigvalsh": (lambda a: N.linalg.eigvalsh(a), S), "linalg.eigh": (lambda a: N.linalg.eigh(a)[0], S),
    "linalg.matrix_power": (lambda a: N.linalg.matrix_power(a, 5), M),
    "linalg.matrix_power 1": (lambda a: N.linalg.matrix_power(a, -2), M),
    "linalg.matrix_power 2": (lambda a: N.linalg.matrix_power(a, 0), M),
    "linalg.multi_dot": (lambda a, b: N.linalg.multi_dot([a, b, V]), M, A),
    # ufuncs that are formulas, and methods
    "modf": (lambda x: N.modf(x), A), "divmod": (lambda x: N.divmod(x, 0.3), A), "clip_ufunc": (lambda x: x, A),
    "add.reduce": (lambda x: N.add.reduce(x), A), "add.reduce 1": (lambda x: N.add.reduce(x, axis=None), A),
    "multiply.reduce": (lambda x: N.multiply.reduce(x, axis=1, keepdims=True), A),
    "maximum.reduce": (lambda x: N.maximum.reduce(x), A), "minimum.reduce": (lambda x: N.minimum.reduce(x, axis=(0, 1)), A),
    "logical_and.reduce": (lambda x: N.logical_and.reduce(x > 0), A), "logical_or.reduce": (lambda x: N.logical_or.reduce(x > 0), A),
    "add.accumulate": (lambda x: N.add.accumulate(x, 1), A), "multiply.accumulate": (lambda x: N.multiply.accumulate(x), A),
    "subtract.outer": (lambda x, y: N.subtract.outer(x, y), A, V), "dtype": (lambda x: N.add(x, 1, dtype=float), I32),
}  # fmt: skip
NO_VALUE = {"may_share_memory", "shares_memory", "copyto"}  # tested in test_trace and test_pitfalls
SCIPY = """erf erfc gammaln psi digamma expit xlogy logit ndtr log_expit entr xlog1py betaln rel_entr kl_div
    polygamma ndtri log_ndtr erfinv erfcinv erfcx huber pseudo_huber exprel boxcox boxcox1p exp10 gamma loggamma beta
    j0 j1 i0 i1 i0e i1e""".split()


@pytest.mark.quick(60)
@pytest.mark.filterwarnings("ignore:numpy.fix is deprecated:DeprecationWarning")
@pytest.mark.parametrize("case", CASES)
def test_function(case: str) -> None:
    function, *values = CASES[case]
    compare(function, *values)


def test_every_supported_name_is_compared() -> None:
    covered = {c.split(" ")[0] for c in CASES} | set(UNARY) | set(BINARY) | NO_VALUE | set(SCIPY)
    covered |= {
        "gammainc",
        "gammaincc",
        "betainc",
        "stdtr",
        "chdtr",
        "chdtrc",
        "jv",
        "iv",
        "ive",
    }  # test_scipy_functions, test_bessel
    assert set(supported_names()) - covered - {"stop_gradient", "fabs", "softplus"} == set()


@pytest.mark.parametrize("name", SCIPY)
def test_scipy_ufuncs(name: str) -> None:
    special = pytest.importorskip("scipy.special")
    f = getattr(special, name)
    x, y = np.abs(UNIT) + 0.01, np.abs(B) + 0.1
    if name == "polygamma":
        compare(lambda t: scipy_api.polygamma(2, t), x)
        same(scipy_api.polygamma(2, x), f(2, x))
    elif f.nin == 2:
        compare(f, x, y)
        if name not in ("betaln", "beta"):
            compare(f, np.zeros(3), np.array([0.0, 1.0, 2.0]))
    else:
        compare(f, x)
        if name not in (
            "logit",
            "entr",
            "polygamma",
            "psi",
            "digamma",
            "gammaln",
            "gamma",
            "loggamma",
        ):
            compare(f, np.linspace(-4, 4, 7))
            compare(f, np.arange(-2, 3))


def test_scipy_functions() -> None:
    special = pytest.importorskip("scipy.special")
    linalg = pytest.importorskip("scipy.linalg")
    for axis in (None, 0, -1, (0, 1)):
        for name in ("logsumexp", "softmax", "log_softmax"):
            ours, theirs = getattr(scipy_api, name), getattr(special, name)
            same(traced(lambda x, f=ours, k=axis: f(x, axis=k), A), theirs(A, axis=axis))
            same(ours(A, axis=axis), theirs(A, axis=axis))
    same(
        traced(lambda x: scipy_api.logsumexp(x, 1, POS, True), A),
        special.logsumexp(A, 1, POS, True),
    )
    for lower in (False, True):
        for trans in (0, 1, "T"):
            options = {"trans": trans, "lower": lower}
            got = traced(lambda a, b, o=options: scipy_api.solve_triangular(a, b, **o), M, W)
            same(got, linalg.solve_triangular(M, W, **options))
            got = scipy_api.solve_triangular(M, A, **options)
            same(got, linalg.solve_triangular(M, A, **options))


def test_every_function_on_axes_of_size_zero_and_one() -> None:
    for shape in [(0, 3), (3, 0), (1, 3), (3, 1), (1, 1), (0, 0)]:
        x = np.ones(shape)
        for f in (
            lambda t: t.sum(0), lambda t: t.prod(1), lambda t: t.T, lambda t: N.concatenate([t, t], 1),
            lambda t: t @ t.T, lambda t: t[::-1], lambda t: N.cumsum(t, 0), lambda t: t.reshape(-1),
            lambda t: N.pad(t, 1), lambda t: N.diff(t, axis=0), lambda t: N.flip(t), lambda t: N.roll(t, 1),
            lambda t: N.where(t > 0, t, 1), lambda t: N.tile(t, 2), lambda t: N.repeat(t, 2, 0),
            lambda t: t.std(0) if t.shape[0] else t, lambda t: N.linalg.norm(t), lambda t: N.cumprod(t, 1),
            lambda t: t.any(0), lambda t: t.all(), lambda t: N.tril(t), lambda t: N.diagonal(t),
            lambda t: N.outer(t, t), lambda t: N.kron(t, t), lambda t: N.broadcast_to(t, (2, *t.shape)),
        ):  # fmt: skip
            compare(f, x)
