"""Random programs that decide, loop and write, against plain Python on dual numbers.

`python tests/fuzz/control.py --programs 1000` looks at more of them and makes findings smaller.
"""

from __future__ import annotations

import numpy as np
import pytest

from fuzz import control
from fuzz.control import Program, check, explore, program, smaller

PROGRAMS = 14
FLOOR = 14  # programs of these that are taken: to be raised with what is taken, never lowered


@pytest.mark.slow
def test_programs():
    """Values, gradients and Hessian products of recorded graphs: none wrong, none crashes."""
    report = explore(20, PROGRAMS, lambda made: check(made.text(), made.seed))
    print(report.text())
    told = [f"# seed {p.seed}: {v.status}: {v.told}\n{p.short()}" for p, v in report.findings]
    assert not told, "\n\n".join(told)
    assert not report.counts["no oracle"]
    assert report.counts["right"] >= FLOOR, report.text()


def test_same_seed_same_program():
    texts = [program(seed).text() for seed in range(30)]
    assert texts == [program(seed).text() for seed in range(30)]
    assert len(set(texts)) == 30


def test_programs_have_what_is_looked_for():
    """Each kind of statement in a hundred programs, and both sides of decisions are taken."""
    text = "\n".join(program(seed).text().partition("\ndef f(")[2] for seed in range(100))
    wanted = [
        " if ", "elif", "else:", "for ", "while", "break", "continue", "return", "push(",
        "rescaled(", "damped(", "cell.feed", "enumerate", "zip(", "reversed", " = a[1:]",
        "[::-1]", "+=", "*=", " and ", " or ", "not ", "l[", "box['v'] =", "x[", "np.any", " = z\n",
        "try:", "while True", "append", "bump(", "rising(", "split(",
    ]  # fmt: skip
    assert not [w for w in wanted if w not in text]


SMALL = """
import numpy as np


def f(x, y):
    z = np.zeros(4)
    z = z + x * y
    return np.sum(np.sin(z))
"""


def test_a_right_program_is_right():
    assert check(SMALL, 1).status == "right"
    assert check(SMALL, 1, compiled=True).status == "right"


def test_wrong_programs_are_found():
    """One that is another for whoever traces it, and one that then raises what is nobody's."""
    differs = SMALL.replace("x * y", "x * y * {False: 1.0, True: 1 + 1e-6}['Tracer' in repr(x)]")
    verdict = check(differs, 1)
    assert verdict.status == "WRONG" and verdict.told.startswith("value"), verdict
    assert check(differs, 1, compiled=True).status == "WRONG"
    raises = differs.replace(", True: 1 + 1e-6", "")
    verdict = check(raises, 1)
    assert verdict.status == "crash" and "KeyError" in verdict.told, verdict


CELL = """
import numpy as np


class Cell:
    def __init__(self, start):
        self.value, self.seen = start, 0

    def feed(self, v):
        self.seen += 1
        if v < self.value:
            self.value = 0.6 * self.value + 0.4 * v


def f(x, y):
    cell = Cell(x[2])
    if 0.0 < min(x[0], 1.063):
        if x[1] > x[3]:
            return -0.385
        cell.feed(y)
    return cell.value * cell.seen
"""
BOX = """
import numpy as np


def f(x, y):
    z = np.zeros(4)
    box = {"v": x[0]}
    if 1.017 < x[1]:
        z[1] = 0.3
    if x[1] < -0.3:
        if x[2] > -1.041:
            box["v"] = 0.0
    return box["v"]
"""


@pytest.mark.parametrize("text", [CELL, BOX], ids=["attribute", "item"])
@pytest.mark.quick(1)
def test_changes_inside_of_two_branches(text):
    """Once the side that was not taken had changed an object for the other."""
    for seed in range(44, 52):
        verdict = check(text, seed)
        assert verdict.status == "right", f"{verdict}\n{text}"


def test_findings_are_made_smaller():
    """A program is reduced to the statement that it is about."""
    found = next(p for p in map(program, range(50)) if "push(" in p.text().partition("\ndef f(")[2])

    def fails(candidate: Program) -> bool:
        text = candidate.text()
        try:
            compile(text, "program", "exec")
        except SyntaxError:
            return False
        return "push(" in text.partition("\ndef f(")[2]

    small = smaller(found, fails, 20)
    body = small.text().partition("\ndef f(x, y):\n")[2]
    assert body.count("\n") <= 2, body


def test_refusals_are_grouped_without_places():
    told = "TypeError: /a/b.py:12: the truth of <Tracer bool[] = less> is not known"
    assert control.reason(told) == control.reason(told.replace("12", "13").replace("/a/b", "/c"))
    assert np.isfinite(control.arguments(3)[0]).all()
