"""Loop programs on checked memory: values are the graph's, and no access is out of place.

Thresholds of lowering are set so low that arrays of 5 to 40 rows take every way through it: a fault
of big arrays shows on small ones. What each statement touches is compared with what
`symgrad.lower.access` says that it touches.
"""

from __future__ import annotations

import collections
import operator
import random
from dataclasses import replace

import numpy as np
import pytest

import symgrad as sg
from support.by_hand import ByHand
from support.loop_mutants import MUTANTS, STATIC
from support.random_graphs import Builder
from symgrad.diff.modes import drop_stops, vjp, zeros_like
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import Expr, bind, const
from symgrad.expr.walk import expand_composites
from symgrad.lower import verify
from symgrad.lower.cpu import Flush, Panels, Rows, Tiles
from symgrad.lower.interpret import interpret
from symgrad.lower.interpreter.memory import Made
from symgrad.lower.pipeline import lower
from symgrad.lower.program import Program, statements
from symgrad.lower.scalar import index_of, load_of
from symgrad.lower.share import share
from symgrad.lower.statement import Access, Buffer, Mode, row_strides
from symgrad.lower.statements import Check, Loop, Store, Zero
from symgrad.lower.tuning import HOST_TUNING, NEVER, Tuning
from symgrad.simplify import simplify

TINY = replace(
    HOST_TUNING,
    lanes_from_points=4,
    lane_counts=(4,),
    flush_blocks=1,
    compensate_from_flushes=0,
    parallel_from_cost=0,
    long_row=99,
    fold_from_rows=1,
    triangle_from_rows=2,
    triangle_from_points=2,
    tiles_from_extent=1,
    tiles_from_face=16,
    block_rows=12,
    most_rows=12,
    block_columns=16,
    block_summands=3,
    compensate_from_blocks=2,
    share_from_work=0,
    blas_from_work=0,
    stream_points=4,
    stream_from_bytes=-1,
    added_share=0,
    compensate_from_points=2,
    blas_block=4,
    chunk_blocks=2,
    chunk_from_work=1,
    local_bytes=64,
    fetch_from_bytes=0,
    powers_from_points=1,
    lanes_of_powers=4,
)
LOOPS = dict(straight_operations=0)  # inner loops stay loops
RAGGED = dict(lane_counts=(3, 2))  # blocks that fours do not fill
POINTS = dict(tiles_from_extent=NEVER)  # no tiles: sums over points in lanes
WAYS = {
    "straight": {},
    "loops": dict(tuning=replace(TINY, **LOOPS)),
    "ragged": dict(tuning=replace(TINY, **LOOPS, **RAGGED), threads=3),
    "points": dict(tuning=replace(TINY, **POINTS), threads=3),
    "points in loops": dict(tuning=replace(TINY, **POINTS, **LOOPS)),
    "threads": dict(threads=3),
    "blas": dict(blas=True),
}


def lowered(outs):
    """As the graph is before `lower`."""
    outs = expand_composites(drop_stops(outs))
    return share(simplify(outs, disable=frozenset({"stable", "linalg"})).outs)


def assert_close(got, expected, what):
    for g, e in zip(got, expected, strict=True):
        scale = max([1.0, *np.abs(e[np.isfinite(e)]).reshape(-1)])
        tolerance = (2e-3 if e.dtype == np.float32 else 1e-10) * scale
        np.testing.assert_allclose(g, e, rtol=0, atol=tolerance, err_msg=what)


class Claims:
    """What statements say that they touch, and whether all that they do is in it."""

    def __init__(self, program: Program, accesses=operator.attrgetter("accesses")) -> None:
        self.accesses = accesses
        self.buffers = {b.number: b for b in program.buffers}
        self.claimed: dict[int, list[Access]] = {}
        self.missing: list[tuple[str, str]] = []  # class of a statement, what it did

    def __call__(self, statement, value):
        key = id(statement)
        if key not in self.claimed:
            self.claimed[key] = self.accesses(statement)
        boxes = [self.box(a, value) for a in self.claimed[key] if all(map(value, a.when))]

        def check(made: list[Made]) -> None:
            for m in made:
                if not any(self.covers(box, m) for box in boxes):
                    text = f"{m.mode.value} {self.buffers[m.buffer].name}{m.index}"
                    self.missing.append((type(statement).__name__, text))

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
        steps = dict(zip(buffer.kept_axes, row_strides(buffer.kept_shape), strict=True))
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


def run_all(args, outs, values, monkeypatch, reached, *, tuning=TINY, **options) -> None:
    """A graph, interpreted after every pass and both ways round, against the evaluator."""
    expected = evaluate(outs, values)
    inputs = [values[a] for a in args]
    names = [f"x{k}" for k in range(len(args))], [f"y{k}" for k in range(len(outs))]
    seen: list[str] = []
    results: set[bytes] = set()

    def after(name: str, program: Program, _: Tuning) -> None:
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
    program = lower(args, outs, *names, tuning=tuning, **options)
    claims = Claims(program)
    interpret(program, inputs, observer=claims)
    reached.note(program)
    assert not claims.missing, f"{claims.missing[:5]}\n{program}"
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
    return np.abs(x) ** 0.7 * np.abs(x[:, :1]) ** 2.5


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
    "network": (sg.grad(network, argnums=(0, 1)), normals((7, 6), (6, 5), (21, 7))),
    "picked": (
        sg.grad(picked, argnums=(0, 1)),
        (*normals((6, 4), (23, 5)), np.arange(23) * 5 % 6),
    ),
    "nearest": (nearest, normals((3, 2), (14, 2))),
    "weighted": (weighted, normals((19, 6), (19,))),
    "padded": (padded, normals((7, 2), (17, 2))),
    "periodic": (lambda a: np.exp(np.roll(a, 1, axis=0)) - a, normals((15, 3))),
    "first row": (
        sg.grad(lambda a: np.sum(np.exp(a)) + np.sqrt(np.sum(a[:1] ** 2))),
        normals((9, 2)),
    ),
    "solved": (solved, normals((4, 4), (4, 2))),
    "scanned": (scanned, normals((12, 3))),
    "powers": (powers, normals((11, 3))),
    "long sums": (lambda a, b: a @ b, normals((7, 40), (40, 9))),
}  # fmt: skip


# Kinds of statements and loops that each way must reach.
ALWAYS = "Store Zero Check Best Call lanes flush"
EXPECTED = {
    "straight": "Panels Tiles Merge Flush Rows Fetch Turns Powers again in_order",
    "loops": "Panels Tiles Merge Flush Rows in_order",
    "ragged": "Panels Tiles Merge Flush chunks shared members in_order",
    "points": "Flush Rows Fetch Turns Powers again chunks",
    "points in loops": "Flush Rows",
    "threads": "Panels Tiles Merge Flush Rows Fetch Turns Powers again chunks shared members",
    "blas": "Panels Tiles Gemm Merge Flush Rows Fetch Turns Powers again",
}


@pytest.mark.sample(4)
@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_functions(way, monkeypatch):
    reached = Reached()
    for f, arrays in FUNCTIONS.values():
        graph = sg.trace(f, *arrays).simplify()
        values = dict(zip(graph.args, graph.flat(arrays, {}), strict=True))
        run_all(graph.args, share(graph.lowered_outs()), values, monkeypatch, reached, **WAYS[way])
    missing = {*ALWAYS.split(), *EXPECTED[way].split()} - set(reached.kinds)
    assert not missing, f"{missing} were not reached, only {reached.kinds}"


@pytest.mark.slow
def test_two_panels_of_a_triangle(monkeypatch):
    """The carry of a symmetric product has one half only, and a guard where that is read."""
    graph = sg.trace(weighted, *normals((20, 17), (20,))).simplify()
    values = dict(zip(graph.args, graph.flat(normals((20, 17), (20,)), {}), strict=True))
    run_all(graph.args, share(graph.lowered_outs()), values, monkeypatch, Reached())


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_random_graphs(way, monkeypatch):
    reached = Reached()
    for seed in range(7000, 7012):
        b = Builder(seed, "float32" if seed % 5 == 0 else "float64", products=0.3)
        outs, args = b.outputs(), list(b.args)
        if seed % 2:
            pulled = vjp(outs, args, [const(0.7, o.dtype, o.shape) for o in outs])
            outs = [zeros_like(a) if p is None else p for a, p in zip(args, pulled, strict=True)]
        run_all(args, lowered(outs), b.values(), monkeypatch, reached, **WAYS[way])
    assert reached.kinds["lanes"]


# ---- faults ------------------------------------------------------------------------------------


def number(value: int) -> Expr:
    return const(value, "int64")


class Hand(ByHand):
    """A program written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.j, self.k = (index_of(n) for n in range(3))

    def run(self, body, *inputs, workspace=-1, **options):
        self.program = self.of(*body, workspace_bytes=workspace)
        return interpret(self.program, inputs, **options)


@pytest.fixture
def hand() -> Hand:
    return Hand()


X = np.arange(1.0, 7.0)


def test_a_right_program_has_no_faults(hand):
    x, y = hand.buffer("x", (6,), "in"), hand.buffer("y", (6,), "out")
    store = Store(y, (hand.i,), bind("square", load_of(x, (hand.i,))))
    outcome = hand.run([Loop(hand.i, 6, [store])], X)
    assert outcome.status == 0 and outcome.faults == ()
    assert (outcome.outputs[0] == X**2).all()


def test_index_beyond_an_axis(hand):
    x, y = hand.buffer("x", (6,), "in"), hand.buffer("y", (2, 3), "out")
    flat = Store(y, (number(0), hand.i), load_of(x, (hand.i,)))  # right in memory, not by axis
    beyond = Store(y, (hand.j, hand.k), load_of(x, (hand.k + hand.j + 3,)))
    outcome = hand.run([Loop(hand.i, 6, [flat]), Loop(hand.j, 2, [Loop(hand.k, 3, [beyond])])], X)
    write, read = outcome.faults
    assert write.startswith("outside: write y[0, 3], axis 1 has 0 to 2; in `y[0, i0] = x[i0]` at")
    assert "(and 2 more)" in write
    assert read.startswith("outside: read x[6], axis 0 has 0 to 5; in `y[i1, i2] = x[")
    assert read.endswith("at i1 = 1, i2 = 2")
    assert np.isnan(outcome.outputs[0][1, 2])


def test_what_nobody_wrote(hand):
    x, y, s = hand.buffer("x", (6,), "in"), hand.buffer("y", (), "out"), hand.buffer("s", (6,))
    some = Loop(hand.i, 5, [Store(s, (hand.i,), load_of(x, (hand.i,)))])
    add = Loop(hand.j, 6, [Store(y, (), load_of(s, (hand.j,)), "+")])
    outcome = hand.run([some, add], X)
    assert [f.split(",")[0] for f in outcome.faults] == [
        "not written: add to y[]",
        "not written: read s[5]",
    ]
    assert "not written: read y[]" in hand.run([some], X).faults[0]  # a result


def test_guards_are_lazy_and_selections_are_not(hand):
    x, y = hand.buffer("x", (6,), "in"), hand.buffer("y", (8,), "out")
    inside = bind("less", hand.i, number(6))
    zero = const(0.0)
    for choose, faults in (
        (bind("guard", inside, load_of(x, (hand.i,))), 0),
        (bind("select", inside, load_of(x, (hand.i,)), zero), 1),
    ):
        outcome = hand.run([Loop(hand.i, 8, [Store(y, (hand.i,), choose)])], X)
        assert len(outcome.faults) == faults
        assert (outcome.outputs[0] == [*X, 0, 0]).all()


def test_axes_that_are_not_kept(hand):
    """A variable of one round that the next one reads."""
    x, y = hand.buffer("x", (6,), "in"), hand.buffer("y", (6,), "out")
    s = hand.buffer("s", (6,), "scalar", kept_axes=())
    store = Store(s, (hand.i,), load_of(x, (hand.i,)))
    use = Store(y, (hand.i,), load_of(s, (hand.i,)))
    body = [store, use]
    assert not hand.run([Loop(hand.i, 6, body)], X).faults
    assert "s[0], it was written at (5,)" in hand.run(
        [Loop(hand.i, 6, [store]), Loop(hand.i, 6, [use])], X
    ).faults[0]  # fmt: skip


def test_workspace_that_something_else_took(hand):
    x, y = hand.buffer("x", (6,), "in"), hand.buffer("y", (6,), "out")
    a, b = hand.buffer("a", (6,)), hand.buffer("b", (2,), offset=40)

    def copy(to, source, n):
        return Loop(hand.i, n, [Store(to, (hand.i,), load_of(source, (hand.i,)))])

    body = [copy(a, x, 6), copy(y, a, 6), copy(b, x, 2), copy(y, b, 2)]
    assert not hand.run(body, X, workspace=56).faults
    swapped = [copy(a, x, 6), copy(b, x, 2), copy(y, a, 6), copy(y, b, 2)]
    assert "not written: read a[0]" in hand.run(swapped, X, workspace=56).faults[0]
    assert hand.run(body, X, workspace=48).faults[0] == "placement: b ends beyond 48 bytes"


@pytest.mark.parametrize("backwards", [False, True])
def test_rounds_that_meet(hand, backwards):
    x, y = hand.buffer("x", (6,), "in"), hand.buffer("y", (7,), "out")
    total, s = hand.buffer("total", (), "out"), hand.buffer("s", (2,), "own")
    i, one = hand.i, number(1)
    begin = [Store(y, (number(0),), const(0.0)), Store(total, (), const(0.0))]
    previous = Store(y, (i + one,), load_of(y, (i,)) + load_of(x, (i,)))
    add = Store(total, (), load_of(x, (i,)), "+")
    own = [Store(s, (number(0),), load_of(x, (i,))), Store(y, (i + one,), load_of(s, (number(0),)))]

    def shared(*body, **more):
        return hand.run([*begin, Loop(i, 6, [*body], shared=True, **more)], X, backwards=backwards)

    def kinds(outcome):
        return {f.split(":")[0] for f in outcome.faults} - ({"not written"} if backwards else set())

    assert kinds(shared(*own, add, in_order=1)) == set()
    assert kinds(shared(previous)) == {"race"}
    assert kinds(shared(*own, add)) == {"race"}
    reads = Store(y, (i + one,), load_of(total, ()))
    assert kinds(shared(reads, add, in_order=1)) == {"race"}  # not ordered against each other
    stale = [Store(y, (i + one,), load_of(s, (number(0),))), own[0]]
    assert "s[0], nothing was written there" in shared(*stale).faults[0]


def test_order_shows_in_the_result(hand):
    """Without knowing of races: forwards and backwards differ."""
    x, y = hand.buffer("x", (6,), "in"), hand.buffer("y", (), "out")
    body = [Loop(hand.i, 6, [Store(y, (), load_of(x, (hand.i,)))], shared=True)]
    one, other = hand.run(body, X), hand.run(body, X, backwards=True)
    assert one.outputs[0] == 6 and other.outputs[0] == 1


def lanes_of(hand, body, **more):
    return Loop(hand.i, 6, body, lanes=4, **more)


def test_points_of_a_block_that_meet(hand):
    x, y = hand.buffer("x", (6,), "in"), hand.buffer("y", (6,), "out")
    s, t = hand.buffer("s", (1,), lanes=4), hand.buffer("t", (2,))
    i, zero = hand.i, (number(0),)
    right = [Store(s, zero, load_of(x, (i,))), Store(y, (i,), load_of(s, zero))]
    assert not hand.run([lanes_of(hand, right)], X).faults
    same = [Store(t, zero, load_of(x, (i,))), Store(y, (i,), load_of(t, zero))]
    assert hand.run([lanes_of(hand, same)], X).faults[0].startswith("race: write t[0]")
    left = bind("select", bind("greater", i, number(0)), i - number(1), i)
    other = [*right, Store(y, (i,), load_of(y, (left,)))]
    assert hand.run([lanes_of(hand, other)], X).faults[0].startswith("race: read y[0]")
    before = [right[1], right[0]]
    assert "nothing was written there" in hand.run([lanes_of(hand, before)], X).faults[0]


def test_sums_in_lanes(hand):
    x, y = hand.buffer("x", (6,), "in"), hand.buffer("y", (), "out")
    partial = hand.buffer("p", (), "local", lanes=8)
    add = Store(y, (), load_of(x, (hand.i,)), "+", partial)
    begin = [Store(y, (), const(0.0)), Zero(partial)]

    def run(flush):
        return hand.run([*begin, lanes_of(hand, [add], flush=flush, flush_blocks=1)], X)

    outcome = run([Flush(y, partial)])
    assert not outcome.faults and outcome.outputs[0] == X.sum()
    assert run([]).outputs[0] == 0  # only the value says so
    begin = begin[:1]
    assert run([Flush(y, partial)]).faults[0].startswith("not written: add to p[]")


def test_rows_in_fours(hand):
    x, y = hand.buffer("x", (6, 4), "in"), hand.buffer("y", (6,), "out")
    copy = hand.buffer("copy", (4,), lanes=4)
    rows = Rows(copy, x, (hand.i, number(0)))
    use = Store(y, (hand.i,), load_of(copy, (number(3),)))
    values = np.arange(24.0).reshape(6, 4)
    outcome = hand.run([lanes_of(hand, [rows, use])], values)
    assert not outcome.faults and (outcome.outputs[0] == values[:, 3]).all()
    hand.change(x, shape=(5, 4))
    fault = hand.run([lanes_of(hand, [rows, use])], values[:5]).faults[0]
    assert fault.startswith("outside: read x[5, 0], axis 0 has 0 to 4; in `Rows(")


def tiles_of(hand, count: int, inner: int):
    a, b = hand.buffer("a", (7, 3), "in"), hand.buffer("b", (3, 5), "in")
    y = hand.buffer("y", (7, 5), "out")
    left, right = hand.buffer("left", (2, 3, 6)), hand.buffer("right", (1, 3, 8))
    zero = number(0)
    first = zero, zero
    return [
        Panels(left, a, first, (0, 1), number(count), number(inner), 0),
        Panels(right, b, first, (1, 0), number(5), number(3), 0),
        Tiles(left, right, 0, y, first, (0, 1), number(7), number(5), number(3), zero,
              number(-7), number(3), None, ()),
    ]  # fmt: skip


def test_panels_and_tiles():
    a, b = np.arange(21.0).reshape(7, 3), np.cos(np.arange(15.0)).reshape(3, 5)
    hand = Hand()
    outcome = hand.run(tiles_of(hand, 7, 3), a, b)
    assert not outcome.faults
    np.testing.assert_allclose(outcome.outputs[0], a @ b, rtol=1e-14)
    for count, inner, place in ((6, 3, "left[1, 0, 0]"), (7, 2, "left[0, 2, 0]")):
        hand = Hand()
        fault = hand.run(tiles_of(hand, count, inner), a, b).faults[0]
        assert fault.startswith(f"not written: read {place}")
    hand = Hand()
    fault = hand.run(tiles_of(hand, 8, 3), a, b).faults[0]
    assert fault.startswith("outside: read a[7, 0], axis 0 has 0 to 6; in `Panels(")


def test_more_rounds_than_said(hand):
    x, y = hand.buffer("x", (6,), "in"), hand.buffer("y", (6,), "out")
    store = Store(y, (hand.i,), load_of(x, (hand.i,)))
    fault = hand.run([Loop(hand.i, 5, [store], stop=number(6))], X).faults[0]
    assert fault.startswith("rounds: 6, at most 5")
    fault = hand.run([Loop(hand.i, 6, [Store(y, (hand.i,), load_of(x, (hand.j,)))])], X).faults[0]
    assert fault.startswith("scope: a loop variable outside of its loop; in `y[i0] = x[i1]`")


def test_status():
    hand = Hand()
    x, y = hand.buffer("x", (2,), "in", "int64"), hand.buffer("y", (), "out")
    body = [Loop(hand.i, 2, [Check(load_of(x, (hand.i,)), 3)]), Store(y, (), const(1.0))]
    assert hand.run(body, np.array([-3, 2])).status == 0
    assert hand.run(body, np.array([0, 3])).status == 1
    assert hand.run(body, np.array([-4, 0])).status == 1
    graph = sg.trace(np.linalg.cholesky, np.eye(2))
    program = lower(graph.args, graph.lowered_outs(), ["x"], ["y"])
    assert interpret(program, [np.eye(2)]).status == 0
    assert interpret(program, [-np.eye(2)]).status == 2


@pytest.mark.slow
def test_a_missing_claim_is_noticed():
    """Claims with one kind of statement left out, each in turn."""
    seen = set()
    for name in ("logistic", "turned", "powers", "network", "nearest", "solved"):
        f, arrays = FUNCTIONS[name]
        graph = sg.trace(f, *arrays).simplify()
        names = [f"x{k}" for k in range(len(arrays))], ["y0", "y1", "y2"][: len(graph.outs)]
        program = lower(
            graph.args, share(graph.lowered_outs()), *names, blas=name == "solved", tuning=TINY
        )
        for kind in {type(s) for s, _ in statements(program.body)}:
            claims = Claims(program, lambda s: [] if isinstance(s, kind) else s.accesses)  # noqa: B023
            interpret(program, graph.flat(arrays, {}), observer=claims)
            assert {k for k, _ in claims.missing} <= {kind.__name__}
            seen |= {k for k, _ in claims.missing}
    assert seen >= set("Store Zero Flush Merge Best Call Panels Tiles Rows Turns Powers".split())


def seen_by_running(program: Program, calls, expected) -> bool:
    """Whether a program has a fault, or not to the last bit the results it should have."""
    for inputs, right in zip(calls, expected, strict=True):
        for backwards in (False, True):
            got = interpret(program, inputs, backwards=backwards)
            if got.faults or got.status != right.status:
                return True
            bits = zip(got.outputs, right.outputs, strict=True)
            if not right.status and any(g.tobytes() != r.tobytes() for g, r in bits):
                return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("way", ["loops", "threads"])
def test_mutants(way):
    """What is changed in a program is noticed, apart from guards that were not needed (the values
    under them can be computed everywhere then), from bounds that the data happen not to lower, and
    from what rounding took where that is 0."""
    missed = []
    made: collections.Counter[str] = collections.Counter()
    for name in ("logistic", "mixture", "picked", "weighted", "scanned"):
        f, arrays = FUNCTIONS[name]
        graph = sg.trace(f, *arrays).simplify()
        names = [f"x{k}" for k in range(len(arrays))], [f"y{k}" for k in range(len(graph.outs))]
        outs, options = share(graph.lowered_outs()), {"tuning": TINY, **WAYS[way]}
        program = lower(graph.args, outs, *names, **options)
        calls = [graph.flat(arrays, {})]
        if name == "picked":
            for points in (slice(None), slice(-1, None)):  # indices beyond the last row
                beyond = calls[0][2].copy()
                beyond[points] = len(arrays[0])
                calls.append([*calls[0][:2], beyond])
        expected = [interpret(program, inputs) for inputs in calls]
        assert not any(outcome.faults for outcome in expected)
        for kind, change in [m for m in MUTANTS.items() if m[0] not in STATIC]:
            for seed in range(3):
                mutant = change(program, random.Random(seed))
                if mutant is not None and str(mutant) != str(program):
                    made[kind] += 1
                    if not seen_by_running(mutant, calls, expected):
                        missed.append((kind, name, seed))
    unseen = ("guard_dropped", "value_unguarded", "bound_read")
    assert sum(kind not in unseen for kind, _, _ in missed) <= 2, missed  # of a carry that is 0
    assert len(made) > 9 and sum(made.values()) > 80, made


def test_programs_print_whole():
    graph = sg.trace(sg.grad(logistic), *normals((3,), (41, 3), (41,))).simplify()
    program = lower(graph.args, share(graph.lowered_outs()), ["w", "x", "y"], ["g"])
    text = str(program)
    assert "w = float64[3]  # in" in text
    assert "for i2 in (41):  # lanes" in text.replace("i1 ", "i2 ")
    assert "+= " in text and "Flush(buffer=s6, partial=s6_lanes" in text and "..." not in text
