"""Random numbers that are functions of a key, as in jax.random: the same numbers in every call.

A key is an int64 array of two words of 32 bits. It is an argument or a constant of a traced
function; whoever wants other numbers passes another key:

>>> from symgrad import random
>>> key, now = random.split(random.key(0))
>>> [round(float(x), 3) for x in random.normal(now, (2,))]
[-1.401, 1.432]

The bits are those of Threefry-2x32 (Salmon et al. 2011), element k of a result being made of the
block of counter k: `key`, `split`, `fold_in`, `bits`, `uniform`, `randint` and `bernoulli` give
what jax.random gives with jax_threefry_partitionable, its default, and 64 bits. These and `normal`
have the same bits in NumPy, in compiled C and in exported C (without contraction of a * b + c, see
-ffp-contract); what goes through a logarithm or a tangent can differ in the last digit. Keys have
no derivative. Locations and scales have: mean + scale * random.normal(key, shape).
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError, UnsupportedError
from symgrad.expr.node import FLOATS, Expr, bind, const, iota
from symgrad.ops.linear import broadcast_to, concat, reshape, slice_
from symgrad.ops.sorting import argsort
from symgrad.trace import SUPPORTED, Tracer, as_expr, give, wrap
from symgrad.trace.registry import dtype_name
from symgrad.trace.search_api import search
from symgrad.trace.state import fail

__all__ = [
    "PRNGKey", "bernoulli", "bits", "categorical", "cauchy", "choice", "exponential", "fold_in",
    "gumbel", "key", "laplace", "logistic", "multivariate_normal", "normal", "permutation",
    "rademacher", "randint", "split", "truncated_normal", "uniform",
]  # fmt: skip

_WORD = 2**32


# ---- keys ------------------------------------------------------------------------------------


def key(seed: Any) -> Any:
    """The key of an integer, its upper and its lower 32 bits.

    Raises
    ------
    DtypeError
        The seed is no integer of 64 bits.
    ShapeError
        It is no scalar.
    """
    if isinstance(seed, int) and not -(2**63) <= seed < 2**63:
        raise fail(DtypeError, f"random.key: the seed {seed} does not fit into 64 bits")
    e = _integer("random.key", seed)
    if e.shape:
        raise fail(ShapeError, f"random.key: the seed must be a scalar, got shape {e.shape}")
    return give(_pair(e), seed)


PRNGKey = key


def split(key: Any, num: int | tuple[int, ...] = 2) -> Any:
    """`num` new keys, along the first axis, that have nothing to do with each other or `key`."""
    shape = _shape("random.split", num)
    block = _bits(_key("random.split", key), shape)
    return give(_pair(block), key)


def fold_in(key: Any, data: Any) -> Any:
    """A new key of a key and an integer, of which the lower 32 bits count; a number of a step."""
    k = _key("random.fold_in", key)
    e = _integer("random.fold_in", data)
    if e.shape:
        raise fail(ShapeError, f"random.fold_in: a scalar is needed, got shape {e.shape}")
    return give(_pair(_block(k, _low(e))), key, data)


def _key(what: str, key: Any) -> Expr:
    if not isinstance(key, (Tracer, Expr)):
        key = np.asarray(key)
        if key.dtype == np.uint32:  # the words of a key of JAX
            key = key.astype(np.int64)
    e = as_expr(key)
    if e.shape != (2,) or e.dtype not in ("int32", "int64"):
        raise fail(
            ShapeError if e.shape != (2,) else DtypeError,
            f"{what}: a key is an int64 array of shape (2,), as random.key(seed) gives it; got "
            f"{e.dtype} of shape {e.shape}. For several keys write vmap, or a loop",
        )
    return bind("convert", e, attrs=("int64",))


def _integer(what: str, value: Any) -> Expr:
    e = as_expr(value)
    if e.dtype in FLOATS:
        raise fail(DtypeError, f"{what}: an integer is needed, got {e.dtype}")
    return bind("convert", e, attrs=("int64",))


def _like(value: int, x: Expr) -> Expr:
    return const(value, "int64", x.shape)


def _low(x: Expr) -> Expr:
    return bind("mod", x, _like(_WORD, x))


def _high(x: Expr) -> Expr:
    return _low(bind("floor_divide", x, _like(_WORD, x)))


def _pair(bits: Expr) -> Expr:
    """The words of integers along a new last axis."""
    wide = (*bits.shape, 1)
    return concat([reshape(_high(bits), wide), reshape(_low(bits), wide)], bits.ndim)


# ---- bits ------------------------------------------------------------------------------------


def _block(key: Expr, counter: Expr) -> Expr:
    words = (reshape(slice_(key, (k,), (1,), (1,)), ()) for k in (0, 1))
    return bind("threefry", *(broadcast_to(w, counter.shape) for w in words), counter)


def _shape(what: str, shape: Any) -> tuple[int, ...]:
    """`shape` as a tuple; it must be known while tracing."""
    given = shape if isinstance(shape, (tuple, list)) else (shape,)
    sizes = tuple(operator.index(n) for n in given)
    if any(n < 0 for n in sizes):
        raise fail(ShapeError, f"{what}: the shape {sizes} has a negative size")
    return sizes


def _bits(key: Expr, shape: tuple[int, ...]) -> Expr:
    """Random integers of 64 bits: each the block of its place."""
    return _block(key, reshape(iota(math.prod(shape)), shape))


def bits(key: Any, shape: Any = ()) -> Any:
    """Random integers, all values of int64 alike: those of uint64 in JAX, read as signed."""
    return give(_bits(_key("random.bits", key), _shape("random.bits", shape)), key)


# ---- numbers ---------------------------------------------------------------------------------


def _float(what: str, dtype: Any) -> str:
    name: str = np.dtype(dtype).name
    if name not in FLOATS:
        raise fail(DtypeError, f"{what}: float64 or float32 is needed, got {name}")
    return name


def _unit(key: Expr, shape: tuple[int, ...], dtype: str) -> Expr:
    """Multiples of 2^-52 in [0, 1); of float32 of 2^-23, made of the words' exclusive or."""
    random = _bits(key, shape)
    if dtype == "float32":
        random, drop, keep = bind("fold_words", random), 9, 23
    else:
        drop, keep = 12, 52
    random = bind("floor_divide", random, _like(2**drop, random))
    random = bind("mod", random, _like(2**keep, random))  # what was negative as well
    return bind("convert", random, attrs=(dtype,)) * 2.0**-keep


def _between(what: str, key: Any, shape: Any, dtype: Any, low: Any = 0, high: Any = 1) -> Expr:
    """Uniform in [low, high), numbers or Exprs of that dtype."""
    sizes, name = _shape(what, shape), _float(what, dtype)
    unit = _unit(_key(what, key), sizes, name)
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        if (low, high) == (0, 1):
            return unit
        cast = np.dtype(name).type
        low, high = (const(cast(v), name, sizes) for v in (low, high))
    else:
        low, high = (_spread(what, v, sizes, name) for v in (low, high))
    return bind("maximum", low, unit * (high - low) + low)


def _spread(what: str, value: Any, shape: tuple[int, ...], dtype: str) -> Expr:
    e = value if isinstance(value, Expr) else as_expr(value)
    try:
        return broadcast_to(bind("convert", e, attrs=(dtype,)), shape)
    except ShapeError:
        raise fail(
            ShapeError, f"{what}: a parameter of shape {e.shape} does not broadcast to {shape}"
        ) from None


def uniform(
    key: Any, shape: Any = (), dtype: Any = float, minval: Any = 0.0, maxval: Any = 1.0
) -> Any:
    """Uniform numbers in [minval, maxval)."""
    result = _between("random.uniform", key, shape, dtype, minval, maxval)
    return give(result, key, minval, maxval)


def _normal(what: str, key: Any, shape: Any, dtype: Any) -> Expr:
    name = np.dtype(dtype).type
    lowest = float(np.nextafter(name(-1), name(0)))
    u = _between(what, key, shape, dtype, lowest, 1)
    return bind("erfinv", u) * float(name(math.sqrt(2)))


def normal(key: Any, shape: Any = (), dtype: Any = float) -> Any:
    """Standard normal numbers, by the inverse of the distribution function."""
    _float("random.normal", dtype)
    return give(_normal("random.normal", key, shape, dtype), key)


def truncated_normal(
    key: Any, lower: Any, upper: Any, shape: Any = None, dtype: Any = float
) -> Any:
    """Standard normal numbers between two bounds, by the inverse of the distribution function."""
    name = _float("random.truncated_normal", dtype)
    a, b = (bind("convert", as_expr(v), attrs=(name,)) for v in (lower, upper))
    sizes = np.broadcast_shapes(a.shape, b.shape) if shape is None else shape
    low, high = (bind("erf", v * math.sqrt(0.5)) for v in (a, b))
    u = _between("random.truncated_normal", key, sizes, dtype, low, high)
    out = bind("erfinv", u) * math.sqrt(2)
    bounds = (wrap(broadcast_to(v, out.shape)) for v in (a, b))
    return give(SUPPORTED["clip"](wrap(out), *bounds).expr, key, lower, upper)


def bernoulli(key: Any, p: Any = 0.5, shape: Any = None) -> Any:
    """True with probability `p`."""
    e = as_expr(p)
    e = e if e.dtype in FLOATS else bind("convert", e, attrs=("float64",))
    sizes = e.shape if shape is None else _shape("random.bernoulli", shape)
    u = _between("random.bernoulli", key, sizes, e.dtype)
    return give(bind("less", u, _spread("random.bernoulli", e, sizes, e.dtype)), key, p)


def rademacher(key: Any, shape: Any = (), dtype: Any = int) -> Any:
    """-1 and 1 with equal probability."""
    u = _between("random.rademacher", key, shape, float)
    head = bind("convert", bind("less", u, const(0.5, "float64", u.shape)), attrs=("int64",))
    return give(bind("convert", 2 * head - 1, attrs=(dtype_name(dtype),)), key)


def randint(key: Any, shape: Any, minval: Any, maxval: Any, dtype: Any = int) -> Any:
    """Integers in [minval, maxval); minval where that is empty.

    maxval - minval must be below 2^63. What makes some of them more frequent than others is below
    2^-64 for less than 2^32 of them.
    """
    what, name = "random.randint", np.dtype(dtype).name
    if name not in ("int32", "int64"):
        raise fail(DtypeError, f"{what}: int64 or int32 is needed, got {name}")
    sizes, e = _shape(what, shape), _key(what, key)
    high, low = (_bits(_pair(_block(e, const(k, "int64"))), sizes) for k in (0, 1))
    least, most = (_spread(what, _integer(what, v), sizes, "int64") for v in (minval, maxval))
    one = const(1, "int64", sizes)
    span = bind("select", bind("less_equal", most, least), one, most - least)
    result = least + bind("random_below", high, low, span)
    return give(bind("convert", result, attrs=(name,)), key, minval, maxval)


def exponential(key: Any, shape: Any = (), dtype: Any = float) -> Any:
    """Exponential numbers of mean 1."""
    u = _between("random.exponential", key, shape, dtype)
    return give(-bind("log1p", -u), key)


def _tiny(dtype: Any) -> float:
    return float(np.finfo(dtype).tiny)


def gumbel(key: Any, shape: Any = (), dtype: Any = float) -> Any:
    """Gumbel numbers: the distribution of the largest of many."""
    _float("random.gumbel", dtype)
    return give(_gumbel("random.gumbel", key, shape, dtype), key)


def _gumbel(what: str, key: Any, shape: Any, dtype: Any) -> Expr:
    u = _between(what, key, shape, dtype, _tiny(dtype), 1)
    return -bind("log", -bind("log", u))


def categorical(key: Any, logits: Any, axis: int = -1, shape: Any = None) -> Any:
    """Indices along `axis` with probabilities proportional to exp(logits)."""
    e = as_expr(logits)
    e = e if e.dtype in FLOATS else bind("convert", e, attrs=("float64",))
    k = operator.index(axis)
    if not -e.ndim <= k < e.ndim:
        raise fail(ShapeError, f"random.categorical: axis {k} of logits of shape {e.shape}")
    k %= e.ndim
    rest = e.shape[:k] + e.shape[k + 1 :]
    sizes = rest if shape is None else _shape("random.categorical", shape)
    more = sizes[: len(sizes) - len(rest)]
    if sizes[len(more) :] != rest:
        raise fail(ShapeError, f"random.categorical: the shape {sizes} does not end in {rest}")
    noise = _gumbel("random.categorical", key, (*more, *e.shape), e.dtype)
    scores = noise + broadcast_to(e, noise.shape)
    return give(bind("argmax", scores, attrs=(len(more) + k,)), key, logits)


def laplace(key: Any, shape: Any = (), dtype: Any = float) -> Any:
    """Laplace numbers of scale 1."""
    least = -1 + float(np.finfo(dtype).epsneg)
    u = _between("random.laplace", key, shape, dtype, least, 1)
    return give(bind("sign", u) * bind("log1p", -bind("absolute", u)), key)


def logistic(key: Any, shape: Any = (), dtype: Any = float) -> Any:
    """Logistic numbers of scale 1."""
    u = _between("random.logistic", key, shape, dtype, _tiny(dtype), 1)
    return give(bind("logit", u), key)


def cauchy(key: Any, shape: Any = (), dtype: Any = float) -> Any:
    """Cauchy numbers of scale 1."""
    u = _between("random.cauchy", key, shape, dtype, float(np.finfo(dtype).eps), 1)
    return give(bind("tan", (u - 0.5) * math.pi), key)


def multivariate_normal(
    key: Any, mean: Any, cov: Any, shape: Any = None, dtype: Any = float
) -> Any:
    """Normal vectors with the Cholesky factor of `cov`; differentiable in `mean` and `cov`."""
    what, name = "random.multivariate_normal", _float("random.multivariate_normal", dtype)
    m, c = (bind("convert", as_expr(v), attrs=(name,)) for v in (mean, cov))
    if m.ndim != 1 or c.shape != (*m.shape, *m.shape):
        raise fail(ShapeError, f"{what}: a mean of shape {m.shape}, a covariance of {c.shape}")
    sizes = () if shape is None else _shape(what, shape)
    z = _normal(what, key, (*sizes, *m.shape), dtype)
    factor = wrap(bind("cholesky", c))
    return give((wrap(m) + wrap(z) @ factor.T).expr, key, mean, cov)


def permutation(key: Any, x: Any, axis: int = 0) -> Any:
    """`x` with its elements along `axis` in random order; of an integer, of 0 … x - 1."""
    what = "random.permutation"
    if isinstance(x, (int, np.integer)) and not isinstance(x, bool):
        n, rows = int(x), None
    else:
        rows = as_expr(x)
        axis = operator.index(axis)
        if not -rows.ndim <= axis < rows.ndim:
            raise fail(ShapeError, f"{what}: axis {axis} of an array of shape {rows.shape}")
        n = rows.shape[axis]
    order = argsort(_bits(_key(what, key), (n,)), 0)
    if rows is None:
        return give(order, key)
    return give(_taken(rows, order, axis), key, x)


def _taken(rows: Expr, order: Expr, axis: int) -> Expr:
    taken: Expr = SUPPORTED["take"](wrap(rows), wrap(order), axis % rows.ndim).expr
    return taken


def choice(
    key: Any, a: Any, shape: Any = (), replace: bool = True, p: Any = None, axis: int = 0
) -> Any:
    """Elements of `a` along `axis`, or of 0 … a - 1, with probabilities `p`; jax.random's."""
    what = "random.choice"
    whole = isinstance(a, (int, np.integer)) and not isinstance(a, bool)
    rows = None if whole else as_expr(a)
    if rows is not None and not -rows.ndim <= operator.index(axis) < rows.ndim:
        raise fail(ShapeError, f"{what}: axis {axis} of an array of shape {rows.shape}")
    n = int(a) if rows is None else rows.shape[axis]
    sizes = _shape(what, shape)
    if not n or not replace and math.prod(sizes) > n:
        raise fail(ShapeError, f"{what}: {math.prod(sizes)} of {n} elements")
    index = _chosen(what, key, n, sizes, replace, p)
    if rows is None:
        return give(index, key, p)
    return give(_taken(rows, index, axis), key, a, p)


def _chosen(what: str, key: Any, n: int, sizes: tuple[int, ...], replace: bool, p: Any) -> Expr:
    if not replace:
        if p is not None:
            raise fail(UnsupportedError, f"{what}: p with replace=False is not supported")
        order = argsort(_bits(_key(what, key), (n,)), 0)
        return reshape(slice_(order, (0,), (math.prod(sizes),), (1,)), sizes)
    if p is None:
        return as_expr(randint(key, sizes, 0, n))
    chances = as_expr(p)
    chances = chances if chances.dtype in FLOATS else bind("convert", chances, attrs=("float64",))
    if chances.shape != (n,):
        raise fail(ShapeError, f"{what}: probabilities of shape {chances.shape} for {n} elements")
    sums = bind("cumsum", chances, attrs=(0, False))
    last = reshape(slice_(sums, (n - 1,), (1,), (1,)), ())
    places = broadcast_to(last, sizes) * (1 - _between(what, key, sizes, chances.dtype))
    return search(sums, places, False)
