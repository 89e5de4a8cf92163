"""What runs without --thorough: how cases of tests and rewrites of one rule are sampled."""

from __future__ import annotations

import pytest

import conftest
from symgrad.errors import RewriteError
from symgrad.expr import validate
from symgrad.expr.node import arg, bind


class Case:
    """As much of a case of a test as the choice looks at."""

    def __init__(self, slow: bool, **marks: int) -> None:
        self.marks = {name: getattr(pytest.mark, name)(n).mark for name, n in marks.items()}
        if slow:
            self.marks["slow"] = pytest.mark.slow.mark

    def get_closest_marker(self, name: str):
        return self.marks.get(name)

    def add_marker(self, decorator) -> None:
        self.marks[decorator.name] = decorator.mark


def kept(count: int, slow: bool, **marks: int) -> list[int]:
    cases = [Case(slow, **marks) for _ in range(count)]
    conftest._mark_slow(cases)
    left_out = conftest._left_out(cases)
    return [k for k, case in enumerate(cases) if case not in left_out]


def test_cases_from_all_over_a_test_are_kept():
    assert kept(8, True, sample=3) == [0, 3, 6]
    assert kept(8, True, sample=8) == kept(8, True, sample=100) == list(range(8))
    assert len(kept(1000, True)) == conftest._MOST_SLOW and kept(1000, True)[-1] > 950


def test_quick_cases_are_all_kept():
    assert kept(9, False) == list(range(9))
    assert kept(9, False, quick=3, sample=2) == [0, 1, 2, 3, 6]
    assert kept(2, False, quick=3) == [0, 1]


def test_of_many_rewrites_by_a_rule_one_in_eight_is_evaluated(monkeypatch):
    monkeypatch.setattr(validate, "always", 2)
    x = arg(0, (3,), "float64")

    def fails(rule: str) -> bool:
        try:
            validate.check_rewrite(rule, [bind("sin", x)], [bind("cos", x)])
        except RewriteError:
            return True
        return False

    found = [fails("a wrong rule") for _ in range(24)]
    assert [k + 1 for k, failed in enumerate(found) if failed] == [1, 2, 8, 16, 24]
    assert fails("another one")
