"""What a traced mask selects, ``x[x > 0]``: how many elements that are is not known.

`Masked` stands for them as long as that does not matter: elementwise operations, sums, means and
products, and storing them where the same mask selects. It holds the whole array, and what is done
to it is done to all elements; only selected ones are ever read. All else raises, and says what to
write; a mask that is an argument becomes static then, and a short one is followed path by path.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad.errors import ConcretizationError, at_user_line
from symgrad.expr.node import Expr, bind
from symgrad.trace import indexing, journal
from symgrad.trace.handle import Handle, as_expr, operand
from symgrad.trace.state import CURRENT, Site, remembered, site


def known_mask(mask: Any) -> np.ndarray | None:
    """The mask where it is known while tracing, or on the path of the function that is run."""
    value: np.ndarray | None = mask.known()
    trace = CURRENT.get()
    if value is not None or trace.paths is None or journal.is_side():
        return value
    if site() not in trace.paths.sites:
        return None
    elements = [bool(mask[k]) for k in np.ndindex(mask.shape)]
    return np.array(elements, bool).reshape(mask.shape)


def unknown_size(mask: Any, what: str = "", applied: Site | None = None) -> ConcretizationError:
    """The error of what needs the number of elements that a mask selects.

    applied : where the mask was, which may be in another function than what needs the number
    """
    message = (
        f"{what}a traced boolean mask selects a number of elements that is not known while "
        "tracing; use np.where(mask, a, b), or multiply by the mask before a sum"
    )
    error = remembered(ConcretizationError(at_user_line(message, applied)))
    where = site()
    error.operands = (mask.expr,)
    error.decisions = journal.sites() | ({where} if where else set())
    return error


def is_mask(index: Any) -> bool:
    """Whether an index is a mask that is traced."""
    traced = isinstance(index, Handle) and not index.is_known
    return traced and index.expr.dtype == "bool" and index.expr.shape != ()


def masked_store(x: Expr, index: Any, y: Any, same_kind: Callable[[Expr], Expr]) -> Expr:
    """`x` after ``x[index] = y`` with a number, or with what the same mask selects."""
    mask = operand(index)
    if isinstance(y, Masked) and y.mask.expr is mask and mask.shape == x.shape:
        return bind("select", mask, same_kind(y.values.expr), x)
    value = as_expr(y)
    if value.size != 1 or mask.shape != x.shape[: mask.ndim]:
        what = "z[mask] = y is possible for a number y, or one that the same mask selects: "
        raise unknown_size(index, what)
    return indexing.masked(x, mask, same_kind(value))


class Masked:
    """The elements of `values` where `mask` holds; both are traced arrays of one shape."""

    __slots__ = ("error", "mask", "values")
    __array_priority__ = 1500.0
    __hash__ = object.__hash__
    __symgrad_refuses__ = True

    ndim = 1

    def __init__(self, values: Any, mask: Any, where: Any = None) -> None:
        self.values, self.mask = values, mask
        self.error = site() if where is None else where  # where the mask was applied

    def _fail(self, *args: Any, **kwargs: Any) -> Any:
        error = unknown_size(self.mask, applied=self.error)
        assert error.decisions is not None
        error.decisions |= {self.error} if self.error else set()
        raise error

    def _with(self, other: Any) -> Any:
        """An operand of an elementwise operation."""
        if isinstance(other, Masked):
            return other.values if other.mask.expr is self.mask.expr else self._fail()
        if isinstance(other, bool | int | float | np.generic):
            return other
        if getattr(type(other), "__symgrad_leaf__", False) and other.shape == ():
            return other
        return self._fail()

    def _of(self, values: Any) -> Masked:
        return Masked(values, self.mask, self.error)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._fail()

    def __repr__(self) -> str:
        return f"<some elements of {self.values!r}>"

    @property
    def dtype(self) -> np.dtype:
        dtype: np.dtype = self.values.dtype
        return dtype

    def copy(self) -> Masked:
        return self

    def astype(self, dtype: Any) -> Masked:
        return self._of(self.values.astype(dtype))

    # ---- NumPy's protocols ----
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options or ufunc.signature is not None:
            return self._fail()
        result = ufunc(*[self._with(v) for v in inputs])
        if ufunc is np.power and result.dtype.kind == "i":  # may fail for elements not selected
            return self._fail()
        return tuple(map(self._of, result)) if isinstance(result, tuple) else self._of(result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        found = _FUNCTIONS.get(function)
        return self._fail() if found is None or kwargs else found(*args)

    # ---- reductions ----
    def _filled(self, value: Any) -> Any:
        return np.where(self.mask, self.values, self.values.dtype.type(value))

    def sum(self, axis: Any = None) -> Any:
        return np.sum(self._filled(0)) if axis in (None, 0, -1) else self._fail()

    def prod(self, axis: Any = None) -> Any:
        return np.prod(self._filled(1)) if axis in (None, 0, -1) else self._fail()

    def mean(self, axis: Any = None) -> Any:
        mean = self.sum(axis) / np.sum(self.mask)
        return mean.astype(self.dtype) if self.dtype.kind == "f" else mean

    def any(self) -> Any:
        return np.any(np.logical_and(self.mask, self.values))

    def all(self) -> Any:
        return np.all(np.logical_or(np.logical_not(self.mask), self.values))

    def dot(self, other: Any) -> Any:
        if not isinstance(other, Masked) or self.dtype == bool:
            return self._fail()
        return (self * other).sum()  # type: ignore[operator]  # found by name

    __matmul__ = dot


def _norm(x: Masked) -> Any:
    return np.linalg.norm(x._filled(0).ravel())


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: Masked.sum, np.prod: Masked.prod, np.mean: Masked.mean, np.any: Masked.any,
    np.all: Masked.all, np.dot: lambda a, b: a.dot(b) if isinstance(a, Masked) else b._fail(),
    np.linalg.norm: _norm,
}  # fmt: skip


def _binary(name: str, reflected: bool) -> Callable[..., Any]:
    function = getattr(operator, name)

    def apply(self: Masked, other: Any) -> Any:
        other = self._with(other)
        result = function(other, self.values) if reflected else function(self.values, other)
        return self._fail() if name == "pow" and result.dtype.kind == "i" else self._of(result)

    return apply


def _unary(name: str) -> Callable[..., Any]:
    function = getattr(operator, name)
    return lambda self: self._of(function(self.values))


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor"):
    _plain = _name.rstrip("_")
    setattr(Masked, f"__{_plain}__", _binary(_name, False))
    setattr(Masked, f"__r{_plain}__", _binary(_name, True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Masked, f"__{_name}__", _binary(_name, False))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(Masked, f"__{_name}__", _unary(_name))
for _name in ("bool", "float", "int", "index", "len", "iter", "contains", "getitem", "setitem",
              "array", "rmatmul", "reduce", "complex", "round", "format"):  # fmt: skip
    setattr(Masked, f"__{_name}__", Masked._fail)
