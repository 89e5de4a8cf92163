"""C and loop programs are what they were; see golden.py, which also prints the whole difference."""

from __future__ import annotations

import pytest

import golden


@pytest.mark.slow
def test_nothing_has_changed():
    found = golden.differences()
    told = "python tests/golden.py shows the rest; --refresh keeps what is written today"
    assert not found, f"{len(found)} files differ: {told}\n{found[0][:3000]}"
