"""Python's collector of cycles, told to look less often while graphs are made.

Graphs have no cycles, and are made of hundreds of thousands of objects that live: the collector
would walk through all of them again and again, for a fifth of the time. It is not turned off, since
a trace runs the user's code, whose cycles may be large: only what is young is looked at, less
often. `gc.freeze` would do as well, but nothing could tell afterwards what the user had frozen.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from symgrad.forks import ForkSafeLock

_RARE = (50_000, 1_000, 1_000)  # objects made, collections of the young, of the middle-aged
_LOCK = ForkSafeLock()
_running = 0  # how many transformations, in all threads
_before: tuple[int, int, int] = _RARE  # what the user's thresholds were


@contextlib.contextmanager
def seldom() -> Iterator[None]:
    """Collections are rare until all threads have left such blocks.

    Thresholds that somebody changes meanwhile stay as they are; so does a collector that is off.
    """
    global _running, _before
    with _LOCK.held():
        now = gc.get_threshold()
        if not _running and now[0]:
            _before = now
            gc.set_threshold(*(max(a, b) for a, b in zip(now, _RARE, strict=True)))
        _running += 1
    try:
        yield
    finally:
        with _LOCK.held():
            _running -= 1
            given = tuple([max(a, b) for a, b in zip(_before, _RARE, strict=True)])
            if not _running and gc.get_threshold() == given:
                gc.set_threshold(*_before)
