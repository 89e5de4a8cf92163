"""Programs that once failed, minimised: (what went wrong, options, text)."""

from __future__ import annotations

from typing import Any

KEPT: list[tuple[str, dict[str, Any], str]] = [
    (
        "the zeros of a sum without loops had no loop: KeyError in lowering",
        dict(stages=["gradient", "both"]),
        """
import numpy as np

def f(a0, i):
    return a0[i] ** 2

def loss(a0, i):
    return f(a0, i)

def arguments():
    rng = np.random.default_rng(3)
    return (rng.uniform(-1, 1, 5), 2)
""",
    ),
    (
        "a sum in a part of a long function was never stored back",
        dict(stages=["gradient", "blas"], tuning=["short parts"]),
        """
import numpy as np

def f(a0):
    v2 = 0.0
    for t in range(2):
        v2 = v2 + np.sum(a0 - t)
    return v2

def loss(a0):
    return f(a0)

def arguments():
    rng = np.random.default_rng(3)
    return (rng.uniform(-1, 1, (1000, 1)),)
""",
    ),
    (
        "a sum at the beginning of a concatenation, in parts of five statements",
        dict(stages=["gradient"], tuning=["short parts"]),
        """
import numpy as np

def f(a0, a1):
    rows = []
    for t in range(2):
        rows.append(a1[t] * np.cos(a1[-1 - t]))
    return (np.concatenate([rows, a0, a0], axis=0),)

def loss(a0, a1):
    r = f(a0, a1)
    return np.sum(r[0] * 0.9)

def arguments():
    rng = np.random.default_rng(49)
    a0 = rng.uniform(-1, 1, (574, 3))
    a1 = rng.uniform(-1, 1, (3, 3))
    return (a0, a1)
""",
    ),
]
