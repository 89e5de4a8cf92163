"""The table of wanted forms: files `*.txt` of functions, and of how their derivatives should read.

    name | w[5], X[7,5], c+, … | expression of NumPy      or lines with "> " below it
        w   : wanted form ; r = X w − y ~ cases

Arguments are scalars, or arrays of the sizes in brackets; a sign says where they are sampled:
+ positive, % between 0 and 1, ^ large, none: anywhere. A wanted form may have definitions behind
";", and behind "~" the forbidden pieces that are right here. The first name before a ":" is by what
is differentiated, then by what that is.
"""

from __future__ import annotations

import functools
import linecache
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import symgrad as sg

FOLDER = Path(__file__).parent
GROUPS = (
    "matrixcalculus",
    "cookbook",
    "scalars",
    "losses",
    "tensors",
    "issue",
    "unseen",
    "unseen2",
    "unseen3",
)
HEADER = """\
import numpy as np
import symgrad as sg
from scipy.special import erf, gammaln
from scipy.stats import norm
"""


@dataclass(frozen=True)
class Function:
    """A function of the table, and what its arguments are."""

    group: str
    name: str
    arguments: tuple[tuple[str, tuple[int, ...], str], ...]  # name, shape, sign
    body: str

    @property
    def source(self):
        names = ", ".join(n for n, _, _ in self.arguments)
        return f"def {self.name}({names}):\n{self.body}\n"

    @functools.cached_property
    def call(self):
        """The function, with a source that can be followed."""
        name = f"<forms {self.group}.{self.name}>"
        text = HEADER + self.source
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        scope = {"__name__": f"forms.{self.group}"}
        exec(compile(text, name, "exec"), scope)
        return scope[self.name]

    @property
    def specs(self):
        return [sg.f64[shape] if shape else sg.f64 for _, shape, _ in self.arguments]

    def point(self, rng):
        """Arrays where the function is defined."""
        draws = {
            "": rng.standard_normal,
            "+": lambda s: rng.uniform(0.3, 2, s),
            "%": lambda s: rng.uniform(0.1, 0.9, s),
            "^": lambda s: rng.uniform(6, 9, s),
        }
        return {n: np.asarray(draws[sign](shape)) for n, shape, sign in self.arguments}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A derivative of a function, and its wanted form."""

    function: Function
    by: tuple[str, ...]
    wanted: str
    allowed: frozenset[str]

    @property
    def name(self):
        return f"{self.function.name} {','.join(self.by)}"

    def graph(self):
        """The simplified graph of the derivative."""
        names = [n for n, _, _ in self.function.arguments]
        f = self.function.call
        at = [names.index(b) for b in self.by]
        if len(at) == 2 and at[0] == at[1] and not self._value_shape():
            derivative = sg.hessian(f, at[0])
        else:
            derivative, scalar = f, not self._value_shape()
            for k in at:
                derivative = (sg.grad if scalar else sg.jacobian)(derivative, k)
                scalar = scalar and not self.function.arguments[k][1]
        return sg.trace(derivative, *self.function.specs).simplify()

    def _value_shape(self):
        return sg.trace(self.function.call, *self.function.specs).outs[0].shape


@functools.cache
def rows(group):
    """The rows of one file, in its order."""
    found, function, body = [], None, []
    lines = (FOLDER / f"{group}.txt").read_text().splitlines()
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith("    "):
            name, arguments, expression = (*[p.strip() for p in line.split("|", 2)], "")[:3]
            body = [f"    return {expression}"] if expression else []
            header = group, name, tuple(_argument(a) for a in _split(arguments))
            function = None
        elif line.startswith("    > "):
            body = [b for b in body if not function] + ["    " + line[6:]]
        else:
            if function is None:
                function = Function(*header, "\n".join(body))
            by, _, wanted = line.partition(":")
            wanted, _, allowed = wanted.partition("~")
            by = tuple(by.strip().split(","))
            found.append(Row(function, by, wanted.strip(), frozenset(allowed.split())))
    return tuple(found)


def _split(arguments):
    return re.findall(r"\w+(?:\[[\d,]+\])?[+%^]?", arguments)


def _argument(text):
    name, sizes, sign = re.fullmatch(r"(\w+)(?:\[([\d,]+)\])?([+%^]?)", text).groups()
    return name, tuple(map(int, sizes.split(","))) if sizes else (), sign
