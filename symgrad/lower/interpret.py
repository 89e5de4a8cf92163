"""Loop programs run literally, statement by statement, on memory that is checked.

The oracle for the passes between a graph and its C: what a program means, in the slowest and
plainest way. Values are those of the rows' `evaluate`, one element at a time. Memory is a list of
elements per buffer, each of which has been written or not, and every access is looked at:

* its index is inside of each axis, those that the buffer does not keep included;
* what is read was written, at the same place of the axes that are not kept, by a statement of the
  same round where an array belongs to a round (of a shared loop, a chunk, a block of lanes), and
  since anything else took its part of the workspace;
* what several threads or lanes do at once does not meet: no two rounds of a shared loop, chunks, or
  points of a block touch one element of which one of them writes.

A fault is text that names statement, buffer, index and bounds; the run goes on with NaN or 0.

A guard is lazy, a select evaluates both sides. Sums are added up in the order of the program, one
after the other; the C adds them in lanes, so values agree to rounding.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np

from symgrad.errors import CheckFailedError, InternalError, LoopLimitError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import CONST, FLOATS, Expr
from symgrad.expr.walk import toposort
from symgrad.lower.cpu import Gemm, Tiles
from symgrad.lower.interpreter.machine import Machine
from symgrad.lower.interpreter.memory import Observer, Outcome
from symgrad.lower.program import Program, leaves_of, statements
from symgrad.lower.statements import Check, Let, Part, Store, While

ENABLED = os.environ.get("SYMGRAD_INTERPRET") == "1"  # for each small program that is generated
MOST_OPERATIONS = 100_000  # of a program that is small: a tenth of a second


def interpret(
    program: Program,
    inputs: Sequence[np.ndarray],
    *,
    backwards: bool = False,
    observer: Observer | None = None,
) -> Outcome:
    """Run a program as `lower` makes it, before `emit` sees it.

    inputs : an array for each of `Program.inputs` that is an argument (role "in")
    backwards : whether rounds, chunks and lanes that may come in any order come in reverse
    observer : see `Observer`
    """
    machine = Machine(program, backwards, observer)
    given = [b for b in program.inputs if b.role == "in"]
    for buffer, array in zip(given, inputs, strict=True):
        machine.memories[buffer.number].fill(np.asarray(array, dtype=buffer.dtype))
    with np.errstate(all="ignore"):
        return machine.run()


def operations(program: Program, most: float = math.inf) -> float:
    """What a run takes at most, roughly: scalar operations of all rounds. Not exact beyond `most`.

    That is infinite where a `While` has no limit.
    """
    total: float = sum(b.size for b in program.buffers if b.role != "none")
    named_before: set[Expr] = set()
    for s, path, around in leaves_of(program.body):
        if total > most:
            break
        roots = s.given.args if isinstance(s, Let) else s.exprs()
        own: float = 1 + sum(n.op is not CONST for n in toposort(roots, named_before))
        if isinstance(s, Let):
            named_before.add(s.value)
        if isinstance(s, Tiles):
            own += s.left.size * s.right.size // max(s.left.shape[1], 1)
        elif isinstance(s, Gemm):
            sizes = (math.prod(m.buffer.shape[a] for a in m.axes) for m in s.matrices)
            own += math.isqrt(math.prod(sizes))
        elif not isinstance(s, (Let, Store, Part)):
            own += sum(b.size for b in s.named())
        own *= math.prod(-(-loop.extent // loop.step) for loop in path)
        for outer, _ in around:
            if isinstance(outer, While):
                own *= math.inf if outer.most is None else max(outer.most, 1)
        total += own
    return total


def check(program: Program, args: Sequence[Expr], outs: Sequence[Expr], most: float) -> bool:
    """Run a program on inputs made at random, against `evaluate` of the graph that it was made of.

    Once forwards with positive numbers, once backwards with others. Returns whether it was small
    enough: `most` is the number of operations of a run.

    Raises
    ------
    InternalError
        A fault, or a result that differs by more than rounding.
    """
    if operations(program, most) > most:
        return False
    sizes = [s.size for s, _ in statements(program.body) if isinstance(s, Check)]
    for backwards in (False, True):
        rng = np.random.default_rng(backwards)
        inputs = [_random(rng, a, min(sizes, default=4), backwards) for a in args]
        outcome = interpret(program, inputs, backwards=backwards)
        problem = "\n".join(outcome.faults)
        try:
            expected = evaluate(outs, dict(zip(args, inputs, strict=True)))
        except (IndexError, np.linalg.LinAlgError, LoopLimitError, CheckFailedError) as error:
            problem = problem or f"no status, but {error!r}" * (outcome.status == 0)
        else:
            problem = problem or f"status {outcome.status}" * (outcome.status != 0)
            problem = problem or _difference(outcome.outputs, expected, args, outs, inputs)
        if problem:
            raise InternalError(f"a loop program is not what it should be: {problem}\n{program}")
    return True


def _random(rng: np.random.Generator, node: Expr, size: int, negative: bool) -> np.ndarray:
    """Values for an argument; integers are indices of an axis of `size`."""
    if node.dtype in FLOATS:
        return np.asarray(rng.uniform(-1.5 if negative else 0.1, 1.5, node.shape), node.dtype)
    low, high = (0, 2) if node.dtype == "bool" else (-size if negative else 0, max(size, 1))
    return np.asarray(rng.integers(low, high, node.shape), node.dtype)


def _difference(
    got: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    args: Sequence[Expr],
    outs: Sequence[Expr],
    inputs: Sequence[np.ndarray],
) -> str:
    """Where results differ, but for elements that roundings of the arguments change as much."""
    wrong = [~_same(g, e) for g, e in zip(got, expected, strict=True)]
    if any(w.any() for w in wrong):
        for sign in (-1, 1):
            close = {
                a: x * (1 + x.dtype.type(sign * _ROUNDED[a.dtype])) if a.dtype in FLOATS else x
                for a, x in zip(args, inputs, strict=True)
            }
            for w, e, near in zip(wrong, expected, evaluate(outs, close), strict=True):
                w &= _same(near, e)
    for k, (w, g, e) in enumerate(zip(wrong, got, expected, strict=True)):
        if w.any():
            at = tuple(int(i) for i in np.argwhere(w)[0])
            return f"result {k}{list(at)} is {g[at]}, should be {e[at]}"
    return ""


_ROUNDED = {"float64": 1e-13, "float32": 1e-6}  # parts of an argument


def _same(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Which elements agree to rounding, by the size of the largest one."""
    with np.errstate(all="ignore"):
        size = max([1.0, *np.abs(expected[np.isfinite(expected)]).reshape(-1).astype(float)])
        tolerance = (1e-3 if expected.dtype == np.float32 else 1e-8) * size
        near = np.abs(got * 1.0 - expected) <= tolerance
        return np.asarray((got == expected) | np.isnan(got) & np.isnan(expected) | near)
