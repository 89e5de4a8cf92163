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
import hashlib
import sys
import types
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from symgrad.captures.code import Names, Seen, is_foreign, is_library, names_of
from symgrad.captures.layout import (
    dict_offset,
    file_of,
    is_constant,
    members,
    module_of,
    slot,
    slot_offset,
)
from symgrad.captures.lift import Lift, Place, Reach
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
from symgrad.fixed import NotFixed, fixed_key

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


class State:
    """What some functions capture at one moment.

    key : equal, and of equal hash, if all that is captured is equal
    rows : where it was read
    unseen : how the user reaches objects whose content cannot be looked at
    """

    __slots__ = ("_hash", "alive", "hidden", "key", "met", "names", "reach", "rows", "unseen")

    hidden: dict[Any, Any]  # what is passed at each call: arrays by id, floats by place
    met: Counter[int]  # how often everything was met, by id
    reach: Reach | None  # of those arrays

    def __init__(self, key: tuple[Any, ...], rows: list[Row], alive: list[Any],
                 names: list[str], unseen: list[str]) -> None:  # fmt: skip
        self.key, self.rows, self.alive = key, rows, alive
        self.names, self.unseen = names, unseen
        self._hash = hash(key)
        self.hidden, self.reach, self.met = {}, None, Counter()

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self._hash == other._hash and self.key == other.key

    def holds(self) -> bool:
        """Whether everything is where it was."""
        return all([row.holds() for row in self.rows])

    def native(self) -> tuple[Any, ...] | None:
        """All rows for the fast call path, None if it cannot compare one of them."""
        rows = tuple([row.native() for row in self.rows])
        return None if None in rows else rows

    def changes(self, other: State) -> str:
        """How the user names what differs between two states."""
        for (a, name), b in zip(zip(self.key, self.names, strict=True), other.key, strict=False):
            if a != b and name:
                return name
        return "something that it captures"


def state_of(roots: Sequence[Any], seen: Seen, lift: Lift = NOTHING) -> State:
    """What `roots` capture now. `seen` has the attributes that their code names, as far as known;
    what is found anew is added. `lift` says what is passed."""
    while True:
        before = seen.size()
        walk = _Walk(seen, lift)
        walk.run(roots)
        if seen.size() == before:  # else earlier objects have further attributes to look at
            return walk.state()


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
        self.stack: list[tuple[str, Any]] = []
        self.unseen: list[str] = []

    def state(self) -> State:
        state = State(tuple(self.key), self.rows, self.alive, self.names, self.unseen)
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
        except NotFixed:
            self.instance(name, value)

    def opaque(self, name: str, value: Any, why: str) -> None:
        """Something whose content cannot be seen: it is only told from others."""
        self.note(name, "opaque", id(value))
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
        library = is_library(code.co_filename)
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
            if module is not ABSENT and not is_constant(module):
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
        if type(value) is not base and not is_library(file_of(type(value))):
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
        self.rows.append(Read(lambda: _Same(read()), _Same(now)))
        self.note(name, type(value), now if type(now) is bytes else len(now))
        if type(now) is tuple:
            self.push((f"{name}[{k}]", v) for k, v in enumerate(now))
        elif type(now) is frozenset:
            try:
                self.note(name, *fixed_key(now))
            except NotFixed:
                self.note(name, frozenset([id(v) for v in now]))
                self.push((f"an element of {name}", v) for v in sorted(now, key=id))

    def mapping(self, name: str, value: types.MappingProxyType[Any, Any]) -> None:
        self.note(name, "view")
        self.push((name, owner) for owner in gc.get_referents(value))

    # ---- arrays ----------------------------------------------------------------------------------

    def array(self, name: str, value: np.ndarray) -> None:
        if value.dtype.hasobject:
            elements = value.ravel().tolist()
            self.rows.append(Read(lambda: _Same(tuple(value.ravel().tolist())),
                                  _Same(tuple(elements))))  # fmt: skip
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
        bits = row.copy.tobytes() if value.nbytes <= 64 else _digest(row.copy)
        self.note(name, type(value), value.dtype, value.shape, value.strides, bits)
        if type(value) is not np.ndarray:
            self.push(
                self.attributes(name, value, getattr(value, "__dict__", {}), None, whole=True)
            )

    # ---- objects ---------------------------------------------------------------------------------

    def module(self, name: str, value: types.ModuleType) -> None:
        self.note(name, "module", value.__name__)
        if is_constant(value):
            return
        names = vars(value)
        wanted = sorted(self.seen.attributes & names.keys())
        self.push((f"{name}.{n}", self.item(names, n)) for n in wanted)

    def type(self, name: str, value: type) -> None:
        self.note(name, "class", id(value))
        if is_library(file_of(value)):
            return
        found: dict[str, Any] = {}
        below: list[tuple[str, Any]] = []
        for cls in value.__mro__:
            if is_library(file_of(cls)):
                continue
            (names,) = [d for d in gc.get_referents(vars(cls)) if isinstance(d, dict)]
            special = {n for n, v in names.items() if n[:2] == "__" and isinstance(v, _CALLABLE)}
            for n in sorted((self.seen.attributes & names.keys()) | special):
                below.append((f"{cls.__name__}.{n}", self.item(names, n)))
                found.setdefault(n, cls)
        for cls in value.__mro__:  # a name of a base class, which a class in between may get
            if not is_library(file_of(cls)):
                (names,) = [d for d in gc.get_referents(vars(cls)) if isinstance(d, dict)]
                for n in sorted(found):
                    if found[n] is cls:
                        del found[n]
                    else:
                        self.item(names, n)
        self.push(below)

    def instance(self, name: str, value: Any) -> None:
        cls = type(value)
        library = is_library(file_of(cls))
        if hasattr(cls, "__array__") or hasattr(cls, "__array_interface__"):
            self.arraylike(name, value)
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
        self.rows.append(Slots(value, TYPE, (cls,), lambda: (type(value),)))
        # What code of a library reads of its objects is not seen: all of it, then.
        whole = library and (hasattr(cls, "toarray") or is_foreign(file_of(cls)))
        below = [] if names is None else self.attributes(name, value, names, cls, whole)
        below.extend(self.slots(name, value, slots))
        self.push([*below, (name, cls)])

    def arraylike(self, name: str, value: Any) -> None:
        """An array of another library: its numbers."""

        def read() -> Any:
            numbers = np.asarray(value)
            if numbers.dtype.hasobject:
                return _Same(tuple(numbers.ravel().tolist()))
            return numbers.dtype, numbers.shape, _digest(np.ascontiguousarray(numbers))

        try:
            now = read()
        except Exception:
            self.opaque(name, value, "it cannot be read as an array")
            return
        self.rows.append(Read(read, now))
        self.note(name, type(value), *(now if type(now) is tuple else (id(value), len(now.values))))

    def attributes(self, name: str, value: Any, names: dict[str, Any], cls: type | None,
                   whole: bool = False) -> list[tuple[str, Any]]:  # fmt: skip
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
            if cls is not None and is_library(file_of(cls)):  # np.vectorize(f) has f in it
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

    def slots(self, name: str, value: Any, slots: dict[str, Any]) -> list[tuple[str, Any]]:
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
]


class _Same:
    """Equal if it has the same objects: their own ``__eq__`` may say anything."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        mine, theirs = self.values, other.values if isinstance(other, _Same) else other
        if isinstance(mine, bytes):
            return bool(mine == theirs)
        if isinstance(mine, frozenset):
            return {id(v) for v in mine} == {id(v) for v in theirs}
        return len(mine) == len(theirs) and all([a is b for a, b in zip(mine, theirs, strict=True)])

    __hash__ = None  # type: ignore[assignment]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet, or deleted
        return ABSENT


def _alone(read: Callable[[], Any]) -> tuple[Any]:
    return (read(),)


def _short(name: str, attribute: str) -> str:
    return f"{name}.{attribute}" if name else attribute


def _digest(values: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data
                           if values.size else b"", digest_size=16).digest()  # fmt: skip
