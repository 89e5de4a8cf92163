"""Hyper-dual numbers: the text of a program run by NumPy once more, with exact derivatives.

A `Jet` is x + a e1 + b e2 + ab e1 e2 with e1² = e2² = 0 (Fike & Alonso, The development of
hyper-dual numbers for exact second-derivative calculations, AIAA 2011-886). Where NumPy's protocols
bring it into a function, the rules below apply; nothing here knows of symgrad. With e1 along u and
e2 along v the parts of f are f, ∇f·u, ∇f·v and uᵀHv, without truncation error. JAX, the other
oracle, takes seconds for a program that this takes milliseconds for.

Ties of maxima share the derivative equally, which is the convention of both symgrad and JAX.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special


class Jet(np.lib.mixins.NDArrayOperatorsMixin):
    """Four arrays of one shape: a value, two directions, and the mixed second derivative."""

    __array_priority__ = 1000

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = [np.asarray(p) for p in parts]

    # ---- what arrays have ------------------------------------------------------------------------

    @property
    def value(self) -> np.ndarray:
        return self.parts[0]

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    dtype = property(lambda self: self.value.dtype)
    T = property(lambda self: self.map(np.transpose))

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Any:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index: Any) -> Jet:
        return self.map(lambda p: p[_plain(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        for mine, theirs in zip(self.parts, lift(value).parts, strict=True):
            mine[_plain(index)] = theirs

    def map(self, linear: Callable[[np.ndarray], Any]) -> Jet:
        """A linear function of all parts."""
        return Jet([linear(p) for p in self.parts])

    def astype(self, dtype: Any, **options: Any) -> Any:
        if np.issubdtype(dtype, np.floating):
            return self.map(np.copy)
        return self.value.astype(dtype)

    def copy(self) -> Jet:
        return self.map(np.copy)

    # ---- NumPy's protocols ---------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.pop("out", None)
        if method != "__call__" or options:
            raise NotImplementedError(f"{ufunc.__name__}.{method} of a Jet, {options}")
        name = ufunc.__name__
        if name in CONSTANT:
            result = ufunc(*[_plain(x) for x in inputs])
        elif name in ONE:
            result = unary(name, inputs[0])
        elif name in TWO:
            result = TWO[name](*inputs)
        else:
            raise NotImplementedError(f"ufunc {name} of a Jet")
        if out is not None:
            out[0][...] = result
            return out[0]
        return result

    def __array_function__(self, func: Any, _: Any, args: Any, kwargs: Any) -> Any:
        name = f"{func.__module__}.{func.__name__}".removeprefix("numpy.")
        if name in LINEAR:
            x, rest = lift(args[0]), [_plain(a) for a in args[1:]]
            made = [func(p, *rest, **{k: _plain(v) for k, v in kwargs.items()}) for p in x.parts]
            if isinstance(made[0], (list, tuple)):
                return [Jet(parts) for parts in zip(*made, strict=True)]
            return Jet(made)
        if name in JOINED:
            parts = zip(*[lift(a).parts for a in args[0]], strict=True)
            return Jet([func(list(p), *args[1:], **kwargs) for p in parts])
        if name in BILINEAR:
            rest = args[2:]
            return multilinear(lambda x, y: func(x, y, *rest, **kwargs), args[:2])
        if name in OTHERS:
            return OTHERS[name](*args, **kwargs)
        if name in VALUES:
            return func(*[_plain(a) for a in args], **kwargs)
        raise NotImplementedError(f"{name} of a Jet")


def _method(name: str) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: getattr(np, name)(self, *args, **kwargs)


for _name in ("sum mean max min prod cumsum cumprod std var reshape ravel transpose swapaxes "
              "argmax argmin clip squeeze trace diagonal take repeat dot ptp").split():  # fmt: skip
    if _name == "reshape":
        Jet.reshape = lambda self, *n: self.map(lambda p: p.reshape(*n))  # type: ignore[attr-defined]
    elif _name == "transpose":
        Jet.transpose = lambda self, *n: self.map(lambda p: p.transpose(*n))  # type: ignore[attr-defined]
    else:
        setattr(Jet, _name, _method(_name))
Jet.flatten = lambda self: self.map(lambda p: p.flatten())  # type: ignore[attr-defined]


def lift(x: Any) -> Jet:
    """`x` as a Jet; whatever is none is constant."""
    if isinstance(x, Jet):
        return x
    if isinstance(x, (list, tuple)) and _has_jets(x):
        return np.stack([lift(e) for e in x])  # type: ignore[call-overload]
    value = np.array(x)
    zero = np.zeros(value.shape, value.dtype if value.dtype.kind == "f" else float)
    return Jet([value, zero, zero.copy(), zero.copy()])


def _has_jets(x: Any) -> bool:
    return isinstance(x, Jet) or isinstance(x, (list, tuple)) and any(map(_has_jets, x))


def _plain(x: Any) -> Any:
    """Values alone, for what has no derivative."""
    if isinstance(x, Jet):
        return x.value
    if isinstance(x, tuple):
        return tuple(_plain(e) for e in x)
    return x


# ---- elementwise ---------------------------------------------------------------------------------


def chain(x: Jet, f: Any, first: Any, second: Any) -> Jet:
    v, a, b, ab = x.parts
    return Jet([f, first * a, first * b, first * ab + second * a * b])


def _sigmoid(v: Any) -> Any:
    return scipy.special.expit(v)


# name: value, first and second derivative as functions of the argument
ONE: dict[str, Any] = {
    "negative": (np.negative, lambda v: -np.ones_like(v), np.zeros_like),
    "positive": (np.positive, np.ones_like, np.zeros_like),
    "absolute": (np.abs, np.sign, np.zeros_like),
    "fabs": (np.abs, np.sign, np.zeros_like),
    "sin": (np.sin, np.cos, lambda v: -np.sin(v)),
    "cos": (np.cos, lambda v: -np.sin(v), lambda v: -np.cos(v)),
    "tan": (np.tan, lambda v: 1 / np.cos(v) ** 2, lambda v: 2 * np.tan(v) / np.cos(v) ** 2),
    "exp": (np.exp, np.exp, np.exp),
    "exp2": (np.exp2, lambda v: math.log(2) * np.exp2(v), lambda v: math.log(2) ** 2 * np.exp2(v)),
    "expm1": (np.expm1, np.exp, np.exp),
    "log": (np.log, lambda v: 1 / v, lambda v: -1 / v**2),
    "log1p": (np.log1p, lambda v: 1 / (1 + v), lambda v: -1 / (1 + v) ** 2),
    "log2": (np.log2, lambda v: 1 / (v * math.log(2)), lambda v: -1 / (v**2 * math.log(2))),
    "log10": (np.log10, lambda v: 1 / (v * math.log(10)), lambda v: -1 / (v**2 * math.log(10))),
    "sqrt": (np.sqrt, lambda v: 0.5 / np.sqrt(v), lambda v: -0.25 / (v * np.sqrt(v))),
    "cbrt": (np.cbrt, lambda v: np.cbrt(v) / (3 * v), lambda v: -2 * np.cbrt(v) / (9 * v * v)),
    "square": (np.square, lambda v: 2 * v, lambda v: 2 * np.ones_like(v)),
    "reciprocal": (np.reciprocal, lambda v: -1 / v**2, lambda v: 2 / v**3),
    "sinh": (np.sinh, np.cosh, np.sinh),
    "cosh": (np.cosh, np.sinh, np.cosh),
    "tanh": (np.tanh, lambda v: 1 / np.cosh(v) ** 2, lambda v: -2 * np.tanh(v) / np.cosh(v) ** 2),
    "arcsin": (np.arcsin, lambda v: (1 - v * v) ** -0.5, lambda v: v * (1 - v * v) ** -1.5),
    "arctan": (np.arctan, lambda v: 1 / (1 + v * v), lambda v: -2 * v / (1 + v * v) ** 2),
    "arcsinh": (np.arcsinh, lambda v: (1 + v * v) ** -0.5, lambda v: -v * (1 + v * v) ** -1.5),
    "deg2rad": (np.deg2rad, lambda v: np.full_like(v, math.pi / 180), np.zeros_like),
    "erf": (scipy.special.erf, lambda v: 2 / math.sqrt(math.pi) * np.exp(-v * v),
            lambda v: -4 * v / math.sqrt(math.pi) * np.exp(-v * v)),
    "expit": (_sigmoid, lambda v: _sigmoid(v) * _sigmoid(-v),
              lambda v: _sigmoid(v) * _sigmoid(-v) * (_sigmoid(-v) - _sigmoid(v))),
}  # fmt: skip
CONSTANT = set(
    "less less_equal greater greater_equal equal not_equal isfinite isnan isinf floor ceil rint "
    "trunc sign logical_and logical_or logical_not floor_divide signbit".split()
)


def unary(name: str, x: Any) -> Jet:
    x = lift(x)
    f, first, second = ONE[name]
    return chain(x, f(x.value), first(x.value), second(x.value))


def add(x: Any, y: Any) -> Jet:
    return _both(x, y, np.add)


def subtract(x: Any, y: Any) -> Jet:
    return _both(x, y, np.subtract)


def _both(x: Any, y: Any, linear: Any) -> Jet:
    pairs = zip(lift(x).parts, lift(y).parts, strict=True)
    return Jet([linear(p, q) for p, q in pairs])


def multiply(x: Any, y: Any) -> Jet:
    return multilinear(np.multiply, (x, y))


def divide(x: Any, y: Any) -> Jet:
    result = multiply(x, unary("reciprocal", _float(y)))
    result.parts[0] = np.divide(_plain(x), _plain(y))
    return result


def _float(x: Any) -> Jet:
    x = lift(x)
    return x if x.dtype.kind == "f" else Jet([x.value * 1.0, *x.parts[1:]])


def power(x: Any, y: Any) -> Jet:
    if not isinstance(y, Jet):
        x, p = lift(x), np.asarray(y)
        v = x.value
        with np.errstate(all="ignore"):
            first = np.where(p == 0, 0.0, p * v ** np.where(p == 0, 1, p - 1))
            flat = (p == 0) | (p == 1)
            second = np.where(flat, 0.0, p * (p - 1) * v ** np.where(flat, 1, p - 2.0))
        return chain(x, np.power(v, y), first, second)
    result = unary("exp", multiply(y, unary("log", _float(x))))
    result.parts[0] = np.power(_plain(x), y.value)
    return result


def _extremum(better: Any) -> Any:
    def rule(x: Any, y: Any) -> Jet:
        x, y = lift(x), lift(y)
        share = np.where(x.value == y.value, 0.5, better(x.value, y.value) * 1.0)
        return add(multiply(share, x), multiply(1 - share, y))

    return rule


def logaddexp(x: Any, y: Any) -> Jet:
    top = np.maximum(_plain(x), _plain(y))
    terms = add(unary("exp", subtract(x, top)), unary("exp", subtract(y, top)))
    return add(unary("log", terms), top)


def hypot(x: Any, y: Any) -> Jet:
    return unary("sqrt", add(multiply(x, x), multiply(y, y)))


def arctan2(y: Any, x: Any) -> Jet:
    (y, ya, yb, yab), (x, xa, xb, xab) = lift(y).parts, lift(x).parts
    r = x * x + y * y
    turn_a, turn_b = x * ya - y * xa, x * yb - y * xb
    mixed = xb * ya + x * yab - yb * xa - y * xab
    second = mixed / r - turn_a * 2 * (x * xb + y * yb) / r**2
    return Jet([np.arctan2(y, x), turn_a / r, turn_b / r, second])


def mod(x: Any, y: Any) -> Jet:
    return subtract(x, multiply(np.floor_divide(_plain(x), _plain(y)), y))


TWO: dict[str, Any] = {
    "add": add, "subtract": subtract, "multiply": multiply, "divide": divide, "power": power,
    "float_power": power, "maximum": _extremum(np.greater), "minimum": _extremum(np.less),
    "fmax": _extremum(np.greater), "fmin": _extremum(np.less), "logaddexp": logaddexp,
    "hypot": hypot, "arctan2": arctan2, "remainder": mod,
    "matmul": lambda x, y: multilinear(np.matmul, (x, y)),
    "vecdot": lambda x, y: multilinear(np.vecdot, (x, y)),
}  # fmt: skip


# ---- functions -----------------------------------------------------------------------------------


def multilinear(f: Any, factors: Sequence[Any]) -> Jet:
    """f of factors in each of which it is linear."""
    jets = [lift(x) for x in factors]
    moving = [k for k, x in enumerate(factors) if isinstance(x, Jet)]
    values = [x.value for x in jets]

    def changed(*pairs: tuple[int, int]) -> Any:
        with_parts = list(values)
        for k, part in pairs:
            with_parts[k] = jets[k].parts[part]
        return f(*with_parts)

    value = f(*values)
    a, b, ab = (sum((changed((k, part)) for k in moving), np.zeros(np.shape(value)))
                for part in (1, 2, 3))  # fmt: skip
    for k in moving:
        for l in moving:
            if k != l:
                ab = ab + changed((k, 1), (l, 2))
    return Jet([value, a, b, ab])


def _einsum(spec: str, *factors: Any, **_: Any) -> Jet:
    return multilinear(lambda *x: np.einsum(spec, *x), factors)


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    axis = tuple(range(x.ndim)) if axis is None else axis
    return tuple(k % x.ndim for k in (axis if isinstance(axis, tuple) else (axis,)))


def _best(best: Any) -> Any:
    def rule(x: Jet, axis: Any = None, keepdims: bool = False) -> Jet:
        top = best(x.value, axis=_axes(x, axis), keepdims=True)
        share = (x.value == top) * 1.0
        share /= np.sum(share, axis=_axes(x, axis), keepdims=True)
        parts = [np.sum(share * p, axis=_axes(x, axis), keepdims=keepdims) for p in x.parts]
        return Jet([best(x.value, axis=_axes(x, axis), keepdims=keepdims), *parts[1:]])

    return rule


def _prod(x: Jet, axis: Any = None, keepdims: bool = False) -> Jet:
    result = x
    for k in sorted(_axes(x, axis), reverse=True):
        total = lift(np.ones(result.shape[:k] + result.shape[k + 1 :]))
        for n in range(result.shape[k]):
            total = multiply(total, result.map(lambda p, k=k, n=n: np.take(p, n, axis=k)))
        result = total.map(lambda p, k=k: np.expand_dims(p, k)) if keepdims else total
    return result


def _cumprod(x: Jet, axis: Any = None) -> Jet:
    if axis is None:
        x, axis = x.map(np.ravel), 0
    found: list[Any] = []
    for n in range(x.shape[axis]):
        here = x.map(lambda p, n=n: np.take(p, n, axis=axis))
        found.append(multiply(found[-1], here) if found else here)
    return np.stack(found, axis=axis) if found else x  # type: ignore[return-value]


def _var(x: Jet, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
    centred = subtract(x, np.mean(x, axis=_axes(x, axis), keepdims=True))
    count = math.prod(x.shape[k] for k in _axes(x, axis)) - ddof
    return divide(np.sum(multiply(centred, centred), axis=_axes(x, axis), keepdims=keepdims), count)


def _std(x: Jet, **options: Any) -> Jet:
    return unary("sqrt", _var(x, **options))


def _norm(x: Jet, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    axes = _axes(x, axis)
    if ord in (None, 2, "fro"):
        squares = np.sum(multiply(x, x), axis=axes, keepdims=keepdims)
        zero = _plain(squares) == 0  # where the derivative of a norm counts as 0, as in ours
        return np.where(zero, 0.0, unary("sqrt", np.where(zero, 1.0, squares)))
    if ord == 1:
        return np.sum(np.abs(x), axis=axes, keepdims=keepdims)
    if ord == np.inf:
        return np.max(np.abs(x), axis=axes, keepdims=keepdims)
    raise NotImplementedError(f"norm with ord={ord}")


def logsumexp(x: Jet, axis: Any = None, keepdims: bool = False) -> Any:
    top = np.max(_plain(x), axis=_axes(x, axis), keepdims=True)
    total = np.sum(unary("exp", subtract(x, top)), axis=_axes(x, axis), keepdims=keepdims)
    return add(unary("log", total), top if keepdims else np.squeeze(top, _axes(x, axis)))


def softmax(x: Jet, axis: Any = None) -> Jet:
    return unary("exp", subtract(x, logsumexp(x, axis=axis, keepdims=True)))


def log_softmax(x: Jet, axis: Any = None) -> Jet:
    return subtract(x, logsumexp(x, axis=axis, keepdims=True))


def _solve(m: Any, y: Any) -> Jet:
    (m, ma, mb, mab), (y, ya, yb, yab) = lift(m).parts, lift(y).parts
    x = np.linalg.solve(m, y)
    xa, xb = np.linalg.solve(m, ya - ma @ x), np.linalg.solve(m, yb - mb @ x)
    return Jet([x, xa, xb, np.linalg.solve(m, yab - mab @ x - ma @ xb - mb @ xa)])


def _logdet_parts(m: Jet) -> tuple[Any, Any, Any]:
    a, b, ab = (np.linalg.solve(m.value, p) for p in m.parts[1:])
    trace = lambda z: np.trace(z, axis1=-2, axis2=-1)
    return trace(a), trace(b), trace(ab) - trace(a @ b)


def _det(m: Jet) -> Jet:
    det = np.linalg.det(m.value)
    a, b, ab = _logdet_parts(m)
    return Jet([det, det * a, det * b, det * (ab + a * b)])


def _slogdet(m: Jet) -> Any:
    sign, log = np.linalg.slogdet(m.value)
    return sign, Jet([log, *_logdet_parts(m)])


def _cholesky(m: Jet) -> Jet:
    """By columns, element by element."""
    n = m.shape[-1]
    l: dict[tuple[int, int], Any] = {}
    for j in range(n):
        for i in range(j, n):
            total = multiply(add(m[..., i, j], m[..., j, i]), 0.5)
            for k in range(j):
                total = subtract(total, multiply(l[i, k], l[j, k]))
            l[i, j] = unary("sqrt", total) if i == j else divide(total, l[j, j])
    zero = lift(np.zeros(m.shape[:-2]))
    rows = [np.stack([l.get((i, j), zero) for j in range(n)], axis=-1) for i in range(n)]
    return np.stack(rows, axis=-2)  # type: ignore[return-value]


def _matrix_power(m: Jet, n: int) -> Any:
    if n < 0:
        m, n = _solve(m, np.eye(m.shape[-1])), -n
    result: Any = np.eye(m.shape[-1])
    for _ in range(n):
        result = result @ m
    return result


def _sort(x: Jet, axis: int = -1) -> Jet:
    order = np.argsort(x.value, axis=axis)
    return x.map(lambda p: np.take_along_axis(p, order, axis=axis))


def _median(x: Jet, axis: Any = None) -> Jet:
    x = x.map(np.ravel) if axis is None else x.map(lambda p: np.moveaxis(p, axis, 0))
    x, n = _sort(x, 0), x.shape[0]
    return x.map(lambda p: (p[(n - 1) // 2] + p[n // 2]) / 2)


def _eigvalsh(m: Jet) -> Jet:
    """λ_i' = v_iᵀ A v_i; λ_i'' has 2 Σ_k (v_iᵀ A v_k)(v_kᵀ B v_i) / (λ_i - λ_k) as well."""
    values, v = np.linalg.eigh(m.value)
    a, b, both = (v.T @ p @ v for p in m.parts[1:])
    gaps = values[:, None] - values + np.diag(np.full(len(values), np.inf))
    mixed = np.diag(both) + 2 * np.sum(a * b.T / gaps, axis=1)
    return Jet([values, np.diag(a), np.diag(b), mixed])


def _where(c: Any, x: Any, y: Any) -> Jet:
    pairs = zip(lift(x).parts, lift(y).parts, strict=True)
    return Jet([np.where(_plain(c), p, q) for p, q in pairs])


def _clip(x: Jet, low: Any = None, high: Any = None) -> Any:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _pad(x: Jet, width: Any, mode: str = "constant", constant_values: Any = 0) -> Jet:
    if mode != "constant":
        return x.map(lambda p: np.pad(p, width, mode=mode))  # type: ignore[call-overload]
    value = np.pad(x.value, width, constant_values=constant_values)
    return Jet([value, *[np.pad(p, width) for p in x.parts[1:]]])


def _trapezoid(y: Jet, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    y = y.map(lambda p: np.moveaxis(p, axis, -1))
    step = dx if x is None else np.diff(x)
    return np.sum(multiply(multiply(add(y[..., 1:], y[..., :-1]), 0.5), step), axis=-1)


def _select(conditions: Any, choices: Any, default: Any = 0) -> Any:
    result = default
    for c, x in zip(reversed(conditions), reversed(choices), strict=True):
        result = _where(c, x, result)
    return result


def _polyval(p: Any, x: Jet) -> Any:
    result: Any = 0.0
    for c in p:
        result = add(multiply(result, x), c)
    return result


def _average(x: Any, axis: Any = None, weights: Any = None) -> Any:
    if weights is None:
        return np.mean(x, axis=axis)
    return divide(np.sum(multiply(x, weights), axis=axis), np.sum(weights, axis=axis))


def _cov(x: Jet) -> Any:
    centred = subtract(x, np.mean(x, axis=1, keepdims=True))
    return np.squeeze(divide(centred @ centred.T, x.shape[1] - 1))  # of one row a number


def _vander(x: Jet, n: int) -> Any:
    return np.stack([power(x, float(n - 1 - k)) for k in range(n)], axis=-1)


def _meshgrid(x: Any, y: Any) -> list[Any]:
    x, y = lift(x), lift(y)
    shape = (y.size, x.size)
    return [np.broadcast_to(x[None], shape), np.broadcast_to(y[:, None], shape)]


def _sum(x: Jet, where: Any = None, **options: Any) -> Jet:
    x = x if where is None else _where(where, x, 0.0)
    return x.map(lambda p: np.sum(p, **options))


LINEAR = set(
    "mean nansum ediff1d cumsum reshape ravel transpose swapaxes moveaxis squeeze expand_dims roll "
    "flip fliplr flipud rot90 tile repeat diff trace diag diagonal tril triu broadcast_to take "
    "take_along_axis delete atleast_1d atleast_2d atleast_3d copy split array_split hsplit vsplit "
    "real matrix_transpose linalg.matrix_transpose linalg.trace linalg.diagonal permute_dims "
    "compress".split()
)
JOINED = set("concatenate concat stack hstack vstack dstack column_stack".split())
BILINEAR = set("dot inner outer tensordot kron vdot convolve correlate cross linalg.outer".split())
VALUES = set("shape ndim size argmax argmin argsort any all count_nonzero array_equal".split())
OTHERS: dict[str, Any] = {
    "einsum": _einsum, "max": _best(np.max), "min": _best(np.min), "amax": _best(np.max),
    "amin": _best(np.min), "prod": _prod, "cumprod": _cumprod, "var": _var, "std": _std,
    "ptp": lambda x, axis=None: subtract(np.max(x, axis=axis), np.min(x, axis=axis)),
    "average": _average, "select": _select, "polyval": _polyval, "cov": _cov, "vander": _vander,
    "meshgrid": _meshgrid, "nan_to_num": lambda x: x,
    "sum": lambda x, axis=None, **options: _sum(x, axis=axis, **options),
    "linalg.norm": _norm, "linalg.solve": _solve, "linalg.det": _det, "linalg.slogdet": _slogdet,
    "linalg.inv": lambda m: _solve(m, np.broadcast_to(np.eye(m.shape[-1]), m.shape)),
    "linalg.cholesky": _cholesky, "linalg.matrix_power": _matrix_power,
    "where": _where, "clip": _clip, "pad": _pad, "trapezoid": _trapezoid,
    "sort": _sort, "median": _median, "linalg.eigvalsh": _eigvalsh,
    "linalg.eigh": lambda m: (_eigvalsh(m), None),
    "zeros_like": lambda x: lift(np.zeros(x.shape)), "ones_like": lambda x: lift(np.ones(x.shape)),
    "full_like": lambda x, c: lift(np.full(x.shape, c * 1.0)),
    "append": lambda x, y, axis=None: np.concatenate([np.ravel(x), np.ravel(y)] if axis is None
                                                     else [x, y], axis=axis or 0),
}  # fmt: skip


# ---- names for the text of a program -------------------------------------------------------------


class _Numpy(types.ModuleType):
    """NumPy in double precision alone, whose fresh arrays can hold Jets."""

    float32 = np.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    zeros = staticmethod(lambda shape, dtype=float: _fresh(np.zeros(shape, dtype)))
    ones = staticmethod(lambda shape, dtype=float: _fresh(np.ones(shape, dtype)))
    empty = staticmethod(lambda shape, dtype=float: _fresh(np.zeros(shape, dtype)))
    full = staticmethod(lambda shape, value: _full(shape, value))

    @staticmethod
    def array(x: Any, dtype: Any = None) -> Any:
        if not _has_jets(x):
            return np.array(x, dtype)
        made = lift(x)
        return made.copy() if made.dtype.kind == "f" else made.value

    asarray = array


def _fresh(x: np.ndarray) -> Any:
    return lift(x) if x.dtype.kind == "f" else x


def _full(shape: Any, value: Any) -> Any:
    return multiply(np.ones(shape), value) if isinstance(value, Jet) else np.full(shape, value)


NUMPY = _Numpy("numpy")
SPECIAL = types.SimpleNamespace(
    logsumexp=logsumexp,
    softmax=softmax,
    log_softmax=log_softmax,
    erf=lambda x: unary("erf", x),
    expit=lambda x: unary("expit", x),
)
