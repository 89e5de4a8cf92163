"""Random programs that decide, loop and write: `python tests/fuzz/control.py --programs 1000`.

A program is a function of an array and a number, with branches and loops in each other, names,
items, slices and lists that are assigned, aliases and views, and helpers that change what they are
given. Plain Python on dual numbers (support.dual_numpy) says what value, gradient and Hessian
product are. Wrong numbers and crashes are findings; refusals are counted by their first words.
A finding is made smaller by leaving out statements as long as it stays one.

Each program runs in a child process with a limit of processor time.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [p for p in (str(ROOT), str(ROOT / "tests")) if p not in sys.path]

from corpus import measure  # noqa: E402
from corpus.entry import Collection  # noqa: E402
from corpus.run import in_child  # noqa: E402
from support.dual_numpy import load  # noqa: E402

N = 4  # elements of the array argument
ROWS = 9  # of a matrix whose rows get names; loops over them are loops in C
SECONDS = 60

HEAD = """
import math
import numpy as np


def damped(v):
    if v > 0.4:
        return 0.4 + np.tanh(v - 0.4)
    elif v < -0.8:
        return np.sin(v)
    return v * (1 - 0.1 * v)


def push(target, k, by):
    target[k] += by
    if by > 0:
        target[-1] = 0.5 * target[-1] + 0.1


def rescaled(v, s):
    out = np.zeros(len(v))
    for k in range(len(v)):
        out[k] = v[k] * s if v[k] > -0.5 else v[k] + s
    return out


def rising(v):
    for first, second in zip(v[:-1], v[1:]):
        if first < second:
            yield second - first


def split(v, s):
    if s > 0.2:
        return v * s, s
    return v - s, 0.5 * s


class Cell:
    def __init__(self, start):
        self.value, self.seen = start, 0

    def feed(self, v):
        self.seen += 1
        if v < self.value:
            self.value = 0.6 * self.value + 0.4 * v
        return self.value

"""


# ---- programs as trees ---------------------------------------------------------------------------


@dataclass
class Node:
    """A statement; with `parts` a compound one, each a header with its body."""

    text: str = ""
    parts: list[tuple[str, list[Node]]] = field(default_factory=list)

    def lines(self, depth: int) -> Iterator[str]:
        if self.text:
            yield "    " * depth + self.text
        for header, body in self.parts:
            yield "    " * depth + header
            for node in body:
                yield from node.lines(depth + 1)
            if not body:
                yield "    " * (depth + 1) + "pass"


@dataclass
class Program:
    """Statements between the fixed beginning and the result."""

    seed: int
    body: list[Node]
    result: str

    def text(self) -> str:
        lines = ["def f(x, y):"]
        for node in self.body:
            lines += node.lines(1)
        return HEAD + "\n" + "\n".join([*lines, f"    return {self.result}"]) + "\n"

    def short(self) -> str:
        """Without the helpers that are not used."""
        text = self.text()
        head, _, rest = text.partition("\ndef f(x, y)")
        import_lines, *helpers = head.strip().split("\n\n\n")
        used = [h for h in helpers if h.split()[1].split("(")[0].rstrip(":") in rest]
        return "\n\n\n".join([import_lines, *used, f"def f(x, y){rest}"])


@dataclass
class Scope:
    """What has a value here: names of numbers, arrays with their lengths, lists with theirs."""

    numbers: list[str]
    arrays: dict[str, int]
    lists: dict[str, int]
    counters: dict[str, int] = field(default_factory=dict)  # loop counters below this
    loop: bool = False  # whether break and continue may stand here
    decided: bool = False  # whether a decision on values led here
    depth: int = 0

    def inner(self, **changes: Any) -> Scope:
        made = Scope(list(self.numbers), dict(self.arrays), dict(self.lists), dict(self.counters),
                     self.loop, self.decided, self.depth + 1)  # fmt: skip
        for name, value in changes.items():
            setattr(made, name, value)
        return made


class Writer:
    """Writes a program from a seed.

    decides : whether anything may depend on a comparison of values; else there are loops,
        assignments, aliases and views only
    wide : whether there are names of rows, selections, lists that grow and shrink, too
    long : whether there may be so many decisions that a function has hundreds of paths
    """

    def __init__(
        self, seed: int, decides: bool = True, wide: bool = False, long: bool = True
    ) -> None:
        self.rng = random.Random(seed)
        self.decides, self.wide, self.long = decides, wide, long
        self.fresh = itertools.count()

    def pick(self, *choices: Any) -> Any:
        return self.rng.choice(choices)

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def constant(self) -> str:
        return f"{self.rng.uniform(-1.2, 1.2):.3f}"

    # ---- expressions -----------------------------------------------------------------------------

    def index(self, scope: Scope, length: int) -> str:
        fitting = [c for c, below in scope.counters.items() if below <= length]
        if fitting and self.chance(0.6):
            return self.pick(*fitting) + self.pick("", "", " - 1")
        if scope.counters and self.chance(0.3):
            return f"{self.pick(*scope.counters)} % {length}"
        return str(self.rng.randrange(-length, length))

    def number(self, scope: Scope, depth: int = 2) -> str:
        """A number that stays moderate if its operands are."""
        if depth == 0 or self.chance(0.25):
            return self.leaf(scope)
        e = lambda: self.number(scope, depth - 1)
        made = self.rng.randrange(12)
        if not self.decides and made in (6, 7, 8):
            made = 3
        if made == 8 and self.chance(0.1):
            return f"0.4 * sum(rising({self.pick(*scope.arrays)}))"
        if made < 3:
            return f"({e()} {self.pick('+', '-', '*')} {e()})"
        if made < 5:
            return f"{self.pick('np.sin', 'np.tanh', 'np.cos', 'math.sin', 'math.tanh')}({e()})"
        if made == 5:
            return f"({e()} / (1 + {self.leaf(scope)}**2))"
        if made == 6:
            return f"{self.pick('max', 'min')}({e()}, {e()})"
        if made == 7:
            return f"({e()} if {self.condition(scope)} else {e()})"
        if made == 8:
            return f"damped({e()})"
        if made == 9:
            return f"abs({e()})"
        if made == 10 and scope.lists:
            return f"0.3 * sum({self.pick(*scope.lists)})"
        a = self.pick(*scope.arrays)
        return self.pick(
            f"np.mean({a})", f"{a}.sum() * 0.3", f"np.tanh({a} @ {a})", f"np.max({a})",
            f"float({a}[0])", f"sum(v * v for v in {a}) * 0.2",
        )  # fmt: skip

    def leaf(self, scope: Scope) -> str:
        made = self.rng.randrange(10)
        if made < 4:
            return self.pick(*scope.numbers)
        if made < 7:
            a, length = self.pick(*scope.arrays.items())
            return f"{a}[{self.index(scope, length)}]"
        if made == 7 and scope.lists:
            name, length = self.pick(*scope.lists.items())
            return f"{name}[{self.rng.randrange(-length, length)}]"
        if made == 8 and scope.counters:
            return f"0.1 * {self.pick(*scope.counters)}"
        return self.constant()

    def condition(self, scope: Scope, depth: int = 1) -> str:
        made = self.rng.randrange(10)
        if depth and made == 0:
            c = [self.condition(scope, 0) for _ in range(2)]
            return f"({c[0]} {self.pick('and', 'or')} {c[1]})"
        if depth and made == 1:
            return f"not {self.condition(scope, 0)}"
        if made == 2:
            return f"-0.7 < {self.leaf(scope)} < {self.constant()}"
        if made == 3 and scope.counters:
            return f"{self.pick(*scope.counters)} % 2 == 0"
        if made == 4:
            return f"np.any({self.pick(*scope.arrays)} > {self.constant()})"
        return f"{self.leaf(scope)} {self.pick('<', '>', '<=', '>=')} {self.number(scope, 1)}"

    def array(self, scope: Scope, length: int) -> str:
        """A new array of this length, whose memory nothing else has."""
        same = [a for a, n in scope.arrays.items() if n == length]
        made = self.rng.randrange(9)
        if not self.decides and made == 5:
            made = 6
        if not same or made == 0:
            return f"np.array([{', '.join(self.number(scope, 1) for _ in range(length))}])"
        a, b = self.pick(*same), self.pick(*same)
        if made == 1:
            return f"np.sin({a}) + {self.leaf(scope)}"
        if made == 2:
            return f"np.where({a} > {self.constant()}, {a}, 0.5 * {b})"
        if made == 3:
            return f"{a}[::-1] * {self.leaf(scope)}"
        if made == 4:
            return f"{a}.copy()"
        if made == 5:
            return f"rescaled({a}, {self.leaf(scope)})"
        if made == 6:
            return f"np.array([v * {self.leaf(scope)} for v in {a}])"
        return f"np.tanh({a} {self.pick('+', '-', '*')} {b})"

    # ---- statements ------------------------------------------------------------------------------

    def block(self, scope: Scope, most: int) -> list[Node]:
        made: list[Node] = []
        for _ in range(self.rng.randint(1, most)):
            made += self.statement(scope)
        return made

    def statement(self, scope: Scope) -> list[Node]:
        compound = scope.depth < 4 and self.chance(0.42 if scope.depth < 2 else 0.25)
        return self.compound(scope) if compound else self.simple(scope)

    def simple(self, scope: Scope) -> list[Node]:
        made = self.rng.randrange(29 if self.wide else 22)
        if not self.decides and made in (14, 18, 20, 26):
            made = 7
        a, length = self.pick(*scope.arrays.items())
        s = self.pick(*scope.numbers)
        if made < 3:
            return [Node(f"{s} = np.sin({self.number(scope)})")]
        if made < 5:
            return [Node(f"{s} {self.pick('+=', '-=')} {self.number(scope)}")]
        if made == 5:
            return [Node(f"{s} *= np.cos({self.number(scope, 1)})")]
        if made < 8:
            return [Node(f"{a}[{self.index(scope, length)}] = np.tanh({self.number(scope)})")]
        if made == 8:
            by = self.number(scope, 1)
            return [Node(f"{a}[{self.index(scope, length)}] {self.pick('+=', '-=')} {by}")]
        if made == 9:
            low = self.rng.randrange(length)
            high = self.rng.randint(low + 1, length)
            part = "[:]" if high - low == length else f"[{low}:{high}]"
            return [Node(f"{a}{part} {self.pick('=', '+=')} {self.array(scope, high - low)}")]
        if made == 10:
            return [Node(f"{a} *= np.cos({self.number(scope, 1)})")]
        if made == 11:
            return [Node(f"{a} = {self.array(scope, length)}")]
        if made == 12:
            return self.alias(scope, a, length)
        if made == 13 and scope.lists:
            name, count = self.pick(*scope.lists.items())
            return [Node(f"{name}[{self.rng.randrange(count)}] = {self.number(scope)}")]
        if made == 14:
            return [Node(f"push({a}, {self.index(scope, length)}, {self.number(scope, 1)})")]
        if made == 15:
            t = self.pick(*scope.numbers)
            return [Node(f"{s}, {t} = {t}, {s}" if s != t else f"{s} = {s} * 0.5")]
        if made == 16:
            i, j = self.index(scope, length), self.index(scope, length)
            return [Node(f"{a}[{i}], {a}[{j}] = {a}[{j}], {a}[{i}]")]
        if made == 17:
            return [Node(f"{a}[{a} > {self.constant()}] {self.pick('*= 0.5', '= 0.3', '-= 0.2')}")]
        if made == 18:
            return [Node(f"cell.feed({self.number(scope, 1)})")]
        if made == 20:
            return [Node(f"{a}[:], {s} = split({a}, {self.number(scope, 1)})")]
        if made == 21:
            return [Node(f"bump({self.number(scope, 1)})")]
        if made > 21:
            return self.more(scope, made, a, length, s)
        return [Node(f"box['v'] = np.sin(box['v'] + {self.number(scope, 1)})")]

    def more(self, scope: Scope, made: int, a: str, length: int, s: str) -> list[Node]:
        """What views, rows, lists and selections do."""
        if made == 22 and length > 1:
            parts = self.pick(("[1:]", "[:-1]"), ("[:-1]", "[1:]"), ("[::-1]", "[:]"))
            return [Node(f"{a}{parts[0]} {self.pick('+=', '-=')} 0.3 * {a}{parts[1]}")]
        if made == 23:
            return [Node(f"l += [{self.leaf(scope)}]"), Node(f"{s} += 0.1 * l.pop()")]
        if made == 24:
            row, k = f"r{next(self.fresh)}", self.rng.randrange(3)
            change = self.pick(f"{row}[{k}] = {self.leaf(scope)}", f"{row} *= 0.5",
                               f"{row}[1:] -= {self.leaf(scope)}")  # fmt: skip
            return [Node(f"{row} = w[{self.index(scope, ROWS)}]"), Node(change)]
        if made == 25:
            choices = f"[{a} * 0.5, np.sin({a})], {self.leaf(scope)}"
            masks = f"[{a} > {self.constant()}, {a} < {self.constant()}]"
            return [Node(f"{a} = np.select({masks}, {choices})")]
        if made == 26:
            return [Node(f"n += 1 if {self.condition(scope)} else 2"),
                    Node(f"{a}[n % {length}] += 0.1 * n")]  # fmt: skip
        if made == 27:
            low, high = self.leaf(scope), self.constant()
            return [Node(f"{a} = np.where({a} < {low}, {high}, {a})")]
        return [Node(f"{a}[{a} < {self.constant()}] += {self.leaf(scope)}")]

    def alias(self, scope: Scope, a: str, length: int) -> list[Node]:
        """Another name for an array or a part of it. In a branch one that only the branch uses."""
        same = [b for b, n in scope.arrays.items() if n == length and b != a]
        if same and self.chance(0.3):
            return [Node(f"{self.pick(*same)} = {a}")]  # a name that others see as well
        name = f"v{next(self.fresh)}"
        if length > 2 and self.chance(0.6):
            scope.arrays[name] = length - 1
            return [Node(f"{name} = {a}[{self.pick('1:', ':-1')}]")]
        if self.chance(0.3):
            scope.arrays[name] = length
            return [Node(f"{name} = {a}[::-1]")]
        scope.arrays[name] = length
        return [Node(f"{name} = {a}")]

    def compound(self, scope: Scope) -> list[Node]:
        made = self.rng.randrange(13)
        if not self.decides and (made < 4 or made in (8, 11, 12)):
            made = self.pick(4, 6, 9, 10)
        if made < 4:
            return [self.branch(scope)]
        if made < 6:
            return [self.counted(scope)]
        if made < 8:
            return [self.over_elements(scope)]
        if made == 8:
            return self.bounded_while(scope)
        if made == 9:
            return [self.rows(scope)]
        if made == 10:
            return self.collected(scope)
        return self.attempt(scope) if made == 11 and self.chance(0.2) else self.search(scope)

    def collected(self, scope: Scope) -> list[Node]:
        """A list that grows by one in each round."""
        name, s = f"c{next(self.fresh)}", self.pick(*scope.numbers)
        loop = self.pick(self.counted, self.over_elements)(scope.inner(loop=False))
        loop.parts[0][1][:] = [n for n in loop.parts[0][1] if "break" not in "".join(n.lines(0))
                               and "continue" not in "".join(n.lines(0))]  # fmt: skip
        loop.parts[0][1].append(Node(f"{name}.append({self.number(scope)})"))
        after = self.pick(f"sum({name})", f"np.mean(np.array({name}))", f"{name}[-1] - {name}[0]")
        return [Node(f"{name} = []"), loop, Node(f"{s} = np.tanh({after})")]

    def attempt(self, scope: Scope) -> list[Node]:
        """An exception of the program's own, raised where a value says so."""
        inner = lambda: self.block(scope.inner(decided=True), 2)
        leap = Node(parts=[(f"if {self.condition(scope)}:", [Node("raise ValueError('leap')")])])
        parts = [("try:", [*inner(), leap, *inner()]), ("except ValueError:", inner())]
        if self.chance(0.3):
            parts.append(("finally:", inner()))
        return [Node(parts=parts)]

    def search(self, scope: Scope) -> list[Node]:
        """A loop without a condition, left by break, and a loop with else."""
        s, k = self.pick(*scope.numbers), f"k{next(self.fresh)}"
        inner = scope.inner(decided=True)
        if self.chance(0.5):
            out = Node(parts=[(f"if {self.condition(inner)} or {k} > 3:", [Node("break")])])
            if self.wide and self.chance(0.4):  # one that only later rounds can take
                late = f"if {self.condition(inner)} and {k} > {self.pick(0, 1, 2)}:"
                out = Node(parts=[(late, [Node("break")]), (f"elif {k} > 4:", [Node("break")])])
            body = [*self.block(inner, 2), Node(f"{s} = 0.6 * {s} - 0.1"), out, Node(f"{k} += 1")]
            return [Node(f"{k} = 0"), Node(parts=[("while True:", body)])]
        v, a = f"e{next(self.fresh)}", self.pick(*scope.arrays)
        found = [*self.block(inner, 1), Node("break")]
        body = [Node(parts=[(f"if {v} > {self.constant()}:", found)])]
        other = self.block(scope.inner(decided=True), 2)
        if self.wide and self.chance(0.4):
            leaves = self.pick("break", "continue") if scope.loop else ""
            other.append(Node(leaves or f"return {self.number(scope)}"))
        return [Node(parts=[(f"for {v} in {a}:", body), ("else:", other)])]

    def branch(self, scope: Scope) -> Node:
        inner = lambda: self.block(scope.inner(decided=True), 3)
        parts = [(f"if {self.condition(scope)}:", inner())]
        if self.chance(0.2):
            parts.append((f"elif {self.condition(scope)}:", inner()))
        if self.chance(0.6):
            parts.append(("else:", inner()))
        if scope.loop and self.chance(0.25):
            parts[-1][1].append(Node(self.pick("break", "continue")))
        elif self.chance(0.08):
            parts[-1][1].append(Node(f"return {self.number(scope)}"))
        return Node(parts=parts)

    def counted(self, scope: Scope) -> Node:
        i, n = f"i{next(self.fresh)}", self.pick(2, 3, 3, 4, ROWS)
        inner = scope.inner(counters={**scope.counters, i: n}, loop=True)
        headers = [f"for {i} in range({n}):", f"for {i} in reversed(range({n})):"]
        if self.wide:
            headers.append(f"for {i} in range({n - 1}, -1, -1):")
        header = self.pick(*headers)
        return Node(parts=[(header, self.block(inner, 3))])

    def over_elements(self, scope: Scope) -> Node:
        a, length = self.pick(*scope.arrays.items())
        v, i = f"e{next(self.fresh)}", f"i{next(self.fresh)}"
        inner = scope.inner(loop=True)
        inner.numbers.append(v)
        header = f"for {v} in {a}:"
        if self.chance(0.3):
            inner.counters[i] = length
            header = f"for {i}, {v} in enumerate({a}):"
        elif self.chance(0.3):
            other = f"e{next(self.fresh)}"
            inner.numbers.append(other)
            header = f"for {v}, {other} in zip({a}, {self.pick(*scope.arrays)}):"
        return Node(parts=[(header, self.block(inner, 3))])

    def bounded_while(self, scope: Scope) -> list[Node]:
        k, most = f"k{next(self.fresh)}", self.pick(1, 3, 6)
        inner = scope.inner(loop=False)  # `continue` would skip the counting
        body = self.block(inner, 3)
        s = self.pick(*scope.numbers)
        body += [Node(f"{s} = 0.5 * {s} + {self.constant()}"), Node(f"{k} += 1")]
        condition = f"{s} {self.pick('<', '>')} {self.constant()}"
        return [Node(f"{k} = 0"), Node(parts=[(f"while {condition} and {k} < {most}:", body)])]

    def rows(self, scope: Scope) -> Node:
        name, r = "m", f"r{next(self.fresh)}"
        inner = scope.inner(loop=True)
        inner.arrays[r] = 3
        return Node(parts=[(f"for {r} in {name}:", self.block(inner, 2))])

    def program(self, seed: int) -> Program:
        body = [
            Node("s0, s1 = y, 0.0"),
            Node("a = x.copy()"),
            Node(f"z = np.zeros({N})"),
            Node("l = [y, 0.5, x[1]]"),
            Node("box = {'v': x[0]}"),
            Node("cell, n = Cell(x[2]), 0"),
            Node(f"w = np.zeros(({ROWS}, 3))"),
            Node("m = np.array([[y, x[0], 1.0], [x[1], 0.2, x[2]]])"),
            Node(parts=[("def bump(v):", [Node("nonlocal s1"), Node("s1 = np.sin(s1 + v)")])]),
        ]
        scope = Scope(["s0", "s1"], {"a": N, "z": N, "x": N}, {"l": 3})
        if self.chance(0.6):
            del scope.arrays["x"]  # else the argument itself is written to
        for _ in range(self.rng.randint(3, 7) if self.long else self.rng.randint(1, 3)):
            body += self.statement(scope)
        result = ("s0 + 0.7 * s1 + np.sum(a * np.array([1.0, 0.6, -0.8, 0.3])) + np.sum(z) * 0.9"
                  " + l[0] - l[1] + 0.4 * l[2] + box['v'] + cell.value * cell.seen"
                  " + np.sum(m * m) + np.sum(np.sin(w)) + 0.01 * n + x[3]")  # fmt: skip
        return Program(seed, body, result)


def program(seed: int, decides: bool = True, wide: bool = False, long: bool = True) -> Program:
    return Writer(seed, decides, wide, long).program(seed)


# ---- checks --------------------------------------------------------------------------------------


def arguments(seed: int) -> tuple[np.ndarray, float]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, N), float(rng.uniform(-1, 1))


def check(
    text: str, seed: int, compiled: bool = False, order: int = 2, source: bool = True
) -> measure.Verdict:
    """A program against NumPy and dual numbers, at three arguments.

    source : whether the program is in a file that can be read, as functions are most of the time
    """
    with tempfile.TemporaryDirectory(prefix="symgrad_control_") as folder:
        path = Path(folder) / f"program_{seed}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        plain, duals = Collection(), Collection()
        f = module.f if source else loaded(text)
        plain(f, *arguments(seed), argnums=(0, 1))
        duals(load(text, f"program_{seed}_on_duals")["f"], *arguments(seed), argnums=(0, 1))
        others = [replace(plain["f"], args=arguments(seed + k * 10**6)) for k in (1, 2)]
        return measure.verdict(plain["f"], duals["f"], order, compiled, others)


# What takes the source of a function, and what does the same without it.
_WITHOUT_SOURCE = {
    "np.array([[y, x[0], 1.0], [x[1], 0.2, x[2]]])":
        "np.stack([np.stack([y, x[0], 1.0]), np.stack([x[1], 0.2, x[2]])])",
    f"np.zeros(({ROWS}, 3))": f"np.multiply.outer(0.0 * np.arange({ROWS}), x[:3])",
    f"np.zeros({N})": "0.0 * x", "np.zeros(len(v))": "0.0 * v", "np.array(": "np.stack(",
    "math.": "np.", "float(": "(",
}  # fmt: skip


def by_protocols(text: str) -> str:
    """A program that NumPy's protocols see all of: no number is asked for, and nothing traced is
    stored in a plain array."""
    for one, other in _WITHOUT_SOURCE.items():
        text = text.replace(one, other)
    return text


def loaded(text: str) -> Callable[..., Any]:
    """The function of a program of which nobody can read the source."""
    space: dict[str, Any] = {"__name__": "program_without_source"}
    exec(compile(text, "<no source>", "exec"), space)
    return space["f"]


def runs(
    program: Program, compiled: bool, source: bool = True, seconds: int = SECONDS
) -> measure.Verdict:
    text = program.text() if source else by_protocols(program.text())
    job = lambda: check(text, program.seed, compiled, source=source)
    return in_child(job, seconds)


BAD = ("WRONG", "crash")


def kind(verdict: measure.Verdict) -> tuple[str, str]:
    """What two programs have in common that fail alike."""
    return verdict.status, verdict.told.split(":")[0] if verdict.status == "crash" else ""


def edits(body: list[Node]) -> Iterator[list[Node]]:
    """Smaller bodies: without a statement, with the body of a compound one in its place, …"""
    for k, node in enumerate(body):
        yield body[:k] + body[k + 1 :]
        for p, (header, part) in enumerate(node.parts):
            yield body[:k] + part + body[k + 1 :]
            if p:
                parts = node.parts[:p] + node.parts[p + 1 :]
                if parts[0][0].startswith(("if", "for", "while", "try")):
                    yield body[:k] + [Node(node.text, parts)] + body[k + 1 :]
            for smaller in edits(part):
                parts = [*node.parts[:p], (header, smaller), *node.parts[p + 1 :]]
                yield body[:k] + [Node(node.text, parts)] + body[k + 1 :]


def results(text: str) -> Iterator[str]:
    """Sums with a term less."""
    terms = text.split(" + ")
    if len(terms) > 1:
        for k in range(len(terms)):
            yield " + ".join(terms[:k] + terms[k + 1 :])


def smaller(found: Program, fails: Callable[[Program], bool], seconds: float = 120) -> Program:
    """The program with as many statements left out as can be."""
    until = time.monotonic() + seconds
    progress = True
    while progress and time.monotonic() < until:
        progress = False
        candidates = itertools.chain(
            (Program(found.seed, found.body, r) for r in results(found.result)),
            (Program(found.seed, body, found.result) for body in edits(found.body)),
        )
        for candidate in candidates:
            if time.monotonic() > until:
                break
            if fails(candidate):
                found, progress = candidate, True
                break
    return found


@dataclass
class Report:
    counts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[Program, measure.Verdict]] = field(default_factory=list)

    def text(self) -> str:
        lines = [", ".join(f"{n} {status}" for status, n in sorted(self.counts.items()))]
        for why, n in self.refusals.most_common(12):
            lines.append(f"{n:6} refused: {why}")
        return "\n".join(lines)


def reason(told: str) -> str:
    """A refusal without the line of the program and the values."""
    name, _, rest = told.partition(": ")
    words = [w for w in rest.split() if not w.startswith(("/", "<", "float64[")) and ":" not in w]
    return f"{name}: {' '.join(words)[:70]}"


def explore(
    first: int, count: int, run: Callable[[Program], measure.Verdict], tell: Any = None,
    decides: bool = True, wide: bool = False, long: bool = True,
) -> Report:  # fmt: skip
    report = Report()
    for seed in range(first, first + count):
        made = program(seed, decides, wide, long)
        verdict = run(made)
        report.counts[verdict.status] += 1
        if verdict.status == "refused":
            report.refusals[reason(verdict.told)] += 1
        if verdict.status in BAD:
            report.findings.append((made, verdict))
            if tell:
                tell(f"seed {seed}: {verdict.status}: {verdict.told[:200]}")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compiled", action="store_true", help="run the C, not the graph")
    parser.add_argument("--straight", action="store_true", help="nothing depends on a comparison")
    parser.add_argument("--wide", action="store_true", help="rows, selections, lists, counters")
    parser.add_argument("--no-source", action="store_true", help="functions whose text is unknown")
    parser.add_argument("--shrink", type=float, default=120, help="seconds for one finding")
    parser.add_argument("--show", action="store_true", help="print the program of this seed only")
    options = parser.parse_args()
    if options.show:
        long = not options.no_source
        text = program(options.seed, not options.straight, options.wide, long).text()
        print(text if long else by_protocols(text))
        return 0
    with tempfile.TemporaryDirectory(prefix="symgrad_control_cache_") as folder:
        os.environ["SYMGRAD_CACHE_DIR"] = folder
        run = lambda p: runs(p, options.compiled, not options.no_source)
        tell = lambda line: print(line, flush=True)
        decides, long = not options.straight, not options.no_source
        report = explore(options.seed, options.programs, run, tell, decides, options.wide, long)
        print(report.text())
        groups: dict[tuple[str, str], list[tuple[Program, measure.Verdict]]] = {}
        for found in report.findings:
            groups.setdefault(kind(found[1]), []).append(found)
        for same in groups.values():
            made, verdict = min(same, key=lambda f: len(f[0].text()))
            small = smaller(made, lambda p, v=verdict: kind(run(p)) == kind(v), options.shrink)
            print(f"\n{'=' * 80}\n{len(same)} times: {run(small)}\n# seed {small.seed}")
            print(small.short())
    return int(bool(report.findings))


if __name__ == "__main__":
    sys.exit(main())
