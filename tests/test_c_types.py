"""The types of C trees: tests/conftest.py looks at all C that a test emits.

Here are trees that are wrong, by hand and by small changes to those of whole functions.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from support.c_types import Faults, _Checker, faults_of
from support.codegen import program_of
from support.random_graphs import Builder
from symgrad.emit import tree as c
from symgrad.emit.body import Emitter
from symgrad.emit.c99 import C99
from symgrad.lower.tuning import HOST_TUNING

NAMES = {"x": "double", "f": "float", "n": "int64_t", "k": "int32_t", "b": "bool", "a": "double *"}
X, F, N, K, B = map(c.Name, "xfnkb")


def faults(node: c.Expression | c.Statement) -> list[str]:
    found = Faults()
    checker = _Checker(found, dict(NAMES))
    if isinstance(node, c.Expression):
        checker.of(node)
    else:
        checker.statement(node)
    return list(found)


TWO, LESS = c.Lit("2"), c.Binary("<", X, X)
RIGHT = [
    c.Binary("*", TWO, X), c.Binary("+", X, c.Cast("double", N)), c.Index("a", c.Sum((N,), 3)),
    c.Conditional(c.Binary("<", N, TWO), X, c.Lit("0.5")), c.Call("sqrt", (X,), origin="math"),
    c.Call("sg_select", (c.Binary("|", c.Group(LESS), B), F, F), "float32", "helpers"),
    c.Binary("&&", B, c.Unary("!", c.Binary("==", X, TWO))), c.Unary("&", c.Index("a", N)),
    c.Assign(c.Index("a", TWO), "=", TWO), c.Declare("bool", "t", LESS),
    c.For("i", TWO, N, (c.Assign(c.Index("a", c.Name("i")), "+=", X),)),
]  # fmt: skip
WRONG = [
    c.Binary("+", X, N), c.Binary("*", X, F), c.Binary("+", N, K), c.Binary("-", X, B),
    c.Index("a", X), c.Index("x", N), c.Name("y"), c.Binary("+", X, c.Binary("&&", X, B)),
    c.Conditional(X, X, X), c.Conditional(B, X, F), c.Call("pow", (X, N), origin="math"),
    c.Call("sg_mod", (X, F), "float64", "helpers"), c.Binary("<", X, N), c.Assign(X, "=", N),
    c.Assign(K, "=", N), c.Declare("double", "t", LESS), c.Assign(c.Index("a", N), "=", F),
    c.If(X, ()), c.For("i", X, N, ()),
    c.Block((c.For("i", TWO, N, (c.Declare("double", "t", X),)), c.Assign(X, "=", c.Name("t")))),
]  # fmt: skip


@pytest.mark.parametrize("node", RIGHT, ids=str)
def test_right(node):
    assert faults(node) == []


@pytest.mark.parametrize("node", WRONG, ids=str)
def test_wrong(node):
    assert len(faults(node)) == 1


# ---- whole functions that are changed ------------------------------------------------------------


Part = tuple[c.Statement, ...]


def some_cast(part: Part, rng: random.Random) -> Part | None:
    """Without a cast to a float."""
    found = [n for n in c.walk(*part) if isinstance(n, c.Cast) and n.ctype == "double"]
    found = [n for n in found if not isinstance(n.operand, c.Lit)]
    return _exchanged(part, rng.choice(found), lambda n: n.operand) if found else None


def some_name(part: Part, rng: random.Random) -> Part | None:
    """A variable that nothing declares."""
    declared = [n.name for n in c.walk(*part) if isinstance(n, c.Declare)]
    found = [n for n in c.walk(*part) if isinstance(n, c.Name) and n.name in declared]
    return _exchanged(part, rng.choice(found), lambda n: c.Name("gone")) if found else None


def some_declaration(part: Part, rng: random.Random) -> Part | None:
    """A value loaded as one of another type."""
    found = [s for s in part if isinstance(s, c.Declare) and isinstance(s.value, c.Index)]
    return (
        _exchanged(part, rng.choice(found), lambda s: replace(s, ctype="float")) if found else None
    )


def _exchanged(part, old, new):
    return tuple(c.replaced(s, lambda n: new(n) if n is old else None) for s in part)


MADE = {some_cast: 8, some_name: 30, some_declaration: 14}  # of 60 functions that each kind changes


@pytest.mark.parametrize("kind", MADE, ids=lambda f: f.__name__)
@pytest.mark.slow
def test_changes_are_noticed(kind):
    tuning = replace(HOST_TUNING, part_statements=3)
    made: Counter[bool] = Counter()
    for seed in range(60):
        built = Builder(seed)
        emitter = Emitter(program_of(built.args, built.pool[-3:], tuning=tuning), tuning, C99)
        parts = emitter.parts()
        rng = random.Random(seed)
        for k in rng.sample(range(len(parts)), len(parts)):
            mutant = kind(parts[k], rng)
            if mutant is not None:
                made[bool(faults_of(emitter, [*parts[:k], mutant, *parts[k + 1 :]]))] += 1
                break
    assert not made[False] and made[True] >= MADE[kind], made
