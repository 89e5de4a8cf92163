"""Arrays that a traced function makes and that no argument has reached: known while tracing.

``np.zeros(3)`` inside a traced function is a `Known`: a tracer that holds a plain array. As long as
only known numbers are stored in it NumPy computes with it, so it has a truth, a length and
elements. The first traced value that is stored in it makes it, and every view of it, an ordinary
tracer; from then on `memory` follows what is written where.
"""

from __future__ import annotations

import operator
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import numpy as np

from symgrad.errors import MutationError, is_internal
from symgrad.expr.node import DTYPES, Expr, array, const
from symgrad.ops.linear import reshape
from symgrad.trace import journal, tracer
from symgrad.trace.handle import C_ORDER, Handle
from symgrad.trace.memory import Reader, content, reader_of, share
from symgrad.trace.state import CURRENT, NO_TRACE, fail
from symgrad.trace.tracer import ArrayTracer, Tracer, ZeroTracer

_DTYPES = frozenset(np.dtype(name) for name in DTYPES)
_new = object.__new__
# Whether counts of references are what they are in CPython up to 3.13. Elsewhere no array is known:
# what stores a traced value in a plain array is refused then.
_COUNTED = (
    sys.implementation.name == "cpython"
    and sys.version_info < (3, 14)
    and getattr(sys, "_is_gil_enabled", lambda: True)()
)


def make(value: np.ndarray, base: Any = None) -> Any:
    """The known array of a plain one that nobody else holds; `base` is one it is a view of."""
    known = _new(Known if value.ndim else KnownZero)
    known._value = value
    known.owner = trace = CURRENT.get()
    known.born = trace.journal
    known.is_argument = False
    known._base = known._links = None
    # the side of a branch that has made the array, in which alone its elements may change
    known._derive = journal.current() if base is None else base._derive
    known._group = [] if base is None else base._group
    known._group.append(weakref.ref(known))
    if len(known._group) > 64 and not len(known._group) & (len(known._group) - 1):
        known._group[:] = [r for r in known._group if r() is not None]
    return known


def own(value: Any, references: int = 3) -> Any:
    """`value`; a plain array that nothing else refers to, as a known array.

    references : how many there are if the caller holds one
    """
    if type(value) is np.ndarray and _COUNTED:
        base = value.base
        if sys.gettrace() is not None:
            references += _in_frames(value)
        if sys.getrefcount(value) > references:
            return value
        if base is not None and (type(base) is not np.ndarray or sys.getrefcount(base) > 3):
            return value
        if value.dtype in _DTYPES and value.flags.writeable and CURRENT.get() is not NO_TRACE:
            return make(value)
    return value


def own_all(value: Any) -> Any:
    """`own` of the parts of a tuple or list as well."""
    if type(value) is np.ndarray:
        return own(value, 4)
    if type(value) in (tuple, list) and any(type(v) is np.ndarray for v in value):
        return type(value)([own(v, 5) for v in value])
    return value


def plain(value: Any) -> Any:
    """`value` with the known arrays in it, also in lists and dicts, as plain ones."""
    cls = type(value)
    if cls is Known or cls is KnownZero:
        return value._value
    if cls in (list, tuple):
        return cls([plain(v) for v in value])
    if cls is dict:
        return {k: plain(v) for k, v in value.items()}
    if cls is slice:
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    return value


def is_traced(value: Any) -> bool:
    """Whether a value, or what lists and dicts in it hold, has a tracer that is not known."""
    cls = type(value)
    if cls in (list, tuple):
        return any(map(is_traced, value))
    if cls is dict:
        return any(map(is_traced, value.values()))
    if cls is slice:
        return is_traced(value.start) or is_traced(value.stop) or is_traced(value.step)
    return isinstance(value, Handle) and not value.is_known


class _KnownMixin:
    """What a known array does otherwise than a traced one: it asks NumPy."""

    __slots__ = ()

    is_known = True
    __array_priority__ = 2000.0

    _value: np.ndarray
    _group: list[weakref.ref[Any]]
    _derive: Any
    owner: Any

    @property
    def expr(self) -> Expr:
        return _constant(self._value)

    @expr.setter
    def expr(self, new: Expr) -> None:
        raise AssertionError("a known array becomes a traced one first")

    # ---- facts ----
    shape = property(lambda self: self._value.shape)
    ndim = property(lambda self: self._value.ndim)
    size = property(lambda self: self._value.size)
    dtype = property(lambda self: self._value.dtype)
    itemsize = property(lambda self: self._value.itemsize)
    nbytes = property(lambda self: self._value.nbytes)
    strides = property(lambda self: self._value.strides)
    flags = property(lambda self: self._value.flags)
    base = property(lambda self: self._value.base)
    T = property(lambda self: self._give(self._value.T))
    mT = property(lambda self: self._give(self._value.mT))
    real = property(lambda self: self)
    imag = property(lambda self: self._give(self._value.imag))

    def is_older(self) -> bool:
        """Whether the array was made before the side of a branch that runs, if one does."""
        side = journal.current()
        return side is not None and self._derive is not side

    def __repr__(self) -> str:
        return repr(self._value)

    def __str__(self) -> str:
        return str(self._value)

    def __format__(self, spec: str) -> str:
        return format(self._value, spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __float__(self) -> float:
        return float(self._value)

    def __int__(self) -> int:
        return int(self._value)

    def __complex__(self) -> complex:
        return complex(self._value)

    def __index__(self) -> int:
        return operator.index(self._value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self._value, dtype, copy=copy)

    def __copy__(self) -> Any:
        return self._give(self._value.copy())

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._give(self._value.copy())

    def __reduce__(self) -> Any:
        return self._value.__reduce__()

    # ---- results ----
    def _give(self, result: Any) -> Any:
        return give(result, (self,))

    def become(self) -> None:
        """Turn this array and all that share its memory into traced ones."""
        alive = [h for h in (r() for r in self._group) if h is not None]
        owner = self._value if self._value.base is None else self._value.base
        _alone(owner, alive)
        readers = [reader_of(owner, h._value) for h in alive]
        root = next((h for h in alive if h._value is owner and owner.flags.c_contiguous), None)
        if root is None:
            base = tracer.wrap_array(content(owner))
            base.owner = self.owner
        else:
            base = root
            _settle(root, _constant(owner))
            root._value = C_ORDER
        for handle, reader in zip(alive, readers, strict=True):
            if handle is not root:
                derive = reader if root is None else _Below(reader)
                _settle(handle, derive(base.expr))
                share(base, handle, derive)

    # ---- elements ----
    def __len__(self) -> int:
        return len(self._value)

    def __iter__(self) -> Iterator[Any]:
        for k in range(len(self._value)):
            yield self[k]

    def __contains__(self, value: Any) -> bool:
        return plain(value) in self._value

    def __getitem__(self, index: Any) -> Any:
        if is_traced(index):
            return ArrayTracer.__getitem__(self, index)
        return self._give(self._value[plain(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        if is_traced(value) or is_traced(index) or self.is_older():
            self.become()
            self[index] = value
            return
        self._value[plain(index)] = plain(value)

    def assign(self, new: Expr, what: str) -> Any:
        self.become()
        return self.assign(new, what)

    def _update(self, ufunc: np.ufunc, other: Any) -> Any:
        if is_traced(other) or self.is_older():
            self.become()
            return self._update(ufunc, other)
        ufunc(self._value, plain(other), out=self._value)
        return self

    def __ipow__(self, other: Any) -> Any:
        return self._changed_by(operator.ipow, np.power, other)

    def __imatmul__(self, other: Any) -> Any:
        return self._changed_by(operator.imatmul, np.matmul, other)

    def _changed_by(self, function: Callable[..., Any], ufunc: np.ufunc, other: Any) -> Any:
        if is_traced(other) or self.is_older():
            self.become()
            return function(self, other)
        return self._update(ufunc, other)

    # ---- protocols ----
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        changed = [*(kwargs.get("out") or ()), *(inputs[:1] if method == "at" else ())]
        for target in changed:
            if isinstance(target, _KnownMixin) and target.is_older():
                target.become()
        if is_traced(inputs) or is_traced(kwargs):
            return Tracer.__array_ufunc__(self, ufunc, method, *inputs, **kwargs)  # type: ignore
        result = getattr(ufunc, method)(*plain(inputs), **plain(kwargs))
        for target in kwargs.get("out") or ():
            if isinstance(target, _KnownMixin) and result is target._value:
                return target
        return give(result, knowns(inputs))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if is_traced(args) or is_traced(kwargs):
            if func not in VIEWS:
                args, kwargs = plain(args), plain(kwargs)
            return Tracer.__array_function__(self, func, types, args, kwargs)
        if func in CHANGING and self.is_older():
            self.become()
            return func(*args, **kwargs)
        return give(func(*plain(args), **plain(kwargs)), knowns(args) + knowns(kwargs))


CHANGING = frozenset({
    np.copyto, np.fill_diagonal, np.place, np.put, np.put_along_axis, np.putmask,
})  # fmt: skip


# Functions whose results may share memory with arguments behind the first.
VIEWS = frozenset({np.broadcast_arrays, np.meshgrid})


def knowns(value: Any) -> list[Any]:
    """The known arrays in a value, also in lists and dicts."""
    cls = type(value)
    if cls is Known or cls is KnownZero:
        return [value]
    if cls in (list, tuple):
        return [k for v in value for k in knowns(v)]
    if cls is dict:
        return [k for v in value.values() for k in knowns(v)]
    return []


def give(result: Any, given: Sequence[Any]) -> Any:
    """What NumPy made of the known arrays `given`: known too, as views where it shares memory."""
    if type(result) in (tuple, list):
        return type(result)([give(r, given) for r in result])
    if type(result) is not np.ndarray:
        return result
    base = result.base
    for known in given:
        value = known._value
        if result is value:
            return known
        if base is not None and (base is value or base is value.base):
            fits = result.dtype in _DTYPES and result.flags.writeable
            return make(result, known) if fits else result
    return own(result, 4)


def _alone(owner: np.ndarray, alive: list[Any]) -> None:
    """Refuse an array whose memory somebody reads as that of a plain array as well."""
    seen = 0 if sys.gettrace() is None else _in_frames(owner)
    # this function's and its caller's variable, and what getrefcount itself holds
    if sys.getrefcount(owner) > len(alive) + seen + 3 or any(
        sys.getrefcount(h._value) > 3 for h in alive if h._value is not owner
    ):
        raise fail(
            MutationError,
            "a traced value is stored in an array that is also used, or was kept, by code which is "
            "not traced (a view of another dtype, a read-only view, what a library holds): store "
            "it in a .copy() of the array",
        )


class _Below:
    """Reads a view out of the array that owns the memory, by the place in memory."""

    __slots__ = ("reader",)

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def __call__(self, owner: Expr) -> Expr:
        return self.reader(reshape(owner, (owner.size,)))


def _constant(value: np.ndarray) -> Expr:
    """The array as a node; one that is filled with one number as that."""
    if value.size:
        first = value.flat[0]
        if (value == first).all() and (first != 0 or not np.signbit(value).any()):
            return const(first, value.dtype.name, value.shape)
    return array(value)


def _settle(handle: Any, expr: Expr) -> None:
    handle.__class__ = ArrayTracer if type(handle) is Known else ZeroTracer
    handle._group = None
    handle._value = None
    handle.expr = expr


class Known(_KnownMixin, ArrayTracer):  # type: ignore[misc]
    """A known array of rank one or more."""

    __slots__ = ()
    __hash__ = Handle.__hash__


class KnownZero(_KnownMixin, ZeroTracer):  # type: ignore[misc]
    """A known array of rank zero."""

    __slots__ = ()
    __hash__ = Handle.__hash__


def _in_frames(owner: np.ndarray) -> int:
    """How often a debugger that looks at our own local variables refers to an array."""
    count = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if is_internal(frame.f_code.co_filename):
            count += sum(value is owner for value in frame.f_locals.values())
        frame = frame.f_back
    return count


def _operator(name: str, reflected: bool) -> Callable[..., Any]:
    function = getattr(operator, name)
    method = f"__{'r' if reflected else ''}{name.rstrip('_')}__"

    def apply(self: Any, other: Any, *modulo: Any) -> Any:
        if modulo or is_traced(other) or not isinstance(other, _OPERANDS):
            return getattr(Tracer, method)(self, other, *modulo)
        other = plain(other)
        value = self._value
        return self._give(function(other, value) if reflected else function(value, other))

    apply.__name__ = method
    return apply


_OPERANDS = (_KnownMixin, np.ndarray, np.generic, bool, int, float, complex, list, tuple)
_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_",
               "xor")  # fmt: skip
for _name in _ARITHMETIC:
    for _reflected in (False, True):
        _method = _operator(_name, _reflected)
        setattr(_KnownMixin, _method.__name__, _method)
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "lshift", "rshift"):
    _method = _operator(_name, False)
    setattr(_KnownMixin, _method.__name__, _method)


def _unary(name: str) -> Callable[..., Any]:
    function = getattr(operator, name)
    return lambda self: self._give(function(self._value))


for _name in ("neg", "pos", "abs", "invert"):
    setattr(_KnownMixin, f"__{_name}__", _unary(_name))


def _ndarray_method(name: str, changes: bool) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if changes and (is_traced(args) or is_traced(kwargs) or self.is_older()):
            self.become()
        out = kwargs.pop("out", None)
        if out is not None:
            out[...] = method(self, *args, **kwargs)
            return out
        if is_traced(args) or is_traced(kwargs) or not self.is_known:
            return getattr(ArrayTracer, name)(self, *args, **kwargs)
        return self._give(getattr(self._value, name)(*plain(args), **plain(kwargs)))

    method.__name__ = name
    return method


_CHANGING_METHODS = {"fill", "sort", "partition", "put", "byteswap", "setfield", "resize"}
for _name in dir(np.ndarray):
    if not _name.startswith("_") and callable(getattr(np.ndarray, _name)):
        setattr(_KnownMixin, _name, _ndarray_method(_name, _name in _CHANGING_METHODS))
