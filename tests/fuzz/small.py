"""Random programs of small arrays, for the form that is chosen where nobody says which (0078).

    python tests/fuzz/small.py [--programs 300] [--seed 0] [--graphs] [--range] [--mapped]

Each is a function of three vectors or matrices of 0 to 6 entries a side and numbers, as values,
gradient, Jacobian or Hessian. It is called at ordinary points, at ties and zeros of both signs, and
with a NaN or an infinity in each place. Right is what the graph as traced gives under NumPy; of the
values, what NumPy gives for the function itself. What is not finite there must not be finite here,
and the other way round: entry by entry. Near the ends of the range of single precision, where the
graph in double precision says what is right, the chosen form is right where the usual one is.

--graphs : the scalar form is evaluated, and no C is compiled
--mapped : the function is mapped over all of these points, which are taken in scalars (0083)
--range : it is evaluated near the ends of the range alone
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

if __package__ in (None, ""):
    here = Path(__file__).resolve().parent
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != here]
    sys.path[:0] = [str(here.parent), str(here.parents[1])]

import symgrad as sg
from support import scalars
from symgrad.compiled import Compiled
from symgrad.expr.evaluate import evaluate
from symgrad.generate import program_of
from symgrad.lower.tuning import HOST_TUNING
from symgrad.options import Options
from symgrad.scalar import choice
from symgrad.scalar.mapped import in_scalars
from symgrad.scalar.space import NotScalar
from symgrad.tree import flatten

NUMBERS = (0.0, 1.0, -1.0, 0.5, 2.0, 3.0, 0.3, -0.7, 0.0)
ONE = [
    "np.sin({})", "np.cos({})", "np.exp(0.3 * {})", "np.tanh({})", "np.sqrt({0} * {0} + 1.0)",
    "np.sqrt({})", "np.log({})", "np.abs({})", "1.0 / {}", "-{}", "{} ** 2", "{} ** 3", "{} ** -1",
    "np.maximum({}, 0.0)", "np.minimum({}, 0.3)", "np.clip({}, -0.5, 1.0)", "np.sign({})",
    "np.where({0} > 0, {0}, 0.1 * {0})", "np.where({0} == 0, 1.0, {0})", "0.0 * {}", "{0} - {0}",
    "{0} / {0}", "np.arctan({})", "np.log1p({} ** 2)", "np.sin({0}) ** 2 + np.cos({0}) ** 2",
    "np.floor({})", "np.square({})", "np.expm1({})", "1.0 / (1.0 + np.exp(-{}))", "{} / 3",
    "np.logaddexp(0.0, {})", "np.arcsin(0.5 * np.tanh({}))", "np.cbrt({})", "{} * 1e-3",
    "sg.stop_gradient({0}) * {0}", "np.where({0} > 1, np.sqrt(np.maximum({0} - 1, 0)), 0.0)",
]  # fmt: skip
TWO = [
    "{} + {}", "{} - {}", "{} * {}", "{} / {}", "np.maximum({}, {})", "np.minimum({}, {})",
    "np.where({0} > {1}, {0} * {1}, {1})", "np.hypot({}, {})", "np.arctan2({}, {})",
    "({0} + {1}) * ({0} - {1})", "{0} * ({0} - {1}) - {0} * {0}", "2.0 * {} - 0.5 * {}",
    "np.arctan2({0} - {1}, {1} - {0} - 1.0)", "1.0 / ({} - {})", "np.copysign({}, {})",
]  # fmt: skip
VECTOR = [
    "np.sum({})", "np.max({})", "np.min({})", "np.mean({})", "np.linalg.norm({})", "np.prod({})",
    "np.sum({0} * {0})", "np.var({})", "{}[0]", "{}[-1]", "np.sum({}[::2])",
]  # fmt: skip
SAME = [
    "{}[::-1]", "np.roll({}, 1, axis=0)", "{0} - np.mean({0})", "{0} / np.sum({0})",
    "np.exp({0}) / np.sum(np.exp({0}))", "np.flip({})",
    "np.concatenate([{0}[1:], 0.0 * {0}[:1]], axis=0)",
]  # fmt: skip
SQUARE = [
    "np.linalg.inv({0} + 3.0 * np.eye({n}))", "np.linalg.inv({})", "{}.T", "{0} @ {0}",
    "np.linalg.det({}) * np.eye({n})", "np.linalg.solve({0} + 2.0 * np.eye({n}), {0})",
    "np.eye({n}) @ {0}", "np.tril({0}) @ {0}", "np.diag(np.diagonal({0})) @ {0}", "np.triu({})",
    "np.linalg.solve({}, np.eye({n}))", "{0} @ {0}.T", "np.linalg.slogdet({0})[1] * {0}",
    "np.linalg.cholesky({0} @ {0}.T + np.eye({n}))",
]  # fmt: skip
_PLACES = 8  # of each argument that get special values
TRANSFORMS = ["", "", "grad", "value_and_grad", "jacobian", "hessian", "grad of grad"]


class Writer:
    """The body of one function; `shapes` has the shape of each name."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        n = int(self.rng.choice([0, 1, 2, 2, 3, 3, 3, 4, 5, 6]))
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.args = ["x", "y", "t"]
        self.shapes["x"] = (n,) if self.chance(0.6) else (n, n)
        self.shapes["y"] = (n,)
        self.shapes["t"] = ()
        self.lines: list[str] = []
        for k in range(int(self.rng.integers(2, 8))):
            self._statement(f"v{k}")

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def choose(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def _name(self, fits: Callable[[tuple[int, ...]], bool] = lambda s: True) -> str:
        names = [n for n, s in self.shapes.items() if fits(s)]
        return self.choose([*names, *names[-2:]]) if names else "t"

    def _statement(self, name: str) -> None:
        x = self._name()
        shape = self.shapes[x]
        kinds = ["one", "two", "number"]
        if shape and shape[0]:
            kinds += ["vector", "same", "constant"]
        if len(shape) == 2 and shape[0]:
            kinds += ["square"] * 3 + ["product"] * 2
        kind = self.choose(kinds)
        if kind == "one":
            text, out = self.choose(ONE).format(x), shape
        elif kind == "two":
            y = self._name(lambda s: s == shape or not s)
            pair = (x, y) if self.chance(0.5) else (y, x)
            text, out = self.choose(TWO).format(*pair), shape
        elif kind == "number":
            text, out = f"{self.choose(NUMBERS)} {self.choose('+*-')} {x}", shape
        elif kind == "vector":
            text, out = self.choose(VECTOR).format(x), ()
            if len(shape) == 2:
                text = f"np.sum({x}, axis=0)"
                out = shape[1:]
        elif kind == "same":
            text, out = self.choose(SAME).format(x), shape
        elif kind == "constant":
            values = self.rng.choice(NUMBERS, (shape[0], shape[0])).tolist()
            text, out = f"np.array({values}) @ {x}", shape
        elif kind == "square":
            text, out = self.choose(SQUARE).format(x, n=shape[0]), shape
        else:
            y = self._name(lambda s: bool(s) and s[0] == shape[0])
            text = self.choose(["{} @ {}", "np.linalg.solve({} + 1.5, {})"]).format(x, y)
            out = self.shapes[y]
            if y == "t":
                text, out = f"{x} @ {x}", shape
        self.lines.append(f"    {name} = {text}")
        self.shapes[name] = out

    def text(self) -> str:
        last = list(self.shapes)[-2:]
        values = ", ".join(last)
        total = " + ".join(f"np.sum({n})" for n in last)
        body = "\n".join(self.lines)
        return (f"def f(x, y, t):\n{body}\n    return {values}\n\n"
                f"def loss(x, y, t):\n{body}\n    return {total}\n")  # fmt: skip


def made(seed: int) -> tuple[str, Any, Any, list[np.ndarray]]:
    """The text, the function that is compiled, the NumPy function if it is that, and arguments."""
    w = Writer(seed)
    scope: dict[str, Any] = {"np": np, "sg": sg}
    exec(w.text(), scope)
    f, loss = scope["f"], scope["loss"]
    transform = w.choose(TRANSFORMS)
    dtype = "float32" if w.chance(0.25) else "float64"
    args = [np.asarray(w.rng.uniform(-1.5, 2, w.shapes[a]), dtype) for a in w.args]
    plain = f
    if transform == "grad of grad":
        first = sg.grad(loss, argnums=(0, 1))
        inner = lambda x, y, t: sum(np.sum(g * g) for g in first(x, y, t))  # noqa: E731
        f = lambda x, y, t: sg.grad(inner)(x, y, t)  # noqa: E731
    elif transform == "jacobian":
        values = f
        f = lambda x, y, t: sg.jacobian(values, argnums=(0, 1))(x, y, t)  # noqa: E731
    elif transform:
        way = getattr(sg, transform)
        f = lambda x, y, t: way(loss, argnums=(0, 1))(x, y, t)  # noqa: E731
    text = f"# seed {seed}: {transform or 'values'} of\n{w.text()}"
    return text, f, plain if not transform else None, args


def points(args: list[np.ndarray], seed: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Arguments by kind: ordinary ones, ties and zeros, and special ones in each place."""
    rng = np.random.default_rng(seed)
    for _ in range(3):
        yield "ordinary", [np.asarray(rng.uniform(-1.5, 2, a.shape), a.dtype) for a in args]
    for values in ((0.0,), (1.0,), (-0.0,), (0.0, 1.0, -1.0), (1.0, 2.0, -0.0)):
        yield "ties", [np.asarray(rng.choice(values, a.shape), a.dtype) for a in args]
    for k, a in enumerate(args):
        for place in rng.permutation(a.size)[:_PLACES]:
            for value in (np.nan, np.inf, -np.inf, 0.0, -0.0):
                given = [b.copy() for b in args]
                given[k].reshape(-1)[place] = value
                yield "special", given


def large_and_small(args: list[np.ndarray], seed: int) -> Iterator[list[np.ndarray]]:
    """Arguments of which products and powers are beyond the range of single precision."""
    rng = np.random.default_rng(seed)
    for power in (-0.95, -0.65, -0.5, -0.34, 0.34, 0.5, 0.65, 0.95):
        size = float(np.finfo("float32").max) ** power
        sized = [np.asarray(rng.uniform(-1.5, 2, a.shape) * size, "float32") for a in args]
        yield sized
        yield [np.where(rng.random(a.shape) < 0.5, a, s).astype("float32")
               for a, s in zip(args, sized, strict=True)]  # fmt: skip


def lost(got: Any, usual: Any, want: Any, near: Any) -> str:
    """Where `got` is 0 or not finite, and should not be: the usual form is right there.

    All are in single precision but for `want`, and `near`, what it is a few roundings away.
    """
    for k, (g, u, w) in enumerate(zip(got, usual, want, strict=True)):
        if np.asarray(w).dtype.kind == "f":
            g, u, w = (np.asarray(a, float) for a in (g, u, w))
            moved = sum(np.abs(np.nan_to_num(np.asarray(n[k], float)) - w) for n in near)
            allowed = 2e-4 * np.abs(w) + 1e3 * moved + 100 * np.finfo("float32").tiny
            allowed = np.where(np.abs(w) + allowed < np.finfo("float32").max, allowed, -1)
            with np.errstate(all="ignore"):
                right = np.abs(u - w) <= allowed
            worse = right & (~np.isfinite(g) | (g == 0)) & (np.abs(g - w) > allowed)
            if worse.any():
                return f"result {k}: {g[worse]} instead of {w[worse]}, which the usual form has"
    return ""


def difference(got: Any, want: Any, near: Any, dtype: str) -> str:
    """Where results differ by more than a few roundings of the arguments explain."""
    tolerance = 1e-11 if dtype == "float64" else 2e-4
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        g, w = np.asarray(g), np.asarray(w)
        if g.shape != w.shape or g.dtype != w.dtype:
            return f"result {k}: {g.dtype}{g.shape} instead of {w.dtype}{w.shape}"
        if w.dtype.kind != "f":
            if not np.array_equal(g, w):
                return f"result {k}: {g} instead of {w}"
            continue
        finite = np.isfinite(w)
        if not np.array_equal(np.isfinite(g), finite):
            return f"result {k}: {g} instead of {w}"
        size = max(1.0, float(np.max(np.abs(w[finite]), initial=0)))
        away = np.abs(g[finite].astype(float) - w[finite])
        if np.any(away > tolerance * size):
            moved = [np.abs(np.nan_to_num(np.asarray(n[k], float)) - w)[finite] for n in near()]
            if np.any(away > tolerance * size + 1e3 * sum(moved)):
                return f"result {k}: {g} instead of {w}"
    return ""


def moved(args: list[np.ndarray]) -> list[list[np.ndarray]]:
    """The arguments a few roundings away."""
    found = []
    for sign in (1, -1, 2):
        found.append([np.asarray(a * (1 + sign * (k + 2) * np.finfo(a.dtype).eps), a.dtype)
                      for k, a in enumerate(args)])  # fmt: skip
    return found


@contextlib.contextmanager
def everything_pays() -> Iterator[None]:
    """Scalar form is chosen wherever there is one of some thousand operations."""
    names: dict[str, Any] = dict(_SHARE=50.0, _HALF=50.0, _DENSE=1000)
    names |= dict(_SHARE_OF_POINTS=50.0, _has_zeros=lambda node: True)
    before = {name: getattr(choice, name) for name in names}
    vars(choice).update(names)
    try:
        yield
    finally:
        vars(choice).update(before)


def check(seed: int, graphs: bool = False) -> tuple[str, str]:
    """What became of a program: "compared", or why not; and a finding, if there is one."""
    text, f, values, args = made(seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"), everything_pays():
        warnings.simplefilter("ignore")
        try:
            traced = sg.trace(f, *args)
        except sg.errors.SymgradError as error:
            return f"refused: {type(error).__name__}", ""
        graph = traced.simplify()
        most = choice.most_that_pay(graph, Options(scalar="auto"))
        if not most:
            return "nothing to open", ""
        try:
            called = _evaluated(graph, most)
        except NotScalar as reason:
            return f"other form: {re.sub('[0-9].*', '', str(reason))}", ""
        if not graphs:
            program = program_of(graph, Options(scalar="auto"))
            if str(program) == str(program_of(graph, scalar=False)):
                return "same as the other form", ""
            called = Compiled(graph, Options(scalar="auto"))
        other = functools.cache(lambda: sg.compile(f, *args, scalar=False))
        usual = lambda *given: other()(*given)  # noqa: E731
        for kind, given in points(args, seed):
            found = _compared(kind, given, called, traced, usual, values)
            if found:
                return "compared", f"{text}# {kind}: {given}\n{found}"
    return "compared", ""


def check_range(seed: int) -> tuple[str, str]:
    """What became of a program in single precision, and what is lost near the ends of its range."""
    text, f, _, args = made(seed)
    args = [np.asarray(a, "float32") for a in args]
    with warnings.catch_warnings(), np.errstate(all="ignore"), everything_pays():
        warnings.simplefilter("ignore")
        try:
            graph = sg.trace(f, *args).simplify()
            exact = sg.trace(f, *[np.asarray(a, float) for a in args])
            most = choice.most_that_pay(graph, Options(scalar="auto"))
            called = _evaluated(graph, most) if most else None
        except (sg.errors.SymgradError, NotScalar) as reason:
            return type(reason).__name__, ""
        if called is None:
            return "nothing to open", ""
        other = functools.cache(lambda: sg.compile(f, *args, scalar=False))

        def loss(given: list[np.ndarray]) -> str:
            wide = [[np.asarray(a, float) for a in near] for near in (given, *moved(given))]
            want, *near = (_results(exact.evaluate, w) for w in wide)
            got = _results(called, given)
            if want is None or any(n is None for n in near):
                return ""
            if got is not None and not lost(got, want, want, near):
                return ""
            usual = _results(other(), given)  # NumPy solves in double precision
            if usual is None or got is None:
                return "" if usual is None else "singular in one form only"
            return lost(got, usual, want, near)

        for given in large_and_small(args, seed):
            # beside the very end, where one more factor of 2 is too much, as well
            found = [loss([a * np.float32(s) for a in given]) for s in (1, 0.125, 8)]
            if all(found):
                return "compared", f"{text}# range: {given}\n{found[0]}"
    return "compared", ""


def check_mapped(seed: int, graphs: bool = False) -> tuple[str, str]:
    """What became of a program that is mapped over points, and a finding, if there is one.

    Right is, result by result, what the graph of one point has under NumPy, or another form in C.
    Of derivatives with NaN, zeros beside a diagonal are right as well. Points with infinities are
    called, but not compared where they differ.
    """
    text, f, _, args = made(seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"), everything_pays():
        warnings.simplefilter("ignore")
        try:
            traced = sg.trace(f, *args)
            given, wanted = _regular(traced, args, seed)
            if not given:
                return "singular everywhere", ""
            batch = [np.stack(column) for column in zip(*given, strict=True)]
            graph = sg.trace(sg.vmap(f), *batch).simplify()
        except sg.errors.SymgradError as error:
            return f"refused: {type(error).__name__}", ""
        outs = graph.lowered_outs()
        found = choice.points_that_pay(outs, Options(scalar="auto"), HOST_TUNING)
        if found is None:
            return "nothing to open", ""
        try:
            scalars_of, _ = in_scalars(outs, *found)
        except NotScalar as reason:
            return f"other form: {re.sub('[0-9].*', '', str(reason))}", ""
        other = functools.cache(lambda: sg.compile(sg.vmap(f), *batch, scalar=False))
        usual = functools.cache(lambda: _results(other(), batch))  # None: singular by a rounding
        try:
            if graphs:
                got = evaluate(scalars_of, dict(zip(graph.args, batch, strict=True)))
            else:
                got = flatten(Compiled(graph, Options(scalar="auto"))(*batch))[0]
        except np.linalg.LinAlgError:
            same = usual() is None
            return "compared", "" if same else f"{text}\nsingular though no point is"
        single = functools.cache(lambda: sg.compile(f, *args, scalar=False))

        def forms(k: int, point: Any) -> Iterator[Any]:
            """Of what is beside a diagonal, forms make 0 or NaN where the diagonal is NaN."""
            if usual() is not None:
                yield [r[k] for r in usual()]
            alone = [single()]
            with contextlib.suppress(NotScalar):  # zeros of structure
                alone.append(_evaluated(traced.simplify(), 5000))
            for form in alone:
                if (found := _results(form, point)) is not None:
                    yield _typed(found, traced)

        dtype, zeros = str(args[0].dtype), ": values of" not in text
        for k, (point, want) in enumerate(zip(given, wanted, strict=True)):
            one = [np.asarray(r)[k] for r in got]
            near = functools.partial(_nearby, traced, point)
            finding = difference(one, want, near, dtype)
            if not finding or any(np.isinf(a).any() for a in point):  # inf - inf may be inf
                continue
            others = [*forms(k, point)]  # none: a matrix has NaN, which C does not factor
            if not others or all(
                _is_one_of(
                    r, [o[n] for o in [want, *others]], functools.partial(_nth, near, n), zeros
                )
                for n, r in enumerate(one)
            ):
                continue
            if _finite(one) not in map(_finite, near()):  # else it is what is left of a 0
                return "compared", f"{text}# point {k}: {point}\n{finding}"
    return "compared", ""


def _nth(near: Callable[[], list[Any]], n: int) -> list[Any]:
    return [[m[n]] for m in near()]


def _is_one_of(result: Any, forms: list[Any], near: Callable[[], list[Any]], zeros: bool) -> bool:
    """Whether a result is what one of several forms has.

    zeros : or 0 where that has NaN beside a diagonal: zeros of structure (0007)
    """
    for form in forms:
        allowed = np.isnan(form) & (result == 0) & (zeros and np.ndim(form) > 1)
        if not difference([result], [np.where(allowed, result, form)], near, str(result.dtype)):
            return True
    return False


def _regular(traced: Any, args: Any, seed: int) -> tuple[list[Any], list[Any]]:
    """Points at which no matrix is singular, or nearly so, and the results there."""
    given, wanted = [], []
    for _, point in points(args, seed):
        want = _results(traced.evaluate, point)
        numbers = [] if want is None else [r[np.isfinite(r)] for r in map(np.asarray, want)]
        if want is not None and all(np.all(np.abs(n) < 1e10) for n in numbers):
            given.append(point)
            wanted.append(_typed(want, traced))
    while len(given) < HOST_TUNING.lanes_from_points + 1 and given:
        given, wanted = given + given[:3], wanted + wanted[:3]
    return given, wanted


def _finite(results: Any) -> list[list[bool]]:
    return [np.isfinite(r).ravel().tolist() for r in results]


def _typed(results: Any, traced: Any) -> list[np.ndarray]:
    """Results whose numbers are no Python numbers."""
    return [np.asarray(r, o.dtype) for r, o in zip(results, traced.outs, strict=True)]


def _nearby(traced: Any, point: Any) -> list[Any]:
    found = [_results(traced.evaluate, m) for m in moved(point)]
    return [r for r in found if r is not None]


def _evaluated(graph: Any, most: int) -> Callable[..., Any]:
    run = scalars.compiled(graph, graph.outs, most, careful=True)
    return lambda *given: graph.finish(run(list(given)))


def _results(f: Any, given: Any) -> Any:
    try:
        return flatten(f(*given))[0]
    except np.linalg.LinAlgError:
        return None


def _compared(kind: str, given: Any, called: Any, traced: Any, usual: Any, values: Any) -> str:
    got = _results(called, given)
    want = _results(traced.evaluate, given)
    if got is None or want is None:
        # LAPACK's pivots and those of C differ by roundings; what is singular is so in both C forms
        other = _results(usual, given)
        same = (got is None) == (other is None) or not all(np.isfinite(a).all() for a in given)
        # of a matrix with NaN; or whose last pivot is a rounding, and so is the singular one's
        same = same or any(not np.all(np.abs(r) < 1e10) for r in (got or other))
        return "" if same else "singular in one form only"
    dtype = str(given[0].dtype)

    def near() -> list[Any]:
        found = [_results(traced.evaluate, m) for m in moved(given)]
        return [r for r in found if r is not None]

    found = difference(got, want, near, dtype)
    if found:
        other = _results(usual, given)
        if other is not None and not difference(got, other, near, dtype):
            return ""  # as the usual form has it
        if any(np.isinf(a).any() for a in given):
            # inf - inf may be inf, of which 1/x is 0; NaN has to stay what it is
            nans = [np.where(np.isinf(a), np.nan, a).astype(a.dtype) for a in given]
            return _compared(kind, nans, called, traced, usual, values)
        return f"{found}; the usual form has {other}"
    plain = _results(values, given) if kind == "ordinary" and values is not None else None
    if plain is not None:
        exact = [np.asarray(v, np.asarray(g).dtype) for v, g in zip(plain, got, strict=True)]
        return difference(got, exact, near, dtype)
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=300, help="that are compared")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--range", action="store_true")
    parser.add_argument("--mapped", action="store_true")
    options = parser.parse_args()
    outcomes, findings, seed = Counter[str](), 0, options.seed
    while outcomes["compared"] < options.programs:
        if options.range:
            outcome, finding = check_range(seed)
        else:
            outcome, finding = (check_mapped if options.mapped else check)(seed, options.graphs)
        outcomes[outcome] += 1
        if finding:
            findings += 1
            print(f"{'=' * 100}\n{finding}", flush=True)
        seed += 1
    print(f"seeds {options.seed} to {seed - 1}: {dict(outcomes)}; {findings} findings")
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
