"""Compiled: a graph with its C, loaded and ready to be called; Dispatcher: many of them."""

from __future__ import annotations

import dataclasses
import functools
import inspect as python_inspect
import os
import threading
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.boundary import ArrayType, check_call
from symgrad.captures import Captures, State
from symgrad.errors import (
    CompilerNotFoundError,
    DtypeError,
    MutationError,
    ShapeError,
    StructureError,
    SymgradWarning,
    UnusableCompilerError,
    warn,
)
from symgrad.expr.node import FLOATS, Expr
from symgrad.expr.walk import substitute
from symgrad.fixed import NotFixed
from symgrad.forks import ForkSafeLock
from symgrad.graph import Graph
from symgrad.names import safe_path
from symgrad.ops import OWN
from symgrad.options import DEFAULT_OPTIONS, Options
from symgrad.pickling import Recipe, reduced
from symgrad.resources import write_files
from symgrad.runtime import dispatch
from symgrad.runtime.build import Library
from symgrad.runtime.call import Native, build_source, warn_no_compiler
from symgrad.runtime.compiler import is_known
from symgrad.runtime.record import Record
from symgrad.signature import argument_paths, is_array, leaf_key, require_fixed
from symgrad.trace import CURRENT, NO_TRACE, Tracer, as_expr, is_python, is_tracing, wrap
from symgrad.trace.state import fail
from symgrad.tree import flatten

if TYPE_CHECKING:
    from symgrad.emit.c import Source

# Imported in functions: symgrad.generate and symgrad.interop. They need Jinja and cffi, which a
# process that finds its functions in the cache never does.


def _load_generator() -> None:
    from symgrad.generate import load_templates

    load_templates()


if not is_known():  # waiting for other processes leaves time for what will then be needed
    _loading = threading.Thread(target=_load_generator, name="symgrad-templates", daemon=True)
    _loading.start()
    # A child would wait for ever for a module that a thread it lacks was importing.
    os.register_at_fork(before=functools.partial(_loading.join, 10.0))
_Caller: Any = dispatch.base()


class Compiled(_Caller):
    """A function compiled for fixed shapes and dtypes.

    Call it with arrays of exactly these types, in the structure of the traced arguments. ``out=``
    takes result arrays to write into, in the structure of the result; they are returned.

    Attributes
    ----------
    graph : the simplified Graph
    c_source, c_header : text of the two files
    native : whether C runs; False means the NumPy evaluator, for want of a compiler
    options : how it was compiled; see `Options`
    """

    __symgrad_fixed__ = True

    def __init__(self, graph: Graph, options: Options = DEFAULT_OPTIONS) -> None:
        self._inherit_vectorcall()
        self.graph = graph
        self.options = options
        self._source: Source | None = None
        self._native: Native | None = None
        self.__name__ = graph.name
        try:
            self._native = self._make_native()
        except UnusableCompilerError:  # named by CC: to do without it would hide the mistake
            raise
        except CompilerNotFoundError as error:
            warn_no_compiler(error)
        else:
            dispatch.build_in_background()
            plan = self.plan([dispatch.ACCEPT_ALL] * len(graph.args), takes_out=True)
            if plan is not None:
                self._add_plan(plan)

    def _make_native(self) -> Native:
        graph = self.graph
        # What a row from outside is lowered to is code that no digest covers.
        is_own = all(node.op in OWN for node in graph.nodes)
        record = Record(graph.digest(), graph.captured, self.options) if is_own else None
        found = None if record is None else record.find()
        if found is None:
            threads = self.options.threads
            library = build_source(self.source, threads)
            warns = library.threads != threads and self.source.parallel  # which it shall each time
            if record is not None and not warns:
                record.write(self.source, library)
            found = self.source, library
        return Native(*found, graph.input_types, graph.output_types)

    def plan(self, accepts: Sequence[int], *, takes_out: bool) -> tuple[Any, ...] | None:
        """What the fast call path needs to know, None if it cannot call this function."""
        native, graph = self._native, self.graph
        if native is None or graph.statics:
            return None
        return dispatch.plan(
            native.library.address(native.binding.entry),
            graph.in_tree,
            graph.out_tree,
            native.inputs,
            native.outputs,
            accepts=accepts,
            data=native.binding.data,
            workspace_bytes=native.binding.workspace_bytes,
            takes_out=takes_out,
            nodes=len(graph.nodes),
            keep=native,
        )

    @property
    def source(self) -> Source:
        """The generated C and what a caller has to know about it."""
        if self._source is None:
            from symgrad.generate import source_of

            self._source = source_of(self.graph, self.options)
        return self._source

    @property
    def native(self) -> bool:
        return self._native is not None

    @property
    def c_source(self) -> str:
        return self.source.c

    @property
    def c_header(self) -> str:
        return self.source.header

    def _slow(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """The call where anything has to be converted, explained or done without C."""
        leaves = self.graph.flat(args, kwargs)
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return self._inlined(leaves, out)
        if out is None:
            return self.graph.finish(self.call_flat(leaves))
        outs, tree = flatten(out)
        if tree != self.graph.out_tree:
            raise StructureError(
                f"{self.graph.name}: out has structure {tree}, expected {self.graph.out_tree}"
            )
        self.call_flat(leaves, outs)
        return out

    def _inlined(self, leaves: Sequence[Any], out: Any) -> Any:
        """The call in a function that is being traced: its graph becomes a part of that one's."""
        graph = self.graph
        if out is not None:
            raise fail(
                MutationError,
                f"{graph.name}: out= cannot be followed while tracing; use the result",
            )
        given = [_traced(t, leaf) for t, leaf in zip(graph.input_types, leaves, strict=True)]
        outs = substitute(graph.outs, dict(zip(graph.args, given, strict=True)))
        return graph.out_tree.unflatten([wrap(o) for o in outs])

    def call_flat(
        self, leaves: Sequence[Any], outs: Sequence[Any] | None = None
    ) -> list[np.ndarray]:
        """The call on flat lists of array leaves."""
        if self._native is not None:
            return self._native(leaves, outs)
        graph = self.graph
        arrays, results = check_call(graph.input_types, graph.output_types, leaves, outs)
        values = graph.evaluate_flat(arrays)
        if results is None:
            return values
        for result, value in zip(results, values, strict=True):
            result[...] = value
        return results

    def cost(self) -> Any:
        """Flops, bytes moved, node counts; of the C, the workspace and the passes over inputs."""
        from symgrad.generate import passes_of

        return dataclasses.replace(
            self.graph.cost(),
            workspace=self.source.workspace_bytes,
            passes=passes_of(self.graph, self.options),
        )

    @property
    def address(self) -> int:
        """Address of the C function whose signature stands in `c_header`, for callers in C.

        It stays valid until the process ends. Scratch memory, where the signature has ``work``, and
        captured arrays are the caller's to hand in. Raises CompilerNotFoundError without C.
        """
        return self._library().address(self.source.name)

    @property
    def cffi(self) -> Any:
        """The same as a cffi function pointer with its own signature."""
        from symgrad.interop import cffi_pointer

        return cffi_pointer(self.source, self._library())

    def low_level_callable(self) -> Any:
        """scipy.LowLevelCallable for quad, nquad and the like; see `symgrad.interop`."""
        from symgrad.interop import low_level_callable

        self._library()
        return low_level_callable(self.source, self.graph.input_types, self.graph.output_types)

    def _library(self) -> Library:
        if self._native is None:
            raise CompilerNotFoundError(f"{self.graph.name} runs on NumPy: there is no C compiler")
        return self._native.library

    def export(self, directory: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Write name.c and name.h (and name_data.c for captured arrays) into a directory.

        Returns the paths. Raises ExportError if a file exists and `overwrite` is not set, or if
        the directory cannot be written; UnsafeNameError if the name could leave it.
        """
        source = self.source
        files = {".c": source.c, ".h": source.header}
        if source.data:
            from symgrad.generate import data_source

            files["_data.c"] = data_source(source)
        return write_files(
            {safe_path(directory, source.name, k): text for k, text in files.items()}, overwrite
        )

    def __reduce__(self) -> Any:
        return Compiled, (self.graph, self.options)

    def __copy__(self) -> Compiled:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        return self

    @property
    def __signature__(self) -> Any:
        kind = python_inspect.Parameter.POSITIONAL_OR_KEYWORD
        if not self.graph.parameters:
            raise AttributeError("the parameters of the traced function are not known")
        return python_inspect.Signature(
            [python_inspect.Parameter(name, kind) for name in self.graph.parameters]
        )

    def __repr__(self) -> str:
        types = ", ".join(f"{t.name}: {t.described}" for t in self.graph.input_types)
        return f"<Compiled {self.graph.name}({types})>"


def _traced(t: ArrayType, leaf: Any) -> Expr:
    """An argument inside a trace, of the same type as it would have to have outside."""
    if not isinstance(leaf, Tracer):
        return as_expr(t.check(leaf))
    node = as_expr(leaf)
    if is_python(leaf) and not t.shape and t.dtype in FLOATS:  # weak, as outside
        return as_expr(leaf, t.dtype)
    if node.shape != t.shape:
        raise fail(ShapeError, f"argument {t.name}: expected {t.described}, got shape {node.shape}")
    if node.dtype != t.dtype:
        raise fail(DtypeError, f"argument {t.name}: expected {t.described}, got {node.dtype}")
    return node


_MAX_FIXED = 256  # versions for fixed values, which may be new functions at every call
_MAX_STATES = 64  # versions for different values of what a function captures
_MANY_STATES = 16  # of these mean a warning
_MAX_PLANS = 8  # tried in turn by the fast path; further versions of a function go by the table


class Dispatcher(_Caller):
    """Compiled versions of one function, by structure, shapes and dtypes of the arguments.

    What `grad`, `jit` and the like return. It passes for a function of Python: it binds to objects,
    is copied as itself, and pickles by its name where it has one (see `pickling`).

    f : written on traced values
    trace : makes the Graph of `f` for given arguments
    options : of its versions
    recipe : what makes the same again
    """

    __symgrad_transformed__ = True
    __symgrad_fixed__ = True
    __name__: str
    __qualname__: str

    def __init__(
        self,
        f: Callable[..., Any],
        trace: Callable[..., Graph],
        options: Options,
        recipe: Recipe,
    ) -> None:
        self._inherit_vectorcall()
        self.options = options
        self.recipe = recipe
        self.f = f
        self.trace = trace
        weak = any(getattr(type(part), "__symgrad_weak__", False) for part in recipe[1])
        self.captures = Captures(recipe[1], keep=not weak)
        # By what is captured, and by structure, types and fixed values of the arguments.
        self.compiled: dict[tuple[State, Any], Compiled] = {}
        self.plans: dict[State, list[Any]] = {}  # of the fast path, for each state of captures
        self.armed: State | None = None  # what the fast path takes calls for
        self.fixed: list[Any] = []  # keys of versions for fixed values, oldest first
        self.same: dict[Any, Compiled] = {}  # by graph: not all that is captured makes a difference
        self.lock = ForkSafeLock()
        self._watch((CURRENT, NO_TRACE))

    def __symgrad_captures__(self) -> Sequence[Any]:
        return self.recipe[1]

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> str | Recipe:
        return reduced(self, self.recipe)

    def __copy__(self) -> Dispatcher:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Dispatcher:
        return self

    def __repr__(self) -> str:
        return f"<function {self.__name__}, by symgrad>"

    def _slow(self, /, *args: Any, **kwargs: Any) -> Any:
        if is_tracing():
            return self.f(*args, **kwargs)
        leaves, tree = flatten((args, kwargs))
        try:
            key = (tree, tuple([leaf_key(leaf) for leaf in leaves]))
        except NotFixed:
            for leaf, path in zip(leaves, argument_paths(self.f, tree), strict=True):
                require_fixed(leaf, path)
            raise
        holders = _holders(leaves)
        state = self.captures.now(holders)
        compiled = self.compiled.get((state, key))
        if compiled is None:
            with self.lock.held():
                compiled = self.compiled.get((state, key))
                if compiled is None:
                    compiled = self._make(state, args, kwargs)
                    self._keep(compiled, state, key, leaves)
        if state is not self.armed and self.captures.keep and not holders:
            self._arm(state)
        return compiled.graph.finish(compiled.call_flat([x for x in leaves if is_array(x)]))

    def _make(self, state: State, args: Any, kwargs: Any) -> Compiled:
        """A further version."""
        self._warn(state)
        return self._compile(self.trace(self.f, *args, **kwargs).simplify())

    def _keep(self, compiled: Compiled, state: State, key: Any, leaves: Sequence[Any]) -> None:
        """Note a version for arguments like `leaves`."""
        self.compiled[state, key] = compiled
        if compiled.graph.statics:
            self.fixed.append((state, key))
            if len(self.fixed) > _MAX_FIXED:
                self._forget(self.fixed.pop(0))
            return
        plans = self.plans.setdefault(state, [])
        accepts = [_accepts(leaf) for leaf in leaves]
        if all(accepts) and len(plans) < _MAX_PLANS:
            plan = compiled.plan(accepts, takes_out=False)
            if plan is not None:
                plans.append(plan)
                self.armed = None
        if len(self.plans) > _MAX_STATES:
            oldest = next(iter(self.plans))
            for version in [v for v in self.compiled if v[0] == oldest]:
                self._forget(version)

    def _warn(self, state: State) -> None:
        """Of what is not seen to change, and of what changes all the time."""
        if state.unseen and not self.compiled:
            warn(
                f"{self.__name__} captures {', '.join(state.unseen)}: whether that changes is not "
                "seen, and what is read of it is frozen; pass what it reads as an argument",
                SymgradWarning,
            )
        if state not in self.plans and len(self.plans) == _MANY_STATES:
            before = next(reversed(self.plans))
            warn(
                f"{self.__name__} is traced and compiled for the {_MANY_STATES + 1}th time because "
                f"{before.changes(state)}, which it captures, has changed; pass it as an argument",
                SymgradWarning,
            )

    def _compile(self, graph: Graph) -> Compiled:
        """The graph compiled, or an earlier version that is the same."""
        if graph.statics:
            return Compiled(graph, self.options)
        which = graph.digest(), graph.in_tree, graph.out_tree
        found = self.same.get(which)
        if found is None:
            found = self.same[which] = Compiled(graph, self.options)
        return found

    def _forget(self, version: tuple[State, Any]) -> None:
        compiled = self.compiled.pop(version)
        for which in [k for k, v in self.same.items() if v is compiled]:
            if compiled not in self.compiled.values():
                del self.same[which]
        if all(state != version[0] for state, _ in self.compiled):
            self.plans.pop(version[0], None)
            self.captures.forget(version[0])

    def _arm(self, state: State) -> None:
        """Let the fast path take calls as long as `state` holds."""
        with self.lock.held():
            plans = tuple(self.plans.get(state, ()))
            rows = state.native() if plans and dispatch.GUARDS else None
            if rows is None:
                rows, plans = (), ()
            self._switch((rows, plans, state if plans else None))
            self.armed = state


def _holders(leaves: Sequence[Any]) -> list[Any]:
    """Those arguments that may capture something themselves: functions, and values that hold some.

    All others are told apart by what they are (`fixed`).
    """
    return [x for x in leaves if not is_array(x) and type(x) is not str and _may_capture(x)]


def _may_capture(value: Any) -> bool:
    stack = [value]
    while stack:
        value = stack.pop()
        if callable(value) and not isinstance(value, type):
            return True
        if isinstance(value, (tuple, frozenset)):
            stack.extend(value)
        elif dataclasses.is_dataclass(value):
            stack.extend(getattr(value, f.name, None) for f in dataclasses.fields(value))
    return False


def _accepts(leaf: Any) -> int:
    """Which scalars the fast path may take where the version at hand was made for `leaf`."""
    if type(leaf) is np.ndarray:
        return dispatch.ACCEPT_ARRAY
    if type(leaf) in (float, int, bool):
        return dispatch.ACCEPT_PYTHON
    return dispatch.ACCEPT_NUMPY if type(leaf) is np.float64 else 0
