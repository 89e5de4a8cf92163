"""What the two sides of a branch leave, as one value each.

In: two values, or two sets of in-place changes. Out: values that are the one where the predicate
holds and the other elsewhere: numbers and arrays as results of one `branch` node, tuples, lists and
dicts element by element, anything else only if it is the same on both sides.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.errors import BranchError, TraceError
from symgrad.expr.node import FLOATS, Expr, bind, const, is_const
from symgrad.expr.op import Kind
from symgrad.ops.control import branch
from symgrad.trace import journal, ufuncs
from symgrad.trace.handle import as_expr
from symgrad.trace.memory import join
from symgrad.trace.source.stand_in import StandIn
from symgrad.trace.state import fail
from symgrad.trace.tracer import (
    ArrayTracer,
    PythonBool,
    PythonTracer,
    Tracer,
    ZeroTracer,
    is_python,
    wrap,
    wrap_array,
    wrap_python,
)

_MOST_CHEAP = 16  # operations that are done on both sides rather than decided


class Undefined(StandIn):
    """A variable that one side of a branch, or a loop without a round, has not assigned."""

    __slots__ = ("_defined", "_free", "_name", "_value", "_where")

    __symgrad_refuses__ = True

    def __init__(
        self,
        name: str,
        where: str = "on one side of the branch on a traced value",
        free: bool = False,
        value: Any = None,
        defined: Expr | None = None,
    ) -> None:
        # free: nobody reads the variable on that side, so that any value will do
        self._name, self._where, self._free = name, where, free
        # what the variable is where the truth `defined` holds
        self._value, self._defined = value, defined

    def _fail(self, *args: Any, **kwargs: Any) -> Any:
        raise fail(
            BranchError,
            f"the variable {self._name} has no value here {self._where}; assign it on both sides, "
            "or before",
        )

    def __repr__(self) -> str:
        return f"<no value of {self._name}>"


class Frozen:
    """A traced value, and what it was at the end of a side."""

    __slots__ = ("array", "expr", "handle", "weak")

    def __init__(self, handle: Tracer) -> None:
        self.handle = handle
        self.weak = isinstance(handle, (PythonTracer, PythonBool))
        self.array = isinstance(handle, ArrayTracer | ZeroTracer)
        self.expr = handle.expr if not handle.is_known else None


def freeze(value: Any) -> Any:
    """A value whose tracers may be changed later, as it is now."""
    cls = type(value)
    if cls is Undefined:
        return Undefined(value._name, value._where, value._free, freeze(value._value),
                         value._defined)  # fmt: skip
    if isinstance(value, Tracer):
        return Frozen(value)
    if cls is tuple or cls is list:
        return _Sequence(value, [freeze(v) for v in value])
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _Sequence(value, [freeze(v) for v in value])
    if cls is dict:
        return _Mapping(value, {k: freeze(v) for k, v in value.items()})
    return value


def _defined(value: Any) -> Expr:
    """Whether a variable has a value."""
    if isinstance(value, Undefined):
        return const(False, "bool") if value._defined is None else value._defined
    return const(True, "bool")


class _Sequence:
    __slots__ = ("parts", "whole")

    def __init__(self, whole: Any, parts: list[Any]) -> None:
        self.whole, self.parts = whole, parts


class _Mapping:
    __slots__ = ("parts", "whole")

    def __init__(self, whole: Any, parts: dict[Any, Any]) -> None:
        self.whole, self.parts = whole, parts


def thaw(value: Any) -> Any:
    """What was frozen."""
    if isinstance(value, Frozen):
        return value.handle
    if isinstance(value, Undefined) and value._value is not None:
        return Undefined(value._name, value._where, value._free, thaw(value._value), value._defined)
    return value.whole if isinstance(value, _Sequence | _Mapping) else value


class _Leaf:
    """A result of the branch that is to be made, and what it becomes."""

    __slots__ = ("finish", "position")

    def __init__(self, position: int, finish: Callable[[Expr], Any]) -> None:
        self.position, self.finish = position, finish


class Merge:
    """Collects what differs between two sides, and makes one branch of it."""

    def __init__(self, predicate: Expr, where: tuple[str, int] | None) -> None:
        self.predicate, self.where = predicate, where
        self.then: list[Expr] = []
        self.orelse: list[Expr] = []
        self.results: list[Expr] = []
        self.positions: dict[tuple[Expr, Expr], int] = {}  # of pairs among them
        self.after: list[Callable[[], None]] = []
        # Lists and dicts by the pair that they are one of: one object under all of its names.
        self.whole: dict[tuple[int, int], _Made] = {}

    # ---- values ----
    def values(self, a: Any, b: Any, what: str) -> Any:
        """What `result` turns into the value that is `a` or `b`, both frozen."""
        one, other = thaw(a), thaw(b)
        if one is other:
            return _Done(one)
        if isinstance(one, Undefined) or isinstance(other, Undefined):
            return self._partial(a, b, what)
        known = self.whole.get((id(one), id(other)))
        if known is not None:
            return known
        if isinstance(a, _Sequence) or isinstance(b, _Sequence):
            return self._sequence(a, b, what)
        if isinstance(a, _Mapping) or isinstance(b, _Mapping):
            return self._mapping(a, b, what)
        if type(one) is type(other) and not _is_array(one) and not isinstance(one, Tracer):
            try:
                if bool(one == other) and not is_number(one) or _same_number(one, other):
                    return _Done(one)
            except TraceError:
                raise
            except Exception:  # `==` of the user's class may raise anything: they are not equal
                pass
        if is_number(one) and is_number(other):
            return self._numbers(a, b, what)
        raise fail(
            BranchError,
            f"{what} is {_told(one)} on one side of the branch{self._line()} and {_told(other)} on "
            "the other; sides of a branch on a traced value must leave values of one kind",
        )

    def _partial(self, a: Any, b: Any, what: str) -> Any:
        """A variable that one side has not assigned, or not on all of its ways."""
        missing = a if isinstance(a, Undefined) else b
        values = [v._value if isinstance(v, Undefined) else v for v in (a, b)]
        known = [not isinstance(v, Undefined) or v._defined is not None for v in (a, b)]
        if known == [True, True]:
            value = self.values(values[0], values[1], what)
        elif missing._free or not any(known):
            return _Done(thaw(a if known[0] else b))
        else:
            value = _Done(thaw(values[0] if known[0] else values[1]))
        defined = self._leaf(_defined(a), _defined(b), lambda e: e)
        where = f"on one side of the branch on a traced value{self._line()}"

        def made() -> Any:
            truth = self.result(defined)
            if is_const(truth, True):
                return self.result(value)
            return Undefined(missing._name, where, False, self.result(value), truth)

        return _Made(made)

    def _line(self) -> str:
        return f" at {self.where[0]}:{self.where[1]}" if self.where else ""

    def _sequence(self, a: Any, b: Any, what: str) -> Any:
        if not (
            isinstance(a, _Sequence)
            and isinstance(b, _Sequence)
            and type(a.whole) is type(b.whole)
            and len(a.parts) == len(b.parts)
        ):
            one, other = thaw(a), thaw(b)
            raise fail(
                BranchError,
                f"{what} is {_told(one)} on one side of the branch{self._line()} and "
                f"{_told(other)} on the other; the structures must be equal",
            )
        parts = [self.values(x, y, f"{what}, element {k},")
                 for k, (x, y) in enumerate(zip(a.parts, b.parts, strict=True))]  # fmt: skip
        cls = type(a.whole)
        make = cls._make if hasattr(cls, "_make") else cls
        made = _Made(lambda: make([self.result(p) for p in parts]))
        return self._fresh(a.whole, b.whole, made, what) if cls is list else made

    def _mapping(self, a: Any, b: Any, what: str) -> Any:
        if not (isinstance(a, _Mapping) and isinstance(b, _Mapping) and [*a.parts] == [*b.parts]):
            raise fail(
                BranchError,
                f"{what} is {_told(thaw(a))} on one side of the branch{self._line()} and "
                f"{_told(thaw(b))} on the other; the keys must be equal, and in one order",
            )
        parts = {k: self.values(a.parts[k], b.parts[k], f"{what}[{k!r}]") for k in a.parts}
        made = _Made(lambda: {k: self.result(p) for k, p in parts.items()})
        return self._fresh(a.whole, b.whole, made, what)

    def _fresh(self, one: Any, other: Any, made: _Made, what: str) -> _Made:
        """What a list or dict becomes; not if others hold it: its changes would not be theirs."""
        again = any(id(one) == a or id(other) == b for a, b in self.whole)
        if again or max(sys.getrefcount(one), sys.getrefcount(other)) > _REFERENCES:
            raise fail(
                BranchError,
                f"{what} is one {type(one).__name__} on one side of the branch{self._line()} and "
                "another one on the other, and other variables have them too; copy them in the "
                "branch",
            )
        self.whole[id(one), id(other)] = made
        return made

    def _numbers(self, a: Any, b: Any, what: str) -> Any:
        one, other = _operand(a), _operand(b)
        weak = _is_weak(a) and _is_weak(b)
        if weak:
            kinds = {_kind(one), _kind(other)}
            dtype = "float64" if "f" in kinds else "int64" if "i" in kinds else "bool"
        else:
            dtype = ufuncs.promote([one, other])
        x, y = ufuncs.convert(one, dtype), ufuncs.convert(other, dtype)
        if x.shape != y.shape:
            raise fail(
                BranchError,
                f"{what} has shape {x.shape} on one side of the branch{self._line()} and "
                f"{y.shape} on the other",
            )
        sources = [thaw(v) for v in (a, b)]
        arrays = any(_is_array(v) for v in sources)
        if arrays:
            where = self.predicate, bind("logical_not", self.predicate)
            return self._leaf(x, y, lambda e: _joined(e, [*zip(sources, where, strict=True)]))
        return self._leaf(x, y, wrap_python if weak else wrap)

    def _leaf(self, x: Expr, y: Expr, finish: Callable[[Expr], Any]) -> Any:
        if x is y:
            return _Done(finish(x))
        quick = self._logical(x, y)
        if quick is not None:
            return _Done(finish(quick))
        position = self.positions.setdefault((x, y), len(self.then))
        if position == len(self.then):
            self.then.append(x)
            self.orelse.append(y)
        return _Leaf(position, finish)

    def _logical(self, x: Expr, y: Expr) -> Expr | None:
        """Decisions between truths are formulas, where both sides are cheap."""
        if x.dtype != "bool" or x.shape:
            return None
        p = self.predicate
        if x is p:  # on the side where it holds
            x = const(True, "bool")
        if y is p:
            y = const(False, "bool")
        if x is y:
            return x
        if is_const(x, True) and is_const(y, False):
            return p
        if is_const(x, False) and is_const(y, True):
            return bind("logical_not", p)
        if is_const(y, False) and _cheap(x):
            return bind("logical_and", p, x)
        if is_const(x, True) and p.op.name == "logical_not" and p.args[0] is y:
            return x
        if is_const(x, True) and _cheap(y):
            return bind("logical_or", p, y)
        if is_const(x, False) and _cheap(y):
            return bind("logical_and", bind("logical_not", p), y)
        if is_const(y, True) and _cheap(x):
            return bind("logical_or", bind("logical_not", p), x)
        return None

    # ---- in-place changes ----
    def changes(self, then: journal.Changes, orelse: journal.Changes) -> None:
        """Merge what both sides have changed in place; all of it holds its old content by now."""
        self._handles(then.handles, orelse.handles)
        for key, what, one, other in journal.places(then, orelse):
            merged = self.values(freeze(_present(one, what)), freeze(_present(other, what)),
                                 what.name)  # fmt: skip
            self._afterwards(journal.put, key, what, merged)

    def _afterwards(self, put: Callable[..., None], *where_and_leaf: Any) -> None:
        *where, leaf = where_and_leaf
        self.after.append(lambda: put(*where, self.result(leaf)))

    def _handles(self, then: dict[int, Any], orelse: dict[int, Any]) -> None:
        found = [_both(then.get(key), orelse.get(key))
                 for key in dict.fromkeys([*then, *orelse])]  # fmt: skip
        then.clear()
        orelse.clear()  # what nobody else holds was made in a side, and is gone
        alive = [(h, x, y) for r, x, y in found if (h := r()) is not None]
        changed = {id(h) for h, _, _ in alive}
        for handle, x, y in alive:
            if handle._base is None or id(handle._base) not in changed:
                leaf = self._leaf(x, y, lambda e: e)
                self._afterwards(_put, handle, leaf)
        for handle, _, _ in sorted(alive, key=lambda entry: _depth(entry[0])):
            if handle._base is not None and id(handle._base) in changed:
                self.after.append(functools.partial(_show, handle))

    # ---- the end ----
    def run(self) -> None:
        """Make the branch, and store what it gives in what was changed."""
        if self.then:
            self.results = branch(self.predicate, self.then, self.orelse)
            node = self.results[0].args[0]
            if node.site is None and self.where is not None:
                node.site = self.where
        for step in self.after:
            step()

    def result(self, found: Any) -> Any:
        if isinstance(found, _Leaf):
            return found.finish(self.results[found.position])
        return found.get() if isinstance(found, _Made) else found.value


def _both(then: Any, orelse: Any) -> tuple[weakref.ref[Any], Expr, Expr]:
    """A handle, and what it holds after either side; one that has not changed it leaves it."""
    handle = (then or orelse)[0]
    x, y = [handle.expr if side is None else side[1] for side in (then, orelse)]
    return weakref.ref(handle), x, y


def _put(handle: Any, expr: Expr) -> None:
    journal.note_handle(handle)
    handle.expr = expr


def _show(view: Any) -> None:
    _put(view, view._derive(view._base.expr))


def _depth(handle: Any) -> int:
    """How many arrays a view is away from the one that owns the memory."""
    depth = 0
    while handle._base is not None:
        handle, depth = handle._base, depth + 1
    return depth


class _Done:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class _Made:
    """A value that is put together once the branch is there."""

    __slots__ = ("make", "value")

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make: Callable[[], Any] | None = make

    def get(self) -> Any:
        if self.make is not None:
            self.value, self.make = self.make(), None
        return self.value


_REFERENCES = 12


def _present(value: Any, place: journal.Place) -> Any:
    return Undefined(place.name) if value is journal.MISSING else value


def _joined(expr: Expr, sources: Sequence[tuple[Any, Expr]]) -> Any:
    """An array that is one of two: a change of it changes that."""
    joined = wrap_array(expr)
    join(joined, [
        (source, truth if (source.dtype, source.shape) == (joined.dtype, joined.shape) else None)
        for source, truth in sources
        if isinstance(source, Tracer) and (source._base is not None or _is_array(source))
    ])  # fmt: skip
    return joined


def _told(value: Any) -> str:
    if isinstance(value, Tracer):
        return f"{value.dtype}{list(value.shape)}" if value.shape else f"a {value.dtype}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return f"a {type(value).__name__}"


def _is_array(value: Any) -> bool:
    return isinstance(value, ArrayTracer | ZeroTracer | np.ndarray)


def is_number(value: Any) -> bool:
    return isinstance(value, Tracer | bool | int | float | np.generic | np.ndarray)


def _same_number(one: Any, other: Any) -> bool:
    """Whether two plain numbers of one type have the same bits."""
    if isinstance(one, Tracer) or not isinstance(one, bool | int | float | np.generic):
        return False
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


def _is_weak(value: Any) -> bool:
    plain = thaw(value)
    return type(plain) is bool or is_python(plain) or isinstance(plain, Tracer) and (
        plain.expr.dtype == "bool" and not plain.shape and not _is_array(plain)
    )  # fmt: skip


def _operand(value: Any) -> Any:
    if isinstance(value, Frozen):
        expr = value.handle.expr if value.expr is None else value.expr
        return ufuncs.Weak(expr) if value.weak else expr
    return value if type(value) in (int, float) else as_expr(value)


def _kind(value: Any) -> str:
    if isinstance(value, ufuncs.Weak):
        value = value.expr
    if isinstance(value, Expr):
        return "f" if value.dtype in FLOATS else "b" if value.dtype == "bool" else "i"
    return "f" if type(value) is float else "i"


def _cheap(x: Expr) -> bool:
    """Whether a truth is few elementwise operations on what is there anyway."""
    stack, count = [x], 0
    while stack:
        node = stack.pop()
        count += 1
        if count > _MOST_CHEAP:
            return False
        if node.op.kind in (Kind.SOURCE, Kind.ITEM):
            continue
        moves = node.op.name in ("slice", "reshape")
        if not moves and (node.op.kind is not Kind.ELEMENTWISE or node.shape):
            return False
        stack.extend(node.args)
    return True
