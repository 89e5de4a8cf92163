"""Interpolation of scipy.interpolate: piecewise polynomials with nodes that are known.

An interpolant that was made outside of the traced function has constant coefficients. One that is
made inside of traced values is linear in them: what SciPy makes of unit vectors is the matrix.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.errors import ShapeError, UnsupportedError
from symgrad.expr.node import Expr, array, bind, const
from symgrad.ops.einsum import einsum
from symgrad.ops.linear import broadcast_to, gather, permute, reshape, slice_
from symgrad.trace.handle import as_expr
from symgrad.trace.known import is_traced
from symgrad.trace.registry import to
from symgrad.trace.scipy_api import give
from symgrad.trace.search_api import search
from symgrad.trace.state import fail
from symgrad.trace.tracer import wrap


@dataclass(frozen=True)
class Piecewise:
    """A piecewise polynomial: coefficients[k, j] of (x - nodes[j])^(degree - k).

    nodes : plain and rising
    coefficients : (degree + 1, intervals, …), plain or traced
    extrapolate : beyond the ends True takes the end pieces, False is NaN, "periodic" repeats;
        a pair of numbers is what stands below and above
    axis : which axis of the values the variable's axes replace
    """

    nodes: np.ndarray
    coefficients: Any
    extrapolate: Any = True
    axis: int = 0

    def __call__(self, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
        chosen = self.extrapolate if extrapolate is None else extrapolate
        value = _value(self, to(as_expr(x), "float64"), int(nu), chosen)
        return give(value, x, self.coefficients)

    def derivative(self, nu: int = 1) -> Piecewise:
        """The derivative, a piecewise polynomial as well."""
        c = give(_derived(as_expr(self.coefficients), int(nu)), self.coefficients)
        return Piecewise(self.nodes, c, self.extrapolate, self.axis)


def _derived(c: Expr, nu: int) -> Expr:
    """Coefficients of the derivative of order `nu`."""
    if nu < 0:
        raise fail(UnsupportedError, "scipy.interpolate: antiderivatives are not traced")
    for _ in range(nu):
        degree = c.shape[0] - 1
        if degree == 0:
            return const(0.0, "float64", c.shape)
        powers = np.arange(degree, 0, -1.0).reshape((degree,) + (1,) * (c.ndim - 1))
        head = slice_(c, (0,) * c.ndim, (degree, *c.shape[1:]), (1,) * c.ndim)
        c = head * broadcast_to(array(powers), head.shape)
    return c


def _value(f: Piecewise, at: Expr, nu: int, extrapolate: Any) -> Expr:
    nodes = np.asarray(f.nodes, float)
    low, high = float(nodes[0]), float(nodes[-1])
    point = at
    if extrapolate == "periodic":
        length = const(high - low, "float64", at.shape)
        point = bind("mod", at - low, length) + low
    index = search(array(nodes[1:-1].copy()), point, True)
    index = bind("minimum", index, const(max(nodes.size - 2, 0), "int64", at.shape))
    rest = point - gather(array(nodes[:-1].copy()), index, 0)
    c = _derived(to(as_expr(f.coefficients), "float64"), nu)
    trailing = c.shape[2:]
    rest = broadcast_to(reshape(rest, at.shape + (1,) * len(trailing)), at.shape + trailing)
    total: Expr | None = None
    for k in range(c.shape[0]):  # Horner's rule
        row = reshape(slice_(c, (k,) + (0,) * (c.ndim - 1), (1, *c.shape[1:]), (1,) * c.ndim),
                      c.shape[1:])  # fmt: skip
        row = gather(row, index, 0)
        total = row if total is None else total * rest + row
    assert total is not None
    total = _outside(total, at, low, high, extrapolate)
    if f.axis:
        axes, n = list(range(total.ndim)), at.ndim
        total = permute(total, (*axes[n : n + f.axis], *axes[:n], *axes[n + f.axis :]))
    return total


def _outside(value: Expr, at: Expr, low: float, high: float, extrapolate: Any) -> Expr:
    if extrapolate in (True, "periodic"):
        return value
    below, above = (np.nan, np.nan) if extrapolate in (False, None) else extrapolate
    for beyond, end, fill in (("less", low, below), ("greater", high, above)):
        mask = bind(beyond, at, const(end, "float64", at.shape))
        mask = reshape(mask, at.shape + (1,) * (value.ndim - at.ndim))
        fill = broadcast_to(to(as_expr(fill), "float64"), value.shape)
        value = bind("select", broadcast_to(mask, value.shape), fill, value)
    return value


# ---- objects that were made outside of the function ------------------------------------------


def _rising(nodes: Any) -> np.ndarray:
    x = np.asarray(nodes, float)
    if x.size > 1 and x[0] > x[-1]:
        raise fail(UnsupportedError, "scipy.interpolate: falling breakpoints are not traced")
    return x


def _of_ppoly(spline: Any) -> Piecewise:
    if hasattr(spline, "from_power_basis"):  # a BPoly
        spline = _interpolate().PPoly.from_bernstein_basis(spline)
    return Piecewise(_rising(spline.x), spline.c, spline.extrapolate, spline.axis)


def ppoly(self: Any, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
    """A call of PPoly, CubicSpline, PchipInterpolator, Akima1DInterpolator, …"""
    return _of_ppoly(self)(x, nu, extrapolate)


def _interpolate() -> Any:
    return sys.modules["scipy.interpolate"]


def _of_knots(t: Any, c: Any, k: int, extrapolate: Any = True, axis: int = 0) -> Piecewise:
    """A spline of degree k: its polynomials between the inner knots; c plain, (n, …)."""
    t, c = np.asarray(t, float), np.asarray(c, float)
    n = t.size - k - 1
    flat = c[:n].reshape(n, -1)
    poly = _interpolate().PPoly
    pieces = [poly.from_spline((t, np.ascontiguousarray(column), k)).c for column in flat.T]
    coefficients = np.stack(pieces, -1)[:, k:n].reshape(k + 1, n - k, *c.shape[1:])
    return Piecewise(t[k : n + 1], coefficients, extrapolate, axis)


def bspline(self: Any, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
    """A call of a BSpline."""
    return _of_knots(self.t, self.c, self.k, self.extrapolate, self.axis)(x, nu, extrapolate)


def univariate(self: Any, x: Any, nu: int = 0, ext: Any = None) -> Any:
    """A call of a UnivariateSpline."""
    t, c, k = self._eval_args
    return _with_ext(t, c, k, x, nu, self.ext if ext is None else ext)


def splev(x: Any, tck: Any, der: int = 0, ext: int = 0) -> Any:
    """The value or a derivative of a spline (t, c, k) at x; c may be traced."""
    if type(tck).__name__ == "BSpline":
        return bspline(tck, x, der, bool(ext == 0))
    t, c, k = tck
    return _with_ext(t, c, k, x, der, ext)


_EXT = {"extrapolate": 0, "zeros": 1, "raise": 2, "const": 3}


def _with_ext(t: Any, c: Any, k: int, x: Any, nu: int, ext: Any) -> Any:
    """As splev has it; where it would raise, NaN."""
    ext = _EXT.get(ext, ext)
    made = BSpline(t, c, k) if _is_traced(c) else _of_knots(t, c, k)
    if ext == 0:
        return made(x, nu, True)
    if ext == 3:
        return made(np.clip(x, made.nodes[0], made.nodes[-1]), nu, True)
    fill = 0.0 if ext == 1 else np.nan
    return made(x, nu, (fill, fill))


def _is_traced(x: Any) -> bool:
    return isinstance(x, Expr) or is_traced(x)


_STEPS = ("nearest", "nearest-up", "previous", "next", "zero")


def interp1d(self: Any, x: Any) -> Any:
    """A call of an interp1d; where it would raise for a bound, the value is NaN."""
    nodes, values = np.asarray(self.x, float), np.moveaxis(np.asarray(self.y, float), self.axis, 0)
    kind, axis = self._kind, self.axis % self.y.ndim
    if kind in _STEPS and kind != "zero":
        return _steps(self, nodes, values, kind, x)
    extrapolate = True if self._extrapolate else _fill(self)
    if kind in ("linear", "slinear") and not hasattr(self, "_spline"):
        return _linear(nodes, values, extrapolate, axis)(x)
    spline = self._spline
    made = _of_knots(spline.t, spline.c.reshape(-1, *values.shape[1:]), spline.k)
    return Piecewise(made.nodes, made.coefficients, extrapolate, axis)(x)


def _fill(f: Any) -> tuple[Any, Any]:
    if f.bounds_error:
        return np.nan, np.nan
    return f._fill_value_below, f._fill_value_above


def _linear(nodes: np.ndarray, values: Any, extrapolate: Any, axis: int) -> Piecewise:
    widths = np.diff(nodes).reshape((-1,) + (1,) * (values.ndim - 1))
    coefficients = np.stack([(values[1:] - values[:-1]) / widths, values[:-1]])
    return Piecewise(nodes, coefficients, extrapolate, axis)


def _steps(f: Any, nodes: np.ndarray, values: np.ndarray, kind: str, x: Any) -> Any:
    at = to(as_expr(x), "float64")
    n = nodes.size
    if kind.startswith("nearest"):
        index = search(array((nodes[1:] + nodes[:-1]) / 2), at, kind == "nearest-up")
    elif kind == "previous":
        index = search(array(nodes), at, True) - 1
    else:
        index = search(array(nodes), at, False)
    limits = (const(0, "int64", at.shape), const(n - 1, "int64", at.shape))
    index = bind("minimum", bind("maximum", index, limits[0]), limits[1])
    value = gather(array(values), index, 0)
    if not f._extrapolate:
        value = _outside(value, at, float(nodes[0]), float(nodes[-1]), _fill(f))
    if f.axis % f.y.ndim:
        raise fail(UnsupportedError, "scipy.interpolate.interp1d: steps along axis 0 are traced")
    return give(value, x)


def regular_grid(self: Any, xi: Any, method: Any = None, *, nu: Any = None) -> Any:
    """A call of a RegularGridInterpolator, linear or nearest; NaN where it would raise."""
    method = self.method if method is None else method
    if method != "linear" or nu is not None:
        raise fail(
            UnsupportedError,
            f"scipy.interpolate.RegularGridInterpolator: method={method!r} is not traced; "
            "'linear' is",
        )
    at = to(as_expr(xi), "float64")
    d = len(self.grid)
    if at.ndim == 0 or at.shape[-1] != d:
        raise fail(ShapeError, f"RegularGridInterpolator: points of shape {at.shape} in {d}-D")
    values = np.asarray(self.values, float)
    rest = values.shape[d:]
    flat, points = array(values.reshape(-1, *rest)), reshape(at, (at.size // d, d))
    count = points.shape[0]
    corners: list[tuple[Expr, Expr]] = [
        (const(0, "int64", (count,)), const(1.0, "float64", (count,)))
    ]
    outside: Expr | None = None
    for k, nodes in enumerate(np.asarray(g, float) for g in self.grid):
        x = reshape(slice_(points, (0, k), (count, 1), (1, 1)), (count,))
        index = search(array(nodes[1:-1].copy()), x, True)
        index = bind("minimum", index, const(max(nodes.size - 2, 0), "int64", (count,)))
        base = gather(array(nodes[:-1].copy()), index, 0)
        share = (x - base) / gather(array(np.diff(nodes)), index, 0)
        size = nodes.size
        corners = [
            (place * size + index + step, weight * (share if step else 1 - share))
            for place, weight in corners for step in (0, 1)
        ]  # fmt: skip
        for beyond, end in (("less", nodes[0]), ("greater", nodes[-1])):
            mask = bind(beyond, x, const(float(end), "float64", (count,)))
            outside = mask if outside is None else bind("logical_or", outside, mask)
    total: Expr | None = None
    for place, weight in corners:
        wide = reshape(weight, (count,) + (1,) * len(rest))
        term = gather(flat, place, 0) * broadcast_to(wide, (count, *rest))
        total = term if total is None else total + term
    assert total is not None and outside is not None
    if self.bounds_error or self.fill_value is not None:
        fill = np.nan if self.bounds_error else float(self.fill_value)
        mask = broadcast_to(reshape(outside, (count,) + (1,) * len(rest)), total.shape)
        total = bind("select", mask, const(fill, "float64", total.shape), total)
    return give(reshape(total, (*at.shape[:-1], *rest)), xi)


# ---- objects that are made of traced values --------------------------------------------------


def _plain_nodes(what: str, x: Any) -> np.ndarray:
    if _is_traced(x):
        raise fail(
            UnsupportedError,
            f"scipy.interpolate.{what}: the nodes must be plain numbers; the values may be traced",
        )
    return np.asarray(x, float)


def _combined(basis: Piecewise, y: Any, axis: int, extrapolate: Any) -> Piecewise:
    """The interpolant of values y along `axis`, from those of the unit vectors."""
    values = to(as_expr(y), "float64")
    axis %= max(values.ndim, 1)
    order = (axis, *(k for k in range(values.ndim) if k != axis))
    values = permute(values, order)
    n, rest = values.shape[0], values.shape[1:]
    if n != basis.coefficients.shape[2]:
        raise fail(ShapeError, f"scipy.interpolate: {n} values for the nodes' count")
    flat = reshape(values, (n, values.size // n if n else 0))
    c = einsum([array(basis.coefficients), flat], ["kmj", "jr"], "kmr")
    c = wrap(reshape(c, (*c.shape[:2], *rest)))
    return Piecewise(basis.nodes, c, extrapolate, axis)


def BSpline(t: Any, c: Any, k: int, extrapolate: Any = True, axis: int = 0) -> Piecewise:
    """scipy.interpolate.BSpline of traced coefficients."""
    knots = _plain_nodes("BSpline", t)
    n = knots.size - k - 1
    values = as_expr(c)
    axis %= max(values.ndim, 1)
    if values.shape[axis] > n:  # as SciPy: what is more is not used
        starts, sizes = [0] * values.ndim, list(values.shape)
        sizes[axis] = n
        values = slice_(values, tuple(starts), tuple(sizes), (1,) * values.ndim)
    return _combined(_of_knots(knots, np.eye(n), k), values, axis, extrapolate)


def CubicSpline(
    x: Any, y: Any, axis: int = 0, bc_type: Any = "not-a-knot", extrapolate: Any = None
) -> Piecewise:
    """scipy.interpolate.CubicSpline of traced values at plain nodes."""
    nodes = _plain_nodes("CubicSpline", x)
    if bc_type == "periodic":
        raise fail(UnsupportedError, "scipy.interpolate.CubicSpline: a periodic one of traced "
                                     "values is not traced")  # fmt: skip
    simple, offset = bc_type, False
    if not isinstance(bc_type, str):
        simple = tuple(b if isinstance(b, str) else (b[0], np.zeros(nodes.size)) for b in bc_type)
        offset = any(not isinstance(b, str) and np.any(np.asarray(b[1])) for b in bc_type)
    cls = _interpolate().CubicSpline
    basis = _of_ppoly(cls(nodes, np.eye(nodes.size), 0, simple))
    made = _combined(basis, y, axis, True if extrapolate is None else extrapolate)
    if offset:
        zero = np.zeros(np.shape(as_expr(y)))
        shift = cls(nodes, zero, axis, bc_type).c
        return Piecewise(made.nodes, made.coefficients + shift, made.extrapolate, made.axis)
    return made


def make_interp_spline(
    x: Any, y: Any, k: int = 3, t: Any = None, bc_type: Any = None, axis: int = 0,
    check_finite: bool = True,
) -> Piecewise:  # fmt: skip
    """scipy.interpolate.make_interp_spline of traced values at plain nodes."""
    nodes = _plain_nodes("make_interp_spline", x)
    if bc_type is not None and not isinstance(bc_type, str):
        raise fail(UnsupportedError, "scipy.interpolate.make_interp_spline: bc_type is traced as a "
                                     "name")  # fmt: skip
    made = _interpolate().make_interp_spline(nodes, np.eye(nodes.size), k, t, bc_type)
    return _combined(_of_knots(made.t, made.c, made.k), y, axis, True)


def make_interp1d(
    x: Any, y: Any, kind: Any = "linear", axis: int = -1, copy: bool = True,
    bounds_error: Any = None, fill_value: Any = np.nan, assume_sorted: bool = False,
) -> Piecewise:  # fmt: skip
    """scipy.interpolate.interp1d of traced values at plain nodes; NaN where it would raise."""
    nodes = _plain_nodes("interp1d", x)
    if not assume_sorted and np.any(np.diff(nodes) <= 0):
        raise fail(UnsupportedError, "scipy.interpolate.interp1d of traced values: nodes must rise")
    unit = np.eye(nodes.size)
    degrees = {"slinear": 1, "quadratic": 2, "cubic": 3}
    if kind == "linear":
        basis = _linear(nodes, unit, True, 0)
    elif kind in degrees or isinstance(kind, int):
        spline = _interpolate().make_interp_spline(nodes, unit, degrees.get(kind, kind))
        basis = _of_knots(spline.t, spline.c, spline.k)
    else:
        raise fail(UnsupportedError, f"scipy.interpolate.interp1d: kind={kind!r} of traced values")
    extrapolate: Any = True
    if not (isinstance(fill_value, str) and fill_value == "extrapolate"):
        fill = fill_value if isinstance(fill_value, tuple) else (fill_value, fill_value)
        extrapolate = (np.nan, np.nan) if bounds_error else fill
    return _combined(basis, y, axis, extrapolate)


NAMES: dict[str, Callable[..., Any]] = {
    "scipy.interpolate.PPoly.__call__": ppoly,
    "scipy.interpolate.CubicSpline.__call__": ppoly,
    "scipy.interpolate.BSpline.__call__": bspline,
    "scipy.interpolate.UnivariateSpline.__call__": univariate,
    "scipy.interpolate.interp1d.__call__": interp1d,
    "scipy.interpolate.RegularGridInterpolator.__call__": regular_grid,
    "scipy.interpolate.splev": splev,
    "scipy.interpolate.BSpline": BSpline,
    "scipy.interpolate.CubicSpline": CubicSpline,
    "scipy.interpolate.make_interp_spline": make_interp_spline,
    "scipy.interpolate.interp1d": make_interp1d,
}
