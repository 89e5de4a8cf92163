"""Branches and loops said explicitly: cond, switch, while_loop, fori_loop, scan, map, checkpoint.

Named and defined as in `jax.lax`. With traced values each makes one node of the graph, however many
rounds there are: the function of a side or a round is called once, with values that stand for all.
What it captures of the function around it is handed in. With plain values everything runs as plain
Python.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.carry import Traced, carry_and_y, checked_carry, convert, fitted, stand_in
from symgrad.errors import (
    DtypeError,
    LoopLimitError,
    ShapeError,
    StructureError,
    UnsupportedError,
)
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import Expr, bind, const, iota
from symgrad.ops import control
from symgrad.ops.blocks import in_blocks
from symgrad.ops.control import Body
from symgrad.trace import (
    Tracer,
    as_expr,
    checked,
    function_name,
    is_tracing,
    set_checks,
    source,
    wrap,
)
from symgrad.trace.state import fail, site
from symgrad.trace.tracer import wrap_python
from symgrad.tree import TreeDef, flatten

Function = Callable[..., Any]


# ---- what is traced ---------------------------------------------------------------------------


def _is_traced(*values: Any) -> bool:
    """Whether a node has to be made: a value is traced, or captured ones may be."""
    return is_tracing() or any(isinstance(v, Tracer) for v in flatten(values)[0])


def _wrapped(tree: TreeDef, exprs: Sequence[Expr], where: Any) -> Any:
    for e in exprs:
        if e.op.kind is control.ITEM.kind and e.args[0].site is None:
            e.args[0].site = where
    return tree.unflatten([wrap(e) for e in exprs])


def _union(parts: Sequence[Sequence[Expr]]) -> list[Expr]:
    return list(dict.fromkeys(e for part in parts for e in part))


# ---- branches ---------------------------------------------------------------------------------


def cond(pred: Any, true_fun: Function, false_fun: Function, *operands: Any) -> Any:
    """`true_fun(*operands)` where `pred`, a scalar, holds, else `false_fun(*operands)`.

    Only the side that is taken is computed, in derivatives too. Both have to return the same
    structure and shapes; dtypes are promoted. A traced `pred` can be part of a batch (`vmap`).

    Raises
    ------
    StructureError, ShapeError
        The sides return different structures or shapes, or `pred` is no scalar.

    Examples
    --------
    >>> import symgrad as sg, numpy as np
    >>> f = lambda x: sg.cond(x > 0, lambda x: np.log(x), lambda x: 2 * x, x)
    >>> sg.grad(f)(4.0), sg.grad(f)(-4.0)
    (0.25, 2.0)
    """
    if not isinstance(pred, Tracer):
        return true_fun(*operands) if _truth(pred) else false_fun(*operands)
    holds = as_expr(pred)
    if holds.shape:
        raise fail(ShapeError, f"cond: the predicate is a scalar, got shape {holds.shape}; for "
                               "arrays write np.where")  # fmt: skip
    if holds.dtype != "bool":
        holds = bind("not_equal", holds, const(0, holds.dtype))
    index = bind("convert", holds, attrs=("int64",))
    return _switch("cond", index, [false_fun, true_fun], operands, site())


def switch(index: Any, branches: Sequence[Function], *operands: Any) -> Any:
    """`branches[index](*operands)`; an index below 0 means the first, one beyond the last the last.

    For the rest see `cond`.

    Examples
    --------
    >>> import symgrad as sg
    >>> sides = [lambda x: x, lambda x: x * x, lambda x: x**3]
    >>> sg.grad(lambda x: sg.switch(2, sides, x))(3.0)
    27.0
    """
    if not branches:
        raise fail(StructureError, "switch: there are no branches")
    if not isinstance(index, Tracer):
        return branches[min(max(int(index), 0), len(branches) - 1)](*operands)
    number = as_expr(index)
    if number.shape or number.dtype not in ("int32", "int64", "bool"):
        raise fail(DtypeError, f"switch: the index is an integer scalar, got "
                               f"{number.dtype}{list(number.shape)}")  # fmt: skip
    return _switch("switch", convert(number, "int64"), branches, operands, site())


def _truth(pred: Any) -> bool:
    if np.ndim(pred):
        raise fail(ShapeError, f"cond: the predicate is a scalar, got shape {np.shape(pred)}")
    return bool(pred)


def _switch(
    what: str,
    index: Expr,
    functions: Sequence[Function],
    operands: Any,
    where: Any,
    levels: int = 0,
) -> Any:
    """`levels` of blocks for the loops inside; 0 leaves them as they are."""
    sides = [Traced(f, operands) for f in functions]
    first = sides[0]
    for f, side in zip(functions, sides, strict=True):
        if side.tree != first.tree:
            raise fail(
                StructureError,
                f"{what}: the sides return different structures, {first.tree} of "
                f"{function_name(functions[0])} and {side.tree} of {function_name(f)}",
            )
        for k, (a, b) in enumerate(zip(first.outs, side.outs, strict=True)):
            if a.shape != b.shape:
                raise fail(
                    ShapeError,
                    f"{what}: result {k} has shape {a.shape} in {function_name(functions[0])} and "
                    f"{b.shape} in {function_name(f)}; the sides have to return equal shapes",
                )
    dtypes = [_promoted(column) for column in zip(*[s.outs for s in sides], strict=True)]
    captured = _union([s.captured() for s in sides])
    checks = any(s.check is not None for s in sides)
    bodies = [
        s.body(captured, checks, [convert(o, d) for o, d in zip(s.outs, dtypes, strict=True)])
        for s in sides
    ]  # fmt: skip
    if levels:
        bodies = [b.map(lambda outs: in_blocks(outs, levels)) for b in bodies]
    values = [*_before(checks), *(as_expr(v) for v in flatten(operands)[0])]
    made = control.switch(index, bodies, [*captured, *values])
    return _wrapped(first.tree, _behind(checks, made), where)


def _before(checks: bool) -> list[Expr]:
    """What has been checked, for bodies that check something."""
    return [checked()] if checks else []


def _behind(checks: bool, made: list[Expr]) -> list[Expr]:
    """The results without what has been checked, which is noted."""
    if not checks:
        return made
    set_checks(made[0])
    return made[1:]


def _promoted(nodes: Sequence[Expr]) -> str:
    return np.result_type(*[n.dtype for n in nodes]).name


# ---- loops ------------------------------------------------------------------------------------


def scan(
    f: Function,
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """One round ``carry, y = f(carry, x)`` for each row of `xs`: the last carry, and all y stacked.

    Parameters
    ----------
    f : called once while tracing, with values that stand for those of all rounds
    init : the first carry, any structure of arrays and numbers; `f` has to return the same
        structure and shapes. A dtype that grows, 0 to 0.5, is promoted; a Python number
        takes the dtype of what a round makes of it.
    xs : any structure of arrays with rows for the rounds, or None; then `length` says how many
    reverse : begin with the last row; row t of ys is of row t of `xs` all the same

    Raises
    ------
    StructureError, ShapeError, DtypeError
        The carry changes its structure, shape or kind; `xs` have different lengths.

    Examples
    --------
    >>> import symgrad as sg, numpy as np
    >>> sg.scan(lambda s, x: (s + x, s * x), 0.0, np.array([1.0, 2.0, 3.0]))
    (6.0, array([0., 2., 9.]))
    """
    rows, tree = flatten(xs)
    n = _length(rows, length)
    if not _is_traced(init, rows):
        return _plain_scan(f, init, rows, tree, n, reverse)
    return _traced_scan(f, init, rows, tree, n, reverse, site())


def _length(rows: Sequence[Any], length: int | None) -> int:
    found = {} if length is None else {length: "length="}
    for k, x in enumerate(rows):
        shape = np.shape(x) if not isinstance(x, Tracer) else x.shape
        if not shape:
            raise fail(ShapeError, f"scan: array {k} of xs is a scalar and has no rows")
        found.setdefault(shape[0], f"array {k}")
    if len(found) != 1:
        said = ", ".join(f"{n} ({who})" for n, who in found.items()) or "neither xs nor length="
        raise fail(ShapeError, f"scan: how many rounds? {said}")
    return next(iter(found))


def _plain_scan(
    f: Function, init: Any, rows: Sequence[Any], tree: TreeDef, n: int, reverse: bool
) -> tuple[Any, Any]:
    if n == 0:  # the structure of ys is known from a trace only
        carry, ys = _traced_scan(f, init, rows, tree, n, reverse, None)
        return tuple([_evaluated(part) for part in (carry, ys)])
    carry, made, alike = init, {}, checked_carry("scan", init)
    arrays = [np.asarray(x) for x in rows]
    for t in builtins.range(n)[:: -1 if reverse else 1]:
        carry, made[t] = carry_and_y(f, f(carry, tree.unflatten([x[t] for x in arrays])))
        alike(carry)
    leaves = [flatten(made[t]) for t in builtins.range(n)]
    stacked = [np.stack(column) for column in zip(*[part for part, _ in leaves], strict=True)]
    last, carried = flatten(carry)
    last = [v.item() if isinstance(v, np.generic) else v for v in last]
    return carried.unflatten(last), leaves[0][1].unflatten(stacked)


def _evaluated(value: Any) -> Any:
    leaves, tree = flatten(value)
    arrays = evaluate([as_expr(v) for v in leaves], {})
    return tree.unflatten([a if a.ndim else a.item() for a in arrays])


def _traced_scan(
    f: Function,
    init: Any,
    rows: Sequence[Any],
    tree: TreeDef,
    n: int,
    reverse: bool,
    where: Any,
) -> tuple[Any, Any]:
    given = [as_expr(x) for x in rows]
    row_types = [(x.shape[1:], x.dtype) for x in given]
    follow = source.start(f)

    def one(carry: Any, *x: Any) -> Any:
        made = follow(carry, tree.unflatten(x))
        return carry_and_y(f, made)

    start, traced, count = fitted("scan", one, init, row_types)
    carried = flatten(init)[1]
    pair = traced.tree.unflatten(builtins.range(len(traced.outs)))
    ys = flatten(pair[1])[1]
    captured = traced.captured()
    checks = traced.check is not None
    body, first = traced.body(captured, checks), [*_before(checks), *start]
    made = _behind(checks, control.scan(body, captured, first, given, n, reverse=reverse))
    return _wrapped(carried, made[:count], where), _wrapped(ys, made[count:], where)


def while_loop(
    cond_fun: Function, body_fun: Function, init_val: Any, *, max_steps: int | None = None
) -> Any:
    """``while cond_fun(value): value = body_fun(value)``, from `init_val` on: the last value.

    With `max_steps` a call that takes more rounds fails with LoopLimitError. Reverse mode keeps
    values of each round. Where `max_steps` does not say for how many there must be room, there is
    room for 10,000, and a function that needs more is compiled again with more, up to 1024 MiB
    (SYMGRAD_TAPE_MB in the environment). Exported C has the room that it was compiled with.

    Raises
    ------
    StructureError, ShapeError, DtypeError
        The value changes its structure, shape or kind; `cond_fun` returns no bool scalar.

    Examples
    --------
    >>> import symgrad as sg
    >>> def root(a):
    ...     return sg.while_loop(lambda x: abs(x * x - a) > 1e-12, lambda x: (x + a / x) / 2, a,
    ...                          max_steps=50)
    >>> round(sg.grad(root)(4.0), 9)
    0.25
    """
    if not _is_traced(init_val):
        value, rounds, alike = init_val, 0, checked_carry("while_loop", init_val)
        while _truth(cond_fun(value)):
            if rounds == max_steps:
                raise LoopLimitError(f"a while loop did not end within {rounds} rounds")
            value, rounds = alike(body_fun(value)), rounds + 1
        return value
    start, traced, count = fitted("while_loop", body_fun, init_val)
    tree = flatten(init_val)[1]
    leaves = [stand_in(v, s) for v, s in zip(flatten(init_val)[0], start, strict=True)]
    test = Traced(cond_fun, [tree.unflatten(leaves)], [(s.shape, s.dtype) for s in start])
    if len(test.outs) != 1 or test.outs[0].shape:
        raise fail(ShapeError, "while_loop: cond_fun has to return one bool scalar")
    (holds,) = test.outs
    if holds.dtype != "bool":
        raise fail(DtypeError, f"while_loop: cond_fun has to return a bool, got {holds.dtype}")
    if test.check is not None:
        raise fail(UnsupportedError, "while_loop: cond_fun raises or asserts something about a "
                                     "traced value; do that in body_fun")  # fmt: skip
    captured = _union([traced.captured(), test.captured()])
    checks = traced.check is not None
    arguments = [*captured, *([test.before] if checks else []), *test.arguments]
    body, first = traced.body(captured, checks), [*_before(checks), *start]
    made = control.while_loop(Body.close(arguments, test.outs), body, captured, first, max_steps)
    return _wrapped(tree, _behind(checks, made)[:count], site())


def fori_loop(
    lower: Any, upper: Any, body_fun: Function, init_val: Any, *, max_steps: int | None = None
) -> Any:
    """``for i in range(lower, upper): value = body_fun(i, value)``: the last value.

    As there, `i` is an int of Python's, beside which float32 stays float32. The bounds may be
    traced; then it is a `while_loop`, with `max_steps` as there.

    Examples
    --------
    >>> import symgrad as sg
    >>> sg.grad(lambda x: sg.fori_loop(0, 3, lambda i, s: s * x + i, 1.0))(2.0)
    13.0
    """
    follow = source.start(body_fun)
    if isinstance(lower, Tracer) or isinstance(upper, Tracer):
        bounds = [convert(as_expr(b), "int64") for b in (lower, upper)]
        last = wrap(bounds[1])
        _, value = while_loop(
            lambda state: state[0] < last,
            lambda state: (state[0] + 1, follow(*state)),
            (wrap_python(bounds[0]), init_val),
            max_steps=max_steps,
        )
        return value
    first, n = int(lower), max(int(upper) - int(lower), 0)
    if not _is_traced(init_val):
        value, alike = init_val, checked_carry("fori_loop", init_val)
        for i in builtins.range(first, first + n):
            value = alike(body_fun(i, value))
        return value
    numbers = wrap(iota(n) + const(first, "int64", (n,)))
    return scan(lambda value, i: (follow(wrap_python(i), value), None), init_val, numbers)[0]


def map(f: Function, xs: Any) -> Any:  # noqa: A001
    """`f` of each row of `xs`, stacked; `vmap` does the same for all rows at once.

    Examples
    --------
    >>> import symgrad as sg, numpy as np
    >>> sg.map(lambda x: x * x, np.array([1.0, 2.0]))
    array([1., 4.])
    """
    each = source.start(f) if _is_traced(xs) else f
    return scan(lambda carry, x: (carry, each(x)), (), xs)[1]


def checkpoint(f: Function, *, levels: int = 1) -> Function:
    """`f`, whose inner values a derivative computes again instead of keeping them.

    In the rounds of a loop: reverse mode then keeps nothing of a round but what `f` was given.

    Loops inside of `f`, those of plain Python included, are taken in blocks: of n rounds whose
    number is known, reverse mode keeps what each of √n blocks begins with, and the values of the
    block through which it goes back: O(√n) instead of O(n), for one more way forward. With
    `levels` blocks are in blocks again: O(n^(1 / (levels + 1))), for so many more ways forward.
    ``compile(grad(f)).cost()`` says how many bytes are kept.

    Raises
    ------
    ValueError
        `levels` is not a positive int.

    Examples
    --------
    >>> import symgrad as sg, numpy as np
    >>> def orbit(x):
    ...     for _ in range(10_000):
    ...         x = x + 1e-4 * np.sin(x)
    ...     return x
    >>> kept = [sg.compile(sg.grad(f), 1.0).cost().kept for f in (orbit, sg.checkpoint(orbit))]
    >>> kept[1] < kept[0] / 40
    True
    """
    if type(levels) is not int or levels < 1:
        raise ValueError(f"checkpoint: levels must be a positive int, got {levels!r}")

    def again(*args: Any, **kwargs: Any) -> Any:
        if not _is_traced(args, kwargs):
            return f(*args, **kwargs)
        leaves, tree = flatten((args, kwargs))
        follow = source.start(f)

        def flat(*values: Any) -> Any:
            inner, keywords = tree.unflatten(values)
            return follow(*inner, **keywords)

        return _switch("checkpoint", const(0, "int64"), [flat], tuple(leaves), site(), levels)

    again.__name__ = function_name(f)
    again.__doc__ = f.__doc__
    again.__wrapped__ = f  # type: ignore[attr-defined]
    return again
