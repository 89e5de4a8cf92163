"""Every P0 operation against JAX; the table is in oracle_table.py."""

from __future__ import annotations

import pytest

from support.oracle_table import cases, compare

CASES = list(cases())


@pytest.mark.sample(len(CASES))
@pytest.mark.quick(1)
@pytest.mark.parametrize("name, f, args", CASES, ids=[c[0] for c in CASES])
def test_against_jax(name, f, args):
    value, forward, reverse, second = compare(f, args)
    assert value < 1e-12
    assert forward < 1e-10 and reverse < 1e-10
    assert second < 1e-9
