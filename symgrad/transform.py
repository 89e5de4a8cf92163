"""Tracing, compiling, and what every transformation of a function shares.

A transformation is written once, on traced values (`impl`). Called with traced values it records
into the trace that is running, which is why transformations nest in any order; called with arrays
it traces itself, compiles at the first call for a given structure, shapes and dtypes, and keeps the
result in memory; the C compiler's output is also kept on disk.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from symgrad import log
from symgrad.captures.code import Seen
from symgrad.captures.walk import state_of
from symgrad.collector import seldom
from symgrad.errors import (
    BranchError,
    BuildError,
    ConcretizationError,
    StructureError,
    SymgradError,
    TraceError,
    UnsupportedError,
)
from symgrad.expr.node import Expr, arg, bind
from symgrad.expr.walk import toposort
from symgrad.graph import Graph
from symgrad.interchange import plain_leaves
from symgrad.machines import HOST, Machine
from symgrad.names import c_identifier
from symgrad.options import AUTO, DEFAULT_OPTIONS, SCALAR, Options, Scalar
from symgrad.pickling import Recipe
from symgrad.scalar.derive import Look, left_out, opened
from symgrad.scalar.opening import is_small
from symgrad.scalar.program import how_long
from symgrad.signature import (
    Static,
    argument_paths,
    argument_spec,
    is_array,
    parameter_names,
    require_fixed,
    require_fixed_keys,
)
from symgrad.simplify import simplify
from symgrad.sized import SizedGraph, of_all_sizes
from symgrad.specs import SizedSpec, Spec
from symgrad.tapes import Again, has_tape
from symgrad.trace import (
    MOST_PATHS,
    Exploring,
    Tracer,
    argument,
    exploring,
    function_name,
    record,
    source,
)
from symgrad.tree import flatten, leaf_paths

if TYPE_CHECKING:
    from symgrad.compiled import Compiled

Function = Callable[..., Any]
_NONE = Static(None)
_SHORT = 600  # scalar operations of a function that is traced for each way to take derivatives

# Rewrites that a trace applies before it differentiates, for `explain()`; one table per trace.
_FIRED: ContextVar[dict[str, int] | None] = ContextVar("fired", default=None)
# How many ways a function may go that is called once for each.
_MAX_PATHS: ContextVar[int] = ContextVar("max_paths", default=MOST_PATHS)


def simplified(outs: Sequence[Expr]) -> list[Expr]:
    """`outs` simplified, with the rules that fired noted for the trace that is running."""
    result = simplify(outs, disable=left_out())
    table = _FIRED.get()
    if table is not None:
        for rule, count in result.fired.items():
            table[rule] = table.get(rule, 0) + count
    return result.outs


# ---- tracing ---------------------------------------------------------------------------------


def _is_spec(value: Any) -> bool:
    return type(value) is Spec  # isinstance would believe a mock's __class__


@overload
def trace(f: Function, *args: Any, **kwargs: Any) -> Graph: ...


@overload
def trace(  # type: ignore[overload-cannot-match]  # to mypy Any is one, to people it is not
    f: Function, *args: SizedSpec, **kwargs: SizedSpec
) -> SizedGraph: ...


def trace(f: Function, *args: Any, **kwargs: Any) -> Any:
    """The graph of `f` for arguments of the given types.

    Specs may have names as sizes, ``sg.f64["n", "d"]``: the result is a `SizedGraph`, whose
    formulas and listings hold for every size.

    Parameters
    ----------
    f : function written with NumPy
    args, kwargs : specs such as ``sg.f64[3, 4]``, or example arrays and numbers, nested in dicts,
        lists, tuples, namedtuples, dataclasses. Text, enums, functions, classes, dtypes and the
        like are fixed values; what else may change is refused.

    Raises
    ------
    TraceError and its subclasses, naming the user's file and line.

    Examples
    --------
    >>> import numpy as np, symgrad as sg
    >>> graph = sg.trace(lambda x: np.sum(x * x), sg.f64[3])
    >>> graph.evaluate(np.array([1.0, 2.0, 3.0]))
    14.0
    """
    shapes = [x.shape for x in flatten((args, kwargs), is_leaf=_is_spec)[0] if type(x) is SizedSpec]
    if shapes:
        return of_all_sizes(shapes, functools.partial(_at_sizes, f, args, kwargs))
    return with_numbers(f, args, kwargs)


def with_numbers(f: Function, args: Any, kwargs: Any) -> Graph:
    """As `trace`, for specs with numbers as sizes; others are refused."""
    static = getattr(f, "__symgrad_static__", _NONE)
    return traced(f, args, kwargs, static.positions(flatten((args, kwargs), is_leaf=_is_spec)[1]))


def _at_sizes(f: Function, args: Any, kwargs: Any, sizes: dict[str, int]) -> Graph:
    """The graph with numbers in the place of names."""
    leaves, tree = flatten((args, kwargs), is_leaf=_is_spec)
    new = [x.at(sizes) if type(x) is SizedSpec else x for x in leaves]
    return with_numbers(f, *tree.unflatten(new))


def traced(
    f: Function, args: tuple[Any, ...], kwargs: dict[str, Any], static: frozenset[int] = frozenset()
) -> Graph:
    """As `trace`; the leaves at the positions `static` are values that are compiled in.

    So are numbers and arrays of integers and bools at which a trace fails because they decide about
    its structure (a size, a range, an axis, a flag, a mask), and, below a derivative, float arrays
    that it is not taken by (knots, what is sorted). Where it fails because of decisions on traced
    values, functions are called once for each way that they can go (see `trace.paths`).
    """
    paths: Exploring | None = None
    failed: Any = None  # the error without paths
    most: int | None = None  # levels of a recursion
    while True:
        attempt = _Attempt(f, args, kwargs, static)
        try:
            with exploring(paths), source.levels(most):
                graph = attempt.graph()
            return graph if not has_tape(graph.outs) else _growing(graph, f, args, kwargs, static)
        except SymgradError as error:
            fewer_levels = source.fewer(error, most)
            if fewer_levels is not None:
                most = fewer_levels
                continue
            where = getattr(error, "decisions", None)
            more = attempt.decisive(error, arrays=paths is not None or where is None)
            if more:
                static, paths = static | more, None
            elif paths is None and where is not None:
                paths, failed = Exploring(_MAX_PATHS.get(), where), error
                attempt.require_steady()
            elif failed is None or not failed.decisions:
                raise
            else:
                raise _both(failed, error) from error


def _both(failed: TraceError, by_paths: SymgradError) -> TraceError:
    """The error of a function that paths do not help either."""
    told = re.sub(r"^.+?:\d+: ", "", str(by_paths))
    if isinstance(by_paths, BranchError):
        failed.args = (f"{failed}; called once for each way that it can go, it is refused as well: "
                       f"{told}",)  # fmt: skip
    return failed


def _growing(graph: Graph, f: Function, args: Any, kwargs: Any, static: frozenset[int]) -> Graph:
    """A graph that can be made again, with more room for rounds that are kept."""
    args, kwargs = _types_of(args, kwargs, static)
    most = _MAX_PATHS.get()

    def make() -> Graph:
        with _paths(most):
            return traced(f, args, kwargs, static)

    return graph._with(graph.outs, again=Again(make, graph))


def _types_of(args: Any, kwargs: Any, static: frozenset[int]) -> Any:
    """Arguments of the same types, without the memory of arrays that are not compiled in."""
    leaves, tree = flatten((args, kwargs), is_leaf=_is_spec)
    return tree.unflatten([
        np.broadcast_to(np.zeros((), v.dtype), v.shape)
        if type(v) is np.ndarray and k not in static else v
        for k, v in enumerate(leaves)
    ])  # fmt: skip


class _Attempt:
    """One trace with certain arguments static."""

    def __init__(self, f: Function, args: Any, kwargs: Any, static: frozenset[int]) -> None:
        self.f = f
        self.leaves, self.tree = flatten((args, kwargs), is_leaf=_is_spec)
        require_fixed_keys(self.tree, function_name(f))
        self.nodes: dict[Expr, int] = {}  # and the positions of their leaves
        self.names: list[str] = []
        self.statics: list[tuple[int, Any, str]] = []
        self.values: list[Any] = []
        paths = argument_paths(f, self.tree)
        self.leaves = plain_leaves(self.leaves, lambda: paths)
        for position, (leaf, path) in enumerate(zip(self.leaves, paths, strict=True)):
            if type(leaf) is SizedSpec:
                raise leaf.refused()
            if _is_spec(leaf) or is_array(leaf) and position not in static:
                spec = leaf if _is_spec(leaf) else argument_spec(leaf, path)
                node = arg(len(self.nodes), spec.shape, spec.dtype, path)
                self.nodes[node] = position
                self.names.append(path)
                self.values.append(argument(node, leaf))
            else:
                if type(leaf) is np.ndarray:
                    leaf = leaf.copy()
                else:
                    require_fixed(leaf, path)
                self.statics.append((position, leaf, path))
                self.values.append(leaf.copy() if type(leaf) is np.ndarray else leaf)

    def graph(self) -> Graph:
        """What `f` records."""
        call_args, call_kwargs = self.tree.unflatten(self.values)
        fired: dict[str, int] = {}
        token = _FIRED.set(fired)
        try:
            with seldom(), log.Stage("tracing", "traced", function_name(self.f)) as stage:
                names: dict[str, Expr] = {}
                outs, out_tree = record(self.f, call_args, call_kwargs, named=names)
                stage.facts = lambda: f"{len(toposort(outs))} nodes"
        finally:
            _FIRED.reset(token)
        return Graph(function_name(self.f), tuple(self.nodes), tuple(outs), self.tree, out_tree,
                     tuple(self.names), tuple(leaf_paths(out_tree, "out")), tuple(self.statics),
                     fired, parameter_names(self.f), names)  # fmt: skip

    def require_steady(self) -> None:
        """Refuse a function that changes what it captures before it fails.

        Raises UnsupportedError: it would be called more often than the user calls it.
        """
        roots = [self.f, *[x for x in self.leaves if callable(x) and not _is_spec(x)]]
        state = state_of(roots, Seen())
        with contextlib.suppress(Exception):
            self.graph()
        now = state if state.holds() else state_of(roots, Seen())
        if now.label != state.label:
            raise UnsupportedError(
                f"{function_name(self.f)} changes {state.label.changes(now.label)}, which it "
                "captures, and decides on traced values in a way for which it is called more than "
                "once; return what changes, or write np.where(condition, a, b)"
            )

    def decisive(self, error: SymgradError, arrays: bool) -> frozenset[int]:
        """Positions of the arguments that an error is about and that may be static.

        arrays : whether float arrays may be
        """
        found = list(error.predicates)
        if isinstance(error, (BranchError, ConcretizationError, UnsupportedError)):
            found += error.operands
        others = self.nodes.keys() - set(getattr(error, "taken_by", ()))
        reached = [self.nodes[n] for n in toposort(found) if n in others]
        values = [(p, self.leaves[p]) for p in reached if not _is_spec(self.leaves[p])]
        whole = {p for p, v in values if np.asarray(v).dtype.kind in "biu"}
        if whole or not arrays or not getattr(error, "in_derivative", False):
            return frozenset(whole)
        return frozenset(p for p, v in values if isinstance(v, np.ndarray) and v.ndim)


def compile(
    f: Function,
    *specs_or_examples: Any,
    name: str | None = None,
    threads: int = 1,
    blas: bool = False,
    machine: str | Machine = HOST,
    scalar: Scalar = SCALAR,
    max_paths: int = MOST_PATHS,
    **kwargs: Any,
) -> Compiled:
    """Compile `f` ahead of time for arguments of the given types.

    What `f` captures (globals, closures, defaults, attributes) is frozen as it is now, unlike in
    `jit`, `grad` and the like, which see it change. Printed graphs say
    ``frozen(float64, (100, 3))`` for a captured array.

    Parameters
    ----------
    f : function written with NumPy, or one made by `grad`, `hessian`, …
    specs_or_examples : as in `trace`
    name : C name of the function; default the Python name, made safe
    threads : how many may share a large loop over data points or a large product of matrices, by
        OpenMP. The results have the same bits for any number. A compiler without OpenMP means a
        warning, and one thread. C that is exported runs on one, unless it is compiled with
        ``-fopenmp -DSG_THREADS=4``.
    blas : whether large products of matrices are left to SciPy's BLAS, which has threads of its own
        and decides about the last bits. C that is exported has to be linked with some BLAS.
    machine : what the C is meant for, ``"host"`` or another name in `symgrad.machines.MACHINES`, or
        a `Machine`. It decides which loops are worth their code; any C runs anywhere, here too.
    scalar : whether a small function of fixed size is computed scalar by scalar, with derivatives
        taken on the scalars, which needs the fewest operations: for robotics, control, estimation.
        Its last bits are others. A number is the most operations that its C may have (True: 5,000);
        "auto" leaves it to a count of work, by the derivatives of the usual form, and then keeps
        NaN and infinities where that has them; False is the usual form.
        A function that has no such form, or a longer one, is compiled as ever; the log says why.
    max_paths : how many ways a function may go by decisions on its arguments that cannot be
        followed by its source (there is none, say): it is called once for each of them.

    Returns
    -------
    Compiled
        With ``.c_source``, ``.c_header``, ``.graph``, ``.cost()``, ``.export(directory)``; called
        with NumPy arrays, ``out=`` for preallocated results.

    Raises
    ------
    TraceError, BuildError (see `symgrad.errors`); MissingPackageError for `blas` without SciPy;
    UnsafeNameError for a hostile `name`. Without any C compiler there is a warning and the result
    runs on NumPy; but a compiler that ``CC`` names and that does not work is an
    UnusableCompilerError.
    """
    ahead = getattr(f, "__symgrad_compile__", None)  # sparse derivatives: more than one graph
    with _paths(max_paths):
        if ahead is not None:
            if scalar not in (False, AUTO):
                raise BuildError("scalar: sparse derivatives have no scalar form; leave it out.")
            choices = dict(threads=threads, blas=blas, machine=machine)
            compiled: Compiled = ahead(*specs_or_examples, name=name, **choices, **kwargs)
            return compiled
        options = Options(threads, blas, machine, scalar=scalar)
        with log.work(name or function_name(f)):
            graph = _for(options, lambda: with_numbers(f, specs_or_examples, kwargs))
            if name is not None:
                graph = graph.named(c_identifier(name, what="name"))
            from symgrad.compiled import Compiled  # not at import: it needs cffi

            return Compiled(graph.simplify(), options)


@contextlib.contextmanager
def _paths(most: int) -> Iterator[None]:
    """What is traced inside goes this many ways at most."""
    token = _MAX_PATHS.set(_checked(most))
    try:
        yield
    finally:
        _MAX_PATHS.reset(token)


def _for(options: Options, make: Callable[[], Graph]) -> Graph:
    """A trace for these options: with derivatives of scalars, if all of it may become scalars."""
    if options.scalar is False or options.scalar == AUTO:  # lowering chooses, by the same graph
        return make()
    graph = _scalar(options, make)
    return replace(make() if graph is None else graph, scalar=True)


def _scalar(options: Options, make: Callable[[], Graph]) -> Graph | None:
    """A trace with derivatives of scalars; None if it has parts that cannot become scalars.

    Where derivatives were nested, what was shorter for each may be longer for the whole; so the
    function is traced once more for each way, if it is short.
    """
    found: list[tuple[int, Graph]] = []
    for first in (None, True, False):
        look = Look(first)
        with opened(options.most_scalars, look):
            graph = replace(make(), scalar=True)
        if not is_small(graph.outs):
            return None
        if first is None and not look.asked:
            return graph
        count = how_long(graph.args, graph.simplify().outs, _SHORT)
        found.append((_SHORT + 1 if count is None else count, graph))
        if count is None:
            break
    return min(found, key=lambda f: f[0])[1]


def _checked(max_paths: int) -> int:
    if type(max_paths) is not int or max_paths < 1:
        raise StructureError(f"max_paths must be a positive int, got {max_paths!r}")
    return max_paths


# ---- compiling at the first call ---------------------------------------------------------------


def transformed(
    f: Function,
    impl: Function,
    label: str,
    recipe: Recipe,
    options: Options = DEFAULT_OPTIONS,
    static: Static = _NONE,
    max_paths: int = MOST_PATHS,
    direct: bool = False,
) -> Function:
    """`impl` as a function: inlined under a trace, compiled on arrays, called without Python.

    recipe : a function of a module and its arguments, which makes the same again where it is
        unpickled
    direct : whether `impl` hands its own arguments to `Inner` before anything else
    """
    from symgrad.dispatcher import Dispatcher  # not at import: it needs cffi

    def tracing(*args: Any) -> Graph:
        with _paths(max_paths):
            return _for(options, lambda: traced(*args))

    function = Dispatcher(impl, tracing, options, recipe, static, direct)
    functools.update_wrapper(function, f, updated=())
    name = function_name(f)
    named: Any
    for named in (function, impl):
        named.__name__ = f"{label}_{name}" if label else name
        named.__doc__ = f"{label} of {name}, by symgrad." if label else f.__doc__
        named.__wrapped__ = f
    return function


def jit(
    f: Function,
    *,
    threads: int = 1,
    blas: bool = False,
    scalar: Scalar = SCALAR,
    static_argnums: Any = (),
    static_argnames: Any = (),
    max_paths: int = MOST_PATHS,
) -> Function:
    """`f` compiled at its first call for given structure, shapes and dtypes.

    Compiled again when something that it captures has changed, and for each value of the static
    arguments: those that `static_argnums` (positions) or `static_argnames` (names) say, and ints,
    bools and arrays of these that turn out to decide about sizes, loops, axes, branches or masks.

    Scalar results come back as Python numbers, arrays as fresh NumPy arrays. `threads`, `blas`,
    `scalar` and `max_paths` as in `compile`: ``sg.jit(sg.grad(f), threads=4)``.
    """
    options = Options(threads, blas, scalar=scalar)
    return _jit(f, options, static_argnums, static_argnames, _checked(max_paths))


def _jit(
    f: Function, options: Options, static_argnums: Any, static_argnames: Any, max_paths: int
) -> Function:
    def impl(*args: Any, **kwargs: Any) -> Any:
        return source.start(f)(*args, **kwargs)

    recipe = _jit, (f, options, static_argnums, static_argnames, max_paths)
    static = Static(f, static_argnums, static_argnames)
    direct = getattr(f, "__symgrad_direct__", False)
    return transformed(f, impl, "", recipe, options, static, max_paths, direct)


def fast_calls(wait: bool | float = False) -> bool:
    """Whether calls of compiled functions go through C by now.

    The path that does this is compiled once on a machine, in the background, when the first process
    compiles its first function. For these seconds calls of that process go through Python, and
    take some 20 µs more; results are the same.

    Parameters
    ----------
    wait : whether to wait until it is there; or for how many seconds at most

    Returns
    -------
    bool
        False where calls never go through C: without a compiler, on PyPy, on macOS and the like.
    """
    from symgrad.compiled import fast_calls  # not at import: it needs cffi

    return fast_calls(wait)


# ---- small ones --------------------------------------------------------------------------------


def stop_gradient(x: Any) -> Any:
    """`x`, but constant for every derivative. Accepts nested structures."""
    leaves, tree = flatten(x)
    return tree.unflatten([
        Tracer(bind("stop_gradient", leaf.expr)) if isinstance(leaf, Tracer) else leaf
        for leaf in leaves
    ])  # fmt: skip


def where(condition: Any, a: Any, b: Any) -> Any:
    """np.where, for readers who want it said; the derivative never mixes in the untaken branch."""
    return np.where(condition, a, b)
