"""A loop of plain Python over array elements next to the same function on whole arrays.

    python benchmarks/reroll.py [n ...]

Seconds of CPU time to trace the function, to derive and emit C for value and gradient (tracing
included), and to compile it; characters of C; nanoseconds per call. The last row of a size is the
loop as it is written, for up to 1000 elements.
"""

from __future__ import annotations

import functools
import resource
import sys
import time

import environment

environment.limit_threads(1)

import numpy as np  # noqa: E402
from harness import block, calls_per_block  # noqa: E402

import symgrad as sg  # noqa: E402
from symgrad.compiled import Compiled  # noqa: E402
from symgrad.diff.modes import vjp  # noqa: E402
from symgrad.expr.node import const  # noqa: E402
from symgrad.generate import source_of  # noqa: E402
from symgrad.runtime import dispatch  # noqa: E402
from symgrad.runtime.call import build_source  # noqa: E402
from symgrad.simplify import simplify  # noqa: E402


def loop(x):
    s = 0.0
    for i in range(len(x) - 1):
        s += 100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2
    return s


def whole(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def unrolled(f, x):
    """Value and gradient without re-rolling."""
    graph = sg.trace(f, x).simplify(disable=frozenset({"loops"}))
    gradient = vjp(graph.outs, graph.args, [const(1.0)])
    both = sg.trace(sg.value_and_grad(whole), x)
    outs = simplify([*graph.outs, *gradient], disable=frozenset({"loops"})).outs
    return both._with(tuple(outs), args=graph.args)


def rerolled(f, x):
    return sg.trace(sg.value_and_grad(f), x).simplify()


def cpu() -> float:
    """Seconds of this process and of the compilers it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def row(title, f, derive, x) -> None:
    start = cpu()
    sg.trace(f, x)
    traced = cpu()
    graph = derive(f, x)
    source = source_of(graph)
    emitted = cpu()
    build_source(source, threads=1)
    compiled = cpu()
    function = Compiled(graph)
    call = functools.partial(function, x)
    nanoseconds = 1e9 * block(call, calls_per_block(call))[0]
    seconds = (traced - start, emitted - traced, compiled - emitted)
    text = "".join(f"{s:11.3f}" for s in seconds)
    print(f"{len(x):6}  {title:14}{text}{len(source.c):10}{nanoseconds:10.0f}", flush=True)


def main(sizes: list[int]) -> None:
    dispatch.load()  # the call path in C, and the compiler is looked for once
    print("     n                      trace  derive+emit  compile         C   ns/call")
    for n in sizes:
        x = np.random.default_rng(0).standard_normal(n)
        row("whole arrays", whole, rerolled, x)
        row("loop", loop, rerolled, x)
        if n <= 1000:
            row("loop, unrolled", loop, unrolled, x)


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]] or [100, 1000, 10_000])
