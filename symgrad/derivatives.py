"""Derivatives as functions of functions: gradients, Jacobians, Hessians, products with vectors."""

from __future__ import annotations

import functools
import inspect as python_inspect
import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.diff import modes
from symgrad.diff.pieces import Piece, in_pieces
from symgrad.errors import (
    DifferentiationError,
    DtypeError,
    ShapeError,
    StructureError,
    SymgradWarning,
    at_user_line,
    warn,
)
from symgrad.expr.node import FLOATS, Expr, arg, bind, const, eye
from symgrad.expr.walk import substitute, toposort
from symgrad.forks import ForkSafeLock
from symgrad.ops.einsum import einsum
from symgrad.ops.linear import permute
from symgrad.signature import is_array, parameter_names
from symgrad.trace import (
    Tracer,
    as_expr,
    function_name,
    is_nested,
    is_python,
    python_number,
    record,
)
from symgrad.transform import Function, jit, simplified, transformed
from symgrad.tree import TreeDef, flatten, leaf_paths


class Inner:
    """One trace of `f` with fresh variables in place of the differentiated leaves."""

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
        values, keywords = list(args), dict(kwargs)
        for number in self.numbers:
            keyword = isinstance(number, str)
            value = keywords[number] if keyword else values[number]
            leaves, tree = flatten(value)
            label = number if keyword else names[number] if number < len(names) else f"x{number}"
            tracers = []
            for leaf, path in zip(leaves, leaf_paths(tree, label), strict=True):
                node = _differentiable(leaf, path, function_name(f))
                variable = arg(len(self.fresh), node.shape, node.dtype, path)
                self.actual.append(node)
                self.fresh.append(variable)
                python = is_python(leaf)
                tracers.append(
                    python_number(variable) if python else Tracer(variable, is_argument=True)
                )
            self.trees.append(tree)
            self.counts.append(len(leaves))
            if keyword:
                keywords[number] = tree.unflatten(tracers)
            else:
                values[number] = tree.unflatten(tracers)
        outs, self.out_tree = record(f, tuple(values), keywords)
        self.used = frozenset(toposort(outs)).intersection(self.fresh)
        self.outs = simplified(outs)
        self.back = dict(zip(self.fresh, self.actual, strict=True))

    def in_pieces(self) -> tuple[list[Expr], list[list[Piece]]]:
        """`outs` in terms of the pieces that are read of the variables, and the pieces of each."""
        outs, pieces = in_pieces(self.outs, self.fresh)
        flat = [p for parts in pieces for p in parts]
        views = substitute([p.view for p in flat], self.back)
        self.back = self.back | {p.variable: v for p, v in zip(flat, views, strict=True)}
        return outs, pieces

    def close(self, exprs: Sequence[Expr]) -> list[Tracer]:
        """Results in terms of the caller's values."""
        return [Tracer(e) for e in substitute(exprs, self.back)]

    def pack(self, tracers: Sequence[Any]) -> Any:
        """One value per differentiated leaf, in the structure of the differentiated arguments."""
        result, start = [], 0
        for tree, count in zip(self.trees, self.counts, strict=True):
            result.append(tree.unflatten(tracers[start : start + count]))
            start += count
        return result[0] if self.single else tuple(result)


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
                raise StructureError(
                    f"{function_name(f)}: no argument named {number!r} in this call; "
                    f"it takes {list(names)}"
                )
            number = names.index(number)
        if not isinstance(number, int) or isinstance(number, bool):
            raise StructureError(f"argnums must be integers or names, got {number!r}")
        if not -len(args) <= number < len(args):
            name = names[number] if 0 <= number < len(names) else None
            if name in kwargs:
                result.append(name)
                continue
            raise StructureError(
                f"{function_name(f)}: argnums={number} but the call has {len(args)} positional "
                "arguments"
            )
        result.append(number % len(args))
    return result, single


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


def value_and_grad(f: Function, argnums: Any = 0, has_aux: bool = False) -> Function:
    """A function that returns (f(...), gradient).

    Parameters
    ----------
    f : function with a float scalar result of shape ()
    argnums : position or name of the argument, or a tuple of them
    has_aux : `f` returns (value, auxiliary); the new function then returns
        ((value, auxiliary), gradient)

    Returns
    -------
    function
        Gradients have the structure, shapes and dtypes of the arguments; a tuple of them if
        `argnums` is one. Reverse mode: the cost is a small multiple of that of `f`, whatever the
        number of inputs (Griewank & Walther, Evaluating Derivatives, 2008, ch. 3).

    Raises
    ------
    DifferentiationError
        The result is not a float scalar; an argument is not a float; an op has no rule.
    """

    def impl(*args: Any, **kwargs: Any) -> Any:
        value, gradient, aux = _gradient(f, argnums, has_aux, args, kwargs, "value_and_grad")
        return ((value, aux), gradient) if has_aux else (value, gradient)

    return transformed(f, impl, "value_and_grad")


def grad(f: Function, argnums: Any = 0, has_aux: bool = False) -> Function:
    """A function that returns the gradient of `f`; see `value_and_grad`.

    With `has_aux`, it returns (gradient, auxiliary).

    Examples
    --------
    >>> import numpy as np, symgrad as sg
    >>> sg.grad(lambda x: np.sum(x**3))(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """

    def impl(*args: Any, **kwargs: Any) -> Any:
        _, gradient, aux = _gradient(f, argnums, has_aux, args, kwargs, "grad")
        return (gradient, aux) if has_aux else gradient

    return transformed(f, impl, "grad")


def _gradient(
    f: Function, argnums: Any, has_aux: bool, args: Any, kwargs: Any, what: str
) -> tuple[Any, Any, Any]:
    inner = Inner(f, argnums, args, kwargs)
    aux_tree: TreeDef | None = None
    aux: list[Expr] = []
    if has_aux:
        parts = inner.out_tree.unflatten(inner.outs)
        if not isinstance(parts, tuple) or len(parts) != 2:
            raise StructureError(
                at_user_line(
                    f"{what}({function_name(f)}): has_aux=True needs a (value, aux) result"
                )
            )
        aux, aux_tree = flatten(parts[1])
        inner.outs = flatten(parts[0])[0]
    out = scalar_out(inner, what)
    # In a derivative of a derivative independence is no mistake.
    if not is_nested() and not hasattr(f, "__symgrad_transformed__"):
        unused = [v.attrs[-1] for v in inner.fresh if v not in inner.used]
        if unused:
            warn(
                f"{what}({function_name(f)}): the function does not depend on "
                f"{', '.join(unused)}; that gradient is zero",
                SymgradWarning,
            )
    cotangents = modes.vjp([out], inner.fresh, [const(1, out.dtype)])
    gradients = _filled(cotangents, inner.fresh)
    tracers = inner.close([out, *gradients, *aux])
    n = 1 + len(gradients)
    packed_aux = aux_tree.unflatten(tracers[n:]) if aux_tree is not None else None
    return tracers[0], inner.pack(tracers[1:n]), packed_aux


def _filled(values: Sequence[Expr | None], like: Sequence[Expr]) -> list[Expr]:
    return [v if v is not None else modes.zeros_like(w) for v, w in zip(values, like, strict=True)]


def jacobian(f: Function, argnums: Any = 0) -> Function:
    """A function that returns the Jacobian of `f`, by the cheaper one of forward and reverse mode.

    The block for an output of shape s and an argument of shape t has shape s + t. For several
    outputs or arguments the result has the structure of the outputs, each leaf with the structure
    of the arguments. The seeds are identity tensors that contract away symbolically (Laue,
    Mitterreiter, Giesen, NeurIPS 2018), so no product with unit vectors is ever computed.
    """
    return _jacobian(f, argnums, "jacobian")


def jacfwd(f: Function, argnums: Any = 0) -> Function:
    """`jacobian` by forward mode."""
    return _jacobian(f, argnums, "jacfwd")


def jacrev(f: Function, argnums: Any = 0) -> Function:
    """`jacobian` by reverse mode."""
    return _jacobian(f, argnums, "jacrev")


def _jacobian(f: Function, argnums: Any, what: str) -> Function:
    def impl(*args: Any, **kwargs: Any) -> Any:
        inner = Inner(f, argnums, args, kwargs)
        for o in inner.outs:
            if o.dtype not in FLOATS:
                raise DifferentiationError(
                    at_user_line(f"{what}({function_name(f)}): a result has dtype {o.dtype}")
                )
        ins = sum(v.size for v in inner.fresh)
        results = sum(o.size for o in inner.outs)
        forward = what == "jacfwd" or (what == "jacobian" and ins <= results)
        blocks = (_forward_blocks if forward else _reverse_blocks)(inner)
        n = len(inner.fresh)
        tracers = inner.close([b for row in blocks for b in row])
        rows = [inner.pack(tracers[k * n : (k + 1) * n]) for k in range(len(inner.outs))]
        return inner.out_tree.unflatten(rows)

    return transformed(f, impl, what)


def _delta(shape: tuple[int, ...], dtype: str) -> Expr:
    """Identity tensor of shape + shape: one Kronecker delta per axis."""
    if not shape:
        return const(1, dtype)
    n = len(shape)
    labels = [(i, n + i) for i in range(n)]
    return einsum([eye(k, dtype) for k in shape], labels, tuple(range(2 * n)))


def _seeded(out: Expr, seed: Expr) -> Expr:
    """`out`, linear in the node `seed`, for all unit tensors as `seed`: its axes come first."""
    return modes.map_linear(out, seed, _delta(seed.shape, seed.dtype))


def _forward_blocks(inner: Inner) -> list[list[Expr]]:
    outs, pieces = inner.in_pieces()
    blocks: list[list[Expr]] = [[] for _ in outs]
    for variable, parts in zip(inner.fresh, pieces, strict=True):
        columns = [_columns(outs, piece) for piece in parts]
        for row, out, found in zip(blocks, outs, zip(*columns, strict=True), strict=True):
            row.append(_total(found, (*out.shape, *variable.shape), out.dtype))
    return blocks


def _columns(outs: Sequence[Expr], piece: Piece) -> list[Expr | None]:
    """The derivatives of `outs` in one piece, as columns of those in the whole."""
    seed = arg(0, piece.variable.shape, piece.variable.dtype)
    result: list[Expr | None] = []
    for tangent in modes.jvp(outs, [piece.variable], [seed]):
        full = None if tangent is None else _seeded(tangent, seed)
        result.append(None if full is None else piece.back(_seed_last(full, seed.ndim)))
    return result


def _seed_last(full: Expr, ndim: int) -> Expr:
    return permute(full, (*range(ndim, full.ndim), *range(ndim)))


def _total(blocks: Sequence[Expr | None], shape: tuple[int, ...], dtype: str) -> Expr:
    """The sum of those that there are."""
    present = [b for b in blocks if b is not None]
    return functools.reduce(operator.add, present) if present else const(0, dtype, shape)


def _reverse_blocks(inner: Inner) -> list[list[Expr]]:
    blocks = []
    for out in inner.outs:
        seed = arg(0, out.shape, out.dtype)
        cotangents = modes.vjp([out], inner.fresh, [seed])
        blocks.append([
            const(0, v.dtype, (*out.shape, *v.shape)) if c is None else _seeded(c, seed)
            for c, v in zip(cotangents, inner.fresh, strict=True)
        ])  # fmt: skip
    return blocks


def hessian(f: Function, argnums: Any = 0) -> Function:
    """A function that returns the Hessian of a scalar `f`: forward over reverse mode.

    For one array argument of shape t the result has shape t + t; for several, or for nested
    arguments, the structure of the arguments within itself. Of two blocks that are each other's
    transpose one is computed.
    """

    def impl(*args: Any, **kwargs: Any) -> Any:
        inner = Inner(f, argnums, args, kwargs)
        scalar_out(inner, "hessian")
        tracers = inner.close(_hessian_blocks(inner))
        n = len(inner.fresh)
        return inner.pack([inner.pack(tracers[k * n : (k + 1) * n]) for k in range(n)])

    return transformed(f, impl, "hessian")


def _hessian_blocks(inner: Inner) -> list[Expr]:
    """Second derivatives for all pairs of variables."""
    (out,), pieces = inner.in_pieces()
    flat = [piece for parts in pieces for piece in parts]
    variables = [piece.variable for piece in flat]
    cotangents = modes.vjp([out], variables, [const(1, out.dtype)])
    gradient = simplified(_filled(cotangents, variables))
    pairs: dict[tuple[Piece, Piece], Expr] = {}
    # The smaller piece is pushed forward, the larger one's gradient is read.
    order = sorted(range(len(flat)), key=lambda k: flat[k].variable.size)
    for place, k in enumerate(order):
        seed = arg(0, flat[k].variable.shape, flat[k].variable.dtype)
        rows = order[place:]
        tangents = modes.jvp([gradient[r] for r in rows], [flat[k].variable], [seed])
        for r, tangent in zip(rows, tangents, strict=True):
            if tangent is not None:
                first = _seeded(tangent, seed)
                pairs[flat[k], flat[r]] = first
                if r != k:
                    other = _seed_last(first, seed.ndim)
                    pairs[flat[r], flat[k]] = bind("convert", other, attrs=(seed.dtype,))
    return [
        _assembled(pairs, left, right, (*v.shape, *w.shape), v.dtype)
        for v, left in zip(inner.fresh, pieces, strict=True)
        for w, right in zip(inner.fresh, pieces, strict=True)
    ]


def _assembled(
    pairs: dict[tuple[Piece, Piece], Expr],
    left: Sequence[Piece],
    right: Sequence[Piece],
    shape: tuple[int, ...],
    dtype: str,
) -> Expr:
    """The second derivative in two wholes, from those in their pieces."""
    columns: list[Expr | None] = []
    for p in right:
        rows = [q.back(pairs[p, q]) for q in left if (p, q) in pairs]
        if rows:
            whole = functools.reduce(operator.add, rows)
            columns.append(p.back(_seed_last(whole, p.variable.ndim)))
    return _total(columns, shape, dtype)


def jvp(f: Function, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """(f(*primals), directional derivative along tangents): jvp : (a → b) → a → T a → T b.

    Parameters
    ----------
    primals, tangents : tuples of arguments of equal structure and shapes; a single array stands
        for a tuple of one

    Raises
    ------
    StructureError, ShapeError, DtypeError if tangents do not fit the primals.
    """
    return _immediate(f, "jvp", _jvp_impl)(_tuple(primals), _tuple(tangents))


def vjp(f: Function, *primals: Any) -> tuple[Any, Function]:
    """(f(*primals), pullback): vjp : (a → b) → a → (b, T*b → T*a).

    The pullback takes a cotangent of the structure of the result and returns a tuple with one
    cotangent per primal.
    """
    out = jit_of(f)(*primals)
    pull = _immediate(f, "vjp", _vjp_impl)

    def pullback(cotangent: Any) -> Any:
        return pull(primals, cotangent)

    return out, pullback


def hvp(f: Function, x: Any, v: Any) -> Any:
    """Hessian of the scalar function `f` at `x` times `v`, forward over reverse; x's structure."""
    return jvp(_immediate(f, "grad", lambda g: grad(g)), (x,), (v,))[1]


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


_immediates: weakref.WeakKeyDictionary[Function, dict[str, Function]] = weakref.WeakKeyDictionary()
_immediates_lock = ForkSafeLock()


def _immediate(f: Function, label: str, make: Callable[[Function], Function]) -> Function:
    """A transformed version of `f`, kept as long as `f` lives."""
    try:
        with _immediates_lock.held():
            table = _immediates.setdefault(f, {})
    except TypeError:  # cannot be referenced weakly: a builtin, some callables
        return make(f)
    if label not in table:
        table[label] = make(_Weak(f))
    return table[label]


class _Weak:
    """Calls a function without keeping it alive: the table above must not hold its own keys."""

    def __init__(self, f: Function) -> None:
        self._f = weakref.ref(f)
        functools.update_wrapper(self, f, updated=())
        del self.__dict__["__wrapped__"]  # that would be a strong reference

    @property
    def __signature__(self) -> Any:
        f = self._f()
        if f is None:
            raise AttributeError("the function is gone")
        return python_inspect.signature(f)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        f = self._f()
        if f is None:
            raise StructureError("the function that this derivative belongs to no longer exists")
        return f(*args, **kwargs)


def jit_of(f: Function) -> Function:
    """The compiled version of `f` itself that `vjp` shares between calls."""
    return _immediate(f, "jit", jit)


def _jvp_impl(f: Function) -> Function:
    def impl(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
        inner = Inner(f, tuple(range(len(primals))), primals, {})
        given = _matching(tangents, primals, inner.fresh, "tangent", function_name(f))
        pushed = modes.jvp(inner.outs, inner.fresh, given)
        tracers = inner.close([*inner.outs, *_filled(pushed, inner.outs)])
        n = len(inner.outs)
        return inner.out_tree.unflatten(tracers[:n]), inner.out_tree.unflatten(tracers[n:])

    return transformed(f, impl, "jvp")


def _vjp_impl(f: Function) -> Function:
    def impl(primals: tuple[Any, ...], cotangent: Any) -> Any:
        inner = Inner(f, tuple(range(len(primals))), primals, {})
        structure = inner.out_tree.unflatten(inner.outs)
        given = _matching(cotangent, structure, inner.outs, "cotangent", function_name(f))
        pulled = modes.vjp(inner.outs, inner.fresh, given)
        return inner.pack(inner.close(_filled(pulled, inner.fresh)))

    return transformed(f, impl, "vjp")


def _matching(values: Any, primals: Any, nodes: Sequence[Expr], what: str, name: str) -> list[Expr]:
    leaves, tree = flatten(values)
    expected = flatten(primals)[1]
    if tree != expected:
        raise StructureError(f"{name}: {what}s have structure {tree}, expected {expected}")
    result = []
    for leaf, node in zip(leaves, nodes, strict=True):
        value = as_expr(leaf)
        if value.shape != node.shape:
            raise ShapeError(f"{name}: a {what} has shape {value.shape}, expected {node.shape}")
        if value.dtype != node.dtype:
            if value.shape == () and node.dtype in FLOATS and not isinstance(leaf, np.ndarray):
                value = bind("convert", value, attrs=(node.dtype,))
            else:
                raise DtypeError(f"{name}: a {what} has dtype {value.dtype}, expected {node.dtype}")
        result.append(value)
    return result
