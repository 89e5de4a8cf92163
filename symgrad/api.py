"""The public transformations: trace ∘ differentiate ∘ simplify ∘ lower ∘ emit ∘ build.

Every transformation is written once, on traced values (`impl` below). Called with traced values it
records into the trace that is running, which is why transformations nest in any order; called with
arrays it traces itself, compiles at the first call for a given structure, shapes and dtypes, and
keeps the result in memory; the C compiler's output is also kept on disk.
"""

from __future__ import annotations

import contextvars
import functools
import inspect as python_inspect
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.compiled import Compiled, parameter_names
from symgrad.diff import modes
from symgrad.errors import (
    DifferentiationError,
    DtypeError,
    ShapeError,
    StructureError,
    at_user_line,
)
from symgrad.expr.node import FLOATS, Expr, arg, bind, const, eye
from symgrad.expr.walk import substitute
from symgrad.graph import Graph
from symgrad.names import c_identifier
from symgrad.ops.einsum import einsum
from symgrad.ops.linear import permute
from symgrad.simplify import simplify
from symgrad.specs import Spec
from symgrad.trace import Tracer, as_expr, function_name, is_tracing, record
from symgrad.tree import TreeDef, flatten, leaf_paths

Function = Callable[..., Any]

# Rewrites that a trace applies before it differentiates, for `explain()`; one table per trace.
_FIRED: contextvars.ContextVar[dict[str, int] | None] = contextvars.ContextVar("fired", default=None)


def _simplified(outs: Sequence[Expr]) -> list[Expr]:
    """`outs` simplified, with the rules that fired noted for the trace that is running."""
    result = simplify(outs)
    table = _FIRED.get()
    if table is not None:
        for rule, count in result.fired.items():
            table[rule] = table.get(rule, 0) + count
    return result.outs


# ---- tracing ---------------------------------------------------------------------------------


def _is_spec(value: Any) -> bool:
    return isinstance(value, Spec)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (Tracer, np.ndarray, np.generic, float, int, bool))


def trace(f: Function, *args: Any, **kwargs: Any) -> Graph:
    """The graph of `f` for arguments of the given types.

    Parameters
    ----------
    f : function written with NumPy
    args, kwargs : specs such as ``sg.f64[3, 4]``, or example arrays and numbers, nested in dicts,
        lists, tuples, namedtuples, dataclasses. Anything else is a fixed value.

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
    leaves, tree = flatten((args, kwargs), is_leaf=_is_spec)
    paths = _argument_paths(f, tree)
    nodes: list[Expr] = []
    names: list[str] = []
    statics: list[tuple[int, Any]] = []
    values: list[Any] = []
    for position, (leaf, path) in enumerate(zip(leaves, paths, strict=True)):
        if isinstance(leaf, Spec) or _is_array(leaf):
            spec = leaf if isinstance(leaf, Spec) else Spec.of(leaf)
            node = arg(len(nodes), spec.shape, spec.dtype, path)
            nodes.append(node)
            names.append(path)
            values.append(Tracer(node, is_argument=True))
        else:
            _hashable(leaf, path)
            statics.append((position, leaf))
            values.append(leaf)
    call_args, call_kwargs = tree.unflatten(values)
    fired: dict[str, int] = {}
    token = _FIRED.set(fired)
    try:
        outs, out_tree = record(f, call_args, call_kwargs)
    finally:
        _FIRED.reset(token)
    name = function_name(f)
    return Graph(name, tuple(nodes), tuple(outs), tree, out_tree, tuple(names),
                 tuple(leaf_paths(out_tree, "out")), tuple(statics), fired)  # fmt: skip


def _argument_paths(f: Function, tree: TreeDef) -> list[str]:
    """How the user would write each leaf of (args, kwargs)."""
    names = parameter_names(f)
    result = []
    for path in leaf_paths(tree, ""):  # "[0][2]…" for positional, '[1]["k"]…' for keywords
        if path.startswith("[0]["):
            number, _, rest = path[4:].partition("]")
            position = int(number)
            name = names[position] if position < len(names) else f"x{position}"
        else:
            key, _, rest = path[3:].removeprefix('["').partition('"]')
            name = key
        result.append(name + rest)
    return result


def _hashable(leaf: Any, path: str) -> None:
    try:
        hash(leaf)
    except TypeError:
        raise StructureError(
            f"argument {path}: {type(leaf).__name__} is neither an array, a number nor a fixed "
            "(hashable) value"
        ) from None


def compile(f: Function, *specs_or_examples: Any, name: str | None = None, **kwargs: Any) -> Compiled:  # noqa: A001
    """Compile `f` ahead of time for arguments of the given types.

    Parameters
    ----------
    f : function written with NumPy, or one made by `grad`, `hessian`, …
    specs_or_examples : as in `trace`
    name : C name of the function; default the Python name, made safe

    Returns
    -------
    Compiled
        With ``.c_source``, ``.c_header``, ``.graph``, ``.cost()``, ``.export(directory)``; called
        with NumPy arrays, ``out=`` for preallocated results.

    Raises
    ------
    TraceError, BuildError (see `symgrad.errors`); UnsafeNameError for a hostile `name`.
    """
    ahead = getattr(f, "__symgrad_compile__", None)  # sparse derivatives: more than one graph
    if ahead is not None:
        return ahead(*specs_or_examples, name=name, **kwargs)
    graph = trace(f, *specs_or_examples, **kwargs)
    if name is not None:
        graph = graph._with(graph.outs, name=c_identifier(name, what="name"))
    compiled = Compiled(graph.simplify())
    compiled.parameters = parameter_names(f)  # type: ignore[attr-defined]
    return compiled


# ---- compiling at the first call ---------------------------------------------------------------


class _Dispatcher:
    """Compiled versions of one function, by structure, shapes and dtypes of the arguments."""

    def __init__(self, f: Function) -> None:
        self.f = f
        self.compiled: dict[Any, Compiled] = {}
        self.lock = threading.RLock()

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        leaves, tree = flatten((args, kwargs))
        key = (tree, tuple([_leaf_key(leaf) for leaf in leaves]))
        try:
            compiled = self.compiled.get(key)
        except TypeError:
            for leaf, path in zip(leaves, _argument_paths(self.f, tree), strict=True):
                _hashable(leaf if not _is_array(leaf) else None, path)
            raise
        if compiled is None:
            with self.lock:
                compiled = self.compiled.get(key)
                if compiled is None:
                    compiled = Compiled(trace(self.f, *args, **kwargs).simplify())
                    self.compiled[key] = compiled
        return compiled.graph.finish(compiled.call_flat([x for x in leaves if _is_array(x)]))


def _leaf_key(leaf: Any) -> Any:
    if type(leaf) is np.ndarray:
        return leaf.dtype, leaf.shape
    if isinstance(leaf, (np.generic, float, int, bool)):
        return Spec.of(leaf)
    return type(leaf), leaf


def _transformed(f: Function, impl: Function, label: str) -> Function:
    """`impl` as a plain function: inlined under a trace, compiled on arrays."""
    dispatcher = _Dispatcher(impl)

    @functools.wraps(f, updated=())
    def transformed(*args: Any, **kwargs: Any) -> Any:
        # Under a trace even a call with plain numbers is recorded: `f` may close over traced values.
        if is_tracing():
            return impl(*args, **kwargs)
        return dispatcher(args, kwargs)

    name = function_name(f)
    for function in (transformed, impl):
        function.__name__ = f"{label}_{name}" if label else name
        function.__doc__ = f"{label} of {name}, by symgrad." if label else f.__doc__
        function.__wrapped__ = f  # type: ignore[attr-defined]
    return transformed


def jit(f: Function) -> Function:
    """`f` compiled at its first call for given structure, shapes and dtypes.

    Scalar results come back as Python numbers, arrays as fresh NumPy arrays.
    """

    def impl(*args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs)

    return _transformed(f, impl, "")


# ---- derivatives -------------------------------------------------------------------------------


class _Inner:
    """One trace of `f` with fresh variables in place of the differentiated leaves."""

    def __init__(self, f: Function, argnums: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
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
                tracers.append(Tracer(variable, is_argument=True))
            self.trees.append(tree)
            self.counts.append(len(leaves))
            if keyword:
                keywords[number] = tree.unflatten(tracers)
            else:
                values[number] = tree.unflatten(tracers)
        outs, self.out_tree = record(f, tuple(values), keywords)
        self.outs = _simplified(outs)

    def close(self, exprs: Sequence[Expr]) -> list[Tracer]:
        """Results in terms of the caller's values."""
        back = dict(zip(self.fresh, self.actual, strict=True))
        return [Tracer(e) for e in substitute(exprs, back)]

    def pack(self, tracers: Sequence[Any]) -> Any:
        """One value per differentiated leaf, in the structure of the differentiated arguments."""
        result, start = [], 0
        for tree, count in zip(self.trees, self.counts, strict=True):
            result.append(tree.unflatten(tracers[start : start + count]))
            start += count
        return result[0] if self.single else tuple(result)


def _positions(f: Function, argnums: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], bool]:
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
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        leaf = float(leaf)  # grad(f)(3) means 3.0
    if not _is_array(leaf):
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


def _scalar_out(inner: _Inner, what: str) -> Expr:
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

    return _transformed(f, impl, "value_and_grad")


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

    return _transformed(f, impl, "grad")


def _gradient(
    f: Function, argnums: Any, has_aux: bool, args: Any, kwargs: Any, what: str
) -> tuple[Any, Any, Any]:
    inner = _Inner(f, argnums, args, kwargs)
    aux_tree: TreeDef | None = None
    aux: list[Expr] = []
    if has_aux:
        parts = inner.out_tree.unflatten(inner.outs)
        if not isinstance(parts, tuple) or len(parts) != 2:
            raise StructureError(
                at_user_line(f"{what}({function_name(f)}): has_aux=True needs a (value, aux) result")
            )
        aux, aux_tree = flatten(parts[1])
        inner.outs = flatten(parts[0])[0]
    out = _scalar_out(inner, what)
    cotangents = modes.vjp([out], inner.fresh, [const(1, out.dtype)])
    gradients = _filled(cotangents, inner.fresh)
    tracers = inner.close([out, *gradients, *aux])
    n = 1 + len(gradients)
    packed_aux = aux_tree.unflatten(tracers[n:]) if aux_tree is not None else None
    return tracers[0], inner.pack(tracers[1:n]), packed_aux


def _filled(values: Sequence[Expr | None], like: Sequence[Expr]) -> list[Expr]:
    return [v if v is not None else modes.zeros_like(w) for v, w in zip(values, like, strict=True)]


def jacobian(f: Function, argnums: Any = 0) -> Function:
    """A function that returns the Jacobian of `f`, by forward or reverse mode, whichever is cheaper.

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
        inner = _Inner(f, argnums, args, kwargs)
        for o in inner.outs:
            if o.dtype not in FLOATS:
                raise DifferentiationError(
                    at_user_line(f"{what}({function_name(f)}): a result has dtype {o.dtype}")
                )
        ins = sum(v.size for v in inner.fresh)
        forward = what == "jacfwd" or (what == "jacobian" and ins <= sum(o.size for o in inner.outs))
        blocks = (_forward_blocks if forward else _reverse_blocks)(inner)
        n = len(inner.fresh)
        tracers = inner.close([b for row in blocks for b in row])
        rows = [inner.pack(tracers[k * n : (k + 1) * n]) for k in range(len(inner.outs))]
        return inner.out_tree.unflatten(rows)

    return _transformed(f, impl, what)


def _delta(shape: tuple[int, ...], dtype: str) -> Expr:
    """Identity tensor of shape + shape: one Kronecker delta per axis."""
    if not shape:
        return const(1, dtype)
    n = len(shape)
    return einsum([eye(k, dtype) for k in shape], [(i, n + i) for i in range(n)], tuple(range(2 * n)))


def _seeded(out: Expr, seed: Expr) -> Expr:
    """`out`, linear in the node `seed`, with `seed` replaced by all unit tensors: seed axes first.

    vmap once per axis, so that every axis keeps its own delta.
    """
    variable, exprs = seed, [out]
    for n in reversed(seed.shape):
        wider = arg(0, (n, *variable.shape), seed.dtype)
        exprs = modes.vmap(exprs, {variable: wider}, n)
        variable = wider
    return substitute(exprs, {variable: _delta(seed.shape, seed.dtype)})[0]


def _forward_blocks(inner: _Inner) -> list[list[Expr]]:
    blocks: list[list[Expr]] = [[] for _ in inner.outs]
    for variable in inner.fresh:
        seed = arg(0, variable.shape, variable.dtype)
        tangents = modes.jvp(inner.outs, [variable], [seed])
        for row, out, tangent in zip(blocks, inner.outs, tangents, strict=True):
            shape = (*out.shape, *variable.shape)
            if tangent is None:
                row.append(const(0, out.dtype, shape))
                continue
            k = variable.ndim
            full = _seeded(tangent, seed)
            row.append(permute(full, (*range(k, k + out.ndim), *range(k))))
    return blocks


def _reverse_blocks(inner: _Inner) -> list[list[Expr]]:
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
    arguments, the structure of the arguments within itself.
    """
    return jacfwd(grad(f, argnums), argnums)


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
_immediates_lock = threading.Lock()


def _immediate(f: Function, label: str, make: Callable[[Function], Function]) -> Function:
    """A transformed version of `f`, kept as long as `f` lives."""
    try:
        with _immediates_lock:
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
        del self.__wrapped__  # that would be a strong reference

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
        inner = _Inner(f, tuple(range(len(primals))), primals, {})
        given = _matching(tangents, primals, inner.fresh, "tangent", function_name(f))
        pushed = modes.jvp(inner.outs, inner.fresh, given)
        tracers = inner.close([*inner.outs, *_filled(pushed, inner.outs)])
        n = len(inner.outs)
        return inner.out_tree.unflatten(tracers[:n]), inner.out_tree.unflatten(tracers[n:])

    return _transformed(f, impl, "jvp")


def _vjp_impl(f: Function) -> Function:
    def impl(primals: tuple[Any, ...], cotangent: Any) -> Any:
        inner = _Inner(f, tuple(range(len(primals))), primals, {})
        structure = inner.out_tree.unflatten(inner.outs)
        given = _matching(cotangent, structure, inner.outs, "cotangent", function_name(f))
        pulled = modes.vjp(inner.outs, inner.fresh, given)
        return inner.pack(inner.close(_filled(pulled, inner.fresh)))

    return _transformed(f, impl, "vjp")


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


# ---- vectorisation -----------------------------------------------------------------------------


def vmap(f: Function, in_axes: Any = 0, out_axes: Any = 0) -> Function:
    """`f` applied along an axis of its arguments, as one graph: vmap : (a → b) → [a] → [b].

    Parameters
    ----------
    in_axes : axis that is mapped over, None for an argument that is shared; one for all arguments
        or a tuple with one per argument (it then holds for every leaf of that argument)
    out_axes : axis of every result that holds the examples

    Raises
    ------
    ShapeError if the mapped axes have different sizes or nothing is mapped.
    """

    def impl(*args: Any, **kwargs: Any) -> Any:
        axes = list(in_axes) if isinstance(in_axes, (tuple, list)) else [in_axes] * len(args)
        if len(axes) != len(args):
            raise StructureError(f"vmap: {len(axes)} in_axes for {len(args)} arguments")
        axes += [0] * len(kwargs)
        batched: dict[Expr, Expr] = {}
        size: int | None = None
        values = []
        for value, axis in zip((*args, *kwargs.values()), axes, strict=True):
            leaves, tree = flatten(value)
            if axis is None:
                values.append(value)
                continue
            tracers = []
            for leaf in leaves:
                node = as_expr(leaf)
                if not -node.ndim <= axis < node.ndim:
                    raise ShapeError(f"vmap: axis {axis} of an argument of shape {node.shape}")
                at = axis % node.ndim
                if size is None:
                    size = node.shape[at]
                elif node.shape[at] != size:
                    raise ShapeError(f"vmap: mapped axes have sizes {size} and {node.shape[at]}")
                moved = permute(node, (at, *(k for k in range(node.ndim) if k != at)))
                example = arg(len(batched), moved.shape[1:], node.dtype)
                batched[example] = moved
                tracers.append(Tracer(example, is_argument=True))
            values.append(tree.unflatten(tracers))
        if size is None:
            raise ShapeError("vmap: nothing to map over; every in_axes is None")
        outs, tree = record(f, tuple(values[: len(args)]), dict(zip(kwargs, values[len(args) :], strict=True)))
        results = []
        for out in modes.vmap(_simplified(outs), batched, size):
            at = out_axes % out.ndim
            order = [*range(1, out.ndim)]
            order.insert(at, 0)
            results.append(Tracer(permute(out, tuple(order))))
        return tree.unflatten(results)

    return _transformed(f, impl, "vmap")


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
