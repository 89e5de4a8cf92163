"""Counter-based random bits: Threefry-2x32 with 20 rounds, as integers of 64 bits.

Salmon, Moraes, Dror & Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011. There are no
unsigned dtypes: a pair of words of 32 bits is one int64, the first word in its upper half. NumPy
and C compute on unsigned integers inside, where sums wrap around; the bits are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError
from symgrad.expr.node import Expr
from symgrad.expr.op import Kind, Op, register

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def _infer(*args: Expr) -> tuple[tuple[int, ...], str]:
    if any(a.shape != args[0].shape for a in args):
        raise ShapeError(f"operands of shapes {[a.shape for a in args]} must be equal")
    if any(a.dtype != "int64" for a in args):
        raise DtypeError(f"expected int64 operands, got {[a.dtype for a in args]}")
    return args[0].shape, "int64"


def _words(x: Any) -> tuple[Any, Any]:
    bits = np.asarray(x, np.int64).view(np.uint64)
    return (bits >> np.uint64(32)).astype(np.uint32), bits.astype(np.uint32)


def _packed(high: Any, low: Any) -> Any:
    bits = high.astype(np.uint64) << np.uint64(32) | low.astype(np.uint64)
    return bits.view(np.int64)


def threefry(k0: Any, k1: Any, counter: Any) -> Any:
    """The block of the key (k0, k1), two words of 32 bits, for a counter of two words."""
    k0, k1, counter = np.broadcast_arrays(k0, k1, np.atleast_1d(counter))
    first, second = _words(k0)[1], _words(k1)[1]
    key = first, second, first ^ second ^ np.uint32(_PARITY)
    x, y = _words(counter)
    x, y = x + key[0], y + key[1]
    for block in range(5):
        for r in _ROTATIONS[block % 2]:
            x = x + y
            y = (y << np.uint32(r) | y >> np.uint32(32 - r)) ^ x
        x = x + key[(block + 1) % 3]
        y = y + key[(block + 2) % 3] + np.uint32(block + 1)
    return _packed(x, y)


def _evaluate_threefry(k0: Any, k1: Any, counter: Any) -> Any:
    return threefry(k0, k1, counter).reshape(np.shape(counter))


def fold_words(bits: Any) -> Any:
    """Both words of an int64 combined by exclusive or: a number of 32 bits."""
    high, low = _words(np.atleast_1d(bits))
    return (high ^ low).astype(np.int64).reshape(np.shape(bits))


def below(high: Any, low: Any, span: Any) -> Any:
    """(2^64 high + low) mod span in unsigned arithmetic of 64 bits, as jax.random.randint has it.

    The remainder of 2^64 is the square of that of 2^32; the product wraps around for a span above
    2^32, which is no less random. A span of 0, which stands for 2^64, gives `low`.
    """
    shape = np.shape(low)
    high, low, span = (
        np.ascontiguousarray(np.atleast_1d(v), np.int64).view(np.uint64) for v in (high, low, span)
    )
    m = np.where(span == 0, np.uint64(1), span)
    power = np.uint64(2**32) % m
    power = power * power % m
    result = ((high % m) * power + low % m) % m
    return np.where(span == 0, low, result).view(np.int64).reshape(shape)


def _none(ct: Expr, out: Expr, args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> list[None]:
    return [None] * len(args)


def _row(name: str, evaluate: Any, c: str, cost: int) -> Op:
    """A row of integers; a derivative never reaches one."""
    return register(
        Op(name, Kind.ELEMENTWISE, _infer, evaluate, vjp=_none, c=c, cost=cost, numpy=())
    )


_row("threefry", _evaluate_threefry, "sg_threefry({0}, {1}, {2})", 60)
_row("fold_words", fold_words, "sg_fold_words({0})", 2)
_row("random_below", below, "sg_random_below({0}, {1}, {2})", 60)
