"""The handle on a traced array, and what users pass to NumPy as Exprs."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad import interchange
from symgrad.errors import (
    ConcretizationError,
    DtypeError,
    ShapeError,
    StructureError,
    TraceError,
    UnsupportedError,
)
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import ARG, DTYPES, FLOATS, PARAM, Expr, array, bind, const
from symgrad.interchange import is_elsewhere
from symgrad.ops.linear import concat, reshape
from symgrad.trace import ufuncs
from symgrad.trace.flat import Flat
from symgrad.trace.indexing import is_place
from symgrad.trace.journal import sites
from symgrad.trace.plain import read
from symgrad.trace.state import CURRENT, Trace, fail, site
from symgrad.tree import flatten

if TYPE_CHECKING:
    from symgrad.trace.tracer import Tracer


C_ORDER = object()  # stands for the plain array where only its layout in memory is known


class Handle:
    """What a traced array is to whoever asks: its type, and errors that say what to write instead.

    What can be done with it is in `tracer`.
    """

    __slots__ = (
        "__weakref__", "_base", "_derive", "_group", "_links", "_value", "born", "expr",
        "is_argument", "owner",
    )  # fmt: skip

    expr: Expr
    owner: Trace
    is_argument: bool
    born: Any  # the journal that was open when it was made
    _group: list[weakref.ref[Tracer]] | None  # handles that share this one's memory
    # arrays that are this one where a truth holds (None: nobody knows where), and views that have
    # to stay; see `memory.join`
    _links: list[tuple[weakref.ref[Tracer], Expr | None, Tracer | None]] | None
    _base: Tracer | None  # the array of which this one is a view …
    _derive: Callable[[Expr], Any] | None  # … and how it is read from there
    _value: Any  # of an array that is known while tracing, the plain array; see `known`
    is_known = False
    is_zero = False  # whether it stands for an array without dimensions, not for a number

    # ---- facts known while tracing ----
    @property
    def shape(self) -> tuple[int, ...]:
        return self.expr.shape

    @property
    def ndim(self) -> int:
        return len(self.expr.shape)

    @property
    def size(self) -> int:
        return self.expr.size

    @property
    def dtype(self) -> np.dtype:
        return ufuncs.DT[self.expr.dtype]

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def flat(self) -> Any:
        return Flat(self)

    @flat.setter
    def flat(self, value: Any) -> None:
        Flat(self)[:] = value

    def __repr__(self) -> str:
        return f"<Tracer {self.expr.dtype}{list(self.expr.shape)} = {self.expr.op.name}>"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __hash__(self) -> int:
        return id(self)

    def __copy__(self) -> Handle:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Handle:
        return self

    def __reduce__(self) -> Any:
        raise fail(UnsupportedError, "a traced value cannot be pickled")

    # ---- where a number is needed ----
    def known(self) -> np.ndarray | None:
        """The value, if no argument has a part in it."""
        stack, seen = [self.expr], {self.expr}
        while stack:
            node = stack.pop()
            if node.op in (ARG, PARAM) or len(seen) > _MOST_NODES:
                return None
            for operand in node.args:
                if operand not in seen:
                    seen.add(operand)
                    stack.append(operand)
        return evaluate([self.expr], {})[0]

    def as_number(self) -> int | None:
        """An integer that is known while tracing, else None."""
        if self.expr.shape or self.expr.dtype not in ("int64", "int32"):
            return None
        value = self.known()
        return None if value is None else int(value)

    def __bool__(self) -> bool:
        value = self.known()
        if value is not None:
            return bool(value)
        answer = self._on_this_path()
        if answer is not None:
            return answer
        error = self._unknown(
            f"the truth of {self!r} is not known while tracing. Instead of `if`, `and`, `or`, "
            "`not`, max(), min() and chained comparisons write np.where(condition, a, b), "
            "np.logical_and, np.maximum, np.minimum",
        )
        if self.size == 1:
            error.decisions = sites()
        raise error

    def _on_this_path(self) -> bool | None:
        """The truth, where the function is run once for each way that it can go."""
        paths = CURRENT.get().paths
        if paths is None or self.size != 1:
            return None
        predicate = reshape(ufuncs.truth(operand(self)), ())
        answer: bool | None = paths.answer(predicate, site(), native=True)
        return answer

    def __float__(self) -> float:
        value = self.known()
        if value is not None:
            return float(value)
        raise self._no_number(
            "float()",
            "np.sin instead of math.sin and so on, and leave float() out; to fill an array use "
            "np.stack([...]) or z = np.zeros_like(x)",
        )

    def __int__(self) -> int:
        value = self.known()
        if value is not None:
            return int(value)
        raise self._no_number("int()", "np.floor(x) or x.astype(int)")

    def __complex__(self) -> complex:
        raise self._no_number("complex()", "real arithmetic; complex numbers are not supported")

    def __index__(self) -> int:
        number = self.as_number()
        if number is not None:
            return number
        raise self._no_number(
            "an integer (index, range, size)",
            "x[i] on a traced x, or symgrad.take(a, i) for a plain array; sizes and loop counts "
            "must be "
            "plain integers",
        )

    def _no_number(self, what: str, instead: str) -> ConcretizationError:
        return self._unknown(
            f"{what} of {self!r} needs a number, which is not known while tracing; write {instead}"
        )

    def _unknown(self, message: str) -> ConcretizationError:
        error = fail(ConcretizationError, message)
        error.operands = (self.expr,)
        return error

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        value = self.known()
        if value is not None:
            return np.array(value, dtype)
        raise self._unknown(
            f"{self!r} cannot become a plain NumPy array while tracing. Instead of np.array([x, "
            "y]) or a "
            "list given to a NumPy function write np.stack([x, y]); instead of filling "
            "np.zeros(n) fill "
            "np.zeros_like(x), or use np.concatenate; instead of a[i] with a plain array a write "
            "symgrad.take(a, i); np.asarray(x) can be left out",
        )


_MOST_NODES = 10_000  # that are looked at for an argument among them


def blame(error: TraceError, values: Any) -> None:
    """Note in `error` the traced values among those that a function was called with."""
    if not error.operands:
        leaves = flatten(values)[0]
        error.operands = tuple([v.expr for v in leaves if isinstance(v, Handle)])


def blames(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, whose errors say at which traced values they arose."""

    @functools.wraps(f)
    def blaming(*args: Any, **kwargs: Any) -> Any:
        try:
            return f(*args, **kwargs)
        except TraceError as error:
            blame(error, (args, kwargs))
            raise

    return blaming


def operand(value: Any) -> Any:
    """An Expr, or a Python number, which is weak in NumPy's promotion."""
    if isinstance(value, Handle):
        if not value.owner.active and not value.is_known:
            raise fail(
                TraceError,
                f"{value!r} was made while tracing {value.owner.name or 'a function'!r} and is "
                "used after "
                "that trace has ended; return it from the function instead of storing it",
            )
        return value.expr
    cls = type(value)
    if cls is float or cls is int:
        return value
    return as_expr(value)


def strong(value: Any, dtype: str) -> Expr:
    """`value` for an assignment into an array of `dtype`; a Python number adapts to it."""
    if type(value) is float and dtype in FLOATS or type(value) is int and dtype != "bool":
        return const(value, dtype)
    if type(value) is float:  # z[0] = 2.5 in an integer array truncates, in NumPy too
        return const(value, dtype)
    return as_expr(value)


def as_expr(value: Any, dtype: str | None = None) -> Expr:
    """`value` as an Expr: a tracer, a Python or NumPy number, an array, or a nested list of these.

    Raises
    ------
    DtypeError
        Complex, object, string and other dtypes that symgrad does not know.
    UnsupportedError
        Any other type.
    """
    expr = _as_expr(value)
    return expr if dtype is None or expr.dtype == dtype else bind("convert", expr, attrs=(dtype,))


def _as_expr(value: Any) -> Expr:
    if isinstance(value, Handle):
        return operand(value)
    if isinstance(value, Expr):
        return value
    if isinstance(value, (list, tuple)) and contains_tracer(value):
        return stack([_as_expr(v) for v in value])
    if isinstance(value, np.ndarray) and value.dtype == object and contains_tracer(value.tolist()):
        return _as_expr(value.tolist())
    if type(value) is np.ndarray:
        changed = read(value)
        if changed is not None:
            return changed
    elif isinstance(value, np.ndarray) and type(value) is not np.memmap:
        raise fail(
            UnsupportedError,
            f"arrays of type {type(value).__name__} are not traced; use a plain np.ndarray",
        )
    if is_elsewhere(value):
        value = elsewhere(value)
    if not isinstance(value, (bool, int, float, complex, np.generic, np.ndarray, list, tuple)):
        if getattr(type(value), "__symgrad_refuses__", False):  # and says why
            value.__array__()
        raise fail(
            UnsupportedError,
            f"a value of type {type(value).__name__} cannot be part of a traced computation",
        )
    plain = np.asarray(value)
    name = plain.dtype.name
    if name not in DTYPES:
        raise fail(DtypeError, f"dtype {name} is not supported; {_advice(plain.dtype)}")
    if not plain.dtype.isnative:
        plain = plain.astype(plain.dtype.newbyteorder("="))
    return array(plain) if plain.ndim else const(plain[()], name)


def elsewhere(value: Any) -> np.ndarray:
    """The numbers of an array of another library that a traced function uses."""
    try:
        return interchange.plain(value, "a captured value")
    except StructureError as error:
        raise fail(UnsupportedError, str(error)) from error


def _advice(dtype: np.dtype) -> str:
    if dtype.kind == "c":
        return "compute with real and imaginary parts as two arrays"
    if dtype.kind == "f":
        return "convert with .astype(np.float64) or .astype(np.float32)"
    if dtype.kind in "iu":
        return "convert with .astype(np.int64)"
    if dtype.kind == "O":
        return (
            "an object array holds no numbers that can be traced; use np.stack for lists of arrays"
        )
    return f"use one of {', '.join(DTYPES)}"


def contains_tracer(value: Any) -> bool:
    """Whether a nested list has a tracer in it."""
    if isinstance(value, (list, tuple)):
        return any(contains_tracer(v) for v in value)
    return isinstance(value, Handle)


def stack(parts: list[Expr], axis: int = 0) -> Expr:
    """Exprs of one shape along a new axis, in their common dtype."""
    shape = parts[0].shape
    for p in parts:
        if p.shape != shape:
            raise fail(
                ShapeError,
                f"all arrays must have one shape to be stacked, got {[p.shape for p in parts]}",
            )
    dtype = ufuncs.promote(list(parts))
    wide = (*shape[:axis], 1, *shape[axis:])
    return concat([reshape(ufuncs.convert(p, dtype), wide) for p in parts], axis)


def has_ellipsis(index: Any) -> bool:
    """Whether an index is or contains `...`."""
    return index is ... or isinstance(index, tuple) and any(i is ... for i in index)


def is_view(index: Any, items: list[Any]) -> bool:
    """Whether NumPy gives a view for an index: not where an array of rank zero is an index."""
    parts = index if isinstance(index, tuple) else (index,)
    return is_place(items) and not any(isinstance(p, Handle) and p.is_zero for p in parts)


def plain_index(index: Any) -> Any:
    """The index with tracers replaced by their Exprs."""
    if isinstance(index, tuple):
        return tuple([plain_index(i) for i in index])
    if isinstance(index, range):
        return list(index)
    if isinstance(index, Handle):
        return index._value if index.is_known else as_expr(index)
    if isinstance(index, slice):
        return slice(*map(_bound, (index.start, index.stop, index.step)))
    if isinstance(index, list) and contains_tracer(index):
        return as_expr(index)
    return index


def _bound(value: Any) -> Any:
    return value.__index__() if isinstance(value, Handle) else value
