"""Traced functions with the arrays and options that people do not test: one row a call.

A row is a function of one array or two. `awkward` are the arrays it is called with: empty, of rank
0 to 3, of every dtype, with NaN, infinities and both zeros. test_numpy_awkward compares with NumPy.
"""

# ruff: noqa: E501 (rows)

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

N = np
nan, inf = np.nan, np.inf
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.5, 3.0, nan, inf, -inf, 1e-300, 1e300])

# fmt: off
ARRAYS: dict[str, np.ndarray] = {
    "special": SPECIAL, "float32 special": SPECIAL[:-2].astype("f4"),
    "unit": np.array([0.3, 0.5, 0.75, 0.9]), "one": np.array([2.5]), "one int64": np.array([3]),
    "int64": np.array([0, 1, -1, 2, 3, -7]), "int32": np.array([0, 1, -1, 2, 3, -7], "i4"),
    "bool": np.array([True, False, True]), "matrix": np.array([[1.5, -2, 3], [0.25, nan, -1]]),
    "square": np.array([[1.5, -2], [0.25, -1]]), "float32 square": np.array([[1.5, -2], [0.25, -1]], "f4"),
    "int64 square": np.array([[3, -2], [2, -1]]), "int32 matrix": np.array([[1, -2, 3], [2, 0, -1]], "i4"),
    "bool square": np.array([[True, False], [True, True]]), "row": np.array([[1.0, 2.5, -1.0]]),
    "cube": np.arange(12.0).reshape(2, 3, 2) - 4.5, "empty": np.zeros(0), "empty int64": np.zeros(0, int),
    "empty bool": np.zeros(0, bool), "0 x 3": np.zeros((0, 3)), "3 x 0": np.zeros((3, 0)),
    "float32 2 x 0": np.zeros((2, 0), "f4"), "2 x 0 x 3": np.zeros((2, 0, 3)), "0 x 0": np.zeros((0, 0)),
    **{f"{d} scalar": np.array(2, d) for d in ("float64", "float32", "int64", "int32", "bool")},
}
_SCALARS = [f"{d} scalar" for d in ("float64", "float32", "int64", "int32", "bool")]
PAIRS = [
    *((a, b) for a in _SCALARS for b in _SCALARS),
    ("special", "one"), ("one", "special"), ("float32 square", "square"), ("int64 square", "float32 square"),
    ("float32 square", "int32 scalar"), ("bool square", "float32 square"), ("bool square", "int64 square"),
    ("bool square", "bool square"), ("empty", "empty"), ("empty", "empty int64"), ("0 x 3", "empty"),
    ("int64", "int64"), ("int64", "int32"), ("int32", "float32 special"), ("3 x 0", "0 x 3"),
    ("0 x 3", "3 x 0"), ("empty bool", "empty bool"), ("float32 square", "float32 square"),
    ("square", "one"), ("one int64", "int64"), ("unit", "unit"), ("matrix", "row"), ("row", "row"),
]

UNARY = """negative absolute fabs sign sqrt cbrt square exp exp2 expm1 log log1p log2 log10 reciprocal arctan
    arcsinh arcsin arccos arctanh arccosh sin cos tan sinh cosh tanh floor ceil trunc rint deg2rad rad2deg
    radians degrees positive isnan isinf isfinite signbit logical_not conjugate invert modf""".split()
BINARY = """add subtract multiply divide power float_power maximum minimum fmax fmin arctan2 hypot logaddexp
    logaddexp2 remainder fmod floor_divide copysign less less_equal greater greater_equal equal not_equal
    logical_and logical_or logical_xor heaviside divmod bitwise_and bitwise_or bitwise_xor""".split()
REDUCTIONS = """sum prod max min ptp any all count_nonzero mean var std average nansum nanprod nanmean nanmax
    nanmin argmax argmin cumsum cumprod linalg.norm""".split()
AXES: tuple[Any, ...] = (0, -1, 1, (0, 1), (), (0, -1))


def _get(name: str) -> Any:
    found: Any = np
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _with(name: str, **options: Any) -> Callable[..., Any]:
    return lambda x: _get(name)(x, **options)


def _reductions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in REDUCTIONS:
        yield name, _get(name)
        for axis in AXES:
            yield f"{name} axis={axis}", _with(name, axis=axis)
        if not name.startswith("cum"):
            yield f"{name} keepdims", _with(name, axis=-1, keepdims=True)
            yield f"{name} keepdims all", _with(name, keepdims=True)
    for name in ("sum", "prod", "mean", "var", "std", "nansum", "nanprod", "cumsum", "cumprod"):
        for dtype in ("f4", "f8", "i4", "i8", "?"):
            yield f"{name} dtype={dtype}", _with(name, dtype=dtype)
    for name in ("var", "std"):
        for ddof in (1, 2, 7, 0.5, -1):
            yield f"{name} ddof={ddof}", _with(name, ddof=ddof)
    for name in ("sum", "prod", "max", "min"):
        for initial in (0, 1, 2.5, -1, nan, -inf, 2**40, np.float32(3), np.int64(2), True):
            yield f"{name} initial={initial!r}", _with(name, initial=initial)
            yield f"{name} initial={initial!r} axis=0", _with(name, initial=initial, axis=0)
        yield f"{name} where", lambda x, n=name: _get(n)(x, where=np.zeros(x.shape, bool))


def _norms() -> Iterator[tuple[str, Callable[..., Any]]]:
    for order in (None, 0, 1, 2, 3, -1, 0.5, inf, -inf, "fro", "nuc"):
        for axis in (None, 0, -1, (0, 1)):
            yield f"linalg.norm {order} {axis}", lambda x, o=order, k=axis: N.linalg.norm(x, o, k)
        yield f"linalg.norm {order} kept", lambda x, o=order: N.linalg.norm(x, o, -1, True)
    for order in (0, 1, 2, 3, inf, -inf):
        for axis in (None, 0, (0, 1)):
            yield f"linalg.vector_norm {order} {axis}", _with("linalg.vector_norm", ord=order, axis=axis)
    for order in ("fro", 1, -1, inf, 2):
        yield f"linalg.matrix_norm {order}", _with("linalg.matrix_norm", ord=order)


ONE: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in UNARY}, **dict(_reductions()), **dict(_norms()),
    "where": lambda x: N.where(x > 0, x, 0), "where 1": lambda x: N.where(x > 0, x, 0.5), "where 2": lambda x: N.where(x, x, np.float32(1)),
    "where 3": lambda x: N.where(x > 0, 1, 2), "where 4": lambda x: N.where(x > 0, x, np.int32(1)),
    "clip": lambda x: N.clip(x, -0.5, 0.5), "clip 1": lambda x: N.clip(x, 0, None), "clip 2": lambda x: N.clip(x, None, 1), "clip 3": lambda x: N.clip(x, 0, 1),
    "clip 4": lambda x: N.clip(x, 1, 0), "clip 5": lambda x: N.clip(x, nan, 1), "clip 6": lambda x: N.clip(x, None, None), "clip 7": lambda x: N.clip(x, np.float64(0), np.float64(1)),
    "select": lambda x: N.select([x > 1, x > 0], [x, x * 2], -1.0), "select 1": lambda x: N.select([x > 1, x > 0], [x, 2], 0), "select 2": lambda x: N.select([x > 1], [x]),
    "piecewise": lambda x: N.piecewise(x, [x < 0, x > 1], [lambda v: -v, 3.5, lambda v: v * v]), "piecewise 1": lambda x: N.piecewise(x, [x < 0, x < 1], [1, 2]),
    "nan_to_num": N.nan_to_num, "nan_to_num 1": lambda x: N.nan_to_num(x, nan=1, posinf=2, neginf=3), "nan_to_num 2": lambda x: N.nan_to_num(x, nan=nan),
    **{f"round {d}": lambda x, d=d: N.round(x, d) for d in (0, 1, 2, -1, -2, 20, 400)},
    "sinc": N.sinc, "isclose": lambda x: N.isclose(x, x), "isclose 1": lambda x: N.isclose(x, 1), "isclose 2": lambda x: N.isclose(x, x, equal_nan=True), "isclose 3": lambda x: N.isclose(x, inf),
    "allclose": lambda x: N.allclose(x, x), "array_equal": lambda x: N.array_equal(x, x), "isneginf": N.isneginf, "isposinf": N.isposinf, "real": N.real, "imag": N.imag,
    **{f"diff {n} {k}": lambda x, n=n, k=k: N.diff(x, n, k) for n in (0, 1, 2, 5, -1) for k in (0, -1)},
    "diff prepend": lambda x: N.diff(x, prepend=0), "diff both": lambda x: N.diff(x, prepend=1.5, append=x), "ediff1d": N.ediff1d,
    "trapezoid": N.trapezoid, "trapezoid 0": lambda x: N.trapezoid(x, axis=0), "trapezoid dx": lambda x: N.trapezoid(x, dx=2), "trapezoid x": lambda x: N.trapezoid(x, x), "trapezoid dx 1": lambda x: N.trapezoid(x, dx=np.float64(0.5)),
    "polyval": lambda x: N.polyval(x, 2.0), "polyval 1": lambda x: N.polyval([1, 2, 3], x), "polyval 2": lambda x: N.polyval(x, x), "polyval 3": lambda x: N.polyval(x, 3), "polyval 4": lambda x: N.polyval([1.5], x),
    "vander": N.vander, "vander 3": lambda x: N.vander(x, 3), "vander 0": lambda x: N.vander(x, 0), "vander 1": lambda x: N.vander(x, 1), "vander up": lambda x: N.vander(x, 4, increasing=True),
    "searchsorted": lambda x: N.searchsorted([-1.0, 0.0, 0.5, 2.0], x), "searchsorted 2": lambda x: N.searchsorted([0, 1, 5], x, "right"), "searchsorted 3": lambda x: N.searchsorted([], x), "searchsorted 4": lambda x: N.searchsorted([0.0, nan, nan], x),
    "digitize": lambda x: N.digitize(x, [-1, 0, 2]), "digitize 1": lambda x: N.digitize(x, [2.0, 0.5, -1.0], True), "interp 3": lambda x: N.interp(x, [0.5, 2.5, 1.0], [1.0, 4.0, 9.0], period=3),
    **{f"sort {k}": lambda x, k=k: N.sort(x, k) for k in (-1, 0, None)}, **{f"argsort {k}": lambda x, k=k: N.argsort(x, k, kind="stable") for k in (-1, 0, None)}, "partition": lambda x: N.sort(N.partition(x, 0)), "argpartition": lambda x: N.take_along_axis(x, N.argpartition(x, 0), -1).min(-1, initial=9),
    **{f"median {k}": lambda x, k=k: N.median(x, k) for k in (None, -1, 0, (0, 1))}, "median kept": lambda x: N.median(x, -1, keepdims=True),
    **{f"quantile {m}": lambda x, m=m: N.quantile(x, [[0.0, 0.3], [0.77, 1.0]], 0, method=m) for m in ("linear", "hazen", "weibull", "median_unbiased", "normal_unbiased", "interpolated_inverted_cdf", "lower", "higher", "midpoint", "nearest")},
    "quantile": lambda x: N.quantile(x, 0.25), "quantile 1": lambda x: N.quantile(x, 0.9, -1, keepdims=True), "quantile 2": lambda x: N.quantile(x, 1.5), "percentile": lambda x: N.percentile(x, [5, 50]), "percentile 1": lambda x: N.percentile(x, 20, -1),
    **{f"{n} {k}": lambda x, n=n, k=k: _get(n)(x, k) for n in ("nanvar", "nanstd", "nancumsum", "nancumprod", "maximum.accumulate", "minimum.accumulate", "logaddexp.accumulate", "logaddexp.reduce", "hypot.reduce") for k in (0, -1)},
    "nanvar": lambda x: N.nanvar(x, ddof=1), "nanstd": lambda x: N.nanstd(x, keepdims=True), "logaddexp.reduce": lambda x: N.logaddexp.reduce(x, None), "corrcoef": N.corrcoef, "corrcoef 1": lambda x: N.corrcoef(x, rowvar=False), "bincount": lambda x: N.bincount(np.arange(x.size) % 2, x, 4),
    "gradient": N.gradient, "gradient 1": lambda x: N.gradient(x, 0.5, axis=0), "gradient 2": lambda x: N.gradient(x, np.arange(len(x)) ** 2.0, axis=0), "gradient 3": lambda x: N.gradient(x, edge_order=2), "gradient 4": lambda x: N.gradient(x, np.arange(len(x)) ** 2.0, axis=0, edge_order=2), "gradient 5": lambda x: N.gradient(x, 1, 2.0),
    "unwrap": N.unwrap, "unwrap 1": lambda x: N.unwrap(x, axis=0, period=2.0), "unwrap 2": lambda x: N.unwrap(x, 3.0),
    "interp": lambda x: N.interp(x, [-1, 0, 0.3, 2], [1, 2, 3, 4]), "interp 1": lambda x: N.interp(x, [0.0, 1], [0.0, inf]), "interp 2": lambda x: N.interp([0.5, -5, 5, nan], np.arange(x.shape[0]), x),
    "zeros_like": N.zeros_like, "ones_like": N.ones_like, "full_like": lambda x: N.full_like(x, 2.5), "full_like 1": lambda x: N.full_like(x, 2, dtype=float), "zeros_like 1": lambda x: N.zeros_like(x, shape=(2,)),
    "linspace": lambda x: N.linspace(x, 1, 3), "linspace 1": lambda x: N.linspace(0, x, 5, endpoint=False), "linspace 2": lambda x: N.linspace(0, x, 1), "linspace 3": lambda x: N.linspace(0, x, 0), "linspace 4": lambda x: N.linspace(0, x, -1),
    "linspace step": lambda x: N.linspace(0, x, 3, retstep=True), "linspace step 1": lambda x: N.linspace(0, x, 1, retstep=True), "linspace float64": lambda x: N.linspace(np.float64(0), x, 3),
    "cov": N.cov, "cov 1": lambda x: N.cov(x, rowvar=False), "cov 2": lambda x: N.cov(x, bias=True), "cov 3": lambda x: N.cov(x, ddof=0), "cov 4": lambda x: N.cov(x, ddof=5), "cov 5": lambda x: N.cov(x, x), "cov 6": lambda x: N.cov(x, x, rowvar=False),
    "convolve": lambda x: N.convolve(x, [1, 2, 3], "same"), "convolve 1": lambda x: N.convolve(x, [1, 2.5], "valid"), "convolve 2": lambda x: N.convolve(x, np.float32([1, 2])),
    "correlate": lambda x: N.correlate(x, x), "correlate 1": lambda x: N.correlate(x, [1, 2, 3, 4], "full"), "correlate 2": lambda x: N.correlate(x, [1, 2], "same"), "correlate 3": lambda x: N.correlate([1, 2], x),
    "dot": lambda x: N.dot(x, x), "dot 1": lambda x: N.dot(x, 2.0), "dot 2": lambda x: N.dot(x, np.float32(2)), "vdot": lambda x: N.vdot(x, x), "inner": lambda x: N.inner(x, x), "inner 1": lambda x: N.inner(x, 2), "outer": lambda x: N.outer(x, x),
    "matmul": lambda x: x @ x, "matmul 1": lambda x: x @ x.T, "matmul 2": lambda x: x @ np.ones(2), "tensordot": lambda x: N.tensordot(x, x, x.ndim), "tensordot 0": lambda x: N.tensordot(x, x, 0), "kron": lambda x: N.kron(x, x), "cross": lambda x: N.cross(x, x),
    "einsum": lambda x: N.einsum("i,i->", x, x), "einsum 1": lambda x: N.einsum("...i->...", x), "einsum 2": lambda x: N.einsum("ij,jk", x, x), "einsum 3": lambda x: N.einsum("ij->ji", x), "einsum 4": lambda x: N.einsum("i,j->ij", x, [1, 2.0]),
    "diagonal": N.diagonal, "diagonal 1": lambda x: N.diagonal(x, 1), "diagonal 9": lambda x: N.diagonal(x, 9), "trace": N.trace, "trace 1": lambda x: N.trace(x, -1), "trace f4": lambda x: N.trace(x, dtype="f4"),
    "diag": N.diag, "diag 1": lambda x: N.diag(x, 1), "diag -2": lambda x: N.diag(x, -2), "diagflat": N.diagflat, "tril": N.tril, "triu": lambda x: N.triu(x, 1),
    "solve": lambda x: N.linalg.solve(x, x), "solve 1": lambda x: N.linalg.solve(x, np.ones(2)), "solve 2": lambda x: N.linalg.solve(x, np.ones(2, "f4")), "solve 3": lambda x: N.linalg.solve(np.array([[2, 1], [1, 3]]), x),
    "eigvalsh": N.linalg.eigvalsh, "eigh": lambda x: N.linalg.eigh(x)[0], "inv": N.linalg.inv, "det": N.linalg.det, "slogdet": lambda x: tuple(N.linalg.slogdet(x)), **{f"matrix_power {k}": lambda x, k=k: N.linalg.matrix_power(x, k) for k in (-2, -1, 0, 1, 2, 3)},
    "take": lambda x: N.take(x, [0, -1]), "take 0": lambda x: N.take(x, [0], axis=0), "take 1": lambda x: N.take(x, np.zeros(0, int)), "take 2": lambda x: N.take(x, [7, -9], mode="wrap"), "take 3": lambda x: N.take(x, [7, -9], mode="clip"), "take 4": lambda x: N.take(x, [50]),
    "apply_along_axis": lambda x: N.apply_along_axis(N.sum, -1, x), "apply_along_axis 1": lambda x: N.apply_along_axis(N.cumsum, 0, x), "apply_along_axis 2": lambda x: N.apply_along_axis(lambda v: v[:1], axis=1, arr=x),
    "apply_over_axes": lambda x: N.apply_over_axes(N.sum, x, [0]), "apply_over_axes 1": lambda x: N.apply_over_axes(N.max, x, (0, -1)), "apply_over_axes 2": lambda x: N.apply_over_axes(N.sum, x, 1),
    "take_along_axis": lambda x: N.take_along_axis(x, np.zeros(x.shape, int), -1), "take_along_axis 1": lambda x: N.take_along_axis(x, np.array([0]), None),
    "compress": lambda x: N.compress([True, False], x), "compress 0": lambda x: N.compress([True, False], x, axis=0), "extract": lambda x: N.extract(np.ones(x.shape, bool), x),
    "choose": lambda x: N.choose([0, 1], [x, 2 * x]), "choose 1": lambda x: N.choose(np.zeros(0, int), [x, x]), "choose 2": lambda x: N.choose([0], [x, 1.5]), "choose 3": lambda x: N.choose([-1], [x]), "choose 4": lambda x: N.choose(np.int32([0, 1]), [x, np.float32(1)]), "choose 5": lambda x: N.choose([0, 1], [x, 2]),
    "delete": lambda x: N.delete(x, 0), "delete 1": lambda x: N.delete(x, [0, -1], axis=0), "delete 2": lambda x: N.delete(x, slice(0, 2)), "delete 3": lambda x: N.delete(x, 99),
    "insert": lambda x: N.insert(x, 1, 9), "insert 1": lambda x: N.insert(x, 1, 9.7), "insert 2": lambda x: N.insert(x, 0, 5, axis=0), "insert 3": lambda x: N.insert(x, [0, 1], 5), "insert 4": lambda x: N.insert(x, 99, 5), "insert 5": lambda x: N.insert(x, 0, True),
    "concatenate": lambda x: N.concatenate([x, x]), "concatenate 1": lambda x: N.concatenate([x, np.float32([1])]), "concatenate 2": lambda x: N.concatenate([x, [1]], axis=None), "concatenate f4": lambda x: N.concatenate([x, x], dtype="f4"), "concatenate i4": lambda x: N.concatenate([x, x], dtype="i4"),
    "stack": lambda x: N.stack([x, x], -1), "stack 1": lambda x: N.stack([x, 1.0]), "stack i4": lambda x: N.stack([x, x], dtype="i4"), "hstack": lambda x: N.hstack([x, 1]), "vstack": lambda x: N.vstack([x, x]), "dstack": lambda x: N.dstack([x, x]), "column_stack": lambda x: N.column_stack([x, x]),
    "append": lambda x: N.append(x, 1), "append 1": lambda x: N.append(x, 1.5), "append 2": lambda x: N.append(x, x, axis=0), "block": lambda x: N.block([[x, x]]), "block 1": lambda x: N.block([x, 1.5]), "meshgrid": lambda x: N.meshgrid(x, x),
    "split": lambda x: N.split(x, 2), "split 1": lambda x: N.split(x, [1, -1]), "split 2": lambda x: N.split(x, [5, 1]), "split 3": lambda x: N.split(x, 0), "array_split": lambda x: N.array_split(x, 3), "hsplit": lambda x: N.hsplit(x, 2), "vsplit": lambda x: N.vsplit(x, 2), "dsplit": lambda x: N.dsplit(x, 2),
    "flip": N.flip, "flip 0": lambda x: N.flip(x, 0), "fliplr": N.fliplr, **{f"rot90 {k}": lambda x, k=k: N.rot90(x, k) for k in (0, 1, 2, 3, -1)}, "roll": lambda x: N.roll(x, 2), "roll 1": lambda x: N.roll(x, -7, 0), "roll 2": lambda x: N.roll(x, (1, 2), (0, 0)), "roll 3": lambda x: N.roll(x, (1, 2, 3), (0, 1)),
    "tile": lambda x: N.tile(x, (2, 1, 3)), "tile 0": lambda x: N.tile(x, 0), "repeat": lambda x: N.repeat(x, 2), "repeat 0": lambda x: N.repeat(x, 0), "repeat 1": lambda x: N.repeat(x, [1, 2], axis=0), "repeat 2": lambda x: N.repeat(x, -1),
    **{f"pad {mode}": lambda x, m=mode: N.pad(x, 1, mode=m) for mode in ("constant", "edge", "reflect", "symmetric", "wrap")}, "pad wrap 9": lambda x: N.pad(x, 9, mode="wrap"), "pad 2.7": lambda x: N.pad(x, 1, constant_values=2.7), "pad nan": lambda x: N.pad(x, 1, constant_values=nan), "pad -1": lambda x: N.pad(x, -1),
    "reshape": lambda x: x.reshape(-1), "reshape 1": lambda x: x.reshape(-1, 2), "reshape 2": lambda x: x.reshape(0, -1), "squeeze": N.squeeze, "expand_dims": lambda x: N.expand_dims(x, (0, -1)), "expand_dims 1": lambda x: N.expand_dims(x, (0, 0)), "swapaxes": lambda x: N.swapaxes(x, 0, -1), "moveaxis": lambda x: N.moveaxis(x, 0, -1),
    "rollaxis": lambda x: N.rollaxis(x, 0, 9), "transpose": lambda x: N.transpose(x, (-1, 0)), "atleast_3d": N.atleast_3d, "broadcast_to": lambda x: N.broadcast_to(x, (2, *x.shape)), "astype bool": lambda x: x.astype(bool), "astype f4": lambda x: x.astype("f4"),
    **{f"** {p!r}": lambda x, p=p: x**p for p in (0, 1, 2, 3, -1, 2.0, -1.0, 0.5, 40, True, np.int64(-1), np.float32(2))}, "power -2": lambda x: N.power(x, -2), "power i4": lambda x: N.power(x, np.int32(2)), "** array": lambda x: x ** np.array([2]), "** array 1": lambda x: x ** np.array([-1]), "2 **": lambda x: 2.0**x, "x ** x": lambda x: x**x,
    "// 0": lambda x: x // 0, "% 0": lambda x: x % 0, "/ 0": lambda x: x / 0, "% -2": lambda x: x % -2, "// -2": lambda x: x // -2, "% inf": lambda x: x % inf, "// 0.3": lambda x: x // 0.3, "divmod -3": lambda x: divmod(x, -3), "1 /": lambda x: 1 / x, "7 //": lambda x: 7 // x, "-7 %": lambda x: -7 % x,
    "> 2**40": lambda x: x > 2**40, "== 0.5": lambda x: x == 0.5, "+ 1": lambda x: x + 1, "+ 1.5": lambda x: x + 1.5, "+ float32": lambda x: x + np.float32(1.5), "+ int32": lambda x: x + np.int32(1), "+ True": lambda x: x + True, "+ 2**31": lambda x: x + 2**31, "abs": abs, "~": lambda x: ~x, "& 1": lambda x: x & 1,
    "add.reduce": N.add.reduce, "add.reduce 1": lambda x: N.add.reduce(x, axis=None, initial=5), "multiply.reduce": N.multiply.reduce, "maximum.reduce": N.maximum.reduce, "maximum.reduce 1": lambda x: N.maximum.reduce(x, initial=1), "logical_and.reduce": N.logical_and.reduce, "add.accumulate": N.add.accumulate,
    "subtract.outer": lambda x: N.subtract.outer(x, [1, 2.0]), "add dtype": lambda x: N.add(x, 1, dtype="f4"), "sin dtype": lambda x: N.sin(x, dtype="f8"), "multiply dtype": lambda x: N.multiply(x, x, dtype="f4"), "divide dtype": lambda x: N.divide(x, 3, dtype="f4"), "less dtype": lambda x: N.less(x, 1, dtype=bool), "add dtype 1": lambda x: N.add(x, 1, dtype="i4"),
    "average w": lambda x: N.average(x, weights=np.ones(x.shape)), "average 1": lambda x: N.average(x, weights=np.ones(x.shape, int)), "average 2": lambda x: N.average(x, axis=0, weights=np.ones(x.shape[:1], "f4")), "average 3": lambda x: N.average(x, returned=True), "average 4": lambda x: N.average(x, weights=np.zeros(x.shape)), "average 5": lambda x: N.average(x, axis=0, keepdims=True, returned=True),
}
TWO: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in BINARY},
    "where": lambda x, y: N.where(x > 0, x, y), "dot": N.dot, "matmul": lambda x, y: x @ y, "outer": N.outer, "inner": N.inner, "kron": N.kron, "concatenate": lambda x, y: N.concatenate([N.ravel(x), N.ravel(y)]), "stack": lambda x, y: N.stack(N.broadcast_arrays(x, y)),
    "cov": lambda x, y: N.cov(x, y), "cov 1": lambda x, y: N.cov(x, y, rowvar=False), "isclose": N.isclose, "clip": lambda x, y: N.clip(x, y, 1), "clip 1": lambda x, y: N.clip(x, 0, y), "solve": N.linalg.solve, "polyval": N.polyval, "trapezoid": N.trapezoid, "append": N.append,
    "einsum": lambda x, y: N.einsum("...i,...i->...", x, y), "tensordot": lambda x, y: N.tensordot(x, y, 1), "cross": N.cross, "array_equal": N.array_equal, "linspace": lambda x, y: N.linspace(x, y, 3), "select": lambda x, y: N.select([x > 0], [y], x), "vdot": N.vdot,
    "diff": lambda x, y: N.diff(x, prepend=y), "insert": lambda x, y: N.insert(x, 0, y), "**": lambda x, y: x**y, "//": lambda x, y: x // y, "%": lambda x, y: x % y, "divmod": lambda x, y: divmod(x, y), "&": lambda x, y: x & y,
}
# fmt: on


def calls() -> Iterator[tuple[str, Callable[..., Any], tuple[np.ndarray, ...]]]:
    """(label, function, arrays) for every row with every array that it is called with."""
    for name, f in ONE.items():
        for label, x in ARRAYS.items():
            yield f"{name} of {label}", f, (x,)
    for name, f in TWO.items():
        for a, b in PAIRS:
            yield f"{name} of {a} and {b}", f, (ARRAYS[a], ARRAYS[b])
        if name in BINARY:
            x, y = (g.ravel() for g in np.meshgrid(SPECIAL, SPECIAL))
            yield f"{name} of all pairs", f, (x, y)
