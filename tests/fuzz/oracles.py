"""One program against NumPy, exact derivatives and its own graph before simplification.

Tolerances. Results are compared entry by entry; allowed is TOLERANCE[dtype] times the largest entry
expected in that result, at least 1. What exceeds that may be ill conditioned: then the
expected result is computed again at arguments that differ by a few roundings, and NOISE times the
largest change is allowed as well. A float32 program is compared with its own text in float64.
"""

from __future__ import annotations

import contextlib
import hashlib
import linecache
import os
import re
import traceback
import types
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.special

import symgrad as sg
from fuzz import jets, paths
from fuzz.fence import Fences
from support import scalars
from support.faults import FAULTS
from symgrad import generate
from symgrad.compiled import Compiled
from symgrad.derivatives import inner
from symgrad.errors import SymgradError
from symgrad.expr.walk import toposort
from symgrad.lower.tuning import HOST_TUNING, NEVER, Tuning
from symgrad.options import Options
from symgrad.runtime.record import Record
from symgrad.scalar.derive import Look, opened
from symgrad.scalar.space import NotScalar

_MOST_SCALARS, _MOST_ELEMENTS = 1000, 200  # of what is tried in scalar form
TOLERANCE = {"float64": 1e-10, "float32": 4e-4}
EPSILON = {"float64": 4 * 2.0**-53, "float32": 2 * 2.0**-24}
NOISE = 50

# Other choices of lowering, which make every path reachable with little data.
TUNINGS: dict[str, dict[str, Any]] = {
    "short lanes": dict(lanes_from_points=2, lane_counts=(3, 2), flush_blocks=1,
                        compensate_from_flushes=0),
    "eager threads": dict(parallel_from_cost=0, share_from_work=0),
    "small tiles": dict(tiles_from_extent=2, tiles_from_face=4, block_rows=12, most_rows=12,
                        block_columns=16, block_summands=3, compensate_from_blocks=2,
                        fold_from_rows=2),
    "short streams": dict(stream_points=6, stream_from_bytes=-1, added_share=0,
                          compensate_from_points=2, chunk_blocks=2),
    "short parts": dict(part_statements=5),
    "captured data": dict(constant_elements=2),
    "small blas": dict(blas_from_work=1, blas_block=8),
    "loops": dict(straight_operations=0),
    "powers": dict(powers_from_points=2, fetch_from_bytes=1),
}  # fmt: skip

# What is switched off in turn to see which module a failure comes from.
SWITCHES: dict[str, dict[str, Any]] = {
    "simplification": {},
    "cut parts": dict(part_statements=NEVER),
    "streams": dict(stream_from_bytes=NEVER),
    "triangles": dict(triangle_from_points=NEVER),
    "tiles": dict(tiles_from_face=NEVER),
    "straight lanes": dict(straight_operations=0),
    "lanes": dict(lanes_from_points=NEVER),
    "gcc above -O2": {},
    "gcc above -O1": {},
}
FLAGS = {"gcc above -O2": "-O2", "gcc above -O1": "-O1"}


@dataclass
class Outcome:
    """What became of one program: findings (stage, kind, message), refusals, paths taken."""

    findings: list[tuple[str, str, str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    paths: Counter[str] = field(default_factory=Counter)
    stages: list[str] = field(default_factory=list)
    skipped: str = ""


class Skipped(Exception):
    """The program is not one that can be compared."""


SCIPY = types.SimpleNamespace(
    logsumexp=scipy.special.logsumexp,
    softmax=scipy.special.softmax,
    log_softmax=scipy.special.log_softmax,
)


# ---- a program ---------------------------------------------------------------------------------


def load(
    text: str,
    numpy: Any = np,
    special: Any = scipy.special,
    symgrad: Any = SCIPY,
    source: bool = False,
) -> dict[str, Any]:
    """The names of a program, whose `np`, `sp` and `sg` are given.

    Of symgrad a program has the functions that SciPy has under the same names.

    source : whether the text of its functions can be found, as that of functions in files
    """
    body = re.sub(r"^import .*$", "", text, flags=re.M)
    space = {"np": numpy, "sp": special, "sg": symgrad, "__name__": "program"}
    name = (
        f"<program {hashlib.sha256(text.encode()).hexdigest()[:8]}{' in sight' if source else ''}>"
    )
    if source:
        linecache.cache[name] = (len(body), None, body.splitlines(True), name)
    exec(compile(body, name, "exec"), space)
    return space


def is_float(x: Any) -> bool:
    return type(x) is float or isinstance(x, np.ndarray) and x.dtype.kind == "f"


def precision(args: Sequence[Any], text: str) -> str:
    """The least precise type that a program computes in."""
    single = any(isinstance(a, np.ndarray) and a.dtype == np.float32 for a in args)
    return "float32" if single or "float32" in text else "float64"


def leaves(result: Any) -> list[Any]:
    return [x for r in result for x in leaves(r)] if isinstance(result, (tuple, list)) else [result]


class Subject:
    """A program with its arguments and the numbers it should give."""

    def __init__(self, text: str, seed: int = 0, source: bool = True) -> None:
        self.text = text
        space = load(text, symgrad=sg, source=source)
        self.f, self.loss = space["f"], space["loss"]
        self.plain = load(text)["f"]
        self.args: tuple[Any, ...] = tuple(space["arguments"]())
        self.floats = tuple(k for k, a in enumerate(self.args) if is_float(a))
        self.precision = precision(self.args, text)
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.u, self.v = (
            [_like(rng, self.args[k]) for k in self.floats] for _ in range(2)
        )  # fmt: skip

    def numpy(self) -> list[np.ndarray]:
        """The results by NumPy alone, in the precision of the arguments."""
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [np.asarray(x) for x in leaves(self.plain(*self.args))]

    def wide(self, args: Sequence[Any] | None = None) -> tuple[Any, ...]:
        """Arguments in double precision."""
        args = self.args if args is None else args
        return tuple(np.float64(a) if k in self.floats else a for k, a in enumerate(args))

    def jets(self, name: str, args: Sequence[Any] | None = None) -> list[jets.Jet]:
        """The results of `f` or `loss` in double precision with derivatives along u and v."""
        values = list(self.wide(args))
        for k, u, v in zip(self.floats, self.u, self.v, strict=True):
            parts = [np.array(p, np.float64) for p in (values[k], u, v)]
            values[k] = jets.Jet([*parts, np.zeros(np.shape(values[k]))])
        space = load(self.text, jets.NUMPY, jets.SPECIAL, jets.SPECIAL)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return [jets.lift(x) for x in leaves(space[name](*values))]
            except ValueError as error:
                if "array element with a sequence" in str(error):
                    raise Skipped("a constant array of NumPy's takes a jet") from None
                raise

    def along(self, given: Sequence[Any], reverse_first: bool = True) -> Any:
        """Hessian of the loss times a vector, both `given`: forward over reverse, or the other."""
        args, vs = given[: len(self.args)], tuple(given[len(self.args) :])
        numbers = tuple(range(len(self.floats)))
        xs = tuple(args[k] for k in self.floats)
        loss = lambda *ys: self.loss(*_put(args, self.floats, ys))
        if reverse_first:
            gradient = sg.grad(loss, argnums=numbers)
            return sg.jvp(gradient, xs, vs)[1]
        slope = lambda *ys: sg.jvp(loss, ys, vs)[1]
        return sg.grad(slope, argnums=numbers)(*xs)

    def near(self) -> list[tuple[Any, ...]]:
        """Arguments a few roundings away."""
        e = EPSILON[self.precision]
        return [
            tuple(
                type(a)(a * (1 + e * self.rng.choice([-1, 1])))
                if type(a) is float
                else (a * (1 + e * self.rng.choice([-1, 1], np.shape(a)))).astype(np.float64)
                if k in self.floats
                else a
                for k, a in enumerate(self.args)
            )
            for _ in range(3)
        ]


def _like(rng: np.random.Generator, x: Any) -> Any:
    """A direction of the shape and type of an argument."""
    made = rng.uniform(-1, 1, np.shape(x))
    return float(made) if type(x) is float else made.astype(x.dtype)


# ---- comparing -----------------------------------------------------------------------------------


def compare(
    got: Sequence[Any],
    want: Sequence[Any],
    tolerance: float,
    near: Callable[[], list[Sequence[Any]]],
    slack: float = 1.0,
) -> str:
    """Where results differ by more than the tolerance; nothing if they do not.

    near : the expected results at arguments a few roundings away, made where they are needed
    slack : a magnitude that a sum of many terms had before they cancelled
    """
    if len(got) != len(want):
        return f"{len(got)} results instead of {len(want)}"
    noise: list[Sequence[Any]] | None = None
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        g, w = np.asarray(g), np.asarray(w)
        if g.shape != w.shape:
            return f"result {k}: shape {g.shape} instead of {w.shape}"
        if not w.size:
            continue
        if w.dtype.kind in "biu":
            if (g != w).any():
                return f"result {k}: {_first(g, w, g != w)}"
            continue
        g64, w64 = g.astype(np.float64), w.astype(np.float64)
        bad = ~(np.abs(g64 - w64) <= tolerance * max(slack, np.max(np.abs(w64))))
        bad &= ~((g64 == w64) | np.isnan(g64) & np.isnan(w64))
        if bad.any() and np.isfinite(w64).all():
            if noise is None:
                noise = near()
            changes = [np.max(np.abs(np.asarray(n[k], np.float64) - w64)) for n in noise]
            bad &= ~(np.abs(g64 - w64) <= NOISE * max(changes))
        if bad.any():
            return f"result {k}: {_first(g64, w64, bad)}"
    return ""


def _first(g: np.ndarray, w: np.ndarray, bad: np.ndarray) -> str:
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    count = int(np.count_nonzero(bad))
    return f"{count} of {g.size} entries wrong, at {list(at)} {g[at]!r} instead of {w[at]!r}"


# ---- symgrad -------------------------------------------------------------------------------------


def tuned(names: Sequence[str]) -> Tuning:
    """Thresholds with other choices, by name in TUNINGS or SWITCHES."""
    changes = [TUNINGS.get(name) or SWITCHES[name] for name in names]
    return replace(HOST_TUNING, **{k: v for change in changes for k, v in change.items()})


@contextlib.contextmanager
def flagged(names: Sequence[str]) -> Iterator[None]:
    """With the compiler's flags that the names in FLAGS stand for."""
    flags = os.environ.get("SYMGRAD_CFLAGS")
    try:
        for name in names:
            if name in FLAGS:
                os.environ["SYMGRAD_CFLAGS"] = FLAGS[name]
        yield
    finally:
        os.environ.pop("SYMGRAD_CFLAGS", None)
        if flags is not None:
            os.environ["SYMGRAD_CFLAGS"] = flags


@contextlib.contextmanager
def counting(count: Counter[str]) -> Iterator[None]:
    """Every program that is lowered and every text that is emitted, counted by path."""
    lower, emit = generate.lower, generate.emit

    def counted_lower(*args: Any, **kwargs: Any) -> Any:
        program = lower(*args, **kwargs)
        count.update(paths.of_program(program))
        return program

    def counted_emit(*args: Any, **kwargs: Any) -> Any:
        source = emit(*args, **kwargs)
        count.update(paths.of_source(source))
        return source

    generate.lower, generate.emit = counted_lower, counted_emit
    try:
        yield
    finally:
        generate.lower, generate.emit = lower, emit


@contextlib.contextmanager
def unsimplified() -> Iterator[None]:
    """Derivatives of what was traced as it stands."""
    saved = inner.simplified
    inner.simplified = list  # type: ignore[assignment]
    try:
        yield
    finally:
        inner.simplified = saved


def forget_records() -> None:
    """C is generated from today's code, whatever an earlier run left in the cache."""
    Record.find = lambda self: None  # type: ignore[method-assign, assignment]
    Record.write = lambda self, *made: None  # type: ignore[method-assign, assignment]


class Checker:
    """Runs the stages of one program."""

    def __init__(self, text: str, options: dict[str, Any], say: Callable[[str], None]) -> None:
        self.options, self.say = options, say
        self.seed = int(options.get("seed", 0))
        self.outcome = Outcome()
        self.subject = Subject(text, self.seed, options.get("source", True))
        self.tolerance = TOLERANCE[self.subject.precision]
        self.names = [*options.get("tuning", ()), *options.get("switch", ())]
        self.tuning = tuned(self.names)
        self.simplify = "simplification" not in self.names

    def run(self) -> Outcome:
        s = self.subject
        self.want = s.numpy()
        self._require_tame(self.want)
        with flagged(self.names), counting(self.outcome.paths):
            for stage in self.options.get("stages", ("value", "gradient")):
                self.outcome.stages.append(stage)
                self.say(stage)
                try:
                    getattr(self, f"_{stage}")()
                except Skipped as reason:
                    self.outcome.stages[-1] += f" skipped: {reason}"
                except FAULTS as error:
                    self.outcome.findings.append((stage, type(error).__name__, str(error)))
                except SymgradError as error:
                    self.outcome.refusals.append(_refusal(error))
                except Exception as error:
                    kind = f"{type(error).__name__} in {_place(error)}"
                    text = "".join(traceback.format_exception(error)[-6:])
                    self.outcome.findings.append((stage, kind, text))
        return self.outcome

    def _require_tame(self, values: Sequence[Any]) -> None:
        for v in values:
            v = np.asarray(v)
            if v.dtype.kind == "f" and not (np.isfinite(v).all() and np.all(np.abs(v) < 1e8)):
                raise Skipped("not finite, or large")

    def finding(self, stage: str, kind: str, message: str) -> None:
        self.outcome.findings.append((stage, kind, message))

    # ---- calling -------------------------------------------------------------------------------

    def graphs(self, f: Any, args: Sequence[Any]) -> tuple[Any, Any]:
        """The graph as traced, and the one that is compiled."""
        with unsimplified():
            plain = sg.trace(f, *args)
        if not self.simplify:
            return plain, plain
        return plain, sg.trace(f, *args).simplify()

    def call(self, graph: Any, args: Sequence[Any], **options: Any) -> list[np.ndarray]:
        """By C, between fences, with results that were NaN; by the fast path as well."""
        if self.options.get("graphs"):  # ten times as many programs, without a C compiler
            generate.source_of(graph, tuning=self.tuning, **options)
            return graph.evaluate_flat(graph.flat(tuple(args), {}))
        compiled = Compiled(graph, Options(tuning=self.tuning, **options))
        given = [np.asarray(a) for a in graph.flat(tuple(args), {})]
        self.say(f"{self.outcome.stages[-1]}: in C")
        results: list[list[np.ndarray]] = []
        for before in (False, True):
            fences = Fences(before)
            arrays = [fences.array(a) for a in given]
            outs = [
                fences.array(np.empty(t.shape, t.numpy), copy=False) for t in graph.output_types
            ]
            compiled.call_flat(arrays, outs)
            for before_, after in zip(given, arrays, strict=True):
                if before_.tobytes() != after.tobytes():
                    raise AssertionError("an argument was changed")
            results.append([np.array(o) for o in outs])
            del arrays, outs
            fences.close()
        fast = zip(leaves(compiled(*args)), results[0], strict=True)
        results.append([np.asarray(x, r.dtype) for x, r in fast])
        self.say(self.outcome.stages[-1])
        for k, (a, *others) in enumerate(zip(*results, strict=True)):
            for call, b in zip(("other places", "the fast path"), others, strict=True):
                if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
                    difference = _first(b, a, b != a)
                    stage = self.outcome.stages[-1]
                    self.finding(stage, f"other bits in a call by {call}", f"{k}: {difference}")
        return results[0]

    def agree(self, stage: str, f: Any, args: Sequence[Any]) -> list[np.ndarray] | None:
        """C against the unsimplified graph; the latter's results."""
        plain, simple = self.graphs(f, args)
        want = plain.evaluate_flat(plain.flat(tuple(args), {}))
        self._require_tame(want)

        def near() -> list[Sequence[Any]]:
            s = self.subject
            return [
                plain.evaluate_flat(plain.flat(_as(args, n), {})) for n in s.near()
            ]  # fmt: skip

        got = self.call(simple, args)
        self.last = simple
        difference = compare(got, want, self.tolerance, near)
        if difference:
            values = simple.evaluate_flat(simple.flat(tuple(args), {}))
            wrong = compare(values, want, self.tolerance, near)
            kind = "simplified graph" if wrong else "C"
            self.finding(stage, f"{kind} differs from the unsimplified graph", difference)
        return want

    # ---- stages ----------------------------------------------------------------------------------

    def _value(self) -> None:
        s = self.subject
        traced = self.agree("value", s.f, s.args)
        wide = s.jets("f")
        near = lambda: [[j.value for j in s.jets("f", n)] for n in s.near()]
        want = self.want if s.precision == "float64" else [j.value for j in wide]
        for w, n in zip(self.want, traced or (), strict=True):
            if w.dtype != n.dtype:
                self.finding("value", "dtype differs from NumPy's", f"{n.dtype}, not {w.dtype}")
        difference = compare(traced or (), want, self.tolerance, near)
        if difference:
            self.finding("value", "graph differs from NumPy", difference)

    def _gradient(self) -> None:
        s = self.subject
        if not s.floats:
            raise Skipped("no float argument")
        f = sg.value_and_grad(s.loss, argnums=s.floats)
        flat = self.agree("gradient", f, s.args)
        self._project("gradient", flat, lambda j: (j.value, j.parts[1], j.parts[2]),
                      lambda g: (g[0], _dot(g[1:], s.u), _dot(g[1:], s.v)))  # fmt: skip

    def _project(self, stage: str, flat: Any, wanted: Any, got: Any) -> None:
        """Directional derivatives of the traced graph against those of jets."""
        s = self.subject
        (loss,) = s.jets("loss")
        near = lambda: [wanted(s.jets("loss", n)[0]) for n in s.near()]
        slack = max([1.0, *(float(np.sum(np.abs(x))) for x in flat)])
        difference = compare(got(flat), wanted(loss), self.tolerance, near, slack)
        if difference:
            self.finding(stage, "graph differs from exact derivatives", difference)

    def _product(self, order: str) -> None:
        s = self.subject
        if not s.floats:
            raise Skipped("no float argument")
        n = len(s.floats)

        def both(*given: Any) -> Any:
            return s.along(given), s.along(given, reverse_first=False)

        f = {"hvp": lambda *given: s.along(given), "both": both}[order]
        flat = self.agree(order, f, (*s.args, *s.v))
        for start in range(0, len(flat or ()), n):
            self._project(order, flat[start : start + n], lambda j: (j.parts[3],),
                          lambda h: (_dot(h, s.u),))  # fmt: skip

    def _hvp(self) -> None:
        self._product("hvp")

    def _both(self) -> None:
        self._product("both")

    def _jacobian(self) -> None:
        """Both modes; times u against the derivative along u of every result."""
        s = self.subject
        wanted = [k for k, w in enumerate(self.want) if w.dtype.kind == "f"]
        entries = sum(self.want[k].size for k in wanted) * sum(np.size(s.args[k]) for k in s.floats)
        if not s.floats or not wanted or entries > 20_000:
            raise Skipped("too many entries, or none")

        def floats(*args: Any) -> Any:
            found = leaves(s.f(*args))
            return tuple(found[k] for k in wanted)

        n = len(s.floats)
        modes = {m: getattr(sg, m)(floats, argnums=s.floats) for m in ("jacfwd", "jacrev")}
        every = self.agree(
            "jacobian", lambda *args: tuple(m(*args) for m in modes.values()), s.args
        )

        def along(jacobian: Sequence[Any]) -> list[Any]:
            rows = [jacobian[k : k + n] for k in range(0, len(jacobian), n)]
            return [sum(np.tensordot(j, u, np.ndim(u)) for j, u in zip(r, s.u, strict=True))
                    for r in rows]  # fmt: skip

        exact = lambda args=None: [s.jets("f", args)[k].parts[1] for k in wanted]
        near = lambda: [exact(a) for a in s.near()]
        half = len(every or ()) // 2
        for name, blocks in zip(modes, ((every or [])[:half], (every or [])[half:]), strict=True):
            slack = max([1.0, *(float(np.sum(np.abs(b))) for b in blocks)])
            difference = compare(along(blocks), exact(), self.tolerance, near, slack)
            if difference:
                self.finding("jacobian", f"{name} differs from exact derivatives", difference)

    def _nested(self) -> None:
        """The two orders of second derivatives of a function of a Jacobian, traced together."""
        s = self.subject
        wanted = [k for k, w in enumerate(self.want) if w.dtype.kind == "f"]
        inputs = sum(np.size(s.args[k]) for k in s.floats)
        entries = sum(self.want[k].size for k in wanted) * inputs
        if not s.floats or not wanted or entries * inputs > 20_000:
            raise Skipped("too many entries, or none")
        n = len(s.floats)

        def both(*given: Any) -> Any:
            args, vs = given[: len(s.args)], tuple(given[len(s.args) :])
            xs, numbers = tuple(args[k] for k in s.floats), tuple(range(n))

            def floats(*ys: Any) -> Any:
                found = leaves(s.f(*_put(args, s.floats, ys)))
                return tuple(found[k] for k in wanted)

            def energy(*ys: Any) -> Any:
                blocks = leaves(sg.jacobian(floats, argnums=numbers)(*ys))
                return sum(np.sum(np.sin(b)) for b in blocks)

            slope = lambda *ys: sg.jvp(energy, ys, vs)[1]
            gradient = sg.grad(energy, argnums=numbers)
            return sg.jvp(gradient, xs, vs)[1], sg.grad(slope, argnums=numbers)(*xs)

        flat = self.agree("nested", both, (*s.args, *s.v)) or []
        difference = compare(flat[:n], flat[n:], 100 * self.tolerance, lambda: [flat[n:]])
        if difference:
            self.finding("nested", "forward over reverse differs from the other", difference)

    def _threads(self) -> None:
        """The same bits."""
        s = self.subject
        f = sg.value_and_grad(s.loss, argnums=s.floats) if s.floats else s.f
        graph = sg.trace(f, *s.args).simplify()
        alone = self.call(graph, s.args)
        for threads in (2, 3):
            shared = self.call(graph, s.args, threads=threads)
            for k, (a, b) in enumerate(zip(alone, shared, strict=True)):
                if a.tobytes() != b.tobytes():
                    difference = _first(b, a, ~((a == b) | np.isnan(a) & np.isnan(b)))
                    self.finding("threads", "bits depend on threads", f"result {k}: {difference}")
                    return

    def _blas(self) -> None:
        s = self.subject
        f = sg.value_and_grad(s.loss, argnums=s.floats) if s.floats else s.f
        plain, simple = self.graphs(f, s.args)
        want = plain.evaluate_flat(plain.flat(s.args, {}))
        near = lambda: [plain.evaluate_flat(plain.flat(_as(s.args, n), {})) for n in s.near()]
        difference = compare(self.call(simple, s.args, blas=True), want, self.tolerance, near)
        if difference:
            self.finding("blas", "C with a BLAS differs", difference)

    def _sparse(self) -> None:
        """Sparse Hessian and Jacobian by one argument against the dense ones, unsimplified."""
        s = self.subject
        k = next((k for k in s.floats if 1 < np.size(s.args[k]) <= 150), None)
        wanted = [n for n, w in enumerate(self.want) if w.dtype.kind == "f" and w.size <= 500]
        if k is None or not wanted:
            raise Skipped("no argument of some size")
        result = lambda *args: leaves(s.f(*args))[wanted[0]]
        pairs = (sg.sparse_hessian, sg.hessian, s.loss), (sg.sparse_jacobian, sg.jacobian, result)
        for sparse, dense, f in pairs:
            graph, pattern = sparse(f, argnums=k).trace(*s.args)
            with unsimplified():
                plain = sg.trace(dense(f, argnums=k), *s.args)

            def whole(args: Sequence[Any], plain: Any = plain) -> list[Any]:
                return list(plain.evaluate_flat(plain.flat(tuple(args), {})))

            want = whole(s.args)
            self._require_tame(want)
            got = np.zeros(pattern.shape, want[0].dtype)
            got[pattern.rows(), pattern.indices] = self.call(graph.simplify(), s.args)[0]
            near = lambda whole=whole: [whole(_as(s.args, n)) for n in s.near()]
            difference = compare([got.reshape(want[0].shape)], want, self.tolerance, near)
            if difference:
                self.finding("sparse", f"{sparse.__name__} differs from the dense one", difference)

    def _batch(self) -> None:
        """vmap of value and gradient against one call for each of three points."""
        s = self.subject
        if not s.floats:
            raise Skipped("no float argument")
        near = s.near()
        points = [_as(s.args, n) for n in (s.args, *near[:2])]
        batch = list(s.args)
        for k in s.floats:
            batch[k] = np.stack([np.asarray(p[k]) for p in points])
        axes = tuple(0 if k in s.floats else None for k in range(len(s.args)))
        f = sg.value_and_grad(s.loss, argnums=s.floats)
        with unsimplified():
            plain = sg.trace(f, *s.args)
        every = [plain.evaluate_flat(plain.flat(p, {})) for p in points]
        for found in every:
            self._require_tame(found)
        got = self.agree("batch", sg.vmap(f, in_axes=axes), batch)
        want = [np.stack(column) for column in zip(*every, strict=True)]
        others = [plain.evaluate_flat(plain.flat(_as(s.args, n), {})) for n in near]
        spread = lambda: [[np.stack(c) for c in zip(o, o, o, strict=True)] for o in others]
        difference = compare(got or (), want, self.tolerance, spread)
        if difference:
            self.finding("batch", "vmap differs from calls one by one", difference)

    def _scalar(self) -> None:
        """Scalar form of values and gradient, derivatives on scalars, against plain graphs."""
        s = self.subject
        gradient = [sg.value_and_grad(s.loss, argnums=s.floats)] if s.floats else []
        done = 0
        for f in (s.f, *gradient):
            with unsimplified():
                plain = sg.trace(f, *s.args)
            if any(n.size > _MOST_ELEMENTS for n in toposort(plain.outs)):
                continue
            want = plain.evaluate_flat(flat := plain.flat(s.args, {}))
            self._require_tame(want)
            with opened(_MOST_SCALARS, Look()):
                graph = replace(sg.trace(f, *s.args), scalar=True)
            try:
                got = scalars.of_graph(graph, flat, _MOST_SCALARS)
            except NotScalar:
                continue
            done += 1
            near = lambda g=plain: [
                g.evaluate_flat(g.flat(_as(s.args, n), {})) for n in s.near()
            ]  # fmt: skip
            slack = max([1.0, *(float(np.max(np.abs(x), initial=0)) for x in want)])
            difference = compare(got, want, self.tolerance, near, slack)
            if not difference and not self.options.get("graphs"):
                c = self.call(graph, s.args, scalar=_MOST_SCALARS)
                difference = compare(c, got, self.tolerance, near)
            if difference:
                self.finding("scalar", "scalar form differs from the plain graph", difference)
        if not done:
            raise Skipped("no scalar form")

    def _jax(self) -> None:
        """Gradient and Hessian product of the unsimplified graphs against JAX."""
        from fuzz import jax_oracle  # only where it is asked for: its import takes a second

        s = self.subject
        if not s.floats or s.precision != "float64" or "np.float32" in s.text:
            raise Skipped("not in double precision")
        try:
            first, second = jax_oracle.derivatives(s.text, s.args, s.floats, s.v)
        except Exception as error:
            raise Skipped(f"JAX: {type(error).__name__}") from None
        self._require_tame([*first, *second])
        self.say("jax: symgrad")
        f = sg.value_and_grad(s.loss, argnums=s.floats)
        with unsimplified():
            plain = sg.trace(f, *s.args)
            product = sg.trace(lambda *given: s.along(given), *s.args, *s.v)
        near = lambda: [plain.evaluate_flat(plain.flat(_as(s.args, n), {})) for n in s.near()]
        got = plain.evaluate_flat(plain.flat(s.args, {}))
        slack = max([1.0, *(float(np.max(np.abs(x), initial=0)) for x in first[1:])])
        difference = compare(got, first, self.tolerance, near, slack)
        if difference:
            self.finding("jax", "gradient differs from JAX", difference)
        given = (*s.args, *s.v)
        got = product.evaluate_flat(product.flat(given, {}))
        near = lambda: [product.evaluate_flat(product.flat(_as(given, n), {})) for n in s.near()]
        difference = compare(got, second, 10 * self.tolerance, near, slack)
        if difference:
            self.finding("jax", "Hessian product differs from JAX", difference)


def _put(args: Sequence[Any], numbers: Sequence[int], xs: Any) -> list[Any]:
    whole = list(args)
    for k, x in zip(numbers, xs, strict=True):
        whole[k] = x
    return whole


def _as(args: Sequence[Any], near: Sequence[Any]) -> tuple[Any, ...]:
    """Changed arguments in the types of `args`, of which more may follow."""
    changed = [
        n.astype(a.dtype) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else n
        for a, n in zip(args, near, strict=False)
    ]
    return (*changed, *args[len(near) :])


def _dot(parts: Sequence[Any], along: Sequence[Any]) -> Any:
    pairs = zip(parts, along, strict=True)
    return sum(float(np.sum(np.float64(p) * np.float64(u))) for p, u in pairs)


def _place(error: BaseException) -> str:
    """The innermost function of symgrad on the way to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/symgrad/" in f.filename]
    last = ours[-1] if ours else frames[-1]
    return f"{'/'.join(last.filename.split('/')[-2:])}:{last.name}"


def _refusal(error: BaseException) -> str:
    """The message without what differs from program to program."""
    text = re.sub(r"^\S*<program \w+>:\d+: |^\S+\.py:\d+: ", "", str(error).splitlines()[0])
    text = re.sub(r"\d[\d.e+-]*", "#", text)
    return f"{type(error).__name__}: {text[:120]}"


def check(text: str, options: dict[str, Any], say: Callable[[str], None]) -> Outcome:
    """What the oracles say of a program. Options: stages, tuning, switch, seed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Checker(text, options, say).run()
        except Skipped as reason:
            return Outcome(skipped=str(reason))


STAGES = (
    "value", "gradient", "hvp", "both", "jacobian", "nested", "threads", "blas", "sparse", "batch",
    "scalar", "jax",
)  # fmt: skip
assert all(hasattr(Checker, f"_{s}") for s in STAGES)
__all__ = ["SWITCHES", "TUNINGS", "Outcome", "Subject", "check"]
