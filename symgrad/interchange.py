"""Arrays of other libraries, by the protocols that they share with NumPy.

In: a value with ``__array__``, ``__dlpack__`` or ``__array_interface__``: a column of pandas or
Polars, a tensor of PyTorch, an array of JAX. Out: a plain NumPy array, of the same memory where the
library allows it. Traced functions are called with traced NumPy arrays in their place, and results
are NumPy's. What is on another device than the CPU is refused: a copy that nobody sees would cost
more than the call.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from symgrad.errors import StructureError
from symgrad.origin import is_library
from symgrad.tree import flatten

_PROTOCOLS = ("__array__", "__dlpack__", "__array_interface__")
_ON_CPU = (1, 3, 11, 13)  # DLPack's devices whose memory the CPU reads: its own, pinned, managed
_NEVER = (np.ndarray, np.generic, type, int, float)
_OPERATORS = ("add", "sub", "mul", "truediv", "matmul", "pow", "array_ufunc", "array_function")

_found: dict[type, bool] = {}  # asked for every operand of a trace: weak references take too long
_MOST_FOUND = 1000


def is_elsewhere(value: Any) -> bool:
    """Whether a value is an array of another library than NumPy, by its type.

    Classes of the user's own that say themselves what their operators mean are none.
    """
    cls = type(value)
    known = _found.get(cls)
    if known is None:
        if len(_found) >= _MOST_FOUND:  # of classes that may be gone
            _found.clear()
        known = _found[cls] = _is_elsewhere(cls)
    return known


def _is_elsewhere(cls: type) -> bool:
    if issubclass(cls, _NEVER) or cls.__module__.partition(".")[0] in ("numpy", "symgrad"):
        return False
    return any([hasattr(cls, n) for n in _PROTOCOLS]) and not any(map(_is_users, _methods(cls)))


def _methods(cls: type) -> Iterator[Any]:
    for name in _OPERATORS:
        yield getattr(cls, f"__{name}__", None)
        yield getattr(cls, f"__r{name}__", None)


def _is_users(method: Any) -> bool:
    return type(method) is types.FunctionType and not is_library(method.__code__.co_filename)


def plain(value: Any, name: str) -> np.ndarray:
    """The numbers of such a value as a NumPy array; messages call it `name`.

    Raises
    ------
    StructureError
        It is on another device, has units, needs a gradient of its own, or holds no numbers.
    """
    cls = type(value)
    kind = f"{name}: a {cls.__module__.partition('.')[0]}.{cls.__qualname__}"
    if not _on_cpu(value):
        raise StructureError(
            f"{kind} that is not in the CPU's memory; copy it there before the call: x.cpu() for "
            "PyTorch, x.get() for CuPy, jax.device_get(x) for JAX"
        )
    if hasattr(cls, "units"):
        raise StructureError(f"{kind}, whose units would be lost; pass its magnitude")
    try:
        found = _read(value)
    except Exception as error:
        told = f"{type(error).__name__}: {error}".partition("\n")[0]
        if getattr(value, "requires_grad", False) is True:
            raise StructureError(
                f"{kind} that PyTorch differentiates by: symgrad's derivatives are its own; pass "
                "x.detach()"
            ) from error
        if cls.__name__.endswith("Tracer"):
            raise StructureError(
                f"{kind}, which stands for an array in a function that JAX traces; symgrad's "
                "functions take values: jax.pure_callback calls them from there"
            ) from error
        raise StructureError(f"{kind} that cannot be read as an array ({told})") from error
    if type(found) is not np.ndarray or found.dtype.hasobject:
        raise StructureError(
            f"{kind} whose elements are no numbers of one type; pass numbers, for example "
            "x.to_numpy(float)"
        )
    return found


def _on_cpu(value: Any) -> bool:
    if hasattr(type(value), "__dlpack_device__"):
        try:
            return int(value.__dlpack_device__()[0]) in _ON_CPU
        except Exception:  # of a device or kind of number that DLPack does not know; see `_read`
            pass
    return not hasattr(value, "__cuda_array_interface__")


def numbers_of(value: Any) -> np.ndarray:
    """What is in such an array, of whatever type."""
    return np.asarray(_read(value))


def _read(value: Any) -> Any:
    cls = type(value)
    if hasattr(cls, "__array__"):
        return np.asarray(value)
    if hasattr(cls, "__dlpack__"):
        return np.from_dlpack(value)
    if isinstance(value.__array_interface__.get("data"), tuple):
        raise TypeError("a bare address, which nobody can check; pass np.asarray(x)")
    return np.asarray(value)


def plain_leaves(leaves: list[Any], paths: Callable[[], Sequence[str]]) -> list[Any]:
    """The leaves of arguments with NumPy's arrays in place of others; the same list without any.

    paths : how the user would write each
    """
    found = [k for k, leaf in enumerate(leaves) if is_elsewhere(leaf)]
    if not found:
        return leaves
    names, result = paths(), list(leaves)
    for k in found:
        result[k] = plain(leaves[k], f"argument {names[k]}")
    return result


def plain_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], paths: Callable[[Any], Sequence[str]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments in any structure with NumPy's arrays in place of others."""
    leaves, tree = flatten((args, kwargs))
    result = plain_leaves(leaves, lambda: paths(tree))
    if result is leaves:
        return args, kwargs
    new: tuple[tuple[Any, ...], dict[str, Any]] = tree.unflatten(result)
    return new
