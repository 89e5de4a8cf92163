"""The fast call path: fastcall/calls.c, built in the background once per machine.

In: a compiled entry, the types of its arguments and results and their structure. Out: `Caller`, a
base class whose instances check, allocate and call in C; whatever that does not know to be exactly
right it hands to the method `_slow`. This module must not know what functions compute, and
nothing depends on it for being right: without it every call goes to `_slow`.

A C type can only be a base class if it exists when the class statement runs. So a process that
finds the library in the disk cache uses the C type itself, and one that does not uses a class of
the same interface in Python, which passes on to C as soon as the library is built.
"""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symgrad import log
from symgrad.captures.rows import ABSENT, CELL, CODE, Content, Elements, Items, Slots
from symgrad.errors import BuildError
from symgrad.forks import ForkSafeLock
from symgrad.runtime.build import Library, build, find_cached
from symgrad.tree import TreeDef

SYMBOL = "symgrad_dispatch"
_FASTCALL = Path(__file__).with_name("fastcall")
_PARTS = ("abi.h", "pool.h", "plan.h", "values.h", "guards.h", "calls.c")  # of one file of C
ACCEPT_PYTHON, ACCEPT_NUMPY, ACCEPT_ARRAY = 1, 2, 4  # as in plan.h
ACCEPT_ALL = ACCEPT_PYTHON | ACCEPT_NUMPY | ACCEPT_ARRAY

# As in plan.h and pool.h.
_MAX_LEAVES, _MAX_NDIM, _MAX_STEPS = 32, 8, 64
_CONTAINERS = {tuple: 1, list: 2, dict: 3, type(None): 4}
_KINDS = {"float64": 0, "float32": 1, "int64": 2, "int32": 3, "bool": 4}
_RECYCLED = 1 << 16  # bytes of a result from which on its memory is recycled
# Handing over Python's lock costs 40 ns, which only a short call notices.
_SHORT_BYTES, _SHORT_NODES = 4096, 300

# Guards read dicts, lists and functions as these versions of CPython lay them out. Whether a dict
# has another version after each change, and where it has values whose keys belong to a class:
GUARDS = (3, 11) <= sys.version_info[:2] <= (3, 13)
_VERSIONS_TELL = sys.version_info[:2] == (3, 11)
_VALUES_HEADER = 8 if sys.version_info[:2] == (3, 13) else 0

_native: type | None = None  # the C type, once it is loaded
_lock = ForkSafeLock()
_background: threading.Thread | None = None


def _no_background() -> None:
    """A child of fork lacks the thread of its parent."""
    global _background
    _background = None


os.register_at_fork(after_in_child=_no_background)


class PythonCaller:
    """The interface of the C type, for the time until there is one."""

    _fast: Any = None
    _waiting: tuple[tuple[Any, ...], ...] = ()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if self._fast is not None:
            return self._fast(*args, **kwargs)
        if _native is not None and any(name != "_watch" for name, _ in self._waiting):
            self._fast = _forward(_native, self)
        return self._slow(*args, **kwargs)

    def _slow(self, /, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def _add_plan(self, plan: tuple[Any, ...]) -> None:
        self._waiting += (("_add_plan", plan),)
        if self._fast is not None:
            self._fast._add_plan(plan)

    def _switch(self, given: tuple[Any, ...]) -> None:
        kept = [(name, old) for name, old in self._waiting if name == "_watch"]
        self._waiting = (*kept, ("_switch", given))
        if self._fast is not None:
            self._fast._switch(given)

    def _inherit_vectorcall(self) -> None:
        pass

    def _watch(self, given: tuple[Any, Any]) -> None:
        self._waiting += (("_watch", given),)


def _forward(native: type, owner: PythonCaller) -> Any:
    """A C caller with the plans of `owner`, to which it hands back what it cannot do."""
    caller = type("Caller", (native,), {"__slots__": ("_slow",)})()
    caller._inherit_vectorcall()
    caller._slow = owner._slow
    for name, given in owner._waiting:
        getattr(caller, name)(given)
    return caller


def base() -> type:
    """The class to derive callables from: the C type if it is at hand, else `PythonCaller`."""
    if _native is None and _supported():
        try:
            library = find_cached(_source(), (SYMBOL,), **_OPTIONS)
            if library is not None:
                _load(library)
        except BuildError:  # without a compiler or a cache there is nothing to call quickly
            pass
    return _native or PythonCaller


def load() -> None:
    """Build the library, wait for it, and use it from now on.

    Raises BuildError if it cannot be built.
    """
    if _native is None and _supported():
        _load(build(_source(), (SYMBOL,), **_OPTIONS))


def build_in_background() -> None:
    """As `load`, without waiting. Called when a first function has been compiled."""
    global _background
    with _lock.held():
        if _native is not None or _background is not None or not _supported():
            return
        _background = threading.Thread(target=_load_quietly, name="symgrad-dispatch")
        _background.start()


def _load_quietly() -> None:
    log.in_background()
    log.note(lambda: (
        "calls take some 20 µs more, through Python, until the call path is built, once on a "
        "machine; symgrad.fast_calls(wait=True) waits for it"
    ))  # fmt: skip
    start = time.perf_counter()
    try:
        load()
        why = "arrays have another layout in memory here"
    except (BuildError, OSError) as error:  # the slow path stays, and says what is wrong
        why = str(error)
    if _native is None:
        log.note(lambda: f"calls stay slow, through Python: {why}")
    else:
        seconds = time.perf_counter() - start
        log.note(lambda: f"the call path is there: calls are fast from now on "
                         f"({log.spoken(seconds)})")  # fmt: skip


def fast_calls(wait: bool | float) -> bool:
    """Whether calls go through C; `wait` as of `symgrad.fast_calls`."""
    if _native is None and wait:
        build_in_background()
        thread = _background
        if thread is not None:
            thread.join(None if wait is True else float(wait))
    return _native is not None


_OPTIONS: dict[str, Any] = dict(optimize=2, native=False, key_extra=sys.version)


def comparison(rows: tuple[Any, ...] | None) -> Callable[[], bool] | None:
    """Whether what these rows were read from is unchanged, asked in C, or None if it cannot be.

    rows : as of `captures.State.native`
    """
    if _native is None or rows is None or not GUARDS:
        return None
    guards = type("Guards", (_native,), {})()
    guards._switch((rows, (), None))
    all_hold: Callable[[], bool] = guards._all_hold
    return all_hold


def _source() -> str:
    return "\n".join((_FASTCALL / part).read_text(encoding="ascii") for part in _PARTS)


def _supported() -> bool:
    """Whether fastcall/abi.h knows the layout of objects in this interpreter and of its arrays."""
    return (
        sys.implementation.name == "cpython"
        and sys.platform == "linux"
        and sys.maxsize == 2**63 - 1
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        and not hasattr(sys, "gettotalrefcount")  # a debug build, with a longer object header
        and np.lib.NumpyVersion(np.__version__) >= "2.0.0"
    )


def _load(library: Library) -> None:
    """Make the C type, and believe in it only after it has read arrays as NumPy describes them."""
    global _native
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = pointer(np._core._multiarray_umath._ARRAY_API, None)  # type: ignore[attr-defined]
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(library.address(SYMBOL))
    made = make((table, np.ndarray, np.float64, "out", _VERSIONS_TELL, _VALUES_HEADER))
    probe = type("Probe", (made,), {})()._probe
    sample = np.zeros((3, 4))
    locked = np.zeros(5, np.float32)
    locked.flags.writeable = False
    empty = np.zeros((0, 2), np.int64)
    for a in (sample, sample[1:], sample[:, ::2], locked, np.array(1.5), empty):
        flags = a.flags
        described = (
            a.ctypes.data,
            a.ndim,
            flags.c_contiguous + 0x100 * flags.aligned + 0x400 * flags.writeable,
            a.shape[0] if a.ndim else 0,
            id(a.dtype),
        )
        if probe(a) != described:
            return  # another layout: calls stay slow and right
    if not _guards_tell(made):
        return
    large = made._empty(((np.dtype(float), 0, 0, _RECYCLED, (_RECYCLED // 8,)),))
    if np._core.multiarray.get_handler_name(large) == "symgrad":  # type: ignore[attr-defined]
        _native = made


def _guards_tell(made: Any) -> bool:
    """Whether guards of all kinds see changes, and nothing else, in this interpreter."""
    if not GUARDS:
        return True  # and nobody will use them

    class Sample:
        pass

    content: Any = [1.0]

    def function() -> Any:
        return content

    names: dict[str, Any] = {"a": 1.5, "b": 2}
    one, values, items, sample = object(), [1.5, 2], {3: 4}, Sample()
    numbers = np.arange(3.0)
    sample.k = one  # type: ignore[attr-defined]
    cell = function.__closure__[0]  # type: ignore[index]
    kept = vars(sample)
    rows: list[tuple[Any, Callable[[], Any]]] = [
        (Items(names, {"a": names["a"], "c": ABSENT}), lambda: names.update(a=2.5)),
        (Items(names, {"c": ABSENT}), lambda: names.update(c=1)),
        (Items(items, dict(items), whole=True), lambda: items.update({5: 6})),
        (Items(kept, {"k": one}), lambda: setattr(sample, "k", 2)),
        (Elements(values, tuple(values)), lambda: values.append(3)),
        (Content(numbers), lambda: numbers.__setitem__(1, 7.0)),
        (Slots(cell, CELL, (content,), tuple), lambda: setattr(cell, "cell_contents", 1)),
        (Slots(function, CODE, (function.__code__, ABSENT, ABSENT), tuple),
         lambda: setattr(function, "__defaults__", (1,))),
    ]  # fmt: skip
    guards = type("Guards", (made,), {})()
    for row, change in rows:
        given = row.native()
        if given is None:
            return False
        guards._switch(((given,), (), row))
        if not guards._all_hold():
            return False
        one_more = sample.other = object()  # type: ignore[attr-defined]
        names["d"] = one_more
        if not guards._all_hold():
            return False
        change()
        if guards._all_hold():
            return False
    return True


def empty(t: Any) -> np.ndarray:
    """A fresh array of an ArrayType; a large one has memory that earlier results had."""
    if _native is None or len(t.shape) > _MAX_NDIM:
        return np.empty(t.shape, t.numpy)
    return _native._empty((_leaf(t, ACCEPT_ALL),))  # type: ignore[attr-defined, no-any-return]


def plan(
    address: int,
    arguments: TreeDef,
    result: TreeDef,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    *,
    accepts: Sequence[int],
    data: Sequence[np.ndarray],
    workspace_bytes: int,
    takes_out: bool,
    hidden: Sequence[Any],
    statics: Sequence[tuple[int, Any]],
    nodes: int,
    keep: Any,
) -> tuple[Any, ...] | None:
    """What calls.c has to know to call a function, or None where only the slow path can.

    Parameters
    ----------
    address : of the uniform entry
    arguments, result : structures; `arguments` that of (positional, keyword)
    inputs, outputs : ArrayType of each leaf
    accepts : for each input, which values may stand for a scalar (ACCEPT_…)
    data : captured arrays, passed after the inputs
    hidden : arrays and floats that are passed at each call behind the inputs, as a tuple
    statics : arguments that are compiled in: the number of the leaf, and the value
    nodes : size of the graph, by which short calls are told from long ones
    keep : whatever has to live as long as the plan
    """
    top, count = arguments.nodes, arguments.nodes[1].arity
    if hidden:
        top, count = (*top[: -2 - len(hidden)], top[-1]), count - 1
    in_steps, out_steps = _steps(top[2:-1]), _steps(result.nodes)
    if (
        in_steps is None
        or out_steps is None
        or top[-1].type is not dict  # no keyword arguments
        or max(len(inputs) + len(statics), len(outputs), len(data)) > _MAX_LEAVES
        or max(len(in_steps), len(out_steps)) > _MAX_STEPS
        or max((len(t.shape) for t in (*inputs, *outputs)), default=0) > _MAX_NDIM
    ):
        return None
    rows = [_leaf(t, a) for t, a in zip(inputs, accepts, strict=True)]
    results = [_leaf(t, ACCEPT_ALL) for t in outputs]
    moved = sum(row[3] for row in (*rows, *results))
    return (
        address,
        in_steps,
        out_steps,
        tuple(rows),
        tuple(results),
        tuple(d.ctypes.data for d in data),
        count,
        workspace_bytes,
        int(takes_out),
        int(max(moved, workspace_bytes) > _SHORT_BYTES or nodes > _SHORT_NODES),
        tuple([(k, v, v.nbytes if type(v) is np.ndarray else 0) for k, v in statics]),
        tuple(hidden),
        (keep, tuple(data)),
    )


def _steps(nodes: Sequence[Any]) -> tuple[Any, ...] | None:
    if not all(n.type is None or n.type in _CONTAINERS for n in nodes):
        return None
    return tuple(
        (0, 0, (), ()) if n.type is None else (_CONTAINERS[n.type], n.arity, n.keys, n.order)
        for n in nodes
    )


def _leaf(t: Any, accepts: int) -> tuple[Any, ...]:
    size = t.numpy.itemsize
    for n in t.shape:
        size *= n
    return t.numpy, _KINDS[t.dtype], accepts, size, t.shape
