"""Graph: a traced function that can be read, differentiated, simplified, evaluated and printed."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symgrad import inspect, log
from symgrad.boundary import ArrayType
from symgrad.collector import seldom
from symgrad.diff.modes import drop_stops, vjp, zeros_like
from symgrad.diff.roots import of_graph
from symgrad.errors import CheckFailedError, DifferentiationError, StructureError, TapeFullError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import ARG, ARRAY, FLOATS, Expr, arg, array, bind, const, param
from symgrad.expr.op import Kind, lookup
from symgrad.expr.walk import expand_composites, toposort
from symgrad.fixed import same
from symgrad.forks import cached
from symgrad.inspect import summary
from symgrad.interchange import is_elsewhere, plain
from symgrad.ops.body import Body, bodies
from symgrad.ops.checks import Failure, apart, failures, tied
from symgrad.ops.elementwise import STOP_GRADIENT
from symgrad.options import NOT_OF_SCALARS
from symgrad.simplify import RULES, simplify
from symgrad.simplify.gathers import hoist_from_gathers
from symgrad.tapes import Again
from symgrad.tree import TreeDef, flatten

# What lowering takes as it is; composites are expanded, and control nodes have bodies.
_PLAIN = frozenset(Kind) - {Kind.COMPOSITE, Kind.CONTROL}


@dataclass(frozen=True, eq=False)
class Graph:
    """Expressions `outs` of the argument nodes `args`; made by `sg.trace`, never changed.

    Attributes
    ----------
    args, outs : tuples of Expr
    in_tree : structure of (positional, keyword) arguments
    out_tree : structure of the result
    arg_names, out_names : how a user writes each leaf, such as ``params["w"]``
    statics : leaves of the arguments that are not arrays: position, value, how a user writes it
    fired : how often each rewrite rule was applied to get here
    parameters : names of the positional parameters of the traced function
    again : makes it anew with more room for rounds that reverse mode keeps, if it keeps some of
        which nobody says how many there are; not pickled
    names : what variables of the traced function held, for formulas
    scalar : whether it was traced for scalar form (0058)
    """

    name: str
    args: tuple[Expr, ...]
    outs: tuple[Expr, ...]
    in_tree: TreeDef
    out_tree: TreeDef
    arg_names: tuple[str, ...]
    out_names: tuple[str, ...]
    statics: tuple[tuple[int, Any, str], ...] = ()
    fired: dict[str, int] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    names: dict[str, Expr] = field(default_factory=dict)
    scalar: bool = False
    again: Again | None = None

    # ---- reading -----------------------------------------------------------------------------

    def __str__(self) -> str:
        return inspect.listing(self.args, self.outs, self.arg_names, self.out_names, self.name)

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.nodes)} nodes>"

    @property
    def nodes(self) -> list[Expr]:
        """All nodes, arguments before users."""
        return list(self._nodes)

    @cached
    def _nodes(self) -> list[Expr]:
        return toposort(self.outs)

    def formula(self, form: str = "reader") -> str:
        """The results in matrix notation, as text.

        form : "reader" for the shortest formula that was found and agrees with the graph, "code"
            for the one that the C computes
        """
        return self._formula(form, False)

    def latex(self, form: str = "reader") -> str:
        """The results in matrix notation, as LaTeX; `form` as for `formula`."""
        return self._formula(form, True)

    def _formula(self, form: str, as_latex: bool) -> str:
        _require_form(form)
        written = why = ""
        if form == "reader":
            from symgrad.reader.form import latex, text

            if self._found.reading is not None:
                written = (latex if as_latex else text)(self._found.reading)
            why = self.why_code()
        if not written:
            write = inspect.matrix_latex if as_latex else inspect.matrix_text
            short = form == "reader" and self._found.large
            most = summary.LINES if short else inspect.LINES
            written = write(self.args, self._bare, self.arg_names, self.out_names, limit=most)
        if as_latex:
            return written
        notes = [f"  ({why})"] if why else []
        return "\n".join([written, *notes, *[f"  may {failure}" for failure in self.failures]])

    def why_code(self) -> str:
        """Why the formula is not the reader's; empty if it is."""
        found = self._found
        if not found.large:
            return f"code's form: {found.why}" if found.why else ""
        names = dict(zip(self.args, self.arg_names, strict=True))
        told = summary.told(self._bare, names)
        return f"summary of the code's form: {found.why}: {told}"

    @cached
    def _found(self) -> Any:
        """The reader's form, or why there is none."""
        from symgrad.reader.form import read

        return read(self.args, self._bare, self.arg_names, self.out_names, self.names)

    def to_sympy(self, form: str = "reader") -> Any:
        """The results as SymPy expressions: one if there is one result, else a list.

        form : "reader" for what `formula` prints, with a `MatrixSymbol` for each vector (a column)
            and matrix, where SymPy has matrix expressions for all of it; else, and for "code",
            what the C computes, element by element
        """
        _require_form(form)
        if form == "reader" and self._found.reading is not None:
            from symgrad.reader.functions import Unknown
            from symgrad.reader.sympy_form import to_sympy

            try:
                found = to_sympy(self._found.reading, self._bare)
                return found[0] if len(found) == 1 else found
            except Unknown:
                pass
        return inspect.to_sympy(self.args, self._bare, self.arg_names)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython prints."""
        from symgrad.display import pretty, text

        pretty(printer, text(self))

    def _repr_latex_(self) -> str:
        from symgrad.display import latex

        return latex(self)

    def _repr_html_(self) -> str:
        from symgrad.display import page

        return page(self)

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        """What a notebook shows."""
        from symgrad.display import bundle, text

        makers = {"text/html": self._repr_html_, "text/latex": self._repr_latex_}
        return bundle(text(self), makers, include, exclude)

    def to_dot(self, **options: Any) -> str:
        """Graphviz text; see `symgrad.inspect.to_dot` for the options."""
        return inspect.to_dot(self.args, self._bare, **options)

    def cost(self) -> Any:
        """Flops, bytes, node counts."""
        return inspect.cost(self.args, self.outs)

    def explain(self) -> str:
        """Which rewrite rules simplification applied, how often, and what each states.

        Then, after "formula:", the same for the steps from there to the formula.
        """
        from symgrad.reader.rules import documentation

        told = inspect.explain(self.fired, {r.name: r.doc for r in RULES})
        reading = self._found.reading
        if reading is None or not reading.steps:
            return told
        return f"{told}\nformula:\n{inspect.explain(reading.steps, documentation())}"

    # ---- computing ---------------------------------------------------------------------------

    def evaluate(self, /, *args: Any, **kwargs: Any) -> Any:
        """The result for actual arguments, computed with NumPy: the reference semantics."""
        return self.finish(self.evaluate_flat(self.flat(args, kwargs)))

    def flat(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The array leaves of a call, checked for structure."""
        if kwargs or len(args) != self._arity:
            args, kwargs = self._as_traced(args, kwargs)
        leaves, tree = flatten((args, kwargs))
        if tree != self.in_tree:
            raise StructureError(
                f"{self.name}: expected arguments of structure {self.in_tree}, got {tree}"
                f"{self._difference(args, kwargs)}"
            )
        for position, value, path in self.statics:
            given = leaves[position]
            if is_elsewhere(given):
                given = plain(given, f"argument {path}")
            if given is not value and not same(given, value):
                raise StructureError(
                    f"{self.name}: was traced with {value!r} for argument {path}, "
                    f"got {_brief(given)}"
                )
        fixed = {position for position, _, _ in self.statics}
        return [leaf for k, leaf in enumerate(leaves) if k not in fixed]

    @cached
    def _arity(self) -> int:
        """How many arguments were given by position when the function was traced."""
        return self.in_tree.nodes[1].arity

    @cached
    def _traced(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of the traced structure, with placeholders for leaves."""
        args, kwargs = self.in_tree.unflatten(range(self.in_tree.num_leaves))
        return args, kwargs

    def _as_traced(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A call by position or by name, with each argument where it was in the traced call."""
        by_name = self._traced[1]
        for name in self.parameters[: len(args)]:
            if name in kwargs and name not in by_name:
                raise StructureError(
                    f"{self.name}: argument {name} is given twice, by position and by name"
                )
        missing = self.parameters[len(args) : self._arity]
        if missing and all(name in kwargs for name in missing):
            kwargs = dict(kwargs)
            args = (*args, *[kwargs.pop(name) for name in missing])
        return args, kwargs

    def _difference(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """For a message: the first argument that is not as it was when the function was traced."""
        traced, given = self._by_name(*self._traced), self._by_name(args, kwargs)
        for name in {**traced, **given}:
            if name not in given:
                return f": argument {name} is missing"
            if name not in traced:
                return f": there is no argument {name}"
            expected, got = flatten(traced[name])[1], flatten(given[name])[1]
            if expected != got:
                return f": argument {name} has structure {got}, expected {expected}"
        return ""

    def _by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        rest = [f"x{k}" for k in range(len(self.parameters), len(args))]
        return {**dict(zip([*self.parameters, *rest], args, strict=False)), **kwargs}

    def evaluate_flat(self, leaves: Sequence[Any]) -> list[np.ndarray]:
        """Like `evaluate` on flat lists."""
        checked = [t.check(v) for t, v in zip(self.input_types, leaves, strict=True)]
        values = dict(zip(self.args, checked, strict=True))
        # What the function raises comes before all that it computes after that.
        bare, check = apart(self.outs)
        try:
            results = evaluate([*bare] if check is None else [check, *bare], values)
        except CheckFailedError as error:
            failure: Failure = error.args[0]
        except TapeFullError:
            if self.again is None:
                raise
            return self.larger.evaluate_flat(leaves)
        else:
            return [np.array(v, copy=True) for v in results[-len(bare) :]]
        failure.throw()

    @cached
    def larger(self) -> Graph:
        """The same with more room for rounds that are kept; see `symgrad.tapes`."""
        assert self.again is not None
        return self.again.larger(self.cost().kept)

    @cached
    def _bare(self) -> list[Expr]:
        """The results without their checks, which have no formula."""
        return apart(self.outs)[0]

    @cached
    def failures(self) -> list[Failure]:
        """What the function raises for some values, by file and line."""
        return failures(self._nodes)

    def finish(self, results: Sequence[np.ndarray]) -> Any:
        """Arrays in the result's structure; scalars as Python numbers."""
        return self.out_tree.unflatten([r if r.ndim else r.item() for r in results])

    @cached
    def input_types(self) -> list[ArrayType]:
        """Name, dtype and shape of every array argument."""
        return _types(self.args, self.arg_names)

    @cached
    def output_types(self) -> list[ArrayType]:
        """Name, dtype and shape of every result."""
        return _types(self.outs, self.out_names)

    # ---- graph to graph ----------------------------------------------------------------------

    def simplify(self, *, disable: frozenset[str] = frozenset()) -> Graph:
        """An equal graph after the rewrite rules; `explain()` on it lists those that fired.

        disable : names of rules or groups to leave out, for example {"stable"}
        """
        off = disable | NOT_OF_SCALARS if self.scalar else disable
        with seldom(), log.Stage("simplifying", "simplified", self.name) as stage:
            result = simplify(self.outs, disable=off, nodes=self._nodes)
            stage.facts = lambda: f"{len(toposort(result.outs))} nodes"
        fired = dict(self.fired)
        for rule, count in result.fired.items():
            fired[rule] = fired.get(rule, 0) + count
        made = self._with(tuple(result.outs), fired=fired)
        return self._after(made, lambda graph: graph.simplify(disable=disable))

    def lowered_outs(
        self, split: Callable[[Sequence[Expr]], Sequence[Expr]] | None = None
    ) -> list[Expr]:
        """The results without composites and stop_gradients, ready for lowering.

        split : what becomes of loops (`lower/fission.py`)
        """
        outs: Sequence[Expr] = self.outs
        nodes: list[Expr] | None = self._nodes
        if not all(n.op is not STOP_GRADIENT and n.op.kind in _PLAIN for n in self._nodes):
            outs, nodes = expand_composites(drop_stops(outs)), None
        # The stable forms would only recognise the composites again.
        last = functools.partial(
            simplify,
            disable=frozenset({"stable", "linalg", "collect", "loops"}),
            enable=frozenset({"strength", "checkpoint"}),
        )
        simpler = last(outs, nodes=nodes).outs
        apart = simpler if split is None else split(simpler)
        if any(a is not b for a, b in zip(apart, simpler, strict=True)):
            simpler = last(apart).outs
        same = all(a is b for a, b in zip(outs, simpler, strict=True))
        return hoist_from_gathers(simpler, nodes if same else None)

    def grad(self, *names: str | int) -> Graph:
        """Gradient of the one scalar result with respect to the named arguments, or the first.

        A name is a leaf such as ``params["w"]`` or a position among `args`. The result of the new
        graph is one array, or a tuple of arrays for several names.
        """
        if len(self.outs) != 1 or self.outs[0].shape != () or self.outs[0].dtype not in FLOATS:
            shapes = [f"{o.dtype}{list(o.shape)}" for o in self.outs]
            raise DifferentiationError(
                f"{self.name}: a gradient needs one float scalar result, got {shapes}"
            )
        wrt = [self._argument(n) for n in (names or (0,))]
        bare, check = apart(self.outs)
        with seldom(), log.Stage("deriving", "derived", self.name) as stage:
            cotangents = vjp(of_graph(bare), wrt, [const(1, bare[0].dtype)])
            full = [zeros_like(w) if c is None else c for c, w in zip(cotangents, wrt, strict=True)]
            outs = tuple(tied(full, check))
            stage.facts = lambda: f"{len(toposort(outs))} nodes"
        tree = flatten(0 if len(outs) == 1 else (0,) * len(outs))[1]
        labels = tuple(f"d{self.name}/d{self.arg_names[self.args.index(w)]}" for w in wrt)
        return self._with(outs, out_tree=tree, out_names=labels, name=f"{self.name}_grad")

    def _argument(self, name: str | int) -> Expr:
        if isinstance(name, int) and -len(self.args) <= name < len(self.args):
            return self.args[name]
        if name in self.arg_names:
            return self.args[self.arg_names.index(name)]
        raise StructureError(f"{self.name}: no argument {name!r}; there are {list(self.arg_names)}")

    def _with(self, outs: tuple[Expr, ...], **changes: Any) -> Graph:
        fields = {k: getattr(self, k) for k in self.__dataclass_fields__ if k != "again"}
        return Graph(**{**fields, "outs": outs, **changes})

    def _after(self, made: Graph, step: Callable[[Graph], Graph]) -> Graph:
        """What a step has made of this graph; it does so of the same with more room."""
        if self.again is None:
            return made
        return made._with(made.outs, again=self.again.then(made, step))

    def named(self, name: str) -> Graph:
        """The same under another name."""
        made = self._with(self.outs, name=name)
        return self._after(made, lambda graph: graph.named(name))

    # ---- pickling: a flat list, so that depth does not matter -----------------------------------

    def __reduce__(self) -> Any:
        rows, args, outs = self._rows()
        split = len(self.outs)
        fields = [k for k in self.__dataclass_fields__ if k not in ("args", "outs", "again")]
        rest = {k: getattr(self, k) for k in fields}
        rest["names"] = dict(zip(self.names, outs[split:], strict=True))
        return _restore, (_named(rows), args, outs[:split], rest)

    def _rows(self) -> tuple[list[Any], list[int], list[int]]:
        """(op, arguments, attrs) of each node, and where the arguments and results are.

        Behind the results are the values of names. A body is such a triple among the attrs.
        """
        return _flat(self.args, (*self.outs, *self.names.values()))

    # ---- identity between processes ------------------------------------------------------------

    @property
    def captured(self) -> list[np.ndarray]:
        """The arrays that the function captured."""
        found: list[np.ndarray] = []
        waiting = [self.nodes]
        seen: set[Body] = set()
        while waiting:
            for node in waiting.pop():
                if node.op is ARRAY:
                    found.append(node.attrs[0].array)
                elif node.op.kind is Kind.CONTROL:
                    new = [b for b in dict.fromkeys(bodies(node)) if b not in seen]
                    seen.update(new)
                    waiting += [b.nodes for b in new]
        return found

    def digest(self) -> str:
        """SHA-256 of everything in this graph that its C depends on, comments included."""
        rows, args, outs = self._rows()
        sha = hashlib.sha256()
        names = self.name, self.arg_names, self.out_names, list(self.names), self.scalar
        sha.update(repr((*names, args, outs)).encode())
        _hash_rows(sha, rows)
        return sha.hexdigest()


def _require_form(form: str) -> None:
    if form not in ("reader", "code"):
        raise ValueError(f'form: expected "reader" or "code", got {form!r}')


def _flat(args: Sequence[Expr], outs: Sequence[Expr]) -> tuple[list[Any], list[int], list[int]]:
    nodes = toposort((*args, *outs))
    number = {node: k for k, node in enumerate(nodes)}
    rows = [(n.op, tuple([number[a] for a in n.args]), _plain(n)) for n in nodes]
    return rows, [number[a] for a in args], [number[o] for o in outs]


def _plain(node: Expr) -> tuple[Any, ...]:
    """The attributes of a node without nodes in them."""
    if node.op is ARRAY:
        return (node.attrs[0].array,)
    if node.op.kind is Kind.CONTROL:
        return tuple([_mapped(a, Body, lambda b: _Rows(_flat(b.params, b.outs)))
                      for a in node.attrs])  # fmt: skip
    return node.attrs


class _Rows(tuple[Any, ...]):
    """The rows of a body."""

    def __reduce__(self) -> Any:
        rows, params, outs = self
        return _Rows, ((_named(rows), params, outs),)


def _mapped(attr: Any, cls: type, f: Any) -> Any:
    """An attribute with `f` applied to what is of a class, alone or in a tuple."""
    if isinstance(attr, cls):
        return f(attr)
    return tuple([f(a) for a in attr]) if type(attr) is tuple and attr and isinstance(
        attr[0], cls) else attr  # fmt: skip


def _named(rows: list[Any]) -> list[Any]:
    return [(op.name, *row) for op, *row in rows]


def _hash_rows(sha: Any, rows: list[Any]) -> None:
    for op, inputs, attrs in rows:
        if op is ARRAY:
            data = attrs[0]
            attrs = str(data.dtype), data.shape, hashlib.sha256(data.data).hexdigest()
        elif op is ARG:
            attrs = attrs[1:]  # the first is the number of the trace
        elif op.kind is Kind.CONTROL:
            attrs = tuple([_mapped(a, _Rows, _digest) for a in attrs])
        # How an op is spelled is part of the tables, which a program may have extended.
        sha.update(repr((op.name, op.c, op.c_int, op.cost, inputs, attrs)).encode())


def _digest(body: _Rows) -> str:
    rows, params, outs = body
    sha = hashlib.sha256(repr((params, outs)).encode())
    _hash_rows(sha, rows)
    return sha.hexdigest()


def _types(nodes: Sequence[Expr], names: Sequence[str]) -> list[ArrayType]:
    return [ArrayType(name, n.dtype, n.shape) for n, name in zip(nodes, names, strict=True)]


def _brief(value: Any) -> str:
    """For messages: arrays may be long, and numbers beyond printing."""
    cls = type(value)
    return repr(value) if cls in (str, bytes, bool, float, complex) else f"a {cls.__name__}"


def _restore(rows: list[Any], args: list[int], outs: list[int], rest: dict[str, Any]) -> Graph:
    nodes = _restored(rows)
    rest = {**rest, "names": {n: nodes[k] for n, k in rest["names"].items()}}
    return Graph(args=tuple(nodes[k] for k in args), outs=tuple(nodes[k] for k in outs), **rest)


def _restored(rows: list[Any]) -> list[Expr]:
    nodes: list[Expr] = []
    for name, inputs, attrs in rows:
        if name == "arg":
            nodes.append(arg(*attrs[1:]))
        elif name == "array":
            nodes.append(array(attrs[0]))
        elif name == "const":
            nodes.append(const(np.frombuffer(attrs[1], attrs[0])[0], attrs[0], attrs[2]))
        elif name == "param":
            nodes.append(param(*attrs))
        else:
            attrs = tuple([_mapped(a, _Rows, _body) for a in attrs])
            nodes.append(bind(lookup(name), *(nodes[k] for k in inputs), attrs=attrs))
    return nodes


def _body(restored: _Rows) -> Body:
    rows, params, outs = restored
    nodes = _restored(rows)
    return Body([nodes[k] for k in params], [nodes[k] for k in outs])
