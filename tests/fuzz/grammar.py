# ruff: noqa: E501 (tables with a row for each form)
"""Random programs: text of NumPy as people write it, tame enough for numbers to be compared.

`program(seed)` gives a file of plain Python with `f`, a scalar `loss` of its results, and
`arguments()`. Every statement is run by NumPy when it is made: that tells its shape and type, keeps
values moderate and away from ties and kinks, and throws away what NumPy refuses.

PROFILES choose sizes, so that lowering has occasion for each of its ways: many points with few
components, matrices, long vectors, long straight code, small arrays, rows around the sizes of
blocks, and no rows at all.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from fuzz.oracles import SCIPY, TUNINGS

MOST = 64_000  # elements of one array
LARGEST = 30.0  # of values that the next statement may see
_WORD = re.compile(r"\w+")
MARGIN = {"float64": 1e-4, "float32": 5e-3}  # between values that a kink or a tie would confuse

ROWS = [1, 2, 3, 5, 8, 17, 31, 32, 33, 34, 37, 48, 63, 64, 65, 67, 72, 97, 100, 128, 131, 150, 199,
        200, 257, 333, 500, 640, 1000]  # fmt: skip
PROFILES: dict[str, dict[str, Any]] = {
    "points": dict(rows=ROWS[6:], columns=[1, 2, 2, 3, 3, 4, 5, 6, 8], statements=(4, 14)),
    "more points": dict(rows=[257, 333, 500, 640, 1000], columns=[1, 2, 3, 4, 6], statements=(3, 12)),
    "matrices": dict(rows=[8, 16, 33, 64, 100, 150, 257, 1000], columns=[6, 7, 8, 9, 12, 16, 31, 40, 64],
                     statements=(3, 9)),
    "vectors": dict(rows=[64, 257, 1000, 1000], columns=[2, 2, 3], statements=(2, 9)),
    "small": dict(rows=[1, 2, 3, 4, 5, 8], columns=[1, 2, 3, 4, 6, 7], statements=(4, 16)),
    "long": dict(rows=[1, 3, 8, 17, 40, 100, 1000], columns=[1, 2, 3], statements=(2, 6)),
    "few rows": dict(rows=[0, 0, 1, 2], columns=[1, 2, 3, 5, 6], statements=(3, 9)),
}  # fmt: skip
WEIGHTS = [23, 12, 21, 12, 13, 12, 5]

# How much more often a profile has some kinds of statements.
LIKED = {"long": {"loop": 4}, "matrices": {"product": 4},
         "vectors": {"powers": 5, "one": 2, "two": 2, "reduce": 0.4, "scan": 0.4}}  # fmt: skip

ONE = ["np.tanh({})", "np.sin({})", "np.cos({})", "np.exp(-np.abs({}) - 0.1)", "np.exp(0.3 * {})",
       "np.log1p({0} * {0})", "np.sqrt(1.0 + {0}**2)", "np.abs({})", "np.maximum({}, 0.1)",
       "np.minimum({}, 0.3)", "np.clip({}, -0.6, 0.7)", "1.0 / (1.0 + np.exp(-{}))",
       "np.arctan({})", "np.logaddexp(0.0, {})", "-{}", "{}**2", "{}**3", "np.expm1(0.2 * {})",
       "np.arcsinh({})", "np.sinh(np.tanh({}))", "(1.1 + {}**2) ** 1.7", "np.cbrt(2.0 + {}**2)",
       "np.power(1.5 + np.sin({}), -0.4)", "np.square({})", "np.log(1.2 + {}**2)", "{} * 0.5 - 1",
       "sp.erf({})", "sp.expit({})", "np.reciprocal(2.0 + {}**2)", "np.exp2(np.tanh({}))",
       "np.sign({0}) * np.abs({0}) ** 2.5", "np.where({0} > 0.1, {0}, 0.2 * {0})",
       "np.where({0} < 0.2, np.sin({0}), {0} ** 2)", "np.maximum({0}, 0.2 * {0})", "3 * {}",
       "np.log(1.0 + np.exp({}))", "{0} * ({0} > 0.15)", "np.floor(3 * {0}) * {0}", "np.fabs({})",
       "np.mod({}, 1.3)", "np.sqrt(np.maximum({} + 0.3, 0.05))", "np.tan(0.4 * np.tanh({}))",
       "np.arcsin(0.9 * np.tanh({}))", "np.log10(1.3 + {}**2)"]  # fmt: skip
TWO = ["{} + {}", "{} - {}", "{} * {}", "{} / (1.5 + {}**2)", "np.maximum({}, {})",
       "np.minimum({}, {})", "np.hypot({}, 0.5 + {}**2)", "np.arctan2({}, 1.2 + {}**2)",
       "np.logaddexp({}, {})", "np.where({0} > {1}, {0}, 0.3 * {1})", "({0} - {1}) * {0}",
       "(1.2 + {0}**2) ** np.tanh({1})", "np.where({0} + {1} > 0.2, {0} * {1}, {0} - {1})",
       "{0} * np.exp(-({0} - {1}) ** 2)", "np.sin({0}) * np.cos({1})", "({0} > {1}) * {0}",
       "np.fmax({}, {})", "({0} + {1}) * ({0} - {1})"]  # fmt: skip


class Refused(Exception):
    """A statement that is not good for a comparison."""


class Guarded:
    """NumPy, whose functions with kinks and ties refuse values next to one."""

    def __init__(self, margin: float) -> None:
        self._margin = margin

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def _apart(self, x: Any, y: Any) -> None:
        if np.size(x) and np.size(y) and np.min(np.abs(np.subtract(x, y))) < self._margin:
            raise Refused("near a tie")

    def maximum(self, x: Any, y: Any) -> Any:
        self._apart(x, y)
        return np.maximum(x, y)

    def minimum(self, x: Any, y: Any) -> Any:
        self._apart(x, y)
        return np.minimum(x, y)

    fmax = maximum
    fmin = minimum

    def abs(self, x: Any) -> Any:
        self._apart(x, 0.0)
        return np.abs(x)

    fabs = abs
    sign = lambda self, x: self.abs(x) * 0 + np.sign(x)

    def clip(self, x: Any, low: Any, high: Any) -> Any:
        self._apart(x, low)
        self._apart(x, high)
        return np.clip(x, low, high)

    def floor(self, x: Any) -> Any:
        self._apart(x, np.rint(x))
        return np.floor(x)

    def mod(self, x: Any, y: float) -> Any:
        self.floor(np.asarray(x) / y)
        return np.mod(x, y)

    def _best(self, f: Any, x: Any, axis: Any, **options: Any) -> Any:
        x = np.asarray(x)
        axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        moved = np.moveaxis(x, [k % x.ndim for k in axes], range(len(axes)))
        flat = np.sort(moved.reshape(math.prod(moved.shape[: len(axes)]), -1), axis=0)
        if flat.shape[0] > 1:
            self._apart(flat[1:], flat[:-1]) if flat.size < 99 else self._ends(flat)
        return f(x, axis=axis, **options)

    def _ends(self, flat: Any) -> None:
        self._apart(flat[-1], flat[-2])
        self._apart(flat[0], flat[1])

    def max(self, x: Any, axis: Any = None, **options: Any) -> Any:
        return self._best(np.max, x, axis, **options)

    def min(self, x: Any, axis: Any = None, **options: Any) -> Any:
        return self._best(np.min, x, axis, **options)

    def argmax(self, x: Any, axis: Any = None) -> Any:
        return self._best(np.argmax, x, axis)

    def argmin(self, x: Any, axis: Any = None) -> Any:
        return self._best(np.argmin, x, axis)

    def ptp(self, x: Any, axis: Any = None) -> Any:
        return self._best(np.ptp, x, axis)


class Writer:
    """Grows the body of one function."""

    def __init__(self, seed: int, without: frozenset[str] = frozenset()) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.seed, self.without = seed, without
        self.profile = str(rng.choice(list(PROFILES), p=np.array(WEIGHTS) / sum(WEIGHTS)))
        sizes = PROFILES[self.profile]
        self.n = int(self.choose(sizes["rows"]))
        self.d, self.k = int(self.choose(sizes["columns"])), int(self.choose(sizes["columns"]))
        self.single = rng.random() < 0.15
        # Round numbers: zeros, ties, kinks, all of them allowed.
        self.special = not self.single and rng.random() < 0.1
        self.margin = -1.0 if self.special else MARGIN["float32" if self.single else "float64"]
        self.captured: list[str] = []
        self.arguments: list[tuple[str, str]] = []  # name and how its value is made
        self.lines: list[str] = []
        self.used: Counter[str] = Counter()
        self.values: dict[str, Any] = {}
        self.space: dict[str, Any] = {"np": Guarded(self.margin), "sp": scipy.special, "sg": SCIPY}
        self.order: list[str] = []
        self.read: set[str] = set()  # values that some statement uses
        self._inputs()
        low, high = sizes["statements"]
        wanted = int(rng.integers(low, high + 1))
        kinds = [k for k in KINDS if k not in without]
        liked = LIKED.get(self.profile, {})
        weights = np.array([KINDS[k][0] * liked.get(k, 1) for k in kinds])
        for _ in range(6 * wanted):
            if len(self.lines) >= wanted:
                break
            kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
            self.try_statement(kind)

    # ---- choices ---------------------------------------------------------------------------------

    def choose(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def within(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def number(self) -> str:
        return f"{self.rng.uniform(0.2, 1.5):.2f}"

    def pick(self, fits: Callable[[np.ndarray], bool] = lambda v: True) -> str:
        """The name of a float value, rather a recent one."""
        names = [k for k in self.order if self._is_float(self.values[k]) and fits(self.array(k))]
        if not names:
            raise Refused("no such value")
        fresh = [k for k in names if k not in self.read]
        names = fresh if fresh and self.chance(0.6) else names
        return names[-1 - min(int(self.rng.exponential(2.5)), len(names) - 1)]

    def _is_float(self, v: Any) -> bool:
        return type(v) is float or getattr(v, "dtype", np.dtype(int)).kind == "f"

    def array(self, name: str) -> np.ndarray:
        return np.asarray(self.values[name])

    def like(self, name: str) -> str:
        """Something that broadcasts with a value."""
        shape = self.array(name).shape

        def fits(v: np.ndarray) -> bool:
            try:
                both = np.broadcast_shapes(v.shape, shape)
            except ValueError:
                return False
            return math.prod(both) <= MOST

        return self.pick(fits)

    def capture(self, value: np.ndarray) -> str:
        """A captured array, by a name; spelled by how it is made if it is long."""
        name = f"C{len(self.captured)}"
        if value.size <= 12:
            text = f"np.array({value.tolist()}, dtype=np.{value.dtype})"
        else:
            seed = self.within(0, 10**6)
            shape = value.shape if value.ndim != 1 else value.size
            draw = f"np.random.default_rng({seed})"
            if value.dtype == bool:
                text = f"{draw}.random({shape}) < 0.6"
            elif value.dtype.kind == "i":
                low, high = int(value.min()), int(value.max()) + 1
                text = f"{draw}.integers({low}, {high}, {shape})"
            else:
                text = f"{draw}.uniform(-1, 1, {shape})"
        self.captured.append(f"{name} = {text}")
        self.space[name] = eval(text, {"np": np})
        return name

    # ---- arguments -------------------------------------------------------------------------------

    def _inputs(self) -> None:
        n, d, k = self.n, self.d, self.k
        shapes = [(n, d), (n, d), (n, k), (d, k), (n,), (n,), (k,), (d,), (), (d, d), (d, n)]
        if self.profile == "vectors":
            shapes = [(n,), (n,), (n, d), (n,), ()]
        made = [(n, d)] + [self.choose(shapes) for _ in range(self.within(1, 3))]
        for shape in made:
            name = f"a{len(self.arguments)}"
            if shape == () and self.chance(0.6):
                self._argument(name, "float(rng.uniform(-1, 1))")
            else:
                single = self.single and self.chance(0.8)
                cast = ".astype(np.float32)" if single else ""
                drawn = f"rng.uniform(-1, 1, {shape})"
                if self.special and self.chance(0.7):
                    drawn = f"rng.choice([0.0, 1.0, 0.5, -0.5, 2.0], {shape})"
                self._argument(name, drawn + cast)
        if self.chance(0.35):
            self._argument("labels", f"rng.integers(0, {max(min(d, k), 1)}, {n})")
        if self.chance(0.35):
            self._argument("i", f"int(rng.integers(0, {max(min(n, 3), 1)}))")
        if self.chance(0.2):
            self._argument("mask", f"rng.random({n}) < 0.5")
        rng = np.random.default_rng(self.seed)
        for name, text in self.arguments:
            self.values[name] = self.space[name] = eval(text, {"np": np, "rng": rng})

    def _argument(self, name: str, text: str) -> None:
        self.arguments.append((name, text))
        self.order.append(name)

    # ---- statements ------------------------------------------------------------------------------

    def try_statement(self, kind: str) -> None:
        captured = len(self.captured)
        name = f"v{len(self.lines)}"
        try:
            made = KINDS[kind][1](self)
            lines = made if isinstance(made, list) else [f"{{name}} = {made}"]
            self.run(name, [line.replace("{name}", name) for line in lines], kind)
        except Refused:
            del self.captured[captured:]
        except (ValueError, TypeError, IndexError, ArithmeticError, AttributeError):
            del self.captured[captured:]  # NumPy refuses what was asked

    def run(self, name: str, lines: list[str], kind: str) -> None:
        space = dict(self.space)
        for k, v in self.values.items():
            space[k] = v
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec("\n".join(lines), space)
            value = space[name]
        v = np.asarray(value)
        if v.size > MOST or v.dtype.kind not in "fib" or v.dtype.itemsize == 2:
            raise Refused("too large, or no number")
        if v.dtype.kind == "f" and v.size:
            if not np.isfinite(v).all():
                raise Refused("not finite")
            top = float(np.max(np.abs(v)))
            if top > LARGEST:
                lines.append(f"{name} = {name} / {round(top / 2)}.0" if self.chance(0.6)
                             else f"{name} = np.tanh({name} / {round(top / 2)}.0)")  # fmt: skip
                exec(lines[-1], {"np": np}, space)
                value = space[name]
        self.values[name] = value
        self.space[name] = value
        self.order.append(name)
        self.lines.append("\n".join(lines))
        self.read |= set(_WORD.findall(self.lines[-1])) - {name}
        self.used[kind] += 1

    # ---- the whole -------------------------------------------------------------------------------

    def text(self) -> str:
        names = [a for a, _ in self.arguments]
        made = [k for k in self.order if k.startswith("v")] or names[:1]
        ends = [k for k in made if k not in self.read or self.chance(0.1)] or made[-1:]
        outs = ends[-4:][::-1]
        result = outs[0] if len(outs) == 1 and self.chance(0.5) else f"({', '.join(outs)},)"
        wanted, kept = set(outs), []
        for k, line in reversed(list(enumerate(self.lines))):
            if f"v{k}" in wanted:
                kept.insert(0, line)
                wanted |= set(_WORD.findall(line))
        body = [f"    {x}" for line in kept for x in line.splitlines()]
        terms = self._loss(outs, result)
        lines = ["import numpy as np", "import scipy.special as sp", "", "import symgrad as sg", "", *self.captured, "", "",
                 f"def f({', '.join(names)}):", *body, f"    return {result}", "", "",
                 f"def loss({', '.join(names)}):", *terms, "", "", "def arguments():",
                 f"    rng = np.random.default_rng({self.seed})",
                 *[f"    {a} = {text}" for a, text in self.arguments],
                 f"    return ({', '.join(names)},)", ""]  # fmt: skip
        return "\n".join(lines)

    def _loss(self, outs: list[str], result: str) -> list[str]:
        """A scalar of every float result, with no kinks of its own."""
        names = [a for a, _ in self.arguments]
        lines = [f"    r = f({', '.join(names)})"]
        single = not result.startswith("(")
        terms = []
        for k, out in enumerate(outs):
            v = self.array(out)
            if v.dtype.kind != "f":
                continue
            r = "r" if single else f"r[{k}]"
            c = self.number()
            forms = [f"np.sum({r} * {c})", f"np.sum(np.sin({r}))", f"{c} * np.sum({r} ** 2)",
                     f"np.log(1.0 + np.sum({r} ** 2))", f"np.sum({r})"]  # fmt: skip
            if v.size:
                forms.append(f"np.mean(np.cos({r}) * {r})")
            if v.size > 1 and v.ndim:
                forms.append(
                    f"np.sum({self.capture(self.rng.uniform(-1, 1, v.shape).round(2))} * {r})"
                )
            terms.append(self.choose(forms))
        floats = [a for a in names if self._is_float(self.values[a])]
        # Every argument matters, so that none is left out of a derivative.
        terms += [f"0.1 * np.sum(np.sin({a}))" for a in floats if self.chance(0.3)]
        return [*lines, f"    return {' + '.join(terms) or '0.0 * np.sum(' + floats[0] + ')'}"]


# ---- kinds of statements -------------------------------------------------------------------------


def _one(w: Writer) -> str:
    return w.choose(ONE).format(w.pick())


def _two(w: Writer) -> str:
    x = w.pick()
    return w.choose(TWO).format(x, w.like(x))


def _index(w: Writer, n: int) -> str:
    """A slice of an axis of n elements."""
    if n == 0:
        return ":"
    a, b = w.within(0, max(n - 1, 0)), w.within(0, n)
    low, high = min(a, b), max(a, b)
    small = w.within(1, min(3, n))
    forms = [":", "::-1", f"{small}:", f":-{small}", f":{small}", f"-{small}:", "::2", "1::2",
             f"{low}:{high}", f"{low}:{high}:{w.within(2, 4)}", "::-2", f"{n - 1}:{low}:-1",
             f":{low}:-1", f"{-small}::-3"]  # fmt: skip
    return w.choose(forms)


def _slice(w: Writer) -> str:
    x = w.pick(lambda v: v.ndim >= 1)
    shape = w.array(x).shape
    parts = []
    for n in shape:
        if n and len(shape) > 1 and w.chance(0.15):
            parts.append(str(w.within(-n, n - 1)))
        else:
            parts.append(_index(w, n) if w.chance(0.7) else ":")
    if w.chance(0.1):
        parts.insert(w.within(0, len(parts)), "None")
    return f"{x}[{', '.join(parts)}]"


def _neighbours(w: Writer) -> str:
    """Stencils: differences and products of slices of one array."""
    x = w.pick(lambda v: v.ndim >= 1 and v.shape[0] >= 3)
    forms = ["{0}[1:] - {0}[:-1]", "{0}[2:] - 2 * {0}[1:-1] + {0}[:-2]", "{0}[1:] * {0}[:-1]",
             "np.diff({0}, axis=0)", "{0} - {0}[::-1]", "{0}[1:] ** 2 - {0}[:-1]",
             "({0}[::2][: {1}] + {0}[1::2][: {1}])", "np.concatenate([{0}[1:], {0}[:1]]) - {0}",
             "np.roll({0}, 1, axis=0) - {0}"]  # fmt: skip
    return w.choose(forms).format(x, w.array(x).shape[0] // 2)


def _pad(w: Writer) -> str:
    x = w.pick(lambda v: 1 <= v.ndim <= 2 and v.shape[0] >= 3)
    v = w.array(x)
    mode = w.choose(["constant", "constant", "constant", "wrap", "edge", "reflect", "symmetric"])
    most = [max(min(n - 1, 3), 0) for n in v.shape]
    width = [(w.within(0, m), w.within(0, m)) for m in most]
    if mode == "constant" and w.chance(0.4) and v.shape[0] < 200:
        width[0] = (w.within(0, 90), w.within(0, 90))
    spelled = str(width[0] if v.ndim == 1 else tuple(width))
    extra = "" if mode == "constant" else f', mode="{mode}"'
    if mode == "constant" and w.chance(0.3):
        extra = f", constant_values={w.number()}"
    return f"np.pad({x}, {spelled}{extra})"


def _padded_sum(w: Writer) -> str:
    """Something short, padded or not, beside something long."""
    x = w.pick(lambda v: v.ndim >= 1 and v.shape[0] >= 2)
    v = w.array(x)
    few = w.within(1, max(1, v.shape[0] // 2))
    rest = ", (0, 0)" * (v.ndim - 1)
    forms = [
        f"np.pad({x}[:{few}], ((0, {v.shape[0] - few}){rest},)) * {x} + {x}",
        f"np.pad({x}[{few}:], (({few}, 0){rest},)) - np.sin({x})",
        f"{x} * np.sum({x}[:{few}] ** 2) + np.exp(-{x} ** 2)",
        f"np.concatenate([np.cos({x}[:{few}]), {x}[{few}:]])",
        f"np.concatenate([{x}[-{few}:], {x}[:-{few}]]) * {x}",
    ]
    return w.choose(forms)


def _join(w: Writer) -> str:
    x = w.pick(lambda v: v.ndim >= 1)
    v = w.array(x)
    axis = w.within(0, v.ndim - 1)

    def fits(u: np.ndarray) -> bool:
        rest = lambda s: s[:axis] + s[axis + 1 :]
        return u.ndim == v.ndim and rest(u.shape) == rest(v.shape)

    parts = [x, *[w.pick(fits) for _ in range(w.within(1, 2))]]
    same = [w.pick(lambda u: u.shape == v.shape) for _ in range(2)]
    forms = [f"np.concatenate([{', '.join(parts)}], axis={axis})"] * 3 + [
        f"np.stack([{x}, {', '.join(same)}], axis={w.within(-1, v.ndim)})",
        f"np.concatenate([{x}[1:], np.sin({x}), {x}[:1]], axis=0)",
        f"np.hstack([{x}, {same[0]}])",
        f"np.vstack([{x}, {same[0]}])",
        f"np.append({x}, {same[0]}, axis=0)",
    ]
    if v.ndim == 1:
        forms.append(f"np.column_stack([{x}, {same[0]}, {same[1]}])")
    return w.choose(forms)


def _roll(w: Writer) -> str:
    x = w.pick(lambda v: v.ndim >= 1)
    axis, shift = w.within(0, w.array(x).ndim - 1), w.choose([1, -1, 2, -3, 5])
    forms = [f"np.roll({x}, {shift}, axis={axis})", f"np.roll({x}, {shift})",
             f"np.flip({x}, axis={axis})", f"np.flip({x})", f"np.tile({x}, 2)",
             f"np.repeat({x}, 2, axis={axis})", f"{x}.T", f"np.swapaxes({x}, 0, -1)"]  # fmt: skip
    if w.array(x).ndim == 2:
        forms += [f"np.rot90({x})", f"np.fliplr({x})", f"np.tril({x})", f"np.triu({x}, 1)",
                  f"np.flipud({x})"]  # fmt: skip
    return w.choose(forms)


def _reshape(w: Writer) -> str:
    x = w.pick(lambda v: v.size >= 1)
    v = w.array(x)
    size = v.size
    factors = [a for a in range(1, min(size, 65) + 1) if size % a == 0]
    a = w.choose(factors)
    forms = [f"{x}.reshape({a}, -1)", f"{x}.reshape(-1, {a})", f"np.ravel({x})",
             f"np.expand_dims({x}, {w.within(0, v.ndim)})"]  # fmt: skip
    if v.ndim:
        forms += [f"{x}[..., None]", f"{x}[None]", f"np.squeeze({x})"]
    return w.choose(forms)


def _gather(w: Writer) -> str:
    x = w.pick(lambda v: v.ndim >= 1 and min(v.shape) >= 1)
    v = w.array(x)
    axis = w.within(0, v.ndim - 1)
    n = v.shape[axis]
    count = w.choose([1, 3, 7, 40, w.n or 1, 300])
    count = min(count, MOST // max(v.size // n, 1))
    rows = w.capture(w.rng.integers(-n, n, count))
    forms = [f"np.take({x}, {rows}, axis={axis})"]
    if axis == 0:
        forms += [f"{x}[{rows}]"] * 3
    elif v.ndim == 2:
        forms += [f"{x}[:, {rows}]"] * 3
        forms.append(f"{x}[{w.capture(w.rng.integers(0, v.shape[0], count))}, {rows}]")
    return w.choose(forms)


def _gather_traced(w: Writer) -> str:
    x = w.pick(lambda v: v.ndim >= 1 and min(v.shape) >= 1)
    v = w.array(x)
    forms = []
    if "i" in w.values:
        if w.values["i"] < v.shape[0]:
            forms += [f"{x}[i]", f"{x}[-1 - i]"]
        if v.ndim == 2 and w.values["i"] < v.shape[1]:
            forms.append(f"{x}[:, i]")
    if "labels" in w.values and w.n:
        labels = w.array("labels")
        if labels.max() < v.shape[0] and v.size // v.shape[0] * w.n <= MOST:
            forms += [f"{x}[labels]", f"np.take({x}, labels, axis=0)"]
        if v.ndim == 2 and v.shape[0] == w.n and labels.max() < v.shape[1]:
            forms += [f"{x}[np.arange({w.n}), labels]",
                      f"np.take_along_axis({x}, labels[:, None], axis=1)",
                      f"(labels[:, None] == np.arange({v.shape[1]})) * {x}"]  # fmt: skip
    if v.ndim == 1:
        forms.append(f"{x}[np.argmax({x})]")
    if v.ndim == 2:
        forms += [f"{x}[np.argmin({x}[:, 0])]", f"{x}[np.argmin({x}, axis=0), 0]",
                  f"{x}[np.arange({v.shape[0]}), np.argmax({x}, axis=1)]"]  # fmt: skip
    if not forms:
        raise Refused("nothing to index")
    return w.choose(forms)


def _mask(w: Writer) -> str:
    x = w.pick(lambda v: v.ndim >= 1)
    v = w.array(x)
    n = v.shape[0]
    y = w.pick(lambda u: u.shape == v.shape)
    tall = "" if v.ndim == 1 else f"[:{', None' * (v.ndim - 1)}]"
    kept = w.capture(w.rng.random(n) < 0.6)
    forms = [f"{x}[{kept}]", f"np.where({kept}{tall}, {x}, 0.5 * {y})",
             f"np.where({kept}{tall}, np.log(1.1 + {x} ** 2), {y})", f"{x} * {kept}{tall}",
             f"np.where({x} > 0.2, {x}, np.where({y} < -0.1, {y} ** 2, 0.3))"]  # fmt: skip
    if "mask" in w.values and n == w.n:
        forms += [f"np.where(mask{tall}, {x}, np.tanh({y}))", f"mask{tall} * {x}",
                  f"np.sum(np.where(mask{tall}, {x}, 0.0), axis=0)"]  # fmt: skip
    if v.shape:
        forms.append(f"np.where(np.abs({x}) > 0.05, np.sin({x}) / {x}, 1.0)")
    return w.choose(forms)


def _product(w: Writer) -> str:
    x = w.pick(lambda v: v.ndim == 2)
    n, m = w.array(x).shape
    forms = [f"{x}.T @ {x} / {max(n, 1)}", f"np.einsum('ij,ij->i', {x}, {x})",
             f"np.einsum('ij->j', {x})", f"np.einsum('ij->ji', {x})"]  # fmt: skip
    if n <= 250:
        forms.append(f"{x} @ {x}.T / {max(m, 1)}")
        forms.append(f"np.sum(({x}[:, None, :] - {x}[None, :, :]) ** 2, axis=-1)" if n * n * m <= MOST
                     else f"np.einsum('ik,jk->ij', {x}, {x})")  # fmt: skip
    for fits, made in (
        (lambda u: u.ndim == 2 and u.shape[0] == m, ["{0} @ {1}", "np.dot({0}, {1})",
         "np.tensordot({0}, {1}, 1)", "np.einsum('ij,jk->ik', {0}, {1})", "np.tanh({0} @ {1})"]),
        (lambda u: u.ndim == 2 and u.shape[0] == n, ["{0}.T @ {1} / 3", "np.einsum('ni,nj->ij', {0}, {1}) / 7"]),
        (lambda u: u.ndim == 2 and u.shape == (n, m), ["np.einsum('ij,ij->', {0}, {1}) / 9", "np.vdot({0}, {1}) / 9",
         "np.einsum('ni,nj,nj->i', {0}, {1}, {1})"]),
        (lambda u: u.shape == (m,), ["{0} @ {1}", "np.einsum('ij,j->i', {0}, {1})", "{0} * {1}"]),
        (lambda u: u.shape == (n,), ["{0}.T @ {1}", "{1} @ {0}", "{0} * {1}[:, None]", "np.einsum('ni,n,nj->ij', {0}, {1}, {0}) / 5"]),
        (lambda u: u.ndim == 2 and u.shape == (m, m), ["np.einsum('ni,ij,nj->n', {0}, {1}, {0})", "np.sum({0} @ {1} * {0}, axis=1)"]),
        (lambda u: u.ndim == 2 and u.shape[1] == m and u.shape[0] * n * m <= MOST,
         ["np.sum(({0}[:, None, :] - {1}[None]) ** 2, axis=2)", "np.exp(-np.sum(({0}[:, None] - {1}) ** 2, -1))"]),
        (lambda u: u.ndim == 1 and u.size * n * m <= MOST, ["np.outer({1}, {0}[:, 0])"]),
    ):  # fmt: skip
        try:
            y = w.pick(fits)
        except Refused:
            continue
        forms += [form.format(x, y) for form in made]
    if n <= 8 and m <= 8:
        forms.append(f"np.kron({x}, {x})")
    return w.choose(forms)


def _vectors(w: Writer) -> str:
    x = w.pick(lambda v: v.ndim == 1)
    y = w.pick(lambda v: v.ndim == 1 and v.shape == w.array(x).shape)
    n = w.array(x).size
    forms = [f"{x} @ {y}", f"np.dot({x}, {y})", f"np.inner({x}, {y})"]
    if n <= 200:
        forms += [f"np.outer({x}, {y})", f"{x}[:, None] - {y}", f"{x}[:, None] ** np.arange(4)",
                  f"np.diag({x})", f"np.exp(-({x}[:, None] - {y}[None, :]) ** 2)"]  # fmt: skip
    if 1 <= n <= 40:
        forms.append(f"np.convolve({x}, {y})")
    if n == 3:
        forms.append(f"np.cross({x}, {y})")
    return w.choose(forms)


def _reduce(w: Writer) -> str:
    x = w.pick(lambda v: v.ndim >= 1)
    v = w.array(x)
    axis: Any = w.choose([None, *range(-v.ndim, v.ndim)])
    if v.ndim > 1 and w.chance(0.15):
        axis = tuple(sorted(w.rng.choice(v.ndim, 2, False).tolist()))
    spelled = "" if axis is None and w.chance(0.6) else f", axis={axis}"
    if w.chance(0.25):
        spelled += ", keepdims=True"
    extent = v.size if axis is None else np.take(v.shape, axis).prod()
    if not extent:
        return f"np.sum({x}{spelled})"
    names = ["sum"] * 4 + ["mean", "mean", "max", "min", "var", "norm", "logsumexp", "rms", "std"]
    names += ["prod"] * bool(extent <= 60)
    name = w.choose(names)
    if name == "norm":
        if isinstance(axis, tuple):
            raise Refused("a matrix norm")
        return f"np.linalg.norm({x} + 0.01{spelled})"
    if name == "std":
        return f"np.sqrt(np.var({x}{spelled}) + 0.1)"
    if name == "logsumexp":
        return f"sg.logsumexp({x}{spelled})"
    if name == "rms":
        return f"np.sqrt(0.1 + np.mean({x} ** 2{spelled}))"
    if name == "prod":
        return f"np.prod(1.0 + 0.3 * np.tanh({x}){spelled})"
    return f"np.{name}({x}{spelled})"


def _softmax(w: Writer) -> list[str] | str:
    x = w.pick(lambda v: v.ndim >= 1 and v.size >= 1)
    axis = w.within(0, w.array(x).ndim - 1)
    forms: list[Any] = [
        [f"{{name}} = np.exp({x} - np.max({x}, axis={axis}, keepdims=True))",
         f"{{name}} = {{name}} / np.sum({{name}}, axis={axis}, keepdims=True)"],
        [f"{{name}} = np.exp({x}) / np.sum(np.exp({x}), axis={axis}, keepdims=True)"],
        f"{x} - np.log(np.sum(np.exp({x}), axis={axis}, keepdims=True))",
        f"np.log(np.sum(np.exp({x}), axis={axis}))",
        f"sg.softmax({x}, axis={axis})", f"sg.log_softmax({x}, axis={axis})",
        f"({x} - np.mean({x}, axis={axis}, keepdims=True)) / np.sqrt(np.var({x}, axis={axis}, keepdims=True) + 0.3)",
        f"{x} / np.sqrt(0.2 + np.sum({x} ** 2, axis={axis}, keepdims=True))",
    ]  # fmt: skip
    return w.choose(forms)


def _scan(w: Writer) -> str:
    x = w.pick(lambda v: v.ndim >= 1 and v.size >= 1)
    v = w.array(x)
    axis = w.within(0, v.ndim - 1)
    forms = [f"np.cumsum({x}, axis={axis}) / {max(v.shape[axis], 1)}", f"np.diff({x}, axis={axis})",
             f"np.cumsum({x}) / {v.size}", f"np.cumsum({x}[::-1], axis=0)[::-1] / {v.shape[0]}",
             f"np.trapezoid({x}, axis={axis})", f"np.trapezoid({x}, dx=0.1)"]  # fmt: skip
    if v.shape[axis] <= 300:
        forms += [f"np.cumprod(1.0 + 0.2 * np.tanh({x}), axis={axis})"]
    return w.choose(forms)


def _linalg(w: Writer) -> list[str]:
    x = w.pick(lambda v: v.ndim == 2 and v.shape[1] <= 12 and v.size >= 1)
    n, d = w.array(x).shape
    single = w.array(x).dtype == np.float32
    eye = f"np.eye({d}, dtype=np.float32)" if single else f"np.eye({d})"
    lines = [f"m = {x}.T @ {x} / {n} + 1.5 * {eye}"]
    if w.chance(0.2) and d >= 2:
        lines = [
            f"m = {x}[:{min(n, d)}, :{min(n, d)}] * 0.2 + 1.2 * {eye.replace(str(d), str(min(n, d)), 1)}"
        ]
        d = min(n, d)
    y = w.pick(lambda v: v.ndim in (1, 2) and d in v.shape)
    v = w.array(y)
    side = y if v.shape[0] == d else f"{y}.T"
    forms = [f"np.linalg.solve(m, {side})", "np.linalg.inv(m)", "np.linalg.det(m)",
             "np.linalg.slogdet(m)[1]",
             "np.linalg.slogdet(m)[0] * m[0]", "np.linalg.det(m) * m", "np.linalg.cholesky((m + m.T) / 2)", "np.trace(m)",
             f"np.linalg.solve(m + m.T, {side})", "np.linalg.matrix_power(m, 2)",
             f"np.linalg.solve(np.linalg.cholesky((m + m.T) / 2), {side})",
             "np.sum(np.log(np.diag(np.linalg.cholesky((m + m.T) / 2))))",
             f"np.linalg.norm({x})", "np.diagonal(m)"]  # fmt: skip
    return [*lines, f"{{name}} = {w.choose(forms)}"]


def _types(w: Writer) -> str:
    x = w.pick()
    v = w.array(x)
    forms = [f"{x} * np.array({w.within(1, 3)})", f"np.where({x} > 0.1, 1.0, 0.0) * {x}", f"{x} / 2",
             f"np.where({x} > 0, 1, 2) * {x}", f"{x} * True", f"{x}.astype(np.float64) * 0.7",
             f"np.rint(2 * {x} + 0.03) * {x}", f"{x} ** 2 // 0.3 * {x}"]  # fmt: skip
    if v.ndim:
        forms += [
            f"np.arange({v.shape[0]}){'[:, None]' * (v.ndim == 2)} * {x} / {max(v.shape[0], 1)}"
        ]
        forms += [f"{x}.astype(np.float32) * 2"]
        if v.size:
            forms += [f"np.argmax({x}, axis=0) * 0.5", f"np.argmin({x}, axis=-1)"]
    for name in ("labels", "mask", "i"):
        if name in w.values:
            forms.append(f"{name} * 0.5 + {w.number()}")
    return w.choose(forms)


def _store(w: Writer) -> list[str]:
    """Arrays filled in place."""
    x = w.pick(lambda v: v.ndim >= 1 and v.shape[0] >= 2)
    v = w.array(x)
    few = w.within(1, v.shape[0] - 1)
    y = w.pick(lambda u: u.shape == v.shape[1:] or u.shape == ())
    forms = [
        [
            f"{{name}} = np.zeros_like({x})",
            f"{{name}}[{few}:] = {x}[{few}:] * 2",
            f"{{name}}[:{few}] = {y}",
        ],
        [f"{{name}} = {x}.copy()", f"{{name}}[:{few}] = np.sin({x}[:{few}])"],
        [f"{{name}} = {x}.copy()", f"{{name}}[::2] += {y}"],
        [f"{{name}} = {x} + 0.0", f"{{name}}[{few}] = {y}"],
        [f"{{name}} = {x} * 1.0", f"{{name}}[1:] -= {x}[:-1] * 0.5"],
        [f"{{name}} = np.zeros_like({x})", f"{{name}}[::-1] = {x}", "{name} *= 0.5"],
        [f"{{name}} = {x}.copy()", "{name}[-1] = {name}[0] * {name}[-1]"],
    ]
    return w.choose(forms)


def _rounds(w: Writer) -> int:
    return w.choose(
        [1, 2, 3, 5, 8, 9, 17, 30, 60, 100, 200] if w.profile == "long" else [1, 2, 3, 7, 12]
    )


def _loop(w: Writer) -> list[str]:
    """Loops of 1 to 200 rounds."""
    n = _rounds(w)
    x = w.pick()
    v = w.array(x)
    c = w.number()
    forms = [
        [f"{{name}} = {x}", f"for t in range({n}):", f"    {{name}} = np.tanh(0.9 * {{name}} + {c} * {x})"],
        [f"{{name}} = 0.0 * {x}", f"power = 0.0 * {x} + 1.0", f"for t in range({n}):",
         "    {name} = {name} + power / (t + 1.0)", f"    power = power * np.tanh({x})"],
        [f"{{name}} = {x}", f"for t in range({n}):",
         f"    {{name}} = {{name}} - 0.1 * ({{name}} ** 3 - np.sin({x} + t))"],
        [f"{{name}}, before = {x}, 0.5 * {x}", f"for t in range({n}):",
         "    {name}, before = np.sin({name}) + 0.3 * before, {name}"],
        [f"{{name}} = 1.0 + 0.0 * {x}", f"for t in range({n}):",
         f"    {{name}} = {{name}} * (1.0 + 0.1 * np.sin({x} * t))"],
        [f"{{name}} = {x}", f"for t in range({n}):", "    if t % 3 == 0:",
         f"        {{name}} = {{name}} * {c}", "    else:", f"        {{name}} = np.cos({{name}}) + {x}"],
        [f"{{name}} = {x} * 0.0", f"for t in range({n}):",
         f"    {{name}} += np.where({x} > t / 7.0 - 1.03, {x} * {x}, t * 0.1)"],
    ]  # fmt: skip
    if v.ndim:
        m = v.shape[0]
        many = min(n, m)
        forms += [
            ["{name} = 0.0", f"for t in range({many}):", f"    {{name}} = {{name}} + np.sum(np.sin({x}[t])) * {c}"],
            ["{name} = 0.0", f"for t in range({m and n}):",
             f"    {{name}} = np.tanh(0.7 * {{name}} + {x}[t % {m or 1}])"],
            ["{name} = 0.0", f"for t in range({max(many - 1, 0)}):",
             f"    {{name}} += ({x}[t + 1] - {x}[t] ** 2) ** 2 * {c}"],
            ["rows = []", f"for t in range({max(many, 1) if m else 0}):", f"    rows.append({x}[t] * np.cos({x}[-1 - t]))",
             "{name} = np.stack(rows)"],
            ["{name} = 0.0", f"for t in range({many}):", f"    for s in range({min(many, 4)}):",
             f"        {{name}} = {{name}} + np.sum({x}[t] * {x}[s]) * 0.1"],
            ["{name} = 0.0", f"for t in range({n}):",
             f"    {{name}} = {{name}} + np.sum(np.exp(-({x} - t / {n}.0) ** 2)) / {n}"],
        ]  # fmt: skip
        # Sums over points with many coefficients: long functions with loops inside.
        try:
            y = w.pick(lambda u: u.ndim == 1 and 1 <= u.size <= 100)
            k = min(n, w.array(y).size)
            forms += [
                [f"{{name}} = 0.0 * {x} + 0.1", f"power = 0.0 * {x} + 1.0", f"for t in range({k}):",
                 f"    {{name}} = {{name}} - {y}[t] * power", f"    power = power * np.tanh({x})"],
                [f"{{name}} = {x}", f"for t in range({k}):", f"    {{name}} = np.tanh({{name}} * {y}[t] + {c})"],
                ["sums = []", f"for t in range({k}):", f"    sums.append(np.sum(np.sin({x} * {y}[t])) / {max(v.size, 1)})",
                 "{name} = np.stack(sums)"],
            ] * 2  # fmt: skip
        except Refused:
            pass
    return w.choose(forms)


def _helper(w: Writer) -> list[str]:
    x = w.pick()
    return [
        "def g(z, c=1.0):",
        f"    return {w.choose(ONE).format('z')} * c",
        f"{{name}} = g({x}) + g({w.like(x)}, {w.number()})",
    ]


def _powers(w: Writer) -> str:
    x = w.pick(lambda v: v.size >= 1000 or v.size >= 1 and w.profile != "vectors")
    p = w.choose(["1.7", "-1.3", "0.3", "-0.4", "2.2", "1.5"])
    forms = ["(1.1 + {0} ** 2) ** {1}", "(1.5 + np.tanh({0})) ** {1} - 0.5 * {0}",
             "np.power(1.4 + np.sin({0}), {1})",
             "(1.3 + {0} ** 2) ** 1.5 * {0}",
             "np.sin(3 * {0}) * np.cos({0}) + np.sin({0} - 0.2)", "np.sin({0}) * {0} ** 2"]  # fmt: skip
    return w.choose(forms).format(x, p)


def _others(w: Writer) -> str:
    """Functions of NumPy that are made of simpler ones."""
    x = w.pick(lambda v: v.ndim >= 1 and v.size >= 2)
    v = w.array(x)
    y = w.pick(lambda u: u.shape == v.shape)
    n = v.shape[0]
    rows = w.capture(w.rng.integers(0, n, min(n, 3)))
    forms = [f"np.select([{x} > 0.3, {x} > -0.2], [{x}, {y} ** 2], 0.1)", f"np.delete({x}, {rows}, axis=0)",
             f"np.polyval([0.3, -1.2, 0.5], {x})", f"np.average({x}, axis=0, weights={y} ** 2 + 0.2)",
             f"np.nan_to_num({x})", f"np.nansum({x}, axis=0)", f"np.array_split({x}, 2)[1]",
             f"np.split({x}[:{n - n % 2}], 2)[0] * 2", f"np.linalg.norm({x} + 0.01, ord=1, axis=0)",
             f"np.average({x}, axis=-1)", f"np.moveaxis({x}, 0, -1)", f"np.atleast_2d({x})",
             f"np.broadcast_to({x}, (2, *{x}.shape))", f"np.where({x} > 0.1, {x}, {y})[::-1]",
             f"np.take({x}, [0, -1, 0], axis=0)", f"np.max(np.abs({x}), axis=-1)",
             f"np.linalg.norm({x}[0] + 0.01) * {x}"]  # fmt: skip
    if v.ndim == 2:
        forms += [f"np.cov({x}.T)"] * (n > 2) + [
            f"np.trace({x})",
            f"np.linalg.norm({x})",
            f"np.ravel({x}, order='F')",
        ]
    if v.ndim == 1 and v.size <= 60:
        forms += [
            f"np.vander({x}, 4)",
            f"np.meshgrid({x}, {y})[1]",
            f"np.ediff1d({x})",
            f"np.correlate({x}, {y})",
        ]
    return w.choose(forms)


def _sorted(w: Writer) -> str:
    x = w.pick(lambda v: v.ndim >= 1 and 2 <= v.size <= 2000)
    v = w.array(x)
    axis = w.within(0, v.ndim - 1)
    if len(np.unique(v.round(7))) < v.size:  # equal elements share a derivative in some way
        raise Refused("equal elements")
    forms = [f"np.sort({x}, axis={axis})", f"np.median({x}, axis={axis})", f"np.median({x})"]
    if v.ndim == 1:
        forms += [
            f"np.sort({x})[::-1]",
            f"{x}[np.argsort({x})] * np.arange({v.size})",
            f"np.argsort({x}) * {x}",
        ]
    if v.ndim == 2:
        forms.append(f"{x}[np.argsort({x}[:, 0])]")
    if "labels" in w.values and v.shape[0] == w.array("labels").size:
        forms += [f"{x}[np.argsort(labels, kind='stable')]", f"np.sort(labels) * np.sum({x})"]
    return w.choose(forms)


def _eigenvalues(w: Writer) -> list[str]:
    x = w.pick(lambda v: v.ndim == 2 and 1 <= v.shape[1] <= 6 and v.size >= 1)
    n, d = w.array(x).shape
    lines = [f"m = {x}.T @ {x} / {n} + np.diag(np.arange({d}.0))"]
    return [
        *lines,
        f"{{name}} = {w.choose(['np.linalg.eigvalsh(m)', 'np.linalg.eigh(m)[0] ** 2'])}",
    ]


def _branch(w: Writer) -> list[str]:
    """Decisions that depend on values."""
    x, c = w.pick(), w.number()
    v = w.array(x)
    size = f"np.sum({x} ** 2)" if v.ndim else f"abs({x})"
    forms = [
        [f"if {size} > {c}:", f"    {{name}} = {x} * {w.number()}", "else:", f"    {{name}} = np.sin({x}) + {c}"],
        [f"{{name}} = {x}", f"if np.sum({x}) < {c}:", "    {name} = {name} ** 2", f"    if {size} > {w.number()}:",
         "        {name} = np.cos({name})"],
        [f"{{name}} = np.tanh({x}) if {size} < {c} else {x} * 2.0"],
        ["def g(z):", f"    if np.sum(z) > {c}:", "        return z * 0.5", f"    return np.exp(-z * z) + {c}",
         f"{{name}} = g({x}) * g({w.like(x)})"],
        [f"assert np.sum({x}) < 1e9", f"{{name}} = {x} * {c}"],
    ]  # fmt: skip
    return w.choose(forms)


def _until(w: Writer) -> list[str]:
    """Loops whose rounds depend on values."""
    x, c = w.pick(), w.number()
    forms = [
        [f"{{name}} = {x}", f"while np.sum({{name}} ** 2) > {c}:", "    {name} = 0.6 * np.sin({name})"],
        [f"{{name}}, k = {x}, 0", f"while k < 30 and np.sum(np.abs({{name}})) > {c}:",
         "    {name} = {name} - 0.4 * np.tanh({name})", "    k += 1"],
        [f"{{name}} = {x}", f"for t in range({w.within(3, 40)}):", f"    {{name}} = 0.7 * {{name}} + 0.1 * np.cos({x} + t)",
         f"    if np.sum({{name}} ** 2) < {c}:", "        break"],
        [f"{{name}} = {x}", "for t in range(12):", f"    if np.sum({{name}}) > {c}:", "        {name} = {name} * 0.8", "        continue",
         f"    {{name}} = {{name}} + 0.1 * np.sin({x})"],
    ]  # fmt: skip
    return w.choose(forms)


KINDS: dict[str, tuple[int, Callable[[Writer], Any]]] = {
    "one": (10, _one), "two": (12, _two), "slice": (9, _slice), "neighbours": (5, _neighbours),
    "pad": (4, _pad), "beside": (4, _padded_sum), "join": (5, _join), "roll": (4, _roll),
    "reshape": (3, _reshape), "gather": (5, _gather), "traced index": (6, _gather_traced),
    "mask": (5, _mask), "product": (9, _product), "vectors": (3, _vectors), "reduce": (9, _reduce),
    "softmax": (4, _softmax), "scan": (4, _scan), "linalg": (4, _linalg), "types": (4, _types),
    "store": (3, _store), "loop": (6, _loop), "helper": (1, _helper), "powers": (4, _powers), "others": (5, _others),
    "sorted": (3, _sorted), "eigenvalues": (2, _eigenvalues), "branch": (4, _branch), "until": (3, _until),
}  # fmt: skip


def program(seed: int, without: frozenset[str] = frozenset()) -> tuple[str, dict[str, Any]]:
    """The text of a program and what is to be done with it; see `oracles.check`."""
    w = Writer(seed, without)
    text = w.text()
    rng = np.random.default_rng(seed + 1)
    chance = lambda p: bool(rng.random() < p)
    stages = ["gradient"] if chance(0.8) else []
    stages += [s for s, p in (("value", 0.6), ("hvp", 0.35), ("both", 0.2), ("jacobian", 0.2),
                              ("nested", 0.1), ("jax", 0.03), ("threads", 0.15), ("blas", 0.1)) if chance(p)]  # fmt: skip
    if w.special:  # |x|² is x² after simplification, with another second derivative at 0
        stages = [s for s in stages if s in ("gradient", "value", "threads", "blas")]
    tuning = []
    if chance(0.5):
        wanted = {"matrices": ("small tiles", "short streams", "eager threads"),
                  "vectors": ("powers",), "points": ("eager threads",)}  # fmt: skip
        often = wanted.get(w.profile, ())
        tuning = [n for n in TUNINGS if chance(0.6 if n in often else 0.22)]
        if "eager threads" in tuning and "threads" not in stages:
            stages.append("threads")
        if "small blas" in tuning and "blas" not in stages:
            stages.append("blas")
    if not w.special:
        stages += [s for s, p in (("sparse", 0.12), ("batch", 0.15)) if chance(p)]
    options = dict(seed=seed, stages=stages or ["value"], tuning=tuning, profile=w.profile + " of round numbers" * w.special,
                   kinds=dict(w.used), special=w.special, source=chance(0.75))  # fmt: skip
    return text, options
