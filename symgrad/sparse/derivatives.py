"""`sparse_jacobian` and `sparse_hessian`, and their compiled form."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.captures import Captures, State
from symgrad.derivatives.inner import Inner, ready, scalar_out
from symgrad.diff import modes
from symgrad.errors import DifferentiationError, StructureError, UnsupportedError, at_user_line
from symgrad.expr.node import FLOATS, Expr, const
from symgrad.fixed import NotFixed
from symgrad.forks import ForkSafeLock
from symgrad.graph import Graph
from symgrad.interchange import plain_arguments
from symgrad.machines import HOST, Machine
from symgrad.names import c_identifier
from symgrad.options import Options
from symgrad.pickling import Recipe, reduced
from symgrad.signature import argument_paths, is_array, leaf_key, static_key
from symgrad.sparse.compress import hessian_entries, jacobian_entries
from symgrad.sparse.export import export_pattern
from symgrad.sparse.pattern import Pattern, jacobian_pattern, scipy_sparse, symmetric
from symgrad.trace import Tracer, function_name, is_tracing
from symgrad.transform import with_numbers
from symgrad.tree import flatten

if TYPE_CHECKING:
    from symgrad.compiled import Compiled

Function = Callable[..., Any]
_MOST = 256  # versions for different types of arguments and values of what is captured


def sparse_jacobian(f: Function, argnums: int | str = 0) -> SparseDerivative:
    """A function that returns the Jacobian of `f` as a sparse matrix.

    Parameters
    ----------
    f : function of arrays with one float array as its result
    argnums : position or name of one array argument

    Returns
    -------
    SparseDerivative
        Called with arrays it returns a scipy.sparse.csr_array of shape (result size, argument
        size), both flattened in C order. Its `indptr` and `indices` are computed once per shape,
        shared between calls, and read-only; entries that happen to be 0 are stored. Forward
        sweeps over coloured columns, or reverse sweeps over coloured rows, whichever are fewer
        (Curtis, Powell, Reid 1974).

    Raises
    ------
    StructureError
        Several results or a nested argument.
    DifferentiationError
        An integer argument or result, or an op without a derivative.
    GraphTooLargeError
        The Jacobian is not sparse and too large to store.
    MissingPackageError
        SciPy is not installed.

    Examples
    --------
    >>> import numpy as np, symgrad as sg
    >>> print(sg.sparse_jacobian(np.diff)(np.array([1.0, 2.0, 4.0])).toarray())
    [[-1.  1.  0.]
     [ 0. -1.  1.]]
    """
    return SparseDerivative(f, argnums, "sparse_jacobian", _jacobian)


def sparse_hessian(f: Function, argnums: int | str = 0) -> SparseDerivative:
    """A function that returns the Hessian of the scalar `f` as a sparse matrix.

    As `sparse_jacobian`, of the gradient; the shape is (argument size, argument size). The sweeps
    are Hessian-vector products over a colouring for direct recovery of a symmetric matrix
    (Gebremedhin, Manne, Pothen, SIAM Review 47, 2005).
    """
    return SparseDerivative(f, argnums, "sparse_hessian", _hessian)


def _jacobian(inner: Inner) -> tuple[Expr, Pattern]:
    if len(inner.outs) != 1:
        raise StructureError(
            at_user_line(
                f"sparse_jacobian({function_name(inner.f)}): the function must return one array, "
                f"got {len(inner.outs)} results; join them with np.concatenate"
            )
        )
    (out,), (wrt,) = inner.outs, inner.fresh
    if out.dtype not in FLOATS:
        raise DifferentiationError(
            at_user_line(
                f"sparse_jacobian({function_name(inner.f)}): a result has dtype {out.dtype}"
            )
        )
    pattern = jacobian_pattern(out, wrt)
    return jacobian_entries(out, wrt, pattern), pattern


def _hessian(inner: Inner) -> tuple[Expr, Pattern]:
    out, (wrt,) = scalar_out(inner, "sparse_hessian"), inner.fresh
    (gradient,) = inner.vjp([out], [wrt], [const(1, out.dtype)], again=True)
    (gradient,) = ready([modes.zeros_like(wrt) if gradient is None else gradient])
    pattern = symmetric(jacobian_pattern(gradient, wrt))
    return hessian_entries(gradient, wrt, pattern), pattern


class SparseDerivative:
    """A function with a sparse matrix as its result; made by `sparse_jacobian`, `sparse_hessian`.

    Traces and compiles at the first call for given structure, shapes and dtypes. `compile`, or
    `sg.compile`, does that ahead of time. Thread-safe.
    """

    def __init__(
        self, f: Function, argnums: Any, what: str, derive: Callable[[Inner], Any]
    ) -> None:
        if not isinstance(argnums, (int, str)):
            raise StructureError(f"{what}: argnums must be one position or name, got {argnums!r}")
        functools.update_wrapper(self, f, updated=())
        self.__name__ = f"{what}_{function_name(f)}"
        self.__doc__ = f"{what} of {function_name(f)}, by symgrad."
        self._f, self._argnums, self._what, self._derive = f, argnums, what, derive
        self._captures = Captures((f,))
        self._decisive: dict[Any, list[int]] = {}  # arguments that decide about structure
        self._compiled: dict[Any, SparseCompiled] = {}
        self._quick: _Quick | None = None
        self._lock = ForkSafeLock()

    def __symgrad_captures__(self) -> tuple[Function, ...]:
        return (self._f,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The derivative at these arguments: scipy.sparse.csr_array."""
        self._refuse_trace()
        plain = _are_arrays(args, kwargs)
        if plain and self._quick is not None:
            known = self._quick.version(args)
            if known is not None:
                return known(*args)
        if not plain:
            args, kwargs = plain_arguments(args, kwargs, lambda tree: argument_paths(self._f, tree))
            plain = _are_arrays(args, kwargs)
        leaves, tree = (args, None) if plain else flatten((args, kwargs))
        try:
            types = tuple([leaf_key(leaf) for leaf in leaves])
        except NotFixed:
            self.trace(*args, **kwargs)  # says which argument may change
            raise
        others = () if plain else [x for x in leaves if not is_array(x)]
        state = self._captures.now(others)

        decisive = self._decisive.get((tree, types), ()) if self._decisive else ()
        key = state.label, tree, types, tuple([static_key(leaves[p], False) for p in decisive])
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._new(args, kwargs, key, leaves)
        fixed = {position for position, _, _ in compiled.graph.statics}
        if plain and not fixed:
            self._note(state, types, compiled)
            return compiled(*args)
        given = [x for k, x in enumerate(leaves) if k not in fixed]
        return compiled.matrix(compiled.compiled.call_flat(given)[0])

    def _note(self, state: State, types: Any, compiled: SparseCompiled) -> None:
        """Later calls with arrays of these types may ask C whether the state holds."""
        from symgrad.compiled import comparison, fast_calls  # not at import: it needs cffi

        quick = self._quick
        if (quick is None or quick.state is not state) and fast_calls(wait=False):
            quick = self._quick = _Quick(state, comparison(state.native()))
        if quick is not None and quick.state is state:
            quick.versions[types] = compiled

    def _new(self, args: Any, kwargs: Any, key: Any, leaves: Any) -> SparseCompiled:
        """Compiled for arguments of a new kind, or of new values that decide about structure."""
        label, tree, types, _ = key
        with self._lock.held():
            compiled = self._compiled.get(key)
            if compiled is None:
                compiled = self.compile(*args, **kwargs)
                statics = [p for p, v, _ in compiled.graph.statics if is_array(v)]
                if statics:
                    self._decisive[tree, types] = statics
                values = tuple([static_key(leaves[p], True) for p in statics])
                self._compiled[label, tree, types, values] = compiled
                if len(self._compiled) > _MOST:
                    del self._compiled[next(iter(self._compiled))]
                    self._quick = None
        return compiled

    def compile(
        self,
        *specs_or_examples: Any,
        name: str | None = None,
        threads: int = 1,
        blas: bool = False,
        machine: str | Machine = HOST,
        **kwargs: Any,
    ) -> SparseCompiled:
        """Compile for arguments of the given types; parameters as of `sg.compile`."""
        options = Options(threads, blas, machine)
        graph, pattern = self.trace(*specs_or_examples, **kwargs)
        if name is not None:
            graph = dataclasses.replace(graph, name=c_identifier(name, what="name"))
        from symgrad.compiled import Compiled  # not at import: it needs Jinja and cffi

        return SparseCompiled(Compiled(graph.simplify(), options), pattern)

    def trace(self, *specs_or_examples: Any, **kwargs: Any) -> tuple[Graph, Pattern]:
        """The graph of the entries, an array [nnz], and where they stand."""
        self._refuse_trace()
        found: list[Pattern] = []

        def entries(*args: Any, **kwargs: Any) -> Tracer:
            inner = Inner(self._f, self._argnums, args, kwargs)
            if inner.trees != [flatten(0)[1]]:
                raise StructureError(
                    at_user_line(
                        f"{self._what}({function_name(self._f)}): the argument must be one array, "
                        f"got a structure with {len(inner.fresh)}; join them with np.concatenate"
                    )
                )
            values, pattern = self._derive(inner)
            found.append(pattern)
            return inner.close([values])[0]

        entries.__wrapped__ = self._f  # type: ignore[attr-defined]
        entries.__name__ = self.__name__
        return with_numbers(entries, specs_or_examples, kwargs), found[0]

    __symgrad_compile__ = compile

    def __reduce__(self) -> str | Recipe:
        return reduced(self, (SparseDerivative, (self._f, self._argnums, self._what, self._derive)))

    def __copy__(self) -> SparseDerivative:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SparseDerivative:
        return self

    def _refuse_trace(self) -> None:
        if is_tracing():
            dense = self._what.removeprefix("sparse_")
            raise UnsupportedError(
                at_user_line(
                    f"{self.__name__} returns a SciPy matrix, which cannot be traced; inside a "
                    f"traced function use sg.{dense}"
                )
            )

    def __repr__(self) -> str:
        return f"<{self.__name__}>"


class _Quick:
    """The versions for one state of what is captured that take arrays alone.

    holds : whether it still is that state, asked in C; None where C cannot tell
    """

    def __init__(self, state: State, holds: Callable[[], bool] | None) -> None:
        self.state, self.holds = state, holds
        self.versions: dict[tuple[Any, ...], SparseCompiled] = {}

    def version(self, args: tuple[np.ndarray, ...]) -> SparseCompiled | None:
        if self.holds is None or not self.holds():
            return None
        return self.versions.get(tuple([leaf_key(a) for a in args]))


def _are_arrays(args: Any, kwargs: Any) -> bool:
    """Whether nothing has to be looked through: positional arrays of NumPy's alone."""
    return not kwargs and all([type(a) is np.ndarray for a in args])


class SparseCompiled:
    """A sparse derivative compiled for fixed shapes and dtypes.

    Attributes
    ----------
    compiled : the Compiled function that computes the entries, an array [nnz] in CSR order
    pattern : Pattern with shape, indptr, indices, nnz
    c_source, c_header, graph : of `compiled`
    """

    def __init__(self, compiled: Compiled, pattern: Pattern) -> None:
        self.compiled, self.pattern = compiled, pattern
        dtype = compiled.graph.outs[0].dtype
        self._template = scipy_sparse().csr_array(
            (np.zeros(pattern.nnz, dtype), pattern.indices, pattern.indptr), shape=pattern.shape
        )
        self._template.has_canonical_format = True
        self.__name__ = compiled.__name__

    @property
    def c_source(self) -> str:
        return self.compiled.c_source

    @property
    def c_header(self) -> str:
        return self.compiled.c_header

    @property
    def graph(self) -> Any:
        return self.compiled.graph

    def cost(self) -> Any:
        """Flops, bytes moved, node counts and the workspace of the C."""
        return self.compiled.cost()

    def __call__(self, *args: Any, out: np.ndarray | None = None, **kwargs: Any) -> Any:
        """The matrix at these arguments; `out` is an array [nnz] that becomes its data."""
        if out is None and not kwargs:  # what the fast call path knows
            return self.matrix(self.compiled(*args))
        return self.matrix(self.compiled(*args, out=out, **kwargs))

    def values(self, *args: Any, out: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Only the entries, in CSR order."""
        entries: np.ndarray = self.compiled(*args, out=out, **kwargs)
        return entries

    def matrix(self, values: np.ndarray) -> Any:
        """The csr_array with these entries, which it shares."""
        if isinstance(values, Tracer):
            raise UnsupportedError(
                at_user_line(
                    f"{self.__name__} returns a SciPy matrix, which cannot be traced; inside a "
                    "traced function use its entries, .values(…)"
                )
            )
        # The constructor would check the pattern again.
        result = object.__new__(type(self._template))
        result.__dict__.update(self._template.__dict__)
        result.data = values
        return result

    def export(self, directory: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Write the C of the entries, and the pattern as name_pattern.c and .h; return the paths.

        The pattern files hold `name_indptr` and `name_indices` as const arrays. Raises ExportError
        as `Compiled.export` does.
        """
        paths = export_pattern(self.compiled.source.name, self.pattern, directory, overwrite)
        return [*self.compiled.export(directory, overwrite=overwrite), *paths]

    def __reduce__(self) -> Any:
        return SparseCompiled, (self.compiled, self.pattern)

    def _repr_html_(self) -> str:
        from symgrad.display import sparse_page

        return sparse_page(repr(self)[1:-1], self.pattern, self.graph, self.c_source, self.cost())

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        """What a notebook shows."""
        from symgrad.display import bundle

        return bundle(repr(self), {"text/html": self._repr_html_}, include, exclude)

    def __repr__(self) -> str:
        rows, columns = self.pattern.shape
        return f"<SparseCompiled {self.__name__}: {rows} x {columns}, {self.pattern.nnz} entries>"


__all__ = ["SparseCompiled", "SparseDerivative", "sparse_hessian", "sparse_jacobian"]
