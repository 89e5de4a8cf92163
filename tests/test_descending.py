"""Rows that are read from the last to the first, in arrays at whose ends memory ends.

gcc 11 and 12 read beyond the last row in vectors (symgrad/emit/descending.py). No sanitizer sees
that, since they look at the code before it becomes vectors; tests/fuzz found it (796033718078).
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import symgrad as sg
from fuzz.fence import Fences
from symgrad.emit import tree as c
from symgrad.emit.descending import DESCENDING, marked


def copied(x, columns):
    return x[::-1][:, columns]


def with_columns_reversed(x, columns):
    return x[::-1][:, columns][:, ::-1] * 2


def both_ways(x, columns):
    return x[::-1][:, columns] + x[:, columns] ** 2


def into_rows_above(x, columns):
    return np.pad(x[:1:-1][:, columns], ((0, 2), (1, 0)))


def summed(x, columns):
    return np.sum(x[::-1][:, columns] * np.arange(1.0, len(x) + 1)[:, None])


def lanes(x, columns):
    return np.exp(x[::-1][:, columns]) @ np.ones(columns.stop - columns.start)


def rows_alone(x, columns):
    return [x[k, columns] + 1.0 for k in range(len(x) - 1, -1, -1)]


FORMS = [copied, with_columns_reversed, both_ways, into_rows_above, summed, lanes, rows_alone]
SHAPES = [(6, 4), (8, 8), (40, 4)]


def windows(width):
    for start in range(width - 1):
        for stop in range(start + 2, width + 1):
            if stop - start in (2, width - 2, width - 1):
                yield slice(start, stop)


def every(form, x):
    return [form(x, columns) for columns in windows(x.shape[1])]


def between_fences(name: str, dtype: str) -> None:
    """All forms of one kind, with the argument at the end and at the beginning of its memory."""
    (form,) = [f for f in FORMS if f.__name__ == name]
    for shape, before in itertools.product(SHAPES, (False, True)):
        if form is rows_alone and shape[0] > 8:
            continue
        plain = np.random.default_rng(1).uniform(-1, 1, shape).astype(dtype)
        fences = Fences(before)
        x = fences.array(plain)
        for f, expected in (
            (lambda x: every(form, x), sg.tree.flatten(every(form, plain))[0]),
            (sg.grad(lambda x: loss(form, x)), [slope(form, plain)]),
        ):
            compiled = sg.compile(f, x)
            outs = [fences.array(np.empty(t.shape, t.numpy), copy=False)
                    for t in compiled.graph.output_types]  # fmt: skip
            compiled.call_flat([x], outs)
            for got, wanted in zip(outs, expected, strict=True):
                np.testing.assert_allclose(got, wanted, rtol=3e-6, atol=1e-6)


def loss(form, x):
    return sum(np.sum(np.sin(leaf)) for leaf in sg.tree.flatten(every(form, x))[0])


def slope(form, x):
    """The gradient of the loss by the graph evaluator, which has no C."""
    return sg.trace(sg.grad(lambda x: loss(form, x)), x).evaluate(x)


@pytest.mark.sample(3)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.slow
def test_nothing_is_read_beyond_an_array(form, dtype):
    command = [sys.executable, "-P", __file__, form.__name__, dtype]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, f"{done.returncode}\n{done.stderr}"


def at(array, *terms):
    """array[…] with an offset of pairs (variable, how much it grows), from 90 on."""
    names = [c.Binary("*", c.Group(c.Binary("-", c.Lit("9"), c.Name(v))), c.Lit(str(-n))) if n < 0
             else c.Binary("*", c.Name(v), c.Lit(str(n))) for v, n in terms if v]  # fmt: skip
    return c.Index(array, c.Sum(tuple(names), sum(n for v, n in terms if not v)))


@pytest.mark.parametrize("places, inside, falls", [
    ([at("a", ("i", -4))], [], False),
    ([at("a", ("i", -4)), at("a", ("i", -4), ("", 1))], [], True),
    ([at("a", ("i", -4)), at("b", ("i", -4), ("", 1))], [], False),
    ([at("a", ("i", 4)), at("a", ("i", 4), ("", 1))], [], False),
    ([at("a", ("i", -1)), at("a", ("i", -1), ("", 1))], [], False),
    ([at("a", ("i", -1)), at("b", ("i", 1))], [], True),
    ([at("a", ("i", -1)), at("b", ("i", 2))], [], False),
    ([], [at("a", ("i", -4), ("j", 1))], True),
    ([], [at("a", ("i", -4), ("j", -1))], True),
    ([], [at("a", ("i", 4), ("j", -1))], False),
])  # fmt: skip
def test_which_loops_are_marked(places, inside, falls):
    def stored(places):
        return tuple(c.Assign(c.Name("t"), "+=", place) for place in places)

    zero, ten = c.Lit("0"), c.Lit("10")
    loop = c.For("i", zero, ten, (*stored(places), c.For("j", zero, ten, stored(inside))))
    assert (DESCENDING in marked(loop).body) is falls
    assert marked(c.Block((loop,))).body == (marked(loop),)


if __name__ == "__main__":
    between_fences(*sys.argv[1:])
