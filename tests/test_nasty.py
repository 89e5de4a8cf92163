"""Simplified formulas and their derivatives are as good as unsimplified ones on nasty inputs."""

from __future__ import annotations

import pytest

from support import nasty_graphs


@pytest.mark.sample(9)
@pytest.mark.quick(1)
@pytest.mark.parametrize("block", range(8))
@pytest.mark.parametrize("derivative", [False, True])
def test_simplified_is_no_worse(block, derivative):
    for seed in range(20 * block, 20 * block + 20):
        before, after, args, fired = nasty_graphs.example(seed, derivative)
        flaws = nasty_graphs.flaws(before, after, args, fired, not derivative)
        assert not flaws, (seed, fired, flaws[0])


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("old, new, exact, bad", [
    (1.0, INF, 1.0, True), (INF, 2.0, 2.0, False), (1.0, 1.5, 1.0, True), (1.5, 1.0, 1.0, False),
    (9.0, NAN, 1.0, False), (NAN, NAN, 1.0, False), (1.0, 1 + 2e-16, 1.0, False),
])  # fmt: skip
def test_the_judge(old, new, exact, bad):
    bound = nasty_graphs.MP.mpf(1e-16)
    assert bool(nasty_graphs.judge(old, new, nasty_graphs.MP.mpf(exact), bound)) == bad
