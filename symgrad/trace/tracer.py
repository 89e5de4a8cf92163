"""Tracer, the value that stands for an array while the user's function is called.

In: whatever plain NumPy code does with an array. Out: Exprs. A tracer is a mutable handle on an
immutable Expr: ``x += 1`` and ``z[0] = y`` replace the Expr it holds, which is what NumPy's in-
place change looks like from outside as long as no other array shares the memory. Where one does,
or where the array belongs to the caller, the change raises MutationError: an in-place change is
followed or refused, never lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.errors import (
    DtypeError,
    ShapeError,
    UnsupportedError,
)
from symgrad.expr.node import FLOATS, Expr, bind, const
from symgrad.interchange import is_elsewhere
from symgrad.ops.linear import reshape
from symgrad.trace import indexing, ufuncs
from symgrad.trace.at import At
from symgrad.trace.handle import Handle, blames, has_ellipsis, is_view, operand, plain_index, strong
from symgrad.trace.masked import Masked, is_mask, known_mask, masked_store
from symgrad.trace.memory import Part, mark, share, store
from symgrad.trace.operators import Operators
from symgrad.trace.state import CURRENT, NO_TRACE, fail
from symgrad.trace.tables import DISPATCH, SUPPORTED, public_name, unsupported

_new = object.__new__


class Tracer(Handle, Operators):
    """A traced array. Behaves like a NumPy array; ``.expr`` is the expression it stands for."""

    __slots__ = ()

    __array_priority__ = 1000.0
    __symgrad_leaf__ = True
    __hash__ = Handle.__hash__  # a class with __eq__ inherits none

    if TYPE_CHECKING:  # classes have these as far as NumPy's have

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, index: Any) -> Any: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __len__(self) -> int: ...

    def __new__(cls, expr: Expr, is_argument: bool = False) -> Tracer:
        tracer = wrap(expr)
        if is_argument:  # of the trace that `record` starts with it
            tracer.is_argument, tracer.owner = True, NO_TRACE
        return tracer

    @property
    def T(self) -> Tracer:
        return SUPPORTED["transpose"](self)

    @property
    def mT(self) -> Tracer:
        return SUPPORTED["matrix_transpose"](self)

    @property
    def real(self) -> Tracer:
        return self

    @property
    def imag(self) -> Tracer:
        return SUPPORTED["zeros_like"](self)

    @property
    def at(self) -> At:
        """``x.at[index].set(y)`` and ``.add(y)``: a changed copy."""
        return At(self, wrap)

    def item(self, *index: Any) -> Any:
        """One element as a Python number, which stays traced."""
        expr = operand(self)
        if not index:
            if expr.size != 1:
                raise fail(ShapeError, f"x.item() of an array of shape {expr.shape}")
            index = (0,) * expr.ndim
        elif len(index) == 1 and not isinstance(index[0], tuple) and expr.ndim != 1:
            expr, index = reshape(expr, (expr.size,)), (index[0],)
        elif len(index) == 1 and isinstance(index[0], tuple):
            index = index[0]
        part = indexing.get(expr, indexing.parse(expr.shape, plain_index(tuple(index))))
        return _as_python(part)

    def compress(self, condition: Any, axis: Any = None, **options: Any) -> Any:
        """NumPy's function has the condition first."""
        return SUPPORTED["compress"](condition, self, axis, **options)

    def tolist(self) -> Any:
        """Nested lists of Python numbers, which stay traced."""
        if not self.shape:
            return _as_python(operand(self))
        return [self[k].tolist() for k in range(self.shape[0])]

    # ---- protocols ----
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        for value in inputs:
            known = isinstance(value, _KNOWN) or is_elsewhere(value)
            if not known and hasattr(type(value), "__array_ufunc__"):
                return NotImplemented
        if method == "__call__" and not kwargs:
            if ufunc.signature is None:
                return wrap_all(ufuncs.apply(ufunc, *[weak_operand(v) for v in inputs]))
        return SUPPORTED["ufunc"](ufunc, method, inputs, kwargs)

    @blames
    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        for cls in types:
            if not issubclass(cls, (Tracer, np.ndarray)):
                return NotImplemented
        implementation = DISPATCH.get(func)
        if implementation is None:
            raise unsupported(public_name(func))
        return implementation(*args, **kwargs)

    # ---- operators ----
    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        if modulo is not None:
            raise fail(UnsupportedError, "pow() with a modulus is not traced")
        if type(other) in (int, float):
            special = ufuncs.constant_power(operand(self), other, operator=True)
            if special is not None:
                return wrap(special)
        return _binary("", np.power, self, other)

    def __matmul__(self, other: Any) -> Any:
        return SUPPORTED["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return SUPPORTED["matmul"](other, self)

    def __invert__(self) -> Tracer:
        return wrap(ufuncs.apply(np.invert, operand(self)))

    def __neg__(self) -> Tracer:
        return wrap(ufuncs.apply(np.negative, operand(self)))

    def __pos__(self) -> Tracer:
        return wrap(ufuncs.apply(np.positive, operand(self)))

    def __abs__(self) -> Tracer:
        return wrap(ufuncs.apply(np.absolute, operand(self)))

    def __round__(self, ndigits: int | None = None) -> Tracer:
        return SUPPORTED["round"](self, ndigits or 0)

    def __trunc__(self) -> Tracer:
        return wrap(ufuncs.apply(np.trunc, operand(self)))

    def __floor__(self) -> Tracer:
        return wrap(ufuncs.apply(np.floor, operand(self)))

    def __ceil__(self) -> Tracer:
        return wrap(ufuncs.apply(np.ceil, operand(self)))


def _method(name: str) -> Callable[..., Any]:
    def method(self: Tracer, *args: Any, **kwargs: Any) -> Any:
        if name not in SUPPORTED:
            raise unsupported(f"the method x.{name}")
        return SUPPORTED[name](self, *args, **kwargs)

    method.__name__ = name
    return blames(method)


def _variadic(name: str) -> Callable[..., Any]:
    """x.reshape(2, 3) as well as x.reshape((2, 3))."""

    def method(self: Tracer, *args: Any, **kwargs: Any) -> Any:
        return SUPPORTED[name](self, args[0] if len(args) == 1 else (args or None), **kwargs)

    method.__name__ = name
    return method


for _name in (
    "sum", "mean", "max", "min", "prod", "var", "std", "any", "all", "argmax", "argmin", "ptp",
    "cumsum", "cumprod", "clip", "round", "trace", "diagonal", "swapaxes", "squeeze", "ravel",
    "take", "repeat", "dot", "copy", "astype", "flatten", "nonzero", "argsort",
    "argpartition", "searchsorted",
):  # fmt: skip
    setattr(Tracer, _name, _method(_name))
for _name in dir(np.ndarray):  # the others are refused by name
    if not (_name.startswith("_") or hasattr(Tracer, _name)) and callable(
        getattr(np.ndarray, _name)
    ):
        setattr(Tracer, _name, _method(_name))
for _name in ("reshape", "transpose"):
    setattr(Tracer, _name, _variadic(_name))
Tracer.conj = Tracer.conjugate = lambda self: self  # type: ignore[attr-defined]  # as NumPy has it


class ScalarTracer(Tracer):
    """A traced number. Not a sequence, so that NumPy passes our errors on unchanged."""

    __slots__ = ()


class PythonTracer(ScalarTracer):
    """A traced Python float or int, weak in promotion; so is what operators make of it."""

    __slots__ = ()

    def __neg__(self) -> Tracer:
        return wrap_python(ScalarTracer.__neg__(self))

    def __pos__(self) -> Tracer:
        return wrap_python(ScalarTracer.__pos__(self))

    def __abs__(self) -> Tracer:
        return wrap_python(ScalarTracer.__abs__(self))

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        result = ScalarTracer.__pow__(self, other, modulo)
        return wrap_python(result) if is_python(other) else result


class PythonBool(ScalarTracer):
    """A traced bool of Python's, as comparisons of Python's numbers give: an int in arithmetic.

    Beside arrays it is as one of NumPy's.
    """

    __slots__ = ()

    def as_int(self) -> Any:
        return wrap_python(ufuncs.convert(operand(self), "int64"))

    def __neg__(self) -> Tracer:
        return -self.as_int()

    def __pos__(self) -> Tracer:
        return self.as_int()

    __abs__ = __pos__

    def __invert__(self) -> Tracer:
        return -1 - self.as_int()

    def __round__(self, ndigits: int | None = None) -> Tracer:
        return self.as_int()

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        return self.as_int().__pow__(other, modulo) if is_python(other) else super().__pow__(other)


class ArrayTracer(Tracer):
    """A traced array of rank one or more."""

    __slots__ = ()

    def __len__(self) -> int:
        return self.expr.shape[0]

    def __iter__(self) -> Iterator[Tracer]:
        for k in range(self.expr.shape[0]):
            yield self[k]

    def __contains__(self, value: Any) -> bool:
        return bool(SUPPORTED["any"](self == value))  # raises, and says what to write

    @blames
    def __getitem__(self, index: Any) -> Any:
        expr = operand(self)
        if is_mask(index) and index.shape == expr.shape:
            mask = known_mask(index)
            if mask is None:
                return Masked(wrap(expr), wrap(index.expr))
            index = mask
        items = indexing.parse(expr.shape, plain_index(index))
        part = indexing.get(expr, items)
        if not part.shape and not has_ellipsis(index) or not is_view(index, items):
            return wrap(part)
        result = wrap_array(part)  # x[0, ...] is an array, x[0] is a number
        share(self, result, Part(items))
        return result

    def __setitem__(self: Tracer, index: Any, value: Any) -> None:
        expr = operand(self)
        if isinstance(value, Tracer) and value._base is self and type(value._derive) is Part:
            # z[1:] += 3 is tmp = z[1:]; tmp += 3; z[1:] = tmp: the second step wrote through
            # already.
            items = indexing.parse(expr.shape, plain_index(index))
            if indexing.is_place(items) and items == value._derive.items:
                return
        mask = known_mask(index) if is_mask(index) else None
        if mask is None and is_mask(index):
            new = masked_store(expr, index, value, self._same_kind)
        else:
            index = index if mask is None else mask
            items = indexing.parse(expr.shape, plain_index(index))
            new = indexing.replace(expr, items, self._same_kind(strong(value, expr.dtype)))
        store(self, new, "z[index] = y")

    def __ipow__(self, other: Any) -> Tracer:  # type: ignore[override,misc]  # as Python has it
        return self.assign(operand(self**other), "x **= y")

    def __imatmul__(self, other: Any) -> Tracer:
        return self.assign(operand(self @ other), "x @= y")

    def _update(self, ufunc: np.ufunc, other: Any) -> Tracer:
        new = ufuncs.apply(ufunc, weak_operand(self), weak_operand(other))
        return self.assign(new, f"in-place {ufunc.__name__}")

    def fill(self, value: Any) -> None:
        self[...] = value

    def partition(self, kth: Any, axis: int = -1, **options: Any) -> None:
        """In place, as NumPy's method is."""
        self.assign(SUPPORTED["partition"](self, kth, axis, **options).expr, "x.partition()")

    def resize(self, *shape: Any, **options: Any) -> None:
        raise unsupported("the method x.resize", "use np.resize, which gives a new array")

    def __copy__(self) -> Any:
        return wrap_array(operand(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return wrap_array(operand(self))

    def sort(self, axis: int = -1, **options: Any) -> None:
        """In place, as NumPy's method is."""
        self.assign(SUPPORTED["sort"](self, axis, **options).expr, "x.sort()")

    def assign(self: Tracer, new: Expr, what: str) -> Tracer:
        """Let this array hold `new`, converted to its dtype; the shape must be the same."""
        if new.shape != self.expr.shape:
            raise fail(
                ShapeError,
                f"{what}: a result of shape {new.shape} does not fit into the array of shape "
                f"{self.expr.shape}",
            )
        store(self, self._same_kind(new), what)
        return self

    def _same_kind(self, value: Expr) -> Expr:
        mine = ufuncs.DT[self.expr.dtype]
        if not np.can_cast(ufuncs.DT[value.dtype], mine, "same_kind"):
            raise fail(
                DtypeError,
                f"an in-place change cannot put {value.dtype} values into an array of {mine}; "
                "make the array with dtype=float",
            )
        return ufuncs.convert(value, self.expr.dtype)


class ZeroTracer(ScalarTracer):
    """A traced array of rank zero: unlike a number, it can be changed in place under all its names.

    Not a sequence either, so it cannot be indexed.
    """

    __slots__ = ()
    is_zero = True

    _update, _same_kind, assign = ArrayTracer._update, ArrayTracer._same_kind, ArrayTracer.assign
    __setitem__ = ArrayTracer.__setitem__
    __ipow__, fill = ArrayTracer.__ipow__, ArrayTracer.fill
    __copy__, __deepcopy__ = ArrayTracer.__copy__, ArrayTracer.__deepcopy__


def _in_place(ufunc: np.ufunc) -> Callable[..., Tracer]:
    return lambda self, other: self._update(ufunc, other)


for _name, _ufunc in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide,
    "floordiv": np.floor_divide, "mod": np.remainder,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}.items():  # fmt: skip
    setattr(ArrayTracer, f"__i{_name}__", _in_place(_ufunc))
    setattr(ZeroTracer, f"__i{_name}__", _in_place(_ufunc))


_LOGICAL = (np.bitwise_and, np.bitwise_or, np.bitwise_xor)
_PYTHON = (float, int, bool, PythonTracer, PythonBool)
_KNOWN = (Tracer, np.ndarray, np.generic, int, float, complex, str, list, tuple, type(None))


def wrap(expr: Expr) -> Any:
    """A new tracer of the running trace."""
    if expr.site is None:
        mark(expr)
    tracer = _new(ArrayTracer if expr.shape else ScalarTracer)
    tracer.expr = expr
    tracer.owner = trace = CURRENT.get()
    tracer.born = trace.journal
    tracer.is_argument = False
    tracer._group = tracer._links = tracer._base = tracer._derive = tracer._value = None
    return tracer


def wrap_array(expr: Expr) -> Any:
    """As `wrap`, of what NumPy has as an array and not as a number."""
    if expr.shape:
        return wrap(expr)
    tracer = _new(ZeroTracer)
    _copy_slots(wrap(expr), tracer)
    return tracer


def _copy_slots(source: Tracer, target: Tracer) -> None:
    for name in Handle.__slots__[1:]:
        setattr(target, name, getattr(source, name))


def argument(expr: Expr, like: Any) -> Tracer:
    """The tracer of an argument, for the trace that starts with it; `like` is what was passed."""
    if is_python(like):
        return python_number(expr)
    tracer = wrap_array(expr) if isinstance(like, (np.ndarray, ZeroTracer)) else wrap(expr)
    tracer.is_argument, tracer.owner = True, NO_TRACE
    return tracer


def wrap_python(value: Tracer | Expr) -> Any:
    """A tracer that stands for a Python number: of one that was one in the call."""
    plain = wrap(value.expr if isinstance(value, Tracer) else value)
    if plain.expr.shape or plain.expr.dtype not in ("float64", "int64", "bool"):
        return plain
    tracer = _new(PythonBool if plain.expr.dtype == "bool" else PythonTracer)
    _copy_slots(plain, tracer)
    return tracer


def _as_python(expr: Expr) -> Any:
    """A number of NumPy's as Python's of its kind."""
    dtype = "float64" if expr.dtype in FLOATS else "bool" if expr.dtype == "bool" else "int64"
    return wrap_python(ufuncs.convert(expr, dtype))


def python_number(expr: Expr) -> Tracer:
    """The tracer of a Python float or int argument, for the trace that starts with it."""
    tracer = wrap_python(expr)
    tracer.is_argument, tracer.owner = True, NO_TRACE
    return tracer


def is_python(value: Any) -> bool:
    """Whether `value` is a Python float, int or bool, or stands for one."""
    return type(value) in _PYTHON


def wrap_all(value: Any) -> Any:
    """`wrap` for each Expr of a result, which may be a tuple or list."""
    if isinstance(value, Expr):
        return wrap(value)
    if type(value) in (tuple, list):
        return type(value)([wrap_all(v) for v in value])
    return value


def weak_operand(value: Any) -> Any:
    """As `operand`, with traced Python numbers marked as such."""
    found = operand(value)
    return ufuncs.Weak(found) if type(value) is PythonTracer else found


def _is_bool(value: Any) -> bool:
    return type(value) in (bool, PythonBool)


def _as_int(value: Any) -> Any:
    return value.as_int() if type(value) is PythonBool else int(value)


def _binary(row: str, ufunc: np.ufunc, a: Any, b: Any) -> Any:
    """An operator. The common case, float operands of one shape, goes to `bind` directly."""
    if type(a) in (PythonTracer, PythonBool) or type(b) in (PythonTracer, PythonBool):
        if is_python(a) and is_python(b):
            if ufunc not in _LOGICAL or not (_is_bool(a) and _is_bool(b)):
                a, b = (_as_int(v) if _is_bool(v) else v for v in (a, b))
            result = ufuncs.apply(ufunc, weak_operand(a), weak_operand(b))
            return tuple(map(wrap_python, result)) if type(result) is tuple else wrap_python(result)
        row = ""  # the general case knows what is weak
    if isinstance(a, Tracer) and isinstance(b, Tracer):
        if not row:
            return wrap_all(ufuncs.apply(ufunc, weak_operand(a), weak_operand(b)))
        x, y = operand(a), operand(b)
        if x.dtype == y.dtype and x.shape == y.shape and x.dtype in FLOATS:
            return wrap(bind(row, x, y))
        return wrap_all(ufuncs.apply(ufunc, x, y))
    if row:
        if isinstance(a, Tracer):
            if type(b) is float or type(b) is int:
                x = operand(a)
                if x.dtype in FLOATS:
                    return wrap(bind(row, x, const(b, x.dtype, x.shape)))
        elif type(a) is float or type(a) is int:
            y = operand(b)
            if y.dtype in FLOATS:
                return wrap(bind(row, const(a, y.dtype, y.shape), y))
    other = b if isinstance(a, Tracer) else a
    known = isinstance(other, _KNOWN) or is_elsewhere(other)
    if not known or isinstance(other, (str, type(None))):
        return NotImplemented
    if isinstance(other, (list, tuple)) and row == "multiply":
        scalar = a if isinstance(a, Tracer) else b
        if not scalar.expr.shape:
            scalar.__index__()  # [0] * n repeats the list n times
    return wrap_all(ufuncs.apply(ufunc, weak_operand(a), weak_operand(b)))


Tracer._binary = staticmethod(_binary)  # type: ignore[method-assign,assignment]
