"""Which elements a program touches, how, and under which guards: every statement says it itself.

Whoever asks where a buffer is used, whether two rounds of a loop meet, or whether an index stays
inside its axis reads it here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from symgrad.expr.walk import toposort
from symgrad.lower.program import Program, walk
from symgrad.lower.scalar import INDEX
from symgrad.lower.statement import Access
from symgrad.lower.statements import Let, Loop, walks_on
from symgrad.lower.tuning import HOST_TUNING, Tuning


def accesses(body: Sequence[Any]) -> Iterator[tuple[Access, tuple[Loop, ...]]]:
    """Every access in the statements of a body, bounds of loops included, with the loops around.

    What is read for a value with a name belongs to those who use it.
    """
    for s, path, _ in walk(body):
        if not isinstance(s, Let):
            yield from ((access, path) for access in s.accesses)


# ---- who uses a buffer, and how often ------------------------------------------------------------


def passes(program: Program, tuning: Tuning = HOST_TUNING) -> dict[str, int]:
    """How often each input comes from memory, from its first element to its last.

    Loops outside the first one that moves along an array go through it again in every round, unless
    it is small enough to stay in a cache; loops inside find what they read there.
    """
    result = {b.name: 0 for b in program.inputs}
    inputs = {b.number: b for b in program.inputs if b.shape}
    for top in itertools.chain(*program.parts):
        rounds: dict[str, int] = {}
        for access, path in accesses([top]):
            array = inputs.get(access.buffer)
            if array is None:
                continue
            moving = {i for i in toposort(access.index) if i.op is INDEX}
            moving |= {i for loop in path if loop.index in moving for i in walks_on(loop)}
            count = 1
            for loop in path:
                if loop.index in moving or array.nbytes <= tuning.cached_bytes:
                    break
                count *= -(-loop.extent // loop.step)
            rounds[array.name] = max(rounds.get(array.name, 0), count)
        for name, count in rounds.items():
            result[name] += count
    return result
