"""Every P0 operation against 50-digit arithmetic; the oracle is in precision_oracle.py."""

from __future__ import annotations

import mpmath
import pytest

from support import oracle_table, shape_table, taylor
from support.precision_oracle import compare, compare_third, uncovered
from support.taylor import MP, Taylor

CASES = [*oracle_table.cases(), *shape_table.cases()]
THIRD = list(shape_table.third_cases())
SLOPES = {k: f for k, f in vars(taylor).items() if hasattr(f, "slope")}


@pytest.mark.sample(100)
@pytest.mark.quick(8)
@pytest.mark.parametrize("name, f, args", CASES, ids=[c[0] for c in CASES])
def test_against_50_digits(name, f, args):
    errors = compare(f, args)
    assert max(errors) < 1e-13, errors


@pytest.mark.sample(12)
@pytest.mark.quick(3)
@pytest.mark.parametrize("name, f, args", THIRD, ids=[c[0] for c in THIRD])
def test_third_derivatives(name, f, args):
    errors = compare_third(f, args)
    assert max(errors) < 1e-13, errors


def test_no_operation_is_left_out():
    assert uncovered() == ["scan", "cond"]  # symgrad has neither, see TODO.md


@pytest.mark.parametrize("name", SLOPES)
def test_the_oracle_itself(name):
    """First three derivatives of every function the oracle knows, against mpmath's `diff`."""
    at = MP.mpf("1.3" if name == "arccosh" else "0.3")
    value = SLOPES[name].value
    series = SLOPES[name](Taylor.variable(at, 0, 3))
    for order in range(4):
        with mpmath.workdps(50):
            # diff asks for more digits than 50 while it works
            exact = mpmath.diff(lambda x: _at(value, x), mpmath.mpf(at), order)
            assert abs(series.derivative(*(0,) * order) - exact) < 1e-30 * max(1, abs(exact))


def _at(value, x):
    with MP.workdps(mpmath.mp.dps):
        return mpmath.mpf(value(MP.mpf(x)))
