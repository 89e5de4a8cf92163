"""One entry of a collection: what symgrad gives against plain NumPy and against dual numbers.

The oracle of derivatives is `support.dual_numpy`, which runs the text of the collection's module
once more. Results that are not one number are summed with fixed weights before they are
differentiated, and compared themselves as well.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import signal
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import symgrad as sg
from corpus import entry
from corpus.entry import Collection, Entry
from support.dual_numpy import MODULES, Derivatives, derivatives, flatten, is_float, load, rebuilt
from support.faults import FAULTS
from symgrad.compiled import Compiled
from symgrad.errors import CompilerNotFoundError, SymgradError

COLLECTIONS = ("losses", "constructs", "branchy", "textbook", "cutest", "scipy_calls", "collected")
# Of the largest number expected, which counts as 1 if it is less.
VALUE, FIRST, SECOND = 1e-10, 1e-8, 1e-7


@dataclass(frozen=True)
class Verdict:
    """status : right, refused, WRONG, crash, slow, or "no oracle"; told : why"""

    status: str
    told: str = ""
    seconds: float = 0.0


@functools.cache
def collection(name: str) -> Collection:
    return importlib.import_module(f"corpus.{name}").add


@functools.cache
def on_duals(name: str) -> Collection:
    """The same collection, for dual numbers."""
    here = Path(__file__).parent
    if "corpus" not in MODULES:
        other = load(here / "elsewhere.py", "corpus_elsewhere_on_duals")
        MODULES["corpus"] = types.SimpleNamespace(elsewhere=types.SimpleNamespace(**other))
        MODULES["corpus"].entry = entry
    return load(here / f"{name}.py", f"corpus_{name}_on_duals")["add"]


def find(name: str) -> tuple[str, Entry]:
    for group in COLLECTIONS:
        if name in collection(group):
            return group, collection(group)[name]
    raise KeyError(name)


def weighted(leaves: Sequence[Any]) -> Any:
    """A number that depends on every element of some results."""
    total = 0.0
    for k, leaf in enumerate(leaves):
        weights = np.cos(1.0 + k + np.arange(np.size(leaf)))
        total = total + np.sum(weights.reshape(np.shape(leaf)) * leaf)
    return total


def seed(entry: Entry) -> np.ndarray:
    """A direction for second derivatives."""
    return np.cos(2.0 + 1.7 * np.arange(sum(x.size for x in variables(entry))))


def numbers(entry: Entry) -> tuple[int, ...]:
    return (entry.argnums,) if isinstance(entry.argnums, int) else entry.argnums


def variables(entry: Entry) -> list[np.ndarray]:
    found = [x for k in numbers(entry) for x in flatten(entry.args[k])]
    return [np.asarray(x) for x in found if is_float(x)]


def plain_value(entry: Entry) -> Any:
    """The result by NumPy alone; arguments are copied, since some functions write into them."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return entry.function(*copy.deepcopy(entry.args))


def expected(on_duals: Entry, entry: Entry, order: int, scalar: bool) -> Derivatives:
    along = seed(entry) if order == 2 else None
    return derivatives(
        on_duals.function, entry.args, entry.argnums, along, None if scalar else weighted
    )


def is_scalar(value: Any) -> bool:
    return not isinstance(value, (list, tuple, dict)) and np.ndim(value) == 0


def objective(entry: Entry, scalar: bool) -> Callable[..., Any]:
    """The user's function itself where it gives one number."""
    if scalar:
        return entry.function

    def total(*args: Any) -> Any:
        result = entry.function(*args)
        return weighted(flatten(result)), result

    return total


def difference(got: Any, want: Any, tolerance: float) -> float:
    """How far results are apart, as a multiple of what is allowed."""
    got, want = np.asarray(got, float).ravel(), np.asarray(want, float).ravel()
    if got.shape != want.shape:
        return np.inf
    if not got.size:
        return 0.0
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    finite = np.abs(want[np.isfinite(want)])
    allowed = tolerance * max(1.0, finite.max(initial=0.0))
    with np.errstate(all="ignore"):
        apart = np.where(same, 0.0, np.abs(got - want))
    return float(np.max(np.where(np.isnan(apart), np.inf, apart)) / allowed)


def flat(value: Any) -> np.ndarray:
    parts = [np.ravel(np.asarray(x, float)) for x in flatten(value)]
    return np.concatenate(parts) if parts else np.zeros(0)


def shown(x: np.ndarray) -> str:
    return np.array2string(np.asarray(x)[:6], precision=6, max_line_width=200)


def compared(what: str, got: Any, want: Any, tolerance: float) -> str:
    got, want = flat(got), flat(want)
    if difference(got, want, tolerance) <= 1.0:
        return ""
    return f"{what} {shown(got)} instead of {shown(want)}"


@contextlib.contextmanager
def no_compiler() -> Iterator[None]:
    """Functions run on the NumPy evaluator, as on a machine without any compiler."""

    def missing(_: Compiled) -> Any:
        raise CompilerNotFoundError("left out by a test")

    make = Compiled._make_native
    Compiled._make_native = missing  # type: ignore[method-assign]
    try:
        yield
    finally:
        Compiled._make_native = make  # type: ignore[method-assign]


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """TimeoutError where a loop does not end, which may be so at arguments that nobody chose."""

    def late(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Point:
    """An entry at some arguments, and what is expected there."""

    entry: Entry
    value: Any
    want: Derivatives


def elsewhere(group: str, entry: Entry) -> list[Entry]:
    """The entry at other arguments, where it may decide otherwise than where it was traced."""
    moves: list[Callable[[Any], Any]] = [lambda x: 1.07 * x + 0.031]
    if group == "branchy":
        moves += [lambda x: -x, lambda x: np.flip(x) * 1.3]
    found = []
    for move in moves:
        args = list(entry.args)
        for k in numbers(entry):
            leaves = [move(x) if is_float(x) else x for x in flatten(args[k])]
            leaves = [np.array(x) if np.ndim(x) else float(x) if is_float(x) else x for x in leaves]
            args[k] = rebuilt(args[k], iter(leaves))
        found.append(replace(entry, args=tuple(args)))
    return found


def measure(name: str, order: int = 1, compiled: bool = True) -> Verdict:
    """What becomes of an entry, at its arguments and at others.

    order : 2 compares a Hessian product as well
    compiled : whether C runs, or the recorded graph by NumPy
    """
    group, entry = find(name)
    return verdict(entry, on_duals(group)[name], order, compiled, elsewhere(group, entry))


def expected_at(entry: Entry, on_duals: Entry, order: int) -> Point:
    value = plain_value(entry)
    return Point(entry, value, expected(on_duals, entry, order, is_scalar(value)))


def verdict(
    entry: Entry, on_duals: Entry, order: int, compiled: bool, others: Sequence[Entry] = ()
) -> Verdict:
    """The same of a function, as the user wrote it and in the world of dual numbers.

    others : the function at other arguments, left out where it fails or is not finite
    """
    try:
        points = [expected_at(entry, on_duals, order)]
    except Exception as error:
        return Verdict("no oracle", first_line(error))
    if told := compared("dual numbers give", points[0].want.value, points[0].value, VALUE):
        return Verdict("no oracle", told)
    for other in others:
        with contextlib.suppress(Exception), limited(0.5):
            point = expected_at(other, on_duals, order)
            numbers = [flat(point.value), point.want.gradient, point.want.product]
            same = not compared("dual numbers give", point.want.value, point.value, VALUE)
            if same and all(np.isfinite(x).all() for x in numbers if x is not None):
                points.append(point)
    try:
        with contextlib.nullcontext() if compiled else no_compiler(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = _checked(entry, order, points)
    except FAULTS as error:
        return Verdict("crash", first_line(error))
    except SymgradError as error:
        return Verdict("refused", first_line(error))
    except Exception as error:
        return Verdict("crash", first_line(error))
    return Verdict("WRONG", told) if told else Verdict("right")


def _checked(entry: Entry, order: int, points: Sequence[Point]) -> str:
    """What is wrong at the first point where something is. One function serves all points."""
    scalar = is_scalar(points[0].value)
    f = objective(entry, scalar)
    both = sg.value_and_grad(f, entry.argnums, has_aux=not scalar)
    loss = f if scalar else lambda *a: f(*a)[0]

    @sg.jit
    def product(given: Any, vs: Any) -> Any:
        def slope(*xs: Any) -> Any:
            put = list(given)
            for k, x in zip(numbers(entry), xs, strict=True):
                put[k] = x
            return sg.grad(loss, numbers(entry))(*put)

        return sg.jvp(slope, tuple(given[k] for k in numbers(entry)), vs)[1]

    for n, point in enumerate(points):
        place = f" at point {n}" if n else ""
        args = copy.deepcopy(point.entry.args)
        got = both(*args)
        got_value, got_gradient = got if scalar else (got[0][1], got[1])
        told = compared(f"value{place}", got_value, point.value, VALUE)
        told = told or compared(f"gradient{place}", got_gradient, point.want.gradient, FIRST)
        if not told and order == 2:
            sizes = [x.size for x in variables(entry)]
            directions = iter(np.split(seed(entry), np.cumsum(sizes)[:-1]))
            along = tuple(rebuilt(args[k], _shaped(args[k], directions)) for k in numbers(entry))
            made = product(copy.deepcopy(point.entry.args), along)
            if np.isfinite(point.want.product).all():  # else the oracle has overflowed on the way
                told = compared(f"Hessian product{place}", made, point.want.product, SECOND)
        if told:
            return told
    return ""


def _shaped(like: Any, directions: Any) -> Any:
    for x in flatten(like):
        if is_float(x):
            part = next(directions)
            yield part.reshape(x.shape) if isinstance(x, np.ndarray) else float(part[0])
        else:
            yield x


def first_line(error: Exception) -> str:
    line = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return f"{type(error).__name__}: {line}".replace(f"{Path(__file__).parent}/", "")
