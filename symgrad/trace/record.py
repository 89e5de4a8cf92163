"""Call a user's function with tracers and take out what it computed.

record : (a → b) → values of a with tracers in them → the Exprs of b, and its structure

What this module guarantees: an error of the trace is not lost in the user's ``except``, tracers
are refused after their trace has ended, and random numbers that the function draws are refused.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from symgrad import tree
from symgrad.errors import MutationError, StructureError, SymgradError, TraceError, is_internal
from symgrad.expr.node import Expr, arg, const
from symgrad.expr.walk import substitute, toposort
from symgrad.ops.checks import tied
from symgrad.trace import plain, source
from symgrad.trace.draws import Draws
from symgrad.trace.handle import as_expr
from symgrad.trace.journal import made
from symgrad.trace.named import kept
from symgrad.trace.paths import EXPLORING, Exploring, Paths
from symgrad.trace.sink import sink
from symgrad.trace.state import CURRENT, NO_TRACE, Trace, remembered
from symgrad.trace.tracer import Tracer, wrap


def record(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    site_name: str = "",
    named: dict[str, Expr] | None = None,
    again: bool = False,
) -> tuple[list[Expr], tree.TreeDef]:
    """The outputs of ``f(*args, **kwargs)`` as Exprs, and their structure.

    `named` is given what the variables of the function held, by their names. `again` says that
    the outputs are differentiated.

    Tracers in the arguments that belong to no trace yet become arguments of this one: what the
    function changes in them is changed for itself only.

    What the function raises for some values is tied to the outputs (`ops.checks`): who calls it
    inside of another trace takes that apart again, and hands it to `set_checks`.

    Raises
    ------
    TraceError
        Something in the function cannot be recorded, even if the function itself caught the error.
    StructureError
        The function returns something that is no number and no array.
    """
    parent = CURRENT.get()
    trace = Trace(site_name or function_name(f), parent)
    trace.again |= again
    leaves, structure = tree.flatten((args, kwargs))
    own = [x for x in leaves if isinstance(x, Tracer) and x.owner is NO_TRACE]
    trace.untouched = getattr(f, "__symgrad_direct__", False)
    draws = Draws(f, args, kwargs) if parent is NO_TRACE else None
    arguments = None if parent is NO_TRACE else [x.expr for x in own]
    how = EXPLORING.get()
    if how is None:
        f = source.start(f)
    else:
        f = _by_paths(f, own, how)
    outs, treedef = _run(f, args, kwargs, own, trace, draws)
    if trace.blocks or trace.stored or trace.shared:
        line = plain.outliving(trace)
        if line is not None:
            raise remembered(_lasting(line))
    if trace.shared:
        for fill in (1, -1):
            second = Trace(trace.name, parent, fill)
            second.again = trace.again
            given, by_name = structure.unflatten(leaves)
            _compare(f, given, by_name, own, second, outs, treedef, trace)
    if named is not None and trace.named:
        named.update(kept(trace.named, outs, trace.symbols))
    if parent.journal is not None:  # it noted them, while a side ran that is over
        parent.journal.places.pop((id(trace.checks), "value"), None)
    start, check = trace.checks.start, trace.checks.value
    if check is start:
        return sink(outs, arguments), treedef
    if arguments is None:
        *outs, check = substitute(sink([*outs, check]), {start: const(0, "int64")})
        return tied(outs, check), treedef
    *outs, check = sink([*outs, check], [*arguments, start])
    return tied(outs, check, start), treedef


def _run(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    own: list[Tracer],
    trace: Trace,
    draws: Draws | None = None,
) -> tuple[list[Expr], tree.TreeDef]:
    """One call of `f`; the tracers `own` become arguments of the trace."""
    token = CURRENT.set(trace)
    given = [leaf.expr for leaf in own]
    trace.checks.start = arg(0, (), "int64")
    trace.checks.value = wrap(trace.checks.start)
    try:
        for leaf in own:
            leaf.owner = trace
            leaf.is_argument = True
        try:
            result = f(*args, **kwargs)
        except SymgradError as error:
            raise _located(trace.poison or error) from error.__cause__
        except Exception as error:
            cause = trace.poison or _cause(error)
            if cause is None:
                raise
            raise cause from error
        if trace.poison is not None:
            raise trace.poison
        leaves, treedef = tree.flatten(result)
        outs = [_output(leaf, trace.name) for leaf in leaves]
        trace.checks.value = as_expr(trace.checks.value)
        for node in toposort([*outs, trace.checks.value]) if trace.symbols else ():
            if node in trace.symbols:
                raise remembered(trace.symbols[node])
        if draws is not None:
            _give_back(own, given)
            draws.refuse(lambda: f(*args, **kwargs), trace.name)
        return outs, treedef
    finally:
        CURRENT.reset(token)
        _give_back(own, given)
        result, leaves = None, []  # what lives on now outlives the function
        trace.active = False


def _by_paths(f: Callable[..., Any], own: list[Tracer], how: Exploring) -> Callable[..., Any]:
    """`f`, run once for each way that it can go by its decisions on traced values."""
    started = source.start(f)
    given = [leaf.expr for leaf in own]

    def explored(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten((args, kwargs))
        trace = CURRENT.get()

        def call() -> Any:
            _give_back(own, given)
            # what the function changes in lists, dicts and plain arrays is not there in other runs
            fresh = [x.copy() if type(x) is np.ndarray else x for x in leaves]
            new_args, new_kwargs = structure.unflatten(fresh)
            for container in _containers((new_args, new_kwargs)):
                made(container)
            return started(*new_args, **new_kwargs)

        trace.paths = Paths(trace, how)
        try:
            return trace.paths.run(call, [f, *filter(callable, leaves)])
        finally:
            trace.paths = None

    return explored


def _containers(value: Any) -> Iterator[Any]:
    """The lists, dicts and objects that hold the leaves of a structure."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, Tracer | np.ndarray) or callable(value):
            continue
        yield value
        if isinstance(value, list | tuple):
            stack.extend(value)
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif dataclasses.is_dataclass(value):
            stack.extend(getattr(value, f.name, None) for f in dataclasses.fields(value))


def _give_back(own: list[Tracer], given: list[Expr]) -> None:
    """What the function changed in its arguments is not changed for anybody else."""
    for leaf, expr in zip(own, given, strict=True):
        leaf.expr, leaf._group, leaf._links = expr, None, None


def _compare(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    own: list[Tracer],
    trace: Trace,
    outs: list[Expr],
    treedef: tree.TreeDef,
    first: Trace,
) -> None:
    """Run `f` again with other numbers in the memory of arrays that were changed; see `plain`."""
    failed: Exception | None = None
    same = False
    line = first.shared[0].what
    try:
        found, structure = _run(f, args, kwargs, own, trace)
        same = structure == treedef and all(a is b for a, b in zip(found, outs, strict=True))
    except Exception as error:
        failed = error
    finally:
        line = plain.unseen(trace) or (None if same else line)
    if line is not None:
        seen = MutationError(
            f"{line}: the array is used under another name as well, or through a view, and NumPy "
            "itself reads or writes it there, which cannot be followed while tracing; write "
            "F = F + x instead of F += x, or start with np.zeros_like(x) of a traced x"
        )
        raise remembered(seen) from failed


def _lasting(line: str) -> MutationError:
    return MutationError(
        f"{line}, which outlives the function (a global, a default, an attribute, what a function "
        "captures): the compiled function would not change it; write F = F + x instead of F += x"
    )


def _output(leaf: Any, name: str) -> Expr:
    if isinstance(leaf, (str, bytes)):
        raise StructureError(f"{name} returns {leaf!r}; outputs must be numbers or arrays")
    try:
        return as_expr(leaf)
    except TraceError as error:
        if isinstance(leaf, Tracer) or getattr(type(leaf), "__symgrad_refuses__", False):
            raise
        raise StructureError(
            f"{name} returns a value of type {type(leaf).__name__}; outputs must be numbers or "
            "arrays, "
            f"in any nesting of tuples, lists and dicts ({error})"
        ) from error


def _cause(error: BaseException) -> SymgradError | None:
    """The error of ours that NumPy replaced by one of its own."""
    seen: BaseException | None = error.__cause__
    while seen is not None:
        if isinstance(seen, SymgradError):
            return seen
        seen = seen.__cause__
    return None


def _located(error: SymgradError) -> SymgradError:
    """The error with the user's line in front, where it does not have it yet."""
    if not error.args or re.match(r".+:\d+: ", str(error.args[0])):
        return error
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if not is_internal(frame.f_code.co_filename):
            error.args = (f"{frame.f_code.co_filename}:{line}: {error.args[0]}", *error.args[1:])
            break
    return error


def function_name(f: Callable[..., Any]) -> str:
    """The name of a function for messages and file names; of a partial the function inside."""
    while isinstance(f, functools.partial):
        f = f.func
    name = getattr(f, "__name__", None) or type(f).__name__
    return "function" if name == "<lambda>" else name
