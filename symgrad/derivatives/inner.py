"""The function whose derivative is asked for, traced once, in terms of fresh variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad import log
from symgrad.diff import modes
from symgrad.diff.limits import noted, pushed, with_limits
from symgrad.diff.pieces import Piece, in_pieces
from symgrad.diff.roots import extended
from symgrad.errors import (
    DifferentiationError,
    DtypeError,
    StructureError,
    TraceError,
    at_user_line,
)
from symgrad.expr.node import ARG, FLOATS, Expr, arg, bind
from symgrad.expr.walk import substitute, toposort
from symgrad.ops.checks import apart
from symgrad.signature import is_array, parameter_names
from symgrad.trace import (
    CURRENT,
    Tracer,
    argument,
    as_expr,
    checked,
    function_name,
    note,
    record,
    set_checks,
)
from symgrad.transform import Function, simplified
from symgrad.tree import TreeDef, flatten, leaf_paths


class Inner:
    """One trace of `f` with fresh variables in place of the differentiated leaves.

    Fresh, since `f` may capture the values that it is called with (``grad(lambda y: x * y)(x)``).
    Arguments of the trace that is running are variables themselves where no code of the user can
    have seen them: then nothing has to be put in their place afterwards.
    """

    def __init__(
        self, f: Function, argnums: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.f = f
        self.numbers, self.single = _positions(f, argnums, args, kwargs)
        names = parameter_names(f)
        self.trees: list[TreeDef] = []
        self.fresh: list[Expr] = []
        self.actual: list[Expr] = []
        self.counts: list[int] = []
        self.named: dict[str, Expr] = {}
        self.aux: tuple[list[Expr], TreeDef] | None = None
        values, keywords = list(args), dict(kwargs)
        trace = CURRENT.get()
        self.again = trace.again
        direct, trace.untouched = trace.untouched, False
        for number in self.numbers:
            keyword = isinstance(number, str)
            value = keywords[number] if keyword else values[number]
            leaves, tree = flatten(value)
            label = number if keyword else names[number] if number < len(names) else f"x{number}"
            tracers = []
            for leaf, path in zip(leaves, leaf_paths(tree, label), strict=True):
                node = _differentiable(leaf, path, function_name(f))
                like = (len(self.fresh), node.shape, node.dtype, path)
                own = direct and node.op is ARG and node.attrs[1:] == like
                variable = node if own else arg(*like)
                self.actual.append(node)
                self.fresh.append(variable)
                tracers.append(argument(variable, leaf))
            self.trees.append(tree)
            self.counts.append(len(leaves))
            if keyword:
                keywords[number] = tree.unflatten(tracers)
            else:
                values[number] = tree.unflatten(tracers)
        outs, check = apart(self._traced(tuple(values), keywords), checked())
        self.used = frozenset(toposort(outs)).intersection(self.fresh)
        name = function_name(f)
        with log.Stage("simplifying", "simplified", name) as stage:
            self.outs = ready(outs)
            stage.facts = lambda: f"{len(toposort(self.outs))} nodes"
        pairs = zip(self.fresh, self.actual, strict=True)
        self.back = {variable: node for variable, node in pairs if variable is not node}
        if check is not None:
            set_checks(substitute([check], self.back)[0])
        self.deriving = log.Stage("deriving", "derived", name).begin()  # until `close`

    def _traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Expr]:
        try:
            with log.Stage("tracing", "traced", function_name(self.f)) as stage:
                outs, self.out_tree = record(self.f, args, kwargs, named=self.named, again=True)
                stage.facts = lambda: f"{len(toposort(outs))} nodes"
                return outs
        except TraceError as error:  # what else it is given may be made static
            error.in_derivative = True
            error.taken_by += tuple(self.fresh)
            raise

    def split_aux(self, what: str) -> None:
        """Keep the second of (value, auxiliary) for `close_with_aux`; the first is the result."""
        parts = self.out_tree.unflatten(self.outs)
        if not isinstance(parts, tuple) or len(parts) != 2:
            raise StructureError(
                at_user_line(
                    f"{what}({function_name(self.f)}): has_aux=True needs a (value, aux) result"
                )
            )
        self.aux = flatten(parts[1])
        self.outs, self.out_tree = flatten(parts[0])

    def close_with_aux(self, exprs: Sequence[Expr]) -> tuple[list[Tracer], Any]:
        """`close`, and the auxiliary result, None if there is none."""
        if self.aux is None:
            return self.close(exprs), None
        leaves, tree = self.aux
        tracers = self.close([*exprs, *leaves])
        return tracers[: len(exprs)], tree.unflatten(tracers[len(exprs) :])

    def push(
        self, outs: Sequence[Expr], wrt: Sequence[Expr], tangents: Sequence[Expr | None]
    ) -> list[Expr | None]:
        """`modes.jvp`; with limits where roots vanish if the results are differentiated again."""
        return (pushed if self.again else modes.jvp)(outs, wrt, tangents)

    def vjp(
        self,
        outs: Sequence[Expr],
        wrt: Sequence[Expr],
        cotangents: Sequence[Expr | None],
        again: bool = False,
    ) -> list[Expr | None]:
        """`modes.vjp`; with limits where roots vanish if the results are differentiated again."""
        limits = with_limits if again or self.again else None
        return modes.vjp(outs, wrt, cotangents, limits=limits)

    def in_pieces(self) -> tuple[list[Expr], list[list[Piece]]]:
        """`outs` in terms of the pieces that are read of the variables, and the pieces of each."""
        outs, pieces = in_pieces(self.outs, self.fresh)
        flat = [p for parts in pieces for p in parts]
        views = substitute([p.view for p in flat], self.back)
        self.back = self.back | {p.variable: v for p, v in zip(flat, views, strict=True)}
        return outs, pieces

    def close(self, exprs: Sequence[Expr]) -> list[Tracer]:
        """Results in terms of the caller's values."""
        closed = substitute([*exprs, *self.named.values()], self.back)
        names = closed[len(exprs) :]
        del closed[len(exprs) :]
        note(dict(zip(self.named, names, strict=True)))
        self.deriving.facts = lambda: f"{len(toposort(closed))} nodes"
        self.deriving.end()
        return [Tracer(e) for e in closed]

    def pack(self, tracers: Sequence[Any]) -> Any:
        """One value per differentiated leaf, in the structure of the differentiated arguments."""
        result, start = [], 0
        for tree, count in zip(self.trees, self.counts, strict=True):
            result.append(tree.unflatten(tracers[start : start + count]))
            start += count
        return result[0] if self.single else tuple(result)


def ready(outs: Sequence[Expr]) -> list[Expr]:
    """`outs` in the form in which derivatives are taken: stable, smooth where it can be."""
    # Reverse mode has put limits in: those that are missed here are ones that nothing needs.
    return extended(simplified(extended(outs, signs=False, say=noted)), say=noted)


def _positions(
    f: Function, argnums: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Any], bool]:
    single = isinstance(argnums, (int, str))
    wanted = [argnums] if single else list(argnums)
    names = parameter_names(f)
    result: list[Any] = []
    for number in wanted:
        if isinstance(number, str):
            if number in kwargs:
                result.append(number)
                continue
            if number not in names or names.index(number) >= len(args):
                raise _mistaken(
                    f"{function_name(f)}: no argument named {number!r} in this call; "
                    f"it takes {list(names)}"
                )
            number = names.index(number)
        if not isinstance(number, int) or isinstance(number, bool):
            raise _mistaken(f"argnums must be integers or names, got {number!r}")
        if not -len(args) <= number < len(args):
            name = names[number] if 0 <= number < len(names) else None
            if name in kwargs:
                result.append(name)
                continue
            raise _mistaken(
                f"{function_name(f)}: argnums={number} but the call has {len(args)} positional "
                "arguments"
            )
        result.append(number % len(args))
    if len(set(result)) != len(result):
        raise _mistaken(f"{function_name(f)}: argnums={argnums!r} names an argument twice")
    return result, single


def _mistaken(message: str) -> StructureError:
    return StructureError(at_user_line(message))


def _differentiable(leaf: Any, path: str, name: str) -> Expr:
    if issubclass(type(leaf), int) and type(leaf) is not bool:
        try:
            leaf = float(leaf)  # grad(f)(3) means 3.0
        except OverflowError:
            raise DtypeError(
                at_user_line(f"{name}: {path}, an int of {leaf.bit_length()} bits, is no float")
            ) from None
    if not is_array(leaf):
        raise DifferentiationError(
            at_user_line(f"{name}: cannot differentiate with respect to {path}, "
                         f"a {type(leaf).__name__}")
        )  # fmt: skip
    node = as_expr(leaf)
    if node.dtype not in FLOATS:
        # A traced Python int arrives as int64 of shape (); it is taken as a float, as above.
        if node.shape == () and node.dtype in ("int32", "int64"):
            return bind("convert", node, attrs=("float64",))
        raise DifferentiationError(
            at_user_line(
                f"{name}: cannot differentiate with respect to {path} of dtype {node.dtype}; "
                f"pass a float array, for example {path}.astype(float)"
            )
        )
    return node


def scalar_out(inner: Inner, what: str) -> Expr:
    """The one float scalar that `what` needs. Raises DifferentiationError for anything else."""
    outs = inner.outs
    if len(outs) != 1 or outs[0].shape != () or outs[0].dtype not in FLOATS:
        got = ", ".join(f"{o.dtype}{list(o.shape)}" for o in outs) or "nothing"
        raise DifferentiationError(
            at_user_line(
                f"{what}({function_name(inner.f)}): the function must return one float scalar, got "
                f"{got}; use sg.jacobian, sg.vjp, or reduce the result, for example with np.sum"
            )
        )
    return outs[0]


def filled(values: Sequence[Expr | None], like: Sequence[Expr]) -> list[Expr]:
    """`values`, with zeros of the type of `like` for those that are absent."""
    return [v if v is not None else modes.zeros_like(w) for v, w in zip(values, like, strict=True)]
