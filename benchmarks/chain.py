"""A chain of 100,000 operations through every stage: CPU seconds, recursion limit untouched.

The chain is written out: the function has no source that could be followed, so that its loop is
run round by round. Seconds are those of this process and of the compilers that it waits for.

python benchmarks/chain.py [operations]
"""

from __future__ import annotations

import os
import pickle
import resource
import sys

import numpy as np

import symgrad as sg
from symgrad.compiled import Compiled
from symgrad.generate import source_of

CHAIN = """
def chain(x):
    for _ in range(rounds):
        x = np.sin(x) * 1.0001 + 0.1
    return x
"""


def main(operations: int) -> None:
    limit = sys.getrecursionlimit()

    names: dict = {"np": np, "rounds": operations // 3}
    exec(CHAIN, names)
    chain = names["chain"]

    def stage(name, work):
        start = sum(os.times()[:4])
        result = work()
        print(f"{name:14} {sum(os.times()[:4]) - start:8.2f} s", flush=True)
        return result

    graph = stage("trace", lambda: sg.trace(chain, sg.f64))
    gradient = stage("differentiate", lambda: graph.grad())
    simple = stage("simplify", lambda: gradient.simplify())
    text = stage("print", lambda: str(simple))
    data = stage("pickle", lambda: pickle.dumps(simple))
    stage("unpickle", lambda: pickle.loads(data))
    source = stage("lower + emit", lambda: source_of(simple))
    compiled = stage("emit + compile", lambda: Compiled(simple))
    got = stage("call", lambda: compiled(0.3))
    expected = simple.evaluate(0.3)
    print(f"{len(simple.nodes)} nodes, {len(text)} characters printed, {len(source.c)} of C")
    print(f"C {got!r}, NumPy {expected!r}, recursion limit {limit} -> {sys.getrecursionlimit()}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
