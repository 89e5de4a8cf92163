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
    (
        "padded rows were read for every point of a block of lanes",
        dict(stages=["value", "gradient", "hvp", "threads"]),
        """
import numpy as np

def f(a0):
    return np.sum(np.exp(a0)) + np.sqrt(np.sum(a0[:1] ** 2))

def loss(a0):
    return f(a0)

def arguments():
    rng = np.random.default_rng(3)
    return (rng.uniform(-1, 1, (333, 2)),)
""",
    ),
    (
        "differences with a row of the beginning at the end: reads beyond the array",
        dict(stages=["gradient", "both"]),
        """
import numpy as np

def f(a0):
    h = a0[1:] - a0[:-1]
    h = np.concatenate([h, h[:1]])
    return np.log(np.sum(np.exp(h), axis=1))

def loss(a0):
    return np.sum(f(a0))

def arguments():
    rng = np.random.default_rng(3)
    return (rng.uniform(-1, 1, (128, 2)),)
""",
    ),
    (
        "gcc 12 at -O3 adds a row that is read backwards wrongly",
        dict(stages=["value", "gradient"]),
        """
import numpy as np

def f(a0):
    return np.sum(a0[:, ::-1]), np.mean(np.rot90(a0) ** 2), np.linalg.norm(a0[::-1, ::-1])

def loss(a0):
    r = f(a0)
    return np.sin(r[0]) + r[1] * r[2]

def arguments():
    rng = np.random.default_rng(3)
    return (rng.uniform(-1, 1, (3, 4)),)
""",
    ),
    (
        "residuals of a polynomial with many coefficients, in parts of 250 statements",
        dict(stages=["gradient"]),
        """
import numpy as np

def f(a0, a1):
    r, power = np.sign(a1), np.ones_like(a1)
    for t in range(70):
        r = r - a0[t] * power
        power = power * a1
    return r

def loss(a0, a1):
    return 0.5 * np.sum(f(a0, a1) ** 2)

def arguments():
    rng = np.random.default_rng(3)
    return (rng.uniform(-1, 1, 70), rng.uniform(-1, 1, 1000))
""",
    ),
    (
        "sums of functions in a stream: gcc chose where sin was that of vectors",
        dict(
            stages=["gradient", "threads", "both"],
            tuning=["small tiles", "short streams", "eager threads"],
        ),
        """
import numpy as np

def f(a0, a1):
    return np.sum(np.sin(a0 @ a1))

def loss(a0, a1):
    return f(a0, a1)

def arguments():
    rng = np.random.default_rng(3)
    return (rng.uniform(-1, 1, (131, 31)), rng.uniform(-1, 1, (31, 131)))
""",
    ),
    (
        "functions in short loops beside others: scalar for one number of threads, vectors for two",
        dict(stages=["gradient", "threads"]),
        """
import numpy as np

def f(a0, a1):
    return np.sum(np.sin(np.cos(np.kron(a1, a1)))), np.sum(np.arcsin(0.9 * np.tanh(a0)))

def loss(a0, a1):
    r = f(a0, a1)
    return r[0] + r[1] + 0.1 * np.sum(np.sin(a1))

def arguments():
    rng = np.random.default_rng(3)
    return (rng.uniform(-1, 1, (1000, 2)), rng.uniform(-1, 1, (2, 2)))
""",
    ),
    (
        "functions in lanes beside a branch, and beside steps of four elements",
        dict(stages=["gradient", "threads"]),
        """
import numpy as np

def f(a0, a1):
    v = np.exp(-a0 * a0) + a0 * np.sum(a0[:266] ** 2)
    return np.tanh(v / 177.0), np.exp2(np.tanh(a0)) + 1.47 * np.exp2(np.tanh(a1))

def loss(a0, a1):
    r = f(a0, a1)
    return np.mean(np.sin(r[0])) + 0.49 * np.sum(r[1]) + 0.1 * np.sum(np.sin(a0))

def arguments():
    rng = np.random.default_rng(3)
    return (rng.uniform(-1, 1, (1000, 4)), rng.uniform(-1, 1, (1000, 4)))
""",
    ),
    (
        "functions in loops of unknown length: other code around one made the length known",
        dict(
            stages=["gradient", "threads"],
            tuning=["eager threads", "small tiles", "short streams"],
        ),
        """
import numpy as np
import symgrad as sg

def f(a0):
    v0 = np.einsum('ni,nj->ij', a0, a0) / 7
    v1 = np.einsum('ni,ij,nj->n', v0, v0, v0)
    return np.concatenate([v1[1:], np.sin(v1), v1[:1]]), sg.log_softmax(v1)

def loss(a0):
    r = f(a0)
    return np.sum(np.sin(r[0])) + np.sum(r[1])

def arguments():
    rng = np.random.default_rng(3)
    return (rng.uniform(-1, 1, (8, 16)).astype(np.float32),)
""",
    ),
    (
        "functions in loops of 57 rounds, and down a column: what was a vector hung on threads",
        dict(
            stages=["gradient", "threads"],
            tuning=["eager threads", "small tiles", "short streams", "short parts"],
        ),
        """
import numpy as np
import symgrad as sg

def f(a0):
    v0 = np.einsum('ni,nj->ij', a0, a0) / 7
    v1 = (v0 - np.mean(v0, axis=0)) / np.sqrt(np.var(v0, axis=0) + 0.3)
    v2 = v1.copy()
    v2[:57] = np.sin(v1[:57])
    return v2

def loss(a0):
    return np.sum(np.sin(f(a0)))

def arguments():
    return (np.random.default_rng(3).uniform(-1, 1, (64, 64)),)
""",
    ),
    (
        "a root that is never 0 had a limit there, with a matrix that could not be factorised",
        dict(stages=["gradient", "hvp"]),
        """
import numpy as np
import symgrad as sg

def f(a0, a2):
    v0 = np.einsum('ni,nj->ij', a0, a0) / 7
    v2 = a2 / np.sqrt(0.2 + np.sum(a2 ** 2, axis=0, keepdims=True))
    v3 = np.sin(v0) * np.cos(v2)
    m = v3.T @ v3 / 5 + 1.5 * np.eye(5)
    return np.linalg.cholesky((m + m.T) / 2)

def loss(a0, a2):
    return np.sum(f(a0, a2)) + 0.1 * np.sum(np.sin(a0))

def arguments():
    rng = np.random.default_rng(3)
    return (rng.uniform(-1, 1, (0, 5)), rng.uniform(-1, 1, (5,)))
""",
    ),
    (
        "an array of more than a few elements of which no statement is left",
        dict(stages=["gradient"]),
        """
import numpy as np
import symgrad as sg

C0 = np.random.default_rng(532742).uniform(-1, 1, (63, 63))


def f(a0, a1, a2, labels, i, mask):
    v0 = np.sqrt(0.1 + np.mean(a2 ** 2, axis=(0, 1)))
    v1 = a2[labels]
    sums = []
    for t in range(5):
        sums.append(np.sum(np.sin(v1 * a1[t])) / 3969)
    v2 = np.stack(sums)
    v3 = v2[::2]
    v4 = v1.astype(np.float64) * 0.7
    v5 = v3[np.argmax(v3)]
    v6 = v5
    for t in range(14):
        v6 = 0.7 * v6 + 0.1 * np.cos(v5 + t)
        if np.sum(v6 ** 2) < 0.64:
            break
    return (v6, v4, v0,)


def loss(a0, a1, a2, labels, i, mask):
    r = f(a0, a1, a2, labels, i, mask)
    return np.sum(r[0] * 1.24) + 1.03 * np.sum(r[1] ** 2) + np.sum(r[2]) + 0.1 * np.sum(np.sin(a0))


def arguments():
    rng = np.random.default_rng(796036175086)
    a0 = rng.uniform(-1, 1, (63, 5))
    a1 = rng.uniform(-1, 1, (5,))
    a2 = rng.uniform(-1, 1, (5, 63))
    labels = rng.integers(0, 5, 63)
    i = int(rng.integers(0, 3))
    mask = rng.random(63) < 0.5
    return (a0, a1, a2, labels, i, mask,)
""",
    ),
    (
        "what stands in a loop of no rounds was read before it, beyond an empty array",
        dict(stages=["gradient"], tuning=["small tiles", "short parts", "powers"]),
        """
import numpy as np
import symgrad as sg

def f(a0, a1):
    return np.sum(np.einsum('ni,nj,nj->i', a1, a1, a1)), np.vdot(a0, 3 * a0) / 9

def loss(a0, a1):
    r = f(a0, a1)
    return r[0] + np.sum(np.sin(r[1]))

def arguments():
    return (np.zeros((0, 1)), np.zeros((1, 0)))
""",
    ),
    (
        "of an empty selection nobody owns anything: ValueError where owners met",
        dict(stages=["hvp"]),
        """
import numpy as np
import symgrad as sg

C0 = np.array([False, False], dtype=np.bool)

def f(a0, a1, a2):
    v0 = np.einsum('ij,ij->i', a0, a0)
    v1 = a0[:2, ::2]
    v2 = np.tanh(a2 @ v0 / 15.0)
    v3 = np.hypot(v1, 0.5 + v1**2)
    v4 = np.argmin(a1, axis=-1)
    return v3[C0], v4, v2

def loss(a0, a1, a2):
    r = f(a0, a1, a2)
    total = np.log(1.0 + np.sum(r[0] ** 2)) + np.log(1.0 + np.sum(r[2] ** 2))
    return total + 0.1 * np.sum(np.sin(a2))

def arguments():
    rng = np.random.default_rng(796076868102)
    return rng.uniform(-1, 1, (20, 3)), rng.uniform(-1, 1, 20), rng.uniform(-1, 1, 20)
""",
    ),
    (
        "the root of an empty array: IndexError where its elements are told apart",
        dict(stages=["both"]),
        """
import numpy as np

def f(a1):
    v = a1 if np.sum(a1) > 1 else -a1
    return (np.append(np.sqrt(v ** 2), v),)

def loss(a1):
    return np.sum(f(a1)[0] ** 2)

def arguments():
    return (np.zeros(0),)
""",
    ),
    (
        "one row that is sorted: the verifier no longer knew that places are in range",
        dict(stages=["value", "blas"]),
        """
import numpy as np

def f(a0, i):
    return np.sort(a0)[i]

def loss(a0, i):
    return f(a0, i)[0]

def arguments():
    rng = np.random.default_rng(1)
    return rng.uniform(1, 1, (1, 2)), 0
""",
    ),
    (
        "a verifier's false alarm: what is divided lies where a guard of its quotient says",
        dict(stages=["hvp"]),
        """
import numpy as np

def f(a0):
    v0 = (a0 + np.arange(2.0))[0]
    v3 = np.diag(np.concatenate([v0, v0]))
    v6 = np.roll(v3 / (1.5 + v3), 1)
    return v6[1:] - v6[:-1]

def loss(a0):
    r = f(a0)
    return np.sum(np.sin(r))

def arguments():
    rng = np.random.default_rng(1)
    return (rng.uniform(1, 1, (1, 1)),)
""",
    ),
]
