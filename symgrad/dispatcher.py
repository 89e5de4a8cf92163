"""Dispatcher: the compiled versions of one function, by arguments and by what it captures."""

from __future__ import annotations

import dataclasses
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad import log
from symgrad.captures import Captures, Label, State
from symgrad.captures.lift import Replaced
from symgrad.compiled import Compiled
from symgrad.errors import MutationError, SymgradWarning, TraceError, warn
from symgrad.expr.node import ARG, Expr
from symgrad.expr.op import Kind
from symgrad.fixed import NotFixed
from symgrad.forks import ForkSafeLock
from symgrad.graph import Graph
from symgrad.interchange import plain_arguments, plain_leaves
from symgrad.options import Options
from symgrad.pickling import Recipe, reduced
from symgrad.runtime import dispatch
from symgrad.signature import (
    Static,
    argument_paths,
    is_array,
    leaf_key,
    leaves_by_argument,
    lists_as_arrays,
    require_fixed,
    static_key,
)
from symgrad.trace import CURRENT, NO_TRACE, is_tracing
from symgrad.tree import TreeDef, flatten

_Caller: Any = dispatch.base()

_MAX_FIXED = 256  # versions for fixed values, which may be new functions at every call
_MAX_STATES = 64  # versions for different values of what a function captures
_MANY_STATES = 16  # of these mean a warning
_MAX_SHOWN = 3  # versions whose formulas are printed
_MAX_PLANS = 8  # tried in turn by the fast path; further versions of a function go by the table


class Dispatcher(_Caller):  # type: ignore[misc]  # a class of C, or object
    """Compiled versions of one function, by structure, shapes and dtypes of the arguments.

    What `grad`, `jit` and the like return. It passes for a function of Python: it binds to objects,
    is copied as itself, and pickles by its name where it has one (see `pickling`).

    f : written on traced values
    trace : makes the Graph of `f` for given arguments
    options : of its versions
    recipe : what makes the same again
    static : arguments that are compiled in
    direct : whether a transformation of `symgrad.derivatives` gets the arguments as they are
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
        static: Static,
        direct: bool = False,
    ) -> None:
        self._inherit_vectorcall()
        self.__symgrad_direct__ = direct
        self.options = options
        self.recipe = recipe
        self.f = f
        self.trace = trace
        self.static = static
        # By structure and types of the arguments: which of them decide about the structure, so that
        # there is a version for each of their values.
        self.decisive: dict[Any, frozenset[int]] = {}
        self.listed: set[Any] = set()  # structures whose lists of numbers have to be arrays
        self.by_value: list[Any] = []  # keys of these versions, oldest first
        weak = any(getattr(type(part), "__symgrad_weak__", False) for part in recipe[1])
        self.captures = Captures(recipe[1], keep=not weak)
        self.captures.passes = not weak and not static
        # By what is captured, and by structure, types and fixed values of the arguments.
        self.compiled: dict[tuple[Label, Any], Compiled] = {}
        self.plans: dict[Label, dict[Any, Any]] = {}  # of the fast path, for each state of captures
        self.changing = 0  # how often what is captured was another thing after the trace
        self.guarded = False  # whether that compares what is captured
        self.armed: State | None = None  # what the fast path takes calls for
        self.fixed: list[Any] = []  # keys of versions for fixed values, oldest first
        # By graph, of those that are kept: not all that is captured makes a difference.
        self.same: weakref.WeakValueDictionary[Any, Compiled] = weakref.WeakValueDictionary()
        self.lock = ForkSafeLock()
        self._watch((CURRENT, NO_TRACE))

    @property
    def __symgrad_static__(self) -> Static:
        return self.static

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

    def __str__(self) -> str:
        """What it is, and the formula of each version that was made."""
        from symgrad.display import heading

        graphs = list(dict.fromkeys(c.graph for c in list(self.compiled.values())))
        if not graphs:
            return f"{self!r}: {self.__doc__ or ''}\nno formula yet: it has not been called"
        shown = []
        for graph in graphs[-_MAX_SHOWN:]:
            lines = [heading(graph), *("  " + line for line in graph.formula().splitlines())]
            shown.append("\n".join(lines))
        more = len(graphs) - len(shown)
        return "\n".join([repr(self), *shown, *([f"and {more} earlier versions"] if more else [])])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython prints."""
        from symgrad.display import pretty

        pretty(printer, str(self))

    def _repr_html_(self) -> str | None:
        """What a notebook shows of the newest version; nothing before there is one."""
        newest = next(reversed(list(self.compiled.values())), None)
        return None if newest is None else newest._repr_html_()

    def _slow(self, /, *args: Any, **kwargs: Any) -> Any:
        if is_tracing():
            args, kwargs = plain_arguments(args, kwargs, lambda tree: argument_paths(self.f, tree))
            return self.f(*args, **kwargs)
        args, kwargs, leaves, tree = self._plain(args, kwargs)
        try:
            types = tree, tuple([leaf_key(leaf) for leaf in leaves])
            key = self._key(types, leaves)
        except NotFixed:
            for leaf, path in zip(leaves, argument_paths(self.f, tree), strict=True):
                require_fixed(leaf, path)
            raise
        holders = _holders(leaves)
        state = self._state(holders)
        given = args, kwargs
        if state.hidden:
            args = (*args, tuple(state.hidden.values()))
            leaves, tree = flatten((args, kwargs))
            types = tree, tuple([leaf_key(leaf) for leaf in leaves])
            key = self._key(types, leaves)
        compiled = self.compiled.get((state.label, key))
        if compiled is None:
            with self.lock.held():
                key = self._key(types, leaves)
                compiled = self.compiled.get((state.label, key))
                if compiled is None:
                    try:
                        compiled = self._make(state, args, kwargs)
                    except Exception as error:
                        if state.hidden:
                            passed = self.captures.pass_less()
                            try:
                                return self._slow(*given[0], **given[1])
                            except Exception:  # the user's function may raise anything
                                self.captures.pass_again(passed)  # it is not why this fails
                                raise
                        if not isinstance(error, (TypeError, AttributeError)):
                            raise
                        return self._with_arrays(error, tree, args, kwargs)
                    if self.captures.still(state, holders):
                        self._keep(compiled, state, types, leaves, holders)
                    else:  # by the function itself, which then does so in each call, or a thread
                        self._warn_changing(state)
        if state is not self.armed and self.captures.keep and not holders:
            self._arm(state)
        return self._call(compiled, leaves)

    def _call(self, compiled: Compiled, leaves: Sequence[Any]) -> Any:
        """The result of a version for all leaves of the arguments."""
        graph, room = compiled.graph, compiled.room
        fixed = {position for position, _, _ in graph.statics}
        made = compiled.call_flat([x for k, x in enumerate(leaves) if k not in fixed])
        if compiled.room is not room:  # the fast path has to know
            self.armed = None
        return graph.finish(made)

    def _plain(self, args: Any, kwargs: Any) -> tuple[Any, Any, list[Any], TreeDef]:
        """The arguments of a call with NumPy's arrays where they have to be, and their leaves."""
        leaves, tree = flatten((args, kwargs))
        plain = plain_leaves(leaves, lambda: argument_paths(self.f, tree))
        if plain is not leaves:
            leaves = plain
            args, kwargs = tree.unflatten(leaves)
        if tree in self.listed:
            args, kwargs = lists_as_arrays(args, kwargs)
            leaves, tree = flatten((args, kwargs))
        return args, kwargs, leaves, tree

    def _state(self, holders: Sequence[Any]) -> State:
        """Of what is captured now; the fast path's own comparison is the quickest."""
        armed = self.armed
        if armed is not None and self.guarded and not holders and self._all_hold():
            if self.armed is armed:  # no other thread has armed it with another state meanwhile
                return armed
        return self.captures.now(holders)

    def _with_arrays(self, error: Exception, tree: Any, args: Any, kwargs: Any) -> Any:
        """The call with arrays for lists of numbers, where a trace with lists has failed."""
        others = lists_as_arrays(args, kwargs)
        if others is None:
            raise error
        try:
            result = self._slow(*others[0], **others[1])
        except (TypeError, AttributeError):
            raise error from None
        self.listed.add(tree)
        return result

    def _key(self, types: Any, leaves: Sequence[Any], own: bool = False) -> Any:
        """By what versions for one state of captures are told apart."""
        static = self.decisive.get(types)
        if static is None:
            static = self.static.positions(types[0])
        if not static:
            return types
        return types, static, tuple([static_key(leaves[p], own) for p in sorted(static)])

    def _make(self, state: State, args: Any, kwargs: Any) -> Compiled:
        """A further version."""
        self._warn(state)
        leaves, tree = flatten((args, kwargs))
        types = tree, tuple([leaf_key(leaf) for leaf in leaves])
        static = self.decisive.get(types, self.static.positions(tree))
        f = self._passing(state) if state.hidden else self.f
        with log.work(self.__name__):
            graph = self.trace(f, args, kwargs, static).simplify()
            if state.hidden:
                require_cheap(graph)
            return self._compile(graph)

    def _passing(self, state: State) -> Callable[..., Any]:
        """`f` with what it captures and is passed as a further argument."""

        def f(*args: Any, **kwargs: Any) -> Any:
            *own, hidden = args
            before = [t.expr for t in hidden]
            stand_ins = dict(zip(state.hidden, hidden, strict=True))
            assert state.reach is not None
            result = Replaced(state.reach, stand_ins).of(self).f(*own, **kwargs)
            if any(t.expr is not e for t, e in zip(hidden, before, strict=True)):
                raise MutationError("a captured array is changed in place")
            return result

        f.__name__ = self.f.__name__
        f.__symgrad_direct__ = self.__symgrad_direct__  # type: ignore[attr-defined]
        return f

    def _keep(
        self,
        compiled: Compiled,
        state: State,
        types: Any,
        leaves: Sequence[Any],
        holders: Sequence[Any],
    ) -> None:
        """Note a version for arguments like `leaves`, of these types."""
        statics = compiled.graph.statics
        numbers = {p: path for p, v, path in statics if is_array(v)}
        if numbers:
            before = self.decisive.get(types, frozenset())
            self.decisive[types] = before | self.static.positions(types[0]) | frozenset(numbers)
        key = self._key(types, leaves, own=True)
        self.compiled[state.label, key] = compiled
        if statics:
            kept, most = (self.by_value, _MAX_STATES) if numbers else (self.fixed, _MAX_FIXED)
            kept.append((state.label, key))
            if numbers and len(kept) == _MANY_STATES + 1:
                warn(
                    f"{self.__name__} is traced and compiled for the {len(kept)}th value of "
                    f"{', '.join(numbers.values())}, which decides about sizes, loops, branches or "
                    "the like and so is compiled in",
                    SymgradWarning,
                )
            if len(kept) > most:
                self._forget(kept.pop(0))
        if holders:
            return
        plans = self.plans.setdefault(state.label, {})
        fixed = {position for position, _, _ in statics}
        accepts = [_accepts(leaf) for k, leaf in enumerate(leaves) if k not in fixed]
        if all(accepts) and len(plans) < _MAX_PLANS:
            plans[key] = compiled, accepts
            self.armed = None
        if len(self.plans) > _MAX_STATES:
            oldest = next(iter(self.plans))
            for version in [v for v in self.compiled if v[0] == oldest]:
                self._forget(version)

    def _warn(self, state: State) -> None:
        """Of what is not seen to change, and of what changes all the time."""
        if state.unseen and not self.compiled:
            warn(
                f"{self.__name__} captures {', '.join(state.unseen[:3])}: whether that changes is "
                "not seen, and what is read of it is frozen; pass what it reads as an argument",
                SymgradWarning,
            )
        if state.label not in self.plans and len(self.plans) == _MANY_STATES:
            what = next(reversed(self.plans)).changes(state.label)
            warn(
                f"{self.__name__} is traced and compiled for the {_MANY_STATES + 1}th time because "
                f"{what}, which it captures, has changed; pass it as an argument",
                SymgradWarning,
            )

    def _warn_changing(self, state: State) -> None:
        self.changing += 1
        if self.changing == _MANY_STATES + 1:
            what = state.label.changes(self.captures.now().label)
            warn(
                f"{self.__name__} is traced again in each call, since it changes {what}, which it "
                "captures; return what changes, and pass it as an argument",
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

    def _forget(self, version: tuple[Label, Any]) -> None:
        if self.compiled.pop(version, None) is None:
            return  # forgotten before, with all of its state
        plans = self.plans.get(version[0])
        if plans is not None and plans.pop(version[1], None) is not None:
            self.armed = None
        if all(label != version[0] for label, _ in self.compiled):
            self.plans.pop(version[0], None)
            self.captures.forget(version[0])

    def _arm(self, state: State) -> None:
        """Let the fast path take calls as long as `state` holds."""
        with self.lock.held():
            made = [
                compiled.plan(accepts, takes_out=False, hidden=tuple(state.hidden.values()))
                for compiled, accepts in self.plans.get(state.label, {}).values()
            ]
            plans = tuple([plan for plan in made if plan is not None])
            rows = state.native() if dispatch.GUARDS else None
            self.armed = None  # until guards and state are a pair again
            self.guarded = rows is not None and hasattr(self, "_all_hold")
            self._switch((rows, plans, state) if rows is not None else ((), (), None))
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


def require_cheap(graph: Graph) -> None:
    """Raise TraceError where constants would be better: what depends on the passed arrays alone
    costs more than comparing them, or one of them has turned out to decide about the structure.

    They are the last positional argument.
    """
    count = graph.in_tree.nodes[1].arity
    places = dict(leaves_by_argument(graph.in_tree))[count - 1]
    fixed = {position for position, _, _ in graph.statics}
    if fixed.intersection(places):
        raise TraceError("a captured value decides about the structure")
    given = [k for k in range(graph.in_tree.num_leaves) if k not in fixed]
    passed = {n for k, n in zip(given, graph.args, strict=True) if k in places and n.shape}
    work = 0
    alone: dict[Expr, bool] = {}
    for node in graph.nodes:
        alone[node] = node in passed if node.op is ARG else all([alone[a] for a in node.args])
        if alone[node] and node.args and node.op.kind is not Kind.LINEAR:
            work += node.size * node.op.cost if node.op.kind is Kind.ELEMENTWISE else 10**9
    if work > 2 * sum(node.size for node in passed):
        raise TraceError("what a function makes of captured arrays is better computed once")


def _accepts(leaf: Any) -> int:
    """Which scalars the fast path may take where the version at hand was made for `leaf`."""
    if type(leaf) is np.ndarray:
        return dispatch.ACCEPT_ARRAY
    if type(leaf) in (float, int, bool):
        return dispatch.ACCEPT_PYTHON
    return dispatch.ACCEPT_NUMPY if type(leaf) is np.float64 else 0
