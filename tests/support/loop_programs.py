"""Random functions written as loops of plain Python over the elements and rows of arrays."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

ONE = ["np.sin({})", "np.exp(0.3*{})", "np.tanh({})", "({})**2", "-({})", "np.log1p(({})**2)",
       "np.sqrt(1.0+({})**2)", "np.where({0} > 0.1, {0}, 0.2*{0})"]  # fmt: skip
TWO = ["({} + {})", "({} - {})", "({} * {})", "({} / (2.0+{}**2))", "np.maximum({}, {})",
       "np.hypot({}, 1.0+{}**2)"]  # fmt: skip
NUMBERS = ["(i/7.0)", "float(i)", "c[i]", "(-1)**i", "i", "sign[i]", "1.5", "w[0]"]
ADDING = ["{a} = {a} + {e}", "{a} += {e}", "{a} -= {e}", "{a} = {e} + {a}"]
INNER = ["x[j]*x[i]", "np.sin(x[i]-y[j])", "A[i,0]*y[j]", "(x[i+j]*w[0])", "A[j,1]*x[i]"]
PAIRS = ["(x[i]-x[j])**2", "x[i]*A[j,2]*x[j]", "np.exp(-(x[i]-y[j])**2)", "x[i+j]*y[j]",
         "x[i]*x[j]", "A[i,j%m]*y[j]"]  # fmt: skip
VECTORS = ["x[i]*A[i]", "np.tanh(A[i]*w)", "A[i+1]-A[i]**2", "np.outer(A[i],A[n-1-i])",
           "A[i][0]*A[i][1]*w"]  # fmt: skip
KINDS = ["sum", "two sums", "nested", "flat", "stack", "stacks", "rows", "prod", "extremum",
         "vector", "recurrence"]  # fmt: skip


class Program(NamedTuple):
    """Source text; the function for a module that is like NumPy; example arguments."""

    text: str
    function: Callable[[Any], Callable[..., Any]]
    arguments: list[np.ndarray]


class _Writer:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.n = self.random.randint(8, 30)
        self.m = self.random.choice([3, 4, 9])
        self.lines = ["def f(x, y, A, w):", "    z = np.cos(x)*2 - y"]
        self.results: list[str] = []

    def index(self) -> str:
        pick = self.random.randint
        forms = ["i", "i", "i", f"i+{pick(1, 3)}", "i+1", "n-1-i", f"2*i+{pick(0, 1)}", "-1-i",
                 "(i*7)%n", "i//2", str(pick(0, 4))]  # fmt: skip
        return self.random.choice(forms)

    def leaf(self, names: list[str]) -> str:
        pick = self.random.randint
        forms = [f"{self.random.choice('xyz')}[{self.index()}]"] * 6 + [
            f"A[{self.index()},{pick(0, self.m - 1)}]", f"(A[{self.index()}] @ w)",
            f"np.sum(x[i:i+{pick(2, 4)}])", "np.sum(x[i:i+n])", self.random.choice(NUMBERS), *names,
        ]  # fmt: skip
        return self.random.choice(forms)

    def expression(self, depth: int, names: list[str]) -> str:
        if not depth or self.random.random() < 0.15:
            return self.leaf(names)
        if self.random.random() < 0.45:
            return self.random.choice(ONE).format(self.expression(depth - 1, names))
        parts = [self.expression(depth - 1, names) for _ in range(2)]
        return self.random.choice(TWO).format(*parts)

    def loop(self, *body: str) -> None:
        ranges = ["range(n)", "range(n)", "reversed(range(n))", "range(1, n)"]
        ranges += ["range(0, n, 2)"] if self.n >= 18 else []
        self.lines.append(f"    for i in {self.random.choice(ranges)}:")
        self.lines += [f"        {line}" for line in body]

    def add(self, accumulator: str, names: list[str]) -> list[str]:
        term = self.expression(self.random.randint(0, 2), names)
        line = self.random.choice(ADDING).format(a=accumulator, e=term)
        chance = self.random.random()
        if chance < 0.15:
            other = f"{accumulator} += {self.expression(1, names)}"
            return [f"if i % {self.random.randint(2, 3)} == 0: {line}", f"else: {other}"]
        return [f"if i not in (0, n-1): {line}" if chance < 0.22 else
                f"if i != 5: {line}" if chance < 0.26 else line]  # fmt: skip

    def sums(self, accumulators: list[str]) -> None:
        body, names = [], []
        for name in ("t", "u")[: self.random.randint(1, 2)]:
            body.append(f"{name} = {self.expression(self.random.randint(1, 2), names)}")
            names.append(name)
        for a in accumulators:
            self.lines.append(f"    {a} = {self.random.choice(['0.0', '0', 'x[0]'])}")
            for _ in range(self.random.choice([1, 1, 2])):
                body += self.add(a, names)
        self.loop(*body)
        self.results += accumulators

    def write(self, kind: str, s: str) -> None:
        choose, lines = self.random.choice, self.lines
        if kind in ("sum", "two sums"):
            self.sums([s] if kind == "sum" else [s, s + "b"])
            return
        self.results.append(s)
        if kind == "nested":
            lines.append(f"    {s} = 0.0")
            total = choose(["u**2", "np.tanh(u)*y[i]", "u"])
            self.loop("u = 0.0", f"for j in range({choose('nm')}): u += {choose(INNER)}",
                      f"{s} += {total}")  # fmt: skip
        elif kind == "flat":
            inner = choose(["range(n)", "range(i)", "range(9)", "range(i+1, n)"])
            pairs = f"for i in range(n) for j in {inner}"
            lines.append(f"    {s} = sum({choose(PAIRS)} {pairs})")
        elif kind == "stack":
            lines.append(f"    {s} = []")
            self.loop(f"{s}.append(x[i]*0.0 + {self.expression(2, [])})")
            lines.append(f"    {s} = np.stack({s})")
        elif kind == "stacks":
            row = "np.stack([x[i]*y[j] for j in range(9)])"
            axis = self.random.randint(0, 1)
            lines.append(f"    {s} = np.stack([{row} for i in range(n)], axis={axis})")
        elif kind == "rows":
            lines.append(f"    {s} = np.concatenate([A[i]*y[i] for i in range(n)])")
        elif kind == "prod":
            lines.append(f"    {s} = 1.0")
            self.loop(f"{s} = {s} * (1.0 + 0.1*np.sin({self.expression(1, [])}))")
        elif kind == "extremum":
            lines.append(f"    {s} = x[0]")
            name = choose(["maximum", "minimum"])
            self.loop(f"{s} = np.{name}({s}, {self.expression(2, [])}*1.01 + 0.01*x[i])")
        elif kind == "vector":
            lines.append(f"    {s} = 0.0")
            self.loop(f"{s} = {s} + {choose(VECTORS)}")
        else:
            lines.append(f"    {s} = 0.1; {s}b = 0.0")
            self.loop(f"t = {self.expression(1, [])}", f"{s} = np.tanh({s}*0.5 + t)",
                      f"{s}b += {choose(['t', s, f'{s}*t', 't*x[i]'])}")  # fmt: skip
            self.results.append(s + "b")


def program(seed: int) -> Program:
    """A function of x, y [k], A [k, m] and w [m] that returns a tuple."""
    writer = _Writer(seed)
    for number, kind in enumerate(writer.random.choices(KINDS, k=writer.random.randint(1, 2))):
        writer.write(kind, f"s{number}")
    text = "\n".join([*writer.lines, f"    return ({', '.join(writer.results)},)"])
    rng = np.random.default_rng(seed)
    n, m, k = writer.n, writer.m, 2 * writer.n + 3
    names = {"n": n, "m": m, "c": rng.standard_normal(n), "sign": rng.choice([-1.0, 1.0], n)}

    def function(module: Any) -> Callable[..., Any]:
        space = {**names, "np": module}
        exec(text, space)
        return space["f"]

    shapes = [(k,), (k,), (k, m), (m,)]
    return Program(text, function, [rng.standard_normal(shape) for shape in shapes])
