"""From a function to all that it captures: closures, globals, defaults, objects, what these hold.

In: functions, methods and other callables. Out: a `State`: a key that is equal for equal captured
values, and rows that say cheaply whether anything has changed. The walk follows the functions of
the user that a function can reach by name, the objects and containers that these capture, and of
objects the attributes that any of this code names. Libraries count as constant.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import gc
import sys
import threading
import types
import weakref
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from symgrad.captures.code import Names, Seen, names_of
from symgrad.captures.layout import (
    dict_offset,
    file_of,
    is_constant,
    members,
    module_of,
    slot,
    slot_offset,
)
from symgrad.captures.lift import Lift, Place
from symgrad.captures.rows import (
    ABSENT,
    CELL,
    CODE,
    PARTIAL,
    TYPE,
    Content,
    Elements,
    Items,
    Layout,
    Read,
    Row,
    Slots,
)
from symgrad.captures.state import Label, Same, State, digest
from symgrad.fixed import NotFixed, fixed_key
from symgrad.interchange import is_elsewhere, numbers_of
from symgrad.origin import foreign_package

# For the class below, which has methods of these names.
Held = dict[str, Any]
Pairs = list[tuple[str, Any]]
Class = type

_MOST = 20_000  # objects that are looked at
_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None), type(...)})
_WRAPPERS = (
    staticmethod,
    classmethod,
    property,
    functools.cached_property,
    functools.partialmethod,
)
NOTHING = Lift()
_PASSED = type("Passed", (), {"__module__": "symgrad.captures"})()  # stands for a float
_ITERATOR = "__next__"


def state_of(roots: Sequence[Any], seen: Seen, lift: Lift = NOTHING) -> State:
    """What `roots` capture now. `seen` has the attributes that their code names, as far as known;
    what is found anew is added. `lift` says what is passed."""
    for file in _files_of(roots):
        package = foreign_package(file)
        if package is not None:
            seen.own.add(package)
    while True:
        before = seen.size()
        walk = _Walk(seen, lift)
        walk.run(roots)
        if seen.size() == before:  # else earlier objects have further attributes to look at
            return walk.state()


def _files_of(roots: Sequence[Any]) -> Iterator[str]:
    """The files of the functions that are asked about."""
    stack = list(roots)
    while stack:
        value = stack.pop()
        cls = type(value)
        if cls is types.FunctionType:
            yield value.__code__.co_filename
        elif cls is types.MethodType:
            stack.append(value.__func__)
        elif issubclass(cls, functools.partial):
            stack.append(value.func)
        elif getattr(cls, "__symgrad_captures__", None) is not None:
            stack.extend(value.__symgrad_captures__())
        elif callable(value) and cls is not type:
            yield file_of(cls)


class _Walk:
    """One walk. Visits everything once, in an order that depends on the captured values alone."""

    def __init__(self, seen: Seen, lift: Lift) -> None:
        self.seen, self.lift = seen, lift
        self.met: Counter[int] = Counter()
        self.hidden: dict[Any, Any] = {}
        self.key: list[Any] = []
        self.names: list[str] = []
        self.rows: list[Row] = []
        self.items: dict[int, Items] = {}
        self.order: dict[int, int] = {}  # id: number of the visit
        self.alive: list[Any] = []
        self.told: list[Any] = []  # whose identity is in the key
        self.stack: list[tuple[str, Any]] = []
        self.unseen: list[str] = []

    def state(self) -> State:
        label = Label(tuple(self.key), self.names, self.told)
        state = State(label, self.rows, self.alive, self.unseen)
        state.hidden, state.met = self.hidden, self.met
        return state

    def note(self, name: str, *key: Any) -> None:
        """A piece of the key, and how the user reaches what it tells."""
        self.key.append(key)
        self.names.append(name)

    def run(self, roots: Sequence[Any]) -> None:
        self.push(("", root) for root in roots)
        while self.stack:
            name, value = self.stack.pop()
            self.met[id(value)] += 1
            if type(value) in _PLAIN:
                self.note(name, *fixed_key(value))
            elif value is ABSENT:
                self.note(name, "absent")
            elif id(value) in self.order:
                self.note(name, "again", self.order[id(value)])
            elif len(self.order) >= _MOST:
                self.opaque(name, value, "more than can be looked at")
            else:
                self.order[id(value)] = len(self.order)
                self.alive.append(value)
                self.visit(name, value)

    def push(self, values: Iterable[tuple[str, Any]]) -> None:
        """To be visited next, in this order."""
        self.stack.extend(reversed(list(values)))

    def visit(self, name: str, value: Any) -> None:
        cls = type(value)
        given = getattr(cls, "__symgrad_captures__", None)
        if given is not None:
            self.note(name, "transformed", cls)
            self.push((name, v) for v in given(value))
            return
        if module_of(cls).startswith("symgrad."):
            self.opaque(name, value, "")
            return
        for kinds, method in _VISITS:
            if issubclass(cls, kinds):
                method(self, name, value)
                return
        try:
            if dataclasses.is_dataclass(cls):
                raise NotFixed
            self.note(name, *fixed_key(value))
            self.told.append(value)
        except NotFixed:
            self.instance(name, value)

    def opaque(self, name: str, value: Any, why: str) -> None:
        """Something whose content cannot be seen: it is only told from others."""
        self.note(name, "opaque", id(value))
        self.told.append(value)
        if why:
            self.unseen.append(f"{name} ({type(value).__name__}: {why})")

    # ---- functions -------------------------------------------------------------------------------

    def function(self, name: str, f: types.FunctionType) -> None:
        code = f.__code__
        self.note(name, "function", code, f.__kwdefaults__ is None)

        def parts() -> tuple[Any, ...]:
            parts = f.__code__, f.__defaults__, f.__kwdefaults__, f.__closure__
            return tuple([ABSENT if p is None and k else p for k, p in enumerate(parts)])

        self.rows.append(Slots(f, CODE, parts(), parts))
        library = self.seen.is_library(code.co_filename)
        below: list[tuple[str, Any]] = []
        for free, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
            content = _content(cell)
            if not library or isinstance(content, _CALLABLE):
                self.cell(cell, content)
                below.append((free, self.passed(f, (id(cell), ""), free, content)))
        if not library:
            below.append((f"the defaults of {code.co_name}", f.__defaults__))
            if f.__kwdefaults__ is not None:
                below.append((f"the defaults of {code.co_name}", f.__kwdefaults__))
            names = names_of(code)
            self.seen.add(names)
            below.extend(self.globals(f, names))
            below.extend(self.attributes(name or code.co_name, f, f.__dict__, None))
        self.push(below)

    def cell(self, cell: types.CellType, content: Any) -> None:
        self.rows.append(Slots(cell, CELL, (content,), lambda: (_content(cell),)))

    def passed(self, f: Any, place: Place, name: str, value: Any) -> Any:
        """`value`, or a mark that it is passed."""
        if place in self.lift.floats and id(f) in self.lift.functions and type(value) is float:
            self.hidden[place] = value
            return _PASSED
        return value

    def globals(self, f: types.FunctionType, wanted: Names) -> list[tuple[str, Any]]:
        found = []
        names = f.__globals__
        for name in sorted(wanted.read):
            value = self.item(names, name)
            found.append((name, self.passed(f, (id(names), name), name, value)))
        for name in sorted(wanted.modules):
            module = self.item(sys.modules, name)
            if module is not ABSENT and not is_constant(module, self.seen):
                found.append((name, module))
        return found

    def item(self, owner: dict[Any, Any], key: Any) -> Any:
        """What stands in a dict under a key, noted in a row."""
        row = self.items.get(id(owner))
        if row is None:
            row = self.items[id(owner)] = Items(owner, {})
            self.rows.append(row)
        value = owner.get(key, ABSENT)
        if not row.whole:
            row.values[key] = value
        return value

    def method(self, name: str, value: types.MethodType) -> None:
        self.note(name, "method")
        self.push(((name, value.__func__), (_short(name, "self"), value.__self__)))

    def partial(self, name: str, value: functools.partial[Any]) -> None:
        self.note(name, "partial", type(value))

        def parts() -> tuple[Any, ...]:
            return value.func, value.args, value.keywords

        self.rows.append(Slots(value, PARTIAL, parts(), parts))
        self.push((name, part) for part in parts())

    def wrapper(self, name: str, value: Any) -> None:
        """A property, a class method and the like: the functions inside."""
        self.note(name, type(value))
        parts = [
            getattr(value, k, None) for k in ("__func__", "fget", "fset", "func", "__wrapped__")
        ]
        self.push((name, part) for part in parts if isinstance(part, _CALLABLE))

    def cached(self, name: str, value: Any) -> None:
        self.note(name, "cached")
        self.push([(name, value.__wrapped__)])

    # ---- containers ------------------------------------------------------------------------------

    def tuple(self, name: str, value: tuple[Any, ...]) -> None:
        self.note(name, type(value), tuple.__len__(value))
        self.push((f"{name}[{k}]", v) for k, v in enumerate(tuple.__iter__(value)))

    def list(self, name: str, value: list[Any]) -> None:
        elements = tuple(list.__iter__(value))
        self.rows.append(Elements(value, elements))
        self.note(name, type(value), len(elements))
        if all([type(v) in _PLAIN for v in elements]):
            self.note(name, *[fixed_key(v) for v in elements])
        else:
            self.push((f"{name}[{k}]", v) for k, v in enumerate(elements))
        self.subclass(name, value, list)

    def dict(self, name: str, value: dict[Any, Any]) -> None:
        ordered = isinstance(value, OrderedDict)
        items = dict((OrderedDict if ordered else dict).items(value))
        known = self.items.get(id(value))
        if known is not None:
            known.values, known.whole = items, True
        else:
            row = self.items[id(value)] = Items(value, items, whole=True)
            self.rows.append(row)
        if ordered:
            self.rows.append(Read(lambda: list(value), list(value)))
        self.note(name, type(value), len(items))
        self.subclass(name, value, dict)
        for k, v in reversed(items.items()):
            self.push(
                ((f"{name} (a key)", k), (f"{name}[{k!r}]" if type(k) in _PLAIN else name, v))
            )

    def subclass(self, name: str, value: Any, base: type) -> None:
        if type(value) is not base and not self.seen.is_library(file_of(type(value))):
            self.push(
                [*self.attributes(name, value, vars(value), type(value)), (name, type(value))]
            )

    def several(self, name: str, value: Any) -> None:
        """A set, a deque, bytes that may change: read again by Python."""

        def read() -> Any:
            if isinstance(value, (bytearray, array.array, memoryview)):
                return bytes(value)
            return tuple(value) if isinstance(value, deque) else frozenset(value)

        now = read()
        self.rows.append(Read(lambda: Same(read()), Same(now)))
        self.note(name, type(value), now if type(now) is bytes else len(now))
        if type(now) is tuple:
            self.push((f"{name}[{k}]", v) for k, v in enumerate(now))
        elif type(now) is frozenset:
            try:
                self.note(name, *fixed_key(now))
                self.told.append(now)
            except NotFixed:
                self.note(name, frozenset([id(v) for v in now]))
                self.told.append(now)
                self.push((f"an element of {name}", v) for v in sorted(now, key=id))

    def variable(self, name: str, value: ContextVar[Any]) -> None:
        """A context variable: its value in the context of the call."""
        content = value.get(ABSENT)
        self.rows.append(Read(lambda: Same((value.get(ABSENT),)), Same((content,))))
        self.note(name, "variable")
        self.push([(name, content)])

    def elsewhere(self, name: str, value: Any) -> None:
        self.opaque(name, value, "what it refers to is not followed")

    def mapping(self, name: str, value: types.MappingProxyType[Any, Any]) -> None:
        self.note(name, "view")
        self.push((name, owner) for owner in gc.get_referents(value))

    # ---- arrays ----------------------------------------------------------------------------------

    def array(self, name: str, value: np.ndarray) -> None:
        if value.dtype.hasobject:
            elements = value.ravel().tolist()
            self.rows.append(Read(lambda: Same(tuple(value.ravel().tolist())),
                                  Same(tuple(elements))))  # fmt: skip
            self.note(name, type(value), value.shape)
            self.push((name, v) for v in elements)
            return
        if id(value) in self.lift.arrays:
            self.rows.append(Layout(value))
            self.hidden[id(value)] = value
            self.note(name, "passed", value.dtype, value.shape)
            return
        row = Content(value)
        self.rows.append(row)
        bits = row.copy.tobytes() if value.nbytes <= 64 else digest(row.copy)
        self.note(name, type(value), value.dtype, value.shape, value.strides, bits)
        if type(value) is not np.ndarray:
            self.push(
                self.attributes(name, value, getattr(value, "__dict__", {}), None, whole=True)
            )

    # ---- objects ---------------------------------------------------------------------------------

    def module(self, name: str, value: types.ModuleType) -> None:
        self.note(name, "module", value.__name__)
        if is_constant(value, self.seen):
            return
        names = vars(value)
        wanted = sorted(self.seen.attributes & names.keys())
        self.push((f"{name}.{n}", self.item(names, n)) for n in wanted)

    def type(self, name: str, value: type) -> None:
        self.note(name, "class", id(value))
        self.told.append(value)
        if self.seen.is_library(file_of(value)):
            return
        found: dict[str, Any] = {}
        below: list[tuple[str, Any]] = []
        for cls in value.__mro__:
            if self.seen.is_library(file_of(cls)):
                continue
            (names,) = [d for d in gc.get_referents(vars(cls)) if isinstance(d, dict)]
            special = {n for n, v in names.items() if n[:2] == "__" and isinstance(v, _CALLABLE)}
            for n in sorted((self.seen.attributes & names.keys()) | special):
                below.append((f"{cls.__name__}.{n}", self.item(names, n)))
                found.setdefault(n, cls)
        for cls in value.__mro__:  # a name of a base class, which a class in between may get
            if not self.seen.is_library(file_of(cls)):
                (names,) = [d for d in gc.get_referents(vars(cls)) if isinstance(d, dict)]
                for n in sorted(found):
                    if found[n] is cls:
                        del found[n]
                    else:
                        self.item(names, n)
        self.push(below)

    def instance(self, name: str, value: Any) -> None:
        cls = type(value)
        library = self.seen.is_library(file_of(cls))
        if is_elsewhere(value):
            self.arraylike(name, value)
            if library:
                return
        try:
            names = object.__getattribute__(value, "__dict__")
        except AttributeError:
            names = None
        slots = members(cls)
        if names is None and not slots:
            known = library or module_of(cls).partition(".")[0] in sys.stdlib_module_names
            why = "an iterator" if hasattr(cls, _ITERATOR) else "" if known else "not of Python"
            self.opaque(name, value, why)
            if not library:
                self.push([(name, cls)])
            return
        self.note(name, "object", id(cls))
        self.told.append(cls)
        self.rows.append(Slots(value, TYPE, (cls,), lambda: (type(value),)))
        # What code of a library reads of its objects is not seen: all of it, then.
        whole = library and (hasattr(cls, "toarray") or foreign_package(file_of(cls)) is not None)
        below = [] if names is None else self.attributes(name, value, names, cls, whole)
        below.extend(self.slots(name, value, slots))
        self.push([*below, (name, cls)])

    def arraylike(self, name: str, value: Any) -> None:
        """An array of another library: its numbers."""
        # The labels of a table are no numbers of its own.
        labels = [n for n in ("index", "columns") if hasattr(getattr(value, n, None), "__array__")]

        def parts() -> list[Any]:
            found = [value, *[getattr(value, n) for n in labels]]
            return [_numbers(numbers_of(v)) for v in found]

        def read() -> Any:
            return [Same(p[1]) if p[0] is object else p for p in parts()]

        try:
            now, found = read(), parts()
        except Exception:  # code of another library, which may raise anything
            self.opaque(name, value, "it cannot be read as an array")
            return
        self.rows.append(Read(read, now))
        for part in found:
            if part[0] is object:
                self.note(name, type(value), len(part[1]))
                self.push((name, v) for v in part[1])
            else:
                self.note(name, type(value), *part)

    def attributes(
        self, name: str, value: Any, names: Held, cls: Class | None, whole: bool = False
    ) -> Pairs:
        """Attributes in a ``__dict__``, of those that code names; what the class has and the object
        has not may be hidden by a new one."""
        if type(names) is not dict:
            return []
        if whole or self.seen.whole:
            wanted = sorted(k for k in names if type(k) is str)
            row = self.items[id(names)] = Items(names, dict(names), whole=True)
            self.rows.append(row)
            wanted = [n for n in wanted if not n.startswith("__symgrad")]
        else:
            wanted = sorted(self.seen.attributes & names.keys())
            if cls is not None and self.seen.is_library(file_of(cls)):  # np.vectorize(f)
                callables = {n for n, v in names.items() if isinstance(v, _CALLABLE)}
                wanted = sorted(callables.union(wanted))
        if cls is not None:
            read = functools.partial(object.__getattribute__, value, "__dict__")
            self.rows.append(Slots(value, dict_offset(value, names), (names,),
                                   functools.partial(_alone, read)))  # fmt: skip
            if not self.seen.whole and not whole:
                for n in sorted(self.seen.attributes - names.keys()):
                    if any(n in vars(c) for c in cls.__mro__):
                        self.item(names, n)
        found = []
        for n in wanted:
            found.append((_short(name, n), names[n] if whole or self.seen.whole
                          else self.item(names, n)))  # fmt: skip
        self.note(name, *[n for n, _ in found])
        return found

    def slots(self, name: str, value: Any, slots: Held) -> Pairs:
        found = []
        for n in sorted(slots if self.seen.whole else self.seen.attributes & slots.keys()):
            read = functools.partial(slot, value, slots[n])
            content = read()
            self.rows.append(Slots(value, slot_offset(slots[n]), (content,),
                                   functools.partial(_alone, read)))  # fmt: skip
            found.append((_short(name, n), content))
        return found


_CALLABLE = (types.FunctionType, types.MethodType, functools.partial,
             type(functools.lru_cache(len)), *_WRAPPERS)  # fmt: skip
_VISITS: list[tuple[Any, Callable[..., None]]] = [
    (types.FunctionType, _Walk.function),
    (types.MethodType, _Walk.method),
    (functools.partial, _Walk.partial),
    (type(functools.lru_cache(len)), _Walk.cached),
    (_WRAPPERS, _Walk.wrapper),
    (np.ndarray, _Walk.array),
    (types.ModuleType, _Walk.module),
    (type, _Walk.type),
    (tuple, _Walk.tuple),
    (list, _Walk.list),
    (dict, _Walk.dict),
    ((set, frozenset, deque, bytearray, array.array, memoryview), _Walk.several),
    (types.MappingProxyType, _Walk.mapping),
    (ContextVar, _Walk.variable),
    ((weakref.ReferenceType, threading.local), _Walk.elsewhere),
]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet, or deleted
        return ABSENT


def _numbers(value: np.ndarray) -> tuple[Any, ...]:
    """What tells arrays of another library from others; (object, elements) where nothing does."""
    if not value.dtype.hasobject:
        return value.dtype, value.shape, digest(np.ascontiguousarray(value))
    elements = tuple(value.ravel().tolist())
    if all([type(v) in _PLAIN for v in elements]):
        return str, value.shape, repr(elements)
    return object, elements


def _alone(read: Callable[[], Any]) -> tuple[Any]:
    return (read(),)


def _short(name: str, attribute: str) -> str:
    return f"{name}.{attribute}" if name else attribute
