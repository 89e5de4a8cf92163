"""Random functions over data points in plain NumPy, as users write them: n points, short inner axes.

`Points(seed)` holds arguments; called with them, or with tracers, it computes a tuple of results.
"""

from __future__ import annotations

import numpy as np

SIZES = (32, 33, 37, 41, 48, 63, 64, 65, 67, 72, 97, 100, 127, 128, 131, 150, 199, 200)
LABELS = ("in", "at")  # integer arguments

ONE = (
    np.tanh, np.sin, lambda z: np.exp(np.tanh(z)), lambda z: np.log1p(z * z), lambda z: np.sqrt(1 + z * z),
    lambda z: 1 / (1 + np.exp(-z)), np.abs, lambda z: np.maximum(z, 0), lambda z: np.cos(z) * z,
    lambda z: np.clip(z, -1, 1), np.arctan, lambda z: np.logaddexp(0, z),
    lambda z: np.log(1 + np.exp(-np.abs(z))),
)  # fmt: skip
TWO = (
    lambda u, v: u * v, lambda u, v: u + v, lambda u, v: u - v, np.maximum, np.minimum,
    lambda u, v: u / (1 + v * v), lambda u, v: np.arctan2(u, 1 + v * v), lambda u, v: np.hypot(u, v + 0.5),
)  # fmt: skip


class Points:
    def __init__(self, seed: int, dtype=np.float64) -> None:
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.n = n = int(rng.choice(SIZES))
        self.k = k = int(rng.choice((1, 2, 3, 4, 5, 8)))
        self.d = d = int(rng.choice((1, 2, 3, 5)))
        shapes = dict(x=(n, d), xt=(d, n), y=n, w=(d, k), b=k, q=(n, k))
        self.reals = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
        self.reals["s"] = dtype(rng.normal())
        self.labels = {"in": rng.integers(0, k, n), "at": rng.integers(-n, n, n)}

    def __call__(self, reals, labels):
        rng = np.random.default_rng(self.seed + 10**6)
        n, k = self.n, self.k
        pool = {
            "n": [reals["y"]], "nk": [reals["q"]], "nd": [reals["x"], reals["xt"].T], "k": [reals["b"]],
            "dk": [reals["w"]], "": [reals["s"]], "in": [labels["in"]], "bn": [reals["y"] > 0.1],
            "bnk": [reals["q"] > 0.1], "kk": [],
        }  # fmt: skip

        def pick(kind):
            values = pool[kind]
            return values[-1 - min(int(rng.exponential(1.2)), len(values) - 1)]

        def one(z):
            return ONE[int(rng.integers(len(ONE)))](z)

        def two(u, v):
            return TWO[int(rng.integers(len(TWO)))](u, v)

        def reduced(z, axis):
            kind = int(rng.integers(8))
            if kind < 3:
                return np.sum(z, axis=axis)
            if kind == 6:
                top = np.max(z, axis=axis, keepdims=True)
                return np.log(np.sum(np.exp(z - top), axis=axis)) + np.squeeze(top, axis)
            if kind == 7:
                return np.prod(np.tanh(z) + 1.2, axis=1) if axis else np.sum(z * z, axis=axis)
            return (np.mean, np.max, np.min)[kind - 3](z, axis=axis)

        def softmax(z):
            e = np.exp(z - np.max(z, axis=1, keepdims=True))
            return e / np.sum(e, axis=1, keepdims=True)

        steps = (
            ("n", lambda: one(pick("n"))),
            ("nk", lambda: one(pick("nk"))),
            ("n", lambda: two(pick("n"), pick("n"))),
            ("nk", lambda: two(pick("nk"), pick("nk"))),
            ("nk", lambda: two(pick("nk"), pick("n")[:, None])),
            ("nk", lambda: two(pick("nk"), pick("k"))),
            ("nk", lambda: pick("nd") @ pick("dk")),
            ("n", lambda: reduced(pick("nk"), 1)),
            ("n", lambda: reduced(pick("nk"), 1)),
            ("k", lambda: reduced(pick("nk"), 0)),
            ("dk", lambda: pick("nd").T @ pick("nk") / n),
            ("nk", lambda: softmax(pick("nk"))),
            ("in", lambda: np.argmax(pick("nk"), axis=1)),
            ("in", lambda: np.argmin(pick("nk"), axis=1)),
            ("n", lambda: pick("k")[pick("in")]),
            ("n", lambda: pick("nk")[np.arange(n), pick("in")]),
            ("nk", lambda: np.cumsum(pick("nk"), axis=1)),
            ("nk", lambda: np.cumsum(pick("nk")[:, ::-1], axis=1)),
            ("n", lambda: np.cumsum(pick("n")) / n),
            ("bn", lambda: pick("n") > pick("n") * 0.5 + 0.1),
            ("bnk", lambda: pick("nk") < pick("n")[:, None]),
            ("n", lambda: np.where(pick("bn"), pick("n"), one(pick("n")))),
            ("nk", lambda: np.where(pick("bnk"), pick("nk"), one(pick("nk")))),
            ("nk", lambda: np.where(pick("bn")[:, None], pick("nk"), pick("k") * 2)),
            ("nk", lambda: np.transpose(np.transpose(pick("nk")) * pick("k")[:, None])),
            ("", lambda: reduced(pick("n"), 0)),
            ("n", lambda: two(pick("n"), pick(""))),
            ("n", lambda: pick("n")[labels["at"]]),
            ("nk", lambda: np.concatenate([pick("nk")[:, :1], pick("nk")[:, 1:]], axis=1)),
            ("nk", lambda: pick("nk")[:, ::-1]),
            ("n", lambda: pick("n")[::-1]),
            ("nk", lambda: (pick("in")[:, None] == np.arange(k)) * pick("nk")),
            ("kk", lambda: pick("nk").T @ pick("nk") / n),
            ("n", lambda: np.einsum("nd,nd->n", pick("nd"), pick("nd"))),
        )
        for _ in range(int(rng.integers(6, 22))):
            kind, make = steps[int(rng.integers(len(steps)))]
            pool[kind].append(make())
        kinds = rng.permutation(["n", "nk", "k", "", "in", "dk", "bn", "bnk", "kk"])
        results = [pool[t][-1] for t in kinds[: int(rng.integers(1, 6))] if pool[t]]
        results += [reduced(pick("nk"), 0), np.sum(pick("n"))]
        return (*results, pick("nk").T) if rng.integers(2) else tuple(results)

    def loss(self, reals, labels):
        """A number that depends on every real result."""
        rng = np.random.default_rng(self.seed + 77)
        total = 0.0
        for result in self(reals, labels):
            if np.issubdtype(getattr(result, "dtype", float), np.floating):
                total = total + np.sum(result * float(rng.normal())) / getattr(result, "size", 1)
        return total
