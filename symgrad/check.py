"""check_grads: derivatives against values, for a user's own function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.derivatives import jvp, vjp
from symgrad.errors import DifferentiationError
from symgrad.transform import trace
from symgrad.tree import flatten


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = ("jvp", "vjp"),
    rtol: float = 1e-6,
    atol: float = 1e-8,
    seed: int = 0,
) -> None:
    """Compare derivatives of `f` at `args` with differences of its values, up to `order`.

    Forward mode is compared with Ridders' extrapolated central differences (Ridders, Advances in
    Engineering Software 4, 1982) along a random direction; reverse mode with forward mode through
    ⟨u, J v⟩ = ⟨Jᵀ u, v⟩. Order k applies the same to the derivative of order k - 1.

    Parameters
    ----------
    f : function of arrays, float results
    args : tuple of arguments
    order : how many times to differentiate
    modes : which modes to check

    Raises
    ------
    DifferentiationError
        Naming order, mode, and the two numbers that differ.
    """
    rng = np.random.default_rng(seed)
    _check(f, tuple(args), order, tuple(modes), rtol, atol, rng, 1)


def _check(
    f: Any, args: Any, order: int, modes: Any, rtol: float, atol: float, rng: Any, level: int
) -> None:
    if order < 1:
        return
    direction = _random_like(args, rng)
    out, tangent = jvp(f, args, direction)
    if "jvp" in modes:
        graph = trace(f, *args)

        def along(h: float) -> np.ndarray:
            moved = _combine(args, direction, h)
            results = graph.evaluate_flat(flatten((moved, {}))[0])
            return np.concatenate([np.ravel(r) for r in results])

        expected, error = _ridders(along)
        got = np.concatenate([np.ravel(t) for t in flatten(tangent)[0]])
        _compare(f, level, "jvp", got, expected, rtol, atol + error)
    if "vjp" in modes:
        cotangent = _random_like(out, rng)
        pulled = vjp(f, *args)[1](cotangent)
        left, right = _dot(cotangent, tangent), _dot(pulled, direction)
        scale = _dot(_map(np.abs, cotangent), _map(np.abs, tangent))
        scale = max(scale, _dot(_map(np.abs, pulled), _map(np.abs, direction)))
        _compare(f, level, "vjp", np.array([right]), np.array([left]), rtol, atol + 1e-12 * scale)
    if order > 1:

        def tangent_of(*xs: Any) -> Any:
            return jvp(f, xs, direction)[1]

        def pullback_of(*xs: Any) -> Any:
            return vjp(f, *xs)[1](out)

        if "jvp" in modes:
            _check(tangent_of, args, order - 1, modes, rtol, atol, rng, level + 1)
        if "vjp" in modes:
            _check(pullback_of, args, order - 1, modes, rtol, atol, rng, level + 1)


def _compare(
    f: Any, level: int, mode: str, got: np.ndarray, expected: np.ndarray, rtol: float, atol: Any
) -> None:
    bad = ~(np.abs(got - expected) <= atol + rtol * np.abs(expected))
    if bad.any():
        k = int(np.argmax(bad))
        name = getattr(f, "__name__", "f")
        raise DifferentiationError(
            f"check_grads({name}): order {level}, {mode}: got {got[k]!r}, expected {expected[k]!r} "
            f"({int(bad.sum())} of {bad.size} differ)"
        )


def _ridders(f: Callable[[float], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """df/dh at 0 and an estimate of its error, by extrapolation over shrinking steps."""
    h = 1e-2
    table: list[list[np.ndarray]] = []
    best = error = None
    for i in range(7):
        row = [(f(h) - f(-h)) / (2 * h)]
        for j in range(i):
            factor = 1.96 ** (j + 1)
            row.append((factor * row[j] - table[-1][j]) / (factor - 1))
            guess = np.maximum(np.abs(row[-1] - row[-2]), np.abs(row[-1] - table[-1][j]))
            if best is None:
                best, error = row[-1], guess
            else:
                better = guess < error
                best, error = np.where(better, row[-1], best), np.where(better, guess, error)
        table.append(row)
        h /= 1.4
    assert best is not None and error is not None
    return best, 4 * error


def _map(fn: Callable[[Any], Any], tree: Any) -> Any:
    leaves, definition = flatten(tree)
    return definition.unflatten([fn(x) for x in leaves])


def _random_like(tree: Any, rng: Any) -> Any:
    return _map(lambda x: rng.standard_normal(np.shape(x)).astype(np.asarray(x, float).dtype)
                if np.ndim(x) else float(rng.standard_normal()), tree)  # fmt: skip


def _combine(args: Any, direction: Any, h: float) -> Any:
    left, definition = flatten(args)
    right = flatten(direction)[0]
    return definition.unflatten([a + h * d for a, d in zip(left, right, strict=True)])


def _dot(a: Any, b: Any) -> float:
    pairs = zip(flatten(a)[0], flatten(b)[0], strict=True)
    return float(sum(np.sum(np.multiply(x, y)) for x, y in pairs))
