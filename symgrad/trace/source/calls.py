"""Calls of traced functions: what is called is looked at by identity, at the moment of the call.

``from numpy import array as a``, ``self.helper``, partials and callbacks are all one case.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
import types
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from symgrad.errors import MutationError, TraceError, UnsupportedError
from symgrad.interchange import is_elsewhere
from symgrad.origin import is_of, package_of
from symgrad.trace import journal
from symgrad.trace.handle import blame, elsewhere
from symgrad.trace.known import CHANGING, VIEWS, give, is_traced, knowns, own_all, plain
from symgrad.trace.named import returned
from symgrad.trace.source import library, tails
from symgrad.trace.source.clones import RUNTIME, clone
from symgrad.trace.source.kinds import isinstance_, stands_for
from symgrad.trace.source.refusal import refuse
from symgrad.trace.state import CURRENT, fail
from symgrad.trace.tables import DISPATCH, SUPPORTED, public_name, unsupported
from symgrad.trace.tracer import Tracer

Args = tuple[Any, ...]
Options = dict[str, Any]

# What is called instead of a function, where a traced or known value is among the arguments.
INSTEAD: dict[Any, Callable[..., Any]] = {}
# What is called instead of a function in any case: those that take functions of the user's, say.
ALWAYS: dict[Any, Callable[..., Any]] = {}
# What looks at the arguments of a builtin first: objects of the user's may answer themselves.
ASKED: dict[Any, Callable[[Any, Args], Any]] = {}
# The installed package that the traced function belongs to.
PACKAGE: ContextVar[str] = ContextVar("symgrad_package", default="")


class Answer:
    """The result of a builtin."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def instead_of(*functions: Any) -> Callable[..., Any]:
    """Register what is called for `functions` where a traced value is among the arguments."""

    def register(implementation: Callable[..., Any]) -> Callable[..., Any]:
        for f in functions:
            INSTEAD[f] = implementation
        return implementation

    return register


def call(f: Any, /, *args: Any, **kwargs: Any) -> Any:
    """``f(*args, **kwargs)`` in a traced function."""
    cls = type(f)
    try:
        if cls is np.ufunc:
            if CURRENT.get().tails:
                tails.answer(f, args, kwargs)  # which has none
            for a in args:
                if type(a) in _LISTS and is_traced(a):
                    return SUPPORTED["ufunc"](f, "__call__", args, kwargs)
                if is_elsewhere(a) and is_traced(args):
                    args = tuple([elsewhere(v) if is_elsewhere(v) else v for v in args])
                    break
            return own_all(f(*args, **kwargs))
        handler = _HANDLERS.get(cls)
        if handler is None:
            handler = _handler(cls)
        return handler(f, args, kwargs)
    except TraceError as error:
        blame(error, (args, kwargs))
        raise


_LISTS = (list, tuple)
_NOT_THE_USERS = sys.stdlib_module_names | {"numpy", "scipy"}
RUNTIME["call"] = call
RUNTIME["returned"] = returned


def _function(f: types.FunctionType, args: Args, kwargs: Options) -> Any:
    package = package_of(f.__code__.co_filename)
    if package == "" or package is not None and package == PACKAGE.get():
        follow = clone(f)
        if follow is not None:
            return follow(*args, **kwargs)
        if journal.is_side() and not f.__name__.startswith("__"):
            error = fail(
                UnsupportedError,
                f"{f.__name__} is called on one side of a branch on a traced value, and its source "
                "is not at hand: what it changes cannot be seen",
            )
            error.decisions = journal.sites()
            raise error
    elif package is not None:
        of_scipy = is_of(f.__code__.co_filename, "scipy")
        replacement = library.counterpart(f, args, kwargs) if of_scipy else None
        if replacement is not None:
            return replacement(*args, **kwargs)
        if of_scipy:
            return library.called(f, args, kwargs, foreign)
    elif f.__module__.startswith("symgrad"):
        return f(*args, **kwargs)
    elif f.__code__.co_filename == functools.__file__:
        chosen = _by_type(f, args)
        if chosen is not None:
            return call(chosen, *args, **kwargs)
    if f in INSTEAD or f in ALWAYS:
        return _builtin(f, args, kwargs)
    return foreign(f, args, kwargs)


def _by_type(f: types.FunctionType, args: Args) -> Any:
    """What `functools.singledispatch` would call, or its like for methods; None for the rest."""
    cells = dict(zip(f.__code__.co_freevars, f.__closure__ or (), strict=True))
    if not args or not {"dispatch", "self"} & cells.keys() or not hasattr(f, "register"):
        return None
    kind = stands_for(args[0]) if isinstance(args[0], Tracer) else args[0].__class__
    if "dispatch" in cells and "obj" not in cells:
        return cells["dispatch"].cell_contents(kind)
    if "obj" not in cells or "cls" not in cells:
        return None
    found = cells["dispatch"].cell_contents if "dispatch" in cells else \
        cells["self"].cell_contents.dispatcher.dispatch  # fmt: skip
    return found(kind).__get__(cells["obj"].cell_contents, cells["cls"].cell_contents)


def _method(f: types.MethodType, args: Args, kwargs: Options) -> Any:
    inner = f.__func__
    if type(inner) is types.FunctionType:
        if isinstance(f.__self__, Tracer):
            return f(*args, **kwargs)
        return _function(inner, (f.__self__, *args), kwargs)
    return call(inner, f.__self__, *args, **kwargs)


def _builtin(f: Any, args: Args, kwargs: Options) -> Any:
    """A function written in C: of a module, or a method of an object."""
    if CURRENT.get().tails and (known := tails.answer(f, args, kwargs)) is not None:
        return known
    owner = getattr(f, "__self__", None)
    if owner is builtins:
        found = _asked(f, args)
        if type(found) is Answer:
            return found.value
        args = found
        if journal.is_open():
            journal.note_iterators(args)
        replacement = _replacement(f, args, kwargs)
        if replacement is not None:
            return replacement(*args, **kwargs)
        if f is not isinstance:
            return f(*args, **kwargs)
        return isinstance_(*args)
    cls = type(owner)
    if cls is np.ndarray:
        return _array_method(f, owner, args, kwargs)  # type: ignore[arg-type]
    if isinstance(owner, journal.CONTAINERS):
        return _container_method(f, owner, args, kwargs)
    if cls is np.ufunc and any(type(a) in _LISTS and is_traced(a) for a in args):
        return SUPPORTED["ufunc"](owner, f.__name__, args, kwargs)
    replacement = _replacement(f, args, kwargs)
    if replacement is not None:
        return replacement(*args, **kwargs)
    return foreign(f, args, kwargs)


def _asked(f: Any, args: Args) -> Any:
    """What a builtin is called with, or the `Answer` of an object of the user's."""
    ask = ASKED.get(f)
    return args if ask is None else ask(f, args)


def _replacement(f: Any, args: Args, kwargs: Options) -> Callable[..., Any] | None:
    """What is called in the place of a function, if anything is."""
    always = ALWAYS.get(f)
    if always is not None:
        return always
    instead = INSTEAD.get(f)
    return instead if instead is not None and (is_traced(args) or is_traced(kwargs)) else None


def _container_method(f: Any, owner: Any, args: Args, kwargs: Options) -> Any:
    if CURRENT.get().journal is not None and f.__name__ not in _ASKING:
        journal.note_container(owner)
    if f.__name__ == "sort" and type(owner) is list:
        owner[:] = ALWAYS[sorted](owner, **kwargs)
        return None
    result = f(*args, **kwargs)
    return journal.made(result) if f.__name__ == "copy" else result


_ASKING = frozenset({"get", "keys", "values", "items", "copy", "index", "count", "__getitem__"})


def _array_method(f: Any, owner: np.ndarray, args: Args, kwargs: Options) -> Any:
    """A method of a plain array: with traced arguments the function of that name."""
    if is_traced(args) or is_traced(kwargs):
        implementation = SUPPORTED.get(f.__name__)
        if implementation is None or f.__name__ in ("fill", "put", "sort", "partition"):
            raise unsupported(f"the method {f.__name__} of a plain array with a traced argument",
                              "make the array inside the function")  # fmt: skip
        return implementation(owner, *args, **kwargs)
    return foreign(f, args, kwargs)


def _numpy(f: Any, args: Args, kwargs: Options) -> Any:
    """A NumPy function that dispatches on its arguments."""
    if CURRENT.get().tails and (known := tails.answer(f, args, kwargs)) is not None:
        return known
    if is_traced(args) or is_traced(kwargs):
        replacement = INSTEAD.get(f) or ALWAYS.get(f)
        if replacement is not None:
            return replacement(*args, **kwargs)
        out = kwargs.get("out")
        if isinstance(out, Tracer):
            kwargs = {k: v for k, v in kwargs.items() if k != "out"}
            return _into(out, _numpy(f, args, kwargs), f)
        implementation = DISPATCH.get(f)
        if implementation is None:
            raise unsupported(public_name(f))
        if f not in VIEWS:
            args, kwargs = plain(args), plain(kwargs)
        return own_all(implementation(*args, **kwargs))
    replacement = ALWAYS.get(f)
    if replacement is not None:
        return replacement(*args, **kwargs)
    out = kwargs.get("out")
    if isinstance(out, Tracer) and journal.is_open():
        out[...] = _numpy(f, args, {k: v for k, v in kwargs.items() if k != "out"})
        return out
    return foreign(f, args, kwargs)


def _into(out: Any, result: Any, f: Any) -> Any:
    """`result` stored in the array `out`, which is returned, as NumPy has it."""
    return out.assign(
        result.expr if isinstance(result, Tracer) else SUPPORTED["copy"](result).expr,
        f"{public_name(f)} with out=",
    )


# Objects whose methods, written in C, leave them as they are.
_STEADY = (
    str, bytes, int, float, complex, tuple, frozenset, range, slice, types.ModuleType, type,
    np.ndarray, np.generic, np.dtype, np.ufunc, Tracer, types.FunctionType, type(None),
)  # fmt: skip
_DRAWING = ("numpy.random.", "random.", "_random.")  # modules of generators of random numbers


def _note_hidden(f: Any, args: Args, current: Any) -> None:
    """What a call may change that is not seen: it cannot be taken back."""
    owner = getattr(f, "__self__", None)
    if owner is None and args and "." in getattr(f, "__qualname__", ""):
        owner = args[0]  # a method
    if isinstance(owner, (*_STEADY, *journal.CONTAINERS)):
        return
    if current.in_trial():
        raise refuse(f"{getattr(f, '__name__', f)} may change what it belongs to")
    if f"{type(owner).__module__}.".startswith(_DRAWING) and journal.is_side():
        raise fail(
            UnsupportedError,
            "random numbers are drawn on one side of a branch on a traced value, and the generator "
            "would go on from there on the other; draw them before the branch",
        )


def foreign(f: Any, args: Args, kwargs: Options) -> Any:
    """A call of what is not followed: known arrays become plain ones, if nothing is traced."""
    if CURRENT.get().tails and (known := tails.answer(f, args, kwargs)) is not None:
        return known
    given = knowns(args) + knowns(kwargs) if kwargs else knowns(args)
    current = journal.current()
    if current is not None:
        _note_hidden(f, args, current)
        return _foreign_in_a_side(f, args, kwargs, given)
    if given and not is_traced(args) and not is_traced(kwargs):
        return give(f(*plain(args), **plain(kwargs)), given)
    return own_all(f(*args, **kwargs))


def _foreign_in_a_side(f: Any, args: Args, kwargs: Options, given: list[Any]) -> Any:
    """The same in a side of a branch: what is changed in arguments must be seen."""
    for a in (*args, *kwargs.values()):
        if isinstance(a, journal.CONTAINERS):
            journal.note_container(a)
    if not given or is_traced(args) or is_traced(kwargs):
        return own_all(f(*args, **kwargs))
    changes = "out" in kwargs or _may_change(f)
    older = [(k, k._value.copy()) for k in given if changes and k.is_older()]
    result = give(f(*plain(args), **plain(kwargs)), given)
    if any(before.tobytes() != k._value.tobytes() for k, before in older):
        raise fail(
            MutationError,
            f"{getattr(f, '__name__', f)} changes an array, and does so only if a traced condition "
            "holds; give it a .copy()",
        )
    return result


def _may_change(f: Any) -> bool:
    """Whether a function may write into its arguments; those of NumPy are known."""
    module = getattr(f, "__module__", None) or ""
    return f in CHANGING or not module.startswith("numpy") or module == "numpy.random"


def _class(f: Any, args: Args, kwargs: Options) -> Any:
    """A class. One of the user's with an `__init__` of Python's is made here, to follow that."""
    if CURRENT.get().tails and f.__module__.partition(".")[0] in _NOT_THE_USERS:
        if (known := tails.answer(f, args, kwargs)) is not None:
            return known
    found = _asked(f, args)
    if type(found) is Answer:
        return found.value
    args = found
    replacement: Any = _replacement(f, args, kwargs)
    if replacement is not None:
        return replacement(*args, **kwargs)
    if journal.is_open():
        journal.note_iterators(args)
    if f.__module__ == "builtins":
        result = f(*args, **kwargs)
        return journal.made(result) if f in journal.CONTAINERS else result
    if f.__module__.startswith("scipy."):
        replacement = library.counterpart(f, args, kwargs)
        if replacement is not None:
            return replacement(*args, **kwargs)
    initial = f.__init__
    if (
        type(f).__call__ is not type.__call__
        or type(initial) is not types.FunctionType
        or package_of(initial.__code__.co_filename) is None
        or clone(initial) is None
    ):
        made = foreign(f, args, kwargs) if f.__init__ is object.__init__ else f(*args, **kwargs)
        is_new = f.__new__ in _ALWAYS_NEW and type(f).__call__ is type.__call__
        return journal.made(made) if is_new else made
    if f.__new__ is object.__new__:
        made = journal.made(object.__new__(f))
    else:
        made = call(f.__new__, f, *args, **kwargs)
    if isinstance(made, f):
        _function(type(made).__init__, (made, *args), kwargs)
    return made


# What makes an object in each call: of classes of the user's, of defaultdict, of deque.
_ALWAYS_NEW = (object.__new__, *[c.__new__ for c in journal.CONTAINERS])


def _partial(f: functools.partial[Any], args: Args, kwargs: Options) -> Any:
    return call(f.func, *f.args, *args, **{**f.keywords, **kwargs})


def _object(f: Any, args: Args, kwargs: Options) -> Any:
    """An object that can be called."""
    if getattr(type(f), "__symgrad_weak__", False):  # hvp of a method
        return call(f._function(), *args, **kwargs)
    inner = getattr(f, "__wrapped__", None)
    if type(f) is _Cached:  # it would keep tracers for ever
        if is_traced(args) or is_traced(kwargs):
            return call(inner, *args, **kwargs)
        return f(*args, **kwargs)
    if type(f) is np.vectorize:
        return ALWAYS["vectorize"](f, args, kwargs)
    python = getattr(f, "py_func", None)  # of Numba, which would be given tracers
    if type(python) is types.FunctionType and (is_traced(args) or is_traced(kwargs)):
        return call(python, *args, **kwargs)
    method = static(type(f), "__call__")
    if type(method) is types.FunctionType:
        if package_of(method.__code__.co_filename) is None:
            return f(*args, **kwargs)
        return _function(method, (f, *args), kwargs)
    return foreign(f, args, kwargs)


def static(cls: type, name: str) -> Any:
    """What a class or its bases define under a name, without asking descriptors."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def _slot(f: Any, args: Args, kwargs: Options) -> Any:
    """``object.__setattr__(x, name, value)`` and the like."""
    if f.__name__ in ("__setattr__", "__delattr__"):
        journal.note_attribute(args[0], args[1])
    elif args and isinstance(args[0], journal.CONTAINERS):
        if CURRENT.get().tails:
            tails.answer(f, args, kwargs)  # which has none
        journal.note_container(args[0])
    return f(*args, **kwargs)


def _special(f: Any, args: Args, kwargs: Options) -> Any:
    """A special method that is called by its name."""
    if type(f.__self__) is np.ndarray:
        if f.__name__ == "__getitem__":
            return RUNTIME["get"](f.__self__, *args)
        if f.__name__ == "__setitem__":
            return RUNTIME["set"](args[1], f.__self__, args[0])
    if f.__name__ in ("__setattr__", "__delattr__"):
        journal.note_attribute(f.__self__, args[0])
    elif isinstance(f.__self__, journal.CONTAINERS):
        if CURRENT.get().tails:
            tails.answer(f, args, kwargs)  # which has none
        journal.note_container(f.__self__)
    return f(*args, **kwargs)


_Cached = type(functools.lru_cache(lambda: None))
_HANDLERS: dict[type, Callable[[Any, Args, Options], Any]] = {
    types.FunctionType: _function,
    types.MethodType: _method,
    types.BuiltinFunctionType: _builtin,
    types.MethodWrapperType: _special,
    types.WrapperDescriptorType: _slot,
    types.MethodDescriptorType: foreign,
    functools.partial: _partial,
    type(np.concatenate): _numpy,
    type: _class,
}


def _handler(cls: type) -> Callable[[Any, Args, Options], Any]:
    chosen = _class if issubclass(cls, type) else _object
    if issubclass(cls, functools.partial):
        chosen = _partial
    if len(_HANDLERS) < 1000:
        _HANDLERS[cls] = chosen
    return chosen


def start(f: Any) -> Callable[..., Any]:
    """`f` as `record` calls it: followed by its source, where that is at hand."""
    code = getattr(inspect.unwrap(f), "__code__", None)
    package = None if code is None else package_of(code.co_filename)
    if code is None or not package or is_of(code.co_filename, "numpy", "scipy"):
        return functools.partial(call, f)

    def run(*args: Any, **kwargs: Any) -> Any:
        token = PACKAGE.set(package)
        try:
            return call(f, *args, **kwargs)
        finally:
            PACKAGE.reset(token)

    return run
