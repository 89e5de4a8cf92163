"""Errors of the small kernels against 50 digits: evaluator, usual form, scalar form, and what is
chosen where nobody says which.

    python benchmarks/small/accuracy.py [names]

Errors are relative to the largest entry of each result, the largest of eight inputs. The oracle is
the kernel's own NumPy text on numbers of mpmath, its derivatives are differences of 250 digits.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
from table import KERNELS, Kernel

import symgrad as sg
from symgrad.tree import flatten

_DIGITS, _STEP = 250, 40
_POINTS = 8
_FUNCTIONS = {
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "exp": mpmath.exp,
    "log": mpmath.log, "log1p": mpmath.log1p, "sqrt": mpmath.sqrt, "arctan": mpmath.atan,
    "tanh": mpmath.tanh, "arcsin": mpmath.asin, "arctan2": mpmath.atan2,
}  # fmt: skip


def elements(x: Any) -> np.ndarray:
    """Numbers of many digits."""
    x = np.asarray(x)
    wide = np.array([mpmath.mpf(v) for v in x.ravel()] + [None], object)[:-1]
    return wide.reshape(x.shape)


def plain(x: np.ndarray) -> Any:
    return x if x.shape else x[()]


class Calculus:
    """What kernels ask of symgrad, by differences of many digits."""

    @classmethod
    def jacobian(cls, f: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
        def derived(*args: Any) -> Any:
            found = []
            for n in (argnums,) if isinstance(argnums, int) else argnums:
                x, step = elements(args[n]), mpmath.mpf(10) ** -_STEP
                columns = []
                for k in range(x.size):
                    sides = []
                    for sign in (1, -1):
                        moved = x.copy().reshape(-1)
                        moved[k] += sign * step
                        given = [*args[:n], plain(moved.reshape(x.shape)), *args[n + 1 :]]
                        sides.append(np.asarray(f(*given), object))
                    columns.append((sides[0] - sides[1]) / (2 * step))
                whole = np.stack([np.asarray(c, object) for c in columns], -1)
                found.append(plain(whole.reshape((*whole.shape[:-1], *x.shape))))
            return found[0] if isinstance(argnums, int) else tuple(found)

        return derived

    grad = jacobian

    @classmethod
    def value_and_grad(cls, f: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
        return lambda *args: (f(*args), cls.grad(f, argnums)(*args))

    @classmethod
    def hessian(cls, f: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
        def derived(*args: Any) -> Any:
            if isinstance(argnums, int):
                return cls.jacobian(cls.grad(f, argnums), argnums)(*args)
            return tuple(cls.jacobian(cls.grad(f, n), argnums)(*args) for n in argnums)

        return derived


class Linalg:
    """np.linalg on numbers of mpmath."""

    @staticmethod
    def solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        right = mpmath.matrix(b.reshape(len(b), -1).tolist())
        columns = [mpmath.lu_solve(mpmath.matrix(a.tolist()), right[:, k])
                   for k in range(right.cols)]  # fmt: skip
        return np.array([list(c) for c in columns], object).T.reshape(b.shape)


class Numpy:
    """NumPy, with functions on numbers of mpmath."""

    linalg = Linalg

    def __getattr__(self, name: str) -> Any:
        if name in _FUNCTIONS:
            f = _FUNCTIONS[name]
            return np.frompyfunc(f, 2 if name == "arctan2" else 1, 1)
        return getattr(np, name)


@contextlib.contextmanager
def many_digits(kernel: Kernel) -> Iterator[None]:
    """The module of a kernel with this NumPy and these derivatives."""
    module = sys.modules[kernel.function.__module__]
    with mpmath.workdps(_DIGITS):
        module.np, module.sg = Numpy(), Calculus
        try:
            yield
        finally:
            module.np, module.sg = np, sg


def exact(kernel: Kernel, inputs: list[np.ndarray]) -> list[np.ndarray]:
    with many_digits(kernel):
        results = flatten(kernel.function(*[plain(elements(x)) for x in inputs]))[0]
        return [elements(r) for r in results]


def error(values: Any, truth: list[np.ndarray]) -> float:
    """The largest difference, relative to the largest entry of each result."""
    worst = 0.0
    with mpmath.workdps(60):
        for value, right in zip(flatten(values)[0], truth, strict=True):
            away = np.abs(elements(value) - right)
            worst = max(worst, float(np.max(away) / max(np.max(np.abs(right)), mpmath.mpf(1e-30))))
    return worst


def errors(kernel: Kernel) -> list[float]:
    """Of the traced graph under NumPy, of the usual form, scalar form, and the default."""
    specs = [sg.f64[s] if s else sg.f64 for s in kernel.shapes]
    made = [sg.compile(kernel.function, *specs, scalar=s) for s in (False, True, "auto")]
    ways = (sg.trace(kernel.function, *specs).evaluate, *made)
    worst = [0.0] * len(ways)
    for seed in range(_POINTS):
        inputs = kernel.inputs(seed)
        truth = exact(kernel, inputs)
        worst = [max(w, error(f(*inputs), truth)) for w, f in zip(worst, ways, strict=True)]
    return worst


def main() -> None:
    for kernel in KERNELS:
        if not sys.argv[1:] or kernel.name in sys.argv[1:]:
            numpy, usual, scalar, auto = errors(kernel)
            print(f"{kernel.name:12} evaluator {numpy:.1e}, usual {usual:.1e} = "
                  f"{usual / numpy:.2f}, scalar {scalar:.1e} = {scalar / numpy:.2f}, "
                  f"auto {auto:.1e} = {auto / numpy:.2f}",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
