"""Loop programs on checked memory: values are the graph's, and no access is out of place.

Thresholds of lowering are set so low that arrays of 5 to 40 rows take every way through it: a fault
of big arrays shows on small ones. What each statement touches is compared with what
`symgrad.lower.access` says that it touches.
"""

from __future__ import annotations

import collections
import copy

import numpy as np
import pytest
from random_graphs import Builder

import symgrad as sg
from symgrad.diff.modes import drop_stops, vjp, zeros_like
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import Expr, arg, bind, const, const_value
from symgrad.expr.op import Kind
from symgrad.expr.walk import expand_composites
from symgrad.lower import kernels, lanes, product, schedule, straight, stream, verify
from symgrad.lower import program as loop_program
from symgrad.lower.access import Access, Mode, accesses_of
from symgrad.lower.interpret import Made, interpret
from symgrad.lower.program import Buffer, Loop, Program, Store, index_of, load_of, statements
from symgrad.lower.schedule import lower
from symgrad.lower.share import share
from symgrad.simplify import simplify

TINY = {
    lanes: dict(_MIN_EXTENT=4, _SIZES=(4,), _FLUSH_BLOCKS=1, _COMPENSATE=0, _PARALLEL_COST=0,
                _LANES_OF_POWERS=4, _LONG_ROW=99),
    straight: dict(_FETCHED_BYTES=0, _MANY_POWERS=1),
    kernels: dict(_FOLDED=1, _SMALL_TRIANGLE=2, _MANY_POINTS=2),
    product: dict(_FEWEST=1, _SMALLEST_FACE=16, _BLOCK_ROWS=12, _MOST_ROWS=12, _BLOCK_COLUMNS=16,
                  _BLOCK_INNER=3, _COMPENSATE=2, SHARED_WORK=0, _BLAS_WORK=0),
    schedule: dict(_STREAM_BLOCK=4, _STREAM_BYTES=-1, _ADDED_SHARE=0, _COMPENSATE=2, _BLAS_BLOCK=4),
    stream: dict(_CHUNK_BLOCKS=2, _CHUNK_WORK=1, LOCAL_BYTES=64),
}  # fmt: skip
LOOPS = {straight: dict(_MOST_OPERATIONS=0)}  # inner loops stay loops
RAGGED = {lanes: dict(_SIZES=(3, 2))}  # blocks that fours do not fill
POINTS = {product: dict(_FEWEST=10**9)}  # no tiles: sums over points in lanes
WAYS = {
    "straight": ({}, {}),
    "loops": (LOOPS, {}),
    "ragged": (LOOPS | RAGGED, {"threads": 3}),
    "points": (POINTS, {"threads": 3}),
    "points in loops": (POINTS | LOOPS, {}),
    "threads": ({}, {"threads": 3}),
    "blas": ({}, {"blas": True}),
}


def tiny(monkeypatch, more):
    for table in (TINY, more):
        for module, thresholds in table.items():
            for name, value in thresholds.items():
                monkeypatch.setattr(module, name, value)


def lowered(outs):
    outs = expand_composites(drop_stops(outs))
    return share(simplify(outs, disable=frozenset({"stable", "linalg"})).outs)


def assert_close(got, expected, what):
    for g, e in zip(got, expected, strict=True):
        scale = max([1.0, *np.abs(e[np.isfinite(e)]).reshape(-1)])
        tolerance = (2e-3 if e.dtype == np.float32 else 1e-10) * scale
        np.testing.assert_allclose(g, e, rtol=0, atol=tolerance, err_msg=what)


class Claims:
    """What statements touch according to `accesses_of`, and whether all that they do is in it."""

    def __init__(self, program: Program) -> None:
        self.buffers = {b.number: b for b in program.buffers}
        self.claimed: dict[int, list[Access]] = {}
        self.classes: collections.Counter[tuple[str, Mode]] = collections.Counter()
        self.missing: list[str] = []

    def __call__(self, statement, value):
        key = id(statement)
        if key not in self.claimed:
            self.claimed[key] = accesses_of(statement)
        boxes = [self.box(a, value) for a in self.claimed[key] if all(map(value, a.when))]

        def check(made: list[Made]) -> None:
            for m in made:
                self.classes[type(statement).__name__, m.mode] += 1
                if not any(self.covers(box, m) for box in boxes):
                    name = self.buffers[m.buffer].name
                    self.missing.append(f"{type(statement).__name__}: {m.mode} {name}{m.index}")

        return check

    def box(self, access: Access, value):
        """Buffer, mode, and for each axis first and count; or the first place and how many."""
        buffer = self.buffers[access.buffer]
        first = [int(value(i)) for i in access.index]
        if access.run is not None:
            return buffer, access.mode, self.place(buffer, first), access.run
        counts = dict.fromkeys(range(len(first)), 1)
        for axis, count in access.box:
            counts[axis] = int(value(count)) if isinstance(count, Expr) else count
        return buffer, access.mode, first, counts

    @staticmethod
    def place(buffer: Buffer, index) -> int:
        steps = loop_program_strides(buffer)
        return sum(i * steps.get(a, 0) for a, i in enumerate(index[: len(buffer.shape)]))

    def covers(self, box, made: Made) -> bool:
        buffer, mode, first, counts = box
        if buffer.number != made.buffer or not (mode is made.mode or mode is Mode.ADD):
            return False
        if isinstance(counts, int):
            return 0 <= self.place(buffer, made.index) - first < counts
        kept = all(
            first[a] <= made.index[a] < first[a] + counts[a] for a in buffer.kept_axes
        )  # the lane of a statement that stands for one point is checked by the interpreter
        lane = made.index[-1] if buffer.lanes else 0
        return kept and 0 <= lane < counts.get(len(buffer.shape), buffer.lanes or 1)


def loop_program_strides(buffer: Buffer) -> dict[int, int]:
    return dict(zip(buffer.kept_axes, schedule.row_strides(buffer.kept_shape), strict=True))


class Reached:
    """How often each kind of statement, and each way to run a loop, was run."""

    def __init__(self) -> None:
        self.kinds: collections.Counter[str] = collections.Counter()

    def note(self, program: Program) -> None:
        for s, path in statements(program.body):
            self.kinds[type(s).__name__] += 1
            for loop in path:
                ways = ("lanes", "again", "flush", "chunks", "shared", "members", "in_order")
                self.kinds.update(way for way in ways if getattr(loop, way))


def run_all(args, outs, values, monkeypatch, reached, **options) -> None:
    """A graph, interpreted after every pass and both ways round, against the evaluator."""
    expected = evaluate(outs, values)
    inputs = [values[a] for a in args]
    names = [f"x{k}" for k in range(len(args))], [f"y{k}" for k in range(len(outs))]
    seen: list[str] = []
    results: set[bytes] = set()

    def after(name: str, program: Program) -> None:
        text = str(program)
        if text in seen and name != "place":
            return
        seen.append(text)
        for backwards in (False, True):
            outcome = interpret(program, inputs, backwards=backwards)
            assert not outcome.faults, "\n".join([f"after {name}", *outcome.faults, text])
            assert outcome.status == 0
            assert_close(outcome.outputs, expected, f"after {name}\n{text}")
            if name != "place":
                break  # the order of rounds is tried at the end
            results.add(b"".join(o.tobytes() for o in outcome.outputs))

    monkeypatch.setattr(verify, "after", after)
    program = lower(args, outs, *names, **options)
    claims = Claims(program)
    interpret(program, inputs, observer=claims)
    reached.note(program)
    assert not claims.missing, "\n".join([*claims.missing[:5], str(program)])
    assert len(results) == 1, f"by order of rounds:\n{program}"


# ---- functions as users write them -------------------------------------------------------------


def logistic(w, x, y):
    return np.mean(np.logaddexp(0, -y * (x @ w))) + 0.1 * np.sum(w**2)


def mixture(mu, x):
    distance = np.sum((x[:, None, :] - mu[None]) ** 2, axis=2)
    return -np.sum(np.log(np.sum(np.exp(-0.5 * distance), axis=1)))


def turned(angles, x):
    """Rows turned in a plane each, and raised to a power."""
    c, s = np.cos(angles), np.sin(angles)
    both = np.stack([c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1]], axis=1)
    return (1.5 + both**2) ** 0.7 * x[:, 2:4]


def powers(x):
    return np.sum(np.abs(x) ** 0.7 * x[:, :1] ** 2.5)


def network(v, w, x):
    return np.sum(np.tanh(np.tanh(x @ v) @ w) ** 2)


def picked(table, x, k):
    return np.sum(np.sin(table[k] * x[:, :4]) ** 2)


def nearest(mu, x):
    k = np.argmin(np.sum((x[:, None, :] - mu[None]) ** 2, axis=2), axis=1)
    return k, np.sum((x - mu[k]) ** 2)


def weighted(x, y):
    """A symmetric matrix of sums over points, for few columns and for many."""
    return x.T @ (np.exp(-(y**2))[:, None] * x)


def padded(a, x):
    return np.exp(x) * (np.pad(a, ((0, len(x) - len(a)), (0, 0))) + x)


def solved(a, b):
    m = a @ a.T + 5 * np.eye(len(a))
    return np.linalg.solve(m, b), np.linalg.slogdet(m)[1], np.linalg.cholesky(m)


def scanned(x):
    return np.cumsum(np.cumprod(1 + 0.1 * x, axis=0), axis=1), np.max(x, axis=0), np.any(x > 2)


def normals(*shapes):
    rng = np.random.default_rng(len(shapes))
    return tuple(rng.standard_normal(s) for s in shapes)


FUNCTIONS = {
    "logistic": (sg.grad(logistic), normals((3,), (21, 3), (21,))),
    "logistic hessian": (sg.hessian(logistic), normals((5,), (13, 5), (13,))),
    "mixture": (sg.grad(mixture), normals((3, 2), (18, 2))),
    "wide mixture": (sg.grad(mixture), normals((5, 8), (13, 8))),
    "turned": (turned, normals((22,), (22, 5))),
    "turned gradient": (sg.grad(lambda a, x: np.sum(turned(a, x))), normals((15,), (15, 5))),
    "powers": (powers, normals((11, 3))),
    "network": (sg.grad(network, argnums=(0, 1)), normals((7, 6), (6, 5), (21, 7))),
    "picked": (
        sg.grad(picked, argnums=(0, 1)),
        (*normals((6, 4), (23, 5)), np.arange(23) * 5 % 6),
    ),
    "nearest": (nearest, normals((3, 2), (14, 2))),
    "weighted": (weighted, normals((19, 6), (19,))),
    "weighted tiles": (weighted, normals((20, 17), (20,))),
    "padded": (padded, normals((7, 2), (17, 2))),
    "periodic": (lambda a: np.exp(np.roll(a, 1, axis=0)) - a, normals((15, 3))),
    "first row": (
        sg.grad(lambda a: np.sum(np.exp(a)) + np.sqrt(np.sum(a[:1] ** 2))),
        normals((9, 2)),
    ),
    "solved": (solved, normals((4, 4), (4, 2))),
    "scanned": (scanned, normals((12, 3))),
    "long sums": (lambda a, b: a @ b, normals((7, 40), (40, 9))),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_functions(way, monkeypatch):
    thresholds, options = WAYS[way]
    tiny(monkeypatch, thresholds)
    reached = Reached()
    for f, arrays in FUNCTIONS.values():
        graph = sg.trace(f, *arrays).simplify()
        values = dict(zip(graph.args, graph.flat(arrays, {}), strict=True))
        run_all(graph.args, share(graph.lowered_outs()), values, monkeypatch, reached, **options)
    print(way, reached.kinds)
