"""Compiled: a graph with its C, loaded and ready to be called."""

from __future__ import annotations

import dataclasses
import functools
import inspect as python_inspect
import os
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.boundary import ArrayType, check_call
from symgrad.errors import (
    CompilerNotFoundError,
    DtypeError,
    MutationError,
    ShapeError,
    StructureError,
    TapeFullError,
    UnusableCompilerError,
)
from symgrad.expr.node import FLOATS, Expr
from symgrad.expr.walk import substitute
from symgrad.forks import ForkSafeLock, cached
from symgrad.graph import Graph
from symgrad.names import safe_path
from symgrad.ops import OWN
from symgrad.ops.checks import apart
from symgrad.options import DEFAULT_OPTIONS, Options
from symgrad.resources import write_files
from symgrad.runtime import dispatch
from symgrad.runtime.build import Library
from symgrad.runtime.call import Native, build_source, warn_no_compiler
from symgrad.runtime.compiler import is_known
from symgrad.runtime.dispatch import comparison, fast_calls
from symgrad.runtime.record import Record
from symgrad.tapes import most_bytes, too_large
from symgrad.trace import Tracer, as_expr, checked, is_python, set_checks, wrap
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

__all__ = ["Compiled", "comparison", "fast_calls"]


class Compiled(_Caller):  # type: ignore[misc]  # a class of C, or object
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
        self._larger: Compiled | None = None  # with more room for rounds that are kept
        self._lock = ForkSafeLock()
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
        return Native(*found, graph.input_types, graph.output_types, graph.failures)

    def plan(
        self, accepts: Sequence[int], *, takes_out: bool, hidden: Sequence[Any] = ()
    ) -> tuple[Any, ...] | None:
        """What the fast call path needs to know, None if it cannot call this function.

        hidden : what it passes itself, as a tuple behind the caller's arguments
        """
        native, graph = self._native, self.graph
        if native is None:
            return None
        if self._larger is not None:
            return self._larger.plan(accepts, takes_out=takes_out, hidden=hidden)
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
            hidden=hidden,
            statics=[(position, value) for position, value, _ in graph.statics],
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

    @cached
    def _shown(self) -> Source:
        """The source as people read it: with another comment than what is compiled."""
        from symgrad.generate import explained

        return explained(self.source, self.graph)

    @property
    def c_source(self) -> str:
        return self._shown.c

    @property
    def c_header(self) -> str:
        return self._shown.header

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
        outs, check = apart(outs, checked())
        set_checks(check)
        return graph.out_tree.unflatten([wrap(o) for o in outs])

    def call_flat(
        self, leaves: Sequence[Any], outs: Sequence[Any] | None = None
    ) -> list[np.ndarray]:
        """The call on flat lists of array leaves."""
        if self._larger is not None:
            return self._larger.call_flat(leaves, outs)
        try:
            return self._called(leaves, outs)
        except TapeFullError:
            if self.graph.again is None:
                raise
            return self._with_more_room().call_flat(leaves, outs)

    def _with_more_room(self) -> Compiled:
        """The same with more room for rounds that are kept, which takes the calls from now on."""
        with self._lock.held():
            if self._larger is None:
                assert self.graph.again is not None
                larger = Compiled(self.graph.larger, self.options)
                native = larger._native
                if native is not None and native.binding.workspace_bytes > most_bytes():
                    raise too_large(self.graph.again.rounds, native.binding.workspace_bytes)
                self._larger = larger
                plan = self.plan([dispatch.ACCEPT_ALL] * len(self.graph.args), takes_out=True)
                if plan is not None:
                    self._switch(((), (plan,), None))
        return self._larger

    @property
    def room(self) -> Compiled:
        """Who takes the calls now."""
        return self if self._larger is None else self._larger.room

    def _called(self, leaves: Sequence[Any], outs: Sequence[Any] | None) -> list[np.ndarray]:
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
        source = self._shown
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

    def formula(self, form: str = "reader") -> str:
        """The results in matrix notation; see `Graph.formula`."""
        return self.graph.formula(form)

    def latex(self, form: str = "reader") -> str:
        """The results in matrix notation, as LaTeX."""
        return self.graph.latex(form)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython prints."""
        from symgrad.display import pretty, text

        pretty(printer, text(self.graph, "Compiled"))

    def _repr_latex_(self) -> str:
        return self.graph._repr_latex_()

    def _repr_html_(self) -> str:
        from symgrad.display import page

        return page(self.graph, "Compiled", self.c_source, self.cost())

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        """What a notebook shows."""
        from symgrad.display import bundle, text

        makers = {"text/html": self._repr_html_, "text/latex": self._repr_latex_}
        return bundle(text(self.graph, "Compiled"), makers, include, exclude)

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
